//! How each event changes the rows of a run. The only code that writes them.

use std::sync::Arc;

use crate::event::{Event, InstIx, RunCreated};
use crate::policy::queue_key;
use crate::run::{KeptSignal, Phase, RunExtra, RunRow, RunStatus, StepData, StepRow};
use crate::step::{StepStatus, WaitReason};
use crate::time::Millis;
use crate::workflow::{BodyIx, StepKind};

use super::graph::Graph;
use super::owned_bodies;
use super::state::{BrokenRows, Run};

impl Run {
    /// The run that `created` describes.
    pub(super) fn born(
        now: Millis,
        created: &RunCreated,
        graph: Arc<Graph>,
    ) -> Result<Run, BrokenRows> {
        let row = RunRow {
            run: created.run,
            workflow: created.workflow.clone(),
            hash: created.hash,
            status: RunStatus::Pending,
            phase: Phase::Main,
            priority: created.priority,
            params: created.params.clone(),
            parent: created.parent,
            trigger: created.trigger.clone(),
            created_at: now,
            started_at: None,
            finished_at: None,
            output: None,
            error: None,
            extra: RunExtra {
                cause: created.cause.clone(),
                concurrency_key: created.concurrency_key.clone(),
                fairness: created.fairness.clone(),
                trace: created.trace,
                forked_from: created.seed.as_ref().map(|s| s.run),
                ..RunExtra::default()
            },
        };
        let mut run = Run::blank(row, graph);
        if let Some(seed) = &created.seed {
            run.place(seed.steps.clone())?;
            for inst in seed.steps.iter().map(|s| s.inst) {
                run.mark(inst);
            }
        }
        run.recount();
        Ok(run)
    }

    /// Folds a history into the state after it.
    pub fn fold<'a>(
        history: impl IntoIterator<Item = (Millis, &'a [Event])>,
        graph: Arc<Graph>,
    ) -> Result<Run, BrokenRows> {
        let mut run: Option<Run> = None;
        let mut version = 0;
        for (mut at, events) in history {
            version += 1;
            for event in events {
                match (&mut run, event) {
                    (_, Event::TimePassed { at: later }) => at = *later,
                    (None, Event::RunCreated(created)) => {
                        run = Some(Run::born(at, created, graph.clone())?);
                    }
                    (Some(run), event) => run.evolve(at, event),
                    (None, _) => return Err(BrokenRows("history starts without a run".into())),
                }
            }
        }
        let mut run = run.ok_or_else(|| BrokenRows("history is empty".into()))?;
        run.version = version;
        run.recount();
        let status = run.status_now();
        run.row.status = status;
        Ok(run)
    }

    pub(super) fn mark(&mut self, inst: InstIx) {
        let place = &mut self.steps[inst as usize];
        if !place.dirty {
            place.dirty = true;
            self.dirty.push(inst);
        }
    }

    /// Applies one event.
    pub(super) fn evolve(&mut self, now: Millis, event: &Event) {
        match event {
            Event::RunCreated(_) => debug_assert!(false, "a run is created once"),
            Event::RunStarted
            | Event::RunPaused
            | Event::RunResumed
            | Event::CancelRequested { .. }
            | Event::PhaseEntered { .. }
            | Event::RunSucceeded { .. }
            | Event::RunFailed { .. }
            | Event::RunCancelled { .. }
            | Event::SignalReceived { .. } => {
                self.row_dirty = true;
                self.evolve_run(now, event);
            }
            Event::BodyOpened { step, body, base, first, count, items } => {
                self.evolve_body(*step, *body, (*base, *first, *count), items.clone());
            }
            Event::SignalTaken { position, .. } => {
                self.row_dirty = true;
                let signal = self.row.extra.signals.remove(*position as usize);
                self.index.taken(*position as usize, &signal);
            }
            Event::EventEmitted { .. }
            | Event::EventPublished(_)
            | Event::TimePassed { .. }
            | Event::AttemptSpent { .. } => {}
            Event::StepReady { step }
            | Event::StepStarted { step, .. }
            | Event::AttemptFailed { step, .. }
            | Event::AttemptReleased { step, .. }
            | Event::OutcomeChecked { step, .. }
            | Event::StepWaiting { step, .. }
            | Event::StepOwnDone { step, .. }
            | Event::StepOpened { step, .. }
            | Event::IterationsReleased { step, .. }
            | Event::StepSucceeded { step, .. }
            | Event::StepFailed { step, .. }
            | Event::StepSkipped { step, .. }
            | Event::StepCancelled { step }
            | Event::WaitLapsed { step } => self.evolve_step(now, *step, event),
        }
    }

