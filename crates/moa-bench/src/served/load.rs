//! Work for the engine of a node, asked for through its API.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::{Value as Json, json};
use tokio::task::JoinHandle;

use super::WIDE;
use super::client::Client;

/// Wide runs open at once.
const OPEN: usize = 4;
/// How often it is asked whether a run has ended.
const LOOK: Duration = Duration::from_millis(10);

/// Keeps an engine busy; answers steps a second over so many wide runs.
pub async fn rate(address: &str, tokens: &[String], runs: usize) -> Result<f64> {
    let start = Instant::now();
    let mut all = Vec::new();
    for token in tokens.iter().cycle().take(OPEN) {
        let (address, token) = (address.to_owned(), token.clone());
        all.push(tokio::spawn(async move { some(&address, &token, runs / OPEN).await }));
    }
    for some in all {
        some.await??;
    }
    let steps = (runs / OPEN * OPEN) as f64 * f64::from(WIDE);
    Ok(steps / start.elapsed().as_secs_f64())
}

/// Keeps an engine busy until it is told to stop.
pub struct Busy {
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<Result<()>>>,
}

impl Busy {
    /// Starts.
    pub fn start(address: &str, tokens: &[String]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let one = |token: &String| {
            let (address, token, stop) = (address.to_owned(), token.clone(), stop.clone());
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    some(&address, &token, 1).await?;
                }
                Ok(())
            })
        };
        let tasks = tokens.iter().cycle().take(OPEN).map(one).collect();
        Self { stop, tasks }
    }

    /// Ends with the runs that are open.
    pub async fn stop(self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await??;
        }
        Ok(())
    }
}

/// So many wide runs, one after another.
async fn some(address: &str, token: &str, runs: usize) -> Result<()> {
    let mut client = Client::connect(address).await?;
    let items: Vec<u32> = (0..WIDE).collect();
    let asked = json!({"workflow": "wide", "params": {"items": items}});
    for _ in 0..runs {
        let run = start(&mut client, token, &asked).await?;
        while !is_over(&mut client, token, &run).await? {
            tokio::time::sleep(LOOK).await;
        }
    }
    Ok(())
}

/// Starts a run; answers its id.
pub async fn start(client: &mut Client, token: &str, asked: &Json) -> Result<String> {
    let started = client.post(token, "/api/v1/runs", asked).await?;
    Ok(started["run"].as_str().context("no id of a run")?.to_owned())
}

/// Whether a run has ended: it is among the open ones no more.
pub async fn is_over(client: &mut Client, token: &str, run: &str) -> Result<bool> {
    let page = client.json(token, "/api/v1/runs?workflow=wide&status=open&limit=50").await?;
    let open = page["runs"].as_array().context("no list of runs")?;
    Ok(open.iter().all(|open| open["run"] != run))
}
