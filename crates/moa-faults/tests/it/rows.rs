//! What the store itself holds after a fault, read behind moa's back: histories without gaps whose
//! fold is the state.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use moa_core::ids::{RunId, VersionHash};
use moa_core::machine::{BUS, Graph, Run};
use moa_core::run::StepRow;
use moa_core::step::StepStatus;
use moa_core::workflow::Plan;
use moa_ports::store::Snapshot;
use moa_ports::views::{HistoryRow, RunFilter, Views};
use moa_sqlite::SqliteStore;

/// Checks every run in the store at `path`; answers how many there are.
pub fn check(path: &Path) -> usize {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let store = SqliteStore::open_read_only(path).expect("the store can be read");
    runtime.block_on(check_views(&store))
}

async fn check_views(views: &dyn Views) -> usize {
    let damage = views.verify().await.expect("it can be verified");
    assert!(damage.is_empty(), "damaged: {damage:?}");
    let mut rows: BTreeMap<RunId, Vec<HistoryRow>> = BTreeMap::new();
    let mut last = 0;
    loop {
        let page = views.events(last, 5000, usize::MAX).await.expect("the history");
        let Some(end) = page.last().map(|row| row.seq) else { break };
        for row in page {
            assert!(row.seq > last, "event {} comes after {last}", row.seq);
            last = row.seq;
            rows.entry(row.run).or_default().push(row);
        }
        assert_eq!(last, end);
    }
    let all = RunFilter { limit: usize::MAX, ..RunFilter::default() };
    let runs = views.runs(&all).await.expect("the runs");
    let mut graphs: BTreeMap<VersionHash, Arc<Graph>> = BTreeMap::new();
    for summary in &runs {
        let stored = views.run(summary.run).await.expect("a run").expect("it is listed");
        let hash = stored.row.hash;
        let graph = match graphs.get(&hash) {
            Some(graph) => graph.clone(),
            None => graph(views, hash).await,
        };
        graphs.insert(hash, graph.clone());
        let history = rows.remove(&summary.run).unwrap_or_default();
        compare(&history, &stored, graph);
    }
    // What was published is of no run.
    rows.remove(&BUS);
    assert!(rows.is_empty(), "history without a run: {:?}", rows.keys());
    runs.len()
}

async fn graph(views: &dyn Views, hash: VersionHash) -> Arc<Graph> {
    let version = views.workflow(hash).await.expect("the workflows").expect("it is kept");
    let plan: Plan = serde_json::from_str(&version.plan).expect("a plan");
    Arc::new(Graph::new(plan).expect("a sound plan"))
}

/// Instants aside (a commit is written a little after what it says was decided), the fold of the
/// history is the state.
fn compare(history: &[HistoryRow], stored: &Snapshot, graph: Arc<Graph>) {
    let run = stored.row.run;
    let versions: Vec<u64> = history.iter().map(|row| row.version).collect();
    let want: Vec<u64> = (1..=stored.version).collect();
    assert_eq!(versions, want, "the history of run {run} has a gap");
    let events = history.iter().map(|row| (row.at, row.events.as_slice()));
    let fold = Run::fold(events, graph).unwrap_or_else(|e| panic!("run {run}: {e}"));
    let (a, b) = (&fold.row, &stored.row);
    assert_eq!((a.status, a.phase), (b.status, b.phase), "run {run}");
    assert_eq!((&a.params, &a.output, &a.error), (&b.params, &b.output, &b.error), "run {run}");
    assert_eq!(a.extra, b.extra, "run {run}");
    let mut rows = stored.steps.iter().peekable();
    for step in fold.steps() {
        let Some(row) = rows.next_if(|row| row.inst == step.inst) else {
            assert_eq!(step.status, StepStatus::Pending, "run {run} has no row for {step:?}");
            continue;
        };
        let same = (step.plan, step.status, step.wait, step.skip, step.attempt, step.released)
            == (row.plan, row.status, row.wait, row.skip, row.attempt, row.released);
        let same = same && (step.node, step.until) == (row.node, row.until);
        // No output and the output null are the same for people, and are written as the same.
        let output = |row: &StepRow| row.output.as_deref().filter(|v| !v.is_null()).cloned();
        let same = same && output(step) == output(row) && step.error == row.error;
        assert!(same, "run {run}: folded {step:?}, stored {row:?}");
    }
    assert_eq!(rows.next(), None, "run {run} has a row that its history doesn't know");
}
