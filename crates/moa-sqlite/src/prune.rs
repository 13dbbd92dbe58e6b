//! Deletes what is old, in small parts.
//!
//! A run is gone for every reader in the transaction that deletes its row; the rows that it had may
//! be a million, so they go part by part, in this transaction and the next calls. Until then the
//! run's number stands in `doomed`, also over a restart.

use moa_core::ids::RunId;
use moa_core::run::RunStatus;
use moa_core::time::Millis;
use moa_core::workflow::NOTIFY_WORKFLOW;
use moa_ports::store::{Old, PruneAsk, PruneMark, Pruned};
use rusqlite::{Connection, params};

use crate::error::Fail;
use crate::read::{collect, sql_limit};
use crate::rows;
use crate::write::{State, set_counter};

/// Rows deleted in one call: bounds how long who writes meanwhile has to wait.
const ROWS_MAX: usize = 4096;

/// Deletes some of what is old; the caller has begun the transaction and ends it.
pub(crate) fn old(conn: &Connection, state: &mut State, ask: &PruneAsk) -> Result<Pruned, Fail> {
    let pruned = match ask.what {
        Old::Runs(status) | Old::Notifications(status) => runs(conn, state, status, ask)?,
        Old::History(status) => history(conn, status, ask)?,
        Old::Keys => keys(conn, ask)?,
        Old::Occurrences => occurrences(conn, ask)?,
        Old::Published => published(conn, ask)?,
    };
    if !pruned.runs.is_empty() || pruned.published > 0 {
        // The rows alone don't tell any more which event was the newest.
        set_counter(conn, "event", state.last_event())?;
    }
    Ok(pruned)
}

/// A run that has ended.
struct Ended {
    no: i64,
    run: RunId,
    at: Millis,
    key: Option<String>,
    /// Whether the run that started it goes on.
    held: bool,
}

impl Ended {
    fn mark(&self) -> PruneMark {
        PruneMark(self.at, self.no.unsigned_abs())
    }
}

/// The next runs in the order of their ends.
fn ended(conn: &Connection, status: RunStatus, ask: &PruneAsk) -> Result<Vec<Ended>, Fail> {
    let only = match ask.what {
        Old::Notifications(_) => format!("AND r.workflow = '{NOTIFY_WORKFLOW}'"),
        Old::Runs(_) => format!("AND r.workflow <> '{NOTIFY_WORKFLOW}'"),
        _ => String::new(),
    };
    let mut stmt = conn.prepare_cached(&format!(
        "SELECT r.no, r.id, r.finished_at, r.idempotency_key, \
         r.parent IS NOT NULL AND EXISTS \
         (SELECT 1 FROM runs p WHERE p.id = r.parent AND p.status < 4) \
         FROM runs r WHERE r.status = ?1 AND r.finished_at IS NOT NULL AND r.finished_at < ?2 {only} \
         AND (r.finished_at, r.no) > (?3, ?4) ORDER BY r.finished_at, r.no LIMIT ?5"
    ))?;
    let after = ask.after.unwrap_or(PruneMark(Millis(i64::MIN), 0));
    let (at, no) = (after.0.0, after.1.cast_signed());
    let found = stmt.query(params![status as u8, ask.before.0, at, no, sql_limit(ask.limit)])?;
    collect(found, |row| {
        Ok(Ended {
            no: row.get(0)?,
            run: rows::run_id(row, 1)?,
            at: Millis(row.get(2)?),
            key: row.get(3)?,
            held: row.get(4)?,
        })
    })
}

/// Where to go on behind these.
fn next(found: &[Ended], ask: &PruneAsk) -> Option<PruneMark> {
    found.last().filter(|_| found.len() == ask.limit).map(Ended::mark)
}

