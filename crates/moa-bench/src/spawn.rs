//! B6: how much of the machine's own rate of starting processes is left for agents.

use std::time::Instant;

use anyhow::Result;

use crate::options::Options;
use crate::report::Figure;
use crate::world::World;
use crate::{machine, plans};

/// Steps of one run, all at once.
const WIDTH: u32 = 10;
/// Runs open at once.
const OPEN: usize = 20;

/// Attempts of a `command` agent a second, beside what this machine can do at all.
pub fn attempts(options: &Options) -> Result<Figure> {
    let runs = options.size(400, 60);
    let (mut rates, mut alone, mut by_eight) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..options.size(3, 1) {
        alone.push(machine::spawns_per_second(1)?);
        by_eight.push(machine::spawns_per_second(8)?);
        let plan = plans::parallel(plans::TRUE, WIDTH);
        let workflow = plan.workflow.clone();
        let world = World::fresh(options, "b6", &[plan])?;
        let start = Instant::now();
        world.block_on(world.run_all(workflow.as_str(), runs, OPEN))?;
        rates.push(runs as f64 * f64::from(WIDTH) / start.elapsed().as_secs_f64());
        world.close()?;
    }
    let alone = Figure::median(alone, "", "").value();
    let by_eight = Figure::median(by_eight, "", "").value();
    let mut figure = Figure::median(rates, "attempts/s", "≥ 60 % of the machine's own rate");
    let share = figure.value() / by_eight * 100.0;
    figure.note("machine_spawns_per_s_one_at_a_time", alone);
    figure.note("machine_spawns_per_s_by_eight", by_eight);
    figure.note("share_of_by_eight_percent", share);
    figure.note("share_of_one_at_a_time_percent", figure.value() / alone * 100.0);
    Ok(figure)
}
