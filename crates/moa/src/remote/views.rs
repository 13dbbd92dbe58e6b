//! The read side of a store elsewhere: each question is asked over the API.

use std::time::Duration;

use async_trait::async_trait;
use moa_core::event::InstIx;
use moa_core::ids::{Name, RunId, VersionHash};
use moa_core::run::{RunStatus, StepRow};
use moa_core::time::Millis;
use moa_core::trigger::{Occurrence, TriggerId};
use moa_ports::artifacts::ArtifactHash;
use moa_ports::audit::{AuditEntry, AuditHead};
use moa_ports::limit::LimitRow;
use moa_ports::sealed::SealedRow;
use moa_ports::search::{Found, Search};
use moa_ports::store::{Error, Snapshot, WorkflowVersion};
use moa_ports::triggers::{HeardRow, OccurrenceFilter, TriggerFilter, TriggerRow};
use moa_ports::views::{
    ChannelRow, Fate, HistoryRow, KeptAsk, KeptRow, Pending, Places, RunFilter, RunSummary, Totals,
    Views,
};
use moa_view::rows::{Ask, ROWS_MAX, STEPS_MAX};
use serde::de::DeserializeOwned;

use super::Remote;
use crate::exit::Failure;

type Result<T> = std::result::Result<T, Error>;

impl Remote {
    async fn row<T: DeserializeOwned>(&self, ask: Ask) -> Result<T> {
        Ok(self.ask(ask).await?)
    }

    /// Asks for parts until there are `limit` rows, or no more.
    async fn rows<T: DeserializeOwned>(
        &self,
        limit: usize,
        part: usize,
        mut ask: impl FnMut(Option<&T>, usize) -> Ask,
    ) -> Result<Vec<T>> {
        let mut rows: Vec<T> = Vec::new();
        while rows.len() < limit {
            let wanted = part.min(limit - rows.len());
            let more: Vec<T> = self.row(ask(rows.last(), wanted)).await?;
            let done = more.len() < wanted;
            rows.extend(more.into_iter().take(wanted));
            if done {
                break;
            }
        }
        Ok(rows)
    }
}

/// How often a run is read again that has changed while it was read.
const TRIES: usize = 20;
/// How long it is left alone before that.
const PAUSE: Duration = Duration::from_millis(250);

/// What came of reading a run in parts.
enum Read {
    /// All of it, as it was at one version; `None` = there is none.
    Whole(Option<Box<Snapshot>>),
    /// It changed in between.
    Changed,
}

impl Remote {
    /// A run with all its steps, in as many parts as they take.
    async fn whole(&self, run: RunId) -> Result<Read> {
        let mut all: Option<Box<Snapshot>> = None;
        loop {
            let last = all.as_ref().and_then(|all| all.steps.last()).map(|step| step.inst);
            let from = last.map_or(0, |last| last.saturating_add(1));
            let ask = Ask::RunPart { run, from, limit: STEPS_MAX };
            let Some((part, more)) = self.row::<Option<(Snapshot, bool)>>(ask).await? else {
                return Ok(Read::Whole(None));
            };
            // A node that goes on and on without a step is none of moa.
            let more = more && !part.steps.is_empty();
            match &mut all {
                None => all = Some(Box::new(part)),
                Some(all) if all.version != part.version => return Ok(Read::Changed),
                Some(all) => all.steps.extend(part.steps),
            }
            if !more {
                return Ok(Read::Whole(all));
            }
        }
    }
}

/// What only the machine of the store itself may ask.
fn not_told<T>(what: &str) -> Result<T> {
    Err(Failure::refused(format!("a node tells nobody elsewhere {what}")).into())
}

#[async_trait]
impl Views for Remote {
    async fn runs(&self, filter: &RunFilter) -> Result<Vec<RunSummary>> {
        self.rows(filter.limit, ROWS_MAX, |last: Option<&RunSummary>, limit| {
            let last = last.map(|run| run.run);
            let (after, before) = match filter.oldest_first {
                true => (last.or(filter.after), filter.before),
                false => (filter.after, last.or(filter.before)),
            };
            Ask::Runs(RunFilter { after, before, limit, ..filter.clone() })
        })
        .await
    }

    async fn search(&self, search: &Search) -> Result<Found> {
        let mut search = search.clone();
        search.filter.limit = search.filter.limit.min(ROWS_MAX);
        self.row(Ask::Search(search)).await
    }

    async fn run(&self, run: RunId) -> Result<Option<Snapshot>> {
        if let Read::Whole(found) = self.whole(run).await? {
            return Ok(found.map(|found| *found));
        }
        // It is at work: only what is read at once is of one moment.
        match self.row::<Option<(Snapshot, bool)>>(Ask::Run(run)).await? {
            // It has more than one answer holds.
            Some((_, true)) => {}
            found => return Ok(found.map(|(found, _)| found)),
        }
        for _ in 0..TRIES {
            tokio::time::sleep(PAUSE).await;
            if let Read::Whole(found) = self.whole(run).await? {
                return Ok(found.map(|found| *found));
            }
        }
        Err(Error::Unavailable(format!("run {run} changes while it is read, time and again")))
    }

    async fn run_within(
        &self,
        run: RunId,
        from: InstIx,
        limit: usize,
        _bytes: usize,
    ) -> Result<Option<Snapshot>> {
        // A node bounds the bytes of each answer itself.
        let (mut all, mut from) = (None::<Snapshot>, from);
        loop {
            let had = all.as_ref().map_or(0, |all| all.steps.len());
            let ask = Ask::RunPart { run, from, limit: (limit - had).min(STEPS_MAX) };
            let Some((part, more)) = self.row::<Option<(Snapshot, bool)>>(ask).await? else {
                return Ok(None);
            };
            let Some(last) = part.steps.last().map(|step| step.inst) else {
                return Ok(Some(all.unwrap_or(part)));
            };
            from = last.saturating_add(1);
            let added = part.steps.len();
            match &mut all {
                None => all = Some(part),
                // What it was at first, as far as it was the same by then.
                Some(all) if all.version != part.version => return Ok(Some(all.clone())),
                Some(all) => all.steps.extend(part.steps),
            }
            if !more || had + added >= limit {
                return Ok(all);
            }
        }
    }

