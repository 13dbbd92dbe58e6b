//! Faults to order, for tests: at the boundaries of a commit ([`Failpoints`]) and in the files
//! themselves ([`IoFaults`]). A store opened without them has none.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// A boundary of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    /// Nothing is written yet.
    BeforeBegin,
    /// All rows are written, the transaction is not committed.
    BeforeCommit,
    /// The transaction is durable, nobody knows it yet.
    AfterCommit,
}

/// Says where a commit fails. Before the commit, the store answers `Unavailable` and nothing is
/// written; after it, it answers `Unknown` although all is written.
pub trait Failpoints: Send + Sync {
    /// Whether to fail here, and what to say.
    fn fail(&self, point: Point) -> Option<String>;
}

/// An access to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IoOp {
    /// `pread`
    Read,
    /// `pwrite`
    Write,
    /// `fsync`, `fdatasync`
    Sync,
}

/// A file of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// The database itself.
    Database,
    /// The write-ahead log.
    Log,
    /// Any other file that SQLite opens.
    Other,
}

/// How an access fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IoFault {
    /// EIO
    Failed,
    /// ENOSPC; of a write only.
    Full,
}

/// Says which accesses of a file fail.
pub trait IoFaults: Send + Sync {
    /// Whether this access fails, and how.
    fn check(&self, op: IoOp, file: FileKind) -> Option<IoFault>;
}

/// Who orders faults of which database.
static ORDERED: Mutex<BTreeMap<PathBuf, Arc<dyn IoFaults>>> = Mutex::new(BTreeMap::new());

/// Orders faults for every file of a database that is opened from now on; `None` = no more.
pub(crate) fn order(database: &Path, faults: Option<Arc<dyn IoFaults>>) {
    let mut ordered = ORDERED.lock().unwrap_or_else(PoisonError::into_inner);
    match faults {
        Some(faults) => ordered.insert(database.to_owned(), faults),
        None => ordered.remove(database),
    };
}

/// The faults ordered for a file: a database, or one beside it (`-wal`, `-journal`).
pub(crate) fn io_faults(file: &Path) -> Option<Arc<dyn IoFaults>> {
    let ordered = ORDERED.lock().unwrap_or_else(PoisonError::into_inner);
    let name = file.as_os_str().as_encoded_bytes();
    let of = |database: &Path| name.starts_with(database.as_os_str().as_encoded_bytes());
    ordered.iter().find(|(database, _)| of(database)).map(|(_, faults)| Arc::clone(faults))
}
