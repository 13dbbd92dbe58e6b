//! Webhooks that start runs, with the real binary.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
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
fn nobody_publishes_what_only_a_signature_lets_through() {
    let project = project();
    let node = project.up();
    let api = Api::with_role(&project, &node, "admin");
    let (hooked, began) = ("webhook.deploy.push", "moa.run.created");
    let data = json!({"body": {"ref": "refs/heads/main"}, "headers": {}});
    for kind in [hooked, began] {
        let asked = json!({"type": kind, "data": data, "key": "k"});
        api.post("/api/v1/events", &asked).refused(400, "invalid_request");
        let body =
            json!({"specversion": "1.0", "type": kind, "source": "s", "id": "1", "data": data});
        let cloud = "Content-Type: application/cloudevents+json\r\n";
        api.send("POST", "/api/v1/events", cloud, &body.to_string())
            .refused(400, "invalid_request");
        let said = project.call(&["events", "publish", kind]).expect(2);
        assert!(said.err.contains("moa's own") && said.err.contains("webhook."), "{}", said.err);
    }
    project.workflow("forge", "steps: [{emit: webhook.deploy.push}]\n");
    let said = project.call(&["workflows", "validate", "workflows/forge.yaml"]).expect(3);
    assert!(format!("{}{}", said.out, said.err).contains("moa's own"));
    // A call that comes after all of these is the only one that starts something.
    let body = r#"{"ref":"refs/heads/main"}"#;
    call(&api, "/hooks/deploy/push", &signed(KEY, body), body).expect(202);
    assert_eq!(ended(&project, "deploy/push", 1).len(), 1);
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

/// Calls signed as Standard Webhooks, as Slack does it, and with half a day for those that are late.
const PAID: &str = "\
params: {order: integer}
on:
  - id: paid
    webhook: {secret: '${{ secrets.SHOP }}'}
    params: {order: '${{ event.data.body.order }}'}
  - id: late
    webhook: {secret: '${{ secrets.SHOP }}', tolerance: 12h}
    params: {order: '${{ event.data.body.order }}'}
steps: [{run: 'true'}]
";
const SAID: &str = "\
params: {text: string}
on:
  webhook: {signature: slack, secret: '${{ secrets.SLACK }}'}
  params: {text: '${{ has(event.data.body.text) ? event.data.body.text : event.data.body.event.text }}'}
steps: [{run: 'true'}]
";
/// What the example of the specification is signed with, and the key before it.
const SHOP: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const SHOP_BEFORE: &str = "whsec_c2VjcmV0LW9mLXRoZS15ZWFyLWJlZm9yZQ==";
const SLACK: &str = "8f742231b10e8888abcd99yyyzzz85a5";

fn signed_project() -> Project {
    let project = Project::with("paid", PAID);
    project.workflow("said", SAID);
    project.write(".env", &format!("SHOP='{SHOP_BEFORE} {SHOP}'\nSLACK={SLACK}\n"));
    project
}

/// So many seconds from now.
fn second(from_now: i64) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time").as_secs();
    now.cast_signed() + from_now
}

/// The headers of Standard Webhooks over a body.
fn standard(key: &str, id: &str, second: i64, body: &str) -> String {
    let key = STANDARD.decode(key.strip_prefix("whsec_").expect("a key")).expect("base64");
    let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
    let tag = STANDARD.encode(hmac::sign(&key, format!("{id}.{second}.{body}").as_bytes()));
    format!("Webhook-Id: {id}\r\nWebhook-Timestamp: {second}\r\nWebhook-Signature: v1,{tag}\r\n")
}

/// The headers of Slack over a body.
fn slack(key: &str, second: i64, body: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes());
    let tag = hmac::sign(&key, format!("v0:{second}:{body}").as_bytes());
    let hex: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("X-Slack-Request-Timestamp: {second}\r\nX-Slack-Signature: v0={hex}\r\n")
}

fn params_of(project: &Project, occurrence: &Json) -> Json {
    let run = occurrence["run"].as_str().expect("a run");
    project.call(&["runs", "show", run, "--json"]).expect(0).json()["params"].clone()
}

