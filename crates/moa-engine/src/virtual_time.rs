//! The real engine on virtual time: one node over a store (in memory, where nothing else is said),
//! mocked attempts, and a clock that jumps to the next thing that is due. Weeks pass in milliseconds.
//! For `moa test` and for tests.
//!
//! Nothing here is a model of the engine: node and run machine are the ones that production runs.

use std::collections::BTreeMap;
use std::sync::Arc;

use moa_core::agent::AgentSpec;
use moa_core::event::Published;
use moa_core::ids::{Name, NodeId, RunId, VersionHash};
use moa_core::limit::Usage;
use moa_core::machine::{Graph, Outcome, Run};
use moa_core::schema::Schemas;
use moa_core::time::{Millis, Span};
use moa_core::trigger::{TriggerAnswer, TriggerId, TriggerInput, TriggerSpec};
use moa_core::workflow::Plan;
use moa_ports::agent::{Completion, Task};
use moa_ports::memory::MemoryStore;
use moa_ports::store::{Error as StoreError, Reply, Store, WorkflowRef, WorkflowVersion};

use serde_json::Value as Json;

use crate::handle::{Change, Error, ForkRequest, StartRequest, Started, Status};
use crate::node::{Answer, Command, Node, Token};

/// What a mocked attempt does: how long it takes, and how it ends. `None` = it never ends by itself.
pub type Mock<'a> = Box<dyn FnMut(&Task, Millis) -> Option<(Span, Outcome)> + 'a>;

/// A world on virtual time.
pub struct World<'a, S: Store + ?Sized = MemoryStore> {
    node: Node,
    agents: BTreeMap<Name, Arc<AgentSpec>>,
    schemas: Arc<dyn Schemas>,
    /// How often it has started.
    starts: u64,
    store: Arc<S>,
    now: Millis,
    mock: Mock<'a>,
    attempts: BTreeMap<(Millis, u64), Completion>,
    running: Vec<(RunId, u32, u32)>,
    count: u64,
    answers: BTreeMap<Token, Answer>,
    /// Attempts as they started: instant, step, attempt.
    pub started: Vec<(Millis, RunId, String, u32)>,
    /// What each attempt says that it has spent.
    pub usage: Usage,
}

/// Why a world came to rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rest {
    /// Nothing is due any more: all has ended, or waits for something from outside.
    Idle,
    /// The virtual time is over.
    TimeOver,
    /// More than [`STEPS_MAX`] things happened: it would never end.
    Endless,
}

/// Things that may happen before a world counts as endless.
pub const STEPS_MAX: u64 = 10_000_000;

impl<'a> World<'a> {
    /// A world that starts at an instant, with agents whose attempts `mock` answers. `schemas`
    /// compiles the schemas of outputs and params.
    pub fn new(
        now: Millis,
        agents: BTreeMap<Name, Arc<AgentSpec>>,
        schemas: Arc<dyn Schemas>,
        mock: Mock<'a>,
    ) -> Self {
        Self::on(Arc::new(MemoryStore::single()), now, agents, schemas, mock)
    }
}

impl<'a, S: Store + ?Sized> World<'a, S> {
    /// The same on a store that nobody else writes to.
    pub fn on(
        store: Arc<S>,
        now: Millis,
        agents: BTreeMap<Name, Arc<AgentSpec>>,
        schemas: Arc<dyn Schemas>,
        mock: Mock<'a>,
    ) -> Self {
        let node = new_node(now, 1, &*store, &agents, &schemas);
        Self {
            node,
            agents,
            schemas,
            starts: 1,
            store,
            now,
            mock,
            attempts: BTreeMap::new(),
            running: Vec::new(),
            count: 0,
            answers: BTreeMap::new(),
            started: Vec::new(),
            usage: Usage::NONE,
        }
    }

    /// Other agents, as when their files have changed; what waits is looked at when something happens.
    pub fn set_agents(&mut self, agents: BTreeMap<Name, Arc<AgentSpec>>) {
        self.node.set_agents(agents.clone());
        self.agents = agents;
    }

    /// The process dies and starts again at once: only what is durable is left.
    pub fn restart(&mut self) {
        self.starts += 1;
        self.node = new_node(self.now, self.starts, &*self.store, &self.agents, &self.schemas);
        self.attempts.clear();
        self.running.clear();
        self.answers.clear();
    }

    /// The process dies, and another starts at once that executes only what it is asked to.
    pub fn restart_for_asked(&mut self) {
        self.restart();
        self.node.serve_only_asked();
    }

    /// Asks the node to stop: what runs may end, nothing new starts.
    pub fn drain(&mut self) {
        self.node.drain();
        self.settle();
    }

