//! What attempts say that they have spent.

use std::collections::BTreeMap;

use moa_core::agent::{AgentKind, HttpSpec};
use moa_core::limit::{Usage, Usd};
use moa_core::machine::Outcome;
use moa_core::step::ErrorKind;
use moa_core::time::Span;
use moa_ports::agent::Worker as _;
use serde_json::json;

use crate::harness::{World, agent, command, until};
use crate::http::Server;

const SAID: Usage = Usage { usd: Usd(120_000), tokens: 5321 };
const SAY: &str = "echo '{\"usd\": 0.12, \"tokens\": 5321}' > $MOA_USAGE";

/// What an attempt of a script has spent by its own account, how it ended, and its log.
fn spent(world: &World, script: &str) -> (Usage, Outcome, String) {
    world.declare([command("agent", script)]);
    let task = world.task("agent", json!({}));
    world.worker.start(task.clone());
    let done = world.next();
    (done.usage, done.outcome, world.log(&task))
}

fn kind(outcome: &Outcome) -> Option<ErrorKind> {
    match outcome {
        Outcome::Failed { error } => Some(error.kind),
        _ => None,
    }
}

#[test]
fn a_program_says_in_a_file_what_it_has_spent() {
    let world = World::new();
    let (usage, outcome, log) =
        spent(&world, &format!("{SAY}; echo '{{\"ok\": 1}}' > $MOA_OUTPUT"));
    assert_eq!((usage, kind(&outcome), log.as_str()), (SAID, None, ""));
    // One for each call, also of an attempt that fails after them.
    let calls = "for i in 1 2 3; do echo '{\"tokens\": 10}' >> $MOA_USAGE; done; exit 1";
    let (usage, outcome, _) = spent(&world, calls);
    assert_eq!((usage.tokens, kind(&outcome)), (30, Some(ErrorKind::Retryable)));
    let (usage, _, log) = spent(&world, "true");
    assert_eq!((usage, log.as_str()), (Usage::NONE, ""));
    let left: Vec<_> = std::fs::read_dir(world.path(".moa/tmp")).into_iter().flatten().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn what_can_not_be_read_counts_as_nothing_and_fails_nobody() {
    let world = World::new();
    for odd in [
        "echo nonsense > $MOA_USAGE",
        "echo '{\"usd\": -1}' > $MOA_USAGE",
        "echo '{\"tokens\": 1.5}' > $MOA_USAGE",
        "echo '{\"usd\": 1e300}' > $MOA_USAGE",
        "mkdir $MOA_USAGE",
        "mkfifo $MOA_USAGE",
        "ln -s /etc/hostname $MOA_USAGE",
        "truncate -s 1G $MOA_USAGE",
    ] {
        let (usage, outcome, log) = spent(&world, odd);
        assert_eq!((usage, kind(&outcome)), (Usage::NONE, None), "{odd}");
        assert!(log.contains("what it has spent is not counted: $MOA_USAGE"), "{odd}: {log}");
    }
    // What was said before the mistake counts.
    let (usage, _, log) = spent(&world, &format!("{SAY}; echo '{{\"usd\": 1' >> $MOA_USAGE"));
    assert_eq!(usage, SAID);
    assert!(log.contains("is not counted"), "{log}");
}

#[test]
fn it_counts_when_an_attempt_is_stopped() {
    let world = World::new();
    let script = format!("{SAY}; echo up > up; exec sleep 1000");
    world.declare([command("agent", &script)]);
    let task = world.task("agent", json!({}));
    world.worker.start(task.clone());
    until("it is up", || world.path("up").exists().then_some(()));
    world.worker.stop(task.run, task.inst, task.attempt, false);
    let done = world.next();
    assert_eq!((done.usage, done.outcome), (SAID, Outcome::Cancelled));
}

#[test]
fn a_service_says_it_in_a_header_whatever_its_status() {
    let world = World::new();
    let call = |head: &str| {
        let server = Server::answering(head, "{}");
        let spec = HttpSpec {
            urls: vec![server.url.clone()],
            method: "POST".to_owned(),
            headers: BTreeMap::new(),
            response_bytes_max: 1 << 20,
            retry_after_max: Span::seconds(60),
            retry_statuses: Vec::new(),
        };
        world.declare([agent("agent", AgentKind::Http(spec))]);
        let task = world.task("agent", json!({}));
        world.worker.start(task.clone());
        let done = world.next();
        (done.usage, kind(&done.outcome), world.log(&task))
    };
    let (usage, failed, _) = call("200 OK\r\nMoa-Usage: usd=0.12, tokens=5321");
    assert_eq!((usage, failed), (SAID, None));
    let (usage, _, _) = call("200 OK\r\nMoa-Usage: usd=0.12\r\nMOA-USAGE: tokens=5321");
    assert_eq!(usage, SAID);
    let (usage, failed, _) = call("500 Oh\r\nMoa-Usage: usd=0.12, tokens=5321");
    assert_eq!((usage, failed), (SAID, Some(ErrorKind::Retryable)));
    for odd in ["much", "usd=-1", "usd=1, usd=1", "tokens=\u{e9}", ""] {
        let (usage, failed, log) = call(&format!("200 OK\r\nMoa-Usage: {odd}"));
        assert_eq!((usage, failed), (Usage::NONE, None), "{odd}");
        assert!(log.contains("what it has spent is not counted: moa-usage"), "{odd}: {log}");
    }
}
