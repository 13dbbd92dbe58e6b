//! The state of one run, in memory, and the rows that a store keeps of it.
//!
//! Rows are the truth that is loaded. Counters and indices beside them are derived, and rebuilt when
//! a run is loaded. The machine that changes a run is in [`crate::machine`].

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::event::InstIx;
use crate::ids::{Name, NodeId, RunId, VersionHash};
use crate::step::{SkipReason, StepError, StepStatus, WaitReason};
use crate::time::Millis;
use crate::trace::TraceContext;
use crate::trigger::TriggerId;
use crate::workflow::{BodyIx, Priority, StepIx};

/// Status of a run.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum RunStatus {
    /// It waits for a slot of its concurrency key.
    #[default]
    Pending = 0,
    /// Some step is ready or running.
    Running = 1,
    /// All that is open waits: for a timer, a signal, a person, a child.
    Waiting = 2,
    /// No new attempt starts until it is resumed.
    Paused = 3,
    /// All went well.
    Succeeded = 4,
    /// Some step failed for good.
    Failed = 5,
    /// Cancelled or terminated.
    Cancelled = 6,
}

impl RunStatus {
    /// Every status, in order of its number.
    pub const ALL: [RunStatus; 7] = [
        Self::Pending,
        Self::Running,
        Self::Waiting,
        Self::Paused,
        Self::Succeeded,
        Self::Failed,
        Self::Cancelled,
    ];

    /// Whether it never changes again.
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }

    /// The status with that number, as stores keep it.
    pub fn from_number(n: u8) -> Option<Self> {
        Self::ALL.get(usize::from(n)).copied()
    }

    /// Its name, as everywhere outside.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Paused => "paused",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// Which part of its plan a run is in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Phase {
    /// The main steps.
    #[default]
    Main = 0,
    /// Undoing, in reverse order, what had succeeded.
    Compensate = 1,
    /// `on_failure`.
    OnFailure = 2,
    /// `finally`.
    Finally = 3,
    /// Nothing more.
    Done = 4,
}

impl Phase {
    /// The phase with that number, as stores keep it.
    pub fn from_number(n: u8) -> Option<Self> {
        [Self::Main, Self::Compensate, Self::OnFailure, Self::Finally, Self::Done]
            .get(usize::from(n))
            .copied()
    }
}

/// The step that started a child run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParentRef {
    /// The parent run.
    pub run: RunId,
    /// The step instance in it.
    pub step: InstIx,
    /// Nesting: 1 for a child of a run that has no parent.
    pub depth: u32,
}

/// The occurrence that started a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TriggerRef {
    /// The trigger.
    pub trigger: TriggerId,
    /// What people call it: `WORKFLOW/NAME`.
    pub name: String,
    /// The occurrence's name.
    pub key: String,
    /// The slot, if a schedule was due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<Millis>,
    /// What expressions see of it, by name: `slot` or `event`.
    #[serde(default)]
    pub vars: Arc<Json>,
}

/// What a run takes over from another one of the same workflow (`retry`, `rerun --from`, `fork`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Seed {
    /// The run that it comes from.
    pub run: RunId,
    /// Terminal instances taken over as they are, loops' state among them.
    pub steps: Vec<StepRow>,
}

/// Whose tasks the tasks of a run are, where several have to share an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fairness {
    /// The key; never empty. The same in whatever workflow.
    pub key: Arc<str>,
    /// Turns for each turn of a key of weight 1; 1 to `limits::FAIRNESS_WEIGHT_MAX`.
    pub weight: u32,
}

/// What a store keeps of a run, beside its steps. Written only when it changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunRow {
    /// The run.
    pub run: RunId,
    /// The workflow's id.
    pub workflow: Name,
    /// Its version.
    pub hash: VersionHash,
    /// Status.
    pub status: RunStatus,
    /// Part of the plan.
    pub phase: Phase,
    /// Priority of its tasks.
    pub priority: Priority,
    /// Params.
    pub params: Arc<Json>,
    /// The step that started it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<ParentRef>,
    /// The occurrence that started it, or the run that it repeats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigger: Option<Arc<TriggerRef>>,
    /// When it was created.
    pub created_at: Millis,
    /// When its steps could run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Millis>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Millis>,
    /// The workflow's `outputs`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Arc<Json>>,
    /// What failed first, or why it was cancelled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<StepError>,
    /// The rest.
    #[serde(default)]
    pub extra: RunExtra,
}

impl RunRow {
    /// The trace that it is part of.
    pub fn trace(&self) -> TraceContext {
        let own = || TraceContext::of(self.parent.map_or(self.run, |parent| parent.run));
        self.extra.trace.unwrap_or_else(own)
    }
}

