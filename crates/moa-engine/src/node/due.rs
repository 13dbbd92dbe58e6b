//! What is due: timers, messages, tasks and leases that others left. Read from the store, applied as
//! inputs; the rows go in the commits that apply them.

use moa_core::ids::RunId;
use moa_core::limits::DUE_ROWS_MAX;
use moa_core::machine::{BrokenRows, Input, MessageBody, Run};
use moa_core::step::StepStatus;
use moa_core::time::Millis;
use moa_ports::store::{self, Due, DueAsk, Message, MessageId, Relay, Snapshot, WorkflowRef};

use super::gather::{Queued, Source};
use super::slots::is_free;
use super::{Command, Entry, Live, Node};

impl Node {
    /// The question for what is due, when it is time for it.
    pub(super) fn ask_due(&mut self, now: Millis) -> Option<DueAsk> {
        let timer = self.next_timer.is_some_and(|t| t <= now);
        let tasks = if self.draining { 0 } else { self.slots.wanted() };
        let wanted =
            self.due_wanted || timer || self.lost_wanted || (tasks > 0 && self.slots.more_in_store);
        // What the last answer brought must be durable first, or it would be brought again.
        if !wanted || self.due_asked || self.due_after >= self.batch || self.degraded_at(now) {
            return None;
        }
        self.due_asked = true;
        self.due_wanted = false;
        let lost = std::mem::take(&mut self.lost_wanted);
        let limit = DUE_ROWS_MAX;
        Some(DueAsk { now, limit, messages_after: 0, ready: tasks.min(limit), lost })
    }

    fn degraded_at(&self, now: Millis) -> bool {
        self.degraded.as_ref().is_some_and(|(at, ..)| *at > now)
    }

    /// The answer.
    pub fn due(&mut self, now: Millis, ask: &DueAsk, found: Result<Due, store::Error>) {
        self.due_asked = false;
        let due = match found {
            Ok(due) => due,
            Err(error @ (store::Error::Corrupt(_) | store::Error::Newer { .. })) => {
                self.out.push_back(Command::Fatal(error));
                return;
            }
            Err(error) => {
                self.due_wanted = true;
                self.lost_wanted |= ask.lost;
                self.degraded = Some((now.after(moa_core::time::Span(250)), 1, error.to_string()));
                return;
            }
        };
        let full = due.timers.len() >= ask.limit
            || due.messages.len() >= ask.limit
            || due.bus.len() >= ask.limit;
        self.due_wanted |= full;
        self.next_timer = due.next_timer;
        self.slots.more_in_store = due.ready.len() >= ask.ready.max(1);
        for (run, inst, attempt) in due.lost {
            if !self.slots.holds(run, inst) {
                self.submit(now, run, Queued::own(Input::AttemptLost { step: inst, attempt }));
            }
        }
        for (run, timer, due) in due.timers {
            let input = Input::TimerFired { timer, due };
            self.submit(now, run, Queued::Input { input, source: Source::Timer(timer) });
        }
        for (id, message) in due.messages {
            self.deliver(now, id, message);
        }
        for (consumed, event, runs) in due.bus {
            let input = || MessageBody::Input(Input::EventArrived { event: event.clone() });
            let messages = runs.into_iter().map(|to| Message { to, body: input() }).collect();
            self.relays.push(Relay { consumed, messages });
        }
        for (run, inst, _) in due.ready {
            self.offer_stored(now, run, inst);
        }
        // What this answer brought is durable when the batch gathered now is.
        self.due_after = self.batch;
        if self.gathering.is_empty() && self.relays.is_empty() && self.in_flight.is_none() {
            self.due_after = 0;
        }
    }

    fn deliver(&mut self, now: Millis, id: MessageId, message: Message) {
        match message.body {
            MessageBody::Input(input) => {
                let queued = Queued::Input { input, source: Source::Message(id) };
                self.submit(now, message.to, queued);
            }
            MessageBody::StartChild(start) => self.resolve_child(now, id, message.to, *start),
            MessageBody::Emitted(_) => {}
        }
    }

    /// A ready task that the store knows of, and perhaps nobody has in memory.
    fn offer_stored(&mut self, now: Millis, id: RunId, inst: u32) {
        match self.runs.get(&id) {
            Some(Entry::Live(live)) => {
                let live_run = &live.run;
                if let Some((agent, key)) = live_run.claimable(inst) {
                    self.slots.offer(id, inst, agent, key, is_free(&self.agents, agent));
                }
            }
            Some(Entry::Loading(_)) => {}
            None => {
                self.runs.insert(id, Entry::Loading(Vec::new()));
                self.out.push_back(Command::Load(vec![id]));
            }
        }
        let _ = now;
    }

    /// A run arrived from the store: applies what waited for it.
    pub(super) fn place_loaded(&mut self, now: Millis, id: RunId, snapshot: Option<Snapshot>) {
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
        let Snapshot { version, row, steps } = snapshot;
        match Run::restore(row, steps, version, graph) {
            Ok(run) => self.enter(now, id, run),
            Err(error) => self.broken(id, &error),
        }
    }

    fn enter(&mut self, now: Millis, id: RunId, run: Run) {
        let waiting = match self.runs.remove(&id) {
            Some(Entry::Loading(waiting)) => waiting,
            Some(live @ Entry::Live(_)) => {
                self.runs.insert(id, live);
                return;
            }
            None => Vec::new(),
        };
        if !run.row.status.is_terminal() {
            for row in run.steps().filter(|r| r.status == StepStatus::Ready) {
                if let Some((agent, key)) = run.claimable(row.inst) {
                    self.slots.offer(id, row.inst, agent, key, is_free(&self.agents, agent));
                }
            }
        }
        self.tick += 1;
        self.idle.push_back((self.tick, id));
        let live = Live { run, pending: None, in_flight: None, leased: 0, used: self.tick };
        self.runs.insert(id, Entry::Live(Box::new(live)));
        for queued in waiting {
            self.submit(now, id, queued);
        }
        self.evict();
    }

    /// The store has no such run: creations go on, everything else is refused.
    fn not_there(&mut self, now: Millis, id: RunId) {
        let Some(Entry::Loading(waiting)) = self.runs.remove(&id) else { return };
        for queued in waiting {
            match queued {
                Queued::Create(creation) => self.create(now, *creation),
                queued => self.refuse_unknown(id, queued),
            }
        }
    }

    fn refuse_unknown(&mut self, id: RunId, queued: Queued) {
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

    pub(super) fn broken(&mut self, id: RunId, error: &BrokenRows) {
        tracing::error!(run.id = %id, error = %error, "run quarantined: its rows are damaged");
        self.quarantined.insert(id);
        if let Some(Entry::Loading(waiting)) = self.runs.remove(&id) {
            for queued in waiting {
                self.refuse(id, queued, "the run's rows are damaged; moa doctor says more");
            }
        }
    }
}
