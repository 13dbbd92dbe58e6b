//! Which agents a run needs, and which secrets, and which of these are not there.
//!
//! Asked before anything starts, so that a run doesn't fail hours later for want of a name. Only names
//! are looked at; no value leaves [`Secrets::get`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use moa_core::agent::{AgentKind, AgentSpec};
use moa_core::ids::Name;
use moa_core::template::Template;
use moa_core::workflow::{Plan, StepKind};
use moa_ports::agent::Secrets;
use moa_spec::{Diagnostic, Secretive, SecretsOf, Subscription};

use crate::exit::Failure;
use crate::project::{Loaded, Project, Served};

/// The code of the warning that a secret is not there.
pub const NO_SECRET: &str = "MOA0406";

/// The agents by id.
type Agents = BTreeMap<Name, Arc<AgentSpec>>;

/// Who needs a secret: a step, or an agent of one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Need {
    secret: String,
    by: String,
}

/// The refusal of a run of `plan` that needs secrets which aren't there; `None` when all are.
pub fn refusal(
    plan: &Plan,
    workflows: &BTreeMap<Name, Arc<Served>>,
    agents: &Agents,
    secrets: &dyn Secrets,
) -> Option<Failure> {
    let mut found = Found::new(workflows, agents);
    found.plan(plan);
    let mut missing: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for need in &found.needs {
        missing.entry(&need.secret).or_default().push(&need.by);
    }
    missing.retain(|name, _| secrets.get(name).is_none());
    let (first, _) = missing.first_key_value()?;
    let all: Vec<String> =
        missing.iter().map(|(name, by)| format!("{name} ({})", by.join(", "))).collect();
    let words = if all.len() == 1 { "a secret that is" } else { "secrets that are" };
    let text = format!("{} needs {words} not there: {}", plan.workflow, all.join("; "));
    let hint = format!(
        "add a line {first}=... to .env, or set MOA_SECRET_{first} where the node runs, or \
         `moa secrets set {first}`; `moa explain MOA0406` says more"
    );
    let failure = Failure::refused(text).hint(hint);
    Some(match secrets.fault(first) {
        Some(why) => failure.hint(format!("{first} is set, but can't be used: {why}")),
        None => failure,
    })
}

/// The agents that a run of `plan` may start attempts of, with what it calls.
pub fn agents_of(
    plan: &Plan,
    workflows: &BTreeMap<Name, Arc<Served>>,
    agents: &Agents,
) -> BTreeSet<Name> {
    let mut found = Found::new(workflows, agents);
    found.plan(plan);
    found.used
}

/// The secrets that its settings name, and by what they are used: what comes in and goes out by itself, and
/// who may come in.
fn of_settings(project: &Project) -> Vec<(String, &Name)> {
    let settings = &project.settings;
    let oidc = settings.server.oidc.iter().filter_map(|oidc| oidc.client_secret.as_ref());
    let server = settings.server.jwt.iter().filter_map(|issuer| issuer.secret()).chain(oidc);
    let headers = settings.tracing.otlp.headers.values().filter_map(|value| match value {
        Secretive::Secret(name) => Some(name),
        Secretive::Plain(_) => None,
    });
    let mut found: Vec<_> = server.map(|name| ("server".to_owned(), name)).collect();
    found.extend(headers.map(|name| ("tracing".to_owned(), name)));
    for (name, channel) in &settings.notify.channels {
        found.extend(channel.secrets().map(|secret| (format!("channel {name}"), secret)));
    }
    for (name, webhook) in &settings.webhooks {
        found.extend(webhook.receiver.secrets().map(|secret| (format!("webhook {name}"), secret)));
    }
    found
}

