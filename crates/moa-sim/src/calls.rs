//! The connection between processes and the store: slow, out of order, failing, and at times done
//! although it is said to have failed.

use moa_core::event::Event;
use moa_core::ids::{NodeId, RunId, mix};
use moa_core::machine::TimerKey;
use moa_core::time::Millis;
use moa_core::trigger::TriggerId;
use moa_ports::limit::LimitRow;
use moa_ports::store::{
    Batch, BatchOutcome, Commit, CommitOutcome, Due, DueAsk, Error, Snapshot, WorkflowRef,
    WorkflowVersion,
};
use moa_ports::triggers::{TriggerOutcome, TriggerRow};

use crate::check;
use crate::plans;
use crate::plant::Plant;
use crate::process::LEASE;
use crate::world::{Happening, World};

/// What a process asks of the store.
#[derive(Debug)]
pub(crate) enum Request {
    Commit(Batch),
    Load(Vec<RunId>),
    LoadTriggers(Vec<TriggerId>),
    Due(DueAsk),
    Limits,
    Resolve(WorkflowRef),
    Renew(Millis),
}

/// A call on its way.
#[derive(Debug)]
pub(crate) struct Call {
    pub process: usize,
    pub life: u64,
    node: NodeId,
    request: Request,
    fate: Fate,
}

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Works,
    /// Nothing is done, and that is said.
    Refused,
    /// It is done, and nobody knows.
    UnknownDone,
    /// It isn't done, and nobody knows.
    UnknownNotDone,
    /// It is done, but later, and nobody knows.
    UnknownLate,
    /// It is done, and nobody is told.
    Silent,
}

/// What the store answers.
#[derive(Debug)]
pub(crate) enum Answer {
    Committed(Result<BatchOutcome, Error>),
    Loaded(Vec<RunId>, Result<Vec<Option<Snapshot>>, Error>),
    LoadedTriggers(Vec<TriggerId>, Result<Vec<Option<TriggerRow>>, Error>),
    Due(DueAsk, Result<Due, Error>),
    Limits(Result<Vec<LimitRow>, Error>),
    Resolved(WorkflowRef, Result<Option<WorkflowVersion>, Error>),
    Renewed(Millis),
}

impl World {
    fn latency(&mut self) -> u64 {
        match self.random.chance(self.swarm.slow) {
            true => self.random.range(100, 4_000),
            false => self.random.delay(self.swarm.latency),
        }
    }

    fn fate(&mut self, request: &Request) -> Fate {
        let swarm = &self.swarm;
        if !matches!(request, Request::Commit(_)) {
            let fails = swarm.read_fails;
            return if self.random.chance(fails) { Fate::Refused } else { Fate::Works };
        }
        let fates = [swarm.unavailable, swarm.unknown_written, swarm.unknown_lost];
        let rest = 1000 - fates.iter().sum::<u32>() - swarm.unknown_late;
        let weights = [rest, fates[0], fates[1], fates[2], swarm.unknown_late];
        match self.random.weighted(&weights) {
            0 => Fate::Works,
            1 => Fate::Refused,
            2 => Fate::UnknownDone,
            3 => Fate::UnknownNotDone,
            _ => Fate::UnknownLate,
        }
    }

    /// A process calls the store.
    pub(crate) fn call(&mut self, process: usize, request: Request) {
        let fate = self.fate(&request);
        let Process { life, node } = self.who(process);
        self.make_call(Call { process, life, node, request, fate });
    }

    fn make_call(&mut self, call: Call) {
        let id = self.count;
        self.calls.insert(id, call);
        let wait = self.latency();
        self.after(wait, Happening::Reached(id));
    }

    fn who(&self, process: usize) -> Process {
        let process = &self.processes[process];
        Process { life: process.life, node: process.id }
    }

