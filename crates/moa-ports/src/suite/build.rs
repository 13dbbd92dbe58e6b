//! Rows, events and commits to test with.

use std::sync::Arc;

use moa_core::event::{Event, InstIx, Published, RunCreated};
use moa_core::ids::{Name, NodeId, RunId, VersionHash};
use moa_core::machine::{Emitted, Input, MessageBody};
use moa_core::run::{
    Fairness, ParentRef, Phase, RunExtra, RunRow, RunStatus, StepData, StepRow, TriggerRef,
};
use moa_core::step::{ErrorKind, StepError, StepStatus};
use moa_core::time::Millis;
use moa_core::trigger::{
    Amendment, Outcome, Record, TriggerId, topic_of_ends, topic_of_event, topic_of_starts,
};
use moa_core::workflow::{OnLimit, Priority};
use serde_json::{Value as Json, json};

use crate::store::{
    Batch, Commit, ConcurrencySlot, Message, ReadyTask, StartGuard, TaskQueue, WorkflowVersion,
};
use crate::triggers::{Post, TriggerCommit};

/// The instant of all batches, unless a case says otherwise.
pub const NOW: Millis = Millis(1_750_000_000_000);

/// The `n`-th run: ids are in the order of `n`, and look as those of moa do.
pub fn run(n: u64) -> RunId {
    RunId::v7(1_750_000_000_000 + n, u128::from(moa_core::ids::mix(n)))
}

/// A name.
///
/// # Panics
/// When the text is none.
pub fn name(text: &str) -> Name {
    Name::new(text).expect("the tests use names that are names")
}

/// The row of a pending run with ordinary content.
pub fn row(run: RunId) -> RunRow {
    RunRow {
        run,
        workflow: name("build"),
        hash: VersionHash([7; 32]),
        status: RunStatus::Pending,
        phase: Phase::Main,
        priority: Priority::Medium,
        params: Arc::new(json!({"branch": "main"})),
        parent: None,
        trigger: None,
        created_at: NOW,
        started_at: None,
        finished_at: None,
        output: None,
        error: None,
        extra: RunExtra { cause: "test".to_owned(), ..RunExtra::default() },
    }
}

/// The row of a run with that status, and the instants that belong to it.
pub fn row_in(run: RunId, status: RunStatus) -> RunRow {
    let mut row = row(run);
    row.status = status;
    row.started_at = (status != RunStatus::Pending).then_some(NOW);
    row.finished_at = status.is_terminal().then_some(NOW);
    row
}

/// A step row with nothing but its status.
pub fn step(inst: InstIx, status: StepStatus) -> StepRow {
    StepRow {
        inst,
        plan: inst,
        owner: None,
        iteration: 0,
        status,
        wait: None,
        skip: None,
        attempt: 0,
        released: 0,
        node: None,
        queue_key: None,
        agent: None,
        fairness_key: None,
        ready_at: None,
        started_at: None,
        finished_at: None,
        until: None,
        output: None,
        error: None,
        data: None,
    }
}

/// A step whose task can be claimed.
pub fn ready(inst: InstIx, queue_key: i64) -> StepRow {
    ready_for("worker", inst, queue_key)
}

/// A step whose task an agent can claim.
pub fn ready_for(agent: &str, inst: InstIx, queue_key: i64) -> StepRow {
    let agent = Some(name(agent));
    StepRow { queue_key: Some(queue_key), agent, ..step(inst, StepStatus::Ready) }
}

/// The queue of an agent's tasks with a fairness key; "" is none.
pub fn queue(agent: &str, key: &str) -> TaskQueue {
    TaskQueue { agent: name(agent), key: (!key.is_empty()).then(|| key.into()) }
}

/// A step whose task waits in a queue.
pub fn ready_in(queue: TaskQueue, inst: InstIx, queue_key: i64) -> StepRow {
    StepRow { fairness_key: queue.key, ..ready_for(queue.agent.as_str(), inst, queue_key) }
}

/// Tasks in short: run, step, queue key.
pub fn in_short(ready: Vec<ReadyTask>) -> Vec<(RunId, InstIx, i64)> {
    ready.into_iter().map(|task| (task.run, task.inst, task.queue_key)).collect()
}

