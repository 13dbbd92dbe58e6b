//! The triggers of the memory store: their rows, their records, and who listens to what.

use std::collections::{BTreeMap, BTreeSet};

use moa_core::ids::Name;
use moa_core::machine::BUS;
use moa_core::time::Millis;
use moa_core::trigger::{Occurrence, TriggerId, TriggerInput};

use super::model::Model;
use crate::store::{Due, DueAsk, Message, MessageId, PruneAsk, PruneMark, Pruned};
use crate::triggers::{
    Heard, HeardRow, OccurrenceFilter, Post, Posted, TriggerCommit, TriggerFilter, TriggerOutcome,
    TriggerRow,
};
use crate::views::HistoryRow;

/// Everything about triggers.
#[derive(Debug, Clone, Default)]
pub(super) struct Triggers {
    rows: BTreeMap<TriggerId, TriggerRow>,
    names: BTreeMap<(Name, String), TriggerId>,
    due: BTreeSet<(Millis, TriggerId)>,
    listeners: BTreeSet<(String, TriggerId)>,
    occurrences: BTreeMap<(TriggerId, String), Occurrence>,
    posts: BTreeMap<String, (Millis, u64)>,
    /// Published events: when, and who has heard of them.
    pub published: BTreeMap<u64, (Millis, Heard)>,
    /// Those of them that are on the bus.
    pub on_bus: BTreeMap<MessageId, u64>,
}

impl Model {
    /// One trigger.
    pub fn trigger(&self, id: TriggerId) -> Option<TriggerRow> {
        self.triggers.rows.get(&id).cloned()
    }

    /// All triggers, in order of id.
    pub fn all_triggers(&self) -> impl Iterator<Item = (TriggerId, &TriggerRow)> {
        self.triggers.rows.iter().map(|(id, row)| (*id, row))
    }

    /// All records of occurrences, in order of trigger and key.
    pub fn all_occurrences(&self) -> impl Iterator<Item = (TriggerId, &Occurrence)> {
        self.triggers.occurrences.iter().map(|((id, _), occurrence)| (*id, occurrence))
    }

    /// One commit of a trigger: all that can refuse it comes first.
    pub(super) fn commit_trigger(&mut self, now: Millis, commit: TriggerCommit) -> TriggerOutcome {
        let id = commit.id;
        let version = self.triggers.rows.get(&id).map_or(0, |row| row.version);
        let gone = |id: &MessageId| !self.messages.contains_key(id);
        if version != commit.expected || commit.consumed.iter().any(gone) {
            return TriggerOutcome::Conflict;
        }
        let all = &mut self.triggers;
        let new = commit.records.iter().filter(|record| record.new);
        let key = |key: &str| (id, key.to_owned());
        let known = new.filter_map(|r| all.occurrences.get(&key(&r.occurrence.key)).cloned());
        let known: Vec<Occurrence> = known.collect();
        if !known.is_empty() {
            return TriggerOutcome::Duplicate(known);
        }
        let old = all.rows.get(&id);
        if let Some(at) = old.and_then(|row| row.due_at) {
            all.due.remove(&(at, id));
        }
        all.due.extend(commit.due_at.map(|at| (at, id)));
        let Some(spec) = commit.spec.or_else(|| old.map(|row| row.spec.clone())) else {
            return TriggerOutcome::Conflict;
        };
        if let Some(old) = all.rows.get(&id) {
            // A rule may be told of another workflow.
            all.names.remove(&(old.spec.workflow.clone(), old.spec.label()));
        }
        all.names.insert((spec.workflow.clone(), spec.label()), id);
        let (state, due_at) = (*commit.state, commit.due_at);
        all.rows.insert(id, TriggerRow { version: version + 1, spec, state, due_at });
        if let Some(topics) = commit.listens {
            all.listeners.retain(|listener| listener.1 != id);
            all.listeners.extend(topics.into_iter().map(|topic| (topic, id)));
        }
        for record in commit.records {
            all.occurrences.insert(key(&record.occurrence.key), record.occurrence);
        }
        for amendment in commit.amendments {
            let own = all.occurrences.range_mut((id, String::new())..);
            let own = own.take_while(|((of, _), _)| *of == id).map(|(_, record)| record);
            own.filter(|record| amendment.fits(record)).for_each(|record| amendment.amend(record));
        }
        for message in commit.consumed {
            self.remove_message(message);
        }
        for message in commit.messages {
            match Post::of(&message) {
                Some(post) => _ = self.publish(now, &post),
                None => self.send(message, None),
            }
        }
        TriggerOutcome::Applied
    }

