//! The files of a project: checked, formatted, refused.

use crate::project::{Project, call_in};

#[test]
fn every_mistake_is_reported_at_once() {
    let project =
        Project::with("broken", "steps:\n  - {id: a, depends_on: [b]}\n  - {id: a, agent: x}\n");
    project.workflow("good", "steps:\n  - run: echo hi\n");
    let found = project.call(&["workflows", "validate", "--json"]).expect(3).json();
    let found = found.as_array().expect("an array");
    assert!(found.len() >= 3, "{found:?}");
    assert!(found.iter().all(|d| d["path"] == "workflows/broken.yaml"), "{found:?}");
    project.call(&["workflows", "validate", "workflows/good.yaml"]).expect(0);
    let said = project.call(&["run", "broken"]).expect(3);
    assert!(said.err.contains("workflows/broken.yaml:2"), "{}", said.err);
    project.call(&["run", "good"]).expect(0);
    project.call(&["workflows", "validate", "elsewhere.yaml"]).expect(4);
}

#[test]
fn broken_settings_stop_everything() {
    let project = Project::with("good", "steps:\n  - run: echo hi\n");
    project.write("moa.yaml", "limits: {max_runing: 3}\n");
    let said = project.call(&["run", "good"]).expect(3);
    assert!(said.err.contains("max_running"), "{}", said.err);
    project.call(&["config"]).expect(3);
}

#[test]
fn a_broken_file_of_agents_takes_out_only_what_uses_it() {
    let project = Project::with("good", "steps:\n  - {agent: fine, action: do}\n");
    project.workflow("bad", "steps:\n  - {agent: torn, action: do}\n");
    project.write("agents/fine.yaml", "command: ['true']\n");
    project.write("agents/torn.yaml", "comand: [x]\n");
    project.call(&["run", "good"]).expect(0);
    let said = project.call(&["run", "bad"]).expect(3);
    assert!(said.err.contains("agents/torn.yaml:1"), "{}", said.err);
    assert!(said.err.contains("mend agents/torn.yaml"), "{}", said.err);
    let listed = project.call(&["agents", "list", "--json"]).expect(0).json();
    assert_eq!(listed[0]["agent"], "fine");
    assert_eq!(listed[0]["valid"], true);
    assert_eq!(listed[1]["agent"], "torn");
    assert_eq!(listed[1]["valid"], false);
    let listed = project.call(&["agents", "list"]).expect(0);
    assert!(listed.out.contains("agents/torn.yaml has errors"), "{}", listed.out);
    project.call(&["agents", "show", "fine"]).expect(0);
    project.call(&["agents", "show", "torn"]).expect(3);
    let workflows = project.call(&["workflows", "list", "--json"]).expect(0).json();
    let keys = |i: usize| workflows[i].as_object().expect("one").keys().collect::<Vec<_>>();
    assert_eq!(keys(0), keys(1));
    let node = project.up();
    assert!(node.said.contains("agents/torn.yaml:1"), "{}", node.said);
    assert_eq!(project.run("good")["status"], "success");
    project.call(&["run", "bad"]).expect(3);
    project.write("agents/torn.yaml", "command: ['true']\n");
    assert_eq!(project.run("bad")["status"], "success");
}

#[test]
fn an_open_run_waits_for_a_broken_file_of_agents() {
    let workflow =
        "steps:\n  - {id: wait, wait_for: {signal: go}}\n  - {agent: torn, action: do}\n";
    let project = Project::with("long", workflow);
    project.write("agents/torn.yaml", "command: ['true']\n");
    let node = project.up();
    let id = project.call(&["run", "long", "--detach"]).expect(0).out.trim().to_owned();
    node.stop();
    project.write("agents/torn.yaml", "comand: [x]\n");
    let _node = project.up();
    project.call(&["runs", "signal", &id, "go"]).expect(0);
    let shown = project.call(&["runs", "show", &id, "--json"]).expect(0).json();
    assert_eq!(shown["finished_at"], serde_json::Value::Null);
    project.write("agents/torn.yaml", "command: ['true']\n");
    project.call(&["runs", "watch", &id]).expect(0);
}

