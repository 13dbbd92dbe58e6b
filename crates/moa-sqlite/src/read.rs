//! What the engine reads: runs, what is due, workflow versions.

use std::collections::BTreeSet;

use moa_core::event::InstIx;
use moa_core::ids::{Name, NodeId, RunId};
use moa_core::machine::MessageBody;
use moa_core::time::Millis;
use moa_ports::store::{
    Due, DueAsk, Message, MessageId, ReadyAsk, ReadyTask, Snapshot, TaskQueue, WorkflowRef,
    WorkflowVersion,
};
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::belonging;
use crate::error::Fail;
use crate::rows;
use crate::triggers;
use crate::write::State;

/// One run with its steps.
pub(crate) fn snapshot(conn: &Connection, run: RunId) -> Result<Option<Snapshot>, Fail> {
    let Some((no, found)) = without_steps(conn, run)? else { return Ok(None) };
    let mut stmt = conn.prepare_cached(&format!(
        "SELECT {} FROM steps WHERE run_no = ?1 ORDER BY inst",
        rows::STEP
    ))?;
    let steps = collect(stmt.query([no])?, rows::step).map_err(|fail| of_run(fail, run))?;
    Ok(Some(Snapshot { steps, ..found }))
}

/// One run with those of its steps from a number on, so many at most; none behind the one with which
/// what they carry has so many bytes.
pub(crate) fn snapshot_part(
    conn: &Connection,
    run: RunId,
    from: InstIx,
    limit: usize,
    bytes: usize,
) -> Result<Option<Snapshot>, Fail> {
    let Some((no, found)) = without_steps(conn, run)? else { return Ok(None) };
    if limit == 0 {
        return Ok(Some(found));
    }
    let mut stmt = conn.prepare_cached(&format!(
        "SELECT {} FROM steps WHERE run_no = ?1 AND inst >= ?2 ORDER BY inst LIMIT ?3",
        rows::STEP
    ))?;
    let mut part = stmt.query(params![no, from, sql_limit(limit)])?;
    let (mut steps, mut carried) = (Vec::new(), 0);
    while let Some(row) = part.next()? {
        steps.push(rows::step(row).map_err(|fail| of_run(fail, run))?);
        carried += rows::step_bytes(row)?;
        if carried >= bytes {
            break;
        }
    }
    Ok(Some(Snapshot { steps, ..found }))
}

/// One run but for its steps, with the number of its row.
fn without_steps(conn: &Connection, run: RunId) -> Result<Option<(i64, Snapshot)>, Fail> {
    let mut stmt = conn.prepare_cached(&format!(
        "SELECT {}, r.no, (SELECT max(h.version) FROM history h WHERE h.run_no = r.no), r.root \
         FROM runs r WHERE r.id = ?1",
        rows::RUN
    ))?;
    let mut found = stmt.query([run.to_bytes()])?;
    let Some(row) = found.next()? else { return Ok(None) };
    let no: i64 = row.get(17)?;
    let version = rows::count(row, 18)?;
    let root = row.get::<_, Option<[u8; 16]>>(19)?.map_or(run, RunId::from_bytes);
    Ok(Some((no, Snapshot { version, row: rows::run(row)?, steps: Vec::new(), root })))
}

/// Says which run the damage is in.
fn of_run(fail: Fail, run: RunId) -> Fail {
    match fail {
        Fail::Data(what) => Fail::Data(format!("run {run}: {what}")),
        other => other,
    }
}

