//! When each step waited and ran: its attempts on one axis of time.

use axum::extract::State;
use maud::{Markup, html};
use moa_core::run::StepRow;
use moa_core::time::{Millis, Span};
use moa_view::attempts::{Attempt, Outcome};
use moa_view::{is_container, text};

use super::{Moment, Shown, document, frame, steps};
use crate::App;
use crate::auth::Identity;
use crate::error::Result;
use crate::extract::{Path, Query};
use crate::pages::parts;

/// Width of the axis in units of the drawing.
const WIDTH: f64 = 1000.0;

/// Marks on the axis beside its beginning, at most.
const TICKS: u64 = 5;
/// A second, a minute, an hour, a day; in milliseconds.
const SECOND: u64 = 1000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
/// Round times between two marks, in milliseconds; days follow.
const STEPS: [u64; 25] = [
    1,
    2,
    5,
    10,
    20,
    50,
    100,
    200,
    500,
    SECOND,
    2 * SECOND,
    5 * SECOND,
    10 * SECOND,
    20 * SECOND,
    30 * SECOND,
    MINUTE,
    2 * MINUTE,
    5 * MINUTE,
    10 * MINUTE,
    20 * MINUTE,
    30 * MINUTE,
    HOUR,
    2 * HOUR,
    6 * HOUR,
    12 * HOUR,
];

/// The timeline of a run.
pub async fn show(
    State(app): State<App>,
    who: Identity,
    Path(run): Path<String>,
    Query(moment): Query<Moment>,
) -> Result<Markup> {
    let shown = Shown::find(&app, &run, moment.at).await?;
    let made = shown.attempts(&app).await?;
    let row = &shown.run.row;
    let start = row.started_at.unwrap_or(row.created_at);
    let end = row.finished_at.unwrap_or(shown.moment());
    let axis = Axis { start, length: end.since(start).0.max(1) as f64, end };
    let (rows, left) = steps::listed(&shown.run, moment.all);
    let rows: Vec<_> = rows.into_iter().filter(|(_, row)| row.ready_at.is_some()).collect();
    let body = html! {
        @if rows.is_empty() {
            (parts::empty("Nothing has started yet", &html! { "The timeline grows with the run." }))
        } @else {
            div class="gantt" {
                span class="blank" {}
                svg class="axis" aria-hidden="true" {
                    @for tick in ticks(end.since(start)) {
                        @let part = tick.0 as f64 / axis.length * 100.0;
                        @let anchor = match part { ..2.0 => "start", 94.0.. => "end", _ => "middle" };
                        text x={ (format!("{part:.2}")) "%" } y="12" text-anchor=(anchor) { (mark(tick)) }
                    }
                }
                span class="blank" {}
                @for (depth, row) in &rows {
                    @let name = shown.run.step_name(row.inst);
                    @let own = made.get(&row.inst).map_or(&[][..], Vec::as_slice);
                    span class={ "name depth" ((*depth).min(5)) } {
                        a href=(shown.step(&name)) { (name) }
                    }
                    @let holds = is_container(shown.run.graph.plan().step(row.plan));
                    span class="bar" { (bar(&axis, row, own, holds)) }
                    span class="num dim" {
                        (shown.took(row.began(), row.finished_at))
                    }
                }
            }
            p class="dim" {
                "Pale: ready or waiting. Full: an attempt; red where it failed. "
                "Thin: a step that holds others, from its begin to its end. "
                "The axis begins " (parts::time(start, shown.now)) "."
            }
        }
        @if left > 0 {
            p class="dim" { "… and " (left) " more. " (steps::all_of(&shown)) }
        }
    };
    let json = document(&shown);
    Ok(frame(&app, &who, &shown, "/timeline", json, body))
}

/// Marks on an axis of this length: at round times, few enough to be read.
fn ticks(length: Span) -> Vec<Span> {
    let fits = |step: &u64| length.0 / step <= TICKS;
    let days = |n: u32| [1, 2, 5].map(|step| step * 10_u64.saturating_pow(n) * DAY);
    let step = STEPS.into_iter().chain((0..6).flat_map(days)).find(fits).unwrap_or(u64::MAX);
    (0..=length.0 / step).map(|n| Span(n * step)).collect()
}

/// A mark in words: `1.5s`, `2m`.
fn mark(tick: Span) -> String {
    match tick.0 {
        SECOND..MINUTE if !tick.0.is_multiple_of(SECOND) => text::duration(tick),
        _ => tick.to_string(),
    }
}

struct Axis {
    start: Millis,
    end: Millis,
    length: f64,
}

impl Axis {
    fn at(&self, at: Millis) -> f64 {
        at.since(self.start).0 as f64 / self.length * WIDTH
    }
}

/// `holds`: it does nothing itself, and waits for nothing while what it holds goes on.
fn bar(axis: &Axis, row: &StepRow, attempts: &[Attempt], holds: bool) -> Markup {
    let end = row.finished_at.unwrap_or(axis.end);
    let rect = |class: &str, from: Millis, to: Millis, title: String| {
        let (x, to) = (axis.at(from), axis.at(to));
        let (y, height) = if class == "group" { (7, 4) } else { (3, 12) };
        html! {
            rect class=(class) x=(format!("{x:.1}")) y=(y) height=(height)
                width=(format!("{:.1}", (to - x).max(2.5))) { title { (title) } }
        }
    };
    let ready = row.ready_at.unwrap_or(axis.start);
    let long = text::duration(end.since(ready));
    let whole = match holds {
        true => rect("group", ready, end, format!("what it holds took {long}")),
        false => rect("wait", ready, end, format!("ready or waiting for {long}")),
    };
    let label = match holds {
        true => "holds other steps".to_owned(),
        false => text::plural(attempts.len(), "attempt"),
    };
    html! {
        svg viewBox={ "0 0 " (WIDTH) " 18" } preserveAspectRatio="none" role="img"
            aria-label=(label) {
            (whole)
            @for attempt in attempts {
                @let over = attempt.ended_at.unwrap_or(end);
                @let how = attempt.outcome.map_or("running", word);
                @let long = text::duration(over.since(attempt.started_at));
                (rect(how, attempt.started_at, over,
                    format!("attempt {}: {how}, {long}", attempt.attempt)))
            }
        }
    }
}

/// The word of an outcome.
pub fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Succeeded => "succeeded",
        Outcome::Failed => "failed",
        Outcome::Released => "released",
        Outcome::Cancelled => "cancelled",
        Outcome::Unknown => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_stand_at_round_times() {
        let shown = |ms: u64| {
            let all = ticks(Span(ms));
            assert!((1..=6).contains(&all.len()), "{ms}: {all:?}");
            all.iter().map(|tick| mark(*tick)).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(shown(4873), "0s 1s 2s 3s 4s");
        assert_eq!(shown(2300), "0s 500ms 1s 1.5s 2s");
        assert_eq!(shown(93_000), "0s 20s 40s 1m 1m20s");
        assert_eq!(shown(26 * HOUR), "0s 6h 12h 18h 1d");
        assert_eq!(shown(12 * DAY), "0s 5d 10d");
        for power in 0..19 {
            shown(10_u64.pow(power));
        }
        assert_eq!(ticks(Span(0)), [Span(0)]);
    }
}
