//! The picture of one run, made from its events alone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use moa_core::event::{Event, InstIx};
use moa_core::ids::RunId;
use moa_core::machine::{Graph, Run};
use moa_core::run::{ParentRef, Phase, RunRow, RunStatus};
use moa_core::step::StepStatus;
use moa_core::time::Millis;
use moa_core::workflow::{BodyIx, Priority, StepIx, StepKind};

use super::step::Step;

/// What the events say of one run.
#[derive(Debug)]
pub struct Shadow {
    /// Its workflow version.
    pub graph: Arc<Graph>,
    /// The step that started it.
    pub parent: Option<ParentRef>,
    /// Its concurrency key.
    pub key: Option<String>,
    /// Whose tasks its tasks are, when its workflow asks for that.
    pub tenant: Option<String>,
    /// The priority of its tasks.
    pub priority: Priority,
    /// Every commit: its instant and events.
    pub history: Vec<(Millis, Vec<Event>)>,
    /// Its status after each commit.
    pub statuses: Vec<RunStatus>,
    /// What its row says.
    pub row_status: RunStatus,
    /// Its instances.
    pub steps: Vec<Step>,
    /// Whether its steps may run.
    pub started: bool,
    /// Whether it is paused.
    pub paused: bool,
    /// Pauses so far.
    pub pauses: u32,
    /// Resumptions so far.
    pub resumes: u32,
    /// When it was resumed last.
    pub resumed_at: Millis,
    /// Whether somebody asked it to end, or its time was over.
    pub cancelled: bool,
    /// Whether its time was over.
    pub timed_out: bool,
    /// Whether it was asked to end when it had failed: nothing handles that any more.
    pub unhandled: bool,
    /// Part of its plan.
    pub phase: Phase,
    /// How it ended.
    pub ended: Option<RunStatus>,
    /// Keys of the signals received.
    pub signals: BTreeSet<String>,
    /// Emissions taken, with the number of the event that first did.
    pub taken: BTreeMap<String, u64>,
    /// Children that must end because it was terminated.
    pub doomed: BTreeSet<RunId>,
    /// Events so far.
    pub count: u64,
}

impl Shadow {
    /// The run that its first event describes.
    pub fn born(at: Millis, event: &Event, graph: Arc<Graph>) -> Result<Self, String> {
        let Event::RunCreated(created) = event else {
            return Err("a history that does not start with the run's creation".into());
        };
        let once = std::slice::from_ref(event);
        let run = Run::fold([(at, once)], graph.clone()).map_err(|e| e.to_string())?;
        let steps = run.steps().map(|row| {
            let body = graph.step(row.plan).body;
            let base = row.inst - (row.plan - graph.bodies[usize::from(body)].start);
            Step::seeded(row, base)
        });
        let mut shadow = Self {
            parent: created.parent,
            key: created.concurrency_key.clone(),
            tenant: created.params["k"].as_str().map(str::to_owned),
            priority: created.priority,
            history: Vec::new(),
            statuses: Vec::new(),
            row_status: RunStatus::Pending,
            steps: steps.collect(),
            started: false,
            paused: false,
            pauses: 0,
            resumes: 0,
            resumed_at: Millis(0),
            cancelled: false,
            timed_out: false,
            unhandled: false,
            phase: Phase::Main,
            ended: None,
            signals: BTreeSet::new(),
            taken: BTreeMap::new(),
            doomed: BTreeSet::new(),
            count: 0,
            graph,
        };
        shadow.release_taken_over();
        Ok(shadow)
    }

    /// Of the iterations that a fork left to do, as many may run at once as at a loop's start.
    fn release_taken_over(&mut self) {
        for inst in 0..self.steps.len() as InstIx {
            let step = &self.steps[inst as usize];
            let StepKind::Foreach { max_parallel: Some(max), .. } = self.graph.step(step.plan).kind
            else {
                continue;
            };
            let inside = |i: &&Step| i.owner == Some(inst) && !i.status.is_terminal();
            let open: BTreeSet<u32> =
                self.steps.iter().filter(inside).map(|i| i.iteration).collect();
            let last = open.iter().nth(max.max(1) as usize - 1);
            self.steps[inst as usize].upto = last.map(|n| n + 1);
        }
    }

