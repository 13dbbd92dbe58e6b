//! Tokens that are narrowed: what each reaches, and that nothing leads around it.

use moa_server::auth::role::{Access, Role};
use moa_server::auth::scope::{Reach, Resource, Scope, Scopes};
use serde_json::{Value as Json, json};

use crate::http::{Answer, Api};
use crate::project::{Node, Project};

const JSON: &str = "Content-Type: application/json\r\n";
const FORM: &str = "Content-Type: application/x-www-form-urlencoded\r\n";
const BROWSER: &str = "Accept: text/html\r\n";

/// Two workflows of which one is none of the token's business.
fn shop() -> (Project, Node) {
    let project = Project::with("nightly", "on: {event: go}\nsteps:\n  - run: echo hi\n");
    project.write("workflows/payroll.yaml", "on: {event: pay}\nsteps:\n  - run: echo secret\n");
    let node = project.up();
    (project, node)
}

fn text(value: &Json) -> String {
    value.as_str().expect("text").to_owned()
}

fn start(api: &Api, workflow: &str) -> Answer {
    api.post("/api/v1/runs", &json!({"workflow": workflow}))
}

#[test]
fn every_route_admits_the_scopes_of_the_table_and_no_others() {
    let (project, node) = shop();
    let of = |role: Role, words: &[&str]| {
        let api = Api::with_scopes(&project, &node, role.as_str(), words);
        let scope = |word: &&str| word.parse::<Scope>().expect("a scope");
        (role, Scopes::from(words.iter().map(scope).collect::<Vec<_>>()), api)
    };
    let mut all: Vec<_> = Resource::ALL.iter().map(|r| of(Role::Admin, &[r.as_str()])).collect();
    all.extend(Role::ALL.map(|role| of(role, &["read"])));
    all.push(of(Role::Operator, &["runs", "agents"]));
    all.push(of(Role::Operator, &["secrets", "read"]));
    all.push(of(Role::Viewer, &["runs", "audit"]));
    // Names that nothing of the table has: what is named in a path or a query is looked at elsewhere.
    all.push(of(Role::Admin, &["runs:x", "workflows:x", "triggers:x", "agents:x", "secrets:x"]));
    let (_, _, table) = moa_server::table();
    let mut reached = 0;
    for row in table.iter().filter(|row| row.access != Access::Public) {
        let mut path = row.path.replace(['{', '}'], "");
        if path.ends_with("/stream") {
            // A stream would not end.
            path.push_str("?after=x");
        }
        for (role, scopes, api) in &all {
            let said = api.send(&row.method, &path, "", "");
            let what = format!("{} {path} as {role} of {scopes}: {}", row.method, said.body);
            let reach = scopes.reach(row.access, row.area);
            let by_body = matches!(row.area, moa_server::auth::scope::Area::ByBody(_));
            let admitted = row.access.admits(*role)
                && match reach {
                    Reach::All | Reach::Read | Reach::Named { read: true } => true,
                    Reach::Named { read: false } => by_body,
                    Reach::Nothing => false,
                };
            assert_eq!(said.status != 403, admitted, "{what}");
            assert!(![401, 500].contains(&said.status), "{} {what}", said.status);
            reached += usize::from(admitted);
        }
    }
    assert!(reached > 300, "{reached}");
}

