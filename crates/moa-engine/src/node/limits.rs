//! Rates, quotas, budgets and breakers at the choke point: whether an attempt of an agent may start now.
//!
//! What has been used is a row of the store, written in the batch that leases the attempts which it
//! counts; in memory it is ahead of the row, as runs are. It is loaded before the first attempt of a
//! limited agent starts, and again whenever a batch did not say clearly that it was written.
//! An attempt whose commit was refused never starts: the next batch gives back what it had taken, so
//! that at no instant less is counted than was started. What an attempt has spent is written in the
//! batch that writes its end. When the end is refused and the row is not, both come again: the row knows the
//! attempt, and counts it no second time.

use std::collections::BTreeMap;
use std::sync::Arc;

use moa_core::agent::AgentSpec;
use moa_core::event::InstIx;
use moa_core::ids::{Name, RunId};
use moa_core::limit::{Health, Held, LimitState, Reason, Usage, Verdict, grant_name};
use moa_core::machine::{Input, Outcome};
use moa_core::step::{ErrorKind, StepError};
use moa_core::time::{Millis, Span};
use moa_core::workflow::StepKind;
use moa_ports::limit::{LimitRow, LimitWrite};
use moa_ports::store;

use crate::handle::{Error, GrantRequest};

use super::names::{self, Names};
use super::quarantine::guarded;
use super::queue::Place;
use super::{Answer, Command, Entry, Node, Token};

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
    /// What people have granted in it.
    granting: Vec<(Name, Grant)>,
    /// What attempts have spent in it: the attempt's name, and how much.
    spending: Vec<(Name, u64, Usage)>,
    names: Names,
    /// Agents whose rows the last batch left unwritten.
    refused: Vec<Name>,
}

/// What a person adds to a budget, who is answered once it is written. The key is what it is known by, so
/// that it can be made again when nobody knows whether it was written.
#[derive(Clone)]
struct Grant {
    token: Token,
    key: String,
    more: Usage,
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
    /// Grants among the changes.
    grants: Vec<Grant>,
    /// Whether the end of an attempt is written only together with them.
    spent: bool,
    /// What held back all of the agent's tasks when one was looked for.
    held: Option<Held>,
}

enum Change {
    Take { run: RunId, action: String, at: Millis },
    GiveBack { action: String, at: Millis },
    Settle { health: Health, after: Option<Span>, at: Millis },
    Spend { attempt: u64, usage: Usage, at: Millis },
    Grant { key: String, more: Usage, at: Millis },
}

impl Used {
    /// Stands as the row does. Attempts that were leased by what was known before must not pass for
    /// leased by it: the version stays behind, so that they are refused should the row have changed.
    fn take_over(&mut self, version: u64, state: LimitState) {
        self.state = state;
        self.held = None;
        if !self.changes.iter().any(|change| matches!(change, Change::Take { .. })) {
            self.version = version;
        }
    }

    /// What is counted of attempts that have spent something, by their names.
    fn spending(&self) -> Vec<(u64, Usage)> {
        let spends = self.changes.iter().filter_map(|change| match change {
            Change::Spend { attempt, usage, .. } => Some((*attempt, *usage)),
            _ => None,
        });
        spends.collect()
    }

