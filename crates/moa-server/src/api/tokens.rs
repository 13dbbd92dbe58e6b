//! Tokens and sessions.

use axum::extract::State;
use axum::http::StatusCode;
use moa_core::time::Millis;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::paging::Part;
use crate::App;
use crate::auth::role::Role;
use crate::auth::scope::Scope;
use crate::auth::tokens::{Entry, Kind};
use crate::auth::{Ends, Identity};
use crate::error::Result;
use crate::extract::{Json, Path, Query};

/// A token or session, without its secret.
#[derive(Debug, Serialize, ToSchema)]
pub struct Token {
    /// Its id.
    id: String,
    /// `token` or `session`.
    kind: &'static str,
    /// What people call it.
    name: String,
    /// What it allows.
    role: Role,
    /// To what; empty = to everything.
    #[schema(value_type = Vec<String>)]
    scopes: Vec<Scope>,
    /// When it was made.
    created_at: String,
    /// When it ends; null = never.
    expires_at: Option<String>,
    /// When it was used last, to about a minute.
    last_used_at: Option<String>,
    /// The token that the session was opened with, or a narrowed one that made this token: it ends with
    /// that.
    of: Option<String>,
}

impl From<&Entry> for Token {
    fn from(entry: &Entry) -> Self {
        let time = |at: Option<Millis>| at.map(|at| at.to_string());
        Self {
            id: entry.id.clone(),
            kind: match entry.kind {
                Kind::Token => "token",
                Kind::Session => "session",
            },
            name: entry.name.clone(),
            role: entry.role,
            scopes: entry.scopes.clone(),
            created_at: entry.created_at.to_string(),
            expires_at: time(entry.expires_at),
            last_used_at: time(entry.last_used_at),
            of: entry.of.clone(),
        }
    }
}

/// All of them.
#[derive(Debug, Serialize, ToSchema)]
pub struct TokenList {
    /// Oldest first, the expired ones included.
    tokens: Vec<Token>,
    /// `cursor` of the next page; null = this is the last one.
    next: Option<String>,
}

/// A token to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    /// What people call it.
    name: String,
    /// What it allows.
    role: Role,
    /// To what: `read`, `runs:nightly`, `events:order.*`; to everything when not given.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    scopes: Vec<Scope>,
    /// How long it holds: `30d`, `12h`, `never`; when not given, 90 days if a session makes it, else as
    /// long as nobody revokes it.
    #[serde(default)]
    expires_in: Option<String>,
}

/// A token with its secret.
#[derive(Debug, Serialize, ToSchema)]
pub struct MadeToken {
    /// Its id.
    id: String,
    /// The token itself: it is shown this once, and kept nowhere.
    token: String,
    /// What it allows.
    role: Role,
    /// To what; empty = to everything.
    #[schema(value_type = Vec<String>)]
    scopes: Vec<Scope>,
    /// When it ends; null = never.
    expires_at: Option<String>,
}

/// Tokens and sessions
#[utoipa::path(
    get, path = "/api/v1/tokens", tag = "access", params(Part),
    responses((status = 200, description = "Oldest first", body = TokenList)),
)]
pub async fn list(State(app): State<App>, Query(part): Query<Part>) -> Result<Json<TokenList>> {
    let entries = app.auth().tokens.list()?;
    let key = |entry: &&Entry| (entry.created_at, entry.id.clone());
    let (entries, next) = part.by(entries.iter().collect(), key)?;
    Ok(Json(TokenList { tokens: entries.into_iter().map(Token::from).collect(), next }))
}

/// Make a token
///
/// Who has scopes makes none that reaches further than these, and it ends with who made it. None holds
/// longer than the token or JWT that asks for it.
#[utoipa::path(
    post, path = "/api/v1/tokens", tag = "access",
    request_body = NewToken,
    responses((status = 201, description = "Made", body = MadeToken)),
)]
pub async fn create(
    State(app): State<App>,
    who: Identity,
    Json(new): Json<NewToken>,
) -> Result<(StatusCode, Json<MadeToken>)> {
    let ends = Ends::read(new.expires_in.as_deref().unwrap_or_default())?;
    let NewToken { name, role, scopes, .. } = new;
    let made = app.auth().token_for(&who, (name, role), scopes, ends)?;
    let (entry, token) = app.control().make_token(made).await?;
    let expires_at = entry.expires_at.map(|at| at.to_string());
    let Entry { id, role, scopes, .. } = entry;
    let made = MadeToken { id, token: token.to_string(), role, scopes, expires_at };
    Ok((StatusCode::CREATED, Json(made)))
}

/// Revoke a token or session
///
/// Sessions that a token opened end with it.
#[utoipa::path(
    delete, path = "/api/v1/tokens/{token}", tag = "access",
    params(("token" = String, Path, description = "Its id")),
    responses((status = 204, description = "It holds no more")),
)]
pub async fn revoke(State(app): State<App>, Path(id): Path<String>) -> Result<StatusCode> {
    app.control().end_token(&id, false).await?;
    Ok(StatusCode::NO_CONTENT)
}
