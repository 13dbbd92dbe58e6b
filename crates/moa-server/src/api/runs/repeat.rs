//! New runs that take over a part of an ended one.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use moa_core::ids::RunId;
use moa_engine::handle::{ForkFrom, ForkRequest};
use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::{StartedRun, find, start};
use crate::App;
use crate::api::workflows::redacted_problem;
use crate::auth::Identity;
use crate::error::{Code, Problem, Result};
use crate::extract::{Json, Path};

/// From where a run is done again.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Rerun {
    /// The step; `lint[2]` names one iteration.
    from: String,
}

/// How a run is started again.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Fork {
    /// Take over the steps that don't depend on this one; nothing when not given.
    #[serde(default)]
    from: Option<String>,
    /// Params that differ from those of the first run.
    #[serde(default)]
    #[schema(value_type = Object)]
    params: Map<String, Value>,
}

async fn repeat(
    app: &App,
    who: &Identity,
    headers: &HeaderMap,
    run: &str,
    from: ForkFrom,
    changes: Map<String, Value>,
) -> Result<Response> {
    let params = if changes.is_empty() { Params::Same } else { Params::Changed(changes) };
    let again = Again { from, params, key: start::idempotency_key(headers)? };
    Ok(start::answer(begin(app, who, run, again).await?))
}

/// Params of a new run.
pub enum Params {
    /// Those of the first run.
    Same,
    /// Those of the first run but for these.
    Changed(Map<String, Value>),
    /// These alone, some of them as texts; what is not given is as the workflow says.
    Whole(Map<String, Value>, Vec<(String, String)>),
}

/// How a run is done again.
pub struct Again {
    /// From where.
    pub from: ForkFrom,
    /// With what.
    pub params: Params,
    /// The same key makes one run.
    pub key: Option<String>,
}

/// Makes a new run of an ended one.
///
/// # Errors
/// There is no such run or step, it has not ended, or the params are wrong.
pub async fn begin(app: &App, who: &Identity, run: &str, again: Again) -> Result<StartedRun> {
    let id = find(app, run).await?;
    let known = app.reader().run(id).await?;
    if !known.row.status.is_terminal() {
        let text = format!("run {id} has not ended");
        return Err(Problem::new(Code::Conflict, text).hint("wait for it, or cancel it"));
    }
    let given = match again.params {
        Params::Same => None,
        Params::Changed(changes) => {
            let mut params = known.row.params.as_object().cloned().unwrap_or_default();
            params.extend(changes);
            Some((params, Vec::new()))
        }
        Params::Whole(params, texts) => Some((params, texts)),
    };
    let checked = given.map(|(params, texts)| {
        app.control().check_params(known.graph.plan(), params, &texts).map(Value::Object)
    });
    let params = match checked.transpose() {
        Ok(params) => params,
        Err(failure) => return Err(redacted_problem(app, failure.into()).await),
    };
    let from = again.from;
    let key = again.key.map(|key| key_of(&key, id, &from, params.as_ref()));
    let keyed = key.is_some();
    let before = app.reader().views.last_event().await?;
    let request = ForkRequest { run: id, from, params, idempotency_key: key, cause: who.cause() };
    let new = app.control().fork(request).await.map_err(|failure| {
        let mut problem = Problem::from(failure);
        if problem.detail.starts_with("the run has no step") {
            problem.code = Code::NotFound;
        }
        problem
    })?;
    // One that was there already has begun before.
    let first = app.reader().views.history(new, 0, 1).await?;
    let is_new = !keyed || first.first().is_some_and(|row| row.version == 1 && row.seq > before);
    let outcome = if is_new { "new" } else { "existing" };
    Ok(StartedRun { run: Some(new.to_string()), outcome, warning: None })
}

/// The key under which the new run is kept: one that a client gives for another run, or for something
/// else of the same, is another one.
pub fn key_of(key: &str, run: RunId, from: &ForkFrom, params: Option<&Value>) -> String {
    let asked = serde_json::json!([run, from, params, key]).to_string();
    format!("fork/{}", blake3::hash(asked.as_bytes()).to_hex())
}

/// Do again what failed
///
/// A run that has ended never changes: a new one takes over all steps that don't depend on what is
/// done again.
#[utoipa::path(
    post, path = "/api/v1/runs/{run}/retry", tag = "runs",
    params(
        ("run" = String, Path, description = "The run, failed or cancelled"),
        ("Idempotency-Key" = Option<String>, Header, description = "The same key makes one run"),
    ),
    responses(
        (status = 201, description = "The new run", body = StartedRun,
         headers(("location" = String, description = "The run"))),
        (status = 200, description = "It existed already", body = StartedRun,
         headers(("location" = String, description = "The run"))),
    ),
)]
pub async fn retry(
    State(app): State<App>,
    who: Identity,
    Path(run): Path<String>,
    headers: HeaderMap,
) -> Result<Response> {
    repeat(&app, &who, &headers, &run, ForkFrom::Failed, Map::new()).await
}

/// Do again a step and all that depends on it
#[utoipa::path(
    post, path = "/api/v1/runs/{run}/rerun", tag = "runs",
    params(
        ("run" = String, Path, description = "The run; it must have ended"),
        ("Idempotency-Key" = Option<String>, Header, description = "The same key makes one run"),
    ),
    request_body = Rerun,
    responses(
        (status = 201, description = "The new run", body = StartedRun,
         headers(("location" = String, description = "The run"))),
        (status = 200, description = "It existed already", body = StartedRun,
         headers(("location" = String, description = "The run"))),
    ),
)]
pub async fn rerun(
    State(app): State<App>,
    who: Identity,
    Path(run): Path<String>,
    headers: HeaderMap,
    Json(rerun): Json<Rerun>,
) -> Result<Response> {
    repeat(&app, &who, &headers, &run, ForkFrom::Step(rerun.from), Map::new()).await
}

/// Start a run again, with other params
#[utoipa::path(
    post, path = "/api/v1/runs/{run}/fork", tag = "runs",
    params(
        ("run" = String, Path, description = "The run; it must have ended"),
        ("Idempotency-Key" = Option<String>, Header, description = "The same key makes one run"),
    ),
    request_body = Option<Fork>,
    responses(
        (status = 201, description = "The new run", body = StartedRun,
         headers(("location" = String, description = "The run"))),
        (status = 200, description = "It existed already", body = StartedRun,
         headers(("location" = String, description = "The run"))),
    ),
)]
pub async fn fork(
    State(app): State<App>,
    who: Identity,
    Path(run): Path<String>,
    headers: HeaderMap,
    body: Option<Json<Fork>>,
) -> Result<Response> {
    let Fork { from, params } = body.map(|Json(fork)| fork).unwrap_or_default();
    let from = from.map_or(ForkFrom::Start, ForkFrom::Step);
    repeat(&app, &who, &headers, &run, from, params).await
}