#[test]
fn what_is_not_json_refuses_to_be() {
    let project = Project::with("good", "steps:\n  - run: echo hi\n");
    for args in
        [&["workflows", "graph", "good"][..], &["config", "default"], &["completions", "bash"]]
    {
        let said = project.call(&[args, &["--json"]].concat()).expect(2);
        assert_eq!(said.out, "");
        project.call(args).expect(0);
    }
}

#[test]
fn templates_are_in_the_usual_form() {
    for template in
        ["blank", "continuous-monitoring", "data-pipeline", "project-build", "video-production"]
    {
        let project = Project::empty();
        let args = ["init", "fresh", "--template", template];
        call_in(project.outside(), &args).expect(0);
        let said = call_in(&project.outside().join("fresh"), &["workflows", "fmt", "--check"]);
        assert_eq!(said.expect(0).out, "");
    }
}

#[test]
fn settings_say_where_they_come_from() {
    let project = Project::empty();
    project.write("moa.yaml", "limits: {max_running: 3}\n");
    project.write(".env", "MOA_LOG_LEVEL=debug\n");
    let mut command = project.command(&["config", "--json"]);
    let output = command.env("MOA_LIMITS_STOP_GRACE", "7s").output().expect("it runs");
    let lines = crate::project::Said::from(output).expect(0).json();
    let origin = |key: &str| {
        let lines = lines.as_array().expect("an array");
        let line = lines.iter().find(|l| l["key"] == key).expect("it is listed");
        (line["value"].clone(), line["origin"].as_str().expect("text").to_owned())
    };
    assert_eq!(origin("limits.max_running"), (3.into(), "moa.yaml:1".into()));
    assert_eq!(origin("log.level"), ("debug".into(), ".env (MOA_LOG_LEVEL)".into()));
    let grace = "environment (MOA_LIMITS_STOP_GRACE)";
    assert_eq!(origin("limits.stop_grace"), ("7s".into(), grace.into()));
    assert_eq!(origin("store"), ("sqlite".into(), "default".into()));
}

#[test]
fn files_are_formatted_whole_or_not_at_all() {
    let project = Project::with("messy", "steps:   [ {run:   echo hi} ]\nname:   Messy\n");
    let before = project.read("workflows/messy.yaml");
    project.call(&["workflows", "fmt", "--check"]).expect(1);
    assert_eq!(project.read("workflows/messy.yaml"), before);
    project.call(&["workflows", "fmt"]).expect(0);
    assert_ne!(project.read("workflows/messy.yaml"), before);
    project.call(&["workflows", "fmt", "--check"]).expect(0);
    project.workflow("messy", "steps: [");
    project.call(&["workflows", "fmt"]).expect(3);
    assert_eq!(project.read("workflows/messy.yaml"), "steps: [");
}

#[test]
fn links_that_lead_out_are_refused() {
    let project = Project::with("good", "steps:\n  - run: echo hi\n");
    std::fs::write(project.outside().join("secret.yaml"), "password: hunter2\n").expect("write");
    let link = project.root.join("workflows/evil.yaml");
    std::os::unix::fs::symlink("../../secret.yaml", link).expect("link");
    let said = project.call(&["workflows", "validate"]).expect(3);
    assert!(said.out.contains("evil.yaml"), "{}", said.out);
    assert!(!said.out.contains("hunter2") && !said.err.contains("hunter2"));
    project.call(&["run", "good"]).expect(0);
}

