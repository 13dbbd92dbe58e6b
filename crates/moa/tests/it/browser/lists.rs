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

#[test]
fn a_long_list_in_a_workflow_leaves_room_for_the_rest_of_the_steps() {
    if !is_there("browser_long_foreach") {
        return;
    }
    let items: Vec<String> = (0..60).map(|i| format!("invoice-of-customer-{i}")).collect();
    let steps = format!(
        "steps:\n- id: each\n\x20 foreach: {{in: {}, as: item}}\n\
         \x20 steps: [{{id: tell, emit: {{type: told, data: {{item: '${{{{ item }}}}'}}}}}}]\n",
        json!(items)
    );
    let project = Project::with("long", &steps);
    let node = project.up();
    let run = ran(&Api::with_role(&project, &node, "operator"), "long");
    let browser = Browser::signed_in(&project, &node, "operator");
    browser.look_like(1280, false);
    browser.go(&format!("/runs/{run}"));
    let table = "const table = document.querySelector('.table table'); if (!table) return false;";
    let room = format!("{table} return [table.scrollWidth, table.parentElement.clientWidth]");
    let room = browser.until(&room);
    assert!(room[0].as_i64() <= room[1].as_i64(), "table and room: {room}");
    let whole = format!(
        "{table} return [...table.querySelectorAll('td')].some((cell) => cell.title.includes('invoice-of-customer-59'))"
    );
    assert_eq!(browser.script(&whole), true, "all of it on hover");
    browser.is_clean();
}

#[test]
fn the_words_below_the_last_runs_stand_apart_from_the_bars() {
    if !is_there("browser_last_runs") {
        return;
    }
    let project = Project::with("says", SAYS);
    let node = project.up();
    ran(&Api::with_role(&project, &node, "operator"), "says");
    let browser = Browser::signed_in(&project, &node, "operator");
    for width in [1280, 390] {
        browser.look_like(width, false);
        browser.go("/");
        let room = browser.until(
            "return document.querySelector('.bars + .facts').getBoundingClientRect().top \
                - document.querySelector('.bars').getBoundingClientRect().bottom",
        );
        assert!(room.as_f64() >= Some(6.0), "{room} px at {width}");
    }
}
