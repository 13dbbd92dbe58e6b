//! Every page leads to the call of the API that answers the same, with what the page was asked for.

use crate::every_page::{Busy, Way};
use crate::pages::Browser;

/// Pages that only ask before something is done with what another page lists.
const NONE: [&str; 1] = ["bulk"];

/// Where a page says that its JSON is.
fn json_of(page: &str) -> Option<String> {
    let start = "rel=\"alternate\" type=\"application/json\" href=\"";
    let rest = page.split(start).nth(1)?;
    Some(rest.split('"').next()?.replace("&amp;", "&"))
}

/// What a page shows that its JSON must hold too: ids, names, what stands in texts.
fn key_data(busy: &Busy, name: &str) -> Vec<String> {
    let Busy { drill, broken, asks, prints, .. } = busy;
    let ids: Vec<&str> = match name {
        "run" | "run-timeline" | "run-history" | "run-data" | "run-compare" | "run-then"
        | "run-fork" => vec![drill],
        "run-waits" => vec![asks],
        "run-running" => vec![prints],
        "run-failed" | "step-failed" => vec![broken, "no ink"],
        "runs" => vec![drill, broken, asks, prints],
        "inbox" => vec![asks],
        "events" => vec![asks, prints],
        "events-some" => vec![broken, "no ink"],
        "workflow" => vec!["incident-drill"],
        "workflow-source" => vec!["incident-drill", "steps:"],
        "workflow-broken" => vec!["typo", "ruin"],
        "workflows" => vec!["incident-drill", "breaks", "typo"],
        "schedules" | "schedule" | "calendar" => vec!["breaks/1"],
        "agents" => vec!["shell", "press", "courier"],
        "agent" => vec!["shell"],
        "agent-running" => vec!["press"],
        "agent-of-http" => vec!["courier", "127.0.0.1:2"],
        "alerts" => vec!["disk/state"],
        "settings" => vec!["retention", "admin"],
        "configuration" => vec!["limits.max_running"],
        "production" => vec!["tasks_completed"],
        "audit" => vec!["run.start"],
        _ => Vec::new(),
    };
    ids.into_iter().map(str::to_owned).collect()
}

#[test]
fn every_page_leads_to_its_json() {
    let busy = Busy::new();
    let browser = Browser::new(&busy.project, &busy.node, "admin");
    let mut wrong = Vec::new();
    for page in busy.pages() {
        if page.way != Way::SignedIn || page.status != 200 || NONE.contains(&page.name.as_str()) {
            continue;
        }
        let body = browser.page(&page.path);
        let Some(json) = json_of(&body) else {
            wrong.push(format!("{} ({}) has no JSON", page.name, page.path));
            continue;
        };
        let said = browser.api.send("GET", &json, &browser.cookie, "");
        let kind = said.header("content-type").unwrap_or_default();
        if said.status != 200 || kind != "application/json" {
            wrong.push(format!("{}: {json} answers {} {kind}", page.name, said.status));
            continue;
        }
        // That it is JSON.
        said.json();
        for key in key_data(&busy, &page.name) {
            for (what, text) in [("page", &body), ("JSON", &said.body)] {
                if !text.contains(&key) {
                    wrong.push(format!("{}: the {what} has no {key}: {json}", page.name));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn what_a_page_was_asked_for_is_asked_of_the_api_too() {
    let busy = Busy::new();
    let browser = Browser::new(&busy.project, &busy.node, "admin");
    let (drill, broken) = (&busy.drill, &busy.broken);
    let version = |n: usize| {
        let path = "/api/v1/workflows/breaks/versions";
        let all = browser.api.send("GET", path, &browser.cookie, "").expect(200).json();
        all["versions"][n]["hash"].as_str().map(str::to_owned)
    };
    let first = version(0).expect("a version");
    let text = busy.project.read("workflows/breaks.yaml");
    busy.project.workflow("breaks", &text.replace("no ink", "no paper"));
    browser.until("/workflows/breaks/source", "no paper");
    browser.until("/workflows/breaks/versions", "Show what differs");
    let newer = version(0).expect("two versions");
    let run = format!("/api/v1/runs/{drill}");
    let pages = [
        (format!("/runs/{drill}?at=5"), format!("{run}/document?at=5")),
        (format!("/runs/{drill}/timeline?at=5"), format!("{run}/document?at=5")),
        (format!("/runs/{drill}/history?after=7"), format!("{run}/history?after=7&limit=200")),
        (format!("/runs/{drill}/compare?with={broken}"), format!("{run}/compare?with={broken}")),
        (format!("/runs/{broken}/steps/bad?at=2"), format!("/api/v1/runs/{broken}/steps/bad?at=2")),
        ("/runs?status=failed&q=ink".into(), "/api/v1/runs?status=failed&q=ink".into()),
        (
            format!("/inbox?before={drill}"),
            format!("/api/v1/runs?status=open&asks=true&limit=20&cursor={drill}"),
        ),
        (
            format!("/workflows/breaks?version={first}"),
            format!("/api/v1/workflows/breaks?version={first}"),
        ),
        (
            format!("/workflows/breaks/source?version={first}"),
            format!("/api/v1/workflows/breaks?version={first}&source=true"),
        ),
        (
            format!("/workflows/breaks/versions?from={first}&to={newer}"),
            format!("/api/v1/workflows/breaks/diff?from={first}&to={newer}"),
        ),
        (
            "/schedules/breaks%2F1?outcome=missed".into(),
            "/api/v1/triggers/breaks%2F1/slots?outcome=missed&limit=60".into(),
        ),
        (
            "/schedules/breaks%2F1/backfill?from=2020-01-06&to=2020-01-10".into(),
            "/api/v1/triggers/breaks%2F1/slots?from=2020-01-06&to=2020-01-10&limit=1000".into(),
        ),
        ("/charts?range=7d".into(), "/api/v1/metrics/history?range=7d".into()),
        (
            "/events?types=run.*&workflow=breaks&before=9".into(),
            "/api/v1/events?types=run.*&workflow=breaks&before=9&limit=200".into(),
        ),
    ];
    for (page, wanted) in pages {
        let json = json_of(&browser.page(&page)).expect("it has its JSON");
        assert_eq!(json, wanted, "{page}");
        browser.api.send("GET", &json, &browser.cookie, "").expect(200).json();
    }
    let source = browser.api.send(
        "GET",
        &format!("/api/v1/workflows/breaks?version={first}&source=true"),
        &browser.cookie,
        "",
    );
    let source = source.expect(200).json();
    assert!(source["source"].as_str().is_some_and(|text| text.contains("no ink")), "{source}");
}
