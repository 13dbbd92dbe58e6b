//! What a store says of files that it can't open, and what it leaves as it was.

use std::fs;

use moa_ports::store::{Error as StoreError, Store};
use moa_ports::suite::{answer, block_on, build};
use moa_ports::views::Views;
use moa_sqlite::{Error, Options, SCHEMA, SqliteStore};
use rusqlite::{Connection, OpenFlags};

use crate::fixture::{Sqlite, commit, everything, fill, folder};

fn names(folder: &std::path::Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder");
    let name = |e: std::io::Result<fs::DirEntry>| {
        e.expect("an entry").file_name().into_string().expect("a name")
    };
    let mut names: Vec<String> = entries.map(name).collect();
    names.sort();
    names
}

fn refusal(path: &std::path::Path) -> Error {
    match SqliteStore::open(path, Options::default()) {
        Ok(_) => panic!("{} was opened", path.display()),
        Err(error) => error,
    }
}

/// A connection that seals what it writes, as a store does.
fn sealing(path: &std::path::Path) -> Connection {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE;
    Connection::open_with_flags_and_vfs(path, flags, "moa-sealed").expect("it opens")
}

#[test]
fn a_second_store_is_told_who_has_the_first() {
    let mut sqlite = Sqlite::new();
    let error = refusal(&sqlite.path());
    let pid = Some(std::process::id());
    assert_eq!(error, Error::Locked { path: sqlite.path(), pid });
    assert!(error.to_string().contains(&std::process::id().to_string()), "{error}");
    sqlite.close();
    sqlite.open();
}

#[test]
fn a_store_that_is_just_being_closed_is_waited_for() {
    let mut sqlite = Sqlite::new();
    let path = sqlite.path();
    let waits = Options { lock_wait: std::time::Duration::from_secs(60), ..Options::default() };
    let opened = std::thread::scope(|scope| {
        let second = scope.spawn(|| SqliteStore::open(&path, waits).map(drop));
        // One that doesn't wait is refused until the first is closed, whoever comes first.
        assert!(matches!(refusal(&path), Error::Locked { .. }));
        sqlite.close();
        second.join().expect("no panic")
    });
    assert_eq!(opened, Ok(()));
}

#[test]
fn a_closed_store_leaves_one_file_and_the_lock() {
    let mut sqlite = Sqlite::new();
    fill(sqlite.get(), 5);
    everything(sqlite.get()).expect("it is read");
    let folder = sqlite.path().parent().expect("it has a folder").to_owned();
    sqlite.close();
    assert_eq!(names(&folder), ["moa.db", "moa.lock"]);
}

#[test]
fn a_store_can_be_closed_while_others_still_have_it() {
    let sqlite = Sqlite::new();
    fill(sqlite.get(), 5);
    everything(sqlite.get()).expect("it is read");
    let folder = sqlite.path().parent().expect("it has a folder").to_owned();
    std::thread::scope(|scope| {
        // Whoever closes it too waits until it is closed.
        for _ in 0..2 {
            scope.spawn(|| {
                sqlite.get().close();
                assert_eq!(names(&folder), ["moa.db", "moa.lock"]);
            });
        }
    });
    assert!(matches!(everything(sqlite.get()), Err(StoreError::Unavailable(_))));
    drop(SqliteStore::open(&sqlite.path(), Options::default()).expect("nobody has it any more"));
}

#[test]
fn files_of_others_are_refused_and_left_alone() {
    let folder = folder();
    let path = folder.path().join("moa.db");
    Connection::open(&path)
        .and_then(|conn| conn.execute_batch("CREATE TABLE mine (x); INSERT INTO mine VALUES (1)"))
        .expect("another program's database");
    let before = fs::read(&path).expect("a file");
    let error = refusal(&path);
    assert!(matches!(error, Error::NotOurs { .. }), "{error}");
    assert_eq!(fs::read(&path).expect("a file"), before);
    fs::write(&path, "# not a database at all\n".repeat(1000)).expect("it is written");
    let error = refusal(&path);
    assert!(matches!(error, Error::Corrupt { .. }), "{error}");
    fs::write(&path, "short").expect("it is written");
    assert!(matches!(refusal(&path), Error::Corrupt { .. }));
    let inner = folder.path().join("a folder");
    fs::create_dir(&inner).expect("a folder");
    let error = refusal(&inner);
    assert!(matches!(error, Error::Unavailable { .. }), "{error}");
}

