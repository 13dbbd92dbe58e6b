//! Who changed what is written down before it is done, and changes of that record are found.

use serde_json::Value as Json;

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
    assert_eq!(acts[6]["before"]["status"], "waiting");
    assert_eq!(acts[6]["asked"]["reason"], "no longer");
    assert_eq!(acts[4]["asked"]["data"]["order"], 7);
    let some = project.call(&["audit", "list", "--action", "run.*", "-n", "2", "--json"]).json();
    let some: Vec<Json> = some.as_array().expect("an array").clone();
    assert_eq!(words(&some), ["run.cancel done", "run.resume done"]);
    let table = project.call(&["audit", "list", "--since", "1h"]).expect(0);
    assert!(table.out.contains("trigger.pause"), "{}", table.out);
    project.call(&["audit", "list", "--since", "soon"]).expect(2);
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
