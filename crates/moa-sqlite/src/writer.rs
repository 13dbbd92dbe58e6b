//! The thread that owns the connection which writes. It takes one call after another from a
//! channel and answers on its own thread.
//!
//! Trouble with the files: a commit that failed for lack of space is rolled back and answered as
//! unavailable; after any other failure of reading or writing the connection is dropped, and before
//! the next call a new one is opened, the log is moved into the database (new descriptors, content
//! written again), and everything remembered is read again. A sync that failed is never repeated
//! on the same descriptor: the kernel may have dropped what it could not write. Damage is final:
//! from then on every call is answered with it.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use moa_core::ids::{NodeId, RunId};
use moa_core::time::Millis;
use moa_core::trigger::TriggerId;
use moa_ports::limit::LimitRow;
use moa_ports::store::{
    Batch, BatchOutcome, Due, DueAsk, Error as StoreError, PruneAsk, Pruned, Registration, Reply,
    Snapshot, WorkflowRef, WorkflowVersion,
};
use moa_ports::triggers::TriggerRow;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, params};

use crate::Options;
use crate::checkpoint::{self, Checkpoints};
use crate::error::{self, Fail, Verdict};
use crate::fault::Point;
use crate::limits;
use crate::lock::Lock;
use crate::schema::OldLog;
use crate::triggers;
use crate::write::{self, State};
use crate::{prune, read, rows, schema};

/// One call of the store.
pub(crate) enum Call {
    Commit(Batch, Reply<BatchOutcome>),
    Load(Vec<RunId>, Reply<Vec<Option<Snapshot>>>),
    LoadTriggers(Vec<TriggerId>, Reply<Vec<Option<TriggerRow>>>),
    Due(DueAsk, Reply<Due>),
    Register(NodeId, Reply<Registration>),
    PutWorkflow(Millis, Box<WorkflowVersion>, Reply<()>),
    Workflow(WorkflowRef, Reply<Option<WorkflowVersion>>),
    Prune(PruneAsk, Reply<Pruned>),
    Limits(Reply<Vec<LimitRow>>),
    Stop,
}

impl Call {
    /// Answers a call that can't be done.
    pub fn refuse(self, error: StoreError) {
        match self {
            Self::Commit(_, reply) => reply(Err(error)),
            Self::Load(_, reply) => reply(Err(error)),
            Self::LoadTriggers(_, reply) => reply(Err(error)),
            Self::Due(_, reply) => reply(Err(error)),
            Self::Register(_, reply) => reply(Err(error)),
            Self::PutWorkflow(_, _, reply) => reply(Err(error)),
            Self::Workflow(_, reply) => reply(Err(error)),
            Self::Prune(_, reply) => reply(Err(error)),
            Self::Limits(reply) => reply(Err(error)),
            Self::Stop => {}
        }
    }
}

/// What all threads of a store know of its condition.
#[derive(Default)]
pub(crate) struct Health {
    damaged: AtomicBool,
    check: Mutex<Option<String>>,
}

impl Health {
    /// Writes down that the data is damaged; the first check that says so stays.
    pub fn damage(&self, check: &str) {
        let mut first = self.check.lock().unwrap_or_else(PoisonError::into_inner);
        first.get_or_insert_with(|| check.to_owned());
        self.damaged.store(true, Ordering::Release);
    }

