//! The node machine: one process's share of the work, without I/O, clock or threads.
//!
//! It gathers every input that arrives while a commit is under way, applies them in memory, and asks
//! for one batch; what follows (answers, attempts, hints) is asked for only after the batch is
//! durable. At most one commit is in flight. Contract, as in a sans-IO protocol: call a `handle`
//! method, then drain [`Node::poll`]; call [`Node::wake`] when [`Node::next_wakeup`] has come. Time
//! never goes back between two calls.
//!
//! When a commit is refused (`Conflict`) or its outcome is unknown, the runs of it are forgotten,
//! loaded again, and their inputs applied again: every input may come twice. That is the property
//! that the simulator hammers.
//!
//! Absent: what a store or a worker is. N nodes over one store need no leader: see `docs/`.

mod committed;
mod due;
mod gather;
mod hash;
mod limits;
mod names;
mod quarantine;
mod queue;
mod scope;
mod slots;
mod starts;
mod triggers;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use moa_core::agent::AgentSpec;
use moa_core::ids::{Name, NodeId, RunId, VersionHash};
use moa_core::limits::{BATCH_INPUTS_MAX, DUE_ROWS_MAX, RUNS_CACHED_MAX};
use moa_core::machine::{Graph, Run};
use moa_core::schema::Schemas;
use moa_core::time::{Millis, Span};
use moa_core::trigger::{TriggerAnswer, TriggerId};
use moa_ports::agent::{Completion, Task};
use moa_ports::store::{self, Batch, DueAsk, MessageId, Snapshot, WorkflowRef, WorkflowVersion};
use moa_ports::triggers::Posted;

use crate::handle::{
    Change, Committed, Error, ForkRequest, LeftUsage, StartRequest, Started, Status,
};
use crate::meter::Meter;

use gather::{Pending, Queued};
use hash::RunMap;
use scope::Scope;
use slots::Slots;

/// The caller's name for a request; its answer carries the same.
pub type Token = u64;

/// What the node asks its shell for.
#[derive(Debug)]
pub enum Command {
    /// Load these runs, then call `loaded`.
    Load(Vec<RunId>),
    /// Load these triggers, then call `triggers_loaded`.
    LoadTriggers(Vec<TriggerId>),
    /// Load what has been used of agents' limits, then call `limits_loaded`.
    LoadLimits,
    /// Commit this batch, then call `committed`.
    Commit(Batch),
    /// Ask the store what is due, then call `due`.
    AskDue(DueAsk),
    /// Look up a workflow version, then call `resolved`.
    Resolve(WorkflowRef),
    /// Answer a request.
    Reply(Token, Answer),
    /// Hand an attempt to the worker.
    Start(Box<Task>),
    /// Ask the worker to stop an attempt.
    Stop {
        /// The run.
        run: RunId,
        /// The step.
        inst: u32,
        /// The attempt.
        attempt: u32,
        /// Whether the node is shutting down (the attempt doesn't count).
        release: bool,
    },
    /// Tell subscribers.
    Publish(Committed),
    /// The store is damaged or too new: stop.
    Fatal(moa_ports::store::Error),
}

/// An answer to a request.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// To `start`.
    Started(Result<Started, Error>),
    /// To `change`.
    Changed(Result<(), Error>),
    /// To `fork`.
    Forked(Result<RunId, Error>),
    /// To `trigger`.
    Trigger(Result<TriggerAnswer, Error>),
    /// To `publish`: the event's number, and whether it is new.
    Published(Result<Posted, Error>),
}

/// A run in the node's memory.
enum Entry {
    /// Asked of the store; inputs wait.
    Loading(Loading),
    /// In memory.
    Live(Box<Live>),
}

struct Loading {
    /// What waits for the run.
    waiting: Vec<Queued>,
    /// How many of them there were when it was asked for. The others may be for a run that came to be
    /// after the store had looked for it.
    asked_for: usize,
}