#[test]
fn nothing_outside_is_formatted_through_links() {
    let messy = "steps:   [ {run:   echo hi} ]\n";
    let project = Project::with("real", messy);
    let link = |to: &str, path: &str| {
        std::os::unix::fs::symlink(to, project.root.join(path)).expect("link");
    };
    let outside = project.outside().join("out.yaml");
    let there = || std::fs::read_to_string(&outside).expect("read");
    std::fs::write(&outside, messy).expect("write");
    std::fs::create_dir(project.root.join("calendars")).expect("mkdir");
    project.write("calendars/days.ics", "BEGIN:VCALENDAR\r\nEND:VCALENDAR\r\n");

    link("../../out.yaml", "workflows/out.yaml");
    let said = project.call(&["workflows", "fmt"]).expect(3);
    assert!(said.err.contains("leads out of the project"), "{}", said.err);
    assert_eq!(there(), messy);
    assert_ne!(project.read("workflows/real.yaml"), messy, "the others are formatted");
    let said = project.call(&["workflows", "fmt", "workflows/out.yaml"]).expect(2);
    assert!(said.err.contains("leads out of the project"), "{}", said.err);
    assert_eq!(there(), messy);

    // A link that stays inside is written through.
    std::fs::remove_file(project.root.join("workflows/out.yaml")).expect("remove");
    project.write("shared.yaml", messy);
    link("../shared.yaml", "workflows/inside.yaml");
    project.call(&["workflows", "fmt"]).expect(0);
    assert_eq!(project.read("shared.yaml"), project.read("workflows/real.yaml"));
    let linked = std::fs::symlink_metadata(project.root.join("workflows/inside.yaml"));
    assert!(linked.expect("it is there").is_symlink());

    // What stands elsewhere is formatted when it is named, but not through a link either.
    let elsewhere = project.outside().join("link.yaml");
    std::os::unix::fs::symlink("out.yaml", &elsewhere).expect("link");
    project.call(&["workflows", "fmt", elsewhere.to_str().expect("text")]).expect(2);
    assert_eq!(there(), messy);
    project.call(&["workflows", "fmt", outside.to_str().expect("text")]).expect(0);
    assert_eq!(there(), project.read("shared.yaml"));

    // The project may be named through a link too.
    let alias = project.outside().join("alias");
    std::os::unix::fs::symlink(&project.root, &alias).expect("link");
    let named = |file: &str| alias.join(file).to_str().expect("text").to_owned();
    std::fs::create_dir(project.outside().join("away")).expect("mkdir");
    std::fs::write(project.outside().join("away/far.yaml"), messy).expect("write");
    link("../away", "away");
    let said = project.call(&["workflows", "fmt", &named("away/far.yaml")]).expect(2);
    assert!(said.err.contains("leads out of the project"), "{}", said.err);
    assert_eq!(project.read("away/far.yaml"), messy);
    project.write("shared.yaml", messy);
    project.call(&["workflows", "fmt", &named("workflows/inside.yaml")]).expect(0);
    assert_ne!(project.read("shared.yaml"), messy);
}

#[test]
fn of_two_files_with_the_same_name_none_is_used() {
    let project = Project::with("same", "steps:\n  - run: echo hi\n");
    project.call(&["run", "same"]).expect(0);
    project.write("workflows/same.yml", "steps:\n  - run: echo ho\n");
    project.write("agents/team.yaml", "agents:\n  a: {command: x}\n  b: {command: x}\n");
    project.write("agents/b.yaml", "command: y\n");
    let found = project.call(&["workflows", "validate", "--json"]).expect(3).json();
    let rows = found.as_array().expect("a list").iter();
    let places: Vec<_> = rows
        .map(|d| format!("{} {}:{}", d["code"].as_str().unwrap_or("?"), d["path"], d["line"]))
        .collect();
    // Files are read in the order of their names.
    assert_eq!(places, ["MOA0409 \"agents/team.yaml\":3", "MOA0409 \"workflows/same.yml\":1"]);
    let said = project.call(&["workflows", "validate"]).expect(3);
    assert!(said.out.contains("`b` stands in agents/b.yaml already"), "{}", said.out);
    assert!(said.out.contains("3 |   b: {command: x}"), "{}", said.out);
    let said = project.call(&["run", "same"]).expect(3);
    assert!(said.err.contains("`same` stands in workflows/same.yaml already"), "{}", said.err);
    assert!(!said.err.contains("last good version"), "{}", said.err);
}

