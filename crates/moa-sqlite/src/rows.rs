//! Rows of tables and the values of moa-core: one into the other.

use std::sync::Arc;

use moa_core::event::Event;
use moa_core::ids::{Name, NodeId, RunId, VersionHash};
use moa_core::machine::{BUS, MessageBody, TimerKey};
use moa_core::run::{ParentRef, Phase, RunExtra, RunRow, RunStatus, StepRow};
use moa_core::schedule::Revision;
use moa_core::step::{SkipReason, StepStatus, WaitReason};
use moa_core::time::Millis;
use moa_core::trigger::{Occurrence, Origin, Outcome, TriggerSpec};
use moa_core::workflow::Priority;
use moa_ports::store::{Message, MessageId, WorkflowVersion};
use moa_ports::triggers::{Heard, TriggerRow};
use moa_ports::views::{HistoryRow, KeptRow, RunSummary};
use rusqlite::types::{Null, ValueRef};
use rusqlite::{Row, Statement};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::Fail;

/// Columns of a run as [`run`] reads them, from `runs r`.
pub const RUN: &str = "r.id, r.workflow, r.hash, r.status, r.phase, r.priority, \
    coalesce(r.params, (SELECT p.params FROM run_params p WHERE p.run_no = r.no)), \
    r.parent, r.parent_step, r.parent_depth, r.created_at, r.started_at, r.finished_at, \
    r.output, r.error, r.extra, \
    (SELECT g.trigger_json FROM run_triggers g WHERE g.run_no = r.no)";
/// Columns of a run in a list as [`summary`] reads them, from `runs r`.
pub const SUMMARY: &str = "r.id, r.workflow, r.hash, r.status, r.extra, r.parent, r.created_at, \
    r.started_at, r.finished_at, r.error";
/// Columns of a step as [`step`] reads them and [`bind_step`] binds them behind the run's number.
pub const STEP: &str = "inst, plan, owner, iteration, status, wait, skip, attempt, released, \
    node, queue_key, ready_at, started_at, finished_at, until, output, error, data, agent, \
    fairness_key";
/// Columns of a history row as [`history`] reads them, from `history h`.
pub const HISTORY: &str = "h.seq, h.version, h.at, h.events";
/// Columns of a history row as [`kept`] reads them, from `history h` and `runs r`, which the bus has none in.
pub const KEPT: &str = "h.seq, h.version, h.at, h.events, r.id, r.workflow";
/// Columns of a trigger as [`trigger`] reads them.
pub const TRIGGER: &str = "version, spec, state, due_at";
/// Columns of an occurrence as [`occurrence`] reads them.
pub const OCCURRENCE: &str = "key, at, utc_offset, last, count, revision, origin, outcome, \
    reason, run, result, decided_at";
/// Columns of a workflow version as [`workflow`] reads them.
pub const WORKFLOW: &str = "workflow, hash, version, source, plan, created_at";

/// Turns values into JSON text in a buffer that is used again and again.
#[derive(Default)]
pub struct Text(Vec<u8>);

impl Text {
    /// The value as JSON.
    pub fn of(&mut self, value: &impl Serialize) -> Result<&str, Fail> {
        self.0.clear();
        serde_json::to_writer(&mut self.0, value).map_err(|e| Fail::Invalid(e.to_string()))?;
        std::str::from_utf8(&self.0).map_err(|e| Fail::Invalid(e.to_string()))
    }

    fn bind(
        &mut self,
        stmt: &mut Statement<'_>,
        column: usize,
        value: Option<&impl Serialize>,
    ) -> Result<(), Fail> {
        match value {
            Some(value) => stmt.raw_bind_parameter(column, self.of(value)?)?,
            None => stmt.raw_bind_parameter(column, Null)?,
        }
        Ok(())
    }
}

