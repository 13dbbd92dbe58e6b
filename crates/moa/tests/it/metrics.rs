//! Counters made from the history, targets, and the health report.

use serde_json::{Value as Json, json};

use crate::project::Project;

const SETTINGS: &str = r#"
name: shop
notify: {channels: {team: {file: notifications/team.jsonl}, fine: {file: fine.jsonl}}}
metrics:
  letters: {workflow: letters}
  words: {workflow: letters, step: write, value: output.words}
  long_ones: {agent: writer, action: write, when: output.words > params.long}
targets:
  letters:
    day: {minimum: 3, target: 6, maximum: 12}
    notify: team
"#;
const LETTERS: &str = r#"
params: {words: {type: integer, default: 5}, long: {type: integer, default: 10}}
steps:
  - id: both
    parallel:
      - {id: write, agent: writer, action: write, params: {words: "${{ params.words }}"}}
      - {id: check, run: "test -e fine", retry: {max_attempts: 1}}
"#;
const WRITER: &str = r#"
command: [sh, -c, 'printf "{\"words\": %s}" "$MOA_PARAM_WORDS" > "$MOA_OUTPUT"']
actions: {write: {}}
retry: {max_attempts: 1}
"#;

fn project() -> Project {
    let project = Project::with("letters", LETTERS);
    project.write("moa.yaml", SETTINGS);
    project.write("agents/writer.yaml", WRITER);
    project
}

fn totals(project: &Project) -> Json {
    let all = project.call(&["metrics", "--json"]).expect(0).json();
    let total = |name: &str| all[name]["total"].clone();
    json!([
        total("letters"),
        total("words"),
        total("long_ones"),
        total("tasks_completed"),
        total("tasks_failed"),
    ])
}

#[test]
fn each_event_counts_once() {
    let project = project();
    assert_eq!(totals(&project), json!([0, 0, 0, 0, 0]));
    project.write("fine", "");
    project.run("letters");
    project.call(&["run", "letters", "-p", "words=20"]).expect(0);
    let all = json!([2, 25, 1, 4, 0]);
    assert_eq!(totals(&project), all);

    // Written down by a node, which dies; counted again by nobody.
    let node = project.up();
    project.call(&["jobs", "run", "metrics"]).expect(0);
    let file = project.read(".moa/counters.json");
    assert!(file.contains("\"words\""), "{file}");
    assert_eq!(totals(&project), all);
    node.kill();
    assert_eq!(totals(&project), all);
    let node = project.up();
    project.call(&["jobs", "run", "retention"]).expect(0);
    assert_eq!(totals(&project), all);
    drop(node);

    // A new run that takes over what was done counts only what it does itself.
    std::fs::remove_file(project.root.join("fine")).expect("it is there");
    project.call(&["run", "letters"]).expect(1);
    assert_eq!(totals(&project), json!([2, 30, 1, 5, 1]));
    project.write("fine", "");
    project.call(&["runs", "retry", "last"]).expect(0);
    assert_eq!(totals(&project), json!([3, 30, 1, 6, 1]));
}

#[test]
fn counters_that_are_damaged_are_said_to_be() {
    let project = project();
    project.write("fine", "");
    project.run("letters");
    project.write(".moa/counters.json", "{\"format\": 1, \"coun");
    let said = project.call(&["metrics"]).expect(7);
    assert!(said.err.contains("holds no counters"), "{}", said.err);
    // Nothing is deleted that nobody has counted.
    let said = project.call(&["jobs", "run", "retention"]).expect(1);
    assert!(said.err.contains("holds no counters"), "{}", said.err);
    assert_eq!(project.read(".moa/counters.json"), "{\"format\": 1, \"coun");
}

/// Waits until a file has so many lines.
fn wait_for_lines(project: &Project, path: &str, count: usize) {
    project.wait_for(path);
    while project.read(path).lines().count() < count {}
}

