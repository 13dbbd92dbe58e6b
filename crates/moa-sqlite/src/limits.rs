//! What has been used of agents' limits.

use std::collections::BTreeSet;

use moa_core::ids::RunId;
use moa_ports::limit::{LimitRow, LimitWrite};
use moa_ports::store::BatchOutcome;
use rusqlite::{Connection, params};

use crate::error::Fail;
use crate::read::collect;
use crate::rows;

/// Writes what may be written; answers the runs whose attempts were counted in vain.
pub(crate) fn write(
    conn: &Connection,
    writes: &[LimitWrite],
    outcome: &mut BatchOutcome,
) -> Result<BTreeSet<RunId>, Fail> {
    let mut refused = BTreeSet::new();
    for write in writes {
        let wrong = |e: serde_json::Error| Fail::Invalid(e.to_string());
        let state = serde_json::to_string(&write.state).map_err(wrong)?;
        let expected = i64::try_from(write.expected).unwrap_or(i64::MAX);
        let changed = match expected {
            0 => conn
                .prepare_cached(
                    "INSERT INTO limits (agent, version, state) VALUES (?1, 1, ?2) \
                     ON CONFLICT (agent) DO NOTHING",
                )?
                .execute(params![write.agent.as_str(), state])?,
            _ => conn
                .prepare_cached(
                    "UPDATE limits SET version = version + 1, state = ?3 \
                     WHERE agent = ?1 AND version = ?2",
                )?
                .execute(params![write.agent.as_str(), expected, state])?,
        };
        if changed == 0 {
            outcome.limits_refused.push(write.agent.clone());
            refused.extend(write.runs.iter().copied());
        }
    }
    Ok(refused)
}

/// All rows, by agent.
pub(crate) fn all(conn: &Connection) -> Result<Vec<LimitRow>, Fail> {
    let mut stmt =
        conn.prepare_cached("SELECT agent, version, state FROM limits ORDER BY agent")?;
    collect(stmt.query([])?, |row| {
        let agent = rows::name(row, 0)?;
        let state = rows::json(row, 2)?;
        let state = state.ok_or_else(|| Fail::Data(format!("limits of {agent} are empty")))?;
        Ok(LimitRow { agent, version: rows::count(row, 1)?, state })
    })
}
