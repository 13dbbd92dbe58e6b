//! What to do about a schedule now: a function of what is remembered, what is true, and the time.
//!
//! A step has three parts. First every slot since the mark is accounted for (`settle`): it is
//! recorded as skipped or missed, or it becomes pending; the mark then is `now`. Then the input
//! changes the state. Last the pending slots whose turn it is are started (`begin`), as the overlap
//! policy says. Invariants: a slot is in one record at most, and starts one run at most; a start is
//! never before its slot; work is bounded however long nobody asked.

use super::spec::{CatchUpPolicy, Overlap, Schedule};
use super::state::{
    End, Facts, Input, Notice, Outcome, Paused, PausedBy, Pending, Planned, Record, Skip, State,
    Stop, Wait, Which,
};
use super::timetable::{Slot, Timetable};
use crate::ids::RunId;
use crate::limits::{MARK_AHEAD_MS, SLOT_GRACE_MS};
use crate::time::Millis;

mod begin;
mod settle;

/// One step of a schedule. See the module.
pub fn plan(table: &Timetable, state: &State, facts: &Facts, input: Input, now: Millis) -> Planned {
    let mut step = Step {
        table,
        facts,
        now,
        state: state.clone(),
        records: Vec::new(),
        stop: Vec::new(),
        notices: Vec::new(),
        started: 0,
        terminated: false,
    };
    step.edited();
    step.rewind();
    step.settle();
    step.input(input);
    step.begin();
    step.rearm();
    let wake_at = step.wake_at();
    let Step { state, records, stop, notices, .. } = step;
    Planned { state, records, stop, notices, wake_at }
}

struct Step<'a> {
    table: &'a Timetable,
    facts: &'a Facts<'a>,
    now: Millis,
    state: State,
    records: Vec<Record>,
    stop: Vec<(RunId, Stop)>,
    notices: Vec<Notice>,
    /// Runs started by this step.
    started: usize,
    /// Whether this step terminates what was running.
    terminated: bool,
}

