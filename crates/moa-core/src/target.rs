//! Targets of production: where a period is heading for, and whether that is enough.
//!
//! What a counter will be at the end of a day, a month or a year is what it is by now, and for the
//! rest of the period what is usual: the mean of the last days that are over. Where no day is over
//! yet, what came in so far goes on as it did. Pure: the instant is an argument.

use std::collections::BTreeMap;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::time::Millis;

/// Days that say what is usual.
const USUAL_DAYS: i32 = 7;
/// Milliseconds of a day.
const DAY: f64 = 86_400_000.0;

/// How long a target counts for. Days, months and years are those of UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Period {
    /// A day.
    Day,
    /// A month of the calendar.
    Month,
    /// A year of the calendar.
    Year,
}

impl Period {
    /// All there are.
    pub const ALL: [Self; 3] = [Self::Day, Self::Month, Self::Year];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Month => "month",
            Self::Year => "year",
        }
    }

    /// The first day of the period that a day is in, and the first one after it.
    pub fn around(self, day: Date) -> (Date, Date) {
        let first = match self {
            Self::Day => day,
            Self::Month => day.first_of_month(),
            Self::Year => day.first_of_year(),
        };
        let next = match self {
            Self::Day => day.tomorrow(),
            Self::Month => day.last_of_month().tomorrow(),
            Self::Year => day.last_of_year().tomorrow(),
        };
        // The calendar ends in the year 9999.
        (first, next.unwrap_or(Date::MAX))
    }
}

/// What is wanted of a counter in a period.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Bounds {
    /// Less is too little.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minimum: Option<f64>,
    /// As much as is wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<f64>,
    /// More is too much.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maximum: Option<f64>,
}

/// A counter in a period.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Progress {
    /// What it is by now.
    pub count: f64,
    /// When the period began.
    pub from: Millis,
    /// When it ends.
    pub to: Millis,
    /// What a day usually brings; see [`usual`].
    pub usual: Option<f64>,
}

/// How a period looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outlook {
    /// Too little is known yet.
    Open,
    /// It is heading below the minimum.
    TooLittle,
    /// The minimum will be reached, and the target won't.
    Enough,
    /// The target will be reached, as far as there is one.
    Good,
    /// It is heading above the maximum.
    TooMuch,
}

impl Outlook {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::TooLittle => "too_little",
            Self::Enough => "enough",
            Self::Good => "good",
            Self::TooMuch => "too_much",
        }
    }
}

/// What a day usually brings: the mean of the last seven days before `today`, of those that were counted
/// whole. `since` is the day on which counting began. `None` = no day is over.
pub fn usual(days: &BTreeMap<Date, f64>, since: Date, today: Date) -> Option<f64> {
    let mut sum = 0.0;
    let mut count = 0;
    let mut day = today.yesterday().ok()?;
    while day > since && count < USUAL_DAYS {
        sum += days.get(&day).copied().unwrap_or(0.0);
        count += 1;
        day = day.yesterday().ok()?;
    }
    (count > 0).then(|| sum / f64::from(count))
}

/// What the counter will be at the end of the period; `None` = too little of it is over to say.
pub fn forecast(progress: &Progress, now: Millis) -> Option<f64> {
    let Progress { count, from, to, usual } = *progress;
    if now >= to {
        return Some(count);
    }
    let (elapsed, left) = (now.since(from).0 as f64 / DAY, to.since(now).0 as f64 / DAY);
    let rate = match usual {
        Some(usual) => usual,
        // A quarter of a day says something; of a longer period, a day does.
        None if elapsed >= ((elapsed + left) / 4.0).min(1.0) => count / elapsed,
        None => return None,
    };
    Some(count + rate * left)
}

