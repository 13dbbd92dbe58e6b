//! The checker: looks at every commit that a store has written, and judges it by rules of its own.
//!
//! It keeps a second, plainer picture of every run ([`shadow`]), made from the events alone, and
//! compares: the picture with the rules of a run, the rows with the picture, the fold of the history
//! with the rows, the store's timers, waits and messages with what the events say, and the answers
//! that users got with what is there. It shares no code with the machine but the words.

mod budget;
mod judge;
mod post;
mod shadow;
mod step;
mod triggers;
mod turns;
mod whole;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use moa_core::agent::AgentSpec;
use moa_core::event::{Event, InstIx};
use moa_core::ids::{Name, RunId, VersionHash};
use moa_core::limit::{LimitState, Usage};
use moa_core::machine::{BUS, Graph, Run, TimerKey};
use moa_core::step::StepStatus;
use moa_core::time::Millis;
use moa_core::trigger::TriggerId;
use moa_engine::handle::Committed;
use moa_ports::memory::Model;
use moa_ports::store::{Batch, BatchOutcome, Commit, CommitOutcome, MessageId, Snapshot};

use crate::coverage::Coverage;
use crate::ledger::Ledger;

use post::Sent;
pub use shadow::Shadow;
pub use step::Step;
pub use turns::Turns;

/// What is known of the world while a commit is judged.
pub struct World<'a> {
    /// What agents did.
    pub ledger: &'a mut Ledger,
    /// The agents.
    pub agents: &'a BTreeMap<Name, Arc<AgentSpec>>,
    /// What had been used of agents' limits before the commit.
    pub limits: BTreeMap<Name, LimitState>,
    /// Whether the clocks of nodes have been far apart.
    pub clocks_apart: bool,
    /// Whether histories are folded and compared with the rows.
    pub fold: bool,
}

/// Judges commits.
#[derive(Debug, Default)]
pub struct Checker {
    graphs: BTreeMap<VersionHash, Arc<Graph>>,
    runs: BTreeMap<RunId, Shadow>,
    /// Idempotency keys of starts.
    keys: BTreeMap<String, RunId>,
    /// Runs that hold a slot of a concurrency key.
    holders: BTreeMap<String, BTreeSet<RunId>>,
    timers: BTreeMap<(RunId, TimerKey), Millis>,
    /// Steps that wait for events, with the number of the commit that said so.
    waits: BTreeMap<(String, RunId, InstIx), u64>,
    messages: BTreeMap<MessageId, Sent>,
    /// Runs whose start was refused: they must never come to be.
    denied: BTreeSet<RunId>,
    triggers: BTreeMap<TriggerId, triggers::Seen>,
    commits: u64,
    /// What attempts have spent: whose, how much, when the attempt ended, and when that was written.
    spent: Vec<(Name, Usage, Millis, Millis)>,
    /// Where turns are judged.
    pub turns: Option<Turns>,
    /// Pairs of (status, event) seen.
    pub coverage: Coverage,
}

impl Checker {
    /// A workflow version that runs may have.
    pub fn know(&mut self, graph: Arc<Graph>) {
        self.graphs.insert(graph.hash, graph);
    }

    /// The picture of a run.
    pub fn run(&self, run: RunId) -> Option<&Shadow> {
        self.runs.get(&run)
    }

    /// The pictures of all runs.
    pub fn runs(&self) -> impl Iterator<Item = (&RunId, &Shadow)> {
        self.runs.iter()
    }

    /// The run that was started with an idempotency key.
    pub fn started_with(&self, key: &str) -> Option<RunId> {
        self.keys.get(key).copied()
    }

    /// A start was refused, and nothing was done.
    pub fn deny(&mut self, run: RunId) -> Result<(), String> {
        self.denied.insert(run);
        match self.runs.contains_key(&run) {
            true => Err(format!("run {run} exists, but its start was refused")),
            false => Ok(()),
        }
    }

