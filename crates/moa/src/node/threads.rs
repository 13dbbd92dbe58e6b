//! The threads of a node's server.

use tokio::runtime::{Builder, Handle, Runtime};

/// Threads that requests are answered on.
const REQUESTS: usize = 2;
/// Threads that tell who listens. One tells a million messages a second with less than its time; a second
/// one finds less, and keeps two processors from the engine at once (decision 23).
const LISTENERS: usize = 1;
/// How much these let others go first: who listens takes what the engine, requests and agents leave.
#[cfg(target_os = "linux")]
const LISTENERS_NICE: i32 = 5;

/// Requests and listeners, apart: a thousand of these that all have something to hear delay no
/// request. Nothing waits for what still runs on them when they go.
pub struct Threads {
    requests: Handle,
    listeners: Handle,
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
        let mut listeners = Builder::new_multi_thread();
        listeners.worker_threads(LISTENERS).thread_name("moa-listeners");
        listeners.on_thread_start(let_others_go_first);
        let (requests, listeners) =
            (requests.enable_all().build()?, listeners.enable_all().build()?);
        Ok(Self {
            requests: requests.handle().clone(),
            listeners: listeners.handle().clone(),
            runtimes: vec![requests, listeners],
        })
    }

    /// For requests.
    pub fn requests(&self) -> &Handle {
        &self.requests
    }

    /// For who listens.
    pub fn listeners(&self) -> &Handle {
        &self.listeners
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
    if let Err(error) = rustix::process::setpriority_process(None, LISTENERS_NICE) {
        tracing::debug!(%error, "who listens is told with the priority of the engine");
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
    fn only_the_threads_of_listeners_let_others_go_first() {
        let threads = Threads::new().expect("threads");
        let before = niceness();
        let asker = Builder::new_current_thread().build().expect("a runtime");
        asker.block_on(async {
            let of = |handle: &Handle| handle.spawn(async { niceness() });
            let (requests, listeners) = (of(threads.requests()), of(threads.listeners()));
            assert_eq!(requests.await.expect("an answer"), before);
            assert_eq!(listeners.await.expect("an answer"), (before + LISTENERS_NICE).min(19));
        });
        assert_eq!(niceness(), before);
    }
}
