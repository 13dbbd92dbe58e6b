//! Changes of runs from outside.

use std::process::Stdio;

use crate::project::{Events, Project, Said, signal};

const WAITS: &str = r#"
steps:
  - {id: wait, wait_for: {signal: go}}
  - {id: release, approve: "Release it?"}
outputs: {by: release.by}
"#;

#[test]
fn signals_and_decisions_let_a_run_go_on() {
    let project = Project::with("waits", WAITS);
    let _node = project.up();
    let mut events = project.events();
    let said = project.call(&["run", "waits", "--detach"]).expect(0);
    let id = said.out.trim().to_owned();
    events.until("step.waiting", "wait");
    let why = project.call(&["runs", "why", &id, "--json"]).expect(0).json();
    assert_eq!(why["steps"][0]["step"], "wait");
    assert_eq!(why["steps"][0]["unblock"], format!("moa runs signal {id} go"));
    let listed = project.call(&["runs", "list", "--status", "waiting", "--json"]).expect(0).json();
    assert_eq!(listed[0]["run"], id);

    project.call(&["runs", "signal", &id, "go", "--key", "1"]).expect(0);
    events.until("step.waiting", "release");
    project.call(&["runs", "signal", &id, "go", "--key", "1"]).expect(5);
    project
        .call(&["runs", "signal", &id, "approve.release", "-p", "approved=true", "-p", "by=Ada"])
        .expect(0);
    project.call(&["runs", "watch", &id]).expect(0);
    let shown = project.call(&["runs", "show", &id, "--json"]).expect(0).json();
    assert_eq!(shown["output"]["by"], "Ada");
    project.call(&["runs", "cancel", &id]).expect(5);
}

#[test]
fn a_run_is_paused_resumed_cancelled_and_terminated() {
    let project = Project::with("waits", WAITS);
    let node = project.up();
    let mut events = project.events();
    let start = || project.call(&["run", "waits", "--detach"]).expect(0).out.trim().to_owned();
    let status =
        |id: &str| project.call(&["runs", "show", id, "--json"]).expect(0).json()["status"].clone();
    let id = start();
    events.until("step.waiting", "wait");
    project.call(&["runs", "pause", &id]).expect(0);
    assert_eq!(status(&id), "paused");
    project.call(&["runs", "resume", &id]).expect(0);
    assert_eq!(status(&id), "waiting");
    project.call(&["runs", "cancel", &id, "--reason", "not needed"]).expect(0);
    project.call(&["runs", "watch", &id]).expect(1);
    assert_eq!(status(&id), "cancelled");
    let id = start();
    project.call(&["runs", "terminate", &id]).expect(0);
    assert_eq!(status(&id), "cancelled");
    let open = start();
    node.stop();
    for change in [&["cancel", &id][..], &["pause", &id], &["resume", &id], &["signal", &id, "go"]]
    {
        let said = project.call(&[&["runs"], change].concat()).expect(5);
        assert!(said.err.contains("has ended (cancelled)"), "{}", said.err);
    }
    let said = project.call(&["runs", "signal", &open, "go", "--payload", "{bad"]).expect(2);
    assert!(said.err.contains("what --payload gives is not JSON"), "{}", said.err);
    let said = project.call(&["runs", "rerun", &id, "--from", "nowhere"]).expect(4);
    assert!(said.err.contains(&format!("`moa runs show {id}` names the steps")), "{}", said.err);
}

#[test]
fn ctrl_c_leaves_the_run_and_says_how_to_go_on() {
    let workflow = r#"
steps:
  - {id: slow, run: "echo x >> began; while [ ! -e go ]; do sleep 0.02; done"}
error_handling:
  finally: [{id: clean, run: echo x >> cleaned}]
"#;
    let project = Project::with("slow", workflow);
    let mut events = project.events();
    let interrupted = |events: &mut Events| {
        let mut command = project.command(&["run", "slow", "--json"]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().expect("it can be started");
        events.until("step.started", "slow");
        project.wait_for("began");
        signal(child.id(), rustix::process::Signal::INT);
        let said = Said::from(child.wait_with_output().expect("it ends")).expect(130);
        assert_eq!(said.out, "");
        said.err
    };
    let shown = || project.call(&["runs", "show", "last", "--json"]).expect(0).json();
    let err = interrupted(&mut events);
    assert!(err.contains("is left as it is") && err.contains("`moa up` goes on with it"), "{err}");
    assert_eq!(shown()["status"], "running");
    assert!(!project.root.join("cleaned").exists());

    // Where a node serves the project, the run goes on there.
    let _node = project.up();
    let err = interrupted(&mut events);
    assert!(err.contains("goes on at the project's node"), "{err}");
    project.write("go", "");
    project.call(&["runs", "watch", "last"]).expect(0);
    let mut ends = Vec::new();
    for run in project.call(&["runs", "list", "--json"]).expect(0).json().as_array().expect("all") {
        let id = run["run"].as_str().expect("an id");
        project.call(&["runs", "watch", id]).expect(0);
        let shown = project.call(&["runs", "show", id, "--json"]).expect(0).json();
        let attempts = shown["steps"][0]["attempts"].as_array().expect("all").clone();
        ends.extend(attempts.iter().map(|attempt| attempt["outcome"].clone()));
    }
    // The attempt that was stopped doesn't count.
    assert_eq!(ends, ["succeeded", "released", "succeeded"]);
    assert_eq!(project.read("cleaned"), "x\nx\n");
}

#[test]
fn sigterm_leaves_the_run_for_the_next_node() {
    let workflow = "steps:\n  - {id: slow, run: \"while [ ! -e go ]; do sleep 0.02; done\"}\n";
    let project = Project::with("slow", workflow);
    let mut events = project.events();
    let mut command = project.command(&["run", "slow"]);
    let child = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().expect("it starts");
    events.until("step.started", "slow");
    signal(child.id(), rustix::process::Signal::TERM);
    Said::from(child.wait_with_output().expect("it ends")).expect(130);
    project.write("go", "");
    let _node = project.up();
    project.call(&["runs", "watch", "last"]).expect(0);
}
