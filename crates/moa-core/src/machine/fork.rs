//! Taking over a part of an ended run into a new one: retry, rerun from a step, fork.
//!
//! A terminal run never changes; what is done again is done by a new run of the same version, which
//! takes over every step that does not depend on what is done again.

use std::collections::BTreeMap;

use crate::event::InstIx;
use crate::run::{Seed, StepRow};
use crate::step::{ErrorKind, SkipReason, StepError, StepStatus, WaitReason};
use crate::workflow::{MAIN, StepKind};

use super::owned_bodies;
use super::state::{Run, Scope, ScopeIx, loop_body};

/// Where the new run starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ForkPoint {
    /// At the steps that failed or were cancelled.
    Failed,
    /// At a step, by id or by name with iteration (`lint[2]`).
    Step(String),
    /// At the beginning.
    Start,
}

/// Why a run can't be repeated so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ForkError {
    /// The run goes on.
    #[error("the run has not ended; cancel it first, or wait")]
    NotEnded,
    /// No step has that name.
    #[error("the run has no step {0:?}; moa runs show names them")]
    UnknownStep(String),
    /// Nothing failed.
    #[error("no step of the run failed or was cancelled; use rerun --from STEP")]
    NothingFailed,
}

/// What is known of each instance while the new run is put together.
struct Marks {
    /// Whether it is done again.
    again: Vec<bool>,
    /// Whether it goes on.
    reopened: Vec<bool>,
    /// The scopes that each instance opened.
    opened: BTreeMap<InstIx, Vec<ScopeIx>>,
}

impl Run {
    /// What a new run takes over when it starts at `point`; `None` = nothing.
    pub fn seed(&self, point: &ForkPoint) -> Result<Option<Seed>, ForkError> {
        self.seed_without(point, false)
    }

    /// The same for a run with other params: what people decided was about the params of this one, so
    /// they are asked again.
    pub fn seed_for_other_params(&self, point: &ForkPoint) -> Result<Option<Seed>, ForkError> {
        self.seed_without(point, true)
    }

    fn seed_without(&self, point: &ForkPoint, decided: bool) -> Result<Option<Seed>, ForkError> {
        if !self.row.status.is_terminal() {
            return Err(ForkError::NotEnded);
        }
        let mut targets = match point {
            ForkPoint::Start => return Ok(None),
            ForkPoint::Failed => self.failed_leaves()?,
            ForkPoint::Step(name) => self.named_instances(name)?,
        };
        if decided {
            let all = 0..self.len() as InstIx;
            targets.extend(all.filter(|i| self.is_main(*i) && self.is_decided(*i)));
        }
        let mut marks = Marks {
            again: vec![false; self.len()],
            reopened: vec![false; self.len()],
            opened: self.opened(),
        };
        for inst in targets {
            self.mark_again(inst, &mut marks);
        }
        let steps = self.kept_rows(&marks.again, &marks.reopened);
        Ok(Some(Seed { run: self.row.run, steps }))
    }

    /// The scopes that each instance opened.
    fn opened(&self) -> BTreeMap<InstIx, Vec<ScopeIx>> {
        let mut opened: BTreeMap<InstIx, Vec<ScopeIx>> = BTreeMap::new();
        for (scope, Scope { owner, .. }) in self.scopes.iter().enumerate() {
            if let Some(owner) = owner {
                opened.entry(*owner).or_default().push(scope as ScopeIx);
            }
        }
        opened
    }

    fn failed_leaves(&self) -> Result<Vec<InstIx>, ForkError> {
        let bad_inside = self.bad_inside();
        let bad = self.steps.iter().filter(|i| {
            // A container that can go on is not done again because of what is inside it.
            let inst = i.row.inst;
            self.is_bad(inst)
                && !(self.can_go_on(inst) && bad_inside[inst as usize])
                && self.is_main(inst)
        });
        let found: Vec<_> = bad.map(|i| i.row.inst).collect();
        if found.is_empty() { Err(ForkError::NothingFailed) } else { Ok(found) }
    }