/// Binds a step: the run's number, then the columns of [`STEP`].
pub fn bind_step(
    stmt: &mut Statement<'_>,
    run_no: i64,
    step: &StepRow,
    text: &mut Text,
) -> Result<(), Fail> {
    stmt.raw_bind_parameter(1, run_no)?;
    stmt.raw_bind_parameter(2, step.inst)?;
    stmt.raw_bind_parameter(3, step.plan)?;
    stmt.raw_bind_parameter(4, step.owner)?;
    stmt.raw_bind_parameter(5, step.iteration)?;
    stmt.raw_bind_parameter(6, step.status as u8)?;
    stmt.raw_bind_parameter(7, step.wait.map(|w| w as u8))?;
    stmt.raw_bind_parameter(8, step.skip.map(|s| s as u8))?;
    stmt.raw_bind_parameter(9, step.attempt)?;
    stmt.raw_bind_parameter(10, step.released)?;
    stmt.raw_bind_parameter(11, step.node.map(node_to_sql))?;
    stmt.raw_bind_parameter(12, step.queue_key)?;
    stmt.raw_bind_parameter(13, step.ready_at.map(|t| t.0))?;
    stmt.raw_bind_parameter(14, step.started_at.map(|t| t.0))?;
    stmt.raw_bind_parameter(15, step.finished_at.map(|t| t.0))?;
    stmt.raw_bind_parameter(16, step.until.map(|t| t.0))?;
    text.bind(stmt, 17, step.output.as_ref())?;
    text.bind(stmt, 18, step.error.as_ref())?;
    text.bind(stmt, 19, step.data.as_ref())?;
    stmt.raw_bind_parameter(20, step.agent.as_ref().map(Name::as_str))?;
    stmt.raw_bind_parameter(21, step.fairness_key.as_deref().unwrap_or_default())?;
    Ok(())
}

/// Binds what of a run's row can change, as columns from `first` on: status, phase, priority,
/// started_at, finished_at, output, error, extra.
pub fn bind_run_changes(
    stmt: &mut Statement<'_>,
    first: usize,
    row: &RunRow,
    text: &mut Text,
) -> Result<(), Fail> {
    stmt.raw_bind_parameter(first, row.status as u8)?;
    stmt.raw_bind_parameter(first + 1, row.phase as u8)?;
    stmt.raw_bind_parameter(first + 2, row.priority as u8)?;
    stmt.raw_bind_parameter(first + 3, row.started_at.map(|t| t.0))?;
    stmt.raw_bind_parameter(first + 4, row.finished_at.map(|t| t.0))?;
    text.bind(stmt, first + 5, row.output.as_ref())?;
    text.bind(stmt, first + 6, row.error.as_ref())?;
    text.bind(stmt, first + 7, Some(&row.extra))
}

/// A node's id as SQLite keeps it: the same 64 bits, signed.
pub fn node_to_sql(node: NodeId) -> i64 {
    node.0.cast_signed()
}

/// Reads a run; columns [`RUN`].
pub fn run(row: &Row<'_>) -> Result<RunRow, Fail> {
    let id = run_id(row, 0)?;
    let wrong = |what: &str| Fail::Data(format!("run {id}: {what}"));
    let parent = match row.get::<_, Option<[u8; 16]>>(7)? {
        None => None,
        Some(bytes) => {
            Some(ParentRef { run: RunId::from_bytes(bytes), step: row.get(8)?, depth: row.get(9)? })
        }
    };
    let params = json(row, 6)?.ok_or_else(|| wrong("its params are missing"))?;
    let extra: Option<RunExtra> = json(row, 15)?;
    Ok(RunRow {
        run: id,
        workflow: name(row, 1)?,
        hash: VersionHash(row.get(2)?),
        status: RunStatus::from_number(row.get(3)?).ok_or_else(|| wrong("unknown status"))?,
        phase: Phase::from_number(row.get(4)?).ok_or_else(|| wrong("unknown phase"))?,
        priority: priority(row.get(5)?).ok_or_else(|| wrong("unknown priority"))?,
        params: Arc::new(params),
        parent,
        trigger: json(row, 16)?,
        created_at: Millis(row.get(10)?),
        started_at: millis(row, 11)?,
        finished_at: millis(row, 12)?,
        output: json(row, 13)?,
        error: json(row, 14)?,
        extra: extra.ok_or_else(|| wrong("a part of its row is missing"))?,
    })
}

/// Reads a run in a list; columns [`SUMMARY`].
pub fn summary(row: &Row<'_>) -> Result<RunSummary, Fail> {
    let id = run_id(row, 0)?;
    let status = RunStatus::from_number(row.get(3)?);
    let extra: RunExtra = json(row, 4)?.unwrap_or_default();
    let error: Option<moa_core::step::StepError> = json(row, 9)?;
    Ok(RunSummary {
        run: id,
        workflow: name(row, 1)?,
        hash: VersionHash(row.get(2)?),
        status: status.ok_or_else(|| Fail::Data(format!("run {id}: unknown status")))?,
        cause: extra.cause,
        parent: row.get::<_, Option<[u8; 16]>>(5)?.map(RunId::from_bytes),
        created_at: Millis(row.get(6)?),
        started_at: millis(row, 7)?,
        finished_at: millis(row, 8)?,
        error: error.map(|e| e.message),
    })
}