    /// Executes this run too.
    pub fn serve(&mut self, run: RunId) {
        self.node.serve(run);
        self.settle();
    }

    /// The instant.
    pub fn now(&self) -> Millis {
        self.now
    }

    /// What the node is doing.
    pub fn status(&self) -> Status {
        self.node.status()
    }

    /// The store, to look at.
    pub fn store(&self) -> &S {
        &self.store
    }

    /// Makes a workflow known.
    pub fn put(&mut self, plan: &Plan) -> Result<(), serde_json::Error> {
        let version = WorkflowVersion {
            workflow: plan.workflow.clone(),
            hash: plan.hash,
            version: plan.version.clone(),
            source: String::new(),
            plan: serde_json::to_string(plan)?,
            created_at: self.now,
        };
        self.store.put_workflow(self.now, version, Box::new(|_| ()));
        Ok(())
    }

    fn token(&mut self) -> Token {
        self.count += 1;
        self.count
    }

    /// Starts a run.
    pub fn start(&mut self, request: StartRequest) -> Result<Started, Error> {
        let token = self.token();
        let run = RunId::v7(self.now.0.unsigned_abs(), u128::from(token));
        self.node.start(self.now, token, run, request);
        self.settle();
        match self.answers.remove(&token) {
            Some(Answer::Started(result)) => result,
            _ => Err(Error::Stopping),
        }
    }

    /// Changes a run.
    pub fn change(&mut self, run: RunId, change: Change) -> Result<(), Error> {
        let token = self.token();
        self.node.change(self.now, token, run, change);
        self.settle();
        match self.answers.remove(&token) {
            Some(Answer::Changed(result)) => result,
            _ => Err(Error::Stopping),
        }
    }

    /// Makes a trigger, or changes what it says.
    pub fn put_trigger(&mut self, spec: TriggerSpec) -> Result<TriggerAnswer, Error> {
        self.trigger(spec.id(), TriggerInput::Put { spec: Arc::new(spec) })
    }

    /// Does something with a trigger, or tells it something.
    pub fn trigger(&mut self, id: TriggerId, input: TriggerInput) -> Result<TriggerAnswer, Error> {
        let token = self.token();
        self.node.trigger(self.now, token, id, input);
        self.settle();
        match self.answers.remove(&token) {
            Some(Answer::Trigger(result)) => result,
            _ => Err(Error::Stopping),
        }
    }

    /// Publishes an event; answers whether it is new.
    pub fn publish(&mut self, event: &str, data: Json, key: Option<&str>) -> Result<bool, Error> {
        let token = self.token();
        let (event, key, data) = (event.to_owned(), key.map(str::to_owned), Arc::new(data));
        self.node.publish(token, Published { event, key, data, ..Published::default() });
        self.settle();
        match self.answers.remove(&token) {
            Some(Answer::Published(result)) => result.map(|posted| posted.new),
            _ => Err(Error::Stopping),
        }
    }

    /// Repeats a run in part.
    pub fn fork(&mut self, request: ForkRequest) -> Result<RunId, Error> {
        let token = self.token();
        let run = RunId::v7(self.now.0.unsigned_abs(), u128::from(token));
        self.node.fork(self.now, token, run, request);
        self.settle();
        match self.answers.remove(&token) {
            Some(Answer::Forked(result)) => result,
            _ => Err(Error::Stopping),
        }
    }

    /// Lets time pass until nothing is due, or until `limit` from now.
    pub fn run(&mut self, limit: Span) -> Rest {
        let end = self.now.after(limit);
        for _ in 0..STEPS_MAX {
            if let Some(rest) = self.step(end) {
                return rest;
            }
        }
        Rest::Endless
    }

    /// Lets time pass until the next thing happens, at most until `end`; answers when none does.
    pub fn step(&mut self, end: Millis) -> Option<Rest> {
        self.settle();
        let attempt = self.attempts.first_key_value().map(|((at, _), _)| *at);
        let timer = self.node.next_wakeup();
        let Some(next) = [attempt, timer].into_iter().flatten().min() else {
            return Some(Rest::Idle);
        };
        if next > end {
            self.now = self.now.max(end);
            return Some(Rest::TimeOver);
        }
        self.now = self.now.max(next);
        if let Some(entry) = self.attempts.first_entry()
            && entry.key().0 <= self.now
        {
            let done = entry.remove();
            self.running.retain(|r| *r != (done.run, done.inst, done.attempt));
            self.node.completed(self.now, done);
        }
        self.node.wake(self.now);
        self.settle();
        None
    }

    /// Lets time pass in which nothing happens.
    pub fn skip(&mut self, time: Span) {
        self.now = self.now.after(time);
    }

