//! A node on another machine, or of another user: its API, as commands use it.
//!
//! What is read comes as the rows that the store has ([`views`]), so that everything is shown by the
//! code that shows a project of this machine; what changes something goes to the API's own paths
//! ([`acts`]). Whoever answers there is not trusted: an answer has a limit, its text is shown as any
//! text, and a token goes to the address that it was given for and nowhere else.

mod acts;
mod answer;
mod backup;
mod contexts;
mod events;
mod links;
mod pages;
mod project;
mod resources;
mod views;
mod webhooks;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use moa_server::tls::AUTHORITY_AS_SERVER;
use moa_view::rows::{Ask, Question};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, IF_MATCH};
use reqwest::{Client, Method, RequestBuilder, Response, Url};
use serde::de::DeserializeOwned;
use serde_json::Value as Json;
use zeroize::Zeroizing;

use crate::exit::{Exit, Failure, Result};
use crate::reader::Reader;
pub use acts::Tried;
pub use backup::Sent;
pub use contexts::{Chosen, Contexts, LOCAL, Stored, by, choose, token_of_flags};
pub use links::Pages;

/// Bytes of an answer at most.
pub const ANSWER_BYTES_MAX: usize = 64 << 20;
/// How long a connection may take.
const CONNECT_WAIT: Duration = Duration::from_secs(10);
/// How long an answer may take.
const ANSWER_WAIT: Duration = Duration::from_secs(100);
/// How long a node may let wait that has too many requests, all waits of a request together.
const BUSY_WAIT_MAX: Duration = Duration::from_secs(60);
/// Pauses before what broke is asked again.
const AGAIN_AFTER: [Duration; 4] = [
    Duration::from_millis(200),
    Duration::from_secs(1),
    Duration::from_secs(3),
    Duration::from_secs(5),
];
/// Bytes of a file of certificates at most.
const CERTIFICATES_BYTES_MAX: u64 = 1 << 20;

/// A node that is reached by its API.
#[derive(Clone)]
pub struct Remote(Arc<Inner>);

struct Inner {
    url: Url,
    /// How it was chosen, for people: `--url`, `the context prod`.
    by: String,
    token: Option<Token>,
    client: Client,
}

/// A token, and where it came from.
#[derive(Clone)]
pub struct Token {
    /// It.
    pub text: Zeroizing<String>,
    /// Where it came from, for people: `MOA_TOKEN`.
    pub from: String,
}

/// A request.
struct Call<'a> {
    method: Method,
    path: &'a str,
    query: Vec<(&'a str, String)>,
    body: Option<Json>,
    key: Option<String>,
    /// What it takes for the thing that it changes: `*` = whatever it is.
    if_match: Option<&'a str>,
    /// Whether it may be sent again when nobody knows what became of it.
    again: bool,
}

impl<'a> Call<'a> {
    fn get(path: &'a str) -> Self {
        let (query, body, key) = (Vec::new(), None, None);
        Self { method: Method::GET, path, query, body, key, if_match: None, again: true }
    }

    fn post(path: &'a str, body: Option<Json>) -> Self {
        Self { method: Method::POST, body, again: false, ..Self::get(path) }
    }

    /// The same key is the same request, so it may be sent again.
    fn keyed(self, key: String) -> Self {
        Self { key: Some(key), again: true, ..self }
    }

    fn repeatable(self) -> Self {
        Self { again: true, ..self }
    }
}

/// What a node answered.
struct Answer {
    headers: HeaderMap,
    body: Vec<u8>,
}

/// Why there is no answer.
enum Broken {
    /// Nothing was sent.
    Unreached(Failure),
    /// Nobody knows what became of it.
    Unknown(Failure),
    /// The node has too many requests.
    Busy(Duration, Failure),
    /// It was refused, or the answer makes no sense.
    Refused(Failure),
}

/// How often something has been asked for.
struct Times {
    /// Whether it does no harm to ask again.
    again: bool,
    began: Instant,
    pauses: std::array::IntoIter<Duration, 4>,
    sent: bool,
}

impl Times {
    fn new(again: bool) -> Self {
        Self { again, began: Instant::now(), pauses: AGAIN_AFTER.into_iter(), sent: false }
    }

    /// Waits until it is to be asked for again, if it is.
    async fn wait_after(&mut self, broken: Broken) -> Result<()> {
        let pause = match broken {
            Broken::Refused(failure) => return Err(failure),
            Broken::Busy(wait, failure) if self.began.elapsed() + wait > BUSY_WAIT_MAX => {
                return Err(failure);
            }
            Broken::Busy(wait, _) => wait,
            // A node that was never there is said at once.
            Broken::Unreached(failure) if !self.sent => return Err(failure),
            Broken::Unreached(failure) | Broken::Unknown(failure) => {
                self.sent = true;
                self.pauses.next().filter(|_| self.again).ok_or(failure)?
            }
        };
        tokio::time::sleep(pause).await;
        Ok(())
    }
}