#[test]
fn calls_signed_as_standard_webhooks_start_one_run_for_one_id() {
    let project = signed_project();
    let node = project.up();
    let (path, body) = ("/hooks/paid/paid", r#"{"order":7}"#);
    let new = |answer: Answer, status: u16| answer.expect(status).json()["new"].clone();

    // Whoever has not signed it, or not this, or not now.
    let api = Api::nobody(&node);
    let no = |headers: &str, body: &str| {
        call(&api, path, headers, body).refused(401, "unauthenticated");
    };
    let good = standard(SHOP, "msg_1", second(0), body);
    no("", body);
    no(&standard("whsec_AAAA", "msg_1", second(0), body), body);
    no(&good, r#"{"order":8}"#);
    no(&good.replace("msg_1", "msg_2"), body);
    no(&good.replace("v1,", "v1a,"), body);
    no(&standard(SHOP, "msg_1", second(-3600), body), body);
    no(&standard(SHOP, "msg_1", second(3600), body), body);
    no(&good.replace("Webhook-Timestamp", "X-Timestamp"), body);
    assert_eq!(history(&project, "paid/paid"), Vec::<Json>::new());

    // The same call that somebody has listened to, and its sender's own second attempt.
    assert_eq!(new(call(&api, path, &good, body), 202), true);
    assert_eq!(new(call(&api, path, &good, body), 200), false);
    let again = standard(SHOP, "msg_1", second(60), body);
    assert_eq!(new(call(&api, path, &again, body), 200), false);
    // Each key counts while one takes the place of another, and each signature of a header.
    let older = standard(SHOP_BEFORE, "msg_2", second(0), body);
    let both = older.replace("v1,", "v1,AAAA v2,x v1,");
    assert_eq!(new(call(&api, path, &both, body), 202), true);
    // An id names a delivery of its own webhook alone, which may be told late.
    let late = standard(SHOP, "msg_1", second(-3600), body);
    assert_eq!(new(call(&api, "/hooks/paid/late", &late, body), 202), true);
    assert_eq!(ended(&project, "paid/paid", 2).len(), 2);
    let all = ended(&project, "paid/late", 1);
    assert_eq!(params_of(&project, &all[0]), json!({"order": 7}));

    // A node that comes back knows what it has taken.
    node.kill();
    let node = project.up();
    let api = Api::nobody(&node);
    assert_eq!(new(call(&api, path, &good, body), 200), false);
    assert_eq!(new(call(&api, path, &standard(SHOP, "msg_3", second(0), body), body), 202), true);
    assert_eq!(ended(&project, "paid/paid", 3).len(), 3);
}

#[test]
fn calls_signed_as_slack_does_it_start_one_run_for_one_event() {
    let project = signed_project();
    let node = project.up();
    let api = Api::nobody(&node);
    let path = "/hooks/said";
    let take = |headers: &str, body: &str| call(&api, path, headers, body);
    let question = r#"{"type":"url_verification","challenge":"3eZbrw1aB"}"#;
    let asked = take(&slack(SLACK, second(0), question), question).expect(200).json();
    assert_eq!(asked, json!({"challenge": "3eZbrw1aB"}));
    take(&slack("another", second(0), question), question).refused(401, "unauthenticated");

    let event = r#"{"type":"event_callback","event_id":"Ev1","event":{"text":"hello"}}"#;
    let good = slack(SLACK, second(0), event);
    take("", event).refused(401, "unauthenticated");
    take(&good, &event.replace("hello", "evil")).refused(401, "unauthenticated");
    take(&slack(SLACK, second(-3600), event), event).refused(401, "unauthenticated");
    take(&slack(SLACK, second(3600), event), event).refused(401, "unauthenticated");
    assert_eq!(history(&project, "said"), Vec::<Json>::new(), "a question is no event");

    assert_eq!(take(&good, event).expect(202).json(), json!({"new": true}));
    assert_eq!(take(&good, event).expect(200).json(), json!({"new": false}));
    // What Slack sends again, because nobody answered in time, has another time and the same id.
    let retry = format!("{}X-Slack-Retry-Num: 1\r\n", slack(SLACK, second(60), event));
    assert_eq!(take(&retry, event).expect(200).json()["new"], false);
    let all = ended(&project, "said", 1);
    assert_eq!(params_of(&project, &all[0]), json!({"text": "hello"}));

    // A command is a form without an id: what is signed names it.
    let form = "command=%2Fdeploy&text=now+please";
    let send = |headers: &str| {
        let kind = "Content-Type: application/x-www-form-urlencoded\r\n";
        api.send("POST", path, &format!("{kind}{headers}"), form)
    };
    let first = slack(SLACK, second(0), form);
    assert_eq!(send(&first).expect(202).json()["new"], true);
    assert_eq!(send(&first).expect(200).json()["new"], false);
    assert_eq!(send(&slack(SLACK, second(60), form)).expect(202).json()["new"], true);
    let all = ended(&project, "said", 3);
    assert_eq!(all.len(), 3, "{all:?}");
    let texts = all.iter().filter(|o| params_of(&project, o)["text"] == "now please");
    assert_eq!(texts.count(), 2);
}
