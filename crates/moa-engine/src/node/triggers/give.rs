//! Applying what happens to triggers.

use std::collections::{BTreeMap, VecDeque};

use moa_core::time::{Millis, Span};
use moa_core::trigger::{
    Applied, Env, Occurrence, Trigger, TriggerAnswer, TriggerId, TriggerInput,
};
use moa_ports::store::{MessageId, Relay};
use moa_ports::triggers::TriggerRow;

use crate::handle::Error;
use crate::node::quarantine::guarded;
use crate::node::{Answer, Command, Node, Token};

use super::{Entry, Given, Live, Source};

/// When a trigger is looked at again that is due and does nothing: that would be a bug of ours, and
/// must not keep the node busy.
const IDLE_DUE: Span = Span(1_000);

impl Node {
    /// Triggers that the store says are due.
    pub(in crate::node) fn triggers_due(&mut self, now: Millis, due: Vec<(TriggerId, Millis)>) {
        for (id, at) in due {
            if let Some(live) = self.triggers.live(id)
                && live.pending.is_none()
                && live.in_flight.is_none()
                && live.due_at != Some(at)
            {
                // Another node has changed it since it was loaded.
                self.triggers.entries.remove(&id);
            }
            self.give(now, id, Given { input: TriggerInput::Due, source: Source::Due });
        }
    }

    /// A message to a trigger.
    pub(in crate::node) fn deliver_to_trigger(
        &mut self,
        now: Millis,
        message: MessageId,
        id: TriggerId,
        input: TriggerInput,
    ) {
        if self.triggers.served {
            self.give(now, id, Given { input, source: Source::Message(message) });
        }
    }

    /// Applies something to a trigger, or asks for the trigger first.
    pub(super) fn give(&mut self, now: Millis, id: TriggerId, given: Given) {
        if let Some(why) = self.quarantined.get(&id.address()) {
            let reason = format!("the trigger is quarantined until moa starts again: {why}");
            return self.refuse_request(&given, reason);
        }
        let asked = matches!(given.source, Source::Request { .. });
        match self.triggers.entries.get_mut(&id) {
            Some(entry) if entry.has(given.source) => {}
            Some(Entry::Live(live))
                if asked
                    && !self.exclusive
                    && live.pending.is_none()
                    && live.in_flight.is_none() =>
            {
                // Who asks is told what is so, whatever other nodes have done.
                self.load_trigger(id, vec![given], BTreeMap::new());
            }
            Some(Entry::Live(_)) => self.apply_given(now, id, given),
            Some(Entry::Loading(waiting, _)) => waiting.push(given),
            None => self.load_trigger(id, vec![given], BTreeMap::new()),
        }
    }

    pub(super) fn load_trigger(
        &mut self,
        id: TriggerId,
        waiting: Vec<Given>,
        known: BTreeMap<String, Occurrence>,
    ) {
        self.triggers.entries.insert(id, Entry::Loading(waiting, known));
        self.triggers.loads += 1;
        self.out.push_back(Command::LoadTriggers(vec![id]));
    }

    pub(super) fn place_trigger(&mut self, now: Millis, id: TriggerId, row: Option<TriggerRow>) {
        let Some(row) = row else { return self.no_trigger(now, id) };
        let TriggerRow { version, spec, state, due_at } = row;
        match guarded(|| Trigger::restore(spec, state, version)) {
            Ok(Ok(trigger)) => self.enter_trigger(now, id, trigger, due_at),
            Ok(Err(broken)) => self.quarantine_trigger(id, "loading it", &broken.0),
            Err(panic) => self.quarantine_trigger(id, "loading it", &panic),
        }
    }

    /// Puts a trigger into memory, and applies what waited for it.
    fn enter_trigger(
        &mut self,
        now: Millis,
        id: TriggerId,
        trigger: Trigger,
        due_at: Option<Millis>,
    ) {
        let (waiting, known) = match self.triggers.entries.remove(&id) {
            Some(Entry::Loading(waiting, known)) => (waiting, known),
            Some(live @ Entry::Live(_)) => {
                self.triggers.entries.insert(id, live);
                return;
            }
            None => return,
        };
        self.triggers.tick += 1;
        let used = self.triggers.tick;
        let refused = known.clone();
        let live = Live { trigger, due_at, known, refused, pending: None, in_flight: None, used };
        self.triggers.entries.insert(id, Entry::Live(Box::new(live)));
        self.triggers.idle.push_back((used, id));
        for given in waiting {
            // It has just come from the store: who asks needs no newer one.
            match self.triggers.entries.get(&id) {
                Some(entry @ Entry::Live(_)) if !entry.has(given.source) => {
                    self.apply_given(now, id, given);
                }
                _ => self.give(now, id, given),
            }
        }
    }

