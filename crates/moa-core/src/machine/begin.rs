//! What a step does when nothing keeps it any more: decide whether it runs, and begin.

use std::sync::Arc;

use serde_json::{Value as Json, json};

use crate::event::{Event, InstIx};
use crate::expr::{self, Program};
use crate::step::{ErrorKind, SkipReason, StepError, StepStatus, WaitReason};
use crate::template::Template;
use crate::time::{Millis, Span};
use crate::workflow::{Need, NeedStatus, RunIf, StepKind};

use super::signal::APPROVE;
use super::tx::{PlanStepRef, Tx, Work};
use super::vars::Vars;
use super::{BUS, Effect, Emitted, MessageBody, StartChild, TimerKey};

/// How the needs of a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Needs {
    Satisfied,
    /// Something failed, was cancelled, or was skipped for such a reason.
    Failed,
    /// A `when:` does not hold, but nothing failed.
    Unmatched,
}

impl Tx<'_> {
    /// Whether the run is on its way out, so that nothing new begins.
    pub fn is_cancelling(&self) -> bool {
        self.run.is_cancelling()
    }

    pub fn consider(&mut self, inst: InstIx) {
        let place = &self.run.steps[inst as usize];
        if place.row.status != StepStatus::Pending || place.unmet > 0 {
            return;
        }
        if self.is_cancelling() {
            return self.cancel_step(inst);
        }
        let plan = self.plan(inst);
        let needs = self.needs(inst, &plan.needs);
        let upstream = || match needs {
            Needs::Failed => SkipReason::UpstreamFailed,
            _ => SkipReason::RunIf,
        };
        match &plan.run_if {
            RunIf::Success if needs != Needs::Satisfied => return self.skip(inst, upstream()),
            RunIf::Failure if needs != Needs::Failed => return self.skip(inst, SkipReason::RunIf),
            RunIf::When(program) => match self.test(inst, program, "run_if") {
                Ok(true) => {}
                Ok(false) => return self.skip(inst, SkipReason::RunIf),
                Err(error) => return self.fail(inst, error),
            },
            RunIf::Success | RunIf::Failure | RunIf::Always => {}
        }
        if let Some(condition) = &plan.condition {
            match self.test(inst, condition, "condition") {
                Ok(true) => {}
                Ok(false) => return self.skip(inst, SkipReason::Condition),
                Err(error) => return self.fail(inst, error),
            }
        }
        self.begin(inst, &plan);
    }

    fn needs(&self, inst: InstIx, needs: &[Need]) -> Needs {
        let mut answer = Needs::Satisfied;
        for need in needs {
            let needed = self.run.sibling(inst, need.step);
            let row = &self.run.steps[needed as usize].row;
            let tolerated = self.run.graph.step(row.plan).tolerate;
            let upstream = row.skip == Some(SkipReason::UpstreamFailed);
            let bad = match row.status {
                StepStatus::Failed => !tolerated,
                StepStatus::Cancelled => true,
                StepStatus::Skipped => upstream,
                _ => false,
            };
            if need.when.is_empty() {
                if bad {
                    return Needs::Failed;
                }
            } else if !need.when.iter().any(|w| fits(*w, row.status)) {
                if bad {
                    return Needs::Failed;
                }
                answer = Needs::Unmatched;
            }
        }
        answer
    }

    /// Evaluates a condition; anything but a boolean is a mistake.
    pub fn test(&self, inst: InstIx, program: &Program, key: &str) -> Result<bool, StepError> {
        let vars = Vars::of_step(self.run, inst);
        let wrong = |e: expr::Error| expression_error(key, program.source(), &e);
        match program.eval(&vars).map_err(wrong)?.as_bool() {
            Some(answer) => Ok(answer),
            None => Err(StepError::new(
                ErrorKind::Expression,
                format!("{key}: {} is neither true nor false", program.source()),
            )),
        }
    }

    /// Renders a template; secrets are allowed only where a worker fills them in, so not here.
    pub fn render(&self, inst: InstIx, template: &Template, key: &str) -> Result<Json, StepError> {
        let vars = Vars::of_step(self.run, inst);
        match template.render(&vars) {
            Ok(rendered) => Ok(rendered.value),
            Err(e) => Err(expression_error(key, &template.source().to_string(), &e)),
        }
    }

    pub fn begin(&mut self, inst: InstIx, plan: &PlanStepRef) {
        let begun = match &plan.kind {
            StepKind::Task { .. } => self.begin_task(inst),
            StepKind::Group | StepKind::Committee(_) => self.begin_group(inst),
            StepKind::If { cases, default } => self.begin_if(inst, cases, *default),
            StepKind::Foreach { .. } => self.begin_foreach(inst, &plan.kind),
            StepKind::While { .. } => self.begin_while(inst, &plan.kind),
            StepKind::Child { .. } => self.begin_child(inst, &plan.kind),
            StepKind::WaitSignal { name, timeout, .. } => {
                self.begin_wait_signal(inst, name, *timeout)
            }
            StepKind::WaitEvent { event, timeout, .. } => {
                self.wait(inst, WaitReason::Event, *timeout, None);
                let event = event.clone();
                self.effects.push(Effect::Wait { step: inst, event, on: true });
                Ok(())
            }
            StepKind::Approve { request, timeout, .. } => {
                self.begin_approve(inst, request, *timeout)
            }
            StepKind::Sleep { until } => self.begin_sleep(inst, until),
            StepKind::Emit { event, data } => self.begin_emit(inst, event, data),
        };
        if let Err(error) = begun {
            self.fail(inst, error);
        }
    }

    fn begin_task(&mut self, inst: InstIx) -> Result<(), StepError> {
        if self.run.steps[inst as usize].open > 0 {
            self.open_branch(inst, None);
        }
        self.enqueue(inst);
        self.arm_queue_timer(inst);
        Ok(())
    }

    /// Makes the step's task claimable. Called for every attempt.
    pub fn enqueue(&mut self, inst: InstIx) {
        self.record(Event::StepReady { step: inst });
        self.offer(inst);
    }

    /// Tells the node about a ready task, unless the run is paused.
    pub fn offer(&mut self, inst: InstIx) {
        if !self.run.row.extra.paused {
            self.effects.push(Effect::Enqueue { step: inst });
        }
    }

    fn begin_group(&mut self, inst: InstIx) -> Result<(), StepError> {
        self.open_branch(inst, None);
        self.wait_for_children(inst);
        Ok(())
    }

    fn begin_if(
        &mut self,
        inst: InstIx,
        cases: &[Program],
        default: Option<u16>,
    ) -> Result<(), StepError> {
        let mut taken = default;
        for (branch, case) in cases.iter().enumerate() {
            if self.test(inst, case, "condition")? {
                taken = Some(branch as u16);
                break;
            }
        }
        // A branch beyond every child's is none: `StepOpened` with `None` would open all.
        self.open_branch(inst, Some(taken.unwrap_or(u16::MAX)));
        self.wait_for_children(inst);
        Ok(())
    }

    /// Lets the children of one branch run (`None` = of all) and skips the others.
    fn open_branch(&mut self, inst: InstIx, branch: Option<u16>) {
        self.record(Event::StepOpened { step: inst, branch });
        let graph = self.run.graph.clone();
        for &child in graph.children(self.run.steps[inst as usize].row.plan) {
            let taken = branch.is_none_or(|b| graph.step(child).branch == b);
            let child = self.run.sibling(inst, child);
            if taken {
                self.met(child);
            } else {
                self.skip(child, SkipReason::Branch);
            }
        }
    }

    /// Waits until everything inside is terminal; at once, when nothing is.
    pub fn wait_for_children(&mut self, inst: InstIx) {
        self.wait(inst, WaitReason::Children, None, None);
        if self.run.steps[inst as usize].open == 0 {
            self.close(inst);
        }
    }

    /// Waits for something, at most so long.
    pub fn wait(
        &mut self,
        inst: InstIx,
        reason: WaitReason,
        timeout: Option<Span>,
        detail: Option<Json>,
    ) {
        let until = timeout.map(|t| self.now().after(t));
        self.wait_until(inst, reason, until, detail);
    }

    pub fn wait_until(
        &mut self,
        inst: InstIx,
        reason: WaitReason,
        until: Option<Millis>,
        detail: Option<Json>,
    ) {
        let detail = detail.map(Arc::new);
        self.record(Event::StepWaiting { step: inst, reason, until, detail });
        if let Some(due) = until {
            self.effects.push(Effect::Arm { timer: TimerKey::Step { step: inst }, due });
        }
    }

    fn begin_wait_signal(
        &mut self,
        inst: InstIx,
        name: &Template,
        timeout: Option<Span>,
    ) -> Result<(), StepError> {
        let name = match self.render(inst, name, "wait_for")? {
            Json::String(name) => name,
            other => {
                let message = format!("wait_for: {other} is not the name of a signal (a text)");
                return Err(StepError::new(ErrorKind::Expression, message));
            }
        };
        self.wait(inst, WaitReason::Signal, timeout, Some(json!({ "signal": name })));
        self.take_kept_signal(inst);
        Ok(())
    }

    fn begin_approve(
        &mut self,
        inst: InstIx,
        request: &Template,
        timeout: Option<Span>,
    ) -> Result<(), StepError> {
        let request = self.render(inst, request, "approve")?;
        let signal = format!("{APPROVE}{}", self.run.step_name(inst));
        let detail = json!({ "signal": signal, "request": request });
        self.wait(inst, WaitReason::Approval, timeout, Some(detail));
        Ok(())
    }

    fn begin_sleep(&mut self, inst: InstIx, until: &Template) -> Result<(), StepError> {
        let value = self.render(inst, until, "sleep")?;
        let until = instant(&value, self.now()).map_err(|message| {
            StepError::new(ErrorKind::Expression, format!("sleep: {message}"))
        })?;
        self.wait_until(inst, WaitReason::Timer, Some(until), None);
        Ok(())
    }

    fn begin_emit(&mut self, inst: InstIx, event: &str, data: &Template) -> Result<(), StepError> {
        let data = Arc::new(self.render(inst, data, "emit")?);
        let event = event.to_owned();
        self.record(Event::EventEmitted { step: inst, event: event.clone(), data: data.clone() });
        let source = Some(self.run.row.run);
        let emitted = Arc::new(Emitted { event, source, data });
        self.effects.push(Effect::Send { to: BUS, body: MessageBody::Emitted(emitted) });
        self.succeed(inst, None);
        Ok(())
    }

    pub fn begin_child(&mut self, inst: InstIx, kind: &StepKind) -> Result<(), StepError> {
        let StepKind::Child { workflow, version, params, .. } = kind else { return Ok(()) };
        let depth = self.run.row.parent.map_or(1, |p| p.depth + 1);
        if depth > crate::limits::CHILD_DEPTH_MAX {
            let max = crate::limits::CHILD_DEPTH_MAX;
            let message = format!("workflows start one another more than {max} levels deep");
            return Err(StepError::new(ErrorKind::Limit, message));
        }
        let params = Arc::new(self.render(inst, params, "params")?);
        let attempt = self.run.steps[inst as usize].row.attempt + 1;
        let child = self.run.row.run.child(inst, attempt);
        let detail = json!({ "run": child.to_string(), "workflow": workflow });
        self.wait(inst, WaitReason::Child, None, Some(detail));
        let start = StartChild {
            workflow: workflow.clone(),
            version: version.clone(),
            params,
            parent: crate::run::ParentRef { run: self.run.row.run, step: inst, depth },
            priority: self.run.row.priority,
            fairness: self.run.row.extra.fairness.clone(),
            trace: (depth > 1 || self.run.row.extra.trace.is_some()).then(|| self.run.row.trace()),
        };
        let body = MessageBody::StartChild(Box::new(start));
        self.effects.push(Effect::Send { to: child, body });
        Ok(())
    }

    /// Considers the steps of a scope that was just opened.
    pub fn consider_scope(&mut self, scope: super::state::ScopeIx) {
        let (base, body) = {
            let s = &self.run.scopes[scope as usize];
            (s.base, s.body)
        };
        for inst in base..base + self.run.graph.body_size(body) {
            if self.run.steps[inst as usize].unmet == 0 {
                self.work.push_back(Work::Consider(inst));
            }
        }
        if self.run.scopes[scope as usize].open == 0 {
            self.work.push_back(Work::ScopeDone(scope));
        }
    }
}

