//! Two runs beside each other: what differs, and what each step did in one and in the other.

use axum::extract::State;
use maud::{Markup, html};
use moa_core::ids::RunId;
use moa_core::step::StepStatus;
use moa_core::time::{Millis, Span};
use moa_ports::views::{RunFilter, RunSummary};
use moa_view::compare::lines::Tag;
use moa_view::compare::{Comparison, Part, Room, StepPair, StepSide};
use moa_view::text;

use super::{Shown, document, frame, step};
use crate::App;
use crate::api::runs::compare::{Other, compared};
use crate::auth::Identity;
use crate::error::Result;
use crate::extract::{Path, Query};
use crate::pages::parts;

/// Steps that differ and are shown.
const STEPS: usize = 100;
/// Steps that stand open.
const OPEN: usize = 10;
/// Lines of all values together.
const LINES: usize = 4000;
/// Steps that don't differ and are listed.
const ROWS: usize = 300;
/// Older runs offered.
const OFFERED: usize = 10;

/// The comparison.
pub async fn show(
    State(app): State<App>,
    who: Identity,
    Path(run): Path<String>,
    Query(other): Query<Other>,
) -> Result<Markup> {
    let turn = app.comparisons().next().await?;
    let mut shown = Shown::find(&app, &run, None).await?;
    let filter = RunFilter {
        workflow: Some(shown.run.row.workflow.clone()),
        before: Some(shown.id()),
        limit: OFFERED,
        ..RunFilter::default()
    };
    let older = app.reader().views.runs(&filter).await?;
    let room = Room { steps: STEPS, lines: LINES };
    let (found, run) = compared(&app, &who, (shown.run, turn), other.with.as_deref(), room).await?;
    shown.run = run;
    let with = found.as_ref().map(|found| found.left.run);
    let body = html! {
        (choice(shown.id(), with, &older))
        @match &found {
            None => (parts::empty("There is no older run of this workflow", &html! {})),
            Some(found) => (differences(&shown, found)),
        }
    };
    let compared = |with| format!("/api/v1/runs/{}/compare?with={with}", shown.id());
    let json = with.map_or_else(|| document(&shown), compared);
    Ok(frame(&app, &who, &shown, "/compare", json, body))
}

fn choice(run: RunId, with: Option<RunId>, older: &[RunSummary]) -> Markup {
    html! {
        form class="filter" action={ (parts::run_path(run)) "/compare" } {
            label for="with" { "With run" }
            input id="with" name="with" list="older" autocomplete="off" value=[with] size="38";
            datalist id="older" {
                @for run in older { option value=(run.run) { (run.status.as_str()) } }
            }
            button class="button" { "Compare" }
        }
    }
}

fn differences(shown: &Shown, found: &Comparison) -> Markup {
    let with = found.left.run;
    let (differ, same): (Vec<&StepPair>, Vec<&StepPair>) =
        found.steps.iter().partition(|pair| pair.differs);
    html! {
        (head(shown, found))
        @if found.equal {
            div class="note" { "Nothing differs but how long it took." }
        } @else {
            p class="dim legend-of-diff" {
                span class="diff-left" { "− run " (with.short()) } " "
                span class="diff-right" { "+ this run, " (shown.id().short()) }
            }
        }
        @for part in &found.parts {
            section class="card" { h2 { (title(part)) } (diff(part)) }
        }
        @if !differ.is_empty() {
            h2 { (text::plural(differ.len(), "step")) (if differ.len() == 1 { " differs" } else { " differ" }) }
            @for (i, pair) in differ.iter().take(STEPS).enumerate() {
                (step_card(shown, with, pair, i < OPEN))
            }
            @if differ.len() > STEPS {
                p class="dim" { "… and " (differ.len() - STEPS) " more: the JSON has them." }
            }
        }
        @if found.steps_left_out > 0 {
            p class="cut-off" { (text::plural(found.steps_left_out, "step")) " of these runs are left out." }
        }
        @if !same.is_empty() { (folded(shown, with, &same)) }
    }
}

fn head(shown: &Shown, found: &Comparison) -> Markup {
    let (left, right) = (&found.left, &found.right);
    html! {
        dl class="facts" {
            div { dt { "Other run" } dd {
                (parts::run_link(left.run)) " " (parts::run_status(left.status)) " "
                (parts::took(left.started_at, left.finished_at, shown.now))
            } }
            @if left.workflow != right.workflow { div { dt { "Of" } dd { (left.workflow) } } }
            div { dt { "Version" } dd {
                @if left.hash == right.hash { "the same" } @else if left.workflow != right.workflow {
                    "differs"
                } @else {
                    a href={ "/workflows/" (left.workflow) "/versions?from=" (left.hash) "&to=" (right.hash) } {
                        "differs"
                    }
                }
            } }
            @if left.priority != right.priority {
                div { dt { "Priority" } dd {
                    (text::priority(left.priority)) " there, " (text::priority(right.priority)) " here"
                } }
            }
        }
    }
}

