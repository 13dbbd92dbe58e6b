//! Debounce, batches, and what pauses a trigger before it does harm.

use std::sync::Arc;

use moa_core::run::RunStatus::{Failed, Succeeded};
use moa_core::schedule::Overlap;
use moa_core::template::Template;
use moa_core::time::{Millis, Span};
use moa_core::trigger::{Collect, Guard, Outcome, TriggerCommand, TriggerInput, TriggerSpec};
use serde_json::json;

use super::bench::{Bench, START, every, on_event};

fn debounced() -> TriggerSpec {
    let quiet = Some(Span::seconds(10));
    let collect = Collect { quiet, within: Span::seconds(60), max: 1000 };
    let params = json!({ "last": "${{ event.data.n }}", "all": "${{ events.map(e, e.data.n) }}" });
    let params = Template::compile(&params, false).expect("a template");
    TriggerSpec { collect: Some(collect), params, ..on_event() }
}

#[test]
fn a_burst_starts_one_run_when_it_is_over() {
    let mut bench = Bench::new(debounced());
    for n in 0..5 {
        bench.event(json!({ "n": n }));
        bench.pass(Span::seconds(9));
    }
    assert!(bench.starts.is_empty(), "{}", bench.lines());
    let why = bench.trigger.why(bench.now, None);
    assert_eq!(why[0].reason, "5 occurrences are collected, and start one run");
    assert_eq!(why[0].until, Some(START.after(Span::seconds(46))));
    bench.pass(Span::seconds(1));
    let (at, run, start) = bench.starts[0].clone();
    assert_eq!(at, START.after(Span::seconds(46)));
    assert_eq!(*start.params, json!({ "last": 4, "all": [0, 1, 2, 3, 4] }));
    assert_eq!(bench.starts.len(), 1);
    let outcomes = bench.outcomes();
    assert_eq!(outcomes[..4], [Outcome::Debounced; 4], "each is accounted for: {}", bench.lines());
    assert_eq!(outcomes[4], Outcome::Started);
    assert!(bench.records.values().all(|record| record.run == Some(run)));
    assert_eq!(bench.trigger.state.last.as_ref().map(|last| last.outcome), Some(Outcome::Started));
    bench.ends(run, Failed);
    assert!(bench.records.values().all(|record| record.result == Some(Failed)), "all share it");
    bench.pass(Span::minutes(60));
    assert_eq!(bench.starts.len(), 1);
}

#[test]
fn a_burst_without_end_is_no_excuse() {
    let mut bench = Bench::new(debounced());
    for n in 0..100 {
        bench.event(json!({ "n": n }));
        bench.pass(Span::seconds(5));
    }
    let at: Vec<Millis> = bench.starts.iter().map(|start| start.0).collect();
    let minute = |n: u64| START.after(Span::seconds(n));
    // Each begins with what comes behind the one before.
    assert_eq!(at[..3], [minute(60), minute(120), minute(180)], "{}", bench.lines());
}

#[test]
fn a_batch_is_started_when_it_is_full_or_old() {
    let collect = Collect { quiet: None, within: Span::seconds(60), max: 3 };
    let mut bench = Bench::new(TriggerSpec { collect: Some(collect), ..on_event() });
    for n in 0..7 {
        bench.event(json!({ "n": n }));
    }
    assert_eq!(bench.starts.len(), 2, "{}", bench.lines());
    bench.pass(Span::seconds(60));
    assert_eq!(bench.starts.len(), 3);
    let sizes = bench.starts.iter().map(|s| s.2.trigger.vars["events"].as_array().unwrap().len());
    assert_eq!(sizes.collect::<Vec<_>>(), [3, 3, 1]);
}

#[test]
fn what_is_collected_is_accounted_for_when_it_can_not_start() {
    let mut bench = Bench::new(debounced());
    bench.event(json!({ "n": 1 }));
    bench.event(json!({ "n": 2 }));
    bench.pause();
    bench.pass(Span::seconds(60));
    assert_eq!(bench.outcomes(), [Outcome::SkippedPaused; 2]);
    bench.command(TriggerCommand::Resume);
    bench.event(json!({ "n": 3 }));
    bench.apply(TriggerInput::Put { spec: Arc::new(on_event()) }).unwrap();
    assert_eq!(bench.outcomes()[2], Outcome::Discarded, "{}", bench.lines());
    bench.pass(Span::minutes(60));
    assert!(bench.starts.is_empty());
    // A run that goes on holds up the next one as it would a single occurrence.
    let mut bench = Bench::new(TriggerSpec { overlap: Overlap::BufferOne, ..debounced() });
    bench.event(json!({ "n": 1 }));
    bench.pass(Span::seconds(10));
    bench.event(json!({ "n": 2 }));
    bench.event(json!({ "n": 3 }));
    bench.pass(Span::seconds(10));
    assert_eq!(bench.starts.len(), 1);
    bench.one_ends(Failed);
    assert_eq!(bench.starts.len(), 2, "{}", bench.lines());
    assert_eq!(bench.starts[1].2.params["all"], json!([2, 3]));
    // Those that waited with it are told which run it is, and what came of it.
    let started = Outcome::Started;
    assert_eq!(bench.outcomes(), [started, Outcome::Debounced, started], "{}", bench.lines());
    let run = bench.starts[1].1;
    assert_eq!(bench.records.values().filter(|record| record.run == Some(run)).count(), 2);
    let reason = "the workflow is gone".to_owned();
    bench.apply(TriggerInput::NotStarted { run, limit: false, reason }).unwrap();
    assert_eq!(bench.outcomes(), [started, Outcome::Failed, Outcome::Failed]);
    let counts = &bench.trigger.state.counts;
    assert_eq!((counts[&Outcome::Failed], counts[&Outcome::Debounced]), (2, 0));
}

