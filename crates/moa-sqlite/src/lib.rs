//! The store of moa on SQLite: one file, one thread that writes it, group commit.
//!
//! What: [`SqliteStore`] is the whole store of a node that runs; [`ReadOnly`] is its read side for
//! a command while no node runs. Why one thread: SQLite has one writer anyway, and a batch shares
//! one transaction and one sync. Where to start: `writer` (the thread), `write` (a batch), `seal`
//! (how damage is noticed), `migrations/0001_init.sql` (the tables). Absent: other processes that
//! write; anything that logs (whoever calls knows more).

mod audit;
pub mod backup;
mod belonging;
mod checkpoint;
mod error;
pub mod fault;
mod limits;
mod lock;
mod log;
mod prune;
mod queries;
mod raw;
mod read;
mod rows;
#[cfg(test)]
mod samples;
mod scan;
mod schema;
mod seal;
mod sealed;
mod search;
mod triggers;
mod verify;
mod views;
mod write;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use moa_core::event::InstIx;
use moa_core::ids::{Name, NodeId, RunId, VersionHash};
use moa_core::run::{RunStatus, StepRow};
use moa_core::time::{Millis, Span};
use moa_core::trigger::{Occurrence, TriggerId};
use moa_ports::artifacts::ArtifactHash;
use moa_ports::audit::{AuditEntry, AuditHead};
use moa_ports::limit::LimitRow;
use moa_ports::sealed::SealedRow;
use moa_ports::search::{Found, Search};
use moa_ports::store::{
    Batch, BatchOutcome, Due, DueAsk, Error as StoreError, PruneAsk, Pruned, Registration, Reply,
    Snapshot, Store, WorkflowRef, WorkflowVersion,
};
use moa_ports::triggers::{HeardRow, OccurrenceFilter, TriggerFilter, TriggerRow};
use moa_ports::views::{
    ChannelRow, Fate, HistoryRow, KeptAsk, KeptRow, Pending, Places, RunFilter, RunSummary, Totals,
    Views,
};

pub use checkpoint::LogLength;
pub use error::Error;
pub use schema::SCHEMA;

use checkpoint::Checkpoints;
use fault::{Failpoints, IoFaults};
use views::Readers;
use writer::{Call, Health, Writer};

/// How a store is opened.
#[derive(Clone)]
pub struct Options {
    /// Whether every batch is synced to the disk before it is answered. Without it a power cut
    /// loses the newest batches (a crash of moa does not).
    pub synchronous_full: bool,
    /// KiB of pages that the writing connection keeps in memory.
    pub cache_kib: u32,
    /// Pages in the write-ahead log at which they are moved into the database.
    pub checkpoint_pages: u32,
    /// How long to wait for another process that has the database: one that ends has its lock for a
    /// moment after it has said so.
    pub lock_wait: Duration,
    /// How long to wait for another program that writes to the file.
    pub busy: Duration,
    /// How long to wait for calls before the log is moved into the database.
    pub idle: Duration,
    /// How long to wait after a reader kept the log from being moved or cut.
    pub log_retry: Duration,
    /// Bytes of a log that is called long.
    pub log_bytes_long: u64,
    /// Who is told when the log has become long, and when it has been cut; on the store's thread.
    pub watch_log: Option<Arc<dyn Fn(LogLength) + Send + Sync>>,
    /// A file up to this many bytes is checked whole before the store opens; a larger one while
    /// it works.
    pub scan_at_open_bytes_max: u64,
    /// Faults to order at the boundaries of commits, for tests.
    pub failpoints: Option<Arc<dyn Failpoints>>,
    /// Faults to order in the files, for tests.
    pub io_faults: Option<Arc<dyn IoFaults>>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            synchronous_full: true,
            cache_kib: 4 << 10,
            checkpoint_pages: 4096,
            lock_wait: Duration::ZERO,
            busy: Duration::from_secs(5),
            idle: writer::IDLE,
            log_retry: checkpoint::LOG_RETRY,
            log_bytes_long: checkpoint::LOG_BYTES_LONG,
            watch_log: None,
            scan_at_open_bytes_max: 64 << 20,
            failpoints: None,
            io_faults: None,
        }
    }
}