    /// Which check failed, if one did.
    pub fn damaged(&self) -> Option<String> {
        if !self.damaged.load(Ordering::Acquire) {
            return None;
        }
        self.check.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The writing thread.
pub(crate) struct Writer {
    pub path: PathBuf,
    pub options: Options,
    pub health: Arc<Health>,
    pub state: State,
    /// `None` after a failure, until the next call opens it again.
    pub conn: Option<Connection>,
    /// Closed after the connection: see [`crate::raw`].
    pub _file: Arc<File>,
    pub checkpoints: Checkpoints,
    /// Held until the thread ends.
    pub _lock: Lock,
}

/// A call's answer inside the thread: what it did, and the error for the caller.
type Answer<T> = Result<T, StoreError>;

impl Writer {
    /// Serves calls until it is told to stop, or nobody can call any more.
    pub fn run(mut self, calls: &Receiver<Call>) {
        loop {
            // What is in the log goes into the database while nobody waits, or when it is long.
            let call = match self.checkpoints.patience(Instant::now(), &self.options) {
                Some(patience) => match calls.recv_timeout(patience) {
                    Ok(call) => call,
                    Err(RecvTimeoutError::Disconnected) => break,
                    Err(RecvTimeoutError::Timeout) => {
                        self.checkpoint(1);
                        continue;
                    }
                },
                None => match calls.recv() {
                    Ok(call) => call,
                    Err(_) => break,
                },
            };
            if matches!(call, Call::Stop) {
                break;
            }
            let writes = matches!(call, Call::Commit(..) | Call::PutWorkflow(..) | Call::Prune(..));
            self.serve(call);
            if writes {
                self.checkpoints.wrote();
                self.checkpoint(i64::from(self.options.checkpoint_pages));
            }
        }
        self.close();
    }

    fn serve(&mut self, call: Call) {
        if let Err(error) = self.ensure_open() {
            return call.refuse(error);
        }
        match call {
            Call::Commit(batch, reply) => reply(self.commit(batch)),
            Call::Load(runs, reply) => reply(
                self.read(|conn, _| runs.iter().map(|&run| read::snapshot(conn, run)).collect()),
            ),
            Call::LoadTriggers(ids, reply) => reply(
                self.read(|conn, _| ids.iter().map(|&id| triggers::trigger(conn, id)).collect()),
            ),
            Call::Due(ask, reply) => reply(self.read(|conn, state| read::due(conn, state, &ask))),
            Call::Register(node, reply) => {
                self.state.node = Some(node);
                self.state.lost = None;
                reply(Ok(Registration { exclusive: true }));
            }
            Call::PutWorkflow(now, version, reply) => {
                reply(self.transaction(|conn, _| put_workflow(conn, now, &version)));
            }
            Call::Workflow(which, reply) => {
                reply(self.read(|conn, _| read::workflow(conn, &which)));
            }
            Call::Prune(ask, reply) => reply(self.prune(&ask)),
            Call::Limits(reply) => reply(self.read(|conn, _| limits::all(conn))),
            Call::Stop => {}
        }
    }

    fn commit(&mut self, batch: Batch) -> Answer<BatchOutcome> {
        batch.check()?;
        if batch.is_empty() {
            return Ok(BatchOutcome::default());
        }
        let faults = batch.faults();
        let written =
            self.transaction(|conn, state| write::batch(conn, state, &batch, &faults, false));
        match written {
            Err(StoreError::Invalid(_)) => {
                // Something in it can't be written: again, so that only that is left out.
                self.ensure_open()?;
                self.transaction(|conn, state| write::batch(conn, state, &batch, &faults, true))
            }
            written => written,
        }
    }

    fn prune(&mut self, ask: &PruneAsk) -> Answer<Pruned> {
        ask.check()?;
        self.transaction(|conn, state| prune::old(conn, state, ask))
    }

    /// Runs `work` in a transaction and makes it durable.
    fn transaction<T>(
        &mut self,
        work: impl FnOnce(&Connection, &mut State) -> Result<T, Fail>,
    ) -> Answer<T> {
        if let Some(why) = self.ordered(Point::BeforeBegin) {
            return Err(self.failed(Fail::Ordered(why)));
        }
        let Some(conn) = &self.conn else { return Err(self.closed()) };
        let state = &mut self.state;
        let result = execute(conn, "BEGIN IMMEDIATE").and_then(|()| work(conn, state));
        let failpoint =
            || self.ordered(Point::BeforeCommit).map_or(Ok(()), |w| Err(Fail::Ordered(w)));
        match result.and_then(|done| failpoint().map(|()| done)) {
            Ok(done) => {
                if let Err(fail) = execute(conn, "COMMIT") {
                    return Err(self.commit_failed(fail));
                }
                if let Some(why) = self.ordered(Point::AfterCommit) {
                    self.give_up();
                    return Err(StoreError::Unknown(why));
                }
                Ok(done)
            }
            Err(fail) => Err(self.failed(fail)),
        }
    }

    /// Reads, in one transaction: nobody else writes, but each one takes locks on files.
    fn read<T>(
        &mut self,
        work: impl FnOnce(&Connection, &mut State) -> Result<T, Fail>,
    ) -> Answer<T> {
        let Some(conn) = &self.conn else { return Err(self.closed()) };
        let result = execute(conn, "BEGIN").and_then(|()| {
            let result = work(conn, &mut self.state)?;
            execute(conn, "COMMIT").map(|()| result)
        });
        result.map_err(|fail| self.failed(fail))
    }

    /// After a failure before the commit: rolls back what was begun. Nothing was written.
    fn failed(&mut self, fail: Fail) -> StoreError {
        let verdict = fail.verdict();
        match &verdict {
            Verdict::Corrupt(check) => self.health.damage(check),
            Verdict::Broken(_) => self.give_up(),
            Verdict::Refused(_) | Verdict::Invalid(_) => self.roll_back(),
        }
        verdict.into_error(&self.path)
    }

    /// After a failure of the commit itself: only lack of space is known to have written nothing.
    fn commit_failed(&mut self, fail: Fail) -> StoreError {
        match fail.verdict() {
            Verdict::Broken(why) => {
                self.give_up();
                StoreError::Unknown(format!("{}: {why}", self.path.display()))
            }
            Verdict::Corrupt(check) => {
                self.health.damage(&check);
                error::damage(&self.path, check)
            }
            verdict => {
                self.roll_back();
                verdict.into_error(&self.path)
            }
        }
    }

    /// Drops a connection that is not to be trusted, without a last checkpoint: that would sync
    /// again on the descriptor of which a sync may have failed.
    fn give_up(&mut self) {
        if let Some(conn) = self.conn.take() {
            let _ = conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
        }
    }

    fn roll_back(&mut self) {
        let Some(conn) = &self.conn else { return };
        let rolled_back = conn.is_autocommit() || execute(conn, "ROLLBACK").is_ok();
        if !rolled_back || self.state.reload(conn).is_err() {
            self.give_up();
        }
    }

    /// Opens the connection again after a failure.
    fn ensure_open(&mut self) -> Answer<()> {
        if let Some(check) = self.health.damaged() {
            return Err(error::damage(&self.path, check));
        }
        if self.conn.is_some() {
            return Ok(());
        }
        let (conn, file) = schema::open_writer(&self.path, &self.options, OldLog::MustGo)?;
        self._file = file;
        let ready = self.state.reload(&conn);
        ready.map_err(|fail| fail.verdict().into_error(&self.path))?;
        self.conn = Some(conn);
        Ok(())
    }

    fn closed(&self) -> StoreError {
        StoreError::Unavailable(format!("{} is closed", self.path.display()))
    }

    fn ordered(&self, point: Point) -> Option<String> {
        self.options.failpoints.as_ref().and_then(|failpoints| failpoints.fail(point))
    }

    /// Moves the log into the database once it has `pages`. A failure is not one of a commit:
    /// everything is in the log, and stays there.
    fn checkpoint(&mut self, pages: i64) {
        let Some(conn) = &self.conn else { return };
        let result = self.checkpoints.run(conn, &self.options, pages);
        match result.map_err(Fail::verdict) {
            Ok(()) | Err(Verdict::Refused(_) | Verdict::Invalid(_)) => {}
            Err(Verdict::Broken(_)) => self.give_up(),
            Err(Verdict::Corrupt(check)) => self.health.damage(&check),
        }
    }

    /// Leaves a file without a log behind, if nobody is in the way: it waits for no reader.
    fn close(mut self) {
        if let Some(conn) = self.conn.take() {
            let _ = checkpoint::finish(&conn, &self.options, Duration::ZERO);
            let _ = conn.close();
        }
    }
}

fn execute(conn: &Connection, sql: &str) -> Result<(), Fail> {
    conn.prepare_cached(sql)?.execute([])?;
    Ok(())
}

pub(crate) fn put_workflow(
    conn: &Connection,
    now: Millis,
    version: &WorkflowVersion,
) -> Result<(), Fail> {
    let newest = read::workflow(conn, &WorkflowRef::Newest(version.workflow.clone(), None))?;
    if newest.is_some_and(|newest| newest.hash == version.hash) {
        return Ok(());
    }
    conn.prepare_cached(&format!(
        "INSERT INTO workflows ({}, put) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, (SELECT coalesce(max(put), 0) + 1 FROM workflows)) \
         ON CONFLICT (hash) DO UPDATE SET put = excluded.put",
        rows::WORKFLOW
    ))?
    .execute(params![
        version.workflow.as_str(),
        version.hash.0,
        version.version,
        version.source,
        version.plan,
        now.0
    ])?;
    Ok(())
}

/// How long the writer waits for calls before it uses the time for the log.
pub(crate) const IDLE: Duration = Duration::from_millis(500);