    fn apply(&mut self, spec: &AgentSpec, change: Change) {
        // It was held by what was used before.
        self.held = None;
        match &change {
            Change::Take { action, at, .. } => self.state.take(&spec.limits, action, *at),
            Change::GiveBack { action, at } => self.state.give_back(&spec.limits, action, *at),
            Change::Settle { health, after, at } => {
                if !self.state.settle(&spec.limits, *health, *after, *at) {
                    return;
                }
            }
            Change::Spend { attempt, usage, at } => {
                self.state.spend(&spec.limits, *attempt, *usage, *at);
            }
            Change::Grant { key, more, at } => self.state.grant(&spec.limits, key, *more, *at),
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
        used.apply(spec, Change::Take { run, action: action.to_owned(), at });
    }

    /// Takes back that an attempt of a run was counted `at` an instant: it was gathered, but never
    /// starts.
    pub fn give_back(&mut self, spec: &AgentSpec, run: RunId, action: &str, at: Millis) {
        let Some(used) = self.used.get_mut(&spec.id).filter(|_| !spec.limits.is_empty()) else {
            return;
        };
        let takes = |change: &Change| match change {
            Change::Take { run: of, action: asked, at: when } => {
                (*of, asked.as_str(), *when) == (run, action, at)
            }
            _ => false,
        };
        let Some(taken) = used.changes.iter().position(takes) else {
            return used.apply(spec, Change::GiveBack { action: action.to_owned(), at });
        };
        // No row has it. Made again on one that another node has changed meanwhile, the two would not be
        // nothing: a breaker that has opened since would be closed by them.
        used.changes.remove(taken);
        used.state.give_back(&spec.limits, action, at);
        if let Some(place) = used.runs.iter().position(|of| *of == run) {
            used.runs.remove(place);
        }
    }

    /// Counts what an attempt has spent, once however often it is said. `with`: the run whose next commit
    /// writes its end, and is refused when this is.
    pub fn spend(
        &mut self,
        spec: &AgentSpec,
        (run, inst, attempt): (RunId, InstIx, u32),
        usage: Usage,
        at: Millis,
        with: Option<RunId>,
    ) {
        if usage.is_nothing() || spec.limits.budget.is_none() {
            return;
        }
        let used = self.used.entry(spec.id.clone()).or_default();
        used.spent |= with.is_some();
        used.runs.extend(with);
        let attempt = names::name(run, inst, attempt);
        self.names.counts(attempt);
        used.apply(spec, Change::Spend { attempt, usage, at });
    }

    /// The end of an attempt is durable, or no run takes it: nobody counts again what it has spent.
    pub fn ended(&mut self, run: RunId, inst: InstIx, attempt: u32) {
        self.names.ends(names::name(run, inst, attempt));
    }

    fn grant(&mut self, spec: &AgentSpec, grant: Grant, at: Millis) {
        let used = self.used.entry(spec.id.clone()).or_default();
        used.apply(spec, Change::Grant { key: grant.key.clone(), more: grant.more, at });
        used.grants.push(grant);
    }

    /// Whether the last batch left unwritten what it was to count of an agent. Then what its refused
    /// commits had taken is not in the row that is loaded again.
    pub fn was_refused(&self, agent: &Name) -> bool {
        self.refused.contains(agent)
    }

    /// Whether the next batch has to wait for rows: it would be refused with what was spent, again and
    /// again.
    pub fn are_awaited(&self) -> bool {
        !self.loaded && self.asked && self.used.values().any(|used| used.spent)
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

    /// The first of these tasks of an agent that may start, or is to fail, and then why; `action` names
    /// what a task asks.
    pub fn pick<'r>(
        &mut self,
        spec: &AgentSpec,
        now: Millis,
        tasks: impl Iterator<Item = Place>,
        action: impl Fn(RunId, InstIx) -> Option<&'r str>,
    ) -> Option<(Place, Option<String>)> {
        if !self.loaded {
            return None;
        }
        let nothing = LimitState::default();
        let mut used = self.used.get_mut(&spec.id);
        if let Some(used) = &mut used {
            // Not written by itself: the next that starts is written with it.
            used.state.set_back(&spec.limits, now);
            used.held = None;
        }
        let state = used.as_ref().map_or(&nothing, |used| &used.state);
        let mut held: Option<Held> = None;
        for task in tasks.take(LOOK_MAX) {
            let action = action(task.1, task.2).unwrap_or_default();
            match state.check(&spec.limits, action, now) {
                Verdict::Go => return Some((task, None)),
                Verdict::Fail { until, reason } => return Some((task, Some(why(reason, until)))),
                Verdict::Wait { until, reason } => {
                    self.wake = Some(self.wake.map_or(until, |at| at.min(until)));
                    if held.as_ref().is_none_or(|held| until < held.until) {
                        held = Some(Held { until, reason });
                    }
                    // Only a quota has room for some tasks and not for others.
                    if spec.limits.quota.is_none() {
                        break;
                    }
                }
            }
        }
        if let Some(used) = used {
            used.held = held;
        }
        None
    }

    /// What holds back all tasks of the agents that have some which are ready, and limits still.
    pub fn held(
        &self,
        agents: &BTreeMap<Name, Arc<AgentSpec>>,
        ready: &BTreeMap<Name, u32>,
    ) -> BTreeMap<Name, Held> {
        let has_limits =
            |agent: &&Name| agents.get(*agent).is_some_and(|spec| !spec.limits.is_empty());
        let held = |agent: &Name| Some((agent.clone(), self.used.get(agent)?.held.clone()?));
        ready.keys().filter(has_limits).filter_map(held).collect()
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
            let counts = used.spending();
            self.names.forget(&mut used.state, &counts.iter().map(|spend| spend.0).collect());
            self.spending
                .extend(counts.into_iter().map(|(name, usage)| (agent.clone(), name, usage)));
            used.changes.clear();
            used.spent = false;
            let runs = std::mem::take(&mut used.runs);
            let (agent, expected, state) = (agent.clone(), used.version, used.state.clone());
            self.in_flight.push(agent.clone());
            self.granting.extend(used.grants.drain(..).map(|grant| (agent.clone(), grant)));
            writes.push(LimitWrite { agent, expected, state, runs });
        }
        writes
    }

