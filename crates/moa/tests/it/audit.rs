//! Who changed what is written down before it is done, and changes of that record are found.

use serde_json::Value as Json;

use crate::http::Api;
use crate::pages::Browser;
use crate::project::{Project, Said};

const WORKFLOW: &str = r#"
schedule: "0 3 * * *"
params: {who: {type: string, default: nobody}}
steps:
  - {id: wait, wait_for: {event: go}}
"#;

fn project() -> Project {
    let project = Project::with("hello", WORKFLOW);
    project.write("moa.yaml", "name: shop\nhealth: {folder: reports}\n");
    project
}

fn acts(project: &Project) -> Vec<Json> {
    let all = project.call(&["audit", "list", "-n", "0", "--json"]).expect(0).json();
    let mut acts = all.as_array().expect("an array").clone();
    acts.reverse();
    acts
}

fn words(acts: &[Json]) -> Vec<String> {
    let word = |act: &Json, key: &str| act[key].as_str().unwrap_or("-").to_owned();
    acts.iter().map(|act| format!("{} {}", word(act, "action"), word(act, "outcome"))).collect()
}

fn verify(project: &Project) -> Said {
    project.call(&["audit", "verify", "--json"])
}

#[test]
fn every_change_is_written_down_with_who_and_what() {
    let project = project();
    assert_eq!(project.call(&["audit", "list", "--json"]).expect(0).json(), serde_json::json!([]));
    project.call(&["audit", "verify"]).expect(0);
    let node = project.up();
    let start = ["run", "hello", "--param", "who=ann", "--detach"];
    let run = project.call(&start).expect(0).out.trim().to_owned();
    project.call(&["runs", "pause", &run]).expect(0);
    project.call(&["runs", "resume", &run]).expect(0);
    project.call(&["schedules", "pause", "hello"]).expect(0);
    project.call(&["events", "publish", "paid", "--data", "{\"order\": 7}"]).expect(0);
    project.call(&["jobs", "run", "health"]).expect(0);
    project.call(&["runs", "cancel", &run, "--reason", "no longer"]).expect(0);
    project.call(&["secrets", "delete", "NONE"]).expect(4);
    node.stop();
    let acts = acts(&project);
    assert_eq!(
        words(&acts),
        [
            "run.start done",
            "run.pause done",
            "run.resume done",
            "trigger.pause done",
            "event.publish done",
            "job.run done",
            "run.cancel done",
            "secret.delete refused",
        ]
    );
    let uid = rustix::process::getuid().as_raw();
    for act in &acts {
        let who = act["who"].as_str().expect("somebody");
        assert!(who.starts_with(&format!("unix:{uid}")), "{act}");
        assert!(act["from"].as_str().expect("somewhere").starts_with("socket (pid "), "{act}");
    }
    assert_eq!(acts[0]["object"], run.as_str());
    assert!(acts[0]["asked"].to_string().contains("ann"), "{}", acts[0]);
    let changes = |i: usize, key: &str| {
        let said = |when: &str| acts[i][when][key].as_str().map(str::to_owned);
        (said("before"), said("after"))
    };
    let both = |before: &str, after: &str| (Some(before.to_owned()), Some(after.to_owned()));
    assert_eq!(changes(1, "status"), both("waiting", "paused"));
    assert_eq!(changes(2, "status"), both("paused", "waiting"));
    assert_eq!(changes(6, "status"), both("waiting", "cancelled"));
    assert_eq!(acts[3]["before"]["paused"], Json::Null, "{}", acts[3]);
    assert!(acts[3]["after"]["paused"]["by"].is_string(), "{}", acts[3]);
    assert_eq!(acts[6]["asked"]["reason"], "no longer");
    assert_eq!(acts[4]["asked"]["data"]["order"], 7);
    let some = project.call(&["audit", "list", "--action", "run.*", "-n", "2", "--json"]).json();
    let some: Vec<Json> = some.as_array().expect("an array").clone();
    assert_eq!(words(&some), ["run.cancel done", "run.resume done"]);
    let table = project.call(&["audit", "list", "--since", "1h"]).expect(0);
    assert!(table.out.contains("trigger.pause"), "{}", table.out);
    project.call(&["audit", "list", "--since", "soon"]).expect(2);
    let some = |more: &[&str]| {
        let args = [&["audit", "list", "--json"], more].concat();
        words(project.call(&args).expect(0).json().as_array().expect("an array"))
    };
    assert_eq!(some(&["--outcome", "refused"]), ["secret.delete refused"]);
    assert_eq!(some(&["--object", "NON"]), ["secret.delete refused"]);
    assert_eq!(some(&["--object", &run, "--action", "run.pause"]), ["run.pause done"]);
    assert_eq!(some(&["--outcome", "asked"]), [""; 0]);
    assert_eq!(some(&["--until", "1h"]), [""; 0]);
    assert_eq!(some(&["--since", "1h", "--until", "0s"]).len(), 8);
    project.call(&["audit", "list", "--outcome", "well"]).expect(2);
}

