//! What is due: timers, messages, tasks and leases that others left. Read from the store, applied as
//! inputs; the rows go in the commits that apply them.

use std::collections::BTreeSet;

use moa_core::event::InstIx;
use moa_core::ids::RunId;
use moa_core::machine::{Input, MessageBody, Run};
use moa_core::run::StepRow;
use moa_core::step::StepStatus;
use moa_core::time::Millis;
use moa_core::trigger::TriggerId;
use moa_ports::store::{
    self, Due, DueAsk, Message, MessageId, ReadyAsk, ReadyTask, Relay, Snapshot, WorkflowRef,
};

use super::gather::{Queued, Source};
use super::quarantine::guarded;
use super::slots::is_free;
use super::{Command, Doubt, Entry, Live, Loading, Node};

impl Node {
    /// The question for what is due, when it is time for it.
    pub(super) fn ask_due(&mut self, now: Millis) -> Option<DueAsk> {
        if self.due_asked || self.due_is_open() || self.is_degraded() {
            return None;
        }
        let timer = self.next_timer.is_some_and(|t| t <= now);
        let tasks = !self.draining && self.slots.runs_short(&self.agents);
        if !(self.due_wanted || timer || self.lost_wanted || tasks) {
            return None;
        }
        let only = self.scope.only();
        if only.as_ref().is_some_and(Vec::is_empty) {
            return None;
        }
        self.armed.since_asked =
            [self.armed.gathered, self.armed.in_flight].into_iter().flatten().min();
        let ready = if tasks { self.slots.ask(&self.agents) } else { ReadyAsk::default() };
        self.due_asked = true;
        self.due_wanted = false;
        let lost = std::mem::take(&mut self.lost_wanted);
        let limit = self.due_rows_max;
        let without = self.quarantined.keys().copied().collect();
        // What would start a run or stop one for another stays in the store for the next start.
        let triggers = if self.draining { 0 } else { self.triggers.wanted(limit) };
        Some(DueAsk {
            now,
            limit,
            messages_after: 0,
            ready,
            lost,
            only,
            without,
            triggers,
            wall_ahead: self.triggers.wall_ahead(),
        })
    }

    /// Whether what the last answer brought is not durable yet: it would be brought again.
    pub(super) fn due_is_open(&self) -> bool {
        let settled = self.in_flight.is_none()
            && self.gathering.is_empty()
            && self.relays.is_empty()
            && self.events.is_empty()
            && self.loads == 0
            && self.triggers.are_settled()
            && self.resolving.is_empty()
            && self.parked.is_empty();
        self.due_after > 0 && !settled
    }

    /// The answer.
    pub fn due(&mut self, now: Millis, ask: &DueAsk, found: Result<Due, store::Error>) {
        self.due_asked = false;
        let due = match found {
            Ok(due) => due,
            Err(error @ (store::Error::Corrupt { .. } | store::Error::Newer { .. })) => {
                self.out.push_back(Command::Fatal(error));
                return;
            }
            Err(error) => {
                self.lost_wanted |= ask.lost;
                self.slots.more_in_store |= !ask.ready.is_empty();
                return self.fails(now, error.to_string(), true);
            }
        };
        if self.degraded.as_ref().is_some_and(|d| d.reading) {
            self.recovers(now);
        }
        let most = due.timers.len().max(due.messages.len()).max(due.bus.len());
        let full = most >= ask.limit;
        self.due_wanted |= full || ask.triggers > 0 && due.triggers.len() >= ask.triggers;
        self.lost_wanted |= ask.lost && due.lost.len() >= ask.limit;
        self.next_timer = [due.next_timer, self.armed.since_asked].into_iter().flatten().min();
        for (run, inst, attempt) in due.lost {
            if !self.slots.holds_attempt(run, inst, attempt) {
                let same = |r: &StepRow| r.status == StepStatus::Running && r.attempt == attempt;
                self.refresh(run, |run| run.step(inst).is_some_and(same));
                let usage = self.left.get(&(run, inst, attempt)).copied().unwrap_or_default();
                let input = Input::AttemptLost { step: inst, attempt, usage };
                self.submit(now, run, Queued::own(input));
            }
        }
        for (run, timer, due) in due.timers {
            let input = Input::TimerFired { timer, due };
            self.submit(now, run, Queued::Input { input, source: Source::Timer(timer) });
        }
        self.triggers_due(now, due.triggers);
        let children = due.messages.iter().filter(|(_, m)| m.is_start()).map(|(_, m)| m.to);
        let children: BTreeSet<RunId> = children.collect();
        for (id, message) in due.messages {
            // What is meant for a child that is not there yet must not overtake its start.
            let early = children.contains(&message.to) && !message.is_start();
            if early && !matches!(self.runs.get(&message.to), Some(Entry::Live(_))) {
                self.due_wanted = true;
            } else {
                self.deliver(now, id, message);
            }
        }
        self.events.extend(due.bus);
        self.ready_found(&ask.ready, &due.ready);
        // What this answer brought is durable when the batch gathered now is.
        self.due_after = self.batch;
    }

