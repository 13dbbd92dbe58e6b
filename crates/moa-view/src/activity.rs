//! What an agent has done lately, from the history.

use std::collections::BTreeMap;

use moa_core::event::InstIx;
use moa_core::ids::{Name, RunId};
use moa_core::time::{Millis, Span};
use moa_engine::series::{AgentPart, Range};
use moa_ports::views::{HistoryRow, KeptAsk};
use serde::{Deserialize, Serialize};

use crate::attempts::{Attempt, Outcome, of_history};
use crate::events::Names;
use crate::exit::{Failure, Result};
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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Activity {
    /// Attempts that ended.
    pub executions: u64,
    /// Those of them that failed.
    pub errors: u64,
    /// Errors by executions; `None` = nothing was executed.
    pub error_rate: Option<f64>,
    /// How long an attempt took on average, in milliseconds; `None` = nothing was executed.
    pub latency_ms: Option<f64>,
    /// How long the slowest took, in milliseconds; of what a node counted, to within 5 of 100.
    pub latency_ms_max: Option<u64>,
    /// When the oldest attempt that is counted began; of what a node counted, when the time begins in which
    /// the oldest ones ended.
    pub since: Option<String>,
}

/// That a time is longer than what agents did is counted for.
pub fn too_long() -> Failure {
    Failure::usage("range: what agents did is counted for 7 days").hint("ask for 7d at the most")
}

impl Activity {
    /// Of these attempts.
    pub fn of(ended: &[Ended]) -> Self {
        let errors = ended.iter().filter(|attempt| attempt.failed).count() as u64;
        let took: u64 = ended.iter().map(|attempt| attempt.took).sum();
        let by = |sum: f64| (!ended.is_empty()).then(|| sum / ended.len() as f64);
        Self {
            executions: ended.len() as u64,
            errors,
            error_rate: by(errors as f64),
            latency_ms: by(took as f64),
            latency_ms_max: ended.iter().map(|attempt| attempt.took).max(),
            since: ended.iter().map(|attempt| attempt.started_at).min().map(|at| at.to_string()),
        }
    }

    /// Of attempts that a node has counted, and when the time begins in which the oldest of them ended.
    pub fn counted(part: &AgentPart, since: Option<Millis>) -> Self {
        let done = part.executions;
        Self {
            executions: done,
            errors: part.errors,
            error_rate: (done > 0).then(|| part.errors as f64 / done as f64),
            latency_ms: part.mean_ms(),
            latency_ms_max: part
                .slowest()
                .map(|seconds| ((seconds * 1e6).round() / 1e3).ceil() as u64),
            since: since.map(|at| at.to_string()),
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

/// The attempts of an agent that ended at an instant or later, where no node has counted them: however
/// many commits that are.
///
/// # Errors
/// The store can't be read, or the time is longer than nodes count.
pub async fn within(reader: &Reader, agent: &Name, span: Span, now: Millis) -> Result<Vec<Ended>> {
    if !Range::ALL.into_iter().any(|range| range.span() >= span) {
        return Err(too_long());
    }
    let from = Millis(now.0.saturating_sub_unsigned(span.0));
    let mut by_run: BTreeMap<RunId, Vec<HistoryRow>> = BTreeMap::new();
    let mut upto = reader.views.last_event().await?;
    let mut is_over = false;
    // What retention has deleted is jumped over.
    while let Some(newest) = newest(reader, upto).await?.filter(|_| !is_over) {
        upto = newest;
        let mut behind = upto.saturating_sub(PART);
        let before = behind;
        while behind < upto {
            let rows = (upto - behind) as usize;
            let mut rows = reader.views.events(behind, rows, PART_EVENTS).await?;
            rows.retain(|row| row.seq <= upto);
            let Some(last) = rows.last() else { break };
            behind = last.seq;
            // A clock that was set back makes some of these later than the others.
            is_over |= rows.iter().any(|row| row.at < from);
            rows.into_iter().for_each(|row| by_run.entry(row.run).or_default().push(row));
        }
        upto = before;
    }
    for (run, rows) in &mut by_run {
        rows.sort_by_key(|row| row.seq);
        begin(reader, *run, rows).await?;
    }
    let mut ended = of_agent(reader, by_run, agent).await?;
    ended.retain(|attempt| attempt.started_at.after(Span(attempt.took)) >= from);
    Ok(ended)
}

/// The newest commit that is kept, up to one.
async fn newest(reader: &Reader, upto: u64) -> Result<Option<u64>> {
    let (rows, bytes) = (1, usize::MAX);
    let ask = KeptAsk { run: None, behind: 0, upto, newest_first: true, rows, bytes };
    Ok(reader.views.kept(&ask).await?.first().map(|row| row.seq))
}

/// Adds to a part of a run's history what came before it: an attempt may have begun there.
async fn begin(reader: &Reader, run: RunId, rows: &mut Vec<HistoryRow>) -> Result<()> {
    let first = rows.first().map_or(0, |row| row.version);
    let mut before: Vec<HistoryRow> = Vec::new();
    loop {
        let behind = before.last().map_or(0, |row| row.version);
        let missing = first.saturating_sub(behind + 1).min(PART) as usize;
        if missing == 0 {
            break;
        }
        let mut more = reader.views.history(run, behind, missing).await?;
        more.retain(|row| row.version < first);
        if more.is_empty() {
            break;
        }
        before.extend(more);
    }
    rows.splice(0..0, before);
    Ok(())
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