#[test]
fn names_that_are_no_ids_are_refused() {
    let project = Project::with("good", "steps:\n  - run: echo hi\n");
    project.write("workflows/my flow.yaml", "steps:\n  - run: echo hi\n");
    let said = project.call(&["workflows", "validate"]).expect(3);
    assert!(said.out.contains("rename the file"), "{}", said.out);
}

#[test]
fn tests_of_workflows_run_on_virtual_time() {
    let workflow = r#"
steps:
  - {id: build, agent: maker, action: make}
  - {id: ask, approve: {title: "Ship it?", timeout: 2h}}
  - {id: heard, wait_for: {event: weather.good, timeout: 3h}}
  - {id: ship, agent: maker, action: ship}
tests:
  - name: it is tried again, approved and shipped
    mock:
      build: [{fail: retryable}, {output: {ok: true}}]
      ask: {signal: {approved: true}, after: 1h}
      heard: {signal: {sunny: true}, after: 2h}
      ship: {output: {}}
    expect: {status: success, order: [build, ask, ship], steps.build.attempts: 2,
             virtual_duration: "> 3h", steps.heard.output.data.sunny: true}
  - name: a no ends it
    mock: {build: {output: {}}, ask: {fail: too early}}
    expect: {status: failure, error: ask}
  - name: this one is wrong
    mock: {ask: {signal: {approved: true}}, heard: {signal: {}}}
    expect: {steps.build.output.ok: true}
"#;
    let project = Project::with("ship", workflow);
    project.write("agents/maker.yaml", "command: [sh, -c, 'touch ran']\n");
    let results = project.call(&["test", "--json"]).expect(1).json();
    assert_eq!(results[0]["passed"], true, "{results}");
    assert_eq!(results[1]["passed"], true, "{results}");
    assert_eq!(results[2]["passed"], false, "{results}");
    assert_eq!(
        results[2]["failures"][0].as_str().map(|f| f.contains("build.output.ok")),
        Some(true)
    );
    assert!(results[2]["failures"].to_string().contains("without a mock"), "{results}");
    assert!(!project.root.join("ran").exists(), "no agent was asked");
    project.call(&["test", "--name", "shipped"]).expect(0);
    project.call(&["test", "nothing"]).expect(4);
}

#[test]
fn an_agent_can_be_tried_alone() {
    let project = Project::empty();
    project.write("make.sh", "echo working >&2\necho '{\"made\": true}' > \"$MOA_OUTPUT\"\n");
    project.write("agents/maker.yaml", "command: [sh, make.sh]\nactions: {make: {}, fail: {}}\n");
    let said = project.call(&["agents", "test", "maker", "make", "-p", "n=1"]).expect(0);
    assert_eq!(said.json(), serde_json::json!({"made": true}));
    assert!(said.err.contains("working"), "{}", said.err);
    project.call(&["agents", "test", "maker", "mak"]).expect(4);
    project.call(&["agents", "test", "makr", "make"]).expect(4);
    project.write("agents/maker.yaml", "command: [sh, -c, 'exit 3']\n");
    project.call(&["agents", "test", "maker", "make"]).expect(1);
    let listed = project.call(&["agents", "list", "--json"]).expect(0).json();
    assert_eq!(listed[0]["agent"], "maker");
}

#[test]
fn texts_of_moa_itself_need_no_project() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let schema = call_in(dir.path(), &["schema", "workflow"]).expect(0).json();
    assert!(schema["properties"]["steps"].is_object(), "{schema}");
    let page = call_in(dir.path(), &["explain", "204"]).expect(0);
    assert!(page.out.contains("MOA0204"), "{}", page.out);
    call_in(dir.path(), &["explain", "9999"]).expect(4);
    let script = call_in(dir.path(), &["completions", "bash"]).expect(0);
    assert!(script.out.contains("_moa()"), "no completions");
    let settings = call_in(dir.path(), &["config", "default"]).expect(0);
    std::fs::write(dir.path().join("moa.yaml"), settings.out).expect("write");
    call_in(dir.path(), &["config"]).expect(0);
}

