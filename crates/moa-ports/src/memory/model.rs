//! The data of a store and what each call does to it, as plainly as it can be written.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use moa_core::event::{Event, InstIx};
use moa_core::ids::{Name, NodeId, RunId, VersionHash};
use moa_core::machine::{BUS, Input, MessageBody, TimerKey};
use moa_core::policy::Admission;
use moa_core::run::{RunRow, RunStatus, StepRow};
use moa_core::step::StepStatus;
use moa_core::time::{Millis, Span};

use super::slots::Slots;
use super::triggers::Triggers;
use crate::artifacts::{self, ArtifactHash};
use crate::audit::{AuditEntry, AuditHead};
use crate::limit::{LimitRow, LimitWrite};
use crate::sealed::{SealedRow, SealedWrite};
use crate::store::{
    Batch, BatchOutcome, Commit, CommitOutcome, Due, DueAsk, Error, Message, MessageId, ReadyTask,
    Registration, Relay, Snapshot, StartGuard, TaskQueue, WorkflowRef, WorkflowVersion,
};
use crate::triggers::{TriggerOutcome, news_of_end, news_of_start};
use crate::views::{BEFORE_MAX, HistoryRow, PENDING_TASKS_MAX, PendingTask};

/// One run.
#[derive(Debug, Clone)]
pub(super) struct Run {
    /// Its number in order of creation.
    pub age: u64,
    pub version: u64,
    /// The run at the top.
    pub root: RunId,
    pub row: RunRow,
    pub steps: BTreeMap<InstIx, StepRow>,
    pub idempotency_key: Option<String>,
}

/// Everything that a store keeps.
#[derive(Debug, Clone, Default)]
pub struct Model {
    exclusive: bool,
    pub(super) runs: BTreeMap<RunId, Run>,
    pub(super) keys: BTreeMap<String, RunId>,
    /// Keys of runs that are gone, by when those ended.
    pub(super) spent: BTreeSet<(Millis, String)>,
    pub(super) slots: Slots,
    pub(super) history: BTreeMap<u64, HistoryRow>,
    pub(super) history_of: BTreeMap<(RunId, u64), u64>,
    pub(super) timers: BTreeMap<(RunId, TimerKey), Millis>,
    timers_due: BTreeSet<(Millis, RunId, TimerKey)>,
    pub(super) messages: BTreeMap<MessageId, Message>,
    pub(super) messages_to: BTreeSet<(RunId, MessageId)>,
    /// The run at the top of the one that a message belongs to, if that one was there.
    message_roots: BTreeMap<MessageId, RunId>,
    /// Events that some have who wait for them: the newest run that has it, the newest that gets it.
    handed: BTreeMap<MessageId, (u64, u64)>,
    pub(super) waits: BTreeSet<(String, RunId, InstIx)>,
    /// Tasks that can be claimed, by agent.
    pub(super) ready: BTreeMap<TaskQueue, BTreeSet<(i64, u64, RunId, InstIx)>>,
    pub(super) running: BTreeMap<Option<NodeId>, BTreeSet<(RunId, InstIx)>>,
    /// Ended runs by status, end, number.
    pub(super) finished: BTreeSet<(RunStatus, Millis, u64, RunId)>,
    /// Artifacts with the runs that refer to them.
    pub(super) artifacts: BTreeMap<ArtifactHash, BTreeSet<RunId>>,
    pub(super) triggers: Triggers,
    workflows: BTreeMap<VersionHash, (u64, WorkflowVersion)>,
    nodes: BTreeMap<NodeId, Millis>,
    limits: BTreeMap<Name, LimitRow>,
    sealed: BTreeMap<String, SealedRow>,
    audit: Vec<AuditEntry>,
    last_age: u64,
    pub(super) last_event: u64,
    pub(super) last_message: MessageId,
    last_put: u64,
}

impl Model {
    pub(super) fn new(exclusive: bool) -> Self {
        Self { exclusive, ..Self::default() }
    }

    /// Ids of all runs, in order.
    pub fn run_ids(&self) -> impl Iterator<Item = RunId> {
        self.runs.keys().copied()
    }

    /// All history, in order.
    pub fn history(&self) -> impl Iterator<Item = &HistoryRow> {
        self.history.values()
    }

    /// All armed timers, in order of run and key.
    pub fn timers(&self) -> impl Iterator<Item = (RunId, TimerKey, Millis)> {
        self.timers.iter().map(|(&(run, key), &due)| (run, key, due))
    }

