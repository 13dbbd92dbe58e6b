//! Artifacts of a run: outputs that were too large for its history.

use std::collections::BTreeMap;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use moa_core::ids::RunId;
use moa_ports::artifacts::{ArtifactHash, hash_of_name};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::find;
use crate::App;
use crate::api::paging::Part;
use crate::error::{Problem, Result};
use crate::extract::{Json, Path, Query};

/// Bytes read from the disk at once.
const PART_BYTES: usize = 256 << 10;
/// Commits of a history read at once.
const ROWS: usize = 200;

/// An artifact.
#[derive(Debug, Serialize, ToSchema)]
pub struct ArtifactItem {
    /// BLAKE3 of its content, by which it is known.
    artifact: String,
    /// Bytes of its content, as far as its history says.
    bytes: Option<u64>,
    /// When it came first.
    at: String,
}

/// The artifacts of a run.
#[derive(Debug, Serialize, ToSchema)]
pub struct ArtifactList {
    /// In the order in which the run came by them.
    artifacts: Vec<ArtifactItem>,
    /// `cursor` of the next page; null = this is the last one.
    next: Option<String>,
}

/// The artifacts of a run
///
/// Outputs that are too large for a history are kept as files. Those that the run has handed on from
/// elsewhere are its artifacts too.
#[utoipa::path(
    get, path = "/api/v1/runs/{run}/artifacts", tag = "runs",
    params(("run" = String, Path, description = "The run"), Part),
    responses((status = 200, description = "What its history names", body = ArtifactList)),
)]
pub async fn list(
    State(app): State<App>,
    Path(run): Path<String>,
    Query(part): Query<Part>,
) -> Result<Json<ArtifactList>> {
    let id = find(&app, &run).await?;
    app.reader().head(id).await?;
    let most = part.most()?;
    let named = |item: &ArtifactItem| item.artifact.clone();
    // A history only grows: what is behind the page and one more changes nothing of it.
    let enough = |found: &[ArtifactItem]| {
        let cursor = part.cursor.as_deref();
        let at = cursor.map(|cursor| found.iter().position(|item| item.artifact == cursor));
        let begin = at.map_or(Some(0), |at| at.map(|at| at + 1));
        begin.is_some_and(|begin| found.len() > begin + most)
    };
    let found = of(&app, id, None, enough).await?;
    let (artifacts, next) = part.behind(found, named)?;
    Ok(Json(ArtifactList { artifacts, next }))
}

/// The artifacts that a run's history names, or that one alone, until there are enough.
async fn of(
    app: &App,
    run: RunId,
    only: Option<&str>,
    enough: impl Fn(&[ArtifactItem]) -> bool,
) -> Result<Vec<ArtifactItem>> {
    let mut found: Vec<ArtifactItem> = Vec::new();
    let mut after = 0;
    loop {
        let rows = app.reader().views.history(run, after, ROWS).await?;
        for row in &rows {
            let mut named = BTreeMap::new();
            let events = serde_json::to_value(&row.events).unwrap_or_default();
            collect(&events, &mut named);
            for (artifact, bytes) in named {
                let known = found.iter().any(|item| item.artifact == artifact);
                if !known && only.is_none_or(|only| only == artifact) {
                    found.push(ArtifactItem { artifact, bytes, at: row.at.to_string() });
                }
            }
        }
        match rows.last() {
            Some(last) if !enough(&found) => after = last.version,
            _ => return Ok(found),
        }
    }
}

/// What a value refers to: objects with `artifact`, wherever they are.
fn collect(value: &Value, found: &mut BTreeMap<String, Option<u64>>) {
    match value {
        Value::Object(object) => {
            let named = object.get("artifact").and_then(Value::as_str);
            if let Some(name) = named.filter(|name| hash_of_name(name).is_some()) {
                let bytes = object.get("bytes").and_then(Value::as_u64);
                found.entry(name.to_owned()).or_insert(bytes);
            }
            object.values().for_each(|value| collect(value, found));
        }
        Value::Array(values) => values.iter().for_each(|value| collect(value, found)),
        _ => {}
    }
}

/// An artifact of a run
///
/// Its bytes, as they were stored. Never as a page: browsers save it.
#[utoipa::path(
    get, path = "/api/v1/runs/{run}/artifacts/{artifact}", tag = "runs",
    params(
        ("run" = String, Path, description = "The run"),
        ("artifact" = String, Path, description = "Its hash"),
    ),
    responses(
        (status = 200, description = "Its content", body = String,
         content_type = "application/octet-stream",
         headers(("content-disposition" = String, description = "That it is a file"))),
        (status = 304, description = "As the client has it: an artifact never changes",
         headers(("content-disposition" = String, description = "That it is a file"))),
    ),
)]
pub async fn get(
    State(app): State<App>,
    Path((run, artifact)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response> {
    let id = find(&app, &run).await?;
    app.reader().head(id).await?;
    let unknown = || {
        Problem::not_found(format!("run {id} has no artifact {artifact}"))
            .hint(format!("/api/v1/runs/{id}/artifacts lists them"))
    };
    let hash = hash_of_name(&artifact).ok_or_else(unknown)?;
    if of(&app, id, Some(&artifact), |found| !found.is_empty()).await?.is_empty() {
        return Err(unknown());
    }
    let tag = format!("\"{artifact}\"");
    let known = headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    let mut response = match known.is_some_and(|known| known.contains(&tag)) {
        true => StatusCode::NOT_MODIFIED.into_response(),
        false => content(&app, hash).await?,
    };
    let own = response.headers_mut();
    let kept = HeaderValue::from_static("private, max-age=31536000, immutable");
    own.insert(header::CACHE_CONTROL, kept);
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        own.insert(header::ETAG, tag);
    }
    // A hash alone stands in it: nothing that an agent says is part of a header.
    let name = format!("attachment; filename=\"{artifact}.json\"");
    if let Ok(name) = HeaderValue::from_str(&name) {
        own.insert(header::CONTENT_DISPOSITION, name);
    }
    Ok(response)
}

/// The content, read as it is sent.
async fn content(app: &App, hash: ArtifactHash) -> Result<Response> {
    let (first, bytes) = app.control().artifact(hash, 0, PART_BYTES).await?;
    let next = first.len() as u64;
    let rest = stream::unfold((app.clone(), next), move |(app, from)| async move {
        if from >= bytes {
            return None;
        }
        let part = app.control().artifact(hash, from, PART_BYTES).await;
        let part = part.map_err(|failure| std::io::Error::other(failure.message));
        // A file that has become shorter would be asked for without end.
        let (part, next) = match part {
            Ok((part, _)) if part.is_empty() => {
                (Err(std::io::Error::other("the artifact is cut off")), bytes)
            }
            Ok((part, _)) => {
                let next = from + part.len() as u64;
                (Ok(Bytes::from(part)), next)
            }
            Err(error) => (Err(error), bytes),
        };
        Some((part, (app, next)))
    });
    let first = stream::once(async move { Ok(Bytes::from(first)) });
    let body = Body::from_stream(futures_util::StreamExt::chain(first, rest));
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    let kind = HeaderValue::from_static("application/octet-stream");
    headers.insert(header::CONTENT_TYPE, kind);
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(bytes));
    Ok(response)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn artifacts_are_found_wherever_they_are() {
        let hash = "0a".repeat(32);
        let mut found = BTreeMap::new();
        let value = json!([{"a": {"b": [{"artifact": hash, "bytes": 7}]}}, {"artifact": "x"}]);
        collect(&value, &mut found);
        assert_eq!(found, BTreeMap::from([(hash, Some(7))]));
    }
}
