//! The steps of a workflow as they stand in each other.

use moa_core::workflow::{BodyIx, MAIN, Plan, PlanStep, StepIx, StepKind};

/// One line of an outline.
pub enum Line<'a> {
    /// A part that isn't the main one begins: `on_failure` or `finally`.
    Part(&'static str),
    /// A step.
    Step {
        /// What it stands in, so many of them.
        depth: usize,
        /// It.
        step: &'a PlanStep,
    },
}

/// All steps, each below what it stands in.
pub fn outline(plan: &Plan) -> Vec<Line<'_>> {
    let mut lines = Vec::new();
    body(plan, MAIN, 0, &mut lines);
    for (title, of) in [("on_failure", plan.on_failure), ("finally", plan.finally)] {
        if let Some(of) = of {
            lines.push(Line::Part(title));
            body(plan, of, 0, &mut lines);
        }
    }
    lines
}

fn body<'a>(plan: &'a Plan, of: BodyIx, outer: usize, lines: &mut Vec<Line<'a>>) {
    for (ix, step) in plan.body_steps(of) {
        let depth = outer + containers(plan, ix);
        lines.push(Line::Step { depth, step });
        if let StepKind::Foreach { body: of, .. } | StepKind::While { body: of, .. } = &step.kind {
            body(plan, *of, depth + 1, lines);
        }
    }
}

/// How many containers of the same body a step stands in.
fn containers(plan: &Plan, ix: StepIx) -> usize {
    std::iter::successors(plan.step(ix).parent, |parent| plan.step(*parent).parent).count()
}

/// What a step needs, for people; empty when that is nothing.
pub fn needs(plan: &Plan, step: &PlanStep) -> String {
    let needs: Vec<&str> = step.needs.iter().map(|n| plan.step(n.step).id.as_str()).collect();
    if needs.is_empty() { String::new() } else { format!("  after {}", needs.join(", ")) }
}