    fn ready_found(&mut self, ask: &ReadyAsk, found: &[ReadyTask]) {
        let mut news = BTreeSet::new();
        for task in found {
            if self.offer_stored(task) && !news.contains(&task.queue) {
                news.insert(task.queue.clone());
            }
        }
        self.slots.answered(&self.agents, ask, found, &news);
    }

    fn deliver(&mut self, now: Millis, id: MessageId, message: Message) {
        match message.body {
            MessageBody::Input(input) => {
                let queued = Queued::Input { input, source: Source::Message(id) };
                self.submit(now, message.to, queued);
            }
            MessageBody::StartChild(start) => self.resolve_child(now, id, message.to, *start),
            MessageBody::StartRun(start) => self.resolve_triggered(now, id, message.to, *start),
            MessageBody::Trigger(input) => {
                self.deliver_to_trigger(now, id, TriggerId(message.to.0), *input);
            }
            MessageBody::Emitted(_) => {}
        }
    }

    /// Forgets a run in memory that does not know what the store says of it: another node has
    /// changed it since it was loaded. What is ahead of the store is kept.
    fn refresh(&mut self, id: RunId, knows: impl FnOnce(&Run) -> bool) {
        let Some(Entry::Live(live)) = self.runs.get(&id) else { return };
        let ahead = live.pending.is_some() || live.in_flight.is_some();
        if !self.exclusive && !ahead && !knows(&live.run) {
            self.forget(id);
        }
    }

    /// A ready task that the store knows of, and perhaps nobody has in memory.
    fn offer_stored(&mut self, task: &ReadyTask) -> bool {
        let (id, inst) = (task.run, task.inst);
        // One that waits for an attempt of its own to end is offered when that has.
        if self.quarantined.contains_key(&id) || self.slots.holds(id, inst) {
            return false;
        }
        self.refresh(id, |run| run.claimable(inst).is_some());
        match self.runs.get(&id) {
            Some(Entry::Live(live)) => {
                let Some(task) = live.run.claimable(inst) else { return false };
                self.slots.offer(id, inst, &task, is_free(&self.agents, task.agent))
            }
            Some(Entry::Loading(_)) => false,
            // It would leave memory again at once.
            None if self.runs.len() >= self.runs_cached_max
                && self.slots.leave(&self.agents, task) =>
            {
                false
            }
            None => {
                self.load(id, Vec::new());
                true
            }
        }
    }