fn runs(
    conn: &Connection,
    state: &mut State,
    status: RunStatus,
    ask: &PruneAsk,
) -> Result<Pruned, Fail> {
    let found = ended(conn, status, ask)?;
    let mut pruned = Pruned { next: next(&found, ask), ..Pruned::default() };
    for ended in found.iter().filter(|ended| !ended.held) {
        delete(conn, ended)?;
        state.forget(ended.run);
        pruned.runs.push(ended.run);
    }
    if !sweep(conn)? && ask.limit > 0 {
        let last = found.last().map(Ended::mark).or(ask.after);
        pruned.next = Some(last.unwrap_or(PruneMark(Millis(i64::MIN), 0)));
    }
    Ok(pruned)
}

/// Takes a run from every reader, and dooms the rows of which it may have many.
fn delete(conn: &Connection, ended: &Ended) -> Result<(), Fail> {
    if let Some(key) = &ended.key {
        conn.prepare_cached(
            "INSERT OR REPLACE INTO spent_keys (key, run, at) VALUES (?1, ?2, ?3)",
        )?
        .execute(params![key, ended.run.to_bytes(), ended.at.0])?;
    }
    conn.prepare_cached("DELETE FROM messages WHERE run = ?1")?.execute([ended.run.to_bytes()])?;
    for sql in OF_RUN {
        conn.prepare_cached(sql)?.execute([ended.no])?;
    }
    Ok(())
}

const OF_RUN: [&str; 7] = [
    "DELETE FROM timers WHERE run_no = ?1",
    "DELETE FROM waits WHERE run_no = ?1",
    "DELETE FROM slots WHERE run_no = ?1",
    "DELETE FROM run_params WHERE run_no = ?1",
    "DELETE FROM run_triggers WHERE run_no = ?1",
    "DELETE FROM runs WHERE no = ?1",
    "INSERT INTO doomed (run_no) VALUES (?1)",
];

/// What a run may have many rows of.
const DOOMED: [&str; 3] = [
    "DELETE FROM history WHERE seq IN (SELECT seq FROM history WHERE run_no = ?1 LIMIT ?2)",
    "DELETE FROM steps WHERE run_no = ?1 AND inst IN \
     (SELECT inst FROM steps WHERE run_no = ?1 LIMIT ?2)",
    "DELETE FROM artifacts WHERE run_no = ?1 AND hash IN \
     (SELECT hash FROM artifacts WHERE run_no = ?1 LIMIT ?2)",
];

/// Deletes rows of doomed runs; answers whether none is left.
fn sweep(conn: &Connection) -> Result<bool, Fail> {
    let mut left = ROWS_MAX;
    let mut stmt = conn.prepare_cached("SELECT run_no FROM doomed ORDER BY run_no LIMIT ?1")?;
    let doomed = collect(stmt.query([sql_limit(ROWS_MAX)])?, |row| Ok(row.get(0)?))?;
    for no in doomed {
        let no: i64 = no;
        for sql in DOOMED {
            let gone = conn.prepare_cached(sql)?.execute(params![no, sql_limit(left)])?;
            left -= gone.min(left);
            if left == 0 {
                return Ok(false);
            }
        }
        conn.prepare_cached("DELETE FROM doomed WHERE run_no = ?1")?.execute([no])?;
    }
    Ok(true)
}

fn history(conn: &Connection, status: RunStatus, ask: &PruneAsk) -> Result<Pruned, Fail> {
    let found = ended(conn, status, ask)?;
    let mut pruned = Pruned { next: next(&found, ask), ..Pruned::default() };
    let mut done = ask.after.unwrap_or(PruneMark(Millis(i64::MIN), 0));
    let mut left = ROWS_MAX;
    for ended in &found {
        let gone = if ended.held { 0 } else { forget_history(conn, ended.no, left)? };
        left -= gone.min(left);
        if gone > 0 {
            pruned.runs.push(ended.run);
        }
        if left == 0 {
            // It may have more: begin with it again.
            pruned.next = Some(done);
            break;
        }
        done = ended.mark();
    }
    Ok(pruned)
}

