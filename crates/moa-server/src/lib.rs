//! The control plane of a node: its HTTP API and its dashboard.
//!
//! A request passes, from the outside in: [`serve`] (limits of connections), [`outside`] (request
//! ids, headers, problem documents), [`auth::guard`] (hosts, origins), [`auth::identify`] (who
//! asks), and then the check of its route ([`routes`]) and its handler. [`api`] and [`pages`] hold the
//! tables of routes, one file for each resource and page. Reads go through the store's views
//! ([`moa_view`]), all else through the node ([`control::Control`]): the same code that the commands
//! use. Absent by intent: any concrete store, the project's files, and what a run does.

pub mod api;
pub mod auth;
pub mod control;
pub mod error;
pub mod exposition;
pub mod extract;
pub mod hooks;
pub mod newcomers;
pub mod outside;
pub mod pages;
pub mod routes;
pub mod serve;
pub mod stream;
pub mod tls;
pub mod turns;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use moa_view::reader::Reader;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::timeout::RequestBodyTimeoutLayer;
use utoipa::openapi::OpenApi;

use crate::auth::Auth;
use crate::auth::guard::Hosts;
use crate::auth::links::{Grant, LINK_WORKS, Made};
use crate::control::Control;
use crate::exposition::Requests;
use crate::routes::Row;
use crate::serve::Waits;

/// Bytes of a body at most: params at their largest, doubled by escapes, and the rest.
pub const BODY_BYTES_MAX: usize = 4 << 20;
/// Streams of events at once.
const STREAMS_MAX: usize = 2000;
/// How long a handler may take.
const ANSWER_WAIT: Duration = Duration::from_secs(60);

/// How a server is started.
#[derive(Debug)]
pub struct Options {
    /// The project's name, for people.
    pub project: String,
    /// The project's state folder, where tokens are kept.
    pub state: PathBuf,
    /// Where it listens.
    pub address: SocketAddr,
    /// Names that it is called by, beside `localhost` and addresses.
    pub hosts: Vec<String>,
    /// The address that people use, when it isn't the one that it listens on.
    pub public_url: Option<String>,
    /// Requests of one caller in each second; twice as many at once.
    pub requests_per_second: u32,
    /// Whether it speaks TLS itself.
    pub tls: bool,
    /// How long clients are waited for.
    pub waits: Waits,
    /// Whose JWTs are believed.
    pub jwt: Vec<auth::jwt::Issuer>,
    /// Sign-in with a provider.
    pub oidc: Option<auth::oidc::Oidc>,
    /// Where who listens is told, so that thousands who have something to hear at once delay no request.
    pub listeners: tokio::runtime::Handle,
}

/// What handlers work with.
#[derive(Clone)]
pub struct App(Arc<Inner>);

struct Inner {
    project: String,
    base_url: String,
    control: Arc<dyn Control>,
    reader: Reader,
    auth: Arc<Auth>,
    hosts: Hosts,
    secure: bool,
    waits: Waits,
    /// As programs get it; made when somebody asks for it first.
    document: OnceLock<Bytes>,
    ending: watch::Receiver<bool>,
    streams: Arc<Semaphore>,
    comparisons: turns::Turns,
    hub: stream::Hub,
    listeners: tokio::runtime::Handle,
    requests: Requests,
    standings: api::webhooks::Standings,
}

impl App {
    /// A server for a node; streams end when `ending` says true.
    pub fn new(options: Options, control: Arc<dyn Control>, ending: watch::Receiver<bool>) -> Self {
        let Options { project, state, address, hosts, public_url, tls, waits, .. } = options;
        let (rate, jwt, oidc) = (options.requests_per_second, options.jwt, options.oidc);
        let secure = tls || public_url.as_ref().is_some_and(|url| url.starts_with("https://"));
        let scheme = if tls { "https" } else { "http" };
        let base_url =
            public_url.clone().unwrap_or_else(|| format!("{scheme}://{}", shown(address)));
        Self(Arc::new(Inner {
            project,
            base_url: base_url.trim_end_matches('/').to_owned(),
            reader: Reader::new(control.views()),
            control,
            auth: Arc::new(Auth::new(&state, address.port(), secure, rate, (jwt, oidc))),
            hosts: Hosts::new(&hosts, public_url.as_deref()),
            secure,
            waits,
            document: OnceLock::new(),
            ending,
            streams: Arc::new(Semaphore::new(STREAMS_MAX)),
            comparisons: turns::Turns::default(),
            hub: stream::Hub::default(),
            listeners: options.listeners,
            requests: Requests::default(),
            standings: api::webhooks::Standings::default(),
        }))
    }

