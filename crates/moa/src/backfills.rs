//! What the store remembers of the slots that a backfill is about.
//!
//! Records of occurrences are kept for a time. A slot that is older and has no record may have had a run:
//! to start it could be to do its work a second time, so somebody has to say that it is meant.

use std::collections::BTreeMap;
use std::ops::Range;

use moa_core::limits::BACKFILL_SLOTS_MAX;
use moa_core::schedule::{Reprocess, Timetable};
use moa_core::time::{Millis, Span};
use moa_core::trigger::{BackfillRequest, Occurrence};
use moa_ports::triggers::{OccurrenceFilter, TriggerRow};
use moa_ports::views::Views;

use crate::exit::{Failure, Result};
use crate::text;
use crate::view::now;

/// Records read at once.
const ROWS: usize = 1000;

/// What is remembered of a range of slots.
#[derive(Debug, Default)]
pub struct Remembered {
    /// Records of single slots.
    pub records: BTreeMap<Millis, Occurrence>,
    /// Ranges with a record: none of their slots has had a run.
    ranges: Vec<(Millis, Millis)>,
    /// What is older than this may have been forgotten.
    before: Option<Millis>,
}

impl Remembered {
    /// Reads it. `age`: how long records are kept.
    pub async fn read(
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
    pub fn has_forgotten(&self, slot: Millis) -> bool {
        self.before.is_some_and(|before| slot < before)
            && !self.records.contains_key(&slot)
            && !self.ranges.iter().any(|(first, last)| (*first..=*last).contains(&slot))
    }
}

/// Whether slots that may have had forgotten runs are a reason to refuse a request.
pub fn may_refuse(request: &BackfillRequest) -> bool {
    // Who wants each slot started again need not know which have had a run.
    !request.forgotten && request.reprocess != Reprocess::All
}

/// Refuses a backfill of slots that may have had runs which nobody remembers, unless it says so.
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
    let most = BACKFILL_SLOTS_MAX as u64;
    let counted = table.count_up_to(range.clone(), most);
    if counted.on > most || counted.off > most * 100 {
        return Ok(());
    }
    let remembered = Remembered::read(views, row, range.clone(), age).await?;
    let forgotten = table.slots(range).filter(|slot| remembered.has_forgotten(slot.at)).count();
    let Some(before) = remembered.before.filter(|_| forgotten > 0) else { return Ok(()) };
    let slots = text::plural(forgotten, "slot");
    let text = format!(
        "{slots} of the range may have had runs: what became of slots before {before} is forgotten"
    );
    Err(Failure::refused(text)
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
