//! Traces, with the real binary and a collector that takes OTLP over HTTP.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};

use serde_json::{Value as Json, json};

use crate::http::Api;
use crate::project::Project;

/// A collector: each request is answered as `answer` says, or never.
struct Collector {
    url: String,
    requests: Receiver<Request>,
    /// Spans by name of all requests so far.
    spans: Vec<Json>,
}

/// A request as it came.
struct Request {
    head: String,
    body: Json,
}

impl Collector {
    fn new(answer: impl Fn(usize) -> Option<&'static str> + Send + 'static) -> Self {
        Self::at(SocketAddr::from(([127, 0, 0, 1], 0)), answer)
    }

    /// `answer` is given the number of the request, from 0; `None` = no answer.
    fn at(
        address: SocketAddr,
        answer: impl Fn(usize) -> Option<&'static str> + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).expect("the port is free");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let (sender, requests) = channel();
        std::thread::spawn(move || {
            let mut unanswered = Vec::new();
            for (n, stream) in listener.incoming().enumerate() {
                let mut stream = stream.expect("a connection");
                let Some(request) = read(&mut stream) else { continue };
                match answer(n) {
                    Some(head) => {
                        let _ = sender.send(request);
                        let body = "{\"partialSuccess\":{}}";
                        let end = format!("Connection: close\r\nContent-Length: {}", body.len());
                        let answer = format!("HTTP/1.1 {head}\r\n{end}\r\n\r\n{body}");
                        let _ = stream.write_all(answer.as_bytes());
                    }
                    None => {
                        let _ = sender.send(request);
                        unanswered.push(stream);
                    }
                }
            }
        });
        Self { url, requests, spans: Vec::new() }
    }

    /// The spans of the next request.
    fn next(&mut self) -> Vec<Json> {
        let request = self.requests.recv().expect("a request");
        self.take(&request)
    }

    fn take(&mut self, request: &Request) -> Vec<Json> {
        let spans = spans_of(request);
        self.spans.extend(spans.iter().cloned());
        spans
    }

    /// Takes what came meanwhile.
    fn come(&mut self) -> &mut Self {
        while let Ok(request) = self.requests.try_recv() {
            self.take(&request);
        }
        self
    }

    /// The only span with a name.
    #[track_caller]
    fn span(&self, name: &str) -> &Json {
        let all = self.spans(name);
        assert_eq!(all.len(), 1, "{name} in {:#?}", self.spans);
        all[0]
    }

    fn spans(&self, name: &str) -> Vec<&Json> {
        self.spans.iter().filter(|span| span["name"] == name).collect()
    }
}

fn read(stream: &mut TcpStream) -> Option<Request> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).ok()?.to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "))?;
    let mut body = vec![0; length.parse().ok()?];
    stream.read_exact(&mut body).ok()?;
    Some(Request { head, body: serde_json::from_slice(&body).ok()? })
}

/// The spans of a request, which has to be as OTLP says.
fn spans_of(request: &Request) -> Vec<Json> {
    assert!(request.head.starts_with("post /v1/traces http/1.1"), "{}", request.head);
    assert!(request.head.contains("content-type: application/json\r\n"), "{}", request.head);
    let of = &request.body["resourceSpans"][0];
    let resource = attributes(&of["resource"]);
    assert_eq!(resource["service.name"], "shop-runs");
    assert_eq!(resource["moa.project"], "shop");
    let spans = of["scopeSpans"][0]["spans"].as_array().expect("spans").clone();
    let hex = |id: &Json, digits| {
        let id = id.as_str().expect("a name");
        id.len() == digits && id.bytes().all(|b| b"0123456789abcdef".contains(&b))
    };
    for span in &spans {
        assert!(hex(&span["traceId"], 32) && hex(&span["spanId"], 16), "{span}");
        assert!(span["parentSpanId"].is_null() || hex(&span["parentSpanId"], 16), "{span}");
        let nanos = |key: &str| span[key].as_str().and_then(|n| n.parse::<u64>().ok());
        let (start, end) = (nanos("startTimeUnixNano"), nanos("endTimeUnixNano"));
        assert!(start.expect("an instant") <= end.expect("an instant"), "{span}");
    }
    spans
}

/// Attributes by name, as texts.
fn attributes(of: &Json) -> BTreeMap<String, String> {
    let all = of["attributes"].as_array().expect("a list");
    let pair = |pair: &Json| {
        let (_, value) = pair["value"].as_object().expect("a value").iter().next().expect("one");
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        (pair["key"].as_str().expect("a name").to_owned(), value)
    };
    all.iter().map(pair).collect()
}

