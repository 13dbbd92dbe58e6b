//! A process: a node machine and the shell around it, which performs what the node asks for.

use std::collections::{BTreeMap, BTreeSet};

use moa_core::ids::{NodeId, RunId};
use moa_core::machine::Outcome;
use moa_core::time::{Millis, Span};
use moa_engine::node::{Command, Node, Token};
use moa_ports::agent::Completion;
use moa_ports::store::Batch;

use crate::calls::{Answer, Request};
use crate::plant::Plant;
use crate::users::Asked;
use crate::world::{Happening, World};

/// How long a registration lasts, as in the real shell.
pub const LEASE: Span = Span(5_000);
/// Commands in a row after which a node is said to ask for more without end.
const COMMANDS_MAX: u32 = 20_000;
/// Wake-ups in a row that lead to nothing.
const SPINS_MAX: u32 = 50;

/// A process; without a node while it is down.
pub struct Process {
    pub node: Option<Node>,
    pub id: NodeId,
    /// How often it has died.
    pub life: u64,
    /// How far its clock is off.
    pub skew: i64,
    /// It does nothing before this moment.
    pub stalled_until: i64,
    /// When it is going to wake its node.
    wake_at: Option<i64>,
    spins: u32,
    /// Requests that are not answered yet.
    pub asked: BTreeMap<Token, Asked>,
    pub next_token: Token,
    pub stopping: bool,
    /// What its node executes, when not every run: what it was asked to.
    pub only: Option<BTreeSet<RunId>>,
    /// Runs that it was asked to change.
    pub changed: BTreeSet<RunId>,
}

impl World {
    pub(crate) fn make_processes(&mut self) {
        for p in 0..self.swarm.nodes {
            let skew = self.random.below(2 * self.swarm.skew + 1) as i64 - self.swarm.skew as i64;
            self.processes.push(Process {
                node: None,
                id: NodeId(0),
                life: 0,
                skew,
                stalled_until: 0,
                wake_at: None,
                spins: 0,
                asked: BTreeMap::new(),
                next_token: 0,
                stopping: false,
                only: None,
                changed: BTreeSet::new(),
            });
            let wait = self.random.below(50);
            self.after(wait, Happening::Boot(p));
        }
        self.compare_clocks();
    }

    pub(crate) fn compare_clocks(&mut self) {
        let skews = || self.processes.iter().map(|p| p.skew);
        let apart = skews().max().unwrap_or(0) - skews().min().unwrap_or(0);
        self.clocks_apart |= apart > 1_000;
    }

    /// The time that a process's clock shows.
    pub(crate) fn local(&self, p: usize) -> Millis {
        Millis(self.now + self.processes[p].skew)
    }

    pub(crate) fn boot(&mut self, p: usize) {
        if self.processes[p].node.is_some() {
            return;
        }
        let id = NodeId(self.random.bits() >> 16);
        let now = self.local(p);
        let exclusive = self.store.model().register(now, id, LEASE).exclusive;
        let mut agents = self.agents.clone();
        if self.plant == Some(Plant::IgnoredAgentLimit) {
            for spec in agents.values_mut() {
                let limit = spec.concurrency.map(|c| c + 1);
                std::sync::Arc::make_mut(spec).concurrency = limit;
            }
        }
        let schemas = std::sync::Arc::new(crate::schemas::SimSchemas);
        let mut node = Node::new(id, agents, schemas, self.swarm.max_running, exclusive);
        node.set_publish(self.swarm.publish);
        node.registered(now, now.after(LEASE));
        if let Some(max) = self.swarm.cached_max {
            node.set_runs_cached_max(max);
        }
        if let Some(max) = self.swarm.due_limit {
            node.set_due_rows_max(max);
        }
        // Chance is not asked where this never happens: those seeds are as they ever were.
        let rare = self.swarm.asked_only;
        let asked_only = rare > 0 && self.random.chance(rare);
        if asked_only {
            node.serve_only_asked();
        }
        let triggers = self.swarm.triggers && !asked_only;
        if triggers {
            node.serve_triggers();
        }
        let process = &mut self.processes[p];
        process.only = asked_only.then(BTreeSet::new);
        process.changed.clear();
        process.node = Some(node);
        process.id = id;
        process.stopping = false;
        process.wake_at = None;
        process.stalled_until = 0;
        let life = process.life;
        if !exclusive {
            self.after(LEASE.0 / 3, Happening::Renew(p, life));
        }
        self.drain(p);
        if triggers {
            self.put_triggers(p);
        }
    }

    /// Whether what is meant for this life of a process reaches it now; puts it off when the
    /// process is stalled.
    fn reaches(&mut self, p: usize, life: u64) -> bool {
        self.processes[p].node.is_some() && self.processes[p].life == life
    }

    fn stall(&mut self, p: usize, happening: Happening) -> Option<Happening> {
        let until = self.processes[p].stalled_until;
        if until <= self.now {
            return Some(happening);
        }
        let wait = (until - self.now) as u64 + self.random.below(5);
        self.after(wait, happening);
        None
    }

