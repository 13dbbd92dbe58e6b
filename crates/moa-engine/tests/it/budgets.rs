//! Budgets: what attempts spend is counted once, and holds back those that come after.

use moa_core::agent::AgentSpec;
use moa_core::event::Event;
use moa_core::ids::{NodeId, RunId};
use moa_core::limit::{BudgetUsed, LimitState, Usage, Usd};
use moa_core::run::RunStatus;
use moa_core::step::ErrorKind;
use moa_core::time::Span;
use moa_engine::handle::{Change, Error as HandleError, GrantRequest};
use moa_engine::node::{Answer, Command, Node};
use moa_engine::virtual_time::{Mock, World};
use moa_ports::agent::{Completion, Task};
use moa_ports::limit::LimitWrite;
use moa_ports::store::{Batch, Commit, Error, Store};
use moa_ports::suite::{answer, build};
use serde_json::{Value as Json, json};

use crate::hand::Hand;
use crate::script::{START, agents, name, ok, plan, request, schemas, start};

const ONE: (&str, &str) = ("well", "steps: [{id: one, agent: a, action: x}]");
const MANY: &str = "steps: [{foreach: {in: [1, 2, 3, 4, 5], max_parallel: 1}, \
                    steps: [{id: act, agent: a, action: x}]}]";

fn budgeted(budget: Json) -> AgentSpec {
    let mut spec = crate::script::agent("a");
    spec.concurrency = Some(1);
    spec.limits = serde_json::from_value(json!({ "budget": budget })).expect("limits");
    spec
}

fn grant(agent: &str, more: Usage) -> GrantRequest {
    GrantRequest { agent: name(agent), more, key: None }
}

fn usd(dollars: u64) -> Usage {
    Usage { usd: Usd(dollars * 1_000_000), tokens: 0 }
}

/// A world in which each attempt takes a second and spends 8 dollars.
fn world(budget: Json, text: &str) -> World<'static> {
    let works: Mock<'_> = Box::new(|_: &Task, _| Some((Span::seconds(1), ok(json!({})))));
    let mut world = World::new(START, agents([budgeted(budget)]), schemas(), works);
    world.usage = usd(8);
    world.put(&plan("w", text)).expect("a plan is JSON");
    world
}

fn seconds(world: &World<'_>) -> Vec<u64> {
    world.started.iter().map(|(at, ..)| at.since(START).0 / 1000).collect()
}

#[test]
fn a_used_up_budget_waits_for_the_next_day_also_after_a_restart() {
    let mut world = world(json!({"usd": "20", "per": "day"}), MANY);
    let run = start(&mut world, "w", json!({}));
    world.run(Span::minutes(10));
    assert_eq!(seconds(&world), [0, 1, 2], "24 of 20 dollars: the third one was begun before");
    world.restart();
    world.run(Span::minutes(10));
    assert_eq!(seconds(&world), [0, 1, 2], "forgotten at the restart");
    world.run(Span::minutes(60 * 24));
    // The scripts start at 08:00 UTC.
    assert_eq!(seconds(&world), [0, 1, 2, 57600, 57601]);
    let state = world.run_state(run).expect("a run");
    assert_eq!(state.status_now(), RunStatus::Succeeded);
}

#[test]
fn an_author_may_have_attempts_fail_instead() {
    let mut world = world(json!({"usd": "20", "per": "day", "on_exceed": "fail"}), MANY);
    let run = start(&mut world, "w", json!({}));
    world.run(Span::minutes(10));
    assert_eq!(seconds(&world), [0, 1, 2], "the fourth one never reaches its agent");
    let state = world.run_state(run).expect("a run");
    assert_eq!(state.status_now(), RunStatus::Failed);
    let mut errors = state.steps().filter_map(|row| row.error.as_ref());
    let error = errors.find(|error| error.kind == ErrorKind::BudgetExceeded).expect("one");
    let said = "agent a: its budget is used up: 24.00 of 20.00 USD; the next window begins at";
    assert!(error.message.starts_with(said), "{}", error.message);
    // Tomorrow there is room again.
    world.skip(Span::minutes(60 * 24));
    let tomorrow = start(&mut world, "w", json!({}));
    world.run(Span::seconds(3));
    assert_eq!(world.started.last().map(|(_, run, ..)| *run), Some(tomorrow));
}

