//! Nothing jumps when a page changes: what somebody points at, touches or reads stays where it is.

use serde_json::json;

use crate::browser::driver::{Browser, is_there};
use crate::http::Api;
use crate::project::{Node, Project};

/// A desktop and a phone.
const WIDTHS: [u32; 2] = [1280, 390];

/// A run goes on until there is a file for its param.
const WAITS: &str = "params: {file: {type: string}}\n\
    steps: [{id: wait, run: 'until [ -e \"$F\" ]; do sleep 0.02; done', env: {F: '${{ params.file }}'}}]\n";
const BROKEN: &str = "steps: [{id: bad, run: 'exit 3', retry: never}]\n";

fn shop() -> (Project, Node, Api) {
    let project = Project::with("waits", WAITS);
    project.workflow("broken", BROKEN);
    let node = project.up();
    let api = Api::with_role(&project, &node, "operator");
    (project, node, api)
}

/// Starts a run of a workflow that goes on, and answers its id.
fn start(api: &Api, file: &str) -> String {
    let asked = json!({"workflow": "waits", "params": {"file": file}});
    let run = api.post("/api/v1/runs", &asked).expect(201).json()["run"].clone();
    run.as_str().expect("an id").to_owned()
}

fn starts(api: &Api, count: usize) -> Vec<String> {
    (0..count).map(|_| start(api, "go")).collect()
}

fn failed(api: &Api, count: usize) {
    for _ in 0..count {
        let asked = json!({"workflow": "broken"});
        let run = api.post("/api/v1/runs", &asked).expect(201).json()["run"].clone();
        api.ended(run.as_str().expect("an id"));
    }
}

/// Waits until the page shows a run.
fn shows(browser: &Browser, run: &str) {
    browser.until(&format!("return document.querySelector('main tr[data-to=\"/runs/{run}\"]')"));
}

/// The middle of what a script finds, on the screen.
fn middle(browser: &Browser, find: &str) -> (i64, i64) {
    let at = format!(
        "const node = window.node = {find}; if (!node) return false; \
         const seen = (b) => b.top >= 0 && b.bottom <= innerHeight; \
         if (!seen(node.getBoundingClientRect())) node.scrollIntoView({{ block: 'center' }}); \
         const b = node.getBoundingClientRect(); \
         return [Math.round(b.left + b.width / 2), Math.round(b.top + b.height / 2)]"
    );
    let at = browser.until(&at);
    (at[0].as_i64().expect("a number"), at[1].as_i64().expect("a number"))
}

/// What is found has the pointer on it: with a mouse, or with a finger on a phone. Answers where.
fn lay_hand(browser: &Browser, width: u32, find: &str) -> (i64, i64) {
    let at = middle(browser, find);
    if width < 760 {
        browser.touch(at)
    } else {
        browser.point(at)
    }
    at
}

/// The same is still there.
#[track_caller]
fn is_still(browser: &Browser, (x, y): (i64, i64), what: &str) {
    let seen = browser.script(&format!(
        "const b = window.node.getBoundingClientRect(); \
         return [window.node.contains(document.elementFromPoint({x}, {y})), b.top + b.height / 2 - {y}]"
    ));
    let moved = seen[1].as_f64().expect("a number").abs();
    assert!(
        seen[0] == true && moved < 2.0,
        "{what}: moved by {moved} px, {seen}\n{}",
        browser.text()
    );
}

/// A link in a section of the overview.
fn link_in(section: &str, n: usize) -> String {
    format!(
        "[...document.querySelectorAll('main section')].find((s) => s.innerText.includes('{section}'))\
         ?.querySelectorAll('tr[data-to] a')[{n}]"
    )
}

