//! B14: a thousand listeners that are told of a thousand events a second.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde_json::json;

use super::client::Client;
use super::listeners::{Kind, Listeners};
use super::load::start;
use super::node::Served;
use super::runtime;
use crate::machine;
use crate::options::Options;
use crate::report::{Figure, middle, percentile};

/// Events a second.
const EVENTS: f64 = 1000.0;
/// How often it is measured without listeners and with them, in turns: disks have better and worse
/// moments.
const ROUNDS: usize = 6;
/// Seconds of each.
const SPAN_SECS: usize = 5;

/// What is let pass before and after listeners.
const CALM: Duration = Duration::from_secs(1);

/// What there is beside the starts of runs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Beside {
    Nothing,
    Sockets,
    /// Who listens to server-sent events.
    Sent,
    /// Nobody, but other processors are as busy as with WebSockets.
    Busy,
}

/// What the engine does with or without listeners.
#[derive(Default)]
struct Phase {
    /// Milliseconds from asking for a run until it is durable.
    starts: Vec<f64>,
    /// The 99th percentile of these of each round.
    tails: Vec<f64>,
    /// Seconds of processor time of the node, and of who starts runs and who listens.
    cpu: f64,
    mine: f64,
    /// Events.
    events: f64,
    /// Seconds that it took.
    took: f64,
}

impl Phase {
    fn add(&mut self, other: Self) {
        self.starts.extend(other.starts);
        self.tails.extend(other.tails);
        self.cpu += other.cpu;
        self.mine += other.mine;
        self.events += other.events;
        self.took += other.took;
    }

    /// Says it of a figure.
    fn note(&mut self, figure: &mut Figure, name: &str) {
        self.starts.sort_by(f64::total_cmp);
        for (percent, of) in [("p50", 0.5), ("p90", 0.9), ("p99", 0.99)] {
            figure.note(&format!("start_{percent}_ms_{name}"), percentile(&self.starts, of));
        }
        self.tails.sort_by(f64::total_cmp);
        figure.note(&format!("start_p99_ms_{name}_middle_round"), middle(&self.tails));
        figure.note(&format!("node_cpu_percent_{name}"), self.cpu / self.took * 100.0);
    }

    /// Of how many processors this bench itself took all.
    fn busy(&self) -> f64 {
        self.mine / self.took
    }
}

/// Starts of runs with and without listeners, and what the listeners get.
pub fn fan_out(options: &Options) -> Result<Figure> {
    let halves = Halves::take();
    let node = Served::start(options, "b14")?;
    let operator = node.tokens("operator", 1)?.remove(0);
    let count = options.size(1000, 100);
    let span = Duration::from_secs(options.size(SPAN_SECS, 1) as u64);
    let listeners = Listeners::new(&node, halves.as_ref().map(|halves| halves.second))?;
    let [mut without, mut with, mut sent, mut busy] = [(); 4].map(|()| Phase::default());
    let mut memory = 0.0_f64;
    runtime()?.block_on(async {
        phase(&node, &operator, CALM).await?;
        for round in 0..options.size(ROUNDS, 1) {
            let mut order = [Beside::Nothing, Beside::Sockets, Beside::Sent, Beside::Busy];
            // Each comes now before another one and now behind it.
            if round % 2 == 1 {
                order.reverse();
            }
            for beside in order {
                let before = node.resident_bytes()?;
                let tasks = match beside {
                    Beside::Nothing => Vec::new(),
                    Beside::Sockets => listeners.open(Kind::Socket, count).await?,
                    Beside::Sent => listeners.open(Kind::Sent, count).await?,
                    Beside::Busy => listeners.only_busy(with.busy() - without.busy()),
                };
                let figures = phase(&node, &operator, span).await?;
                if beside == Beside::Sockets {
                    memory = memory.max(node.resident_bytes()? - before);
                }
                tasks.into_iter().for_each(|task| task.abort());
                phase(&node, &operator, CALM).await?;
                match beside {
                    Beside::Nothing => without.add(figures),
                    Beside::Sockets => with.add(figures),
                    Beside::Sent => sent.add(figures),
                    Beside::Busy => busy.add(figures),
                }
            }
        }
        anyhow::Ok(())
    })?;
    let told = listeners.end();
    node.stop()?;
    let aim = "1,000 × events/s; starts as while as many processors are busy elsewhere";
    let mut figure = Figure::new(told[0] / with.took, "messages/s", aim);
    figure.note("sockets", count as f64);
    figure.note("events_per_s", with.events / with.took);
    for (name, phase) in [("with", &with), ("with_sse", &sent), ("busy_elsewhere", &busy)] {
        let share = (phase.busy() - without.busy()) * 100.0;
        figure.note(&format!("elsewhere_cpu_percent_{name}"), share);
    }
    with.note(&mut figure, "with");
    without.note(&mut figure, "without");
    busy.note(&mut figure, "busy_elsewhere");
    figure.note("sse_messages_per_s", told[1] / sent.took);
    sent.note(&mut figure, "with_sse");
    figure.note("memory_kb_a_socket", memory / 1e3 / count as f64);
    Ok(figure)
}

/// Starts small runs, so many that there are [`EVENTS`] a second.
async fn phase(node: &Served, token: &str, span: Duration) -> Result<Phase> {
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

/// Has the node and who starts runs on one half of the processors, and leaves the other one to who
/// listens, as if those were other machines: what is measured is what the node does for them, not what
/// they do themselves.
struct Halves {
    all: CpuSet,
    second: CpuSet,
}

impl Halves {
    /// The processors that this thread may run on, in halves; `None` where there is but one.
    fn of(all: &CpuSet) -> Option<(CpuSet, CpuSet)> {
        let mine: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|&cpu| all.is_set(cpu)).collect();
        let (mut first, mut second) = (CpuSet::new(), CpuSet::new());
        let (node, rest) = mine.split_at(mine.len() / 2);
        node.iter().for_each(|&cpu| first.set(cpu));
        rest.iter().for_each(|&cpu| second.set(cpu));
        (!node.is_empty()).then_some((first, second))
    }

    /// Has this thread, and all that it starts from now on, on the first half.
    fn take() -> Option<Self> {
        let all = sched_getaffinity(None).ok()?;
        let (first, second) = Self::of(&all)?;
        sched_setaffinity(None, &first).ok()?;
        Some(Self { all, second })
    }
}

impl Drop for Halves {
    fn drop(&mut self) {
        let _ = sched_setaffinity(None, &self.all);
    }
}
