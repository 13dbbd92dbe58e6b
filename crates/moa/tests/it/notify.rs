//! Notifications that moa itself sends, with the real binary and real receivers.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};

use serde_json::{Value as Json, json};

use crate::project::Project;

/// A receiver of webhooks: each request is answered as `answer` says, or never.
pub struct Receiving {
    pub url: String,
    pub requests: Receiver<Told>,
}

/// A request as it came.
pub struct Told {
    pub id: String,
    pub body: Json,
}

impl Receiving {
    /// `answer` is given the number of the request, from 0; `None` = no answer.
    pub fn new(answer: impl Fn(usize) -> Option<&'static str> + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}/hook", listener.local_addr().expect("an address"));
        let (sender, requests) = channel();
        std::thread::spawn(move || {
            let mut unanswered = Vec::new();
            for (n, stream) in listener.incoming().enumerate() {
                let mut stream = stream.expect("a connection");
                let Some(request) = read(&mut stream) else { continue };
                let _ = sender.send(request);
                match answer(n) {
                    Some(head) => {
                        let end = "Connection: close\r\nContent-Length: 0\r\n\r\n";
                        let _ = stream.write_all(format!("HTTP/1.1 {head}\r\n{end}").as_bytes());
                    }
                    None => unanswered.push(stream),
                }
            }
        });
        Self { url, requests }
    }

    pub fn next(&self) -> Told {
        self.requests.recv().expect("a request")
    }
}

fn read(stream: &mut TcpStream) -> Option<Told> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).ok()?;
    let header = |name: &str| head.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(": "));
    let mut body = vec![0; header("content-length")?.parse().ok()?];
    stream.read_exact(&mut body).ok()?;
    let body = serde_json::from_slice(&body).ok()?;
    let id = header("webhook-id")?.to_owned();
    Some(Told { id, body })
}

/// A project of which a target is missed, which `channel` is told.
fn project(channel: &str) -> Project {
    let project = Project::with("letters", "steps: [{run: 'true'}]\n");
    let settings = format!(
        "metrics: {{letters: {{workflow: letters}}}}\n\
         targets: {{letters: {{day: {{minimum: 3}}, notify: hook}}}}\n\
         notify: {{channels: {{hook: {channel}}}}}\n"
    );
    project.write("moa.yaml", &settings);
    let counter = json!({"after": 0, "since": "2020-01-01", "total": 0.0, "days": {}});
    let counters = json!({"format": 1, "counters": {"letters": counter}});
    project.write(".moa/counters.json", &counters.to_string());
    project
}

fn told(project: &Project) -> Json {
    let args = ["runs", "list", "--workflow", "moa-notify", "--json"];
    project.call(&args).expect(0).json()[0].clone()
}

#[test]
fn what_is_told_survives_a_kill_and_has_the_same_id() {
    // It hangs at first, and then takes what it gets.
    let receiver = Receiving::new(|n| (n > 0).then_some("200 OK"));
    let project = project(&format!("{{webhook: {{url: '{}', timeout: 2m}}}}", receiver.url));
    let node = project.up();
    let first = receiver.next();
    node.kill();
    let _node = project.up();
    let second = receiver.next();
    assert_eq!(first.id, second.id);
    assert_eq!(first.body, second.body);
    assert_eq!(second.body["type"], "target.missed");
    while told(&project)["status"] != "succeeded" {}
    assert!(receiver.requests.try_recv().is_err(), "it was delivered once");
}

#[test]
fn no_agent_of_the_project_stands_in_for_what_moa_tells() {
    let receiver = Receiving::new(|_| Some("200 OK"));
    let project = project(&format!("{{webhook: {{url: '{}'}}}}", receiver.url));
    project.write("agents/notify.yaml", "command: [touch, stolen]\n");
    let _node = project.up();
    assert_eq!(receiver.next().body["type"], "target.missed");
    while told(&project)["status"] != "succeeded" {}
    assert!(!project.root.join("stolen").exists());
    project.write("agents/moa-notify.yaml", "command: [touch, stolen]\n");
    let said = project.call(&["workflows", "validate"]).expect(3);
    let said = format!("{}{}", said.out, said.err);
    assert!(said.contains("the agent moa-notify is part of moa"), "{said}");
}

#[test]
fn what_a_receiver_has_no_time_for_is_told_again() {
    let receiver = Receiving::new(|n| Some(if n < 2 { "500 Oh" } else { "200 OK" }));
    let project = project(&format!("{{webhook: {{url: '{}'}}}}", receiver.url));
    let _node = project.up();
    let ids = [(); 3].map(|()| receiver.next().id);
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    while told(&project)["status"] != "succeeded" {}
}

#[test]
fn what_a_receiver_refuses_for_good_is_a_failed_run_that_says_why() {
    let receiver = Receiving::new(|n| Some(if n == 0 { "410 Gone" } else { "200 OK" }));
    let project = project(&format!("{{webhook: {{url: '{}'}}}}", receiver.url));
    let _node = project.up();
    receiver.next();
    while told(&project)["status"] != "failed" {}
    let run = told(&project)["run"].as_str().expect("an id").to_owned();
    assert!(told(&project)["error"].as_str().expect("why").contains("HTTP 410"));
    // Once that is mended, it is told after all.
    project.call(&["runs", "retry", &run]).expect(0);
    receiver.next();
}

#[test]
fn channels_are_listed_and_tried_without_showing_secrets() {
    let receiver = Receiving::new(|n| Some(if n == 0 { "200 OK" } else { "403 No" }));
    let project = Project::with("letters", "steps: [{run: 'true'}]\n");
    project.write(
        "moa.yaml",
        "notify: {channels: {hook: {webhook: {url: '${{ secrets.HOOK }}'}}, log: {file: log.jsonl}}}\n",
    );
    project.write(".env", &format!("HOOK={}\n", receiver.url));
    let listed = project.call(&["notify", "list"]).expect(0);
    assert!(listed.out.contains("${{ secrets.HOOK }}") && !listed.out.contains("127.0.0.1"));
    let sent = project.call(&["notify", "test", "hook", "--json"]).expect(0).json();
    assert_eq!(sent["output"]["status"], 200, "{sent}");
    assert_eq!(receiver.next().body["data"]["title"], "A test of moa");
    let refused = project.call(&["notify", "test", "hook"]).expect(1);
    assert!(refused.err.contains("HTTP 403"), "{}", refused.err);
    project.call(&["notify", "test", "log"]).expect(0);
    assert!(project.read("log.jsonl").contains("This is a test"));
    assert!(project.call(&["notify", "test", "hok"]).expect(4).err.contains("did you mean hook"));
    // A setting that gives a secret away is refused.
    project.write(
        "moa.yaml",
        "notify: {channels: {s: {slack: {url: 'https://hooks.slack.com/x'}}}}\n",
    );
    assert!(project.call(&["notify", "list"]).expect(3).err.contains("is a secret"));
}

#[test]
fn the_name_of_the_workflow_that_tells_is_taken() {
    let project = Project::with("moa-notify", "steps: [{run: 'true'}]\n");
    let said = project.call(&["workflows", "validate"]).expect(3);
    assert!(format!("{}{}", said.out, said.err).contains("is part of moa"), "{}", said.err);
}