#[test]
fn a_place_that_can_not_be_written_is_named() {
    let error = refusal(std::path::Path::new("/proc/moa.db"));
    let Error::Unavailable { path, reason } = &error else { panic!("{error}") };
    assert_eq!(path, std::path::Path::new("/proc/moa.lock"));
    assert!(reason.contains("able to write"), "{reason}");
    let nowhere = refusal(std::path::Path::new("/nonexistent/folder/moa.db"));
    assert!(nowhere.to_string().contains("No such file"), "{nowhere}");
}

#[test]
fn a_newer_schema_is_refused() {
    let mut sqlite = Sqlite::new();
    sqlite.close();
    sealing(&sqlite.path()).pragma_update(None, "user_version", 99).expect("it is set");
    let newer = Error::Newer { path: sqlite.path(), found: 99, known: SCHEMA };
    assert_eq!(refusal(&sqlite.path()), newer);
    let views = SqliteStore::open_read_only(&sqlite.path()).expect("the file is one of moa's");
    let found = block_on(views.last_event());
    let error = moa_ports::store::Error::Newer { found: 99, known: SCHEMA };
    assert_eq!(found, Err(error));
}

#[test]
fn an_older_schema_is_read_when_a_node_has_upgraded_it() {
    let mut sqlite = Sqlite::new();
    sqlite.close();
    sealing(&sqlite.path()).pragma_update(None, "user_version", SCHEMA - 1).expect("it is set");
    let views = SqliteStore::open_read_only(&sqlite.path()).expect("the file is one of moa's");
    let error = moa_ports::store::Error::Older { found: SCHEMA - 1, known: SCHEMA };
    assert_eq!(block_on(views.last_event()), Err(error));
}

#[test]
fn what_a_killed_start_left_is_cleared_away() {
    let folder = folder();
    let path = folder.path().join("moa.db");
    for left in ["moa.db.new", "moa.db.new-wal", "moa.db.new-journal"] {
        fs::write(folder.path().join(left), "half").expect("it is written");
    }
    let store = SqliteStore::open(&path, Options::default()).expect("it opens");
    fill(&store, 1);
    drop(store);
    assert_eq!(names(folder.path()), ["moa.db", "moa.lock"]);
}

#[test]
fn what_a_killed_node_had_committed_is_there() {
    let sqlite = Sqlite::new();
    fill(sqlite.get(), 40);
    let all = everything(sqlite.get()).expect("it is read");
    assert_eq!(all.0.len(), 40);
    let (_folder, path) = sqlite.as_killed();
    let store = SqliteStore::open(&path, Options::default()).expect("it opens");
    assert_eq!(everything(&store), Ok(all));
}

#[test]
fn reading_needs_no_node_and_makes_no_file() {
    let mut sqlite = Sqlite::new();
    fill(sqlite.get(), 10);
    let all = everything(sqlite.get()).expect("it is read");
    let folder = sqlite.path().parent().expect("it has a folder").to_owned();
    sqlite.close();
    let before = (names(&folder), fs::read(sqlite.path()).expect("a file"));
    let views = SqliteStore::open_read_only(&sqlite.path()).expect("it opens");
    assert_eq!(everything(&views), Ok(all.clone()));
    assert_eq!(block_on(views.verify()), Ok(Vec::new()));
    assert_eq!((names(&folder), fs::read(sqlite.path()).expect("a file")), before);
    // A node starts meanwhile: what it writes is seen.
    sqlite.open();
    commit(sqlite.get(), vec![build::create(build::row(build::run(99)))]).expect("it is written");
    assert_eq!(everything(&views).map(|all| all.0.len()), Ok(all.0.len() + 1));
    let beside = SqliteStore::open_read_only(&sqlite.path()).expect("it opens");
    assert_eq!(everything(&beside), everything(sqlite.get()));
}

#[test]
fn reading_sees_what_a_killed_node_left_in_its_log() {
    let sqlite = Sqlite::new();
    fill(sqlite.get(), 10);
    let (_folder, path) = sqlite.as_killed();
    let views = SqliteStore::open_read_only(&path).expect("it opens");
    assert_eq!(everything(&views), everything(sqlite.get()));
    let missing = path.with_file_name("other.db");
    assert!(matches!(
        SqliteStore::open_read_only(&missing).map(drop),
        Err(Error::Missing { path }) if path == missing
    ));
}