    /// The store has no such trigger: definitions make it, everything else is refused.
    fn no_trigger(&mut self, now: Millis, id: TriggerId) {
        let Some(Entry::Loading(waiting, known)) = self.triggers.entries.remove(&id) else {
            return;
        };
        let mut waiting = VecDeque::from(waiting);
        while let Some(given) = waiting.pop_front() {
            let TriggerInput::Put { spec } = &given.input else {
                let reason = "there is no such trigger".to_owned();
                self.refuse_given(&given, reason);
                continue;
            };
            let env = Env {
                now: self.triggers.wall(now),
                catch_up_from: self.triggers.catch_up_from,
                known: &known,
                message: None,
            };
            match guarded(|| Trigger::create(env, spec.clone())) {
                Ok(Ok((trigger, applied))) => {
                    let rest = Entry::Loading(waiting.into(), known);
                    self.triggers.entries.insert(id, rest);
                    return self.born(now, id, trigger, applied, given);
                }
                Ok(Err(broken)) => self.refuse_given(&given, broken.0),
                Err(panic) => {
                    let reason = format!("moa failed on this trigger, and did nothing: {panic}");
                    self.refuse_given(&given, reason);
                }
            }
        }
    }

    /// A new trigger: in memory, and in the next batch; then what else waited for it.
    fn born(
        &mut self,
        now: Millis,
        id: TriggerId,
        trigger: Trigger,
        applied: Applied,
        given: Given,
    ) {
        let Some(Entry::Loading(waiting, _)) = self.triggers.entries.get_mut(&id) else { return };
        let rest = std::mem::take(waiting);
        self.enter_trigger(now, id, trigger, None);
        self.gather_trigger(now, id, applied, given);
        for given in rest {
            self.give(now, id, given);
        }
    }

    fn apply_given(&mut self, now: Millis, id: TriggerId, given: Given) {
        if self.draining && given.comes_again() {
            // Slots, events and ends of runs are in the store still, and nothing new is to start.
            return;
        }
        let catch_up_from = self.triggers.catch_up_from;
        let wall = self.triggers.wall(now);
        let Some(live) = self.triggers.live(id) else { return };
        let Live { trigger, known, .. } = live;
        let message = match given.source {
            Source::Message(message) => Some(message),
            Source::Request { .. } | Source::Due => None,
        };
        let env = Env { now: wall, catch_up_from, known, message };
        let before = trigger.clone();
        match guarded(|| trigger.apply(env, &given.input)) {
            Ok(Ok(applied)) => {
                let same = trigger.state == before.state && is_nothing(&applied);
                if same && trigger.due_at() == live.due_at && message.is_none() {
                    return self.nothing_changed(now, id, applied.answer, given);
                }
                self.gather_trigger(now, id, applied, given);
            }
            Ok(Err(rejected)) => {
                live.trigger = before;
                self.given_rejected(now, id, given, rejected.0);
            }
            Err(panic) => {
                self.quarantine_trigger(id, &format!("applying {:?}", given.input), &panic);
                let reason = format!("moa failed on the trigger, and quarantined it: {panic}");
                self.refuse_request(&given, reason);
            }
        }
    }

    /// The input changes nothing; what brought it is still used up, and who asked is told.
    fn given_rejected(&mut self, now: Millis, id: TriggerId, given: Given, reason: String) {
        match given.source {
            Source::Request { token, again } => {
                // A cancelled backfill can't be cancelled again: that is what was wanted.
                let done = again && reason.contains("that goes on");
                let answer = match done {
                    true => Ok(TriggerAnswer::Done),
                    false => Err(Error::Rejected { reason }),
                };
                self.answer_when_durable(id, token, answer, given);
            }
            // With the version that it was judged by: another node may know better.
            Source::Message(_) => self.gather_trigger(now, id, Applied::default(), given),
            Source::Due => self.nothing_changed(now, id, TriggerAnswer::Unchanged, given),
        }
    }

