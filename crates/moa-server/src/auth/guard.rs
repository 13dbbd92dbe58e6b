//! Hosts and origins: a page of another site must not talk to this server through a browser.
//!
//! A name in `Host` that nobody configured may be one that a hostile page made point here (DNS
//! rebinding); an address can't be. A browser says in `Origin` which page asks.

use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::App;
use crate::error::{Code, Problem, Result};

/// The names that a server is called by.
#[derive(Debug, Clone, Default)]
pub struct Hosts {
    names: Vec<String>,
    /// Origins of the addresses that people use: `https://moa.example`.
    origins: Vec<String>,
}

impl Hosts {
    /// These names, and the host of the address that people use.
    pub fn new(names: &[String], public_url: Option<&str>) -> Self {
        let mut names: Vec<String> = names.iter().map(|name| name.to_ascii_lowercase()).collect();
        let origin = public_url.and_then(origin_of);
        names.extend(origin.as_deref().and_then(host_of_origin).map(str::to_owned));
        Self { names, origins: origin.into_iter().collect() }
    }

    /// Whether this server is called so. `host` may end with a port.
    fn knows(&self, host: &str) -> bool {
        let Ok(authority) = host.parse::<Authority>() else { return false };
        // A host and perhaps a port, and nothing before, between or behind them.
        let port = authority.as_str().strip_prefix(authority.host());
        let is_port = |rest: &str| {
            let digits = rest.strip_prefix(':');
            rest.is_empty() || digits.is_some_and(|digits| digits.parse::<u16>().is_ok())
        };
        if !port.is_some_and(is_port) {
            return false;
        }
        let name = authority.host().to_ascii_lowercase();
        let bare = name.trim_start_matches('[').trim_end_matches(']');
        bare.parse::<std::net::IpAddr>().is_ok()
            || name == "localhost"
            || self.names.contains(&name)
    }

    /// Refuses a name that is not of this server.
    ///
    /// # Errors
    /// [`Code::HostNotAllowed`].
    pub fn check_name(&self, host: &str) -> Result<()> {
        if self.knows(host) {
            return Ok(());
        }
        let text = format!("this server is not called {host:?}");
        let hint = "name it in moa.yaml: `server: {hosts: [NAME]}`";
        Err(Problem::new(Code::HostNotAllowed, text).hint(hint))
    }

    /// Refuses a request that is not for this server, or comes from a page of another one.
    ///
    /// # Errors
    /// [`Code::HostNotAllowed`], [`Code::OriginNotAllowed`].
    pub fn check(&self, headers: &HeaderMap) -> Result<()> {
        let mut hosts = headers.get_all(header::HOST).iter();
        let host = match (hosts.next().map(|host| host.to_str()), hosts.next()) {
            (Some(Ok(host)), None) => host,
            _ => return Err(Problem::invalid("the request must have one Host header")),
        };
        self.check_name(host)?;
        for origin in headers.get_all(header::ORIGIN) {
            let origin = origin.to_str().unwrap_or_default();
            let same = host_of_origin(origin).is_some_and(|of| of.eq_ignore_ascii_case(host));
            if !same && !self.origins.iter().any(|own| own.eq_ignore_ascii_case(origin)) {
                let text = format!("pages of {origin:?} may not ask this server");
                let hint = "behind a proxy, say so in moa.yaml: `server: {public_url: URL}`";
                return Err(Problem::new(Code::OriginNotAllowed, text).hint(hint));
            }
        }
        Ok(())
    }
}

/// Whether a request calls this server by a name of its own, not by an address or `localhost`.
pub fn is_named(headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let host = host.and_then(|host| host.parse::<Authority>().ok());
    host.is_some_and(|host| {
        let name = host.host().trim_start_matches('[').trim_end_matches(']');
        name.parse::<std::net::IpAddr>().is_err() && !name.eq_ignore_ascii_case("localhost")
    })
}

/// `https://moa.example/path` → `https://moa.example`.
fn origin_of(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let host = rest.split('/').next().filter(|host| !host.is_empty())?;
    Some(format!("{scheme}://{host}").to_ascii_lowercase())
}

/// Host and port of an origin.
fn host_of_origin(origin: &str) -> Option<&str> {
    let (scheme, host) = origin.split_once("://")?;
    (matches!(scheme, "http" | "https") && !host.contains('/')).then_some(host)
}

/// Refuses before anything else looks at a request.
pub async fn guard(State(app): State<App>, request: Request, next: Next) -> Response {
    // A whole address in the first line counts before the header.
    let named =
        request.uri().authority().map(|authority| app.hosts().check_name(authority.as_str()));
    match named.unwrap_or(Ok(())).and_then(|()| app.hosts().check(request.headers())) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn check(host: &str, origin: Option<&str>) -> Option<Code> {
        let names = ["moa.lan".to_owned()];
        let hosts = Hosts::new(&names, Some("https://Moa.example/"));
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_str(host).expect("a value"));
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, HeaderValue::from_str(origin).expect("a value"));
        }
        hosts.check(&headers).err().map(|problem| problem.code)
    }

    #[test]
    fn names_that_nobody_gave_are_refused() {
        for host in
            ["localhost:3020", "127.0.0.1:3020", "[::1]:3020", "10.1.2.3", "MOA.lan", "moa.example"]
        {
            assert_eq!(check(host, None), None, "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:3020",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "moa.example.evil",
            "user@localhost",
            "[::1].evil.example",
            "localhost:x",
            "localhost:99999",
            "",
        ] {
            assert!(check(host, None).is_some(), "{host}");
        }
    }

    #[test]
    fn pages_of_others_are_refused() {
        assert_eq!(check("localhost:3020", Some("http://localhost:3020")), None);
        assert_eq!(check("10.0.0.1:3020", Some("https://moa.example")), None);
        for origin in [
            "null",
            "http://localhost",
            "http://localhost:3021",
            "http://evil.example",
            "http://localhost:3020.evil.example",
            "file://localhost:3020",
            "",
        ] {
            let found = check("localhost:3020", Some(origin));
            assert_eq!(found, Some(Code::OriginNotAllowed), "{origin}");
        }
    }

    #[test]
    fn two_hosts_are_none() {
        let mut headers = HeaderMap::new();
        headers.append(header::HOST, HeaderValue::from_static("localhost"));
        headers.append(header::HOST, HeaderValue::from_static("evil.example"));
        let found = Hosts::default().check(&headers).err().map(|problem| problem.code);
        assert_eq!(found, Some(Code::InvalidRequest));
    }
}
