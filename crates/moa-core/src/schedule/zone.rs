//! Time zones, from data that is compiled in: never the machine's, so that two machines and two
//! years of operating systems agree about when a schedule is due.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::OnceLock;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase};
use serde::{Deserialize, Serialize};

use super::date::{DAY, date_of};

/// A time zone of the IANA database. Cheap to clone. Serialised as its name.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Zone(TimeZone);

/// There is no zone of that name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no time zone {name:?}")]
pub struct UnknownZone {
    /// The name asked for.
    pub name: String,
    /// The zone that is probably meant.
    pub near: Option<String>,
}

/// Zones that take the place of those compiled in, by their names in lower case.
static GIVEN: OnceLock<BTreeMap<String, TimeZone>> = OnceLock::new();

fn database() -> &'static TimeZoneDatabase {
    static BUNDLED: OnceLock<TimeZoneDatabase> = OnceLock::new();
    BUNDLED.get_or_init(TimeZoneDatabase::bundled)
}

fn given(name: &str) -> Option<TimeZone> {
    GIVEN.get()?.get(&name.to_ascii_lowercase()).cloned()
}

/// How a wall time falls on the time line. Offsets are seconds east of UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fall {
    /// It happens once, at this instant (seconds).
    Once(i64),
    /// The clock jumped over it, forward, at this instant; what it showed then.
    Gap { at: i64, from: i32, to: i32 },
    /// It happens twice: the clock was set back at this instant.
    Twice { at: i64, from: i32, to: i32 },
}

impl Zone {
    /// UTC, the default everywhere.
    pub fn utc() -> Self {
        Self(TimeZone::UTC)
    }

    /// Puts zones (name, content of a TZif file) in the place of those compiled in, for this process.
    /// To be called before the first zone is asked for, once.
    ///
    /// # Errors
    /// What is wrong with one of them, or that zones were given before.
    pub fn give(files: impl IntoIterator<Item = (String, Vec<u8>)>) -> Result<(), String> {
        let mut zones = BTreeMap::new();
        for (name, data) in files {
            let zone = TimeZone::tzif(&name, &data).map_err(|e| format!("{name}: {e}"))?;
            zones.insert(name.to_ascii_lowercase(), zone);
        }
        GIVEN.set(zones).map_err(|_| "time zones were given before".to_owned())
    }

    /// The zone of that name, such as `Europe/Berlin`, in any case.
    ///
    /// # Errors
    /// There is none; with the name that is probably meant.
    pub fn get(name: &str) -> Result<Self, UnknownZone> {
        let found = if name.eq_ignore_ascii_case("utc") {
            Some(TimeZone::UTC)
        } else if let Some(zone) = given(name) {
            Some(zone)
        } else {
            database().get(name).ok().filter(|zone| zone.iana_name().is_some())
        };
        found.map(Self).ok_or_else(|| UnknownZone { name: name.to_owned(), near: nearest(name) })
    }

    /// Its name in the database.
    pub fn name(&self) -> &str {
        self.0.iana_name().unwrap_or("UTC")
    }

    /// Whether it is UTC.
    pub fn is_utc(&self) -> bool {
        self.0 == TimeZone::UTC
    }

    /// The names of all zones there are.
    pub fn names() -> Vec<String> {
        database().available().map(|name| name.to_string()).collect()
    }

    /// Seconds east of UTC at an instant (seconds since the epoch).
    pub fn offset_at(&self, second: i64) -> i32 {
        self.0.to_offset(timestamp(second)).seconds()
    }

    /// What the clock shows at an instant.
    pub(super) fn wall_at(&self, second: i64) -> i64 {
        second + i64::from(self.offset_at(second))
    }

    /// Where a wall time falls.
    pub(super) fn fall(&self, wall: i64) -> Fall {
        match self.0.to_ambiguous_timestamp(date_time(wall)).offset() {
            AmbiguousOffset::Unambiguous { offset } => {
                Fall::Once(wall - i64::from(offset.seconds()))
            }
            AmbiguousOffset::Gap { before, after } => {
                let (from, to) = (before.seconds(), after.seconds());
                Fall::Gap { at: self.change(wall - i64::from(to), to), from, to }
            }
            AmbiguousOffset::Fold { before, after } => {
                let (from, to) = (before.seconds(), after.seconds());
                Fall::Twice { at: self.change(wall - i64::from(from), to), from, to }
            }
        }
    }

    /// The first instant after `second` at which the offset becomes `to`.
    fn change(&self, second: i64, to: i32) -> i64 {
        let found =
            self.0.following(timestamp(second)).take(8).find(|t| t.offset().seconds() == to);
        found.map_or(second + 1, |t| t.timestamp().as_second())
    }