fn ids(spans: &[Json]) -> BTreeSet<String> {
    spans.iter().map(|span| span["spanId"].as_str().expect("a name").to_owned()).collect()
}

const LETTERS: &str = "\
steps:
  - {id: flaky, agent: writer, action: flaky, retry: {max_attempts: 3, delay: 10ms}}
  - {id: part, workflow: part}
  - {id: broken, agent: writer, action: broken, retry: {max_attempts: 1}}
";
const PART: &str = "\
steps:
  - {id: each, foreach: '[1, 2]', steps: [{id: inner, agent: writer, action: inner}]}
  - {id: below, workflow: deep}
";
const DEEP: &str = "steps: [{id: bottom, agent: writer, action: bottom}]\n";
const WRITER: &str = r#"
command:
  - sh
  - -c
  - |
    echo "$MOA_STEP $MOA_ATTEMPT $TRACEPARENT" >> parents
    case "$MOA_ACTION" in
      flaky) test "$MOA_ATTEMPT" = 2 ;;
      broken) echo "the password is $PASSWORD" >&2; exit 2 ;;
    esac
env: {PASSWORD: '${{ secrets.PASSWORD }}'}
actions: {flaky: {}, broken: {}, inner: {}, bottom: {}}
"#;

/// A project whose run fails after a retry and two runs of its own.
fn project(url: &str, more: &str) -> Project {
    let project = Project::with("letters", LETTERS);
    project.workflow("part", PART);
    project.workflow("deep", DEEP);
    project.write("agents/writer.yaml", WRITER);
    project.write(".env", "PASSWORD=swordfish-of-letters\nTOKEN='Bearer collect-me'\n");
    let otlp = format!("endpoint: '{url}', service_name: shop-runs{more}");
    project.write("moa.yaml", &format!("name: shop\ntracing: {{otlp: {{{otlp}}}}}\n"));
    project
}

fn send(project: &Project) {
    project.call(&["jobs", "run", "traces"]).expect(0);
}

/// The run, failed.
fn fail(project: &Project) -> String {
    project.call(&["run", "letters", "-q"]).expect(1);
    let all = project.call(&["runs", "list", "--workflow", "letters", "--json"]).expect(0).json();
    all[0]["run"].as_str().expect("an id").to_owned()
}

#[test]
fn a_run_is_a_trace_with_what_it_starts() {
    let mut collector = Collector::new(|_| Some("200 OK"));
    let headers = ", headers: {authorization: '${{ secrets.TOKEN }}', x-tenant: mine}";
    let project = project(&collector.url, headers);
    let _node = project.up();
    let run = fail(&project);
    send(&project);
    let first = collector.requests.recv().expect("a request");
    assert!(first.head.contains("authorization: bearer collect-me\r\n"), "{}", first.head);
    assert!(first.head.contains("x-tenant: mine\r\n"), "{}", first.head);
    collector.take(&first);
    collector.come();

    let trace = run.replace('-', "");
    assert!(collector.spans.iter().all(|span| span["traceId"] == trace.as_str()));
    assert_eq!(ids(&collector.spans).len(), collector.spans.len(), "each is sent once");
    let root = collector.span("letters");
    assert!(root["parentSpanId"].is_null(), "{root}");
    assert_eq!(root["status"]["code"], 2, "{root}");
    let known = attributes(root);
    assert_eq!((&*known["moa.run"], &*known["moa.run.status"]), (run.as_str(), "failed"));
    let within = |inner: &Json, outer: &Json| {
        assert_eq!(inner["parentSpanId"], outer["spanId"], "{inner}\nin {outer}");
        let nanos = |of: &Json, key: &str| of[key].as_str().and_then(|n| n.parse::<u64>().ok());
        assert!(nanos(inner, "startTimeUnixNano") >= nanos(outer, "startTimeUnixNano"));
        assert!(nanos(inner, "endTimeUnixNano") <= nanos(outer, "endTimeUnixNano"));
    };

    // A step that was tried again is a span with its attempts in it.
    let flaky = collector.span("flaky");
    within(flaky, root);
    assert_eq!(attributes(flaky)["moa.attempts"], "2");
    assert_eq!(flaky["status"], json!({}));
    assert_eq!(flaky["events"][0]["name"], "moa.wait");
    assert_eq!(attributes(&flaky["events"][0])["moa.wait.reason"], "backoff");
    let attempts = collector.spans("flaky attempt");
    assert_eq!(attempts.len(), 2);
    attempts.iter().for_each(|attempt| within(attempt, flaky));
    assert_eq!(attributes(attempts[0])["error.type"], "retryable");
    assert_eq!((&attempts[0]["status"]["code"], &attempts[1]["status"]), (&json!(2), &json!({})));

    // Runs that it starts are in it, at whatever depth; loops are spans.
    let child = collector.spans("part");
    let [step, child] = [&child[0], &child[1]];
    let (step, child) =
        if step["parentSpanId"] == root["spanId"] { (step, child) } else { (child, step) };
    within(step, root);
    within(child, step);
    let each = collector.span("each");
    within(each, child);
    collector.spans("inner").iter().for_each(|inner| within(inner, each));
    assert_eq!(collector.spans("inner").len(), 2);
    let below = collector.span("below");
    within(below, child);
    within(collector.span("deep"), below);
    within(collector.span("bottom"), collector.span("deep"));

    // What failed says so, without secrets; one attempt that is all of its step is its span.
    let broken = collector.span("broken");
    within(broken, root);
    assert_eq!(attributes(broken)["moa.outcome"], "failed");
    let exception = broken["events"].as_array().and_then(|events| events.last()).expect("one");
    assert_eq!(exception["name"], "exception");
    let message = &attributes(exception)["exception.message"];
    assert!(message.contains("the password is ***"), "{message}");
    let all = Json::Array(collector.spans.clone()).to_string();
    assert!(!all.contains("swordfish"), "{all}");

    told_their_spans(&project, &collector, &trace);
}

