//! Calls of identity providers: of a bounded size, in a bounded time, and to no other place than the
//! one that was named.

use std::fmt::Write as _;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use reqwest::{Client, RequestBuilder, Response, StatusCode, redirect};

/// Bytes of an answer at most.
pub const ANSWER_BYTES_MAX: usize = 256 << 10;

/// A client that is made when it is needed.
#[derive(Clone)]
pub struct Fetch {
    client: Arc<OnceLock<Result<Client, String>>>,
    wait: Duration,
}

impl std::fmt::Debug for Fetch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fetch").field("wait", &self.wait).finish_non_exhaustive()
    }
}

impl Fetch {
    /// One that waits so long for a whole answer.
    pub fn new(wait: Duration) -> Self {
        Self { client: Arc::default(), wait }
    }

    fn client(&self) -> Result<&Client, String> {
        let client = self.client.get_or_init(|| {
            // Fails when there is one already, which is then used.
            let _ = rustls::crypto::ring::default_provider().install_default();
            let agent = concat!("moa/", env!("CARGO_PKG_VERSION"));
            let builder = Client::builder().redirect(redirect::Policy::none()).user_agent(agent);
            builder.build().map_err(|error| chain(&error))
        });
        client.as_ref().map_err(Clone::clone)
    }

    /// What an address answers with 200.
    ///
    /// # Errors
    /// Why there is no such answer, for people.
    pub async fn get(&self, url: &str) -> Result<Vec<u8>, String> {
        let (status, body) = self.send(self.client()?.get(url)).await?;
        match status {
            StatusCode::OK => Ok(body),
            status => Err(format!("it answers {status}")),
        }
    }

    /// What an address answers to a form.
    ///
    /// # Errors
    /// Why there is no answer, for people.
    pub async fn post(
        &self,
        url: &str,
        form: String,
        login: Option<(&str, &str)>,
    ) -> Result<(StatusCode, Vec<u8>), String> {
        let kind = "application/x-www-form-urlencoded";
        let request = self.client()?.post(url).header("content-type", kind).body(form);
        let request = match login {
            Some((user, secret)) => request.basic_auth(user, Some(secret)),
            None => request,
        };
        self.send(request.header("accept", "application/json")).await
    }

    async fn send(&self, request: RequestBuilder) -> Result<(StatusCode, Vec<u8>), String> {
        let whole = async {
            let response = request.send().await.map_err(|error| chain(&error))?;
            Ok((response.status(), body(response).await?))
        };
        let answer = tokio::time::timeout(self.wait, whole).await;
        answer.unwrap_or_else(|_| Err("it doesn't answer in time".into()))
    }
}

async fn body(mut response: Response) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| chain(&error))? {
        if body.len() + chunk.len() > ANSWER_BYTES_MAX {
            return Err(format!("its answer has more than {ANSWER_BYTES_MAX} bytes"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// An error and what caused it, without the address, which may hold a secret.
fn chain(error: &reqwest::Error) -> String {
    let mut text = match error.url() {
        Some(url) => error.to_string().replace(&format!(" for url ({url})"), ""),
        None => error.to_string(),
    };
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let _ = write!(text, ": {cause}");
        source = cause.source();
    }
    text
}
