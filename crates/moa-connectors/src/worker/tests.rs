//! Agents that break the rules of futures and threads.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use moa_core::agent::{AgentKind, AgentSpec};
use moa_core::ids::{Name, NodeId, RunId};
use moa_core::limits::ATTEMPT_LOG_BYTES_DEFAULT;
use moa_core::machine::Outcome;
use moa_core::step::ErrorKind;
use moa_core::template::{Rendered, SecretSlot};
use moa_core::time::{Millis, Span};
use moa_core::trace::TraceContext;
use moa_ports::agent::{
    Agent, Completion, Completions, Output, Secrets, Task, TaskCtx, TaskError, Worker as _,
};
use serde_json::json;

use super::{LocalWorker, WorkerOptions};
use crate::{SharedAgents, SharedChannels};

/// Does what its action says.
pub(crate) struct Odd;

#[async_trait]
impl Agent for Odd {
    async fn run(&self, ctx: TaskCtx, task: Arc<Task>) -> Result<Output, TaskError> {
        match task.action.as_str() {
            "panic" => panic!("at once"),
            "panic later" => {
                tokio::task::yield_now().await;
                panic!("{}", "later".to_owned());
            }
            "yield" => tokio::time::sleep(Duration::from_millis(1)).await,
            "cancel" => return Err(TaskError::Cancelled),
            "unknown" => return Err(TaskError::Unknown("who knows".to_owned())),
            "late" => {
                ctx.cancelled.cancelled().await;
                return Ok(Output { value: Some(Arc::new(json!("in spite of all"))) });
            }
            _ => std::future::pending().await,
        }
        Ok(Output { value: Some(ctx.params) })
    }
}

struct Sink(Mutex<Sender<Completion>>);

impl Completions for Sink {
    fn complete(&self, done: Completion) {
        let _ = self.0.lock().expect("not poisoned").send(done);
    }
}

struct NoSecrets;

impl Secrets for NoSecrets {
    fn get(&self, name: &str) -> Option<zeroize::Zeroizing<String>> {
        assert_ne!(name, "POISON", "no secret is called so");
        None
    }
}

struct World {
    runtime: tokio::runtime::Runtime,
    worker: Arc<LocalWorker>,
    done: Receiver<Completion>,
}

fn spec(id: &str, once: bool) -> Arc<AgentSpec> {
    let kind = AgentKind::Builtin(id.trim_end_matches("-once").to_owned());
    Arc::new(AgentSpec {
        id: Name::new(id).expect("a name"),
        name: None,
        description: None,
        tier: None,
        labels: Default::default(),
        actions: Default::default(),
        concurrency: None,
        limits: Default::default(),
        retry: None,
        timeout: None,
        once,
        env: Default::default(),
        kind,
    })
}

fn world() -> World {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    world_on(runtime.worker_threads(1).enable_all().build().expect("a runtime"))
}

fn world_on(runtime: tokio::runtime::Runtime) -> World {
    let names = ["test-inline", "test-spawned"].map(|id| spec(id, false));
    let once = ["test-inline-once", "test-spawned-once"].map(|id| spec(id, true));
    let (sender, done) = channel();
    let options = WorkerOptions {
        runtime: runtime.handle().clone(),
        project_dir: "/nowhere".into(),
        state_dir: "/nowhere/.moa".into(),
        agents: SharedAgents::new(names.into_iter().chain(once)),
        secrets: Arc::new(NoSecrets),
        node: NodeId(1),
        store_id: "unit".to_owned(),
        channels: SharedChannels::default(),
        log_bytes_max: ATTEMPT_LOG_BYTES_DEFAULT,
        traced: None,
    };
    let worker = LocalWorker::new(options, Arc::new(Sink(Mutex::new(sender))));
    World { runtime, worker, done }
}

fn task(agent: &str, action: &str) -> Task {
    Task {
        run: RunId(1),
        trace: TraceContext::of(RunId(1)),
        workflow: Name::new("flow").expect("a name"),
        inst: 0,
        step: "step".to_owned(),
        iteration: String::new(),
        attempt: 1,
        agent: Name::new(agent).expect("a name"),
        action: action.to_owned(),
        params: Arc::new(Rendered { value: json!({"n": 1}), secrets: Vec::new() }),
        env: Arc::default(),
        inputs: Arc::default(),
        timeout: None,
        idempotency_key: "1/step".to_owned(),
        once: false,
        leased_at: Millis(0),
    }
}

