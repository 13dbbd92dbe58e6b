//! Writes one batch inside a transaction: the commits one after another, then the relays.
//!
//! All that can refuse a commit is asked before its first row is written, so a refused commit
//! leaves nothing behind and needs no savepoint; any other failure rolls the whole batch back. When
//! it is the fault of a row, the batch is written again, with a savepoint for each commit.

mod triggers;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use moa_core::ids::{NodeId, RunId};
use moa_core::machine::{BUS, Input, MessageBody, TimerKey};
use moa_core::policy::{Admission, admit};
use moa_core::run::RunRow;
use moa_core::step::StepStatus;
use moa_core::time::Millis;
use moa_core::workflow::OnLimit;
use moa_ports::artifacts;
use moa_ports::store::{
    Batch, BatchOutcome, Commit, CommitOutcome, ConcurrencySlot, Message, MessageId, Relay,
    StartGuard,
};
use moa_ports::triggers::TriggerOutcome;
use rusqlite::{CachedStatement, Connection, OptionalExtension, params};

use crate::audit;
use crate::error::Fail;
use crate::limits;
use crate::read::sql_limit;
use crate::rows::{self, Text};
use crate::sealed;

/// Params longer than this (bytes of JSON) stand in a table of their own.
const PARAMS_INLINE_BYTES_MAX: usize = 1024;
/// Runs whose number and version are remembered; some 64 bytes each.
const KNOWN_RUNS_MAX: usize = 50_000;

/// What the writer remembers between batches. All of it can be read again from the database, and
/// is after any failure.
#[derive(Default)]
pub(crate) struct State {
    /// Number and version of runs written lately.
    known: HashMap<RunId, Known>,
    /// Number of the newest run.
    last_no: i64,
    /// Number of the newest event.
    last_event: u64,
    /// Number of the newest message.
    last_message: MessageId,
    /// The node that registered last: the only one that lives.
    pub node: Option<NodeId>,
    /// Steps that may have lost their node, by number of their run; `None` = not looked yet.
    pub lost: Option<BTreeSet<(i64, u32)>>,
    /// Whether any trigger listens to anything; `None` = not looked yet.
    listeners: Option<bool>,
    text: Text,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Known {
    no: i64,
    version: u64,
    /// The run at the top.
    root: RunId,
}

impl State {
    /// Reads what can be read again; who is registered stays.
    pub fn reload(&mut self, conn: &Connection) -> Result<(), Fail> {
        let newest = |sql: &str| conn.query_row(sql, [], |row| row.get::<_, i64>(0));
        let count = |number: i64| u64::try_from(number).unwrap_or(0);
        self.known.clear();
        self.lost = None;
        self.listeners = None;
        self.last_no = newest(
            "SELECT max(coalesce((SELECT max(no) FROM runs), 0), \
             coalesce((SELECT max(run_no) FROM doomed), 0), \
             coalesce((SELECT max(handed_until) FROM messages WHERE handed_until IS NOT NULL), 0))",
        )?;
        self.last_event = count(newest(
            "SELECT max((SELECT value FROM counters WHERE name = 'event'), \
             coalesce((SELECT max(seq) FROM history), 0))",
        )?);
        self.last_message = count(newest(
            "SELECT max((SELECT value FROM counters WHERE name = 'message'), \
             coalesce((SELECT max(id) FROM messages), 0))",
        )?);
        Ok(())
    }

    /// Forgets a run that is gone.
    pub fn forget(&mut self, run: RunId) {
        self.known.remove(&run);
    }

