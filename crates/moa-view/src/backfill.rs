//! What a backfill would do, and what the store remembers of the slots that it is about.
//!
//! Records of occurrences are kept for a time. A slot that is older and has no record may have had a run:
//! to start it could be to do its work a second time, so somebody has to say that it is meant.

use std::collections::BTreeMap;
use std::ops::Range;

use moa_core::ids::RunId;
use moa_core::limits::BACKFILL_SLOTS_MAX;
use moa_core::run::RunStatus;
use moa_core::schedule::{Reprocess, Slot, Timetable};
use moa_core::time::{Millis, Span};
use moa_core::trigger::{BackfillRequest, Occurrence, Outcome, starts_again};
use moa_ports::triggers::{OccurrenceFilter, TriggerRow};
use moa_ports::views::Views;
use serde::{Deserialize, Serialize};

use crate::exit::{Failure, Result};
use crate::trigger::Known;
use crate::{now, text};

/// Records read at once.
const ROWS: usize = 1000;

/// The slots that a backfill would go over, before it is known what became of each.
#[derive(Debug)]
pub struct Slots {
    table: Timetable,
    slots: Vec<Slot>,
    range: Range<Millis>,
}

impl Slots {
    /// Those of the range that the schedule has judged already; what comes later is its own. Works
    /// long for a date that hardly ever is.
    ///
    /// # Errors
    /// It is no schedule, or has more slots there than a backfill goes over.
    pub fn of(known: &Known, request: &BackfillRequest) -> Result<Self> {
        let table = known.table()?;
        let mark = known.state().schedule.map_or(now(), |state| state.mark).min(now());
        let to = request.to.min(Millis(mark.0 + 1));
        let range = request.from..to.max(request.from);
        if is_too_long(&table, range.clone()) {
            let text = format!("the range has more than {BACKFILL_SLOTS_MAX} slots");
            let hint =
                format!("a backfill has at most {BACKFILL_SLOTS_MAX}: choose a shorter range");
            return Err(Failure::refused(text).hint(hint));
        }
        let mut slots: Vec<Slot> = table.slots(range.clone()).collect();
        if request.reverse {
            slots.reverse();
        }
        Ok(Self { table, slots, range })
    }

    /// What a backfill would do with each. `age`: how long records are kept.
    ///
    /// # Errors
    /// The store can't be read.
    pub async fn preview(
        self,
        views: Option<&dyn Views>,
        known: &Known,
        request: &BackfillRequest,
        age: Option<Span>,
    ) -> Result<Preview> {
        let remembered = match (views, &known.row) {
            (Some(views), Some(row)) => Remembered::read(views, row, self.range, age).await?,
            _ => Remembered::default(),
        };
        let judged = self.slots.iter().map(|slot| {
            let record = remembered.records.get(&slot.at);
            Judged {
                slot: slot.at.to_string(),
                local: self.table.local(*slot),
                starts: record.is_none_or(|record| starts_again(record, request.reprocess)),
                forgotten: remembered.has_forgotten(slot.at),
                outcome: record.map(|record| record.outcome),
                run: record.and_then(|record| record.run),
                result: record.and_then(|record| record.result),
            }
        });
        let slots: Vec<Judged> = judged.collect();
        let starts = slots.iter().filter(|slot| slot.starts).count();
        let forgotten = slots.iter().filter(|slot| slot.forgotten).count();
        let refused = match remembered.before {
            _ if !known.spec.enabled => {
                Some(format!("{} is disabled: nothing starts", known.spec.title()))
            }
            _ if slots.is_empty() => {
                let title = known.spec.title();
                Some(format!("{title} has no slot of the past in this range"))
            }
            Some(before) if forgotten > 0 && may_refuse(request) => {
                Some(is_forgotten(forgotten, before))
            }
            _ => None,
        };
        Ok(Preview { name: known.spec.title(), starts, forgotten, refused, slots })
    }
}

/// What a backfill would do, were it asked for now.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Preview {
    /// The schedule.
    pub name: String,
    /// Slots that would be started.
    pub starts: usize,
    /// Slots that may have had a run which nobody remembers.
    pub forgotten: usize,
    /// Why it would be refused.
    pub refused: Option<String>,
    /// The slots that it would go over, in the order in which it would.
    pub slots: Vec<Judged>,
}

impl Preview {
    /// Whether it would be refused because of what is forgotten.
    pub fn is_refused_as_forgotten(&self) -> bool {
        self.refused.is_some() && self.forgotten > 0
    }
}

/// A slot, and what a backfill would do with it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Judged {
    /// It.
    pub slot: String,
    /// Its local time.
    pub local: String,
    /// Whether it would be started; else it is passed over.
    pub starts: bool,
    /// Whether it may have had a run which nobody remembers.
    pub forgotten: bool,
    /// What became of it; `None` = nothing that is remembered.
    pub outcome: Option<Outcome>,
    /// The run that it had last.
    pub run: Option<RunId>,
    /// How that ended.
    pub result: Option<RunStatus>,
}

