//! Runs for slots of the past, because somebody asks for them.

use std::collections::BTreeMap;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::state::End;
use super::timetable::{Slot, Timetable};
use crate::ids::RunId;
use crate::limits::BACKFILL_SLOTS_MAX;
use crate::time::Millis;

/// Which slots that have a run already get another one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reprocess {
    /// None.
    #[default]
    None,
    /// Those whose last run failed.
    Failed,
    /// All whose last run has ended.
    All,
}

/// The last run of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// The run.
    pub run: RunId,
    /// How it ended; `None` = it hasn't.
    pub end: Option<End>,
    /// How many runs the slot had.
    pub runs: u32,
}

/// What a backfill does about one slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refill {
    /// It starts this run.
    Start(Slot, RunId),
    /// It has this run, and that is enough.
    Keep(Slot, RunId),
}

/// Why there is no backfill.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BackfillError {
    /// The range ends in the future, where slots come by themselves.
    #[error("the range ends at {to}, and it is only {now}")]
    Future {
        /// The end of the range.
        to: Millis,
        /// The time.
        now: Millis,
    },
    /// There are too many slots for one backfill.
    #[error("the range has {count} slots; a backfill has at most {BACKFILL_SLOTS_MAX}")]
    TooMany {
        /// How many there are.
        count: u64,
    },
}

/// What to do about the slots of a half-open range, from the oldest to the newest. Nothing is
/// changed by asking: it is the dry run as well.
///
/// # Errors
/// See [`BackfillError`].
pub fn backfill(
    table: &Timetable,
    range: Range<Millis>,
    reprocess: Reprocess,
    known: &BTreeMap<Millis, Known>,
    now: Millis,
) -> Result<Vec<Refill>, BackfillError> {
    if range.end > now {
        return Err(BackfillError::Future { to: range.end, now });
    }
    let slots: Vec<Slot> = table.slots(range.clone()).take(BACKFILL_SLOTS_MAX + 1).collect();
    if slots.len() > BACKFILL_SLOTS_MAX {
        return Err(BackfillError::TooMany { count: table.count(range).on });
    }
    let refill = |slot: Slot| {
        let id = table.slot_id(slot.at);
        let Some(last) = known.get(&slot.at) else { return Refill::Start(slot, id.run_id()) };
        let again = match (reprocess, last.end) {
            (_, None) | (Reprocess::None, _) => false,
            (Reprocess::Failed, Some(end)) => end == End::Failed,
            (Reprocess::All, Some(_)) => true,
        };
        if again {
            Refill::Start(slot, id.rerun_id(last.runs))
        } else {
            Refill::Keep(slot, last.run)
        }
    };
    Ok(slots.into_iter().map(refill).collect())
}