    /// The store gets to a call.
    pub(crate) fn reached(&mut self, id: u64) {
        let Some(call) = self.calls.remove(&id) else { return };
        let Call { process, life, node, request, fate } = call;
        if fate == Fate::UnknownLate {
            if let Request::Commit(batch) = request {
                let starts = batch.commits.iter().filter(|c| c.expected == 0);
                self.users.late.extend(starts.map(|c| c.run));
                self.answer(process, life, Answer::Committed(Err(unknown())));
                let request = Request::Commit(batch);
                let wait = self.random.delay(500);
                self.calls.insert(id, Call { process, life, node, request, fate: Fate::Silent });
                self.after(wait, Happening::Reached(id));
            }
            return;
        }
        if fate == Fate::Refused || fate == Fate::UnknownNotDone {
            return self.refuse(process, life, request, fate);
        }
        match request {
            Request::Commit(batch) => {
                let starts = |events: &[Event]| {
                    events.iter().any(|event| matches!(event, Event::StepStarted { .. }))
                };
                let runs: Vec<(RunId, bool)> =
                    batch.commits.iter().map(|c| (c.run, starts(&c.events))).collect();
                let outcome = self.commit(batch);
                self.left_alone(process, life, &runs);
                match fate {
                    Fate::Works => self.answer(process, life, Answer::Committed(outcome)),
                    Fate::Silent => {}
                    _ => self.answer(process, life, Answer::Committed(Err(unknown()))),
                }
            }
            Request::Load(ids) => {
                let model = self.store.model();
                let found = ids.iter().map(|id| model.snapshot(*id)).collect();
                drop(model);
                self.answer(process, life, Answer::Loaded(ids, Ok(found)));
            }
            Request::LoadTriggers(ids) => {
                let model = self.store.model();
                let found = ids.iter().map(|id| model.trigger(*id)).collect();
                drop(model);
                let found = self.tampered_rows(found);
                self.answer(process, life, Answer::LoadedTriggers(ids, Ok(found)));
            }
            Request::Limits => {
                let rows = self.limits();
                self.answer(process, life, Answer::Limits(Ok(rows)));
            }
            Request::Due(ask) => {
                let (ask, due) = self.due(ask);
                self.answer(process, life, Answer::Due(ask, Ok(due)));
            }
            Request::Resolve(which) => {
                let mut found = self.store.model().workflow(&which);
                if let (Some(plant), Some(version)) = (self.plant, &mut found) {
                    plans::tamper(plant, &mut version.plan);
                }
                self.answer(process, life, Answer::Resolved(which, Ok(found)));
            }
            Request::Renew(at) => {
                // Too late for a life that is over: others may have found out already.
                if self.processes[process].life == life {
                    self.store.model().register(at, node, LEASE);
                    self.answer(process, life, Answer::Renewed(at));
                }
            }
        }
    }

    /// A process that executes only what it is asked to changes nothing else, but for what somebody
    /// asked it to change; and of that it starts nothing. `changed`: whether an attempt was started.
    fn left_alone(&mut self, process: usize, life: u64, changed: &[(RunId, bool)]) {
        let process = &self.processes[process];
        let Some(only) = process.only.as_ref().filter(|_| process.life == life) else { return };
        let model = self.store.model();
        let other = changed
            .iter()
            .filter(|(run, _)| model.root_of(*run).is_some_and(|root| !only.contains(&root)))
            .find(|(run, started)| *started || !process.changed.contains(run))
            .map(|(run, _)| *run);
        drop(model);
        if let Some(run) = other {
            self.fail(format!("run {run} is changed by a node that was not asked to"));
        }
    }

    fn refuse(&mut self, process: usize, life: u64, request: Request, fate: Fate) {
        let error = || match fate {
            Fate::Refused => Error::Unavailable("simulated".into()),
            _ => unknown(),
        };
        let answer = match request {
            Request::Commit(_) => Answer::Committed(Err(error())),
            Request::Load(ids) => Answer::Loaded(ids, Err(error())),
            Request::LoadTriggers(ids) => Answer::LoadedTriggers(ids, Err(error())),
            Request::Due(ask) => Answer::Due(ask, Err(error())),
            Request::Limits => Answer::Limits(Err(error())),
            Request::Resolve(which) => Answer::Resolved(which, Err(error())),
            Request::Renew(_) => return,
        };
        self.answer(process, life, answer);
    }

    fn answer(&mut self, process: usize, life: u64, answer: Answer) {
        let wait = self.latency();
        self.after(wait, Happening::Answered(process, life, Box::new(answer)));
    }

    fn limits(&self) -> Vec<LimitRow> {
        let mut rows = self.store.model().limits();
        for state in rows.iter_mut().map(|row| &mut row.state) {
            match self.plant {
                Some(Plant::ForgottenRate) => state.rates.clear(),
                Some(Plant::ForgottenQuota) => state.quota = None,
                Some(Plant::ForgottenBudget) => state.budget = None,
                Some(Plant::ForgottenBreaker) => state.breaker = Default::default(),
                _ => {}
            }
        }
        rows
    }

    fn due(&mut self, ask: DueAsk) -> (DueAsk, Due) {
        let mut asked = ask.clone();
        if self.plant == Some(Plant::EarlyTimer) {
            asked.now = Millis(asked.now.0 + 2_000);
        }
        if self.plant == Some(Plant::LeaseNeverLost) {
            asked.lost = false;
        }
        if self.plant == Some(Plant::AnswersForAll) {
            asked.only = None;
        }
        let mut due = self.store.model().due(&asked);
        if self.plant == Some(Plant::HiddenKey) {
            due.ready.retain(|task| task.queue.key.as_deref() != Some("b"));
        }
        (ask, due)
    }

