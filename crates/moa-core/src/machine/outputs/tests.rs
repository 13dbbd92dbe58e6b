//! When schemas are compiled, and what is told of what they find. (What they do to whole runs stands
//! in `moa-engine`.)

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::{Value as Json, json};

use crate::event::{Event, RunCreated};
use crate::ids::{NodeId, RunId, VersionHash};
use crate::limit::Usage;
use crate::schema::{Breach, Check, NoSchemas, Schemas};
use crate::step::{ErrorKind, StepStatus};
use crate::time::Millis;
use crate::workflow::Plan;

use crate::machine::{Applied, Env, Graph, Input, Outcome, Run};

/// Knows one schema, `{"equals": VALUE}`, and counts.
#[derive(Default)]
struct Equals {
    compiled: AtomicUsize,
    checked: Arc<Mutex<Vec<Json>>>,
}

struct Equal(Json, Arc<Mutex<Vec<Json>>>);

impl Schemas for Equals {
    fn compile(&self, schema: &Json) -> Arc<dyn Check> {
        self.compiled.fetch_add(1, Ordering::Relaxed);
        Arc::new(Equal(schema["equals"].clone(), self.checked.clone()))
    }
}

impl Check for Equal {
    fn check(&self, value: &Json) -> Result<(), Vec<Breach>> {
        self.1.lock().expect("one thread").push(value.clone());
        if *value == self.0 {
            return Ok(());
        }
        let breach = |n: u32| Breach {
            pointer: if n == 0 { String::new() } else { format!("/{n}") },
            message: format!("{value} is not {}", self.0),
        };
        Err((0..5).map(breach).collect())
    }
}

/// A run of tasks, one after the other, and its history so far.
struct Script<'a> {
    schemas: &'a dyn Schemas,
    agents: BTreeMap<crate::ids::Name, Arc<crate::agent::AgentSpec>>,
    run: Run,
    history: Vec<(Millis, Vec<Event>)>,
}

impl<'a> Script<'a> {
    /// `steps` are the `outputs` of each step, `outputs` those of the run.
    fn start(schemas: &'a dyn Schemas, steps: &[Json], outputs: Json) -> Self {
        let step = |(ix, outputs): (usize, &Json)| {
            let kind = json!({"kind": "task", "agent": "a", "action": "x"});
            let needs = if ix == 0 { json!([]) } else { json!([{"step": ix - 1}]) };
            json!({"id": format!("s{ix}"), "body": 0, "kind": kind, "needs": needs,
                   "outputs": outputs})
        };
        let hash = VersionHash([7; 32]);
        let plan = json!({
            "workflow": "w", "hash": hash, "title": "w", "outputs": outputs,
            "steps": steps.iter().enumerate().map(step).collect::<Vec<_>>(),
            "bodies": [{"start": 0, "count": steps.len()}],
        });
        let plan: Plan = serde_json::from_value(plan).expect("a plan");
        let created = json!({"run": RunId(1), "workflow": "w", "hash": hash,
                             "priority": "medium", "params": {}, "cause": "test"});
        let created: RunCreated = serde_json::from_value(created).expect("a creation");
        let graph = Arc::new(Graph::new(plan).expect("a sound plan"));
        let agents = BTreeMap::new();
        let env = Env { now: Millis(1), agents: &agents, schemas };
        let (run, applied) = Run::create(env, created, graph).expect("a run");
        Self { schemas, agents, run, history: vec![(Millis(1), applied.events)] }
    }

    /// The step's attempt answers `output`.
    fn answer(&mut self, step: u32, output: Json) {
        let now = Millis(self.history.len() as i64 + 1);
        let env = Env { now, agents: &self.agents, schemas: self.schemas };
        let (_, applied) = self.run.lease(env, step, NodeId(1)).expect("it is ready");
        let attempt = self.run.step(step).expect("it is there").attempt;
        let outcome = Outcome::Succeeded { output: Some(Arc::new(output)) };
        let input = Input::TaskDone { step, attempt, outcome, usage: Usage::NONE };
        let Applied { events, .. } = self.run.apply(env, &input).expect("it runs");
        self.history.push((now, [applied.events, events].concat()));
    }

