//! Outputs that have a schema: those of every kind of step, and those of runs.

use insta::assert_snapshot;
use moa_core::machine::Outcome;
use moa_core::step::{ErrorKind, StepError};
use moa_core::time::Span;
use moa_engine::handle::{Change, ForkFrom, ForkRequest};
use serde_json::{Value as Json, json};

use crate::script::{answers, ok, show, start, timeline, world};

#[test]
fn an_output_that_breaks_its_schema_is_not_tried_again() {
    let text = "
steps:
  - id: count
    agent: a
    action: x
    retry: {max_attempts: 5, delay: 1s, when: 'true'}
    outputs:
      files: {value: output.files, schema: {type: array, items: {type: string}}}
      total: {value: output.total, schema: {type: integer, minimum: 0}}
      note: output.note
  - {id: use, agent: a, action: x, params: {n: \"${{ count.total }}\"}}
error_handling:
  on_failure:
    - {id: tell, agent: a, action: x, params: {why: \"${{ error.kind }} of ${{ error.step }}\"}}
";
    let good = json!({ "files": ["a"], "total": 1, "note": 1 });
    let bad = json!({ "files": ["a", 2, "c"], "total": -1, "note": [] });
    let [good, bad] = [good, bad].map(|o| timeline(text, json!({}), vec![("count", ok(o))]));
    assert_snapshot!(format!("{good}---\n{bad}"));
}

#[test]
fn a_tolerated_breach_does_not_fail_the_run() {
    let text = "
steps:
  - id: count
    agent: a
    action: x
    continue: true
    outputs: {n: {value: output.n, schema: integer}}
  - {id: after, agent: a, action: x, condition: count.failed && count.error.kind == 'output'}
";
    assert_snapshot!(timeline(text, json!({}), vec![("count", ok(json!({ "n": "many" })))]));
}

#[test]
fn a_step_with_branches_is_checked_when_its_own_action_is_done() {
    let text = "
steps:
  - id: check
    agent: a
    action: own
    outputs: {n: {value: output.n, schema: integer}}
    parallel:
      - {id: inner, agent: a, action: x}
";
    let play = |n: Json| timeline(text, json!({}), vec![("check", ok(json!({ "n": n })))]);
    assert_snapshot!(format!("{}---\n{}", play(json!(1)), play(json!("x"))));
}

#[test]
fn what_is_no_task_has_outputs_too() {
    let text = "
params: {kind: {}}
steps:
  - id: group
    outputs: {n: {value: in_group.n, schema: {type: '${KIND}'}}}
    steps: [{id: in_group, agent: a, action: x, params: {n: 1}}]
  - id: branch
    condition: 'true'
    outputs: {n: {value: in_branch.n, schema: {type: '${KIND}'}}}
    then: [{id: in_branch, agent: a, action: x, params: {n: 2}}]
  - id: each
    foreach: [10, 20]
    outputs: {all: {value: 'output.map(o, o.n)', schema: {items: {type: '${KIND}'}}}}
    steps: [{id: in_each, agent: a, action: x, params: {n: \"${{ item }}\"}}]
  - id: none
    foreach: '[]'
    outputs: {count: {value: size(output), schema: {type: '${KIND}'}}}
    steps: [{id: in_none, agent: a, action: x}]
  - id: again
    until: in_again.success
    max_iterations: 5
    outputs: {rounds: {value: output.iterations, schema: {type: '${KIND}'}}}
    steps: [{id: in_again, agent: a, action: x}]
  - id: called
    workflow: child
    outputs: {n: {value: output.n, schema: {type: '${KIND}'}}}
  - id: votes
    committee: {members: [{id: voter, agent: a, action: x, params: {approved: true}}]}
    outputs: {cast: {value: output.cast, schema: {type: '${KIND}'}}}
  - id: late
    wait_for: {signal: never, timeout: 1s, on_timeout: continue}
    outputs: {late: {value: 'output.timed_out ? 1 : 0', schema: {type: '${KIND}'}}}
";
    let child = "
steps: [{id: work, agent: a, action: x, params: {n: 7}}]
outputs: {n: {value: work.n, schema: integer}}
";
    let play = |kind: &str| {
        // Each fails on its own, and the next one goes on.
        let text =
            text.replace("${KIND}", kind).replace("  - id: ", "  - continue: true\n    id: ");
        let mut world = world(&[("w", &text), ("child", child)], answers(vec![]));
        let run = start(&mut world, "w", json!({ "kind": kind }));
        world.run(Span::minutes(60));
        show(&world, run)
    };
    assert_snapshot!(format!("{}---\n{}", play("integer"), play("string")));
}

#[test]
fn what_comes_from_outside_is_checked() {
    let text = "
steps:
  - id: gate
    approve: Deploy?
    continue: true
    outputs: {by: {value: output.by, schema: {type: string, minLength: 2}}}
  - id: news
    wait_for: {signal: news}
    continue: true
    outputs: {n: {value: output.n, schema: integer}}
  - id: heard
    wait_for: {event: fixed}
    outputs: {n: {value: output.data.n, schema: integer}}
";
    let play = |by: Json, n: Json| {
        let mut world = world(&[("w", text)], answers(vec![]));
        let run = start(&mut world, "w", json!({}));
        let signal =
            |name: &str, payload: Json| Change::Signal { name: name.into(), key: None, payload };
        world.run(Span::seconds(1));
        let decision = json!({ "approved": true, "by": by });
        world.change(run, signal("approve.gate", decision)).expect("decided");
        world.change(run, signal("news", json!({ "n": n }))).expect("taken");
        let event = Change::Event { event: "fixed".into(), data: json!({ "n": n }) };
        world.change(run, event).expect("taken");
        world.run(Span::seconds(1));
        show(&world, run)
    };
    assert_snapshot!(format!(
        "{}---\n{}",
        play(json!("ada"), json!(1)),
        play(json!("a"), json!({}))
    ));
}

#[test]
fn what_a_person_says_of_an_unknown_outcome_is_checked() {
    let text = "
steps:
  - id: pay
    agent: a
    action: x
    once: true
    outputs: {receipt: {value: output.receipt, schema: string}}
";
    let unknown = StepError::new(ErrorKind::UnknownOutcome, "gone");
    let table = vec![("pay", Outcome::Failed { error: unknown })];
    let mut world = world(&[("w", text)], answers(table));
    let run = start(&mut world, "w", json!({}));
    world.run(Span::seconds(5));
    let payload = json!({ "done": true, "output": { "receipt": 17 } });
    let answer = Change::Signal { name: "resolve.pay".into(), key: None, payload };
    world.change(run, answer).expect("answered");
    world.run(Span::seconds(5));
    assert_snapshot!(show(&world, run));
}

#[test]
fn a_run_whose_output_breaks_its_schema_fails_and_its_parent_hears_of_it() {
    let child = "
steps: [{id: work, agent: a, action: x}]
outputs:
  seconds: {value: work.n / 2.0, schema: {type: integer}}
  files: {value: work.files, schema: {maxItems: 1}}
";
    let parent = "steps: [{id: call, workflow: child}]";
    let output = json!({ "n": 3.0, "files": ["a", "b"] });
    let mut world = world(&[("child", child), ("w", parent)], answers(vec![("work", ok(output))]));
    let alone = start(&mut world, "child", json!({}));
    let run = start(&mut world, "w", json!({}));
    world.run(Span::minutes(10));
    assert_snapshot!(format!("{}---\n{}", show(&world, alone), show(&world, run)));
}

#[test]
fn a_repeated_run_checks_again() {
    let text = "
steps:
  - {id: first, agent: a, action: x, params: {n: 1}}
  - id: all
    foreach: [1, 2]
    outputs: {n: {value: 'output.map(o, o.n)', schema: {items: {maximum: 2}}}}
    steps: [{id: one, agent: a, action: x}]
outputs: {n: {value: all.n, schema: {minItems: 2}}}
";
    let mut tries = 0;
    let mock = move |task: &moa_ports::agent::Task, _| {
        tries += u32::from(task.step == "one");
        let n = if tries <= 2 { 3 } else { 2 };
        Some((Span::seconds(1), ok(json!({ "n": n }))))
    };
    let mut world = world(&[("w", text)], Box::new(mock));
    let run = start(&mut world, "w", json!({}));
    world.run(Span::minutes(1));
    let request = ForkRequest {
        run,
        from: ForkFrom::Failed,
        params: None,
        idempotency_key: None,
        cause: "test".into(),
    };
    let again = world.fork(request).expect("repeated");
    world.run(Span::minutes(1));
    assert_snapshot!(format!("{}---\n{}", show(&world, run), show(&world, again)));
}
