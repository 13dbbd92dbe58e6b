//! Cancel: ask and let clean up. Terminate: stop now.

use crate::event::{Event, InstIx};
use crate::ids::RunId;
use crate::run::{Phase, RunStatus};
use crate::step::{StepError, StepStatus, WaitReason};
use crate::trigger::TriggerInput;
use crate::workflow::StepKind;

use super::tx::Tx;
use super::{Effect, Input, MessageBody, Rejected, TimerKey, rejected};

impl Tx<'_> {
    pub fn cancel(&mut self, reason: &str, timeout: bool) -> Result<(), Rejected> {
        if self.run.row.extra.is_cancelled() {
            return rejected("the run is being cancelled already");
        }
        let stopping = self.run.is_cancelling();
        if self.run.row.phase > Phase::OnFailure {
            return rejected("the run is cleaning up already; terminate it to stop it now");
        }
        self.record(Event::CancelRequested { reason: reason.to_owned(), timeout });
        if self.run.row.status == RunStatus::Pending {
            return self.terminate(reason);
        }
        if self.run.row.extra.paused {
            // A paused run that is cancelled must be able to clean up.
            self.resume()?;
        }
        // What is being undone is undone to its end: that is how the run cleans up.
        if self.run.row.phase != Phase::Compensate && !stopping {
            for inst in 0..self.run.len() as InstIx {
                self.cancel_inst(inst);
            }
        }
        Ok(())
    }

    /// Cancels what has not begun or waits; asks what runs to stop. Containers end with what is
    /// inside them.
    fn cancel_inst(&mut self, inst: InstIx) {
        let row = &self.run.steps[inst as usize].row;
        match (row.status, row.wait) {
            (StepStatus::Running, _) => {
                self.effects.push(Effect::Stop { step: inst, attempt: row.attempt });
            }
            (StepStatus::Waiting, Some(WaitReason::Children)) => {}
            (StepStatus::Waiting, Some(WaitReason::Child)) => {
                let abandon = matches!(self.run.kind(inst), StepKind::Child { abandon: true, .. });
                let child = self.child_of(inst);
                if abandon {
                    self.cancel_step(inst);
                } else {
                    let reason = "the run that started it is being cancelled".to_owned();
                    self.send(child, Input::Cancel { reason });
                }
            }
            (StepStatus::Pending | StepStatus::Ready | StepStatus::Waiting, _) => {
                if self.run.data(inst).is_some_and(|d| d.opened) {
                    // Its own action has not started, but branches inside it may run.
                    self.leave(inst);
                    let kind = crate::step::ErrorKind::Cancelled;
                    let error = Some(StepError::new(kind, "cancelled"));
                    self.record(Event::StepOwnDone { step: inst, output: None, error });
                    if self.run.steps[inst as usize].open == 0 {
                        self.close(inst);
                    }
                } else {
                    self.cancel_step(inst);
                }
            }
            _ => {}
        }
    }

    fn child_of(&self, inst: InstIx) -> RunId {
        self.run.row.run.child(inst, self.run.steps[inst as usize].row.attempt)
    }

    pub fn terminate(&mut self, reason: &str) -> Result<(), Rejected> {
        for inst in 0..self.run.len() as InstIx {
            let row = &self.run.steps[inst as usize].row;
            let (status, wait, attempt) = (row.status, row.wait, row.attempt);
            if status.is_terminal() {
                continue;
            }
            if status == StepStatus::Running {
                self.effects.push(Effect::Stop { step: inst, attempt });
            }
            if wait == Some(WaitReason::Child) {
                let reason = "the run that started it was terminated".to_owned();
                self.send(self.child_of(inst), Input::Terminate { reason });
            }
            self.leave(inst);
            self.record(Event::StepCancelled { step: inst });
        }
        // Nothing follows: the run is over.
        self.work.clear();
        self.record(Event::RunCancelled { reason: reason.to_owned() });
        self.ended();
        Ok(())
    }

    /// The run is terminal: its timer goes, its parent is told, its slot is free.
    pub fn ended(&mut self) {
        if self.run.graph.timeout.is_some() {
            self.effects.push(Effect::Disarm { timer: TimerKey::Run });
        }
        if let Some(parent) = self.run.row.parent {
            let row = &self.run.row;
            let result = match (row.status, &row.error) {
                (RunStatus::Succeeded, _) => Ok(row.output.clone()),
                (_, Some(error)) => Err(error.clone()),
                (_, None) => {
                    let reason = row.extra.cancel.clone().unwrap_or_default();
                    let kind = crate::step::ErrorKind::Cancelled;
                    Err(StepError::new(kind, format!("run {} was cancelled: {reason}", row.run)))
                }
            };
            let run = row.run;
            self.send(parent.run, Input::ChildDone { step: parent.step, run, result });
        }
        if let (Some(trigger), Some(at)) = (&self.run.row.trigger, self.run.row.finished_at) {
            let (run, status) = (self.run.row.run, self.run.row.status);
            let output = self.run.row.output.as_deref().map(crate::trigger::digest);
            let ended = TriggerInput::Ended { run, status, at, output };
            let (to, body) = (trigger.trigger.address(), MessageBody::Trigger(Box::new(ended)));
            self.effects.push(Effect::Send { to, body });
        }
        self.effects.push(Effect::Ended);
    }
}
