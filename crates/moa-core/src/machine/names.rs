//! The names that the expressions of a plan use.

use std::collections::BTreeSet;

use crate::expr::{Program, Reference};
use crate::template::Template;
use crate::workflow::{Plan, PlanStep, RunIf, StepKind};

/// The first part of every name that an expression of the plan looks up while a run goes on. That of
/// the concurrency key is not one: it is evaluated before there is a run.
pub(super) fn used(plan: &Plan) -> BTreeSet<String> {
    let mut names = Names::default();
    plan.steps.iter().for_each(|step| names.step(step));
    plan.outputs.iter().for_each(|output| names.program(&output.value));
    names.0
}

#[derive(Default)]
struct Names(BTreeSet<String>);

impl Names {
    fn program(&mut self, program: &Program) {
        self.all(program.references());
    }

    fn template(&mut self, template: &Template) {
        self.all(template.references());
    }

    fn all(&mut self, references: Vec<Reference>) {
        self.0.extend(references.into_iter().filter_map(|r| r.path.into_iter().next()));
    }

    fn step(&mut self, step: &PlanStep) {
        if let RunIf::When(program) = &step.run_if {
            self.program(program);
        }
        step.condition.iter().for_each(|program| self.program(program));
        step.outputs.iter().for_each(|output| self.program(&output.value));
        let when = step.retry.as_ref().and_then(|retry| retry.when.as_deref());
        if let Some(Ok(program)) = when.map(Program::compile) {
            self.program(&program);
        }
        self.kind(&step.kind);
    }

    fn kind(&mut self, kind: &StepKind) {
        match kind {
            StepKind::Task { params, env, .. } => {
                self.template(params);
                self.template(env);
            }
            StepKind::Group => {}
            StepKind::Committee(committee) => {
                committee.vote.iter().for_each(|program| self.program(program));
            }
            StepKind::If { cases, .. } => cases.iter().for_each(|program| self.program(program)),
            StepKind::Foreach { items, .. } => self.program(items),
            StepKind::While { condition, .. } => self.program(condition),
            StepKind::Child { params, .. } => self.template(params),
            StepKind::WaitSignal { name, matches, .. } => {
                self.template(name);
                matches.iter().for_each(|program| self.program(program));
            }
            StepKind::WaitEvent { matches, .. } => {
                matches.iter().for_each(|program| self.program(program));
            }
            StepKind::Approve { request, .. } => self.template(request),
            StepKind::Sleep { until } => self.template(until),
            StepKind::Emit { data, .. } => self.template(data),
        }
    }
}