    fn error(&self, step: u32) -> (StepStatus, Option<(ErrorKind, String)>) {
        let row = self.run.step(step).expect("it is there");
        (row.status, row.error.clone().map(|e| (e.kind, e.message)))
    }

    /// What the events say is what the machine came to, with no schema at hand.
    fn folds(&self) {
        let history = self.history.iter().map(|(at, events)| (*at, events.as_slice()));
        let folded = Run::fold(history, self.run.graph.clone()).expect("it folds");
        assert!(folded.steps().eq(self.run.steps()));
        assert_eq!(folded.row.output, self.run.row.output);
        assert_eq!(folded.row.error, self.run.row.error);
    }
}

#[test]
fn a_schema_is_compiled_once_and_only_when_there_is_one() {
    let schemas = Equals::default();
    let plain = json!([["n", "output.n"]]);
    let checked = json!([["n", "output.n"], ["m", "output.m", {"equals": 2}]]);
    let mut script = Script::start(&schemas, &[plain.clone(), checked], plain);
    script.answer(0, json!({"n": 1}));
    assert_eq!(schemas.compiled.load(Ordering::Relaxed), 0, "nothing to check, nothing done");
    script.answer(1, json!({"n": 1, "m": 2}));
    assert_eq!(schemas.compiled.load(Ordering::Relaxed), 1);
    assert_eq!(*schemas.checked.lock().expect("one thread"), [json!(2)]);
    script.folds();
    // The graph keeps what was compiled: another run of the version doesn't do it again.
    let graph = script.run.graph.clone();
    let schema = graph.steps[1].outputs[1].schema.as_ref().expect("it has one");
    assert_eq!(schema.check(&schemas, &json!(2)), Ok(()));
    assert_eq!(schemas.compiled.load(Ordering::Relaxed), 1);
}

#[test]
fn an_output_that_breaks_its_schema_fails_the_step_for_good() {
    let schemas = Equals::default();
    let outputs = json!([["n", "output", {"equals": 1}], ["m", "output", {"equals": 2}]]);
    let mut script = Script::start(&schemas, &[outputs], json!([]));
    script.answer(0, json!(1));
    let told = "the output doesn't meet its schema: at /m: 1 is not 2; at /m/1: 1 is not 2; \
                at /m/2: 1 is not 2; and more";
    assert_eq!(script.error(0), (StepStatus::Failed, Some((ErrorKind::Output, told.into()))));
    assert_eq!(script.run.step(0).expect("it is there").output, None);
    let run = script.run.row.error.as_ref().expect("the run failed");
    assert_eq!(run.message, format!("step s0 failed: {told}"));
    script.folds();
}

#[test]
fn a_run_whose_output_breaks_its_schema_fails() {
    let schemas = Equals::default();
    let outputs = json!([["all", "s0.output", {"equals": 1}]]);
    for (answer, fails) in [(1, false), (2, true)] {
        let mut script = Script::start(&schemas, &[json!([])], outputs.clone());
        script.answer(0, json!(answer));
        assert_eq!(script.error(0), (StepStatus::Succeeded, None));
        let error = script.run.row.error.clone();
        assert_eq!(error.is_some(), fails, "{error:?}");
        if let Some(error) = error {
            assert_eq!(error.kind, ErrorKind::Output);
            let told = "the run's output doesn't meet its schema: at /all: 2 is not 1; ";
            assert!(error.message.starts_with(told), "{}", error.message);
            assert_eq!(script.run.row.output, None);
        }
        script.folds();
    }
}

#[test]
fn where_nothing_checks_schemas_none_is_passed_over() {
    let outputs = json!([["n", "output", {}]]);
    let mut script = Script::start(&NoSchemas, &[outputs], json!([]));
    script.answer(0, json!(1));
    let (status, error) = script.error(0);
    assert_eq!(status, StepStatus::Failed);
    assert!(error.expect("an error").1.contains("nothing here can check schemas"));
}
