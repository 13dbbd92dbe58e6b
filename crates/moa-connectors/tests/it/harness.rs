//! A worker in a project of its own, and what tests ask of it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use moa_connectors::{Channels, LocalWorker, SharedAgents, WorkerOptions, log_path, read_log};
use moa_core::agent::{AgentKind, AgentSpec, CommandSpec};
use moa_core::ids::{Name, NodeId, RunId};
use moa_core::limits::ATTEMPT_LOG_BYTES_DEFAULT;
use moa_core::machine::Outcome;
use moa_core::step::{ErrorKind, StepError};
use moa_core::template::{Rendered, SecretSlot};
use moa_core::time::{Millis, Span};
use moa_core::trace::TraceContext;
use moa_ports::agent::{Completion, Completions, Secrets, Task, Worker as _};
use serde_json::{Value as Json, json};
use tempfile::TempDir;

/// Only ends a test that would hang for ever.
pub const SAFETY_NET: Duration = Duration::from_secs(120);

pub struct World {
    pub dir: TempDir,
    pub agents: SharedAgents,
    pub worker: Arc<LocalWorker>,
    pub store_id: String,
    pub node: NodeId,
    done: Mutex<Receiver<Completion>>,
}

struct Sink(Sender<Completion>);

impl Completions for Sink {
    fn complete(&self, done: Completion) {
        let _ = self.0.send(done);
    }
}

struct Known(BTreeMap<String, String>);

impl Secrets for Known {
    fn get(&self, name: &str) -> Option<zeroize::Zeroizing<String>> {
        self.0.get(name).cloned().map(zeroize::Zeroizing::new)
    }

    fn known(&self) -> Vec<zeroize::Zeroizing<String>> {
        self.0.values().cloned().map(zeroize::Zeroizing::new).collect()
    }
}

pub fn runtime() -> &'static tokio::runtime::Runtime {
    static RUNTIME: OnceLock<tokio::runtime::Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(2).enable_all().build().expect("a runtime")
    })
}

pub fn number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

impl World {
    pub fn new() -> Self {
        Self::with_channels(Channels::default())
    }

    pub fn with_channels(channels: Channels) -> Self {
        Self::with(channels, [])
    }

    /// One whose secrets are these, among others.
    pub fn with_secrets(secrets: impl IntoIterator<Item = (String, String)>) -> Self {
        Self::with(Channels::default(), secrets)
    }

    /// One with these channels, and these secrets among others.
    pub fn with(channels: Channels, more: impl IntoIterator<Item = (String, String)>) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let (sender, receiver) = channel();
        let secrets = [("TOKEN", "topsecret-7f3c9e"), ("PIN", "abc")];
        let secrets = secrets.map(|(k, v)| (k.to_owned(), v.to_owned()));
        let secrets: BTreeMap<_, _> = secrets.into_iter().chain(more).collect();
        let store_id = format!("store-{}-{}", std::process::id(), number());
        let (agents, node) = (SharedAgents::default(), NodeId(number()));
        let options = WorkerOptions {
            runtime: runtime().handle().clone(),
            project_dir: dir.path().to_owned(),
            state_dir: dir.path().join(".moa"),
            agents: agents.clone(),
            secrets: Arc::new(Known(secrets)),
            node,
            store_id: store_id.clone(),
            channels: channels.into(),
            log_bytes_max: ATTEMPT_LOG_BYTES_DEFAULT,
            traced: None,
        };
        let worker = LocalWorker::new(options, Arc::new(Sink(sender)));
        Self { dir, agents, worker, store_id, node, done: Mutex::new(receiver) }
    }

    /// Another worker beside this one, which comes and goes.
    pub fn second_worker(&self) {
        let (sender, _) = channel();
        let options = WorkerOptions {
            runtime: runtime().handle().clone(),
            project_dir: self.dir.path().to_owned(),
            state_dir: self.path(".moa"),
            agents: SharedAgents::default(),
            secrets: Arc::new(Known(BTreeMap::new())),
            node: NodeId(number()),
            store_id: "lone".to_owned(),
            channels: Channels::default().into(),
            log_bytes_max: ATTEMPT_LOG_BYTES_DEFAULT,
            traced: None,
        };
        drop(LocalWorker::new(options, Arc::new(Sink(sender))));
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Makes these the agents that there are.
    pub fn declare(&self, specs: impl IntoIterator<Item = AgentSpec>) {
        self.agents.replace(specs.into_iter().map(Arc::new));
    }

    pub fn task(&self, agent: &str, params: Json) -> Task {
        let run = RunId(u128::from(number()));
        Task {
            run,
            trace: TraceContext::of(run),
            workflow: name("flow"),
            inst: 3,
            step: "step".to_owned(),
            iteration: String::new(),
            attempt: 1,
            agent: name(agent),
            action: "act".to_owned(),
            params: Arc::new(Rendered { value: params, secrets: Vec::new() }),
            env: Arc::default(),
            inputs: Arc::new(json!({})),
            timeout: None,
            idempotency_key: format!("{run}/step"),
            once: false,
            leased_at: Millis(0),
        }
    }

    /// The end of some attempt.
    pub fn next(&self) -> Completion {
        let done = self.done.lock().expect("not poisoned");
        done.recv_timeout(SAFETY_NET).expect("every attempt ends")
    }

    /// Whether an attempt has ended already.
    pub fn next_at_once(&self) -> Option<Completion> {
        self.done.lock().expect("not poisoned").try_recv().ok()
    }

    pub fn run(&self, task: Task) -> Outcome {
        let (run, attempt) = (task.run, task.attempt);
        self.worker.start(task);
        let done = self.next();
        assert_eq!((done.run, done.attempt), (run, attempt));
        done.outcome
    }

    /// Runs a script as an agent of kind `command`.
    pub fn script(&self, script: &str) -> Outcome {
        self.declare([command("agent", script)]);
        self.run(self.task("agent", json!({})))
    }

    /// The whole log of a task's attempt.
    pub fn log(&self, task: &Task) -> String {
        let state = self.path(".moa");
        let path = log_path(&state, task.run, &task.step, &task.iteration, task.attempt);
        match read_log(&path, 0, usize::MAX >> 1) {
            Ok(part) => String::from_utf8_lossy(&part.bytes).into_owned(),
            Err(_) => String::new(),
        }
    }
}

