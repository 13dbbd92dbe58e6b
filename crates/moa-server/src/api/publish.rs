//! Publishing events.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use moa_core::event;
use moa_core::publish::Fault;
use moa_view::events::check_published;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::runs::start::idempotency_key;
use crate::App;
use crate::auth::Identity;
use crate::auth::scope::Resource;
use crate::error::{Code, Problem, Result};
use crate::extract::Json;

/// Events published by one request at most.
const BATCH_MAX: usize = 100;

/// An event to publish.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewEvent {
    /// Its type.
    #[serde(rename = "type")]
    kind: String,
    /// What it carries.
    #[serde(default)]
    data: Value,
    /// The same key is the same event.
    #[serde(default)]
    key: Option<String>,
    /// Where it comes from: a name, a path, a URL.
    #[serde(default)]
    source: Option<String>,
    /// What it is about.
    #[serde(default)]
    subject: Option<String>,
    /// The id of a CloudEvent.
    #[serde(skip)]
    id: Option<String>,
}

/// What became of events.
#[derive(Debug, Serialize, ToSchema)]
pub struct Published {
    /// How many were sent.
    events: usize,
    /// How many of them are new; others had been published before.
    new: usize,
    /// The event number of each, in their order; of one that had been published before, that of then.
    /// null = that was by an earlier moa, which kept none.
    sequences: Vec<Option<u64>>,
}

/// Publish events
///
/// To runs that wait for them, and to triggers. Either as a document (`application/json`), or as
/// CloudEvents 1.0: structured (`application/cloudevents+json`), as a batch
/// (`application/cloudevents-batch+json`), or binary (headers `ce-type`, `ce-source`, `ce-id`). The
/// source and id of a CloudEvent are its key: the same one is published once. `Idempotency-Key` is the
/// key of a document that has none. Answers when all are durable.
#[utoipa::path(
    post, path = "/api/v1/events", tag = "events",
    params(("Idempotency-Key" = Option<String>, Header, description = "The same key is the same event")),
    request_body(content = NewEvent, content_type = "application/json"),
    responses((status = 200, description = "They are published", body = Published)),
)]
pub async fn publish(
    State(app): State<App>,
    who: Identity,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Published>> {
    let mut events: Vec<_> =
        read(&headers, &body)?.into_iter().map(event::Published::from).collect();
    if let (Some(key), [only]) = (idempotency_key(&headers)?, events.as_mut_slice()) {
        only.key.get_or_insert(key);
    }
    // All of them, before the first one is published.
    for event in &events {
        who.must_reach(Resource::Events, Some(&event.event))?;
        check_published(&event.event).map_err(Problem::invalid)?;
        event.fault().map_or(Ok(()), |fault| Err(refused(fault)))?;
    }
    let (mut new, mut sequences) = (0, Vec::with_capacity(events.len()));
    for event in events {
        let posted = app.control().publish(event).await?;
        new += usize::from(posted.new);
        sequences.push(posted.seq);
    }
    Ok(Json(Published { events: sequences.len(), new, sequences }))
}

impl From<NewEvent> for event::Published {
    fn from(event: NewEvent) -> Self {
        let NewEvent { kind, data, key, source, subject, id } = event;
        Self { event: kind, key, source, subject, id, by: None, data: Arc::new(data) }
    }
}

fn refused(fault: Fault) -> Problem {
    let code = match fault {
        Fault::TooLarge => Code::TooLarge,
        Fault::Named | Fault::Said | Fault::TooDeep => Code::InvalidRequest,
    };
    Problem::new(code, fault.to_string())
}

fn read(headers: &HeaderMap, body: &[u8]) -> Result<Vec<NewEvent>> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let kind = kind.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    if headers.contains_key("ce-specversion") {
        return Ok(vec![binary(headers, kind, body)?]);
    }
    match kind.to_ascii_lowercase().as_str() {
        "application/json" => Ok(vec![json(body)?]),
        "application/cloudevents+json" => Ok(vec![structured(json(body)?)?]),
        "application/cloudevents-batch+json" => {
            let events: Vec<CloudEvent> = json(body)?;
            if events.len() > BATCH_MAX {
                let text = format!("a batch has at most {BATCH_MAX} events");
                return Err(Problem::new(Code::TooLarge, text));
            }
            events.into_iter().map(structured).collect()
        }
        _ => Err(Problem::new(Code::UnsupportedMediaType, format!("{kind:?} is no event"))
            .hint("send application/json or application/cloudevents+json")),
    }
}

fn json<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T> {
    serde_json::from_slice(body).map_err(|e| Problem::invalid(format!("the event is wrong: {e}")))
}

/// A CloudEvent in its JSON form. Attributes that moa has no use for are passed over.
#[derive(Debug, Deserialize)]
struct CloudEvent {
    specversion: String,
    id: String,
    source: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    subject: Option<String>,
    #[serde(default)]
    data: Value,
    #[serde(default)]
    data_base64: Option<String>,
}

