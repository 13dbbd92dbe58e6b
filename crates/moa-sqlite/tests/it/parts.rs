//! Parts of a history: no more at once than fits into memory, and nothing left out.

use std::sync::Arc;

use moa_core::run::RunStatus;
use moa_ports::suite::{block_on, build};
use moa_ports::views::{KeptAsk, PART_BYTES, Views};
use moa_sqlite::{Options, SqliteStore};

use crate::fixture::commit;

#[test]
fn a_part_of_large_rows_is_short_and_the_next_goes_on() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = SqliteStore::open(&dir.path().join("moa.db"), Options::default()).expect("a store");
    let large = PART_BYTES / 4;
    for n in 1..=10 {
        let mut row = build::row_in(build::run(n), RunStatus::Running);
        row.params = Arc::new(serde_json::json!({"text": "p".repeat(large)}));
        commit(&store, vec![build::create(row)]).expect("a run is created");
    }
    let seqs = |rows: Vec<moa_ports::views::HistoryRow>| -> Vec<u64> {
        rows.iter().map(|row| row.seq).collect()
    };
    let events = |after| seqs(block_on(store.events(after, 99, usize::MAX)).expect("events"));
    let latest = |upto| -> Vec<u64> {
        let (run, behind, bytes) = (None, 0, usize::MAX);
        let ask = KeptAsk { run, behind, upto, newest_first: true, rows: 99, bytes };
        block_on(store.kept(&ask)).expect("events").iter().map(|row| row.seq).collect()
    };
    assert_eq!(events(0), [1, 2, 3, 4]);
    assert_eq!(events(4), [5, 6, 7, 8]);
    assert_eq!(events(8), [9, 10]);
    assert_eq!(latest(u64::MAX), [10, 9, 8, 7]);
    assert_eq!(latest(2), [2, 1]);
    let history = block_on(store.history(build::run(3), 0, 99)).expect("a history");
    assert_eq!(history.len(), 1);
}