    /// A batch was written. `model` is the store after it.
    pub fn committed(
        &mut self,
        batch: &Batch,
        outcome: &BatchOutcome,
        model: &Model,
        world: &mut World,
    ) -> Result<(), String> {
        self.commits += 1;
        if outcome.commits.len() != batch.commits.len() {
            return Err("the outcomes are not those of the commits".into());
        }
        for (commit, outcome) in batch.commits.iter().zip(&outcome.commits) {
            if let CommitOutcome::Applied { .. } = outcome {
                self.commit(commit.at, commit, model, world)
                    .map_err(|wrong| format!("run {}: {wrong}", commit.run))?;
            }
        }
        self.budgets(batch, model, world)?;
        self.turns(&batch.commits)?;
        self.trigger_commits(batch, outcome, model)?;
        self.post(batch, model)
    }

    fn commit(
        &mut self,
        now: Millis,
        commit: &Commit,
        model: &Model,
        world: &mut World,
    ) -> Result<(), String> {
        let id = commit.run;
        if commit.events.is_empty() {
            self.keep(commit);
            return Ok(());
        }
        if let Event::RunCreated(created) = &commit.events[0] {
            self.created(commit)?;
            let graph = self.graphs.get(&created.hash).ok_or("its workflow is not known")?;
            let shadow = Shadow::born(now, &commit.events[0], graph.clone())?;
            match (&created.seed, &created.trigger) {
                (Some(seed), _) => self.forked(seed)?,
                // Repeated from its start it has the occurrence of the first, and an id of its own.
                (None, Some(trigger)) if id.0 >> 76 & 0xF == 8 => {
                    self.occurrence_of(id, trigger.trigger, &trigger.key)?;
                }
                (None, _) => {}
            }
            self.runs.insert(id, shadow);
        }
        let shadow = self.runs.get_mut(&id).ok_or("a history that starts without a run")?;
        if shadow.history.len() as u64 != commit.expected {
            let (have, made) = (shadow.history.len(), commit.expected);
            return Err(format!("at version {have}, but was written as made from {made}"));
        }
        let mut judge = judge::Judge {
            now,
            run: id,
            shadow,
            timers: &self.timers,
            ledger: world.ledger,
            agents: world.agents,
            limits: &world.limits,
            coverage: &mut self.coverage,
            spent: &mut self.spent,
        };
        for event in &commit.events {
            judge.event(event).map_err(|wrong| format!("{wrong}, by {event:?}"))?;
        }
        shadow.history.push((now, commit.events.clone()));
        shadow.keep_row(commit.row.as_deref());
        let ended = shadow.ended.is_some();
        self.keep(commit);
        if commit.ended != ended {
            return Err("ended, and its slot is not given back (or the other way round)".into());
        }
        self.slots(id)?;
        self.waiting(id)?;
        self.sound(id)?;
        self.rows(id, commit)?;
        match world.fold {
            true => self.folded(id, model),
            false => Ok(()),
        }
    }

    /// What the new run's guard says.
    fn created(&mut self, commit: &Commit) -> Result<(), String> {
        if self.runs.contains_key(&commit.run) {
            return Err("created a second time".into());
        }
        if self.denied.contains(&commit.run) {
            return Err("created although its start was refused".into());
        }
        let guard = commit.start.clone().unwrap_or_default();
        if let Some(key) = guard.idempotency_key
            && let Some(other) = self.keys.insert(key.clone(), commit.run)
        {
            return Err(format!("idempotency key {key} has started run {other} already"));
        }
        Ok(())
    }

    /// What a fork takes over must be there, in a run that has ended.
    fn forked(&self, seed: &moa_core::run::Seed) -> Result<(), String> {
        let source = self.runs.get(&seed.run).ok_or("a fork of a run that does not exist")?;
        if source.ended.is_none() {
            return Err(format!("a fork of run {}, which has not ended", seed.run));
        }
        for row in seed.steps.iter().filter(|r| r.status.is_terminal()) {
            let same = |s: &Step| {
                s.plan == row.plan && s.iteration == row.iteration && s.status == row.status
            };
            if !source.steps.iter().any(same) {
                return Err(format!("a fork that takes over step {}, which is not so", row.inst));
            }
        }
        Ok(())
    }

