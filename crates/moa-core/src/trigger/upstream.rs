//! Runs of other workflows: triggers that react to their ends, and slots that wait for them.

use std::sync::Arc;

use serde_json::{Map, Value as Json, json};

use super::record::{Origin, Outcome};
use super::spec::{Dependency, Source};
use super::state::{Arrived, Cycle, Held, Waiting};
use super::{Trigger, Tx};
use crate::ids::{Name, RunId};
use crate::limits::{CYCLES_MAX, UPSTREAM_GRACE_MS};
use crate::schedule::Timetable;
use crate::time::{Millis, Span};

/// What a slot waits for.
pub(super) struct Unmet {
    /// For people.
    pub reason: String,
    /// From when on it isn't waited for any more, if that is known.
    pub until: Option<Millis>,
}

impl Tx<'_, '_> {
    /// A run of a workflow that it listens to came to be.
    pub(super) fn upstream_started(
        &mut self,
        run: RunId,
        workflow: &Name,
        slot: Option<Millis>,
        at: Millis,
    ) {
        if !self.trigger.waits_for(workflow) {
            return;
        }
        let cycles = self.trigger.state.cycles.entry(workflow.clone()).or_default();
        if cycles.iter().any(|cycle| cycle.run == run) {
            return;
        }
        cycles.push(Cycle { run, slot, at, ended: None });
        cycles.sort_by_key(|cycle| (cycle.slot.unwrap_or(cycle.at), cycle.at, cycle.run));
        let extra = cycles.len().saturating_sub(CYCLES_MAX);
        cycles.drain(..extra);
        self.try_waiting();
    }

    /// A run of a workflow that it listens to ended.
    pub(super) fn upstream_ended(&mut self, workflow: &Name, arrived: Arrived) {
        if let Source::Runs { of, all } = &self.trigger.spec.source {
            let all = *all;
            let fits = |d: &&Dependency| d.workflow == *workflow && d.status.fits(arrived.status);
            if !of.iter().any(|d| fits(&d)) {
                return self.count(Outcome::Filtered);
            }
            self.trigger.state.arrived.insert(workflow.clone(), arrived);
            return self.all_arrived(all);
        }
        if !self.trigger.waits_for(workflow) {
            return;
        }
        let (run, status, at) = (arrived.run, arrived.status, arrived.at);
        let cycles = self.trigger.state.cycles.entry(workflow.clone()).or_default();
        if cycles.is_empty() {
            // It began before this trigger listened.
            cycles.push(Cycle { run, slot: None, at, ended: None });
        }
        if let Some(cycle) = cycles.iter_mut().find(|cycle| cycle.run == run) {
            cycle.ended = Some((status, at));
        }
        self.try_waiting();
    }

    /// Starts a run when everything has ended that has to; with `all`, each of the dependencies.
    fn all_arrived(&mut self, all: bool) {
        let Source::Runs { of, .. } = &self.trigger.spec.source else { return };
        let arrived = &self.trigger.state.arrived;
        if all && !of.iter().all(|d| arrived.contains_key(&d.workflow)) {
            return;
        }
        let arrived = std::mem::take(&mut self.trigger.state.arrived);
        let ids: Vec<String> = arrived.values().map(|a| a.run.to_string()).collect();
        let key = match &ids[..] {
            [one] => one.clone(),
            many => blake3::hash(many.join("+").as_bytes()).to_hex()[..32].to_owned(),
        };
        let at = arrived.values().map(|a| a.at).max().unwrap_or(self.now());
        let about = |name: &Name, a: &Arrived| {
            json!({
                "workflow": name,
                "run": a.run,
                "status": a.status.as_str(),
                "at": a.at.to_string(),
                "output": a.output,
            })
        };
        let mut runs = Map::new();
        for (name, a) in &arrived {
            runs.insert(name.to_string(), about(name, a));
        }
        let mut data = Map::new();
        if let (Some((name, a)), 1) = (arrived.first_key_value(), arrived.len())
            && let Json::Object(one) = about(name, a)
        {
            data = one;
        }
        data.insert("runs".into(), Json::Object(runs));
        let event = json!({ "type": "run.ended", "data": data, "at": at.to_string() });
        let vars = Arc::new(json!({ "event": event }));
        let held = self.held(key, at, Origin::Live, vars);
        self.fire(held);
    }

    // ---- slots that wait

    /// Starts the slot that waits for other workflows, if they have ended.
    pub(super) fn try_waiting(&mut self) {
        if !self.trigger.may_start() {
            return;
        }
        let now = self.now();
        let Some(waiting) = &mut self.trigger.state.waiting else { return };
        if now < waiting.held.at {
            // By the clock of the node that accepted it, it was due; by this one's it isn't yet.
            waiting.seen_at = now;
            return;
        }
        let Some(waiting) = &self.trigger.state.waiting else { return };
        let unmet = self.trigger.unmet(waiting.held.at, waiting.since, now);
        if let Some(waiting) = self.trigger.state.waiting.as_mut().filter(|_| !unmet.is_empty()) {
            waiting.seen_at = now;
            return;
        }
        if let Some(Waiting { held, run, .. }) = self.trigger.state.waiting.take() {
            self.start_as(run, held, false);
        }
    }

