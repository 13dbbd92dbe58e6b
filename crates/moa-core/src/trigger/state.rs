//! The state of a trigger: what a store keeps of it beside its spec and its records.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::record::{Origin, Outcome};
use crate::ids::{Name, RunId};
use crate::limit::RateLog;
use crate::run::RunStatus;
use crate::schedule::{self, Overlap, Reprocess};
use crate::time::{Millis, Span};
use crate::workflow::Priority;

/// The state of a trigger.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TriggerState {
    /// When it began to say what it says.
    pub since: Millis,
    /// When it came to be; not known of those from before this was kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub born: Option<Millis>,
    /// Whether its definition is gone. It keeps what must not be forgotten, should it come back.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub removed: bool,
    /// Of a rule: whether its workflow is gone. It starts nothing until that is back, or until it is
    /// told of another one.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub orphaned: bool,
    /// Since when and why nothing is started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paused: Option<Paused>,
    /// Of a schedule: what is remembered of its slots.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schedule: Option<schedule::State>,
    /// Of a schedule: when to look at its slots again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wake_at: Option<Millis>,
    /// Runs that it started and that have not ended.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub open: BTreeMap<RunId, OpenRun>,
    /// Occurrences that wait for its runs to end, oldest first. Slots wait in `schedule`.
    #[serde(skip_serializing_if = "VecDeque::is_empty")]
    pub buffered: VecDeque<Held>,
    /// Occurrences that are going to share a run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub collected: Option<Collected>,
    /// A slot that waits for other workflows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting: Option<Waiting>,
    /// The newest run of each workflow that ended as it should since the last start.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub arrived: BTreeMap<Name, Arrived>,
    /// The newest runs of workflows that a schedule waits for, oldest first.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub cycles: BTreeMap<Name, Vec<Cycle>>,
    /// Backfills: those that go on, and the last ones that ended.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub backfills: Vec<Backfill>,
    /// Number of the newest backfill.
    #[serde(skip_serializing_if = "is_zero")]
    pub last_backfill: u32,
    /// Failed runs in a row.
    #[serde(skip_serializing_if = "is_zero")]
    pub failures: u32,
    /// Occurrences by outcome.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub counts: BTreeMap<Outcome, u64>,
    /// The newest occurrence that was decided about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<Last>,
    /// Slots passed over one after the other for the same reason: they share a record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub streak: Option<Streak>,
    /// The runs that it has started within the time of its guard.
    #[serde(skip_serializing_if = "RateLog::is_empty")]
    pub starts: RateLog,
    /// How many runs gave the same output.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub same: Option<Same>,
    /// When its newest run was started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_started: Option<Millis>,
}

impl TriggerState {
    /// Before which instant slots may have had runs that nobody remembers, when records of occurrences
    /// are kept for `age`; `None` = there is none.
    pub fn forgotten_before(&self, age: Option<Span>, now: Millis) -> Option<Millis> {
        let before = Millis(now.0.saturating_sub_unsigned(age?.0));
        // What it has done since it came to be is all there.
        self.born.is_none_or(|born| born < before).then_some(before)
    }
}

fn is_zero(n: &u32) -> bool {
    *n == 0
}

/// Why a trigger starts nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Paused {
    /// Who paused it.
    pub by: String,
    /// Why, for people.
    pub reason: String,
    /// When.
    pub at: Millis,
}

/// A run that has not ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenRun {
    /// The occurrence that started it.
    pub key: String,
    /// The slot, or when it happened.
    pub at: Millis,
    /// How the occurrence came about.
    #[serde(default)]
    pub origin: Origin,
    /// How many others share it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub with: u32,
}

/// An occurrence on its way to a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Held {
    /// Its name.
    pub key: String,
    /// The slot, or when it happened.
    pub at: Millis,
    /// Of a slot: the offset of the schedule's zone then, in seconds east of UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<i32>,
    /// How it came about.
    #[serde(default)]
    pub origin: Origin,
    /// What expressions see of it.
    #[serde(default)]
    pub vars: Arc<Json>,
    /// Params that a person gave, beside the trigger's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub params: Option<Arc<Json>>,
    /// What a person said about overlap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlap: Option<Overlap>,
    /// Priority, when not the trigger's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<Priority>,
    /// Bytes of what it carries.
    #[serde(default)]
    pub bytes: usize,
    /// Those that share its run, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub with: Vec<Sharer>,
}

/// An occurrence that shares the run of another one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sharer {
    /// Its name.
    pub key: String,
    /// When it happened.
    pub at: Millis,
}

/// Occurrences that are going to share a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Collected {
    /// When the first one was noticed.
    pub since: Millis,
    /// When the newest one was.
    pub last: Millis,
    /// They, oldest first.
    pub held: Vec<Held>,
}

/// How many runs in a row succeeded with the same output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Same {
    /// Digest of the output.
    pub digest: u64,
    /// How many gave it after the first.
    pub count: u32,
}

/// Slots passed over one after the other for the same reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Streak {
    /// What became of them.
    pub outcome: Outcome,
    /// The first slot of those that share a record: the second of all.
    pub first: Millis,
    /// The last slot.
    pub last: Millis,
    /// How many share the record.
    pub count: u64,
}

/// A slot that waits for other workflows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Waiting {
    /// The slot.
    pub held: Held,
    /// The run that it will start.
    pub run: RunId,
    /// Since when it waits.
    pub since: Millis,
    /// When it was last looked at.
    pub seen_at: Millis,
}

/// The end of a run that others wait for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Arrived {
    /// The run.
    pub run: RunId,
    /// How it ended.
    pub status: RunStatus,
    /// When.
    pub at: Millis,
    /// Its output, if it isn't long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Arc<Json>>,
}

/// A run of a workflow that a schedule waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cycle {
    /// The run.
    pub run: RunId,
    /// The slot that started it, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<Millis>,
    /// When it came to be.
    pub at: Millis,
    /// How and when it ended, once it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<(RunStatus, Millis)>,
}

/// The newest occurrence that was decided about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Last {
    /// Its name.
    pub key: String,
    /// The slot, or when it happened.
    pub at: Millis,
    /// What became of it.
    pub outcome: Outcome,
    /// The run that it started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<RunId>,
    /// When that was decided.
    pub decided_at: Millis,
}

/// Slots of a half-open range that are started again, or for the first time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backfill {
    /// Its number among the trigger's.
    pub number: u32,
    /// The caller's name for it.
    pub key: String,
    /// The range that was asked for.
    pub from: Millis,
    /// Its end, not in it.
    pub to: Millis,
    /// How far it is: what is left is from here on, or before here if it goes backward.
    pub cursor: Millis,
    /// Whether it goes from the newest slot to the oldest.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reverse: bool,
    /// Slots in the range.
    pub slots: u32,
    /// Runs at once.
    pub at_once: u32,
    /// Which slots that have had a run get another one.
    #[serde(default)]
    pub reprocess: Reprocess,
    /// Slots that were started.
    pub started: u32,
    /// Slots that were passed over: they have had a run.
    pub passed: u32,
    /// Runs that did not succeed, and slots that could not be started.
    pub failed: u32,
    /// When it was asked for.
    pub at: Millis,
    /// Who asked for it.
    pub by: String,
    /// Priority of its runs; low when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<Priority>,
    /// Whether it was cancelled.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cancelled: bool,
    /// When its last run ended, once it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Millis>,
}
