//! Acting on triggers.

use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use moa_core::schedule::Overlap;
use moa_core::trigger::{Outcome, TriggerAnswer, TriggerCommand};
use moa_core::workflow::Priority;
use moa_view::trigger::{self, Known};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::find;
use super::preview::Wish;
use crate::App;
use crate::api::runs::start::{Urgency, idempotency_key};
use crate::api::workflows::redacted_problem;
use crate::auth::Identity;
use crate::auth::scope::Resource;
use crate::auth::tokens::random_hex;
use crate::error::{Code, Problem, Result};
use crate::extract::{Json, Path};

/// Why a trigger is paused.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PauseReason {
    /// Why, for people.
    #[serde(default)]
    reason: String,
}

/// A trigger after a switch.
#[derive(Debug, Serialize, ToSchema)]
pub struct Switched {
    /// The trigger.
    name: String,
    /// Whether that changed anything.
    changed: bool,
}

/// Refuses who may not start the workflow of a rule: rules are of the project, and whoever may change
/// triggers could start anything by one.
///
/// # Errors
/// [`Code::Forbidden`].
pub fn must_start(who: &Identity, known: &Known) -> Result<()> {
    match known.spec.rule {
        true => who.must_reach(Resource::Runs, Some(known.spec.workflow.as_str())),
        false => Ok(()),
    }
}

async fn switch(app: &App, name: &str, command: TriggerCommand) -> Result<Json<Switched>> {
    let known = find(app, name).await?;
    let answer = app.control().trigger(known.spec.id(), command).await?;
    let changed = answer != TriggerAnswer::Unchanged;
    Ok(Json(Switched { name: known.spec.title(), changed }))
}

/// Pause a trigger
///
/// It starts no more runs until it is resumed.
#[utoipa::path(
    post, path = "/api/v1/triggers/{trigger}/pause", tag = "triggers",
    params(("trigger" = String, Path, description = "The trigger")),
    request_body = Option<PauseReason>,
    responses((status = 200, description = "It is paused", body = Switched)),
)]
pub async fn pause(
    State(app): State<App>,
    who: Identity,
    Path(name): Path<String>,
    body: Option<Json<PauseReason>>,
) -> Result<Json<Switched>> {
    let reason = body.map(|Json(body)| body.reason).unwrap_or_default();
    switch(&app, &name, TriggerCommand::Pause { by: who.cause(), reason }).await
}

/// Resume a trigger
///
/// For a rule, a token with scopes needs one that starts runs of its workflow too.
#[utoipa::path(
    post, path = "/api/v1/triggers/{trigger}/resume", tag = "triggers",
    params(("trigger" = String, Path, description = "The trigger")),
    responses((status = 200, description = "It goes on", body = Switched)),
)]
pub async fn resume(
    State(app): State<App>,
    who: Identity,
    Path(name): Path<String>,
) -> Result<Json<Switched>> {
    must_start(&who, &find(&app, &name).await?)?;
    switch(&app, &name, TriggerCommand::Resume).await
}

/// A run of a trigger, by hand.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ManualStart {
    /// Params, beside those of the trigger.
    #[serde(default)]
    #[schema(value_type = Object)]
    params: Map<String, Value>,
    /// What happens while a run is going on: `skip`, `buffer_one`, `buffer_all`, `cancel_running`,
    /// `terminate_running` or `allow`; as the trigger says when not given.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    overlap: Option<Overlap>,
    /// Priority, when not the trigger's.
    #[serde(default)]
    priority: Option<Urgency>,
}

/// What became of an occurrence.
#[derive(Debug, Serialize, ToSchema)]
pub struct Decided {
    /// The trigger.
    name: String,
    /// `started`, `waiting`, `buffered`, `deduped`.
    outcome: &'static str,
    /// The run.
    run: Option<String>,
    /// Why it is so.
    reason: Option<String>,
}

