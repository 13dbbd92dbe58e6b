//! B3 and B9: one run that is wide, one run that is long.

use std::time::Instant;

use anyhow::Result;
use moa_core::workflow::Plan;
use serde_json::Value as Json;

use crate::options::Options;
use crate::plans;
use crate::report::{Figure, middle};
use crate::world::World;

const WIDE: [u32; 2] = [1000, 10_000];
const LONG: [u32; 2] = [10_000, 100_000];
/// Iterations of the long run at once.
const WIDTH: u32 = 64;

/// B3: a run of 1,000 and one of 10,000 parallel steps.
pub fn parallel(options: &Options) -> Result<Figure> {
    let all = WIDE.map(|count| plans::parallel(plans::NOOP, count));
    let world = World::fresh(options, "b3", &all)?;
    let mut medians = Vec::new();
    for plan in &all {
        let mut times = Vec::new();
        for _ in 0..options.size(7, 2) {
            times.push(one_run(&world, plan.workflow.as_str(), None)? * 1e3);
        }
        times.sort_by(f64::total_cmp);
        medians.push((middle(&times), times));
    }
    world.close()?;
    let mut figure = Figure::new(medians[0].0, "ms for 1,000", "≤ 50 ms; 10,000 ≤ 500 ms");
    figure.note("ms_for_10000", medians[1].0);
    for (count, (_, times)) in WIDE.iter().zip(&medians) {
        figure.note(&format!("min_ms_for_{count}"), times[0]);
        figure.note(&format!("max_ms_for_{count}"), times[times.len() - 1]);
    }
    Ok(figure)
}

/// B9: whether the time of a step grows with the run: a loop over many items, and a plan of as many
/// steps.
pub fn long(options: &Options) -> Result<Figure> {
    let counts = options.size(LONG, [1000, 10_000]);
    let mut plans: Vec<Plan> = counts.iter().map(|count| plans::chains(WIDTH, *count)).collect();
    plans.push(plans::foreach(WIDTH));
    let world = World::fresh(options, "b9", &plans)?;
    let mut figure = Figure::new(0.0, "µs a step", "linear: growth 1");
    for (name, looped) in [("loop", true), ("plan", false)] {
        let mut per_step = Vec::new();
        for (plan, count) in plans.iter().zip(counts) {
            let plan = if looped { &plans[2] } else { plan };
            let mut times = Vec::new();
            // The first round of a plan also reads it.
            for _ in 0..options.size(4, 2) {
                let params = looped.then(|| plans::items(count));
                let time = one_run(&world, plan.workflow.as_str(), params)?;
                times.push(time * 1e6 / f64::from(count));
            }
            times.remove(0);
            times.sort_by(f64::total_cmp);
            per_step.push(middle(&times));
            figure.note(&format!("{name}_us_a_step_at_{count}"), middle(&times));
        }
        figure.note(&format!("{name}_growth"), per_step[1] / per_step[0]);
        figure.note(&format!("{name}_seconds"), per_step[1] * f64::from(counts[1]) / 1e6);
        if looped {
            figure = figure.with_value(per_step[1]);
        }
    }
    world.close()?;
    Ok(figure)
}

/// Submit to completed of one run, in seconds.
fn one_run(world: &World, workflow: &str, params: Option<Json>) -> Result<f64> {
    world.block_on(async {
        let mut finish = world.finish();
        let start = Instant::now();
        let run = world.start(workflow, params).await?;
        finish.started(run);
        finish.until(1).await?;
        Ok(start.elapsed().as_secs_f64())
    })
}
