//! Requests to the API: with a token that is renewed once when it is refused, answers read up to a
//! limit, refusals judged.

use std::time::Duration;

use moa_core::time::Span;
use moa_ports::agent::{Stream, TaskCtx, TaskError};
use reqwest::header::HeaderMap;
use reqwest::{Client, RequestBuilder, Url};
use serde_json::Value as Json;

use super::account::{Account, Tokens};
use super::refusal;
use crate::http::{chain, read_body, retry_after};
use crate::prepare::now;

const ANSWER_BYTES_MAX: usize = 4 << 20;
/// Longest wait that the service's own `Retry-After` may ask for.
const RETRY_AFTER_MAX: Span = Span::minutes(60);
/// Limit on a request that carries no video.
pub(super) const TIMEOUT: Duration = Duration::from_secs(60);

/// The API, as one attempt sees it.
pub(super) struct Api<'a> {
    pub client: &'a Client,
    pub account: &'a Account,
    pub tokens: &'a Tokens,
    pub ctx: &'a TaskCtx,
}

/// An answer, whatever its status.
pub(super) struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    /// Its body, if it is a success and JSON.
    pub fn json(&self) -> Result<Json, TaskError> {
        if !(200..300).contains(&self.status) {
            return Err(self.refusal());
        }
        serde_json::from_slice(&self.body).map_err(|_| {
            TaskError::Retryable("YouTube answered with something that is not JSON".to_owned())
        })
    }

    /// What its failure means.
    pub fn refusal(&self) -> TaskError {
        let at = now();
        let asked = self.headers.get("retry-after").and_then(|value| value.to_str().ok());
        let asked = asked.and_then(|text| retry_after(text, at));
        let asked = asked.map(|span| Span(span.0.min(RETRY_AFTER_MAX.0)));
        refusal::judge(self.status, &self.body, asked, at)
    }
}

impl Api<'_> {
    /// An address of the API.
    pub fn url(&self, path: &str, query: &[(&str, &str)]) -> Result<Url, TaskError> {
        let joined = self.account.api_url.join(path);
        let mut url = joined.map_err(|e| TaskError::Permanent(format!("{path}: {e}")))?;
        url.query_pairs_mut().extend_pairs(query);
        Ok(url)
    }

    /// Sends what `request` makes. A token that is refused is renewed, once.
    ///
    /// # Errors
    /// No token; or the connection broke, so that nobody knows what was done.
    pub async fn send(
        &self,
        request: impl Fn(&Client) -> RequestBuilder,
    ) -> Result<Answer, TaskError> {
        let mut renewed = false;
        loop {
            let token = self.tokens.get(self.client, self.account).await?;
            let sent = request(self.client).bearer_auth(&token).send().await;
            let response = sent.map_err(|e| broke(&e))?;
            let (status, headers) = (response.status().as_u16(), response.headers().clone());
            if status == 401 {
                self.tokens.forget(self.account, &token);
                if !renewed {
                    renewed = true;
                    continue;
                }
            }
            let (body, whole) =
                read_body(response, ANSWER_BYTES_MAX).await.map_err(|e| broke(&e))?;
            if !whole {
                let why = format!("YouTube's answer has more than {ANSWER_BYTES_MAX} bytes");
                return Err(TaskError::Permanent(why));
            }
            return Ok(Answer { status, headers, body });
        }
    }

    /// Asks for something by GET.
    pub async fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Json, TaskError> {
        let url = self.url(path, query)?;
        self.send(|client| client.get(url.clone()).timeout(TIMEOUT)).await?.json()
    }

    /// Tells people how it goes.
    pub fn log(&self, text: &str) {
        self.ctx.log.write(Stream::Stderr, format!("{text}\n").as_bytes());
    }
}

fn broke(error: &reqwest::Error) -> TaskError {
    TaskError::Retryable(format!("the connection to YouTube broke: {}", chain(error)))
}
