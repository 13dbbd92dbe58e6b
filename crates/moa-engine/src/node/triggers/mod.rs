//! Triggers on this node: loading them, applying inputs, and what the next batch writes of them.
//!
//! As with runs: inputs are applied in memory, written in the batch of everything else, and applied
//! again on what the store has when they were refused. Triggers are loaded when something happens to
//! them or they are due, so a million that wait cost nothing.

mod batch;
mod give;

use std::collections::{BTreeMap, HashMap, VecDeque};

use moa_core::event::Published;
use moa_core::time::{Millis, Span};
use moa_core::trigger::{Applied, Occurrence, Trigger, TriggerAnswer, TriggerId, TriggerInput};
use moa_ports::store::{self, MessageId};
use moa_ports::triggers::{Post, TriggerRow};

use crate::handle::Error;

use super::{Answer, Command, Node, Token};

/// All triggers that this node has to do with.
#[derive(Default)]
pub(super) struct Triggers {
    /// Whether it serves them.
    served: bool,
    /// No slot of the past is started before.
    catch_up_from: Option<Millis>,
    /// By how many milliseconds the wall clock is ahead of the engine's.
    wall_ahead: i64,
    entries: HashMap<TriggerId, Entry>,
    /// Those with something for the next batch, in order of their first input.
    gathering: Vec<TriggerId>,
    in_flight: Vec<TriggerId>,
    posts: Vec<Posting>,
    posts_in_flight: Vec<Posting>,
    /// Triggers asked of the store.
    loads: usize,
    idle: VecDeque<(u64, TriggerId)>,
    tick: u64,
    /// What is given again once the store works again.
    held: Vec<(TriggerId, Given)>,
}

/// A trigger in the node's memory.
enum Entry {
    /// Asked of the store; inputs wait. With records that are known to be there.
    Loading(Vec<Given>, BTreeMap<String, Occurrence>),
    Live(Box<Live>),
}

struct Live {
    trigger: Trigger,
    /// When the store says that it is due, or will say once all is written.
    due_at: Option<Millis>,
    /// Records that the store has or will have, as far as that matters.
    known: BTreeMap<String, Occurrence>,
    /// Those of them that refusals told of, as the store has them. They are kept until a commit is
    /// written: with the last refusal's alone, two slots would be tried in turn for ever.
    refused: BTreeMap<String, Occurrence>,
    pending: Option<Box<Pending>>,
    in_flight: Option<Box<Pending>>,
    used: u64,
}

/// An input, kept until it is durable so that it can be applied again.
#[derive(Debug, Clone)]
struct Given {
    input: TriggerInput,
    source: Source,
}

/// Where an input comes from: who is answered, what is deleted with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Request { token: Token, again: bool },
    Message(MessageId),
    Due,
}

/// What a batch will write of one trigger.
#[derive(Debug, Default)]
struct Pending {
    applied: Applied,
    consumed: Vec<MessageId>,
    inputs: Vec<Given>,
    answers: Vec<(Token, Result<TriggerAnswer, Error>)>,
}

/// An event that somebody publishes.
#[derive(Debug, Clone)]
struct Posting {
    token: Token,
    post: Post,
    again: bool,
}

impl Given {
    /// Whether it stays in the store until it is applied.
    fn comes_again(&self) -> bool {
        !matches!(self.source, Source::Request { .. })
    }

    fn again(mut self) -> Self {
        if let Source::Request { again, .. } = &mut self.source {
            *again = true;
        }
        self
    }
}

impl Entry {
    /// Whether the same waits here, or was applied but is not durable yet.
    fn has(&self, source: Source) -> bool {
        let same = |given: &Given| given.source == source;
        match self {
            Self::Loading(waiting, _) => waiting.iter().any(same),
            Self::Live(live) => {
                let parts = [&live.pending, &live.in_flight];
                parts.into_iter().flatten().any(|part| part.inputs.iter().any(same))
            }
        }
    }
}

impl Pending {
    /// Adds what another input changed: of each record the last word, new if the first one was.
    fn add(&mut self, applied: Applied) {
        let all = &mut self.applied;
        for mut record in applied.records {
            let key = &record.occurrence.key;
            if let Some(at) = all.records.iter().position(|r| r.occurrence.key == *key) {
                record.new |= all.records.remove(at).new;
            }
            all.records.push(record);
        }
        all.amendments.extend(applied.amendments);
        all.sends.extend(applied.sends);
        all.listens = applied.listens.or(all.listens.take());
        all.put |= applied.put;
        all.notices.extend(applied.notices);
    }
}

impl Triggers {
    /// Whether something of them is on its way to the store or from it.
    pub fn are_settled(&self) -> bool {
        self.in_flight.is_empty() && self.loads == 0 && !self.have_changed()
    }

