//! How many durable steps a second the store takes, in the shape in which the engine writes them:
//! many runs at once of ten steps, one after the other; each step ends in one commit (two step
//! rows, one history row), and a batch holds as many commits as arrived during the one before.
//!
//! `cargo run --release -p moa-sqlite --example throughput -- [FOLDER] [name=number ...]` with
//! runs (at once), batch (commits), steps (altogether), old (steps that are there already),
//! sync (0 or 1), cache (KiB), checkpoint (pages), open (runs that stay open: each with a running
//! step, a waiting one and a timer; how long a restart takes to find what it lost). Prints this
//! disk's own fdatasync rate beside it.

use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Instant;

use moa_core::event::Event;
use moa_core::ids::NodeId;
use moa_core::machine::TimerKey;
use moa_core::run::{RunStatus, StepRow};
use moa_core::step::StepStatus;
use moa_core::time::{Millis, Span};
use moa_ports::store::{
    Batch, BatchOutcome, Commit, CommitOutcome, DueAsk, Error, Snapshot, Store,
};
use moa_ports::suite::{answer, build};
use moa_sqlite::{Options, SqliteStore};

const NODE: NodeId = NodeId(0x1234_5678_9ABC_DEF0);
const STEPS_OF_RUN: u32 = 10;

struct Settings {
    runs: u64,
    batch: usize,
    steps: u64,
    old: u64,
    open: u64,
    options: Options,
}

fn main() {
    let mut folder = std::env::temp_dir();
    let mut settings = Settings {
        runs: 4000,
        batch: 2000,
        steps: 400_000,
        old: 0,
        open: 0,
        options: Options::default(),
    };
    for argument in std::env::args().skip(1) {
        let Some((name, number)) = argument.split_once('=') else {
            folder = argument.into();
            continue;
        };
        let number: u64 = number.parse().expect("a number");
        let options = &mut settings.options;
        match name {
            "runs" => settings.runs = number,
            "batch" => settings.batch = number as usize,
            "steps" => settings.steps = number,
            "old" => settings.old = number,
            "open" => settings.open = number,
            "sync" => options.synchronous_full = number > 0,
            "cache" => options.cache_kib = number as u32,
            "checkpoint" => options.checkpoint_pages = number as u32,
            _ => panic!("no setting {name}"),
        }
    }
    let folder = tempfile::tempdir_in(folder).expect("a folder");
    println!("fdatasync of 4 KiB: {:.0}/s", fdatasyncs(folder.path()));
    let path = folder.path().join("moa.db");
    if settings.open > 0 {
        restart(&path, &settings);
    } else {
        measure(&path, &settings);
    }
    println!("fdatasync of 4 KiB: {:.0}/s", fdatasyncs(folder.path()));
}

/// Appends and syncs 4 KiB again and again, over space that is there already.
fn fdatasyncs(folder: &Path) -> f64 {
    let mut file = std::fs::File::create(folder.join("probe")).expect("a file");
    file.write_all(&[1; 4 << 20]).and_then(|()| file.sync_all()).expect("it is written");
    let start = Instant::now();
    for i in 0..1000 {
        file.write_all_at(&[i as u8; 4096], i * 4096).expect("it is written");
        file.sync_data().expect("it is synced");
    }
    1000.0 / start.elapsed().as_secs_f64()
}

