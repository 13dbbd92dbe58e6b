//! Rules: triggers that people make, change, switch and delete while moa runs.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use moa_core::ids::Name;
use moa_core::trigger::{Source, TriggerId};
use moa_view::node::{RuleDone, RuleExpect, RuleRequest, rule_tag};
use moa_view::now;
use moa_view::trigger::Known;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::files;
use super::paging::Part;
use super::runs::list::name;
use super::triggers;
use super::workflows::redacted;
use crate::App;
use crate::auth::Identity;
use crate::auth::scope::Resource;
use crate::control::Expect;
use crate::error::{Code, Problem, Result};
use crate::extract::{Json, Path, Query};

/// Where mistakes of a rule are found, for people.
const PLACE: &str = "the request";

/// Rules.
#[derive(Debug, Serialize, ToSchema)]
pub struct RuleList {
    /// By name; as `moa rules list --json` tells each.
    #[schema(value_type = Vec<Object>)]
    rules: Vec<Value>,
    /// `cursor` of the next page; null = this is the last one.
    next: Option<String>,
}

/// What became of a wish about a rule.
#[derive(Debug, Serialize, ToSchema)]
pub struct RuleChange {
    /// Its name.
    name: String,
    /// Whether it was otherwise before.
    changed: bool,
    /// Whether it is new.
    created: bool,
}

/// Rules
#[utoipa::path(
    get, path = "/api/v1/rules", tag = "rules", params(Part),
    responses((status = 200, description = "By name", body = RuleList)),
)]
pub async fn list(
    State(app): State<App>,
    who: Identity,
    Query(part): Query<Part>,
) -> Result<Json<RuleList>> {
    let mut all = triggers::known(&app, None).await?;
    all.retain(|known| known.spec.rule);
    let (all, next) = part.of(all, |rule| rule.spec.name.to_string())?;
    let all = triggers::seen(&app, &who, all).await?;
    let rules = all.iter().map(|rule| app.control().rule_document(rule)).collect();
    Ok(Json(RuleList { rules, next }))
}

async fn find(app: &App, text: &str) -> Result<Known> {
    let id = TriggerId::of_rule(&name(text)?);
    let row = app.reader().views.trigger(id).await?.filter(|row| !row.state.removed);
    let unknown =
        || Problem::not_found(format!("there is no rule {text}")).hint("/api/v1/rules lists them");
    let row = row.ok_or_else(unknown)?;
    Ok(Known { spec: row.spec.clone(), row: Some(row) })
}

/// A rule
#[utoipa::path(
    get, path = "/api/v1/rules/{rule}", tag = "rules",
    params(("rule" = String, Path, description = "Its name")),
    responses(
        (status = 200, description = "As `moa rules show --json` tells it", body = Object,
         headers(("etag" = String, description = "What it says, for `If-Match`"))),
    ),
)]
pub async fn get(
    State(app): State<App>,
    who: Identity,
    Path(rule): Path<String>,
) -> Result<Response> {
    let found = find(&app, &rule).await?;
    // Of what it says, whoever sees it; what became of it meanwhile is nobody's to change.
    let tag = HeaderValue::from_str(&format!("\"{}\"", rule_tag(&found.spec)));
    let found = triggers::seen(&app, &who, vec![found]).await?;
    let document = found.first().map(|rule| app.control().rule_document(rule));
    let mut response = Json(document.unwrap_or_default()).into_response();
    if let Ok(tag) = tag {
        response.headers_mut().insert(header::ETAG, tag);
    }
    Ok(response)
}

/// What a request takes a rule for, if it says so.
fn expected(headers: &HeaderMap) -> Result<Option<RuleExpect>> {
    if !headers.contains_key(header::IF_MATCH) && !headers.contains_key(header::IF_NONE_MATCH) {
        return Ok(None);
    }
    Ok(Some(match files::expected(headers)? {
        Expect::Nothing => RuleExpect::Nothing,
        Expect::Something => RuleExpect::Something,
        Expect::Tags(tags) => RuleExpect::Tags(tags),
    }))
}

/// What was done, if the rule was what it was taken for.
fn as_expected(done: RuleDone) -> Result<RuleDone> {
    if done.differs {
        let text = format!("the rule {} is another one, or is not there", done.name);
        let problem = Problem::new(Code::PreconditionFailed, text);
        return Err(problem.hint("read it again, and make the change there"));
    }
    Ok(done)
}