    /// The next instant after `second` at which the offset changes, if there is one before `end`.
    pub(super) fn next_change(&self, second: i64, end: i64) -> Option<i64> {
        let mut offset = self.offset_at(second);
        for transition in self.0.following(timestamp(second)) {
            let at = transition.timestamp().as_second();
            if at >= end {
                return None;
            }
            if transition.offset().seconds() != offset {
                return Some(at);
            }
            offset = transition.offset().seconds();
        }
        None
    }

    /// The first instant at which the clock shows `wall` or, when it jumped over that, the instant
    /// of the jump.
    pub fn first_instant(&self, wall: i64) -> i64 {
        match self.fall(wall) {
            Fall::Once(second) => second,
            Fall::Gap { at, .. } => at,
            Fall::Twice { from, .. } => wall - i64::from(from),
        }
    }
}

/// Instants that the date library has; beyond them the last one.
fn timestamp(second: i64) -> Timestamp {
    let second = second.clamp(Timestamp::MIN.as_second(), Timestamp::MAX.as_second());
    Timestamp::from_second(second).unwrap_or(Timestamp::UNIX_EPOCH)
}

fn date_time(wall: i64) -> DateTime {
    let (year, month, day) = date_of(wall.div_euclid(DAY) as i32);
    let second = wall.rem_euclid(DAY);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    DateTime::new(year as i16, month as i8, day as i8, hour as i8, minute as i8, second as i8, 0)
        .unwrap_or(if year > 0 { DateTime::MAX } else { DateTime::MIN })
}

/// The zone of that city or, failing that, whose name is the closest.
fn nearest(name: &str) -> Option<String> {
    if name.len() < 3 || name.len() > 64 {
        return None;
    }
    let squeeze = |text: &str| text.to_lowercase().replace([' ', '-'], "_");
    let city = |zone: &str| squeeze(zone.rsplit('/').next().unwrap_or(zone));
    let mut zones = Zone::names();
    zones.sort();
    let same_city = zones.iter().find(|zone| city(zone) == city(name));
    let alike = zones.iter().filter(|zone| zone.len().abs_diff(name.len()) <= 2);
    let alike = || crate::expr::suggest::nearest(name, alike.map(String::as_str));
    same_city.map(String::as_str).or_else(alike).map(str::to_owned)
}

impl Default for Zone {
    fn default() -> Self {
        Self::utc()
    }
}
impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
impl TryFrom<String> for Zone {
    type Error = UnknownZone;
    fn try_from(name: String) -> Result<Self, UnknownZone> {
        Self::get(&name)
    }
}
impl From<Zone> for String {
    fn from(zone: Zone) -> Self {
        zone.name().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-03-29T01:00:00Z and 2026-10-25T01:00:00Z: when Berlin changes its clocks.
    const SPRING: i64 = 1_774_746_000;
    const AUTUMN: i64 = 1_792_890_000;

    #[test]
    fn wall_times_fall_once_never_or_twice() {
        let berlin = Zone::get("europe/berlin").expect("is in the bundle");
        assert_eq!(berlin.name(), "Europe/Berlin");
        assert_eq!(berlin.offset_at(SPRING - 1), 3600);
        assert_eq!(berlin.offset_at(SPRING), 7200);
        let half_past_two = SPRING + 3600 + 1800;
        let gap = Fall::Gap { at: SPRING, from: 3600, to: 7200 };
        assert_eq!(berlin.fall(half_past_two), gap);
        assert_eq!(berlin.first_instant(half_past_two), SPRING);
        let twice = Fall::Twice { at: AUTUMN, from: 7200, to: 3600 };
        assert_eq!(berlin.fall(AUTUMN + 3600 + 1800), twice);
        assert_eq!(berlin.first_instant(AUTUMN + 3600 + 1800), AUTUMN - 1800);
        assert_eq!(berlin.fall(AUTUMN + 7200), Fall::Once(AUTUMN + 3600));
        assert_eq!(berlin.next_change(SPRING, i64::MAX), Some(AUTUMN));
    }

    #[test]
    fn an_unknown_zone_is_told_with_the_one_meant() {
        for (name, near) in [
            ("Europe/Berln", Some("Europe/Berlin")),
            ("Berlin", Some("Europe/Berlin")),
            ("America/New York", Some("America/New_York")),
            ("local", None),
            ("", None),
        ] {
            let error = Zone::get(name).expect_err(name);
            assert_eq!(error.near.as_deref(), near, "{name}");
        }
    }

    #[test]
    fn the_ends_of_time_do_not_panic() {
        let berlin = Zone::get("Europe/Berlin").expect("is in the bundle");
        for wall in [i64::MIN / 4, -400_000_000_000, 253_402_300_799, i64::MAX / 4] {
            berlin.fall(wall.clamp(-62_135_596_800, 253_402_300_799));
            berlin.offset_at(wall);
        }
    }
}
