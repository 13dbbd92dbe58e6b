//! B14: a thousand listeners that are told of a thousand events a second.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures_util::StreamExt;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
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

/// How often it is measured without listeners and with them, in turns: disks have better and worse
/// moments.
const ROUNDS: usize = 3;

/// What is let pass before and after listeners.
const CALM: Duration = Duration::from_secs(1);

/// What the engine does with or without listeners.
#[derive(Default)]
struct Phase {
    /// Milliseconds from asking for a run until it is durable.
    starts: Vec<f64>,
    /// Seconds of processor time of the node.
    cpu: f64,
    /// Events.
    events: f64,
    /// Seconds that it took.
    took: f64,
}

impl Phase {
    fn add(&mut self, other: Self) {
        self.starts.extend(other.starts);
        self.cpu += other.cpu;
        self.events += other.events;
        self.took += other.took;
    }

    /// Says it of a figure.
    fn note(&mut self, figure: &mut Figure, name: &str) {
        self.starts.sort_by(f64::total_cmp);
        for (percent, of) in [("p50", 0.5), ("p90", 0.9), ("p99", 0.99)] {
            figure.note(&format!("start_{percent}_ms_{name}"), percentile(&self.starts, of));
        }
        figure.note(&format!("node_cpu_percent_{name}"), self.cpu / self.took * 100.0);
    }
}

/// Starts of runs with and without listeners, and what the listeners get.
pub fn fan_out(options: &Options) -> Result<Figure> {
    let halves = Halves::take();
    let node = Served::start(options, "b14")?;
    let operator = node.tokens("operator", 1)?.remove(0);
    let count = options.size(1000, 100);
    let span = Duration::from_secs(options.size(10, 2));
    let listeners = Listeners {
        tokens: node.tokens("viewer", 10)?,
        address: node.address.clone(),
        elsewhere: elsewhere(halves.as_ref())?,
        received: Arc::default(),
    };
    let [mut without, mut with, mut sent] = [(); 3].map(|()| Phase::default());
    let mut memory = 0.0_f64;
    runtime()?.block_on(async {
        phase(&node, &operator, CALM).await?;
        for _ in 0..options.size(ROUNDS, 1) {
            without.add(phase(&node, &operator, span).await?);
            let before = node.resident_bytes()?;
            for (kind, figures) in [(Kind::Socket, &mut with), (Kind::Sent, &mut sent)] {
                let open = listeners.open(kind, count).await?;
                figures.add(phase(&node, &operator, span).await?);
                memory = memory.max(node.resident_bytes()? - before);
                open.into_iter().for_each(|listener| listener.abort());
                phase(&node, &operator, CALM).await?;
            }
        }
        anyhow::Ok(())
    })?;
    let told = listeners.end();
    node.stop()?;
    let mut figure =
        Figure::new(told[0] / with.took, "messages/s", "1,000 × events/s; starts as without");
    figure.note("sockets", count as f64);
    figure.note("events_per_s", with.events / with.took);
    with.note(&mut figure, "with");
    without.note(&mut figure, "without");
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
    let events = starts.len() as f64 * per_run;
    Ok(Phase { starts, cpu: used, events, took })
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

/// How somebody listens.
#[derive(Clone, Copy)]
enum Kind {
    /// With a WebSocket.
    Socket,
    /// To server-sent events.
    Sent,
}

/// Who listens to a node.
struct Listeners {
    tokens: Vec<String>,
    address: String,
    elsewhere: Runtime,
    /// Messages that have come, of each [`Kind`].
    received: Arc<[AtomicU64; 2]>,
}

impl Listeners {
    /// So many, that listen when it answers.
    async fn open(&self, kind: Kind, count: usize) -> Result<Vec<JoinHandle<()>>> {
        let mut open = Vec::new();
        for token in self.tokens.iter().cycle().take(count) {
            let (address, token) = (self.address.clone(), token.clone());
            let received = self.received.clone();
            let listener = self.elsewhere.spawn(async move {
                match kind {
                    Kind::Socket => listen(address, token, received).await,
                    Kind::Sent => hear(address, token, received).await,
                }
            });
            open.push(listener.await??);
        }
        Ok(open)
    }

    /// Ends them; answers how many messages came to each [`Kind`].
    fn end(self) -> [f64; 2] {
        self.elsewhere.shutdown_background();
        [0, 1].map(|kind: usize| self.received[kind].load(Ordering::Relaxed) as f64)
    }
}

/// A WebSocket that counts what it is told.
async fn listen(
    address: String,
    token: String,
    received: Arc<[AtomicU64; 2]>,
) -> Result<JoinHandle<()>> {
    let mut request = format!("ws://{address}/api/v1/events/stream").into_client_request()?;
    request.headers_mut().insert("authorization", format!("Bearer {token}").parse()?);
    let stream = TcpStream::connect(&address).await?;
    let (mut socket, _) = tokio_tungstenite::client_async(request, stream).await?;
    Ok(tokio::spawn(async move {
        while let Some(Ok(message)) = socket.next().await {
            if let Message::Text(_) = message {
                received[Kind::Socket as usize].fetch_add(1, Ordering::Relaxed);
            }
        }
    }))
}

/// Counts server-sent events: each ends with an empty line.
async fn hear(
    address: String,
    token: String,
    received: Arc<[AtomicU64; 2]>,
) -> Result<JoinHandle<()>> {
    let mut stream = TcpStream::connect(&address).await?;
    let request = format!(
        "GET /api/v1/events/stream HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut bytes = vec![0; 64 << 10];
    let head = stream.read(&mut bytes).await?;
    ensure!(bytes[..head].starts_with(b"HTTP/1.1 200"), "no stream");
    Ok(tokio::spawn(async move {
        let mut last = 0;
        while let Ok(count @ 1..) = stream.read(&mut bytes).await {
            let mut ends = 0;
            for &byte in &bytes[..count] {
                ends += u64::from(byte == b'\n' && last == b'\n');
                last = byte;
            }
            received[Kind::Sent as usize].fetch_add(ends, Ordering::Relaxed);
        }
    }))
}
