//! What a node executes: every open run, or only what it is asked to.
//!
//! A node that was started for one run shares the store with runs that others left open. It asks
//! the store for nothing of theirs, so their timers, messages, tasks and lost attempts stay where
//! they are. What somebody asks to be changed of them is changed in the store, and what follows from
//! that waits there too.
//! Events that its runs send go to all who wait for them: as messages, which wait in the store for
//! the node that serves the run.

use std::collections::BTreeSet;

use moa_core::ids::RunId;

use super::Node;

/// What a node executes.
#[derive(Debug, Default)]
pub(super) struct Scope {
    /// Runs at the top: these, and what they start. `None` = all there are.
    roots: Option<BTreeSet<RunId>>,
}

impl Scope {
    /// Adds a run at the top.
    pub fn add(&mut self, root: RunId) {
        if let Some(roots) = &mut self.roots {
            roots.insert(root);
        }
    }

    /// Takes back a run that never came to be.
    pub fn remove(&mut self, root: RunId) {
        if let Some(roots) = &mut self.roots {
            roots.remove(&root);
        }
    }

    /// Whether a run with this root is executed. `None`: a run that was made here is, and so is its
    /// child, because its start came from the store as a message to be applied here.
    pub fn covers(&self, root: Option<RunId>) -> bool {
        match (&self.roots, root) {
            (Some(roots), Some(root)) => roots.contains(&root),
            _ => true,
        }
    }

    /// The roots, when not every run is executed.
    pub fn only(&self) -> Option<Vec<RunId>> {
        self.roots.as_ref().map(|roots| roots.iter().copied().collect())
    }
}

impl Node {
    /// Executes only runs that it starts, repeats, or is told to serve. To be called before
    /// anything else.
    pub fn serve_only_asked(&mut self) {
        self.scope.roots = Some(BTreeSet::new());
    }

    /// Executes this run too, which is one at the top, with all that belongs to it. What an earlier
    /// node left of its attempts must have ended.
    pub fn serve(&mut self, root: RunId) {
        if self.scope.covers(Some(root)) {
            return;
        }
        self.scope.add(root);
        // As at a start: all that is due of it is in the store.
        self.due_wanted = true;
        self.lost_wanted = true;
        self.slots.more_in_store = true;
    }
}
