//! `moa demo`

use crate::project::call_in;

#[test]
fn the_demo_crashes_and_goes_on() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let said = call_in(dir.path(), &["demo"]).expect(0);
    assert!(said.err.contains("kill -9") || said.out.contains("kill -9"), "{}", said.err);
    assert!(said.out.contains("What the crash cost"), "{}", said.out);
    let root = dir.path().join("moa-demo");
    let listed = call_in(&root, &["runs", "list", "--json"]).expect(0).json();
    let listed = listed.as_array().expect("an array");
    assert!(listed.len() >= 3, "{listed:?}");
    assert!(listed.iter().all(|run| run["status"] == "succeeded"), "{listed:?}");
    assert!(call_in(&root, &["state"]).expect(0).json()["node"].is_null(), "its node is stopped");
    call_in(&root, &["doctor", "-q"]).expect(0);
}
