//! Flattening: nested lists of steps become items in bodies.

use super::{Flat, Form, Item, Opener, kind};
use crate::codes;
use crate::model::{Mode, Step, WorkflowFile};
use crate::read::Cx;
use moa_core::ids::StepId;

struct Collector<'f, 'a, 'c> {
    items: Vec<Item<'f>>,
    bodies: Vec<Opener>,
    sequence: bool,
    cx: &'a mut Cx<'c>,
}

/// Where a list of steps hangs.
#[derive(Clone, Copy)]
struct Spot {
    body: usize,
    parent: Option<usize>,
    branch: u16,
    /// Whether each step waits for the one before it.
    chained: bool,
}

/// Flattens the file.
pub(super) fn collect<'f>(file: &'f WorkflowFile, cx: &mut Cx) -> Flat<'f> {
    let sequence = file.mode.as_ref().is_none_or(|m| m.value == Mode::Sequence);
    let mut all = Collector { items: Vec::new(), bodies: Vec::new(), sequence, cx };
    all.body(&file.steps, Opener::Main);
    if let Some(handling) = &file.error_handling {
        if let Some(steps) = &handling.on_failure {
            all.body(steps, Opener::OnFailure);
        }
        if let Some(steps) = &handling.finally {
            all.body(steps, Opener::Finally);
        }
    }
    Flat { file, items: all.items, bodies: all.bodies }
}

impl<'f> Collector<'f, '_, '_> {
    fn body(&mut self, steps: &'f [Step], opener: Opener) {
        self.bodies.push(opener);
        let body = self.bodies.len() - 1;
        self.list(steps, Spot { body, parent: None, branch: 0, chained: self.sequence });
    }

    fn list(&mut self, steps: &'f [Step], spot: Spot) {
        let mut previous = None;
        for step in steps {
            let ix = self.items.len();
            let form = kind::form(step, self.cx);
            self.items.push(Item {
                step,
                form,
                body: spot.body,
                parent: spot.parent,
                branch: spot.branch,
                previous: if spot.chained { previous } else { None },
                // Invariant: replaced by `ids::assign` before anybody looks.
                id: StepId::new("_").expect("an underscore is an identifier"),
                opens: None,
                undo: None,
                needs: Vec::new(),
            });
            previous = Some(ix);
            self.children(step, form, ix, spot.body);
            self.undo(step, ix);
        }
    }

    fn children(&mut self, step: &'f Step, form: Form<'f>, ix: usize, body: usize) {
        let chained = self.sequence;
        let spot = |branch, chained| Spot { body, parent: Some(ix), branch, chained };
        match form {
            Form::Agent | Form::Short(_) | Form::Group => {
                if let Some(branches) = &step.parallel {
                    self.list(branches, spot(0, false));
                } else if let (Form::Group, Some(steps)) = (form, &step.steps) {
                    self.list(steps, spot(0, chained));
                }
            }
            Form::If => {
                for (branch, steps) in [(0, &step.then), (1, &step.r#else)] {
                    let Some(steps) = steps else { continue };
                    self.list(steps, spot(branch, chained));
                }
            }
            Form::Switch => {
                for (branch, case) in step.switch.iter().flat_map(|s| s.iter()).enumerate() {
                    let branch = u16::try_from(branch).unwrap_or(u16::MAX);
                    if let Some(steps) = case.then.as_ref().or(case.default.as_ref()) {
                        self.list(steps, spot(branch, chained));
                    }
                }
            }
            Form::Committee => {
                let members = step.committee.iter().flat_map(|c| c.members.iter());
                for (branch, member) in members.enumerate() {
                    let branch = u16::try_from(branch).unwrap_or(u16::MAX);
                    self.list(std::slice::from_ref(member), spot(branch, false));
                }
            }
            Form::Foreach | Form::While(_) => {
                if let Some(steps) = &step.steps {
                    self.items[ix].opens = Some(self.bodies.len());
                    self.body(steps, Opener::Loop(ix));
                }
            }
            _ => {}
        }
    }

    fn undo(&mut self, step: &'f Step, ix: usize) {
        let Some(undo) = &step.compensate else { return };
        let Some(span) = step.place.key("compensate") else { return };
        let body = self.items[ix].body;
        if matches!(self.bodies[body], Opener::OnFailure | Opener::Finally | Opener::Undo(_)) {
            let message = "a step that runs after the failure can't be undone itself".into();
            let d = self.cx.error(codes::MISFIT, span, message);
            d.cause("`compensate` is run in reverse order for steps that succeeded before it");
        } else if undo.0.is_empty() {
            let message = "`compensate` has no steps".into();
            self.cx.error(codes::WRONG_VALUE, span, message);
        } else {
            self.items[ix].undo = Some(self.bodies.len());
            self.body(&undo.0, Opener::Undo(ix));
        }
    }
}
