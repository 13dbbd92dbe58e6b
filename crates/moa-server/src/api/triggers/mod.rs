//! Triggers of all kinds, schedules among them: look at them, act on them.

pub mod change;
pub mod preview;

use axum::extract::State;
use moa_core::schedule::Zone;
use moa_core::time::Millis;
use moa_core::trigger::{Occurrence, Outcome};
use moa_ports::triggers::{OccurrenceFilter, TriggerFilter, TriggerRow};
use moa_view::now;
use moa_view::trigger::{
    Known, explanation, hide_in_occurrence, instant, missed_lately, occurrence, slot,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};

use super::paging::{Part, no_cursor};
use super::runs::list::{limit, name};
use super::workflows::writes;
use crate::App;
use crate::auth::Identity;
use crate::auth::scope::Resource;
use crate::error::{Problem, Result};
use crate::extract::{Json, Path, Query};

/// Triggers read at once.
const ROWS: usize = 1000;
/// Slots of an answer at most.
const SLOTS_MAX: usize = 1000;
/// The instants behind which slots are looked for, in milliseconds: those of the years -9999 to 9999.
const SLOTS_WITHIN: std::ops::RangeInclusive<i64> = -377_705_023_201_000..=253_402_207_200_999;
/// Occurrences of an answer at most.
const OCCURRENCES_MAX: usize = 1000;

/// All triggers of the store, in order of workflow and name; not those whose definition is gone.
///
/// # Errors
/// The store can't be read.
pub async fn known(app: &App, workflow: Option<moa_core::ids::Name>) -> Result<Vec<Known>> {
    let mut rows: Vec<TriggerRow> = Vec::new();
    loop {
        let last = rows.last().map(|row| (row.spec.workflow.clone(), row.spec.label()));
        let filter = TriggerFilter { workflow: workflow.clone(), after: last, limit: ROWS };
        let more = app.reader().views.triggers(&filter).await?;
        let done = more.len() < ROWS;
        rows.extend(more);
        if done {
            break;
        }
    }
    let there = rows.into_iter().filter(|row| !row.state.removed);
    Ok(there.map(|row| Known { spec: row.spec.clone(), row: Some(row) }).collect())
}

/// Triggers as somebody may see them: who could not write one sees nothing in it that the node knows
/// as a secret.
///
/// # Errors
/// They can't be looked through.
pub async fn seen(app: &App, who: &Identity, mut all: Vec<Known>) -> Result<Vec<Known>> {
    let foreign = |known: &Known| match known.spec.rule {
        true => !who.may_ask("PUT", &format!("/api/v1/rules/{}", known.spec.name), None),
        false => !writes(who, known.spec.workflow.as_str()),
    };
    let (mut places, mut rows) = (Vec::new(), Vec::new());
    for (i, known) in all.iter().enumerate().filter(|(_, known)| foreign(known)) {
        places.extend(known.row.is_some().then_some(i));
        rows.extend(known.row.clone());
    }
    let rows = app.control().redact_triggers(rows).await?;
    for (i, row) in places.into_iter().zip(rows) {
        all[i] = Known { spec: row.spec.clone(), row: Some(row) };
    }
    Ok(all)
}

/// What a program is told of a trigger by whom it may be seen so.
async fn documents(app: &App, who: &Identity, all: Vec<Known>, now: Millis) -> Result<Vec<Value>> {
    // What it says has the same identity, whoever sees it.
    let revisions: Vec<String> = all.iter().map(|k| k.spec.revision().to_string()).collect();
    let seen = seen(app, who, all).await?;
    let with = |(known, revision): (&Known, String)| {
        let mut document = known.json(now);
        document["revision"] = revision.into();
        document
    };
    Ok(seen.iter().zip(revisions).map(with).collect())
}