/// Nothing bounds how many attempts fail but how many there are: they go into batches of some size.
#[test]
fn thousands_may_fail() {
    let text = "
params: {items: {type: array}}
steps:
  - {id: all, foreach: {in: params.items}, steps: [{id: act, agent: a, action: x, continue: true}]}
";
    let mut world = world(json!({"usd": "1", "per": "day", "on_exceed": "fail"}), text);
    let run = start(&mut world, "w", json!({"items": (0..5000).collect::<Vec<_>>()}));
    world.run(Span::minutes(10));
    assert_eq!(seconds(&world), [0]);
    let state = world.run_state(run).expect("a run");
    let failed = state.steps().filter_map(|row| row.error.as_ref());
    let failed = failed.filter(|error| error.kind == ErrorKind::BudgetExceeded).count();
    assert_eq!((state.status_now(), failed), (RunStatus::Succeeded, 4999));
}

fn hand(mut hand: Hand, budget: Json) -> Hand {
    hand.agents = agents([budgeted(budget)]);
    hand.restart();
    hand.node.registered(START, START.after(Span::minutes(60)));
    hand.settle();
    hand
}

/// What the store says that the agent has spent, and what the histories say.
fn spent(hand: &Hand) -> (Usage, Usage) {
    let rows = answer(|reply| hand.store.limits(reply)).expect("it is read");
    let row = rows.into_iter().find(|row| row.agent == name("a"));
    let counted = row.and_then(|row| row.state.budget).unwrap_or_default().spent;
    let mut told = Usage::NONE;
    for event in hand.store.all_history().iter().flat_map(|row| row.events.clone()) {
        if let Event::AttemptSpent { usage, .. } = event {
            told = told.plus(usage);
        }
    }
    (counted, told)
}

fn is_commit(command: &Command) -> bool {
    matches!(command, Command::Commit(_))
}

/// The attempt that runs has spent 5 dollars.
fn end(hand: &Hand) -> Completion {
    let (run, inst, attempt) = hand.running[0];
    Completion { run, inst, attempt, outcome: ok(json!({})), usage: usd(5) }
}

/// An attempt of an agent with a budget runs.
fn running(shared: bool) -> Hand {
    let of = if shared { Hand::shared(&[ONE]) } else { Hand::new(&[ONE]) };
    let mut hand = hand(of, json!({"usd": "20", "per": "day"}));
    hand.node.start(hand.now, 1, build::run(1), request("well", json!({})));
    hand.settle();
    assert_eq!(hand.running.len(), 1);
    hand
}

fn settled(mut hand: Hand) -> (Usage, Usage) {
    for _ in 0..5 {
        hand.settle();
        hand.wake();
    }
    hand.settle();
    spent(&hand)
}

#[test]
fn a_result_that_comes_twice_is_counted_once() {
    let mut hand = running(false);
    let end = end(&hand);
    hand.node.completed(hand.now, end.clone());
    hand.node.completed(hand.now, end.clone());
    hand.settle();
    hand.node.completed(hand.now, end);
    assert_eq!(settled(hand), (usd(5), usd(5)));
}

#[test]
fn whatever_becomes_of_its_commit_it_is_counted_once() {
    let unknown = || Error::Unknown("nobody knows".into());
    let full = || Error::Unavailable("the disk is full".into());
    for (written, error) in [(true, unknown()), (false, unknown()), (false, full())] {
        let mut hand = running(false);
        hand.node.completed(hand.now, end(&hand));
        let Command::Commit(batch) = hand.up_to(is_commit) else { unreachable!() };
        if written {
            hand.commit(batch);
        }
        hand.node.committed(hand.now, Err(error));
        assert_eq!(settled(hand), (usd(5), usd(5)), "written: {written}");
    }
}

#[test]
fn a_crash_neither_loses_nor_doubles_what_was_counted() {
    let mut hand = running(false);
    hand.node.completed(hand.now, end(&hand));
    let Command::Commit(batch) = hand.up_to(is_commit) else { unreachable!() };
    hand.commit(batch);
    hand.restart();
    assert_eq!(settled(hand), (usd(5), usd(5)));
    // It dies before: then nobody has heard of what was spent, in the history or in the budget.
    let mut hand = running(false);
    hand.node.completed(hand.now, end(&hand));
    hand.up_to(is_commit);
    hand.restart();
    assert_eq!(settled(hand), (Usage::NONE, Usage::NONE));
}

