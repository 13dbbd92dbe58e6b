//! Triggers in a store: what is written of them, and how runs and events reach those that listen.
//!
//! A trigger is committed as a run is: its part of a batch carries the version that it was made from
//! and stands or falls alone. Who listens to a topic is told by the store itself, in the
//! transaction of what happened, so that nothing is told twice and nothing is missed.

use std::sync::Arc;

use moa_core::event::{Event, Published};
use moa_core::ids::{Name, RunId};
use moa_core::limits::ENDED_OUTPUT_BYTES_MAX;
use moa_core::machine::{BUS, Emitted, MessageBody};
use moa_core::run::RunRow;
use moa_core::time::Millis;
use moa_core::trigger::{
    Amendment, Occurrence, Outcome, Record, TriggerId, TriggerInput, TriggerSpec, TriggerState,
    topic_of_ends, topic_of_event, topic_of_starts,
};
use serde::{Deserialize, Serialize};

use crate::store::{Message, MessageId};

/// The change of one trigger. Refused as a whole when its version isn't `expected`.
#[derive(Debug, Clone, PartialEq)]
pub struct TriggerCommit {
    /// The trigger.
    pub id: TriggerId,
    /// The version that it was made from: 0 for a new one. Written as `expected + 1`.
    pub expected: u64,
    /// What it says, when that changed. Always there for a new one.
    pub spec: Option<Arc<TriggerSpec>>,
    /// Its state.
    pub state: Box<TriggerState>,
    /// When it wants to be looked at.
    pub due_at: Option<Millis>,
    /// Records of occurrences; at most one for each.
    pub records: Vec<Record>,
    /// Changes of records that are there; of one that isn't, or has another run, nothing.
    pub amendments: Vec<Amendment>,
    /// Messages sent.
    pub messages: Vec<Message>,
    /// Messages applied by this commit: deleted with it. When one of them is gone already, the
    /// commit is refused as `Conflict`.
    pub consumed: Vec<MessageId>,
    /// The topics that it listens to from now on, when they changed.
    pub listens: Option<Vec<String>>,
}

/// What became of a commit of a trigger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TriggerOutcome {
    /// Written.
    Applied,
    /// The trigger has another version: nothing of this commit was written.
    Conflict,
    /// Occurrences that would be new have these records already: nothing was written.
    Duplicate(Vec<Occurrence>),
    /// It can't be written, now or later, and why: a bug of ours. Nothing of it was written.
    Invalid(String),
}

/// An event that somebody outside of all runs publishes. It gets an event number, and stands in the
/// history of the bus.
#[derive(Debug, Clone, PartialEq)]
pub struct Post {
    /// It.
    pub event: Published,
}

/// What became of a post.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Posted {
    /// Its event number, or that of the event that had its key before; `None` = that one was published
    /// by an earlier moa, which kept none.
    pub seq: Option<u64>,
    /// Whether it is new.
    pub new: bool,
}

/// Who has been told of a published event.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heard {
    /// The triggers that listened to its type as it was published, each with the number of the message
    /// that told it.
    pub triggers: Vec<(TriggerId, MessageId)>,
    /// How many runs waited for it and got it.
    pub runs: u64,
    /// The first of them.
    pub first_runs: Vec<RunId>,
}

/// A published event, and who has heard of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeardRow {
    /// Its event number.
    pub seq: u64,
    /// Who.
    pub heard: Heard,
    /// The triggers that have yet to look at it.
    pub waiting: Vec<TriggerId>,
}

/// Runs that [`Heard::first_runs`] names.
pub const HEARD_RUNS_MAX: usize = 20;

/// A trigger as stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TriggerRow {
    /// Its version.
    pub version: u64,
    /// What it says.
    pub spec: Arc<TriggerSpec>,
    /// Its state.
    pub state: TriggerState,
    /// When it wants to be looked at.
    pub due_at: Option<Millis>,
}

/// Which triggers, in order of workflow and [label](TriggerSpec::label).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TriggerFilter {
    /// Of this workflow.
    pub workflow: Option<Name>,
    /// Behind this one (workflow, label): the last one of the page before.
    pub after: Option<(Name, String)>,
    /// At most so many.
    pub limit: usize,
}

/// Which occurrences of a trigger, the newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OccurrenceFilter {
    /// With this key.
    pub key: Option<String>,
    /// With one of these outcomes; empty = all.
    pub outcomes: Vec<Outcome>,
    /// Not before this instant. A range counts with its last slot.
    pub from: Option<Millis>,
    /// Before this instant. A range counts with its first slot.
    pub to: Option<Millis>,
    /// Behind this one (instant, key): the last one of the page before.
    pub after: Option<(Millis, String)>,
    /// At most so many.
    pub limit: usize,
}