/// Reads a step; columns [`STEP`].
pub fn step(row: &Row<'_>) -> Result<StepRow, Fail> {
    let inst = row.get(0)?;
    let wrong = |what: &str| Fail::Data(format!("step {inst}: unknown {what}"));
    let wait: Option<u8> = row.get(5)?;
    let skip: Option<u8> = row.get(6)?;
    Ok(StepRow {
        inst,
        plan: row.get(1)?,
        owner: row.get(2)?,
        iteration: row.get(3)?,
        status: StepStatus::from_number(row.get(4)?).ok_or_else(|| wrong("status"))?,
        wait: known(wait, WaitReason::from_number).map_err(|()| wrong("wait reason"))?,
        skip: known(skip, SkipReason::from_number).map_err(|()| wrong("skip reason"))?,
        attempt: row.get(7)?,
        released: row.get(8)?,
        node: row.get::<_, Option<i64>>(9)?.map(|node| NodeId(node.cast_unsigned())),
        queue_key: row.get(10)?,
        ready_at: millis(row, 11)?,
        started_at: millis(row, 12)?,
        finished_at: millis(row, 13)?,
        until: millis(row, 14)?,
        output: json(row, 15)?,
        error: json(row, 16)?,
        data: json(row, 17)?,
        agent: match row.get_ref(18)? {
            ValueRef::Null => None,
            _ => Some(name(row, 18)?),
        },
        fairness_key: fairness_key(row, 19)?,
    })
}

/// The bytes of what a step carries; columns [`STEP`].
pub fn step_bytes(row: &Row<'_>) -> Result<usize, Fail> {
    let mut bytes = 0;
    for column in 15..=17 {
        bytes += match row.get_ref(column)? {
            ValueRef::Text(text) => text.len(),
            ValueRef::Blob(blob) => blob.len(),
            _ => 0,
        };
    }
    Ok(bytes)
}

/// A fairness key; empty = none.
pub fn fairness_key(row: &Row<'_>, column: usize) -> Result<Option<Arc<str>>, Fail> {
    let key = row.get_ref(column)?.as_str().map_err(rusqlite::Error::from)?;
    Ok((!key.is_empty()).then(|| key.into()))
}

/// Reads a history row; columns [`HISTORY`].
pub fn history(row: &Row<'_>, run: RunId) -> Result<HistoryRow, Fail> {
    let seq = count(row, 0)?;
    let events: Option<Vec<Event>> = json(row, 3)?;
    Ok(HistoryRow {
        seq,
        run,
        version: count(row, 1)?,
        at: Millis(row.get(2)?),
        events: events.ok_or_else(|| Fail::Data(format!("event {seq} is empty")))?,
    })
}

/// The run of a row of the history; none = the bus.
pub fn run_or_bus(row: &Row<'_>, column: usize) -> Result<RunId, Fail> {
    let id: Option<[u8; 16]> = row.get(column)?;
    Ok(id.map_or(BUS, RunId::from_bytes))
}

/// Who has heard of a published event.
pub fn heard(row: &Row<'_>, column: usize) -> Result<Heard, Fail> {
    let heard: Option<Heard> = json(row, column)?;
    heard.ok_or_else(|| Fail::Data("a published event's row is empty".to_owned()))
}

/// Reads a history row, but not its events; columns [`KEPT`].
pub fn kept(row: &Row<'_>) -> Result<KeptRow, Fail> {
    let events = row.get_ref(3)?.as_str().map_err(|e| Fail::Data(e.to_string()))?;
    Ok(KeptRow {
        seq: count(row, 0)?,
        run: run_or_bus(row, 4)?,
        workflow: match row.get_ref(5)? {
            ValueRef::Null => None,
            _ => Some(name(row, 5)?),
        },
        version: count(row, 1)?,
        at: Millis(row.get(2)?),
        events: events.to_owned(),
    })
}

/// Reads a trigger; columns [`TRIGGER`].
pub fn trigger(row: &Row<'_>) -> Result<TriggerRow, Fail> {
    let empty = || Fail::Data("a trigger's row is empty".to_owned());
    let spec: Option<TriggerSpec> = json(row, 1)?;
    Ok(TriggerRow {
        version: count(row, 0)?,
        spec: Arc::new(spec.ok_or_else(empty)?),
        state: json(row, 2)?.ok_or_else(empty)?,
        due_at: millis(row, 3)?,
    })
}

