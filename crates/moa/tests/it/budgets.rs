//! Budgets of agents, with the real binary: what is spent counts once, holds tasks back, is told, and
//! more of it can be granted.

use serde_json::{Value as Json, json};

use crate::http::Api;
use crate::pages::Browser;
use crate::project::{Node, Project};

const SETTINGS: &str = "alerts: {resolve_after: 0s}\n";

/// An agent of which each attempt spends 0.75 dollars and 10 tokens.
fn project(budget: &str) -> Project {
    let letters = "steps: [{id: write, agent: writer, action: go}]\n";
    let project = Project::with("letters", letters);
    project.write("moa.yaml", SETTINGS);
    let say = r#"echo '{"usd": 0.75, "tokens": 10}' > "$MOA_USAGE"; echo x >> asked"#;
    let agent = format!("shell: |\n  {say}\nconcurrency: 1\nbudget: {budget}\n");
    project.write("agents/writer.yaml", &agent);
    project
}

/// Starts a run over the API, which is not waited for.
fn start(api: &Api) -> String {
    let said = api.post("/api/v1/runs", &json!({"workflow": "letters"})).expect(201).json();
    said["run"].as_str().expect("an id").to_owned()
}

/// The agent's budget, as the API says it.
fn budget(api: &Api) -> Json {
    api.get("/api/v1/agents/writer").expect(200).json()["agent"]["budget"].clone()
}

fn row(project: &Project) -> Json {
    let rows = project.call(&["limits", "writer", "--json"]).expect(0).json();
    let mut of_budget = rows.as_array().expect("rows").iter().filter(|row| row["unit"].is_string());
    of_budget.next().expect("a budget").clone()
}

fn asked(project: &Project) -> usize {
    project.read("asked").lines().count()
}

/// Two runs have used the budget up, and a third one waits.
fn waiting(project: &Project) -> (Node, Api, String) {
    let node = project.up();
    let api = Api::with_role(project, &node, "operator");
    for _ in 0..2 {
        api.ended(&start(&api));
    }
    let third = start(&api);
    let why = format!("/api/v1/runs/{third}/why");
    api.until(&why, |why| why["steps"][0]["reason"].to_string().contains("budget"));
    (node, api, third)
}

/// Grants that mean nothing.
fn refuses_nonsense(project: &Project) {
    project.call(&["agents", "grant", "writer", "--tokens", "5"]).expect(5);
    project.call(&["agents", "grant", "writter", "--usd", "5"]).expect(4);
    project.call(&["agents", "grant", "writer", "--usd", "-1"]).expect(2);
    project.call(&["agents", "grant", "writer", "--usd", "0"]).expect(2);
    project.call(&["agents", "grant", "writer"]).expect(2);
}

/// Of a budget of 12.75 dollars.
fn is_granted_once_with_a_key(project: &Project, api: &Api) {
    let headers = "Content-Type: application/json\r\nIdempotency-Key: ticket-7\r\n";
    for _ in 0..2 {
        let path = "/api/v1/agents/writer/grant";
        let said = api.send("POST", path, headers, "{\"usd\": 0.25}").expect(200).json();
        assert_eq!(said["budget"]["usd"]["of"], "13.00");
    }
    for (key, of) in [("ticket-7", "13.00"), ("ticket-8", "13.25"), ("ticket-8", "13.25")] {
        project.call(&["agents", "grant", "writer", "--usd", "0.25", "--key", key]).expect(0);
        assert_eq!(budget(api)["usd"]["of"], of, "{key}");
    }
    let bad = "Content-Type: application/json\r\nIdempotency-Key: \r\n";
    let answer = api.send("POST", "/api/v1/agents/writer/grant", bad, "{\"usd\": 0.25}");
    assert_eq!(answer.status, 400, "{}", answer.body);
}

