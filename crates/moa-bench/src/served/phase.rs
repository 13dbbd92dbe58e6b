//! Starts of small runs, one after another, and what they take.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::json;

use super::client::Client;
use super::load::start;
use super::node::Served;
use crate::machine;
use crate::report::{Figure, middle, percentile};

/// Events a second.
const EVENTS: f64 = 1000.0;

/// What the engine does with or without listeners.
#[derive(Default)]
pub struct Phase {
    /// Milliseconds from asking for a run until it is durable.
    starts: Vec<f64>,
    /// The 99th percentile of these of each round.
    tails: Vec<f64>,
    /// Seconds of processor time of the node, and of who starts runs and who listens.
    cpu: f64,
    mine: f64,
    /// Events.
    pub events: f64,
    /// Seconds that it took.
    pub took: f64,
}

impl Phase {
    /// Adds another such phase to it.
    pub fn add(&mut self, other: Self) {
        self.starts.extend(other.starts);
        self.tails.extend(other.tails);
        self.cpu += other.cpu;
        self.mine += other.mine;
        self.events += other.events;
        self.took += other.took;
    }

    /// Says it of a figure.
    pub fn note(&mut self, figure: &mut Figure, name: &str) {
        self.starts.sort_by(f64::total_cmp);
        for (percent, of) in [("p50", 0.5), ("p90", 0.9), ("p99", 0.99)] {
            figure.note(&format!("start_{percent}_ms_{name}"), percentile(&self.starts, of));
        }
        self.tails.sort_by(f64::total_cmp);
        figure.note(&format!("start_p99_ms_{name}_middle_round"), middle(&self.tails));
        figure.note(&format!("node_cpu_percent_{name}"), self.cpu / self.took * 100.0);
    }

    /// Of how many processors this bench itself took all, and the node.
    pub fn busy(&self) -> [f64; 2] {
        [self.mine / self.took, self.cpu / self.took]
    }
}

/// Starts small runs, so many that there are [`EVENTS`] a second.
pub async fn phase(node: &Served, token: &str, span: Duration) -> Result<Phase> {
    let mut client = Client::connect(&node.address).await?;
    let per_run = events_of_a_run(&mut client, token).await?;
    let mut pace = tokio::time::interval(Duration::from_secs_f64(per_run / EVENTS));
    let mine = || machine::cpu_time(std::process::id());
    let (begin, cpu, mine_before) = (Instant::now(), node.cpu_time()?, mine()?);
    let mut starts = Vec::new();
    while begin.elapsed() < span {
        pace.tick().await;
        let asked = Instant::now();
        start(&mut client, token, &json!({"workflow": "small"})).await?;
        starts.push(asked.elapsed().as_secs_f64() * 1e3);
    }
    let took = begin.elapsed().as_secs_f64();
    let used = node.cpu_time()?.saturating_sub(cpu).as_secs_f64();
    let mine = mine()?.saturating_sub(mine_before).as_secs_f64();
    let events = starts.len() as f64 * per_run;
    starts.sort_by(f64::total_cmp);
    let tails = vec![percentile(&starts, 0.99)];
    Ok(Phase { starts, tails, cpu: used, mine, events, took })
}

/// How many events a small run has.
async fn events_of_a_run(client: &mut Client, token: &str) -> Result<f64> {
    let run = start(client, token, &json!({"workflow": "small"})).await?;
    loop {
        let path = format!("/api/v1/events?run={run}&limit=200");
        let page = client.json(token, &path).await?;
        let events = page["events"].as_array().context("no events")?;
        if events.last().is_some_and(|event| event["type"] == "moa.run.succeeded") {
            return Ok(events.len() as f64);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