/// What a token for `nightly` does not reach: `other` is a run of another workflow.
fn out_of_reach(run: &str, other: &str) -> Vec<(&'static str, String, &'static str)> {
    vec![
        ("POST", "/api/v1/runs".to_owned(), r#"{"workflow":"payroll"}"#),
        ("POST", "/api/v1/runs".into(), r#"{"workflow":"nightly","workflow":"payroll"}"#),
        ("POST", "/api/v1/workflows/payroll/execute".into(), "{}"),
        ("POST", "/api/v1/workflows/payroll/execute?workflow=nightly".into(), "{}"),
        ("POST", "/api/workflows/execute".into(), r#"{"workflow":"payroll"}"#),
        ("POST", format!("/api/v1/runs/{other}/rerun"), "{}"),
        ("POST", format!("/api/v1/runs/{other}/rerun?workflow=nightly"), "{}"),
        ("POST", format!("/api/v1/runs/{other}/cancel"), "{}"),
        ("POST", "/api/v1/runs/last/rerun".into(), "{}"),
        ("POST", "/api/v1/triggers/payroll/start".into(), "{}"),
        ("POST", "/api/v1/triggers/payroll%2Fgo/start".into(), "{}"),
        ("POST", "/api/v1/rules".into(), "{}"),
        ("POST", "/api/v1/events".into(), r#"{"type":"pay"}"#),
        (
            "POST",
            "/api/v1/runs/bulk".into(),
            r#"{"filter":{"workflow":"nightly"},"action":"retry"}"#,
        ),
        ("GET", "/api/v1/runs/bulk?action=retry&workflow=nightly".into(), ""),
        ("GET", format!("/api/v1/runs/bulk?action=retry&runs={other}&workflow=nightly"), ""),
        ("GET", "/api/v1/triggers/payroll%2Fgo/backfill?from=2026-01-01&to=2026-01-02".into(), ""),
        ("POST", "/api/v1/rows".into(), "{}"),
        ("GET", format!("/api/v1/runs/{other}"), ""),
        ("GET", format!("/api/v1/runs/{}", &other[..31]), ""),
        ("GET", format!("/api/v1/runs/{other}/logs"), ""),
        ("GET", format!("/api/workflows/{other}"), ""),
        ("GET", "/api/v1/runs/last".into(), ""),
        ("GET", "/api/v1/runs".into(), ""),
        ("GET", "/api/v1/runs?workflow=payroll".into(), ""),
        ("GET", "/api/v1/runs?workflow=nightly&workflow=payroll".into(), ""),
        ("GET", "/api/v1/runs?workflow=payroll&workflow=nightly".into(), ""),
        ("GET", "/api/v1/runs?Workflow=nightly".into(), ""),
        ("GET", "/api/v1/tasks".into(), ""),
        ("GET", "/api/v1/events".into(), ""),
        ("GET", "/api/v1/events?workflow=payroll".into(), ""),
        ("GET", "/api/v1/events/stream?workflow=payroll".into(), ""),
        ("GET", "/api/v1/state".into(), ""),
        ("GET", "/api/v1/overview".into(), ""),
        ("GET", "/api/v1/workflows/nightly/source".into(), ""),
        ("GET", "/api/v1/triggers/payroll".into(), ""),
        ("GET", "/metrics".into(), ""),
        ("GET", "/runs".into(), ""),
        ("GET", format!("/runs/{other}"), ""),
        ("GET", format!("/runs/{run}/compare?with={other}"), ""),
        ("GET", "/".into(), ""),
    ]
}

#[test]
fn a_token_for_one_workflow_starts_and_sees_that_one_alone() {
    let (project, node) = shop();
    let admin = Api::with_role(&project, &node, "admin");
    let ci = Api::with_scopes(&project, &node, "operator", &["runs:night*", "triggers:nightly"]);
    let run = text(&start(&ci, "nightly").expect(201).json()["run"]);
    assert_eq!(ci.ended(&run)["status"], "success");
    ci.post("/api/v1/workflows/nightly/execute", &json!({})).expect(201);
    ci.post("/api/workflows/execute", &json!({"workflow": "nightly"})).expect(200);
    ci.get(&format!("/api/v1/runs/{run}/document")).expect(200);
    ci.get("/api/v1/runs?workflow=nightly").expect(200);
    ci.get("/api/v1/triggers?workflow=nightly").expect(200);
    ci.get("/api/v1/triggers/nightly").expect(200);
    ci.get(&format!("/api/workflows/{run}")).expect(200);
    let me = ci.get("/api/v1/me").expect(200).json();
    assert_eq!(me["scopes"], json!(["runs:night*", "triggers:nightly"]));

    let other = text(&start(&admin, "payroll").expect(201).json()["run"]);
    admin.ended(&other);
    let count = |api: &Api| {
        let listed = api.get("/api/v1/runs?workflow=payroll").expect(200).json();
        listed["runs"].as_array().map(Vec::len)
    };
    let before = count(&admin);
    for (method, path, body) in out_of_reach(&run, &other) {
        let said = ci.send(method, &path, JSON, body);
        // Whichever of the two is taken.
        let fits = said.status == 403 || body.contains(r#""workflow":"nightly","w"#);
        assert!(fits && said.status >= 400, "{method} {path}: {} {}", said.status, said.body);
        assert!(!said.body.contains("secret"), "{method} {path}: {}", said.body);
    }
    assert_eq!(count(&admin), before);
}

#[test]
fn a_scope_for_events_publishes_those_alone_and_read_makes_a_viewer() {
    let (project, node) = shop();
    let api = Api::with_scopes(&project, &node, "admin", &["events:order.*", "read"]);
    api.post("/api/v1/events", &json!({"type": "order.paid"})).expect(200);
    let batch = "Content-Type: application/cloudevents-batch+json\r\n";
    let event =
        |id: &str, kind: &str| json!({"specversion": "1.0", "id": id, "source": "s", "type": kind});
    let mixed = json!([event("1", "order.new"), event("2", "pay")]).to_string();
    api.send("POST", "/api/v1/events", batch, &mixed).refused(403, "forbidden");
    let fine = json!([event("1", "order.new")]).to_string();
    let said = api.send("POST", "/api/v1/events", batch, &fine).expect(200).json();
    assert_eq!(said["new"], 1, "nothing of the batch before was published");
    // Nor of one with an event that is too large, wherever it stands.
    let large = json!({
        "specversion": "1.0", "id": "3", "source": "s", "type": "order.new",
        "data": "x".repeat(moa_core::limits::SIGNAL_BYTES_MAX),
    });
    let first = event("2", "order.new");
    let mixed = json!([first, large]).to_string();
    api.send("POST", "/api/v1/events", batch, &mixed).refused(413, "too_large");
    let said = api.send("POST", "/api/v1/events", batch, &json!([first]).to_string());
    assert_eq!(said.expect(200).json()["new"], 1, "nothing of that one either");
    // An admin's token, and a viewer's eyes.
    api.get("/api/v1/runs").expect(200);
    start(&api, "nightly").refused(403, "forbidden");
    api.get("/api/v1/audit").refused(403, "forbidden");
    api.get("/api/v1/tokens").refused(403, "forbidden");
    let audit =
        json!({"format": moa_view::rows::FORMAT, "ask": {"audit": {"after": 0, "limit": 5}}});
    api.post("/api/v1/rows", &audit).refused(403, "forbidden");
    api.post("/api/v1/rows", &json!({"format": moa_view::rows::FORMAT, "ask": "jobs"})).expect(200);
}

#[test]
fn a_session_is_as_narrow_as_its_token_and_pages_say_so() {
    let (project, node) = shop();
    let nobody = Api::nobody(&node);
    let token = Api::with_scopes(&project, &node, "operator", &["agents", "runs:nightly"]);
    let body = format!("token={}", token.token());
    let signed = nobody.send("POST", "/sign-in", FORM, &body).expect(303);
    assert_eq!(signed.header("location"), Some("/agents"), "the first page that it may see");
    let cookie = signed.header("set-cookie").expect("a cookie").split(';').next().expect("a pair");
    let cookie = format!("Cookie: {cookie}\r\n");
    let me = nobody.send("GET", "/api/v1/me", &cookie, "").expect(200).json();
    assert_eq!(me["scopes"], json!(["agents", "runs:nightly"]));
    let page = |path: &str| nobody.send("GET", path, &format!("{cookie}{BROWSER}"), "");
    let agents = page("/agents").expect(200);
    assert!(!agents.body.contains("href=\"/workflows\""), "{}", agents.body);
    let refused = page("/workflows/nightly").expect(403);
    assert!(refused.header("content-type").expect("one").starts_with("text/html"));
    assert!(refused.body.contains("agents runs:nightly"), "{}", refused.body);
    page("/settings").expect(403);
    let start = |workflow: &str| {
        let headers = format!("{cookie}{FORM}");
        let body = format!("csrf={}", me["csrf"].as_str().expect("one"));
        nobody.send("POST", &format!("/workflows/{workflow}/start"), &headers, &body)
    };
    start("payroll").refused(403, "forbidden");
    start("nightly").expect(303);
}

#[test]
fn a_narrow_token_makes_no_wider_one() {
    let (project, node) = shop();
    let api = Api::with_scopes(&project, &node, "admin", &["tokens", "runs:night*"]);
    let make = |scopes: Json| {
        api.post("/api/v1/tokens", &json!({"name": "x", "role": "admin", "scopes": scopes}))
    };
    api.post("/api/v1/tokens", &json!({"name": "x", "role": "viewer"})).refused(403, "forbidden");
    for scopes in
        [json!([]), json!(["read"]), json!(["runs"]), json!(["runs:n*"]), json!(["audit"])]
    {
        make(scopes).refused(403, "forbidden");
    }
    for scopes in [json!(["all"]), json!(["runs:"]), json!("runs"), json!(["runs:a b"])] {
        assert_eq!(make(scopes.clone()).status, 400, "{scopes}");
    }
    let made = make(json!(["runs:nightly", "tokens"])).expect(201).json();
    assert_eq!(made["scopes"], json!(["runs:nightly", "tokens"]));
    let many: Vec<String> = (0..51).map(|n| format!("runs:night{n}")).collect();
    assert_eq!(make(json!(many)).status, 400);
}

#[test]
fn what_can_run_any_code_takes_a_token_without_scopes() {
    let (project, node) = shop();
    project.write("agents/shell.yaml", "name: Shell\ncommand: [sh, -c, 'cat > got']\n");
    let words = ["read", "agents", "agents:shell", "workflows", "workflows:new", "secrets", "runs"];
    let api = Api::with_scopes(&project, &node, "admin", &words);
    let test = json!({"action": "x", "params": {"key": "${{ secrets.ANY }}"}});
    api.get("/api/v1/agents/shell").expect(200);
    api.post("/api/v1/agents/shell/test", &test).refused(403, "forbidden");
    let form = "action=x&params=%7B%7D";
    api.send("POST", "/agents/shell/test", FORM, form).refused(403, "forbidden");
    let agent = json!({"agent": "new", "definition": {"run": "true"}});
    api.post("/api/v1/agents", &agent).refused(403, "forbidden");
    let fresh = "If-None-Match: *\r\nContent-Type: application/yaml\r\n";
    for path in ["/api/v1/agents/new/source", "/api/v1/workflows/new/source"] {
        let said = api.send("PUT", path, fresh, "steps:\n  - run: 'true'\n");
        assert!(said.refused(403, "forbidden").to_string().contains("without scopes"), "{path}");
    }
    let page = crate::pages::Browser::new(&project, &node, "admin").page("/agents/shell");
    assert!(page.contains("/agents/shell/test"), "{page}");
    assert!(!api.get("/agents/shell").expect(200).body.contains("/agents/shell/test"));
}

#[test]
fn what_a_narrow_token_makes_ends_with_it() {
    let (project, node) = shop();
    let admin = Api::with_role(&project, &node, "admin");
    let make = |token: &str, body: Json| {
        let headers = format!("Authorization: Bearer {token}\r\n{JSON}");
        let said = Api::nobody(&node).send("POST", "/api/v1/tokens", &headers, &body.to_string());
        said.expect(201).json()
    };
    let new = |more: Json| {
        let mut body = json!({"name": "x", "role": "admin"});
        body.as_object_mut().expect("a map").extend(more.as_object().expect("a map").clone());
        body
    };
    let of = |made: &Json| text(&made["token"]);
    let narrow = json!({"scopes": ["tokens", "runs"]});
    let hour = new(json!({"scopes": ["tokens", "runs"], "expires_in": "1h"}));
    let short = make(admin.token(), hour.clone());
    let twin = make(&of(&short), new(narrow.clone()));
    assert_eq!(twin["expires_at"], short["expires_at"]);
    let far = new(json!({"scopes": ["tokens", "runs"], "expires_in": "30d"}));
    let third = make(&of(&twin), far);
    assert_eq!(third["expires_at"], short["expires_at"]);
    let near = make(&of(&short), new(json!({"scopes": ["runs"], "expires_in": "1m"})));
    assert!(text(&near["expires_at"]) < text(&short["expires_at"]));

    // By a page too.
    let body = format!("token={}", of(&short));
    let signed = Api::nobody(&node).send("POST", "/sign-in", FORM, &body).expect(303);
    let cookie = signed.header("set-cookie").expect("a cookie").split(';').next().expect("a pair");
    let cookie = format!("Cookie: {cookie}\r\n");
    let me = Api::nobody(&node).send("GET", "/api/v1/me", &cookie, "").expect(200).json();
    let body = format!("name=paged&role=admin&scopes=runs&csrf={}", text(&me["csrf"]));
    let headers = format!("{cookie}{FORM}");
    Api::nobody(&node).send("POST", "/settings/tokens", &headers, &body).expect(200);
    let all = admin.get("/api/v1/tokens").expect(200).json();
    let all = all["tokens"].as_array().expect("tokens");
    let paged = all.iter().find(|one| one["name"] == "paged").expect("it is made");
    assert_eq!((&paged["expires_at"], &paged["of"]), (&short["expires_at"], &short["id"]));

    // Who may do everything makes what outlives it, but for an end of its own.
    assert_eq!(make(admin.token(), new(json!({})))["expires_at"], Json::Null);
    let brief = make(admin.token(), new(json!({"expires_in": "1h"})));
    assert_eq!(make(&of(&brief), new(json!({})))["expires_at"], brief["expires_at"]);
    let path = format!("/api/v1/tokens/{}", text(&short["id"]));
    admin.send("DELETE", &path, "", "").expect(204);
    for gone in [&twin, &third, &near] {
        let header = format!("Authorization: Bearer {}\r\n", of(gone));
        let said = Api::nobody(&node).send("GET", "/api/v1/me", &header, "");
        said.refused(401, "unauthenticated");
    }
    let left = admin.get("/api/v1/tokens").expect(200).json();
    assert_eq!(left["tokens"].as_array().map(Vec::len), Some(4), "{left}");
}

#[test]
fn rules_start_what_their_makers_may_start() {
    let (project, node) = shop();
    let admin = Api::with_role(&project, &node, "admin");
    let rule = |name: &str, run: &str| json!({"name": name, "run": run, "on": {"event": "go.now"}});
    let of = |scopes: &[&str]| Api::with_scopes(&project, &node, "operator", scopes);
    let json = "Content-Type: application/json\r\n";
    let put = |api: &Api, rule: &Json| {
        let path = format!("/api/v1/rules/{}", text(&rule["name"]));
        api.send("PUT", &path, json, &rule.to_string())
    };
    // Who may do all with triggers starts nothing by that.
    let triggers = of(&["triggers"]);
    let pays = rule("pays", "payroll");
    triggers.post("/api/v1/rules", &pays).refused(403, "forbidden");
    put(&triggers, &pays).refused(403, "forbidden");
    let some = of(&["triggers", "runs:nightly"]);
    some.post("/api/v1/rules", &rule("nights", "nightly")).expect(201);
    some.post("/api/v1/rules", &pays).refused(403, "forbidden");
    put(&some, &rule("nights", "payroll")).refused(403, "forbidden");
    // Nor does it switch on what others have made; it may switch it off.
    admin.post("/api/v1/rules", &pays).expect(201);
    let switch = |api: &Api, rule: &str, act: &str| {
        api.send("POST", &format!("/api/v1/rules/{rule}/{act}"), "", "")
    };
    switch(&some, "pays", "disable").expect(200);
    switch(&some, "pays", "enable").refused(403, "forbidden");
    switch(&some, "nights", "enable").expect(200);
    // Nor by what is for all triggers.
    let act = |api: &Api, rule: &str, act: &str| {
        api.send("POST", &format!("/api/v1/triggers/rule:{rule}/{act}"), json, "{}")
    };
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    for api in [&triggers, &some] {
        act(api, "pays", "pause").expect(200);
        for starts in ["start", "resume"] {
            act(api, "pays", starts).refused(403, "forbidden");
            let page = api.send("POST", "/schedules/rule:pays/act", form, &format!("act={starts}"));
            assert_eq!(page.status, 403, "{}", page.body);
        }
    }
    act(&some, "nights", "start").expect(200);
    switch(&of(&["triggers", "runs"]), "pays", "enable").expect(200);
    let known = admin.get("/api/v1/rules").expect(200).json();
    assert_eq!(known["rules"].as_array().map(Vec::len), Some(2), "{known}");
}

#[test]
fn what_people_make_ends_unless_they_want_it_otherwise() {
    let (project, node) = shop();
    let nobody = Api::nobody(&node);
    let link = project.call(&["open", "--print"]).expect(0).out;
    let code = link.trim().rsplit_once("code=").expect("a code").1;
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    let signed = nobody.send("POST", "/sign-in", form, &format!("code={code}")).expect(303);
    let cookie = signed.header("set-cookie").expect("a cookie").split(';').next().expect("one");
    let me = nobody.send("GET", "/api/v1/me", &format!("Cookie: {cookie}\r\n"), "").expect(200);
    let csrf = text(&me.json()["csrf"]);
    let headers =
        format!("Cookie: {cookie}\r\nX-CSRF-Token: {csrf}\r\nContent-Type: application/json\r\n");
    let make = |body: Json| nobody.send("POST", "/api/v1/tokens", &headers, &body.to_string());
    let new = json!({"name": "mine", "role": "viewer"});
    let end = |made: Answer| {
        let end = made.expect(201).json()["expires_at"].clone();
        end.as_str().map(|text| text.parse::<jiff::Timestamp>().expect("an instant"))
    };
    let left = end(make(new.clone())).expect("it ends") - jiff::Timestamp::now();
    let days = left.total(jiff::Unit::Hour).expect("a time") / 24.0;
    assert!((89.0..=90.0).contains(&days), "{days}");
    let mut never = new.clone();
    never["expires_in"] = "never".into();
    assert_eq!(end(make(never.clone())), None);
    // A program says when it wants an end.
    let admin = Api::with_role(&project, &node, "admin");
    assert_eq!(end(admin.post("/api/v1/tokens", &new)), None);
    never["expires_in"] = "soon".into();
    make(never).refused(400, "invalid_request");
}

#[test]
fn what_is_looked_at_is_what_the_scopes_reach_on_every_way() {
    let (project, node) = shop();
    project.write("agents/shell.yaml", "command: [sh, -c, 'cat > got']\n");
    let admin = Api::with_role(&project, &node, "admin");
    let rule = json!({"name": "rule-of-all", "run": "nightly", "on": {"event": "go2"}});
    let made = admin.post("/api/v1/rules", &rule);
    assert_eq!(made.status, 201, "{}", made.body);
    let runs: Vec<String> = (0..2)
        .map(|_| text(&start(&admin, "nightly").expect(201).json()["run"]))
        .inspect(|run| drop(admin.ended(run)))
        .collect();

    let reader = Api::with_scopes(&project, &node, "operator", &["read"]);
    reader.get(&format!("/runs/{}/compare?with={}", runs[1], runs[0])).expect(200);
    let list = "/api/v1/triggers?workflow=nightly";
    assert!(reader.get(list).expect(200).body.contains("rule-of-all"));
    let named = Api::with_scopes(&project, &node, "operator", &["triggers:nightly"]);
    let listed = named.get(list).expect(200).body;
    assert!(listed.contains("nightly") && !listed.contains("rule-of-all"), "{listed}");

    admin.get("/api/v1/agents/shell").expect(200);
    let agent = Api::with_scopes(&project, &node, "viewer", &["agents:shell"]);
    agent.get("/api/agents/shell/metrics").expect(200);
    agent.get("/api/agents/other/metrics").refused(403, "forbidden");

    let writer = Api::with_scopes(&project, &node, "operator", &["workflows"]);
    let both =
        Api::with_scopes(&project, &node, "operator", &["workflows:nightly", "runs:nightly"]);
    let page = |api: &Api, path: &str| api.get(path).expect(200).body;
    for path in ["/workflows/nightly", "/workflows"] {
        let seen = page(&writer, path);
        assert!(seen.contains("nightly") && !seen.contains("success"), "{seen}");
    }
    let without = page(&writer, "/workflows/nightly");
    assert!(!without.contains(&runs[0]) && !without.contains("/start"), "{without}");
    let with = page(&both, "/workflows/nightly");
    assert!(with.contains(&runs[0]) && with.contains("/start"), "{with}");
}

#[test]
fn scopes_are_listed_with_ends_and_uses() {
    let (project, node) = shop();
    let api = Api::with_scopes(&project, &node, "operator", &["runs:nightly", "read"]);
    api.get("/api/v1/me").expect(200);
    let listed = project.call(&["token", "list", "--json"]).expect(0).json();
    assert_eq!(listed[0]["scopes"], json!(["runs:nightly", "read"]));
    assert!(listed[0]["last_used_at"].is_string(), "{listed}");
    let table = project.call(&["token", "list"]).expect(0).out;
    assert!(table.contains("runs:nightly read"), "{table}");
    let admin = Api::with_role(&project, &node, "admin");
    let listed = admin.get("/api/v1/tokens").expect(200).json();
    assert_eq!(listed["tokens"][0]["scopes"], json!(["runs:nightly", "read"]));
    let made = project.call(&["audit", "list", "--json", "--action", "token.create"]).json();
    assert_eq!(made[1]["asked"]["scopes"], json!(["runs:nightly", "read"]), "{made}");
    let browser = crate::pages::Browser::new(&project, &node, "admin");
    let page = browser.page("/settings");
    assert!(page.contains("runs:nightly") && page.contains("Last used"), "{page}");
    for scope in ["nothing", "runs:", "tokens:x"] {
        let said = project.call(&["token", "create", "x", "--scope", scope]).expect(2);
        assert!(said.err.contains("scope"), "{}", said.err);
    }
}
