//! Who listens to a node.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Result, ensure};
use futures_util::StreamExt;
use rustix::thread::{CpuSet, sched_setaffinity};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use super::node::Served;

/// The lowest priority that Linux has for a thread that still runs.
pub const LISTENERS_NICE: i32 = 19;
/// Threads that they share.
pub const THREADS: usize = 2;

/// How somebody listens.
#[derive(Clone, Copy)]
pub enum Kind {
    /// With a WebSocket.
    Socket,
    /// To server-sent events.
    Sent,
}

/// Some who listen, until it goes.
#[derive(Default)]
pub struct Open(Vec<JoinHandle<()>>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}

/// Who may listen to a node, and where.
pub struct Listeners {
    tokens: Vec<String>,
    address: String,
    elsewhere: Runtime,
    /// Messages that have come, of each [`Kind`].
    received: Arc<[AtomicU64; 2]>,
}

impl Listeners {
    /// None yet; they are going to be on these processors.
    pub fn new(node: &Served, processors: Option<CpuSet>) -> Result<Self> {
        Ok(Self {
            tokens: node.tokens("viewer", 10)?,
            address: node.address.clone(),
            elsewhere: elsewhere(processors)?,
            received: Arc::default(),
        })
    }

    /// So many, that listen when it answers.
    pub async fn open(&self, kind: Kind, count: usize) -> Result<Open> {
        let mut open = Open::default();
        for token in self.tokens.iter().cycle().take(count) {
            let (address, token) = (self.address.clone(), token.clone());
            let received = self.received.clone();
            let listener = self.elsewhere.spawn(async move {
                match kind {
                    Kind::Socket => listen(address, token, received).await,
                    Kind::Sent => hear(address, token, received).await,
                }
            });
            open.0.push(listener.await??);
        }
        Ok(open)
    }

    /// Ends them; answers how many messages came to each [`Kind`].
    pub fn end(self) -> [f64; 2] {
        self.elsewhere.shutdown_background();
        [0, 1].map(|kind: usize| self.received[kind].load(Ordering::Relaxed) as f64)
    }
}

/// Where who listens runs: apart from who starts runs, with the lowest priority, and on processors
/// of its own where there are enough.
fn elsewhere(processors: Option<CpuSet>) -> Result<Runtime> {
    let mut threads = tokio::runtime::Builder::new_multi_thread();
    // On Linux this is said of the thread that calls it.
    threads.worker_threads(THREADS).enable_all().on_thread_start(move || {
        let _ = rustix::process::setpriority_process(None, LISTENERS_NICE);
        if let Some(processors) = &processors {
            let _ = sched_setaffinity(None, processors);
        }
    });
    Ok(threads.build()?)
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
