//! Rates, quotas and breakers at the choke point: whether an attempt of an agent may start now.
//!
//! What has been used is a row of the store, written in the batch that leases the attempts which it
//! counts; in memory it is ahead of the row, as runs are. It is loaded before the first attempt of a
//! limited agent starts, and again whenever a batch did not say clearly that it was written.
//! An attempt whose commit was refused never starts: the next batch gives back what it had taken, so
//! that at no instant less is counted than was started.

use std::collections::BTreeMap;
use std::sync::Arc;

use moa_core::agent::AgentSpec;
use moa_core::event::InstIx;
use moa_core::ids::{Name, RunId};
use moa_core::limit::{Health, LimitState, Verdict};
use moa_core::machine::Outcome;
use moa_core::step::ErrorKind;
use moa_core::time::{Millis, Span};
use moa_ports::limit::{LimitRow, LimitWrite};
use moa_ports::store;

use super::queue::Place;
use super::{Command, Entry, Node};

/// How many tasks of an agent are looked at for one that its quota has room for.
pub(super) const LOOK_MAX: usize = 32;

/// What this node knows of agents' limits.
#[derive(Default)]
pub(super) struct Limits {
    used: BTreeMap<Name, Used>,
    loaded: bool,
    asked: bool,
    /// When the first task that waits for a limit may start.
    pub wake: Option<Millis>,
    /// Agents whose row the batch in flight writes.
    in_flight: Vec<Name>,
    /// Whether the last batch left rows unwritten.
    refused: bool,
}

/// What has been used of one agent's limits.
#[derive(Default)]
struct Used {
    version: u64,
    state: LimitState,
    /// What changed since the last batch was made: applied again on a row that is loaded again.
    changes: Vec<Change>,
    /// Runs whose attempts those are.
    runs: Vec<RunId>,
}

enum Change {
    Take { action: String, at: Millis },
    GiveBack { action: String, at: Millis },
    Settle { health: Health, after: Option<Span>, at: Millis },
}

impl Used {
    fn apply(&mut self, spec: &AgentSpec, change: Change) {
        match &change {
            Change::Take { action, at } => self.state.take(&spec.limits, action, *at),
            Change::GiveBack { action, at } => self.state.give_back(&spec.limits, action, *at),
            Change::Settle { health, after, at } => {
                if !self.state.settle(&spec.limits, *health, *after, *at) {
                    return;
                }
            }
        }
        self.changes.push(change);
    }
}

impl Limits {
    /// Counts an attempt that is leased.
    pub fn take(&mut self, spec: &AgentSpec, run: RunId, action: &str, at: Millis) {
        if spec.limits.is_empty() {
            return;
        }
        let used = self.used.entry(spec.id.clone()).or_default();
        used.runs.push(run);
        used.apply(spec, Change::Take { action: action.to_owned(), at });
    }

    /// Takes back that an attempt was counted `at` an instant: it was gathered, but never starts.
    pub fn give_back(&mut self, spec: &AgentSpec, action: &str, at: Millis) {
        if let Some(used) = self.used.get_mut(&spec.id).filter(|_| !spec.limits.is_empty()) {
            used.apply(spec, Change::GiveBack { action: action.to_owned(), at });
        }
    }

    /// Whether the last batch may have left unwritten what it was to count. Then what its refused
    /// commits had taken is not in the rows that are loaded again, or stays taken.
    pub fn were_refused(&self) -> bool {
        self.refused
    }

    /// Notes how an attempt ended.
    pub fn settle(&mut self, spec: &AgentSpec, outcome: &Outcome, at: Millis) {
        if spec.limits.is_empty() {
            return;
        }
        let (health, after) = health(outcome);
        let used = self.used.entry(spec.id.clone()).or_default();
        used.apply(spec, Change::Settle { health, after, at });
    }

