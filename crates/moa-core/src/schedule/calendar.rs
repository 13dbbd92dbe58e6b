//! Which days count: weekdays, dates, ranges, and calendars with a name of their own.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::date::{Day, WEEKDAYS, by_name, month_length};
use crate::ids::Name;

/// Days on which slots count. A day counts when `include` is empty or one of its rules holds, and
/// no rule of `exclude` does.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Calendar {
    /// Days that count; empty = all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub include: Vec<DayRule>,
    /// Days that don't, whatever `include` says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<DayRule>,
}

impl Calendar {
    /// Whether every day counts.
    pub fn is_empty(&self) -> bool {
        self.include.is_empty() && self.exclude.is_empty()
    }

    /// The named calendars that it refers to.
    pub fn names(&self) -> impl Iterator<Item = &Name> {
        self.include.iter().chain(&self.exclude).filter_map(|rule| match rule {
            DayRule::Named(name) => Some(name),
            _ => None,
        })
    }
}

/// A rule that holds on some days. Written as in `Display`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum DayRule {
    /// Days of the week, bit 0 = Sunday: `weekdays`, `weekends`, `MON`, `MON-FRI`.
    Week(u8),
    /// The n-th such weekday of its month, 0 = the last: `MON#1`, `FRI#L`.
    Nth {
        /// The day of the week, 0 = Sunday.
        weekday: u32,
        /// Which of the month, 1 to 5; 0 = the last.
        nth: u32,
    },
    /// One day: `2026-12-24`.
    On(Day),
    /// Days, both ends among them: `2026-12-24..2026-12-31`.
    Between(Day, Day),
    /// The same days each year, both ends among them: `12-24`, `12-24..01-02`. Month and day.
    Yearly((u32, u32), (u32, u32)),
    /// A calendar that is defined elsewhere: `de-holidays`.
    Named(Name),
}

/// Why a text is not a rule for days.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct DayRuleError {
    /// What is wrong.
    pub message: String,
}

impl DayRule {
    /// Whether it holds on a day. A named calendar is asked by its days.
    fn holds(&self, date: &Date, named: &Calendars) -> bool {
        match self {
            Self::Week(set) => set >> date.weekday & 1 == 1,
            Self::Nth { weekday, nth } => {
                let is_nth = match nth {
                    0 => date.of_month + 7 > date.length,
                    n => (date.of_month - 1) / 7 + 1 == *n,
                };
                is_nth && date.weekday == *weekday
            }
            Self::On(day) => *day == date.day,
            Self::Between(first, last) => (first..=last).contains(&&date.day),
            Self::Yearly(first, last) => {
                let here = (date.month, date.of_month);
                if first <= last {
                    (first..=last).contains(&&here)
                } else {
                    here >= *first || here <= *last
                }
            }
            Self::Named(name) => named.get(name).is_some_and(|days| days.contains(date.day)),
        }
    }
}

/// A day, taken apart once for all rules.
struct Date {
    day: Day,
    month: u32,
    of_month: u32,
    /// Days of its month.
    length: u32,
    weekday: u32,
}

impl Date {
    fn of(day: Day) -> Self {
        let (year, month, of_month) = day.date();
        let length = month_length(year, month);
        Self { day, month, of_month, length, weekday: day.weekday() }
    }
}

impl fmt::Display for DayRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let short = |day: u32| WEEKDAYS[day as usize % 7][..3].to_uppercase();
        let yearly = |(month, day): (u32, u32)| format!("{month:02}-{day:02}");
        match self {
            Self::Week(0b011_1110) => f.write_str("weekdays"),
            Self::Week(0b100_0001) => f.write_str("weekends"),
            Self::Week(set) => {
                let days: Vec<_> = (0..7).filter(|d| set >> d & 1 == 1).map(short).collect();
                f.write_str(&days.join(","))
            }
            Self::Nth { weekday, nth: 0 } => write!(f, "{}#L", short(*weekday)),
            Self::Nth { weekday, nth } => write!(f, "{}#{nth}", short(*weekday)),
            Self::On(day) => day.fmt(f),
            Self::Between(first, last) => write!(f, "{first}..{last}"),
            Self::Yearly(first, last) if first == last => f.write_str(&yearly(*first)),
            Self::Yearly(first, last) => write!(f, "{}..{}", yearly(*first), yearly(*last)),
            Self::Named(name) => name.fmt(f),
        }
    }
}

fn wrong(message: impl Into<String>) -> DayRuleError {
    DayRuleError { message: message.into() }
}

/// Month and day of `12-24`.
fn month_day(text: &str) -> Option<Result<(u32, u32), DayRuleError>> {
    let (month, day) = text.split_once('-')?;
    let two = |part: &str| part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit());
    if !two(month) || !two(day) {
        return None;
    }
    let (month, day) = (month.parse().unwrap_or(0), day.parse().unwrap_or(0));
    // A leap year, so that 02-29 is a day.
    let real = Day::new(2000, month, day).map(|_| (month, day));
    Some(real.ok_or_else(|| wrong(format!("there is no {text} in any year"))))
}

fn week(text: &str) -> Option<u8> {
    let day = |text: &str| by_name(&WEEKDAYS, text);
    match text.to_ascii_lowercase().as_str() {
        "weekdays" => return Some(0b011_1110),
        "weekends" => return Some(0b100_0001),
        _ => {}
    }
    let mut set = 0;
    for item in text.split(',') {
        if let Some(one) = day(item) {
            set |= 1 << one;
            continue;
        }
        let (first, last) = item.split_once('-')?;
        let (first, last) = (day(first)?, day(last)?);
        let last = if last < first { last + 7 } else { last };
        (first..=last).for_each(|d| set |= 1 << (d % 7));
    }
    Some(set)
}

