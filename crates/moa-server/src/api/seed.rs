//! The short paths that the first orchestrator documented, with the same answers.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};
use moa_core::agent::AgentSpec;
use moa_view::result::WorkflowResult;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::agents::{AgentMetrics, Range};
use super::paging::{LIMIT_MAX, Part};
use super::runs::list::name;
use super::runs::start::{NewRun, begin};
use super::runs::{find, result};
use crate::App;
use crate::auth::Identity;
use crate::error::{Code, Problem, Result};
use crate::extract::{Json, Path, Query};

/// A workflow to execute.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExecuteWorkflow {
    /// The workflow's id.
    #[schema(example = "build-project")]
    workflow: String,
    /// Params by name.
    #[serde(default)]
    #[schema(value_type = Object)]
    params: Map<String, Value>,
}

/// Execute a workflow
///
/// Answers when the run is durable, with its result so far; `workflowId` names the run.
#[utoipa::path(
    post, path = "/api/workflows/execute", tag = "short",
    params(("Idempotency-Key" = Option<String>, Header, description = "The same key starts one run")),
    request_body = ExecuteWorkflow,
    responses((status = 200, description = "The result so far", body = result::WorkflowResult)),
)]
pub async fn execute(
    State(app): State<App>,
    who: Identity,
    headers: HeaderMap,
    Json(asked): Json<ExecuteWorkflow>,
) -> Result<Response> {
    let new = NewRun {
        texts: Default::default(),
        workflow: name(&asked.workflow)?,
        version: None,
        params: asked.params,
        priority: None,
    };
    let started = begin(&app, &who, &headers, new).await?;
    let Some(run) = started.run else {
        let text = "the concurrency key is used up, and the workflow says skip: no run was started";
        return Err(Problem::new(Code::Conflict, text));
    };
    let id = find(&app, &run).await?;
    Ok(Json(WorkflowResult::new(&app.reader().run(id).await?)).into_response())
}

/// The result of a run
#[utoipa::path(
    get, path = "/api/workflows/{id}", tag = "short",
    params(("id" = String, Path, description = "The run: `workflowId` of its result")),
    responses((status = 200, description = "The result", body = result::WorkflowResult)),
)]
pub async fn run(State(app): State<App>, Path(id): Path<String>) -> Result<Json<WorkflowResult>> {
    let id = find(&app, &id).await?;
    Ok(Json(WorkflowResult::new(&app.reader().run(id).await?)))
}

/// An agent.
#[derive(Debug, Serialize, ToSchema)]
pub struct ShortAgent {
    /// Its id.
    id: String,
    /// Its name.
    name: Option<String>,
    /// What it is for.
    description: Option<String>,
    /// Its tier.
    tier: Option<u8>,
    /// What it can do.
    actions: Vec<String>,
}

/// The agents
///
/// Without `limit` 500, as those who ask for it have no `cursor`.
#[utoipa::path(
    get, path = "/api/agents", tag = "short", params(Part),
    responses(
        (status = 200, description = "By id", body = Vec<ShortAgent>,
         headers(("x-next" = String, description = "`cursor` of the next page, if there is one"))),
    ),
)]
pub async fn agents(State(app): State<App>, Query(part): Query<Part>) -> Result<Response> {
    let part = Part::new(part.limit.or(Some(LIMIT_MAX)), part.cursor);
    let agents = app.control().agents().await.into_values().collect();
    let (agents, next) = part.of(agents, |spec: &Arc<AgentSpec>| spec.id.to_string())?;
    let agent = |spec: &AgentSpec| ShortAgent {
        id: spec.id.to_string(),
        name: spec.name.clone(),
        description: spec.description.clone(),
        tier: spec.tier,
        actions: spec.actions.keys().map(ToString::to_string).collect(),
    };
    let agents: Vec<ShortAgent> = agents.iter().map(|spec| agent(spec)).collect();
    let mut response = Json(agents).into_response();
    if let Some(next) = next.and_then(|next| HeaderValue::from_str(&next).ok()) {
        response.headers_mut().insert("x-next", next);
    }
    Ok(response)
}

/// What an agent has done lately
#[utoipa::path(
    get, path = "/api/agents/{id}/metrics", tag = "short",
    params(("id" = String, Path, description = "The agent"), Range),
    responses((status = 200, description = "Attempts, errors, latency", body = AgentMetrics)),
)]
pub async fn agent_metrics(
    state: State<App>,
    path: Path<String>,
    range: Query<Range>,
) -> Result<Json<AgentMetrics>> {
    super::agents::metrics(state, path, range).await
}
