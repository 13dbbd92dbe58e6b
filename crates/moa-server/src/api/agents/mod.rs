//! Agents: what they are, and how they are.

pub mod budget;
pub mod edit;
pub mod now;
pub mod test;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use moa_core::agent::{AgentKind, AgentSpec};
use moa_core::ids::{Name, RunId};
use moa_core::limit::{Held, LimitState, Line};
use moa_core::time::{Millis, Span};
use moa_ports::views::HistoryRow;
use moa_view::activity::{Activity, Ended, of_agent};
use moa_view::agent::for_viewers;
use moa_view::fleet::{AgentNow, Fleet};
use moa_view::node::{NodeStatus, PausedAgent};
use moa_view::{natural, now};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::broadcast::error::RecvError;
use utoipa::{IntoParams, ToSchema};

use self::budget::BudgetItem;
use self::now::{AgentDayItem, EndpointItem, InstanceItem};
use self::test::TestItem;
use super::events::Parts;
use super::limits::LimitItem;
use super::paging::Part;
use crate::App;
use crate::auth::Identity;
use crate::auth::role::Role;
use crate::error::{Problem, Result};
use crate::extract::{Json, Path, Query};

/// How long a drain is waited for.
const DRAIN_WAIT: Duration = Duration::from_secs(20);
/// Commits that an agent's metrics are made from.
const COMMITS: usize = 1000;
/// Bytes of events that are looked at, about.
const BYTES: usize = 2 << 20;

/// An agent.
#[derive(Debug, Serialize, ToSchema)]
pub struct AgentItem {
    /// Its id.
    agent: String,
    /// How it is reached: `command`, `http`, or `built-in` when it is part of moa.
    kind: &'static str,
    /// Its name.
    name: Option<String>,
    /// What it is for.
    description: Option<String>,
    /// Its tier.
    tier: Option<u8>,
    /// Labels.
    labels: BTreeMap<String, String>,
    /// What it can do.
    actions: Vec<String>,
    /// Attempts at once.
    concurrency: Option<u32>,
    /// How it is, as its `health` says it: `ok`, `paused`, `limited`, `half-open`, `open` or `broken`.
    status: &'static str,
    /// Attempts running now.
    running: u32,
    /// Tasks that wait for a slot.
    ready: u32,
    /// What it did in the last 24 hours; null = no attempt of it has ended.
    last_24h: Option<AgentDayItem>,
    /// Who has paused it: it takes no new task.
    paused: Option<PausedItem>,
    /// What holds back all of its tasks that are ready; null = none is ready, or one may start.
    held: Option<HeldItem>,
    /// What it may spend, and what it has spent; null = it has no budget.
    budget: Option<BudgetItem>,
}

/// Why an agent takes no new task.
#[derive(Debug, Serialize, ToSchema)]
pub struct PausedItem {
    /// Since when.
    at: String,
    /// Who wants it so.
    by: String,
    /// Why.
    reason: String,
}

/// What holds back all tasks of an agent.
#[derive(Debug, Serialize, ToSchema)]
pub struct HeldItem {
    /// Until when.
    until: String,
    /// Why, for people.
    reason: String,
}

impl From<&Held> for HeldItem {
    fn from(held: &Held) -> Self {
        Self { until: held.until.to_string(), reason: held.reason.to_string() }
    }
}

impl AgentItem {
    fn new(spec: &AgentSpec, known: &Known) -> Self {
        let status = &known.status;
        let of = |counts: &BTreeMap<_, u32>| counts.get(&spec.id).copied().unwrap_or(0);
        Self {
            agent: spec.id.to_string(),
            kind: kind(spec),
            name: spec.name.clone(),
            description: spec.description.clone(),
            tier: spec.tier,
            labels: spec.labels.clone(),
            actions: spec.actions.keys().map(ToString::to_string).collect(),
            concurrency: spec.concurrency,
            status: now::status(spec, status, &known.limits(spec)),
            last_24h: known.fleet.get(&spec.id).and_then(|now| now.day).map(AgentDayItem::from),
            running: of(&status.engine.running),
            ready: of(&status.engine.ready),
            paused: status.paused.get(&spec.id).map(|paused| PausedItem {
                at: paused.at.to_string(),
                by: paused.by.clone(),
                reason: paused.reason.clone(),
            }),
            held: status.held(&spec.id, known.at).map(HeldItem::from),
            budget: BudgetItem::new(spec, &known.used_by(spec), known.at),
        }
    }
}

