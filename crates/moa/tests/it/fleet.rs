//! What agents do right now and what they did in a day, wherever it is asked.

use serde_json::{Value as Json, json};

use crate::http::Api;
use crate::pages::Browser;
use crate::project::{Node, Project, Said};
use crate::remote::Elsewhere;

/// An agent whose attempts run until a file is there, one that fails now and then, and one at addresses of
/// which nobody listens at the first.
fn shop() -> (Project, Node) {
    let project = Project::with("prints", "steps: [{id: print, agent: press, action: print}]\n");
    project.write(
        "agents/press.yaml",
        "command: [sh, -c, 'until [ -e go ]; do sleep 0.02; done', press, --key, xyzzy-word]\n\
         concurrency: 2\n",
    );
    project.write(
        "agents/picky.yaml",
        "shell: test \"$MOA_PARAM_OK\" = true\nretry: {max_attempts: 1}\n",
    );
    let asks =
        |ok| format!("steps: [{{id: ask, agent: picky, action: look, params: {{ok: {ok}}}}}]\n");
    project.workflow("good", &asks(true));
    project.workflow("bad", &asks(false));
    project.write(
        "agents/courier.yaml",
        "http: {urls: ['http://127.0.0.1:1/parcels?key=xyzzy-word']}\nretry: {max_attempts: 1}\n",
    );
    project.workflow("sends", "steps: [{id: send, agent: courier, action: send}]\n");
    let node = project.up();
    (project, node)
}

fn day_of(list: &Json, agent: &str) -> Json {
    let all = list["agents"].as_array().or(list.as_array()).expect("agents");
    all.iter().find(|one| one["agent"] == agent).expect("the agent")["last_24h"].clone()
}

#[test]
fn what_agents_did_in_a_day_is_the_same_everywhere() {
    let (project, node) = shop();
    for _ in 0..3 {
        project.call(&["run", "good", "-q"]).expect(0);
    }
    project.call(&["run", "bad", "-q"]).expect(1);
    project.call(&["jobs", "run", "samples"]).expect(0);
    let api = Api::with_role(&project, &node, "viewer");
    let listed = api.get("/api/v1/agents").expect(200).json();
    let day = day_of(&listed, "picky");
    assert_eq!((&day["executions"], &day["errors"]), (&json!(4), &json!(1)), "{day}");
    assert_eq!(day["error_rate"], 0.25);
    let (half, most) = (day["p50_ms"].as_f64(), day["p95_ms"].as_f64());
    assert!(half > Some(0.0) && most >= half, "{day}");
    assert_eq!(day_of(&listed, "press"), Json::Null);
    assert_eq!(api.get("/api/v1/agents/picky").expect(200).json()["agent"]["last_24h"], day);
    assert_eq!(api.get("/api/v1/agents/picky/metrics").expect(200).json()["last_24h"], day);
    let browser = Browser::new(&project, &node, "viewer");
    let (list, page) = (browser.page("/agents"), browser.page("/agents/picky"));
    assert!(list.contains("title=\"1 of 4\">25%<") && page.contains("1, 25%"), "{list}\n{page}");
    let said = project.call(&["agents", "list", "--json"]).expect(0).json();
    assert_eq!(day_of(&said, "picky"), day);
    let shown = project.call(&["agents", "show", "picky"]).expect(0).out;
    assert!(shown.contains("4 attempts, 1 failed (25.0%)"), "{shown}");
    // It outlives the node, for who asks without one.
    node.stop();
    let said = project.call(&["agents", "list"]).expect(0).out;
    assert!(said.contains("picky\tcommand\t-\t-\t4\t25.0%"), "{said}");
}

