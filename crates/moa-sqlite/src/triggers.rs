//! Reads triggers and their occurrences.

use moa_core::time::Millis;
use moa_core::trigger::{Occurrence, TriggerId};
use moa_ports::store::{Due, DueAsk};
use moa_ports::triggers::{OccurrenceFilter, TriggerFilter, TriggerRow};
use rusqlite::types::Value;
use rusqlite::{Connection, params, params_from_iter};

use crate::error::Fail;
use crate::read::{asked, collect, limit_of, sql_limit};
use crate::rows;

/// One trigger.
pub(crate) fn trigger(conn: &Connection, id: TriggerId) -> Result<Option<TriggerRow>, Fail> {
    let sql = format!("SELECT {} FROM triggers WHERE id = ?1", rows::TRIGGER);
    let mut stmt = conn.prepare_cached(&sql)?;
    let mut found = stmt.query([id.to_bytes()])?;
    found.next()?.map(rows::trigger).transpose()
}

/// The part of an answer that is about triggers.
pub(crate) fn due(conn: &Connection, ask: &DueAsk, due: &mut Due) -> Result<(), Fail> {
    if ask.triggers == 0 {
        return Ok(());
    }
    let limit = ask.triggers.saturating_add(1);
    let mut stmt = conn.prepare_cached(
        "SELECT id, due_at FROM triggers WHERE due_at IS NOT NULL AND due_at <= ?1 \
         ORDER BY due_at LIMIT ?2",
    )?;
    // One more than asked for: that one is the next. An id is an address as a run's is.
    let rows = stmt.query(params![ask.wall().0, limit_of(ask, limit)])?;
    let mut found = asked(ask, rows, 0, limit, |row| {
        Ok((TriggerId::from_bytes(row.get(0)?), Millis(row.get(1)?)))
    })?;
    let next = match found.len() == limit {
        true => found.pop().map(|(_, at)| at),
        false => {
            let mut stmt = conn.prepare_cached(
                "SELECT id, due_at FROM triggers WHERE due_at IS NOT NULL AND due_at > ?1 \
                 ORDER BY due_at LIMIT ?2",
            )?;
            let rows = stmt.query(params![ask.wall().0, limit_of(ask, 1)])?;
            asked(ask, rows, 0, 1, |row| Ok(Millis(row.get(1)?)))?.first().copied()
        }
    };
    due.triggers = found;
    let next = next.map(|at| ask.when_wall_is(at));
    due.next_timer = [due.next_timer, next].into_iter().flatten().min();
    Ok(())
}

/// Triggers that fit a filter, in order of workflow and name.
pub(crate) fn triggers(conn: &Connection, filter: &TriggerFilter) -> Result<Vec<TriggerRow>, Fail> {
    let mut sql = format!("SELECT {} FROM triggers WHERE 1", rows::TRIGGER);
    let mut values = Vec::new();
    if let Some(workflow) = &filter.workflow {
        sql.push_str(" AND workflow = ?");
        values.push(Value::Text(workflow.to_string()));
    }
    if let Some((workflow, name)) = &filter.after {
        sql.push_str(" AND (workflow, name) > (?, ?)");
        values.extend([Value::Text(workflow.to_string()), Value::Text(name.to_string())]);
    }
    sql.push_str(" ORDER BY workflow, name LIMIT ?");
    values.push(Value::Integer(sql_limit(filter.limit)));
    let mut stmt = conn.prepare_cached(&sql)?;
    collect(stmt.query(params_from_iter(values))?, rows::trigger)
}

/// Occurrences of a trigger that fit a filter, the newest first.
pub(crate) fn occurrences(
    conn: &Connection,
    id: TriggerId,
    filter: &OccurrenceFilter,
) -> Result<Vec<Occurrence>, Fail> {
    let mut sql = format!(
        "SELECT {} FROM occurrences WHERE trigger_no = (SELECT no FROM triggers WHERE id = ?)",
        rows::OCCURRENCE
    );
    let mut values = vec![Value::Blob(id.to_bytes().to_vec())];
    if let Some(key) = &filter.key {
        sql.push_str(" AND key = ?");
        values.push(Value::Text(key.clone()));
    }
    if !filter.outcomes.is_empty() {
        let numbers: Vec<String> =
            filter.outcomes.iter().map(|&outcome| (outcome as u8).to_string()).collect();
        sql.push_str(&format!(" AND outcome IN ({})", numbers.join(", ")));
    }
    if let Some(from) = filter.from {
        sql.push_str(" AND coalesce(last, at) >= ?");
        values.push(Value::Integer(from.0));
    }
    if let Some(to) = filter.to {
        sql.push_str(" AND at < ?");
        values.push(Value::Integer(to.0));
    }
    if let Some((at, key)) = &filter.after {
        sql.push_str(" AND (at, key) < (?, ?)");
        values.extend([Value::Integer(at.0), Value::Text(key.clone())]);
    }
    sql.push_str(" ORDER BY at DESC, key DESC LIMIT ?");
    values.push(Value::Integer(sql_limit(filter.limit)));
    let mut stmt = conn.prepare_cached(&sql)?;
    collect(stmt.query(params_from_iter(values))?, rows::occurrence)
}