#[test]
fn people_are_warned_once_that_a_day_will_be_below_its_minimum() {
    let project = project();
    // Nothing is what is usual here.
    let counter = json!({"after": 0, "since": "2020-01-01", "total": 0.0, "days": {}});
    let counters = json!({"format": 1, "counters": {"letters": counter}});
    // A counter that begins today says nothing of today.
    assert_eq!(project.call(&["targets", "--json"]).expect(0).json()[0]["outlook"], "open");
    project.write(".moa/counters.json", &counters.to_string());
    let targets = || project.call(&["targets", "--json"]).expect(0).json();
    let standing = targets()[0].clone();
    assert_eq!((&standing["outlook"], &standing["forecast"]), (&"too_little".into(), &0.0.into()));
    let warned = || project.read("notifications/team.jsonl");
    let node = project.up();
    project.call(&["jobs", "run", "metrics"]).expect(0);
    wait_for_lines(&project, "notifications/team.jsonl", 1);
    let line: Json = serde_json::from_str(&warned()).expect("one line");
    let minimum = &line["about"]["target"]["minimum"];
    assert_eq!((&line["level"], minimum), (&"warning".into(), &3.0.into()));
    assert!(line["message"].as_str().expect("text").contains("below the minimum of 3"), "{line}");
    project.call(&["jobs", "run", "metrics"]).expect(0);
    node.kill();
    let _node = project.up();
    project.call(&["jobs", "run", "metrics"]).expect(0);
    assert_eq!(warned().lines().count(), 1, "{}", warned());
    let listed = project.call(&["runs", "list", "--all", "--json"]).expect(0).json();
    let told = listed.as_array().expect("runs").iter().filter(|r| r["workflow"] == "moa-notify");
    assert_eq!(told.count(), 1, "{listed}");

    project.write("fine", "");
    for _ in 0..3 {
        project.run("letters");
    }
    assert_ne!(targets()[0]["outlook"], "too_little");
}

#[test]
fn a_broken_channel_holds_up_no_other() {
    let project = project();
    let more = "  words: {day: {minimum: 3}, notify: fine}\n";
    let settings = SETTINGS.replace("notifications/team", "no-folder/team");
    project.write("moa.yaml", &format!("{settings}{more}"));
    project.write("no-folder", "");
    let counter = json!({"after": 0, "since": "2020-01-01", "total": 0.0, "days": {}});
    let counters = json!({"letters": counter, "words": counter});
    let counters = json!({"format": 1, "counters": counters});
    project.write(".moa/counters.json", &counters.to_string());
    let _node = project.up();
    project.call(&["jobs", "run", "metrics"]).expect(0);
    wait_for_lines(&project, "fine.jsonl", 1);
    let args = ["runs", "list", "--workflow", "moa-notify", "--json"];
    let told = || project.call(&args).expect(0).json().as_array().expect("runs").clone();
    let open = || told().iter().filter(|run| run["status"] == "waiting").count();
    while open() != 1 {}
    // What could not be said is said as soon as that can be done.
    std::fs::remove_file(project.root.join("no-folder")).expect("it is there");
    wait_for_lines(&project, "no-folder/team.jsonl", 1);
    assert_eq!(project.read("fine.jsonl").lines().count(), 1);
    // What moa says is none of the work, and is not in anybody's way.
    assert_eq!(project.call(&["runs", "list", "--json"]).expect(0).json(), json!([]));
    let listed = project.call(&["runs", "list", "--all", "--json"]).expect(0).json();
    assert_eq!(listed.as_array().map(Vec::len), Some(2));
    let all = project.call(&["metrics", "--json"]).expect(0).json();
    assert_eq!(all["tasks_completed"]["total"], 0, "{all}");
}