    /// Number of the newest event.
    pub fn last_event(&self) -> u64 {
        self.last_event
    }
}

/// A run that waits for an event.
struct Waiter {
    no: i64,
    id: [u8; 16],
    /// The run at the top.
    root: [u8; 16],
}

/// Writes a batch; the caller has begun the transaction and ends it. `faults` are the commits that
/// are not even tried. `careful`: a commit that can't be written leaves nothing behind, and the
/// others are written; else it is an error.
pub(crate) fn batch(
    conn: &Connection,
    state: &mut State,
    batch: &Batch,
    faults: &BTreeMap<usize, String>,
    careful: bool,
) -> Result<BatchOutcome, Fail> {
    if state.known.len() > KNOWN_RUNS_MAX {
        state.known.clear();
    }
    let sent_before = state.last_message;
    let mut outcome = BatchOutcome::default();
    let refused = limits::write(conn, &batch.limits, &mut outcome)?;
    let mut writer = Writer::new(conn, state, batch.now)?;
    outcome.commits.reserve(batch.commits.len());
    for (position, commit) in batch.commits.iter().enumerate() {
        outcome.commits.push(match faults.get(&position) {
            Some(wrong) => CommitOutcome::Invalid(wrong.clone()),
            None if refused.contains(&commit.run) => CommitOutcome::Conflict,
            None if careful => writer.commit_carefully(commit)?,
            None => writer.commit(commit)?,
        });
    }
    let faults = batch.trigger_faults();
    for (position, commit) in batch.triggers.iter().enumerate() {
        let done = match faults.get(&position) {
            Some(wrong) => TriggerOutcome::Invalid(wrong.clone()),
            None if careful => writer.trigger_carefully(commit)?,
            None => writer.trigger(commit)?,
        };
        if done == TriggerOutcome::Applied && commit.publishes() {
            outcome.bus = Some(writer.state.last_event);
        }
        outcome.triggers.push(done);
    }
    let mut left = false;
    for relay in &batch.relays {
        left |= !writer.relay(relay)?;
    }
    for post in &batch.posts {
        let posted = writer.post(post)?;
        outcome.bus = posted.seq.filter(|_| posted.new).or(outcome.bus);
        outcome.posts.push(posted);
    }
    left |= writer.hand_on_all(&batch.events, batch.event_runs)?;
    drop(writer);
    let sent = state.last_message > sent_before;
    if sent {
        set_counter(conn, "message", state.last_message)?;
    }
    outcome.messages = left || sent;
    outcome.sealed_refused = !sealed::write(conn, batch.now, &batch.sealed)?;
    outcome.audit = audit::append(conn, &batch.audit)?;
    audit::remove(conn, batch.audit_upto)?;
    Ok(outcome)
}

/// Keeps a counter that the rows alone won't tell.
pub(crate) fn set_counter(conn: &Connection, name: &str, value: u64) -> Result<(), Fail> {
    let mut stmt = conn.prepare_cached("UPDATE counters SET value = ?2 WHERE name = ?1")?;
    stmt.execute(params![name, value.cast_signed()])?;
    Ok(())
}

/// The statements of the hot path, looked up once a batch.
struct Writer<'c> {
    conn: &'c Connection,
    state: &'c mut State,
    /// The instant of the batch.
    now: Millis,
    step: CachedStatement<'c>,
    history: CachedStatement<'c>,
}

