//! A node to talk to: the one that serves the project, or one of our own for the time being.

use std::time::Duration;

use moa_core::ids::RunId;

use crate::control::client::Client;
use crate::exit::{Exit, Failure, Result};
use crate::node::{Options, Running, Start, lock};
use crate::place::Place;
use crate::reader::Reader;

/// How long a node that is starting may take until it listens.
const START_WAIT: Duration = Duration::from_secs(30);
/// Time between two tries to reach it.
const TRY_EVERY: Duration = Duration::from_millis(50);

/// Who serves the project.
pub enum Host {
    /// A node of another process.
    Other {
        /// Whether it ends with the run that it was started for.
        passing: bool,
    },
    /// A node of this process, to be stopped at the end.
    Own(Box<Running>),
}

/// Connects to the node of the project, or starts one.
pub async fn open(place: &Place) -> Result<(Host, Client)> {
    let layout = match place {
        Place::Here(layout) => layout,
        Place::There(remote) => {
            return Ok((Host::Other { passing: false }, Client::of(remote.clone())));
        }
    };
    let deadline = tokio::time::Instant::now() + START_WAIT;
    let mut holder = None;
    while tokio::time::Instant::now() < deadline {
        match place.connect().await {
            Ok(Some(client)) => {
                let passing = client.node.transient;
                return Ok((Host::Other { passing }, client));
            }
            Ok(None) => {}
            // It is just ending: nothing was asked of it yet.
            Err(failure) if failure.exit == Exit::Unavailable => {
                tokio::time::sleep(TRY_EVERY).await;
                continue;
            }
            Err(failure) => return Err(failure),
        }
        let options = Options {
            layout: layout.clone(),
            transient: true,
            drain: None,
            stderr: None,
            verbose: 0,
            serve: crate::node::door::Wanted::No,
        };
        match Running::start(options).await? {
            Start::Running(running) => {
                let client = place.connect().await?.ok_or_else(|| {
                    Failure::new(Exit::Unavailable, "the node that was just started is not there")
                })?;
                return Ok((Host::Own(running), client));
            }
            // It has the lock, but doesn't listen yet, or not any more.
            Start::Served(by) => {
                holder = by.pid;
                tokio::time::sleep(TRY_EVERY).await;
            }
        }
    }
    Err(lock::refusal(holder).hint("it doesn't answer on its socket; see .moa/log/moa.log"))
}

/// Whether something may be asked for twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asks {
    /// It doesn't matter how often it is done.
    Again,
    /// It must be done once at most.
    Once,
}

/// Connects to a node, or starts one, and asks something of it. It is asked again, of another node,
/// when one that was there for another command has ended just then.
pub async fn ask<T>(
    place: &Place,
    how: Asks,
    asks: impl AsyncFn(&mut Client) -> Result<T>,
) -> Result<(Host, T)> {
    let deadline = tokio::time::Instant::now() + START_WAIT;
    loop {
        let (host, mut client) = open(place).await?;
        match host.or_failed(asks(&mut client)).await {
            Ok(answer) => return Ok((host, answer)),
            Err(failure)
                if failure.exit == Exit::Unavailable
                    && client.is_passing()
                    && (how == Asks::Again || !client.is_broken())
                    && tokio::time::Instant::now() < deadline =>
            {
                tokio::time::sleep(TRY_EVERY).await;
            }
            Err(failure) => {
                host.close(Duration::ZERO).await;
                return Err(failure);
            }
        }
    }
}

/// Connects to a node, or starts one, and has it execute a run that is there already: what did so
/// has gone.
pub async fn take_over(place: &Place, run: RunId) -> Result<Host> {
    let (host, ()) = ask(place, Asks::Again, async |client| client.serve(run).await).await?;
    Ok(host)
}

/// Connects to a node that stays; refused when none runs.
pub async fn require_lasting(place: &Place, what: &str) -> Result<Client> {
    let client = require(place, what).await?;
    if client.node.transient {
        let pid = client.node.pid;
        let text = format!("the node that runs (pid {pid}) ends with its own run, so {what}");
        return Err(Failure::refused(text).hint("start one that stays with `moa up`, once it has"));
    }
    Ok(client)
}

/// Connects to the node of the project; refused when none runs.
pub async fn require(place: &Place, what: &str) -> Result<Client> {
    place.connect().await?.ok_or_else(|| {
        Failure::refused(format!("no node serves this project, so {what}"))
            .hint("start one with `moa up`, then try again")
    })
}

/// What is said of something that is durable, and that nobody acts on now.
pub const RECORDED: &str = "that is recorded, but no node serves the project: `moa up` acts on it";

impl Host {
    /// Whether the node stays, and acts on what it was asked for.
    pub fn is_lasting(&self) -> bool {
        matches!(self, Host::Other { passing: false })
    }

    /// Does some work, unless a node of our own ends by itself before.
    pub async fn or_failed<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let failed = async {
            match self {
                Host::Own(running) => running.failed().await,
                Host::Other { .. } => std::future::pending().await,
            }
        };
        tokio::select! {
            done = work => done,
            failure = failed => Err(failure),
        }
    }

    /// What the project's store holds. A node of our own is asked: a process that opens a database
    /// twice gives back the locks of both when it closes one.
    pub fn reader(&self, place: &Place) -> Result<Reader> {
        match self {
            Host::Own(running) => Ok(running.node.reader()),
            Host::Other { .. } => place.require_reader(),
        }
    }

    /// Stops the node, if it is ours.
    pub async fn close(self, drain: Duration) {
        if let Host::Own(running) = self {
            running.stop(drain).await;
        }
    }
}
