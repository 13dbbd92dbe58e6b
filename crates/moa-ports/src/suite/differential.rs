//! Two stores, the same random operations, the same answers.
//!
//! An operation is one number: what it does follows from the number and from what the first store
//! holds at that moment, so any part of a sequence is a sequence too, and a failing one can be made
//! shorter by leaving operations out. Answers are compared exactly, except for the order of what
//! the rules leave open (timers due at the same instant, lost leases).

mod triggers;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use moa_core::event::Event;
use moa_core::ids::{NodeId, RunId, mix};
use moa_core::machine::{BUS, TimerKey};
use moa_core::run::{ParentRef, RunRow, RunStatus, StepRow};
use moa_core::step::{ErrorKind, StepError, StepStatus, WaitReason};
use moa_core::time::{Millis, Span};
use moa_core::workflow::OnLimit;
use serde_json::json;

use super::build::{self, NOW};
use super::{Bench, Fixture};
use crate::sealed::SealedWrite;
use crate::store::{
    Batch, BatchOutcome, Commit, CommitOutcome, ConcurrencySlot, Due, DueAsk, Error, Message,
    MessageId, Old, PruneAsk, Pruned, ReadyAsk, Relay, StartGuard, TaskQueue, WorkflowRef,
};
use crate::views::{KeptAsk, RunFilter};

/// Runs that the operations are about.
const RUNS: u64 = 12;

/// How often each thing happened: a sequence that never meets a conflict proves little.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// Commits applied.
    pub applied: u64,
    /// Conflicts.
    pub conflicts: u64,
    /// Duplicate starts.
    pub duplicates: u64,
    /// Starts skipped.
    pub skipped: u64,
    /// Commits and batches refused as invalid.
    pub invalid: u64,
    /// Messages and events of the bus handed out.
    pub messages: u64,
    /// Timers, tasks and lost leases handed out.
    pub due: u64,
    /// Runs deleted.
    pub pruned: u64,
    /// Restarts.
    pub reopened: u64,
}

/// A sequence of operations.
pub fn sequence(seed: u64, length: u64) -> Vec<u64> {
    (0..length).map(|i| mix(mix(seed) ^ i)).collect()
}

/// Does the operations on both stores, which must be empty and for one node.
///
/// # Errors
/// The first answer in which they differ, with the operation.
pub fn compare(
    operations: &[u64],
    model: Box<dyn Fixture>,
    tested: Box<dyn Fixture>,
) -> Result<Seen, String> {
    let mut pair = Pair {
        model: Bench::new(model),
        tested: Bench::new(tested),
        dice: Dice(0),
        now: NOW,
        seen: Seen::default(),
    };
    pair.register();
    for (i, &operation) in operations.iter().enumerate() {
        pair.dice = Dice(operation);
        let done = pair.operate();
        done.map_err(|differ| format!("operation {i} of {}: {differ}", operations.len()))?;
    }
    pair.everything().map_err(|differ| format!("at the end: {differ}"))?;
    Ok(pair.seen)
}

/// Random numbers that follow from one number.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mix(self.0)
    }

    /// A number below `n`.
    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }

    fn run(&mut self) -> RunId {
        build::run(1 + self.below(RUNS))
    }

    fn node(&mut self) -> NodeId {
        NodeId(self.below(3))
    }
}

struct Pair {
    model: Bench,
    tested: Bench,
    dice: Dice,
    now: Millis,
    seen: Seen,
}

/// Both answers, if they are the same.
fn same<T: PartialEq + Debug>(what: &str, model: T, tested: T) -> Result<T, String> {
    if model == tested {
        return Ok(model);
    }
    Err(format!("{what}\n   one: {model:?}\nother: {tested:?}"))
}

impl Pair {
    fn operate(&mut self) -> Result<(), String> {
        match self.dice.below(100) {
            0..55 => self.commit(),
            55..73 => self.due(),
            73..84 => self.look(),
            84..87 => self.workflow(),
            87 => self.look_at_triggers(),
            88..91 => {
                self.register();
                Ok(())
            }
            91..98 => self.prune(),
            _ => {
                self.model.reopen();
                self.tested.reopen();
                self.register();
                self.seen.reopened += 1;
                self.everything()
            }
        }
    }

    fn both<T: PartialEq + Debug>(
        &self,
        what: &str,
        ask: impl Fn(&Bench) -> T,
    ) -> Result<T, String> {
        same(what, ask(&self.model), ask(&self.tested))
    }

    fn register(&mut self) {
        let node = self.dice.node();
        for bench in [&self.model, &self.tested] {
            bench.register(self.now, node, Span::seconds(10));
        }
    }

