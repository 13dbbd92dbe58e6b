//! Giving a ready step to a node: the start of an attempt.

use std::sync::Arc;

use serde_json::{Map, Value as Json};

use crate::event::{Event, InstIx};
use crate::ids::{Name, NodeId};
use crate::run::Fairness;
use crate::step::{StepError, StepStatus};
use crate::template::{Rendered, Template};
use crate::time::Span;
use crate::workflow::{Priority, StepKind};

use super::begin::expression_error;
use super::tx::{PlanStepRef, Tx};
use super::vars::{Vars, run_error};
use super::{Applied, Effect, Env, Rejected, Run, TimerKey, rejected};

/// What a worker needs to make an attempt.
#[derive(Debug, Clone, PartialEq)]
pub struct Assignment {
    /// The step instance.
    pub inst: InstIx,
    /// The step's id.
    pub step: String,
    /// Where in its loops.
    pub iteration: String,
    /// The attempt, from 1.
    pub attempt: u32,
    /// The agent's id.
    pub agent: Name,
    /// What to ask of it.
    pub action: String,
    /// What to give it.
    pub params: Arc<Rendered>,
    /// Environment of the step.
    pub env: Arc<Rendered>,
    /// Outputs of the steps that it needs, by step id.
    pub inputs: Arc<Json>,
    /// Limit on the attempt, if the step sets one.
    pub timeout: Option<Span>,
    /// An attempt of unknown outcome must not be repeated blindly.
    pub once: bool,
    /// The same for every attempt of the step: `run/step` or `run/step/iteration`.
    pub idempotency_key: String,
}

/// A ready step, as it stands in the queue of its agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claimable<'r> {
    /// The agent.
    pub agent: &'r Name,
    /// Its place among all tasks of the agent; less is sooner.
    pub queue_key: i64,
    /// Its priority.
    pub priority: Priority,
    /// Whose task it is; `None` = nobody's in particular.
    pub fairness: Option<&'r Fairness>,
}

impl Run {
    /// What is to be known of a ready step to queue it; `None` when it can't be claimed.
    pub fn claimable(&self, inst: InstIx) -> Option<Claimable<'_>> {
        let row = self.step(inst)?;
        let queue_key = row.queue_key.filter(|_| row.status == StepStatus::Ready)?;
        let step = self.graph.step(row.plan);
        let StepKind::Task { agent, .. } = &step.kind else { return None };
        let priority = step.priority.unwrap_or(self.row.priority);
        let fairness = self.row.extra.fairness.as_ref();
        Some(Claimable { agent, queue_key, priority, fairness })
    }

    /// Whether an attempt has nothing to go on for: it is over, or the run is being cancelled.
    pub fn is_to_stop(&self, inst: InstIx, attempt: u32) -> bool {
        let row = self.step(inst).filter(|row| row.status == StepStatus::Running);
        row.is_none_or(|row| row.attempt != attempt) || self.is_cancelling()
    }

    /// What the next attempt of a step asks of its agent.
    pub fn action(&self, inst: InstIx) -> Option<&str> {
        let row = self.step(inst)?;
        let check = row.data.as_ref().and_then(|data| data.check.as_deref());
        match &self.graph.step(row.plan).kind {
            StepKind::Task { action, .. } => Some(check.unwrap_or(action)),
            _ => None,
        }
    }

    /// What an attempt of a task, or the run of a child, is given as the run is now; secrets are named.
    /// `None` = the step is neither, or what it needs isn't there.
    pub fn input(&self, inst: InstIx) -> Option<Json> {
        let row = self.step(inst)?;
        match &self.graph.step(row.plan).kind {
            StepKind::Task { params, .. } | StepKind::Child { params, .. } => {
                Some(params.render(&Vars::of_step(self, inst)).ok()?.shown())
            }
            _ => None,
        }
    }

    /// Starts an attempt of a ready step for a node. When its params can't be made the step fails
    /// instead, and there is no assignment.
    pub fn lease(
        &mut self,
        env: Env<'_>,
        inst: InstIx,
        node: NodeId,
    ) -> Result<(Option<Assignment>, Applied), Rejected> {
        if self.claimable(inst).is_none() || self.row.status.is_terminal() {
            return rejected("the step can't be claimed");
        }
        let mut tx = Tx::new(self, env);
        let plan = tx.plan(inst);
        match tx.assignment(inst, &plan) {
            Ok(assignment) => {
                let attempt = assignment.attempt;
                if plan.queue_timeout.is_some() {
                    tx.effects.push(Effect::Disarm { timer: TimerKey::Queue { step: inst } });
                }
                tx.record(Event::StepStarted { step: inst, attempt, node });
                Ok((Some(assignment), tx.finish()))
            }
            Err(error) => {
                tx.leave(inst);
                tx.own_failed(inst, error);
                Ok((None, tx.finish()))
            }
        }
    }
}

impl Tx<'_> {
    fn assignment(&self, inst: InstIx, plan: &PlanStepRef) -> Result<Assignment, StepError> {
        let StepKind::Task { agent, action, params, env } = &plan.kind else {
            return Err(StepError::new(crate::step::ErrorKind::Permanent, "the step has no task"));
        };
        let row = &self.run.steps[inst as usize].row;
        let check = self.run.data(inst).and_then(|d| d.check.clone());
        let iteration = self.run.iteration_path(inst);
        let id = &plan.id;
        let run = self.run.row.run;
        let idempotency_key = match iteration.is_empty() {
            true => format!("{run}/{id}"),
            false => format!("{run}/{id}/{iteration}"),
        };
        Ok(Assignment {
            inst,
            step: id.to_string(),
            iteration,
            attempt: row.attempt + 1,
            agent: agent.clone(),
            action: check.unwrap_or_else(|| action.clone()),
            params: self.rendered(inst, params, "params")?,
            env: self.rendered(inst, env, "env")?,
            inputs: self.inputs(inst, plan),
            timeout: plan.timeout,
            once: plan.once,
            idempotency_key,
        })
    }

    fn rendered(
        &self,
        inst: InstIx,
        template: &Template,
        key: &str,
    ) -> Result<Arc<Rendered>, StepError> {
        let rendered = template.render(&Vars::of_step(self.run, inst));
        rendered
            .map(|mut rendered| {
                // An agent that is given nothing is given an empty map, so that one schema fits.
                if rendered.value.is_null() {
                    rendered.value = Json::Object(Map::new());
                }
                Arc::new(rendered)
            })
            .map_err(|e| expression_error(key, &template.source().to_string(), &e))
    }

    fn inputs(&self, inst: InstIx, plan: &PlanStepRef) -> Arc<Json> {
        let mut inputs = Map::new();
        for need in &plan.needs {
            let needed = self.run.sibling(inst, need.step);
            let output = self.run.steps[needed as usize].row.output.as_ref();
            let id = &self.run.graph.step(need.step).id;
            inputs.insert(id.to_string(), output.map(|o| (**o).clone()).unwrap_or_default());
        }
        if let Some(error) = run_error(self.run) {
            // No step can be called so: what failed, for those that handle it.
            inputs.insert("error".to_owned(), error);
        }
        Arc::new(Json::Object(inputs))
    }
}
