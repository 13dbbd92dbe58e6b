//! What commands show: history, events, logs, exports, the past.

use std::collections::BTreeMap;
use std::io::Read;
use std::process::Stdio;

use serde_json::{Value as Json, json};

use crate::project::Project;

const WORK: &str = r#"
steps:
  - {id: say, run: "printf 'a\\033[31mred\\n'; echo two >&2"}
  - id: flaky
    run: "test -e tried || { touch tried; exit 75; }"
    retry: {max_attempts: 3, delay: 10ms, backoff: constant}
  - {id: last, run: "echo '{\"n\": 1}'"}
"#;

fn done() -> (Project, String) {
    let project = Project::with("work", WORK);
    let id = project.run("work")["workflowId"].as_str().expect("an id").to_owned();
    (project, id)
}

#[test]
fn history_and_events_tell_the_same() {
    let (project, id) = done();
    let history = project.call(&["runs", "history", "last", "--json"]).expect(0).json();
    let history = history.as_array().expect("an array").clone();
    let kinds: Vec<&str> = history.iter().filter_map(|e| e["type"].as_str()).collect();
    assert_eq!(kinds[0], "moa.run.created");
    assert_eq!(kinds.last(), Some(&"moa.run.succeeded"));
    assert!(kinds.contains(&"moa.attempt.failed"), "{kinds:?}");
    let events = project.call(&["events", "query", "--run", &id[24..], "--json"]).expect(0);
    assert_eq!(events.json(), Json::from(history.clone()));
    let begun =
        project.call(&["events", "query", "--type", "moa.step.started", "--json"]).expect(0);
    let begun = begun.json();
    let nodes: Vec<_> =
        begun.as_array().expect("a list").iter().map(|e| &e["data"]["node"]).collect();
    assert!(!nodes.is_empty());
    assert!(nodes.iter().all(|node| node.as_str().is_some_and(|n| n.len() == 16)), "{nodes:?}");
    let failed = project.call(&["events", "query", "--type", "*.failed", "--json"]).expect(0);
    let failed = failed.json();
    assert_eq!(failed.as_array().map(Vec::len), Some(1));
    assert_eq!(failed[0]["subject"], "flaky");
    assert_eq!(failed[0]["specversion"], "1.0");
    let none = project.call(&["events", "query", "--after", "999999"]).expect(0);
    assert_eq!(none.out, "");
    let none = project.call(&["events", "query", "--after", "999999", "--json"]).expect(0);
    assert_eq!(none.json(), Json::from(Vec::<Json>::new()));
    let tail = project.call(&["events", "tail", "-n", "1", "--json"]).expect(0).json();
    let newest = tail.as_array().and_then(|t| t.last()).expect("one at least");
    assert_eq!(newest["type"], "moa.run.succeeded");
    let recent = project.call(&["events", "query", "--after", "1h", "--json"]).expect(0);
    assert_eq!(recent.json(), Json::from(history));
    project.call(&["events", "query", "--after", "soon"]).expect(2);
}

#[test]
fn a_run_can_be_seen_as_it_was() {
    let (project, _) = done();
    let now = project.call(&["runs", "show", "last", "--json"]).expect(0).json();
    let version = now["version"].as_u64().expect("a version");
    let then = project.call(&["runs", "show", "last", "--at", "1", "--json"]).expect(0).json();
    assert_eq!(then["status"], "running");
    assert_eq!(then["version"], 1);
    let newest = version.to_string();
    let same = project.call(&["runs", "show", "last", "--at", &newest, "--json"]);
    let same = same.expect(0).json();
    for key in ["step", "status", "attempt", "attempts", "output", "finished_at"] {
        let of = |run: &Json| -> Vec<Json> {
            run["steps"].as_array().expect("steps").iter().map(|s| s[key].clone()).collect()
        };
        assert_eq!(of(&same), of(&now), "{key}");
    }
    project.call(&["runs", "show", "last", "--at", "9999"]).expect(4);
}

