//! What pauses a trigger before it does harm: too many starts, and runs that change nothing.

use serde_json::Value as Json;

use super::Tx;
use super::record::{Origin, Outcome};
use super::state::{Held, Same};
use crate::limit::Rate;
use crate::run::RunStatus;
use crate::schedule::Input;

/// A number for an output: equal ones have the same.
pub(crate) fn digest(output: &Json) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&blake3::hash(output.to_string().as_bytes()).as_bytes()[..8]);
    u64::from_be_bytes(bytes)
}

impl Tx<'_, '_> {
    /// Whether one more run is one too many; counts it if it isn't.
    pub(super) fn runs_away(&mut self, held: &Held) -> bool {
        if !matches!(held.origin, Origin::Live | Origin::CatchUp) {
            return false;
        }
        // It was stopped a moment ago, by an occurrence of the same input.
        if self.trigger.state.paused.is_some() {
            return true;
        }
        let Some((most, within)) = self.trigger.spec.guard.starts else { return false };
        let (now, rate) = (self.now(), Rate { count: most, span: within });
        let starts = &mut self.trigger.state.starts;
        if starts.full_until(&rate, now).is_none() {
            starts.take(&rate, now);
            return false;
        }
        let reason = format!(
            "it has started {most} runs within {within}: perhaps its runs cause what starts it"
        );
        self.pause_by_itself(reason);
        self.tick(Input::Pause);
        true
    }

    /// Records an occurrence that was not started because the trigger is stopped.
    pub(super) fn stop_before(&mut self, held: &Held, new: bool) {
        let paused = self.trigger.state.paused.as_ref();
        let reason = paused.map(|p| format!("paused by {}: {}", p.by, p.reason));
        self.decide(held, Outcome::SkippedPaused, reason, None, new);
        if let Some(schedule) = &mut self.trigger.state.schedule {
            // It was counted as a run when its turn had come.
            schedule.runs = schedule.runs.saturating_sub(1);
        }
    }

    /// Looks whether a run that has ended has changed anything.
    pub(super) fn watch_progress(&mut self, status: RunStatus, output: Option<u64>) {
        let Some(most) = self.trigger.spec.guard.no_progress else { return };
        let Some(digest) = output.filter(|_| status == RunStatus::Succeeded) else { return };
        let same = self.trigger.state.same.filter(|same| same.digest == digest);
        let count = same.map_or(0, |same| same.count.saturating_add(1));
        self.trigger.state.same = Some(Same { digest, count });
        if count >= most && self.trigger.state.paused.is_none() {
            self.trigger.state.same = None;
            self.pause_by_itself(format!("{most} runs in a row gave the same output as before"));
            self.tick(Input::Pause);
        }
    }
}
