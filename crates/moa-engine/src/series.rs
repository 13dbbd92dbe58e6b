//! What a node did over time: one hour by the minute, one day by the quarter of an hour, one week by
//! two hours.
//!
//! Whoever samples hands in what an engine has done since the sample before ([`Meter::since`]) and
//! what the node is like just then ([`Gauges`]); each goes into one bucket of each range. What it takes
//! is bounded by the ranges, the agents and how far their durations lie apart, whatever is done. Pure: the instant is an argument, and
//! whoever samples keeps it.

use std::collections::{BTreeMap, VecDeque};

use moa_core::ids::Name;
use moa_core::run::RunStatus;
use moa_core::time::{Millis, Span};
use serde::{Deserialize, Deserializer, Serialize};

use crate::meter::{ATTEMPT_SECONDS, AgentMeter, COMMIT_SECONDS, Meter, RUN_SECONDS};
use crate::spread::{self, Spread};

/// How far back is looked, and how finely.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Range {
    /// One hour by the minute.
    #[serde(rename = "1h")]
    Hour,
    /// One day by the quarter of an hour.
    #[serde(rename = "24h")]
    Day,
    /// One week by two hours.
    #[serde(rename = "7d")]
    Week,
}

impl Range {
    /// All there are.
    pub const ALL: [Self; 3] = [Self::Hour, Self::Day, Self::Week];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hour => "1h",
            Self::Day => "24h",
            Self::Week => "7d",
        }
    }

    /// The time of one bucket.
    pub fn step(self) -> Span {
        match self {
            Self::Hour => Span::minutes(1),
            Self::Day => Span::minutes(15),
            Self::Week => Span::minutes(120),
        }
    }

    /// How many buckets there are.
    pub fn buckets(self) -> usize {
        match self {
            Self::Hour => 60,
            Self::Day => 96,
            Self::Week => 84,
        }
    }

    /// How far it reaches back.
    pub fn span(self) -> Span {
        Span(self.step().0 * self.buckets() as u64)
    }

    /// The start of the bucket that an instant is in.
    pub fn start(self, at: Millis) -> Millis {
        let step = i64::try_from(self.step().0).unwrap_or(i64::MAX);
        Millis(at.0.div_euclid(step) * step)
    }
}

fn of_attempts<'de, D: Deserializer<'de>>(from: D) -> Result<Spread, D::Error> {
    spread::read(from, &ATTEMPT_SECONDS)
}

fn of_runs<'de, D: Deserializer<'de>>(from: D) -> Result<Spread, D::Error> {
    spread::read(from, &RUN_SECONDS)
}

fn of_commits<'de, D: Deserializer<'de>>(from: D) -> Result<Spread, D::Error> {
    spread::read(from, &COMMIT_SECONDS)
}

/// What an agent did in a bucket.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentPart {
    /// Attempts that ended.
    pub executions: u64,
    /// Those of them that failed.
    pub errors: u64,
    /// How long they took.
    #[serde(deserialize_with = "of_attempts")]
    pub seconds: Spread,
    /// The same of all of them together, in microseconds.
    #[serde(default)]
    pub took_us: u64,
    /// How many attempts that is of: samples of an older moa have none.
    #[serde(default)]
    pub timed: u64,
}

impl From<&AgentMeter> for AgentPart {
    fn from(meter: &AgentMeter) -> Self {
        let seconds = meter.seconds.spread.clone();
        let took_us = (meter.seconds.classes.sum * 1e6).round() as u64;
        let (executions, errors, timed) = (meter.executions, meter.errors, meter.executions);
        Self { executions, errors, seconds, took_us, timed }
    }
}

impl AgentPart {
    /// Takes another one into this.
    pub fn add(&mut self, other: &Self) {
        self.executions += other.executions;
        self.errors += other.errors;
        self.seconds.add_all(&other.seconds);
        self.took_us = self.took_us.saturating_add(other.took_us);
        self.timed = self.timed.saturating_add(other.timed);
    }

