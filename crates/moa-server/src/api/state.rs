//! What the node is doing.

use std::collections::BTreeMap;

use axum::extract::State;
use moa_ports::views::Totals;
use moa_view::node::NodeStatus;
use moa_view::now;
use serde::Serialize;
use utoipa::ToSchema;

use crate::App;
use crate::error::Result;
use crate::extract::Json;

/// What the node is doing.
#[derive(Debug, Serialize, ToSchema)]
pub struct NodeReport {
    /// When it was so.
    at: String,
    /// The project's name.
    project: String,
    /// The node.
    node: NodeState,
    /// Numbers for the whole store.
    totals: TotalsState,
    /// The workflows that it serves.
    workflows: Vec<WorkflowState>,
    /// Attempts at once over all agents.
    max_running: u32,
    /// Attempts running, by agent.
    running: BTreeMap<String, u32>,
    /// Tasks that wait for a slot, by agent.
    ready: BTreeMap<String, u32>,
}

/// Which node it is, and what it did.
#[derive(Debug, Serialize, ToSchema)]
pub struct NodeState {
    /// Its process.
    pid: u32,
    /// Its id.
    node: String,
    /// Its moa.
    moa: String,
    /// When it started.
    started_at: String,
    /// How long it runs.
    uptime_ms: u64,
    /// Runs in memory.
    runs_cached: usize,
    /// Commits since its start.
    commits: u64,
    /// Batches of commits since its start.
    batches: u64,
    /// Why it can't write just now.
    degraded: Option<String>,
    /// Whether it is stopping.
    stopping: bool,
}

impl From<NodeStatus> for NodeState {
    fn from(status: NodeStatus) -> Self {
        let NodeStatus { info, engine, .. } = status;
        Self {
            pid: info.pid,
            node: info.node.to_string(),
            moa: info.moa,
            started_at: info.started_at.to_string(),
            uptime_ms: now().since(info.started_at).0,
            runs_cached: engine.runs_cached,
            commits: engine.commits,
            batches: engine.batches,
            degraded: engine.degraded,
            stopping: engine.stopping,
        }
    }
}

/// Numbers for the whole store.
#[derive(Debug, Serialize, ToSchema)]
pub struct TotalsState {
    /// Runs by status, but for notifications.
    runs: BTreeMap<String, u64>,
    /// Runs of moa's own that tell people something (workflow `moa-notify`), by status.
    notifications: BTreeMap<String, u64>,
    /// Tasks that can be claimed.
    ready: u64,
    /// Attempts running.
    running: u64,
    /// Armed timers.
    timers: u64,
    /// Messages not applied yet.
    messages: u64,
    /// The newest event number.
    events: u64,
}

impl From<Totals> for TotalsState {
    fn from(totals: Totals) -> Self {
        Self {
            runs: totals.runs,
            notifications: totals.notifications,
            ready: totals.ready,
            running: totals.running,
            timers: totals.timers,
            messages: totals.messages,
            events: totals.events,
        }
    }
}

/// A workflow that is served.
#[derive(Debug, Serialize, ToSchema)]
pub struct WorkflowState {
    /// Its id.
    workflow: String,
    /// Its version.
    hash: String,
}

/// What the node is doing
#[utoipa::path(
    get, path = "/api/v1/state", tag = "state",
    responses((status = 200, description = "The state", body = NodeReport)),
)]
pub async fn get(State(app): State<App>) -> Result<Json<NodeReport>> {
    let status = app.control().status().await;
    let totals = app.reader().views.totals().await?;
    let engine = status.engine.clone();
    let words = |counts: BTreeMap<moa_core::ids::Name, u32>| {
        counts.into_iter().map(|(name, count)| (name.to_string(), count)).collect()
    };
    let of = |(name, hash): (moa_core::ids::Name, moa_core::ids::VersionHash)| WorkflowState {
        workflow: name.to_string(),
        hash: hash.to_string(),
    };
    Ok(Json(NodeReport {
        at: now().to_string(),
        project: app.project().to_owned(),
        node: NodeState::from(status.clone()),
        totals: TotalsState::from(totals),
        workflows: status.workflows.into_iter().map(of).collect(),
        max_running: status.max_running,
        running: words(engine.running),
        ready: words(engine.ready),
    }))
}
