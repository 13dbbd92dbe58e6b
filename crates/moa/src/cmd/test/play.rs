//! One test: a run of the real engine on virtual time, with mocks in the place of agents.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use moa_core::event::InstIx;
use moa_core::ids::{Name, RunId};
use moa_core::machine::{Outcome, Run};
use moa_core::step::{ErrorKind, StepError, StepStatus, WaitReason};
use moa_core::template::Template;
use moa_core::time::{Millis, Span};
use moa_core::workflow::{Plan, StepKind};
use moa_engine::handle::{Change, StartRequest, Started};
use moa_engine::virtual_time::{Rest, World};
use moa_ports::agent::Task;
use moa_ports::views::{HistoryRow, Views};
use moa_spec::model::FailKind;
use moa_spec::{MockOutcome, MockResult, WorkflowTest};
use serde_json::{Value as Json, json};

use super::expect;
use crate::cmd::runtime;
use crate::project::{self, Project};
use crate::wire;

/// When tests begin: a Monday.
const START: Millis = Millis(1_767_600_000_000);
/// Virtual time after which a test is over.
const LIMIT: Span = Span(366 * 86_400_000);
/// Things that may happen in one test.
const STEPS_MAX: u32 = 1_000_000;
/// How long a mocked agent wants to be left alone.
const RATE_LIMIT: Span = Span::minutes(1);

/// What came of a test.
pub struct Played {
    /// What did not hold.
    pub failures: Vec<String>,
    /// The run, if it was started.
    pub run: Option<Run>,
    /// How long it took, in virtual time.
    pub took: Span,
    /// When it ended.
    pub ended_at: Millis,
}

impl Played {
    fn failed(why: impl Into<String>) -> Self {
        Self { failures: vec![why.into()], run: None, took: Span(0), ended_at: START }
    }
}

/// The mocks of a test, used up one after the other; the last one is repeated.
struct Mocks<'a> {
    outcomes: BTreeMap<&'a str, &'a [MockOutcome]>,
    used: BTreeMap<String, usize>,
    missing: BTreeSet<String>,
}

impl<'a> Mocks<'a> {
    fn next(&mut self, step: &str) -> Option<&'a MockOutcome> {
        let outcomes = *self.outcomes.get(step)?;
        let used = self.used.entry(step.to_owned()).or_default();
        let outcome = outcomes.get(*used).or(outcomes.last());
        *used += 1;
        outcome
    }
}

/// Plays a test.
pub fn play(project: &Project, plan: &Plan, test: &WorkflowTest) -> Played {
    let params = match project::check_params(plan, test.params.clone(), &[]) {
        Ok(params) => params,
        Err(failure) => return Played::failed(failure.message),
    };
    let outcomes = test.mock.iter().map(|(step, list)| (step.as_str(), list.as_slice()));
    let mocks = Rc::new(RefCell::new(Mocks {
        outcomes: outcomes.collect(),
        used: BTreeMap::new(),
        missing: BTreeSet::new(),
    }));
    let shared = mocks.clone();
    let mock = move |task: &Task, _| Some(attempt(&mut shared.borrow_mut(), task));
    let mut world = World::new(START, project.agents.clone(), wire::schemas(), Box::new(mock));
    if let Err(e) = world.put(&alone(plan)) {
        return Played::failed(format!("the plan can't be kept: {e}"));
    }
    let request = StartRequest {
        workflow: plan.workflow.clone(),
        version: None,
        params: Json::Object(params),
        idempotency_key: None,
        priority: None,
        trace: None,
        cause: "test".into(),
    };
    let id = match world.start(request) {
        Ok(Started::New { run } | Started::Existing { run }) => run,
        Ok(Started::Skipped) => return Played::failed("the run was not started"),
        Err(e) => return Played::failed(format!("the run can't be started: {e}")),
    };
    let stuck = pass_time(&mut world, id, &mocks);
    judge(&world, id, test, &mocks.borrow(), stuck)
}

/// The plan with tasks in the place of runs of other workflows: those have tests of their own.
fn alone(plan: &Plan) -> Plan {
    let mut plan = plan.clone();
    for step in &mut plan.steps {
        if let StepKind::Child { params, .. } = &step.kind {
            step.kind = StepKind::Task {
                agent: Name::new("mock").expect("these are letters"),
                action: "run".into(),
                params: params.clone(),
                env: Template::default(),
            };
        }
    }
    plan
}

fn attempt(mocks: &mut Mocks<'_>, task: &Task) -> (Span, Outcome) {
    let Some(mock) = mocks.next(&task.step) else {
        mocks.missing.insert(task.step.clone());
        return (Span(0), Outcome::Succeeded { output: None });
    };
    let outcome = match &mock.result {
        MockResult::Output(output) => {
            Outcome::Succeeded { output: Some(std::sync::Arc::new(output.clone())) }
        }
        MockResult::Signal(_) => Outcome::Succeeded { output: None },
        MockResult::Fail { kind, message } => failure(*kind, message),
    };
    (mock.after, outcome)
}

