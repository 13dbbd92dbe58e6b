//! Notifications.

use std::collections::BTreeMap;

use moa_connectors::{Channel, Channels};
use moa_core::step::ErrorKind;
use moa_ports::agent::Task;
use serde_json::{Value as Json, json};

use crate::harness::{World, failed, name, output};

fn send(world: &World, params: Json) -> Task {
    let mut task = world.task("notify", params);
    task.action = "send".to_owned();
    task
}

#[test]
fn a_notification_is_one_line_however_often_it_is_tried() {
    let world = World::new();
    let task = send(&world, json!({"channel": "slack", "message": "hi\nthere", "title": "T"}));
    let sent = json!({"channel": "slack", "file": "notifications/slack.jsonl"});
    assert_eq!(output(world.run(task.clone())), sent);
    assert_eq!(output(world.run(task.clone())), sent);
    let text = std::fs::read_to_string(world.path("notifications/slack.jsonl")).expect("a file");
    let mut line: Json = serde_json::from_str(&text).expect("one line");
    assert!(line["time"].take().as_str().is_some_and(|t| t.ends_with('Z')));
    let run = task.run.to_string();
    let expected = json!({
        "time": null, "run": run, "workflow": "flow", "step": "step", "channel": "slack",
        "message": "hi\nthere", "title": "T", "key": format!("{run}/step"),
    });
    assert_eq!(line, expected);
    output(world.run(send(&world, json!({"channel": "slack"}))));
    let text = std::fs::read_to_string(world.path("notifications/slack.jsonl")).expect("a file");
    assert_eq!(text.lines().count(), 2);
}

#[test]
fn channels_are_declared_or_are_files_of_their_name_and_never_paths() {
    let file = |path: &str| Channel::File(path.into());
    let declared = BTreeMap::from([(name("ops"), file("ops/log")), (name("out"), file("../x"))]);
    let world = World::with_channels(Channels { declared });
    output(world.run(send(&world, json!({"channel": "ops", "text": "hi"}))));
    assert!(world.path("ops/log").exists());
    let refused = |params| failed(ErrorKind::Permanent, world.run(send(&world, params)));
    assert!(refused(json!({"channel": "out"})).contains("outside the project"));
    assert!(refused(json!({"channel": "../../x"})).contains("can't stand in a name"));
    assert!(refused(json!({"message": "x"})).contains("needs a `channel`"));
    assert!(refused(json!({"channel": "a", "mesage": "x"})).contains("no param `mesage`"));
    let mut task = send(&world, json!({"channel": "ops"}));
    task.action = "sned".to_owned();
    assert!(failed(ErrorKind::Permanent, world.run(task)).contains("no action `sned`"));
    // What was for a webhook that is removed is not delivered, and not put anywhere else.
    assert!(refused(json!({"channel": "webhook-a"})).contains("no such webhook"));
    assert!(!world.path("notifications").exists());
    std::fs::write(world.path("notifications"), "in the way").expect("a file");
    failed(ErrorKind::Retryable, world.run(send(&world, json!({"channel": "a"}))));
}