#[test]
fn agents_that_are_part_of_moa_are_listed_shown_and_tried() {
    let project = Project::empty();
    project.write("agents/maker.yaml", "command: ['true']\n");
    project.write("agents/noop.yaml", "command: [echo, mine]\n");
    let listed = project.call(&["agents", "list", "--json"]).expect(0).json();
    let rows = listed.as_array().expect("rows").iter();
    let kinds: Vec<_> = rows.map(|row| format!("{} {}", row["agent"], row["kind_of"])).collect();
    let expected = [
        r#""maker" "command""#,
        r#""noop" "command""#,
        r#""http" "built-in""#,
        r#""notify" "built-in""#,
        r#""shell" "built-in""#,
        r#""youtube" "built-in""#,
    ];
    assert_eq!(kinds, expected);
    let listed = project.call(&["agents", "list"]).expect(0).out;
    assert!(listed.contains("shell\tbuilt-in\t-\t-\t-\t-\t-\t-\tRuns a script\tany"), "{listed}");
    let shown = project.call(&["agents", "show", "notify"]).expect(0).out;
    assert!(shown.contains("built-in") && shown.contains("`channel`"), "{shown}");
    let said = project.call(&["agents", "test", "shell", "run", "-p", "script=echo 42"]).expect(0);
    assert_eq!(said.out, "42\n");
    let said = project.call(&["agents", "test", "noop", "go"]).expect(0);
    assert!(said.err.contains("mine"), "the project's own goes before: {}", said.err);
    let said = project.call(&["agents", "show", "shel"]).expect(4);
    assert!(said.err.contains("did you mean shell?"), "{}", said.err);
}

#[test]
fn the_state_is_written_over_nothing_that_matters() {
    let project = Project::with("good", "steps:\n  - run: echo hi\n");
    project.run("good");
    std::os::unix::fs::symlink(".moa/moa.db", project.root.join("link")).expect("a link");
    let before = std::fs::read(project.root.join(".moa/moa.db")).expect("it is there");
    for path in [".moa/moa.db", ".moa/counters.json", "moa.yaml", "workflows/good.yaml", "link"] {
        let refused = project.call(&["state", "--write", path]).expect(2);
        assert!(refused.err.contains("would be destroyed"), "{}", refused.err);
        assert!(refused.err.contains("name another file"), "{}", refused.err);
    }
    assert!(std::fs::read(project.root.join(".moa/moa.db")).expect("it is there") == before);
    project.call(&["state", "--write", "data/state.json"]).expect(0);

    project.write("moa.yaml", "name: shop\nhealth: {state_file: .moa/moa.db}\n");
    let refused = project.call(&["up"]).expect(3);
    assert!(refused.err.contains("moa.yaml:2"), "{}", refused.err);
    // What a link leads to is known when it is there.
    project.write("moa.yaml", "name: shop\nlog: {file: link}\n");
    let refused = project.call(&["up"]).expect(3);
    assert!(refused.err.contains("log.file"), "{}", refused.err);
    assert!(std::fs::read(project.root.join(".moa/moa.db")).expect("it is there") == before);
}

#[test]
fn counters_of_what_is_not_there_are_told() {
    let project = Project::with("good", "steps:\n  - run: echo hi\n");
    project.write("moa.yaml", "metrics:\n  made: {workflow: god}\n  up: {workflow: good}\n");
    let found = project.call(&["workflows", "validate", "--json"]).expect(0).json();
    let found = found.as_array().expect("an array");
    assert_eq!((found.len(), &found[0]["line"]), (1, &serde_json::json!(2)), "{found:?}");
    assert_eq!(found[0]["help"], "did you mean `good`?");
    project.call(&["run", "good"]).expect(0);
}