/// A step of which an attempt runs on a node.
pub fn running(inst: InstIx, attempt: u32, node: NodeId) -> StepRow {
    StepRow { attempt, node: Some(node), ..step(inst, StepStatus::Running) }
}

/// A value with all that JSON can hold: depth, unicode, control characters, numbers at the edge.
pub fn rich() -> Json {
    json!({
        "z": [null, true, false, "", "ünïcödé \u{1F600}", "nul \u{0} and \"quotes\" \\ \n"],
        "a": {"deep": [[[[1]]]], "order": "is kept"},
        "numbers": [0, -1, i64::MIN, i64::MAX, u64::MAX, 0.1, 1e308, 5e-324, -0.0, 1.0],
        "long": "x".repeat(10_000),
    })
}

/// A run's row with something in every column.
pub fn full_row(run: RunId, parent: RunId) -> RunRow {
    RunRow {
        priority: Priority::Critical,
        phase: Phase::Finally,
        params: Arc::new(rich()),
        parent: Some(ParentRef { run: parent, step: 3, depth: 2 }),
        trigger: Some(Arc::new(TriggerRef {
            trigger: TriggerId(u128::MAX),
            name: "build/nightly".to_owned(),
            key: "ünïcödé".to_owned(),
            slot: Some(Millis(-1)),
            vars: Arc::new(json!({"slot": rich()})),
        })),
        output: Some(Arc::new(rich())),
        error: Some(StepError::new(ErrorKind::Children, "two steps failed: ü")),
        extra: RunExtra {
            cause: "schedule nightly".to_owned(),
            concurrency_key: Some("deploy".to_owned()),
            fairness: Some(Fairness { key: "tenant".into(), weight: 3 }),
            cancel: Some("asked to".to_owned()),
            paused: true,
            forked_from: Some(parent),
            ..RunExtra::default()
        },
        ..row_in(run, RunStatus::Failed)
    }
}

/// A step row with something in every column.
pub fn full_step(inst: InstIx) -> StepRow {
    StepRow {
        inst,
        plan: u32::MAX,
        owner: Some(u32::MAX - 1),
        iteration: 9,
        status: StepStatus::Failed,
        wait: Some(moa_core::step::WaitReason::UnknownOutcome),
        skip: Some(moa_core::step::SkipReason::Container),
        attempt: 1000,
        released: 2,
        node: Some(NodeId(u64::MAX)),
        queue_key: Some(i64::MIN),
        agent: Some(name("worker")),
        fairness_key: Some("tenant \u{1F600} 'a'".into()),
        ready_at: Some(Millis(-1)),
        started_at: Some(Millis(0)),
        finished_at: Some(Millis(i64::MAX)),
        until: Some(NOW),
        output: Some(Arc::new(rich())),
        error: Some(StepError::new(ErrorKind::Lost, "the node is gone")),
        data: Some(Arc::new(StepData {
            branch: Some(1),
            opened: true,
            block: Some((5, 0, 3)),
            items: Some(Arc::new(json!([1, 2.5, "three"]))),
            ..StepData::default()
        })),
    }
}

/// The event that every history begins with.
pub fn created(row: &RunRow) -> Event {
    Event::RunCreated(Box::new(RunCreated {
        run: row.run,
        workflow: row.workflow.clone(),
        hash: row.hash,
        params: Arc::clone(&row.params),
        priority: row.priority,
        parent: row.parent,
        trigger: row.trigger.clone(),
        seed: None,
        concurrency_key: row.extra.concurrency_key.clone(),
        fairness: row.extra.fairness.clone(),
        trace: row.extra.trace,
        cause: row.extra.cause.clone(),
    }))
}

/// The commit that creates a run with this row.
pub fn create(row: RunRow) -> Commit {
    Commit { events: vec![created(&row)], row: Some(Box::new(row.clone())), ..silent(row.run, 0) }
}

/// A commit that changes nothing.
pub fn silent(run: RunId, expected: u64) -> Commit {
    Commit {
        run,
        expected,
        at: NOW,
        row: None,
        steps: Vec::new(),
        timers: Vec::new(),
        waits: Vec::new(),
        messages: Vec::new(),
        consumed: Vec::new(),
        events: Vec::new(),
        start: None,
        ended: false,
    }
}

