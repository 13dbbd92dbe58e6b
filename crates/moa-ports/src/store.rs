//! The write side of a store: what the engine needs to be durable, and nothing else.
//!
//! Calls return at once and answer through a [`Reply`], from whatever thread the store likes; so a
//! store may own a thread (SQLite), use an async client (PostgreSQL) or answer inline (memory), and
//! the engine needs no runtime. One transaction a batch; a run's part of it stands or falls alone.
//!
//! Ownership: nobody owns a run. Every commit carries the version that it was made from, and is
//! refused (`Conflict`) when the run has another one by now. Leases belong to nodes: a node that
//! does not renew its registration loses them, and its attempts come back from [`Store::due`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use moa_core::event::{Event, InstIx};
use moa_core::ids::{Name, NodeId, RunId, VersionHash};
use moa_core::machine::{BUS, Input, MessageBody, TimerKey};
use moa_core::run::{RunRow, RunStatus, StepRow};
use moa_core::time::{Millis, Span};
use moa_core::trigger::TriggerId;
use moa_core::workflow::OnLimit;
use serde::{Deserialize, Serialize};

use crate::audit::AuditHead;
use crate::limit::{LimitRow, LimitWrite};
use crate::sealed::SealedWrite;
use crate::triggers::{Post, Posted, TriggerCommit, TriggerOutcome, TriggerRow};

/// Answers one call, once, from any thread.
pub type Reply<T> = Box<dyn FnOnce(Result<T, Error>) + Send>;

/// Why a store did not do what it was asked, by what the caller can do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Nothing was written; try again later (disk full, connection refused).
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// Too much is read at once; nothing is wrong, and in a moment there is room again.
    #[error("the store is asked for more than it can answer at once")]
    Busy,
    /// Nobody knows whether it was written: forget what was assumed, load again.
    #[error("the outcome of a write is unknown: {0}")]
    Unknown(String),
    /// The data is damaged; stop.
    #[error("{place} is damaged: {check}")]
    Corrupt {
        /// What is damaged: a file, as a rule.
        place: String,
        /// Which check failed, and where.
        check: String,
    },
    /// It was written by an older moa, and is read only when a node has upgraded it.
    #[error("the store has schema {found}, older than {known}, which this moa reads")]
    Older {
        /// Its schema.
        found: u32,
        /// The schema that this moa reads.
        known: u32,
    },
    /// The store was written by a newer moa; stop.
    #[error("the store has schema {found}, this moa knows up to {known}; install the newer moa")]
    Newer {
        /// The store's schema number.
        found: u32,
        /// The newest that this binary knows.
        known: u32,
    },
    /// The call itself is wrong; a bug of ours.
    #[error("invalid call of the store: {0}")]
    Invalid(String),
    /// A node elsewhere was asked, and refused or did not answer.
    #[error("{}", .0.message)]
    Elsewhere(Box<Elsewhere>),
}

/// What came of asking a node elsewhere, in the words of whoever asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Elsewhere {
    /// The exit code of a command that fails so.
    pub exit: u8,
    /// What went wrong.
    pub message: String,
    /// Where.
    pub place: Option<String>,
    /// Longer text to show before it.
    pub detail: Option<String>,
    /// What to do next.
    pub hints: Vec<String>,
}

/// The write side of a store.
pub trait Store: Send + Sync {
    /// Writes all commits and relays of a batch in one transaction, durable when it answers `Ok`.
    /// Outcomes are in the order of the commits.
    fn commit(&self, batch: Batch, reply: Reply<BatchOutcome>);

    /// Loads runs with their step rows; `None` for a run that doesn't exist.
    fn load(&self, runs: Vec<RunId>, reply: Reply<Vec<Option<Snapshot>>>);

    /// Loads triggers; `None` for one that doesn't exist.
    fn load_triggers(&self, triggers: Vec<TriggerId>, reply: Reply<Vec<Option<TriggerRow>>>);

    /// What is due: see [`Due`]. Reads only.
    fn due(&self, ask: DueAsk, reply: Reply<Due>);

