//! Webhooks that start runs, with the real binary.

use ring::hmac;
use serde_json::{Value as Json, json};

use crate::http::{Answer, Api};
use crate::project::Project;

const DEPLOY: &str = "\
params: {branch: string, event: {type: string, default: none}}
on:
  id: push
  webhook: {signature: github, secret: '${{ secrets.GITHUB }}'}
  match: has(event.data.body.ref) && event.data.body.ref != 'refs/heads/old'
  params: {branch: '${{ event.data.body.ref }}', event: \"${{ event.data.headers['x-github-event'] }}\"}
steps: [{run: 'true'}]
";
const OPEN: &str = "on: {webhook: {signature: none}}\nsteps: [{run: 'true'}]\n";

const KEY: &str = "a-secret-of-github";

fn project() -> Project {
    let project = Project::with("deploy", DEPLOY);
    project.workflow("open", OPEN);
    project.write(".env", &format!("GITHUB={KEY}\n"));
    project
}

fn signed(key: &str, body: &str) -> String {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes()), body.as_bytes());
    let hex: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("X-Hub-Signature-256: sha256={hex}\r\n")
}

fn call(api: &Api, path: &str, headers: &str, body: &str) -> Answer {
    let kind = "Content-Type: application/json\r\nX-GitHub-Event: push\r\n";
    api.send("POST", path, &format!("{kind}{headers}"), body)
}

fn history(project: &Project, trigger: &str) -> Vec<Json> {
    let said = project.call(&["triggers", "history", trigger, "--json"]).expect(0);
    said.json().as_array().expect("an array").clone()
}

/// Waits until so many occurrences of a trigger have had a run that ended.
fn ended(project: &Project, trigger: &str, count: usize) -> Vec<Json> {
    loop {
        let all = history(project, trigger);
        if all.iter().filter(|o| !o["result"].is_null()).count() >= count {
            return all;
        }
    }
}

#[test]
fn a_signed_call_starts_one_run_however_often_it_comes() {
    let project = project();
    let node = project.up();
    let api = Api::nobody(&node);
    let body = r#"{"ref":"refs/heads/main"}"#;
    let good = signed(KEY, body);
    let path = "/hooks/deploy/push";
    call(&api, path, "", body).refused(401, "unauthenticated");
    call(&api, path, &signed("another", body), body).refused(401, "unauthenticated");
    call(&api, path, &good, r#"{"ref":"refs/heads/evil"}"#).refused(401, "unauthenticated");
    call(&api, "/hooks/deploy/other", &good, body).refused(404, "not_found");
    call(&api, "/hooks/nothing", &good, body).refused(404, "not_found");
    let big = "x".repeat(300 << 10);
    call(&api, path, &signed(KEY, &big), &big).refused(413, "too_large");
    assert_eq!(history(&project, "deploy/push"), Vec::<Json>::new());

    // Headers of its sender that mean something elsewhere change nothing.
    let more = format!("{good}X-GitHub-Delivery: 1\r\nAuthorization: Basic abc\r\n");
    assert_eq!(call(&api, path, &more, body).expect(202).json(), json!({"new": true}));
    let replayed = format!("{good}X-GitHub-Delivery: 2\r\n");
    assert_eq!(call(&api, path, &replayed, body).expect(200).json(), json!({"new": false}));
    assert_eq!(call(&api, "/hooks/deploy", &good, body).expect(200).json()["new"], false);
    let all = ended(&project, "deploy/push", 1);
    assert_eq!(all.len(), 1, "{all:?}");
    let run = all[0]["run"].as_str().expect("a run");
    let shown = project.call(&["runs", "show", run, "--json"]).expect(0).json();
    assert_eq!(shown["params"], json!({"branch": "refs/heads/main", "event": "push"}));
    assert!(!shown.to_string().contains("sha256"), "{shown}");

    // What is not looked for is passed over; and a killed node loses nothing that it has taken.
    let old = r#"{"ref":"refs/heads/old"}"#;
    call(&api, path, &signed(KEY, old), old).expect(202);
    let next = r#"{"ref":"refs/heads/next"}"#;
    call(&api, path, &signed(KEY, next), next).expect(202);
    node.kill();
    let node = project.up();
    let api = Api::nobody(&node);
    assert_eq!(call(&api, path, &signed(KEY, next), next).expect(200).json()["new"], false);
    let all = ended(&project, "deploy/push", 2);
    assert_eq!(all.iter().filter(|o| o["outcome"] == "started").count(), 2, "{all:?}");
    let listed = project.call(&["secrets", "list", "--json"]).expect(0).json();
    assert_eq!(listed[0]["used_by"], json!(["workflow deploy"]), "{listed}");
}

#[test]
fn without_its_secret_nothing_is_taken_and_unsigned_has_to_be_said() {
    let project = project();
    project.write(".env", "");
    let node = project.up();
    let api = Api::nobody(&node);
    let body = r#"{"ref":"refs/heads/main"}"#;
    call(&api, "/hooks/deploy", &signed("", body), body).refused(503, "unavailable");
    call(&api, "/hooks/open", "", "{}").expect(202);
    // What a sender shows to others is no wrong sign-in, however often it comes.
    let own = "Authorization: Bearer of-another-service\r\n";
    (0..40).for_each(|_| drop(call(&api, "/hooks/open", own, "{}").expect(202)));
    api.send("GET", "/api/v1/me", own, "").refused(401, "unauthenticated");
    call(&api, "/hooks/open", "Webhook-Id: 7\r\n", "{}").expect(202);
    call(&api, "/hooks/open", "Webhook-Id: 7\r\n", "{}").expect(200);
    ended(&project, "open", 2);
    api.send("GET", "/hooks/open", "", "").refused(405, "method_not_allowed");

    let checked = |on: &str| {
        project.workflow("open", &format!("on: {on}\nsteps: [{{run: 'true'}}]\n"));
        let said = project.call(&["workflows", "validate"]).expect(3);
        format!("{}{}", said.out, said.err)
    };
    let said = checked("{webhook: {}}");
    assert!(said.contains("signature: none"), "{said}");
    let said = checked("{webhook: {secret: plain-text-in-a-file}}");
    assert!(said.contains("moa secrets set"), "{said}");
    let said = checked("{webhook: {signature: none, secret: '${{ secrets.A }}'}}");
    assert!(said.contains("means nothing"), "{said}");
    let said = checked("{webhook: {signature: github, secret: '${{ secrets.A }}', tolerance: 5m}}");
    assert!(said.contains("no time is signed"), "{said}");
}
