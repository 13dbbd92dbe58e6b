//! Deleting what is old: large runs, kills in the middle, and the size of the file.

use std::path::Path;

use moa_core::run::RunStatus;
use moa_core::step::StepStatus;
use moa_core::time::Millis;
use moa_ports::store::{Old, PruneAsk, Pruned, Store};
use moa_ports::suite::{answer, block_on, build};
use moa_ports::views::Views;
use moa_sqlite::{Options, SqliteStore};
use rusqlite::{Connection, OpenFlags};

use crate::fixture::{Sqlite, commit, version};

const STEPS: u32 = 10_000;

fn ask(after: &Pruned) -> PruneAsk {
    let what = Old::Runs(RunStatus::Succeeded);
    PruneAsk { what, before: Millis(i64::MAX), after: after.next, limit: 50 }
}

fn prune(store: &SqliteStore, after: &Pruned) -> Pruned {
    answer(|reply| store.prune(ask(after), reply)).expect("it is deleted")
}

fn create(store: &SqliteStore, n: u64, steps: u32) {
    let rows = (0..steps).map(|inst| build::step(inst, StepStatus::Succeeded)).collect();
    let row = build::row_in(build::run(n), RunStatus::Running);
    let created = build::with_steps(build::create(row), rows);
    commit(store, vec![created]).expect("a run is created");
    commit(store, vec![build::end(build::run(n), 1, RunStatus::Succeeded)]).expect("it ends");
}

fn count(path: &Path, table: &str) -> i64 {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
    let conn = Connection::open_with_flags_and_vfs(path, flags, "moa-sealed").expect("it opens");
    conn.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).expect("a count")
}

#[test]
fn a_large_run_is_gone_at_once_and_its_rows_go_in_parts() {
    let sqlite = Sqlite::new();
    create(sqlite.get(), 1, STEPS);
    create(sqlite.get(), 2, 3);
    let first = prune(sqlite.get(), &Pruned::default());
    assert_eq!(first.runs, [1, 2].map(build::run));
    assert!(first.next.is_some(), "rows are left");
    assert_eq!(version(sqlite.get(), 1), Ok(0));
    assert_eq!(block_on(sqlite.get().verify()), Ok(Vec::new()));

    // Killed now: the rows that are left are nobody's, and the next calls delete them.
    let (_folder, path) = sqlite.as_killed();
    let store = SqliteStore::open(&path, Options::default()).expect("it opens");
    assert_eq!(block_on(store.verify()), Ok(Vec::new()));
    // The numbers of runs are not given again before that.
    create(&store, 3, 2);
    let mut pruned = Pruned::default();
    let mut runs = Vec::new();
    loop {
        pruned = prune(&store, &pruned);
        runs.extend_from_slice(&pruned.runs);
        if pruned.next.is_none() {
            break;
        }
    }
    assert_eq!(runs, [build::run(3)]);
    drop(store);
    for table in ["runs", "steps", "history", "doomed"] {
        assert_eq!(count(&path, table), 0, "{table}");
    }
}

#[test]
fn the_file_stays_as_large_as_what_is_in_it() {
    let mut sqlite = Sqlite::new();
    let mut sizes = Vec::new();
    for round in 0..12 {
        for n in 1..=40 {
            create(sqlite.get(), round * 40 + n, 20);
        }
        let mut pruned = prune(sqlite.get(), &Pruned::default());
        while pruned.next.is_some() {
            pruned = prune(sqlite.get(), &pruned);
        }
        sqlite.close();
        sizes.push(std::fs::metadata(sqlite.path()).expect("a file").len());
        sqlite.open();
    }
    assert_eq!(sizes.last(), sizes.get(2), "the file grows: {sizes:?}");
}