    /// The first of these tasks of an agent that may start; `action` names what a task asks.
    pub fn pick<'r>(
        &mut self,
        spec: &AgentSpec,
        now: Millis,
        tasks: impl Iterator<Item = Place>,
        action: impl Fn(RunId, InstIx) -> Option<&'r str>,
    ) -> Option<Place> {
        if !self.loaded {
            return None;
        }
        let nothing = LimitState::default();
        let state = self.used.get(&spec.id).map_or(&nothing, |used| &used.state);
        for task in tasks.take(LOOK_MAX) {
            let action = action(task.1, task.2).unwrap_or_default();
            match state.check(&spec.limits, action, now) {
                Verdict::Go => return Some(task),
                Verdict::Wait { until, .. } => {
                    self.wake = Some(self.wake.map_or(until, |at| at.min(until)));
                    // Only a quota has room for some tasks and not for others.
                    spec.limits.quota.as_ref()?;
                }
            }
        }
        None
    }

    /// Whether limits let an attempt of an agent start now.
    pub fn let_start(
        &self,
        agents: &BTreeMap<Name, Arc<AgentSpec>>,
        agent: &Name,
        action: Option<&str>,
        now: Millis,
    ) -> bool {
        let Some(spec) = agents.get(agent).filter(|spec| !spec.limits.is_empty()) else {
            return true;
        };
        let check = |used: &Used| used.state.check(&spec.limits, action.unwrap_or_default(), now);
        self.loaded && self.used.get(agent).is_none_or(|used| check(used) == Verdict::Go)
    }

    /// Whether rows have to be loaded first.
    fn is_wanted(&self, agents: &BTreeMap<Name, Arc<AgentSpec>>) -> bool {
        !self.loaded && !self.asked && agents.values().any(|spec| !spec.limits.is_empty())
    }

    /// Whether there is something to write.
    pub fn is_dirty(&self) -> bool {
        self.loaded && self.used.values().any(|used| !used.changes.is_empty())
    }

    /// What the next batch writes.
    pub fn writes(&mut self) -> Vec<LimitWrite> {
        let mut writes = Vec::new();
        self.in_flight.clear();
        for (agent, used) in &mut self.used {
            // Without its row, only what belongs to attempts is written: it is refused with them.
            if used.changes.is_empty() || (!self.loaded && used.runs.is_empty()) {
                continue;
            }
            used.changes.clear();
            let runs = std::mem::take(&mut used.runs);
            let (agent, expected, state) = (agent.clone(), used.version, used.state.clone());
            self.in_flight.push(agent.clone());
            writes.push(LimitWrite { agent, expected, state, runs });
        }
        writes
    }

    /// The batch was written, but for what was `refused`. Then nobody knows which rows were not, and
    /// what has been gathered since must not pass for made from what another node has written: the
    /// versions stay behind until the rows are loaded again.
    pub fn written(&mut self, refused: bool) {
        for agent in std::mem::take(&mut self.in_flight) {
            if let Some(used) = self.used.get_mut(&agent).filter(|_| !refused) {
                used.version += 1;
            }
        }
        self.loaded &= !refused;
        self.refused = refused;
    }

    /// Nobody knows what was written, and everything that was gathered is forgotten.
    pub fn forget(&mut self) {
        self.used.clear();
        self.in_flight.clear();
        self.loaded = false;
    }

    fn place(&mut self, agents: &BTreeMap<Name, Arc<AgentSpec>>, rows: Vec<LimitRow>) {
        // What has no row yet is not ahead of one either: its changes are applied again below.
        for used in self.used.values_mut() {
            (used.version, used.state) = (0, LimitState::default());
        }
        for row in rows {
            let used = self.used.entry(row.agent).or_default();
            (used.version, used.state) = (row.version, row.state);
        }
        for (agent, used) in &mut self.used {
            let Some(spec) = agents.get(agent) else { continue };
            for change in std::mem::take(&mut used.changes) {
                used.apply(spec, change);
            }
        }
        self.loaded = true;
    }
}

impl Node {
    /// Asks for what has been used of limits, when that is not known.
    pub(super) fn ask_limits(&mut self) -> Option<Command> {
        // A batch in flight may change what would be loaded.
        if self.in_flight.is_some() || self.is_degraded() || !self.limits.is_wanted(&self.agents) {
            return None;
        }
        self.limits.asked = true;
        Some(Command::LoadLimits)
    }

    /// What has been used of agents' limits.
    pub fn limits_loaded(&mut self, now: Millis, found: Result<Vec<LimitRow>, store::Error>) {
        self.limits.asked = false;
        match found {
            // A batch that was made since may be on its way: then it is asked again.
            Ok(_) if !self.limits.in_flight.is_empty() => {}
            Ok(rows) => self.limits.place(&self.agents, rows),
            Err(error @ (store::Error::Corrupt { .. } | store::Error::Newer { .. })) => {
                self.out.push_back(Command::Fatal(error));
            }
            Err(error) => self.fails(now, error.to_string(), true),
        }
    }

    /// The next task to start: of the agents that have room for one that whose first task is the first
    /// of all, and of its tasks the one whose turn it is.
    pub(super) fn next_task(&mut self, now: Millis) -> Option<(RunId, InstIx)> {
        let (agents, runs) = (&self.agents, &self.runs);
        let action = |run: RunId, inst: InstIx| match runs.get(&run) {
            Some(Entry::Live(live)) => live.run.action(inst),
            _ => None,
        };
        let mut best: Option<(Place, Place, Name)> = None;
        for (name, queue) in self.slots.open_queues(agents) {
            let turn = queue.in_turn().next();
            let task = match agents.get(name).filter(|spec| !spec.limits.is_empty()) {
                Some(spec) => self.limits.pick(spec, now, queue.in_turn(), action),
                None => turn,
            };
            let Some(task) = task else { continue };
            // One whose turn it is stands for the first of its agent: that others of its agent have
            // turns as well is nothing that puts it behind another agent's.
            let place = if Some(task) == turn { queue.first().unwrap_or(task) } else { task };
            if best.as_ref().is_none_or(|(best, ..)| place < *best) {
                best = Some((place, task, name.clone()));
            }
        }
        let (_, place, agent) = best?;
        self.slots.start(&agent, &place);
        Some((place.1, place.2))
    }
}

/// What the end of an attempt says of its agent, and when the agent wants to be asked again.
fn health(outcome: &Outcome) -> (Health, Option<Span>) {
    match outcome {
        Outcome::Succeeded { .. } => (Health::Good, None),
        Outcome::RateLimited { after, .. } => (Health::Neutral, Some(*after)),
        Outcome::Failed { error } => match error.kind {
            ErrorKind::Retryable | ErrorKind::Timeout | ErrorKind::Lost => (Health::Bad, None),
            _ => (Health::Neutral, None),
        },
        Outcome::Cancelled | Outcome::Released => (Health::Neutral, None),
    }
}
