//! Quotas: so many units in each hour, day, week or month of the calendar.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan, Unit, Zoned};
use serde::{Deserialize, Serialize};

use crate::time::Millis;

/// How far a node's clock may be behind the one that a window was begun by.
const CLOCKS_APART_MAX_MS: u64 = 60_000;

/// So many units in each window of the calendar.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Quota {
    /// Units of a window.
    pub units: u64,
    /// How long a window is.
    pub per: Per,
    /// The IANA time zone whose calendar counts; UTC when empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub timezone: String,
    /// Units of an attempt, by action; `*` = every other. 1 where nothing is said.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub cost: BTreeMap<String, u64>,
}

/// How long a window is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Per {
    /// From full hour to full hour.
    Hour,
    /// From midnight to midnight.
    Day,
    /// From Monday to Monday.
    Week,
    /// From the first to the first.
    Month,
}

impl Per {
    fn start(self, now: &Zoned) -> Option<Zoned> {
        let midnight = |z: Zoned| z.start_of_day().ok();
        match self {
            Self::Hour => {
                let into = now.minute() as i64 * 60 + i64::from(now.second());
                let whole = now.checked_sub(into.seconds()).ok()?;
                whole
                    .round(
                        jiff::ZonedRound::new().smallest(Unit::Second).mode(jiff::RoundMode::Trunc),
                    )
                    .ok()
            }
            Self::Day => midnight(now.clone()),
            Self::Week => {
                let days = i64::from(now.weekday().to_monday_zero_offset());
                midnight(now.checked_sub(days.days()).ok()?)
            }
            Self::Month => midnight(now.first_of_month().ok()?),
        }
    }

    /// From the start of a window into the next one, and not beyond.
    fn longest(self) -> jiff::Span {
        match self {
            Self::Hour => 1.hour(),
            Self::Day => 1.day(),
            Self::Week => 1.week(),
            Self::Month => 1.month(),
        }
    }
}

/// The window of a zone's calendar that an instant is in: its first instant, and the first of the next
/// one. The zone is UTC when it is empty or unknown.
pub(super) fn window(per: Per, timezone: &str, now: Millis) -> (Millis, Millis) {
    let zone = match timezone {
        "" => TimeZone::UTC,
        name => TimeZone::get(name).unwrap_or(TimeZone::UTC),
    };
    let bounds = || {
        let now = Timestamp::from_millisecond(now.0).ok()?.to_zoned(zone);
        let start = per.start(&now)?;
        let next = per.start(&start.checked_add(per.longest()).ok()?)?;
        Some((instant(&start), instant(&next)))
    };
    // At the ends of time there are no more windows.
    bounds().unwrap_or((now, Millis(i64::MAX)))
}

/// Whether a window that was begun by another node has yet to begin by a clock that is a little behind
/// that node's. One that begins later than that was begun by a clock that was wrong.
fn is_ahead(begun: Millis, now: Millis) -> bool {
    begun > now && begun.since(now).0 <= CLOCKS_APART_MAX_MS
}

/// Whether a window was begun by a clock that was wrong, or by this one before it was set back.
pub(super) fn is_far_ahead(begun: Millis, now: Millis) -> bool {
    begun > now && !is_ahead(begun, now)
}

/// The window of an instant, as `window` says, or the one that was `begun` by a clock a little ahead.
pub(super) fn window_with(
    per: Per,
    timezone: &str,
    begun: Millis,
    now: Millis,
) -> (Millis, Millis) {
    window(per, timezone, if is_ahead(begun, now) { begun } else { now })
}

/// Units used in a window.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuotaUsed {
    /// When the window began.
    pub window: Millis,
    /// Units.
    pub units: u64,
}

impl Quota {
    /// Units of one attempt.
    pub fn cost(&self, action: &str) -> u64 {
        self.cost.get(action).or_else(|| self.cost.get("*")).copied().unwrap_or(1)
    }

    /// The window that an instant is in: its first instant, and the first of the next one.
    pub fn window(&self, now: Millis) -> (Millis, Millis) {
        window(self.per, &self.timezone, now)
    }

    /// Until when an attempt has to wait, and what is used; `None` = it may start now.
    pub(super) fn full_until(
        &self,
        used: &QuotaUsed,
        action: &str,
        now: Millis,
    ) -> Option<(Millis, u64)> {
        let (window, next) = self.window(now);
        let (until, used) = if is_ahead(used.window, now) {
            // What was used of the window before is not known any more: nothing is left of it.
            (used.window, self.units)
        } else if used.window >= window {
            // A window of the future was begun before the clock went back: what is used stays used.
            (next, used.units)
        } else {
            (next, 0)
        };
        (used.saturating_add(self.cost(action)) > self.units).then_some((until, used))
    }

    /// How it stands: the units used, and when the next window begins.
    pub(super) fn now(&self, used: Option<QuotaUsed>, now: Millis) -> (u64, Millis) {
        let used = used.unwrap_or_default();
        let (window, next) = window_with(self.per, &self.timezone, used.window, now);
        (if used.window >= window { used.units } else { 0 }, next)
    }

    pub(super) fn take(&self, used: &mut QuotaUsed, action: &str, now: Millis) {
        // Set back to the window before, it would forget at its next turn what it has counted.
        let (window, _) = window_with(self.per, &self.timezone, used.window, now);
        if used.window < window {
            *used = QuotaUsed { window, units: 0 };
        } else {
            used.window = window;
        }
        used.units = used.units.saturating_add(self.cost(action));
    }

