//! The secrets of a node: looked up by its attempts, changed by people.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use moa_connectors::{MARK, Redactor};
use moa_core::agent::AgentSpec;
use moa_core::expr::Program;
use moa_core::ids::Name;
use moa_core::template::Template;
use moa_core::trigger::{Source as Occurring, TriggerSpec};
use moa_core::workflow::Plan;
use moa_ports::agent::Secrets as _;
use moa_ports::store::WorkflowVersion;
use moa_ports::triggers::TriggerRow;
use moa_spec::Settings;
use moa_view::reader;
use moa_view::rows::{self, ProjectFile};
use serde_json::{Value as Json, json};
use zeroize::Zeroizing;

use super::{Node, aside};
use crate::control::protocol::{Rotated, SecretLine};
use crate::exit::{Failure, Result};
use crate::needed;
use crate::project::{self, Layout, Project};
use crate::secrets::vault::Vault;
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

    /// What takes the secrets that are known now out of values.
    ///
    /// # Errors
    /// They can't be looked up.
    pub async fn redactor(node: Arc<Self>) -> Result<Redactor> {
        // Secrets may be files.
        aside(move || Ok(node.secrets.redactor())).await
    }

    /// Diagnostics for people without the secrets that are known: they quote what they are about.
    pub(super) async fn hidden(secrets: &SecretStore, text: Option<String>) -> Option<String> {
        let (text, secrets) = (text?, secrets.clone());
        let work = move || Ok(secrets.redactor().text(&text).into_owned());
        // What can't be looked through is not shown, but that there is something.
        Some(aside(work).await.unwrap_or_else(|_| MARK.into()))
    }

    /// The same of diagnostics for programs.
    pub async fn redacted_problems(
        node: Arc<Self>,
        mut problems: Vec<Vec<Json>>,
    ) -> Result<Vec<Vec<Json>>> {
        if problems.iter().all(Vec::is_empty) {
            return Ok(problems);
        }
        aside(move || {
            let redactor = node.secrets.redactor();
            for problem in problems.iter_mut().flatten() {
                for key in ["message", "cause", "help"] {
                    problem.get_mut(key).into_iter().for_each(|said| redactor.json(said));
                }
            }
            Ok(problems)
        })
        .await
    }

    /// The same of a version of a workflow, whose plan stays one.
    ///
    /// # Errors
    /// It is none without the secrets in it.
    pub async fn redacted_version(
        node: Arc<Self>,
        mut version: WorkflowVersion,
    ) -> Result<WorkflowVersion> {
        // Secrets may be files.
        aside(move || {
            let redactor = node.secrets.redactor();
            version.source = redactor.text(&version.source).into_owned();
            version.plan =
                rows::json(hide_in_plan(&reader::plan(&version)?, &redactor)?)?.to_string();
            Ok(version)
        })
        .await
    }

    /// The same of plans, with which `None` is none without the secrets in it.
    pub async fn redacted_plans(node: Arc<Self>, plans: Vec<Plan>) -> Result<Vec<Option<Plan>>> {
        aside(move || {
            let redactor = node.secrets.redactor();
            Ok(plans.iter().map(|plan| hide_in_plan(plan, &redactor).ok()).collect())
        })
        .await
    }

    /// The same of triggers, which react to the same still.
    pub async fn redacted_triggers(
        node: Arc<Self>,
        mut rows: Vec<TriggerRow>,
    ) -> Result<Vec<TriggerRow>> {
        aside(move || {
            let redactor = node.secrets.redactor();
            if !redactor.is_empty() {
                rows.iter_mut().for_each(|row| hide_in_trigger(row, &redactor));
            }
            Ok(rows)
        })
        .await
    }

    /// The agents, without the secrets that are known in what they say of themselves to people. What
    /// they are made of is not looked through.
    pub async fn shown_agents(node: Arc<Self>) -> BTreeMap<Name, Arc<AgentSpec>> {
        let mut agents = node.worker.agents();
        let work = move || {
            let redactor = node.secrets.redactor();
            agents.values_mut().for_each(|agent| hide_in_agent(agent, &redactor));
            agents
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

/// Takes the secrets out of what an agent says of itself.
fn hide_in_agent(agent: &mut Arc<AgentSpec>, redactor: &Redactor) {
    let AgentSpec { name, description, actions, .. } = &**agent;
    let said = [name, description].into_iter().chain(actions.values().map(|a| &a.description));
    if said.flatten().all(|text| matches!(redactor.text(text), Cow::Borrowed(_))) {
        return;
    }
    let AgentSpec { name, description, actions, .. } = Arc::make_mut(agent);
    let said = actions.values_mut().map(|action| &mut action.description);
    for text in [name, description].into_iter().chain(said).flatten() {
        *text = redactor.text(text).into_owned();
    }
}

/// A plan without the secrets in it.
fn hide_in_plan(plan: &Plan, redactor: &Redactor) -> Result<Plan> {
    if redactor.is_empty() {
        return Ok(plan.clone());
    }
    let mut document = rows::json(plan)?;
    redactor.document(&mut document);
    serde_json::from_value(document).map_err(|_| {
        let (name, hash) = (&plan.workflow, plan.hash.short());
        let text =
            format!("the version {name} {hash} has secrets where its steps can't do without");
        Failure::refused(text).hint("who may write workflows sees it")
    })
}

/// Takes the secrets out of what a trigger says, and of what was said of it.
fn hide_in_trigger(row: &mut TriggerRow, redactor: &Redactor) {
    let mut spec = TriggerSpec::clone(&row.spec);
    hide_in_params(&mut spec.params, redactor);
    match &mut spec.source {
        Occurring::Event { matches: Some(matches), .. } => {
            let mut text = json!(matches.source());
            redactor.document(&mut text);
            let text = text.as_str().unwrap_or(MARK);
            if text != matches.source() {
                let hidden = || Program::compile(&format!("'{MARK}'"));
                if let Ok(program) = Program::compile(text).or_else(|_| hidden()) {
                    *matches = program;
                }
            }
        }
        Occurring::Schedule(source) => {
            let after = source.after.iter_mut().flat_map(|after| &mut after.cycles);
            let others = after.map(|cycles| &mut cycles.schedule);
            for schedule in std::iter::once(&mut source.schedule).chain(others) {
                hide_in_params(&mut schedule.params, redactor);
            }
        }
        Occurring::Runs { of, .. } => {
            for cycles in of.iter_mut().flat_map(|of| &mut of.cycles) {
                hide_in_params(&mut cycles.schedule.params, redactor);
            }
        }
        Occurring::Outside { settings, .. } => redactor.document(settings),
        Occurring::Event { matches: None, .. } => {}
    }
    if let Some(paused) = &mut row.state.paused {
        paused.reason = redactor.text(&paused.reason).into_owned();
    }
    row.spec = Arc::new(spec);
}

/// Takes the secrets out of what runs are given: in which nothing is a name.
fn hide_in_params(params: &mut Template, redactor: &Redactor) {
    let mut given = json!({"params": params.source()});
    redactor.document(&mut given);
    let given = given["params"].take();
    if given != *params.source() {
        // What can't be computed any more isn't said at all.
        let hidden = || serde_json::from_value(json!(MARK)).unwrap_or_default();
        *params = serde_json::from_value::<Template>(given).unwrap_or_else(|_| hidden());
    }
}
