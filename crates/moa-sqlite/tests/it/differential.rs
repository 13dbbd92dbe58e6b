//! The memory store and the SQLite store give the same answers.

use std::collections::BTreeMap;

use moa_ports::memory::MemoryStore;
use moa_ports::store::Store;
use moa_ports::suite::Fixture;
use moa_ports::suite::differential::{Seen, compare, sequence};
use moa_ports::views::Views;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::fixture::Sqlite;

struct Memory(MemoryStore);

impl Fixture for Memory {
    fn store(&self) -> &dyn Store {
        &self.0
    }
    fn views(&self) -> &dyn Views {
        &self.0
    }
    fn exclusive(&self) -> bool {
        true
    }
    fn reopen(&mut self) -> bool {
        false
    }
}

fn run(operations: &[u64]) -> Result<Seen, String> {
    compare(operations, Box::new(Memory(MemoryStore::single())), Box::new(Sqlite::new()))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn short_sequences_give_the_same_answers(operations in vec(any::<u64>(), 1..80)) {
        if let Err(difference) = run(&operations) {
            prop_assert!(false, "{difference}");
        }
    }
}

#[test]
fn long_sequences_give_the_same_answers() {
    // More of them in a long run: MOA_SEEDS=200 cargo test -p moa-sqlite long_sequences
    let seeds = std::env::var("MOA_SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(4);
    let mut all = BTreeMap::new();
    for seed in 0..seeds {
        let seen = match run(&sequence(seed, 1000)) {
            Ok(seen) => seen,
            Err(difference) => panic!("seed {seed}: {difference}"),
        };
        let counts = [
            ("applied", seen.applied),
            ("conflicts", seen.conflicts),
            ("duplicates", seen.duplicates),
            ("skipped", seen.skipped),
            ("invalid", seen.invalid),
            ("messages", seen.messages),
            ("due", seen.due),
            ("pruned", seen.pruned),
            ("reopened", seen.reopened),
        ];
        for (what, count) in counts {
            *all.entry(what).or_insert(0) += count;
        }
    }
    for (what, count) in &all {
        assert!(*count > 0, "nothing was {what}: {all:?}");
    }
}
