//! B16: how long the server takes for each page when the store has a lot in it.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::client::Client;
use super::load::{is_over, start};
use super::node::Served;
use super::{WIDE, runtime};
use crate::options::Options;
use crate::plans;
use crate::report::{Figure, percentile};
use crate::throughput::{self, STEPS};
use crate::world::World;

/// How often each page is asked for.
const ROUNDS: usize = 20;
/// Wide runs beside the many small ones.
const WIDE_RUNS: usize = 12;
/// Tokens that take turns: one may ask 200 times a second, and pages are faster.
const TOKENS: usize = 5;
/// Nothing that the bench has made is deleted while it runs.
const KEEP: &str = "retention:\n  runs: {age: unlimited, count: unlimited}\n";

/// The 95th percentile of the slowest page, in milliseconds; those of all pages beside it.
pub fn times(options: &Options) -> Result<Figure> {
    let runs = options.size(100_000, 2000);
    let world = World::fresh(options, "b16-store", &[plans::chain(STEPS)])?;
    throughput::rate(&world, runs)?;
    let store = world.stop();
    let node = Served::start_with(options, "b16", |project| take_over(project, &store))?;
    let tokens = node.tokens("admin", TOKENS)?;
    let runtime = runtime()?;
    let all = runtime.block_on(async {
        let mut client = Client::connect(&node.address).await?;
        let path = "/api/v1/runs?limit=1&status=succeeded";
        let found = client.json(&tokens[0], path).await?;
        let run = found["runs"][0]["run"].as_str().context("no run")?.to_owned();
        let wide = wide(&mut client, &tokens).await?;
        let mut all = Vec::new();
        for path in paths(&run).into_iter().chain(paths_of_wide(&wide)) {
            let mut times = Vec::new();
            for token in tokens.iter().cycle().take(ROUNDS) {
                let start = Instant::now();
                client.get(token, &path).await?;
                times.push(start.elapsed().as_secs_f64() * 1e3);
            }
            times.sort_by(f64::total_cmp);
            let name = path.replace(&run, "RUN").replace(&wide, "WIDE");
            all.push((name, percentile(&times, 0.95)));
        }
        anyhow::Ok(all)
    })?;
    node.stop()?;
    std::fs::remove_dir_all(store).context("the bench's store")?;
    let slowest = all.iter().map(|(_, time)| *time).fold(0.0, f64::max);
    let mut figure = Figure::new(slowest, "ms p95 of the slowest page", "< 50 ms");
    for (path, time) in &all {
        figure.note(&format!("p95_ms {path}"), *time);
    }
    figure.note("finished_steps", runs as f64 * f64::from(STEPS));
    Ok(figure)
}

/// Puts a store that was made by an engine alone into a project.
fn take_over(project: &Path, store: &Path) -> Result<()> {
    let settings = project.join("moa.yaml");
    let text = std::fs::read_to_string(&settings)?;
    ensure!(!text.contains("\nretention:"), "the template sets retention itself");
    std::fs::write(&settings, format!("{text}\n{KEEP}"))?;
    let state = project.join(".moa");
    std::fs::create_dir_all(&state)?;
    for name in ["moa.db", "moa.db-wal"] {
        let from = store.join(name);
        if from.exists() {
            std::fs::rename(from, state.join(name))?;
        }
    }
    Ok(())
}

/// A run of thousands of steps, and as many before it as the page of its workflow looks into.
async fn wide(client: &mut Client, tokens: &[String]) -> Result<String> {
    let items: Vec<u32> = (0..WIDE).collect();
    let asked = json!({"workflow": "wide", "params": {"items": items}});
    let mut newest = String::new();
    for token in tokens.iter().cycle().take(WIDE_RUNS) {
        newest = start(client, token, &asked).await?;
        while !is_over(client, token, &newest).await? {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    Ok(newest)
}

/// The pages of a wide run and of its workflow.
fn paths_of_wide(run: &str) -> Vec<String> {
    let mut all: Vec<String> =
        ["/workflows/wide", "/events?types=step.*", "/agents/noop"].map(str::to_owned).into();
    for part in ["", "/timeline", "/history", "/data", "/steps/one%5B7%5D"] {
        all.push(format!("/runs/{run}{part}"));
    }
    all
}

/// Every page that shows what the store holds.
fn paths(run: &str) -> Vec<String> {
    let workflow = format!("/workflows/chain_{STEPS}");
    let mut all: Vec<String> = [
        "/",
        "/runs",
        "/runs?status=succeeded",
        "/runs?status=failed",
        "/workflows",
        "/schedules",
        "/calendar",
        "/inbox",
        "/agents",
        "/agents/shell",
        "/alerts",
        "/events",
        "/events?types=run.failed",
        "/charts",
        "/charts/production",
        "/audit",
        "/settings",
        "/settings/config",
        "/live",
    ]
    .map(str::to_owned)
    .into();
    all.push(format!("/runs?workflow=chain_{STEPS}"));
    // No run ends so: all are looked through.
    all.push("/runs?q=fffffff".to_owned());
    all.extend([workflow.clone(), format!("{workflow}/versions")]);
    for part in ["", "/timeline", "/history", "/data", "/steps/s1"] {
        all.push(format!("/runs/{run}{part}"));
    }
    all
}
