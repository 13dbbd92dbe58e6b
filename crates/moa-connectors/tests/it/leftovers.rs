//! Processes that a node which is gone left behind.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use moa_connectors::{end_leftovers, end_some_leftovers, find_leftovers};
use moa_core::ids::NodeId;

use serde_json::{Value as Json, json};

use crate::harness::{is_alive, number, pid_in};

/// Starts a script in a session of its own, as a node of that store would have.
fn left(folder: &Path, store: &str, node: NodeId, script: &str) -> i32 {
    let up = folder.join(format!("up-{}", number()));
    let script = format!("echo $$ > {}; {script}", up.display());
    let mut command = Command::new("sh");
    command.args(["-c", "setsid sh -c \"$SCRIPT\" &"]).env("SCRIPT", script);
    command.env("MOA_STORE_ID", store).env("MOA_NODE", node.to_string());
    command.env("MOA_RUN_ID", "r1").env("MOA_STEP", "build").env("MOA_ATTEMPT", "2");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    assert!(command.status().expect("sh").success());
    pid_in(&up)
}

#[test]
fn what_an_earlier_node_left_is_ended_and_nothing_else() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = format!("store-{}-{}", std::process::id(), number());
    let (old, new) = (NodeId(1), NodeId(2));
    let quiet = left(dir.path(), &store, old, "exec sleep 1000");
    let deaf = left(dir.path(), &store, old, "trap '' TERM; while :; do sleep 0.05; done");
    let inner = dir.path().join("inner");
    let family =
        format!("setsid sh -c 'trap \"\" TERM; echo $$ > {}; sleep 1000' & wait", inner.display());
    let family = left(dir.path(), &store, old, &family);
    let inner = pid_in(&inner);
    let own = left(dir.path(), &store, new, "exec sleep 1000");
    let another = format!("{store}-another");
    let other = left(dir.path(), &another, old, "exec sleep 1000");

    let ended = end_leftovers(dir.path(), &store, new);
    for pid in [quiet, deaf, family, inner] {
        assert!(!is_alive(pid));
        let found = ended.iter().find(|l| l.pid == pid).expect("it is told");
        let of = &found.of;
        assert_eq!((of.run.as_str(), of.step.as_str(), of.attempt), ("r1", "build", 2));
        assert!(found.start_time > 0);
    }
    assert!(is_alive(own) && is_alive(other));
    assert!(end_leftovers(dir.path(), &store, new).is_empty());
    end_leftovers(dir.path(), &store, old);
    end_leftovers(dir.path(), &another, new);
    assert!(!is_alive(own) && !is_alive(other));
}

#[test]
fn those_that_multiply_are_ended_too() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = format!("store-{}-{}", std::process::id(), number());
    // Each starts its successor in a session of its own and ends, until the file is there.
    let stop = dir.path().join("stop");
    let chain = dir.path().join("chain.sh");
    let text = format!("[ -e {} ] || setsid sh {} & sleep 0.02", stop.display(), chain.display());
    std::fs::write(&chain, text).expect("a file");
    left(dir.path(), &store, NodeId(1), &format!("setsid sh {} & sleep 1000", chain.display()));
    assert!(!end_leftovers(dir.path(), &store, NodeId(2)).is_empty());
    let again = end_leftovers(dir.path(), &store, NodeId(2));
    std::fs::write(&stop, "").expect("a file");
    assert!(again.is_empty(), "{again:?}");
}

/// A program without a word of moa in its environment, as the leader of a group; killed at the end.
struct Program(Child);

impl Program {
    fn start(folder: &Path, script: &str) -> Self {
        let mut command = Command::new("sh");
        command.args(["-c", script]).current_dir(folder).env_clear().process_group(0);
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Self(command.spawn().expect("sh"))
    }