#[test]
fn what_an_agent_did_in_a_time_is_counted_whatever_else_has_happened() {
    let (project, node) = shop();
    for _ in 0..3 {
        project.call(&["run", "good", "-q"]).expect(0);
    }
    project.call(&["run", "bad", "-q"]).expect(1);
    project.call(&["jobs", "run", "samples"]).expect(0);
    // Behind what is in samples, and before so much that the newest commits tell of nothing else.
    project.call(&["run", "bad", "-q"]).expect(1);
    let again = "until: 'false', max_iterations: 1500";
    let steps = "steps: [{id: one, agent: noop, action: done}]";
    project.workflow("again", &format!("steps: [{{id: each, {again}, {steps}}}]\n"));
    project.call(&["run", "again", "-q"]).expect(1);
    let api = Api::with_role(&project, &node, "viewer");
    let of = |query: &str| {
        let path = format!("/api/v1/agents/picky/metrics{query}");
        api.get(&path).expect(200).json()
    };
    assert_eq!(of("")["executions"], 0, "there are more than 1,000 commits behind them");
    for range in ["1h", "24h", "7d", "90m"] {
        let told = of(&format!("?range={range}"));
        assert_eq!((&told["executions"], &told["errors"]), (&json!(5), &json!(2)), "{told}");
        assert_eq!(told["error_rate"], 0.4, "{told}");
        let (mean, most) = (told["latency_ms"].as_f64(), told["latency_ms_max"].as_f64());
        assert!(mean > Some(0.0) && most >= mean, "{told}");
        assert!(told["since"].is_string() && told["agent"] == "picky", "{told}");
    }
    let short = api.get("/api/agents/picky/metrics?range=1h").expect(200).json();
    assert_eq!(short["executions"], 5, "{short}");
    let idle = api.get("/api/v1/agents/press/metrics?range=1h").expect(200).json();
    assert_eq!((&idle["executions"], &idle["latency_ms"]), (&json!(0), &Json::Null), "{idle}");
    for wrong in ["8d", "soon"] {
        let path = format!("/api/v1/agents/picky/metrics?range={wrong}");
        api.get(&path).refused(400, "invalid_request");
    }
    // The command counts the same, of a node here, of one elsewhere, and where there is none.
    let there = Elsewhere::new(&project, &node, "viewer");
    let args = |range: &'static str| ["metrics", "--agent", "picky", "--range", range, "--json"];
    let counted = |said: Said| {
        let told = said.expect(0).json();
        assert_eq!((&told["executions"], &told["errors"]), (&json!(5), &json!(2)), "{told}");
        told
    };
    for range in ["1h", "7d"] {
        let (here, api) = (counted(project.call(&args(range))), of(&format!("?range={range}")));
        let all = ["agent", "error_rate", "latency_ms", "latency_ms_max", "since"];
        assert!(all.iter().all(|key| here[key] == api[key]), "{here} {api}");
        assert_eq!(counted(there.call(&args(range))), here);
    }
    let long = |said: Said| said.expect(2).err.contains("counted for 7 days");
    assert!(long(project.call(&args("8d"))) && long(there.call(&args("8d"))));
    let shown = project.call(&["agents", "show", "picky"]).expect(0).out;
    assert!(shown.contains("5 attempts, 2 failed"), "{shown}");
    node.stop();
    for range in ["1h", "7d"] {
        counted(project.call(&args(range)));
    }
    assert!(long(project.call(&args("8d"))));
}