    /// All messages not applied yet, oldest first.
    pub fn messages(&self) -> impl Iterator<Item = (MessageId, &Message)> {
        self.messages.iter().map(|(&id, message)| (id, message))
    }

    /// All steps that wait for an event: its type, run, step.
    pub fn waits(&self) -> impl Iterator<Item = (&str, RunId, InstIx)> {
        self.waits.iter().map(|(event, run, inst)| (event.as_str(), *run, *inst))
    }

    /// One run with its steps.
    pub fn snapshot(&self, run: RunId) -> Option<Snapshot> {
        let run = self.runs.get(&run)?;
        let steps = run.steps.values().cloned().collect();
        Some(Snapshot { version: run.version, row: run.row.clone(), steps, root: run.root })
    }

    /// See [`crate::store::Store::commit`].
    pub fn commit(&mut self, batch: Batch) -> Result<BatchOutcome, Error> {
        batch.check()?;
        let sent_before = self.last_message;
        let mut faults = batch.faults();
        let mut trigger_faults = batch.trigger_faults();
        let mut outcome = BatchOutcome::default();
        let refused = self.write_limits(batch.limits, &mut outcome);
        for (position, commit) in batch.commits.into_iter().enumerate() {
            outcome.commits.push(match faults.remove(&position) {
                Some(wrong) => CommitOutcome::Invalid(wrong),
                None if refused.contains(&commit.run) => CommitOutcome::Conflict,
                None => self.commit_one(batch.now, commit),
            });
        }
        for (position, commit) in batch.triggers.into_iter().enumerate() {
            let publishes = commit.publishes();
            let done = match trigger_faults.remove(&position) {
                Some(wrong) => TriggerOutcome::Invalid(wrong),
                None => self.commit_trigger(batch.now, commit),
            };
            if publishes && done == TriggerOutcome::Applied {
                outcome.bus = Some(self.last_event);
            }
            outcome.triggers.push(done);
        }
        let mut left = false;
        for relay in batch.relays {
            left |= !self.relay(batch.now, relay);
        }
        for post in batch.posts {
            let posted = self.post(batch.now, &post);
            outcome.bus = posted.seq.filter(|_| posted.new).or(outcome.bus);
            outcome.posts.push(posted);
        }
        let mut room = batch.event_runs;
        for id in batch.events {
            left |= !self.hand_on(id, &mut room);
        }
        outcome.messages = left || self.last_message > sent_before;
        outcome.sealed_refused = !self.write_sealed(batch.now, batch.sealed);
        outcome.audit = batch.audit.into_iter().map(|body| self.write_audit(body)).collect();
        let newest = self.audit_head().map_or(0, |head| head.seq);
        self.audit.retain(|entry| entry.seq > batch.audit_upto || entry.seq == newest);
        Ok(outcome)
    }

    /// Writes changes of secrets, all or none; whether it did.
    fn write_sealed(&mut self, now: Millis, writes: Vec<SealedWrite>) -> bool {
        let version = |name: &str| self.sealed.get(name).map_or(0, |row| row.version);
        let names: BTreeSet<&str> = writes.iter().map(|write| write.name.as_str()).collect();
        if names.len() < writes.len() || writes.iter().any(|w| version(&w.name) != w.expected) {
            return false;
        }
        for SealedWrite { name, expected, sealed } in writes {
            match sealed {
                Some(sealed) => {
                    let version = expected + 1;
                    let row = SealedRow { name: name.clone(), version, sealed, changed_at: now };
                    self.sealed.insert(name, row);
                }
                None => drop(self.sealed.remove(&name)),
            }
        }
        true
    }

    fn write_audit(&mut self, body: String) -> AuditHead {
        let head = AuditHead::next(self.audit_head().as_ref(), &body);
        self.audit.push(AuditEntry { seq: head.seq, hash: head.hash, body });
        head
    }

    /// Secrets that are kept, by name.
    pub fn sealed(&self) -> Vec<SealedRow> {
        self.sealed.values().cloned().collect()
    }

    /// The audit log, from its beginning.
    pub fn audit(&self) -> &[AuditEntry] {
        &self.audit
    }

    /// The newest entry of the audit log.
    pub fn audit_head(&self) -> Option<AuditHead> {
        self.audit.last().map(AuditEntry::head)
    }