    fn pid(&self) -> i32 {
        i32::try_from(self.0.id()).expect("a pid")
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The numbers that follow the name in `/proc/PID/stat`: parent, group, session, ... start.
fn stat(pid: i32) -> Vec<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it lives");
    let rest = text.rsplit_once(") ").expect("a name").1;
    rest.split(' ').skip(1).map(|field| field.trim().parse().unwrap_or(0)).collect()
}

/// A record of a program, as the node `of` writes it.
fn record(store: &str, of: NodeId, pid: i32) -> Json {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").expect("Linux");
    let table = std::fs::read_link("/proc/self/ns/pid").expect("Linux");
    let stat = stat(pid);
    json!({
        "store": store, "node": of.to_string(), "boot": format!("{} {}", boot.trim(), table.display()),
        "pid": pid, "start": stat[18], "session": stat[2],
        "run": "r1", "step": "build", "iteration": "", "attempt": 2,
    })
}

fn write(state: &Path, name: &str, text: &str) -> PathBuf {
    let folder = state.join("attempts");
    std::fs::create_dir_all(&folder).expect("a folder");
    std::fs::write(folder.join(name), text).expect("a file");
    folder.join(name)
}

#[test]
fn what_cleared_its_environment_is_found_by_its_record() {
    let dir = tempfile::tempdir().expect("a folder");
    let (old, new) = (NodeId(1), NodeId(2));
    let script = "env -i sh -c 'echo $$ > member; exec sleep 1000' &
        setsid env -i sh -c 'trap \"\" TERM; echo $$ > deep; while :; do sleep 0.05; done' &
        exec sleep 1000";
    let leader = Program::start(dir.path(), script);
    let (member, deep) = (pid_in(&dir.path().join("member")), pid_in(&dir.path().join("deep")));
    let bystander = Program::start(dir.path(), "exec sleep 1000");
    assert!(end_leftovers(dir.path(), "store", new).is_empty());
    write(dir.path(), &format!("{old}-0"), &record("store", old, leader.pid()).to_string());
    let ended = end_leftovers(dir.path(), "store", new);
    for pid in [leader.pid(), member, deep] {
        assert!(!is_alive(pid));
        let found = ended.iter().find(|l| l.pid == pid).expect("it is told");
        let of = &found.of;
        assert_eq!((of.run.as_str(), of.step.as_str(), of.attempt), ("r1", "build", 2));
    }
    assert!(is_alive(bystander.pid()));
    assert_eq!(std::fs::read_dir(dir.path().join("attempts")).expect("a list").count(), 0);
}

#[test]
fn descendants_that_cleared_their_environment_are_found_by_their_parents() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = format!("store-{}-{}", std::process::id(), number());
    let deep = dir.path().join("deep");
    let clear = format!("env -i setsid sh -c 'echo $$ > {}; sleep 1000'", deep.display());
    let parent = left(dir.path(), &store, NodeId(1), &format!("{clear} & wait"));
    let deep = pid_in(&deep);
    assert!(!end_leftovers(dir.path(), &store, NodeId(2)).is_empty());
    assert!(!is_alive(parent) && !is_alive(deep));
}

#[test]
fn a_record_that_does_not_fit_ends_nobody() {
    let dir = tempfile::tempdir().expect("a folder");
    let (old, new) = (NodeId(1), NodeId(2));
    let victim = Program::start(dir.path(), "exec sleep 1000");
    let good = record("store", old, victim.pid());
    let with = |key: &str, value: Json| {
        let mut record = good.clone();
        record[key] = value;
        record.to_string()
    };
    let own = record("store", old, i32::try_from(std::process::id()).expect("a pid"));
    let target = dir.path().join("target");
    std::fs::write(&target, good.to_string()).expect("a file");
    let bad = [
        with("start", json!(good["start"].as_u64().expect("a number") + 1)),
        with("pid", json!(1)),
        with("pid", json!(-1)),
        with("pid", json!("12")),
        with("boot", json!("another boot")),
        with("node", json!(NodeId(7).to_string())),
        with("step", json!("x".repeat(5000))),
        good.to_string()[..40].to_owned(),
        "\u{0}\u{1}binary".to_owned(),
        String::new(),
        own.to_string(),
    ];
    let own_is_kept = format!("{old}-{}", bad.len() - 1);
    for (slot, text) in bad.iter().enumerate() {
        write(dir.path(), &format!("{old}-{slot}"), text);
    }
    write(dir.path(), "no-record-at-all", "?");
    let folder = dir.path().join("attempts");
    std::os::unix::fs::symlink(&target, folder.join(format!("{old}-90"))).expect("a link");
    let fifo = Command::new("mkfifo").arg(folder.join(format!("{old}-91"))).status();
    assert!(fifo.expect("mkfifo").success());
    write(dir.path(), &format!("{old}-92"), &with("store", json!("another")));

    assert!(end_leftovers(dir.path(), "store", new).is_empty());
    assert!(is_alive(victim.pid()));
    assert!(target.exists());
    let names = std::fs::read_dir(&folder).expect("a list").flatten();
    let mut left: Vec<String> =
        names.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    left.sort();
    // Their processes live: this one, and one of another store.
    assert_eq!(left, [own_is_kept, format!("{old}-92")]);
}

