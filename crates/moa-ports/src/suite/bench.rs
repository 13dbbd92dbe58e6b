//! A store on the test bench: its calls, made and waited for.

use moa_core::event::InstIx;
use moa_core::ids::{Name, NodeId, RunId};
use moa_core::run::{RunStatus, StepRow};
use moa_core::time::{Millis, Span};
use moa_core::trigger::{Occurrence, TriggerId};

use super::{Fixture, answer, block_on, build};
use crate::artifacts::ArtifactHash;
use crate::audit::{AuditEntry, AuditHead};
use crate::limit::LimitRow;
use crate::sealed::SealedRow;
use crate::search::{Found, Search};
use crate::store::{
    Batch, BatchOutcome, Commit, CommitOutcome, Due, DueAsk, Error, MessageId, PruneAsk, Pruned,
    Registration, Snapshot, Store, WorkflowRef, WorkflowVersion,
};
use crate::triggers::{
    HeardRow, OccurrenceFilter, TriggerCommit, TriggerFilter, TriggerOutcome, TriggerRow,
};
use crate::views::{
    ChannelRow, Fate, HistoryRow, KeptAsk, KeptRow, Pending, Places, RunFilter, RunSummary, Totals,
    Views,
};

/// A store on the test bench.
pub struct Bench {
    fixture: Box<dyn Fixture>,
}

/// What to look for: everything.
pub(super) const EVERYTHING: DueAsk = DueAsk::everything(build::NOW, 1000);

impl Bench {
    /// Puts a store on the bench.
    pub fn new(fixture: Box<dyn Fixture>) -> Self {
        Self { fixture }
    }

    fn store(&self) -> &dyn Store {
        self.fixture.store()
    }

    fn views(&self) -> &dyn Views {
        self.fixture.views()
    }

    /// Whether there can be only one node.
    pub fn exclusive(&self) -> bool {
        self.fixture.exclusive()
    }

    /// Closes the store and opens it again; false when nothing would survive that.
    pub fn reopen(&mut self) -> bool {
        self.fixture.reopen()
    }

    /// Commits a batch; the store's own answer.
    ///
    /// # Errors
    /// The store's.
    pub fn try_commit(&self, batch: Batch) -> Result<BatchOutcome, Error> {
        answer(|reply| self.store().commit(batch, reply))
    }

    /// Commits a batch that the store must take.
    pub fn batch(&self, batch: Batch) -> BatchOutcome {
        self.try_commit(batch).expect("the store takes a good batch")
    }

    /// Commits some in one batch; what became of each.
    pub fn all(&self, commits: Vec<Commit>) -> Vec<CommitOutcome> {
        self.batch(build::batch(commits)).commits
    }

    /// Commits one.
    pub fn one(&self, commit: Commit) -> CommitOutcome {
        self.all(vec![commit]).remove(0)
    }

    /// Commits one that must be applied; its event number.
    pub fn applied(&self, commit: Commit) -> u64 {
        match self.one(commit.clone()) {
            CommitOutcome::Applied { seq } => seq,
            other => panic!("{other:?} for {commit:?}"),
        }
    }

    /// Creates runs with these steps.
    pub fn create(&self, run: RunId, steps: Vec<StepRow>) {
        self.applied(build::with_steps(build::create(build::row(run)), steps));
    }

    /// A run as loaded.
    pub fn load(&self, run: RunId) -> Option<Snapshot> {
        self.load_all(vec![run]).remove(0)
    }

    /// Runs as loaded.
    pub fn load_all(&self, runs: Vec<RunId>) -> Vec<Option<Snapshot>> {
        answer(|reply| self.store().load(runs, reply)).expect("the store loads runs")
    }

    /// The version of a run; 0 when there is none.
    pub fn version(&self, run: RunId) -> u64 {
        self.load(run).map_or(0, |snapshot| snapshot.version)
    }

    /// Commits one change of a trigger; what became of it.
    pub fn trigger(&self, commit: TriggerCommit) -> TriggerOutcome {
        let batch = Batch { triggers: vec![commit], ..build::batch(Vec::new()) };
        self.batch(batch).triggers.remove(0)
    }

    /// Triggers as loaded.
    pub fn load_triggers(&self, ids: Vec<TriggerId>) -> Vec<Option<TriggerRow>> {
        answer(|reply| self.store().load_triggers(ids, reply)).expect("the store loads triggers")
    }

