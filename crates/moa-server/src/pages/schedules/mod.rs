//! Schedules and other triggers: the list, and what comes.

pub mod act;
pub mod backfill;
pub mod calendar;
pub mod one;

use axum::extract::State;
use maud::{Markup, html};
use moa_core::schedule::Slot;
use moa_core::time::{Millis, Span};
use moa_view::now;
use moa_view::trigger::{Known, kind, when};

use super::{Page, live, page, parts};
use crate::App;
use crate::api::triggers::{known, seen};
use crate::auth::Identity;
use crate::error::Result;

/// A day.
const DAY: Span = Span::minutes(24 * 60);
/// How late a trigger is when it counts as late.
const LATE: Span = Span::minutes(1);
/// Schedules that come, listed.
const SCHEDULES: usize = 12;
/// Slots of one schedule looked at.
const SLOTS_OF_ONE: usize = 300;

/// The workflow whose trigger it is; a rule is the project's, whichever workflow it starts.
pub fn called(trigger: &Known) -> Option<&str> {
    (!trigger.spec.rule).then_some(trigger.spec.workflow.as_str())
}

/// The path of a trigger's page.
pub fn path(trigger: &Known) -> String {
    format!("/schedules/{}", trigger.spec.title().replace('/', "%2F"))
}

/// A slot that comes, with its schedule and the time there.
pub struct Coming<'a> {
    /// The schedule.
    pub trigger: &'a Known,
    /// The slot.
    pub slot: Slot,
    /// As its zone says it.
    pub local: String,
}

/// The slots of a time, of all schedules that may start runs, in order.
pub fn coming(all: &[Known], from: Millis, to: Millis) -> Vec<Coming<'_>> {
    let mut coming = Vec::new();
    for trigger in all.iter().filter(|trigger| trigger.word().0 == "active") {
        let Ok(table) = trigger.table() else { continue };
        let slots = table.slots(from..to).take(SLOTS_OF_ONE);
        coming.extend(slots.map(|slot| Coming { trigger, slot, local: table.local(slot) }));
    }
    coming.sort_by_key(|coming| coming.slot.at);
    coming
}

/// Triggers that should have been looked at by now.
pub fn late(all: &[Known], now: Millis) -> Vec<(&Known, Millis)> {
    let due = |trigger: &&Known| trigger.row.as_ref().and_then(|row| row.due_at);
    let active = all.iter().filter(|trigger| trigger.word().0 == "active");
    active
        .filter_map(|trigger| Some((trigger, due(&trigger)?)))
        .filter(|(_, due)| due.after(LATE) < now)
        .collect()
}