/// The store of a node: writes and reads one database, alone.
pub struct SqliteStore {
    calls: Sender<Call>,
    readers: Readers,
    health: Arc<Health>,
    stop: Arc<AtomicBool>,
    /// `None` once it is closed.
    threads: Mutex<Option<Vec<JoinHandle<()>>>>,
    /// Closed after every connection: see [`raw`].
    _file: Arc<std::fs::File>,
}

impl SqliteStore {
    /// Opens the database at `path`, or makes a new one; its folder must exist.
    ///
    /// # Errors
    /// [`Error`] says what is in the way: another process, damage, a newer schema, a right.
    pub fn open(path: &Path, options: Options) -> Result<Self, Error> {
        let path = std::path::absolute(path)
            .map_err(|e| Error::Unavailable { path: path.to_owned(), reason: e.to_string() })?;
        let lock = lock::Lock::take(&path, options.lock_wait)?;
        fault::order(&path, options.io_faults.clone());
        let (conn, file) = schema::open_writer(&path, &options, schema::OldLog::MayStay)?;
        let mut state = write::State::default();
        state.reload(&conn).map_err(|fail| fail.verdict().into_open_error(&path))?;
        let health = Arc::new(Health::default());
        let readers = Readers::new(path.clone(), true, Arc::clone(&health));
        let (calls, queue) = channel();
        let store = Self {
            calls,
            readers,
            health: Arc::clone(&health),
            stop: Arc::default(),
            threads: Mutex::new(Some(Vec::new())),
            _file: Arc::clone(&file),
        };
        let scan_later = scan::size(&path) > options.scan_at_open_bytes_max;
        let checkpoints = Checkpoints::new(&path, &options);
        let writer = Writer {
            path: path.clone(),
            options,
            health,
            state,
            conn: Some(conn),
            _file: file,
            checkpoints,
            _lock: lock,
        };
        store.spawn(&path, "moa-store", move || writer.run(&queue))?;
        if scan_later {
            let (scanned, health) = (path.clone(), Arc::clone(&store.health));
            let stop = Arc::clone(&store.stop);
            store.spawn(&path, "moa-scan", move || scan_beside(&scanned, &stop, &health))?;
        }
        Ok(store)
    }

    /// Opens the read side alone, for a command while no node runs. Writes nothing, and makes no
    /// file unless a node was killed and left its log.
    ///
    /// # Errors
    /// [`Error::Missing`] when there is no database; else as for [`SqliteStore::open`].
    pub fn open_read_only(path: &Path) -> Result<ReadOnly, Error> {
        ReadOnly::open(path)
    }

    /// What is damaged, if anything was found to be; then every call fails with it.
    pub fn damaged(&self) -> Option<String> {
        let check = self.health.damaged()?;
        Some(error::damage(self.readers.path(), check).to_string())
    }

    fn threads(&self) -> MutexGuard<'_, Option<Vec<JoinHandle<()>>>> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn spawn(
        &self,
        path: &Path,
        name: &str,
        body: impl FnOnce() + Send + 'static,
    ) -> Result<(), Error> {
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(body);
        let thread = thread
            .map_err(|e| Error::Unavailable { path: path.to_owned(), reason: e.to_string() })?;
        self.threads().get_or_insert_default().push(thread);
        Ok(())
    }

    fn call(&self, call: Call) {
        if let Err(unsent) = self.calls.send(call) {
            let ended = "the thread of the store has ended".to_owned();
            unsent.0.refuse(StoreError::Unavailable(ended));
        }
    }
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        self.close();
    }
}

/// Scans a large file while moa works.
fn scan_beside(path: &Path, stop: &AtomicBool, health: &Health) {
    // A file that can't be read here can't be read by SQLite either, which will say so.
    let _ = scan::pages(path, scan::Beside::Store, stop, &mut |page, damage| {
        health.damage(&format!("page {page} {}", damage.as_str()));
    });
}