/// The trigger that a path names: `WORKFLOW/NAME` (as one part: `WORKFLOW%2FNAME`), its id, or the
/// workflow when that has one only.
///
/// # Errors
/// There is none, or several fit.
pub async fn find(app: &App, text: &str) -> Result<Known> {
    let all = known(app, None).await?;
    let named = |known: &&Known| known.spec.title() == text || known.spec.id().to_string() == text;
    if let Some(found) = all.iter().find(named) {
        return Ok(found.clone());
    }
    let of_workflow = |known: &&Known| !known.spec.rule && known.spec.workflow.as_str() == text;
    let fit: Vec<&Known> = all.iter().filter(of_workflow).collect();
    match fit.as_slice() {
        [only] => Ok((*only).clone()),
        [] => Err(Problem::not_found(format!("there is no trigger {text}"))
            .hint("/api/v1/triggers lists them")),
        several => {
            let names: Vec<String> = several.iter().map(|known| known.spec.title()).collect();
            let text = format!("{text} has several triggers: {}", names.join(", "));
            Err(Problem::invalid(text).hint("name one of them, its slash as %2F"))
        }
    }
}

/// The same as somebody may see it.
///
/// # Errors
/// As of both.
pub async fn find_seen(app: &App, who: &Identity, text: &str) -> Result<Known> {
    let found = find(app, text).await?;
    Ok(seen(app, who, vec![found.clone()]).await?.pop().unwrap_or(found))
}

/// Triggers.
#[derive(Debug, Serialize, ToSchema)]
pub struct TriggerList {
    /// In order of workflow and name; as `moa triggers list --json` tells each.
    #[schema(value_type = Vec<Object>)]
    triggers: Vec<Value>,
    /// `cursor` of the next page; null = this is the last one.
    next: Option<String>,
}

/// Which triggers.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Filter {
    /// Only of this workflow.
    #[serde(default)]
    workflow: Option<String>,
    /// At most so many, up to 500; 50 when not given.
    #[serde(default)]
    limit: Option<usize>,
    /// Go on where a page ended: its `next`.
    #[serde(default)]
    cursor: Option<String>,
}

async fn all(app: &App, who: &Identity, filter: Filter, clocks: bool) -> Result<Json<TriggerList>> {
    let workflow = filter.workflow.as_deref().map(name).transpose()?;
    let mut known = known(app, workflow).await?;
    // Rules are the project's, whichever workflow they start.
    let rules = who.sees(Resource::Triggers, None);
    known.retain(|known| !clocks || known.spec.schedule().is_some());
    known.retain(|known| rules || !known.spec.rule);
    let part = Part::new(filter.limit, filter.cursor);
    // A space is before all that names are made of: so it is the order of workflow and name.
    let name = |known: &Known| format!("{} {}", known.spec.workflow, known.spec.label());
    let (known, next) = part.of(known, name)?;
    let now = now();
    let mut triggers = documents(app, who, known.clone(), now).await?;
    for (row, known) in triggers.iter_mut().zip(&known) {
        row["missed_7d"] = missed_lately(&*app.reader().views, known, now).await?.into();
    }
    Ok(Json(TriggerList { triggers, next }))
}

/// Triggers of all kinds
#[utoipa::path(
    get, path = "/api/v1/triggers", tag = "triggers", params(Filter),
    responses((status = 200, description = "By workflow and name", body = TriggerList)),
)]
pub async fn list(
    State(app): State<App>,
    who: Identity,
    Query(filter): Query<Filter>,
) -> Result<Json<TriggerList>> {
    all(&app, &who, filter, false).await
}

/// Schedules: triggers with a clock
#[utoipa::path(
    get, path = "/api/v1/schedules", tag = "triggers", params(Filter),
    responses((status = 200, description = "By workflow and name", body = TriggerList)),
)]
pub async fn schedules(
    State(app): State<App>,
    who: Identity,
    Query(filter): Query<Filter>,
) -> Result<Json<TriggerList>> {
    all(&app, &who, filter, true).await
}

/// A trigger
#[utoipa::path(
    get, path = "/api/v1/triggers/{trigger}", tag = "triggers",
    params(("trigger" = String, Path, description = "`WORKFLOW%2FNAME`, its id, or the workflow")),
    responses((status = 200, description = "The trigger", body = Object)),
)]
pub async fn get(
    State(app): State<App>,
    who: Identity,
    Path(trigger): Path<String>,
) -> Result<Json<Value>> {
    let known = vec![find(&app, &trigger).await?];
    Ok(Json(documents(&app, &who, known, now()).await?.pop().unwrap_or_default()))
}

/// Which slots to come.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Coming {
    /// At most so many, up to 1000; 10 when not given. `count` is another name of it.
    #[serde(default, alias = "count")]
    limit: Option<usize>,
    /// Behind this instant; local times are those of the schedule's zone. Now, when not given.
    #[serde(default)]
    after: Option<String>,
    /// Go on where a page ended: its `next`.
    #[serde(default)]
    cursor: Option<i64>,
}