#[test]
fn a_group_without_its_leader_is_ended_when_it_is_the_same_for_certain() {
    let dir = tempfile::tempdir().expect("a folder");
    let (old, new) = (NodeId(1), NodeId(2));
    let script = "sh -c 'echo $$ > member; exec sleep 1000' & read go < fifo";
    let fifo = Command::new("mkfifo").arg(dir.path().join("fifo")).status();
    assert!(fifo.expect("mkfifo").success());
    let mut leader = Program::start(dir.path(), script);
    let member = pid_in(&dir.path().join("member"));
    let text = record("store", old, leader.pid()).to_string();
    std::fs::write(dir.path().join("fifo"), "go\n").expect("it reads");
    leader.0.wait().expect("it ends");

    let started = stat(member)[18];
    let alive = format!("{old}.alive");
    for instant in [None, Some(started)] {
        write(dir.path(), &format!("{old}-0"), &text);
        instant.map(|ticks| write(dir.path(), &alive, &format!("{ticks:020}\n")));
        assert!(end_leftovers(dir.path(), "store", new).is_empty());
        assert!(is_alive(member), "{instant:?}");
    }
    // The clock's ticks are long: the member may have started in this one.
    let ended = crate::harness::until("a tick has passed", || {
        write(dir.path(), &format!("{old}-0"), &text);
        write(dir.path(), &alive, &format!("{:020}\n", u64::MAX));
        Some(end_leftovers(dir.path(), "store", new)).filter(|ended| !ended.is_empty())
    });
    assert_eq!(ended[0].pid, member);
    assert!(!is_alive(member));
}

#[test]
fn only_the_node_of_a_store_removes_what_attempts_were_to_give_back() {
    let world = crate::harness::World::new();
    let state = world.path(".moa");
    let others = state.join("tmp/some-node-1.json");
    std::fs::create_dir_all(state.join("tmp")).expect("a folder");
    std::fs::write(&others, "{}").expect("a file");
    // A worker for an attempt outside of any node comes and goes beside the node.
    world.second_worker();
    assert!(others.exists());
    end_leftovers(&state, &world.store_id, world.node);
    assert!(!others.exists());
}

#[test]
fn what_is_not_meant_is_left_alone() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = format!("store-{}-{}", std::process::id(), number());
    let (old, new) = (NodeId(1), NodeId(2));
    let of = |agent: &str| {
        let inner = dir.path().join(agent);
        let script = format!("sleep 1000 & echo $! > {}; wait", inner.display());
        let script = format!("MOA_AGENT={agent} exec sh -c '{script}'");
        let pid = left(dir.path(), &store, old, &script);
        pid_in(&inner);
        pid
    };
    let (one, other) = (of("one"), of("other"));
    let scratch = dir.path().join("tmp");
    std::fs::create_dir(&scratch).expect("a folder");
    std::fs::write(scratch.join("some-node-1.json"), "{}").expect("a file");
    let found = find_leftovers(dir.path(), &store, new);
    let agents = |agent: &str| found.iter().filter(|l| l.of.agent == agent).count();
    assert_eq!((agents("one"), agents("other")), (2, 2), "{found:?}");
    assert!(is_alive(one) && is_alive(other));
    assert!(find_leftovers(dir.path(), &store, old).is_empty());

    let ended = end_some_leftovers(dir.path(), &store, new, &|of| of.agent == "one");
    assert!(ended.iter().all(|l| l.of.agent == "one"), "{ended:?}");
    assert!(!is_alive(one) && is_alive(other));
    assert!(scratch.join("some-node-1.json").exists());
    end_leftovers(dir.path(), &store, new);
    assert!(!is_alive(other));
}

#[test]
fn a_group_that_was_not_meant_can_be_told_later() {
    let dir = tempfile::tempdir().expect("a folder");
    let (old, new) = (NodeId(1), NodeId(2));
    let script = "sh -c 'echo $$ > member; exec sleep 1000' & read go < fifo";
    let fifo = Command::new("mkfifo").arg(dir.path().join("fifo")).status();
    assert!(fifo.expect("mkfifo").success());
    let mut leader = Program::start(dir.path(), script);
    let member = pid_in(&dir.path().join("member"));
    write(dir.path(), &format!("{old}-0"), &record("store", old, leader.pid()).to_string());
    let alive = crate::harness::until("a tick has passed", || {
        let now = stat(Program::start(dir.path(), "exec sleep 1000").pid())[18];
        Some(now).filter(|now| *now > stat(member)[18])
    });
    write(dir.path(), &format!("{old}.alive"), &format!("{alive:020}\n"));
    std::fs::write(dir.path().join("fifo"), "go\n").expect("it reads");
    leader.0.wait().expect("it ends");

    assert!(end_some_leftovers(dir.path(), "store", new, &|of| of.run != "r1").is_empty());
    assert!(is_alive(member));
    assert_eq!(end_leftovers(dir.path(), "store", new).len(), 1);
    assert!(!is_alive(member));
}
