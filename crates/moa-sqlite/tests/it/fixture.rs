//! A SQLite store in a folder of its own.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use moa_core::run::RunStatus;
use moa_core::step::StepStatus;
use moa_ports::store::{BatchOutcome, Commit, Error, Snapshot, Store};
use moa_ports::suite::{Fixture, answer, block_on, build};
use moa_ports::views::{HistoryRow, RunFilter, Views};
use moa_sqlite::{Options, SqliteStore};
use tempfile::TempDir;

/// A store in a folder that is deleted with it.
pub struct Sqlite {
    store: Option<SqliteStore>,
    folder: TempDir,
    options: Options,
}

/// A folder in memory where there is one: what these tests cut is not the power.
pub fn folder() -> TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    made.expect("a folder for the test")
}

impl Sqlite {
    pub fn new() -> Self {
        Self::with(Options { synchronous_full: false, ..Options::default() })
    }

    pub fn with(options: Options) -> Self {
        let options = Options { idle: Duration::from_secs(3600), ..options };
        let mut new = Self { store: None, folder: folder(), options };
        new.open();
        new
    }

    pub fn path(&self) -> PathBuf {
        self.folder.path().join("moa.db")
    }

    pub fn get(&self) -> &SqliteStore {
        self.store.as_ref().expect("it is open")
    }

    pub fn close(&mut self) {
        self.store = None;
    }

    pub fn open(&mut self) {
        let opened = SqliteStore::open(&self.path(), self.options.clone());
        self.store = Some(opened.expect("the store opens"));
    }

    /// Copies the database and its log as they are on the disk now: what a killed process leaves.
    pub fn as_killed(&self) -> (TempDir, PathBuf) {
        // Once it answers, the checkpoint that may have followed the last batch is done.
        let _ = version(self.get(), 1);
        let folder = folder();
        for file in ["moa.db", "moa.db-wal"] {
            let from = self.folder.path().join(file);
            if from.exists() {
                std::fs::copy(from, folder.path().join(file)).expect("a copy of the file");
            }
        }
        let path = folder.path().join("moa.db");
        (folder, path)
    }
}

impl Fixture for Sqlite {
    fn store(&self) -> &dyn Store {
        self.get()
    }
    fn views(&self) -> &dyn Views {
        self.get()
    }
    fn exclusive(&self) -> bool {
        true
    }
    fn reopen(&mut self) -> bool {
        self.close();
        self.open();
        true
    }
}

pub fn commit(store: &SqliteStore, commits: Vec<Commit>) -> Result<BatchOutcome, Error> {
    answer(|reply| store.commit(build::batch(commits), reply))
}

pub fn version(store: &SqliteStore, n: u64) -> Result<u64, Error> {
    let loaded = answer(|reply| store.load(vec![build::run(n)], reply))?;
    Ok(loaded[0].as_ref().map_or(0, |snapshot| snapshot.version))
}

/// All that people can see: runs with their steps, and history.
pub type Everything = (Vec<Snapshot>, Vec<HistoryRow>);

pub fn everything(views: &dyn Views) -> Result<Everything, Error> {
    let filter = RunFilter { limit: usize::MAX, ..RunFilter::default() };
    let mut runs = Vec::new();
    for summary in block_on(views.runs(&filter))? {
        let snapshot = block_on(views.run(summary.run))?;
        runs.push(snapshot.ok_or(Error::Corrupt {
            place: "the store".to_owned(),
            check: "a run is listed, but not there".to_owned(),
        })?);
    }
    let mut history: Vec<HistoryRow> = Vec::new();
    loop {
        let after = history.last().map_or(0, |row| row.seq);
        let part = block_on(views.events(after, usize::MAX, usize::MAX))?;
        if part.is_empty() {
            return Ok((runs, history));
        }
        history.extend(part);
    }
}

/// Fills a store: `runs` runs of some steps, with outputs of all lengths; every third one ended.
pub fn fill(store: &SqliteStore, runs: u64) {
    for n in 1..=runs {
        let mut row = build::row_in(build::run(n), RunStatus::Running);
        row.params = Arc::new(serde_json::json!({"text": "p".repeat((n * 37 % 3000) as usize)}));
        let mut step = build::step(0, StepStatus::Succeeded);
        let output = "o".repeat((n * n * 13 % 9000) as usize);
        step.output = Some(Arc::new(serde_json::json!({"text": output})));
        let created = build::with_steps(build::create(row), vec![step, build::ready(1, n as i64)]);
        let message = Commit { messages: vec![build::emitted("done")], ..created };
        let mut commits = vec![message];
        commit(store, std::mem::take(&mut commits)).expect("a run is created");
        if n % 3 == 0 {
            let skipped = vec![build::step(1, StepStatus::Skipped)];
            let end = build::end(build::run(n), 1, RunStatus::Succeeded);
            commit(store, vec![build::with_steps(end, skipped)]).expect("a run ends");
        }
    }
}