    /// See [`Views::triggers`].
    pub fn triggers(&self, filter: &TriggerFilter) -> Vec<TriggerRow> {
        block_on(self.views().triggers(filter)).expect("triggers are listed")
    }

    /// See [`Views::trigger`].
    pub fn view_trigger(&self, id: TriggerId) -> Option<TriggerRow> {
        block_on(self.views().trigger(id)).expect("a trigger is shown")
    }

    /// See [`Views::occurrences`].
    pub fn occurrences(&self, id: TriggerId, filter: &OccurrenceFilter) -> Vec<Occurrence> {
        block_on(self.views().occurrences(id, filter)).expect("occurrences are listed")
    }

    /// What is due.
    pub fn due(&self, ask: DueAsk) -> Due {
        answer(|reply| self.store().due(ask, reply)).expect("the store says what is due")
    }

    /// What has been used of agents' limits; both sides must say the same.
    pub fn limits(&self) -> Vec<LimitRow> {
        let rows = answer(|reply| self.store().limits(reply)).expect("the store reads limits");
        let seen = block_on(self.views().limits()).expect("the views read limits");
        assert_eq!(rows, seen);
        rows
    }

    /// See [`Views::sealed`].
    pub fn sealed(&self) -> Vec<SealedRow> {
        block_on(self.views().sealed()).expect("secrets are read")
    }

    /// See [`Views::audit`].
    pub fn audit(&self, after: u64, limit: usize) -> Vec<AuditEntry> {
        block_on(self.views().audit(after, limit)).expect("the audit log is read")
    }

    /// See [`Views::audit_head`].
    pub fn audit_head(&self) -> Option<AuditHead> {
        block_on(self.views().audit_head()).expect("the audit log is read")
    }

    /// Everything that is due.
    pub fn due_now(&self) -> Due {
        self.due(EVERYTHING)
    }

    /// The runs that have messages, in the order of the messages, with their numbers.
    pub fn mail(&self) -> Vec<(MessageId, RunId)> {
        self.due_now().messages.into_iter().map(|(id, message)| (id, message.to)).collect()
    }

    /// Takes all messages to runs away, as applied.
    pub fn read_mail(&self) {
        for (id, run) in self.mail() {
            let commit = build::silent(run, self.version(run));
            self.applied(Commit { consumed: vec![id], ..commit });
        }
    }

    /// Registers a node.
    pub fn register(&self, now: Millis, node: NodeId, lease: Span) -> Registration {
        answer(|reply| self.store().register(now, node, lease, reply)).expect("a node registers")
    }

    /// Keeps a workflow version.
    pub fn put_workflow(&self, now: Millis, version: WorkflowVersion) {
        answer(|reply| self.store().put_workflow(now, version, reply)).expect("a version is kept");
    }

    /// A workflow version.
    pub fn workflow(&self, which: WorkflowRef) -> Option<WorkflowVersion> {
        answer(|reply| self.store().workflow(which, reply)).expect("a version is found or not")
    }

    /// Deletes what is old, or says why not.
    pub fn try_prune(&self, ask: PruneAsk) -> Result<Pruned, Error> {
        answer(|reply| self.store().prune(ask, reply))
    }

    /// Deletes what is old.
    pub fn prune(&self, ask: PruneAsk) -> Pruned {
        self.try_prune(ask).expect("what is old is deleted")
    }

    /// See [`Views::fates`].
    pub fn fates(&self, runs: &[RunId]) -> Vec<Fate> {
        block_on(self.views().fates(runs)).expect("fates are told")
    }

    /// See [`Views::artifact_fates`].
    pub fn artifact_fates(&self, artifacts: &[ArtifactHash]) -> Vec<Fate> {
        block_on(self.views().artifact_fates(artifacts)).expect("fates are told")
    }

    /// See [`Views::ended_beyond`].
    pub fn ended_beyond(
        &self,
        status: RunStatus,
        keep: u64,
        notifications: bool,
    ) -> Option<Millis> {
        block_on(self.views().ended_beyond(status, keep, notifications)).expect("it is told")
    }

    /// See [`Views::runs`].
    pub fn runs(&self, filter: &RunFilter) -> Vec<RunSummary> {
        block_on(self.views().runs(filter)).expect("runs are listed")
    }