    /// Writes what may be written; answers the runs whose attempts were counted in vain.
    fn write_limits(
        &mut self,
        writes: Vec<LimitWrite>,
        outcome: &mut BatchOutcome,
    ) -> BTreeSet<RunId> {
        let mut refused = BTreeSet::new();
        for LimitWrite { agent, expected, state, runs } in writes {
            if self.limits.get(&agent).map_or(0, |row| row.version) == expected {
                let row = LimitRow { agent: agent.clone(), version: expected + 1, state };
                self.limits.insert(agent, row);
            } else {
                outcome.limits_refused.push(agent);
                refused.extend(runs);
            }
        }
        refused
    }

    /// What has been used of agents' limits.
    pub fn limits(&self) -> Vec<LimitRow> {
        self.limits.values().cloned().collect()
    }

    /// One commit: all that can refuse it comes first, then everything is written.
    fn commit_one(&mut self, now: Millis, commit: Commit) -> CommitOutcome {
        let guard = commit.start.clone().unwrap_or_default();
        if let Some(&run) = guard.idempotency_key.as_ref().and_then(|key| self.keys.get(key)) {
            return CommitOutcome::Duplicate(run);
        }
        let run = commit.run;
        let version = self.runs.get(&run).map_or(0, |r| r.version);
        if version != commit.expected {
            return CommitOutcome::Conflict;
        }
        if commit.consumed.iter().any(|id| !self.messages.contains_key(id)) {
            return CommitOutcome::Conflict;
        }
        let admission = guard.concurrency.as_ref().map(|slot| self.slots.ask(slot));
        if admission == Some(Admission::Skip) {
            return CommitOutcome::Skipped;
        }
        for id in commit.consumed {
            self.remove_message(id);
        }
        let news = commit.row.as_deref().into_iter().flat_map(|row| {
            let started = (version == 0).then(|| news_of_start(row));
            started.into_iter().chain(commit.ended.then(|| news_of_end(row, now)))
        });
        let news: Vec<_> = news.collect();
        if let Some(row) = commit.row {
            self.write_row(*row);
        }
        self.start(run, guard, admission);
        for step in commit.steps {
            self.write_step(run, step);
        }
        for (key, due) in commit.timers {
            self.write_timer(run, key, due);
        }
        for (inst, event, waits) in commit.waits {
            let wait = (event, run, inst);
            if waits {
                self.waits.insert(wait);
            } else {
                self.waits.remove(&wait);
            }
        }
        let root = self.root_of(run);
        for message in commit.messages {
            self.tell_news(now, &message);
            self.send(message, root);
        }
        for (topic, input) in news {
            self.tell(&topic, &input);
        }
        if commit.ended {
            for next in self.slots.release(run) {
                self.send(Message::admit(next), None);
            }
        }
        CommitOutcome::Applied { seq: self.append(commit.at, run, commit.events) }
    }

    /// Writes down what guarded the start of a new run, and admits it if it has a slot.
    fn start(&mut self, run: RunId, guard: StartGuard, admission: Option<Admission>) {
        let Some(new) = self.runs.get_mut(&run) else { return };
        let age = new.age;
        if let Some(key) = guard.idempotency_key {
            new.idempotency_key = Some(key.clone());
            self.keys.insert(key, run);
        }
        let (Some(slot), Some(admission)) = (guard.concurrency, admission) else { return };
        match admission {
            Admission::Start => {
                self.slots.hold(&slot, run, age);
                self.send(Message::admit(run), None);
            }
            Admission::Queue => self.slots.queue(&slot, run, age),
            Admission::QueueAfterCancelling(others) => {
                for other in others {
                    // One that still waits makes room at once: it must not be admitted meanwhile.
                    self.slots.leave_queue(other);
                    self.send(Message::superseded(other, run), None);
                }
                self.slots.queue(&slot, run, age);
            }
            Admission::Skip => {}
        }
    }

    /// Appends a history row; answers its number, 0 when there are no events.
    fn append(&mut self, at: Millis, id: RunId, events: Vec<Event>) -> u64 {
        let Some(run) = self.runs.get_mut(&id).filter(|_| !events.is_empty()) else { return 0 };
        run.version += 1;
        self.last_event += 1;
        let (seq, version) = (self.last_event, run.version);
        // Every value can be written as JSON: it came from there.
        artifacts::references(&serde_json::to_string(&events).unwrap_or_default(), |artifact| {
            self.artifacts.entry(artifact).or_default().insert(id);
        });
        self.history.insert(seq, HistoryRow { seq, run: id, version, at, events });
        self.history_of.insert((id, version), seq);
        seq
    }

