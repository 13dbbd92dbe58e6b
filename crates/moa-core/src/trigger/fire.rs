//! The one path from an occurrence to a run: pauses, repeats, overlap, and the start itself.

use std::sync::Arc;

use serde_json::{Map, Value as Json, json};

use super::record::{Amendment, Occurrence, Origin, Outcome, Record};
use super::spec::Source;
use super::state::{Held, Last, OpenRun, Paused};
use super::vars::Vars;
use super::{Trigger, TriggerAnswer, Tx, rejected};
use crate::ids::RunId;
use crate::limits::{
    BUFFERED_BYTES_MAX, KEY_LENGTH_MAX, OPEN_RUNS_MAX, SIGNAL_BYTES_MAX, SLOTS_BUFFERED_MAX,
};
use crate::machine::{BUS, Emitted, Input, MessageBody, Rejected, StartRun};
use crate::run::{RunStatus, TriggerRef};
use crate::schedule::{self, End, Overlap};
use crate::time::Millis;
use crate::workflow::Priority;

impl Tx<'_, '_> {
    // ---- occurrences of all kinds but slots

    /// An event of the type that it listens to.
    pub(super) fn event(&mut self, event: &Arc<Emitted>, at: Millis) -> Result<(), Rejected> {
        let Source::Event { event: kind, matches } = &self.trigger.spec.source else {
            return rejected("it listens to no events");
        };
        if *kind != event.event {
            return rejected(format!("it listens to events of type {kind}"));
        }
        let vars = Arc::new(event_vars(&event.event, &event.data, event.source, at));
        let number = self.env.message.unwrap_or_default();
        let held = self.held(event_key(number), at, Origin::Live, vars);
        if let Some(matches) = matches {
            match matches.eval_bool(&Vars::of(&self.trigger.spec, &held.vars)) {
                Ok(true) => {}
                Ok(false) => {
                    self.count(Outcome::Filtered);
                    return Ok(());
                }
                Err(error) => {
                    let reason = format!("match: {error}");
                    self.decide(&held, Outcome::Failed, Some(reason), None, true);
                    return Ok(());
                }
            }
        }
        self.fire(held);
        Ok(())
    }

    /// Something that a part of moa outside the engine found.
    pub(super) fn occurred(&mut self, key: &str, data: &Arc<Json>) -> Result<(), Rejected> {
        let Source::Outside { by, .. } = &self.trigger.spec.source else {
            return rejected("nothing outside belongs to it");
        };
        if key.is_empty() || key.len() > KEY_LENGTH_MAX {
            return rejected(format!("a key has 1 to {KEY_LENGTH_MAX} bytes"));
        }
        let at = self.now().to_string();
        let vars = Arc::new(json!({ "event": { "type": by, "data": data, "at": at } }));
        if data.to_string().len() > SIGNAL_BYTES_MAX {
            return rejected(format!("more than {SIGNAL_BYTES_MAX} bytes"));
        }
        if let Some(paused) =
            self.trigger.state.paused.as_ref().filter(|_| self.trigger.spec.enabled)
        {
            // Whoever found it keeps it, and tells it again.
            let reason = Some(format!("paused by {}: {}", paused.by, paused.reason));
            self.applied.answer =
                TriggerAnswer::Decided { outcome: Outcome::SkippedPaused, run: None, reason };
            return Ok(());
        }
        if self.trigger.is_clogged() && !self.env.known.contains_key(key) {
            self.applied.answer = TriggerAnswer::Later;
            return Ok(());
        }
        let skipped = |o: &&Occurrence| o.outcome == Outcome::SkippedPaused && o.run.is_none();
        let held = self.held(key.to_owned(), self.now(), Origin::Live, vars);
        if self.env.known.get(key).filter(skipped).is_some() {
            // It was one too many then, and not made up for yet.
            if let Some(count) = self.trigger.state.counts.get_mut(&Outcome::SkippedPaused) {
                *count = count.saturating_sub(1);
            }
            self.path(held);
        } else {
            self.fire(held);
        }
        let of_key = |r: &&Record| r.occurrence.key == key;
        let decided = self.applied.records.iter().find(of_key).map(|r| &r.occurrence);
        if let Some(Occurrence { outcome, run, reason, .. }) = decided {
            let (outcome, run, reason) = (*outcome, *run, reason.clone());
            self.applied.answer = TriggerAnswer::Decided { outcome, run, reason };
        }
        Ok(())
    }

