//! A new run of an ended one with other params, from a step on or from the beginning.

use axum::extract::State;
use axum::response::Response;
use maud::{Markup, html};
use moa_core::workflow::{ParamSpec, Plan};
use moa_engine::handle::ForkFrom;
use moa_view::text;
use serde::Deserialize;
use serde_json::{Map, Value as Json};

use super::act::to_new;
use super::{Shown, document, frame, steps};
use crate::App;
use crate::api::runs::get::{of_name, unknown};
use crate::api::runs::repeat::{Again, Params, begin};
use crate::api::workflows::redacted_plan;
use crate::auth::Identity;
use crate::error::{Code, Problem, Result};
use crate::extract::{Form, Path, Query};
use crate::pages::filled::{self, Filled};
use crate::pages::parts;
use crate::pages::workflows::form::{self, PARAM, VALUES_BYTES_MAX};
use crate::pages::workflows::start::sure;

/// Steps offered.
const STEPS: usize = 500;
/// The name of a field that names a param which stays what it was.
const KEPT: &str = "kept";

/// What a form has sent.
type Fields = Vec<(String, String)>;

/// From where.
#[derive(Debug, Default, Deserialize)]
pub struct From {
    /// A step; the beginning when not given.
    #[serde(default)]
    from: String,
}

/// The form, with the params that the run had.
pub async fn show(
    State(app): State<App>,
    who: Identity,
    Path(run): Path<String>,
    Query(from): Query<From>,
) -> Result<Markup> {
    let shown = Shown::find(&app, &run, None).await?;
    if !from.from.is_empty() && of_name(&shown.run, &from.from).is_none() {
        return Err(unknown(shown.id(), &from.from));
    }
    let plan = redacted_plan(&app, shown.run.graph.plan().clone()).await?;
    Ok(whole(&app, &who, (&shown, &plan), &from.from, None))
}

/// The page of a run, by its plan without secrets. `filled`: the form was refused.
fn whole(
    app: &App,
    who: &Identity,
    (shown, plan): (&Shown, &Plan),
    from: &str,
    filled: Option<&Filled>,
) -> Markup {
    let (path, workflow) = (format!("{}/fork", parts::run_path(shown.id())), shown.called().1);
    let body = html! {
        section class="card" {
            h2 { "A new run with other params" }
            @if shown.run.row.status.is_terminal() {
                (parts::form(who, (&path, Some(workflow)), None, &inside(shown, plan, from, filled)))
            } @else {
                p { "It has not ended: a new run of it can be made when it has." }
            }
        }
    };
    frame(app, who, shown, "/fork", document(shown), body)
}

fn inside(shown: &Shown, plan: &Plan, from: &str, filled: Option<&Filled>) -> Markup {
    let mut room = VALUES_BYTES_MAX;
    let was = |param: &ParamSpec| shown.run.row.params.get(&param.name).unwrap_or(&Json::Null);
    html! {
        @if let Some(filled) = filled {
            (filled.summary(&form::WORDS, |param| form::id_of(&format!("{PARAM}{param}"))))
        }
        (filled::key(filled))
        div class="field" {
            label for="from" { "Do again" }
            select id="from" name="from" { (places(shown, from)) }
            span class="dim" {
                "From a step on, the new run does that step and all that depends on it, and takes over \
                what the others put out."
            }
        }
        @for param in &plan.params {
            (value(param, was(param), &mut room, filled))
        }
        @if plan.params.is_empty() { p class="dim" { "Its workflow takes no params." } }
        @else { p class="dim" { "A field that is left empty is as the workflow says, unless it says what that means." } }
        details class="ask sure" data-key="sure" {
            summary class="button primary" { "Start the new run" }
            div {
                p {
                    "It is of the same version of " strong { (plan.workflow) } " as this one, which stays \
                    as it is. What people decided is asked again if the params differ."
                }
                button class="button primary" { "Start" }
            }
        }
    }
}

/// A field with what a param was; only its name when that doesn't fit into the form.
fn value(param: &ParamSpec, was: &Json, room: &mut usize, filled: Option<&Filled>) -> Markup {
    let bytes = form::sent_bytes(&form::text(was));
    if let Some(left) = room.checked_sub(bytes) {
        *room = left;
        return form::field(param, Some(was), filled);
    }
    html! {
        div class="field" data-key={ "kept " (param.name) } {
            span { (form::label(param)) }
            input type="hidden" name=(KEPT) value=(param.name);
            span class="dim" {
                "It stays as it was: with " (text::bytes(was.to_string().len() as u64))
                " it is too large for a form. The API and " code { "moa runs fork" } " can change it."
            }
        }
    }
}

