//! Live events: each once, in order, also when a stream is taken up again.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

use serde_json::{Value as Json, json};
use tungstenite::Message;
use tungstenite::client::IntoClientRequest;

use crate::http::Api;
use crate::project::{Node, Project};

const HELLO: &str = "steps:\n  - {id: a, run: 'true'}\n  - {id: b, run: 'true', depends_on: [a]}\n";

fn shop() -> (Project, Node, Api) {
    let project = Project::with("hello", HELLO);
    let node = project.up();
    let api = Api::with_role(&project, &node, "operator");
    (project, node, api)
}

/// Server-sent events.
struct Sent(BufReader<TcpStream>);

impl Sent {
    fn open(api: &Api, query: &str, headers: &str) -> Self {
        let mut stream = TcpStream::connect(&api.address).expect("it listens");
        let (host, token) = (&api.address, api.token());
        let request = format!(
            "GET /api/v1/events/stream?{query} HTTP/1.0\r\nHost: {host}\r\n\
             Authorization: Bearer {token}\r\n{headers}\r\n"
        );
        stream.write_all(request.as_bytes()).expect("it reads");
        let mut sent = Self(BufReader::new(stream));
        assert!(sent.line().contains("200"));
        while !sent.line().is_empty() {}
        sent
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("it answers");
        assert!(!line.is_empty(), "the stream has ended");
        line.trim_end().to_owned()
    }

    /// The next event: its id and its document.
    fn next(&mut self) -> (String, Json) {
        let mut id = String::new();
        loop {
            let line = self.line();
            if let Some(text) = line.strip_prefix("id: ") {
                text.clone_into(&mut id);
            } else if let Some(text) = line.strip_prefix("data: ") {
                let event: Json = serde_json::from_str(text).expect("it is JSON");
                assert_eq!(event["id"], json!(id));
                return (id, event);
            }
        }
    }
}

fn start(api: &Api) {
    api.post("/api/v1/runs", &json!({"workflow": "hello"})).expect(201);
}

/// The ids of all events that there are, when nothing happens any more.
fn all(api: &Api) -> Vec<String> {
    let (ids, page) = known(api);
    assert_eq!(page["next"], json!(page["newest"].to_string()));
    ids
}

/// The ids of the events that there are by now.
fn known(api: &Api) -> (Vec<String>, Json) {
    let page = api.get("/api/v1/events?after=0&limit=2000").expect(200).json();
    let events = page["events"].as_array().expect("a list");
    let ids = events.iter().map(|event| event["id"].as_str().expect("an id").to_owned());
    (ids.collect(), page)
}

#[test]
fn who_has_seen_more_than_the_store_knows_hears_of_what_happens_from_now_on() {
    let (_project, _node, api) = shop();
    start(&api);
    api.until("/api/v1/runs", |page| page["runs"][0]["status"] == "succeeded");
    let newest = api.get("/api/v1/events").expect(200).json()["newest"].clone();
    let page = api.get("/api/v1/events?after=99999").expect(200).json();
    assert_eq!((&page["events"], &page["next"]), (&json!([]), &json!(newest.to_string())));
    api.get("/api/v1/events?after=1&before=9").refused(400, "invalid_request");
    // As after a restore.
    let mut stream = Sent::open(&api, "", "Last-Event-ID: 99999.3\r\n");
    start(&api);
    let (id, event) = stream.next();
    let begins = (event["type"].clone(), event["sequence"].clone());
    assert_eq!(begins.0, "moa.run.created", "{id} {event}");
    assert!(id.split('.').next().and_then(|seq| seq.parse().ok()) > newest.as_u64(), "{id}");
}

#[test]
fn a_stream_that_breaks_after_each_event_has_none_twice_and_misses_none() {
    let (_project, _node, api) = shop();
    let runs = 3;
    let publish = |api: &Api, n: usize| {
        api.post("/api/v1/events", &json!({"type": "shop.sale", "data": n})).expect(200);
    };
    let starter = {
        let api = api.clone();
        std::thread::spawn(move || {
            for n in 0..runs {
                publish(&api, n);
                start(&api);
            }
        })
    };
    let (mut seen, mut ended, mut headers) = (Vec::new(), 0, String::new());
    while ended < runs {
        // The header of a browser wins over the address that it took from the page.
        let (id, event) = Sent::open(&api, "after=0", &headers).next();
        ended += usize::from(event["type"] == "moa.run.succeeded");
        headers = format!("Last-Event-ID: {id}\r\n");
        seen.push(id);
    }
    starter.join().expect("they are started");
    assert_eq!(seen, all(&api));
    let page = api.get("/api/v1/events?types=shop.*").expect(200).json();
    let sold = page["events"].as_array().expect("a list").iter().map(|event| &event["id"]);
    assert_eq!(sold.filter(|id| seen.iter().any(|seen| **id == json!(seen))).count(), runs);
}

