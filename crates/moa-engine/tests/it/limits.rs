//! Rates, quotas and breakers: when attempts start.

use std::fmt::Write;

use moa_core::agent::AgentSpec;
use moa_core::ids::RunId;
use moa_core::limit::{Health, Held, LimitState, Reason, Usage};
use moa_core::machine::Outcome;
use moa_core::step::ErrorKind;
use moa_core::time::{Millis, Span};
use moa_engine::handle::{Change, Started};
use moa_engine::node::{Answer, Command};
use moa_engine::virtual_time::{Mock, World};
use moa_ports::agent::{Completion, Task};
use moa_ports::limit::LimitWrite;
use moa_ports::store::{Batch, Store};
use moa_ports::suite::{answer, build};
use serde_json::{Value as Json, json};

use crate::hand::Hand;
use crate::script::{START, agents, fail, name, ok, plan, request, schemas, start};

/// The agent `a` with these limits.
fn limited(limits: Json) -> AgentSpec {
    let mut spec = crate::script::agent("a");
    spec.limits = serde_json::from_value(limits).expect("limits");
    spec
}

fn world<'a>(limits: Json, text: &str, mock: Mock<'a>) -> World<'a> {
    let mut world = World::new(START, agents([limited(limits)]), schemas(), mock);
    world.put(&plan("w", text)).expect("a plan is JSON");
    world
}

fn works() -> Mock<'static> {
    Box::new(|_: &Task, _| Some((Span::seconds(1), ok(json!({})))))
}

/// When attempts started, in seconds since the start, and what they were.
fn starts(world: &World<'_>) -> String {
    let mut text = String::new();
    for (at, _, step, attempt) in &world.started {
        let _ = write!(text, "{}s {step}#{attempt}, ", at.since(START).0 / 1000);
    }
    text.trim_end_matches(", ").to_owned()
}

fn seconds(world: &World<'_>) -> Vec<u64> {
    world.started.iter().map(|(at, ..)| at.since(START).0 / 1000).collect()
}

#[test]
fn a_rate_spreads_attempts_over_time() {
    let list =
        "steps: [{foreach: {in: [1, 2, 3, 4, 5, 6, 7]}, steps: [{id: act, agent: a, action: x}]}]";
    let limits = json!({"rates": [{"count": 2, "span": 60_000}, {"count": 5, "span": 3_600_000}]});
    let mut world = world(limits, list, works());
    start(&mut world, "w", json!({}));
    world.run(Span::minutes(180));
    assert_eq!(seconds(&world), [0, 0, 60, 60, 120, 3600, 3600]);
}

#[test]
fn a_restart_forgets_nothing_that_was_used() {
    let list = "steps: [{foreach: {in: [1, 2, 3, 4]}, steps: [{id: act, agent: a, action: x}]}]";
    let limits = json!({"rates": [{"count": 2, "span": 3_600_000}]});
    let mut world = world(limits, list, works());
    start(&mut world, "w", json!({}));
    world.run(Span::minutes(10));
    assert_eq!(seconds(&world), [0, 0]);
    world.restart();
    world.run(Span::minutes(10));
    assert_eq!(seconds(&world), [0, 0], "forgotten at the restart");
    world.run(Span::minutes(180));
    assert_eq!(seconds(&world), [0, 0, 3600, 3600]);
}

#[test]
fn a_quota_waits_for_the_next_window_and_lets_cheap_actions_pass() {
    let text = "
mode: graph
steps:
  - {id: one, agent: a, action: upload}
  - {id: two, agent: a, action: upload}
  - {id: list, agent: a, action: list}
";
    let limits = json!({"quota": {"units": 2000, "per": "day", "cost": {"upload": 1600}}});
    let mut world = world(limits, text, works());
    start(&mut world, "w", json!({}));
    world.run(Span::minutes(60 * 24 * 2));
    // The scripts start at 08:00 UTC.
    assert_eq!(starts(&world), "0s one#1, 0s list#1, 57600s two#1");
    assert!(world.status().held.is_empty(), "{:?}", world.status().held);
}

