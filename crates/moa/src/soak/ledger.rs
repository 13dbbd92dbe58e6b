//! What became of each slot and each run, read from the store while it is still there.

use std::collections::BTreeMap;

use moa_core::ids::{Name, RunId};
use moa_core::run::RunStatus;
use moa_core::time::{Millis, Span};
use moa_core::trigger::{Occurrence, Origin, Outcome};
use moa_ports::triggers::OccurrenceFilter;
use moa_ports::views::{RunFilter, RunSummary, Views};

use super::DAY;
use crate::node::triggers;
use crate::project::Project;

/// Rows read at once.
const ROWS: usize = 500;
/// How long something is given to end before it is read: the longest that a template's run may take,
/// and a day.
const SETTLED: u64 = 2 * DAY.0;
/// How late a slot may be looked at to be started as if it was on time.
const ON_TIME: Span = Span::seconds(30);
/// How late it may be caught up on.
const CATCH_UP: Span = Span::minutes(6 * 60);

/// What there was of a workflow's slots.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Counted {
    pub slots: u64,
    pub started: u64,
    pub caught_up: u64,
    pub missed: u64,
    pub overlapped: u64,
    /// Without those whose time was over.
    pub failed: u64,
    /// Those whose time was over.
    pub late: u64,
}

impl Counted {
    pub fn and(&self, more: &Self) -> Self {
        Self {
            slots: self.slots + more.slots,
            started: self.started + more.started,
            caught_up: self.caught_up + more.caught_up,
            missed: self.missed + more.missed,
            overlapped: self.overlapped + more.overlapped,
            failed: self.failed + more.failed,
            late: self.late + more.late,
        }
    }
}

pub struct Ledger {
    /// What was read up to here is settled.
    read_to: Millis,
    /// What was checked up to here has been forgotten.
    checked_to: Millis,
    /// Records by workflow and first slot.
    pub slots: BTreeMap<Name, BTreeMap<Millis, Occurrence>>,
    pub runs: BTreeMap<RunId, RunSummary>,
    /// When the process was away.
    pub outages: Vec<(Millis, Millis)>,
    /// Runs that failed, without those whose time was over, of what was checked.
    pub failed: Vec<(&'static str, RunId)>,
    /// What was checked.
    pub counted: BTreeMap<&'static str, Counted>,
}

impl Ledger {
    pub fn new(from: Millis) -> Self {
        Self {
            read_to: from,
            checked_to: from,
            slots: BTreeMap::new(),
            runs: BTreeMap::new(),
            outages: Vec::new(),
            failed: Vec::new(),
            counted: BTreeMap::new(),
        }
    }

    /// Reads what is settled by now, and what isn't yet nor will ever be: that is stuck.
    pub async fn go_on(&mut self, views: &dyn Views, project: &Project, now: Millis) {
        let to = Millis(now.0.saturating_sub_unsigned(SETTLED));
        if to <= self.read_to {
            return;
        }
        for (id, spec) in triggers::wanted(project) {
            let slots = self.slots.entry(spec.workflow.clone()).or_default();
            let mut after = None;
            loop {
                let filter = OccurrenceFilter {
                    from: Some(self.read_to),
                    to: Some(to),
                    after,
                    limit: ROWS,
                    ..OccurrenceFilter::default()
                };
                let found = views.occurrences(id, &filter).await.expect("occurrences");
                after = found.last().map(|last| (last.at, last.key.clone()));
                let is_last = found.len() < ROWS;
                slots.extend(found.into_iter().map(|slot| (slot.at, slot)));
                if is_last {
                    break;
                }
            }
        }
        let mut before = None;
        loop {
            let filter = RunFilter { before, limit: ROWS, ..RunFilter::default() };
            let found = views.runs(&filter).await.expect("runs");
            before = found.last().map(|last| last.run);
            let is_last = found.len() < ROWS
                || found.last().is_some_and(|last| last.created_at < self.read_to);
            let settled = found.into_iter().filter(|run| run.created_at < to);
            for run in settled.filter(|run| run.created_at >= self.read_to) {
                assert!(run.status.is_terminal(), "stuck: {run:?}");
                self.runs.insert(run.run, run);
            }
            if is_last {
                break;
            }
        }
        self.read_to = to;
    }

    /// From when to when slots were read and have not been checked.
    pub fn read(&self) -> (Millis, Millis) {
        (self.checked_to, self.read_to)
    }

