//! From a new project to the result of a run.

use serde_json::{Value as Json, json};

use crate::project::{Project, call_in};

const STEPS: &str = r#"
name: Hello
version: 1.0.0
params:
  name: {type: string, default: world}
  times: {type: integer, default: 1}
steps:
  - id: greet
    run: printf '{"text":"hello %s"}' "${{ params.name }}"
  - id: shout
    condition: params.times > 1
    run: echo '"HELLO"'
  - id: note
    run: echo noted >&2
outputs:
  text: greet.text
"#;

fn keys(value: &Json) -> Vec<&str> {
    value.as_object().expect("an object").keys().map(String::as_str).collect()
}

#[test]
fn a_new_project_runs_at_once() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let said = call_in(dir.path(), &["init", "letters", "--template", "blank"]).expect(0);
    assert!(said.err.contains("moa run hello --param name=Ada --watch"), "{}", said.err);
    let root = dir.path().join("letters");
    let said = call_in(&root, &["run", "hello", "--param", "name=Ada", "--watch"]).expect(0);
    assert!(said.out.contains("✓ write succeeded"), "{}", said.out);
    let listed = call_in(&root, &["runs", "list", "--json"]).expect(0).json();
    assert_eq!(listed[0]["status"], "succeeded");
    assert_eq!(listed[0]["cause"], "cli");
    call_in(dir.path(), &["init", "letters"]).expect(5);
}

#[test]
fn the_result_has_the_documented_shape() {
    let project = Project::with("hello", STEPS);
    let result = project.call(&["run", "hello", "--json", "--param", "name=Ada"]).expect(0).json();
    let all = ["workflowId", "status", "startTime", "endTime", "duration", "steps", "metrics"];
    assert_eq!(keys(&result), all);
    assert_eq!(result["status"], "success");
    assert_eq!(result["workflowId"].as_str().map(str::len), Some(36));
    assert!(result["duration"].is_u64(), "{result}");
    assert!(result["startTime"].as_str().is_some_and(|t| t.ends_with('Z')), "{result}");
    let metrics = json!(
        {"totalSteps": 3, "successfulSteps": 2, "failedSteps": 0, "skippedSteps": 1}
    );
    assert_eq!(result["metrics"], metrics);
    let greet = json!({
        "stepId": "greet", "agent": "shell", "status": "success", "output": {"text": "hello Ada"},
    });
    assert_eq!(result["steps"][0], greet);
    assert_eq!(result["steps"][1]["status"], "skipped");
    assert_eq!(result["steps"][2]["output"], json!(null));
}

#[test]
fn a_failed_run_says_why_and_can_be_repeated() {
    let workflow = r#"
steps:
  - {id: first, run: echo x >> count}
  - {id: second, run: "test -e mended || exit 2", retry: never}
  - {id: third, run: "true"}
outputs: {mode: params.mode}
"#;
    let project = Project::with("fragile", workflow);
    let failed = project.call(&["run", "fragile", "--json", "-p", "mode=a"]).expect(1).json();
    let all = ["workflowId", "status", "startTime", "endTime", "duration", "steps", "metrics"];
    assert_eq!(keys(&failed), all);
    let of_step = ["stepId", "agent", "status", "output", "error"];
    assert_eq!(keys(&failed["steps"][1]), of_step);
    assert_eq!(failed["status"], "failure");
    assert_eq!(failed["steps"][1]["status"], "failure");
    assert!(failed["steps"][1]["error"].as_str().is_some_and(|e| e.contains("2")), "{failed}");
    assert_eq!(failed["steps"][2]["status"], "skipped");
    let id = failed["workflowId"].as_str().expect("an id");

    let why = project.call(&["runs", "why", &id[30..], "--json"]).expect(0).json();
    assert_eq!(why["reasons"][0]["unblock"], format!("moa runs retry {id}"));

    project.write("mended", "");
    project.call(&["runs", "retry", "last", "-q"]).expect(0);
    assert_eq!(project.read("count"), "x\n", "the first step was taken over");
    let shown = project.call(&["runs", "show", "last", "--json"]).expect(0).json();
    assert_eq!(shown["forked_from"], id);

    project.call(&["runs", "rerun", "last", "--from", "first", "-q"]).expect(0);
    assert_eq!(project.read("count"), "x\nx\n");
    project.call(&["runs", "rerun", "last", "--from", "nowhere"]).expect(4);

    let fork = project.call(&["runs", "fork", "last", "-p", "mode=b", "--json"]).expect(0).json();
    let id = fork["workflowId"].as_str().expect("an id");
    let shown = project.call(&["runs", "show", id, "--json"]).expect(0).json();
    assert_eq!(shown["output"], json!({"mode": "b"}));
}

