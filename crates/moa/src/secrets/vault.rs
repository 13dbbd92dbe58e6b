//! Changes of the encrypted store, one after another.

use std::sync::Arc;

use moa_connectors::SECRET_BYTES_MIN;
use moa_ports::sealed::{SealedRow, SealedWrite};
use moa_ports::store::{Batch, Store};
use moa_ports::views::Views;
use moa_view::node::Rotated;
use tokio::sync::{Mutex, oneshot};
use zeroize::Zeroizing;

use super::key::{self, Keyring, Place};
use super::seal::{self, MasterKey};
use super::{SECRET_BYTES_MAX, SecretStore, is_name};
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
    /// environment or a credential, with the one that is there now, from the one of before. Whatever
    /// ends it in between, all can be read still, and doing it again ends what was begun.
    pub async fn rotate(&self) -> Result<Rotated> {
        let _turn = self.turn.lock().await;
        let rows = self.refresh().await?;
        let ring = self.secrets.key().require()?;
        for row in &rows {
            ring.of(&row.sealed).map_err(|e| refused(&row.name, &e))?;
        }
        match &ring.place {
            Place::File(path) => {
                let kept = key::keep(path)?;
                let next = key::begin_change(path)?;
                let secrets = self.write_anew(&rows, &ring, &next).await?;
                key::end_change(path)?;
                let (key, place) = (next.id().to_string(), path.display().to_string());
                Ok(Rotated { secrets, key, place, kept: Some(kept.display().to_string()) })
            }
            place @ (Place::Environment | Place::Credential(_)) => {
                let to = ring.current(&rows);
                let secrets = self.write_anew(&rows, &ring, to).await?;
                if secrets == 0 {
                    return Err(nothing_to_change());
                }
                let place = match place {
                    Place::Credential(path) => path.display().to_string(),
                    _ => key::VARIABLE.to_owned(),
                };
                Ok(Rotated { secrets, key: to.id().to_string(), place, kept: None })
            }
        }
    }

    /// Seals with a key what is sealed with others, all of it at once; answers how many that were.
    async fn write_anew(
        &self,
        rows: &[SealedRow],
        ring: &Keyring,
        to: &MasterKey,
    ) -> Result<usize> {
        let mut writes = Vec::new();
        for row in rows {
            let wrong = |e| refused(&row.name, &e);
            if seal::key_of(&row.sealed).map_err(wrong)? == to.id() {
                continue;
            }
            let from = ring.of(&row.sealed).map_err(wrong)?;
            let sealed = seal::rewrap(from, to, &row.name, &row.sealed).map_err(wrong)?;
            let (name, expected) = (row.name.clone(), row.version);
            writes.push(SealedWrite { name, expected, sealed: Some(sealed) });
        }
        let secrets = writes.len();
        if secrets > 0 {
            self.write(writes).await?;
        }
        Ok(secrets)
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

fn nothing_to_change() -> Failure {
    Failure::refused("every secret is sealed with this key already").hint(
        "give the new key as MOA_SECRETS_KEY and the one of before as MOA_SECRETS_KEY_OLD \
         (credentials: moa-secrets-key, moa-secrets-key-old), then start the node again",
    )
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
