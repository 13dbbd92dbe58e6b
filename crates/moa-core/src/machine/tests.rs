//! Wide runs: what is looked up is found among thousands, and is what a walk over all would find.
//! (Scripts of whole runs stand in `moa-engine`, where workflows are written as text.)

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value as Json, json};

use super::index::Index;
use super::*;
use crate::ids::{NodeId, VersionHash};
use crate::limit::{Usage, Usd};
use crate::limits::SIGNAL_KEYS_MAX;
use crate::run::{Phase, RunStatus};
use crate::schema::NoSchemas;
use crate::step::{ErrorKind, StepError, StepStatus};
use crate::workflow::{Plan, Priority};

/// Instances of a wide run: so many that a walk over all of them for each of them takes minutes.
const WIDE: u32 = 20_000;

fn graph(steps: Vec<Json>, bodies: Vec<(u32, u32)>) -> Arc<Graph> {
    let bodies: Vec<Json> =
        bodies.into_iter().map(|(start, count)| json!({"start": start, "count": count})).collect();
    let plan = json!({
        "workflow": "wide", "hash": VersionHash([1; 32]), "title": "wide",
        "steps": steps, "bodies": bodies,
    });
    let plan: Plan = serde_json::from_value(plan).expect("a plan");
    Arc::new(Graph::new(plan).expect("a good plan"))
}

fn with(mut step: Json, more: Json) -> Json {
    let more = more.as_object().cloned().unwrap_or_default();
    step.as_object_mut().expect("a map").extend(more);
    step
}

fn step(id: &str, body: u32, kind: Json) -> Json {
    json!({"id": id, "body": body, "kind": kind})
}

fn task() -> Json {
    json!({"kind": "task", "agent": "a", "action": "x"})
}

/// A run on its own, with a clock.
struct Solo {
    run: Run,
    now: Millis,
    agents: BTreeMap<Name, Arc<AgentSpec>>,
}

impl Solo {
    fn start(graph: &Arc<Graph>, params: Json) -> Self {
        let (now, agents) = (Millis(1_000), BTreeMap::new());
        let created = RunCreated {
            run: RunId(7),
            workflow: graph.workflow.clone(),
            hash: graph.hash,
            params: Arc::new(params),
            priority: Priority::Medium,
            parent: None,
            trigger: None,
            seed: None,
            concurrency_key: None,
            fairness: None,
            trace: None,
            cause: "test".into(),
        };
        let made =
            Run::create(Env { now, agents: &agents, schemas: &NoSchemas }, created, graph.clone());
        Self { run: made.expect("a run").0, now, agents }
    }

    fn apply(&mut self, input: &Input) -> Result<Applied, Rejected> {
        self.now = self.now.after(crate::time::Span(1));
        self.run.apply(Env { now: self.now, agents: &self.agents, schemas: &NoSchemas }, input)
    }

    fn signal(&mut self, name: &str, payload: Json) -> Result<Applied, Rejected> {
        let payload = Arc::new(payload);
        self.apply(&Input::Signal { name: name.into(), key: None, payload })
    }

    /// Makes an attempt of a ready step.
    fn attempt(&mut self, step: InstIx, outcome: Outcome) -> Assignment {
        let env = Env { now: self.now, agents: &self.agents, schemas: &NoSchemas };
        let leased = self.run.lease(env, step, NodeId(1)).expect("it is ready");
        let made = leased.0.expect("it can be started");
        let attempt = made.attempt;
        self.apply(&Input::TaskDone { step, attempt, outcome, usage: Usage::NONE })
            .expect("it runs");
        made
    }

    fn output(&self, inst: InstIx) -> Json {
        let row = self.run.step(inst).expect("it is there");
        row.output.as_deref().cloned().unwrap_or_default()
    }

