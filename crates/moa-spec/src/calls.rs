//! Workflows that every run of a workflow calls, whatever happens in it.

use crate::model::{Step, WorkflowFile};
use crate::read::At;
use crate::scalar::Short;

/// The calls without which no run of the workflow succeeds: those behind no condition, in no loop and
/// in no list of steps that may not be reached, and whose failure nothing tolerates. A call of a
/// certain version is none, for that may be another text.
pub(crate) fn certain_calls(file: &WorkflowFile) -> Vec<&At<String>> {
    let mut found = Vec::new();
    let mut lists: Vec<&[Step]> = vec![&file.steps];
    while let Some(steps) = lists.pop() {
        for step in steps.iter().filter(|step| is_certain(step)) {
            found.extend(step.workflow.as_ref().filter(|called| !called.value.contains('@')));
            lists.extend(step.parallel.as_deref());
            lists.extend(step.steps.as_deref());
        }
    }
    found.sort_by_key(|called| called.span.start);
    found
}

/// Whether a step and the steps inside it are done in every run that succeeds.
fn is_certain(step: &Step) -> bool {
    let always = |word: &str| matches!(word, "success" | "always");
    let conditional = step.condition.is_some()
        || step.run_if.as_ref().is_some_and(|e| !always(e.program.source()))
        || step.foreach.is_some()
        || step.r#while.is_some()
        || step.until.is_some()
        || step.switch.is_some()
        || step.committee.is_some();
    let tolerated = step.r#continue.as_ref().is_some_and(|c| c.value);
    let needs = step.depends_on.iter().flat_map(|needs| &needs.0);
    let picky =
        needs.into_iter().any(|need| matches!(need, Short::Long(long) if long.when.is_some()));
    !conditional && !tolerated && !picky
}
