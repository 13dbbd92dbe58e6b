//! The thin shell around the node machine: one thread that performs what the node asks for.
//!
//! Everything that happens comes through one inbox. The loop: take what has come, tell the node,
//! perform what it asks for, wait. It decides nothing.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use moa_core::agent::AgentSpec;
use moa_core::event::Published;
use moa_core::ids::{Name, RunId, mix};
use moa_core::schema::Schemas;
use moa_core::time::{Millis, Span};
use moa_core::trigger::{TriggerAnswer, TriggerId, TriggerInput};
use moa_ports::agent::{Completion, Completions, Worker};
use moa_ports::limit::LimitRow;
use moa_ports::store::{
    self, BatchOutcome, Due, DueAsk, Snapshot, Store, WorkflowRef, WorkflowVersion,
};
use moa_ports::triggers::{Posted, TriggerRow};
use tokio::sync::{broadcast, oneshot, watch};

use crate::clock::Clock;
use crate::handle::{
    Change, Committed, Ended, Error, ForkRequest, GrantRequest, Handle, Options, Serves,
    StartRequest, Started, Status,
};
use crate::meter::Meter;
use crate::node::{Answer, Command, Node, Token};

/// Changes that a subscriber may fall behind.
const EVENTS_KEPT_MAX: usize = 4096;
/// Inputs taken before the node is asked what to do, so that a commit starts early and the next
/// batch is gathered while it is under way.
const INPUTS_TAKEN_MAX: usize = 1024;
/// How long a lease lasts on a store with several nodes.
const LEASE: Span = Span(5_000);
/// How long stopped attempts may take to end once the drain is over.
const RELEASE_TIME: Duration = Duration::from_secs(15);

/// How long the node sleeps at most: waiting counts neither the time that the machine was suspended
/// nor a wall clock that was set, so both are found out after this long.
const IDLE_MAX: Duration = Duration::from_secs(10);

/// From how many milliseconds on a difference between the clocks means that somebody has set one.
const WALL_STEP_MIN: u64 = 1000;

/// What comes through the inbox.
pub enum Msg {
    Start(Box<StartRequest>, oneshot::Sender<Result<Started, Error>>),
    Fork(Box<ForkRequest>, oneshot::Sender<Result<RunId, Error>>),
    Change(RunId, Change, oneshot::Sender<Result<(), Error>>),
    Grant(GrantRequest, oneshot::Sender<Result<(), Error>>),
    Serve(RunId),
    ServeTriggers,
    Trigger(TriggerId, Box<TriggerInput>, oneshot::Sender<Result<TriggerAnswer, Error>>),
    Publish(Box<Published>, oneshot::Sender<Result<Posted, Error>>),
    Agents(BTreeMap<Name, Arc<AgentSpec>>),
    Status(oneshot::Sender<Status>),
    Meter(oneshot::Sender<Meter>),
    Stop(Duration, oneshot::Sender<()>),
    Completed(Completion),
    Committed(Result<BatchOutcome, store::Error>),
    Loaded(Vec<RunId>, Result<Vec<Option<Snapshot>>, store::Error>),
    LoadedTriggers(Vec<TriggerId>, Result<Vec<Option<TriggerRow>>, store::Error>),
    Due(DueAsk, Result<Due, store::Error>),
    Limits(Result<Vec<LimitRow>, store::Error>),
    Resolved(WorkflowRef, Result<Option<WorkflowVersion>, store::Error>),
    Renewed(Millis, Result<store::Registration, store::Error>),
}

enum Asker {
    Start(oneshot::Sender<Result<Started, Error>>),
    Fork(oneshot::Sender<Result<RunId, Error>>),
    Change(oneshot::Sender<Result<(), Error>>),
    Trigger(oneshot::Sender<Result<TriggerAnswer, Error>>),
    Publish(oneshot::Sender<Result<Posted, Error>>),
}

struct Ends(mpsc::Sender<Msg>);

impl Completions for Ends {
    fn complete(&self, done: Completion) {
        // The engine has ended: the attempt is found lost at the next start.
        let _ = self.0.send(Msg::Completed(done));
    }
}

