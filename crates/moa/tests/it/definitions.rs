//! Agents and workflows that come, change and go over the API.

use std::io::Write;
use std::net::TcpStream;

use serde_json::{Value as Json, json};

use crate::http::{Answer, Api, pause};
use crate::project::{Node, Project};
use crate::remote::Elsewhere;

const HELLO: &str = "steps: [{run: echo hello}]\n";
const ASK: &str = "steps:\n  - {id: ask, approve: {title: 'go on?'}}\n";
const LINTS: &str = "steps: [{id: lint, agent: linter, action: lint}]\n";

fn admin(project: &Project) -> (Node, Api) {
    let node = project.up();
    let api = Api::with_role(project, &node, "admin");
    (node, api)
}

fn put(api: &Api, path: &str, condition: &str, text: &str) -> Answer {
    let headers = format!("Content-Type: application/yaml\r\n{condition}\r\n");
    api.send("PUT", path, &headers, text)
}

fn delete(api: &Api, path: &str, condition: &str) -> Answer {
    api.send("DELETE", path, &format!("{condition}\r\n"), "")
}

fn start(api: &Api, workflow: &str) -> String {
    let said = api.post("/api/v1/runs", &json!({"workflow": workflow})).expect(201).json();
    said["run"].as_str().expect("an id").to_owned()
}

/// What was done, by the audit log: outcomes of an action, the newest first.
fn outcomes(api: &Api, action: &str) -> Vec<String> {
    let acts = api.get(&format!("/api/v1/audit?action={action}")).expect(200).json();
    let acts = acts["acts"].as_array().expect("a list").iter();
    acts.map(|act| act["outcome"].as_str().expect("an outcome").to_owned()).collect()
}

#[test]
fn an_agent_is_registered_changed_and_removed() {
    let project = Project::with("hello", HELLO);
    let (node, api) = admin(&project);
    let definition = json!({"shell": "echo '\"v1\"'", "actions": {"lint": {}}});
    let new = json!({"agent": "linter", "definition": definition});
    let operator = Api::with_role(&project, &node, "operator");
    operator.post("/api/v1/agents", &new).refused(403, "forbidden");
    // One file may have several agents: who may reach one alone writes none.
    let narrow = json!({"name": "one", "role": "admin", "scopes": ["agents:linter"]});
    let narrow = api.post("/api/v1/tokens", &narrow).expect(201).json();
    let narrow = format!("Authorization: Bearer {}", narrow["token"].as_str().expect("one"));
    let nobody = Api::nobody(&node);
    let headers = format!("{narrow}\r\nContent-Type: application/json\r\n");
    nobody.send("POST", "/api/v1/agents", &headers, &new.to_string()).refused(403, "forbidden");
    let wrong = json!({"agent": "linter", "definition": {"shel": "true"}});
    let wrong = api.post("/api/v1/agents", &wrong).refused(422, "invalid_files");
    assert!(wrong["text"].as_str().is_some_and(|text| text.contains("shel")), "{wrong}");
    assert!(!project.root.join("agents").exists(), "nothing is written");
    api.post("/api/v1/agents", &json!({"agent": "../x", "definition": {}})).expect(400);
    api.post("/api/v1/agents", &json!({"agent": "moa-notify", "definition": {}})).expect(409);
    let made = api.post("/api/v1/agents", &new).expect(201);
    assert_eq!(made.header("location"), Some("/api/v1/agents/linter"));
    assert_eq!(made.json()["agents"], json!(["linter"]));
    api.post("/api/v1/agents", &new).refused(409, "conflict");
    project.workflow("lints", LINTS);
    let output = |run: &str| api.ended(run)["steps"][0]["output"].clone();
    assert_eq!(output(&start(&api, "lints")), "v1");

    let source = "/api/v1/agents/linter/source";
    let old = api.get(source).expect(200);
    let mine = format!("If-Match: {}", old.header("etag").expect("a tag"));
    assert_eq!(made.header("etag"), old.header("etag"));
    let text = old.body.replace("v1", "v2");
    put(&api, source, "X-None: 1", &text).refused(428, "precondition_required");
    put(&api, source, &mine, "agents: {a: {shell: 'true'}, a: {shell: 'true'}}").expect(422);
    put(&api, source, &mine, &text).expect(200);
    put(&api, source, &mine, &text).refused(412, "precondition_failed");
    assert_eq!(output(&start(&api, "lints")), "v2");
    // One agent stands in one file.
    let other = put(
        &api,
        "/api/v1/agents/team/source",
        "If-None-Match: *",
        "agents: {linter: {shell: 'true'}}\n",
    )
    .refused(422, "invalid_files");
    assert!(other["text"].as_str().is_some_and(|text| text.contains("stands in")), "{other}");
    assert!(!project.root.join("agents/team.yaml").exists());

    let path = "/api/v1/agents/linter";
    delete(&api, path, "X-None: 1").refused(428, "precondition_required");
    delete(&api, path, &mine).refused(412, "precondition_failed");
    let headers = format!("{narrow}\r\nIf-Match: *\r\n");
    nobody.send("DELETE", path, &headers, "").refused(403, "forbidden");
    let needed = delete(&api, path, "If-Match: *").refused(422, "invalid_files");
    assert_eq!(needed["diagnostics"][0]["path"], "workflows/lints.yaml", "{needed}");
    delete(&api, "/api/v1/workflows/lints", "If-Match: *").expect(200);
    let gone = delete(&api, path, "If-Match: *").expect(200).json();
    assert_eq!(gone, json!({"deleted": "linter", "open_runs": 0}));
    api.get(path).refused(404, "not_found");
    delete(&api, path, "If-Match: *").refused(404, "not_found");
    api.get("/api/v1/agents/shell/source").refused(404, "not_found");
    // An address may hold more than viewers are to see.
    let viewer = Api::with_role(&project, &node, "viewer");
    viewer.get(source).refused(403, "forbidden");
    assert_eq!(outcomes(&api, "agent.delete"), ["refused", "done", "refused", "refused"]);
    assert_eq!(outcomes(&api, "agent.put").iter().filter(|o| *o == "done").count(), 2);
}

