//! How every page looks, in light and dark, wide and narrow; whether everybody can use it; and that
//! no browser has anything against it.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::browser::driver::{Browser, is_there};
use crate::every_page::{Busy, Shown, Way, new_project};
use crate::every_state::States;
use crate::project::{Node, Project, skip};

/// Widths of a desktop and of a phone.
const WIDTHS: [(u32, &str); 2] = [(1280, "desktop"), (390, "phone")];

/// What is wrong with what is drawn: something is wider than the screen (what is wide scrolls in its own
/// frame), moves although that is not wanted, or is a time without the exact one to hover over.
const FAULTS: &str = "const all = [];
    // A phone zooms out of what is too wide, and says that its window is as wide.
    const { scrollWidth, clientWidth } = document.documentElement, wide = scrollWidth - clientWidth;
    if (wide > 0) all.push(`${wide} px wider than the screen`);
    if (document.getAnimations().length > 0) all.push('it moves');
    for (const time of document.querySelectorAll('time'))
        if (!time.title || !time.dateTime) all.push(`no exact time: ${time.outerHTML}`);
    return all;";

/// Sends a form, as somebody does who has filled it in.
const SEND: &str = "const form = document.querySelector(`form[action='${ACTION}']`); \
    for (const [name, value] of FIELDS) form.elements[name].value = value; \
    window.was = true; form.submit();";

/// Opens a page, and waits until it is drawn.
fn open(browser: &Browser, page: &Shown) {
    let drawn = "document.readyState === 'complete' && document.querySelector('h1')";
    browser.go(&page.path);
    browser.until(&format!("return {drawn}"));
    if let Way::Form(action, fields) = page.way {
        let send = SEND.replace("FIELDS", &json!(fields).to_string());
        browser.script(&send.replace("${ACTION}", action));
        browser.until(&format!("return !window.was && {drawn}"));
    }
}

/// Whether a page is looked at: `MOA_TEST_PAGES=audit,run` has only those looked at that begin so.
fn is_asked_for(page: &&Shown) -> bool {
    let asked = std::env::var("MOA_TEST_PAGES").unwrap_or_default();
    asked.split(',').any(|start| page.name.starts_with(start))
}

/// Looks at pages on each screen, in light and dark.
fn look_at(
    (project, node): (&Project, &Node),
    pages: &[Shown],
    mut look: impl FnMut(&Browser, &Shown, &str),
) {
    let browser = Browser::start(node);
    let (known, strange): (Vec<_>, Vec<_>) = pages
        .iter()
        .filter(is_asked_for)
        .partition(|page| page.way == Way::SignedIn || !page.path.starts_with("/sign"));
    let mut on = |browser: &Browser, pages: &[&Shown]| {
        for (width, kind) in WIDTHS {
            for page in pages {
                browser.look_like(width, false);
                open(browser, page);
                for scheme in ["light", "dark"] {
                    browser.look_like(width, scheme == "dark");
                    look(browser, page, &format!("{}-{kind}-{scheme}", page.name));
                }
            }
        }
    };
    on(&browser, &strange);
    browser.sign_in(project, "admin");
    on(&browser, &known);
}

/// All pages of a project that was used, and of a new one.
fn look_at_all(mut look: impl FnMut(&Browser, &Shown, &str)) {
    let busy = Busy::new();
    look_at((&busy.project, &busy.node), &busy.pages(), &mut look);
    drop(busy);
    let states = States::new();
    look_at((&states.project, &states.node), &states.pages(), &mut look);
    drop(states);
    let (project, node, pages) = new_project();
    look_at((&project, &node), &pages, look);
}

#[test]
fn every_page_fits_every_screen_in_light_and_dark() {
    if !is_there("browser_screenshots") {
        return;
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("screenshots");
    fs::create_dir_all(&folder).expect("a folder");
    println!("screenshots are in {}", folder.display());
    let (mut faults, mut complaints) = (Vec::new(), Vec::new());
    look_at_all(|browser, page, name| {
        let found = browser.script(FAULTS);
        faults.extend(found.as_array().expect("faults").iter().map(|one| format!("{name}: {one}")));
        fs::write(folder.join(format!("{name}.png")), browser.picture()).expect("a picture");
        // A browser says itself that an answer was no good one.
        let is_own = |line: &String| {
            let status = format!("responded with a status of {} ", page.status);
            page.status >= 400 && line.contains(&status)
        };
        let said = browser.complaints().into_iter().filter(|line| !is_own(line));
        complaints.extend(said.map(|line| format!("{name}: {line}")));
    });
    assert!(faults.is_empty(), "{faults:#?}");
    assert!(complaints.is_empty(), "{complaints:#?}");
}

/// In how many rows the fields of the filter stand.
const ROWS: &str = "const fields = document.querySelectorAll('form.filter > :not(.unseen)');
    const middle = (field) => { const { top, bottom } = field.getBoundingClientRect(); return top + bottom; };
    return [fields.length, new Set([...fields].map((field) => Math.round(middle(field) / 8))).size];";

#[test]
fn the_filter_of_events_stands_in_one_row_of_a_desktop() {
    if !is_there("browser_filter") {
        return;
    }
    let steps = "steps: [{id: one, run: 'true'}]\n";
    let project = Project::with("reports-of-all-departments-at-night", steps);
    let node = project.up();
    let browser = Browser::start(&node);
    browser.sign_in(&project, "admin");
    // With and without room for a scroll bar.
    for width in [WIDTHS[0].0, WIDTHS[0].0 - 16] {
        browser.look_like(width, false);
        browser.go("/events");
        browser.until("return document.querySelector('form.filter .button')");
        assert_eq!(browser.script(ROWS), json!([10, 1]), "fields and rows at {width} px");
    }
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
    let mut wrong = Vec::new();
    look_at_all(|browser, _, name| {
        browser.script(&axe);
        let found = browser.script("return axe.run(document, {resultTypes: ['violations']})");
        for violation in found["violations"].as_array().expect("violations") {
            let impact = violation["impact"].as_str().unwrap_or_default();
            if !["serious", "critical"].contains(&impact) {
                continue;
            }
            let (id, help) = (&violation["id"], &violation["help"]);
            let at = &violation["nodes"][0];
            let (html, why) = (&at["html"], &at["failureSummary"]);
            wrong.push(format!("{name} {id}: {help}\n  {html}\n  {why}"));
        }
    });
    assert!(wrong.is_empty(), "{} findings\n{}", wrong.len(), wrong.join("\n"));
}
