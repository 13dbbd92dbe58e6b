//! What a node does beside its runs: the jobs there are, and the task that activates them.
//!
//! When each is due is decided by [`Driver`]; adding a job is a file here and a line in [`Jobs`].

pub mod alerts;
pub mod files;
pub mod health;
pub mod metrics;
pub mod samples;
pub mod traces;
pub mod webhooks;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use moa_core::time::{Millis, Span};
use moa_engine::clock::Clock;
use moa_engine::jobs::{Driver, First, Instants, Job, JobStatus, Rhythm};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::exit::{Failure, Result};
use crate::text;

/// The jobs.
pub struct Jobs {
    /// Deletes old runs from the store.
    pub retention: metrics::AfterCounting,
    /// Deletes files that nothing needs any more.
    pub files: files::Files,
    /// Counts what has happened, and warns of targets that will be missed.
    pub metrics: metrics::Metrics,
    /// Writes the health report.
    pub health: health::Health,
    /// Looks for what is wrong.
    pub alerts: alerts::Alerts,
    /// Keeps what is done over time.
    pub samples: samples::Samples,
    /// Sends traces of runs to a collector.
    pub traces: traces::Traces,
    /// Calls whoever wants to hear of what happens.
    pub webhooks: webhooks::Calls,
}

/// A job's name, what it is for, and when it is done.
type Entry = (&'static str, &'static str, Rhythm);

const fn every(minutes: u64, first: First) -> Rhythm {
    Rhythm { every: Span::minutes(minutes), first }
}

/// What the jobs are called, in the order of [`Jobs::list`].
pub const ENTRIES: [Entry; 8] = [
    ("retention", "deletes old runs from the store", every(1, First::AtOnce)),
    (
        "files",
        "deletes logs and artifacts that are old or that nothing needs",
        every(60, First::After(Span::minutes(1))),
    ),
    (
        "metrics",
        "counts what has happened, and warns of targets that will be missed",
        every(1, First::AtOnce),
    ),
    ("health", "writes the health report of the hour", every(60, First::AtOnce)),
    (
        "alerts",
        "looks for what is wrong, and has people told of it",
        Rhythm { every: Span::seconds(15), first: First::AtOnce },
    ),
    (
        "samples",
        "keeps what is done over time, for the charts",
        Rhythm { every: Span::seconds(15), first: First::AtOnce },
    ),
    (
        "traces",
        "sends traces of runs to a collector",
        Rhythm { every: Span::seconds(5), first: First::AtOnce },
    ),
    (
        "webhooks",
        "calls whoever wants to hear of what happens",
        Rhythm { every: Span::seconds(2), first: First::AtOnce },
    ),
];

impl Jobs {
    /// In the order of [`ENTRIES`]. Taken apart in whole, so that none is forgotten.
    fn list(self) -> [Arc<dyn Job>; ENTRIES.len()] {
        let Jobs { retention, files, metrics, health, alerts, samples, traces, webhooks } = self;
        [
            Arc::new(retention),
            Arc::new(files),
            Arc::new(metrics),
            Arc::new(health),
            Arc::new(alerts),
            Arc::new(samples),
            Arc::new(traces),
            Arc::new(webhooks),
        ]
    }
}

/// Activates jobs.
pub struct Housekeeping {
    jobs: [Arc<dyn Job>; ENTRIES.len()],
    driver: Mutex<Driver>,
    /// The alerts of the project, for whoever takes notice of one.
    pub alerting: Arc<alerts::Alerting>,
    /// What is done over time, for whoever draws it.
    pub sampling: Arc<samples::Sampling>,
    /// Who is called when something happens.
    pub calls: Arc<webhooks::Webhooks>,
    /// The counters, for whoever shows them.
    pub counting: Arc<metrics::Counting>,
    /// What sends traces of the project.
    pub traces: Arc<traces::Sending>,
    clock: Clock,
    /// Told whenever a job was asked for or has ended.
    changed: watch::Sender<()>,
}

