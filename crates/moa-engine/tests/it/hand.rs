//! A node driven by hand, commit by commit, at one instant: for what must hold between commits.

use std::collections::BTreeMap;
use std::sync::Arc;

use moa_core::agent::AgentSpec;
use moa_core::event::InstIx;
use moa_core::ids::{Name, NodeId, RunId};
use moa_core::limit::Usage;
use moa_core::time::{Millis, Span};
use moa_engine::node::{Answer, Command, Node};
use moa_ports::agent::Completion;
use moa_ports::memory::MemoryStore;
use moa_ports::store::{Batch, BatchOutcome, Commit, CommitOutcome, Store, WorkflowVersion};
use moa_ports::suite::{answer, build};

use crate::script::{START, agent, agents, ok, plan, schemas};

/// A node, and the store that it is driven over.
pub struct Hand {
    pub node: Node,
    pub store: MemoryStore,
    /// Runs of which the store can't take what is made of them.
    pub refused: Vec<RunId>,
    pub answers: BTreeMap<u64, Answer>,
    /// Runs of which an attempt was started, in order.
    pub started: Vec<RunId>,
    /// Attempts that run, in order.
    pub running: Vec<(RunId, InstIx, u32)>,
    /// How often the store was asked what is due.
    pub asks: u32,
    /// How many runs were loaded.
    pub loads: usize,
    /// The most runs that were in memory at once, loading or not.
    pub most_cached: usize,
    /// The agents that a restart finds.
    pub agents: BTreeMap<Name, Arc<AgentSpec>>,
    /// Runs of which an attempt was asked to stop, in order.
    pub stopped: Vec<RunId>,
    /// The instant.
    pub now: Millis,
    starts: u64,
}

impl Hand {
    pub fn new(texts: &[(&str, &str)]) -> Self {
        Self::over(MemoryStore::single(), texts)
    }

    /// A node of several.
    pub fn shared(texts: &[(&str, &str)]) -> Self {
        Self::shared_until(texts, START.after(Span::minutes(60)))
    }

    /// A node of several, which knows that it is registered until then.
    pub fn shared_until(texts: &[(&str, &str)], until: Millis) -> Self {
        let mut hand = Self::over(MemoryStore::shared(), texts);
        hand.node.registered(START, until);
        hand.wake();
        hand
    }

    fn over(store: MemoryStore, texts: &[(&str, &str)]) -> Self {
        for (id, text) in texts {
            let plan = plan(id, text);
            let version = WorkflowVersion {
                hash: plan.hash,
                plan: serde_json::to_string(&plan).expect("a plan is JSON"),
                ..build::version(id, 1, None)
            };
            store.put_workflow(START, version, Box::new(|_| ()));
        }
        let agents = agents([agent("a")]);
        Self {
            node: new_node(&store, 1, &agents),
            store,
            refused: Vec::new(),
            answers: BTreeMap::new(),
            started: Vec::new(),
            running: Vec::new(),
            asks: 0,
            loads: 0,
            most_cached: 0,
            agents,
            stopped: Vec::new(),
            now: START,
            starts: 1,
        }
    }

    /// The process dies and starts again: only what is durable is left.
    pub fn restart(&mut self) {
        self.starts += 1;
        self.node = new_node(&self.store, self.starts, &self.agents);
        self.running.clear();
        self.most_cached = 0;
    }

    /// The attempt that runs longest succeeds.
    pub fn end_first(&mut self) {
        let (run, inst, attempt) = self.running.remove(0);
        let outcome = ok(serde_json::json!({}));
        self.node
            .completed(self.now, Completion { run, inst, attempt, outcome, usage: Usage::NONE });
    }

