//! The read side of the memory store.

use std::collections::BTreeMap;
use std::ops::Bound;

use async_trait::async_trait;
use moa_core::event::InstIx;
use moa_core::ids::{Name, RunId, VersionHash};
use moa_core::machine::Place;
use moa_core::run::{RunStatus, StepRow};
use moa_core::step::StepStatus;
use moa_core::time::Millis;
use moa_core::trigger::{Occurrence, TriggerId};
use moa_core::workflow::NOTIFY_WORKFLOW;

use super::MemoryStore;
use super::model::{Model, Run};
use crate::artifacts::ArtifactHash;
use crate::audit::{AuditEntry, AuditHead};
use crate::limit::LimitRow;
use crate::sealed::SealedRow;
use crate::search::{self, Found, Search};
use crate::store::{Error, Snapshot, WorkflowVersion};
use crate::triggers::{HeardRow, OccurrenceFilter, TriggerFilter, TriggerRow};
use crate::views::{
    ASKS_MAX, ChannelRow, Fate, HistoryRow, KeptAsk, KeptRow, Pending, Places, READY_LOOKED_MAX,
    RunFilter, RunSummary, Totals, Views,
};

#[async_trait]
impl Views for MemoryStore {
    async fn runs(&self, filter: &RunFilter) -> Result<Vec<RunSummary>, Error> {
        let model = self.model();
        let from = filter.after.map_or(Bound::Unbounded, Bound::Excluded);
        let to = filter.before.map_or(Bound::Unbounded, Bound::Excluded);
        let nothing = filter.after.zip(filter.before).is_some_and(|(from, to)| from >= to);
        if nothing {
            return Ok(Vec::new());
        }
        let fit = model.runs.range((from, to)).filter(|(_, run)| fits(filter, run));
        Ok(match filter.oldest_first {
            true => fit.take(filter.limit).map(|(_, run)| summary(run)).collect(),
            false => fit.rev().take(filter.limit).map(|(_, run)| summary(run)).collect(),
        })
    }

    async fn search(&self, search: &Search) -> Result<Found, Error> {
        let filter = RunFilter { limit: usize::MAX, oldest_first: false, ..search.filter.clone() };
        let fit = self.runs(&filter).await?;
        let model = self.model();
        let params = |run: RunId| model.runs.get(&run).map(|run| run.row.params.to_string());
        let mut fit = fit.into_iter();
        let mut with_params = |run: RunSummary| {
            let params = params(run.run).unwrap_or_default();
            (run, params)
        };
        search::find(search, move || Ok(fit.next().map(&mut with_params)))
    }

    async fn run(&self, run: RunId) -> Result<Option<Snapshot>, Error> {
        Ok(self.model().snapshot(run))
    }

    async fn run_within(
        &self,
        run: RunId,
        from: InstIx,
        limit: usize,
        bytes: usize,
    ) -> Result<Option<Snapshot>, Error> {
        let model = self.model();
        let Some(run) = model.runs.get(&run) else { return Ok(None) };
        let (mut steps, mut carried) = (Vec::new(), 0);
        for step in run.steps.range(from..).take(limit).map(|(_, step)| step) {
            steps.push(step.clone());
            carried += carries(step);
            if carried >= bytes {
                break;
            }
        }
        let (version, row, root) = (run.version, run.row.clone(), run.root);
        Ok(Some(Snapshot { version, row, steps, root }))
    }

    async fn asking(&self, run: RunId, limit: usize) -> Result<Vec<StepRow>, Error> {
        let model = self.model();
        let steps = model.runs.get(&run).into_iter().flat_map(|run| run.steps.values());
        Ok(steps.filter(|step| is_asking(step)).take(limit).cloned().collect())
    }

    async fn find_runs(&self, digits: &str) -> Result<Vec<RunId>, Error> {
        let digits = digits.replace('-', "").to_ascii_lowercase();
        if digits.is_empty() {
            return Ok(Vec::new());
        }
        let fits = |run: &RunId| {
            let id = format!("{:032x}", run.0);
            id.starts_with(&digits) || id.ends_with(&digits)
        };
        Ok(self.model().runs.keys().rev().copied().filter(fits).take(10).collect())
    }