    /// Registers a node, or renews its registration until `now + lease`; a call that comes late
    /// shortens nothing. Once a node's registration has run out, its leases are lost.
    fn register(&self, now: Millis, node: NodeId, lease: Span, reply: Reply<Registration>);

    /// Keeps a workflow version; the same hash again changes nothing but which one is the newest.
    fn put_workflow(&self, now: Millis, version: WorkflowVersion, reply: Reply<()>);

    /// A workflow version by hash, or the newest of a workflow that fits.
    fn workflow(&self, which: WorkflowRef, reply: Reply<Option<WorkflowVersion>>);

    /// Deletes some of what is old: see [`PruneAsk`]. Never anything of an open run, or of a run
    /// whose parent is open.
    fn prune(&self, ask: PruneAsk, reply: Reply<Pruned>);

    /// What has been used of agents' limits: all rows, by agent.
    fn limits(&self, reply: Reply<Vec<LimitRow>>);

    /// Answers what was asked so far, and gives back what it holds: files, threads, connections; waits
    /// for that. What is asked later is refused as unavailable. Again, it does nothing.
    fn close(&self);
}

/// What a node gets for being registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Registration {
    /// Whether it is the only node there can be; then nothing is ever taken over from it while it
    /// lives, and it need not renew.
    pub exclusive: bool,
}

/// One transaction.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Batch {
    /// The instant of all its changes.
    pub now: Millis,
    /// Changes of runs; at most one for each run.
    pub commits: Vec<Commit>,
    /// Changes of triggers; at most one for each.
    pub triggers: Vec<TriggerCommit>,
    /// Messages given up because their runs are not there.
    pub relays: Vec<Relay>,
    /// Events of the bus to hand on after that, in this order, each to the runs that wait for its
    /// type, the oldest run first. Which runs have it is kept with the event, in the same
    /// transaction: a later batch goes on where this one stopped, so each run gets it once, and the
    /// event is deleted with the last. A run that was created after the first part was handed on
    /// does not get it, so that there is a last one.
    pub events: Vec<MessageId>,
    /// Runs that get an event in this batch, at most, all `events` together.
    pub event_runs: usize,
    /// What has been used of agents' limits; written first.
    pub limits: Vec<LimitWrite>,
    /// Events that nobody's commit sends.
    pub posts: Vec<Post>,
    /// Changes of secrets.
    pub sealed: Vec<SealedWrite>,
    /// What entries of the audit log say, added to its end in this order.
    pub audit: Vec<String>,
    /// Entries of the audit log up to this number are removed, after those were added; never the newest.
    pub audit_upto: u64,
}

/// The change of one run. Refused as a whole when the run's version isn't `expected`.
#[derive(Debug, Clone, PartialEq)]
pub struct Commit {
    /// The run.
    pub run: RunId,
    /// The version that it was made from: 0 for a new run. Written as `expected + 1`.
    pub expected: u64,
    /// The instant of its first event; kept with the history row. Later ones say so themselves
    /// (`Event::TimePassed`).
    pub at: Millis,
    /// The run's row, when it changed. Always there for a new run.
    pub row: Option<Box<RunRow>>,
    /// Step rows that changed.
    pub steps: Vec<StepRow>,
    /// Timers armed (an armed one of the same key is moved) or, with `None`, disarmed.
    pub timers: Vec<(TimerKey, Option<Millis>)>,
    /// Event types that steps wait for from now on (true) or no more (false).
    pub waits: Vec<(InstIx, String, bool)>,
    /// Messages sent: each gets a number of its own from the store, and none is left out. That a
    /// message isn't sent twice is due to the version: a commit that is tried again is a `Conflict`.
    pub messages: Vec<Message>,
    /// Messages applied by this commit: deleted with it. When one of them is gone already, somebody
    /// else applied it, and the commit is refused as `Conflict`.
    pub consumed: Vec<MessageId>,
    /// What happened, in order; one history row. Empty = the version does not change either.
    pub events: Vec<Event>,
    /// For a new run: what guards its start.
    pub start: Option<StartGuard>,
    /// The run has become terminal: its concurrency slot goes to the next in the queue (that run
    /// gets an `Admit` message in the same transaction).
    pub ended: bool,
}

