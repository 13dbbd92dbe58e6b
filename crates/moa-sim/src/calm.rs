//! The end of a simulation: faults stop, users help, and everything that can end must end.

use std::collections::BTreeSet;

use moa_core::ids::RunId;
use moa_core::step::{StepStatus, WaitReason};
use moa_core::time::Millis;
use moa_core::workflow::StepKind;
use moa_engine::handle::Change;

use crate::plans;
use crate::world::{Happening, World};

/// How often users look what waits for them.
const NUDGE_EVERY: u64 = 1_000;
/// After which time of calm nothing may be late any more.
const SETTLED: i64 = 30_000;
/// The same where nodes left other runs alone: their work has piled up.
const CAUGHT_UP: i64 = 3_600_000;

impl World {
    /// Faults stop.
    pub(crate) fn calm(&mut self) {
        self.note(|_| "calm".into());
        self.calm_since = Some((self.now, self.events));
        self.piled_up = self.swarm.asked_only > 0;
        self.swarm = self.swarm.calmed();
        let ahead = self.processes.iter().map(|p| p.skew).max().unwrap_or(0);
        for p in 0..self.processes.len() {
            let process = &mut self.processes[p];
            process.skew = ahead;
            if process.node.is_none() {
                self.after(0, Happening::Boot(p));
            } else if process.only.is_some() {
                // The next one executes what this one left alone.
                self.crash(p);
            }
        }
        self.end_all();
        self.after(0, Happening::Nudge);
    }

    /// Users help every run that waits for them to its end.
    pub(crate) fn nudge(&mut self) {
        let ended = self.end_triggers();
        if ended && self.is_over() {
            let model = self.store.model();
            let judged = self.checker.over(&model);
            drop(model);
            self.must(judged);
            self.over = true;
            return;
        }
        self.after(NUDGE_EVERY, Happening::Nudge);
        // A person starts a node again that has set runs aside.
        for p in 0..self.processes.len() {
            let node = self.processes[p].node.as_ref();
            if node.is_some_and(|node| !node.status().quarantined.is_empty()) {
                self.crash(p);
            }
        }
        let settled = if self.piled_up { CAUGHT_UP } else { SETTLED };
        if let Some((time, _)) = self.calm_since.filter(|(time, _)| self.now - time > settled) {
            let limited = self.agents.values().filter(|spec| !spec.limits.is_empty());
            let last = |agent| Millis(self.ledger.last_leased(agent));
            let limited = limited.map(|spec| (spec.id.clone(), last(&spec.id))).collect();
            let now = self.local(0);
            let calm = Millis(now.0 - (self.now - time));
            let few_rows = self.swarm.due_limit.is_some();
            let judged = self.checker.punctual(now, calm, &limited, few_rows);
            self.must(judged);
        }
        let open: Vec<RunId> =
            self.checker.runs().filter(|(_, s)| s.ended.is_none()).map(|(id, _)| *id).collect();
        let mut events = BTreeSet::new();
        for run in open {
            self.nudge_run(run, &mut events);
        }
        for event in events {
            self.ask_start(plans::name(&format!("emit_{event}")), None);
        }
    }

    fn nudge_run(&mut self, run: RunId, events: &mut BTreeSet<String>) {
        let Some(shadow) = self.checker.run(run) else { return };
        if shadow.paused {
            return self.ask_change(run, Change::Resume);
        }
        for step in shadow.steps.iter().filter(|s| s.status == StepStatus::Waiting) {
            if step.wait == Some(WaitReason::Event)
                && let StepKind::WaitEvent { event, .. } = &shadow.graph.step(step.plan).kind
            {
                events.insert(event.clone());
            }
        }
        for inst in self.waiting_for_signals(run) {
            self.signal_step(run, inst, true);
        }
    }

    fn is_over(&self) -> bool {
        let model = self.store.model();
        self.checker.runs().all(|(_, s)| s.ended.is_some())
            && model.messages().next().is_none()
            && self.processes.iter().all(|p| p.asked.is_empty() && p.node.is_some())
            && self.ledger.live().next().is_none()
    }
}