    /// A run arrived from the store: applies what waited for it.
    pub(super) fn place_loaded(&mut self, now: Millis, id: RunId, snapshot: Option<Snapshot>) {
        if self.quarantined.contains_key(&id) {
            return self.stays_away(id);
        }
        let Some(snapshot) = snapshot else { return self.not_there(now, id) };
        let Some(graph) = self.graphs.get(&snapshot.row.hash).cloned() else {
            let hash = snapshot.row.hash;
            let parked = self.parked.entry(hash).or_default();
            parked.push((id, snapshot));
            if parked.len() == 1 {
                self.out.push_back(Command::Resolve(WorkflowRef::Hash(hash)));
            }
            return;
        };
        let Snapshot { version, row, steps, root } = snapshot;
        match guarded(|| Run::restore(row, steps, version, graph)) {
            Ok(Ok(run)) => self.enter(now, id, run, root),
            Ok(Err(error)) => self.broken(id, &error.to_string()),
            Err(panic) => self.quarantine(id, "loading it", &panic),
        }
    }

    fn enter(&mut self, now: Millis, id: RunId, run: Run, root: RunId) {
        let waiting = match self.runs.remove(&id) {
            Some(Entry::Loading(loading)) => loading.waiting,
            Some(live @ Entry::Live(_)) => {
                self.runs.insert(id, live);
                return;
            }
            None => Vec::new(),
        };
        if !run.row.status.is_terminal() && self.scope.covers(Some(root)) {
            for row in run.steps().filter(|r| r.status == StepStatus::Ready) {
                if let Some(task) = run.claimable(row.inst) {
                    self.slots.offer(id, row.inst, &task, is_free(&self.agents, task.agent));
                }
            }
        }
        self.slots.came(id);
        self.tick += 1;
        self.idle.push_back((self.tick, id));
        let doubtful = self.doubtful.contains_key(&id);
        let (unstarted, not_leased) = self.unstarted(now, &run, &waiting);
        if doubtful {
            self.stop_stopped(&run);
        }
        let (root, used) = (Some(root), self.tick);
        let live = Live { run, root, pending: None, in_flight: None, leased: 0, used };
        self.runs.insert(id, Entry::Live(Box::new(live)));
        for input in unstarted {
            self.submit(now, id, Queued::own(input));
        }
        for inst in not_leased {
            self.lease_again(now, id, inst);
        }
        for queued in waiting {
            self.submit(now, id, queued);
        }
        self.crowded = true;
    }

    /// Settles the leases of a loaded run that this node has or may have, but does not know to have
    /// started: the outcome of their commit was unknown. Answers what gives back those that don't
    /// start now, and the steps that are not leased.
    fn unstarted(
        &mut self,
        now: Millis,
        run: &Run,
        waiting: &[Queued],
    ) -> (Vec<Input>, Vec<InstIx>) {
        let id = run.row.run;
        let held = self.held.iter().filter(|(run, _)| *run == id).map(|(_, q)| q);
        let ended: Vec<_> = waiting.iter().chain(held).filter_map(Queued::ended).collect();
        let is_mine = |inst: u32, attempt: u32| {
            let row = run.step(inst).filter(|r| r.status == StepStatus::Running);
            row.is_some_and(|r| r.node == Some(self.id) && r.attempt == attempt)
        };
        let mut not_leased = Vec::new();
        if let Some(doubt) = self.doubtful.remove(&id) {
            let decided = run.version > doubt.expected;
            let start = decided && !self.draining;
            for task in doubt.tasks {
                let mine = is_mine(task.inst, task.attempt);
                // What has ended was leased by an earlier commit, and started. A message that came
                // twice created the run again, and so leased the same attempt again.
                let ended = ended.contains(&(task.inst, task.attempt));
                if start && mine && !ended && self.may_start(now, task.leased_at) {
                    self.out.push_back(Command::Start(Box::new(task)));
                } else {
                    self.slots.release(id, task.inst, task.attempt);
                    not_leased.push(task.inst);
                }
            }
            // A store of one node writes nothing later: it never will be decided, and need not.
            if !decided && !self.exclusive {
                let tasks = Vec::new();
                self.doubtful.insert(id, Doubt { expected: doubt.expected, tasks });
            }
        }
        let running = run.steps().filter(|r| r.status == StepStatus::Running);
        let mine = running.filter(|r| r.node == Some(self.id));
        let lost = mine.map(|r| (r.inst, r.attempt)).filter(|(inst, attempt)| {
            let known = self.slots.holds_attempt(id, *inst, *attempt);
            !known && !ended.contains(&(*inst, *attempt))
        });
        let back = lost.map(|(step, attempt)| Input::AttemptUnstarted { step, attempt });
        (back.collect(), not_leased)
    }

