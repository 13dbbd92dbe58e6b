//! When each step waited and ran: its attempts on one axis of time.

use axum::extract::State;
use maud::{Markup, html};
use moa_core::run::StepRow;
use moa_core::time::{Millis, Span};
use moa_view::attempts::{Attempt, Outcome};
use moa_view::text;

use super::{Moment, Shown, document, frame, steps};
use crate::App;
use crate::auth::Identity;
use crate::error::Result;
use crate::extract::{Path, Query};
use crate::pages::parts;

/// Width of the axis in units of the drawing.
const WIDTH: f64 = 1000.0;

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
                span class="axis" {
                    @for part in 0..=4_u64 {
                        span { (text::duration(Span((axis.length * part as f64 / 4.0) as u64))) }
                    }
                }
                span class="blank" {}
                @for (depth, row) in &rows {
                    @let name = shown.run.step_name(row.inst);
                    @let own = made.get(&row.inst).map_or(&[][..], Vec::as_slice);
                    span class={ "name depth" ((*depth).min(5)) } {
                        a href=(shown.step(&name)) { (name) }
                    }
                    span class="bar" { (bar(&axis, row, own)) }
                    span class="num dim" {
                        (shown.took(row.started_at.or(row.ready_at), row.finished_at))
                    }
                }
            }
            p class="dim" {
                "Pale: ready or waiting. Full: an attempt; red where it failed. "
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

fn bar(axis: &Axis, row: &StepRow, attempts: &[Attempt]) -> Markup {
    let end = row.finished_at.unwrap_or(axis.end);
    let rect = |class: &str, from: Millis, to: Millis, title: String| {
        let (x, to) = (axis.at(from), axis.at(to));
        html! {
            rect class=(class) x=(format!("{x:.1}")) y="3" height="12"
                width=(format!("{:.1}", (to - x).max(2.5))) { title { (title) } }
        }
    };
    let ready = row.ready_at.unwrap_or(axis.start);
    let waited = format!("ready or waiting for {}", text::duration(end.since(ready)));
    html! {
        svg viewBox={ "0 0 " (WIDTH) " 18" } preserveAspectRatio="none" role="img"
            aria-label={ (attempts.len()) " attempts" } {
            (rect("wait", ready, end, waited))
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
