//! Webhooks out: who is called when something happens, with the real binary and a real receiver.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value as Json, json};

use crate::http::Api;
use crate::notify::{Receiving, Told};
use crate::pages::Browser;
use crate::project::{Node, Project};
use crate::remote::Elsewhere;

const WORK: &str = "steps: [{run: 'true'}]\n";
const FAIL: &str = "steps: [{run: 'false', retry: {max_attempts: 1}}]\n";

fn project(url: &str, more: &str) -> Project {
    let project = Project::with("work", WORK);
    project.workflow("fail", FAIL);
    project.write(
        "moa.yaml",
        &format!(
            "name: shop\nwebhooks:\n  billing: {{url: '{url}', secret: '${{{{ secrets.KEY }}}}', \
             {more}}}\n  off: {{url: '{url}', active: false, types: '*'}}\n"
        ),
    );
    project.write(".env", "KEY=0123456789abcdef0123456789abcdef\n");
    project
}

/// Starts a node, and waits until what happens from now on is told.
fn up(project: &Project) -> Node {
    let node = project.up();
    project.call(&["jobs", "run", "webhooks"]).expect(0);
    node
}

fn dead(project: &Project) -> Vec<Json> {
    let said = project.call(&["webhooks", "dead", "billing", "--json"]).expect(0).json();
    said.as_array().expect("an array").clone()
}

fn next(receiver: &Receiving) -> Told {
    receiver.next()
}

#[test]
fn what_happens_is_told_once_also_over_a_kill() {
    // Every third call gets no answer worth anything.
    let receiver = Receiving::new(|n| Some(if n % 3 == 0 { "503 Later" } else { "200 OK" }));
    let project = project(&receiver.url, "types: [run.succeeded, run.failed]");
    let mut node = up(&project);
    let mut expected = BTreeSet::new();
    for round in 0..3 {
        for workflow in ["work", "fail", "work"] {
            let code = i32::from(workflow == "fail");
            let said = project.call(&["run", workflow, "--json"]).expect(code).json();
            let run = said["workflowId"].as_str().expect("an id").to_owned();
            expected.insert((run, if code == 0 { "run.succeeded" } else { "run.failed" }));
        }
        if round < 2 {
            // Whatever it was at.
            node.kill();
            node = up(&project);
        }
    }
    let (mut told, mut ids) = (BTreeSet::new(), BTreeSet::new());
    while told.len() < expected.len() {
        let call = next(&receiver);
        let (kind, data) = (&call.body["type"], &call.body["data"]);
        assert_eq!(data["type"], *kind);
        assert_eq!(data["specversion"], "1.0");
        let run = data["data"]["run"].as_str().unwrap_or_default().to_owned();
        let kind = kind.as_str().unwrap_or_default().trim_start_matches("moa.").to_owned();
        // Tried again, it has the same id; and no two have one.
        if told.insert((run, kind)) {
            assert!(ids.insert(call.id.clone()), "{}", call.id);
        } else {
            assert!(ids.contains(&call.id), "{}", call.id);
        }
    }
    let expected: BTreeSet<_> =
        expected.into_iter().map(|(run, kind)| (run, kind.to_owned())).collect();
    assert_eq!(told, expected);
    drop(node);
}

#[test]
fn what_is_refused_for_good_is_dead_until_it_is_made_again() {
    let receiver = Receiving::new(|n| Some(if n == 0 { "400 Bad" } else { "200 OK" }));
    let project = project(&receiver.url, "types: '*.failed', workflows: [fail]");
    let node = up(&project);
    let api = Api::with_role(&project, &node, "operator");
    project.call(&["run", "work"]).expect(0);
    project.call(&["run", "fail"]).expect(1);
    let first = next(&receiver);
    assert!(first.body["type"].as_str().is_some_and(|kind| kind.ends_with(".failed")));
    let path = "/api/v1/webhooks/billing/deliveries";
    let is_dead = |page: &Json| page["deliveries"][0]["id"] == json!(first.id);
    let page = api.until(&format!("{path}?dead=true"), is_dead);
    let why = page["deliveries"][0]["error"].as_str().unwrap_or_default();
    assert!(why.contains("400"), "{page}");
    let listed = dead(&project);
    assert_eq!(listed.len(), 1, "{listed:?}");
    // Nobody is told twice by asking twice.
    for _ in 0..2 {
        let run = listed[0]["run"].as_str().expect("an id");
        project.call(&["webhooks", "redeliver", "billing", run]).expect(0);
    }
    while next(&receiver).id != first.id {}
    let delivered = |page: &Json| {
        let all = page["deliveries"].as_array().expect("a list").iter();
        all.filter(|d| d["id"] == json!(first.id) && d["state"] == "delivered").count() == 1
    };
    api.until(path, delivered);
    assert_eq!(dead(&project), Vec::<Json>::new());
    let none = api.post("/api/v1/webhooks/billing/redeliver", &json!({})).expect(200).json();
    assert_eq!(none["redelivered"], json!([]));
    api.post("/api/v1/webhooks/off/test", &json!({})).refused(404, "not_found");
    api.post("/api/v1/webhooks/other/test", &json!({})).refused(404, "not_found");
    let run = api.get("/api/v1/runs?workflow=work").expect(200).json()["runs"][0]["run"].clone();
    let asked = json!({"runs": [run]});
    api.post("/api/v1/webhooks/billing/redeliver", &asked).refused(404, "not_found");
}

