//! Commits that fail, before and after they are durable, and files that fail below them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use moa_core::run::StepRow;
use moa_ports::store::{Commit, CommitOutcome, Error, StartGuard, Store};
use moa_ports::suite::{answer, block_on, build};
use moa_ports::views::Views;
use moa_sqlite::fault::{Failpoints, FileKind, IoFault, IoFaults, IoOp, Point};
use moa_sqlite::{Options, SqliteStore};

use crate::fixture::{Sqlite, commit, everything, version};

/// Fails once at a point.
#[derive(Default)]
struct Once(Mutex<Option<Point>>);

impl Failpoints for Once {
    fn fail(&self, point: Point) -> Option<String> {
        let mut at = self.0.lock().expect("nobody panics with it");
        if *at != Some(point) {
            return None;
        }
        *at = None;
        Some(format!("ordered {point:?}"))
    }
}

fn change(n: u64, expected: u64) -> Commit {
    let steps = vec![build::ready(0, expected as i64)];
    let messages = vec![build::signal(build::run(n), "hello")];
    Commit { messages, ..build::with_steps(build::change(build::run(n), expected), steps) }
}

fn create(n: u64) -> Commit {
    build::create(build::row(build::run(n)))
}

#[test]
fn a_commit_that_fails_before_the_end_writes_nothing() {
    for point in [Point::BeforeBegin, Point::BeforeCommit] {
        let once = Arc::new(Once::default());
        let failpoints: Option<Arc<dyn Failpoints>> = Some(once.clone());
        let sqlite = Sqlite::with(Options { failpoints, ..Options::default() });
        let store = sqlite.get();
        commit(store, vec![create(1), create(2)]).expect("they are written");
        let before = everything(store);
        once.0.lock().expect("nobody panics with it").replace(point);
        let failed = commit(store, vec![change(1, 1), create(3)]);
        assert!(matches!(&failed, Err(Error::Unavailable(why)) if why.contains("ordered")));
        assert_eq!(everything(store), before, "{point:?}");
        // The next one starts where the last good one ended.
        let next = commit(store, vec![change(1, 1), create(3)]).expect("it is written");
        let seqs = [3, 4].map(|seq| CommitOutcome::Applied { seq });
        assert_eq!(next.commits, seqs, "{point:?}");
        assert_eq!(block_on(store.verify()), Ok(Vec::new()));
    }
}

#[test]
fn a_commit_done_but_reported_as_unknown_is_there() {
    let once = Arc::new(Once::default());
    let failpoints: Option<Arc<dyn Failpoints>> = Some(once.clone());
    let sqlite = Sqlite::with(Options { failpoints, ..Options::default() });
    let store = sqlite.get();
    commit(store, vec![create(1)]).expect("it is written");
    once.0.lock().expect("nobody panics with it").replace(Point::AfterCommit);
    let unknown = commit(store, vec![change(1, 1)]);
    assert!(matches!(unknown, Err(Error::Unknown(_))), "{unknown:?}");
    assert_eq!(version(store, 1), Ok(2));
    // Doing it again on the same version is refused.
    let again = commit(store, vec![change(1, 1)]).expect("it is answered");
    assert_eq!(again.commits, [CommitOutcome::Conflict]);
    let next = commit(store, vec![change(1, 2)]).expect("it is written");
    assert_eq!(next.commits, [CommitOutcome::Applied { seq: 3 }]);
}

#[test]
fn a_row_that_sqlite_refuses_stops_no_other_run() {
    let sqlite = Sqlite::new();
    let store = sqlite.get();
    commit(store, vec![create(1), create(2), create(3)]).expect("it is written");
    let other = rusqlite::Connection::open(sqlite.path()).expect("it opens");
    other
        .execute_batch(
            "CREATE TRIGGER refuse BEFORE INSERT ON steps WHEN NEW.plan = 99 \
             BEGIN SELECT RAISE(ABORT, 'it is too odd'); END",
        )
        .expect("it is SQL");
    let odd = |n, version| {
        let step = StepRow { plan: 99, ..build::ready(0, 1) };
        // What comes before the step is written, and must not stay.
        let messages = vec![build::signal(build::run(2), "x")];
        build::with_steps(Commit { messages, ..change(n, version) }, vec![step])
    };
    let mut created = create(4);
    created.start = Some(StartGuard { idempotency_key: Some("k".into()), ..StartGuard::default() });
    let new = build::with_steps(created, odd(4, 0).steps);
    let outcome = commit(store, vec![change(1, 1), odd(2, 1), new, change(3, 1), odd(1, 2)]);
    let commits = outcome.expect("it is answered").commits;
    let [one, two, four, three, twice] = &commits[..] else { panic!("{commits:?}") };
    assert_eq!((one, three), (&applied(4), &applied(5)));
    for refused in [two, four] {
        let told = matches!(refused, CommitOutcome::Invalid(why) if why.contains("too odd"));
        assert!(told, "{refused:?}");
    }
    assert!(matches!(twice, CommitOutcome::Invalid(_)), "{twice:?}");
    let versions = [1, 2, 3, 4].map(|n| version(store, n));
    assert_eq!(versions, [Ok(2), Ok(1), Ok(2), Ok(0)]);
    let pending = block_on(store.pending(build::run(2))).expect("it is read");
    assert_eq!(pending.messages, []);
    // Neither its number nor its key is used up.
    other.execute_batch("DROP TRIGGER refuse").expect("it is there");
    let mut again = create(5);
    again.start = Some(StartGuard { idempotency_key: Some("k".into()), ..StartGuard::default() });
    let outcome = commit(store, vec![again, odd(2, 1)]).expect("it is written");
    assert_eq!(outcome.commits, [applied(6), applied(7)]);
    assert_eq!(block_on(store.verify()), Ok(Vec::new()));
}

