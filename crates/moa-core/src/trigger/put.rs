//! Definitions that come, change and go; pauses.

use std::sync::Arc;

use super::record::Outcome;
use super::spec::{Source, TriggerSpec};
use super::state::{Paused, TriggerState};
use super::{Applied, BrokenTrigger, Env, Trigger, TriggerAnswer, TriggerInput, Tx, rejected};
use crate::limits::SLOT_GRACE_MS;
use crate::machine::Rejected;
use crate::schedule::{self, Input, PausedBy, State};

impl Trigger {
    /// A new trigger. Nothing that happened before is an occurrence of it.
    ///
    /// # Errors
    /// The spec refers to something that isn't in it.
    pub fn create(
        env: Env<'_>,
        spec: Arc<TriggerSpec>,
    ) -> Result<(Trigger, Applied), BrokenTrigger> {
        // As if it had been there and was removed: what follows is the same.
        let born = Some(env.now);
        let state = TriggerState { removed: true, born, ..TriggerState::default() };
        let mut trigger = Self::restore(spec.clone(), state, 0)?;
        let applied = trigger.apply(env, &TriggerInput::Put { spec });
        applied.map(|applied| (trigger, applied)).map_err(|e| BrokenTrigger(e.to_string()))
    }
}

impl Tx<'_, '_> {
    /// The definition, new or edited. What the trigger said before and has not started is dropped.
    pub(super) fn put(&mut self, spec: &Arc<TriggerSpec>) -> Result<(), Rejected> {
        let old = &*self.trigger;
        if spec.id() != old.id {
            return rejected("the definition is another trigger's");
        }
        let came_back = old.state.removed;
        if !came_back && old.spec == *spec {
            self.applied.answer = TriggerAnswer::Unchanged;
            return Ok(());
        }
        let edited = came_back || old.revision != spec.revision();
        let mut new = Trigger::restore(spec.clone(), old.state.clone(), old.version)
            .map_err(|broken| Rejected(broken.0))?;
        // What was due until now is judged by what it said until now; what is switched off starts
        // nothing more, not even that.
        if !came_back && spec.enabled {
            self.due();
            self.settle();
        }
        if edited {
            self.discard("the trigger was edited");
        }
        new.state = std::mem::take(&mut self.trigger.state);
        *self.trigger = new;
        self.applied.put = true;
        if edited {
            self.begin_anew(came_back);
        }
        self.due();
        Ok(())
    }

    /// The workflow whose runs it starts is gone, or is back.
    pub(super) fn orphaned(&mut self, gone: bool) {
        if self.trigger.state.orphaned == gone {
            self.applied.answer = TriggerAnswer::Unchanged;
            return;
        }
        self.trigger.state.orphaned = gone;
        let (title, workflow) = (self.trigger.spec.title(), &self.trigger.spec.workflow);
        self.applied.notices.push(match gone {
            true => format!("{title} starts nothing: its workflow {workflow} is gone"),
            false => format!("{title} starts runs again: its workflow {workflow} is back"),
        });
    }

    fn begin_anew(&mut self, came_back: bool) {
        let now = self.now();
        let trigger = &mut *self.trigger;
        let state = &mut trigger.state;
        state.removed = false;
        // Whoever put it knows that its workflow is there.
        state.orphaned = false;
        state.since = now;
        state.streak = None;
        let listed: Vec<_> = match &trigger.spec.source {
            Source::Schedule(source) => source.after.iter().map(|d| &d.workflow).collect(),
            Source::Runs { of, .. } => of.iter().map(|d| &d.workflow).collect(),
            Source::Event { .. } | Source::Outside { .. } => Vec::new(),
        };
        let all = matches!(trigger.spec.source, Source::Runs { all: true, .. });
        state.arrived.retain(|name, _| all && listed.contains(&name));
        state.cycles.retain(|name, _| listed.contains(&name));
        state.schedule = match (&trigger.table, state.schedule.take()) {
            (None, _) => None,
            (Some(table), None) => Some(State::new(table, now)),
            // What came due while there was no definition was not due.
            (Some(table), Some(old)) if came_back => {
                Some(State { runs: old.runs, paused: old.paused, ..State::new(table, now) })
            }
            (Some(_), Some(old)) => Some(old),
        };
        if state.schedule.is_none() {
            state.wake_at = None;
        }
        self.applied.listens = Some(trigger.spec.topics());
    }