/// A run of two uploads, for one of which there is room in a day.
fn half_uploaded() -> (World<'static>, RunId) {
    let text = "
mode: graph
steps:
  - {id: one, agent: a, action: upload}
  - {id: two, agent: a, action: upload}
";
    let limits = json!({"quota": {"units": 10, "per": "day", "cost": {"upload": 6}}});
    let mut world = world(limits, text, works());
    let run = start(&mut world, "w", json!({}));
    world.run(Span::minutes(60));
    (world, run)
}

#[test]
fn an_agent_whose_limits_let_no_task_start_is_held_back() {
    let (mut world, run) = half_uploaded();
    let held = world.status().held.into_values().collect::<Vec<_>>();
    let until = START.after(Span::seconds(57_600));
    assert_eq!(held, [Held { until, reason: Reason::Quota { units: 10, used: 6 } }]);
    // What nobody waits for is not held back.
    let change = Change::Cancel { reason: "enough".into() };
    world.change(run, change).expect("it is cancelled");
    world.run(Span::minutes(60));
    assert_eq!(world.status().held.len(), 0);
}

#[test]
fn an_agent_whose_limits_were_taken_away_is_not_held_back() {
    let (mut world, _) = half_uploaded();
    assert_eq!(world.status().held.len(), 1);
    world.set_agents(agents([crate::script::agent("a")]));
    assert_eq!(world.status().held.len(), 0);
}

#[test]
fn a_breaker_leaves_an_ill_agent_alone_and_asks_once_whether_it_is_well() {
    let text = "
steps:
  - id: act
    agent: a
    action: x
    retry: {max_attempts: 9, delay: 1s, backoff: constant}
";
    let limits = json!({"breaker": {"failures": 3, "open_for": 30_000, "open_for_max": 600_000}});
    let ill_until = START.after(Span::seconds(60));
    let mock: Mock<'_> = Box::new(move |_: &Task, now: Millis| {
        let ill = || fail(ErrorKind::Retryable, "ill");
        Some((Span::seconds(1), if now < ill_until { ill() } else { ok(json!({})) }))
    });
    let mut world = world(limits, text, mock);
    let runs = [(); 3].map(|()| start(&mut world, "w", json!({})));
    world.run(Span::minutes(60));
    // Three at once open it; after 30 s one is asked, is ill, and it stays open for a minute.
    assert_eq!(seconds(&world), [0, 0, 0, 31, 92, 93, 93]);
    for run in runs {
        let status = world.run_state(run).expect("a run").status_now();
        assert_eq!(status.as_str(), "succeeded");
    }
}

#[test]
fn an_agent_that_asks_for_a_pause_gets_it_for_all_its_tasks() {
    let list = "steps: [{foreach: {in: [1, 2, 3], max_parallel: 1}, steps: [{id: act, agent: a, action: x}]}]";
    let limits = json!({"rates": [{"count": 100, "span": 1000}]});
    let mut asked = false;
    let mock: Mock<'_> = Box::new(move |_: &Task, _| {
        let first = !std::mem::replace(&mut asked, true);
        let after = Span::minutes(5);
        let error = moa_core::step::StepError::new(ErrorKind::Retryable, "slow down");
        let outcome = if first { Outcome::RateLimited { error, after } } else { ok(json!({})) };
        Some((Span::seconds(1), outcome))
    });
    let mut world = world(limits, list, mock);
    start(&mut world, "w", json!({}));
    start(&mut world, "w", json!({}));
    world.run(Span::minutes(60));
    let starts = seconds(&world);
    // The second run's task had started beside the first; the others wait for five minutes.
    assert_eq!(starts[..2], [0, 0]);
    assert!(starts[2..].iter().all(|at| *at >= 301), "{starts:?}");
}

