//! The documented result of a run, as the API's document describes it. It is made by
//! [`moa_view::result`], the same for the command line.

use utoipa::ToSchema;

/// The result of a run.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase")]
#[allow(dead_code, reason = "it describes what another type writes")]
pub struct WorkflowResult {
    /// The run's id.
    workflow_id: String,
    /// How it is.
    status: ResultStatus,
    /// When it started.
    #[schema(format = DateTime)]
    start_time: String,
    /// When it ended.
    #[schema(format = DateTime, nullable = false)]
    end_time: Option<String>,
    /// Milliseconds.
    #[schema(nullable = false)]
    duration: Option<u64>,
    /// The steps that have ended, in the order of the workflow.
    steps: Vec<StepResult>,
    /// Numbers.
    metrics: ResultMetrics,
}

/// How a run is.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "lowercase")]
#[allow(dead_code, reason = "it describes what another type writes")]
pub enum ResultStatus {
    /// It succeeded.
    Success,
    /// It failed, or was cancelled.
    Failure,
    /// It has not ended.
    Running,
}

/// One step of a result.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase")]
#[allow(dead_code, reason = "it describes what another type writes")]
pub struct StepResult {
    /// The step; `lint[2]` is one iteration.
    step_id: String,
    /// Its agent, or its kind.
    agent: String,
    /// How it ended.
    status: StepResultStatus,
    /// What it put out.
    #[schema(value_type = serde_json::Value)]
    output: serde_json::Value,
    /// Why it failed.
    #[schema(nullable = false)]
    error: Option<String>,
}

/// How a step ended.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "lowercase")]
#[allow(dead_code, reason = "it describes what another type writes")]
pub enum StepResultStatus {
    /// It succeeded.
    Success,
    /// It failed.
    Failure,
    /// It was not done.
    Skipped,
}

/// Numbers of a result.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase")]
#[allow(dead_code, reason = "it describes what another type writes")]
pub struct ResultMetrics {
    /// Steps, those that have not ended included.
    total_steps: usize,
    /// Steps that succeeded.
    successful_steps: usize,
    /// Steps that failed.
    failed_steps: usize,
    /// Steps that were not done.
    skipped_steps: usize,
}
