//! Calendars: iCalendar files to days.

use insta::assert_snapshot;
use moa_spec::{Source, parse_calendar, render};
use proptest::prelude::*;

/// A calendar of events.
fn events(events: &[&str]) -> String {
    let events: String = events
        .iter()
        .enumerate()
        .map(|(n, lines)| {
            let lines = lines.trim().replace('\n', "\r\n");
            format!("BEGIN:VEVENT\r\nUID:{n}\r\n{lines}\r\nEND:VEVENT\r\n")
        })
        .collect();
    format!("BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//x\r\n{events}END:VCALENDAR\r\n")
}

/// The days of a calendar as ranges, the first ones of many.
fn days(text: &str) -> String {
    let source = Source::new("calendars/test.ics", text);
    let (days, found) = parse_calendar(&source);
    let shown = render(&found, &[source], false);
    let Some(days) = days else { return shown };
    let ranges = days.ranges().iter().take(6).map(|(first, last)| match first == last {
        true => first.to_string(),
        false => format!("{first}..{last}"),
    });
    let more = days.ranges().len().saturating_sub(6);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{more}{shown}", ranges.collect::<Vec<_>>().join(" "))
}

#[test]
fn the_days_of_events_are_the_days_of_the_calendar() {
    let whole = "DTSTART;VALUE=DATE:20261225\nDTEND;VALUE=DATE:20261227";
    assert_eq!(days(&events(&[whole])), "2026-12-25..2026-12-26", "the end is not in it");
    let one = "DTSTART;VALUE=DATE:20261225";
    let next = "DTSTART;VALUE=DATE:20261226\nDURATION:P1D";
    assert_eq!(days(&events(&[next, one])), "2026-12-25..2026-12-26");
    let evening = "DTSTART;TZID=America/New_York:20260703T220000\nDTEND;TZID=America/New_York:20260704T010000";
    assert_eq!(days(&events(&[evening])), "2026-07-03..2026-07-04", "in its own zone");
    let midnight = "DTSTART:20260703T220000Z\nDTEND:20260704T000000Z";
    assert_eq!(days(&events(&[midnight])), "2026-07-03");
}

#[test]
fn repeated_events_are_followed_and_exceptions_left_out() {
    let yearly = "DTSTART;VALUE=DATE:20201225\nRRULE:FREQ=YEARLY\nEXDATE;VALUE=DATE:20211225";
    assert_eq!(
        days(&events(&[yearly])),
        "2020-12-25 2022-12-25 2023-12-25 2024-12-25 2025-12-25 2026-12-25 and 73 more"
    );
    let fourth_thursday =
        "DTSTART;VALUE=DATE:20251127\nRRULE:FREQ=YEARLY;BYMONTH=11;BYDAY=4TH;COUNT=3";
    assert_eq!(days(&events(&[fourth_thursday])), "2025-11-27 2026-11-26 2027-11-25");
    let cancelled = "DTSTART;VALUE=DATE:20261225\nSTATUS:CANCELLED";
    let kept = "DTSTART;VALUE=DATE:20261224";
    assert_eq!(days(&events(&[cancelled, kept])), "2026-12-24");
    let two = format!("{}{}", events(&[kept]), events(&["DTSTART;VALUE=DATE:20261231"]));
    assert_eq!(days(&two), "2026-12-24 2026-12-31", "a file may hold several");
}

#[test]
fn other_files_are_refused_with_a_reason() {
    let mut shown = String::new();
    for text in [
        "",
        "steps: [{run: make}]\n",
        &events(&[]),
        &events(&["DTSTART;VALUE=DATE:20261225", "SUMMARY:no date"]),
        &events(&["DTSTART:20200101T000000Z\nRRULE:FREQ=SECONDLY"]),
    ] {
        shown.push_str(&days(text));
        shown.push('\n');
    }
    assert_snapshot!(shown);
}

proptest! {
    #[test]
    fn no_text_does_harm(
        lines in prop::collection::vec("(DTSTART|DTEND|RRULE|EXDATE|RDATE|DURATION|RECURRENCE-ID|\
            BEGIN|END|TZID|SEQUENCE)(;VALUE=DATE|;TZID=[A-Z/a-z]{0,8}|;RANGE=THISANDFUTURE)?:\
            ([0-9]{8}(T[0-9]{6}Z?)?|FREQ=(YEARLY|DAILY|SECONDLY|MONTHLY)(;(BYDAY|BYMONTH|COUNT|UNTIL|\
            INTERVAL|BYMONTHDAY|BYSETPOS)=-?[0-9A-Z]{0,9}){0,3}|P[0-9]{0,12}[DWH]|VEVENT|\
            VTIMEZONE|\\PC{0,12})", 0..12),
    ) {
        let text = events(&[&lines.join("\n")]);
        let (days, found) = parse_calendar(&Source::new("x.ics", text));
        prop_assert!(days.is_some() != moa_spec::has_errors(&found));
    }
}
