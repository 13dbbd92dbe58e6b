//! Runs that moa itself fails on: nothing is done with them until the next start, and everything
//! else goes on.
//!
//! The machine is pure: it changes the run that it is given and nothing else. So a panic inside it
//! spoils one run in memory, which is dropped, and what the store has of it stays as it was.

use std::any::Any;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use moa_core::ids::RunId;

use super::gather::Queued;
use super::{Entry, Node};

/// Quarantined runs of which the status tells.
const QUARANTINED_SHOWN_MAX: usize = 1000;
/// Bytes of each part of why a run is quarantined.
const WHY_BYTES_MAX: usize = 500;

/// Calls the machine; a panic in it is an error, with its text.
///
/// Safe to catch, because the machine has no side effects beyond the run that it is given, and who
/// gets an error here drops that run.
pub(super) fn guarded<T>(machine: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(machine)).map_err(|panic| text_of(&*panic))
}

fn text_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("a panic without a message").to_owned()
}

/// As much of a text as is kept: an input may be large.
fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(WHY_BYTES_MAX)]
}

impl Node {
    /// moa itself failed on a run: it leaves memory with all that is not durable, and nothing is
    /// done with it until the next start. Everything else goes on.
    pub(super) fn quarantine(&mut self, id: RunId, doing: &str, error: &str) {
        let (doing, error) = (cut(doing), cut(error));
        tracing::error!(run.id = %id, doing, error, "moa failed on a run; it is quarantined");
        self.set_aside(id, format!("moa failed on it: {error} ({doing})"));
    }

    /// The rows of a run are damaged: the same.
    pub(super) fn broken(&mut self, id: RunId, error: &str) {
        let error = cut(error);
        tracing::error!(run.id = %id, error, "run quarantined: its rows are damaged");
        self.set_aside(id, format!("its rows are damaged: {error}"));
    }

    /// The store will never take what the machine made of a run. Nothing of it was written.
    pub(super) fn unwritable(&mut self, id: RunId, why: &str) {
        let Some(Entry::Live(live)) = self.runs.get(&id) else { return };
        let inputs = live.in_flight.iter().flat_map(|part| &part.inputs);
        let asked = inputs.filter_map(Queued::creation).any(|c| c.asker.is_told());
        self.quarantine(id, "writing it", why);
        if asked {
            // There is no such run, and who wanted it has been told.
            self.quarantined.remove(&id);
        }
    }

    /// Runs that nothing is done with, and why; the first [`QUARANTINED_SHOWN_MAX`].
    pub(super) fn shown_quarantined(&self) -> BTreeMap<RunId, String> {
        let shown = self.quarantined.iter().take(QUARANTINED_SHOWN_MAX);
        shown.map(|(run, why)| (*run, why.clone())).collect()
    }

    fn set_aside(&mut self, id: RunId, why: String) {
        self.quarantined.insert(id, why);
        self.stays_away(id);
    }

    /// A quarantined run leaves memory; who waits for something of it is told.
    pub(super) fn stays_away(&mut self, id: RunId) {
        let mut inputs = Vec::new();
        match self.runs.get_mut(&id) {
            Some(Entry::Live(live)) => {
                let (sent, next) = (live.in_flight.take(), live.pending.take());
                if let Some(sent) = &sent {
                    self.refused(&sent.after);
                }
                if let Some(next) = &next {
                    self.uncount(&next.after);
                }
                for part in [sent, next].into_iter().flatten() {
                    self.never_started(id, &part.after);
                    inputs.extend(part.inputs);
                }
                self.forget(id);
            }
            Some(Entry::Loading(loading)) => {
                inputs.append(&mut loading.waiting);
                self.runs.remove(&id);
            }
            None => {}
        }
        self.slots.came(id);
        self.never_leased(id);
        // It is not looked at any more.
        self.doubtful.remove(&id);
        for queued in inputs {
            self.refuse_quarantined(id, queued);
        }
    }

    /// Refuses something for a run that is quarantined.
    pub(super) fn refuse_quarantined(&mut self, id: RunId, queued: Queued) {
        let why = self.quarantined.get(&id).map_or("", String::as_str);
        let reason = format!("the run is quarantined until moa starts again: {why}");
        self.refuse(id, queued, &reason);
    }
}
