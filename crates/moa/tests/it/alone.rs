//! `moa run` where no node serves the project: it executes its own run and leaves the others alone.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Stdio;

use serde_json::Value as Json;

use crate::project::{Node, Project, Said, lives, signal};

/// A run with something of everything: an attempt, a timer that is due at once, a child, a task for
/// which there is no slot.
const LONG: &str = r#"
mode: graph
steps:
  - {id: before, run: echo x >> before}
  - {id: during, agent: one, action: work, params: {}}
  - {id: behind, agent: one, action: work, params: {}}
  - {id: nap, sleep: 1s}
  - {id: hear, wait_for: {event: done}}
  - {id: sub, workflow: child}
outputs: {ok: hear.output.data.n}
"#;
const CHILD: &str = "steps: [{id: nap, sleep: 1s}, {id: last, run: echo x >> child}]";
const SHORT: &str = "steps: [{id: only, run: echo x >> short}]";

/// Writes down its process, and waits for the file `go`.
const SLOW: &str = "echo $$ >> pids; echo x >> during; while [ ! -e go ]; do sleep 0.02; done";

fn project(concurrency: &str) -> Project {
    let project = Project::with("long", LONG);
    project.workflow("child", CHILD);
    project.workflow("short", SHORT);
    project.write("agents/one.yaml", &format!("command: [sh, -c, '{SLOW}']\n{concurrency}"));
    project
}

/// Starts `long` on a node and kills that in the middle of it. Answers the run, and what is known of
/// it and of its child then.
fn crashed(project: &Project) -> (String, Json) {
    let node = project.up();
    let mut events = project.events();
    let id = project.call(&["run", "long", "--detach"]).expect(0).out.trim().to_owned();
    // Two naps: the child has one of its own.
    events.until_all(&[
        ("step.succeeded", "before"),
        ("step.started", "during"),
        ("step.started", "behind"),
        ("step.waiting", "nap"),
        ("step.waiting", "nap"),
        ("step.waiting", "sub"),
        ("step.waiting", "hear"),
    ]);
    while !project.root.join("pids").exists() {
        std::thread::yield_now();
    }
    node.kill();
    let before = known(project, &id);
    (id, before)
}

/// All histories and states of a run and its children.
fn known(project: &Project, id: &str) -> Json {
    let children = project.call(&["runs", "list", "--parent", id, "--json"]).expect(0).json();
    let child = children[0]["run"].as_str().expect("it has a child").to_owned();
    let export = |id: &str| project.call(&["runs", "export", id]).expect(0).json();
    serde_json::json!([export(id), export(&child)])
}

#[test]
fn an_open_run_stays_as_it_is_while_another_one_is_run() {
    let project = project("");
    let (id, before) = crashed(&project);
    let pids = project.read("pids");
    let lives = |pid: &str| lives(pid.parse().expect("a number"));
    assert_eq!(project.run("short")["status"], "success");
    assert_eq!(project.read("short"), "x\n");

    // Its timers were due, its attempts are lost, and nobody has touched any of it.
    assert!(known(&project, &id) == before, "something was done with the open run");
    assert_eq!(project.read("pids"), pids, "no attempt was started");
    assert!(pids.lines().all(lives), "what works for a run that nobody executes is left alone");
    assert!(!project.root.join("child").exists());

    project.write("go", "");
    let _node = project.up();
    let mut events = project.events();
    events.until("step.succeeded", "last");
    project.workflow("tell", "steps: [{emit: {type: done, data: {n: 7}}}]");
    project.run("tell");
    project.call(&["runs", "watch", &id]).expect(0);
    let shown = project.call(&["runs", "show", &id, "--json"]).expect(0).json();
    assert_eq!((&shown["status"], &shown["output"]["ok"]), (&"succeeded".into(), &7.into()));
    let during = &shown["steps"][1];
    assert_eq!(during["attempts"].as_array().map(Vec::len), Some(2), "{during}");
    assert_eq!((project.read("before"), project.read("child")), ("x\n".into(), "x\n".into()));
}