/// What guards a start. All of it in the transaction that creates the run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StartGuard {
    /// The same key never starts a second run (of any workflow), also when the first one is gone
    /// already, until its key is pruned too.
    pub idempotency_key: Option<String>,
    /// The run is created pending; a free slot sends it an `Admit` message at once.
    /// Decided by `moa_core::policy::admit`.
    pub concurrency: Option<ConcurrencySlot>,
}

/// A claim on a slot of a concurrency key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConcurrencySlot {
    /// The key.
    pub key: String,
    /// Slots of the key.
    pub limit: u32,
    /// What happens when all are taken.
    pub on_limit: OnLimit,
    /// Place in the queue; less is sooner.
    pub queue_key: i64,
}

/// The number of a message, given by the store.
pub type MessageId = u64;

/// A message to a run, or to the bus (`moa_core::machine::BUS`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// The run that gets it.
    pub to: RunId,
    /// What it says.
    pub body: MessageBody,
}

/// A message to a run that is not there is given up: it is deleted and others are sent in its place,
/// or neither (when it is gone already, or the run is there by now: another node may have created it
/// after this one looked).
#[derive(Debug, Clone, PartialEq)]
pub struct Relay {
    /// The message.
    pub consumed: MessageId,
    /// What is sent in its place.
    pub messages: Vec<Message>,
}

/// What became of a batch.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BatchOutcome {
    /// One for each commit, in order.
    pub commits: Vec<CommitOutcome>,
    /// One for each commit of a trigger, in order.
    pub triggers: Vec<TriggerOutcome>,
    /// One for each post, in order.
    pub posts: Vec<Posted>,
    /// The newest event that it wrote into the history of the bus, of a post or of a trigger.
    pub bus: Option<u64>,
    /// Whether there are messages waiting now (sent by it, admissions, or not given up after all), or
    /// events that not all have who wait for them.
    pub messages: bool,
    /// The agents whose change of limits was not written, because another node changed the same.
    pub limits_refused: Vec<Name>,
    /// Whether the changes of secrets were not written, because one was made from another version.
    pub sealed_refused: bool,
    /// For each entry of the audit log, in order, its number and hash.
    pub audit: Vec<AuditHead>,
}

/// What became of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommitOutcome {
    /// Written; the number of its history row in the order of all history (0 = it had no events).
    Applied {
        /// Event number.
        seq: u64,
    },
    /// The run has another version: nothing of this commit was written.
    Conflict,
    /// A run with this idempotency key exists: nothing of this commit was written.
    Duplicate(RunId),
    /// The concurrency key is used up and the policy says skip: nothing was written.
    Skipped,
    /// It can't be written, now or later, and why: a bug of ours. Nothing of this commit was
    /// written; the others of its batch were.
    Invalid(String),
}

/// A run as loaded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Its version.
    pub version: u64,
    /// Its row.
    pub row: RunRow,
    /// Its step rows, in order of `inst`.
    pub steps: Vec<StepRow>,
    /// The run at the top: the one that started it, or that one's, and so on; itself when nobody
    /// did. Where the run that started it isn't there any more, that one.
    pub root: RunId,
}