    /// Counts in the window of `now` what was counted in one far ahead: it is used for that window, and
    /// not until the clock gets to the other one.
    pub(super) fn set_back(&self, used: &mut QuotaUsed, now: Millis) {
        if is_far_ahead(used.window, now) {
            used.window = self.window(now).0;
        }
    }

    /// Counts an attempt at `at` no more, if its window is still the one that counts.
    pub(super) fn give_back(&self, used: &mut QuotaUsed, action: &str, at: Millis) {
        if used.window == self.window(at).0 {
            used.units = used.units.saturating_sub(self.cost(action));
        }
    }
}

fn instant(zoned: &Zoned) -> Millis {
    Millis(zoned.timestamp().as_millisecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Millis {
        Millis(text.parse::<Timestamp>().expect("an instant").as_millisecond())
    }

    fn quota(per: Per, timezone: &str) -> Quota {
        let cost = BTreeMap::from([("upload".to_owned(), 1600)]);
        Quota { units: 10_000, per, timezone: timezone.into(), cost }
    }

    #[test]
    fn windows_are_the_calendars() {
        let now = at("2026-11-21T14:25:36.5Z");
        let window = |per| quota(per, "").window(now);
        assert_eq!(window(Per::Hour), (at("2026-11-21T14:00:00Z"), at("2026-11-21T15:00:00Z")));
        assert_eq!(window(Per::Day), (at("2026-11-21T00:00:00Z"), at("2026-11-22T00:00:00Z")));
        assert_eq!(window(Per::Week), (at("2026-11-16T00:00:00Z"), at("2026-11-23T00:00:00Z")));
        assert_eq!(window(Per::Month), (at("2026-11-01T00:00:00Z"), at("2026-12-01T00:00:00Z")));
        // A day with 25 hours.
        let berlin = quota(Per::Day, "Europe/Berlin").window(at("2026-10-25T12:00:00Z"));
        assert_eq!(berlin, (at("2026-10-24T22:00:00Z"), at("2026-10-25T23:00:00Z")));
        assert_eq!(quota(Per::Day, "").window(Millis(i64::MAX)).1, Millis(i64::MAX));
    }

    #[test]
    fn what_does_not_fit_waits_for_the_next_window() {
        let quota = quota(Per::Day, "");
        let mut used = QuotaUsed::default();
        let now = at("2026-11-21T14:00:00Z");
        for _ in 0..6 {
            assert_eq!(quota.full_until(&used, "upload", now), None);
            quota.take(&mut used, "upload", now);
        }
        let tomorrow = at("2026-11-22T00:00:00Z");
        assert_eq!(quota.full_until(&used, "upload", now), Some((tomorrow, 9600)));
        assert_eq!(quota.full_until(&used, "list", now), None, "400 units are left");
        assert_eq!(quota.full_until(&used, "upload", tomorrow), None);
        let back = at("2026-11-20T10:00:00Z");
        assert!(quota.full_until(&used, "upload", back).is_some(), "the clock went back");
    }

    /// One node has begun a day, and another one is still in the last half second of the day before.
    #[test]
    fn a_clock_that_is_behind_forgets_nothing_of_the_window_that_others_are_in() {
        let quota = Quota { cost: [("free".to_owned(), 0)].into(), ..quota(Per::Day, "") };
        let (midnight, behind) = (at("2026-11-21T00:00:00Z"), at("2026-11-20T23:59:59.5Z"));
        let mut used = QuotaUsed { window: at("2026-11-20T00:00:00Z"), units: quota.units };
        quota.take(&mut used, "x", midnight);
        assert_eq!(used, QuotaUsed { window: midnight, units: 1 });
        // Of its own day nothing is left: it waits for the one that has begun.
        assert_eq!(quota.full_until(&used, "x", behind), Some((midnight, quota.units)));
        assert_eq!(quota.full_until(&used, "free", behind), None);
        assert_eq!(quota.now(Some(used), behind), (1, at("2026-11-22T00:00:00Z")));
        for (action, now) in [("free", behind), ("x", behind), ("x", midnight)] {
            quota.take(&mut used, action, now);
        }
        assert_eq!(used, QuotaUsed { window: midnight, units: 3 });
        assert_eq!(quota.full_until(&used, "x", midnight), None);
        // What was counted by the day before may have been forgotten with it: nothing is given back.
        quota.give_back(&mut used, "x", behind);
        assert_eq!(used.units, 3);
    }

    #[test]
    fn a_clock_that_went_far_back_waits_for_its_own_window() {
        let quota = quota(Per::Day, "");
        let mut used = QuotaUsed::default();
        let (wrong, now) = (at("2030-01-01T00:00:00Z"), at("2026-11-21T14:00:00Z"));
        (0..10_000).for_each(|_| quota.take(&mut used, "x", wrong));
        quota.set_back(&mut used, wrong);
        assert_eq!(used.window, wrong);
        quota.set_back(&mut used, now);
        let (today, tomorrow) = quota.window(now);
        assert_eq!(used, QuotaUsed { window: today, units: quota.units });
        assert_eq!(quota.full_until(&used, "x", now), Some((tomorrow, quota.units)));
        assert_eq!(quota.full_until(&used, "x", tomorrow), None);
    }
}
