//! `moa backup` and `moa restore`: beside a node, with damage, and killed in the middle.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::{Value as Json, json};

use crate::http::Api;
use crate::project::{Project, call_in};

const QUICK: &str = "steps:\n  - {id: one, agent: noop, action: a}\n";
/// An output too large for the store, and a signal to wait for.
const LARGE: &str = "
steps:
  - {id: large, run: \"printf '\\\"'; head -c 400000 /dev/zero | tr '\\\\0' x; printf '\\\"'\"}
  - {id: ask, wait_for: {signal: go}}
";

fn project() -> Project {
    let project = Project::with("quick", QUICK);
    project.workflow("large", LARGE);
    project.write("agents/scripts/tool.sh", "#!/bin/sh\necho 1\n");
    let tool = project.root.join("agents/scripts/tool.sh");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(tool, mode).expect("it can be made a program");
    project
}

fn ids(runs: &Json) -> BTreeSet<String> {
    let runs = runs.as_array().expect("a list");
    runs.iter().map(|run| run["run"].as_str().expect("an id").to_owned()).collect()
}

fn runs_in(folder: &Path) -> Json {
    call_in(folder, &["runs", "list", "--json", "--limit", "100000"]).expect(0).json()
}

fn backup(project: &Project, args: &[&str]) -> Json {
    project.call(&[&["backup", "--json"], args].concat()).expect(0).json()
}

fn path(made: &Json) -> PathBuf {
    made["path"].as_str().expect("a path").into()
}

#[test]
fn a_backup_beside_a_working_node_is_a_whole_project() {
    let project = project();
    let node = project.up();
    let run = project.call(&["run", "large", "--detach"]).expect(0).out.trim().to_owned();
    project.write(".moa/watch/1.json", "{}");
    let root = project.root.clone();
    let busy = std::thread::spawn(move || {
        for _ in 0..30 {
            call_in(&root, &["run", "quick", "--json"]).expect(0);
        }
    });
    let tar = project.outside().join("copy.tar");
    let tar = tar.to_str().expect("UTF-8");
    let mut last = 0;
    for n in 0..4 {
        let to = project.outside().join(format!("copy-{n}"));
        let made = backup(&project, &[to.to_str().expect("UTF-8")]);
        assert_eq!((&made["live"], &made["missing"]), (&json!(true), &json!([])));
        assert_eq!(path(&made), to);
        assert!(made["last_event"].as_u64() >= Some(last));
        last = made["last_event"].as_u64().unwrap_or(0);
        call_in(project.outside(), &["restore", "--check", to.to_str().expect("UTF-8")]).expect(0);
    }
    backup(&project, &[tar, "--logs"]);
    busy.join().expect("no panic");
    let all = runs_in(&project.root);

    let new = project.outside().join("new");
    let into = new.to_str().expect("UTF-8");
    call_in(project.outside(), &["restore", tar, "--into", into]).expect(0);
    assert_eq!(call_in(&new, &["doctor", "--json"]).expect(0).code, 0);
    let copied = runs_in(&new);
    assert!(ids(&copied).is_subset(&ids(&all)) && ids(&copied).contains(&run));
    // What agents are made of is still a program, and logs are there when asked for.
    let tool = std::fs::metadata(new.join("agents/scripts/tool.sh")).expect("it is there");
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&tool.permissions()) & 0o100, 0o100);
    let logs = project.root.join(format!(".moa/logs/{run}"));
    assert_eq!(new.join(format!(".moa/logs/{run}")).exists(), logs.exists());
    // What triggers have found is known there, too.
    assert_eq!(std::fs::read_to_string(new.join(".moa/watch/1.json")).expect("it is there"), "{}");
    // It goes on where it was, with its artifact, beside the project that it comes from.
    let _other = crate::project::up_in(&new);
    call_in(&new, &["runs", "signal", &run, "go"]).expect(0);
    call_in(&new, &["runs", "watch", &run]).expect(0);
    let shown = call_in(&new, &["runs", "show", &run, "--json"]).expect(0).json();
    let artifact = shown["steps"][0]["output"]["path"].as_str().expect("a path");
    assert!(new.join(artifact).is_file());
    let shown = project.call(&["runs", "show", &run, "--json"]).expect(0).json();
    assert_eq!(shown["status"], "waiting");
    node.stop();
}