/// How a period looks, given what it will bring.
pub fn outlook(bounds: &Bounds, count: f64, forecast: Option<f64>) -> Outlook {
    if bounds.maximum.is_some_and(|maximum| count > maximum) {
        return Outlook::TooMuch;
    }
    let Some(forecast) = forecast else { return Outlook::Open };
    if bounds.minimum.is_some_and(|minimum| forecast < minimum) {
        Outlook::TooLittle
    } else if bounds.maximum.is_some_and(|maximum| forecast > maximum) {
        Outlook::TooMuch
    } else if bounds.target.is_some_and(|target| forecast < target) {
        Outlook::Enough
    } else {
        Outlook::Good
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;

    fn date(day: i8) -> Date {
        Date::constant(2026, 3, day)
    }

    fn at(hour: i64) -> Millis {
        Millis(hour * HOUR)
    }

    fn day(count: f64, usual: Option<f64>) -> Progress {
        Progress { count, from: at(0), to: at(24), usual }
    }

    #[test]
    fn the_rest_of_a_day_brings_what_is_usual() {
        let six = Some(6.0);
        assert_eq!(forecast(&day(0.0, six), at(0)), Some(6.0));
        assert_eq!(forecast(&day(3.0, six), at(12)), Some(6.0));
        // Nothing came since midnight: by noon the minimum is only just in reach.
        let minimum = Bounds { minimum: Some(3.0), ..Bounds::default() };
        let look = |hour| outlook(&minimum, 0.0, forecast(&day(0.0, six), at(hour)));
        assert_eq!((look(12), look(13)), (Outlook::Good, Outlook::TooLittle));
    }

    #[test]
    fn without_a_day_before_it_goes_on_as_it_did() {
        assert_eq!(forecast(&day(5.0, None), at(5)), None);
        assert_eq!(forecast(&day(2.0, None), at(6)), Some(8.0));
        let month = Progress { count: 4.0, from: at(0), to: at(24 * 30), usual: None };
        assert_eq!(forecast(&month, at(23)), None);
        assert_eq!(forecast(&month, at(24)), Some(120.0));
        assert_eq!(forecast(&day(7.0, Some(100.0)), at(24)), Some(7.0));
    }

    #[test]
    fn only_days_that_were_counted_whole_are_usual() {
        let days = (1..=20).map(|d| (date(d), f64::from(d))).collect();
        assert_eq!(usual(&days, date(20), date(20)), None);
        assert_eq!(usual(&days, date(19), date(20)), None);
        assert_eq!(usual(&days, date(18), date(20)), Some(19.0));
        assert_eq!(usual(&days, date(1), date(20)), Some(16.0));
        // A day without anything is a day.
        assert_eq!(usual(&BTreeMap::from([(date(19), 14.0)]), date(1), date(20)), Some(2.0));
    }

    #[test]
    fn periods_are_those_of_the_calendar() {
        let of = |period: Period, y, m, d| period.around(Date::constant(y, m, d));
        assert_eq!(of(Period::Day, 2026, 2, 28), (Date::constant(2026, 2, 28), date(1)));
        assert_eq!(of(Period::Month, 2028, 2, 29).1, Date::constant(2028, 3, 1));
        let year = (Date::constant(2026, 1, 1), Date::constant(2027, 1, 1));
        assert_eq!(of(Period::Year, 2026, 12, 31), year);
        assert_eq!(Period::Year.around(Date::MAX).1, Date::MAX);
    }

    #[test]
    fn bounds_say_how_it_looks() {
        let bounds = Bounds { minimum: Some(3.0), target: Some(6.0), maximum: Some(12.0) };
        let look = |count, forecast| outlook(&bounds, count, forecast);
        assert_eq!(look(0.0, None), Outlook::Open);
        assert_eq!(look(0.0, Some(2.9)), Outlook::TooLittle);
        assert_eq!(look(0.0, Some(3.0)), Outlook::Enough);
        assert_eq!(look(0.0, Some(12.0)), Outlook::Good);
        assert_eq!(look(0.0, Some(12.1)), Outlook::TooMuch);
        assert_eq!(look(13.0, None), Outlook::TooMuch);
        assert_eq!(outlook(&Bounds::default(), 0.0, Some(0.0)), Outlook::Good);
    }
}
