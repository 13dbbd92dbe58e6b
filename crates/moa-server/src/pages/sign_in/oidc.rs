//! Signing in with an OpenID Connect provider: the way there, and the way back.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;
use url::form_urlencoded;

use super::{onward, own_path};
use crate::App;
use crate::auth::oidc::{Answer, BACK, Oidc, START};
use crate::auth::{Asker, Auth, cookie_of};
use crate::error::{Problem, Result};
use crate::extract::Query;
use crate::serve::Peer;

/// Where to go then.
#[derive(Debug, Default, Deserialize)]
pub struct Wanted {
    #[serde(default)]
    to: Option<String>,
}

fn provider(app: &App) -> Result<&Oidc> {
    let oidc = app.auth().oidc.as_ref();
    oidc.ok_or_else(|| Problem::not_found("no provider is set up to sign in with"))
}

/// Leads to the provider.
///
/// # Errors
/// None is set up, or it can't be asked.
pub async fn begin(
    State(app): State<App>,
    Query(wanted): Query<Wanted>,
    request: Request,
) -> Result<Response> {
    let (parts, _) = request.into_parts();
    let address = Peer::of(&parts.extensions).ip();
    let oidc = provider(&app)?;
    let to = wanted.to.as_deref().and_then(own_path).unwrap_or("/");
    // The provider leads back to this address alone, and a cookie belongs to one host.
    if !is_at(&parts.headers, app.base_url()) {
        let mut query = form_urlencoded::Serializer::new(String::new());
        let query = query.append_pair("to", to).finish();
        return Ok(Redirect::to(&format!("{}{START}?{query}", app.base_url())).into_response());
    }
    let back = format!("{}{BACK}", app.base_url());
    let begun = oidc.begin(&back, to).await;
    let (url, cookie) = begun.map_err(|why| app.auth().refused(why, address, "a sign-in"))?;
    let mut response = Redirect::to(&url).into_response();
    add_cookie(&mut response, &app.auth().sign_in_cookie(&cookie));
    Ok(response)
}

/// Takes who comes back from the provider.
///
/// # Errors
/// They didn't leave from here, or the provider's word is not good.
pub async fn back(
    State(app): State<App>,
    Query(answer): Query<Answer>,
    request: Request,
) -> Result<Response> {
    let (parts, _) = request.into_parts();
    let address = Peer::of(&parts.extensions).ip();
    let (oidc, auth) = (provider(&app)?, app.auth());
    auth.sign_in_place(&format!("oidc {address}"))?;
    let cookie = cookie_of(&parts.headers, &auth.cookie_of_sign_in()).map(str::to_owned);
    let back = format!("{}{BACK}", app.base_url());
    let ended = oidc.end(&back, cookie.as_deref(), answer).await;
    let person = ended.map_err(|why| auth.refused(why, address, "a sign-in"))?;
    let who = Asker::named(format!("oidc:{} ({})", person.id, person.name), address);
    let owner = Some(format!("oidc:{}", person.id));
    let session = Auth::session_of(short(&person.name), (person.role, person.scopes), None, owner);
    tracing::info!(who = who.who, from = who.from, "a browser signs in");
    let (_, secret) = who.asks(app.control().make_token(session)).await?;
    // A redirect would still come from the provider, and a browser sends no session then.
    let mut response = onward(own_path(&person.to).unwrap_or("/")).into_response();
    add_cookie(&mut response, &auth.cookie(&secret));
    add_cookie(&mut response, &auth.sign_in_cookie(""));
    Ok(response)
}

/// A name as sessions may have it.
fn short(name: &str) -> String {
    name[..name.floor_char_boundary(100)].to_owned()
}

/// Whether a request is for the host of an address.
fn is_at(headers: &HeaderMap, url: &str) -> bool {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let own = url.split_once("://").map(|(_, host)| host);
    host.zip(own).is_some_and(|(host, own)| host.eq_ignore_ascii_case(own))
}

fn add_cookie(response: &mut Response, cookie: &str) {
    if let Ok(cookie) = HeaderValue::from_str(cookie) {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
}