    /// What a person's wish is, as an occurrence.
    pub(super) fn manual(&self, key: &str, by: &str) -> Held {
        let now = self.now();
        let vars = match &self.trigger.table {
            Some(table) => super::vars::slot(table, table.slot(now)),
            None => json!({ "event": { "type": "manual", "data": { "by": by } } }),
        };
        self.held(format!("manual-{key}"), now, Origin::Manual, Arc::new(vars))
    }

    pub(super) fn start_by_hand(&mut self, held: Held) -> Result<(), Rejected> {
        if held.key.len() > KEY_LENGTH_MAX {
            return rejected(format!("a key has at most {KEY_LENGTH_MAX} bytes"));
        }
        if !self.trigger.spec.enabled {
            let title = self.trigger.spec.title();
            return rejected(match self.trigger.spec.rule {
                true => format!("{title} is switched off"),
                false => format!("{title} is disabled in its definition"),
            });
        }
        self.fire(held);
        Ok(())
    }

    pub(super) fn held(&self, key: String, at: Millis, origin: Origin, vars: Arc<Json>) -> Held {
        let bytes = vars.to_string().len();
        Held {
            key,
            at,
            offset: None,
            origin,
            vars,
            params: None,
            overlap: None,
            priority: None,
            bytes,
            with: Vec::new(),
        }
    }

    // ---- the path

    /// Decides about an occurrence, slots excepted: their schedule has its own view of overlap.
    pub(super) fn fire(&mut self, held: Held) {
        if let Some(known) = self.env.known.get(&held.key) {
            let (run, outcome) = (known.run, known.outcome);
            let said = known.reason.as_deref().map_or(String::new(), |r| format!(": {r}"));
            let reason = format!("it was asked for with this key at {}{said}", known.decided_at);
            self.count(Outcome::Deduped);
            return match run {
                Some(_) => self.answer(&held, Outcome::Deduped, run, None),
                // The same key is the same answer, whatever would be answered now.
                None => self.answer(&held, outcome, None, Some(reason)),
            };
        }
        self.path(held);
    }

    /// The same, of one that has had no run.
    fn path(&mut self, held: Held) {
        let state = &self.trigger.state;
        let live = held.origin == Origin::Live;
        if !self.trigger.spec.enabled {
            return self.decide(&held, Outcome::SkippedDisabled, None, None, true);
        }
        if let Some(paused) = state.paused.as_ref().filter(|_| live) {
            let reason = Some(format!("paused by {}: {}", paused.by, paused.reason));
            return self.decide(&held, Outcome::SkippedPaused, reason, None, true);
        }
        if live && self.trigger.spec.collect.is_some() {
            return self.collect(held);
        }
        self.admit(held, true);
    }