/// What is known of the agents.
struct Known {
    status: NodeStatus,
    fleet: Fleet,
    used: BTreeMap<Name, LimitState>,
    at: Millis,
}

impl Known {
    async fn of(app: &App) -> Result<Self> {
        let used = app.reader().limits().await?;
        let control = app.control();
        Ok(Self { status: control.status().await, fleet: control.fleet().await, used, at: now() })
    }

    fn used_by(&self, spec: &AgentSpec) -> LimitState {
        self.used.get(&spec.id).cloned().unwrap_or_default()
    }

    fn limits(&self, spec: &AgentSpec) -> Vec<Line> {
        let mut lines = self.used_by(spec).report(&spec.limits, self.at);
        if let Some(held) = self.status.held(&spec.id, self.at) {
            held.mark(&spec.limits, &mut lines);
        }
        lines
    }
}

fn kind(spec: &AgentSpec) -> &'static str {
    match &spec.kind {
        AgentKind::Command(_) => "command",
        AgentKind::Http(_) => "http",
        AgentKind::Builtin(_) => "built-in",
    }
}

/// Agents.
#[derive(Debug, Serialize, ToSchema)]
pub struct AgentList {
    /// By id.
    agents: Vec<AgentItem>,
    /// `cursor` of the next page; null = this is the last one.
    next: Option<String>,
}

/// Agents
///
/// Those of the project, and those that are part of moa; `agent2` before `agent10`.
#[utoipa::path(
    get, path = "/api/v1/agents", tag = "agents", params(Part),
    responses((status = 200, description = "By id", body = AgentList)),
)]
pub async fn list(State(app): State<App>, Query(part): Query<Part>) -> Result<Json<AgentList>> {
    let known = Known::of(&app).await?;
    let agents = app.control().agents().await.into_values().collect();
    let (agents, next) = part.by(agents, |spec: &Arc<AgentSpec>| natural::key(spec.id.as_str()))?;
    let agents = agents.iter().map(|spec| AgentItem::new(spec, &known)).collect();
    Ok(Json(AgentList { agents, next }))
}

/// The agent that a path names.
///
/// # Errors
/// There is none.
pub async fn find(app: &App, name: &str) -> Result<Arc<AgentSpec>> {
    let agents = app.control().agents().await;
    let found = agents.into_iter().find(|(id, _)| id.as_str() == name);
    let unknown = || Problem::not_found(format!("there is no agent {name}"));
    let (_, spec) = found.ok_or_else(|| unknown().hint("/api/v1/agents lists them"))?;
    Ok(spec)
}

/// An agent with its whole definition.
#[derive(Debug, Serialize, ToSchema)]
pub struct AgentDocument {
    /// What there is to say in short.
    agent: AgentItem,
    /// Its attempts that run on this node, the oldest first.
    instances: Vec<InstanceItem>,
    /// Its addresses, where it is reached by HTTP.
    endpoints: Vec<EndpointItem>,
    /// Its definition, as the node has it.
    #[schema(value_type = Object)]
    definition: Value,
}

/// An agent
///
/// Who may only look sees of its addresses the hosts, of its command the program, and of its headers and
/// variables the names. Secrets that the node knows are shown to nobody.
#[utoipa::path(
    get, path = "/api/v1/agents/{agent}", tag = "agents",
    params(("agent" = String, Path, description = "Its id")),
    responses((status = 200, description = "The agent", body = AgentDocument)),
)]
pub async fn get(
    State(app): State<App>,
    who: Identity,
    Path(name): Path<String>,
) -> Result<Json<AgentDocument>> {
    let spec = find(&app, &name).await?;
    let known = Known::of(&app).await?;
    let item = AgentItem::new(&spec, &known);
    let nothing = AgentNow::default();
    let (instances, endpoints) = now::at_work(known.fleet.get(&spec.id).unwrap_or(&nothing), &who);
    let mut definition = serde_json::to_value(&*spec).unwrap_or_default();
    if !who.role.includes(Role::Operator) {
        for_viewers(&mut definition);
    }
    let definition = app.control().redact(definition).await;
    Ok(Json(AgentDocument { agent: item, instances, endpoints, definition }))
}

/// How an agent is.
#[derive(Debug, Serialize, ToSchema)]
pub struct AgentHealth {
    /// The agent.
    agent: String,
    /// `ok`; `paused`, by somebody; `limited`, while a rate, a quota or a budget is used up, or all of its
    /// tasks that are ready are held back; `half-open` or `open`, as its circuit
    /// breaker is; `broken`, when its file has errors.
    status: &'static str,
    /// Attempts running now.
    running: u32,
    /// Tasks that wait for a slot.
    ready: u32,
    /// Its limits, as they stand.
    limits: Vec<LimitItem>,
    /// What came of its newest test; null = it was not tested.
    tested: Option<TestItem>,
}

