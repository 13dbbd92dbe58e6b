//! Schedules of workflows: what they become.

use insta::assert_snapshot;
use moa_core::schedule::{Calendars, Timetable};
use moa_core::time::Millis;
use moa_spec::{Schedules, parse_workflow, render};

use crate::support::{codes, id, source};

fn schedules(schedule: &str) -> Schedules {
    let text = format!("schedule: {schedule}\nsteps: [{{run: make}}]\n");
    let (workflow, found) = parse_workflow(&source(&text), &id());
    let shown = render(&found, &[source(&text)], false);
    workflow.unwrap_or_else(|| panic!("{shown}")).triggers.schedules
}

fn next(schedules: &Schedules, after: &str, count: usize) -> String {
    let after: jiff::Timestamp = after.parse().unwrap();
    let after = Millis(after.as_millisecond());
    let lines = schedules.list.iter().map(|schedule| {
        let table = Timetable::new(schedule.clone(), &Calendars::new()).unwrap();
        let slots = table.preview(after, count).into_iter().map(|slot| table.local(slot));
        format!("{}: {}", schedule.id, slots.collect::<Vec<_>>().join(" "))
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn the_short_form_is_utc_with_all_defaults() {
    let found = schedules("'*/5 * * * *'");
    assert!(!found.immediate);
    assert_snapshot!(serde_json::to_string_pretty(&found.list[0]).unwrap(), @r#"
    {
      "id": {
        "workflow": "test",
        "name": "1"
      },
      "enabled": true,
      "cron": [
        "*/5 * * * *"
      ],
      "zone": "UTC",
      "dst": "vixie",
      "window": {},
      "jitter": 0,
      "catch_up": {
        "policy": "latest",
        "window": 21600000,
        "max": 10,
        "spacing": 5000,
        "paused": false
      },
      "overlap": "skip"
    }
    "#);
    assert_snapshot!(next(&found, "2026-01-01T00:00:00Z", 2), @r"
    test/1: 2026-01-01T00:05:00+00:00 2026-01-01T00:10:00+00:00
    ");
    assert_eq!(schedules("{cron: '*/5 * * * *'}"), found);
    assert_eq!(schedules("['*/5 * * * *']"), found);
    let every = schedules("'@every  5m/1m'");
    assert_eq!(every, schedules("{every: 5m/1m}"));
    assert_snapshot!(next(&every, "2026-01-01T00:00:00Z", 2), @r"
    test/1: 2026-01-01T00:01:00+00:00 2026-01-01T00:06:00+00:00
    ");
}

#[test]
fn immediate_is_a_marker() {
    let found = schedules("immediate");
    assert!(found.immediate);
    assert_eq!(found.list, []);
    assert_eq!(schedules("[immediate]"), found);
}

#[test]
fn the_full_form_has_everything() {
    let everything = include_str!("../data/good/everything.yaml");
    let (workflow, _) = parse_workflow(&source(everything), &id());
    let list = workflow.unwrap().triggers.schedules.list;
    assert_snapshot!(serde_json::to_string_pretty(&list).unwrap());
}

#[test]
fn several_schedules_are_known_by_id_or_position() {
    let found = schedules("[{id: a, every: 1h}, '@daily', {every: 1d}]");
    let ids: Vec<String> = found.list.iter().map(|s| s.id.to_string()).collect();
    assert_eq!(ids, ["test/a", "test/2", "test/3"]);
}

#[test]
fn local_times_and_days_are_those_of_the_zone() {
    let found = schedules(
        "{at: [2026-06-01T09:00, 2026-01-05], timezone: Asia/Kolkata, \
         window: {from: 2026-01-05, until: 2026-06-01}}",
    );
    assert_snapshot!(next(&found, "2026-01-01T00:00:00Z", 9), @r"
    test/1: 2026-01-05T00:00:00+05:30 2026-06-01T09:00:00+05:30
    ");
    // The last day of a window is in it.
    let found = schedules("{cron: '0 12 * * *', window: {from: 2026-01-05, until: 2026-01-06}}");
    assert_snapshot!(next(&found, "2026-01-01T00:00:00Z", 9), @r"
    test/1: 2026-01-05T12:00:00+00:00 2026-01-06T12:00:00+00:00
    ");
}

#[test]
fn a_calendar_may_be_one_rule() {
    let found = schedules("{cron: '@daily', calendar: {include: FRI#L, exclude: [05-01..07-31]}}");
    assert_snapshot!(next(&found, "2026-03-01T00:00:00Z", 4), @r"
    test/1: 2026-03-27T00:00:00+00:00 2026-04-24T00:00:00+00:00 2026-08-28T00:00:00+00:00 2026-09-25T00:00:00+00:00
    ");
}

#[test]
fn a_cron_list_may_be_in_any_style_of_yaml() {
    let folded = "\n  cron:\n    - >-\n      0 9\n      * * MON\n    - \"0 12 * * \\u0053AT\"";
    let plain = schedules("{cron: [0 9 * * MON, 0 12 * * SAT]}");
    assert_eq!(schedules(folded), plain);
}

#[test]
fn a_plan_is_the_same_whatever_its_schedule() {
    let hash = |schedule: &str| {
        let text = format!("{schedule}steps: [{{run: make}}]\n");
        moa_spec::compile(&parse_workflow(&source(&text), &id()).0.unwrap()).hash
    };
    // Runs are pinned to what they do; when they start is no part of it.
    assert_eq!(hash("schedule: '@daily'\n"), hash(""));
}

#[test]
fn defaults_of_params_need_not_be_given() {
    let text =
        "params: {n: {type: integer, default: 3}}\nschedule: '@daily'\nsteps: [{run: make}]\n";
    assert!(codes(text).is_empty());
}

/// As many schedules, expressions and rules as there may be, and never due: finding that out is what
/// costs most.
#[test]
fn the_dearest_file_is_read_in_no_time() {
    let days: Vec<String> = (1..=31).map(|day| format!("03-{day:02}")).collect();
    let cron = "0 0 1 1 *, ".repeat(31);
    let one = format!("- {{cron: [{cron}], calendar: {{include: [{}]}}}}\n", days.join(", "));
    let text = format!("schedule:\n{}steps: [{{run: make}}]\n", one.repeat(32));
    let found = codes(&text);
    assert_eq!(found.iter().filter(|code| **code == "MOA0605").count(), 32);
}
