//! Random operations on triggers.

use std::sync::Arc;

use moa_core::ids::RunId;
use moa_core::run::RunStatus;
use moa_core::time::Millis;
use moa_core::trigger::{Amendment, Occurrence, Outcome, Record, TriggerId, TriggerSpec};

use super::super::build;
use super::super::triggers::{commit, occurrence, spec};
use super::Pair;
use crate::store::Batch;
use crate::triggers::{OccurrenceFilter, TriggerCommit, TriggerFilter, TriggerOutcome};

const TOPICS: [&str; 5] =
    ["event:done", "event:failed", "started:build", "ended:build", "ended:deploy"];
const KEYS: [&str; 5] = ["a", "b", "c", "d", "e"];

/// All triggers that the operations are about.
pub(super) fn specs() -> Vec<TriggerSpec> {
    ["one", "two", "three"]
        .iter()
        .map(|name| spec("build", name))
        .chain([spec("deploy", "one")])
        .collect()
}

impl Pair {
    /// Adds changes of triggers, and posts, to a batch.
    pub(super) fn add_triggers(&mut self, batch: &mut Batch) {
        let specs = specs();
        for _ in 0..[0, 0, 1, 2][self.dice.below(4) as usize] {
            let which = self.dice.below(specs.len() as u64) as usize;
            let id = specs[which].id();
            // Two commits of one trigger are invalid: seldom.
            if !batch.triggers.iter().any(|c| c.id == id) || self.dice.percent(1) {
                let commit = self.random_trigger(&specs[which]);
                batch.triggers.push(commit);
            }
        }
        for _ in 0..[0, 0, 0, 1][self.dice.below(4) as usize] {
            let key = self.dice.pick(&[None, Some("x"), Some("y")]).map(str::to_owned);
            let mut post = build::post(self.dice.pick(&["done", "nobody"]));
            post.event.key = key;
            batch.posts.push(post);
        }
    }

    fn random_trigger(&mut self, spec: &TriggerSpec) -> TriggerCommit {
        let old = self.model.load_triggers(vec![spec.id()]).remove(0);
        let version = old.map_or(0, |row| row.version);
        let expected = match self.dice.below(12) {
            0 => version + 1,
            1 => version.saturating_sub(1),
            _ => version,
        };
        let mut new = commit(spec, expected);
        if self.dice.percent(20) {
            let mut edited = spec.clone();
            edited.enabled = self.dice.percent(50);
            new.spec = Some(Arc::new(edited));
        }
        new.state.failures = self.dice.below(9) as u32;
        let due = Millis(self.now.0 + self.dice.below(100) as i64 - 20);
        new.due_at = self.dice.percent(60).then_some(due);
        let topics = (0..self.dice.below(4)).map(|_| self.dice.pick(&TOPICS).to_owned());
        let topics: Vec<String> = topics.collect();
        new.listens = self.dice.percent(40).then_some(topics);
        for key in KEYS {
            if self.dice.percent(25) {
                let occurrence = self.random_occurrence(key);
                new.records.push(Record { occurrence, new: self.dice.percent(50) });
            }
        }
        if self.dice.percent(30) {
            let outcome = self.dice.percent(40).then(|| (Outcome::Failed, "why".to_owned()));
            let (key, run) = (self.dice.pick(&KEYS).to_owned(), self.dice.run());
            let result = self.dice.percent(60).then_some(RunStatus::Failed);
            new.amendments.push(Amendment { key, run, outcome, result });
        }
        new.messages = self.messages();
        if self.dice.percent(20) {
            new.consumed.push(self.message(Some(spec.id().address())));
        }
        new
    }

    fn random_occurrence(&mut self, key: &str) -> Occurrence {
        let at = self.now.0 - self.dice.below(60) as i64;
        let run: Option<RunId> = self.dice.percent(60).then(|| self.dice.run());
        let outcome = self.dice.pick(&Outcome::ALL);
        let last = self.dice.percent(20).then_some(Millis(at + 5));
        let decided_at = Millis(at + self.dice.below(9) as i64);
        Occurrence { run, outcome, last, decided_at, ..occurrence(key, at) }
    }

    pub(super) fn count_triggers(&mut self, outcomes: &[TriggerOutcome]) {
        for outcome in outcomes {
            *match outcome {
                TriggerOutcome::Applied => &mut self.seen.applied,
                TriggerOutcome::Conflict => &mut self.seen.conflicts,
                TriggerOutcome::Duplicate(_) => &mut self.seen.duplicates,
                TriggerOutcome::Invalid(_) => &mut self.seen.invalid,
            } += 1;
        }
    }

    /// Something that people ask about triggers.
    pub(super) fn look_at_triggers(&mut self) -> Result<(), String> {
        let specs = specs();
        let which = self.dice.below(specs.len() as u64) as usize;
        let limit = self.dice.pick(&[0, 2, 100]);
        let instant = |dice: &mut super::Dice, now: Millis| {
            dice.percent(30).then(|| Millis(now.0 - dice.below(80) as i64))
        };
        let now = self.now;
        let filter = OccurrenceFilter {
            key: self.dice.percent(20).then(|| self.dice.pick(&KEYS).to_owned()),
            outcomes: match self.dice.percent(30) {
                true => vec![self.dice.pick(&Outcome::ALL), Outcome::Started],
                false => Vec::new(),
            },
            from: instant(&mut self.dice, now),
            to: instant(&mut self.dice, now),
            after: instant(&mut self.dice, now).map(|at| (at, "b".to_owned())),
            limit,
        };
        let id = specs[which].id();
        self.both(&format!("{filter:?}"), |b| b.occurrences(id, &filter))?;
        let name = |text: &str| build::name(text);
        let filter = TriggerFilter {
            workflow: self.dice.percent(40).then(|| name("build")),
            after: self.dice.percent(40).then(|| (name("build"), "two".to_owned())),
            limit,
        };
        self.both(&format!("{filter:?}"), |b| b.triggers(&filter))?;
        self.both("trigger", |b| b.view_trigger(id)).map(drop)
    }

    /// All that both hold of triggers.
    pub(super) fn all_triggers(&self) -> Result<(), String> {
        let ids: Vec<TriggerId> = specs().iter().map(TriggerSpec::id).collect();
        self.both("all triggers", |b| b.load_triggers(ids.clone()))?;
        let all = OccurrenceFilter { limit: usize::MAX, ..OccurrenceFilter::default() };
        for &id in &ids {
            self.both("all occurrences", |b| b.occurrences(id, &all))?;
        }
        Ok(())
    }
}
