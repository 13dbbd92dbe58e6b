//! Judging one event: whether it may happen to the run as it is.

use std::collections::BTreeMap;
use std::sync::Arc;

use moa_core::agent::AgentSpec;
use moa_core::event::{Event, InstIx};
use moa_core::ids::{Name, NodeId, RunId};
use moa_core::limit::{Breaker, LimitState, Usage};
use moa_core::machine::TimerKey;
use moa_core::retry::RetryPolicy;
use moa_core::run::{Phase, RunStatus};
use moa_core::step::{ErrorKind, SkipReason, StepError, StepStatus, WaitReason};
use moa_core::time::Millis;
use moa_core::workflow::{MAIN, NeedStatus, Output, RunIf, StepKind};
use serde_json::Value as Json;

use super::shadow::Shadow;
use super::step::Step;
use crate::coverage::Coverage;
use crate::ledger::Ledger;
use crate::schemas;

/// Judges the events of one commit of one run.
pub struct Judge<'a> {
    pub now: Millis,
    pub run: RunId,
    pub shadow: &'a mut Shadow,
    /// Timers as they were before the commit.
    pub timers: &'a BTreeMap<(RunId, TimerKey), Millis>,
    pub ledger: &'a mut Ledger,
    pub agents: &'a BTreeMap<Name, Arc<AgentSpec>>,
    /// What had been used of agents' limits before the commit.
    pub limits: &'a BTreeMap<Name, LimitState>,
    pub coverage: &'a mut Coverage,
    /// What was spent, by whom, when the attempt ended, and when that was said.
    pub spent: &'a mut Vec<(Name, Usage, Millis, Millis)>,
}

type Verdict = Result<(), String>;

fn must(holds: bool, wrong: &str) -> Verdict {
    if holds { Ok(()) } else { Err(wrong.to_owned()) }
}