/// What to look for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueAsk {
    /// The instant.
    pub now: Millis,
    /// At most so many rows of each kind. Messages to runs and events on the bus are two: an event
    /// that takes its time to reach all who wait for it holds up no message.
    pub limit: usize,
    /// Message numbers to pass over (they are being applied already).
    pub messages_after: MessageId,
    /// Which tasks that can be claimed are wanted.
    pub ready: ReadyAsk,
    /// Whether leases of dead nodes are looked for.
    pub lost: bool,
    /// Only what belongs to these runs, each at the top ([`Snapshot::root`]): of them and of what
    /// they started, down to the last, those that are open; messages to them; events that they
    /// sent to the bus. `None` = of every run. What this costs depends on how much belongs to them,
    /// not on what else the store holds.
    pub only: Option<Vec<RunId>>,
    /// Nothing of these runs (or triggers, by their address), and no messages to them: they take no
    /// place in the answer.
    pub without: BTreeSet<RunId>,
    /// At most so many triggers; 0 = none, no message to one either, and `next_timer` is about timers
    /// of runs alone. With `only` there are none anyway: no trigger belongs to a run, and no message
    /// to one does.
    pub triggers: usize,
    /// By how many milliseconds the wall clock is ahead of `now`. Triggers are due by the wall clock,
    /// timers of runs are not; all instants of the answer but those of triggers are as `now` is.
    pub wall_ahead: i64,
}

/// The tasks of an agent that can be claimed and share a fairness key, or have none.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TaskQueue {
    /// The agent.
    pub agent: Name,
    /// The fairness key.
    pub key: Option<Arc<str>>,
}

/// Which tasks that can be claimed are wanted: so many of each queue, so that a long backlog of one
/// agent, or of one fairness key, hides nothing of another.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReadyAsk {
    /// How many of these queues; 0 = none.
    pub of: BTreeMap<TaskQueue, usize>,
    /// How many of every other queue.
    pub each: usize,
    /// Of those others only what comes after this one, in their order.
    pub after: Option<TaskQueue>,
    /// How many at most, all queues together.
    pub all: usize,
}

/// A task that can be claimed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadyTask {
    /// Whose task it is.
    pub queue: TaskQueue,
    /// Its place in the queue; of one agent all can be compared.
    pub queue_key: i64,
    /// The run.
    pub run: RunId,
    /// The step.
    pub inst: InstIx,
}

impl ReadyAsk {
    /// Whether any is wanted.
    pub fn is_empty(&self) -> bool {
        self.all == 0 || self.each == 0 && self.of.values().all(|wanted| *wanted == 0)
    }

    /// How many are wanted of a queue.
    pub fn of(&self, queue: &TaskQueue) -> usize {
        let passed = self.after.as_ref().is_some_and(|after| queue <= after);
        let other = if passed { 0 } else { self.each };
        self.of.get(queue).copied().unwrap_or(other)
    }
}

impl TaskQueue {
    /// The tasks of an agent without a fairness key.
    pub fn without_key(agent: Name) -> Self {
        Self { agent, key: None }
    }

    /// Where a step's task waits, and its place there; `None` when it can't be claimed.
    pub fn of(step: &StepRow) -> Option<(Self, i64)> {
        let (agent, key) = (step.agent.clone()?, step.fairness_key.clone());
        Some((Self { agent, key }, step.queue_key?))
    }
}

/// What is due.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Due {
    /// Timers due, soonest first.
    pub timers: Vec<(RunId, TimerKey, Millis)>,
    /// When the next timer that isn't in `timers`, or trigger that isn't in `triggers`, is due.
    pub next_timer: Option<Millis>,
    /// Triggers that are due, soonest first.
    pub triggers: Vec<(TriggerId, Millis)>,
    /// Messages to runs, oldest first. A message belongs to the run that gets it; if that isn't there
    /// (yet), to the run whose commit sent it, or, for one of a [`Relay`], sent what it consumes.
    pub messages: Vec<(MessageId, Message)>,
    /// Events on the bus that not all have who wait for them, oldest first.
    pub bus: Vec<MessageId>,
    /// Tasks that can be claimed: those of queues that the question names, then those of others, by
    /// agent and fairness key; of each queue by queue key.
    pub ready: Vec<ReadyTask>,
    /// Attempts whose node is gone: run, step, attempt.
    pub lost: Vec<(RunId, InstIx, u32)>,
}

