//! What the overview shows.

use std::collections::BTreeMap;

use axum::extract::State;
use moa_engine::series::Range;
use moa_view::trigger::when;
use serde::Serialize;
use utoipa::ToSchema;

use super::agents::HeldItem;
use super::alerts::AlertItem;
use super::history::MetricsHistory;
use super::production::TargetItem;
use super::runs::list::RunItem;
use super::state::{NodeState, TotalsState};
use crate::App;
use crate::error::Result;
use crate::extract::Json;
use crate::pages::agents::{Glance, Glanced};
use crate::pages::overview::{Asking, Overview, Went};
use crate::pages::schedules::calendar::is_full;
use crate::pages::schedules::{Coming, late, next_day};

/// What goes on, what needs somebody, what failed, what comes.
#[derive(Debug, Serialize, ToSchema)]
pub struct OverviewReport {
    /// When it was so.
    at: String,
    /// The node.
    node: NodeState,
    /// Runs that moa itself failed on, and how: they are left alone until it starts again.
    quarantined: BTreeMap<String, String>,
    /// What is wrong with the project's files.
    warning: Option<String>,
    /// Numbers for the whole store.
    totals: TotalsState,
    /// Steps that wait for a person, in all.
    asks: u64,
    /// Runs at work or about to be, the newest first.
    running: Vec<RunItem>,
    /// Runs that failed, the newest first.
    failed: Vec<RunItem>,
    /// Runs that ended, the newest first.
    ended: Vec<RunItem>,
    /// How those went; null = none has ended.
    went: Option<WentItem>,
    /// Steps that wait for a person, of the newest run first.
    asking: Vec<AskingItem>,
    /// Triggers that should have been looked at by now.
    late: Vec<LateItem>,
    /// The open alerts, the worst first.
    alerts: Vec<AlertItem>,
    /// So many more.
    more_alerts: usize,
    /// How production stands against its targets.
    targets: Vec<TargetItem>,
    /// Schedules that are due in the next 24 hours, in order.
    coming: Vec<ComingItem>,
    /// So many more.
    more_coming: usize,
    /// The last hour, minute by minute.
    hour: MetricsHistory,
    /// How the fleet is.
    fleet: FleetItem,
}

/// How runs went that have ended.
#[derive(Debug, Serialize, ToSchema)]
pub struct WentItem {
    /// Of 100, those that succeeded.
    succeeded_percent: usize,
    /// Half of them took at most so long.
    p50_ms: u64,
    /// 95 of 100.
    p95_ms: u64,
    /// How many end in an hour; null = too little is known yet.
    an_hour: Option<f64>,
}

impl From<Went> for WentItem {
    fn from(Went { succeeded, median, most, an_hour }: Went) -> Self {
        Self { succeeded_percent: succeeded, p50_ms: median.0, p95_ms: most.0, an_hour }
    }
}

/// A step that waits for a person.
#[derive(Debug, Serialize, ToSchema)]
pub struct AskingItem {
    /// The run.
    run: String,
    /// The workflow.
    workflow: String,
    /// The step; `lint[2]` is one iteration.
    step: String,
    /// What it waits for: `approval`, `signal` or `unknown_outcome`.
    wait: Option<&'static str>,
    /// Since when.
    since: Option<String>,
}

impl From<Asking> for AskingItem {
    fn from(Asking { run, workflow, row, step }: Asking) -> Self {
        Self {
            run: run.to_string(),
            workflow: workflow.to_string(),
            step,
            wait: row.wait.map(|wait| wait.as_str()),
            since: row.ready_at.map(|at| at.to_string()),
        }
    }
}

/// A trigger that is late.
#[derive(Debug, Serialize, ToSchema)]
pub struct LateItem {
    /// The trigger.
    trigger: String,
    /// When it was due.
    due: String,
}

