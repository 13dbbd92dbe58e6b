//! What people and screens ask.

use std::collections::BTreeMap;

use async_trait::async_trait;
use moa_core::event::InstIx;
use moa_core::ids::{Name, RunId, VersionHash};
use moa_core::machine::{BUS, Place};
use moa_core::run::{RunStatus, StepRow};
use moa_core::time::Millis;
use moa_core::trigger::{Occurrence, TriggerId};
use moa_core::workflow::NOTIFY_WORKFLOW;
use moa_ports::artifacts::ArtifactHash;
use moa_ports::audit::{AuditEntry, AuditHead};
use moa_ports::limit::LimitRow;
use moa_ports::sealed::SealedRow;
use moa_ports::search::{Found, Search};
use moa_ports::store::{Error as StoreError, Snapshot, TaskQueue, WorkflowRef, WorkflowVersion};
use moa_ports::triggers::{HeardRow, OccurrenceFilter, TriggerFilter, TriggerRow};
use moa_ports::views::{
    ASKS_MAX, BEFORE_MAX, ChannelRow, ENDS_LOOKED_MAX, Fate, HistoryRow, KeptAsk, KeptRow,
    PART_BYTES, PENDING_TASKS_MAX, Pending, PendingTask, Places, READY_LOOKED_MAX, RunFilter,
    RunSummary, Totals, Views,
};
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, params, params_from_iter};

use crate::audit;
use crate::error::Fail;
use crate::limits;
use crate::read::{self, collect, sql_limit};
use crate::rows;
use crate::sealed;
use crate::triggers;
use crate::verify;
use crate::views::Readers;

/// Notifications, in the words of their indices.
const NOTIFICATION: &str = "r.workflow = 'moa-notify'";
/// Steps that wait for a person, in the words of their index.
const ASKS: &str = "FROM steps WHERE status = 3 AND wait IN (3, 4, 9)";
/// That a row of the history (`h`) is one of the bus, or its run (`r`) is there.
const IS_THERE: &str = "(r.no IS NOT NULL OR h.run_no = 0)";
/// Runs that a search by digits answers at most.
const FOUND_MAX: usize = 10;

#[async_trait]
impl Views for Readers {
    async fn runs(&self, filter: &RunFilter) -> Result<Vec<RunSummary>, StoreError> {
        let filter = filter.clone();
        self.ask(move |conn| runs(conn, &filter)).await
    }

    async fn search(&self, search: &Search) -> Result<Found, StoreError> {
        let search = search.clone();
        self.ask_in_turn(move |conn| crate::search::runs(conn, &search)).await
    }

    async fn run(&self, run: RunId) -> Result<Option<Snapshot>, StoreError> {
        // Row and steps are two statements: only inside one transaction do they fit together.
        self.ask(move |conn| {
            let whole = conn.unchecked_transaction()?;
            read::snapshot(&whole, run)
        })
        .await
    }

    async fn run_within(
        &self,
        run: RunId,
        from: InstIx,
        limit: usize,
        bytes: usize,
    ) -> Result<Option<Snapshot>, StoreError> {
        self.ask(move |conn| {
            let whole = conn.unchecked_transaction()?;
            read::snapshot_part(&whole, run, from, limit, bytes)
        })
        .await
    }

    async fn with_first_steps(&self, filter: &RunFilter) -> Result<Vec<Snapshot>, StoreError> {
        let filter = filter.clone();
        self.ask(move |conn| {
            let whole = conn.unchecked_transaction()?;
            let mut found = Vec::new();
            for summary in runs(&whole, &filter)? {
                found.extend(read::snapshot_part(&whole, summary.run, 0, 1, usize::MAX)?);
            }
            Ok(found)
        })
        .await
    }

    async fn asking(&self, run: RunId, limit: usize) -> Result<Vec<StepRow>, StoreError> {
        self.ask(move |conn| asking(conn, run, limit)).await
    }

    async fn find_runs(&self, digits: &str) -> Result<Vec<RunId>, StoreError> {
        let digits = digits.replace('-', "").to_ascii_lowercase();
        self.ask(move |conn| find_runs(conn, &digits)).await
    }