/// How an agent is
#[utoipa::path(
    get, path = "/api/v1/agents/{agent}/health", tag = "agents",
    params(("agent" = String, Path, description = "Its id")),
    responses((status = 200, description = "How it is", body = AgentHealth)),
)]
pub async fn health(State(app): State<App>, Path(name): Path<String>) -> Result<Json<AgentHealth>> {
    let spec = find(&app, &name).await?;
    let known = Known::of(&app).await?;
    let (lines, item) = (known.limits(&spec), AgentItem::new(&spec, &known));
    Ok(Json(AgentHealth {
        agent: spec.id.to_string(),
        status: item.status,
        running: item.running,
        ready: item.ready,
        limits: lines.iter().map(|line| LimitItem::new(&spec.id, line)).collect(),
        tested: app.control().agent_tests().await.get(&spec.id).map(TestItem::from),
    }))
}

/// Why an agent is paused.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WhyPaused {
    /// Why, for people.
    #[serde(default)]
    pub reason: String,
}

/// An agent after a switch.
#[derive(Debug, Serialize, ToSchema)]
pub struct AgentSwitch {
    /// The agent.
    agent: String,
    /// Whether that changed anything.
    changed: bool,
    /// `active`; `draining`, while attempts of it run; `paused`, when none does.
    state: &'static str,
    /// Attempts running now.
    running: u32,
}

async fn switch(
    app: &App,
    name: &str,
    who: &Identity,
    why: Option<WhyPaused>,
) -> Result<Json<AgentSwitch>> {
    let agent = super::runs::list::name(name)?;
    let paused = why.map(|why| PausedAgent { at: now(), by: who.cause(), reason: why.reason });
    let is_paused = paused.is_some();
    let changed = app.control().switch_agent(agent.clone(), paused).await?;
    let running = app.control().status().await.engine.running.get(&agent).copied().unwrap_or(0);
    let state = match (is_paused, running) {
        (false, _) => "active",
        (true, 0) => "paused",
        (true, _) => "draining",
    };
    Ok(Json(AgentSwitch { agent: agent.to_string(), changed, state, running }))
}

/// Pause an agent
///
/// It takes no new task, also after a restart, until it is resumed; its tasks wait. Attempts that run go
/// on.
#[utoipa::path(
    post, path = "/api/v1/agents/{agent}/pause", tag = "agents",
    params(("agent" = String, Path, description = "Its id")),
    request_body = Option<WhyPaused>,
    responses((status = 200, description = "It takes no new task", body = AgentSwitch)),
)]
pub async fn pause(
    State(app): State<App>,
    who: Identity,
    Path(name): Path<String>,
    body: Option<Json<WhyPaused>>,
) -> Result<Json<AgentSwitch>> {
    let why = body.map(|Json(why)| why).unwrap_or_default();
    switch(&app, &name, &who, Some(why)).await
}

/// Resume an agent
#[utoipa::path(
    post, path = "/api/v1/agents/{agent}/resume", tag = "agents",
    params(("agent" = String, Path, description = "Its id")),
    responses((status = 200, description = "It takes tasks again", body = AgentSwitch)),
)]
pub async fn resume(
    State(app): State<App>,
    who: Identity,
    Path(name): Path<String>,
) -> Result<Json<AgentSwitch>> {
    switch(&app, &name, &who, None).await
}

/// Drain an agent
///
/// Pauses it, and waits up to 20 seconds until nothing of it runs; ask again while it is `draining`.
#[utoipa::path(
    post, path = "/api/v1/agents/{agent}/drain", tag = "agents",
    params(("agent" = String, Path, description = "Its id")),
    request_body = Option<WhyPaused>,
    responses((status = 200, description = "How far it is", body = AgentSwitch)),
)]
pub async fn drain(
    State(app): State<App>,
    who: Identity,
    Path(name): Path<String>,
    body: Option<Json<WhyPaused>>,
) -> Result<Json<AgentSwitch>> {
    let why = body.map(|Json(why)| why).unwrap_or_default();
    Ok(Json(drained(&app, &name, &who, why).await?))
}

