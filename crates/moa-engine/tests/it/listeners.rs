//! Who listens for committed changes.

use std::sync::Arc;

use moa_core::event::{Event, Published};
use moa_core::machine::BUS;
use moa_core::trigger::{TriggerInput, TriggerSpec};
use moa_engine::node::Command;
use moa_ports::suite::build;
use serde_json::json;

use crate::hand::Hand;
use crate::script::{START, request};
use crate::triggers::on_event;

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

#[test]
fn who_listens_is_told_at_once_of_what_moa_itself_publishes() {
    let mut hand = Hand::new(&[]);
    hand.node.serve_triggers();
    hand.node.set_publish(true);
    // It can't start what is not there, and is paused for that.
    let spec = TriggerSpec { pause_after: Some(1), ..on_event("gone") };
    hand.node.trigger(START, 1, spec.id(), TriggerInput::Put { spec: Arc::new(spec) });
    hand.settle();
    hand.node.publish(2, Published { event: "go".into(), ..Published::default() });
    let mut told = || match hand.up_to(|command| matches!(command, Command::Publish(_))) {
        Command::Publish(told) => (told.run, told.seq),
        _ => unreachable!(),
    };
    let told = [told(), told()];
    let written = hand.store.all_history();
    assert_eq!(told, [(BUS, 1), (BUS, 2)]);
    let said = written.iter().map(|row| match &row.events[..] {
        [Event::EventPublished(published)] => published.event.as_str(),
        other => panic!("{other:?}"),
    });
    assert_eq!(said.collect::<Vec<_>>(), ["go", "trigger.paused"]);
}
