//! What follows a commit: release what it held back, or forget and do it again.

use moa_core::ids::{Name, RunId};
use moa_core::machine::Input;
use moa_core::run::RunStatus;
use moa_core::time::{Millis, Span};
use moa_core::workflow::NOTIFY_WORKFLOW;
use moa_ports::store::{self, BatchOutcome, CommitOutcome, Snapshot};

use crate::handle::{Committed, Error};

use super::gather::{After, Pending, Queued, Source};
use super::limits::Limits;
use super::{Answer, Command, Degraded, Doubt, Entry, Node};

/// Waits before the store is tried again, at first and at most.
const RETRY_MIN: Span = Span(250);
const RETRY_MAX: Span = Span(5_000);

impl Node {
    /// The outcome of the batch in flight.
    pub fn committed(&mut self, now: Millis, outcome: Result<BatchOutcome, store::Error>) {
        let Some(ids) = self.in_flight.take() else { return };
        self.armed.in_flight = None;
        if self.due_after < self.batch {
            self.due_after = 0;
        }
        match outcome {
            Ok(outcome) => {
                self.recovers(now);
                self.commits += ids.len() as u64;
                self.due_wanted |= outcome.messages;
                for token in self.limits.written(outcome.limits_refused, now) {
                    self.reply(token, Answer::Changed(Ok(())));
                }
                for (id, outcome) in ids.into_iter().zip(outcome.commits) {
                    self.commit_done(now, id, outcome);
                }
                if let Some(newest) = outcome.bus {
                    self.tell_of_the_bus(now, newest);
                }
                self.triggers_committed(now, outcome.triggers, outcome.posts);
                self.crowded = true;
            }
            Err(error @ (store::Error::Corrupt { .. } | store::Error::Newer { .. })) => {
                self.out.push_back(Command::Fatal(error));
            }
            Err(store::Error::Unknown(reason)) => self.batch_failed(now, ids, &reason, true),
            Err(error) => self.batch_failed(now, ids, &error.to_string(), false),
        }
    }

    fn commit_done(&mut self, now: Millis, id: RunId, outcome: CommitOutcome) {
        let Some(Entry::Live(live)) = self.runs.get_mut(&id) else { return };
        if let CommitOutcome::Invalid(why) = outcome {
            return self.unwritable(id, &why);
        }
        let Some(pending) = live.in_flight.take() else { return };
        match outcome {
            CommitOutcome::Applied { seq } => self.commit_applied(now, id, seq, *pending),
            CommitOutcome::Conflict => self.redo(now, id, *pending),
            // It was created by an earlier commit, of unknown outcome: what was meant for it still is.
            CommitOutcome::Duplicate(existing) if existing == id => self.redo(now, id, *pending),
            CommitOutcome::Duplicate(existing) => self.not_created(id, *pending, Some(existing)),
            CommitOutcome::Skipped => self.not_created(id, *pending, None),
            CommitOutcome::Invalid(_) => {}
        }
    }

    fn commit_applied(&mut self, now: Millis, id: RunId, seq: u64, mut pending: Pending) {
        let Some(Entry::Live(live)) = self.runs.get_mut(&id) else { return };
        let status = pending.status;
        if pending.ended && live.run.row.workflow.as_str() != NOTIFY_WORKFLOW {
            self.meter.run(status, now.since(live.run.row.created_at));
        }
        if self.publish && (pending.unheard || !pending.events.is_empty()) {
            let version = live.run.version;
            let events = std::mem::take(&mut pending.events);
            let committed = Committed { seq, run: id, version, at: now, status, events };
            self.out.push_back(Command::Publish(committed));
        }
        self.decide(id);
        for (inst, attempt) in pending.inputs.iter().filter_map(Queued::ended) {
            self.limits.ended(id, inst, attempt);
        }
        for after in pending.after {
            self.perform(now, id, after);
        }
        self.retain(id, status);
        for queued in pending.inputs {
            if let Queued::Fork { .. } = queued {
                self.submit(now, id, queued);
            }
        }
    }

