//! A run in memory: its rows, the scopes that its instances stand in, and counters derived from both.
//!
//! Instances are dense: each opened body takes the next indices. A **scope** is one opening of a body
//! (one iteration of a loop). Counters: `unmet` says how much keeps a pending instance from being
//! considered, `open` how many things inside a container, a loop or a scope are not terminal yet.
//! Invariant: between two inputs a pending instance of a started run has `unmet > 0`.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::event::InstIx;
use crate::limits::ON_FAILURE_TIME_MIN;
use crate::run::{Phase, RunRow, RunStatus, StepData, StepRow};
use crate::step::StepStatus;
use crate::time::Millis;
use crate::workflow::{BodyIx, MAIN, StepIx, StepKind};

use super::graph::{Graph, Place};
use super::index::Index;
use super::{TimerKey, owned_bodies};

/// Index of a scope in its run.
pub(super) type ScopeIx = u32;

/// One run in memory.
#[derive(Debug, Clone)]
pub struct Run {
    /// Its row.
    pub row: RunRow,
    /// Its workflow version.
    pub graph: Arc<Graph>,
    /// Version of the newest commit.
    pub version: u64,
    pub(super) steps: Vec<Inst>,
    pub(super) scopes: Vec<Scope>,
    pub(super) row_dirty: bool,
    pub(super) dirty: Vec<InstIx>,
    /// The latest opening of each body.
    pub(super) latest: Vec<Option<ScopeIx>>,
    /// The iteration below which those of a `foreach` with `max_parallel` may run; none = all. Not
    /// in the rows: derived from them, see [`Run::find_released`].
    pub(super) released: BTreeMap<InstIx, u32>,
    /// Instances ready or running, kept to tell `running` from `waiting`.
    pub(super) busy: u32,
    /// What is looked up by something else than its place.
    pub(super) index: Index,
}

/// One instance of a step.
#[derive(Debug, Clone)]
pub(super) struct Inst {
    pub row: StepRow,
    pub scope: ScopeIx,
    pub unmet: u32,
    pub open: u32,
    pub dirty: bool,
}

/// One opening of a body.
#[derive(Debug, Clone)]
pub(super) struct Scope {
    pub body: BodyIx,
    pub owner: Option<InstIx>,
    pub iteration: u32,
    pub base: InstIx,
    /// Steps without a parent that are not terminal.
    pub open: u32,
}

/// Why rows don't make a run: a damaged store.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the rows of a run contradict its plan: {0}")]
pub struct BrokenRows(pub String);

impl Run {
    /// A run that has its row and nothing else: the main body's steps, all pending.
    pub(super) fn blank(row: RunRow, graph: Arc<Graph>) -> Self {
        let mut run = Self {
            row,
            graph,
            version: 0,
            steps: Vec::new(),
            scopes: Vec::new(),
            row_dirty: true,
            dirty: Vec::new(),
            latest: Vec::new(),
            released: BTreeMap::new(),
            busy: 0,
            index: Index::default(),
        };
        run.open_scope(MAIN, None, 0);
        run
    }

    /// Makes a run of its rows.
    pub fn restore(
        row: RunRow,
        steps: Vec<StepRow>,
        version: u64,
        graph: Arc<Graph>,
    ) -> Result<Self, BrokenRows> {
        let mut run = Self::blank(row, graph);
        run.version = version;
        run.row_dirty = false;
        run.place(steps)?;
        run.recount();
        Ok(run)
    }

