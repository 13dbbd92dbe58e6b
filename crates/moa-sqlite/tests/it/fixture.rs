//! A SQLite store in a folder of its own.

use moa_ports::store::Store;
use moa_ports::suite::Fixture;
use moa_ports::views::Views;
use moa_sqlite::{Options, SqliteStore};
use tempfile::TempDir;

/// A store in a folder that is deleted with it.
pub struct Sqlite {
    store: Option<SqliteStore>,
    pub folder: TempDir,
    options: Options,
}

impl Sqlite {
    /// A new store without syncs: what these tests cut is not the power.
    pub fn new() -> Self {
        Self::with(Options { synchronous_full: false, ..Options::default() })
    }

    pub fn with(options: Options) -> Self {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let mut new = Self { store: None, folder, options };
        new.open();
        new
    }

    pub fn path(&self) -> std::path::PathBuf {
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
