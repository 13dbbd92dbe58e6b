//! The coming days over all schedules.

use std::collections::BTreeMap;

use axum::extract::State;
use maud::{Markup, html};
use moa_core::schedule::Zone;
use moa_core::time::{Millis, Span};
use moa_view::now;
use moa_view::trigger::Known;

use super::{Coming, SLOTS_OF_ONE, clock, coming, path};
use crate::App;
use crate::api::triggers::known;
use crate::auth::Identity;
use crate::error::Result;
use crate::pages::{Page, page, parts};

/// Days shown.
const DAYS: u64 = 14;
/// Days looked at: the last one ends in the zone of a schedule up to 26 hours after it does in ours.
const LOOKED_AT: u64 = DAYS + 2;
/// Slots of one schedule and day that stand there with their times.
const TIMES: usize = 3;
/// Schedules of a day that are named.
const NAMES: usize = 10;

/// Slots by day and schedule.
pub type ByDay<'a> = BTreeMap<String, BTreeMap<String, Vec<Coming<'a>>>>;

/// The slots of the coming days, of all schedules that may start runs.
pub fn by_day<'a>(all: &'a [Known], now: Millis, zone: &Zone) -> ByDay<'a> {
    let at = |day: u64| now.after(days(day));
    let mut found: ByDay<'a> =
        (0..DAYS).map(|day| (date(now, zone, day), BTreeMap::new())).collect();
    // Day by day: a schedule with many slots in one has its places in the others too.
    for slot in (0..LOOKED_AT).flat_map(|day| coming(all, at(day), at(day + 1))) {
        let day = slot.local.get(..10).unwrap_or_default().to_owned();
        let title = slot.trigger.spec.title();
        found.entry(day).or_default().entry(title).or_default().push(slot);
    }
    // In the zone of a schedule it may still be the day before, and days behind the last are in part.
    let (first, last) = (date(now, zone, 0), date(now, zone, DAYS - 1));
    found.retain(|day, _| (&first..=&last).contains(&day));
    found
}

/// Whether so many slots of a schedule and time are as many as are looked for.
pub fn is_full(slots: usize) -> bool {
    slots >= SLOTS_OF_ONE
}

/// The calendar.
pub async fn show(State(app): State<App>, who: Identity) -> Result<Markup> {
    let all = known(&app, None).await?;
    let (now, zone) = (now(), app.control().zone());
    let days = by_day(&all, now, &zone);
    let today = date(now, &zone, 0);
    let body = html! {
        p class="dim" {
            "Each time is that of its schedule's zone; today is that of " (zone.name()) "."
        }
        @if days.values().all(BTreeMap::is_empty) { (parts::empty("No schedule is due in these days", &html! {})) }
        div class="days" {
            @for (day, schedules) in &days {
                div class=[(*day == today).then_some("today")] {
                    strong class="day" title=(day) { span class="dim" { (weekday(day)) } " " (short(day)) }
                    ul {
                        @for (title, slots) in schedules.iter().take(NAMES) {
                            li title=(title) {
                                @if slots.len() > TIMES { span class="dim mono" { (many(slots.len())) "× " } }
                                @else {
                                    @for slot in slots { span class="dim mono" { (clock(&slot.local)) " " } }
                                }
                                @if let Some(first) = slots.first() {
                                    a href=(path(first.trigger)) { (title) }
                                }
                            }
                        }
                        @if schedules.len() > NAMES {
                            li class="dim" { "… and " (schedules.len() - NAMES) " more" }
                        }
                    }
                }
            }
        }
    };
    let shown = Page {
        nav: "/schedules",
        title: "Calendar",
        above: vec![("/schedules".into(), "Schedules".into())],
        json: Some("/api/v1/calendar".into()),
        body: Some(body),
        ..Page::default()
    };
    Ok(page(&app, &who, shown))
}

/// How many there are.
fn many(count: usize) -> String {
    if is_full(count) { format!("{SLOTS_OF_ONE}+") } else { count.to_string() }
}

/// A date without its year, which is that of the next days: `23 Nov`.
fn short(date: &str) -> String {
    let names =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let month = date.get(5..7).and_then(|month| month.parse::<usize>().ok());
    let name = month.and_then(|month| names.get(month.checked_sub(1)?));
    match (name, date.get(8..10)) {
        (Some(name), Some(day)) => format!("{} {name}", day.trim_start_matches('0')),
        _ => date.to_owned(),
    }
}

/// So many days.
fn days(count: u64) -> Span {
    Span(Span::minutes(24 * 60).0 * count)
}

/// The day of the week of a date: `Mon`.
pub fn weekday(date: &str) -> &'static str {
    let mut parts = date.split('-').map(str::parse::<usize>);
    let (Some(Ok(year)), Some(Ok(month @ 1..=12)), Some(Ok(day))) =
        (parts.next(), parts.next(), parts.next())
    else {
        return "";
    };
    // By Sakamoto's rule: a year begins in March, so that the leap day is its last one.
    let shift = [0, 3, 2, 5, 0, 3, 5, 1, 4, 6, 2, 4][month - 1];
    let year = if month < 3 { year.saturating_sub(1) } else { year };
    let words = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
    words[(year + year / 4 - year / 100 + year / 400 + shift + day) % 7]
}

/// The day of an instant as a zone has it, or one so many days later.
fn date(at: Millis, zone: &Zone, later: u64) -> String {
    let offset = i64::from(zone.offset_at(at.0.div_euclid(1000)));
    // Days of a calendar: the one on which the clocks change is as long as any other there.
    let wall = Millis(at.0.saturating_add(offset * 1000)).after(days(later));
    wall.to_string().get(..10).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_that_of_the_zone() {
        // 2026-01-01T23:30:00Z
        let late = Millis(1_767_310_200_000);
        let zone = |name: &str| Zone::get(name).expect("a zone");
        let of = |name: &str| date(late, &zone(name), 0);
        assert_eq!(date(late, &Zone::utc(), 0), "2026-01-01");
        assert_eq!(of("Europe/Berlin"), "2026-01-02");
        assert_eq!(of("Pacific/Honolulu"), "2026-01-01");
        // 2026-03-28T23:30+01:00: the next day has 23 hours.
        let before = Millis(1_774_737_000_000);
        let next = [0, 1, 2].map(|day| date(before, &zone("Europe/Berlin"), day));
        assert_eq!(next, ["2026-03-28", "2026-03-29", "2026-03-30"]);
        assert_eq!(next.each_ref().map(|day| weekday(day)), ["Sat", "Sun", "Mon"]);
        assert_eq!([weekday("1969-12-31"), weekday("x")], ["Wed", ""]);
        assert_eq!(["2026-12-05", "2026-13-05", "x"].map(short), ["5 Dec", "2026-13-05", "x"]);
    }
}