    /// The milliseconds that an attempt took on average; `None` = there was none, or none is known.
    pub fn mean_ms(&self) -> Option<f64> {
        (self.timed > 0).then(|| self.took_us as f64 / 1e3 / self.timed as f64)
    }

    /// The seconds that the slowest took, about.
    pub fn slowest(&self) -> Option<f64> {
        // What an older moa counted may lie below it.
        let mean = self.mean_ms().map_or(0.0, |mean| mean / 1e3);
        self.latency(1.0).map(|slowest| slowest.max(mean))
    }

    /// The seconds that this share of the attempts took at most, about.
    pub fn latency(&self, part: f64) -> Option<f64> {
        self.seconds.quantile(part)
    }
}

/// What a node is like at an instant. What the system doesn't tell is left out.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Gauges {
    /// Bytes in memory.
    pub memory: Option<f64>,
    /// Seconds of work of all processors, since the process began.
    pub cpu_seconds: Option<f64>,
    /// Open files.
    pub files: Option<f64>,
    /// Tasks that can be claimed.
    pub ready: u64,
    /// Attempts running.
    pub running: u64,
    /// Runs that go on.
    pub open: u64,
}

/// What was done in a time.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Bucket {
    /// Its begin.
    pub at: Millis,
    /// For how many milliseconds of it somebody looked: less than its step while no node ran.
    pub seen_ms: u64,
    /// Runs that ended, by their status.
    pub runs: BTreeMap<RunStatus, u64>,
    /// How long they took.
    #[serde(deserialize_with = "of_runs")]
    pub run_seconds: Spread,
    /// What agents did.
    pub agents: BTreeMap<Name, AgentPart>,
    /// How long the store took for commits.
    #[serde(deserialize_with = "of_commits")]
    pub commit_seconds: Spread,
    /// Seconds of work of all processors.
    pub cpu_seconds: f64,
    /// The most bytes in memory.
    pub memory: f64,
    /// The most open files.
    pub files: f64,
    /// The most tasks that could be claimed.
    pub ready: u64,
    /// The most attempts at once.
    pub running: u64,
    /// The most runs that went on.
    pub open: u64,
}

impl Bucket {
    /// Runs that ended.
    pub fn ended(&self) -> u64 {
        self.runs.values().sum()
    }

    /// Whether anything ended.
    pub fn has_work(&self) -> bool {
        !self.runs.is_empty() || !self.agents.is_empty()
    }

    /// What all agents did.
    pub fn attempts(&self) -> AgentPart {
        let mut all = AgentPart::default();
        self.agents.values().for_each(|part| all.add(part));
        all
    }

    /// The seconds that this share of the runs took at most, about.
    pub fn run_time(&self, part: f64) -> Option<f64> {
        self.run_seconds.quantile(part)
    }

    /// The seconds that this share of the commits took at most, about.
    pub fn commit_time(&self, part: f64) -> Option<f64> {
        self.commit_seconds.quantile(part)
    }

    /// How many processors were at work on average; `None` = nobody looked.
    pub fn processors(&self) -> Option<f64> {
        (self.seen_ms > 0).then(|| self.cpu_seconds * 1000.0 / self.seen_ms as f64)
    }

    /// Takes another one into this.
    pub fn add(&mut self, other: &Self) {
        self.seen_ms += other.seen_ms;
        for (status, count) in &other.runs {
            *self.runs.entry(*status).or_default() += count;
        }
        self.run_seconds.add_all(&other.run_seconds);
        for (agent, part) in &other.agents {
            self.agents.entry(agent.clone()).or_default().add(part);
        }
        self.commit_seconds.add_all(&other.commit_seconds);
        self.cpu_seconds += other.cpu_seconds;
        self.memory = self.memory.max(other.memory);
        self.files = self.files.max(other.files);
        self.ready = self.ready.max(other.ready);
        self.running = self.running.max(other.running);
        self.open = self.open.max(other.open);
    }

