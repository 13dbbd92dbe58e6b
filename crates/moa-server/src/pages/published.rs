//! Events that somebody published, on the page of events: what was said of them, and what became of them.

use std::collections::BTreeMap;

use maud::{Markup, html};
use moa_core::event::Published;
use moa_core::time::Millis;
use moa_view::events::{Told, hide_in_published};
use moa_view::published::{Fate, Listener, fates, hide_in_fate};
use moa_view::text;

use super::parts;
use crate::App;
use crate::error::Result;

/// Runs that are linked to, of those that waited for an event.
const RUNS: usize = 5;
/// Triggers that are shown, of those that listened to an event.
const TRIGGERS: usize = 10;
/// Characters of data that are shown before they are unfolded.
const CUT: usize = 100;

/// A line of the list.
pub enum Line {
    /// Of what happened in a run.
    OfRun(Markup),
    /// Of what somebody published.
    Published(Box<OnBus>),
}

/// A published event.
pub struct OnBus {
    seq: u64,
    at: Millis,
    said: Published,
}

impl OnBus {
    /// It, if it is one.
    pub fn of(event: &Told<'_>) -> Option<Self> {
        let said = event.published()?.clone();
        Some(Self { seq: event.seq, at: event.at, said })
    }
}

/// The lines as they are shown: published events without secrets, each with what became of it.
///
/// # Errors
/// The store can't be read, or what is published can't be looked through.
pub async fn lines(app: &App, lines: Vec<Line>, now: Millis) -> Result<Vec<Markup>> {
    let of_bus = |line: &Line| match line {
        Line::Published(event) => Some((event.seq, event.said.event.clone())),
        Line::OfRun(_) => None,
    };
    let events: Vec<(u64, String)> = lines.iter().filter_map(of_bus).collect();
    let events: Vec<(u64, &str)> = events.iter().map(|(seq, kind)| (*seq, kind.as_str())).collect();
    let mut known = fates(app.reader(), &events, TRIGGERS).await?;
    let hide = match events.is_empty() {
        true => None,
        false => Some(app.control().redactor().await?),
    };
    if let Some(hide) = &hide {
        known.values_mut().for_each(|fate| hide_in_fate(fate, &**hide));
    }
    let shown = lines.into_iter().map(|line| match (line, &hide) {
        (Line::OfRun(line), _) => line,
        (Line::Published(mut event), Some(hide)) => {
            hide_in_published(&mut event.said, &**hide);
            row(&event, &known, now)
        }
        (Line::Published(_), None) => html! {},
    });
    Ok(shown.collect())
}

fn row(event: &OnBus, known: &BTreeMap<u64, Fate>, now: Millis) -> Markup {
    let Published { event: kind, key, source, subject, id, by, data } = &event.said;
    let json = data.to_string();
    // The key of a CloudEvent is made of its source and its id.
    let key = key.as_ref().filter(|_| id.is_none());
    let about = [
        ("from", source.as_ref()),
        ("key", key),
        ("id", id.as_ref()),
        ("published by", by.as_ref()),
    ];
    let is_empty = data.is_null() || data.as_object().is_some_and(|data| data.is_empty());
    html! {
        tr data-key={ (event.seq) ".0" } {
            td class="nowrap" { (parts::time(event.at, now)) }
            td class="over" { code { (parts::line(kind)) } }
            td class="wide over" { @if let Some(fate) = known.get(&event.seq) { (became(fate)) } }
            td class="over" { @if let Some(subject) = subject { (parts::line(subject)) } }
            td class="wide over" {
                @for (name, said) in about {
                    @if let Some(said) = said { span class="dim" { (name) " " (parts::line(said)) } " " }
                }
                @if !is_empty {
                    details data-key={ "data " (event.seq) } {
                        summary { (parts::line(&text::cut(&json, CUT))) }
                        (parts::value(data))
                    }
                }
            }
        }
    }
}

/// What became of it.
fn became(fate: &Fate) -> Markup {
    html! {
        @for listener in fate.triggers.iter().take(TRIGGERS) { div { (heard(listener)) } }
        @let more = fate.triggers.len().saturating_sub(TRIGGERS) + fate.more_triggers;
        @if more > 0 { div class="dim" { "… and " (text::plural(more, "trigger")) " more" } }
        @if fate.runs > 0 {
            div {
                (text::plural(usize::try_from(fate.runs).unwrap_or(usize::MAX), "run")) " waited for it: "
                @for run in fate.first_runs.iter().take(RUNS) { (parts::run_link(*run)) " " }
            }
        }
        @if let Some(hint) = &fate.hint {
            div { "Nothing listened to this." }
            div class="dim" { (parts::said(hint)) }
        }
    }
}

fn heard(listener: &Listener) -> Markup {
    let Listener { trigger, outcome, reason, run, result } = listener;
    html! {
        @match run {
            Some(run) => {
                (outcome) " " (parts::run_link(*run))
                @if let Some(result) = result { " " (parts::run_status(*result)) }
                " " span class="dim" { "by " (parts::line(trigger)) }
            }
            None => {
                (parts::line(trigger)) ": " (outcome.replace('_', " "))
                @if let Some(reason) = reason { span class="dim" { ", " (parts::line(reason)) } }
            }
        }
    }
}