#[test]
fn mistakes_on_the_command_line_are_told_apart() {
    let project = Project::with("hello", STEPS);
    let said = project.call(&["run", "helo"]).expect(4);
    assert!(said.err.contains("did you mean hello?"), "{}", said.err);
    let said = project.call(&["run", "hello", "-p", "times=many"]).expect(2);
    assert!(said.err.contains("times"), "{}", said.err);
    let said = project.call(&["run", "hello", "-p", "nmae=x"]).expect(2);
    assert!(said.err.contains("name"), "{}", said.err);
    project.call(&["run"]).expect(2);
    project.call(&["run", "../hello"]).expect(2);
    project.call(&["run", "hello", "--detach"]).expect(5);
    project.call(&["runs", "show", "last"]).expect(4);
    call_in(project.outside(), &["run", "hello"]).expect(4);
    assert!(project.call(&["run", "hello"]).expect(0).out.contains("text: \"hello world\""));
    project.call(&["runs", "show", "ffffffffffff"]).expect(4);
    project.call(&["runs", "show", "no-id"]).expect(2);
}

#[test]
fn a_dry_run_shows_the_plan_and_runs_nothing() {
    let project = Project::with("hello", STEPS);
    let said = project.call(&["run", "hello", "--dry-run", "-p", "name=Ada"]).expect(0);
    assert!(
        said.out.contains("hello %s\\\" \\\"Ada\\\"") || said.out.contains("Ada"),
        "{}",
        said.out
    );
    assert!(said.out.contains("condition: params.times > 1"), "{}", said.out);
    assert!(!project.root.join(".moa").exists());
    let plan = project.call(&["run", "hello", "--dry-run", "--json"]).expect(0).json();
    assert_eq!(plan["params"], json!({"name": "world", "times": 1}));
    assert_eq!(plan["steps"][1]["needs"], json!(["greet"]));
    project.call(&["run", "hello", "--dry-run", "-p", "times=x"]).expect(2);
}

#[test]
fn the_same_idempotency_key_starts_one_run() {
    let project = Project::with("count", "steps:\n  - run: echo x >> count\n");
    let args = ["run", "count", "--idempotency-key", "k1", "--json"];
    let first = project.call(&args).expect(0).json();
    let second = project.call(&args).expect(0).json();
    assert_eq!(first["workflowId"], second["workflowId"]);
    assert_eq!(project.read("count"), "x\n");
}

#[test]
fn an_idempotency_key_stands_for_one_request() {
    let project = Project::with("hello", STEPS);
    project.write("workflows/other.yaml", "steps:\n  - run: echo x >> count\n");
    let run = |rest: &[&str]| {
        let key: &[&str] = &["run", "--idempotency-key", "k1", "--json"];
        project.call(&[key, rest].concat())
    };
    run(&["hello", "-p", "name=Ada"]).expect(0);
    let said = run(&["other"]).expect(5);
    assert!(said.err.contains("belongs to run") && said.err.contains("of hello"), "{}", said.err);
    assert!(!project.root.join("count").exists());
    let said = run(&["hello", "-p", "name=Grace"]).expect(5);
    assert!(said.err.contains("with other params"), "{}", said.err);
    run(&["hello", "-p", "name=Ada", "-p", "times=1"]).expect(0);
    // An edit in between brings another default, which nobody has asked for.
    let edited = STEPS.replace("default: 1", "default: 2");
    assert_ne!(edited, STEPS);
    project.write("workflows/hello.yaml", &edited);
    run(&["hello", "-p", "name=Ada"]).expect(0);
}