/// What to delete. One call does a small part, so that nobody waits long behind it: call again with
/// `after` = [`Pruned::next`] until that is `None`. What a call has deleted is gone whole for every
/// reader, also when the process dies right after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PruneAsk {
    /// What kind.
    pub what: Old,
    /// Only what ended before this instant.
    pub before: Millis,
    /// Where the call before left off; `None` = begin with the oldest.
    pub after: Option<PruneMark>,
    /// At most so many runs (or keys) are looked at.
    pub limit: usize,
}

/// Kinds of what can be old.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Old {
    /// Runs that ended with this status, with all that belongs to them; but for notifications. Their idempotency keys stay
    /// spent until [`Old::Keys`].
    Runs(RunStatus),
    /// The same of notifications alone: runs of the workflow `moa-notify`.
    Notifications(RunStatus),
    /// The history of runs that ended with this status, all but its newest row.
    History(RunStatus),
    /// Idempotency keys of runs that are gone (`before` means the end of the run), and keys of posts.
    Keys,
    /// Records of occurrences of triggers, by when they were decided about; those that are open, or
    /// whose run is there, stay.
    Occurrences,
    /// Published events, by when they were published: what is told of them. Who has yet to hear of one
    /// does.
    Published,
}

/// How far a series of calls of [`Store::prune`] has come. Only the store that gave it knows what it
/// means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PruneMark(pub Millis, pub u64);

/// What was deleted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Runs that are gone, or whose history is.
    pub runs: Vec<RunId>,
    /// Keys that are free again.
    pub keys: usize,
    /// Records of occurrences.
    pub occurrences: usize,
    /// Published events.
    pub published: usize,
    /// Where to go on; `None` = that was all.
    pub next: Option<PruneMark>,
}

/// One version of a workflow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkflowVersion {
    /// The workflow's id.
    pub workflow: Name,
    /// Its identity.
    pub hash: VersionHash,
    /// The author's label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The text that it was made from.
    pub source: String,
    /// The plan as JSON (`moa_core::workflow::Plan`).
    pub plan: String,
    /// When it was first kept.
    pub created_at: Millis,
}

/// Which workflow version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WorkflowRef {
    /// By identity.
    Hash(VersionHash),
    /// The newest of a workflow whose label is, or whose hash starts with, the given text.
    Newest(Name, Option<String>),
}

impl Batch {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        let Self { now: _, commits, triggers, relays, events, event_runs: _, limits, .. } = self;
        let Self { posts, sealed, audit, audit_upto, .. } = self;
        commits.is_empty()
            && triggers.is_empty()
            && relays.is_empty()
            && events.is_empty()
            && limits.is_empty()
            && posts.is_empty()
            && sealed.is_empty()
            && audit.is_empty()
            && *audit_upto == 0
    }

    /// Refuses a batch that no caller may ask for, before anything is written. Every store calls it
    /// first.
    ///
    /// # Errors
    /// [`Error::Invalid`] says what is wrong with a relay.
    pub fn check(&self) -> Result<(), Error> {
        let relayed = self.relays.iter().flat_map(|relay| &relay.messages);
        match relayed.map(Message::fault).find(Option::is_some).flatten() {
            Some(wrong) => Err(Error::Invalid(format!("relay: {wrong}"))),
            None => Ok(()),
        }
    }

    /// The commits that no caller may ask for, by position, and what is wrong with them. Every store
    /// answers them with [`CommitOutcome::Invalid`].
    pub fn faults(&self) -> BTreeMap<usize, String> {
        let mut runs = BTreeSet::new();
        let mut faults = BTreeMap::new();
        for (position, commit) in self.commits.iter().enumerate() {
            let wrong = match commit.fault() {
                Some(wrong) => wrong,
                None if !runs.insert(commit.run) => "a second commit of the same run",
                None => continue,
            };
            faults.insert(position, wrong.to_owned());
        }
        faults
    }

    /// The same for commits of triggers: [`TriggerOutcome::Invalid`].
    pub fn trigger_faults(&self) -> BTreeMap<usize, String> {
        let mut triggers = BTreeSet::new();
        let mut faults = BTreeMap::new();
        for (position, commit) in self.triggers.iter().enumerate() {
            let wrong = match commit.fault() {
                Some(wrong) => wrong,
                None if !triggers.insert(commit.id) => "a second commit of the same trigger",
                None => continue,
            };
            faults.insert(position, wrong.to_owned());
        }
        faults
    }
}

