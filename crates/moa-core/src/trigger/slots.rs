//! Schedules: what [`plan`] decides about slots becomes records, runs and messages.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::record::{Occurrence, Origin, Outcome};
use super::state::{Held, Last, Paused, Streak};
use super::{Env, Tx, vars};
use crate::ids::RunId;
use crate::schedule::{
    self, Facts, Input, Miss, Notice, PausedBy, Planned, Skip, Slot, Timetable, Which, plan,
};
use crate::time::Millis;

/// The key of a slot's occurrence.
pub(super) fn key(at: Millis) -> String {
    at.to_string()
}

impl Tx<'_, '_> {
    /// A step of the schedule, if it is one.
    pub(super) fn tick(&mut self, input: Input) {
        self.drop_late();
        let Some((table, state)) = self.schedule() else { return };
        let running = self.going_on();
        let known = known_runs(&self.env);
        let facts = Facts {
            running: &running,
            enabled: self.trigger.spec.enabled,
            catch_up_from: self.env.catch_up_from,
            known: &known,
        };
        let planned = plan(&table, &state, &facts, input, self.now());
        self.take_over(&table, planned);
    }

    fn schedule(&self) -> Option<(Timetable, schedule::State)> {
        let trigger = &*self.trigger;
        let state = trigger.state.schedule.clone().filter(|_| !trigger.state.removed)?;
        Some((trigger.table.clone()?, state))
    }

    fn take_over(&mut self, table: &Timetable, planned: Planned) {
        let Planned { state, records, stop, notices, wake_at } = planned;
        self.trigger.state.failures = state.failures;
        self.trigger.state.schedule = Some(state);
        self.trigger.state.wake_at = wake_at;
        let why = format!("{} starts it anew", self.trigger.spec.title());
        for (run, how) in stop {
            self.stop(run, how, &why);
        }
        for notice in notices {
            self.notice(notice);
        }
        self.tell_missed(&records);
        for record in records {
            match record.slots {
                Which::One(slot) => self.one(table, slot, record.outcome),
                Which::Many { from, to, count } => self.many(from, to, count, record.outcome),
            }
        }
        self.mirror_pause();
    }

    /// Slots that nobody served are no secret: one line for all that were found at once.
    fn tell_missed(&mut self, records: &[schedule::Record]) {
        let (mut count, mut first, mut last) = (0, None, None);
        let mut why = None;
        for record in records {
            let schedule::Outcome::Missed(miss) = record.outcome else { continue };
            let (from, to, some) = match record.slots {
                Which::One(slot) => (slot.at, slot.at, 1),
                Which::Many { from, to, count } => (from, to, count.unwrap_or_default()),
            };
            count += some;
            first = first.or(Some(from));
            (last, why) = (Some(to), Some(miss));
        }
        let (Some(first), Some(last), Some(miss)) = (first, last, why) else { return };
        let title = self.trigger.spec.title();
        let Some(table) = &self.trigger.table else { return };
        let why = passed(table, schedule::Outcome::Missed(miss)).1.unwrap_or_default();
        let slots = if count == 1 { "a slot was" } else { "slots were" };
        let many = if count == 1 { String::new() } else { format!("{count} ") };
        let when = if count == 1 { first.to_string() } else { format!("{first} to {last}") };
        self.applied.notices.push(format!(
            "{title}: {many}{slots} missed and not started, because no node served it then \
             ({when}; {why})"
        ));
    }

    fn notice(&mut self, notice: Notice) {
        let title = self.trigger.spec.title();
        match notice {
            Notice::PausedByFailures(failures) => self.pause_by_failures(failures),
            Notice::Finished => {
                self.applied.notices.push(format!("{title} has started the last of its runs"));
            }
            Notice::Rewound { from } => self.applied.notices.push(format!(
                "{title}: the clock was ahead ({from}) and went back; slots are judged anew, and \
                 none that has had a run gets another one"
            )),
        }
    }

    /// The schedule may be paused without anybody having said so here.
    fn mirror_pause(&mut self) {
        let now = self.now();
        let state = &mut self.trigger.state;
        let paused = state.schedule.as_ref().and_then(|s| s.paused);
        if let (Some(paused), None) = (paused, &state.paused) {
            let by = match paused.by {
                PausedBy::Person => "somebody",
                PausedBy::Failures => "moa",
            };
            state.paused = Some(Paused { by: by.into(), reason: String::new(), at: now });
        }
    }

