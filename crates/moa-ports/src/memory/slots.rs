//! Who holds a slot of a concurrency key, and who waits for one.

use std::collections::{BTreeMap, BTreeSet};

use moa_core::ids::RunId;
use moa_core::policy::{Admission, admit};
use moa_core::workflow::OnLimit;

use crate::store::ConcurrencySlot;

/// Slots of all keys.
#[derive(Debug, Clone, Default)]
pub(super) struct Slots {
    keys: BTreeMap<String, Line>,
    of_run: BTreeMap<RunId, Place>,
}

/// One key: who holds a slot (in the order in which they got it), and who waits.
#[derive(Debug, Clone, Default)]
struct Line {
    holders: BTreeSet<(u64, RunId)>,
    queued: BTreeSet<Queued>,
}

/// One that waits, in the order of the queue: queue key, then age.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Queued {
    queue_key: i64,
    age: u64,
    run: RunId,
    limit: u32,
}

#[derive(Debug, Clone)]
enum Place {
    Holds { key: String, age: u64 },
    Waits { key: String, queued: Queued },
}

impl Slots {
    /// What a new run with this claim would do; changes nothing.
    pub fn ask(&self, slot: &ConcurrencySlot) -> Admission {
        let none = Line::default();
        let line = self.keys.get(&slot.key).unwrap_or(&none);
        let holders: Vec<RunId> = line.holders.iter().map(|&(_, run)| run).collect();
        // Only `replace_pending` looks at more than whether somebody waits.
        let all = slot.on_limit == OnLimit::ReplacePending;
        let queued = line.queued.iter().take(if all { usize::MAX } else { 1 });
        let queued: Vec<RunId> = queued.map(|q| q.run).collect();
        admit(slot.on_limit, slot.limit, &holders, &queued)
    }

    /// Gives a slot to a new run. `age` is its number in order of creation.
    pub fn hold(&mut self, slot: &ConcurrencySlot, run: RunId, age: u64) {
        self.keys.entry(slot.key.clone()).or_default().holders.insert((age, run));
        self.of_run.insert(run, Place::Holds { key: slot.key.clone(), age });
    }

    /// Lets a new run wait.
    pub fn queue(&mut self, slot: &ConcurrencySlot, run: RunId, age: u64) {
        let queued = Queued { queue_key: slot.queue_key, age, run, limit: slot.limit };
        self.keys.entry(slot.key.clone()).or_default().queued.insert(queued.clone());
        self.of_run.insert(run, Place::Waits { key: slot.key.clone(), queued });
    }

    /// Takes a run that waits out of the queue; one that holds a slot keeps it.
    pub fn leave_queue(&mut self, run: RunId) {
        if let Some(Place::Waits { key, queued }) = self.of_run.get(&run).cloned() {
            self.of_run.remove(&run);
            self.line(&key, |line| line.queued.remove(&queued));
        }
    }

    /// Takes away what an ended run had, and gives what is free to the next in the queue. Answers
    /// who got a slot, in order.
    pub fn release(&mut self, run: RunId) -> Vec<RunId> {
        let key = match self.of_run.remove(&run) {
            None => return Vec::new(),
            Some(Place::Holds { key, age }) => {
                self.line(&key, |line| line.holders.remove(&(age, run)));
                key
            }
            Some(Place::Waits { key, queued }) => {
                self.line(&key, |line| line.queued.remove(&queued));
                key
            }
        };
        let mut admitted = Vec::new();
        while let Some(line) = self.keys.get_mut(&key) {
            let Some(next) = line.queued.first().cloned() else { break };
            if line.holders.len() >= next.limit as usize {
                break;
            }
            line.queued.remove(&next);
            line.holders.insert((next.age, next.run));
            let place = Place::Holds { key: key.clone(), age: next.age };
            self.of_run.insert(next.run, place);
            admitted.push(next.run);
        }
        admitted
    }

    /// Takes away what a deleted run had.
    pub fn forget(&mut self, run: RunId) {
        match self.of_run.remove(&run) {
            None => {}
            Some(Place::Holds { key, age }) => {
                self.line(&key, |line| line.holders.remove(&(age, run)));
            }
            Some(Place::Waits { key, queued }) => {
                self.line(&key, |line| line.queued.remove(&queued));
            }
        }
    }

    /// A waiting run's place in the queue, from 1, and who holds the slots.
    pub fn place(&self, run: RunId) -> Option<(u32, Vec<RunId>)> {
        let Some(Place::Waits { key, queued }) = self.of_run.get(&run) else { return None };
        let line = self.keys.get(key)?;
        let before = line.queued.range(..queued).count();
        let holders = line.holders.iter().map(|&(_, run)| run).collect();
        Some((u32::try_from(before).unwrap_or(u32::MAX).saturating_add(1), holders))
    }

    /// Changes the line of a key, and forgets it when nobody is in it any more.
    fn line(&mut self, key: &str, change: impl FnOnce(&mut Line) -> bool) {
        if let Some(line) = self.keys.get_mut(key) {
            change(line);
            if line.holders.is_empty() && line.queued.is_empty() {
                self.keys.remove(key);
            }
        }
    }
}
