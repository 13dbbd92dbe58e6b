//! What the page of settings shows.

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::jobs::JobItem;
use super::secrets::SecretItem;
use super::state::NodeState;
use super::tokens::Token;
use crate::App;
use crate::auth::Identity;
use crate::auth::role::Role;
use crate::auth::scope::Resource;
use crate::error::Result;
use crate::extract::Json;

/// The node, what it does beside its runs, and what is kept for it.
#[derive(Debug, Serialize, ToSchema)]
pub struct Settings {
    /// The node.
    node: NodeState,
    /// Attempts at once over all agents.
    max_running: u32,
    /// What it does beside its runs.
    jobs: Vec<JobItem>,
    /// The secrets as `/api/v1/secrets` tells them, never their values; null = who asks may not see them.
    secrets: Option<Vec<SecretItem>>,
    /// Tokens and sessions; null = who asks may not see them.
    tokens: Option<Vec<Token>>,
}

/// The node with its jobs, secrets and tokens
///
/// As the page of settings shows them; what each setting is tells `/api/v1/config`.
#[utoipa::path(
    get, path = "/api/v1/settings", tag = "state",
    responses((status = 200, description = "What who asks may see", body = Settings)),
)]
pub async fn get(State(app): State<App>, who: Identity) -> Result<Json<Settings>> {
    let status = app.control().status().await;
    let secrets = match who.may(Role::Operator, Resource::Secrets) {
        true => Some(app.control().secrets().await?.into_iter().map(SecretItem::from).collect()),
        false => None,
    };
    let tokens = match who.may(Role::Admin, Resource::Tokens) {
        true => Some(app.auth().tokens.list()?.iter().map(Token::from).collect()),
        false => None,
    };
    Ok(Json(Settings {
        max_running: status.max_running,
        node: NodeState::from(status),
        jobs: app.control().jobs().into_iter().map(JobItem::from).collect(),
        secrets,
        tokens,
    }))
}
