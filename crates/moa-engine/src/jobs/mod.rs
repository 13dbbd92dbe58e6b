//! Internal jobs: housekeeping that a node does beside its runs, each in a rhythm of its own.
//!
//! A [`Job`] does its work once when it is activated and says in JSON what it did. The [`Driver`]
//! decides when: it owns each job's rhythm, takes manual kicks, and keeps the last result, so that
//! `moa jobs` needs nothing from a job itself. The driver is pure: the instant is an argument, and
//! whoever asks does the activating. Absent: anything durable. A job that must not forget where it
//! was finds out from the store.

pub mod retention;

use async_trait::async_trait;
use moa_core::time::{Millis, Span};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

/// How long after a failure a job is tried again, unless its rhythm is shorter.
const RETRY_AFTER: Span = Span::minutes(1);

/// Housekeeping that is done again and again.
#[async_trait]
pub trait Job: Send + Sync {
    /// Does its work once; answers what it did. Never runs twice at once.
    ///
    /// # Errors
    /// What went wrong, for people. It is tried again a minute later, or in its rhythm if that is
    /// sooner.
    async fn activate(&self, at: Instants) -> Result<Json, String>;
}

/// When a job is activated, by both clocks: they differ once somebody has set the wall clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instants {
    /// By the engine's clock, which runs go by.
    pub engine: Millis,
    /// By the wall clock, which triggers and people go by.
    pub wall: Millis,
}

impl From<Millis> for Instants {
    /// As long as nobody has set the wall clock.
    fn from(now: Millis) -> Self {
        Self { engine: now, wall: now }
    }
}

/// When a job is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rhythm {
    /// Time from one start to the next.
    pub every: Span,
    /// When it is done first.
    pub first: First,
}

/// When a job is done first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum First {
    /// When the node starts.
    AtOnce,
    /// So long after the node's start.
    After(Span),
}

/// What is known of a job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobStatus {
    /// Its name.
    pub name: String,
    /// What it is for, one sentence.
    pub about: String,
    /// Time from one start to the next, in milliseconds.
    pub every_ms: u64,
    /// Since when it is being done, if it is.
    pub running_since: Option<Millis>,
    /// When it is done next.
    pub next: Option<Millis>,
    /// How often it was done since the node's start.
    pub done: u64,
    /// How often it failed since the node's start.
    pub failed: u64,
    /// How it went the last time.
    pub last: Option<Last>,
}

/// How a job went.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Last {
    /// When it began.
    pub started_at: Millis,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
    /// What it did.
    pub result: Option<Json>,
    /// What went wrong.
    pub error: Option<String>,
}

/// Decides when jobs are done. Jobs are known by their place in the list.
#[derive(Debug)]
pub struct Driver {
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    rhythm: Rhythm,
    due: Millis,
    /// Whether somebody asked for it out of turn.
    kicked: bool,
    status: JobStatus,
}

impl Driver {
    /// A driver of these jobs (name, what for, rhythm), on a node that starts now.
    pub fn new(now: Millis, jobs: &[(&str, &str, Rhythm)]) -> Self {
        let entry = |&(name, about, rhythm): &(&str, &str, Rhythm)| {
            let due = match rhythm.first {
                First::AtOnce => now,
                First::After(wait) => now.after(wait),
            };
            let status = JobStatus {
                name: name.to_owned(),
                about: about.to_owned(),
                every_ms: rhythm.every.0,
                running_since: None,
                next: Some(due),
                done: 0,
                failed: 0,
                last: None,
            };
            Entry { rhythm, due, kicked: false, status }
        };
        Self { entries: jobs.iter().map(entry).collect() }
    }

    /// The place of a job in the list.
    pub fn find(&self, name: &str) -> Option<usize> {
        self.entries.iter().position(|entry| entry.status.name == name)
    }

    /// Asks for a job out of turn. One that is being done is done once more after it: who asks wants
    /// it done with what there is now.
    pub fn kick(&mut self, job: usize) {
        if let Some(entry) = self.entries.get_mut(job) {
            entry.kicked = true;
        }
    }

    /// The jobs to be done now; each counts as begun.
    pub fn begin(&mut self, now: Millis) -> Vec<usize> {
        let mut begun = Vec::new();
        for (job, entry) in self.entries.iter_mut().enumerate() {
            let idle = entry.status.running_since.is_none();
            if idle && (entry.kicked || entry.due <= now) {
                entry.kicked = false;
                entry.status.running_since = Some(now);
                begun.push(job);
            }
        }
        begun
    }