/// Reads an occurrence; columns [`OCCURRENCE`].
pub fn occurrence(row: &Row<'_>) -> Result<Occurrence, Fail> {
    let key: String = row.get(0)?;
    let wrong = |what: &str| Fail::Data(format!("occurrence {key}: unknown {what}"));
    let outcome = Outcome::from_number(row.get(7)?).ok_or_else(|| wrong("outcome"))?;
    let result = known(row.get(10)?, RunStatus::from_number).map_err(|()| wrong("result"))?;
    let (origin, counted): (u32, i64) = (row.get(6)?, row.get(4)?);
    Ok(Occurrence {
        at: Millis(row.get(1)?),
        offset: row.get(2)?,
        last: millis(row, 3)?,
        count: counted.cast_unsigned(),
        revision: Revision(row.get::<_, i64>(5)?.cast_unsigned()),
        origin: match origin {
            0 => Origin::Live,
            1 => Origin::CatchUp,
            2 => Origin::Manual,
            n => Origin::Backfill(n - 2),
        },
        outcome,
        reason: row.get(8)?,
        run: row.get::<_, Option<[u8; 16]>>(9)?.map(RunId::from_bytes),
        result,
        decided_at: Millis(row.get(11)?),
        key,
    })
}

/// How an occurrence came about, as SQLite keeps it.
pub fn origin_to_sql(origin: Origin) -> u32 {
    match origin {
        Origin::Live => 0,
        Origin::CatchUp => 1,
        Origin::Manual => 2,
        Origin::Backfill(n) => n.saturating_add(2),
    }
}

/// Reads a workflow version; columns [`WORKFLOW`].
pub fn workflow(row: &Row<'_>) -> Result<WorkflowVersion, Fail> {
    Ok(WorkflowVersion {
        workflow: name(row, 0)?,
        hash: VersionHash(row.get(1)?),
        version: row.get(2)?,
        source: row.get(3)?,
        plan: row.get(4)?,
        created_at: Millis(row.get(5)?),
    })
}

/// Reads a message; columns id, run, body.
pub fn message(row: &Row<'_>) -> Result<(MessageId, Message), Fail> {
    let id = count(row, 0)?;
    let body: Option<MessageBody> = json(row, 2)?;
    let body = body.ok_or_else(|| Fail::Data(format!("message {id} is empty")))?;
    Ok((id, Message { to: run_id(row, 1)?, body }))
}

/// Reads a timer's key from two columns: kind, step.
pub fn timer(row: &Row<'_>, column: usize) -> Result<TimerKey, Fail> {
    TimerKey::from_parts(row.get(column)?, row.get(column + 1)?)
        .ok_or_else(|| Fail::Data("a timer of unknown kind".to_owned()))
}

/// Reads a run's id.
pub fn run_id(row: &Row<'_>, column: usize) -> Result<RunId, Fail> {
    Ok(RunId::from_bytes(row.get(column)?))
}

/// Reads a number that is never negative.
pub fn count(row: &Row<'_>, column: usize) -> Result<u64, Fail> {
    let number: i64 = row.get(column)?;
    u64::try_from(number).map_err(|_| Fail::Data(format!("{number} where a count should be")))
}

fn millis(row: &Row<'_>, column: usize) -> Result<Option<Millis>, Fail> {
    Ok(row.get::<_, Option<i64>>(column)?.map(Millis))
}

pub fn name(row: &Row<'_>, column: usize) -> Result<Name, Fail> {
    let text = row.get_ref(column)?.as_str().map_err(|e| Fail::Data(e.to_string()))?;
    Name::new(text).map_err(|e| Fail::Data(format!("{text:?} where a name should be: {e}")))
}

pub fn json<T: DeserializeOwned>(row: &Row<'_>, column: usize) -> Result<Option<T>, Fail> {
    let text = row.get_ref(column)?.as_str_or_null().map_err(|e| Fail::Data(e.to_string()))?;
    let Some(text) = text else { return Ok(None) };
    serde_json::from_str(text)
        .map(Some)
        .map_err(|e| Fail::Data(format!("JSON that can't be read in column {column}: {e}")))
}

/// A number that may be absent, but must be known.
fn known<T>(number: Option<u8>, from: impl FnOnce(u8) -> Option<T>) -> Result<Option<T>, ()> {
    match number {
        None => Ok(None),
        Some(number) => from(number).map(Some).ok_or(()),
    }
}

fn priority(number: u8) -> Option<Priority> {
    use Priority::*;
    [Critical, High, Medium, Low].get(usize::from(number)).copied()
}
