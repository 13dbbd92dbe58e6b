//! The job that deletes what is old from the store, in small parts with pauses between them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use moa_core::ids::RunId;
use moa_core::run::RunStatus;
use moa_core::time::{Millis, Span};
use moa_ports::audit::{AuditEntry, AuditHead, PRUNE};
use moa_ports::store::{Batch, Error, Old, PruneAsk, PruneMark, Pruned, Store};
use moa_ports::views::Views;
use serde_json::{Value as Json, json};
use tokio::sync::oneshot;

use super::{Instants, Job};
use crate::audit::{Actor, Deed, body_of};

/// Runs looked at in one call of the store.
const PART: usize = 100;
/// Pauses are so many times as long as the call before: what is old never takes more than a
/// quarter of the writer's time.
const PAUSE_FACTOR: u32 = 3;
/// Entries of the audit log removed in one transaction, at most.
const ENTRIES: usize = 1000;
/// Entries of the audit log may be older than their limit by so much: each removal is an entry too,
/// which is old one day.
const LATE_MAX: Span = Span::minutes(24 * 60);
/// Nothing younger is deleted, whatever the limits say: who waits for a run wants to see its end.
const AGE_MIN: Span = Span::minutes(1);

/// How much is kept of ended runs; `None` = for good.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limit {
    /// Up to this age.
    pub age: Option<Span>,
    /// Up to so many, the newest first.
    pub count: Option<u64>,
}

/// How much of everything is kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Runs that succeeded.
    pub succeeded: Limit,
    /// Runs that failed, and as many that were cancelled.
    pub failed: Limit,
    /// Events of ended runs, up to an age.
    pub history: Option<Span>,
    /// Idempotency keys of runs that are gone, up to an age.
    pub keys: Option<Span>,
    /// Records of occurrences of triggers, up to an age.
    pub occurrences: Option<Span>,
    /// Published events.
    pub events: Limit,
    /// Entries of the audit log.
    pub audit: Limit,
}

/// Deletes what belongs to runs beside the store.
#[async_trait]
pub trait Forget: Send + Sync {
    /// These runs are gone. What it leaves behind must be found by other means: the process may die
    /// between the store's commit and this call.
    async fn forget(&self, runs: Vec<RunId>);
}

/// The job.
pub struct Retention {
    store: Arc<dyn Store>,
    views: Arc<dyn Views>,
    limits: Limits,
    forget: Arc<dyn Forget>,
    /// How far history has been deleted, by number of the status: what lies before is not looked at
    /// again.
    histories: Mutex<BTreeMap<u8, PruneMark>>,
}

impl Retention {
    /// A job on a store.
    pub fn new(
        store: Arc<dyn Store>,
        views: Arc<dyn Views>,
        limits: Limits,
        forget: Arc<dyn Forget>,
    ) -> Self {
        Self { store, views, limits, forget, histories: Mutex::default() }
    }

    /// The instant before which runs of a status are old; or notifications, which are counted apart:
    /// there may be many for each run, which they don't push out.
    async fn before(
        &self,
        status: RunStatus,
        notifications: bool,
        now: Millis,
    ) -> Result<Option<Millis>, Error> {
        let limit = match status {
            RunStatus::Succeeded => self.limits.succeeded,
            _ => self.limits.failed,
        };
        let by_age = limit.age.map(|age| before(now, age));
        let by_count = match limit.count {
            Some(0) => Some(now),
            // What ended before the last one that is kept; many may end in the same instant.
            Some(keep) => self.views.ended_beyond(status, keep - 1, notifications).await?,
            None => None,
        };
        let before = by_age.max(by_count);
        Ok(before.map(|at| at.min(Millis(now.0.saturating_sub_unsigned(AGE_MIN.0)))))
    }

    async fn runs(
        &self,
        status: RunStatus,
        notifications: bool,
        now: Millis,
    ) -> Result<u64, Error> {
        let Some(before) = self.before(status, notifications, now).await? else { return Ok(0) };
        let what = if notifications { Old::Notifications(status) } else { Old::Runs(status) };
        let mut deleted = 0;
        let mut after = None;
        loop {
            let ask = PruneAsk { what, before, after, limit: PART };
            let pruned = self.prune(ask).await?;
            deleted += pruned.runs.len() as u64;
            if !pruned.runs.is_empty() {
                self.forget.forget(pruned.runs).await;
            }
            after = pruned.next;
            if after.is_none() {
                return Ok(deleted);
            }
        }
    }

    async fn histories(&self, status: RunStatus, now: Millis) -> Result<u64, Error> {
        let Some(before) = self.limits.history.map(|age| before(now, age)) else { return Ok(0) };
        let known = |marks: &Mutex<BTreeMap<u8, PruneMark>>| {
            marks.lock().unwrap_or_else(PoisonError::into_inner).get(&(status as u8)).copied()
        };
        let mut deleted = 0;
        let mut after = known(&self.histories);
        loop {
            let ask = PruneAsk { what: Old::History(status), before, after, limit: PART };
            let pruned = self.prune(ask).await?;
            deleted += pruned.runs.len() as u64;
            // Behind the last part there may be some that end before the next activation's limit.
            let Some(next) = pruned.next else { return Ok(deleted) };
            after = Some(next);
            let mut marks = self.histories.lock().unwrap_or_else(PoisonError::into_inner);
            marks.insert(status as u8, next);
        }
    }

