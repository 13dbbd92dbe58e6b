//! Changes of the encrypted store, one after another.

use std::sync::Arc;

use moa_connectors::SECRET_BYTES_MIN;
use moa_ports::sealed::{SealedRow, SealedWrite};
use moa_ports::store::{Batch, Store};
use moa_ports::views::Views;
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, oneshot};
use zeroize::Zeroizing;

use super::key::{self, Place};
use super::{SECRET_BYTES_MAX, SecretStore, is_name, seal};
use crate::exit::{Exit, Failure, Result};
use crate::view;

/// What is written to, and by whom it is read.
pub struct Vault {
    store: Arc<dyn Store>,
    views: Arc<dyn Views>,
    secrets: SecretStore,
    /// One change at a time: each is made from what is there.
    turn: Mutex<()>,
}

/// What became of a change of the key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rotated {
    /// Secrets that are sealed with the new key now.
    pub secrets: usize,
    /// Its name.
    pub key: String,
    /// Where it is.
    pub place: String,
}

impl Vault {
    /// The encrypted store behind `secrets`.
    pub fn new(store: Arc<dyn Store>, views: Arc<dyn Views>, secrets: SecretStore) -> Self {
        Self { store, views, secrets, turn: Mutex::new(()) }
    }

    /// Reads what is there.
    pub async fn refresh(&self) -> Result<Vec<SealedRow>> {
        let rows = self.views.sealed().await?;
        self.secrets.set_sealed(rows.clone());
        Ok(rows)
    }

    /// Keeps a secret; answers its version.
    pub async fn set(&self, name: &str, value: &Zeroizing<String>) -> Result<u64> {
        if !is_name(name) {
            let text = format!("{name:?} can't be the name of a secret");
            return Err(Failure::usage(text).hint("a name is letters, digits and _"));
        }
        if !(SECRET_BYTES_MIN..=SECRET_BYTES_MAX).contains(&value.len()) {
            let text = format!("a secret has {SECRET_BYTES_MIN} to {SECRET_BYTES_MAX} bytes");
            return Err(Failure::usage(text).hint("a shorter one could not be kept out of logs"));
        }
        let _turn = self.turn.lock().await;
        let rows = self.refresh().await?;
        let ring = self.secrets.key().require()?;
        let sealed = seal::seal(ring.current(&rows), name, value).map_err(|e| refused(name, &e))?;
        let expected = version(&rows, name);
        let write = SealedWrite { name: name.to_owned(), expected, sealed: Some(sealed) };
        self.write(vec![write]).await?;
        Ok(expected + 1)
    }

    /// Deletes a secret; answers the version that it had.
    pub async fn delete(&self, name: &str) -> Result<u64> {
        let _turn = self.turn.lock().await;
        let rows = self.refresh().await?;
        let expected = version(&rows, name);
        if expected == 0 {
            let text = format!("the encrypted store has no secret {name}");
            return Err(Failure::not_found(text).hint("`moa secrets list` shows them"));
        }
        self.write(vec![SealedWrite { name: name.to_owned(), expected, sealed: None }]).await?;
        Ok(expected)
    }

    /// Seals all secrets with another key: of a key file, with a new one that takes its place; of the
    /// environment or a credential, with the one that is there now, from the one of before.
    pub async fn rotate(&self) -> Result<Rotated> {
        let _turn = self.turn.lock().await;
        let rows = self.refresh().await?;
        let ring = self.secrets.key().require()?;
        let file = match &ring.place {
            Place::File(path) => Some(path.clone()),
            Place::Environment | Place::Credential(_) => None,
        };
        let next = file.as_deref().map(key::begin_change).transpose()?;
        let to = next.as_ref().unwrap_or_else(|| ring.current(&rows));
        let mut writes = Vec::new();
        for row in &rows {
            let id = seal::key_of(&row.sealed).map_err(|e| refused(&row.name, &e))?;
            if id == to.id() {
                continue;
            }
            let from = ring.of(&row.sealed).map_err(|e| refused(&row.name, &e))?;
            let sealed = seal::rewrap(from, to, &row.name, &row.sealed);
            let sealed = sealed.map_err(|e| refused(&row.name, &e))?;
            let (name, expected) = (row.name.clone(), row.version);
            writes.push(SealedWrite { name, expected, sealed: Some(sealed) });
        }
        let secrets = writes.len();
        if next.is_none() && secrets == 0 {
            let failure = Failure::refused("every secret is sealed with this key already");
            return Err(failure.hint(
                "give the new key as MOA_SECRETS_KEY and the one of before as MOA_SECRETS_KEY_OLD \
                 (credentials: moa-secrets-key, moa-secrets-key-old), then start the node again",
            ));
        }
        if secrets > 0 {
            self.write(writes).await?;
        }
        let key = to.id().to_string();
        let place = match &ring.place {
            Place::Environment => key::VARIABLE.to_owned(),
            Place::File(path) | Place::Credential(path) => path.display().to_string(),
        };
        if let Some(path) = &file {
            key::end_change(path)?;
        }
        Ok(Rotated { secrets, key, place })
    }

    async fn write(&self, sealed: Vec<SealedWrite>) -> Result<()> {
        let (reply, answer) = oneshot::channel();
        let batch = Batch { now: view::now(), sealed, ..Batch::default() };
        // The receiver is there until the answer.
        self.store.commit(batch, Box::new(move |done| drop(reply.send(done))));
        let gone = |_| Failure::new(Exit::Unavailable, "the store is closed");
        let outcome = answer.await.map_err(gone)??;
        self.refresh().await?;
        if outcome.sealed_refused {
            let text = "somebody else has changed the secrets meanwhile; nothing was written";
            return Err(Failure::refused(text).hint("try again"));
        }
        Ok(())
    }
}

fn version(rows: &[SealedRow], name: &str) -> u64 {
    rows.iter().find(|row| row.name == name).map_or(0, |row| row.version)
}

fn refused(name: &str, error: &seal::Error) -> Failure {
    let failure = Failure::refused(format!("the secret {name}: {error}"));
    match error {
        seal::Error::OtherKey(_) => failure
            .hint("put the key that it was sealed with back")
            .hint(format!("or `moa secrets delete {name}`, and set it anew")),
        seal::Error::Damaged(_) => {
            failure.hint(format!("`moa secrets delete {name}`, and set it anew"))
        }
        seal::Error::Newer(_) | seal::Error::NoRandom => failure,
    }
}