#[test]
fn a_node_reports_its_health_and_state_in_files() {
    let project = project();
    let health = "health: {folder: data/logs, state_file: data/tasks/orchestrator_state.json}\n";
    project.write("moa.yaml", &format!("{SETTINGS}{health}"));
    project.write("fine", "");
    let _node = project.up();
    project.run("letters");
    project.call(&["jobs", "run", "health"]).expect(0);
    let folder = std::fs::read_dir(project.root.join("data/logs")).expect("a folder");
    let names: Vec<String> =
        folder.flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect();
    // What was asked for is in the audit log, of which the newest entry is noted here.
    let names: Vec<_> = names.into_iter().filter(|name| !name.starts_with("audit_2")).collect();
    let [name] = &names[..] else { panic!("one report: {names:?}") };
    assert!(name.len() == "health_20251211.json".len() && name.starts_with("health_2"), "{name}");
    let report: Json = serde_json::from_str(&project.read(&format!("data/logs/{name}"))).expect("");
    let keys: Vec<&String> = report.as_object().expect("an object").keys().collect();
    let wanted = [
        "timestamp",
        "uptime_hours",
        "task_queue_size",
        "active_tasks",
        "completed_tasks",
        "failed_tasks",
        "metrics",
    ];
    assert!(wanted.iter().all(|key| keys.iter().any(|k| k == key)), "{keys:?}");
    assert_eq!(keys.len(), wanted.len());
    let metrics = &report["metrics"];
    assert_eq!((&metrics["letters_today"], &metrics["letters_total"]), (&1.into(), &1.into()));
    assert_eq!((&report["completed_tasks"], &metrics["tasks_completed"]), (&2.into(), &2.into()));
    let state: Json =
        serde_json::from_str(&project.read("data/tasks/orchestrator_state.json")).expect("JSON");
    assert_eq!(state["project"]["name"], "shop");
    let named = project.root.join("data/tasks/orchestrator_state.json");
    std::fs::remove_file(&named).expect("it is there");
    project.call(&["state", "--write"]).expect(0);
    assert!(named.exists());
    project.call(&["state", "--write", "status.json"]).expect(0);
    let state: Json = serde_json::from_str(&project.read("status.json")).expect("JSON");
    assert_eq!(state["totals"]["runs"]["succeeded"], 1);
}

#[test]
fn days_are_those_of_the_projects_zone() {
    use jiff::{Timestamp, tz::TimeZone};
    // In one of the two it is always another day than in UTC.
    for zone in ["Pacific/Kiritimati", "Pacific/Pago_Pago"] {
        let project = project();
        project.write("moa.yaml", &format!("{SETTINGS}timezone: {zone}\n"));
        project.write("fine", "");
        let _node = project.up();
        let day = || Timestamp::now().to_zoned(TimeZone::get(zone).expect("a zone")).date();
        let before = day();
        project.run("letters");
        project.call(&["jobs", "run", "health"]).expect(0);
        if day() != before {
            continue;
        }
        let name = format!(".moa/health/health_{}.json", before.strftime("%Y%m%d"));
        let report: Json = serde_json::from_str(&project.read(&name)).expect("JSON");
        assert_eq!(report["metrics"]["letters_today"], 1);
        let targets = project.call(&["targets", "--json"]).expect(0).json();
        assert_eq!(targets[0]["from"], before.to_string());
        assert_eq!(project.call(&["metrics", "--json"]).expect(0).json()["letters"]["today"], 1);
    }
}

#[test]
fn mistakes_in_metrics_and_targets_are_found() {
    let project = project();
    let wrong = "metrics:\n  a: {value: run.n}\n  tasks_failed: {workflow: letters}\n\
                 targets:\n  b: {day: {minimum: 3, target: 1}}\n";
    project.write("moa.yaml", wrong);
    let said = project.call(&["workflows", "validate"]).expect(3);
    for part in [
        "doesn't say what it counts",
        "knows no name `run`",
        "moa itself counts under the name",
        "there is no metric \"b\"",
        "1 is less than the 3 before it",
    ] {
        assert!(said.out.contains(part) || said.err.contains(part), "{part}: {}", said.err);
    }
}
