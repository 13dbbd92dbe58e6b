//! Kills at the n-th system call that matters for durability, by strace: of `moa init`, of the life
//! of a node (start, a run, stop), of `moa run` on its own.
//!
//! strace counts each system call by itself and for each thread, so each is swept by itself. The
//! sample takes the first ones and then wider and wider steps; `cargo xtask faults --all` takes all.

use std::process::{Command, Stdio};

use moa_faults::history::Ack;
use serde_json::json;

use crate::node::Node;
use crate::project::{Project, binary};
use crate::skip;

const CALLS: &[&str] = &[
    "pwrite64",
    "write",
    "fsync",
    "fdatasync",
    "ftruncate",
    "openat",
    "rename,renameat,renameat2",
    "link,linkat",
    "unlink,unlinkat",
    "mkdir,mkdirat",
];
/// No command of these makes more calls of one kind in one thread.
const CALLS_MAX: usize = 3000;

#[test]
fn init_killed_anywhere_can_be_repeated() {
    let test = "init_killed_anywhere_can_be_repeated";
    if !skip::needs(test, "strace") {
        return;
    }
    sweep(test, |calls, n| {
        let folder = tempfile::tempdir_in(skip::disk()).expect("a temporary folder");
        let dir = folder.path().join("shop");
        let init = |command: &mut Command| {
            command.arg("init").arg(&dir).args(["--template", "blank"]);
            command.stdin(Stdio::null()).output().expect("it can be started")
        };
        let mut killed = strace(calls, n);
        if init(&mut killed).status.success() {
            return false;
        }
        // Either nothing of it is there, or all of it, or a second `init` completes it.
        let again = init(&mut Command::new(binary()));
        let text = String::from_utf8_lossy(&again.stderr).into_owned();
        let validate = Command::new(binary())
            .args(["workflows", "validate"])
            .current_dir(&dir)
            .output()
            .expect("it can be started");
        let errors = String::from_utf8_lossy(&validate.stderr);
        assert!(validate.status.success(), "{calls} {n}: {text}{errors}");
        true
    });
}

#[test]
fn a_node_killed_anywhere_starts_again() {
    let test = "a_node_killed_anywhere_starts_again";
    if !skip::needs(test, "strace") {
        return;
    }
    sweep(test, |calls, n| {
        let project = Project::new();
        let mut node = Node::spawn_by(strace(calls, n), &project);
        let mut acks = Vec::new();
        let survived = live(&mut node, &mut acks);
        drop(node);
        recovers(&project, acks, &format!("{calls} {n}"));
        !survived
    });
}

/// The life of a node: one run, then a stop. Answers whether it got to its end.
fn live(node: &mut Node, acks: &mut Vec<Ack>) -> bool {
    let Some(mut client) = node.ready_or_dead() else { return false };
    let mut work = || -> std::io::Result<()> {
        for i in 0..3 {
            let key = format!("k{i}");
            if let Ok(run) = client.start("quiet", json!({}), &key)? {
                acks.push(Ack { run, idem: Some(key), kind: None });
            }
        }
        Ok(())
    };
    if work().is_err() {
        return false;
    }
    terminate(client.pid);
    node.wait().success()
}

fn terminate(pid: u32) {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
    let _ = rustix::process::kill_process(
        pid.expect("the node said its number"),
        rustix::process::Signal::TERM,
    );
}

#[test]
fn a_run_killed_anywhere_goes_on() {
    let test = "a_run_killed_anywhere_goes_on";
    if !skip::needs(test, "strace") {
        return;
    }
    sweep(test, |calls, n| {
        let project = Project::new();
        let mut run = strace(calls, n);
        run.args(["run", "quiet", "--json"]).current_dir(&project.dir).stdin(Stdio::null());
        let output = run.output().expect("it can be started");
        recovers(&project, Vec::new(), &format!("{calls} {n}"));
        !output.status.success()
    });
}