#[test]
fn a_name_with_a_slash_is_a_folder_for_backups() {
    let project = project();
    project.run("quick");
    let made = path(&backup(&project, &["kept/here/"]));
    assert_eq!(made.parent(), Some(std::path::Path::new("kept/here")));
    project.call(&["restore", "--check", made.to_str().expect("UTF-8")]).expect(0);
}

#[test]
fn a_restore_is_refused_beside_a_node_and_keeps_what_was_there() {
    let project = project();
    project.run("quick");
    let made = backup(&project, &[project.outside().to_str().expect("UTF-8")]);
    let name = path(&made).file_name().expect("a name").to_string_lossy().into_owned();
    assert!(name.starts_with("shop-20") && name.ends_with('Z'), "{name}");
    let from = path(&made);
    let from = from.to_str().expect("UTF-8");
    let then = ids(&runs_in(&project.root));
    project.run("quick");
    let later = ids(&runs_in(&project.root));
    let node = project.up();
    let said = project.call(&["restore", from]).expect(5);
    assert!(said.err.contains(&format!("pid {}", node.pid())), "{}", said.err);
    node.stop();
    let id = project.read(".moa/id");
    let restored = project.call(&["restore", from, "--json"]).expect(0).json();
    assert_eq!(ids(&runs_in(&project.root)), then);
    assert_eq!(project.read(".moa/id"), id, "it is the same state on the same machine");
    project.run("quick");
    // Back again.
    let before = PathBuf::from(restored["before"].as_str().expect("a path"));
    std::fs::remove_dir_all(project.root.join(".moa")).expect("removed");
    std::fs::rename(before, project.root.join(".moa")).expect("moved");
    assert_eq!(ids(&runs_in(&project.root)), later);
}

#[test]
fn a_damaged_or_foreign_backup_changes_nothing() {
    let project = project();
    let node = project.up();
    project.call(&["run", "large", "--detach"]).expect(0);
    project.events().until("step.waiting", "ask");
    node.stop();
    let to = project.outside().join("copy");
    let to = to.to_str().expect("UTF-8");
    let made = backup(&project, &[to]);
    let manifest = path(&made).join("manifest.json");
    let whole: Json = serde_json::from_slice(&std::fs::read(&manifest).expect("it is there"))
        .expect("it is JSON");
    let before = std::fs::read(project.root.join(".moa/moa.db")).expect("it is there");
    let said = project.call(&["backup", to]).expect(5);
    assert!(said.err.contains("is there already"), "{}", said.err);

    for file in whole["files"].as_array().expect("a list") {
        let file = path(&made).join(file["path"].as_str().expect("a path"));
        let good = std::fs::read(&file).expect("it is there");
        let mut bad = good.clone();
        let middle = bad.len() / 2;
        bad[middle] ^= 1;
        std::fs::write(&file, &bad).expect("it can be damaged");
        let said = project.call(&["restore", to]).expect(7);
        assert!(said.err.contains("is not as it was written"), "{}", said.err);
        std::fs::remove_file(&file).expect("removed");
        project.call(&["restore", to]).expect(7);
        std::fs::write(&file, &good).expect("it can be mended");
    }
    let with = |change: &dyn Fn(&mut Json)| {
        let mut manifest_json = whole.clone();
        change(&mut manifest_json);
        std::fs::write(&manifest, manifest_json.to_string()).expect("it can be written");
        project.call(&["restore", to])
    };
    with(&|m| m["files"][0]["path"] = "../../outside".into()).expect(7);
    with(&|m| m["files"][0]["path"] = "/etc/passwd".into()).expect(7);
    with(&|m| m["schema"] = 999.into()).expect(8);
    with(&|m| m["files"] = json!([])).expect(7);
    std::fs::remove_file(&manifest).expect("removed");
    project.call(&["restore", to]).expect(4);
    assert_eq!(std::fs::read(project.root.join(".moa/moa.db")).expect("it is there"), before);
}

/// A command that is killed when `seen` holds, or ends before.
fn kill_when(project: &Project, args: &[&str], seen: impl Fn() -> bool) {
    let mut command = project.command(args);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().expect("it can be started");
    while !seen() && child.try_wait().expect("its status").is_none() {
        std::thread::yield_now();
    }
    // It may have ended.
    let _ = child.kill();
    child.wait().expect("it can be waited for");
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("a folder");
    entries.map(|e| e.expect("an entry").file_name().to_string_lossy().into_owned()).collect()
}