    /// A job that was begun has ended.
    pub fn end(&mut self, job: usize, now: Millis, result: Result<Json, String>) {
        let Some(entry) = self.entries.get_mut(job) else { return };
        let Some(started_at) = entry.status.running_since.take() else { return };
        let every = entry.rhythm.every;
        entry.status.done += 1;
        let failed = result.is_err();
        entry.status.failed += u64::from(failed);
        let (result, error) = match result {
            Ok(result) => (Some(result), None),
            Err(error) => (None, Some(error)),
        };
        let took_ms = now.since(started_at).0;
        entry.status.last = Some(Last { started_at, took_ms, result, error });
        entry.due = match failed {
            true => now.after(RETRY_AFTER.min(every)),
            // Times that were missed, because it took long or the machine slept, are one time.
            false => started_at.after(every).max(now),
        };
        entry.status.next = Some(entry.due);
    }

    /// When there is something to be done next; `None` = not before a job ends.
    pub fn next(&self) -> Option<Millis> {
        let idle = self.entries.iter().filter(|entry| entry.status.running_since.is_none());
        let due = |entry: &Entry| if entry.kicked { Millis(i64::MIN) } else { entry.due };
        idle.map(due).min()
    }

    /// How often a job was begun to an end so far, for who waits for the next time.
    pub fn done(&self, job: usize) -> u64 {
        self.entries.get(job).map_or(0, |entry| entry.status.done)
    }

    /// Whether a job is being done.
    pub fn is_running(&self, job: usize) -> bool {
        self.entries.get(job).is_some_and(|entry| entry.status.running_since.is_some())
    }

    /// What is known of all jobs, in their order.
    pub fn status(&self) -> Vec<JobStatus> {
        self.entries.iter().map(|entry| entry.status.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Span = Span::minutes(60);

    fn driver() -> Driver {
        let hourly = Rhythm { every: HOUR, first: First::AtOnce };
        let later = Rhythm { every: Span::seconds(10), first: First::After(Span::seconds(5)) };
        Driver::new(Millis(0), &[("hourly", "", hourly), ("often", "", later)])
    }

    /// Does all that is due until `end`, each activation taking `took`; answers what began when.
    fn run(driver: &mut Driver, end: Millis, took: Span) -> Vec<(i64, usize)> {
        let mut begun = Vec::new();
        while let Some(now) = driver.next().filter(|now| *now <= end) {
            for job in driver.begin(now) {
                begun.push((now.0, job));
                driver.end(job, now.after(took), Ok(Json::Null));
            }
        }
        begun
    }

    #[test]
    fn jobs_are_done_in_their_rhythm() {
        let begun = run(&mut driver(), Millis(30_000), Span(7));
        assert_eq!(begun, [(0, 0), (5_000, 1), (15_000, 1), (25_000, 1)]);
        let mut driver = driver();
        let begun = run(&mut driver, Millis(86_400_000), Span(1));
        assert_eq!(begun.iter().filter(|(_, job)| *job == 0).count(), 25);
        assert_eq!(driver.status()[1].done, 8640);
    }

    #[test]
    fn what_was_missed_is_done_once() {
        let mut driver = driver();
        assert_eq!(driver.begin(Millis(9 * 3_600_000)), [0, 1]);
        driver.end(0, Millis(9 * 3_600_000 + 5), Ok(Json::Null));
        assert_eq!(driver.status()[0].next, Some(Millis(10 * 3_600_000)));
        // One that takes longer than its rhythm is not begun twice, and goes on at once.
        assert_eq!(driver.begin(Millis(9 * 3_600_000 + 60_000)), Vec::<usize>::new());
        driver.end(1, Millis(9 * 3_600_000 + 65_000), Ok(Json::Null));
        assert_eq!(driver.next(), Some(Millis(9 * 3_600_000 + 65_000)));
    }

    #[test]
    fn a_kick_during_an_activation_is_one_more() {
        let mut driver = driver();
        assert_eq!(driver.begin(Millis(0)), [0]);
        driver.kick(0);
        driver.kick(0);
        assert_eq!(driver.begin(Millis(1)), Vec::<usize>::new());
        driver.end(0, Millis(2), Ok(Json::Null));
        assert_eq!(driver.begin(Millis(2)), [0]);
        driver.end(0, Millis(3), Ok(Json::Null));
        assert_eq!(driver.begin(Millis(4)), Vec::<usize>::new());
        assert_eq!(driver.done(0), 2);
    }

    #[test]
    fn a_failure_is_told_and_tried_again_soon() {
        let mut driver = driver();
        for job in driver.begin(Millis(5_000)) {
            driver.end(job, Millis(5_100), Err("the disk is full".to_owned()));
        }
        let status = driver.status();
        assert_eq!(status[0].next, Some(Millis(65_100)));
        assert_eq!(status[1].next, Some(Millis(15_100)));
        assert_eq!((status[0].done, status[0].failed), (1, 1));
        let last = status[0].last.as_ref().expect("it was done");
        assert_eq!((last.took_ms, last.error.as_deref()), (100, Some("the disk is full")));
    }
}
