//! The outermost layer: ids of requests, headers of every response, problem documents.

use std::time::Instant;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{Html, IntoResponse, Redirect, Response};
use tracing::Instrument;

use crate::App;
use crate::auth::guard;
use crate::auth::tokens::random_hex;
use crate::error::{Code, Problem};
use crate::exposition::Template;
use crate::pages;

/// The header with the id of a request.
pub const REQUEST: HeaderName = HeaderName::from_static("x-request-id");
/// Characters of an id that a caller gives.
const ID_CHARS_MAX: usize = 64;

/// What a page may load: nothing but what this server has. No script or style stands in a page.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src 'self' data:; font-src 'self'; connect-src 'self'; form-action 'self'; \
    base-uri 'none'; frame-ancestors 'none'";

/// The headers of every response. With the policy `no-referrer` a browser would send forms with the
/// origin `null`, which is nobody's.
const HEADERS: [(HeaderName, &str); 6] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// Gives a request its id, and the response its headers; makes documents of problems.
pub async fn outside(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let id = tag_of(request.headers());
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let html = wants_html(request.headers()) && !path.starts_with("/api/");
    // Who fails at signing in is told why, and not asked again.
    let leads = html && method == Method::GET && !path.starts_with("/sign-in/");
    let asked = request.uri().path_and_query().map_or("/", |asked| asked.as_str()).to_owned();
    let from_elsewhere = is_led_here(request.headers());
    let is_named = guard::is_named(request.headers());
    request.extensions_mut().insert(RequestTag(id.clone()));
    let span = tracing::info_span!("request", id, %method, path);
    let began = Instant::now();
    let mut response = next.run(request).instrument(span.clone()).await;
    // What is made of a problem is another response.
    let route = response.extensions().get::<Template>().cloned();
    let instead = response.extensions_mut().remove::<pages::Instead>();
    let _entered = span.enter();
    if let Some(problem) = problem_of(&response) {
        if problem.code.status().is_server_error() {
            tracing::error!(code = problem.code.as_str(), "{method} {path}: {}", problem.detail);
        }
        let allow = response.headers().get(header::ALLOW).cloned();
        response = match problem.code {
            Code::Unauthenticated if leads && from_elsewhere => pages::sign_in::once_more(&asked),
            Code::Unauthenticated if leads => {
                Redirect::to(&pages::sign_in::path_to(&asked)).into_response()
            }
            _ if html => match instead {
                Some(page) => (problem.code.status(), Html(page.0)).into_response(),
                None => pages::problem(&problem, &id),
            },
            _ => document(&problem, &path, &id),
        };
        if let Some(allow) = allow {
            response.headers_mut().insert(header::ALLOW, allow);
        }
    }
    tracing::debug!(status = response.status().as_u16(), "{method} {path}");
    dress(&app, &id, is_named, &mut response);
    if let Some(route) = route {
        response.extensions_mut().insert(route);
    }
    app.requests().answered(&method, &response, began.elapsed());
    response
}

/// The id of a request.
#[derive(Debug, Clone)]
pub struct RequestTag(pub String);

/// The caller's id, where it is fit for a log, or a new one.
fn tag_of(headers: &HeaderMap) -> String {
    let given = headers.get(REQUEST).and_then(|id| id.to_str().ok());
    let is_fit = |id: &&str| {
        let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        !id.is_empty() && id.len() <= ID_CHARS_MAX && id.chars().all(fits)
    };
    given.filter(is_fit).map_or_else(random_hex::<8>, str::to_owned)
}

/// Whether a browser asks for a page.
fn wants_html(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    accept.is_some_and(|accept| accept.contains("text/html"))
}

/// Whether a page of another site led a browser here. It sends no session then, though it may have
/// one.
fn is_led_here(headers: &HeaderMap) -> bool {
    let is = |name: &str, words: &[&str]| {
        let value = headers.get(name).and_then(|value| value.to_str().ok());
        value.is_some_and(|value| words.contains(&value))
    };
    is("sec-fetch-mode", &["navigate"]) && is("sec-fetch-site", &["cross-site", "same-site"])
}

/// The problem of a response; one that the libraries below made is given its code here.
fn problem_of(response: &Response) -> Option<Problem> {
    if let Some(problem) = response.extensions().get::<Problem>() {
        return Some(problem.clone());
    }
    let status = response.status();
    if !status.is_client_error() && !status.is_server_error() {
        return None;
    }
    let code = Code::of_status(status);
    let detail = match code {
        Code::NotFound => "there is nothing at this path",
        Code::MethodNotAllowed => "this path takes other methods",
        Code::TooLarge => "the body is too large",
        Code::Timeout => "it took too long",
        Code::Internal => "moa failed on this request",
        _ => code.title(),
    };
    Some(Problem::new(code, detail))
}

fn document(problem: &Problem, path: &str, id: &str) -> Response {
    let document = problem.document(path, id);
    let body = serde_json::to_vec(&document).unwrap_or_default();
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = problem.code.status();
    let headers = response.headers_mut();
    let kind = HeaderValue::from_static("application/problem+json");
    headers.insert(header::CONTENT_TYPE, kind);
    if problem.code.status() == StatusCode::UNAUTHORIZED {
        let scheme = HeaderValue::from_static("Bearer realm=\"moa\"");
        headers.insert(header::WWW_AUTHENTICATE, scheme);
    }
    if let Some(wait) = problem.retry_after {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(wait.as_secs().max(1)));
    }
    response
}

/// Puts on what every response wears.
fn dress(app: &App, id: &str, is_named: bool, response: &mut Response) {
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    // For `localhost` it would hold for whatever else listens there.
    if app.is_secure() && is_named {
        let value = HeaderValue::from_static("max-age=31536000");
        headers.insert(header::STRICT_TRANSPORT_SECURITY, value);
    }
    let none = HeaderValue::from_static("no-store");
    headers.entry(header::CACHE_CONTROL).or_insert(none);
    if let Ok(value) = HeaderValue::from_str(id) {
        headers.insert(REQUEST, value);
    }
}
