//! `moa expr`

use std::io::Write;
use std::process::Stdio;

use serde_json::json;

use crate::project::{call_in, moa};

#[test]
fn one_expression_is_evaluated() {
    let here = std::env::temp_dir();
    let value = |expr: &str| call_in(&here, &["expr", expr]).expect(0).json();
    assert_eq!(value("1 + 2 * 3"), json!(7));
    assert_eq!(value("{'a': [1, 2]}.a.map(x, x * 2)"), json!([2, 4]));
    assert_eq!(value("-1 + 2"), json!(1));
    let said = call_in(&here, &["expr", "1 +"]).expect(2);
    assert!(said.err.contains("error:") && said.err.contains('^'), "{}", said.err);
    call_in(&here, &["expr", "missing"]).expect(1);
    call_in(&here, &["expr"]).expect(2);
}

#[test]
fn a_batch_goes_on_after_bad_lines() {
    let mut child = moa()
        .args(["expr", "--batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it can be started");
    let nested = format!("{{\"expr\": \"{}1\"}}", "(".repeat(5000));
    let lines = [
        r#"{"expr": "n + 1", "vars": {"n": 41}}"#,
        "not json",
        r#"{"expr": "n + "}"#,
        "",
        &nested,
        r#"{"expr": "'a' + 'b'"}"#,
    ];
    let mut stdin = child.stdin.take().expect("it is piped");
    stdin.write_all(lines.join("\n").as_bytes()).expect("it reads");
    stdin.write_all(b"\n\xff\xfe\n").expect("it reads");
    drop(stdin);
    let said = crate::project::Said::from(child.wait_with_output().expect("it ends")).expect(0);
    let answers = said.json_lines();
    assert_eq!(answers.len(), 7, "an answer for each line: {}", said.out);
    assert_eq!(answers[0], json!({"value": 42}));
    for i in [1, 2, 3, 4, 6] {
        assert!(answers[i]["error"].is_string(), "{i}: {}", answers[i]);
    }
    assert_eq!(answers[5], json!({"value": "ab"}));
}
