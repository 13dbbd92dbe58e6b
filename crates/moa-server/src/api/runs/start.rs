//! Starting a run.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use moa_core::ids::Name;
use moa_core::trace::TraceContext;
use moa_core::workflow::Priority;
use moa_view::node::StartRun;
use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::StartedRun;
use crate::App;
use crate::api::workflows::redacted_problem;
use crate::auth::Identity;
use crate::auth::scope::Resource;
use crate::error::{Problem, Result};
use crate::extract::Json;

/// Characters of an idempotency key at most.
pub const KEY_BYTES_MAX: usize = 255;

/// A run to start.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewRun {
    /// The workflow's id.
    #[schema(value_type = String, example = "build-project")]
    pub workflow: Name,
    /// A version label or the start of a hash; what the file says now when not given.
    #[serde(default)]
    pub version: Option<String>,
    /// Params by name.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub params: Map<String, Value>,
    /// Params by name whose values are texts: each becomes what the workflow declares it to be, as on
    /// the command line.
    #[serde(default)]
    pub texts: BTreeMap<String, String>,
    /// Priority, when not the workflow's.
    #[serde(default)]
    pub priority: Option<Urgency>,
}

/// Priority of a run's tasks.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Urgency {
    /// P0
    Critical,
    /// P1
    High,
    /// P2
    Medium,
    /// P3
    Low,
}

impl From<Urgency> for Priority {
    fn from(urgency: Urgency) -> Self {
        match urgency {
            Urgency::Critical => Priority::Critical,
            Urgency::High => Priority::High,
            Urgency::Medium => Priority::Medium,
            Urgency::Low => Priority::Low,
        }
    }
}

/// The key of a request that may be sent again.
///
/// # Errors
/// It is empty, too long, or no text.
pub fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    let key = value.to_str().ok().map(str::trim);
    match key.filter(|key| !key.is_empty() && key.len() <= KEY_BYTES_MAX) {
        Some(key) => Ok(Some(key.to_owned())),
        None => Err(Problem::invalid(format!(
            "Idempotency-Key has 1 to {KEY_BYTES_MAX} printable ASCII characters"
        ))),
    }
}

/// The span that a request is made from. What is not understood is passed over, as W3C Trace Context
/// wants it.
fn trace(headers: &HeaderMap) -> Option<TraceContext> {
    TraceContext::from_header(headers.get("traceparent")?.to_str().ok()?)
}

/// Starts it for somebody.
///
/// # Errors
/// The scopes don't reach the workflow; or as the node says.
pub async fn begin(
    app: &App,
    who: &Identity,
    headers: &HeaderMap,
    new: NewRun,
) -> Result<StartedRun> {
    who.must_reach(Resource::Runs, Some(new.workflow.as_str()))?;
    let start = StartRun {
        workflow: new.workflow,
        version: new.version,
        params: new.params,
        texts: new.texts.into_iter().collect(),
        idempotency_key: idempotency_key(headers)?,
        priority: new.priority.map(Priority::from),
        trace: trace(headers),
        cause: who.cause(),
    };
    match app.control().start_run(start).await {
        Ok((started, warning)) => Ok(StartedRun::new(started, warning)),
        Err(failure) => Err(redacted_problem(app, failure.into()).await),
    }
}

/// The response to a start.
pub fn answer(started: StartedRun) -> Response {
    let status = if started.outcome == "new" { StatusCode::CREATED } else { StatusCode::OK };
    let place = started.run.as_ref().map(|run| format!("/api/v1/runs/{run}"));
    let mut response = (status, Json(started)).into_response();
    if let Some(place) = place.and_then(|place| HeaderValue::from_str(&place).ok()) {
        response.headers_mut().insert(header::LOCATION, place);
    }
    response
}

/// Start a run
///
/// Answers when it is durable, not when it is over. With an `Idempotency-Key` the same request may be
/// sent again: it starts one run.
#[utoipa::path(
    post, path = "/api/v1/runs", tag = "runs",
    params(
        ("Idempotency-Key" = Option<String>, Header, description = "The same key starts one run"),
        ("traceparent" = Option<String>, Header, description = "The span that it is part of"),
    ),
    request_body = NewRun,
    responses(
        (status = 201, description = "It exists now", body = StartedRun,
         headers(("location" = String, description = "The run"))),
        (status = 200, description = "It existed already, or none was started", body = StartedRun,
         headers(("location" = String, description = "The run, if there is one"))),
    ),
)]
pub async fn start(
    State(app): State<App>,
    who: Identity,
    headers: HeaderMap,
    Json(new): Json<NewRun>,
) -> Result<Response> {
    Ok(answer(begin(&app, &who, &headers, new).await?))
}
