//! Deliveries of webhooks as people see them: runs of the workflow that is part of moa, by what they carry.

use std::collections::BTreeSet;

use moa_core::ids::{Name, RunId};
use moa_core::run::RunStatus;
use moa_core::workflow::notify_workflow;
use moa_ports::views::{RunFilter, Views};
use serde::Serialize;
use serde_json::Value as Json;

use crate::exit::Result;

/// Runs read at once.
const PAGE: usize = 200;
/// Runs that one question looks at.
const LOOK: usize = 4000;

/// A delivery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Delivery {
    /// The run that delivers it.
    pub run: String,
    /// What receivers know it by: `webhook-id`.
    pub id: String,
    /// The type of its event.
    #[serde(rename = "type")]
    pub kind: String,
    /// `delivered`; `dead`, when it was given up; `open`, while it is tried; `stopped` by somebody.
    pub state: &'static str,
    /// When it was first to be delivered.
    pub created_at: String,
    /// Why it is dead.
    pub error: Option<String>,
}

/// Which deliveries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Which {
    /// The channel that delivers them.
    pub channel: Name,
    /// Only those that were given up, and not made again.
    pub dead: bool,
    /// Only older than this run.
    pub before: Option<RunId>,
    /// At most so many.
    pub limit: usize,
}

/// Deliveries, the newest first, and the run where the next part goes on.
///
/// # Errors
/// The store can't be read.
pub async fn list(views: &dyn Views, which: &Which) -> Result<(Vec<Delivery>, Option<RunId>)> {
    let mut filter =
        RunFilter { workflow: Some(notify_workflow()), limit: PAGE, ..RunFilter::default() };
    let (mut found, mut seen, mut looked) = (Vec::new(), BTreeSet::new(), 0);
    loop {
        let runs = views.runs(&filter).await?;
        for summary in &runs {
            // It may be deleted meanwhile.
            let Some(run) = views.run_part(summary.run, 0, 0).await? else { continue };
            let text = |name: &str| run.row.params[name].as_str().unwrap_or_default().to_owned();
            if text("channel") != which.channel.as_str() {
                continue;
            }
            let (id, state) = (text("key"), state_of(run.row.status));
            // One that was made again is as the newer one.
            let is_newest = seen.insert(id.clone());
            let is_asked = which.before.is_none_or(|before| summary.run < before);
            if !is_asked || (which.dead && !(state == "dead" && is_newest)) {
                continue;
            }
            if found.len() == which.limit {
                let last: Option<&Delivery> = found.last();
                let next = last.and_then(|last| last.run.parse().ok());
                return Ok((found, next));
            }
            let kind = run.row.params["about"]["type"].as_str().unwrap_or_default().to_owned();
            found.push(Delivery {
                run: summary.run.to_string(),
                id,
                kind,
                state,
                created_at: summary.created_at.to_string(),
                error: summary.error.clone(),
            });
        }
        looked += runs.len();
        filter.before = runs.last().map(|run| run.run);
        if runs.len() < PAGE || looked >= LOOK {
            return Ok((found, None));
        }
    }
}

fn state_of(status: RunStatus) -> &'static str {
    match status {
        RunStatus::Succeeded => "delivered",
        RunStatus::Failed => "dead",
        RunStatus::Cancelled => "stopped",
        _ => "open",
    }
}

/// Whether a document of params is that of a delivery over this channel.
pub fn is_over(params: &Json, channel: &Name) -> bool {
    params["channel"].as_str() == Some(channel.as_str())
}