    /// Whether a person has the say in a step.
    fn is_decided(&self, inst: InstIx) -> bool {
        matches!(self.kind(inst), StepKind::Approve { .. } | StepKind::WaitSignal { .. })
    }

    fn is_bad(&self, inst: InstIx) -> bool {
        let row = &self.steps[inst as usize].row;
        let failed = row.status == StepStatus::Failed && !self.graph.step(row.plan).tolerate;
        failed || row.status == StepStatus::Cancelled
    }

    /// For each instance, whether something that stands directly inside it is bad.
    fn bad_inside(&self) -> Vec<bool> {
        let mut inside = vec![false; self.len()];
        for place in self.steps.iter().filter(|i| self.is_bad(i.row.inst)) {
            let parent = self.graph.step(place.row.plan).parent;
            let parent = parent.map(|p| self.sibling(place.row.inst, p));
            for around in parent.into_iter().chain(place.row.owner) {
                inside[around as usize] = true;
            }
        }
        inside
    }

    /// Whether an instance belongs to the main steps, at whatever depth.
    fn is_main(&self, inst: InstIx) -> bool {
        let mut at = inst;
        loop {
            let scope = &self.scopes[self.steps[at as usize].scope as usize];
            match scope.owner {
                None => return scope.body == MAIN,
                Some(owner) if loop_body(self.kind(owner)) != Some(scope.body) => return false,
                Some(owner) => at = owner,
            }
        }
    }

    fn named_instances(&self, name: &str) -> Result<Vec<InstIx>, ForkError> {
        let main = (0..self.len() as InstIx).filter(|i| self.is_main(*i));
        let exact: Vec<_> = main.clone().filter(|i| self.step_name(*i) == name).collect();
        let unknown = || ForkError::UnknownStep(name.to_owned());
        if !exact.is_empty() {
            return Ok(exact);
        }
        let ix = self.graph.named(name).ok_or_else(unknown)?;
        let all: Vec<_> = main.filter(|i| self.steps[*i as usize].row.plan == ix).collect();
        if all.is_empty() { Err(unknown()) } else { Ok(all) }
    }

    /// Marks an instance, all that depends on it, and all inside those; reopens what is around it.
    fn mark_again(&self, inst: InstIx, marks: &mut Marks) {
        let Marks { again, reopened, opened } = marks;
        let mut work = vec![inst];
        while let Some(inst) = work.pop() {
            if again[inst as usize] {
                continue;
            }
            if let Some(around) = self.around(inst).filter(|a| !again[*a as usize]) {
                if !self.can_go_on(around) || self.is_past(inst) {
                    // Its end takes everything inside it along, `inst` too.
                    work.push(around);
                    continue;
                }
                if !self.is_taken(inst, around) {
                    continue;
                }
            }
            again[inst as usize] = true;
            let plan_ix = self.steps[inst as usize].row.plan;
            let down = self.graph.dependents(plan_ix).iter().chain(self.graph.children(plan_ix));
            work.extend(down.map(|s| self.sibling(inst, *s)));
            for scope in opened.get(&inst).into_iter().flatten() {
                let Scope { base, body, .. } = self.scopes[*scope as usize];
                work.extend(base..base + self.graph.body_size(body));
            }
            if let Some(around) = self.around(inst)
                && !again[around as usize]
            {
                self.reopen(around, reopened, &mut work);
            }
        }
    }

    /// The container, the loop or the compensated step that an instance stands in.
    fn around(&self, inst: InstIx) -> Option<InstIx> {
        match self.graph.step(self.steps[inst as usize].row.plan).parent {
            Some(parent) => Some(self.sibling(inst, parent)),
            None => self.scopes[self.steps[inst as usize].scope as usize].owner,
        }
    }

