//! The API of a node: who may ask, and what is answered.

use std::net::TcpListener;

use serde_json::json;

use crate::http::Api;
use crate::project::{Node, Project};

const HELLO: &str = "params:\n  name: {type: string, default: you}\n\
    steps:\n  - {id: hello, run: \"echo log >&2; echo '\\\"hello\\\"'\"}\n";

fn shop() -> (Project, Node) {
    let project = Project::with("hello", HELLO);
    let node = project.up();
    (project, node)
}

#[test]
fn every_route_admits_the_roles_of_the_table_and_nobody_else() {
    use moa_server::auth::role::{Access, Role};
    let (project, node) = shop();
    let nobody = Api::nobody(&node);
    let apis = Role::ALL.map(|role| (role, Api::with_role(&project, &node, role.as_str())));
    let (_, document, table) = moa_server::table();
    assert!(table.len() > 30 && document.paths.paths.len() > 20);
    for row in table {
        let mut path = row.path.replace(['{', '}'], "");
        if path.ends_with("/stream") {
            // A stream would not end.
            path.push_str("?after=x");
        }
        let said = nobody.send(&row.method, &path, "", "");
        match row.access {
            Access::Public => assert_ne!(said.status, 401, "{} {path}", row.method),
            _ => drop(said.refused(401, "unauthenticated")),
        }
        for (role, api) in &apis {
            let said = api.send(&row.method, &path, "", "");
            assert_ne!(said.status, 401, "{} {path} as {role}", row.method);
            let admitted = said.status != 403;
            assert_eq!(admitted, row.access.admits(*role), "{} {path} as {role}", row.method);
            assert_ne!(said.status, 500, "{} {path} as {role}: {}", row.method, said.body);
        }
    }
}

#[test]
fn no_route_changes_anything_for_a_browser_without_its_csrf_token() {
    use moa_server::auth::role::Access;
    let (project, node) = shop();
    let nobody = Api::nobody(&node);
    let link = project.call(&["open", "--print"]).expect(0).out;
    let code = link.trim().rsplit_once("code=").expect("a code").1.to_owned();
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    let signed = nobody.send("POST", "/sign-in", form, &format!("code={code}")).expect(303);
    let cookie = signed.header("set-cookie").expect("a cookie");
    let cookie = format!("Cookie: {}\r\n", cookie.split(';').next().expect("a pair"));
    let (_, _, table) = moa_server::table();
    let changes = table.iter().filter(|row| row.method != "GET" && row.access != Access::Public);
    let mut refused = 0;
    for row in changes {
        let path = row.path.replace(['{', '}'], "");
        nobody.send(&row.method, &path, &cookie, "").refused(403, "csrf_missing");
        refused += 1;
    }
    assert!(refused > 50, "{refused}");
}

#[test]
fn a_run_is_started_once_for_a_key_and_told_as_documented() {
    let (project, node) = shop();
    let api = Api::with_role(&project, &node, "operator");
    let new = json!({"workflow": "hello", "params": {"name": "ann"}});
    let start = |body: &serde_json::Value| {
        let headers = "Content-Type: application/json\r\nIdempotency-Key: once\r\n";
        api.send("POST", "/api/v1/runs", headers, &body.to_string())
    };
    let first = start(&new).expect(201);
    let run = first.json()["run"].as_str().expect("an id").to_owned();
    assert_eq!(first.header("location"), Some(format!("/api/v1/runs/{run}").as_str()));
    let again = start(&new).expect(200).json();
    assert_eq!((&again["run"], &again["outcome"]), (&json!(run), &json!("existing")));
    start(&json!({"workflow": "hello", "params": {"name": "bob"}})).refused(409, "conflict");
    let result = api.ended(&run);
    assert_eq!(result["status"], "success");
    assert_eq!(result["workflowId"], json!(run));
    assert_eq!(
        result["steps"][0],
        json!({
            "stepId": "hello", "agent": "shell", "status": "success", "output": "hello",
        })
    );
    assert_eq!(result["metrics"]["successfulSteps"], 1);
    let shown = project.call(&["runs", "show", &run, "--json"]).expect(0).json();
    let document = api.get(&format!("/api/v1/runs/{run}/document")).expect(200).json();
    assert_eq!(document["params"], shown["params"]);
    assert_eq!(document["cause"], "api (operator)");
    let log = api.get(&format!("/api/v1/runs/{run}/logs/hello/1")).expect(200);
    let mut lines: Vec<&str> = log.body.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["\"hello\"", "log"]);
    let rest = api.get(&format!("/api/v1/runs/{run}/logs/hello/1?from={}", log.body.len()));
    assert_eq!(rest.expect(200).header("x-next"), log.header("x-next"));
}

