//! What a batch writes of triggers, and what follows from its outcome.

use moa_core::limits::TRIGGERS_CACHED_MAX;
use moa_core::machine::BUS;
use moa_core::run::RunStatus;
use moa_core::time::Millis;
use moa_core::trigger::TriggerId;
use moa_ports::store::Message;
use moa_ports::triggers::{Post, Posted, TriggerCommit, TriggerOutcome};

use crate::handle::{Committed, Error};
use crate::node::{Answer, Command, Node};

use super::{Entry, Given, Live, Pending, Source};

impl Node {
    /// The part of the next batch that is about triggers.
    pub(in crate::node) fn trigger_commits(&mut self) -> (Vec<TriggerCommit>, Vec<Post>) {
        let ids = std::mem::take(&mut self.triggers.gathering);
        let mut commits = Vec::with_capacity(ids.len());
        for id in ids {
            let Some(live) = self.triggers.live(id) else { continue };
            let Some(mut pending) = live.pending.take() else { continue };
            commits.push(commit_of(id, live, &mut pending));
            live.in_flight = Some(pending);
            self.triggers.in_flight.push(id);
        }
        self.triggers.posts_in_flight = std::mem::take(&mut self.triggers.posts);
        let posts = self.triggers.posts_in_flight.iter().map(|p| p.post.clone());
        (commits, posts.collect())
    }

    /// The batch in flight was written, as far as the outcomes say.
    pub(in crate::node) fn triggers_committed(
        &mut self,
        now: Millis,
        outcomes: Vec<TriggerOutcome>,
        posts: Vec<Posted>,
    ) {
        let ids = std::mem::take(&mut self.triggers.in_flight);
        self.commits += ids.len() as u64;
        for (id, outcome) in ids.into_iter().zip(outcomes) {
            self.trigger_done(now, id, outcome);
        }
        let sent = std::mem::take(&mut self.triggers.posts_in_flight);
        for (posting, posted) in sent.iter().zip(posts) {
            // Tried again after an unknown outcome, it may have been the first try that was new.
            let new = posted.new || posting.again;
            self.reply(posting.token, Answer::Published(Ok(Posted { new, ..posted })));
        }
        self.triggers.evict(TRIGGERS_CACHED_MAX.min(self.runs_cached_max));
    }

    /// Says that something was published, by somebody or by a trigger, up to an event number.
    pub(in crate::node) fn tell_of_the_bus(&mut self, now: Millis, seq: u64) {
        if self.publish {
            let (status, events) = (RunStatus::Pending, Vec::new());
            let committed = Committed { seq, run: BUS, version: seq, at: now, status, events };
            self.out.push_back(Command::Publish(committed));
        }
    }

    fn trigger_done(&mut self, now: Millis, id: TriggerId, outcome: TriggerOutcome) {
        let Some(live) = self.triggers.live(id) else { return };
        let Some(done) = live.in_flight.take() else { return };
        match outcome {
            TriggerOutcome::Applied => self.trigger_written(id, *done),
            TriggerOutcome::Conflict => {
                // Messages and what is due come again from the store, if nobody else has applied
                // them.
                self.due_wanted = true;
                for given in self.trigger_taken_back(id, *done) {
                    if !given.comes_again() {
                        self.give(now, id, given);
                    }
                }
            }
            TriggerOutcome::Duplicate(refused) => {
                let mut known = std::mem::take(&mut live.refused);
                known.extend(refused.into_iter().map(|o| (o.key.clone(), o)));
                let inputs = self.trigger_taken_back(id, *done);
                self.load_trigger(id, inputs, known);
            }
            TriggerOutcome::Invalid(why) => {
                live.in_flight = Some(done);
                self.quarantine_trigger(id, "writing it", &why);
            }
        }
    }

    fn trigger_written(&mut self, id: TriggerId, done: Pending) {
        for notice in &done.applied.notices {
            tracing::warn!("{notice}");
        }
        self.triggers.tick += 1;
        let used = self.triggers.tick;
        if let Some(live) = self.triggers.live(id) {
            let next = live.pending.as_ref().map(|pending| &pending.applied.records);
            live.known.retain(|key, _| {
                next.is_some_and(|records| records.iter().any(|r| r.occurrence.key == *key))
            });
            live.refused.clear();
            live.used = used;
            self.triggers.idle.push_back((used, id));
        }
        for (token, answer) in done.answers {
            self.reply(token, Answer::Trigger(answer));
        }
    }

    /// Forgets a trigger with all that is not durable; answers the inputs.
    fn trigger_taken_back(&mut self, id: TriggerId, done: Pending) -> Vec<Given> {
        let mut inputs = done.inputs;
        if let Some(Entry::Live(live)) = self.triggers.entries.remove(&id)
            && let Some(next) = live.pending
        {
            inputs.extend(next.inputs);
        }
        self.triggers.gathering.retain(|g| *g != id);
        inputs
    }

    /// The whole batch was not written, or nobody knows.
    pub(in crate::node) fn triggers_failed(&mut self, reason: &str, unknown: bool) {
        let mut ids = std::mem::take(&mut self.triggers.in_flight);
        ids.extend(std::mem::take(&mut self.triggers.gathering));
        for id in ids {
            let Some(Entry::Live(live)) = self.triggers.entries.remove(&id) else { continue };
            let sent = live.in_flight.into_iter().flat_map(|part| part.inputs);
            sent.for_each(|given| self.hold_given(id, given, reason, unknown));
            let next = live.pending.into_iter().flat_map(|part| part.inputs);
            next.for_each(|given| self.hold_given(id, given, reason, false));
        }
        let sent = std::mem::take(&mut self.triggers.posts_in_flight);
        for mut posting in sent {
            if unknown && posting.post.event.key.is_some() || posting.again {
                posting.again = true;
                self.triggers.posts.push(posting);
                continue;
            }
            let reason = match unknown {
                true => format!("nobody knows whether it was published: {reason}"),
                false => reason.to_owned(),
            };
            self.reply(posting.token, Answer::Published(Err(Error::Unavailable { reason })));
        }
    }

    /// Keeps an input until the store works again; requests are answered now when nothing was
    /// written.
    pub(super) fn hold_given(&mut self, id: TriggerId, given: Given, reason: &str, unknown: bool) {
        match given.source {
            Source::Message(_) | Source::Due => {}
            Source::Request { token, again: false } if !unknown => {
                let reason = reason.to_owned();
                self.reply(token, Answer::Trigger(Err(Error::Unavailable { reason })));
            }
            Source::Request { .. } => self.triggers.held.push((id, given.again())),
        }
    }

    pub(in crate::node) fn give_held(&mut self, now: Millis) {
        for (id, given) in std::mem::take(&mut self.triggers.held) {
            self.give(now, id, given);
        }
    }
}

fn commit_of(id: TriggerId, live: &mut Live, pending: &mut Pending) -> TriggerCommit {
    let expected = live.trigger.version;
    live.trigger.version += 1;
    let applied = &mut pending.applied;
    let put = applied.put || expected == 0;
    let sends = std::mem::take(&mut applied.sends).into_iter();
    TriggerCommit {
        id,
        expected,
        spec: put.then(|| live.trigger.spec.clone()),
        state: Box::new(live.trigger.state.clone()),
        due_at: live.due_at,
        records: std::mem::take(&mut applied.records),
        amendments: std::mem::take(&mut applied.amendments),
        messages: sends.map(|(to, body)| Message { to, body }).collect(),
        consumed: std::mem::take(&mut pending.consumed),
        listens: applied.listens.take(),
    }
}