#[test]
fn a_receiver_that_is_gone_is_called_no_more_until_somebody_enables_it() {
    let receiver = Receiving::new(|n| Some(if n == 0 { "410 Gone" } else { "200 OK" }));
    let project = project(&receiver.url, "types: [run.failed], workflows: [fail]");
    let fail = || {
        let run = project.call(&["run", "fail", "--json"]).expect(1).json();
        run["workflowId"].as_str().expect("an id").to_owned()
    };
    let gone = || {
        let listed = project.call(&["webhooks", "list", "--json"]).expect(0).json();
        listed[0]["gone"].clone()
    };
    let node = up(&project);
    assert_eq!(gone(), Json::Null);
    let first = fail();
    assert_eq!(next(&receiver).body["data"]["data"]["run"], first);
    let api = Api::with_role(&project, &node, "operator");
    let is_gone = |page: &Json| page["webhooks"][0]["gone"].is_object();
    let listed = api.until("/api/v1/webhooks", is_gone);
    assert_eq!(listed["webhooks"][0]["gone"]["run"], dead(&project)[0]["run"]);

    // It stays so, wherever the node was when it died; and somebody is told.
    node.kill();
    assert_eq!(gone()["run"], dead(&project)[0]["run"]);
    let node = up(&project);
    fail();
    project.call(&["jobs", "run", "webhooks"]).expect(0);
    project.call(&["jobs", "run", "alerts"]).expect(0);
    let alerts = || project.call(&["alerts", "list", "--json"]).expect(0).json().to_string();
    assert!(alerts().contains("The webhook billing is switched off"), "{}", alerts());
    let shown = project.call(&["webhooks", "list"]).expect(0);
    assert!(shown.err.contains("moa webhooks enable billing"), "{}", shown.err);

    let enable = || project.call(&["webhooks", "enable", "billing", "--json"]).expect(0).json();
    assert_eq!(enable()["changed"], true);
    assert_eq!(enable()["changed"], false);
    assert_eq!(gone(), Json::Null);
    let third = fail();
    assert_eq!(next(&receiver).body["data"]["data"]["run"], third, "the second was not for it");
    project.call(&["webhooks", "enable", "off"]).expect(4);
    project.call(&["webhooks", "enable", "other"]).expect(4);
    drop(node);
}

#[test]
fn another_address_is_not_gone() {
    let refuses = Receiving::new(|_| Some("410 Gone"));
    let takes = Receiving::new(|_| Some("200 OK"));
    let project = project(&refuses.url, "types: [run.failed]");
    let node = up(&project);
    project.call(&["run", "fail"]).expect(1);
    let api = Api::with_role(&project, &node, "viewer");
    let is_gone = |page: &Json| page["webhooks"][0]["gone"].is_object();
    api.until("/api/v1/webhooks", is_gone);
    node.kill();
    let settings = project.read("moa.yaml").replace(&refuses.url, &takes.url);
    project.write("moa.yaml", &settings);
    let node = up(&project);
    let run = project.call(&["run", "fail", "--json"]).expect(1).json();
    assert_eq!(next(&takes).body["data"]["data"]["run"], run["workflowId"]);
    drop(node);
}

