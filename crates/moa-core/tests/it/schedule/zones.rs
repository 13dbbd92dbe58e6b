//! Expressions in every time zone there is, minute by minute through changes of the clocks.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use moa_core::schedule::{Cron, Dst, Schedule, Zone};
use moa_core::time::Millis;

use super::naive::{Dice, Five, Oracle};
use super::{schedule, table};

/// Days before and behind a change that are looked at.
const NEAR: i64 = 30 * 3600;

/// The changes of a zone's clocks in the years 2000 to 2060.
fn changes(zone: &TimeZone) -> Vec<i64> {
    let begin: Timestamp = "2000-01-01T00:00:00Z".parse().unwrap();
    let end: Timestamp = "2061-01-01T00:00:00Z".parse().unwrap();
    let mut offset = zone.to_offset(begin);
    let mut changes = Vec::new();
    for transition in zone.following(begin).take_while(|t| t.timestamp() < end) {
        if transition.offset() != offset {
            changes.push(transition.timestamp().as_second());
        }
        offset = transition.offset();
    }
    changes
}

/// Each minute from a second to another with what the clock then shows.
fn clock(zone: &TimeZone, from: i64, to: i64) -> Vec<(i64, DateTime)> {
    (from..to)
        .step_by(60)
        .map(|at| (at, zone.to_datetime(Timestamp::from_second(at).unwrap())))
        .collect()
}

/// An expression that often names hours near to which clocks are changed.
fn expression(dice: &mut Dice) -> Five {
    let mut five = Five::any(dice, 3);
    if dice.below(3) > 0 {
        let hours = ["0", "1", "2", "3", "23", "0-3", "1,2", "2,3", "22-2", "2-4/2", "*/2", "1-3"];
        five.0[1] = dice.pick(&hours).to_owned();
        let minutes = ["0", "30", "15,45", "*/20", "59", "0-59/7", "*"];
        five.0[0] = dice.pick(&minutes).to_owned();
        five.0[2] = dice.pick(&["*", "*", "*/2", "25-31"]).to_owned();
        five.0[3] = "*".to_owned();
        five.0[4] = dice.pick(&["*", "*", "6,0", "*/2"]).to_owned();
    }
    five
}

fn slots(name: &str, five: &Five, dst: Dst, from: i64, to: i64) -> Option<Vec<i64>> {
    let cron = vec![Cron::parse(&five.text()).ok()?];
    let zone = Zone::get(name).unwrap();
    let table = table(Schedule { cron, zone, dst, ..schedule() });
    let slots = table.slots(Millis(from * 1000)..Millis(to * 1000)).map(|slot| slot.at.0 / 1000);
    let slots: Vec<i64> = slots.collect();
    // Counting doesn't list, and any instant may be asked about.
    let counted = table.count(Millis(from * 1000)..Millis(to * 1000));
    assert_eq!(counted.on as usize, slots.len(), "{name} {five:?} {dst:?} {from}..{to}");
    let mut dice = Dice::new(from as u64);
    for _ in 0..8 {
        let after = from + dice.below((to - from) as u64) as i64;
        let next = table.next_slot(Millis(after * 1000 + 500)).map(|slot| slot.at.0 / 1000);
        let listed = slots.iter().copied().find(|at| *at > after);
        assert_eq!(next.filter(|at| *at < to), listed, "{name} {five:?} {dst:?} after {after}");
    }
    Some(slots)
}

fn compare(name: &str, zone: &TimeZone, from: i64, to: i64, dice: &mut Dice) {
    let clock = clock(zone, from, to);
    for _ in 0..4 {
        let five = expression(dice);
        let oracle = Oracle::new(&five);
        let Some(found) = slots(name, &five, Dst::Vixie, from, to) else { continue };
        assert_eq!(found, oracle.vixie(&clock), "{name} {five:?} vixie {from}..{to}");
        let found = slots(name, &five, Dst::Literal, from, to).unwrap();
        assert_eq!(found, oracle.literal(&clock), "{name} {five:?} literal {from}..{to}");
    }
}

/// Looks at `count` changes of each zone, at all of them when there are no more, and at as many
/// other days.
fn all_zones(count: usize) {
    let mut looked_at = 0;
    for (n, name) in Zone::names().iter().enumerate() {
        let zone = TimeZone::get(name).unwrap();
        let mut dice = Dice::new(n as u64);
        let mut changes = changes(&zone);
        while changes.len() > count {
            changes.swap_remove(dice.below(changes.len() as u64) as usize);
        }
        let years = 946_684_800..2_871_763_200;
        let days = (years.end - years.start) / 86_400;
        for _ in 0..count.min(1) {
            changes.push(years.start + 86_400 * dice.below(days as u64) as i64);
        }
        for change in changes {
            compare(name, &zone, change - NEAR, change + NEAR, &mut dice);
            looked_at += 1;
        }
    }
    assert!(looked_at > 1000, "there are zones: {looked_at}");
}

/// With `MOA_CLOCK_CHANGES=200` in the environment it looks at every change: minutes of work.
#[test]
#[allow(clippy::disallowed_methods, reason = "a test may be told how long to go on")]
fn slots_are_those_of_the_oracle_in_every_zone() {
    let told = std::env::var("MOA_CLOCK_CHANGES").ok().and_then(|n| n.parse().ok());
    all_zones(told.unwrap_or(2));
}

#[test]
fn expressions_in_utc_ignore_the_zone() {
    let mut dice = Dice::new(7);
    let utc = TimeZone::UTC;
    for _ in 0..100 {
        let from = 946_684_800 + 86_400 * dice.below(22_000) as i64;
        let five = expression(&mut dice);
        let Some(found) = slots("America/New_York", &five, Dst::Utc, from, from + 200_000) else {
            continue;
        };
        let clock = clock(&utc, from, from + 200_000);
        assert_eq!(found, Oracle::new(&five).literal(&clock), "{five:?} {from}");
    }
}

#[test]
fn days_are_those_of_the_oracle_for_sixty_years() {
    let mut dice = Dice::new(11);
    let begin = jiff::civil::date(2000, 1, 1);
    for _ in 0..80 {
        let five = Five::any(&mut dice, 10);
        let oracle = Oracle::new(&five);
        let mut at_noon = five.clone();
        (at_noon.0[0], at_noon.0[1]) = ("0".to_owned(), "12".to_owned());
        let Ok(cron) = Cron::parse(&at_noon.text()) else {
            // Nothing but days that don't exist is refused.
            let any = (0..366 * 8).any(|n| oracle.names_day(begin.checked_add(n.days()).unwrap()));
            assert!(!any, "{five:?} was refused");
            continue;
        };
        let table = table(Schedule { cron: vec![cron], ..schedule() });
        let mut after = Millis(946_684_799_000);
        for n in 0..22_280 {
            let day = begin.checked_add(n.days()).unwrap();
            if oracle.names_day(day) {
                let slot = table.next_slot(after).unwrap();
                let noon = 946_684_800_000 + (n * 24 + 12) * 3_600_000;
                assert_eq!(slot.at.0, noon, "{five:?} on {day}");
                after = slot.at;
            }
        }
    }
}
