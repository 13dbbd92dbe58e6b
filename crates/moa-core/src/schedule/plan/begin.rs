//! Starting the pending slots whose turn it is.

use super::Step;
use crate::limits::SLOTS_BUFFERED_MAX;
use crate::schedule::spec::{CatchUpPolicy, Overlap};
use crate::schedule::state::{Miss, Notice, Outcome, Pending, Skip, Stop, Wait};
use crate::time::Millis;

impl Step<'_> {
    /// Looks at every pending slot once: those that waited for runs first, then those that are
    /// due, and missed ones last.
    pub(super) fn begin(&mut self) {
        if self.is_held() {
            return;
        }
        self.newest_wins();
        let mut pending = std::mem::take(&mut self.state.pending);
        pending.sort_by_key(|pending| (order(pending.wait), pending.slot.at));
        let rest = pending.split_off(pending.partition_point(|p| p.wait != Wait::CatchUp));
        for one in pending {
            self.begin_one(one);
        }
        self.state.pending.extend(rest);
        self.begin_missed();
        self.state.pending.sort_by_key(|pending| pending.slot.at);
    }

    /// Where a slot takes the place of what is going on, only the newest of several that could start
    /// now does: a run that this very step starts can't be stopped by it.
    fn newest_wins(&mut self) {
        let replaces = [Overlap::CancelRunning, Overlap::TerminateRunning];
        if !replaces.contains(&self.schedule().overlap) {
            return;
        }
        let pending = std::mem::take(&mut self.state.pending);
        let ready: Vec<bool> = pending.iter().map(|one| self.is_ready(one)).collect();
        let newest = pending.iter().zip(&ready).filter(|(_, ready)| **ready);
        let newest = newest.map(|(one, _)| one.slot.at).max();
        for (one, ready) in pending.into_iter().zip(ready) {
            if ready && Some(one.slot.at) != newest {
                self.record(one.slot, Outcome::Skipped(Skip::Overlap));
            } else {
                self.state.pending.push(one);
            }
        }
    }

    /// Whether a slot would start now if nothing were going on.
    fn is_ready(&self, pending: &Pending) -> bool {
        let turn = match pending.wait {
            Wait::Running => true,
            Wait::Due => !self.is_late(pending.due),
            Wait::CatchUp => false,
        };
        turn && pending.due <= self.now && self.refused(pending).is_none()
    }

    fn begin_one(&mut self, mut pending: Pending) {
        if pending.due > self.now {
            self.state.pending.push(pending);
            return;
        }
        if let Some(outcome) = self.refused(&pending) {
            self.record(pending.slot, outcome);
            return;
        }
        if pending.wait == Wait::Due && self.is_late(pending.due) {
            // Its turn came while nobody looked.
            match self.schedule().catch_up.policy {
                CatchUpPolicy::None => self.record(pending.slot, Outcome::Missed(Miss::Policy)),
                _ => {
                    pending.wait = Wait::CatchUp;
                    self.state.pending.push(pending);
                }
            }
            return;
        }
        if self.running() == 0 {
            self.start(&pending);
            return;
        }
        if pending.wait == Wait::Running {
            self.state.pending.push(pending);
            return;
        }
        self.overlaps(pending);
    }

    /// A slot that is due while runs are going on.
    fn overlaps(&mut self, mut pending: Pending) {
        pending.wait = Wait::Running;
        let waiting = self.state.pending.iter().filter(|p| p.wait == Wait::Running).count();
        match self.schedule().overlap {
            Overlap::Skip => self.record(pending.slot, Outcome::Skipped(Skip::Overlap)),
            Overlap::BufferOne if waiting == 0 => self.state.pending.push(pending),
            Overlap::BufferAll if waiting < SLOTS_BUFFERED_MAX => self.state.pending.push(pending),
            Overlap::BufferOne | Overlap::BufferAll => {
                self.record(pending.slot, Outcome::Skipped(Skip::Overlap));
            }
            Overlap::CancelRunning => {
                // It takes the place of one that waited for the same.
                let older = std::mem::take(&mut self.state.pending);
                let (replaced, others): (Vec<_>, _) =
                    older.into_iter().partition(|p| p.wait == Wait::Running);
                self.state.pending = others;
                for old in replaced {
                    self.record(old.slot, Outcome::Skipped(Skip::Overlap));
                }
                self.stop_running(Stop::Cancel);
                self.state.pending.push(pending);
            }
            Overlap::TerminateRunning => {
                self.stop_running(Stop::Terminate);
                self.terminated = true;
                self.start(&pending);
            }
            Overlap::Allow => self.start(&pending),
        }
    }

    fn stop_running(&mut self, how: Stop) {
        if self.stop.is_empty() {
            self.stop = self.facts.running.iter().map(|run| (*run, how)).collect();
        }
    }

    /// The slots that were missed: as many as the policy has, one after the other.
    fn begin_missed(&mut self) {
        self.drop_missed();
        let mut turn = self.state.pending.iter().filter(|p| p.wait == Wait::CatchUp).copied();
        let Some(next) = turn.by_ref().min_by_key(|p| p.slot.at) else { return };
        let free = self.running() == 0 || self.schedule().overlap == Overlap::Allow;
        if free && self.catch_up_at(&next) <= self.now {
            self.state.pending.retain(|p| p.slot.at != next.slot.at);
            self.state.caught_up_at = Some(self.now);
            self.start(&next);
        }
    }

    /// Records missed slots that will not be started after all.
    fn drop_missed(&mut self) {
        let newer = |p: &Pending| p.wait != Wait::CatchUp;
        let is_superseded =
            self.is_latest_only() && (self.started > 0 || self.state.pending.iter().any(newer));
        let most = if is_superseded { 0 } else { self.schedule().catch_up.runs_max() };
        let pending = std::mem::take(&mut self.state.pending);
        let (missed, others): (Vec<_>, Vec<_>) =
            pending.into_iter().partition(|p| p.wait == Wait::CatchUp);
        self.state.pending = others;
        let surplus = missed.len().saturating_sub(most);
        for (n, pending) in missed.into_iter().enumerate() {
            match self.refused(&pending) {
                Some(outcome) => self.record(pending.slot, outcome),
                None if n < surplus => {
                    self.record(pending.slot, Outcome::Missed(Miss::Newer));
                }
                None => self.state.pending.push(pending),
            }
        }
    }

    /// Why a pending slot will never start, if it won't.
    fn refused(&self, pending: &Pending) -> Option<Outcome> {
        let slot = pending.slot.at;
        if let Some(run) = self.facts.known.get(&slot) {
            return Some(Outcome::Deduped { run: *run });
        }
        if let Some(skip) = self.barred() {
            return Some(Outcome::Skipped(skip));
        }
        let older_than =
            |span: crate::time::Span| self.now > Millis(slot.0.saturating_add_unsigned(span.0));
        if self.schedule().max_lateness.is_some_and(older_than) {
            return Some(Outcome::Skipped(Skip::Late));
        }
        let missed = pending.wait == Wait::CatchUp;
        (missed && older_than(self.schedule().catch_up.window))
            .then_some(Outcome::Missed(Miss::Window))
    }

    fn start(&mut self, pending: &Pending) {
        self.state.runs += 1;
        self.started += 1;
        // It is set again when the run ends.
        self.state.after_at = None;
        let at = pending.slot.at;
        let outcome = Outcome::Started {
            run: self.table.slot_id(at).run_id(),
            late: self.now.since(at),
            catch_up: pending.wait == Wait::CatchUp,
        };
        self.record(pending.slot, outcome);
        if self.state.is_over(self.table) {
            self.notices.push(Notice::Finished);
        }
    }
}

fn order(wait: Wait) -> u8 {
    match wait {
        Wait::Running => 0,
        Wait::Due => 1,
        Wait::CatchUp => 2,
    }
}