impl Remote {
    /// A node at an address.
    ///
    /// # Errors
    /// It is no address, or there are no certificates by which a node could be known.
    pub fn new(
        url: &str,
        by: String,
        token: Option<Token>,
        ca_cert: Option<&Path>,
    ) -> Result<Self> {
        let url = address(url)?;
        let client = client(ca_cert, is_here(&url))?;
        Ok(Self(Arc::new(Inner { url, by, token, client })))
    }

    /// Its address, for people.
    pub fn url(&self) -> &str {
        self.0.url.as_str().trim_end_matches('/')
    }

    /// How it was chosen, for people.
    pub fn by(&self) -> &str {
        &self.0.by
    }

    /// Where its token came from, for people.
    pub fn token_from(&self) -> Option<&str> {
        self.0.token.as_ref().map(|token| token.from.as_str())
    }

    /// Whether a token goes over a network in the clear.
    pub fn is_open(&self) -> bool {
        self.0.url.scheme() == "http" && !is_here(&self.0.url) && self.0.token.is_some()
    }

    /// What its store holds.
    pub fn reader(&self) -> Reader {
        Reader::new(Arc::new(self.clone()))
    }

    /// Asks for rows.
    pub async fn ask<T: DeserializeOwned>(&self, ask: Ask) -> Result<T> {
        let question = serde_json::to_value(Question::new(ask))
            .map_err(|e| Failure::usage(format!("the question can't be written: {e}")))?;
        let call = Call::post("/api/v1/rows", Some(question)).repeatable();
        self.json(call).await
    }

    /// Sends a request, and reads the JSON of its answer.
    async fn json<T: DeserializeOwned>(&self, call: Call<'_>) -> Result<T> {
        let path = call.path.to_owned();
        let answer = self.call(call).await?;
        answer::read(self, &path, &answer.headers, &answer.body)
    }

    /// Sends a request: again where that does no harm, and later when the node asks for that.
    async fn call(&self, call: Call<'_>) -> Result<Answer> {
        let mut times = Times::new(call.again);
        loop {
            match self.once(&call).await {
                Ok(answer) => return Ok(answer),
                Err(broken) => times.wait_after(broken).await?,
            }
        }
    }

    async fn once(&self, call: &Call<'_>) -> std::result::Result<Answer, Broken> {
        let mut response = self.begin(call, self.request(call).timeout(ANSWER_WAIT)).await?;
        let body = self.body(call, &mut response, ANSWER_BYTES_MAX).await?;
        Ok(Answer { headers: response.headers().clone(), body })
    }

    /// Sends a request, and answers when a success has begun.
    async fn begin(
        &self,
        call: &Call<'_>,
        request: RequestBuilder,
    ) -> std::result::Result<Response, Broken> {
        let mut response = request.send().await.map_err(|e| self.broken(call, &e))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let body = self.body(call, &mut response, answer::PROBLEM_BYTES_MAX).await?;
        Err(answer::refusal(self, call.path, status, response.headers(), &body))
    }

