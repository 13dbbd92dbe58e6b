//! Tasks: what runs, what could, and what waits, over all runs, each with why and until when.

use axum::extract::State;
use moa_core::ids::Name;
use moa_core::machine::Run;
use moa_core::run::{RunStatus, StepRow};
use moa_core::step::StepStatus;
use moa_core::workflow::StepKind;
use moa_ports::views::{Pending, RunFilter};
use moa_view::node::NodeStatus;
use moa_view::why::{Limits, Reason, answer};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::runs::list::{cursor, limit, name};
use crate::App;
use crate::error::{Problem, Result};
use crate::extract::{Json, Query};

/// Open runs that one question looks at.
const RUNS: usize = 100;
/// Steps that one question reads, but for those of its last run.
const STEPS_READ_MAX: usize = 10_000;
/// Tasks of a page at most; the last run of a page is told whole.
const TASKS_MAX: usize = 500;
/// What a step is on its way.
const STATES: [StepStatus; 4] =
    [StepStatus::Pending, StepStatus::Ready, StepStatus::Running, StepStatus::Waiting];

/// Which tasks.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Filter {
    /// Only in these states, with commas: `ready`, `running`, `waiting`, `pending`; all but `pending`
    /// when not given.
    #[serde(default)]
    status: Option<String>,
    /// Only for this agent.
    #[serde(default)]
    agent: Option<String>,
    /// Only of this workflow.
    #[serde(default)]
    workflow: Option<String>,
    /// At most so many, up to 500; 100 when not given. The last run of a page is told whole.
    #[serde(default)]
    limit: Option<usize>,
    /// Go on where a page ended: its `next`.
    #[serde(default)]
    cursor: Option<String>,
}

/// A step of an open run that has not ended.
#[derive(Debug, Serialize, ToSchema)]
pub struct TaskItem {
    /// The run.
    run: String,
    /// The workflow.
    workflow: String,
    /// The step; `lint[2]` is one iteration.
    step: String,
    /// Who does it; null = no agent (a wait, a loop).
    agent: Option<String>,
    /// What is done.
    action: Option<String>,
    /// `ready`, `running`, `waiting` or `pending`.
    status: &'static str,
    /// The attempt, from 1; 0 = none has begun.
    attempt: u32,
    /// When it could begin.
    ready_at: Option<String>,
    /// When its first attempt began.
    started_at: Option<String>,
    /// Its place in the queue of its agent, from 1; null = it is in none, or too far behind.
    position: Option<u64>,
    /// Why it doesn't go on.
    reason: Option<String>,
    /// When it goes on, or gives up, by itself.
    until: Option<String>,
    /// What would unblock it.
    unblock: Option<String>,
}

/// Tasks.
#[derive(Debug, Serialize, ToSchema)]
pub struct TaskPage {
    /// By run, the newest first.
    tasks: Vec<TaskItem>,
    /// `cursor` of the next page, which may be empty; null = this is the last one.
    next: Option<String>,
}

fn states(text: &str) -> Result<Vec<StepStatus>> {
    let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
    let known = words.map(|word| {
        STATES.into_iter().find(|status| status.as_str() == word).ok_or_else(|| {
            Problem::invalid(format!("{word:?} is no state of a task"))
                .hint("there are ready, running, waiting and pending")
        })
    });
    known.collect()
}

/// What runs, what could, and what waits
///
/// Steps of open runs that have not ended, each with why it doesn't go on, until when, and what would
/// unblock it.
#[utoipa::path(
    get, path = "/api/v1/tasks", tag = "tasks", params(Filter),
    responses((status = 200, description = "By run, the newest first", body = TaskPage)),
)]
pub async fn list(State(app): State<App>, Query(asked): Query<Filter>) -> Result<Json<TaskPage>> {
    let limit = limit(asked.limit, 100, TASKS_MAX)?;
    let agent = asked.agent.as_deref().map(name).transpose()?;
    let mut wanted = asked.status.as_deref().map_or(Ok(Vec::new()), states)?;
    if wanted.is_empty() {
        wanted = STATES[1..].to_vec();
    }
    let open = RunStatus::ALL.into_iter().filter(|status| !status.is_terminal());
    let filter = RunFilter {
        statuses: open.collect(),
        workflow: asked.workflow.as_deref().map(name).transpose()?,
        before: asked.cursor.as_deref().map(cursor).transpose()?,
        limit: RUNS + 1,
        ..RunFilter::default()
    };
    let reader = app.reader();
    let found = reader.views.runs(&filter).await?;
    let node = app.control().status().await;
    let limits = Limits { agents: app.control().agents().await, used: reader.limits().await? };
    let (mut tasks, mut last, mut seen, mut steps) = (Vec::new(), None, 0, 0);
    for summary in found.iter().take(RUNS) {
        if tasks.len() >= limit || steps >= STEPS_READ_MAX {
            break;
        }
        (last, seen) = (Some(summary.run), seen + 1);
        // It may be deleted meanwhile.
        let Ok(run) = reader.run(summary.run).await else { continue };
        steps += run.len();
        let pending = reader.views.pending(summary.run).await?;
        tasks.extend(of_run(&run, &pending, &node, &limits, &wanted, agent.as_ref()));
    }
    let next = last.filter(|_| seen < found.len()).map(|run| run.to_string());
    Ok(Json(TaskPage { tasks, next }))
}

fn of_run(
    run: &Run,
    pending: &Pending,
    node: &NodeStatus,
    limits: &Limits,
    wanted: &[StepStatus],
    agent: Option<&Name>,
) -> Vec<TaskItem> {
    let is_wanted = |row: &&StepRow| {
        let fits = agent.is_none_or(|agent| agent_of(run, row).is_some_and(|own| own == agent));
        fits && wanted.contains(&row.status)
    };
    let rows: Vec<&StepRow> = run.steps().filter(is_wanted).collect();
    if rows.is_empty() {
        return Vec::new();
    }
    let told = answer(run, pending, Some(node), &[], limits, true);
    // What keeps the run as a whole from going on keeps its steps too.
    let whole = told.reasons.first();
    let item = |row: &StepRow| {
        let step = run.step_name(row.inst);
        let why = told.steps.iter().find(|reason| reason.step.as_ref() == Some(&step));
        let runs = row.status == StepStatus::Running;
        let why = why.or(whole).filter(|_| !runs);
        task(run, row, step, why, pending)
    };
    rows.into_iter().map(item).collect()
}

fn agent_of<'a>(run: &'a Run, row: &StepRow) -> Option<&'a Name> {
    match &run.graph.plan().step(row.plan).kind {
        StepKind::Task { agent, .. } => Some(agent),
        _ => None,
    }
}

fn task(
    run: &Run,
    row: &StepRow,
    step: String,
    why: Option<&Reason>,
    pending: &Pending,
) -> TaskItem {
    let place = pending.tasks.iter().find(|task| task.inst == row.inst);
    let time = |at: Option<moa_core::time::Millis>| at.map(|at| at.to_string());
    TaskItem {
        run: run.row.run.to_string(),
        workflow: run.row.workflow.to_string(),
        step,
        agent: agent_of(run, row).map(Name::to_string),
        action: run.action(row.inst).map(str::to_owned),
        status: row.status.as_str(),
        attempt: row.attempt,
        ready_at: time(row.ready_at),
        started_at: time(row.started_at),
        position: place.map(|task| task.before + 1),
        reason: why.map(|why| why.reason.clone()),
        until: time(why.and_then(|why| why.until).or(row.until)),
        unblock: why.and_then(|why| why.unblock.clone()),
    }
}