#[test]
fn another_program_may_finish_the_log_of_a_killed_node() {
    // It writes pages without seals: they are trusted, and sealed when moa writes them again.
    let sqlite = Sqlite::new();
    fill(sqlite.get(), 40);
    let all = everything(sqlite.get()).expect("it is read");
    let (_folder, path) = sqlite.as_killed();
    let other = Connection::open(&path).expect("it opens");
    let runs: i64 = other.query_row("SELECT count(*) FROM v_runs", [], |r| r.get(0)).expect("40");
    assert_eq!(runs, 40);
    other.close().expect("it closes, and moves the log into the file");
    assert!(!path.with_file_name("moa.db-wal").exists());
    let store = SqliteStore::open(&path, Options::default()).expect("it opens");
    assert_eq!(everything(&store), Ok(all));
    assert_eq!(block_on(store.verify()), Ok(Vec::new()));
    fill(&store, 0);
    commit(&store, vec![build::change(build::run(1), 1)]).expect("it is written");
}

#[test]
fn people_can_ask_in_sql() {
    let mut sqlite = Sqlite::new();
    fill(sqlite.get(), 3);
    sqlite.close();
    let conn = Connection::open(sqlite.path()).expect("it opens");
    let text = |sql: &str| -> Vec<String> {
        let mut stmt = conn.prepare(sql).expect("it is SQL");
        let rows = stmt.query_map([], |row| row.get(0)).expect("it is asked");
        rows.collect::<Result<_, _>>().expect("it is text")
    };
    let ids = [1, 2, 3].map(|n| build::run(n).to_string());
    assert_eq!(text("SELECT run FROM v_runs ORDER BY run"), ids);
    let line = "SELECT concat_ws(' ', status, phase, cause, created_at, finished_at) FROM v_runs \
                ORDER BY run DESC LIMIT 1";
    let at = build::NOW.to_string();
    assert_eq!(text(line), [format!("succeeded main test {at} {at}")]);
    let steps = "SELECT concat_ws(' ', inst, status, attempts) FROM v_steps \
                 WHERE run = (SELECT max(run) FROM v_runs) ORDER BY inst";
    assert_eq!(text(steps), ["0 succeeded 0", "1 skipped 0"]);
    let events = "SELECT concat_ws(' ', seq, version, position, type) FROM v_events ORDER BY seq";
    let all = ["1 1 0 run_created", "2 1 0 run_created", "3 1 0 run_created", "4 2 0 run_paused"];
    assert_eq!(text(events), all);
    assert_eq!(
        text(
            "SELECT DISTINCT params ->> 'text' FROM v_runs WHERE run = (SELECT min(run) \
                     FROM v_runs)"
        ),
        ["p".repeat(37)]
    );
}

#[test]
fn an_answer_may_drop_the_store() {
    let sqlite = Sqlite::new();
    let (_folder, path) = sqlite.as_killed();
    let store =
        std::sync::Arc::new(SqliteStore::open(&path, Options::default()).expect("it opens"));
    let last = std::sync::Arc::clone(&store);
    let (send, receive) = std::sync::mpsc::channel();
    store.load(
        vec![build::run(1)],
        Box::new(move |answer| {
            // Waits until the test has let go of it.
            let done: std::sync::mpsc::Sender<()> = send;
            drop(last);
            drop(answer);
            drop(done);
        }),
    );
    drop(store);
    assert!(receive.recv().is_err());
    let again = SqliteStore::open(&path, Options::default());
    let loaded = again.map(|store| answer(|reply| store.load(Vec::new(), reply)));
    // The lock may still be held for a moment by the thread that closes.
    assert!(matches!(loaded, Ok(Ok(_)) | Err(Error::Locked { .. })));
}

#[test]
fn many_ask_at_once_and_all_are_answered() {
    let sqlite = Sqlite::new();
    fill(sqlite.get(), 10);
    let all = everything(sqlite.get()).expect("it is read");
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..20 {
                    assert_eq!(everything(sqlite.get()).as_ref(), Ok(&all));
                }
            });
        }
    });
}
