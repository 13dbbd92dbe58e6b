//! The rules of all stores.

use moa_ports::suite;

use crate::fixture::Sqlite;

#[test]
fn the_store_keeps_the_rules() {
    let skipped = suite::run_all(&|| Box::new(Sqlite::new()));
    let names: Vec<_> = skipped.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["a_registration_runs_out_unless_renewed"]);
}
