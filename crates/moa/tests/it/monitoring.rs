//! The template `continuous-monitoring`, run for real: a drill, a crash during a rollback, an incident
//! that is told once.

use std::fs;

use serde_json::Value as Json;

use crate::project::Project;

fn project() -> Project {
    Project::of_template("continuous-monitoring")
}

/// Runs a workflow; answers its output.
#[track_caller]
fn run(project: &Project, workflow: &str, params: &[&str]) -> Json {
    let params = params.iter().flat_map(|param| ["-p", param]);
    let args: Vec<&str> = ["run", workflow, "-q"].into_iter().chain(params).collect();
    project.call(&args).expect(0);
    project.call(&["runs", "show", "last", "--json"]).expect(0).json()["output"].clone()
}

fn live(project: &Project) -> String {
    let link = fs::read_link(project.root.join("service/current")).expect("a link");
    link.file_name().expect("a name").to_string_lossy().into_owned()
}

/// Titles of the notifications so far, but those of a machine that has too much to do.
fn told(project: &Project) -> Vec<String> {
    let text = fs::read_to_string(project.root.join("notifications/ops.jsonl")).unwrap_or_default();
    let lines = text.lines().map(|line| serde_json::from_str::<Json>(line).expect("JSON"));
    let about = lines.filter(|line| {
        let message = line["message"].as_str().unwrap_or_default();
        line["title"] == "Rollback" || message.contains("errors: ")
    });
    about.map(|line| line["title"].as_str().unwrap_or_default().to_owned()).collect()
}

#[test]
fn the_drill_takes_a_bad_release_back() {
    let project = project();
    let drill = run(&project, "incident-drill", &[]);
    assert_eq!((&drill["live"], &drill["broken_requests"]), (&"1.1.0".into(), &12.into()));
    assert_eq!(live(&project), "1.1.0");
    assert_eq!(told(&project), ["Rollback"]);
    // What was measured is this machine.
    let day = fs::read_dir(project.root.join("metrics")).expect("a folder");
    let tables = day.map(|e| e.expect("an entry").path());
    let table = tables.filter(|p| p.extension().is_some()).max().expect("a table");
    let text = fs::read_to_string(table).expect("text");
    let columns: Vec<&str> = text.lines().next().expect("a head").split(',').collect();
    let row: Vec<&str> = text.lines().next_back().expect("a row").split(',').collect();
    let value = |name: &str| {
        let at = columns.iter().position(|column| *column == name).expect("a column");
        row[at].parse::<f64>().expect("a number")
    };
    assert!((0.0..=100.0).contains(&value("memory_percent")), "{text}");
    assert!((0.0..=100.0).contains(&value("cpu_percent")), "{text}");
    assert!(value("uptime_seconds") > 0.0 && value("processes") > 1.0, "{text}");
    assert_eq!(value("requests"), 60.0, "{text}");

    // The bad release is known; only who insists gets it back.
    project.call(&["run", "release", "-q", "-p", "version=1.2.0"]).expect(1);
    let refused = project.call(&["runs", "logs", "last"]).expect(0).out;
    assert!(refused.contains("was taken back before"), "{refused}");
    assert_eq!(live(&project), "1.1.0");
    let tomorrow = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24);
    let report = run(&project, "daily-report", &[&format!("now={tomorrow:.0}")]);
    let report = project.read(report["report"].as_str().expect("a path"));
    assert!(report.contains("| 1.2.0 | 60 | 12 |") && report.contains("rolled back"), "{report}");
}

#[test]
fn a_crash_during_a_rollback_goes_back_once() {
    let project = project();
    for version in ["1.0.0", "1.1.0", "1.2.0"] {
        run(&project, "release", &[&format!("version={version}")]);
    }
    run(&project, "traffic", &["requests=60"]);
    // It is killed when the link is switched and nobody knows yet.
    let script = "agents/scripts/agent19.sh";
    let text = project.read(script);
    let place = "    log \"went back from $from to $to\"";
    let held = format!("    echo x >> back; while [ ! -e go ]; do sleep 0.02; done\n{place}");
    let changed = text.replacen(place, &held, 1);
    assert_ne!(changed, text);
    project.write(script, &changed);
    let workflow = project.read("workflows/continuous-monitoring.yaml");
    let quick = workflow.replace("delay: 10s", "delay: 10ms");
    project.write("workflows/continuous-monitoring.yaml", &quick);

    let node = project.up();
    let said = project.call(&["run", "continuous-monitoring", "--detach"]).expect(0);
    project.wait_for("back");
    node.kill();
    assert_eq!(live(&project), "1.1.0");
    project.write("go", "");
    let _node = project.up();
    project.call(&["runs", "watch", said.out.trim()]).expect(0);
    assert_eq!(project.read("back").lines().count(), 2, "it was attempted again");
    assert_eq!(live(&project), "1.1.0", "and did not go back twice");
    assert_eq!(project.read("service/history").matches("rolled back").count(), 1);
    assert_eq!(told(&project), ["Rollback"]);
}

#[test]
fn with_nothing_to_go_back_to_people_are_told_once_and_when_it_is_over() {
    let project = project();
    run(&project, "release", &["version=1.2.0"]);
    run(&project, "traffic", &["requests=60"]);
    for _ in 0..3 {
        let watched = run(&project, "continuous-monitoring", &[]);
        assert_eq!(watched["rolled_back"], false);
        assert_eq!(watched["requests"], 60);
    }
    assert_eq!(live(&project), "1.2.0");
    assert_eq!(told(&project), ["Incident"]);
    run(&project, "release", &["version=1.1.0"]);
    run(&project, "continuous-monitoring", &[]);
    assert_eq!(told(&project), ["Incident", "Over"]);
}