    /// What happened between two samples, `took` apart.
    pub fn between(done: &Meter, before: &Gauges, now: &Gauges, took: Span) -> Self {
        let agents = done.agents.iter().filter(|(_, meter)| meter.executions > 0);
        let cpu = now.cpu_seconds.unwrap_or(0.0) - before.cpu_seconds.unwrap_or(0.0);
        Self {
            at: Millis::default(),
            seen_ms: took.0,
            runs: done.runs.iter().filter(|(_, n)| **n > 0).map(|(s, n)| (*s, *n)).collect(),
            run_seconds: done.run_seconds.spread.clone(),
            agents: agents.map(|(name, meter)| (name.clone(), meter.into())).collect(),
            commit_seconds: done.commit_seconds.spread.clone(),
            cpu_seconds: cpu.max(0.0),
            memory: now.memory.unwrap_or(0.0),
            files: now.files.unwrap_or(0.0),
            ready: now.ready,
            running: now.running,
            open: now.open,
        }
    }
}

/// What was done over time, by range.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Series {
    ranges: BTreeMap<Range, VecDeque<Bucket>>,
}

impl Series {
    /// Takes in what was done up to an instant of the wall clock.
    pub fn add(&mut self, at: Millis, done: &Bucket) {
        for range in Range::ALL {
            let kept = self.ranges.entry(range).or_default();
            let start = range.start(at);
            // What lies further ahead than the next bucket was seen by a clock that was wrong.
            while kept.back().is_some_and(|last| last.at > start.after(range.step())) {
                kept.pop_back();
            }
            if kept.back().is_none_or(|last| last.at < start) {
                kept.push_back(Bucket { at: start, ..Bucket::default() });
            }
            if let Some(last) = kept.back_mut() {
                last.add(done);
            }
            let first = first(range, start);
            while kept.front().is_some_and(|bucket| bucket.at < first) {
                kept.pop_front();
            }
        }
    }

    /// What each agent did in a range that ends at `now`.
    pub fn agents(&self, range: Range, now: Millis) -> BTreeMap<Name, AgentPart> {
        let last = range.start(now);
        let first = first(range, last);
        let mut all: BTreeMap<Name, AgentPart> = BTreeMap::new();
        let kept = self.ranges.get(&range).into_iter().flatten();
        for bucket in kept.filter(|bucket| bucket.at >= first && bucket.at <= last) {
            for (agent, part) in &bucket.agents {
                match all.get_mut(agent) {
                    Some(sum) => sum.add(part),
                    None => _ = all.insert(agent.clone(), part.clone()),
                }
            }
        }
        all
    }

    /// What an agent did in a time that ends at `now`, by the finest buckets that reach so far back, and
    /// when the first of them begins in which it did something. `None` = it is longer than is kept.
    pub fn agent(
        &self,
        agent: &Name,
        span: Span,
        now: Millis,
    ) -> Option<(AgentPart, Option<Millis>)> {
        let range = Range::ALL.into_iter().find(|range| range.span() >= span)?;
        let (from, last) = (Millis(now.0.saturating_sub_unsigned(span.0)), range.start(now));
        let kept = self.ranges.get(&range).into_iter().flatten();
        let kept = kept.filter(|bucket| bucket.at >= range.start(from) && bucket.at <= last);
        let (mut all, mut since) = (AgentPart::default(), None);
        for (at, part) in kept.filter_map(|bucket| Some((bucket.at, bucket.agents.get(agent)?))) {
            all.add(part);
            since.get_or_insert(at);
        }
        Some((all, since))
    }

    /// The buckets of a range that ends at `now`, all of them in order: those in which nobody looked
    /// are empty.
    pub fn of(&self, range: Range, now: Millis) -> Vec<Bucket> {
        let first = first(range, range.start(now));
        let kept = self.ranges.get(&range);
        let known = |at: Millis| kept.and_then(|kept| kept.iter().find(|bucket| bucket.at == at));
        (0..range.buckets() as u64)
            .map(|i| first.after(Span(range.step().0 * i)))
            .map(|at| known(at).cloned().unwrap_or(Bucket { at, ..Bucket::default() }))
            .collect()
    }
}

