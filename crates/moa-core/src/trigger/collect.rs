//! Occurrences that share a run: debounce and batches.

use std::sync::Arc;

use serde_json::{Value as Json, json};

use super::record::Outcome;
use super::state::{Collected, Held, Sharer};
use super::{Trigger, TriggerSpec, Tx};
use crate::ids::RunId;
use crate::limits::{COLLECTED_BYTES_MAX, COLLECTED_MAX};
use crate::time::Millis;

impl TriggerSpec {
    /// What becomes of occurrences that share the run of another one.
    pub(super) fn sharing(&self) -> Outcome {
        match self.collect.and_then(|collect| collect.quiet) {
            Some(_) => Outcome::Debounced,
            None => Outcome::Batched,
        }
    }
}

impl Trigger {
    /// When what is collected becomes a run.
    pub(super) fn collected_due(&self) -> Option<Millis> {
        let (collected, collect) = (self.state.collected.as_ref()?, self.spec.collect?);
        let latest = collected.since.after(collect.within);
        Some(collect.quiet.map_or(latest, |quiet| collected.last.after(quiet).min(latest)))
    }
}

impl Tx<'_, '_> {
    /// Adds an occurrence to those that are going to share a run.
    pub(super) fn collect(&mut self, held: Held) {
        self.collected_before_now();
        let now = self.now();
        let bytes = |c: &Collected| c.held.iter().map(|h| h.bytes).sum::<usize>();
        let full = |c: &Collected| bytes(c) + held.bytes > COLLECTED_BYTES_MAX;
        if self.trigger.state.collected.as_ref().is_some_and(full) {
            self.start_collected();
        }
        let reason = Some("it is collected with others to one run".to_owned());
        self.decide(&held, Outcome::Buffered, reason, None, true);
        let empty = || Collected { since: now, last: now, held: Vec::new() };
        let collected = self.trigger.state.collected.get_or_insert_with(empty);
        collected.last = collected.last.max(now);
        collected.held.push(held);
        let most = self.trigger.spec.collect.map_or(1, |c| c.max as usize).min(COLLECTED_MAX);
        if collected.held.len() >= most {
            self.start_collected();
        }
    }

    /// Starts what is collected, if it is time.
    pub(super) fn end_collecting(&mut self) {
        self.collected_before_now();
        if self.trigger.collected_due().is_some_and(|at| at <= self.now()) {
            self.start_collected();
        }
    }

    /// What was collected by a clock that was ahead does not wait until that time comes.
    fn collected_before_now(&mut self) {
        let now = self.now();
        if let Some(collected) = &mut self.trigger.state.collected {
            collected.since = collected.since.min(now);
            collected.last = collected.last.min(now);
        }
    }

    /// One run for all that is collected: it is the newest one's, and knows the others.
    fn start_collected(&mut self) {
        let Some(Collected { mut held, .. }) = self.trigger.state.collected.take() else { return };
        let events: Vec<Json> = held.iter().filter_map(|h| h.vars.get("event")).cloned().collect();
        let Some(mut newest) = held.pop() else { return };
        let mut vars = Json::clone(&newest.vars);
        vars["events"] = json!(events);
        newest.with = held.into_iter().map(|h| Sharer { key: h.key, at: h.at }).collect();
        let names: usize = newest.with.iter().map(|sharer| sharer.key.len()).sum();
        newest.bytes = vars.to_string().len() + names;
        newest.vars = Arc::new(vars);
        if !self.trigger.spec.enabled {
            self.decide(&newest, Outcome::SkippedDisabled, None, None, false);
        } else if let Some(paused) = &self.trigger.state.paused {
            let reason = Some(format!("paused by {}: {}", paused.by, paused.reason));
            self.decide(&newest, Outcome::SkippedPaused, reason, None, false);
        } else {
            self.admit(newest, false);
        }
    }

    /// Records of those that are no run's own: what became of the newest became of them.
    pub(super) fn share_fate(
        &mut self,
        held: &Held,
        outcome: Outcome,
        reason: Option<&String>,
        run: Option<RunId>,
    ) {
        let key = &held.key;
        let (outcome, reason) = match outcome {
            Outcome::Started => {
                (self.trigger.spec.sharing(), format!("it shares the run of {key}"))
            }
            Outcome::Buffered => (outcome, format!("it is going to share the run of {key}")),
            other => (other, format!("with {key}: {}", reason.map_or("", String::as_str))),
        };
        for Sharer { key, at } in &held.with {
            self.count(outcome);
            let alone = self.held(key.clone(), *at, held.origin, Arc::default());
            let occurrence = self.occurrence(&alone, outcome, Some(reason.clone()), run);
            self.record(occurrence, false);
        }
    }
}
