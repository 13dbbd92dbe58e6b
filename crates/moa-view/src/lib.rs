//! What a run looks like to people and programs: trees, results, attempts, events, exports.
//!
//! The command line and the server show the same documents, so they are made here, from what the
//! store's views answer ([`reader`]). What goes wrong on the way is a [`exit::Failure`] for both.
//! Absent by intent: the terminal, HTTP, and any concrete store.

pub mod activity;
pub mod agent;
pub mod attempts;
pub mod audit;
pub mod backfill;
pub mod check_format;
pub mod compare;
pub mod deliveries;
pub mod events;
pub mod exit;
pub mod export;
pub mod fleet;
pub mod natural;
pub mod node;
pub mod outline;
pub mod paint;
pub mod published;
pub mod reader;
pub mod result;
pub mod rows;
pub mod summary;
pub mod target;
pub mod text;
pub mod tree;
pub mod trigger;
pub mod why;

use std::time::{SystemTime, UNIX_EPOCH};

use moa_core::step::StepStatus;
use moa_core::time::Millis;
use moa_core::workflow::{PlanStep, StepKind};

use crate::paint::Style;

/// This moment.
pub fn now() -> Millis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// The word for what a step does: its agent, or its kind.
pub fn doer(step: &PlanStep) -> String {
    match &step.kind {
        StepKind::Task { agent, .. } => agent.to_string(),
        StepKind::Group => "parallel".into(),
        StepKind::Committee(_) => "committee".into(),
        StepKind::If { .. } => "condition".into(),
        StepKind::Foreach { .. } => "foreach".into(),
        StepKind::While { until: true, .. } => "until".into(),
        StepKind::While { .. } => "while".into(),
        StepKind::Child { .. } => "workflow".into(),
        StepKind::WaitSignal { .. } | StepKind::WaitEvent { .. } => "wait_for".into(),
        StepKind::Approve { .. } => "approve".into(),
        StepKind::Sleep { .. } => "sleep".into(),
        StepKind::Emit { .. } => "emit".into(),
    }
}

/// What a step does, for people: `agent7.lint`, `workflow build`, `sleep`.
pub fn deed(step: &PlanStep) -> String {
    match &step.kind {
        StepKind::Task { agent, action, .. } => format!("{agent}.{action}"),
        StepKind::Child { workflow, version: Some(v), .. } => format!("workflow {workflow}@{v}"),
        StepKind::Child { workflow, .. } => format!("workflow {workflow}"),
        StepKind::WaitSignal { name, .. } => {
            format!("wait for signal {}", name.source().as_str().unwrap_or("…"))
        }
        StepKind::WaitEvent { event, .. } => format!("wait for event {event}"),
        StepKind::Emit { event, .. } => format!("emit {event}"),
        StepKind::Foreach { items, var, .. } => format!("foreach {var} in {}", items.source()),
        StepKind::While { condition, until, .. } => {
            format!("{} {}", if *until { "until" } else { "while" }, condition.source())
        }
        StepKind::If { cases, .. } => match cases.first() {
            Some(case) => format!("if {}", case.source()),
            None => "if".into(),
        },
        _ => doer(step),
    }
}

/// Whether a step only holds others together.
pub fn is_container(step: &PlanStep) -> bool {
    matches!(
        step.kind,
        StepKind::Group
            | StepKind::Committee(_)
            | StepKind::If { .. }
            | StepKind::Foreach { .. }
            | StepKind::While { .. }
    )
}

/// The sign of a status, and its style.
pub fn sign(status: StepStatus) -> (&'static str, Style) {
    match status {
        StepStatus::Pending => ("·", Style::Dim),
        StepStatus::Ready => ("○", Style::Plain),
        StepStatus::Running => ("●", Style::Cyan),
        StepStatus::Waiting => ("◷", Style::Yellow),
        StepStatus::Succeeded => ("✓", Style::Green),
        StepStatus::Failed => ("✗", Style::Red),
        StepStatus::Skipped => ("-", Style::Dim),
        StepStatus::Cancelled => ("⊘", Style::Yellow),
    }
}

/// The style of a run's status.
pub fn run_style(status: moa_core::run::RunStatus) -> Style {
    use moa_core::run::RunStatus;
    match status {
        RunStatus::Pending => Style::Plain,
        RunStatus::Running => Style::Cyan,
        RunStatus::Waiting | RunStatus::Paused | RunStatus::Cancelled => Style::Yellow,
        RunStatus::Succeeded => Style::Green,
        RunStatus::Failed => Style::Red,
    }
}
