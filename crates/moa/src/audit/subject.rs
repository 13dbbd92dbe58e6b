//! What an act is about, as the audit log tells it: how that is before, and how it is then.

use moa_core::ids::{Name, RunId};
use moa_core::trigger::TriggerId;
use moa_spec::rule_document;
use serde_json::{Value as Json, json};

use super::rule_of;
use crate::control::protocol::Request;
use crate::exit::Result;
use crate::node::Node;

/// Something whose state can be told in few words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// A run.
    Run(RunId),
    /// A trigger.
    Trigger(TriggerId),
    /// A rule, whose whole definition is told.
    Rule(Name),
    /// An agent.
    Agent(Name),
    /// An alert, by its key.
    Alert(String),
    /// A webhook that is called.
    Webhook(Name),
    /// A workflow, by its file.
    Workflow(Name),
    /// A secret of the encrypted store, of which no more is told than its version.
    Secret(String),
}

impl Subject {
    /// What a request is about; `None` = it makes something new, or changes nothing.
    pub fn of(request: &Request) -> Option<Self> {
        Some(match request {
            Request::Change { run, .. } | Request::Serve { run } => Self::Run(*run),
            Request::Fork(fork) => Self::Run(fork.run),
            Request::Trigger { trigger, .. } => Self::Trigger(*trigger),
            Request::Rule(rule) => Self::Rule(rule_of(rule)?),
            Request::Agent { agent, .. } => Self::Agent(agent.clone()),
            Request::Acknowledge { key, .. } | Request::Resolve { key, .. } => {
                Self::Alert(key.clone())
            }
            Request::EnableWebhook { webhook } => Self::Webhook(webhook.clone()),
            Request::Delete { workflow, .. } => Self::Workflow(workflow.clone()),
            Request::SetSecret { name, .. } | Request::DeleteSecret { name } => {
                Self::Secret(name.clone())
            }
            _ => return None,
        })
    }

    /// How it is now; `None` = it is not there.
    ///
    /// # Errors
    /// That can't be read.
    pub async fn state(&self, node: &Node) -> Result<Option<Json>> {
        let views = node.views();
        Ok(match self {
            Self::Run(run) => {
                let run = views.run_part(*run, 0, 0).await?;
                run.map(|run| json!({"status": run.row.status.as_str()}))
            }
            Self::Trigger(trigger) => {
                let row = views.trigger(*trigger).await?.filter(|row| !row.state.removed);
                row.map(|row| {
                    let going = row.state.backfills.iter().filter(|one| one.ended_at.is_none());
                    let backfills: Vec<u32> = going.map(|backfill| backfill.number).collect();
                    json!({"version": row.version, "paused": row.state.paused, "backfills": backfills})
                })
            }
            Self::Rule(name) => {
                let row = views.trigger(TriggerId::of_rule(name)).await?;
                row.filter(|row| !row.state.removed).map(|row| rule_document(&row.spec))
            }
            Self::Agent(agent) => Some(json!({"paused": node.paused().get(agent)})),
            Self::Alert(key) => {
                let book = node.alerts().await?;
                book.get(key).map(|alert| {
                    json!({
                        "state": alert.state(), "acknowledged": alert.acknowledged,
                        "resolved_by": alert.resolved_by,
                    })
                })
            }
            Self::Webhook(webhook) => {
                let gone = node.gone_webhooks().await?;
                Some(json!({"gone_since": gone.get(webhook).map(|gone| gone.since.to_string())}))
            }
            Self::Workflow(name) => Some(json!({"version": node.version_of(name).await})),
            Self::Secret(name) => {
                let rows = views.sealed().await?;
                let version = rows.iter().find(|row| row.name == *name).map(|row| row.version);
                Some(json!({"version": version}))
            }
        })
    }
}
