//! What a node is asked for, and what it says about itself, its rules and its secrets.

use std::collections::BTreeMap;

use moa_core::ids::{Name, NodeId, VersionHash};
use moa_core::limit::Held;
use moa_core::time::Millis;
use moa_core::trace::TraceContext;
use moa_core::trigger::TriggerSpec;
use moa_core::workflow::Priority;
use moa_engine::handle;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

/// A channel over which notifications go; secrets are named, not shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelLine {
    /// Its name.
    pub channel: Name,
    /// `file`, `slack`, `mail` or `webhook`.
    pub kind_of: String,
    /// Where it goes.
    pub to: String,
}

/// What a backup holds beside the store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holds {
    /// Artifacts.
    pub artifacts: bool,
    /// Attempt logs.
    pub logs: bool,
    /// Work folders of runs.
    pub work: bool,
    /// `moa.yaml`, workflows, agents and calendars.
    pub project: bool,
}

/// A request for a new run, as a person makes it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StartRun {
    /// The workflow's id.
    pub workflow: Name,
    /// A version label or the start of a hash; `None` = what the file says now.
    #[serde(default)]
    pub version: Option<String>,
    /// Params by name, not checked yet.
    pub params: Map<String, Json>,
    /// Params given as text: they become values as the workflow declares them.
    #[serde(default)]
    pub texts: Vec<(String, String)>,
    /// The same key starts one run.
    #[serde(default)]
    pub idempotency_key: Option<String>,
    /// Priority, when not the workflow's.
    #[serde(default)]
    pub priority: Option<Priority>,
    /// The span that it is started from, if somebody outside said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<TraceContext>,
    /// Who asks, for people.
    pub cause: String,
}

/// Which node answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeInfo {
    /// Its version of the protocol.
    pub protocol: u32,
    /// Its moa.
    pub moa: String,
    /// Its process.
    pub pid: u32,
    /// Its id.
    pub node: NodeId,
    /// When it started.
    pub started_at: Millis,
    /// Whether it ends with the run it was started for, and executes only what it is asked to.
    pub transient: bool,
}

/// What a node is doing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// Which node.
    pub info: NodeInfo,
    /// What its engine is doing.
    pub engine: handle::Status,
    /// Attempts at once over all agents.
    pub max_running: u32,
    /// Workflows that it serves, with their versions.
    pub workflows: Vec<(Name, VersionHash)>,
    /// Diagnostics of the project's files, when something is broken.
    #[serde(default)]
    pub warning: Option<String>,
    /// Agents that take no new tasks.
    #[serde(default)]
    pub paused: BTreeMap<Name, PausedAgent>,
    /// How far traces have been sent, where they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traces: Option<TracesStatus>,
}

impl NodeStatus {
    /// What holds back all tasks of an agent that are ready; `None` = none is, or one may start.
    pub fn held(&self, agent: &Name, now: Millis) -> Option<&Held> {
        self.engine.held.get(agent).filter(|held| held.until > now)
    }
}

/// Why an agent takes no new tasks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PausedAgent {
    /// Since when.
    pub at: Millis,
    /// Who wants it so.
    pub by: String,
    /// Why, for people.
    #[serde(default)]
    pub reason: String,
}

impl PausedAgent {
    /// Who paused it and why, in one line.
    pub fn words(&self) -> String {
        match self.reason.as_str() {
            "" => format!("paused by {}", self.by),
            reason => format!("paused by {}: {reason}", self.by),
        }
    }
}

/// What a person wants of a rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "rule", rename_all = "snake_case")]
pub enum RuleRequest {
    /// Make it, or change it.
    Put {
        /// Its name, unless its text says it.
        #[serde(default)]
        name: Option<Name>,
        /// Where it was read, for people.
        path: String,
        /// What it says, as `moa_spec::parse_rule` reads it.
        text: String,
        /// Whether it may take the place of another one of its name.
        replace: bool,
        /// What it has to be for that.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expect: Option<RuleExpect>,
    },
    /// Switch it.
    Switch {
        /// Its name.
        name: Name,
        /// On, or off.
        on: bool,
    },
    /// Delete it.
    Delete {
        /// Its name.
        name: Name,
        /// What it has to be for that.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expect: Option<RuleExpect>,
    },
}

/// What a rule has to be for something to be done with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RuleExpect {
    /// Not there.
    Nothing,
    /// There.
    Something,
    /// There, and one of these, by their tags.
    Tags(Vec<String>),
}

/// The tag of a rule: the identity of what it says, and whether it is switched on.
pub fn rule_tag(rule: &TriggerSpec) -> String {
    format!("{}-{}", rule.revision(), if rule.enabled { "on" } else { "off" })
}

impl RuleExpect {
    /// Whether it is so, by its tag; `None` = it is not there.
    pub fn fits(&self, tag: Option<&str>) -> bool {
        match (self, tag) {
            (Self::Nothing, there) => there.is_none(),
            (_, None) => false,
            (Self::Something, Some(_)) => true,
            (Self::Tags(all), Some(tag)) => all.iter().any(|one| one == tag),
        }
    }
}

/// What became of a request for a rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleDone {
    /// Its name.
    pub name: Name,
    /// Whether it was otherwise before.
    pub changed: bool,
    /// Whether it is new.
    pub created: bool,
    /// Whether it was not what it was taken for: nothing was done.
    #[serde(default)]
    pub differs: bool,
}

/// How a secret is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretLine {
    /// Its name.
    pub name: String,
    /// `set`, `missing`, or `unusable`.
    pub state: String,
    /// Where it comes from.
    pub source: Option<String>,
    /// Why it can't be used.
    pub error: Option<String>,
    /// Other places that have it too, and don't count.
    pub hidden: Vec<String>,
    /// When it was set, in the encrypted store.
    pub changed_at: Option<String>,
    /// The workflows and agents that use it.
    pub used_by: Vec<String>,
}

/// What became of a change of the key of the encrypted store. No key is in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rotated {
    /// Secrets that were sealed with the new key.
    pub secrets: usize,
    /// The name of that key.
    pub key: String,
    /// Where it is, on the machine of the node.
    pub place: String,
    /// The file in which the key of before is kept, on the machine of the node; `None` = whoever gave the
    /// keys keeps them.
    pub kept: Option<String>,
}

/// How far traces have been sent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TracesStatus {
    /// Events of the history that were not looked at yet.
    pub behind: u64,
    /// Spans that the collector took since the node's start.
    pub sent: u64,
    /// Spans that it will never take.
    pub dropped: u64,
    /// Requests that failed.
    pub failures: u64,
    /// Why the last request failed; `None` = it did not.
    pub error: Option<String>,
}