#[test]
fn a_stream_tells_at_once_of_what_is_published() {
    let (_project, _node, api) = shop();
    let mut stream = Sent::open(&api, "types=shop.*&source=/till", "");
    for (kind, source) in [("shop.sale", "/web"), ("weather", "/till"), ("shop.sale", "/till")] {
        api.post("/api/v1/events", &json!({"type": kind, "source": source})).expect(200);
    }
    let (_, event) = stream.next();
    assert_eq!((&event["type"], &event["source"]), (&json!("shop.sale"), &json!("/till")));
}

#[test]
fn a_socket_tells_what_happens_from_now_on_and_what_was_asked_for() {
    let (_project, _node, api) = shop();
    start(&api);
    let mut first = Sent::open(&api, "after=0&types=run.succeeded", "");
    assert_eq!(first.next().1["type"], "moa.run.succeeded");
    let open = |query: &str| {
        let url = format!("ws://{}/api/v1/events/stream?{query}", api.address);
        let mut request = url.into_client_request().expect("a request");
        let bearer = format!("Bearer {}", api.token()).parse().expect("a header");
        request.headers_mut().insert("authorization", bearer);
        let stream = TcpStream::connect(&api.address).expect("it listens");
        tungstenite::client(request, stream).expect("a socket").0
    };
    let next = |socket: &mut tungstenite::WebSocket<TcpStream>| loop {
        if let Message::Text(text) = socket.read().expect("a message") {
            return serde_json::from_str::<Json>(text.as_str()).expect("it is JSON");
        }
    };
    let mut now = open("types=run.*");
    let mut past = open("after=0");
    start(&api);
    let kinds: Vec<Json> = (0..3).map(|_| next(&mut now)["type"].clone()).collect();
    assert_eq!(kinds, ["moa.run.created", "moa.run.started", "moa.run.succeeded"]);
    let ids = all(&api);
    let told: Vec<Json> = ids.iter().map(|_| next(&mut past)["id"].clone()).collect();
    assert_eq!(told, ids);
}

#[test]
fn all_who_listen_have_the_same_wherever_they_begin_and_whenever_they_come() {
    let (_project, _node, api) = shop();
    start(&api);
    // Each begins behind another event, so some of what it gets is old, and some is shared.
    let mut listeners: Vec<(usize, Sent)> = Vec::new();
    for _ in 0..20 {
        let (known, _) = known(&api);
        let from = known.len() * listeners.len() / 20;
        let after = known.get(from).map_or("0", String::as_str);
        listeners.push((from, Sent::open(&api, &format!("after={after}"), "")));
        start(&api);
    }
    let ends = || {
        let page = api.get("/api/v1/runs?status=succeeded&limit=50").expect(200).json();
        page["runs"].as_array().expect("a list").len()
    };
    while ends() < 21 {}
    let ids = all(&api);
    for (from, mut sent) in listeners {
        let told: Vec<String> = ids[from + 1..].iter().map(|_| sent.next().0).collect();
        assert_eq!(told, ids[from + 1..]);
    }
}

/// Where an event stands: the number of its commit, and its place there.
fn place(id: &str) -> (u64, u64) {
    let (seq, index) = id.split_once('.').expect("an id");
    (seq.parse().expect("a number"), index.parse().expect("a number"))
}

/// The ids of all events that are wanted, asked for in small parts.
fn in_parts(api: &Api, wanted: &str) -> Vec<String> {
    let (mut seen, mut after) = (Vec::new(), "0".to_owned());
    loop {
        let path = format!("/api/v1/events?after={after}&limit=7{wanted}");
        let page = api.get(&path).expect(200).json();
        let part = page["events"].as_array().expect("a list");
        assert!(part.len() <= 7, "{page}");
        seen.extend(part.iter().map(|event| event["id"].as_str().expect("an id").to_owned()));
        let next = page["next"].as_str().expect("a mark");
        let newest = page["newest"].to_string();
        if [after.as_str(), &newest].contains(&next) {
            return seen;
        }
        next.clone_into(&mut after);
    }
}