    /// Writes a batch, and has it judged.
    fn commit(&mut self, batch: Batch) -> Result<BatchOutcome, Error> {
        let commits = batch.commits.len();
        let mut written = if self.plant.is_some() { self.tampered(batch) } else { batch };
        let refused = self.refused(&mut written);
        if let Some(limit) = self.swarm.due_limit {
            written.event_runs = written.event_runs.min(limit);
        }
        let mut model = self.store.model();
        let limits = model.limits().into_iter().map(|row| (row.agent, row.state)).collect();
        let result = model.commit(written.clone());
        let fold = self.count.is_multiple_of(8);
        let mut judged = Ok(());
        if let Ok(outcome) = &result {
            let ledger = &mut self.ledger;
            let (agents, clocks_apart) = (&self.agents, self.clocks_apart);
            let mut world = check::World { ledger, agents, limits, clocks_apart, fold };
            judged = self.checker.committed(&written, outcome, &model, &mut world);
        }
        drop(model);
        self.must(judged);
        let mut outcome = match result.map(|outcome| self.tampered_known(outcome)) {
            Ok(outcome) => outcome,
            Err(error) => {
                self.fail(format!("the store refuses a batch: {error}"));
                return Err(error);
            }
        };
        let applied = |outcome: &CommitOutcome| matches!(outcome, CommitOutcome::Applied { .. });
        let triggers = outcome.triggers.contains(&TriggerOutcome::Applied);
        if triggers || outcome.commits.iter().any(applied) || !written.relays.is_empty() {
            self.written = self.events;
        }
        for position in refused {
            outcome.commits.insert(position, CommitOutcome::Invalid("simulated".into()));
        }
        outcome.commits.resize(commits, CommitOutcome::Applied { seq: 1 });
        if outcome.messages {
            self.hint_all();
        }
        Ok(outcome)
    }

    /// Takes the commits out of a batch that can't be written; answers where they stood. One that
    /// can't be written now can't be written later.
    fn refused(&mut self, batch: &mut Batch) -> Vec<usize> {
        let chance = u64::from(self.swarm.unwritable);
        let is_refused = |commit: &Commit| {
            let (run, seed) = (commit.run.0 as u64, commit.expected ^ self.seed);
            mix(run ^ mix(seed)) % 1000 < chance
        };
        let refused = batch.commits.iter().enumerate().filter(|(_, commit)| is_refused(commit));
        let refused = refused.map(|(position, _)| position).collect();
        batch.commits.retain(|commit| !is_refused(commit));
        refused
    }

    fn hint_all(&mut self) {
        for p in 0..self.processes.len() {
            if !self.random.chance(self.swarm.hints_lost) && self.processes.len() > 1 {
                let wait = self.latency();
                self.after(wait, Happening::Hint(p));
            }
        }
    }

    /// The batch as a store with a planted bug writes it.
    fn tampered(&mut self, mut batch: Batch) -> Batch {
        let Some(plant) = self.plant else { return batch };
        if plant == Plant::LostWrite && !batch.commits.is_empty() && self.random.chance(20) {
            batch.commits.pop();
        }
        if plant == Plant::DoubledUsage {
            let budgets = batch.limits.iter_mut().filter_map(|write| write.state.budget.as_mut());
            for budget in budgets.filter(|_| self.random.chance(100)) {
                budget.spent = budget.spent.plus(budget.spent);
            }
        }
        self.tamper_triggers(&mut batch);
        for commit in &mut batch.commits {
            let current = self.store.model().snapshot(commit.run).map_or(0, |s| s.version);
            let now = self.random.chance(100);
            match plant {
                Plant::LostMessage if now => _ = commit.messages.pop(),
                Plant::StaleVersion if current > 0 && commit.expected > 0 => {
                    commit.expected = current;
                }
                Plant::SwallowedEvent if now && commit.events.len() > 1 => {
                    commit.events.pop();
                }
                Plant::LostRow if now && commit.expected > 0 => _ = commit.steps.pop(),
                Plant::LostTimer if now => {
                    let armed = |t: &(TimerKey, Option<Millis>)| t.1.is_some();
                    commit.timers.retain(|t| !armed(t));
                }
                _ => {}
            }
            if let Some(guard) = &mut commit.start {
                match (plant, &mut guard.concurrency) {
                    (Plant::IgnoredLimit, Some(slot)) => slot.limit += 1,
                    (Plant::SecondStart, _) => guard.idempotency_key = None,
                    _ => {}
                }
            }
        }
        batch
    }

    /// A process dies while calls of it are on their way.
    pub(crate) fn cut_off(&mut self, process: usize) {
        let ids: Vec<u64> =
            self.calls.iter().filter(|(_, c)| c.process == process).map(|(id, _)| *id).collect();
        for id in ids {
            let Some(mut call) = self.calls.remove(&id) else { continue };
            if call.fate == Fate::Silent {
                self.calls.insert(id, call);
                continue;
            }
            if !matches!(call.request, Request::Commit(_)) || self.random.chance(500) {
                continue;
            }
            call.fate = Fate::Silent;
            self.calls.insert(id, call);
            // A store of one node dies with it: what is written is written before the next life.
            if self.swarm.exclusive {
                self.reached(id);
            }
        }
    }
}

/// One life of a process.
struct Process {
    life: u64,
    node: NodeId,
}

fn unknown() -> Error {
    Error::Unknown("simulated".into())
}
