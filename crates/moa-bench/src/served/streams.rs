//! B14: a thousand WebSockets that are told of a thousand events a second.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures_util::StreamExt;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde_json::json;
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use super::client::Client;
use super::load::start;
use super::node::Served;
use super::runtime;
use crate::options::Options;
use crate::report::{Figure, percentile};

/// Events a second.
const EVENTS: f64 = 1000.0;
/// The lowest priority that Linux has for a thread that still runs.
const LISTENERS_NICE: i32 = 19;

/// What the engine does at one time.
struct Phase {
    /// Milliseconds from asking for a run until it is durable, sorted.
    starts: Vec<f64>,
    /// Processor time of the node, as a share of one processor.
    cpu: f64,
    /// Events a second.
    events: f64,
}

impl Phase {
    /// Both as one.
    fn and(mut self, other: Self) -> Self {
        self.starts.extend(other.starts);
        self.starts.sort_by(f64::total_cmp);
        let [cpu, events] =
            [(self.cpu, other.cpu), (self.events, other.events)].map(|(a, b)| (a + b) / 2.0);
        Self { starts: self.starts, cpu, events }
    }
}

/// Starts of runs with and without listeners, and what the listeners get.
pub fn fan_out(options: &Options) -> Result<Figure> {
    let halves = Halves::take();
    let node = Served::start(options, "b14")?;
    let operators = node.tokens("operator", 1)?;
    let viewers = node.tokens("viewer", 10)?;
    let count = options.size(1000, 100);
    let span = Duration::from_secs(options.size(10, 2));
    let (runtime, elsewhere) = (runtime()?, elsewhere(halves.as_ref())?);
    let received = Arc::new(AtomicU64::new(0));
    let (without, with, memory) = runtime.block_on(async {
        phase(&node, &operators[0], Duration::from_secs(1)).await?;
        let without = phase(&node, &operators[0], span).await?;
        let before = node.resident_bytes()?;
        let mut listeners = Vec::new();
        for token in viewers.iter().cycle().take(count) {
            let listener = listen(node.address.clone(), token.clone(), received.clone());
            listeners.push(elsewhere.spawn(listener).await??);
        }
        let with = phase(&node, &operators[0], span).await?;
        let memory = node.resident_bytes()? - before;
        listeners.into_iter().for_each(|listener| listener.abort());
        elsewhere.shutdown_background();
        phase(&node, &operators[0], Duration::from_secs(1)).await?;
        // Again, since disks have better and worse moments.
        let without = without.and(phase(&node, &operators[0], span).await?);
        anyhow::Ok((without, with, memory))
    })?;
    node.stop()?;
    let told = received.load(Ordering::Relaxed) as f64 / span.as_secs_f64();
    let mut figure = Figure::new(told, "messages/s", "1,000 × events/s; starts as without");
    figure.note("sockets", count as f64);
    figure.note("events_per_s", with.events);
    for (name, phase) in [("with", &with), ("without", &without)] {
        figure.note(&format!("start_p50_ms_{name}"), percentile(&phase.starts, 0.5));
        figure.note(&format!("start_p99_ms_{name}"), percentile(&phase.starts, 0.99));
        figure.note(&format!("node_cpu_percent_{name}"), phase.cpu);
    }
    figure.note("memory_kb_a_socket", memory / 1e3 / count as f64);
    Ok(figure)
}

/// Starts small runs, so many that there are [`EVENTS`] a second.
async fn phase(node: &Served, token: &str, span: Duration) -> Result<Phase> {
    let mut client = Client::connect(&node.address).await?;
    let per_run = events_of_a_run(&mut client, token).await?;
    let mut pace = tokio::time::interval(Duration::from_secs_f64(per_run / EVENTS));
    let (begin, cpu) = (Instant::now(), node.cpu_time()?);
    let mut starts = Vec::new();
    while begin.elapsed() < span {
        pace.tick().await;
        let asked = Instant::now();
        start(&mut client, token, &json!({"workflow": "small"})).await?;
        starts.push(asked.elapsed().as_secs_f64() * 1e3);
    }
    let took = begin.elapsed().as_secs_f64();
    let used = node.cpu_time()?.saturating_sub(cpu).as_secs_f64();
    let events = starts.len() as f64 * per_run / took;
    starts.sort_by(f64::total_cmp);
    Ok(Phase { starts, cpu: used / took * 100.0, events })
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

/// Where who listens runs: apart from who starts runs, with the lowest priority, and on processors
/// of its own where there are enough.
fn elsewhere(halves: Option<&Halves>) -> Result<Runtime> {
    let second = halves.map(|halves| halves.second);
    let mut threads = tokio::runtime::Builder::new_multi_thread();
    // On Linux this is said of the thread that calls it.
    threads.worker_threads(2).enable_all().on_thread_start(move || {
        let _ = rustix::process::setpriority_process(None, LISTENERS_NICE);
        if let Some(second) = &second {
            let _ = sched_setaffinity(None, second);
        }
    });
    Ok(threads.build()?)
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

/// A WebSocket that counts what it is told.
async fn listen(
    address: String,
    token: String,
    received: Arc<AtomicU64>,
) -> Result<JoinHandle<()>> {
    let mut request = format!("ws://{address}/api/v1/events/stream").into_client_request()?;
    request.headers_mut().insert("authorization", format!("Bearer {token}").parse()?);
    let stream = TcpStream::connect(&address).await?;
    let (mut socket, _) = tokio_tungstenite::client_async(request, stream).await?;
    Ok(tokio::spawn(async move {
        while let Some(Ok(message)) = socket.next().await {
            if let Message::Text(_) = message {
                received.fetch_add(1, Ordering::Relaxed);
            }
        }
    }))
}
