//! Instants as people write them: with an offset, as the clock shows them, or as a day.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use jiff::civil::DateTime;

use super::date::{DAY, Day, day_number};
use super::explain::clock;
use super::zone::Zone;
use crate::time::Millis;

/// An instant, or what becomes one in a zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Moment {
    /// RFC 3339: `2026-12-24T18:00:00+01:00`.
    Instant(Millis),
    /// What the clock shows, in seconds from 1970-01-01T00:00:00: `2026-12-24T18:00`.
    Wall(i64),
    /// A whole day: `2026-12-24`.
    Day(Day),
}

impl Moment {
    /// The instant, the first one when the clock shows it twice, the first one of the day. What
    /// the clock jumps over is the jump.
    pub fn first(self, zone: &Zone) -> Millis {
        match self {
            Self::Instant(at) => at,
            Self::Wall(wall) => Millis(zone.first_instant(wall) * 1000),
            Self::Day(day) => Millis(zone.first_instant(day.wall()) * 1000),
        }
    }

    /// The instant, or the first one behind the day.
    pub fn end(self, zone: &Zone) -> Millis {
        match self {
            Self::Day(day) => Self::Day(day.plus(1)).first(zone),
            other => other.first(zone),
        }
    }
}

impl FromStr for Moment {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        if text.len() == 10
            && let Ok(day) = text.parse()
        {
            return Ok(Self::Day(day));
        }
        // A zone in brackets would be a second opinion about the zone.
        let plain = text.len() <= 40 && !text.contains('[') && text.contains(['T', 't', ' ']);
        if let Some(at) = text.parse::<Timestamp>().ok().filter(|_| plain) {
            return Ok(Self::Instant(Millis(at.as_millisecond())));
        }
        let wall = text.parse::<DateTime>().ok().filter(|at| plain && at.year() > 0);
        wall.map(|at| {
            let day = day_number(at.year().into(), at.month() as u32, at.day() as u32);
            let time = (i64::from(at.hour()) * 60 + i64::from(at.minute())) * 60;
            Self::Wall(i64::from(day) * DAY + time + i64::from(at.second()))
        })
        .ok_or_else(|| {
            format!(
                "{text:?} is not an instant; write 2026-12-24T18:00:00+01:00, 2026-12-24T18:00 \
                 or 2026-12-24"
            )
        })
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Instant(at) => at.fmt(f),
            Self::Wall(wall) => write!(f, "{}T{}", Day::of_wall(*wall), clock(*wall)),
            Self::Day(day) => day.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_instants_of_a_zone() {
        let berlin = Zone::get("Europe/Berlin").expect("is in the bundle");
        let first = |text: &str| text.parse::<Moment>().map(|m| m.first(&berlin).to_string());
        let end = |text: &str| text.parse::<Moment>().map(|m| m.end(&berlin).to_string());
        let at = |text: &str| Ok(format!("{text}.000Z"));
        assert_eq!(first("2026-12-24T18:00:00+02:00"), at("2026-12-24T16:00:00"));
        assert_eq!(first("2026-12-24T18:00:00"), at("2026-12-24T17:00:00"));
        assert_eq!(first("2026-12-24 18:00"), at("2026-12-24T17:00:00"));
        assert_eq!(first("2026-12-24"), at("2026-12-23T23:00:00"));
        assert_eq!(end("2026-12-24"), at("2026-12-24T23:00:00"));
        assert_eq!(end("2026-12-24T18:00"), at("2026-12-24T17:00:00"));
        assert_eq!(first("2026-03-29T02:30"), at("2026-03-29T01:00:00"), "there is no such time");
        assert_eq!(first("2026-10-25T02:30"), at("2026-10-25T00:30:00"), "there are two");
    }

    #[test]
    fn other_texts_are_none() {
        for bad in [
            "",
            "tomorrow",
            "18:00",
            "2026-12-32",
            "2026-02-29",
            "2026-12-24T25:00",
            "20261224",
            "2026-12-24T18:00:00+01:00[Europe/Berlin]",
            "+2026-12-24",
            "-002026-12-24T00:00",
        ] {
            assert!(bad.parse::<Moment>().is_err(), "{bad}");
        }
    }
}