    async fn asking(&self, run: RunId, limit: usize) -> Result<Vec<StepRow>> {
        self.row(Ask::Asking { run, limit }).await
    }

    async fn find_runs(&self, digits: &str) -> Result<Vec<RunId>> {
        self.row(Ask::FindRuns(digits.to_owned())).await
    }

    async fn history(&self, run: RunId, after: u64, limit: usize) -> Result<Vec<HistoryRow>> {
        self.row(Ask::History { run, after, limit }).await
    }

    async fn events(&self, after: u64, rows: usize, events: usize) -> Result<Vec<HistoryRow>> {
        self.row(Ask::Events { after, rows, events }).await
    }

    async fn kept(&self, _ask: &KeptAsk) -> Result<Vec<KeptRow>> {
        not_told("its history as it is kept")
    }

    async fn heard(&self, published: &[u64]) -> Result<Vec<HeardRow>> {
        let mut all = Vec::new();
        for part in published.chunks(ROWS_MAX) {
            let found: Vec<HeardRow> = self.row(Ask::Heard(part.to_vec())).await?;
            all.extend(found);
        }
        Ok(all)
    }

    async fn published_beyond(&self, _keep: u64) -> Result<Option<Millis>> {
        not_told("what may be deleted")
    }

    async fn places(&self, run: RunId, steps: &[InstIx]) -> Result<Option<Places>> {
        let mut all: Option<Places> = None;
        let (first, others) = steps.split_at(steps.len().min(ROWS_MAX));
        for part in std::iter::once(first).chain(others.chunks(ROWS_MAX)) {
            let steps = part.to_vec();
            let found: Option<Places> = self.row(Ask::Places { run, steps }).await?;
            match (&mut all, found) {
                (Some(all), Some(more)) => all.steps.extend(more.steps),
                (all @ None, found @ Some(_)) => *all = found,
                (_, None) => return Ok(None),
            }
        }
        Ok(all)
    }

    async fn last_event(&self) -> Result<u64> {
        self.row(Ask::LastEvent).await
    }

    async fn workflows(&self, workflow: Option<&Name>) -> Result<Vec<WorkflowVersion>> {
        self.row(Ask::Workflows(workflow.cloned())).await
    }

    async fn versions_put(
        &self,
        _workflow: &Name,
        _before: Option<u64>,
        _limit: usize,
    ) -> Result<Vec<(u64, WorkflowVersion)>> {
        not_told("in which order versions were put")
    }

    async fn workflow(&self, hash: VersionHash) -> Result<Option<WorkflowVersion>> {
        self.row(Ask::Workflow(hash)).await
    }

    async fn pending(&self, run: RunId) -> Result<Pending> {
        self.row(Ask::Pending(run)).await
    }

    async fn triggers(&self, filter: &TriggerFilter) -> Result<Vec<TriggerRow>> {
        self.rows(filter.limit, ROWS_MAX, |last: Option<&TriggerRow>, limit| {
            let last = last.map(|row| (row.spec.workflow.clone(), row.spec.label()));
            let after = last.or_else(|| filter.after.clone());
            Ask::Triggers(TriggerFilter { after, limit, ..filter.clone() })
        })
        .await
    }

    async fn trigger(&self, id: TriggerId) -> Result<Option<TriggerRow>> {
        self.row(Ask::Trigger(id)).await
    }

    async fn occurrences(
        &self,
        trigger: TriggerId,
        filter: &OccurrenceFilter,
    ) -> Result<Vec<Occurrence>> {
        self.rows(filter.limit, ROWS_MAX, |last: Option<&Occurrence>, limit| {
            let after = last.map(|o| (o.at, o.key.clone())).or_else(|| filter.after.clone());
            let filter = OccurrenceFilter { after, limit, ..filter.clone() };
            Ask::Occurrences { trigger, filter }
        })
        .await
    }

    async fn totals(&self) -> Result<Totals> {
        self.row(Ask::Totals).await
    }

    async fn channels(&self) -> Result<Vec<ChannelRow>> {
        self.row(Ask::Channels).await
    }

    async fn fates(&self, _runs: &[RunId]) -> Result<Vec<Fate>> {
        not_told("what may be deleted")
    }

    async fn artifact_fates(&self, _artifacts: &[ArtifactHash]) -> Result<Vec<Fate>> {
        not_told("what may be deleted")
    }

    async fn ended_beyond(&self, _: RunStatus, _: u64, _: bool) -> Result<Option<Millis>> {
        not_told("what may be deleted")
    }

    async fn limits(&self) -> Result<Vec<LimitRow>> {
        self.row(Ask::Limits).await
    }

    async fn sealed(&self) -> Result<Vec<SealedRow>> {
        not_told("its secrets")
    }

    async fn audit(&self, after: u64, limit: usize) -> Result<Vec<AuditEntry>> {
        self.rows(limit, ROWS_MAX, |last: Option<&AuditEntry>, limit| {
            let after = last.map_or(after, |entry| entry.seq);
            Ask::Audit { after, limit }
        })
        .await
    }

    async fn audit_head(&self) -> Result<Option<AuditHead>> {
        self.row(Ask::AuditHead).await
    }

    async fn verify(&self) -> Result<Vec<String>> {
        not_told("whether its store is whole: `moa doctor` says so on its machine")
    }
}
