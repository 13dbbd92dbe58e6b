//! What people do on the dashboard, from the link that signs them in.

use crate::browser::driver::{Browser, is_there};
use crate::http::Api;
use crate::notify::Receiving;
use crate::project::{Node, Project};

/// A workflow that waits for a file, and writes to its log before and after.
const PACK: &str = "name: Pack\nparams:\n  count: {type: integer, minimum: 1, default: 2}\n\
    steps:\n\
    \x20 - {id: wait, run: 'echo before >&2; until [ -e go ]; do sleep 0.02; done; echo behind >&2'}\n\
    \x20 - {id: pack, run: 'echo packed', depends_on: [wait]}\n";
const BROKEN: &str = "steps:\n\
    \x20 - {id: fine, run: 'echo fine'}\n\
    \x20 - {id: bad, run: 'echo no ink >&2; exit 3', depends_on: [fine], retry: {max_attempts: 1}}\n";
const NIGHTLY: &str = "schedule: {cron: '0 3 * * *'}\nsteps: [{id: report, run: 'true'}]\n";

fn shop() -> (Project, Node) {
    let project = Project::with("pack", PACK);
    project.workflow("broken", BROKEN);
    project.workflow("nightly", NIGHTLY);
    let node = project.up();
    (project, node)
}

/// How far things have jumped on the page since it came; what a person does is no jump.
const JUMPS: &str = "return new Promise((done) => { let sum = 0; \
    const watch = new PerformanceObserver((list) => { \
        for (const e of list.getEntries()) if (!e.hadRecentInput) sum += e.value; }); \
    watch.observe({ type: 'layout-shift', buffered: true }); \
    requestAnimationFrame(() => requestAnimationFrame(() => done(sum))); })";

#[test]
fn a_run_is_started_by_a_form_and_watched_to_its_end() {
    if !is_there("browser_start_and_watch") {
        return;
    }
    let (project, node) = shop();
    let browser = Browser::signed_in(&project, &node, "operator");
    browser.keys("gw");
    browser.until("return location.pathname === '/workflows'");
    browser.click("main a[href='/workflows/pack']");
    browser.write("input[name='p.count']", "3");
    browser.click("form[action='/workflows/pack/start'] button.primary");
    browser.until("return /^\\/runs\\/[0-9a-f]/.test(location.pathname)");
    let run = browser.path();
    browser.until("return document.querySelector('header.title .status.running')");
    // It is the same page to the end: it is not loaded again, and nothing jumps.
    browser.script("window.same = true; document.querySelector('.actions summary').focus()");
    project.write("go", "");
    browser.until("return document.querySelector('header.title .status.succeeded')");
    assert_eq!(browser.script("return window.same"), true);
    // The button that had the focus is gone: the next key goes on from the page, not from its frame.
    browser.until("return document.activeElement.id === 'main'");
    let jumps = browser.script(JUMPS).as_f64().expect("a number");
    assert!(jumps < 0.1, "things jumped by {jumps}");
    let api = Api::with_role(&project, &node, "viewer");
    let document = api.get(&format!("/api/v1{run}/document")).expect(200).json();
    assert_eq!(document["params"]["count"], 3);
    browser.is_clean();
    // The link was for one time.
    browser.click("form.who button");
    browser.until("return location.pathname === '/sign-in'");
    browser.go(&run);
    browser.until("return location.pathname === '/sign-in'");
}

#[test]
fn a_form_that_is_refused_is_mended_and_sent_again() {
    if !is_there("browser_form_refused") {
        return;
    }
    let (project, node) = shop();
    let browser = Browser::signed_in(&project, &node, "operator");
    browser.go("/workflows/pack");
    browser.write("input[name='p.count']", "0");
    // As if the browser had not seen it.
    browser.script("document.querySelector('form[action$=start]').noValidate = true");
    browser.click("form[action='/workflows/pack/start'] button.primary");
    browser.until_says("No run was started");
    let focused = "return document.activeElement.name === 'p.count' \
        && document.activeElement.value === '0' \
        && document.getElementById(document.activeElement.getAttribute('aria-describedby'))";
    browser.until(focused);
    // Nothing asks for the answer of a form again.
    assert_eq!(browser.script("return document.body.classList.contains('lost')"), false);
    browser.write("input[name='p.count']", "3");
    browser.click("form[action='/workflows/pack/start'] button.primary");
    browser.until("return /^\\/runs\\/[0-9a-f]/.test(location.pathname)");
    project.write("go", "");
}