    fn one(&mut self, table: &Timetable, slot: Slot, outcome: schedule::Outcome) {
        match outcome {
            schedule::Outcome::Started { run, catch_up, .. } => {
                let origin = if catch_up { Origin::CatchUp } else { Origin::Live };
                self.start_slot(run, slot, origin);
            }
            schedule::Outcome::Deduped { .. } => self.count(Outcome::Deduped),
            other => {
                let (outcome, reason) = passed(table, other);
                self.pass(slot, outcome, reason);
            }
        }
    }

    /// Starts a slot, or lets it wait for other workflows.
    fn start_slot(&mut self, run: RunId, slot: Slot, origin: Origin) {
        let held = self.slot(slot, origin);
        let unmet = self.trigger.unmet(slot.at, self.now(), self.now());
        if unmet.is_empty() {
            return self.start_as(run, held, true);
        }
        let reason = unmet.into_iter().map(|u| u.reason).collect::<Vec<_>>().join("; ");
        self.decide(&held, Outcome::Waiting, Some(reason), None, true);
        self.let_wait(held, run);
    }

    /// A slot that starts nothing, as an occurrence.
    fn bare(&self, slot: Slot) -> Held {
        let held = self.held(key(slot.at), slot.at, Origin::Live, Arc::default());
        Held { offset: Some(slot.offset), ..held }
    }

    /// A slot as an occurrence.
    pub(super) fn slot(&self, slot: Slot, origin: Origin) -> Held {
        let vars = self.trigger.table.as_ref().map(|table| vars::slot(table, slot));
        let vars = vars.unwrap_or_default();
        let held = self.held(key(slot.at), slot.at, origin, Arc::new(vars));
        Held { offset: Some(slot.offset), ..held }
    }

    /// Records a slot that starts nothing; like ones in a row share a record.
    fn pass(&mut self, slot: Slot, outcome: Outcome, reason: Option<String>) {
        let shared = matches!(outcome, Outcome::SkippedPaused | Outcome::SkippedDisabled);
        let streak = self.trigger.state.streak.take().filter(|s| s.outcome == outcome && shared);
        let held = self.bare(slot);
        // Some were accepted before, and are passed over out of turn: a range must not span others.
        let next = |s: &Streak| self.trigger.table.as_ref()?.next_slot(s.last);
        let follows = |s: &Streak| next(s).is_some_and(|next| next.at == slot.at);
        let Some(mut streak) = streak.filter(follows) else {
            self.decide(&held, outcome, reason, None, true);
            // The first has a record of its own; those behind it share one.
            let (first, last) = (slot.at, slot.at);
            self.trigger.state.streak = shared.then_some(Streak { outcome, first, last, count: 0 });
            return;
        };
        if streak.count == 0 {
            streak.first = slot.at;
        }
        streak.last = slot.at;
        streak.count += 1;
        self.count(outcome);
        let mut occurrence = self.range(streak.first, slot.at, streak.count, outcome, reason);
        occurrence.key = format!("{}..", key(streak.first));
        self.remember(&occurrence);
        self.record(occurrence, false);
        self.trigger.state.streak = Some(streak);
    }

    /// Records a half-open range of slots with the same fate.
    fn many(&mut self, from: Millis, to: Millis, count: Option<u64>, outcome: schedule::Outcome) {
        let Some((table, _)) = self.schedule() else { return };
        let (outcome, reason) = passed(&table, outcome);
        self.record_range(from, to, count.unwrap_or_default(), outcome, reason);
    }

    fn record_range(
        &mut self,
        from: Millis,
        to: Millis,
        count: u64,
        outcome: Outcome,
        reason: Option<String>,
    ) {
        let (first, last) = self.bounds(from, to, outcome);
        let mut occurrence = self.range(first, last, count, outcome, reason);
        // Those on days that count and the others are found in the same range.
        occurrence.key = format!("{}..{}.{}", key(from), key(to), outcome.as_str());
        self.count_many(outcome, count);
        self.remember(&occurrence);
        self.trigger.state.streak = None;
        // The same range again says the same again.
        self.record(occurrence, false);
    }