fn nth(text: &str) -> Option<Result<DayRule, DayRuleError>> {
    let (day, nth) = text.split_once('#')?;
    let weekday = by_name(&WEEKDAYS, day);
    let nth = match nth {
        "L" | "l" => Some(0),
        n => n.parse().ok().filter(|n| (1..=5).contains(n)),
    };
    let rule = weekday.zip(nth).map(|(weekday, nth)| DayRule::Nth { weekday, nth });
    Some(rule.ok_or_else(|| wrong(format!("{text:?} is no day of a month; write MON#1 or FRI#L"))))
}

impl FromStr for DayRule {
    type Err = DayRuleError;
    fn from_str(text: &str) -> Result<Self, DayRuleError> {
        if let Some(set) = week(text) {
            return Ok(Self::Week(set));
        }
        if let Some(nth) = nth(text) {
            return nth;
        }
        if let Some((first, last)) = text.split_once("..") {
            if let (Some(first), Some(last)) = (month_day(first), month_day(last)) {
                return Ok(Self::Yearly(first?, last?));
            }
            let day = |text: &str| text.trim().parse::<Day>().map_err(wrong);
            let (first, last) = (day(first)?, day(last)?);
            if last < first {
                return Err(wrong(format!("{last} is before {first}")));
            }
            return Ok(Self::Between(first, last));
        }
        if let Some(yearly) = month_day(text) {
            return yearly.map(|day| Self::Yearly(day, day));
        }
        if text.starts_with(|c: char| c.is_ascii_digit()) {
            return text.parse().map(Self::On).map_err(wrong);
        }
        Name::new(text).map(Self::Named).map_err(|_| {
            wrong(format!("{text:?} is neither a rule for days nor the name of a calendar"))
        })
    }
}

impl TryFrom<String> for DayRule {
    type Error = DayRuleError;
    fn try_from(text: String) -> Result<Self, DayRuleError> {
        text.parse()
    }
}
impl From<DayRule> for String {
    fn from(rule: DayRule) -> Self {
        rule.to_string()
    }
}

/// The days of a named calendar. Serialised as its ranges.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<(Day, Day)>", into = "Vec<(Day, Day)>")]
pub struct Days {
    /// Both ends among them, in order, without touching each other.
    ranges: Vec<(Day, Day)>,
}

impl Days {
    /// Days from ranges in any order; both ends of each are among them.
    pub fn new(ranges: impl IntoIterator<Item = (Day, Day)>) -> Self {
        let mut sorted: Vec<_> = ranges.into_iter().filter(|(a, b)| a <= b).collect();
        sorted.sort_unstable();
        let mut ranges: Vec<(Day, Day)> = Vec::with_capacity(sorted.len());
        for (first, last) in sorted {
            match ranges.last_mut() {
                Some(before) if first <= before.1.plus(1) => before.1 = before.1.max(last),
                _ => ranges.push((first, last)),
            }
        }
        Self { ranges }
    }

    /// Whether `day` is one of them.
    pub fn contains(&self, day: Day) -> bool {
        let at = self.ranges.partition_point(|(first, _)| *first <= day);
        at.checked_sub(1).is_some_and(|at| day <= self.ranges[at].1)
    }

    /// The ranges, in order.
    pub fn ranges(&self) -> &[(Day, Day)] {
        &self.ranges
    }
}

impl From<Vec<(Day, Day)>> for Days {
    fn from(ranges: Vec<(Day, Day)>) -> Self {
        Self::new(ranges)
    }
}
impl From<Days> for Vec<(Day, Day)> {
    fn from(days: Days) -> Self {
        days.ranges
    }
}

/// The named calendars of a project.
pub type Calendars = BTreeMap<Name, Arc<Days>>;

/// A calendar with the days of the names that it uses.
#[derive(Debug, Clone, Default)]
pub(super) struct Resolved {
    named: Calendars,
}

/// A schedule refers to a calendar that isn't defined.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no calendar {name}")]
pub struct UnknownCalendar {
    /// The name that it uses.
    pub name: Name,
    /// The one that is probably meant.
    pub near: Option<Name>,
}

impl Resolved {
    /// Takes the days that `calendar` needs out of `all`.
    pub(super) fn new(calendar: &Calendar, all: &Calendars) -> Result<Self, UnknownCalendar> {
        let mut named = Calendars::new();
        for name in calendar.names() {
            let Some(days) = all.get(name) else {
                let known = all.keys().map(Name::as_str);
                let near = crate::expr::suggest::nearest(name.as_str(), known);
                let near = near.and_then(|n| Name::new(n).ok());
                return Err(UnknownCalendar { name: name.clone(), near });
            };
            named.insert(name.clone(), days.clone());
        }
        Ok(Self { named })
    }

    /// What keeps `day` from counting, if anything does.
    pub(super) fn verdict<'c>(&self, calendar: &'c Calendar, day: Day) -> Option<Off<'c>> {
        let date = Date::of(day);
        let excluded = calendar.exclude.iter().find(|rule| rule.holds(&date, &self.named));
        if let Some(rule) = excluded {
            return Some(Off::Excluded(rule));
        }
        let included = calendar.include.iter().any(|rule| rule.holds(&date, &self.named));
        (!included && !calendar.include.is_empty()).then_some(Off::NotIncluded)
    }

    /// The first day that counts from `day` on, looked for on so many days.
    pub(super) fn next_on(&self, calendar: &Calendar, day: Day, days: i32) -> Option<Day> {
        (0..days).map(|n| day.plus(n)).find(|day| self.verdict(calendar, *day).is_none())
    }
}

/// What keeps a day from counting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Off<'c> {
    /// This rule of `exclude` holds.
    Excluded(&'c DayRule),
    /// No rule of `include` holds.
    NotIncluded,
}
