//! Who asks.

use serde::Serialize;
use utoipa::ToSchema;

use crate::auth::Identity;
use crate::auth::role::Role;
use crate::auth::scope::Scope;
use crate::extract::Json;

/// Who asks.
#[derive(Debug, Serialize, ToSchema)]
pub struct Me {
    /// The id of the token or session.
    id: String,
    /// What people call it.
    name: String,
    /// What it may do.
    role: Role,
    /// To what; null = to everything.
    #[schema(value_type = Option<Vec<String>>)]
    scopes: Option<Vec<Scope>>,
    /// What a change of this session has to send as `X-CSRF-Token`; null with a token.
    csrf: Option<String>,
}

/// Who asks, and what they may do
#[utoipa::path(
    get, path = "/api/v1/me", tag = "access",
    responses((status = 200, description = "Who asks", body = Me)),
)]
pub async fn get(who: Identity) -> Json<Me> {
    let csrf = who.csrf().map(str::to_owned);
    let scopes = who.scopes.list().map(<[Scope]>::to_vec);
    Json(Me { id: who.id, name: who.name, role: who.role, scopes, csrf })
}