/// Deletes the older rows of a run's history; answers how many. The newest one tells its version.
fn forget_history(conn: &Connection, no: i64, limit: usize) -> Result<usize, Fail> {
    let mut stmt = conn.prepare_cached(
        "DELETE FROM history WHERE seq IN (SELECT seq FROM history WHERE run_no = ?1 \
         AND version < (SELECT max(version) FROM history WHERE run_no = ?1) \
         ORDER BY version LIMIT ?2)",
    )?;
    Ok(stmt.execute(params![no, sql_limit(limit)])?)
}

fn keys(conn: &Connection, ask: &PruneAsk) -> Result<Pruned, Fail> {
    let mut stmt = conn.prepare_cached(
        "DELETE FROM spent_keys WHERE key IN \
         (SELECT key FROM spent_keys WHERE at < ?1 ORDER BY at, key LIMIT ?2)",
    )?;
    let keys = stmt.execute(params![ask.before.0, sql_limit(ask.limit)])?;
    let mut stmt = conn.prepare_cached(
        "DELETE FROM posts WHERE key IN \
         (SELECT key FROM posts WHERE at < ?1 ORDER BY at, key LIMIT ?2)",
    )?;
    let posts = stmt.execute(params![ask.before.0, sql_limit(ask.limit)])?;
    let full = ask.limit > 0 && (keys == ask.limit || posts == ask.limit);
    let next = full.then_some(PruneMark(ask.before, 0));
    Ok(Pruned { keys: keys + posts, next, ..Pruned::default() })
}

/// Deletes old records of occurrences. Those that are open, or whose run is there, stay.
fn occurrences(conn: &Connection, ask: &PruneAsk) -> Result<Pruned, Fail> {
    let mut stmt = conn.prepare_cached(
        "SELECT o.trigger_no, o.key, o.decided_at FROM occurrences o CROSS JOIN triggers t \
         ON t.no = o.trigger_no WHERE o.outcome NOT IN (1, 2) AND o.decided_at >= ?1 \
         AND o.decided_at < ?2 AND (o.run IS NULL OR NOT EXISTS \
         (SELECT 1 FROM runs r WHERE r.id = o.run)) ORDER BY o.decided_at, t.id, o.key LIMIT ?3",
    )?;
    let PruneMark(after, _) = ask.after.unwrap_or(PruneMark(Millis(i64::MIN), 0));
    let rows = stmt.query(params![after.0, ask.before.0, sql_limit(ask.limit)])?;
    let old: Vec<(i64, String, i64)> =
        collect(rows, |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    for (no, key, _) in &old {
        conn.prepare_cached("DELETE FROM occurrences WHERE trigger_no = ?1 AND key = ?2")?
            .execute(params![no, key])?;
    }
    let full = ask.limit > 0 && old.len() == ask.limit;
    let next = old.last().filter(|_| full).map(|old| PruneMark(Millis(old.2), 0));
    Ok(Pruned { occurrences: old.len(), next, ..Pruned::default() })
}

/// Deletes what is told of old published events.
fn published(conn: &Connection, ask: &PruneAsk) -> Result<Pruned, Fail> {
    let mut stmt = conn.prepare_cached(
        "SELECT at, seq FROM published WHERE at < ?1 AND (at, seq) > (?2, ?3) \
         ORDER BY at, seq LIMIT ?4",
    )?;
    let PruneMark(at, seq) = ask.after.unwrap_or(PruneMark(Millis(i64::MIN), 0));
    let rows = stmt.query(params![ask.before.0, at.0, seq.cast_signed(), sql_limit(ask.limit)])?;
    let old: Vec<(i64, i64)> = collect(rows, |row| Ok((row.get(0)?, row.get(1)?)))?;
    for (_, seq) in &old {
        conn.prepare_cached("DELETE FROM published WHERE seq = ?1")?.execute([seq])?;
        conn.prepare_cached("DELETE FROM history WHERE seq = ?1 AND run_no = 0")?.execute([seq])?;
    }
    let full = ask.limit > 0 && old.len() == ask.limit;
    let next = old.last().filter(|_| full);
    let next = next.map(|(at, seq)| PruneMark(Millis(*at), seq.cast_unsigned()));
    Ok(Pruned { published: old.len(), next, ..Pruned::default() })
}
