//! Looks at schedules without a server.
//!
//!     cargo run -p moa-core --example schedules -- '0 9 * * MON-FRI' Europe/Berlin 2026-01-01T00:00:00Z
//!     cargo run -p moa-core --release --example schedules -- --many 1000000
//!
//! The first shows the next ten slots; the second says what the next slot of each of so many
//! different schedules costs.
#![allow(clippy::disallowed_methods, reason = "it measures")]

use std::sync::Arc;
use std::time::Instant;

use moa_core::ids::mix;
use moa_core::schedule::{Calendars, Cron, Facts, Input, Schedule, ScheduleId, State, plan};
use moa_core::schedule::{Timetable, Zone};
use moa_core::time::Millis;

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        ["--many", count] => measure(count.parse()?),
        [expression, zone, after] => show(expression, zone, after),
        _ => Err("give EXPRESSION ZONE INSTANT, or --many COUNT".into()),
    }
}

fn table(n: usize, expression: &str, zone: &str) -> Result<Timetable, Failure> {
    let id = ScheduleId { workflow: "example".parse()?, name: n.to_string().parse()? };
    let cron = vec![Cron::parse(expression)?];
    let schedule = Schedule { cron, zone: Zone::get(zone)?, ..Schedule::new(id) };
    Ok(Timetable::new(Arc::new(schedule), &Calendars::new())?)
}

fn show(expression: &str, zone: &str, after: &str) -> Result<(), Failure> {
    let table = table(1, expression, zone)?;
    let after: jiff::Timestamp = after.parse()?;
    for slot in table.preview(Millis(after.as_millisecond()), 10) {
        println!("{}  {}", slot.at, table.local(slot));
    }
    Ok(())
}

fn measure(count: usize) -> Result<(), Failure> {
    let zones = ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe"];
    let begun = Instant::now();
    let mut tables = Vec::with_capacity(count);
    for n in 0..count {
        let dice = mix(n as u64);
        let (minute, hour, day) = (dice % 60, dice / 60 % 24, 1 + dice / 1440 % 28);
        let expression = match dice % 5 {
            0 => format!("{minute} * * * *"),
            1 => format!("*/{} * * * *", 1 + minute % 30),
            2 => format!("{minute} {hour} * * *"),
            3 => format!("{minute} {hour} * * MON-FRI"),
            _ => format!("{minute} {hour} {day} * *"),
        };
        tables.push(table(n, &expression, zones[n % zones.len()])?);
    }
    report("making a schedule", begun, count);
    let now = Millis(1_780_000_000_000);
    let begun = Instant::now();
    let sum: i64 = tables.iter().filter_map(|t| t.next_slot(now)).map(|slot| slot.at.0 & 1).sum();
    report("its next slot", begun, count);
    let states: Vec<State> = tables.iter().map(|table| State::new(table, now)).collect();
    let known = std::collections::BTreeMap::new();
    let facts = Facts { running: &[], enabled: true, catch_up_from: None, known: &known };
    let begun = Instant::now();
    let mut due = 0;
    for (table, state) in tables.iter().zip(&states) {
        due += plan(table, state, &facts, Input::Tick, Millis(now.0 + 60_000)).records.len();
    }
    report("its step a minute later", begun, count);
    println!("{due} of them were due ({sum})");
    Ok(())
}

fn report(what: &str, begun: Instant, count: usize) {
    let each = begun.elapsed().as_nanos() / count.max(1) as u128;
    println!("{what:24} {each:6} ns");
}