    fn write_row(&mut self, row: RunRow) {
        let id = row.run;
        let status = row.status;
        if let Some(run) = self.runs.get_mut(&id) {
            if let Some(at) = ended_at(&run.row) {
                self.finished.remove(&(run.row.status, at, run.age, id));
            }
            if let Some(at) = ended_at(&row) {
                self.finished.insert((status, at, run.age, id));
            }
            run.row = row;
            return;
        }
        self.last_age += 1;
        let root = row.parent.map_or(id, |p| self.root_of(p.run).unwrap_or(p.run));
        let (age, steps) = (self.last_age, BTreeMap::new());
        if let Some(at) = ended_at(&row) {
            self.finished.insert((status, at, age, id));
        }
        self.runs.insert(id, Run { age, version: 0, root, row, steps, idempotency_key: None });
    }

    /// The run at the top of a run that is there.
    pub fn root_of(&self, run: RunId) -> Option<RunId> {
        self.runs.get(&run).map(|run| run.root)
    }

    fn write_step(&mut self, id: RunId, step: StepRow) {
        let Some(run) = self.runs.get_mut(&id) else { return };
        let (age, inst) = (run.age, step.inst);
        let place = TaskQueue::of(&step);
        let node = (step.status == StepStatus::Running).then_some(step.node);
        let old = run.steps.insert(inst, step.clone());
        if let Some(old) = old {
            if let Some((queue, key)) = TaskQueue::of(&old) {
                self.unqueue(&queue, (key, age, id, inst));
            }
            if old.status == StepStatus::Running {
                self.stop_running(old.node, id, inst);
            }
        }
        if let Some((queue, key)) = place {
            self.ready.entry(queue).or_default().insert((key, age, id, inst));
        }
        if let Some(node) = node {
            self.running.entry(node).or_default().insert((id, inst));
        }
    }

    pub(super) fn unqueue(&mut self, queue: &TaskQueue, place: (i64, u64, RunId, InstIx)) {
        if let Some(places) = self.ready.get_mut(queue) {
            places.remove(&place);
            if places.is_empty() {
                self.ready.remove(queue);
            }
        }
    }

    /// The first tasks of a queue, but none that is not asked for.
    fn ready_of(
        &self,
        queue: &TaskQueue,
        limit: usize,
        of: impl Fn(RunId) -> bool,
    ) -> Vec<ReadyTask> {
        let places = self.ready.get(queue).into_iter().flatten().filter(|place| of(place.2));
        let task = |&(queue_key, _, run, inst): &(i64, u64, RunId, InstIx)| ReadyTask {
            queue: queue.clone(),
            queue_key,
            run,
            inst,
        };
        places.take(limit).map(task).collect()
    }

    /// The first tasks of a run that can be claimed, and what is before them.
    pub(super) fn tasks_of(&self, id: RunId) -> Vec<PendingTask> {
        let Some(run) = self.runs.get(&id) else { return Vec::new() };
        let task = |step: &StepRow| {
            let (queue, key) = TaskQueue::of(step)?;
            let place = (key, run.age, id, step.inst);
            let before = self.ready.get(&queue)?.range(..place).take(BEFORE_MAX as usize).count();
            let others = self.ready.keys().filter(|q| q.agent == queue.agent && **q != queue);
            let others = others.take(BEFORE_MAX as usize).count() as u64;
            Some(PendingTask { inst: step.inst, queue, before: before as u64, others })
        };
        run.steps.values().filter_map(task).take(PENDING_TASKS_MAX).collect()
    }

    pub(super) fn stop_running(&mut self, node: Option<NodeId>, run: RunId, inst: InstIx) {
        if let Some(steps) = self.running.get_mut(&node) {
            steps.remove(&(run, inst));
            if steps.is_empty() {
                self.running.remove(&node);
            }
        }
    }

    pub(super) fn write_timer(&mut self, run: RunId, key: TimerKey, due: Option<Millis>) {
        let old = match due {
            Some(due) => {
                self.timers_due.insert((due, run, key));
                self.timers.insert((run, key), due)
            }
            None => self.timers.remove(&(run, key)),
        };
        if let Some(old) = old.filter(|&old| Some(old) != due) {
            self.timers_due.remove(&(old, run, key));
        }
    }

