//! A damaged store is refused or served whole; never silently wrong.

use std::fs::{self, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use moa_faults::history::Run;
use serde_json::json;

use crate::chance::Chance;
use crate::node::Node;
use crate::project::Project;

const PAGE: u64 = 4096;
const ROUNDS: usize = 12;
/// The documented exit code for a damaged store.
const DAMAGED: i32 = 7;

#[test]
fn a_damaged_store_is_never_served_as_if_it_were_whole() {
    let project = Project::new();
    let mut chance = Chance::new("a_damaged_store_is_never_served_as_if_it_were_whole");
    let node = Node::start(&project);
    let mut client = node.try_connect().expect("it answers");
    for i in 0..300 {
        let params = json!({"text": "x".repeat(i * 7)});
        client.start("quiet", params, &format!("k{i}")).expect("the node stays").expect("started");
    }
    project.wait_until_over(&node);
    node.stop();
    let log = project.store().with_file_name("moa.db-wal");
    assert!(!log.exists(), "a node that was stopped leaves one file, which can be copied");
    let whole = project.export();
    assert_eq!(whole.len(), 300);
    let kept = project.ledger.with_file_name("kept.db");
    fs::copy(project.store(), &kept).expect("a copy");

    let mut refused = 0;
    for round in 0..ROUNDS {
        restore(&project, &kept);
        let what = damage(&project.store(), round, &mut chance);
        refused += usize::from(is_refused(&project, &whole, &what));
    }
    println!(
        "{refused} of {ROUNDS} damaged stores were refused, the others were whole all the same"
    );
    assert!(refused >= ROUNDS / 2, "most damage is found: {refused} of {ROUNDS}");

    restore(&project, &kept);
    assert_eq!(project.export(), whole, "a copy put in its place is all that is needed");
    Node::start(&project).stop();
}

fn restore(project: &Project, kept: &Path) {
    let store = project.store();
    for beside in ["moa.db-wal", "moa.db-shm"] {
        let _ = fs::remove_file(store.with_file_name(beside));
    }
    fs::copy(kept, store).expect("the copy");
}

/// Flips a bit, empties a page, or cuts off the last page. Says what it did.
fn damage(store: &Path, round: usize, chance: &mut Chance) -> String {
    let mut file = OpenOptions::new().read(true).write(true).open(store).expect("the store");
    let size = file.metadata().expect("its size").len();
    match round % 3 {
        0 => {
            let (at, bit) = (chance.below(size), chance.below(8));
            let mut byte = [0];
            file.seek(SeekFrom::Start(at)).expect("seek");
            file.read_exact(&mut byte).expect("read");
            file.seek(SeekFrom::Start(at)).expect("seek");
            file.write_all(&[byte[0] ^ (1 << bit)]).expect("write");
            format!("bit {bit} of byte {at} flipped")
        }
        1 => {
            let page = chance.below(size / PAGE);
            file.seek(SeekFrom::Start(page * PAGE)).expect("seek");
            file.write_all(&[0; PAGE as usize]).expect("write");
            format!("page {page} emptied")
        }
        _ => {
            file.set_len(size - PAGE * (1 + chance.below(3))).expect("truncate");
            "the end cut off".to_owned()
        }
    }
}

/// Whether the damage is found by a start. Where it isn't, all data must be what it was.
fn is_refused(project: &Project, whole: &[Run], what: &str) -> bool {
    let doctor = project.moa(&["doctor"]);
    let mut node = Node::spawn(project);
    if node.ready_or_dead().is_none() {
        let (code, said) = (node.wait().code(), node.said());
        assert_eq!(code, Some(DAMAGED), "{what}: {said}");
        let helps = said.contains("moa.db") && said.contains("restore");
        assert!(helps, "{what}: neither the file nor the way out is named: {said}");
        assert!(!doctor.status.success(), "{what}: doctor finds what a start finds");
        return true;
    }
    drop(node);
    let export = project.moa(&["export", "--check-format"]);
    if export.status.success() {
        let text = String::from_utf8_lossy(&export.stdout);
        let runs: Vec<Run> = moa_faults::history::parse_lines(&text).expect("the export");
        assert_eq!(runs, whole, "{what}: served silently wrong");
        return false;
    }
    assert_eq!(export.status.code(), Some(DAMAGED), "{what}");
    assert!(!doctor.status.success(), "{what}: doctor finds what an export finds");
    true
}
