//! Commits of which nobody knows whether they were written.

use moa_engine::node::Command;
use moa_ports::store::Error;
use moa_ports::suite::build;
use serde_json::json;

use crate::hand::Hand;
use crate::script::{START, request};

const PARENT: (&str, &str) = ("parent", "steps: [{id: child, workflow: well}]");
const WELL: (&str, &str) = ("well", "steps: [{id: one, agent: a, action: x}]");
const OTHER: (&str, &str) = ("other", "steps: [{id: wait, wait_for: {event: never}}]");

fn is_commit(command: &Command) -> bool {
    matches!(command, Command::Commit(_))
}

/// The creation of a child leases its first attempt. Nobody knows whether it was written; meanwhile
/// the message that asks for the child has come again, so it is created again, without a look.
#[test]
fn what_was_leased_with_a_child_that_is_created_again_keeps_no_slot() {
    for written in [false, true] {
        let mut hand = Hand::new(&[PARENT, WELL, OTHER]);
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
        if written {
            hand.commit(batch);
        }
        hand.node.committed(START, Err(Error::Unknown("nobody knows".into())));
        hand.perform(ask);
        hand.settle();
        assert_eq!(hand.started, [], "the store isn't asked for a while");
        hand.wake();
        hand.settle();
        assert_eq!(hand.started, [parent.child(0, 1)], "once, written: {written}");
        assert_eq!(hand.node.status().running.values().sum::<u32>(), 1);
    }
}
