//! Sends traces to a collector: OTLP over HTTP, in JSON.
//!
//! What the answer means is what the specification of OTLP says, but for who asks and where: what a
//! wrong address or a wrong token brings (401, 403, 404, a redirect) is mended by people, so it is
//! told apart from what the collector will never take.

use std::collections::BTreeMap;
use std::time::Duration;

use moa_core::time::Span;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Response, Url};
use serde_json::Value as Json;

use crate::http::{HttpClient, chain, read_body, retry_after};
use crate::prepare::now;

/// The path that is added to the address of a collector.
const PATH: &str = "/v1/traces";
/// Longest `Retry-After` that is respected.
const RETRY_AFTER_MAX: Span = Span::minutes(60);
/// Bytes of an answer that are read, and characters of it that are shown.
const ANSWER_BYTES_MAX: usize = 16 << 10;
const SHOWN_CHARS_MAX: usize = 300;

/// A collector.
#[derive(Clone, Default)]
pub struct Collector(HttpClient);

/// Where and how something is sent.
#[derive(Clone)]
pub struct Target {
    /// The address; `/v1/traces` is added unless `exact`, or it is there.
    pub endpoint: String,
    /// Whether the address is whole.
    pub exact: bool,
    /// Headers of the request.
    pub headers: BTreeMap<String, String>,
    /// How long the collector may take.
    pub timeout: Duration,
}

/// Why something was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It may be taken later, but not before this time.
    #[error("{why}")]
    Later {
        /// What went wrong.
        why: String,
        /// How long the collector wants to be left alone.
        after: Option<Span>,
    },
    /// It will never be taken.
    #[error("{0}")]
    Never(String),
}

/// What was taken.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Taken {
    /// Spans that the collector rejected although it took the others.
    pub rejected: u64,
    /// What it said.
    pub message: String,
}

impl Collector {
    /// Sends a request; answers when the collector has it.
    ///
    /// # Errors
    /// What the collector, or the way to it, says.
    pub async fn send(&self, target: &Target, body: Vec<u8>) -> Result<Taken, Refused> {
        let later = |why: String| Refused::Later { why, after: None };
        let url = address(target).map_err(later)?;
        let headers = headers(&target.headers).map_err(later)?;
        let client = self.0.get().map_err(|e| later(e.to_string()))?;
        let request = client.post(url).headers(headers).body(body).timeout(target.timeout);
        match request.send().await {
            Ok(response) => judge(response).await,
            Err(e) if e.is_timeout() => Err(later(format!("no answer in {:?}", target.timeout))),
            Err(e) => Err(later(chain(&e))),
        }
    }
}

fn address(target: &Target) -> Result<Url, String> {
    let wrong = |why: String| format!("the address of the collector can't be called: {why}");
    let mut url = Url::parse(&target.endpoint).map_err(|e| wrong(e.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(wrong("it begins with neither http:// nor https://".to_owned()));
    }
    let path = url.path().trim_end_matches('/').to_owned();
    if !target.exact && !path.ends_with(PATH) {
        url.set_path(&format!("{path}{PATH}"));
    }
    Ok(url)
}

fn headers(given: &BTreeMap<String, String>) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for (name, value) in given {
        let wrong = || format!("the header {name:?} can't be sent");
        let key = HeaderName::try_from(name.as_str()).map_err(|_| wrong())?;
        let mut value = HeaderValue::try_from(value.as_str()).map_err(|_| wrong())?;
        value.set_sensitive(true);
        headers.insert(key, value);
    }
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(headers)
}

async fn judge(response: Response) -> Result<Taken, Refused> {
    let status = response.status();
    let wait = response.headers().get("retry-after");
    let wait = wait.and_then(|value| retry_after(value.to_str().ok()?, now()));
    let body = read_body(response, ANSWER_BYTES_MAX).await;
    let body = body.map(|(body, _)| body).unwrap_or_default();
    if status.is_success() {
        return Ok(taken(&body));
    }
    let said = String::from_utf8_lossy(&body);
    let said: String = said.split_whitespace().collect::<Vec<_>>().join(" ");
    let said: String = said.chars().filter(|c| !c.is_control()).take(SHOWN_CHARS_MAX).collect();
    let why = match said.is_empty() {
        true => format!("HTTP {status}"),
        false => format!("HTTP {status}: {said}"),
    };
    let after = wait.map(|after| after.min(RETRY_AFTER_MAX));
    Err(match is_final(status.as_u16()) {
        true => Refused::Never(why),
        false => Refused::Later { why, after },
    })
}

/// Whether the same request will never be taken, whatever people mend.
fn is_final(status: u16) -> bool {
    matches!(status, 400 | 411 | 413 | 415 | 422)
}

/// What a collector says of what it took; one that says nothing took all.
fn taken(body: &[u8]) -> Taken {
    let answer: Json = serde_json::from_slice(body).unwrap_or_default();
    let partial = &answer["partialSuccess"];
    // 64 bit numbers are texts in this JSON; some write numbers.
    let rejected = &partial["rejectedSpans"];
    let rejected = rejected.as_u64().or_else(|| rejected.as_str()?.parse().ok());
    let message = partial["errorMessage"].as_str().unwrap_or_default();
    let message = message.chars().filter(|c| !c.is_control()).take(SHOWN_CHARS_MAX).collect();
    Taken { rejected: rejected.unwrap_or(0), message }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_those_of_the_specification() {
        let of = |endpoint: &str, exact| {
            let (headers, timeout) = (BTreeMap::new(), Duration::from_secs(1));
            let target = Target { endpoint: endpoint.into(), exact, headers, timeout };
            address(&target).map(|url| url.to_string())
        };
        let local = "http://127.0.0.1:4318/v1/traces";
        for endpoint in ["http://127.0.0.1:4318", "http://127.0.0.1:4318/", local] {
            assert_eq!(of(endpoint, false).as_deref(), Ok(local));
        }
        let below = of("https://collect.example/otlp/", false);
        assert_eq!(below.as_deref(), Ok("https://collect.example/otlp/v1/traces"));
        let exact = of("http://127.0.0.1:4318/here", true);
        assert_eq!(exact.as_deref(), Ok("http://127.0.0.1:4318/here"));
        assert!(of("ftp://127.0.0.1", false).is_err() && of("collector", false).is_err());
    }

    #[test]
    fn what_was_rejected_is_told() {
        let some = br#"{"partialSuccess":{"rejectedSpans":"3","errorMessage":"too old"}}"#;
        assert_eq!(taken(some), Taken { rejected: 3, message: "too old".into() });
        assert_eq!(taken(b"{}"), Taken::default());
        assert_eq!(taken(b"thanks"), Taken::default());
    }
}
