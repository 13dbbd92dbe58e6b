//! Named calendars: iCalendar files to days.

use std::ops::Range;

use calcard::common::timezone::Tz;
use calcard::icalendar::dates::{CalendarErrorType, TimeOrDelta};
use calcard::icalendar::{
    ICalendar, ICalendarComponentType, ICalendarProperty, ICalendarStatus, ICalendarValue,
};
use calcard::{Entry, Parser};
use moa_core::limits::CALENDAR_EVENTS_MAX;
use moa_core::schedule::{Day, Days};

use crate::codes;
use crate::diagnostic::Diagnostic;
use crate::read::Cx;
use crate::source::Source;

/// Repeated events are followed to the end of this year.
const LAST_YEAR: u16 = 2099;
/// iCalendar objects read of one file.
const OBJECTS_MAX: usize = 1000;
const DAY_SECONDS: i64 = 86_400;

/// Reads the days of an iCalendar file (RFC 5545): those on which its events take place, each in the
/// zone that it is written in. Repeated events count until the year 2099, cancelled ones not at all.
///
/// The days are given when no mistake is an error.
pub fn parse_calendar(source: &Source) -> (Option<Days>, Vec<Diagnostic>) {
    let mut cx = Cx::new(source);
    let mut ranges = Vec::new();
    let mut objects = 0;
    let mut parser = Parser::new(&source.text);
    loop {
        match parser.entry() {
            Entry::ICalendar(calendar) if objects < OBJECTS_MAX => {
                objects += 1;
                add(calendar, &mut ranges, &mut cx);
            }
            Entry::Eof => break,
            _ => {
                foreign(source, &mut cx);
                break;
            }
        }
    }
    if objects == 0 && !cx.failed() {
        foreign(source, &mut cx);
    }
    if ranges.is_empty() && !cx.failed() {
        let d = cx.warn(codes::BAD_CALENDAR, 0..1, "this calendar has no days".into());
        d.cause("no event of it has a date");
    }
    let failed = cx.failed();
    ((!failed).then(|| Days::new(ranges)), cx.finish())
}

fn foreign(source: &Source, cx: &mut Cx) {
    let first = 0..source.text.lines().next().map_or(0, str::len).max(1);
    let d = cx.error(codes::BAD_CALENDAR, first, "this is not an iCalendar file".into());
    d.cause("it doesn't consist of parts from `BEGIN:VCALENDAR` to `END:VCALENDAR`");
    d.help("export the calendar as iCalendar (.ics)");
}

/// Adds the days of one iCalendar object.
fn add(mut calendar: ICalendar, ranges: &mut Vec<(Day, Day)>, cx: &mut Cx) {
    end_rules(&mut calendar);
    let left = CALENDAR_EVENTS_MAX.saturating_sub(ranges.len());
    let expanded = calendar.expand_dates(Tz::Floating, left + 1);
    if expanded.events.len() > left {
        let message = format!("a calendar has at most {CALENDAR_EVENTS_MAX} events");
        let d = cx.error(codes::BAD_CALENDAR, 0..1, message);
        d.cause("repeated events count each time");
        d.help("give rules an end, or take out events that repeat within a day");
        return;
    }
    for error in &expanded.errors {
        let is_event = is_event(&calendar, error.comp_id);
        if is_event {
            let span = begin_of(error.comp_id, cx);
            let d = cx.error(codes::BAD_CALENDAR, span, "this event has no days".into());
            match &error.error {
                CalendarErrorType::RRule(rule) => d.cause(format!("its RRULE is wrong: {rule}")),
                _ => d.cause("it has no DTSTART, or no valid one"),
            };
            d.help("write a date such as DTSTART;VALUE=DATE:20261224");
        }
    }
    for event in expanded.events.iter().filter(|event| is_event(&calendar, event.comp_id)) {
        let start = event.start.naive_local().and_utc().timestamp();
        let end = match &event.end {
            TimeOrDelta::Time(end) => end.naive_local().and_utc().timestamp(),
            TimeOrDelta::Delta(length) => start.saturating_add(length.num_seconds()),
        };
        // The end is the first second that doesn't belong to it.
        let last = end.saturating_sub(1).max(start);
        let day = |second: i64| i32::try_from(second.div_euclid(DAY_SECONDS)).ok().map(Day);
        ranges.extend(day(start).zip(day(last)));
    }
}

/// Gives rules without an end one, so that following them ends.
fn end_rules(calendar: &mut ICalendar) {
    let entries = calendar.components.iter_mut().flat_map(|component| &mut component.entries);
    for entry in entries.filter(|entry| entry.name == ICalendarProperty::Rrule) {
        for value in &mut entry.values {
            let ICalendarValue::RecurrenceRule(rule) = value else { continue };
            if rule.count.is_none() && rule.until.is_none() {
                let until = rule.until.get_or_insert_default();
                (until.year, until.month, until.day) = (Some(LAST_YEAR), Some(12), Some(31));
                (until.hour, until.minute, until.second) = (Some(23), Some(59), Some(59));
            }
        }
    }
}

fn is_event(calendar: &ICalendar, component: u32) -> bool {
    calendar.components.get(component as usize).is_some_and(|component| {
        component.component_type == ICalendarComponentType::VEvent
            && component.status() != Some(&ICalendarStatus::Cancelled)
    })
}

/// The line on which a component begins.
fn begin_of(component: u32, cx: &Cx) -> Range<usize> {
    let text = &cx.source().text;
    let mut at = 0;
    let mut lines = text.split_inclusive('\n').filter_map(|line| {
        let start = at;
        at += line.len();
        let begins = line.get(..6).is_some_and(|word| word.eq_ignore_ascii_case("BEGIN:"));
        begins.then(|| start..start + line.trim_end().len())
    });
    lines.nth(component as usize).unwrap_or(0..1)
}
