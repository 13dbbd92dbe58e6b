//! What attempts wrote, wherever it is kept.

use std::path::PathBuf;

use moa_core::ids::RunId;

use crate::exit::{Failure, Result};
use crate::place::Place;
use crate::wire::{self, LogFile, LogPart};

/// Bytes read at once.
const PIECE: usize = 64 << 10;

/// The log of one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// The step, as people name it: `lint[2]`.
    pub name: String,
    /// The attempt, from 1.
    pub attempt: u32,
    /// Bytes that are kept.
    pub bytes: u64,
    /// The file, on this machine.
    pub path: Option<PathBuf>,
}

impl From<LogFile> for Log {
    fn from(file: LogFile) -> Self {
        let LogFile { step, iteration, attempt, path, bytes } = file;
        let name = if iteration.is_empty() { step } else { format!("{step}[{iteration}]") };
        Self { name, attempt, bytes, path: Some(path) }
    }
}

/// The logs of a run, by step, iteration and attempt.
pub async fn list(place: &Place, run: RunId) -> Result<Vec<Log>> {
    match place {
        Place::Here(layout) => {
            Ok(wire::list_logs(layout, run)?.into_iter().map(Log::from).collect())
        }
        Place::There(remote) => remote.logs(run).await,
    }
}

/// A piece of a log, from byte `from` of what the attempt wrote.
pub async fn part(place: &Place, run: RunId, log: &Log, from: u64) -> Result<LogPart> {
    match (place, &log.path) {
        (Place::Here(_), Some(path)) => wire::read_log(path, from, PIECE),
        (Place::Here(_), None) => Err(Failure::not_found("the log is gone")),
        (Place::There(remote), _) => remote.log_part(run, log, from).await,
    }
}
