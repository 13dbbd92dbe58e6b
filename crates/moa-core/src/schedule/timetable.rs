//! When a schedule is due: its slots in order, without regard to what happens in them.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::calendar::{Calendars, Resolved, UnknownCalendar};
use super::date::{DAY, Day};
use super::spec::{Dst, Revision, Schedule, SlotId};
use super::wall;
use super::zone::Zone;
use crate::limits::SCHEDULE_SEARCH_YEARS_MAX;
use crate::time::Millis;

/// First width, in milliseconds, of the range in which the newest slots are looked for; it is
/// doubled until they are found.
const NEWEST_WIDTH_MS: i64 = 60_000;

/// One instant at which a schedule is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Slot {
    /// The instant: with the schedule and its revision, the slot's identity.
    pub at: Millis,
    /// The offset of the schedule's zone then, in seconds east of UTC, as the data of this version
    /// had it.
    pub offset: i32,
}

/// A schedule with everything that it refers to. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Timetable {
    schedule: Arc<Schedule>,
    revision: Revision,
    calendar: Arc<Resolved>,
    /// UTC when expressions are read in UTC.
    zone: Zone,
}

impl Timetable {
    /// Looks up the calendars that `schedule` uses.
    ///
    /// # Errors
    /// One of them isn't defined.
    pub fn new(
        schedule: impl Into<Arc<Schedule>>,
        calendars: &Calendars,
    ) -> Result<Self, UnknownCalendar> {
        let schedule = schedule.into();
        let calendar = Arc::new(Resolved::new(&schedule.calendar, calendars)?);
        let zone = match schedule.dst {
            Dst::Utc => Zone::utc(),
            _ => schedule.zone.clone(),
        };
        Ok(Self { revision: schedule.revision(), schedule, calendar, zone })
    }

    /// What the schedule says.
    pub fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    /// The identity of what it says.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// The identity of the slot at an instant.
    pub fn slot_id(&self, at: Millis) -> SlotId {
        SlotId { schedule: self.schedule.id.clone(), revision: self.revision, at }
    }

    /// The slot at an instant, whether or not there is one.
    pub fn slot(&self, at: Millis) -> Slot {
        Slot { at, offset: self.zone.offset_at(at.0.div_euclid(1000)) }
    }

    /// The first slot after `after` on a day that counts, if there is one in the next
    /// [`SCHEDULE_SEARCH_YEARS_MAX`] years. Slots that depend on runs (`after:`) are none of these.
    pub fn next_slot(&self, after: Millis) -> Option<Slot> {
        let mut after = after;
        let end = self.search_end(after);
        loop {
            let at = self.next_raw(after).filter(|at| *at < end)?;
            let day = self.day(at);
            if self.off(day).is_none() {
                return Some(self.slot(at));
            }
            // Go on with the next day that counts.
            let left = i32::try_from((end.0 - at.0) / (DAY * 1000)).unwrap_or(i32::MAX);
            let day = self.calendar.next_on(&self.schedule.calendar, day.plus(1), left + 1)?;
            after = Millis(self.zone.first_instant(day.wall()) * 1000 - 1).max(at);
        }
    }

