//! The memory store against the suite of all stores.

use moa_ports::memory::MemoryStore;
use moa_ports::store::Store;
use moa_ports::suite::{self, Fixture};
use moa_ports::views::Views;

struct Memory {
    store: MemoryStore,
    exclusive: bool,
}

impl Fixture for Memory {
    fn store(&self) -> &dyn Store {
        &self.store
    }
    fn views(&self) -> &dyn Views {
        &self.store
    }
    fn exclusive(&self) -> bool {
        self.exclusive
    }
    fn reopen(&mut self) -> bool {
        false
    }
}

#[test]
fn the_store_of_one_node_keeps_the_rules() {
    let skipped =
        suite::run_all(&|| Box::new(Memory { store: MemoryStore::single(), exclusive: true }));
    let names: Vec<_> = skipped.iter().map(|(name, _)| *name).collect();
    let known = [
        "what_is_written_survives_a_restart",
        "what_is_used_survives_a_restart",
        "a_registration_runs_out_unless_renewed",
        "the_chain_goes_on_after_a_restart",
        "secrets_survive_a_restart",
    ];
    assert_eq!(names, known);
}

#[test]
fn the_store_of_several_nodes_keeps_the_rules() {
    let skipped =
        suite::run_all(&|| Box::new(Memory { store: MemoryStore::shared(), exclusive: false }));
    let names: Vec<_> = skipped.iter().map(|(name, _)| *name).collect();
    assert_eq!(
        names,
        [
            "what_is_written_survives_a_restart",
            "what_is_used_survives_a_restart",
            "the_last_node_is_the_only_one",
            "the_chain_goes_on_after_a_restart",
            "secrets_survive_a_restart",
        ]
    );
}

#[test]
fn a_copy_is_a_store_of_its_own() {
    let store = MemoryStore::single();
    let commit = |store: &MemoryStore, n| {
        let create = suite::build::create(suite::build::row(suite::build::run(n)));
        suite::answer(|reply| store.commit(suite::build::batch(vec![create]), reply)).map(drop)
    };
    commit(&store, 1).expect("a run is created");
    let copy = store.copy();
    commit(&copy, 2).expect("a run is created");
    assert_eq!((store.snapshots().len(), copy.snapshots().len()), (1, 2));
    assert_eq!((store.all_history().len(), copy.all_history().len()), (1, 2));
}
