//! Changing a run.

use axum::extract::State;
use moa_core::ids::RunId;
use moa_core::limits::SIGNAL_BYTES_MAX;
use moa_core::run::RunStatus;
use moa_engine::handle::Change;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::find;
use crate::App;
use crate::auth::Identity;
use crate::auth::role::Role;
use crate::error::{Code, Problem, Result};
use crate::extract::{Json, Path};

/// How the names of signals start that decide about an approval.
pub(crate) const APPROVE: &str = "approve.";

/// Why a run is to end.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Reason {
    /// Why, for people.
    #[serde(default)]
    reason: Option<String>,
}

/// A signal.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Signal {
    /// Its name; `approve.STEP` decides the approval STEP.
    name: String,
    /// The same key is the same signal.
    #[serde(default)]
    key: Option<String>,
    /// What it carries.
    #[serde(default)]
    payload: Value,
}

/// A run after a change.
#[derive(Debug, Serialize, ToSchema)]
pub struct Changed {
    /// The run.
    run: String,
    /// Its status now.
    status: &'static str,
}

/// Makes a change; answers when it is durable.
pub(crate) async fn apply(app: &App, run: &str, change: Change) -> Result<Json<Changed>> {
    let id = find(app, run).await?;
    let before = status(app, id).await?;
    if before.is_terminal() {
        let text = format!("run {id} has ended ({}), and never changes", before.as_str());
        return Err(
            Problem::new(Code::Conflict, text).hint("retry, rerun or fork make a new run of it")
        );
    }
    app.control().change(id, change).await?;
    let status = status(app, id).await?.as_str();
    Ok(Json(Changed { run: id.to_string(), status }))
}

async fn status(app: &App, id: RunId) -> Result<RunStatus> {
    Ok(app.reader().head(id).await?.row.status)
}

/// What is said for people, and who said it.
fn reason(who: &Identity, body: Option<Json<Reason>>) -> String {
    let given = body.and_then(|Json(body)| body.reason);
    given.unwrap_or_else(|| format!("asked for by {}", who.cause()))
}

/// Cancel a run
///
/// Stops what runs, then does what cleans up (compensate, finally).
#[utoipa::path(
    post, path = "/api/v1/runs/{run}/cancel", tag = "runs",
    params(("run" = String, Path, description = "The run")),
    request_body = Option<Reason>,
    responses((status = 200, description = "It is being cancelled", body = Changed)),
)]
pub async fn cancel(
    State(app): State<App>,
    who: Identity,
    Path(run): Path<String>,
    body: Option<Json<Reason>>,
) -> Result<Json<Changed>> {
    apply(&app, &run, Change::Cancel { reason: reason(&who, body) }).await
}

/// Terminate a run
///
/// Ends it now; nothing cleans up.
#[utoipa::path(
    post, path = "/api/v1/runs/{run}/terminate", tag = "runs",
    params(("run" = String, Path, description = "The run")),
    request_body = Option<Reason>,
    responses((status = 200, description = "It is terminated", body = Changed)),
)]
pub async fn terminate(
    State(app): State<App>,
    who: Identity,
    Path(run): Path<String>,
    body: Option<Json<Reason>>,
) -> Result<Json<Changed>> {
    apply(&app, &run, Change::Terminate { reason: reason(&who, body) }).await
}

/// Pause a run
///
/// Attempts that run go on to their end; no new one starts.
#[utoipa::path(
    post, path = "/api/v1/runs/{run}/pause", tag = "runs",
    params(("run" = String, Path, description = "The run")),
    responses((status = 200, description = "It is paused", body = Changed)),
)]
pub async fn pause(State(app): State<App>, Path(run): Path<String>) -> Result<Json<Changed>> {
    apply(&app, &run, Change::Pause).await
}

/// Resume a run
#[utoipa::path(
    post, path = "/api/v1/runs/{run}/resume", tag = "runs",
    params(("run" = String, Path, description = "The run")),
    responses((status = 200, description = "It goes on", body = Changed)),
)]
pub async fn resume(State(app): State<App>, Path(run): Path<String>) -> Result<Json<Changed>> {
    apply(&app, &run, Change::Resume).await
}

/// Send a signal to a run
///
/// One that decides about an approval (`approve.STEP`) takes the role approver, any other one
/// operator.
#[utoipa::path(
    post, path = "/api/v1/runs/{run}/signal", tag = "runs",
    params(("run" = String, Path, description = "The run")),
    request_body = Signal,
    responses((status = 200, description = "It has the signal", body = Changed)),
)]
pub async fn signal(
    State(app): State<App>,
    who: Identity,
    Path(run): Path<String>,
    Json(signal): Json<Signal>,
) -> Result<Json<Changed>> {
    let decides = signal.name.starts_with(APPROVE);
    who.must_be(if decides { Role::Approver } else { Role::Operator })?;
    let Signal { name, key, mut payload } = signal;
    if decides && let Some(payload) = payload.as_object_mut() {
        // Who decided is not theirs to say.
        payload.insert("by".into(), who.name.clone().into());
    }
    if payload.to_string().len() > SIGNAL_BYTES_MAX {
        let text = format!("a signal carries at most {SIGNAL_BYTES_MAX} bytes");
        return Err(Problem::new(Code::TooLarge, text));
    }
    apply(&app, &run, Change::Signal { name, key, payload }).await
}
