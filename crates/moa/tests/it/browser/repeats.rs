//! What people do with runs that have ended, and with the list of them.

use crate::browser::driver::{Browser, is_there};
use crate::http::Api;
use crate::project::Project;

const PACK: &str = "params:\n  size: {type: integer, minimum: 1, default: 1}\n\
    \x20 notes: {type: string, required: false}\n\
    steps:\n\
    \x20 - {id: one, run: 'echo one >> made'}\n\
    \x20 - {id: two, run: 'echo ${{ params.size }}', depends_on: [one]}\n";

#[test]
fn a_run_is_made_anew_with_other_params_and_compared() {
    if !is_there("browser_fork") {
        return;
    }
    let project = Project::with("pack", PACK);
    let node = project.up();
    project.call(&["run", "pack", "-p", "size=2", "-p", "notes=first\nsecond", "-q"]).expect(0);
    let first = project.call(&["runs", "show", "last", "--json"]).expect(0).json();
    let first = first["run"].as_str().expect("an id").to_owned();
    let browser = Browser::signed_in(&project, &node, "operator");
    browser.go(&format!("/runs/{first}/steps/two"));
    browser.click(&format!("a[href='/runs/{first}/fork?from=two']"));
    browser.until("return document.querySelector('select[name=from]')?.value === 'two'");
    browser.until("return document.querySelector('[name=\"p.notes\"]').value === 'first\\nsecond'");
    browser.until("return document.querySelector('[name=\"p.size\"]').value === '2'");
    browser.script("document.querySelector('[name=\"p.size\"]').value = ''");
    browser.write("[name='p.size']", "7");
    browser.click("details.sure > summary");
    browser.click("details.sure[open] button.primary");
    browser.until(&format!(
        "return /^\\/runs\\/[0-9a-f-]+$/.test(location.pathname) && location.pathname !== '/runs/{first}'"
    ));
    browser.until("return document.querySelector('header.title .status.succeeded')");
    let new = browser.path();
    let api = Api::with_role(&project, &node, "viewer");
    let document = api.get(&format!("/api/v1{new}/document")).expect(200).json();
    let wanted = serde_json::json!({"size": 7, "notes": "first\nsecond"});
    assert_eq!((&document["params"], &document["forked_from"]), (&wanted, &first.into()));
    assert_eq!(project.read("made"), "one\n", "the first step was taken over");
    browser.click(&format!("a[href='{new}/compare']"));
    browser.until_says("1 step differs");
    browser.until("return document.querySelector('.diff .line.bad')?.textContent.includes('2')");
    browser.until("return document.querySelector('.diff .line.add')?.textContent.includes('7')");
    // What is the same is folded until somebody wants it.
    let hidden = "return !document.querySelector('details[data-key=same] table').checkVisibility()";
    assert_eq!(browser.script(hidden), true);
    browser.click("details[data-key=same] > summary");
    browser
        .until("return document.querySelector('details[data-key=same] table').checkVisibility()");
    browser.is_clean();
}

#[test]
fn events_that_fit_a_filter_show_by_themselves() {
    if !is_there("browser_events") {
        return;
    }
    let project = Project::with("pack", PACK);
    project.workflow("broken", "steps: [{id: bad, run: 'exit 3', retry: never}]\n");
    let node = project.up();
    project.call(&["run", "broken", "-q"]).expect(1);
    let browser = Browser::signed_in(&project, &node, "viewer");
    browser.go("/events");
    browser.write("#types", "run.failed");
    browser.script("document.querySelector('#workflow').value = 'broken'");
    browser.click("form[action='/events'] button");
    browser.until("return new URLSearchParams(location.search).get('workflow') === 'broken'");
    let rows = |count: usize| {
        format!("return document.querySelectorAll('main tbody tr').length === {count}")
    };
    browser.until(&rows(1));
    browser.script("window.same = true");
    project.call(&["run", "pack", "-q"]).expect(0);
    project.call(&["run", "broken", "-q"]).expect(1);
    browser.until(&rows(2));
    assert_eq!(browser.script("return window.same"), true, "the page is not loaded again");
    assert_eq!(browser.script("return document.querySelector('#types').value"), "run.failed");
    // The address leads to the same.
    let address = browser.script("return location.pathname + location.search");
    browser.go(address.as_str().expect("an address"));
    browser.until(&rows(2));
    browser.is_clean();
}

#[test]
fn a_view_of_the_list_is_saved_opened_and_deleted() {
    if !is_there("browser_views") {
        return;
    }
    let project = Project::with("pack", PACK);
    project.workflow("broken", "steps: [{id: bad, run: 'exit 3', retry: never}]\n");
    let node = project.up();
    project.call(&["run", "pack", "-q"]).expect(0);
    project.call(&["run", "broken", "-q"]).expect(1);
    let browser = Browser::signed_in(&project, &node, "operator");
    browser.go("/runs");
    browser.click("nav[aria-label='By status'] a[href='/runs?status=failed']");
    browser.until("return location.search === '?status=failed'");
    browser.click("nav[aria-label='Saved views'] details.ask > summary");
    browser.write("#view-name", "What failed");
    browser.click("nav[aria-label='Saved views'] details.ask[open] button.primary");
    let chip = "nav[aria-label='Saved views'] a[href='/runs?status=failed']";
    let at = |current: bool| {
        let is = if current { "=== 'true'" } else { "!== 'true'" };
        format!(
            "const chip = document.querySelector(\"{chip}\"); \
             return chip?.textContent === 'What failed' && chip.getAttribute('aria-current') {is}"
        )
    };
    browser.until(&at(true));
    // It stands above the list of everybody, whatever that shows.
    browser.go("/runs");
    browser.until(&at(false));
    assert_eq!(browser.script("return document.querySelectorAll('main tr[data-to]').length"), 2);
    browser.click(chip);
    browser.until("return location.search === '?status=failed'");
    browser.until("return document.querySelectorAll('main tr[data-to]').length === 1");
    browser.click("nav[aria-label='Saved views'] details.ask > summary");
    browser.click("nav[aria-label='Saved views'] details.ask[open] button.danger");
    browser.until("return location.pathname === '/runs' && location.search === ''");
    browser.until(&format!("return !document.querySelector(\"{chip}\")"));
    let api = Api::with_role(&project, &node, "viewer");
    assert_eq!(api.get("/api/v1/views").expect(200).json()["views"], serde_json::json!([]));
    browser.is_clean();
}