/// Parts of a run's row that few runs have; kept as one JSON value.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RunExtra {
    /// Who or what started it, for people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cause: String,
    /// The concurrency key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency_key: Option<String>,
    /// Whose tasks its tasks are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fairness: Option<Fairness>,
    /// The trace that it is part of, when that is neither its own nor its parent's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace: Option<TraceContext>,
    /// Why it is being cancelled, once somebody asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cancel: Option<String>,
    /// Whether it is being cancelled because its time is over. Then `on_failure` comes all the same.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub timed_out: bool,
    /// Whether `on_failure` does not come any more or is to stop too: its time is over as well, or
    /// somebody has asked for that.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub unhandled: bool,
    /// When `on_failure` began; `None` also where an older moa began it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub handling_since: Option<Millis>,
    /// Whether it was the time of `on_failure` that was over, and not that of the main steps: what
    /// failed in them is why the run fails.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub handling_timed_out: bool,
    /// Whether it is paused.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub paused: bool,
    /// When it was last resumed: a pause is not counted as time in the queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resumed_at: Option<Millis>,
    /// Signals kept until a step takes them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub signals: Vec<KeptSignal>,
    /// Keys of signals seen, oldest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub signal_keys: Vec<String>,
    /// The run that it repeats in part.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forked_from: Option<RunId>,
    /// First instances of `on_failure` and `finally`, once they are open.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub open_bodies: BTreeMap<BodyIx, InstIx>,
}

impl RunExtra {
    /// Whether it is being cancelled for good. One whose time is over has failed: that is handled
    /// first.
    pub fn is_cancelled(&self) -> bool {
        self.cancel.is_some() && (!self.timed_out || self.unhandled)
    }
}

/// A signal that no step has taken yet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KeptSignal {
    /// Its name.
    pub name: String,
    /// What it carries.
    pub payload: Arc<Json>,
}

/// What a store keeps of a step instance: one row for the step, its task and its lease. Written only
/// when it changed; a step that is still pending has no row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepRow {
    /// Index of the instance in its run; with the run, the row's key.
    pub inst: InstIx,
    /// Its step in the plan.
    pub plan: StepIx,
    /// The loop, or the compensated step, that created it; `None` in the main body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<InstIx>,
    /// The iteration, from 0.
    #[serde(default)]
    pub iteration: u32,
    /// Status.
    pub status: StepStatus,
    /// What it waits for, when waiting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<WaitReason>,
    /// Why it was skipped, when skipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skip: Option<SkipReason>,
    /// Attempts started so far.
    #[serde(default)]
    pub attempt: u32,
    /// Attempts that don't count against the policy (stopped by a shutdown).
    #[serde(default)]
    pub released: u32,
    /// The node that holds the lease, when running.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeId>,
    /// Place in the queue, when its task can be claimed (ready, and the run isn't paused): less is
    /// sooner. See `policy::queue_key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue_key: Option<i64>,
    /// Whose task it is, as long as it has a `queue_key`: so that a store finds the tasks of one
    /// agent behind however many of another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<Name>,
    /// The fairness key of its run, as long as it has a `queue_key`: so that a store finds the tasks
    /// of one key behind however many of another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fairness_key: Option<Arc<str>>,
    /// When it was first ready, waiting or running.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_at: Option<Millis>,
    /// When its first attempt started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Millis>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Millis>,
    /// Until when it waits at the latest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Millis>,
    /// Its output; never null, which is no output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Arc<Json>>,
    /// Its last error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<StepError>,
    /// What else belongs to it: a loop's items and blocks, a wait's detail. Rare.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Arc<StepData>>,
}

impl StepRow {
    /// When it began to do something: what succeeds at once has no attempt, and takes no time. `None` = it
    /// has not, or never did, however long it was ready.
    pub fn began(&self) -> Option<Millis> {
        let at_once = self.ready_at.filter(|_| self.status == StepStatus::Succeeded);
        self.started_at.or(at_once)
    }
}

fn is_zero(n: &u32) -> bool {
    *n == 0
}

/// Parts of a step's row that few steps have; kept as one JSON value.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StepData {
    /// The branch that a container opened.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub branch: Option<u16>,
    /// Whether its children may run (containers).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub opened: bool,
    /// Whether its own action is done (a task with branches).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub own_done: bool,
    /// Blocks of instances of its body: (first instance, first iteration, iterations). A `while`
    /// keeps only the newest; the older ones are found in their rows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub block: Option<(InstIx, u32, u32)>,
    /// The items of a `foreach`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub items: Option<Arc<Json>>,
    /// The action that is asked whether the last attempt happened.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub check: Option<String>,
    /// How often it was asked, and failed to answer.
    #[serde(skip_serializing_if = "is_zero")]
    pub checks_failed: u32,
    /// First instance of its compensation, once that is open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compensation: Option<InstIx>,
    /// What belongs to a wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<Arc<Json>>,
}