    fn commit(&mut self) -> Result<(), String> {
        self.now = self.now.after(Span(self.dice.below(20)));
        let mut batch = Batch { now: self.now, ..Batch::default() };
        for _ in 0..self.dice.below(6) {
            let run = self.dice.run();
            // Two commits of one run are invalid: seldom.
            if !batch.commits.iter().any(|c| c.run == run) || self.dice.percent(1) {
                let commit = self.random_commit(run);
                batch.commits.push(commit);
            }
        }
        for _ in 0..self.dice.below(3) {
            let to = self.dice.run();
            let relay = Relay { consumed: self.message(Some(to)), messages: self.messages() };
            batch.relays.push(relay);
        }
        self.add_triggers(&mut batch);
        batch.event_runs = self.dice.pick(&[0, 1, 2, 3, 100]);
        for _ in 0..self.dice.below(4) {
            batch.events.push(self.message(None));
        }
        let entries = self.dice.pick(&[0, 0, 1, 2]);
        batch.audit = (0..entries).map(|_| self.dice.next().to_string()).collect();
        batch.audit_upto = self.dice.pick(&[0, 0, 0, 0, 3, 20]);
        for _ in 0..self.dice.pick(&[0, 0, 0, 1, 2]) {
            let name = self.dice.pick(&["A", "B", "C"]).to_owned();
            let sealed = self.dice.percent(70).then(|| self.dice.next().to_le_bytes().to_vec());
            let expected = self.dice.below(3);
            batch.sealed.push(SealedWrite { name, expected, sealed });
        }
        let what = format!("{batch:?}");
        let outcome = |bench: &Bench| bench.try_commit(batch.clone());
        match same(&what, classed(outcome(&self.model)), classed(outcome(&self.tested)))? {
            Ok(outcome) => {
                outcome.commits.iter().for_each(|outcome| self.count(outcome));
                self.count_triggers(&outcome.triggers);
            }
            Err(_) => self.seen.invalid += 1,
        }
        Ok(())
    }

    fn count(&mut self, outcome: &CommitOutcome) {
        *match outcome {
            CommitOutcome::Applied { .. } => &mut self.seen.applied,
            CommitOutcome::Conflict => &mut self.seen.conflicts,
            CommitOutcome::Duplicate(_) => &mut self.seen.duplicates,
            CommitOutcome::Skipped => &mut self.seen.skipped,
            CommitOutcome::Invalid(_) => &mut self.seen.invalid,
        } += 1;
    }

    fn random_commit(&mut self, run: RunId) -> Commit {
        let old = self.model.load(run);
        let version = old.as_ref().map_or(0, |snapshot| snapshot.version);
        let expected = match self.dice.below(20) {
            0 => version + 1,
            1 => version.saturating_sub(1),
            2 => 0,
            _ => version,
        };
        let mut commit = build::silent(run, expected);
        commit.messages = self.messages();
        for _ in 0..[0, 0, 0, 1, 2][self.dice.below(5) as usize] {
            commit.consumed.push(self.message(Some(run)));
        }
        if self.dice.percent(8) {
            return commit;
        }
        let old = old.map(|snapshot| snapshot.row);
        if old.is_none() || self.dice.percent(40) {
            let row = self.random_row(run, old.as_ref());
            commit.ended = row.status.is_terminal() && self.dice.percent(90);
            commit.row = Some(Box::new(row));
        }
        commit.events = self.events(commit.row.as_deref());
        if commit.expected == 0 && commit.row.is_some() {
            commit.start = self.guard();
        }
        for _ in 0..self.dice.below(4) {
            let step = self.random_step();
            commit.steps.push(step);
        }
        for _ in 0..self.dice.below(3) {
            let at = self.now.0 + self.dice.below(100) as i64;
            let due = self.dice.percent(70).then_some(Millis(at));
            commit.timers.push((self.timer(), due));
        }
        for _ in 0..self.dice.below(2) {
            let event = self.dice.pick(&["done", "failed", ""]).to_owned();
            commit.waits.push((self.dice.below(4) as u32, event, self.dice.percent(70)));
        }
        commit
    }

    fn timer(&mut self) -> TimerKey {
        let step = self.dice.below(3) as u32;
        self.dice.pick(&[TimerKey::Step { step }, TimerKey::Queue { step }, TimerKey::Run])
    }

