//! What is looked up in a run by something else than its place: who waits for a signal, what is to be
//! undone next, who put out a key.
//!
//! Derived from the rows alone, like the counters in `state.rs`: kept up with every event, and built
//! anew when a run is loaded. Without it each signal, each compensation and each bare name would
//! cost a walk over all steps.
//!
//! Invariant: it is the same whether it was kept up or built anew; debug builds assert it.

use std::collections::{BTreeMap, BTreeSet};

use crate::event::InstIx;
use crate::run::{KeptSignal, RunExtra, StepRow};
use crate::step::{StepStatus, WaitReason};
use crate::time::Millis;
use crate::workflow::{MAIN, StepIx, StepKind};

use super::graph::Graph;
use super::state::Run;

/// Runs of more steps are not checked against an index built anew: that costs a walk for each input.
const CHECKED_STEPS_MAX: usize = 64;

/// A step and when it ended, in the order of ends.
type End = (Option<Millis>, InstIx);

/// What is looked up in one run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Index {
    /// Steps that wait for a signal (an approval and an unknown outcome wait for one too), by name.
    signals: BTreeMap<String, BTreeSet<InstIx>>,
    /// Steps that wait for an event, by type.
    events: BTreeMap<String, BTreeSet<InstIx>>,
    /// Signals kept until a step takes them.
    kept: Kept,
    /// Keys of signals seen.
    keys: BTreeSet<String>,
    /// Succeeded steps with a compensation that has not been opened yet.
    undoable: BTreeSet<End>,
    /// The failed, not tolerated step of the main body that ended first.
    failed: Option<End>,
    /// Steps of the plan of which some instance has put out a key, by those keys that expressions of
    /// the plan name.
    produced: BTreeMap<String, BTreeSet<StepIx>>,
}

/// Kept signals by name. Their positions move when one is taken, so each has a number of its own,
/// in the same order.
#[derive(Debug, Clone, Default)]
struct Kept {
    numbers: Vec<u64>,
    by_name: BTreeMap<String, BTreeSet<u64>>,
    next: u64,
}

impl Kept {
    fn push(&mut self, name: &str) {
        self.numbers.push(self.next);
        insert(&mut self.by_name, name, self.next);
        self.next += 1;
    }

    fn remove(&mut self, position: usize, name: &str) {
        let number = self.numbers.remove(position);
        remove(&mut self.by_name, name, &number);
    }

    fn positions(&self, name: &str) -> impl Iterator<Item = usize> + '_ {
        let numbers = self.by_name.get(name).into_iter().flatten();
        numbers.filter_map(|number| self.numbers.binary_search(number).ok())
    }
}

impl PartialEq for Kept {
    fn eq(&self, other: &Self) -> bool {
        let names = self.by_name.keys().eq(other.by_name.keys());
        names && self.by_name.keys().all(|n| self.positions(n).eq(other.positions(n)))
    }
}

impl Eq for Kept {}

fn insert<T: Ord>(map: &mut BTreeMap<String, BTreeSet<T>>, key: &str, value: T) {
    match map.get_mut(key) {
        Some(values) => _ = values.insert(value),
        None => _ = map.insert(key.to_owned(), BTreeSet::from([value])),
    }
}

fn remove<T: Ord>(map: &mut BTreeMap<String, BTreeSet<T>>, key: &str, value: &T) {
    if let Some(values) = map.get_mut(key) {
        values.remove(value);
        if values.is_empty() {
            map.remove(key);
        }
    }
}

/// The signal that a step waits for.
pub(super) fn awaited_signal(row: &StepRow) -> Option<&str> {
    use WaitReason::{Approval, Signal, UnknownOutcome};
    let takes = matches!(row.wait, Some(Signal | Approval | UnknownOutcome));
    let detail = row.data.as_ref().filter(|_| takes)?.detail.as_ref()?;
    detail.get("signal")?.as_str()
}

/// The event that a step waits for.
fn awaited_event<'a>(row: &StepRow, graph: &'a Graph) -> Option<&'a str> {
    match &graph.step(row.plan).kind {
        StepKind::WaitEvent { event, .. } if row.wait == Some(WaitReason::Event) => Some(event),
        _ => None,
    }
}

impl Index {
    /// The index of a run's rows.
    pub fn of(run: &Run) -> Self {
        let mut index = Self::default();
        for place in &run.steps {
            index.add(&place.row, &run.graph);
        }
        let RunExtra { signals, signal_keys, .. } = &run.row.extra;
        signals.iter().for_each(|signal| index.kept.push(&signal.name));
        index.keys.extend(signal_keys.iter().cloned());
        index
    }

