//! Starting a run by a form.

use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use moa_core::ids::RunId;
use moa_engine::handle::Started;
use moa_view::node::StartRun;
use serde_json::{Map, Value as Json};

use super::form::texts;
use super::{Shown, whole};
use crate::App;
use crate::api::runs::list::name;
use crate::auth::Identity;
use crate::error::{Code, Problem, Result};
use crate::extract::{Form, Path};
use crate::pages::filled::Filled;
use crate::pages::parts;

/// What a form has sent.
type Fields = Vec<(String, String)>;

/// Starts it, and goes to it. What is refused is shown again with what was filled in.
pub async fn start(
    State(app): State<App>,
    who: Identity,
    Path(workflow): Path<String>,
    Form(fields): Form<Fields>,
) -> Result<Response> {
    match started(&app, &who, &workflow, &fields).await {
        Ok(run) => Ok(Redirect::to(&parts::run_path(run)).into_response()),
        Err(problem) => once_more(&app, &who, &workflow, fields, problem).await,
    }
}

async fn started(app: &App, who: &Identity, workflow: &str, fields: &Fields) -> Result<RunId> {
    let priority = of(fields, "priority").map(|word| {
        let known = serde_json::from_value(Json::from(word.clone()));
        known.map_err(|_| Problem::invalid(format!("{word:?} is no priority")))
    });
    let start = StartRun {
        workflow: name(workflow)?,
        version: of(fields, "version"),
        params: Map::new(),
        texts: texts(fields),
        idempotency_key: of(fields, "key").map(|key| format!("form-{key}")),
        priority: priority.transpose()?,
        trace: None,
        cause: who.cause(),
    };
    match app.control().start_run(start).await?.0 {
        Started::New { run } | Started::Existing { run } => Ok(run),
        Started::Skipped => {
            let text =
                "no run was started: its concurrency key is used up, and the workflow says skip";
            Err(Problem::new(Code::Conflict, text))
        }
    }
}

/// The page of the workflow with what was filled in, and what is wrong with it; the bare problem when there
/// is no such page any more.
async fn once_more(
    app: &App,
    who: &Identity,
    workflow: &str,
    fields: Fields,
    problem: Problem,
) -> Result<Response> {
    let Ok(shown) = Shown::find(app, workflow, of(&fields, "version")).await else {
        return Err(problem);
    };
    let Ok(plan) = shown.plan() else { return Err(problem) };
    let checked = match problem.code {
        Code::InvalidRequest => app.control().check_fields(&plan.params, &texts(&fields)),
        _ => Ok(Map::new()),
    };
    let filled = Filled::new(&plan.params, fields, problem, checked.err().unwrap_or_default());
    match whole(app, who, &shown, Some(&filled)).await {
        Ok(page) => Ok(filled.answer(page)),
        Err(_) => Err(filled.plain()),
    }
}

fn of(fields: &Fields, key: &str) -> Option<String> {
    let found = fields.iter().find(|(name, value)| name == key && !value.is_empty());
    found.map(|(_, value)| value.clone())
}