    /// Tells those who listen of an event that is sent to the bus; answers who that is.
    pub(super) fn tell_news(
        &mut self,
        now: Millis,
        message: &Message,
    ) -> Vec<(TriggerId, MessageId)> {
        match message.news(now) {
            Some((topic, input)) => self.tell(&topic, &input),
            None => Vec::new(),
        }
    }

    /// Tells all who listen to a topic; answers who that is, with the messages.
    pub(super) fn tell(
        &mut self,
        topic: &str,
        input: &TriggerInput,
    ) -> Vec<(TriggerId, MessageId)> {
        let from = (topic.to_owned(), TriggerId(0));
        let listeners = self.triggers.listeners.range(from..).take_while(|l| l.0 == topic);
        let listeners: Vec<TriggerId> = listeners.map(|l| l.1).collect();
        let mut told = Vec::with_capacity(listeners.len());
        for id in listeners {
            self.send(Message::to_trigger(id, input.clone()), None);
            told.push((id, self.last_message));
        }
        told
    }

    /// Publishes an event that nobody's commit sends; not again when its key has been used.
    pub(super) fn post(&mut self, now: Millis, post: &Post) -> Posted {
        let known = post.event.key.as_ref().and_then(|key| self.triggers.posts.get(key));
        if let Some((_, seq)) = known {
            return Posted { seq: Some(*seq), new: false };
        }
        let seq = self.publish(now, post);
        if let Some(key) = &post.event.key {
            self.triggers.posts.insert(key.clone(), (now, seq));
        }
        Posted { seq: Some(seq), new: true }
    }

    /// Writes an event into the history of the bus, and sends it; answers its number.
    fn publish(&mut self, now: Millis, post: &Post) -> u64 {
        self.last_event += 1;
        let seq = self.last_event;
        let row = HistoryRow { seq, run: BUS, version: seq, at: now, events: post.events() };
        self.history.insert(seq, row);
        let message = post.message();
        let triggers = self.tell_news(now, &message);
        self.send(message, None);
        self.triggers.on_bus.insert(self.last_message, seq);
        self.triggers.published.insert(seq, (now, Heard { triggers, ..Heard::default() }));
        seq
    }

    /// See [`crate::views::Views::heard`].
    pub(super) fn heard(&self, published: &[u64]) -> Vec<HeardRow> {
        let mut seqs = published.to_vec();
        seqs.sort_unstable();
        seqs.dedup();
        let row = |seq: u64| {
            let heard = self.triggers.published.get(&seq)?.1.clone();
            let waits = heard.triggers.iter().filter(|(_, m)| self.messages.contains_key(m));
            let waiting = waits.map(|(id, _)| *id).collect();
            Some(HeardRow { seq, heard, waiting })
        };
        seqs.into_iter().filter_map(row).collect()
    }

    /// See [`crate::views::Views::published_beyond`].
    pub(super) fn published_beyond(&self, keep: u64) -> Option<Millis> {
        let keep = usize::try_from(keep).unwrap_or(usize::MAX);
        let mut all: Vec<Millis> = self.triggers.published.values().map(|(at, _)| *at).collect();
        all.sort_unstable();
        all.into_iter().rev().nth(keep)
    }