    /// The batch was written, but for what was `refused`. Then nobody knows which rows were not, and
    /// what has been gathered since must not pass for made from what another node has written: the
    /// versions stay behind until the rows are loaded again. What was spent or granted and not written
    /// is counted again then; answers who made the other grants.
    pub fn written(&mut self, refused: Vec<Name>, now: Millis) -> Vec<Token> {
        for agent in std::mem::take(&mut self.in_flight) {
            if let Some(used) = self.used.get_mut(&agent).filter(|_| refused.is_empty()) {
                used.version += 1;
            }
        }
        let mut granted = Vec::new();
        for (agent, grant) in std::mem::take(&mut self.granting) {
            match refused.contains(&agent) {
                true => self.grant_again(agent, grant, now),
                false => granted.push(grant.token),
            }
        }
        for (agent, attempt, usage) in std::mem::take(&mut self.spending) {
            if refused.contains(&agent) {
                self.spend_again(agent, attempt, usage, now);
            }
        }
        self.names.written(refused.is_empty());
        self.loaded &= refused.is_empty();
        self.refused = refused;
        granted
    }

    fn grant_again(&mut self, agent: Name, grant: Grant, at: Millis) {
        let used = self.used.entry(agent).or_default();
        used.changes.push(Change::Grant { key: grant.key.clone(), more: grant.more, at });
        used.grants.push(grant);
    }

    fn spend_again(&mut self, agent: Name, attempt: u64, usage: Usage, at: Millis) {
        let used = self.used.entry(agent).or_default();
        // An end that is tried again while nothing can be written says it each time.
        if !used.spending().iter().any(|(known, _)| *known == attempt) {
            used.changes.push(Change::Spend { attempt, usage, at });
        }
    }

    /// Nobody knows what was written, and everything that was gathered is forgotten, but for what was
    /// spent: the end of that attempt may be in no run. What people have granted is granted again once
    /// rows are loaded if it may have been written; answers who has granted what was not.
    pub fn forget(&mut self, unknown: bool, now: Millis) -> Vec<Token> {
        let granting = std::mem::take(&mut self.granting);
        let gathered = self.used.values().flat_map(|used| &used.grants);
        let mut refused: Vec<Token> = gathered.map(|grant| grant.token).collect();
        let mut spent = std::mem::take(&mut self.spending);
        for (agent, used) in std::mem::take(&mut self.used) {
            let gathered = used.spending().into_iter();
            spent.extend(gathered.map(|(name, usage)| (agent.clone(), name, usage)));
        }
        for (agent, attempt, usage) in spent {
            self.spend_again(agent, attempt, usage, now);
        }
        self.names.written(false);
        self.in_flight.clear();
        self.loaded = false;
        for (agent, grant) in granting {
            match unknown {
                true => self.grant_again(agent, grant, now),
                false => refused.push(grant.token),
            }
        }
        refused
    }

    fn place(&mut self, agents: &BTreeMap<Name, Arc<AgentSpec>>, rows: Vec<LimitRow>, now: Millis) {
        // What has no row yet is not ahead of one either: its changes are applied again below.
        for used in self.used.values_mut() {
            used.take_over(0, LimitState::default());
        }
        for row in rows {
            self.used.entry(row.agent).or_default().take_over(row.version, row.state);
        }
        for (agent, used) in &mut self.used {
            let Some(spec) = agents.get(agent) else { continue };
            for change in std::mem::take(&mut used.changes) {
                used.apply(spec, change.again(now));
            }
        }
        let known = |used: &Used| {
            let counted = used.state.budget.as_ref().map(|budget| budget.counted.clone());
            counted.unwrap_or_default()
        };
        self.names.loaded(&self.used.values().flat_map(known).collect());
        self.loaded = true;
    }
}

impl Change {
    /// The same on a row that is loaded again: what another node has begun meanwhile goes on.
    fn again(self, now: Millis) -> Self {
        match self {
            Self::Spend { attempt, usage, .. } => Self::Spend { attempt, usage, at: now },
            Self::Grant { key, more, .. } => Self::Grant { key, more, at: now },
            other => other,
        }
    }
}

