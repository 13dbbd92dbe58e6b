//! The read side of a store: what people and screens ask. Never needed to run anything.

use std::borrow::Cow;
use std::collections::BTreeMap;

use async_trait::async_trait;
use moa_core::event::{Event, InstIx};
use moa_core::ids::{Name, RunId, VersionHash};
use moa_core::machine::{Place, TimerKey};
use moa_core::run::{RunStatus, StepRow};
use moa_core::time::Millis;
use moa_core::trigger::{Occurrence, TriggerId};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::artifacts::ArtifactHash;
use crate::audit::{AuditEntry, AuditHead};
use crate::limit::LimitRow;
use crate::sealed::SealedRow;
use crate::search::{Found, Search};
use crate::store::{Error, Message, MessageId, Snapshot, TaskQueue, WorkflowVersion};
use crate::triggers::{HeardRow, OccurrenceFilter, TriggerFilter, TriggerRow};

/// Bytes of stored history that a store reads at once: a part ends with the row that goes beyond.
pub const PART_BYTES: usize = 4 << 20;

/// The read side of a store.
#[async_trait]
pub trait Views: Send + Sync {
    /// Runs that fit the filter, newest first.
    async fn runs(&self, filter: &RunFilter) -> Result<Vec<RunSummary>, Error>;

    /// Runs that hold a text. Looks at so many and no more: it may have further to go.
    async fn search(&self, search: &Search) -> Result<Found, Error>;

    /// A run with its step rows, however many it has.
    async fn run(&self, run: RunId) -> Result<Option<Snapshot>, Error>;

    /// A run with a part of its step rows: those from number `from` on, at most `limit`. It takes no
    /// more when there are others.
    async fn run_part(
        &self,
        run: RunId,
        from: InstIx,
        limit: usize,
    ) -> Result<Option<Snapshot>, Error> {
        self.run_within(run, from, limit, usize::MAX).await
    }

    /// The same, with fewer steps when they are large: none behind the one with which what they carry
    /// (outputs, errors, what a loop goes over) has `bytes` bytes or more, about.
    async fn run_within(
        &self,
        run: RunId,
        from: InstIx,
        limit: usize,
        bytes: usize,
    ) -> Result<Option<Snapshot>, Error>;

    /// Runs that fit the filter, in its order, each with its first step alone.
    async fn with_first_steps(&self, filter: &RunFilter) -> Result<Vec<Snapshot>, Error> {
        let mut found = Vec::new();
        for summary in self.runs(filter).await? {
            // One that is gone by now is no more.
            found.extend(self.run_part(summary.run, 0, 1).await?);
        }
        Ok(found)
    }

    /// Steps of a run that wait for a person ([`moa_core::step::WaitReason::asks`]), in order; at
    /// most `limit`.
    async fn asking(&self, run: RunId, limit: usize) -> Result<Vec<StepRow>, Error>;

    /// Runs whose id starts with these hexadecimal digits (hyphens left out), or ends with them and is
    /// one of the newest [`ENDS_LOOKED_MAX`]; at most 10.
    async fn find_runs(&self, digits: &str) -> Result<Vec<RunId>, Error>;

    /// The history of a run behind version `after`, in order, at most `rows` rows; fewer when they
    /// are large ([`PART_BYTES`]). Empty only when there is none.
    async fn history(&self, run: RunId, after: u64, rows: usize) -> Result<Vec<HistoryRow>, Error>;

    /// The history of all runs and of the bus behind event number `after`, in order. Never skips a row
    /// that is committed late.
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

    /// The history of all runs and of the bus, or of one of them, with its events as they are kept: so
    /// that none is read but those that somebody wants. Never skips a row that is committed late. Empty only when
    /// there is none.
    async fn kept(&self, ask: &KeptAsk) -> Result<Vec<KeptRow>, Error>;

    /// Who has heard of published events, for those of these event numbers that are there; in order.
    async fn heard(&self, published: &[u64]) -> Result<Vec<HeardRow>, Error>;

    /// When the newest event was published that isn't among the `keep` newest ones.
    async fn published_beyond(&self, keep: u64) -> Result<Option<Millis>, Error>;

    /// Where steps of a run stand, with all that their names take; `None` = there is no such run.
    /// What has no row is left out.
    async fn places(&self, run: RunId, steps: &[InstIx]) -> Result<Option<Places>, Error>;

    /// The newest event number.
    async fn last_event(&self) -> Result<u64, Error>;