async fn put(
    app: &App,
    who: &Identity,
    name: Option<Name>,
    rule: &Value,
    replace: bool,
    expect: Option<RuleExpect>,
) -> Result<Response> {
    // Whose `run` is no name makes no rule, which is told as such.
    if let Some(workflow) = rule["run"].as_str() {
        who.must_reach(Resource::Runs, Some(workflow))?;
    }
    // JSON is YAML, and stands as mistakes are told.
    let text = serde_json::to_string_pretty(rule).unwrap_or_default();
    let request = RuleRequest::Put { name, path: PLACE.into(), text, replace, expect };
    let done = as_expected(app.control().rule(request).await?)?;
    let status = if done.created { StatusCode::CREATED } else { StatusCode::OK };
    let place = HeaderValue::from_str(&format!("/api/v1/rules/{}", done.name));
    let (changed, created) = (done.changed, done.created);
    let change = RuleChange { name: done.name.to_string(), changed, created };
    let mut response = (status, Json(change)).into_response();
    if let Ok(place) = place {
        response.headers_mut().insert(header::LOCATION, place);
    }
    Ok(response)
}

/// Make a rule
///
/// The body is what `moa rules create --file` takes: `name`, `run` (the workflow), `on` with `event`,
/// `match`, `params` and the other keys of an entry of `on`. The same rule again changes nothing. A token
/// with scopes needs one that starts runs of that workflow too: `runs` or `runs:WORKFLOW`.
#[utoipa::path(
    post, path = "/api/v1/rules", tag = "rules",
    request_body = Object,
    responses(
        (status = 201, description = "It is made", body = RuleChange,
         headers(("location" = String, description = "The rule"))),
        (status = 200, description = "It is there already", body = RuleChange,
         headers(("location" = String, description = "The rule"))),
    ),
)]
pub async fn create(
    State(app): State<App>,
    who: Identity,
    Json(rule): Json<Map<String, Value>>,
) -> Result<Response> {
    put(&app, &who, None, &Value::Object(rule), false, None).await
}

/// Make a rule, or change it
///
/// A rule that is switched off stays so unless the body says `on.enabled`. Scopes are needed as for making
/// one. `If-Match` carries the `ETag` of the rule that it takes the place of; `If-None-Match: *` makes a new
/// one; without them it is made or changed, whatever is there.
#[utoipa::path(
    put, path = "/api/v1/rules/{rule}", tag = "rules",
    params(
        ("rule" = String, Path, description = "Its name"),
        ("If-Match" = Option<String>, Header, description = "The ETag of the rule before"),
        ("If-None-Match" = Option<String>, Header, description = "`*`: it is not there yet"),
    ),
    request_body = Object,
    responses(
        (status = 201, description = "It is made", body = RuleChange,
         headers(("location" = String, description = "The rule"))),
        (status = 200, description = "It is so now", body = RuleChange,
         headers(("location" = String, description = "The rule"))),
    ),
)]
pub async fn replace(
    State(app): State<App>,
    who: Identity,
    Path(rule): Path<String>,
    headers: HeaderMap,
    Json(body): Json<Map<String, Value>>,
) -> Result<Response> {
    let expect = expected(&headers)?;
    put(&app, &who, Some(name(&rule)?), &Value::Object(body), true, expect).await
}

/// Delete a rule
#[utoipa::path(
    delete, path = "/api/v1/rules/{rule}", tag = "rules",
    params(
        ("rule" = String, Path, description = "Its name"),
        ("If-Match" = Option<String>, Header, description = "The ETag of the rule"),
    ),
    responses((status = 204, description = "It is gone")),
)]
pub async fn delete(
    State(app): State<App>,
    Path(rule): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode> {
    let request = RuleRequest::Delete { name: name(&rule)?, expect: expected(&headers)? };
    as_expected(app.control().rule(request).await?)?;
    Ok(StatusCode::NO_CONTENT)
}

async fn switch(app: &App, rule: &str, on: bool) -> Result<Json<RuleChange>> {
    let done = app.control().rule(RuleRequest::Switch { name: name(rule)?, on }).await?;
    let (changed, created) = (done.changed, done.created);
    Ok(Json(RuleChange { name: done.name.to_string(), changed, created }))
}

/// Switch a rule on
///
/// Scopes are needed as for making one.
#[utoipa::path(
    post, path = "/api/v1/rules/{rule}/enable", tag = "rules",
    params(("rule" = String, Path, description = "Its name")),
    responses((status = 200, description = "It is on", body = RuleChange)),
)]
pub async fn enable(
    State(app): State<App>,
    who: Identity,
    Path(rule): Path<String>,
) -> Result<Json<RuleChange>> {
    let known = find(&app, &rule).await?;
    who.must_reach(Resource::Runs, Some(known.spec.workflow.as_str()))?;
    switch(&app, &rule, true).await
}