/// The begin of the first bucket of a range whose last one begins at `start`.
fn first(range: Range, start: Millis) -> Millis {
    let back = range.step().0 * (range.buckets() as u64 - 1);
    Millis(start.0.saturating_sub_unsigned(back))
}

#[cfg(test)]
mod tests {
    use super::*;
    use moa_core::machine::Outcome;

    fn sample(errors: u32) -> Bucket {
        let agent: Name = "writer".parse().expect("a name");
        let mut meter = Meter::default();
        meter.attempt(&agent, Span(20), &Outcome::Succeeded { output: None });
        (0..errors).for_each(|_| meter.attempt(&agent, Span(20), &Outcome::Cancelled));
        meter.run(RunStatus::Succeeded, Span(700));
        let now = Gauges { cpu_seconds: Some(3.0), ready: 2, ..Gauges::default() };
        let before = Gauges { cpu_seconds: Some(1.0), ..Gauges::default() };
        Bucket::between(&meter, &before, &now, Span::seconds(1))
    }

    const MINUTE: i64 = 60_000;

    #[test]
    fn each_range_counts_everything_once_and_forgets_what_is_older() {
        let mut series = Series::default();
        for minute in 0..200 {
            series.add(Millis(minute * MINUTE), &sample(0));
        }
        let now = Millis(199 * MINUTE + 5);
        let count = |range| series.of(range, now).iter().map(Bucket::ended).collect::<Vec<_>>();
        assert_eq!(count(Range::Hour), vec![1; 60]);
        let day = count(Range::Day);
        assert_eq!((day.len(), day.iter().sum::<u64>(), day[95]), (96, 200, 5));
        assert_eq!(count(Range::Week).iter().sum::<u64>(), 200);
        assert_eq!(series.ranges[&Range::Hour].len(), 60);
        let last = &series.of(Range::Hour, now)[59];
        assert_eq!((last.at, last.processors(), last.ready), (Millis(199 * MINUTE), Some(2.0), 2));
        assert_eq!(
            series.of(Range::Hour, Millis(500 * MINUTE))[59],
            Bucket { at: Millis(500 * MINUTE), ..Bucket::default() }
        );
    }

    #[test]
    fn what_an_agent_did_is_counted_over_any_time_that_is_kept() {
        let agent: Name = "writer".parse().expect("a name");
        let mut series = Series::default();
        for minute in 0..300 {
            series.add(Millis(minute * MINUTE), &sample(u32::from(minute % 2 == 1)));
        }
        let now = Millis(299 * MINUTE + 5);
        let of = |minutes| series.agent(&agent, Span::minutes(minutes), now).expect("it is kept");
        let (half, since) = of(30);
        // The minute in which it begins is counted whole.
        assert_eq!(half.executions, 31 + 16);
        assert_eq!(since, Some(Millis(269 * MINUTE)));
        assert_eq!((half.mean_ms(), half.slowest()), (Some(20.0), Some(0.02)));
        assert_eq!(of(120).0.executions, 135 + 68, "from the quarter of an hour on that it is in");
        assert_eq!((of(7 * 1440).0.executions, of(7 * 1440).1), (450, Some(Millis(0))));
        assert_eq!(series.agent(&agent, Span::minutes(7 * 1440 + 1), now), None);
        let other: Name = "reader".parse().expect("a name");
        let nothing = series.agent(&other, Span::minutes(60), now).expect("it is kept");
        assert_eq!((nothing.0.executions, nothing.0.mean_ms(), nothing.1), (0, None, None));
    }

    #[test]
    fn a_clock_that_was_ahead_leaves_nothing_behind() {
        let mut series = Series::default();
        series.add(Millis(900_000 * MINUTE), &sample(0));
        series.add(Millis(10 * MINUTE), &sample(0));
        // A little back is the same time.
        series.add(Millis(10 * MINUTE - 1), &sample(0));
        let hour = &series.ranges[&Range::Hour];
        assert_eq!(
            hour.iter().map(|b| (b.at.0, b.ended())).collect::<Vec<_>>(),
            [(10 * MINUTE, 2)]
        );
    }
}
