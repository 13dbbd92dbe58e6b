//! What the history says of workflows, agents and channels since the last look.

use std::collections::HashMap;
use std::sync::Arc;

use moa_core::agent::AgentKind;
use moa_core::alert::{Seen, Watch};
use moa_core::event::{Event, InstIx};
use moa_core::ids::{Name, RunId};
use moa_core::machine::Run;
use moa_core::time::{Millis, Span};
use moa_core::workflow::{NOTIFY_WORKFLOW, StepKind};
use moa_ports::views::{HistoryRow, Views};

use super::look::Agents;
use crate::exit::{Exit, Result};
use crate::reader::Reader;

/// Events read at once, and at most in one look.
const PART: usize = 500;
/// Events of such a part, about: a commit may hold thousands.
const PART_EVENTS: usize = 10_000;
const PARTS_MAX: usize = 100;
/// The longest time that a rule looks at.
const KEPT: Span = Span::minutes(7 * 24 * 60);

/// Takes over what has happened; where too much has, the rest at the next look.
///
/// # Errors
/// Those of the store. What was taken over up to there stays so.
pub async fn follow(
    watch: &mut Watch,
    views: &Arc<dyn Views>,
    agents: &Agents,
    now: Millis,
) -> Result<()> {
    let last = views.last_event().await?;
    // The store was put back from an older backup.
    watch.after = watch.after.min(last);
    for _ in 0..PARTS_MAX {
        if watch.after >= last {
            break;
        }
        let rows = views.events(watch.after, PART, PART_EVENTS).await?;
        let Some(end) = rows.last().map(|row| row.seq) else { break };
        let runs = runs_of(&rows, views).await?;
        for row in &rows {
            if let Some(run) = runs.get(&row.run) {
                see(watch, run, row, agents);
            }
        }
        watch.after = end;
    }
    watch.forget(Millis(now.0.saturating_sub_unsigned(KEPT.0)));
    Ok(())
}

async fn runs_of(rows: &[HistoryRow], views: &Arc<dyn Views>) -> Result<HashMap<RunId, Run>> {
    let mut runs = HashMap::new();
    let reader = Reader::new(views.clone());
    let matters = |event: &Event| {
        matches!(
            event,
            Event::StepSucceeded { .. }
                | Event::StepFailed { .. }
                | Event::AttemptFailed { .. }
                | Event::RunSucceeded { .. }
                | Event::RunFailed { .. }
        )
    };
    for row in rows.iter().filter(|row| row.events.iter().any(matters)) {
        if runs.contains_key(&row.run) {
            continue;
        }
        match reader.run(row.run).await {
            Ok(run) => {
                runs.insert(row.run, run);
            }
            // What is gone or can't be read holds nothing up.
            Err(failure) if matches!(failure.exit, Exit::NotFound | Exit::Damaged) => {}
            Err(failure) => return Err(failure),
        }
    }
    Ok(runs)
}

fn see(watch: &mut Watch, run: &Run, row: &HistoryRow, agents: &Agents) {
    if run.row.workflow.as_str() == NOTIFY_WORKFLOW {
        return see_told(watch, run, row);
    }
    let workflow = &run.row.workflow;
    for (_, at, event) in row.timed() {
        match event {
            Event::RunSucceeded { .. } => {
                watch.see(at, &Seen::RunEnded { workflow, error: None });
            }
            Event::RunFailed { error } => {
                watch.see(at, &Seen::RunEnded { workflow, error: Some(&error.message) });
            }
            Event::StepSucceeded { step, .. } => {
                if let Some(agent) = agent_of(run, *step, agents) {
                    watch.see(at, &Seen::Attempt { agent, error: None });
                }
            }
            Event::AttemptFailed { step, error, rate_limited: false, free: false, .. } => {
                if let Some(agent) = agent_of(run, *step, agents) {
                    watch.see(at, &Seen::Attempt { agent, error: Some(&error.message) });
                }
            }
            Event::StepFailed { step, error } if run.step(*step).is_some_and(|s| s.attempt > 0) => {
                let error = error.message.as_str();
                if let Some(agent) = agent_of(run, *step, agents) {
                    watch.see(at, &Seen::Attempt { agent, error: Some(error) });
                }
                watch.see(at, &Seen::Dead { workflow, error });
            }
            _ => {}
        }
    }
}

/// What became of a notification. One that was given up is told where it can be: in the log.
fn see_told(watch: &mut Watch, run: &Run, row: &HistoryRow) {
    let channel = run.row.params["channel"].as_str().and_then(|name| Name::new(name).ok());
    let Some(channel) = channel else { return };
    for (_, at, event) in row.timed() {
        let error = match event {
            Event::RunSucceeded { .. } => None,
            Event::RunFailed { error } => Some(error.message.as_str()),
            _ => continue,
        };
        if let Some(why) = error {
            tracing::error!(
                channel = %channel, run.id = %run.row.run,
                "a notification could not be delivered and is given up: {why}"
            );
        }
        watch.see(at, &Seen::Told { channel: &channel, error });
    }
}

/// The agent of a step that is a program or service of the project's own: scripts and the like fail
/// for reasons of each step.
fn agent_of<'a>(run: &'a Run, inst: InstIx, agents: &Agents) -> Option<&'a Name> {
    let step = run.graph.step(run.step(inst)?.plan);
    let StepKind::Task { agent, .. } = &step.kind else { return None };
    let spec = agents.get(agent)?;
    (!matches!(spec.kind, AgentKind::Builtin(_))).then_some(agent)
}
