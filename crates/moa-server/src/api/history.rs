//! What the node did over time: throughput, latency, errors, resources.

use axum::extract::State;
use moa_core::run::RunStatus;
use moa_engine::series::{AgentPart, Bucket, Range};
use moa_view::now;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::App;
use crate::extract::{Json, Query};

/// How long things took, in milliseconds; null = nothing ended. To within 5 of 100
/// of what was measured.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
pub struct Latency {
    /// Half of them took at most so long.
    p50_ms: Option<f64>,
    /// 95 of 100.
    p95_ms: Option<f64>,
    /// 99 of 100.
    p99_ms: Option<f64>,
}

impl Latency {
    /// By a function that answers seconds for a share.
    fn of(seconds: impl Fn(f64) -> Option<f64>) -> Self {
        let ms = |part| seconds(part).map(|seconds| (seconds * 10_000.0).round() / 10.0);
        Self { p50_ms: ms(0.5), p95_ms: ms(0.95), p99_ms: ms(0.99) }
    }
}

/// What was done in one part of the time.
#[derive(Debug, Serialize, ToSchema)]
pub struct HistoryPoint {
    /// Its begin.
    at: String,
    /// For how many milliseconds of it a node was there.
    seen_ms: u64,
    /// Runs that succeeded.
    succeeded: u64,
    /// Runs that failed.
    failed: u64,
    /// Runs that were cancelled.
    cancelled: u64,
    /// How long runs took from their creation.
    runs: Latency,
    /// Attempts that ended, of all agents.
    attempts: u64,
    /// Those of them that failed.
    errors: u64,
    /// How long attempts took.
    latency: Latency,
    /// How long the store took for commits.
    commits: Latency,
    /// Processors at work on average; null = no node was there.
    processors: Option<f64>,
    /// The most bytes in memory.
    memory: f64,
    /// The most open files.
    files: f64,
    /// The most tasks that waited for a slot.
    ready: u64,
    /// The most attempts at once.
    running: u64,
    /// The most runs that went on.
    open: u64,
}

impl From<&Bucket> for HistoryPoint {
    fn from(bucket: &Bucket) -> Self {
        let runs = |status| bucket.runs.get(&status).copied().unwrap_or(0);
        let attempts = bucket.attempts();
        Self {
            at: bucket.at.to_string(),
            seen_ms: bucket.seen_ms,
            succeeded: runs(RunStatus::Succeeded),
            failed: runs(RunStatus::Failed),
            cancelled: runs(RunStatus::Cancelled),
            runs: Latency::of(|part| bucket.run_time(part)),
            attempts: attempts.executions,
            errors: attempts.errors,
            latency: Latency::of(|part| attempts.latency(part)),
            commits: Latency::of(|part| bucket.commit_time(part)),
            processors: bucket.processors(),
            memory: bucket.memory,
            files: bucket.files,
            ready: bucket.ready,
            running: bucket.running,
            open: bucket.open,
        }
    }
}

/// What an agent did in the whole time.
#[derive(Debug, Serialize, ToSchema)]
pub struct AgentHistory {
    /// The agent.
    agent: String,
    /// Attempts that ended.
    executions: u64,
    /// Those of them that failed.
    errors: u64,
    /// Errors by executions.
    error_rate: f64,
    /// How long they took.
    latency: Latency,
}

impl AgentHistory {
    fn new(agent: String, part: &AgentPart) -> Self {
        Self {
            agent,
            executions: part.executions,
            errors: part.errors,
            error_rate: part.errors as f64 / part.executions.max(1) as f64,
            latency: Latency::of(|share| part.latency(share)),
        }
    }
}

/// What the node did over time.
#[derive(Debug, Serialize, ToSchema)]
pub struct MetricsHistory {
    /// `1h`, `24h` or `7d`.
    range: &'static str,
    /// The time of one point, in milliseconds.
    step_ms: u64,
    /// The whole time together.
    total: HistoryPoint,
    /// Part by part, the newest last.
    points: Vec<HistoryPoint>,
    /// Agents by name.
    agents: Vec<AgentHistory>,
}

impl MetricsHistory {
    /// Of the buckets of a range.
    pub fn new(buckets: &[Bucket], range: Range) -> Self {
        let total = total(buckets);
        let agents = total.agents.iter();
        Self {
            range: range.as_str(),
            step_ms: range.step().0,
            total: (&total).into(),
            points: buckets.iter().map(HistoryPoint::from).collect(),
            agents: agents.map(|(name, part)| AgentHistory::new(name.to_string(), part)).collect(),
        }
    }
}

/// All buckets together.
pub fn total(buckets: &[Bucket]) -> Bucket {
    let at = buckets.first().map(|bucket| bucket.at).unwrap_or_default();
    let mut total = Bucket { at, ..Bucket::default() };
    buckets.iter().for_each(|bucket| total.add(bucket));
    total
}

/// Over which time.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Wanted {
    /// `1h` by the minute, `24h` by the quarter of an hour, `7d` by two hours.
    #[serde(default = "hour")]
    #[param(value_type = String, example = "24h")]
    pub range: Range,
}

/// What is shown where nothing is asked for.
fn hour() -> Range {
    Range::Hour
}

/// What the node did over time
///
/// Throughput, latency, errors by agent, and what the node takes of its machine.
#[utoipa::path(
    get, path = "/api/v1/metrics/history", tag = "metrics", params(Wanted),
    responses((status = 200, description = "Part by part", body = MetricsHistory)),
)]
pub async fn get(State(app): State<App>, Query(wanted): Query<Wanted>) -> Json<MetricsHistory> {
    let buckets = app.control().series().await.of(wanted.range, now());
    Json(MetricsHistory::new(&buckets, wanted.range))
}
