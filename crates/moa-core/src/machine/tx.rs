//! One input's way through the machine: records events, and settles what follows from them.
//!
//! What follows is kept in a queue, not in recursion: a chain of 20,000 skips must not need a deep
//! stack. Each change of a counter is O(1); a terminal step costs its dependents, however wide the run.

use std::collections::VecDeque;
use std::sync::Arc;

use serde_json::Value as Json;

use crate::event::{Event, InstIx};
use crate::run::RunStatus;
use crate::step::{ErrorKind, SkipReason, StepError, StepStatus, WaitReason};
use crate::time::Millis;
use crate::workflow::{PlanStep, StepKind};

use super::state::{Run, ScopeIx, loop_body};
use super::{Applied, Effect, Env, Input, MessageBody, Rejected, TimerKey, rejected};

/// What is left to settle.
#[derive(Debug, Clone, Copy)]
pub(super) enum Work {
    /// Everything that kept this pending step is met.
    Consider(InstIx),
    /// This step became terminal.
    Settled(InstIx),
    /// Every step of this scope is terminal.
    ScopeDone(ScopeIx),
}

/// One input on its way.
pub(super) struct Tx<'a> {
    pub run: &'a mut Run,
    pub env: Env<'a>,
    pub events: Vec<Event>,
    pub effects: Vec<Effect>,
    pub work: VecDeque<Work>,
}

impl<'a> Tx<'a> {
    pub fn new(run: &'a mut Run, env: Env<'a>) -> Self {
        Self { run, env, events: Vec::new(), effects: Vec::new(), work: VecDeque::new() }
    }

    pub fn finish(mut self) -> Applied {
        while let Some(work) = self.work.pop_front() {
            match work {
                Work::Consider(inst) => self.consider(inst),
                Work::Settled(inst) => self.settled(inst),
                Work::ScopeDone(scope) => self.scope_done(scope),
            }
        }
        debug_assert!(self.run.is_indexed(), "the index is that of the rows");
        Applied { events: self.events, effects: self.effects }
    }

    pub fn now(&self) -> Millis {
        self.env.now
    }

    /// Every change of the run goes through here.
    pub fn record(&mut self, event: Event) {
        let event = event.without_null();
        self.run.evolve(self.env.now, &event);
        self.events.push(event);
    }

    pub fn plan(&self, inst: InstIx) -> PlanStepRef {
        PlanStepRef { graph: self.run.graph.clone(), ix: self.run.steps[inst as usize].row.plan }
    }

    // ---- the run's own life

    pub fn admit(&mut self) -> Result<(), Rejected> {
        if self.run.row.status != RunStatus::Pending {
            return rejected("the run is not pending");
        }
        self.start();
        Ok(())
    }

    pub fn start(&mut self) {
        self.record(Event::RunStarted);
        if let Some(timeout) = self.run.graph.timeout {
            let due = self.now().after(timeout);
            self.effects.push(Effect::Arm { timer: TimerKey::Run, due });
        }
        self.consider_all();
    }

    /// Considers every pending step that nothing keeps.
    pub fn consider_all(&mut self) {
        let free = self.run.steps.iter().filter(|i| i.unmet == 0);
        let pending = free.filter(|i| i.row.status == StepStatus::Pending);
        self.work.extend(pending.map(|i| Work::Consider(i.row.inst)));
        if self.run.scopes[0].open == 0 {
            self.work.push_back(Work::ScopeDone(0));
        }
    }

    pub fn pause(&mut self) -> Result<(), Rejected> {
        if self.run.row.extra.paused {
            return rejected("the run is paused already");
        }
        if self.run.row.status == RunStatus::Pending {
            return rejected("the run has not started; cancel it instead");
        }
        for step in self.ready_steps() {
            self.effects.push(Effect::Dequeue { step });
            // A pause is nobody's failure: the time in the queue counts anew when it ends.
            let timer = TimerKey::Queue { step };
            if self.run.timer_due(timer).is_some() {
                self.effects.push(Effect::Disarm { timer });
            }
        }
        self.record(Event::RunPaused);
        Ok(())
    }