/// The attempt has written down what it had spent when its node died: that is counted with its end, once,
/// whatever becomes of the commit.
#[test]
fn what_a_lost_attempt_has_left_word_of_is_counted_once() {
    let unknown = || Error::Unknown("nobody knows".into());
    let full = || Error::Unavailable("the disk is full".into());
    for (written, error) in
        [(true, None), (true, Some(unknown())), (false, Some(unknown())), (false, Some(full()))]
    {
        let mut hand = running(false);
        let left = [(hand.running[0], usd(5)), ((build::run(99), 0, 1), usd(7))];
        hand.restart();
        hand.node.set_left(left.into());
        let is_lost = |command: &Command| matches!(command, Command::Commit(batch) if !batch.commits.is_empty());
        let Command::Commit(batch) = hand.up_to(is_lost) else { unreachable!() };
        match error {
            None => hand.perform(Command::Commit(batch)),
            Some(error) => {
                if written {
                    hand.commit(batch);
                }
                hand.node.committed(hand.now, Err(error));
            }
        }
        hand.settle();
        // And once more, when the next start finds the same word of it.
        hand.restart();
        hand.node.set_left(left.into());
        assert_eq!(settled(hand), (usd(5), usd(5)), "written: {written}");
    }
}

/// Another node has spent something meanwhile: the end of the attempt is refused with its count, and
/// both are made again on what is there.
#[test]
fn what_another_node_has_spent_is_added() {
    let mut hand = running(true);
    hand.node.completed(hand.now, end(&hand));
    let commit = hand.up_to(is_commit);
    let row = answer(|reply| hand.store.limits(reply)).expect("it is read");
    let expected = row.first().map_or(0, |row| row.version);
    let window = budgeted(json!({"usd": "20", "per": "day"})).limits.budget.expect("one");
    let budget = BudgetUsed { window: window.window(START).0, spent: usd(3), ..Default::default() };
    let budget = Some(budget);
    let state = LimitState { budget, ..LimitState::default() };
    let limits = vec![LimitWrite { agent: name("a"), expected, state, runs: Vec::new() }];
    hand.commit(Batch { limits, ..build::batch(Vec::new()) });
    hand.perform(commit);
    assert_eq!(settled(hand), (usd(8), usd(5)));
}

/// The run was changed elsewhere: its commit is refused and made again, and the row, which was written,
/// counts it no second time; also when the store fails in between.
#[test]
fn what_a_refused_commit_has_counted_is_counted_once() {
    for fails in [false, true] {
        let mut hand = running(true);
        hand.node.completed(hand.now, end(&hand));
        let Command::Commit(mut batch) = hand.up_to(is_commit) else { unreachable!() };
        let change = batch.commits.remove(0);
        let other = build::silent(change.run, change.expected);
        let other = Commit { events: vec![Event::TimePassed { at: START }], ..other };
        hand.commit(build::batch(vec![other]));
        batch.commits.insert(0, change);
        let written = hand.commit(batch);
        hand.node.committed(hand.now, Ok(written));
        if fails {
            hand.node.grant(hand.now, 9, grant("a", usd(1)));
            hand.up_to(is_commit);
            hand.node.committed(hand.now, Err(Error::Unavailable("the disk is full".into())));
        }
        assert_eq!(settled(hand), (usd(5), usd(5)));
    }
}

/// The end of an attempt whose run was terminated is in no history any more; the money is spent.
#[test]
fn what_was_spent_for_a_terminated_run_is_counted_once() {
    let mut hand = running(false);
    let (run, end) = (hand.running[0].0, end(&hand));
    hand.node.change(hand.now, 7, run, Change::Terminate { reason: "enough".into() });
    hand.settle();
    assert_eq!(
        (hand.stopped.as_slice(), &hand.answers[&7]),
        ([run].as_slice(), &Answer::Changed(Ok(())))
    );
    hand.node.completed(hand.now, end.clone());
    hand.settle();
    hand.node.completed(hand.now, end);
    assert_eq!(settled(hand), (usd(5), Usage::NONE));
}

