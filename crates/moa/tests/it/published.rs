//! Events that people publish: found, told in their place, shown with what became of them.

use std::io::Write as _;
use std::process::Stdio;

use serde_json::{Value as Json, json};

use crate::http::Api;
use crate::pages::Browser;
use crate::project::{Node, Project, Said};

const SHOP: &str = "
on: [{id: paid, event: order.paid, match: event.data.n > 5}]
steps: [{id: say, run: 'true'}]
";
const WAITS: &str = "steps: [{id: parcel, wait_for: {event: parcel.sent}}]\n";
const SECRET: &str = "plugh-secret-word";

fn shop() -> (Project, Node, Api) {
    let project = Project::with("shop", SHOP);
    project.workflow("waits", WAITS);
    let uses = "steps: [{run: 'true', env: {P: '${{ secrets.PRINTER }}'}}]\n";
    project.workflow("uses", uses);
    project.write(".env", &format!("PRINTER={SECRET}\n"));
    let node = project.up();
    let api = Api::with_role(&project, &node, "operator");
    (project, node, api)
}

fn publish(api: &Api, event: Json) -> u64 {
    let said = api.post("/api/v1/events", &event).expect(200).json();
    said["sequences"][0].as_u64().expect("a number")
}

fn events(api: &Api, query: &str) -> Vec<Json> {
    let page = api.get(&format!("/api/v1/events?{query}")).expect(200).json();
    page["events"].as_array().expect("a list").clone()
}

fn types(events: &[Json]) -> Vec<&str> {
    events.iter().map(|event| event["type"].as_str().expect("a type")).collect()
}

#[test]
fn what_is_published_is_found_by_type_source_key_and_time() {
    let (project, _node, api) = shop();
    let paid = json!({
        "type": "order.paid", "data": {"n": 7}, "key": "4711", "source": "/till/3", "subject": "4711",
    });
    let first = publish(&api, paid.clone());
    assert_eq!(publish(&api, paid), first, "the same key is the same event");
    let cloud = r#"{"specversion":"1.0","id":"c7","source":"/web","type":"order.sent","data":1}"#;
    let headers = "Content-Type: application/cloudevents+json\r\n";
    api.send("POST", "/api/v1/events", headers, cloud).expect(200);
    // What somebody calls as moa calls its own is theirs all the same.
    publish(&api, json!({"type": "step.failed"}));

    let found = events(&api, "types=order.*");
    assert_eq!(types(&found), ["order.paid", "order.sent"]);
    let event = &found[0];
    assert_eq!((&event["sequence"], &event["id"]), (&json!(first), &json!(format!("{first}.0"))));
    assert_eq!((&event["source"], &event["subject"]), (&json!("/till/3"), &json!("4711")));
    assert_eq!((&event["key"], &event["data"]), (&json!("4711"), &json!({"n": 7})));
    assert!(event["publishedby"].as_str().expect("who").starts_with("token:"), "{event}");
    assert_eq!(types(&events(&api, "types=event.published")).len(), 3);
    assert_eq!(types(&events(&api, "types=moa.step.failed")).len(), 0);
    assert_eq!(types(&events(&api, "types=step.failed")), ["step.failed"]);
    assert_eq!(types(&events(&api, "source=/web")), ["order.sent"]);
    assert_eq!(types(&events(&api, "key=4711")), ["order.paid"]);
    assert_eq!(types(&events(&api, "key=c7&since=1h")), ["order.sent"]);
    assert_eq!(types(&events(&api, "types=order.*&until=2001-01-01")).len(), 0);
    assert_eq!(types(&events(&api, "types=order.*&since=2099-01-01")).len(), 0);
    assert_eq!(types(&events(&api, "types=order.*&q=till")), ["order.paid"]);
    assert_eq!(types(&events(&api, "workflow=shop&types=order.*")).len(), 0);
    // One after another, onwards and back.
    let part = api.get("/api/v1/events?after=0&types=order.*&limit=1").expect(200).json();
    let next = part["next"].as_str().expect("a cursor");
    assert_eq!(types(&events(&api, &format!("cursor={next}&types=order.*"))), ["order.sent"]);
    let part = api.get("/api/v1/events?types=order.*&limit=1").expect(200).json();
    assert_eq!(part["events"][0]["type"], "order.sent");
    let older = part["older"].as_str().expect("there is more");
    assert_eq!(types(&events(&api, &format!("before={older}&types=order.*"))), ["order.paid"]);

    let said = project.call(&["events", "list", "--type", "order.*", "--json"]).expect(0).json();
    assert_eq!(types(said.as_array().expect("a list")), ["order.paid", "order.sent"]);
    for (flags, found) in [
        (["--since", "1h", "--until", "2099-01-01"], 2),
        (["--since", "2099-01-01", "--until", "2099-01-02"], 0),
        (["--after", "1h", "--until", "1h"], 0),
        (["--since", "2001-01-01", "--after", "2099-01-01T00:00:00Z"], 0),
    ] {
        let list = [&["events", "list", "--type", "order.*", "--json"], &flags[..]].concat();
        let said = project.call(&list).expect(0).json();
        assert_eq!(said.as_array().map(Vec::len), Some(found), "{flags:?}");
    }
    project.call(&["events", "list", "--until", "soon"]).expect(2);
    let said = project.call(&["events", "list", "--key", "c7"]).expect(0).out;
    assert!(said.contains("order.sent") && !said.contains("order.paid"), "{said}");
    let args = ["events", "publish", "order.paid", "--key", "4711", "--json"];
    let again = project.call(&args).expect(0).json();
    assert_eq!((&again["new"], &again["event"]), (&json!(false), &json!(first)));
}