    pub fn resume(&mut self) -> Result<(), Rejected> {
        if !self.run.row.extra.paused {
            return rejected("the run is not paused");
        }
        self.record(Event::RunResumed);
        for step in self.ready_steps() {
            self.effects.push(Effect::Enqueue { step });
            self.arm_queue_timer(step);
        }
        Ok(())
    }

    /// Limits the time that a ready task may be without a slot.
    pub fn arm_queue_timer(&mut self, step: InstIx) {
        let timer = TimerKey::Queue { step };
        if let Some(due) = self.run.timer_due(timer) {
            self.effects.push(Effect::Arm { timer, due });
        }
    }

    fn ready_steps(&self) -> Vec<InstIx> {
        let steps = self.run.steps.iter();
        steps.filter(|i| i.row.status == StepStatus::Ready).map(|i| i.row.inst).collect()
    }

    // ---- ends of steps

    pub fn succeed(&mut self, inst: InstIx, output: Option<Arc<Json>>) {
        self.leave(inst);
        self.record(Event::StepSucceeded { step: inst, output });
        self.work.push_back(Work::Settled(inst));
    }

    pub fn fail(&mut self, inst: InstIx, error: StepError) {
        self.leave(inst);
        self.record(Event::StepFailed { step: inst, error });
        self.work.push_back(Work::Settled(inst));
    }

    pub fn fail_with(&mut self, inst: InstIx, kind: ErrorKind, message: impl Into<String>) {
        self.fail(inst, StepError::new(kind, message));
    }

    pub fn skip(&mut self, inst: InstIx, reason: SkipReason) {
        self.leave(inst);
        self.record(Event::StepSkipped { step: inst, reason });
        self.work.push_back(Work::Settled(inst));
    }

    pub fn cancel_step(&mut self, inst: InstIx) {
        self.leave(inst);
        self.record(Event::StepCancelled { step: inst });
        self.work.push_back(Work::Settled(inst));
    }

    /// Undoes what holds a step where it is: its timers, its place in the queue, its waits.
    pub fn leave(&mut self, inst: InstIx) {
        let row = &self.run.steps[inst as usize].row;
        match row.status {
            StepStatus::Waiting => {
                if row.until.is_some() {
                    self.effects.push(Effect::Disarm { timer: TimerKey::Step { step: inst } });
                }
                if row.wait == Some(WaitReason::Event)
                    && let StepKind::WaitEvent { event, .. } = self.run.kind(inst)
                {
                    let event = event.clone();
                    self.effects.push(Effect::Wait { step: inst, event, on: false });
                }
            }
            StepStatus::Ready => {
                self.effects.push(Effect::Dequeue { step: inst });
                if self.run.graph.step(row.plan).queue_timeout.is_some() {
                    self.effects.push(Effect::Disarm { timer: TimerKey::Queue { step: inst } });
                }
            }
            _ => {}
        }
    }

    // ---- what follows from an end

    /// A step became terminal: tells those that need it, and the container or scope around it.
    fn settled(&mut self, inst: InstIx) {
        let graph = self.run.graph.clone();
        let plan_ix = self.run.steps[inst as usize].row.plan;
        for &dependent in graph.dependents(plan_ix) {
            let dependent = self.run.sibling(inst, dependent);
            self.met(dependent);
        }
        self.close_unopened(inst);
        let scope = self.run.steps[inst as usize].scope;
        match graph.step(plan_ix).parent {
            Some(parent) => {
                let parent = self.run.sibling(inst, parent);
                let place = &mut self.run.steps[parent as usize];
                place.open -= 1;
                if place.open == 0 {
                    self.close(parent);
                }
            }
            None => {
                let scope_state = &mut self.run.scopes[scope as usize];
                scope_state.open -= 1;
                if scope_state.open == 0 {
                    self.work.push_back(Work::ScopeDone(scope));
                }
            }
        }
    }

    /// One thing less keeps a pending step.
    pub fn met(&mut self, inst: InstIx) {
        let place = &mut self.run.steps[inst as usize];
        place.unmet = place.unmet.saturating_sub(1);
        if place.unmet == 0 && place.row.status == StepStatus::Pending {
            self.work.push_back(Work::Consider(inst));
        }
    }

