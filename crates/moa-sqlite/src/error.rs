//! What can go wrong, told apart by what the caller can do.

use std::path::{Path, PathBuf};

use moa_ports::store;
use rusqlite::ffi;

use crate::seal;

/// Why a store could not be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Another process has it open.
    #[error(
        "{} is in use by another moa{}; stop that one, or talk to it",
        path.display(),
        pid.map(|pid| format!(" (process {pid})")).unwrap_or_default()
    )]
    Locked {
        /// The database.
        path: PathBuf,
        /// The process that has it, when it said so.
        pid: Option<u32>,
    },
    /// It was written by a newer moa.
    #[error(
        "{} has schema {found}, this moa knows up to {known}; install the newer moa",
        path.display()
    )]
    Newer {
        /// The database.
        path: PathBuf,
        /// Its schema number.
        found: u32,
        /// The newest that this binary knows.
        known: u32,
    },
    /// It was written by an older moa, and is read only when it has been upgraded.
    #[error("{} has schema {found}, older than {known}, which this moa reads", path.display())]
    Older {
        /// The database.
        path: PathBuf,
        /// Its schema number.
        found: u32,
        /// The one that this binary reads.
        known: u32,
    },
    /// The file is damaged.
    #[error("{} is damaged: {check}", path.display())]
    Corrupt {
        /// The database.
        path: PathBuf,
        /// Which check failed, and where.
        check: String,
    },
    /// The file is something else.
    #[error("{} is not a database of moa: {found}; nothing was changed", path.display())]
    NotOurs {
        /// The file.
        path: PathBuf,
        /// What it is.
        found: String,
    },
    /// It does not exist.
    #[error("there is no database {}", path.display())]
    Missing {
        /// The database.
        path: PathBuf,
    },
    /// The operating system does not let us.
    #[error("can't open {}: {reason}", path.display())]
    Unavailable {
        /// The file or folder.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// The SQLite that this binary was linked with has known bugs.
    #[error("SQLite {found} can damage databases; build moa with its bundled SQLite ({needed})")]
    OldSqlite {
        /// The version found.
        found: String,
        /// The oldest that will do.
        needed: String,
    },
}

impl From<Error> for store::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Newer { found, known, .. } => Self::Newer { found, known },
            Error::Older { found, known, .. } => Self::Older { found, known },
            Error::Corrupt { path, check } => damage(&path, check),
            Error::NotOurs { path, found } => {
                damage(&path, format!("it is no database of moa: {found}"))
            }
            other => Self::Unavailable(other.to_string()),
        }
    }
}

/// The answer to callers when a file is damaged.
pub(crate) fn damage(path: &Path, check: String) -> store::Error {
    store::Error::Corrupt { place: path.display().to_string(), check }
}

/// Why a call failed, inside this crate.
#[derive(Debug)]
pub(crate) enum Fail {
    /// SQLite says so.
    Sql(rusqlite::Error),
    /// A row holds what it can't hold.
    Data(String),
    /// The call is wrong.
    Invalid(String),
    /// Ordered by a test.
    Ordered(String),
    /// Judged already.
    Judged(Verdict),
}

impl From<rusqlite::Error> for Fail {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<Verdict> for Fail {
    fn from(verdict: Verdict) -> Self {
        Self::Judged(verdict)
    }
}

/// What a failure means for the connection and the caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing was written; the connection is good.
    Refused(String),
    /// Nothing was written; the connection is not to be trusted any more.
    Broken(String),
    /// The data is damaged: which check says so.
    Corrupt(String),
    /// A bug of ours.
    Invalid(String),
}

impl Fail {
    /// What this failure means.
    pub fn verdict(self) -> Verdict {
        match self {
            Self::Data(check) => Verdict::Corrupt(check),
            Self::Invalid(what) => Verdict::Invalid(what),
            Self::Ordered(what) => Verdict::Refused(what),
            Self::Judged(verdict) => verdict,
            Self::Sql(error) => sql_verdict(&error),
        }
    }
}