/// Fills a store with open runs, closes it, and does what a start does first.
fn restart(path: &Path, settings: &Settings) {
    let store = SqliteStore::open(path, settings.options.clone()).expect("it opens");
    register(&store);
    let start = Instant::now();
    let ids: Vec<u64> = (1..=settings.open).collect();
    for chunk in ids.chunks(settings.batch) {
        let waiting = |&n: &u64| {
            let mut commit = first(n);
            commit.steps.push(build::step(1, StepStatus::Waiting));
            let due = Millis(build::NOW.0 + n as i64);
            commit.timers.push((TimerKey::Step { step: 1 }, Some(due)));
            commit
        };
        let commits = chunk.iter().map(waiting).collect();
        check(answer(|reply| store.commit(build::batch(commits), reply)));
    }
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "{} runs in {seconds:.2} s; {:.0} bytes of disk a run; resident {} MiB",
        settings.open,
        size(path) as f64 / settings.open as f64,
        resident_kib() >> 10
    );
    drop(store);
    let start = Instant::now();
    let store = SqliteStore::open(path, settings.options.clone()).expect("it opens");
    let opened = start.elapsed().as_secs_f64() * 1e3;
    let ask =
        DueAsk { ready: Default::default(), triggers: 0, ..DueAsk::everything(build::NOW, 4096) };
    let due = answer(|reply| store.due(ask.clone(), reply)).expect("it is asked");
    let first_lost = start.elapsed().as_secs_f64() * 1e3;
    assert_eq!(due.lost.len() as u64, settings.open.min(4096));
    let (mut found, mut times) = (0, [0.0; 3]);
    let mut lost = due.lost;
    while !lost.is_empty() {
        found += lost.len();
        let runs: Vec<_> = lost.iter().map(|lost| lost.0).collect();
        let mut clock = Instant::now();
        let mut lap = |time: &mut f64| {
            *time += clock.elapsed().as_secs_f64() * 1e3;
            clock = Instant::now();
        };
        let loaded = answer(|reply| store.load(runs, reply)).expect("they are loaded");
        lap(&mut times[0]);
        let again = |snapshot: Option<Snapshot>| {
            let snapshot = snapshot.expect("it is there");
            let mut commit = build::silent(snapshot.row.run, snapshot.version);
            commit.events = vec![Event::StepReady { step: 0 }];
            commit.steps = vec![build::ready(0, 0)];
            commit
        };
        let commits = loaded.into_iter().map(again).collect();
        check(answer(|reply| store.commit(build::batch(commits), reply)));
        lap(&mut times[1]);
        lost = answer(|reply| store.due(ask.clone(), reply)).expect("it is asked").lost;
        lap(&mut times[2]);
    }
    println!(
        "opened in {opened:.1} ms, first lost leases after {first_lost:.1} ms, all {found} dealt \
         with after {:.1} ms (load {:.0}, commit {:.0}, due {:.0}); resident {} MiB",
        start.elapsed().as_secs_f64() * 1e3,
        times[0],
        times[1],
        times[2],
        resident_kib() >> 10
    );
}

fn measure(path: &Path, settings: &Settings) {
    let mut store = SqliteStore::open(path, settings.options.clone()).expect("it opens");
    register(&store);
    let mut world = World::default();
    if settings.old > 0 {
        let (steps, _) = world.drive(&store, settings, settings.old);
        drop(store);
        let start = Instant::now();
        store = SqliteStore::open(path, settings.options.clone()).expect("it opens");
        register(&store);
        println!("opened with {steps} old steps in {:.1} ms", start.elapsed().as_secs_f64() * 1e3);
    }
    let start = Instant::now();
    world.waits.clear();
    let (steps, batches) = world.drive(&store, settings, settings.steps);
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "{steps} steps in {seconds:.2} s: {:.0} steps/s, {batches} batches of {:.2} ms; \
         database {} MiB, log {} MiB, resident {} MiB",
        steps as f64 / seconds,
        seconds * 1e3 / f64::from(batches),
        size(path) >> 20,
        size(&path.with_extension("db-wal")) >> 20,
        resident_kib() >> 10,
    );
    world.waits.sort_by(f64::total_cmp);
    let at = |percent: usize| world.waits[(world.waits.len() - 1) * percent / 100] * 1e3;
    println!("a batch: p50 {:.2} ms, p90 {:.2}, p99 {:.2}", at(50), at(90), at(99));
    for (name, user, system) in threads() {
        let share = |ticks: u64| ticks as f64 * 1e4 / steps as f64;
        println!("{name}: {:.2} us a step in moa, {:.2} in the kernel", share(user), share(system));
    }
    let start = Instant::now();
    drop(store);
    println!("closed in {:.1} ms", start.elapsed().as_secs_f64() * 1e3);
}

fn register(store: &SqliteStore) {
    store.register(
        Millis(0),
        NODE,
        Span::seconds(60),
        Box::new(|answer| {
            answer.expect("the node registers");
        }),
    );
}

fn size(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |meta| meta.len())
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|l| l.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// Each thread's name and processor time, in hundredths of a second: its own and the kernel's.
fn threads() -> Vec<(String, u64, u64)> {
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else { return Vec::new() };
    let times = |task: std::io::Result<std::fs::DirEntry>| {
        let stat = std::fs::read_to_string(task.ok()?.path().join("stat")).ok()?;
        let (name, rest) = stat.split_once('(')?.1.rsplit_once(')')?;
        let mut fields = rest.split_whitespace().skip(11);
        let mut ticks = || fields.next()?.parse().ok();
        Some((name.to_owned(), ticks()?, ticks()?))
    };
    tasks.filter_map(times).collect()
}

