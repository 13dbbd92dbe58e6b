//! What is changed over the API: files, rules, agents, many runs at once.

use serde_json::{Value as Json, json};

use crate::http::{Answer, Api};
use crate::project::Project;

const HELLO: &str = "steps: [{run: echo hello}]\n";
const ASK: &str = "steps:\n  - {id: ask, approve: {title: 'go on?'}}\n";

const SOURCE: &str = "/api/v1/workflows/hello/source";

fn put(api: &Api, path: &str, condition: &str, text: &str) -> Answer {
    let headers = format!("Content-Type: application/yaml\r\n{condition}\r\n");
    api.send("PUT", path, &headers, text)
}

fn start(api: &Api, workflow: &str) -> String {
    let said = api.post("/api/v1/runs", &json!({"workflow": workflow})).expect(201).json();
    said["run"].as_str().expect("an id").to_owned()
}

fn words(list: &Json, key: &str) -> Vec<String> {
    let all = list.as_array().expect("a list").iter();
    all.map(|one| one[key].as_str().unwrap_or_default().to_owned()).collect()
}

#[test]
fn a_file_is_written_for_who_knows_it_and_only_without_mistakes() {
    let project = Project::with("hello", HELLO);
    let node = project.up();
    let api = Api::with_role(&project, &node, "admin");
    let tag = api.get(SOURCE).expect(200).header("etag").expect("a tag").to_owned();
    let mine = format!("If-Match: {tag}");
    let unchanged = api.send("GET", SOURCE, &format!("If-None-Match: {tag}\r\n"), "");
    unchanged.expect(304);

    put(&api, SOURCE, "X-None: 1", HELLO).refused(428, "precondition_required");
    put(&api, SOURCE, "If-None-Match: *", HELLO).refused(412, "precondition_failed");
    let wrong = put(&api, SOURCE, &mine, "steps: [{runn: x}]").refused(422, "invalid_files");
    assert_eq!(wrong["diagnostics"][0]["severity"], "error", "{wrong}");
    assert!(wrong["text"].as_str().is_some_and(|text| text.contains("runn")), "{wrong}");
    let circle = "on: {workflow: hello}\nsteps: [{run: 'true'}]\n";
    put(&api, SOURCE, &mine, &circle.replace("on:", "after:")).expect(422);
    api.send("PUT", SOURCE, &format!("{mine}\r\n"), HELLO).refused(415, "unsupported_media_type");
    put(&api, "/api/v1/workflows/moa-notify/source", "If-None-Match: *", HELLO).expect(409);
    put(&api, "/api/v1/workflows/..%2Fmoa/source", "If-None-Match: *", HELLO)
        .refused(400, "invalid_request");
    assert_eq!(project.read("workflows/hello.yaml"), HELLO);

    let new = "steps: [{id: say, run: echo bye}]\n";
    let done = put(&api, SOURCE, &mine, new).expect(200);
    assert_eq!(project.read("workflows/hello.yaml"), new);
    assert_ne!(done.header("etag"), Some(tag.as_str()));
    // Whoever still has the text of before has lost.
    let late = put(&api, SOURCE, &mine, HELLO).refused(412, "precondition_failed");
    assert!(late["detail"].as_str().is_some_and(|d| d.contains("ETag")), "{late}");
    let run = start(&api, "hello");
    api.ended(&run);
    assert_eq!(api.get(&format!("/api/v1/runs/{run}/logs/say/1")).body.trim(), "bye");
    put(&api, "/api/v1/workflows/other/source", "If-None-Match: *", HELLO).expect(201);
    start(&api, "other");

    // What an editor leaves broken can be read, and mended.
    project.workflow("hello", "steps: [");
    let broken = api.get(SOURCE).expect(200);
    assert_eq!(broken.body, "steps: [");
    let mine = format!("If-Match: {}", broken.header("etag").expect("a tag"));
    put(&api, SOURCE, &mine, HELLO).expect(200);

    // What could not be put back is not replaced.
    let large = format!("{HELLO}# {}\n", "x".repeat(2 << 20));
    project.workflow("hello", &large);
    put(&api, SOURCE, "If-Match: *", HELLO).expect(409);
    assert_eq!(project.read("workflows/hello.yaml").len(), large.len());

    let acts = api.get("/api/v1/audit?action=workflow.put").expect(200).json();
    let outcomes = words(&acts["acts"], "outcome");
    assert_eq!(outcomes.iter().filter(|o| *o == "done").count(), 3, "{acts}");
    assert!(outcomes.iter().any(|o| o == "refused"), "{acts}");
    let (mut seen, mut cursor) = (0, String::new());
    loop {
        let page = api.get(&format!("/api/v1/audit?limit=2{cursor}")).expect(200).json();
        for act in page["acts"].as_array().expect("a list") {
            assert_ne!(act["outcome"], "asked", "{act}");
            seen += 1;
        }
        let Some(next) = page["next"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    let all = api.get("/api/v1/audit?limit=500").expect(200).json();
    assert_eq!(all["acts"].as_array().map(Vec::len), Some(seen));
}

#[test]
fn many_runs_are_changed_after_a_look_at_what_would_be_done() {
    let project = Project::with("ask", ASK);
    project.workflow("hello", HELLO);
    let node = project.up();
    let api = Api::with_role(&project, &node, "operator");
    let asking: Vec<String> = (0..3).map(|_| start(&api, "ask")).collect();
    let other = start(&api, "hello");
    api.ended(&other);
    let bulk = |body: Json| api.post("/api/v1/runs/bulk", &body);
    bulk(json!({"action": "cancel", "filter": {}})).refused(400, "invalid_request");
    bulk(json!({"action": "cancel"})).refused(400, "invalid_request");
    for status in ["", " ", ","] {
        let none = json!({"action": "cancel", "filter": {"status": status}, "dry_run": false});
        bulk(none).refused(400, "invalid_request");
    }
    let asked = json!({"action": "cancel", "filter": {"workflow": "ask"}, "limit": 2});
    let would = bulk(asked.clone()).expect(200).json();
    assert_eq!(words(&would["results"], "outcome"), ["would", "would"], "{would}");
    let previewed = api.get("/api/v1/runs/bulk?action=cancel&workflow=ask&limit=2").expect(200);
    assert_eq!(previewed.json(), would, "asked by GET it is the same");
    let next = would["next"].clone();
    let page = format!("action=cancel&workflow=ask&cursor={}", next.as_str().expect("more"));
    let rest = api.get(&format!("/api/v1/runs/bulk?{page}")).expect(200).json();
    assert_eq!(
        (words(&rest["results"], "run"), &rest["next"]),
        (vec![asking[0].clone()], &Json::Null)
    );
    let named = format!("action=retry&runs={},%20{}", asking[0], other);
    let named = api.get(&format!("/api/v1/runs/bulk?{named}")).expect(200).json();
    assert_eq!(words(&named["results"], "outcome"), ["would_not", "would_not"], "{named}");
    for wrong in ["action=cancel", "action=cancel&status=", "action=fly&runs=last", "runs=last"] {
        api.get(&format!("/api/v1/runs/bulk?{wrong}")).refused(400, "invalid_request");
    }
    let both = format!("/api/v1/runs/bulk?action=cancel&runs={other}&status=open");
    api.get(&both).refused(400, "invalid_request");
    for run in &asking {
        let run = api.get(&format!("/api/v1/runs/{run}")).expect(200).json();
        assert_eq!(run["status"], "running", "nothing was done");
    }
    let mut all = asking.clone();
    all.push(other.clone());
    let done = json!({"action": "terminate", "runs": all, "dry_run": false, "reason": "enough"});
    let done = bulk(done).expect(200).json();
    assert_eq!(words(&done["results"], "outcome"), ["done", "done", "done", "passed_over"]);
    for run in &asking {
        api.ended(run);
        let document = api.get(&format!("/api/v1/runs/{run}/document")).expect(200).json();
        assert_eq!(document["status"], "cancelled");
    }
    let rest = json!({"action": "retry", "filter": {"workflow": "ask", "cursor": next}});
    let rest = bulk(rest).expect(200).json();
    assert_eq!(rest["results"].as_array().map(Vec::len), Some(1));
    let retried = bulk(json!({"action": "retry", "runs": [asking[0]], "dry_run": false}));
    let retried = retried.expect(200).json();
    let new = retried["results"][0]["new_run"].as_str().expect("a new run");
    api.get(&format!("/api/v1/runs/{new}")).expect(200);
}

#[test]
fn lists_are_read_in_parts() {
    let uses = ["A", "B", "C"].map(|t| format!("{t}: \"${{{{ secrets.TOKEN_{t} }}}}\""));
    let hello = format!("steps: [{{run: echo hello, env: {{{}}}}}]\n", uses.join(", "));
    let project = Project::with("hello", &hello);
    for name in ["a", "b-c", "b"] {
        let text = "on: [{event: x}, {event: y}]\nsteps: [{run: 'true'}]\n";
        project.workflow(name, text);
    }
    project.write(".env", "TOKEN_A=value-a\nTOKEN_B=value-b\nTOKEN_C=value-c\n");
    let node = project.up();
    let api = Api::with_role(&project, &node, "operator");
    for name in ["paid", "lost", "sent"] {
        let rule = json!({"name": name, "run": "hello", "on": {"event": format!("order.{name}")}});
        api.post("/api/v1/rules", &rule).expect(201);
    }
    for list in ["agents", "rules", "secrets", "triggers"] {
        let path = format!("/api/v1/{list}");
        let whole = api.get(&path).expect(200).json();
        assert_eq!(whole["next"], Json::Null, "{list}");
        let whole = whole[list].as_array().expect("a list").clone();
        let (mut parts, mut cursor) = (Vec::new(), String::new());
        loop {
            let part = api.get(&format!("{path}?limit=2{cursor}")).expect(200).json();
            let found = part[list].as_array().expect("a list");
            assert!(!found.is_empty() && found.len() <= 2, "{list}: {part}");
            parts.extend(found.clone());
            let Some(next) = part["next"].as_str() else { break };
            cursor = format!("&cursor={}", next.replace(' ', "%20"));
        }
        assert!(whole.len() > 2, "{list}");
        let ids = |all: &[Json]| {
            all.iter()
                .map(|one| one.get("id").or(one.get("name")).or(one.get("agent")).cloned())
                .collect::<Vec<_>>()
        };
        assert_eq!(ids(&parts), ids(&whole), "{list}");
        api.get(&format!("{path}?limit=0")).refused(400, "invalid_request");
    }
}

#[test]
fn many_runs_are_retried_once_under_one_key() {
    let project = Project::with("bad", "steps: [{id: bad, run: exit 3, retry: never}]\n");
    let node = project.up();
    let api = Api::with_role(&project, &node, "operator");
    let failed: Vec<String> = (0..3).map(|_| start(&api, "bad")).collect();
    failed.iter().for_each(|run| drop(api.ended(run)));
    let retry = |key: &str, limit: usize| {
        let filter = json!({"status": "failed", "workflow": "bad"});
        let asked = json!({"action": "retry", "filter": filter, "dry_run": false, "limit": limit});
        let headers = format!("Content-Type: application/json\r\nIdempotency-Key: {key}\r\n");
        let said = api.send("POST", "/api/v1/runs/bulk", &headers, &asked.to_string());
        said.expect(200).json()
    };
    let all = || {
        let runs = api.get("/api/v1/runs").expect(200).json();
        runs["runs"].as_array().expect("a list").len()
    };
    let first = retry("a", 200);
    assert_eq!((&first["fit"], all()), (&json!(3), 6), "{first}");
    let made: Vec<String> = words(&first["results"], "new_run");
    made.iter().for_each(|run| drop(api.ended(run)));
    // What was made fails too, and is not made again; the answer names the same new runs.
    let again = retry("a", 200);
    assert_eq!((&again["fit"], all()), (&json!(3), 6), "{again}");
    let new: Vec<String> =
        words(&again["results"], "new_run").into_iter().filter(|run| !run.is_empty()).collect();
    assert_eq!(new, made);
    // Another key is another wish.
    let other = retry("b", 2);
    assert_eq!((&other["fit"], all()), (&json!(2), 8), "{other}");
    assert!(other["next"].is_string());
}

#[test]
fn a_repeat_with_a_key_makes_one_run() {
    let project = Project::with("hello", HELLO);
    let node = project.up();
    let api = Api::with_role(&project, &node, "operator");
    let run = start(&api, "hello");
    api.ended(&run);
    let fork = |path: &str, key: &str| {
        let headers = format!("Idempotency-Key: {key}\r\n");
        api.send("POST", &format!("/api/v1/runs/{run}/{path}"), &headers, "")
    };
    let first = fork("fork", "a").expect(201).json();
    let again = fork("fork", "a").expect(200).json();
    assert_eq!((&again["run"], &again["outcome"]), (&first["run"], &json!("existing")));
    let other = fork("fork", "b").expect(201).json();
    assert_ne!(other["run"], first["run"]);
    // Of another run the same key is another one.
    let second = first["run"].as_str().expect("an id");
    api.ended(second);
    let path = format!("/api/v1/runs/{second}/fork");
    api.send("POST", &path, "Idempotency-Key: a\r\n", "").expect(201);
    let event = |key: &str| {
        let headers = format!("Content-Type: application/json\r\nIdempotency-Key: {key}\r\n");
        let said = api.send("POST", "/api/v1/events", &headers, r#"{"type": "paid"}"#);
        said.expect(200).json()["new"].as_u64()
    };
    assert_eq!([event("x"), event("x"), event("y")], [Some(1), Some(0), Some(1)]);
}

#[test]
fn a_large_output_is_an_artifact_that_is_only_given_to_be_saved() {
    let big = "steps:\n  - {id: big, run: \"(printf '\\\"'; head -c 2000000 /dev/zero | tr '\\\\0' a; \
               printf '\\\"') > $MOA_OUTPUT; for i in 1 2 3; do echo line $i; done\"}\n";
    let project = Project::with("big", big);
    let node = project.up();
    let api = Api::with_role(&project, &node, "viewer");
    let operator = Api::with_role(&project, &node, "operator");
    let run = start(&operator, "big");
    assert_eq!(api.ended(&run)["status"], "success");
    let at = format!("/api/v1/runs/{run}/artifacts");
    let listed = api.get(&at).expect(200).json();
    let item = &listed["artifacts"][0];
    let hash = item["artifact"].as_str().expect("an artifact").to_owned();
    let got = api.get(&format!("{at}/{hash}")).expect(200);
    assert_eq!(Some(got.body.len() as u64), item["bytes"].as_u64());
    assert!(got.body.contains("aaaa"));
    assert_eq!(got.header("content-type"), Some("application/octet-stream"));
    let saved = format!("attachment; filename=\"{hash}.json\"");
    assert_eq!(got.header("content-disposition"), Some(saved.as_str()));
    let tag = format!("If-None-Match: {}\r\n", got.header("etag").expect("a tag"));
    assert_eq!(api.send("GET", &format!("{at}/{hash}"), &tag, "").expect(304).body, "");
    api.get(&format!("{at}/{}", "0".repeat(64))).refused(404, "not_found");
    api.get(&format!("{at}/..%2F..%2Ftokens.json")).refused(404, "not_found");
    // Damaged, it is nobody's.
    let path = project.root.join(format!(".moa/artifacts/{}/{hash}", &hash[..2]));
    std::fs::write(path, "x").expect("it can be written");
    api.get(&format!("{at}/{hash}")).refused(503, "store_damaged");

    let log = format!("/api/v1/runs/{run}/logs/big/1");
    assert_eq!(api.get(&format!("{log}?tail=2")).expect(200).body, "line 2\nline 3\n");
    api.get(&format!("{log}?tail=0")).refused(400, "invalid_request");
}

/// Two open runs with more steps than one question reads.
#[test]
fn tasks_of_large_runs_are_told_a_run_at_a_time() {
    let large = "params: {n: {type: array}}\nsteps:\n  - id: each\n    foreach: {in: params.n, as: i}\n    \
                 steps: [{id: one, agent: noop, action: done}]\n  \
                 - {id: hold, wait_for: {signal: go}, depends_on: [each]}\n";
    let project = Project::with("large", large);
    let node = project.up();
    let api = Api::with_role(&project, &node, "operator");
    let numbers: Vec<u32> = (0..10_000).collect();
    let asked = json!({"workflow": "large", "params": {"n": numbers}});
    for _ in 0..2 {
        api.post("/api/v1/runs", &asked).expect(201);
    }
    let asks = "/api/v1/runs?asks=true";
    let runs = api.until(asks, |page| page["runs"].as_array().is_some_and(|runs| runs.len() == 2));
    let [newest, oldest] = [0, 1].map(|n| &runs["runs"][n]["run"]);
    // Nothing of the newest one is wanted, and the other one is not read for it.
    let first = api.get("/api/v1/tasks?status=running").expect(200).json();
    assert_eq!((&first["tasks"], &first["next"]), (&json!([]), newest));
    let next = format!("/api/v1/tasks?cursor={}", newest.as_str().expect("an id"));
    let second = api.get(&next).expect(200).json();
    let told = &second["tasks"];
    assert_eq!((&told[0]["step"], &told[0]["run"]), (&json!("hold"), oldest), "{second}");
    assert_eq!((told.as_array().map(Vec::len), &second["next"]), (Some(1), &Json::Null));
}

#[test]
fn a_paused_agent_takes_no_task_until_it_is_resumed() {
    let project = Project::with("hello", HELLO);
    let node = project.up();
    let api = Api::with_role(&project, &node, "operator");
    api.post("/api/v1/agents/nobody/pause", &json!({})).refused(404, "not_found");
    let paused = api.post("/api/v1/agents/shell/pause", &json!({"reason": "it is down"}));
    assert_eq!(paused.expect(200).json()["changed"], true);
    let again = project.call(&["agents", "pause", "shell"]).expect(0);
    assert!(again.err.contains("already"), "{}", again.err);
    drop(node);

    // Without a node, too; and `moa run` doesn't wait for what nobody does.
    let said = project.call(&["run", "hello"]).expect(5);
    assert!(said.err.contains("it is down"), "{}", said.err);
    let node = project.up();
    let api = Api::with_role(&project, &node, "operator");
    let run = start(&api, "hello");
    let tasks = api.until("/api/v1/tasks?agent=shell", |page| page["tasks"][0].is_object());
    let task = &tasks["tasks"][0];
    assert_eq!((&task["status"], &task["run"]), (&json!("ready"), &json!(run)), "{task}");
    let reason = task["reason"].as_str().unwrap_or_default();
    assert!(reason.contains("paused by api (operator): it is down"), "{task}");
    assert_eq!(task["unblock"], "moa agents resume shell");
    let why = project.call(&["runs", "why", &run]).expect(0);
    assert!(why.out.contains("it is down"), "{}", why.out);
    let health = api.get("/api/v1/agents/shell/health").expect(200).json();
    assert_eq!(health["status"], "paused");
    project.call(&["agents", "resume", "shell"]).expect(0);
    assert_eq!(api.ended(&run)["status"], "success");
    let shown = project.call(&["agents", "show", "shell", "--json"]).expect(0).json();
    assert_eq!(shown["paused"], Json::Null);
}

#[test]
fn an_agent_is_drained_when_nothing_of_it_runs() {
    let slow = "steps:\n  - {id: slow, run: 'until [ -e ../../../go ]; do sleep 0.02; done'}\n";
    let slow = slow.replace("../../../go", "$MOA_PROJECT/go");
    let project = Project::with("slow", &slow);
    let node = project.up();
    let api = Api::with_role(&project, &node, "operator");
    let run = start(&api, "slow");
    api.until("/api/v1/tasks?status=running", |page| page["tasks"][0].is_object());
    let said = project.call(&["agents", "drain", "shell", "--timeout", "1ms"]).expect(1);
    assert!(said.err.contains("1 attempt of shell still run"), "{}", said.err);
    let drains = std::thread::spawn({
        let api = api.clone();
        move || api.post("/api/v1/agents/shell/drain", &json!({})).expect(200).json()
    });
    project.write("go", "");
    let drained = drains.join().expect("it answers");
    assert_eq!((&drained["state"], &drained["running"]), (&json!("paused"), &json!(0)));
    assert_eq!(api.ended(&run)["status"], "success");
}
