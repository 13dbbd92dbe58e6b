//! Which slots there are, found by other means than the code under test does.

use std::collections::BTreeMap;

use jiff::civil::{Date, Weekday};
use jiff::tz::{AmbiguousOffset, TimeZone};
use moa_core::time::Millis;

/// A schedule: at these hours and minutes of each day, by a clock.
pub struct Daily {
    /// Whether it is due on Sundays alone.
    pub sundays: bool,
    /// Hours and minutes.
    pub times: Vec<(i8, i8)>,
    /// Whether each time is named, so that it is due once a day whatever clocks do; else it is due
    /// whenever the clock shows it.
    pub fixed: bool,
}

/// Schedules by workflow, and the zone of their clock.
pub struct Calendar {
    pub zone: TimeZone,
    pub schedules: BTreeMap<&'static str, Daily>,
}

impl Daily {
    /// At named times.
    pub fn at(times: &[(i8, i8)]) -> Self {
        Self { sundays: false, times: times.to_vec(), fixed: true }
    }

    /// On Sundays at a named hour.
    pub fn on_sundays(hour: i8) -> Self {
        Self { sundays: true, ..Self::at(&[(hour, 0)]) }
    }

    /// Whenever the hour, or the minute, is a multiple of a number.
    pub fn each(hours: usize, minutes: usize) -> Self {
        let hours = (0..24).step_by(hours);
        let times =
            hours.flat_map(|hour| (0..60).step_by(minutes).map(move |minute| (hour, minute)));
        Self { sundays: false, times: times.collect(), fixed: false }
    }
}

impl Calendar {
    /// The slots of each workflow from an instant on, before another one.
    pub fn slots(&self, from: Millis, to: Millis) -> BTreeMap<&'static str, Vec<Millis>> {
        let of = |daily| self.slots_of(daily, from, to);
        self.schedules.iter().map(|(workflow, daily)| (*workflow, of(daily))).collect()
    }

    fn slots_of(&self, daily: &Daily, from: Millis, to: Millis) -> Vec<Millis> {
        let first = self.day_of(from).yesterday().expect("a day");
        let days = first.series(jiff::Span::new().days(1));
        let days = days.take_while(|day| *day <= self.day_of(to));
        let days = days.filter(|day| !daily.sundays || day.weekday() == Weekday::Sunday);
        let mut slots: Vec<Millis> = days
            .flat_map(|day| {
                daily.times.iter().map(move |(hour, minute)| day.at(*hour, *minute, 0, 0))
            })
            .flat_map(|clock| match self.zone.to_ambiguous_timestamp(clock).offset() {
                AmbiguousOffset::Unambiguous { offset } => vec![(clock, offset)],
                // The clock jumps over it: what is due at a named time is due at the jump.
                AmbiguousOffset::Gap { before, .. } if daily.fixed => vec![(clock, before)],
                AmbiguousOffset::Gap { .. } => vec![],
                AmbiguousOffset::Fold { before, .. } if daily.fixed => vec![(clock, before)],
                AmbiguousOffset::Fold { before, after } => vec![(clock, before), (clock, after)],
            })
            .map(|(clock, offset)| {
                Millis(offset.to_timestamp(clock).expect("an instant").as_millisecond())
            })
            .filter(|at| (from..to).contains(at))
            .collect();
        slots.sort();
        slots
    }

    fn day_of(&self, at: Millis) -> Date {
        let at = jiff::Timestamp::from_millisecond(at.0).expect("an instant");
        at.to_zoned(self.zone.clone()).date()
    }
}
