//! Applying inputs in memory, and gathering what the next batch will write.

use std::sync::Arc;

use moa_core::event::{Event, InstIx};
use moa_core::ids::{Name, NodeId, RunId};
use moa_core::limits::EVENT_RUNS_MAX;
use moa_core::machine::{Applied, Effect, Emitted, Env, Input, Run, TimerKey};
use moa_core::policy::queue_key;
use moa_core::run::RunStatus;
use moa_core::time::Millis;
use moa_core::workflow::StepKind;
use moa_ports::agent::Task;
use moa_ports::store::{Batch, Commit, Message, MessageId, StartGuard};

use crate::handle::{Change, Error, ForkRequest};

use super::quarantine::guarded;
use super::starts::Creation;
use super::{Answer, Command, Entry, Live, Node, Token};

/// Something for a run, kept until it is durable so that it can be applied again.
#[derive(Debug, Clone)]
pub(super) enum Queued {
    /// An input for the machine.
    Input { input: Input, source: Source },
    /// Start this run (it has been created in memory once; again from here after a conflict).
    Create(Box<Creation>),
    /// Repeat this run in part.
    Fork { token: Token, run: RunId, request: Box<ForkRequest> },
}

/// Where an input comes from: who is answered, what is deleted with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// A request. `again`: it was applied once already, with unknown outcome.
    Request { token: Token, again: bool },
    /// A message, deleted in the commit that applies it.
    Message(MessageId),
    /// An armed timer.
    Timer(TimerKey),
    /// This node or its worker.
    Own,
}

impl Queued {
    pub fn own(input: Input) -> Self {
        Self::Input { input, source: Source::Own }
    }
    pub fn request(token: Token, input: Input) -> Self {
        Self::Input { input, source: Source::Request { token, again: false } }
    }
}

impl Queued {
    /// Whether it is an event from the bus: the only message that means more when it comes twice.
    fn is_event(&self) -> bool {
        let Self::Input { input, source } = self else { return false };
        matches!((input, source), (Input::EventArrived { .. }, Source::Message(_)))
    }

    /// The attempt that it says has ended.
    pub fn ended(&self) -> Option<(InstIx, u32)> {
        match self {
            Self::Input {
                input:
                    Input::TaskDone { step, attempt, .. } | Input::AttemptLost { step, attempt, .. },
                ..
            } => Some((*step, *attempt)),
            _ => None,
        }
    }

    /// The run that it creates.
    pub fn creation(&self) -> Option<&Creation> {
        match self {
            Self::Create(creation) => Some(creation),
            Self::Input { .. } | Self::Fork { .. } => None,
        }
    }

    fn source(&self) -> Option<Source> {
        match self {
            Self::Input { source, .. } => Some(*source),
            Self::Create(_) | Self::Fork { .. } => None,
        }
    }
}

impl Entry {
    /// Whether the same message waits here, or was applied but is not durable yet.
    fn has(&self, message: &Queued) -> bool {
        let same = |other: &Queued| other.source() == message.source();
        match self {
            Self::Loading(loading) => loading.waiting.iter().any(same),
            Self::Live(live) => {
                let parts = [&live.pending, &live.in_flight];
                parts.into_iter().flatten().any(|p| p.inputs.iter().any(same))
            }
        }
    }
}

/// What is done once a change is durable.
#[derive(Debug)]
pub(super) enum After {
    Reply(Token, Answer),
    Start(Box<Task>),
    Stop { inst: InstIx, attempt: u32 },
}

/// What a batch will write of one run.
#[derive(Debug, Default)]
pub(super) struct Pending {
    pub events: Vec<Event>,
    /// Whether events went to the store alone, because nobody listened.
    pub unheard: bool,
    /// The instants of the first and of the last event.
    pub at: Millis,
    pub last: Millis,
    pub timers: Vec<(TimerKey, Option<Millis>)>,
    pub waits: Vec<(InstIx, String, bool)>,
    pub messages: Vec<Message>,
    pub consumed: Vec<MessageId>,
    pub start: Option<StartGuard>,
    pub ended: bool,
    /// The run's status with it, once it is in a batch.
    pub status: RunStatus,
    /// Kept to apply again.
    pub inputs: Vec<Queued>,
    pub after: Vec<After>,
}

