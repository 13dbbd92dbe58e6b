//! Runs of other workflows: starts after them, and slots that wait for them.

use std::sync::Arc;

use moa_core::run::RunStatus::{Failed, Succeeded};
use moa_core::schedule::{Schedule, ScheduleId};
use moa_core::template::Template;
use moa_core::time::{Millis, Span};
use moa_core::trigger::{Cycles, Outcome, Source, TriggerInput, TriggerSpec};
use serde_json::json;

use super::bench::{Bench, START, after, dependency, every, name};

#[test]
fn every_end_that_fits_starts_a_run() {
    let mut spec = after(&["curation"], false);
    let params = json!({ "n": "${{ event.data.output.n }}", "of": "${{ event.data.run }}" });
    spec.params = Template::compile(&params, false).unwrap();
    let mut bench = Bench::new(spec);
    bench.other_ends("curation", 1, Succeeded);
    bench.other_ends("curation", 2, Failed);
    bench.other_ends("curation", 3, Succeeded);
    bench.other_ends("curation", 3, Succeeded);
    bench.other_ends("other", 4, Succeeded);
    assert_eq!(bench.starts.len(), 2);
    assert_eq!(bench.starts[0].2.params["n"], 1);
    assert_eq!(bench.starts[1].2.params["of"], "00000000-0000-0000-0000-000000000003");
}

#[test]
fn a_run_starts_once_for_each_set_of_ends() {
    let mut bench = Bench::new(after(&["a", "b"], true));
    bench.other_ends("a", 1, Succeeded);
    bench.other_ends("a", 2, Succeeded);
    bench.other_ends("b", 3, Failed);
    assert!(bench.starts.is_empty());
    bench.other_ends("b", 4, Succeeded);
    assert_eq!(bench.starts.len(), 1);
    let vars = &bench.starts[0].2.trigger.vars;
    let newest = "00000000-0000-0000-0000-000000000002";
    assert_eq!(vars["event"]["data"]["runs"]["a"]["run"], newest);
    // Both have to end again.
    bench.other_ends("b", 5, Succeeded);
    assert_eq!(bench.starts.len(), 1);
    bench.other_ends("a", 6, Succeeded);
    assert_eq!(bench.starts.len(), 2);
    assert_ne!(bench.starts[0].1, bench.starts[1].1);
}

#[test]
fn an_edit_keeps_what_has_arrived_of_what_is_still_waited_for() {
    let mut bench = Bench::new(after(&["a", "b"], true));
    bench.other_ends("a", 1, Succeeded);
    bench.other_ends("b", 2, Failed);
    let spec = after(&["a", "c"], true);
    bench.apply(TriggerInput::Put { spec: Arc::new(spec) }).unwrap();
    bench.other_ends("c", 3, Succeeded);
    assert_eq!(bench.starts.len(), 1);
}

/// Due each hour, after `curation`, which is due each hour too.
fn hourly_after(cycles: bool, change: impl FnOnce(&mut Schedule)) -> TriggerSpec {
    let mut spec = every("1h", change);
    let mut dependency = dependency("curation");
    if cycles {
        let id = ScheduleId { workflow: name("curation"), name: name("1") };
        let mut schedule = Schedule::new(id);
        schedule.every = vec!["1h".parse().unwrap()];
        dependency.cycles = vec![Cycles { schedule, calendars: Default::default() }];
    }
    let Source::Schedule(source) = &mut spec.source else { unreachable!() };
    source.after = vec![dependency];
    spec
}

fn hour(n: u64) -> Millis {
    START.after(Span::minutes(60 * n))
}

#[test]
fn a_slot_waits_for_the_run_of_the_same_cycle() {
    let mut bench = Bench::new(hourly_after(true, |_| {}));
    bench.pass(Span::minutes(60));
    assert_eq!(
        bench.lines().lines().next(),
        Some(
            "3600 waiting: curation: its run of \
        2027-01-15T09:00:00.000Z has not begun"
        )
    );
    bench.other_starts("curation", 1, Some(hour(1)));
    bench.pass(Span::minutes(10));
    assert!(bench.starts.is_empty(), "{}", bench.lines());
    bench.other_ends("curation", 1, Succeeded);
    assert_eq!(bench.starts.len(), 1);
    assert_eq!(bench.starts[0].2.trigger.slot, Some(hour(1)));
    assert_eq!(bench.outcomes(), [Outcome::Started]);
    bench.one_ends(Succeeded);
    // The next cycle's run is there before the slot: it is waited for too.
    bench.other_starts("curation", 2, Some(hour(2)));
    bench.pass(Span::minutes(60));
    assert_eq!(bench.starts.len(), 1);
    bench.other_ends("curation", 2, Succeeded);
    assert_eq!(bench.starts.len(), 2);
}

#[test]
fn a_cycle_that_does_not_come_is_not_waited_for() {
    let mut bench = Bench::new(hourly_after(true, |_| {}));
    bench.pass(Span::minutes(60));
    assert!(bench.starts.is_empty());
    bench.pass(Span::seconds(10));
    assert_eq!(bench.starts.len(), 1, "{}", bench.lines());
    assert_eq!(bench.starts[0].0, hour(1).after(Span::seconds(10)));
}

