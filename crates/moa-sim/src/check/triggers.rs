//! Triggers: each occurrence has one outcome and one run at most, no slot is early, every slot is
//! accounted for, and what was started comes to be.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use moa_core::ids::RunId;
use moa_core::machine::MessageBody;
use moa_core::schedule::Timetable;
use moa_core::time::Millis;
use moa_core::trigger::{Occurrence, Origin, Outcome, TriggerId, TriggerSpec};
use moa_ports::memory::Model;
use moa_ports::store::{Batch, BatchOutcome};
use moa_ports::triggers::{TriggerCommit, TriggerOutcome};

use super::Checker;

/// What is known of a trigger.
#[derive(Debug)]
pub(super) struct Seen {
    spec: Arc<TriggerSpec>,
    version: u64,
    /// Slots up to this instant are none of what it says.
    since: Millis,
    /// Slots up to this instant have their outcome.
    mark: Millis,
    records: BTreeMap<String, Occurrence>,
    /// What it said before, for the slots of which times.
    before: Vec<(Arc<TriggerSpec>, Millis, Millis)>,
    /// Since when it is paused, if it is.
    paused: Option<Millis>,
    removed: bool,
}

impl Checker {
    /// What a batch wrote of triggers.
    pub(super) fn trigger_commits(
        &mut self,
        batch: &Batch,
        outcome: &BatchOutcome,
        model: &Model,
    ) -> Result<(), String> {
        for (commit, outcome) in batch.triggers.iter().zip(&outcome.triggers) {
            if *outcome == TriggerOutcome::Applied {
                self.trigger_commit(commit, model)
                    .map_err(|wrong| format!("trigger {}: {wrong}", commit.id))?;
            }
        }
        Ok(())
    }

    fn trigger_commit(&mut self, commit: &TriggerCommit, model: &Model) -> Result<(), String> {
        let seen = match self.triggers.entry(commit.id) {
            Entry::Occupied(seen) => seen.into_mut(),
            Entry::Vacant(place) => {
                let spec = commit.spec.clone().ok_or("a trigger without what it says")?;
                let (since, mark) = (commit.state.since, commit.state.since);
                place.insert(Seen {
                    spec,
                    version: 0,
                    since,
                    mark,
                    records: BTreeMap::new(),
                    before: Vec::new(),
                    paused: None,
                    removed: false,
                })
            }
        };
        if commit.expected != seen.version {
            let (have, made) = (seen.version, commit.expected);
            return Err(format!("at version {have}, but was written as made from {made}"));
        }
        seen.version += 1;
        seen.starts_nothing(commit)?;
        seen.said(commit);
        let most = seen.spec.pause_after.filter(|_| seen.spec.schedule().is_some());
        let failures = commit.state.schedule.as_ref().map_or(0, |schedule| schedule.failures);
        if most.is_some_and(|most| failures >= most) && commit.state.paused.is_none() {
            return Err(format!("{failures} of its runs failed in a row, and it goes on"));
        }
        if let Some(schedule) = &commit.state.schedule {
            if schedule.mark < seen.mark {
                return Err(format!("its mark goes back from {} to {}", seen.mark, schedule.mark));
            }
            seen.mark = schedule.mark;
        }
        for record in &commit.records {
            seen.record(&record.occurrence, record.new)?;
        }
        for amendment in &commit.amendments {
            if !seen.records.contains_key(&amendment.key) {
                return Err("an amendment of nothing".into());
            }
            let own = seen.records.values_mut().filter(|record| amendment.fits(record));
            own.for_each(|record| amendment.amend(record));
        }
        for message in &commit.messages {
            let MessageBody::StartRun(start) = &message.body else { continue };
            let record = seen.records.get(&start.trigger.key);
            if record.is_none_or(|r| r.outcome != Outcome::Started || r.run != Some(message.to)) {
                return Err(format!("run {} is started without a record", message.to));
            }
        }
        let row = model.trigger(commit.id).ok_or("it is not in the store")?;
        let waits = commit.state.wake_at.is_some() && !commit.state.removed;
        match waits && row.due_at.is_none() {
            true => Err("nobody is going to look at it again".into()),
            false => Ok(()),
        }
    }