/// Waits for one slot, for a file, and for a person.
const ONE: &str = r#"
params: {approve: {type: boolean, default: false}}
concurrency: {key: '"till"', limit: 1}
steps:
  - {id: hold, run: "echo x >> held; while [ ! -e go ]; do sleep 0.02; done"}
  - {id: ask, condition: params.approve, approve: "Fine?"}
  - {id: after, run: echo x >> after}
"#;

/// Starts a run in a process of its own.
fn start(project: &Project, args: &[&str]) -> Node {
    let mut command = project.command(args);
    command.stdout(Stdio::null());
    Node::start_until(command, "one")
}

#[test]
fn a_run_that_waits_for_one_that_nobody_executes_says_so() {
    let project = Project::with("one", ONE);
    let node = project.up();
    let holder = project.call(&["run", "one", "--detach"]).expect(0).out.trim().to_owned();
    project.wait_for("held");
    node.kill();
    let before = project.call(&["runs", "history", &holder, "--json"]).expect(0).out;

    let waits = start(&project, &["run", "one", "--json"]);
    assert!(waits.said.contains("waits for a slot of the concurrency key"), "{}", waits.said);
    assert!(waits.said.contains(&format!("held by {holder}")), "{}", waits.said);
    let said = waits.until("hint");
    assert!(said.contains(&format!("run {holder} is open, but nobody executes it")), "{said}");
    assert!(said.contains("then `moa up` goes on with both"), "{said}");
    let why = project.call(&["runs", "why", "last", "--json"]).expect(0).json();
    assert!(why.to_string().contains(&format!("nobody executes run {holder}")), "{why}");
    signal(waits.pid(), rustix::process::Signal::INT);
    let (code, said) = waits.ended();
    assert_eq!(code, 130, "{said}");
    assert!(
        said.contains("is left as it is") && said.contains("`moa up` goes on with it"),
        "{said}"
    );
    assert_eq!(project.call(&["runs", "history", &holder, "--json"]).expect(0).out, before);

    project.write("go", "");
    let _node = project.up();
    project.call(&["runs", "watch", &holder]).expect(0);
    project.call(&["runs", "watch", "last"]).expect(0);
    assert_eq!(project.read("after"), "x\nx\n");
}

#[test]
fn a_run_that_waits_for_a_person_says_what_to_do_and_can_be_told_meanwhile() {
    let project = Project::with("one", ONE);
    project.write("go", "");
    let waits = start(&project, &["run", "one", "-p", "approve=true"]);
    assert!(waits.said.contains("step ask: it waits for a person's decision"), "{}", waits.said);
    let hint = waits.until("hint");
    let (_, command) = hint.trim().split_once("hint: moa ").expect("a command");
    assert!(command.starts_with("runs signal "), "{command}");
    let signal = ["runs", "signal", "last", "approve.ask", "-p", "approved=true", "--json"];
    assert_eq!(project.call(&signal).expect(0).json()["executed"], true);
    assert_eq!(waits.ended().0, 0);
    assert_eq!(project.read("after"), "x\n");
}

