//! `continuous-monitoring` on virtual time.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use jiff::tz::TimeZone;
use moa_core::time::{Millis, Span};
use serde_json::json;

use super::calendar::{Calendar, Daily};
use super::ledger::Counted;
use super::service::{BAD, Service};
use super::{DAY, HOUR, MINUTE, Plan, Soak};

/// 2026-01-01T00:01:01Z: what people do at the turn of a day falls between two slots.
const START: Millis = Millis(1_767_225_661_000);

fn plan() -> Plan {
    let at = |days: u64, minutes: u64| Span(days * DAY.0 + minutes * MINUTE.0 + 30_000);
    Plan {
        template: "continuous-monitoring",
        from: START,
        jobs_every: Span(6 * HOUR.0),
        failing: [10, 1, 1],
        // A quarter of an hour, a morning, and a day and more.
        outages: vec![
            (at(1, 607), Span::minutes(14)),
            (at(3, 311), Span::minutes(283)),
            (at(9, 1111), Span::minutes(1627)),
        ],
        retention: true,
        upkeep: true,
    }
}

fn calendar() -> Calendar {
    let schedules = [
        ("continuous-monitoring", Daily::each(1, 5)),
        ("daily-report", Daily::at(&[(0, 5)])),
        ("traffic", Daily::each(1, 1)),
    ];
    Calendar { zone: TimeZone::UTC, schedules: BTreeMap::from(schedules) }
}

#[test]
fn weeks_of_monitoring_lose_no_slot_tell_everything_once_and_stay_as_large_as_they_are() {
    let service = Rc::new(RefCell::new(Service::default()));
    let mut soak = Soak::new(plan(), service.clone());
    let calendar = calendar();
    let mut before = None;
    for day in 1..=16 {
        soak.until_day(day);
        match day {
            // Ten thousand runs are kept: those of six days.
            8 => {
                soak.check_slots(&calendar);
                before = Some(soak.size());
            }
            5 | 12 => soak.start("incident-drill", json!({})),
            _ if day % 3 == 1 => soak.start("release", json!({"version": BAD})),
            _ => {}
        }
    }
    soak.check_slots(&calendar);
    let (before, mut after) = (before.expect("it was measured"), soak.size());
    soak.check_store();
    soak.check_upkeep();
    // What became of a slot is known for 90 days, which are not over: these rows become more still.
    after.rows.remove("occurrences");
    after.database = before.database;
    assert_eq!(after.grown(&before), Vec::<String>::new());

    let counted = &soak.ledger.counted;
    let slots: Vec<u64> = counted.values().map(|counted| counted.slots).collect();
    assert_eq!(slots, [14 * 288, 14, 14 * 1440], "{counted:?}");
    let all = counted.values().fold(Counted::default(), |all, one| all.and(one));
    assert!(all.missed > 1000 && all.caught_up > 3 && all.failed > 10, "{all:?}");
    check_service(&soak, &service.borrow());
}

/// Its schedules are due every six hours: each minute of a year would take hours.
#[test]
fn a_year_of_monitoring_loses_no_slot_and_keeps_logs_and_reports_as_long_as_it_should() {
    let service = Rc::new(RefCell::new(Service::default()));
    let minute = |days: u64, minutes: u64| Span(days * DAY.0 + minutes * MINUTE.0 + 30_000);
    let outages = (1..12).map(|n| (minute(n * 30, n * 97), Span::minutes(1 + n * n * 19)));
    let plan = Plan { outages: outages.collect(), jobs_every: Span(12 * HOUR.0), ..plan() };
    let mut soak = Soak::edited(plan, service.clone(), &|text| {
        text.replace("\"*/5 * * * *\"", "\"0 */6 * * *\"")
            .replace("\"* * * * *\"", "\"30 */6 * * *\"")
    });
    let mut calendar = calendar();
    let at = |minute: i8| {
        let times = [0, 6, 12, 18].map(|hour| (hour, minute)).to_vec();
        Daily { sundays: false, times, fixed: false }
    };
    calendar.schedules.insert("continuous-monitoring", at(0));
    calendar.schedules.insert("traffic", at(30));
    for day in 1..=52 * 7 {
        soak.until_day(day);
        if day % 28 == 0 {
            soak.check_slots(&calendar);
            soak.check_upkeep();
        }
        if day % 40 == 1 {
            soak.start("release", json!({"version": BAD}));
        }
    }
    soak.check_store();
    let counted = &soak.ledger.counted;
    let slots: Vec<u64> = counted.values().map(|counted| counted.slots).collect();
    // The last two days may not be over for all.
    assert_eq!(slots, [362 * 4, 362, 362 * 4], "{counted:?}");
    let all = counted.values().fold(Counted::default(), |all, one| all.and(one));
    assert!(all.missed > 10 && all.caught_up > 3, "{all:?}");
    check_told(&soak, &service.borrow());
}

fn check_service(soak: &Soak, service: &Service) {
    // Each bad release was taken back, those of the drills too, and the last one is just going live.
    assert_eq!(service.rollbacks, 7);
    check_told(soak, service);
}

fn check_told(soak: &Soak, service: &Service) {
    assert!(service.opened > 3 && service.closed > 3);
    // People were told of that, and of each incident, once.
    let told = soak.told("ops");
    let titled = |title| told.iter().filter(|told| told.title == title).count() as u64;
    assert_eq!(titled("Rollback"), service.rollbacks);
    assert_eq!(titled("Incident"), service.opened);
    assert_eq!(titled("Over"), service.closed);
}
