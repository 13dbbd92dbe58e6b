//! What an engine has done since it started, in numbers for people's graphs: how many, how long.
//!
//! Counted as it happens, in a few words for each agent, so that asking costs the same whatever has
//! been done. Absent: anything durable. The numbers begin at 0 with each start, as monitoring systems
//! expect of counters.

use std::collections::BTreeMap;
use std::time::Duration;

use moa_core::ids::Name;
use moa_core::machine::Outcome;
use moa_core::run::RunStatus;
use moa_core::time::Span;

use crate::spread::Spread;

/// Upper bounds of the classes of attempts' durations, in seconds: from a call to an hour's work.
pub const ATTEMPT_SECONDS: [f64; 16] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0,
];
/// Upper bounds of the classes of runs' durations, in seconds: from a moment to a week.
pub const RUN_SECONDS: [f64; 14] = [
    0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0, 43_200.0, 86_400.0,
    604_800.0,
];
/// Upper bounds of the classes of commits' durations, in seconds.
pub const COMMIT_SECONDS: [f64; 12] =
    [0.000_25, 0.000_5, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.5, 2.0];
/// Upper bounds of the classes of commits' sizes, in changes of runs.
pub const COMMIT_CHANGES: [f64; 10] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0];

/// How often values fell into each class.
#[derive(Debug, Clone, PartialEq)]
pub struct Histogram {
    /// The classes' upper bounds, ascending; a last class without one holds the rest.
    pub bounds: &'static [f64],
    /// How many values are in each class: one more than there are bounds.
    pub counts: Vec<u64>,
    /// The sum of all values.
    pub sum: f64,
}

impl Histogram {
    /// Nothing yet, in classes with these upper bounds.
    pub fn new(bounds: &'static [f64]) -> Self {
        Self { bounds, counts: vec![0; bounds.len() + 1], sum: 0.0 }
    }

    /// Counts a value.
    pub fn add(&mut self, value: f64) {
        let class = self.bounds.partition_point(|bound| *bound < value);
        self.counts[class] += 1;
        self.sum += value;
    }

    /// How many values there were.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The values that were added since it was `before`.
    fn since(&self, before: &Self) -> Self {
        let mut counts = self.counts.clone();
        for (count, had) in counts.iter_mut().zip(&before.counts) {
            *count = count.saturating_sub(*had);
        }
        Self { bounds: self.bounds, counts, sum: self.sum - before.sum }
    }
}

/// How long things took: in the few classes that exporters show, and finely.
#[derive(Debug, Clone, PartialEq)]
pub struct Timing {
    /// In the classes that exporters show, in seconds.
    pub classes: Histogram,
    /// Finely.
    pub spread: Spread,
}

impl Timing {
    /// Nothing yet, in classes with these upper bounds.
    pub fn new(bounds: &'static [f64]) -> Self {
        Self { classes: Histogram::new(bounds), spread: Spread::default() }
    }

    /// Counts a duration.
    fn add(&mut self, seconds: f64) {
        self.classes.add(seconds);
        self.spread.add(seconds);
    }

    /// What was added since it was `before`.
    fn since(&self, before: &Self) -> Self {
        let (classes, spread) = (&before.classes, &before.spread);
        Self { classes: self.classes.since(classes), spread: self.spread.since(spread) }
    }
}

/// What an agent has done.
#[derive(Debug, Clone, PartialEq)]
pub struct AgentMeter {
    /// Attempts that ended, but for those that were given back because the node stops.
    pub executions: u64,
    /// Those of them that failed, or were told to come back later.
    pub errors: u64,
    /// How long attempts took, in seconds.
    pub seconds: Timing,
}

/// What an engine has done.
#[derive(Debug, Clone, PartialEq)]
pub struct Meter {
    /// Runs that ended, by their status.
    pub runs: BTreeMap<RunStatus, u64>,
    /// How long they took from their creation, in seconds.
    pub run_seconds: Timing,
    /// By agent.
    pub agents: BTreeMap<Name, AgentMeter>,
    /// How long the store took for a commit, in seconds.
    pub commit_seconds: Timing,
    /// How many changes of runs a commit held.
    pub commit_changes: Histogram,
}

