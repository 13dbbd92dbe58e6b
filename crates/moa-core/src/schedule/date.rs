//! Days of the proleptic Gregorian calendar as numbers, and the clock on the wall as seconds.
//!
//! A **wall time** is what a clock in a zone shows, as seconds from 1970-01-01T00:00:00 on that same
//! clock: no offset, no leap seconds. Schedules search in wall time, because that is what their
//! authors write down, and are then placed on the time line by the zone.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How far days are from 1970-01-01 at most: so far that all that is computed of one is a number of its kind.
const DAYS_MAX: i32 = i32::MAX - 1_000_000;
/// Seconds of one day.
pub(super) const DAY: i64 = 86_400;

/// A day: its distance from 1970-01-01. Written `2026-12-24`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Day(pub i32);

impl Day {
    /// The day of a date, or `None` when there is no such date in the years 1 to 9999.
    pub fn new(year: i32, month: u32, day: u32) -> Option<Self> {
        let real = (1..=9999).contains(&year)
            && (1..=12).contains(&month)
            && (1..=month_length(year, month)).contains(&day);
        real.then(|| Self(day_number(year, month, day)))
    }

    /// Year, month (1 to 12) and day of the month.
    pub fn date(self) -> (i32, u32, u32) {
        date_of(self.0)
    }

    /// The day of the week: 0 = Sunday to 6 = Saturday, as cron counts.
    pub fn weekday(self) -> u32 {
        (self.0 + 4).rem_euclid(7) as u32
    }

    /// The day that a wall time is in.
    pub(super) fn of_wall(wall: i64) -> Self {
        let day = wall.div_euclid(DAY);
        Self(day.clamp((-DAYS_MAX).into(), DAYS_MAX.into()) as i32)
    }

    /// The wall time at which it begins.
    pub(super) fn wall(self) -> i64 {
        i64::from(self.0) * DAY
    }

    /// The day `n` days later, or earlier when `n` is negative.
    pub(super) fn plus(self, n: i32) -> Self {
        Self(self.0.saturating_add(n).clamp(-DAYS_MAX, DAYS_MAX))
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = self.date();
        write!(f, "{year:04}-{month:02}-{day:02}")
    }
}

impl FromStr for Day {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not a date; write it as 2026-12-24");
        let mut parts = text.split('-');
        let mut next = |digits: usize| {
            let part = parts.next().filter(|p| p.len() == digits);
            let part = part.filter(|p| p.bytes().all(|b| b.is_ascii_digit()));
            part.and_then(|p| p.parse::<u32>().ok()).ok_or_else(wrong)
        };
        let (year, month, day) = (next(4)?, next(2)?, next(2)?);
        if parts.next().is_some() {
            return Err(wrong());
        }
        Self::new(year as i32, month, day).ok_or_else(|| format!("there is no {text}"))
    }
}

impl TryFrom<String> for Day {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}
impl From<Day> for String {
    fn from(day: Day) -> Self {
        day.to_string()
    }
}

/// Days of a month.
pub(super) fn month_length(year: i32, month: u32) -> u32 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

// Both conversions are Howard Hinnant's ("chrono-Compatible Low-Level Date Algorithms"): years
// begin in March, so that the leap day is the last of its year.

/// Days from 1970-01-01 to a date.
pub(super) fn day_number(year: i32, month: u32, day: u32) -> i32 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month as i32 + 9) % 12) + 2) / 5 + day as i32 - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The date so many days from 1970-01-01.
pub(super) fn date_of(days: i32) -> (i32, u32, u32) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march + 2) / 5 + 1;
    let month = if march < 10 { march + 3 } else { march - 9 };
    (year + era * 400 + i32::from(month <= 2), month as u32, day as u32)
}

/// Names of the days of the week, Sunday first.
pub(super) const WEEKDAYS: [&str; 7] =
    ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"];

/// Names of the months.
pub(super) const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];

/// The number of the name that begins with `text`, at least three letters of it, in any case.
pub(super) fn by_name(names: &[&str], text: &str) -> Option<u32> {
    let found = |name: &str| {
        (3..=name.len()).contains(&text.len())
            && text.is_ascii()
            && name[..text.len()].eq_ignore_ascii_case(text)
    };
    names.iter().position(|name| found(name)).map(|at| at as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_and_numbers_agree_with_a_calendar_counted_by_hand() {
        let (mut year, mut month, mut day, mut weekday) = (1600, 1, 1, 6);
        for number in day_number(1600, 1, 1)..=day_number(2800, 12, 31) {
            assert_eq!(date_of(number), (year, month, day));
            assert_eq!(day_number(year, month, day), number);
            assert_eq!(Day(number).weekday(), weekday);
            weekday = (weekday + 1) % 7;
            day += 1;
            if day > month_length(year, month) {
                (day, month) = (1, month + 1);
            }
            if month > 12 {
                (month, year) = (1, year + 1);
            }
        }
        assert_eq!(date_of(0), (1970, 1, 1));
    }

    #[test]
    fn days_are_read_strictly() {
        assert_eq!("2026-12-24".parse::<Day>().map(|d| d.date()), Ok((2026, 12, 24)));
        for bad in ["2026-02-29", "2026-13-01", "26-1-1", "2026-1-01", "2026-01-01-", "", "x"] {
            assert!(bad.parse::<Day>().is_err(), "{bad}");
        }
    }

    #[test]
    fn names_may_be_cut_short() {
        assert_eq!(by_name(&WEEKDAYS, "TUE"), Some(2));
        assert_eq!(by_name(&WEEKDAYS, "tues"), Some(2));
        assert_eq!(by_name(&WEEKDAYS, "tu"), None);
        assert_eq!(by_name(&WEEKDAYS, "tuesdays"), None);
        assert_eq!(by_name(&MONTHS, "Sept"), Some(8));
        assert_eq!(by_name(&MONTHS, "mayé"), None);
    }
}
