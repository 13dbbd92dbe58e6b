//! Knowing when runs have ended, from the engine's own announcements.
//!
//! A subscriber that falls behind is told so and then reads the store; so an end may be learnt late
//! but is never missed.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use moa_core::ids::RunId;
use moa_core::run::RunStatus;
use moa_engine::handle::Committed;
use moa_ports::views::{RunFilter, Views};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

/// How long nothing may be announced before the store is asked.
const SILENCE: Duration = Duration::from_millis(500);

/// Follows runs to their end.
pub struct Finish {
    announced: Receiver<Arc<Committed>>,
    views: Arc<dyn Views>,
    /// Started and, as far as is known, not ended.
    open: HashSet<RunId>,
    /// Ended before their start was answered.
    early: HashSet<RunId>,
    /// Runs that have ended.
    pub ended: usize,
}

impl Finish {
    /// Follows what is announced from now on.
    pub fn new(announced: Receiver<Arc<Committed>>, views: Arc<dyn Views>) -> Self {
        Self { announced, views, open: HashSet::new(), early: HashSet::new(), ended: 0 }
    }

    /// A run was started.
    pub fn started(&mut self, run: RunId) {
        if self.early.remove(&run) {
            self.ended += 1;
        } else {
            self.open.insert(run);
        }
    }

    /// Waits for the next announcement and takes it in, with all others that are there.
    pub async fn next(&mut self) -> Result<()> {
        match tokio::time::timeout(SILENCE, self.announced.recv()).await {
            Ok(Ok(committed)) => {
                self.take(&committed)?;
                while let Ok(more) = self.announced.try_recv() {
                    self.take(&more)?;
                }
                Ok(())
            }
            Ok(Err(RecvError::Closed)) => bail!("the engine has stopped"),
            Ok(Err(RecvError::Lagged(_))) | Err(_) => self.ask_the_store().await,
        }
    }

    /// Waits until so many runs have ended.
    pub async fn until(&mut self, ended: usize) -> Result<()> {
        while self.ended < ended {
            self.next().await?;
        }
        Ok(())
    }

    fn take(&mut self, committed: &Committed) -> Result<()> {
        match committed.status {
            RunStatus::Failed | RunStatus::Cancelled => {
                bail!("run {} ended {}", committed.run, committed.status.as_str())
            }
            RunStatus::Succeeded if self.open.remove(&committed.run) => self.ended += 1,
            RunStatus::Succeeded => drop(self.early.insert(committed.run)),
            _ => {}
        }
        Ok(())
    }

    async fn ask_the_store(&mut self) -> Result<()> {
        let statuses: Vec<_> =
            RunStatus::ALL.into_iter().filter(|status| !status.is_terminal()).collect();
        let filter = RunFilter { statuses, limit: 1_000_000, ..RunFilter::default() };
        let open: HashSet<RunId> =
            self.views.runs(&filter).await?.into_iter().map(|r| r.run).collect();
        let before = self.open.len();
        self.open.retain(|run| open.contains(run));
        self.ended += before - self.open.len();
        Ok(())
    }
}