#[test]
fn agents_are_listed_by_their_numbers_wherever_and_in_parts() {
    let project = Project::empty();
    let wanted = ["a-b", "a1", "a2", "a10", "a11", "b"];
    for name in wanted {
        project.write(&format!("agents/{name}.yaml"), "command: ['true']\nconcurrency: 1\n");
    }
    let node = project.up();
    let api = Api::with_role(&project, &node, "viewer");
    let names = |all: &Json, key: &str| -> Vec<String> {
        let all = all.as_array().expect("a list").iter().filter_map(|one| one[key].as_str());
        all.filter(|name| wanted.contains(name)).map(str::to_owned).collect()
    };
    let sorted = ["a1", "a2", "a10", "a11", "a-b", "b"];
    let (mut parts, mut cursor) = (Vec::new(), String::new());
    loop {
        let part = api.get(&format!("/api/v1/agents?limit=2{cursor}")).expect(200).json();
        parts.extend(names(&part["agents"], "agent"));
        let Some(next) = part["next"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(parts, sorted);
    let listed = |args: &[&str]| project.call(args).expect(0).json();
    assert_eq!(names(&listed(&["agents", "list", "--json"]), "agent"), sorted);
    assert_eq!(names(&listed(&["limits", "--json"]), "agent"), sorted);
    let page = Browser::new(&project, &node, "viewer").page("/agents");
    let places = sorted.map(|name| page.find(&format!("data-key=\"{name}\"")).expect("a row"));
    assert!(places.is_sorted(), "{places:?}");
}

#[test]
fn what_runs_of_an_agent_is_listed_with_its_process() {
    let (project, node) = shop();
    let operator = Api::with_role(&project, &node, "operator");
    let said = operator.post("/api/v1/runs", &json!({"workflow": "prints"})).expect(201).json();
    let run = said["run"].as_str().expect("an id").to_owned();
    let has_process = |agent: &Json| agent["instances"][0]["pid"].is_number();
    let agent = operator.until("/api/v1/agents/press", has_process);
    let one = &agent["instances"][0];
    assert_eq!((&one["run"], &one["workflow"]), (&json!(run), &json!("prints")), "{one}");
    assert_eq!((&one["step"], &one["attempt"]), (&json!("print"), &json!(1)), "{one}");
    assert_eq!(one["action"], "print");
    let pid = one["pid"].as_i64().expect("a number");
    let environ = std::fs::read(format!("/proc/{pid}/environ")).expect("it lives");
    let environ = String::from_utf8_lossy(&environ).into_owned();
    assert!(environ.contains(&format!("MOA_RUN_ID={run}")), "{environ}");
    assert!(environ.contains(&format!("MOA_NODE={}", one["node"].as_str().expect("a node"))));
    let page = Browser::new(&project, &node, "viewer").page("/agents/press");
    assert!(page.contains(&format!("/runs/{run}/steps/print")), "{page}");
    assert!(page.contains(&format!("pid <code>{pid}</code>")), "{page}");
    let shown = project.call(&["agents", "show", "press"]).expect(0).out;
    assert!(shown.contains("prints / print, attempt 1") && shown.contains(&format!("pid {pid}")));
    // Whose scopes reach the agent and not its runs is told that it works, and not for whom.
    let narrow = Api::with_scopes(&project, &node, "operator", &["agents:press"]);
    let seen = narrow.get("/api/v1/agents/press").expect(200);
    assert!(!seen.body.contains(&run) && seen.json()["instances"][0]["pid"] == pid, "{seen:?}");
    assert!(!narrow.get("/agents/press").expect(200).body.contains(&run));
    project.write("go", "");
    operator.ended(&run);
    operator.until("/api/v1/agents/press", |agent| agent["instances"] == json!([]));
}

#[test]
fn addresses_tell_their_health_and_their_hosts_alone() {
    let (project, node) = shop();
    let viewer = Api::with_role(&project, &node, "viewer");
    let health =
        |api: &Api| api.get("/api/v1/agents/courier").expect(200).json()["endpoints"][0].clone();
    assert_eq!(health(&viewer)["health"], "untried");
    project.call(&["run", "sends", "-q"]).expect(1);
    let known = health(&viewer);
    assert_eq!((&known["health"], &known["url"]), (&json!("out"), &json!("http://127.0.0.1:1/")));
    assert!(known["out_until"].is_string() && known["calls"] == 0, "{known}");
    let whole = health(&Api::with_role(&project, &node, "operator"));
    assert_eq!(whole["url"], "http://127.0.0.1:1/parcels?key=xyzzy-word");
    let page = Browser::new(&project, &node, "admin").page("/agents/courier");
    assert!(page.contains("status out") && !page.contains("xyzzy-word"), "{page}");
    let asked = json!({"format": moa_view::rows::FORMAT, "ask": "fleet"});
    let rows = viewer.post("/api/v1/rows", &asked).expect(200).body;
    assert!(rows.contains("127.0.0.1:1") && !rows.contains("xyzzy-word"), "{rows}");
}

#[test]
fn what_stands_behind_a_program_is_for_operators_and_a_known_secret_for_nobody() {
    let project = Project::with("hello", "steps:\n  - {id: say, run: 'echo plugh-secret-word'}\n");
    project.write(
        "agents/press.yaml",
        "command: [./print, --key, xyzzy-word, --token, plugh-secret-word]\n",
    );
    project.write("agents/script.yaml", "shell: echo xyzzy-word plugh-secret-word\n");
    project.write(".env", "PRINTER=plugh-secret-word\n");
    project.workflow(
        "uses",
        "steps:\n  - {id: say, run: 'true', env: {P: '${{ secrets.PRINTER }}'}}\n",
    );
    let node = project.up();
    let files = json!({"format": moa_view::rows::FORMAT, "ask": "files"});
    for (role, sees) in [("viewer", false), ("approver", false), ("operator", true)] {
        let api = Api::with_role(&project, &node, role);
        for agent in ["press", "script"] {
            let served = api.get(&format!("/api/v1/agents/{agent}")).expect(200).body;
            let page = api.get(&format!("/agents/{agent}")).expect(200).body;
            for (what, text) in [("API", &served), ("page", &page)] {
                assert_eq!(text.contains("xyzzy-word"), sees, "{role} {agent} {what}: {text}");
                assert!(!text.contains("plugh"), "{role} {agent} {what}: {text}");
            }
        }
        assert!(api.get("/agents/press").expect(200).body.contains("./print"));
        let files = api.post("/api/v1/rows", &files).expect(200).body;
        assert_eq!(files.contains("xyzzy-word"), sees, "{role}: {files}");
        assert!(!files.contains("plugh"), "{role}: {files}");
        let source = api.get("/api/v1/workflows/hello/source").expect(200).body;
        assert!(source.contains("echo ***") && !source.contains("plugh"), "{role}: {source}");
        let page = api.get("/workflows/hello/source").expect(200).body;
        assert!(page.contains("echo ***") && !page.contains("plugh"), "{role}: {page}");
    }
    // Who writes a file back gets all of it.
    let admin = Api::with_role(&project, &node, "admin");
    let source = admin.get("/api/v1/workflows/hello/source").expect(200).body;
    assert!(source.contains("plugh-secret-word"), "{source}");
}

#[test]
fn the_text_of_a_version_has_its_secrets_for_who_may_write_it() {
    let text =
        |more: &str| format!("steps:\n  - {{id: say, run: 'echo plugh-secret-word{more}'}}\n");
    let project = Project::with("hello", &text(""));
    project.write(".env", "PRINTER=plugh-secret-word\n");
    project.workflow(
        "uses",
        "steps:\n  - {id: say, run: 'true', env: {P: '${{ secrets.PRINTER }}'}}\n",
    );
    let node = project.up();
    let admin = Api::with_role(&project, &node, "admin");
    let source = "/api/v1/workflows/hello?source=true";
    let old = admin.get(source).expect(200).json()["hash"].as_str().expect("a hash").to_owned();
    let headers = "Content-Type: application/yaml\r\nIf-Match: *\r\n";
    admin.send("PUT", "/api/v1/workflows/hello/source", headers, &text(" again")).expect(200);
    let rows = json!({"format": moa_view::rows::FORMAT, "ask": {"workflow": old}});
    for (role, sees) in [("viewer", false), ("operator", false), ("admin", true)] {
        let api = Api::with_role(&project, &node, role);
        for path in [
            source.to_owned(),
            format!("{source}&version={old}"),
            format!("/api/v1/workflows/hello/source?version={old}"),
            format!("/api/v1/workflows/hello/diff?from={old}"),
        ] {
            let answer = api.get(&path).expect(200).body;
            assert_eq!(answer.contains("plugh"), sees, "{role} {path}: {answer}");
            assert!(answer.contains("echo"), "{role} {path}: {answer}");
        }
        let row = api.post("/api/v1/rows", &rows).expect(200);
        for part in ["source", "plan"] {
            let answer = row.json()[part].as_str().expect("a text").to_owned();
            assert_eq!(answer.contains("plugh"), sees, "{role} {part}: {answer}");
        }
    }
}

#[test]
fn a_project_elsewhere_is_sound_whatever_its_secrets_are() {
    let project = Project::with(
        "hello",
        "steps:\n  - {id: postgres, agent: postgres, action: run}\n  - id: say\n    depends_on: \
         [postgres]\n    run: echo ${{ steps.postgres.output }}\n    env: {A: postgres, B: x-postgres}\n",
    );
    project.write("agents/postgres.yaml", "command: ['true']\nenv: {PASSWORD: postgres}\n");
    project.write(".env", "DB=postgres\n");
    project.workflow("uses", "steps:\n  - {id: say, run: 'true', env: {P: '${{ secrets.DB }}'}}\n");
    let node = project.up();
    let run = project.call(&["run", "hello", "--json"]).expect(0).json();
    let run = run["workflowId"].as_str().expect("a run").to_owned();
    for role in ["viewer", "operator", "admin"] {
        let there = Elsewhere::new(&project, &node, role);
        let found = there.call(&["workflows", "validate", "--json"]).expect(0).out;
        assert!(!found.contains("MOA0"), "{role}: {found}");
        let listed = there.call(&["workflows", "list"]).expect(0).out;
        assert!(listed.contains("hello") && !listed.contains("broken"), "{role}: {listed}");
        there.call(&["runs", "show", &run]).expect(0);
    }
}

#[test]
fn an_agent_whose_limits_let_no_task_start_is_told_to_be_held_back() {
    let step = |id: &str| format!("  - {{id: {id}, agent: press, action: upload}}\n");
    let steps = ["one", "two", "three"].map(step).concat();
    let project = Project::with("uploads", &format!("mode: graph\nsteps:\n{steps}"));
    let quota = "quota: {units: 10, per: month, cost: {upload: 6}}\n";
    project.write("agents/press.yaml", &format!("shell: 'true'\n{quota}"));
    let node = project.up();
    project.call(&["run", "uploads", "--detach"]).expect(0);
    let api = Api::with_role(&project, &node, "viewer");
    let of = |list: &Json| -> Json {
        let mut all = list["agents"].as_array().expect("agents").iter();
        all.find(|one| one["agent"] == "press").expect("it").clone()
    };
    let listed = api.until("/api/v1/agents", |list| of(list)["held"].is_object());
    let told = of(&listed);
    assert_eq!((&told["agent"], &told["status"]), (&json!("press"), &json!("limited")), "{told}");
    let words = "its quota is used up: 6 of 10 units, and it needs more";
    assert_eq!(told["held"]["reason"], words);
    let until = told["held"]["until"].as_str().expect("an instant");
    let limit = api.get("/api/v1/limits?agent=press").expect(200).json()["limits"][0].clone();
    assert_eq!((&limit["state"], &limit["until"]), (&json!("full"), &json!(until)), "{limit}");
    let fleet = api.get("/api/v1/overview").expect(200).json()["fleet"]["agents"][0].clone();
    assert_eq!((&fleet["state"], &fleet["ready"]), (&json!("waiting"), &json!(2)), "{fleet}");
    assert_eq!(fleet["held"]["until"], until);
    let browser = Browser::new(&project, &node, "viewer");
    for path in ["/", "/agents", "/agents/press"] {
        let page = browser.page(path);
        assert!(page.contains("Held back: ") && page.contains(words), "{path}: {page}");
        assert!(page.contains("status waiting"), "{path}: {page}");
    }
    let said = project.call(&["agents", "list"]).expect(0);
    assert!(said.out.contains("press\tcommand\t-\theld back"), "{}", said.out);
    let said = project.call(&["agents", "list", "--json"]).expect(0).json();
    assert_eq!(said[0]["held"]["until"], until);
    let shown = project.call(&["agents", "show", "press"]).expect(0).out;
    assert!(shown.contains(&format!("until {until}: {words}")), "{shown}");
    let limits = project.call(&["limits", "press", "--json"]).expect(0).json();
    assert_eq!(limits[0]["state"], "full", "{limits}");
}
