//! Events of all runs, narrowed by filters: for people, for programs, and as they happen.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

use serde_json::{Value as Json, json};

use crate::http::Api;
use crate::pages::Browser;
use crate::project::{Node, Project};

const BROKEN: &str = "steps: [{id: bad, run: \"echo 'No Ink \\\"left\\\"' >&2; exit 3\", retry: {max_attempts: 1}}]\n";

/// Two workflows, each with a run that has ended.
fn shop() -> (Project, Node, [String; 2]) {
    let project = Project::with("fine", "steps: [{id: good, run: 'true'}]\n");
    project.workflow("broken", BROKEN);
    project.write("agents/press.yaml", "shell: 'true'\nactions: {print: {}}\n");
    project.workflow("prints", "steps: [{id: print, agent: press, action: print}]\n");
    let node = project.up();
    let ran = |workflow: &str, code: i32| {
        project.call(&["run", workflow, "-q"]).expect(code);
        let run = project.call(&["runs", "show", "last", "--json"]).expect(0).json();
        run["run"].as_str().expect("an id").to_owned()
    };
    let runs = [ran("fine", 0), ran("broken", 1)];
    ran("prints", 0);
    (project, node, runs)
}

/// Types and runs of the events that the API answers, the newest first.
fn told(api: &Api, query: &str) -> Vec<(String, String)> {
    let said = api.get(&format!("/api/v1/events{query}")).expect(200).json();
    let event = |event: &Json| {
        let kind = event["type"].as_str().expect("a type").trim_start_matches("moa.").to_owned();
        (kind, event["data"]["run"].as_str().expect("a run").to_owned())
    };
    said["events"].as_array().expect("events").iter().rev().map(event).collect()
}

/// The same of a page's list.
fn shown(page: &str) -> Vec<(String, String)> {
    let rows = page.split("<tr data-key=").skip(1).map(|row| {
        let kind = row.split("<td>").nth(1).and_then(|rest| rest.split('<').next());
        let run = row.split("href=\"/runs/").nth(1).and_then(|rest| rest.split('"').next());
        (kind.expect("a type").to_owned(), run.expect("a run").to_owned())
    });
    rows.collect()
}

#[test]
fn a_page_of_events_has_the_filters_of_the_api_in_its_address() {
    let (project, node, [fine, broken]) = shop();
    let api = Api::with_role(&project, &node, "viewer");
    let viewer = Browser::new(&project, &node, "viewer");
    let queries = [
        String::new(),
        "?types=step.*,run.failed".into(),
        format!("?run={fine}"),
        "?workflow=broken".into(),
        "?agent=press".into(),
        "?q=no+INK".into(),
        "?q=%22left%22+broken&types=*.failed".into(),
        "?workflow=broken&since=1h&until=2099-01-01".into(),
        "?since=2099-01-01".into(),
        "?until=1h".into(),
        format!("?run={fine}&workflow=broken"),
    ];
    let counts: Vec<usize> = queries
        .iter()
        .map(|query| {
            let page = viewer.page(&format!("/events{query}"));
            let more = if query.is_empty() { "?" } else { "&" };
            let found = told(&api, &format!("{query}{more}limit=200"));
            assert_eq!(shown(&page), found, "{query}");
            found.len()
        })
        .collect();
    assert!(counts[..8].iter().all(|count| *count > 0), "{counts:?}");
    assert_eq!(counts[8..], [0, 0, 0]);
    assert!(counts[1..].iter().all(|count| *count < counts[0]), "{counts:?}");
    let all = told(&api, "?workflow=broken&limit=200");
    assert!(all.iter().all(|(_, run)| *run == broken), "{all:?}");
    // What is asked for stands in the form, in the chips, in the way to older ones and in the JSON.
    let page = viewer.page("/events?workflow=broken&q=ink&before=9999");
    assert!(page.contains("<option value=\"broken\" selected>"), "{page}");
    assert!(page.contains("name=\"q\" value=\"ink\""), "{page}");
    assert!(page.contains("href=\"/events?types=run.*&amp;workflow=broken&amp;q=ink\""), "{page}");
    let json = "/api/v1/events?workflow=broken&amp;q=ink&amp;before=9999&amp;limit=200";
    assert!(page.contains(&format!("href=\"{json}\"")), "{page}");
    assert!(!page.contains("data-stream"), "what is older never changes");
    // The time of the first page holds on those that follow.
    let page = viewer.page("/events?since=2099-01-01&before=9999~0~9999999999999");
    assert_eq!(shown(&page).len(), counts[0], "{page}");
    assert!(page.contains("name=\"since\" value=\"2099-01-01\""), "{page}");
    let page = viewer.page("/events?until=2099-01-01");
    assert!(!page.contains("data-stream"), "what has an end is told when it is asked for");
    viewer.ask("/events?since=soon").expect(400);
    viewer.ask("/events?run=ffffffff").expect(404);
    viewer.ask(&format!("/events?q={}", "x".repeat(201))).expect(400);
    api.get(&format!("/api/v1/events?q={}", "x".repeat(201))).refused(400, "invalid_request");
}

