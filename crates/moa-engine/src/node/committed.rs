//! What follows a commit: release what it held back, or forget and do it again.

use moa_core::ids::RunId;
use moa_core::run::RunStatus;
use moa_core::time::{Millis, Span};
use moa_ports::store::{self, BatchOutcome, CommitOutcome, Snapshot};

use crate::handle::{Committed, Error};

use super::gather::{After, Pending, Queued, Source};
use super::{Answer, Command, Entry, Node};

/// Waits before the store is tried again, at first and at most.
const RETRY_MIN: Span = Span(250);
const RETRY_MAX: Span = Span(5_000);

impl Node {
    /// The outcome of the batch in flight.
    pub fn committed(&mut self, now: Millis, outcome: Result<BatchOutcome, store::Error>) {
        let Some(ids) = self.in_flight.take() else { return };
        match outcome {
            Ok(outcome) => {
                self.degraded = None;
                self.commits += ids.len() as u64;
                self.due_wanted |= outcome.messages;
                for (id, outcome) in ids.into_iter().zip(outcome.commits) {
                    self.commit_done(now, id, outcome);
                }
                self.evict();
            }
            Err(error @ (store::Error::Corrupt(_) | store::Error::Newer { .. })) => {
                self.out.push_back(Command::Fatal(error));
            }
            Err(store::Error::Unknown(reason)) => self.batch_failed(now, ids, &reason, true),
            Err(error) => self.batch_failed(now, ids, &error.to_string(), false),
        }
    }

    fn commit_done(&mut self, now: Millis, id: RunId, outcome: CommitOutcome) {
        let Some(Entry::Live(live)) = self.runs.get_mut(&id) else { return };
        let Some(pending) = live.in_flight.take() else { return };
        match outcome {
            CommitOutcome::Applied { seq } => self.commit_applied(now, id, seq, *pending),
            CommitOutcome::Conflict => self.redo(now, id, *pending, true),
            CommitOutcome::Duplicate(existing) => {
                self.forget(id);
                self.created_elsewhere(pending.inputs, Some(existing));
            }
            CommitOutcome::Skipped => {
                self.forget(id);
                self.created_elsewhere(pending.inputs, None);
            }
        }
    }

    fn commit_applied(&mut self, now: Millis, id: RunId, seq: u64, mut pending: Pending) {
        let Some(Entry::Live(live)) = self.runs.get_mut(&id) else { return };
        let status = live.run.status_now();
        if self.publish && !pending.events.is_empty() {
            let version = live.run.version;
            let events = std::mem::take(&mut pending.events);
            let committed = Committed { seq, run: id, version, at: now, status, events };
            self.out.push_back(Command::Publish(committed));
        }
        for after in pending.after {
            self.perform(id, after);
        }
        let Some(Entry::Live(live)) = self.runs.get_mut(&id) else { return };
        if live.pending.is_some() {
            return;
        }
        if status.is_terminal() {
            self.runs.remove(&id);
        } else if status != RunStatus::Running || live.leased == 0 {
            self.tick += 1;
            live.used = self.tick;
            self.idle.push_back((self.tick, id));
        }
    }

    /// Forgets a run and applies its inputs again on what the store has.
    fn redo(&mut self, now: Millis, id: RunId, pending: Pending, again: bool) {
        let mut inputs = pending.inputs;
        self.never_started(id, &pending.after);
        if let Some(Entry::Live(live)) = self.runs.get_mut(&id)
            && let Some(next) = live.pending.take()
        {
            inputs.extend(next.inputs);
            self.never_started(id, &next.after);
        }
        self.forget(id);
        for queued in inputs {
            self.submit(now, id, if again { queued.again() } else { queued });
        }
    }

    /// Attempts of a commit that was not written never start: their slots are free.
    fn never_started(&mut self, id: RunId, after: &[After]) {
        for after in after {
            if let After::Start(task) = after {
                self.slots.release(id, task.inst, task.attempt);
            }
        }
    }