    /// The same run, made of its rows.
    fn restored(&self) -> Run {
        let steps = self.run.steps().filter(|r| r.status != StepStatus::Pending).cloned();
        let (row, graph) = (self.run.row.clone(), self.run.graph.clone());
        Run::restore(row, steps.collect(), self.run.version, graph).expect("good rows")
    }
}

fn done(output: Json) -> Outcome {
    Outcome::Succeeded { output: Some(Arc::new(output)) }
}

fn broken() -> Outcome {
    Outcome::Failed { error: StepError::new(ErrorKind::Permanent, "broken") }
}

/// A `foreach` over `params.items`, and its body.
fn each(body: Json) -> Arc<Graph> {
    let each = json!({
        "kind": "foreach", "items": "params.items", "var": "item", "collect": false, "body": 1,
    });
    graph(vec![step("all", 0, each), step("one", 1, body)], vec![(0, 1), (1, 1)])
}

fn items() -> Json {
    json!({"items": (0..WIDE).collect::<Vec<_>>()})
}

#[test]
fn a_signal_finds_who_waits_for_it_among_many() {
    let wait = json!({"kind": "wait_signal", "name": "go-${{ item }}"});
    let mut solo = Solo::start(&each(wait), items());
    for i in 0..WIDE {
        let n = (i * 7_919) % WIDE;
        assert!(solo.signal(&format!("gone-{n}"), json!(0)).is_ok() == (i < 1000), "1000 are kept");
        solo.signal(&format!("go-{n}"), json!({"n": n})).expect("somebody waits for it");
    }
    assert_eq!(solo.run.row.status, RunStatus::Succeeded);
    for n in 0..WIDE {
        assert_eq!(solo.output(n + 1), json!({"n": n}));
    }
}

#[test]
fn kept_signals_are_taken_oldest_first_also_after_a_restart() {
    let wait = |id: &str, name: &str| {
        let kind = json!({"kind": "wait_signal", "name": name, "matches": "event.n != 2"});
        step(id, 0, kind)
    };
    let need = |of: u32| json!({"needs": [{"step": of}]});
    let steps = vec![
        step("first", 0, task()),
        with(wait("a1", "a"), need(0)),
        with(wait("a2", "a"), need(0)),
        with(wait("last", "b"), need(0)),
    ];
    let mut solo = Solo::start(&graph(steps, vec![(0, 4)]), Json::Null);
    for (name, n) in [("b", 1), ("a", 2), ("a", 3), ("c", 4), ("b", 5), ("a", 6)] {
        solo.signal(name, json!({"n": n})).expect("it is kept");
    }
    let mut again = Solo { run: solo.restored(), now: solo.now, agents: BTreeMap::new() };
    for solo in [&mut solo, &mut again] {
        solo.attempt(0, done(Json::Null));
        let taken: Vec<Json> = (1..=3).map(|i| solo.output(i)["n"].clone()).collect();
        assert_eq!(taken, [json!(3), json!(6), json!(1)], "not 2: it doesn't fit");
        assert_eq!(solo.run.row.status, RunStatus::Succeeded);
    }
}

#[test]
fn the_key_of_a_signal_is_remembered_for_a_thousand_others() {
    let wait = json!({"kind": "wait_signal", "name": "go-${{ item }}"});
    let mut solo = Solo::start(&each(wait), items());
    let send = |solo: &mut Solo, key: usize, name: String| {
        let key = Some(format!("key-{key}"));
        solo.apply(&Input::Signal { name, key, payload: Arc::new(Json::Null) })
    };
    for n in 0..SIGNAL_KEYS_MAX {
        send(&mut solo, n, format!("go-{n}")).expect("a step waits for it");
    }
    for again in [0, 1, SIGNAL_KEYS_MAX - 1] {
        let refused = send(&mut solo, again, "other".into()).expect_err("it was received before");
        assert!(refused.0.contains("received before"), "{refused}");
    }
    send(&mut solo, SIGNAL_KEYS_MAX, "one more".into()).expect("it is kept");
    solo.run = solo.restored();
    send(&mut solo, 1, "other".into()).expect_err("it was received before");
    send(&mut solo, 0, "other".into()).expect("nobody remembers it");
    assert_eq!(solo.run.index, Index::of(&solo.restored()));
}