    /// Puts rows in their places, opening the scopes that they stand in.
    pub(super) fn place(&mut self, rows: Vec<StepRow>) -> Result<(), BrokenRows> {
        let mut scopes: BTreeMap<InstIx, Scope> = BTreeMap::new();
        let scope = |body, owner, iteration, base| Scope { body, owner, iteration, base, open: 0 };
        scopes.insert(0, scope(MAIN, None, 0, 0));
        for (&body, &base) in &self.row.extra.open_bodies {
            scopes.insert(base, scope(body, None, 0, base));
        }
        for row in &rows {
            let Some(step) = self.graph.steps.get(row.plan as usize) else {
                return Err(BrokenRows(format!("step {} of the plan is not there", row.plan)));
            };
            let offset = row.plan - self.graph.body_start(step.body);
            let Some(base) = row.inst.checked_sub(offset) else {
                return Err(BrokenRows(format!("instance {} stands before its body", row.inst)));
            };
            scopes.entry(base).or_insert(scope(step.body, row.owner, row.iteration, base));
            let [body, compensation] = owned_bodies(step);
            let data = row.data.as_deref();
            if let (Some(body), Some((first, from, count))) = (body, data.and_then(|d| d.block)) {
                let size = self.graph.body_size(body);
                for i in 0..count {
                    let base = first + i * size;
                    scopes.entry(base).or_insert(scope(body, Some(row.inst), from + i, base));
                }
            }
            if let (Some(body), Some(base)) = (compensation, data.and_then(|d| d.compensation)) {
                scopes.entry(base).or_insert(scope(body, Some(row.inst), 0, base));
            }
        }
        self.scopes.clear();
        self.latest.clear();
        self.steps.clear();
        for scope in scopes.into_values() {
            if scope.base as usize != self.steps.len() {
                return Err(BrokenRows(format!("no step stands at instance {}", self.steps.len())));
            }
            self.open_scope(scope.body, scope.owner, scope.iteration);
        }
        for row in rows {
            let inst = row.inst as usize;
            match self.steps.get_mut(inst) {
                Some(place) if place.row.plan == row.plan => place.row = row,
                _ => return Err(BrokenRows(format!("instance {inst} has no place"))),
            }
        }
        Ok(())
    }

    /// Appends the instances of one opening of `body`; answers the first.
    pub(super) fn open_scope(
        &mut self,
        body: BodyIx,
        owner: Option<InstIx>,
        iteration: u32,
    ) -> InstIx {
        let base = self.steps.len() as InstIx;
        let scope = self.scopes.len() as ScopeIx;
        let start = self.graph.body_start(body);
        let count = self.graph.body_size(body);
        self.scopes.push(Scope { body, owner, iteration, base, open: 0 });
        self.latest.resize(self.graph.bodies.len(), None);
        self.latest[usize::from(body)] = Some(scope);
        self.steps.reserve(count as usize);
        for offset in 0..count {
            let row = StepRow {
                inst: base + offset,
                plan: start + offset,
                owner,
                iteration,
                status: StepStatus::Pending,
                wait: None,
                skip: None,
                attempt: 0,
                released: 0,
                node: None,
                queue_key: None,
                agent: None,
                fairness_key: None,
                ready_at: None,
                started_at: None,
                finished_at: None,
                until: None,
                output: None,
                error: None,
                data: None,
            };
            self.steps.push(Inst { row, scope, unmet: 0, open: 0, dirty: false });
        }
        base
    }

    /// Computes every counter from the rows, and the index.
    pub(super) fn recount(&mut self) {
        self.index = Index::of(self);
        self.busy = 0;
        self.find_released();
        for scope in 0..self.scopes.len() {
            self.count_scope(scope as ScopeIx);
        }
        for scope in 0..self.scopes.len() {
            let Scope { owner, open, body, .. } = self.scopes[scope];
            let Some(owner) = owner.filter(|_| open > 0) else { continue };
            if loop_body(self.kind(owner)) == Some(body) {
                self.steps[owner as usize].open += 1;
            }
        }
    }

    /// Says of each `foreach` with `max_parallel` which iterations may run: so many of those that
    /// are not over, from the first on. The machine releases one when one ends, so that is what the
    /// loop had released when its rows were written.
    fn find_released(&mut self) {
        self.released.clear();
        for (inst, place) in self.steps.iter().enumerate() {
            let inst = inst as InstIx;
            let StepKind::Foreach { max_parallel: Some(max), .. } = self.kind(inst) else {
                continue;
            };
            let Some((base, _, count)) = self.data(inst).and_then(|d| d.block) else { continue };
            if place.row.status.is_terminal() {
                continue;
            }
            let first = self.steps[base as usize].scope;
            let mut open = (0..count).filter(|n| self.is_scope_open(first + n));
            if let Some(last) = open.nth((*max).max(1) as usize - 1) {
                self.released.insert(inst, last + 1);
            }
        }
    }