    /// The node.
    pub fn control(&self) -> &dyn Control {
        &*self.0.control
    }

    /// How deliveries of webhooks stand, as they were counted last.
    pub fn standings(&self) -> &api::webhooks::Standings {
        &self.0.standings
    }

    /// What its store holds.
    pub fn reader(&self) -> &Reader {
        &self.0.reader
    }

    /// Who may ask.
    pub fn auth(&self) -> &Auth {
        &self.0.auth
    }

    /// The names that it is called by.
    pub fn hosts(&self) -> &Hosts {
        &self.0.hosts
    }

    /// Whether browsers come through TLS.
    pub fn is_secure(&self) -> bool {
        self.0.secure
    }

    /// The project's name.
    pub fn project(&self) -> &str {
        &self.0.project
    }

    /// What it has answered, in numbers.
    pub fn requests(&self) -> &Requests {
        &self.0.requests
    }

    /// The document of the API, as JSON.
    pub fn document(&self) -> &Bytes {
        let make = || Bytes::from(serde_json::to_vec(&table().1).unwrap_or_default());
        self.0.document.get_or_init(make)
    }

    /// The address that people use, without a slash at its end.
    pub fn base_url(&self) -> &str {
        &self.0.base_url
    }

    /// Says when the server ends.
    pub fn ending(&self) -> watch::Receiver<bool> {
        self.0.ending.clone()
    }

    /// A place for a stream, while it lasts.
    ///
    /// # Errors
    /// There are too many streams.
    pub fn stream_place(&self) -> error::Result<OwnedSemaphorePermit> {
        self.0.streams.clone().try_acquire_owned().map_err(|_| {
            let text = format!("there are {STREAMS_MAX} streams already");
            error::Problem::new(error::Code::Unavailable, text)
        })
    }

    /// Where who listens is told.
    pub fn listeners(&self) -> &tokio::runtime::Handle {
        &self.0.listeners
    }

    /// Comparisons of runs, which are made one at a time.
    pub fn comparisons(&self) -> &turns::Turns {
        &self.0.comparisons
    }

    /// What streams share.
    pub fn hub(&self) -> &stream::Hub {
        &self.0.hub
    }

    /// Writes down what is refused, until the server is to end. What it has begun to write it writes
    /// to the end: it must not be dropped before.
    pub async fn write_refusals(&self) {
        let mut ending = self.ending();
        loop {
            let due = tokio::select! {
                () = serve::stopped(&mut ending) => return,
                due = self.auth().refusals.next() => due,
            };
            self.write(due).await;
        }
    }

    /// Writes down what is left of that.
    pub async fn last_refusals(&self) {
        self.write(self.auth().refusals.rest()).await;
    }

    async fn write(&self, refusals: Vec<auth::refusals::Refusal>) {
        for refusal in refusals {
            if let Err(failure) = self.control().note_refusal(refusal).await {
                tracing::error!("a refusal is not in the audit log: {}", failure.message);
            }
        }
    }

    /// What makes links that sign browsers in; it keeps the node of this server from nothing.
    pub fn sign_in(&self) -> SignIn {
        SignIn { auth: self.0.auth.clone(), base_url: self.0.base_url.clone() }
    }

