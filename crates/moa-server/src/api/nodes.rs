//! Nodes: which processes serve the project. There is one.

use axum::extract::State;
use moa_view::now;
use serde::Serialize;
use utoipa::ToSchema;

use super::paging::Part;
use crate::App;
use crate::error::Result;
use crate::extract::{Json, Query};

/// A node.
#[derive(Debug, Serialize, ToSchema)]
pub struct NodeItem {
    /// Its id: another one with each start.
    node: String,
    /// Whether it is the one that answers.
    this: bool,
    /// `up`; `degraded`, when it can't write; `stopping`.
    status: &'static str,
    /// Its process.
    pid: u32,
    /// Its moa.
    moa: String,
    /// When it started.
    started_at: String,
    /// How long it runs.
    uptime_ms: u64,
    /// Attempts at once over all agents.
    max_running: u32,
    /// Attempts running.
    running: u32,
    /// Tasks that wait for a slot.
    ready: u32,
    /// Why it can't write just now.
    degraded: Option<String>,
}

/// Nodes.
#[derive(Debug, Serialize, ToSchema)]
pub struct NodeList {
    /// Those that serve the project.
    nodes: Vec<NodeItem>,
    /// `cursor` of the next page; null = this is the last one.
    next: Option<String>,
}

/// The nodes that serve the project
#[utoipa::path(
    get, path = "/api/v1/nodes", tag = "state", params(Part),
    responses((status = 200, description = "By id", body = NodeList)),
)]
pub async fn list(State(app): State<App>, Query(part): Query<Part>) -> Result<Json<NodeList>> {
    let status = app.control().status().await;
    let engine = status.engine;
    let item = NodeItem {
        node: status.info.node.to_string(),
        this: true,
        status: match (&engine.degraded, engine.stopping) {
            (_, true) => "stopping",
            (Some(_), _) => "degraded",
            (None, false) => "up",
        },
        pid: status.info.pid,
        moa: status.info.moa,
        started_at: status.info.started_at.to_string(),
        uptime_ms: now().since(status.info.started_at).0,
        max_running: status.max_running,
        running: engine.running.values().sum(),
        ready: engine.ready.values().sum(),
        degraded: engine.degraded,
    };
    let (nodes, next) = part.of(vec![item], |item| item.node.clone())?;
    Ok(Json(NodeList { nodes, next }))
}