impl Pending {
    /// Adds events of an instant.
    fn record(&mut self, now: Millis, events: Vec<Event>) {
        if events.is_empty() {
            return;
        }
        if self.events.is_empty() {
            (self.at, self.last) = (now, now);
            self.events = events;
            return;
        }
        if self.last != now {
            self.last = now;
            self.events.push(Event::TimePassed { at: now });
        } else if let (
            Some(Event::StepReady { step: ready }),
            Some(Event::StepStarted { step, .. }),
        ) = (self.events.last(), events.first())
            && ready == step
        {
            // Ready and leased in one commit: the start says it all.
            self.events.pop();
        }
        self.events.extend(events);
    }
}

pub(super) fn change_input(change: Change, node: NodeId, token: Token) -> Input {
    match change {
        // A key of our own, so that applying the signal again after an unknown outcome changes nothing.
        Change::Signal { name, key, payload } => Input::Signal {
            name,
            key: Some(key.unwrap_or_else(|| format!("~{node}.{token}"))),
            payload: Arc::new(payload),
        },
        Change::Event { event, data } => {
            let event = Arc::new(Emitted { event, source: None, data: Arc::new(data) });
            Input::EventArrived { event }
        }
        Change::Pause => Input::Pause,
        Change::Resume => Input::Resume,
        Change::Cancel { reason } => Input::Cancel { reason },
        Change::Terminate { reason } => Input::Terminate { reason },
    }
}

/// The agent and the queue key of a step whose task is being taken back.
pub(super) fn change_of(run: &Run, inst: InstIx) -> Option<(Name, i64)> {
    let row = run.step(inst)?;
    let step = run.graph.step(row.plan);
    let StepKind::Task { agent, .. } = &step.kind else { return None };
    let priority = step.priority.unwrap_or(run.row.priority);
    Some((agent.clone(), queue_key(priority, row.ready_at?)))
}

/// Whether a run is as a request wanted it, which was applied once with unknown outcome.
fn is_done(run: &Run, input: &Input) -> bool {
    let (row, extra) = (&run.row, &run.row.extra);
    match input {
        Input::Signal { key: Some(key), .. } => extra.signal_keys.contains(key),
        Input::Pause => extra.paused,
        Input::Resume => !extra.paused && !row.status.is_terminal(),
        Input::Cancel { .. } => extra.is_cancelled(),
        Input::Terminate { .. } => row.status == RunStatus::Cancelled,
        _ => false,
    }
}

impl Node {
    /// Applies something to a run, or asks for the run first.
    pub(super) fn submit(&mut self, now: Millis, id: RunId, queued: Queued) {
        if self.quarantined.contains_key(&id) {
            return self.refuse_quarantined(id, queued);
        }
        match self.runs.get_mut(&id) {
            Some(entry) if queued.is_event() && entry.has(&queued) => {}
            Some(Entry::Live(_)) => self.apply(now, id, queued),
            Some(Entry::Loading(loading)) => loading.waiting.push(queued),
            None => self.load(id, vec![queued]),
        }
    }

    pub(super) fn apply(&mut self, now: Millis, id: RunId, queued: Queued) {
        match queued {
            Queued::Input { input, source } => self.apply_input(now, id, input, source),
            // The run exists already: the start is done.
            Queued::Create(creation) => self.creation_exists(id, *creation),
            Queued::Fork { token, run, request } => self.apply_fork(now, id, token, run, *request),
        }
    }

    fn apply_input(&mut self, now: Millis, id: RunId, input: Input, source: Source) {
        let Some(Entry::Live(live)) = self.runs.get_mut(&id) else { return };
        let asked = matches!(source, Source::Request { .. });
        if !asked && !self.scope.covers(live.root) && !live.run.row.status.is_terminal() {
            return;
        }
        let env = Env { now, agents: &self.agents, schemas: &*self.schemas };
        match guarded(|| live.run.apply(env, &input)) {
            Ok(Ok(applied)) => {
                self.spend(now, id, &input);
                self.gather(now, id, applied, Some(Queued::Input { input, source }), None);
            }
            Ok(Err(rejected)) => self.input_rejected(id, input, source, rejected.0),
            Err(panic) => {
                self.quarantine(id, &format!("applying {input:?}"), &panic);
                self.refuse_quarantined(id, Queued::Input { input, source });
            }
        }
    }

