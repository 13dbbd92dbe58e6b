//! The parts of a run: main steps, compensation, `on_failure`, `finally`, the end.

use crate::event::{Event, InstIx};
use crate::run::Phase;
use crate::step::{ErrorKind, StepError};
use crate::workflow::{BodyIx, MAIN};

use super::state::ScopeIx;
use super::tx::Tx;
use super::{Effect, TimerKey};

impl Tx<'_> {
    /// All steps of the present phase are terminal.
    pub fn phase_done(&mut self) {
        let phase = self.run.row.phase;
        let ends_badly = self.has_failed() || self.run.row.extra.cancel.is_some();
        let undoable = self.run.index.next_undone().is_some();
        if phase < Phase::Compensate && ends_badly && undoable {
            self.record(Event::PhaseEntered { phase: Phase::Compensate });
            return self.next_compensation();
        }
        self.phase_after_compensation(phase);
    }

    /// Whether a main step has failed, or the time was over before they had all ended.
    fn has_failed(&self) -> bool {
        self.run.row.extra.timed_out || self.first_failure(MAIN).is_some()
    }

    fn phase_after_compensation(&mut self, phase: Phase) {
        let graph = self.run.graph.clone();
        let (failed, cancelled) = (self.has_failed(), self.run.row.extra.is_cancelled());
        if phase < Phase::OnFailure
            && failed
            && !cancelled
            && let Some(body) = graph.on_failure
        {
            self.enter(Phase::OnFailure, body);
            // It has a time of its own: that of the run may be over.
            if let Some(due) = self.run.timer_due(TimerKey::Run) {
                self.effects.push(Effect::Arm { timer: TimerKey::Run, due });
            }
            return;
        }
        if phase < Phase::Finally
            && let Some(body) = graph.finally
        {
            return self.enter(Phase::Finally, body);
        }
        self.end_run();
    }

    fn enter(&mut self, phase: Phase, body: BodyIx) {
        self.record(Event::PhaseEntered { phase });
        let scope = self.run.scopes.len() as ScopeIx;
        let base = self.run.len() as InstIx;
        let (step, items) = (None, None);
        self.record(Event::BodyOpened { step, body, base, first: 0, count: 1, items });
        self.run.count_scope(scope);
        self.consider_scope(scope);
    }

    /// Opens the compensation of the step that succeeded last, or goes on.
    pub fn next_compensation(&mut self) {
        let Some(inst) = self.run.index.next_undone() else {
            return self.phase_after_compensation(Phase::Compensate);
        };
        let body = self.run.graph.step(self.run.steps[inst as usize].row.plan).compensate;
        let Some(body) = body else { return };
        let scope = self.run.scopes.len() as ScopeIx;
        let base = self.run.len() as InstIx;
        let (step, items) = (Some(inst), None);
        self.record(Event::BodyOpened { step, body, base, first: 0, count: 1, items });
        self.run.count_scope(scope);
        self.consider_scope(scope);
    }

    /// The failed, not tolerated step of a body outside loops that ended first.
    fn first_failure(&self, body: BodyIx) -> Option<InstIx> {
        let scope = self.run.scopes.iter().position(|s| s.body == body && s.owner.is_none())?;
        let steps = self.top_steps(scope as ScopeIx);
        let failed = steps.into_iter().filter(|i| self.is_failure(*i));
        failed.min_by_key(|i| (self.run.steps[*i as usize].row.finished_at, *i))
    }

    fn end_run(&mut self) {
        let graph = self.run.graph.clone();
        let finally = graph.finally.and_then(|body| self.first_failure(body));
        let late = self.run.row.extra.handling_timed_out;
        let event = if let (true, Some(failed)) = (late, self.first_failure(MAIN)) {
            let StepError { kind, message } = self.blame(failed);
            let then = self.run.row.extra.cancel.as_deref().unwrap_or_default();
            Event::RunFailed { error: StepError::new(kind, format!("{message}; then {then}")) }
        } else if self.run.row.extra.timed_out {
            let message = self.run.row.extra.cancel.clone().unwrap_or_default();
            Event::RunFailed { error: StepError::new(ErrorKind::Timeout, message) }
        } else if self.run.row.extra.is_cancelled() {
            Event::RunCancelled { reason: self.run.row.extra.cancel.clone().unwrap_or_default() }
        } else if let Some(failed) = self.first_failure(MAIN).or(finally) {
            Event::RunFailed { error: self.blame(failed) }
        } else {
            match self.run_output() {
                Ok(output) => Event::RunSucceeded { output },
                Err(error) => Event::RunFailed { error },
            }
        };
        self.record(event);
        self.ended();
    }

    /// The error of a failed step, with the step named.
    fn blame(&self, inst: InstIx) -> StepError {
        let error = self.run.steps[inst as usize].row.error.clone();
        let (kind, message) =
            error.map_or((ErrorKind::Permanent, String::new()), |e| (e.kind, e.message));
        if kind == ErrorKind::Children {
            return StepError::new(kind, message);
        }
        StepError::new(kind, format!("step {} failed: {message}", self.run.step_name(inst)))
    }
}