#[test]
fn webhooks_of_a_node_elsewhere_are_seen_tried_and_called_again() {
    let receiver = Receiving::new(|n| Some(if n == 0 { "410 Gone" } else { "200 OK" }));
    let project = project(&receiver.url, "types: [run.failed]");
    let node = up(&project);
    let there = Elsewhere::new(&project, &node, "operator");
    project.call(&["run", "fail"]).expect(1);
    let first = next(&receiver);
    let api = Api::with_role(&project, &node, "viewer");
    let is_gone = |page: &Json| page["webhooks"][0]["gone"].is_object();
    api.until("/api/v1/webhooks", is_gone);
    for args in [&["webhooks", "list"][..], &["webhooks", "dead", "billing"]] {
        for more in [&[][..], &["--json"]] {
            let args = [args, more].concat();
            let (here, elsewhere) = (project.call(&args).expect(0), there.call(&args).expect(0));
            assert_eq!((here.out, here.err), (elsewhere.out, elsewhere.err), "{args:?}");
        }
    }
    let enabled = there.call(&["webhooks", "enable", "billing", "--json"]).expect(0).json();
    assert_eq!(enabled["changed"], true);
    // Asked twice, it is made again once.
    let run = dead(&project)[0]["run"].as_str().expect("an id").to_owned();
    let again = |args: &[&str]| there.call(args).expect(0).json()[0]["new_run"].clone();
    let made = again(&["webhooks", "redeliver", "billing", "--json"]);
    assert_eq!(made, again(&["webhooks", "redeliver", "billing", &run, "--json"]));
    assert_eq!(next(&receiver).id, first.id);
    let tried = there.call(&["webhooks", "test", "billing", "--json"]).expect(0).json();
    let told = next(&receiver);
    assert_eq!((&told.body["type"], &json!(told.id)), (&"moa.webhook.test".into(), &tried["id"]));
    there.call(&["webhooks", "dead", "other"]).expect(4);
    let viewer = Elsewhere::new(&project, &node, "viewer");
    viewer.call(&["webhooks", "list"]).expect(0);
    viewer.call(&["webhooks", "enable", "billing"]).expect(5);
}

#[test]
fn a_test_says_what_came_of_it() {
    let receiver = Receiving::new(|n| (n > 0).then_some("204 No Content"));
    let project = project(&receiver.url, "timeout: 200ms");
    // The first call hangs.
    let said = project.call(&["webhooks", "test", "billing"]).expect(1);
    assert!(said.err.contains("no answer within"), "{}", said.err);
    project.call(&["webhooks", "test", "billing"]).expect(0);
    let told = next(&receiver);
    assert_eq!(told.body["type"], "moa.webhook.test");
    project.call(&["webhooks", "test", "biling"]).expect(4);
    let listed = project.call(&["webhooks", "list", "--json"]).expect(0).json();
    assert_eq!(listed[0]["types"], json!(["run.succeeded", "run.failed", "run.cancelled"]));
    assert_eq!(listed[1]["active"], false);
}

#[test]
fn what_is_told_is_not_counted_among_what_was_asked_for() {
    let receiver = Receiving::new(|_| Some("400 Bad"));
    let project = project(&receiver.url, "types: run.succeeded");
    let node = up(&project);
    let (api, browser) =
        (Api::with_role(&project, &node, "viewer"), Browser::new(&project, &node, "viewer"));
    project.call(&["run", "work"]).expect(0);
    let dead = |page: &Json| page["totals"]["notifications"]["failed"] == 1;
    let state = api.until("/api/v1/state", dead);
    assert_eq!(state["totals"]["runs"], json!({"succeeded": 1}));
    let overview = api.get("/api/v1/overview").expect(200).json();
    assert_eq!(overview["failed"], json!([]), "{overview}");
    let metrics = api.get("/metrics").expect(200).body;
    for line in [
        "orchestrator_workflows_total{status=\"succeeded\"} 1",
        "orchestrator_success_rate 1.0",
        "orchestrator_workflow_duration_seconds_count 1",
    ] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
    assert!(!metrics.contains("orchestrator_workflows_total{status=\"failed\"} 1"), "{metrics}");
    let refused =
        |page: &Json| page["alerts"][0]["title"] == "The webhook billing refuses its calls";
    project.call(&["jobs", "run", "alerts"]).expect(0);
    let alerts = api.until("/api/v1/alerts", refused);
    let text = alerts["alerts"][0]["text"].as_str().unwrap_or_default();
    assert!(text.contains("400") && text.contains("moa webhooks dead billing"), "{text}");
    let failed = "class=\"run status-failed";
    for path in ["/runs", "/"] {
        let shown = browser.page(path);
        assert!(!shown.contains("moa-notify</a>") && !shown.contains(failed), "{path}: {shown}");
    }
    assert!(browser.page("/runs?workflow=moa-notify").contains("moa-notify</a>"));
}

