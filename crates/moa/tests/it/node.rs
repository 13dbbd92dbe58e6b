//! `moa up`: one at a time, kept up to date, stopped and killed.

use crate::project::{Node, Project, lives, signal};
use crate::top::Pty;

const HELLO: &str = "steps:\n  - {id: hello, run: echo '\"one\"'}\n";

#[test]
fn a_second_node_is_refused_and_names_the_first() {
    let project = Project::with("hello", HELLO);
    let node = project.up();
    assert!(node.said.contains("hello"), "{}", node.said);
    let said = project.call(&["up"]).expect(5);
    assert!(said.err.contains(&format!("pid {}", node.pid())), "{}", said.err);
    let state = project.call(&["state"]).expect(0).json();
    assert_eq!(state["node"]["pid"], node.pid());
    let (code, _) = node.stop();
    assert_eq!(code, 0);
    assert!(!project.root.join(".moa/moa.sock").exists());
    assert!(project.call(&["state"]).expect(0).json()["node"].is_null());
}

#[test]
fn an_edit_holds_from_the_next_run_on_and_a_broken_one_does_not() {
    let project = Project::with("hello", HELLO);
    let _node = project.up();
    let output = || project.run("hello")["steps"][0]["output"].clone();
    assert_eq!(output(), "one");
    project.workflow("hello", &HELLO.replace("one", "two"));
    assert_eq!(output(), "two");
    project.workflow("hello", "steps:\n  - {id: hello, rum: echo three}\n");
    let said = project.call(&["run", "hello", "--json"]).expect(0);
    assert_eq!(said.json()["steps"][0]["output"], "two");
    assert!(said.err.contains("rum") && said.err.contains("last good version"), "{}", said.err);
    project.workflow("hello", &HELLO.replace("one", "four"));
    assert_eq!(output(), "four");
    let versions = project.call(&["workflows", "versions", "hello", "--json"]).expect(0).json();
    assert_eq!(versions.as_array().map(Vec::len), Some(3));
    let oldest = versions[2]["hash"].as_str().expect("a hash");
    let old = project.call(&["run", &format!("hello@{}", &oldest[..10]), "--json"]).expect(0);
    assert_eq!(old.json()["steps"][0]["output"], "one");
    let diff = project.call(&["workflows", "diff", &format!("hello@{oldest}"), "hello"]).expect(1);
    assert!(diff.out.contains("four"), "{}", diff.out);
    let second = format!("hello@{}", versions[1]["hash"].as_str().expect("a hash"));
    let newest = project.call(&["workflows", "diff", &second, "hello"]).expect(1).out;
    let before = project.call(&["workflows", "diff", "hello"]).expect(1).out;
    assert_eq!(before, newest, "the version before and the file");
    assert_ne!(before, diff.out);
    let first = format!("hello@{oldest}");
    let none = project.call(&["workflows", "diff", &first]).expect(4);
    assert!(none.err.contains("has no version before"), "{}", none.err);
}

#[test]
fn a_broken_file_at_the_start_falls_back_to_the_store() {
    let project = Project::with("hello", HELLO);
    project.up().stop();
    project.workflow("hello", "steps: [");
    let node = project.up();
    let said = project.call(&["run", "hello", "--json"]).expect(0);
    assert_eq!(said.json()["steps"][0]["output"], "one");
    node.stop();
    project.call(&["run", "hello"]).expect(3);
}

#[test]
fn agents_are_replaced_while_the_node_runs() {
    let project = Project::with("ask", "steps:\n  - {id: ask, agent: a, action: b, params: {}}\n");
    project.write("agents/a.yaml", "command: [echo, '1']\n");
    let _node = project.up();
    assert_eq!(project.run("ask")["steps"][0]["output"], 1);
    project.write("agents/a.yaml", "command: [echo, '2']\n");
    assert_eq!(project.run("ask")["steps"][0]["output"], 2);
    project.write("agents/a.yaml", "comand: [echo, '3']\n");
    assert_eq!(project.run("ask")["steps"][0]["output"], 2);
}

