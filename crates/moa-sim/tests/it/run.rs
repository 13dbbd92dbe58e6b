//! Many seeds at once, and what to say of one that fails.

use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use moa_sim::coverage::Coverage;
use moa_sim::{Options, simulate};

/// Events of one seed, before the faults stop and everything has to end.
pub const EVENTS: u64 = 2_000;

/// What came of many seeds.
#[derive(Default)]
pub struct Summary {
    pub seeds: u64,
    pub events: u64,
    pub runs: u64,
    pub attempts: u64,
    pub coverage: Coverage,
    /// Seeds that failed, and how.
    pub failures: Vec<(u64, String)>,
    pub seconds: f64,
}

/// A number from the environment.
pub fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is not a number: {text}")))
}

/// The usual options.
pub fn options(seed: u64) -> Options {
    let events = number("MOA_SIM_EVENTS").unwrap_or(EVENTS);
    Options { seed, events, plant: None, trace: false }
}

/// Simulates seeds on all cores.
pub fn all(seeds: &[u64]) -> Summary {
    let start = Instant::now();
    let next = AtomicU64::new(0);
    let summary = Mutex::new(Summary::default());
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
    let work = || {
        while let Some(seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed) as usize) {
            let report = simulate(&options(*seed));
            let mut sum = summary.lock().expect("no thread panicked");
            sum.seeds += 1;
            sum.events += report.events;
            sum.runs += report.runs as u64;
            sum.attempts += report.executions as u64;
            sum.coverage.add(&report.coverage);
            sum.failures.extend(report.failure.map(|failure| (*seed, failure)));
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(work);
        }
    });
    let mut sum = summary.into_inner().expect("no thread panicked");
    sum.failures.sort();
    sum.seconds = start.elapsed().as_secs_f64();
    sum
}

impl Summary {
    /// One line: how much, how fast.
    pub fn line(&self) -> String {
        let Self { seeds, events, runs, attempts, seconds, .. } = self;
        let (a, b) = (*seeds as f64 / seconds, *events as f64 / seconds);
        format!(
            "{seeds} seeds, {events} events, {runs} runs, {attempts} attempts in {seconds:.1} s: \
             {a:.0} seeds/s, {b:.0} events/s"
        )
    }

    /// Panics with the first failures, and how to see them again.
    pub fn must_hold(&self) {
        let Some((first, _)) = self.failures.first() else { return };
        let shown = self.failures.iter().take(5);
        let shown: Vec<_> = shown.map(|(seed, what)| format!("seed {seed}: {what}")).collect();
        panic!(
            "{} of {} seeds fail, at {}\n{}\nreplay: MOA_SIM_SEED={first} cargo test -p moa-sim \
             replay -- --nocapture",
            self.failures.len(),
            self.seeds,
            version(),
            shown.join("\n")
        );
    }
}

/// The version, and the commit when there is one to be found.
fn version() -> String {
    let git = Command::new("git").args(["rev-parse", "--short", "HEAD"]).output();
    let commit = git.ok().filter(|o| o.status.success());
    let commit = commit.map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned());
    format!("version {}, commit {}", env!("CARGO_PKG_VERSION"), commit.unwrap_or_default())
}
