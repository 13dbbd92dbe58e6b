//! Looking at a run.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use moa_core::machine::Run;
use moa_view::events::{Names, told};
use moa_view::result::WorkflowResult;
use moa_view::why::{Limits, answer};
use moa_view::{attempts, summary};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::{find, list, result};
use crate::App;
use crate::api::paging;
use crate::error::Result;
use crate::extract::{Json, Path, Query, tagged};

/// Commits of a history answered at once.
const COMMITS: usize = 200;
/// Commits of a history at most.
const COMMITS_MAX: usize = 1000;

/// The result of a run
///
/// Also of one that goes on: with the steps that have ended. `ETag` changes with the run; with
/// `If-None-Match` an answer that the client has comes again only when it has changed.
#[utoipa::path(
    get, path = "/api/v1/runs/{run}", tag = "runs",
    params(("run" = String, Path, description = "Its id, a unique start or end of it, or `last`")),
    responses(
        (status = 200, description = "The result", body = result::WorkflowResult),
        (status = 304, description = "As the client has it"),
    ),
)]
pub async fn get(
    State(app): State<App>,
    Path(run): Path<String>,
    headers: HeaderMap,
) -> Result<Response> {
    let id = find(&app, &run).await?;
    let run = app.reader().run(id).await?;
    Ok(tagged(&headers, &tag(&run), WorkflowResult::new(&run)))
}

/// Names what a run is now: another run, or the same after a change, is another thing.
fn tag(run: &Run) -> String {
    format!("{}.{}", run.row.run, run.version)
}

/// A run as it is kept
///
/// All that is known of it: params, status, output, steps with their attempts; as `moa runs show
/// --json` tells it.
#[utoipa::path(
    get, path = "/api/v1/runs/{run}/document", tag = "runs",
    params(("run" = String, Path, description = "The run")),
    responses(
        (status = 200, description = "The run", body = Object),
        (status = 304, description = "As the client has it"),
    ),
)]
pub async fn document(
    State(app): State<App>,
    Path(run): Path<String>,
    headers: HeaderMap,
) -> Result<Response> {
    let id = find(&app, &run).await?;
    let run = app.reader().run(id).await?;
    let made = attempts::of_history(&app.reader().history(id, 0).await?);
    Ok(tagged(&headers, &tag(&run), summary::document(&run, Some(&made))))
}

/// The steps of a run.
#[derive(Debug, Serialize, ToSchema)]
pub struct Steps {
    /// The run.
    run: String,
    /// Its version: it grows with every change.
    version: u64,
    /// Its status.
    status: &'static str,
    /// Its steps, in order of their coming into being, each with its attempts.
    #[schema(value_type = Vec<Object>)]
    steps: Vec<Value>,
    /// `cursor` of the next page; null = this is the last one.
    next: Option<String>,
}

/// The steps of a run
#[utoipa::path(
    get, path = "/api/v1/runs/{run}/steps", tag = "runs",
    params(("run" = String, Path, description = "The run"), paging::Part),
    responses((status = 200, description = "Its steps", body = Steps)),
)]
pub async fn steps(
    State(app): State<App>,
    Path(run): Path<String>,
    Query(part): Query<paging::Part>,
) -> Result<Json<Steps>> {
    let id = find(&app, &run).await?;
    let run = app.reader().run(id).await?;
    let made = attempts::of_history(&app.reader().history(id, 0).await?);
    let steps = match summary::document(&run, Some(&made))["steps"].take() {
        Value::Array(steps) => steps,
        _ => Vec::new(),
    };
    let name = |step: &Value| step["step"].as_str().unwrap_or_default().to_owned();
    let (steps, next) = part.behind(steps, name)?;
    let (version, status) = (run.version, run.row.status.as_str());
    Ok(Json(Steps { run: id.to_string(), version, status, steps, next }))
}

/// Which part of a history.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Part {
    /// Only behind this version of the run.
    #[serde(default)]
    after: u64,
    /// Go on where a page ended: its `next`.
    #[serde(default)]
    cursor: Option<u64>,
    /// At most so many commits, up to 1000; 200 when not given.
    #[serde(default)]
    limit: Option<usize>,
}

/// A part of a history.
#[derive(Debug, Serialize, ToSchema)]
pub struct History {
    /// CloudEvents (1.0, JSON), in order.
    #[schema(value_type = Vec<Object>)]
    events: Vec<Value>,
    /// `cursor` of the next page; null = this is the last one, for now.
    next: Option<u64>,
}

/// What happened in a run
#[utoipa::path(
    get, path = "/api/v1/runs/{run}/history", tag = "runs",
    params(("run" = String, Path, description = "The run"), Part),
    responses((status = 200, description = "What happened, in order", body = History)),
)]
pub async fn history(
    State(app): State<App>,
    Path(run): Path<String>,
    Query(part): Query<Part>,
) -> Result<Json<History>> {
    let limit = list::limit(part.limit, COMMITS, COMMITS_MAX)?;
    let id = find(&app, &run).await?;
    let known = app.reader().head(id).await?;
    let after = part.cursor.unwrap_or(part.after);
    let rows = app.reader().views.history(id, after, limit).await?;
    let mut names = Names::default();
    let mut events = Vec::new();
    for row in &rows {
        let (workflow, steps) = names.of(app.reader(), row).await?;
        events.extend(told(row, &workflow, &steps).map(|event| event.cloud_event()));
    }
    // A part may be shorter than asked for.
    let next = rows.last().map(|row| row.version).filter(|version| *version < known.version);
    Ok(Json(History { events, next }))
}

/// How much is explained.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Wide {
    /// Name every step that has not ended, also where a nearer reason explains it.
    #[serde(default)]
    all: bool,
}

/// Why a run doesn't go on
#[utoipa::path(
    get, path = "/api/v1/runs/{run}/why", tag = "runs",
    params(("run" = String, Path, description = "The run"), Wide),
    responses((status = 200, description = "Reasons, and what would unblock it", body = Object)),
)]
pub async fn why(
    State(app): State<App>,
    Path(run): Path<String>,
    Query(wide): Query<Wide>,
) -> Result<Json<moa_view::why::Answer>> {
    let id = find(&app, &run).await?;
    let reader = app.reader();
    let run = reader.run(id).await?;
    let pending = reader.views.pending(id).await?;
    let node = app.control().status().await;
    let limits = Limits { agents: app.control().agents().await, used: reader.limits().await? };
    // This node serves everything: none is left alone.
    Ok(Json(answer(&run, &pending, Some(&node), &[], &limits, wide.all)))
}
