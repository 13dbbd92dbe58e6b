//! From the file model to the plan: ids, dependencies, order, names, and everything that keys mean
//! together.
//!
//! Stages, each keeping on after mistakes: [`collect`] flattens the nested lists to items and tells
//! what each does; [`ids`] names them; [`order`] resolves dependencies, finds cycles and sorts;
//! [`names`] checks what expressions refer to, and by [`declared`] whether they can succeed; [`build`] makes the plan.

use std::ops::Range;

use moa_core::ids::{Name, StepId};
use moa_core::limits::PLAN_STEPS_MAX;
use moa_core::workflow::{NeedStatus, Plan, StepIx};

use crate::check::Project;
use crate::codes;
use crate::model::{Step, WorkflowFile};
use crate::read::Cx;

mod build;
mod collect;
mod committee;
mod declared;
mod header;
mod hook;
mod ids;
mod kind;
mod limit;
mod names;
mod on;
mod order;
mod schedule;

pub(crate) use build::env_entry;
pub(crate) use header::{check_schema, retry_policy};
pub use hook::{Hook, Signature};
use ids::RESERVED;
pub(crate) use limit::agent_limits;
pub use on::Triggers;
pub(crate) use on::{default_guard, rule, triggers, upstream_of};
pub use schedule::Schedules;
use schedule::schedules;

/// One step of the file, flattened. Items stand in the order of the file, parents before children.
pub(crate) struct Item<'f> {
    pub(crate) step: &'f Step,
    pub(crate) form: Form<'f>,
    pub(crate) body: usize,
    pub(crate) parent: Option<usize>,
    pub(crate) branch: u16,
    /// The step before it in its list, when it waits for that unless told otherwise.
    pub(crate) previous: Option<usize>,
    pub(crate) id: StepId,
    /// The body that it opens, if it is a loop.
    pub(crate) opens: Option<usize>,
    /// The body that undoes it.
    pub(crate) undo: Option<usize>,
    pub(crate) needs: Vec<Need>,
}

impl Item<'_> {
    /// Where to point at when the step as a whole is meant.
    pub(crate) fn span(&self) -> Range<usize> {
        match (&self.step.id, self.step.place.keys.first()) {
            (Some(id), _) => id.span.clone(),
            (None, Some((_, span))) => span.clone(),
            (None, None) => self.step.place.span.clone(),
        }
    }
}

/// A dependency of an item.
pub(crate) struct Need {
    pub(crate) item: usize,
    pub(crate) when: Vec<NeedStatus>,
    /// Where `depends_on` names it; `None` = because it stands before.
    pub(crate) span: Option<Range<usize>>,
}

/// What a step does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form<'f> {
    /// An agent's action, written out.
    Agent,
    /// An agent's action by its short form: the key.
    Short(&'f str),
    /// `parallel:` or `steps:` without an action.
    Group,
    If,
    Switch,
    Foreach,
    /// `while` (false) or `until` (true).
    While(bool),
    Child,
    WaitFor,
    Sleep,
    Emit,
    Approve,
    /// Steps that vote.
    Committee,
    /// A mistake that was reported.
    Broken,
}

/// Who opens a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opener {
    Main,
    OnFailure,
    Finally,
    Loop(usize),
    Undo(usize),
}

/// The flattened file.
pub(crate) struct Flat<'f> {
    pub(crate) file: &'f WorkflowFile,
    pub(crate) items: Vec<Item<'f>>,
    pub(crate) bodies: Vec<Opener>,
}

/// Lowers a file. When `cx` has errors afterwards, the plan serves only to check further.
/// What a project declares, expressions are checked against.
pub(crate) fn lower(
    file: &WorkflowFile,
    id: &Name,
    project: Option<&Project>,
    cx: &mut Cx,
) -> Option<Plan> {
    let mut flat = collect::collect(file, cx);
    if flat.items.len() > PLAN_STEPS_MAX {
        let span = flat.items[PLAN_STEPS_MAX].span();
        let message = format!("more than {PLAN_STEPS_MAX} steps");
        let d = cx.error(codes::TOO_MANY_STEPS, span, message);
        d.help("use `foreach`, or split the workflow and call the parts with `workflow:`");
        return None;
    }
    ids::assign(&mut flat, cx);
    let order = order::order(&mut flat, cx);
    let header = header::header(file, cx);
    names::check(&flat, &header, project, cx);
    let plan = build::build(&flat, &order, header, id, cx);
    Some(plan)
}

/// Step indices by item.
pub(crate) type Order = Vec<StepIx>;
