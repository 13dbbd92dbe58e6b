//! The secrets of a node: looked up by its attempts, changed by people.

use std::sync::Arc;

use moa_ports::agent::Secrets as _;
use moa_spec::Settings;
use moa_view::rows::ProjectFile;
use serde_json::Value as Json;
use zeroize::Zeroizing;

use super::Node;
use crate::control::protocol::SecretLine;
use crate::exit::Result;
use crate::needed;
use crate::project::{self, Layout, Project};
use crate::secrets::vault::{Rotated, Vault};
use crate::secrets::{SecretStore, Source};
use crate::wire::{Stores, Worker};

/// Where secrets are looked up, and the encrypted store behind it.
pub(super) async fn open(
    layout: &Layout,
    settings: &Settings,
    stores: &Stores,
) -> Result<(SecretStore, Vault)> {
    let secrets = SecretStore::new(&layout.root, settings);
    let vault = Vault::new(stores.store.clone(), stores.views.clone(), secrets.clone());
    vault.refresh().await?;
    Ok((secrets, vault))
}

/// Logs which secrets are needed and not there: the attempts that use them will fail.
pub(super) fn warn(project: &Project, worker: &Worker, secrets: &SecretStore) {
    let uses = needed::uses(project, &worker.agents());
    secrets.set_used(uses.into_keys().collect());
    for name in needed::missing(project, &worker.agents(), secrets) {
        match secrets.fault(&name) {
            Some(why) => tracing::warn!("the secret {name} can't be used: {why}"),
            None => tracing::warn!("there is no secret {name}; runs that need it are refused"),
        }
    }
}

impl Node {
    /// How the secrets are.
    pub async fn secrets(&self) -> Result<Vec<SecretLine>> {
        self.vault.refresh().await?;
        let watched = self.watched.lock().await;
        let uses = needed::uses(&watched.project, &self.worker.agents());
        drop(watched);
        Ok(self.secrets.lines(&uses))
    }

    /// What is left of something that is about to be shown, without the secrets that are known.
    pub async fn redacted(node: Arc<Self>, mut value: Json) -> Json {
        // Secrets may be files.
        let work = move || {
            node.secrets.redact(&mut value);
            value
        };
        // What can't be looked through is not shown.
        tokio::task::spawn_blocking(work).await.unwrap_or_default()
    }

    /// The files of the project for who may see the settings among them, or the files of agents as a
    /// whole, or neither.
    pub fn files(&self, layout: &Layout, settings: bool, whole: bool) -> Result<Vec<ProjectFile>> {
        let mut files = project::texts(layout, settings)?;
        // Who may see the settings may write all of it, and gets it as it is.
        if !settings {
            let redactor = self.secrets.redactor();
            for text in files.iter_mut().filter_map(|file| file.text.as_mut()) {
                *text = redactor.text(text).into_owned();
            }
        }
        if !whole {
            files.iter_mut().for_each(project::for_viewers);
        }
        Ok(files)
    }

    /// Keeps a secret in the encrypted store; answers its version, and who has it too and is asked
    /// before.
    pub async fn set_secret(
        &self,
        name: &str,
        value: &Zeroizing<String>,
    ) -> Result<(u64, Option<String>)> {
        let version = self.vault.set(name, value).await?;
        let source = self.secrets.look(name).map(|look| look.source);
        let other = source.filter(|source| *source != Source::Store);
        Ok((version, other.map(|source| source.to_string())))
    }

    /// Deletes a secret from the encrypted store.
    pub async fn delete_secret(&self, name: &str) -> Result<()> {
        self.vault.delete(name).await.map(drop)
    }

    /// Seals all secrets of the encrypted store with another key.
    pub async fn rotate_key(&self) -> Result<Rotated> {
        self.vault.rotate().await
    }
}
