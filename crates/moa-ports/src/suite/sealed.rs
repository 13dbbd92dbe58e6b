//! Rules of the secrets that a store keeps.

use super::build::{NOW, batch};
use super::{Bench, Verdict, rules};
use crate::sealed::{SealedRow, SealedWrite};
use crate::store::Batch;

rules![
    a_secret_is_kept_from_version_to_version_until_it_is_deleted,
    changes_of_secrets_are_written_all_or_none,
    secrets_survive_a_restart,
];

fn set(name: &str, expected: u64, sealed: &[u8]) -> SealedWrite {
    SealedWrite { name: name.to_owned(), expected, sealed: Some(sealed.to_vec()) }
}

fn delete(name: &str, expected: u64) -> SealedWrite {
    SealedWrite { name: name.to_owned(), expected, sealed: None }
}

fn row(name: &str, version: u64, sealed: &[u8]) -> SealedRow {
    SealedRow { name: name.to_owned(), version, sealed: sealed.to_vec(), changed_at: NOW }
}

/// Whether the changes were written.
fn write(bench: &Bench, sealed: Vec<SealedWrite>) -> bool {
    !bench.batch(Batch { sealed, ..batch(Vec::new()) }).sealed_refused
}

fn a_secret_is_kept_from_version_to_version_until_it_is_deleted(bench: &mut Bench) -> Verdict {
    assert_eq!(bench.sealed(), []);
    assert!(write(bench, vec![set("TOKEN", 0, b"\0one"), set("KEY", 0, b"")]));
    assert!(write(bench, vec![set("TOKEN", 1, b"two")]));
    assert_eq!(bench.sealed(), [row("KEY", 1, b""), row("TOKEN", 2, b"two")]);
    assert!(write(bench, vec![delete("TOKEN", 2)]));
    assert_eq!(bench.sealed(), [row("KEY", 1, b"")]);
    assert!(write(bench, vec![set("TOKEN", 0, b"new")]));
    Verdict::Passed
}

fn changes_of_secrets_are_written_all_or_none(bench: &mut Bench) -> Verdict {
    assert!(write(bench, vec![set("A", 0, b"1")]));
    for wrong in [
        vec![set("B", 0, b"2"), set("A", 0, b"2")],
        vec![set("B", 1, b"2")],
        vec![set("B", 0, b"2"), delete("A", 2)],
        vec![set("B", 0, b"2"), set("B", 0, b"3")],
        vec![delete("B", 1)],
    ] {
        assert!(!write(bench, wrong));
        assert_eq!(bench.sealed(), [row("A", 1, b"1")]);
    }
    Verdict::Passed
}

fn secrets_survive_a_restart(bench: &mut Bench) -> Verdict {
    assert!(write(bench, vec![set("A", 0, b"1")]));
    if !bench.reopen() {
        return Verdict::Skipped("nothing survives a restart");
    }
    assert_eq!(bench.sealed(), [row("A", 1, b"1")]);
    Verdict::Passed
}
