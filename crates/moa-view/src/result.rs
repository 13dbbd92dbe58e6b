//! The documented result of a run (`moa run --json`).

use std::collections::BTreeMap;

use moa_core::event::InstIx;
use moa_core::machine::Run;
use moa_core::run::{RunStatus, StepRow};
use moa_core::step::{ErrorKind, StepStatus};
use serde::Serialize;
use serde_json::Value as Json;

use crate::{doer, is_container};

/// The result of a run, as documented.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkflowResult {
    workflow_id: String,
    status: &'static str,
    start_time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    end_time: Option<String>,
    /// Milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    duration: Option<u64>,
    steps: Vec<StepResult>,
    metrics: Metrics,
}

/// One step of the result.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct StepResult {
    step_id: String,
    agent: String,
    status: &'static str,
    output: Json,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// Numbers of the result.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Metrics {
    total_steps: usize,
    successful_steps: usize,
    failed_steps: usize,
    skipped_steps: usize,
}

impl WorkflowResult {
    /// The result of a run as it is now. Steps that only hold others together are left out, unless
    /// they failed by themselves; steps that have not ended are counted, but not listed. In the order
    /// of the workflow file, what a loop repeated where the loop stands.
    pub fn new(run: &Run) -> Self {
        let mut counted = in_order(run);
        counted.retain(|row| is_listed(run, row));
        let steps: Vec<StepResult> =
            counted.iter().filter_map(|row| step_result(run, row)).collect();
        let count = |status: &str| steps.iter().filter(|s| s.status == status).count();
        let metrics = Metrics {
            total_steps: counted.len(),
            successful_steps: count("success"),
            failed_steps: count("failure"),
            skipped_steps: count("skipped"),
        };
        let row = &run.row;
        let start = row.started_at.unwrap_or(row.created_at);
        Self {
            workflow_id: row.run.to_string(),
            status: match row.status {
                RunStatus::Succeeded => "success",
                RunStatus::Failed | RunStatus::Cancelled => "failure",
                _ => "running",
            },
            start_time: start.to_string(),
            end_time: row.finished_at.map(|at| at.to_string()),
            duration: row.finished_at.map(|at| at.since(start).0),
            steps,
            metrics,
        }
    }
}

/// The steps as the plan has them; what a step owns (a loop its iterations) comes right behind it.
fn in_order(run: &Run) -> Vec<&StepRow> {
    let mut by_owner: BTreeMap<Option<InstIx>, Vec<&StepRow>> = BTreeMap::new();
    for row in run.steps() {
        by_owner.entry(row.owner).or_default().push(row);
    }
    let mut ordered = Vec::new();
    // Those still to be looked at, the next one last.
    let mut next = by_owner.remove(&None).unwrap_or_default();
    next.reverse();
    while let Some(row) = next.pop() {
        ordered.push(row);
        let mut owned = by_owner.remove(&Some(row.inst)).unwrap_or_default();
        owned.sort_by_key(|row| (row.iteration, row.inst));
        next.extend(owned.into_iter().rev());
    }
    ordered
}

/// Whether a step counts: those that only hold others together don't, unless they failed by themselves.
pub(crate) fn is_listed(run: &Run, row: &StepRow) -> bool {
    let own_error = row.error.as_ref().is_some_and(|e| e.kind != ErrorKind::Children);
    let failed_itself = row.status == StepStatus::Failed && own_error;
    !is_container(run.graph.plan().step(row.plan)) || failed_itself
}

fn step_result(run: &Run, row: &StepRow) -> Option<StepResult> {
    let status = match row.status {
        StepStatus::Succeeded => "success",
        StepStatus::Failed => "failure",
        StepStatus::Skipped => "skipped",
        // What was stopped at work did not do what it should; the rest was never begun.
        StepStatus::Cancelled if row.attempt > 0 => "failure",
        StepStatus::Cancelled => "skipped",
        _ => return None,
    };
    let cancelled = (row.status == StepStatus::Cancelled).then(|| "cancelled".to_owned());
    Some(StepResult {
        step_id: run.step_name(row.inst),
        agent: doer(run.graph.plan().step(row.plan)),
        status,
        output: row.output.as_deref().cloned().unwrap_or_default(),
        error: row.error.as_ref().map(|e| e.message.clone()).or(cancelled),
    })
}