struct Shell {
    node: Node,
    store: Arc<dyn Store>,
    worker: Arc<dyn Worker>,
    clock: Clock,
    /// By how many milliseconds the wall clock is ahead of it, as the node knows.
    wall_ahead: i64,
    /// How often it was set back.
    set_back: Arc<AtomicU64>,
    inbox: mpsc::Receiver<Msg>,
    own: mpsc::Sender<Msg>,
    events: broadcast::Sender<Arc<Committed>>,
    askers: HashMap<Token, Asker>,
    next_token: Token,
    ids: Ids,
    options: Options,
    exclusive: bool,
    renew_at: Option<Instant>,
    /// The changes of the commit in flight, and since when it is.
    committing: Option<(usize, Instant)>,
    stop: Option<Stop>,
    failed: Option<store::Error>,
    /// Requests for runs that wait until the batch in flight is durable: a slow disk must not fill
    /// the memory with runs that it can't take.
    deferred: VecDeque<Msg>,
}

struct Stop {
    release_at: Instant,
    released: bool,
    give_up_at: Instant,
    askers: Vec<oneshot::Sender<()>>,
}

/// Random run ids: a counter mixed with two words of the system's randomness.
struct Ids {
    seed: (u64, u64),
    count: u64,
}

impl Ids {
    fn new() -> Self {
        let word = || RandomState::new().build_hasher().finish();
        Self { seed: (word(), word()), count: 0 }
    }

    fn next(&mut self, now: Millis) -> RunId {
        self.count += 1;
        let high = mix(self.seed.0 ^ self.count);
        let low = mix(self.seed.1 ^ mix(self.count));
        RunId::v7(now.0.unsigned_abs(), u128::from(high) << 64 | u128::from(low))
    }
}

/// Starts the shell's thread.
pub fn start(
    options: Options,
    store: Arc<dyn Store>,
    agents: BTreeMap<Name, Arc<AgentSpec>>,
    schemas: Arc<dyn Schemas>,
    worker: impl FnOnce(Arc<dyn Completions>) -> Arc<dyn Worker>,
) -> Result<Handle, store::Error> {
    let clock = Clock::start();
    let (answer, registered) = mpsc::channel();
    let reply = Box::new(move |r| drop(answer.send(r)));
    let since = clock.now();
    store.register(since, options.node, LEASE, reply);
    let gone = |_| store::Error::Unavailable("the store did not answer".into());
    let registration = registered.recv().map_err(gone)??;
    let (own, inbox) = mpsc::channel();
    let (events, _) = broadcast::channel(EVENTS_KEPT_MAX);
    let (ended_tx, ended) = watch::channel(None);
    let set_back = Arc::new(AtomicU64::new(0));
    let (inbox_of, told) = (own.clone(), set_back.clone());
    let handle = Handle { inbox: inbox_of, events: events.clone(), ended, set_back: told };
    let worker = worker(Arc::new(Ends(own.clone())));
    let exclusive = registration.exclusive;
    let mut node = Node::new(options.node, agents, schemas, options.max_running, exclusive);
    node.set_left(options.left.clone());
    node.registered(clock.now(), since.after(LEASE));
    if options.serves == Serves::Asked {
        node.serve_only_asked();
    }
    if let Some(serve) = options.triggers {
        node.know_triggers(serve.catch_up_from);
        if !serve.held {
            node.serve_triggers();
        }
    }
    let mut shell = Shell {
        node,
        store,
        worker,
        clock,
        wall_ahead: 0,
        set_back,
        inbox,
        own,
        events,
        askers: HashMap::new(),
        next_token: 1,
        ids: Ids::new(),
        options,
        exclusive,
        renew_at: None,
        committing: None,
        stop: None,
        failed: None,
        deferred: VecDeque::new(),
    };
    let body = move || {
        shell.run();
        let end = shell.failed.take().map_or(Ended::Stopped, Ended::Failed);
        for asker in shell.stop.take().into_iter().flat_map(|s| s.askers) {
            let _ = asker.send(());
        }
        let _ = ended_tx.send(Some(end));
    };
    let thread = thread::Builder::new().name("moa-node".into()).spawn(body);
    thread.map_err(|e| store::Error::Unavailable(format!("no thread for the engine: {e}")))?;
    Ok(handle)
}

impl Shell {
    fn run(&mut self) {
        loop {
            let now = self.now();
            if self.node.next_wakeup().is_some_and(|t| t <= now) {
                self.node.wake(now);
            }
            self.listened();
            while let Some(command) = self.node.poll(now) {
                self.perform(command);
            }
            self.renew(now);
            if self.failed.is_some() || self.may_end(now) {
                return;
            }
            let first = match self.inbox.recv_timeout(self.patience(now)) {
                Ok(msg) => msg,
                Err(mpsc::RecvTimeoutError::Timeout) => continue,
                Err(mpsc::RecvTimeoutError::Disconnected) => return,
            };
            let now = self.now();
            self.take(now, first);
            for _ in 0..INPUTS_TAKEN_MAX {
                let Some(msg) = self.inbox.try_recv().ok() else { break };
                self.take(now, msg);
            }
        }
    }