/// Switch a rule off
///
/// What happens meanwhile is recorded as skipped.
#[utoipa::path(
    post, path = "/api/v1/rules/{rule}/disable", tag = "rules",
    params(("rule" = String, Path, description = "Its name")),
    responses((status = 200, description = "It is off", body = RuleChange)),
)]
pub async fn disable(State(app): State<App>, Path(rule): Path<String>) -> Result<Json<RuleChange>> {
    switch(&app, &rule, false).await
}

/// An event to try.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TrialEvent {
    /// What the event carries.
    #[serde(default)]
    data: Value,
}

/// What an event would do.
#[derive(Debug, Serialize, ToSchema)]
pub struct TrialResult {
    /// The trigger.
    name: String,
    /// Whether it would start a run, now or with others.
    starts: bool,
    /// Whether it is what the trigger looks for.
    matches: bool,
    /// What would become of it; null = it would be passed over.
    outcome: Option<&'static str>,
    /// Why.
    reason: Option<String>,
    /// The params of the run.
    #[schema(value_type = Option<Object>)]
    params: Option<Value>,
}

async fn tried(app: &App, known: &Known, data: Value) -> Result<Json<TrialResult>> {
    let kind = match &known.spec.source {
        Source::Event { event, .. } => event.clone(),
        Source::Outside { by, .. } => by.clone(),
        Source::Runs { .. } => "run.ended".into(),
        Source::Schedule(_) => {
            let text = format!("{} reacts to no event", known.spec.title());
            return Err(Problem::invalid(text));
        }
    };
    let stored = known.stored()?;
    let trigger = stored.ok_or_else(|| Problem::not_found("no node has served it yet"))?;
    let mut trial = trigger.trial(&kind, &Arc::new(data), now());
    let file = app.control().workflow(known.spec.workflow.clone()).await?;
    if let (true, Some(Value::Object(params)), Some((plan, _))) =
        (trial.starts, &trial.params, file.and_then(|file| file.served))
        && let Err(failure) = app.control().check_params(&plan, params.clone(), &[])
    {
        trial = trial.refused(failure.message);
    }
    // Whoever may only look sees no secret that stands in the trigger or in what its workflow declares.
    let reason = match &trial.reason {
        Some(reason) => Some(redacted(app, reason).await),
        None => None,
    };
    let params = match trial.params {
        Some(params) => Some(app.control().redact(params).await),
        None => None,
    };
    Ok(Json(TrialResult {
        name: known.spec.title(),
        starts: trial.starts,
        matches: trial.matches,
        outcome: trial.outcome.map(|outcome| outcome.as_str()),
        reason,
        params,
    }))
}

/// Try an event on a rule
///
/// Says what it would do, and does nothing.
#[utoipa::path(
    post, path = "/api/v1/rules/{rule}/test", tag = "rules",
    params(("rule" = String, Path, description = "Its name")),
    request_body = TrialEvent,
    responses((status = 200, description = "What it would do", body = TrialResult)),
)]
pub async fn test(
    State(app): State<App>,
    Path(rule): Path<String>,
    Json(event): Json<TrialEvent>,
) -> Result<Json<TrialResult>> {
    tried(&app, &find(&app, &rule).await?, event.data).await
}

/// Try an event on a trigger
///
/// Says what it would do, and does nothing.
#[utoipa::path(
    post, path = "/api/v1/triggers/{trigger}/test", tag = "triggers",
    params(("trigger" = String, Path, description = "The trigger; not a schedule")),
    request_body = TrialEvent,
    responses((status = 200, description = "What it would do", body = TrialResult)),
)]
pub async fn test_trigger(
    State(app): State<App>,
    Path(trigger): Path<String>,
    Json(event): Json<TrialEvent>,
) -> Result<Json<TrialResult>> {
    tried(&app, &triggers::find(&app, &trigger).await?, event.data).await
}