#[test]
fn the_pages_tell_what_the_api_tells_and_do_what_it_does() {
    let answer = |n| Some(["400 Bad", "410 Gone", "200 OK"][usize::min(n, 2)]);
    let receiver = Receiving::new(answer);
    let project = project(&receiver.url, "types: [run.failed]");
    let node = up(&project);
    let (operator, viewer) =
        (Browser::new(&project, &node, "operator"), Browser::new(&project, &node, "viewer"));
    let (page, act) = ("/webhooks/billing", "/webhooks/billing/act");
    let dead_ones = "/webhooks/billing?dead=true";
    assert!(operator.page(page).contains("No call yet"));
    operator.send(page, act, "act=test").expect(303);
    let shown = operator.until(dead_ones, "HTTP 400");
    assert!(shown.contains("moa.webhook.test") && shown.contains("Redeliver all"), "{shown}");
    assert!(shown.contains("href=\"/api/v1/webhooks/billing/deliveries?dead=true\""), "{shown}");
    let api = Api::with_role(&project, &node, "viewer");
    let told = api.get("/api/v1/webhooks").expect(200).json()["webhooks"][0].clone();
    assert_eq!((&told["dead"], &told["open"]), (&json!(1), &json!(0)), "{told}");
    let last = &told["last"];
    assert_eq!((&last["state"], &last["status"]), (&json!("dead"), &json!(400)), "{told}");
    assert_eq!((&last["attempts"], &last["id"]), (&json!(1), &json!(next(&receiver).id)));
    assert!(last["finished_at"].is_string(), "{told}");

    // Who may only look is offered nothing, and sees no more of an address than its host.
    assert!(operator.page(page).contains(&receiver.url));
    for path in ["/webhooks", page, dead_ones] {
        let shown = viewer.page(path);
        assert!(!shown.contains(act) && !shown.contains("/hook<"), "{shown}");
    }
    let host = receiver.url.trim_end_matches("hook");
    assert_eq!(told["url"], host);
    assert!(viewer.page("/webhooks").contains(host));

    // It is made again, and then its receiver wants no more.
    let run = dead(&project)[0]["run"].as_str().expect("a run").to_owned();
    operator.send(dead_ones, act, &format!("act=redeliver&run={run}")).expect(303);
    operator.until(dead_ones, "HTTP 410");
    let all = operator.page(page);
    assert!(all.contains("made again") && !all.contains(&format!("value=\"{run}\"")), "{all}");
    let api_of_operator = Api::with_role(&project, &node, "operator");
    let asked = json!({"runs": [run]});
    let path = "/api/v1/webhooks/billing/redeliver";
    let problem = api_of_operator.post(path, &asked).refused(409, "conflict");
    let newest = dead(&project)[0]["run"].as_str().expect("a run").to_owned();
    assert!(problem.to_string().contains(&newest), "{problem}");
    project.call(&["jobs", "run", "webhooks"]).expect(0);
    let gone = operator.page(page);
    assert!(gone.contains("wants no more calls") && gone.contains("Enable"), "{gone}");
    operator.send(page, act, "act=enable").expect(303);
    assert!(!operator.page(page).contains("wants no more calls"));
    operator.send(page, act, "act=redeliver").expect(303);
    operator.until(page, "status delivered");
    assert_eq!(dead(&project), Vec::<Json>::new());
    assert!(operator.page(dead_ones).contains("No delivery was given up"));
    // What has arrived meanwhile is not called again.
    let made = api_of_operator.post(path, &json!({"runs": [newest]})).expect(200).json();
    let listed = api.get("/api/v1/webhooks/billing/deliveries").expect(200).json();
    assert_eq!(made["redelivered"][0]["new_run"], listed["deliveries"][0]["run"]);

    operator.send(page, act, "act=nonsense").expect(400);
    operator.ask("/webhooks/other").expect(404);
    assert!(operator.page("/webhooks/off").contains("active: false"));
    let acts = project.call(&["audit", "list", "--action", "webhook.*", "--json"]).json();
    let acts: Vec<_> = acts.as_array().expect("acts").iter().map(|act| &act["action"]).collect();
    assert_eq!(acts, ["webhook.enable", "webhook.test"]);
}

