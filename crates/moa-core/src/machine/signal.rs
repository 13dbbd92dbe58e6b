//! Signals to a run and events from anywhere: kept until a step takes them.

use std::sync::Arc;

use serde_json::Value as Json;

use crate::event::{Event, InstIx};
use crate::limits::{OUTPUT_DEPTH_MAX, SIGNAL_BYTES_MAX, SIGNALS_BUFFERED_MAX};
use crate::run::KeptSignal;
use crate::step::{ErrorKind, StepError, WaitReason};
use crate::workflow::StepKind;

use super::index::awaited_signal;
use super::tx::Tx;
use super::vars::Vars;
use super::{Emitted, Rejected, rejected};

/// How the names of the signals start that answer whether an action happened.
pub(super) const RESOLVE: &str = "resolve.";
/// How the names of the signals start that decide about an approval.
pub(super) const APPROVE: &str = "approve.";

/// Characters of a payload that a refusal shows.
const EXCERPT_MAX: usize = 80;

/// What an answer to a question says; `None` = the signal is no such answer.
fn answers(name: &str) -> Option<&'static str> {
    if name.starts_with(RESOLVE) {
        Some("done")
    } else if name.starts_with(APPROVE) {
        Some("approved")
    } else {
        None
    }
}

/// The beginning of a payload, for people.
fn excerpt(payload: &Json) -> String {
    let text = payload.to_string();
    match text.char_indices().nth(EXCERPT_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

impl Tx<'_> {
    pub fn signal(
        &mut self,
        name: &str,
        key: Option<&str>,
        payload: &Arc<Json>,
    ) -> Result<(), Rejected> {
        if let Some(key) = key
            && self.run.index.has_key(key)
        {
            return rejected(format!("a signal with the key {key:?} was received before"));
        }
        if let Some(says) = answers(name) {
            if !self.is_asked(name, payload) {
                return rejected("no step asks for that; look at the state of the run again");
            }
            if !payload.get(says).is_some_and(Json::is_boolean) {
                return rejected(format!(
                    "the answer {name:?} says {{\"{says}\": true}} or {{\"{says}\": false}}, not {}",
                    excerpt(payload)
                ));
            }
        }
        if super::start::is_too_deep(payload) {
            return rejected(format!("the signal is nested more than {OUTPUT_DEPTH_MAX} deep"));
        }
        if payload.to_string().len() > SIGNAL_BYTES_MAX {
            return rejected(format!("the signal is larger than {SIGNAL_BYTES_MAX} bytes"));
        }
        if self.run.row.extra.signals.len() >= SIGNALS_BUFFERED_MAX && !self.is_asked(name, payload)
        {
            return rejected(format!(
                "{SIGNALS_BUFFERED_MAX} signals are kept already, and no step takes them"
            ));
        }
        self.record(Event::SignalReceived {
            name: name.to_owned(),
            key: key.map(str::to_owned),
            payload: payload.clone(),
        });
        let fits = |inst| Some((inst, self.kept_signal(inst)?));
        let taker = self.run.index.waiting_for_signal(name).find_map(fits);
        if let Some((inst, position)) = taker {
            self.take_kept(inst, position);
        }
        Ok(())
    }

    /// Whether a step waits for just that. An answer to a question is never kept for a later one: it
    /// would be about something that nobody has seen. Nor is one that names the `attempt` which it
    /// is about taken for another one's.
    fn is_asked(&self, name: &str, payload: &Json) -> bool {
        let attempt = payload.get("attempt").and_then(Json::as_u64);
        let mut asking = self.run.index.waiting_for_signal(name);
        asking.any(|inst| {
            let row = &self.run.steps[inst as usize].row;
            let resolves = row.wait == Some(WaitReason::UnknownOutcome);
            !(resolves && attempt.is_some_and(|a| a != u64::from(row.attempt)))
        })
    }

    /// Lets a waiting step take the oldest kept signal that fits it, if there is one.
    pub fn take_kept_signal(&mut self, inst: InstIx) {
        if let Some(position) = self.kept_signal(inst) {
            self.take_kept(inst, position);
        }
    }

    /// The oldest kept signal that fits a waiting step.
    fn kept_signal(&self, inst: InstIx) -> Option<usize> {
        let name = awaited_signal(&self.run.steps[inst as usize].row)?;
        let kept = &self.run.row.extra.signals;
        self.run.index.kept(name).find(|p| self.signal_fits(inst, &kept[*p].payload))
    }

    fn take_kept(&mut self, inst: InstIx, position: usize) {
        let KeptSignal { name, payload } = self.run.row.extra.signals[position].clone();
        self.record(Event::SignalTaken { name, step: inst, position: position as u32 });
        self.signal_taken(inst, payload);
    }

    /// `matches` over `event`; one that can't be evaluated does not fit.
    fn signal_fits(&self, inst: InstIx, payload: &Arc<Json>) -> bool {
        match self.run.kind(inst) {
            StepKind::WaitSignal { matches: Some(program), .. }
            | StepKind::WaitEvent { matches: Some(program), .. } => {
                let vars = Vars::of_step(self.run, inst).with("event", payload.clone());
                program.eval(&vars).ok().and_then(|v| v.as_bool()).unwrap_or(false)
            }
            _ => true,
        }
    }

    fn signal_taken(&mut self, inst: InstIx, payload: Arc<Json>) {
        match self.run.steps[inst as usize].row.wait {
            Some(WaitReason::Approval) => self.decided(inst, payload),
            Some(WaitReason::UnknownOutcome) => self.resolved(inst, &payload),
            _ => self.succeed_mapped(inst, Some(payload)),
        }
    }

    /// A person decided: `{approved, by?, comment?}`.
    fn decided(&mut self, inst: InstIx, payload: Arc<Json>) {
        if payload.get("approved").and_then(Json::as_bool) == Some(true) {
            return self.succeed_mapped(inst, Some(payload));
        }
        let text = |key| payload.get(key).and_then(Json::as_str).unwrap_or_default().to_owned();
        let (by, comment) = (text("by"), text("comment"));
        let mut message = "rejected".to_owned();
        if !by.is_empty() {
            message.push_str(&format!(" by {by}"));
        }
        if !comment.is_empty() {
            message.push_str(&format!(": {comment}"));
        }
        self.fail(inst, StepError::new(ErrorKind::Rejected, message));
    }

    /// A person says whether an action of unknown outcome happened: `{done, output?}`.
    fn resolved(&mut self, inst: InstIx, payload: &Json) {
        if payload.get("done").and_then(Json::as_bool) == Some(true) {
            let output = payload.get("output").cloned().map(Arc::new);
            let plan = self.plan(inst);
            match self.map_outputs(inst, &plan, output) {
                Ok(output) => self.own_succeeded(inst, output),
                Err(error) => self.own_failed(inst, error),
            }
        } else {
            self.enqueue(inst);
        }
    }

    pub fn event_arrived(&mut self, event: &Arc<Emitted>) -> Result<(), Rejected> {
        let payload = serde_json::json!({
            "type": event.event,
            "source": event.source.map(|s| s.to_string()),
            "data": *event.data,
        });
        let payload = Arc::new(payload);
        let waiting: Vec<InstIx> = self.run.index.waiting_for_event(&event.event).collect();
        let mut taken = false;
        for inst in waiting {
            if self.signal_fits(inst, &payload) {
                self.succeed_mapped(inst, Some(payload.clone()));
                taken = true;
            }
        }
        if taken { Ok(()) } else { rejected("no step waits for this event") }
    }
}