/// The numbers of the acts that a page of the dashboard lists.
fn listed(page: &str) -> Vec<u64> {
    let rows = page.split("<tr data-key=\"").skip(1).filter_map(|row| row.split('"').next());
    rows.map(|seq| seq.parse().expect("a number")).collect()
}

/// Where a link of a page leads to, if it has that one.
fn link(page: &str, mark: &str) -> Option<String> {
    let tag = page.split("<a ").find(|tag| tag.contains(mark))?;
    let to = tag.split("href=\"").nth(1)?.split('"').next()?;
    Some(to.replace("&amp;", "&"))
}

#[test]
fn the_page_lists_what_the_api_lists_whatever_is_asked_for() {
    let project = project();
    let node = project.up();
    let hostile = "<b>why</b>";
    project.call(&["schedules", "pause", "hello", "--reason", hostile]).expect(0);
    project.call(&["schedules", "resume", "hello"]).expect(0);
    for name in ["one", "two", "three", "four"] {
        project.call(&["events", "publish", name, "--data", "{\"a\": [1]}"]).expect(0);
    }
    project.call(&["secrets", "delete", "NONE"]).expect(4);
    let (browser, api) =
        (Browser::new(&project, &node, "admin"), Api::with_role(&project, &node, "admin"));
    let both = |path: &str| {
        let page = browser.page(path);
        let json = link(&page, "The same as JSON").expect("a link");
        let told = api.get(&json).expect(200).json();
        let told = told["acts"].as_array().expect("acts").iter();
        let told: Vec<_> = told.filter_map(|act| act["seq"].as_u64()).collect();
        // Signing in is an act too, and more of it may be written while pages are looked at.
        assert_eq!(listed(&page), told, "{path}");
        page
    };
    let whole = "/audit?who=unix";
    let all = listed(&both(whole));
    assert!(all.len() >= 7, "{all:?}");
    let page = both("/audit?action=trigger.*");
    assert_eq!(listed(&page).len(), 2, "{page}");
    assert!(page.contains("&lt;b&gt;why&lt;/b&gt;") && page.contains("Asked for"), "{page}");
    assert!(page.contains("<th>Before</th>") && page.contains(">version</bdi>"), "{page}");
    let page = both("/audit?action=secret.*&outcome=refused");
    assert!(listed(&page).len() == 1 && page.contains("NONE"), "{page}");
    let page = both("/audit?object=thr&who=&since=1h&outcome=done");
    assert!(listed(&page).len() == 1 && page.contains("event.publish"), "{page}");
    assert!(page.contains("value=\"thr\"") && page.contains("[1]"), "{page}");
    assert!(both("/audit?who=nobody").contains("No such act"));
    for wrong in ["outcome=well", "since=soon", "cursor=3&after=3", "what=ever", "limit=0"] {
        browser.ask(&format!("/audit?{wrong}")).expect(400);
        api.get(&format!("/api/v1/audit?{wrong}")).refused(400, "invalid_request");
    }
    // Down to where the log begins, and up again.
    let (mut path, mut down) = (format!("{whole}&limit=2"), Vec::new());
    let last = loop {
        let page = both(&path);
        down.extend(listed(&page));
        let Some(older) = link(&page, "rel=\"next\"") else { break page };
        path = older;
    };
    assert_eq!(down, all);
    let (mut page, mut up) = (last, Vec::new());
    loop {
        up.splice(0..0, listed(&page));
        let Some(newer) = link(&page, "rel=\"prev\"") else { break };
        page = both(&newer);
    }
    up.dedup();
    up.sort_unstable_by_key(|seq| std::cmp::Reverse(*seq));
    up.dedup();
    assert_eq!(up, all);
}