#[test]
fn an_agent_stays_while_open_runs_may_ask_it() {
    let project = Project::with("hello", HELLO);
    project.write("agents/linter.yaml", "shell: 'true'\nactions: {lint: {}}\n");
    project.workflow("lints", &format!("{ASK}  - {{id: lint, agent: linter, action: lint}}\n"));
    let (_node, api) = admin(&project);
    let run = start(&api, "lints");
    delete(&api, "/api/v1/workflows/lints?keep_open_runs=true", "If-Match: *").expect(200);
    let path = "/api/v1/agents/linter";
    let refused = delete(&api, path, "If-Match: *").refused(409, "conflict");
    assert_eq!(refused["detail"], "1 run of the agent linter is open", "{refused}");
    assert!(project.root.join("agents/linter.yaml").exists());
    api.post(&format!("/api/v1/runs/{run}/cancel"), &json!({})).expect(200);
    api.ended(&run);
    delete(&api, path, "If-Match: *").expect(200);
}

#[test]
fn a_workflow_is_deleted_and_what_it_did_stays() {
    let project = Project::with("ask", ASK);
    project.workflow("caller", "steps: [{id: call, workflow: ask}]\n");
    project.workflow("nightly", "schedule: {cron: '0 3 * * *'}\nsteps: [{run: 'true'}]\n");
    let (node, api) = admin(&project);
    let path = "/api/v1/workflows/ask";
    let run = start(&api, "ask");
    let operator = Api::with_role(&project, &node, "operator");
    delete(&operator, path, "If-Match: *").refused(403, "forbidden");
    delete(&api, path, "X-None: 1").refused(428, "precondition_required");
    delete(&api, path, "If-Match: \"of-before\"").refused(412, "precondition_failed");
    delete(&api, "/api/v1/workflows/none", "If-Match: *").refused(404, "not_found");
    // Another workflow calls it, then a rule starts it, then a run of it is open.
    let needed = delete(&api, path, "If-Match: *").refused(422, "invalid_files");
    assert_eq!(needed["diagnostics"][0]["path"], "workflows/caller.yaml", "{needed}");
    delete(&api, "/api/v1/workflows/caller", "If-Match: *").expect(200);
    let rule = json!({"name": "paid", "run": "ask", "on": {"event": "order.paid"}});
    api.post("/api/v1/rules", &rule).expect(201);
    let ruled = delete(&api, path, "If-Match: *").refused(409, "conflict");
    assert_eq!(ruled["detail"], "1 rule starts it: paid", "{ruled}");
    api.send("DELETE", "/api/v1/rules/paid", "", "").expect(204);
    let open = delete(&api, path, "If-Match: *").refused(409, "conflict");
    assert_eq!(open["detail"], "1 run of the workflow ask is open");
    assert_eq!(project.read("workflows/ask.yaml"), ASK);

    let tag = api.get(&format!("{path}/source")).expect(200);
    let mine = format!("If-Match: {}", tag.header("etag").expect("a tag"));
    let gone = delete(&api, &format!("{path}?keep_open_runs=true"), &mine).expect(200).json();
    assert_eq!(gone, json!({"deleted": "ask", "open_runs": 1}));
    assert!(!project.root.join("workflows/ask.yaml").exists());
    api.get(path).refused(404, "not_found");
    api.post("/api/v1/runs", &json!({"workflow": "ask"})).refused(404, "not_found");
    // The run goes on with its version, and that can be read and brought back.
    let decided = json!({"name": "approve.ask", "payload": {"approved": true}});
    let signal = format!("/api/v1/runs/{run}/signal");
    loop {
        let said = api.post(&signal, &decided);
        // The step may not wait yet.
        if said.status == 200 {
            break;
        }
        said.refused(409, "conflict");
        pause();
    }
    assert_eq!(api.ended(&run)["status"], "success");
    let versions = api.get(&format!("{path}/versions")).expect(200).json();
    let hash = versions["versions"][0]["hash"].as_str().expect("a version");
    let text = api.get(&format!("{path}/source?version={hash}")).expect(200).body;
    assert_eq!(text, ASK);
    put(&api, &format!("{path}/source"), "If-None-Match: *", &text).expect(201);
    start(&api, "ask");

    // What started it by itself does so no more.
    delete(&api, "/api/v1/workflows/nightly", "If-Match: *").expect(200);
    let triggers = api.get("/api/v1/triggers").expect(200).json();
    assert_eq!(triggers["triggers"], json!([]), "{triggers}");
    let done = outcomes(&api, "workflow.delete");
    assert_eq!(done.iter().filter(|outcome| *outcome == "done").count(), 3, "{done:?}");
}

