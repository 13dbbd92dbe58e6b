//! B12: what deleting old runs costs those that go on, and how many it deletes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use anyhow::{Result, anyhow};
use async_trait::async_trait;
use moa_core::ids::RunId;
use moa_core::time::Span;
use moa_engine::clock::Clock;
use moa_engine::jobs::Job;
use moa_engine::jobs::retention::{Forget, Limit, Limits, Retention};

use crate::options::Options;
use crate::plans;
use crate::report::Figure;
use crate::throughput::{self, STEPS};
use crate::world::World;

/// How far ahead the job's clock is: what ended just now is old already.
const AHEAD: Span = Span::minutes(2);

/// Counts the runs that are gone; there are no files here.
#[derive(Default)]
struct Gone(AtomicU64);

#[async_trait]
impl Forget for Gone {
    async fn forget(&self, runs: Vec<RunId>) {
        self.0.fetch_add(runs.len() as u64, Ordering::Relaxed);
    }
}

/// B12: B1 while everything that ends is deleted at once. Rounds without that are put between, so
/// that both see the same disk.
pub fn beside(options: &Options) -> Result<Figure> {
    let runs = options.size(40_000, 8000);
    let (mut alone, mut beside, mut deleted) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..options.size(3, 1) {
        let world = World::fresh(options, "b12-alone", &[plans::chain(STEPS)])?;
        alone.push(throughput::rate(&world, runs)?);
        world.close()?;
        let world = World::fresh(options, "b12", &[plans::chain(STEPS)])?;
        let before = runs / 2;
        throughput::rate(&world, before)?;
        let (rate, gone) = with_retention(&world, runs)?;
        beside.push(rate);
        deleted.push(gone);
        world.close()?;
    }
    let alone = Figure::median(alone, "steps/s", "");
    let deleted = Figure::median(deleted, "runs/s", "");
    let mut figure = Figure::median(beside, "steps/s", "costs B1 < 10 %");
    figure.note("steps_per_s_without", alone.value());
    figure.note("cost_percent", (1.0 - figure.value() / alone.value()) * 100.0);
    figure.note("runs_deleted_per_s", deleted.value());
    Ok(figure)
}

/// Steps a second of so many runs, and runs deleted a second beside them.
fn with_retention(world: &World, runs: usize) -> Result<(f64, f64)> {
    let store = world.store();
    let none = Limit { age: None, count: Some(0) };
    let limits = Limits { succeeded: none, failed: none, ..Limits::default() };
    let gone = Arc::new(Gone::default());
    let job = Retention::new(store.clone(), store, limits, gone.clone());
    let clock = Clock::start();
    let start = Instant::now();
    let rate = world.block_on(async {
        let delete = async {
            loop {
                if let Err(error) = job.activate(clock.now().after(AHEAD).into()).await {
                    return anyhow!(error);
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            rate = throughput::rate_async(world, runs) => rate,
            error = delete => Err(error),
        }
    })?;
    Ok((rate, gone.0.load(Ordering::Relaxed) as f64 / start.elapsed().as_secs_f64()))
}
