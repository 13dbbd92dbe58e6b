//! Opens the file: is it ours, is it whole, is it of this schema; and makes a new one.

use std::ffi::OsString;
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use crate::Options;
use crate::checkpoint;
use crate::error::{Error, Fail};
use crate::log;
use crate::raw;
use crate::scan;
use crate::seal;

/// Says that a SQLite file is moa's: "moa1".
const APPLICATION_ID: i32 = 0x6D6F_6131;
/// Bytes of a page. Of 4, 8 and 16 KiB the largest takes 5 to 10 % more steps a second in large
/// batches, but writes four times as much for a batch of one.
pub(crate) const PAGE_BYTES: u32 = 4096;
/// SQLite before 3.51.3 can damage a database when its log is reset while another connection
/// checkpoints (<https://sqlite.org/wal.html#walresetbug>).
const SQLITE_VERSION_MIN: i32 = 3_051_003;

/// Migrations, in order; the number of the last one is the schema's.
const MIGRATIONS: [&str; 15] = [
    include_str!("migrations/0001_init.sql"),
    include_str!("migrations/0002_roots.sql"),
    include_str!("migrations/0003_retention.sql"),
    include_str!("migrations/0004_limits.sql"),
    include_str!("migrations/0005_triggers.sql"),
    include_str!("migrations/0006_events.sql"),
    include_str!("migrations/0007_agents.sql"),
    include_str!("migrations/0008_audit.sql"),
    include_str!("migrations/0009_rules.sql"),
    include_str!("migrations/0010_shared_runs.sql"),
    include_str!("migrations/0011_fairness.sql"),
    include_str!("migrations/0012_asks.sql"),
    include_str!("migrations/0013_notifications.sql"),
    include_str!("migrations/0014_channels.sql"),
    include_str!("migrations/0015_published.sql"),
];

/// The schema that this binary writes.
pub const SCHEMA: u32 = MIGRATIONS.len() as u32;

/// What to do when readers keep the log of before from being moved into the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OldLog {
    /// Go on with it: it is good.
    MayStay,
    /// Fail: it could not be synced, so nothing may be added to it.
    MustGo,
}

impl OldLog {
    /// How long to wait for readers that are in the way.
    fn patience(self) -> Duration {
        match self {
            Self::MayStay => Duration::ZERO,
            // Long enough for a look at a run; whoever calls tries again.
            Self::MustGo => Duration::from_millis(100),
        }
    }
}

