//! Occurrences that share a run: debounce and batches.

use std::sync::Arc;

use serde_json::{Value as Json, json};

use super::record::{Outcome, Record};
use super::state::{Collected, Held};
use super::{Trigger, Tx};
use crate::limits::{COLLECTED_BYTES_MAX, COLLECTED_MAX};
use crate::time::Millis;

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
        newest.bytes = vars.to_string().len();
        newest.vars = Arc::new(vars);
        let key = newest.key.clone();
        if !self.trigger.spec.enabled {
            self.decide(&newest, Outcome::SkippedDisabled, None, None, false);
        } else if let Some(paused) = &self.trigger.state.paused {
            let reason = Some(format!("paused by {}: {}", paused.by, paused.reason));
            self.decide(&newest, Outcome::SkippedPaused, reason, None, false);
        } else {
            self.admit(newest, false);
        }
        self.share_fate(&held, &key);
    }

    /// Records of those that are no run's own: what became of the newest became of them.
    fn share_fate(&mut self, held: &[Held], key: &str) {
        let of_key = |r: &&Record| r.occurrence.key == key;
        let Some(Record { occurrence, .. }) = self.applied.records.iter().find(of_key) else {
            return;
        };
        let (outcome, run) = (occurrence.outcome, occurrence.run);
        let (outcome, reason) = match outcome {
            Outcome::Started | Outcome::Buffered => {
                (Outcome::Deduped, format!("it shares the run of {key}"))
            }
            other => {
                let reason = occurrence.reason.clone().unwrap_or_default();
                (other, format!("with {key}: {reason}"))
            }
        };
        let last = self.trigger.state.last.clone();
        for held in held {
            self.decide(held, outcome, Some(reason.clone()), run, false);
        }
        self.trigger.state.last = last;
    }
}
