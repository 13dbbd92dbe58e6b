//! Many processes and threads on the same database file, all of them folding its log back into it.

use std::sync::atomic::{AtomicBool, Ordering};

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
    node.stop();
    assert!(folded > 0 && looks >= READERS, "{folded} checkpoints, {looks} looks");
    assert_eq!(load.refused, [""; 0]);
    let runs = project.check(load.acks);
    assert_eq!(runs.len(), RUNS);
    let doctor = project.moa_ok(&["doctor", "--json"]);
    assert!(!doctor.contains("\"failed\""), "{doctor}");
}

/// Folds the log back into the file, again and again, from outside of moa; answers how often.
fn fold(project: &Project, done: &AtomicBool) -> usize {
    let db = rusqlite::Connection::open(project.store()).expect("it can be opened");
    let mut times = 0;
    for how in ["PASSIVE", "RESTART", "TRUNCATE"].into_iter().cycle() {
        if done.load(Ordering::SeqCst) {
            return times;
        }
        let pragma = format!("PRAGMA wal_checkpoint({how})");
        // Busy: somebody writes or reads just now.
        let busy = db.query_row(&pragma, [], |row| row.get::<_, i64>(0)).unwrap_or(1);
        times += usize::from(busy == 0);
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