    /// The input changes nothing; what brought it is still used up.
    fn input_rejected(&mut self, id: RunId, input: Input, source: Source, reason: String) {
        match source {
            Source::Request { token, again } => {
                let Some(Entry::Live(live)) = self.runs.get_mut(&id) else { return };
                let done = again && is_done(&live.run, &input);
                let answer = if done { Ok(()) } else { Err(Error::Rejected { reason }) };
                let answer = Answer::Changed(answer);
                // What it was judged by may never become durable: then it is judged again.
                match live.pending.as_mut().or(live.in_flight.as_mut()) {
                    Some(part) => {
                        part.inputs.push(Queued::Input { input, source });
                        part.after.push(After::Reply(token, answer));
                    }
                    None => self.reply(token, answer),
                }
            }
            Source::Message(message) => self.pending(id).consumed.push(message),
            Source::Timer(timer) => {
                // A timer that was moved in the meantime stays armed.
                let pending = self.pending(id);
                if !pending.timers.iter().any(|(key, _)| *key == timer) {
                    self.disarm_stale(id, timer);
                }
            }
            Source::Own => {
                let Some(Entry::Live(live)) = self.runs.get_mut(&id) else { return };
                let queued = Queued::Input { input, source };
                match (live.pending.as_mut().or(live.in_flight.as_mut()), queued.ended()) {
                    (Some(part), _) => part.inputs.push(queued),
                    (None, Some((inst, attempt))) => self.limits.ended(id, inst, attempt),
                    (None, None) => {}
                }
            }
        }
    }

    /// Deletes a fired timer's row, unless it has been armed for another instant since.
    fn disarm_stale(&mut self, id: RunId, timer: TimerKey) {
        let Some(Entry::Live(live)) = self.runs.get(&id) else { return };
        let later = live.run.timer_due(timer);
        self.pending(id).timers.push((timer, later));
    }

    pub(super) fn perform(&mut self, now: Millis, id: RunId, after: After) {
        self.out.push_back(match after {
            After::Start(task) if !self.may_start(now, task.leased_at) => {
                let (step, attempt) = (task.inst, task.attempt);
                self.slots.release(id, step, attempt);
                let input = Input::AttemptUnstarted { step, attempt };
                return self.submit(now, id, Queued::own(input));
            }
            After::Reply(token, answer) => Command::Reply(token, answer),
            After::Start(task) => Command::Start(task),
            After::Stop { inst, attempt } => {
                Command::Stop { run: id, inst, attempt, release: false }
            }
        });
    }

    /// Refuses something without touching a run.
    pub(super) fn refuse(&mut self, id: RunId, queued: Queued, reason: &str) {
        if let Some((inst, attempt)) = queued.ended() {
            self.limits.ended(id, inst, attempt);
        }
        let error = Error::Rejected { reason: reason.to_owned() };
        match queued {
            Queued::Input { source: Source::Request { token, .. }, .. } => {
                self.reply(token, Answer::Changed(Err(error)));
            }
            Queued::Input { .. } => tracing::warn!(run.id = %id, reason, "input dropped"),
            Queued::Create(creation) => creation.answer(self, Err(error)),
            Queued::Fork { token, .. } => self.reply(token, Answer::Forked(Err(error))),
        }
    }

    /// What the next batch will write of a run; the run joins the batch.
    pub(super) fn pending(&mut self, id: RunId) -> &mut Pending {
        if !matches!(self.runs.get(&id), Some(Entry::Live(_))) {
            unreachable!("only runs in memory change");
        }
        let Some(Entry::Live(live)) = self.runs.get_mut(&id) else { unreachable!() };
        if live.pending.is_none() {
            self.gathering.push(id);
        }
        live.pending.get_or_insert_with(Box::default)
    }

