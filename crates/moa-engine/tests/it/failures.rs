//! Failures: retries, tolerance, compensation, handlers, limits.

use insta::assert_snapshot;
use moa_core::machine::Outcome;
use moa_core::step::{ErrorKind, StepError};
use moa_core::time::Span;
use moa_engine::handle::{Change, ForkFrom, ForkRequest};
use serde_json::json;

use crate::script::{answers, fail, ok, show, start, timeline, world};

#[test]
fn the_default_retries_come_after_1_2_and_4_minutes() {
    let text = "steps: [{id: flaky, agent: a, action: x}]";
    assert_snapshot!(timeline(text, json!({}), vec![("flaky", fail(ErrorKind::Retryable, "no"))]));
}

#[test]
fn permanent_failures_are_not_tried_again() {
    let text = "
steps:
  - {id: bad, agent: a, action: x}
  - {id: after, agent: a, action: x}
  - {id: last, agent: a, action: x, run_if: failure}
";
    assert_snapshot!(timeline(text, json!({}), vec![("bad", fail(ErrorKind::Permanent, "never"))]));
}

#[test]
fn an_unknown_outcome_is_tried_again_where_that_does_no_harm() {
    let text = "steps: [{id: sync, agent: a, action: x, retry: {max_attempts: 2, delay: 5s}}]";
    let lost = fail(ErrorKind::UnknownOutcome, "the connection broke");
    assert_snapshot!(timeline(text, json!({}), vec![("sync#1", lost)]));
}

#[test]
fn the_agent_may_say_when_to_come_back() {
    let text = "steps: [{id: busy, agent: a, action: x}]";
    let error = StepError::new(ErrorKind::Retryable, "too many requests");
    let later = Outcome::RateLimited { error, after: Span::seconds(30) };
    assert_snapshot!(timeline(text, json!({}), vec![("busy#1", later)]));
}

#[test]
fn a_tolerated_failure_does_not_fail_the_run() {
    let text = "
steps:
  - {id: bad, agent: a, action: x, continue: true}
  - {id: after, agent: a, action: x, condition: bad.failed}
";
    assert_snapshot!(timeline(text, json!({}), vec![("bad", fail(ErrorKind::Permanent, "no"))]));
}

