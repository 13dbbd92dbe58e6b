//! Writing and deleting the files of workflows and agents: what the requests have in common.

use std::sync::Arc;

use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use crate::App;
use crate::control::{Edit, Expect, FileOf, Open, Removal, Written};
use crate::error::{Code, Problem, Result};
use crate::extract::Json;

/// What YAML is sent as.
const KINDS: [&str; 4] = ["application/yaml", "application/x-yaml", "text/yaml", "text/plain"];

/// What a request takes the file for.
///
/// # Errors
/// It doesn't say.
pub fn expected(headers: &HeaderMap) -> Result<Expect> {
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

/// The text that a request brings.
///
/// # Errors
/// It says that it brings something else, or it does.
pub fn text_of(headers: &HeaderMap, body: &Bytes) -> Result<String> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let kind = kind.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    if !KINDS.iter().any(|known| known.eq_ignore_ascii_case(kind)) {
        let problem = Problem::new(Code::UnsupportedMediaType, format!("{kind:?} is no YAML"));
        return Err(problem.hint("send `Content-Type: application/yaml`"));
    }
    let text = std::str::from_utf8(body);
    Ok(text.map_err(|_| Problem::invalid("the text is not UTF-8"))?.to_owned())
}

/// Writes a file.
///
/// # Errors
/// The text has errors, or the file is not what it is taken for.
pub async fn put(app: &App, file: FileOf, text: String, expect: Expect) -> Result<Written> {
    match app.control().put_file(file.clone(), text, expect).await? {
        Edit::Written(written) => Ok(written),
        Edit::Broken { diagnostics, text } => {
            Err(with_diagnostics("the text has errors; nothing is written", diagnostics, text))
        }
        Edit::Differs(Some(tag)) => Err(differs(&file, &tag)),
        Edit::Differs(None) => {
            let text = format!("there is no file of {}", file.name());
            let problem = Problem::new(Code::PreconditionFailed, text);
            Err(problem.hint("`If-None-Match: *` makes one"))
        }
    }
}

fn differs(file: &FileOf, tag: &str) -> Problem {
    let text = format!("the file of {} is another one: its ETag is \"{tag}\"", file.name());
    let problem = Problem::new(Code::PreconditionFailed, text);
    problem.hint("read the source again, and make the change there")
}

fn with_diagnostics(detail: &str, diagnostics: Vec<Value>, text: String) -> Problem {
    let problem = Problem::new(Code::InvalidFiles, detail);
    Problem { diagnostics: Some(Arc::new(diagnostics)), text: Some(text.into()), ..problem }
}

/// How a file is deleted.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Deletion {
    /// Delete it although runs that use it have not ended.
    #[serde(default)]
    keep_open_runs: bool,
}

/// A file that is deleted.
#[derive(Debug, Serialize, ToSchema)]
pub struct DeletedFile {
    /// The workflow or agent.
    deleted: String,
    /// Runs that use it and have not ended.
    open_runs: usize,
}

/// Deletes a file.
///
/// # Errors
/// Something needs it, or it is not what it is taken for.
pub async fn delete(
    app: &App,
    file: FileOf,
    headers: &HeaderMap,
    how: &Deletion,
) -> Result<Json<DeletedFile>> {
    let expect = match expected(headers)? {
        Expect::Nothing => {
            return Err(Problem::invalid("what is not there can't be deleted: send `If-Match`"));
        }
        expect => expect,
    };
    let open = if how.keep_open_runs { Open::Keep } else { Open::Refuse };
    let deleted = file.name().to_string();
    match app.control().delete_file(file.clone(), expect, open).await? {
        Removal::Gone { open_runs } => Ok(Json(DeletedFile { deleted, open_runs })),
        Removal::Needed { diagnostics, text } => {
            let detail = "other files of the project need it; nothing is deleted";
            Err(with_diagnostics(detail, diagnostics, text))
        }
        Removal::Differs(tag) => Err(differs(&file, &tag)),
    }
}

/// The answer about a file that was written, with its tag and where it is read.
pub fn answer<T: Serialize>(created: bool, tag: &str, place: &str, body: T) -> Response {
    let status = if created { StatusCode::CREATED } else { StatusCode::OK };
    let mut response = (status, Json(body)).into_response();
    for (name, value) in [(header::ETAG, format!("\"{tag}\"")), (header::LOCATION, place.into())] {
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

/// A text as it is.
pub fn text(text: String) -> Response {
    let mut response = text.into_response();
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}