/// Start a run of a trigger now
///
/// For a rule, a token with scopes needs one that starts runs of its workflow too.
#[utoipa::path(
    post, path = "/api/v1/triggers/{trigger}/start", tag = "triggers",
    params(
        ("trigger" = String, Path, description = "The trigger"),
        ("Idempotency-Key" = Option<String>, Header, description = "The same key is one start"),
    ),
    request_body = Option<ManualStart>,
    responses((status = 200, description = "It is started, or waits for its turn", body = Decided)),
)]
pub async fn start(
    State(app): State<App>,
    who: Identity,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Option<Json<ManualStart>>,
) -> Result<Json<Decided>> {
    let known = find(&app, &name).await?;
    must_start(&who, &known)?;
    let ManualStart { params, overlap, priority } = body.map(|Json(b)| b).unwrap_or_default();
    must_fit(&app, &known, &params).await?;
    let command = TriggerCommand::Start {
        key: idempotency_key(&headers)?.unwrap_or_else(random_hex::<8>),
        by: who.cause(),
        params: (!params.is_empty()).then(|| Arc::new(Value::Object(params))),
        overlap,
        priority: priority.map(Priority::from),
    };
    let answer = app.control().trigger(known.spec.id(), command).await?;
    let title = known.spec.title();
    let TriggerAnswer::Decided { outcome, run, reason } = answer else {
        return Err(Problem::new(Code::Conflict, format!("{title} gave no answer")));
    };
    match outcome {
        Outcome::Started | Outcome::Deduped | Outcome::Waiting | Outcome::Buffered => {
            let run = run.map(|run| run.to_string());
            Ok(Json(Decided { name: title, outcome: outcome.as_str(), run, reason }))
        }
        other => {
            let why = reason.map_or(String::new(), |reason| format!(": {reason}"));
            let text = format!("{title} was not started ({}){why}", other.as_str());
            Err(Problem::new(Code::Conflict, text))
        }
    }
}

/// Params that are given by hand must fit what the workflow declares of them. What the trigger adds is
/// known when the run is made.
async fn must_fit(app: &App, known: &Known, given: &Map<String, Value>) -> Result<()> {
    let file = app.control().workflow(known.spec.workflow.clone()).await?;
    let Some((mut plan, _)) = file.and_then(|file| file.served).filter(|_| !given.is_empty())
    else {
        return Ok(());
    };
    plan.params.iter_mut().for_each(|p| p.required &= given.contains_key(&p.name));
    match app.control().check_params(&plan, given.clone(), &[]) {
        Ok(_) => Ok(()),
        Err(failure) => Err(redacted_problem(app, failure.into()).await),
    }
}

/// A backfill to begin.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewBackfill {
    /// The first instant; local times are those of the schedule's zone.
    from: String,
    /// The end, not in the range.
    to: String,
    /// From the newest slot to the oldest.
    #[serde(default)]
    reverse: bool,
    /// So many runs at once; 1 when not given.
    #[serde(default)]
    at_once: Option<u32>,
    /// Which slots that have had a run get another one: `none`, `failed` or `all`.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    reprocess: moa_core::schedule::Reprocess,
    /// Priority of the runs; low when not given.
    #[serde(default)]
    priority: Option<Urgency>,
    /// Also start slots that are older than what the store remembers: they may have had runs.
    #[serde(default)]
    forgotten: bool,
}

/// Start the slots of a range of the past
#[utoipa::path(
    post, path = "/api/v1/triggers/{trigger}/backfill", tag = "triggers",
    params(
        ("trigger" = String, Path, description = "The schedule"),
        ("Idempotency-Key" = Option<String>, Header, description = "The same key is one backfill"),
    ),
    request_body = NewBackfill,
    responses((status = 200, description = "It has begun", body = Object)),
)]
pub async fn backfill(
    State(app): State<App>,
    who: Identity,
    Path(name): Path<String>,
    headers: HeaderMap,
    Json(new): Json<NewBackfill>,
) -> Result<Json<Value>> {
    let known = find(&app, &name).await?;
    must_start(&who, &known)?;
    let wish = Wish {
        key: idempotency_key(&headers)?,
        from: new.from,
        to: new.to,
        reverse: new.reverse,
        at_once: new.at_once,
        reprocess: new.reprocess,
        priority: new.priority.map(Priority::from),
        forgotten: new.forgotten,
    };
    let request = wish.request(&known, who.cause())?;
    let command = TriggerCommand::Backfill(request);
    match app.control().trigger(known.spec.id(), command).await? {
        TriggerAnswer::Backfill(backfill) => Ok(Json(trigger::backfill(&backfill))),
        _ => Err(Problem::new(Code::Conflict, "the backfill has not begun")),
    }
}

/// Which backfill.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WhichBackfill {
    /// Its number; all that go on when not given.
    #[serde(default)]
    number: Option<u32>,
}

/// Start no further slot of a backfill
///
/// Its runs go on.
#[utoipa::path(
    post, path = "/api/v1/triggers/{trigger}/backfill/cancel", tag = "triggers",
    params(("trigger" = String, Path, description = "The schedule")),
    request_body = Option<WhichBackfill>,
    responses((status = 200, description = "It starts no more", body = Switched)),
)]
pub async fn cancel_backfill(
    State(app): State<App>,
    Path(name): Path<String>,
    body: Option<Json<WhichBackfill>>,
) -> Result<Json<Switched>> {
    let number = body.and_then(|Json(which)| which.number);
    switch(&app, &name, TriggerCommand::CancelBackfill { number }).await
}