/// Each attempt was told its own span.
fn told_their_spans(project: &Project, collector: &Collector, trace: &str) {
    let told = project.read("parents");
    assert_eq!(told.lines().count(), 6, "{told}");
    for line in told.lines() {
        let parent = line.rsplit(' ').next().expect("it has words");
        let parts: Vec<&str> = parent.split('-').collect();
        assert_eq!((parts[0], parts[1], parts[3]), ("00", trace, "01"), "{line}");
        let of = collector.spans.iter().find(|span| span["spanId"] == parts[2]).expect("a span");
        let of = attributes(of);
        assert!(line.starts_with(&format!("{} {} ", of["moa.step"], of["moa.attempt"])), "{line}");
    }
}

#[test]
fn a_collector_that_is_down_delays_and_loses_nothing() {
    let free = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr());
    let address = free.expect("a port");
    let project = project(&format!("http://{address}"), "");
    let node = project.up();
    let api = Api::with_role(&project, &node, "viewer");
    fail(&project);
    // Runs go on as if there were no traces.
    while !project.call(&["jobs", "run", "traces"]).err.contains("doesn't take them") {}
    let metrics = api.get("/metrics").expect(200).body;
    let behind = metrics.lines().find_map(|l| l.strip_prefix("moa_traces_behind_events "));
    assert!(behind.and_then(|n| n.parse::<f64>().ok()).expect("a number") > 10.0, "{metrics}");
    assert!(!metrics.contains("moa_traces_failures_total 0"), "{metrics}");
    node.kill();

    let node = project.up();
    fail(&project);
    // It has no time for the first request, and takes the others.
    let mut collector = Collector::at(address, |n| match n {
        0 => Some("503 Later\r\nRetry-After: 1"),
        _ => Some("200 OK"),
    });
    collector.next();
    collector.spans.clear();
    while collector.spans("letters").len() < 2 {
        project.call(&["jobs", "run", "traces"]);
        collector.come();
    }
    assert_eq!(ids(&collector.spans).len(), collector.spans.len(), "each is sent once");
    let traces: BTreeSet<&str> =
        collector.spans.iter().map(|span| span["traceId"].as_str().expect("a name")).collect();
    assert_eq!(traces.len(), 2);
    assert_eq!(collector.spans("flaky attempt").len(), 4);
    let api = Api::with_role(&project, &node, "admin");
    let sent = format!("moa_traces_spans_total{{outcome=\"sent\"}} {}", collector.spans.len());
    api.until_answer("/metrics", |answer| answer.body.contains(&sent));
    assert!(api.get("/metrics").expect(200).body.contains("moa_traces_behind_events 0"));
}

