//! Runs a workflow's own `tests:` on the real engine, on virtual time: no agent is started, nothing is
//! sent, and hours of backoff take no time.

use std::collections::BTreeMap;
use std::sync::Arc;

use moa_core::agent::AgentSpec;
use moa_core::ids::{Name, RunId};
use moa_core::machine::{Outcome, Run};
use moa_core::run::RunStatus;
use moa_core::step::{ErrorKind, StepError, WaitReason};
use moa_core::time::{Millis, Span};
use moa_core::workflow::{Plan, StepKind};
use moa_engine::handle::{Change, StartRequest, Started};
use moa_engine::virtual_time::{Rest, World};
use moa_ports::agent::Task;
use moa_spec::model::FailKind;
use moa_spec::{MockOutcome, MockResult, WorkflowTest};
use serde::Serialize;
use serde_json::Value as Json;

/// The instant at which every test starts: 2027-01-15T08:00:00Z.
const START: Millis = Millis(1_800_000_000_000);
/// The longest virtual time of a test.
const LIMIT: Span = Span(366 * 24 * 3_600_000);
/// Things that may happen in one test.
const EVENTS_MAX: u32 = 1_000_000;

/// What became of one test.
#[derive(Debug, Clone, Serialize)]
pub struct TestResult {
    /// The test's name.
    pub name: String,
    /// Line of the file, from 1.
    pub line: u32,
    /// Whether every expectation holds.
    pub passed: bool,
    /// What does not hold, one sentence each.
    pub failures: Vec<String>,
    /// How long the run took, in virtual milliseconds.
    pub virtual_duration_ms: u64,
}

/// Runs one test of the workflow `plan`; `plans` are all workflows, for children.
pub fn run_test(
    test: &WorkflowTest,
    plan: &Plan,
    plans: &[Plan],
    agents: BTreeMap<Name, Arc<AgentSpec>>,
) -> TestResult {
    let mut failures = Vec::new();
    let duration = match play(test, plan, plans, agents) {
        Ok((state, duration)) => {
            compare(test, plan, &state, duration, &mut failures);
            duration
        }
        Err(reason) => {
            failures.push(reason);
            Span(0)
        }
    };
    TestResult {
        name: test.name.clone(),
        line: test.line,
        passed: failures.is_empty(),
        failures,
        virtual_duration_ms: duration.0,
    }
}

/// Plays the run to its end; answers its state and how long it took.
fn play(
    test: &WorkflowTest,
    plan: &Plan,
    plans: &[Plan],
    agents: BTreeMap<Name, Arc<AgentSpec>>,
) -> Result<(Run, Span), String> {
    let mut used: BTreeMap<String, usize> = BTreeMap::new();
    let mock = Box::new(move |task: &Task, _| {
        let outcomes = test.mock.iter().find(|(id, _)| id.as_str() == task.step).map(|(_, o)| o);
        let Some(outcomes) = outcomes.filter(|o| !o.is_empty()) else {
            return Some((Span(0), Outcome::Succeeded { output: None }));
        };
        let n = used.entry(task.step.clone()).or_default();
        let outcome = &outcomes[(*n).min(outcomes.len() - 1)];
        *n += 1;
        Some((outcome.after, outcome_of(outcome)))
    });
    let mut world = World::new(START, agents, mock);
    for plan in plans.iter().chain([plan]) {
        world.put(plan).map_err(|e| format!("the plan can't be kept: {e}"))?;
    }
    let request = StartRequest {
        workflow: plan.workflow.clone(),
        version: Some(plan.hash.to_string()),
        params: Json::Object(test.params.clone()),
        idempotency_key: None,
        priority: None,
        cause: format!("test {:?}", test.name),
    };
    let run = match world.start(request) {
        Ok(Started::New { run } | Started::Existing { run }) => run,
        Ok(Started::Skipped) => return Err("the run was skipped".into()),
        Err(error) => return Err(format!("the run can't be started: {error}")),
    };
    let mut signals = Signals::of(test, plan);
    let end = START.after(LIMIT);
    for _ in 0..EVENTS_MAX {
        let state = world.run_state(run).ok_or("the run is not in the store")?;
        if state.row.status.is_terminal() {
            let ended = state.row.finished_at.unwrap_or(world.now());
            return Ok((state, ended.since(START)));
        }
        let due = signals.due(&state);
        if let Some(due) = due.filter(|d| *d <= world.now()) {
            signals.send(&mut world, run, &state, due)?;
            continue;
        }
        match world.step(due.unwrap_or(end).min(end)) {
            None => {}
            Some(Rest::TimeOver) if world.now() < end => {}
            Some(Rest::Idle) => match due {
                Some(due) => world.skip(due.since(world.now())),
                None => return Err(stuck(&state)),
            },
            Some(_) => return Err("the run did not end within a year of virtual time".into()),
        }
    }
    Err(format!("the run did not end within {EVENTS_MAX} events"))
}