#[test]
fn what_became_of_an_event_is_told_with_it() {
    let (project, node, api) = shop();
    let waits = api.post("/api/v1/runs", &json!({"workflow": "waits"})).expect(201).json();
    let waits = waits["run"].as_str().expect("an id").to_owned();
    api.until("/api/v1/runs", |page| page["runs"][0]["status"] == "waiting");
    let of = |event: Json, is_told: &dyn Fn(&Json) -> bool| {
        let number = publish(&api, event);
        let told = api.until(&format!("/api/v1/events/{number}"), |told| is_told(&told["fate"]));
        let args = ["events", "show", &number.to_string(), "--json"];
        assert_eq!(project.call(&args).expect(0).json()["fate"], told["fate"]);
        told["fate"].clone()
    };
    let paid = json!({"type": "order.paid", "data": {"n": 7}});
    let started = of(paid, &|fate| fate["triggers"][0]["result"] == "succeeded");
    let trigger = &started["triggers"][0];
    assert_eq!(
        (&trigger["trigger"], &trigger["outcome"]),
        (&json!("shop/paid"), &json!("started"))
    );
    let run = trigger["run"].as_str().expect("a run");
    assert_eq!(api.get(&format!("/api/v1/runs/{run}")).expect(200).json()["status"], "success");
    let little = json!({"type": "order.paid", "data": {"n": 1}});
    let filtered = of(little, &|fate| fate["triggers"][0]["outcome"] == "filtered");
    assert_eq!(filtered["triggers"][0]["reason"], "event.data.n > 5 was not true");
    let got = of(json!({"type": "parcel.sent"}), &|fate| fate["runs"] == 1);
    assert_eq!(got["first_runs"], json!([waits]));
    let none = of(json!({"type": "order.piad"}), &|fate| !fate["hint"].is_null());
    assert_eq!(none["hint"], "shop/paid listens to order.paid: is that what was meant?");
    // What happens in a run is shown too, and nothing became of it.
    let of_run = &events(&api, &format!("run={run}"))[0];
    let path = format!("/api/v1/events/{}", of_run["id"].as_str().expect("an id"));
    let shown = api.get(&path).expect(200).json();
    assert_eq!((&shown["event"], &shown["fate"]), (of_run, &Json::Null));
    api.get("/api/v1/events/99999").refused(404, "not_found");
    api.get("/api/v1/events/x").refused(400, "invalid_request");

    let page = Browser::new(&project, &node, "viewer").page("/events?types=event.published");
    let of = |kind: &str| {
        page.split("<tr").find(|row| row.contains(kind)).unwrap_or_else(|| panic!("{kind}: {page}"))
    };
    assert!(of("order.piad").contains("Nothing listened to this"), "{page}");
    assert!(of("parcel.sent").contains(&format!("/runs/{waits}")), "{page}");
    assert!(page.contains(&format!("/runs/{run}")) && page.contains("was not true"), "{page}");
}