#[test]
fn what_became_a_secret_after_it_was_written_is_not_sent() {
    let free = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr());
    let address = free.expect("a port");
    let project = project(&format!("http://{address}"), "");
    let leak =
        "steps: [{id: leak, run: 'echo the word is open-sesame-7 >&2; exit 2', retry: never}]\n";
    project.workflow("leak", leak);
    let node = project.up();
    project.call(&["run", "leak"]).expect(1);
    // Nothing knew that it was one: the history has it.
    let history = || project.call(&["events", "query", "--json"]).expect(0).out;
    assert!(history().contains("open-sesame-7"), "{}", history());
    node.kill();
    project.write(".env", "PASSWORD=open-sesame-7\nTOKEN='Bearer collect-me'\n");
    let mut collector = Collector::at(address, |_| Some("200 OK"));
    let _node = project.up();
    while collector.spans("leak").len() < 2 {
        project.call(&["jobs", "run", "traces"]);
        collector.come();
    }
    let all = Json::Array(collector.spans.clone()).to_string();
    assert!(all.contains("the word is ***") && !all.contains("open-sesame"), "{all}");
}

#[test]
fn what_is_sent_again_after_a_kill_is_the_same() {
    // The first request is never answered: the process dies while it waits.
    let mut collector = Collector::new(|n| (n > 0).then_some("200 OK"));
    let project = project(&collector.url, "");
    let node = project.up();
    project.call(&["run", "letters", "--detach"]).expect(0);
    let first = collector.next();
    assert!(!first.is_empty());
    node.kill();
    collector.spans.clear();
    let _node = project.up();
    while collector.spans("letters").is_empty() {
        send(&project);
        collector.come();
    }
    for span in &first {
        let again = collector.spans.iter().find(|other| other["spanId"] == span["spanId"]);
        assert_eq!(again, Some(span), "it is the same span");
    }
    let known = fs::read_to_string(project.root.join(".moa/traces.json")).expect("a file");
    assert!(known.contains("\"after\""), "{known}");
}

#[test]
fn who_starts_a_run_can_have_it_in_a_trace_of_its_own() {
    let mut collector = Collector::new(|_| Some("200 OK"));
    // By itself, no trace is sent.
    let project = project(&collector.url, ", sample: 0");
    let node = project.up();
    fail(&project);
    let told = project.read("parents");
    assert!(told.lines().all(|line| line.ends_with("-00")), "{told}");
    let api = Api::with_role(&project, &node, "operator");
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let headers = format!(
        "Content-Type: application/json\r\ntraceparent: 00-{trace}-b7ad6b7169203331-01\r\n"
    );
    let started = api.send("POST", "/api/v1/runs", &headers, "{\"workflow\": \"part\"}");
    let run = started.expect(201).json()["run"].as_str().expect("an id").to_owned();
    api.ended(&run);
    while collector.spans("part").is_empty() {
        send(&project);
        collector.come();
    }
    assert_eq!(collector.span("part")["parentSpanId"], "b7ad6b7169203331");
    assert!(collector.spans.iter().all(|span| span["traceId"] == trace), "the other one was sent");
    assert_eq!(collector.spans("bottom").len(), 1, "what it starts is in it");
    let told = project.read("parents");
    assert!(told.lines().last().expect("a line").contains(&format!("00-{trace}-")), "{told}");
}

#[test]
fn the_usual_variables_of_the_environment_hold() {
    let mut collector = Collector::new(|n| (n > 0).then_some("200 OK").or(Some("400 No")));
    let project = project("http://127.0.0.1:1", "");
    let mut command = project.command(&["run", "deep", "-q"]);
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url);
    command.env("OTEL_EXPORTER_OTLP_HEADERS", "x-key=a%20b");
    let mut again = project.command(&["run", "deep", "-q"]);
    again.env("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", format!("{}/v1/traces", collector.url));
    let shown = {
        let mut command = project.command(&["config"]);
        command.env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://there:4318");
        command.env("OTEL_EXPORTER_OTLP_HEADERS", "x-key=hidden");
        String::from_utf8(command.output().expect("it can be started").stdout).expect("text")
    };
    assert!(shown.contains("http://there:4318") && !shown.contains("hidden"), "{shown}");
    assert!(shown.contains("environment (OTEL_EXPORTER_OTLP_ENDPOINT)"), "{shown}");
    // A node that is there for one run sends its trace before it ends. What the collector will
    // never take holds up nothing.
    assert!(command.status().expect("it can be started").success());
    let request = collector.requests.recv().expect("a request");
    assert!(request.head.contains("x-key: a b\r\n"), "{}", request.head);
    let refused = collector.take(&request);
    collector.spans.clear();
    assert!(again.status().expect("it can be started").success());
    while collector.spans("deep").is_empty() {
        collector.next();
    }
    assert!(ids(&refused).is_disjoint(&ids(&collector.spans)), "{:?}", collector.spans);
}
