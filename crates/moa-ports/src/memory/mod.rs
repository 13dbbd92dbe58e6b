//! A whole store in memory: the plain model that every other store is compared with, and the store
//! of tests, of the simulator and of virtual time.
//!
//! Answers inline, on the caller's thread. Several nodes may share one ([`MemoryStore::shared`]):
//! a clone of a `MemoryStore` is another door to the same data, a [`MemoryStore::copy`] is a store
//! of its own with the same content. Absent: durability, and any fault (the simulator puts those
//! around it). Start reading at [`Model::commit`].

mod model;
mod prune;
mod slots;
mod triggers;
mod views;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use moa_core::ids::{NodeId, RunId};
use moa_core::time::{Millis, Span};
use moa_core::trigger::TriggerId;

pub use model::Model;

use crate::limit::LimitRow;
use crate::store::{
    Batch, BatchOutcome, Due, DueAsk, PruneAsk, Pruned, Registration, Reply, Snapshot, Store,
    WorkflowRef, WorkflowVersion,
};
use crate::triggers::TriggerRow;
use crate::views::HistoryRow;

/// A store in memory; cloning it gives another door to the same data.
#[derive(Clone)]
pub struct MemoryStore {
    model: Arc<Mutex<Model>>,
}

impl MemoryStore {
    /// A store for one node: as with SQLite, whoever registered last is the only one.
    pub fn single() -> Self {
        Self::of(Model::new(true))
    }

    /// A store for several nodes: as with PostgreSQL, registrations run out.
    pub fn shared() -> Self {
        Self::of(Model::new(false))
    }

    fn of(model: Model) -> Self {
        Self { model: Arc::new(Mutex::new(model)) }
    }

    /// A store of its own with the same content.
    pub fn copy(&self) -> Self {
        Self::of(self.model().clone())
    }

    /// The data itself, for tests and checkers; locked as long as the guard lives.
    pub fn model(&self) -> MutexGuard<'_, Model> {
        // A panic in a checker that held the guard leaves the data as it was.
        self.model.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every run with its steps, in order of id.
    pub fn snapshots(&self) -> Vec<Snapshot> {
        let model = self.model();
        model.run_ids().filter_map(|run| model.snapshot(run)).collect()
    }

    /// All history, in order.
    pub fn all_history(&self) -> Vec<HistoryRow> {
        self.model().history().cloned().collect()
    }
}

impl Store for MemoryStore {
    fn commit(&self, batch: Batch, reply: Reply<BatchOutcome>) {
        let outcome = self.model().commit(batch);
        reply(outcome);
    }

    fn load(&self, runs: Vec<RunId>, reply: Reply<Vec<Option<Snapshot>>>) {
        let model = self.model();
        let snapshots = runs.into_iter().map(|run| model.snapshot(run)).collect();
        drop(model);
        reply(Ok(snapshots));
    }

    fn load_triggers(&self, triggers: Vec<TriggerId>, reply: Reply<Vec<Option<TriggerRow>>>) {
        let model = self.model();
        let rows = triggers.into_iter().map(|id| model.trigger(id)).collect();
        drop(model);
        reply(Ok(rows));
    }

    fn due(&self, ask: DueAsk, reply: Reply<Due>) {
        let due = self.model().due(&ask);
        reply(Ok(due));
    }

    fn register(&self, now: Millis, node: NodeId, lease: Span, reply: Reply<Registration>) {
        let registration = self.model().register(now, node, lease);
        reply(Ok(registration));
    }

    fn put_workflow(&self, now: Millis, version: WorkflowVersion, reply: Reply<()>) {
        self.model().put_workflow(now, version);
        reply(Ok(()));
    }

    fn workflow(&self, which: WorkflowRef, reply: Reply<Option<WorkflowVersion>>) {
        let version = self.model().workflow(&which);
        reply(Ok(version));
    }

    fn prune(&self, ask: PruneAsk, reply: Reply<Pruned>) {
        let pruned = self.model().prune(&ask);
        reply(pruned);
    }

    fn limits(&self, reply: Reply<Vec<LimitRow>>) {
        let rows = self.model().limits();
        reply(Ok(rows));
    }

    fn close(&self) {}
}
