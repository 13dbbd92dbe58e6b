//! The write-ahead log beside readers that read for long: nobody waits for them.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use moa_ports::suite::{Fixture, block_on, build};
use moa_ports::views::Views;
use moa_sqlite::{LogLength, Options, SqliteStore};
use rusqlite::Connection;

use crate::fixture::{Sqlite, commit, everything, fill, version};

/// Bytes of a log that these tests call long.
const LONG: u64 = 300_000;

/// Waiting for a reader would take a day: a test that waits for one hangs.
fn options() -> (Options, Receiver<LogLength>) {
    let (news, watched) = channel();
    let options = Options {
        synchronous_full: false,
        checkpoint_pages: 4,
        busy: Duration::from_secs(24 * 3600),
        log_retry: Duration::ZERO,
        log_bytes_long: LONG,
        watch_log: Some(Arc::new(move |length| _ = news.send(length))),
        ..Options::default()
    };
    (options, watched)
}

/// Another program, in the middle of reading the database as it is now.
fn reader(sqlite: &Sqlite) -> Connection {
    let reader = Connection::open(sqlite.path()).expect("it opens");
    reader.execute_batch("BEGIN; SELECT count(*) FROM v_runs").expect("it reads");
    reader
}

fn log_bytes(sqlite: &Sqlite) -> u64 {
    // Once it answers, the checkpoint that may have followed the last batch is done.
    sqlite.as_killed();
    std::fs::metadata(sqlite.path().with_file_name("moa.db-wal")).map_or(0, |log| log.len())
}

#[test]
fn a_long_reader_delays_no_batch_and_the_log_is_cut_when_it_has_gone() {
    let (options, watched) = options();
    let sqlite = Sqlite::with(options);
    fill(sqlite.get(), 40);
    assert!(log_bytes(&sqlite) < LONG, "without a reader it is cut before it is long");
    assert_eq!(watched.try_iter().count(), 0);
    let reader = reader(&sqlite);
    for round in 1..=60 {
        let runs = (1..=20).map(|n| build::create(build::row(build::run(round * 100 + n))));
        commit(sqlite.get(), runs.collect()).expect("it is written");
    }
    let grown = log_bytes(&sqlite);
    assert!(grown > 2 * LONG, "{grown}");
    let told: Vec<LogLength> = watched.try_iter().collect();
    let lengths = told.iter().map(|length| match length {
        LogLength::Long { bytes } => *bytes,
        LogLength::Cut => panic!("it was not cut: {told:?}"),
    });
    let lengths: Vec<u64> = lengths.collect();
    assert!(lengths[0] >= LONG && lengths.len() >= 2, "{lengths:?}");
    assert!(lengths.windows(2).all(|two| two[1] >= 2 * two[0]), "only when doubled: {lengths:?}");
    drop(reader);
    commit(sqlite.get(), vec![build::change(build::run(101), 1)]).expect("it is written");
    assert_eq!(log_bytes(&sqlite), 0);
    assert_eq!(watched.try_iter().collect::<Vec<_>>(), [LogLength::Cut]);
    assert_eq!(block_on(sqlite.get().verify()), Ok(Vec::new()));
}

#[test]
fn the_log_is_cut_while_nothing_happens() {
    let (options, watched) = options();
    let path = crate::fixture::folder();
    let path = path.path().join("moa.db");
    let options = Options { idle: Duration::from_millis(1), ..options };
    let store = SqliteStore::open(&path, options).expect("it opens");
    fill(&store, 1);
    let reader = Connection::open(&path).expect("it opens");
    reader.execute_batch("BEGIN; SELECT count(*) FROM v_runs").expect("it reads");
    fill_more(&store);
    assert!(matches!(watched.recv(), Ok(LogLength::Long { .. })));
    // Once it answers, the checkpoint that followed the last batch is done.
    assert_eq!(version(&store, 1), Ok(1));
    drop(reader);
    let cut = watched.iter().find(|length| *length == LogLength::Cut);
    assert!(cut.is_some(), "nobody writes, and still it is cut");
}

#[test]
fn what_was_in_vain_is_not_tried_again_at_once() {
    let (options, _watched) = options();
    let mut sqlite = Sqlite::with(Options { log_retry: Duration::from_secs(24 * 3600), ..options });
    fill(sqlite.get(), 10);
    let reader = reader(&sqlite);
    fill_more(sqlite.get());
    drop(reader);
    commit(sqlite.get(), vec![build::change(build::run(1000), 1)]).expect("it is written");
    assert!(log_bytes(&sqlite) > LONG, "it was tried a moment ago");
    sqlite.close();
    assert!(!sqlite.path().with_file_name("moa.db-wal").exists(), "at the end it is");
}

/// Writes enough for a long log.
fn fill_more(store: &SqliteStore) {
    for n in 1000..1100 {
        let mut row = build::row(build::run(n));
        row.params = Arc::new(serde_json::json!("x".repeat(10_000)));
        commit(store, vec![build::create(row)]).expect("it is written");
    }
}

#[test]
fn closing_and_opening_wait_for_no_reader() {
    let (options, _watched) = options();
    let mut sqlite = Sqlite::with(options);
    fill(sqlite.get(), 10);
    let reader = reader(&sqlite);
    fill_more(sqlite.get());
    let all = everything(sqlite.get());
    sqlite.close();
    sqlite.open();
    assert_eq!(everything(sqlite.get()), all);
    commit(sqlite.get(), vec![build::change(build::run(1000), 1)]).expect("it is written");
    drop(reader);
    assert!(sqlite.reopen());
    assert_eq!(log_bytes(&sqlite), 0);
    assert_eq!(block_on(sqlite.get().verify()), Ok(Vec::new()));
}