fn why(reason: Reason, until: Millis) -> String {
    format!("{reason}; the next window begins at {until}, and more can be granted before")
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
            Ok(rows) => self.limits.place(&self.agents, rows, now),
            Err(error @ (store::Error::Corrupt { .. } | store::Error::Newer { .. })) => {
                self.out.push_back(Command::Fatal(error));
            }
            Err(error) => self.fails(now, error.to_string(), true),
        }
    }

    /// The next task to start: of the agents that have room for one that whose first task is the first
    /// of all, and of its tasks the one whose turn it is. With the reason when it fails instead.
    pub(super) fn next_task(&mut self, now: Millis) -> Option<(RunId, InstIx, Option<String>)> {
        let (agents, runs) = (&self.agents, &self.runs);
        let action = |run: RunId, inst: InstIx| match runs.get(&run) {
            Some(Entry::Live(live)) => live.run.action(inst),
            _ => None,
        };
        let mut best: Option<(Place, (Place, Option<String>), Name)> = None;
        for (name, queue) in self.slots.open_queues(agents) {
            let turn = queue.in_turn().next();
            let task = match agents.get(name).filter(|spec| !spec.limits.is_empty()) {
                Some(spec) => self.limits.pick(spec, now, queue.in_turn(), action),
                None => turn.map(|task| (task, None)),
            };
            let Some((task, over)) = task else { continue };
            // One whose turn it is stands for the first of its agent: that others of its agent have
            // turns as well is nothing that puts it behind another agent's.
            let place = if Some(task) == turn { queue.first().unwrap_or(task) } else { task };
            if best.as_ref().is_none_or(|(best, ..)| place < *best) {
                best = Some((place, (task, over), name.clone()));
            }
        }
        let (_, (place, over), agent) = best?;
        self.slots.start(&agent, &place);
        Some((place.1, place.2, over))
    }

    /// Makes an attempt that fails before its agent is asked. Nothing of it is applied again when its
    /// commit is refused: then the task is ready as before.
    pub(super) fn fail_attempt(&mut self, now: Millis, id: RunId, inst: InstIx, why: &str) {
        let env = moa_core::machine::Env { now, agents: &self.agents, schemas: &*self.schemas };
        let Some(Entry::Live(live)) = self.runs.get_mut(&id) else {
            self.slots.more_in_store = true;
            return;
        };
        let node = self.id;
        let run = &mut live.run;
        let made = guarded(|| {
            let (assignment, leased) = run.lease(env, inst, node)?;
            let Some(made) = assignment else { return Ok((leased, None)) };
            let message = format!("agent {}: {why}", made.agent);
            let error = StepError::new(ErrorKind::BudgetExceeded, message);
            let (step, attempt) = (inst, made.attempt);
            let (outcome, usage) = (Outcome::Failed { error }, Usage::NONE);
            let input = Input::TaskDone { step, attempt, outcome, usage };
            Ok((leased, Some(run.apply(env, &input)?)))
        });
        match made {
            Ok(Ok((leased, failed))) => {
                self.gather(now, id, leased, None, None);
                if let Some(failed) = failed {
                    self.gather(now, id, failed, None, None);
                }
            }
            Ok(Err(rejected)) => {
                let rejected: moa_core::machine::Rejected = rejected;
                tracing::warn!(run.id = %id, reason = rejected.0, "an attempt was not made");
            }
            Err(panic) => self.quarantine(id, "failing an attempt", &panic),
        }
    }

    /// Counts what an attempt has spent whose end was applied, to be written with it.
    pub(super) fn spend(&mut self, now: Millis, id: RunId, input: &Input) {
        let (Input::TaskDone { step, attempt, usage, .. }
        | Input::AttemptLost { step, attempt, usage }) = input
        else {
            return;
        };
        let Some(Entry::Live(live)) = self.runs.get(&id).filter(|_| !usage.is_nothing()) else {
            return;
        };
        let Some(row) = live.run.step(*step) else { return };
        let StepKind::Task { agent, .. } = &live.run.graph.step(row.plan).kind else { return };
        if let Some(spec) = self.agents.get(agent) {
            self.limits.spend(spec, (id, *step, *attempt), *usage, now, Some(id));
        }
    }

    /// Somebody adds to the budget of an agent, for this window alone.
    pub fn grant(&mut self, now: Millis, token: Token, request: GrantRequest) {
        let GrantRequest { agent, more, key } = request;
        let rejected = |reason: String| Err(Error::Rejected { reason });
        let known = self.agents.get(&agent);
        let answer = match (self.refusal(), known) {
            (Some(error), _) => Err(error),
            (None, None) => rejected(format!("there is no agent {agent}")),
            (None, Some(spec)) => match spec.limits.budget {
                None => rejected(format!("agent {agent} has no budget")),
                Some(_) => {
                    let key = key.map(|key| grant_name(&key));
                    let key = key.unwrap_or_else(|| format!("{}.{token}", self.id));
                    let grant = Grant { token, key, more };
                    return self.limits.grant(spec, grant, now);
                }
            },
        };
        self.reply(token, Answer::Changed(answer));
    }

    /// Answers who granted something that was not written.
    pub(super) fn not_granted(&mut self, tokens: Vec<Token>, why: &str) {
        for token in tokens {
            let error = Error::Unavailable { reason: why.to_owned() };
            self.reply(token, Answer::Changed(Err(error)));
        }
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