    /// Whether what is inside a container can be done again without the container itself: it has
    /// opened, and what it did itself went well.
    fn can_go_on(&self, inst: InstIx) -> bool {
        let row = &self.steps[inst as usize].row;
        let Some(data) = &row.data else { return false };
        match self.kind(inst) {
            StepKind::Task { .. } => {
                let inside = |e: &StepError| e.kind == ErrorKind::Children;
                data.opened && data.own_done && row.error.as_ref().is_none_or(inside)
            }
            StepKind::Foreach { .. } | StepKind::While { .. } => data.block.is_some(),
            _ => data.opened,
        }
    }

    /// Whether an instance belongs to an iteration of a `while` that others have followed.
    fn is_past(&self, inst: InstIx) -> bool {
        let scope = &self.scopes[self.steps[inst as usize].scope as usize];
        let Some(owner) = scope.owner else { return false };
        let newest = self.data(owner).and_then(|d| d.block).map(|(base, ..)| base);
        matches!(self.kind(owner), StepKind::While { .. }) && newest != Some(scope.base)
    }

    /// Whether an instance stands in the branch that its container took.
    fn is_taken(&self, inst: InstIx, around: InstIx) -> bool {
        let plan = self.graph.step(self.steps[inst as usize].row.plan);
        let branch = self.data(around).and_then(|d| d.branch);
        plan.parent.is_none() || branch.is_none_or(|b| b == plan.branch)
    }

    /// A container goes on: what depends on it is done again, and what is around it goes on too,
    /// or is done again when it can't.
    fn reopen(&self, inst: InstIx, reopened: &mut [bool], work: &mut Vec<InstIx>) {
        let mut at = Some(inst);
        while let Some(inst) = at {
            if !self.can_go_on(inst) || self.is_past(inst) {
                return work.push(inst);
            }
            if std::mem::replace(&mut reopened[inst as usize], true) {
                return;
            }
            let plan_ix = self.steps[inst as usize].row.plan;
            work.extend(self.graph.dependents(plan_ix).iter().map(|s| self.sibling(inst, *s)));
            at = self.around(inst);
        }
    }

    /// The rows taken over, with instances renumbered: scopes that go leave no holes.
    fn kept_rows(&self, again: &[bool], reopened: &[bool]) -> Vec<StepRow> {
        let mut bases: BTreeMap<InstIx, InstIx> = BTreeMap::new();
        let mut next = 0;
        for scope in &self.scopes {
            let owner_kept = scope.owner.is_none_or(|o| !again[o as usize]);
            if owner_kept && self.is_main(scope.base) {
                bases.insert(scope.base, next);
                next += self.graph.body_size(scope.body);
            }
        }
        let renumber = |inst: InstIx| {
            let base = self.scopes[self.steps[inst as usize].scope as usize].base;
            bases.get(&base).map(|new| new + (inst - base))
        };
        let kept = self.steps.iter().filter(|i| !again[i.row.inst as usize]);
        let kept = kept.filter(|i| i.row.status != StepStatus::Pending);
        kept.filter_map(|i| {
            let mut row = i.row.clone();
            row.inst = renumber(row.inst)?;
            row.owner = row.owner.and_then(renumber);
            self.renumber_data(&mut row, &bases);
            if reopened[i.row.inst as usize] {
                reopen_row(&mut row);
            }
            Some(row)
        })
        .collect()
    }

    fn renumber_data(&self, row: &mut StepRow, bases: &BTreeMap<InstIx, InstIx>) {
        let Some(data) = &row.data else { return };
        let mut data = (**data).clone();
        data.compensation = None;
        data.block = data.block.and_then(|(base, from, n)| bases.get(&base).map(|b| (*b, from, n)));
        debug_assert!(data.block.is_none() || owned_bodies(self.graph.step(row.plan))[0].is_some());
        row.data = Some(std::sync::Arc::new(data));
    }
}

fn reopen_row(row: &mut StepRow) {
    row.status = StepStatus::Waiting;
    row.wait = Some(WaitReason::Children);
    row.skip = None::<SkipReason>;
    row.finished_at = None;
    row.error = None;
}
