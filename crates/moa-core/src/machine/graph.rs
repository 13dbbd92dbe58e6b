//! A plan with the indices that the machine looks things up by. Derived once for each version.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;

use serde::{Deserialize, Serialize};

use crate::event::InstIx;
use crate::ids::Name;
use crate::schema::Schema;
use crate::workflow::{BodyIx, ParamSpec, Plan, StepIx, StepKind};

use super::state::loop_body;

/// Where an instance of a step stands: all that its name takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The step of the plan.
    pub plan: StepIx,
    /// The instance whose body it is part of; `None` = a body of the run itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<InstIx>,
    /// Which iteration of that body.
    pub iteration: u32,
}

/// A plan and its derived indices.
#[derive(Debug)]
pub struct Graph {
    plan: Plan,
    /// For each param, what its value must meet.
    param_schemas: Vec<Schema>,
    /// For each step, the steps that need it.
    dependents: Vec<Vec<StepIx>>,
    /// For each step, the steps whose parent it is.
    children: Vec<Vec<StepIx>>,
    names: BTreeMap<String, StepIx>,
    /// Names that expressions use and that no step has.
    bare_names: BTreeSet<String>,
}

/// Why a plan can't be executed; a damaged store or a bug, since checked workflows make good plans.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the plan of workflow {workflow} is broken: {reason}")]
pub struct BrokenPlan {
    /// The workflow.
    pub workflow: String,
    /// What is wrong.
    pub reason: String,
}

impl Graph {
    /// Checks the invariants of [`Plan`] and derives the indices.
    pub fn new(plan: Plan) -> Result<Self, BrokenPlan> {
        check(&plan)
            .map_err(|reason| BrokenPlan { workflow: plan.workflow.to_string(), reason })?;
        let mut dependents = vec![Vec::new(); plan.steps.len()];
        let mut children = vec![Vec::new(); plan.steps.len()];
        let mut names = BTreeMap::new();
        for (ix, step) in plan.steps.iter().enumerate() {
            let ix = ix as StepIx;
            for need in &step.needs {
                dependents[need.step as usize].push(ix);
            }
            if let Some(parent) = step.parent {
                children[parent as usize].push(ix);
            }
            names.insert(step.id.to_string(), ix);
        }
        let param_schemas = plan.params.iter().map(|p| Schema::new(p.schema.clone())).collect();
        let mut bare_names = super::names::used(&plan);
        bare_names.retain(|name| !names.contains_key(name));
        Ok(Self { plan, param_schemas, dependents, children, names, bare_names })
    }

    /// The plan.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The params, each with what its value must meet.
    pub(super) fn params(&self) -> impl Iterator<Item = (&ParamSpec, &Schema)> {
        self.plan.params.iter().zip(&self.param_schemas)
    }

    pub(super) fn dependents(&self, step: StepIx) -> &[StepIx] {
        &self.dependents[step as usize]
    }

    pub(super) fn children(&self, step: StepIx) -> &[StepIx] {
        &self.children[step as usize]
    }

    /// The step with that id.
    pub fn named(&self, id: &str) -> Option<StepIx> {
        self.names.get(id).copied()
    }

    /// Names that expressions of the plan use and that no step has: maybe keys of outputs.
    pub(super) fn bare_names(&self) -> &BTreeSet<String> {
        &self.bare_names
    }

    /// Where an instance stands in its loops, outermost first: `""`, `"3"`, `"3.0"`. `None` = the
    /// place of one of them is not known, or contradicts the plan.
    pub(super) fn iteration_path(
        &self,
        inst: InstIx,
        place: impl Fn(InstIx) -> Option<Place>,
    ) -> Option<String> {
        let mut path = Vec::new();
        let mut at = (inst, place(inst)?);
        while let Some(owner) = at.1.owner {
            let body = self.plan.steps.get(at.1.plan as usize)?.body;
            // What owns something was there before it: else rows that are damaged have no end.
            let next = (owner, place(owner).filter(|_| owner < at.0)?);
            let kind = &self.plan.steps.get(next.1.plan as usize)?.kind;
            // A compensation is opened once for its step: only loops count.
            if loop_body(kind) == Some(body) {
                path.push(at.1.iteration.to_string());
            }
            at = next;
        }
        path.reverse();
        Some(path.join("."))
    }

    /// How people name an instance: `lint`, or `lint[2]` inside a loop. `place` tells where it and
    /// what owns it stand; `None` = it doesn't know, or what it says contradicts the plan.
    pub fn step_name(
        &self,
        inst: InstIx,
        place: impl Fn(InstIx) -> Option<Place>,
    ) -> Option<String> {
        let id = &self.plan.steps.get(place(inst)?.plan as usize)?.id;
        let path = self.iteration_path(inst, place)?;
        Some(if path.is_empty() { id.to_string() } else { format!("{id}[{path}]") })
    }

    /// The agent whose action a step is; `None` = it is not an agent's.
    pub fn agent(&self, step: StepIx) -> Option<&Name> {
        match &self.plan.steps.get(step as usize)?.kind {
            StepKind::Task { agent, .. } => Some(agent),
            _ => None,
        }
    }

    pub(super) fn body_size(&self, body: BodyIx) -> u32 {
        self.plan.bodies[usize::from(body)].count
    }

    pub(super) fn body_start(&self, body: BodyIx) -> StepIx {
        self.plan.bodies[usize::from(body)].start
    }
}

impl Deref for Graph {
    type Target = Plan;
    fn deref(&self) -> &Plan {
        &self.plan
    }
}

fn check(plan: &Plan) -> Result<(), String> {
    let total = plan.steps.len() as u64;
    if plan.bodies.is_empty() {
        return Err("it has no bodies".into());
    }
    for (ix, body) in plan.bodies.iter().enumerate() {
        if u64::from(body.start) + u64::from(body.count) > total {
            return Err(format!("body {ix} ends beyond the last step"));
        }
    }
    for (ix, step) in plan.steps.iter().enumerate() {
        let Some(body) = plan.bodies.get(usize::from(step.body)) else {
            return Err(format!("step {} stands in no body", step.id));
        };
        let within = |other: StepIx| other >= body.start && (other as usize) < ix;
        if (ix as u32) < body.start || ix as u32 >= body.start + body.count {
            return Err(format!("step {} stands outside its body", step.id));
        }
        let behind = step.needs.iter().map(|n| n.step).chain(step.parent).all(within);
        if !behind {
            return Err(format!("step {} stands before something that it needs", step.id));
        }
        let bodies = super::owned_bodies(step);
        if bodies.into_iter().flatten().any(|b| usize::from(b) >= plan.bodies.len()) {
            return Err(format!("step {} owns a body that isn't there", step.id));
        }
    }
    Ok(())
}