/// A commit with one event and nothing else.
pub fn change(run: RunId, expected: u64) -> Commit {
    Commit { events: vec![Event::RunPaused], ..silent(run, expected) }
}

/// A commit that ends a run.
pub fn end(run: RunId, expected: u64, status: RunStatus) -> Commit {
    let row = Some(Box::new(row_in(run, status)));
    Commit { row, ended: true, ..change(run, expected) }
}

/// A commit with steps.
pub fn with_steps(commit: Commit, steps: Vec<StepRow>) -> Commit {
    Commit { steps, ..commit }
}

/// The creation of a run that wants a slot.
pub fn contender(run: RunId, key: &str, limit: u32, on_limit: OnLimit) -> Commit {
    let slot = ConcurrencySlot { key: key.to_owned(), limit, on_limit, queue_key: 0 };
    guarded(run, StartGuard { concurrency: Some(slot), ..StartGuard::default() })
}

/// The creation of a run with a guard.
pub fn guarded(run: RunId, guard: StartGuard) -> Commit {
    Commit { start: Some(guard), ..create(row(run)) }
}

/// The creation of a run with an idempotency key.
pub fn keyed(run: RunId, key: &str) -> Commit {
    let guard = StartGuard { idempotency_key: Some(key.to_owned()), ..StartGuard::default() };
    guarded(run, guard)
}

/// One transaction of these commits.
pub fn batch(commits: Vec<Commit>) -> Batch {
    Batch { now: NOW, commits, ..Batch::default() }
}

/// A signal to a run.
pub fn signal(to: RunId, name: &str) -> Message {
    let payload = Arc::new(json!({"name": name}));
    let input = Input::Signal { name: name.to_owned(), key: None, payload };
    Message { to, body: MessageBody::Input(input) }
}

/// An event for the bus.
pub fn emitted(event: &str) -> Message {
    let event = Emitted { event: event.to_owned(), source: None, data: Arc::new(rich()) };
    Message { to: moa_core::machine::BUS, body: MessageBody::Emitted(Arc::new(event)) }
}

/// An event that a run emits.
pub fn emitted_by(run: RunId, event: &str) -> Message {
    let event = Emitted { event: event.to_owned(), source: Some(run), data: Arc::new(rich()) };
    Message { to: moa_core::machine::BUS, body: MessageBody::Emitted(Arc::new(event)) }
}

/// An event that somebody publishes.
pub fn post(event: &str) -> Post {
    let data = Arc::new(rich());
    let by = Some("somebody".to_owned());
    Post { event: Published { event: event.to_owned(), by, data, ..Published::default() } }
}

/// A workflow version; `n` makes its hash.
pub fn version(workflow: &str, n: u8, label: Option<&str>) -> WorkflowVersion {
    WorkflowVersion {
        workflow: name(workflow),
        hash: VersionHash(std::array::from_fn(|i| n.wrapping_mul(31).wrapping_add(i as u8))),
        version: label.map(str::to_owned),
        source: format!("name: {workflow}\n# version {n}\n"),
        plan: "{}".to_owned(),
        created_at: NOW,
    }
}

/// A commit of a new trigger with something of every kind.
pub fn trigger() -> TriggerCommit {
    let spec = super::triggers::spec("build", "nightly");
    let occurrence = super::triggers::occurrence("a", 1);
    let run = occurrence.run.unwrap_or(RunId(1));
    let amendment = Amendment {
        key: "a".to_owned(),
        run,
        outcome: Some((Outcome::Failed, "gone".to_owned())),
        result: Some(RunStatus::Failed),
    };
    TriggerCommit {
        spec: Some(Arc::new(spec.clone())),
        due_at: Some(NOW),
        records: vec![Record { occurrence, new: true }],
        amendments: vec![amendment],
        messages: vec![emitted("done")],
        listens: Some(vec![
            topic_of_event("done"),
            topic_of_starts(&name("build")),
            topic_of_ends(&name("build")),
        ]),
        ..super::triggers::commit(&spec, 0)
    }
}
