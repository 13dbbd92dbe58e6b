//! Starting a run by a form.

use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use moa_engine::handle::Started;
use moa_view::node::StartRun;
use serde_json::{Map, Value as Json};

use super::form::PARAM;
use crate::App;
use crate::api::runs::list::name;
use crate::auth::Identity;
use crate::error::{Code, Problem, Result};
use crate::extract::{Form, Path};
use crate::pages::parts;

/// Starts it, and goes to it.
pub async fn start(
    State(app): State<App>,
    who: Identity,
    Path(workflow): Path<String>,
    Form(fields): Form<Vec<(String, String)>>,
) -> Result<Response> {
    let of = |key: &str| {
        let found = fields.iter().find(|(name, value)| name == key && !value.is_empty());
        found.map(|(_, value)| value.clone())
    };
    let priority = of("priority").map(|word| {
        let known = serde_json::from_value(Json::from(word.clone()));
        known.map_err(|_| Problem::invalid(format!("{word:?} is no priority")))
    });
    // An empty field is a param that is not given.
    let texts = fields.iter().filter_map(|(name, value)| {
        let name = name.strip_prefix(PARAM).filter(|_| !value.trim().is_empty())?;
        Some((name.to_owned(), value.clone()))
    });
    let start = StartRun {
        workflow: name(&workflow)?,
        version: of("version"),
        params: Map::new(),
        texts: texts.collect(),
        idempotency_key: of("key").map(|key| format!("form-{key}")),
        priority: priority.transpose()?,
        trace: None,
        cause: who.cause(),
    };
    match app.control().start_run(start).await?.0 {
        Started::New { run } | Started::Existing { run } => {
            Ok(Redirect::to(&parts::run_path(run)).into_response())
        }
        Started::Skipped => {
            let text =
                "no run was started: its concurrency key is used up, and the workflow says skip";
            Err(Problem::new(Code::Conflict, text))
        }
    }
}
