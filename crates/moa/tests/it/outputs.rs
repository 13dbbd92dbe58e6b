//! Schemas of outputs, with the real binary: validated, shown, tested, enforced.

use serde_json::json;

use crate::project::Project;

const COUNT: &str = r#"
params: {files: {type: string, default: '["a", "b"]'}}
steps:
  - id: list
    run: 'printf %s "$FILES" > "$MOA_OUTPUT"; echo x >> tries'
    env: {FILES: "${{ params.files }}"}
    retry: {max_attempts: 3, delay: 10ms}
    outputs:
      files: {value: output, schema: {type: array, items: {type: string}}}
  - {id: after, run: "true"}
outputs:
  count: {value: size(list.files), schema: {type: integer, maximum: 2}}
tests:
  - name: few
    mock: {list: {output: [a]}}
    expect: {status: success, outputs: {count: 1}}
  - name: not what was said
    mock: {list: {output: [a, 2]}}
    expect: {status: failure, error: "step list failed: the output doesn't meet its schema: at /files/1"}
  - name: too many
    mock: {list: {output: [a, b, c]}}
    expect: {status: failure, error: "the run's output doesn't meet its schema: at /count"}
"#;

#[test]
fn outputs_are_checked_against_their_schemas() {
    let project = Project::with("count", COUNT);
    let done = project.call(&["run", "count", "--json"]).expect(0).json();
    assert_eq!(done["status"], "success");
    assert_eq!(done["steps"][0]["output"], json!({"files": ["a", "b"]}));

    let failed = project.call(&["run", "count", "--json", "-p", r#"files=["a", 2]"#]).expect(1);
    let failed = failed.json();
    let told = "the output doesn't meet its schema: at /files/1: 2 is not of type string";
    assert_eq!(failed["steps"][0]["status"], "failure");
    assert_eq!(failed["steps"][0]["error"], told);
    assert_eq!(failed["steps"][1]["status"], "skipped");
    assert_eq!(project.read("tries"), "x\nx\n", "one try a run");
    let said = project.call(&["runs", "show", "last"]).expect(0);
    assert!(said.out.contains(told), "{}", said.out);

    let failed = project.call(&["run", "count", "--json", "-p", r#"files=["a", "b", "c"]"#]);
    let told = "the run's output doesn't meet its schema: at /count: 3 is more than 2";
    let failed = failed.expect(1);
    assert!(failed.err.contains(&format!("error: {told}\n")), "{}", failed.err);
    assert_eq!(failed.json()["status"], "failure");
    let shown = project.call(&["runs", "show", "last", "--json"]).expect(0).json();
    assert_eq!(shown["error"]["message"], told, "{shown}");
    assert_eq!(shown["error"]["kind"], "output");
    let said = project.call(&["runs", "show", "last"]).expect(0);
    assert!(said.out.contains(told), "{}", said.out);
    let said = project.call(&["run", "count", "-p", r#"files=["a", "b", "c"]"#]).expect(1);
    assert!(said.out.contains(told), "{}", said.out);
    // No step failed, so there is nothing to go on from; moa says what there is instead.
    let why = project.call(&["runs", "why", "last", "--json"]).expect(0).json();
    let unblock = why["reasons"][0]["unblock"].as_str().expect("a way on");
    assert!(unblock.ends_with(" --from STEP"), "{unblock}");
    let said = project.call(&["runs", "retry", "last"]).expect(5);
    assert!(said.err.contains("rerun --from STEP"), "{}", said.err);
}

#[test]
fn schemas_of_outputs_are_validated_tested_and_shown() {
    let project = Project::with("count", COUNT);
    let said = project.call(&["workflows", "validate"]).expect(0);
    assert!(!format!("{}{}", said.out, said.err).contains("MOA"), "{}{}", said.out, said.err);
    project.call(&["test", "count"]).expect(0);

    let plan = project.call(&["run", "count", "--dry-run", "--json"]).expect(0).json();
    let files =
        json!({"value": "output", "schema": {"type": "array", "items": {"type": "string"}}});
    assert_eq!(plan["steps"][0]["outputs"], json!({"files": files}));
    assert_eq!(plan["outputs"]["count"]["schema"], json!({"type": "integer", "maximum": 2}));
    let said = project.call(&["run", "count", "--dry-run"]).expect(0);
    let shown = "count: size(list.files)  must meet {\"type\":\"integer\",\"maximum\":2}";
    assert!(said.out.contains(shown), "{}", said.out);

    project.write("workflows/count.yaml", &COUNT.replace("maximum: 2}", "$ref: 'http://x/'}"));
    let said = project.call(&["workflows", "validate"]).expect(3);
    assert!(said.err.contains("MOA0207") || said.out.contains("MOA0207"), "{}", said.err);
    project.call(&["run", "count"]).expect(3);
}
