//! The form of a run that history checkers read (`moa export --check-format`).
//!
//! Its vocabulary is older and coarser than moa's: a step that moa moves directly from one status to
//! another may have to pass through a third one there. Those passages are put in between.

use std::collections::HashMap;

use moa_core::event::{Event, InstIx};
use moa_core::machine::Run;
use moa_core::run::RunStatus;
use moa_core::step::StepStatus;
use moa_core::time::Millis;
use moa_ports::views::HistoryRow;
use serde_json::{Value as Json, json};

use crate::attempts::{self, Attempt, Outcome};

/// The run in that form.
pub fn run(run: &Run, history: &[HistoryRow]) -> Json {
    let attempts = attempts::of_history(history);
    let steps: Vec<Json> = run
        .steps()
        .map(|row| {
            let made = attempts.get(&row.inst).map_or(&[][..], Vec::as_slice);
            json!({
                "id": run.step_name(row.inst),
                "state": step_word(row.status),
                "deps": deps(run, row.inst),
                "attempts": made.iter().map(attempt).collect::<Vec<_>>(),
            })
        })
        .collect();
    let mut form = json!({
        "run": run.row.run.to_string(),
        "workflow": run.row.workflow.to_string(),
        "state": run_word(run.row.status),
        "steps": steps,
        "events": events(run, history),
    });
    if let Some(at) = cancelled_at(history) {
        form["cancelled_at"] = seconds(at);
    }
    form
}

fn seconds(at: Millis) -> Json {
    json!(at.0 as f64 / 1000.0)
}

fn deps(run: &Run, inst: InstIx) -> Vec<String> {
    let Some(row) = run.step(inst) else { return Vec::new() };
    let step = run.graph.plan().step(row.plan);
    let sibling = |other: u32| inst - (row.plan - other);
    step.needs.iter().map(|need| run.step_name(sibling(need.step))).collect()
}

fn attempt(attempt: &Attempt) -> Json {
    let mut form = json!({"n": attempt.attempt, "start": seconds(attempt.started_at)});
    if let Some(at) = attempt.ended_at {
        form["end"] = seconds(at);
    }
    if let Some(outcome) = attempt.outcome {
        form["outcome"] = match outcome {
            Outcome::Succeeded => "completed",
            Outcome::Failed => "failed",
            Outcome::Released => "released",
            Outcome::Cancelled => "cancelled",
            Outcome::Unknown => "unknown",
        }
        .into();
    }
    form
}

fn step_word(status: StepStatus) -> &'static str {
    match status {
        StepStatus::Succeeded => "completed",
        other => other.as_str(),
    }
}

fn run_word(status: RunStatus) -> &'static str {
    match status {
        RunStatus::Succeeded => "completed",
        other => other.as_str(),
    }
}

fn cancelled_at(history: &[HistoryRow]) -> Option<Millis> {
    let asks =
        |event: &Event| matches!(event, Event::CancelRequested { .. } | Event::RunCancelled { .. });
    let asked = history.iter().flat_map(HistoryRow::timed).find(|(.., event)| asks(event));
    asked.map(|(_, at, _)| at)
}

fn events(run: &Run, history: &[HistoryRow]) -> Vec<Json> {
    let mut out = Vec::new();
    let mut push = |at: Millis, mut event: Json| {
        event["seq"] = (out.len() + 1).into();
        event["t"] = seconds(at);
        out.push(event);
    };
    let mut statuses: HashMap<InstIx, StepStatus> = HashMap::new();
    for row in history {
        for (_, at, event) in row.timed() {
            if let Event::RunCreated(created) = event {
                for taken in created.seed.iter().flat_map(|seed| &seed.steps) {
                    statuses.insert(taken.inst, taken.status);
                    let step = run.step_name(taken.inst);
                    for to in passage(StepStatus::Pending, taken.status) {
                        push(at, json!({"type": "step", "step": step, "to": to}));
                    }
                }
            }
            if let Some(to) = run_change(event) {
                push(at, json!({"type": "run", "to": to}));
            }
            if let (Some(inst), Some(to)) = (event.step(), step_change(event)) {
                let from = statuses.insert(inst, to).unwrap_or_default();
                let step = run.step_name(inst);
                for to in passage(from, to) {
                    push(at, json!({"type": "step", "step": step, "to": to}));
                }
            }
        }
    }
    out
}

fn run_change(event: &Event) -> Option<&'static str> {
    Some(match event {
        Event::RunCreated(_) => "pending",
        Event::RunStarted | Event::RunResumed => "running",
        Event::RunPaused => "paused",
        Event::RunSucceeded { .. } => "completed",
        Event::RunFailed { .. } => "failed",
        Event::RunCancelled { .. } => "cancelled",
        _ => return None,
    })
}

/// The status that an event gives its step.
fn step_change(event: &Event) -> Option<StepStatus> {
    Some(match event {
        Event::StepReady { .. } | Event::AttemptReleased { .. } | Event::OutcomeChecked { .. } => {
            StepStatus::Ready
        }
        Event::AttemptFailed { until: None, .. } => StepStatus::Ready,
        Event::StepStarted { .. } => StepStatus::Running,
        Event::AttemptFailed { .. } | Event::StepWaiting { .. } | Event::StepOwnDone { .. } => {
            StepStatus::Waiting
        }
        Event::StepSucceeded { .. } => StepStatus::Succeeded,
        Event::StepFailed { .. } => StepStatus::Failed,
        Event::StepSkipped { .. } => StepStatus::Skipped,
        Event::StepCancelled { .. } => StepStatus::Cancelled,
        _ => return None,
    })
}

/// The words of a change, with what has to stand in between.
fn passage(from: StepStatus, to: StepStatus) -> Vec<&'static str> {
    use StepStatus::*;
    if from == to {
        return Vec::new();
    }
    let between = match (from, to) {
        (Pending, Succeeded | Failed) | (Ready, Failed) | (Running, Ready) => Some("waiting"),
        (Waiting, Skipped) => Some("ready"),
        _ => None,
    };
    between.into_iter().chain([step_word(to)]).collect()
}