    async fn history(
        &self,
        run: RunId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<HistoryRow>, Error> {
        let model = self.model();
        let rows = model.history_of.range((run, after.saturating_add(1))..=(run, u64::MAX));
        Ok(rows.take(limit).map(|(_, seq)| model.history[seq].clone()).collect())
    }

    async fn events(
        &self,
        after: u64,
        rows: usize,
        events: usize,
    ) -> Result<Vec<HistoryRow>, Error> {
        let model = self.model();
        let behind = model.history.range(after.saturating_add(1)..).map(|(_, row)| row);
        Ok(part(behind.take(rows), events))
    }

    async fn kept(&self, ask: &KeptAsk) -> Result<Vec<KeptRow>, Error> {
        let model = self.model();
        let (from, to) = (ask.behind.saturating_add(1), ask.upto);
        if from > to {
            return Ok(Vec::new());
        }
        let rows = model.history.range(from..=to).map(|(_, row)| row);
        let rows: Box<dyn Iterator<Item = &HistoryRow>> =
            if ask.newest_first { Box::new(rows.rev()) } else { Box::new(rows) };
        let (mut kept, mut bytes) = (Vec::new(), 0);
        for row in rows.filter(|row| ask.run.is_none_or(|run| run == row.run)).take(ask.rows) {
            let row = kept_row(&model, row)?;
            bytes += row.events.len();
            kept.push(row);
            if bytes >= ask.bytes {
                break;
            }
        }
        Ok(kept)
    }

    async fn heard(&self, published: &[u64]) -> Result<Vec<HeardRow>, Error> {
        Ok(self.model().heard(published))
    }

    async fn published_beyond(&self, keep: u64) -> Result<Option<Millis>, Error> {
        Ok(self.model().published_beyond(keep))
    }

    async fn places(&self, run: RunId, steps: &[InstIx]) -> Result<Option<Places>, Error> {
        let model = self.model();
        let Some(run) = model.runs.get(&run) else { return Ok(None) };
        let (mut found, mut next) = (BTreeMap::new(), steps.to_vec());
        while let Some(inst) = next.pop() {
            let Some(row) = run.steps.get(&inst) else { continue };
            let place = Place { plan: row.plan, owner: row.owner, iteration: row.iteration };
            if found.insert(inst, place).is_none() {
                next.extend(row.owner);
            }
        }
        let (workflow, hash) = (run.row.workflow.clone(), run.row.hash);
        Ok(Some(Places { workflow, hash, steps: found }))
    }

    async fn last_event(&self) -> Result<u64, Error> {
        Ok(self.model().last_event)
    }

    async fn workflows(&self, workflow: Option<&Name>) -> Result<Vec<WorkflowVersion>, Error> {
        let model = self.model();
        let versions = model.workflows_newest_first();
        let fit = versions.filter(|v| workflow.is_none_or(|name| v.workflow == *name));
        Ok(fit.cloned().collect())
    }

    async fn versions_put(
        &self,
        workflow: &Name,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<(u64, WorkflowVersion)>, Error> {
        let model = self.model();
        let versions = model.versions_newest_first().filter(|(put, v)| {
            v.workflow == *workflow && before.is_none_or(|before| *put < before)
        });
        let versions = versions.take(limit);
        let bare = |v: &WorkflowVersion| {
            let (source, plan) = (String::new(), String::new());
            WorkflowVersion { source, plan, ..v.clone() }
        };
        Ok(versions.map(|(put, version)| (*put, bare(version))).collect())
    }

    async fn workflow(&self, hash: VersionHash) -> Result<Option<WorkflowVersion>, Error> {
        Ok(self.model().workflow(&crate::store::WorkflowRef::Hash(hash)))
    }

    async fn pending(&self, run: RunId) -> Result<Pending, Error> {
        let model = self.model();
        let message = |id| (id, model.messages[&id].clone());
        Ok(Pending {
            timers: model.timers_of(run).collect(),
            messages: model.messages_of(run).map(message).collect(),
            queued: model.slots.place(run),
            tasks: model.tasks_of(run),
        })
    }

    async fn triggers(&self, filter: &TriggerFilter) -> Result<Vec<TriggerRow>, Error> {
        Ok(self.model().find_triggers(filter))
    }

    async fn trigger(&self, id: TriggerId) -> Result<Option<TriggerRow>, Error> {
        Ok(self.model().trigger(id))
    }

    async fn occurrences(
        &self,
        trigger: TriggerId,
        filter: &OccurrenceFilter,
    ) -> Result<Vec<Occurrence>, Error> {
        Ok(self.model().find_occurrences(trigger, filter))
    }

    async fn totals(&self) -> Result<Totals, Error> {
        let model = self.model();
        let running = model.running.values().flatten();
        let mut totals = Totals {
            ready: model.ready.values().map(|queue| queue.len() as u64).sum(),
            running: running.filter(|(run, _)| model.is_open(*run)).count() as u64,
            timers: model.timers.len() as u64,
            messages: model.messages.len() as u64,
            asks: model.runs.values().map(asks).sum::<u64>().min(ASKS_MAX),
            events: model.last_event,
            ready_since: ready_since(&model),
            trigger_due: model.first_due_trigger(),
            ..Totals::default()
        };
        for run in model.runs.values() {
            let of = match run.row.workflow.as_str() == NOTIFY_WORKFLOW {
                true => &mut totals.notifications,
                false => &mut totals.runs,
            };
            *of.entry(run.row.status.as_str().to_owned()).or_default() += 1;
        }
        Ok(totals)
    }

    async fn channels(&self) -> Result<Vec<ChannelRow>, Error> {
        let model = self.model();
        let mut newest = BTreeMap::new();
        for run in model.runs.values() {
            if let Some(of) = notified(run) {
                let is_newer = newest.get(&of).is_none_or(|had: &&Run| had.row.run < run.row.run);
                is_newer.then(|| newest.insert(of, run));
            }
        }
        let mut all: Vec<ChannelRow> = Vec::new();
        for ((channel, _), run) in newest {
            if all.last().is_none_or(|last| last.channel != channel) {
                let channel = channel.to_owned();
                all.push(ChannelRow { channel, last: run.row.run, open: 0, dead: 0 });
            }
            let row = all.last_mut().expect("it is there by now");
            row.last = row.last.max(run.row.run);
            row.open += u64::from(!run.row.status.is_terminal());
            row.dead += u64::from(run.row.status == RunStatus::Failed);
        }
        Ok(all)
    }

    async fn fates(&self, runs: &[RunId]) -> Result<Vec<Fate>, Error> {
        let model = self.model();
        Ok(runs.iter().map(|&run| model.fate(run)).collect())
    }

    async fn artifact_fates(&self, artifacts: &[ArtifactHash]) -> Result<Vec<Fate>, Error> {
        let model = self.model();
        Ok(artifacts.iter().map(|artifact| model.artifact_fate(artifact)).collect())
    }

    async fn ended_beyond(
        &self,
        status: RunStatus,
        keep: u64,
        notifications: bool,
    ) -> Result<Option<Millis>, Error> {
        Ok(self.model().ended_beyond(status, keep, notifications))
    }

    async fn limits(&self) -> Result<Vec<LimitRow>, Error> {
        Ok(self.model().limits())
    }

    async fn sealed(&self) -> Result<Vec<SealedRow>, Error> {
        Ok(self.model().sealed())
    }

    async fn audit(&self, after: u64, limit: usize) -> Result<Vec<AuditEntry>, Error> {
        let model = self.model();
        let behind = model.audit().iter().filter(|entry| entry.seq > after);
        Ok(behind.take(limit).cloned().collect())
    }

    async fn audit_head(&self) -> Result<Option<AuditHead>, Error> {
        Ok(self.model().audit_head())
    }

    async fn verify(&self) -> Result<Vec<String>, Error> {
        let model = self.model();
        Ok(model.runs.values().flat_map(|run| faults(&model, run)).collect())
    }
}

fn fits(filter: &RunFilter, run: &Run) -> bool {
    let row = &run.row;
    (filter.statuses.is_empty() || filter.statuses.contains(&row.status))
        && filter.workflow.as_ref().is_none_or(|name| row.workflow == *name)
        && filter.except.as_ref().is_none_or(|name| row.workflow != *name)
        && filter.parent.is_none_or(|parent| row.parent.is_some_and(|p| p.run == parent))
        && (!filter.asks || asks(run) > 0)
        && filter.notifies.as_ref().is_none_or(|notifies| {
            notified(run).is_some_and(|(channel, key)| {
                channel == notifies.channel
                    && notifies.key.as_deref().is_none_or(|wanted| key == Some(wanted))
            })
        })
}

/// The channel and the key of a notification.
fn notified(run: &Run) -> Option<(&str, Option<&str>)> {
    let params = &run.row.params;
    let channel =
        (run.row.workflow.as_str() == NOTIFY_WORKFLOW).then(|| params["channel"].as_str());
    Some((channel??, params["key"].as_str()))
}

/// How many steps of a run wait for a person.
fn asks(run: &Run) -> u64 {
    run.steps.values().filter(|step| is_asking(step)).count() as u64
}

fn is_asking(step: &StepRow) -> bool {
    step.status == StepStatus::Waiting && step.wait.is_some_and(|wait| wait.asks())
}

fn summary(run: &Run) -> RunSummary {
    let row = &run.row;
    RunSummary {
        run: row.run,
        workflow: row.workflow.clone(),
        hash: row.hash,
        status: row.status,
        cause: row.extra.cause.clone(),
        parent: row.parent.map(|parent| parent.run),
        created_at: row.created_at,
        started_at: row.started_at,
        finished_at: row.finished_at,
        error: row.error.as_ref().map(|error| error.message.clone()),
    }
}

/// What does not fit together in one run.
fn faults(model: &Model, run: &Run) -> Vec<String> {
    let id = run.row.run;
    let mut faults = Vec::new();
    let mut rows = model.history_of.range((id, 0)..=(id, u64::MAX)).map(|(key, _)| key.1);
    let (first, rows) = (rows.next().unwrap_or(0), rows.count() as u64 + 1);
    // Only of a run that has ended the older rows may be gone.
    let whole = first == 1 || (first > 1 && run.row.status.is_terminal());
    if !whole || first + rows - 1 != run.version {
        faults.push(format!("run {id}: version {}, but {rows} history rows", run.version));
    }
    if run.row.status.is_terminal() {
        let open = run.steps.values().find(|step| !step.status.is_terminal());
        if let Some(step) = open {
            faults.push(format!("run {id}: ended, but step {} is open", step.inst));
        }
        if model.timers_of(id).next().is_some() {
            faults.push(format!("run {id}: ended, but has timers"));
        }
    }
    for step in run.steps.values() {
        if step.queue_key.is_some() && step.status != StepStatus::Ready {
            faults.push(format!("run {id}: step {} is queued, but not ready", step.inst));
        }
    }
    faults
}

fn kept_row(model: &Model, row: &HistoryRow) -> Result<KeptRow, Error> {
    let HistoryRow { seq, run, version, at, events } = row;
    let (seq, run, version, at) = (*seq, *run, *version, *at);
    let workflow = model.runs.get(&run).map(|run| run.row.workflow.clone());
    let events = serde_json::to_string(events).map_err(|e| Error::Invalid(e.to_string()))?;
    Ok(KeptRow { seq, run, workflow, version, at, events })
}

/// Rows until they hold so many events.
fn part<'a>(rows: impl Iterator<Item = &'a HistoryRow>, events: usize) -> Vec<HistoryRow> {
    let (mut found, mut held) = (Vec::new(), 0);
    for row in rows {
        held += row.events.len();
        found.push(row.clone());
        if held >= events {
            break;
        }
    }
    found
}

/// Since when the oldest of the tasks that are first in their queues waits.
fn ready_since(model: &Model) -> Option<Millis> {
    let mut all: Vec<_> = model.ready.values().flatten().collect();
    all.sort_unstable_by_key(|(queue_key, ..)| queue_key);
    let step = |(_, _, run, inst): &(i64, u64, RunId, InstIx)| {
        model.runs.get(run)?.steps.get(inst)?.ready_at
    };
    all.into_iter().take(READY_LOOKED_MAX).filter_map(step).min()
}

/// Bytes of what a step carries, about.
fn carries(step: &StepRow) -> usize {
    let text = |value: serde_json::Result<String>| value.map_or(0, |text| text.len());
    text(serde_json::to_string(&step.output))
        + text(serde_json::to_string(&step.error))
        + text(serde_json::to_string(&step.data))
}
