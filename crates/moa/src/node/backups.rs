//! Backups for people elsewhere: made beside the runs, one at a time, and handed over as open files.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use moa_engine::audit::{Actor, Came, Deed};
use moa_server::control::Archive;
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Node, aside};
use crate::backup::make::Request;
use crate::backup::{Holds, unnamed};
use crate::exit::{Failure, Result};
use crate::project::Layout;

/// Whose turn it is. A backup has it until it is made and nobody reads it any more: several that are read
/// slowly would fill the disk.
pub struct Backups(Arc<Semaphore>);

impl Backups {
    /// Begins with nothing of what an earlier node may have left behind.
    pub fn begin(state: &Path) -> Self {
        if let Err(error) = unnamed::sweep(state) {
            tracing::warn!(%error, "what is left of an unfinished backup can't be removed");
        }
        Self(Arc::new(Semaphore::new(1)))
    }

    fn turn(&self) -> Result<OwnedSemaphorePermit> {
        self.0.clone().try_acquire_owned().map_err(|_| {
            Failure::refused("another backup of this node is being made or downloaded").hint(
                "wait until it is done; `moa audit list --action backup` says who asked for it",
            )
        })
    }
}

/// Says whether somebody waits for a backup, until it is dropped.
pub struct Waiting(Arc<AtomicBool>);

/// Whether somebody does.
pub struct Wanted(Arc<AtomicBool>);

impl Waiting {
    /// Somebody waits from now on.
    pub fn new() -> (Self, Wanted) {
        let wanted = Arc::new(AtomicBool::new(true));
        (Self(wanted.clone()), Wanted(wanted))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

impl Node {
    /// Makes a backup for somebody, and writes that down.
    pub async fn backup(
        &self,
        actor: &Actor,
        layout: Layout,
        holds: Holds,
        wanted: Wanted,
    ) -> Result<Archive> {
        let deed = Deed::new("backup", "").asked(json!(holds));
        let work = async {
            let turn = self.notes.backups.turn()?;
            aside(move || make(&layout, holds, &wanted, turn)).await
        };
        self.audit().act(actor, deed, work, came).await
    }
}

fn make(
    layout: &Layout,
    holds: Holds,
    wanted: &Wanted,
    turn: OwnedSemaphorePermit,
) -> Result<Archive> {
    let wanted = || wanted.0.load(Ordering::Relaxed);
    let request = Request::new(layout, holds, &wanted)?;
    let (file, manifest) = unnamed::make(&request, layout)?;
    let bytes = file.metadata().map_err(|e| Failure::io("can't read the backup", &e))?.len();
    let name = format!("{}.tar", request.title());
    Ok(Archive { name, bytes, last_event: manifest.last_event, file, turn })
}

fn came(made: &Result<Archive>) -> Came {
    match made {
        Ok(Archive { name, bytes, last_event, .. }) => {
            let after = json!({"bytes": bytes, "last_event": last_event});
            Came::Done { object: Some(name.clone()), after: Some(after) }
        }
        Err(failure) => Came::Refused(failure.message.clone()),
    }
}