    /// Adds a change to the next batch.
    pub(super) fn gather(
        &mut self,
        now: Millis,
        id: RunId,
        applied: Applied,
        queued: Option<Queued>,
        after: Option<After>,
    ) {
        self.gathered += 1;
        let Some(Entry::Live(live)) = self.runs.get_mut(&id) else { return };
        // What follows from a change of a run that is not executed here is in the store, no more.
        let covered = self.scope.covers(live.root);
        if covered {
            Self::queue_effects(&self.agents, &mut self.slots, id, live, &applied.effects);
        }
        if live.pending.is_none() {
            self.gathering.push(id);
        }
        let pending = live.pending.get_or_insert_with(Box::default);
        pending.record(now, applied.events);
        for effect in applied.effects {
            if let Effect::Arm { due, .. } = &effect
                && covered
            {
                let due = *due.max(&now);
                self.armed.arm(due);
                self.next_timer = Some(self.next_timer.map_or(due, |t| t.min(due)));
            }
            Self::gather_effect(pending, effect);
        }
        if let Some(queued) = queued {
            if let Queued::Input { source, .. } = &queued {
                match source {
                    Source::Message(message) => pending.consumed.push(*message),
                    Source::Request { token, .. } => {
                        pending.after.push(After::Reply(*token, Answer::Changed(Ok(()))));
                    }
                    Source::Timer(_) | Source::Own => {}
                }
            }
            pending.inputs.push(queued);
        }
        pending.after.extend(after);
    }

    fn gather_effect(pending: &mut Pending, effect: Effect) {
        match effect {
            Effect::Enqueue { .. } | Effect::Dequeue { .. } => {}
            Effect::Stop { step, attempt } => {
                pending.after.push(After::Stop { inst: step, attempt });
            }
            Effect::Arm { timer, due } => pending.timers.push((timer, Some(due))),
            Effect::Disarm { timer } => pending.timers.push((timer, None)),
            Effect::Wait { step, event, on } => pending.waits.push((step, event, on)),
            Effect::Send { to, body } => pending.messages.push(Message { to, body }),
            Effect::Ended => pending.ended = true,
        }
    }

    /// The next batch, when none is in flight and there is something to write.
    pub(super) fn build_batch(&mut self, now: Millis) -> Option<Batch> {
        let nothing = self.gathering.is_empty()
            && self.relays.is_empty()
            && self.events.is_empty()
            && !self.limits.is_dirty()
            && !self.triggers.have_changed();
        if self.in_flight.is_some() || nothing || self.is_degraded() || self.limits.are_awaited() {
            return None;
        }
        let ids = std::mem::take(&mut self.gathering);
        let mut commits = Vec::with_capacity(ids.len());
        let mut in_flight = Vec::with_capacity(ids.len());
        for id in ids {
            let Some(Entry::Live(live)) = self.runs.get_mut(&id) else { continue };
            let Some(mut pending) = live.pending.take() else { continue };
            commits.push(commit_of(id, live, &mut pending, self.publish));
            live.in_flight = Some(pending);
            in_flight.push(id);
        }
        self.gathered = 0;
        self.armed.in_flight = self.armed.gathered.take();
        self.batch += 1;
        self.in_flight = Some(in_flight);
        let relays = std::mem::take(&mut self.relays);
        let events = std::mem::take(&mut self.events);
        let (triggers, posts) = self.trigger_commits();
        let (event_runs, limits) = (EVENT_RUNS_MAX, self.limits.writes());
        let rest = Batch::default();
        Some(Batch { now, commits, triggers, relays, events, event_runs, limits, posts, ..rest })
    }
}

fn commit_of(id: RunId, live: &mut Live, pending: &mut Pending, keep_events: bool) -> Commit {
    let (row, steps) = live.run.take_dirty();
    pending.status = live.run.row.status;
    let expected = live.run.version;
    let events = match keep_events {
        true => pending.events.clone(),
        false => {
            pending.unheard = !pending.events.is_empty();
            std::mem::take(&mut pending.events)
        }
    };
    if !events.is_empty() {
        live.run.version += 1;
    }
    Commit {
        run: id,
        expected,
        at: pending.at,
        row,
        steps,
        timers: dedup_timers(std::mem::take(&mut pending.timers)),
        waits: std::mem::take(&mut pending.waits),
        messages: std::mem::take(&mut pending.messages),
        consumed: std::mem::take(&mut pending.consumed),
        events,
        start: pending.start.take(),
        ended: pending.ended,
    }
}

/// Of several changes of one timer only the last counts.
fn dedup_timers(timers: Vec<(TimerKey, Option<Millis>)>) -> Vec<(TimerKey, Option<Millis>)> {
    if timers.len() < 2 {
        return timers;
    }
    let map: std::collections::BTreeMap<_, _> = timers.into_iter().collect();
    map.into_iter().collect()
}