    fn random_row(&mut self, run: RunId, old: Option<&RunRow>) -> RunRow {
        // What has ended stays so; stores may rely on it.
        let status = match old {
            Some(old) if old.status.is_terminal() => old.status,
            _ => self.dice.pick(&RunStatus::ALL),
        };
        let mut row = match old {
            Some(old) => old.clone(),
            None => {
                let mut new = build::row(run);
                new.workflow = build::name(self.dice.pick(&["build", "deploy"]));
                new.created_at = self.now;
                let parent = ParentRef { run: self.dice.run(), step: 2, depth: 1 };
                new.parent = self.dice.percent(30).then_some(parent);
                let long = self.dice.pick(&[0, 10, 990, 1100, 20_000]);
                new.params = Arc::new(json!({"text": "é".repeat(long), "n": self.dice.next()}));
                new
            }
        };
        row.status = status;
        row.finished_at = status.is_terminal().then_some(self.now);
        row.started_at = (status != RunStatus::Pending).then_some(NOW);
        row.extra.paused = status == RunStatus::Paused;
        row.error = self.dice.percent(30).then(|| StepError::new(ErrorKind::Limit, "too much"));
        row.output = self.dice.percent(30).then(|| Arc::new(build::rich()));
        row
    }

    fn random_step(&mut self) -> StepRow {
        let inst = self.dice.below(6) as u32;
        if self.dice.percent(5) {
            return build::full_step(inst);
        }
        let status = self.dice.pick(&StepStatus::ALL);
        let mut step = build::step(inst, status);
        step.attempt = self.dice.below(3) as u32;
        match status {
            StepStatus::Ready => {
                let key = self.dice.below(8) as i64 - 4;
                let agent = build::name(self.dice.pick(&["worker", "narrow", "Wide"]));
                let place = self.dice.percent(80).then_some((key, agent));
                (step.queue_key, step.agent) = place.unzip();
                let key = self.dice.pick(&["", "", "a", "A", "b"]);
                step.fairness_key =
                    step.agent.as_ref().filter(|_| !key.is_empty()).map(|_| key.into());
            }
            StepStatus::Running => {
                step.node = Some(self.dice.node());
                step.started_at = Some(self.now);
            }
            StepStatus::Waiting => step.wait = Some(WaitReason::Signal),
            StepStatus::Succeeded => step.output = Some(Arc::new(json!(self.dice.next()))),
            _ => {}
        }
        step
    }

    fn events(&mut self, row: Option<&RunRow>) -> Vec<Event> {
        let mut events = vec![row.map_or(Event::RunPaused, build::created)];
        if self.dice.percent(30) {
            events.push(Event::StepReady { step: self.dice.below(6) as u32 });
        }
        events
    }

    fn guard(&mut self) -> Option<StartGuard> {
        let key = self.dice.pick(&["one", "two", "three"]);
        let policies =
            [OnLimit::Queue, OnLimit::Skip, OnLimit::CancelRunning, OnLimit::ReplacePending];
        let slot = ConcurrencySlot {
            key: self.dice.pick(&["deploy", "test"]).to_owned(),
            limit: self.dice.below(3) as u32,
            on_limit: self.dice.pick(&policies),
            queue_key: self.dice.below(3) as i64,
        };
        self.dice.percent(70).then_some(StartGuard {
            idempotency_key: self.dice.percent(40).then(|| key.to_owned()),
            concurrency: self.dice.percent(70).then_some(slot),
        })
    }

    fn messages(&mut self) -> Vec<Message> {
        let count = [0, 0, 0, 1, 1, 2][self.dice.below(6) as usize];
        let mut message = || match self.dice.below(3) {
            0 => build::emitted(self.dice.pick(&["done", "failed", "", "nobody"])),
            _ => build::signal(self.dice.run(), "signal"),
        };
        (0..count).map(|_| message()).collect()
    }

    /// The number of a message that is there (for a run, or of the bus), or of none.
    fn message(&mut self, to: Option<RunId>) -> MessageId {
        let due = self.model.due(self.ask(0, 1000));
        let ids: Vec<MessageId> = match to {
            Some(run) => due.messages.iter().filter(|m| m.1.to == run).map(|m| m.0).collect(),
            None => due.bus,
        };
        if ids.is_empty() || self.dice.percent(5) {
            return self.dice.below(40);
        }
        self.dice.pick(&ids)
    }

    fn ask(&self, after: MessageId, limit: usize) -> DueAsk {
        DueAsk { messages_after: after, ..DueAsk::everything(self.now, limit) }
    }

    fn ready_ask(&mut self) -> ReadyAsk {
        let mut of = BTreeMap::new();
        for _ in 0..self.dice.below(4) {
            of.insert(self.queue(), self.dice.pick(&[0, 1, 2, 1000]));
        }
        let after = self.dice.percent(30).then(|| self.queue());
        let (each, all) = (self.dice.pick(&[0, 1, 2, 1000]), self.dice.pick(&[0, 3, 1000, 1000]));
        ReadyAsk { of, each, after, all }
    }