fn applied(seq: u64) -> CommitOutcome {
    CommitOutcome::Applied { seq }
}

/// Fails the n-th write or sync, and counts them.
struct Nth {
    at: AtomicU64,
    count: AtomicU64,
    fault: IoFault,
}

impl Nth {
    fn new(fault: IoFault) -> Arc<Self> {
        Arc::new(Self { at: AtomicU64::new(u64::MAX), count: AtomicU64::new(0), fault })
    }
}

impl IoFaults for Nth {
    fn check(&self, op: IoOp, _: FileKind) -> Option<IoFault> {
        if op == IoOp::Read {
            return None;
        }
        let now = self.count.fetch_add(1, Ordering::SeqCst);
        let hit = now == self.at.load(Ordering::SeqCst);
        (hit && (op == IoOp::Write || self.fault == IoFault::Failed)).then_some(self.fault)
    }
}

/// Makes the n-th write or sync fail, for every n that a few batches need, checkpoints included.
fn sweep(fault: IoFault) {
    let mut failed = 0;
    for n in 0.. {
        let nth = Nth::new(fault);
        let io_faults: Option<Arc<dyn IoFaults>> = Some(nth.clone());
        // Three pages in the log are many: nearly every batch is followed by a checkpoint.
        let mut sqlite =
            Sqlite::with(Options { io_faults, checkpoint_pages: 3, ..Options::default() });
        let start = nth.count.load(Ordering::SeqCst);
        nth.at.store(start + n, Ordering::SeqCst);
        let (mut acked, mut unsure) = (0, None);
        for round in 0..6 {
            let expected = round_version(sqlite.get(), acked, unsure.take());
            let next = if expected == 0 { create(1) } else { change(1, expected) };
            match commit(sqlite.get(), vec![next]) {
                Ok(outcome) => {
                    let applied = matches!(outcome.commits[..], [CommitOutcome::Applied { .. }]);
                    assert!(applied, "{n}/{round}: {outcome:?}");
                    acked = expected + 1;
                }
                Err(Error::Unavailable(_)) => {
                    failed += 1;
                    let now = version(sqlite.get(), 1);
                    assert_eq!(now, Ok(expected), "{n}/{round}: it was written after all");
                    acked = expected;
                }
                Err(Error::Unknown(_)) => {
                    failed += 1;
                    unsure = Some(expected);
                }
                Err(other) => panic!("{n}/{round}: {other}"),
            }
        }
        let hit = nth.count.load(Ordering::SeqCst) > start + n;
        let killed = sqlite.as_killed();
        check(&sqlite, &killed.1, acked);
        sqlite.close();
        if !hit {
            assert!(n > 20, "only {n} writes and syncs");
            break;
        }
    }
    assert!(failed > 3, "only {failed} commits failed");
}

/// The version that the run has now: after an unknown outcome either is right.
fn round_version(store: &SqliteStore, acked: u64, unsure: Option<u64>) -> u64 {
    let now = version(store, 1).expect("it is loaded");
    match unsure {
        Some(expected) => assert!(now == expected || now == expected + 1, "{now}"),
        None => assert_eq!(now, acked),
    }
    now
}

/// What was acknowledged is there, here and for whoever starts after a kill; all is sound.
fn check(sqlite: &Sqlite, killed: &std::path::Path, acked: u64) {
    let here = everything(sqlite.get()).expect("it is read");
    assert!(here.0[0].version >= acked);
    assert_eq!(block_on(sqlite.get().verify()), Ok(Vec::new()));
    let store = SqliteStore::open(killed, Options::default()).expect("it opens");
    let there = everything(&store).expect("it is read");
    assert!(there.0[0].version >= acked);
    assert_eq!(block_on(store.verify()), Ok(Vec::new()));
}

#[test]
fn any_write_or_sync_may_fail() {
    sweep(IoFault::Failed);
}

#[test]
fn any_write_may_find_the_disk_full() {
    sweep(IoFault::Full);
}

/// Says no to every write and sync while it is on, and remembers syncs after a failed one.
#[derive(Default)]
struct Outage {
    fault: Mutex<Option<IoFault>>,
}

impl IoFaults for Outage {
    fn check(&self, op: IoOp, _: FileKind) -> Option<IoFault> {
        (*self.fault.lock().expect("nobody panics with it")).filter(|_| op == IoOp::Write)
    }
}

