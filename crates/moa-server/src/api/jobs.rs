//! What the node does beside its runs.

use axum::extract::State;
use moa_engine::jobs::JobStatus;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::paging::Part;
use crate::App;
use crate::error::Result;
use crate::extract::{Json, Path, Query};

/// An internal job.
#[derive(Debug, Serialize, ToSchema)]
pub struct JobItem {
    /// Its name.
    name: String,
    /// What it is for.
    about: String,
    /// Time from one start to the next, in milliseconds.
    every_ms: u64,
    /// Since when it is being done.
    running_since: Option<String>,
    /// When it is done next.
    next: Option<String>,
    /// How often it was done since the node's start.
    done: u64,
    /// How often it failed since the node's start.
    failed: u64,
    /// How it went the last time.
    last: Option<JobResult>,
}

/// How a job went.
#[derive(Debug, Serialize, ToSchema)]
pub struct JobResult {
    /// When it began.
    started_at: String,
    /// How long it took, in milliseconds.
    took_ms: u64,
    /// What it did.
    #[schema(value_type = Option<Object>)]
    result: Option<Value>,
    /// What went wrong.
    error: Option<String>,
}

impl From<JobStatus> for JobItem {
    fn from(job: JobStatus) -> Self {
        let last = job.last.map(|last| JobResult {
            started_at: last.started_at.to_string(),
            took_ms: last.took_ms,
            result: last.result,
            error: last.error,
        });
        Self {
            name: job.name,
            about: job.about,
            every_ms: job.every_ms,
            running_since: job.running_since.map(|at| at.to_string()),
            next: job.next.map(|at| at.to_string()),
            done: job.done,
            failed: job.failed,
            last,
        }
    }
}

/// The jobs.
#[derive(Debug, Serialize, ToSchema)]
pub struct JobList {
    /// By name.
    jobs: Vec<JobItem>,
    /// `cursor` of the next page; null = this is the last one.
    next: Option<String>,
}

/// What the node does beside its runs
#[utoipa::path(
    get, path = "/api/v1/jobs", tag = "state", params(Part),
    responses((status = 200, description = "Its jobs", body = JobList)),
)]
pub async fn list(State(app): State<App>, Query(part): Query<Part>) -> Result<Json<JobList>> {
    let (jobs, next) = part.of(app.control().jobs(), |job| job.name.clone())?;
    Ok(Json(JobList { jobs: jobs.into_iter().map(JobItem::from).collect(), next }))
}

/// Do a job now
///
/// Answers when it is done.
#[utoipa::path(
    post, path = "/api/v1/jobs/{job}/run", tag = "state",
    params(("job" = String, Path, description = "Its name")),
    responses((status = 200, description = "It is done", body = JobItem)),
)]
pub async fn run(State(app): State<App>, Path(job): Path<String>) -> Result<Json<JobItem>> {
    Ok(Json(app.control().run_job(&job).await?.into()))
}
