//! Rules, with the real binary.

use std::io::Write;
use std::process::Stdio;

use serde_json::{Value as Json, json};

use crate::http::Api;
use crate::project::{Project, call_in};

const MAILER: &str = "params: {n: integer}\nsteps: [{run: 'true'}]\n";

const PAID: [&str; 9] = [
    "rules",
    "create",
    "paid",
    "--on",
    "order.paid",
    "--run",
    "mailer",
    "--param",
    "n=event.data.amount",
];

fn project() -> Project {
    Project::with("mailer", MAILER)
}

fn history(project: &Project, name: &str) -> Vec<Json> {
    let said = project.call(&["triggers", "history", name, "-n", "100000", "--json"]).expect(0);
    said.json().as_array().expect("an array").clone()
}

/// Waits until so many occurrences have this outcome and, when they started a run, its result.
fn wait_for(project: &Project, name: &str, outcome: &str, count: usize) -> Vec<Json> {
    loop {
        let all = history(project, name);
        let over =
            |o: &&Json| o["outcome"] == outcome && (outcome != "started" || !o["result"].is_null());
        if all.iter().filter(over).count() >= count {
            return all;
        }
    }
}

fn publish(project: &Project, amount: i32, key: &str) {
    let amount = format!("amount={amount}");
    project.call(&["events", "publish", "order.paid", "-p", &amount, "--key", key]).expect(0);
}

/// What the runs of a workflow were given, in order.
fn given(project: &Project, workflow: &str) -> Vec<i64> {
    let runs = project.call(&["runs", "list", "--json", "--limit", "1000"]).expect(0).json();
    let runs = runs.as_array().expect("an array").iter().filter(|r| r["workflow"] == workflow);
    let ids = runs.map(|run| run["run"].as_str().expect("an id").to_owned());
    let of = |id: String| {
        let run = project.call(&["runs", "show", &id, "--json"]).expect(0).json();
        run["params"]["n"].as_i64().expect("a number")
    };
    let mut given: Vec<i64> = ids.map(of).collect();
    given.sort_unstable();
    given
}

fn rule(project: &Project, name: &str) -> Json {
    project.call(&["rules", "show", name, "--json"]).expect(0).json()
}

#[test]
fn a_rule_is_made_switched_changed_and_deleted_while_a_node_runs() {
    let project = project();
    project.workflow("other", MAILER);
    let _node = project.up();
    let made = project.call(&[&PAID[..], &["--if", "event.data.amount > 5", "--json"]].concat());
    assert_eq!(made.expect(0).json(), json!({"name": "paid", "changed": true, "created": true}));
    publish(&project, 7, "a");
    publish(&project, 3, "b");
    publish(&project, 7, "a");
    wait_for(&project, "rule:paid", "started", 1);

    project.call(&["rules", "disable", "paid"]).expect(0);
    assert!(project.call(&["rules", "disable", "paid"]).expect(0).err.contains("already"));
    publish(&project, 8, "c");
    wait_for(&project, "rule:paid", "skipped_disabled", 1);
    let why = project.call(&["triggers", "why", "rule:paid"]).expect(0);
    assert!(why.out.contains("moa rules enable paid"), "{}", why.out);

    // Another rule of the same name is no accident; and it stays off.
    let all = [&PAID[..6], &["other", "--param", "n=event.data.amount"]].concat();
    let said = project.call(&all).expect(5);
    assert!(said.err.contains("--replace"), "{}", said.err);
    project.call(&[&all[..], &["--replace"]].concat()).expect(0);
    let shown = rule(&project, "paid");
    assert_eq!(shown["is_active"], false);
    assert_eq!(shown["action_config"]["workflow"], "other");
    project.call(&["rules", "enable", "paid"]).expect(0);
    publish(&project, 9, "d");
    wait_for(&project, "rule:paid", "started", 2);

    let listed = project.call(&["rules", "list", "--json"]).expect(0).json();
    assert_eq!(listed.as_array().expect("an array").len(), 1);
    assert_eq!(listed[0]["trigger_event"], "order.paid");
    assert_eq!(listed[0]["action_type"], "run_workflow");
    let params = json!({"n": "${{ event.data.amount }}"});
    assert_eq!(listed[0]["action_config"], json!({"workflow": "other", "params": params}));
    assert_eq!(listed[0]["is_active"], true);
    assert!(listed[0]["last_triggered"].is_string(), "{listed}");
    assert_eq!(listed[0]["counts"], json!({"started": 2, "filtered": 1, "skipped_disabled": 1}));

    project.call(&["rules", "delete", "paid"]).expect(0);
    let said = project.call(&["rules", "delete", "paid"]).expect(4);
    assert!(said.err.contains("moa rules list"), "{}", said.err);
    publish(&project, 10, "e");
    assert_eq!(project.call(&["rules", "list", "--json"]).expect(0).json(), json!([]));
    assert_eq!(given(&project, "mailer"), [7]);
    assert_eq!(given(&project, "other"), [9]);
}