#[test]
fn logs_are_shown_and_made_safe() {
    let (project, _) = done();
    let all = project.call(&["runs", "logs", "last"]).expect(0);
    assert!(all.out.contains("say.1 | a\\x1b[31mred\n"), "{:?}", all.out);
    assert!(all.out.contains("say.1 | two\n"), "{:?}", all.out);
    let raw = project.call(&["runs", "logs", "last", "say"]).expect(0);
    assert!(raw.out.contains("a\x1b[31mred\n"), "{:?}", raw.out);
    project.call(&["runs", "logs", "last", "nowhere"]).expect(4);
    let documents = project.call(&["runs", "logs", "last", "say", "--json"]).expect(0).json();
    assert_eq!(documents[0]["attempt"], 1);
    project.call(&["runs", "logs", "last", "--follow"]).expect(0);
}

#[test]
fn exports_hold_everything() {
    let (project, id) = done();
    let lines = project.call(&["export"]).expect(0).json_lines();
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0]["run"], id);
    assert_eq!(lines[0]["steps"][1]["attempts"].as_array().map(Vec::len), Some(2));
    assert!(lines[0]["events"].as_array().is_some_and(|e| e.len() > 8));
    let one = project.call(&["runs", "export", "last"]).expect(0).json();
    assert_eq!(one, lines[0]);
}

/// Which status may follow which, in the words of history checkers.
fn may_follow(from: &str, to: &str) -> bool {
    match from {
        "pending" => ["ready", "skipped", "running", "waiting"].contains(&to),
        "ready" => ["running", "skipped", "waiting"].contains(&to),
        "running" => ["completed", "failed", "waiting"].contains(&to),
        "waiting" => ["running", "ready", "completed", "failed"].contains(&to),
        _ => false,
    }
}

#[test]
fn the_check_format_has_legal_histories() {
    let (project, _) = done();
    let looping = r#"
steps:
  - foreach: {in: "[1, 2]", as: n}
    steps:
      - {id: a, run: "true"}
      - {id: b, condition: n > 1, run: "true"}
  - parallel:
      - {id: c, run: "true"}
      - {id: d, emit: {type: done}}
  - {id: e, run: "exit 2", retry: never}
"#;
    project.workflow("looping", looping);
    project.call(&["run", "looping", "-q"]).expect(1);
    for run in project.call(&["export", "--check-format"]).expect(0).json_lines() {
        let mut statuses: BTreeMap<String, String> = BTreeMap::new();
        for (i, event) in run["events"].as_array().expect("events").iter().enumerate() {
            assert_eq!(event["seq"], i + 1);
            if event["type"] != "step" {
                continue;
            }
            let text = |key: &str| event[key].as_str().expect("text").to_owned();
            let from = statuses.insert(text("step"), text("to")).unwrap_or("pending".into());
            assert!(may_follow(&from, &text("to")), "{from} to {event}");
        }
        for step in run["steps"].as_array().expect("steps") {
            let told = statuses.get(step["id"].as_str().expect("an id"));
            assert_eq!(told.map(String::as_str), step["state"].as_str(), "{step}");
            let attempts = step["attempts"].as_array().expect("attempts");
            for (i, attempt) in attempts.iter().enumerate() {
                assert_eq!(attempt["n"], i + 1);
            }
        }
        let ids: Vec<_> =
            run["steps"].as_array().expect("steps").iter().map(|s| &s["id"]).collect();
        if run["workflow"] == "looping" {
            assert_eq!(run["state"], "failed");
            assert!(ids.contains(&&json!("a[1]")), "{ids:?}");
            let b = &run["steps"].as_array().expect("steps");
            let b = b.iter().find(|s| s["id"] == "b[1]").expect("it is there");
            assert_eq!(b["deps"], json!(["a[1]"]));
        }
    }
}