    /// Whether there is something for the next batch.
    pub fn have_changed(&self) -> bool {
        !self.gathering.is_empty() || !self.posts.is_empty()
    }

    /// Whether nothing at all is left to do.
    pub fn are_quiet(&self) -> bool {
        self.are_settled() && self.held.is_empty() && self.posts_in_flight.is_empty()
    }

    /// By how many milliseconds the wall clock, which triggers go by, is ahead of the engine's.
    pub const fn wall_ahead(&self) -> i64 {
        self.wall_ahead
    }

    /// What the wall clock shows at this instant of the engine's clock.
    const fn wall(&self, now: Millis) -> Millis {
        Millis(now.0.saturating_add(self.wall_ahead))
    }

    /// How many a due answer may bring.
    pub fn wanted(&self, limit: usize) -> usize {
        if self.served { limit } else { 0 }
    }

    fn live(&mut self, id: TriggerId) -> Option<&mut Live> {
        match self.entries.get_mut(&id) {
            Some(Entry::Live(live)) => Some(live),
            _ => None,
        }
    }

    /// Drops idle triggers from memory while there are too many.
    fn evict(&mut self, max: usize) {
        let mut tries = self.idle.len();
        while self.entries.len() > max && tries > 0 {
            tries -= 1;
            let Some((used, id)) = self.idle.pop_front() else { return };
            let Some(Entry::Live(live)) = self.entries.get(&id) else { continue };
            if live.used != used {
                continue;
            }
            match live.pending.is_some() || live.in_flight.is_some() {
                true => self.idle.push_back((used, id)),
                false => _ = self.entries.remove(&id),
            }
        }
        if self.idle.len() > 4 * max {
            let entries = &self.entries;
            self.idle.retain(
                |(used, id)| matches!(entries.get(id), Some(Entry::Live(l)) if l.used == *used),
            );
        }
    }
}

impl Node {
    // ---- handles

    /// No slot of the past is started before `catch_up_from`.
    pub fn know_triggers(&mut self, catch_up_from: Option<Millis>) {
        self.triggers.catch_up_from = catch_up_from;
    }

    /// Somebody has set the wall clock: it is `ahead` milliseconds ahead of the engine's. Slots follow
    /// it; timers of runs don't.
    pub fn wall_set(&mut self, ahead: i64) {
        let forward = ahead.saturating_sub(self.triggers.wall_ahead);
        self.triggers.wall_ahead = ahead;
        // What isn't known to the store yet was armed by the old time.
        self.armed.hasten(Span(u64::try_from(forward).unwrap_or(0)));
        self.due_wanted |= self.triggers.served;
    }

    /// Serves triggers from now on.
    pub fn serve_triggers(&mut self) {
        self.triggers.served = true;
        self.due_wanted = true;
    }

    /// Somebody wants something of a trigger: a new definition, a command, or to tell what a part
    /// of moa outside the engine found.
    pub fn trigger(&mut self, now: Millis, token: Token, id: TriggerId, input: TriggerInput) {
        match self.refusal() {
            Some(error) => self.reply(token, Answer::Trigger(Err(error))),
            None => {
                let source = Source::Request { token, again: false };
                self.give(now, id, Given { input, source });
            }
        }
    }

    /// Somebody outside of all runs publishes an event. The same key is the same event.
    pub fn publish(&mut self, token: Token, event: Published) {
        let refused = event.fault().map(|fault| Error::Rejected { reason: fault.to_string() });
        if let Some(error) = refused.or(self.refusal()) {
            return self.reply(token, Answer::Published(Err(error)));
        }
        self.triggers.posts.push(Posting { token, post: Post { event }, again: false });
        self.gathered += 1;
    }

    /// Triggers arrived from the store.
    pub fn triggers_loaded(
        &mut self,
        now: Millis,
        ids: Vec<TriggerId>,
        found: Result<Vec<Option<TriggerRow>>, store::Error>,
    ) {
        self.triggers.loads = self.triggers.loads.saturating_sub(ids.len());
        match found {
            Ok(found) => {
                for (id, row) in ids.into_iter().zip(found) {
                    self.place_trigger(now, id, row);
                }
            }
            Err(error @ (store::Error::Corrupt { .. } | store::Error::Newer { .. })) => {
                self.out.push_back(Command::Fatal(error));
            }
            Err(error) => {
                let reason = error.to_string();
                for id in ids {
                    if let Some(Entry::Loading(waiting, _)) = self.triggers.entries.remove(&id) {
                        waiting.into_iter().for_each(|g| self.hold_given(id, g, &reason, false));
                    }
                }
                self.fails(now, reason, true);
            }
        }
    }
}