#[test]
fn no_secret_and_no_markup_comes_back_from_what_is_published() {
    let (project, node, api) = shop();
    let hostile = "<script>alert(1)</script>";
    let number = publish(
        &api,
        json!({
            "type": format!("evil.{hostile}"), "subject": hostile, "source": format!("/{SECRET}"),
            "data": {"key": SECRET, "text": hostile},
        }),
    );
    let viewer = Api::with_role(&project, &node, "viewer");
    let rows = json!({
        "format": moa_view::rows::FORMAT, "ask": {"events": {"after": 0, "rows": 99, "events": 99}},
    });
    for said in [
        viewer.get("/api/v1/events?types=evil.*"),
        viewer.get(&format!("/api/v1/events/{number}")),
        viewer.post("/api/v1/rows", &rows),
        viewer.get("/events"),
    ] {
        let body = said.expect(200).body;
        assert!(body.contains("evil.") && body.contains("***"), "{body}");
        assert!(!body.contains(SECRET), "{body}");
    }
    // Nor by looking for parts of it.
    for query in [format!("q={}", &SECRET[..5]), format!("source=/{SECRET}"), "q=***".to_owned()] {
        let found = events(&viewer, &format!("types=evil.*&{query}")).len();
        assert_eq!(found, usize::from(query == "q=***"), "{query}");
    }
    let page = viewer.get("/events").expect(200).body;
    assert!(!page.contains(hostile) && page.contains("&lt;script&gt;"), "{page}");
    // On a terminal nothing is obeyed.
    publish(&api, json!({"type": "evil.two", "subject": "a\u{1b}[31mb", "data": "\u{1b}[2J"}));
    let said = project.call(&["events", "list", "--type", "evil.two"]).expect(0).out;
    assert!(said.contains("evil.two") && !said.contains('\u{1b}'), "{said:?}");
}

#[test]
fn no_secret_comes_back_from_what_became_of_occurrences() {
    let (project, node, _api) = shop();
    node.stop();
    // The fault of a condition quotes what it was given.
    let quotes = "on: [{id: paid, event: order.paid, match: int(event.data.p) > 5}]";
    project.workflow("quotes", &format!("{quotes}\nsteps: [{{id: say, run: 'true'}}]\n"));
    let node = project.up();
    let api = Api::with_role(&project, &node, "operator");
    publish(&api, json!({"type": "order.paid", "data": {"p": SECRET}}));
    let path = "/api/v1/triggers/quotes%2Fpaid/slots";
    api.until(path, |page| page["occurrences"][0]["outcome"] == "failed");
    let viewer = Api::with_role(&project, &node, "viewer");
    let id = viewer.get("/api/v1/triggers/quotes").expect(200).json()["id"].clone();
    let filter = json!({"outcomes": [], "limit": 9});
    let ask = json!({"occurrences": {"trigger": id, "filter": filter}});
    let rows = json!({"format": moa_view::rows::FORMAT, "ask": ask});
    for said in [
        viewer.get(path),
        viewer.get("/schedules/quotes%2Fpaid"),
        viewer.post("/api/v1/rows", &rows),
    ] {
        let body = said.expect(200).body;
        assert!(body.contains("***") && body.contains("is not an int"), "{body}");
        assert!(!body.contains(SECRET), "{body}");
    }
    node.stop();
    for args in
        [&["triggers", "history", "quotes"][..], &["triggers", "history", "quotes", "--json"]]
    {
        let said = project.call(args).expect(0).out;
        assert!(said.contains("***") && !said.contains(SECRET), "{said}");
    }
}