    pub fn commit(&self, mut batch: Batch) -> BatchOutcome {
        let refused = |commit: &Commit| self.refused.contains(&commit.run);
        let positions: Vec<usize> =
            (0..).zip(&batch.commits).filter(|(_, c)| refused(c)).map(|(i, _)| i).collect();
        batch.commits.retain(|commit| !refused(commit));
        let mut outcome = answer(|reply| self.store.commit(batch, reply)).expect("it is written");
        for position in positions {
            outcome.commits.insert(position, CommitOutcome::Invalid("too odd".into()));
        }
        outcome
    }

    /// Performs all that the node asks for.
    pub fn settle(&mut self) {
        while self.step() {}
    }

    /// Performs all that the node asks for up to the next commit; false when there was none.
    pub fn step(&mut self) -> bool {
        let asked = self.asks;
        while let Some(command) = self.node.poll(self.now) {
            self.most_cached = self.most_cached.max(self.node.status().runs_cached);
            assert!(self.asks < asked + 1000, "it asks what is due without end");
            let commit = matches!(command, Command::Commit(_));
            self.perform(command);
            if commit {
                return true;
            }
        }
        false
    }

    /// Performs all that the node asks for up to something, and answers that.
    pub fn up_to(&mut self, what: impl Fn(&Command) -> bool) -> Command {
        loop {
            let command = self.node.poll(self.now).expect("it asks for that");
            if what(&command) {
                return command;
            }
            self.perform(command);
        }
    }

    pub fn perform(&mut self, command: Command) {
        match command {
            Command::Load(ids) => {
                self.loads += ids.len();
                let found = answer(|reply| self.store.load(ids.clone(), reply));
                self.node.loaded(self.now, ids, found);
            }
            Command::Commit(batch) => {
                let outcome = self.commit(batch);
                self.node.committed(self.now, Ok(outcome));
            }
            Command::LoadTriggers(ids) => {
                let found = answer(|reply| self.store.load_triggers(ids.clone(), reply));
                self.node.triggers_loaded(self.now, ids, found);
            }
            Command::LoadLimits => {
                let found = answer(|reply| self.store.limits(reply));
                self.node.limits_loaded(self.now, found);
            }
            Command::AskDue(ask) => {
                self.asks += 1;
                let due = answer(|reply| self.store.due(ask.clone(), reply));
                self.node.due(self.now, &ask, due);
            }
            Command::Resolve(which) => {
                let found = answer(|reply| self.store.workflow(which.clone(), reply));
                self.node.resolved(self.now, &which, found.expect("it is read"));
            }
            Command::Reply(token, answer) => _ = self.answers.insert(token, answer),
            Command::Start(task) => {
                self.started.push(task.run);
                self.running.push((task.run, task.inst, task.attempt));
            }
            Command::Stop { run, .. } => self.stopped.push(run),
            Command::Publish(_) => {}
            Command::Fatal(error) => panic!("{error}"),
        }
    }
}

impl Hand {
    /// Lets time pass until the node wants to be woken.
    pub fn wake(&mut self) {
        self.now = self.node.next_wakeup().map_or(self.now, |at| at.max(self.now));
        self.node.wake(self.now);
    }

    /// Another node does something with the same store, up to its first commit.
    pub fn elsewhere(&mut self, act: impl FnOnce(&mut Node)) {
        let other = Node::new(NodeId(99), agents([agent("a")]), schemas(), 10, true);
        let here = std::mem::replace(&mut self.node, other);
        act(&mut self.node);
        assert!(self.step(), "it commits");
        self.node = here;
    }

    /// Attempts that hold a slot.
    pub fn slots_taken(&self) -> u32 {
        self.node.status().running.values().sum()
    }
}

fn new_node(store: &MemoryStore, start: u64, agents: &BTreeMap<Name, Arc<AgentSpec>>) -> Node {
    let id = NodeId(start);
    let register = |reply| store.register(START, id, Span::minutes(60), reply);
    let exclusive = answer(register).expect("it is registered").exclusive;
    Node::new(id, agents.clone(), schemas(), 10, exclusive)
}
