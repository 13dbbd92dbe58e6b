//! Backfills: slots of the past, started some at a time.

use super::record::{Occurrence, Origin, Outcome};
use super::state::{Backfill, Held};
use super::{BackfillRequest, Trigger, TriggerAnswer, Tx, rejected, slots};
use crate::limits::{BACKFILL_AT_ONCE_MAX, BACKFILL_SLOTS_MAX, BACKFILLS_KEPT_MAX};
use crate::machine::Rejected;
use crate::run::RunStatus;
use crate::schedule::{Counted, Reprocess, Slot, Timetable};
use crate::time::Millis;

/// Slots that one application deals with at most; then what it has done so far is written.
const BACKFILLED_MAX: usize = 100;

impl Backfill {
    /// Whether it has slots or runs left.
    pub fn is_going_on(&self) -> bool {
        self.ended_at.is_none()
    }

    /// The next slot, and where the cursor is behind it.
    fn next(&self, table: &Timetable) -> Option<(Slot, Millis)> {
        match self.reverse {
            false => {
                let slot = table.slots(self.cursor..self.to).next()?;
                Some((slot, Millis(slot.at.0 + 1)))
            }
            true => {
                let slot = table.newest(self.from..self.cursor, 1).pop_back()?;
                Some((slot, slot.at))
            }
        }
    }
}

impl Tx<'_, '_> {
    pub(super) fn ask_backfill(&mut self, request: &BackfillRequest) -> Result<(), Rejected> {
        let title = self.trigger.spec.title();
        let Some(table) = &self.trigger.table else {
            return rejected(format!("{title} has no slots: only schedules can be backfilled"));
        };
        if !self.trigger.spec.enabled {
            return rejected(format!("{title} is disabled in its definition"));
        }
        let state = &self.trigger.state;
        if let Some(same) = state.backfills.iter().find(|b| b.key == request.key) {
            self.applied.answer = TriggerAnswer::Backfill(same.clone());
            return Ok(());
        }
        // What has not been judged is still the schedule's own.
        let mark = state.schedule.as_ref().map_or(self.now(), |s| s.mark).min(self.now());
        let to = request.to.min(Millis(mark.0 + 1));
        let most = BACKFILL_SLOTS_MAX as u64;
        let counted = match request.from < to {
            true => table.count_up_to(request.from..to, most),
            false => Counted::default(),
        };
        if counted.on > most || counted.off > most * 100 {
            let text = format!("a backfill goes over at most {most} slots, this range has more");
            return rejected(text);
        }
        let slots = u32::try_from(counted.on).unwrap_or(u32::MAX);
        if slots == 0 {
            return rejected(format!("{title} has no slot of the past in this range"));
        }
        if state.backfills.iter().filter(|b| b.is_going_on()).count() >= BACKFILLS_KEPT_MAX {
            return rejected(format!("{title} has {BACKFILLS_KEPT_MAX} backfills that go on"));
        }
        let number = state.last_backfill + 1;
        let backfill = Backfill {
            number,
            key: request.key.clone(),
            from: request.from,
            to,
            cursor: if request.reverse { to } else { request.from },
            reverse: request.reverse,
            slots,
            at_once: request.at_once.clamp(1, BACKFILL_AT_ONCE_MAX),
            reprocess: request.reprocess,
            started: 0,
            passed: 0,
            failed: 0,
            at: self.now(),
            by: request.by.clone(),
            priority: request.priority,
            cancelled: false,
            ended_at: None,
        };
        let state = &mut self.trigger.state;
        state.last_backfill = number;
        state.backfills.push(backfill);
        while state.backfills.len() > BACKFILLS_KEPT_MAX {
            let Some(old) = state.backfills.iter().position(|b| !b.is_going_on()) else { break };
            state.backfills.remove(old);
        }
        self.backfill();
        let found = self.trigger.state.backfills.iter().find(|b| b.number == number);
        if let Some(backfill) = found {
            self.applied.answer = TriggerAnswer::Backfill(backfill.clone());
        }
        Ok(())
    }