impl Fail {
    /// What to say about it.
    pub fn text(self) -> String {
        match self.verdict() {
            Verdict::Refused(text)
            | Verdict::Broken(text)
            | Verdict::Corrupt(text)
            | Verdict::Invalid(text) => text,
        }
    }

    /// Whether what is to be written is at fault, and not the database: the same row will never be
    /// taken, and others will.
    pub fn is_of_the_row(&self) -> bool {
        use rusqlite::Error as Sql;
        match self {
            Self::Invalid(_) => true,
            Self::Sql(Sql::ToSqlConversionFailure(_)) => true,
            Self::Sql(Sql::SqliteFailure(code, _)) => matches!(
                code.extended_code & 0xFF,
                ffi::SQLITE_CONSTRAINT
                    | ffi::SQLITE_TOOBIG
                    | ffi::SQLITE_MISMATCH
                    | ffi::SQLITE_RANGE
            ),
            _ => false,
        }
    }
}

/// What to say when there is no room.
const FULL: &str = "the disk is full";

fn sql_verdict(error: &rusqlite::Error) -> Verdict {
    use rusqlite::Error as Sql;
    let text = error.to_string();
    match error {
        Sql::SqliteFailure(code, _) => match (code.extended_code, code.extended_code & 0xFF) {
            (ffi::SQLITE_IOERR_DATA, _) => Verdict::Corrupt(page_damage(text)),
            (_, ffi::SQLITE_CORRUPT | ffi::SQLITE_NOTADB) => Verdict::Corrupt(text),
            (_, ffi::SQLITE_FULL) => Verdict::Refused(FULL.to_owned()),
            // The file that connections share couldn't be made as large as it has to be.
            (ffi::SQLITE_IOERR_SHMSIZE, _) => Verdict::Broken(FULL.to_owned()),
            (_, ffi::SQLITE_BUSY | ffi::SQLITE_LOCKED) => Verdict::Refused(
                "another program writes to the database; let it finish or end it".to_owned(),
            ),
            (_, ffi::SQLITE_IOERR) => Verdict::Broken(format!("reading or writing failed: {text}")),
            (_, ffi::SQLITE_READONLY | ffi::SQLITE_PERM | ffi::SQLITE_CANTOPEN) => {
                Verdict::Broken(text)
            }
            (_, ffi::SQLITE_NOMEM | ffi::SQLITE_INTERRUPT) => Verdict::Refused(text),
            _ => Verdict::Invalid(text),
        },
        Sql::FromSqlConversionFailure(..)
        | Sql::IntegralValueOutOfRange(..)
        | Sql::Utf8Error(..)
        | Sql::InvalidColumnType(..) => Verdict::Corrupt(text),
        _ => Verdict::Invalid(text),
    }
}

fn page_damage(text: String) -> String {
    match seal::last_damage() {
        Some((page, damage)) => format!("page {page} {}", damage.as_str()),
        None => text,
    }
}

impl Verdict {
    /// The answer to the caller.
    pub fn into_error(self, path: &Path) -> store::Error {
        match self {
            Self::Refused(why) | Self::Broken(why) => {
                store::Error::Unavailable(format!("{}: {why}", path.display()))
            }
            Self::Corrupt(check) => damage(path, check),
            Self::Invalid(what) => store::Error::Invalid(what),
        }
    }

    /// The answer to who opens it.
    pub fn into_open_error(self, path: &Path) -> Error {
        let path = path.to_owned();
        match self {
            Self::Corrupt(check) => Error::Corrupt { path, check },
            Self::Refused(reason) | Self::Broken(reason) | Self::Invalid(reason) => {
                Error::Unavailable { path, reason }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_called_so() {
        let said =
            |code| Fail::from(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None)).text();
        assert_eq!(said(ffi::SQLITE_FULL), FULL);
        assert_eq!(said(ffi::SQLITE_IOERR_SHMSIZE), FULL);
        assert_ne!(said(ffi::SQLITE_IOERR_READ), FULL);
    }
}
