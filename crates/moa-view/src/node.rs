//! What a node is asked for, and what it says about itself.

use moa_core::ids::{Name, NodeId, VersionHash};
use moa_core::time::Millis;
use moa_core::workflow::Priority;
use moa_engine::handle;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

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
}
