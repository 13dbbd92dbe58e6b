//! The threads of a node's server.

use tokio::runtime::{Builder, Handle, Runtime};

/// Threads that requests are answered on.
const REQUESTS: usize = 2;
/// Threads that WebSockets are served on. One tells a million messages a second with half of its time; a
/// second one finds less, and keeps two processors from the engine at once (B14 on two processors: p99
/// of starts 7.8 ms with one, 10.2 with two).
const SOCKETS: usize = 1;
/// How much these let others go first: who listens takes what the engine, requests and agents leave.
#[cfg(target_os = "linux")]
const SOCKETS_NICE: i32 = 5;

/// Requests and WebSockets, apart: a thousand sockets that all have something to send delay no
/// request. Nothing waits for what still runs on them when they go.
pub struct Threads {
    requests: Handle,
    sockets: Handle,
    /// Both, until they go.
    runtimes: Vec<Runtime>,
}

impl Threads {
    /// Starts them.
    ///
    /// # Errors
    /// The system gives no more threads or files.
    pub fn new() -> std::io::Result<Self> {
        let mut requests = Builder::new_multi_thread();
        requests.worker_threads(REQUESTS).thread_name("moa-http");
        let mut sockets = Builder::new_multi_thread();
        sockets.worker_threads(SOCKETS).thread_name("moa-sockets");
        sockets.on_thread_start(let_others_go_first);
        let (requests, sockets) = (requests.enable_all().build()?, sockets.enable_all().build()?);
        Ok(Self {
            requests: requests.handle().clone(),
            sockets: sockets.handle().clone(),
            runtimes: vec![requests, sockets],
        })
    }

    /// For requests.
    pub fn requests(&self) -> &Handle {
        &self.requests
    }

    /// For WebSockets.
    pub fn sockets(&self) -> &Handle {
        &self.sockets
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        // Waiting for them is not possible where other things wait.
        for runtime in self.runtimes.drain(..) {
            runtime.shutdown_background();
        }
    }
}

/// Has the thread that calls it wait where others of the machine want to work.
fn let_others_go_first() {
    // On Linux this is said of the thread, elsewhere it would be of the whole process.
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::setpriority_process(None, SOCKETS_NICE) {
        tracing::debug!(%error, "WebSockets are served with the priority of the engine");
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    /// The nice value of the thread that asks.
    fn niceness() -> i32 {
        rustix::process::getpriority_process(None).expect("Linux tells")
    }

    #[test]
    fn only_the_threads_of_sockets_let_others_go_first() {
        let threads = Threads::new().expect("threads");
        let before = niceness();
        let asker = Builder::new_current_thread().build().expect("a runtime");
        asker.block_on(async {
            let of = |handle: &Handle| handle.spawn(async { niceness() });
            let (requests, sockets) = (of(threads.requests()), of(threads.sockets()));
            assert_eq!(requests.await.expect("an answer"), before);
            assert_eq!(sockets.await.expect("an answer"), (before + SOCKETS_NICE).min(19));
        });
        assert_eq!(niceness(), before);
    }
}
