//! Turns: while the tasks of one fairness key wait for an agent, those of another are not started
//! one after the other. Judged in worlds of one node without faults: elsewhere a node may not know
//! of a task for a while.

use std::collections::{BTreeMap, BTreeSet};

use moa_core::event::Event;
use moa_core::ids::{Name, RunId};
use moa_core::step::StepStatus;
use moa_core::workflow::{Priority, StepKind};
use moa_ports::store::Commit;

use super::Checker;
use super::shadow::Shadow;

/// How often another key may have its turn while one waits: once, and once more for each thing that
/// a batch does not tell in order.
const OVERTAKEN_MAX: u32 = 5;
/// The same where a node keeps few runs in memory: the run whose turn it is may have to be read first,
/// and others that are in memory go on until it has come.
const OVERTAKEN_UNREAD_MAX: u32 = 8 * OVERTAKEN_MAX;

/// Tasks of one agent and one priority that share a key.
type Lane = (Name, Priority, String);

/// What is known of turns.
#[derive(Debug)]
pub struct Turns {
    /// How often another key may have its turn.
    overtaken_max: u32,
    /// Lanes that have waited since the batch before, with how often each other key overtook them.
    waiting: BTreeMap<Lane, BTreeMap<String, u32>>,
}

impl Turns {
    /// None yet. `in_memory`: whether all runs fit into a node's memory.
    pub fn new(in_memory: bool) -> Self {
        let overtaken_max = if in_memory { OVERTAKEN_MAX } else { OVERTAKEN_UNREAD_MAX };
        Self { overtaken_max, waiting: BTreeMap::new() }
    }
}

impl Checker {
    /// A batch was written: nobody may have been overtaken too often.
    pub(super) fn turns(&mut self, commits: &[Commit]) -> Result<(), String> {
        let Some(turns) = &mut self.turns else { return Ok(()) };
        let mut started: BTreeMap<Lane, u32> = BTreeMap::new();
        let mut had_turn: BTreeSet<Lane> = BTreeSet::new();
        for commit in commits {
            let Some(shadow) = self.runs.get(&commit.run) else { continue };
            for event in &commit.events {
                match event {
                    Event::StepStarted { step, .. } => {
                        let lane = lane(&self.runs, shadow, *step);
                        lane.into_iter().for_each(|l| *started.entry(l).or_default() += 1);
                    }
                    // Its params could not be made: that was its turn. A step with branches goes on
                    // with them.
                    Event::StepFailed { step, .. }
                    | Event::StepOwnDone { step, error: Some(_), .. } => {
                        had_turn.extend(lane(&self.runs, shadow, *step));
                    }
                    _ => {}
                }
            }
        }
        let now = waiting(&self.runs);
        had_turn.extend(started.keys().cloned());
        turns.waiting.retain(|lane, _| now.contains(lane) && !had_turn.contains(lane));
        for (waits, overtaken) in &mut turns.waiting {
            for (other, count) in &started {
                if (&other.0, other.1) == (&waits.0, waits.1) {
                    let all = overtaken.entry(other.2.clone()).or_default();
                    *all += count;
                    if *all > turns.overtaken_max {
                        let (agent, _, key) = waits;
                        let (other, all) = (&other.2, *all);
                        return Err(format!(
                            "a task of key {key:?} waits for {agent}, and {all} of {other:?} started"
                        ));
                    }
                }
            }
        }
        for lane in now {
            turns.waiting.entry(lane).or_default();
        }
        Ok(())
    }
}

/// Lanes with a task that could be started.
fn waiting(runs: &BTreeMap<RunId, Shadow>) -> BTreeSet<Lane> {
    let open = runs.values().filter(|run| run.started && run.ended.is_none() && !run.paused);
    open.flat_map(|run| {
        let steps = (0..).zip(&run.steps).filter(|(_, step)| step.status == StepStatus::Ready);
        steps.filter_map(|(inst, _)| lane(runs, run, inst))
    })
    .collect()
}

/// Where a step's task waits. What costs nothing waits for nobody.
fn lane(runs: &BTreeMap<RunId, Shadow>, run: &Shadow, inst: u32) -> Option<Lane> {
    let step = run.graph.step(run.steps.get(inst as usize)?.plan);
    let StepKind::Task { agent, .. } = &step.kind else { return None };
    let priority = step.priority.unwrap_or(run.priority);
    (agent.as_str() != "noop").then(|| (agent.clone(), priority, key(runs, run)))
}

/// The key of a run: its own, or that of the run that started it.
fn key(runs: &BTreeMap<RunId, Shadow>, run: &Shadow) -> String {
    match (&run.tenant, run.parent.and_then(|parent| runs.get(&parent.run))) {
        (Some(own), _) if run.graph.fairness.is_some() => own.clone(),
        (_, Some(above)) => key(runs, above),
        _ => String::new(),
    }
}