impl Store for SqliteStore {
    fn commit(&self, batch: Batch, reply: Reply<BatchOutcome>) {
        self.call(Call::Commit(batch, reply));
    }

    fn load(&self, runs: Vec<RunId>, reply: Reply<Vec<Option<Snapshot>>>) {
        self.call(Call::Load(runs, reply));
    }

    fn load_triggers(&self, triggers: Vec<TriggerId>, reply: Reply<Vec<Option<TriggerRow>>>) {
        self.call(Call::LoadTriggers(triggers, reply));
    }

    fn due(&self, ask: DueAsk, reply: Reply<Due>) {
        self.call(Call::Due(ask, reply));
    }

    fn register(&self, _now: Millis, node: NodeId, _lease: Span, reply: Reply<Registration>) {
        self.call(Call::Register(node, reply));
    }

    fn put_workflow(&self, now: Millis, version: WorkflowVersion, reply: Reply<()>) {
        self.call(Call::PutWorkflow(now, Box::new(version), reply));
    }

    fn workflow(&self, which: WorkflowRef, reply: Reply<Option<WorkflowVersion>>) {
        self.call(Call::Workflow(which, reply));
    }

    fn prune(&self, ask: PruneAsk, reply: Reply<Pruned>) {
        self.call(Call::Prune(ask, reply));
    }

    fn limits(&self, reply: Reply<Vec<LimitRow>>) {
        self.call(Call::Limits(reply));
    }

    fn close(&self) {
        // Until it is closed, so that whoever closes it too waits for that as well.
        let mut held = self.threads();
        let Some(threads) = held.take() else { return };
        self.stop.store(true, Ordering::Relaxed);
        // The writer's connection must be the last: closing it leaves a file without a log.
        self.readers.close();
        let _ = self.calls.send(Call::Stop);
        for thread in threads {
            // The last owner may be an answer of the writer's own thread.
            if thread.thread().id() != std::thread::current().id() {
                let _ = thread.join();
            }
        }
        fault::order(self.readers.path(), None);
    }
}

/// The read side of a database, for a command while no node runs (it also works beside one).
pub struct ReadOnly {
    readers: Readers,
    /// Closed after every connection: see [`raw`].
    _file: Arc<std::fs::File>,
}

impl ReadOnly {
    fn open(path: &Path) -> Result<Self, Error> {
        let unavailable =
            |e: std::io::Error| Error::Unavailable { path: path.to_owned(), reason: e.to_string() };
        let path: PathBuf = std::path::absolute(path).map_err(unavailable)?;
        let file = match raw::open(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                return Err(Error::Missing { path });
            }
            Err(e) => return Err(unavailable(e)),
        };
        schema::check(&path)?;
        Ok(Self { readers: Readers::new(path, false, Arc::default()), _file: file })
    }
}