#[test]
fn dead_calls_of_a_webhook_that_was_removed_are_told() {
    let receiver = Receiving::new(|_| Some("400 Bad"));
    let project = project(&receiver.url, "types: [run.failed]");
    let node = up(&project);
    let browser = Browser::new(&project, &node, "operator");
    let (page, act) = ("/webhooks/billing", "/webhooks/billing/act");
    browser.send(page, act, "act=test").expect(303);
    browser.until("/webhooks/billing?dead=true", "HTTP 400");
    let run = dead(&project)[0]["run"].as_str().expect("a run").to_owned();
    project.write("moa.yaml", "name: shop\n");
    let api = Api::with_role(&project, &node, "operator");
    let is_removed = |told: &Json| {
        let one = told["webhooks"].as_array().expect("webhooks").iter();
        one.clone().count() == 1 && one.clone().all(|one| one["removed"] == true)
    };
    let told = api.until("/api/v1/webhooks", is_removed)["webhooks"][0].clone();
    assert_eq!((&told["webhook"], &told["dead"]), (&json!("billing"), &json!(1)), "{told}");
    let listed = api.get("/api/v1/webhooks/billing/deliveries?dead=true").expect(200).json();
    assert_eq!(listed["deliveries"][0]["run"], run.as_str());
    assert!(browser.page("/webhooks").contains("status removed"));
    let shown = browser.page(page);
    assert!(shown.contains("don't name it any more") && !shown.contains("Redeliver"), "{shown}");
    // Nobody calls what nobody names; and what never was isn't there.
    for body in [json!({}), json!({"runs": [run]})] {
        let refused = api.post("/api/v1/webhooks/billing/redeliver", &body);
        let problem = refused.refused(409, "conflict");
        assert!(problem["detail"].as_str().is_some_and(|said| said.contains("was removed")));
        assert!(problem["hints"][0].as_str().is_some_and(|hint| hint.contains("moa.yaml")));
    }
    api.post("/api/v1/webhooks/other/redeliver", &json!({})).refused(404, "not_found");
    api.get("/api/v1/webhooks/other/deliveries").refused(404, "not_found");
    let there = Elsewhere::new(&project, &node, "operator");
    for args in [&["webhooks", "list", "--json"][..], &["webhooks", "dead", "billing", "--json"]] {
        let (here, elsewhere) = (project.call(args).expect(0), there.call(args).expect(0));
        assert_eq!(here.out, elsewhere.out, "{args:?}");
        assert!(here.out.contains("billing") || here.out.contains(&run), "{}", here.out);
    }
    project.call(&["webhooks", "dead", "other"]).expect(4);
    let (here, elsewhere) =
        (["webhooks", "redeliver", "billing"], ["webhooks", "redeliver", "other"]);
    let refused = there.call(&here).expect(5);
    assert!(refused.err.contains("was removed") && refused.err.contains("moa.yaml"));
    assert_eq!(project.call(&here).expect(5).err, refused.err);
    project.call(&elsewhere).expect(4);
    there.call(&elsewhere).expect(4);
}

#[test]
fn changes_of_webhooks_hold_while_the_node_runs() {
    let (first, second) = (Receiving::new(|_| Some("200 OK")), Receiving::new(|_| Some("200 OK")));
    let project = project(&first.url, "types: [run.failed]");
    let node = up(&project);
    let api = Api::with_role(&project, &node, "operator");
    project.call(&["run", "fail"]).expect(1);
    assert_eq!(next(&first).body["type"], "moa.run.failed");
    // Somewhere else, of something else, and one that was off.
    let settings = project.read("moa.yaml").replace(&first.url, &second.url);
    let settings =
        settings.replace("run.failed", "run.succeeded").replace("active: false", "active: true");
    project.write("moa.yaml", &settings);
    let all = |url: &str| {
        let url = url.to_owned();
        move |page: &Json| {
            page["webhooks"].as_array().is_some_and(|a| a.iter().all(|w| w["url"] == url))
        }
    };
    api.until("/api/v1/webhooks", all(&second.url));
    project.call(&["jobs", "run", "webhooks"]).expect(0);
    project.call(&["run", "fail"]).expect(1);
    let run = project.call(&["run", "work", "--json"]).expect(0).json()["workflowId"].clone();
    let told = loop {
        let told = next(&second);
        if told.body["type"] == "moa.run.succeeded" && told.body["data"]["data"]["run"] == run {
            break told;
        }
    };
    assert_eq!(told.body["data"]["data"]["workflow"], "work");
    assert!(first.requests.try_recv().is_err(), "it is not called any more");
    // A mistake changes nothing; and what isn't named is not there.
    project.write("moa.yaml", "webhooks: {billing: {url: 7}}\n");
    // That has the node look at the files.
    api.get("/api/v1/workflows").expect(200);
    assert_eq!(api.get("/api/v1/webhooks").json()["webhooks"][0]["url"], json!(second.url));
    project.write("moa.yaml", "name: shop\n");
    api.until("/api/v1/webhooks", |page| page["webhooks"] == json!([]));
    api.post("/api/v1/webhooks/billing/test", &json!({})).refused(404, "not_found");
}