impl World {
    fn run(&self, agent: &str, action: &str) -> Outcome {
        self.worker.start(task(agent, action));
        self.next()
    }

    fn next(&self) -> Outcome {
        self.done.recv_timeout(Duration::from_secs(60)).expect("every attempt ends").outcome
    }
}

fn failed(outcome: Outcome) -> (ErrorKind, String) {
    match outcome {
        Outcome::Failed { error } => (error.kind, error.message),
        other => panic!("not a failure: {other:?}"),
    }
}

#[test]
fn a_panic_is_a_failure() {
    let world = world();
    for agent in ["test-inline", "test-spawned"] {
        let why = |text: &str| format!("the agent's code panicked: {text}");
        let retry = ErrorKind::Retryable;
        assert_eq!(failed(world.run(agent, "panic")), (retry, why("at once")));
        assert_eq!(failed(world.run(agent, "panic later")), (retry, why("later")));
        let (kind, _) = failed(world.run(&format!("{agent}-once"), "panic"));
        assert_eq!(kind, ErrorKind::UnknownOutcome);
    }
    assert_eq!(world.worker.running(), 0);
}

#[test]
fn a_panic_before_the_agent_is_asked_is_a_failure() {
    let world = world();
    for agent in ["test-inline", "test-spawned", "test-inline-once"] {
        let slot = SecretSlot { pointer: "/key".to_owned(), at: 0, name: "POISON".to_owned() };
        let params = Rendered { value: json!({"key": ""}), secrets: vec![slot] };
        world.worker.start(Task { params: Arc::new(params), ..task(agent, "yield") });
        let (kind, why) = failed(world.next());
        // Nothing has happened yet: it is tried again, whatever the action.
        assert_eq!(kind, ErrorKind::Retryable);
        assert!(why.contains("no secret is called so"), "{why}");
    }
    assert_eq!(world.worker.running(), 0);
}

#[test]
fn what_is_not_ready_at_once_goes_on_by_itself() {
    let world = world();
    for agent in ["test-inline", "test-spawned"] {
        let output = Some(Arc::new(json!({"n": 1})));
        assert_eq!(world.run(agent, "yield"), Outcome::Succeeded { output });
        let (kind, _) = failed(world.run(agent, "cancel"));
        assert_eq!(kind, ErrorKind::Cancelled, "nobody asked for it");
        assert_eq!(failed(world.run(agent, "unknown")).0, ErrorKind::Retryable);
        let once = failed(world.run(&format!("{agent}-once"), "unknown"));
        assert_eq!(once, (ErrorKind::UnknownOutcome, "who knows".to_owned()));
    }
}

#[test]
fn what_was_done_in_time_counts_though_it_was_asked_to_stop() {
    let world = world();
    for agent in ["test-inline", "test-spawned"] {
        world.worker.start(task(agent, "late"));
        world.worker.stop(RunId(1), 0, 1, true);
        let output = Some(Arc::new(json!("in spite of all")));
        assert_eq!(world.next(), Outcome::Succeeded { output });
    }
}

#[test]
fn what_does_not_stop_is_given_up() {
    // On a paused clock, so that the patience of the worker costs no time.
    let mut paused = tokio::runtime::Builder::new_current_thread();
    let world = world_on(paused.enable_all().start_paused(true).build().expect("a runtime"));
    let mut hang = task("test-spawned", "hang");
    hang.timeout = Some(Span::minutes(5));
    world.worker.start(hang);
    world.runtime.block_on(async { tokio::time::sleep(Duration::from_secs(360)).await });
    let (kind, why) = failed(world.done.try_recv().expect("it was given up").outcome);
    assert_eq!(kind, ErrorKind::Timeout);
    assert!(why.contains("did not stop"), "{why}");
}

#[test]
fn attempts_that_end_with_the_runtime_are_released() {
    let world = world();
    world.worker.start(task("test-spawned", "hang"));
    world.worker.start(task("test-inline", "hang"));
    world.runtime.shutdown_timeout(Duration::from_secs(60));
    let outcomes: Vec<Outcome> = world.done.try_iter().map(|done| done.outcome).collect();
    assert_eq!(outcomes, [Outcome::Released, Outcome::Released]);
}