    fn queue(&mut self) -> TaskQueue {
        let agent = self.dice.pick(&["worker", "narrow", "Wide", "nobody"]);
        build::queue(agent, self.dice.pick(&["", "a", "A", "b", "c"]))
    }

    fn due(&mut self) -> Result<(), String> {
        let limit = self.dice.pick(&[0, 1, 3, 1000]);
        let mut ask = self.ask(self.dice.0 % 30, limit);
        ask.ready = self.ready_ask();
        ask.lost = self.dice.percent(70);
        ask.now = Millis(ask.now.0 + self.dice.below(120) as i64);
        if self.dice.percent(50) {
            ask.only = Some((0..self.dice.below(3)).map(|_| self.dice.run()).collect());
        }
        if self.dice.percent(30) {
            ask.without = (0..self.dice.below(4)).map(|_| self.dice.run()).collect();
        }
        let what = format!("{ask:?}");
        let due = self.both(&what, |bench| without_open_order(bench.due(ask.clone()), limit))?;
        self.seen.messages += (due.messages.len() + due.bus.len()) as u64;
        self.seen.due += (due.timers.len() + due.ready.len() + due.lost.len()) as u64;
        Ok(())
    }

    fn look(&mut self) -> Result<(), String> {
        let run = self.dice.run();
        let (after, limit) = (self.dice.below(20), self.dice.pick(&[0, 2, 100]));
        match self.dice.below(8) {
            0 => self.both("load", |b| b.load_all(vec![run, RunId(5)])).map(drop),
            1 => self.both("run", |b| b.view_run(run)).map(drop),
            2 => self.both("history", |b| b.history(run, after, limit)).map(drop),
            3 => self
                .both("events", |b| b.events_within(after * 5, limit, 7))
                .and_then(|_| self.look_at_kept(run, after * 5, limit)),
            4 => self.both("pending", |b| b.pending(run)).map(drop),
            5 => self.both("totals", Bench::totals).map(drop),
            6 => {
                let id = format!("{:032x}", run.0);
                let digits = self.dice.pick(&[&id[..8], &id[..12], &id[29..], &id[20..], "0"]);
                self.both("find_runs", |b| b.find_runs(digits)).map(drop)
            }
            _ => {
                let filter = self.filter(limit);
                self.both(&format!("{filter:?}"), |b| b.runs(&filter)).map(drop)
            }
        }
    }

    fn look_at_kept(&mut self, run: RunId, behind: u64, rows: usize) -> Result<(), String> {
        let ask = KeptAsk {
            run: self.dice.pick(&[None, Some(run), Some(BUS)]),
            behind,
            upto: self.dice.pick(&[u64::MAX, behind + 9]),
            newest_first: self.dice.pick(&[false, true]),
            rows,
            bytes: self.dice.pick(&[0, 900, usize::MAX]),
        };
        self.both(&format!("{ask:?}"), |b| b.kept(&ask))?;
        let steps: Vec<u32> = (0..self.dice.below(6) as u32).collect();
        self.both("places", |b| b.places(run, &steps)).map(drop)
    }

    fn filter(&mut self, limit: usize) -> RunFilter {
        let mut statuses = RunStatus::ALL.to_vec();
        let (from, count) = (self.dice.below(7) as usize, self.dice.below(4) as usize);
        statuses.rotate_left(from);
        statuses.truncate(count);
        let workflow = build::name(self.dice.pick(&["build", "deploy", "other"]));
        RunFilter {
            statuses,
            workflow: self.dice.percent(40).then_some(workflow),
            except: self.dice.percent(20).then(|| build::name("deploy")),
            parent: self.dice.percent(20).then(|| self.dice.run()),
            asks: self.dice.percent(20),
            notifies: None,
            before: self.dice.percent(40).then(|| self.dice.run()),
            after: self.dice.percent(20).then(|| self.dice.run()),
            oldest_first: self.dice.percent(30),
            limit,
        }
    }

    fn workflow(&mut self) -> Result<(), String> {
        let n = self.dice.below(5) as u8;
        let label = self.dice.pick(&[None, Some("v1"), Some("v2")]);
        let version = build::version(self.dice.pick(&["build", "deploy"]), n, label);
        let name = version.workflow.clone();
        if self.dice.percent(60) {
            self.both("put", |b| b.put_workflow(self.now, version.clone()))?;
        }
        let short = version.hash.to_string();
        for label in [None, Some("v1"), Some(&short[..6])] {
            let which = WorkflowRef::Newest(name.clone(), label.map(str::to_owned));
            self.both("newest", |b| b.workflow(which.clone()))?;
        }
        self.both("by hash", |b| b.workflow(WorkflowRef::Hash(version.hash)))?;
        self.both("versions", |b| b.workflows(None)).map(drop)
    }