    async fn history(
        &self,
        run: RunId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<HistoryRow>, StoreError> {
        self.ask(move |conn| history(conn, run, after, limit)).await
    }

    async fn events(
        &self,
        after: u64,
        rows: usize,
        most: usize,
    ) -> Result<Vec<HistoryRow>, StoreError> {
        self.ask(move |conn| events(conn, after, rows, most)).await
    }

    async fn kept(&self, ask: &KeptAsk) -> Result<Vec<KeptRow>, StoreError> {
        let ask = *ask;
        self.ask(move |conn| kept(conn, &ask)).await
    }

    async fn heard(&self, published: &[u64]) -> Result<Vec<HeardRow>, StoreError> {
        let published = published.to_vec();
        self.ask(move |conn| {
            let whole = conn.unchecked_transaction()?;
            heard(&whole, &published)
        })
        .await
    }

    async fn published_beyond(&self, keep: u64) -> Result<Option<Millis>, StoreError> {
        self.ask(move |conn| published_beyond(conn, keep)).await
    }

    async fn places(&self, run: RunId, steps: &[InstIx]) -> Result<Option<Places>, StoreError> {
        let steps = steps.to_vec();
        self.ask(move |conn| {
            let whole = conn.unchecked_transaction()?;
            places(&whole, run, &steps)
        })
        .await
    }

    async fn last_event(&self) -> Result<u64, StoreError> {
        self.ask(last_event).await
    }

    async fn workflows(&self, workflow: Option<&Name>) -> Result<Vec<WorkflowVersion>, StoreError> {
        let workflow = workflow.cloned();
        self.ask(move |conn| workflows(conn, workflow.as_ref())).await
    }

    async fn versions_put(
        &self,
        workflow: &Name,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<(u64, WorkflowVersion)>, StoreError> {
        let workflow = workflow.clone();
        self.ask(move |conn| versions_put(conn, &workflow, before, limit)).await
    }

    async fn workflow(&self, hash: VersionHash) -> Result<Option<WorkflowVersion>, StoreError> {
        self.ask(move |conn| read::workflow(conn, &WorkflowRef::Hash(hash))).await
    }

    async fn pending(&self, run: RunId) -> Result<Pending, StoreError> {
        self.ask(move |conn| {
            let whole = conn.unchecked_transaction()?;
            pending(&whole, run)
        })
        .await
    }

    async fn triggers(&self, filter: &TriggerFilter) -> Result<Vec<TriggerRow>, StoreError> {
        let filter = filter.clone();
        self.ask(move |conn| triggers::triggers(conn, &filter)).await
    }

    async fn trigger(&self, id: TriggerId) -> Result<Option<TriggerRow>, StoreError> {
        self.ask(move |conn| triggers::trigger(conn, id)).await
    }

    async fn occurrences(
        &self,
        trigger: TriggerId,
        filter: &OccurrenceFilter,
    ) -> Result<Vec<Occurrence>, StoreError> {
        let filter = filter.clone();
        self.ask(move |conn| triggers::occurrences(conn, trigger, &filter)).await
    }

    async fn totals(&self) -> Result<Totals, StoreError> {
        self.ask(|conn| {
            let whole = conn.unchecked_transaction()?;
            totals(&whole)
        })
        .await
    }

    async fn channels(&self) -> Result<Vec<ChannelRow>, StoreError> {
        self.ask(channels).await
    }

    async fn fates(&self, runs: &[RunId]) -> Result<Vec<Fate>, StoreError> {
        let runs = runs.to_vec();
        self.ask(move |conn| runs.iter().map(|&run| fate(conn, run)).collect()).await
    }

    async fn artifact_fates(&self, artifacts: &[ArtifactHash]) -> Result<Vec<Fate>, StoreError> {
        let artifacts = artifacts.to_vec();
        self.ask(move |conn| artifacts.iter().map(|hash| artifact_fate(conn, hash)).collect()).await
    }

    async fn ended_beyond(
        &self,
        status: RunStatus,
        keep: u64,
        notifications: bool,
    ) -> Result<Option<Millis>, StoreError> {
        self.ask(move |conn| ended_beyond(conn, status, keep, notifications)).await
    }

    async fn limits(&self) -> Result<Vec<LimitRow>, StoreError> {
        self.ask(limits::all).await
    }

    async fn sealed(&self) -> Result<Vec<SealedRow>, StoreError> {
        self.ask(sealed::all).await
    }

    async fn audit(&self, after: u64, limit: usize) -> Result<Vec<AuditEntry>, StoreError> {
        self.ask(move |conn| audit::entries(conn, after, limit)).await
    }

    async fn audit_head(&self) -> Result<Option<AuditHead>, StoreError> {
        self.ask(audit::head).await
    }

    async fn verify(&self) -> Result<Vec<String>, StoreError> {
        let path = self.path().to_owned();
        self.ask(move |conn| verify::all(conn, &path)).await
    }
}

/// A number as SQLite takes it.
fn sql_count(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The history of a run behind a version.
pub(crate) fn history(
    conn: &Connection,
    run: RunId,
    after: u64,
    limit: usize,
) -> Result<Vec<HistoryRow>, Fail> {
    let mut stmt = conn.prepare_cached(&format!(
        "SELECT {}, r.id FROM runs r CROSS JOIN history h ON h.run_no = r.no \
         WHERE r.id = ?1 AND h.version > ?2 ORDER BY h.version LIMIT ?3",
        rows::HISTORY
    ))?;
    let found = stmt.query(params![run.to_bytes(), sql_count(after), sql_limit(limit)])?;
    part(found, usize::MAX)
}

/// The history of all runs behind an event number.
pub(crate) fn events(
    conn: &Connection,
    after: u64,
    limit: usize,
    most: usize,
) -> Result<Vec<HistoryRow>, Fail> {
    let mut stmt = conn.prepare_cached(&format!(
        "SELECT {}, r.id FROM history h LEFT JOIN runs r ON r.no = h.run_no \
         WHERE h.seq > ?1 AND {IS_THERE} ORDER BY h.seq LIMIT ?2",
        rows::HISTORY
    ))?;
    part(stmt.query(params![sql_count(after), sql_limit(limit)])?, most)
}

/// The history as it is kept.
pub(crate) fn kept(conn: &Connection, ask: &KeptAsk) -> Result<Vec<KeptRow>, Fail> {
    let columns = rows::KEPT;
    let order = if ask.newest_first { "DESC" } else { "ASC" };
    let sql = match ask.run {
        None => format!(
            "SELECT {columns} FROM history h LEFT JOIN runs r ON r.no = h.run_no \
             WHERE h.seq > ?1 AND h.seq <= ?2 AND {IS_THERE} ORDER BY h.seq {order} LIMIT ?3"
        ),
        // Their version is their number.
        Some(BUS) => format!(
            "SELECT {columns} FROM history h LEFT JOIN runs r ON r.no = h.run_no \
             WHERE h.run_no = 0 AND h.version > ?1 AND h.version <= ?2 \
             ORDER BY h.version {order} LIMIT ?3"
        ),
        Some(_) => format!(
            "SELECT {columns} FROM runs r CROSS JOIN history h ON h.run_no = r.no \
             WHERE h.seq > ?1 AND h.seq <= ?2 AND r.id = ?4 ORDER BY h.version {order} LIMIT ?3"
        ),
    };
    let mut stmt = conn.prepare_cached(&sql)?;
    let (behind, upto) = (sql_count(ask.behind), sql_count(ask.upto));
    let mut found = match ask.run {
        None | Some(BUS) => stmt.query(params![behind, upto, sql_limit(ask.rows)])?,
        Some(run) => stmt.query(params![behind, upto, sql_limit(ask.rows), run.to_bytes()])?,
    };
    let (mut all, mut bytes) = (Vec::new(), 0);
    while let Some(row) = found.next()? {
        let row = rows::kept(row)?;
        bytes += row.events.len();
        all.push(row);
        if bytes >= ask.bytes.min(PART_BYTES) {
            break;
        }
    }
    Ok(all)
}

/// Who has heard of published events.
pub(crate) fn heard(conn: &Connection, published: &[u64]) -> Result<Vec<HeardRow>, Fail> {
    let mut seqs = published.to_vec();
    seqs.sort_unstable();
    seqs.dedup();
    let mut stmt = conn.prepare_cached("SELECT heard FROM published WHERE seq = ?1")?;
    let mut is_there = conn.prepare_cached("SELECT 1 FROM messages WHERE id = ?1")?;
    let mut all = Vec::new();
    for seq in seqs {
        let mut found = stmt.query([sql_count(seq)])?;
        let Some(row) = found.next()? else { continue };
        let (heard, mut waiting) = (rows::heard(row, 0)?, Vec::new());
        for (id, message) in &heard.triggers {
            if is_there.exists([sql_count(*message)])? {
                waiting.push(*id);
            }
        }
        all.push(HeardRow { seq, heard, waiting });
    }
    Ok(all)
}

pub(crate) fn published_beyond(conn: &Connection, keep: u64) -> Result<Option<Millis>, Fail> {
    let sql = "SELECT at FROM published ORDER BY at DESC LIMIT 1 OFFSET ?1";
    let mut stmt = conn.prepare_cached(sql)?;
    Ok(stmt.query_row([sql_count(keep)], |row| row.get(0).map(Millis)).optional()?)
}

/// Where steps of a run stand, each looked up by its number.
pub(crate) fn places(
    conn: &Connection,
    run: RunId,
    steps: &[InstIx],
) -> Result<Option<Places>, Fail> {
    let mut stmt = conn.prepare_cached("SELECT no, workflow, hash FROM runs WHERE id = ?1")?;
    let mut found = stmt.query([run.to_bytes()])?;
    let Some(row) = found.next()? else { return Ok(None) };
    let no: i64 = row.get(0)?;
    let (workflow, hash) = (rows::name(row, 1)?, VersionHash(row.get(2)?));
    let mut stmt = conn.prepare_cached(
        "SELECT plan, owner, iteration FROM steps WHERE run_no = ?1 AND inst = ?2",
    )?;
    let (mut places, mut next) = (BTreeMap::new(), steps.to_vec());
    while let Some(inst) = next.pop() {
        if places.contains_key(&inst) {
            continue;
        }
        let place = |row: &Row<'_>| {
            Ok(Place { plan: row.get(0)?, owner: row.get(1)?, iteration: row.get(2)? })
        };
        if let Some(place) = stmt.query_row(params![no, inst], place).optional()? {
            next.extend(place.owner);
            places.insert(inst, place);
        }
    }
    Ok(Some(Places { workflow, hash, steps: places }))
}

/// Rows of the history until they hold so many events, or so many bytes.
fn part(mut found: rusqlite::Rows<'_>, most: usize) -> Result<Vec<HistoryRow>, Fail> {
    let (mut all, mut held, mut bytes) = (Vec::new(), 0, 0);
    while let Some(row) = found.next()? {
        bytes += row.get_ref(3)?.as_bytes().map_or(0, <[u8]>::len);
        let row: HistoryRow = rows::history(row, rows::run_or_bus(row, 4)?)?;
        held += row.events.len();
        all.push(row);
        if held >= most || bytes >= PART_BYTES {
            break;
        }
    }
    Ok(all)
}

/// Versions of a workflow, or of all, newest first.
pub(crate) fn workflows(
    conn: &Connection,
    workflow: Option<&Name>,
) -> Result<Vec<WorkflowVersion>, Fail> {
    let of_one = if workflow.is_some() { "WHERE workflow = ?1" } else { "" };
    let mut stmt = conn.prepare_cached(&format!(
        "SELECT {} FROM workflows {of_one} ORDER BY put DESC",
        rows::WORKFLOW
    ))?;
    let found = stmt.query(params_from_iter(workflow.map(Name::as_str)))?;
    collect(found, rows::workflow)
}

/// Versions of a workflow without text and plan, and when each was put.
fn versions_put(
    conn: &Connection,
    workflow: &Name,
    before: Option<u64>,
    limit: usize,
) -> Result<Vec<(u64, WorkflowVersion)>, Fail> {
    let mut stmt = conn.prepare_cached(
        "SELECT workflow, hash, version, '', '', created_at, put FROM workflows \
         WHERE workflow = ?1 AND put < ?2 ORDER BY put DESC LIMIT ?3",
    )?;
    let before = before.and_then(|put| i64::try_from(put).ok()).unwrap_or(i64::MAX);
    let found = stmt.query(params![workflow.as_str(), before, sql_limit(limit)])?;
    collect(found, |row| Ok((rows::count(row, 6)?, rows::workflow(row)?)))
}

/// Runs that fit a filter, in its order.
pub(crate) fn runs(conn: &Connection, filter: &RunFilter) -> Result<Vec<RunSummary>, Fail> {
    let from = match filter.asks {
        true => format!("(SELECT DISTINCT run_no {ASKS}) a CROSS JOIN runs r ON r.no = a.run_no"),
        false => "runs r".to_owned(),
    };
    let mut sql = format!("SELECT {} FROM {from} WHERE 1", rows::SUMMARY);
    let mut values: Vec<Value> = Vec::new();
    if let Some(before) = filter.before {
        sql.push_str(" AND r.id < ?");
        values.push(Value::Blob(before.to_bytes().to_vec()));
    }
    if let Some(after) = filter.after {
        sql.push_str(" AND r.id > ?");
        values.push(Value::Blob(after.to_bytes().to_vec()));
    }
    if let Some(workflow) = &filter.workflow {
        sql.push_str(" AND r.workflow = ?");
        values.push(Value::Text(workflow.as_str().to_owned()));
    }
    if let Some(except) = &filter.except {
        sql.push_str(" AND r.workflow <> ?");
        values.push(Value::Text(except.as_str().to_owned()));
    }
    if let Some(parent) = filter.parent {
        sql.push_str(" AND r.parent = ?");
        values.push(Value::Blob(parent.to_bytes().to_vec()));
    }
    if let Some(notifies) = &filter.notifies {
        sql.push_str(&format!(" AND {NOTIFICATION} AND r.params ->> '$.channel' = ?"));
        values.push(Value::Text(notifies.channel.clone()));
        if let Some(key) = &notifies.key {
            sql.push_str(" AND r.params ->> '$.key' = ?");
            values.push(Value::Text(key.clone()));
        }
    }
    if !filter.statuses.is_empty() {
        // Said in words, so that the index of all but the succeeded ones can be used.
        if !filter.statuses.contains(&RunStatus::Succeeded) {
            sql.push_str(" AND r.status <> 4");
        }
        let numbers: Vec<String> =
            filter.statuses.iter().map(|&status| (status as u8).to_string()).collect();
        sql.push_str(&format!(" AND r.status IN ({})", numbers.join(", ")));
    }
    let order = if filter.oldest_first { "ASC" } else { "DESC" };
    sql.push_str(&format!(" ORDER BY r.id {order} LIMIT ?"));
    values.push(Value::Integer(sql_limit(filter.limit)));
    let mut stmt = conn.prepare_cached(&sql)?;
    collect(stmt.query(params_from_iter(values))?, rows::summary)
}

/// The channels that have notifications. SQLite takes the other columns from the row of the maximum.
pub(crate) fn channels(conn: &Connection) -> Result<Vec<ChannelRow>, Fail> {
    let mut stmt = conn.prepare_cached(&format!(
        "SELECT channel, max(id), sum(status < 4), sum(status = {}) FROM (SELECT \
         r.params ->> '$.channel' AS channel, r.params ->> '$.key' AS key, max(r.id) AS id, r.status \
         FROM runs r INDEXED BY runs_channel_keys WHERE {NOTIFICATION} GROUP BY 1, 2) \
         WHERE channel IS NOT NULL GROUP BY channel",
        RunStatus::Failed as u8
    ))?;
    collect(stmt.query([])?, |row| {
        Ok(ChannelRow {
            channel: row.get(0)?,
            last: rows::run_id(row, 1)?,
            open: row.get::<_, i64>(2)?.cast_unsigned(),
            dead: row.get::<_, i64>(3)?.cast_unsigned(),
        })
    })
}

/// Steps of a run that wait for a person.
pub(crate) fn asking(conn: &Connection, run: RunId, limit: usize) -> Result<Vec<StepRow>, Fail> {
    let asks = ASKS.replacen("steps", "steps INDEXED BY steps_asks", 1);
    let mut stmt = conn.prepare_cached(&format!(
        "SELECT {} {asks} AND run_no = (SELECT no FROM runs WHERE id = ?1) ORDER BY inst LIMIT ?2",
        rows::STEP
    ))?;
    collect(stmt.query(params![run.to_bytes(), sql_limit(limit)])?, rows::step)
}

/// Runs whose id starts, or ends, with these digits.
pub(crate) fn find_runs(conn: &Connection, digits: &str) -> Result<Vec<RunId>, Fail> {
    let count = u32::try_from(digits.len()).unwrap_or(u32::MAX);
    let Some(number) = u128::from_str_radix(digits, 16).ok().filter(|_| count <= 32) else {
        return Ok(Vec::new());
    };
    let free = 4 * (32 - count);
    let first = number.checked_shl(free).unwrap_or(0);
    let last = first | u128::MAX.checked_shr(4 * count).unwrap_or(0);
    let mut stmt = conn.prepare_cached(
        "SELECT id FROM runs WHERE id BETWEEN ?1 AND ?2 ORDER BY id DESC LIMIT ?3",
    )?;
    let bounds = params![RunId(first).to_bytes(), RunId(last).to_bytes(), sql_limit(FOUND_MAX)];
    let mut found = collect(stmt.query(bounds)?, |row| rows::run_id(row, 0))?;
    let mask = u128::MAX.checked_shr(free).unwrap_or(0);
    let mut stmt = conn.prepare_cached("SELECT id FROM runs ORDER BY id DESC LIMIT ?1")?;
    let mut all = stmt.query([sql_limit(ENDS_LOOKED_MAX)])?;
    let mut ends = 0;
    while let Some(row) = all.next()? {
        let run = rows::run_id(row, 0)?;
        if run.0 & mask == number {
            found.push(run);
            ends += 1;
        }
        if ends >= FOUND_MAX {
            break;
        }
    }
    found.sort_unstable_by(|a, b| b.cmp(a));
    found.dedup();
    found.truncate(FOUND_MAX);
    Ok(found)
}

/// What became of a run.
pub(crate) fn fate(conn: &Connection, run: RunId) -> Result<Fate, Fail> {
    let mut stmt = conn.prepare_cached("SELECT status, finished_at FROM runs WHERE id = ?1")?;
    let mut found = stmt.query([run.to_bytes()])?;
    Ok(found.next()?.map(read_fate).transpose()?.unwrap_or(Fate::Unknown))
}

/// What became of the run that needs an artifact longest.
pub(crate) fn artifact_fate(conn: &Connection, hash: &ArtifactHash) -> Result<Fate, Fail> {
    let mut stmt = conn.prepare_cached(
        "SELECT r.status, r.finished_at FROM artifacts a CROSS JOIN runs r ON r.no = a.run_no \
         WHERE a.hash = ?1",
    )?;
    let fates = collect(stmt.query([hash])?, read_fate)?;
    Ok(fates.into_iter().max().unwrap_or(Fate::Unknown))
}

/// Reads status and end.
fn read_fate(row: &Row<'_>) -> Result<Fate, Fail> {
    let number: u8 = row.get(0)?;
    let status = RunStatus::from_number(number)
        .ok_or_else(|| Fail::Data(format!("a run of unknown status {number}")))?;
    let at = Millis(row.get::<_, Option<i64>>(1)?.unwrap_or(0));
    Ok(if status.is_terminal() { Fate::Ended(at) } else { Fate::Open })
}

/// When the newest run of a status ended that isn't among the newest `keep`.
pub(crate) fn ended_beyond(
    conn: &Connection,
    status: RunStatus,
    keep: u64,
    notifications: bool,
) -> Result<Option<Millis>, Fail> {
    let of = if notifications { "=" } else { "<>" };
    let mut stmt = conn.prepare_cached(&format!(
        "SELECT finished_at FROM runs WHERE status = ?1 AND finished_at IS NOT NULL \
         AND workflow {of} '{NOTIFY_WORKFLOW}' ORDER BY finished_at DESC LIMIT 1 OFFSET ?2"
    ))?;
    let at = stmt.query_row(params![status as u8, sql_count(keep)], |row| row.get(0));
    Ok(at.optional()?.map(Millis))
}

pub(crate) fn last_event(conn: &Connection) -> Result<u64, Fail> {
    let mut stmt = conn.prepare_cached(
        "SELECT max((SELECT value FROM counters WHERE name = 'event'), \
         coalesce((SELECT max(seq) FROM history), 0))",
    )?;
    let mut rows = stmt.query([])?;
    match rows.next()? {
        Some(row) => rows::count(row, 0),
        None => Ok(0),
    }
}

pub(crate) fn pending(conn: &Connection, run: RunId) -> Result<Pending, Fail> {
    let id = run.to_bytes();
    let mut stmt = conn.prepare_cached(
        "SELECT t.kind, t.step, t.due FROM runs r CROSS JOIN timers t ON t.run_no = r.no \
         WHERE r.id = ?1 ORDER BY t.kind, t.step",
    )?;
    let timers = collect(stmt.query([id])?, |row| Ok((rows::timer(row, 0)?, Millis(row.get(2)?))))?;
    let mut stmt =
        conn.prepare_cached("SELECT id, run, body FROM messages WHERE run = ?1 ORDER BY id")?;
    let messages = collect(stmt.query([id])?, rows::message)?;
    Ok(Pending { timers, messages, queued: queued(conn, id)?, tasks: tasks(conn, id)? })
}

/// The first tasks of a run that can be claimed, and what is before them.
fn tasks(conn: &Connection, id: [u8; 16]) -> Result<Vec<PendingTask>, Fail> {
    let mut stmt = conn.prepare_cached(
        "SELECT s.inst, s.agent, s.fairness_key, (SELECT count(*) FROM \
         (SELECT 1 FROM steps o WHERE o.agent = s.agent AND o.fairness_key = s.fairness_key \
         AND o.queue_key IS NOT NULL \
         AND (o.queue_key, o.run_no, o.inst) < (s.queue_key, s.run_no, s.inst) LIMIT ?2)) \
         FROM runs r CROSS JOIN steps s ON s.run_no = r.no WHERE r.id = ?1 \
         AND s.queue_key IS NOT NULL AND s.agent IS NOT NULL ORDER BY s.inst LIMIT ?3",
    )?;
    let max = (sql_count(BEFORE_MAX), read::sql_limit(PENDING_TASKS_MAX));
    let mut tasks = collect(stmt.query(params![id, max.0, max.1])?, |row| {
        let queue = TaskQueue { agent: rows::name(row, 1)?, key: rows::fairness_key(row, 2)? };
        Ok(PendingTask { inst: row.get(0)?, queue, before: rows::count(row, 3)?, others: 0 })
    })?;
    let mut queues: BTreeMap<Name, u64> = BTreeMap::new();
    for task in &mut tasks {
        let agent = &task.queue.agent;
        let all = match queues.get(agent) {
            Some(all) => *all,
            None => *queues.entry(agent.clone()).or_insert(count_queues(conn, agent)?),
        };
        task.others = all.saturating_sub(1).min(BEFORE_MAX);
    }
    Ok(tasks)
}

/// How many queues of an agent have tasks, one more than [`BEFORE_MAX`] at most.
fn count_queues(conn: &Connection, agent: &Name) -> Result<u64, Fail> {
    let mut stmt = conn.prepare_cached(
        "SELECT fairness_key FROM steps INDEXED BY steps_ready WHERE agent = ?1 \
         AND queue_key IS NOT NULL AND fairness_key > ?2 ORDER BY fairness_key LIMIT 1",
    )?;
    let without = "SELECT EXISTS (SELECT 1 FROM steps WHERE agent = ?1 AND fairness_key = '' \
                   AND queue_key IS NOT NULL)";
    let mut without = conn.prepare_cached(without)?;
    let some = without.query_row([agent.as_str()], |row| row.get::<_, bool>(0))?;
    let mut count = u64::from(some);
    let mut last = String::new();
    while count <= BEFORE_MAX {
        let next = stmt.query_row([agent.as_str(), &last], |row| row.get(0)).optional()?;
        let Some(next) = next else { break };
        (last, count) = (next, count + 1);
    }
    Ok(count)
}

/// A waiting run's place in the queue for its concurrency slot, from 1, and who holds the slots.
fn queued(conn: &Connection, id: [u8; 16]) -> Result<Option<(u32, Vec<RunId>)>, Fail> {
    let mut stmt = conn.prepare_cached(
        "SELECT s.key, 1 + (SELECT count(*) FROM slots o WHERE o.key = s.key AND o.held = 0 \
         AND (o.queue_key, o.run_no) < (s.queue_key, s.run_no)) \
         FROM runs r CROSS JOIN slots s ON s.run_no = r.no WHERE r.id = ?1 AND s.held = 0",
    )?;
    let place = stmt.query_row([id], |row| Ok((row.get::<_, String>(0)?, row.get::<_, u32>(1)?)));
    let Some((key, place)) = place.optional()? else { return Ok(None) };
    let mut stmt = conn.prepare_cached(
        "SELECT r.id FROM slots s CROSS JOIN runs r ON r.no = s.run_no \
         WHERE s.key = ?1 AND s.held = 1 ORDER BY s.run_no",
    )?;
    let holders = collect(stmt.query([key])?, |row| rows::run_id(row, 0))?;
    Ok(Some((place, holders)))
}

/// When the first trigger is due.
fn first_due(conn: &Connection) -> Result<Option<Millis>, Fail> {
    let mut stmt =
        conn.prepare_cached("SELECT min(due_at) FROM triggers WHERE due_at IS NOT NULL")?;
    let first: Option<i64> = stmt.query_row([], |row| row.get(0))?;
    Ok(first.map(Millis))
}

/// Only the index is walked as a whole, as for their number; of the steps, so many are read.
fn ready_since(conn: &Connection) -> Result<Option<Millis>, Fail> {
    let mut stmt = conn.prepare_cached(&format!(
        "SELECT min(s.ready_at) FROM (SELECT run_no, inst FROM steps WHERE queue_key IS NOT NULL \
         ORDER BY queue_key LIMIT {READY_LOOKED_MAX}) q CROSS JOIN steps s \
         ON s.run_no = q.run_no AND s.inst = q.inst"
    ))?;
    let first: Option<i64> = stmt.query_row([], |row| row.get(0))?;
    Ok(first.map(Millis))
}

/// Takes notifications out of the runs that were counted.
fn take_notifications(conn: &Connection, totals: &mut Totals) -> Result<(), Fail> {
    let mut stmt = conn.prepare_cached(&format!(
        "SELECT status, count(*) FROM runs INDEXED BY runs_notifications \
         WHERE workflow = '{NOTIFY_WORKFLOW}' GROUP BY status"
    ))?;
    for (status, count) in collect(stmt.query([])?, |row| Ok((row.get(0)?, rows::count(row, 1)?)))?
    {
        let status = RunStatus::from_number(status)
            .ok_or_else(|| Fail::Data(format!("{count} runs of unknown status {status}")))?;
        let name = status.as_str().to_owned();
        if let Some(runs) = totals.runs.get_mut(&name) {
            *runs = runs.saturating_sub(count);
        }
        totals.notifications.insert(name, count);
    }
    totals.runs.retain(|_, runs| *runs > 0);
    Ok(())
}

pub(crate) fn totals(conn: &Connection) -> Result<Totals, Fail> {
    let count = |sql: &str| -> Result<u64, Fail> {
        let mut stmt = conn.prepare_cached(sql)?;
        let mut rows = stmt.query([])?;
        rows.next()?.map_or(Ok(0), |row| rows::count(row, 0))
    };
    let mut totals = Totals {
        ready: count("SELECT count(*) FROM steps WHERE queue_key IS NOT NULL")?,
        running: count(
            "SELECT count(*) FROM runs r CROSS JOIN steps s ON s.run_no = r.no \
             WHERE r.status <> 4 AND r.status IN (0, 1, 2, 3) AND s.status = 2",
        )?,
        timers: count("SELECT count(*) FROM timers")?,
        messages: count("SELECT count(*) FROM messages")?,
        asks: count(&format!("SELECT count(*) FROM (SELECT 1 {ASKS} LIMIT {ASKS_MAX})"))?,
        events: last_event(conn)?,
        ready_since: ready_since(conn)?,
        trigger_due: first_due(conn)?,
        ..Totals::default()
    };
    // The many that succeeded are what is left when the others are counted by their index.
    let mut succeeded = count("SELECT count(*) FROM runs")?;
    let mut stmt =
        conn.prepare_cached("SELECT status, count(*) FROM runs WHERE status <> 4 GROUP BY status")?;
    for (status, runs) in collect(stmt.query([])?, |row| Ok((row.get(0)?, rows::count(row, 1)?)))? {
        let status = RunStatus::from_number(status)
            .ok_or_else(|| Fail::Data(format!("{runs} runs of unknown status {status}")))?;
        totals.runs.insert(status.as_str().to_owned(), runs);
        succeeded = succeeded.saturating_sub(runs);
    }
    if succeeded > 0 {
        totals.runs.insert(RunStatus::Succeeded.as_str().to_owned(), succeeded);
    }
    take_notifications(conn, &mut totals)?;
    Ok(totals)
}