/// Slots to come.
#[derive(Debug, Serialize, ToSchema)]
pub struct SlotList {
    /// In order: `slot`, `local`, `zone`, `offset`, `starts_at`.
    #[schema(value_type = Vec<Object>)]
    slots: Vec<Value>,
    /// `cursor` of the next page; null = the schedule has no more.
    next: Option<i64>,
}

/// The next slots of a schedule
///
/// The same code and time zone data as those that start the runs.
#[utoipa::path(
    get, path = "/api/v1/triggers/{trigger}/next", tag = "triggers",
    params(("trigger" = String, Path, description = "The schedule"), Coming),
    responses((status = 200, description = "In order", body = SlotList)),
)]
pub async fn next(
    State(app): State<App>,
    Path(trigger): Path<String>,
    Query(asked): Query<Coming>,
) -> Result<Json<SlotList>> {
    let count = limit(asked.limit, 10, SLOTS_MAX)?;
    let table = find(&app, &trigger).await?.table()?;
    let zone = &table.schedule().zone;
    let after = asked.after.as_deref().map(|text| instant(text, zone)).transpose()?;
    let cursor = asked.cursor.map(|at| match SLOTS_WITHIN.contains(&at) {
        true => Ok(Millis(at)),
        false => Err(no_cursor(&at.to_string())),
    });
    let after = cursor.transpose()?.or(after);
    // An impossible date costs long to look for: elsewhere than where requests are answered.
    let slots = tokio::task::spawn_blocking(move || {
        let slots = table.preview(after.unwrap_or_else(now), count);
        let next = slots.get(count - 1).map(|last| last.at.0);
        SlotList { slots: slots.iter().map(|at| slot(&table, *at)).collect(), next }
    });
    slots.await.map(Json).map_err(|_| Problem::invalid("the slots can't be found"))
}

/// Which occurrences.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Past {
    /// Only with these outcomes, with commas: `missed,skipped_late`.
    #[serde(default)]
    outcome: Option<String>,
    /// Not before this instant.
    #[serde(default)]
    from: Option<String>,
    /// Before this instant.
    #[serde(default)]
    to: Option<String>,
    /// At most so many, up to 1000; 50 when not given.
    #[serde(default)]
    limit: Option<usize>,
    /// Go on where a page ended: its `next`.
    #[serde(default)]
    cursor: Option<String>,
}

/// What became of occurrences.
#[derive(Debug, Serialize, ToSchema)]
pub struct OccurrencePage {
    /// The newest first; as `moa schedules slots --json` tells each.
    #[schema(value_type = Vec<Object>)]
    occurrences: Vec<Value>,
    /// `cursor` of the next page; null = this is the last one.
    next: Option<String>,
}

/// What became of the occurrences of a trigger
///
/// Those that wait are among them: for a run to end, for other workflows, for their turn.
#[utoipa::path(
    get, path = "/api/v1/triggers/{trigger}/slots", tag = "triggers",
    params(("trigger" = String, Path, description = "The trigger"), Past),
    responses((status = 200, description = "The newest first", body = OccurrencePage)),
)]
pub async fn slots(
    State(app): State<App>,
    Path(trigger): Path<String>,
    Query(asked): Query<Past>,
) -> Result<Json<OccurrencePage>> {
    let limit = limit(asked.limit, 50, OCCURRENCES_MAX)?;
    let known = find(&app, &trigger).await?;
    let utc = Zone::utc();
    let zone = known.spec.schedule().map_or(&utc, |source| &source.schedule.zone);
    let at = |text: &Option<String>| text.as_deref().map(|text| instant(text, zone)).transpose();
    let filter = OccurrenceFilter {
        key: None,
        outcomes: asked.outcome.as_deref().map_or(Ok(Vec::new()), outcomes)?,
        from: at(&asked.from)?,
        to: at(&asked.to)?,
        after: asked.cursor.as_deref().map(cursor).transpose()?,
        limit: limit + 1,
    };
    let mut found = app.reader().views.occurrences(known.spec.id(), &filter).await?;
    if let Some(trigger) = known.stored()? {
        let is_behind = |o: &Occurrence| match &filter.after {
            Some((at, key)) => (o.at, &o.key) < (*at, key),
            None => true,
        };
        let fits = |o: &Occurrence| {
            (filter.outcomes.is_empty() || filter.outcomes.contains(&o.outcome))
                && filter.from.is_none_or(|from| o.at >= from)
                && filter.to.is_none_or(|to| o.at < to)
                && is_behind(o)
        };
        found.extend(trigger.waiting_slots().into_iter().filter(fits));
        // As the store orders them: pages go on behind what is neither there nor gone by then.
        found.sort_by(|a, b| (b.at, &b.key).cmp(&(a.at, &a.key)));
    }
    let more = found.len() > limit;
    found.truncate(limit);
    let next = found.last().filter(|_| more).map(|last| format!("{}_{}", last.at.0, last.key));
    let found = hidden(&app, found).await?;
    Ok(Json(OccurrencePage { occurrences: found.iter().map(occurrence).collect(), next }))
}