    fn evolve_run(&mut self, now: Millis, event: &Event) {
        let row = &mut self.row;
        match event {
            Event::RunStarted => {
                row.status = RunStatus::Running;
                row.started_at = Some(now);
            }
            Event::RunPaused | Event::RunResumed => {
                row.extra.paused = matches!(event, Event::RunPaused);
                if !row.extra.paused {
                    row.extra.resumed_at = Some(now);
                }
                self.requeue();
            }
            Event::CancelRequested { reason, timeout } => {
                let handling = row.phase == Phase::OnFailure;
                row.extra.unhandled = handling || row.extra.cancel.is_some();
                row.extra.cancel.get_or_insert_with(|| reason.clone());
                row.extra.handling_timed_out |= *timeout && handling && !row.extra.timed_out;
                row.extra.timed_out |= *timeout;
            }
            Event::PhaseEntered { phase } => {
                row.phase = *phase;
                if *phase == Phase::OnFailure {
                    row.extra.handling_since = Some(now);
                }
            }
            Event::RunSucceeded { output } => {
                row.output = output.clone();
                self.end(now, RunStatus::Succeeded);
            }
            Event::RunFailed { error } => {
                row.error = Some(error.clone());
                self.end(now, RunStatus::Failed);
            }
            Event::RunCancelled { reason } => {
                row.extra.cancel = Some(reason.clone());
                self.end(now, RunStatus::Cancelled);
            }
            Event::SignalReceived { name, key, payload } => {
                let kept = KeptSignal { name: name.clone(), payload: payload.clone() };
                row.extra.signals.push(kept);
                if let Some(key) = key {
                    let keys = &mut row.extra.signal_keys;
                    if keys.len() >= crate::limits::SIGNAL_KEYS_MAX {
                        self.index.forget_key(&keys.remove(0));
                    }
                    keys.push(key.clone());
                }
                self.index.keep(name, key.as_deref());
            }
            _ => debug_assert!(false, "not an event of the run itself"),
        }
    }

    fn end(&mut self, now: Millis, status: RunStatus) {
        self.row.status = status;
        self.row.phase = Phase::Done;
        self.row.finished_at = Some(now);
        self.row.extra.signals.clear();
        self.index.drop_kept();
        self.row.extra.paused = false;
    }

    /// Gives ready tasks their places in the queue, or takes them away while the run is paused.
    fn requeue(&mut self) {
        let paused = self.row.extra.paused;
        for inst in 0..self.steps.len() as InstIx {
            if self.status(inst) == StepStatus::Ready {
                self.queue(inst, !paused);
                self.mark(inst);
            }
        }
    }

    /// Gives a ready task its place in the queue of its agent, or takes it away.
    fn queue(&mut self, inst: InstIx, may_be_claimed: bool) {
        let row = &mut self.steps[inst as usize].row;
        let step = self.graph.step(row.plan);
        unqueue(row);
        if let (true, Some(at), StepKind::Task { agent, .. }) =
            (may_be_claimed, row.ready_at, &step.kind)
        {
            row.queue_key = Some(queue_key(step.priority.unwrap_or(self.row.priority), at));
            row.agent = Some(agent.clone());
            row.fairness_key = self.row.extra.fairness.as_ref().map(|f| f.key.clone());
        }
    }

    fn evolve_body(
        &mut self,
        step: Option<InstIx>,
        body: BodyIx,
        block: (InstIx, u32, u32),
        items: Option<Arc<serde_json::Value>>,
    ) {
        let (base, first, count) = block;
        debug_assert_eq!(base as usize, self.steps.len(), "bodies open at the end");
        for i in 0..count {
            self.open_scope(body, step, first + i);
        }
        let Some(step) = step else {
            self.row.extra.open_bodies.insert(body, base);
            self.row_dirty = true;
            return;
        };
        let plan = self.graph.step(self.steps[step as usize].row.plan);
        let compensation = owned_bodies(plan)[1] == Some(body);
        self.mark(step);
        let data = self.data_mut(step);
        if compensation {
            data.compensation = Some(base);
            self.index.undone(&self.steps[step as usize].row);
        } else {
            data.block = Some(block);
            data.items = items.or(data.items.take());
        }
    }

    fn data_mut(&mut self, inst: InstIx) -> &mut StepData {
        let data = &mut self.steps[inst as usize].row.data;
        Arc::make_mut(data.get_or_insert_with(Arc::default))
    }