    /// Timers and waits that a commit changes.
    fn keep(&mut self, commit: &Commit) {
        let run = commit.run;
        for (key, due) in &commit.timers {
            match due {
                Some(due) => self.timers.insert((run, *key), *due),
                None => self.timers.remove(&(run, *key)),
            };
        }
        for (inst, event, on) in &commit.waits {
            let wait = (event.clone(), run, *inst);
            match on {
                true => _ = self.waits.entry(wait).or_insert(self.commits),
                false => _ = self.waits.remove(&wait),
            }
        }
    }

    /// Slots of concurrency keys.
    fn slots(&mut self, id: RunId) -> Result<(), String> {
        let shadow = &self.runs[&id];
        let Some(key) = &shadow.key else { return Ok(()) };
        let holders = self.holders.entry(key.clone()).or_default();
        match (shadow.started, shadow.ended) {
            (true, None) => _ = holders.insert(id),
            _ => _ = holders.remove(&id),
        }
        let limit = shadow.graph.concurrency.as_ref().map_or(u32::MAX, |c| c.limit) as usize;
        match holders.len() > limit {
            true => Err(format!("{} runs of concurrency key {key} at once", holders.len())),
            false => Ok(()),
        }
    }

    /// What the rows say, beside what the events say.
    fn rows(&self, id: RunId, commit: &Commit) -> Result<(), String> {
        let shadow = &self.runs[&id];
        if shadow.status() != shadow.row_status {
            let (events, row) = (shadow.status(), shadow.row_status);
            return Err(format!("its events say {events:?}, its row says {row:?}"));
        }
        for row in &commit.steps {
            let Some(step) = shadow.steps.get(row.inst as usize) else {
                return Err(format!("a row of step {}, which is not there", row.inst));
            };
            let same = step.status == row.status && step.attempt == row.attempt;
            if !same || step.plan != row.plan || step.wait != row.wait {
                return Err(format!("step {}: events say {step:?}, the row {row:?}", row.inst));
            }
        }
        Ok(())
    }

    /// Compares the fold of a run's history with its rows in the store.
    pub fn folded(&self, id: RunId, model: &Model) -> Result<(), String> {
        let shadow = self.runs.get(&id).ok_or("not known")?;
        let snapshot = model.snapshot(id).ok_or("not in the store")?;
        let history = shadow.history.iter().map(|(at, events)| (*at, events.as_slice()));
        let fold = Run::fold(history, shadow.graph.clone())
            .map_err(|e| format!("its history can't be folded: {e}"))?;
        compare(&fold, &snapshot)
    }

    /// A published change must be a committed one.
    pub fn published(&self, committed: &Committed) -> Result<(), String> {
        let run = committed.run;
        if run == BUS {
            return Ok(());
        }
        let shadow = self.runs.get(&run).ok_or(format!("run {run} is published, but not there"))?;
        let at = (committed.version as usize).checked_sub(1);
        match at.and_then(|at| Some((shadow.history.get(at)?, shadow.statuses.get(at)?))) {
            Some(((_, events), _)) if *events != committed.events => {
                Err(format!("run {run}: other events are published than were written"))
            }
            Some((_, status)) if *status != committed.status => {
                let (said, version) = (committed.status, committed.version);
                Err(format!("run {run}: published as {said:?}, but {status:?} at {version}"))
            }
            Some(_) => Ok(()),
            None => Err(format!("run {run}: a version is published that was not written")),
        }
    }
}

/// Compares a folded run with a stored one.
fn compare(fold: &Run, stored: &Snapshot) -> Result<(), String> {
    if fold.version != stored.version {
        return Err(format!("version {} by history, {} stored", fold.version, stored.version));
    }
    if fold.row != stored.row {
        return Err(format!("folded: {:?}\nstored: {:?}", fold.row, stored.row));
    }
    let mut rows = stored.steps.iter().peekable();
    for step in fold.steps() {
        let row = rows.next_if(|row| row.inst == step.inst);
        let untouched = step.status == StepStatus::Pending && step.attempt == 0;
        if row.map_or(!untouched, |row| row != step) {
            return Err(format!("folded: {step:?}\nstored: {row:?}"));
        }
    }
    match rows.next() {
        Some(row) => Err(format!("stored, but not in its history: {row:?}")),
        None => Ok(()),
    }
}
