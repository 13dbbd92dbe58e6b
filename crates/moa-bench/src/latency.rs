//! B2: how long one short run takes when nothing else happens.

use std::time::Instant;

use anyhow::Result;

use crate::options::Options;
use crate::plans;
use crate::report::{Figure, percentile};
use crate::world::World;

/// Submit to completed of a run of three steps, one run at a time.
pub fn one_at_a_time(options: &Options) -> Result<Figure> {
    let world = World::fresh(options, "b2", &[plans::chain(3)])?;
    let count = options.size(3000, 400);
    let mut times = world.block_on(async {
        let mut finish = world.finish();
        let mut times = Vec::with_capacity(count);
        for i in 0..count {
            let start = Instant::now();
            let run = world.start("chain_3", None).await?;
            finish.started(run);
            finish.until(i + 1).await?;
            times.push(start.elapsed().as_secs_f64() * 1e3);
        }
        anyhow::Ok(times)
    })?;
    world.close()?;
    times.sort_by(f64::total_cmp);
    let mut figure = Figure::new(percentile(&times, 0.5), "ms p50", "≤ 1 ms p50, ≤ 5 ms p99");
    figure.note("p90_ms", percentile(&times, 0.9));
    figure.note("p99_ms", percentile(&times, 0.99));
    figure.note("max_ms", percentile(&times, 1.0));
    figure.note("runs", count as f64);
    Ok(figure)
}