#[test]
fn killed_in_the_middle_there_is_all_of_it_or_none() {
    let project = project();
    project.run("quick");
    // Something to copy that takes a moment.
    for n in 0..20 {
        project.write(&format!(".moa/work/some/{n}"), &"x".repeat(1 << 20));
    }
    let to = project.outside().join("copy");
    let text = to.to_str().expect("UTF-8");
    let partial = project.outside().join(".copy.moa-backup-partial");
    kill_when(&project, &["backup", text, "--work"], || partial.join("state/work").exists());
    assert!(!to.exists() || to.join("manifest.json").exists());
    let _ = std::fs::remove_dir_all(&to);
    backup(&project, &[text, "--work"]);
    assert!(!partial.exists(), "what was left behind is gone");

    let then = ids(&runs_in(&project.root));
    project.run("quick");
    let later = ids(&runs_in(&project.root));
    let staged = |project: &Project, inner: &str| {
        let all = names(&project.root);
        all.iter()
            .any(|n| n.starts_with(".moa.restoring-") && project.root.join(n).join(inner).exists())
    };
    let replaced = || names(&project.root).iter().any(|n| n.starts_with(".moa.before-"));
    for moment in ["incomplete", "moa.db", "work/some", "id", "swapped"] {
        kill_when(&project, &["restore", text], || match moment {
            "swapped" => replaced(),
            inner => staged(&project, inner),
        });
        let now = ids(&runs_in(&project.root));
        assert!(now == then || now == later, "{moment}: {now:?}");
        call_in(&project.root, &["doctor"]).expect(0);
    }
    project.call(&["restore", text]).expect(0);
    assert_eq!(ids(&runs_in(&project.root)), then);
    assert!(!staged(&project, "incomplete"), "what was left behind is gone");
}

#[test]
fn backups_at_the_same_time_leave_each_other_alone() {
    let project = project();
    project.run("quick");
    let to = project.outside().join("backups/");
    let to = to.to_str().expect("UTF-8");
    let together = |args: &[&str]| {
        let spawn = || {
            let mut command = project.command(&[&["backup", "--json"], args].concat());
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
            command.spawn().expect("it can be started")
        };
        let children: Vec<_> = (0..4).map(|_| spawn()).collect();
        let outputs = children.into_iter().map(|c| c.wait_with_output().expect("it ends"));
        outputs.collect::<Vec<_>>()
    };
    let mut paths = BTreeSet::new();
    for output in together(&[to]) {
        let err = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{err}");
        let made: Json = serde_json::from_slice(&output.stdout).expect("JSON");
        let made = path(&made);
        let named = made.to_str().expect("UTF-8");
        call_in(project.outside(), &["restore", "--check", named]).expect(0);
        paths.insert(made);
    }
    assert_eq!(paths.len(), 4, "each has a name of its own: {paths:?}");
    assert_eq!(std::fs::read_dir(to).expect("ls").count(), 4, "nothing else is left");

    // Of one name there is one, and it is whole.
    let tar = project.outside().join("one.tar");
    let tar = tar.to_str().expect("UTF-8");
    let ended = together(&[tar]);
    let codes: Vec<_> = ended.iter().map(|output| output.status.code()).collect();
    assert_eq!(codes.iter().filter(|code| **code == Some(0)).count(), 1, "{codes:?}");
    assert_eq!(codes.iter().filter(|code| **code == Some(5)).count(), 3, "{codes:?}");
    call_in(project.outside(), &["restore", "--check", tar]).expect(0);
}

#[test]
fn no_backup_is_written_into_what_it_is_a_backup_of() {
    let project = project();
    project.run("quick");
    for to in [".moa/", ".moa/copy.tar", "workflows/", "agents/x"] {
        let refused = project.call(&["backup", to]).expect(2);
        assert!(refused.err.contains("would be destroyed"), "{}", refused.err);
    }
    project.call(&["state"]).expect(0);
}

#[test]
fn what_lies_beside_a_backup_is_left_alone() {
    let project = project();
    project.run("quick");
    let outside = project.outside();
    let files = ["Cargo.lock", "Cargo.partial", "Cargo.staged"];
    for file in files {
        std::fs::write(outside.join(file), "mine").expect("it can be written");
    }
    let to = outside.join("Cargo");
    let to = to.to_str().expect("UTF-8");
    backup(&project, &[to]);
    for file in files {
        let there = std::fs::read_to_string(outside.join(file)).expect("it is still there");
        assert_eq!(there, "mine", "{file}");
    }
    // By the very names that moa uses itself.
    for what in ["lock", "partial", "staged"] {
        let tar = outside.join(format!("{what}.tar"));
        let other = outside.join(format!(".{what}.tar.moa-backup-{what}"));
        std::fs::write(&other, "mine").expect("it can be written");
        let said = project.call(&["backup", tar.to_str().expect("UTF-8")]);
        assert!(said.err.contains("in the way"), "{what}: {}", said.err);
        assert_eq!(std::fs::read_to_string(&other).expect("it is still there"), "mine");
        assert!(!tar.exists(), "{what}");
    }
    let left = names(outside);
    let left: Vec<_> = left.iter().filter(|n| n.contains("moa-backup")).collect();
    assert_eq!(left.len(), 3, "nothing of the backups is left: {left:?}");
}