/// The secrets that the project's files use, and by what they are used.
pub fn uses(project: &Project, agents: &Agents) -> BTreeMap<String, BTreeSet<String>> {
    let mut uses: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let add = |uses: &mut BTreeMap<String, BTreeSet<String>>,
               found: Found<'_>,
               by: &dyn Fn(&str) -> String| {
        for need in found.needs {
            uses.entry(need.secret).or_default().insert(by(&need.by));
        }
    };
    for (name, served) in &project.workflows {
        let mut found = Found::new(&project.workflows, agents);
        found.plan(&served.plan);
        add(&mut uses, found, &|by| match by.starts_with("agent ") {
            true => by.to_owned(),
            false => format!("workflow {name}"),
        });
        let hooks = served.triggers.iter().flat_map(|triggers| &triggers.hooks);
        for secret in hooks.filter_map(|hook| hook.secret.as_ref()) {
            let by = format!("workflow {name}");
            uses.entry(secret.to_string()).or_default().insert(by);
        }
    }
    let mut found = Found::new(&project.workflows, agents);
    agents.values().for_each(|spec| found.agent(spec));
    for (by, name) in of_settings(project) {
        uses.entry(name.to_string()).or_default().insert(by);
    }
    add(&mut uses, found, &str::to_owned);
    uses
}

/// Names of secrets that the project's files use and that are not there.
pub fn missing(project: &Project, agents: &Agents, secrets: &dyn Secrets) -> BTreeSet<String> {
    let workflows = &project.workflows;
    let mut found = Found::new(workflows, agents);
    workflows.values().for_each(|served| found.plan(&served.plan));
    agents.values().for_each(|spec| found.agent(spec));
    let mut names: BTreeSet<String> = found.needs.into_iter().map(|need| need.secret).collect();
    let off = |by: &str| {
        let of = |(name, webhook): (&Name, &Subscription)| {
            !webhook.active && by == format!("webhook {name}")
        };
        project.settings.webhooks.iter().any(of)
    };
    let settings = of_settings(project).into_iter().filter(|(by, _)| !off(by));
    names.extend(settings.map(|(_, name)| name.to_string()));
    names.into_iter().filter(|name| secrets.get(name).is_none()).collect()
}

/// Warnings about the files of a project that use secrets which aren't there.
pub fn warnings(loaded: &Loaded, secrets: &dyn Secrets) -> Vec<Diagnostic> {
    let has = |name: &str| secrets.get(name).is_some();
    let mut found = Vec::new();
    for source in &loaded.problems.sources {
        let Some((folder, file)) = source.path.split_once('/') else { continue };
        let stem = file.rsplit_once('.').map_or(file, |(stem, _)| stem);
        let Ok(stem) = Name::new(stem) else { continue };
        let kind = match folder {
            "workflows" => SecretsOf::Workflow(&stem),
            _ => SecretsOf::Agents(&stem),
        };
        found.extend(moa_spec::missing_secrets(source, kind, &has));
    }
    found
}

struct Found<'a> {
    workflows: &'a BTreeMap<Name, Arc<Served>>,
    agents: &'a Agents,
    needs: BTreeSet<Need>,
    /// Agents of steps.
    used: BTreeSet<Name>,
    /// Workflows called that were looked at.
    seen: BTreeSet<Name>,
}

impl<'a> Found<'a> {
    fn new(workflows: &'a BTreeMap<Name, Arc<Served>>, agents: &'a Agents) -> Self {
        let (needs, used, seen) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        Self { workflows, agents, needs, used, seen }
    }

    fn plan(&mut self, plan: &Plan) {
        for step in &plan.steps {
            match &step.kind {
                StepKind::Task { agent, params, env, .. } => {
                    self.used.insert(agent.clone());
                    let by = format!("step {}", step.id);
                    self.template(params, &by);
                    self.template(env, &by);
                    if let Some(spec) = self.agents.get(agent).cloned() {
                        self.agent(&spec);
                    }
                }
                StepKind::Child { workflow, .. } if self.seen.insert(workflow.clone()) => {
                    if let Some(served) = self.workflows.get(workflow).cloned() {
                        self.plan(&served.plan);
                    }
                }
                _ => {}
            }
        }
    }

    fn agent(&mut self, spec: &AgentSpec) {
        let by = format!("agent {}", spec.id);
        spec.env.values().for_each(|template| self.template(template, &by));
        if let AgentKind::Http(http) = &spec.kind {
            http.headers.values().for_each(|template| self.template(template, &by));
        }
    }

    fn template(&mut self, template: &Template, by: &str) {
        for reference in template.references() {
            if let [root, name] = reference.path.as_slice()
                && root == "secrets"
            {
                self.needs.insert(Need { secret: name.clone(), by: by.to_owned() });
            }
        }
    }
}