    pub(crate) fn answered(&mut self, p: usize, life: u64, answer: Box<Answer>) {
        if !self.reaches(p, life) {
            return;
        }
        let Some(happening) = self.stall(p, Happening::Answered(p, life, answer)) else { return };
        let Happening::Answered(_, _, answer) = happening else { return };
        let now = self.local(p);
        let Some(node) = &mut self.processes[p].node else { return };
        match *answer {
            Answer::Committed(outcome) => node.committed(now, outcome),
            Answer::Loaded(ids, found) => node.loaded(now, ids, found),
            Answer::LoadedTriggers(ids, found) => node.triggers_loaded(now, ids, found),
            Answer::Limits(found) => node.limits_loaded(now, found),
            Answer::Due(ask, found) => node.due(now, &ask, found),
            Answer::Resolved(which, Ok(found)) => node.resolved(now, &which, found),
            Answer::Renewed(at) => node.registered(now, at.after(LEASE)),
            Answer::Resolved(which, Err(error)) => node.resolve_failed(now, &which, error),
        }
        self.told(p);
    }

    pub(crate) fn completed(&mut self, p: usize, life: u64, done: Completion) {
        if !self.reaches(p, life) {
            return;
        }
        let Some(happening) = self.stall(p, Happening::Completed(p, life, done)) else { return };
        let Happening::Completed(_, _, mut done) = happening else { return };
        if self.plant == Some(Plant::NoFencing)
            && let Some(shadow) = self.checker.run(done.run)
            && let Some(step) = shadow.steps.get(done.inst as usize)
        {
            done.attempt = step.attempt;
        }
        let now = self.local(p);
        if let Some(node) = &mut self.processes[p].node {
            node.completed(now, done);
        }
        self.told(p);
    }

    pub(crate) fn hinted(&mut self, p: usize) {
        if let Some(node) = &mut self.processes[p].node {
            node.hint();
            self.told(p);
        }
    }

    pub(crate) fn wake(&mut self, p: usize, life: u64, at: i64) {
        if !self.reaches(p, life) || self.processes[p].wake_at != Some(at) {
            return;
        }
        let happening = Happening::Wake(p, life, at);
        if self.stall(p, happening).is_none() {
            return;
        }
        self.processes[p].wake_at = None;
        let now = self.local(p);
        let Some(node) = &mut self.processes[p].node else { return };
        node.wake(now);
        self.drain(p);
        let node = self.processes[p].node.as_ref();
        let again = node.and_then(Node::next_wakeup).is_some_and(|t| t <= now);
        let spins = if again { self.processes[p].spins + 1 } else { 0 };
        self.processes[p].spins = spins;
        if spins > SPINS_MAX {
            let state = node_state(self.processes[p].node.as_ref());
            self.fail(format!("a node asks to be woken without end: {state}"));
        }
    }

    pub(crate) fn polled(&mut self, p: usize, life: u64) {
        if self.reaches(p, life) {
            self.drain(p);
        }
    }

    /// A node has been told something: it is asked what to do, now or a little later.
    pub(crate) fn told(&mut self, p: usize) {
        if self.random.chance(self.swarm.lazy) {
            let life = self.processes[p].life;
            let wait = self.random.below(3);
            self.after(wait, Happening::Poll(p, life));
        } else {
            self.drain(p);
        }
    }

    /// Performs all that a node asks for.
    pub(crate) fn drain(&mut self, p: usize) {
        let now = self.local(p);
        for _ in 0..COMMANDS_MAX {
            let Some(node) = &mut self.processes[p].node else { return };
            match node.poll(now) {
                Some(command) => self.perform(p, command),
                None => {
                    self.set_wake(p);
                    return self.may_end(p);
                }
            }
        }
        self.fail("a node never stops asking".into());
    }

    fn set_wake(&mut self, p: usize) {
        let process = &self.processes[p];
        let Some(at) = process.node.as_ref().and_then(Node::next_wakeup) else { return };
        let at = (at.0 - process.skew).max(self.now + 1);
        if process.wake_at.is_some_and(|set| set <= at && set > self.now) {
            return;
        }
        let life = process.life;
        self.processes[p].wake_at = Some(at);
        self.after((at - self.now) as u64, Happening::Wake(p, life, at));
    }

    fn perform(&mut self, p: usize, command: Command) {
        if !matches!(command, Command::Publish(_)) {
            self.note(|_| format!("  n{p} {}", describe(&command)));
        }
        match command {
            Command::Load(ids) => self.call(p, Request::Load(ids)),
            Command::LoadTriggers(ids) => self.call(p, Request::LoadTriggers(ids)),
            Command::Commit(batch) => {
                self.answer_early(p, &batch);
                self.call(p, Request::Commit(batch));
            }
            Command::LoadLimits => self.call(p, Request::Limits),
            Command::AskDue(ask) => self.call(p, Request::Due(ask)),
            Command::Resolve(which) => self.call(p, Request::Resolve(which)),
            Command::Reply(token, answer) => self.replied(p, token, answer),
            Command::Start(task) => {
                self.last_start = self.now;
                self.start(p, task);
            }
            Command::Stop { run, inst, attempt, release } => {
                self.ask_to_stop((run, inst, attempt), release);
            }
            Command::Publish(committed) => {
                let judged = self.checker.published(&committed);
                self.must(judged);
            }
            Command::Fatal(error) => self.fail(format!("a node gives up: {error}")),
        }
    }

