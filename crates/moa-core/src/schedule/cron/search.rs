//! The next match of an expression, from the year down to the second.

use super::fields::{Fields, at_least, least};
use crate::schedule::date::{DAY, date_of, day_number};

impl Fields {
    /// The first wall time at or after `from` that is named.
    pub(super) fn next(&self, from: i64) -> Option<i64> {
        // Before year 1 nothing is ever due; beyond year 9999 the calendar ends.
        let from = from.max(-62_135_596_800);
        let number = i32::try_from(from.div_euclid(DAY)).ok()?;
        let (year, month, day) = date_of(number);
        let mut earliest = day;
        if self.names_day(year, month, day) {
            if let Some(second) = self.next_second(from.rem_euclid(DAY) as u32) {
                return Some(i64::from(number) * DAY + i64::from(second));
            }
            earliest = day + 1;
        }
        let number = self.next_day(year, month, earliest)?;
        let second = self.next_second(0)?;
        Some(i64::from(number) * DAY + i64::from(second))
    }

    fn names_day(&self, year: i32, month: u32, day: u32) -> bool {
        self.months >> month & 1 == 1
            && self.next_year(year) == Some(year)
            && self.days_of(year, month) >> day & 1 == 1
    }

    /// The first day named, from `day` of that month on.
    fn next_day(&self, year: i32, month: u32, day: u32) -> Option<i32> {
        let (mut year, mut month, mut day) = (year, month, day);
        loop {
            let named = self.next_year(year)?;
            if named != year {
                (year, month, day) = (named, 1, 1);
            }
            match least(at_least(self.months, month)) {
                None => (year, month, day) = (year + 1, 1, 1),
                Some(next) => {
                    if next != month {
                        (month, day) = (next, 1);
                    }
                    if let Some(found) = least(at_least(self.days_of(year, month), day)) {
                        return Some(day_number(year, month, found));
                    }
                    (month, day) = (month + 1, 1);
                }
            }
        }
    }

    /// The first second of a day named, from `from` on.
    fn next_second(&self, from: u32) -> Option<u32> {
        let (hour, minute, second) = (from / 3600, from / 60 % 60, from % 60);
        let first_minute = least(self.minutes)?;
        let first_second = least(self.seconds)?;
        if self.hours >> hour & 1 == 1 {
            if self.minutes >> minute & 1 == 1
                && let Some(found) = least(at_least(self.seconds, second))
            {
                return Some(hour * 3600 + minute * 60 + found);
            }
            if let Some(found) = least(at_least(self.minutes, minute + 1)) {
                return Some(hour * 3600 + found * 60 + first_second);
            }
        }
        let found = least(at_least(self.hours, hour + 1))?;
        Some(found * 3600 + first_minute * 60 + first_second)
    }

    /// Adds the wall times named in the hour that begins at `hour`.
    pub(super) fn add_hour(&self, hour: i64, minutes: &mut [u64; 60]) {
        let (year, month, day) = date_of(hour.div_euclid(DAY) as i32);
        let of_day = hour.rem_euclid(DAY) / 3600;
        if self.hours >> of_day & 1 == 0 || !self.names_day(year, month, day) {
            return;
        }
        for (minute, seconds) in minutes.iter_mut().enumerate() {
            if self.minutes >> minute & 1 == 1 {
                *seconds |= self.seconds;
            }
        }
    }
}
