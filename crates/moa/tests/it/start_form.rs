//! The form that starts a run: what it shows, what it takes, and what becomes of what it refuses.

use rustix::process::Signal;
use serde_json::{Value as Json, json};

use crate::http::Api;
use crate::pages::Browser;
use crate::project::{Node, Project, signal};

const PAGE: &str = "/workflows/shop";
const START: &str = "/workflows/shop/start";

fn shop(params: &str) -> (Project, Node) {
    let project =
        Project::with("shop", &format!("params:\n{params}steps: [{{id: one, run: 'true'}}]\n"));
    let node = project.up();
    (project, node)
}

/// The params of the run that a form starts.
fn started(project: &Project, node: &Node, browser: &Browser, fields: &str) -> Json {
    let answer = browser.submit(PAGE, START, fields).expect(303);
    let run = answer.header("location").expect("the run").trim_start_matches("/runs/").to_owned();
    let api = Api::with_role(project, node, "viewer");
    let document = api.get(&format!("/api/v1/runs/{run}/document")).expect(200).json();
    document["params"].clone()
}

#[test]
fn a_form_that_is_refused_comes_again_with_what_was_typed() {
    let (project, node) = shop(
        "  word: {type: string, pattern: '^[a-z]+$', required: true}\n\
        \x20 note: {type: string, required: false}\n  size: {type: integer, default: 2}\n\
        \x20 mode: {enum: [fast, slow], required: false}\n",
    );
    let browser = Browser::new(&project, &node, "operator");
    let fields = "p.word=Not+%3Cthis%3E&p.note=keep+me&p.size=many&p.mode=slow&priority=high&key=k";
    let page = browser.submit(PAGE, START, fields).expect(400).body;
    // The whole page, with nothing of the command line.
    assert!(
        page.contains("aria-label=\"Pages\"") && page.contains("action=\"/workflows/shop/start\"")
    );
    assert!(!page.contains("`moa") && !page.contains("moa workflows") && !page.contains("--param"));
    for typed in ["value=\"Not &lt;this&gt;\"", "value=\"keep me\"", "value=\"many\""] {
        assert!(page.contains(typed), "{typed}: {page}");
    }
    for chosen in ["value=\"slow\" selected", "value=\"high\" selected"] {
        assert!(page.contains(chosen), "{chosen}: {page}");
    }
    // What is wrong stands beside its field, and above the form with the way there.
    assert_eq!(page.matches("aria-invalid=\"true\"").count(), 2, "{page}");
    assert!(
        page.contains("aria-describedby=\"p.word-wrong\"") && page.contains("id=\"p.word-wrong\"")
    );
    assert!(page.contains("doesn't match the pattern") && page.contains("is not of type integer"));
    assert!(page.contains("role=\"alert\"") && page.contains("href=\"#p.word\""), "{page}");
    assert_eq!(page.matches(" autofocus").count(), 1, "the first wrong one: {page}");
    let missing = browser.submit(PAGE, START, "p.word=").expect(400).body;
    assert!(missing.contains("it is needed"), "{missing}");
    // It is no page to be asked for again, so nothing looks whether it has changed.
    assert!(!missing.contains("data-live"), "{missing}");
    let params = started(&project, &node, &browser, "p.word=this&p.note=keep+me&p.size=3");
    assert_eq!(params, json!({"word": "this", "note": "keep me", "size": 3}));
}

#[test]
fn an_emptied_field_means_what_it_says() {
    let (project, node) = shop(
        "  word: {type: string, default: x}\n  size: {type: integer, default: 5}\n\
        \x20 none: {type: [integer, 'null'], default: 3}\n  note: {type: string, required: false}\n",
    );
    let browser = Browser::new(&project, &node, "operator");
    let page = browser.page(PAGE);
    for said in [
        "name=\"emptied\" value=\"word\"",
        "name=\"nulled\" value=\"none\"",
        "empty: the default 5 is used",
        "empty: not given",
    ] {
        assert!(page.contains(said), "{said}: {page}");
    }
    let fields = "emptied=word&nulled=none&p.word=&p.size=&p.none=&p.note=";
    let params = started(&project, &node, &browser, fields);
    assert_eq!(params, json!({"word": "", "size": 5, "none": null}));
    // A form that doesn't show a default says nothing of it, and leaves it.
    let params = started(&project, &node, &browser, "p.word=&p.size=&p.none=");
    assert_eq!(params, json!({"word": "x", "size": 5, "none": 3}));
}

#[test]
fn what_was_typed_outlives_every_refusal_of_a_start() {
    let (project, node) = shop("  word: {type: string}\n");
    let browser = Browser::new(&project, &node, "operator");
    let other = browser.submit(PAGE, START, "p.word=mine&priority=odd").expect(400).body;
    assert!(other.contains("value=\"mine\"") && other.contains("is no priority"), "{other}");
    let unknown = browser.submit(PAGE, START, "p.word=mine&p.gone=1").expect(400).body;
    assert!(unknown.contains("value=\"mine\"") && unknown.contains("no param"), "{unknown}");
    started(&project, &node, &browser, "p.word=one&key=same");
    let conflict = browser.submit(PAGE, START, "p.word=two&key=same").expect(409).body;
    assert!(conflict.contains("value=\"two\""), "{conflict}");
}

