//! What agents do right now, and what they did in a day, as a node says it.

use std::collections::BTreeMap;

use moa_core::ids::{Name, RunId};
use moa_core::time::Millis;
use moa_engine::series::AgentPart;
use serde::{Deserialize, Serialize};

/// What is known of agents, by id; of one that is missing, nothing has happened.
pub type Fleet = BTreeMap<Name, AgentNow>;

/// What is known of an agent.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct AgentNow {
    /// What ended in the last 24 hours, up to the last sample; `None` = nothing.
    pub day: Option<AgentDay>,
    /// Its attempts that run on this node, the oldest first.
    #[serde(default)]
    pub instances: Vec<Instance>,
    /// Its addresses, in the order of its file.
    #[serde(default)]
    pub endpoints: Vec<Endpoint>,
}

/// The attempts of an agent that ended in 24 hours.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct AgentDay {
    /// How many.
    pub executions: u64,
    /// Those of them that failed.
    pub errors: u64,
    /// Errors by executions.
    pub error_rate: f64,
    /// The milliseconds that half of them took at most, about.
    pub p50_ms: Option<f64>,
    /// The same for 95 of 100.
    pub p95_ms: Option<f64>,
    /// The same for 99 of 100.
    pub p99_ms: Option<f64>,
}

impl AgentDay {
    /// Of what was counted; `None` = nothing.
    pub fn of(part: &AgentPart) -> Option<Self> {
        let ms = |share| part.latency(share).map(|seconds| (seconds * 1e6).round() / 1e3);
        (part.executions > 0).then(|| Self {
            executions: part.executions,
            errors: part.errors,
            error_rate: part.errors as f64 / part.executions as f64,
            p50_ms: ms(0.5),
            p95_ms: ms(0.95),
            p99_ms: ms(0.99),
        })
    }
}

/// An attempt that runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// The run.
    pub run: RunId,
    /// Its workflow.
    pub workflow: Name,
    /// The step, as people name it: `lint[2]`.
    pub step: String,
    /// The attempt, from 1.
    pub attempt: u32,
    /// What is asked of the agent.
    pub action: String,
    /// The node that makes it.
    pub node: String,
    /// When it was given to the agent.
    pub since: Millis,
    /// The number of its process; `None` = it is no program, or none yet.
    pub pid: Option<i32>,
}

/// An address of an agent, by what the calls of this node showed since it started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// It.
    pub url: String,
    /// How it is.
    pub health: Health,
    /// Calls that go on there.
    pub calls: u32,
    /// Until when it is left out, while another one is not.
    pub out_until: Option<Millis>,
}

/// How an address is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// No call of it has ended.
    Untried,
    /// The last call reached it.
    Ok,
    /// The last call did not; it is left out for a while, unless all are.
    Out,
    /// The last call did not; the next may go there.
    Failed,
}

impl Health {
    /// Its word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Untried => "untried",
            Self::Ok => "ok",
            Self::Out => "out",
            Self::Failed => "failed",
        }
    }
}

/// Leaves of addresses the hosts alone: for who may only look.
pub fn for_viewers(fleet: &mut Fleet) {
    for endpoint in fleet.values_mut().flat_map(|agent| &mut agent.endpoints) {
        endpoint.url = crate::agent::address(&endpoint.url);
    }
}
