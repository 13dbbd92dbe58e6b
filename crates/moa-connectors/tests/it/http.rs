//! Services, by real servers on this machine, some of which misbehave.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};

use moa_core::agent::{AgentKind, AgentSpec, HttpSpec};
use moa_core::machine::Outcome;
use moa_core::step::ErrorKind;
use moa_core::template::Template;
use moa_core::time::Span;
use moa_ports::agent::Worker as _;
use serde_json::{Value as Json, json};

use crate::harness::{SAFETY_NET, World, agent, failed, output, with_secret};

/// A server that answers each connection by `answer`, after it read the request.
pub struct Server {
    pub url: String,
    pub requests: Receiver<String>,
}

impl Server {
    pub fn new(mut answer: impl FnMut(&mut TcpStream) + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}/task", listener.local_addr().expect("an address"));
        let (sender, requests) = channel();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.expect("a connection");
                let _ = sender.send(read_request(&mut stream));
                answer(&mut stream);
            }
        });
        Self { url, requests }
    }

    /// One that always answers so.
    pub fn answering(head: &str, body: &str) -> Self {
        let text = format!(
            "HTTP/1.1 {head}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        Self::new(move |stream| {
            let _ = stream.write_all(text.as_bytes());
        })
    }

    pub fn request(&self) -> String {
        self.requests.recv_timeout(SAFETY_NET).expect("a request")
    }
}

fn read_request(stream: &mut TcpStream) -> String {
    let (mut text, mut byte) = (Vec::new(), [0]);
    while !text.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|n| n > 0) {
        text.push(byte[0]);
    }
    let head = String::from_utf8(text).expect("text");
    let length = head
        .lines()
        .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).expect("a body");
    head + &String::from_utf8(body).expect("text")
}

fn service(urls: &[&str]) -> AgentSpec {
    let spec = HttpSpec {
        urls: urls.iter().map(|&url| url.to_owned()).collect(),
        method: "POST".to_owned(),
        headers: BTreeMap::new(),
        response_bytes_max: 1 << 20,
        retry_after_max: Span::seconds(60),
        retry_statuses: vec![418],
    };
    agent("agent", AgentKind::Http(spec))
}

fn call(world: &World, server: &Server) -> Outcome {
    world.declare([service(&[&server.url])]);
    world.run(world.task("agent", json!({})))
}

/// The same by an agent whose actions must not be repeated.
fn call_once(world: &World, server: &Server) -> Outcome {
    let mut spec = service(&[&server.url]);
    spec.once = true;
    world.declare([spec]);
    world.run(world.task("agent", json!({})))
}

const JSON: &str = "200 OK\r\nContent-Type: application/json";

#[test]
fn a_service_is_told_everything_and_answers_with_the_result() {
    let world = World::new();
    let server = Server::answering(JSON, "{\"ok\": true}");
    let mut spec = service(&[&server.url]);
    let AgentKind::Http(http) = &mut spec.kind else { panic!("not http") };
    let template = Template::compile(&json!("Bearer ${{ secrets.TOKEN }}"), true);
    http.headers.insert("Authorization".to_owned(), template.expect("a template"));
    world.declare([spec]);
    let task = world.task("agent", json!({"n": 1}));
    assert_eq!(output(world.run(task.clone())), json!({"ok": true}));

    let request = server.request();
    let (head, body) = request.split_once("\r\n\r\n").expect("a head");
    let run = task.run;
    assert!(head.starts_with("POST /task HTTP/1.1\r\n"), "{head}");
    for line in [
        "authorization: Bearer topsecret-7f3c9e".to_owned(),
        "content-type: application/json".to_owned(),
        format!("idempotency-key: {run}/step"),
        format!("moa-run-id: {run}"),
        "moa-step: step".to_owned(),
        "moa-attempt: 1".to_owned(),
    ] {
        assert!(head.lines().any(|l| l == line), "{line} is not in\n{head}");
    }
    let body: Json = serde_json::from_str(body).expect("JSON");
    assert_eq!((&body["params"], &body["action"]), (&json!({"n": 1}), &json!("act")));
    assert!(world.log(&task).is_empty(), "nothing to say");
}

#[test]
fn answers_become_values() {
    let world = World::new();
    let answer = |head: &str, body: &str| call(&world, &Server::answering(head, body));
    assert_eq!(output(answer("204 No Content", "")), json!(null));
    assert_eq!(output(answer("200 OK", "hello")), json!({"text": "hello"}));
    assert_eq!(output(answer("200 OK", "{\"a\": 1}")), json!({"a": 1}));
    let why = failed(ErrorKind::Output, answer(JSON, "{\"a\": 1, \"a\": 2}"));
    assert!(why.contains("the key \"a\" stands twice"), "{why}");
    let why = failed(ErrorKind::Output, answer(JSON, "{\"a\":"));
    assert!(why.contains("ends in the middle"), "{why}");
    let why = failed(ErrorKind::Output, answer(JSON, &"x".repeat((1 << 20) + 1)));
    assert!(why.contains("more than the 1048576 bytes"), "{why}");
    let why = failed(ErrorKind::Permanent, answer("202 Accepted", ""));
    assert!(why.contains("202"), "{why}");
}