#[test]
fn older_events_follow_without_a_gap() {
    let (project, node, _) = shop();
    let api = Api::with_role(&project, &node, "viewer");
    let whole = told(&api, "?limit=500");
    let ids = |said: &Json| -> Vec<String> {
        let all = said["events"].as_array().expect("events").iter();
        all.map(|event| event["id"].as_str().expect("an id").to_owned()).collect()
    };
    let all = ids(&api.get("/api/v1/events?after=0&limit=500").expect(200).json());
    let failed = ids(&api.get("/api/v1/events?after=0&q=broken&limit=500").expect(200).json());
    assert!(failed.len() > 3, "{failed:?}");
    // Most commits have more events than the smallest parts have room for.
    for (query, wanted) in [("", &all), ("&q=broken", &failed)] {
        for limit in [1, 2, 3, 7] {
            let mut parts = Vec::new();
            let first = format!("/api/v1/events?limit={limit}{query}");
            let mut path = first.clone();
            loop {
                let said = api.get(&path).expect(200).json();
                let mut part = ids(&said);
                part.append(&mut parts);
                parts = part;
                let Some(older) = said["older"].as_str() else { break };
                path = format!("{first}&before={older}");
                // What is behind an older part begins where the newer ones do.
                let next = said["next"].as_str().expect("a cursor");
                let rest = ids(&api.get(&format!("{first}&cursor={next}")).expect(200).json());
                let newer = parts.len() - ids(&said).len();
                let newer = &parts[parts.len() - newer..];
                assert_eq!(rest, newer[..newer.len().min(limit)], "{path}");
            }
            assert_eq!(&parts, wanted, "{first}");
        }
    }
    assert_eq!(whole.len(), all.len());
}

/// Server-sent messages of a page's stream: their ids.
fn listen(browser: &Browser, path: &str, last: Option<&str>) -> impl Iterator<Item = String> {
    let mut stream = TcpStream::connect(&browser.api.address).expect("it listens");
    let last = last.map(|id| format!("Last-Event-ID: {id}\r\n")).unwrap_or_default();
    let (host, cookie) = (&browser.api.address, &browser.cookie);
    let asked = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{cookie}{last}\r\n");
    stream.write_all(asked.as_bytes()).expect("it reads");
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.starts_with("content-type: text/event-stream")), "{path}");
    lines
        .filter_map(|line| Some(line.strip_prefix("id: ").or(line.strip_prefix("id:"))?.to_owned()))
}

#[test]
fn the_stream_of_a_page_has_its_filter_and_is_taken_up_where_it_broke() {
    let (project, node, _) = shop();
    let viewer = Browser::new(&project, &node, "viewer");
    let page = viewer.page("/events?workflow=broken&types=step.failed&q=ink");
    let path = page.split("data-stream=\"").nth(1).expect("a stream");
    let path = path.split('"').next().expect("its end").replace("&amp;", "&");
    let api = Api::with_role(&project, &node, "operator");
    let failed = |id: &str| {
        let seq: u64 = id.split('.').next().and_then(|seq| seq.parse().ok()).expect("a number");
        let said =
            api.get(&format!("/api/v1/events?after={}&limit=50", seq - 1)).expect(200).json();
        let found = said["events"].as_array().expect("events").iter().find(|e| e["id"] == id);
        let found = found.expect("it is there");
        (found["type"].clone(), found["data"]["run"].as_str().expect("a run").to_owned())
    };
    let ran = |workflow: &str| {
        let said = api.post("/api/v1/runs", &json!({"workflow": workflow})).expect(201).json();
        let run = said["run"].as_str().expect("an id").to_owned();
        api.ended(&run);
        run
    };
    let mut ids = listen(&viewer, &path, None);
    ran("fine");
    let run = ran("broken");
    let first = ids.next().expect("a message");
    assert_eq!(failed(&first), (json!("moa.step.failed"), run), "the first that fits");
    drop(ids);
    // While nobody listens.
    ran("fine");
    let missed = ran("broken");
    let next = listen(&viewer, &path, Some(&first)).next().expect("a message");
    assert_eq!(failed(&next), (json!("moa.step.failed"), missed));
    let nobody = Api::nobody(&node).get("/events/stream");
    assert_eq!(nobody.status, 401, "{nobody:?}");
}

#[test]
fn one_message_tells_a_page_of_all_that_has_happened_by_then() {
    let project = Project::with("note", "params: {text: {type: string}}\nsteps: [{run: 'true'}]\n");
    let node = project.up();
    let api = Api::with_role(&project, &node, "operator");
    let viewer = Browser::new(&project, &node, "viewer");
    let ran = |text: String| {
        let asked = json!({"workflow": "note", "params": {"text": text}});
        let said = api.post("/api/v1/runs", &asked).expect(201).json();
        api.ended(said["run"].as_str().expect("an id"));
    };
    // Much more than is looked at at once.
    (0..8).for_each(|_| ran("x".repeat(60_000)));
    let said = api.get("/api/v1/events?after=0&types=run.*&limit=2000").expect(200);
    assert!(said.body.len() > 400_000, "the events carry it: {}", said.body.len());
    let newest = said.json()["newest"].as_u64().expect("a number");
    let seq = |id: String| -> u64 {
        id.split('.').next().and_then(|seq| seq.parse().ok()).expect("a number")
    };
    let mut ids = listen(&viewer, "/events/stream?types=run.*&after=0", None).map(seq);
    assert!(ids.next().expect("a message") <= newest);
    ran("new".into());
    assert!(ids.next().expect("a message") > newest, "what is old is told of once");
}

#[test]
fn who_sees_the_runs_of_one_workflow_sees_its_events_alone() {
    let (project, node, [fine, _]) = shop();
    let narrow = Api::with_scopes(&project, &node, "viewer", &["runs:broken"]);
    let ask = |path: &str| narrow.send("GET", path, "Accept: text/html\r\n", "");
    ask("/events").expect(403);
    ask("/events?workflow=fine").expect(403);
    ask("/events/stream?workflow=fine").expect(403);
    let page = ask("/events?workflow=broken").expect(200).body;
    assert!(!shown(&page).is_empty() && !page.contains(&fine), "{page}");
    assert!(!page.contains("value=\"fine\"") && !page.contains("value=\"press\""), "{page}");
}
