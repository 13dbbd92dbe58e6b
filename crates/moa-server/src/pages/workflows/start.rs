//! Starting a run by a form.

use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use moa_core::ids::RunId;
use moa_core::workflow::ParamSpec;
use moa_engine::handle::Started;
use moa_view::node::StartRun;
use serde_json::{Map, Value as Json};

use super::form::texts;
use super::hidden::is_hidden;
use super::{Shown, whole};
use crate::App;
use crate::api::runs::list::name;
use crate::auth::Identity;
use crate::control::Fault;
use crate::error::{Code, Problem, Result};
use crate::extract::{Form, Path};
use crate::pages::filled::{Filled, idempotency_key};
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
        idempotency_key: idempotency_key(fields),
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
    let given = texts(&fields);
    let checked = match problem.code {
        Code::InvalidRequest => app.control().check_fields(&plan.params, &given),
        _ => Ok(Map::new()),
    };
    let faults = sure(&plan.params, &given, &problem, checked.err().unwrap_or_default());
    let filled = Filled::new(&plan.params, fields, problem, faults);
    match whole(app, who, &shown, Some(&filled)).await {
        Ok(page) => Ok(filled.answer(page)),
        Err(_) => Err(filled.plain()),
    }
}

/// The faults that are sure. Secrets are hidden in the schemas that a page has, so what they say of a
/// value may be untrue; whether it is at fault is known from what refused the start.
pub fn sure(
    params: &[ParamSpec],
    given: &[(String, String)],
    problem: &Problem,
    mut faults: Vec<Fault>,
) -> Vec<Fault> {
    for param in params.iter().filter(|param| is_hidden(param)) {
        let name = &param.name;
        if !given.iter().any(|(given, _)| given == name) {
            continue;
        }
        faults.retain(|fault| fault.field != *name);
        if ["`", "/"].iter().any(|end| problem.detail.contains(&format!("`{name}{end}"))) {
            let message = "it is not what its schema takes, a part of which is a secret".into();
            faults.push(Fault { field: name.clone(), message });
        }
    }
    faults
}

fn of(fields: &Fields, key: &str) -> Option<String> {
    let found = fields.iter().find(|(name, value)| name == key && !value.is_empty());
    found.map(|(_, value)| value.clone())
}