/// It is written with the next try when just that batch is not, or nobody knows; or when another node has
/// written the row meanwhile.
#[test]
fn what_was_spent_for_a_terminated_run_outlives_a_batch_that_fails() {
    let unknown = || Error::Unknown("nobody knows".into());
    let full = || Error::Unavailable("the disk is full".into());
    let cases =
        [(true, Some(unknown())), (false, Some(unknown())), (false, Some(full())), (false, None)];
    for (written, error) in cases {
        let shown = format!("{written} {error:?}");
        let mut hand = running(error.is_none());
        let (run, end) = (hand.running[0].0, end(&hand));
        hand.node.change(hand.now, 7, run, Change::Terminate { reason: "enough".into() });
        hand.settle();
        hand.node.completed(hand.now, end.clone());
        let Command::Commit(batch) = hand.up_to(is_commit) else { unreachable!() };
        match error {
            Some(error) => {
                if written {
                    hand.commit(batch);
                }
                hand.node.committed(hand.now, Err(error));
            }
            None => {
                let row = answer(|reply| hand.store.limits(reply)).expect("it is read").remove(0);
                let (agent, expected, state) = (row.agent, row.version, row.state);
                let limits = vec![LimitWrite { agent, expected, state, runs: Vec::new() }];
                hand.commit(Batch { limits, ..build::batch(Vec::new()) });
                hand.perform(Command::Commit(batch));
            }
        }
        hand.node.completed(hand.now, end);
        assert_eq!(settled(hand), (usd(5), Usage::NONE), "{shown}");
    }
    // Nor is it lost when it had not even been in a batch.
    let mut hand = running(false);
    let (run, end) = (hand.running[0].0, end(&hand));
    hand.node.change(hand.now, 7, run, Change::Terminate { reason: "enough".into() });
    hand.settle();
    hand.node.start(hand.now, 8, build::run(8), request("well", json!({})));
    hand.up_to(is_commit);
    hand.node.completed(hand.now, end);
    hand.node.committed(hand.now, Err(full()));
    assert_eq!(settled(hand), (usd(5), Usage::NONE));
}

/// A batch counts more attempts than a row has names for at other times, and the commit of the first is refused.
#[test]
fn an_attempt_among_hundreds_is_counted_once() {
    const MANY: u64 = 300;
    let mut hand = hand(Hand::shared(&[ONE]), json!({"tokens": 1_000_000, "per": "day"}));
    let mut spec = budgeted(json!({"usd": "100000", "per": "day"}));
    spec.concurrency = None;
    hand.node = Node::new(NodeId(50), agents([spec]), schemas(), 400, false);
    hand.node.registered(START, START.after(Span::minutes(60)));
    hand.settle();
    for n in 1..=MANY {
        hand.node.start(hand.now, n, build::run(n), request("well", json!({})));
    }
    hand.settle();
    assert_eq!(hand.running.len(), MANY as usize);
    for (run, inst, attempt) in hand.running.clone() {
        let (outcome, usage) = (ok(json!({})), usd(5));
        hand.node.completed(hand.now, Completion { run, inst, attempt, outcome, usage });
    }
    let Command::Commit(mut batch) = hand.up_to(is_commit) else { unreachable!() };
    assert_eq!(batch.commits.len(), MANY as usize);
    let change = batch.commits.remove(0);
    let other = build::silent(change.run, change.expected);
    let other = Commit { events: vec![Event::TimePassed { at: START }], ..other };
    hand.commit(build::batch(vec![other]));
    batch.commits.insert(0, change);
    hand.perform(Command::Commit(batch));
    hand.settle();
    assert_eq!(spent(&hand), (usd(5 * MANY), usd(5 * MANY)));
    // What is over is known by name no longer than until the next write.
    hand.node.start(hand.now, 1000, build::run(1000), request("well", json!({})));
    hand.settle();
    let row = answer(|reply| hand.store.limits(reply)).expect("it is read").remove(0);
    assert_eq!(row.state.budget.expect("a budget").counted.len(), 0);
}

/// Two tasks, of which the first one uses the budget up.
fn waiting(on_exceed: &str) -> (Hand, RunId) {
    let budget = json!({"usd": "5", "per": "day", "on_exceed": on_exceed});
    let mut hand = hand(Hand::new(&[ONE]), budget);
    for n in [1, 2] {
        hand.node.start(hand.now, n, build::run(n), request("well", json!({})));
    }
    hand.settle();
    hand.node.completed(hand.now, end(&hand));
    hand.running.clear();
    hand.settle();
    assert_eq!(hand.started, [build::run(1)]);
    (hand, build::run(2))
}

