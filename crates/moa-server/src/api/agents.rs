//! Agents: what they are, and how they are.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use moa_core::agent::{AgentKind, AgentSpec};
use moa_core::limit::LimitState;
use moa_view::node::NodeStatus;
use moa_view::now;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::limits::LimitItem;
use crate::App;
use crate::error::{Problem, Result};
use crate::extract::{Json, Path};

/// An agent.
#[derive(Debug, Serialize, ToSchema)]
pub struct AgentItem {
    /// Its id.
    agent: String,
    /// How it is reached: `command`, `http`, or `built-in` when it is part of moa.
    kind: &'static str,
    /// Its name.
    name: Option<String>,
    /// What it is for.
    description: Option<String>,
    /// Its tier.
    tier: Option<u8>,
    /// Labels.
    labels: BTreeMap<String, String>,
    /// What it can do.
    actions: Vec<String>,
    /// Attempts at once.
    concurrency: Option<u32>,
    /// Attempts running now.
    running: u32,
    /// Tasks that wait for a slot.
    ready: u32,
}

impl AgentItem {
    fn new(spec: &AgentSpec, status: &NodeStatus) -> Self {
        let of = |counts: &BTreeMap<_, u32>| counts.get(&spec.id).copied().unwrap_or(0);
        Self {
            agent: spec.id.to_string(),
            kind: kind(spec),
            name: spec.name.clone(),
            description: spec.description.clone(),
            tier: spec.tier,
            labels: spec.labels.clone(),
            actions: spec.actions.keys().map(ToString::to_string).collect(),
            concurrency: spec.concurrency,
            running: of(&status.engine.running),
            ready: of(&status.engine.ready),
        }
    }
}

fn kind(spec: &AgentSpec) -> &'static str {
    match &spec.kind {
        AgentKind::Command(_) => "command",
        AgentKind::Http(_) => "http",
        AgentKind::Builtin(_) => "built-in",
    }
}

/// Agents.
#[derive(Debug, Serialize, ToSchema)]
pub struct AgentList {
    /// By id.
    agents: Vec<AgentItem>,
}

/// Agents
///
/// Those of the project, and those that are part of moa.
#[utoipa::path(
    get, path = "/api/v1/agents", tag = "agents",
    responses((status = 200, description = "By id", body = AgentList)),
)]
pub async fn list(State(app): State<App>) -> Json<AgentList> {
    let status = app.control().status().await;
    let agents = app.control().agents().await;
    let agents = agents.values().map(|spec| AgentItem::new(spec, &status)).collect();
    Json(AgentList { agents })
}

/// The agent that a path names.
///
/// # Errors
/// There is none.
pub async fn find(app: &App, name: &str) -> Result<Arc<AgentSpec>> {
    let agents = app.control().agents().await;
    let found = agents.into_iter().find(|(id, _)| id.as_str() == name);
    let unknown = || Problem::not_found(format!("there is no agent {name}"));
    let (_, spec) = found.ok_or_else(|| unknown().hint("/api/v1/agents lists them"))?;
    Ok(spec)
}

/// An agent with its whole definition.
#[derive(Debug, Serialize, ToSchema)]
pub struct AgentDocument {
    /// What there is to say in short.
    agent: AgentItem,
    /// Its definition, as the node has it.
    #[schema(value_type = Object)]
    definition: Value,
}

/// An agent
#[utoipa::path(
    get, path = "/api/v1/agents/{agent}", tag = "agents",
    params(("agent" = String, Path, description = "Its id")),
    responses((status = 200, description = "The agent", body = AgentDocument)),
)]
pub async fn get(State(app): State<App>, Path(name): Path<String>) -> Result<Json<AgentDocument>> {
    let spec = find(&app, &name).await?;
    let item = AgentItem::new(&spec, &app.control().status().await);
    let definition = serde_json::to_value(&*spec).unwrap_or_default();
    Ok(Json(AgentDocument { agent: item, definition }))
}

/// How an agent is.
#[derive(Debug, Serialize, ToSchema)]
pub struct AgentHealth {
    /// The agent.
    agent: String,
    /// `ok`; `limited`, while a rate or quota is used up; `half-open` or `open`, as its circuit
    /// breaker is; `broken`, when its file has errors.
    status: &'static str,
    /// Attempts running now.
    running: u32,
    /// Tasks that wait for a slot.
    ready: u32,
    /// Its limits, as they stand.
    limits: Vec<LimitItem>,
}

/// How an agent is
#[utoipa::path(
    get, path = "/api/v1/agents/{agent}/health", tag = "agents",
    params(("agent" = String, Path, description = "Its id")),
    responses((status = 200, description = "How it is", body = AgentHealth)),
)]
pub async fn health(State(app): State<App>, Path(name): Path<String>) -> Result<Json<AgentHealth>> {
    let spec = find(&app, &name).await?;
    let used = app.reader().limits().await?;
    let nothing = LimitState::default();
    let lines = used.get(&spec.id).unwrap_or(&nothing).report(&spec.limits, now());
    let is = |state: &str| lines.iter().any(|line| line.state == state);
    let item = AgentItem::new(&spec, &app.control().status().await);
    Ok(Json(AgentHealth {
        agent: spec.id.to_string(),
        status: match () {
            () if is("open") => "open",
            () if is("half-open") => "half-open",
            () if is("full") => "limited",
            () if spec.concurrency == Some(0) => "broken",
            () => "ok",
        },
        running: item.running,
        ready: item.ready,
        limits: lines.iter().map(|line| LimitItem::new(&spec.id, line)).collect(),
    }))
}