#[test]
fn what_is_asked_of_a_run_that_nobody_executes_is_recorded() {
    let project = Project::with("one", ONE);
    let waits = start_and_leave(&project);
    let why = project.call(&["runs", "why", &waits]).expect(0).out;
    assert!(why.contains("no node serves the project"), "{why}");
    let history = || {
        let rows = project.call(&["runs", "history", &waits, "--json"]).expect(0).json();
        rows.as_array().map(Vec::len)
    };
    let before = history();
    let status = || project.call(&["runs", "show", &waits, "--json"]).expect(0).json();
    let said = project.call(&["runs", "pause", &waits]).expect(0);
    assert!(
        said.err.contains("is paused") && said.err.contains("`moa up` goes on"),
        "{}",
        said.err
    );
    assert_eq!(status()["status"], "paused");
    project.call(&["runs", "resume", &waits]).expect(0);
    let decide = ["runs", "signal", &waits, "approve.ask", "-p", "approved=true", "--json"];
    let said = project.call(&decide).expect(0).json();
    assert_eq!((&said["done"], &said["executed"]), (&true.into(), &false.into()));
    assert!(history() > before);
    assert!(!project.root.join("after").exists(), "what follows is not done");
    {
        let _node = project.up();
        project.call(&["runs", "watch", &waits]).expect(0);
    }
    assert_eq!(project.read("after"), "x\n");

    // A cancel needs nobody when nothing is left to do.
    let second = start_and_leave(&project);
    let said = project.call(&["runs", "cancel", &second]).expect(0);
    assert!(said.err.contains("is cancelled"), "{}", said.err);
    assert_eq!(project.read("after"), "x\n");
}

/// Starts a run, and ends the command while it waits for a person.
fn start_and_leave(project: &Project) -> String {
    project.write("go", "");
    let waits = start(project, &["run", "one", "-p", "approve=true"]);
    waits.until("hint");
    signal(waits.pid(), rustix::process::Signal::INT);
    assert_eq!(waits.ended().0, 130);
    let listed = project.call(&["runs", "list", "--json"]).expect(0).json();
    listed[0]["run"].as_str().expect("an id").to_owned()
}

/// Says a line on a socket, and hears one.
fn asks(socket: &mut UnixStream, line: &str) -> Json {
    writeln!(socket, "{line}").expect("it takes it");
    hears(socket)
}

fn hears(socket: &UnixStream) -> Json {
    let mut line = String::new();
    BufReader::new(socket).read_line(&mut line).expect("a line");
    serde_json::from_str(&line).expect("JSON")
}

#[test]
fn a_change_is_tried_again_where_another_commands_node_ends_just_then() {
    let project = Project::with("one", ONE);
    let waits = start_and_leave(&project);
    let path = project.root.join(".moa/moa.sock");
    let mut hello = {
        let _node = project.up();
        let mut socket = UnixStream::connect(&path).expect("it listens");
        asks(&mut socket, r#"{"op": "hello", "protocol": 2}"#)
    };
    (hello["transient"], hello["pid"]) = (true.into(), 1.into());
    // A node that greets, and stops before it has begun with anything.
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path).expect("it can listen");
    let ends = std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().expect("a command");
        hears(&socket);
        let asked = asks(&mut socket, &hello.to_string());
        std::fs::remove_file(&path).expect("it is there");
        let refusal = r#"{"reply": "error", "kind": "unavailable", "message": "it is stopping"}"#;
        writeln!(socket, "{refusal}").expect("said");
        asked
    });
    project.call(&["runs", "pause", &waits]).expect(0);
    assert_eq!(ends.join().expect("it has ended")["op"], "change");
    let shown = project.call(&["runs", "show", &waits, "--json"]).expect(0).json();
    assert_eq!(shown["status"], "paused");
}

#[test]
fn what_a_cancelled_run_left_at_work_is_ended() {
    let project = project("");
    let (id, _) = crashed(&project);
    let pids = project.read("pids");
    project.call(&["runs", "terminate", &id]).expect(0);
    assert!(!pids.lines().any(|pid| lives(pid.parse().expect("a number"))));
    let listed = project.call(&["runs", "show", &id, "--json"]).expect(0).json();
    assert_eq!(listed["status"], "cancelled");
}