    /// Keeps a run in memory as long as it is of use.
    fn retain(&mut self, id: RunId, status: RunStatus) {
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

    /// Forgets a run and applies its inputs again on what the store has. Nothing of the commit was
    /// written. Messages and timers come again from the store, if nobody else has applied them.
    fn redo(&mut self, now: Millis, id: RunId, pending: Pending) {
        self.due_wanted = true;
        for queued in self.taken_back(id, pending) {
            if !queued.comes_again() {
                self.submit(now, id, queued);
            }
        }
        // The other version may hold a lease of this node, from a commit of unknown outcome.
        if !self.runs.contains_key(&id) {
            self.load(id, Vec::new());
        }
    }

    /// A new run was not created, and what followed in memory has not happened. Nor will an earlier
    /// try ever create it.
    fn not_created(&mut self, id: RunId, pending: Pending, existing: Option<RunId>) {
        self.due_wanted = true;
        self.doubtful.remove(&id);
        let inputs = self.taken_back(id, pending);
        self.created_elsewhere(id, inputs, existing);
    }

    /// Forgets a run with all that is not durable; answers the inputs.
    fn taken_back(&mut self, id: RunId, pending: Pending) -> Vec<Queued> {
        let mut inputs = pending.inputs;
        self.never_started(id, &pending.after);
        self.refused(&pending.after);
        if let Some(Entry::Live(live)) = self.runs.get_mut(&id)
            && let Some(next) = live.pending.take()
        {
            inputs.extend(next.inputs);
            self.never_started(id, &next.after);
            self.uncount(&next.after);
        }
        self.forget(id);
        inputs
    }

    /// Attempts of a commit that was refused are counted no more. While its batch is in flight nobody
    /// knows, and where the count itself was refused there is nothing to give back.
    pub(super) fn refused(&mut self, after: &[After]) {
        if self.in_flight.is_none() {
            self.uncount_of(after, |limits, agent| !limits.was_refused(agent));
        }
    }

    /// Attempts that were counted and never start use nothing of their agents' limits.
    pub(super) fn uncount(&mut self, after: &[After]) {
        self.uncount_of(after, |_, _| true);
    }

    fn uncount_of(&mut self, after: &[After], counted: impl Fn(&Limits, &Name) -> bool) {
        for after in after {
            if let After::Start(task) = after
                && let Some(spec) = self.agents.get(&task.agent)
                && counted(&self.limits, &task.agent)
            {
                self.limits.give_back(spec, task.run, &task.action, task.leased_at);
            }
        }
    }

    /// Attempts of a commit that was not written never start: their slots are free.
    pub(super) fn never_started(&mut self, id: RunId, after: &[After]) {
        for after in after {
            if let After::Start(task) = after {
                self.slots.release(id, task.inst, task.attempt);
            }
        }
    }

    /// Attempts of a commit that may have been written keep their slots until that is known, and
    /// those that it stops go on until then.
    fn doubt(&mut self, id: RunId, expected: u64, after: Vec<After>) {
        let stops = after.iter().any(|after| matches!(after, After::Stop { .. }));
        let start = |after| match after {
            After::Start(task) => Some(*task),
            _ => None,
        };
        let tasks: Vec<_> = after.into_iter().filter_map(start).collect();
        if stops || !tasks.is_empty() {
            self.doubtful.insert(id, Doubt { expected, tasks });
        }
    }

    /// A commit of unknown outcome can't be written any more once the run has a later version than it
    /// was made from.
    fn decide(&mut self, id: RunId) {
        let Some(Entry::Live(live)) = self.runs.get(&id) else { return };
        let version = live.run.version;
        if self.doubtful.get(&id).is_some_and(|doubt| version > doubt.expected) {
            self.doubtful.remove(&id);
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
        tracing::error!(reason, "the store can't be written");
        self.gathered = 0;
        // Every run that changed in memory since is forgotten too, in the order of its inputs.
        let mut all = ids;
        all.extend(std::mem::take(&mut self.gathering));
        let mut seen = std::collections::BTreeSet::new();
        for id in all {
            if !seen.insert(id) {
                continue;
            }
            let Some(Entry::Live(live)) = self.runs.get_mut(&id) else { continue };
            let (sent, next) = (live.in_flight.take(), live.pending.take());
            let expected = live.run.version.saturating_sub(1);
            if let Some(sent) = sent {
                match unknown {
                    true => self.doubt(id, expected, sent.after),
                    false => self.never_started(id, &sent.after),
                }
                for queued in sent.inputs {
                    self.hold(id, queued, reason, unknown);
                }
            }
            if let Some(next) = next {
                self.never_started(id, &next.after);
                for queued in next.inputs {
                    self.hold(id, queued, reason, false);
                }
            }
            self.forget(id);
        }
        self.triggers_failed(reason, unknown);
        self.relays.clear();
        self.events.clear();
        let refused = self.limits.forget(unknown, now);
        self.not_granted(refused, reason);
        self.due_after = 0;
        self.lost_wanted = true;
        self.slots.more_in_store = true;
        self.fails(now, reason.to_owned(), false);
    }

    /// The store failed: nothing is asked of it for a while.
    pub(super) fn fails(&mut self, now: Millis, reason: String, reading: bool) {
        // What it said or should have said is lost.
        self.due_wanted = true;
        let (tries, reading) = match &mut self.degraded {
            Some(before) if !before.probing => {
                before.reading &= reading;
                return;
            }
            Some(before) => (before.tries, reading && before.reading),
            None => (0, reading),
        };
        let delay = Span((RETRY_MIN.0 << tries.min(10)).min(RETRY_MAX.0));
        let (retry_at, tries) = (now.after(delay), tries + 1);
        self.degraded = Some(Degraded { retry_at, tries, reason, reading, probing: false });
    }

    /// The store works again.
    pub(super) fn recovers(&mut self, now: Millis) {
        if let Some(before) = self.degraded.take() {
            tracing::info!(reason = before.reason, tries = before.tries, "the store works again");
            self.submit_held(now);
        }
    }

    pub(super) fn submit_held(&mut self, now: Millis) {
        for (run, queued) in std::mem::take(&mut self.held) {
            self.submit(now, run, queued);
        }
        self.give_held(now);
        self.look_at_doubtful();
    }

    /// Keeps an input until the store works again; requests are answered now when nothing was written.
    fn hold(&mut self, id: RunId, queued: Queued, reason: &str, unknown: bool) {
        let error = || Error::Unavailable { reason: reason.to_owned() };
        match queued {
            queued if queued.comes_again() => {}
            Queued::Input { source: Source::Request { token, again: false }, .. } if !unknown => {
                self.reply(token, Answer::Changed(Err(error())));
            }
            // An event has no key by which it could be told that it was taken before.
            Queued::Input {
                input: Input::EventArrived { .. },
                source: Source::Request { token, .. },
            } => self.reply(token, Answer::Changed(Err(error()))),
            Queued::Create(creation) if !unknown && !creation.again => {
                creation.answer(self, Err(error()));
            }
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
        self.loads = self.loads.saturating_sub(ids.len());
        match found {
            Ok(found) => {
                for (id, snapshot) in ids.into_iter().zip(found) {
                    self.place_loaded(now, id, snapshot);
                }
            }
            Err(error) => {
                let reason = error.to_string();
                for id in ids {
                    if let Some(Entry::Loading(loading)) = self.runs.remove(&id) {
                        for queued in loading.waiting {
                            self.hold(id, queued, &reason, false);
                        }
                    }
                }
                if matches!(error, store::Error::Corrupt { .. } | store::Error::Newer { .. }) {
                    self.out.push_back(Command::Fatal(error));
                } else {
                    self.slots.more_in_store = true;
                    self.slots.look_again();
                    self.fails(now, reason, true);
                }
            }
        }
    }
}

impl Queued {
    /// Whether it stays in the store until it is applied.
    pub(super) fn comes_again(&self) -> bool {
        match self {
            Self::Input { source, .. } => {
                matches!(source, Source::Message(_) | Source::Timer(_))
            }
            Self::Create(creation) => creation.asker.message().is_some(),
            Self::Fork { .. } => false,
        }
    }

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
