//! The secrets of a node: looked up by its attempts, changed by people.

use std::sync::Arc;

use moa_ports::agent::Secrets as _;
use moa_ports::store::WorkflowVersion;
use moa_spec::Settings;
use moa_view::reader;
use moa_view::rows::ProjectFile;
use serde_json::Value as Json;
use zeroize::Zeroizing;

use super::Node;
use crate::control::protocol::SecretLine;
use crate::exit::{Failure, Result};
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

    /// The same of a version of a workflow, whose plan stays one.
    ///
    /// # Errors
    /// It is none without the secrets in it.
    pub async fn redacted_version(
        node: Arc<Self>,
        mut version: WorkflowVersion,
    ) -> Result<WorkflowVersion> {
        let hidden = format!("{} {}", version.workflow, version.hash.short());
        let hidden = || {
            let text = format!("the version {hidden} has secrets where its steps can't do without");
            Failure::refused(text).hint("who may write workflows sees it")
        };
        // Secrets may be files.
        let work = move || {
            let redactor = node.secrets.redactor();
            version.source = redactor.text(&version.source).into_owned();
            let mut plan = serde_json::from_str::<Json>(&version.plan).ok()?;
            redactor.document(&mut plan);
            version.plan = plan.to_string();
            reader::plan(&version).ok().map(|_| version)
        };
        tokio::task::spawn_blocking(work).await.ok().flatten().ok_or_else(hidden)
    }

    /// The files of the project for who may see the settings among them, or the files of agents as a
    /// whole, or neither.
    pub fn files(&self, layout: &Layout, settings: bool, whole: bool) -> Result<Vec<ProjectFile>> {
        let mut files = project::texts(layout, settings)?;
        // Who may see the settings may write all of it, and gets it as it is.
        if !settings {
            let redactor = self.secrets.redactor();
            files.iter_mut().for_each(|file| project::redact(file, &redactor));
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