    /// The first and the last slot of a half-open range; its bounds where there is none that counts.
    fn bounds(&self, from: Millis, to: Millis, outcome: Outcome) -> (Millis, Millis) {
        let table = self.trigger.table.as_ref();
        if outcome == Outcome::SkippedCalendar {
            let off = table.and_then(|table| table.off_bounds(from..to));
            return off.unwrap_or((from, Millis(to.0.saturating_sub(1))));
        }
        let first = table.and_then(|t| t.next_slot(Millis(from.0.saturating_sub(1))));
        let last = table.and_then(|t| t.newest(from..to, 1).pop_back());
        match (first, last) {
            (Some(first), Some(last)) if first.at <= last.at => (first.at, last.at),
            _ => (from, Millis(to.0.saturating_sub(1))),
        }
    }

    fn remember(&mut self, occurrence: &Occurrence) {
        self.trigger.state.last = Some(Last {
            key: occurrence.key.clone(),
            at: occurrence.last.unwrap_or(occurrence.at),
            outcome: occurrence.outcome,
            run: None,
            decided_at: occurrence.decided_at,
        });
    }

    fn range(
        &self,
        first: Millis,
        last: Millis,
        count: u64,
        outcome: Outcome,
        reason: Option<String>,
    ) -> Occurrence {
        Occurrence {
            key: String::new(),
            revision: self.trigger.revision,
            at: first,
            offset: None,
            last: Some(last),
            count,
            origin: Origin::Live,
            outcome,
            reason,
            run: None,
            result: None,
            decided_at: self.now(),
        }
    }

    /// Slots that are accepted, and those that nobody has looked at, are not started any more.
    pub(super) fn discard_slots(&mut self, why: &str) {
        let Some((table, mut state)) = self.schedule() else { return };
        for pending in std::mem::take(&mut state.pending) {
            let held = self.bare(pending.slot);
            // A backfill has given it a run meanwhile.
            match self.env.known.contains_key(&held.key) {
                true => self.count(Outcome::Deduped),
                false => {
                    self.decide(&held, Outcome::Discarded, Some(why.to_owned()), None, true);
                }
            }
        }
        let now = self.now();
        let (from, to) = (Millis(state.mark.0 + 1), Millis(now.0 + 1));
        if from < to {
            let counted = table.count(from..to);
            if counted.on > 0 {
                let reason = Some(why.to_owned());
                self.record_range(from, to, counted.on, Outcome::Discarded, reason);
            }
            state.mark = now;
        }
        self.trigger.state.schedule = Some(state);
    }
}

/// Runs of slots that are known to have had one.
fn known_runs(env: &Env<'_>) -> BTreeMap<Millis, RunId> {
    let known = env.known.values();
    known.filter_map(|o| Some((o.at, o.run.filter(|_| o.outcome == Outcome::Started)?))).collect()
}

/// What became of slots that start nothing, and why.
fn passed(table: &Timetable, outcome: schedule::Outcome) -> (Outcome, Option<String>) {
    let schedule = table.schedule();
    match outcome {
        schedule::Outcome::Started { .. } => (Outcome::Started, None),
        schedule::Outcome::Deduped { .. } => (Outcome::Deduped, None),
        schedule::Outcome::Skipped(skip) => match skip {
            Skip::Overlap => (Outcome::SkippedOverlap, Some("a run was going on".into())),
            Skip::Calendar => (Outcome::SkippedCalendar, None),
            Skip::Paused => (Outcome::SkippedPaused, None),
            Skip::Late => {
                let most = schedule.max_lateness.unwrap_or_default();
                (Outcome::SkippedLate, Some(format!("it could not be started within {most}")))
            }
            Skip::Disabled => (Outcome::SkippedDisabled, None),
            Skip::Finished => {
                let most = schedule.window.max_runs.unwrap_or_default();
                let reason = format!("it had started all of its {most} runs");
                (Outcome::SkippedFinished, Some(reason))
            }
            Skip::Edited => (Outcome::Discarded, Some("the trigger was edited".into())),
        },
        schedule::Outcome::Missed(miss) => {
            let reason = match miss {
                Miss::Policy => "catch_up.policy is none".to_owned(),
                Miss::Window => {
                    format!("older than catch_up.window ({})", schedule.catch_up.window)
                }
                Miss::Newer => "newer ones were started instead".to_owned(),
            };
            (Outcome::Missed, Some(reason))
        }
    }
}
