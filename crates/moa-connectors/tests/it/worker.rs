//! What the worker does for every kind of agent.

use std::collections::BTreeMap;
use std::sync::Arc;

use moa_connectors::ArtifactStore;
use moa_core::agent::{ActionSpec, AgentKind};
use moa_core::machine::Outcome;
use moa_core::step::ErrorKind;
use moa_core::template::Template;
use moa_core::time::Span;
use moa_ports::agent::Worker as _;
use serde_json::json;

use crate::harness::{World, agent, command, failed, output, with_secret};

#[test]
fn noop_is_done_when_start_returns_and_leaves_no_file() {
    let world = World::new();
    let params = json!({"a": [1, "x\u{0}y"]});
    world.worker.start(world.task("noop", params.clone()));
    let done = world.next_at_once().expect("done at once");
    assert_eq!(output(done.outcome), params);
    world.worker.start(world.task("noop", json!(null)));
    let done = world.next_at_once().expect("done at once");
    assert_eq!(done.outcome, Outcome::Succeeded { output: None });
    assert_eq!(world.worker.running(), 0);
    assert!(!world.path(".moa").exists());
}

#[test]
fn unknown_agents_and_actions_are_permanent_failures_with_a_hint() {
    let world = World::new();
    let why = failed(ErrorKind::Permanent, world.run(world.task("agnet", json!({}))));
    assert_eq!(why, "there is no agent `agnet`; there are: http, noop, notify, shell, youtube");

    let mut spec = agent("strict", AgentKind::Builtin("noop".to_owned()));
    spec.actions.insert("build".to_owned(), ActionSpec::default());
    world.declare([spec]);
    let why = failed(ErrorKind::Permanent, world.run(world.task("strict", json!({}))));
    assert_eq!(why, "agent `strict` has no action `act`; it has: build");

    world.declare([agent("odd", AgentKind::Builtin("teleport".to_owned()))]);
    let why = failed(ErrorKind::Permanent, world.run(world.task("odd", json!({}))));
    assert!(why.contains("can't reach"), "{why}");
}

#[test]
fn declared_schemas_hold_for_params_and_output() {
    let world = World::new();
    let mut spec = agent("strict", AgentKind::Builtin("noop".to_owned()));
    let action = ActionSpec {
        params: Some(json!({"required": ["n"]})),
        output: Some(json!({"properties": {"n": {"type": "integer", "maximum": 3}}})),
        ..ActionSpec::default()
    };
    spec.actions.insert("act".to_owned(), action);
    let remote = ActionSpec {
        output: Some(json!({"$ref": "https://example.com/schema.json"})),
        ..ActionSpec::default()
    };
    spec.actions.insert("remote".to_owned(), remote);
    world.declare([spec]);

    let run = |params| world.run(world.task("strict", params));
    assert_eq!(output(run(json!({"n": 2}))), json!({"n": 2}));
    let why = failed(ErrorKind::Permanent, run(json!({})));
    assert!(why.starts_with("the params don't meet the schema of `act`: at /: "), "{why}");
    let why = failed(ErrorKind::Output, run(json!({"n": 7})));
    assert!(why.starts_with("the output doesn't meet the schema of `act`: at /n: "), "{why}");
    let mut task = world.task("strict", json!({}));
    task.action = "remote".to_owned();
    let why = failed(ErrorKind::Output, world.run(task));
    assert!(why.contains("the schema itself is wrong"), "{why}");
}