    /// Starts an occurrence that may start, as the overlap policy says. `new`: it has no record yet.
    pub(super) fn admit(&mut self, held: Held, new: bool) {
        let overlap = held.overlap.unwrap_or(self.trigger.spec.overlap);
        let full = self.trigger.is_full();
        if overlap == Overlap::Allow && !full {
            return self.start(held, new);
        }
        let going_on = self.going_on();
        let Some(&run) = going_on.first() else { return self.start(held, new) };
        match overlap {
            Overlap::Allow => self.buffer(held, new),
            Overlap::Skip => self.skip_overlap(&held, format!("run {run} was going on"), new),
            Overlap::BufferOne if self.trigger.state.buffered.is_empty() => self.buffer(held, new),
            Overlap::BufferOne => {
                self.skip_overlap(&held, "another one was waiting already".into(), new);
            }
            Overlap::BufferAll => self.buffer(held, new),
            Overlap::CancelRunning => {
                let why = format!("{} starts it anew", self.trigger.spec.title());
                let older = std::mem::take(&mut self.trigger.state.buffered);
                // Those that something waits for have been asked already.
                for run in going_on.into_iter().filter(|_| older.is_empty()) {
                    self.stop(run, schedule::Stop::Cancel, &why);
                }
                for older in older {
                    self.skip_overlap(&older, "a newer one took its place".into(), false);
                }
                self.buffer(held, new);
            }
            Overlap::TerminateRunning => {
                let why = format!("{} starts it anew", self.trigger.spec.title());
                for run in going_on {
                    self.stop(run, schedule::Stop::Terminate, &why);
                }
                match full {
                    true => self.buffer(held, new),
                    false => self.start(held, new),
                }
            }
        }
    }

    /// Its runs that have not ended, those of backfills excepted, and the one that waits for others.
    pub(super) fn going_on(&self) -> Vec<RunId> {
        let state = &self.trigger.state;
        let own = |open: &OpenRun| !matches!(open.origin, Origin::Backfill(_));
        let open = state.open.iter().filter(|(_, open)| own(open)).map(|(run, _)| *run);
        open.chain(state.waiting.as_ref().map(|w| w.run)).collect()
    }

    fn skip_overlap(&mut self, held: &Held, reason: String, new: bool) {
        self.decide(held, Outcome::SkippedOverlap, Some(reason), None, new);
    }

    fn buffer(&mut self, held: Held, new: bool) {
        let buffered = &self.trigger.state.buffered;
        let bytes: usize = buffered.iter().map(|h| h.bytes).sum();
        if buffered.len() >= SLOTS_BUFFERED_MAX || bytes + held.bytes > BUFFERED_BYTES_MAX {
            return self.skip_overlap(&held, "too many were waiting already".into(), new);
        }
        let reason = self.trigger.is_full().then(|| full("it waits for one of them to end"));
        if let Some(reason) = reason.as_ref().filter(|_| self.trigger.state.buffered.is_empty()) {
            self.applied.notices.push(format!("{}: {reason}", self.trigger.spec.title()));
        }
        self.decide(&held, Outcome::Buffered, reason, None, new);
        self.trigger.state.buffered.push_back(held);
    }

    /// Whether what waits first may start now.
    fn is_its_turn(&self) -> bool {
        let Some(held) = self.trigger.state.buffered.front() else { return false };
        match held.overlap.unwrap_or(self.trigger.spec.overlap) {
            // It waits since there were too many.
            Overlap::Allow => !self.trigger.is_full(),
            _ => self.going_on().is_empty(),
        }
    }

    /// Starts what waited for runs to end, if it is its turn.
    pub(super) fn release(&mut self) {
        while self.trigger.may_start() && self.is_its_turn() {
            let Some(held) = self.trigger.state.buffered.pop_front() else { return };
            let late = self.trigger.spec.max_lateness;
            if late.is_some_and(|late| self.now() > held.at.after(late)) {
                let reason = "it waited for too long".to_owned();
                self.decide(&held, Outcome::SkippedLate, Some(reason), None, false);
            } else {
                self.start(held, false);
            }
        }
    }

    /// Starts the run of an occurrence. `new`: it has no record yet.
    pub(super) fn start(&mut self, held: Held, new: bool) {
        let run = self.trigger.id.run(&held.key, held.at);
        self.start_as(run, held, new);
    }

