//! Webhooks: calls from outside that start runs.
//!
//! A call shows by its signature who makes it ([`signature`]), is answered once it is durable, and is
//! the same event however often it comes: what is signed names it. It reaches no handler that a token
//! protects, and a token opens nothing here.

pub mod signature;

use axum::body::Bytes;
use axum::extract::{Extension, RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use moa_core::limits::SIGNAL_BYTES_MAX;
use moa_view::now;
use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use self::signature::{Call, Verdict};
use crate::App;
use crate::api::runs::list::name;
use crate::control::Hook;
use crate::error::{Code, Problem, Result};
use crate::extract::{Json, Path};
use crate::serve::Peer;

/// How paths of webhooks start.
pub const PATH: &str = "/hooks/";
/// Headers that a run is told.
const HEADERS_MAX: usize = 64;
/// Bytes of a header's value that a run is told.
const VALUE_BYTES_MAX: usize = 1024;

/// A webhook that was taken.
#[derive(Debug, Serialize, ToSchema)]
pub struct Taken {
    /// Whether it is new: one that came before starts nothing again.
    new: bool,
}

/// Take a webhook of a workflow
///
/// That of its only webhook; with several, name one. It is signed as the workflow's file says; the answer
/// comes when it is durable, not when its run is over.
#[utoipa::path(
    post, path = "/hooks/{workflow}", tag = "webhooks",
    params(("workflow" = String, Path, description = "The workflow")),
    request_body(content = Object, content_type = "application/json"),
    responses(
        (status = 202, description = "It is taken", body = Taken),
        (status = 200, description = "It came before; or it is Slack's question", body = Object),
    ),
)]
pub async fn of_workflow(
    State(app): State<App>,
    Path(workflow): Path<String>,
    RawQuery(query): RawQuery,
    peer: Option<Extension<Peer>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response> {
    take(&app, (&workflow, None), query.as_deref(), peer, &headers, &body).await
}

/// Take a webhook of a trigger
///
/// As the one of a workflow, of the webhook with this id.
#[utoipa::path(
    post, path = "/hooks/{workflow}/{trigger}", tag = "webhooks",
    params(
        ("workflow" = String, Path, description = "The workflow"),
        ("trigger" = String, Path, description = "The `id` of its entry in `on`"),
    ),
    request_body(content = Object, content_type = "application/json"),
    responses(
        (status = 202, description = "It is taken", body = Taken),
        (status = 200, description = "It came before; or it is Slack's question", body = Object),
    ),
)]
pub async fn of_trigger(
    State(app): State<App>,
    Path((workflow, trigger)): Path<(String, String)>,
    RawQuery(query): RawQuery,
    peer: Option<Extension<Peer>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response> {
    take(&app, (&workflow, Some(&trigger)), query.as_deref(), peer, &headers, &body).await
}

async fn take(
    app: &App,
    (workflow, trigger): (&str, Option<&str>),
    query: Option<&str>,
    peer: Option<Extension<Peer>>,
    headers: &HeaderMap,
    body: &Bytes,
) -> Result<Response> {
    let hook = find(app, workflow, trigger).await?;
    if body.len() > SIGNAL_BYTES_MAX {
        let text = format!("a webhook has at most {SIGNAL_BYTES_MAX} bytes");
        return Err(Problem::new(Code::TooLarge, text));
    }
    let call = Call { headers, body };
    let delivery = match signature::check(&hook, &call, now()) {
        Verdict::Good { delivery } => delivery,
        Verdict::Challenge(challenge) => {
            return Ok(Json(json!({ "challenge": challenge })).into_response());
        }
        Verdict::Unusable => {
            tracing::warn!(workflow, trigger = %hook.trigger, "the secret of a webhook holds what is no key: \
                after `whsec_` comes base64");
            let text = "what this webhook is checked with can't be used: send it again later";
            return Err(Problem::new(Code::Unavailable, text));
        }
        Verdict::Bad(why) => {
            tracing::warn!(workflow, "a webhook is refused: {why}");
            return Err(refused(app, peer, why));
        }
    };
    let data = json!({
        "id": delivery,
        "body": content(headers, body),
        "headers": told(headers),
        "query": query.map(fields).unwrap_or_default(),
    });
    if data.to_string().len() > SIGNAL_BYTES_MAX {
        let text = format!("what a run is told has at most {SIGNAL_BYTES_MAX} bytes");
        return Err(Problem::new(Code::TooLarge, text));
    }
    let key = key_of(&hook, &delivery);
    let new = app.control().hooked(hook.event, data, key).await?;
    let status = if new { StatusCode::ACCEPTED } else { StatusCode::OK };
    Ok((status, Json(Taken { new })).into_response())
}

async fn find(app: &App, workflow: &str, trigger: Option<&str>) -> Result<Hook> {
    let workflow = name(workflow)?;
    let mut hooks = app.control().hooks(&workflow).await?;
    let unknown = || Problem::not_found("there is no such webhook");
    match trigger {
        Some(trigger) => {
            let found = hooks.into_iter().find(|hook| hook.trigger.as_str() == trigger);
            found.ok_or_else(unknown)
        }
        None if hooks.len() > 1 => {
            Err(unknown().hint(format!("it has several: name one, {PATH}{workflow}/ID")))
        }
        None => hooks.pop().ok_or_else(unknown),
    }
}

/// Refuses whoever isn't who they should be, and listens to an address less often that is wrong often.
fn refused(app: &App, peer: Option<Extension<Peer>>, why: &'static str) -> Problem {
    let said = Problem::new(Code::Unauthenticated, why);
    let Some(Extension(peer)) = peer else { return said };
    let problem = app.auth().wrong(peer.0.ip(), "a webhook");
    if problem.code == Code::TooManyRequests { problem } else { said }
}

/// The event's key. It is one of this webhook alone, and short.
fn key_of(hook: &Hook, delivery: &str) -> String {
    let hash = blake3::hash(format!("{} {delivery}", hook.event).as_bytes());
    format!("webhook {}", hash.to_hex())
}

/// What a call carries: a document, the fields of a form, or text.
fn content(headers: &HeaderMap, body: &[u8]) -> Value {
    if body.is_empty() {
        return Value::Null;
    }
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let kind = kind.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    let text = String::from_utf8_lossy(body);
    if kind.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        return fields(&text);
    }
    serde_json::from_slice(body).unwrap_or_else(|_| text.into_owned().into())
}

