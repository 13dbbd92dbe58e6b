//! A run as a whole: its head for people, its document for programs.

use std::collections::BTreeMap;

use moa_core::event::InstIx;
use moa_core::machine::Run;
use moa_core::run::{RunStatus, StepRow};
use moa_core::step::StepStatus;
use moa_core::time::Millis;
use moa_core::workflow::StepKind;
use moa_ports::views::RunSummary;
use serde_json::{Map, Value as Json, json};

use crate::attempts::Attempt;
use crate::paint::Style;
use crate::result::is_listed;
use crate::text;
use crate::tree;
use crate::{doer, run_style};

/// `succeeded in 3.2s`, `running for 10s`, `pending`.
pub fn status_words(run: &Run, now: Millis) -> String {
    let status = run.row.status;
    match (status, tree::run_span(run, now)) {
        (_, None) => status.as_str().into(),
        (status, Some(span)) if status.is_terminal() => {
            let how = if status == RunStatus::Succeeded { "in" } else { "after" };
            format!("{} {how} {}", status.as_str(), text::duration(span))
        }
        (status, Some(span)) => format!("{} for {}", status.as_str(), text::duration(span)),
    }
}

/// One line about a run: its sign, workflow, id and status.
pub fn headline(run: &Run, now: Millis, color: bool) -> String {
    let status = status_words(run, now);
    let style = run_style(run.row.status);
    let id = run.row.run.to_string();
    format!(
        "{} {} {}",
        crate::paint::paint(color, Style::Bold, run.row.workflow.as_str()),
        crate::paint::paint(color, Style::Dim, &id),
        crate::paint::paint(color, style, &status)
    )
}

/// How many steps were done, of how many, and what became of others that have ended:
/// `3 of 4 steps, 1 skipped`. Those that the documented result counts.
pub fn progress(run: &Run) -> String {
    let counted = run.steps().filter(|row| is_listed(run, row));
    Progress::of(counted.map(|row| row.status)).words()
}

/// The steps of a run, counted by what became of them.
#[derive(Default)]
struct Progress {
    all: usize,
    /// They succeeded or failed.
    done: usize,
    skipped: usize,
    cancelled: usize,
}

impl Progress {
    fn of(statuses: impl Iterator<Item = StepStatus>) -> Self {
        let mut counted = Self::default();
        for status in statuses {
            counted.all += 1;
            match status {
                StepStatus::Succeeded | StepStatus::Failed => counted.done += 1,
                StepStatus::Skipped => counted.skipped += 1,
                StepStatus::Cancelled => counted.cancelled += 1,
                StepStatus::Pending
                | StepStatus::Ready
                | StepStatus::Running
                | StepStatus::Waiting => {}
            }
        }
        counted
    }

    fn words(&self) -> String {
        let mut words = format!("{} of {}", self.done, text::plural(self.all, "step"));
        for (count, what) in [(self.skipped, "skipped"), (self.cancelled, "cancelled")] {
            if count > 0 {
                words.push_str(&format!(", {count} {what}"));
            }
        }
        words
    }
}

/// The document of a run. Steps carry their attempts when they are given.
pub fn document(run: &Run, attempts: Option<&BTreeMap<InstIx, Vec<Attempt>>>) -> Json {
    let row = &run.row;
    let plan = run.graph.plan();
    let mut doc = json!({
        "run": row.run,
        "workflow": row.workflow,
        "workflow_version": plan.version,
        "hash": row.hash,
        "version": run.version,
        "status": row.status,
        "phase": row.phase,
        "priority": row.priority,
        "cause": row.extra.cause,
        "params": *row.params,
        "created_at": row.created_at.to_string(),
    });
    let mut put = |key: &str, value: Option<Json>| {
        if let Some(value) = value {
            doc[key] = value;
        }
    };
    let time = |at: Option<Millis>| at.map(|at| Json::from(at.to_string()));
    put("started_at", time(row.started_at));
    put("finished_at", time(row.finished_at));
    put("parent", row.parent.map(|p| json!({"run": p.run, "step": p.step, "depth": p.depth})));
    put("forked_from", row.extra.forked_from.map(|run| json!(run)));
    put("concurrency_key", row.extra.concurrency_key.clone().map(Json::from));
    put("fairness", row.extra.fairness.as_ref().map(|f| json!(f)));
    put("cancel", row.extra.cancel.clone().map(Json::from));
    put("output", row.output.as_deref().cloned());
    put("error", row.error.as_ref().map(|e| json!(e)));
    let steps = run.steps().map(|row| {
        let mut step = step(run, row);
        if let Some(made) = attempts.and_then(|all| all.get(&row.inst)) {
            step["attempts"] = json!(made);
        }
        step
    });
    doc["steps"] = steps.collect();
    doc
}

