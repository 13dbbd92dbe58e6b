//! Each construct of the language, executed.

use insta::assert_snapshot;
use moa_core::time::Span;
use serde_json::json;

use crate::script::{answers, fail, ok, show, start, timeline, world};
use moa_core::step::ErrorKind;

#[test]
fn steps_run_one_after_the_other() {
    let text = "
steps:
  - {id: one, agent: a, action: x, params: {n: 1}}
  - {id: two, agent: a, action: x, params: {n: \"${{ one.n + 1 }}\"}}
outputs: {sum: one.n + two.output.n}
";
    assert_snapshot!(timeline(text, json!({}), vec![]));
}

#[test]
fn a_graph_runs_what_it_can_at_once() {
    let text = "
mode: graph
steps:
  - {id: one, agent: a, action: x}
  - {id: two, agent: a, action: x}
  - {id: three, agent: a, action: x, depends_on: [one, two]}
";
    assert_snapshot!(timeline(text, json!({}), vec![]));
}

#[test]
fn a_step_with_branches_ends_when_all_have() {
    let text = "
steps:
  - id: check
    agent: a
    action: own
    parallel:
      - {agent: a, action: security_scan}
      - {id: slow, agent: a, action: x, retry: {max_attempts: 2, delay: 5s}}
  - {id: deploy, agent: a, action: x, condition: check.success && security_scan.passed}
";
    let table = vec![
        ("security_scan", ok(json!({ "passed": true }))),
        ("slow#1", fail(ErrorKind::Retryable, "not yet")),
    ];
    assert_snapshot!(timeline(text, json!({}), table));
}

#[test]
fn conditions_take_one_branch() {
    let text = "
params: {rate: {type: number}}
steps:
  - condition: rate > 0.05
    then: [{id: rollback, agent: a, action: x}]
    else: [{id: keep, agent: a, action: x}, {id: note, agent: a, action: x}]
  - switch:
      - case: rate > 0.5
        then: [{id: alarm, agent: a, action: x}]
      - case: rate > 0.01
        then: [{id: watch, agent: a, action: x}]
      - default: [{id: sleep_well, agent: a, action: x}]
";
    assert_snapshot!(timeline(text, json!({ "rate": 0.02 }), vec![]));
}

#[test]
fn foreach_runs_so_many_at_once_and_collects() {
    let text = "
steps:
  - id: each
    foreach: {in: \"[1, 2, 3]\", as: m, max_parallel: 2}
    steps:
      - {id: first, agent: a, action: x, params: {m: \"${{ m }}\"}}
      - {id: second, agent: a, action: x, params: {sum: \"${{ first.m + m + index }}\"}}
outputs: {all: each.output}
";
    assert_snapshot!(timeline(text, json!({}), vec![]));
}

#[test]
fn an_empty_foreach_is_done_at_once() {
    let text = "
steps:
  - {id: each, foreach: {in: \"[]\", as: m}, steps: [{id: never, agent: a, action: x}]}
  - {id: after, agent: a, action: x}
";
    assert_snapshot!(timeline(text, json!({}), vec![]));
}

#[test]
fn while_goes_on_until_its_body_says_so() {
    let text = "
steps:
  - id: fixing
    while: \"!tests.passed\"
    max_iterations: 5
    steps: [{id: tests, agent: a, action: fix}]
  - {id: after, agent: a, action: x, params: {passed: \"${{ tests.passed }}\"}}
";
    let table = vec![
        ("tests[0]", ok(json!({ "passed": false }))),
        ("tests[1]", ok(json!({ "passed": false }))),
        ("tests[2]", ok(json!({ "passed": true }))),
    ];
    assert_snapshot!(timeline(text, json!({}), table));
}

#[test]
fn a_loop_that_never_ends_fails_at_its_limit() {
    let text = "
steps:
  - {id: fixing, until: done.ok, max_iterations: 2, steps: [{id: done, agent: a, action: x}]}
  - {id: after, agent: a, action: x}
";
    assert_snapshot!(timeline(text, json!({}), vec![("done", ok(json!({ "ok": false })))]));
}

#[test]
fn a_workflow_runs_another() {
    let child = "
params: {n: {type: integer}}
steps: [{id: inner, agent: a, action: x, params: {n: \"${{ params.n * 2 }}\"}}]
outputs: {doubled: inner.n}
";
    let parent = "
steps:
  - {id: sub, workflow: child, params: {n: 21}}
  - {id: after, agent: a, action: x, params: {got: \"${{ sub.doubled }}\"}}
";
    let mut world = world(&[("child", child), ("parent", parent)], answers(vec![]));
    let run = start(&mut world, "parent", json!({}));
    world.run(Span::minutes(10));
    assert_snapshot!(show(&world, run));
}

#[test]
fn a_child_that_fails_fails_its_parent_step() {
    let child = "steps: [{id: inner, agent: a, action: x}]";
    let parent = "
steps:
  - {id: sub, workflow: child}
  - {id: missing, workflow: nowhere, run_if: always}
";
    let table = vec![("inner", fail(ErrorKind::Permanent, "no"))];
    let mut world = world(&[("child", child), ("parent", parent)], answers(table));
    let run = start(&mut world, "parent", json!({}));
    world.run(Span::minutes(10));
    assert_snapshot!(show(&world, run));
}

#[test]
fn a_child_is_not_started_with_params_that_do_not_fit() {
    let child = "params: {n: {type: integer}}\nsteps: [{id: inner, agent: a, action: x}]";
    let parent = "
params: {n: {}}
steps: [{id: sub, workflow: child, params: {n: '${{ params.n }}'}}]
";
    let mut world = world(&[("child", child), ("parent", parent)], answers(vec![]));
    for (n, said) in [
        (
            json!("seven"),
            "sub failed #1 0s..0s Child: the params don't fit: `n`: \"seven\" is not of type integer",
        ),
        (json!(7), "run succeeded"),
    ] {
        let run = start(&mut world, "parent", json!({"n": n}));
        world.run(Span::minutes(10));
        let shown = show(&world, run);
        assert!(shown.contains(said), "{shown}");
    }
}

#[test]
fn of_nested_children_the_innermost_says_why() {
    let call = |of: &str| format!("steps: [{{id: call, workflow: {of}}}]");
    let (top, upper, lower) = (call("upper"), call("lower"), call("last"));
    let last = "steps: [{id: inner, agent: a, action: x}]";
    let table = vec![("inner", fail(ErrorKind::Permanent, "no"))];
    let all = [("top", &*top), ("upper", &*upper), ("lower", &*lower), ("last", last)];
    let mut world = world(&all, answers(table));
    let run = start(&mut world, "top", json!({}));
    world.run(Span::minutes(10));
    let shown = show(&world, run);
    assert!(shown.contains("Child: step call failed: step inner failed: no at"), "{shown}");
}

#[test]
fn sleep_takes_its_time() {
    let text = "
steps:
  - {id: nap, sleep: 90s}
  - {id: after, agent: a, action: x}
";
    assert_snapshot!(timeline(text, json!({}), vec![]));
}

#[test]
fn events_reach_who_waits_for_them() {
    let waiter = "
steps:
  - {id: built, wait_for: {event: build.clean, match: event.data.n > 1, timeout: 1h}}
outputs: {n: built.data.n}
";
    let emitter = "
params: {n: {type: integer}}
steps: [{id: tell, emit: {type: build.clean, data: {n: \"${{ params.n }}\"}}}]
";
    let mut world = world(&[("waiter", waiter), ("emitter", emitter)], answers(vec![]));
    let run = start(&mut world, "waiter", json!({}));
    start(&mut world, "emitter", json!({ "n": 1 }));
    world.run(Span::seconds(1));
    let before = show(&world, run);
    start(&mut world, "emitter", json!({ "n": 2 }));
    world.run(Span::seconds(1));
    assert_snapshot!(format!("{before}---\n{}", show(&world, run)));
}