#[test]
fn a_change_of_the_key_killed_anywhere_locks_nobody_out() {
    let test = "a_change_of_the_key_killed_anywhere_locks_nobody_out";
    if !skip::needs(test, "strace") {
        return;
    }
    sweep(test, |calls, n| {
        let project = Project::new();
        let folder = tempfile::tempdir_in(skip::disk()).expect("a temporary folder");
        let key = folder.path().join("key");
        let text = key.to_str().expect("UTF-8");
        project.moa_ok(&["secrets", "new-key", text]);
        let settings = format!("name: faults\nsecrets: {{key_file: {text}}}\n");
        std::fs::write(project.dir.join("moa.yaml"), settings).expect("it is written");
        let value = folder.path().join("value");
        std::fs::write(&value, "a-sealed-value").expect("it is written");
        let set = |command: &mut Command| {
            let value = std::fs::File::open(&value).expect("it is there");
            command.args(["secrets", "set", "TOKEN"]).current_dir(&project.dir).stdin(value);
            command.output().expect("it can be started").status.success()
        };
        assert!(set(&mut Command::new(binary())), "{calls} {n}");
        let before = std::fs::read_to_string(&key).expect("it is read");
        let mut killed = strace(calls, n);
        killed.args(["secrets", "rotate-key"]).current_dir(&project.dir).stdin(Stdio::null());
        let survived = killed.output().expect("it can be started").status.success();
        // The secret can be read, by the keys that are there; and what was begun is ended.
        let usable = || project.moa_ok(&["secrets", "list", "--json"]).contains("\"set\"");
        assert!(usable(), "{calls} {n}");
        project.moa_ok(&["secrets", "rotate-key"]);
        assert!(usable(), "{calls} {n}");
        let now = std::fs::read_to_string(&key).expect("it is read");
        assert_ne!(now, before, "{calls} {n}");
        // A backup of before can be read still.
        let files = std::fs::read_dir(folder.path()).expect("it is listed").flatten();
        let mut kept = files.filter(|file| file.file_name().to_string_lossy().contains(".old-"));
        let is_it =
            |path: &std::path::Path| std::fs::read_to_string(path).is_ok_and(|text| text == before);
        assert!(kept.any(|file| is_it(&file.path())), "{calls} {n}: the key of before is gone");
        !survived
    });
}

/// After a crash a node starts without any help, ends what was begun, and takes new work.
fn recovers(project: &Project, mut acks: Vec<Ack>, place: &str) {
    let node = Node::start(project);
    let mut client = node.try_connect().expect("it answers");
    let run = client.start("quiet", json!({}), "after the crash").expect("the node stays");
    let run = run.unwrap_or_else(|refusal| panic!("{place}: {refusal}"));
    acks.push(Ack { run, idem: None, kind: None });
    project.wait_until_over(&node);
    node.stop();
    let runs = project.check(acks);
    assert!(runs.iter().all(|r| r.state == "completed"), "{place}: {runs:?}");
}

/// moa under strace, killed at its n-th call of this kind.
fn strace(calls: &str, n: usize) -> Command {
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-o", "/dev/null"]);
    command.arg("-e").arg(format!("trace={calls}"));
    command.arg("-e").arg(format!("inject={calls}:signal=KILL:when={n}"));
    command.arg(binary());
    command
}

/// Tries one crash point after the other until one is behind the end. `crash` answers whether it
/// was hit.
fn sweep(test: &str, mut crash: impl FnMut(&str, usize) -> bool) {
    let begin = std::time::Instant::now();
    let mut points = 0;
    for calls in CALLS {
        let mut n = 1;
        while crash(calls, n) {
            points += 1;
            n += if skip::all_of_them() { 1 } else { n.div_ceil(6) };
            assert!(n < CALLS_MAX, "{calls}: it fails without being killed");
        }
    }
    println!("{test}: {points} crash points in {:.1?}", begin.elapsed());
    assert!(points >= 10, "the sweep hit only {points} points: does it kill at all?");
}