#[test]
fn only_a_run_that_uses_a_limited_agent_ends_what_is_left_of_it() {
    let project = project("concurrency: 2");
    project.workflow("other", "steps: [{agent: one, action: work, params: {}}]");
    let (id, _) = crashed(&project);
    while project.read("pids").lines().count() < 2 {
        std::thread::yield_now();
    }
    let pids = project.read("pids");
    let lives = || pids.lines().filter(|pid| lives(pid.parse().expect("a number"))).count();
    project.call(&["runs", "signal", &id, "go"]).expect(0);
    project.call(&["runs", "pause", &id]).expect(0);
    project.call(&["runs", "resume", &id]).expect(0);
    project.run("short");
    assert_eq!(lives(), 2, "nothing of that agent was started");
    let mut command = project.command(&["run", "other", "-q"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    while project.read("pids").lines().count() < 3 {
        std::thread::yield_now();
    }
    assert_eq!(lives(), 0, "there would be three of two");
    project.write("go", "");
    Said::from(child.wait_with_output().expect("it ends")).expect(0);
}

#[test]
fn a_key_that_is_there_already_goes_on_alone() {
    let project = project("");
    let node = project.up();
    let mut events = project.events();
    let detached = ["run", "long", "--detach", "--idempotency-key", "k"];
    let id = project.call(&detached).expect(0).out.trim().to_owned();
    let other = project.call(&["run", "long", "--detach"]).expect(0).out.trim().to_owned();
    // Of each: a nap, and the child's.
    let each = [
        ("step.succeeded", "before"),
        ("step.started", "during"),
        ("step.started", "behind"),
        ("step.waiting", "nap"),
        ("step.waiting", "nap"),
    ];
    events.until_all(&[each, each].concat());
    node.kill();
    let before = known(&project, &other);
    project.workflow("tell", "steps: [{emit: {type: done, data: {n: 7}}}]");
    project.write("go", "");
    let mut command = project.command(&["run", "long", "--idempotency-key", "k", "--watch"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    // Served by the same node, and so gone on with while that is there.
    project.call(&["run", "tell"]).expect(0);
    let said: Said = child.wait_with_output().expect("it ends").into();
    assert_eq!(said.expect(0).code, 0);
    let shown = project.call(&["runs", "show", &id, "--json"]).expect(0).json();
    assert_eq!((&shown["status"], &shown["output"]["ok"]), (&"succeeded".into(), &7.into()));
    let now = known(&project, &other);
    assert_eq!(now[0]["steps"], before[0]["steps"]);
}

#[test]
fn commands_at_the_same_time_run_each_run_once() {
    let project = Project::with("short", SHORT);
    for _ in 0..5 {
        let start = |_| {
            let mut command = project.command(&["run", "short"]);
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts")
        };
        let children: Vec<_> = (0..6).map(start).collect();
        for child in children {
            Said::from(child.wait_with_output().expect("it ends")).expect(0);
        }
    }
    assert_eq!(project.read("short"), "x\n".repeat(30));
}

#[test]
fn what_is_ready_where_nobody_executes_it_waits_for_a_node() {
    let project = Project::with("one", ONE);
    let node = project.up_with(&["--drain", "0s"]);
    project.call(&["run", "one", "--detach"]).expect(0);
    project.wait_for("held");
    // It gives the attempt back.
    node.stop();
    let why = project.call(&["runs", "why", "last"]).expect(0).out;
    assert!(why.contains("hold ready: it is ready, and waits for a node"), "{why}");
}

#[test]
fn a_node_waits_for_a_run_that_has_the_project() {
    let project = project("concurrency: 2\n");
    project.workflow("slow", "steps: [{id: one, agent: one, action: work, params: {}}]");
    let mut run = project.command(&["run", "slow"]);
    let mut run = run.stderr(Stdio::null()).stdout(Stdio::null()).spawn().expect("it starts");
    while !project.root.join("pids").exists() {
        std::thread::yield_now();
    }
    let node = Node::start_until(project.command(&["up"]), "waiting for a run");
    assert!(node.said.contains(&format!("pid {}", run.id())), "{}", node.said);
    project.write("go", "");
    node.until("ready");
    assert!(run.wait().expect("it ends").success());
    // A node that stays is not waited for.
    let refused = project.call(&["up"]).expect(5);
    assert!(refused.err.contains("serves this project already"), "{}", refused.err);
    node.stop();
}