/// The runs that are open, each with its version and its step.
#[derive(Default)]
struct World {
    started: u64,
    open: std::collections::VecDeque<(u64, u32)>,
    /// Seconds from each call to its answer.
    waits: Vec<f64>,
}

impl World {
    /// Writes batches until so many steps have ended; answers how many did, in how many batches.
    /// The next batch is made while the one before is being written, as the engine does.
    fn drive(&mut self, store: &SqliteStore, settings: &Settings, steps: u64) -> (u64, u32) {
        let (answer, answers) = mpsc::channel::<(Result<BatchOutcome, Error>, f64)>();
        let (mut done, mut batches, mut flying) = (0, 0, 0);
        while done < steps || !self.open.is_empty() {
            let mut commits = Vec::with_capacity(settings.batch);
            let mut room = settings.runs.saturating_sub(self.open.len() as u64 + flying);
            let mut again = Vec::new();
            while commits.len() < settings.batch {
                if room > 0 && done < steps && commits.len() % 11 == 0 {
                    room -= 1;
                    self.started += 1;
                    commits.push(first(self.started));
                    again.push((self.started, 0));
                } else if let Some((run, step)) = self.open.pop_front() {
                    commits.push(next(run, step));
                    done += 1;
                    if step + 1 < STEPS_OF_RUN {
                        again.push((run, step + 1));
                    }
                } else if room > 0 && done < steps {
                    room -= 1;
                    self.started += 1;
                    commits.push(first(self.started));
                    again.push((self.started, 0));
                } else {
                    break;
                }
            }
            // The answer of the batch before, then this one.
            if batches > 0 {
                self.done(answers.recv().expect("an answer"));
            }
            let start = Instant::now();
            let send = answer.clone();
            let batch = Batch { now: build::NOW, commits, ..Batch::default() };
            store.commit(
                batch,
                Box::new(move |outcome| {
                    let seconds = start.elapsed().as_secs_f64();
                    send.send((outcome, seconds)).expect("it is awaited");
                }),
            );
            batches += 1;
            flying = 0;
            self.open.extend(again);
        }
        self.done(answers.recv().expect("an answer"));
        (done, batches)
    }

    fn done(&mut self, (outcome, seconds): (Result<BatchOutcome, Error>, f64)) {
        check(outcome);
        self.waits.push(seconds);
    }
}

fn check(outcome: Result<BatchOutcome, Error>) {
    let outcome = outcome.expect("the batch is written");
    assert!(outcome.commits.iter().all(|c| matches!(c, CommitOutcome::Applied { seq: 1.. })));
}

/// A new run whose first step runs already.
fn first(run: u64) -> Commit {
    let mut row = build::row_in(build::run(run), RunStatus::Running);
    row.params = Arc::new(serde_json::json!({"number": run}));
    let mut commit = build::create(row);
    commit.events.push(Event::RunStarted);
    commit.events.push(Event::StepStarted { step: 0, attempt: 1, node: NODE });
    commit.steps.push(running(0));
    commit
}

/// A step ends and the next one starts, or the run ends.
fn next(run: u64, step: u32) -> Commit {
    let id = build::run(run);
    let expected = u64::from(step) + 1;
    let output = Some(Arc::new(serde_json::json!({"n": step})));
    let mut commit = if step + 1 == STEPS_OF_RUN {
        build::end(id, expected, RunStatus::Succeeded)
    } else {
        build::silent(id, expected)
    };
    commit.events = vec![Event::StepSucceeded { step, output: output.clone() }];
    let finished_at = Some(build::NOW);
    let status = StepStatus::Succeeded;
    commit.steps.push(StepRow { status, node: None, finished_at, output, ..running(step) });
    if step + 1 < STEPS_OF_RUN {
        commit.events.push(Event::StepReady { step: step + 1 });
        commit.events.push(Event::StepStarted { step: step + 1, attempt: 1, node: NODE });
        commit.steps.push(running(step + 1));
    } else {
        commit.events.push(Event::RunSucceeded { output: None });
    }
    commit
}

fn running(step: u32) -> StepRow {
    let at = Some(build::NOW);
    StepRow { ready_at: at, started_at: at, ..build::running(step, 1, NODE) }
}
