//! B13: how many reads a second the API answers while the engine is busy.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::json;

use super::client::Client;
use super::load::{Busy, rate, start};
use super::node::Served;
use super::runtime;
use crate::options::Options;
use crate::report::{Figure, percentile};

/// Connections that read.
const READERS: usize = 8;
/// Tokens of each: one may ask 200 times a second.
const TOKENS: usize = 20;
/// Wide runs before, so that lists are long.
const BEFORE: usize = 40;

/// What is read, in turn.
const READ: [&str; 3] = ["runs", "run", "events"];

/// Reads a second and their times: a list of runs, a run with its steps, the newest events.
pub fn under_load(options: &Options) -> Result<Figure> {
    let node = Served::start(options, "b13")?;
    let operators = node.tokens("operator", 4)?;
    let viewers = node.tokens("viewer", READERS * TOKENS)?;
    let span = Duration::from_secs(options.size(10, 2));
    let runtime = runtime()?;
    let (times, alone) = runtime.block_on(async {
        let mut client = Client::connect(&node.address).await?;
        let run = start(&mut client, &operators[0], &json!({"workflow": "small"})).await?;
        let alone = rate(&node.address, &operators, BEFORE).await?;
        let busy = Busy::start(&node.address, &operators);
        let times = readers(&node.address, &viewers, &run, span).await?;
        busy.stop().await?;
        anyhow::Ok((times, alone))
    })?;
    node.stop()?;
    let of_each: Vec<Vec<f64>> = (0..READ.len())
        .map(|which| {
            let own = times.iter().filter(|(read, _)| *read == which).map(|(_, time)| *time);
            let mut own: Vec<f64> = own.collect();
            own.sort_by(f64::total_cmp);
            own
        })
        .collect();
    let mut times: Vec<f64> = times.into_iter().map(|(_, time)| time).collect();
    times.sort_by(f64::total_cmp);
    let rate = times.len() as f64 / span.as_secs_f64();
    let mut figure = Figure::new(rate, "reads/s", "≥ 2,000, p99 ≤ 20 ms");
    figure.note("p50_ms", percentile(&times, 0.5));
    figure.note("p99_ms", percentile(&times, 0.99));
    figure.note("max_ms", percentile(&times, 1.0));
    for (read, times) in READ.iter().zip(&of_each) {
        figure.note(&format!("p50_ms_{read}"), percentile(times, 0.5));
    }
    figure.note("connections", READERS as f64);
    figure.note("engine_steps_per_s_before", alone);
    Ok(figure)
}

/// Which was read, and how many milliseconds it took.
type Read = (usize, f64);

/// Reads until the time is over.
async fn readers(address: &str, tokens: &[String], run: &str, span: Duration) -> Result<Vec<Read>> {
    let paths: Arc<[String; READ.len()]> = Arc::new([
        "/api/v1/runs?limit=20".to_owned(),
        format!("/api/v1/runs/{run}"),
        "/api/v1/events?limit=50".to_owned(),
    ]);
    let end = Instant::now() + span;
    let mut readers = Vec::new();
    for tokens in tokens.chunks(TOKENS) {
        let (address, tokens, paths) = (address.to_owned(), tokens.to_vec(), paths.clone());
        readers.push(tokio::spawn(async move {
            let mut client = Client::connect(&address).await?;
            let mut times = Vec::new();
            let each = paths.iter().enumerate().cycle().zip(tokens.iter().cycle());
            for ((read, path), token) in each {
                let start = Instant::now();
                if start >= end {
                    break;
                }
                client.get(token, path).await?;
                times.push((read, start.elapsed().as_secs_f64() * 1e3));
            }
            anyhow::Ok(times)
        }));
    }
    let mut times = Vec::new();
    for reader in readers {
        times.extend(reader.await??);
    }
    Ok(times)
}