#[test]
fn a_used_up_budget_asks_for_more_and_gets_it() {
    let project = project("{usd: 1, per: month, on_exceed: ask}");
    let (node, api, third) = waiting(&project);
    let why = project.call(&["runs", "why", &third]).expect(0).out;
    for said in ["1.50 of 1.00 USD, unless a person grants more", "moa agents grant writer --usd"] {
        assert!(why.contains(said), "{why}");
    }
    let used = row(&project);
    assert_eq!(
        (&used["used"], &used["of"], &used["unit"], &used["state"]),
        (&json!(1_500_000), &json!(1_000_000), &json!("micro_usd"), &json!("full"))
    );
    assert_eq!(budget(&api)["usd"], json!({"used": "1.50", "of": "1.00", "granted": "0.00"}));
    assert_eq!(budget(&api)["exceeded"], true);
    let shown = project.call(&["agents", "show", "writer"]).expect(0).out;
    assert!(shown.contains("1.50 of 1.00 USD/month, used up"), "{shown}");
    project.call(&["jobs", "run", "alerts"]).expect(0);
    let alert = project.call(&["alerts", "show", "budget/writer", "--json"]).expect(0).json();
    assert_eq!(alert["title"], "The budget of writer is used up: grant more?");
    assert_eq!(alert["severity"], "warning");
    let page = Browser::new(&project, &node, "operator").page("/agents/writer");
    for said in ["Grant more", "1.50 of 1.00", "Its tasks wait for somebody who grants more"] {
        assert!(page.contains(said), "{said}: {page}");
    }
    let page = Browser::new(&project, &node, "viewer").page("/agents/writer");
    assert!(!page.contains("Grant more"), "{page}");
    let metrics = api.get("/metrics").expect(200).body;
    for line in [
        "moa_agent_budget_used{agent=\"writer\",unit=\"usd\"} 1.5",
        "moa_agent_budget_limit{agent=\"writer\",unit=\"usd\"} 1.0",
    ] {
        assert!(metrics.contains(line), "{metrics}");
    }

    // A node that is killed has forgotten nothing, and lets nothing through.
    node.kill();
    let node = project.up();
    let api = Api::with_role(&project, &node, "operator");
    let why = format!("/api/v1/runs/{third}/why");
    api.until(&why, |why| why["steps"][0]["reason"].to_string().contains("1.50 of 1.00 USD"));
    assert_eq!((asked(&project), row(&project)["used"].clone()), (2, json!(1_500_000)));

    refuses_nonsense(&project);
    project.call(&["agents", "grant", "writer", "--usd", "1.25"]).expect(0);
    api.ended(&third);
    assert_eq!(asked(&project), 3);
    let shown = project.call(&["runs", "show", &third, "--json"]).expect(0).json();
    let usage = &shown["steps"][0]["attempts"][0]["usage"];
    assert_eq!(*usage, json!({"usd": "0.75", "tokens": 10}), "{shown:#}");
    assert_eq!(budget(&api)["usd"], json!({"used": "2.25", "of": "2.25", "granted": "1.25"}));
    let acts = ["audit", "list", "--action", "agent.grant", "--json"];
    let acts = project.call(&acts).expect(0).json();
    assert_eq!(acts[0]["asked"], json!({"usd": "1.25"}), "{acts:#}");

    let more = json!({"usd": 10.5});
    let said = api.post("/api/v1/agents/writer/grant", &more).expect(200).json();
    assert_eq!(said["budget"]["usd"]["of"], "12.75");
    for refused in [json!({}), json!({"usd": -1}), json!({"usd": 0}), json!({"tokens": 1.5})] {
        let answer = api.post("/api/v1/agents/writer/grant", &refused);
        assert!((400..500).contains(&answer.status), "{refused}: {}", answer.body);
    }
    is_granted_once_with_a_key(&project, &api);
    let viewer = Api::with_role(&project, &node, "viewer");
    viewer.post("/api/v1/agents/writer/grant", &more).refused(403, "forbidden");
    project.call(&["jobs", "run", "alerts"]).expect(0);
    let open = project.call(&["alerts", "list", "--json"]).expect(0).json();
    assert_eq!(open, json!([]), "it is over");
}

#[test]
fn what_would_exceed_a_budget_may_fail() {
    let project = project("{tokens: 15, per: month, on_exceed: fail}");
    let node = project.up();
    let api = Api::with_role(&project, &node, "operator");
    for _ in 0..2 {
        assert_eq!(api.ended(&start(&api))["status"], "success");
    }
    let third = start(&api);
    assert_ne!(api.ended(&third)["status"], "success");
    assert_eq!(asked(&project), 2);
    let why = project.call(&["runs", "show", &third, "--json"]);
    let error = why.expect(0).json()["steps"][0]["error"].clone();
    assert_eq!(error["kind"], "budget_exceeded", "{error}");
    assert!(error["message"].to_string().contains("20 of 15 tokens"), "{error}");
}

/// What an attempt had written down by the time its node was killed is counted with its end, once, beside what
/// the next one spends.
#[test]
fn what_was_spent_when_a_node_is_killed_is_counted() {
    let project = project("{}");
    let say = r#"echo '{"tokens": 10}' >> "$MOA_USAGE"; echo x >> asked.$MOA_ATTEMPT"#;
    let wait = r#"[ "$MOA_ATTEMPT" = 2 ] || exec sleep 600"#;
    let limits = "budget: {tokens: 1000, per: month}\nretry: {max_attempts: 2, delay: 1ms}\n";
    project.write("agents/writer.yaml", &format!("shell: |\n  {say}\n  {wait}\n{limits}"));
    let node = project.up();
    let run = start(&Api::with_role(&project, &node, "operator"));
    project.wait_for("asked.1");
    node.kill();
    let node = project.up();
    let api = Api::with_role(&project, &node, "operator");
    assert_eq!(api.ended(&run)["status"], "success");
    assert_eq!(row(&project)["used"], json!(20));
    let shown = project.call(&["runs", "show", &run, "--json"]).expect(0).json();
    let attempts = shown["steps"][0]["attempts"].as_array().expect("attempts");
    let tokens: Vec<_> = attempts.iter().map(|attempt| &attempt["usage"]["tokens"]).collect();
    assert_eq!(tokens, [&json!(10), &json!(10)], "{shown:#}");
    // The file stays for a day; what it says has been counted.
    node.kill();
    let node = project.up();
    assert_eq!(row(&project)["used"], json!(20));
    drop(node);
}

/// Without a node, a command that grants something does it by itself; the page's form does it too.
#[test]
fn more_is_granted_without_a_node_and_on_the_page() {
    let project = project("{tokens: 15, per: month}");
    project.call(&["run", "letters", "-q"]).expect(0);
    project.call(&["run", "letters", "-q"]).expect(0);
    project.call(&["agents", "grant", "writer", "--tokens", "20"]).expect(0);
    project.call(&["run", "letters", "-q"]).expect(0);
    assert_eq!((&row(&project)["used"], &row(&project)["of"]), (&json!(30), &json!(35)));
    let node = project.up();
    let browser = Browser::new(&project, &node, "operator");
    let page = browser.page("/agents/writer");
    assert!(page.contains("name=\"key\""), "{page}");
    for _ in 0..2 {
        let form = "act=grant&tokens=1000&key=a1";
        browser.send("/agents/writer", "/agents/writer/act", form).expect(303);
        assert_eq!(row(&project)["of"], json!(1035));
    }
}