fn title(part: &Part) -> String {
    let name = capital(part.name);
    match (part.left, part.right) {
        (false, _) => format!("{name}: only here"),
        (_, false) => format!("{name}: only there"),
        _ => name,
    }
}

/// The lines of a value that differ, as far as there was room.
fn diff(part: &Part) -> Markup {
    let found = &part.diff;
    html! {
        @if !found.lines.is_empty() {
            pre class="source diff" tabindex="0" {
                @for line in &found.lines {
                    @let class = match line.tag {
                        Tag::Left => "line bad",
                        Tag::Right => "line add",
                        Tag::Both => "line",
                        Tag::Gap => "line dim",
                    };
                    span class=(class) {
                        span class="at" { (line.tag.sign()) } (text::safe(&line.text)) "\n"
                    }
                }
            }
        }
        @if found.cut {
            p class="cut-off" { "Cut off here: more of it differs. The JSON has each place." }
        }
    }
}

fn step_card(shown: &Shown, with: RunId, pair: &StepPair, is_open: bool) -> Markup {
    html! {
        details class="card step-diff" open[is_open] data-key={ "differs " (pair.step) } {
            summary {
                strong { (pair.step) }
                span class="sides" {
                    (side(pair.left.as_ref(), shown.now)) " → " (side(pair.right.as_ref(), shown.now))
                }
            }
            p class="dim" {
                @if pair.left.is_some() { a href=(step::path(with, &pair.step)) { "The step there" } " · " }
                @if pair.right.is_some() { a href=(step::path(shown.id(), &pair.step)) { "The step here" } }
            }
            @if let (Some(left), Some(right)) = (&pair.left, &pair.right) {
                @if left.attempts != right.attempts {
                    p { (text::plural(left.attempts as usize, "attempt")) " there, "
                        (text::plural(right.attempts as usize, "attempt")) " here." }
                }
                @if left.reason != right.reason {
                    @for (side, place) in [(left, "there"), (right, "here")] {
                        @if let Some(why) = side.why { p { (said(side, place, why)) } }
                    }
                }
            }
            @for part in &pair.parts { h3 { (title(part)) } (diff(part)) }
        }
    }
}

/// Why a step is as it is, as a sentence.
fn said(side: &StepSide, place: &str, why: &str) -> String {
    match side.status {
        StepStatus::Waiting => format!("{}: {why}.", capital(place)),
        status => format!("{} {place}: {why}.", capital(status.as_str())),
    }
}

/// A word at the start of a sentence.
fn capital(word: &str) -> String {
    let mut word = word.to_owned();
    word[..1].make_ascii_uppercase();
    word
}

fn side(side: Option<&StepSide>, now: Millis) -> Markup {
    html! {
        @match side {
            None => span class="dim" { "not there" },
            Some(side) => {
                (parts::step_status(side.status)) " "
                span class="dim" { (parts::took(side.started_at, side.finished_at, now)) }
            },
        }
    }
}

/// Steps that are the same, with how long they took.
fn folded(shown: &Shown, with: RunId, same: &[&StepPair]) -> Markup {
    html! {
        details class="card" data-key="same" {
            summary { (text::plural(same.len(), "step")) (if same.len() == 1 { " is the same" } else { " are the same" }) }
            div class="table" {
                table {
                    thead { tr {
                        th { "Step" } th { "Status" } th class="num" { "Took there" }
                        th class="num" { "Took here" } th class="num" { "Longer here" }
                    } }
                    tbody { @for pair in same.iter().take(ROWS) { (row(shown, with, pair)) } }
                }
            }
            @if same.len() > ROWS { p class="dim" { "… and " (same.len() - ROWS) " more" } }
        }
    }
}

fn row(shown: &Shown, with: RunId, pair: &StepPair) -> Markup {
    let (Some(left), Some(right)) = (&pair.left, &pair.right) else { return html! {} };
    let longer = left.duration_ms.zip(right.duration_ms).map(|(left, right)| {
        let sign = if right < left { "−" } else { "+" };
        format!("{sign}{}", text::duration(Span(right.abs_diff(left))))
    });
    html! {
        tr data-key={ "same " (pair.step) } {
            td { a href=(step::path(shown.id(), &pair.step)) { (pair.step) } }
            td { (parts::step_status(right.status)) }
            td class="num" {
                a href=(step::path(with, &pair.step)) {
                    (parts::took(left.started_at, left.finished_at, shown.now))
                }
            }
            td class="num" { (parts::took(right.started_at, right.finished_at, shown.now)) }
            td class="num dim" { (longer.unwrap_or_default()) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn why_a_step_is_as_it_is_is_a_sentence_for_each_status() {
        let said_of = |status| {
            let side = StepSide {
                status,
                reason: None,
                why: None,
                attempts: 1,
                started_at: None,
                finished_at: None,
                duration_ms: None,
            };
            said(&side, "there", "rate limited")
        };
        assert_eq!(said_of(StepStatus::Waiting), "There: rate limited.");
        assert_eq!(said_of(StepStatus::Skipped), "Skipped there: rate limited.");
    }
}
