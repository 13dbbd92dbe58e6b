//! What Prometheus scrapes.

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use moa_core::agent::AgentSpec;
use moa_view::now;

use crate::App;
use crate::error::{Code, Problem, Result};
use crate::exposition::{Process, Snapshot};

/// The form that Prometheus and all that read its numbers understand.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The node in numbers, for Prometheus
///
/// In the OpenMetrics text format. Names of workflows and agents are labels, names of runs never are.
#[utoipa::path(
    get, path = "/metrics", tag = "health",
    responses((
        status = 200, description = "The numbers", body = String,
        content_type = "application/openmetrics-text",
    )),
)]
pub async fn scrape(State(app): State<App>) -> Result<Response> {
    let control = app.control();
    let (now, used) = (now(), app.reader().limits().await?);
    let budget = |spec: &AgentSpec| {
        let state = used.get(&spec.id).cloned().unwrap_or_default();
        Some((spec.id.clone(), state.budget_now(&spec.limits, now)?))
    };
    let agents = control.agents().await;
    let snapshot = Snapshot {
        status: control.status().await,
        meter: control.meter().await,
        totals: app.reader().views.totals().await?,
        counted: control.counted().await?,
        budgets: agents.values().filter_map(|spec| budget(spec)).collect(),
        requests: app.requests().clone(),
        process: Process::read(),
        now,
    };
    let text = snapshot.expose().map_err(|e| Problem::new(Code::Internal, e.to_string()))?;
    Ok(([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response())
}