    pub(crate) fn renew(&mut self, p: usize, life: u64) {
        if !self.reaches(p, life) || self.stall(p, Happening::Renew(p, life)).is_none() {
            return;
        }
        let now = self.local(p);
        self.call(p, Request::Renew(now));
        self.after(LEASE.0 / 3, Happening::Renew(p, life));
    }

    // ---- stopping

    pub(crate) fn stop(&mut self, p: usize) {
        let process = &mut self.processes[p];
        let Some(node) = &mut process.node else { return };
        if std::mem::replace(&mut process.stopping, true) {
            return;
        }
        node.drain();
        let life = process.life;
        let wait = self.random.delay(1000);
        self.after(wait, Happening::Release(p, life));
        self.after(wait + 15_000, Happening::GiveUp(p, life));
        self.drain(p);
    }

    pub(crate) fn release(&mut self, p: usize, life: u64) {
        if !self.reaches(p, life) {
            return;
        }
        if let Some(node) = &mut self.processes[p].node {
            node.release_all();
        }
        self.drain(p);
    }

    /// A stopping process ends when its node is quiet.
    fn may_end(&mut self, p: usize) {
        let process = &self.processes[p];
        if !process.stopping || !process.node.as_ref().is_some_and(Node::is_quiet) {
            return;
        }
        let id = process.id;
        let live = self.ledger.live().find(|id_| {
            self.ledger.get(id_.0, id_.1, id_.2).is_some_and(|e| e.node == id && e.process == p)
        });
        if let Some((run, inst, attempt)) = live.copied() {
            self.fail(format!("a node stops while attempt {attempt} of {run} {inst} still runs"));
        }
        self.down(p);
    }

    pub(crate) fn give_up(&mut self, p: usize, life: u64) {
        if !self.reaches(p, life) {
            return;
        }
        let busy =
            !self.ledger.live_of(p).is_empty() || self.calls.values().any(|c| c.process == p);
        let stalled = self.processes[p].stalled_until + 1000 > self.now;
        let state = node_state(self.processes[p].node.as_ref());
        let degraded =
            self.processes[p].node.as_ref().is_some_and(|n| n.status().degraded.is_some());
        if !busy && !degraded && !stalled && self.calm_since.is_some() {
            self.fail(format!("a stopping node never becomes quiet: {state}"));
        }
        self.crash(p);
    }

    /// A process is gone.
    pub(crate) fn down(&mut self, p: usize) {
        let process = &mut self.processes[p];
        process.node = None;
        process.life += 1;
        process.stopping = false;
        process.wake_at = None;
        process.spins = 0;
        let asked = std::mem::take(&mut process.asked);
        self.unanswered(asked);
        let wait = self.random.delay(1500);
        self.after(wait, Happening::Boot(p));
    }

    /// The planted shell that releases effects before they are durable.
    fn answer_early(&mut self, p: usize, batch: &Batch) {
        if self.plant != Some(Plant::EarlyAnswer) {
            return;
        }
        for commit in batch.commits.iter().filter(|c| c.start.is_some()) {
            let asked = self.processes[p].asked.iter();
            let token = asked.filter(|(_, a)| a.starts(commit.run)).map(|(t, _)| *t).next();
            if let Some(token) = token {
                let started = moa_engine::handle::Started::New { run: commit.run };
                self.replied(p, token, moa_engine::node::Answer::Started(Ok(started)));
            }
        }
    }
}

fn node_state(node: Option<&Node>) -> String {
    node.map_or_else(String::new, |n| format!("{:?} next {:?}", n.status(), n.next_wakeup()))
}

fn describe(command: &Command) -> String {
    match command {
        Command::Commit(batch) => {
            let runs = batch.commits.iter().map(|c| {
                let run = c.run.short();
                format!("{run}@{} {:?} consumed {:?}", c.expected, c.events, c.consumed)
            });
            let runs: Vec<_> = runs.collect();
            let triggers = batch.triggers.iter().map(|c| {
                let records = c.records.iter().map(|r| {
                    let o = &r.occurrence;
                    format!("{} {:?} x{}", o.key, o.outcome, o.count)
                });
                let (streak, mark) = (&c.state.streak, c.state.schedule.as_ref().map(|s| s.mark));
                let records: Vec<_> = records.collect();
                format!("{}@{} {records:?} mark {mark:?} {streak:?}", c.id, c.expected)
            });
            let triggers: Vec<_> = triggers.collect();
            let Batch { relays, events, .. } = batch;
            let (runs, relays) = (runs.join("; "), relays.len());
            format!("commit {runs} relays {relays} events {events:?} triggers {triggers:?}")
        }
        Command::Start(task) => format!("start {} attempt {}", task.idempotency_key, task.attempt),
        other => format!("{other:?}"),
    }
}

/// What an attempt that was stopped answers.
pub(crate) fn stopped(release: bool) -> Outcome {
    if release { Outcome::Released } else { Outcome::Cancelled }
}
