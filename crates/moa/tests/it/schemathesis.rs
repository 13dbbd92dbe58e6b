//! A tester of APIs that isn't moa's own: Schemathesis makes up requests from the API's document,
//! right ones and wrong ones, one after another and in chains. Whatever comes, moa has no fault, and
//! answers as the document says.
//!
//! `cargo xtask test` installs it. `MOA_TEST_SEED` and `MOA_TEST_REQUESTS` (for each operation, at
//! most) make it ask something else.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::{Value as Json, json};

use crate::http::Api;
use crate::issuer::{Key, now};
use crate::project::{Project, skip};

const WORKFLOW: &str = "\
params: {name: {type: string, default: you}}
schedule: {cron: '0 3 1 1 *'}
on: {id: hook, webhook: {signature: none}}
steps: [{id: say, run: echo hello}]
";

/// What the node believes whoever comes with a JWT: nothing that a request does ends it.
const ISSUER: &str = "\
server: {jwt: [{issuer: tester, audience: moa, algorithm: HS256, secret: '${{ secrets.JWT }}'}]}
secrets: {key_file: ../key}
webhooks: {nobody: {url: 'http://127.0.0.1:9/', types: [run.paused]}}
";
const SECRET: &str = "a-secret-of-more-than-thirty-two-bytes";

/// What is looked at in each answer.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
                      response_headers_conformance,response_schema_conformance,\
                      unsupported_method,allow_header_conformance";
/// Requests that are made up for each operation at most, beside those for what lies at ends.
const REQUESTS: &str = "10";
/// Below what one token may ask.
const RATE: &str = "150/s";
/// Operations that it has to find.
const OPERATIONS_MIN: u64 = 90;
/// Requests that it makes at least, of which so many are to be answered with what they ask for.
const ASKED_MIN: usize = 1500;
const ANSWERED_MIN: usize = 300;

/// The program, where `cargo xtask test` puts it.
fn program() -> Option<PathBuf> {
    let target = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let program = target.parent()?.join("schemathesis/bin/st");
    program.is_file().then_some(program)
}

/// A token that holds for an hour, of somebody who may do all.
fn token() -> String {
    let claims = json!({
        "iss": "tester", "aud": "moa", "sub": "tester", "roles": ["admin"], "exp": now() + 3600,
    });
    Key::Hs(SECRET.as_bytes().to_vec()).jwt(json!({}), &claims)
}

#[test]
fn schemathesis_finds_no_fault_and_no_answer_that_is_not_documented() {
    let Some(program) = program() else {
        return skip("schemathesis", "Schemathesis is missing: it comes from PyPI");
    };
    let project = Project::with("hello", WORKFLOW);
    let key = project.outside().join("key");
    project.call(&["secrets", "new-key", key.to_str().expect("UTF-8")]).expect(0);
    project.write("moa.yaml", ISSUER);
    project.write(".env", &format!("JWT={SECRET}\n"));
    let node = project.up();
    let document = format!("http://{}/api/v1/openapi.json", Api::nobody(&node).address);
    let said = |name: &str, usual: &str| std::env::var(name).unwrap_or_else(|_| usual.to_owned());
    let mut tester = Command::new(program);
    tester.env_clear().current_dir(project.outside()).args(["run", &document]);
    tester.args(["-H", &format!("Authorization: Bearer {}", token())]);
    tester.args(["--checks", CHECKS, "--seed", &said("MOA_TEST_SEED", "1")]);
    tester.args(["--max-examples", &said("MOA_TEST_REQUESTS", REQUESTS)]);
    tester.args(["--rate-limit", RATE, "--request-timeout", "60", "--request-retries", "3"]);
    // A stream doesn't end.
    tester.args(["--exclude-path", "/api/v1/events/stream", "--continue-on-failure"]);
    // How long a request takes to make up says nothing of moa.
    tester.args(["--suppress-health-check", "all", "--generation-database", "none"]);
    tester.args(["--no-color", "--warnings", "off", "--report", "har"]);
    tester.args(["--report-har-path", "asked.har"]);
    let done = tester.stdin(Stdio::null()).output().expect("it can be started");
    let out = String::from_utf8_lossy(&done.stdout);
    let err = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{out}\n{err}");
    // It had something to find: all of the document, and answers beside refusals.
    let selected = out.lines().find_map(|line| line.trim().strip_prefix("Selected: "));
    let selected = selected.and_then(|text| text.split('/').next()?.parse::<u64>().ok());
    assert!(selected.is_some_and(|selected| selected >= OPERATIONS_MIN), "{out}");
    let asked = fs::read_to_string(project.outside().join("asked.har")).expect("a report");
    let asked: Json = serde_json::from_str(&asked).expect("JSON");
    let entries = asked["log"]["entries"].as_array().expect("a list");
    let good = entries.iter().filter(|entry| entry["response"]["status"] == 200).count();
    assert!(entries.len() >= ASKED_MIN && good >= ANSWERED_MIN, "{} {good}", entries.len());
    // It is as well as it was.
    let header = format!("Authorization: Bearer {}\r\n", token());
    let api = Api::nobody(&node);
    api.get("/readyz").expect(200);
    assert_eq!(api.send("GET", "/api/v1/me", &header, "").expect(200).json()["role"], "admin");
}
