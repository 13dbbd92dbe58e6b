//! The audit log: entries that are added to its end, and removed from its beginning.

use moa_ports::audit::{AuditEntry, AuditHash, AuditHead};
use rusqlite::{Connection, params};

use crate::error::Fail;
use crate::read::{collect, sql_limit};
use crate::rows;

/// Adds entries to the end; answers their numbers and hashes.
pub(crate) fn append(conn: &Connection, bodies: &[String]) -> Result<Vec<AuditHead>, Fail> {
    if bodies.is_empty() {
        return Ok(Vec::new());
    }
    let mut newest = head(conn)?;
    let mut stmt =
        conn.prepare_cached("INSERT INTO audit (seq, hash, body) VALUES (?1, ?2, ?3)")?;
    let mut heads = Vec::with_capacity(bodies.len());
    for body in bodies {
        let next = AuditHead::next(newest.as_ref(), body);
        stmt.execute(params![next.seq.cast_signed(), next.hash.0, body])?;
        newest = Some(next);
        heads.push(next);
    }
    Ok(heads)
}

/// Removes entries up to a number; never the newest, which says how the chain goes on.
pub(crate) fn remove(conn: &Connection, upto: u64) -> Result<(), Fail> {
    if upto == 0 {
        return Ok(());
    }
    let mut stmt = conn.prepare_cached(
        "DELETE FROM audit WHERE seq <= ?1 AND seq < (SELECT max(seq) FROM audit)",
    )?;
    stmt.execute(params![i64::try_from(upto).unwrap_or(i64::MAX)])?;
    Ok(())
}

/// The newest entry.
pub(crate) fn head(conn: &Connection) -> Result<Option<AuditHead>, Fail> {
    let mut stmt = conn.prepare_cached("SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1")?;
    let mut found = stmt.query([])?;
    let Some(row) = found.next()? else { return Ok(None) };
    Ok(Some(AuditHead { seq: rows::count(row, 0)?, hash: AuditHash(row.get(1)?) }))
}

/// Entries behind a number, in order.
pub(crate) fn entries(
    conn: &Connection,
    after: u64,
    limit: usize,
) -> Result<Vec<AuditEntry>, Fail> {
    let mut stmt = conn
        .prepare_cached("SELECT seq, hash, body FROM audit WHERE seq > ?1 ORDER BY seq LIMIT ?2")?;
    let after = i64::try_from(after).unwrap_or(i64::MAX);
    collect(stmt.query(params![after, sql_limit(limit)])?, |row| {
        let (seq, hash) = (rows::count(row, 0)?, AuditHash(row.get(1)?));
        Ok(AuditEntry { seq, hash, body: row.get(2)? })
    })
}