/// The fields of a form or a query; of several with a name, the last one.
fn fields(text: &str) -> Value {
    let pairs = url::form_urlencoded::parse(text.as_bytes());
    Value::Object(pairs.map(|(name, value)| (name.into_owned(), value.into())).collect())
}

/// Headers that a run is told: none that opens something elsewhere, or belongs to this connection.
fn told(headers: &HeaderMap) -> Map<String, Value> {
    const OURS: [&str; 7] = [
        "host",
        "connection",
        "content-length",
        "transfer-encoding",
        "te",
        "accept-encoding",
        "upgrade",
    ];
    const SECRET: [&str; 7] =
        ["authorization", "cookie", "signature", "secret", "token", "api-key", "x-forwarded"];
    let fits = |name: &str| !OURS.contains(&name) && !SECRET.iter().any(|s| name.contains(s));
    let kept = headers.iter().filter(|(name, value)| {
        fits(name.as_str()) && value.len() <= VALUE_BYTES_MAX && value.to_str().is_ok()
    });
    let kept = kept.take(HEADERS_MAX);
    kept.map(|(name, value)| (name.as_str().to_owned(), value.to_str().unwrap_or_default().into()))
        .collect()
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn runs_are_told_nothing_that_opens_doors() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("authorization", "Basic x"),
            ("cookie", "a=b"),
            ("x-hub-signature-256", "sha256=0"),
            ("x-gitlab-token", "t"),
            ("x-github-event", "push"),
            ("content-type", "application/json"),
            ("host", "moa"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        let told = told(&headers);
        let mut names: Vec<&String> = told.keys().collect();
        names.sort();
        assert_eq!(names, ["content-type", "x-github-event"]);
    }

    #[test]
    fn bodies_are_documents_forms_or_text() {
        let mut headers = HeaderMap::new();
        assert_eq!(content(&headers, b""), Value::Null);
        assert_eq!(content(&headers, b"{\"a\":1}"), json!({"a": 1}));
        assert_eq!(content(&headers, b"hello"), json!("hello"));
        let form = HeaderValue::from_static("application/x-www-form-urlencoded");
        headers.insert(header::CONTENT_TYPE, form);
        assert_eq!(content(&headers, b"a=1&b=x%20y"), json!({"a": "1", "b": "x y"}));
    }
}