    /// Sends a message; `sender` is the run at the top of the one that sends it.
    pub(super) fn send(&mut self, message: Message, sender: Option<RunId>) {
        self.last_message += 1;
        let sender = sender.filter(|_| message.trigger().is_none());
        if let Some(root) = self.root_of(message.to).or(sender) {
            self.message_roots.insert(self.last_message, root);
        }
        self.messages_to.insert((message.to, self.last_message));
        self.messages.insert(self.last_message, message);
    }

    pub(super) fn remove_message(&mut self, id: MessageId) -> bool {
        self.message_roots.remove(&id);
        self.handed.remove(&id);
        self.triggers.on_bus.remove(&id);
        match self.messages.remove(&id) {
            Some(message) => self.messages_to.remove(&(message.to, id)),
            None => false,
        }
    }

    /// Gives a message up; false when its run is there.
    fn relay(&mut self, now: Millis, relay: Relay) -> bool {
        let Some(message) = self.messages.get(&relay.consumed) else { return true };
        if self.runs.contains_key(&message.to) {
            return false;
        }
        let root = self.message_roots.get(&relay.consumed).copied();
        self.remove_message(relay.consumed);
        for message in relay.messages {
            self.tell_news(now, &message);
            self.send(message, root);
        }
        true
    }

    /// See [`crate::store::Store::due`].
    pub fn due(&self, ask: &DueAsk) -> Due {
        let asked = |root: Option<RunId>| match &ask.only {
            None => true,
            Some(only) => root.is_some_and(|root| only.contains(&root)),
        };
        let of = |run| {
            let asked = || ask.only.is_none() || (self.is_open(run) && asked(self.root_of(run)));
            !ask.without.contains(&run) && asked()
        };
        let mut due = Due::default();
        let timers = || self.timers_due.iter().filter(|t| of(t.1));
        for &(at, run, key) in timers().take_while(|t| t.0 <= ask.now).take(ask.limit) {
            due.timers.push((run, key, at));
        }
        due.next_timer = timers().nth(due.timers.len()).map(|t| t.0);
        self.due_triggers(ask, &mut due);
        let after = ask.messages_after.saturating_add(1);
        let messages = self.messages.range(after..);
        let messages = messages.filter(|(_, message)| !ask.without.contains(&message.to));
        let messages = messages.filter(|(id, _)| asked(self.message_roots.get(id).copied()));
        let bus = messages.clone().filter(|(_, message)| message.to == BUS);
        due.bus = bus.map(|(id, _)| *id).take(ask.limit).collect();
        let for_triggers = |message: &Message| matches!(message.body, MessageBody::Trigger(_));
        let messages = messages.filter(|(_, message)| {
            message.to != BUS && (ask.triggers > 0 || !for_triggers(message))
        });
        due.messages = messages.take(ask.limit).map(|(id, m)| (*id, m.clone())).collect();
        let others = self.ready.keys().filter(|queue| !ask.ready.of.contains_key(queue));
        for queue in ask.ready.of.keys().chain(others) {
            due.ready.extend(self.ready_of(queue, ask.ready.of(queue), of));
        }
        due.ready.truncate(ask.ready.all);
        if ask.lost {
            due.lost = self.lost(ask.now, ask.limit, of);
        }
        due
    }

    /// The oldest runs with a step that waits for events of this type, of those whose number is
    /// beyond `after` and up to `until`.
    fn waiting_for(&self, event: &str, after: u64, until: u64, limit: usize) -> Vec<(u64, RunId)> {
        let from = (event.to_owned(), RunId(0), 0);
        let waits = self.waits.range(from..).take_while(|wait| wait.0 == event);
        let runs = waits.filter_map(|wait| Some((self.runs.get(&wait.1)?.age, wait.1)));
        let runs: BTreeSet<(u64, RunId)> = runs.filter(|r| after < r.0 && r.0 <= until).collect();
        runs.into_iter().take(limit).collect()
    }

