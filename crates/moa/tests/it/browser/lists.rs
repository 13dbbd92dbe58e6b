//! Lists, tables and drawings that are longer or wider than the screen.

use serde_json::json;

use crate::browser::driver::{Browser, is_there};
use crate::http::Api;
use crate::project::Project;

const SAYS: &str = "steps: [{id: one, agent: noop, action: say, params: {a: 1}}]\n";

fn ran(api: &Api, workflow: &str) -> String {
    let run = api.post("/api/v1/runs", &json!({"workflow": workflow})).expect(201).json();
    let run = run["run"].as_str().expect("an id").to_owned();
    api.ended(&run);
    run
}

#[test]
fn what_is_done_with_checked_runs_can_be_reached_from_everywhere_in_the_list() {
    if !is_there("browser_bulk") {
        return;
    }
    let project = Project::with("says", SAYS);
    let node = project.up();
    let api = Api::with_role(&project, &node, "operator");
    for _ in 0..35 {
        ran(&api, "says");
    }
    let browser = Browser::signed_in(&project, &node, "operator");
    browser.look_like(1280, false);
    browser.go("/runs");
    let seen = "const b = document.querySelector('.bulk').getBoundingClientRect(); \
        return b.top > 0 && b.bottom <= innerHeight";
    browser.until("return document.querySelectorAll('input[name=run]').length === 35");
    assert_eq!(browser.script(seen), false, "nothing is checked");
    let says = |words: &str| {
        browser.until(&format!(
            "return document.querySelector('.bulk').innerText.includes('{words}')"
        ));
        assert_eq!(browser.script(seen), true, "{words}");
    };
    browser.click("input[name=run]");
    says("1 chosen");
    browser.click("tr:nth-child(3) input[name=run]");
    says("2 chosen");
    browser.click("input[data-all]");
    says("35 chosen");
    browser.click("input[data-all]");
    browser.until("return !document.querySelector('.bulk').innerText.includes('chosen')");
    assert_eq!(browser.script(seen), false, "nothing is checked any more");
    browser.click("input[name=run]");
    browser.click(".bulk button");
    browser.until("return location.pathname === '/runs/bulk'");
    browser.is_clean();
}