#[test]
fn what_the_old_receiver_said_is_not_held_against_the_new_one() {
    let refuses = Receiving::new(|_| Some("410 Gone"));
    let takes = Receiving::new(|_| Some("200 OK"));
    let project = project(&refuses.url, "types: [run.failed]");
    let node = up(&project);
    let api = Api::with_role(&project, &node, "operator");
    project.call(&["run", "fail"]).expect(1);
    next(&refuses);
    let settings = project.read("moa.yaml").replace(&refuses.url, &takes.url);
    project.write("moa.yaml", &settings);
    let moved = |page: &Json| page["webhooks"][0]["url"] == json!(takes.url);
    api.until("/api/v1/webhooks", moved);
    project.call(&["jobs", "run", "webhooks"]).expect(0);
    let run = project.call(&["run", "fail", "--json"]).expect(1).json()["workflowId"].clone();
    assert_eq!(next(&takes).body["data"]["data"]["run"], run);
    assert_eq!(api.get("/api/v1/webhooks").json()["webhooks"][0]["gone"], Json::Null);
}

#[test]
fn what_waits_for_a_webhook_that_is_switched_off_is_dead_until_it_is_made_again() {
    static TAKES: AtomicBool = AtomicBool::new(false);
    let answer = |_| Some(if TAKES.load(Ordering::SeqCst) { "200 OK" } else { "503 Later" });
    let receiver = Receiving::new(answer);
    let project = project(&receiver.url, "active: true, types: [run.failed]");
    let node = up(&project);
    let api = Api::with_role(&project, &node, "operator");
    let on = project.read("moa.yaml");
    project.call(&["run", "fail"]).expect(1);
    let first = next(&receiver);
    project.write("moa.yaml", &on.replace("active: true", "active: false"));
    api.until("/api/v1/webhooks", |page| page["webhooks"][0]["active"] == false);
    let why = "switched off: moa.yaml";
    let given_up = |page: &Json| {
        page["deliveries"][0]["error"].as_str().is_some_and(|error| error.contains(why))
    };
    let page = api.until("/api/v1/webhooks/billing/deliveries?dead=true", given_up);
    assert_eq!(page["deliveries"][0]["id"], json!(first.id));
    // While it is off, no call is promised.
    let refused = project.call(&["webhooks", "redeliver", "billing"]).expect(5);
    assert!(refused.err.contains("switched off"), "{}", refused.err);
    api.post("/api/v1/webhooks/billing/redeliver", &json!({})).refused(409, "conflict");
    assert!(
        !Browser::new(&project, &node, "operator").page("/webhooks/billing").contains("Redeliver")
    );
    TAKES.store(true, Ordering::SeqCst);
    project.write("moa.yaml", &on);
    api.until("/api/v1/webhooks", |page| page["webhooks"][0]["active"] == true);
    project.call(&["webhooks", "redeliver", "billing"]).expect(0);
    let delivered = |page: &Json| {
        let last = &page["deliveries"][0];
        last["state"] == "delivered" && last["id"] == json!(first.id)
    };
    api.until("/api/v1/webhooks/billing/deliveries", delivered);
}

#[test]
fn a_file_that_is_empty_for_a_moment_loses_nothing() {
    let receiver = Receiving::new(|_| Some("200 OK"));
    let project = project(&receiver.url, "types: [run.failed]");
    let node = up(&project);
    let api = Api::with_role(&project, &node, "operator");
    let settings = project.read("moa.yaml");
    project.write("moa.yaml", "");
    api.until("/api/v1/webhooks", |page| page["webhooks"] == json!([]));
    let run = project.call(&["run", "fail", "--json"]).expect(1).json()["workflowId"].clone();
    project.call(&["jobs", "run", "webhooks"]).expect(0);
    project.write("moa.yaml", &settings);
    api.until("/api/v1/webhooks", |page| page["webhooks"] != json!([]));
    project.call(&["jobs", "run", "webhooks"]).expect(0);
    assert_eq!(next(&receiver).body["data"]["data"]["run"], run);
}