#[test]
fn a_form_that_is_refused_after_a_doubt_starts_no_second_run() {
    let (project, node) = shop("  word: {type: string, pattern: '^[a-z]+$'}\n");
    let browser = Browser::new(&project, &node, "operator");
    let sent = |fields: &str| {
        let answer = browser.submit(PAGE, START, fields).expect(303);
        answer.header("location").expect("the run").to_owned()
    };
    // It is started, and nobody hears of it.
    let run = sent("p.word=one&key=same");
    let wrong = browser.submit(PAGE, START, "p.word=1&key=same&doubt=yes").expect(400).body;
    for said in ["name=\"key\" value=\"same\"", "name=\"doubt\"", "Nobody knows whether a run"] {
        assert!(wrong.contains(said), "{said}: {wrong}");
    }
    assert!(!wrong.contains("No run was started"), "{wrong}");
    assert_eq!(sent("p.word=one&key=same&doubt=yes"), run);
    // With something else it is another one: the form says so, and starts that when it is sent again.
    let other = browser.submit(PAGE, START, "p.word=two&key=same&doubt=yes").expect(409).body;
    assert!(other.contains("has started a run already"), "{other}");
    assert!(other.contains(&format!("href=\"{run}\"")), "{other}");
    for gone in ["No run was started", "Nobody knows", "name=\"doubt\"", "value=\"same\""] {
        assert!(!other.contains(gone), "{gone}: {other}");
    }
    let key = other.split("name=\"key\" value=\"").nth(1).and_then(|rest| rest.split('"').next());
    assert_ne!(sent(&format!("p.word=two&key={}", key.expect("a key"))), run);
}

#[test]
fn what_a_secret_hides_of_a_schema_is_told_neither_falsely_nor_at_all() {
    let (project, node) = {
        let params = "params:\n  code: {type: string, pattern: '^hunter2two-[0-9]+$', required: true}\n\
            \x20 size: {type: integer, default: 2}\n";
        let project =
            Project::with("shop", &format!("{params}steps: [{{id: one, run: 'true'}}]\n"));
        project.write(".env", "PASS=hunter2two\n");
        project.write("agents/mailer.yaml", "command: [x]\nenv: {P: \"${{ secrets.PASS }}\"}\n");
        let node = project.up();
        (project, node)
    };
    let browser = Browser::new(&project, &node, "operator");
    assert!(browser.page(PAGE).contains("***"), "it is hidden");
    // What fits is not said to be wrong because of what is hidden.
    let fields = "p.code=hunter2two-7&p.size=many";
    let other = browser.submit(PAGE, START, fields).expect(400).body;
    assert_eq!(other.matches("aria-invalid").count(), 1, "{other}");
    assert!(other.contains("href=\"#p.size\"") && !other.contains("href=\"#p.code\""), "{other}");
    // What doesn't is.
    let wrong = browser.submit(PAGE, START, "p.code=guessed&p.size=2").expect(400).body;
    assert!(wrong.contains("href=\"#p.code\"") && wrong.contains("is a secret"), "{wrong}");
    assert!(!wrong.contains("hunter2two"), "{wrong}");
    let missing = browser.submit(PAGE, START, "p.code=&p.size=2").expect(400).body;
    assert!(missing.contains("it is needed") && !missing.contains("is a secret"), "{missing}");
    assert_eq!(
        started(&project, &node, &browser, "p.code=hunter2two-7")["size"],
        2,
        "the schema itself holds"
    );
    // Programs are told no more than people.
    let api = Api::with_role(&project, &node, "operator");
    let run = api.get("/api/v1/runs?limit=1").expect(200).json()["runs"][0]["run"].clone();
    let run = run.as_str().expect("an id");
    api.ended(run);
    let params = json!({"params": {"code": "guessed"}});
    let paths = [format!("/api/v1/runs/{run}/fork"), "/api/v1/workflows/shop/execute".to_owned()];
    for path in paths {
        let told = api.post(&path, &params).expect(400).body;
        assert!(told.contains("`code`") && told.contains("***"), "{path}: {told}");
        assert!(!told.contains("hunter2two"), "{path}: {told}");
    }
}

#[test]
fn a_start_that_the_node_may_have_made_keeps_its_key() {
    let wait = "while [ ! -e go ]; do sleep 0.02; done";
    let text = format!("params: {{word: string}}\nsteps: [{{id: one, run: '{wait}'}}]\n");
    let project = Project::with("shop", &text);
    let node = project.up();
    let browser = Browser::new(&project, &node, "operator");
    project.call(&["run", "shop", "-p", "word=a", "--detach", "-q"]).expect(0);
    project.events().until("step.started", "one");
    // It goes on to answer until what runs has ended.
    signal(node.pid(), Signal::TERM);
    node.until("stopping");
    let page = loop {
        // Until the engine has heard of it.
        let answer = browser.submit(PAGE, START, "p.word=mine&key=sent-key");
        if answer.status != 303 {
            break answer.expect(503).body;
        }
    };
    for said in ["Nobody knows whether a run was started", "starts no second one", "value=\"mine\""]
    {
        assert!(page.contains(said), "{said}: {page}");
    }
    assert!(page.contains("name=\"key\" value=\"sent-key\""), "{page}");
    assert!(!page.contains("No run was started"), "{page}");
    project.write("go", "");
    node.ended();
}
