//! A webhook: a POST with JSON, signed as Standard Webhooks (<https://www.standardwebhooks.com>)
//! are: `webhook-id` is the same at each try, `webhook-signature` covers it, the instant and the body.

use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use moa_core::time::Span;
use moa_ports::agent::TaskError;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use ring::hmac;
use serde_json::{Value as Json, json};

use super::post::post;
use super::{Deliver, Note, Secretive, Tools};
use crate::prepare::now;

/// Bytes of the key that is signed with, at least.
const KEY_BYTES_MIN: usize = 16;

/// A POST with JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    /// The address.
    pub url: Secretive,
    /// What it is signed with: `whsec_` and base64, or any text; several with blanks between them
    /// sign each for itself, for a change of keys.
    pub secret: Option<Secretive>,
    /// How long the receiver may take to answer.
    pub timeout: Span,
    /// Whether it is called with what happened itself, an event, and not with what people are told.
    pub events: bool,
}

#[async_trait]
impl Deliver for Webhook {
    async fn deliver(&self, note: &Note, tools: &Tools) -> Result<Json, TaskError> {
        let url = tools.reveal(&self.url)?;
        let body = if self.events { event(note) } else { document(note) }.to_string();
        // A full stop ends the id in what is signed.
        let id = note.key.replace('.', "-");
        let second = now().0.div_euclid(1000).to_string();
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        header(&mut headers, "webhook-id", &id)?;
        header(&mut headers, "webhook-timestamp", &second)?;
        if let Some(parent) = &tools.trace {
            header(&mut headers, "traceparent", parent)?;
        }
        if let Some(secret) = &self.secret {
            let secret = tools.reveal(secret)?;
            let signed = signatures(&secret, &format!("{id}.{second}.{body}"))?;
            header(&mut headers, "webhook-signature", &signed)?;
        }
        let timeout = Duration::from_millis(self.timeout.0);
        let status = post(tools, &url, headers, body.into_bytes(), timeout).await?;
        Ok(json!({ "by": "webhook", "status": status, "id": id }))
    }
}

fn document(note: &Note) -> Json {
    let kind = note.about.as_ref().and_then(|about| about.get("type")).and_then(Json::as_str);
    json!({
        "type": kind.unwrap_or("notification"),
        "timestamp": note.time.to_string(),
        "data": note.document(),
    })
}

/// An event as Standard Webhooks have it.
fn event(note: &Note) -> Json {
    let event = note.about.clone().unwrap_or_default();
    json!({ "type": event["type"], "timestamp": event["time"], "data": event })
}

fn header(headers: &mut HeaderMap, name: &'static str, value: &str) -> Result<(), TaskError> {
    let value = HeaderValue::try_from(value).map_err(|_| {
        TaskError::Permanent(format!("the header {name} can't hold {value:?}; choose another key"))
    })?;
    headers.insert(HeaderName::from_static(name), value);
    Ok(())
}

/// A signature for each key.
fn signatures(secret: &str, content: &str) -> Result<String, TaskError> {
    let keys = secret.split_whitespace().map(key).collect::<Result<Vec<_>, _>>()?;
    if keys.is_empty() {
        return Err(TaskError::Permanent("the secret that it is signed with is empty".into()));
    }
    let sign = |key: &Vec<u8>| {
        let key = hmac::Key::new(hmac::HMAC_SHA256, key);
        format!("v1,{}", STANDARD.encode(hmac::sign(&key, content.as_bytes())))
    };
    Ok(keys.iter().map(sign).collect::<Vec<_>>().join(" "))
}

fn key(secret: &str) -> Result<Vec<u8>, TaskError> {
    let bytes = match secret.strip_prefix("whsec_") {
        None => secret.as_bytes().to_vec(),
        Some(encoded) => STANDARD.decode(encoded).map_err(|_| {
            let why = "the secret that it is signed with is not base64 behind whsec_";
            TaskError::Permanent(why.to_owned())
        })?,
    };
    match bytes.len() < KEY_BYTES_MIN {
        true => Err(TaskError::Permanent(format!(
            "the secret that it is signed with has fewer than {KEY_BYTES_MIN} bytes"
        ))),
        false => Ok(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_those_of_the_standard() {
        // The example of the specification's reference libraries.
        let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        let body = "{\"test\": 2432232314}";
        let content = format!("msg_p5jXN8AQM9LWM0D4loKWxJek.1614265330.{body}");
        let expected = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        assert_eq!(signatures(secret, &content).ok().as_deref(), Some(expected));
        let both = signatures(&format!("{secret} another-secret-of-moa"), &content);
        let both = both.expect("two signatures");
        assert!(both.starts_with(&format!("{expected} v1,")), "{both}");
        assert!(signatures("whsec_???", "").is_err());
        assert!(signatures("short", "").is_err());
        assert!(signatures(" ", "").is_err());
    }
}
