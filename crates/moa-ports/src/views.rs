//! The read side of a store: what people and screens ask. Never needed to run anything.

use async_trait::async_trait;
use moa_core::event::{Event, InstIx};
use moa_core::ids::{Name, RunId, VersionHash};
use moa_core::machine::TimerKey;
use moa_core::run::RunStatus;
use moa_core::time::Millis;
use moa_core::trigger::{Occurrence, TriggerId};
use serde::{Deserialize, Serialize};

use crate::artifacts::ArtifactHash;
use crate::audit::{AuditEntry, AuditHead};
use crate::limit::LimitRow;
use crate::sealed::SealedRow;
use crate::store::{Error, Message, MessageId, Snapshot, TaskQueue, WorkflowVersion};
use crate::triggers::{OccurrenceFilter, TriggerFilter, TriggerRow};

/// Bytes of stored history that a store reads at once: a part ends with the row that goes beyond.
pub const PART_BYTES: usize = 4 << 20;

/// The read side of a store.
#[async_trait]
pub trait Views: Send + Sync {
    /// Runs that fit the filter, newest first.
    async fn runs(&self, filter: &RunFilter) -> Result<Vec<RunSummary>, Error>;

    /// A run with its step rows.
    async fn run(&self, run: RunId) -> Result<Option<Snapshot>, Error>;

    /// Runs whose id starts or ends with these hexadecimal digits (hyphens left out); at most 10.
    async fn find_runs(&self, digits: &str) -> Result<Vec<RunId>, Error>;

    /// The history of a run behind version `after`, in order, at most `rows` rows; fewer when they
    /// are large ([`PART_BYTES`]). Empty only when there is none.
    async fn history(&self, run: RunId, after: u64, rows: usize) -> Result<Vec<HistoryRow>, Error>;

    /// The history of all runs behind event number `after`, in order. Never skips a row that is
    /// committed late.
    ///
    /// At most `rows` rows, and none behind the one with which they hold `events` events or more: a
    /// row may hold thousands. Fewer when they are large ([`PART_BYTES`]). Empty only when there is
    /// none.
    async fn events(
        &self,
        after: u64,
        rows: usize,
        events: usize,
    ) -> Result<Vec<HistoryRow>, Error>;

    /// The history of all runs up to event number `upto`, newest first; as much as [`Self::events`].
    async fn latest(&self, upto: u64, rows: usize, events: usize)
    -> Result<Vec<HistoryRow>, Error>;

    /// The newest event number.
    async fn last_event(&self) -> Result<u64, Error>;

    /// Versions of a workflow, or of all, newest first.
    async fn workflows(&self, workflow: Option<&Name>) -> Result<Vec<WorkflowVersion>, Error>;

    /// A version by identity.
    async fn workflow(&self, hash: VersionHash) -> Result<Option<WorkflowVersion>, Error>;

    /// Armed timers and waiting messages of a run: what it waits for.
    async fn pending(&self, run: RunId) -> Result<Pending, Error>;

    /// Triggers that fit the filter, in order of workflow and name.
    async fn triggers(&self, filter: &TriggerFilter) -> Result<Vec<TriggerRow>, Error>;

    /// A trigger.
    async fn trigger(&self, id: TriggerId) -> Result<Option<TriggerRow>, Error>;

    /// Occurrences of a trigger that fit the filter, the newest first.
    async fn occurrences(
        &self,
        trigger: TriggerId,
        filter: &OccurrenceFilter,
    ) -> Result<Vec<Occurrence>, Error>;

    /// Numbers for the whole store.
    async fn totals(&self) -> Result<Totals, Error>;

    /// What became of runs, in their order.
    async fn fates(&self, runs: &[RunId]) -> Result<Vec<Fate>, Error>;

    /// What became of the runs that refer to each of these artifacts: the fate of the one that needs
    /// it longest.
    async fn artifact_fates(&self, artifacts: &[ArtifactHash]) -> Result<Vec<Fate>, Error>;

    /// When the newest run ended that isn't among the `keep` newest ones with this status.
    async fn ended_beyond(&self, status: RunStatus, keep: u64) -> Result<Option<Millis>, Error>;

    /// What has been used of agents' limits, by agent.
    async fn limits(&self) -> Result<Vec<LimitRow>, Error>;

    /// Secrets that are kept, by name.
    async fn sealed(&self) -> Result<Vec<SealedRow>, Error>;

    /// The audit log behind an entry's number, in order, at most `limit` entries.
    async fn audit(&self, after: u64, limit: usize) -> Result<Vec<AuditEntry>, Error>;