    pub(super) fn prune_published(&mut self, ask: &PruneAsk) -> Pruned {
        let all = self.triggers.published.iter().filter(|(_, (at, _))| *at < ask.before);
        let mut old: Vec<(Millis, u64)> = all.map(|(seq, (at, _))| (*at, *seq)).collect();
        old.sort_unstable();
        old.truncate(ask.limit);
        for (_, seq) in &old {
            self.triggers.published.remove(seq);
            self.history.remove(seq);
        }
        let full = ask.limit > 0 && old.len() == ask.limit;
        let next = old.last().filter(|_| full).map(|(at, seq)| PruneMark(*at, *seq));
        Pruned { published: old.len(), next, ..Pruned::default() }
    }

    /// When the first trigger is due.
    pub(super) fn first_due_trigger(&self) -> Option<Millis> {
        self.triggers.due.first().map(|(at, _)| *at)
    }

    /// The part of an answer that is about triggers.
    pub(super) fn due_triggers(&self, ask: &DueAsk, due: &mut Due) {
        if ask.triggers == 0 || ask.only.is_some() {
            return;
        }
        let all = || self.triggers.due.iter().filter(|t| !ask.without.contains(&t.1.address()));
        let found = all().take_while(|t| t.0 <= ask.wall()).take(ask.triggers);
        due.triggers = found.map(|&(at, id)| (id, at)).collect();
        let next = all().nth(due.triggers.len()).map(|t| ask.when_wall_is(t.0));
        due.next_timer = [due.next_timer, next].into_iter().flatten().min();
    }

    /// See [`crate::views::Views::triggers`].
    pub(super) fn find_triggers(&self, filter: &TriggerFilter) -> Vec<TriggerRow> {
        let all = self.triggers.names.iter();
        let fit = all.filter(|((workflow, name), _)| {
            let after = (workflow, name);
            filter.workflow.as_ref().is_none_or(|w| w == workflow)
                && filter.after.as_ref().is_none_or(|(w, n)| after > (w, n))
        });
        fit.filter_map(|(_, id)| self.trigger(*id)).take(filter.limit).collect()
    }

    /// See [`crate::views::Views::occurrences`].
    pub(super) fn find_occurrences(
        &self,
        trigger: TriggerId,
        filter: &OccurrenceFilter,
    ) -> Vec<Occurrence> {
        let all = self.triggers.occurrences.range((trigger, String::new())..);
        let mut fit: Vec<_> = all
            .take_while(|((id, _), _)| *id == trigger)
            .map(|(_, occurrence)| occurrence)
            .filter(|o| filter.fits(o))
            .cloned()
            .collect();
        fit.sort_by(|a, b| (b.at, &b.key).cmp(&(a.at, &a.key)));
        fit.truncate(filter.limit);
        fit
    }

    pub(super) fn prune_occurrences(&mut self, ask: &PruneAsk) -> Pruned {
        let PruneMark(after, _) = ask.after.unwrap_or(PruneMark(Millis(i64::MIN), 0));
        let all = self.triggers.occurrences.iter();
        let mut old: Vec<_> = all
            .filter(|(_, o)| o.decided_at < ask.before && o.decided_at >= after)
            .filter(|(_, o)| {
                !o.outcome.is_open() && o.run.is_none_or(|r| !self.runs.contains_key(&r))
            })
            .map(|(key, o)| (o.decided_at, key.clone()))
            .collect();
        old.sort_unstable();
        old.truncate(ask.limit);
        let full = ask.limit > 0 && old.len() == ask.limit;
        let next = old.last().filter(|_| full).map(|(at, _)| PruneMark(*at, 0));
        for (_, key) in &old {
            self.triggers.occurrences.remove(key);
        }
        Pruned { occurrences: old.len(), next, ..Pruned::default() }
    }

    pub(super) fn prune_posts(&mut self, ask: &PruneAsk) -> usize {
        let posts = &mut self.triggers.posts;
        let mut old: Vec<_> = posts.iter().filter(|(_, (at, _))| *at < ask.before).collect();
        old.sort_unstable_by_key(|(key, (at, _))| (*at, (*key).clone()));
        let old: Vec<String> =
            old.into_iter().take(ask.limit).map(|(key, _)| key.clone()).collect();
        old.iter().for_each(|key| _ = posts.remove(key));
        old.len()
    }
}