#[test]
fn an_answer_holds_so_many_events_and_the_next_goes_on_within_a_commit() {
    let (project, _node, api) = shop();
    // Its iterations are opened by one commit, which holds hundreds of events.
    let wide = "steps:\n  - id: each\n    foreach: {in: params.n, as: i}\n    steps:\n      \
                - {id: one, agent: noop, action: done}\n";
    project.write("workflows/wide.yaml", &format!("params: {{n: {{type: array}}}}\n{wide}"));
    let numbers: Vec<u32> = (0..150).collect();
    api.post("/api/v1/runs", &json!({"workflow": "wide", "params": {"n": numbers}})).expect(201);
    let mut sent = Sent::open(&api, "after=0&types=run.succeeded", "");
    sent.next();
    let ids = all(&api);
    let largest = ids.chunk_by(|a, b| a.split('.').next() == b.split('.').next());
    assert!(largest.map(<[String]>::len).max() > Some(100), "{ids:?}");
    assert_eq!(in_parts(&api, ""), ids);
    // What is left out is passed over, in whatever part it stands.
    let of_one = in_parts(&api, "&run=last&agent=noop&types=step.succeeded");
    assert_eq!(of_one.len(), 150);
    assert!(of_one.iter().all(|id| ids.contains(id)) && of_one.is_sorted_by_key(|id| place(id)));
    assert_eq!(in_parts(&api, "&types=run.*,step.ready&workflow=wide").len(), 2 + 151);
    assert_eq!(in_parts(&api, "&workflow=hello"), Vec::<String>::new());
    // Without a place to go on from, it is the newest.
    let page = api.get("/api/v1/events?limit=7").expect(200).json();
    let newest: Vec<_> =
        page["events"].as_array().expect("a list").iter().map(|e| &e["id"]).collect();
    assert_eq!(json!(newest), json!(ids[ids.len() - 7..]));
    let ended = api.get("/api/v1/events?limit=1&types=step.succeeded").expect(200).json();
    assert_eq!(ended["events"][0]["subject"], "each");
}

#[test]
fn a_stream_tells_of_one_workflow_or_of_one_agent_alone() {
    let (project, _node, api) = shop();
    let other = "steps:\n  - {id: c, run: 'true'}\n  - {id: n, agent: noop, action: done}\n";
    project.write("workflows/other.yaml", other);
    start(&api);
    api.post("/api/v1/runs", &json!({"workflow": "other"})).expect(201);
    start(&api);
    let told = |query: &str, count: usize| {
        let mut sent = Sent::open(&api, &format!("after=0&{query}"), "");
        (0..count).map(|_| sent.next().1).collect::<Vec<Json>>()
    };
    let ends = told("workflow=hello&types=run.succeeded", 2);
    assert!(ends.iter().all(|event| event["data"]["workflow"] == "hello"), "{ends:?}");
    let noop = told("agent=noop", 2);
    assert!(noop.iter().all(|event| event["data"]["agent"] == "noop"), "{noop:?}");
    assert_eq!(noop[0]["subject"], "n");
    let page = api.get("/api/v1/events?after=0&workflow=other&agent=noop").expect(200).json();
    let all = page["events"].as_array().expect("a list");
    assert!(all.len() >= 2 && all.iter().all(|event| event["subject"] == "n"), "{all:?}");
    api.get("/api/v1/events/stream?agent=a/b").refused(400, "invalid_request");
}

#[test]
fn streams_end_with_the_node_and_are_taken_up_at_the_next() {
    let (project, node, api) = shop();
    start(&api);
    let mut sent = Sent::open(&api, "after=0&types=run.*", "");
    assert_eq!(sent.next().1["type"], "moa.run.created");
    assert_eq!(sent.next().1["type"], "moa.run.started");
    let (id, _) = sent.next();
    let (code, _) = node.stop();
    assert_eq!(code, 0);
    let node = project.up();
    let api = Api::with_role(&project, &node, "operator");
    start(&api);
    let mut sent = Sent::open(&api, &format!("after={id}&types=run.*"), "");
    assert_eq!(sent.next().1["type"], "moa.run.created");
}

#[test]
fn a_stream_is_for_who_may_look_and_a_reader_that_does_not_read_holds_up_nobody() {
    let (project, node, api) = shop();
    let nobody = Api::nobody(&node);
    nobody.get("/api/v1/events/stream").refused(401, "unauthenticated");
    api.get("/api/v1/events/stream?after=x").refused(400, "invalid_request");
    let page = "Upgrade: websocket\r\nOrigin: http://evil.example\r\n";
    api.send("GET", "/api/v1/events/stream", page, "").refused(403, "origin_not_allowed");
    let deaf: Vec<Sent> = (0..20).map(|_| Sent::open(&api, "after=0", "")).collect();
    for _ in 0..20 {
        start(&api);
    }
    project.call(&["run", "hello"]).expect(0);
    drop(deaf);
}