    fn prune(&mut self) -> Result<(), String> {
        let before = Millis(self.now.0 - self.dice.below(100) as i64);
        let status =
            self.dice.pick(&[RunStatus::Succeeded, RunStatus::Failed, RunStatus::Cancelled]);
        let kinds = [
            Old::Runs(status),
            Old::Notifications(status),
            Old::History(status),
            Old::Keys,
            Old::Occurrences,
            Old::Published,
        ];
        let what = self.dice.pick(&kinds);
        let limit = self.dice.pick(&[1, 2, 100]);
        let ask = PruneAsk { what, before, after: None, limit };
        let prune = |bench: &Bench| {
            let first = bench.prune(ask);
            // Marks are the store's own.
            let then = first.next.map(|after| bench.prune(PruneAsk { after: Some(after), ..ask }));
            let told = |p: Pruned| (p.runs, p.keys, p.occurrences, p.published, p.next.is_some());
            (first.runs, first.keys + first.occurrences + first.published, then.map(told))
        };
        let (runs, rows, _) = self.both(&format!("{ask:?}"), prune)?;
        self.seen.pruned += (runs.len() + rows) as u64;
        Ok(())
    }

    /// All that both hold.
    fn everything(&self) -> Result<(), String> {
        let runs: Vec<RunId> = (1..=RUNS).map(build::run).collect();
        self.both("all runs", |b| b.load_all(runs.clone()))?;
        for &run in &runs {
            self.both("pending", |b| b.pending(run))?;
        }
        self.both("all events", |b| (b.events(0, usize::MAX), b.last_event()))?;
        self.both("published", |b| b.heard(&(0..=b.last_event()).collect::<Vec<_>>()))?;
        self.both("beyond", |b| [0, 1, 7].map(|keep| b.published_beyond(keep)))?;
        self.both("totals", Bench::totals)?;
        self.both("secrets", Bench::sealed)?;
        self.both("audit log", |b| (b.audit(0, usize::MAX), b.audit_head()))?;
        self.both("fates", |b| b.fates(&runs))?;
        for status in [RunStatus::Succeeded, RunStatus::Failed, RunStatus::Cancelled] {
            for notifications in [false, true] {
                let beyond =
                    |b: &Bench| [0, 1, 3].map(|keep| b.ended_beyond(status, keep, notifications));
                self.both("beyond", beyond)?;
            }
        }
        self.all_triggers()?;
        let ask = self.ask(0, usize::MAX);
        self.both("due", |b| without_open_order(b.due(ask.clone()), usize::MAX))?;
        for &run in &runs {
            let ask = DueAsk { only: Some(vec![run]), ..self.ask(0, usize::MAX) };
            self.both("due of one", |b| without_open_order(b.due(ask.clone()), usize::MAX))?;
        }
        Ok(())
    }
}

/// An outcome without the words of its error.
fn classed(outcome: Result<BatchOutcome, Error>) -> Result<BatchOutcome, &'static str> {
    outcome.map_err(|error| match error {
        Error::Invalid(_) => "invalid",
        Error::Unavailable(_) => "unavailable",
        Error::Busy => "busy",
        Error::Unknown(_) => "unknown",
        Error::Corrupt { .. } => "corrupt",
        Error::Newer { .. } => "newer",
        Error::Older { .. } => "older",
        Error::Elsewhere(_) => "elsewhere",
    })
}

/// What is due, without the order that the rules leave open; where a limit cut a list whose order
/// is open, only how much was cut off.
fn without_open_order(mut due: Due, limit: usize) -> Due {
    if due.timers.len() == limit {
        let last = due.timers.last().map(|t| t.2);
        due.timers.retain(|t| Some(t.2) != last);
    }
    due.timers.sort_unstable_by_key(|&(run, key, at)| (at, run, key));
    if due.triggers.len() == limit {
        let last = due.triggers.last().map(|t| t.1);
        due.triggers.retain(|t| Some(t.1) != last);
    }
    due.triggers.sort_unstable_by_key(|&(id, at)| (at, id));
    if due.lost.len() == limit {
        due.lost.iter_mut().for_each(|lost| *lost = (RunId(0), 0, 0));
    }
    due.lost.sort_unstable();
    due
}