#[test]
fn what_a_killed_node_left_is_ended_even_when_it_cleared_its_environment() {
    let script = "echo x >> begun
        setsid env -i sh -c 'echo $$ > deep; exec sleep 1000' &
        [ -e go ] || exec env -i sh -c 'echo $$ > up; exec sleep 1000'";
    let project = Project::empty();
    project.workflow("clear", "steps:\n  - {agent: clear, action: go}\n");
    let script: String = script.lines().map(|line| format!("  {line}\n")).collect();
    project.write("agents/clear.yaml", &format!("shell: |\n{script}"));
    let node = project.up();
    let mut events = project.events();
    project.call(&["run", "clear", "--detach"]).expect(0);
    events.until("step.started", "go");
    let (up, deep) = (project.pid_in("up"), project.pid_in("deep"));
    node.kill();
    assert!(lives(up) && lives(deep));
    project.write("go", "");
    let node = project.up();
    assert!(!lives(up) && !lives(deep));
    assert!(
        node.said.contains("ended attempts that an earlier node left running"),
        "{}",
        node.said
    );
    project.call(&["runs", "watch", "last"]).expect(0);
    assert_eq!(project.read("begun"), "x\nx\n");
}

#[test]
fn the_node_of_a_copy_leaves_the_original_alone() {
    let wait = "echo $$ > up; while [ -e go ]; do sleep 0.02; done";
    let project = Project::with("long", &format!("steps:\n  - {{run: \"{wait}\"}}\n"));
    // They end with the folder.
    project.write("go", "");
    let node = project.up();
    project.call(&["run", "long", "--detach"]).expect(0);
    let pid = project.pid_in("up");
    let copy = project.outside().join("copy");
    let mut copied = std::process::Command::new("cp");
    // The socket can't be copied everywhere; the rest is.
    let _ = copied.arg("-a").arg(&project.root).arg(&copy).status().expect("cp");
    let other = Node::start_in(&copy);
    assert!(lives(pid));
    drop((other, node));
}

#[test]
fn a_killed_node_loses_nothing() {
    let workflow = r#"
steps:
  - {id: before, run: echo x >> before}
  - {id: during, run: "echo x >> during; while [ ! -e go ]; do sleep 0.02; done"}
  - {id: after, run: echo x >> after}
"#;
    let project = Project::with("long", workflow);
    let node = project.up();
    let mut events = project.events();
    let said = project.call(&["run", "long", "--detach"]).expect(0);
    let id = said.out.trim();
    events.until("step.started", "during");
    node.kill();
    let shown = project.call(&["runs", "show", id, "--json"]).expect(0).json();
    assert_eq!(shown["status"], "running");
    let why = project.call(&["runs", "why", id]).expect(0);
    assert!(why.out.contains("no node serves the project"), "{}", why.out);

    project.write("go", "");
    let _node = project.up();
    project.call(&["runs", "watch", id]).expect(0);
    let shown = project.call(&["runs", "show", id, "--json"]).expect(0).json();
    assert_eq!(shown["status"], "succeeded");
    let during = &shown["steps"][1];
    assert_eq!(during["attempts"].as_array().map(Vec::len), Some(2), "{during}");
    assert_eq!(during["attempts"][0]["outcome"], "failed");
    assert_eq!(during["attempts"][1]["outcome"], "succeeded");
    assert_eq!(project.read("before"), "x\n");
    assert_eq!(project.read("after"), "x\n");
}

#[test]
fn a_stopped_node_lets_attempts_end() {
    let workflow = "steps:\n  - {id: slow, run: \"while [ ! -e go ]; do sleep 0.02; done\"}\n";
    let project = Project::with("slow", workflow);
    let node = project.up();
    let mut events = project.events();
    let said = project.call(&["run", "slow", "--detach"]).expect(0);
    let id = said.out.trim().to_owned();
    events.until("step.started", "slow");
    let stopping = std::thread::spawn(move || node.stop());
    project.write("go", "");
    let (code, rest) = stopping.join().expect("no panic");
    assert_eq!(code, 0, "{rest}");
    // Whoever still follows the events may keep a log, but nothing is in it.
    let log = std::fs::metadata(project.root.join(".moa/moa.db-wal")).map_or(0, |log| log.len());
    assert_eq!(log, 0, "what was written is in one file: {rest}");
    let shown = project.call(&["runs", "show", &id, "--json"]).expect(0).json();
    assert_eq!(shown["status"], "succeeded", "{rest}");
}

#[test]
fn a_node_says_on_a_terminal_what_is_its_own_and_in_colours() {
    let project = Project::with("work", "steps: [{run: 'true'}]\n");
    let mut command = project.command(&["up"]);
    command.env_remove("NO_COLOR");
    let mut pty = Pty::open(command, 120, 24);
    let said = pty.until("Ctrl-C stops it");
    for line in said.lines().filter(|line| !line.trim().is_empty()) {
        let plain = plain(line);
        let begins = ["20", "  ", "moa ", "warning", "note", "ready"];
        assert!(begins.iter().any(|begin| plain.starts_with(begin)), "{plain:?} in\n{said}");
    }
    assert!(said.contains("\u{1b}[32m INFO"), "the log is in colours: {said:?}");
    signal(pty.pid(), rustix::process::Signal::TERM);
    pty.until("stopped");
}