#[test]
fn rules_are_made_and_read_without_a_node_and_survive_crashes() {
    let project = project();
    // Before there is a store at all.
    assert_eq!(project.call(&["rules", "list", "--json"]).expect(0).json(), json!([]));
    project.call(&PAID).expect(0);
    let said = project.call(&PAID).expect(0);
    assert!(said.err.contains("is so already"), "{}", said.err);
    assert_eq!(rule(&project, "paid")["state"], "active");
    let said =
        project.call(&["rules", "test", "paid", "-p", "amount=7", "--json"]).expect(0).json();
    assert_eq!((&said["starts"], &said["params"]), (&json!(true), &json!({"n": 7})));
    project.call(&["rules", "test", "paid", "-p", "amuont=7"]).expect(1);

    // An edit of the files takes no rule away, and a kill between publish and start loses nothing.
    for n in 0..4 {
        let node = project.up();
        publish(&project, n, &format!("k{n}"));
        publish(&project, n, &format!("k{n}"));
        node.kill();
        project.workflow("another", &format!("name: Edit {n}\n{MAILER}"));
        project.workflow("mailer", &format!("name: Edit {n}\n{MAILER}"));
    }
    let _node = project.up();
    publish(&project, 3, "k3");
    wait_for(&project, "rule:paid", "started", 4);
    assert_eq!(given(&project, "mailer"), [0, 1, 2, 3]);
    let all = history(&project, "rule:paid");
    assert_eq!(all.len(), 4, "{all:?}");
}

#[test]
fn a_rule_whose_workflow_is_gone_says_so_and_goes_on_when_it_is_back() {
    let project = project();
    project.workflow("other", MAILER);
    let node = project.up();
    project.call(&PAID).expect(0);
    std::fs::remove_file(project.root.join("workflows/mailer.yaml")).expect("rm");
    // Read from the files, before any node has looked at them.
    assert_eq!(rule(&project, "paid")["state"], "orphaned");
    // Any start of a run makes the node look.
    project.call(&["run", "other", "--param", "n=1"]).expect(0);
    publish(&project, 1, "a");
    let all = wait_for(&project, "rule:paid", "failed", 1);
    assert_eq!(all[0]["reason"], "its workflow mailer is gone");
    assert_eq!(all[0]["run"], Json::Null);
    let why = project.call(&["triggers", "why", "rule:paid"]).expect(0);
    assert!(why.out.contains("put workflows/mailer.yaml back"), "{}", why.out);
    node.stop();
    project.workflow("mailer", MAILER);
    let _node = project.up();
    publish(&project, 2, "b");
    wait_for(&project, "rule:paid", "started", 1);
    assert_eq!(given(&project, "mailer"), [2]);
    assert_eq!(rule(&project, "paid")["state"], "active");
}