    /// The same, with a run id that is known already.
    pub(super) fn start_as(&mut self, run: RunId, held: Held, new: bool) {
        if self.trigger.state.orphaned {
            let reason = format!("its workflow {} is gone", self.trigger.spec.workflow);
            self.decide(&held, Outcome::Failed, Some(reason), None, new);
            return self.over.push_back((held.origin, End::Cancelled));
        }
        if self.trigger.table.is_some() && held.origin != Origin::Manual && self.trigger.is_full() {
            // Of other kinds it waits.
            let counted = matches!(held.origin, Origin::Live | Origin::CatchUp);
            if let Some(schedule) = self.trigger.state.schedule.as_mut().filter(|_| counted) {
                // It was counted as a run when its turn had come.
                schedule.runs = schedule.runs.saturating_sub(1);
            }
            self.skip_overlap(&held, full("a slot doesn't wait for that"), new);
            return self.over.push_back((held.origin, End::Cancelled));
        }
        let params = match self.params(&held) {
            Ok(params) => params,
            Err(reason) => {
                self.decide(&held, Outcome::Failed, Some(reason), None, new);
                return self.over.push_back((held.origin, End::Failed));
            }
        };
        if self.runs_away(&held) {
            return self.stop_before(&held, new);
        }
        let spec = self.trigger.spec.clone();
        self.decide(&held, Outcome::Started, None, Some(run), new);
        let (key, at, origin) = (held.key.clone(), held.at, held.origin);
        let with = u32::try_from(held.with.len()).unwrap_or(u32::MAX);
        self.trigger.state.open.insert(run, OpenRun { key, at, origin, with });
        self.trigger.state.last_started = Some(self.now());
        let is_slot = spec.schedule().is_some() && held.origin != Origin::Manual;
        let trigger = TriggerRef {
            trigger: self.trigger.id,
            name: spec.title(),
            key: held.key,
            slot: is_slot.then_some(held.at),
            vars: held.vars,
        };
        // What makes up for the past comes behind what happens now.
        let past = matches!(held.origin, Origin::CatchUp | Origin::Backfill(_));
        let behind = past.then_some(Priority::Low);
        let start = StartRun {
            workflow: spec.workflow.clone(),
            params: Arc::new(params),
            priority: held.priority.or(behind).or(spec.priority),
            cause: cause(&trigger, held.origin),
            trigger: Arc::new(trigger),
        };
        self.send(run, MessageBody::StartRun(Box::new(start)));
    }

    pub(super) fn params(&self, held: &Held) -> Result<Json, String> {
        let spec = &self.trigger.spec;
        let rendered = spec.params.render(&Vars::of(spec, &held.vars));
        let rendered = rendered.map_err(|e| format!("params: {e}"))?;
        let mut params = match rendered.value {
            Json::Null => Map::new(),
            Json::Object(map) => map,
            other => return Err(format!("params: they must be a map, not {other}")),
        };
        if let Some(Json::Object(given)) = held.params.as_deref() {
            params.extend(given.clone());
        }
        Ok(Json::Object(params))
    }

    // ---- runs that end

    /// A run of its own has ended.
    pub(super) fn ended(&mut self, run: RunId, status: RunStatus) -> Result<(), Rejected> {
        let Some(open) = self.trigger.state.open.remove(&run) else {
            return rejected(format!("run {run} is none of its open runs"));
        };
        let amendment = Amendment { key: open.key, run, outcome: None, result: Some(status) };
        self.applied.amendments.push(amendment);
        let end = match status {
            RunStatus::Succeeded => End::Succeeded,
            RunStatus::Cancelled => End::Cancelled,
            _ => End::Failed,
        };
        self.over.push_back((open.origin, end));
        Ok(())
    }