struct Live {
    run: Run,
    /// The run at the top, as the store says; `None` = it was made here.
    root: Option<RunId>,
    /// What the next batch will write of it.
    pending: Option<Box<Pending>>,
    /// What the batch in flight writes of it.
    in_flight: Option<Box<Pending>>,
    /// Attempts of it that this node runs.
    leased: u32,
    /// When it was last used, for eviction.
    used: u64,
}

/// One moa process's share of the work.
pub struct Node {
    id: NodeId,
    scope: Scope,
    agents: BTreeMap<Name, Arc<AgentSpec>>,
    schemas: Arc<dyn Schemas>,
    graphs: BTreeMap<VersionHash, Arc<Graph>>,
    runs: RunMap<RunId, Entry>,
    slots: Slots,
    limits: limits::Limits,
    left: LeftUsage,
    triggers: triggers::Triggers,
    /// Runs with something for the next batch, in order of their first input.
    gathering: Vec<RunId>,
    gathered: usize,
    relays: Vec<moa_ports::store::Relay>,
    /// Events of the bus that the next batch hands on.
    events: Vec<MessageId>,
    /// Runs of the batch in flight; `None` = no commit is in flight.
    in_flight: Option<Vec<RunId>>,
    /// Number of the batch that is gathered now.
    batch: u64,
    /// What is due is not asked for again before this batch is durable; 0 = it is.
    due_after: u64,
    due_asked: bool,
    due_wanted: bool,
    lost_wanted: bool,
    next_timer: Option<Millis>,
    armed: Armed,
    /// Runs asked of the store.
    loads: usize,
    /// Runs with leases in commits of unknown outcome.
    doubtful: BTreeMap<RunId, Doubt>,
    resolving: HashMap<WorkflowKey, Vec<starts::Waiting>>,
    parked: HashMap<VersionHash, Vec<(RunId, Snapshot)>>,
    /// Runs that nothing is done with until the next start, and why.
    quarantined: BTreeMap<RunId, String>,
    idle: VecDeque<(u64, RunId)>,
    tick: u64,
    /// Set from the moment on at which the store failed until it works again.
    degraded: Option<Degraded>,
    held: Vec<(RunId, Queued)>,
    out: VecDeque<Command>,
    publish: bool,
    /// What has been done, in numbers.
    pub(crate) meter: Meter,
    draining: bool,
    exclusive: bool,
    commits: u64,
    next_poll: Millis,
    runs_cached_max: usize,
    /// Whether runs came into memory, or became idle, since the last look at how many there are.
    crowded: bool,
    due_rows_max: usize,
    /// Since when and until when it is registered without a gap, where it is one of several.
    registered: Option<(Millis, Millis)>,
}

/// Leases that may have been written, may be written yet, or never will be. Decided as soon as the
/// run has a later version than the commit was made from; until then a node of several looks again
/// and again.
struct Doubt {
    /// The version that the commit was made from.
    expected: u64,
    /// The attempts; started if it turns out written. They keep their slots until the run is loaded.
    tasks: Vec<Task>,
}

/// A store that failed.
struct Degraded {
    /// When it is tried again.
    retry_at: Millis,
    /// Failures in a row.
    tries: u32,
    /// Why, for people.
    reason: String,
    /// Whether a read failed; then a read that works shows that it works again.
    reading: bool,
    /// Whether it is being tried again: everything is let through until it fails once more.
    probing: bool,
}

/// The soonest of the timers that the store may not know yet.
#[derive(Default)]
struct Armed {
    /// Armed in the batch that is gathered.
    gathered: Option<Millis>,
    /// Armed in the batch in flight.
    in_flight: Option<Millis>,
    /// Armed by what was not durable when the store was asked what is due.
    since_asked: Option<Millis>,
}

impl Armed {
    fn arm(&mut self, due: Millis) {
        let soonest = |at: &mut Option<Millis>| *at = Some(at.map_or(due, |t| t.min(due)));
        soonest(&mut self.gathered);
        soonest(&mut self.since_asked);
    }