fn structured(event: CloudEvent) -> Result<NewEvent> {
    let CloudEvent { specversion, id, source, kind, subject, data, data_base64 } = event;
    if data_base64.is_some() {
        return Err(Problem::invalid("data_base64: an event of moa carries JSON"));
    }
    Ok(NewEvent { subject, ..checked(&specversion, id, source, kind, data)? })
}

fn checked(
    version: &str,
    id: String,
    source: String,
    kind: String,
    data: Value,
) -> Result<NewEvent> {
    if version != "1.0" {
        let text = format!("specversion {version:?} is not known; 1.0 is");
        return Err(Problem::invalid(text));
    }
    if id.is_empty() || source.is_empty() || kind.is_empty() {
        return Err(Problem::invalid("id, source and type must not be empty"));
    }
    // The length keeps apart what only together are equal, and a CloudEvent from a plain key.
    let key = Some(format!("cloudevent {}:{source} {id}", source.len()));
    Ok(NewEvent { kind, data, key, source: Some(source), subject: None, id: Some(id) })
}

fn binary(headers: &HeaderMap, kind: &str, body: &[u8]) -> Result<NewEvent> {
    let get = |name: &str| -> Result<String> {
        let value = headers.get(name).and_then(|value| value.to_str().ok());
        let value = value.map(unescaped);
        value.ok_or_else(|| Problem::invalid(format!("the header {name} is missing, or no text")))
    };
    let is_json = kind.eq_ignore_ascii_case("application/json") || kind.ends_with("+json");
    let data = match (body.is_empty(), is_json) {
        (true, _) => Value::Null,
        (false, true) => json(body)?,
        (false, false) => match std::str::from_utf8(body) {
            Ok(text) => text.into(),
            Err(_) => return Err(Problem::invalid("the event carries neither JSON nor text")),
        },
    };
    let (version, id, source) = (get("ce-specversion")?, get("ce-id")?, get("ce-source")?);
    let subject = headers.contains_key("ce-subject").then(|| get("ce-subject")).transpose()?;
    Ok(NewEvent { subject, ..checked(&version, id, source, get("ce-type")?, data)? })
}

/// The value of a header of a CloudEvent: what isn't printable ASCII is percent-encoded there.
fn unescaped(value: &str) -> String {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let Some((first, more)) = rest.split_first() {
        let digits = more.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match byte.filter(|_| *first == b'%') {
            Some(byte) => {
                bytes.push(byte);
                rest = &more[2..];
            }
            None => {
                bytes.push(*first);
                rest = more;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    fn event(headers: &[(&'static str, &'static str)], body: &str) -> Result<Vec<NewEvent>> {
        let pairs = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        read(&pairs.collect(), body.as_bytes())
    }

    #[test]
    fn cloud_events_come_in_three_forms_and_have_one_key() {
        let structured = r#"{"specversion":"1.0","id":"7","source":"/shop","type":"order.paid",
            "subject":"x","data":{"n":1}}"#;
        let binary = [
            ("ce-specversion", "1.0"),
            ("ce-id", "7"),
            ("ce-source", "%2Fshop"),
            ("ce-type", "order.paid"),
            ("content-type", "application/json"),
        ];
        let batch = format!("[{structured}]");
        let batched = [("content-type", "application/cloudevents-batch+json; charset=utf-8")];
        for read in [
            event(&[("content-type", "application/cloudevents+json")], structured),
            event(&binary, r#"{"n":1}"#),
            event(&batched, &batch),
        ] {
            let read = read.expect("it is an event");
            assert_eq!(read.len(), 1);
            assert_eq!(read[0].kind, "order.paid");
            assert_eq!(read[0].key.as_deref(), Some("cloudevent 5:/shop 7"));
            assert_eq!(read[0].data["n"], 1);
        }
    }

    #[test]
    fn what_is_no_event_is_refused() {
        let ce = [("content-type", "application/cloudevents+json")];
        for (headers, body) in [
            (&ce[..], r#"{"specversion":"0.3","id":"7","source":"/s","type":"t"}"#),
            (&ce[..], r#"{"specversion":"1.0","id":"","source":"/s","type":"t"}"#),
            (&ce[..], r#"{"specversion":"1.0","id":"7","type":"t"}"#),
            (
                &ce[..],
                r#"{"specversion":"1.0","id":"7","source":"/","type":"t","data_base64":"AA"}"#,
            ),
            (&[("ce-specversion", "1.0")][..], "{}"),
            (&[("content-type", "application/json")][..], r#"{"type":1}"#),
            (&[("content-type", "text/plain")][..], "hello"),
            (&[][..], ""),
        ] {
            assert!(event(headers, body).is_err(), "{body}");
        }
    }
}