    /// Tells the node whether somebody listens: as events are decided, and as they are durable, since
    /// who subscribes in between and reads the store then doesn't find them there.
    fn listened(&mut self) {
        self.node.set_publish(self.events.receiver_count() > 0);
    }

    /// The instant; the node is told first when somebody has set the wall clock.
    fn now(&mut self) -> Millis {
        let ahead = self.clock.wall_ahead();
        if ahead.abs_diff(self.wall_ahead) >= WALL_STEP_MIN {
            tracing::warn!(ahead_ms = ahead, "the wall clock was set; schedules follow it");
            if std::mem::replace(&mut self.wall_ahead, ahead) > ahead {
                self.set_back.fetch_add(1, Ordering::Relaxed);
            }
            self.node.wall_set(ahead);
        }
        self.clock.now()
    }

    /// How long nothing needs to be done.
    fn patience(&self, now: Millis) -> Duration {
        let mut wait = IDLE_MAX;
        if let Some(at) = self.node.next_wakeup() {
            wait = wait.min(at.since(now).to_std());
        }
        let until = |at: Instant| at.saturating_duration_since(Instant::now());
        if let Some(at) = self.renew_at {
            wait = wait.min(until(at));
        }
        if let Some(stop) = &self.stop {
            let at = if stop.released { stop.give_up_at } else { stop.release_at };
            wait = wait.min(until(at));
        }
        wait
    }

    fn take(&mut self, now: Millis, msg: Msg) {
        match msg {
            Msg::Start(..) | Msg::Fork(..) | Msg::Trigger(..) | Msg::Publish(..)
                if self.node.is_full() =>
            {
                self.deferred.push_back(msg);
            }
            Msg::Start(request, reply) => {
                let token = self.token(Asker::Start(reply));
                let run = self.ids.next(now);
                self.node.start(now, token, run, *request);
            }
            Msg::Fork(request, reply) => {
                let token = self.token(Asker::Fork(reply));
                let run = self.ids.next(now);
                self.node.fork(now, token, run, *request);
            }
            Msg::Change(run, change, reply) => {
                let token = self.token(Asker::Change(reply));
                self.node.change(now, token, run, change);
            }
            Msg::Grant(request, reply) => {
                let token = self.token(Asker::Change(reply));
                self.node.grant(now, token, request);
            }
            Msg::Serve(run) => self.node.serve(run),
            Msg::ServeTriggers if self.options.triggers.is_none() => {}
            Msg::ServeTriggers => self.node.serve_triggers(),
            Msg::Trigger(id, input, reply) => {
                let token = self.token(Asker::Trigger(reply));
                self.node.trigger(now, token, id, *input);
            }
            Msg::Publish(event, reply) => {
                let token = self.token(Asker::Publish(reply));
                self.node.publish(token, *event);
            }
            Msg::Agents(agents) => self.node.set_agents(agents),
            Msg::Status(reply) => {
                let _ = reply.send(self.node.status());
            }
            Msg::Meter(reply) => {
                let _ = reply.send(self.node.meter.clone());
            }
            Msg::Stop(drain, reply) => self.stop(drain, reply),
            Msg::Completed(done) => self.node.completed(now, done),
            Msg::Committed(outcome) => {
                if let Some((changes, since)) = self.committing.take() {
                    self.node.meter.commit(changes, since.elapsed());
                }
                self.listened();
                self.node.committed(now, outcome);
                self.take_deferred(now);
            }
            Msg::Loaded(ids, found) => self.node.loaded(now, ids, found),
            Msg::LoadedTriggers(ids, found) => self.node.triggers_loaded(now, ids, found),
            Msg::Limits(found) => self.node.limits_loaded(now, found),
            Msg::Due(ask, found) => self.node.due(now, &ask, found),
            Msg::Resolved(which, found) => match found {
                Ok(found) => self.node.resolved(now, &which, found),
                Err(error @ store::Error::Corrupt { .. }) => self.failed = Some(error),
                Err(error) => {
                    tracing::error!(error = %error, "a workflow version can't be read");
                    self.node.resolve_failed(now, &which, error);
                }
            },
            Msg::Renewed(_, Err(error)) => tracing::warn!(error = %error, "lease not renewed"),
            Msg::Renewed(at, Ok(_)) => self.node.registered(now, at.after(LEASE)),
        }
    }

