//! Why an instant is a slot, and what its run is given.

use std::fmt::Write as _;

use insta::assert_snapshot;
use moa_core::schedule::{Dst, Schedule, SlotId, Timetable};
use moa_core::template::Template;
use moa_core::time::Span;
use serde_json::json;

use super::{at, cron, preview, table};

fn explained(table: &Timetable, instants: &[&str]) -> String {
    let texts = instants.iter().map(|text| table.explain(at(text)).to_string());
    texts.collect::<Vec<_>>().join("\n")
}

#[test]
fn an_instant_is_explained() {
    let berlin = cron("Europe/Berlin", &["30 2 * * *", "0 3 * * SUN"]);
    let instants = [
        "2026-03-28T01:30:00Z",
        "2026-03-29T01:00:00Z",
        "2026-10-25T00:30:00Z",
        "2026-10-25T01:30:00Z",
        "2026-10-25T01:30:00.001Z",
    ];
    assert_snapshot!(explained(&table(berlin), &instants), @r"
    2026-03-28T01:30:00.000Z is a slot (Europe/Berlin, UTC+01:00)
    - `cron: 30 2 * * *` names it

    2026-03-29T01:00:00.000Z is a slot (Europe/Berlin, UTC+02:00)
    - `cron: 30 2 * * *` names 02:30:00, which the clock jumps over
    - `cron: 0 3 * * SUN` names it

    2026-10-25T00:30:00.000Z is a slot (Europe/Berlin, UTC+02:00)
    - `cron: 30 2 * * *` names it

    2026-10-25T01:30:00.000Z is no slot (Europe/Berlin, UTC+01:00)
    - the clock shows this for the second time; it was due at 2026-10-25T00:30:00.000Z

    2026-10-25T01:30:00.001Z is no slot (Europe/Berlin, UTC+01:00)
    - no rule of the schedule names it
    ");
    let mut limited = cron("Asia/Kolkata", &["0 9 * * *"]);
    limited.every = vec!["6h".parse().unwrap()];
    limited.at = vec![at("2026-01-01T00:00:00Z")];
    limited.calendar.exclude = vec!["weekends".parse().unwrap()];
    limited.window.until = Some(at("2026-02-01T00:00:00Z"));
    limited.jitter = Span::minutes(1);
    let instants = ["2026-01-01T00:00:00Z", "2026-01-03T03:30:00Z", "2026-02-02T03:30:00Z"];
    assert_snapshot!(explained(&table(limited), &instants), @r"
    2026-01-01T00:00:00.000Z is a slot (Asia/Kolkata, UTC+05:30)
    - `every: 6h` names it
    - `at` lists it
    - its run starts at 2026-01-01T00:00:00.934Z, by `jitter`

    2026-01-03T03:30:00.000Z is no slot (Asia/Kolkata, UTC+05:30)
    - `cron: 0 9 * * *` names it
    - its day doesn't count: `exclude` has weekends

    2026-02-02T03:30:00.000Z is no slot (Asia/Kolkata, UTC+05:30)
    - `cron: 0 9 * * *` names it
    - it is outside of `window`
    ");
}

/// The table of the book.
#[test]
fn clocks_are_changed_as_the_book_says() {
    let mut shown = String::new();
    let days =
        [("Sun 2026-03-29", "2026-03-28T23:00:00Z"), ("Sun 2026-10-25", "2026-10-24T22:00:00Z")];
    for expression in ["30 2 * * *", "0,30 2 * * *", "0 1-3 * * *", "30 * * * *", "*/30 2 * * *"] {
        for dst in [Dst::Vixie, Dst::Literal, Dst::Utc] {
            writeln!(shown, "{expression} {dst:?}").unwrap();
            for (day, midnight) in days {
                let schedule = Schedule { dst, ..cron("Europe/Berlin", &[expression]) };
                let slots = preview(&table(schedule), midnight, 30);
                let night = slots.iter().filter(|s| s.starts_with(day) && &s[15..17] < "05");
                let night: Vec<_> = night.map(|s| s[15..].replace(":00+", "+")).collect();
                writeln!(shown, "    {day} {}", night.join(" ")).unwrap();
            }
        }
    }
    assert_snapshot!(shown);
}

#[test]
fn a_run_is_given_params_of_its_slot() {
    let params = json!({
        "day": "${{ slot.date }}",
        "title": "Report of ${{ slot.local }}",
        "since": "${{ slot.previous }}",
        "count": "${{ slot.weekday + 1 }}",
        "plain": [1, 2],
    });
    let params = Template::compile(&params, false).unwrap();
    let table = table(Schedule { params, ..cron("Europe/Berlin", &["0 9 * * MON-FRI"]) });
    let slot = table.next_slot(at("2026-01-03T00:00:00Z")).unwrap();
    assert_eq!(
        table.params(slot).unwrap(),
        json!({
            "day": "2026-01-05",
            "title": "Report of 2026-01-05T09:00:00+01:00",
            "since": "2026-01-02T08:00:00.000Z",
            "count": 2,
            "plain": [1, 2],
        })
    );
    let keys: Vec<_> = table.slot_value(slot).as_object().unwrap().keys().cloned().collect();
    assert_eq!(keys, moa_core::schedule::SLOT_FIELDS);
}

#[test]
fn slots_have_runs_of_their_own() {
    let table = table(cron("UTC", &["@daily"]));
    let id = table.slot_id(at("2026-01-04T00:00:00Z"));
    let run = id.run_id();
    assert_eq!(run, id.clone().run_id());
    assert_eq!(&run.to_string()[14..15], "8");
    assert_eq!(
        &run.to_string()[..13],
        &moa_core::ids::RunId::v7(id.at.0 as u64, 0).to_string()[..13]
    );
    let mut others = vec![run];
    let name = |text: &str| text.parse().unwrap();
    let schedule = id.schedule.clone();
    let edited = super::table(cron("UTC", &["0 0 * * *"])).revision();
    assert_ne!(edited, id.revision);
    others.push(SlotId { revision: edited, ..id.clone() }.run_id());
    others.push(SlotId { at: at("2026-01-04T00:00:01Z"), ..id.clone() }.run_id());
    for (workflow, one) in [("curation", "2"), ("other", "1")] {
        let schedule = moa_core::schedule::ScheduleId { workflow: name(workflow), name: name(one) };
        others.push(SlotId { schedule, ..id.clone() }.run_id());
    }
    others.sort();
    others.dedup();
    assert_eq!(others.len(), 5);
    assert_eq!(SlotId { schedule, ..id }.run_id(), run);
}

#[test]
fn a_revision_is_of_what_the_schedule_says() {
    let one = cron("Europe/Berlin", &["@daily"]);
    let revision = one.revision();
    // The identity of revisions is in the store: it must not change between versions of moa.
    assert_snapshot!(revision, @r"
    ad6fff6cecef2c92
    ");
    assert_eq!(Schedule { enabled: false, ..one.clone() }.revision(), revision);
    assert_ne!(Schedule { jitter: Span::seconds(1), ..one.clone() }.revision(), revision);
    let text = serde_json::to_string(&one).unwrap();
    let read: Schedule = serde_json::from_str(&text).unwrap();
    assert_eq!(read, one);
    assert_eq!(read.revision(), revision);
    assert_snapshot!(text, @r#"
    {"id":{"workflow":"curation","name":"1"},"enabled":true,"cron":["@daily"],"zone":"Europe/Berlin","dst":"vixie","window":{},"jitter":0,"catch_up":{"policy":"latest","window":21600000,"max":10,"spacing":5000,"paused":false},"overlap":"skip"}
    "#);
}