#[test]
fn runs_that_start_and_fail_move_nothing_on_the_overview() {
    if !is_there("browser_still_overview") {
        return;
    }
    for width in WIDTHS {
        let (project, node, api) = shop();
        failed(&api, 2);
        let before = starts(&api, 2);
        let browser = Browser::signed_in(&project, &node, "operator");
        browser.look_like(width, false);
        browser.go("/");
        browser.script("window.same = true");
        // Nobody points at anything: what is below stays where it is.
        // Only what stands below the fleet on a phone follows that: it lists the agents that are busy.
        let tops = "return [...document.querySelectorAll('main section:not([data-key=next])')].map((s) => \
            Math.round(s.getBoundingClientRect().top + scrollY))";
        let was = browser.until(tops);
        let row = middle(&browser, &link_in("Running now", 0));
        let new = starts(&api, 2);
        shows(&browser, &new[1]);
        assert_eq!(browser.script(tops), was, "at {width}");
        is_still(&browser, row, &format!("a row that nobody points at, at {width}"));
        // With a pointer on a link.
        let at = lay_hand(&browser, width, &link_in("Failed lately", 0));
        let new = starts(&api, 1);
        shows(&browser, &new[0]);
        is_still(&browser, at, &format!("a failed run at {width}"));
        failed(&api, 1);
        browser.until("return document.querySelectorAll('section tr[data-key]:not(.blank) .error').length === 3");
        is_still(&browser, at, &format!("a failed run when another one fails at {width}"));
        let at = lay_hand(&browser, width, &link_in("Running now", 1));
        let new = starts(&api, 1);
        shows(&browser, &new[0]);
        is_still(&browser, at, &format!("a running run at {width}"));
        // What is pointed at has ended: no other run comes under the pointer.
        project.write("go", "");
        before.iter().for_each(|run| drop(api.ended(run)));
        browser.until("return document.body.classList.contains('held')");
        is_still(&browser, at, &format!("a run that has ended at {width}"));
        let away = middle(&browser, "document.querySelector('main h1')");
        if width < 760 {
            browser.touch(away)
        } else {
            browser.point(away)
        }
        browser.until("return document.body.innerText.includes('Nothing runs')");
        assert_eq!(browser.script(tops), was, "at {width}");
        assert_eq!(browser.script("return window.same"), true);
        browser.is_clean();
    }
}

#[test]
fn runs_that_start_move_no_row_of_the_list_that_is_pointed_at() {
    if !is_there("browser_still_runs") {
        return;
    }
    for width in WIDTHS {
        let (project, node, api) = shop();
        starts(&api, 2);
        let browser = Browser::signed_in(&project, &node, "operator");
        browser.look_like(width, false);
        browser.go("/runs?status=open");
        browser.script("window.same = true");
        // The list is shorter than the screen.
        let at = lay_hand(&browser, width, "document.querySelectorAll('tr[data-to] .id')[1]");
        let new = starts(&api, 3);
        shows(&browser, &new[2]);
        is_still(&browser, at, &format!("a row of a short list at {width}"));
        let new = starts(&api, 3);
        shows(&browser, &new[2]);
        is_still(&browser, at, &format!("a row of a longer list at {width}"));
        assert_eq!(browser.script("return window.same"), true);
        browser.is_clean();
    }
}

#[test]
fn what_would_go_away_below_a_pointer_waits_until_that_points_elsewhere() {
    if !is_there("browser_still_held") {
        return;
    }
    for width in WIDTHS {
        let (project, node, api) = shop();
        let old = start(&api, "never");
        let new = start(&api, "soon");
        let browser = Browser::signed_in(&project, &node, "operator");
        browser.look_like(width, false);
        browser.go("/runs?status=open");
        // What is above it goes, and the page can't be scrolled further up.
        let find = format!("document.querySelector('tr[data-to=\"/runs/{old}\"] .id')");
        let at = lay_hand(&browser, width, &find);
        project.write("soon", "");
        api.ended(&new);
        browser.until("return document.body.classList.contains('held')");
        is_still(&browser, at, &format!("the second of two at {width}"));
        let away = middle(&browser, "document.querySelector('main h1')");
        if width < 760 {
            browser.touch(away)
        } else {
            browser.point(away)
        }
        browser.until("return document.querySelectorAll('tr[data-to]').length === 1");
        browser.until("return !document.body.classList.contains('held')");
        browser.is_clean();
    }
}

/// Presses a key on what has the focus.
const PRESS: &str = "const node = document.querySelector('FIND'); node.focus(); \
    node.dispatchEvent(new KeyboardEvent('keydown', { key: 'Shift', bubbles: true }));";

#[test]
fn what_has_the_focus_keeps_the_page_only_as_long_as_somebody_may_be_there() {
    if !is_there("browser_still_focus") {
        return;
    }
    let (project, node, api) = shop();
    let old = start(&api, "never");
    let new = start(&api, "soon");
    let browser = Browser::signed_in(&project, &node, "operator");
    browser.go("/runs?status=open");
    shows(&browser, &old);
    browser.script(&PRESS.replace("FIND", &format!("tr[data-to=\"/runs/{old}\"] a")));
    project.write("soon", "");
    api.ended(&new);
    browser.until("return document.body.classList.contains('held')");
    let said = browser.script("return document.querySelector('[role=status].notice').textContent");
    assert_eq!(said, "Something newer waits until you move on.");
    assert_eq!(browser.script("return document.querySelectorAll('tr[data-to]').length"), 2);
    // An hour later nobody has pressed anything.
    browser.script(
        "const now = Date.now; Date.now = () => now() + 3600000; \
         document.dispatchEvent(new Event('visibilitychange'));",
    );
    browser.until("return !document.body.classList.contains('held')");
    let rest = format!("return document.querySelector('tr[data-to=\"/runs/{new}\"]')");
    assert_eq!(browser.script(&rest), json!(null));
    browser.is_clean();
}
