//! Workflow files: text to checked model to plan.

use std::collections::BTreeSet;
use std::sync::Arc;

use moa_core::ids::Name;
use moa_core::workflow::{ParamSpec, Plan};

use crate::calls::certain_calls;
use crate::diagnostic::Diagnostic;
use crate::lower::{self, Triggers};
use crate::model::WorkflowFile;
use crate::read::{Cx, Field};
use crate::source::Source;
use crate::tests_section::{self, WorkflowTest};
use crate::yaml;
use crate::{Project, check};

/// A workflow file that was read and checked. It has a plan, so it has no errors.
#[derive(Debug, Clone)]
pub struct Workflow {
    /// Its id: the stem of its file.
    pub id: Name,
    /// The file, key by key.
    pub file: WorkflowFile,
    /// Its tests.
    pub tests: Vec<WorkflowTest>,
    /// What starts its runs.
    pub triggers: Triggers,
    pub(crate) plan: Plan,
    pub(crate) source: Arc<Source>,
}

impl Workflow {
    /// What others have to know of it.
    pub fn summary(&self) -> WorkflowSummary {
        WorkflowSummary {
            params: self.plan.params.clone(),
            version: self.plan.version.clone(),
            upstream: self.triggers.upstream(),
            calls: certain_calls(&self.file)
                .into_iter()
                .filter_map(|called| Name::new(&called.value).ok())
                .collect(),
        }
    }
}

/// What a workflow that calls another has to know of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct WorkflowSummary {
    /// Declared params; empty = any.
    pub params: Vec<ParamSpec>,
    /// The author's version label.
    pub version: Option<String>,
    /// The workflows whose runs start or hold up its runs.
    pub upstream: BTreeSet<Name>,
    /// The workflows that each of its runs calls, whatever happens in it.
    pub calls: BTreeSet<Name>,
}

/// Reads a workflow file and reports all its mistakes, ordered by place.
///
/// The workflow is given when none of them is an error; warnings stand beside it.
pub fn parse_workflow(source: &Source, id: &Name) -> (Option<Workflow>, Vec<Diagnostic>) {
    read(source, id, None)
}

/// Reads a workflow file and checks it against the project as well: what [`parse_workflow`] and
/// [`check_workflow`](crate::check_workflow) find, all at once, even when the file has errors.
pub fn validate_workflow(
    source: &Source,
    id: &Name,
    project: &Project,
) -> (Option<Workflow>, Vec<Diagnostic>) {
    read(source, id, Some(project))
}

fn read(
    source: &Source,
    id: &Name,
    project: Option<&Project>,
) -> (Option<Workflow>, Vec<Diagnostic>) {
    let mut cx = Cx::new(source);
    let workflow = read_into(id, project, &mut cx);
    let failed = cx.failed();
    (workflow.filter(|_| !failed), cx.finish())
}

/// Reads a workflow file; what is found in it, is in `cx`.
pub(crate) fn read_into(id: &Name, project: Option<&Project>, cx: &mut Cx) -> Option<Workflow> {
    let root = yaml::parse(cx)?;
    let file = WorkflowFile::read(&root, cx)?;
    let plan = lower::lower(&file, id, project, cx);
    if let Some(project) = project {
        check::check_file(&file, id, project, cx);
    }
    let specs = plan.as_ref().map(|plan| plan.params.as_slice()).unwrap_or_default();
    let triggers = lower::triggers(&file, id, specs, cx);
    let plan = plan?;
    let tests = tests_section::tests(&file, &plan, cx);
    let source = Arc::new(cx.source().clone());
    Some(Workflow { id: id.clone(), file, tests, triggers, plan, source })
}

/// The plan of a checked workflow: what the run machine executes. Its hash is over what it does,
/// the same whatever the file's formatting and comments.
pub fn compile(workflow: &Workflow) -> Plan {
    workflow.plan.clone()
}