    /// A run that says which occurrence started it must be the one that the occurrence says.
    pub(super) fn occurrence_of(
        &self,
        run: RunId,
        trigger: TriggerId,
        key: &str,
    ) -> Result<(), String> {
        let seen = self.triggers.get(&trigger).ok_or("its trigger is not there")?;
        let record = seen.records.get(key).ok_or(format!("occurrence {key} has no record"))?;
        match record.run == Some(run) && record.outcome == Outcome::Started {
            true => Ok(()),
            false => Err(format!("occurrence {key} did not start it: {record:?}")),
        }
    }

    /// What must hold of triggers when everything has come to its end.
    pub(super) fn triggers_over(&self, model: &Model) -> Result<(), String> {
        for (id, seen) in &self.triggers {
            let row = model.trigger(*id).ok_or("a trigger is gone")?;
            if !row.state.open.is_empty() {
                return Err(format!("trigger {id} has open runs: {:?}", row.state.open));
            }
            for record in seen.records.values() {
                self.came_to_be(record).map_err(|wrong| format!("trigger {id}: {wrong}"))?;
            }
            seen.accounted().map_err(|wrong| format!("{}: {wrong}", seen.spec.title()))?;
        }
        Ok(())
    }

    fn came_to_be(&self, record: &Occurrence) -> Result<(), String> {
        if record.outcome.is_open() {
            return Err(format!("an occurrence waits for ever: {record:?}"));
        }
        let has_run = record.outcome == Outcome::Started || record.outcome.is_shared();
        let Some(run) = record.run.filter(|_| has_run) else {
            return Ok(());
        };
        let shadow =
            self.runs.get(&run).ok_or(format!("run {run} never came to be: {record:?}"))?;
        match shadow.ended == record.result {
            true => Ok(()),
            false => Err(format!("run {run} ended as {:?}, but {record:?}", shadow.ended)),
        }
    }
}

impl Seen {
    /// What is paused or switched off, and stays so, starts nothing by itself.
    fn starts_nothing(&self, commit: &TriggerCommit) -> Result<(), String> {
        let paused = commit.state.paused.as_ref().map(|paused| paused.at);
        let why = match &commit.spec {
            _ if self.paused.is_some() && paused == self.paused => "paused",
            None if !self.spec.enabled => "switched off",
            _ => return Ok(()),
        };
        let started = commit.records.iter().map(|record| &record.occurrence).find(|o| {
            o.outcome == Outcome::Started && matches!(o.origin, Origin::Live | Origin::CatchUp)
        });
        match started {
            Some(started) => Err(format!("it is {why}, and starts {started:?}")),
            None => Ok(()),
        }
    }

    /// What it says from now on. An edit accounts for all slots of before.
    fn said(&mut self, commit: &TriggerCommit) {
        let came_back = self.removed && !commit.state.removed;
        // Behind the edit it may have gone on in the same commit.
        let edited = self.mark.max(commit.state.since);
        if let Some(spec) = &commit.spec {
            if came_back || spec.revision() != self.spec.revision() {
                let until = if came_back { self.mark } else { edited };
                self.before.push((self.spec.clone(), self.since, until));
                self.since = edited;
            }
            self.spec = spec.clone();
        }
        self.paused = commit.state.paused.as_ref().map(|paused| paused.at);
        self.removed = commit.state.removed;
    }

