//! Who listens for committed changes.

use moa_engine::node::Command;
use moa_ports::suite::build;
use serde_json::json;

use crate::hand::Hand;
use crate::script::{START, request};

#[test]
fn who_comes_while_a_commit_is_on_its_way_is_told_of_it() {
    let mut hand = Hand::new(&[("w", "steps: [{id: one, wait_for: {signal: go}}]")]);
    hand.node.start(START, 1, build::run(1), request("w", json!({})));
    let commit = hand.up_to(|command| matches!(command, Command::Commit(_)));
    hand.node.set_publish(true);
    hand.perform(commit);
    let told = hand.up_to(|command| matches!(command, Command::Publish(_)));
    let Command::Publish(told) = told else { unreachable!() };
    assert_eq!((told.run, told.version), (build::run(1), 1));
}
