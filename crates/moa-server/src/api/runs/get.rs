//! Looking at a run.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use moa_core::event::InstIx;
use moa_core::ids::RunId;
use moa_core::machine::Run;
use moa_core::run::StepRow;
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
use crate::api::workflows::writes;
use crate::auth::Identity;
use crate::error::{Problem, Result};
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
    params(("run" = String, Path, description = "The run"), Moment),
    responses(
        (status = 200, description = "The run", body = Object),
        (status = 304, description = "As the client has it"),
    ),
)]
pub async fn document(
    State(app): State<App>,
    Path(run): Path<String>,
    Query(moment): Query<Moment>,
    headers: HeaderMap,
) -> Result<Response> {
    let (run, made) = at(&app, &run, moment).await?;
    Ok(tagged(&headers, &tag(&run), summary::document(&run, Some(&made))))
}

/// Which moment.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Moment {
    /// As it was at this version, which its history tells; as it is now when not given.
    #[serde(default)]
    at: Option<u64>,
}

/// Which steps of it, and when.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct StepsPart {
    /// As they were at this version, which its history tells; as they are now when not given.
    #[serde(default)]
    at: Option<u64>,
    /// At most so many, up to 500; 50 when not given.
    #[serde(default)]
    limit: Option<usize>,
    /// Go on where a page ended: its `next`.
    #[serde(default)]
    cursor: Option<String>,
}

/// A run as it is or was, with the attempts of its steps.
async fn at(
    app: &App,
    run: &str,
    moment: Moment,
) -> Result<(Run, BTreeMap<InstIx, Vec<attempts::Attempt>>)> {
    let id = find(app, run).await?;
    let run = match moment.at {
        Some(version) => app.reader().run_at(id, version).await?.0,
        None => app.reader().run(id).await?,
    };
    let mut history = app.reader().history(id, 0).await?;
    history.retain(|row| row.version <= run.version);
    Ok((run, attempts::of_history(&history)))
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
    params(("run" = String, Path, description = "The run"), StepsPart),
    responses((status = 200, description = "Its steps", body = Steps)),
)]
pub async fn steps(
    State(app): State<App>,
    Path(run): Path<String>,
    Query(asked): Query<StepsPart>,
) -> Result<Json<Steps>> {
    let (run, made) = at(&app, &run, Moment { at: asked.at }).await?;
    let steps = match summary::document(&run, Some(&made))["steps"].take() {
        Value::Array(steps) => steps,
        _ => Vec::new(),
    };
    let name = |step: &Value| step["step"].as_str().unwrap_or_default().to_owned();
    let (steps, next) = paging::Part::new(asked.limit, asked.cursor).behind(steps, name)?;
    let (id, status) = (run.row.run.to_string(), run.row.status.as_str());
    Ok(Json(Steps { run: id, version: run.version, status, steps, next }))
}

/// A step of a run.
#[derive(Debug, Serialize, ToSchema)]
pub struct OneStep {
    /// The run.
    run: String,
    /// The run's version.
    version: u64,
    /// The run's status.
    status: &'static str,
    /// The step as in the list of steps, with its input once that is known.
    #[schema(value_type = Object)]
    step: Value,
}

/// A step of a run
#[utoipa::path(
    get, path = "/api/v1/runs/{run}/steps/{step}", tag = "runs",
    params(
        ("run" = String, Path, description = "The run"),
        ("step" = String, Path, description = "The step; `lint[2]` names one iteration"),
        Moment,
    ),
    responses((status = 200, description = "The step", body = OneStep)),
)]
pub async fn step(
    State(app): State<App>,
    who: Identity,
    Path((run, step)): Path<(String, String)>,
    Query(moment): Query<Moment>,
) -> Result<Json<OneStep>> {
    let (run, made) = at(&app, &run, moment).await?;
    let row = of_name(&run, &step).ok_or_else(|| unknown(run.row.run, &step))?;
    let made = made.get(&row.inst).map_or(&[][..], Vec::as_slice);
    let mut step = summary::whole_step(&run, row, made);
    if let Some(input) = step.get_mut("input") {
        *input = given(&app, &who, run.row.workflow.as_str(), input.take()).await;
    }
    Ok(Json(OneStep {
        run: run.row.run.to_string(),
        version: run.version,
        status: run.row.status.as_str(),
        step,
    }))
}

/// What a step is given, as somebody may see it: secrets may stand in the text of its workflow.
pub async fn given(app: &App, who: &Identity, workflow: &str, input: Value) -> Value {
    match input.is_null() || writes(who, workflow) {
        true => input,
        false => app.control().redact(input).await,
    }
}

/// The step of a run that has this name.
pub fn of_name<'a>(run: &'a Run, step: &str) -> Option<&'a StepRow> {
    run.steps().find(|row| run.step_name(row.inst) == step)
}

/// What is said when there is none.
pub fn unknown(run: RunId, step: &str) -> Problem {
    Problem::not_found(format!("run {run} has no step {step}"))
        .hint("a loop's steps are named with their iteration: lint[2]")
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