    /// Hands an event on to as many runs as there is room for; answers whether all have it.
    fn hand_on(&mut self, id: MessageId, room: &mut usize) -> bool {
        let Some(Message { to: BUS, body: MessageBody::Emitted(event) }) = self.messages.get(&id)
        else {
            return true;
        };
        if *room == 0 {
            return false;
        }
        let event = Arc::clone(event);
        let (after, until) = self.handed.get(&id).copied().unwrap_or((0, self.last_age));
        let mut runs = self.waiting_for(&event.event, after, until, *room + 1);
        let all = runs.len() <= *room;
        runs.truncate(*room);
        *room -= runs.len();
        if let Some(seq) = self.triggers.on_bus.get(&id)
            && let Some((_, heard)) = self.triggers.published.get_mut(seq)
        {
            heard.reach(runs.iter().map(|(_, run)| *run));
        }
        for &(_, to) in &runs {
            let body = MessageBody::Input(Input::EventArrived { event: Arc::clone(&event) });
            self.send(Message { to, body }, None);
        }
        match runs.last() {
            Some(&(after, _)) if !all => _ = self.handed.insert(id, (after, until)),
            _ => _ = self.remove_message(id),
        }
        all
    }

    fn lost(
        &self,
        now: Millis,
        limit: usize,
        of: impl Fn(RunId) -> bool,
    ) -> Vec<(RunId, InstIx, u32)> {
        let alive = |node: &Option<NodeId>| {
            node.is_some_and(|node| self.nodes.get(&node).is_some_and(|&until| until > now))
        };
        let lost = self.running.iter().filter(|(node, _)| !alive(node)).flat_map(|(_, s)| s);
        let open = lost.filter(|(run, _)| self.is_open(*run) && of(*run));
        let attempt = |run, inst| self.runs[run].steps[inst].attempt;
        open.take(limit).map(|(run, inst)| (*run, *inst, attempt(run, inst))).collect()
    }

    /// Whether a run may still change.
    pub(super) fn is_open(&self, run: RunId) -> bool {
        self.runs.get(&run).is_some_and(|run| !run.row.status.is_terminal())
    }

    /// See [`crate::store::Store::register`].
    pub fn register(&mut self, now: Millis, node: NodeId, lease: Span) -> Registration {
        if self.exclusive {
            self.nodes.clear();
            self.nodes.insert(node, Millis(i64::MAX));
        } else {
            self.nodes.retain(|_, until| *until > now);
            let until = self.nodes.entry(node).or_insert(now);
            *until = now.after(lease).max(*until);
        }
        Registration { exclusive: self.exclusive }
    }

    /// See [`crate::store::Store::put_workflow`].
    pub fn put_workflow(&mut self, now: Millis, mut version: WorkflowVersion) {
        let versions = self.workflows.values().filter(|(_, v)| v.workflow == version.workflow);
        let newest = versions.max_by_key(|(put, _)| *put);
        if newest.is_some_and(|(_, newest)| newest.hash == version.hash) {
            return;
        }
        self.last_put += 1;
        let put = self.last_put;
        version.created_at = now;
        self.workflows.entry(version.hash).or_insert((put, version)).0 = put;
    }

    /// See [`crate::store::Store::workflow`].
    pub fn workflow(&self, which: &WorkflowRef) -> Option<WorkflowVersion> {
        match which {
            WorkflowRef::Hash(hash) => self.workflows.get(hash).map(|(_, v)| v.clone()),
            WorkflowRef::Newest(name, label) => {
                let mut versions = self.workflows_newest_first().filter(|v| v.workflow == *name);
                versions.find(|v| label.as_deref().is_none_or(|l| v.is_called(l))).cloned()
            }
        }
    }

    pub(super) fn workflows_newest_first(&self) -> impl Iterator<Item = &WorkflowVersion> {
        self.versions_newest_first().map(|(_, version)| version)
    }

    /// The same with the numbers under which they were put.
    pub(super) fn versions_newest_first(&self) -> impl Iterator<Item = &(u64, WorkflowVersion)> {
        let mut versions: Vec<_> = self.workflows.values().collect();
        versions.sort_by_key(|(put, _)| std::cmp::Reverse(*put));
        versions.into_iter()
    }

    pub(super) fn timers_of(&self, run: RunId) -> impl Iterator<Item = (TimerKey, Millis)> {
        let first = (run, TimerKey::Step { step: 0 });
        let timers = self.timers.range(first..=(run, TimerKey::Run));
        timers.map(|(&(_, key), &due)| (key, due))
    }

    pub(super) fn messages_of(&self, run: RunId) -> impl Iterator<Item = MessageId> {
        self.messages_to.range((run, 0)..=(run, MessageId::MAX)).map(|&(_, id)| id)
    }
}

/// When a run ended, if it has.
fn ended_at(row: &RunRow) -> Option<Millis> {
    row.finished_at.filter(|_| row.status.is_terminal())
}