#[test]
fn params_come_from_files_too() {
    let project = Project::with("hello", STEPS);
    project.write("params.json", r#"{"name": "file", "times": 3}"#);
    project.write("name.txt", "Grace");
    let args = ["run", "hello", "--params", "params.json", "-p", "name=@name.txt", "--json"];
    let result = project.call(&args).expect(0).json();
    assert_eq!(result["steps"][0]["output"]["text"], "hello Grace");
    assert_eq!(result["steps"][1]["status"], "success");
    project.write("params.json", "[]");
    project.call(&args).expect(2);
}

#[test]
fn loops_have_a_result_for_each_iteration_where_they_stand() {
    let workflow = r#"
steps:
  - {id: first, run: "true"}
  - id: each
    foreach: {in: "[1, 2]", as: n}
    steps:
      - {id: double, run: "echo $(( ${{ n }} * 2 ))"}
      - id: inner
        foreach: {in: "[3, 4]", as: m}
        steps:
          - {id: product, run: "echo $(( ${{ n }} * ${{ m }} ))"}
  - id: pair
    parallel:
      - {id: left, run: "true"}
      - {id: right, run: "true"}
  - {id: third, run: "true"}
error_handling: {finally: [{id: last, run: "true"}]}
"#;
    let project = Project::with("loop", workflow);
    let result = project.run("loop");
    let ids: Vec<_> = result["steps"].as_array().expect("steps").iter().collect();
    let ids: Vec<_> = ids.iter().map(|s| s["stepId"].as_str().unwrap_or_default()).collect();
    let first = ["first", "double[0]", "product[0.0]", "product[0.1]"];
    let rest = ["double[1]", "product[1.0]", "product[1.1]", "left", "right", "third", "last"];
    assert_eq!(ids, [first.as_slice(), rest.as_slice()].concat());
    assert_eq!(result["metrics"]["totalSteps"], 11);
}

#[test]
fn a_script_ends_at_its_first_failure_wherever_it_stands() {
    let project = Project::empty();
    project.write("agents/scripted.yaml", "shell: \"false\\necho on >> went\"\nretry: never\n");
    project.workflow("agent", "steps:\n  - {agent: scripted, action: go}\n");
    let run = "steps:\n  - {run: \"false\\necho on >> went\", retry: never}\n";
    project.workflow("step", run);
    for workflow in ["agent", "step"] {
        let failed = project.call(&["run", workflow, "--json"]).expect(1).json();
        assert_eq!(failed["steps"][0]["error"], "exit code 1", "{workflow}");
    }
    assert!(!project.root.join("went").exists());
}

#[test]
fn null_is_a_default_also_of_a_kept_version() {
    let workflow = r#"
params:
  note: {type: [string, "null"], default: null}
steps:
  - {id: is_null, condition: params.note == null, run: "true"}
"#;
    let project = Project::with("nothing", workflow);
    assert_eq!(project.run("nothing")["metrics"]["successfulSteps"], 1);
    let versions = project.call(&["workflows", "versions", "--json"]).expect(0).json();
    let hash = versions[0]["hash"].as_str().expect("a hash");
    let kept = format!("nothing@{}", &hash[..12]);
    assert_eq!(project.run(&kept)["metrics"]["successfulSteps"], 1);
}

#[test]
fn workflows_and_agents_are_asked_in_the_short_words_as_well() {
    let project = Project::with(
        "build-project",
        "steps: [{id: make, agent: speaker, action: say, params: {n: 1}}]\n",
    );
    project.write(
        "agents/speaker.yaml",
        "shell: |\n  [ -e go ] || { touch go; exit 1; }\n  echo '{}'\nactions: {say: {}}\n\
         retry: {delay: 1ms, max_attempts: 2}\n",
    );
    assert_eq!(project.call(&["agents", "health", "speaker"]).expect(0).err, "");
    let nothing = ["metrics", "--agent", "speaker", "--json"];
    let none = project.call(&nothing).expect(0).json();
    assert_eq!((&none["executions"], &none["error_rate"]), (&json!(0), &json!(null)));
    let run =
        project.call(&["workflows", "execute", "build-project.yml", "--json"]).expect(0).json();
    let id = run["workflowId"].as_str().expect("an id");
    let status = project.call(&["workflows", "status", id, "--json"]).expect(0).json();
    assert_eq!(status["status"], "succeeded", "{status}");
    let done = project.call(&["metrics", "--agent", "speaker", "--range", "1h", "--json"]);
    let done = done.expect(0).json();
    assert_eq!(done["agent"], "speaker");
    assert_eq!((&done["executions"], &done["errors"]), (&json!(2), &json!(1)), "{done}");
    assert_eq!(done["error_rate"], json!(0.5));
    let long = ["metrics", "--agent", "speaker", "--range", "0s", "--json"];
    assert_eq!(project.call(&long).expect(0).json()["executions"], 0);
    let health = project.call(&["agents", "health", "speaker"]).expect(0).out;
    assert!(health.contains("2 attempts, 1 failed"), "{health}");
    let unknown = project.call(&["metrics", "--agent", "speeker"]).expect(4);
    assert!(unknown.err.contains("did you mean speaker"), "{}", unknown.err);
    project.call(&["metrics", "--range", "1h"]).expect(2);
}
