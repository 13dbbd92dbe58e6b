//! Every page leads to the call of the API that answers the same, with what the page was asked for.

use std::collections::BTreeSet;

use serde_json::Value as Json;

use crate::every_page::{Busy, Way};
use crate::http::Api;
use crate::pages::Browser;

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
        // What runs, what failed, what waits for a person, what is wrong, what is wanted, what comes
        // and who works.
        "overview" => vec![
            broken,
            asks,
            prints,
            "incident-drill",
            "no ink",
            "release",
            "disk/state",
            "tasks_completed",
            "press",
        ],
        "run-waits" => vec![asks],
        "run-running" => vec![prints],
        "run-failed" | "step-failed" => vec![broken, "no ink"],
        "bulk" => vec![broken, "failed"],
        "backfill" => vec!["2020-01-06T09:00:00+01:00", "2020-01-09T09:00:00+01:00"],
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
        if page.way != Way::SignedIn || page.status != 200 {
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

/// The names in a list of a document.
fn named(shown: &Json, list: &str, key: &str) -> Vec<String> {
    let all = shown.pointer(list).and_then(Json::as_array);
    let all = all.unwrap_or_else(|| panic!("no {list}: {shown}"));
    all.iter().map(|one| one[key].as_str().expect("a name").to_owned()).collect()
}

/// What the entries of the overview are known by, as its page knows them.
fn entries(shown: &Json) -> BTreeSet<String> {
    let lists = [
        ("/running", "run"),
        ("/failed", "run"),
        ("/asking", "run"),
        ("/alerts", "key"),
        ("/targets", "metric"),
        ("/coming", "trigger"),
        ("/fleet/agents", "agent"),
    ];
    lists.into_iter().flat_map(|(list, key)| named(shown, list, key)).collect()
}

#[test]
fn the_overview_and_its_json_name_the_same() {
    let busy = Busy::new();
    let browser = Browser::new(&busy.project, &busy.node, "admin");
    let api = Api::with_role(&busy.project, &busy.node, "viewer");
    let ask = || api.get("/api/v1/overview").expect(200).json();
    let at = ask()["at"].as_str().expect("a time").to_owned();
    // Due within the day, and not while this is looked at.
    let hour = (at[11..13].parse::<u32>().expect("an hour") + 12) % 24;
    let sweeps =
        format!("schedule: {{cron: '0 {hour} * * *', timezone: UTC}}\nsteps: [{{run: 'true'}}]\n");
    busy.project.workflow("sweeps", &sweeps);
    browser.until("/", "sweeps/1");
    let (shown, page) = loop {
        let (before, page, shown) = (ask(), browser.page("/"), ask());
        // An alert may be raised or be over in between.
        if entries(&before) == entries(&shown) {
            break (shown, page);
        }
    };
    // A step that asks is known by its run and number, a target by its counter and period; that files
    // have mistakes is told once, and parts of the page and places without a row are no entries.
    let parts = [
        "files",
        "numbers",
        "halves",
        "running",
        "failed",
        "ended",
        "hour",
        "fleet",
        "asked",
        "wrong",
        "production",
        "next",
        "place",
    ];
    let keys = page.split("data-key=\"").skip(1).filter_map(|rest| rest.split('"').next());
    let keys: BTreeSet<String> = keys
        .map(|key| key.split(['.', ' ']).next().unwrap_or_default().to_owned())
        .filter(|key| !parts.contains(&key.as_str()))
        .collect();
    assert_eq!(keys, entries(&shown));
    let has = [
        ("/asking", "run", busy.asks.as_str()),
        ("/running", "run", &busy.prints),
        ("/failed", "run", &busy.broken),
        ("/alerts", "key", "disk/state"),
        ("/coming", "trigger", "sweeps/1"),
        ("/fleet/agents", "agent", "press"),
    ];
    for (list, key, name) in has {
        assert!(named(&shown, list, key).iter().any(|one| one == name), "{name}: {shown}");
    }
    assert!(shown["warning"].as_str().is_some_and(|text| text.contains("typo")), "{shown}");
    assert_eq!(shown["hour"]["points"].as_array().map(Vec::len), Some(60), "{shown}");
}

/// Pages that show what would be done, with where that is as JSON.
fn previews(drill: &str, broken: &str) -> [(String, String); 2] {
    [
        (
            "/schedules/breaks%2F1/backfill?from=2020-01-06&to=2020-01-10&reprocess=failed\
             &reverse=true&forgotten=true&at_once=2"
                .into(),
            "/api/v1/triggers/breaks%2F1/backfill?from=2020-01-06&to=2020-01-10&reprocess=failed\
             &reverse=true&forgotten=true&limit=100"
                .into(),
        ),
        (
            format!("/runs/bulk?act=retry&run={drill}&run={broken}"),
            format!("/api/v1/runs/bulk?action=retry&runs={drill},{broken}"),
        ),
    ]
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
            "/api/v1/triggers/breaks%2F1/backfill?from=2020-01-06&to=2020-01-10&limit=100".into(),
        ),
        ("/charts?range=7d".into(), "/api/v1/metrics/history?range=7d".into()),
        (
            "/events?types=run.*&workflow=breaks&before=9".into(),
            "/api/v1/events?types=run.*&workflow=breaks&before=9&limit=200".into(),
        ),
    ];
    for (page, wanted) in pages.into_iter().chain(previews(drill, broken)) {
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

#[test]
fn what_is_asked_before_something_is_done_is_answered_as_json_too() {
    let busy = Busy::new();
    let browser = Browser::new(&busy.project, &busy.node, "operator");
    let asked = |page: &str| {
        let body = browser.page(page);
        let json = json_of(&body).expect("it has its JSON");
        (body, browser.api.send("GET", &json, &browser.cookie, "").expect(200).json())
    };
    let (drill, broken) = (&busy.drill, &busy.broken);
    let (page, json) = asked(&format!("/runs/bulk?act=retry&run={drill}&run={broken}"));
    assert!(page.contains("Retry 1 run<") && page.matches("stays as it is").count() == 1, "{page}");
    let results = |n: usize, key: &str| json["results"][n][key].as_str().map(str::to_owned);
    assert_eq!((&json["fit"], &json["dry_run"]), (&1.into(), &true.into()), "{json}");
    assert_eq!((results(0, "run"), results(1, "run")), (Some(drill.clone()), Some(broken.clone())));
    assert_eq!(results(0, "outcome").as_deref(), Some("would_not"), "{json}");
    assert_eq!(results(1, "outcome").as_deref(), Some("would"), "{json}");

    let range = "from=2020-01-06&to=2020-01-10";
    let path = "/schedules/breaks%2F1/backfill";
    let (page, json) = asked(&format!("{path}?{range}&reverse=true"));
    assert!(page.contains("4 of 4 slots would be started"), "{page}");
    let (total, starts) = (&json["total"], &json["starts"]);
    assert_eq!((total, starts, &json["refused"]), (&4.into(), &4.into(), &Json::Null), "{json}");
    assert_eq!(json["slots"][0]["local"], "2020-01-09T09:00:00+01:00", "the newest first: {json}");
    let send = format!("{range}&key=once&at_once=4&reverse=false");
    browser.send(&format!("{path}?{range}"), path, &send).expect(303);
    let (page, json) = asked(&format!("{path}?{range}"));
    assert!(page.contains("0 of 4 slots would be started"), "{page}");
    assert_eq!((&json["total"], &json["starts"]), (&4.into(), &0.into()), "{json}");
    let run = json["slots"][0]["run"].as_str().expect("the run that it had");
    assert!(page.contains(run) && json["slots"][0]["outcome"] == "started", "{json}");

    // What the store no longer remembers is neither hidden nor started unasked.
    let settings = busy.project.read("moa.yaml");
    busy.project
        .write("moa.yaml", &format!("{settings}\nretention: {{occurrences: {{age: 1s}}}}\n"));
    let path = "/schedules/breaks%2F1/backfill?from=2019-01-07&to=2019-01-09";
    browser.until(path, "2 slots of the range may have had runs");
    let (page, json) = asked(path);
    assert!(!page.contains("button primary") && page.contains("forgotten"), "{page}");
    assert!(
        json["refused"].as_str().is_some_and(|why| why.contains("may have had runs")),
        "{json}"
    );
    assert_eq!((&json["forgotten"], &json["slots"][1]["forgotten"]), (&2.into(), &true.into()));
    let (page, json) = asked(&format!("{path}&forgotten=true"));
    assert!(page.contains("Start 2 runs<") && json["refused"].is_null(), "{json}");
}