/// Pauses an agent, and waits a while until nothing of it runs.
///
/// # Errors
/// There is no such agent; that it is paused can't be noted.
pub async fn drained(app: &App, name: &str, who: &Identity, why: WhyPaused) -> Result<AgentSwitch> {
    let mut commits = app.control().subscribe();
    let Json(mut done) = switch(app, name, who, Some(why)).await?;
    let deadline = tokio::time::Instant::now() + DRAIN_WAIT;
    let agent = super::runs::list::name(name)?;
    while done.running > 0 {
        // Whatever ends an attempt is a commit; one that is missed is no reason to wait.
        match tokio::time::timeout_at(deadline, commits.recv()).await {
            Err(_) | Ok(Err(RecvError::Closed)) => break,
            Ok(Ok(_) | Err(RecvError::Lagged(_))) => {}
        }
        let status = app.control().status().await;
        done.running = status.engine.running.get(&agent).copied().unwrap_or(0);
    }
    done.state = if done.running == 0 { "paused" } else { "draining" };
    Ok(done)
}

/// Over which time.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Range {
    /// The attempts that ended within this time, up to `7d`: `1h`. The node has counted them, about by the
    /// minute up to an hour, by the quarter of an hour up to a day, else by two hours. When not given,
    /// those among the newest 1,000 commits of all runs.
    #[serde(default)]
    range: Option<String>,
}

/// What an agent has done lately.
#[derive(Debug, Serialize, ToSchema)]
pub struct AgentMetrics {
    /// The agent.
    agent: String,
    /// Attempts that ended.
    executions: u64,
    /// Those of them that failed.
    errors: u64,
    /// Errors by executions; null = nothing was executed.
    error_rate: Option<f64>,
    /// How long an attempt took on average, in milliseconds; null = nothing was executed.
    latency_ms: Option<f64>,
    /// How long the slowest took, in milliseconds; with a `range`, to within 5 of 100.
    latency_ms_max: Option<u64>,
    /// When the oldest attempt that is counted began; with a `range`, when the time begins in which the
    /// oldest ones ended.
    since: Option<String>,
    /// Attempts running now.
    running: u32,
    /// Tasks that wait for a slot.
    ready: u32,
    /// What it did in the last 24 hours, whatever the range; null = no attempt of it has ended.
    last_24h: Option<AgentDayItem>,
}

/// What an agent has done lately
#[utoipa::path(
    get, path = "/api/v1/agents/{agent}/metrics", tag = "agents",
    params(("agent" = String, Path, description = "Its id"), Range),
    responses((status = 200, description = "Attempts, errors, latency", body = AgentMetrics)),
)]
pub async fn metrics(
    State(app): State<App>,
    Path(name): Path<String>,
    Query(asked): Query<Range>,
) -> Result<Json<AgentMetrics>> {
    let spec = find(&app, &name).await?;
    let span = asked.range.as_deref().map(str::parse::<Span>).transpose();
    let span = span.map_err(|e| Problem::invalid(format!("range: {e}")).hint("write 1h, say"))?;
    let item = AgentItem::new(&spec, &Known::of(&app).await?);
    let none = AgentMetrics {
        agent: item.agent,
        executions: 0,
        errors: 0,
        error_rate: None,
        latency_ms: None,
        latency_ms_max: None,
        since: None,
        running: item.running,
        ready: item.ready,
        last_24h: item.last_24h,
    };
    Ok(Json(match span {
        Some(span) => none.of(app.control().worked(&spec.id, span).await?),
        None => none.of(Activity::of(&attempts_of(&app, &spec.id).await?)),
    }))
}

impl AgentMetrics {
    /// With what it has done.
    fn of(self, activity: Activity) -> Self {
        let Activity { executions, errors, error_rate, latency_ms, latency_ms_max, since } =
            activity;
        Self { executions, errors, error_rate, latency_ms, latency_ms_max, since, ..self }
    }
}

/// The attempts of an agent that ended in the newest commits.
///
/// # Errors
/// The store can't be read.
pub async fn attempts_of(app: &App, agent: &Name) -> Result<Vec<Ended>> {
    let mut by_run: BTreeMap<RunId, Vec<HistoryRow>> = BTreeMap::new();
    let mut parts = Parts::new(None, true, COMMITS, BYTES);
    let mut upto = u64::MAX;
    while upto > 0
        && let Some(rows) = parts.next(app, upto).await?
    {
        upto = rows.last().map_or(0, |oldest| oldest.seq.saturating_sub(1));
        for row in &rows {
            by_run.entry(row.run).or_default().push(row.whole()?);
        }
    }
    by_run.values_mut().for_each(|rows| rows.reverse());
    Ok(of_agent(app.reader(), by_run, agent).await?)
}
