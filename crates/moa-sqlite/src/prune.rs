//! Deletes old runs with all that belongs to them.

use moa_core::time::Millis;
use rusqlite::{Connection, params};

use crate::error::Fail;
use crate::read::sql_limit;

/// Deletes terminal runs that ended before `before`, oldest first; answers how many.
pub(crate) fn runs(conn: &Connection, before: Millis, limit: usize) -> Result<usize, Fail> {
    let mut stmt = conn.prepare_cached(
        "SELECT no, id FROM runs WHERE finished_at IS NOT NULL AND finished_at < ?1 \
         AND status >= 4 ORDER BY finished_at, id LIMIT ?2",
    )?;
    let old =
        stmt.query_map(params![before.0, sql_limit(limit)], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let old: Vec<(i64, [u8; 16])> = old.collect::<Result<_, _>>()?;
    for &(no, id) in &old {
        conn.prepare_cached("DELETE FROM messages WHERE run = ?1")?.execute([id])?;
        for sql in OF_RUN {
            conn.prepare_cached(sql)?.execute([no])?;
        }
    }
    Ok(old.len())
}

const OF_RUN: [&str; 7] = [
    "DELETE FROM steps WHERE run_no = ?1",
    "DELETE FROM history WHERE run_no = ?1",
    "DELETE FROM timers WHERE run_no = ?1",
    "DELETE FROM waits WHERE run_no = ?1",
    "DELETE FROM slots WHERE run_no = ?1",
    "DELETE FROM run_params WHERE run_no = ?1",
    "DELETE FROM runs WHERE no = ?1",
];