/// A line of a terminal without its colours.
fn plain(line: &str) -> String {
    let mut pieces = line.trim_end().split("\u{1b}[");
    let first = pieces.next().unwrap_or_default().to_owned();
    pieces.fold(first, |plain, piece| plain + piece.split_once('m').map_or(piece, |(_, text)| text))
}

/// Two steps at once, each of which ends when a file of its name is there.
const TWO: &str = "
steps:
  - parallel:
      - {id: one, run: \"while [ ! -e one ]; do sleep 0.02; done\"}
      - {id: two, run: \"while [ ! -e two ]; do sleep 0.02; done\"}
";

/// A node with a drain, in which both steps of [`TWO`] run; and the run.
fn busy(project: &Project, drain: &str) -> (Node, String) {
    let node = project.up_with(&["--drain", drain]);
    let mut events = project.events();
    let said = project.call(&["run", "two", "--detach"]).expect(0);
    events.until("step.started", "one");
    events.until("step.started", "two");
    (node, said.out.trim().to_owned())
}

#[test]
fn a_stop_says_what_it_waits_for_and_starts_nothing_new() {
    let project = Project::with("two", TWO);
    let (node, id) = busy(&project, "10m");
    signal(node.pid(), rustix::process::Signal::TERM);
    let said = node.until("stopping");
    assert!(said.contains("2 running attempts get up to 10m"), "{said}");
    let refused = project.call(&["run", "two", "--detach"]).expect(6);
    assert!(refused.err.contains("stopping"), "{}", refused.err);
    project.write("one", "");
    let said = node.until("waiting for 1 attempt");
    assert!(said.contains("waiting for 1 attempt: shell"), "{said}");
    project.write("two", "");
    let (code, rest) = node.ended();
    assert_eq!((code, rest.contains("next start")), (0, false), "{rest}");
    let shown = project.call(&["runs", "show", &id, "--json"]).expect(0).json();
    assert_eq!(shown["status"], "succeeded");
}

#[test]
fn what_outlives_the_drain_is_released_and_goes_on_at_the_next_start() {
    let project = Project::with("two", TWO);
    let (node, id) = busy(&project, "0s");
    let (code, said) = node.stop();
    assert_eq!(code, 0);
    assert!(said.contains("2 running attempts are stopped now"), "{said}");
    assert!(said.contains("2 attempts stopped at the end of the wait"), "{said}");
    project.write("one", "");
    project.write("two", "");
    let _node = project.up();
    project.call(&["runs", "watch", &id]).expect(0);
    let shown = project.call(&["runs", "show", &id, "--json"]).expect(0).json();
    assert_eq!(shown["status"], "succeeded");
    assert_eq!(shown.to_string().matches("released").count(), 2, "{shown}");
}

#[test]
fn a_second_signal_stops_at_once_and_the_run_goes_on_later() {
    let workflow = "steps:\n  - {id: slow, run: \"while [ ! -e go ]; do sleep 0.02; done\"}\n";
    let project = Project::with("slow", workflow);
    let node = project.up();
    let mut events = project.events();
    let said = project.call(&["run", "slow", "--detach"]).expect(0);
    let id = said.out.trim().to_owned();
    events.until("step.started", "slow");
    signal(node.pid(), rustix::process::Signal::TERM);
    // Two signals at once would be one.
    node.until("stopping");
    let (code, _) = node.stop();
    assert_eq!(code, 130);
    project.write("go", "");
    let _node = project.up();
    project.call(&["runs", "watch", &id]).expect(0);
    let shown = project.call(&["runs", "show", &id, "--json"]).expect(0).json();
    assert_eq!(shown["steps"][0]["attempts"][0]["outcome"], "released");
}

#[test]
fn a_long_path_gets_a_short_socket() {
    let project = Project::empty();
    let deep = project.root.join("d".repeat(60)).join("e".repeat(60));
    std::fs::create_dir_all(deep.join("workflows")).expect("mkdir");
    std::fs::write(deep.join("moa.yaml"), "").expect("write");
    std::fs::write(deep.join("workflows/hello.yaml"), HELLO).expect("write");
    let said = crate::project::call_in(&deep, &["run", "hello", "--json"]).expect(0);
    assert_eq!(said.json()["status"], "success");
    assert!(deep.join(".moa/socket").is_file());
}