    /// Whether a step of a scope has not ended.
    fn is_scope_open(&self, scope: ScopeIx) -> bool {
        let Scope { base, body, .. } = self.scopes[scope as usize];
        (base..base + self.graph.body_size(body)).any(|i| !self.status(i).is_terminal())
    }

    /// Computes the counters of one scope's instances, and its own.
    pub(super) fn count_scope(&mut self, scope: ScopeIx) {
        let Scope { base, body, .. } = self.scopes[scope as usize];
        let count = self.graph.body_size(body);
        let gated = u32::from(!self.is_released(scope));
        let mut top = 0;
        for inst in base..base + count {
            let plan = self.graph.step(self.steps[inst as usize].row.plan);
            let parent = plan.parent.map(|p| self.sibling(inst, p));
            let closed = match parent {
                Some(parent) if !self.is_opened(parent) => 1,
                _ => gated,
            };
            let needs = plan.needs.iter().map(|n| self.sibling(inst, n.step));
            let unmet = needs.filter(|n| !self.status(*n).is_terminal()).count() as u32;
            let status = self.status(inst);
            self.busy += u32::from(matches!(status, StepStatus::Ready | StepStatus::Running));
            let place = &mut self.steps[inst as usize];
            place.unmet = unmet + closed;
            place.open = 0;
            if !status.is_terminal() {
                match parent {
                    Some(parent) => self.steps[parent as usize].open += 1,
                    None => top += 1,
                }
            }
        }
        self.scopes[scope as usize].open = top;
    }

    /// The instance of plan step `ix` in the same scope as `inst`.
    pub(super) fn sibling(&self, inst: InstIx, ix: StepIx) -> InstIx {
        let scope = &self.scopes[self.steps[inst as usize].scope as usize];
        scope.base + (ix - self.graph.body_start(scope.body))
    }

    pub(super) fn status(&self, inst: InstIx) -> StepStatus {
        self.steps[inst as usize].row.status
    }

    pub(super) fn kind(&self, inst: InstIx) -> &StepKind {
        &self.graph.step(self.steps[inst as usize].row.plan).kind
    }

    pub(super) fn data(&self, inst: InstIx) -> Option<&StepData> {
        self.steps[inst as usize].row.data.as_deref()
    }

    pub(super) fn is_opened(&self, inst: InstIx) -> bool {
        self.data(inst).is_some_and(|d| d.opened)
    }

    /// Whether the iteration that a scope is may run: its own turn has come, and that of each around
    /// it. A fork has loops inside iterations whose turn has not come.
    pub(super) fn is_released(&self, scope: ScopeIx) -> bool {
        let mut at = scope;
        loop {
            let Scope { owner, iteration, body, .. } = self.scopes[at as usize];
            let Some(owner) = owner else { return true };
            if loop_body(self.kind(owner)) != Some(body) {
                return true;
            }
            if self.released.get(&owner).is_some_and(|upto| iteration >= *upto) {
                return false;
            }
            at = self.steps[owner as usize].scope;
        }
    }

    /// Whether the run is on its way out, so that nothing new begins and what runs is to stop.
    pub(super) fn is_cancelling(&self) -> bool {
        match self.row.phase {
            Phase::Main => self.row.extra.cancel.is_some(),
            Phase::OnFailure => self.row.extra.is_cancelled(),
            _ => false,
        }
    }

    /// Number of instances.
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    /// Whether it has no instances at all.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// The row of an instance.
    pub fn step(&self, inst: InstIx) -> Option<&StepRow> {
        self.steps.get(inst as usize).map(|i| &i.row)
    }

    /// The rows of all instances, pending ones too.
    pub fn steps(&self) -> impl Iterator<Item = &StepRow> {
        self.steps.iter().map(|i| &i.row)
    }

    /// The status as people see it: derived, so that it never contradicts the steps.
    pub fn status_now(&self) -> RunStatus {
        let status = self.row.status;
        if status.is_terminal() || status == RunStatus::Pending {
            status
        } else if self.row.extra.paused {
            RunStatus::Paused
        } else if self.busy > 0 {
            RunStatus::Running
        } else {
            RunStatus::Waiting
        }
    }

