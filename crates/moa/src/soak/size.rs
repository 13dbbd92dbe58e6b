//! How much a project takes: of the disk, and of this process's memory.

use std::collections::BTreeMap;
use std::path::Path;

use peak_alloc::PeakAlloc;
use rusqlite::{Connection, OpenFlags};

use crate::project::Layout;
use crate::wire;

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

/// How much a project takes.
#[derive(Debug, Clone)]
pub struct Size {
    /// Rows by table.
    pub rows: BTreeMap<String, u64>,
    /// Bytes of the database that are used.
    pub database: u64,
    /// Files beneath the state's folder, and their bytes.
    pub files: u64,
    pub bytes: u64,
    /// Bytes on the heap that are in use.
    pub heap: u64,
}

impl Size {
    pub fn of(layout: &Layout) -> Self {
        let heap = HEAP.current_usage() as u64;
        let (rows, database) = database(&wire::database(layout));
        let mut size = Self { rows, database, files: 0, bytes: 0, heap };
        for entry in walkdir::WalkDir::new(layout.state()) {
            let metadata = entry.expect("an entry").metadata().expect("metadata");
            if metadata.is_file() {
                size.files += 1;
                size.bytes += metadata.len();
            }
        }
        size
    }

    /// What is more than an eighth larger than it was; a few rows and KiB more are nothing.
    pub fn grown(&self, before: &Self) -> Vec<String> {
        let mut grown = Vec::new();
        let mut compare = |what: &str, now: u64, before: u64, free: u64| {
            if now > before + before / 8 + free {
                grown.push(format!("{what}: {before} -> {now}"));
            }
        };
        for (table, rows) in &self.rows {
            compare(table, *rows, before.rows.get(table).copied().unwrap_or(0), 20);
        }
        compare("bytes of the database", self.database, before.database, 64 << 10);
        compare("files", self.files, before.files, 20);
        compare("bytes of files", self.bytes, before.bytes, 256 << 10);
        compare("bytes of the heap", self.heap, before.heap, 1 << 20);
        grown
    }
}

fn database(path: &Path) -> (BTreeMap<String, u64>, u64) {
    let db =
        Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).expect("a database");
    let number = |sql: &str| {
        let count: i64 = db.query_row(sql, (), |row| row.get(0)).expect("a number");
        count.unsigned_abs()
    };
    let mut names = db
        .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%'")
        .expect("a statement");
    let names = names.query_map((), |row| row.get::<_, String>(0)).expect("tables");
    let names: Vec<String> = names.map(|name| name.expect("a name")).collect();
    let rows = names.into_iter().map(|name| {
        let rows = number(&format!("SELECT count(*) FROM {name}"));
        (name, rows)
    });
    let rows = rows.collect();
    let pages = number("SELECT page_count FROM pragma_page_count")
        - number("SELECT freelist_count FROM pragma_freelist_count");
    (rows, pages * number("SELECT page_size FROM pragma_page_size"))
}