    fn evolve_step(&mut self, now: Millis, inst: InstIx, event: &Event) {
        let before = self.status(inst);
        if let Event::IterationsReleased { upto, .. } = event {
            // Nothing of the row: it holds the items, and a long loop releases often.
            self.released.insert(inst, *upto);
            return;
        }
        self.index.leave(&self.steps[inst as usize].row, &self.graph);
        self.mark(inst);
        match event {
            Event::StepOpened { branch, .. } => {
                let data = self.data_mut(inst);
                data.opened = true;
                data.branch = *branch;
            }
            Event::StepOwnDone { output, error, .. } => {
                self.data_mut(inst).own_done = true;
                let row = &mut self.steps[inst as usize].row;
                row.output = output.clone();
                row.error = error.clone();
                set_waiting(row, now, WaitReason::Children, None);
            }
            Event::WaitLapsed { .. } => self.steps[inst as usize].row.until = None,
            Event::OutcomeChecked { check, .. } => {
                let asked = self.data_mut(inst).check.replace(check.clone()).is_some();
                self.steps[inst as usize].row.released += u32::from(asked);
                set_ready(&mut self.steps[inst as usize].row, now);
            }
            Event::StepWaiting { reason, until, detail, .. } => {
                if detail.is_some() {
                    let data = self.data_mut(inst);
                    data.detail = detail.clone();
                    // A person is asked now; what follows is the action itself, or nothing.
                    (data.check, data.checks_failed) = (None, 0);
                }
                let row = &mut self.steps[inst as usize].row;
                row.attempt += u32::from(*reason == WaitReason::Child);
                set_waiting(row, now, *reason, *until);
            }
            Event::AttemptFailed { .. } | Event::AttemptReleased { .. } => {
                let asked = self.data(inst).is_some_and(|d| d.check.is_some());
                if let Event::AttemptFailed { check, rate_limited, .. } = event
                    && asked
                {
                    let data = self.data_mut(inst);
                    data.checks_failed += u32::from(*check && !*rate_limited);
                    if !*check {
                        (data.check, data.checks_failed) = (None, 0);
                    }
                }
                evolve_attempt(&mut self.steps[inst as usize].row, now, event);
            }
            _ => evolve_status(&mut self.steps[inst as usize].row, now, event),
        }
        self.index.add(&self.steps[inst as usize].row, &self.graph);
        let after = self.status(inst);
        if after == StepStatus::Ready {
            self.queue(inst, !self.row.extra.paused);
        }
        let busy = |s| u32::from(matches!(s, StepStatus::Ready | StepStatus::Running));
        self.busy = self.busy + busy(after) - busy(before);
        assert!(
            before == after || before.may_become(after),
            "illegal change of step {inst}: {before:?} to {after:?} by {event:?}"
        );
    }
}

fn unqueue(row: &mut StepRow) {
    row.queue_key = None;
    row.agent = None;
    row.fairness_key = None;
}

fn set_ready(row: &mut StepRow, now: Millis) {
    row.status = StepStatus::Ready;
    row.wait = None;
    row.until = None;
    row.node = None;
    row.ready_at = Some(now);
}

fn set_waiting(row: &mut StepRow, now: Millis, reason: WaitReason, until: Option<Millis>) {
    row.status = StepStatus::Waiting;
    row.wait = Some(reason);
    row.until = until;
    row.node = None;
    unqueue(row);
    row.ready_at.get_or_insert(now);
    row.started_at.get_or_insert(now);
}

fn evolve_attempt(row: &mut StepRow, now: Millis, event: &Event) {
    match event {
        Event::AttemptFailed { error, until, rate_limited, free, .. } => {
            row.error = Some(error.clone());
            row.released += u32::from(*free);
            let reason = if *rate_limited { WaitReason::RateLimited } else { WaitReason::Backoff };
            match until {
                Some(_) => set_waiting(row, now, reason, *until),
                None => set_ready(row, now),
            }
        }
        Event::AttemptReleased { .. } => {
            row.released += 1;
            set_ready(row, now);
        }
        _ => debug_assert!(false, "not the end of an attempt"),
    }
}

fn evolve_status(row: &mut StepRow, now: Millis, event: &Event) {
    match event {
        Event::StepReady { .. } => set_ready(row, now),
        Event::StepStarted { attempt, node, .. } => {
            // A step that is ready and leased in one commit has no `StepReady`.
            if row.status != StepStatus::Ready {
                row.ready_at = Some(now);
            }
            row.status = StepStatus::Running;
            row.wait = None;
            row.until = None;
            unqueue(row);
            row.attempt = *attempt;
            row.node = Some(*node);
            row.started_at.get_or_insert(now);
        }
        Event::StepSucceeded { output, .. } => {
            row.output = output.clone();
            row.error = None;
            set_terminal(row, now, StepStatus::Succeeded);
        }
        Event::StepFailed { error, .. } => {
            row.error = Some(error.clone());
            set_terminal(row, now, StepStatus::Failed);
        }
        Event::StepSkipped { reason, .. } => {
            row.skip = Some(*reason);
            set_terminal(row, now, StepStatus::Skipped);
        }
        Event::StepCancelled { .. } => set_terminal(row, now, StepStatus::Cancelled),
        _ => debug_assert!(false, "not a change of a step's status"),
    }
}

fn set_terminal(row: &mut StepRow, now: Millis, status: StepStatus) {
    row.status = status;
    row.wait = None;
    row.until = None;
    row.node = None;
    unqueue(row);
    row.finished_at = Some(now);
}