    /// Drops a run from memory.
    pub(super) fn forget(&mut self, id: RunId) {
        if let Some(Entry::Live(live)) = self.runs.remove(&id) {
            self.slots.forget_ready(id, &live.run);
            self.gathering.retain(|g| *g != id);
        }
    }

    /// The whole batch was not written (or nobody knows): forget its runs; try again later.
    fn batch_failed(&mut self, now: Millis, ids: Vec<RunId>, reason: &str, unknown: bool) {
        let tries = self.degraded.as_ref().map_or(0, |(_, tries, _)| *tries);
        let delay = Span((RETRY_MIN.0 << tries.min(10)).min(RETRY_MAX.0));
        tracing::error!(reason, retry.delay_ms = delay.0, "the store can't be written");
        self.degraded = Some((now.after(delay), tries + 1, reason.to_owned()));
        // Every run that changed in memory since is forgotten too, in the order of its inputs.
        let mut all = ids;
        all.extend(std::mem::take(&mut self.gathering));
        let mut seen = std::collections::BTreeSet::new();
        for id in all {
            if !seen.insert(id) {
                continue;
            }
            let Some(Entry::Live(live)) = self.runs.get_mut(&id) else { continue };
            let parts = [live.in_flight.take(), live.pending.take()];
            for pending in parts.into_iter().flatten() {
                self.never_started(id, &pending.after);
                for queued in pending.inputs {
                    self.hold(id, queued, reason, unknown);
                }
            }
            self.forget(id);
        }
        self.relays.clear();
        self.due_after = 0;
        self.due_wanted = true;
        self.lost_wanted = true;
        self.slots.more_in_store = true;
    }

    /// Keeps an input until the store works again; requests are answered now when nothing was written.
    fn hold(&mut self, id: RunId, queued: Queued, reason: &str, unknown: bool) {
        let error = || Error::Unavailable { reason: reason.to_owned() };
        match queued {
            // Messages and timers come back from the store.
            Queued::Input { source: Source::Message(_) | Source::Timer(_), .. } => {}
            Queued::Input { source: Source::Request { token, .. }, .. } if !unknown => {
                self.reply(token, Answer::Changed(Err(error())));
            }
            Queued::Create(creation) if !unknown => creation.answer(self, Err(error())),
            Queued::Fork { token, .. } if !unknown => {
                self.reply(token, Answer::Forked(Err(error())));
            }
            queued => self.held.push((id, if unknown { queued.again() } else { queued })),
        }
    }

    /// Runs arrived from the store.
    pub fn loaded(
        &mut self,
        now: Millis,
        ids: Vec<RunId>,
        found: Result<Vec<Option<Snapshot>>, store::Error>,
    ) {
        match found {
            Ok(found) => {
                for (id, snapshot) in ids.into_iter().zip(found) {
                    self.place_loaded(now, id, snapshot);
                }
            }
            Err(error) => {
                let reason = error.to_string();
                for id in ids {
                    if let Some(Entry::Loading(waiting)) = self.runs.remove(&id) {
                        for queued in waiting {
                            self.hold(id, queued, &reason, false);
                        }
                    }
                }
                if matches!(error, store::Error::Corrupt(_)) {
                    self.out.push_back(Command::Fatal(error));
                } else if self.degraded.is_none() {
                    self.degraded = Some((now.after(RETRY_MIN), 1, reason));
                    self.due_wanted = true;
                }
            }
        }
    }
}

impl Queued {
    /// The same, marked as applied once already with unknown outcome.
    fn again(self) -> Self {
        match self {
            Self::Input { input, source: Source::Request { token, .. } } => {
                Self::Input { input, source: Source::Request { token, again: true } }
            }
            Self::Create(mut creation) => {
                creation.again = true;
                Self::Create(creation)
            }
            other => other,
        }
    }
}