    /// The slots in a half-open range, on days that count, in order.
    pub fn slots(&self, range: Range<Millis>) -> Slots<'_> {
        Slots { table: self, after: Millis(range.start.0.saturating_sub(1)), end: range.end }
    }

    /// The newest slots of a half-open range, oldest first, at most `count` of them. Slots older
    /// than [`SCHEDULE_SEARCH_YEARS_MAX`] before the end of the range are not found.
    pub fn newest(&self, range: Range<Millis>, count: usize) -> VecDeque<Slot> {
        let mut found = VecDeque::with_capacity(count.min(64));
        let limit = Millis(range.end.0.saturating_sub(search_width()));
        let from = range.start.max(limit);
        if count == 0 || from >= range.end {
            return found;
        }
        let mut width = NEWEST_WIDTH_MS;
        loop {
            let start = Millis(range.end.0.saturating_sub(width)).max(from);
            found.clear();
            for slot in self.slots(start..range.end) {
                if found.len() == count {
                    found.pop_front();
                }
                found.push_back(slot);
            }
            if found.len() == count || start == from {
                return found;
            }
            width = width.saturating_mul(2);
        }
    }

    /// The first and the last slot of a half-open range that are on days which don't count; `None`
    /// when there is none, or none that is found within [`SCHEDULE_SEARCH_YEARS_MAX`] years.
    pub fn off_bounds(&self, range: Range<Millis>) -> Option<(Millis, Millis)> {
        let end = range.end.min(self.search_end(range.start));
        let start_of = |day: Day| Millis(self.zone.first_instant(day.wall()) * 1000);
        let mut after = Millis(range.start.0.saturating_sub(1));
        let first = loop {
            let at = self.next_raw(after).filter(|at| *at < end)?;
            let day = self.day(at);
            if self.off(day).is_some() {
                break at;
            }
            after = Millis(start_of(day.plus(1)).0 - 1).max(at);
        };
        let mut day = self.day(Millis(end.0 - 1));
        loop {
            let from = start_of(day).max(first);
            let to = start_of(day.plus(1)).min(end);
            let slots = std::iter::successors(Some(Millis(from.0 - 1)), |at| self.next_raw(*at));
            let of_day = slots.skip(1).take_while(|at| *at < to);
            if self.off(day).is_some()
                && let Some(last) = of_day.last()
            {
                return Some((first, last));
            }
            if from == first {
                return Some((first, first));
            }
            day = day.plus(-1);
        }
    }

    /// The next `count` slots after `after`: what a person wants to see before it happens. The same
    /// code as everything else uses.
    pub fn preview(&self, after: Millis, count: usize) -> Vec<Slot> {
        self.slots(Millis(after.0.saturating_add(1))..Millis(i64::MAX)).take(count).collect()
    }

    /// The first instant from `at` on that is in the window and on a day that counts.
    pub(super) fn first_open(&self, at: Millis) -> Option<Millis> {
        let window = &self.schedule.window;
        let mut at = window.from.map_or(at, |from| from.max(at));
        let day = self.day(at);
        if self.off(day).is_some() {
            let days = SCHEDULE_SEARCH_YEARS_MAX * 366;
            let day = self.calendar.next_on(&self.schedule.calendar, day.plus(1), days)?;
            at = Millis(self.zone.first_instant(day.wall()) * 1000);
        }
        window.until.is_none_or(|until| at < until).then_some(at)
    }

    fn search_end(&self, after: Millis) -> Millis {
        let from = self.schedule.window.from.unwrap_or(after).max(after);
        Millis(from.0.saturating_add(search_width()))
    }

    /// The day that an instant is in.
    pub(super) fn day(&self, at: Millis) -> Day {
        Day::of_wall(self.zone.wall_at(at.0.div_euclid(1000)))
    }

    /// What keeps a day from counting, if anything does.
    pub(super) fn off(&self, day: Day) -> Option<super::calendar::Off<'_>> {
        if self.schedule.calendar.is_empty() {
            return None;
        }
        self.calendar.verdict(&self.schedule.calendar, day)
    }

    /// The zone in which expressions are read.
    pub(super) fn zone(&self) -> &Zone {
        &self.zone
    }

    /// The first instant after `after` that some rule names and that is in the window, whether its
    /// day counts or not.
    pub(super) fn next_raw(&self, after: Millis) -> Option<Millis> {
        let window = &self.schedule.window;
        let after = match window.from {
            Some(from) => after.max(Millis(from.0.saturating_sub(1))),
            None => after,
        };
        let found = self.next_of_rules(after)?;
        window.until.is_none_or(|until| found < until).then_some(found)
    }

    fn next_of_rules(&self, after: Millis) -> Option<Millis> {
        let schedule = &*self.schedule;
        let second = after.0.div_euclid(1000);
        let cron = schedule.cron.iter().filter_map(|cron| {
            let fixed = schedule.dst == Dst::Vixie && cron.is_fixed_time();
            let next = if fixed { wall::next_fixed } else { wall::next_shown };
            next(cron, &self.zone, second)?.checked_mul(1000).map(Millis)
        });
        let every = schedule.every.iter().filter_map(|every| every.next(after));
        // Invariant: instants are in order.
        let at = schedule.at.partition_point(|at| *at <= after);
        cron.chain(every).chain(schedule.at.get(at).copied()).min()
    }
}

/// How far slots are looked for, in milliseconds.
fn search_width() -> i64 {
    i64::from(SCHEDULE_SEARCH_YEARS_MAX) * 366 * DAY * 1000
}

/// Slots in order. See [`Timetable::slots`].
#[derive(Debug, Clone)]
pub struct Slots<'t> {
    table: &'t Timetable,
    after: Millis,
    end: Millis,
}

impl Iterator for Slots<'_> {
    type Item = Slot;

    fn next(&mut self) -> Option<Slot> {
        let slot = self.table.next_slot(self.after).filter(|slot| slot.at < self.end)?;
        self.after = slot.at;
        Some(slot)
    }
}
