//! How many attempts a second the worker does: of `noop`, one after another from one thread, and of
//! `/bin/true`, beside how many processes a second this machine starts without moa.
//!
//! `cargo run --release -p moa-connectors --example attempts_per_second`

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Instant;

use moa_connectors::{LocalWorker, SharedAgents, SharedChannels, WorkerOptions};
use moa_core::agent::{AgentKind, AgentSpec};
use moa_core::ids::{Name, NodeId, RunId};
use moa_core::limits::ATTEMPT_LOG_BYTES_DEFAULT;
use moa_core::template::Rendered;
use moa_core::time::Millis;
use moa_core::trace::TraceContext;
use moa_ports::agent::{Completion, Completions, Secrets, Task, Worker as _};
use serde_json::json;

const NOOPS: u32 = 200_000;
const SPAWNS: u32 = 4_000;
const AT_ONCE: u32 = 8;

struct Sink(Sender<Completion>);
impl Completions for Sink {
    fn complete(&self, done: Completion) {
        let _ = self.0.send(done);
    }
}

struct NoSecrets;
impl Secrets for NoSecrets {
    fn get(&self, _name: &str) -> Option<zeroize::Zeroizing<String>> {
        None
    }
}

/// A worker whose attempts are counted.
struct Bench {
    worker: Arc<LocalWorker>,
    done: Receiver<Completion>,
    params: Arc<Rendered>,
    _dir: tempfile::TempDir,
}

type Error = Box<dyn std::error::Error>;

impl Bench {
    fn new(runtime: &tokio::runtime::Runtime) -> Result<Self, Error> {
        let dir = tempfile::tempdir()?;
        let (sender, done) = channel();
        let options = WorkerOptions {
            runtime: runtime.handle().clone(),
            project_dir: dir.path().to_owned(),
            state_dir: dir.path().join(".moa"),
            agents: SharedAgents::new([Arc::new(agent()?)]),
            secrets: Arc::new(NoSecrets),
            node: NodeId(1),
            store_id: "example".to_owned(),
            channels: SharedChannels::default(),
            log_bytes_max: ATTEMPT_LOG_BYTES_DEFAULT,
            traced: None,
        };
        let worker = LocalWorker::new(options, Arc::new(Sink(sender)));
        Ok(Self { worker, done, params: Arc::default(), _dir: dir })
    }

    fn start(&self, agent: &str, number: u32) -> Result<(), Error> {
        let run = RunId(u128::from(number));
        self.worker.start(Task {
            run,
            trace: TraceContext::of(run),
            workflow: Name::new("example")?,
            inst: 0,
            step: "step".to_owned(),
            iteration: String::new(),
            attempt: 1,
            agent: Name::new(agent)?,
            action: "run".to_owned(),
            params: self.params.clone(),
            env: Arc::default(),
            inputs: Arc::default(),
            timeout: None,
            idempotency_key: run.to_string(),
            once: false,
            leased_at: Millis(0),
        });
        Ok(())
    }

    /// Attempts a second of `noop`, one after another.
    fn noops(&self) -> Result<f64, Error> {
        let start = Instant::now();
        for number in 0..NOOPS {
            self.start("noop", number)?;
            self.done.recv()?;
        }
        Ok(f64::from(NOOPS) / start.elapsed().as_secs_f64())
    }

    /// Attempts a second of `/bin/true`, some at once.
    fn spawns(&self) -> Result<f64, Error> {
        let start = Instant::now();
        for number in 0..SPAWNS {
            if number >= AT_ONCE {
                self.done.recv()?;
            }
            self.start("true", number)?;
        }
        for _ in 0..AT_ONCE {
            self.done.recv()?;
        }
        Ok(f64::from(SPAWNS) / start.elapsed().as_secs_f64())
    }
}

fn agent() -> Result<AgentSpec, Error> {
    let command = json!({"command": {"argv": ["/bin/true"], "grace": 5000}});
    let kind: AgentKind = serde_json::from_value(command)?;
    Ok(AgentSpec {
        id: Name::new("true")?,
        name: None,
        description: None,
        tier: None,
        labels: Default::default(),
        actions: Default::default(),
        concurrency: None,
        limits: Default::default(),
        retry: None,
        timeout: None,
        once: false,
        env: Default::default(),
        kind,
    })
}

fn main() -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let bench = Bench::new(&runtime)?;
    println!("noop: {:.0} attempts/s", bench.noops()?);
    for round in 0..3 {
        let before = cpu();
        let bare = bare_spawns();
        let between = cpu();
        let moa = bench.spawns()?;
        let after = cpu();
        println!("round {round}: bare {bare:.0}/s, moa {moa:.0}/s = {:.0} %", 100.0 * moa / bare);
        println!("  CPU each, µs (user, system, children's user, children's system):");
        println!("  bare {}, moa {}", spent(before, between), spent(between, after));
    }
    Ok(())
}

fn spent(from: [f64; 4], to: [f64; 4]) -> String {
    let each = |i: usize| format!("{:.0}", (to[i] - from[i]) * 1e6 / f64::from(SPAWNS));
    (0..4).map(each).collect::<Vec<_>>().join(" ")
}

/// Seconds of processor time used by this process and by its children.
fn cpu() -> [f64; 4] {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<f64> = stat.split(' ').skip(13).take(4).flat_map(str::parse).collect();
    std::array::from_fn(|i| fields.get(i).copied().unwrap_or_default() / 100.0)
}

/// Processes a second by eight threads that do nothing else.
fn bare_spawns() -> f64 {
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                for _ in 0..SPAWNS / AT_ONCE {
                    let mut command = Command::new("/bin/true");
                    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
                    let _ = command.status();
                }
            });
        }
    });
    f64::from(SPAWNS) / start.elapsed().as_secs_f64()
}