    fn nothing_changed(&mut self, now: Millis, id: TriggerId, answer: TriggerAnswer, given: Given) {
        match given.source {
            Source::Request { token, .. } => {
                self.answer_when_durable(id, token, Ok(answer), given);
            }
            Source::Due => {
                let wall = self.triggers.wall(now);
                let Some(live) = self.triggers.live(id) else { return };
                if live.due_at.is_some_and(|at| at <= wall) {
                    tracing::error!(trigger.id = %id, "a trigger is due, and does nothing");
                    self.gather_trigger(now, id, Applied::default(), given);
                }
            }
            Source::Message(_) => {}
        }
    }

    /// Answers once what the answer was judged by is durable.
    fn answer_when_durable(
        &mut self,
        id: TriggerId,
        token: Token,
        answer: Result<TriggerAnswer, Error>,
        given: Given,
    ) {
        let live = self.triggers.live(id);
        match live.and_then(|live| live.pending.as_mut().or(live.in_flight.as_mut())) {
            Some(part) => {
                part.inputs.push(given);
                part.answers.push((token, answer));
            }
            None => self.reply(token, Answer::Trigger(answer)),
        }
    }

    /// Adds a change to the next batch.
    fn gather_trigger(&mut self, now: Millis, id: TriggerId, applied: Applied, given: Given) {
        self.gathered += 1;
        let wall = self.triggers.wall(now);
        let Some(live) = self.triggers.live(id) else { return };
        let mut due_at = live.trigger.due_at();
        if given.source == Source::Due
            && due_at.is_some_and(|at| at <= wall)
            && is_nothing(&applied)
        {
            due_at = Some(wall.after(IDLE_DUE));
        }
        live.due_at = due_at;
        for record in &applied.records {
            let occurrence = record.occurrence.clone();
            live.known.insert(occurrence.key.clone(), occurrence);
        }
        let is_new = live.pending.is_none();
        let pending = live.pending.get_or_insert_default();
        match given.source {
            Source::Request { token, .. } => {
                pending.answers.push((token, Ok(applied.answer.clone())));
            }
            Source::Message(message) => pending.consumed.push(message),
            Source::Due => {}
        }
        pending.inputs.push(given);
        pending.add(applied);
        if is_new {
            self.triggers.gathering.push(id);
        }
        if let Some(due) = due_at.filter(|_| self.triggers.served) {
            let due = now.after(due.since(wall));
            self.armed.arm(due);
            self.next_timer = Some(self.next_timer.map_or(due, |t| t.min(due)));
        }
    }

    /// moa itself failed on a trigger: it leaves memory with all that is not durable, and nothing is
    /// done with it until the next start.
    pub(super) fn quarantine_trigger(&mut self, id: TriggerId, doing: &str, error: &str) {
        self.quarantine(id.address(), doing, error);
        self.triggers.gathering.retain(|g| *g != id);
        let mut inputs = Vec::new();
        match self.triggers.entries.remove(&id) {
            Some(Entry::Live(live)) => {
                let parts = [live.in_flight, live.pending];
                parts.into_iter().flatten().for_each(|part| inputs.extend(part.inputs));
            }
            Some(Entry::Loading(waiting, _)) => inputs = waiting,
            None => {}
        }
        for given in inputs {
            let reason = format!("moa failed on the trigger, and quarantined it: {error}");
            self.refuse_request(&given, reason);
        }
    }

    /// Refuses something of a trigger that isn't there; a message to it goes too.
    fn refuse_given(&mut self, given: &Given, reason: String) {
        if let Source::Message(consumed) = given.source {
            self.relays.push(Relay { consumed, messages: Vec::new() });
        }
        self.refuse_request(given, reason);
    }

    /// Tells who asked; what else there is stays in the store.
    fn refuse_request(&mut self, given: &Given, reason: String) {
        if let Source::Request { token, .. } = given.source {
            self.reply(token, Answer::Trigger(Err(Error::Rejected { reason })));
        }
    }
}

/// Whether there is nothing to write but perhaps the state.
fn is_nothing(applied: &Applied) -> bool {
    let Applied { records, amendments, sends, listens, put, notices, answer: _ } = applied;
    records.is_empty()
        && amendments.is_empty()
        && sends.is_empty()
        && listens.is_none()
        && !put
        && notices.is_empty()
}