#[test]
fn a_failed_run_is_waited_for_until_it_is_repeated_or_too_late() {
    let mut bench = Bench::new(hourly_after(true, |s| s.max_lateness = Some(Span::minutes(15))));
    bench.pass(Span::minutes(60));
    bench.other_starts("curation", 1, Some(hour(1)));
    bench.other_ends("curation", 1, Failed);
    bench.pass(Span::minutes(5));
    assert!(bench.starts.is_empty());
    // A repetition of it has the same slot.
    bench.other_starts("curation", 2, Some(hour(1)));
    bench.other_ends("curation", 2, Succeeded);
    assert_eq!(bench.starts.len(), 1);
    bench.one_ends(Succeeded);
    bench.pass(Span::minutes(55));
    bench.other_starts("curation", 3, Some(hour(2)));
    bench.other_ends("curation", 3, Failed);
    bench.pass(Span::minutes(16));
    assert_eq!(bench.starts.len(), 1);
    assert_eq!(bench.outcomes(), [Outcome::Started, Outcome::SkippedLate]);
    assert!(bench.lines().contains("run 00000000-0000-0000-0000-000000000003 failed"));
}

#[test]
fn a_slot_that_waits_gives_way_to_the_next_one() {
    let mut bench = Bench::new(hourly_after(false, |_| {}));
    bench.pass(Span::minutes(180));
    assert!(bench.starts.is_empty());
    let late = Outcome::SkippedLate;
    assert_eq!(bench.outcomes(), [late, late, Outcome::Waiting], "{}", bench.lines());
    bench.other_ends("curation", 1, Succeeded);
    assert_eq!(bench.starts.len(), 1);
    assert_eq!(bench.starts[0].2.trigger.slot, Some(hour(3)));
    // One of unknown cycles: the newest run counts, and it has ended.
    bench.one_ends(Succeeded);
    bench.pass(Span::minutes(60));
    assert_eq!(bench.starts.len(), 2);
    bench.one_ends(Succeeded);
    bench.other_starts("curation", 2, None);
    bench.pass(Span::minutes(60));
    assert_eq!(bench.starts.len(), 2, "a newer run is going on: {}", bench.lines());
    bench.other_ends("curation", 2, Succeeded);
    assert_eq!(bench.starts.len(), 3);
}

#[test]
fn a_paused_schedule_starts_nothing_that_waits() {
    let mut bench = Bench::new(hourly_after(false, |_| {}));
    bench.pass(Span::minutes(61));
    bench.pause();
    bench.other_ends("curation", 1, Succeeded);
    assert!(bench.starts.is_empty());
    bench.pass(Span::minutes(58));
    bench.command(moa_core::trigger::TriggerCommand::Resume);
    assert_eq!(bench.starts.len(), 1, "{}", bench.lines());
}

#[test]
fn a_slot_that_waits_when_its_schedule_is_switched_off_is_skipped() {
    let spec = |enabled| hourly_after(false, |s| s.enabled = enabled);
    let mut bench = Bench::new(spec(true));
    bench.pass(Span::minutes(61));
    assert_eq!(bench.outcomes(), [Outcome::Waiting]);
    bench.apply(TriggerInput::Put { spec: Arc::new(spec(false)) }).unwrap();
    assert_eq!(bench.outcomes(), [Outcome::SkippedDisabled], "{}", bench.lines());
    assert_eq!(bench.trigger.state.schedule.as_ref().map(|s| s.runs), Some(0));
    // Nothing is due but its slots.
    bench.pass(Span::minutes(58));
    assert_eq!(bench.trigger.due_at(), Some(hour(2)));
    bench.pass(Span::minutes(60));
    bench.apply(TriggerInput::Put { spec: Arc::new(spec(true)) }).unwrap();
    bench.other_ends("curation", 1, Succeeded);
    assert!(bench.starts.is_empty(), "{}", bench.lines());
}

/// A schedule that is due each ten seconds and waits for runs of another workflow.
fn waits() -> TriggerSpec {
    let mut spec = every("10s", |s| s.overlap = moa_core::schedule::Overlap::Allow);
    spec.overlap = moa_core::schedule::Overlap::Allow;
    let Source::Schedule(source) = &mut spec.source else { panic!("it is a schedule") };
    source.after = vec![dependency("curation")];
    spec
}

#[test]
fn of_two_slots_that_would_wait_neither_is_forgotten() {
    let mut bench = Bench::new(waits());
    // A busy machine: two slots come due in the same moment.
    bench.sleep(Span::seconds(25));
    assert_eq!(bench.outcomes(), [Outcome::SkippedLate, Outcome::Waiting], "{}", bench.lines());
    bench.other_ends("curation", 1, Succeeded);
    assert_eq!(bench.outcomes(), [Outcome::SkippedLate, Outcome::Started], "{}", bench.lines());
}

#[test]
fn a_slot_that_waits_is_not_started_early_by_a_clock_that_is_behind() {
    let mut bench = Bench::new(waits());
    bench.pass(Span::seconds(10));
    assert_eq!(bench.outcomes(), [Outcome::Waiting]);
    bench.now = START.after(Span::seconds(8));
    bench.other_ends("curation", 1, Succeeded);
    assert!(bench.starts.is_empty(), "{}", bench.lines());
    bench.pass(Span::seconds(2));
    assert_eq!(bench.starts.len(), 1, "{}", bench.lines());
}
