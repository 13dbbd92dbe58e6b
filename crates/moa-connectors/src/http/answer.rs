//! What the answer of a service means.

use std::sync::Arc;
use std::time::Duration;

use moa_core::agent::AgentKind;
use moa_core::limit::Usage;
use moa_core::time::{Millis, Span};
use moa_ports::agent::{Output, Stream, TaskCtx, TaskError};
use reqwest::{Response, StatusCode};
use serde_json::{Value as Json, json};

use super::{Call, chain};
use crate::output;
use crate::prepare::now;

/// Bytes of a failure's body that are shown and logged.
const SHOWN_BYTES_MAX: usize = 500;
const LOGGED_BYTES_MAX: usize = 64 << 10;
/// Where a service says what it has spent.
const USAGE: &str = "moa-usage";
/// How long to wait for the body of a failure.
const FAILURE_BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// The result of an answer, or what its failure means.
pub(super) async fn judge(
    call: &Call,
    response: Response,
    ctx: &TaskCtx,
) -> Result<Output, TaskError> {
    match response.status() {
        StatusCode::ACCEPTED => Err(TaskError::Permanent(
            "the service answered 202 (it will call back), which moa can't receive yet; let it \
             answer when it is done"
                .to_owned(),
        )),
        status if status.is_success() => success(call, response).await,
        status => Err(failure(call, status, response, ctx).await),
    }
}

/// Notes what a service says that it has spent.
pub(super) fn spent(response: &Response, ctx: &TaskCtx) {
    let mut given = response.headers().get_all(USAGE).iter().peekable();
    // Whatever else a step calls has no budget.
    if given.peek().is_none() || !matches!(ctx.spec.kind, AgentKind::Http(_)) {
        return;
    }
    let texts: Result<Vec<&str>, _> = given.map(|value| value.to_str()).collect();
    let usage = texts.map_err(|e| e.to_string()).and_then(|all| Usage::of_line(&all.join(",")));
    match usage {
        Ok(usage) => ctx.log.spent(usage),
        Err(why) => {
            let line = format!("[moa: what it has spent is not counted: {USAGE}: {why}]\n");
            ctx.log.write(Stream::Stderr, line.as_bytes());
            let agent = ctx.spec.id.as_str();
            tracing::warn!(agent, reason = why, "an attempt's usage is not counted");
        }
    }
}

async fn success(call: &Call, response: Response) -> Result<Output, TaskError> {
    let content_type = response.headers().get("content-type");
    let content_type = content_type.and_then(|v| v.to_str().ok()).unwrap_or_default();
    let declared = Declared::of(content_type);
    let (body, whole) = read(response, call.answer_bytes_max).await.map_err(|e| {
        TaskError::Unknown(format!("the service's answer broke off: {}", chain(&e)))
    })?;
    if !whole {
        let most = call.answer_bytes_max;
        return Err(TaskError::Output(format!(
            "the service's answer has more than the {most} bytes allowed"
        )));
    }
    let value = value_of(&body, declared).map_err(TaskError::Output)?;
    Ok(Output { value: Some(value).filter(|value| !value.is_null()).map(Arc::new) })
}

/// What an answer says that it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Declared {
    /// `application/json`, `application/problem+json; charset=utf-8`, ...
    Json,
    /// Anything else, above all text.
    Other,
    /// It doesn't say, or says that it is bytes.
    Nothing,
}

impl Declared {
    fn of(content_type: &str) -> Self {
        let essence = content_type.split(';').next().unwrap_or_default();
        match essence.trim().to_ascii_lowercase().as_str() {
            "application/json" | "text/json" => Self::Json,
            json if json.ends_with("+json") => Self::Json,
            "" | "application/octet-stream" => Self::Nothing,
            _ => Self::Other,
        }
    }
}

/// A body as a value. What is declared to be JSON has to be. Of text that is declared to be something
/// else, an object or a list is JSON nevertheless; a number is text, as the next answer may be.
fn value_of(body: &[u8], declared: Declared) -> Result<Json, String> {
    let trimmed = body.trim_ascii_start();
    if trimmed.is_empty() {
        return Ok(Json::Null);
    }
    let looks = matches!(trimmed[0], b'{' | b'[');
    match output::parse(body) {
        Ok(value) if looks || declared != Declared::Other => return Ok(value),
        Err(e) if declared == Declared::Json => {
            return Err(format!(
                "the service's answer is declared as JSON and can't be taken: {e}"
            ));
        }
        Err(e) if declared == Declared::Nothing && output::is_meant(trimmed, &e) => {
            return Err(format!(
                "the service's answer begins as JSON and can't be taken: {e}; if it is text, let \
                 the service declare it: `content-type: text/plain`"
            ));
        }
        _ => {}
    }
    match std::str::from_utf8(body) {
        Ok(text) if !text.contains('\0') => Ok(json!({ "text": text })),
        _ => Err("the service's answer is binary; let it answer with JSON or text".to_owned()),
    }
}

/// At most `max` bytes of a body, and whether that is all of it.
pub(crate) async fn read(mut response: Response, max: usize) -> reqwest::Result<(Vec<u8>, bool)> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > max {
            body.extend_from_slice(&chunk[..max - body.len()]);
            return Ok((body, false));
        }
        body.extend_from_slice(&chunk);
    }
    Ok((body, true))
}