/// Secrets of all sources, in all that is said of an event.
fn publish_secrets(project: &Project) {
    let [printer, stored, ours] = [SECRET, "xyzzy-stored-word", "plover-own-word"];
    project.write(".moa/secrets/OURS", ours);
    let data =
        format!(r#"{{"p": "{printer}", "s": "{stored}", "o": "{ours}", "e": "of-the-shell"}}"#);
    let flags = ["--source", printer, "--subject", printer, "--key", printer, "--data", &data];
    project.call(&[&["events", "publish", printer], &flags[..]].concat()).expect(0);
}

#[test]
fn commands_without_a_node_hide_secrets_too() {
    let (project, node, _api) = shop();
    let key = project.outside().join("key");
    project.write("moa.yaml", &format!("secrets: {{key_file: {}}}\n", key.display()));
    node.stop();
    project.call(&["secrets", "new-key", key.to_str().expect("UTF-8")]).expect(0);
    let mut set = project.command(&["secrets", "set", "STORED"]);
    let mut set = set.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut stdin = set.as_mut().expect("it starts").stdin.take().expect("it is piped");
    stdin.write_all(b"xyzzy-stored-word").expect("it is told");
    drop(stdin);
    Said::from(set.expect("it starts").wait_with_output().expect("it ends")).expect(0);
    publish_secrets(&project);
    let number = project.call(&["events", "list", "--json"]).expect(0).json();
    let number = number[0]["sequence"].as_u64().expect("a number").to_string();
    let words = [SECRET, "xyzzy-stored-word", "plover-own-word", "of-the-shell"];
    let asked: [&[&str]; 6] = [
        &["events", "list"],
        &["events", "list", "--json"],
        &["events", "tail"],
        &["events", "tail", "--json"],
        &["events", "show", &number],
        &["events", "show", &number, "--json"],
    ];
    for args in asked {
        let mut command = project.command(args);
        command.env("MOA_SECRET_SHELL", "of-the-shell");
        let said = Said::from(command.output().expect("it can be started")).expect(0);
        assert!(
            said.out.contains("***") && !said.err.contains("warning"),
            "{args:?}: {}",
            said.err
        );
        let shown =
            words.iter().find(|word| said.out.contains(**word) || said.err.contains(**word));
        assert_eq!(shown, None, "{args:?}: {}", said.out);
    }
    // Nor is one found by a guess.
    let guessed = project.call(&["events", "list", "--source", SECRET, "--json"]).expect(0);
    assert_eq!(guessed.json(), json!([]));

    // What can't be read can't be hidden, and that is said.
    std::fs::rename(&key, project.outside().join("elsewhere")).expect("it is moved");
    project.write("moa.yaml", &format!("secrets: {{key_file: {}}}\nwhat: 1\n", key.display()));
    let said = project.call(&["events", "list", "--json"]).expect(0);
    assert!(said.out.contains("xyzzy-stored-word") && !said.out.contains(SECRET), "{}", said.out);
    let warning = said.err.lines().find(|line| line.contains("secrets may be shown"));
    let warning = warning.unwrap_or_else(|| panic!("{}", said.err));
    assert!(warning.contains("STORED: ") && warning.contains("files have errors"), "{warning}");
}

#[test]
fn what_could_not_be_read_again_is_refused() {
    let (project, node, api) = shop();
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let cloud = "Content-Type: application/json\r\nCe-Specversion: 1.0\r\nCe-Id: 1\r\n\
                 Ce-Source: /x\r\nCe-Type: deep\r\n";
    let json = "Content-Type: application/json\r\n";
    for depth in [101, 126, 127] {
        let body = format!(r#"{{"type": "deep", "data": {}}}"#, nested(depth));
        api.send("POST", "/api/v1/events", json, &body).refused(400, "invalid_request");
        let said = api.send("POST", "/api/v1/events", cloud, &nested(depth));
        said.refused(400, "invalid_request");
    }
    let body = format!(r#"{{"type": "deep", "data": {}}}"#, nested(100));
    api.send("POST", "/api/v1/events", json, &body).expect(200);
    api.send("POST", "/api/v1/events", cloud, &nested(100)).expect(200);
    node.stop();
    let node = project.up();
    let api = Api::with_role(&project, &node, "operator");
    assert_eq!(types(&events(&api, "types=event.published")), ["deep", "deep"]);
}

#[test]
fn what_was_published_outlives_a_restart_and_a_restore() {
    let (project, node, api) = shop();
    publish(&api, json!({"type": "order.paid", "data": {"n": 7}, "key": "k"}));
    api.until("/api/v1/runs", |page| page["runs"][0]["status"] == "succeeded");
    node.stop();
    let listed = project.call(&["events", "list", "-n", "0", "--json"]).expect(0).json();
    let found = listed.as_array().expect("a list");
    let numbers: Vec<u64> = found.iter().filter_map(|event| event["sequence"].as_u64()).collect();
    assert!(numbers.is_sorted() && numbers.len() > 3 && numbers[0] == 1, "{listed}");
    assert_eq!(types(&found[..1]), ["order.paid"]);
    let copy = project.outside().join("copy");
    let copy = copy.to_str().expect("UTF-8");
    let made = project.call(&["backup", copy, "--json"]).expect(0).json();
    let made = made["path"].as_str().expect("a path");
    project.call(&["events", "publish", "order.late"]).expect(0);
    project.call(&["restore", made]).expect(0);
    let restored = project.call(&["events", "list", "-n", "0", "--json"]).expect(0).json();
    assert_eq!(restored, listed);
}