    fn take_deferred(&mut self, now: Millis) {
        while !self.node.is_full()
            && let Some(msg) = self.deferred.pop_front()
        {
            self.take(now, msg);
        }
    }

    fn token(&mut self, asker: Asker) -> Token {
        self.next_token += 1;
        self.askers.insert(self.next_token, asker);
        self.next_token
    }

    fn perform(&mut self, command: Command) {
        let own = self.own.clone();
        match command {
            Command::Load(ids) => {
                let asked = ids.clone();
                let reply = Box::new(move |r| drop(own.send(Msg::Loaded(asked, r))));
                self.store.load(ids, reply);
            }
            Command::LoadTriggers(ids) => {
                let asked = ids.clone();
                let reply = Box::new(move |r| drop(own.send(Msg::LoadedTriggers(asked, r))));
                self.store.load_triggers(ids, reply);
            }
            Command::Commit(batch) => {
                self.committing = Some((batch.commits.len(), Instant::now()));
                let reply = Box::new(move |r| drop(own.send(Msg::Committed(r))));
                self.store.commit(batch, reply);
            }
            Command::LoadLimits => {
                let reply = Box::new(move |r| drop(own.send(Msg::Limits(r))));
                self.store.limits(reply);
            }
            Command::AskDue(ask) => {
                let asked = ask.clone();
                let reply = Box::new(move |r| drop(own.send(Msg::Due(asked, r))));
                self.store.due(ask, reply);
            }
            Command::Resolve(which) => {
                let asked = which.clone();
                let reply = Box::new(move |r| drop(own.send(Msg::Resolved(asked, r))));
                self.store.workflow(which, reply);
            }
            Command::Reply(token, answer) => self.answer(token, answer),
            Command::Start(task) => self.worker.start(*task),
            Command::Stop { run, inst, attempt, release } => {
                self.worker.stop(run, inst, attempt, release);
            }
            Command::Publish(committed) => {
                // Nobody listens any more: nothing is lost, the store has it.
                let _ = self.events.send(Arc::new(committed));
            }
            Command::Fatal(error) => {
                tracing::error!(error = %error, "the engine stops");
                self.failed = Some(error);
            }
        }
    }

    fn answer(&mut self, token: Token, answer: Answer) {
        // Who asked may have gone: then nobody needs the answer.
        match (self.askers.remove(&token), answer) {
            (Some(Asker::Start(reply)), Answer::Started(result)) => drop(reply.send(result)),
            (Some(Asker::Fork(reply)), Answer::Forked(result)) => drop(reply.send(result)),
            (Some(Asker::Change(reply)), Answer::Changed(result)) => drop(reply.send(result)),
            (Some(Asker::Trigger(reply)), Answer::Trigger(result)) => drop(reply.send(result)),
            (Some(Asker::Publish(reply)), Answer::Published(result)) => drop(reply.send(result)),
            _ => {}
        }
    }

    /// Renews the node's registration on a store with several nodes.
    fn renew(&mut self, now: Millis) {
        let due = self.renew_at.is_none_or(|at| at <= Instant::now());
        if self.exclusive || !due {
            return;
        }
        self.renew_at = Some(Instant::now() + LEASE.to_std() / 3);
        let own = self.own.clone();
        let reply = Box::new(move |r| drop(own.send(Msg::Renewed(now, r))));
        self.store.register(now, self.options.node, LEASE, reply);
    }

    fn stop(&mut self, drain: Duration, reply: oneshot::Sender<()>) {
        let now = Instant::now();
        self.node.drain();
        match &mut self.stop {
            Some(stop) => {
                stop.release_at = now;
                stop.give_up_at = stop.give_up_at.min(now + RELEASE_TIME);
                stop.askers.push(reply);
            }
            None => {
                let release_at = now + drain;
                let give_up_at = release_at + RELEASE_TIME;
                let askers = vec![reply];
                self.stop = Some(Stop { release_at, released: false, give_up_at, askers });
            }
        }
    }

    /// Whether the engine has been asked to stop, and all is done.
    fn may_end(&mut self, now: Millis) -> bool {
        let Some(stop) = &mut self.stop else { return false };
        if self.node.is_quiet() {
            return true;
        }
        let at = Instant::now();
        if !stop.released && stop.release_at <= at {
            stop.released = true;
            self.node.release_all();
            while let Some(command) = self.node.poll(now) {
                self.perform(command);
            }
            return self.node.is_quiet();
        }
        stop.give_up_at <= at
    }
}
