//! Accounting for every slot since the mark.

use super::Step;
use crate::limits::{SLOT_GRACE_MS, SLOTS_LISTED_MAX};
use crate::schedule::spec::CatchUpPolicy;
use crate::schedule::state::{Miss, Outcome, Pending, Record, Skip, Wait, Which};
use crate::time::Millis;

impl Step<'_> {
    /// Brings the mark to `now`.
    pub(super) fn settle(&mut self) {
        if self.is_held() {
            return;
        }
        self.settle_after();
        let (mark, now) = (self.state.mark, self.now);
        if now <= mark {
            return;
        }
        self.state.mark = now;
        let (from, to) = (Millis(mark.0.saturating_add(1)), Millis(now.0.saturating_add(1)));
        let Some(oldest) = self.table.next_raw(mark).filter(|at| *at < to) else { return };
        match self.barred() {
            // After the last run there are no slots.
            Some(Skip::Finished) => {}
            Some(skip) => self.pass_over(from, to, Outcome::Skipped(skip)),
            None if self.is_late(oldest) => self.missed(from, to),
            None => self.on_time(from, to),
        }
    }

    /// The slot that is due after the last run.
    fn settle_after(&mut self) {
        let Some(at) = self.after_slot(self.now).filter(|at| *at <= self.now) else { return };
        if self.barred().is_some() {
            return;
        }
        self.state.after_at = None;
        // When another rule names the same instant it is one slot, and that rule's.
        if self.table.next_raw(Millis(at.0 - 1)) != Some(at) {
            self.accept(at, Wait::Due);
        }
    }

    /// Slots that come when they should.
    fn on_time(&mut self, from: Millis, to: Millis) {
        let mut after = Millis(from.0 - 1);
        while let Some(at) = self.table.next_raw(after).filter(|at| *at < to) {
            if self.table.off(self.table.day(at)).is_some() {
                self.record(self.table.slot(at), Outcome::Skipped(Skip::Calendar));
            } else {
                self.accept(at, Wait::Due);
            }
            after = at;
        }
    }

    /// A slot that may start.
    fn accept(&mut self, at: Millis, wait: Wait) {
        let slot = self.table.slot(at);
        if let Some(run) = self.facts.known.get(&at) {
            self.record(slot, Outcome::Deduped { run: *run });
            return;
        }
        let due = match wait {
            Wait::CatchUp => self.now,
            _ => at.after(self.schedule().jitter_of(at)),
        };
        self.state.pending.push(Pending { slot, due, wait });
    }

    /// Slots that nobody looked at for a while: the process was down, the host slept, the clock was
    /// moved. They are one missed window, judged by `catch_up`.
    fn missed(&mut self, from: Millis, to: Millis) {
        let catch_up = self.schedule().catch_up;
        // The newest slot, when it is not late, is none of those missed.
        let grace = Millis(self.now.0 - SLOT_GRACE_MS).max(from);
        let fresh = self.table.newest(grace..to, 1).pop_front();
        let end = fresh.map_or(to, |slot| slot.at);
        // How far back slots are caught up, and what the older ones are called.
        let window = Millis(self.now.0.saturating_sub_unsigned(catch_up.window.0));
        let lateness = self.schedule().max_lateness;
        let lateness = lateness.map(|span| Millis(self.now.0.saturating_sub_unsigned(span.0)));
        let (floor, older) = match lateness {
            Some(lateness) if lateness > window => (lateness, Outcome::Skipped(Skip::Late)),
            _ => (window, Outcome::Missed(Miss::Window)),
        };
        let floor = floor.clamp(from, end);
        let count = match catch_up.policy {
            CatchUpPolicy::Latest if fresh.is_some() => 0,
            _ => catch_up.runs_max(),
        };
        let kept = self.table.newest(floor..end, count);
        let first_kept = kept.front().map_or(end, |slot| slot.at);
        let newer = match catch_up.policy {
            CatchUpPolicy::None => Miss::Policy,
            _ => Miss::Newer,
        };
        self.pass_over(from, floor, older);
        self.pass_over(floor, first_kept, Outcome::Missed(newer));
        let mut from = first_kept;
        for slot in kept {
            self.pass_over(from, slot.at, Outcome::Skipped(Skip::Calendar));
            self.accept(slot.at, Wait::CatchUp);
            from = Millis(slot.at.0 + 1);
        }
        // Between the last two there are only slots of days that don't count.
        self.pass_over(from.min(end), end, Outcome::Skipped(Skip::Calendar));
        if let Some(slot) = fresh {
            self.accept(slot.at, Wait::Due);
            let rest = Millis(slot.at.0 + 1);
            self.pass_over(rest, to, Outcome::Skipped(Skip::Calendar));
        }
    }

    /// Records the slots of a half-open range as `outcome`, and those on days that don't count as
    /// skipped: one by one when they are few.
    fn pass_over(&mut self, from: Millis, to: Millis, outcome: Outcome) {
        if from >= to {
            return;
        }
        let off = Outcome::Skipped(Skip::Calendar);
        let mut after = Millis(from.0 - 1);
        let before = self.records.len();
        while let Some(at) = self.table.next_raw(after).filter(|at| *at < to) {
            if self.records.len() - before == SLOTS_LISTED_MAX {
                self.records.truncate(before);
                let counted = self.table.count(from..to);
                for (count, outcome) in [(counted.on, outcome), (counted.off, off)] {
                    let slots = Which::Many { from, to, count: Some(count) };
                    let some = count > 0;
                    self.records.extend(some.then_some(Record { slots, outcome }));
                }
                return;
            }
            let is_off = self.table.off(self.table.day(at)).is_some();
            let outcome = match self.facts.known.get(&at) {
                Some(run) => Outcome::Deduped { run: *run },
                None if is_off => off,
                None => outcome,
            };
            self.record(self.table.slot(at), outcome);
            after = at;
        }
    }
}
