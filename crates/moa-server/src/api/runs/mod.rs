//! Runs: start, list, look, change, repeat.

pub mod artifacts;
pub mod bulk;
pub mod change;
pub mod compare;
pub mod get;
pub mod list;
pub mod logs;
pub mod repeat;
pub mod result;
pub mod start;

use moa_core::ids::RunId;
use moa_engine::handle::Started;
use serde::Serialize;
use utoipa::ToSchema;

use crate::App;
use crate::error::Result;

/// The run that a path names: an id, a unique start or end of one, or `last`.
///
/// # Errors
/// There is none, or several fit.
pub async fn find(app: &App, text: &str) -> Result<RunId> {
    Ok(app.reader().find(text).await?)
}

/// What became of a start.
#[derive(Debug, Serialize, ToSchema)]
pub struct StartedRun {
    /// The run; null = none was started.
    pub run: Option<String>,
    /// `new`; `existing`, when the idempotency key had started it before; `skipped`, when its
    /// concurrency key is used up and the workflow says skip.
    pub outcome: &'static str,
    /// Diagnostics, when a broken edit of the workflow was passed over.
    pub warning: Option<String>,
}

impl StartedRun {
    /// Of what the node answered.
    pub fn new(started: Started, warning: Option<String>) -> Self {
        let (run, outcome) = match started {
            Started::New { run } => (Some(run), "new"),
            Started::Existing { run } => (Some(run), "existing"),
            Started::Skipped => (None, "skipped"),
        };
        Self { run: run.map(|run| run.to_string()), outcome, warning }
    }
}