    /// See [`Views::search`].
    pub fn search(&self, search: &Search) -> Found {
        block_on(self.views().search(search)).expect("runs are looked through")
    }

    /// See [`Views::run`].
    pub fn view_run(&self, run: RunId) -> Option<Snapshot> {
        block_on(self.views().run(run)).expect("a run is shown")
    }

    /// See [`Views::find_runs`].
    pub fn find_runs(&self, digits: &str) -> Vec<RunId> {
        block_on(self.views().find_runs(digits)).expect("runs are searched")
    }

    /// See [`Views::history`].
    pub fn history(&self, run: RunId, after: u64, limit: usize) -> Vec<HistoryRow> {
        block_on(self.views().history(run, after, limit)).expect("history is read")
    }

    /// See [`Views::events`].
    pub fn events(&self, after: u64, rows: usize) -> Vec<HistoryRow> {
        self.events_within(after, rows, usize::MAX)
    }

    /// See [`Views::events`].
    pub fn events_within(&self, after: u64, rows: usize, events: usize) -> Vec<HistoryRow> {
        block_on(self.views().events(after, rows, events)).expect("events are read")
    }

    /// See [`Views::run_part`].
    pub fn run_part(&self, run: RunId, from: InstIx, limit: usize) -> Option<Snapshot> {
        block_on(self.views().run_part(run, from, limit)).expect("a run is shown")
    }

    /// See [`Views::run_within`].
    pub fn run_within(&self, run: RunId, from: InstIx, bytes: usize) -> Option<Snapshot> {
        let part = self.views().run_within(run, from, usize::MAX, bytes);
        block_on(part).expect("a run is shown")
    }

    /// See [`Views::with_first_steps`].
    pub fn with_first_steps(&self, filter: &RunFilter) -> Vec<Snapshot> {
        block_on(self.views().with_first_steps(filter)).expect("runs are shown")
    }

    /// See [`Views::versions_put`].
    pub fn versions_put(
        &self,
        workflow: &Name,
        before: Option<u64>,
        limit: usize,
    ) -> Vec<(u64, WorkflowVersion)> {
        block_on(self.views().versions_put(workflow, before, limit)).expect("versions are listed")
    }

    /// See [`Views::asking`].
    pub fn asking(&self, run: RunId, limit: usize) -> Vec<StepRow> {
        block_on(self.views().asking(run, limit)).expect("steps are shown")
    }

    /// See [`Views::heard`].
    pub fn heard(&self, published: &[u64]) -> Vec<HeardRow> {
        block_on(self.views().heard(published)).expect("it is read")
    }

    /// See [`Views::published_beyond`].
    pub fn published_beyond(&self, keep: u64) -> Option<Millis> {
        block_on(self.views().published_beyond(keep)).expect("it is read")
    }

    /// See [`Views::kept`].
    pub fn kept(&self, ask: &KeptAsk) -> Vec<KeptRow> {
        block_on(self.views().kept(ask)).expect("the history is read")
    }

    /// See [`Views::places`].
    pub fn places(&self, run: RunId, steps: &[InstIx]) -> Option<Places> {
        block_on(self.views().places(run, steps)).expect("places are read")
    }

    /// See [`Views::last_event`].
    pub fn last_event(&self) -> u64 {
        block_on(self.views().last_event()).expect("the newest event has a number")
    }

    /// See [`Views::workflows`].
    pub fn workflows(&self, workflow: Option<&Name>) -> Vec<WorkflowVersion> {
        block_on(self.views().workflows(workflow)).expect("versions are listed")
    }

    /// See [`Views::workflow`].
    pub fn view_workflow(&self, hash: moa_core::ids::VersionHash) -> Option<WorkflowVersion> {
        block_on(self.views().workflow(hash)).expect("a version is shown")
    }

    /// See [`Views::pending`].
    pub fn pending(&self, run: RunId) -> Pending {
        block_on(self.views().pending(run)).expect("what a run waits for is shown")
    }

    /// See [`Views::totals`].
    pub fn totals(&self) -> Totals {
        block_on(self.views().totals()).expect("all is counted")
    }

    /// See [`Views::channels`].
    pub fn channels(&self) -> Vec<ChannelRow> {
        block_on(self.views().channels()).expect("all is counted")
    }

    /// See [`Views::verify`].
    pub fn verify(&self) -> Vec<String> {
        block_on(self.views().verify()).expect("the data is checked")
    }
}