impl Housekeeping {
    /// Of a node that starts now.
    fn new(jobs: Jobs) -> Arc<Self> {
        let clock = Clock::start();
        let driver = Mutex::new(Driver::new(clock.now(), &ENTRIES));
        let (alerting, sampling) = (jobs.alerts.0.clone(), jobs.samples.0.clone());
        let counting = jobs.metrics.counting.clone();
        let traces = jobs.traces.0.clone();
        let calls = jobs.webhooks.0.clone();
        Arc::new(Self {
            jobs: jobs.list(),
            driver,
            alerting,
            sampling,
            calls,
            counting,
            traces,
            clock,
            changed: watch::Sender::new(()),
        })
    }

    /// The same, ready for runs that start from now on.
    pub async fn begin(jobs: Jobs) -> Arc<Self> {
        let jobs = Self::new(jobs);
        jobs.traces.begin().await;
        jobs
    }

    fn driver(&self) -> MutexGuard<'_, Driver> {
        self.driver.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of the jobs.
    pub fn status(&self) -> Vec<JobStatus> {
        self.driver().status()
    }

    /// Does a job out of turn, and waits for its end.
    pub async fn run_now(&self, name: &str) -> Result<JobStatus> {
        let mut changed = self.changed.subscribe();
        let (job, until) = {
            let mut driver = self.driver();
            let job = driver.find(name).ok_or_else(|| unknown(name))?;
            driver.kick(job);
            // One that is being done just now doesn't count: it began before it was asked for.
            (job, driver.done(job) + 1 + u64::from(driver.is_running(job)))
        };
        self.changed.send_replace(());
        loop {
            {
                let driver = self.driver();
                if driver.done(job) >= until {
                    return Ok(driver.status().swap_remove(job));
                }
            }
            // The sender lives as long as `self`.
            let _ = changed.changed().await;
        }
    }

    /// Activates jobs until dropped.
    pub async fn keep(self: Arc<Self>) {
        let mut changed = self.changed.subscribe();
        let mut running = JoinSet::new();
        let mut places = HashMap::new();
        loop {
            let now = self.clock.now();
            let wall = now.0.saturating_add(self.clock.wall_ahead());
            let at = Instants { engine: now, wall: Millis(wall) };
            for job in self.driver().begin(now) {
                let work = self.jobs[job].clone();
                let handle = running.spawn(async move { work.activate(at).await });
                places.insert(handle.id(), job);
            }
            let next = self.driver().next();
            let wait = next.map_or(Span::minutes(60), |at| at.since(self.clock.now()));
            tokio::select! {
                Some(ended) = running.join_next_with_id() => {
                    let (id, result) = match ended {
                        Ok((id, result)) => (id, result),
                        Err(e) => (e.id(), Err(format!("a fault of moa: {e}"))),
                    };
                    if let Some(job) = places.remove(&id) {
                        self.end(job, result);
                    }
                }
                _ = changed.changed() => {}
                () = tokio::time::sleep(wait.to_std()) => {}
            }
        }
    }

    fn end(&self, job: usize, result: std::result::Result<serde_json::Value, String>) {
        let name = ENTRIES[job].0;
        match &result {
            Ok(done) => tracing::debug!(job = name, result = %done, "a job was done"),
            Err(error) => tracing::warn!(job = name, %error, "a job failed"),
        }
        self.driver().end(job, self.clock.now(), result);
        self.changed.send_replace(());
    }
}

/// What is known of the jobs where no node runs.
pub fn idle() -> Vec<JobStatus> {
    let mut status = Driver::new(Millis(0), &ENTRIES).status();
    status.iter_mut().for_each(|job| job.next = None);
    status
}

/// There is no such job.
pub fn unknown(name: &str) -> Failure {
    let names: Vec<&str> = ENTRIES.iter().map(|entry| entry.0).collect();
    let failure = Failure::not_found(format!("there is no job {name}"));
    match text::nearest(name, names.iter().copied()) {
        Some(near) => failure.hint(format!("did you mean {near}?")),
        None => failure.hint(format!("there are: {}", names.join(", "))),
    }
}