    /// Brings everything forward.
    fn hasten(&mut self, by: Span) {
        for at in [&mut self.gathered, &mut self.in_flight, &mut self.since_asked] {
            *at = at.map(|at| Millis(at.0.saturating_sub_unsigned(by.0)));
        }
    }
}

type WorkflowKey = (Option<VersionHash>, String, Option<String>);

/// How often a node of several looks for what others left.
const POLL: Span = Span(2_000);

/// How much of its registration a node must have left to start an attempt: as far as the clocks of
/// two nodes may be apart.
const START_MARGIN: Span = Span(1_500);

impl Node {
    /// A node that has nothing in memory and serves every run. `exclusive`: it is the only one there
    /// can be.
    pub fn new(
        id: NodeId,
        agents: BTreeMap<Name, Arc<AgentSpec>>,
        schemas: Arc<dyn Schemas>,
        max_running: u32,
        exclusive: bool,
    ) -> Self {
        Self {
            id,
            scope: Scope::default(),
            slots: Slots::new(max_running),
            limits: limits::Limits::default(),
            triggers: triggers::Triggers::default(),
            agents,
            schemas,
            graphs: BTreeMap::new(),
            runs: RunMap::default(),
            gathering: Vec::new(),
            gathered: 0,
            relays: Vec::new(),
            events: Vec::new(),
            in_flight: None,
            batch: 1,
            due_after: 0,
            due_asked: false,
            due_wanted: true,
            lost_wanted: true,
            next_timer: None,
            armed: Armed::default(),
            loads: 0,
            doubtful: BTreeMap::new(),
            resolving: HashMap::new(),
            parked: HashMap::new(),
            quarantined: BTreeMap::new(),
            idle: VecDeque::new(),
            tick: 0,
            degraded: None,
            held: Vec::new(),
            out: VecDeque::new(),
            publish: false,
            meter: Meter::default(),
            draining: false,
            exclusive,
            commits: 0,
            next_poll: Millis(0),
            runs_cached_max: RUNS_CACHED_MAX,
            crowded: false,
            due_rows_max: DUE_ROWS_MAX,
            registered: None,
            left: LeftUsage::new(),
        }
    }

    // ---- handles: what happened

    /// Somebody wants a run. `run` is the id that it gets if it is new.
    pub fn start(&mut self, now: Millis, token: Token, run: RunId, request: StartRequest) {
        match self.refusal() {
            Some(error) => self.reply(token, Answer::Started(Err(error))),
            None => self.resolve_start(now, token, run, request),
        }
    }

    /// Somebody wants a run changed.
    pub fn change(&mut self, now: Millis, token: Token, run: RunId, change: Change) {
        match self.refusal() {
            Some(error) => self.reply(token, Answer::Changed(Err(error))),
            None => {
                let input = gather::change_input(change, self.id, token);
                self.submit(now, run, Queued::request(token, input));
            }
        }
    }

    /// Somebody wants a run repeated in part. `run` is the id that the new one gets.
    pub fn fork(&mut self, now: Millis, token: Token, run: RunId, request: ForkRequest) {
        match self.refusal() {
            Some(error) => self.reply(token, Answer::Forked(Err(error))),
            None => {
                let source = request.run;
                self.submit(now, source, Queued::Fork { token, run, request: Box::new(request) });
            }
        }
    }

    /// An attempt ended.
    pub fn completed(&mut self, now: Millis, done: Completion) {
        let Completion { run, inst, attempt, outcome, usage } = done;
        if let Some(lease) = self.slots.release(run, inst, attempt) {
            self.meter.attempt(&lease.agent, now.since(lease.since), &outcome);
            if let Some(spec) = self.agents.get(&lease.agent) {
                self.limits.settle(spec, &outcome, now);
                // Also of an attempt whose end the run does not take any more, such as one that was
                // terminated meanwhile.
                self.limits.spend(spec, (run, inst, attempt), usage, now, None);
            }
            self.slot_freed(run, inst);
        }
        let input = moa_core::machine::Input::TaskDone { step: inst, attempt, outcome, usage };
        self.submit(now, run, Queued::own(input));
    }

