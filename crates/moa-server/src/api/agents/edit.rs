//! Registering agents: their files, as those of workflows are written. Several agents may stand in one
//! file, so a token for one agent alone writes none.

use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::App;
use crate::api::files::{self, DeletedFile, Deletion, answer, expected, text_of};
use crate::api::runs::list::name;
use crate::api::workflows::redacted;
use crate::auth::Identity;
use crate::auth::scope::Resource;
use crate::control::{Expect, FileOf, Written};
use crate::error::{Code, Problem, Result};
use crate::extract::{Json, Path, Query, tag_response};

/// A new agent.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewAgent {
    /// Its id: it becomes the name of its file.
    agent: String,
    /// What its file says: the keys that the book has for agents.
    #[schema(value_type = Object)]
    definition: Map<String, Value>,
}

/// The file of an agent that was written.
#[derive(Debug, Serialize, ToSchema)]
pub struct WrittenAgent {
    /// The file's id.
    agent: String,
    /// The agents that it has: several can stand in one file.
    agents: Vec<String>,
    /// Whether it was otherwise before.
    changed: bool,
    /// What looks wrong with it.
    #[schema(value_type = Vec<Object>)]
    diagnostics: Vec<Value>,
    /// Diagnostics of other files, when something is broken now.
    warning: Option<String>,
}

fn written(agent: String, done: Written) -> Response {
    let Written { created, changed, tag, agents, diagnostics, warning, .. } = done;
    let place = format!("/api/v1/agents/{agent}");
    let agents = agents.iter().map(ToString::to_string).collect();
    let body = WrittenAgent { agent, agents, changed, diagnostics, warning };
    answer(created, &tag, &place, body)
}

/// Register an agent
///
/// Its definition becomes the file `agents/AGENT.yaml`; it is checked as any file is, and can be asked
/// at once. An agent of this id must not be there yet: `PUT …/source` changes one.
#[utoipa::path(
    post, path = "/api/v1/agents", tag = "agents",
    request_body = NewAgent,
    responses(
        (status = 201, description = "It is registered", body = WrittenAgent,
         headers(("etag" = String, description = "The text"),
                 ("location" = String, description = "Where it is read"))),
    ),
)]
pub async fn register(
    State(app): State<App>,
    who: Identity,
    Json(new): Json<NewAgent>,
) -> Result<Response> {
    who.must_reach(Resource::Agents, None)?;
    let file = FileOf::Agent(name(&new.agent)?);
    // JSON is YAML.
    let mut text = serde_json::to_string_pretty(&new.definition).unwrap_or_default();
    text.push('\n');
    let done =
        files::put(&app, file, text, Expect::Nothing).await.map_err(|problem| {
            match problem.code {
                Code::PreconditionFailed => {
                    let text = format!("there is a file of {} already", new.agent);
                    let hint = format!("PUT /api/v1/agents/{}/source changes it", new.agent);
                    Problem::new(Code::Conflict, text).hint(hint)
                }
                _ => problem,
            }
        })?;
    Ok(written(new.agent, done))
}

/// The text of an agent's file
///
/// Its `ETag` is what `If-Match` of a change takes. Secrets that the node knows are shown to nobody who
/// could not write it.
#[utoipa::path(
    get, path = "/api/v1/agents/{agent}/source", tag = "agents",
    params(("agent" = String, Path, description = "The file's id")),
    responses(
        (status = 200, description = "YAML", body = String, content_type = "text/plain"),
        (status = 304, description = "As the client has it"),
    ),
)]
pub async fn source(
    State(app): State<App>,
    who: Identity,
    Path(agent): Path<String>,
    headers: HeaderMap,
) -> Result<Response> {
    let name = name(&agent)?;
    let writes = who.may_ask("PUT", &format!("/api/v1/agents/{agent}/source"), None);
    match app.control().file(FileOf::Agent(name)).await? {
        Some((mut text, tag)) => {
            if !writes {
                text = redacted(&app, &text).await;
            }
            Ok(tag_response(&headers, &tag, || files::text(text)))
        }
        None => {
            // It is known: then it is part of moa, or stands in a file with others.
            super::find(&app, &agent).await?;
            let text = format!("the agent {agent} has no file of its own");
            Err(Problem::not_found(text).hint("it is part of moa, or stands in a file with others"))
        }
    }
}

/// Write the file of an agent
///
/// As that of a workflow is written: `If-Match` carries the `ETag` of the text that it takes the place
/// of, `If-None-Match: *` makes a new one, and a text with errors is refused with its diagnostics.
/// Attempts that start from then on see it.
#[utoipa::path(
    put, path = "/api/v1/agents/{agent}/source", tag = "agents",
    params(
        ("agent" = String, Path, description = "The file's id"),
        ("If-Match" = Option<String>, Header, description = "The ETag of the text before"),
        ("If-None-Match" = Option<String>, Header, description = "`*`: it is not there yet"),
    ),
    request_body(content = String, content_type = "application/yaml"),
    responses(
        (status = 200, description = "It is written", body = WrittenAgent,
         headers(("etag" = String, description = "The text"),
                 ("location" = String, description = "Where it is read"))),
        (status = 201, description = "It is made", body = WrittenAgent,
         headers(("etag" = String, description = "The text"),
                 ("location" = String, description = "Where it is read"))),
    ),
)]
pub async fn put(
    State(app): State<App>,
    who: Identity,
    Path(agent): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response> {
    who.must_reach(Resource::Agents, None)?;
    let file = FileOf::Agent(name(&agent)?);
    let expect = expected(&headers)?;
    let done = files::put(&app, file, text_of(&headers, &body)?, expect).await?;
    Ok(written(agent, done))
}

/// Remove an agent
///
/// Its file goes, with all agents in it, if it is what `If-Match` takes it for (the `ETag` of the
/// source, or `*`) and no other file needs it. Open runs whose steps may ask it make it refuse, unless
/// `keep_open_runs` says that those steps may fail. `POST …/drain` waits for what runs.
#[utoipa::path(
    delete, path = "/api/v1/agents/{agent}", tag = "agents",
    params(
        ("agent" = String, Path, description = "The file's id"),
        ("If-Match" = String, Header, description = "The ETag of its text; `*` = whatever it is"),
        Deletion,
    ),
    responses((status = 200, description = "It is removed", body = DeletedFile)),
)]
pub async fn delete(
    State(app): State<App>,
    who: Identity,
    Path(agent): Path<String>,
    Query(how): Query<Deletion>,
    headers: HeaderMap,
) -> Result<Json<DeletedFile>> {
    who.must_reach(Resource::Agents, None)?;
    files::delete(&app, FileOf::Agent(name(&agent)?), &headers, &how).await
}
