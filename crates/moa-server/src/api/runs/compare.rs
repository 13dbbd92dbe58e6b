//! Two runs beside each other.

use axum::extract::State;
use moa_core::machine::Run;
use moa_view::compare::{self, Comparison, Hide, Room};
use serde::Deserialize;
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::find;
use crate::App;
use crate::api::workflows::writes;
use crate::auth::Identity;
use crate::auth::scope::Resource;
use crate::error::{Code, Problem, Result};
use crate::extract::{Json, Path, Query};
use crate::turns::Turn;

/// With which one.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Other {
    /// The other run: its id, a unique start or end of it, or `last`. When not given it is the run that
    /// this one repeats, or the one before it of its workflow.
    #[serde(default)]
    pub with: Option<String>,
}

/// Two runs.
#[derive(Debug, ToSchema)]
#[allow(dead_code, reason = "it describes what another type writes")]
pub struct RunComparison {
    /// The other run.
    left: ComparedRun,
    /// The run.
    right: ComparedRun,
    /// Whether nothing differs. How long something took, when it happened and which node did it is no
    /// difference.
    equal: bool,
    /// What differs: the runs' own values first, then their steps.
    changes: Vec<RunChange>,
    /// Changes that are not among them, because there are too many.
    left_out: usize,
    /// The steps of both: those that differ first.
    steps: Vec<ComparedStep>,
    /// Steps that are not among them, because there are too many.
    steps_left_out: usize,
}

/// A run that is compared.
#[derive(Debug, ToSchema)]
#[allow(dead_code, reason = "it describes what another type writes")]
pub struct ComparedRun {
    /// Its id.
    run: String,
    /// Its workflow.
    workflow: String,
    /// The author's label of its version.
    workflow_version: Option<String>,
    /// Its version.
    hash: String,
    /// Its status.
    status: String,
    /// Its priority.
    priority: String,
    /// When it was made.
    created_at: String,
    /// When it started.
    started_at: Option<String>,
    /// When it ended.
    finished_at: Option<String>,
    /// How long it took.
    duration_ms: Option<u64>,
}

/// One place at which two runs differ.
#[derive(Debug, ToSchema)]
#[allow(dead_code, reason = "it describes what another type writes")]
pub struct RunChange {
    /// Where: a JSON Pointer (RFC 6901), such as `/params/env` and `/steps/build/output/files/0`.
    path: String,
    /// What stands there in the other run; absent = nothing.
    #[schema(value_type = Value, required = false)]
    left: Value,
    /// What stands there in the run; absent = nothing.
    #[schema(value_type = Value, required = false)]
    right: Value,
    /// Whether one of them is so long that only the beginning of its JSON is told, as a text.
    cut: bool,
}

/// A step of both runs, or of one.
#[derive(Debug, ToSchema)]
#[allow(dead_code, reason = "it describes what another type writes")]
pub struct ComparedStep {
    /// Its name: `lint[2]` is one iteration.
    step: String,
    /// Whether anything but its duration differs.
    differs: bool,
    /// In the other run; null = that has no such step.
    left: Option<ComparedSide>,
    /// In the run; null = it has no such step.
    right: Option<ComparedSide>,
}

/// A step of one of the runs.
#[derive(Debug, ToSchema)]
#[allow(dead_code, reason = "it describes what another type writes")]
pub struct ComparedSide {
    /// Its status.
    status: String,
    /// What it waits for, or why it was skipped.
    reason: Option<String>,
    /// Attempts that were started.
    attempts: u32,
    /// When its first attempt started.
    started_at: Option<String>,
    /// When it ended.
    finished_at: Option<String>,
    /// How long it took.
    duration_ms: Option<u64>,
}

/// What differs between two runs
///
/// Params, output and error of the runs; status, attempts, input, output and error of each step. Steps
/// are matched by their names. What steps are given is shown without secrets that are known, as where a
/// step is shown, to who may not write their workflow. 404 also when no other run is named and there is none.
#[utoipa::path(
    get, path = "/api/v1/runs/{run}/compare", tag = "runs",
    params(("run" = String, Path, description = "The run"), Other),
    responses((status = 200, description = "What differs", body = RunComparison)),
)]
pub async fn compare(
    State(app): State<App>,
    who: Identity,
    Path(run): Path<String>,
    Query(other): Query<Other>,
) -> Result<Json<Comparison>> {
    let turn = app.comparisons().next().await?;
    let run = app.reader().run(find(&app, &run).await?).await?;
    let with = other.with.as_deref();
    let found = compared(&app, &who, (run, turn), with, Room::NONE).await?.0;
    let none = || {
        let text = "there is no other run of this workflow to compare with";
        Problem::not_found(text).hint("`?with=RUN` names one of another workflow")
    };
    found.map(Json).ok_or_else(none)
}

/// A run beside another one, `None` when there is none; and the run. What differs is written in lines
/// as far as there is room.
///
/// # Errors
/// There is no such other run, or it is of a workflow that somebody may not see.
pub async fn compared(
    app: &App,
    who: &Identity,
    (run, turn): (Run, Turn),
    with: Option<&str>,
    room: Room,
) -> Result<(Option<Comparison>, Run)> {
    let other = match with.map(str::trim).filter(|with| !with.is_empty()) {
        Some(with) => {
            let other = app.reader().run(find(app, with).await?).await?;
            who.must_see(Resource::Runs, other.row.workflow.as_str())?;
            Some(other)
        }
        None => compare::usual(app.reader(), &run).await?,
    };
    let sees = |run: &Run| writes(who, run.row.workflow.as_str());
    let all = [other.as_ref().is_none_or(sees), sees(&run)];
    let hide = match all {
        [true, true] => None,
        _ => Some(app.control().redactor().await?),
    };
    // Values of large runs take a while.
    let work = move || {
        // Until it is done, also when nobody waits for it any more.
        let _held = turn;
        let hide = all.map(|all| hide.as_deref().filter(|_| !all).map(|hide| hide as &Hide));
        (other.map(|other| Comparison::hiding(&other, &run, room, hide)), run)
    };
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_| Problem::new(Code::Internal, "the runs could not be compared"))
}