    /// The router with everything in front of it.
    pub fn router(&self) -> Router {
        let (router, _, _) = all(None).finish();
        let panicked = CatchPanicLayer::custom(|panic| {
            tracing::error!("a handler panicked: {}", said(&panic));
            let text = "moa failed on this request; its log says more";
            error::Problem::new(error::Code::Internal, text).into_response()
        });
        router
            .fallback(async || error::Problem::not_found("there is nothing at this path"))
            .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
            .layer(from_fn(in_time))
            .layer(RequestBodyTimeoutLayer::new(self.0.waits.body))
            .layer(from_fn_with_state(self.clone(), auth::identify))
            .layer(from_fn_with_state(self.clone(), auth::guard::guard))
            .layer(panicked)
            .layer(from_fn_with_state(self.clone(), outside::outside))
            .with_state(self.clone())
    }
}

/// Makes links that sign browsers in.
#[derive(Debug, Clone)]
pub struct SignIn {
    auth: Arc<Auth>,
    base_url: String,
}

impl SignIn {
    /// The address of the server, as people use it.
    pub fn base_url(&self) -> &str {
        &self.base_url
    }

    /// A link that signs a browser in, once and soon; with a file that leads there, if it is asked
    /// for.
    ///
    /// # Errors
    /// The file can't be written; there are too many links.
    ///
    /// # Panics
    /// With a file, outside of a runtime.
    pub fn link(&self, grant: Grant, with_page: bool) -> io::Result<Made> {
        let before = format!("{}/sign-in?code=", self.base_url);
        let made = self.auth.links.make(&before, grant, Instant::now(), with_page)?;
        if with_page {
            let auth = Arc::downgrade(&self.auth);
            tokio::spawn(async move {
                tokio::time::sleep(LINK_WORKS).await;
                if let Some(auth) = auth.upgrade() {
                    auth.links.forget(Instant::now());
                }
            });
        }
        Ok(made)
    }
}

/// Every route: the router, the API's document, and who may ask for what.
pub fn table() -> (Router<App>, OpenApi, Vec<Row>) {
    let (router, document, rows) = all(Some(api::document())).finish();
    (router, document.unwrap_or_default(), rows)
}

/// Who may ask for what, without the document.
pub fn rows() -> &'static [Row] {
    static ROWS: OnceLock<Vec<Row>> = OnceLock::new();
    ROWS.get_or_init(|| all(None).finish().2)
}

fn all(document: Option<OpenApi>) -> routes::Routes {
    pages::add(api::add(routes::Routes::new(document)))
}

/// Lets a handler take as long as it may: what it sends then is limited by its reader.
async fn in_time(request: Request, next: Next) -> Response {
    let wait = match request.uri().path() {
        api::backup::PATH => api::backup::MADE_WITHIN,
        _ => ANSWER_WAIT,
    };
    let answer = tokio::time::timeout(wait, next.run(request)).await;
    answer.unwrap_or_else(|_| StatusCode::GATEWAY_TIMEOUT.into_response())
}

/// An address as a browser can use it: one for all interfaces is reached through the loopback.
fn shown(address: SocketAddr) -> SocketAddr {
    let mut address = address;
    match address {
        SocketAddr::V4(a) if a.ip().is_unspecified() => address.set_ip([127, 0, 0, 1].into()),
        SocketAddr::V6(a) if a.ip().is_unspecified() => {
            address.set_ip(std::net::Ipv6Addr::LOCALHOST.into());
        }
        _ => {}
    }
    address
}

/// What a panic said.
fn said(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("nothing")
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::routing::get;
    use tower::ServiceExt;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_backup_may_take_longer_than_other_answers() {
        let slow = async || tokio::time::sleep(ANSWER_WAIT * 5).await;
        let router = Router::new()
            .route(api::backup::PATH, get(slow))
            .route("/other", get(slow))
            .layer(from_fn(in_time));
        let ask = async |path: &str| {
            let request = Request::get(path).body(Body::empty()).expect("a request");
            router.clone().oneshot(request).await.expect("an answer").status()
        };
        assert_eq!(ask(api::backup::PATH).await, StatusCode::OK);
        assert_eq!(ask("/other").await, StatusCode::GATEWAY_TIMEOUT);
    }
}
