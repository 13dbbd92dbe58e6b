//! The steps of a run as a list.

use std::collections::BTreeMap;

use maud::{Markup, html};
use moa_core::event::InstIx;
use moa_core::machine::Run;
use moa_core::run::StepRow;
use moa_core::step::StepStatus;
use moa_view::{deed, text, tree};

use super::Shown;
use crate::pages::parts;

/// Steps listed unless somebody asks for all.
const ROWS: usize = 200;
/// Characters shown of what a step does.
const DOES_CHARS: usize = 100;

/// The steps in the order of the workflow, with what holds them before them, and how deep each is.
pub fn ordered(run: &Run) -> Vec<(usize, &StepRow)> {
    let plan = run.graph.plan();
    let mut below: BTreeMap<Option<InstIx>, Vec<&StepRow>> = BTreeMap::new();
    for row in run.steps() {
        let step = plan.step(row.plan);
        let start = plan.bodies[usize::from(step.body)].start;
        let base = row.inst - (row.plan - start);
        let above = step.parent.map(|parent| base + (parent - start)).or(row.owner);
        below.entry(above).or_default().push(row);
    }
    let mut ordered = Vec::new();
    // Those still to be looked at, the next one last.
    let mut next: Vec<(usize, &StepRow)> =
        below.remove(&None).unwrap_or_default().into_iter().rev().map(|row| (0, row)).collect();
    while let Some((depth, row)) = next.pop() {
        ordered.push((depth, row));
        let mut held = below.remove(&Some(row.inst)).unwrap_or_default();
        held.sort_by_key(|row| (row.iteration, row.inst));
        next.extend(held.into_iter().rev().map(|row| (depth + 1, row)));
    }
    ordered
}

/// Those that are listed: all, or of very many the ones that somebody may look for, then the others.
pub fn listed(run: &Run, all: bool) -> (Vec<(usize, &StepRow)>, usize) {
    let rows = ordered(run);
    if all || rows.len() <= ROWS {
        return (rows, 0);
    }
    let calls = |row: &StepRow| {
        use StepStatus::{Cancelled, Failed, Ready, Running, Waiting};
        matches!(row.status, Failed | Running | Waiting | Ready | Cancelled)
    };
    let urgent = rows.iter().filter(|(_, row)| calls(row)).count();
    let mut room = ROWS.saturating_sub(urgent);
    let left = rows.len();
    let mut kept = Vec::new();
    for (depth, row) in rows {
        let fits = if calls(row) { kept.len() < ROWS } else { room > 0 };
        if fits {
            room -= usize::from(!calls(row));
            kept.push((depth, row));
        }
    }
    let left = left - kept.len();
    (kept, left)
}

/// A link to the same with every step.
pub fn all_of(shown: &Shown) -> Markup {
    let at = shown.at.map_or_else(String::new, |then| format!("&at={}", then.version));
    html! { a href={ "?all=true" (at) } { "Show all" } }
}

/// The list.
pub fn table(shown: &Shown, all: bool) -> Markup {
    let (rows, left) = listed(&shown.run, all);
    html! {
        div class="table" {
            table class="stack" {
                thead { tr {
                    th { "Step" } th { "Status" } th { "Does" } th class="num" { "Took" }
                    th class="num" { "Attempts" } th { "What became of it" }
                } }
                tbody {
                    @for (depth, row) in &rows { (self::row(shown, *depth, row)) }
                }
            }
        }
        @if left > 0 {
            p class="dim" { "… and " (left) " more. " (all_of(shown)) }
        }
    }
}

fn row(shown: &Shown, depth: usize, row: &StepRow) -> Markup {
    let run = &shown.run;
    let name = run.step_name(row.inst);
    let path = shown.step(&name);
    let does = deed(run.graph.plan().step(row.plan));
    let failed = (row.status == StepStatus::Failed).then_some("");
    html! {
        tr data-to=(path) data-key={ "step" (row.inst) } data-error=[failed] {
            td class={ "depth" (depth.min(5)) } { a href=(path) { (name) } }
            td {
                (parts::step_status(row.status))
                @if let Some(began) = row.began() {
                    span class="narrow dim" { " " (shown.took(Some(began), row.finished_at)) }
                }
            }
            // Of a list that is written there, all of it would leave no room for the rest.
            td class="dim spare one" title=(text::safe_line(&does)) {
                (parts::line(&text::cut(&does, DOES_CHARS)))
            }
            td class="num spare" {
                (shown.took(row.began(), row.finished_at))
            }
            td class="num spare" { @if row.attempt > 0 { (row.attempt) } }
            td class="wide over" { span class="cut" { (became(shown, row)) } }
        }
    }
}

/// What became of a step, in a few words.
fn became(shown: &Shown, row: &StepRow) -> Markup {
    let output = row.output.as_deref().map(|output| {
        let words: String = output.to_string().chars().take(300).collect();
        words
    });
    html! {
        @match row.status {
            StepStatus::Succeeded => {
                @if let Some(output) = output { code class="dim" { (parts::line(&output)) } }
            },
            StepStatus::Failed => span class="error" { (parts::line(&tree::detail(row, shown.moment()))) },
            StepStatus::Running | StepStatus::Pending | StepStatus::Ready => {},
            StepStatus::Waiting => {
                @match child(row) {
                    Some(run) => { "waits for run " (parts::run_link(run)) },
                    None => { (parts::line(&tree::detail(row, shown.moment()))) },
                }
            },
            _ => span class="dim" { (parts::line(&tree::detail(row, shown.moment()))) },
        }
    }
}

/// The run that a step waits for.
pub fn child(row: &StepRow) -> Option<moa_core::ids::RunId> {
    let detail = row.data.as_ref()?.detail.as_ref()?;
    detail.get("run")?.as_str()?.parse().ok()
}