    /// The runs of a workflow.
    pub fn runs_of(&self, workflow: &str) -> impl Iterator<Item = &RunSummary> {
        self.runs.values().filter(move |run| run.workflow.as_str() == workflow)
    }

    /// Whether nobody was there at an instant, nor soon enough after it; and until when.
    fn missed(&self, at: Millis) -> Option<Millis> {
        let mut outages = self.outages.iter();
        let (_, to) = outages.find(|(from, to)| (*from..=*to).contains(&at))?;
        (to.since(at) > ON_TIME).then_some(*to)
    }

    /// Each of these instants, and no other one, is accounted for in the way in which it must be:
    /// started on time; or skipped since a run went on; or, when nobody was there, caught up on if it
    /// is the newest that was missed and not too old, else missed with a reason.
    #[track_caller]
    pub fn check_slots(&mut self, workflow: &'static str, wanted: &[Millis]) {
        let name = Name::new(workflow).expect("a name");
        let slots = &self.slots[&name];
        let mut counted = Counted { slots: wanted.len() as u64, ..Counted::default() };
        for (at, next) in wanted.iter().zip(wanted.iter().skip(1).map(Some).chain([None])) {
            let Some(slot) = record_of(slots, *at) else {
                panic!("{workflow}: nothing is known of the slot at {at}");
            };
            let missed = self.missed(*at);
            let is_caught_up = missed
                .is_some_and(|to| next.is_none_or(|next| *next > to) && to.since(*at) <= CATCH_UP);
            let is_right = match (slot.outcome, slot.origin) {
                (Outcome::Started, Origin::Live) => missed.is_none(),
                (Outcome::Started, Origin::CatchUp) => is_caught_up,
                (Outcome::Missed, _) => missed.is_some() && !is_caught_up && slot.reason.is_some(),
                (Outcome::SkippedOverlap | Outcome::SkippedLimit, _) => {
                    slot.reason.is_some() && self.goes_on(workflow, slot)
                }
                _ => false,
            };
            assert!(is_right, "{workflow}: {slot:?} ({missed:?}, {is_caught_up})");
            match slot.outcome {
                Outcome::Missed => counted.missed += 1,
                Outcome::Started => counted.caught_up += u64::from(missed.is_some()),
                _ => counted.overlapped += 1,
            }
            if slot.outcome == Outcome::Started {
                counted.started += 1;
                let run = slot.run.and_then(|run| self.runs.get(&run));
                assert!(run.is_some_and(|run| slot.result == Some(run.status)), "{slot:?} {run:?}");
            }
        }
        let known: u64 = slots.values().map(|slot| slot.count).sum();
        assert_eq!(known, wanted.len() as u64, "{workflow}: a slot that is none");
        let own = self.runs_of(workflow).filter(|run| run.parent.is_none());
        let own = own.filter(|run| run.created_at >= self.checked_to);
        let (mut runs, mut failed) = (0, Vec::new());
        for run in own {
            runs += 1;
            let is_late = run.error.as_ref().is_some_and(|e| e.contains("time limit"));
            counted.late += u64::from(is_late);
            if run.status == RunStatus::Failed && !is_late {
                counted.failed += 1;
                failed.push((workflow, run.run));
            }
        }
        assert_eq!(counted.started, runs, "{workflow}: a run of no slot");
        let all = self.counted.entry(workflow).or_default();
        *all = all.and(&counted);
        self.failed.extend(failed);
    }

    /// Forgets what was read and checked, but for runs that slots to come may have been skipped for.
    pub fn forget(&mut self) {
        self.checked_to = self.read_to;
        self.slots.clear();
        let goes_on = |run: &RunSummary| run.finished_at.is_none_or(|end| end >= self.read_to);
        self.runs.retain(|_, run| goes_on(run));
    }

    /// Whether a run of the workflow went on when a slot was due.
    fn goes_on(&self, workflow: &str, slot: &Occurrence) -> bool {
        self.runs_of(workflow).any(|run| {
            run.created_at <= slot.decided_at && run.finished_at.is_some_and(|end| end >= slot.at)
        })
    }
}

fn record_of(slots: &BTreeMap<Millis, Occurrence>, at: Millis) -> Option<&Occurrence> {
    let (_, slot) = slots.range(..=at).next_back()?;
    (slot.at == at || slot.last.is_some_and(|last| at <= last)).then_some(slot)
}
