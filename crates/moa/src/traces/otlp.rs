//! Spans as OTLP writes them in JSON: <https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding>.
//!
//! Names and values follow OpenTelemetry's semantic conventions where there is one (`service.name`,
//! `error.type`, the event `exception`), and begin with `moa.` where there is none.

use std::collections::BTreeMap;

use moa_core::step::{ErrorKind, StepError};
use moa_core::time::Millis;
use serde_json::{Value as Json, json};

use super::trail::{Attributes, Span};

/// Bytes of a text; what is longer is cut.
const TEXT_BYTES_MAX: usize = 2048;
/// Numbers of OTLP.
const INTERNAL: u8 = 1;
const CLIENT: u8 = 3;
const FAILED: u8 = 2;

/// Who sends the spans: attributes by name.
pub type Resource = BTreeMap<String, String>;

/// Takes secrets out of a text.
pub type Redact<'a> = &'a (dyn Fn(&str) -> String + Sync);

/// A request with spans that were written by [`span`].
pub fn request(resource: &Resource, spans: &[Json]) -> Json {
    let attributes: Vec<Json> = resource
        .iter()
        .map(|(key, value)| attribute(key, &json!(value), &|text| text.to_owned()))
        .collect();
    json!({"resourceSpans": [{
        "resource": {"attributes": attributes},
        "scopeSpans": [{
            "scope": {"name": "moa", "version": env!("CARGO_PKG_VERSION")},
            "spans": spans,
        }],
    }]})
}

/// A span, without secrets.
pub fn span(span: &Span, redact: Redact<'_>) -> Json {
    let mut attributes = attributes(&span.attributes, redact);
    let mut events: Vec<Json> = Vec::new();
    for (at, name, known) in &span.notes.kept {
        events.push(event(*at, name, self::attributes(known, redact)));
    }
    let mut status = json!({});
    if let Some(StepError { kind, message }) = &span.error {
        let kind = kind_of(*kind);
        let message = cut(&redact(message));
        attributes.push(attribute("error.type", &json!(kind), redact));
        let known = [("exception.type", json!(kind)), ("exception.message", json!(message))];
        events.push(event(span.end, "exception", self::attributes(&known.into(), redact)));
        status = json!({"code": FAILED, "message": message});
    }
    let mut written = json!({
        "traceId": span.trace.to_string(),
        "spanId": span.id.to_string(),
        "flags": 1,
        "name": span.name,
        "kind": if span.call { CLIENT } else { INTERNAL },
        "startTimeUnixNano": nanos(span.start),
        "endTimeUnixNano": nanos(span.end),
        "attributes": attributes,
        "status": status,
    });
    if let Some(parent) = span.parent {
        written["parentSpanId"] = parent.to_string().into();
    }
    if !events.is_empty() {
        written["events"] = events.into();
    }
    if span.notes.dropped > 0 {
        written["droppedEventsCount"] = span.notes.dropped.into();
    }
    if !span.links.is_empty() {
        let link = |(trace, span): &(_, _)| link(trace, span);
        written["links"] = span.links.iter().map(link).collect();
    }
    written
}

fn link(trace: &moa_core::trace::TraceId, span: &moa_core::trace::SpanId) -> Json {
    json!({"traceId": trace.to_string(), "spanId": span.to_string()})
}

fn event(at: Millis, name: &str, attributes: Vec<Json>) -> Json {
    json!({"timeUnixNano": nanos(at), "name": name, "attributes": attributes})
}

fn attributes(known: &Attributes, redact: Redact<'_>) -> Vec<Json> {
    known.iter().map(|(key, value)| attribute(key, value, redact)).collect()
}

fn attribute(key: &str, value: &Json, redact: Redact<'_>) -> Json {
    let value = match value {
        Json::Bool(yes) => json!({"boolValue": yes}),
        // 64 bit integers are texts in this JSON.
        Json::Number(number) if number.is_f64() => json!({"doubleValue": number}),
        Json::Number(number) => json!({"intValue": number.to_string()}),
        Json::String(text) => json!({"stringValue": cut(&redact(text))}),
        other => json!({"stringValue": cut(&redact(&other.to_string()))}),
    };
    json!({"key": key, "value": value})
}

fn kind_of(kind: ErrorKind) -> String {
    let name = serde_json::to_value(kind).unwrap_or_default();
    name.as_str().unwrap_or("_OTHER").to_owned()
}

fn nanos(at: Millis) -> String {
    format!("{}", i128::from(at.0.max(0)) * 1_000_000)
}

fn cut(text: &str) -> String {
    match text.len() > TEXT_BYTES_MAX {
        true => format!("{}...", &text[..text.floor_char_boundary(TEXT_BYTES_MAX)]),
        false => text.to_owned(),
    }
}
