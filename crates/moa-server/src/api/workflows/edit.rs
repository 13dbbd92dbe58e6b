//! Writing and deleting the file of a workflow.

use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::name;
use crate::App;
use crate::api::files::{self, DeletedFile, Deletion, answer, expected, text_of};
use crate::control::{FileOf, Written};
use crate::error::Result;
use crate::extract::{Json, Path, Query};

/// A file that was written.
#[derive(Debug, Serialize, ToSchema)]
pub struct WrittenFile {
    /// The workflow.
    workflow: String,
    /// Whether it was otherwise before.
    changed: bool,
    /// The version that it makes.
    hash: String,
    /// What looks wrong with it.
    #[schema(value_type = Vec<Object>)]
    diagnostics: Vec<Value>,
    /// Diagnostics of other files, when something is broken now.
    warning: Option<String>,
}

/// Write the file of a workflow
///
/// The body is its text. `If-Match` carries the `ETag` of the source that it takes the place of;
/// `If-None-Match: *` makes a new workflow. A text with errors is refused, with its diagnostics, and
/// nothing is written. The file is written whole or not at all, and served at once.
#[utoipa::path(
    put, path = "/api/v1/workflows/{workflow}/source", tag = "workflows",
    params(
        ("workflow" = String, Path, description = "Its id"),
        ("If-Match" = Option<String>, Header, description = "The ETag of the text before"),
        ("If-None-Match" = Option<String>, Header, description = "`*`: it is not there yet"),
    ),
    request_body(content = String, content_type = "application/yaml"),
    responses(
        (status = 200, description = "It is written", body = WrittenFile,
         headers(("etag" = String, description = "The text"),
                 ("location" = String, description = "Where it is read"))),
        (status = 201, description = "It is made", body = WrittenFile,
         headers(("etag" = String, description = "The text"),
                 ("location" = String, description = "Where it is read"))),
    ),
)]
pub async fn put(
    State(app): State<App>,
    Path(workflow): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response> {
    let file = FileOf::Workflow(name(&workflow)?);
    let expect = expected(&headers)?;
    let written = files::put(&app, file, text_of(&headers, &body)?, expect).await?;
    let Written { created, changed, tag, hash, diagnostics, warning, .. } = written;
    let place = format!("/api/v1/workflows/{workflow}");
    let hash = hash.unwrap_or_default();
    let body = WrittenFile { workflow, changed, hash, diagnostics, warning };
    Ok(answer(created, &tag, &place, body))
}

/// Delete a workflow
///
/// Its file goes, if it is what `If-Match` takes it for (the `ETag` of the source, or `*`) and neither
/// another file nor a rule needs it. Its triggers start nothing more. Runs and versions stay as
/// `retention` says; open runs make it refuse, unless `keep_open_runs` lets them go on with the
/// version that they have.
#[utoipa::path(
    delete, path = "/api/v1/workflows/{workflow}", tag = "workflows",
    params(
        ("workflow" = String, Path, description = "Its id"),
        ("If-Match" = String, Header, description = "The ETag of its text; `*` = whatever it is"),
        Deletion,
    ),
    responses((status = 200, description = "It is deleted", body = DeletedFile)),
)]
pub async fn delete(
    State(app): State<App>,
    Path(workflow): Path<String>,
    Query(how): Query<Deletion>,
    headers: HeaderMap,
) -> Result<Json<DeletedFile>> {
    files::delete(&app, FileOf::Workflow(name(&workflow)?), &headers, &how).await
}
