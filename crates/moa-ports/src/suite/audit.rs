//! Rules of the audit log.

use super::build::{self, batch, create, run};
use super::{Bench, Verdict, rules};
use crate::audit::{AuditEntry, AuditHead};
use crate::store::Batch;

rules![
    entries_are_kept_in_order_and_chained,
    the_chain_goes_on_after_a_restart,
    an_entry_is_written_with_what_else_is_in_the_batch,
    the_beginning_is_removed_and_never_the_end,
];

fn append(bench: &Bench, bodies: &[&str]) -> Vec<AuditHead> {
    let audit = bodies.iter().map(|&body| body.to_owned()).collect();
    bench.batch(Batch { audit, ..batch(Vec::new()) }).audit
}

/// The entries that these texts make.
fn chain(bodies: &[&str]) -> Vec<AuditEntry> {
    let mut head = None;
    let mut entry = |&body: &&str| {
        let next = AuditHead::next(head.as_ref(), body);
        head = Some(next);
        AuditEntry { seq: next.seq, hash: next.hash, body: body.to_owned() }
    };
    bodies.iter().map(&mut entry).collect()
}

fn entries_are_kept_in_order_and_chained(bench: &mut Bench) -> Verdict {
    assert_eq!(bench.audit_head(), None);
    assert_eq!(bench.audit(0, 9), []);
    let told = [append(bench, &["{\"a\": 1}", ""]), append(bench, &["ä \u{0} '"])].concat();
    let expected = chain(&["{\"a\": 1}", "", "ä \u{0} '"]);
    assert_eq!(bench.audit(0, 9), expected);
    assert_eq!(told, expected.iter().map(AuditEntry::head).collect::<Vec<_>>());
    assert_eq!(bench.audit_head(), expected.last().map(AuditEntry::head));
    assert_eq!(bench.audit(1, 1), expected[1..2]);
    assert_eq!(bench.audit(3, 9), []);
    Verdict::Passed
}

fn the_chain_goes_on_after_a_restart(bench: &mut Bench) -> Verdict {
    append(bench, &["a", "b"]);
    if !bench.reopen() {
        return Verdict::Skipped("nothing survives a restart");
    }
    append(bench, &["c"]);
    assert_eq!(bench.audit(0, 9), chain(&["a", "b", "c"]));
    Verdict::Passed
}

fn the_beginning_is_removed_and_never_the_end(bench: &mut Bench) -> Verdict {
    let remove = |bench: &Bench, audit_upto, audit: &[&str]| {
        let audit = audit.iter().map(|&body| body.to_owned()).collect();
        bench.batch(Batch { audit, audit_upto, ..batch(Vec::new()) }).audit
    };
    assert_eq!(remove(bench, 9, &[]), [], "there is nothing");
    append(bench, &["a", "b", "c"]);
    let expected = chain(&["a", "b", "c", "d", "e"]);
    assert_eq!(remove(bench, 2, &["d"]), [expected[3].head()]);
    assert_eq!(bench.audit(0, 9), expected[2..4]);
    remove(bench, u64::MAX, &[]);
    assert_eq!(bench.audit(0, 9), expected[3..4]);
    bench.reopen();
    append(bench, &["e"]);
    assert_eq!(bench.audit_head(), Some(expected[4].head()), "the chain goes on");
    Verdict::Passed
}

fn an_entry_is_written_with_what_else_is_in_the_batch(bench: &mut Bench) -> Verdict {
    let both = Batch { audit: vec!["a".to_owned()], ..batch(vec![create(build::row(run(1)))]) };
    assert_eq!(bench.batch(both).audit.len(), 1);
    assert_eq!(bench.version(run(1)), 1);
    assert_eq!(bench.audit(0, 9), chain(&["a"]));
    Verdict::Passed
}