/// What is due of a schedule.
#[derive(Debug, Serialize, ToSchema)]
pub struct ComingItem {
    /// The trigger.
    trigger: String,
    /// When it is due, in a line.
    when: String,
    /// Its slots of that time.
    slots: usize,
    /// Whether there are more: no more than so many are counted.
    more: bool,
    /// The next one.
    next: String,
    /// That one as the zone of the schedule has it.
    local: String,
}

impl From<(Coming<'_>, usize)> for ComingItem {
    fn from((first, slots): (Coming<'_>, usize)) -> Self {
        Self {
            trigger: first.trigger.spec.title(),
            when: when(&first.trigger.spec),
            slots,
            more: is_full(slots),
            next: first.slot.at.to_string(),
            local: first.local,
        }
    }
}

/// How the fleet is.
#[derive(Debug, Serialize, ToSchema)]
pub struct FleetItem {
    /// Attempts that run.
    running: u32,
    /// Attempts at once.
    max_running: u32,
    /// Agents that are not well, then those at work.
    agents: Vec<FleetAgent>,
    /// So many more of them.
    more: usize,
    /// Agents that are asked nothing.
    free: usize,
}

/// An agent.
#[derive(Debug, Serialize, ToSchema)]
pub struct FleetAgent {
    /// The agent.
    agent: String,
    /// `open` or `half-open` (its circuit breaker), `paused`, `waiting` (for a limit), `running` or
    /// `free`.
    state: &'static str,
    /// Its attempts that run.
    running: u32,
    /// Its tasks that could.
    ready: u32,
    /// Until when all of them are held back by its limits, and by which; null = they are not.
    held: Option<HeldItem>,
}

impl From<Glance> for FleetItem {
    fn from(Glance { busy, most, agents, more, free, .. }: Glance) -> Self {
        let of = |Glanced { agent, health, running, ready, held, .. }: Glanced| FleetAgent {
            agent: agent.to_string(),
            state: health,
            running,
            ready,
            held: held.as_ref().map(HeldItem::from),
        };
        let agents = agents.into_iter().map(of).collect();
        Self { running: busy, max_running: most, agents, more, free }
    }
}

impl From<Overview> for OverviewReport {
    fn from(all: Overview) -> Self {
        let runs = |runs: &[_]| runs.iter().map(RunItem::from).collect();
        let late = late(&all.triggers, all.now).into_iter();
        let late =
            late.map(|(known, due)| LateItem { trigger: known.spec.title(), due: due.to_string() });
        let (coming, more_coming) = next_day(&all.triggers, all.now);
        let quarantined = all.status.engine.quarantined.iter();
        Self {
            at: all.now.to_string(),
            quarantined: quarantined.map(|(run, why)| (run.to_string(), why.clone())).collect(),
            warning: all.status.warning.clone(),
            node: NodeState::from(all.status),
            asks: all.totals.asks,
            totals: TotalsState::from(all.totals),
            running: runs(&all.running),
            failed: runs(&all.failed),
            ended: runs(&all.ended),
            went: Went::of(&all.ended).map(WentItem::from),
            asking: all.asking.into_iter().map(AskingItem::from).collect(),
            late: late.collect(),
            alerts: all.alerts.0.iter().map(AlertItem::from).collect(),
            more_alerts: all.alerts.1,
            targets: all.targets.into_iter().map(TargetItem::from).collect(),
            coming: coming.into_iter().map(ComingItem::from).collect(),
            more_coming,
            hour: MetricsHistory::new(&all.hour, Range::Hour),
            fleet: FleetItem::from(all.fleet),
        }
    }
}

/// What goes on, what needs somebody, what failed, what comes
///
/// As the overview of the dashboard shows it: the newest of each list, which have calls of their own.
#[utoipa::path(
    get, path = "/api/v1/overview", tag = "state",
    responses((status = 200, description = "The overview", body = OverviewReport)),
)]
pub async fn get(State(app): State<App>) -> Result<Json<OverviewReport>> {
    Ok(Json(OverviewReport::from(Overview::of(&app).await?)))
}
