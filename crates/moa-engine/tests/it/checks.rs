//! What the agent says, or doesn't, when it is asked whether an attempt of unknown outcome happened.

use std::cell::RefCell;

use moa_core::agent::ActionSpec;
use moa_core::machine::Outcome;
use moa_core::run::RunStatus;
use moa_core::step::{ErrorKind, StepError, WaitReason};
use moa_core::time::Span;
use moa_engine::virtual_time::World;
use moa_ports::agent::Task;
use serde_json::json;

use crate::script::{START, agent, agents, fail, folded_is_stored, ok, plan, schemas, start};

const PAY: &str = "
steps:
  - {id: pay, agent: till, action: pay, retry: {max_attempts: 3, backoff: constant, delay: 1m}}
";

/// Plays the payment with these outcomes, one after the other. Answers what was asked of the agent and
/// in which minute, the run's status, and whether a person is asked.
fn play(outcomes: Vec<Outcome>) -> (String, RunStatus, bool) {
    let asked = RefCell::new(Vec::new());
    let outcomes = RefCell::new(outcomes.into_iter());
    let mock = |task: &Task, now: moa_core::time::Millis| {
        let minute = now.since(START).0 / 60_000;
        asked.borrow_mut().push(format!("{}@{minute}", task.action));
        Some((Span::seconds(1), outcomes.borrow_mut().next()?))
    };
    let mut till = agent("till");
    let action = |once, check: Option<&str>| ActionSpec {
        once,
        check: check.map(str::to_owned),
        ..ActionSpec::default()
    };
    till.actions.insert("pay".into(), action(true, Some("look")));
    till.actions.insert("look".into(), action(false, None));
    let mut world = World::new(START, agents([till]), schemas(), Box::new(mock));
    world.put(&plan("w", PAY)).expect("a plan is JSON");
    let run = start(&mut world, "w", json!({}));
    world.run(Span::minutes(60));
    folded_is_stored(&world, run);
    let state = world.run_state(run).expect("it is in the store");
    let person = state.step(0).is_some_and(|row| row.wait == Some(WaitReason::UnknownOutcome));
    let status = state.row.status;
    drop(world);
    (asked.into_inner().join(" "), status, person)
}

fn unknown() -> Outcome {
    fail(ErrorKind::UnknownOutcome, "the connection broke")
}

fn later() -> Outcome {
    fail(ErrorKind::Retryable, "the bank is closed")
}

fn done(done: bool) -> Outcome {
    ok(json!({ "done": done }))
}

#[test]
fn a_check_that_fails_for_now_is_made_again_by_the_policy() {
    let played = play(vec![unknown(), later(), later(), done(true)]);
    assert_eq!(played, ("pay@0 look@0 look@1 look@2".into(), RunStatus::Succeeded, false));
}

#[test]
fn a_person_is_asked_once_the_policy_has_no_more_attempts() {
    let played = play(vec![unknown(), later(), later(), later(), done(true)]);
    assert_eq!(played, ("pay@0 look@0 look@1 look@2".into(), RunStatus::Waiting, true));
}

#[test]
fn a_person_is_asked_at_once_when_the_check_can_never_answer() {
    let never = fail(ErrorKind::Permanent, "there is no such account");
    let played = play(vec![unknown(), never]);
    assert_eq!(played, ("pay@0 look@0".into(), RunStatus::Waiting, true));
}

#[test]
fn failed_checks_use_up_nothing_of_the_action() {
    // Each check has all of the policy: two fail, then it answers, three times over.
    let round = || [unknown(), later(), later(), done(false)];
    let outcomes = [round(), round(), round()].into_iter().flatten().collect();
    let (asked, status, person) = play(outcomes);
    // As without failed checks: an answered check counts, as the action does.
    let plain = [unknown(), done(false), unknown(), done(false), unknown(), done(false)];
    let (wanted, wanted_status, _) = play(plain.into());
    let count = |asked: &str| asked.split(' ').filter(|a| a.starts_with("pay")).count();
    assert_eq!((count(&asked), status, person), (count(&wanted), wanted_status, false));
    assert!(count(&asked) > 1, "{asked}");
}

#[test]
fn a_check_comes_back_when_the_agent_says() {
    let error = StepError::new(ErrorKind::Retryable, "too many requests");
    let busy = Outcome::RateLimited { error, after: Span::minutes(7) };
    let played = play(vec![unknown(), busy.clone(), busy, done(true)]);
    assert_eq!(played, ("pay@0 look@0 look@7 look@14".into(), RunStatus::Succeeded, false));
}
