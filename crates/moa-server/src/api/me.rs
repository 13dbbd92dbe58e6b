//! Who asks.

use serde::Serialize;
use utoipa::ToSchema;

use crate::auth::Identity;
use crate::auth::role::Role;
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
    Json(Me { id: who.id, name: who.name, role: who.role, csrf })
}
