//! B11: what it costs to keep limits.

use std::hint::black_box;
use std::time::Instant;

use anyhow::{Context, Result};
use moa_core::limit::{AgentLimits, LimitState, Verdict};
use moa_core::time::Millis;

use crate::options::Options;
use crate::plans;
use crate::report::Figure;
use crate::throughput::{STEPS, rate};
use crate::world::{Setup, World};

/// More attempts at once than ever are.
const SLOTS: u32 = 100_000;

/// B11: checks a second of the windows that a network allows its posts in, half of them full; and
/// the durable steps a second of an agent with limits beside those of one without.
pub fn checks(options: &Options) -> Result<Figure> {
    let limits = with_rates(&["5/1h", "50/1d"])?;
    let mut rates = Vec::new();
    for _ in 0..options.size(5, 2) {
        rates.push(checks_per_second(&limits, options.size(5_000_000, 500_000)));
    }
    let runs = options.size(40_000, 8000);
    let wide = with_rates(&["100000000/1h", "1000000000/1d"])?;
    let (mut limited, mut free) = (Vec::new(), Vec::new());
    for _ in 0..options.size(3, 1) {
        free.push(steps_per_second(options, runs, AgentLimits::default())?);
        limited.push(steps_per_second(options, runs, wide.clone())?);
    }
    let free = Figure::median(free, "", "").value();
    let limited = Figure::median(limited, "", "").value();
    let mut figure = Figure::median(rates, "checks/s", "no part of a step's cost");
    figure.note("steps_per_s_without_limits", free);
    figure.note("steps_per_s_with_limits", limited);
    figure.note("share_with_limits_percent", limited / free * 100.0);
    Ok(figure)
}

/// Checks, each followed by a start where one is allowed, at one a minute.
fn checks_per_second(limits: &AgentLimits, count: usize) -> f64 {
    let mut state = LimitState::default();
    let start = Instant::now();
    for minute in 0..count as i64 {
        let now = Millis(minute * 60_000);
        if black_box(state.check(limits, "post", now)) == Verdict::Go {
            state.take(limits, "post", now);
        }
    }
    count as f64 / start.elapsed().as_secs_f64()
}

fn steps_per_second(options: &Options, runs: usize, limits: AgentLimits) -> Result<f64> {
    // An agent with limits takes a slot for each attempt; that is not what is measured.
    let setup = Setup { limits, max_running: SLOTS, ..Setup::default() };
    let world = World::fresh_with(options, "b11", &[plans::chain(STEPS)], setup)?;
    let steps = rate(&world, runs)?;
    world.close()?;
    Ok(steps)
}

fn with_rates(texts: &[&str]) -> Result<AgentLimits> {
    let rates = texts.iter().map(|text| text.parse().ok().context("a rate"));
    Ok(AgentLimits { rates: rates.collect::<Result<_>>()?, ..AgentLimits::default() })
}