/// Whether a range has more slots than a backfill goes over.
fn is_too_long(table: &Timetable, range: Range<Millis>) -> bool {
    let most = BACKFILL_SLOTS_MAX as u64;
    let counted = table.count_up_to(range, most);
    counted.on > most || counted.off > most * 100
}

/// That slots may have had runs which nobody remembers.
fn is_forgotten(slots: usize, before: Millis) -> String {
    let slots = text::plural(slots, "slot");
    format!(
        "{slots} of the range may have had runs: what became of slots before {before} is forgotten"
    )
}

/// What is remembered of a range of slots.
#[derive(Debug, Default)]
struct Remembered {
    /// Records of single slots.
    records: BTreeMap<Millis, Occurrence>,
    /// Ranges with a record: none of their slots has had a run.
    ranges: Vec<(Millis, Millis)>,
    /// What is older than this may have been forgotten.
    before: Option<Millis>,
}

impl Remembered {
    /// Reads it. `age`: how long records are kept.
    async fn read(
        views: &dyn Views,
        row: &TriggerRow,
        range: Range<Millis>,
        age: Option<Span>,
    ) -> Result<Self> {
        let mut all = Self { before: row.state.forgotten_before(age, now()), ..Self::default() };
        let mut after = None;
        loop {
            let (from, to) = (Some(range.start), Some(range.end));
            let filter = OccurrenceFilter { from, to, after, limit: ROWS, ..Default::default() };
            let page = views.occurrences(row.spec.id(), &filter).await?;
            after = page.last().map(|o| (o.at, o.key.clone()));
            let done = page.len() < ROWS;
            all.ranges.extend(page.iter().filter_map(|o| Some((o.at, o.last?))));
            let single = page.into_iter().filter(|o| o.key == o.at.to_string());
            all.records.extend(single.map(|o| (o.at, o)));
            if done {
                return Ok(all);
            }
        }
    }

    /// Whether a slot may have had a run that nobody remembers.
    fn has_forgotten(&self, slot: Millis) -> bool {
        self.before.is_some_and(|before| slot < before)
            && !self.records.contains_key(&slot)
            && !self.ranges.iter().any(|(first, last)| (*first..=*last).contains(&slot))
    }
}

/// Whether slots that may have had forgotten runs are a reason to refuse a request.
fn may_refuse(request: &BackfillRequest) -> bool {
    // Who wants each slot started again need not know which have had a run.
    !request.forgotten && request.reprocess != Reprocess::All
}

/// Refuses a backfill of slots that may have had runs which nobody remembers, unless it says so.
///
/// # Errors
/// There are such slots; the store can't be read.
pub async fn check(
    views: &dyn Views,
    row: &TriggerRow,
    request: &BackfillRequest,
    age: Option<Span>,
) -> Result<()> {
    let Some(source) = row.spec.schedule().filter(|_| may_refuse(request)) else { return Ok(()) };
    if row.state.backfills.iter().any(|backfill| backfill.key == request.key) {
        return Ok(());
    }
    let Ok(table) = Timetable::new(source.schedule.clone(), &source.calendars) else {
        return Ok(());
    };
    let to = request.to.min(now());
    let range = request.from..to.max(request.from);
    // Of more than that none is started.
    if is_too_long(&table, range.clone()) {
        return Ok(());
    }
    let remembered = Remembered::read(views, row, range.clone(), age).await?;
    let forgotten = table.slots(range).filter(|slot| remembered.has_forgotten(slot.at)).count();
    let Some(before) = remembered.before.filter(|_| forgotten > 0) else { return Ok(()) };
    Err(Failure::refused(is_forgotten(forgotten, before))
        .hint("--dry-run shows which; --forgotten starts them all the same")
        .hint("`retention: {occurrences: {age: …}}` in moa.yaml says how long it is remembered"))
}

#[cfg(test)]
mod tests {
    use moa_core::trigger::TriggerState;

    use super::*;

    #[test]
    fn what_is_older_than_the_records_is_forgotten_unless_the_trigger_is_younger() {
        let (now, age) = (Millis(1_000_000), Some(Span(1_000)));
        let born =
            |born: Option<i64>| TriggerState { born: born.map(Millis), ..Default::default() };
        let before = Some(Millis(999_000));
        assert_eq!(born(None).forgotten_before(age, now), before);
        assert_eq!(born(Some(0)).forgotten_before(age, now), before);
        assert_eq!(born(Some(999_000)).forgotten_before(age, now), None);
        assert_eq!(born(Some(0)).forgotten_before(None, now), None, "they are kept for ever");
        let remembered =
            Remembered { before, ranges: vec![(Millis(10), Millis(20))], ..Remembered::default() };
        let forgotten =
            [9, 10, 20, 21, 998_999, 999_000].map(|at| remembered.has_forgotten(Millis(at)));
        assert_eq!(forgotten, [true, false, false, true, true, false]);
    }
}