    /// Of two slots that would wait the newer one does.
    pub(super) fn let_wait(&mut self, held: Held, run: RunId) {
        let (since, seen_at) = (self.now(), self.now());
        let new = Waiting { held, run, since, seen_at };
        let older = match self.trigger.state.waiting.take() {
            Some(other) if other.held.at > new.held.at => {
                self.trigger.state.waiting = Some(other);
                Some(new)
            }
            other => {
                self.trigger.state.waiting = Some(new);
                other
            }
        };
        let Some(older) = older else { return };
        let reason = "it could not be started before a newer slot".to_owned();
        self.decide(&older.held, Outcome::SkippedLate, Some(reason), None, false);
        if let Some(schedule) = &mut self.trigger.state.schedule {
            // It was counted as a run when its turn had come.
            schedule.runs = schedule.runs.saturating_sub(1);
        }
    }

    /// A slot that has waited for too long, or until the next one is due, isn't started any more.
    pub(super) fn drop_late(&mut self) {
        let Some(waiting) = &self.trigger.state.waiting else { return };
        let at = waiting.held.at;
        let late = self.trigger.late_at(waiting).is_some_and(|late| late <= self.now());
        let next = self.trigger.table.as_ref().and_then(|table| table.next_slot(at));
        if !late && next.is_none_or(|next| next.at > self.now()) {
            return;
        }
        let unmet = self.trigger.unmet(at, waiting.since, self.now());
        if !late && unmet.is_empty() && self.trigger.may_start() {
            return self.try_waiting();
        }
        let since = if late { "in time" } else { "before the next slot" };
        let reasons: Vec<_> = unmet.into_iter().map(|u| u.reason).collect();
        let reason = format!("it could not be started {since}: {}", reasons.join("; "));
        let Some(waiting) = self.trigger.state.waiting.take() else { return };
        self.decide(&waiting.held, Outcome::SkippedLate, Some(reason), None, false);
        if let Some(schedule) = &mut self.trigger.state.schedule {
            // It was counted as a run when its turn had come.
            schedule.runs = schedule.runs.saturating_sub(1);
        }
    }
}

impl Trigger {
    /// Whether its slots wait for runs of a workflow.
    fn waits_for(&self, workflow: &Name) -> bool {
        let after = self.spec.schedule().map(|source| source.after.as_slice());
        after.unwrap_or_default().iter().any(|d| d.workflow == *workflow)
    }

    /// When a waiting slot has to be looked at again, whatever happens.
    pub(super) fn waits_until(&self, waiting: &Waiting) -> Option<Millis> {
        let at = waiting.held.at;
        // What was over when it was last looked at doesn't come again.
        let unmet = self.unmet(at, waiting.since, waiting.seen_at);
        let met = unmet.iter().filter_map(|u| u.until).min().filter(|_| self.may_start());
        let next = self.table.as_ref().and_then(|t| t.next_slot(at)).map(|slot| slot.at);
        let early = (waiting.seen_at < at).then_some(at).filter(|_| self.may_start());
        [met, self.late_at(waiting), next, early].into_iter().flatten().min()
    }

    /// Whether it may start what waits: nobody has paused it or switched it off.
    pub(super) fn may_start(&self) -> bool {
        self.state.paused.is_none() && self.spec.enabled
    }

    fn late_at(&self, waiting: &Waiting) -> Option<Millis> {
        let late = self.spec.max_lateness?;
        Some(waiting.held.at.after(late).after(Span(1)))
    }

    /// The workflows that a slot has to wait for at `now`; it waits since `since`.
    pub(super) fn unmet(&self, slot: Millis, since: Millis, now: Millis) -> Vec<Unmet> {
        let Some(source) = self.spec.schedule() else { return Vec::new() };
        let tables = self.upstream.iter().map(Vec::as_slice);
        let dependencies = source.after.iter().zip(tables);
        dependencies.filter_map(|(d, tables)| self.unmet_one(d, tables, slot, since, now)).collect()
    }

    fn unmet_one(
        &self,
        dependency: &Dependency,
        tables: &[Timetable],
        slot: Millis,
        since: Millis,
        now: Millis,
    ) -> Option<Unmet> {
        let name = &dependency.workflow;
        let known = self.state.cycles.get(name).map(Vec::as_slice).unwrap_or_default();
        let of_slot = |c: &&Cycle| match c.slot {
            Some(at) => at <= slot,
            None => tables.is_empty(),
        };
        let newest = known.iter().rfind(of_slot);
        let due = tables.iter().filter_map(|table| {
            let behind = Millis(slot.0.saturating_add(1));
            let last = table.newest(self.state.since..behind, 1).pop_back()?;
            Some((last.at, last.at.after(table.schedule().jitter_of(last.at))))
        });
        if let Some((due, starts)) = due.max()
            && newest.is_none_or(|c| c.slot < Some(due))
        {
            // Its latest cycle has not begun: it may be about to, or be passed over.
            let news = known.iter().filter_map(|c| c.ended).map(|(_, at)| at).max();
            let from = [Some(starts), Some(since), news].into_iter().flatten().max();
            let until = from.unwrap_or(since).after(Span(UPSTREAM_GRACE_MS));
            if now < until {
                let reason = format!("{name}: its run of {due} has not begun");
                return Some(Unmet { reason, until: Some(until) });
            }
        }
        let reason = match newest {
            None if tables.is_empty() => {
                format!("{name}: no run has ended since this is waited for")
            }
            None => return None,
            Some(Cycle { run, ended: None, .. }) => format!("{name}: run {run} is going on"),
            Some(Cycle { run, ended: Some((status, _)), .. }) => {
                if dependency.status.fits(*status) {
                    return None;
                }
                format!("{name}: run {run} {}", status.as_str())
            }
        };
        Some(Unmet { reason, until: None })
    }
}