/// Every row of a query.
pub(crate) fn collect<T>(
    mut rows: rusqlite::Rows<'_>,
    read: impl Fn(&Row<'_>) -> Result<T, Fail>,
) -> Result<Vec<T>, Fail> {
    let mut all = Vec::new();
    while let Some(row) = rows.next()? {
        all.push(read(row)?);
    }
    Ok(all)
}

/// What is due.
pub(crate) fn due(conn: &Connection, state: &mut State, ask: &DueAsk) -> Result<Due, Fail> {
    if let Some(roots) = &ask.only {
        return belonging::due(conn, state, ask, roots);
    }
    let mut due = Due::default();
    timers(conn, ask, &mut due)?;
    triggers::due(conn, ask, &mut due)?;
    messages(conn, ask, &mut due)?;
    if !ask.ready.is_empty() {
        due.ready = ready(conn, ask)?;
    }
    if ask.lost {
        due.lost = lost(conn, state, ask)?;
    }
    Ok(due)
}

/// A limit as SQLite takes it.
pub(crate) fn sql_limit(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

/// How many rows to ask SQLite for: those of runs that are left out are passed over here, one by
/// one, so that none of the others is.
pub(crate) fn limit_of(ask: &DueAsk, limit: usize) -> i64 {
    if ask.without.is_empty() { sql_limit(limit) } else { -1 }
}

/// The first rows of a query, but none of a run that is left out; `run` is the column of its id.
pub(crate) fn asked<T>(
    ask: &DueAsk,
    mut rows: rusqlite::Rows<'_>,
    run: usize,
    limit: usize,
    read: impl Fn(&Row<'_>) -> Result<T, Fail>,
) -> Result<Vec<T>, Fail> {
    let mut all = Vec::new();
    while all.len() < limit
        && let Some(row) = rows.next()?
    {
        if !ask.without.contains(&rows::run_id(row, run)?) {
            all.push(read(row)?);
        }
    }
    Ok(all)
}

/// Tasks that can be claimed: a look into the index for each queue that has some.
fn ready(conn: &Connection, ask: &DueAsk) -> Result<Vec<ReadyTask>, Fail> {
    let ReadyAsk { of, each, after, all } = &ask.ready;
    let mut ready = Vec::new();
    for (queue, &wanted) in of {
        ready.extend(ready_of(conn, ask, queue, wanted)?);
    }
    let mut last = after.clone();
    while *each > 0 && ready.len() < *all {
        let Some(next) = next_queue(conn, last.as_ref())? else { break };
        if !of.contains_key(&next) {
            ready.extend(ready_of(conn, ask, &next, *each)?);
        }
        last = Some(next);
    }
    ready.truncate(*all);
    Ok(ready)
}

/// The first queue that has tasks, after another one.
fn next_queue(conn: &Connection, after: Option<&TaskQueue>) -> Result<Option<TaskQueue>, Fail> {
    // Names are not empty, so all of them are greater.
    let (agent, key) = after
        .map_or(("", ""), |queue| (queue.agent.as_str(), queue.key.as_deref().unwrap_or_default()));
    let mut stmt = conn.prepare_cached(
        "SELECT agent, fairness_key FROM steps INDEXED BY steps_ready \
         WHERE queue_key IS NOT NULL AND (agent, fairness_key) > (?1, ?2) \
         ORDER BY agent, fairness_key LIMIT 1",
    )?;
    let mut rows = stmt.query([agent, key])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let agent: String = row.get(0)?;
    let agent = Name::new(&agent).map_err(|e| Fail::Data(format!("agent {agent:?}: {e}")))?;
    Ok(Some(TaskQueue { agent, key: rows::fairness_key(row, 1)? }))
}

fn ready_of(
    conn: &Connection,
    ask: &DueAsk,
    queue: &TaskQueue,
    wanted: usize,
) -> Result<Vec<ReadyTask>, Fail> {
    if wanted == 0 {
        return Ok(Vec::new());
    }
    let mut stmt = conn.prepare_cached(
        "SELECT r.id, s.inst, s.queue_key FROM steps s CROSS JOIN runs r ON r.no = s.run_no \
         WHERE s.agent = ?1 AND s.fairness_key = ?2 AND s.queue_key IS NOT NULL \
         ORDER BY s.queue_key, s.run_no, s.inst LIMIT ?3",
    )?;
    let key = queue.key.as_deref().unwrap_or_default();
    let rows = stmt.query(params![queue.agent.as_str(), key, limit_of(ask, wanted)])?;
    asked(ask, rows, 0, wanted, |row| {
        let (queue, run) = (queue.clone(), rows::run_id(row, 0)?);
        Ok(ReadyTask { queue, run, inst: row.get(1)?, queue_key: row.get(2)? })
    })
}

fn timers(conn: &Connection, ask: &DueAsk, due: &mut Due) -> Result<(), Fail> {
    // One more than asked for: that one is the next.
    let limit = ask.limit.saturating_add(1);
    let mut stmt = conn.prepare_cached(
        "SELECT r.id, t.kind, t.step, t.due FROM timers t CROSS JOIN runs r ON r.no = t.run_no \
         WHERE t.due <= ?1 ORDER BY t.due LIMIT ?2",
    )?;
    let rows = stmt.query(params![ask.now.0, limit_of(ask, limit)])?;
    due.timers = asked(ask, rows, 0, limit, |row| {
        Ok((rows::run_id(row, 0)?, rows::timer(row, 1)?, Millis(row.get(3)?)))
    })?;
    if due.timers.len() == limit {
        due.next_timer = due.timers.pop().map(|(_, _, at)| at);
        return Ok(());
    }
    let mut stmt = conn.prepare_cached(match ask.without.is_empty() {
        true => "SELECT zeroblob(16), due FROM timers WHERE due > ?1 ORDER BY due LIMIT 1",
        false => {
            "SELECT r.id, t.due FROM timers t CROSS JOIN runs r ON r.no = t.run_no \
             WHERE t.due > ?1 ORDER BY t.due"
        }
    })?;
    let next = asked(ask, stmt.query([ask.now.0])?, 0, 1, |row| Ok(Millis(row.get(1)?)))?;
    due.next_timer = next.first().copied();
    Ok(())
}

fn messages(conn: &Connection, ask: &DueAsk, due: &mut Due) -> Result<(), Fail> {
    let after = i64::try_from(ask.messages_after).unwrap_or(i64::MAX);
    let mut stmt = conn.prepare_cached(
        "SELECT id, run, body FROM messages WHERE id > ?1 AND run <> zeroblob(16) ORDER BY id",
    )?;
    due.messages = mail(ask, stmt.query([after])?)?;
    let mut stmt = conn.prepare_cached(
        "SELECT id FROM messages WHERE run = zeroblob(16) AND id > ?1 ORDER BY id LIMIT ?2",
    )?;
    due.bus = on_the_bus(stmt.query(params![after, sql_limit(ask.limit)])?)?;
    Ok(())
}

/// Messages to runs and triggers, as many as are asked for.
pub(crate) fn mail(
    ask: &DueAsk,
    mut rows: rusqlite::Rows<'_>,
) -> Result<Vec<(MessageId, Message)>, Fail> {
    let mut mail = Vec::new();
    while mail.len() < ask.limit
        && let Some(row) = rows.next()?
    {
        if ask.without.contains(&rows::run_id(row, 1)?) {
            continue;
        }
        let (id, message) = rows::message(row)?;
        if ask.triggers > 0 || !matches!(message.body, MessageBody::Trigger(_)) {
            mail.push((id, message));
        }
    }
    Ok(mail)
}

/// Numbers of events.
pub(crate) fn on_the_bus(mut rows: rusqlite::Rows<'_>) -> Result<Vec<MessageId>, Fail> {
    let mut bus = Vec::new();
    while let Some(row) = rows.next()? {
        bus.push(rows::count(row, 0)?);
    }
    Ok(bus)
}

/// Attempts of open runs whose node is not the registered one. Who may be lost is looked up once
/// after a registration; each time they are asked for, those that aren't lost any more drop out.
fn lost(
    conn: &Connection,
    state: &mut State,
    ask: &DueAsk,
) -> Result<Vec<(RunId, InstIx, u32)>, Fail> {
    let node = state.node.map(rows::node_to_sql);
    let candidates = match state.lost.take() {
        Some(candidates) => candidates,
        None => may_be_lost(conn, state.node)?,
    };
    let candidates = state.lost.insert(candidates);
    let mut stmt = conn.prepare_cached(
        "SELECT r.id, s.attempt FROM steps s CROSS JOIN runs r ON r.no = s.run_no \
         WHERE s.run_no = ?1 AND s.inst = ?2 AND s.status = 2 AND r.status < 4 \
         AND (?3 IS NULL OR s.node IS NULL OR s.node <> ?3)",
    )?;
    let (mut lost, mut dealt_with) = (Vec::new(), Vec::new());
    for &(no, inst) in candidates.iter() {
        if lost.len() >= ask.limit {
            break;
        }
        let found = stmt.query_row(params![no, inst, node], |row| {
            Ok((RunId::from_bytes(row.get(0)?), inst, row.get(1)?))
        });
        match found.optional()? {
            Some((run, ..)) if ask.without.contains(&run) => {}
            Some(found) => lost.push(found),
            None => dealt_with.push((no, inst)),
        }
    }
    for candidate in dealt_with {
        candidates.remove(&candidate);
    }
    Ok(lost)
}

fn may_be_lost(conn: &Connection, node: Option<NodeId>) -> Result<BTreeSet<(i64, InstIx)>, Fail> {
    let mut stmt = conn.prepare_cached(
        "SELECT s.run_no, s.inst FROM runs r CROSS JOIN steps s ON s.run_no = r.no \
         WHERE r.status <> 4 AND r.status IN (0, 1, 2, 3) AND s.status = 2 \
         AND (?1 IS NULL OR s.node IS NULL OR s.node <> ?1)",
    )?;
    let found =
        stmt.query_map([node.map(rows::node_to_sql)], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(found.collect::<Result<_, _>>()?)
}

/// A workflow version.
pub(crate) fn workflow(
    conn: &Connection,
    which: &WorkflowRef,
) -> Result<Option<WorkflowVersion>, Fail> {
    let (name, label) = match which {
        WorkflowRef::Hash(hash) => {
            let sql = format!("SELECT {} FROM workflows WHERE hash = ?1", rows::WORKFLOW);
            let mut stmt = conn.prepare_cached(&sql)?;
            let mut found = stmt.query([hash.0])?;
            return found.next()?.map(rows::workflow).transpose();
        }
        WorkflowRef::Newest(name, label) => (name, label.as_deref()),
    };
    let sql =
        format!("SELECT {} FROM workflows WHERE workflow = ?1 ORDER BY put DESC", rows::WORKFLOW);
    let mut stmt = conn.prepare_cached(&sql)?;
    let mut newest_first = stmt.query([name.as_str()])?;
    while let Some(row) = newest_first.next()? {
        let version = rows::workflow(row)?;
        if label.is_none_or(|label| version.is_called(label)) {
            return Ok(Some(version));
        }
    }
    Ok(None)
}