    /// Deletes published events; answers how many.
    async fn published(&self, now: Millis) -> Result<u64, Error> {
        let Limit { age, count } = self.limits.events;
        let by_count = match count {
            Some(0) => Some(now),
            Some(keep) => self.views.published_beyond(keep - 1).await?,
            None => None,
        };
        let before = age.map(|age| before(now, age)).max(by_count);
        let before = before.map(|at| at.min(Millis(now.0.saturating_sub_unsigned(AGE_MIN.0))));
        self.older(Old::Published, before).await
    }

    /// Deletes what knows nothing but its age; answers how much.
    async fn by_age(&self, what: Old, age: Option<Span>, now: Millis) -> Result<u64, Error> {
        self.older(what, age.map(|age| before(now, age))).await
    }

    /// The same with what is older than an instant.
    async fn older(&self, what: Old, before: Option<Millis>) -> Result<u64, Error> {
        let Some(before) = before else { return Ok(0) };
        let mut deleted = 0;
        let mut after = None;
        loop {
            let pruned = self.prune(PruneAsk { what, before, after, limit: PART }).await?;
            deleted += (pruned.keys + pruned.occurrences + pruned.published) as u64;
            after = pruned.next;
            if after.is_none() {
                return Ok(deleted);
            }
        }
    }

    /// Removes the beginning of the audit log, with an entry that says so; answers how much.
    async fn audit(&self, now: Millis) -> Result<u64, Error> {
        let Limit { age, count } = self.limits.audit;
        if age.is_none() && count.is_none() {
            return Ok(0);
        }
        let mut removed = 0;
        loop {
            let oldest = self.views.audit(0, ENTRIES).await?;
            let head = self.views.audit_head().await?;
            let (Some(first), Some(head)) = (oldest.first(), head) else { return Ok(removed) };
            let at = |entry: &AuditEntry| entry.act().map_or(0, |act| act.at.0);
            let is_late = |entry: &AuditEntry, late: bool| {
                let by_age = age.is_some_and(|age| {
                    let slack = if late { age.0.min(LATE_MAX.0) } else { 0 };
                    at(entry) < before(now, Span(age.0.saturating_add(slack))).0
                });
                by_age
                    || count.is_some_and(|count| {
                        let slack = if late { count / 10 + 1 } else { 0 };
                        head.seq.saturating_sub(entry.seq) >= count.max(1).saturating_add(slack)
                    })
            };
            if removed == 0 && !is_late(first, true) {
                return Ok(0);
            }
            let old = oldest.iter().take_while(|e| e.seq < head.seq && is_late(e, false));
            let Some(last) = old.last() else { return Ok(removed) };
            let entries = last.seq - first.seq + 1;
            self.remove_audit(now, first.seq, last.head()).await?;
            removed += entries;
            if entries < ENTRIES as u64 {
                return Ok(removed);
            }
        }
    }

    /// Removes entries of the audit log up to one, in the transaction that says so.
    async fn remove_audit(&self, now: Millis, first: u64, last: AuditHead) -> Result<(), Error> {
        let actor = Actor { who: "moa".into(), from: "retention".into() };
        let deed = Deed::new(PRUNE, format!("entries {first} to {}", last.seq))
            .before(json!({"first": first, "last": last}));
        let body = body_of(actor.done(&deed, now), &|_| {})?;
        let batch = Batch { now, audit: vec![body], audit_upto: last.seq, ..Batch::default() };
        let (reply, answer) = oneshot::channel();
        let began = Instant::now();
        self.store.commit(batch, Box::new(move |done| drop(reply.send(done))));
        let gone = |_| Error::Unavailable("the store has stopped".to_owned());
        answer.await.map_err(gone)??;
        tokio::time::sleep(pause(began.elapsed())).await;
        Ok(())
    }

    /// One call of the store, and the pause that is due for it.
    async fn prune(&self, ask: PruneAsk) -> Result<Pruned, Error> {
        let (reply, answer) = oneshot::channel();
        let began = Instant::now();
        // The receiver is there until the answer, unless the node stops.
        self.store.prune(ask, Box::new(move |pruned| drop(reply.send(pruned))));
        let gone = |_| Error::Unavailable("the store has stopped".to_owned());
        let pruned = answer.await.map_err(gone)??;
        if pruned.next.is_some() {
            tokio::time::sleep(pause(began.elapsed())).await;
        }
        Ok(pruned)
    }
}

fn pause(took: Duration) -> Duration {
    (took * PAUSE_FACTOR).clamp(Duration::from_millis(1), Duration::from_secs(5))
}

fn before(now: Millis, age: Span) -> Millis {
    Millis(now.0.saturating_sub_unsigned(age.0))
}

#[async_trait]
impl Job for Retention {
    async fn activate(&self, at: Instants) -> Result<Json, String> {
        let now = at.engine;
        let done = async {
            let (mut runs, mut histories) = (0, 0);
            for status in RunStatus::ALL.into_iter().filter(|status| status.is_terminal()) {
                for notifications in [false, true] {
                    runs += self.runs(status, notifications, now).await?;
                }
                histories += self.histories(status, now).await?;
            }
            let keys = self.by_age(Old::Keys, self.limits.keys, now).await?;
            let occurrences = self.limits.occurrences;
            let occurrences = self.by_age(Old::Occurrences, occurrences, at.wall).await?;
            let events = self.published(now).await?;
            let audit = self.audit(at.wall).await?;
            Ok(json!({
                "runs": runs, "histories": histories, "keys": keys, "occurrences": occurrences,
                "events": events, "audit": audit,
            }))
        };
        done.await.map_err(|e: Error| e.to_string())
    }
}