    /// The definition is gone. The trigger stays, and remembers what must not be forgotten should
    /// it come back: that it is paused, and its open runs.
    pub(super) fn remove(&mut self) -> Result<(), Rejected> {
        if self.trigger.state.removed {
            self.applied.answer = TriggerAnswer::Unchanged;
            return Ok(());
        }
        self.discard("the trigger was removed");
        let state = &mut self.trigger.state;
        state.removed = true;
        state.wake_at = None;
        state.arrived.clear();
        state.cycles.clear();
        self.applied.listens = Some(Vec::new());
        Ok(())
    }

    /// What waits for its start is not started any more; backfills end.
    fn discard(&mut self, why: &str) {
        let state = &mut self.trigger.state;
        let mut held: Vec<_> = state.buffered.drain(..).collect();
        held.extend(state.waiting.take().map(|w| w.held));
        held.extend(state.collected.take().into_iter().flat_map(|c| c.held));
        for held in held {
            self.decide(&held, Outcome::Discarded, Some(why.to_owned()), None, false);
        }
        self.discard_slots(why);
        let now = self.now();
        for backfill in self.trigger.state.backfills.iter_mut().filter(|b| b.is_going_on()) {
            backfill.cancelled = true;
            backfill.ended_at = Some(now);
        }
    }

    /// What waits for its start in a trigger that was switched off is not started. Backfills wait
    /// until it is switched on again.
    pub(super) fn skip_disabled(&mut self) {
        if self.trigger.spec.enabled {
            return;
        }
        let state = &mut self.trigger.state;
        let mut held: Vec<_> = state.buffered.drain(..).collect();
        if let Some(waiting) = state.waiting.take() {
            held.push(waiting.held);
            if let Some(schedule) = &mut state.schedule {
                // It was counted as a run when its turn had come.
                schedule.runs = schedule.runs.saturating_sub(1);
            }
        }
        held.extend(state.collected.take().into_iter().flat_map(|c| c.held));
        for held in held {
            self.decide(&held, Outcome::SkippedDisabled, None, None, false);
        }
    }

    pub(super) fn pause(&mut self, by: &str, reason: &str) {
        if self.trigger.state.paused.is_some() {
            self.applied.answer = TriggerAnswer::Unchanged;
            return;
        }
        // What was due until now is judged as if nobody had paused it; unless nobody looked for so
        // long that it would be made up for: that is not what somebody wants who pauses it.
        if !self.is_behind() {
            self.tick(Input::Tick);
        }
        let (by, reason) = (by.to_owned(), reason.to_owned());
        self.trigger.state.paused = Some(Paused { by, reason, at: self.now() });
        if self.is_behind()
            && let Some(schedule) = &mut self.trigger.state.schedule
        {
            schedule.paused = Some(schedule::Paused { at: schedule.mark, by: PausedBy::Person });
        }
        self.tick(Input::Pause);
    }

    /// Whether slots were missed that nobody has judged yet.
    fn is_behind(&self) -> bool {
        let trigger = &*self.trigger;
        let (Some(table), Some(state)) = (&trigger.table, &trigger.state.schedule) else {
            return false;
        };
        let oldest = table.next_slot(state.mark);
        oldest.is_some_and(|slot| self.now().0.saturating_sub(slot.at.0) > SLOT_GRACE_MS)
    }

    pub(super) fn resume(&mut self) {
        if self.trigger.state.paused.is_none() {
            self.applied.answer = TriggerAnswer::Unchanged;
            return;
        }
        // What was due until now fell into the pause.
        self.tick(Input::Tick);
        self.trigger.state.paused = None;
        self.trigger.state.failures = 0;
        self.trigger.state.starts = Default::default();
        self.trigger.state.same = None;
        self.tick(Input::Resume);
        self.try_waiting();
        self.release();
    }
}