    /// Somebody sets the wall clock, to so many milliseconds ahead of [`World::now`].
    pub fn set_wall(&mut self, ahead: i64) {
        self.node.wall_set(ahead);
        self.settle();
    }

    /// Does all that is to be done at this instant.
    fn settle(&mut self) {
        while let Some(command) = self.node.poll(self.now) {
            self.perform(command);
        }
    }

    fn perform(&mut self, command: Command) {
        let now = self.now;
        match command {
            Command::Load(ids) => {
                let found = answer(|reply| self.store.load(ids.clone(), reply));
                self.node.loaded(now, ids, found);
            }
            Command::LoadTriggers(ids) => {
                let found = answer(|reply| self.store.load_triggers(ids.clone(), reply));
                self.node.triggers_loaded(now, ids, found);
            }
            Command::Commit(batch) => {
                let outcome = answer(|reply| self.store.commit(batch, reply));
                self.node.committed(now, outcome);
            }
            Command::LoadLimits => {
                let found = answer(|reply| self.store.limits(reply));
                self.node.limits_loaded(now, found);
            }
            Command::AskDue(ask) => {
                let due = answer(|reply| self.store.due(ask.clone(), reply));
                self.node.due(now, &ask, due);
            }
            Command::Resolve(which) => {
                let found = answer(|reply| self.store.workflow(which.clone(), reply));
                self.node.resolved(now, &which, found.ok().flatten());
            }
            Command::Reply(token, answer) => {
                self.answers.insert(token, answer);
            }
            Command::Start(task) => self.attempt(&task),
            Command::Stop { run, inst, attempt, release } => {
                if self.running.contains(&(run, inst, attempt)) {
                    let usage = self.usage;
                    let outcome = if release { Outcome::Released } else { Outcome::Cancelled };
                    self.attempts.retain(|_, d| (d.run, d.inst, d.attempt) != (run, inst, attempt));
                    self.end(Span(0), Completion { run, inst, attempt, outcome, usage });
                }
            }
            Command::Publish(_) | Command::Fatal(_) => {}
        }
    }

    fn attempt(&mut self, task: &Task) {
        self.started.push((self.now, task.run, step_name(task), task.attempt));
        self.running.push((task.run, task.inst, task.attempt));
        if let Some((after, outcome)) = (self.mock)(task, self.now) {
            let (run, inst, attempt, usage) = (task.run, task.inst, task.attempt, self.usage);
            self.end(after, Completion { run, inst, attempt, outcome, usage });
        }
    }

    fn end(&mut self, after: Span, done: Completion) {
        self.count += 1;
        self.attempts.insert((self.now.after(after), self.count), done);
    }

    /// A run as the store has it.
    pub fn run_state(&self, run: RunId) -> Option<Run> {
        let snapshot = answer(|reply| self.store.load(vec![run], reply)).ok()?.pop()??;
        let graph = self.graph(snapshot.row.hash)?;
        Run::restore(snapshot.row, snapshot.steps, snapshot.version, Arc::new(graph)).ok()
    }

    fn graph(&self, hash: VersionHash) -> Option<Graph> {
        let which = WorkflowRef::Hash(hash);
        let version = answer(|reply| self.store.workflow(which, reply)).ok()??;
        Graph::new(serde_json::from_str(&version.plan).ok()?).ok()
    }
}

/// Attempts at once in a world.
const RUNNING_MAX: u32 = 1_000;

fn new_node<S: Store + ?Sized>(
    now: Millis,
    start: u64,
    store: &S,
    agents: &BTreeMap<Name, Arc<AgentSpec>>,
    schemas: &Arc<dyn Schemas>,
) -> Node {
    let id = NodeId(start);
    // Every call after this one is done after it.
    store.register(now, id, Span::minutes(1), Box::new(|_| ()));
    let mut node = Node::new(id, agents.clone(), schemas.clone(), RUNNING_MAX, true);
    node.serve_triggers();
    node
}

/// How people name the step of a task: `lint`, or `lint[2]` inside a loop.
pub fn step_name(task: &Task) -> String {
    match task.iteration.as_str() {
        "" => task.step.clone(),
        iteration => format!("{}[{iteration}]", task.step),
    }
}

/// The answer of a store, waited for: inline, or on the store's thread.
fn answer<T: Send + 'static>(ask: impl FnOnce(Reply<T>)) -> Result<T, StoreError> {
    let (tx, rx) = std::sync::mpsc::channel();
    ask(Box::new(move |result| drop(tx.send(result))));
    rx.recv().unwrap_or_else(|_| Err(StoreError::Invalid("no answer".into())))
}
