//! B1 and B7: how many steps a second are made durable when much is going on.

use std::time::Instant;

use anyhow::Result;

use crate::options::Options;
use crate::plans;
use crate::report::Figure;
use crate::world::World;

/// Steps of a run.
pub const STEPS: u32 = 10;
/// Runs open at once.
const OPEN: usize = 4000;

/// B1: on a fresh store.
pub fn fresh(options: &Options) -> Result<Figure> {
    let runs = options.size(40_000, 8000);
    let mut rates = Vec::new();
    for _ in 0..options.size(3, 1) {
        let world = World::fresh(options, "b1", &[plans::chain(STEPS)])?;
        rates.push(rate(&world, runs)?);
        world.close()?;
    }
    let mut figure = Figure::median(rates, "steps/s", "≥ 60,000");
    figure.note("runs", runs as f64);
    figure.note("open_at_once", OPEN as f64);
    Ok(figure)
}

/// B7: on a store that has done a lot already. Rounds on a fresh store are put between, so that
/// both see the same disk.
pub fn full(options: &Options) -> Result<Figure> {
    let runs = options.size(40_000, 8000);
    let finished = options.size(100_000, 10_000);
    let full = World::fresh(options, "b7-full", &[plans::chain(STEPS)])?;
    rate(&full, finished)?;
    let (mut fresh_rates, mut full_rates) = (Vec::new(), Vec::new());
    for _ in 0..options.size(3, 1) {
        let fresh = World::fresh(options, "b7-fresh", &[plans::chain(STEPS)])?;
        fresh_rates.push(rate(&fresh, runs)?);
        fresh.close()?;
        full_rates.push(rate(&full, runs)?);
    }
    full.close()?;
    let fresh = Figure::median(fresh_rates, "steps/s", "");
    let mut figure = Figure::median(full_rates, "steps/s", "within 20 % of B1");
    let share = figure.value() / fresh.value() * 100.0;
    figure.note("fresh_steps_per_s", fresh.value());
    figure.note("share_of_fresh_percent", share);
    figure.note("finished_steps_before", finished as f64 * f64::from(STEPS));
    Ok(figure)
}

/// Steps a second over so many runs, [`OPEN`] of them at once.
pub fn rate(world: &World, runs: usize) -> Result<f64> {
    world.block_on(rate_async(world, runs))
}

/// The same beside other work.
pub async fn rate_async(world: &World, runs: usize) -> Result<f64> {
    let start = Instant::now();
    world.run_all(&format!("chain_{STEPS}"), runs, OPEN).await?;
    Ok(runs as f64 * f64::from(STEPS) / start.elapsed().as_secs_f64())
}
