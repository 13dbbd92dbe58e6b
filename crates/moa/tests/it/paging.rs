//! Lists of the API come in pages: every one that the document names, whatever it lists.

use std::collections::BTreeSet;

use serde_json::{Value as Json, json};

use crate::http::{Answer, Api};
use crate::notify::Receiving;
use crate::pages::Browser;
use crate::project::{Node, Project};

/// Three of each: steps with logs and outputs that are too large for a history, and a schedule.
const WORK: &str = r#"
schedule: {cron: '0 3 * * *'}
steps:
  - {id: a, run: 'echo log; (printf "[0"; seq -f ,%.0f 1 60000; echo "]") > "$MOA_OUTPUT"'}
  - {id: b, run: 'echo log; (printf "[0"; seq -f ,%.0f 2 60000; echo "]") > "$MOA_OUTPUT"'}
  - {id: c, run: 'echo log; (printf "[0"; seq -f ,%.0f 3 60000; echo "]") > "$MOA_OUTPUT"'}
"#;
const FAIL: &str = "\
schedule: {cron: '0 4 * * *'}
steps: [{agent: writer, action: go, retry: {max_attempts: 1}}]
";
const ASK: &str = "\
schedule: {cron: '0 5 * * *'}
steps: [{id: ask, approve: {title: 'go on?'}}]
";

fn project(url: &str) -> Project {
    let project = Project::with("work", WORK);
    project.workflow("fail", FAIL);
    project.workflow("fails", FAIL);
    project.workflow("ask", ASK);
    let agent = "command: ['false']\nrate_limit: 5000/1h, 50000/1d\n";
    project.write("agents/writer.yaml", agent);
    project.write("agents/reader.yaml", agent);
    let types = "types: [moa.webhook.test]";
    project.write(
        "moa.yaml",
        &format!(
            "webhooks:\n  one: {{url: '{url}', {types}}}\n  two: {{url: '{url}', {types}}}\n\
             secrets: {{key_file: ../key}}\n\
             notify: {{channels: {{log: {{file: log.jsonl}}, more: {{file: more.jsonl}}}}}}\n\
             alerts: {{rules: {{disk: {{free: 1000TiB}}, dead: {{enabled: true}}}}}}\n\
             targets:\n  tasks_completed: {{day: {{minimum: 5}}, month: {{minimum: 9}}}}\n\
             \x20 tasks_failed: {{day: {{maximum: 5}}}}\n"
        ),
    );
    let key = project.outside().join("key");
    project.call(&["secrets", "new-key", key.to_str().expect("UTF-8")]).expect(0);
    project
}

/// Fills a node with some of everything; answers the run whose parts are listed.
fn fill(project: &Project, api: &Api, receiver: &Receiving) -> String {
    // A version is kept when a run is started of it.
    for label in ["'2'", "'3'"] {
        let run = api.post("/api/v1/workflows/work/execute", &json!({})).expect(201).json();
        api.ended(run["run"].as_str().expect("an id"));
        project.workflow("work", &format!("version: {label}\n{WORK}"));
    }
    let said = project.call(&["run", "work", "--json"]).expect(0).json();
    let run = said["workflowId"].as_str().expect("an id").to_owned();
    for workflow in ["fail", "fails"] {
        project.call(&["run", workflow, "-q"]).expect(1);
    }
    for n in 0..3 {
        api.post("/api/v1/runs", &json!({"workflow": "ask"})).expect(201);
        let filter = json!({"status": "open", "q": n.to_string()});
        let headers = "Content-Type: application/json\r\n";
        let put = |path: String, body: Json| api.send("PUT", &path, headers, &body.to_string());
        put(format!("/api/v1/views/No%2{n}%20{n}"), filter).expect(201);
        put(format!("/api/v1/secrets/S{n}"), json!({"value": "a-value"})).expect(200);
        let rule = json!({"name": format!("r{n}"), "run": "ask", "on": {"event": "x.y"}});
        api.post("/api/v1/rules", &rule).expect(201);
        api.post("/api/v1/webhooks/one/test", &json!(null)).expect(202);
        receiver.next();
    }
    let delivered = |page: &Json| {
        let all = page["deliveries"].as_array().expect("a list");
        all.len() == 3 && all.iter().all(|one| one["state"] == "delivered")
    };
    api.until("/api/v1/webhooks/one/deliveries", delivered);
    let range = json!({"from": "2026-01-01", "to": "2026-01-05", "at_once": 4});
    api.post("/api/v1/triggers/ask/backfill", &range).expect(200);
    api.until("/api/v1/runs?workflow=ask&status=waiting", |page| {
        page["runs"].as_array().is_some_and(|runs| runs.len() == 7)
    });
    project.call(&["jobs", "run", "alerts"]).expect(0);
    run
}

