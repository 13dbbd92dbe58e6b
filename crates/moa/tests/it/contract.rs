//! The API's document says the truth: every call that it names is made, and each answer is as it says.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

use serde_json::{Value as Json, json};

use crate::http::{Answer, Api};
use crate::project::Project;

const WORKFLOW: &str = "\
params:
  name: {type: string, default: you}
schedule: {cron: '0 3 * * *'}
steps:
  - {id: say, run: echo log}
  - {id: ask, approve: {title: 'go on?'}}
";

/// What every response wears, whatever is asked for.
const WORN: [&str; 14] = [
    "cache-control",
    "connection",
    "content-length",
    "content-security-policy",
    "content-type",
    "cross-origin-opener-policy",
    "cross-origin-resource-policy",
    "date",
    "referrer-policy",
    "transfer-encoding",
    "vary",
    "x-accel-buffering",
    "x-content-type-options",
    "x-frame-options",
];

/// The document, what has been called and answered of it, and somebody who may call.
pub struct Contract {
    pub document: Json,
    api: Api,
    /// `GET /healthz 200`, and `GET /healthz 200 x-next` for each header beside [`WORN`].
    answered: BTreeSet<String>,
}

impl Contract {
    pub fn new(api: Api) -> Self {
        let mut document = api.get("/api/v1/openapi.json").expect(200).json();
        let schemas = document["components"]["schemas"].as_object_mut().expect("schemas");
        schemas.values_mut().for_each(close);
        Self { document, api, answered: BTreeSet::new() }
    }

    /// Makes a call of the document; answers what came.
    #[track_caller]
    fn call(&mut self, method: &str, path: &str, fill: &[&str], body: Option<Json>) -> Answer {
        let (kind, body) = match body {
            Some(body) => ("Content-Type: application/json\r\n", body.to_string()),
            None => ("", String::new()),
        };
        self.call_with(method, path, fill, kind, &body)
    }

    /// The same with headers and a body as they are.
    #[track_caller]
    fn call_with(
        &mut self,
        method: &str,
        path: &str,
        fill: &[&str],
        headers: &str,
        body: &str,
    ) -> Answer {
        let mut filled = path.to_owned();
        for value in fill {
            let start = filled.find('{').expect("a part to fill");
            let end = filled.find('}').expect("a part to fill");
            filled.replace_range(start..=end, value);
        }
        let answer = self.api.send(method, &filled, headers, body);
        self.check(method, path.split('?').next().unwrap_or(path), &answer);
        answer
    }

    #[track_caller]
    pub fn check(&mut self, method: &str, path: &str, answer: &Answer) {
        let operation = &self.document["paths"][path][method.to_ascii_lowercase()];
        assert!(operation.is_object(), "{method} {path} is not documented");
        let mut response = &operation["responses"][answer.status.to_string()];
        if response.is_null() && answer.status >= 400 {
            response = &operation["responses"]["default"];
        }
        assert!(response.is_object(), "{method} {path}: {answer:?} is not documented");
        let call = format!("{method} {path} {}", answer.status);
        for (name, value) in answer.headers() {
            if WORN.contains(&name.as_str()) || name == moa_server::outside::REQUEST.as_str() {
                continue;
            }
            let said = &response["headers"][&name]["schema"]["type"];
            let fits = match said.as_str() {
                Some("integer") => value.parse::<u64>().is_ok(),
                Some("string") => !value.is_empty(),
                _ => panic!("{call}: its header {name} is not documented"),
            };
            assert!(fits, "{call}: {name}: {value} is no {said}");
            self.answered.insert(format!("{call} {name}"));
        }
        self.answered.insert(call);
        let Some(content) = response["content"].as_object() else {
            assert_eq!(answer.body, "", "{method} {path}");
            return;
        };
        let kind = answer.header("content-type").expect("a media type");
        let kind = kind.split(';').next().unwrap_or(kind);
        let said = content.get(kind).unwrap_or_else(|| panic!("{method} {path}: {kind}"));
        if kind.ends_with("json") {
            let mut schema = said["schema"].clone();
            schema["components"] = self.document["components"].clone();
            let validator = jsonschema::validator_for(&schema).expect("a schema");
            let value = answer.json();
            let wrong: Vec<String> = validator
                .iter_errors(&value)
                .map(|e| format!("{}: {e}", e.instance_path()))
                .collect();
            assert!(wrong.is_empty(), "{method} {path}: {wrong:?}\n{value:#}");
        }
    }