/// What became of occurrences, as everybody may see it.
///
/// # Errors
/// It can't be looked through.
pub async fn hidden(app: &App, mut found: Vec<Occurrence>) -> Result<Vec<Occurrence>> {
    if !found.is_empty() {
        let hide = app.control().redactor().await?;
        found.iter_mut().for_each(|one| hide_in_occurrence(one, &*hide));
    }
    Ok(found)
}

fn cursor(text: &str) -> Result<(Millis, String)> {
    let parts = text.split_once('_').and_then(|(at, key)| Some((at.parse().ok()?, key.to_owned())));
    let (at, key) = parts.ok_or_else(|| {
        Problem::invalid(format!("{text:?} is no cursor")).hint("send `next` of a page")
    })?;
    Ok((Millis(at), key))
}

fn outcomes(text: &str) -> Result<Vec<Outcome>> {
    let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
    let known = words.map(|word| {
        Outcome::ALL.iter().find(|o| o.as_str() == word).copied().ok_or_else(|| {
            let all: Vec<&str> = Outcome::ALL.iter().map(|o| o.as_str()).collect();
            Problem::invalid(format!("{word:?} is no outcome; there are {}", all.join(", ")))
        })
    });
    known.collect()
}

/// About what.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct About {
    /// An instant; local times are those of the schedule's zone.
    #[serde(default)]
    at: Option<String>,
}

/// Why a trigger starts nothing
///
/// Without `at`: why it starts nothing now, until when, and what would change that. With one: whether
/// it is a slot of the schedule, by which rule, and what became of it.
#[utoipa::path(
    get, path = "/api/v1/triggers/{trigger}/why", tag = "triggers",
    params(("trigger" = String, Path, description = "The trigger"), About),
    responses((status = 200, description = "Reasons", body = Object)),
)]
pub async fn why(
    State(app): State<App>,
    who: Identity,
    Path(trigger): Path<String>,
    Query(about): Query<About>,
) -> Result<Json<Value>> {
    let known = find_seen(&app, &who, &trigger).await?;
    let Some(text) = about.at else {
        let held_back = app.control().held_back().await;
        let reasons = known.stored()?.map(|trigger| trigger.why(now(), held_back));
        let reasons = reasons.unwrap_or_default();
        return Ok(Json(json!({"name": known.spec.title(), "reasons": reasons})));
    };
    let table = known.table()?;
    let at = instant(&text, &table.schedule().zone)?;
    let said = table.explain(at);
    // Of an instant within a range of slots, the range's outcome is none of its own.
    let record = record(&app, &known, at).await?.filter(|r| said.is_slot() || r.at == at);
    Ok(Json(explanation(&known.spec, &said, record.as_ref())))
}

/// What is recorded of an instant: of itself, or of a range that it is in.
async fn record(app: &App, known: &Known, at: Millis) -> Result<Option<Occurrence>> {
    let (from, to) = (Some(at), Some(Millis(at.0.saturating_add(1))));
    let filter = OccurrenceFilter { from, to, limit: 20, ..OccurrenceFilter::default() };
    let mut found = app.reader().views.occurrences(known.spec.id(), &filter).await?;
    // A range lies around it; what it is itself comes first.
    found.sort_by_key(|o| (o.at != at, o.last.is_some()));
    found.truncate(1);
    Ok(hidden(app, found).await?.pop())
}