#[test]
fn a_run_that_has_not_changed_is_not_sent_again() {
    let (project, node) = shop();
    let api = Api::with_role(&project, &node, "operator");
    let said = api.post("/api/v1/runs", &json!({"workflow": "hello"})).expect(201).json();
    let run = said["run"].as_str().expect("an id").to_owned();
    api.ended(&run);
    let path = format!("/api/v1/runs/{run}");
    let tag = api.get(&path).expect(200).header("etag").expect("a tag").to_owned();
    let known = |tag: &str| api.send("GET", &path, &format!("If-None-Match: {tag}\r\n"), "");
    assert_eq!(known(&tag).expect(304).body, "");
    known("\"other\"").expect(200);
    let other = api.post("/api/v1/runs", &json!({"workflow": "hello"})).expect(201).json();
    let other = other["run"].as_str().expect("an id");
    api.ended(other);
    assert_ne!(api.get(&format!("/api/v1/runs/{other}")).expect(200).header("etag"), Some(&*tag));
}

#[test]
fn pages_of_a_list_have_every_run_once() {
    let (project, node) = shop();
    let api = Api::with_role(&project, &node, "operator");
    let mut started = Vec::new();
    for _ in 0..5 {
        let said = api.post("/api/v1/workflows/hello/execute", &json!({})).expect(201).json();
        started.insert(0, said["run"].clone());
    }
    let (mut listed, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = api.get(&format!("/api/v1/runs?limit=2{cursor}")).expect(200).json();
        let runs = page["runs"].as_array().expect("a list");
        assert!(runs.len() <= 2);
        listed.extend(runs.iter().map(|run| run["run"].clone()));
        let Some(next) = page["next"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(listed, started);
    api.get("/api/v1/runs?limit=0").refused(400, "invalid_request");
    api.get("/api/v1/runs?status=sleeping").refused(400, "invalid_request");
    api.get("/api/v1/runs?colour=red").refused(400, "invalid_request");
}

#[test]
fn approvals_are_for_approvers_and_say_who_decided() {
    let project =
        Project::with("deploy", "steps:\n  - {id: release, approve: {title: 'release?'}}\n");
    let node = project.up();
    let [operator, approver] =
        ["operator", "approver"].map(|role| Api::with_role(&project, &node, role));
    let said = operator.post("/api/v1/runs", &json!({"workflow": "deploy"})).expect(201).json();
    let run = said["run"].as_str().expect("an id").to_owned();
    let path = format!("/api/v1/runs/{run}/signal");
    let decision = json!({"name": "approve.release", "payload": {"approved": true, "by": "root"}});
    operator.post(&path, &decision).refused(403, "forbidden");
    approver.post(&path, &json!({"name": "go"})).refused(403, "forbidden");
    let waits = |document: &serde_json::Value| document["steps"][0]["status"] == "waiting";
    approver.until(&format!("/api/v1/runs/{run}/steps"), waits);
    approver.post(&path, &decision).expect(200);
    let result = approver.ended(&run);
    assert_eq!(result["status"], "success");
    assert_eq!(result["steps"][0]["output"]["by"], "approver");
    approver.post(&path, &decision).refused(409, "conflict");
}

#[test]
fn a_browser_signs_in_once_by_a_link_and_changes_with_its_csrf_token_alone() {
    let (project, node) = shop();
    let nobody = Api::nobody(&node);
    let link = project.call(&["open", "--print", "--role", "operator"]).expect(0).out;
    let code = link.trim().rsplit_once("code=").expect("a code").1.to_owned();
    // What looks at links by itself uses up nothing.
    nobody.get(&format!("/sign-in?code={code}")).expect(200);
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    let signed = nobody.send("POST", "/sign-in", form, &format!("code={code}")).expect(303);
    let cookie = signed.header("set-cookie").expect("a cookie");
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
    nobody.send("POST", "/sign-in", form, &format!("code={code}")).refused(401, "unauthenticated");
    let cookie = format!("Cookie: {}\r\n", cookie.split(';').next().expect("a pair"));
    let me = nobody.send("GET", "/api/v1/me", &cookie, "").expect(200).json();
    assert_eq!(me["role"], "operator");
    let csrf = me["csrf"].as_str().expect("a token").to_owned();
    let start = |more: &str| {
        let headers = format!("{cookie}Content-Type: application/json\r\n{more}");
        nobody.send("POST", "/api/v1/runs", &headers, r#"{"workflow":"hello"}"#)
    };
    start("").refused(403, "csrf_missing");
    start("X-CSRF-Token: 00000000000000000000000000000000\r\n").refused(403, "csrf_missing");
    let evil = format!("X-CSRF-Token: {csrf}\r\nOrigin: http://evil.example\r\n");
    start(&evil).refused(403, "origin_not_allowed");
    start(&format!("X-CSRF-Token: {csrf}\r\n")).expect(201);
    let out = format!("{cookie}{form}");
    nobody.send("POST", "/sign-out", &out, "csrf=wrong").refused(403, "csrf_missing");
    nobody.send("POST", "/sign-out", &out, &format!("csrf={csrf}")).expect(303);
    nobody.send("GET", "/api/v1/me", &cookie, "").refused(401, "unauthenticated");
}

#[test]
fn tokens_hold_over_restarts_and_end_when_they_are_revoked() {
    let (project, node) = shop();
    let made =
        project.call(&["token", "create", "ci", "--role", "admin", "--json"]).expect(0).json();
    let (id, token) = (made["id"].as_str().expect("an id"), made["token"].as_str().expect("one"));
    let me = |node: &Node| {
        let header = format!("Authorization: Bearer {token}\r\n");
        Api::nobody(node).send("GET", "/api/v1/me", &header, "")
    };
    me(&node).expect(200);
    node.kill();
    let node = project.up();
    assert_eq!(me(&node).expect(200).json()["name"], "ci");
    project.call(&["token", "revoke", id]).expect(0);
    me(&node).refused(401, "unauthenticated");
    project.call(&["token", "revoke", id]).expect(4);
    assert!(!project.read(".moa/tokens.json").contains(&token[4..]));
    assert!(!project.read(".moa/log/moa.log").contains(&token[4..]));
}

#[test]
fn a_port_in_use_is_refused_when_somebody_wanted_it() {
    let project = Project::with("hello", HELLO);
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("it has one").to_string();
    let said = project.call(&["up", "--listen", &address]).expect(5);
    assert!(said.err.contains(&address) && said.err.contains("--listen"), "{}", said.err);
    let mut command = project.command(&["up", "--no-server"]);
    command.env("MOA_SERVER_LISTEN", &address);
    let node = Node::start(command);
    assert!(!node.said.contains("dashboard"), "{}", node.said);
    let said = project.call(&["open", "--print"]).expect(5);
    assert!(said.err.contains("no dashboard"), "{}", said.err);
}

#[test]
fn what_is_hostile_is_refused_and_harms_nobody() {
    let (project, node) = shop();
    let api = Api::with_role(&project, &node, "operator");
    api.send("GET", "/healthz", "Host: evil.example\r\n", "").refused(421, "host_not_allowed");
    api.raw(b"GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n").refused(400, "invalid_request");
    api.get("/api/v1/nothing").refused(404, "not_found");
    api.get("/assets/..%2f..%2fmoa.yaml").refused(404, "not_found");
    let said = api.send("DELETE", "/api/v1/runs", "", "").expect(405);
    assert!(said.header("allow").is_some_and(|allow| allow.contains("GET")), "{}", said.head);
    let json = "Content-Type: application/json\r\n";
    api.send("POST", "/api/v1/runs", json, "{").refused(400, "invalid_request");
    api.send("POST", "/api/v1/runs", json, r#"{"workflow":"../x"}"#)
        .refused(400, "invalid_request");
    let odd = r#"{"workflow":"hello","source":"steps: []"}"#;
    api.send("POST", "/api/v1/runs", json, odd).refused(400, "invalid_request");
    api.send("POST", "/api/v1/runs", "", r#"{"workflow":"hello"}"#)
        .refused(415, "unsupported_media_type");
    let large = format!(r#"{{"workflow":"{}"}}"#, "x".repeat(5 << 20));
    api.send("POST", "/api/v1/runs", json, &large).refused(413, "too_large");
    assert_eq!(api.raw(b"\x16\x03\x01 not HTTP\r\n\r\n").status, 400);
    api.get("/api/v1/runs/zzz").refused(400, "invalid_request");
    api.get("/api/v1/runs/00000000-0000-0000-0000-000000000001").refused(404, "not_found");
    api.get("/healthz").expect(200);
}

#[test]
fn who_is_wrong_too_often_waits_and_who_is_right_does_not() {
    let (project, node) = shop();
    let api = Api::with_role(&project, &node, "viewer");
    let nobody = Api::nobody(&node);
    let wrong = || nobody.send("GET", "/api/v1/me", "Authorization: Bearer moa_0\r\n", "");
    let mut last = wrong();
    for _ in 0..11 {
        last = wrong();
    }
    assert!(last.header("retry-after").is_some());
    last.refused(429, "too_many_requests");
    api.get("/api/v1/me").expect(200);
}

#[test]
fn the_short_paths_answer_as_documented() {
    let (project, node) = shop();
    let api = Api::with_role(&project, &node, "operator");
    let asked = json!({"workflow": "hello", "params": {"name": "my-app"}});
    let result = api.post("/api/workflows/execute", &asked).expect(200).json();
    let id = result["workflowId"].as_str().expect("an id");
    api.ended(id);
    let result = api.get(&format!("/api/workflows/{id}")).expect(200).json();
    assert_eq!(
        (&result["status"], &result["metrics"]["totalSteps"]),
        (&json!("success"), &json!(1))
    );
    let agents = api.get("/api/agents").expect(200).json();
    let ids: Vec<_> = agents.as_array().expect("a list").iter().map(|a| &a["id"]).collect();
    assert!(ids.contains(&&json!("shell")), "{agents}");
}

#[test]
fn drafts_are_checked_with_the_agents_of_the_project() {
    let (project, node) = shop();
    let api = Api::with_role(&project, &node, "operator");
    let check = |source: &str| {
        api.post("/api/v1/workflows/draft/validate", &json!({"source": source})).expect(200).json()
    };
    assert_eq!(check(HELLO), json!({"valid": true, "diagnostics": []}));
    let found = check("steps:\n  - {id: a, agent: nobody, action: x}\n");
    assert_eq!(found["valid"], false);
    assert_eq!(found["diagnostics"][0]["path"], "workflows/draft.yaml");
    api.get("/api/v1/workflows/draft").refused(404, "not_found");
    let drawn = api.get("/api/v1/workflows/hello/graph").expect(200);
    assert!(drawn.body.contains("hello"), "{}", drawn.body);
    let source = api.get("/api/v1/workflows/hello/source").expect(200);
    assert_eq!(source.body, HELLO);
}

#[test]
fn who_did_what_over_the_api_is_in_the_audit_log() {
    let (project, node) = shop();
    let api = Api::with_role(&project, &node, "admin");
    let me = api.get("/api/v1/me").expect(200).json();
    let who = format!("token:{} (admin)", me["id"].as_str().expect("an id"));
    let said = api.post("/api/v1/runs", &json!({"workflow": "hello"})).expect(201).json();
    api.post("/api/v1/runs", &json!({"workflow": "nothing"})).refused(404, "not_found");
    let made =
        api.post("/api/v1/tokens", &json!({"name": "ci", "role": "viewer"})).expect(201).json();
    let log = project.call(&["audit", "list", "--json"]).expect(0).json();
    let acts: Vec<_> = log.as_array().expect("a list").iter().filter(|a| a["who"] == who).collect();
    let of = |action: &str| acts.iter().filter(|act| act["action"] == action).count();
    assert!(of("run.start") >= 2 && of("token.create") >= 1, "{log:#}");
    let text = log.to_string();
    assert!(text.contains(said["run"].as_str().expect("an id")), "{text}");
    assert!(!text.contains(&made["token"].as_str().expect("one")[4..]), "{text}");
}

#[test]
fn who_may_only_look_sees_no_more_of_an_agents_address_than_its_host() {
    let project = Project::with("hello", "steps:\n  - {id: call, agent: caller, action: x}\n");
    project.write(
        "agents/caller.yaml",
        "http:\n  url: http://127.0.0.1:9/T0/swordfish/hunter22?key=rosebud\n\
         \x20 headers: {X-Key: opensesame}\nenv: {WORD: mellon-friend}\n",
    );
    let node = project.up();
    let words = ["swordfish", "hunter22", "rosebud", "opensesame", "mellon-friend"];
    let files = json!({"format": moa_view::rows::FORMAT, "ask": "files"});
    for (role, sees) in [("viewer", false), ("approver", false), ("operator", true)] {
        let api = Api::with_role(&project, &node, role);
        let agent = api.get("/api/v1/agents/caller").expect(200).body;
        let page = api.get("/agents/caller").expect(200).body;
        let files = api.post("/api/v1/rows", &files).expect(200).body;
        for word in words {
            assert_eq!(agent.contains(word), sees, "{role} {word}: {agent}");
            assert_eq!(files.contains(word), sees, "{role} {word}: {files}");
            assert!(!page.contains(word), "{role} {word}: {page}");
        }
        for text in [agent, files] {
            assert!(text.contains("127.0.0.1:9/") && text.contains("X-Key"), "{role}: {text}");
        }
    }
}