impl<'c> Writer<'c> {
    fn new(conn: &'c Connection, state: &'c mut State, now: Millis) -> Result<Self, Fail> {
        let step = conn.prepare_cached(STEP_SQL)?;
        let history = conn.prepare_cached(
            "INSERT INTO history (seq, run_no, version, at, events) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?;
        Ok(Self { conn, state, now, step, history })
    }

    /// The same as `commit`; one that can't be written leaves nothing behind, and the others go on.
    /// Costs two statements more.
    fn commit_carefully(&mut self, commit: &Commit) -> Result<CommitOutcome, Fail> {
        let State { last_no, last_event, last_message, .. } = *self.state;
        self.execute("SAVEPOINT one_commit")?;
        let done = match self.commit(commit) {
            Err(fail) if fail.is_of_the_row() => {
                self.execute("ROLLBACK TO one_commit")?;
                let state = &mut *self.state;
                (state.last_no, state.last_event) = (last_no, last_event);
                state.last_message = last_message;
                state.known.remove(&commit.run);
                CommitOutcome::Invalid(fail.text())
            }
            done => done?,
        };
        self.execute("RELEASE one_commit")?;
        Ok(done)
    }

    fn execute(&self, sql: &str) -> Result<(), Fail> {
        self.conn.prepare_cached(sql)?.execute([])?;
        Ok(())
    }

    /// One commit: first all that can refuse it, then everything is written.
    fn commit(&mut self, commit: &Commit) -> Result<CommitOutcome, Fail> {
        let guard = commit.start.as_ref();
        if let Some(key) = guard.and_then(|guard| guard.idempotency_key.as_deref())
            && let Some(run) = self.run_of_key(key)?
        {
            return Ok(CommitOutcome::Duplicate(run));
        }
        let run = commit.run;
        let known = self.find(run)?;
        if known.map_or(0, |known| known.version) != commit.expected {
            return Ok(CommitOutcome::Conflict);
        }
        if !self.messages_exist(&commit.consumed)? {
            return Ok(CommitOutcome::Conflict);
        }
        let slot = guard.and_then(|guard| guard.concurrency.as_ref());
        let admission = slot.map(|slot| self.ask(slot)).transpose()?;
        if admission == Some(Admission::Skip) {
            return Ok(CommitOutcome::Skipped);
        }
        for id in &commit.consumed {
            self.delete_message(*id)?;
        }
        let known = match (known, &commit.row) {
            (Some(known), Some(row)) => {
                self.update_run(known.no, row)?;
                known
            }
            (Some(known), None) => known,
            (None, Some(row)) => self.insert_run(row, guard)?,
            (None, None) => {
                // A commit for a run that doesn't exist: it only takes and sends messages.
                commit.messages.iter().try_for_each(|message| self.send(message, None))?;
                return Ok(CommitOutcome::Applied { seq: 0 });
            }
        };
        if let (Some(slot), Some(admission)) = (slot, admission) {
            self.start(run, known.no, slot, admission)?;
        }
        self.write(known, commit)?;
        if self.is_heard()?
            && let Some(row) = &commit.row
        {
            self.tell_of_run(row, commit)?;
        }
        if commit.ended {
            self.release(known.no)?;
        }
        let seq = self.append(known, commit)?;
        if commit.ended {
            self.state.known.remove(&run);
        }
        Ok(CommitOutcome::Applied { seq })
    }

    /// What needs no thought: steps, timers, waits, messages.
    fn write(&mut self, known: Known, commit: &Commit) -> Result<(), Fail> {
        let no = known.no;
        for step in &commit.steps {
            rows::bind_step(&mut self.step, no, step, &mut self.state.text)?;
            self.step.raw_execute()?;
            if step.status == StepStatus::Running
                && step.node != self.state.node
                && let Some(lost) = &mut self.state.lost
            {
                lost.insert((no, step.inst));
            }
        }
        for &(key, due) in &commit.timers {
            self.set_timer(no, key, due)?;
        }
        for (inst, event, waits) in &commit.waits {
            let sql = match waits {
                true => "INSERT OR IGNORE INTO waits (run_no, inst, event) VALUES (?1, ?2, ?3)",
                false => "DELETE FROM waits WHERE run_no = ?1 AND inst = ?2 AND event = ?3",
            };
            self.conn.prepare_cached(sql)?.execute(params![no, inst, event])?;
        }
        commit.messages.iter().try_for_each(|message| self.send(message, Some(known.root)))
    }

    /// Appends the history row; answers its number, 0 when there are no events.
    fn append(&mut self, known: Known, commit: &Commit) -> Result<u64, Fail> {
        let version = commit.expected + u64::from(!commit.events.is_empty());
        self.state.known.insert(commit.run, Known { version, ..known });
        if commit.events.is_empty() {
            return Ok(0);
        }
        self.state.last_event += 1;
        let seq = self.state.last_event;
        self.history.raw_bind_parameter(1, seq.cast_signed())?;
        self.history.raw_bind_parameter(2, known.no)?;
        self.history.raw_bind_parameter(3, version.cast_signed())?;
        self.history.raw_bind_parameter(4, commit.at.0)?;
        let events = self.state.text.of(&commit.events)?;
        self.history.raw_bind_parameter(5, events)?;
        let mut referred = Vec::new();
        artifacts::references(events, |artifact| referred.push(artifact));
        self.history.raw_execute()?;
        for artifact in referred {
            let sql = "INSERT OR IGNORE INTO artifacts (hash, run_no) VALUES (?1, ?2)";
            self.conn.prepare_cached(sql)?.execute(params![artifact, known.no])?;
        }
        Ok(seq)
    }

    /// The number, version and root of a run, if it exists.
    fn find(&mut self, run: RunId) -> Result<Option<Known>, Fail> {
        if let Some(known) = self.state.known.get(&run) {
            return Ok(Some(*known));
        }
        let mut stmt = self.conn.prepare_cached(
            "SELECT r.no, (SELECT max(h.version) FROM history h WHERE h.run_no = r.no), \
             coalesce(r.root, r.id) FROM runs r WHERE r.id = ?1",
        )?;
        let found = stmt.query_row([run.to_bytes()], |row| {
            Ok((row.get(0)?, row.get(1)?, RunId::from_bytes(row.get(2)?)))
        });
        let Some((no, version, root)) = found.optional()? else { return Ok(None) };
        let version: Option<i64> = version;
        let version = version
            .and_then(|version| u64::try_from(version).ok())
            .ok_or_else(|| Fail::Data(format!("run {run} has no history")))?;
        Ok(Some(Known { no, version, root }))
    }

    /// The run at the top of a run, if that exists.
    fn root_of(&self, run: RunId) -> Result<Option<RunId>, Fail> {
        if let Some(known) = self.state.known.get(&run) {
            return Ok(Some(known.root));
        }
        let mut stmt =
            self.conn.prepare_cached("SELECT coalesce(root, id) FROM runs WHERE id = ?1")?;
        let root = stmt.query_row([run.to_bytes()], |row| row.get(0)).optional()?;
        Ok(root.map(RunId::from_bytes))
    }

    fn run_of_key(&self, key: &str) -> Result<Option<RunId>, Fail> {
        let mut stmt = self.conn.prepare_cached(
            "SELECT id FROM runs WHERE idempotency_key = ?1 \
             UNION ALL SELECT run FROM spent_keys WHERE key = ?1",
        )?;
        let id = stmt.query_row([key], |row| row.get(0)).optional()?;
        Ok(id.map(RunId::from_bytes))
    }

    fn update_run(&mut self, no: i64, row: &RunRow) -> Result<(), Fail> {
        let mut stmt = self.conn.prepare_cached(
            "UPDATE runs SET status = ?2, phase = ?3, priority = ?4, started_at = ?5, \
             finished_at = ?6, output = ?7, error = ?8, extra = ?9 WHERE no = ?1",
        )?;
        stmt.raw_bind_parameter(1, no)?;
        rows::bind_run_changes(&mut stmt, 2, row, &mut self.state.text)?;
        stmt.raw_execute()?;
        Ok(())
    }

    fn insert_run(&mut self, row: &RunRow, guard: Option<&StartGuard>) -> Result<Known, Fail> {
        let root = match row.parent {
            Some(parent) => self.root_of(parent.run)?.unwrap_or(parent.run),
            None => row.run,
        };
        self.state.last_no += 1;
        let no = self.state.last_no;
        let mut stmt = self.conn.prepare_cached(
            "INSERT INTO runs (no, id, workflow, hash, params, parent, parent_step, \
             parent_depth, created_at, idempotency_key, status, phase, priority, started_at, \
             finished_at, output, error, extra, root) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, \
             ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19)",
        )?;
        stmt.raw_bind_parameter(1, no)?;
        stmt.raw_bind_parameter(2, row.run.to_bytes())?;
        stmt.raw_bind_parameter(3, row.workflow.as_str())?;
        stmt.raw_bind_parameter(4, row.hash.0)?;
        let params = self.state.text.of(&row.params)?;
        // Those of notifications are in an index, whatever their length.
        let inline = params.len() <= PARAMS_INLINE_BYTES_MAX
            || row.workflow.as_str() == moa_core::workflow::NOTIFY_WORKFLOW;
        stmt.raw_bind_parameter(5, inline.then_some(params))?;
        if !inline {
            let sql = "INSERT INTO run_params (run_no, params) VALUES (?1, ?2)";
            self.conn.prepare_cached(sql)?.execute(params![no, params])?;
        }
        stmt.raw_bind_parameter(6, row.parent.map(|parent| parent.run.to_bytes()))?;
        stmt.raw_bind_parameter(7, row.parent.map(|parent| parent.step))?;
        stmt.raw_bind_parameter(8, row.parent.map(|parent| parent.depth))?;
        stmt.raw_bind_parameter(9, row.created_at.0)?;
        stmt.raw_bind_parameter(10, guard.and_then(|guard| guard.idempotency_key.as_deref()))?;
        if let Some(trigger) = &row.trigger {
            let trigger = self.state.text.of(trigger)?;
            let sql = "INSERT INTO run_triggers (run_no, trigger_json) VALUES (?1, ?2)";
            self.conn.prepare_cached(sql)?.execute(params![no, trigger])?;
        }
        rows::bind_run_changes(&mut stmt, 11, row, &mut self.state.text)?;
        stmt.raw_bind_parameter(19, (root != row.run).then(|| root.to_bytes()))?;
        stmt.raw_execute()?;
        Ok(Known { no, version: 0, root })
    }

    fn set_timer(&self, no: i64, key: TimerKey, due: Option<Millis>) -> Result<(), Fail> {
        let (kind, step) = key.to_parts();
        match due {
            Some(due) => self
                .conn
                .prepare_cached(
                    "INSERT INTO timers (run_no, kind, step, due) VALUES (?1, ?2, ?3, ?4) \
                     ON CONFLICT (run_no, kind, step) DO UPDATE SET due = excluded.due",
                )?
                .execute(params![no, kind, step, due.0])?,
            None => self
                .conn
                .prepare_cached("DELETE FROM timers WHERE run_no = ?1 AND kind = ?2 AND step = ?3")?
                .execute(params![no, kind, step])?,
        };
        Ok(())
    }

    /// Sends a message; `sender` is the run at the top of the one that sends it. Of an event, those
    /// who listen are told.
    fn send(&mut self, message: &Message, sender: Option<RunId>) -> Result<(), Fail> {
        self.tell_news(message)?;
        self.send_one(message, sender)
    }

    fn send_one(&mut self, message: &Message, sender: Option<RunId>) -> Result<(), Fail> {
        let root = match message.to {
            BUS => sender,
            _ if message.trigger().is_some() => None,
            to => self.root_of(to)?.or(sender),
        };
        self.state.last_message += 1;
        let id = self.state.last_message.cast_signed();
        let mut stmt = self.conn.prepare_cached(MESSAGE_SQL)?;
        let body = self.state.text.of(&message.body)?;
        stmt.execute(params![id, message.to.to_bytes(), body, root.map(RunId::to_bytes)])?;
        Ok(())
    }

    fn messages_exist(&self, ids: &[MessageId]) -> Result<bool, Fail> {
        for id in ids {
            let mut stmt = self.conn.prepare_cached("SELECT 1 FROM messages WHERE id = ?1")?;
            if !stmt.exists([id.cast_signed()])? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn delete_message(&self, id: MessageId) -> Result<(), Fail> {
        let mut stmt = self.conn.prepare_cached("DELETE FROM messages WHERE id = ?1")?;
        stmt.execute([id.cast_signed()])?;
        Ok(())
    }

    /// Gives a message up; false when its run is there.
    fn relay(&mut self, relay: &Relay) -> Result<bool, Fail> {
        let id = relay.consumed.cast_signed();
        let mut stmt = self.conn.prepare_cached("SELECT run, root FROM messages WHERE id = ?1")?;
        let found = stmt.query_row([id], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
        let Some((run, root)) = found else { return Ok(true) };
        let root: Option<[u8; 16]> = root;
        if self.find(RunId::from_bytes(run))?.is_some() {
            return Ok(false);
        }
        self.delete_message(relay.consumed)?;
        let root = root.map(RunId::from_bytes);
        relay.messages.iter().try_for_each(|message| self.send(message, root))?;
        Ok(true)
    }

    /// Hands events on, to so many runs; answers whether some are left.
    fn hand_on_all(&mut self, events: &[MessageId], mut room: usize) -> Result<bool, Fail> {
        let mut left = false;
        for &event in events {
            left |= !self.hand_on(event, &mut room)?;
        }
        Ok(left)
    }

    /// Hands an event on to as many runs as there is room for; answers whether all have it.
    fn hand_on(&mut self, id: MessageId, room: &mut usize) -> Result<bool, Fail> {
        let mut stmt = self.conn.prepare_cached(
            "SELECT id, run, body, handed_to, handed_until, published FROM messages WHERE id = ?1",
        )?;
        let mut found = stmt.query([id.cast_signed()])?;
        let Some(row) = found.next()? else { return Ok(true) };
        if rows::run_id(row, 1)? != BUS {
            return Ok(true);
        }
        if *room == 0 {
            return Ok(false);
        }
        let (_, Message { body: MessageBody::Emitted(event), .. }) = rows::message(row)? else {
            return Err(Fail::Data(format!("message {id} to the bus is no event")));
        };
        let after: i64 = row.get::<_, Option<i64>>(3)?.unwrap_or(0);
        let until: i64 = row.get::<_, Option<i64>>(4)?.unwrap_or(self.state.last_no);
        let published: Option<i64> = row.get(5)?;
        let mut runs = self.waiting_for(&event.event, after, until, room.saturating_add(1))?;
        let all = runs.len() <= *room;
        runs.truncate(*room);
        *room -= runs.len();
        if let Some(seq) = published.filter(|_| !runs.is_empty()) {
            self.reached(seq, runs.iter().map(|waiter| RunId::from_bytes(waiter.id)))?;
        }
        let input = MessageBody::Input(Input::EventArrived { event });
        let body = self.state.text.of(&input)?;
        let mut send = self.conn.prepare_cached(MESSAGE_SQL)?;
        for Waiter { id, root, .. } in &runs {
            self.state.last_message += 1;
            send.execute(params![self.state.last_message.cast_signed(), id, body, root])?;
        }
        match runs.last() {
            Some(Waiter { no, .. }) if !all => {
                let sql = "UPDATE messages SET handed_to = ?2, handed_until = ?3 WHERE id = ?1";
                self.conn.prepare_cached(sql)?.execute(params![id.cast_signed(), no, until])?;
            }
            _ => self.delete_message(id)?,
        }
        Ok(all)
    }

    /// The oldest runs with a step that waits for events of this type, of those whose number is
    /// beyond `after` and up to `until`.
    fn waiting_for(
        &self,
        event: &str,
        after: i64,
        until: i64,
        limit: usize,
    ) -> Result<Vec<Waiter>, Fail> {
        let mut stmt = self.conn.prepare_cached(
            "SELECT r.no, r.id, coalesce(r.root, r.id) FROM waits w \
             CROSS JOIN runs r ON r.no = w.run_no \
             WHERE w.event = ?1 AND w.run_no > ?2 AND w.run_no <= ?3 \
             GROUP BY w.run_no ORDER BY w.run_no LIMIT ?4",
        )?;
        let found = stmt.query_map(params![event, after, until, sql_limit(limit)], |row| {
            Ok(Waiter { no: row.get(0)?, id: row.get(1)?, root: row.get(2)? })
        })?;
        Ok(found.collect::<Result<_, _>>()?)
    }

    /// What a new run with this claim on a slot does; changes nothing.
    fn ask(&self, slot: &ConcurrencySlot) -> Result<Admission, Fail> {
        let holders = self.in_line(&slot.key, true, i64::MAX)?;
        // Only `replace_pending` looks at more than whether somebody waits.
        let all = slot.on_limit == OnLimit::ReplacePending;
        let queued = self.in_line(&slot.key, false, if all { i64::MAX } else { 1 })?;
        Ok(admit(slot.on_limit, slot.limit, &holders, &queued))
    }

    fn in_line(&self, key: &str, held: bool, limit: i64) -> Result<Vec<RunId>, Fail> {
        let sql = match held {
            true => {
                "SELECT r.id FROM slots s CROSS JOIN runs r ON r.no = s.run_no \
                 WHERE s.key = ?1 AND s.held = 1 ORDER BY s.run_no LIMIT ?2"
            }
            false => {
                "SELECT r.id FROM slots s CROSS JOIN runs r ON r.no = s.run_no \
                 WHERE s.key = ?1 AND s.held = 0 ORDER BY s.queue_key, s.run_no LIMIT ?2"
            }
        };
        let mut stmt = self.conn.prepare_cached(sql)?;
        let ids = stmt.query_map(params![key, limit], |row| row.get(0).map(RunId::from_bytes))?;
        Ok(ids.collect::<Result<_, _>>()?)
    }

    /// Writes down the slot of a new run, or its place in the queue.
    fn start(
        &mut self,
        run: RunId,
        no: i64,
        slot: &ConcurrencySlot,
        admission: Admission,
    ) -> Result<(), Fail> {
        let held = match admission {
            Admission::Skip => return Ok(()),
            Admission::Start => {
                self.send(&Message::admit(run), None)?;
                true
            }
            Admission::Queue => false,
            Admission::QueueAfterCancelling(others) => {
                for other in others {
                    // One that still waits makes room at once: it must not be admitted meanwhile.
                    self.conn
                        .prepare_cached(
                            "DELETE FROM slots WHERE held = 0 \
                             AND run_no = (SELECT no FROM runs WHERE id = ?1)",
                        )?
                        .execute([other.to_bytes()])?;
                    self.send(&Message::superseded(other, run), None)?;
                }
                false
            }
        };
        let mut stmt = self.conn.prepare_cached(
            "INSERT INTO slots (run_no, key, slots, held, queue_key) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?;
        stmt.execute(params![no, slot.key, slot.limit, held, slot.queue_key])?;
        Ok(())
    }

    /// Takes away what an ended run had, and gives what is free to the next in the queue.
    fn release(&mut self, no: i64) -> Result<(), Fail> {
        let mut stmt =
            self.conn.prepare_cached("DELETE FROM slots WHERE run_no = ?1 RETURNING key")?;
        let key: Option<String> = stmt.query_row([no], |row| row.get(0)).optional()?;
        let Some(key) = key else { return Ok(()) };
        while let Some((next, run)) = self.next_admitted(&key)? {
            self.conn
                .prepare_cached("UPDATE slots SET held = 1 WHERE run_no = ?1")?
                .execute([next])?;
            self.send(&Message::admit(run), None)?;
        }
        Ok(())
    }

    /// The first in the queue, if there is a slot for it.
    fn next_admitted(&self, key: &str) -> Result<Option<(i64, RunId)>, Fail> {
        let mut stmt = self.conn.prepare_cached(
            "SELECT s.run_no, r.id, \
             (SELECT count(*) FROM slots h WHERE h.key = ?1 AND h.held = 1) < s.slots \
             FROM slots s CROSS JOIN runs r ON r.no = s.run_no \
             WHERE s.key = ?1 AND s.held = 0 ORDER BY s.queue_key, s.run_no LIMIT 1",
        )?;
        let first = stmt.query_row([key], |row| {
            Ok((row.get(0)?, RunId::from_bytes(row.get(1)?), row.get::<_, bool>(2)?))
        });
        Ok(first.optional()?.filter(|first| first.2).map(|(no, run, _)| (no, run)))
    }
}

const MESSAGE_SQL: &str = "INSERT INTO messages (id, run, body, root) VALUES (?1, ?2, ?3, ?4)";

const STEP_SQL: &str = "INSERT OR REPLACE INTO steps (run_no, inst, plan, owner, iteration, \
    status, wait, skip, attempt, released, node, queue_key, ready_at, started_at, finished_at, \
    until, output, error, data, agent, fairness_key) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, \
    ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21)";
