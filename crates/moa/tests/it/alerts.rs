//! Alerts, with the real binary: what is wrong is raised, told, noticed and over.

use serde_json::{Value as Json, json};

use crate::notify::Receiving;
use crate::project::Project;

const RULES: &str = "failure_rate: {runs: 2, window: 1h}, agent_down: {failures: 2}";

/// A project whose workflow fails as long as the file `ok` is not there, and which tells `url`.
fn project(url: &str, alerts: &str) -> Project {
    let project = Project::with(
        "letters",
        "steps: [{id: write, agent: writer, action: go, retry: {max_attempts: 1}}]\n",
    );
    project.write(
        "agents/writer.yaml",
        "command: [sh, -c, 'test -e ok || { echo \"<!channel> no ink\" >&2; exit 2; }']\n",
    );
    let settings = format!(
        "notify: {{channels: {{hook: {{webhook: {{url: '{url}', timeout: 2m}}}}}}}}\n\
         alerts: {{notify: [hook], group: 0s, resolve_after: 0s, {alerts}}}\n"
    );
    project.write("moa.yaml", &settings);
    project
}

fn fail(project: &Project) {
    project.call(&["run", "letters", "-q"]).expect(1);
}

fn look(project: &Project) {
    project.call(&["jobs", "run", "alerts"]).expect(0);
}

fn open(project: &Project) -> Vec<Json> {
    project.call(&["alerts", "list", "--json"]).expect(0).json().as_array().expect("rows").clone()
}

fn keys(project: &Project) -> Vec<String> {
    open(project).iter().map(|alert| alert["key"].as_str().expect("a key").to_owned()).collect()
}

#[test]
fn what_is_wrong_is_told_once_noticed_and_over() {
    let receiver = Receiving::new(|_| Some("200 OK"));
    let project = project(&receiver.url, &format!("rules: {{{RULES}}}"));
    assert_eq!(keys(&project), [""; 0]);
    let node = project.up();
    look(&project);
    fail(&project);
    look(&project);
    assert_eq!(keys(&project), [""; 0]);
    fail(&project);
    look(&project);
    assert_eq!(keys(&project), ["agent_down/writer", "failure_rate/letters"]);
    let told = receiver.next().body;
    assert_eq!(
        (&told["type"], &told["data"]["title"]),
        (&json!("alert.raised"), &json!("2 alerts"))
    );
    assert_eq!(told["data"]["level"], "critical");
    assert_eq!(told["data"]["about"]["alerts"][0]["key"], "agent_down/writer");

    // It is told once, however often it is seen, and whoever serves the project.
    look(&project);
    node.kill();
    let _node = project.up();
    look(&project);
    assert!(receiver.requests.try_recv().is_err(), "it was told twice");

    project.call(&["alerts", "ack", "agent_down/writer", "--note", "on it"]).expect(0);
    let shown = project.call(&["alerts", "show", "agent_down/writer"]).expect(0);
    assert!(shown.out.contains("on it") && shown.out.contains("acknowledged"), "{}", shown.out);
    assert!(project.call(&["alerts", "ack", "nothing/there"]).expect(4).err.contains("no open"));

    project.write("ok", "");
    project.run("letters");
    look(&project);
    assert_eq!(keys(&project), ["failure_rate/letters"]);
    let told = receiver.next().body;
    assert_eq!(told["type"], "alert.resolved");
    assert_eq!(told["data"]["title"], "Resolved: The agent writer is down");
    project.run("letters");
    project.run("letters");
    look(&project);
    assert_eq!(receiver.next().body["data"]["title"], "Resolved: Runs of letters fail");
    let all = project.call(&["alerts", "list", "--all", "--json"]).expect(0).json();
    assert!(all.as_array().is_some_and(|all| all.iter().all(|a| a["state"] == "resolved")));
    assert_eq!(all[1]["acknowledged"]["note"], "on it", "{all}");
}

#[test]
fn a_broken_channel_is_an_alert_that_it_is_not_told_of() {
    let receiver = Receiving::new(|_| Some("410 Gone"));
    let project = project(&receiver.url, "rules: {disk: {free: 1000TiB}}");
    let _node = project.up();
    look(&project);
    assert_eq!(receiver.next().body["data"]["title"], "There is little room on the disk");
    while keys(&project).len() < 2 {
        look(&project);
    }
    assert_eq!(keys(&project), ["disk/state", "channel/hook"]);
    let shown = project.call(&["alerts", "show", "channel/hook", "--json"]).expect(0).json();
    assert_eq!(shown["notify"], json!([]));
    assert!(shown["text"].as_str().expect("text").contains("HTTP 410"), "{shown}");
    look(&project);
    assert!(receiver.requests.try_recv().is_err(), "a circle");
    let log = project.read(".moa/log/moa.log");
    assert!(log.contains("could not be delivered and is given up"), "{log}");
}

#[test]
fn what_was_raised_before_a_kill_is_told_after_it() {
    // The first request is never answered: the process dies while it waits.
    let receiver = Receiving::new(|n| (n > 0).then_some("200 OK"));
    let project = project(&receiver.url, "rules: {disk: {free: 1000TiB}}");
    let node = project.up();
    let first = receiver.next();
    node.kill();
    let _node = project.up();
    let second = receiver.next();
    assert_eq!((first.id, first.body), (second.id, second.body));
    look(&project);
    assert!(receiver.requests.try_recv().is_err(), "it was told twice");
}

#[test]
fn nobody_looks_where_that_is_not_wanted() {
    let project = project("http://127.0.0.1:1", "enabled: false, rules: {disk: {free: 1000TiB}}");
    let _node = project.up();
    look(&project);
    assert_eq!(keys(&project), [""; 0]);
}