fn stuck(state: &Run) -> String {
    let why = state.why(false);
    let why = why.iter().map(|w| format!("{}: {}", w.step, w.reason));
    let why: Vec<_> = why.collect();
    format!("the run waits for ever ({}); mock it with `signal:`", why.join("; "))
}

fn outcome_of(mock: &MockOutcome) -> Outcome {
    match &mock.result {
        MockResult::Output(output) | MockResult::Signal(output) => {
            Outcome::Succeeded { output: Some(Arc::new(output.clone())) }
        }
        MockResult::Fail { kind, message } => {
            let error = |kind| StepError::new(kind, message.clone());
            let kind = match kind {
                FailKind::Retryable => ErrorKind::Retryable,
                FailKind::Permanent => ErrorKind::Permanent,
                FailKind::Timeout => ErrorKind::Timeout,
                FailKind::Lost => ErrorKind::Lost,
                FailKind::RateLimited => {
                    let error = error(ErrorKind::Retryable);
                    return Outcome::RateLimited { error, after: Span::minutes(1) };
                }
                FailKind::Cancelled => return Outcome::Cancelled,
            };
            Outcome::Failed { error: error(kind) }
        }
    }
}

/// Mocked signals: for each step, when it waits, the next payload after its time.
struct Signals<'a> {
    mocks: Vec<(&'a str, &'a [MockOutcome], usize)>,
}

impl<'a> Signals<'a> {
    fn of(test: &'a WorkflowTest, plan: &Plan) -> Self {
        let waits = |id: &str| {
            plan.find(id).is_some_and(|ix| {
                let kind = &plan.step(ix).kind;
                matches!(
                    kind,
                    StepKind::WaitSignal { .. }
                        | StepKind::WaitEvent { .. }
                        | StepKind::Approve { .. }
                ) || test.mock.iter().any(|(mocked, outcomes)| {
                    mocked.as_str() == id
                        && outcomes.iter().any(|o| matches!(o.result, MockResult::Signal(_)))
                })
            })
        };
        let mocks = test.mock.iter().filter(|(id, _)| waits(id.as_str()));
        Self { mocks: mocks.map(|(id, o)| (id.as_str(), o.as_slice(), 0)).collect() }
    }

    /// The step that waits for a mocked signal, and when that comes.
    fn waiting(&self, state: &Run) -> Option<(Millis, usize, u32)> {
        let waiting = state.steps().filter(|row| {
            use WaitReason::{Approval, Event, Signal, UnknownOutcome};
            matches!(row.wait, Some(Approval | Event | Signal | UnknownOutcome))
        });
        let due = waiting.filter_map(|row| {
            let id = state.graph.step(row.plan).id.as_str();
            let mock = self.mocks.iter().position(|(mocked, ..)| *mocked == id)?;
            let (_, outcomes, used) = self.mocks[mock];
            let outcome = outcomes.get(used.min(outcomes.len().checked_sub(1)?))?;
            Some((row.ready_at?.after(outcome.after), mock, row.inst))
        });
        due.min()
    }

    fn due(&self, state: &Run) -> Option<Millis> {
        self.waiting(state).map(|(due, ..)| due)
    }

    fn send(
        &mut self,
        world: &mut World<'_>,
        run: RunId,
        state: &Run,
        _due: Millis,
    ) -> Result<(), String> {
        let Some((_, mock, inst)) = self.waiting(state) else { return Ok(()) };
        let (id, outcomes, used) = &mut self.mocks[mock];
        let outcome = &outcomes[(*used).min(outcomes.len() - 1)];
        *used += 1;
        let payload = match &outcome.result {
            MockResult::Signal(payload) | MockResult::Output(payload) => payload.clone(),
            MockResult::Fail { message, .. } => {
                serde_json::json!({ "approved": false, "comment": message })
            }
        };
        let row = state.step(inst).ok_or("the step is gone")?;
        let change = match &state.graph.step(row.plan).kind {
            StepKind::WaitEvent { event, .. } => {
                Change::Event { event: event.clone(), data: payload }
            }
            _ => {
                let detail = row.data.as_ref().and_then(|d| d.detail.as_ref());
                let name = detail.and_then(|d| d.get("signal")).and_then(Json::as_str);
                let name = name.ok_or_else(|| format!("step {id} waits for no signal"))?.to_owned();
                Change::Signal { name, key: None, payload }
            }
        };
        world.change(run, change).map_err(|e| format!("the signal for step {id} failed: {e}"))
    }
}

