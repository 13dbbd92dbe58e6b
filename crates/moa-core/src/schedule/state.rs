//! What is remembered of a schedule between two steps, and what a step finds.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::spec::Revision;
use super::timetable::{Slot, Timetable};
use crate::ids::RunId;
use crate::time::{Millis, Span};

/// What is durable of a schedule. Invariant: every slot up to `mark` has a recorded outcome or
/// stands in `pending`, and none stands there twice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// What the schedule said when the mark was set.
    pub revision: Revision,
    /// The high-water mark: slots up to it, and with it, are accounted for.
    pub mark: Millis,
    /// Whether it is paused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<Paused>,
    /// Runs that it has started, all revisions together.
    #[serde(default)]
    pub runs: u64,
    /// Failed runs in a row.
    #[serde(default)]
    pub failures: u32,
    /// The next slot of `after:`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after_at: Option<Millis>,
    /// When a missed slot was last started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caught_up_at: Option<Millis>,
    /// Slots that are accepted and not started yet, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pending: Vec<Pending>,
}

/// Since when a schedule is paused, and by what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Paused {
    /// Since when.
    pub at: Millis,
    /// By what.
    pub by: PausedBy,
}

/// What paused a schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PausedBy {
    /// Somebody.
    Person,
    /// As many failed runs in a row as `on_failure.pause_after` says.
    Failures,
}

/// A slot that is accepted and not started yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// The slot.
    pub slot: Slot,
    /// Not started before.
    pub due: Millis,
    /// Why it isn't started yet.
    pub wait: Wait,
}

/// Why a slot isn't started yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wait {
    /// Its jitter isn't over.
    Due,
    /// Runs of the schedule have to end first.
    Running,
    /// It was missed, and its turn to be caught up hasn't come.
    CatchUp,
}

impl State {
    /// A new schedule: it starts at `now`, and nothing before is a slot of it.
    pub fn new(table: &Timetable, now: Millis) -> Self {
        let at_once = table.schedule().is_only_after();
        Self {
            revision: table.revision(),
            mark: Millis(now.0.saturating_sub(i64::from(at_once))),
            paused: None,
            runs: 0,
            failures: 0,
            after_at: at_once.then_some(now),
            caught_up_at: None,
            pending: Vec::new(),
        }
    }

    /// Whether it has started all the runs that it may.
    pub fn is_over(&self, table: &Timetable) -> bool {
        table.schedule().window.max_runs.is_some_and(|max| self.runs >= max)
    }
}

/// What is true outside of the schedule when a step is taken.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'f> {
    /// The runs that it started and that haven't ended.
    pub running: &'f [RunId],
    /// Whether its workflow may start runs.
    pub enabled: bool,
    /// No missed slot is started before: the process was started too often lately. See
    /// [`Restarts`](super::Restarts).
    pub catch_up_from: Option<Millis>,
    /// Slots that have a run already, of a backfill for instance.
    pub known: &'f BTreeMap<Millis, RunId>,
}

/// Why a step is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// Time has passed, or something in [`Facts`] or the timetable has changed.
    Tick,
    /// A run that it started has ended; `running` doesn't have it any more.
    Ended(End),
    /// Somebody pauses it.
    Pause,
    /// Somebody lets it go on.
    Resume,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It did what it should.
    Succeeded,
    /// It failed.
    Failed,
    /// It was cancelled: counts neither as success nor as failure.
    Cancelled,
}

/// What a step decides. The new state and all records belong in one transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// What is to be remembered.
    pub state: State,
    /// What became of slots, to be recorded. [`Outcome::Started`] = that run is to be started.
    pub records: Vec<Record>,
    /// Runs to be stopped.
    pub stop: Vec<(RunId, Stop)>,
    /// What people should be told.
    pub notices: Vec<Notice>,
    /// When to take the next step, if no input comes before.
    pub wake_at: Option<Millis>,
}

/// How a run is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Asked, and may clean up.
    Cancel,
    /// Now.
    Terminate,
}

/// What became of one slot, or of many alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Which.
    pub slots: Which,
    /// What became of them.
    pub outcome: Outcome,
}

/// The slots of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Which {
    /// One.
    One(Slot),
    /// All in a half-open range that aren't recorded one by one.
    Many {
        /// Where the range begins.
        from: Millis,
        /// Where it ends.
        to: Millis,
        /// How many there are; `None` = nobody knows any more what the schedule said.
        count: Option<u64>,
    },
}

/// What became of a slot. Final.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It starts a run.
    Started {
        /// The run's id, derived from the slot.
        run: RunId,
        /// How long after the slot.
        late: Span,
        /// Whether it was missed before; such runs come after others in the queue.
        catch_up: bool,
    },
    /// It was due and on purpose not started.
    Skipped(Skip),
    /// Nobody could start it in time, and it isn't caught up.
    Missed(Miss),
    /// It has a run already.
    Deduped {
        /// The run.
        run: RunId,
    },
}

/// Why a slot was skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Skip {
    /// A run was going on.
    Overlap,
    /// Its day doesn't count.
    Calendar,
    /// The schedule was paused.
    Paused,
    /// It couldn't be started within `max_lateness`.
    Late,
    /// The schedule or its workflow was disabled.
    Disabled,
    /// The schedule had started `max_runs` runs.
    Finished,
    /// The schedule was edited before it was started.
    Edited,
}

/// Why a missed slot isn't caught up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Miss {
    /// `catch_up.policy` is `none`.
    Policy,
    /// It is older than `catch_up.window`.
    Window,
    /// Newer ones are caught up or due, as many as the policy has.
    Newer,
}

/// What people should be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice {
    /// It was paused after so many failed runs in a row.
    PausedByFailures(u32),
    /// It has started the last of its runs.
    Finished,
    /// The clock was ahead and went back; slots since are judged anew, started ones not repeated.
    Rewound {
        /// The mark as it was.
        from: Millis,
    },
}
