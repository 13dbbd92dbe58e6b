//! What people see, word for word.

use insta::assert_snapshot;

use crate::project::{Project, Said, call_in};

const BUILD: &str = r#"
name: Build
version: 1.2.0
description: Builds and checks
params:
  app: {type: string, default: shop}
steps:
  - {id: prepare, run: "echo '{\"files\": 3}'"}
  - id: check
    parallel:
      - {id: lint, run: "true"}
      - {id: scan, run: "exit 2", retry: never, continue: true}
  - id: each
    foreach: {in: "['a', 'b']", as: part}
    steps:
      - {id: pack, run: "echo ${{ part }}"}
      - {id: sign, condition: part == 'b', run: "true"}
  - condition: prepare.files > 5
    then: [{id: split, run: "true"}]
  - {id: ship, depends_on: [scan], run: "true"}
outputs: {files: prepare.files}
"#;

/// Takes out what differs from run to run.
fn settings() -> insta::Settings {
    let mut settings = insta::Settings::clone_current();
    settings
        .add_filter(r"[0-9a-f]{8}-[0-9a-f]{4}-[78][0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}", "[RUN]");
    settings.add_filter(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", "[TIME]");
    settings.add_filter(r"\d\d:\d\d:\d\d\.\d{3}", "[TIME]");
    settings.add_filter(r"\b[0-9a-f]{16}\b", "[NODE]");
    settings.add_filter(r"\((now|\d+s ago)\)", "([AGE])");
    settings.add_filter(r"\d+(\.\d)?m?s\b", "[SPAN]");
    settings.add_filter(r"\(pid \d+\)", "(pid [PID])");
    settings.add_filter(r"/\S*/shop\b", "[PROJECT]");
    settings.add_filter(r"\b[0-9a-f]{12}\b", "[HASH]");
    settings
}

fn show(said: &Said) -> String {
    let mut text = format!("exit {}\n", said.code);
    for (name, stream) in [("stdout", &said.out), ("stderr", &said.err)] {
        if !stream.is_empty() {
            text.push_str(&format!("--- {name}\n{}\n", stream.trim_end()));
        }
    }
    text
}

#[test]
fn a_run_and_what_is_known_of_it() {
    let project = Project::with("build", BUILD);
    settings().bind(|| {
        assert_snapshot!("dry_run", show(&project.call(&["run", "build", "--dry-run"])));
        assert_snapshot!("workflow", show(&project.call(&["workflows", "show", "build"])));
        assert_snapshot!("run", show(&project.call(&["run", "build"])));
        assert_snapshot!("show", show(&project.call(&["runs", "show", "last"])));
        assert_snapshot!("why_succeeded", show(&project.call(&["runs", "why", "last"])));
        let all = show(&project.call(&["runs", "show", "last", "--color", "always"]));
        assert_snapshot!("show_in_color", all.replace('\x1b', "^"));
    });
}

#[test]
fn failures_say_what_where_and_what_next() {
    let project = Project::with("build", BUILD);
    project.workflow("broken", "steps:\n  - {id: a, depnds_on: [b]}\n");
    settings().bind(|| {
        assert_snapshot!("unknown_workflow", show(&project.call(&["run", "biuld"])));
        assert_snapshot!("unknown_param", show(&project.call(&["run", "build", "-p", "ap=x"])));
        assert_snapshot!("broken_workflow", show(&project.call(&["run", "broken"])));
        assert_snapshot!("no_node", show(&project.call(&["run", "build", "--detach"])));
        assert_snapshot!("no_runs", show(&project.call(&["runs", "show", "last"])));
        assert_snapshot!("usage", show(&project.call(&["runs", "shw"])));
        assert_snapshot!("expression", show(&project.call(&["expr", "size(1) + "])));
        assert_snapshot!("evaluation", show(&project.call(&["expr", "params.a"])));
    });
}

#[test]
fn a_damaged_store_says_what_where_and_what_next() {
    let project = Project::with("build", BUILD);
    project.call(&["run", "build", "-q"]).expect(0);
    let store = project.root.join(".moa/moa.db");
    let mut bytes = std::fs::read(&store).expect("the store");
    bytes[5000] ^= 1;
    // Where there still is a log, it has the page whole, and would mend it.
    let _ = std::fs::remove_file(project.root.join(".moa/moa.db-wal"));
    std::fs::write(&store, bytes).expect("it can be written");
    settings().bind(|| {
        assert_snapshot!("damaged_run", show(&project.call(&["run", "build"])));
        let doctor = show(&project.call(&["doctor"]));
        let store = |line: &&str| line.contains(".moa/moa.db");
        let lines: Vec<&str> = doctor.lines().filter(store).collect();
        assert_snapshot!("damaged_doctor", lines.join("\n"));
    });
}

#[test]
fn a_run_that_waits_says_why() {
    let project = Project::with("waits", "steps:\n  - {id: ask, approve: 'Ship it?'}\n");
    let _node = project.up();
    let mut events = project.events();
    project.call(&["run", "waits", "--detach"]).expect(0);
    events.until("step.waiting", "ask");
    settings().bind(|| {
        assert_snapshot!("why_waiting", show(&project.call(&["runs", "why", "last"])));
    });
}

#[test]
fn help_has_examples() {
    let here = std::env::temp_dir();
    for args in [&["--help"][..], &["run", "--help"], &["runs", "--help"], &["up", "--help"]] {
        let name = format!("help_{}", args[..args.len() - 1].join("_"));
        assert_snapshot!(name, show(&call_in(&here, args)));
    }
}

#[test]
fn every_command_has_help_with_examples() {
    let here = std::env::temp_dir();
    let mut waiting: Vec<Vec<String>> = vec![Vec::new()];
    let mut without = Vec::new();
    while let Some(path) = waiting.pop() {
        let args: Vec<&str> = path.iter().map(String::as_str).chain(["--help"]).collect();
        let said = call_in(&here, &args).expect(0);
        let commands = said.out.split("\nCommands:\n").nth(1).unwrap_or_default();
        for line in commands.lines().take_while(|line| line.starts_with("  ")) {
            let name = line.split_whitespace().next().unwrap_or_default();
            waiting.push(path.iter().cloned().chain([name.to_owned()]).collect());
        }
        if !said.out.contains("Examples:") {
            without.push(path.join(" "));
        }
    }
    let simple = ["runs pause", "runs resume", "agents show", "doctor"];
    without.retain(|command| !simple.contains(&command.as_str()));
    assert_eq!(without, Vec::<String>::new());
}