    /// Versions of a workflow, or of all, newest first.
    async fn workflows(&self, workflow: Option<&Name>) -> Result<Vec<WorkflowVersion>, Error>;

    /// Versions of a workflow without their text and plan, newest first, each with its number in the
    /// order in which versions were put; one that is put again gets a new one. At most `limit`, of those
    /// before a number if one is given.
    async fn versions_put(
        &self,
        workflow: &Name,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<(u64, WorkflowVersion)>, Error>;

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

    /// The channels that have notifications, by name. As many are counted as retention keeps.
    async fn channels(&self) -> Result<Vec<ChannelRow>, Error>;

    /// What became of runs, in their order.
    async fn fates(&self, runs: &[RunId]) -> Result<Vec<Fate>, Error>;

    /// What became of the runs that refer to each of these artifacts: the fate of the one that needs
    /// it longest.
    async fn artifact_fates(&self, artifacts: &[ArtifactHash]) -> Result<Vec<Fate>, Error>;

    /// When the newest run ended that isn't among the `keep` newest ones with this status; of
    /// notifications (workflow `moa-notify`) alone, or of all other runs.
    async fn ended_beyond(
        &self,
        status: RunStatus,
        keep: u64,
        notifications: bool,
    ) -> Result<Option<Millis>, Error>;

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
    /// Notifications of this kind.
    #[serde(default)]
    pub notifies: Option<Notifies>,
    /// Older than this run (the last one of the page before).
    pub before: Option<RunId>,
    /// Younger than this run (the last one of the page before, with `oldest_first`).
    pub after: Option<RunId>,
    /// The oldest first, not the newest.
    pub oldest_first: bool,
    /// At most so many.
    pub limit: usize,
}

/// Notifications: runs of the workflow [`moa_core::workflow::NOTIFY_WORKFLOW`] by the texts among their
/// params.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notifies {
    /// `channel`.
    pub channel: String,
    /// `key`; `None` = any, or none.
    pub key: Option<String>,
}

/// How the notifications over a channel stand. Of those with the same key the newest counts alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelRow {
    /// The param `channel`.
    pub channel: String,
    /// The newest run.
    pub last: RunId,
    /// Those that have not ended.
    pub open: u64,
    /// Those that failed.
    pub dead: u64,
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
    /// The run; [`moa_core::machine::BUS`] = somebody published an event.
    pub run: RunId,
    /// The run's version after it; of the bus, the event number.
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

/// Which rows of the history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeptAsk {
    /// Of this run alone, or of the bus.
    pub run: Option<RunId>,
    /// Behind this event number.
    pub behind: u64,
    /// Up to this event number.
    pub upto: u64,
    /// The newest first, not the oldest.
    pub newest_first: bool,
    /// At most so many.
    pub rows: usize,
    /// None behind the one with which their events take so many bytes or more; at most
    /// [`PART_BYTES`].
    pub bytes: usize,
}

/// One commit, its events not read yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptRow {
    /// Event number over all runs.
    pub seq: u64,
    /// The run; [`moa_core::machine::BUS`] = somebody published an event.
    pub run: RunId,
    /// The run's workflow; the bus has none.
    pub workflow: Option<Name>,
    /// The run's version after it; of the bus, the event number.
    pub version: u64,
    /// When.
    pub at: Millis,
    /// Its events, as they are kept: an array, JSON.
    pub events: String,
}

impl KeptRow {
    /// The events with their places in the commit and the instants at which they happened, as
    /// [`HistoryRow::timed`] has them. None of them is read.
    ///
    /// # Errors
    /// [`Error::Corrupt`]: the row is damaged.
    pub fn timed(&self) -> Result<Vec<KeptEvent<'_>>, Error> {
        let all: Vec<&RawValue> =
            serde_json::from_str(&self.events).map_err(|e| self.damaged(e))?;
        let (mut at, mut timed) = (self.at, Vec::with_capacity(all.len()));
        for (index, text) in all.into_iter().enumerate() {
            let event = KeptEvent { index, at, text: text.get() };
            match event.kind() {
                Some("time_passed") => {
                    if let Event::TimePassed { at: later } = self.read(&event)? {
                        at = later;
                    }
                }
                _ => timed.push(event),
            }
        }
        Ok(timed)
    }

    /// Reads all of it.
    ///
    /// # Errors
    /// [`Error::Corrupt`]: it is damaged.
    pub fn whole(&self) -> Result<HistoryRow, Error> {
        let Self { seq, run, version, at, .. } = *self;
        let events = serde_json::from_str(&self.events).map_err(|e| self.damaged(e))?;
        Ok(HistoryRow { seq, run, version, at, events })
    }

    /// Reads an event.
    ///
    /// # Errors
    /// [`Error::Corrupt`]: it is damaged.
    pub fn read(&self, event: &KeptEvent<'_>) -> Result<Event, Error> {
        serde_json::from_str(event.text).map_err(|e| self.damaged(e))
    }

    fn damaged(&self, e: serde_json::Error) -> Error {
        let check = format!("the events of commit {} can't be read: {e}", self.seq);
        Error::Corrupt { place: format!("run {}", self.run), check }
    }
}