impl Judge<'_> {
    /// Judges an event, and keeps what it says.
    pub fn event(&mut self, event: &Event) -> Verdict {
        self.shadow.count += 1;
        if let Some(ended) = self.shadow.ended {
            return Err(format!("the run is {ended:?}, and still something happens"));
        }
        match (event, event.step()) {
            (_, Some(inst)) => {
                let step = self.shadow.steps.get(inst as usize).ok_or("no such step")?;
                self.coverage.step(step.status, event);
                let cancelled = matches!(event, Event::StepCancelled { .. });
                must(self.shadow.started || cancelled, "a step moves before the run has started")?;
                self.step_event(inst, event)
            }
            (Event::BodyOpened { body, base, first, count, .. }, None) => {
                self.coverage.run(self.shadow.status(), event);
                self.opened(None, *body, *base, *first, *count)
            }
            _ => {
                self.coverage.run(self.shadow.status(), event);
                self.run_event(event)
            }
        }
    }

    fn run_event(&mut self, event: &Event) -> Verdict {
        let shadow = &mut *self.shadow;
        match event {
            Event::RunCreated(_) => {}
            Event::RunStarted => {
                must(!shadow.started, "the run has started before")?;
                shadow.started = true;
            }
            Event::RunPaused => {
                must(shadow.started && !shadow.paused, "it can't be paused")?;
                shadow.paused = true;
                shadow.pauses += 1;
            }
            Event::RunResumed => {
                must(shadow.paused, "it is not paused")?;
                shadow.paused = false;
                shadow.resumed_at = self.now;
                shadow.resumes += 1;
            }
            Event::TimePassed { at } => {
                must(*at > self.now, "time goes back within a commit")?;
                self.now = *at;
            }
            Event::CancelRequested { timeout, .. } => {
                must(!shadow.handles_nothing(), "it was cancelled before")?;
                shadow.unhandled = shadow.cancelled || shadow.phase == Phase::OnFailure;
                shadow.cancelled = true;
                shadow.timed_out |= *timeout;
                if *timeout {
                    let due = self.timers.get(&(self.run, TimerKey::Run));
                    must(due.is_some_and(|due| *due <= self.now), "its time is not over")?;
                }
            }
            Event::PhaseEntered { phase } => {
                must(*phase > shadow.phase, "phases go one way")?;
                must(self.body_ended(MAIN), "the main steps have not ended")?;
                let handled = *phase == Phase::OnFailure && self.shadow.handles_nothing();
                must(!handled, "on_failure of a run that is being cancelled")?;
                self.handled(*phase)?;
                self.shadow.phase = *phase;
            }
            Event::RunSucceeded { output } => {
                as_declared(&shadow.graph.outputs, output.as_deref())?;
                return self.ended(RunStatus::Succeeded);
            }
            Event::RunFailed { .. } => {
                self.handled(Phase::Done)?;
                return self.ended(RunStatus::Failed);
            }
            Event::RunCancelled { .. } => return self.ended(RunStatus::Cancelled),
            Event::SignalReceived { key: Some(key), .. } => {
                must(shadow.signals.insert(key.clone()), "a signal is received twice")?;
            }
            _ => {}
        }
        Ok(())
    }

    /// A run whose time was over goes through its `on_failure` before it goes on to another phase.
    fn handled(&self, next: Phase) -> Verdict {
        let shadow = &self.shadow;
        let due = shadow.timed_out && !shadow.handles_nothing() && shadow.phase < Phase::OnFailure;
        let passed = due && next > Phase::OnFailure && shadow.graph.on_failure.is_some();
        must(!passed, "its time was over, and nothing has handled that")
    }

    fn body_ended(&self, body: u16) -> bool {
        let steps = self.shadow.steps.iter();
        let mut of = steps.filter(|s| self.shadow.graph.step(s.plan).body == body);
        of.all(|s| s.status.is_terminal())
    }

    fn ended(&mut self, status: RunStatus) -> Verdict {
        let shadow = &mut *self.shadow;
        let open = shadow.steps.iter().position(|s| !s.status.is_terminal());
        if let Some(open) = open {
            return Err(format!("step {} has not ended", shadow.name(open as InstIx)));
        }
        let failed = shadow.steps.iter().any(|s| {
            let plan = shadow.graph.step(s.plan);
            let top = plan.body == MAIN && plan.parent.is_none();
            top && s.status == StepStatus::Failed && !plan.tolerate
        });
        must(!(failed && status == RunStatus::Succeeded), "a step failed, but the run did not")?;
        let cancelled = shadow.cancelled && status == RunStatus::Succeeded;
        must(!cancelled, "it was cancelled, and has succeeded")?;
        shadow.ended = Some(status);
        shadow.paused = false;
        Ok(())
    }

    // ---- steps

    fn step_event(&mut self, inst: InstIx, event: &Event) -> Verdict {
        match event {
            Event::StepReady { .. } => {
                self.in_time(inst, true)?;
                self.begins(inst)?;
                self.becomes(inst, StepStatus::Ready)?;
            }
            Event::StepStarted { attempt, node, .. } => self.started(inst, *attempt, *node)?,
            Event::AttemptFailed { attempt, error, until, free, rate_limited, .. } => {
                self.attempt_failed(inst, *attempt, error, *until, *free, *rate_limited)?;
            }
            Event::AttemptSpent { attempt, usage, .. } => {
                self.running(inst, *attempt)?;
                self.spent(inst, *attempt, *usage)?;
            }
            Event::AttemptReleased { attempt, .. } => {
                self.running(inst, *attempt)?;
                self.becomes(inst, StepStatus::Ready)?;
            }
            Event::OutcomeChecked { attempt, .. } => {
                self.running(inst, *attempt)?;
                self.becomes(inst, StepStatus::Ready)?;
                self.step(inst).lost.push(*attempt);
            }
            Event::StepWaiting { reason, until, detail, .. } => {
                self.waiting(inst, *reason, *until, detail.as_deref())?;
            }
            Event::StepOwnDone { error, .. } => self.own_done(inst, error.as_ref())?,
            Event::StepOpened { branch, .. } => {
                self.begins(inst)?;
                let step = self.step(inst);
                must(!step.opened, "it was opened before")?;
                (step.opened, step.branch) = (true, *branch);
            }
            Event::BodyOpened { body, base, first, count, .. } => {
                self.opened(Some(inst), *body, *base, *first, *count)?;
            }
            Event::IterationsReleased { upto, .. } => {
                let step = self.step(inst);
                must(step.upto.is_none_or(|now| now < *upto), "released before")?;
                step.upto = Some(*upto);
            }
            Event::StepSucceeded { output, .. } => self.succeeded(inst, output.as_deref())?,
            Event::StepFailed { error, .. } => self.failed(inst, error)?,
            Event::StepSkipped { reason, .. } => {
                if *reason == SkipReason::Timeout {
                    self.in_time(inst, true)?;
                }
                self.becomes(inst, StepStatus::Skipped)?;
                self.step(inst).skip = Some(*reason);
            }
            Event::StepCancelled { .. } => self.cancelled(inst)?,
            Event::SignalTaken { name, .. } => self.signal_taken(inst, name)?,
            Event::EventEmitted { .. } => self.begins(inst)?,
            Event::WaitLapsed { .. } => {
                self.in_time(inst, true)?;
                let step = self.step(inst);
                must(!step.lapsed, "its wait has lapsed before")?;
                step.lapsed = true;
            }
            _ => return Err("not an event of a step".into()),
        }
        Ok(())
    }

    fn step(&mut self, inst: InstIx) -> &mut Step {
        &mut self.shadow.steps[inst as usize]
    }

    fn kind(&self, inst: InstIx) -> &StepKind {
        &self.shadow.graph.step(self.shadow.steps[inst as usize].plan).kind
    }

    fn becomes(&mut self, inst: InstIx, next: StepStatus) -> Verdict {
        let now = self.now;
        let step = self.step(inst);
        if !step.status.may_become(next) {
            return Err(format!("a step that is {:?} becomes {next:?}", step.status));
        }
        if next == StepStatus::Ready {
            step.ready_at = now;
        }
        step.status = next;
        step.wait = None;
        step.until = None;
        step.lapsed = false;
        Ok(())
    }

    /// A step that was pending begins: everything that kept it must be over.
    fn begins(&self, inst: InstIx) -> Verdict {
        let step = &self.shadow.steps[inst as usize];
        if step.status != StepStatus::Pending {
            return Ok(());
        }
        must(!self.shadow.is_cancelling(), "a step begins in a run that is being cancelled")?;
        must(self.shadow.needs_ended(inst), "it begins before what it needs has ended")?;
        must(self.shadow.is_open(inst), "it begins before what is around it is open")?;
        match &self.shadow.graph.step(step.plan).run_if {
            RunIf::Success => must(self.satisfied(inst), "it begins, but its needs failed"),
            RunIf::Failure => must(!self.satisfied(inst), "it begins, but nothing failed"),
            RunIf::Always | RunIf::When(_) => Ok(()),
        }
    }

    fn satisfied(&self, inst: InstIx) -> bool {
        let plan = self.shadow.graph.step(self.shadow.steps[inst as usize].plan);
        plan.needs.iter().all(|need| {
            let needed = &self.shadow.steps[self.shadow.sibling(inst, need.step) as usize];
            let fits = |when: &NeedStatus| {
                let status = match when {
                    NeedStatus::Succeeded => StepStatus::Succeeded,
                    NeedStatus::Failed => StepStatus::Failed,
                    NeedStatus::Skipped => StepStatus::Skipped,
                    NeedStatus::Cancelled => StepStatus::Cancelled,
                };
                needed.status == status
            };
            if !need.when.is_empty() {
                return need.when.iter().any(fits);
            }
            match needed.status {
                StepStatus::Succeeded => true,
                StepStatus::Skipped => needed.skip != Some(SkipReason::UpstreamFailed),
                StepStatus::Failed => self.shadow.graph.step(needed.plan).tolerate,
                _ => false,
            }
        })
    }

    /// What happens when a wait's time is over must not happen before.
    fn in_time(&self, inst: InstIx, by_time: bool) -> Verdict {
        let step = &self.shadow.steps[inst as usize];
        match step.until.filter(|_| by_time) {
            Some(until) if until > self.now => {
                Err(format!("a timer fires early: it is {}, and was armed for {until}", self.now))
            }
            _ => Ok(()),
        }
    }

    fn started(&mut self, inst: InstIx, attempt: u32, node: NodeId) -> Verdict {
        must(!self.shadow.paused, "an attempt starts in a paused run")?;
        must(!self.shadow.is_cancelling(), "an attempt starts in a run that is being cancelled")?;
        self.in_time(inst, true)?;
        self.begins(inst)?;
        self.becomes(inst, StepStatus::Running)?;
        self.not_held_back(inst)?;
        let policy = self.policy(inst);
        let step = self.step(inst);
        must(attempt == step.attempt + 1, "attempts are not numbered one by one")?;
        if step.failures >= policy.max_attempts {
            return Err(format!("{} attempts failed, and there is another one", step.failures));
        }
        step.attempt = attempt;
        step.nodes.push(Some(node));
        Ok(())
    }

    /// An attempt says once what it has spent, and spends something.
    fn spent(&mut self, inst: InstIx, attempt: u32, usage: Usage) -> Verdict {
        must(!usage.is_nothing(), "nothing was spent")?;
        let step = self.step(inst);
        must(step.told < attempt, "it has said before what it has spent")?;
        step.told = attempt;
        let StepKind::Task { agent, .. } = self.kind(inst) else {
            return Err("it has no agent that could spend".into());
        };
        let agent = agent.clone();
        let ended = self.ledger.get(self.run, inst, attempt).and_then(|execution| execution.ended);
        let ended = ended.ok_or("it is said to have spent something, and goes on")?;
        self.spent.push((agent, usage, Millis(ended), self.now));
        Ok(())
    }

    /// Nobody asks an agent whose breaker is open, or that wants to be left alone.
    fn not_held_back(&self, inst: InstIx) -> Verdict {
        let plan = self.shadow.graph.step(self.shadow.steps[inst as usize].plan);
        let StepKind::Task { agent, .. } = &plan.kind else { return Ok(()) };
        let Some(state) = self.limits.get(agent) else { return Ok(()) };
        let open = match state.breaker {
            Breaker::Open { until, .. } => Some(until),
            _ => None,
        };
        let budget = self.agents.get(agent).and_then(|spec| spec.limits.budget.as_ref());
        let stands = budget.map(|budget| budget.now(state.budget.as_ref(), self.now));
        if let Some(full) = stands.and_then(|stands| stands.full()) {
            return Err(format!("{agent} is asked, and its budget is used up: {full:?}"));
        }
        for until in [open, state.hold_until].into_iter().flatten() {
            if until > self.now {
                let now = self.now;
                return Err(format!(
                    "{agent} is asked at {now}, but not before {until}: {state:?}"
                ));
            }
        }
        Ok(())
    }

    fn policy(&self, inst: InstIx) -> RetryPolicy {
        let plan = self.shadow.graph.step(self.shadow.steps[inst as usize].plan);
        let agent = match &plan.kind {
            StepKind::Task { agent, .. } => self.agents.get(agent),
            _ => None,
        };
        let own = plan.retry.clone();
        own.or_else(|| agent.and_then(|a| a.retry.clone())).unwrap_or_default()
    }

    fn running(&self, inst: InstIx, attempt: u32) -> Verdict {
        let step = &self.shadow.steps[inst as usize];
        must(step.status == StepStatus::Running, "an attempt ends that does not run")?;
        must(step.attempt == attempt, "an attempt ends that is over")
    }

    fn attempt_failed(
        &mut self,
        inst: InstIx,
        attempt: u32,
        error: &StepError,
        until: Option<Millis>,
        free: bool,
        rate_limited: bool,
    ) -> Verdict {
        if !matches!(self.kind(inst), StepKind::Child { .. }) {
            self.running(inst, attempt)?;
        }
        let next = if until.is_some() { StepStatus::Waiting } else { StepStatus::Ready };
        self.becomes(inst, next)?;
        let step = self.step(inst);
        step.failures += u32::from(!free);
        if error.kind == ErrorKind::Lost {
            step.lost.push(attempt);
        }
        if let Some(until) = until {
            step.until = Some(until);
            let reason = if rate_limited { WaitReason::RateLimited } else { WaitReason::Backoff };
            step.wait = Some(reason);
        }
        Ok(())
    }

    fn waiting(
        &mut self,
        inst: InstIx,
        reason: WaitReason,
        until: Option<Millis>,
        detail: Option<&Json>,
    ) -> Verdict {
        let backoff = matches!(
            self.shadow.steps[inst as usize].wait,
            Some(WaitReason::Backoff | WaitReason::RateLimited)
        );
        self.in_time(inst, backoff)?;
        self.begins(inst)?;
        self.becomes(inst, StepStatus::Waiting)?;
        let signal = detail.and_then(|d| d.get("signal")).and_then(Json::as_str);
        let count = self.shadow.count;
        let step = self.step(inst);
        step.wait = Some(reason);
        step.until = until;
        step.since = count;
        step.signal = signal.map(str::to_owned).or(step.signal.take());
        if reason == WaitReason::UnknownOutcome {
            step.lost.push(step.attempt);
        }
        if reason == WaitReason::Child {
            step.attempt += 1;
            step.nodes.push(None);
        }
        Ok(())
    }

    fn own_done(&mut self, inst: InstIx, error: Option<&StepError>) -> Verdict {
        let step = &self.shadow.steps[inst as usize];
        must(step.opened, "a step without branches waits for them")?;
        if error.is_none() {
            self.has_answered(inst)?;
        }
        if error.is_some_and(|e| e.kind == ErrorKind::QueueTimeout) {
            self.queue_time_over(inst)?;
        }
        self.becomes(inst, StepStatus::Waiting)?;
        self.step(inst).wait = Some(WaitReason::Children);
        Ok(())
    }

    fn opened(
        &mut self,
        owner: Option<InstIx>,
        body: u16,
        base: InstIx,
        first: u32,
        count: u32,
    ) -> Verdict {
        must(base as usize == self.shadow.steps.len(), "a body opens in the place of another")?;
        let graph = self.shadow.graph.clone();
        let Some(range) = graph.bodies.get(usize::from(body)) else {
            return Err("there is no such body".into());
        };
        match owner {
            Some(owner) if self.shadow.loop_body(owner) == Some(body) => self.begins(owner)?,
            Some(_) => must(self.shadow.phase == Phase::Compensate, "undone too early")?,
            None => must(self.shadow.phase > Phase::Compensate, "not the time for it")?,
        }
        for i in 0..count {
            let base = base + i * range.count;
            let steps = range.start..range.start + range.count;
            self.shadow.steps.extend(steps.map(|s| Step::new(s, base, owner, first + i)));
        }
        Ok(())
    }

    fn succeeded(&mut self, inst: InstIx, output: Option<&Json>) -> Verdict {
        let step = &self.shadow.steps[inst as usize];
        as_declared(&self.shadow.graph.step(step.plan).outputs, output)?;
        self.begins(inst)?;
        match (step.status, step.wait) {
            (StepStatus::Running, _) => self.has_answered(inst)?,
            (StepStatus::Waiting, Some(WaitReason::Timer)) => self.in_time(inst, true)?,
            (StepStatus::Waiting, Some(WaitReason::Event)) => self.event_taken(inst, output)?,
            (StepStatus::Waiting, Some(WaitReason::Children)) => {
                must(!self.shadow.has_open_inside(inst), "what is inside it has not ended")?;
            }
            _ => {}
        }
        let timed_out = output.is_some_and(|o| o.get("timed_out").is_some());
        self.in_time(inst, timed_out)?;
        self.becomes(inst, StepStatus::Succeeded)
    }

    /// A result is accepted only of the attempt that runs, and only when that has given it.
    fn has_answered(&self, inst: InstIx) -> Verdict {
        let step = &self.shadow.steps[inst as usize];
        if step.status != StepStatus::Running {
            return Ok(());
        }
        let execution = self.ledger.get(self.run, inst, step.attempt);
        match execution {
            Some(execution) if execution.succeeded() => Ok(()),
            _ => {
                let answer = execution.and_then(|e| e.answer.as_ref());
                Err(format!("it succeeds, but attempt {} answered {answer:?}", step.attempt))
            }
        }
    }

    /// One event ends only the waits that began before it came.
    fn event_taken(&mut self, inst: InstIx, output: Option<&Json>) -> Verdict {
        let Some(id) = output.and_then(|o| o.get("data")?.get("id")?.as_str()) else {
            return Ok(());
        };
        // In a loop one step emits several events of the same id.
        let unique = id.ends_with("/once");
        let since = self.shadow.steps[inst as usize].since;
        let count = self.shadow.count;
        let first = *self.shadow.taken.entry(id.to_owned()).or_insert(count);
        must(!unique || since < first, "one event is taken twice")
    }

    fn failed(&mut self, inst: InstIx, error: &StepError) -> Verdict {
        match error.kind {
            ErrorKind::WaitTimeout => self.in_time(inst, true)?,
            ErrorKind::QueueTimeout if !self.shadow.steps[inst as usize].opened => {
                self.queue_time_over(inst)?;
            }
            _ => {}
        }
        if self.shadow.steps[inst as usize].wait == Some(WaitReason::Children) {
            must(!self.shadow.has_open_inside(inst), "what is inside it has not ended")?;
        }
        self.becomes(inst, StepStatus::Failed)
    }

    fn queue_time_over(&self, inst: InstIx) -> Verdict {
        let due = self.timers.get(&(self.run, TimerKey::Queue { step: inst }));
        must(due.is_some_and(|due| *due <= self.now), "its time in the queue is not over")
    }

    fn cancelled(&mut self, inst: InstIx) -> Verdict {
        if self.shadow.steps[inst as usize].wait == Some(WaitReason::Child)
            && let StepKind::Child { abandon: false, .. } = self.kind(inst)
        {
            let child = self.run.child(inst, self.shadow.steps[inst as usize].attempt);
            self.shadow.doomed.insert(child);
        }
        self.becomes(inst, StepStatus::Cancelled)
    }

    fn signal_taken(&mut self, inst: InstIx, name: &str) -> Verdict {
        let step = &self.shadow.steps[inst as usize];
        must(step.signal.as_deref() == Some(name), "a step takes a signal of another name")?;
        if step.wait == Some(WaitReason::UnknownOutcome) {
            let attempt = step.attempt;
            self.ledger.deny(self.run, inst, attempt);
        }
        Ok(())
    }
}

/// An output that was accepted has all that is declared of it, and that meets its schemas.
fn as_declared(outputs: &[Output], found: Option<&Json>) -> Verdict {
    for Output { name, schema, .. } in outputs {
        let Some(value) = found.and_then(|found| found.get(name)) else {
            return Err(format!("its output has no {name}: {found:?}"));
        };
        let met = schema.as_ref().is_none_or(|schema| schemas::meets(schema.json(), value));
        must(met, "its output breaks its schema, and it has succeeded")?;
    }
    Ok(())
}
