//! The names that rows know attempts by whose spending they have counted.
//!
//! The end of an attempt may be refused when its row was written: then it is made again, and the row must
//! not count it again. Once the end is durable, or no run takes it, nobody counts it any more, and
//! the next write of the row forgets the name. So a row has the names of what is open, and of what has ended
//! since it was written last; those of a node that died among them until they are the oldest of too many.

use std::collections::BTreeSet;

use moa_core::event::InstIx;
use moa_core::ids::{RunId, mix};
use moa_core::limit::LimitState;

/// What this node knows of them.
#[derive(Default)]
pub(super) struct Names {
    /// Attempts that were counted here and whose ends may be counted again.
    open: BTreeSet<u64>,
    /// Those that nobody counts again.
    over: BTreeSet<u64>,
    /// Those of them that the batch in flight forgets.
    forgotten: Vec<u64>,
}

/// The name of an attempt.
pub(super) fn name(run: RunId, inst: InstIx, attempt: u32) -> u64 {
    let place = u64::from(inst) << 32 | u64::from(attempt);
    mix(mix(run.0 as u64 ^ mix((run.0 >> 64) as u64)) ^ mix(place))
}

impl Names {
    /// An attempt is counted, and may be again.
    pub fn counts(&mut self, name: u64) {
        self.over.remove(&name);
        self.open.insert(name);
    }

    /// The end of an attempt is durable, or will never be.
    pub fn ends(&mut self, name: u64) {
        if self.open.remove(&name) {
            self.over.insert(name);
        }
    }

    /// Makes a row that is about to be written forget what nobody counts again, but for what it counts now:
    /// whether that is written has to be known first.
    pub fn forget(&mut self, state: &mut LimitState, counts: &BTreeSet<u64>) {
        let Some(budget) = &mut state.budget else { return };
        let over = |name: &u64| self.over.contains(name) && !counts.contains(name);
        let gone: Vec<u64> = budget.counted.iter().filter(|name| over(name)).copied().collect();
        let own = |name: &u64| self.open.contains(name) || self.over.contains(name);
        budget.forget(over, own);
        gone.iter().for_each(|name| _ = self.over.remove(name));
        self.forgotten.extend(gone);
    }

    /// The batch in flight was written, or not: then its rows may still have the names.
    pub fn written(&mut self, all: bool) {
        let forgotten = self.forgotten.drain(..);
        match all {
            true => drop(forgotten),
            false => self.over.extend(forgotten),
        }
    }

    /// Rows were loaded that have only these names.
    pub fn loaded(&mut self, known: &BTreeSet<u64>) {
        self.over.retain(|name| known.contains(name));
    }
}
