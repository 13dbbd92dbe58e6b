//! The picture of one step instance.

use moa_core::event::InstIx;
use moa_core::ids::NodeId;
use moa_core::run::StepRow;
use moa_core::step::{SkipReason, StepStatus, WaitReason};
use moa_core::time::Millis;
use moa_core::workflow::StepIx;

/// What the events say of one step instance.
#[derive(Debug, Clone)]
pub struct Step {
    /// Its step in the plan.
    pub plan: StepIx,
    /// First instance of the opening of the body that it stands in.
    pub base: InstIx,
    /// What opened that body.
    pub owner: Option<InstIx>,
    /// The iteration, from 0.
    pub iteration: u32,
    /// Status.
    pub status: StepStatus,
    /// What it waits for.
    pub wait: Option<WaitReason>,
    /// Until when.
    pub until: Option<Millis>,
    /// Whether that time has passed without an end.
    pub lapsed: bool,
    /// The signal that it waits for.
    pub signal: Option<String>,
    /// Why it was skipped.
    pub skip: Option<SkipReason>,
    /// Attempts so far.
    pub attempt: u32,
    /// The last attempt that has said what it has spent.
    pub told: u32,
    /// Who started each attempt; nobody for those of child runs.
    pub nodes: Vec<Option<NodeId>>,
    /// Attempts that count against the policy.
    pub failures: u32,
    /// Attempts that were declared lost.
    pub lost: Vec<u32>,
    /// Whether its children may run.
    pub opened: bool,
    /// Which of its branches may run, when not all.
    pub branch: Option<u16>,
    /// Iterations that may run, when not all.
    pub upto: Option<u32>,
    /// When it became ready, the last time.
    pub ready_at: Millis,
    /// Number of the run's event that it waits since.
    pub since: u64,
}

impl Step {
    /// A step that nothing has happened to.
    pub fn new(plan: StepIx, base: InstIx, owner: Option<InstIx>, iteration: u32) -> Self {
        Self {
            plan,
            base,
            owner,
            iteration,
            status: StepStatus::Pending,
            wait: None,
            until: None,
            lapsed: false,
            signal: None,
            skip: None,
            attempt: 0,
            told: 0,
            nodes: Vec::new(),
            failures: 0,
            lost: Vec::new(),
            opened: false,
            branch: None,
            upto: None,
            ready_at: Millis(0),
            since: 0,
        }
    }

    /// A step taken over from another run.
    pub fn seeded(row: &StepRow, base: InstIx) -> Self {
        let data = row.data.as_deref();
        Self {
            status: row.status,
            wait: row.wait,
            until: row.until,
            skip: row.skip,
            attempt: row.attempt,
            nodes: vec![None; row.attempt as usize],
            opened: data.is_some_and(|d| d.opened),
            branch: data.and_then(|d| d.branch),
            ..Self::new(row.plan, base, row.owner, row.iteration)
        }
    }
}