/// Two attempts are leased, one in the batch in flight, one in the next. Meanwhile another node has
/// used the rate up: neither may start.
#[test]
fn what_another_node_has_used_is_used() {
    let spec = limited(json!({"rates": [{"count": 2, "span": 3_600_000}]}));
    let mut hand = Hand::new(&[("well", "steps: [{id: one, agent: a, action: x}]")]);
    hand.agents = agents([spec.clone()]);
    hand.restart();
    hand.settle();
    let is_commit = |command: &Command| matches!(command, Command::Commit(_));
    hand.node.start(START, 1, build::run(1), request("well", json!({})));
    let first = hand.up_to(is_commit);
    hand.node.start(START, 2, build::run(2), request("well", json!({})));
    assert!(!hand.step(), "a batch is in flight");
    let mut state = LimitState::default();
    (0..2).for_each(|_| state.take(&spec.limits, "x", START));
    let limits = vec![LimitWrite { agent: name("a"), expected: 0, state, runs: Vec::new() }];
    hand.commit(Batch { limits, ..build::batch(Vec::new()) });
    hand.perform(first);
    // What is used is asked for, and before the answer comes the next batch is on its way.
    let load = hand.up_to(|command| matches!(command, Command::LoadLimits));
    let second = hand.up_to(is_commit);
    hand.perform(second);
    hand.perform(load);
    hand.settle();
    assert_eq!(hand.started, []);
    hand.wake();
    hand.settle();
    assert_eq!(hand.now, START.after(Span::minutes(60)));
    assert_eq!(hand.started, [1, 2].map(build::run));
}

/// How many attempts of the agent `a` its first rate counts, as the store has it.
fn counted(hand: &Hand) -> u64 {
    let rows = answer(|reply| hand.store.limits(reply)).expect("it is read");
    let row = rows.iter().find(|row| row.agent == name("a")).expect("a row");
    let json = serde_json::to_value(&row.state).expect("JSON");
    let entries = json.pointer("/rates/0").and_then(Json::as_array).cloned().unwrap_or_default();
    entries.iter().filter_map(|entry| entry[1].as_u64()).sum()
}

fn hand_with(limits: Json, mut hand: Hand) -> Hand {
    hand.agents = agents([limited(limits)]);
    hand.restart();
    hand.settle();
    hand
}

const ONE: (&str, &str) = ("well", "steps: [{id: one, agent: a, action: x}]");

/// A start with a key that is used up is made in memory, its first step is leased in the same batch,
/// and the store refuses it.
#[test]
fn a_start_that_is_refused_uses_nothing() {
    let limits = json!({
        "rates": [{"count": 3, "span": 3_600_000}],
        "quota": {"units": 3, "per": "day"},
        "breaker": {"failures": 1, "open_for": 30_000, "open_for_max": 30_000},
    });
    let mut hand = hand_with(limits, Hand::new(&[ONE]));
    let mut keyed = request("well", json!({}));
    keyed.idempotency_key = Some("key".into());
    hand.node.start(hand.now, 1, build::run(1), keyed.clone());
    hand.settle();
    let (run, inst, attempt) = hand.running.remove(0);
    let outcome = fail(ErrorKind::Retryable, "ill");
    hand.node.completed(hand.now, Completion { run, inst, attempt, outcome, usage: Usage::NONE });
    hand.settle();
    // The breaker is open; after its pause one attempt may be made.
    hand.now = hand.now.after(Span::seconds(30));
    for n in 2..=9 {
        hand.node.start(hand.now, n, build::run(n), keyed.clone());
        hand.settle();
        let existing = Started::Existing { run: build::run(1) };
        assert!(matches!(&hand.answers[&n], Answer::Started(Ok(started)) if *started == existing));
    }
    assert_eq!(counted(&hand), 1);
    hand.node.start(hand.now, 10, build::run(10), request("well", json!({})));
    hand.settle();
    assert_eq!(hand.started, [1, 10].map(build::run), "the probe is a real one");
    assert_eq!(counted(&hand), 2);
}

/// A node that has leased a task finds that another node has changed its run.
#[test]
fn a_lease_that_another_node_came_before_uses_nothing() {
    let limits = json!({"rates": [{"count": 1, "span": 3_600_000}]});
    let mut hand = hand_with(limits, Hand::shared(&[ONE]));
    hand.node.start(hand.now, 1, build::run(1), request("well", json!({})));
    hand.node.registered(hand.now, hand.now.after(Span::minutes(60)));
    let lease = hand.up_to(|command| matches!(command, Command::Commit(_)));
    // The other node makes the same run first, and it waits there.
    hand.commit(build::batch(vec![build::create(build::row(build::run(1)))]));
    hand.perform(lease);
    hand.settle();
    assert_eq!((hand.started.as_slice(), counted(&hand)), ([].as_slice(), 0));
}