impl DueAsk {
    /// For everything, at most so much of each kind.
    pub const fn everything(now: Millis, limit: usize) -> Self {
        Self {
            now,
            limit,
            messages_after: 0,
            ready: ReadyAsk { of: BTreeMap::new(), each: limit, after: None, all: limit },
            lost: true,
            only: None,
            without: BTreeSet::new(),
            triggers: limit,
            wall_ahead: 0,
        }
    }

    /// The instant by the wall clock.
    pub const fn wall(&self) -> Millis {
        Millis(self.now.0.saturating_add(self.wall_ahead))
    }

    /// When `now` will be, or was, what the wall clock shows at `wall`.
    pub const fn when_wall_is(&self, wall: Millis) -> Millis {
        Millis(wall.0.saturating_sub(self.wall_ahead))
    }
}

impl PruneAsk {
    /// Refuses what no caller may ask. Every store calls it first.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the status is not that of an ended run.
    pub fn check(&self) -> Result<(), Error> {
        match self.what {
            Old::Runs(status) | Old::History(status) if !status.is_terminal() => {
                Err(Error::Invalid(format!("{} runs are not old", status.as_str())))
            }
            _ => Ok(()),
        }
    }
}

impl Commit {
    /// What is wrong with this commit, whatever the store holds.
    fn fault(&self) -> Option<&'static str> {
        let new = self.expected == 0;
        let silent = self.events.is_empty();
        if self.run == BUS {
            return Some("the bus is not a run");
        }
        if let Some(row) = &self.row
            && row.run != self.run
        {
            return Some("the row of another run");
        }
        if silent && (self.row.is_some() || !self.steps.is_empty() || self.ended) {
            return Some("a change of state without an event");
        }
        if silent && new && !(self.timers.is_empty() && self.waits.is_empty()) {
            return Some("timers or waits of a run that does not exist");
        }
        if !silent && new && self.row.is_none() {
            return Some("a new run without its row");
        }
        if self.start.is_some() && (!new || silent) {
            return Some("a start guard without a new run");
        }
        if self.ended && !self.row.as_ref().is_some_and(|row| row.status.is_terminal()) {
            return Some("an ended run whose row is not terminal");
        }
        if self.steps.iter().any(|step| step.queue_key.is_some() != step.agent.is_some()) {
            return Some("a task in the queue of no agent");
        }
        let wrong_key = |step: &StepRow| {
            step.fairness_key.as_ref().is_some_and(|key| key.is_empty() || step.agent.is_none())
        };
        if self.steps.iter().any(wrong_key) {
            return Some("a fairness key that is empty, or of a task that is in no queue");
        }
        self.messages.iter().find_map(Message::fault)
    }
}

impl Message {
    /// The run has its concurrency slot.
    pub fn admit(to: RunId) -> Self {
        Self { to, body: MessageBody::Input(Input::Admit) }
    }

    /// The run has to make room for `by`, which has the same concurrency key.
    pub fn superseded(to: RunId, by: RunId) -> Self {
        let reason = format!("superseded by run {by}");
        Self { to, body: MessageBody::Input(Input::Cancel { reason }) }
    }

    /// Whether it starts a run.
    pub fn is_start(&self) -> bool {
        matches!(self.body, MessageBody::StartChild(_) | MessageBody::StartRun(_))
    }

    pub(crate) fn fault(&self) -> Option<&'static str> {
        let emitted = matches!(self.body, MessageBody::Emitted(_));
        (self.to == BUS && !emitted).then_some("a message to the bus that is not an event")
    }
}

impl WorkflowVersion {
    /// Whether `label` is its label or the start of its hash.
    pub fn is_called(&self, label: &str) -> bool {
        self.version.as_deref() == Some(label) || self.hash.to_string().starts_with(label)
    }
}