#[test]
fn secrets_are_filled_in_and_come_back_nowhere() {
    let world = World::new();
    let script = "echo \"$MOA_PARAM_A\" \"$HEADER\" \"$STEP_VAR\" >&2
        printf '%s' \"$MOA_PARAM_A\" | base64 >&2
        sed 's/.*\"params\"://' > \"$MOA_OUTPUT.tmp\"
        printf '{\"said\": \"%s\", \"env\": \"%s\"}' \"$MOA_PARAM_A\" \"$HEADER\" > $MOA_OUTPUT
        [ \"$MOA_PARAM_A\" = 'x topsecret-7f3c9e y topsecret-7f3c9e z' ] || exit 3
        [ \"$HEADER\" = 'key topsecret-7f3c9e!' ] || exit 4
        [ \"$STEP_VAR\" = 'topsecret-7f3c9e' ] || exit 5
        rm \"$MOA_OUTPUT.tmp\"";
    let mut spec = command("agent", script);
    let header = Template::compile(&json!("key ${{ secrets.TOKEN }}!"), true);
    spec.env = BTreeMap::from([("HEADER".to_owned(), header.expect("a template"))]);
    world.declare([spec]);
    let mut task = world.task("agent", json!(null));
    // Two slots in one text: the later one must be filled first.
    let slots = [("/a", 2, "TOKEN"), ("/a", 5, "TOKEN")];
    task.params = with_secret(json!({"a": "x  y  z"}), &slots);
    task.env = with_secret(json!({"STEP_VAR": ""}), &[("/STEP_VAR", 0, "TOKEN")]);
    let outcome = world.run(task.clone());
    let said = json!({"said": "x *** y *** z", "env": "key ***!"});
    assert_eq!(output(outcome), said);
    let log = world.log(&task);
    assert!(log.starts_with("x *** y *** z key ***! ***\n"), "{log}");
    assert!(!log.contains("dG9wc2VjcmV0"), "{log}");

    world.declare([command("agent", "echo \"bad $MOA_PARAM_A\" >&2; exit 9")]);
    let mut task = world.task("agent", json!(null));
    task.params = with_secret(json!({"a": ""}), &[("/a", 0, "TOKEN")]);
    let why = failed(ErrorKind::Retryable, world.run(task));
    assert_eq!(why, "exit code 9: bad ***");

    let mut task = world.task("noop", json!(null));
    task.params = with_secret(json!({"a": "-"}), &[("/a", 1, "TOKEN")]);
    assert_eq!(output(world.run(task.clone())), json!({"a": "-***"}));
    task.params = with_secret(json!({"a": "-"}), &[("/a", 1, "GONE")]);
    let why = failed(ErrorKind::Permanent, world.run(task.clone()));
    assert!(why.starts_with("there is no secret `GONE`"), "{why}");
    task.params = with_secret(json!({"a": "ü"}), &[("/a", 1, "TOKEN")]);
    assert!(failed(ErrorKind::Permanent, world.run(task)).contains("no place"));
}

#[test]
fn large_outputs_become_artifacts() {
    let world = World::new();
    let params = json!({"blob": "x".repeat(300 << 10)});
    let value = output(world.run(world.task("noop", params.clone())));
    let hash = value["artifact"].as_str().expect("a hash");
    let store = ArtifactStore::new(&world.path(".moa"));
    assert_eq!(store.get(hash).expect("stored"), params.to_string().into_bytes());
    assert_eq!(value["bytes"], json!(params.to_string().len()));
    let path = world.path(value["path"].as_str().expect("a path"));
    assert_eq!(std::fs::read(path).expect("a file"), params.to_string().into_bytes());

    let state = World::new();
    std::fs::create_dir(state.path(".moa")).expect("a folder");
    std::fs::write(state.path(".moa/artifacts"), "in the way").expect("a file");
    let why = failed(ErrorKind::Retryable, state.run(state.task("noop", params)));
    assert!(why.contains("can't be stored"), "{why}");
}

#[test]
fn stopping_ends_an_attempt_as_it_was_asked() {
    let world = World::new();
    let script = "echo $$ > up; exec sleep 1000";
    let mut once = command("once", script);
    once.once = true;
    world.declare([command("agent", script), once]);
    let outcome = |agent: &str, release: bool| {
        let _ = std::fs::remove_file(world.path("up"));
        let task = world.task(agent, json!({}));
        world.worker.start(task.clone());
        let pid = crate::harness::pid_in(&world.path("up"));
        assert_eq!(world.worker.running(), 1);
        world.worker.stop(task.run, task.inst, 2, release); // another attempt
        world.worker.stop(task.run, task.inst, task.attempt, release);
        let outcome = world.next().outcome;
        assert!(!crate::harness::is_alive(pid));
        outcome
    };
    assert_eq!(outcome("agent", false), Outcome::Cancelled);
    assert_eq!(outcome("agent", true), Outcome::Released);
    assert_eq!(outcome("once", false), Outcome::Cancelled);
    let why = failed(ErrorKind::UnknownOutcome, outcome("once", true));
    assert!(why.starts_with("moa was stopped while it ran"), "{why}");
    assert_eq!(world.worker.running(), 0);
}

#[test]
fn the_nearest_timeout_holds() {
    let world = World::new();
    let mut spec = command("agent", "sleep 1000");
    spec.timeout = Some(Span::minutes(50));
    let action = ActionSpec { timeout: Some(Span::minutes(40)), ..ActionSpec::default() };
    spec.actions.insert("act".to_owned(), action);
    world.declare([spec]);
    let mut task = world.task("agent", json!({}));
    task.timeout = Some(Span(100));
    let why = failed(ErrorKind::Timeout, world.run(task));
    assert_eq!(why, "it took longer than its timeout of 100ms: it was stopped");

    let mut once = command("agent", "sleep 1000");
    once.once = true;
    once.timeout = Some(Span(100));
    world.declare([once]);
    let outcome = world.run(world.task("agent", json!({})));
    failed(ErrorKind::UnknownOutcome, outcome);
}

#[test]
fn agents_can_be_replaced_while_attempts_run() {
    let world = World::new();
    let wait = "echo $$ > up; until [ -e go ]; do sleep 0.01; done; echo '\"old\"'";
    world.declare([command("agent", wait)]);
    let task = world.task("agent", json!({}));
    world.worker.start(task);
    crate::harness::pid_in(&world.path("up"));
    world.declare([command("agent", "echo '\"new\"'")]);
    assert_eq!(output(world.run(world.task("agent", json!({})))), json!("new"));
    std::fs::write(world.path("go"), "").expect("a file");
    assert_eq!(output(world.next().outcome), json!("old"));
    assert!(Arc::ptr_eq(
        &world.agents.get(&crate::harness::name("agent")).expect("there"),
        &world.agents.get(&crate::harness::name("agent")).expect("there"),
    ));
}
