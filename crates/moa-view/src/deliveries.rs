//! Deliveries of webhooks as people see them: runs of the workflow that is part of moa, by what they carry.

use std::collections::{BTreeMap, BTreeSet};

use moa_core::ids::{Name, RunId};
use moa_core::run::RunStatus;
use moa_core::workflow::notify_workflow;
use moa_ports::store::Snapshot;
use moa_ports::views::{RunFilter, RunSummary, Views};
use serde::Serialize;
use serde_json::Value as Json;

use crate::exit::Result;

/// Runs read at once.
const PAGE: usize = 200;
/// Runs that one question looks at.
const LOOK: usize = 4000;
/// The newest runs that are looked at where deliveries are counted.
pub const COUNTED_MAX: usize = 1000;

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
    /// When it was over.
    pub finished_at: Option<String>,
    /// How often its receiver was called.
    pub attempts: u32,
    /// What its receiver answered last, an HTTP status; `None` = nothing yet, or no answer came.
    pub status: Option<u16>,
    /// Why it is dead, or why the last call of one that is tried was none.
    pub error: Option<String>,
}

/// How the deliveries over a channel stand.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Standing {
    /// The newest.
    pub last: Option<Delivery>,
    /// Those that are tried.
    pub open: usize,
    /// Those that were given up, and not made again.
    pub dead: usize,
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
            let Some((channel, delivery)) = read(views, summary).await? else { continue };
            if channel != which.channel.as_str() {
                continue;
            }
            // One that was made again is as the newer one.
            let is_newest = seen.insert(delivery.id.clone());
            let is_asked = which.before.is_none_or(|before| summary.run < before);
            if !is_asked || (which.dead && !(delivery.state == "dead" && is_newest)) {
                continue;
            }
            if found.len() == which.limit {
                let last: Option<&Delivery> = found.last();
                let next = last.and_then(|last| last.run.parse().ok());
                return Ok((found, next));
            }
            found.push(delivery);
        }
        looked += runs.len();
        filter.before = runs.last().map(|run| run.run);
        if runs.len() < PAGE || looked >= LOOK {
            return Ok((found, None));
        }
    }
}

/// How the deliveries over each channel stand, of the newest [`COUNTED_MAX`] notifications of all.
///
/// # Errors
/// The store can't be read.
pub async fn standings(views: &dyn Views) -> Result<BTreeMap<String, Standing>> {
    let mut filter =
        RunFilter { workflow: Some(notify_workflow()), limit: PAGE, ..RunFilter::default() };
    let mut all: BTreeMap<String, Standing> = BTreeMap::new();
    let (mut seen, mut looked) = (BTreeSet::new(), 0);
    loop {
        let runs = views.runs(&filter).await?;
        for summary in &runs {
            let Some((channel, delivery)) = read(views, summary).await? else { continue };
            if !seen.insert((channel.clone(), delivery.id.clone())) {
                continue;
            }
            let standing = all.entry(channel).or_default();
            standing.open += usize::from(delivery.state == "open");
            standing.dead += usize::from(delivery.state == "dead");
            standing.last.get_or_insert(delivery);
        }
        looked += runs.len();
        filter.before = runs.last().map(|run| run.run);
        if runs.len() < PAGE || looked >= COUNTED_MAX {
            return Ok(all);
        }
    }
}

/// The delivery that a run makes, and its channel; `None` = it was deleted meanwhile.
async fn read(views: &dyn Views, summary: &RunSummary) -> Result<Option<(String, Delivery)>> {
    let Some(run) = views.run_part(summary.run, 0, 1).await? else { return Ok(None) };
    let text = |name: &str| run.row.params[name].as_str().unwrap_or_default().to_owned();
    let kind = run.row.params["about"]["type"].as_str().unwrap_or_default().to_owned();
    let error = last_error(&run).or_else(|| summary.error.clone());
    let attempts = run.steps.first().map_or(0, |step| step.attempt.saturating_sub(step.released));
    let delivery = Delivery {
        run: summary.run.to_string(),
        id: text("key"),
        kind,
        state: state_of(run.row.status),
        created_at: summary.created_at.to_string(),
        finished_at: summary.finished_at.map(|at| at.to_string()),
        attempts,
        status: status(&run).or_else(|| error.as_deref().and_then(status_in)),
        error: error.filter(|_| run.row.status != RunStatus::Succeeded),
    };
    Ok(Some((text("channel"), delivery)))
}

fn last_error(run: &Snapshot) -> Option<String> {
    Some(run.steps.first()?.error.as_ref()?.message.clone())
}

/// What the receiver has answered to a call that it took.
fn status(run: &Snapshot) -> Option<u16> {
    run.steps.first()?.output.as_ref()?.get("status")?.as_u64()?.try_into().ok()
}

/// The HTTP status that the error of a call begins with, behind the name of its channel.
fn status_in(error: &str) -> Option<u16> {
    let said = error.split_once("`: HTTP ")?.1;
    said.get(..3)?.parse().ok()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_is_that_of_the_receiver_and_not_one_that_it_speaks_of() {
        assert_eq!(status_in("channel `webhook-a`: HTTP 410 Gone"), Some(410));
        assert_eq!(status_in("channel `webhook-a`: no answer: HTTP 410"), None);
        assert_eq!(status_in("channel `webhook-a`: HTTP 4"), None);
    }
}