#[test]
fn what_is_collected_by_a_clock_that_is_ahead_does_not_wait_for_that_time() {
    for again in [false, true] {
        let mut bench = Bench::new(debounced());
        bench.now = START.after(Span::minutes(60 * 24 * 365));
        bench.event(json!({ "n": 1 }));
        bench.now = START;
        match again {
            true => bench.event(json!({ "n": 2 })),
            // A node tells it to look when the clock is put right.
            false => _ = bench.apply(TriggerInput::Due).unwrap(),
        }
        bench.pass(Span::seconds(10));
        assert_eq!(bench.starts.len(), 1, "{}", bench.lines());
    }
}

#[test]
fn a_trigger_that_runs_away_is_paused() {
    let guard = Guard { starts: Some((5, Span::minutes(60))), no_progress: None };
    let mut bench = Bench::new(TriggerSpec { guard, ..on_event() });
    for n in 0..9 {
        bench.event(json!({ "n": n }));
    }
    assert_eq!(bench.starts.len(), 5, "{}", bench.lines());
    let paused = bench.trigger.state.paused.clone().expect("it is paused");
    assert_eq!(paused.by, "moa");
    assert!(paused.reason.contains("5 runs within 1h"), "{}", paused.reason);
    assert_eq!(bench.notices.len(), 1);
    let skipped = bench.outcomes().into_iter().filter(|o| *o == Outcome::SkippedPaused).count();
    assert_eq!(skipped, 4);
    bench.command(TriggerCommand::Resume);
    bench.event(json!({}));
    assert_eq!(bench.starts.len(), 6);
    // At a pace that is allowed it goes on for ever.
    let mut bench = Bench::new(TriggerSpec { guard, ..on_event() });
    for _ in 0..50 {
        bench.event(json!({}));
        bench.pass(Span::minutes(13));
    }
    assert_eq!(bench.starts.len(), 50);
}

#[test]
fn a_guard_holds_over_every_hour_not_only_over_full_ones() {
    let guard = Guard { starts: Some((5, Span::minutes(60))), no_progress: None };
    let mut bench = Bench::new(TriggerSpec { guard, ..on_event() });
    bench.event(json!({}));
    bench.pass(Span::minutes(59));
    for _ in 0..4 {
        bench.event(json!({}));
    }
    // An hour after the first one has begun anew, and of the last hour four still count.
    bench.pass(Span::minutes(2));
    bench.event(json!({}));
    assert_eq!(bench.trigger.state.paused, None);
    bench.event(json!({}));
    assert!(bench.trigger.state.paused.is_some(), "{}", bench.lines());
    assert_eq!(bench.starts.len(), 6);
}

#[test]
fn a_schedule_whose_runs_change_nothing_is_paused() {
    let guard = Guard { starts: None, no_progress: Some(3) };
    let mut bench = Bench::new(TriggerSpec { guard, ..every("1m", |_| {}) });
    let ends = |bench: &mut Bench, output: u64| {
        bench.pass(Span::minutes(1));
        let run = *bench.trigger.state.open.keys().next().expect("a run is open");
        bench.ends_with(run, Succeeded, Some(output));
    };
    for output in [1, 2, 2, 2, 3, 3, 3] {
        ends(&mut bench, output);
    }
    assert_eq!(bench.trigger.state.paused, None);
    ends(&mut bench, 3);
    let paused = bench.trigger.state.paused.clone().expect("it is paused");
    assert!(paused.reason.contains("same output"), "{}", paused.reason);
    let starts = bench.starts.len();
    bench.pass(Span::minutes(9));
    assert_eq!(bench.starts.len(), starts, "{}", bench.lines());
    bench.command(TriggerCommand::Resume);
    ends(&mut bench, 3);
    assert_eq!(bench.trigger.state.paused, None, "it begins anew");
}