    /// A row is about to change.
    pub fn leave(&mut self, row: &StepRow, graph: &Graph) {
        if row.status != StepStatus::Waiting {
            return;
        }
        if let Some(signal) = awaited_signal(row) {
            remove(&mut self.signals, signal, &row.inst);
        }
        if let Some(event) = awaited_event(row, graph) {
            remove(&mut self.events, event, &row.inst);
        }
    }

    /// A row has changed.
    pub fn add(&mut self, row: &StepRow, graph: &Graph) {
        let plan = graph.step(row.plan);
        let end = (row.finished_at, row.inst);
        match row.status {
            StepStatus::Waiting => {
                if let Some(signal) = awaited_signal(row) {
                    insert(&mut self.signals, signal, row.inst);
                }
                if let Some(event) = awaited_event(row, graph) {
                    insert(&mut self.events, event, row.inst);
                }
            }
            StepStatus::Succeeded if plan.compensate.is_some() => {
                let opened = row.data.as_ref().is_some_and(|d| d.compensation.is_some());
                if !opened {
                    self.undoable.insert(end);
                }
            }
            StepStatus::Failed if plan.body == MAIN && !plan.tolerate => {
                self.failed = Some(self.failed.map_or(end, |first| first.min(end)));
            }
            _ => {}
        }
        if row.status.is_terminal() {
            self.put_out(row, graph);
        }
    }

    fn put_out(&mut self, row: &StepRow, graph: &Graph) {
        let Some(output) = row.output.as_ref().and_then(|o| o.as_object()) else { return };
        let names = graph.bare_names();
        let mut found = |name: &str| insert(&mut self.produced, name, row.plan);
        if names.len() < output.len() {
            names.iter().filter(|n| output.contains_key(*n)).for_each(|n| found(n));
        } else {
            output.keys().filter(|n| names.contains(*n)).for_each(|n| found(n));
        }
    }

    /// The compensation of a step was opened.
    pub fn undone(&mut self, row: &StepRow) {
        self.undoable.remove(&(row.finished_at, row.inst));
    }

    /// A signal is kept.
    pub fn keep(&mut self, name: &str, key: Option<&str>) {
        self.kept.push(name);
        self.keys.extend(key.map(str::to_owned));
    }

    /// The key of a signal is remembered no more.
    pub fn forget_key(&mut self, key: &str) {
        self.keys.remove(key);
    }

    /// The kept signal at a position was taken.
    pub fn taken(&mut self, position: usize, signal: &KeptSignal) {
        self.kept.remove(position, &signal.name);
    }

    /// No signal is kept any more.
    pub fn drop_kept(&mut self) {
        self.kept = Kept::default();
    }

    /// Steps that wait for a signal of that name, in order.
    pub fn waiting_for_signal(&self, name: &str) -> impl Iterator<Item = InstIx> + '_ {
        self.signals.get(name).into_iter().flatten().copied()
    }

    /// Steps that wait for an event of that type, in order.
    pub fn waiting_for_event(&self, event: &str) -> impl Iterator<Item = InstIx> + '_ {
        self.events.get(event).into_iter().flatten().copied()
    }

    /// Positions of the kept signals of that name, oldest first.
    pub fn kept(&self, name: &str) -> impl Iterator<Item = usize> + '_ {
        self.kept.positions(name)
    }

    /// Whether a signal with that key was seen.
    pub fn has_key(&self, key: &str) -> bool {
        self.keys.contains(key)
    }

    /// The step that is undone next: the one that succeeded last.
    pub fn next_undone(&self) -> Option<InstIx> {
        self.undoable.last().map(|(_, inst)| *inst)
    }

    /// The failed, not tolerated step of the main body that ended first.
    pub fn first_failed(&self) -> Option<InstIx> {
        self.failed.map(|(_, inst)| inst)
    }

    /// Steps of the plan of which some instance has put out that key, last first; `None` when that
    /// isn't known, because no expression of the plan names it.
    pub fn producers(&self, graph: &Graph, name: &str) -> Option<impl Iterator<Item = StepIx>> {
        let known = graph.bare_names().contains(name);
        known.then(|| self.produced.get(name).into_iter().flatten().rev().copied())
    }
}

impl Run {
    /// Whether the index is that of the rows. Looks only at small runs.
    pub(super) fn is_indexed(&self) -> bool {
        self.len() > CHECKED_STEPS_MAX || self.index == Index::of(self)
    }
}