fn compare(test: &WorkflowTest, plan: &Plan, state: &Run, took: Span, failures: &mut Vec<String>) {
    let expect = &test.expect;
    let status = match state.row.status {
        RunStatus::Succeeded => "success",
        RunStatus::Cancelled => "cancelled",
        _ => "failure",
    };
    let error = state.row.error.as_ref().map(|e| e.message.as_str()).unwrap_or_default();
    if let Some(expected) = &expect.status
        && expected != status
    {
        let because = if error.is_empty() { String::new() } else { format!(" ({error})") };
        failures.push(format!("status: expected {expected}, got {status}{because}"));
    }
    if let Some(text) = &expect.error
        && !error.contains(text.as_str())
    {
        failures.push(format!("error: expected one that holds {text:?}, got {error:?}"));
    }
    if let Some((comparison, limit)) = expect.virtual_duration
        && !comparison.holds(took, limit)
    {
        failures
            .push(format!("virtual_duration: took {took}, which is not {comparison:?} {limit}"));
    }
    if let Some(outputs) = &expect.outputs {
        let got = state.row.output.as_deref().cloned().unwrap_or_default();
        if !contains(&got, outputs) {
            failures.push(format!("outputs: expected {outputs}, got {got}"));
        }
    }
    compare_order(test, plan, state, failures);
    for expected in &expect.steps {
        let got = field(plan, state, expected.step.as_str(), &expected.field);
        if got != expected.value {
            let (step, field, value) = (&expected.step, &expected.field, &expected.value);
            failures.push(format!("steps.{step}.{field}: expected {value}, got {got}"));
        }
    }
}

fn compare_order(test: &WorkflowTest, plan: &Plan, state: &Run, failures: &mut Vec<String>) {
    let mut ended: Vec<(Millis, u32, &str)> = Vec::new();
    for row in state.steps().filter(|r| r.attempt > 0 || r.output.is_some()) {
        if let Some(at) = row.finished_at {
            ended.push((at, row.inst, plan.step(row.plan).id.as_str()));
        }
    }
    ended.sort_unstable();
    let mut at = 0;
    for expected in &test.expect.order {
        match ended[at..].iter().position(|(.., id)| *id == expected.as_str()) {
            Some(found) => at += found + 1,
            None => {
                let order: Vec<_> = ended.iter().map(|(.., id)| *id).collect();
                let order = order.join(", ");
                failures.push(format!("order: {expected} does not come next in: {order}"));
                return;
            }
        }
    }
}

/// A field of the latest instance of a step.
fn field(plan: &Plan, state: &Run, step: &str, field: &str) -> Json {
    let rows: Vec<_> = state.steps().filter(|r| plan.step(r.plan).id.as_str() == step).collect();
    let Some(row) = rows.last() else { return Json::Null };
    let (name, path) = field.split_once('.').unwrap_or((field, ""));
    match name {
        "status" => match row.status.as_str() {
            "succeeded" => "success".into(),
            "failed" => "failure".into(),
            other => other.into(),
        },
        "attempts" => row.attempt.into(),
        "iterations" => rows.len().into(),
        "error" => row.error.as_ref().map_or(Json::Null, |e| e.message.clone().into()),
        _ => {
            let output = row.output.as_deref().cloned().unwrap_or_default();
            if path.is_empty() {
                return output;
            }
            let pointer = format!("/{}", path.replace('.', "/"));
            output.pointer(&pointer).cloned().unwrap_or_default()
        }
    }
}

/// Whether `got` has everything that `expected` names.
fn contains(got: &Json, expected: &Json) -> bool {
    match (got, expected) {
        (Json::Object(got), Json::Object(expected)) => {
            expected.iter().all(|(key, value)| got.get(key).is_some_and(|g| contains(g, value)))
        }
        (got, expected) => got == expected,
    }
}