#[test]
fn an_event_goes_to_every_step_that_waits_for_its_type() {
    let wait = json!({"kind": "wait_event", "event": "done"});
    let mut solo = Solo::start(&each(wait), items());
    let event = |event: &str| {
        let event = Emitted { event: event.into(), source: None, data: Arc::new(json!(1)) };
        Input::EventArrived { event: Arc::new(event) }
    };
    for _ in 0..WIDE {
        assert!(solo.apply(&event("other")).is_err(), "nobody waits for it");
    }
    solo.apply(&event("done")).expect("all wait for it");
    assert_eq!(solo.run.row.status, RunStatus::Succeeded);
}

#[test]
fn thousands_are_undone_one_after_another_last_first() {
    let count = 5_000;
    let mut steps = Vec::new();
    let mut bodies = vec![(0, count + 2)];
    for n in 0..count {
        steps.push(with(step(&format!("do_{n}"), 0, task()), json!({"compensate": n + 1})));
    }
    steps.push(step("fails_first", 0, task()));
    steps.push(step("fails_too", 0, task()));
    for n in 0..count {
        bodies.push((count + 2 + n, 1));
        let kind = json!({
            "kind": "task", "agent": "a", "action": "x", "params": {"why": "${{ error.message }}"},
        });
        steps.push(step(&format!("undo_{n}"), n + 1, kind));
    }
    let mut solo = Solo::start(&graph(steps, bodies), Json::Null);
    let order: Vec<u32> = (0..count).map(|n| (n * 1_871) % count).collect();
    for n in &order {
        solo.attempt(*n, done(Json::Null));
    }
    solo.attempt(count, broken());
    solo.attempt(count + 1, broken());
    assert_eq!(solo.run.row.phase, Phase::Compensate);
    for (i, n) in order.iter().rev().enumerate() {
        if i == 17 {
            solo.run = solo.restored();
        }
        let undo = count + 2 + i as u32;
        assert_eq!(solo.run.step_name(undo), format!("undo_{n}"));
        let made = solo.attempt(undo, done(Json::Null));
        assert_eq!(made.inputs["error"]["step"], "fails_first");
    }
    assert_eq!(solo.run.row.status, RunStatus::Failed);
}

/// A run with a time limit, whose only main step can fail, and whose `on_failure` is a task.
fn handled(timeout: u64) -> Arc<Graph> {
    let plan = json!({
        "workflow": "handled", "hash": VersionHash([2; 32]), "title": "handled",
        "steps": [step("deploy", 0, task()), step("tell", 1, task()), step("tidy", 2, task())],
        "bodies": [{"start": 0, "count": 1}, {"start": 1, "count": 1}, {"start": 2, "count": 1}],
        "timeout": timeout, "on_failure": 1, "finally": 2,
    });
    let plan: Plan = serde_json::from_value(plan).expect("a plan");
    Arc::new(Graph::new(plan).expect("a good plan"))
}

impl Solo {
    /// Lets the time limit of the present phase be over.
    fn time_is_over(&mut self) {
        let timer = TimerKey::Run;
        let due = self.run.timer_due(timer).expect("it is armed");
        self.now = self.now.max(due);
        self.apply(&Input::TimerFired { timer, due }).expect("it is due");
    }
}