#[test]
fn an_agent_is_tested_outside_of_any_run() {
    let project = Project::with("hello", HELLO);
    project.write(".env", "TOKEN=s3cret-value\n");
    project.write(
        "agents/linter.yaml",
        "shell: |\n  echo \"looks at $MOA_PARAM_FILE with $MOA_PARAM_KEY\" >&2\n  \
         test \"$MOA_ACTION\" = lint || exit 64\n  echo x >> linted\n  \
         echo '{\"lines\": 7}' > \"$MOA_OUTPUT\"\nactions: {lint: {}, fail: {}}\n",
    );
    project.write("agents/hang.yaml", "shell: 'exec sleep 600'\n");
    let (node, api) = admin(&project);
    let test = |agent: &str, body: Json| api.post(&format!("/api/v1/agents/{agent}/test"), &body);
    let health = || api.get("/api/v1/agents/linter/health").expect(200).json();
    assert_eq!(health()["tested"], Json::Null);
    let operator = Api::with_role(&project, &node, "operator");
    let any = json!({"action": "run", "params": {"run": "id"}});
    operator.post("/api/v1/agents/shell/test", &any).refused(403, "forbidden");
    test("nobody", json!({"action": "x"})).refused(404, "not_found");
    test("linter", json!({"action": "paint"})).refused(404, "not_found");
    test("linter", json!({})).refused(400, "invalid_request");
    test("linter", json!({"action": "lint", "params": {"x": "${{ run.id }}"}})).expect(400);

    // It is there for those who mend a paused agent, too.
    api.post("/api/v1/agents/linter/pause", &json!({})).expect(200);
    let params = json!({"file": "a.rs", "key": "${{ secrets.TOKEN }}"});
    let done = test("linter", json!({"action": "lint", "params": params})).expect(200);
    assert!(!done.body.contains("s3cret-value"), "{}", done.body);
    let done = done.json();
    assert_eq!(done["test"]["status"], "succeeded", "{done}");
    assert_eq!(done["output"], json!({"lines": 7}));
    assert!(done["log"].as_str().is_some_and(|log| log.contains("looks at a.rs with ")), "{done}");
    assert_eq!(project.read("linted"), "x\n");
    let failed = test("linter", json!({"action": "fail"})).expect(200).json();
    assert_eq!(failed["test"]["status"], "failed");
    assert_eq!(failed["test"]["error"]["kind"], "permanent", "{failed}");
    let hangs = test("hang", json!({"action": "any", "timeout": "50ms"})).expect(200).json();
    assert_eq!(hangs["test"]["error"]["kind"], "timeout", "{hangs}");

    // It is no run, and leaves nothing behind but what is told of it.
    assert_eq!(api.get("/api/v1/runs").expect(200).json()["runs"], json!([]));
    let left =
        |folder: &str| std::fs::read_dir(project.root.join(folder)).map_or(0, Iterator::count);
    assert_eq!([left(".moa/logs"), left(".moa/work")], [0, 0]);
    assert_eq!(outcomes(&api, "agent.test").iter().filter(|o| *o == "done").count(), 3);
    let tested = health()["tested"].clone();
    assert_eq!((&tested["action"], &tested["by"]), (&json!("fail"), &json!("api (admin)")));
    node.stop();
    let node = project.up();
    let api = Api::with_role(&project, &node, "viewer");
    let after = api.get("/api/v1/agents/linter/health").expect(200).json();
    assert_eq!(after["tested"], tested);
}