/// Each schedule once: its next slot, and how many there are.
fn by_schedule(coming: Vec<Coming<'_>>) -> Vec<(Coming<'_>, usize)> {
    let mut found: Vec<(Coming<'_>, usize)> = Vec::new();
    for one in coming {
        let same = |(first, _): &&mut (Coming<'_>, usize)| std::ptr::eq(first.trigger, one.trigger);
        match found.iter_mut().find(same) {
            Some((_, count)) => *count += 1,
            None => found.push((one, 1)),
        }
    }
    found
}

/// What comes in a day, each schedule once, in order of the next slot; how many schedules more.
pub fn next_day(all: &[Known], now: Millis) -> (Vec<(Coming<'_>, usize)>, usize) {
    let mut found = by_schedule(coming(all, now, now.after(DAY)));
    let more = found.len().saturating_sub(SCHEDULES);
    found.truncate(SCHEDULES);
    (found, more)
}

/// What comes, a row for each schedule.
fn table(coming: &[(Coming<'_>, usize)], more: usize, now: Millis) -> Markup {
    html! {
        table {
            tbody {
                @for (first, count) in coming {
                    @let many = if calendar::is_full(*count) { format!("{count}+") } else { count.to_string() };
                    tr data-to=(path(first.trigger)) data-key=(first.trigger.spec.title()) {
                        td class="breaks" {
                            a class="lead" href=(path(first.trigger)) { (first.trigger.spec.title()) }
                            div class="dim cut" { (parts::line(&when(&first.trigger.spec))) }
                        }
                        td class="num nowrap" { (many) (if *count == 1 { " slot" } else { " slots" }) }
                        td class="num nowrap" {
                            (parts::time(first.slot.at, now)) " "
                            span class="mono dim" { (clock(&first.local)) }
                        }
                    }
                }
            }
        }
        @if more > 0 { p class="dim" { "… and " (more) " more schedules" } }
    }
}

/// The time of a local time: `09:00`.
pub fn clock(local: &str) -> &str {
    local.get(11..16).unwrap_or(local)
}

/// The next day of all schedules.
pub fn card(all: &[Known], now: Millis) -> Markup {
    let (coming, more) = next_day(all, now);
    html! {
        section class="card" data-key="next" {
            h2 { "Next 24 hours" a href="/calendar" { "calendar" } }
            @if coming.is_empty() { (parts::empty("No schedule is due", &html! {})) }
            @else { (table(&coming, more, now)) }
        }
    }
}

/// What is late, as lines.
pub fn lateness(all: &[Known], now: Millis) -> Markup {
    html! {
        @for (trigger, due) in late(all, now) {
            p class="failed" {
                "Late: " a href=(path(trigger)) { (trigger.spec.title()) } ", due " (parts::time(due, now))
            }
        }
    }
}

/// The list.
pub async fn show(State(app): State<App>, who: Identity) -> Result<Markup> {
    let live = live::ask(&app).await?;
    let now = now();
    let all = seen(&app, &who, known(&app, None).await?).await?;
    let (clocks, others): (Vec<&Known>, Vec<&Known>) =
        all.iter().partition(|known| known.spec.schedule().is_some());
    let body = html! {
        @if all.is_empty() {
            (parts::empty("No schedules yet", &html! {
                p { "A workflow says itself when it runs:" }
                pre tabindex="0" { "schedule: {cron: '0 9 * * 1-5', timezone: Europe/Berlin}" }
            }))
        }
        @if !clocks.is_empty() {
            @if !others.is_empty() { h2 { "Schedules" } }
            (list(&clocks, now))
        }
        @if !others.is_empty() { h2 { "Other triggers" } (list(&others, now)) }
        (lateness(&all, now))
        @if !clocks.is_empty() { (card(&all, now)) }
    };
    let actions = parts::go(&who, ("/calendar", None), "Calendar");
    let shown = Page {
        nav: "/schedules",
        title: "Schedules",
        actions: Some(actions),
        json: Some("/api/v1/triggers?limit=500".into()),
        live,
        body: Some(body),
        ..Page::default()
    };
    Ok(page(&app, &who, shown))
}

fn list(all: &[&Known], now: Millis) -> Markup {
    html! {
        div class="table" {
            table class="stack" {
                thead { tr {
                    th { "Name" } th { "State" } th { "When" } th { "Next" } th { "Last occurrence" }
                } }
                tbody { @for known in all { (row(known, now)) } }
            }
        }
    }
}

fn row(known: &Known, now: Millis) -> Markup {
    let state = known.state();
    let word = known.word().0;
    html! {
        tr data-to=(path(known)) data-key=(known.spec.title()) {
            td { a href=(path(known)) { (known.spec.title()) } }
            td { (state_word(word)) }
            td class="wide over" {
                code { (parts::line(&when(&known.spec))) }
                @if known.spec.schedule().is_none() { " " span class="dim" { (kind(&known.spec)) } }
            }
            td class="nowrap over named" data-head="Next" {
                (parts::time_or_dash(known.next(now).map(|slot| slot.at), now))
            }
            td class="nowrap over named" data-head="Last" {
                @match &state.last {
                    Some(last) => {
                        span class=(last.outcome.as_str()) { (words(last.outcome.as_str())) } " "
                        @if let Some(run) = last.run { (parts::run_link(run)) " " }
                        (parts::time(last.at, now))
                    },
                    None => span class="dim" { "none yet" },
                }
            }
        }
    }
}

/// The state of a trigger.
pub fn state_word(word: &str) -> Markup {
    let sign = match word {
        "active" => "●",
        "paused" => "‖",
        "orphaned" => "✗",
        _ => "○",
    };
    parts::status(word, sign)
}

/// A word as people write it: `skipped_late` → `skipped late`.
pub fn words(word: &str) -> String {
    word.replace('_', " ")
}