#[test]
fn an_end_that_was_cut_off_is_found_by_the_anchors() {
    let project = project();
    project.call(&["schedules", "pause", "hello"]).expect(0);
    let backup = project.outside().join("backup");
    project.call(&["backup", backup.to_str().expect("UTF-8")]).expect(0);
    let node = project.up();
    project.call(&["schedules", "resume", "hello"]).expect(0);
    project.call(&["jobs", "run", "health"]).expect(0);
    node.stop();
    let sound = verify(&project).expect(0).json();
    assert_eq!((&sound["whole"], &sound["entries"]), (&true.into(), &6.into()));
    let file = std::fs::read_dir(project.root.join("reports"))
        .expect("a folder")
        .flatten()
        .map(|e| e.path());
    let mut files = file.filter(|p| p.extension().is_some_and(|e| e == "jsonl"));
    let file = files.next().expect("one");
    let copy = project.outside().join("anchors.jsonl");
    std::fs::copy(&file, &copy).expect("it is copied");
    // The database of before, put back by hand: its chain is good, and its end is missing.
    let database = project.root.join(".moa/moa.db");
    std::fs::copy(backup.join("state/moa.db"), &database).expect("it is copied");
    let found = verify(&project).expect(1).json();
    assert_eq!(found["entries"], 2);
    assert!(found["findings"].to_string().contains("cut off"), "{found}");
    // Whoever can do that can delete the anchors too, but not those elsewhere.
    std::fs::remove_file(&file).expect("it is deleted");
    std::fs::remove_file(project.root.join(".moa/audit.head")).expect("it is deleted");
    verify(&project).expect(0);
    let copy = copy.to_str().expect("UTF-8");
    let said = project.call(&["audit", "verify", "--anchor", copy]).expect(1);
    assert!(said.err.contains("not as it was written"), "{}", said.err);
}

#[test]
fn a_restore_is_written_down_and_what_it_replaced_is_not_missing() {
    let project = project();
    project.call(&["schedules", "pause", "hello"]).expect(0);
    let backup = project.outside().join("backup");
    let backup = backup.to_str().expect("UTF-8");
    project.call(&["backup", backup]).expect(0);
    let node = project.up();
    project.call(&["schedules", "resume", "hello"]).expect(0);
    project.call(&["jobs", "run", "health"]).expect(0);
    node.stop();
    project.call(&["restore", backup]).expect(0);
    let acts = acts(&project);
    assert_eq!(words(&acts), ["trigger.pause done", "restore done"]);
    assert_eq!(acts[1]["before"]["audit"]["seq"], 6);
    let verdict = verify(&project).expect(0).json();
    assert!(verdict["notes"].to_string().contains("a restore replaced"), "{verdict}");
    // The chain goes on from there.
    project.call(&["schedules", "resume", "hello"]).expect(0);
    assert_eq!(verify(&project).expect(0).json()["entries"], 5);
}

#[test]
fn old_entries_are_removed_and_the_rest_is_still_checked() {
    let project = project();
    project.write(
        "moa.yaml",
        "name: shop\nhealth: {folder: reports}\nretention: {audit: {count: 6}}\n",
    );
    let node = project.up();
    for _ in 0..8 {
        project.call(&["schedules", "pause", "hello"]).expect(0);
        project.call(&["schedules", "resume", "hello"]).expect(0);
    }
    project.call(&["jobs", "run", "health"]).expect(0);
    project.call(&["jobs", "run", "retention"]).expect(0);
    node.stop();
    let sound = verify(&project).expect(0).json();
    assert_eq!(sound["whole"], true, "{sound}");
    let notes = sound["notes"].to_string();
    assert!(notes.contains("entries 1 to ") && notes.contains("were removed as old"), "{sound}");
    let kept = sound["entries"].as_u64().expect("a number");
    let newest = sound["head"]["seq"].as_u64().expect("a number");
    assert!(kept < 20 && newest >= 36, "{sound}");
    let acts = acts(&project);
    let prune = acts.iter().find(|act| act["action"] == "audit.prune").expect("it is told");
    assert_eq!((&prune["who"], &prune["outcome"]), (&"moa".into(), &"done".into()));
    assert_eq!(prune["before"]["first"], 1, "{prune}");
}
