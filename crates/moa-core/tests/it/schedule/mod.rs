//! Schedules.

mod cron;
mod croner;
mod explain;
mod hostile;
mod naive;
mod plan;
mod properties;
mod zones;

use std::sync::Arc;

use moa_core::schedule::{Calendars, Cron, Schedule, ScheduleId, Timetable, Zone};
use moa_core::time::Millis;

/// A schedule with the defaults of everything.
fn schedule() -> Schedule {
    let name = |text: &str| text.parse().unwrap();
    Schedule::new(ScheduleId { workflow: name("curation"), name: name("1") })
}

/// A schedule of cron expressions in a zone.
fn cron(zone: &str, expressions: &[&str]) -> Schedule {
    let cron = expressions.iter().map(|text| Cron::parse(text).unwrap()).collect();
    Schedule { cron, zone: Zone::get(zone).unwrap(), ..schedule() }
}

fn table(schedule: Schedule) -> Timetable {
    Timetable::new(Arc::new(schedule), &Calendars::new()).unwrap()
}

/// An instant of its RFC 3339 text.
fn at(text: &str) -> Millis {
    let instant: jiff::Timestamp = text.parse().unwrap();
    Millis(instant.as_millisecond())
}

/// The next slots, as the clock in the schedule's zone shows them.
fn preview(table: &Timetable, after: &str, count: usize) -> Vec<String> {
    let zone = jiff::tz::TimeZone::get(table.schedule().zone.name()).unwrap();
    let shown = |at: Millis| {
        let at = jiff::Timestamp::from_millisecond(at.0).unwrap().to_zoned(zone.clone());
        at.strftime("%a %Y-%m-%d %H:%M:%S%:z").to_string()
    };
    table.preview(at(after), count).iter().map(|slot| shown(slot.at)).collect()
}