#[test]
fn what_failed_first_is_the_error_also_when_on_failure_takes_too_long() {
    let mut solo = Solo::start(&handled(3_600_000), Json::Null);
    solo.attempt(0, broken());
    assert_eq!(solo.run.row.phase, Phase::OnFailure);
    solo.time_is_over();
    solo.run = solo.restored();
    solo.attempt(2, done(Json::Null));
    assert_eq!(solo.run.row.status, RunStatus::Failed);
    let error = solo.run.row.error.clone().expect("it failed");
    assert_eq!(error.kind, ErrorKind::Permanent);
    let message = "step deploy failed: broken; then the time limit of its on_failure is over";
    assert_eq!(error.message, message);

    // The time of the main steps themselves was over: that is the error, whatever comes later.
    let mut solo = Solo::start(&handled(3_600_000), Json::Null);
    solo.time_is_over();
    assert_eq!(solo.run.row.phase, Phase::OnFailure);
    solo.time_is_over();
    solo.attempt(2, done(Json::Null));
    let error = solo.run.row.error.clone().expect("it failed");
    assert_eq!(error.kind, ErrorKind::Timeout);
    assert_eq!(error.message, "the run's time limit is over");
}

#[test]
fn on_failure_has_a_limit_also_where_an_older_moa_began_it() {
    let hour = 3_600_000;
    let mut solo = Solo::start(&handled(hour), Json::Null);
    solo.now = Millis(solo.now.0 + 1_000_000);
    solo.attempt(0, broken());
    let due = solo.run.timer_due(TimerKey::Run).expect("it has a limit");
    // As an older moa kept it.
    let mut row = serde_json::to_value(&solo.run.row).expect("JSON");
    let extra = row["extra"].as_object_mut().expect("a map");
    extra.remove("handling_since").expect("this moa says when");
    solo.run.row = serde_json::from_value(row).expect("a row");
    solo.run = solo.restored();
    assert_eq!(solo.run.row.phase, Phase::OnFailure);
    assert_eq!(solo.run.timer_due(TimerKey::Run), Some(due), "when the last main step ended");
    solo.time_is_over();
    solo.attempt(2, done(Json::Null));
    let error = solo.run.row.error.clone().expect("it failed");
    assert!(error.message.starts_with("step deploy failed: broken"), "{}", error.message);
}

#[test]
fn what_failed_in_a_wide_loop_is_done_again_and_nothing_else() {
    let mut solo = Solo::start(&each(task()), items());
    for n in 1..=WIDE {
        let outcome = if n % 2 == 0 { done(json!(n)) } else { broken() };
        solo.attempt(n, outcome);
    }
    assert_eq!(solo.run.row.status, RunStatus::Failed);
    let seed = solo.run.seed(&ForkPoint::Failed).expect("it failed").expect("a part is kept");
    let kept: Vec<InstIx> = seed.steps.iter().map(|row| row.inst).collect();
    let even: Vec<InstIx> = (0..=WIDE).filter(|n| n % 2 == 0).collect();
    assert_eq!(kept, even, "the loop itself, and what succeeded");
    let all = solo.run.seed(&ForkPoint::Step("all".into())).expect("there is such a step");
    assert_eq!(all.map(|seed| seed.steps.len()), Some(0));
}

#[test]
fn a_bare_name_is_the_key_of_the_last_output_that_has_it() {
    let count = 5_000;
    let steps = (0..count).map(|n| {
        let first = step("first", 0, task());
        let outputs = json!({"outputs": [["n", "n + 1"]], "needs": [{"step": n.max(1) - 1}]});
        let next = step(&format!("next_{n}"), 0, task());
        if n == 0 { first } else { with(next, outputs) }
    });
    let mut solo = Solo::start(&graph(steps.collect(), vec![(0, count)]), Json::Null);
    for n in 0..count {
        solo.attempt(n, done(json!({"n": 0, "unused": {"n": 9}})));
        assert_eq!(solo.output(n)["n"], json!(n));
    }
    assert_eq!(solo.run.row.status, RunStatus::Succeeded);
    assert_eq!(solo.run.index, Index::of(&solo.restored()));
}