    /// A run that it wanted could not be created.
    pub(super) fn not_started(
        &mut self,
        run: RunId,
        limit: bool,
        reason: &str,
    ) -> Result<(), Rejected> {
        let Some(open) = self.trigger.state.open.remove(&run) else {
            return rejected(format!("run {run} is none of its open runs"));
        };
        let outcome = if limit { Outcome::SkippedLimit } else { Outcome::Failed };
        let state = &mut self.trigger.state;
        let shared = u64::from(open.with);
        for (was, n) in [(Outcome::Started, 1), (self.trigger.spec.sharing(), shared)] {
            if let Some(count) = state.counts.get_mut(&was) {
                *count = count.saturating_sub(n);
            }
        }
        if let Some(last) = state.last.as_mut().filter(|last| last.run == Some(run)) {
            (last.outcome, last.run) = (outcome, None);
        }
        self.count_many(outcome, 1 + shared);
        let after_all = Some((outcome, reason.to_owned()));
        let amendment = Amendment { key: open.key, run, outcome: after_all, result: None };
        self.applied.amendments.push(amendment);
        self.over.push_back((open.origin, if limit { End::Cancelled } else { End::Failed }));
        Ok(())
    }

    /// What follows when runs are over, or could not be. One after the other, however many could
    /// not be started one for the other.
    pub(super) fn settle(&mut self) {
        while let Some((origin, end)) = self.over.pop_front() {
            self.run_over(origin, end);
            self.go_on();
        }
    }

    fn run_over(&mut self, origin: Origin, end: End) {
        if let Origin::Backfill(number) = origin {
            let mut all = self.trigger.state.backfills.iter_mut();
            if let Some(backfill) = all.find(|b| b.number == number && end == End::Failed) {
                backfill.failed += 1;
            }
            return;
        }
        if self.trigger.table.is_some() {
            return self.tick(schedule::Input::Ended(end));
        }
        let state = &mut self.trigger.state;
        match end {
            End::Succeeded => state.failures = 0,
            End::Cancelled => {}
            End::Failed => state.failures = state.failures.saturating_add(1),
        }
        let failures = state.failures;
        let most = self.trigger.spec.pause_after;
        if end == End::Failed && most.is_some_and(|most| failures >= most) {
            self.pause_by_failures(failures);
        }
    }

    /// Pauses it because of failed runs in a row, and tells whoever wants to know.
    pub(super) fn pause_by_failures(&mut self, failures: u32) {
        if self.trigger.state.paused.is_some() {
            return;
        }
        self.pause_by_itself(format!("{failures} failed runs in a row"));
    }

    /// Pauses it because of what it does, and tells whoever wants to know.
    pub(super) fn pause_by_itself(&mut self, reason: String) {
        let by = "moa".to_owned();
        let at = self.now();
        self.trigger.state.paused = Some(Paused { by, reason: reason.clone(), at });
        let spec = &self.trigger.spec;
        let title = spec.title();
        let data = json!({ "trigger": title, "workflow": spec.workflow, "reason": reason });
        let event = Emitted { event: "trigger.paused".into(), source: None, data: Arc::new(data) };
        self.send(BUS, MessageBody::Emitted(Arc::new(event)));
        self.applied.notices.push(format!("{title} is paused: {reason}"));
    }

    /// A run is out of the way: what waited for that.
    fn go_on(&mut self) {
        if self.trigger.state.removed {
            return;
        }
        self.release();
        self.tick(schedule::Input::Tick);
        self.backfill();
    }

    // ---- what is written and sent

    /// Asks a run to end. One that waits for others has not begun.
    pub(super) fn stop(&mut self, run: RunId, how: schedule::Stop, why: &str) {
        if let Some(waiting) = self.trigger.state.waiting.take_if(|w| w.run == run) {
            self.skip_overlap(&waiting.held, "a newer one took its place".into(), false);
            return;
        }
        let reason = why.to_owned();
        let input = match how {
            schedule::Stop::Cancel => Input::Cancel { reason },
            schedule::Stop::Terminate => Input::Terminate { reason },
        };
        self.send(run, MessageBody::Input(input));
    }

    fn send(&mut self, to: RunId, body: MessageBody) {
        self.applied.sends.push((to, body));
    }