impl Default for Meter {
    fn default() -> Self {
        Self {
            runs: BTreeMap::new(),
            run_seconds: Timing::new(&RUN_SECONDS),
            agents: BTreeMap::new(),
            commit_seconds: Timing::new(&COMMIT_SECONDS),
            commit_changes: Histogram::new(&COMMIT_CHANGES),
        }
    }
}

impl Meter {
    /// What was done since it was `before`.
    pub fn since(&self, before: &Self) -> Self {
        let runs = self.runs.iter().map(|(status, count)| {
            (*status, count.saturating_sub(before.runs.get(status).copied().unwrap_or(0)))
        });
        let agents = self.agents.iter().map(|(name, now)| {
            let since = match before.agents.get(name) {
                None => now.clone(),
                Some(had) => AgentMeter {
                    executions: now.executions.saturating_sub(had.executions),
                    errors: now.errors.saturating_sub(had.errors),
                    seconds: now.seconds.since(&had.seconds),
                },
            };
            (name.clone(), since)
        });
        Self {
            runs: runs.collect(),
            run_seconds: self.run_seconds.since(&before.run_seconds),
            agents: agents.collect(),
            commit_seconds: self.commit_seconds.since(&before.commit_seconds),
            commit_changes: self.commit_changes.since(&before.commit_changes),
        }
    }

    /// An attempt of an agent ended, after so long.
    pub(crate) fn attempt(&mut self, agent: &Name, took: Span, outcome: &Outcome) {
        if matches!(outcome, Outcome::Released) {
            return;
        }
        // Not `entry`: it would need a name of its own for each attempt.
        if !self.agents.contains_key(agent) {
            let seconds = Timing::new(&ATTEMPT_SECONDS);
            let new = AgentMeter { executions: 0, errors: 0, seconds };
            self.agents.insert(agent.clone(), new);
        }
        let Some(meter) = self.agents.get_mut(agent) else { return };
        let failed = matches!(outcome, Outcome::Failed { .. } | Outcome::RateLimited { .. });
        meter.executions += 1;
        meter.errors += u64::from(failed);
        meter.seconds.add(seconds(took));
    }

    /// A run ended, so long after its creation.
    pub(crate) fn run(&mut self, status: RunStatus, took: Span) {
        *self.runs.entry(status).or_default() += 1;
        self.run_seconds.add(seconds(took));
    }

    /// The store committed so many changes of runs.
    pub(crate) fn commit(&mut self, changes: usize, took: Duration) {
        self.commit_seconds.add(took.as_secs_f64());
        self.commit_changes.add(changes as f64);
    }
}

fn seconds(span: Span) -> f64 {
    span.0 as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_in_the_first_class_that_it_fits() {
        let mut histogram = Histogram::new(&[1.0, 2.0]);
        [0.0, 1.0, 1.5, 2.0, 2.1].into_iter().for_each(|value| histogram.add(value));
        assert_eq!((histogram.counts.clone(), histogram.count()), (vec![2, 2, 1], 5));
        assert!((histogram.sum - 6.6).abs() < 1e-9);
    }

    #[test]
    fn what_is_given_back_is_no_execution() {
        let agent: Name = "writer".parse().expect("a name");
        let mut meter = Meter::default();
        meter.attempt(&agent, Span(30), &Outcome::Released);
        assert!(meter.agents.is_empty());
        meter.attempt(&agent, Span(30), &Outcome::Succeeded { output: None });
        meter.attempt(&agent, Span(70_000), &Outcome::Cancelled);
        let writer = &meter.agents[&agent];
        assert_eq!((writer.executions, writer.errors), (2, 0));
        let spread = &writer.seconds.spread;
        assert_eq!((spread.quantile(0.5), spread.quantile(1.0)), (Some(0.03), Some(70.0)));
        assert_eq!((writer.seconds.classes.counts[3], writer.seconds.classes.counts[13]), (1, 1));
    }
}