#[test]
fn nothing_breaks_when_nobody_reads() {
    let (project, _) = done();
    let commands: [&[&str]; 5] = [
        &["runs", "list"],
        &["runs", "show", "last"],
        &["export"],
        &["--help"],
        &["run", "work", "--watch"],
    ];
    for args in commands {
        let mut child = project
            .command(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it can be started");
        drop(child.stdout.take());
        let mut err = String::new();
        child.stderr.take().expect("piped").read_to_string(&mut err).expect("UTF-8");
        let status = child.wait().expect("it ends");
        assert!(!err.contains("panicked"), "{args:?}: {err}");
        assert_ne!(status.code(), Some(101), "{args:?}: {err}");
    }
}

#[test]
fn listings_are_arrays_of_objects_even_when_empty() {
    let project = Project::empty();
    let listings: [&[&str]; 4] = [
        &["runs", "list"],
        &["workflows", "list"],
        &["workflows", "versions"],
        &["workflows", "validate"],
    ];
    for args in listings {
        let args: Vec<&str> = args.iter().copied().chain(["--json"]).collect();
        assert_eq!(project.call(&args).expect(0).json(), json!([]), "{args:?}");
    }
    assert_eq!(project.call(&["runs", "list"]).expect(0).out, "");
}

#[test]
fn the_doctor_finds_what_is_wrong() {
    let (project, _) = done();
    let status = |checks: &Json, name: &str| {
        let checks = checks.as_array().expect("an array").clone();
        let check = checks.into_iter().find(|c| c["check"] == name).expect("it is checked");
        check["status"].as_str().expect("text").to_owned()
    };
    let checks = project.call(&["doctor", "--json"]).expect(0).json();
    assert_eq!(status(&checks, "store"), "ok");
    project.write("agents/gone.yaml", "command: [./no-such-program]\n");
    let checks = project.call(&["doctor", "--json"]).expect(1).json();
    assert_eq!(status(&checks, "programs"), "error");
    std::fs::remove_file(project.root.join("agents/gone.yaml")).expect("rm");
    project.write(".moa/moa.db", "this is no database, whatever its name says; no, it is not");
    let checks = project.call(&["doctor", "--json"]).expect(7).json();
    assert_eq!(status(&checks, "store"), "error");
    project.call(&["run", "work"]).expect(7);
}

#[test]
fn of_a_long_log_is_kept_what_the_settings_say() {
    let project = Project::with("long", "steps:\n  - {id: say, run: \"seq 100000 199999\"}\n");
    project.write("moa.yaml", "logs: {attempt_max: 8KiB}\n");
    project.run("long");
    // A limit that was another one when the log was written changes nothing for its readers.
    project.write("moa.yaml", "logs: {attempt_max: 1MiB}\n");
    let log = &project.call(&["runs", "logs", "last", "--json"]).expect(0).json()[0];
    let (kept, text) = (log["bytes"].as_u64().expect("a size"), log["text"].as_str());
    let text = text.expect("a text");
    assert!(kept <= 8192 && kept > 5000, "{kept}");
    assert!(text.starts_with("100000\n") && text.ends_with("199999\n"), "{text}");
    assert_eq!(log["left_out"], 700_000 - text.len());
    let mut command = project.command(&["run", "long", "-q"]);
    let said = command.env("MOA_LOGS_ATTEMPT_MAX", "16KiB").status().expect("it can be started");
    assert!(said.success());
    let log = &project.call(&["runs", "logs", "last", "--json"]).expect(0).json()[0];
    assert!(log["bytes"].as_u64().is_some_and(|n| n > 8192 && n <= 16384), "{log}");
    project.write("moa.yaml", "logs: {attempt_max: 2GiB}\n");
    let refused = project.call(&["run", "long"]).expect(3);
    assert!(refused.err.contains("from 4KiB to 1GiB"), "{}", refused.err);
}
