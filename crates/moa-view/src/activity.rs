//! What an agent has done lately, from the history.

use std::collections::BTreeMap;

use moa_core::event::InstIx;
use moa_core::ids::{Name, RunId};
use moa_core::time::Millis;
use moa_ports::views::HistoryRow;
use serde::{Deserialize, Serialize};

use crate::attempts::{Attempt, Outcome, of_history};
use crate::events::Names;
use crate::exit::Result;
use crate::reader::Reader;

/// Commits of the history that are looked at, usually.
pub const COMMITS: u64 = 1000;
/// Commits of a part of the history.
const PART: u64 = 200;
/// Events that are read at once, about.
const PART_EVENTS: usize = 5_000;
/// Events that are looked at in all, about.
const EVENTS: usize = 100_000;

/// An attempt that ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// When it began.
    pub started_at: Millis,
    /// How many milliseconds it took.
    pub took: u64,
    /// Whether it failed.
    pub failed: bool,
}

/// Attempts in short.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Activity {
    /// Attempts that ended.
    pub executions: usize,
    /// Those of them that failed.
    pub errors: usize,
    /// Errors by executions; `None` = nothing was executed.
    pub error_rate: Option<f64>,
    /// How long an attempt took on average, in milliseconds; `None` = nothing was executed.
    pub latency_ms: Option<f64>,
    /// How long the slowest took, in milliseconds.
    pub latency_ms_max: Option<u64>,
    /// When the oldest attempt that is counted began.
    pub since: Option<String>,
}

impl Activity {
    /// Of these attempts.
    pub fn of(ended: &[Ended]) -> Self {
        let errors = ended.iter().filter(|attempt| attempt.failed).count();
        let took: u64 = ended.iter().map(|attempt| attempt.took).sum();
        let by = |sum: f64| (!ended.is_empty()).then(|| sum / ended.len() as f64);
        Self {
            executions: ended.len(),
            errors,
            error_rate: by(errors as f64),
            latency_ms: by(took as f64),
            latency_ms_max: ended.iter().map(|attempt| attempt.took).max(),
            since: ended.iter().map(|attempt| attempt.started_at).min().map(|at| at.to_string()),
        }
    }
}

/// The attempts of an agent that ended in the newest commits, so many of them.
///
/// # Errors
/// The store can't be read.
pub async fn lately(reader: &Reader, agent: &Name, commits: u64) -> Result<Vec<Ended>> {
    let mut by_run: BTreeMap<RunId, Vec<HistoryRow>> = BTreeMap::new();
    let mut upto = reader.views.last_event().await?;
    let (end, mut events) = (upto.saturating_sub(commits), 0);
    // The newest part first: what is left out, when there is too much, is the oldest.
    while upto > end && events < EVENTS {
        let from = upto.saturating_sub(PART).max(end);
        let mut behind = from;
        while behind < upto {
            let rows = (upto - behind) as usize;
            let mut rows = reader.views.events(behind, rows, PART_EVENTS).await?;
            rows.retain(|row| row.seq <= upto);
            let Some(last) = rows.last() else { break };
            behind = last.seq;
            events += rows.iter().map(|row| row.events.len()).sum::<usize>();
            rows.into_iter().for_each(|row| by_run.entry(row.run).or_default().push(row));
        }
        upto = from;
    }
    by_run.values_mut().for_each(|rows| rows.sort_by_key(|row| row.seq));
    of_agent(reader, by_run, agent).await
}

/// The attempts of an agent that ended in these parts of the history, which are in order. One that was
/// given back because its node stopped does not count.
///
/// # Errors
/// The store can't be read.
pub async fn of_agent(
    reader: &Reader,
    by_run: BTreeMap<RunId, Vec<HistoryRow>>,
    agent: &Name,
) -> Result<Vec<Ended>> {
    let (mut names, mut ended) = (Names::default(), Vec::new());
    for (run, rows) in by_run {
        let all = of_history(&rows);
        if all.is_empty() {
            continue;
        }
        let (_, named) = names.named(reader, run, all.keys().copied()).await?;
        let is_ours = |inst: &InstIx| {
            named.get(inst).is_some_and(|named| named.agent.as_ref() == Some(agent))
        };
        for (_, attempts) in all.into_iter().filter(|(inst, _)| is_ours(inst)) {
            for Attempt { started_at, ended_at, outcome, .. } in attempts {
                let failed = outcome == Some(Outcome::Failed);
                if let Some(at) = ended_at.filter(|_| outcome != Some(Outcome::Released)) {
                    ended.push(Ended { started_at, took: at.since(started_at).0, failed });
                }
            }
        }
    }
    Ok(ended)
}
