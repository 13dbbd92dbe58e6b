//! Commits of which nobody knows whether they were written, and answers older than what was written since.

use moa_core::agent::AgentSpec;
use moa_core::ids::RunId;
use moa_core::limit::{AgentLimits, LimitState, Usage};
use moa_core::machine::{Input, MessageBody, Outcome};
use moa_core::run::RunStatus;
use moa_core::time::Span;
use moa_engine::handle::{Change, Error as HandleError, StartRequest, Started};
use moa_engine::node::{Answer, Command};
use moa_ports::agent::Completion;
use moa_ports::limit::LimitWrite;
use moa_ports::store::{Batch, Commit, DueAsk, Error, Message, Store};
use moa_ports::suite::{answer, build};
use serde_json::json;

use crate::hand::Hand;
use crate::script::{START, agent, agents, request};

const PARENT: (&str, &str) = ("parent", "steps: [{id: child, workflow: well}]");
const WELL: (&str, &str) = ("well", "steps: [{id: one, agent: a, action: x}]");
const OTHER: (&str, &str) = ("other", "steps: [{id: wait, wait_for: {event: never}}]");

fn is_commit(command: &Command) -> bool {
    matches!(command, Command::Commit(_))
}

fn is_load(command: &Command) -> bool {
    matches!(command, Command::Load(_))
}

fn nobody_knows() -> Error {
    Error::Unknown("nobody knows".into())
}

/// A child about to be created: the commit that creates it and leases its first attempt, and a
/// question for what is due that is on its way beside it.
fn child_in_flight() -> (Hand, RunId, Batch, DueAsk) {
    child_in_flight_of(Hand::new(&[PARENT, WELL, OTHER]))
}

fn child_in_flight_of(mut hand: Hand) -> (Hand, RunId, Batch, DueAsk) {
    let parent = build::run(1);
    hand.node.start(START, 1, parent, request("parent", json!({})));
    assert!(hand.step(), "the parent is created");
    // The workflow takes its time, and another batch is done before it is there.
    let resolve = hand.up_to(|command| matches!(command, Command::Resolve(_)));
    hand.node.start(START, 2, build::run(2), request("other", json!({})));
    assert!(hand.step(), "the other run is created");
    hand.perform(resolve);
    let Command::Commit(batch) = hand.up_to(is_commit) else { unreachable!() };
    hand.node.hint();
    let ask = hand.up_to(|command| matches!(command, Command::AskDue(_)));
    let Command::AskDue(ask) = ask else { unreachable!() };
    (hand, parent.child(0, 1), batch, ask)
}

/// The end of the first attempt of a run's first step.
fn done(run: RunId) -> Completion {
    Completion {
        run,
        inst: 0,
        attempt: 1,
        outcome: Outcome::Succeeded { output: None },
        usage: Usage::NONE,
    }
}

/// Nobody knows whether a child was created; meanwhile the message that asks for it has come again,
/// so it is created again.
#[test]
fn what_was_leased_with_a_child_that_is_created_again_keeps_no_slot() {
    for written in [false, true] {
        let (mut hand, child, batch, ask) = child_in_flight();
        if written {
            hand.commit(batch);
        }
        hand.node.committed(START, Err(nobody_knows()));
        hand.perform(Command::AskDue(ask));
        hand.settle();
        assert_eq!(hand.started, [], "the store isn't asked for a while");
        hand.wake();
        hand.settle();
        assert_eq!(hand.started, [child], "once, written: {written}");
        assert_eq!(hand.slots_taken(), 1);
    }
}

/// There is room for one attempt when the child is created first, and for the other one when it is
/// created again. Nobody knows of either commit whether it was written.
#[test]
fn what_a_child_leased_the_first_time_is_not_forgotten_for_what_it_leased_the_second_time() {
    for written in [0, 1, 2] {
        let two =
            "steps: [parallel: [{id: one, agent: a, action: x}, {id: two, agent: a, action: x}]]";
        let mut hand = Hand::new(&[PARENT, ("well", two), OTHER, ("alone", WELL.1)]);
        hand.agents = agents([AgentSpec { concurrency: Some(2), ..agent("a") }]);
        hand.restart();
        let alone = build::run(3);
        hand.node.start(START, 3, alone, request("alone", json!({})));
        hand.settle();
        let (mut hand, child, first, ask) = child_in_flight_of(hand);
        if written == 1 {
            hand.commit(first);
        }
        hand.node.committed(START, Err(nobody_knows()));
        hand.end_first();
        hand.perform(Command::AskDue(ask));
        hand.settle();
        hand.wake();
        let Command::Commit(second) = hand.up_to(is_commit) else { unreachable!() };
        if written == 2 {
            hand.commit(second);
        }
        hand.node.committed(hand.now, Err(nobody_knows()));
        for _ in 0..3 {
            hand.wake();
            hand.settle();
        }
        let mut running = hand.running.clone();
        running.sort_unstable();
        assert_eq!(running, [(child, 1, 1), (child, 2, 1)], "written: {written}");
        assert_eq!(hand.slots_taken(), 2);
    }
}

