//! B10: a million schedules: what they cost while they wait, at a start, and when slots come.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use moa_core::schedule::{Overlap, Schedule, ScheduleId};
use moa_core::template::Template;
use moa_core::trigger::{ScheduleSource, Source, TriggerSpec};
use moa_ports::views::{RunFilter, Views};

use crate::options::Options;
use crate::report::{Figure, middle};
use crate::world::{Setup, World};
use crate::{machine, plans};

/// Schedules put that are not answered yet, at once.
const IN_FLIGHT: usize = 2000;
/// Schedules with a slot each second, among the others.
const BUSY: usize = 200;

/// B10: the processor's time for each slot, among a million schedules that wait.
pub fn many(options: &Options) -> Result<Figure> {
    let count = options.size(1_000_000, 100_000);
    let seconds = options.size(10, 3);
    let setup = Setup { triggers: true, ..Setup::default() };
    let mut world = World::fresh_with(options, "b10", &[plans::chain(1)], setup)?;
    let far = "20000d";
    let begin = Instant::now();
    let specs = (0..count).map(|n| spec("s", n, far)).collect::<Result<Vec<_>>>()?;
    world.block_on(world.put_triggers(specs.into_iter(), IN_FLIGHT))?;
    let put = begin.elapsed().as_secs_f64();
    let disk = machine::folder_bytes(world.dir())?;
    let mut starts = Vec::new();
    for _ in 0..options.size(5, 2) {
        let (again, seconds) = world.reopen()?;
        world = again;
        starts.push(seconds);
    }
    let idle = cpu_over(&world, Duration::from_secs(2))?;
    let busy = (0..BUSY).map(|n| spec("busy", n, "1s")).collect::<Result<Vec<_>>>()?;
    world.block_on(world.put_triggers(busy.into_iter(), IN_FLIGHT))?;
    let before = runs(&world)?;
    let cpu = cpu_over(&world, Duration::from_secs(seconds))?;
    let started = runs(&world)?.saturating_sub(before);
    let late = lateness(&world)?;
    world.close()?;
    let mut figure = Figure::new(
        cpu * 1e6 / started.max(1) as f64,
        "us of processor time a slot, its run of one step with it",
        "the same however many schedules wait",
    );
    figure.note("schedules", count as f64);
    figure.note("slots_started", started as f64);
    figure.note("slots_due", (BUSY as u64 * seconds) as f64);
    figure.note("late_ms_p50", late.0);
    figure.note("late_ms_p99", late.1);
    figure.note("idle_cpu_percent", idle / 2.0 * 100.0);
    figure.note("seconds_to_put_all", put);
    figure.note("seconds_to_start", Figure::median(starts, "", "").value());
    figure.note("disk_bytes_a_schedule", disk / count as f64);
    Ok(figure)
}

/// Processor seconds that this process uses in so much time.
fn cpu_over(world: &World, time: Duration) -> Result<f64> {
    let pid = std::process::id();
    let before = machine::cpu_time(pid)?;
    world.block_on(async {
        tokio::time::sleep(time).await;
        Ok(())
    })?;
    Ok((machine::cpu_time(pid)? - before).as_secs_f64())
}

fn runs(world: &World) -> Result<usize> {
    Ok(newest(world)?.len())
}

fn newest(world: &World) -> Result<Vec<moa_ports::views::RunSummary>> {
    let filter = RunFilter { limit: usize::MAX, ..RunFilter::default() };
    world.block_on(async { Ok(world.store().runs(&filter).await?) })
}

/// How long after their slots runs were created, in ms: the middle, and all but one of a hundred.
/// Slots are whole seconds.
fn lateness(world: &World) -> Result<(f64, f64)> {
    let runs = newest(world)?;
    let mut late: Vec<f64> =
        runs.iter().map(|run| run.created_at.0.rem_euclid(1000) as f64).collect();
    late.sort_by(f64::total_cmp);
    let high = late.get(late.len() * 99 / 100).copied().unwrap_or(0.0);
    Ok((if late.is_empty() { 0.0 } else { middle(&late) }, high))
}

fn spec(prefix: &str, n: usize, interval: &str) -> Result<TriggerSpec> {
    let (workflow, name) = (plans::name("chain_1"), plans::name(&format!("{prefix}{n}")));
    let id = ScheduleId { workflow: workflow.clone(), name: name.clone() };
    let mut schedule = Schedule::new(id);
    schedule.every = vec![interval.parse().ok().context("an interval")?];
    let source = ScheduleSource { schedule, calendars: Default::default(), after: Vec::new() };
    Ok(TriggerSpec {
        workflow,
        name,
        rule: false,
        source: Source::Schedule(Box::new(source)),
        enabled: true,
        overlap: Overlap::Allow,
        max_lateness: None,
        pause_after: None,
        priority: None,
        params: Template::default(),
        collect: None,
        guard: Default::default(),
    })
}