/// From where it can be done again.
fn places(shown: &Shown, from: &str) -> Markup {
    let mut names: Vec<(usize, String, &str)> = steps::ordered(&shown.run)
        .into_iter()
        .map(|(depth, row)| (depth, shown.run.step_name(row.inst), row.status.as_str()))
        .collect();
    let all = names.len();
    let mut i = 0;
    names.retain(|(_, name, _)| {
        i += 1;
        i <= STEPS || name == from
    });
    html! {
        option value="" { "everything" }
        @for (depth, name, status) in &names {
            option value=(name) selected[name == from] {
                (" ".repeat(*depth)) "from " (name) " on (it " (past(status)) ")"
            }
        }
        @if all > STEPS { option disabled { "… and " (all - STEPS) " more: their pages lead here" } }
    }
}

/// What is said of a step of an ended run.
fn past(status: &str) -> String {
    match status {
        "skipped" | "cancelled" => format!("was {status}"),
        "succeeded" | "failed" => status.to_owned(),
        other => format!("was {other}"),
    }
}

/// Starts the new run, and goes to it. What is refused is shown again with what was filled in.
pub async fn start(
    State(app): State<App>,
    who: Identity,
    Path(run): Path<String>,
    Form(fields): Form<Fields>,
) -> Result<Response> {
    match started(&app, &who, &run, &fields).await {
        Ok(response) => Ok(response),
        Err(problem) => once_more(&app, &who, &run, fields, problem).await,
    }
}

async fn started(app: &App, who: &Identity, run: &str, fields: &Fields) -> Result<Response> {
    let known = app.reader().run(app.reader().find(run).await?).await?;
    let before = known.row.params.as_object().cloned().unwrap_or_default();
    let params = given(known.graph.plan(), &before, fields);
    let from = of(fields, "from").map_or(ForkFrom::Start, ForkFrom::Step);
    let again = Again { from, params, key: filled::idempotency_key(fields) };
    to_new(begin(app, who, run, again).await?)
}

fn of(fields: &Fields, key: &str) -> Option<String> {
    let found = fields.iter().find(|(name, value)| name == key && !value.is_empty());
    found.map(|(_, value)| value.clone())
}

/// The page with what was filled in, and what is wrong with it; the bare problem when there is no such run
/// any more.
async fn once_more(
    app: &App,
    who: &Identity,
    run: &str,
    fields: Fields,
    problem: Problem,
) -> Result<Response> {
    let told = problem.clone();
    let Ok(shown) = Shown::find(app, run, None).await else { return Err(problem) };
    let plan = redacted_plan(app, shown.run.graph.plan().clone()).await;
    let Ok(plan) = plan else { return Err(problem) };
    let before = shown.run.row.params.as_object().cloned().unwrap_or_default();
    let faults = match (problem.code, given(&plan, &before, &fields)) {
        (Code::InvalidRequest, Params::Whole(same, texts)) => {
            // What nobody has changed is as it was, whatever its text could be read as.
            let is_new = |param: &&ParamSpec| !same.contains_key(&param.name);
            let specs: Vec<ParamSpec> = plan.params.iter().filter(is_new).cloned().collect();
            let faults = app.control().check_fields(&specs, &texts).err().unwrap_or_default();
            sure(&specs, &texts, &told, faults)
        }
        _ => Vec::new(),
    };
    let from = of(&fields, "from").unwrap_or_default();
    let filled = Filled::new(&plan.params, fields, problem, faults);
    let page = whole(app, who, (&shown, &plan), &from, Some(&filled));
    Ok(filled.answer(page))
}

/// The params that a form gives: a value that nobody has changed, or that the form only names, stays
/// what it was, whatever its text could be read as.
fn given(plan: &Plan, before: &Map<String, Json>, fields: &[(String, String)]) -> Params {
    let mut params = Map::new();
    // With what the form says of fields that are empty.
    let is_value = |(field, _): &&(String, String)| field.starts_with(PARAM);
    let mut changed: Vec<_> = fields.iter().filter(|field| !is_value(field)).cloned().collect();
    for (_, name) in fields.iter().filter(|(field, _)| field == KEPT) {
        if let Some(old) = before.get(name) {
            params.insert(name.clone(), old.clone());
        }
    }
    for (field, value) in fields {
        let Some(name) = field.strip_prefix(PARAM) else { continue };
        let value = form::sent(value);
        let is_known = plan.params.iter().any(|param| param.name == name);
        match before.get(name) {
            Some(old) if is_known && form::sent(&form::text(old)) == value => {
                params.insert(name.to_owned(), old.clone());
            }
            // It had none, and the field said that it stays so.
            None if value.trim().is_empty() => {}
            _ => changed.push((field.clone(), value)),
        }
    }
    let texts = form::texts(&changed);
    if texts.is_empty() && params == *before {
        return Params::Same;
    }
    Params::Whole(params, texts)
}
