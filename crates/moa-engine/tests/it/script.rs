//! Tests as data: a workflow's text and what its agents do give a timeline.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use moa_core::agent::{AgentKind, AgentSpec};
use moa_core::ids::{Name, RunId};
use moa_core::machine::Outcome;
use moa_core::schema::Schemas;
use moa_core::step::{ErrorKind, StepError};
use moa_core::time::{Millis, Span};
use moa_core::workflow::Plan;
use moa_engine::handle::{StartRequest, Started};
use moa_engine::virtual_time::{Mock, World, step_name};
use moa_ports::agent::Task;
use moa_spec::Source;
use serde_json::{Value as Json, json};

/// The instant at which every script starts.
pub const START: Millis = Millis(1_800_000_000_000);

pub fn name(text: &str) -> Name {
    Name::new(text).expect("names in tests are names")
}

/// The plan of a workflow text; mistakes fail the test with their excerpts.
pub fn plan(id: &str, text: &str) -> Plan {
    let source = Source { path: format!("{id}.yaml"), text: text.to_owned() };
    let (workflow, diagnostics) = moa_spec::parse_workflow(&source, &name(id));
    let errors = moa_spec::has_errors(&diagnostics);
    assert!(!errors, "{}", moa_spec::render(&diagnostics, &[source], false));
    moa_spec::compile(&workflow.expect("a workflow without errors"))
}

/// An agent whose attempts are mocked.
pub fn agent(id: &str) -> AgentSpec {
    let kind = json!({ "builtin": "mock" });
    let kind: AgentKind = serde_json::from_value(kind).expect("a kind");
    serde_json::from_value(json!({ "id": id, "kind": kind })).expect("an agent")
}

pub fn agents(specs: impl IntoIterator<Item = AgentSpec>) -> BTreeMap<Name, Arc<AgentSpec>> {
    specs.into_iter().map(|a| (a.id.clone(), Arc::new(a))).collect()
}

/// JSON Schema as the binary has it.
pub fn schemas() -> Arc<dyn Schemas> {
    Arc::new(moa_spec::OutputSchemas)
}

pub fn ok(output: Json) -> Outcome {
    Outcome::Succeeded { output: Some(Arc::new(output)) }
}

pub fn fail(kind: ErrorKind, message: &str) -> Outcome {
    Outcome::Failed { error: StepError::new(kind, message) }
}

/// Answers attempts by `step` or `step#attempt`; every attempt takes a second.
pub fn answers(table: Vec<(&'static str, Outcome)>) -> Mock<'static> {
    Box::new(move |task: &Task, _| {
        let step = step_name(task);
        let exact = format!("{step}#{}", task.attempt);
        let find = |key: &str| table.iter().find(|(k, _)| *k == key).map(|(_, o)| o.clone());
        let outcome = find(&exact).or_else(|| find(&step)).or_else(|| find(&task.step));
        let echo = || {
            let given = task.params.value.as_object().is_some_and(|params| !params.is_empty());
            Outcome::Succeeded { output: given.then(|| Arc::new(task.params.value.clone())) }
        };
        Some((Span::seconds(1), outcome.unwrap_or_else(echo)))
    })
}

/// A world with the agent `a` and these workflows.
pub fn world<'a>(workflows: &[(&str, &str)], mock: Mock<'a>) -> World<'a> {
    let mut world = World::new(START, agents([agent("a")]), schemas(), mock);
    for (id, text) in workflows {
        world.put(&plan(id, text)).expect("a plan is JSON");
    }
    world
}

pub fn request(workflow: &str, params: Json) -> StartRequest {
    StartRequest {
        workflow: name(workflow),
        version: None,
        params,
        idempotency_key: None,
        priority: None,
        trace: None,
        cause: "test".into(),
    }
}

pub fn start(world: &mut World<'_>, workflow: &str, params: Json) -> RunId {
    match world.start(request(workflow, params)) {
        Ok(Started::New { run }) => run,
        other => panic!("not started: {other:?}"),
    }
}

/// Runs one workflow to its end (or rest) and shows what happened.
pub fn timeline(text: &str, params: Json, table: Vec<(&'static str, Outcome)>) -> String {
    let mut world = world(&[("w", text)], answers(table));
    let run = start(&mut world, "w", params);
    world.run(Span::minutes(60 * 24 * 7));
    show(&world, run)
}

/// The run, its steps and its attempts as text: seconds since the start before each.
pub fn show(world: &World<'_>, run: RunId) -> String {
    let state = world.run_state(run).expect("the run is in the store");
    let mut text = String::new();
    let at =
        |t: Option<Millis>| t.map_or("-".to_owned(), |t| format!("{}s", t.since(START).0 / 1000));
    let row = &state.row;
    let _ = write!(text, "run {}", state.status_now().as_str());
    if let Some(output) = &row.output {
        let _ = write!(text, " {output}");
    }
    if let Some(error) = &row.error {
        let _ = write!(text, " {:?}: {}", error.kind, error.message);
    }
    let _ = writeln!(text, " at {}", at(row.finished_at));
    for step in state.steps() {
        let _ = write!(text, "  {} {}", state.step_name(step.inst), step.status.as_str());
        if let Some(skip) = step.skip {
            let _ = write!(text, "({})", skip.as_str());
        }
        if let Some(wait) = step.wait {
            let _ = write!(text, "({} until {})", wait.as_str(), at(step.until));
        }
        if step.attempt > 0 {
            let _ = write!(text, " #{}", step.attempt);
        }
        let _ = write!(text, " {}..{}", at(step.started_at), at(step.finished_at));
        if let Some(output) = step.output.as_ref().filter(|o| !o.is_null()) {
            let _ = write!(text, " {output}");
        }
        if let Some(error) = &step.error {
            let _ = write!(text, " {:?}: {}", error.kind, error.message);
        }
        text.push('\n');
    }
    folded_is_stored(world, run);
    text
}

/// Folding the history gives the stored state.
pub fn folded_is_stored(world: &World<'_>, run: RunId) {
    let stored = world.run_state(run).expect("the run is in the store");
    let history = world.store().all_history();
    let rows = history.iter().filter(|h| h.run == run).map(|h| (h.at, h.events.as_slice()));
    let folded = moa_core::machine::Run::fold(rows, stored.graph.clone()).expect("it folds");
    let folded_steps: Vec<_> = folded.steps().cloned().collect();
    let stored_steps: Vec<_> = stored.steps().cloned().collect();
    assert_eq!(folded_steps, stored_steps, "folded history is the stored state");
    assert_eq!(folded.row, stored.row, "folded history is the stored row");
    assert_eq!(folded.version, stored.version, "one history row a version");
}