/// What was gathered while the count of another agent was refused is counted once.
#[test]
fn what_has_no_row_yet_is_counted_once() {
    let rate = json!({"rates": [{"count": 2, "span": 3_600_000}]});
    let other = AgentSpec { id: name("b"), ..limited(rate.clone()) };
    let mut hand = Hand::new(&[ONE, ("other", "steps: [{id: one, agent: b, action: x}]")]);
    hand.agents = agents([limited(rate), other]);
    hand.restart();
    hand.settle();
    hand.node.start(hand.now, 1, build::run(1), request("other", json!({})));
    let first = hand.up_to(|command| matches!(command, Command::Commit(_)));
    hand.node.start(hand.now, 2, build::run(2), request("well", json!({})));
    assert!(!hand.step(), "a batch is in flight");
    let state = LimitState::default();
    let limits = vec![LimitWrite { agent: name("b"), expected: 0, state, runs: Vec::new() }];
    hand.commit(Batch { limits, ..build::batch(Vec::new()) });
    hand.perform(first);
    let load = hand.up_to(|command| matches!(command, Command::LoadLimits));
    hand.perform(load);
    hand.settle();
    assert_eq!((hand.started.len(), counted(&hand)), (2, 1));
}

/// Two tasks of a run are leased, one in the batch in flight, one in the next, and another node came before
/// with the run and with the row. The second one was taken and given back before it was in any row: on the row
/// that is loaded, where the breaker has opened meanwhile, that is nothing.
#[test]
fn what_never_started_does_not_close_a_breaker_that_another_node_opened() {
    let text = "
mode: graph
steps:
  - {id: one, agent: a, action: x}
  - {id: go, wait_for: {signal: go}}
  - {id: two, agent: a, action: x, depends_on: [go]}
";
    let limits = json!({"breaker": {"failures": 1, "open_for": 30_000, "open_for_max": 30_000}});
    let spec = limited(limits.clone());
    let mut hand = hand_with(limits, Hand::shared(&[ONE, ("two", text)]));
    hand.node.registered(hand.now, hand.now.after(Span::minutes(60)));
    hand.node.start(hand.now, 1, build::run(1), request("two", json!({})));
    let first = hand.up_to(|command| matches!(command, Command::Commit(_)));
    let go = Change::Signal { name: "go".into(), key: None, payload: json!({}) };
    hand.node.change(hand.now, 2, build::run(1), go);
    assert!(!hand.step(), "a batch is in flight");
    assert_eq!(hand.slots_taken(), 2);
    let mut state = LimitState::default();
    state.settle(&spec.limits, Health::Bad, None, START);
    let limits = vec![LimitWrite { agent: name("a"), expected: 0, state, runs: Vec::new() }];
    let created = build::create(build::row(build::run(1)));
    hand.commit(Batch { limits, ..build::batch(vec![created]) });
    hand.perform(first);
    hand.node.start(hand.now, 3, build::run(2), request("well", json!({})));
    hand.settle();
    assert_eq!(hand.started, [], "the breaker is open");
    hand.now = hand.now.after(Span::seconds(30));
    hand.node.wake(hand.now);
    hand.settle();
    assert_eq!(hand.started, [build::run(2)]);
}

/// A row of an agent as another node writes it, from the version `expected`.
fn writes(agent: &str, expected: u64, state: LimitState) -> LimitWrite {
    LimitWrite { agent: name(agent), expected, state, runs: Vec::new() }
}