    /// Every answer of every operation but refusals, which all may give, and each of its headers.
    fn named(&self) -> BTreeSet<String> {
        let mut named = BTreeSet::new();
        for (path, item) in self.document["paths"].as_object().expect("paths") {
            for (method, operation) in item.as_object().expect("operations") {
                let responses = operation["responses"].as_object().expect("responses");
                for (status, response) in responses.iter().filter(|(s, _)| *s != "default") {
                    let call = format!("{} {path} {status}", method.to_ascii_uppercase());
                    let headers = response["headers"].as_object().into_iter().flatten();
                    named.extend(headers.map(|(name, _)| format!("{call} {name}")));
                    named.insert(call);
                }
            }
        }
        named
    }

    /// Asks again for what is there already, so to speak.
    #[track_caller]
    fn unchanged(&mut self, path: &str, fill: &[&str], answer: &Answer) {
        let tag = answer.header("etag").expect("a tag");
        let headers = format!("If-None-Match: {tag}\r\n");
        let again = self.call_with("GET", path, fill, &headers, "").expect(304);
        assert_eq!(again.header("etag"), Some(tag));
    }

    /// What comes first of an answer that doesn't end: its head, and the first lines behind it.
    #[track_caller]
    fn begin_of(&mut self, path: &str, headers: &str, lines: usize) -> Answer {
        let mut stream = TcpStream::connect(&self.api.address).expect("it listens");
        let (host, token) = (&self.api.address, self.api.token());
        let head = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{headers}");
        let request = format!("{head}Authorization: Bearer {token}\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("it reads");
        let (mut text, mut reader) = (String::new(), BufReader::new(stream));
        while !text.ends_with("\r\n\r\n") {
            assert!(reader.read_line(&mut text).expect("it answers") > 0, "{text}");
        }
        for _ in 0..lines {
            assert!(reader.read_line(&mut text).expect("it answers") > 0, "{text}");
        }
        let answer = Answer::read(&text);
        self.check("GET", path.split('?').next().unwrap_or(path), &answer);
        answer
    }
}

/// What an object doesn't name it doesn't have: a field that is forgotten in the document is found.
fn close(schema: &mut Json) {
    if schema["properties"].is_object() && schema["additionalProperties"].is_null() {
        schema["additionalProperties"] = false.into();
    }
}

#[test]
fn every_documented_call_answers_as_documented() {
    let project = Project::with("hello", WORKFLOW);
    // There is something wrong from the start.
    project.write(
        "moa.yaml",
        "targets: {tasks_completed: {day: {minimum: 5, target: 9}}}\n\
         alerts: {rules: {disk: {free: 1000TiB}}}\n\
         secrets: {key_file: ../key}\n\
         notify: {channels: {log: {file: log.jsonl}}}\n\
         webhooks: {nobody: {url: 'http://127.0.0.1:9/', types: [run.failed]}}\n",
    );
    let large = "(printf '[0'; seq -f ,%.0f 2 60000; echo ']') > \"$MOA_OUTPUT\"";
    project.workflow("large", &format!("steps: [{{run: {}}}]\n", json!(large)));
    project.workflow("hook", "on: {webhook: {signature: none}}\nsteps: [{run: 'true'}]\n");
    let key = project.outside().join("key");
    project.call(&["secrets", "new-key", key.to_str().expect("UTF-8")]).expect(0);
    let node = project.up();
    let mut c = Contract::new(Api::with_role(&project, &node, "admin"));
    for path in ["/healthz", "/readyz", "/metrics"] {
        c.call("GET", path, &[], None).expect(200);
    }
    for path in ["health", "state", "overview", "me"] {
        c.call("GET", &format!("/api/v1/{path}"), &[], None).expect(200);
    }
    c.call("GET", "/api/v1/openapi.json", &[], None).expect(200);
    let ask = json!({"format": moa_view::rows::FORMAT, "ask": "totals"});
    c.call("POST", "/api/v1/rows", &[], Some(ask)).expect(200);
    let whole = c.call("POST", "/api/v1/backup", &[], Some(json!({"logs": true}))).expect(200);
    assert_eq!(whole.header("content-type"), Some("application/x-tar"));
    let run = runs(&mut c);
    repeats(&mut c, &run);
    many_runs(&mut c, &run);
    workflows(&mut c);
    triggers(&mut c);
    links_and_channels(&mut c);
    agents_and_events(&mut c);
    alerts_and_metrics(&mut c);
    edits(&mut c);
    rules(&mut c);
    webhooks(&mut c);
    secrets_and_audit(&mut c);
    let made = c.call("POST", "/api/v1/tokens", &[], Some(json!({"name": "t", "role": "viewer"})));
    let id = made.expect(201).json()["id"].as_str().expect("an id").to_owned();
    c.call("GET", "/api/v1/tokens", &[], None).expect(200);
    let settings = c.call("GET", "/api/v1/settings", &[], None).expect(200).json();
    assert!(settings["tokens"].as_array().is_some_and(|all| !all.is_empty()), "{settings}");
    c.call("DELETE", "/api/v1/tokens/{token}", &[&id], None).expect(204);
    streams(&mut c);
    not_changed(&mut c, &run);
    // A node that can't work is brought about elsewhere.
    c.answered.insert("GET /readyz 503".into());
    let forgotten: Vec<String> = c.named().difference(&c.answered).cloned().collect();
    assert_eq!(forgotten, Vec::<String>::new());
}

fn streams(c: &mut Contract) {
    let path = "/api/v1/events/stream?after=0";
    // HTTP/1.1 sends it in chunks: each event is one, with its length before it.
    let told = c.begin_of(path, "", 4).expect(200).body;
    let field = |name: &str| {
        let line = told.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("no {name} in {told}")).to_owned()
    };
    let event: Json = serde_json::from_str(&field("data: ")).expect("it is JSON");
    let (id, kind) = (field("id: "), format!("moa.{}", field("event: ")));
    assert_eq!((&event["id"], &event["type"]), (&json!(id), &json!(kind)));
    assert_eq!(event["specversion"], "1.0");
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let switched = c.begin_of(path, upgrade, 0).expect(101);
    // That of the key in RFC 6455.
    assert_eq!(switched.header("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
}

/// What a client has already isn't sent again.
fn not_changed(c: &mut Contract, run: &str) {
    for path in ["/api/v1/runs/{run}", "/api/v1/runs/{run}/document"] {
        let answer = c.call("GET", path, &[run], None).expect(200);
        c.unchanged(path, &[run], &answer);
    }
    let answer = c.call("GET", "/api/v1/openapi.json", &[], None).expect(200);
    c.unchanged("/api/v1/openapi.json", &[], &answer);
    let path = "/api/v1/workflows/{workflow}/source";
    let answer = c.call("GET", path, &["hello"], None).expect(200);
    c.unchanged(path, &["hello"], &answer);
}

/// An output that is too large for a history.
fn artifacts(c: &mut Contract) {
    let started = c.call("POST", "/api/v1/workflows/{workflow}/execute", &["large"], None);
    let run = started.expect(201).json()["run"].as_str().expect("an id").to_owned();
    assert_eq!(c.api.ended(&run)["status"], "success");
    let path = "/api/v1/runs/{run}/artifacts";
    let listed = c.call("GET", path, &[&run], None).expect(200).json();
    let item = listed["artifacts"][0].clone();
    let artifact = item["artifact"].as_str().expect("a hash").to_owned();
    let path = "/api/v1/runs/{run}/artifacts/{artifact}";
    let content = c.call("GET", path, &[&run, &artifact], None).expect(200);
    assert_eq!(content.header("content-type"), Some("application/octet-stream"));
    let length = content.header("content-length").and_then(|n| n.parse::<usize>().ok());
    assert_eq!(length, Some(content.body.len()));
    assert_eq!(item["bytes"], json!(content.body.len()));
    assert_eq!(blake3::hash(content.body.as_bytes()).to_string(), artifact);
    assert_eq!(content.json()[59_999], 60_000);
    assert_eq!(content.header("cache-control"), Some("private, max-age=31536000, immutable"));
    let name = format!("attachment; filename=\"{artifact}.json\"");
    assert_eq!(content.header("content-disposition"), Some(name.as_str()));
    c.unchanged(path, &[&run, &artifact], &content);
}

fn begin(c: &mut Contract) -> String {
    let started =
        c.call("POST", "/api/v1/runs", &[], Some(json!({"workflow": "hello"}))).expect(201);
    let run = started.json()["run"].as_str().expect("an id").to_owned();
    let path = "/api/v1/runs/{run}/steps";
    // Until the approval is asked for.
    let waits = |document: &Json| document["steps"][1]["status"] == "waiting";
    c.api.until(&path.replace("{run}", &run), waits);
    c.call("GET", path, &[&run], None).expect(200);
    run
}

fn runs(c: &mut Contract) -> String {
    let run = begin(c);
    let result = c.call("GET", "/api/v1/runs/{run}", &[&run], None).expect(200).json();
    assert_eq!(result["status"], "running");
    for part in ["document", "document?at=2", "steps?at=2", "history", "why", "logs"] {
        c.call("GET", &format!("/api/v1/runs/{{run}}/{part}"), &[&run], None).expect(200);
    }
    c.call("GET", "/api/v1/runs/{run}/logs/{step}/{attempt}", &[&run, "say", "1"], None)
        .expect(200);
    let step = c.call("GET", "/api/v1/runs/{run}/steps/{step}", &[&run, "say"], None).expect(200);
    assert_eq!(step.json()["step"]["input"]["script"], "echo log");
    for change in ["pause", "resume"] {
        c.call("POST", &format!("/api/v1/runs/{{run}}/{change}"), &[&run], None).expect(200);
    }
    let signal = json!({"name": "approve.ask", "payload": {"approved": false}});
    c.call("POST", "/api/v1/runs/{run}/signal", &[&run], Some(signal)).expect(200);
    let result = c.api.ended(&run);
    assert_eq!(result["status"], "failure");
    c.call("GET", "/api/v1/runs/{run}", &[&run], None).expect(200);
    c.call("GET", "/api/v1/runs?status=failed&limit=10", &[], None).expect(200);
    let other = begin(c);
    c.call("POST", "/api/v1/runs/{run}/cancel", &[&other], Some(json!({"reason": "no"})))
        .expect(200);
    let other = begin(c);
    c.call("POST", "/api/v1/runs/{run}/terminate", &[&other], None).expect(200);
    run
}

fn repeats(c: &mut Contract, run: &str) {
    for (act, body) in [("retry", json!(null)), ("rerun", json!({"from": "ask"}))] {
        twice(c, &format!("/api/v1/runs/{{run}}/{act}"), run, &body);
    }
    twice(c, "/api/v1/runs/{run}/fork", run, &json!({"params": {"name": "bob"}}));
    twice(c, "/api/v1/runs", "", &json!({"workflow": "hello"}));
    twice(c, "/api/v1/workflows/{workflow}/execute", "hello", &json!({}));
    let params = json!({"params": {"name": "ann"}});
    let new = c.call("POST", "/api/v1/runs/{run}/fork", &[run], Some(params)).expect(201).json();
    let new = new["run"].as_str().expect("an id");
    let document = c.call("GET", "/api/v1/runs/{run}/document", &[new], None).expect(200).json();
    assert_eq!(document["params"]["name"], "ann");
    let path = format!("/api/v1/runs/{{run}}/compare?with={run}");
    let found = c.call("GET", &path, &[new], None).expect(200).json();
    let name = json!({"path": "/params/name", "left": "you", "right": "ann", "cut": false});
    assert!(found["changes"].as_array().expect("changes").contains(&name), "{found}");
}

/// Asks for a run twice with one key: it is there the second time.
#[track_caller]
fn twice(c: &mut Contract, path: &str, fill: &str, body: &Json) {
    let fill = if fill.is_empty() { &[][..] } else { &[fill][..] };
    let key = format!("Idempotency-Key: {}\r\n", path.replace(['{', '}', '/'], "-"));
    let headers = format!("Content-Type: application/json\r\n{key}");
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let first = c.call_with("POST", path, fill, &headers, &body).expect(201);
    let again = c.call_with("POST", path, fill, &headers, &body).expect(200);
    assert_eq!(again.json()["run"], first.json()["run"]);
    assert_eq!(again.header("location"), first.header("location"));
}

/// Runs chosen by a filter, artifacts, tasks.
fn many_runs(c: &mut Contract, run: &str) {
    begin(c);
    let found = c.call("GET", "/api/v1/runs?q=hello&limit=1", &[], None).expect(200).json();
    assert_eq!(found["runs"].as_array().map(Vec::len), Some(1), "{found}");
    let view = "/api/v1/views/{view}";
    let filter = json!({"status": "open", "q": "hello"});
    c.call("PUT", view, &["Open%20ones"], Some(filter.clone())).expect(201);
    c.call("PUT", view, &["Open%20ones"], Some(filter.clone())).expect(200);
    let views = c.call("GET", "/api/v1/views", &[], None).expect(200).json();
    assert_eq!(views["views"][0]["view"], "Open ones", "{views}");
    c.call("DELETE", view, &["Open%20ones"], None).expect(204);
    // All of them wait: what is told of them stays so.
    for status in ["pending", "running"] {
        let path = format!("/api/v1/runs?workflow=hello&status={status}");
        c.api.until(&path, |found| found["runs"] == json!([]));
    }
    let asked = json!({"action": "cancel", "filter": {"status": "open", "workflow": "hello"}});
    let would = c.call("POST", "/api/v1/runs/bulk", &[], Some(asked.clone())).expect(200).json();
    assert_eq!(would["dry_run"], true);
    assert!(would["fit"].as_u64() > Some(0), "{would}");
    let path = "/api/v1/runs/bulk?action=cancel&status=open&workflow=hello";
    assert_eq!(c.call("GET", path, &[], None).expect(200).json(), would);
    let tasks = c.call("GET", "/api/v1/tasks?workflow=hello", &[], None).expect(200).json();
    let waits = |task: &Json| task["step"] == "ask" && task["reason"].is_string();
    assert!(tasks["tasks"].as_array().is_some_and(|all| all.iter().any(waits)), "{tasks}");
    let mut done = asked;
    done["dry_run"] = false.into();
    let done = c.call("POST", "/api/v1/runs/bulk", &[], Some(done)).expect(200).json();
    assert_eq!(done["fit"], would["fit"], "{done}");
    let listed = c.call("GET", "/api/v1/runs/{run}/artifacts", &[run], None).expect(200).json();
    assert_eq!(listed["artifacts"], json!([]));
    artifacts(c);
}

fn edits(c: &mut Contract) {
    let source = "/api/v1/workflows/{workflow}/source";
    let tag = c.call("GET", source, &["hello"], None).expect(200);
    let tag = tag.header("etag").expect("a tag").to_owned();
    let yaml = |more: &str| format!("Content-Type: application/yaml\r\n{more}\r\n");
    let text = format!("version: '2'\n{WORKFLOW}");
    let headers = yaml(&format!("If-Match: {tag}"));
    let done = c.call_with("PUT", source, &["hello"], &headers, &text).expect(200);
    assert_ne!(done.header("etag"), Some(tag.as_str()));
    c.call_with("PUT", source, &["hello"], &headers, WORKFLOW).refused(412, "precondition_failed");
    c.call_with("PUT", source, &["other"], &yaml("If-None-Match: *"), "steps: [{run: 'true'}]")
        .expect(201);
    let path = "/api/v1/workflows/{workflow}";
    c.call_with("DELETE", path, &["other"], "If-Match: *\r\n", "").expect(200);
    let versions = c.call("GET", "/api/v1/workflows/{workflow}/versions", &["hello"], None).json();
    let older = versions["versions"][1]["hash"].as_str().expect("two versions").to_owned();
    let path = "/api/v1/workflows/{workflow}/diff";
    let none = c.call("GET", &format!("{path}?to={older}"), &["hello"], None);
    none.refused(404, "not_found");
    let newest = c.call("GET", path, &["hello"], None).expect(200).json();
    let diff = c.call("GET", &format!("{path}?from={older}"), &["hello"], None).expect(200).json();
    assert_eq!(newest, diff, "the version before is what it is compared with");
    assert!(diff["text"].as_str().is_some_and(|text| text.contains("+version: '2'")), "{diff}");
}

fn webhooks(c: &mut Contract) {
    c.call("GET", "/api/v1/webhooks", &[], None).expect(200);
    c.call("POST", "/api/v1/webhooks/{webhook}/test", &["nobody"], None).expect(202);
    let path = "/api/v1/webhooks/{webhook}/deliveries";
    let all = c.call("GET", path, &["nobody"], None).expect(200).json();
    // The run that failed before may be told of later, by the job's next turn.
    let mut sent = all["deliveries"].as_array().expect("deliveries").iter();
    assert!(sent.any(|one| one["type"] == "moa.webhook.test"), "{all}");
    c.call("POST", "/api/v1/webhooks/{webhook}/redeliver", &["nobody"], None).expect(200);
    c.call("POST", "/api/v1/webhooks/{webhook}/enable", &["nobody"], None).expect(200);
}

fn rules(c: &mut Contract) {
    let rule = json!({"name": "paid", "run": "hello", "on": {"event": "order.paid"}});
    c.call("POST", "/api/v1/rules", &[], Some(rule.clone())).expect(201);
    c.call("POST", "/api/v1/rules", &[], Some(rule.clone())).expect(200);
    c.call("GET", "/api/v1/rules", &[], None).expect(200);
    let path = "/api/v1/rules/{rule}";
    let known = c.call("GET", path, &["paid"], None).expect(200).json();
    let mut changed = known["definition"].clone();
    changed["on"]["match"] = "event.data.n > 5".into();
    c.call("PUT", path, &["paid"], Some(changed)).expect(200);
    let other = json!({"run": "hello", "on": {"event": "order.lost"}});
    c.call("PUT", path, &["lost"], Some(other)).expect(201);
    let event = json!({"data": {"n": 7}});
    let path = "/api/v1/rules/{rule}/test";
    let trial = c.call("POST", path, &["paid"], Some(event.clone())).expect(200).json();
    assert_eq!(trial["starts"], true, "{trial}");
    let path = "/api/v1/triggers/{trigger}/test";
    c.call("POST", path, &["rule:paid"], Some(event)).expect(200);
    for change in ["disable", "enable"] {
        c.call("POST", &format!("/api/v1/rules/{{rule}}/{change}"), &["paid"], None).expect(200);
    }
    c.call("DELETE", "/api/v1/rules/{rule}", &["paid"], None).expect(204);
}

fn secrets_and_audit(c: &mut Contract) {
    let path = "/api/v1/secrets/{secret}";
    c.call("PUT", path, &["TOKEN"], Some(json!({"value": "s3cret-value"}))).expect(200);
    let listed = c.call("GET", "/api/v1/secrets", &[], None).expect(200);
    assert!(listed.body.contains("TOKEN") && !listed.body.contains("s3cret"), "{}", listed.body);
    let rotated = c.call("POST", "/api/v1/secrets/rotate-key", &[], None).expect(200).json();
    assert_eq!(rotated["secrets"], 1, "{rotated}");
    c.call("DELETE", path, &["TOKEN"], None).expect(204);
    let acts = c.call("GET", "/api/v1/audit?action=secret.*", &[], None).expect(200);
    assert!(acts.body.contains("secret.set") && !acts.body.contains("s3cret"), "{}", acts.body);
    let whole = c.call("GET", "/api/v1/audit/verify", &[], None).expect(200).json();
    assert_eq!(whole["whole"], true, "{whole}");
    c.call("GET", "/api/v1/nodes", &[], None).expect(200);
}

fn workflows(c: &mut Contract) {
    c.call("GET", "/api/v1/workflows", &[], None).expect(200);
    c.call("GET", "/api/v1/workflows/{workflow}", &["hello"], None).expect(200);
    let path = "/api/v1/workflows/{workflow}?source=true";
    let whole = c.call("GET", path, &["hello"], None).expect(200).json();
    assert_eq!(whole["source"], WORKFLOW);
    let path = format!("{path}&version={}", whole["hash"].as_str().expect("a hash"));
    assert_eq!(c.call("GET", &path, &["hello"], None).expect(200).json()["source"], WORKFLOW);
    for part in ["source", "versions", "graph"] {
        let path = format!("/api/v1/workflows/{{workflow}}/{part}");
        c.call("GET", &path, &["hello"], None).expect(200);
    }
    let draft = json!({"source": "steps: []"});
    let path = "/api/v1/workflows/{workflow}/validate";
    c.call("POST", path, &["hello"], Some(draft)).expect(200);
    c.call("POST", "/api/v1/workflows/{workflow}/execute", &["hello"], None).expect(201);
    let asked = json!({"workflow": "hello", "params": {}});
    let result = c.call("POST", "/api/workflows/execute", &[], Some(asked)).expect(200).json();
    let id = result["workflowId"].as_str().expect("an id");
    c.call("GET", "/api/workflows/{id}", &[id], None).expect(200);
    c.call("GET", "/api/agents", &[], None).expect(200);
    c.call("GET", "/api/agents?limit=1", &[], None).expect(200);
}

/// Links and channels.
fn links_and_channels(c: &mut Contract) {
    let link = c.call("POST", "/api/v1/sign-in-links", &[], Some(json!({"role": "viewer"})));
    let link = link.expect(201).json();
    assert!(link["path"].as_str().is_some_and(|path| path.starts_with("/sign-in?code=")));
    let listed = c.call("GET", "/api/v1/channels", &[], None).expect(200).json();
    assert_eq!(listed["channels"][0]["kind_of"], "file", "{listed}");
    let path = "/api/v1/channels/{channel}/test";
    let sent = c.call("POST", path, &["log"], None).expect(200).json();
    assert_eq!(sent["test"]["status"], "succeeded", "{sent}");
}

fn triggers(c: &mut Contract) {
    let listed = c.call("GET", "/api/v1/triggers", &[], None).expect(200).json();
    let name = listed["triggers"][0]["name"].as_str().expect("a name").replace('/', "%2F");
    c.call("GET", "/api/v1/schedules?workflow=hello", &[], None).expect(200);
    let days = c.call("GET", "/api/v1/calendar", &[], None).expect(200).json();
    assert_eq!(days["days"][1]["schedules"][0]["slots"], 1, "{days}");
    let at = |part: &str| format!("/api/v1/triggers/{{trigger}}{part}");
    c.call("GET", &at(""), &[&name], None).expect(200);
    let next = c.call("GET", &at("/next?count=3"), &[&name], None).expect(200).json();
    assert_eq!(next["slots"].as_array().map(Vec::len), Some(3));
    c.call("POST", &at("/pause"), &[&name], Some(json!({"reason": "test"}))).expect(200);
    let paused = c.call("GET", &at(""), &["hello"], None).expect(200).json();
    assert_eq!(paused["paused"]["by"], "api (admin)");
    c.call("POST", &at("/resume"), &[&name], None).expect(200);
    let started = c.call("POST", &at("/start"), &[&name], None).expect(200).json();
    assert_eq!(started["outcome"], "started");
    c.call("GET", &at("/slots"), &[&name], None).expect(200);
    c.call("GET", &at("/why"), &[&name], None).expect(200);
    c.call("GET", &at("/why?at=2026-01-01T03:00"), &[&name], None).expect(200);
    let would = at("/backfill?from=2026-01-01&to=2026-01-03&limit=1");
    let would = c.call("GET", &would, &[&name], None).expect(200).json();
    assert_eq!((&would["starts"], would["slots"].as_array().map(Vec::len)), (&json!(2), Some(1)));
    let range = json!({"from": "2026-01-01", "to": "2026-01-03"});
    let begun = c.call("POST", &at("/backfill"), &[&name], Some(range)).expect(200).json();
    assert_eq!(begun["slots"], 2);
    c.call("POST", &at("/backfill/cancel"), &[&name], None).expect(200);
}

fn agents_and_events(c: &mut Contract) {
    c.call("GET", "/api/v1/agents", &[], None).expect(200);
    c.call("GET", "/api/v1/agents/{agent}", &["shell"], None).expect(200);
    c.call("GET", "/api/v1/agents/{agent}/health", &["shell"], None).expect(200);
    let path = "/api/v1/agents/{agent}/metrics?range=1h";
    let metrics = c.call("GET", path, &["shell"], None).expect(200).json();
    assert!(metrics["executions"].as_u64() > Some(0) && metrics["errors"] == 0, "{metrics}");
    let test = json!({"action": "run", "params": {"command": "echo tested"}});
    let path = "/api/v1/agents/{agent}/test";
    let tested = c.call("POST", path, &["shell"], Some(test)).expect(200).json();
    assert_eq!(tested["agent"], "shell");
    c.call("GET", "/api/v1/agents/{agent}/health", &["shell"], None).expect(200);
    let new = json!({"agent": "linter", "definition": {"shell": "true"}});
    c.call("POST", "/api/v1/agents", &[], Some(new)).expect(201);
    let path = "/api/v1/agents/{agent}/source";
    let source = c.call("GET", path, &["linter"], None).expect(200);
    c.unchanged(path, &["linter"], &source);
    let tag = source.header("etag").expect("a tag");
    let headers = format!("Content-Type: application/yaml\r\nIf-Match: {tag}\r\n");
    c.call_with("PUT", path, &["linter"], &headers, "shell: 'false'\n").expect(200);
    let headers = "Content-Type: application/yaml\r\nIf-None-Match: *\r\n";
    c.call_with("PUT", path, &["checker"], headers, "shell: 'true'\n").expect(201);
    let any = "If-Match: *\r\n";
    c.call_with("DELETE", "/api/v1/agents/{agent}", &["linter"], any, "").expect(200);
    for change in ["pause", "drain", "resume"] {
        let path = format!("/api/v1/agents/{{agent}}/{change}");
        let done = c.call("POST", &path, &["shell"], None).expect(200).json();
        assert_eq!(done["state"], if change == "resume" { "active" } else { "paused" });
    }
    let new = json!({"agent": "writer", "definition": {"shell": "true", "budget": {"usd": 1, "per": "month"}}});
    c.call("POST", "/api/v1/agents", &[], Some(new)).expect(201);
    let (path, more) = ("/api/v1/agents/{agent}/grant", json!({"usd": 0.5}));
    let granted = c.call("POST", path, &["writer"], Some(more)).expect(200).json();
    assert_eq!(granted["budget"]["usd"]["of"], "1.50");
    c.call("GET", "/api/v1/agents/{agent}", &["writer"], None).expect(200);
    c.call("GET", "/api/agents/{id}/metrics", &["shell"], None).expect(200);
    c.call("GET", "/api/v1/limits", &[], None).expect(200);
    c.call("GET", "/api/v1/jobs", &[], None).expect(200);
    c.call("POST", "/api/v1/jobs/{job}/run", &["retention"], None).expect(200);
    c.call("GET", "/api/v1/events?after=0&types=run.*", &[], None).expect(200);
    c.call("GET", "/api/v1/events?before=5&q=hello", &[], None).expect(200);
    let event = json!({"type": "order.paid", "data": {"n": 1}, "key": "one"});
    for (path, fill) in
        [("/hooks/{workflow}", &["hook"][..]), ("/hooks/{workflow}/{trigger}", &["hook", "on_1"])]
    {
        let headers = format!("Content-Type: application/json\r\nWebhook-Id: {}\r\n", fill.len());
        c.call_with("POST", path, fill, &headers, "{\"a\": 1}").expect(202);
        c.call_with("POST", path, fill, &headers, "{\"a\": 1}").expect(200);
    }
    let first = c.call("POST", "/api/v1/events", &[], Some(event.clone())).expect(200).json();
    let again = c.call("POST", "/api/v1/events", &[], Some(event)).expect(200).json();
    assert_eq!((&first["new"], &again["new"]), (&json!(1), &json!(0)));
    let number = first["sequences"][0].to_string();
    c.call("GET", "/api/v1/events/{event}", &[&number], None).expect(200);
    c.call("GET", "/api/v1/events?source=x&key=one&since=1h&until=1m", &[], None).expect(200);
}

fn alerts_and_metrics(c: &mut Contract) {
    let path = "/api/v1/jobs/{job}/run";
    c.call("POST", path, &["alerts"], None).expect(200);
    let open = c.call("GET", "/api/v1/alerts", &[], None).expect(200).json();
    assert_eq!(open["alerts"][0]["key"], "disk/state");
    let act = |act: &str| format!("/api/v1/alerts/{{alert}}/{act}");
    let note = Some(json!({"note": "a new disk comes"}));
    let acked = c.call("POST", &act("ack"), &["disk%2Fstate"], note).expect(200).json();
    assert_eq!(acked["acknowledged"]["note"], "a new disk comes");
    assert_eq!(acked["acknowledged"]["by"], "api (admin)");
    let over = c.call("POST", &act("resolve"), &["disk%2Fstate"], None).expect(200).json();
    assert_eq!(over["state"], "resolved");
    // It is still found, and stays settled.
    c.call("POST", path, &["alerts"], None).expect(200);
    let open = c.call("GET", "/api/v1/alerts", &[], None).expect(200).json();
    assert_eq!(open["alerts"], json!([]));
    let all = c.call("GET", "/api/v1/alerts?all=true", &[], None).expect(200).json();
    assert_eq!(all["alerts"][0]["resolved_by"]["note"], json!(null));
    c.call("POST", path, &["samples"], None).expect(200);
    for range in ["1h", "24h", "7d"] {
        let path = format!("/api/v1/metrics/history?range={range}");
        let history = c.call("GET", &path, &[], None).expect(200).json();
        assert_eq!(history["range"], range);
        assert!(history["total"]["failed"].as_u64() > Some(0), "{}", history["total"]);
        let agents = history["agents"].as_array().expect("agents");
        assert!(agents.iter().any(|agent| agent["agent"] == "shell"), "{agents:?}");
    }
    let counted = c.call("GET", "/api/v1/metrics", &[], None).expect(200).json();
    let done = counted["metrics"].as_array().expect("counters").iter();
    let done = done.filter(|counter| counter["metric"] == "tasks_completed");
    assert!(done.clone().any(|c| c["today"].as_f64() > Some(0.0)), "{counted}");
    let targets = c.call("GET", "/api/v1/targets", &[], None).expect(200).json();
    assert_eq!(targets["targets"][0]["minimum"], 5.0);
    let config = c.call("GET", "/api/v1/config?limit=500", &[], None).expect(200).json();
    let settings = config["settings"].as_array().expect("settings");
    let free = settings.iter().find(|s| s["key"] == "limits.max_running").expect("a setting");
    assert_eq!(free["origin"], "default");
    assert!(settings.iter().any(|s| s["origin"] == "moa.yaml:1"), "{config}");
}