#[test]
fn the_output_null_is_no_output_in_memory_and_after_a_restart() {
    let wait = json!({"kind": "wait_signal", "name": "go"});
    let check = json!({"kind": "group"});
    let inside = with(step("inside", 0, task()), json!({"parent": 2}));
    let steps = vec![step("work", 0, task()), step("wait", 0, wait), step("all", 0, check), inside];
    let mut solo = Solo::start(&graph(steps, vec![(0, 4)]), Json::Null);
    solo.attempt(0, done(Json::Null));
    solo.signal("go", Json::Null).expect("it waits");
    solo.attempt(3, done(Json::Null));
    assert_eq!(solo.run.row.status, RunStatus::Succeeded);
    let read = |row: &crate::run::StepRow| -> crate::run::StepRow {
        serde_json::from_value(serde_json::to_value(row).expect("JSON")).expect("a row")
    };
    for row in solo.run.steps() {
        assert_eq!(read(row), *row);
        assert_eq!(row.output, None);
    }
}

#[test]
fn a_param_whose_default_is_null_has_it_in_a_kept_plan_too() {
    let param = json!({"name": "note", "schema": {}, "default": null, "required": false});
    let spec: crate::workflow::ParamSpec = serde_json::from_value(param.clone()).expect("a param");
    assert_eq!(spec.default, Some(Json::Null));
    assert_eq!(serde_json::to_value(&spec).expect("JSON"), param);
    let without = json!({"name": "note", "schema": {}, "required": true});
    let spec: crate::workflow::ParamSpec = serde_json::from_value(without).expect("a param");
    assert_eq!(spec.default, None);
}

/// The attempts of a run's history that say what they have spent.
fn spent(applied: &Applied) -> Vec<(u32, Usage)> {
    let said = applied.events.iter().filter_map(|event| match event {
        Event::AttemptSpent { attempt, usage, .. } => Some((*attempt, *usage)),
        _ => None,
    });
    said.collect()
}

#[test]
fn what_an_attempt_has_spent_is_told_once_however_it_ends() {
    let usage = Usage { usd: Usd(120_000), tokens: 5321 };
    let retryable = StepError::new(ErrorKind::Retryable, "later");
    let after = crate::time::Span(0);
    let ends = [
        done(json!(1)),
        broken(),
        Outcome::Failed { error: StepError::new(ErrorKind::Timeout, "too long") },
        Outcome::RateLimited { error: retryable, after },
        Outcome::Cancelled,
        Outcome::Released,
    ];
    for outcome in ends {
        let mut solo = Solo::start(&graph(vec![step("one", 0, task())], vec![(0, 1)]), Json::Null);
        let env = Env { now: solo.now, agents: &solo.agents, schemas: &NoSchemas };
        solo.run.lease(env, 0, NodeId(1)).expect("it is ready");
        let input = Input::TaskDone { step: 0, attempt: 1, outcome, usage };
        let applied = solo.apply(&input).expect("it runs");
        assert_eq!(spent(&applied), [(1, usage)], "{input:?}");
        assert!(applied.events.len() > 1, "its end follows: {:?}", applied.events);
        // The same result again, or late.
        solo.apply(&input).expect_err("the attempt is over");
    }
}

#[test]
fn a_used_up_budget_is_tried_again_only_for_authors_who_say_so() {
    let tried_again = |retry: Json| {
        let one = with(step("one", 0, task()), json!({"retry": retry}));
        let mut solo = Solo::start(&graph(vec![one], vec![(0, 1)]), Json::Null);
        let error = StepError::new(ErrorKind::BudgetExceeded, "used up");
        solo.attempt(0, Outcome::Failed { error });
        !solo.run.row.status.is_terminal()
    };
    let policy = |when: Json| {
        let mut policy = serde_json::to_value(crate::retry::RetryPolicy::default()).expect("JSON");
        policy["max_attempts"] = json!(5);
        policy["when"] = when;
        policy
    };
    assert!(!tried_again(policy(Json::Null)));
    assert!(tried_again(policy(json!("error.kind == \"budget_exceeded\""))));
    assert!(!tried_again(policy(json!("error.kind == \"timeout\""))));
}
