//! Links that sign a browser in, once.

use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::App;
use crate::auth::Identity;
use crate::auth::links::{Grant, LINK_WORKS};
use crate::auth::role::Role;
use crate::error::{Code, Problem, Result};
use crate::extract::Json;

/// A link to be made.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewLink {
    /// What the browser may do: that of who asks at the most, which it is when not given.
    #[serde(default)]
    role: Option<Role>,
}

/// A link.
#[derive(Debug, Serialize, ToSchema)]
pub struct MadeLink {
    /// It, by the address that the node is known by.
    url: String,
    /// Its path and query: behind whatever address the node is reached at.
    path: String,
    /// What the browser may do.
    role: Role,
    /// For how many seconds it works.
    works_s: u64,
}

/// Make a link that signs a browser in
///
/// It works once, within 15 minutes. The browser may do no more than who asks, with the same scopes, and
/// for no longer: its session ends with their token. Whoever gets the link can use it.
#[utoipa::path(
    post, path = "/api/v1/sign-in-links", tag = "access",
    request_body = Option<NewLink>,
    responses((status = 201, description = "Made", body = MadeLink)),
)]
pub async fn create(
    State(app): State<App>,
    who: Identity,
    body: Option<Json<NewLink>>,
) -> Result<(StatusCode, Json<MadeLink>)> {
    let role = body.and_then(|Json(new)| new.role).unwrap_or(who.own_role);
    who.must_be(role)?;
    let grant = Grant { role, maker: Some(app.auth().maker_of_link(&who)?) };
    let url = app.control().sign_in_link(grant).await?;
    let path = url.strip_prefix(app.base_url()).map(str::to_owned);
    let path = path.ok_or_else(|| Problem::new(Code::Internal, "the link leads elsewhere"))?;
    let made = MadeLink { url, path, role, works_s: LINK_WORKS.as_secs() };
    Ok((StatusCode::CREATED, Json(made)))
}
