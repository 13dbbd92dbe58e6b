//! Messages that come and go, and events of the bus on their way to those who wait for them.

use std::collections::BTreeSet;
use std::sync::Arc;

use moa_core::ids::RunId;
use moa_core::machine::{BUS, Emitted, Input, MessageBody};
use moa_core::time::Millis;
use moa_ports::memory::Model;
use moa_ports::store::{Batch, Message, MessageId};
use serde_json::Value as Json;

use super::Checker;

/// A message as long as it is in the store.
#[derive(Debug)]
pub(super) struct Sent {
    pub message: Message,
    /// Number of the commit that sent it.
    pub at: u64,
    /// When that was.
    pub when: Millis,
    /// Runs that got it so far, if it is an event on the bus.
    reached: BTreeSet<RunId>,
}

impl Sent {
    fn event(&self) -> Option<&Arc<Emitted>> {
        match &self.message {
            Message { to: BUS, body: MessageBody::Emitted(event) } => Some(event),
            _ => None,
        }
    }
}

/// Whether there is no other event like it: those of loops may be the same.
fn is_unique(event: &Emitted) -> bool {
    event.data.get("id").and_then(Json::as_str).is_some_and(|id| id.ends_with("/once"))
}

impl Checker {
    /// What came and went with a batch. `model` is the store after it.
    pub(super) fn post(&mut self, batch: &Batch, model: &Model) -> Result<(), String> {
        let mut gone = Vec::new();
        let mut known = self.messages.keys().copied().peekable();
        let mut new = Vec::new();
        // Both are in order: what only one of them has came or went.
        for (id, message) in model.messages() {
            while let Some(old) = known.next_if(|old| *old < id) {
                gone.push(old);
            }
            if known.next_if_eq(&id).is_none() {
                let (at, when, reached) = (self.commits, batch.now, BTreeSet::new());
                new.push((id, Sent { message: message.clone(), at, when, reached }));
            }
        }
        gone.extend(known);
        let arrives = |sent: &Sent| match &sent.message.body {
            MessageBody::Input(Input::EventArrived { event }) => {
                Some((sent.message.to, event.clone()))
            }
            _ => None,
        };
        let handed_on: Vec<_> = new.iter().filter_map(|(_, sent)| arrives(sent)).collect();
        if handed_on.len() > batch.event_runs {
            return Err(format!("{} runs get events at once", handed_on.len()));
        }
        for (run, event) in handed_on {
            self.handed_on(run, &event)?;
        }
        self.messages.extend(new);
        for id in gone {
            self.whole(id)?;
            self.messages.remove(&id);
        }
        Ok(())
    }

    /// A run gets an event: it must wait for one, and must not have got this one before.
    fn handed_on(&mut self, run: RunId, event: &Arc<Emitted>) -> Result<(), String> {
        let from = (event.event.clone(), run, 0);
        let waits = self
            .waits
            .range(from..)
            .next()
            .is_some_and(|((kind, who, _), _)| *kind == event.event && *who == run);
        if !waits {
            return Err(format!("event {} goes to run {run}, which does not wait", event.event));
        }
        let mut found = false;
        for sent in self.messages.values_mut().filter(|sent| sent.event() == Some(event)) {
            let first = sent.reached.insert(run);
            found |= first || !is_unique(event);
        }
        match found {
            true => Ok(()),
            false => Err(format!("run {run} gets an event twice: {event:?}")),
        }
    }

    /// An event that is gone must have reached every run that waited for it when it was emitted, and
    /// still does.
    fn whole(&self, id: MessageId) -> Result<(), String> {
        let Some(sent) = self.messages.get(&id) else { return Ok(()) };
        let Some(event) = sent.event() else { return Ok(()) };
        for ((kind, run, inst), since) in &self.waits {
            if *kind == event.event && *since < sent.at && !sent.reached.contains(run) {
                return Err(format!("event {kind} does not reach run {run} step {inst}"));
            }
        }
        Ok(())
    }
}
