//! Secrets: set and deleted, sealed with another key, and listed by name. No answer holds a value or a
//! key.

use axum::extract::State;
use axum::http::StatusCode;
use moa_view::node::{Rotated, SecretLine};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use zeroize::Zeroizing;

use super::paging::Part;
use crate::App;
use crate::error::Result;
use crate::extract::{Json, Path, Query};

/// How a secret is.
#[derive(Debug, Serialize, ToSchema)]
pub struct SecretItem {
    /// Its name.
    name: String,
    /// `set`, `missing`, or `unusable`.
    state: String,
    /// Where it comes from.
    source: Option<String>,
    /// Why it can't be used.
    error: Option<String>,
    /// Other places that have it too, and don't count.
    hidden: Vec<String>,
    /// When it was set, in the encrypted store.
    changed_at: Option<String>,
    /// The workflows and agents that use it.
    used_by: Vec<String>,
}

impl From<SecretLine> for SecretItem {
    fn from(line: SecretLine) -> Self {
        let SecretLine { name, state, source, error, hidden, changed_at, used_by } = line;
        Self { name, state, source, error, hidden, changed_at, used_by }
    }
}

/// Secrets.
#[derive(Debug, Serialize, ToSchema)]
pub struct SecretList {
    /// By name: those that the project's files use, and those that moa finds.
    secrets: Vec<SecretItem>,
    /// `cursor` of the next page; null = this is the last one.
    next: Option<String>,
}

/// Secrets
///
/// Where each comes from and who uses it; never its value.
#[utoipa::path(
    get, path = "/api/v1/secrets", tag = "secrets", params(Part),
    responses((status = 200, description = "By name", body = SecretList)),
)]
pub async fn list(State(app): State<App>, Query(part): Query<Part>) -> Result<Json<SecretList>> {
    let (secrets, next) = part.of(app.control().secrets().await?, |line| line.name.clone())?;
    Ok(Json(SecretList { secrets: secrets.into_iter().map(SecretItem::from).collect(), next }))
}

/// A secret's value. It has no way to be printed.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewSecret {
    /// The value: 1 byte to 64 KiB of text.
    #[schema(value_type = String, format = Password)]
    value: Zeroizing<String>,
}

/// A secret that was set.
#[derive(Debug, Serialize, ToSchema)]
pub struct SecretSet {
    /// Its name.
    name: String,
    /// How often it has been set.
    version: u64,
    /// The source that has it too and is asked before: that one counts.
    hidden_by: Option<String>,
}

/// Set a secret
///
/// It is kept in the encrypted store; attempts that start from now on get it. It can't be read back.
#[utoipa::path(
    put, path = "/api/v1/secrets/{secret}", tag = "secrets",
    params(("secret" = String, Path, description = "Its name: letters, digits and `_`")),
    request_body = NewSecret,
    responses((status = 200, description = "It is set", body = SecretSet)),
)]
pub async fn put(
    State(app): State<App>,
    Path(name): Path<String>,
    Json(new): Json<NewSecret>,
) -> Result<Json<SecretSet>> {
    let (version, hidden_by) = app.control().set_secret(name.clone(), new.value).await?;
    Ok(Json(SecretSet { name, version, hidden_by }))
}

/// Delete a secret
///
/// From the encrypted store; elsewhere it stays.
#[utoipa::path(
    delete, path = "/api/v1/secrets/{secret}", tag = "secrets",
    params(("secret" = String, Path, description = "Its name")),
    responses((status = 204, description = "It is gone")),
)]
pub async fn delete(State(app): State<App>, Path(name): Path<String>) -> Result<StatusCode> {
    app.control().delete_secret(name).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A key that was changed. It is not in it.
#[derive(Debug, Serialize, ToSchema)]
pub struct KeyRotated {
    /// Secrets that were sealed with the new key.
    secrets: usize,
    /// The name of that key.
    key: String,
    /// Where it is, on the machine of the node.
    place: String,
    /// The file in which the key of before is kept, on the machine of the node; null = whoever gave the
    /// keys keeps them.
    kept: Option<String>,
}

impl From<Rotated> for KeyRotated {
    fn from(Rotated { secrets, key, place, kept }: Rotated) -> Self {
        Self { secrets, key, place, kept }
    }
}

/// Seal the encrypted store with another key
///
/// With a key file, the node makes a new key and puts it in the place of the old one, which it keeps beside
/// it, in a file that nothing writes over. Asked twice, the key is changed twice, and both of before are
/// kept. With keys in the environment or in credentials, it takes the one that it was started with, from
/// the one of before. No key is in the request or the answer.
#[utoipa::path(
    post, path = "/api/v1/secrets/rotate-key", tag = "secrets",
    responses((status = 200, description = "All secrets are sealed with it", body = KeyRotated)),
)]
pub async fn rotate_key(State(app): State<App>) -> Result<Json<KeyRotated>> {
    app.control().rotate_key().await.map(KeyRotated::from).map(Json).map_err(Into::into)
}
