//! What the attempts of a run wrote.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::find;
use crate::App;
use crate::api::paging;
use crate::control::{AttemptLog, LogPart};
use crate::error::{Problem, Result};
use crate::extract::{Json, Path, Query};

/// Bytes of a log answered at once.
const PART_BYTES_MAX: usize = 1 << 20;
/// Lines of the end of a log at most.
const LINES_MAX: usize = 10_000;

/// The log of one attempt.
#[derive(Debug, Serialize, ToSchema)]
pub struct LogItem {
    /// The step; `lint[2]` is one iteration.
    step: String,
    /// The attempt, from 1.
    attempt: u32,
    /// Bytes that are kept.
    bytes: u64,
}

/// The logs of a run.
#[derive(Debug, Serialize, ToSchema)]
pub struct LogList {
    /// By step, iteration and attempt.
    logs: Vec<LogItem>,
    /// `cursor` of the next page; null = this is the last one.
    next: Option<String>,
}

/// The logs of a run
#[utoipa::path(
    get, path = "/api/v1/runs/{run}/logs", tag = "runs",
    params(("run" = String, Path, description = "The run"), paging::Part),
    responses((status = 200, description = "One for each attempt that wrote", body = LogList)),
)]
pub async fn list(
    State(app): State<App>,
    Path(run): Path<String>,
    Query(part): Query<paging::Part>,
) -> Result<Json<LogList>> {
    let id = find(&app, &run).await?;
    app.reader().head(id).await?;
    let logs = app.control().logs(id).await?;
    let (logs, next) = part.behind(logs, |log| format!("{}/{}", log.step, log.attempt))?;
    let item = |log: AttemptLog| LogItem { step: log.step, attempt: log.attempt, bytes: log.bytes };
    Ok(Json(LogList { logs: logs.into_iter().map(item).collect(), next }))
}

/// Which part of a log.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Part {
    /// From this byte of what the attempt wrote: `X-Next` of the part before.
    #[serde(default)]
    from: u64,
    /// Only so many lines at the end, up to 10000, as far as they fit into 1 MiB; `from` counts for
    /// nothing then.
    #[serde(default)]
    tail: Option<usize>,
}

/// The last lines of a log. A part is at most as long as one that is read at once, so no more than
/// that and what is kept of the one before is in memory.
async fn tail(app: &App, log: AttemptLog, lines: usize) -> Result<LogPart> {
    let mut kept = LogPart::default();
    loop {
        let part = app.control().log_part(log.clone(), kept.next, PART_BYTES_MAX).await?;
        if part.next == kept.next {
            return Ok(kept);
        }
        kept.next = part.next;
        if part.left_out > 0 {
            kept.bytes.clear();
        }
        kept.bytes.extend_from_slice(&part.bytes);
        let start =
            start_of(&kept.bytes, lines).max(kept.bytes.len().saturating_sub(PART_BYTES_MAX));
        kept.bytes.drain(..start);
    }
}

/// Where the last lines begin.
fn start_of(bytes: &[u8], lines: usize) -> usize {
    // What ends with a line end has no further line behind it.
    let end = bytes.len() - usize::from(bytes.last() == Some(&b'\n'));
    let ends = bytes[..end].iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n');
    ends.map(|(at, _)| at + 1).nth(lines - 1).unwrap_or(0)
}

/// A part of the log of an attempt
///
/// Raw bytes, at most 1 MiB. `X-Next` says where to go on (as asked for: there is nothing more yet),
/// `X-Left-Out` how many bytes right before this part are not kept.
#[utoipa::path(
    get, path = "/api/v1/runs/{run}/logs/{step}/{attempt}", tag = "runs",
    params(
        ("run" = String, Path, description = "The run"),
        ("step" = String, Path, description = "The step; `lint[2]` is one iteration"),
        ("attempt" = u32, Path, description = "The attempt, from 1"),
        Part,
    ),
    responses(
        (status = 200, description = "The part", body = String, content_type = "text/plain",
         headers(("x-next" = u64, description = "`from` of the next part"),
                 ("x-left-out" = u64, description = "Bytes before it that are not kept"))),
    ),
)]
pub async fn get(
    State(app): State<App>,
    Path((run, step, attempt)): Path<(String, String, u32)>,
    Query(part): Query<Part>,
) -> Result<Response> {
    let id = find(&app, &run).await?;
    app.reader().head(id).await?;
    let logs = app.control().logs(id).await?;
    let log = logs.into_iter().find(|log| log.step == step && log.attempt == attempt);
    let log = log.ok_or_else(|| {
        Problem::not_found(format!("run {id} has no log of attempt {attempt} of {step}"))
            .hint(format!("/api/v1/runs/{id}/logs lists them"))
    })?;
    let part = match part.tail {
        None => app.control().log_part(log, part.from, PART_BYTES_MAX).await?,
        Some(lines) => tail(&app, log, super::list::limit(Some(lines), 0, LINES_MAX)?).await?,
    };
    let mut response = Response::new(Body::from(part.bytes));
    let headers = response.headers_mut();
    // Whatever an agent writes is text for whoever reads it, never a page.
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    headers.insert(header::CONTENT_TYPE, kind);
    headers.insert(HeaderName::from_static("x-next"), HeaderValue::from(part.next));
    headers.insert(HeaderName::from_static("x-left-out"), HeaderValue::from(part.left_out));
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_lines_are_whole() {
        let last = |text: &str, lines| text[start_of(text.as_bytes(), lines)..].to_owned();
        assert_eq!(last("a\nb\nc\n", 1), "c\n");
        assert_eq!(last("a\nb\nc", 2), "b\nc");
        assert_eq!(last("a\nb\n", 9), "a\nb\n");
        assert_eq!(last("", 1), "");
        assert_eq!(last("\n\n", 1), "\n");
    }
}
