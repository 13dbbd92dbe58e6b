//! When the write-ahead log is moved into the database, and when it is cut.
//!
//! Nobody ever waits for a reader: while one looks at the database as it was, only what is older can
//! be moved, and the log grows. It is tried again from time to time, and whoever watches is told when
//! the log has become long; once the reader has gone, the log is moved and cut to nothing.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::Connection;

use crate::Options;
use crate::error::Fail;
use crate::scan;
use crate::schema::{PAGE_BYTES, beside};

/// A log longer than this many times the pages at which it is moved is cut, not just used again.
const LOG_OVERGROWN: u64 = 8;
/// Bytes of a log that is called long.
pub(crate) const LOG_BYTES_LONG: u64 = 256 << 20;
/// How long to wait after a reader was in the way.
pub(crate) const LOG_RETRY: Duration = Duration::from_secs(1);

/// The length of the write-ahead log, when there is something to say about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogLength {
    /// A reader keeps it from being cut, and it has become long; said again when it has doubled.
    Long {
        /// Its length now.
        bytes: u64,
    },
    /// It was long, and has been cut.
    Cut,
}

/// Looks after the log.
pub(crate) struct Checkpoints {
    log: PathBuf,
    /// Bytes beyond which it is cut.
    overgrown: u64,
    /// Whether something may be in it that is not in the database.
    dirty: bool,
    /// A reader was in the way; not tried again before.
    not_before: Option<Instant>,
    /// Its length when that was last said.
    told: u64,
}

/// What a checkpoint left.
struct Left {
    /// Whether somebody kept it from being complete.
    hindered: bool,
    /// Pages that are not in the database yet.
    pages: i64,
}

impl Checkpoints {
    pub fn new(database: &Path, options: &Options) -> Self {
        let pages = LOG_OVERGROWN * u64::from(options.checkpoint_pages);
        let overgrown = (pages * u64::from(PAGE_BYTES)).min(options.log_bytes_long);
        let log = beside(database, "-wal");
        Self { log, overgrown, dirty: true, not_before: None, told: 0 }
    }

    /// Something was written.
    pub fn wrote(&mut self) {
        self.dirty = true;
    }

    /// How long to wait for calls before the time is used for the log; `None` = for ever.
    pub fn patience(&self, now: Instant, options: &Options) -> Option<Duration> {
        let wait = self.not_before.map_or(Duration::ZERO, |at| at.saturating_duration_since(now));
        self.dirty.then(|| options.idle.max(wait))
    }

    /// Moves the log into the database if at least `pages` of it aren't there, and cuts it if it has
    /// grown too long. Waits for nobody.
    pub fn run(&mut self, conn: &Connection, options: &Options, pages: i64) -> Result<(), Fail> {
        let now = Instant::now();
        if self.not_before.is_some_and(|at| now < at) {
            return Ok(());
        }
        let bytes = scan::size(&self.log);
        let overgrown = bytes > self.overgrown;
        let before = checkpoint(conn, Mode::Look)?;
        if before.pages < pages.max(1) && !overgrown {
            self.dirty = before.pages > 0;
            return Ok(());
        }
        let after = match overgrown {
            true => cut(conn, options, Duration::ZERO)?,
            false => checkpoint(conn, Mode::Move)?,
        };
        let hindered = after.hindered || after.pages >= pages.max(1);
        self.dirty = hindered || after.pages > 0;
        self.not_before = hindered.then(|| now + options.log_retry);
        self.tell(options, if hindered { bytes } else { scan::size(&self.log) });
        Ok(())
    }

    /// Tells who watches when the log has become long, and when it is short again.
    fn tell(&mut self, options: &Options, bytes: u64) {
        let news = if bytes >= options.log_bytes_long.max(self.told.saturating_mul(2)) {
            self.told = bytes;
            LogLength::Long { bytes }
        } else if self.told > 0 && bytes < options.log_bytes_long {
            self.told = 0;
            LogLength::Cut
        } else {
            return;
        };
        if let Some(watch) = &options.watch_log {
            watch(news);
        }
    }
}

/// Moves the whole log into the database and cuts it to nothing. False when somebody was in the way
/// for so long.
pub(crate) fn finish(
    conn: &Connection,
    options: &Options,
    patience: Duration,
) -> Result<bool, Fail> {
    cut(conn, options, patience).map(|left| !left.hindered)
}

/// The only checkpoint that could wait for readers: it waits so long.
fn cut(conn: &Connection, options: &Options, patience: Duration) -> Result<Left, Fail> {
    conn.busy_timeout(patience)?;
    let left = checkpoint(conn, Mode::Cut);
    conn.busy_timeout(options.busy)?;
    left
}

#[derive(Debug, Clone, Copy)]
enum Mode {
    /// Change nothing.
    Look,
    /// Move what can be moved while others read.
    Move,
    /// The same; then cut the log to nothing, if nobody reads from it.
    Cut,
}

fn checkpoint(conn: &Connection, mode: Mode) -> Result<Left, Fail> {
    let mut stmt = conn.prepare_cached(match mode {
        Mode::Look => "PRAGMA wal_checkpoint(NOOP)",
        Mode::Move => "PRAGMA wal_checkpoint(PASSIVE)",
        Mode::Cut => "PRAGMA wal_checkpoint(TRUNCATE)",
    })?;
    let row = stmt.query_row([], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?, row.get(2)?)))?;
    let (hindered, log, moved): (bool, i64, i64) = row;
    Ok(Left { hindered, pages: log - moved })
}
