//! Agents that are services: kind `http`, and the built-in `http`.
//!
//! **Kind `http`**: one request for each attempt. Its body is the document that a program gets on
//! standard input (see `process`); its headers are the agent's own, `Idempotency-Key`, `MOA-Run-Id`,
//! `MOA-Step` and `MOA-Attempt`, and `traceparent` where there are traces. Of several URLs the least loaded healthy one is called.
//! **Built-in `http`**: the request that `params` describe (`url`, `method`, `headers`, `body`), with
//! an `Idempotency-Key`, and `traceparent` where there are traces.
//!
//! *Answer*: a 2xx body is the result: JSON as it is, nothing as null, other text as
//! `{"text": ...}`. 202 means "will call back", for which there is no way yet: a permanent failure.
//! 408, 425, 429, 5xx (but 501 and 505) and `retry_statuses` are tried again; 429 and 503 not before
//! their `Retry-After`. Redirects are not followed, so that credentials go where they were meant to
//! go. All else is permanent. When a connection breaks, or the service fails with a 5xx, after the
//! request went out, nobody knows whether the action happened: an action declared `once` is not
//! repeated then. A service of kind `http` may say in the header `Moa-Usage: usd=0.12, tokens=5321` what
//! it has spent, whatever its status; what can't be read counts as nothing and is told in the log.
//!
//! Absent: HTTP/2, cookies, compression.

use std::error::Error as _;
use std::fmt::Write as _;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use moa_core::agent::{AgentKind, HttpSpec};
use moa_core::limits::OUTPUT_BYTES_MAX;
use moa_core::time::Span;
use moa_ports::agent::{Agent, Output, Stream, Task, TaskCtx, TaskError};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Method, Url};
use serde_json::Value as Json;

use crate::document::Document;
use crate::prepare::text_of;

mod answer;
mod endpoints;

pub(crate) use answer::{read as read_body, retry_after};

pub use endpoints::EndpointState;
use endpoints::Endpoints;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections that are idle for longer are closed, before the service does it.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest `Retry-After` respected by the built-in agent.
const RETRY_AFTER_MAX: Span = Span::minutes(60);

/// The one client for requests that agents make.
#[derive(Clone, Default)]
pub(crate) struct HttpClient(Arc<OnceLock<Result<Client, String>>>);

impl HttpClient {
    /// The client.
    pub fn get(&self) -> Result<&Client, TaskError> {
        let client = self.0.get_or_init(|| build().map_err(|e| chain(&e)));
        client
            .as_ref()
            .map_err(|why| TaskError::Retryable(format!("no HTTP client can be made: {why}")))
    }
}

fn build() -> reqwest::Result<Client> {
    // Fails when there is one already, which is then used.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = || {
        Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .user_agent(concat!("moa/", env!("CARGO_PKG_VERSION")))
    };
    // A machine without certificates of authorities can still call services without TLS.
    builder().build().or_else(|error| {
        tracing::warn!(
            error = chain(&error),
            "no certificates of authorities were found, so no https address can be called"
        );
        builder().tls_certs_only([]).build()
    })
}

/// An error and what caused it, without the URL, which may hold a secret.
pub(crate) fn chain(error: &reqwest::Error) -> String {
    let mut text = match error.url() {
        Some(url) => error.to_string().replace(&format!(" for url ({url})"), ""),
        None => error.to_string(),
    };
    let mut source = error.source();
    while let Some(cause) = source {
        let _ = write!(text, ": {cause}");
        source = cause.source();
    }
    text
}

/// One request, and what is to be made of its answer.
struct Call {
    method: Method,
    headers: HeaderMap,
    body: Option<Vec<u8>>,
    answer_bytes_max: usize,
    retry_after_max: Span,
    retry_statuses: Vec<u16>,
}

/// How a call ended, and whether its endpoint is to be avoided for a while.
struct Ended {
    result: Result<Output, TaskError>,
    /// Nothing was sent, so another endpoint may be asked.
    unsent: bool,
    failing: bool,
}

impl Call {
    /// Sends the request to `url` and judges the answer. Stops when the attempt is cancelled.
    async fn send(&self, client: &Client, url: Url, ctx: &TaskCtx) -> Ended {
        tokio::select! {
            biased;
            () = ctx.cancelled.cancelled() => {
                let why = "it was stopped before the service had answered".to_owned();
                Ended { result: Err(TaskError::Unknown(why)), unsent: false, failing: true }
            }
            ended = self.exchange(client, url, ctx) => ended,
        }
    }

