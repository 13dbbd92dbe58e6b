//! Events on their way to the many who wait for them.

use moa_core::event::Event;
use moa_core::limits::EVENT_RUNS_MAX;
use moa_core::machine::BUS;
use moa_core::run::RunStatus;
use moa_ports::suite::build;
use serde_json::json;

use crate::hand::Hand;
use crate::script::{START, request};

const WAITER: (&str, &str) = ("waiter", "steps: [{id: wait, wait_for: {event: done}}]");
const EMITTER: (&str, &str) = ("emitter", "steps: [{id: say, emit: done}]");

#[test]
fn an_event_reaches_thousands_part_by_part_though_the_process_dies_between() {
    let waiters = 2 * EVENT_RUNS_MAX as u64 + 500;
    let mut hand = Hand::new(&[WAITER, EMITTER]);
    for n in 1..=waiters {
        hand.node.start(START, n, build::run(n), request("waiter", json!({})));
    }
    hand.settle();
    assert_eq!(hand.store.model().waits().count() as u64, waiters);
    hand.node.start(START, 0, build::run(0), request("emitter", json!({})));
    let mut most = 0;
    while hand.step() {
        most = most.max(hand.store.model().messages().count());
        hand.restart();
    }
    assert!(most > EVENT_RUNS_MAX / 2 && most <= EVENT_RUNS_MAX + 1, "{most} at once");
    assert_eq!(hand.store.model().messages().count(), 0);
    for snapshot in hand.store.snapshots() {
        assert_eq!(snapshot.row.status, RunStatus::Succeeded);
    }
    let taken = |event: &&Event| matches!(event, Event::StepSucceeded { output: Some(_), .. });
    let history = hand.store.all_history();
    let taken = history.iter().flat_map(|row| &row.events).filter(taken).count();
    assert_eq!(taken as u64, waiters, "each got it once");
}

/// A node that asks for one row at a time is given an event that many wait for, which takes several
/// transactions, and a message behind it.
#[test]
fn an_event_on_its_way_to_many_holds_up_no_message() {
    let waiters = EVENT_RUNS_MAX as u64 + 1;
    let parent = ("parent", "steps: [{id: child, workflow: emitter}]");
    let mut hand = Hand::new(&[WAITER, EMITTER, parent]);
    for n in 1..=waiters {
        hand.node.start(START, n, build::run(n), request("waiter", json!({})));
    }
    hand.settle();
    hand.node.set_due_rows_max(1);
    let (emitter, parent) = (build::run(0), build::run(9999));
    hand.node.start(START, 0, emitter, request("emitter", json!({})));
    hand.node.start(START, 9999, parent, request("parent", json!({})));
    assert!(hand.step(), "both are made, and have sent something");
    assert!(hand.step(), "a part of those who wait has got it");
    assert!(hand.store.model().snapshot(parent.child(0, 1)).is_some(), "and the child is made");
    assert_eq!(hand.store.model().messages().filter(|(_, m)| m.to == BUS).count(), 2);
}