/// Implements [`Views`] for a type by passing every call to its `readers`.
macro_rules! pass_views {
    ($type:ty) => {
        #[async_trait]
        impl Views for $type {
            async fn runs(&self, filter: &RunFilter) -> Result<Vec<RunSummary>, StoreError> {
                self.readers.runs(filter).await
            }
            async fn search(&self, search: &Search) -> Result<Found, StoreError> {
                self.readers.search(search).await
            }
            async fn run(&self, run: RunId) -> Result<Option<Snapshot>, StoreError> {
                self.readers.run(run).await
            }
            async fn run_within(
                &self,
                run: RunId,
                from: InstIx,
                limit: usize,
                bytes: usize,
            ) -> Result<Option<Snapshot>, StoreError> {
                self.readers.run_within(run, from, limit, bytes).await
            }
            async fn with_first_steps(
                &self,
                filter: &RunFilter,
            ) -> Result<Vec<Snapshot>, StoreError> {
                self.readers.with_first_steps(filter).await
            }
            async fn asking(&self, run: RunId, limit: usize) -> Result<Vec<StepRow>, StoreError> {
                self.readers.asking(run, limit).await
            }
            async fn find_runs(&self, digits: &str) -> Result<Vec<RunId>, StoreError> {
                self.readers.find_runs(digits).await
            }
            async fn history(
                &self,
                run: RunId,
                after: u64,
                limit: usize,
            ) -> Result<Vec<HistoryRow>, StoreError> {
                self.readers.history(run, after, limit).await
            }
            async fn events(
                &self,
                after: u64,
                rows: usize,
                events: usize,
            ) -> Result<Vec<HistoryRow>, StoreError> {
                self.readers.events(after, rows, events).await
            }
            async fn kept(&self, ask: &KeptAsk) -> Result<Vec<KeptRow>, StoreError> {
                self.readers.kept(ask).await
            }
            async fn heard(&self, published: &[u64]) -> Result<Vec<HeardRow>, StoreError> {
                self.readers.heard(published).await
            }
            async fn published_beyond(&self, keep: u64) -> Result<Option<Millis>, StoreError> {
                self.readers.published_beyond(keep).await
            }
            async fn places(
                &self,
                run: RunId,
                steps: &[InstIx],
            ) -> Result<Option<Places>, StoreError> {
                self.readers.places(run, steps).await
            }
            async fn last_event(&self) -> Result<u64, StoreError> {
                self.readers.last_event().await
            }
            async fn workflows(
                &self,
                workflow: Option<&Name>,
            ) -> Result<Vec<WorkflowVersion>, StoreError> {
                self.readers.workflows(workflow).await
            }
            async fn versions_put(
                &self,
                workflow: &Name,
                before: Option<u64>,
                limit: usize,
            ) -> Result<Vec<(u64, WorkflowVersion)>, StoreError> {
                self.readers.versions_put(workflow, before, limit).await
            }
            async fn workflow(
                &self,
                hash: VersionHash,
            ) -> Result<Option<WorkflowVersion>, StoreError> {
                self.readers.workflow(hash).await
            }
            async fn pending(&self, run: RunId) -> Result<Pending, StoreError> {
                self.readers.pending(run).await
            }
            async fn triggers(
                &self,
                filter: &TriggerFilter,
            ) -> Result<Vec<TriggerRow>, StoreError> {
                self.readers.triggers(filter).await
            }
            async fn trigger(&self, id: TriggerId) -> Result<Option<TriggerRow>, StoreError> {
                self.readers.trigger(id).await
            }
            async fn occurrences(
                &self,
                trigger: TriggerId,
                filter: &OccurrenceFilter,
            ) -> Result<Vec<Occurrence>, StoreError> {
                self.readers.occurrences(trigger, filter).await
            }
            async fn channels(&self) -> Result<Vec<ChannelRow>, StoreError> {
                self.readers.channels().await
            }
            async fn totals(&self) -> Result<Totals, StoreError> {
                self.readers.totals().await
            }
            async fn fates(&self, runs: &[RunId]) -> Result<Vec<Fate>, StoreError> {
                self.readers.fates(runs).await
            }
            async fn artifact_fates(
                &self,
                artifacts: &[ArtifactHash],
            ) -> Result<Vec<Fate>, StoreError> {
                self.readers.artifact_fates(artifacts).await
            }
            async fn ended_beyond(
                &self,
                status: RunStatus,
                keep: u64,
                notifications: bool,
            ) -> Result<Option<Millis>, StoreError> {
                self.readers.ended_beyond(status, keep, notifications).await
            }
            async fn limits(&self) -> Result<Vec<LimitRow>, StoreError> {
                self.readers.limits().await
            }
            async fn sealed(&self) -> Result<Vec<SealedRow>, StoreError> {
                self.readers.sealed().await
            }
            async fn audit(&self, after: u64, limit: usize) -> Result<Vec<AuditEntry>, StoreError> {
                self.readers.audit(after, limit).await
            }
            async fn audit_head(&self) -> Result<Option<AuditHead>, StoreError> {
                self.readers.audit_head().await
            }
            async fn verify(&self) -> Result<Vec<String>, StoreError> {
                self.readers.verify().await
            }
        }
    };
}
pass_views!(SqliteStore);
pass_views!(ReadOnly);