#[test]
fn failures_have_their_classes() {
    let world = World::new();
    let answer = |head: &str, body: &str| call(&world, &Server::answering(head, body));
    let why = failed(ErrorKind::Permanent, answer("404 Not Found", "no\x1b[2J\n such thing"));
    assert_eq!(why, "HTTP 404 Not Found: no\\x1b[2J such thing");
    let why = failed(ErrorKind::Permanent, answer("400 Bad Request", &"long ".repeat(10_000)));
    assert!(why.len() < 600, "{why}");
    failed(ErrorKind::Retryable, answer("503 Service Unavailable", ""));
    failed(ErrorKind::Retryable, answer("418 I'm a teapot", ""));
    failed(ErrorKind::Retryable, answer("500 Internal Server Error", ""));
    let limited = |head: &str| match answer(head, "slow down") {
        Outcome::RateLimited { error, after } => {
            assert!(error.message.ends_with(": slow down"), "{}", error.message);
            after
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(limited("429 Too Many Requests\r\nRetry-After: 3"), Span::seconds(3));
    assert_eq!(limited("503 Service Unavailable\r\nRetry-After: 9999"), Span::seconds(60));
    let past = "503 Service Unavailable\r\nRetry-After: Sun, 06 Nov 1994 08:49:37 GMT";
    assert_eq!(limited(past), Span(0));

    let head = "302 Found\r\nLocation: /task";
    let why = failed(ErrorKind::Permanent, answer(head, ""));
    assert!(why.contains("redirects are not followed"), "{why}");
    let server = Server::answering("500 Internal Server Error", "");
    failed(ErrorKind::UnknownOutcome, call_once(&world, &server));
    let server = Server::answering("503 Service Unavailable", "");
    failed(ErrorKind::Retryable, call_once(&world, &server));
}

#[test]
fn broken_connections_leave_the_outcome_unknown() {
    let world = World::new();
    let cut = || Server::new(|_| {});
    let why = failed(ErrorKind::Retryable, call(&world, &cut()));
    assert!(why.contains("broke"), "{why}");
    failed(ErrorKind::UnknownOutcome, call_once(&world, &cut()));
    let half = Server::new(|stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"half\":");
    });
    let why = failed(ErrorKind::UnknownOutcome, call_once(&world, &half));
    assert!(why.contains("broke off"), "{why}");

    // Nothing was sent, so nothing can have happened.
    let gone = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/", gone.local_addr().expect("an address"));
    drop(gone);
    let mut spec = service(&[&url]);
    spec.once = true;
    world.declare([spec]);
    let why = failed(ErrorKind::Retryable, world.run(world.task("agent", json!({}))));
    assert!(why.starts_with("can't connect to 127.0.0.1"), "{why}");

    // With another address, that one is asked.
    let server = Server::answering(JSON, "1");
    world.declare([service(&[&url, &server.url])]);
    for _ in 0..3 {
        assert_eq!(output(world.run(world.task("agent", json!({})))), json!(1));
    }
}

#[test]
fn services_that_never_end_are_ended() {
    let world = World::new();
    let mut kept = Vec::new();
    let silent = Server::new(move |stream| kept.push(stream.try_clone()));
    let mut spec = service(&[&silent.url]);
    spec.timeout = Some(Span(200));
    world.declare([spec.clone()]);
    let why = failed(ErrorKind::Timeout, world.run(world.task("agent", json!({}))));
    assert!(why.contains("timeout of 200ms"), "{why}");
    spec.once = true;
    world.declare([spec.clone()]);
    failed(ErrorKind::UnknownOutcome, world.run(world.task("agent", json!({}))));

    spec.timeout = None;
    world.declare([spec]);
    while silent.requests.try_recv().is_ok() {}
    let task = world.task("agent", json!({}));
    world.worker.start(task.clone());
    silent.request();
    world.worker.stop(task.run, task.inst, task.attempt, false);
    assert_eq!(world.next().outcome, Outcome::Cancelled);

    let slow = Server::new(|stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n");
        let _ = stream.write_all(b"x");
        // The rest never comes; the client is the one that goes.
        let _ = stream.read(&mut [0]);
    });
    let mut spec = service(&[&slow.url]);
    spec.timeout = Some(Span(300));
    world.declare([spec]);
    failed(ErrorKind::Timeout, world.run(world.task("agent", json!({}))));
}

#[test]
fn the_built_in_makes_the_request_that_its_params_describe() {
    let world = World::new();
    let server = Server::answering("200 OK", "fine");
    let run = |params: Json| world.run(world.task("http", params));
    assert_eq!(output(run(json!({"url": server.url}))), json!({"text": "fine"}));
    assert!(server.request().starts_with("GET /task "));
    let params = json!({
        "url": server.url, "method": "put", "body": {"a": 1}, "headers": {"X-N": 5},
    });
    output(run(params));
    let request = server.request();
    assert!(request.starts_with("PUT /task "), "{request}");
    assert!(request.ends_with("\r\n\r\n{\"a\":1}"), "{request}");
    assert!(request.contains("\r\nx-n: 5\r\n"), "{request}");
    output(run(json!({"url": server.url, "body": "plain"})));
    assert!(server.request().starts_with("POST /task "));

    let refused = |params: Json| failed(ErrorKind::Permanent, run(params));
    assert!(refused(json!({})).contains("needs a `url`"));
    assert!(refused(json!({"url": "file:///etc/passwd"})).contains("scheme is file"));
    assert!(refused(json!({"url": "nonsense"})).contains("can't be called"));
    assert!(refused(json!({"url": server.url, "metod": "x"})).contains("no param `metod`"));
    let injected = json!({"url": server.url, "headers": {"X": "a\r\nY: b"}});
    assert!(refused(injected).contains("can't be sent"));
}

#[test]
fn secrets_in_urls_do_not_come_back_in_errors() {
    let world = World::new();
    let gone = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/?key=", gone.local_addr().expect("an address"));
    drop(gone);
    let mut task = world.task("http", json!(null));
    task.params = with_secret(json!({"url": url}), &[("/url", url.len(), "TOKEN")]);
    let why = failed(ErrorKind::Retryable, world.run(task.clone()));
    assert!(!why.contains("topsecret") && !why.contains("?key="), "{why}");
    assert!(!world.log(&task).contains("topsecret"));
}