/// An attempt was leased after the batch in flight was made, and its own batch had to wait for rows, because
/// something was spent: another node has used the rate up meanwhile, and it does not start.
#[test]
fn a_lease_that_waited_for_rows_is_judged_by_them() {
    let rate = limited(json!({"rates": [{"count": 1, "span": 3_600_000}]}));
    let budget = limited(json!({"budget": {"usd": "100", "per": "day"}}));
    let other = AgentSpec { id: name("b"), ..budget };
    let mut hand = Hand::shared(&[ONE, ("other", "steps: [{id: one, agent: b, action: x}]")]);
    hand.agents = agents([rate.clone(), other.clone()]);
    hand.restart();
    hand.node.registered(hand.now, hand.now.after(Span::minutes(60)));
    hand.settle();
    hand.node.start(hand.now, 1, build::run(1), request("other", json!({})));
    hand.settle();
    hand.node.start(hand.now, 2, build::run(2), request("other", json!({})));
    let first = hand.up_to(|command| matches!(command, Command::Commit(_)));
    hand.node.start(hand.now, 3, build::run(3), request("well", json!({})));
    let (run, inst, attempt) = hand.running.remove(0);
    let usage = Usage { tokens: 5, ..Usage::NONE };
    let end = Completion { run, inst, attempt, outcome: ok(json!({})), usage };
    hand.node.completed(hand.now, end);
    assert!(!hand.step(), "a batch is in flight");
    let mut used = LimitState::default();
    used.take(&rate.limits, "x", START);
    let limits = vec![writes("a", 0, used), writes("b", 1, LimitState::default())];
    let written = hand.commit(Batch { limits, ..build::batch(Vec::new()) });
    assert_eq!(written.limits_refused, []);
    hand.perform(first);
    hand.settle();
    assert_eq!(hand.started, [1, 2].map(build::run), "the rate is used up");
    hand.now = START.after(Span::minutes(60));
    hand.node.registered(hand.now, hand.now.after(Span::minutes(60)));
    hand.node.wake(hand.now);
    hand.settle();
    assert_eq!(hand.started, [1, 2, 3].map(build::run));
}

/// A clock that was years ahead has used up an hour. Set right, it costs the rest of its own hour.
#[test]
fn what_a_wrong_clock_has_used_up_is_used_up_for_one_window() {
    let spec = limited(json!({"quota": {"units": 3, "per": "hour"}}));
    let mut hand = Hand::shared(&[ONE]);
    hand.agents = agents([spec.clone()]);
    hand.restart();
    hand.node.registered(hand.now, hand.now.after(Span::minutes(600)));
    let mut used = LimitState::default();
    let wrong = START.after(Span::minutes(60 * 24 * 2000));
    (0..3).for_each(|_| used.take(&spec.limits, "x", wrong));
    hand.commit(Batch { limits: vec![writes("a", 0, used)], ..build::batch(Vec::new()) });
    hand.wake();
    hand.settle();
    hand.node.start(hand.now, 1, build::run(1), request("well", json!({})));
    hand.settle();
    assert_eq!(hand.started, []);
    let hour = START.after(Span::minutes(60));
    while hand.now < hour {
        hand.wake();
        hand.settle();
    }
    assert_eq!((hand.now, hand.started.as_slice()), (hour, [build::run(1)].as_slice()));
}

/// Another node, whose clock is half a second ahead, has begun the next hour. A node that is still in the last
/// one waits for it, and then nothing that was used of it is forgotten.
#[test]
fn a_clock_that_is_behind_waits_for_the_window_of_others() {
    let spec = limited(json!({"quota": {"units": 3, "per": "hour"}}));
    let mut hand = Hand::shared(&[ONE]);
    hand.agents = agents([spec.clone()]);
    hand.restart();
    let hour = START.after(Span::minutes(60));
    hand.now = Millis(hour.0 - 500);
    hand.node.registered(hand.now, hour.after(Span::minutes(60)));
    let mut used = LimitState::default();
    (0..2).for_each(|_| used.take(&spec.limits, "x", hour));
    hand.commit(Batch { limits: vec![writes("a", 0, used)], ..build::batch(Vec::new()) });
    hand.wake();
    hand.settle();
    for n in 1..=2 {
        hand.node.start(hand.now, n, build::run(n), request("well", json!({})));
    }
    hand.settle();
    assert_eq!(hand.started, [], "nothing is known any more of what was used before");
    hand.wake();
    hand.settle();
    assert_eq!((hand.now, hand.started.as_slice()), (hour, [build::run(1)].as_slice()));
    hand.now = hour.after(Span::minutes(60));
    hand.node.wake(hand.now);
    hand.node.registered(hand.now, hand.now.after(Span::minutes(60)));
    hand.settle();
    assert_eq!(hand.started, [1, 2].map(build::run));
}