/// The message that asks for a child comes in an answer as old as the child itself, when its attempt
/// has ended already, and what said so could not be written.
#[test]
fn an_attempt_that_has_ended_is_not_taken_for_one_that_was_just_leased() {
    let (mut hand, child, batch, ask) = child_in_flight();
    let due = answer(|reply| hand.store.due(ask.clone(), reply));
    let outcome = hand.commit(batch);
    hand.node.committed(START, Ok(outcome));
    hand.node.completed(START, done(child));
    hand.up_to(is_commit);
    hand.node.committed(START, Err(Error::Unavailable("no disk".into())));
    // The child is not in memory: it is created again, with the same attempt.
    hand.node.due(START, &ask, due);
    hand.settle();
    hand.wake();
    hand.up_to(is_commit);
    hand.node.committed(hand.now, Err(nobody_knows()));
    hand.wake();
    hand.settle();
    assert_eq!(hand.started, [child], "once");
    assert_eq!(hand.slots_taken(), 0);
    let ended = hand.store.model().snapshot(child).expect("it is there").row.status;
    assert_eq!(ended, RunStatus::Succeeded);
}

/// A child has ended, and nobody knows whether the commit was written that says so to its parent,
/// and leases the parent's next attempt. It has not been, up to now.
fn child_over_in_doubt() -> (Hand, RunId, Batch) {
    let text = "steps: [{id: child, workflow: well}, {id: one, agent: a, action: x}]";
    let mut hand = Hand::shared(&[("parent", text), WELL]);
    let parent = build::run(1);
    let child = parent.child(0, 1);
    hand.node.start(START, 1, parent, request("parent", json!({})));
    hand.settle();
    hand.node.completed(START, done(child));
    assert!(hand.step(), "the child ends");
    let Command::Commit(late) = hand.up_to(is_commit) else { unreachable!() };
    hand.node.committed(START, Err(nobody_knows()));
    hand.wake();
    let load = hand.up_to(is_load);
    hand.perform(load);
    (hand, child, late)
}

/// A commit whose outcome nobody knows consumed the message that it was made from. It is written
/// only when the node has looked already, and found that it was not.
#[test]
fn what_was_leased_by_a_commit_that_came_late_is_found() {
    for news in [false, true] {
        let (mut hand, child, late) = child_over_in_doubt();
        let parent = build::run(1);
        if news {
            // What is committed meanwhile changes nothing, and leaves the version as it was.
            let input = Input::ChildDone { step: 0, run: build::run(9), result: Ok(None) };
            let message = Message { to: parent, body: MessageBody::Input(input) };
            let sent = message.clone();
            let commit =
                Commit { messages: vec![sent], ..build::create(build::row(build::run(9))) };
            hand.commit(Batch { now: START, commits: vec![commit], ..Batch::default() });
            let ask = hand.up_to(|command| matches!(command, Command::AskDue(_)));
            let Command::AskDue(ask) = ask else { unreachable!() };
            let mut due = answer(|reply| hand.store.due(ask.clone(), reply)).expect("it is read");
            due.messages.retain(|(_, m)| *m == message);
            hand.node.due(hand.now, &ask, Ok(due));
            assert!(hand.step(), "it is used up");
        }
        hand.commit(late);
        hand.settle();
        assert_eq!(hand.started, [child], "nobody knows it yet");
        hand.wake();
        hand.settle();
        assert_eq!(hand.started, [child, parent], "with other news: {news}");
    }
}

/// The store looks for a run just before another node creates it, and its answer comes late.
#[test]
fn what_came_after_a_run_was_asked_for_is_not_refused_because_it_was_not_there() {
    let mut hand = Hand::shared(&[OTHER]);
    let run = build::run(1);
    hand.node.change(START, 1, run, Change::Pause);
    let load = hand.up_to(is_load);
    hand.elsewhere(|node| node.start(START, 2, run, request("other", json!({}))));
    hand.node.change(START, 3, run, Change::Pause);
    assert!(matches!(load, Command::Load(ids) if ids == [run]));
    hand.node.loaded(START, vec![run], Ok(vec![None]));
    hand.settle();
    assert_eq!(hand.answers[&1], Answer::Changed(Err(HandleError::UnknownRun { run })));
    assert_eq!(hand.answers[&3], Answer::Changed(Ok(())));
}

/// A start with a key is tried again, because nobody knows of the first try; that one is written
/// just before the second. What was asked of the run meanwhile is done with it.
#[test]
fn what_is_meant_for_a_run_that_exists_by_an_earlier_try_is_done() {
    let mut hand = Hand::shared(&[OTHER]);
    let run = build::run(1);
    let keyed = StartRequest { idempotency_key: Some("k".into()), ..request("other", json!({})) };
    hand.node.start(START, 1, run, keyed);
    let Command::Commit(late) = hand.up_to(is_commit) else { unreachable!() };
    hand.node.committed(START, Err(nobody_knows()));
    hand.wake();
    let load = hand.up_to(is_load);
    hand.perform(load);
    hand.node.change(hand.now, 2, run, Change::Pause);
    hand.commit(late);
    hand.settle();
    assert_eq!(hand.answers[&1], Answer::Started(Ok(Started::New { run })));
    assert_eq!(hand.answers[&2], Answer::Changed(Ok(())));
    assert!(hand.store.model().snapshot(run).expect("it is there").row.extra.paused);
}