#[test]
fn a_failed_step_is_found_read_and_tried_again() {
    if !is_there("browser_failed_step") {
        return;
    }
    let (project, node) = shop();
    project.call(&["run", "broken", "-q"]).expect(1);
    let browser = Browser::signed_in(&project, &node, "operator");
    browser.until_says("Failed lately");
    browser.click("main a[href='/runs?status=failed']");
    browser.until("return location.search === '?status=failed'");
    browser.keys("j");
    browser.until("return document.activeElement.closest('tr[data-to]')");
    browser.keys("\u{e007}");
    browser.until("return /^\\/runs\\/[0-9a-f]/.test(location.pathname)");
    let failed = browser.path();
    browser.click("a[href$='/steps/bad']");
    browser.until("return document.querySelector('pre.log')?.textContent.includes('no ink')");
    browser.go(&failed);
    project.workflow("broken", &BROKEN.replace("exit 3", "exit 0"));
    browser.confirm("Retry");
    browser.until(&format!(
        "return location.pathname.startsWith('/runs/') && location.pathname !== '{failed}'"
    ));
    browser
        .until("return document.querySelector('header.title .status.failed, .status.succeeded')");
    browser.until_says("fine");
    browser.is_clean();
}

#[test]
fn a_log_grows_while_it_is_read_and_a_run_is_cancelled() {
    if !is_there("browser_log_and_cancel") {
        return;
    }
    let (project, node) = shop();
    let api = Api::with_role(&project, &node, "operator");
    let asked = serde_json::json!({"workflow": "pack"});
    let run = api.post("/api/v1/runs", &asked).expect(201).json()["run"].clone();
    let run = run.as_str().expect("an id");
    let browser = Browser::signed_in(&project, &node, "operator");
    api.until(&format!("/api/v1/runs/{run}/steps"), |all| all["steps"][0]["status"] == "running");
    browser.go(&format!("/runs/{run}/steps/wait"));
    browser.until("return document.querySelector('pre.log')?.textContent.includes('before')");
    browser.script("window.same = true");
    project.write("go", "");
    browser.until("return document.querySelector('pre.log')?.textContent.includes('behind')");
    assert_eq!(browser.script("return window.same"), true);
    api.ended(run);
    std::fs::remove_file(project.root.join("go")).expect("it is there");
    let asked = serde_json::json!({"workflow": "pack"});
    let run = api.post("/api/v1/runs", &asked).expect(201).json()["run"].clone();
    browser.go(&format!("/runs/{}", run.as_str().expect("an id")));
    browser.confirm("Cancel");
    browser.until("return document.querySelector('header.title .status.cancelled')");
    browser.is_clean();
}

#[test]
fn a_schedule_is_paused_and_a_token_revoked() {
    if !is_there("browser_pause_and_revoke") {
        return;
    }
    let (project, node) = shop();
    let browser = Browser::signed_in(&project, &node, "admin");
    browser.keys("gs");
    browser.until("return location.pathname === '/schedules'");
    browser.click("main table a[href^='/schedules/nightly']");
    browser.until("return document.querySelector('header.title .status.active')");
    browser.confirm("Pause");
    browser.until("return document.querySelector('header.title .status.paused')");
    let ci = Api::with_role(&project, &node, "viewer");
    ci.get("/api/v1/me").expect(200);
    browser.keys("gt");
    browser.until("return location.pathname === '/settings'");
    browser.until_says("viewer");
    let mark = "const row = [...document.querySelectorAll('tr[data-key]')].find((row) => \
        row.cells[0].textContent.trim() === 'viewer'); row.id = 'here'; return true";
    browser.until(mark);
    browser.click("#here details.ask > summary");
    browser.click("#here details.ask form button");
    browser.until("return location.pathname === '/settings' && !document.getElementById('here')");
    ci.get("/api/v1/me").expect(401);
    browser.is_clean();
}

#[test]
fn what_happens_shows_by_itself_and_nothing_is_lost_that_is_being_written() {
    if !is_there("browser_live") {
        return;
    }
    let (project, node) = shop();
    let browser = Browser::signed_in(&project, &node, "operator");
    browser.until_says("No runs yet");
    browser.script("window.same = true");
    project.call(&["run", "broken", "-q"]).expect(1);
    browser.until("return document.querySelector('main tr[data-to^=\"/runs/\"]')");
    browser.go("/runs");
    browser.write("input[type=search]", "brok");
    browser.script("window.same = true");
    project.call(&["run", "broken", "-q"]).expect(1);
    browser.until("return document.querySelectorAll('main tr[data-to]').length === 2");
    let search = "return document.querySelector('input[type=search]').value";
    assert_eq!(browser.script(search), "brok");
    assert_eq!(browser.script("return window.same"), true);
    browser.is_clean();
}