    async fn exchange(&self, client: &Client, url: Url, ctx: &TaskCtx) -> Ended {
        let host = url.host_str().unwrap_or_default().to_owned();
        let mut request = client.request(self.method.clone(), url.clone());
        request = request.headers(self.headers.clone());
        if let Some(body) = &self.body {
            request = request.body(body.clone());
        }
        match request.send().await {
            Ok(response) => {
                let failing = matches!(response.status().as_u16(), 502..=504);
                answer::spent(&response, ctx);
                let result = answer::judge(self, response, ctx).await;
                Ended { result, unsent: false, failing }
            }
            Err(e) if e.is_builder() => {
                let why = format!("the request can't be made: {}", chain(&e));
                Ended { result: Err(TaskError::Permanent(why)), unsent: false, failing: false }
            }
            Err(e) if e.is_connect() => {
                let why = format!("can't connect to {host}: {}", chain(&e));
                ctx.log.write(Stream::Stderr, format!("{why}\n").as_bytes());
                Ended { result: Err(TaskError::Retryable(why)), unsent: true, failing: true }
            }
            Err(e) => {
                let why = format!("the connection to {host} broke: {}", chain(&e));
                Ended { result: Err(TaskError::Unknown(why)), unsent: false, failing: true }
            }
        }
    }
}

/// The address, if it is one that can be called.
fn address(text: &str) -> Result<Url, TaskError> {
    let wrong = |why: &str| TaskError::Permanent(format!("the URL can't be called: {why}"));
    let url = Url::parse(text).map_err(|e| wrong(&e.to_string()))?;
    match url.scheme() {
        "http" | "https" => Ok(url),
        other => Err(wrong(&format!("its scheme is {other}, not http or https"))),
    }
}

fn add_header(headers: &mut HeaderMap, name: &str, value: &str) -> Result<(), TaskError> {
    let wrong =
        |what: &str| TaskError::Permanent(format!("the header {name:?} can't be sent: {what}"));
    let key = HeaderName::try_from(name).map_err(|_| wrong("it is no name of a header"))?;
    let mut value = HeaderValue::try_from(value)
        .map_err(|_| wrong("its value holds characters that no header may"))?;
    value.set_sensitive(true);
    headers.insert(key, value);
    Ok(())
}

/// Says of which span the request is, unless the agent or the step says something else after it.
fn add_trace(headers: &mut HeaderMap, ctx: &TaskCtx, task: &Task) -> Result<(), TaskError> {
    match ctx.traced.and_then(|share| task.trace_parent(share)) {
        Some(parent) => add_header(headers, "traceparent", &parent),
        None => Ok(()),
    }
}

fn method(text: &str) -> Result<Method, TaskError> {
    Method::from_bytes(text.to_ascii_uppercase().as_bytes())
        .map_err(|_| TaskError::Permanent(format!("{text:?} is no HTTP method")))
}

fn has_body(method: &Method) -> bool {
    !matches!(*method, Method::GET | Method::HEAD)
}

/// The kind `http`.
pub(crate) struct Service {
    client: HttpClient,
    endpoints: Endpoints,
}

impl Service {
    pub fn new(client: HttpClient) -> Self {
        Self { client, endpoints: Endpoints::default() }
    }

    /// What is known of each of these addresses.
    pub fn states(&self, urls: &[String]) -> Vec<EndpointState> {
        self.endpoints.states(urls, Instant::now())
    }