    /// Asks attempts of this node to stop that are to stop by what the store has of their run: the
    /// commit that said so had an unknown outcome, and nothing followed it.
    fn stop_stopped(&mut self, run: &Run) {
        let id = run.row.run;
        for (inst, attempt) in self.slots.leased_of(id) {
            if run.is_to_stop(inst, attempt) {
                self.out.push_back(Command::Stop { run: id, inst, attempt, release: false });
            }
        }
    }

    /// Loads the runs with leases in commits of unknown outcome, also those in memory. Such a commit
    /// may be written yet, and what it was made from is gone then: nothing else would ever lead to
    /// what it leased.
    pub(super) fn look_at_doubtful(&mut self) {
        for id in self.doubtful.keys().copied().collect::<Vec<_>>() {
            match self.runs.get(&id) {
                // About to be compared with the store anyhow.
                Some(Entry::Loading(_)) => continue,
                Some(Entry::Live(live)) if live.pending.is_some() || live.in_flight.is_some() => {
                    continue;
                }
                Some(Entry::Live(_)) => self.forget(id),
                None => {}
            }
            self.load(id, Vec::new());
        }
    }

    /// Whether a commit of unknown outcome may have leased attempts of a run, and that has not been
    /// looked at.
    pub(super) fn is_leased_in_doubt(&self, id: RunId) -> bool {
        self.doubtful.get(&id).is_some_and(|doubt| !doubt.tasks.is_empty())
    }

    /// The leases of a run that is not there, or can't be read.
    pub(super) fn never_leased(&mut self, id: RunId) {
        if let Some(doubt) = self.doubtful.get_mut(&id) {
            for task in std::mem::take(&mut doubt.tasks) {
                self.slots.release(id, task.inst, task.attempt);
            }
        }
    }

    /// The store has no such run: creations go on, what asked for it is refused. For what came since
    /// the store is asked again.
    fn not_there(&mut self, now: Millis, id: RunId) {
        self.slots.came(id);
        self.never_leased(id);
        if self.exclusive {
            self.doubtful.remove(&id);
        }
        let Some(Entry::Loading(Loading { mut waiting, asked_for })) = self.runs.remove(&id) else {
            return;
        };
        let since = waiting.split_off(asked_for);
        for queued in waiting {
            match queued {
                Queued::Create(creation) => self.create(now, *creation),
                queued if self.runs.contains_key(&id) => self.submit(now, id, queued),
                queued => self.refuse_unknown(id, queued),
            }
        }
        if self.runs.contains_key(&id) {
            for queued in since {
                self.submit(now, id, queued);
            }
        } else if !since.is_empty() {
            self.load(id, since);
        }
    }

    pub(super) fn refuse_unknown(&mut self, id: RunId, queued: Queued) {
        use crate::handle::Error;
        let error = Error::UnknownRun { run: id };
        match queued {
            Queued::Input { source: Source::Request { token, .. }, .. } => {
                self.reply(token, super::Answer::Changed(Err(error)));
            }
            Queued::Fork { token, .. } => {
                self.reply(token, super::Answer::Forked(Err(error)));
            }
            // A message or a timer of a run that is gone (pruned): it goes too.
            Queued::Input { source: Source::Message(consumed), .. } => {
                self.relays.push(Relay { consumed, messages: Vec::new() });
            }
            Queued::Input { .. } | Queued::Create(_) => {}
        }
    }
}