#[test]
fn a_webhook_is_tried_and_what_it_refused_is_delivered() {
    if !is_there("browser_webhooks") {
        return;
    }
    let receiver = Receiving::new(|n| Some(if n == 0 { "400 Bad" } else { "200 OK" }));
    let project = Project::with("pack", PACK);
    project.write("moa.yaml", &format!("webhooks: {{billing: {{url: '{}'}}}}\n", receiver.url));
    let node = project.up();
    let browser = Browser::signed_in(&project, &node, "operator");
    browser.keys("gh");
    browser.until("return location.pathname === '/webhooks'");
    browser.click("main table a[href='/webhooks/billing']");
    browser.until("return document.querySelector('header.title .status.active')");
    browser.confirm("Test");
    // What came of it shows by itself.
    browser.until("return document.querySelector('main td .status.dead')");
    browser.until("return document.querySelector('header.title summary.danger')");
    browser.click("main nav.chips a[href$='?dead=true']");
    browser.until("return location.search === '?dead=true'");
    browser.click("main td details.ask summary");
    browser.click("main td details.ask[open] button.primary");
    browser.until("return document.querySelector('main td .status.delivered')");
    assert_eq!(receiver.next().id, receiver.next().id);
    browser.is_clean();
}

#[test]
fn an_agent_is_watched_paused_drained_and_tested() {
    if !is_there("browser_agent") {
        return;
    }
    let (project, node) = shop();
    let waits = "command: [sh, -c, 'until [ -e go ]; do sleep 0.02; done; echo printed']\n";
    project.write("agents/press.yaml", waits);
    project.workflow("prints", "steps: [{id: print, agent: press, action: print}]\n");
    let api = Api::with_role(&project, &node, "operator");
    let asked = serde_json::json!({"workflow": "prints"});
    let run = api.post("/api/v1/runs", &asked).expect(201).json()["run"].clone();
    let run = run.as_str().expect("an id");
    api.until("/api/v1/agents/press", |agent| agent["instances"][0]["pid"].is_number());
    let browser = Browser::signed_in(&project, &node, "admin");
    browser.keys("ga");
    browser.until("return location.pathname === '/agents'");
    browser.click("main a[href='/agents/press']");
    browser.until_says("prints / print");
    browser.until("return /pid \\d+/.test(document.querySelector('#instances').innerText)");
    browser.confirm("Pause");
    browser.until("return document.querySelector('header.title .status.paused')");
    browser.until_says("It drains: 1 attempt of it still runs");
    project.write("go", "");
    api.ended(run);
    browser.until_says("Nothing of it runs just now");
    browser.confirm("Resume");
    browser.until("return document.querySelector('header.title .status.free')");
    browser.confirm("Drain");
    browser.until("return document.querySelector('header.title .status.paused')");
    browser.click("details[data-key$=' Test'] > summary");
    browser.write("#test-action", "print");
    browser.click("form[action='/agents/press/test'] button");
    browser.until_says("Newest test");
    browser.until("return document.querySelector('main .status.succeeded')");
    browser.until("return document.querySelector('pre.log').textContent.includes('printed')");
    browser.is_clean();
}

#[test]
fn everything_can_be_reached_with_keys() {
    if !is_there("browser_keys") {
        return;
    }
    let (project, node) = shop();
    let browser = Browser::signed_in(&project, &node, "operator");
    browser.go("/runs");
    browser.until("return document.readyState === 'complete' && document.querySelector('h1')");
    // The first stop is the way past the pages' names, and it is seen there.
    browser.keys("\u{e004}");
    let seen = "const at = document.activeElement; const box = at.getBoundingClientRect(); \
        return at.classList.contains('skip') && box.left >= 0 && box.top >= 0";
    browser.until(seen);
    browser.keys("\u{e007}");
    browser.until("return document.activeElement.id === 'main'");
    // Every other stop shows that it is one.
    let marked = "const style = getComputedStyle(document.activeElement); \
        return style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 1";
    for _ in 0..6 {
        browser.keys("\u{e004}");
        assert_eq!(browser.script(marked), true, "{}", browser.text());
    }
    browser.script("document.activeElement.blur()");
    browser.keys("?");
    browser.until("return document.querySelector('dialog[open]')?.innerText.includes('search')");
    browser.keys("\u{e00c}");
    browser.until("return !document.querySelector('dialog[open]')");
    browser.keys("/");
    browser.until("return document.activeElement.type === 'search'");
    browser.is_clean();
}