/// What an entry is known by, where the rest of it changes by itself.
fn identity(path: &str, entry: &Json) -> Json {
    let known_by: &[&str] = match path {
        "/api/v1/nodes" => &["node"],
        "/api/v1/jobs" => &["name"],
        "/api/v1/alerts" => &["key", "state"],
        "/api/v1/tokens" => &["id"],
        "/api/v1/metrics" => &["metric"],
        "/api/v1/targets" => &["metric", "period"],
        "/api/v1/triggers" | "/api/v1/schedules" => &["name"],
        _ => return entry.clone(),
    };
    known_by.iter().map(|key| entry[*key].clone()).collect()
}

struct List {
    path: String,
    /// Where its entries stand; none = the answer is the list.
    key: Option<String>,
    params: BTreeSet<String>,
}

/// Every path of the document that answers a list.
fn lists(document: &Json) -> Vec<List> {
    // What is no list though it holds one: nothing of it grows with what people do.
    let others = [
        ("/api/v1/agents/{agent}", "endpoints"),
        ("/api/v1/agents/{agent}/health", "limits"),
        ("/api/v1/audit/verify", "findings"),
        ("/api/v1/calendar", "days"),
        ("/api/v1/health", "jobs"),
        ("/api/v1/metrics/history", "points"),
        // The first of each, as its page shows them: the lists of their own have pages.
        ("/api/v1/overview", "running"),
        ("/api/v1/runs/{run}", "steps"),
        // Bounded, and says what it leaves out.
        ("/api/v1/runs/{run}/compare", "changes"),
        // As its page shows them: the lists of their own have pages.
        ("/api/v1/settings", "jobs"),
        ("/api/v1/state", "workflows"),
        ("/api/v1/workflows/{workflow}", "params"),
        ("/api/v1/workflows/{workflow}/diff", "changes"),
        ("/api/workflows/{id}", "steps"),
    ];
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        let operation = &item["get"];
        let schema = &operation["responses"]["200"]["content"]["application/json"]["schema"];
        let named = schema["$ref"].as_str().and_then(|name| name.strip_prefix('#'));
        let schema = named.map_or(schema, |name| document.pointer(name).expect("a schema"));
        let is_array = |key: &String| schema["properties"][key]["type"] == "array";
        let keys = schema["properties"].as_object().into_iter().flat_map(|all| all.keys());
        let keys: Vec<String> = keys.filter(|key| is_array(key)).cloned().collect();
        if let Some((_, key)) = others.iter().find(|(other, _)| other == path) {
            assert!(is_array(&(*key).to_owned()), "{path} has no {key}: {keys:?}");
            continue;
        }
        if keys.is_empty() && schema["type"] != "array" {
            continue;
        }
        assert!(keys.len() < 2, "{path} lists {keys:?}");
        let params = operation["parameters"].as_array().into_iter().flatten();
        let params = params.filter_map(|param| param["name"].as_str().map(str::to_owned));
        let (path, key) = (path.clone(), keys.into_iter().next());
        found.push(List { path, key, params: params.collect() });
    }
    for (path, _) in others {
        assert!(document["paths"][path]["get"].is_object(), "{path} is gone");
    }
    found
}

impl List {
    fn entries(&self, answer: &Answer) -> Vec<Json> {
        let value = answer.json();
        let list = self.key.as_ref().map_or(&value, |key| &value[key]);
        list.as_array().unwrap_or_else(|| panic!("{}: {value}", self.path)).clone()
    }

    /// Where the next page begins.
    fn next(&self, answer: &Answer) -> Option<String> {
        if self.key.is_none() {
            return answer.header("x-next").map(str::to_owned);
        }
        let value = answer.json();
        assert!(value.as_object().is_some_and(|o| o.contains_key("next")), "{}", self.path);
        match &value["next"] {
            Json::Null => None,
            Json::String(next) => Some(next.clone()),
            number => Some(number.to_string()),
        }
    }

    /// The whole list, read in pages of so many, and the pages.
    fn walk(&self, api: &Api, path: &str, limit: usize) -> (Vec<Json>, usize) {
        let (mut all, mut pages, mut cursor) = (Vec::new(), 0, None::<String>);
        loop {
            let mut filter = format!("?limit={limit}");
            if self.params.contains("after") && self.path == "/api/v1/events" {
                // All that is kept, not the newest.
                filter.push_str("&after=0");
            }
            if self.params.contains("all") {
                filter.push_str("&all=true");
            }
            // What would be done has to be said.
            match self.path.rsplit('/').next() {
                Some("bulk") => filter.push_str("&action=cancel&status=open"),
                Some("backfill") => filter.push_str("&from=2026-01-01&to=2026-01-09"),
                _ => {}
            }
            if let Some(cursor) = &cursor {
                filter.push_str(&format!("&cursor={}", encoded(cursor)));
            }
            let answer = api.get(&format!("{path}{filter}")).expect(200);
            all.extend(self.entries(&answer));
            pages += 1;
            let next = self.next(&answer);
            // Events have always a next page, since more may happen; slots come without end.
            let ended = next.is_none() || next == cursor;
            if ended || self.path.ends_with("/next") && all.len() >= 20 {
                return (all, pages);
            }
            cursor = next;
        }
    }
}

fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

fn check(api: &Api, list: &List, run: &str) {
    for param in ["limit", "cursor"] {
        assert!(list.params.contains(param), "{} has no {param}", list.path);
    }
    let mut path = list.path.clone();
    let fill = [("{run}", run), ("{workflow}", "work"), ("{webhook}", "one")];
    for (part, value) in fill.into_iter().chain([("{trigger}", "ask")]) {
        path = path.replace(part, value);
    }
    api.get(&format!("{path}?limit=0")).refused(400, "invalid_request");
    api.get(&format!("{path}?limit=100000")).refused(400, "invalid_request");
    // A page of the largest size that this one takes holds all that there is here.
    let is_smaller = path.ends_with("/deliveries") || path.ends_with("/bulk");
    let large = if is_smaller { 200 } else { 500 };
    let large = if path.ends_with("/next") { 20 } else { large };
    let (whole, _) = list.walk(api, &path, large);
    let of = |all: &[Json]| all.iter().map(|e| identity(&list.path, e)).collect::<Vec<_>>();
    let whole = of(&whole);
    let unlike: BTreeSet<String> = whole.iter().map(Json::to_string).collect();
    assert_eq!(unlike.len(), whole.len(), "{path} names something twice: {whole:?}");
    let least = if path == "/api/v1/nodes" { 1 } else { 2 };
    assert!(whole.len() >= least, "{path} lists too little: {whole:?}");
    for limit in [1, 2] {
        let (parts, pages) = list.walk(api, &path, limit);
        assert_eq!(of(&parts), whole, "{path} in pages of {limit}");
        // Of a run in the list of tasks, and of a commit in a history, all is told at once.
        assert!(pages > 1 || whole.len() <= limit, "{path} has one page");
    }
}

#[test]
fn a_page_that_shows_all_links_all_of_it() {
    let project = Project::with("w0", "schedule: {cron: '0 3 * * *'}\nsteps: [{run: 'true'}]\n");
    for n in 1..=50 {
        let cron = "schedule: {cron: '0 4 * * *'}\nsteps: [{run: 'true'}]\n";
        project.workflow(&format!("w{n}"), cron);
        project.write(&format!("agents/a{n}.yaml"), "command: ['true']\n");
    }
    let node = project.up();
    let browser = Browser::new(&project, &node, "admin");
    let api = Api::with_role(&project, &node, "admin");
    let pages = [
        ("/workflows", "workflows", 51),
        ("/agents", "agents", 50),
        ("/schedules", "triggers", 51),
        ("/alerts", "alerts", 0),
        ("/settings/config", "settings", 2),
        ("/charts/production", "metrics", 2),
    ];
    for (page, key, least) in pages {
        let shown = browser.page(page);
        let path = shown.split("href=\"/api/v1/").nth(1).and_then(|rest| rest.split('"').next());
        let path = path.expect("a page has its JSON").replace("&amp;", "&");
        let answer = api.get(&format!("/api/v1/{path}")).expect(200).json();
        assert_eq!(answer["next"], Json::Null, "{page}: {path}");
        let many = answer[key].as_array().unwrap_or_else(|| panic!("{page}: {answer}")).len();
        assert!(many >= least && path.contains("limit=500"), "{page}: {path}: {many}");
    }
}

#[test]
fn a_version_that_comes_again_while_somebody_pages_is_seen_once() {
    let text = |n: u32| format!("steps: [{{run: 'echo {n}'}}]\n");
    let project = Project::with("work", &text(1));
    for n in 1..=4 {
        project.workflow("work", &text(n));
        project.call(&["run", "work", "-q"]).expect(0);
    }
    let node = project.up();
    let api = Api::with_role(&project, &node, "operator");
    let path = "/api/v1/workflows/work/versions";
    let hashes = |page: &Json| {
        let all = page["versions"].as_array().expect("versions").iter();
        all.map(|one| one["hash"].as_str().expect("a hash").to_owned()).collect::<Vec<_>>()
    };
    let whole = hashes(&api.get(path).expect(200).json());
    let first = api.get(&format!("{path}?limit=2")).expect(200).json();
    assert_eq!((whole.len(), hashes(&first)), (4, whole[..2].to_vec()));
    // The last one of that page becomes the newest.
    project.workflow("work", &text(3));
    project.call(&["run", "work", "-q"]).expect(0);
    assert_eq!(hashes(&api.get(&format!("{path}?limit=1")).expect(200).json()), whole[1..2]);
    let next = first["next"].as_str().expect("a cursor");
    let second = api.get(&format!("{path}?limit=2&cursor={next}")).expect(200).json();
    assert_eq!((hashes(&second), &second["next"]), (whole[2..].to_vec(), &Json::Null));
    api.get(&format!("{path}?cursor=nonsense")).refused(400, "invalid_request");
}