impl TriggerCommit {
    /// What is wrong with this commit, whatever the store holds.
    pub(crate) fn fault(&self) -> Option<&'static str> {
        if self.expected == 0 && self.spec.is_none() {
            return Some("a new trigger without its spec");
        }
        if self.spec.as_ref().is_some_and(|spec| spec.id() != self.id) {
            return Some("the spec of another trigger");
        }
        let mut keys: Vec<&str> = self.records.iter().map(|r| r.occurrence.key.as_str()).collect();
        keys.sort_unstable();
        if keys.windows(2).any(|pair| pair[0] == pair[1]) {
            return Some("two records of the same occurrence");
        }
        if keys.first().is_some_and(|key| key.is_empty()) {
            return Some("a record of no occurrence");
        }
        self.messages.iter().find_map(Message::fault)
    }
}

impl TriggerCommit {
    /// Whether it publishes an event.
    pub fn publishes(&self) -> bool {
        self.messages.iter().any(|message| Post::of(message).is_some())
    }
}

impl Post {
    /// The same with a key.
    #[must_use]
    pub fn with_key(mut self, key: &str) -> Self {
        self.event.key = Some(key.to_owned());
        self
    }

    /// An event that a message to the bus carries, if it is one of nobody's run.
    pub fn of(message: &Message) -> Option<Self> {
        match &message.body {
            MessageBody::Emitted(emitted) if message.to == BUS && emitted.source.is_none() => {
                let (event, data) = (emitted.event.clone(), emitted.data.clone());
                let by = Some("moa".to_owned());
                Some(Self { event: Published { event, data, by, ..Published::default() } })
            }
            _ => None,
        }
    }

    /// The message to the bus.
    pub fn message(&self) -> Message {
        let Published { event, data, .. } = &self.event;
        let emitted = Emitted { event: event.clone(), source: None, data: data.clone() };
        Message { to: BUS, body: MessageBody::Emitted(Arc::new(emitted)) }
    }

    /// What stands in the history of the bus.
    pub fn events(&self) -> Vec<Event> {
        vec![Event::EventPublished(Box::new(self.event.clone()))]
    }
}

impl Heard {
    /// These runs get it too.
    pub fn reach(&mut self, runs: impl IntoIterator<Item = RunId>) {
        for run in runs {
            self.runs += 1;
            if self.first_runs.len() < HEARD_RUNS_MAX {
                self.first_runs.push(run);
            }
        }
    }
}

impl Message {
    /// A message to a trigger.
    pub fn to_trigger(id: TriggerId, input: TriggerInput) -> Self {
        Self { to: id.address(), body: MessageBody::Trigger(Box::new(input)) }
    }

    /// The trigger that gets it, if one does.
    pub fn trigger(&self) -> Option<TriggerId> {
        matches!(self.body, MessageBody::Trigger(_)).then_some(TriggerId(self.to.0))
    }

    /// The topic of an event that is on its way to the bus, and what those who listen are told.
    pub fn news(&self, now: Millis) -> Option<(String, TriggerInput)> {
        match &self.body {
            MessageBody::Emitted(event) if self.to == BUS => {
                let topic = topic_of_event(&event.event);
                Some((topic, TriggerInput::Event { event: event.clone(), at: now }))
            }
            _ => None,
        }
    }
}

/// The topic of a run that comes to be, and what those who listen are told.
pub fn news_of_start(row: &RunRow) -> (String, TriggerInput) {
    let (run, workflow, at) = (row.run, row.workflow.clone(), row.created_at);
    let slot = row.trigger.as_ref().and_then(|trigger| trigger.slot);
    (topic_of_starts(&row.workflow), TriggerInput::RunStarted { run, workflow, slot, at })
}

/// The topic of a run that ends, and what those who listen are told.
pub fn news_of_end(row: &RunRow, now: Millis) -> (String, TriggerInput) {
    let (run, workflow, status) = (row.run, row.workflow.clone(), row.status);
    let at = row.finished_at.unwrap_or(now);
    let short = |output: &&Arc<serde_json::Value>| {
        serde_json::to_string(output).is_ok_and(|text| text.len() <= ENDED_OUTPUT_BYTES_MAX)
    };
    let output = row.output.as_ref().filter(short).cloned();
    let ended = TriggerInput::RunEnded { run, workflow, status, at, output };
    (topic_of_ends(&row.workflow), ended)
}

impl OccurrenceFilter {
    /// Whether an occurrence fits, limit aside.
    pub fn fits(&self, occurrence: &Occurrence) -> bool {
        let o = occurrence;
        self.key.as_ref().is_none_or(|key| o.key == *key)
            && (self.outcomes.is_empty() || self.outcomes.contains(&o.outcome))
            && self.from.is_none_or(|from| o.last.unwrap_or(o.at) >= from)
            && self.to.is_none_or(|to| o.at < to)
            && self.after.as_ref().is_none_or(|(at, key)| (o.at, &o.key) < (*at, key))
    }
}
