//! A node to talk to: the one that serves the project, or one of our own for the time being.

use std::time::Duration;

use crate::control::client::Client;
use crate::exit::{Exit, Failure, Result};
use crate::node::{Options, Running, Start, lock};
use crate::project::Layout;
use crate::reader::Reader;

/// How long a node that is starting may take until it listens.
const START_WAIT: Duration = Duration::from_secs(30);
/// Time between two tries to reach it.
const TRY_EVERY: Duration = Duration::from_millis(50);

/// Who serves the project.
pub enum Host {
    /// A node of another process.
    Other,
    /// A node of this process, to be stopped at the end.
    Own(Box<Running>),
}

/// Connects to the node of the project, or starts one.
pub async fn open(layout: &Layout) -> Result<(Host, Client)> {
    let deadline = tokio::time::Instant::now() + START_WAIT;
    let mut holder = None;
    while tokio::time::Instant::now() < deadline {
        if let Some(client) = Client::connect(&layout.state()).await? {
            return Ok((Host::Other, client));
        }
        let options = Options {
            layout: layout.clone(),
            transient: true,
            drain: None,
            stderr: None,
            verbose: 0,
        };
        match Running::start(options).await? {
            Start::Running(running) => {
                let client = Client::connect(&layout.state()).await?.ok_or_else(|| {
                    Failure::new(Exit::Unavailable, "the node that was just started is not there")
                })?;
                return Ok((Host::Own(running), client));
            }
            // It has the lock, but doesn't listen yet, or not any more.
            Start::Served(pid) => {
                holder = pid;
                tokio::time::sleep(TRY_EVERY).await;
            }
        }
    }
    Err(lock::refusal(holder).hint("it doesn't answer on its socket; see .moa/log/moa.log"))
}

/// Connects to the node of the project; refused when none runs.
pub async fn require(layout: &Layout, what: &str) -> Result<Client> {
    Client::connect(&layout.state()).await?.ok_or_else(|| {
        Failure::refused(format!("no node serves this project, so {what}"))
            .hint("start one with `moa up`, then try again")
    })
}

impl Host {
    /// Waits until a node of our own ends by itself.
    pub async fn failed(&self) -> Failure {
        match self {
            Host::Own(running) => running.failed().await,
            Host::Other => std::future::pending().await,
        }
    }

    /// What the project's store holds. A node of our own is asked: a process that opens a database
    /// twice gives back the locks of both when it closes one.
    pub fn reader(&self, layout: &Layout) -> Result<Reader> {
        match self {
            Host::Own(running) => Ok(running.node.reader()),
            Host::Other => Reader::require(layout),
        }
    }

    /// Stops the node, if it is ours.
    pub async fn close(self, drain: Duration) {
        if let Host::Own(running) = self {
            running.stop(drain).await;
        }
    }
}