/// A node hears that it is registered again only when others may have seen that it was not: what it
/// had leased before may be lost to them.
#[test]
fn what_was_leased_before_a_late_renewal_is_not_started() {
    for (heard, attempt) in [(2_000, 1), (3_600, 2)] {
        let mut hand = Hand::shared_until(&[WELL], START.after(Span(5_000)));
        let run = build::run(1);
        hand.node.start(START, 1, run, request("well", json!({})));
        let Command::Commit(batch) = hand.up_to(is_commit) else { unreachable!() };
        hand.now = START.after(Span(heard));
        hand.node.registered(hand.now, START.after(Span(8_000)));
        let outcome = hand.commit(batch);
        hand.node.committed(hand.now, Ok(outcome));
        hand.settle();
        assert_eq!(hand.started, [run]);
        let row = &hand.store.model().snapshot(run).expect("it is there").steps[0];
        assert_eq!((row.attempt, row.released), (attempt, attempt - 1), "heard at {heard}");
    }
}

#[test]
fn an_attempt_is_stopped_also_when_nobody_knew_that_its_run_was_cancelled() {
    let mut hand = Hand::new(&[WELL]);
    let run = build::run(1);
    hand.node.start(START, 1, run, request("well", json!({})));
    hand.settle();
    hand.node.change(START, 2, run, Change::Cancel { reason: "enough".into() });
    let Command::Commit(batch) = hand.up_to(is_commit) else { unreachable!() };
    hand.commit(batch);
    hand.node.committed(START, Err(nobody_knows()));
    hand.settle();
    assert_eq!(hand.stopped, [], "it may not be cancelled");
    hand.wake();
    hand.settle();
    assert_eq!(hand.stopped, [run]);
    assert_eq!(hand.answers[&2], Answer::Changed(Ok(())));
}

/// Nothing is loaded, however often the node looks at what is in doubt.
fn not_loaded_again(hand: &mut Hand) {
    for _ in 0..3 {
        hand.wake();
        while let Some(command) = hand.node.poll(hand.now) {
            assert!(!is_load(&command), "{command:?}");
            hand.perform(command);
        }
    }
}

#[test]
fn a_run_whose_key_another_one_has_got_is_not_looked_at_any_more() {
    let mut hand = Hand::shared(&[WELL]);
    let keyed = || StartRequest { idempotency_key: Some("k".into()), ..request("well", json!({})) };
    let (first, run) = (build::run(1), build::run(2));
    hand.node.start(START, 1, first, keyed());
    hand.up_to(is_commit);
    hand.node.committed(START, Err(nobody_knows()));
    hand.elsewhere(|node| node.start(START, 2, run, keyed()));
    hand.wake();
    hand.settle();
    assert_eq!(hand.answers[&1], Answer::Started(Ok(Started::Existing { run })));
    not_loaded_again(&mut hand);
}

#[test]
fn a_run_that_was_set_aside_is_not_looked_at_any_more() {
    let (mut hand, _, _) = child_over_in_doubt();
    let parent = build::run(1);
    hand.refused = vec![parent];
    hand.settle();
    assert_eq!(hand.node.status().quarantined.keys().collect::<Vec<_>>(), [&parent]);
    not_loaded_again(&mut hand);
}

/// A lease is asked for again when it turns out that it was not written. By then another node may have
/// heard that the agent wants to be left alone.
#[test]
fn what_is_leased_again_waits_for_limits_too() {
    let limits = json!({"rates": [{"count": 100, "span": 1000}]});
    let limits: AgentLimits = serde_json::from_value(limits).expect("limits");
    let mut hand = Hand::new(&[WELL]);
    hand.agents = agents([AgentSpec { limits, concurrency: Some(1), ..agent("a") }]);
    hand.restart();
    for n in [1, 2] {
        hand.node.start(START, n, build::run(n), request("well", json!({})));
    }
    hand.settle();
    assert_eq!(hand.started, [build::run(1)]);
    hand.end_first();
    let Command::Commit(batch) = hand.up_to(is_commit) else { unreachable!() };
    assert_eq!(batch.limits.len(), 1, "it leases the next one, and says so");
    let until = hand.now.after(Span::minutes(5));
    let row = answer(|reply| hand.store.limits(reply)).expect("it is read").remove(0);
    let state = LimitState { hold_until: Some(until), ..row.state };
    let limits = vec![LimitWrite { agent: row.agent, expected: row.version, state, runs: vec![] }];
    hand.commit(Batch { limits, ..build::batch(vec![]) });
    hand.node.committed(START, Err(nobody_knows()));
    let mut when = Vec::new();
    while when.is_empty() {
        hand.wake();
        hand.settle();
        when.extend(hand.started.get(1).map(|run| (*run, hand.now)));
    }
    assert_eq!(when, [(build::run(2), until)]);
}
