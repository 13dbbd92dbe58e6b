//! B4 and B8: runs that wait, by the hundred thousand.

use std::time::Instant;

use anyhow::Result;
use moa_core::ids::RunId;

use crate::options::Options;
use crate::report::Figure;
use crate::world::World;
use crate::{machine, plans};

/// Starts that are not answered yet, at once.
const IN_FLIGHT: usize = 2000;

/// B4: starting them, and what each costs while it waits.
pub fn start(options: &Options) -> Result<Figure> {
    let count = options.size(100_000, 20_000);
    let first = 10_000;
    let pid = std::process::id();
    let world = World::fresh(options, "b4", &[plans::waiting()])?;
    // What starting costs once, for code and caches, isn't what a run costs.
    world.block_on(world.start_many("waiting", 100, IN_FLIGHT))?;
    let memory = machine::resident_bytes(pid)?;
    let begin = Instant::now();
    world.block_on(world.start_many("waiting", first, IN_FLIGHT))?;
    let first_seconds = begin.elapsed().as_secs_f64();
    world.block_on(world.start_many("waiting", count - first, IN_FLIGHT))?;
    let all_seconds = begin.elapsed().as_secs_f64();
    let memory = machine::resident_bytes(pid)? - memory;
    let disk = machine::folder_bytes(world.dir())?;
    world.close()?;
    let mut figure = Figure::new(first_seconds, "s for 10,000", "≤ 0.3 s; ≤ 2 KB memory a run");
    figure.note("seconds_for_all", all_seconds);
    figure.note("runs", count as f64);
    figure.note("runs_per_s", count as f64 / all_seconds);
    figure.note("memory_bytes_a_run", memory / count as f64);
    figure.note("disk_bytes_a_run", disk / count as f64);
    Ok(figure)
}

/// B8: opening a store with open runs, until the engine takes work.
pub fn restart(options: &Options) -> Result<Figure> {
    let count = options.size(100_000, 20_000);
    let mut world = World::fresh(options, "b8", &[plans::waiting()])?;
    let one = world.block_on(world.start("waiting", None))?;
    world.block_on(world.start_many("waiting", count - 1, IN_FLIGHT))?;
    let (mut times, mut woken) = (Vec::new(), Vec::new());
    for round in 0..options.size(5, 2) {
        let (again, seconds) = world.reopen()?;
        world = again;
        times.push(seconds);
        // A run that was open before must go on now; else "ready" would be just a word.
        if round == 0 {
            woken.push(wake(&world, one)?);
        }
    }
    world.close()?;
    let mut figure = Figure::median(times, "s", "≤ 3 s");
    figure.note("runs", count as f64);
    figure.note("ms_to_wake_one", woken[0] * 1e3);
    Ok(figure)
}

/// How long a waiting run takes to end once its signal is sent, in seconds.
fn wake(world: &World, run: RunId) -> Result<f64> {
    world.block_on(async {
        let mut finish = world.finish();
        finish.started(run);
        let start = Instant::now();
        world.signal(run, "go").await?;
        finish.until(1).await?;
        Ok(start.elapsed().as_secs_f64())
    })
}
