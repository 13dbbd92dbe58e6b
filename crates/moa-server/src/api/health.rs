//! Whether the node lives, and whether it can work.

use axum::extract::State;
use moa_engine::jobs::JobStatus;
use moa_view::now;
use serde::Serialize;
use utoipa::ToSchema;

use crate::App;
use crate::error::{Code, Problem, Result};
use crate::extract::Json;

/// That the node lives.
#[derive(Debug, Serialize, ToSchema)]
pub struct Alive {
    /// `alive`.
    status: &'static str,
}

/// Whether the server answers
///
/// Nothing is looked at: that there is an answer is the answer.
#[utoipa::path(
    get, path = "/healthz", tag = "health",
    responses((status = 200, description = "It lives", body = Alive)),
)]
pub async fn healthz() -> Json<Alive> {
    Json(Alive { status: "alive" })
}

/// That the node can work.
#[derive(Debug, Serialize, ToSchema)]
pub struct Ready {
    /// `ready`.
    status: &'static str,
}

/// Whether the node can take work
///
/// Not while it stops, while its store refuses writes, or when its engine doesn't answer.
#[utoipa::path(
    get, path = "/readyz", tag = "health",
    responses(
        (status = 200, description = "It can", body = Ready),
        (status = 503, description = "It can't now", body = crate::error::ProblemDocument,
         content_type = "application/problem+json"),
    ),
)]
pub async fn readyz(State(app): State<App>) -> Result<Json<Ready>> {
    let control = app.control();
    let well = control.is_well().await;
    let engine = control.status().await.engine;
    // Why is nothing for strangers.
    match well && !engine.stopping && engine.degraded.is_none() {
        true => Ok(Json(Ready { status: "ready" })),
        false => Err(Problem::new(Code::Unavailable, "the node can't take work now")),
    }
}

/// How the node is.
#[derive(Debug, Serialize, ToSchema)]
pub struct Health {
    /// `ok`, `degraded`, `stopping`, or `stuck` when its engine or store doesn't answer.
    status: &'static str,
    /// Why it can't write just now.
    degraded: Option<String>,
    /// Diagnostics of the project's files, when something is broken.
    files: Option<String>,
    /// Runs that moa itself failed on, and how.
    #[schema(value_type = std::collections::BTreeMap<String, String>)]
    quarantined: std::collections::BTreeMap<String, String>,
    /// What the node does beside its runs, and how that went.
    jobs: Vec<JobHealth>,
    /// Since when the node runs.
    started_at: String,
    /// For how long.
    uptime_ms: u64,
}

/// How an internal job went.
#[derive(Debug, Serialize, ToSchema)]
pub struct JobHealth {
    /// Its name.
    name: String,
    /// How often it was done since the node's start.
    done: u64,
    /// How often it failed since the node's start.
    failed: u64,
    /// When it is done next.
    next: Option<String>,
}

impl From<JobStatus> for JobHealth {
    fn from(job: JobStatus) -> Self {
        let next = job.next.map(|at| at.to_string());
        Self { name: job.name, done: job.done, failed: job.failed, next }
    }
}

/// How the node is
#[utoipa::path(
    get, path = "/api/v1/health", tag = "health",
    responses((status = 200, description = "How it is", body = Health)),
)]
pub async fn health(State(app): State<App>) -> Json<Health> {
    let control = app.control();
    let well = control.is_well().await;
    let status = control.status().await;
    let engine = status.engine;
    Json(Health {
        status: match (well, engine.stopping, &engine.degraded) {
            (_, true, _) => "stopping",
            (false, ..) => "stuck",
            (true, false, Some(_)) => "degraded",
            (true, false, None) => "ok",
        },
        degraded: engine.degraded,
        files: status.warning,
        quarantined: engine.quarantined.iter().map(|(r, w)| (r.to_string(), w.clone())).collect(),
        jobs: control.jobs().into_iter().map(JobHealth::from).collect(),
        started_at: status.info.started_at.to_string(),
        uptime_ms: now().since(status.info.started_at).0,
    })
}
