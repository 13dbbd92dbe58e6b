//! What a node does beside its runs: `moa jobs`, and what is left of old runs.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use moa_core::event::Event;
use moa_core::ids::RunId;
use moa_core::run::RunStatus;
use moa_ports::store::{Commit, Store};
use moa_ports::suite::{answer, build};
use moa_sqlite::{Options, SqliteStore};
use serde_json::json;

use crate::project::Project;

const KEPT: u8 = 0x1a;
const NOBODYS: u8 = 0xb2;

fn artifact(project: &Project, byte: u8) -> PathBuf {
    let name = format!("{byte:02x}").repeat(32);
    project.root.join(format!(".moa/artifacts/{byte:02x}/{name}"))
}

fn log(project: &Project, run: RunId) -> PathBuf {
    project.root.join(format!(".moa/logs/{run}/a.1.log"))
}

fn make_old(path: &std::path::Path) {
    let long_ago = SystemTime::now() - Duration::from_secs(3 * 24 * 3600);
    let file = std::fs::File::open(path).expect("it is there");
    file.set_modified(long_ago).expect("it can be made old");
}

/// A store with runs 1 to 3 that ended long ago, and 4 that still waits and needs an artifact.
fn fill(project: &Project) {
    std::fs::create_dir_all(project.root.join(".moa")).expect("mkdir");
    let path = project.root.join(".moa/moa.db");
    let store = SqliteStore::open(&path, Options::default()).expect("a store");
    let hash = format!("{KEPT:02x}").repeat(32);
    let output = Some(Arc::new(json!({ "artifact": hash })));
    let mut commits: Vec<Commit> =
        [1, 2, 3].map(|n| build::create(build::row_in(build::run(n), RunStatus::Succeeded))).into();
    let mut open = build::create(build::row_in(build::run(4), RunStatus::Waiting));
    open.events.push(Event::StepSucceeded { step: 0, output });
    commits.push(open);
    answer(|reply| store.commit(build::batch(commits), reply)).expect("they are kept");
    drop(store);
    for byte in [KEPT, NOBODYS] {
        let path = artifact(project, byte);
        let path = path.strip_prefix(&project.root).expect("it is in the project");
        project.write(path.to_str().expect("UTF-8"), "content");
        make_old(&project.root.join(path));
    }
    for n in [1, 2, 3, 4, 9] {
        project.write(&format!(".moa/logs/{}/a.1.log", build::run(n)), "log");
        project.write(&format!(".moa/work/{}/file", build::run(n)), "work");
    }
}

#[test]
fn old_runs_go_with_their_files_and_open_ones_stay() {
    let project = Project::empty();
    fill(&project);
    let _node = project.up();
    let done = project.call(&["jobs", "run", "retention", "--json"]).expect(0).json();
    assert_eq!(done["last"]["error"], json!(null), "{done}");
    // The node did it when it started, and again when it was asked.
    assert!(done["done"].as_u64() >= Some(1), "{done}");
    let listed = project.call(&["runs", "list", "--json"]).expect(0).json();
    assert_eq!(listed.as_array().map(Vec::len), Some(1), "{listed}");
    assert!([1, 2, 3].iter().all(|n| !log(&project, build::run(*n)).exists()));
    assert!(log(&project, build::run(4)).exists());
    let work = |n| project.root.join(format!(".moa/work/{}", build::run(n)));
    assert!(!work(1).exists() && work(4).exists());
    project.call(&["doctor"]).expect(0);
}

#[test]
fn what_a_crash_left_behind_is_found_later() {
    let project = Project::empty();
    fill(&project);
    let orphan = log(&project, build::run(9));
    let folder = orphan.parent().expect("a folder");
    // Of a run that isn't in the store: fresh it may be one that is just starting.
    project.call(&["jobs", "run", "files", "--json"]).expect(0);
    assert!(orphan.exists());
    assert!(artifact(&project, KEPT).exists() && !artifact(&project, NOBODYS).exists());
    make_old(folder);
    let done = project.call(&["jobs", "run", "files", "--json"]).expect(0).json();
    assert_eq!(done["last"]["result"]["logs"], json!({"count": 1, "bytes": 3}));
    assert!(!orphan.exists() && log(&project, build::run(4)).exists());
}

#[test]
fn jobs_are_listed_with_and_without_a_node() {
    let project = Project::empty();
    let names = |json: &serde_json::Value| -> Vec<String> {
        let jobs = json.as_array().expect("a list");
        jobs.iter().map(|job| job["name"].as_str().expect("a name").to_owned()).collect()
    };
    let idle = project.call(&["jobs", "list", "--json"]).expect(0).json();
    assert_eq!(idle[0]["next"], json!(null));
    let _node = project.up();
    let live = project.call(&["jobs", "list", "--json"]).expect(0).json();
    assert_eq!(names(&live), names(&idle));
    assert!(live[0]["every_ms"].as_u64() > Some(0));
    let said = project.call(&["jobs", "run", "retenton"]).expect(4);
    assert!(said.err.contains("did you mean retention?"), "{}", said.err);
}