    /// The row that a commit wrote, if it wrote one; then its status counts as that version's.
    pub fn keep_row(&mut self, row: Option<&RunRow>) {
        if let Some(row) = row {
            self.row_status = row.status;
        }
        self.statuses.push(self.row_status);
    }

    /// The status that follows from the steps.
    pub fn status(&self) -> RunStatus {
        let busy = |s: &Step| matches!(s.status, StepStatus::Ready | StepStatus::Running);
        match self.ended {
            Some(status) => status,
            None if !self.started => RunStatus::Pending,
            None if self.paused => RunStatus::Paused,
            None if self.steps.iter().any(busy) => RunStatus::Running,
            None => RunStatus::Waiting,
        }
    }

    /// Whether nothing new may begin.
    pub fn is_cancelling(&self) -> bool {
        match self.phase {
            Phase::Main => self.cancelled,
            Phase::OnFailure => self.handles_nothing(),
            _ => false,
        }
    }

    /// Whether it was cancelled, so that `on_failure` does not come, or stops. That the time of a run
    /// was over is a failure, until somebody or the time of `on_failure` ends that too.
    pub fn handles_nothing(&self) -> bool {
        self.cancelled && (!self.timed_out || self.unhandled)
    }

    /// The instance of a plan step in the same opening of the body.
    pub fn sibling(&self, inst: InstIx, plan: StepIx) -> InstIx {
        let step = &self.steps[inst as usize];
        let start = self.graph.bodies[usize::from(self.graph.step(step.plan).body)].start;
        step.base + (plan - start)
    }

    /// The container around an instance, in the same body.
    pub fn container(&self, inst: InstIx) -> Option<InstIx> {
        let parent = self.graph.step(self.steps[inst as usize].plan).parent?;
        Some(self.sibling(inst, parent))
    }

    /// The body that a loop repeats.
    pub fn loop_body(&self, inst: InstIx) -> Option<BodyIx> {
        match self.graph.step(self.steps[inst as usize].plan).kind {
            StepKind::Foreach { body, .. } | StepKind::While { body, .. } => Some(body),
            _ => None,
        }
    }

    /// The loop that an instance is an iteration of, if its body is one's.
    pub fn loop_around(&self, inst: InstIx) -> Option<InstIx> {
        let step = &self.steps[inst as usize];
        let body = self.graph.step(step.plan).body;
        step.owner.filter(|owner| self.loop_body(*owner) == Some(body))
    }

    /// Whether what stands around an instance lets it begin.
    pub fn is_open(&self, inst: InstIx) -> bool {
        let step = &self.steps[inst as usize];
        if let Some(container) = self.container(inst) {
            let container = &self.steps[container as usize];
            let branch = self.graph.step(step.plan).branch;
            if !container.opened || container.branch.is_some_and(|b| b != branch) {
                return false;
            }
        }
        let mut at = inst;
        while let Some(owner) = self.loop_around(at) {
            let iteration = self.steps[at as usize].iteration;
            if self.steps[owner as usize].upto.is_some_and(|upto| iteration >= upto) {
                return false;
            }
            at = owner;
        }
        true
    }

    /// Whether everything that an instance needs has ended.
    pub fn needs_ended(&self, inst: InstIx) -> bool {
        let plan = self.graph.step(self.steps[inst as usize].plan);
        let ended = |step| self.steps[self.sibling(inst, step) as usize].status.is_terminal();
        plan.needs.iter().all(|need| ended(need.step))
    }

    /// Whether something inside a container or a loop has not ended.
    pub fn has_open_inside(&self, inst: InstIx) -> bool {
        let body = self.loop_body(inst);
        let inside = |i: InstIx, s: &Step| {
            let owned = s.owner == Some(inst) && body == Some(self.graph.step(s.plan).body);
            owned || self.container(i) == Some(inst)
        };
        let mut steps = self.steps.iter().enumerate();
        steps.any(|(i, s)| !s.status.is_terminal() && inside(i as InstIx, s))
    }

    /// How people name an instance, for messages.
    pub fn name(&self, inst: InstIx) -> String {
        match self.steps.get(inst as usize) {
            Some(step) => format!("{}#{inst}", self.graph.step(step.plan).id),
            None => format!("#{inst}"),
        }
    }
}