    pub(super) fn cancel_backfill(&mut self, number: Option<u32>) -> Result<(), Rejected> {
        let all = self.trigger.state.backfills.iter_mut();
        let going = all.filter(|b| b.is_going_on() && number.is_none_or(|n| n == b.number));
        let cancelled = going.map(|b| b.cancelled = true).count();
        if cancelled == 0 {
            let which = number.map_or("no backfill".to_owned(), |n| format!("no backfill {n}"));
            return rejected(format!("{} has {which} that goes on", self.trigger.spec.title()));
        }
        self.backfill();
        Ok(())
    }

    /// Starts what backfills may start now.
    pub(super) fn backfill(&mut self) {
        let numbers: Vec<u32> = {
            let going = self.trigger.state.backfills.iter().filter(|b| b.is_going_on());
            going.map(|b| b.number).collect()
        };
        for number in numbers {
            while self.backfilled < BACKFILLED_MAX && self.backfill_one(number) {
                self.backfilled += 1;
            }
            self.end_backfill(number);
        }
    }

    /// Ends it when nothing is left to start and none of its runs is open.
    fn end_backfill(&mut self, number: u32) {
        let now = self.now();
        let open = self.trigger.backfill_open(number);
        let Some(table) = &self.trigger.table else { return };
        let all = &mut self.trigger.state.backfills;
        let Some(backfill) = all.iter_mut().find(|b| b.number == number) else { return };
        if open == 0 && (backfill.cancelled || backfill.next(table).is_none()) {
            backfill.ended_at = Some(now);
        }
    }

    /// Goes one slot further; false when it can't.
    fn backfill_one(&mut self, number: u32) -> bool {
        // Its slots wait, unlike those of the schedule.
        if self.trigger.is_full() {
            return false;
        }
        let open = self.trigger.backfill_open(number);
        let Some(table) = self.trigger.table.clone() else { return false };
        let all = &mut self.trigger.state.backfills;
        let Some(backfill) = all.iter_mut().find(|b| b.number == number) else { return false };
        let next = backfill.next(&table).filter(|_| !backfill.cancelled);
        let Some((slot, cursor)) = next else { return false };
        if open >= backfill.at_once as usize || !self.trigger.spec.enabled {
            return false;
        }
        backfill.cursor = cursor;
        let reprocess = backfill.reprocess;
        let known = self.env.known.get(&slots::key(slot.at));
        if known.is_some_and(|known| !starts_again(known, reprocess)) {
            backfill.passed += 1;
            return true;
        }
        backfill.started += 1;
        let (place, priority) = (backfill.at, backfill.priority);
        let held = Held { priority, ..self.slot(slot, Origin::Backfill(number)) };
        let run = self.trigger.id.run(&format!("{}#{number}", held.key), place);
        self.start_as(run, held, true);
        true
    }
}

/// Whether a slot with this record gets a run by a backfill.
pub fn starts_again(known: &Occurrence, reprocess: Reprocess) -> bool {
    if known.run.is_none() || known.outcome != Outcome::Started {
        return !known.outcome.is_open();
    }
    match reprocess {
        Reprocess::None => false,
        Reprocess::Failed => known.result.is_some_and(|r| r != RunStatus::Succeeded),
        Reprocess::All => known.result.is_some(),
    }
}

impl Trigger {
    /// Runs of a backfill that have not ended.
    fn backfill_open(&self, number: u32) -> usize {
        let open = self.state.open.values();
        open.filter(|open| open.origin == Origin::Backfill(number)).count()
    }

    /// At once, if a backfill may go on without anything else happening.
    pub(super) fn backfill_due(&self) -> Option<Millis> {
        let table = self.table.as_ref()?;
        let may = |b: &&Backfill| {
            b.is_going_on()
                && self.backfill_open(b.number) < b.at_once as usize
                && !b.cancelled
                && b.next(table).is_some()
        };
        let may_start = self.spec.enabled && !self.is_full();
        let waits = self.state.backfills.iter().find(may).filter(|_| may_start)?;
        Some(waits.at)
    }
}