    fn record(&mut self, new: &Occurrence, first: bool) -> Result<(), String> {
        if let Some(old) = self.records.get(&new.key) {
            if first {
                return Err(format!("occurrence {} is recorded twice", new.key));
            }
            let changed = old.run.is_some() && old.run != new.run;
            let backfilled = changed && matches!(new.origin, Origin::Backfill(_));
            if backfilled && old.outcome == Outcome::Started && old.result.is_none() {
                return Err(format!("its run goes on, and it gets another one: {old:?}, {new:?}"));
            }
            let again = matches!(new.origin, Origin::Backfill(_)) && !old.outcome.is_open();
            if again {
                self.records.insert(new.key.clone(), new.clone());
                return Ok(());
            }
            if changed || !(old.outcome.is_open() || new.last.is_some()) {
                return Err(format!("what became of it changes: {old:?} to {new:?}"));
            }
        }
        // Of other kinds it is the clock of another node that says when it happened.
        let is_slot = self.spec.schedule().is_some() && new.origin != Origin::Manual;
        if is_slot && new.outcome == Outcome::Started && new.at > new.decided_at {
            return Err(format!("it was started too early: {new:?}"));
        }
        self.records.insert(new.key.clone(), new.clone());
        Ok(())
    }

    /// Every slot up to the mark is in one record, whatever it said then.
    fn accounted(&self) -> Result<(), String> {
        let now = (self.spec.clone(), self.since, self.mark);
        let mut found: BTreeMap<Millis, &Occurrence> = BTreeMap::new();
        let mut tables: Vec<(Timetable, Millis, Millis)> = Vec::new();
        for (spec, since, until) in self.before.iter().chain([&now]) {
            let Some(source) = spec.schedule() else { return Ok(()) };
            let table = Timetable::new(source.schedule.clone(), &source.calendars);
            tables.push((table.map_err(|e| e.to_string())?, *since, *until));
        }
        let said = |record: &Occurrence| {
            let all = self.before.iter().map(|before| &before.0).chain([&self.spec]);
            let known = all.zip(&tables).find(|(spec, _)| spec.revision() == record.revision);
            known.map(|(_, (table, ..))| table).ok_or(format!("nobody said {record:?}"))
        };
        let is_backfill = |record: &&Occurrence| matches!(record.origin, Origin::Backfill(_));
        for record in self.records.values().filter(|r| r.origin != Origin::Manual) {
            let end = Millis(record.last.unwrap_or(record.at).0 + 1);
            let table = said(record)?;
            if record.outcome == Outcome::SkippedCalendar {
                let bounds = (record.at, record.last.unwrap_or(record.at));
                let (is, count) = (table.off_bounds(record.at..end), table.count(record.at..end));
                if is != Some(bounds) || count.off != record.count {
                    return Err(format!("not slots of days that don't count: {record:?}"));
                }
                continue;
            }
            let slots: Vec<Millis> = table.slots(record.at..end).map(|slot| slot.at).collect();
            if slots.len() as u64 != record.count {
                let near = self
                    .records
                    .values()
                    .filter(|r| r.last.unwrap_or(r.at) >= record.at && r.at.0 < end.0);
                let near: Vec<String> =
                    near.map(|r| format!("{} {:?}", r.key, r.outcome)).collect();
                let (slots, near) = (slots.len(), near.join(", "));
                return Err(format!("{slots} slots are in {record:?}; near it: {near}"));
            }
            for slot in slots.into_iter().filter(|_| !is_backfill(&record)) {
                if let Some(other) = found.insert(slot, record) {
                    return Err(format!("slot {slot} is in {other:?} and in {record:?}"));
                }
            }
        }
        // A backfill gives a slot another outcome, or one that stands beside that of its range.
        for record in self.records.values().filter(is_backfill) {
            found.entry(record.at).or_insert(record);
        }
        for (table, since, until) in &tables {
            let all = Millis(since.0 + 1)..Millis(until.0 + 1);
            if let Some(slot) = table.slots(all).find(|slot| !found.contains_key(&slot.at)) {
                return Err(format!("slot {} has no outcome", slot.at));
            }
        }
        Ok(())
    }
}