/// Opens the connection that writes; the caller holds the lock. Whoever keeps the connection keeps the
/// file too: see [`raw`].
pub(crate) fn open_writer(
    path: &Path,
    options: &Options,
    old_log: OldLog,
) -> Result<(Connection, Arc<File>), Error> {
    prepare(path)?;
    if !path.exists() {
        // A log without its database is what is left of one that was deleted or moved.
        if scan::size(&beside(path, "-wal")) > 0 {
            return Err(damaged(path, "the file is gone, and its write-ahead log is still there"));
        }
        create(path, options)?;
    }
    check_header(path)?;
    if options.synchronous_full {
        log::check(path)?;
    }
    let file = raw::open(path)
        .map_err(|e| Error::Unavailable { path: path.to_owned(), reason: e.to_string() })?;
    let conn = connect(path, path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    settings(&conn, options).map_err(|problem| problem.into_error(path))?;
    // After a power cut the file may hold half-written pages that the log has whole: only what is
    // left when the log has been moved can be called damaged.
    let moved = checkpoint::finish(&conn, options, old_log.patience());
    let moved = moved.map_err(|fail| fail.verdict().into_open_error(path))?;
    if !moved && old_log == OldLog::MustGo {
        let reason = "a reader holds the log; try again".to_owned();
        return Err(Error::Unavailable { path: path.to_owned(), reason });
    }
    if moved && scan::size(path) <= options.scan_at_open_bytes_max {
        scan::whole(path)?;
    }
    migrate(&conn, path, SCHEMA).map_err(|problem| problem.into_error(path))?;
    Ok((conn, file))
}

/// Makes a new database under another name and renames it when it is complete, so that there is
/// never half of one.
fn create(path: &Path, options: &Options) -> Result<(), Error> {
    let unavailable =
        |e: std::io::Error| Error::Unavailable { path: path.to_owned(), reason: e.to_string() };
    let new = beside(path, ".new");
    for suffix in ["", "-wal", "-shm", "-journal"] {
        match std::fs::remove_file(beside(&new, suffix)) {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(unavailable(e)),
            _ => {}
        }
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
    let conn = connect(&new, path, flags)?;
    let made = settings(&conn, options).and_then(|()| migrate(&conn, path, SCHEMA));
    made.map_err(|problem| problem.into_error(path))?;
    // Closing the only connection moves the log into the file and deletes it.
    conn.close().map_err(|(_, e)| Fail::from(e).verdict().into_open_error(path))?;
    File::open(&new).and_then(|file| file.sync_all()).map_err(unavailable)?;
    std::fs::rename(&new, path).map_err(unavailable)?;
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(unavailable)
}

/// A new database as the moa of an earlier schema made it.
#[cfg(test)]
pub(crate) fn of_number(path: &Path, number: u32) -> Result<Connection, Error> {
    prepare(path)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
    let conn = connect(path, path, flags)?;
    let made = settings(&conn, &Options::default()).and_then(|()| migrate(&conn, path, number));
    made.map_err(|problem| problem.into_error(path)).map(|()| conn)
}

/// The path with something added to its name.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}

/// Opens a connection that reads, beside a running node (or after one was killed).
pub(crate) fn open_reader(path: &Path) -> Result<Connection, Error> {
    prepare(path)?;
    let conn = connect(path, path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    reader_settings(&conn, path)?;
    Ok(conn)
}

/// Opens a connection that reads a file to which nobody writes: needs no right to write anything
/// and makes no file.
pub(crate) fn open_still(path: &Path) -> Result<Connection, Error> {
    prepare(path)?;
    let uri = format!("file:{}?immutable=1", escaped(path));
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
    let conn = connect(Path::new(&uri), path, flags)?;
    reader_settings(&conn, path)?;
    Ok(conn)
}

/// Opens a connection that reads a database of any schema. `still` says that nobody writes to it.
pub(crate) fn open_any(path: &Path, still: bool) -> Result<Connection, Error> {
    prepare(path)?;
    let conn = match still {
        true => {
            let uri = format!("file:{}?immutable=1", escaped(path));
            let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
            connect(Path::new(&uri), path, flags)?
        }
        false => connect(path, path, OpenFlags::SQLITE_OPEN_READ_ONLY)?,
    };
    plain_settings(&conn).map_err(|problem| problem.into_error(path))?;
    Ok(conn)
}

/// Opens a connection to a new file that a whole database is copied into: of no use until that is
/// done, so nothing is synced before.
pub(crate) fn open_target(path: &Path) -> Result<Connection, Error> {
    prepare(path)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
    let conn = connect(path, path, flags)?;
    let set = || -> Result<(), Problem> {
        conn.pragma_update(None, "journal_mode", "off")?;
        conn.pragma_update(None, "synchronous", "off")?;
        Ok(())
    };
    set().map_err(|problem| problem.into_error(path))?;
    Ok(conn)
}

/// What must hold before any file is opened.
fn prepare(path: &Path) -> Result<(), Error> {
    if rusqlite::version_number() < SQLITE_VERSION_MIN {
        let (found, needed) = (rusqlite::version().to_owned(), "3.51.3".to_owned());
        return Err(Error::OldSqlite { found, needed });
    }
    seal::register().map_err(|reason| Error::Unavailable { path: path.to_owned(), reason })
}

fn connect(name: &Path, path: &Path, flags: OpenFlags) -> Result<Connection, Error> {
    // Each connection belongs to one thread.
    let flags = flags | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let open = || {
        let conn = Connection::open_with_flags_and_vfs(name, flags, seal::VFS)?;
        // Else SQLite prepares some statements again whenever another value is bound to them.
        conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
        Ok(conn)
    };
    open().map_err(|e: rusqlite::Error| Fail::from(e).verdict().into_open_error(path))
}

/// Whether the file at `path` is a database of this moa that can be read.
pub(crate) fn check(path: &Path) -> Result<(), Error> {
    check_header(path)?;
    log::check(path)
}

/// Why the database can't be used, before its path is known.
enum Problem {
    Fail(Fail),
    Newer(u32),
    Older(u32),
    NotOurs(String),
}

impl<T: Into<Fail>> From<T> for Problem {
    fn from(fail: T) -> Self {
        Self::Fail(fail.into())
    }
}

impl Problem {
    fn into_error(self, path: &Path) -> Error {
        let path = path.to_owned();
        match self {
            Self::Fail(fail) => fail.verdict().into_open_error(&path),
            Self::Newer(found) => Error::Newer { path, found, known: SCHEMA },
            Self::Older(found) => Error::Older { path, found, known: SCHEMA },
            Self::NotOurs(found) => Error::NotOurs { path, found },
        }
    }
}

/// Reads the first bytes: a file of another kind is refused before SQLite touches it.
fn check_header(path: &Path) -> Result<(), Error> {
    let unavailable =
        |e: std::io::Error| Error::Unavailable { path: path.to_owned(), reason: e.to_string() };
    let mut header = [0; 100];
    match raw::open(path).and_then(|file| file.read_exact_at(&mut header, 0)) {
        Err(e) if e.kind() == ErrorKind::UnexpectedEof => {
            return Err(damaged(path, "the header is cut off"));
        }
        read => read.map_err(unavailable)?,
    }
    if !header.starts_with(b"SQLite format 3\0") {
        let check = "the header does not say that it is a SQLite database";
        return Err(damaged(path, check));
    }
    let id = i32::from_be_bytes([header[68], header[69], header[70], header[71]]);
    if id != APPLICATION_ID {
        let found = format!("a SQLite database of another program (application id {id})");
        return Err(Error::NotOurs { path: path.to_owned(), found });
    }
    if header[20] != 8 {
        return Err(damaged(path, "the header leaves no room for checksums"));
    }
    Ok(())
}

fn damaged(path: &Path, check: &str) -> Error {
    Error::Corrupt { path: path.to_owned(), check: check.to_owned() }
}

fn settings(conn: &Connection, options: &Options) -> Result<(), Problem> {
    conn.busy_timeout(options.busy)?;
    conn.set_prepared_statement_cache_capacity(64);
    let pages: i64 = conn.pragma_query_value(None, "page_count", |row| row.get(0))?;
    if pages == 0 {
        conn.pragma_update(None, "page_size", PAGE_BYTES)?;
        seal::reserve(conn).map_err(Fail::Invalid)?;
    }
    let mode: String =
        conn.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0))?;
    if mode != "wal" {
        let what = format!("the file system allows no write-ahead log (got {mode})");
        return Err(Problem::Fail(Fail::Invalid(what)));
    }
    conn.pragma_update(None, "synchronous", if options.synchronous_full { 2 } else { 1 })?;
    conn.pragma_update(None, "cache_size", -i64::from(options.cache_kib))?;
    conn.pragma_update(None, "temp_store", "memory")?;
    // The writer checkpoints between batches, so that no batch waits for it inside its commit.
    conn.pragma_update(None, "wal_autocheckpoint", 0)?;
    Ok(())
}

fn plain_settings(conn: &Connection) -> Result<(), Problem> {
    conn.busy_timeout(Duration::from_secs(5))?;
    conn.set_prepared_statement_cache_capacity(32);
    conn.pragma_update(None, "cache_size", -1024)?;
    conn.pragma_update(None, "temp_store", "memory")?;
    conn.pragma_update(None, "query_only", true)?;
    Ok(())
}

fn reader_settings(conn: &Connection, path: &Path) -> Result<(), Error> {
    let set = || -> Result<(), Problem> {
        plain_settings(conn)?;
        match schema_of(conn)? {
            0 => Err(Problem::NotOurs("it is empty; no moa has started on it yet".to_owned())),
            found if found > SCHEMA => Err(Problem::Newer(found)),
            // An older schema is read as it is only by the moa that wrote it.
            found if found < SCHEMA => Err(Problem::Older(found)),
            _ => Ok(()),
        }
    };
    set().map_err(|problem| problem.into_error(path))
}

fn schema_of(conn: &Connection) -> Result<u32, Problem> {
    let id: i32 = conn.pragma_query_value(None, "application_id", |row| row.get(0))?;
    if id != APPLICATION_ID && id != 0 {
        return Err(Problem::NotOurs(format!("its application id is {id}")));
    }
    Ok(conn.pragma_query_value(None, "user_version", |row| row.get(0))?)
}

/// Brings the schema up to date: each migration in a transaction of its own.
fn migrate(conn: &Connection, path: &Path, to: u32) -> Result<(), Problem> {
    let found = schema_of(conn)?;
    if found > SCHEMA {
        return Err(Problem::Newer(found));
    }
    if found == 0 {
        let tables: i64 =
            conn.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
        if tables > 0 {
            let what = format!("{} has tables, but no schema number", path.display());
            return Err(Problem::NotOurs(what));
        }
    }
    for (number, migration) in (1..=to).zip(MIGRATIONS).skip(found as usize) {
        conn.execute_batch(&format!(
            "BEGIN IMMEDIATE;\n{migration}\nPRAGMA application_id = {APPLICATION_ID};\n\
             PRAGMA user_version = {number};\nCOMMIT;"
        ))?;
    }
    Ok(())
}

/// The path in a `file:` URI: everything but the plainest characters percent-encoded.
fn escaped(path: &Path) -> String {
    let mut text = String::new();
    for &byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => {
                text.push(char::from(byte));
            }
            _ => text.push_str(&format!("%{byte:02X}")),
        }
    }
    text
}