#[test]
fn a_cursor_outside_of_time_is_none() {
    let project = project("http://127.0.0.1:1");
    let node = project.up();
    let api = Api::with_role(&project, &node, "admin");
    for far in [i64::MIN, i64::MAX, 253_402_207_201_000] {
        let path = format!("/api/v1/triggers/work/next?cursor={far}");
        api.get(&path).refused(400, "invalid_request");
    }
    for far in [-377_705_023_201_000, 253_402_207_200_999_i64] {
        api.get(&format!("/api/v1/triggers/work/next?limit=1&cursor={far}")).expect(200);
    }
    let newest = format!("/api/v1/audit?after={}", u64::MAX);
    assert_eq!(api.get(&newest).expect(200).json()["acts"], json!([]));
}

#[test]
fn every_list_is_walked_page_by_page_without_gap_or_double() {
    let receiver = Receiving::new(|_| Some("200 OK"));
    let project = project(&receiver.url);
    let node: Node = project.up();
    let api = Api::with_role(&project, &node, "admin");
    Api::with_role(&project, &node, "viewer");
    let run = fill(&project, &api, &receiver);
    let document = api.get("/api/v1/openapi.json").expect(200).json();
    let lists = lists(&document);
    assert!(lists.len() > 25, "{}", lists.len());
    for list in &lists {
        check(&api, list, &run);
    }
}

/// Publishes an event after the instant up to which a cursor goes: `PLACE~SINCE~UNTIL`.
fn publish_behind(api: &Api, cursor: &str) {
    let until = cursor.rsplit('~').next().and_then(|until| until.parse::<i64>().ok());
    let until = until.unwrap_or_else(|| panic!("it has no time: {cursor}"));
    loop {
        let said = api.post("/api/v1/events", &json!({"type": "late"})).expect(200).json();
        let event = api.get(&format!("/api/v1/events/{}", said["sequences"][0])).expect(200).json();
        let at = event["event"]["time"].as_str().and_then(|at| at.parse::<jiff::Timestamp>().ok());
        if at.is_some_and(|at| at.as_millisecond() > until) {
            return;
        }
    }
}

#[test]
fn all_pages_are_of_the_time_that_the_first_one_was_asked_for() {
    let project = Project::with("work", "steps: [{run: 'true'}]\n");
    let node = project.up();
    let api = Api::with_role(&project, &node, "admin");
    for n in 0..3 {
        api.post("/api/v1/events", &json!({"type": "early", "data": n})).expect(200);
    }
    let walk = |path: &str, all: &str, first: Json, on: &str| {
        let mut cursor = first[on].as_str().expect("a cursor").to_owned();
        publish_behind(&api, &cursor);
        let mut told = first[all].as_array().expect("a list").clone();
        loop {
            let page = api.get(&format!("{path}&{}={cursor}", param(on))).expect(200).json();
            told.extend(page[all].as_array().expect("a list").clone());
            match page[on].as_str() {
                Some(next) if next != cursor => cursor = next.to_owned(),
                _ => return told,
            }
        }
    };
    // Its first page is asked for when all of it is older than that.
    let first = |path: &str, all: &str| {
        api.until(path, |page| page[all].as_array().is_some_and(|all| !all.is_empty()))
    };
    let path = "/api/v1/events?types=early,late&limit=2&since=1h&until=1ms";
    let start = format!("{path}&after=0");
    let events = walk(path, "events", first(&start, "events"), "next");
    let types: Vec<&Json> = events.iter().map(|event| &event["type"]).collect();
    assert!(types.len() <= 3 && types.iter().all(|kind| *kind == "early"), "{types:?}");

    // The log goes on in both ways; each event is an act.
    let path = "/api/v1/audit?action=event.*&limit=1&until=1ms";
    let before = api.get("/api/v1/audit?action=event.*&limit=500").expect(200).json();
    let known = before["acts"].as_array().expect("acts").len();
    let newer = walk(path, "acts", first(&format!("{path}&after=1"), "acts"), "previous");
    assert!(newer.len() <= known, "{newer:?}");
    let older = walk(path, "acts", first(path, "acts"), "next");
    assert!(older.len() > 1 && older.iter().any(|act| *act == newer[0]), "{older:?}");
}

/// The parameter that an answer's key is for.
fn param(key: &str) -> &'static str {
    if key == "previous" { "after" } else { "cursor" }
}