async fn failure(call: &Call, status: StatusCode, response: Response, ctx: &TaskCtx) -> TaskError {
    let header = |name: &str| {
        let value = response.headers().get(name)?;
        Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    let wait = header("retry-after").and_then(|text| retry_after(&text, now()));
    let location = header("location").filter(|_| status.is_redirection());
    let body = tokio::time::timeout(FAILURE_BODY_TIMEOUT, read(response, LOGGED_BYTES_MAX)).await;
    let body = body.ok().and_then(Result::ok).map(|(body, _)| body).unwrap_or_default();
    let mut log = format!("HTTP {status}\n").into_bytes();
    log.extend_from_slice(&body);
    log.push(b'\n');
    ctx.log.write(Stream::Stderr, &log);

    let shown = crate::sanitize_for_terminal(&body[..body.len().min(SHOWN_BYTES_MAX)]);
    let shown = shown.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut message = format!("HTTP {status}");
    match (location, shown.as_str()) {
        (Some(to), _) => {
            message.push_str(": redirects are not followed; the agent's address would be ");
            message.push_str(&crate::sanitize_for_terminal(to.as_bytes()));
        }
        (None, "") => {}
        (None, shown) => message = format!("{message}: {shown}"),
    }
    classify(call, status.as_u16(), wait, message)
}

fn classify(call: &Call, status: u16, wait: Option<Span>, message: String) -> TaskError {
    match (status, wait) {
        (429 | 503, Some(after)) => {
            TaskError::RateLimited { message, after: Span(after.0.min(call.retry_after_max.0)) }
        }
        (408 | 425 | 429 | 503, _) => TaskError::Retryable(message),
        (status, _) if call.retry_statuses.contains(&status) => TaskError::Retryable(message),
        (501 | 505, _) => TaskError::Permanent(message),
        // It failed in the middle, or somebody between here and there lost it.
        (500.., _) => TaskError::Unknown(message),
        _ => TaskError::Permanent(message),
    }
}

/// How long a `Retry-After` says to wait: seconds, or an HTTP date.
pub(crate) fn retry_after(text: &str, now: Millis) -> Option<Span> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Span(seconds.saturating_mul(1000)));
    }
    let date = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
    Some(Millis(date.as_millisecond()).since(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = Millis(784_111_777_000); // Sun, 06 Nov 1994 08:49:37 GMT
        let after = |text: &str| retry_after(text, now).map(|span| span.0);
        assert_eq!(after("3"), Some(3000));
        assert_eq!(after("Sun, 06 Nov 1994 08:50:07 GMT"), Some(30_000));
        assert_eq!(after("Sun, 06 Nov 1994 08:00:00 GMT"), Some(0));
        assert_eq!(after("18446744073709551615"), Some(u64::MAX));
        assert_eq!(after("soon"), None);
        assert_eq!(after("-1"), None);
    }

    #[test]
    fn statuses_have_their_classes() {
        let call = Call {
            method: reqwest::Method::POST,
            headers: Default::default(),
            body: None,
            answer_bytes_max: 10,
            retry_after_max: Span::seconds(60),
            retry_statuses: vec![404],
        };
        let class = |status, wait| match classify(&call, status, wait, String::new()) {
            TaskError::Retryable(_) => "retry",
            TaskError::Permanent(_) => "never",
            TaskError::Unknown(_) => "unknown",
            TaskError::RateLimited { after, .. } if after == Span::seconds(60) => "in a minute",
            _ => "other",
        };
        let long = Some(Span::minutes(90));
        let expected = [
            (301, None, "never"),
            (400, None, "never"),
            (404, None, "retry"), // by the agent's own list
            (408, None, "retry"),
            (425, None, "retry"),
            (429, None, "retry"),
            (429, long, "in a minute"),
            (500, None, "unknown"),
            (500, long, "unknown"),
            (501, None, "never"),
            (502, None, "unknown"),
            (503, None, "retry"),
            (503, long, "in a minute"),
            (504, None, "unknown"),
            (505, None, "never"),
            (529, None, "unknown"),
        ];
        for (status, wait, expected) in expected {
            assert_eq!(class(status, wait), expected, "{status}");
        }
    }

    #[test]
    fn bodies_are_json_text_or_nothing() {
        use Declared::{Nothing, Other};
        for (body, declared, expected) in [
            (&b" \n"[..], Declared::Json, Json::Null),
            (b"42", Declared::Json, json!(42)),
            (b" [1]", Declared::Json, json!([1])),
            (b"1", Nothing, json!(1)),
            (b"\"a\"", Nothing, json!("a")),
            (b" {\"a\": 1}", Nothing, json!({"a": 1})),
            (b"true love", Nothing, json!({"text": "true love"})),
            (b"[info] started", Nothing, json!({"text": "[info] started"})),
            (b"42", Other, json!({"text": "42"})),
            (b" [1]", Other, json!([1])),
            (b"{not json", Other, json!({"text": "{not json"})),
            (b"{\"a\": ", Other, json!({"text": "{\"a\": "})),
        ] {
            let shown = String::from_utf8_lossy(body);
            assert_eq!(value_of(body, declared), Ok(expected), "{shown:?} {declared:?}");
        }
        let why = |body: &[u8], declared| value_of(body, declared).expect_err("a reason");
        let half = why(b"{\"a\": ", Declared::Json);
        assert!(half.contains("declared as JSON and can't be taken: the JSON ends in"), "{half}");
        let half = why(b"{\"a\": ", Nothing);
        assert!(half.contains("begins as JSON and can't be taken: the JSON ends in"), "{half}");
        assert!(why(b"<html>", Declared::Json).contains("not one JSON value"));
        assert!(why(b"\x89PNG\0", Nothing).contains("binary"));
        assert_eq!(Declared::of("Application/JSON; charset=utf-8"), Declared::Json);
        assert_eq!(Declared::of("application/problem+json"), Declared::Json);
        assert_eq!((Declared::of("text/html"), Declared::of("")), (Other, Nothing));
    }
}
