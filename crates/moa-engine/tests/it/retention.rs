//! The job that deletes what is old, on a store that the engine filled, over virtual months.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use moa_core::ids::RunId;
use moa_core::run::RunStatus;
use moa_core::step::ErrorKind;
use moa_core::time::Span;
use moa_engine::handle::Change;
use moa_engine::jobs::Job;
use moa_engine::jobs::retention::{Forget, Limit, Limits, Retention};
use moa_engine::virtual_time::World;
use moa_ports::memory::MemoryStore;
use moa_ports::views::{RunFilter, Views};
use serde_json::json;

use crate::script::{START, answers, fail, start, world};

const DAY: Span = Span::minutes(24 * 60);
const GOOD: &str = "steps:\n  - {id: work, agent: a, action: b}\n";
const BAD: &str = "steps:\n  - {id: broken, agent: a, action: b}\n";
const OPEN: &str = "\
steps:
  - {id: child, workflow: good}
  - {id: ask, wait_for: {signal: go}}
";

/// Notes which runs are gone.
#[derive(Default)]
struct Gone(Mutex<Vec<RunId>>);

#[async_trait]
impl Forget for Gone {
    async fn forget(&self, runs: Vec<RunId>) {
        self.0.lock().expect("nobody panicked").extend(runs);
    }
}

fn job(store: &MemoryStore, limits: Limits) -> (Retention, Arc<Gone>) {
    let gone = Arc::new(Gone::default());
    let (write, read) = (Arc::new(store.clone()), Arc::new(store.clone()));
    (Retention::new(write, read, limits, gone.clone()), gone)
}

async fn count(store: &MemoryStore, status: RunStatus) -> usize {
    let filter = RunFilter { statuses: vec![status], limit: 9999, ..RunFilter::default() };
    store.runs(&filter).await.expect("they are listed").len()
}

fn run_for_days(days: u64) -> World<'static> {
    let script = answers(vec![("broken", fail(ErrorKind::Permanent, "no"))]);
    let mut world = world(&[("good", GOOD), ("bad", BAD), ("open", OPEN)], script);
    start(&mut world, "open", json!({}));
    for _ in 0..days {
        for workflow in ["good", "good", "good", "bad"] {
            start(&mut world, workflow, json!({}));
            world.run(Span::minutes(1));
        }
        world.skip(DAY);
    }
    world
}

#[tokio::test]
async fn what_is_old_goes_and_what_is_open_stays() {
    let mut world = run_for_days(60);
    let store = world.store().clone();
    let open = store.runs(&RunFilter { limit: 999, ..RunFilter::default() }).await;
    let open = open.expect("they are listed").last().expect("there is one").run;
    let days = |n: u64| Some(Span(n * DAY.0));
    let limits = Limits {
        succeeded: Limit { age: days(10), count: None },
        failed: Limit { age: days(40), count: Some(25) },
        history: days(5),
        keys: None,
        occurrences: None,
        events: Limit::default(),
        audit: Limit::default(),
    };
    let (job, gone) = job(&store, limits);
    let done = job.activate(world.now().into()).await.expect("it is done");
    // Nine whole days of three, and the child of the open run.
    assert_eq!(count(&store, RunStatus::Succeeded).await, 28);
    assert_eq!(count(&store, RunStatus::Failed).await, 25);
    assert_eq!(count(&store, RunStatus::Waiting).await, 1);
    assert_eq!(done["runs"], gone.0.lock().expect("nobody panicked").len());
    assert_eq!(store.verify().await, Ok(Vec::new()));
    // What is left of old histories is one row each; those of the open run and its child are whole.
    let rows = store.all_history().len();
    let again = job.activate(world.now().into()).await.expect("it is done");
    assert_eq!(
        again,
        json!({"runs": 0, "histories": 0, "keys": 0, "occurrences": 0, "events": 0, "audit": 0})
    );
    assert_eq!(store.all_history().len(), rows);
    let versions = store.history(open, 0, 99).await.expect("history");
    assert_eq!(versions[0].version, 1);

    let go = Change::Signal { name: "go".into(), key: None, payload: json!(null) };
    world.change(open, go).expect("it takes a signal");
    world.skip(Span(20 * DAY.0));
    job.activate(world.now().into()).await.expect("it is done");
    assert_eq!(count(&store, RunStatus::Succeeded).await, 0);
    assert_eq!(count(&store, RunStatus::Failed).await, 19);
}

#[tokio::test]
async fn published_events_are_kept_up_to_an_age_and_a_count() {
    let mut world = run_for_days(1);
    let store = world.store().clone();
    for _ in 0..5 {
        world.publish("sold", json!(1), None).expect("it is published");
        world.skip(DAY);
    }
    let kept = |store: &MemoryStore| {
        store.all_history().iter().filter(|row| row.run == moa_core::machine::BUS).count()
    };
    let limit =
        |age: Option<Span>, count| Limits { events: Limit { age, count }, ..Limits::default() };
    for (limits, left) in [
        (limit(None, None), 5),
        (limit(Some(Span(4 * DAY.0 + 1)), Some(9)), 4),
        (limit(None, Some(2)), 2),
        (limit(None, Some(0)), 0),
    ] {
        let before = kept(&store);
        let done = job(&store, limits).0.activate(world.now().into()).await.expect("it is done");
        assert_eq!((done["events"].clone(), kept(&store)), (json!(before - left), left));
    }
    // The youngest stays for a minute: who published it may want to see it.
    world.publish("sold", json!(1), None).expect("it is published");
    let done = job(&store, limit(None, Some(0))).0.activate(world.now().into()).await;
    assert_eq!((done.expect("it is done")["events"].clone(), kept(&store)), (json!(0), 1));
    assert_eq!(store.verify().await, Ok(Vec::new()));
}

#[tokio::test]
async fn the_newest_are_kept_by_count_and_the_youngest_always() {
    let world = run_for_days(3);
    let store = world.store().clone();
    let keep = |count| Limit { age: None, count };
    let limits = Limits { succeeded: keep(Some(4)), failed: keep(None), ..Limits::default() };
    let (job, gone) = job(&store, limits);
    job.activate(world.now().into()).await.expect("it is done");
    assert_eq!(count(&store, RunStatus::Succeeded).await, 5, "four, and a child of an open run");
    assert_eq!(count(&store, RunStatus::Failed).await, 3);
    assert!(gone.0.lock().expect("nobody panicked").iter().all(|run| run.0 > 0));

    let world = run_for_days(1);
    let store = world.store().clone();
    let limits = Limits { succeeded: keep(Some(0)), failed: keep(Some(0)), ..Limits::default() };
    let (job, _) = self::job(&store, limits);
    job.activate(START.after(Span::seconds(30)).into()).await.expect("it is done");
    assert!(count(&store, RunStatus::Succeeded).await > 1, "one that ended just now is kept");
    job.activate(world.now().into()).await.expect("it is done");
    assert_eq!(count(&store, RunStatus::Succeeded).await, 1);
    assert_eq!(count(&store, RunStatus::Failed).await, 0);
}