#[test]
fn what_a_person_grants_lets_tasks_go_at_once_and_survives() {
    for on_exceed in ["pause", "ask"] {
        let (mut hand, second) = waiting(on_exceed);
        let granted = |hand: &mut Hand, token, more| {
            hand.node.grant(hand.now, token, grant("a", more));
            hand.settle();
            hand.answers[&token].clone()
        };
        let tokens = Usage { usd: Usd(0), tokens: 7 };
        assert_eq!(granted(&mut hand, 8, tokens), Answer::Changed(Ok(())), "nothing that helps");
        assert_eq!(hand.started.len(), 1);
        assert_eq!(granted(&mut hand, 9, usd(3)), Answer::Changed(Ok(())));
        assert_eq!(hand.started.get(1), Some(&second));
        hand.restart();
        hand.settle();
        let row = answer(|reply| hand.store.limits(reply)).expect("it is read").remove(0);
        let granted = Usage { usd: Usd(3_000_000), tokens: 7 };
        assert_eq!(row.state.budget.expect("a budget").granted, granted);
    }
}

/// Also when it is sent to the next start of the node, or in another window; another key is another grant.
#[test]
fn a_grant_with_a_key_is_made_once() {
    let (mut hand, _) = waiting("ask");
    let granted = |hand: &mut Hand, token, key: &str| {
        let key = Some(key.to_owned());
        hand.node.grant(hand.now, token, GrantRequest { key, ..grant("a", usd(3)) });
        hand.settle();
        assert_eq!(hand.answers[&token], Answer::Changed(Ok(())));
        let row = answer(|reply| hand.store.limits(reply)).expect("it is read").remove(0);
        row.state.budget.expect("a budget").granted
    };
    assert_eq!(granted(&mut hand, 8, "ticket-7"), usd(3));
    assert_eq!(granted(&mut hand, 9, "ticket-7"), usd(3));
    hand.restart();
    hand.settle();
    assert_eq!(granted(&mut hand, 8, "ticket-7"), usd(3));
    assert_eq!(granted(&mut hand, 10, "ticket-8"), usd(6));
    hand.now = hand.now.after(Span::minutes(60 * 24));
    assert_eq!(granted(&mut hand, 11, &"x".repeat(250)), usd(3), "tomorrow's");
    assert_eq!(granted(&mut hand, 12, "ticket-8"), usd(3));
}

#[test]
fn a_grant_is_refused_where_there_is_no_budget() {
    let mut hand = Hand::new(&[ONE]);
    hand.settle();
    for (token, agent) in [(7, "a"), (8, "nobody")] {
        hand.node.grant(hand.now, token, grant(agent, usd(1)));
        hand.settle();
        let answer = &hand.answers[&token];
        assert!(matches!(answer, Answer::Changed(Err(HandleError::Rejected { .. }))), "{answer:?}");
    }
}

/// Who granted something is told when it was not written. When nobody knows, it is made once all the same.
#[test]
fn a_grant_is_made_once_or_not_at_all() {
    let granted = |hand: &Hand| {
        let row = answer(|reply| hand.store.limits(reply)).expect("it is read").remove(0);
        row.state.budget.expect("a budget").granted
    };
    let failing = |written: bool, error: Error| {
        let (mut hand, _) = waiting("ask");
        hand.node.grant(hand.now, 9, grant("a", usd(3)));
        let Command::Commit(batch) = hand.up_to(is_commit) else { unreachable!() };
        if written {
            hand.commit(batch);
        }
        hand.node.committed(hand.now, Err(error));
        hand.settle();
        hand.wake();
        hand.settle();
        (granted(&hand), hand.started.len(), hand.answers[&9].clone())
    };
    let (more, started, told) = failing(false, Error::Unavailable("the disk is full".into()));
    assert_eq!((more, started), (Usage::NONE, 1));
    let refused = matches!(&told, Answer::Changed(Err(HandleError::Unavailable { reason }))
        if reason.contains("the disk is full"));
    assert!(refused, "{told:?}");
    for written in [true, false] {
        let made = failing(written, Error::Unknown("nobody knows".into()));
        assert_eq!(made, (usd(3), 2, Answer::Changed(Ok(()))), "written: {written}");
    }
}