fn fits(when: NeedStatus, status: StepStatus) -> bool {
    matches!(
        (when, status),
        (NeedStatus::Succeeded, StepStatus::Succeeded)
            | (NeedStatus::Failed, StepStatus::Failed)
            | (NeedStatus::Skipped, StepStatus::Skipped)
            | (NeedStatus::Cancelled, StepStatus::Cancelled)
    )
}

/// An expression's failure as a step's.
pub(super) fn expression_error(key: &str, source: &str, error: &expr::Error) -> StepError {
    let hint = error.hint.as_ref().map(|h| format!(" ({h})")).unwrap_or_default();
    let message = format!("{key}: {}{hint}, in: {source}", error.message);
    StepError::new(ErrorKind::Expression, message)
}

/// The instant that a `sleep` names: a span from now, milliseconds from now, or RFC 3339.
fn instant(value: &Json, now: Millis) -> Result<Millis, String> {
    let wrong = || format!("{value} is neither a duration (5m) nor an instant (RFC 3339)");
    match value {
        Json::Number(n) => n.as_u64().map(|ms| now.after(Span(ms))).ok_or_else(wrong),
        Json::String(text) => {
            if let Ok(span) = text.parse::<Span>() {
                return Ok(now.after(span));
            }
            let instant: jiff::Timestamp = text.parse().map_err(|_| wrong())?;
            Ok(Millis(instant.as_millisecond()))
        }
        _ => Err(wrong()),
    }
}