impl Step<'_> {
    fn schedule(&self) -> &Schedule {
        self.table.schedule()
    }

    fn record(&mut self, slot: Slot, outcome: Outcome) {
        self.records.push(Record { slots: Which::One(slot), outcome });
    }

    /// An edit discards what the schedule, as it was, had not started.
    fn edited(&mut self) {
        if self.state.revision == self.table.revision() {
            return;
        }
        for pending in std::mem::take(&mut self.state.pending) {
            let known = self.facts.known.get(&pending.slot.at);
            let edited = Outcome::Skipped(Skip::Edited);
            self.record(pending.slot, known.map_or(edited, |run| Outcome::Deduped { run: *run }));
        }
        let from = Millis(self.state.mark.0.saturating_add(1));
        if from < self.now {
            let slots = Which::Many { from, to: self.now, count: None };
            self.records.push(Record { slots, outcome: Outcome::Skipped(Skip::Edited) });
        }
        self.state.revision = self.table.revision();
        self.state.mark = self.state.mark.max(self.now);
        self.state.caught_up_at = None;
        self.state.after_at = match (self.schedule().after, self.state.after_at) {
            (None, _) => None,
            // Whether a run will end and set it again can't be known here.
            (Some(_), Some(at)) => Some(at.max(self.now)),
            (Some(_), None) => self.schedule().is_only_after().then_some(self.now),
        }
        .filter(|_| self.facts.running.is_empty());
    }

    /// A mark far in the future was set by a wrong clock: waiting for it would be silence. Started
    /// slots aren't started again, because runs are known by their slots.
    fn rewind(&mut self) {
        let mark = self.state.mark;
        if mark.0.saturating_sub(self.now.0) <= MARK_AHEAD_MS {
            return;
        }
        self.notices.push(Notice::Rewound { from: mark });
        let now = self.now;
        self.state.mark = now;
        self.state.pending.retain(|pending| pending.slot.at <= now);
        self.state.caught_up_at = self.state.caught_up_at.filter(|at| *at <= now);
        self.state.after_at = self.state.after_at.map(|at| at.min(now));
    }

    fn input(&mut self, input: Input) {
        match input {
            Input::Tick => {}
            Input::Pause if self.state.paused.is_some() => {}
            Input::Pause => {
                self.state.paused = Some(Paused { at: self.now, by: PausedBy::Person });
            }
            Input::Resume => {
                let paused = self.state.paused.take();
                self.state.failures = 0;
                if paused.is_some() && self.schedule().catch_up.paused {
                    // What came due meanwhile was left for now.
                    self.settle();
                }
            }
            Input::Ended(end) => self.ended(end),
        }
    }

    fn ended(&mut self, end: End) {
        match end {
            End::Succeeded => self.state.failures = 0,
            End::Cancelled => {}
            End::Failed => {
                self.state.failures = self.state.failures.saturating_add(1);
                let most = self.schedule().pause_after;
                if most.is_some_and(|most| self.state.failures >= most)
                    && self.state.paused.is_none()
                {
                    self.state.paused = Some(Paused { at: self.now, by: PausedBy::Failures });
                    self.notices.push(Notice::PausedByFailures(self.state.failures));
                }
            }
        }
        if self.facts.running.is_empty() {
            self.state.after_at = self.schedule().after.map(|span| self.now.after(span));
        }
    }

    /// Whether slots are neither skipped nor started for now, but kept.
    fn is_held(&self) -> bool {
        self.state.paused.is_some() && self.schedule().catch_up.paused
    }

    /// Why no slot may start at all, if none may.
    fn barred(&self) -> Option<Skip> {
        if !self.facts.enabled || !self.schedule().enabled {
            return Some(Skip::Disabled);
        }
        if self.state.is_over(self.table) {
            return Some(Skip::Finished);
        }
        self.state.paused.map(|_| Skip::Paused)
    }

    /// How many runs are going on.
    fn running(&self) -> usize {
        let before = if self.terminated { 0 } else { self.facts.running.len() };
        before + self.started
    }

    fn is_late(&self, at: Millis) -> bool {
        self.now.0.saturating_sub(at.0) > SLOT_GRACE_MS
    }

    fn wake_at(&self) -> Option<Millis> {
        if self.is_held() {
            return None;
        }
        let pending = self.state.pending.iter().filter_map(|pending| self.turn_of(pending));
        let over = self.state.is_over(self.table);
        let next = self.table.next_raw(self.state.mark);
        // What is barred by a switch waits for the switch.
        let again = self.after_slot(self.now).filter(|_| self.barred().is_none());
        pending.chain(next.into_iter().chain(again).filter(|_| !over)).min()
    }

    /// When the slot of `after:` is due, looked at from `now`.
    fn after_slot(&self, now: Millis) -> Option<Millis> {
        let at = self.state.after_at.filter(|_| self.running() == 0)?;
        // On time it is the instant that was set, so that nobody starts it twice; later it is now.
        let at = if now.0.saturating_sub(at.0) > SLOT_GRACE_MS { now } else { at };
        // Behind the mark, where every instant may be that of a slot that had its outcome.
        self.table.first_open(at.max(Millis(self.state.mark.0.saturating_add(1))))
    }

    /// A schedule that is due after its own runs must not end because one slot was skipped.
    fn rearm(&mut self) {
        let idle = self.running() == 0 && self.state.pending.is_empty();
        if idle && self.state.after_at.is_none() && self.schedule().is_only_after() {
            self.state.after_at = self.schedule().after.map(|span| self.now.after(span));
        }
    }

    /// When the turn of a pending slot comes; `None` = when a run ends.
    fn turn_of(&self, pending: &Pending) -> Option<Millis> {
        match pending.wait {
            Wait::Due => Some(pending.due),
            // Not `now`: a clock that went back makes it wait for its instant again.
            Wait::Running => (self.running() == 0).then_some(pending.due),
            Wait::CatchUp => {
                let free = self.running() == 0 || self.schedule().overlap == Overlap::Allow;
                free.then(|| self.catch_up_at(pending))
            }
        }
    }

    /// When a missed slot may start as far as time goes.
    fn catch_up_at(&self, pending: &Pending) -> Millis {
        let spaced = self.state.caught_up_at.map(|at| at.after(self.schedule().catch_up.spacing));
        [Some(pending.due), spaced, self.facts.catch_up_from]
            .into_iter()
            .flatten()
            .max()
            .unwrap_or(pending.due)
    }

    fn is_latest_only(&self) -> bool {
        self.schedule().catch_up.policy == CatchUpPolicy::Latest
    }
}