    fn call(spec: &HttpSpec, ctx: &TaskCtx, task: &Task) -> Result<Call, TaskError> {
        let mut headers = HeaderMap::new();
        headers.insert("accept", HeaderValue::from_static("application/json, */*;q=0.5"));
        let method = method(&spec.method)?;
        let body = has_body(&method).then(|| Document::new(ctx, task).to_bytes());
        if body.is_some() {
            headers.insert("content-type", HeaderValue::from_static("application/json"));
        }
        add_trace(&mut headers, ctx, task)?;
        for (name, value) in &*ctx.headers {
            add_header(&mut headers, name, value)?;
        }
        add_header(&mut headers, "idempotency-key", &task.idempotency_key)?;
        add_header(&mut headers, "moa-run-id", &task.run.to_string())?;
        add_header(&mut headers, "moa-step", &task.step)?;
        add_header(&mut headers, "moa-attempt", &task.attempt.to_string())?;
        let most = usize::try_from(spec.response_bytes_max).unwrap_or(usize::MAX);
        Ok(Call {
            method,
            headers,
            body,
            answer_bytes_max: most.min(OUTPUT_BYTES_MAX),
            retry_after_max: spec.retry_after_max,
            retry_statuses: spec.retry_statuses.clone(),
        })
    }
}

#[async_trait]
impl Agent for Service {
    async fn run(&self, ctx: TaskCtx, task: Arc<Task>) -> Result<Output, TaskError> {
        let AgentKind::Http(spec) = &ctx.spec.kind else {
            let why = format!("agent `{}` is no HTTP service", ctx.spec.id);
            return Err(TaskError::Permanent(why));
        };
        let call = Self::call(spec, &ctx, &task)?;
        let client = self.client.get()?;
        let mut left = spec.urls.clone();
        loop {
            let Some(endpoint) = self.endpoints.choose(&left, Instant::now()) else {
                return Err(TaskError::Permanent("the agent has no URL".to_owned()));
            };
            let ended = call.send(client, address(endpoint.url())?, &ctx).await;
            endpoint.ended(ended.failing, Instant::now());
            left.retain(|url| url != endpoint.url());
            if !ended.unsent || left.is_empty() {
                return ended.result;
            }
        }
    }
}

/// The built-in agent `http`.
pub(crate) struct Request {
    client: HttpClient,
}

impl Request {
    pub fn new(client: HttpClient) -> Self {
        Self { client }
    }

    fn call(ctx: &TaskCtx, task: &Task) -> Result<(Url, Call), TaskError> {
        let params = &ctx.params;
        let permanent = |why: &str| TaskError::Permanent(why.to_owned());
        let params =
            params.as_object().ok_or_else(|| permanent("an http step needs params with `url`"))?;
        if let Some(unknown) =
            params.keys().find(|k| !["url", "method", "headers", "body"].contains(&k.as_str()))
        {
            return Err(TaskError::Permanent(format!(
                "an http step has no param `{unknown}`; it has `url`, `method`, `headers`, `body`"
            )));
        }
        let text = |name: &str| match params.get(name) {
            None | Some(Json::Null) => Ok(None),
            Some(Json::String(text)) => Ok(Some(text.as_str())),
            Some(_) => Err(TaskError::Permanent(format!("`{name}` must be a text"))),
        };
        let url = address(text("url")?.ok_or_else(|| permanent("an http step needs a `url`"))?)?;
        let mut headers = HeaderMap::new();
        let body = match params.get("body") {
            None | Some(Json::Null) => None,
            Some(Json::String(text)) => Some(text.clone().into_bytes()),
            Some(other) => {
                headers.insert("content-type", HeaderValue::from_static("application/json"));
                Some(other.to_string().into_bytes())
            }
        };
        let method = match text("method")? {
            Some(text) => method(text)?,
            None if body.is_some() => Method::POST,
            None => Method::GET,
        };
        add_header(&mut headers, "idempotency-key", &task.idempotency_key)?;
        add_trace(&mut headers, ctx, task)?;
        match params.get("headers") {
            None | Some(Json::Null) => {}
            Some(Json::Object(map)) => {
                for (name, value) in map {
                    add_header(&mut headers, name, &text_of(value.clone()))?;
                }
            }
            Some(_) => return Err(permanent("`headers` must be a mapping of texts")),
        }
        let call = Call {
            method,
            headers,
            body,
            answer_bytes_max: OUTPUT_BYTES_MAX,
            retry_after_max: RETRY_AFTER_MAX,
            retry_statuses: Vec::new(),
        };
        Ok((url, call))
    }
}

#[async_trait]
impl Agent for Request {
    async fn run(&self, ctx: TaskCtx, task: Arc<Task>) -> Result<Output, TaskError> {
        let (url, call) = Self::call(&ctx, &task)?;
        call.send(self.client.get()?, url, &ctx).await.result
    }
}
