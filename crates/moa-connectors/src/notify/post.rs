//! A POST to a receiver, and what its answer means.

use std::time::Duration;

use moa_core::time::Span;
use moa_ports::agent::TaskError;
use reqwest::header::HeaderMap;
use reqwest::{Response, Url};

use super::{Tools, text};
use crate::http::{chain, read_body, retry_after};
use crate::prepare::now;

/// Longest `Retry-After` that is respected.
const RETRY_AFTER_MAX: Span = Span::minutes(60);
/// Bytes of an answer that are read and shown.
const ANSWER_BYTES_MAX: usize = 500;

/// How a failure begins whose receiver wants no more calls.
const GONE: &str = "HTTP 410 ";

/// Whether that is why a delivery failed.
pub fn is_gone(why: &str) -> bool {
    why.starts_with(GONE)
}

/// Sends it; answers the status of success. Redirects are not followed: what is signed for one
/// receiver, or stands in a secret address, goes nowhere else.
pub(super) async fn post(
    tools: &Tools,
    url: &str,
    headers: HeaderMap,
    body: Vec<u8>,
    timeout: Duration,
) -> Result<u16, TaskError> {
    let wrong = |why: &str| TaskError::Permanent(format!("its address can't be called: {why}"));
    let url = Url::parse(url).map_err(|e| wrong(&e.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(wrong("it begins with neither http:// nor https://"));
    }
    let request = tools.client.get()?.post(url).headers(headers).body(body).timeout(timeout);
    let exchange = async {
        let response = request.send().await?;
        Ok(judged(response).await)
    };
    match exchange.await {
        Ok(judged) => judged,
        Err(e) if reqwest::Error::is_builder(&e) => Err(wrong(&chain(&e))),
        Err(e) if e.is_timeout() => {
            let why = format!("no answer within {timeout:?}");
            Err(TaskError::Retryable(why))
        }
        Err(e) => Err(TaskError::Retryable(chain(&e))),
    }
}

async fn judged(response: Response) -> Result<u16, TaskError> {
    let status = response.status();
    if status.is_success() {
        return Ok(status.as_u16());
    }
    let header = response.headers().get("retry-after");
    let wait = header.and_then(|value| retry_after(value.to_str().ok()?, now()));
    let body = read_body(response, ANSWER_BYTES_MAX).await;
    let body = body.map(|(body, _)| body).unwrap_or_default();
    let said = text::one_line(&String::from_utf8_lossy(&body));
    let mut message = format!("HTTP {status}");
    if status.is_redirection() {
        message.push_str(": redirects are not followed");
    } else if !said.is_empty() {
        message = format!("{message}: {said}");
    }
    Err(classify(status.as_u16(), wait, message))
}

fn classify(status: u16, wait: Option<Span>, message: String) -> TaskError {
    match (status, wait) {
        (408 | 425 | 429 | 500.., Some(after)) => {
            TaskError::RateLimited { message, after: after.min(RETRY_AFTER_MAX) }
        }
        (408 | 425 | 429 | 500.., None) => TaskError::Retryable(message),
        _ => TaskError::Permanent(message),
    }
}

#[cfg(test)]
mod tests {
    use reqwest::StatusCode;

    use super::*;

    #[test]
    fn a_receiver_that_is_gone_is_told_from_others() {
        let said = |status: u16| format!("HTTP {}", StatusCode::from_u16(status).expect("one"));
        assert!(is_gone(&said(410)));
        assert!(!is_gone(&said(404)) && !is_gone("HTTP 500 Internal Server Error: HTTP 410 Gone"));
    }

    #[test]
    fn what_may_pass_is_tried_again() {
        let class = |status, wait| match classify(status, wait, String::new()) {
            TaskError::Permanent(_) => "never",
            TaskError::Retryable(_) => "later",
            TaskError::RateLimited { after, .. } if after == Span::minutes(60) => "in an hour",
            TaskError::RateLimited { .. } => "then",
            _ => "other",
        };
        let expected = [(301, "never"), (400, "never"), (404, "never"), (410, "never")];
        let later = [408, 425, 429, 500, 502, 503, 504].map(|status| (status, "later"));
        for (status, expected) in expected.into_iter().chain(later) {
            assert_eq!(class(status, None), expected, "{status}");
        }
        assert_eq!(class(429, Some(Span::seconds(5))), "then");
        assert_eq!(class(503, Some(Span::minutes(900))), "in an hour");
    }
}