/// An event that is not read yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeptEvent<'a> {
    /// Its place in the commit.
    pub index: usize,
    /// When it happened.
    pub at: Millis,
    text: &'a str,
}

impl<'a> KeptEvent<'a> {
    /// Its type as it is kept: `step_ready`; `None` = only reading it tells.
    pub fn kind(&self) -> Option<&'a str> {
        // Written by us, the type stands first.
        let (kind, _) = self.text.strip_prefix("{\"type\":\"")?.split_once('"')?;
        Some(kind).filter(|kind| !kind.contains('\\'))
    }

    /// The type of an event that somebody published; `None` = it is another event.
    pub fn published(&self) -> Option<Cow<'a, str>> {
        #[derive(Deserialize)]
        struct Only<'a> {
            #[serde(borrow)]
            event: Cow<'a, str>,
        }
        if self.kind() != Some("event_published") {
            return None;
        }
        serde_json::from_str(self.text).ok().map(|only: Only<'a>| only.event)
    }
}

/// Where steps of a run stand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Places {
    /// The run's workflow.
    pub workflow: Name,
    /// Its version.
    pub hash: VersionHash,
    /// Those that were asked for, and what they stand in.
    pub steps: BTreeMap<InstIx, Place>,
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

/// How many runs are looked at for an id that ends in some way: nothing sorts them by their ends.
pub const ENDS_LOOKED_MAX: usize = 100_000;

/// How far steps that wait for a person are counted.
pub const ASKS_MAX: u64 = 10_000;
/// Tasks that can be claimed among which the oldest is looked for.
pub const READY_LOOKED_MAX: usize = 1000;

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
    /// Runs by status name, but for notifications.
    pub runs: BTreeMap<String, u64>,
    /// Runs of moa's own that tell people something (workflow `moa-notify`), by status name.
    #[serde(default)]
    pub notifications: BTreeMap<String, u64>,
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
    /// Since when the oldest of the tasks that can be claimed waits, among the first
    /// [`READY_LOOKED_MAX`] in the order of their queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_since: Option<Millis>,
    /// When the first trigger is due, by the wall clock; in the past when nobody has looked at it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigger_due: Option<Millis>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(events: &str) -> KeptRow {
        let (workflow, at) = (Name::new("w").ok(), Millis(5));
        let events = events.to_owned();
        KeptRow { seq: 3, run: RunId(1), workflow, version: 1, at, events }
    }

    #[test]
    fn an_event_is_read_without_those_beside_it() {
        let row = kept(
            r#"[{"type":"step_ready","step":4},{"type":"of a later moa"},
                {"type":"time_passed","at":9}, {"step":6,"type":"step_ready"}]"#,
        );
        let timed = row.timed().expect("it is an array");
        let places: Vec<_> = timed.iter().map(|event| (event.index, event.at.0)).collect();
        assert_eq!(places, [(0, 5), (1, 5), (3, 9)]);
        let kinds: Vec<_> = timed.iter().map(KeptEvent::kind).collect();
        assert_eq!(kinds, [Some("step_ready"), Some("of a later moa"), None]);
        assert_eq!(row.read(&timed[0]), Ok(Event::StepReady { step: 4 }));
        assert_eq!(row.read(&timed[2]), Ok(Event::StepReady { step: 6 }));
        assert!(matches!(row.read(&timed[1]), Err(Error::Corrupt { .. })));
        assert!(matches!(row.whole(), Err(Error::Corrupt { .. })));
        assert!(matches!(kept(r#"[{"type":"step_ready""#).timed(), Err(Error::Corrupt { .. })));
    }
}