    /// The newest entry of the audit log; `None` = it is empty.
    async fn audit_head(&self) -> Result<Option<AuditHead>, Error>;

    /// Checks the data itself; one line for each thing that is wrong.
    async fn verify(&self) -> Result<Vec<String>, Error>;
}

/// Which runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunFilter {
    /// Of these statuses; empty = all.
    pub statuses: Vec<RunStatus>,
    /// Of this workflow.
    pub workflow: Option<Name>,
    /// Not of this workflow.
    pub except: Option<Name>,
    /// Started by this run.
    pub parent: Option<RunId>,
    /// With a step that waits for a person ([`moa_core::step::WaitReason::asks`]).
    #[serde(default)]
    pub asks: bool,
    /// Older than this run (the last one of the page before).
    pub before: Option<RunId>,
    /// Younger than this run (the last one of the page before, with `oldest_first`).
    pub after: Option<RunId>,
    /// The oldest first, not the newest.
    pub oldest_first: bool,
    /// At most so many.
    pub limit: usize,
}

/// A run in a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunSummary {
    /// The run.
    pub run: RunId,
    /// The workflow's id.
    pub workflow: Name,
    /// Its version.
    pub hash: VersionHash,
    /// Status.
    pub status: RunStatus,
    /// Who or what started it.
    pub cause: String,
    /// The run that started it.
    pub parent: Option<RunId>,
    /// When it was created.
    pub created_at: Millis,
    /// When its steps could run.
    pub started_at: Option<Millis>,
    /// When it ended.
    pub finished_at: Option<Millis>,
    /// What failed first, or why it was cancelled.
    pub error: Option<String>,
}

/// One commit's events.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HistoryRow {
    /// Event number over all runs.
    pub seq: u64,
    /// The run.
    pub run: RunId,
    /// The run's version after it.
    pub version: u64,
    /// When.
    pub at: Millis,
    /// What happened, in order.
    pub events: Vec<Event>,
}

impl HistoryRow {
    /// The events with their places in the commit and the instants at which they happened.
    pub fn timed(&self) -> impl Iterator<Item = (usize, Millis, &Event)> {
        let mut at = self.at;
        self.events.iter().enumerate().filter_map(move |(index, event)| match event {
            Event::TimePassed { at: later } => {
                at = *later;
                None
            }
            event => Some((index, at, event)),
        })
    }
}

/// What a run waits for.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Pending {
    /// Armed timers.
    pub timers: Vec<(TimerKey, Millis)>,
    /// Messages not applied yet.
    pub messages: Vec<(MessageId, Message)>,
    /// Its place among the runs that wait for the same concurrency slot, from 1, and who holds it.
    pub queued: Option<(u32, Vec<RunId>)>,
    /// Its tasks that can be claimed, by step; the first [`PENDING_TASKS_MAX`].
    pub tasks: Vec<PendingTask>,
}

/// How many tasks of a run [`Pending`] tells of.
pub const PENDING_TASKS_MAX: usize = 10;
/// How far is counted what is before a task.
pub const BEFORE_MAX: u64 = 1000;

/// A task that can be claimed, and what is before it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingTask {
    /// The step.
    pub inst: InstIx,
    /// Where it waits.
    pub queue: TaskQueue,
    /// Tasks before it in that queue; at most [`BEFORE_MAX`].
    pub before: u64,
    /// Other queues of its agent that have tasks, with which its own takes turns; at most
    /// [`BEFORE_MAX`].
    pub others: u64,
}

/// How far steps that wait for a person are counted.
pub const ASKS_MAX: u64 = 10_000;

/// What became of a run. In order of how long what belongs to it is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    /// The store has no such run (any more).
    Unknown,
    /// It ended then.
    Ended(Millis),
    /// It goes on.
    Open,
}

/// Numbers for the whole store.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Runs by status name.
    pub runs: std::collections::BTreeMap<String, u64>,
    /// Tasks that can be claimed.
    pub ready: u64,
    /// Attempts running.
    pub running: u64,
    /// Armed timers.
    pub timers: u64,
    /// Messages not applied yet.
    pub messages: u64,
    /// Steps that wait for a person; counted up to [`ASKS_MAX`].
    #[serde(default)]
    pub asks: u64,
    /// The newest event number.
    pub events: u64,
    /// When the first trigger is due, by the wall clock; in the past when nobody has looked at it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigger_due: Option<Millis>,
}
