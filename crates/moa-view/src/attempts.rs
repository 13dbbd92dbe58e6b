//! The attempts of a run's steps, told from its history.

use std::collections::BTreeMap;

use moa_core::event::{Event, InstIx};
use moa_core::limit::Usage;
use moa_core::step::{StepError, WaitReason};
use moa_core::time::Millis;
use moa_ports::views::HistoryRow;
use serde::Serialize;

/// One attempt.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Attempt {
    /// Its number, from 1.
    pub attempt: u32,
    /// The node that made it.
    pub node: String,
    /// When it started.
    #[serde(serialize_with = "rfc3339")]
    pub started_at: Millis,
    /// When it ended.
    #[serde(serialize_with = "rfc3339_option", skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Millis>,
    /// How it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<StepError>,
    /// What it said that it has spent.
    #[serde(skip_serializing_if = "Usage::is_nothing")]
    pub usage: Usage,
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Its result was accepted.
    Succeeded,
    /// It failed, or its result was not accepted.
    Failed,
    /// It was stopped because its node shut down.
    Released,
    /// It was stopped because its run was.
    Cancelled,
    /// Nobody knows.
    Unknown,
}

/// Writes an instant as RFC 3339.
pub fn rfc3339<S: serde::Serializer>(at: &Millis, s: S) -> Result<S::Ok, S::Error> {
    s.collect_str(at)
}

/// Writes an instant that may be missing.
pub fn rfc3339_option<S: serde::Serializer>(at: &Option<Millis>, s: S) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => s.collect_str(at),
        None => s.serialize_none(),
    }
}

/// The attempts of each step, in order.
pub fn of_history(history: &[HistoryRow]) -> BTreeMap<InstIx, Vec<Attempt>> {
    let mut steps: BTreeMap<InstIx, Vec<Attempt>> = BTreeMap::new();
    for row in history {
        for (_, at, event) in row.timed() {
            apply(&mut steps, at, event);
        }
    }
    steps
}

fn apply(steps: &mut BTreeMap<InstIx, Vec<Attempt>>, at: Millis, event: &Event) {
    if let Event::RunCreated(created) = event {
        // What was taken over from another run was attempted there.
        debug_assert!(steps.is_empty(), "a run is created once ({})", created.run);
        return;
    }
    let Some(step) = event.step() else { return };
    if let Event::StepStarted { attempt, node, .. } = event {
        let node = node.to_string();
        let started = Attempt {
            attempt: *attempt,
            node,
            started_at: at,
            ended_at: None,
            outcome: None,
            error: None,
            usage: Usage::NONE,
        };
        steps.entry(step).or_default().push(started);
        return;
    }
    let Some(last) = steps.get_mut(&step).and_then(|attempts| attempts.last_mut()) else { return };
    if let Event::AttemptSpent { usage, .. } = event {
        last.usage = last.usage.plus(*usage);
        return;
    }
    let open = last.outcome.is_none();
    let mut end = |outcome, error: Option<&StepError>| {
        last.ended_at.get_or_insert(at);
        last.outcome = Some(outcome);
        last.error = error.cloned();
    };
    match event {
        Event::AttemptFailed { error, .. } => end(Outcome::Failed, Some(error)),
        Event::AttemptReleased { .. } => end(Outcome::Released, None),
        Event::StepOwnDone { error: Some(error), .. } => end(Outcome::Failed, Some(error)),
        // A person may say later that it did happen.
        Event::StepSucceeded { .. } | Event::StepOwnDone { error: None, .. } => {
            end(Outcome::Succeeded, None);
        }
        Event::StepWaiting { reason: WaitReason::UnknownOutcome, .. }
        | Event::OutcomeChecked { .. } => end(Outcome::Unknown, None),
        Event::StepFailed { error, .. } if open => {
            end(Outcome::Failed, Some(error));
        }
        Event::StepCancelled { .. } if open => end(Outcome::Cancelled, None),
        _ => {}
    }
}
