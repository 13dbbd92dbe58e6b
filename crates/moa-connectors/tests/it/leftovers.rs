//! Processes that a node which is gone left behind.

use std::path::Path;
use std::process::{Command, Stdio};

use moa_connectors::end_leftovers;
use moa_core::ids::NodeId;

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

    let ended = end_leftovers(&store, new);
    for pid in [quiet, deaf, family, inner] {
        assert!(!is_alive(pid));
        let found = ended.iter().find(|l| l.pid == pid).expect("it is told");
        assert_eq!((found.run.as_str(), found.step.as_str(), found.attempt), ("r1", "build", 2));
        assert!(found.start_time > 0);
    }
    assert!(is_alive(own) && is_alive(other));
    assert!(end_leftovers(&store, new).is_empty());
    end_leftovers(&store, old);
    end_leftovers(&another, new);
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
    assert!(!end_leftovers(&store, NodeId(2)).is_empty());
    let again = end_leftovers(&store, NodeId(2));
    std::fs::write(&stop, "").expect("a file");
    assert!(again.is_empty(), "{again:?}");
}
