//! Slack and webhooks, by real servers on this machine.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::atomic::{AtomicU32, Ordering};

use base64::Engine as _;
use moa_connectors::{Channel, Channels, Secretive, Slack, Webhook};
use moa_core::machine::Outcome;
use moa_core::step::ErrorKind;
use moa_core::time::Span;
use moa_ports::agent::Task;
use serde_json::{Value as Json, json};

use crate::harness::{World, failed, name, output};
use crate::http::Server;

const KEY: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn slack(url: &str) -> World {
    let slack = Channel::Slack(Slack { url: Secretive::Secret(name("SLACK")) });
    let declared = BTreeMap::from([(name("c"), slack)]);
    World::with(Channels { declared }, [("SLACK".to_owned(), url.to_owned())])
}

fn hook(url: &str, timeout: Span) -> World {
    let webhook = Channel::Webhook(Webhook {
        url: Secretive::Plain(url.to_owned()),
        secret: Some(Secretive::Secret(name("KEY"))),
        timeout,
        events: false,
    });
    let declared = BTreeMap::from([(name("c"), webhook)]);
    World::with(Channels { declared }, [("KEY".to_owned(), KEY.to_owned())])
}

fn send(world: &World, more: Json) -> Task {
    let mut params = json!({"channel": "c"});
    let all = params.as_object_mut().expect("an object");
    all.extend(more.as_object().expect("an object").clone());
    let mut task = world.task("notify", params);
    task.action = "send".to_owned();
    task
}

fn body(request: &str) -> Json {
    let (_, body) = request.split_once("\r\n\r\n").expect("a body");
    serde_json::from_str(body).expect("JSON")
}

fn header<'a>(request: &'a str, name: &str) -> &'a str {
    let found = request.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    found.unwrap_or_else(|| panic!("no {name}: {request}"))
}

/// What a receiver that follows the standard checks.
fn verify(request: &str) {
    let (id, at) = (header(request, "webhook-id"), header(request, "webhook-timestamp"));
    let (_, body) = request.split_once("\r\n\r\n").expect("a body");
    let engine = base64::engine::general_purpose::STANDARD;
    let key = engine.decode(KEY.trim_start_matches("whsec_")).expect("base64");
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &key);
    let signature = header(request, "webhook-signature");
    let signature = engine.decode(signature.strip_prefix("v1,").expect("v1")).expect("base64");
    let content = format!("{id}.{at}.{body}");
    ring::hmac::verify(&key, content.as_bytes(), &signature).expect("the signature fits");
}

#[test]
fn slack_gets_blocks_in_which_nobody_is_called() {
    let server = Server::answering("200 OK", "ok");
    let world = slack(&server.url);
    let evil = "<!channel> look <http://evil|here> & \u{1b}[2J";
    let task = send(&world, json!({"title": evil, "message": evil, "level": "critical"}));
    assert_eq!(output(world.run(task)), json!({"channel": "c", "by": "slack"}));
    let sent = body(&server.request());
    assert_eq!(sent["blocks"][0]["text"]["type"], "plain_text");
    let message = sent["blocks"][1]["text"]["text"].as_str().expect("text");
    assert_eq!(message, "&lt;!channel&gt; look &lt;http://evil|here&gt; &amp; \\x1b[2J");
    assert!(sent["text"].as_str().expect("text").starts_with("[critical] &lt;!channel&gt;"));
    assert!(sent["blocks"][2]["elements"][0]["text"].as_str().expect("text").starts_with("flow, "));

    output(world.run(send(&world, json!({"title": "t", "message": "<".repeat(1 << 20)}))));
    let sent = body(&server.request());
    let message = sent["blocks"][1]["text"]["text"].as_str().expect("text");
    assert!(message.chars().count() <= 3000 && message.ends_with("characters more)"));
}

#[test]
fn what_slack_says_tells_whether_to_try_again() {
    let told = |head: &str, body: &str| {
        let server = Server::answering(head, body);
        let world = slack(&server.url);
        (world.run(send(&world, json!({"message": "m"}))), server.url)
    };
    let (outcome, url) = told("404 Not Found", "no_service");
    let why = failed(ErrorKind::Permanent, outcome);
    assert!(why.contains("HTTP 404") && why.contains("no_service"), "{why}");
    assert!(!why.contains(&url), "the address is a secret: {why}");
    let (outcome, _) = told("500 Oh", "");
    failed(ErrorKind::Retryable, outcome);
    let (outcome, _) = told("429 Slow\r\nRetry-After: 30", "");
    let Outcome::RateLimited { after, .. } = outcome else { panic!("{outcome:?}") };
    assert_eq!(after, Span::seconds(30));
    // Nobody listens there; the address is not shown.
    let world = slack("http://127.0.0.1:1/services/T0/B0/topsecret");
    let why = failed(ErrorKind::Retryable, world.run(send(&world, json!({"message": "m"}))));
    assert!(!why.contains("topsecret"), "{why}");
}

#[test]
fn webhooks_are_signed_and_have_the_same_id_at_each_try() {
    let count = AtomicU32::new(0);
    let server = Server::new(move |stream| {
        let head = match count.fetch_add(1, Ordering::SeqCst) {
            0 | 1 => "500 Oh",
            _ => "200 OK",
        };
        let text = format!("HTTP/1.1 {head}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
        let _ = stream.write_all(text.as_bytes());
    });
    let world = hook(&server.url, Span::seconds(60));
    let about = json!({"type": "alert.raised", "n": 1});
    let mut task = send(&world, json!({"title": "t", "message": "m", "about": about}));
    task.idempotency_key = "run/step/3.0".to_owned();
    failed(ErrorKind::Retryable, world.run(task.clone()));
    failed(ErrorKind::Retryable, world.run(task.clone()));
    let sent = output(world.run(task));
    assert_eq!((&sent["status"], &sent["id"]), (&json!(200), &json!("run/step/3-0")));
    for _ in 0..3 {
        let request = server.request();
        verify(&request);
        assert_eq!(header(&request, "webhook-id"), "run/step/3-0");
        let body = body(&request);
        assert_eq!(
            (&body["type"], &body["data"]["message"]),
            (&json!("alert.raised"), &json!("m"))
        );
        assert_eq!(body["data"]["about"]["n"], 1);
    }
    // A key of its own stands for the notification, whoever sends it.
    let task = send(&world, json!({"message": "m", "key": "late/backup"}));
    output(world.run(task));
    assert_eq!(header(&server.request(), "webhook-id"), "late/backup");
    let task = send(&world, json!({"message": "m", "key": "a\r\nb"}));
    assert!(failed(ErrorKind::Permanent, world.run(task)).contains("webhook-id"));
}

#[test]
fn a_receiver_that_hangs_or_sends_away_gets_nothing_more() {
    let (hold, held) = std::sync::mpsc::channel::<()>();
    let server = Server::new(move |_| {
        // Says nothing until the test is over.
        let _ = held.recv();
    });
    let world = hook(&server.url, Span(50));
    let why = failed(ErrorKind::Retryable, world.run(send(&world, json!({"message": "m"}))));
    assert!(why.contains("no answer within 50ms"), "{why}");
    drop(hold);

    let other = Server::answering("200 OK", "");
    let head = format!("307 Temporary Redirect\r\nLocation: {}", other.url);
    let server = Server::answering(&head, "");
    let world = hook(&server.url, Span::seconds(60));
    let why = failed(ErrorKind::Permanent, world.run(send(&world, json!({"message": "m"}))));
    assert!(why.contains("redirects are not followed"), "{why}");
    assert!(other.requests.try_recv().is_err(), "nothing went elsewhere");
}
