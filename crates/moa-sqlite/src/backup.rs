//! Copies a database beside a node that writes to it, and checks copies.
//!
//! The copy is made by SQLite's backup API on a connection of its own that holds one reading
//! transaction from the first page to the last: it is the database at one instant, between two
//! batches. Nobody waits for it; only the write-ahead log can't be shortened meanwhile. Every page is
//! checked when it is read, and sealed again when it is written.

use std::fs::File;
use std::ops::ControlFlow;
use std::path::Path;

use moa_ports::artifacts::ArtifactHash;
use rusqlite::Connection;
use rusqlite::backup::{Backup, StepResult};

use crate::error::{Error, Fail};
use crate::schema::{self, SCHEMA};
use crate::views::has_log;
use crate::{log, raw, read, scan, verify};

/// Pages copied between two calls of who is told the progress.
const PAGES: std::ffi::c_int = 4096;
/// The first schema that knows which artifacts are needed.
const ARTIFACTS_SINCE: u32 = 3;

/// What was copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copied {
    /// The schema of the copy.
    pub schema: u32,
    /// The newest event in it.
    pub last_event: u64,
    /// The artifacts that its runs refer to; `None` = it is too old to know.
    pub artifacts: Option<Vec<ArtifactHash>>,
}

/// Copies the database at `from` to a new file `to`, which must not exist. `live` says that a node
/// may be writing to it; else the caller makes sure that none starts. `told` gets the pages copied so
/// far and those of all, and may end it.
///
/// # Errors
/// As for opening a store; [`Error::Corrupt`] when a page of the original is damaged;
/// [`Error::Unavailable`] when it was ended. What was written to `to` is then of no use.
pub fn copy(
    from: &Path,
    to: &Path,
    live: bool,
    told: &mut dyn FnMut(u64, u64) -> ControlFlow<()>,
) -> Result<Copied, Error> {
    if !from.exists() {
        return Err(Error::Missing { path: from.to_owned() });
    }
    // Closed after the connection: the store of this very process may be closed meanwhile, and whoever
    // closes the last descriptor takes the connection's locks away.
    let unavailable =
        |e: std::io::Error| Error::Unavailable { path: from.to_owned(), reason: e.to_string() };
    let _file = raw::open(from).map_err(unavailable)?;
    schema::check(from)?;
    let still = !live && !has_log(from);
    let source = schema::open_any(from, still)?;
    if to.exists() {
        let reason = "there is a file already".to_owned();
        return Err(Error::Unavailable { path: to.to_owned(), reason });
    }
    let mut target = schema::open_target(to)?;
    copy_pages(&source, &mut target, from, to, told)?;
    target.close().map_err(|(_, e)| Fail::from(e).verdict().into_open_error(to))?;
    sync(to)?;
    let copy = schema::open_any(to, true)?;
    describe(&copy).map_err(|fail| fail.verdict().into_open_error(to))
}

fn copy_pages(
    source: &Connection,
    target: &mut Connection,
    from: &Path,
    to: &Path,
    told: &mut dyn FnMut(u64, u64) -> ControlFlow<()>,
) -> Result<(), Error> {
    let of_source = |e: rusqlite::Error| Fail::from(e).verdict().into_open_error(from);
    // One transaction over all steps: without it a commit beside it starts the copy over again.
    let snapshot = source.unchecked_transaction().map_err(of_source)?;
    snapshot.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(())).map_err(of_source)?;
    let backup = Backup::new(source, target).map_err(of_source)?;
    loop {
        let step = backup.step(PAGES).map_err(|e| {
            // Only the original is read, and only the copy can lack room.
            let error = Fail::from(e).verdict().into_open_error(from);
            match error {
                Error::Unavailable { reason, .. } => {
                    Error::Unavailable { path: to.to_owned(), reason }
                }
                other => other,
            }
        })?;
        let progress = backup.progress();
        let count = |pages: std::ffi::c_int| u64::try_from(pages).unwrap_or(0);
        let copied = count(progress.pagecount - progress.remaining);
        if told(copied, count(progress.pagecount)).is_break() {
            let reason = "the copy was ended before it was whole".to_owned();
            return Err(Error::Unavailable { path: to.to_owned(), reason });
        }
        match step {
            StepResult::Done => return Ok(()),
            StepResult::More => {}
            _ => {
                let reason = "another program uses it".to_owned();
                return Err(Error::Unavailable { path: to.to_owned(), reason });
            }
        }
    }
}

fn sync(path: &Path) -> Result<(), Error> {
    let synced = File::open(path).and_then(|file| file.sync_all());
    synced.map_err(|e| Error::Unavailable { path: path.to_owned(), reason: e.to_string() })
}

fn describe(copy: &Connection) -> Result<Copied, Fail> {
    let schema: u32 = copy.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let last_event = crate::queries::last_event(copy)?;
    let artifacts = match schema >= ARTIFACTS_SINCE {
        true => {
            let mut stmt = copy.prepare("SELECT DISTINCT hash FROM artifacts ORDER BY hash")?;
            Some(read::collect(stmt.query([])?, |row| Ok(row.get(0)?))?)
        }
        false => None,
    };
    Ok(Copied { schema, last_event, artifacts })
}

/// Checks a database that nobody uses: every page, SQLite's structures, and, when it is of this
/// schema, what must hold between the rows. Answers its schema.
///
/// # Errors
/// [`Error::Corrupt`] says what is wrong first; [`Error::Newer`] when this moa can't read it.
pub fn check(path: &Path) -> Result<u32, Error> {
    if !path.exists() {
        return Err(Error::Missing { path: path.to_owned() });
    }
    schema::check(path)?;
    log::check(path)?;
    scan::whole(path)?;
    let conn = schema::open_any(path, !has_log(path))?;
    let failed = |fail: Fail| fail.verdict().into_open_error(path);
    let schema: u32 = conn
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .map_err(|e| failed(e.into()))?;
    if schema > SCHEMA {
        return Err(Error::Newer { path: path.to_owned(), found: schema, known: SCHEMA });
    }
    let wrong = match schema == SCHEMA {
        true => verify::all(&conn, path),
        false => verify::structures(&conn),
    };
    match wrong.map_err(failed)?.into_iter().next() {
        Some(check) => Err(Error::Corrupt { path: path.to_owned(), check }),
        None => Ok(schema),
    }
}