fn failure(kind: FailKind, message: &str) -> Outcome {
    let error = |kind| StepError::new(kind, message);
    let kind = match kind {
        FailKind::Retryable => ErrorKind::Retryable,
        FailKind::Permanent => ErrorKind::Permanent,
        FailKind::Timeout => ErrorKind::Timeout,
        FailKind::Lost => ErrorKind::Lost,
        FailKind::Cancelled => return Outcome::Cancelled,
        FailKind::RateLimited => {
            let error = error(ErrorKind::Retryable);
            return Outcome::RateLimited { error, after: RATE_LIMIT };
        }
    };
    Outcome::Failed { error: error(kind) }
}

/// Lets time pass until the run is over, sending what is mocked to steps that wait for something
/// from outside. Answers why the run isn't over.
fn pass_time(world: &mut World<'_>, id: RunId, mocks: &RefCell<Mocks<'_>>) -> Option<String> {
    let end = START.after(LIMIT);
    let mut coming: Coming = BTreeMap::new();
    let mut seen: BTreeSet<InstIx> = BTreeSet::new();
    for _ in 0..STEPS_MAX {
        let Some(run) = world.run_state(id) else { return Some("the run is gone".into()) };
        if run.row.status.is_terminal() {
            return None;
        }
        find_waits(&run, world.now(), &mut mocks.borrow_mut(), &mut seen, &mut coming);
        let next = coming.keys().next().copied();
        if let Some(key) = next.filter(|(at, _)| *at <= world.now()) {
            if let Some(change) = coming.remove(&key)
                && let Err(e) = world.change(id, change)
            {
                return Some(format!("a mocked signal was refused: {e}"));
            }
            continue;
        }
        let until = next.map_or(end, |(at, _)| at);
        match (world.step(until), next) {
            (None, _) => {}
            // Nothing else happens before the next signal.
            (Some(_), Some((at, _))) => {
                let rest = at.since(world.now());
                world.skip(rest);
            }
            (Some(Rest::Idle), None) => {
                let why = run.why(false);
                let why: Vec<String> =
                    why.iter().map(|w| format!("{}: {}", w.step, w.reason)).collect();
                let why = why.join("; ");
                return Some(format!("the run waits for ever ({why}); mock it with `signal:`"));
            }
            (Some(_), None) => return Some(format!("the run is not over after {LIMIT}")),
        }
    }
    Some("the run never ends".into())
}

/// Signals and events on their way: when, and to which step.
type Coming = BTreeMap<(Millis, InstIx), Change>;

/// Notes what is mocked for steps that wait for something from outside.
fn find_waits(
    run: &Run,
    now: Millis,
    mocks: &mut Mocks<'_>,
    seen: &mut BTreeSet<InstIx>,
    coming: &mut Coming,
) {
    use WaitReason::{Approval, Event, Signal, UnknownOutcome};
    for row in run.steps().filter(|row| row.status == StepStatus::Waiting) {
        let outside = matches!(row.wait, Some(Approval | Event | Signal | UnknownOutcome));
        if !outside || !seen.insert(row.inst) {
            continue;
        }
        let step = run.graph.plan().step(row.plan);
        let Some(mock) = mocks.next(step.id.as_str()) else { continue };
        let payload = match &mock.result {
            MockResult::Signal(payload) | MockResult::Output(payload) => payload.clone(),
            // A decision that fails is a no.
            MockResult::Fail { message, .. } => json!({"approved": false, "comment": message}),
        };
        let detail = row.data.as_ref().and_then(|d| d.detail.as_ref());
        let signal = detail.and_then(|d| d.get("signal")).and_then(Json::as_str);
        let change = match (&step.kind, signal) {
            (StepKind::WaitEvent { event, .. }, _) => {
                Change::Event { event: event.clone(), data: payload }
            }
            (_, Some(name)) => Change::Signal { name: name.into(), key: None, payload },
            (_, None) => continue,
        };
        coming.insert((now.after(mock.after), row.inst), change);
    }
}

fn judge(
    world: &World<'_>,
    id: RunId,
    test: &WorkflowTest,
    mocks: &Mocks<'_>,
    stuck: Option<String>,
) -> Played {
    let Some(run) = world.run_state(id) else { return Played::failed("the run is gone") };
    let mut failures: Vec<String> = stuck.into_iter().collect();
    let history = match history(world, id) {
        Ok(history) => history,
        Err(why) => return Played::failed(why),
    };
    let ended_at = run.row.finished_at.unwrap_or(world.now());
    let took = ended_at.since(run.row.started_at.unwrap_or(START));
    expect::check(&run, &history, &test.expect, took, &mut failures);
    if !failures.is_empty() && !mocks.missing.is_empty() {
        let missing: Vec<&str> = mocks.missing.iter().map(String::as_str).collect();
        let note = "without a mock, so they succeeded with no output";
        failures.push(format!("{note}: {}", missing.join(", ")));
    }
    Played { failures, run: Some(run), took, ended_at }
}

fn history(world: &World<'_>, id: RunId) -> Result<Vec<HistoryRow>, String> {
    let runtime = runtime().map_err(|failure| failure.message)?;
    let read = world.store().history(id, 0, usize::MAX >> 1);
    runtime.block_on(read).map_err(|e| e.to_string())
}