#[test]
fn a_backup_has_the_rules_and_a_definition_can_be_put_again() {
    let project = project();
    let _node = project.up();
    project.call(&[&PAID[..], &["--if", "event.data.amount > 5"]].concat()).expect(0);
    publish(&project, 7, "a");
    wait_for(&project, "rule:paid", "started", 1);
    let tar = project.outside().join("copy.tar");
    let path = tar.to_str().expect("UTF-8");
    project.call(&["backup", path]).expect(0);
    let target = project.outside().join("restored");
    let target = target.to_str().expect("UTF-8");
    call_in(project.outside(), &["restore", path, "--into", target]).expect(0);
    let restored = call_in(target.as_ref(), &["rules", "show", "paid", "--json"]).expect(0).json();
    let mine = rule(&project, "paid");
    assert_eq!(restored["definition"], mine["definition"]);
    assert_eq!(restored["last_triggered"], mine["last_triggered"]);

    let mut command = project.command(&["rules", "create", "--file", "-", "--json"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it runs");
    let text = mine["definition"].to_string();
    child.stdin.take().expect("it is piped").write_all(text.as_bytes()).expect("it reads");
    let said = child.wait_with_output().expect("it ends").stdout;
    let said: Json = serde_json::from_slice(&said).expect("it is JSON");
    assert_eq!(said, json!({"name": "paid", "changed": false, "created": false}));
}

#[test]
fn what_is_wrong_with_a_rule_is_said_with_its_place() {
    let project = project();
    let refused = |args: &[&str], code: i32, texts: &[&str]| {
        let said = project.call(&[&["rules", "create"], args].concat()).expect(code);
        for text in texts {
            assert!(said.err.contains(text), "{text}:\n{}", said.err);
        }
    };
    let base = ["paid", "--on", "order.paid", "--run", "mailer"];
    let with = |more: &[&'static str]| [&base[..], more].concat();
    let n = ["--param", "n=1"];
    refused(&base, 3, &["MOA0607", "n"]);
    refused(&with(&["--param", "m=1"]), 3, &["MOA0607", "the command line:6:10"]);
    refused(
        &with(&["--if", "event.data.amount >", n[0], n[1]]),
        3,
        &["MOA0301", "the command line:5:"],
    );
    refused(
        &with(&["--if", "evnet.data == 1", n[0], n[1]]),
        3,
        &["MOA0302", "the command line:5:"],
    );
    refused(&["paid", "--on", "e", "--run", "maler"], 3, &["MOA0403", "did you mean `mailer`?"]);
    refused(&["paid", "--on", "", "--run", "mailer", n[0], n[1]], 3, &["MOA0104"]);
    refused(&["../paid", "--on", "e", "--run", "mailer"], 2, &["name"]);
    refused(&["paid", "--run", "mailer"], 2, &["--on"]);
    let long = format!("{}1", "1+".repeat(5000));
    refused(&["paid", "--on", "e", "--run", "mailer", "--if", &long], 3, &["MOA0301"]);
    let many = "{".repeat(2000);
    refused(&["paid", "--on", "e", "--run", "mailer", "--if", &many], 3, &["MOA0301"]);
    project.write("large.yaml", &"# ".repeat(40_000));
    refused(&["--file", "large.yaml"], 3, &["65536 bytes", "large.yaml"]);
    project.write("deep.yaml", &format!("on: {}{}", "[".repeat(5000), "]".repeat(5000)));
    refused(&["--file", "deep.yaml"], 3, &["MOA0006", "deep.yaml:1:"]);
    project.write("none.yaml", "run: mailer\non: {event: e, params: {n: 1}}\n");
    refused(&["--file", "none.yaml"], 3, &["the rule has no name"]);
    assert_eq!(project.call(&["rules", "list", "--json"]).expect(0).json(), json!([]));
    let said = project.call(&["rules", "show", "piad"]).expect(4);
    assert!(said.err.contains("there is no rule piad"), "{}", said.err);
}

#[test]
fn what_was_and_is_of_a_rule_is_in_the_audit_log() {
    let project = Project::with("hello", "steps:\n  - run: echo hi\n");
    let node = project.up();
    let api = Api::with_role(&project, &node, "operator");
    let rule = |event: &str| json!({"name": "paid", "run": "hello", "on": {"event": event}});
    api.post("/api/v1/rules", &rule("one")).expect(201);
    let json_type = "Content-Type: application/json\r\n";
    let mut other = rule("two");
    other.as_object_mut().expect("a map").remove("name");
    api.send("PUT", "/api/v1/rules/paid", json_type, &other.to_string()).expect(200);
    api.post("/api/v1/rules", &rule("three")).refused(409, "conflict");
    api.send("DELETE", "/api/v1/rules/paid", "", "").expect(204);
    let log = project.call(&["audit", "list", "--json", "--action", "rule.*"]).expect(0).json();
    let acts = log.as_array().expect("a list");
    assert!(acts.iter().all(|act| act["object"] == "paid"), "{log:#}");
    let outcomes: Vec<_> = acts.iter().map(|act| &act["outcome"]).collect();
    assert_eq!(outcomes, ["done", "refused", "done", "done"], "{log:#}");
    let befores: Vec<_> = acts.iter().map(|act| &act["before"]["on"]["event"]).collect();
    assert_eq!(befores, [&json!("two"), &json!("two"), &json!("one"), &json!(null)], "{log:#}");
    assert!(acts[2]["asked"]["text"].as_str().expect("text").contains("two"), "{log:#}");
    assert_eq!(acts[3]["after"]["created"], true, "{log:#}");
}

#[test]
fn nobodys_change_of_a_rule_is_lost_over_the_api() {
    let project = project();
    let node = project.up();
    let api = Api::with_role(&project, &node, "operator");
    let rule = |n: u32| {
        json!({"run": "mailer", "on": {"event": "order.paid", "match": format!("event.data.n > {n}"), "params": {"n": 1}}}).to_string()
    };
    let put = |condition: &str, n: u32| {
        let headers = format!("Content-Type: application/json\r\n{condition}\r\n");
        api.send("PUT", "/api/v1/rules/large", &headers, &rule(n))
    };
    put("If-Match: \"none\"", 1).refused(412, "precondition_failed");
    put("If-None-Match: *", 1).expect(201);
    let tag = api.get("/api/v1/rules/large").expect(200).header("etag").expect("a tag").to_owned();
    put("If-None-Match: *", 2).refused(412, "precondition_failed");
    put(&format!("If-Match: {tag}"), 2).expect(200);
    // Somebody else was faster, or has switched it off.
    let second =
        api.get("/api/v1/rules/large").expect(200).header("etag").expect("a tag").to_owned();
    api.post("/api/v1/rules/large/disable", &json!({})).expect(200);
    put(&format!("If-Match: {second}"), 2).refused(412, "precondition_failed");
    api.post("/api/v1/rules/large/enable", &json!({})).expect(200);
    put(&format!("If-Match: {tag}"), 3).refused(412, "precondition_failed");
    let path = "/api/v1/rules/large";
    api.send("DELETE", path, &format!("If-Match: {tag}\r\n"), "")
        .refused(412, "precondition_failed");
    assert!(api.get(path).expect(200).body.contains("event.data.n > 2"));
    api.send("DELETE", path, "If-Match: *\r\n", "").expect(204);
    let refused =
        project.call(&["audit", "list", "--outcome", "refused", "--json"]).expect(0).json();
    assert_eq!(refused.as_array().map(Vec::len), Some(5), "{refused}");
    // Who says nothing means it.
    api.send("PUT", path, "Content-Type: application/json\r\n", &rule(4)).expect(201);
}