#[test]
fn a_workflow_is_deleted_by_a_command_with_and_without_a_node() {
    let project = Project::with("hello", HELLO);
    project.workflow("caller", "steps: [{id: call, workflow: hello}]\n");
    project.workflow("ask", ASK);
    let said = project.call(&["workflows", "delete", "hello"]).expect(3);
    assert!(said.err.contains("workflows/caller.yaml"), "{}", said.err);
    project.call(&["workflows", "delete", "none"]).expect(4);
    project.call(&["workflows", "delete", "caller"]).expect(0);
    assert!(!project.root.join("workflows/caller.yaml").exists());
    let (node, api) = admin(&project);
    project.call(&["workflows", "delete", "hello"]).expect(0);
    start(&api, "ask");
    let refused = project.call(&["workflows", "delete", "ask"]).expect(5);
    assert!(refused.err.contains("1 run of the workflow ask is open"), "{}", refused.err);
    let kept = project.call(&["workflows", "delete", "ask", "--keep-open-runs", "--json"]);
    assert_eq!(kept.expect(0).json(), json!({"deleted": "ask", "open_runs": 1}));
    let done = outcomes(&api, "workflow.delete");
    assert_eq!(done, ["done", "refused", "done", "done", "refused", "refused"]);
    // On a node elsewhere it is the same.
    project.workflow("hello", HELLO);
    let there = Elsewhere::new(&project, &node, "admin");
    there.call(&["workflows", "delete", "none"]).expect(4);
    there.call(&["workflows", "delete", "hello"]).expect(0);
    assert!(!project.root.join("workflows/hello.yaml").exists());
}

/// Sends a request, and does not wait for the answer.
fn sent(api: &Api, method: &str, path: &str, body: &str) -> TcpStream {
    let mut stream = TcpStream::connect(&api.address).expect("it listens");
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        api.address,
        api.token(),
        body.len()
    );
    stream.write_all(request.as_bytes()).expect("it reads");
    stream
}

#[test]
fn an_agent_that_is_tested_keeps_its_place_no_longer_than_it_may() {
    let project = Project::with("hello", "steps: [{run: echo}]\n");
    let deaf = "trap '' TERM; while :; do sleep 0.1 || true; done";
    project.write("agents/deaf.yaml", &format!("shell: {{script: \"{deaf}\", grace: 10m}}\n"));
    project.write("agents/hang.yaml", "shell: 'echo x >> hung; exec sleep 600'\n");
    let (node, api) = admin(&project);
    let path = "/api/v1/agents/deaf/test";
    let killed = api.post(path, &json!({"action": "any", "timeout": "1s"})).expect(200).json();
    assert_eq!(killed["test"]["error"]["kind"], "timeout", "{killed}");

    let path = "/api/v1/agents/hang/test";
    let _four: Vec<TcpStream> =
        (0..4).map(|_| sent(&api, "POST", path, "{\"action\": \"any\"}")).collect();
    project.wait_for("hung");
    while project.read("hung").lines().count() < 4 {
        pause();
    }
    let busy = api.post(path, &json!({"action": "any"}));
    assert!(busy.header("retry-after").is_some());
    busy.refused(503, "busy");
    node.kill();
}

#[test]
fn a_disk_that_does_not_answer_holds_up_no_other_request() {
    let project = Project::with("hello", "steps: [{run: echo}]\n");
    let (node, api) = admin(&project);
    let pipe = project.root.join(".moa/views.json");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().expect("it can be called");
    assert!(made.success());
    // More than there are threads that answer; nobody writes to the other end.
    let _four: Vec<TcpStream> = (0..4).map(|_| sent(&api, "GET", "/api/v1/views", "")).collect();
    for _ in 0..20 {
        api.get("/readyz").expect(200);
        pause();
    }
    node.kill();
}
