//! Many processes and threads on the same database file, all of them folding its log back into it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use moa_faults::history::Ack;
use serde_json::json;

use crate::chance::Chance;
use crate::load::Load;
use crate::node::Node;
use crate::project::Project;

const RUNS: usize = 1500;
const READERS: usize = 3;

#[test]
fn checkpoints_from_everywhere_damage_nothing() {
    let project = Project::new();
    let mut chance = Chance::new("checkpoints_from_everywhere_damage_nothing");
    let node = Node::start(&project);
    let mut client = node.try_connect().expect("it answers");
    let mut load = Load::new(RUNS, 30);
    let done = AtomicBool::new(false);
    let (folded, looks) = std::thread::scope(|scope| {
        let folding = scope.spawn(|| fold(&project, &done));
        let looking: Vec<_> = (0..READERS).map(|_| scope.spawn(|| look(&project, &done))).collect();
        load.finish(&mut client, &mut chance);
        project.wait_until_over(&node);
        done.store(true, Ordering::SeqCst);
        let looks: usize = looking.into_iter().map(|t| t.join().expect("no panic")).sum();
        (folding.join().expect("no panic"), looks)
    });
    // What was acknowledged is in the file that the next one reads, and in no log that is gone.
    node.kill9();
    assert!(folded > 0 && looks >= READERS, "{folded} checkpoints, {looks} looks");
    assert_eq!(load.refused, [""; 0]);
    let runs = project.check(load.acks);
    assert_eq!(runs.len(), RUNS);
    let doctor = project.moa_ok(&["doctor", "--json"]);
    assert!(!doctor.contains("\"failed\""), "{doctor}");
}

/// Whoever closes a database as the last one that has it open deletes its log; a node has it open.
#[test]
fn a_log_stays_when_another_program_closes_the_database() {
    let project = Project::new();
    let log = project.store().with_extension("db-wal");
    // The second one finds a database that is there, and checks it.
    Node::start(&project).stop();
    let node = Node::start(&project);
    let mut client = node.try_connect().expect("it answers");
    let mut acks = Vec::new();
    for round in 0..2 {
        for i in 0..20 {
            let run = client.start("quiet", json!({}), &format!("{round}-{i}"));
            let run = run.expect("the node stays").expect("it is started");
            acks.push(Ack { run, idem: None, kind: None });
        }
        project.wait_until_over(&node);
        let db = rusqlite::Connection::open(project.store()).expect("it can be opened");
        let count = db.query_row("SELECT count(*) FROM runs", [], |row| row.get::<_, i64>(0));
        assert_eq!(count.expect("it can be read"), acks.len() as i64);
        db.close().expect("it can be closed");
        assert!(log.exists(), "the log of a node that works is deleted");
        assert!(is_locked_by(&project.store(), node.pid()), "the database of a node is locked");
    }
    node.kill9();
    assert_eq!(project.check(acks).len(), 40);
}

/// Whether a process has a lock on a file.
fn is_locked_by(path: &Path, pid: u32) -> bool {
    let inode = fs::metadata(path).expect("the file is there").ino();
    let locks = fs::read_to_string("/proc/locks").expect("Linux lists all locks");
    let (pid, file) = (pid.to_string(), format!(":{inode}"));
    locks.lines().any(|line| {
        let mut words = line.split_whitespace();
        words.any(|word| word == pid) && words.any(|word| word.ends_with(&file))
    })
}

/// Folds the log back into the file, again and again, from outside of moa; answers how often. Each
/// time the database is opened and closed: whoever closes it as the last one deletes the log.
fn fold(project: &Project, done: &AtomicBool) -> usize {
    let log = project.store().with_extension("db-wal");
    let mut times = 0;
    for how in ["PASSIVE", "RESTART", "TRUNCATE"].into_iter().cycle() {
        if done.load(Ordering::SeqCst) {
            return times;
        }
        let db = rusqlite::Connection::open(project.store()).expect("it can be opened");
        let pragma = format!("PRAGMA wal_checkpoint({how})");
        // Busy: somebody writes or reads just now.
        let busy = db.query_row(&pragma, [], |row| row.get::<_, i64>(0)).unwrap_or(1);
        times += usize::from(busy == 0);
        drop(db);
        assert!(log.exists(), "the log of a node that works is deleted");
    }
    times
}

/// Looks at the project through the command line, again and again; answers how often.
fn look(project: &Project, done: &AtomicBool) -> usize {
    let mut times = 0;
    let commands: [&[&str]; 3] =
        [&["runs", "list", "--json", "--limit", "50"], &["state", "--json"], &["export"]];
    for command in commands.into_iter().cycle() {
        if done.load(Ordering::SeqCst) {
            return times;
        }
        project.moa_ok(command);
        times += 1;
    }
    times
}