    /// When a timer is due, by the state itself; `None` = it is not armed. A store may bring one that
    /// was moved or disarmed meanwhile.
    pub fn timer_due(&self, timer: TimerKey) -> Option<Millis> {
        let row = &self.row;
        match timer {
            TimerKey::Step { step } => self.step(step)?.until,
            TimerKey::Queue { step } => {
                let step = self.step(step)?;
                let limit = self.graph.step(step.plan).queue_timeout?;
                let waits = step.status == StepStatus::Ready && step.attempt == 0;
                let since = step.ready_at.max(row.extra.resumed_at)?;
                (waits && !row.extra.paused).then(|| since.after(limit))
            }
            TimerKey::Run => {
                let limit = self.graph.timeout?;
                match row.phase {
                    Phase::Main | Phase::Compensate if row.extra.cancel.is_some() => None,
                    Phase::Main | Phase::Compensate => Some(row.started_at?.after(limit)),
                    Phase::OnFailure if row.extra.is_cancelled() => None,
                    Phase::OnFailure => {
                        Some(self.handling_since()?.after(limit.max(ON_FAILURE_TIME_MIN)))
                    }
                    _ => None,
                }
            }
        }
    }

    /// When `on_failure` began. A run of an older moa doesn't say so: then it is when the last of the
    /// steps before it ended.
    fn handling_since(&self) -> Option<Millis> {
        let row = &self.row;
        let first = || row.extra.open_bodies.get(&self.graph.on_failure?).copied();
        let before = || self.steps.iter().take(first().map_or(0, |first| first as usize));
        let ended = || before().filter_map(|step| step.row.finished_at).max();
        row.extra.handling_since.or_else(ended).or(row.started_at)
    }

    /// Where an instance stands in its loops, outermost first: `""`, `"3"`, `"3.0"`.
    pub fn iteration_path(&self, inst: InstIx) -> String {
        self.graph.iteration_path(inst, |inst| self.place_of(inst)).unwrap_or_default()
    }

    /// Where an instance stands; `None` = there is none of this number.
    fn place_of(&self, inst: InstIx) -> Option<Place> {
        let of = self.steps.get(inst as usize)?;
        let scope = self.scopes.get(of.scope as usize)?;
        Some(Place { plan: of.row.plan, owner: scope.owner, iteration: scope.iteration })
    }

    /// The step instance that an instance stands in: the container of its branch, or the loop whose
    /// body it is part of. What undoes a step stands where that step does.
    pub fn container(&self, inst: InstIx) -> Option<InstIx> {
        let mut at = inst;
        loop {
            let place = self.steps.get(at as usize)?;
            if let Some(parent) = self.graph.step(place.row.plan).parent {
                return Some(self.sibling(at, parent));
            }
            let scope = &self.scopes[place.scope as usize];
            let owner = scope.owner?;
            if loop_body(self.kind(owner)) == Some(scope.body) {
                return Some(owner);
            }
            at = owner;
        }
    }

    /// How people name an instance: `lint`, or `lint[2]` inside a loop.
    pub fn step_name(&self, inst: InstIx) -> String {
        self.graph.step_name(inst, |inst| self.place_of(inst)).unwrap_or_default()
    }

    /// The agent whose action an instance is; `None` = it is not an agent's.
    pub fn agent(&self, inst: InstIx) -> Option<&crate::ids::Name> {
        self.graph.agent(self.steps[inst as usize].row.plan)
    }

    /// The rows written since the last call, and the run's row if it changed.
    pub fn take_dirty(&mut self) -> (Option<Box<RunRow>>, Vec<StepRow>) {
        let status = self.status_now();
        if status != self.row.status {
            self.row.status = status;
            self.row_dirty = true;
        }
        let row = std::mem::take(&mut self.row_dirty).then(|| Box::new(self.row.clone()));
        let dirty = std::mem::take(&mut self.dirty);
        let mut steps = Vec::with_capacity(dirty.len());
        for inst in dirty {
            let place = &mut self.steps[inst as usize];
            place.dirty = false;
            steps.push(place.row.clone());
        }
        (row, steps)
    }
}

/// The body that a loop repeats.
pub(super) fn loop_body(kind: &StepKind) -> Option<BodyIx> {
    match kind {
        StepKind::Foreach { body, .. } | StepKind::While { body, .. } => Some(*body),
        _ => None,
    }
}
