//! Secrets, sealed by whoever writes them.

use std::collections::BTreeSet;

use moa_core::time::Millis;
use moa_ports::sealed::{SealedRow, SealedWrite};
use rusqlite::{Connection, OptionalExtension, params};

use crate::error::Fail;
use crate::read::collect;
use crate::rows;

/// Writes changes, all or none; whether it did.
pub(crate) fn write(conn: &Connection, now: Millis, writes: &[SealedWrite]) -> Result<bool, Fail> {
    let mut names = BTreeSet::new();
    for write in writes {
        let mut stmt = conn.prepare_cached("SELECT version FROM secrets WHERE name = ?1")?;
        let version: Option<i64> = stmt.query_row([&write.name], |row| row.get(0)).optional()?;
        if version.unwrap_or(0) != sql_version(write.expected) || !names.insert(&write.name) {
            return Ok(false);
        }
    }
    for SealedWrite { name, expected, sealed } in writes {
        match sealed {
            Some(sealed) => conn
                .prepare_cached(
                    "INSERT INTO secrets (name, version, sealed, changed_at) \
                     VALUES (?1, ?2, ?3, ?4) ON CONFLICT (name) DO UPDATE SET \
                     version = excluded.version, sealed = excluded.sealed, \
                     changed_at = excluded.changed_at",
                )?
                .execute(params![name, sql_version(*expected).saturating_add(1), sealed, now.0])?,
            None => conn.prepare_cached("DELETE FROM secrets WHERE name = ?1")?.execute([name])?,
        };
    }
    Ok(true)
}

fn sql_version(version: u64) -> i64 {
    i64::try_from(version).unwrap_or(i64::MAX)
}

/// All of them, by name.
pub(crate) fn all(conn: &Connection) -> Result<Vec<SealedRow>, Fail> {
    let mut stmt =
        conn.prepare_cached("SELECT name, version, sealed, changed_at FROM secrets ORDER BY name")?;
    collect(stmt.query([])?, |row| {
        let version = rows::count(row, 1)?;
        let changed_at = Millis(row.get(3)?);
        Ok(SealedRow { name: row.get(0)?, version, sealed: row.get(2)?, changed_at })
    })
}
