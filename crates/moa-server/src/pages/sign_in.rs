//! Signing in and out.
//!
//! A link only shows a page with a button: what follows links by itself (previews, scanners) uses up
//! no code.

use axum::extract::{Request, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};
use moa_view::now;
use serde::Deserialize;

use super::bare;
use crate::App;
use crate::auth::tokens::{Entry, Kind};
use crate::auth::{Identity, blocking};
use crate::error::{Problem, Result};
use crate::extract::{Form, Query};
use crate::serve::Peer;

/// What a link carries.
#[derive(Debug, Default, Deserialize)]
pub struct Link {
    #[serde(default)]
    code: Option<String>,
}

/// What somebody signs in with.
#[derive(Debug, Deserialize)]
pub struct Secret {
    #[serde(default)]
    code: Option<String>,
    #[serde(default)]
    token: Option<String>,
}

/// The page that asks for a token, or for one click behind a link.
pub async fn show(State(app): State<App>, Query(link): Query<Link>) -> Markup {
    let body = html! {
        form method="post" action="/sign-in" class="sign-in" {
            @match link.code {
                Some(code) => {
                    input type="hidden" name="code" value=(code);
                    p { "This link signs this browser in, once." }
                }
                None => {
                    label for="token" { "Token" }
                    input id="token" name="token" type="password" autocomplete="off" required;
                    p class="dim" {
                        code { "moa open" } " makes a link, " code { "moa token create" } " a token."
                    }
                }
            }
            button class="button primary" autofocus { "Sign in" }
        }
    };
    bare(app.project(), "Sign in", &body)
}

/// Opens a session.
///
/// # Errors
/// The code or token is not known.
pub async fn sign_in(State(app): State<App>, request: Request) -> Result<Response> {
    let address = Peer::of(request.extensions()).ip();
    let form = <Form<Secret> as axum::extract::FromRequest<()>>::from_request(request, &());
    let Form(secret) = form.await?;
    let auth = app.auth();
    let session = match (&secret.code, &secret.token) {
        (Some(code), _) => {
            let role = auth.links.take(code, std::time::Instant::now());
            let role = role.ok_or_else(|| auth.wrong(address, "a link"))?;
            auth.open_session("link", role, None).await?
        }
        (None, Some(token)) => {
            let found = auth.tokens.find(token.trim(), Kind::Token, now())?;
            let Entry { id, name, role, .. } =
                found.ok_or_else(|| auth.wrong(address, "a token"))?;
            auth.open_session(&name, role, Some(id)).await?
        }
        (None, None) => return Err(Problem::invalid("a token is needed")),
    };
    tracing::info!(%address, "a browser signed in");
    Ok(home(&auth.cookie(&session), "/"))
}

/// Ends a session.
///
/// # Errors
/// The tokens can't be written.
pub async fn sign_out(State(app): State<App>, who: Identity) -> Result<Response> {
    let tokens = app.auth().tokens.clone();
    if who.csrf().is_some() {
        blocking(move || tokens.revoke(&who.id)).await?;
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