    /// Children of a container that ended without being opened end with it.
    fn close_unopened(&mut self, inst: InstIx) {
        let graph = self.run.graph.clone();
        let row = &self.run.steps[inst as usize].row;
        let children = graph.children(row.plan);
        if children.is_empty() || self.run.data(inst).is_some_and(|d| d.opened) {
            return;
        }
        let cancelled = row.status == StepStatus::Cancelled;
        let upstream =
            row.status == StepStatus::Failed || row.skip == Some(SkipReason::UpstreamFailed);
        let reason = if upstream { SkipReason::UpstreamFailed } else { SkipReason::Container };
        for &child in children {
            let child = self.run.sibling(inst, child);
            if !self.run.status(child).is_terminal() {
                if cancelled { self.cancel_step(child) } else { self.skip(child, reason) }
            }
        }
    }

    /// Everything inside a container is terminal: ends it, unless its own action still runs.
    pub fn close(&mut self, inst: InstIx) {
        let row = &self.run.steps[inst as usize].row;
        if row.status != StepStatus::Waiting || row.wait != Some(WaitReason::Children) {
            return;
        }
        let plan = row.plan;
        let own_error = row.error.clone();
        let output = row.output.clone();
        let children = self.run.graph.clone();
        let children = children.children(row.plan).iter().map(|c| self.run.sibling(inst, *c));
        let children: Vec<InstIx> = children.collect();
        if let Some(error) = own_error {
            if error.kind == ErrorKind::Cancelled {
                self.cancel_step(inst);
            } else {
                self.fail(inst, error);
            }
        } else if let Some(failed) = self.first_failed(&children) {
            self.fail(inst, self.inside_failed(failed));
        } else if children.iter().any(|c| self.run.status(*c) == StepStatus::Cancelled) {
            self.cancel_step(inst);
        } else {
            match &self.run.graph.clone().step(plan).kind {
                StepKind::Committee(committee) => self.committee_done(inst, committee, &children),
                // Mapped when its own action was done.
                StepKind::Task { .. } => self.succeed(inst, output),
                _ => self.succeed_mapped(inst, None),
            }
        }
    }

    /// The first of these that failed and is not tolerated.
    pub fn first_failed(&self, insts: &[InstIx]) -> Option<InstIx> {
        insts.iter().copied().find(|i| self.is_failure(*i))
    }

    pub fn is_failure(&self, inst: InstIx) -> bool {
        let row = &self.run.steps[inst as usize].row;
        row.status == StepStatus::Failed && !self.run.graph.step(row.plan).tolerate
    }

    pub fn inside_failed(&self, inst: InstIx) -> StepError {
        let name = self.run.step_name(inst);
        let error = self.run.steps[inst as usize].row.error.as_ref();
        let message = error.map(|e| e.message.as_str()).unwrap_or("failed");
        StepError::new(ErrorKind::Children, format!("step {name} failed: {message}"))
    }

    /// Every step of a scope is terminal: an iteration, a compensation or a phase is done.
    fn scope_done(&mut self, scope: ScopeIx) {
        let (owner, body) = {
            let s = &self.run.scopes[scope as usize];
            (s.owner, s.body)
        };
        match owner {
            None => self.phase_done(),
            Some(owner) if loop_body(self.run.kind(owner)) == Some(body) => {
                self.iteration_done(owner, scope);
            }
            Some(_) => self.next_compensation(),
        }
    }

    pub fn send(&mut self, to: crate::ids::RunId, input: Input) {
        self.effects.push(Effect::Send { to, body: MessageBody::Input(input) });
    }
}

/// A step of the plan that doesn't borrow the run.
pub(super) struct PlanStepRef {
    graph: Arc<super::graph::Graph>,
    ix: crate::workflow::StepIx,
}

impl std::ops::Deref for PlanStepRef {
    type Target = PlanStep;
    fn deref(&self) -> &PlanStep {
        self.graph.step(self.ix)
    }
}
