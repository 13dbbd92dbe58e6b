//! What follows when an attempt, a timer or a child run ends.

use std::sync::Arc;

use serde_json::Value as Json;

use crate::agent::AgentSpec;
use crate::event::{Event, InstIx};
use crate::ids::{RunId, mix};
use crate::limit::Usage;
use crate::retry::RetryPolicy;
use crate::run::Phase;
use crate::step::{ErrorKind, SkipReason, StepError, StepStatus, WaitReason};
use crate::time::{Millis, Span};
use crate::workflow::{OnTimeout, StepKind};

use super::signal::RESOLVE;
use super::tx::{PlanStepRef, Tx};
use super::vars::Vars;
use super::{Effect, Outcome, Rejected, TimerKey, rejected};

/// Attempts lost with their node that don't count against the policy. Beyond them they do: an
/// attempt that takes the engine down with it must not be tried for ever.
const LOST_FREE_MAX: u32 = 10;

/// How an attempt is followed by another one.
struct Again {
    /// When; `None` = at once.
    until: Option<Millis>,
    rate_limited: bool,
    free: bool,
    check: bool,
}

impl Tx<'_> {
    fn running(&self, inst: InstIx, attempt: u32) -> Result<(), Rejected> {
        match self.run.steps.get(inst as usize).map(|i| &i.row) {
            Some(row) if row.status == StepStatus::Running && row.attempt == attempt => Ok(()),
            Some(row) => rejected(format!(
                "attempt {attempt} of step {} is over: the step is {} at attempt {}",
                self.run.step_name(inst),
                row.status.as_str(),
                row.attempt
            )),
            None => rejected(format!("the run has no step {inst}")),
        }
    }

    pub fn task_done(
        &mut self,
        inst: InstIx,
        attempt: u32,
        outcome: &Outcome,
        usage: Usage,
    ) -> Result<(), Rejected> {
        self.running(inst, attempt)?;
        self.attempt_spent(inst, attempt, usage);
        let plan = self.plan(inst);
        match outcome {
            Outcome::Succeeded { output } => self.attempt_succeeded(inst, &plan, output.clone()),
            Outcome::Failed { error } => self.attempt_failed(inst, &plan, error.clone(), None),
            Outcome::RateLimited { error, after } => {
                self.attempt_failed(inst, &plan, error.clone(), Some(*after));
            }
            Outcome::Cancelled | Outcome::Released if self.is_cancelling() => {
                self.own_cancelled(inst);
            }
            Outcome::Cancelled | Outcome::Released => self.attempt_stopped(inst, &plan, attempt),
        }
        Ok(())
    }

    fn attempt_spent(&mut self, inst: InstIx, attempt: u32, usage: Usage) {
        if !usage.is_nothing() {
            self.record(Event::AttemptSpent { step: inst, attempt, usage });
        }
    }

    pub fn attempt_lost(
        &mut self,
        inst: InstIx,
        attempt: u32,
        usage: Usage,
    ) -> Result<(), Rejected> {
        self.running(inst, attempt)?;
        self.attempt_spent(inst, attempt, usage);
        let plan = self.plan(inst);
        let message = "the node that ran the attempt is gone";
        self.attempt_failed(inst, &plan, StepError::new(ErrorKind::Lost, message), None);
        Ok(())
    }

    pub fn attempt_unstarted(&mut self, inst: InstIx, attempt: u32) -> Result<(), Rejected> {
        self.running(inst, attempt)?;
        if self.is_cancelling() {
            self.own_cancelled(inst);
        } else {
            self.release(inst, attempt);
        }
        Ok(())
    }

    /// An attempt was stopped before its end: it is made again, unless that could be once too often.
    fn attempt_stopped(&mut self, inst: InstIx, plan: &PlanStepRef, attempt: u32) {
        if self.is_once(plan) && !self.is_checking(inst) {
            let message = "the attempt was stopped while it ran";
            let error = StepError::new(ErrorKind::UnknownOutcome, message);
            return self.outcome_unknown(inst, plan, &error);
        }
        self.release(inst, attempt);
    }

    fn is_checking(&self, inst: InstIx) -> bool {
        self.run.data(inst).is_some_and(|d| d.check.is_some())
    }

    fn release(&mut self, inst: InstIx, attempt: u32) {
        self.record(Event::AttemptReleased { step: inst, attempt });
        self.offer(inst);
    }

    fn attempt_succeeded(&mut self, inst: InstIx, plan: &PlanStepRef, output: Option<Arc<Json>>) {
        if self.is_checking(inst) {
            return self.outcome_checked(inst, plan, output);
        }
        match self.map_outputs(inst, plan, output) {
            Ok(output) => self.own_succeeded(inst, output),
            Err(error) => self.own_failed(inst, error),
        }
    }

    /// The agent was asked whether an attempt of unknown outcome happened: `{done, output?}`.
    fn outcome_checked(&mut self, inst: InstIx, plan: &PlanStepRef, answer: Option<Arc<Json>>) {
        let answer = answer.unwrap_or_default();
        match answer.get("done").and_then(Json::as_bool) {
            Some(true) => {
                let output = answer.get("output").cloned().map(Arc::new);
                match self.map_outputs(inst, plan, output) {
                    Ok(output) => self.own_succeeded(inst, output),
                    Err(error) => self.own_failed(inst, error),
                }
            }
            _ if self.is_cancelling() => self.own_cancelled(inst),
            Some(false) => {
                let last = self.run.steps[inst as usize].row.error.as_ref();
                let why = last.map_or("its outcome was unknown", |e| e.message.as_str());
                let message = format!("the attempt had not happened: {why}");
                let error = StepError::new(ErrorKind::Lost, message);
                match self.next_attempt(inst, plan, &error) {
                    Some(until) => {
                        let until = (until > self.now()).then_some(until);
                        self.retry(inst, error, until, false, false);
                    }
                    None => self.own_failed(inst, error),
                }
            }
            None => self.ask_a_person(inst, "the check answered neither done: true nor false"),
        }
    }

    /// A step's own action went well: it succeeds, unless branches inside it are still open.
    pub fn own_succeeded(&mut self, inst: InstIx, output: Option<Arc<Json>>) {
        if !self.has_branches(inst) {
            return self.succeed(inst, output);
        }
        self.record(Event::StepOwnDone { step: inst, output, error: None });
        if self.run.steps[inst as usize].open == 0 {
            self.close(inst);
        }
    }

    /// A step's own action failed: it fails, unless branches inside it are still open.
    pub fn own_failed(&mut self, inst: InstIx, error: StepError) {
        if !self.has_branches(inst) {
            return self.fail(inst, error);
        }
        self.record(Event::StepOwnDone { step: inst, output: None, error: Some(error) });
        if self.run.steps[inst as usize].open == 0 {
            self.close(inst);
        }
    }

    fn own_cancelled(&mut self, inst: InstIx) {
        let error = StepError::new(ErrorKind::Cancelled, "cancelled");
        if self.has_branches(inst) {
            self.own_failed(inst, error);
        } else {
            self.cancel_step(inst);
        }
    }

    fn has_branches(&self, inst: InstIx) -> bool {
        self.run.data(inst).is_some_and(|d| d.opened)
    }

    fn agent(&self, plan: &PlanStepRef) -> Option<&AgentSpec> {
        let StepKind::Task { agent, .. } = &plan.kind else { return None };
        self.env.agents.get(agent).map(|a| &**a)
    }

    /// An attempt failed: tries again, asks whether it happened, or gives up.
    fn attempt_failed(
        &mut self,
        inst: InstIx,
        plan: &PlanStepRef,
        error: StepError,
        after: Option<Span>,
    ) {
        if self.is_cancelling() {
            return self.own_cancelled(inst);
        }
        let unknown =
            matches!(error.kind, ErrorKind::Lost | ErrorKind::UnknownOutcome | ErrorKind::Timeout);
        let checking = self.is_checking(inst);
        if unknown && !checking && self.is_once(plan) {
            return self.outcome_unknown(inst, plan, &error);
        }
        let lost = error.kind == ErrorKind::Lost;
        let free = lost && self.run.steps[inst as usize].row.released < LOST_FREE_MAX;
        if checking && free {
            // Nobody has answered yet: asked again, and still not repeated.
            return self.outcome_unknown(inst, plan, &error);
        }
        if checking {
            return self.check_failed(inst, plan, error, after);
        }
        if let Some(after) = after {
            let until = self.in_time(inst, plan, self.now().after(after));
            return match until.filter(|_| self.counted(inst) < crate::limits::ATTEMPTS_MAX) {
                Some(until) => self.retry(inst, error, Some(until), true, true),
                None => self.own_failed(inst, error),
            };
        }
        if free {
            return self.retry(inst, error, None, false, true);
        }
        match self.next_attempt(inst, plan, &error) {
            Some(until) => {
                self.retry(inst, error, (until > self.now()).then_some(until), false, false);
            }
            None => self.own_failed(inst, error),
        }
    }

    /// The agent failed to say whether an attempt happened: it is asked again by the policy, whose
    /// attempts it has for that alone; then a person is.
    fn check_failed(
        &mut self,
        inst: InstIx,
        plan: &PlanStepRef,
        mut error: StepError,
        after: Option<Span>,
    ) {
        let failed = self.run.data(inst).map_or(0, |data| data.checks_failed) + 1;
        let made = self.run.steps[inst as usize].row.attempt;
        let until = match after {
            _ if made >= crate::limits::ATTEMPTS_MAX => None,
            Some(after) => self.in_time(inst, plan, self.now().after(after)),
            None => self.next_attempt_of(inst, plan, &error, failed),
        };
        error.message = format!("the check whether it happened failed: {}", error.message);
        let Some(until) = until else { return self.ask_a_person(inst, &error.message) };
        let until = (until > self.now()).then_some(until);
        let again = Again { until, rate_limited: after.is_some(), free: true, check: true };
        self.again(inst, error, again);
    }

    /// Attempts that count against the policy.
    fn counted(&self, inst: InstIx) -> u32 {
        let row = &self.run.steps[inst as usize].row;
        row.attempt.saturating_sub(row.released)
    }

    fn policy(&self, plan: &PlanStepRef) -> RetryPolicy {
        let own = plan.retry.clone();
        own.or_else(|| self.agent(plan).and_then(|a| a.retry.clone())).unwrap_or_default()
    }

    /// When the next attempt may start, if there is one.
    fn next_attempt(&self, inst: InstIx, plan: &PlanStepRef, error: &StepError) -> Option<Millis> {
        self.next_attempt_of(inst, plan, error, self.counted(inst))
    }

    /// The same, after so many attempts.
    fn next_attempt_of(
        &self,
        inst: InstIx,
        plan: &PlanStepRef,
        error: &StepError,
        made: u32,
    ) -> Option<Millis> {
        let again = matches!(
            error.kind,
            ErrorKind::Retryable
                | ErrorKind::Timeout
                | ErrorKind::Lost
                | ErrorKind::UnknownOutcome
                | ErrorKind::Child
        );
        let policy = self.policy(plan);
        // No agent is asked in vain, but by an author who wants that.
        let wanted = error.kind == ErrorKind::BudgetExceeded && policy.when.is_some();
        if !again && !wanted {
            return None;
        }
        if let Some(when) = &policy.when
            && !self.retry_when(inst, when, error)
        {
            return None;
        }
        let id = self.run.row.run.0;
        let seed = mix(id as u64 ^ (id >> 64) as u64 ^ mix(u64::from(inst)));
        let until = self.now().after(policy.delay_before(made + 1, seed)?);
        self.in_time(inst, plan, until)
    }

    /// An instant, if the policy has attempts begin as late as that.
    fn in_time(&self, inst: InstIx, plan: &PlanStepRef, until: Millis) -> Option<Millis> {
        let started = self.run.steps[inst as usize].row.started_at.unwrap_or(self.now());
        let max = self.policy(plan).max_elapsed;
        max.is_none_or(|max| until.since(started) <= max).then_some(until)
    }

    /// `retry.when`; an expression that can't be evaluated doesn't try again.
    fn retry_when(&self, inst: InstIx, when: &str, error: &StepError) -> bool {
        let Ok(program) = crate::expr::Program::compile(when) else { return false };
        let row = &self.run.steps[inst as usize].row;
        let error = serde_json::json!({ "kind": error.kind, "message": error.message });
        let vars = Vars::of_step(self.run, inst)
            .with("error", Arc::new(error))
            .with("attempt", Arc::new(row.attempt.into()));
        program.eval(&vars).ok().and_then(|v| v.as_bool()).unwrap_or(false)
    }

    fn retry(
        &mut self,
        inst: InstIx,
        error: StepError,
        until: Option<Millis>,
        rate_limited: bool,
        free: bool,
    ) {
        self.again(inst, error, Again { until, rate_limited, free, check: false });
    }

    fn again(&mut self, inst: InstIx, error: StepError, again: Again) {
        let attempt = self.run.steps[inst as usize].row.attempt;
        let Again { until, rate_limited, free, check } = again;
        let event =
            Event::AttemptFailed { step: inst, attempt, error, until, rate_limited, free, check };
        self.record(event);
        match until {
            Some(due) => {
                self.effects.push(Effect::Arm { timer: TimerKey::Step { step: inst }, due });
            }
            None => self.offer(inst),
        }
    }

    // ---- actions that must not be repeated blindly

    fn is_once(&self, plan: &PlanStepRef) -> bool {
        let StepKind::Task { action, .. } = &plan.kind else { return false };
        let agent = self.agent(plan);
        let action_once = agent.and_then(|a| a.actions.get(action)).is_some_and(|a| a.once);
        plan.once || action_once || agent.is_some_and(|a| a.once)
    }

    fn outcome_unknown(&mut self, inst: InstIx, plan: &PlanStepRef, error: &StepError) {
        let StepKind::Task { action, .. } = &plan.kind else { return };
        let check =
            self.agent(plan).and_then(|a| a.actions.get(action)).and_then(|a| a.check.clone());
        let Some(check) = check else { return self.ask_a_person(inst, &error.message) };
        let attempt = self.run.steps[inst as usize].row.attempt;
        self.record(Event::OutcomeChecked { step: inst, attempt, check });
        self.offer(inst);
    }

    /// Waits for the signal `resolve.STEP` (in a loop `resolve.STEP[2]`) with `{done, output?}`, and
    /// with `attempt` when the answer is about that attempt alone.
    fn ask_a_person(&mut self, inst: InstIx, why: &str) {
        let signal = format!("{RESOLVE}{}", self.run.step_name(inst));
        let detail = serde_json::json!({ "signal": signal, "why": why });
        self.wait(inst, WaitReason::UnknownOutcome, None, Some(detail));
    }

    // ---- timers

    pub fn timer_fired(&mut self, timer: TimerKey, due: Millis) -> Result<(), Rejected> {
        if self.run.timer_due(timer) != Some(due) {
            return rejected("the timer is no longer armed for that instant");
        }
        match timer {
            TimerKey::Run => {
                self.effects.push(Effect::Disarm { timer });
                let reason = match self.run.row.phase {
                    Phase::OnFailure => "the time limit of its on_failure is over",
                    _ => "the run's time limit is over",
                };
                self.cancel(reason, true)?;
            }
            TimerKey::Queue { step } => {
                let message = "no slot was free before its queue timeout";
                let error = StepError::new(ErrorKind::QueueTimeout, message);
                self.leave(step);
                self.own_failed(step, error);
            }
            TimerKey::Step { step } => self.wait_over(step),
        }
        Ok(())
    }

    /// The time of a waiting step is over.
    fn wait_over(&mut self, inst: InstIx) {
        let plan = self.plan(inst);
        let wait = self.run.steps[inst as usize].row.wait;
        let disarm = Effect::Disarm { timer: TimerKey::Step { step: inst } };
        match (wait, &plan.kind) {
            (Some(WaitReason::Backoff | WaitReason::RateLimited), StepKind::Child { .. }) => {
                self.effects.push(disarm);
                if let Err(error) = self.begin_child(inst, &plan.kind) {
                    self.fail(inst, error);
                }
            }
            (Some(WaitReason::Backoff | WaitReason::RateLimited), _) => {
                self.effects.push(disarm);
                self.enqueue(inst);
            }
            (Some(WaitReason::Timer), _) => self.succeed(inst, None),
            (
                _,
                StepKind::WaitSignal { on_timeout, .. }
                | StepKind::WaitEvent { on_timeout, .. }
                | StepKind::Approve { on_timeout, .. },
            ) => self.wait_timed_out(inst, *on_timeout),
            _ => self.effects.push(disarm),
        }
    }

    fn wait_timed_out(&mut self, inst: InstIx, on_timeout: OnTimeout) {
        match on_timeout {
            OnTimeout::Fail => {
                let message = "nothing came before the end of its timeout";
                self.fail_with(inst, ErrorKind::WaitTimeout, message);
            }
            OnTimeout::Continue => {
                let output = serde_json::json!({ "timed_out": true });
                self.succeed_mapped(inst, Some(Arc::new(output)));
            }
            OnTimeout::Skip => self.skip(inst, SkipReason::Timeout),
            OnTimeout::Escalate => {
                self.effects.push(Effect::Disarm { timer: TimerKey::Step { step: inst } });
                self.record(Event::WaitLapsed { step: inst });
            }
        }
    }

    // ---- children

    pub fn child_done(
        &mut self,
        inst: InstIx,
        child: RunId,
        result: &Result<Option<Arc<Json>>, StepError>,
    ) -> Result<(), Rejected> {
        let row = self.run.step(inst).filter(|r| r.wait == Some(WaitReason::Child));
        let Some(row) = row else { return rejected("no step waits for this child run") };
        if self.run.row.run.child(inst, row.attempt) != child {
            return rejected("the step waits for another child run by now");
        }
        match result {
            Ok(output) => self.succeed_mapped(inst, output.clone()),
            Err(_) if self.is_cancelling() => self.cancel_step(inst),
            Err(error) => self.child_failed(inst, &self.plan(inst), error),
        }
        Ok(())
    }

    fn child_failed(&mut self, inst: InstIx, plan: &PlanStepRef, error: &StepError) {
        let error = StepError::new(ErrorKind::Child, innermost(error));
        let next = plan.retry.is_some().then(|| self.next_attempt(inst, plan, &error)).flatten();
        let Some(until) = next else { return self.fail(inst, error) };
        let until = Some(until.max(self.now().after(Span(1))));
        self.retry(inst, error, until, false, false);
    }
}

/// Why a child failed. Of a child that failed because a child of its own did, only what that one
/// says: the names of all the steps in between would hide it.
fn innermost(error: &StepError) -> &str {
    let of_its_own = (error.kind == ErrorKind::Child)
        .then(|| error.message.strip_prefix("step ")?.split_once(" failed: "));
    match of_its_own.flatten() {
        Some((_, inner)) if inner.starts_with("step ") => inner,
        _ => &error.message,
    }
}
