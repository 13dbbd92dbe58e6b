//! What starts runs beside the clock, with the real binary.

use serde_json::{Value as Json, json};

use crate::http::Api;
use crate::project::Project;

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

/// The params of the runs that a trigger started, the oldest first.
fn params(project: &Project, history: &[Json]) -> Vec<Json> {
    let started = history.iter().rev().filter(|o| o["outcome"] == "started");
    let of = |o: &Json| {
        let run = o["run"].as_str().expect("a run");
        project.call(&["runs", "show", run, "--json"]).expect(0).json()["params"].clone()
    };
    started.map(of).collect()
}

#[test]
fn an_event_that_matches_starts_a_run() {
    let text = "\
on:
  - {id: paid, event: order.paid, match: event.data.amount > 5, params: {n: \"${{ event.data.amount }}\"}}
steps: [{run: 'true'}]
";
    let project = Project::with("mailer", text);
    // A rule is tried before anything serves it.
    let said = project.call(&["triggers", "test", "mailer", "-p", "amount=7"]).expect(0);
    assert!(
        said.out.contains("would start a run") && said.out.contains("{\"n\":7}"),
        "{}",
        said.out
    );
    let said = project.call(&["triggers", "test", "mailer", "-p", "amount=5"]).expect(1);
    assert!(said.out.contains("event.data.amount > 5 is false"), "{}", said.out);
    let said = project.call(&["triggers", "test", "mailer", "-p", "amuont=5"]).expect(1);
    assert!(said.out.contains("failed") && said.out.contains("amount"), "{}", said.out);

    let node = project.up();
    for (amount, key) in
        [("amount=7", "a"), ("amount=3", "b"), ("amount=7", "a"), ("amount=8", "c")]
    {
        project.call(&["events", "publish", "order.paid", "-p", amount, "--key", key]).expect(0);
    }
    let all = wait_for(&project, "mailer/paid", "started", 2);
    assert_eq!(params(&project, &all), [json!({"n": 7}), json!({"n": 8})]);
    assert_eq!(all.len(), 2, "{all:?}");
    node.stop();
    let _node = project.up();
    assert_eq!(history(&project, "mailer/paid").len(), 2);
    let listed = project.call(&["triggers", "list", "--json"]).expect(0).json();
    assert_eq!(listed[0]["when"], "event order.paid if event.data.amount > 5");
    assert_eq!(listed[0]["counts"], json!({"started": 2, "filtered": 1}));
    assert_eq!(listed[0]["last"]["outcome"], "started");
}

#[test]
fn an_event_whose_params_do_not_fit_starts_none_and_everybody_is_told_why() {
    let text = "\
params: {n: {type: integer}}
on:
  - {id: paid, event: order.paid, params: {n: \"${{ event.data.amount }}\"}}
steps: [{run: 'true'}]
";
    let project = Project::with("mailer", text);
    let why = "the params don't fit: `n`: \"seven\" is not of type integer";
    let tried = project.call(&["triggers", "test", "mailer", "-p", "amount=seven"]).expect(1);
    let said = format!("would start none (failed): {why}");
    assert!(tried.out.contains(&said), "{}", tried.out);
    let node = project.up();
    let api = Api::with_role(&project, &node, "operator");
    let tried =
        api.post("/api/v1/triggers/mailer%2Fpaid/test", &json!({"data": {"amount": "seven"}}));
    let tried = tried.expect(200).json();
    assert_eq!((&tried["starts"], &tried["reason"]), (&json!(false), &json!(why)), "{tried}");
    // What somebody gives by hand is refused at once.
    let path = "/api/v1/triggers/mailer%2Fpaid/start";
    for (params, why) in [(json!({"n": "seven"}), why), (json!({"m": 7}), "m")] {
        let refused = api.post(path, &json!({"params": params})).refused(400, "invalid_request");
        assert!(refused["detail"].as_str().is_some_and(|text| text.contains(why)), "{refused}");
    }
    for amount in ["amount=seven", "amount=7"] {
        project.call(&["events", "publish", "order.paid", "-p", amount]).expect(0);
    }
    let all = wait_for(&project, "mailer/paid", "started", 1);
    assert_eq!(params(&project, &all), [json!({"n": 7})]);
    let failed: Vec<&Json> = all.iter().filter(|o| o["outcome"] == "failed").collect();
    assert_eq!(failed.len(), 1, "{all:?}");
    assert_eq!((&failed[0]["reason"], &failed[0]["run"]), (&json!(why), &Json::Null));
    let history = project.call(&["triggers", "history", "mailer/paid"]).expect(0);
    assert!(history.out.contains("`n`: \"seven\""), "{}", history.out);
}

#[test]
fn who_tries_a_trigger_sees_no_secret_of_it_or_its_workflow() {
    let project = Project::with(
        "mailer",
        "params: {code: {type: string, pattern: '^hunter2two-[0-9]+$'}, key: {required: false}}\n\
         on:\n  - {id: paid, event: order.paid, params: {code: '${{ event.data.c }}', key: hunter2two}}\n\
         steps: [{run: 'true'}]\n",
    );
    project.write("agents/mailer.yaml", "command: [x]\nenv: {P: '${{ secrets.PASS }}'}\n");
    project.write(".env", "PASS=hunter2two\n");
    let node = project.up();
    let api = Api::with_role(&project, &node, "viewer");
    for (code, starts) in [("x", false), ("hunter2two-7", true)] {
        let tried = json!({"data": {"c": code}});
        let tried = api.post("/api/v1/triggers/mailer%2Fpaid/test", &tried).expect(200);
        assert_eq!(tried.json()["starts"], starts, "{}", tried.body);
        assert!(tried.body.contains("***"), "{}", tried.body);
        assert!(!tried.body.contains("hunter2two"), "{}", tried.body);
    }
}

#[test]
fn a_run_starts_when_all_that_it_comes_after_have_ended() {
    let project = Project::with("left", "steps: [{run: 'true'}]\n");
    project.workflow("right", "steps: [{run: 'true'}]\n");
    project.workflow("sum", "after: [left, right]\nsteps: [{run: 'true'}]\n");
    project.workflow("each", "on: {workflow: left}\nsteps: [{run: 'true'}]\n");
    let _node = project.up();
    project.call(&["run", "left"]).expect(0);
    project.call(&["run", "left"]).expect(0);
    wait_for(&project, "each", "started", 2);
    assert_eq!(history(&project, "sum").len(), 0);
    let why = project.call(&["triggers", "why", "sum"]).expect(0);
    assert!(why.out.contains("right: no run has ended"), "{}", why.out);
    project.call(&["run", "right"]).expect(0);
    wait_for(&project, "sum/after", "started", 1);
    project.call(&["run", "right"]).expect(0);
    project.call(&["run", "left"]).expect(0);
    let all = wait_for(&project, "sum/after", "started", 2);
    assert_eq!(all.len(), 2);
}

#[test]
fn workflows_that_wait_for_each_other_are_refused() {
    let project = Project::with("a", "after: b\nsteps: [{run: 'true'}]\n");
    project.workflow("b", "on: {workflow: a}\nsteps: [{run: 'true'}]\n");
    let said = project.call(&["workflows", "validate"]).expect(3);
    assert!(said.out.contains("MOA0611") && said.out.contains("a comes after b"), "{}", said.out);
}

#[test]
fn each_file_starts_one_run_across_restarts_and_crashes() {
    let text = "\
on: {file: 'inbox/*.md', stable: 1s, params: {path: \"${{ event.data.path }}\"}}
steps: [{run: 'true'}]
";
    let project = Project::with("reader", text);
    project.write("inbox/a.md", "a");
    let node = project.up();
    wait_for(&project, "reader", "started", 1);
    node.kill();
    project.write("inbox/b.md", "b");
    project.write("inbox/b.txt", "b");
    let node = project.up();
    wait_for(&project, "reader", "started", 2);
    project.write("inbox/a.md", "a is changed by whoever reads it");
    // Even when it has forgotten what it found.
    node.kill();
    std::fs::remove_dir_all(project.root.join(".moa/watch")).expect("it is there");
    project.write("inbox/c.md", "c");
    std::fs::remove_file(project.root.join("inbox/a.md")).expect("rm");
    let _node = project.up();
    let all = wait_for(&project, "reader", "started", 3);
    let paths: Vec<Json> = params(&project, &all).iter().map(|p| p["path"].clone()).collect();
    assert_eq!(paths, ["inbox/a.md", "inbox/b.md", "inbox/c.md"]);
}

#[test]
fn files_beyond_what_the_guard_allows_wait_until_the_trigger_goes_on() {
    let text = "\
on: {file: 'inbox/*', stable: 1s, guard: {starts: 2, within: 1h}, params: {path: \"${{ event.data.path }}\"}}
steps: [{run: 'true'}]
";
    let project = Project::with("reader", text);
    for n in 0..5 {
        project.write(&format!("inbox/{n}"), "x");
    }
    let _node = project.up();
    wait_for(&project, "reader", "started", 2);
    wait_for(&project, "reader", "skipped_paused", 1);
    project.call(&["triggers", "resume", "reader"]).expect(0);
    wait_for(&project, "reader", "started", 4);
    wait_for(&project, "reader", "skipped_paused", 1);
    project.call(&["triggers", "resume", "reader"]).expect(0);
    let all = wait_for(&project, "reader", "started", 5);
    let paths: Vec<Json> = params(&project, &all).iter().map(|p| p["path"].clone()).collect();
    assert_eq!(paths, [0, 1, 2, 3, 4].map(|n| json!(format!("inbox/{n}"))));
}

#[test]
fn a_burst_starts_one_run_that_knows_all_of_it() {
    let text = "\
on: {event: changed, batch: {max: 3, within: 1h}, params: {all: \"${{ events.map(e, e.data.n) }}\"}}
steps: [{run: 'true'}]
";
    let project = Project::with("build", text);
    let _node = project.up();
    for n in ["n=1", "n=2", "n=3"] {
        project.call(&["events", "publish", "changed", "-p", n]).expect(0);
    }
    let all = wait_for(&project, "build", "started", 1);
    assert_eq!(params(&project, &all), [json!({"all": [1, 2, 3]})]);
    assert_eq!(all.iter().filter(|o| o["outcome"] == "batched").count(), 2);
    let run = |o: &Json| (o["run"].clone(), o["result"].clone());
    assert!(all.iter().all(|o| run(o) == run(&all[0])), "{all:?}");
    assert_eq!(all[0]["result"], "succeeded");
}

#[test]
fn a_workflow_that_starts_itself_is_stopped() {
    let text = "\
on: {event: again, guard: {starts: 5, within: 1h}}
steps: [{emit: again}]
";
    let project = Project::with("echo", text);
    project.workflow("alarm", "on: {event: trigger.paused}\nsteps: [{run: 'true'}]\n");
    let _node = project.up();
    project.call(&["events", "publish", "again"]).expect(0);
    let all = wait_for(&project, "echo", "skipped_paused", 1);
    assert_eq!(all.iter().filter(|o| o["outcome"] == "started").count(), 5);
    let why = project.call(&["triggers", "why", "echo"]).expect(0);
    assert!(why.out.contains("5 runs within 1h"), "{}", why.out);
    assert!(why.out.contains("moa triggers resume echo/on_1"), "{}", why.out);
    let alarm = wait_for(&project, "alarm", "started", 1);
    assert_eq!(alarm.len(), 1);
}

#[test]
fn an_event_published_without_a_node_reaches_everybody_when_one_serves() {
    let text = "\
on: [{id: paid, event: order.paid, params: {n: \"${{ event.data.n }}\"}}]
steps: [{run: 'true'}]
";
    let project = Project::empty();
    let waits = "steps: [{id: paid, wait_for: {event: order.paid}}]\n";
    project.workflow("waits", waits);
    let node = project.up();
    let mut events = project.events();
    let run = project.call(&["run", "waits", "--detach"]).expect(0).out.trim().to_owned();
    events.until("step.waiting", "paid");
    node.kill();
    // A trigger that no node has ever served.
    project.workflow("mailer", text);
    let publish = ["events", "publish", "order.paid", "-p", "n=1", "--key", "a"];
    let said = project.call(&publish).expect(0);
    assert!(said.err.contains("`moa up` acts on it"), "{}", said.err);
    let again = project.call(&[&publish[..], &["--json"]].concat()).expect(0).json();
    assert_eq!(
        again,
        json!({"type": "order.paid", "new": false, "served": false, "event": again["event"]})
    );
    assert!(again["event"].is_u64(), "{again}");
    project.call(&["events", "publish", "order.paid", "-p", "n=2"]).expect(0);
    let node = project.up();
    let all = wait_for(&project, "mailer/paid", "started", 2);
    assert_eq!(params(&project, &all), [json!({"n": 1}), json!({"n": 2})]);
    project.call(&["runs", "watch", &run]).expect(0);
    let now = project.call(&[&publish[..], &["--json"]].concat()).expect(0).json();
    assert_eq!((&now["new"], &now["served"]), (&json!(false), &json!(true)));
    node.stop();
    assert_eq!(history(&project, "mailer/paid").len(), 2);
}