    /// Other agents from now on.
    pub fn set_agents(&mut self, agents: BTreeMap<Name, Arc<AgentSpec>>) {
        self.agents = agents;
    }

    /// What attempts of earlier nodes have spent, as far as they wrote it down: it is counted when they turn
    /// out to be lost.
    pub fn set_left(&mut self, left: LeftUsage) {
        self.left = left;
    }

    /// Whether committed changes are published.
    pub fn set_publish(&mut self, publish: bool) {
        self.publish = publish;
    }

    /// How many runs stay in memory, when not [`RUNS_CACHED_MAX`].
    pub fn set_runs_cached_max(&mut self, max: usize) {
        self.runs_cached_max = max.max(1);
    }

    /// How many rows the store is asked for at once, when not [`DUE_ROWS_MAX`].
    pub fn set_due_rows_max(&mut self, max: usize) {
        self.due_rows_max = max.max(1);
        self.slots.set_rows_max(self.due_rows_max);
    }

    /// The node has heard that it is registered until an instant, by its own clock. Beyond it, others
    /// may take its attempts for lost: none is started any more shortly before that, nor one that was
    /// leased before a gap. There may have been one when this is heard only after the last
    /// registration: nobody knows when the store got to it.
    pub fn registered(&mut self, now: Millis, until: Millis) {
        self.registered = Some(match self.registered {
            Some((since, last)) if now.after(START_MARGIN) < last => (since, until.max(last)),
            _ => (now, until),
        });
    }

    /// Whether an attempt that was leased at an instant may start.
    fn may_start(&self, now: Millis, leased_at: Millis) -> bool {
        let holds = |(since, until)| leased_at >= since && now.after(START_MARGIN) < until;
        self.exclusive || self.registered.is_some_and(holds)
    }

    /// There may be messages, timers or tasks from elsewhere.
    pub fn hint(&mut self) {
        self.due_wanted = true;
    }

    /// Starts no new attempt from now on, refuses requests for runs, and leaves what happens to
    /// triggers to the next start.
    pub fn drain(&mut self) {
        self.draining = true;
    }

    /// Asks every running attempt to stop without counting it.
    pub fn release_all(&mut self) {
        for (run, inst, attempt) in self.slots.leased() {
            self.out.push_back(Command::Stop { run, inst, attempt, release: true });
        }
    }

    /// The time of [`Node::next_wakeup`] has come.
    pub fn wake(&mut self, now: Millis) {
        if let Some(degraded) = self.degraded.as_mut().filter(|d| !d.probing && d.retry_at <= now) {
            degraded.probing = true;
            self.due_wanted = true;
            self.submit_held(now);
        }
        if self.next_timer.is_some_and(|t| t <= now) {
            self.due_wanted = true;
        }
        if !self.exclusive && self.next_poll <= now {
            self.next_poll = now.after(POLL);
            self.due_wanted = true;
            self.lost_wanted = true;
            // Also tasks that nobody has claimed yet: who had them in its queue may be gone.
            self.slots.more_in_store = true;
            if !self.is_degraded() {
                self.look_at_doubtful();
            }
        }
    }

    /// A workflow version was looked up.
    pub fn resolved(&mut self, now: Millis, which: &WorkflowRef, found: Option<WorkflowVersion>) {
        self.resolve_done(now, which, found);
    }

    /// The store failed to look up a workflow version.
    pub fn resolve_failed(&mut self, now: Millis, which: &WorkflowRef, error: store::Error) {
        self.not_resolved(now, which, error);
    }

    // ---- polls: what is to be done

    /// The next thing that the shell should do, if there is one.
    pub fn poll(&mut self, now: Millis) -> Option<Command> {
        if let Some(command) = self.out.pop_front() {
            return Some(command);
        }
        self.fill_slots(now);
        if let Some(command) = self.out.pop_front() {
            return Some(command);
        }
        if std::mem::take(&mut self.crowded) {
            self.evict();
        }
        if let Some(command) = self.ask_limits() {
            return Some(command);
        }
        if let Some(batch) = self.build_batch(now) {
            return Some(Command::Commit(batch));
        }
        self.ask_due(now).map(Command::AskDue)
    }