fn step(run: &Run, row: &StepRow) -> Json {
    let plan = run.graph.plan().step(row.plan);
    let mut doc = Map::new();
    let mut put = |key: &str, value: Json| {
        if !value.is_null() {
            doc.insert(key.into(), value);
        }
    };
    let time = |at: Option<Millis>| at.map_or(Json::Null, |at| at.to_string().into());
    put("step", run.step_name(row.inst).into());
    put("id", plan.id.as_str().into());
    put("iteration", Some(run.iteration_path(row.inst)).filter(|p| !p.is_empty()).into());
    put("agent", doer(plan).into());
    if let StepKind::Task { action, .. } = &plan.kind {
        put("action", action.as_str().into());
    }
    put("status", row.status.as_str().into());
    let reason = match row.status {
        StepStatus::Waiting => row.wait.map(|w| w.as_str()),
        StepStatus::Skipped => row.skip.map(|s| s.as_str()),
        _ => None,
    };
    put("reason", reason.into());
    put("attempt", (row.attempt > 0).then_some(row.attempt).into());
    put("ready_at", time(row.ready_at));
    put("started_at", time(row.started_at));
    put("finished_at", time(row.finished_at));
    put("until", time(row.until));
    put("output", row.output.as_deref().cloned().unwrap_or_default());
    put("error", row.error.as_ref().map_or(Json::Null, |e| json!(e)));
    put("detail", row.data.as_ref().and_then(|d| d.detail.as_deref().cloned()).unwrap_or_default());
    Json::Object(doc)
}

/// The document of a step, as it stands in that of its run, with its attempts and what it was given.
pub fn whole_step(run: &Run, row: &StepRow, attempts: &[Attempt]) -> Json {
    let mut doc = step(run, row);
    doc["attempts"] = json!(attempts);
    if let Some(given) = input(run, row) {
        doc["input"] = given;
    }
    doc
}

/// What a step was given, as its params or those of its run, once it was ready: from then on what they
/// are made of stays as it is. `None` = it was given nothing, or isn't so far.
pub fn input(run: &Run, row: &StepRow) -> Option<Json> {
    row.ready_at.and_then(|_| run.input(row.inst)).filter(|given| !given.is_null())
}

/// A run of a list, as an object.
pub fn list_item(run: &RunSummary) -> Json {
    let time = |at: Option<Millis>| at.map(|at| at.to_string());
    let span = run.started_at.zip(run.finished_at).map(|(start, end)| end.since(start).0);
    json!({
        "run": run.run,
        "workflow": run.workflow,
        "hash": run.hash,
        "status": run.status,
        "cause": run.cause,
        "parent": run.parent,
        "created_at": run.created_at.to_string(),
        "started_at": time(run.started_at),
        "finished_at": time(run.finished_at),
        "duration_ms": span,
        "error": run.error,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_done_is_not_counted_as_done() {
        use StepStatus::*;
        let words = |statuses: &[StepStatus]| Progress::of(statuses.iter().copied()).words();
        assert_eq!(words(&[Succeeded, Succeeded, Failed, Skipped]), "3 of 4 steps, 1 skipped");
        assert_eq!(words(&[Succeeded, Waiting, Running, Ready, Pending]), "1 of 5 steps");
        let stopped = [Failed, Skipped, Skipped, Cancelled];
        assert_eq!(words(&stopped), "1 of 4 steps, 2 skipped, 1 cancelled");
        assert_eq!(words(&[Succeeded]), "1 of 1 step");
    }
}