    /// Records what became of an occurrence.
    pub(super) fn decide(
        &mut self,
        held: &Held,
        outcome: Outcome,
        reason: Option<String>,
        run: Option<RunId>,
        new: bool,
    ) {
        let decided_at = self.now();
        self.answer(held, outcome, run, reason.clone());
        self.count(outcome);
        let state = &mut self.trigger.state;
        let (key, at) = (held.key.clone(), held.at);
        state.last = Some(Last { key: key.clone(), at, outcome, run, decided_at });
        state.streak = None;
        let occurrence = self.occurrence(held, outcome, reason.clone(), run);
        self.record(occurrence, new);
        if !held.with.is_empty() {
            self.share_fate(held, outcome, reason.as_ref(), run);
        }
    }

    /// What is recorded of an occurrence.
    pub(super) fn occurrence(
        &self,
        held: &Held,
        outcome: Outcome,
        reason: Option<String>,
        run: Option<RunId>,
    ) -> Occurrence {
        Occurrence {
            key: held.key.clone(),
            revision: self.trigger.revision,
            at: held.at,
            offset: held.offset,
            last: None,
            count: 1,
            origin: held.origin,
            outcome,
            reason,
            run,
            result: None,
            decided_at: self.now(),
        }
    }

    pub(super) fn record(&mut self, occurrence: Occurrence, new: bool) {
        // Of one application only the last word about an occurrence is written.
        let records = &mut self.applied.records;
        let earlier = records.iter().position(|r| r.occurrence.key == occurrence.key);
        let was_new = earlier.map(|at| records.remove(at).new);
        let new = was_new.unwrap_or(new && !self.env.known.contains_key(&occurrence.key));
        records.push(Record { occurrence, new });
    }

    pub(super) fn count(&mut self, outcome: Outcome) {
        self.count_many(outcome, 1);
    }

    pub(super) fn count_many(&mut self, outcome: Outcome, n: u64) {
        if !outcome.is_open() {
            *self.trigger.state.counts.entry(outcome).or_default() += n;
        }
    }

    /// Who asked for a start is told what became of it.
    fn answer(
        &mut self,
        held: &Held,
        outcome: Outcome,
        run: Option<RunId>,
        reason: Option<String>,
    ) {
        if held.origin == Origin::Manual {
            self.applied.answer = TriggerAnswer::Decided { outcome, run, reason };
        }
    }
}

impl Trigger {
    /// Whether as many runs of it are open as may be.
    pub(super) fn is_full(&self) -> bool {
        self.state.open.len() >= OPEN_RUNS_MAX
    }

    /// Whether what was found outside can't even wait in it.
    fn is_clogged(&self) -> bool {
        self.state.buffered.len() >= SLOTS_BUFFERED_MAX
            && self.spec.enabled
            && self.spec.collect.is_none()
            && matches!(self.spec.overlap, Overlap::Allow | Overlap::BufferAll)
    }
}

/// Says that too many runs are open, and what that means.
fn full(and: &str) -> String {
    format!("{OPEN_RUNS_MAX} runs of it have not ended, as many as may be; {and}")
}

/// The key of the occurrence that is an event which a message told of.
pub fn event_key(message: u64) -> String {
    format!("event-{message}")
}

/// What expressions see of an event.
pub(super) fn event_vars(kind: &str, data: &Arc<Json>, source: Option<RunId>, at: Millis) -> Json {
    let at = at.to_string();
    json!({ "event": { "type": kind, "data": data, "source": source, "at": at } })
}

/// Who or what starts the run, for people.
fn cause(trigger: &TriggerRef, origin: Origin) -> String {
    let name = &trigger.name;
    match (trigger.slot, origin) {
        (Some(slot), Origin::CatchUp) => format!("schedule {name}, missed slot {slot}"),
        (Some(slot), Origin::Backfill(n)) => format!("schedule {name}, slot {slot}, backfill {n}"),
        (Some(slot), _) => format!("schedule {name}, slot {slot}"),
        (None, Origin::Manual) => format!("trigger {name}, by hand"),
        (None, _) => format!("trigger {name}, {}", trigger.key),
    }
}