    /// The rest of an answer, of at most `max` bytes.
    async fn body(
        &self,
        call: &Call<'_>,
        response: &mut Response,
        max: usize,
    ) -> std::result::Result<Vec<u8>, Broken> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|e| self.broken(call, &e))? {
            if body.len() + chunk.len() > max {
                let text = format!("{} answers more than {max} bytes", self.url());
                let failure = Failure::refused(text).hint("ask for less: --limit");
                return Err(Broken::Refused(failure));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    fn request(&self, call: &Call<'_>) -> RequestBuilder {
        let mut url = self.0.url.clone();
        let base = url.path().trim_end_matches('/').to_owned();
        url.set_path(&format!("{base}{}", call.path));
        for (name, value) in &call.query {
            url.query_pairs_mut().append_pair(name, value);
        }
        let mut request = self.0.client.request(call.method.clone(), url);
        if let Some(token) = &self.0.token {
            let mut value = HeaderValue::from_str(&format!("Bearer {}", *token.text))
                .unwrap_or_else(|_| HeaderValue::from_static(""));
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        if let Some(key) = &call.key {
            request = request.header("Idempotency-Key", key);
        }
        if let Some(tag) = call.if_match {
            request = request.header(IF_MATCH, tag);
        }
        if let Some(body) = &call.body {
            request = request.header(CONTENT_TYPE, "application/json").body(body.to_string());
        }
        request
    }

    /// What a broken connection means.
    fn broken(&self, call: &Call<'_>, error: &reqwest::Error) -> Broken {
        let why = chain(error);
        if error.is_connect() {
            return Broken::Unreached(self.unreached(&why));
        }
        let text = match error.is_timeout() {
            true => format!("{} takes too long to answer", self.url()),
            false => format!("the connection to {} broke: {why}", self.url()),
        };
        let failure = self.chosen(Failure::new(Exit::Unavailable, text));
        Broken::Unknown(match call.again {
            true => failure,
            false => {
                failure.hint("what was asked for may have been done: look before you ask again")
            }
        })
    }

    fn unreached(&self, why: &str) -> Failure {
        if why.contains(AUTHORITY_AS_SERVER) {
            return self.chosen(shows_authority(self.url()));
        }
        let text = format!("{} can't be reached: {why}", self.url());
        let failure = Failure::new(Exit::Unavailable, text);
        let hint = if why.contains("not valid for name") {
            "the certificate is for another name: use that one in the address"
        } else if why.contains("certificate") || why.contains("UnknownIssuer") {
            "--ca-cert FILE names the authority of its certificate"
        } else {
            "does `moa up` run there, and listen on that address?"
        };
        self.chosen(failure.hint(hint))
    }

    /// Says how the node was chosen.
    fn chosen(&self, failure: Failure) -> Failure {
        failure.hint(format!("the node is chosen by {}", self.by()))
    }
}

fn shows_authority(url: &str) -> Failure {
    let text = format!(
        "{url} can't be reached: its certificate is one of an authority (CA:TRUE), which may issue those of \
         servers and not be one"
    );
    Failure::new(Exit::Unavailable, text)
        .hint(
            "on the node's machine, have that authority issue one for the node, and name that in \
             `server.tls.cert`; --ca-cert goes on to name the authority",
        )
        .hint(
            "a certificate of its own for one node, which --ca-cert may name: openssl req -x509 -nodes \
             -newkey rsa:2048 -days 365 -keyout key.pem -out cert.pem -subj /CN=HOST \
             -addext subjectAltName=DNS:HOST -addext basicConstraints=critical,CA:FALSE",
        )
}

/// An address of a node, checked.
///
/// # Errors
/// It is none.
pub fn address(text: &str) -> Result<Url> {
    let example = "write https://moa.example.com or http://127.0.0.1:3020";
    let wrong = |why: &str| Failure::usage(format!("{text:?} is no address: {why}")).hint(example);
    let url = Url::parse(text).map_err(|e| wrong(&e.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(wrong("it begins with neither http:// nor https://"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Failure::usage("an address holds no name and password")
            .hint("give a token with --token-file or MOA_TOKEN"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(wrong("it holds more than a host and a path"));
    }
    Ok(url)
}

/// Whether an address is one of this machine itself.
fn is_here(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare == "localhost"
        || bare.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn client(ca_cert: Option<&Path>, is_here: bool) -> Result<Client> {
    // Fails when there is one already, which is then used.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let roots = ca_cert.map(certificates).transpose()?;
    let builder = || {
        let builder = Client::builder()
            // A token goes to nobody that another one names.
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_WAIT)
            .user_agent(concat!("moa/", env!("CARGO_PKG_VERSION")));
        // A token for this machine goes through no proxy elsewhere.
        let builder = if is_here { builder.no_proxy() } else { builder };
        match &roots {
            Some(roots) => builder.tls_certs_merge(roots.clone()),
            None => builder,
        }
    };
    let built = builder().build().or_else(|_| match &roots {
        // A machine without authorities of its own still has the one that was named.
        Some(roots) => builder().tls_certs_only(roots.clone()).build(),
        None => builder().tls_certs_only([]).build(),
    });
    built.map_err(|e| Failure::new(Exit::Unavailable, format!("can't speak HTTP: {}", chain(&e))))
}

fn certificates(path: &Path) -> Result<Vec<reqwest::Certificate>> {
    use std::io::Read;
    let mut pem = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(CERTIFICATES_BYTES_MAX).read_to_end(&mut pem))
        .map_err(|e| Failure::io(format!("can't read {}", path.display()), &e))?;
    let wrong = || {
        Failure::usage(format!("{} holds no certificate", path.display()))
            .hint("it is a PEM file: -----BEGIN CERTIFICATE-----")
    };
    let roots = reqwest::Certificate::from_pem_bundle(&pem).map_err(|_| wrong())?;
    if roots.is_empty() { Err(wrong()) } else { Ok(roots) }
}

/// An error and what caused it, without the address, which is said beside it.
fn chain(error: &reqwest::Error) -> String {
    let mut causes: Vec<String> = Vec::new();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        causes.push(cause.to_string());
        source = cause.source();
    }
    // The outer ones say in general what the innermost says in particular.
    causes.pop().unwrap_or_else(|| error.to_string())
}
