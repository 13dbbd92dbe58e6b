//! What an agent has done lately, from the history.

use std::collections::BTreeMap;

use moa_core::event::InstIx;
use moa_core::ids::{Name, RunId};
use moa_core::time::Millis;
use moa_ports::views::HistoryRow;
use serde::Serialize;

use crate::attempts::{Attempt, Outcome, of_history};
use crate::events::Names;
use crate::exit::Result;
use crate::reader::Reader;

/// Commits of the history that are looked at, usually.
pub const COMMITS: u64 = 1000;
/// Rows and events of the history that are read at once.
const PART: (usize, usize) = (200, 5_000);
/// Events that are looked at in all, about.
const EVENTS: usize = 100_000;

/// An attempt that ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
    let mut behind = reader.views.last_event().await?.saturating_sub(commits);
    let mut events = 0;
    while events < EVENTS {
        let rows = reader.views.events(behind, PART.0, PART.1).await?;
        let Some(last) = rows.last() else { break };
        behind = last.seq;
        events += rows.iter().map(|row| row.events.len()).sum::<usize>();
        for row in rows {
            by_run.entry(row.run).or_default().push(row);
        }
    }
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