#[test]
fn what_succeeded_is_compensated_in_reverse_order() {
    let text = "
steps:
  - {id: hotel, agent: a, action: book, compensate: {agent: a, action: cancel_hotel}}
  - {id: flight, agent: a, action: book, compensate: {agent: a, action: cancel_flight}}
  - {id: pay, agent: a, action: pay}
error_handling:
  on_failure: [{id: tell, agent: a, action: log, params: {why: \"${{ error.message }}\"}}]
  finally: [{id: tidy, agent: a, action: tidy}]
";
    assert_snapshot!(timeline(text, json!({}), vec![("pay", fail(ErrorKind::Permanent, "broke"))]));
}

/// Undone from second 3 on: a second for each of two.
const TRIP: &str = "
steps:
  - {id: hotel, agent: a, action: book, compensate: {agent: a, action: cancel_hotel}}
  - {id: flight, agent: a, action: book, compensate: {agent: a, action: cancel_flight}}
  - {id: pay, agent: a, action: pay}
error_handling:
  on_failure: [{id: tell, agent: a, action: log}]
  finally: [{id: tidy, agent: a, action: tidy}]
";

#[test]
fn what_is_cancelled_while_it_is_undone_is_undone_to_its_end() {
    for paused in [false, true] {
        let pay = fail(ErrorKind::Permanent, "broke");
        let mut world = world(&[("w", TRIP)], answers(vec![("pay", pay)]));
        let run = start(&mut world, "w", json!({}));
        world.run(Span(3_500));
        if paused {
            // No second step is undone before the run goes on.
            world.change(run, Change::Pause).expect("it can be paused");
            world.run(Span::minutes(5));
        }
        let cancel = || Change::Cancel { reason: "enough".into() };
        world.change(run, cancel()).expect("it can be cancelled");
        world.change(run, cancel()).expect_err("it is being cancelled already");
        world.run(Span::minutes(60));
        match paused {
            false => assert_snapshot!("cancelled_while_undone", show(&world, run)),
            true => assert_snapshot!("cancelled_while_undone_and_paused", show(&world, run)),
        }
    }
}

#[test]
fn the_time_limit_holds_while_it_is_undone() {
    let text = format!("timeout: 3500ms\n{TRIP}");
    let pay = fail(ErrorKind::Permanent, "broke");
    assert_snapshot!(timeline(&text, json!({}), vec![("pay", pay)]));
}

#[test]
fn a_run_has_a_time_limit() {
    let text = "
timeout: 10s
steps:
  - {id: nap, sleep: 1h}
error_handling: {finally: [{id: tidy, agent: a, action: tidy}]}
";
    assert_snapshot!(timeline(text, json!({}), vec![]));
}

#[test]
fn a_run_whose_time_is_over_has_failed_and_that_is_handled() {
    let text = "
timeout: 10s
steps:
  - {id: book, agent: a, action: book, compensate: {agent: a, action: cancel}}
  - {id: nap, sleep: 1h}
error_handling:
  on_failure:
    - {id: tell, agent: a, action: log,
       params: {why: \"${{ error.kind }}: ${{ error.message }} ${{ error.step }}\"}}
  finally: [{id: tidy, agent: a, action: tidy}]
";
    assert_snapshot!(timeline(text, json!({}), vec![]));
}

/// Its `on_failure` would never end.
const ENDLESS: &str = "
timeout: 10s
steps: [{id: nap, sleep: 1h}]
error_handling:
  on_failure: [{id: wait, wait_for: {signal: never}}, {id: tell, agent: a, action: log}]
  finally: [{id: tidy, agent: a, action: tidy}]
";

#[test]
fn handling_a_failure_has_a_time_limit_too() {
    assert_snapshot!(timeline(ENDLESS, json!({}), vec![]));
}

#[test]
fn a_run_that_handles_that_its_time_is_over_can_be_cancelled() {
    let mut world = world(&[("w", ENDLESS)], answers(vec![]));
    let run = start(&mut world, "w", json!({}));
    world.run(Span::minutes(2));
    let cancel = || Change::Cancel { reason: "enough".into() };
    world.change(run, cancel()).expect("it can be cancelled");
    world.run(Span::minutes(1));
    world.change(run, cancel()).expect_err("it has ended");
    assert_snapshot!(show(&world, run));
}

#[test]
fn a_mistake_in_an_expression_fails_the_step_with_its_place() {
    let text = "
steps:
  - {id: one, agent: a, action: x, params: {n: \"${{ params.missing }}\"}}
  - {id: two, agent: a, action: x, run_if: always, condition: one.output}
";
    assert_snapshot!(timeline(text, json!({}), vec![]));
}

#[test]
fn cancel_stops_what_runs_and_still_cleans_up() {
    let text = "
steps:
  - {id: done, agent: a, action: x, compensate: {agent: a, action: undo}}
  - foreach: {in: \"[1, 2]\", as: m}
    steps: [{id: long, agent: a, action: x}]
  - {id: after, agent: a, action: x}
error_handling: {finally: [{id: tidy, agent: a, action: tidy}]}
";
    let mock = Box::new(|task: &moa_ports::agent::Task, _| {
        (task.step != "long").then(|| (Span::seconds(1), ok(json!(null))))
    });
    let mut world = world(&[("w", text)], mock);
    let run = start(&mut world, "w", json!({}));
    world.run(Span::seconds(5));
    world.change(run, Change::Cancel { reason: "enough".into() }).expect("it can be cancelled");
    world.run(Span::minutes(5));
    assert_snapshot!(show(&world, run));
}

#[test]
fn cancel_reaches_children_and_terminate_stops_at_once() {
    let child = "steps: [{id: nap, sleep: 1h}]";
    let parent = "
steps: [{id: sub, workflow: child}]
error_handling: {finally: [{id: tidy, agent: a, action: tidy}]}
";
    let mut world = world(&[("child", child), ("parent", parent)], answers(vec![]));
    let cancelled = start(&mut world, "parent", json!({}));
    let terminated = start(&mut world, "parent", json!({}));
    world.run(Span::seconds(5));
    world.change(cancelled, Change::Cancel { reason: "a".into() }).expect("cancelled");
    world.change(terminated, Change::Terminate { reason: "b".into() }).expect("terminated");
    world.run(Span::minutes(5));
    assert_snapshot!(format!("{}---\n{}", show(&world, cancelled), show(&world, terminated)));
    let open = world.store().snapshots().into_iter().filter(|s| !s.row.status.is_terminal());
    assert_eq!(open.count(), 0, "children ended too");
}

#[test]
fn retry_takes_over_what_succeeded() {
    let text = "
steps:
  - {id: one, agent: a, action: x, params: {n: 1}}
  - id: each
    foreach: {in: \"[0, 1]\", as: m}
    steps: [{id: work, agent: a, action: x, params: {m: \"${{ m }}\"}}]
  - {id: last, agent: a, action: x, params: {all: \"${{ each.output }}\"}}
";
    let mut bad = true;
    let mock = Box::new(move |task: &moa_ports::agent::Task, _| {
        let fails = task.step == "work" && task.iteration == "1" && std::mem::take(&mut bad);
        let good = ok(task.params.value.clone());
        let outcome = if fails { fail(ErrorKind::Permanent, "once") } else { good };
        Some((Span::seconds(1), outcome))
    });
    let mut world = world(&[("w", text)], mock);
    let run = start(&mut world, "w", json!({}));
    world.run(Span::minutes(5));
    let first = show(&world, run);
    let request = ForkRequest {
        run,
        from: ForkFrom::Failed,
        params: None,
        idempotency_key: None,
        cause: "retry".into(),
    };
    let again = world.fork(request).expect("it can be retried");
    world.run(Span::minutes(5));
    assert_snapshot!(format!("{first}---\n{}", show(&world, again)));
    let worked = world.started.iter().filter(|(_, r, ..)| *r == again);
    assert_eq!(worked.map(|(.., s, _)| s.as_str()).collect::<Vec<_>>(), ["work[1]", "last"]);
}

/// The second attempts of a workflow of which some steps are done again, by second.
fn done_again(text: &str, from: &str) -> Vec<String> {
    let mut world = world(&[("w", text)], answers(vec![]));
    let run = start(&mut world, "w", json!({}));
    world.run(Span::minutes(5));
    let (began, from) = (world.now(), ForkFrom::Step(from.into()));
    let again = world.fork(ForkRequest {
        run,
        from,
        params: None,
        idempotency_key: None,
        cause: "again".into(),
    });
    let again = again.expect("it can be repeated");
    world.run(Span::minutes(5));
    assert!(show(&world, again).starts_with("run succeeded"), "{}", show(&world, again));
    let started = world.started.iter().filter(|(_, run, ..)| *run == again);
    started.map(|(at, _, step, _)| format!("{}s {step}", at.since(began).0 / 1000)).collect()
}

#[test]
fn iterations_that_are_done_again_keep_their_turns() {
    let loops = "
steps:
  - foreach: {in: [1, 2, 3], max_parallel: 1}
    steps:
      - foreach: {in: [1, 2]}
        steps: [{id: one, agent: a, action: x}, {id: two, agent: a, action: x}]
";
    let both = |n: u32, id: &str, at: u32| [0, 1].map(|m| format!("{at}s {id}[{n}.{m}]"));
    let turns: Vec<_> = (0..3).flat_map(|n| both(n, "two", n)).collect();
    assert_eq!(done_again(loops, "two"), turns);
    let turns = (0..3).flat_map(|n| [both(n, "one", 2 * n), both(n, "two", 2 * n + 1)]);
    assert_eq!(done_again(loops, "one"), turns.flatten().collect::<Vec<_>>());
    let group = "
steps:
  - foreach: {in: [1, 2, 3], max_parallel: 1}
    steps:
      - parallel: [{id: one, agent: a, action: x}, {id: two, agent: a, action: x}]
";
    assert_eq!(done_again(group, "two"), ["0s two[0]", "1s two[1]", "2s two[2]"]);
}

#[test]
fn a_child_whose_key_cannot_be_computed_fails_its_parent_step() {
    let child = "
concurrency: {key: params.who.name, limit: 1}
steps: [{id: inner, agent: a, action: x}]
";
    let parent = "steps: [{id: sub, workflow: child}]";
    let mut world = world(&[("child", child), ("parent", parent)], answers(vec![]));
    let run = start(&mut world, "parent", json!({}));
    world.run(Span::minutes(10));
    let text = show(&world, run);
    assert!(text.starts_with("run failed Child: step sub failed: concurrency.key:"), "{text}");
}
