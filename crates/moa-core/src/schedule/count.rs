//! How many slots a range has, without listing them: a year of a schedule that is due each second
//! has 31 million, and costs nine thousand steps here.

use std::ops::Range;

use super::date::Day;
use super::timetable::Timetable;
use crate::time::Millis;

/// Numbers of slots.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counted {
    /// Those on days that count.
    pub on: u64,
    /// Those on days that the calendar leaves out.
    pub off: u64,
}

/// Clock changes this near to an hour, in seconds, make it irregular: longer than any of them.
const NEAR: i64 = 26 * 3600;

impl Timetable {
    /// The number of slots in a half-open range, on days that count and on others.
    pub fn count(&self, range: Range<Millis>) -> Counted {
        self.count_up_to(range, u64::MAX)
    }

    /// The same, but no further once there are more than `most`, or a hundred times as many that the
    /// calendar leaves out: a range may be as long as all time.
    pub fn count_up_to(&self, range: Range<Millis>, most: u64) -> Counted {
        let window = &self.schedule().window;
        let start = window.from.map_or(range.start, |from| from.max(range.start));
        let end = window.until.map_or(range.end, |until| until.min(range.end));
        let schedule = self.schedule();
        let bare =
            schedule.cron.is_empty() && schedule.at.is_empty() && schedule.calendar.is_empty();
        if let ([every], true) = (schedule.every.as_slice(), bare) {
            let on = if start < end { every.count(start, end) } else { 0 };
            return Counted { on, off: 0 };
        }
        let mut counted = Counted::default();
        let mut after = Millis(start.0.saturating_sub(1));
        let most_off = most.saturating_mul(100);
        while counted.on <= most
            && counted.off <= most_off
            && let Some(at) = self.next_raw(after).filter(|at| *at < end)
        {
            let (day, slots, last) = match self.regular_hour(at, start, end) {
                Some((hour, wall)) => {
                    let (slots, last) = self.count_hour(hour, wall);
                    (Day::of_wall(wall), slots, last)
                }
                None => (self.day(at), 1, at),
            };
            match self.off(day) {
                None => counted.on += slots,
                Some(_) => counted.off += slots,
            }
            after = last;
        }
        counted
    }

    /// The hour on the clock that `at` is in, as second and as wall time, when it is whole, within
    /// the range, and no clock change is near.
    fn regular_hour(&self, at: Millis, start: Millis, end: Millis) -> Option<(i64, i64)> {
        let second = at.0.div_euclid(1000);
        let offset = i64::from(self.zone().offset_at(second));
        let wall = (second + offset).div_euclid(3600) * 3600;
        let hour = wall - offset;
        let same = |second| i64::from(self.zone().offset_at(second)) == offset;
        let inside = hour * 1000 >= start.0 && (hour + 3600) * 1000 <= end.0;
        (inside && (self.zone().is_utc() || (same(hour - NEAR) && same(hour + NEAR))))
            .then_some((hour, wall))
    }

    /// The number of slots of a regular hour, and its last instant.
    fn count_hour(&self, hour: i64, wall: i64) -> (u64, Millis) {
        let schedule = self.schedule();
        let (first, end) = (Millis(hour * 1000), Millis((hour + 3600) * 1000));
        let mut minutes = [0u64; 60];
        let mut between_seconds = 0;
        schedule.cron.iter().for_each(|cron| cron.hour(wall, &mut minutes));
        let mut add = |at: Millis| {
            let second = (at.0 - first.0) / 1000;
            minutes[second as usize / 60] |= 1 << (second % 60);
        };
        for every in &schedule.every {
            let mut at = Millis(first.0 - 1);
            while let Some(next) = every.next(at).filter(|next| *next < end) {
                add(next);
                at = next;
            }
        }
        let from = schedule.at.partition_point(|at| *at < first);
        for at in schedule.at[from..].iter().take_while(|at| **at < end) {
            if at.0 % 1000 == 0 {
                add(*at);
            } else {
                between_seconds += 1;
            }
        }
        let seconds: u64 = minutes.iter().map(|set| u64::from(set.count_ones())).sum();
        (seconds + between_seconds, Millis(end.0 - 1))
    }
}
