//! What agents do right now, and what they did in a day, as the API tells it.

use moa_core::agent::AgentSpec;
use moa_core::limit::Line;
use moa_view::fleet::{AgentDay, AgentNow, Endpoint, Instance};
use moa_view::node::NodeStatus;
use moa_view::now;
use serde::Serialize;
use utoipa::ToSchema;

use crate::auth::Identity;
use crate::auth::role::Role;
use crate::auth::scope::Resource;

/// What an agent did in the last 24 hours, up to the last sample of its node, which is taken about once a
/// minute.
#[derive(Debug, Serialize, ToSchema)]
pub struct AgentDayItem {
    /// Attempts that ended.
    executions: u64,
    /// Those of them that failed.
    errors: u64,
    /// Errors by executions.
    error_rate: f64,
    /// The milliseconds that half of the attempts took at most, about.
    p50_ms: Option<f64>,
    /// The same for 95 of 100.
    p95_ms: Option<f64>,
    /// The same for 99 of 100.
    p99_ms: Option<f64>,
}

impl From<AgentDay> for AgentDayItem {
    fn from(day: AgentDay) -> Self {
        let AgentDay { executions, errors, error_rate, p50_ms, p95_ms, p99_ms } = day;
        Self { executions, errors, error_rate, p50_ms, p95_ms, p99_ms }
    }
}

/// An attempt that runs.
#[derive(Debug, Serialize, ToSchema)]
pub struct InstanceItem {
    /// The run; null = the scopes of the token don't reach it.
    run: Option<String>,
    /// Its workflow.
    workflow: Option<String>,
    /// The step: `lint[2]`.
    step: Option<String>,
    /// The attempt, from 1.
    attempt: u32,
    /// What is asked of the agent.
    action: String,
    /// The node that makes it.
    node: String,
    /// Since when.
    since: String,
    /// The number of its process on that node's machine; null = it is no program, or none yet.
    pid: Option<i32>,
}

impl InstanceItem {
    fn new(instance: &Instance, who: &Identity) -> Self {
        let Instance { run, workflow, step, attempt, action, node, since, pid } = instance;
        let seen = who.sees(Resource::Runs, Some(workflow.as_str()));
        Self {
            run: seen.then(|| run.to_string()),
            workflow: seen.then(|| workflow.to_string()),
            step: seen.then(|| step.clone()),
            attempt: *attempt,
            action: action.clone(),
            node: node.clone(),
            since: since.to_string(),
            pid: *pid,
        }
    }
}

/// An address of an agent, by what the calls of the node showed since it started.
#[derive(Debug, Serialize, ToSchema)]
pub struct EndpointItem {
    /// It; for who may only look, its host.
    url: String,
    /// `ok`: the last call reached it; `out`: it did not, and it is left out for a while, unless all are;
    /// `failed`: it did not, and the next call may go there; `untried`: no call has ended.
    health: &'static str,
    /// Calls that go on there.
    calls: u32,
    /// Until when it is left out.
    out_until: Option<String>,
}

impl EndpointItem {
    fn new(endpoint: &Endpoint, who: &Identity) -> Self {
        let Endpoint { url, health, calls, out_until } = endpoint;
        let whole = who.role.includes(Role::Operator);
        Self {
            url: if whole { url.clone() } else { moa_view::agent::address(url) },
            health: health.as_str(),
            calls: *calls,
            out_until: out_until.map(|at| at.to_string()),
        }
    }
}

/// The attempts and the addresses of an agent, as somebody may see them.
pub fn at_work(now: &AgentNow, who: &Identity) -> (Vec<InstanceItem>, Vec<EndpointItem>) {
    let instances = now.instances.iter().map(|one| InstanceItem::new(one, who)).collect();
    (instances, now.endpoints.iter().map(|one| EndpointItem::new(one, who)).collect())
}

/// How an agent is, in one word; `limits` as they stand.
pub fn status(spec: &AgentSpec, node: &NodeStatus, limits: &[Line]) -> &'static str {
    let is = |state: &str| limits.iter().any(|line| line.state == state);
    match () {
        () if node.paused.contains_key(&spec.id) => "paused",
        () if is("open") => "open",
        () if is("half-open") => "half-open",
        () if is("full") || node.held(&spec.id, now()).is_some() => "limited",
        () if spec.concurrency == Some(0) => "broken",
        () => "ok",
    }
}