#[test]
fn who_is_paused_stays_so_over_a_restore() {
    let project = project();
    let agent = "command: ['true']\nactions: {work: {}}\n";
    project.write("agents/mailer.yaml", agent);
    project.write("agents/other.yaml", agent);
    project.write("calendars/free.ics", "BEGIN:VCALENDAR\nVERSION:2.0\nEND:VCALENDAR\n");
    let node = project.up();
    project.call(&["agents", "pause", "mailer"]).expect(0);
    let to = project.outside().join("copy");
    let to = to.to_str().expect("UTF-8");
    backup(&project, &[to]);
    project.call(&["agents", "pause", "other"]).expect(0);
    node.stop();
    let paused = |root: &Path| {
        let text = std::fs::read_to_string(root.join(".moa/paused-agents.json")).expect("a file");
        let all: Json = serde_json::from_str(&text).expect("JSON");
        all.as_object().expect("a map").keys().cloned().collect::<Vec<_>>()
    };
    project.call(&["restore", to]).expect(0);
    assert_eq!(paused(&project.root), ["mailer", "other"], "as it is now");
    let new = project.outside().join("new");
    project.call(&["restore", to, "--into", new.to_str().expect("UTF-8")]).expect(0);
    assert_eq!(paused(&new), ["mailer"], "as it was then");
    assert!(new.join("calendars/free.ics").exists());

    // Who is paused is not known: nobody starts then.
    project.write(".moa/paused-agents.json", "{");
    let refused = project.call(&["up"]).expect(7);
    assert!(refused.err.contains("paused-agents.json"), "{}", refused.err);
}

#[test]
fn what_people_have_seen_to_is_seen_to_after_a_restore() {
    let project = Project::with("letters", "steps: [{id: write, run: exit 2, retry: never}]\n");
    project
        .write("moa.yaml", "alerts: {group: 0s, rules: {failure_rate: {runs: 1, window: 1h}}}\n");
    let node = project.up();
    let api = Api::with_role(&project, &node, "operator");
    api.send(
        "PUT",
        "/api/v1/views/mine",
        "Content-Type: application/json\r\n",
        "{\"workflow\": \"letters\"}",
    )
    .expect(201);
    project.call(&["run", "letters", "-q"]).expect(1);
    project.call(&["jobs", "run", "alerts"]).expect(0);
    let alerts = |root: &Path| {
        let said = call_in(root, &["alerts", "list", "--json"]).expect(0).json();
        let one = said[0].clone();
        (one["key"].clone(), one["state"].clone())
    };
    let open = (json!("failure_rate/letters"), json!("open"));
    assert_eq!(alerts(&project.root), open);
    project.call(&["alerts", "ack", "failure_rate/letters"]).expect(0);
    let to = project.outside().join("copy");
    let to = to.to_str().expect("UTF-8");
    backup(&project, &[to]);
    api.send("DELETE", "/api/v1/views/mine", "", "").expect(204);
    let tokens = project.call(&["token", "list", "--json"]).expect(0).json();
    node.stop();
    project.call(&["restore", to]).expect(0);
    let seen = (json!("failure_rate/letters"), json!("acknowledged"));
    assert_eq!(alerts(&project.root), seen);
    assert!(project.read(".moa/views.json").contains("letters"), "as it was then");
    // Who may come in is as it is now.
    assert_eq!(project.call(&["token", "list", "--json"]).expect(0).json(), tokens);
    let node = project.up();
    let with = format!("Authorization: Bearer {}\r\n", api.token());
    Api::nobody(&node).send("GET", "/api/v1/me", &with, "").expect(200);
    node.stop();

    let new = project.outside().join("new");
    project.call(&["restore", to, "--into", new.to_str().expect("UTF-8")]).expect(0);
    assert_eq!(alerts(&new), seen);
    assert!(!new.join(".moa/tokens.json").exists(), "no backup holds who may come in");
}
