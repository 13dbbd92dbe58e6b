//! Writing the file of a workflow.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::name;
use crate::App;
use crate::control::{Edit, Expect, Written};
use crate::error::{Code, Problem, Result};
use crate::extract::{Json, Path};

/// What YAML is sent as.
const KINDS: [&str; 4] = ["application/yaml", "application/x-yaml", "text/yaml", "text/plain"];

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

/// What a request takes the file for.
fn expected(headers: &HeaderMap) -> Result<Expect> {
    let values = |name| {
        let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        let tags = values.flat_map(|value| value.split(',')).map(str::trim).map(str::to_owned);
        tags.collect::<Vec<String>>()
    };
    let (have, have_not) = (values(header::IF_MATCH), values(header::IF_NONE_MATCH));
    match (have.as_slice(), have_not.as_slice()) {
        ([], []) => Err(Problem::new(
            Code::PreconditionRequired,
            "say which text this one takes the place of, so that nobody's change is lost",
        )
        .hint("send `If-Match` with the ETag of the source, or `If-None-Match: *` for a new one")),
        ([], [all]) if all == "*" => Ok(Expect::Nothing),
        ([all], []) if all == "*" => Ok(Expect::Something),
        (_, []) => Ok(Expect::Tags(have.iter().map(|tag| tag.trim_matches('"').into()).collect())),
        _ => Err(Problem::invalid("send `If-Match`, or `If-None-Match: *`; one of the two")),
    }
}

fn text_of(headers: &HeaderMap, body: &Bytes) -> Result<String> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let kind = kind.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    if !KINDS.iter().any(|known| known.eq_ignore_ascii_case(kind)) {
        let problem = Problem::new(Code::UnsupportedMediaType, format!("{kind:?} is no YAML"));
        return Err(problem.hint("send `Content-Type: application/yaml`"));
    }
    let text = std::str::from_utf8(body);
    Ok(text.map_err(|_| Problem::invalid("the text is not UTF-8"))?.to_owned())
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
        (status = 200, description = "It is written", body = WrittenFile),
        (status = 201, description = "It is made", body = WrittenFile),
    ),
)]
pub async fn put(
    State(app): State<App>,
    Path(workflow): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response> {
    let name = name(&workflow)?;
    let expect = expected(&headers)?;
    let text = text_of(&headers, &body)?;
    match app.control().put_workflow(name, text, expect).await? {
        Edit::Written(written) => Ok(answer(workflow, written)),
        Edit::Broken { diagnostics, text } => {
            let detail = "the text has errors; nothing is written";
            let problem = Problem::new(Code::InvalidFiles, detail);
            Err(Problem {
                diagnostics: Some(Arc::new(diagnostics)),
                text: Some(text.into()),
                ..problem
            })
        }
        Edit::Differs(Some(tag)) => {
            let problem = Problem::new(
                Code::PreconditionFailed,
                format!("the file of {workflow} is another one: its ETag is \"{tag}\""),
            );
            Err(problem.hint("read the source again, and make the change there"))
        }
        Edit::Differs(None) => {
            let text = format!("there is no file of {workflow}");
            let problem = Problem::new(Code::PreconditionFailed, text);
            Err(problem.hint("`If-None-Match: *` makes one"))
        }
    }
}

fn answer(workflow: String, written: Written) -> Response {
    let Written { created, changed, tag, hash, diagnostics, warning } = written;
    let status = if created { StatusCode::CREATED } else { StatusCode::OK };
    let place = format!("/api/v1/workflows/{workflow}");
    let body = WrittenFile { workflow, changed, hash, diagnostics, warning };
    let mut response = (status, Json(body)).into_response();
    for (name, value) in [(header::ETAG, format!("\"{tag}\"")), (header::LOCATION, place)] {
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}