#[test]
fn work_goes_on_when_there_is_space_again() {
    let outage = Arc::new(Outage::default());
    let io_faults: Option<Arc<dyn IoFaults>> = Some(outage.clone());
    let sqlite = Sqlite::with(Options { io_faults, ..Options::default() });
    let store = sqlite.get();
    commit(store, vec![create(1)]).expect("it is written");
    outage.fault.lock().expect("nobody panics with it").replace(IoFault::Full);
    for _ in 0..3 {
        let full = commit(store, vec![change(1, 1)]);
        assert!(matches!(&full, Err(Error::Unavailable(why)) if why.contains("disk is full")));
        // Reading goes on.
        assert_eq!(version(store, 1), Ok(1));
        assert_eq!(block_on(store.last_event()), Ok(1));
    }
    outage.fault.lock().expect("nobody panics with it").take();
    commit(store, vec![change(1, 1)]).expect("there is space again");
    outage.fault.lock().expect("nobody panics with it").replace(IoFault::Failed);
    for _ in 0..3 {
        let failed = commit(store, vec![change(1, 2)]);
        assert!(matches!(failed, Err(Error::Unavailable(_) | Error::Unknown(_))), "{failed:?}");
    }
    outage.fault.lock().expect("nobody panics with it").take();
    let now = version(store, 1).expect("it is read");
    assert!(now == 2 || now == 3, "{now}");
    commit(store, vec![change(1, now)]).expect("the disk works again");
    assert_eq!(block_on(store.verify()), Ok(Vec::new()));
}

#[test]
fn a_log_cut_anywhere_gives_the_state_after_some_batch() {
    let sqlite = Sqlite::new();
    let mut states = vec![Ok((Vec::new(), Vec::new()))];
    commit(sqlite.get(), vec![create(1)]).expect("it is written");
    states.push(everything(sqlite.get()));
    for n in 2..=12 {
        commit(sqlite.get(), vec![create(n), change(n - 1, 1)]).expect("it is written");
        states.push(everything(sqlite.get()));
    }
    let log = sqlite.path().with_file_name("moa.db-wal");
    let log = std::fs::read(log).expect("there is a log");
    let mut found = std::collections::BTreeSet::new();
    for cut in (0..log.len()).step_by(1511).chain([log.len()]) {
        let (_folder, path) = sqlite.as_killed();
        std::fs::write(path.with_file_name("moa.db-wal"), &log[..cut]).expect("it is cut");
        let store = SqliteStore::open(&path, Options::default()).expect("it opens");
        let state = everything(&store);
        let batch = states.iter().position(|known| *known == state);
        found.insert(batch.unwrap_or_else(|| panic!("cut at {cut}: a state that never was")));
        assert_eq!(block_on(store.verify()), Ok(Vec::new()));
    }
    assert_eq!(found.len(), states.len(), "{found:?}");
}

#[test]
fn a_full_file_system_refuses_and_recovers() {
    let mount = match Tmpfs::mount("2m") {
        Ok(mount) => mount,
        Err(why) => {
            eprintln!("SKIPPED a_full_file_system_refuses_and_recovers: {why}");
            return;
        }
    };
    let path = mount.folder.path().join("moa.db");
    let store = SqliteStore::open(&path, Options::default()).expect("it opens");
    let ballast = mount.folder.path().join("ballast");
    std::fs::write(&ballast, vec![1; 512 << 10]).expect("there is space");
    let mut n = 0;
    let refused = loop {
        n += 1;
        let mut row = build::row(build::run(n));
        row.params = Arc::new(serde_json::json!("x".repeat(50_000)));
        if let Err(error) = commit(&store, vec![build::create(row)]) {
            break error;
        }
        assert!(n < 1000, "2 MiB are never full");
    };
    assert!(matches!(&refused, Error::Unavailable(why) if why.contains("full")), "{refused}");
    assert_eq!(version(&store, n), Ok(0));
    assert_eq!(version(&store, n - 1), Ok(1));
    std::fs::remove_file(ballast).expect("it is there");
    commit(&store, vec![create(n)]).expect("there is space again");
    assert_eq!(block_on(store.verify()), Ok(Vec::new()));
    let due = answer(|reply| store.load(vec![build::run(n)], reply)).expect("it is loaded");
    assert!(due[0].is_some());
}

/// A small file system in memory, for as long as it lives.
struct Tmpfs {
    folder: tempfile::TempDir,
}

impl Tmpfs {
    fn mount(size: &str) -> Result<Self, String> {
        let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
        let mut command = std::process::Command::new("mount");
        command.args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(folder.path());
        match command.output() {
            Ok(output) if output.status.success() => Ok(Self { folder }),
            Ok(output) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
            Err(e) => Err(format!("mount: {e}")),
        }
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let unmount =
            std::process::Command::new("umount").arg("-l").arg(self.folder.path()).status();
        assert!(unmount.is_ok_and(|status| status.success()), "it is unmounted");
    }
}
