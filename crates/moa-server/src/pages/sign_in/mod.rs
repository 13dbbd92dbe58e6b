//! Signing in and out.
//!
//! A link only shows a page with a button: what follows links by itself (previews, scanners) uses up
//! no code.

pub mod oidc;

use axum::extract::{Request, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Redirect, Response};
use maud::{DOCTYPE, Markup, html};
use moa_view::now;
use serde::Deserialize;
use url::form_urlencoded;

use super::{bare, first_for};
use crate::App;
use crate::auth::oidc::START;
use crate::auth::scope::Scopes;
use crate::auth::tokens::{Entry, Kind, New};
use crate::auth::{Asker, Auth, Identity};
use crate::error::{Problem, Result};
use crate::extract::{Form, Query};
use crate::serve::Peer;

/// Bytes of a path that is gone back to, at most.
const PATH_BYTES_MAX: usize = 2000;

/// What a link carries.
#[derive(Debug, Default, Deserialize)]
pub struct Link {
    #[serde(default)]
    code: Option<String>,
    /// Where to go then.
    #[serde(default)]
    to: Option<String>,
}

/// What somebody signs in with.
#[derive(Debug, Deserialize)]
pub struct Secret {
    #[serde(default)]
    code: Option<String>,
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    to: Option<String>,
}

/// The path of the page that signs in, and then leads to `asked`.
pub fn path_to(asked: &str) -> String {
    match own_path(asked) {
        None | Some("/") => "/sign-in".into(),
        Some(path) => {
            let mut query = form_urlencoded::Serializer::new(String::new());
            format!("/sign-in?{}", query.append_pair("to", path).finish())
        }
    }
}

/// A path if it is one of this server, whatever a browser makes of it: `//host` and `/\\host` are
/// others.
fn own_path(text: &str) -> Option<&str> {
    let rest = text.strip_prefix('/')?;
    let is_plain = text.len() <= PATH_BYTES_MAX
        && !rest.starts_with('/')
        && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    let path = text.split(['?', '#']).next().unwrap_or_default();
    let is_way = ["/sign-in", "/sign-out"].contains(&path) || path.starts_with("/sign-in/");
    (is_plain && !is_way).then_some(text)
}

/// A page that only asks for itself once more: this time the browser comes from here, and sends the
/// session that it may have.
pub fn once_more(asked: &str) -> Response {
    onward(own_path(asked).unwrap_or("/")).into_response()
}

/// A page that leads on to a path of this server.
pub(super) fn onward(path: &str) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="refresh" content={ "0;url=" (path) };
                title { "moa" }
            }
            body { p { a href=(path) { "Go on" } } }
        }
    }
}

/// The page that asks for a token, or for one click behind a link.
pub async fn show(State(app): State<App>, Query(link): Query<Link>) -> Markup {
    let to = link.to.as_deref().and_then(own_path);
    let body = match &link.code {
        None => by_token(to),
        Some(code) => form(
            to,
            &html! {
                input type="hidden" name="code" value=(code);
                p { "This link signs this browser in, once." }
                button class="button primary" autofocus { "Sign in" }
            },
        ),
    };
    bare(app.project(), "Sign in", &html! { (body) (other_ways(&app, to, link.code.is_none())) })
}

/// The form that takes a token; `to`: where it leads then.
pub fn by_token(to: Option<&str>) -> Markup {
    let inside = html! {
        label for="token" { "Token" }
        input id="token" name="token" type="password" autocomplete="off" required autofocus;
        p class="dim" { code { "moa open" } " makes a link, " code { "moa token create" } " a token." }
        button class="button primary" { "Sign in" }
    };
    form(to, &inside)
}

fn form(to: Option<&str>, inside: &Markup) -> Markup {
    html! {
        form method="post" action="/sign-in" class="sign-in" {
            @if let Some(to) = to { input type="hidden" name="to" value=(to); }
            (inside)
        }
    }
}

/// The way by a provider, where one is set up.
fn other_ways(app: &App, to: Option<&str>, wanted: bool) -> Markup {
    let mut query = form_urlencoded::Serializer::new(String::new());
    let query = query.append_pair("to", to.unwrap_or("/")).finish();
    html! {
        @if let Some(oidc) = app.auth().oidc.as_ref().filter(|_| wanted) {
            p { a class="button" href={ (START) "?" (query) } { (oidc.label()) } }
        }
    }
}

/// Opens a session.
///
/// # Errors
/// The code or token is not known.
pub async fn sign_in(State(app): State<App>, request: Request) -> Result<Response> {
    let address = Peer::of(request.extensions()).ip();
    let form = <Form<Secret> as axum::extract::FromRequest<()>>::from_request(request, &());
    let Form(secret) = form.await?;
    let asked = secret.to.as_deref().and_then(own_path);
    let auth = app.auth();
    let (who, session) = match (&secret.code, &secret.token) {
        (Some(code), _) => {
            let found = auth.take_link(code)?;
            let (session, link) = found.ok_or_else(|| auth.wrong(address, "a link"))?;
            (link, session)
        }
        (None, Some(token)) => {
            let found = auth.tokens.find(token.trim(), Kind::Token, now())?;
            let Entry { id, name, role, scopes, .. } =
                found.ok_or_else(|| auth.wrong(address, "a token"))?;
            auth.sign_in_place(&id)?;
            let who = format!("token:{id} ({name})");
            (who, Auth::session_of(name, (role, scopes), Some(id), None))
        }
        (None, None) => return Err(Problem::invalid("a token is needed")),
    };
    let to = asked.unwrap_or_else(|| {
        let scopes = Scopes::from(session.scopes.clone());
        first_for((session.role, &scopes))
    });
    open(&app, Asker::named(who, address), session, to).await
}

/// Opens a session for somebody, and leads the browser there.
async fn open(app: &App, who: Asker, session: New, to: &str) -> Result<Response> {
    tracing::info!(who = who.who, from = who.from, "a browser signs in");
    let (_, secret) = who.asks(app.control().make_token(session)).await?;
    Ok(home(&app.auth().cookie(&secret), to))
}

/// Ends a session.
///
/// # Errors
/// The tokens can't be written.
pub async fn sign_out(State(app): State<App>, who: Identity) -> Result<Response> {
    if who.csrf().is_some() {
        app.control().end_token(&who.id, true).await?;
    }
    Ok(home(&app.auth().no_cookie(), "/sign-in"))
}

fn home(cookie: &str, to: &str) -> Response {
    let mut response = Redirect::to(to).into_response();
    if let Ok(cookie) = HeaderValue::from_str(cookie) {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_of_this_server_are_gone_back_to() {
        for path in ["/", "/runs/0192?at=3&x=%2F%2Fa", "/runs?status=failed#top", "/sign-in-notes"]
        {
            assert_eq!(own_path(path), Some(path));
        }
        for text in [
            "",
            "runs",
            "//evil.example/",
            "/\\evil.example",
            "/x\\..\\",
            "\\\\evil.example",
            "https://evil.example/",
            "javascript:alert(1)",
            "/\t/evil.example",
            "/\r\nSet-Cookie: a=b",
            " /runs",
            "/ü",
            "/sign-in?to=/runs",
            "/sign-in/oidc/callback?code=x",
            "/sign-out",
        ] {
            assert_eq!(own_path(text), None, "{text:?}");
        }
        assert_eq!(own_path(&format!("/{}", "x".repeat(PATH_BYTES_MAX))), None);
        assert_eq!(path_to("/runs?a=b&c=d"), "/sign-in?to=%2Fruns%3Fa%3Db%26c%3Dd");
        assert_eq!(path_to("//evil.example"), "/sign-in");
    }
}