pub fn name(text: &str) -> Name {
    Name::new(text).expect("a name")
}

pub fn agent(id: &str, kind: AgentKind) -> AgentSpec {
    AgentSpec {
        id: name(id),
        name: None,
        description: None,
        tier: None,
        labels: BTreeMap::new(),
        actions: BTreeMap::new(),
        concurrency: None,
        limits: Default::default(),
        retry: None,
        timeout: None,
        once: false,
        env: BTreeMap::new(),
        kind,
    }
}

pub fn command_spec(argv: &[&str]) -> CommandSpec {
    CommandSpec {
        argv: argv.iter().map(|&s| s.to_owned()).collect(),
        cwd: None,
        retry_exit_codes: Vec::new(),
        permanent_exit_codes: Vec::new(),
        grace: Span::seconds(60),
        limits: Default::default(),
    }
}

pub fn command(id: &str, script: &str) -> AgentSpec {
    agent(id, AgentKind::Command(command_spec(&["sh", "-c", script])))
}

pub fn with_secret(value: Json, slots: &[(&str, usize, &str)]) -> Arc<Rendered> {
    let slot = |&(pointer, at, name): &(&str, usize, &str)| SecretSlot {
        pointer: pointer.to_owned(),
        at,
        name: name.to_owned(),
    };
    Arc::new(Rendered { value, secrets: slots.iter().map(slot).collect() })
}

pub fn output(outcome: Outcome) -> Json {
    match outcome {
        Outcome::Succeeded { output } => output.map_or(Json::Null, |json| (*json).clone()),
        other => panic!("not a success: {other:?}"),
    }
}

pub fn failure(outcome: Outcome) -> StepError {
    match outcome {
        Outcome::Failed { error } => error,
        other => panic!("not a failure: {other:?}"),
    }
}

/// The message of a failure of that kind.
pub fn failed(kind: ErrorKind, outcome: Outcome) -> String {
    let error = failure(outcome);
    assert_eq!(error.kind, kind, "{}", error.message);
    error.message
}

/// Waits for a condition that something else brings about.
pub fn until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + SAFETY_NET;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < end, "never happened: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The number in a file that a process writes when it is up.
pub fn pid_in(path: &Path) -> i32 {
    until("a process writes its number", || {
        let text = std::fs::read_to_string(path).ok()?;
        text.strip_suffix('\n')?.trim().parse().ok()
    })
}

/// Whether a process lives (and isn't a zombie).
pub fn is_alive(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(')').map(|(_, rest)| rest.trim_start().starts_with(['Z', 'X']));
    state == Some(false)
}
