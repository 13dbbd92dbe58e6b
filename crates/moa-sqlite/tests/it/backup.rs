//! Copies of a database, made while it is written to.

use std::ops::ControlFlow::{Break, Continue};
use std::sync::atomic::{AtomicBool, Ordering};

use moa_core::run::RunStatus;
use moa_ports::store::Error as StoreError;
use moa_ports::suite::{block_on, build};
use moa_ports::views::Views;
use moa_sqlite::{Error, Options, SCHEMA, SqliteStore, backup};

use crate::fixture::{Sqlite, commit, everything, fill, folder};

#[test]
fn a_copy_is_the_whole_database() {
    let sqlite = Sqlite::new();
    fill(sqlite.get(), 40);
    let folder = folder();
    let to = folder.path().join("copy.db");
    let mut last = (0, 0);
    let mut told = |done, all| {
        last = (done, all);
        Continue(())
    };
    let copied = backup::copy(&sqlite.path(), &to, true, &mut told).expect("it is copied");
    assert_eq!((copied.schema, copied.artifacts), (SCHEMA, Some(Vec::new())));
    assert!(last.0 == last.1 && last.1 > 10, "{last:?}");
    assert_eq!(backup::check(&to), Ok(SCHEMA));
    let store = SqliteStore::open(&to, Options::default()).expect("it opens");
    assert_eq!(everything(&store), everything(sqlite.get()));
    assert_eq!(Ok(copied.last_event), block_on(store.last_event()));
    // It is a store like any other.
    fill_one(&store, 99).expect("it can be written");
    let again = backup::copy(&sqlite.path(), &to, true, &mut |_, _| Continue(()));
    assert!(matches!(again, Err(Error::Unavailable { .. })), "{again:?}");
}

fn fill_one(store: &SqliteStore, n: u64) -> Result<(), StoreError> {
    commit(store, vec![build::create(build::row_in(build::run(n), RunStatus::Running))])?;
    commit(store, vec![build::end(build::run(n), 1, RunStatus::Succeeded)])?;
    Ok(())
}

#[test]
fn a_copy_beside_a_writer_is_of_one_instant() {
    let sqlite = Sqlite::new();
    fill(sqlite.get(), 300);
    let folder = folder();
    let stop = AtomicBool::new(false);
    // The writer ends with a test that fails, too.
    struct Stop<'a>(&'a AtomicBool);
    impl Drop for Stop<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    std::thread::scope(|scope| {
        let end = Stop(&stop);
        let writer = scope.spawn(|| {
            let mut n = 1000;
            while !stop.load(Ordering::Relaxed) && n < 1800 {
                n += 1;
                fill_one(sqlite.get(), n).expect("it is written");
            }
            n
        });
        let mut seen = 0;
        for copy in 0..5 {
            let to = folder.path().join(format!("{copy}.db"));
            let copied = backup::copy(&sqlite.path(), &to, true, &mut |_, _| Continue(()));
            let copied = copied.expect("it is copied");
            assert_eq!(backup::check(&to), Ok(SCHEMA));
            let store = SqliteStore::open(&to, Options::default()).expect("it opens");
            let (_, history) = everything(&store).expect("it is read");
            // Every event up to the last one, and none behind it.
            assert_eq!(history.len() as u64, copied.last_event);
            assert_eq!(history.last().map(|row| row.seq), Some(copied.last_event));
            assert!(copied.last_event >= seen);
            seen = copied.last_event;
        }
        drop(end);
        assert!(writer.join().expect("no panic") > 1000, "nothing was written meanwhile");
    });
}

#[test]
fn a_copy_that_nobody_wants_any_more_ends() {
    let sqlite = Sqlite::new();
    fill(sqlite.get(), 30);
    let folder = folder();
    let to = folder.path().join("copy.db");
    let mut asked = 0;
    let ended = backup::copy(&sqlite.path(), &to, true, &mut |_, _| {
        asked += 1;
        Break(())
    });
    assert!(matches!(&ended, Err(Error::Unavailable { path, .. }) if *path == to), "{ended:?}");
    assert_eq!(asked, 1);
    fill_one(sqlite.get(), 99).expect("nothing is held");
}

#[test]
fn what_a_killed_node_left_is_copied_with_its_log() {
    let sqlite = Sqlite::new();
    fill(sqlite.get(), 30);
    let (_folder, path) = sqlite.as_killed();
    let to = path.with_file_name("copy.db");
    backup::copy(&path, &to, false, &mut |_, _| Continue(())).expect("it is copied");
    let store = SqliteStore::open(&to, Options::default()).expect("it opens");
    assert_eq!(everything(&store), everything(sqlite.get()));
}

#[test]
fn damage_is_found_in_originals_and_in_copies() {
    let mut sqlite = Sqlite::new();
    fill(sqlite.get(), 30);
    let folder = folder();
    let to = folder.path().join("copy.db");
    backup::copy(&sqlite.path(), &to, true, &mut |_, _| Continue(())).expect("it is copied");
    sqlite.close();
    let flip = |path: &std::path::Path| {
        let mut bytes = std::fs::read(path).expect("a file");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(path, bytes).expect("a file");
    };
    flip(&to);
    assert!(matches!(backup::check(&to), Err(Error::Corrupt { .. })));
    flip(&sqlite.path());
    let other = folder.path().join("other.db");
    let copied = backup::copy(&sqlite.path(), &other, false, &mut |_, _| Continue(()));
    assert!(matches!(copied, Err(Error::Corrupt { .. })), "{copied:?}");
    let missing = backup::check(&folder.path().join("none.db"));
    assert!(matches!(missing, Err(Error::Missing { .. })));
    std::fs::write(&other, "text").expect("a file");
    assert!(matches!(backup::check(&other), Err(Error::Corrupt { .. })));
}
