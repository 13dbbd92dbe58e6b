//! How every page looks, in light and dark, wide and narrow; and whether everybody can use it.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value as Json, json};

use crate::browser::driver::{Browser, is_there};
use crate::http::Api;
use crate::project::{Node, Project, skip};

/// Widths of a desktop and of a phone.
const WIDTHS: [(u32, &str); 2] = [(1280, "desktop"), (390, "phone")];

/// A project in which something of each kind has happened.
fn world() -> (Project, Node, Vec<(String, String)>) {
    let project = Project::of_template("project-build");
    project.workflow("asks", "steps: [{id: release, approve: {title: 'Is it good?'}}]\n");
    project.workflow(
        "breaks",
        "schedule: {cron: '0 9 * * 1-5', timezone: Europe/Berlin}\n\
         steps: [{id: bad, run: 'echo no ink >&2; exit 3', retry: {max_attempts: 1}}]\n",
    );
    project.workflow("typo", "steps: [{id: x, ruin: 'true'}]\n");
    let settings = project.read("moa.yaml");
    let more = "\nalerts: {rules: {disk: {free: 1000TiB}}}\n\
        targets: {tasks_completed: {day: {minimum: 5, target: 900}}}\n";
    let more: Vec<&str> = more
        .lines()
        .filter(|line| {
            let key = line.split(':').next().unwrap_or_default();
            key.is_empty() || !settings.lines().any(|own| own.starts_with(&format!("{key}:")))
        })
        .collect();
    project.write("moa.yaml", &format!("{settings}\n{}\n", more.join("\n")));
    let node = project.up();
    project.call(&["run", "incident-drill", "-q"]);
    project.call(&["run", "breaks", "-q"]).expect(1);
    let api = Api::with_role(&project, &node, "operator");
    let id = |workflow: &str| {
        let asked = json!({"workflow": workflow});
        let said = api.post("/api/v1/runs", &asked).expect(201).json();
        said["run"].as_str().expect("an id").to_owned()
    };
    let asks = id("asks");
    let waits = |document: &Json| document["steps"][0]["status"] == "waiting";
    api.until(&format!("/api/v1/runs/{asks}/steps"), waits);
    for job in ["alerts", "samples", "metrics"] {
        project.call(&["jobs", "run", job]).expect(0);
    }
    let listed = |of: &str| {
        let found = api.get(&format!("/api/v1/runs?workflow={of}&limit=1")).expect(200).json();
        found["runs"][0]["run"].as_str().expect("a run").to_owned()
    };
    let pages = pages(&listed("incident-drill"), &listed("breaks"), &asks);
    (project, node, pages)
}

/// Every page, by the name of its picture.
fn pages(drill: &str, broken: &str, asks: &str) -> Vec<(String, String)> {
    let fixed = [
        ("overview", "/"),
        ("runs", "/runs"),
        ("runs-none", "/runs?status=paused"),
        ("workflows", "/workflows"),
        ("workflow", "/workflows/incident-drill"),
        ("workflow-source", "/workflows/incident-drill/source"),
        ("workflow-broken", "/workflows/typo/source"),
        ("workflow-versions", "/workflows/incident-drill/versions"),
        ("schedules", "/schedules"),
        ("schedule", "/schedules/breaks%2F1"),
        ("backfill", "/schedules/breaks%2F1/backfill?from=2020-01-06&to=2020-01-10"),
        ("calendar", "/calendar"),
        ("agents", "/agents"),
        ("agent", "/agents/shell"),
        ("inbox", "/inbox"),
        ("alerts", "/alerts"),
        ("events", "/events"),
        ("metrics", "/charts"),
        ("production", "/charts/production"),
        ("audit", "/audit"),
        ("settings", "/settings"),
        ("configuration", "/settings/config"),
    ];
    let mut all: Vec<(String, String)> =
        fixed.iter().map(|(name, path)| ((*name).into(), (*path).into())).collect();
    for part in ["", "/timeline", "/history", "/data", "/compare"] {
        all.push((format!("run{}", part.replace('/', "-")), format!("/runs/{drill}{part}")));
    }
    all.push(("run-then".into(), format!("/runs/{drill}?at=5")));
    all.push(("run-waits".into(), format!("/runs/{asks}")));
    all.push(("run-failed".into(), format!("/runs/{broken}")));
    all.push(("step-failed".into(), format!("/runs/{broken}/steps/bad")));
    all.push(("bulk".into(), format!("/runs/bulk?act=retry&run={broken}")));
    all
}

/// Opens a page, and waits until it is drawn.
fn open(browser: &Browser, path: &str) {
    browser.go(path);
    browser.until("return document.readyState === 'complete' && document.querySelector('h1')");
}

#[test]
fn every_page_fits_every_screen_in_light_and_dark() {
    if !is_there("browser_screenshots") {
        return;
    }
    let (project, node, mut pages) = world();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("screenshots");
    fs::create_dir_all(&folder).expect("a folder");
    println!("screenshots are in {}", folder.display());
    let browser = Browser::signed_in(&project, &node, "admin");
    pages.push(("none".into(), "/runs/ffffffff".into()));
    let mut too_wide = Vec::new();
    for (width, kind) in WIDTHS {
        for dark in [false, true] {
            browser.look_like(width, dark);
            for (name, path) in &pages {
                open(&browser, path);
                // Nothing is wider than the screen: what is wide scrolls in its own frame.
                let wide = browser.script("return document.documentElement.scrollWidth");
                let scheme = if dark { "dark" } else { "light" };
                if wide.as_u64() > Some(width.into()) {
                    too_wide.push(format!("{name}-{kind}-{scheme}: {wide}"));
                }
                let file = folder.join(format!("{name}-{kind}-{scheme}.png"));
                fs::write(file, browser.picture()).expect("a picture");
            }
        }
    }
    assert!(too_wide.is_empty(), "wider than the screen: {too_wide:#?}");
}

/// The file of axe-core, where `cargo xtask test` puts it.
fn axe() -> Option<String> {
    let target = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let file = target.parent()?.join("browser/node_modules/axe-core/axe.min.js");
    fs::read_to_string(file).ok()
}

#[test]
fn everybody_can_use_every_page() {
    if !is_there("browser_axe") {
        return;
    }
    let Some(axe) = axe() else { return skip("browser_axe", "axe-core is missing") };
    let (project, node, pages) = world();
    let browser = Browser::signed_in(&project, &node, "admin");
    let mut wrong = Vec::new();
    for (width, _) in WIDTHS {
        for dark in [false, true] {
            browser.look_like(width, dark);
            for (name, path) in &pages {
                open(&browser, path);
                browser.script(&axe);
                let found =
                    browser.script("return axe.run(document, {resultTypes: ['violations']})");
                for violation in found["violations"].as_array().expect("violations") {
                    let impact = violation["impact"].as_str().unwrap_or_default();
                    if !["serious", "critical"].contains(&impact) {
                        continue;
                    }
                    let (id, help) = (&violation["id"], &violation["help"]);
                    let at = &violation["nodes"][0];
                    wrong.push(format!(
                        "{name} ({width}, {}) {id}: {help}\n  {}\n  {}",
                        if dark { "dark" } else { "light" },
                        at["html"],
                        at["failureSummary"]
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} findings\n{}", wrong.len(), wrong.join("\n"));
}
