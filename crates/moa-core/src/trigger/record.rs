//! What became of an occurrence: the record that a store keeps of it.

use serde::{Deserialize, Serialize};

use crate::ids::RunId;
use crate::run::RunStatus;
use crate::schedule::Revision;
use crate::time::Millis;

/// What became of one occurrence, or of a range of slots with the same fate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Occurrence {
    /// Its name: with the trigger, its identity. Of a range, that of its first slot.
    pub key: String,
    /// What the trigger said then.
    pub revision: Revision,
    /// The slot, or when it happened.
    pub at: Millis,
    /// Of a slot: the offset of the schedule's zone then, in seconds east of UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<i32>,
    /// Of a range: its last slot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<Millis>,
    /// Of a range: the slots in it, as far as they were counted; else 1.
    pub count: u64,
    /// How it came about.
    pub origin: Origin,
    /// What became of it.
    pub outcome: Outcome,
    /// Why, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The run that it started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<RunId>,
    /// How that run ended, once it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<RunStatus>,
    /// When that was decided.
    pub decided_at: Millis,
}

/// A record, and whether it must be the first one of its occurrence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The record.
    pub occurrence: Occurrence,
    /// Whether there must be none of this occurrence yet; else it takes the place of the one there.
    pub new: bool,
}

/// A later change of a record, and of those that share its run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Amendment {
    /// Which occurrence.
    pub key: String,
    /// The run that it is about: a record that has another one by now stays as it is.
    pub run: RunId,
    /// What became of the occurrence after all, and why: then there is no such run.
    pub outcome: Option<(Outcome, String)>,
    /// How the run ended.
    pub result: Option<RunStatus>,
}

/// How an occurrence came about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// It happened, and was noticed in time.
    #[default]
    Live,
    /// A slot that nobody could start in time.
    CatchUp,
    /// A person asked for it.
    Manual,
    /// A backfill, by its number.
    Backfill(u32),
}

/// What became of an occurrence. Numbers as stores keep them; never used again for another meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Outcome {
    /// It started a run.
    Started = 0,
    /// It waits for other workflows.
    Waiting = 1,
    /// It waits for a run of the trigger to end.
    Buffered = 2,
    /// A run of the trigger was going on.
    SkippedOverlap = 3,
    /// Its day doesn't count.
    SkippedCalendar = 4,
    /// The trigger was paused.
    SkippedPaused = 5,
    /// It could not be started in time.
    SkippedLate = 6,
    /// The trigger may not start runs.
    SkippedDisabled = 7,
    /// The workflow's own limit was reached, and it says skip.
    SkippedLimit = 8,
    /// Nobody could start it in time, and it is not caught up on.
    Missed = 9,
    /// It has started a run before.
    Deduped = 10,
    /// The trigger was edited or removed before it could start.
    Discarded = 11,
    /// It could not be started: the workflow is gone, params don't fit.
    Failed = 12,
    /// It isn't what the trigger looks for. Counted, and not recorded one by one.
    Filtered = 13,
    /// The schedule had started all the runs that it may.
    SkippedFinished = 14,
    /// It shares the run of another one, by `batch`.
    Batched = 15,
    /// It shares the run of another one, by `debounce`.
    Debounced = 16,
}

impl Amendment {
    /// Whether it is about a record.
    pub fn fits(&self, record: &Occurrence) -> bool {
        record.run == Some(self.run) && (record.key == self.key || record.outcome.is_shared())
    }

    /// Makes it.
    pub fn amend(&self, record: &mut Occurrence) {
        record.result = self.result.or(record.result);
        if let Some((outcome, reason)) = &self.outcome {
            (record.outcome, record.reason) = (*outcome, Some(reason.clone()));
            record.run = None;
        }
    }
}

impl Outcome {
    /// Every outcome, in order of its number.
    pub const ALL: [Outcome; 17] = [
        Self::Started,
        Self::Waiting,
        Self::Buffered,
        Self::SkippedOverlap,
        Self::SkippedCalendar,
        Self::SkippedPaused,
        Self::SkippedLate,
        Self::SkippedDisabled,
        Self::SkippedLimit,
        Self::Missed,
        Self::Deduped,
        Self::Discarded,
        Self::Failed,
        Self::Filtered,
        Self::SkippedFinished,
        Self::Batched,
        Self::Debounced,
    ];

    /// The outcome with that number.
    pub fn from_number(n: u8) -> Option<Self> {
        Self::ALL.get(usize::from(n)).copied()
    }

    /// Its name, as everywhere outside.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Waiting => "waiting",
            Self::Buffered => "buffered",
            Self::SkippedOverlap => "skipped_overlap",
            Self::SkippedCalendar => "skipped_calendar",
            Self::SkippedPaused => "skipped_paused",
            Self::SkippedLate => "skipped_late",
            Self::SkippedDisabled => "skipped_disabled",
            Self::SkippedLimit => "skipped_limit",
            Self::Missed => "missed",
            Self::Deduped => "deduped",
            Self::Discarded => "discarded",
            Self::Failed => "failed",
            Self::Filtered => "filtered",
            Self::SkippedFinished => "skipped_finished",
            Self::Batched => "batched",
            Self::Debounced => "debounced",
        }
    }

    /// Whether it may still become another one.
    pub fn is_open(self) -> bool {
        matches!(self, Self::Waiting | Self::Buffered)
    }

    /// Whether it shares the run of another one, and what becomes of that.
    pub fn is_shared(self) -> bool {
        matches!(self, Self::Batched | Self::Debounced)
    }
}