    /// When to call [`Node::wake`] if nothing else happens before.
    pub fn next_wakeup(&self) -> Option<Millis> {
        let retry = self.degraded.as_ref().filter(|d| !d.probing).map(|d| d.retry_at);
        let poll = (!self.exclusive).then_some(self.next_poll);
        let may_ask = !self.due_asked && !self.due_is_open() && !self.is_degraded();
        let timer = self.next_timer.filter(|_| may_ask);
        [retry, poll, timer, self.limits.wake].into_iter().flatten().min()
    }

    /// Whether a batch is so full that inputs should wait for the commit in flight.
    pub fn is_full(&self) -> bool {
        self.gathered >= BATCH_INPUTS_MAX
    }

    /// Whether nothing is running, gathered or in flight.
    pub fn is_quiet(&self) -> bool {
        self.in_flight.is_none()
            && self.gathering.is_empty()
            && self.relays.is_empty()
            && self.events.is_empty()
            && self.held.is_empty()
            && self.triggers.are_quiet()
            && self.slots.is_empty(self.draining)
    }

    /// What it is doing.
    pub fn status(&self) -> Status {
        let ready = self.slots.ready();
        Status {
            running: self.slots.running(),
            held: self.limits.held(&self.agents, &ready),
            ready,
            runs_cached: self.runs.len(),
            commits: self.commits,
            batches: self.batch - 1,
            degraded: self.degraded.as_ref().map(|d| d.reason.clone()),
            stopping: self.draining,
            quarantined: self.shown_quarantined(),
            only: self.scope.only(),
        }
    }

    fn reply(&mut self, token: Token, answer: Answer) {
        self.out.push_back(Command::Reply(token, answer));
    }

    fn refusal(&self) -> Option<Error> {
        if self.draining {
            return Some(Error::Stopping);
        }
        let degraded = self.degraded.as_ref().filter(|d| !d.probing)?;
        Some(Error::Unavailable { reason: degraded.reason.clone() })
    }

    /// Whether the store failed, and is not tried again yet.
    fn is_degraded(&self) -> bool {
        self.degraded.as_ref().is_some_and(|d| !d.probing)
    }

    /// Asks the store for a run; inputs wait until it comes.
    fn load(&mut self, id: RunId, waiting: Vec<Queued>) {
        let asked_for = waiting.len();
        self.runs.insert(id, Entry::Loading(Loading { waiting, asked_for }));
        self.loads += 1;
        self.out.push_back(Command::Load(vec![id]));
    }

    /// Drops idle runs from memory while there are too many. Not those whose tasks are the next of
    /// an agent: they would be asked for at once, and go again, for as long as the agent is busy.
    fn evict(&mut self) {
        let crowded = self.runs.len() > self.runs_cached_max;
        let at_hand = if crowded { self.slots.at_hand_of(&self.agents) } else { BTreeSet::new() };
        let mut tries = if crowded { self.idle.len() } else { 0 };
        // A few more than need be, so that not every run that comes is a look at them all.
        let few = self.runs_cached_max - self.runs_cached_max / 16;
        while self.runs.len() > few && tries > 0 {
            tries -= 1;
            let Some((used, id)) = self.idle.pop_front() else { return };
            let Some(Entry::Live(live)) = self.runs.get(&id) else { continue };
            if live.used != used {
                continue;
            }
            let changes = live.pending.is_some() || live.in_flight.is_some();
            if changes || live.leased > 0 || at_hand.contains(&id) {
                self.idle.push_back((used, id));
                continue;
            }
            self.slots.send_away(&self.agents, id, &live.run);
            self.runs.remove(&id);
        }
        if self.idle.len() > 4 * self.runs_cached_max {
            let runs = &self.runs;
            self.idle.retain(
                |(used, id)| matches!(runs.get(id), Some(Entry::Live(l)) if l.used == *used),
            );
        }
    }
}
