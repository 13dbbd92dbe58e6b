//! Schedules as triggers: records of all slots, restarts, edits, backfills.

use std::collections::BTreeMap;
use std::sync::Arc;

use moa_core::run::RunStatus::{self, Failed, Succeeded};
use moa_core::schedule::{CatchUpPolicy, Overlap, Reprocess};
use moa_core::template::Template;
use moa_core::time::{Millis, Span};
use moa_core::trigger::{
    BackfillRequest, Origin, Outcome, TriggerAnswer, TriggerCommand, TriggerInput, TriggerSpec,
};
use moa_core::workflow::Priority;
use proptest::prelude::*;
use serde_json::json;

use super::bench::{Bench, START, every};

fn hour(n: u64) -> Millis {
    START.after(Span::minutes(60 * n))
}

#[test]
fn a_slot_starts_a_run_that_knows_it() {
    let mut bench = Bench::new(every("1h", |_| {}));
    bench.pass(Span::minutes(60));
    let (at, run, start) = bench.starts[0].clone();
    assert_eq!(at, hour(1));
    assert_eq!(start.trigger.slot, Some(hour(1)));
    assert_eq!(start.cause, "schedule build/on_1, slot 2027-01-15T09:00:00.000Z");
    let slot = &start.trigger.vars["slot"];
    assert_eq!(slot["at"], "2027-01-15T09:00:00.000Z");
    assert_eq!(slot["local"], "2027-01-15T09:00:00+00:00");
    bench.ends(run, Succeeded);
    assert_eq!(bench.lines(), "3600 started succeeded\n");
}

#[test]
fn after_a_stop_the_newest_slot_runs_once_and_the_others_are_recorded() {
    let mut bench = Bench::new(every("1m", |_| {}));
    bench.pass(Span::minutes(2));
    while !bench.trigger.state.open.is_empty() {
        bench.one_ends(Succeeded);
    }
    bench.sleep(Span::seconds(60 * 60 + 59));
    bench.pass(Span::seconds(30));
    assert_eq!(bench.starts.len(), 2, "{}", bench.lines());
    let (_, _, caught_up) = &bench.starts[1];
    assert_eq!(caught_up.trigger.slot, Some(START.after(Span::minutes(62))));
    assert_eq!(caught_up.priority, Some(Priority::Low));
    assert_eq!(accounted(&bench), 63);
}

#[test]
fn a_range_of_days_that_do_not_count_goes_from_slot_to_slot() {
    let spec = every("10m", |schedule| {
        schedule.calendar.exclude = vec!["weekends".parse().expect("a rule")];
    });
    let mut bench = Bench::new(spec);
    // From Friday morning to the Wednesday after the next weekend, nobody looks.
    bench.sleep(Span::minutes(60 * 24 * 12));
    let off = bench.records.values().find(|o| o.outcome == Outcome::SkippedCalendar);
    let off = off.expect("they are recorded");
    let shown = (off.at.to_string(), off.last.map(|last| last.to_string()), off.count);
    let last = Some("2027-01-24T23:50:00.000Z".to_owned());
    assert_eq!(shown, ("2027-01-16T00:00:00.000Z".into(), last, 4 * 144));
    // Those on days that count were missed in the same range, and have a record of their own.
    let missed = bench.records.values().filter(|o| o.outcome == Outcome::Missed);
    let (made, count) = (4 * 144 + 1, missed.map(|o| o.count).sum::<u64>());
    let all = bench.now.since(START).0 / 600_000;
    assert_eq!(count, all - made, "{}", bench.lines());
}

#[test]
fn a_restart_storm_defers_what_was_missed() {
    let mut bench = Bench::new(every("1h", |_| {}));
    bench.catch_up_from = Some(hour(5));
    bench.sleep(Span::minutes(200));
    assert!(bench.starts.is_empty(), "{}", bench.lines());
    // It says so, and for how long: not until its next slot, an hour before.
    let why = bench.trigger.why(bench.now, bench.catch_up_from);
    assert_eq!(why[0].until, Some(hour(5)), "{why:?}");
    assert!(why[0].reason.contains("moa was started too often lately"), "{why:?}");
    assert_eq!(bench.trigger.waiting_slots().len(), 1, "it can be listed");
    bench.pass(Span::minutes(39));
    assert!(bench.starts.is_empty(), "{}", bench.lines());
    bench.pass(Span::minutes(2));
    assert_eq!(bench.starts.len(), 1, "what is due is started: {}", bench.lines());
}

#[test]
fn slots_that_nobody_served_are_told() {
    // One that comes once, and nobody was there.
    let mut bench = Bench::new(every("1h", |s| {
        s.every.clear();
        s.at = vec![hour(1)];
    }));
    bench.sleep(Span::minutes(60 * 24));
    assert_eq!(bench.outcomes(), [Outcome::Missed], "{}", bench.lines());
    assert_eq!(bench.notices.len(), 1, "{:?}", bench.notices);
    assert!(bench.notices[0].contains("build/on_1: a slot was missed"), "{:?}", bench.notices);
    let why = bench.trigger.why(bench.now, None);
    let reasons: Vec<_> = why.iter().map(|w| w.reason.as_str()).collect();
    assert!(reasons[0].contains("2027-01-15T09:00:00.000Z was missed"), "{reasons:?}");
    assert_eq!(why[0].unblock.as_deref(), Some("moa schedules trigger build/on_1"));
    // Many are one line, and the range of them ends at a slot.
    let mut bench = Bench::new(every("1m", |s| s.catch_up.policy = CatchUpPolicy::None));
    bench.sleep(Span::seconds(60 * 600 + 59));
    bench.pass(Span::seconds(1));
    assert_eq!(bench.notices.len(), 1, "{:?}", bench.notices);
    assert!(bench.notices[0].contains("600 slots were missed"), "{:?}", bench.notices);
    let ranges: Vec<_> = bench.records.values().filter(|r| r.last.is_some()).collect();
    assert!(!ranges.is_empty(), "{}", bench.lines());
    for range in ranges {
        let table = bench.trigger.table().expect("it is a schedule");
        assert!(table.explain(range.at).is_slot(), "{}", range.at);
        assert!(table.explain(range.last.expect("a range")).is_slot(), "{:?}", range.last);
    }
}

#[test]
fn slots_passed_over_in_a_row_share_a_record() {
    let mut bench = Bench::new(every("1s", |_| {}));
    bench.pause();
    bench.pass(Span::seconds(100));
    assert_eq!(
        bench.lines(),
        "1 skipped_paused\n2..100 skipped_paused x99\n",
        "the first has one of its own"
    );
    bench.command(TriggerCommand::Resume);
    bench.pass(Span::seconds(1));
    assert_eq!(bench.starts.len(), 1);
    assert_eq!(accounted(&bench), 101);
}

#[test]
fn an_edit_and_a_removal_account_for_the_slots_before_them() {
    let mut bench = Bench::new(every("1m", |s| s.overlap = Overlap::BufferAll));
    bench.pass(Span::minutes(3));
    // Nobody serves it; then its file says something else.
    bench.now = bench.now.after(Span::minutes(10));
    let edited = every("1m", |s| s.overlap = Overlap::Skip);
    bench.apply(TriggerInput::Put { spec: Arc::new(edited) }).unwrap();
    assert_eq!(accounted(&bench), 13, "{}", bench.lines());
    assert_eq!(bench.starts.len(), 1);
    bench.now = bench.now.after(Span::minutes(7));
    bench.apply(TriggerInput::Remove).unwrap();
    assert_eq!(bench.trigger.due_at(), None);
    assert_eq!(accounted(&bench), 20, "{}", bench.lines());
    bench.now = bench.now.after(Span::minutes(60));
    let back = every("1m", |s| s.overlap = Overlap::Skip);
    bench.apply(TriggerInput::Put { spec: Arc::new(back) }).unwrap();
    assert_eq!(accounted(&bench), 20, "while it was gone nothing was due");
    bench.one_ends(Succeeded);
    bench.pass(Span::minutes(1));
    assert_eq!(bench.starts.len(), 2);
}

fn backfill(from: u64, to: u64) -> BackfillRequest {
    BackfillRequest {
        key: format!("{from}-{to}"),
        from: hour(from),
        to: hour(to),
        reverse: false,
        at_once: 2,
        reprocess: Reprocess::None,
        priority: None,
        forgotten: false,
        by: "ann".into(),
    }
}

/// Five hours of slots, of which the second failed and the fourth was passed over.
fn history() -> Bench {
    let mut bench = Bench::new(every("1h", |_| {}));
    for n in 1..=5 {
        if n == 4 {
            bench.pause();
        }
        bench.pass(Span::minutes(60));
        match n {
            2 => bench.one_ends(Failed),
            4 => _ = bench.command(TriggerCommand::Resume),
            _ => bench.one_ends(Succeeded),
        }
    }
    bench.starts.clear();
    bench
}

/// The slots that a backfill starts, one after the other.
fn backfilled(bench: &mut Bench, request: BackfillRequest) -> Vec<u64> {
    let at_once = request.at_once as usize;
    bench.command(TriggerCommand::Backfill(request));
    loop {
        bench.pass(Span(1));
        assert!(bench.trigger.state.open.len() <= at_once);
        if bench.trigger.state.open.is_empty() {
            break;
        }
        bench.one_ends(Succeeded);
    }
    let backfill = bench.trigger.state.backfills.last().unwrap();
    assert!(!backfill.is_going_on(), "{backfill:?}");
    assert_eq!(backfill.started + backfill.passed, backfill.slots);
    let slot = |s: &(Millis, _, moa_core::machine::StartRun)| s.2.trigger.slot.unwrap();
    bench.starts.iter().map(|s| slot(s).since(START).0 / 3_600_000).collect()
}

#[test]
fn a_backfill_starts_what_has_had_no_run() {
    let mut bench = history();
    assert_eq!(backfilled(&mut bench, backfill(1, 6)), [4]);
    // The same request is the same backfill.
    bench.command(TriggerCommand::Backfill(backfill(1, 6)));
    assert_eq!(bench.starts.len(), 1);
    assert_eq!(bench.starts[0].2.priority, Some(Priority::Low));
}

#[test]
fn a_backfill_repeats_what_failed_or_everything() {
    let failed = BackfillRequest { reprocess: Reprocess::Failed, ..backfill(1, 6) };
    assert_eq!(backfilled(&mut history(), failed), [2, 4]);
    let all = BackfillRequest { reprocess: Reprocess::All, reverse: true, ..backfill(2, 5) };
    let mut bench = history();
    let before = bench.records.values().find(|r| r.at == hour(3)).unwrap().run;
    assert_eq!(backfilled(&mut bench, all), [4, 3, 2], "half-open, backward");
    let after = bench.records.values().find(|r| r.at == hour(3)).unwrap();
    assert_eq!(after.origin, Origin::Backfill(1));
    assert_ne!(after.run, before);
    assert_eq!(after.result, Some(Succeeded));
}

#[test]
fn a_backfill_goes_back_before_the_trigger_was_there_but_not_ahead() {
    let mut bench = Bench::new(every("1h", |_| {}));
    let request =
        BackfillRequest { from: Millis(START.0 - 3 * 3_600_000), at_once: 1, ..backfill(0, 9) };
    let planned = bench.command(TriggerCommand::Backfill(request));
    let TriggerAnswer::Backfill(planned) = planned else { panic!("{planned:?}") };
    assert_eq!((planned.slots, planned.started), (4, 1), "up to now");
    assert_eq!(bench.trigger.state.open.len(), 1);
    // It does not stand in the way of the schedule.
    bench.pass(Span::minutes(60));
    assert_eq!(bench.starts.len(), 2);
    bench.command(TriggerCommand::CancelBackfill { number: None });
    while !bench.trigger.state.open.is_empty() {
        bench.one_ends(Succeeded);
    }
    assert_eq!(bench.starts.len(), 2);
    assert!(!bench.trigger.state.backfills[0].is_going_on());
    let nothing = BackfillRequest { from: hour(3), ..backfill(3, 9) };
    assert!(bench.apply(TriggerInput::Command(TriggerCommand::Backfill(nothing))).is_err());
    let endless = BackfillRequest { from: Millis(0), ..backfill(0, 8) };
    assert!(bench.apply(TriggerInput::Command(TriggerCommand::Backfill(endless))).is_err());
}

/// Slots that were missed wait to be caught up, and somebody backfills one of them meanwhile: an edit, and a
/// removal, discard the others.
#[test]
fn an_edit_takes_no_run_from_what_was_backfilled() {
    let spec = |text: &str, enabled: bool| {
        Arc::new(every(text, |s| {
            s.catch_up.policy = CatchUpPolicy::All;
            s.catch_up.spacing = Span::minutes(60);
            s.enabled = enabled;
        }))
    };
    let edited = TriggerInput::Put { spec: spec("2h", true) };
    let switched_off = TriggerInput::Put { spec: spec("2h", false) };
    for input in [edited, switched_off, TriggerInput::Remove] {
        let mut bench = Bench::new((*spec("1h", true)).clone());
        bench.sleep(Span::minutes(60 * 6 + 30));
        assert_eq!(bench.starts.len(), 1, "the others wait for their turn");
        bench.command(TriggerCommand::Backfill(backfill(3, 4)));
        bench.pass(Span(1));
        let (_, run, _) = *bench.starts.last().expect("it was started");
        let slot = |bench: &Bench| {
            let records = bench.records.values().filter(|r| r.at == hour(3) && r.last.is_none());
            records.map(|r| (r.outcome, r.run)).collect::<Vec<_>>()
        };
        assert_eq!(slot(&bench), [(Outcome::Started, Some(run))]);
        bench.apply(input).unwrap();
        assert_eq!(slot(&bench), [(Outcome::Started, Some(run))], "{}", bench.lines());
        bench.ends(run, Succeeded);
        let discarded = bench.outcomes().into_iter().filter(|o| *o == Outcome::Discarded).count();
        assert!(discarded >= 4, "{}", bench.lines());
    }
}

#[test]
fn a_large_backfill_of_what_has_run_is_done_in_parts() {
    let mut bench = Bench::new(every("1s", |s| s.overlap = Overlap::Allow));
    bench.pass(Span::seconds(250));
    while !bench.trigger.state.open.is_empty() {
        bench.one_ends(Succeeded);
    }
    bench.starts.clear();
    let request = BackfillRequest { to: bench.now, ..backfill(0, 1) };
    bench.command(TriggerCommand::Backfill(request));
    assert!(bench.trigger.state.backfills[0].is_going_on());
    bench.sleep(Span(0));
    bench.sleep(Span(0));
    assert_eq!(bench.trigger.state.backfills[0].passed, 249);
    assert_eq!(bench.starts.len(), 1, "its first slot is before the schedule's first");
    bench.one_ends(Succeeded);
    assert!(!bench.trigger.state.backfills[0].is_going_on());
}

#[test]
fn a_backfill_whose_slots_can_t_be_started_is_done_in_parts_too() {
    let params = Template::compile(&json!({ "n": "${{ slot.nothing }}" }), false).unwrap();
    let mut bench = Bench::new(TriggerSpec { params, ..every("1m", |_| {}) });
    // Exactly three parts: the last one leaves nothing for another.
    let from = Millis(START.0 - 299 * 60_000);
    let request = BackfillRequest { from, to: Millis(START.0 + 1), ..backfill(0, 1) };
    bench.command(TriggerCommand::Backfill(request));
    for part in 1..=3 {
        assert_eq!(bench.records.len(), part * 100);
        bench.sleep(Span(0));
    }
    let backfill = &bench.trigger.state.backfills[0];
    assert_eq!((backfill.slots, backfill.failed), (300, 300));
    assert!(!backfill.is_going_on());
    assert_eq!(bench.records.len(), 300);
}

#[test]
fn a_backfill_waits_while_its_schedule_is_switched_off() {
    let spec = |enabled| Arc::new(every("1h", |s| s.enabled = enabled));
    let mut bench = Bench::new(every("1h", |_| {}));
    let request = BackfillRequest { from: Millis(START.0 - 3 * 3_600_000), ..backfill(0, 1) };
    bench.command(TriggerCommand::Backfill(BackfillRequest { at_once: 1, ..request }));
    bench.apply(TriggerInput::Put { spec: spec(false) }).unwrap();
    bench.one_ends(Succeeded);
    bench.pass(Span::minutes(1));
    assert_eq!(bench.starts.len(), 1, "{}", bench.lines());
    bench.apply(TriggerInput::Put { spec: spec(true) }).unwrap();
    assert_eq!(bench.starts.len(), 2, "{}", bench.lines());
    // It can be ended meanwhile.
    bench.apply(TriggerInput::Put { spec: spec(false) }).unwrap();
    bench.one_ends(Succeeded);
    bench.command(TriggerCommand::CancelBackfill { number: None });
    assert!(!bench.trigger.state.backfills[0].is_going_on());
    assert_eq!(bench.starts.len(), 2, "{}", bench.lines());
}

/// The slots that the records stand for; each in one of them.
fn accounted(bench: &Bench) -> u64 {
    let mut seen: BTreeMap<i64, &str> = BTreeMap::new();
    for (key, record) in &bench.records {
        let last = record.last.unwrap_or(record.at);
        let overlaps = seen.range(record.at.0..=last.0).next();
        assert_eq!(overlaps, None, "{key} stands for slots of another record");
        seen.insert(record.at.0, key);
    }
    bench.records.values().map(|r| r.count).sum()
}

#[derive(Debug, Clone)]
enum Move {
    Pass(u64),
    Sleep(u64),
    Ends(RunStatus),
    Pause,
    Resume,
    Edit(bool),
    Storm,
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        4 => (1u64..400).prop_map(Move::Pass),
        2 => (1u64..20_000).prop_map(Move::Sleep),
        4 => Just(Move::Ends(Succeeded)),
        1 => Just(Move::Ends(Failed)),
        1 => Just(Move::Pause),
        2 => Just(Move::Resume),
        1 => any::<bool>().prop_map(Move::Edit),
        1 => Just(Move::Storm),
    ];
    proptest::collection::vec(one, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn every_slot_has_one_fate_and_one_run_at_most(
        moves in moves(),
        overlap in prop_oneof![
            Just(Overlap::Skip), Just(Overlap::BufferOne), Just(Overlap::BufferAll),
            Just(Overlap::CancelRunning), Just(Overlap::TerminateRunning), Just(Overlap::Allow),
        ],
        policy in prop_oneof![
            Just(CatchUpPolicy::None), Just(CatchUpPolicy::Latest), Just(CatchUpPolicy::All),
        ],
        jitter in prop_oneof![Just(0u64), Just(20_000)],
    ) {
        let spec = |long: bool| every(if long { "90s" } else { "60s" }, |s| {
            (s.overlap, s.catch_up.policy, s.jitter) = (overlap, policy, Span(jitter));
            s.pause_after = Some(3);
        });
        let mut bench = Bench::new(spec(false));
        for step in moves {
            match step {
                Move::Pass(seconds) => bench.pass(Span::seconds(seconds)),
                Move::Sleep(seconds) => bench.sleep(Span::seconds(seconds)),
                Move::Ends(status) if !bench.trigger.state.open.is_empty() => bench.one_ends(status),
                Move::Ends(_) => {}
                Move::Pause => bench.pause(),
                Move::Resume => _ = bench.command(TriggerCommand::Resume),
                Move::Edit(long) => {
                    let spec = Arc::new(spec(long));
                    bench.apply(TriggerInput::Put { spec }).unwrap();
                }
                Move::Storm => bench.catch_up_from = Some(bench.now.after(Span::minutes(30))),
            }
            for (at, _, start) in &bench.starts {
                prop_assert!(start.trigger.slot.unwrap() <= *at, "early");
            }
        }
        accounted(&bench);
        let mut runs: Vec<_> = bench.starts.iter().map(|s| s.1).collect();
        let slots: std::collections::BTreeSet<_> =
            bench.starts.iter().map(|s| s.2.trigger.slot).collect();
        runs.sort_unstable();
        runs.dedup();
        prop_assert_eq!(runs.len(), bench.starts.len(), "a run was started twice");
        prop_assert_eq!(slots.len(), bench.starts.len(), "a slot was started twice");
        let open = bench.trigger.state.schedule.as_ref().map_or(0, |s| s.pending.len());
        let counted: u64 = bench.trigger.state.counts.values().sum();
        let recorded: u64 = bench.records.values().filter(|r| !r.outcome.is_open()).map(|r| r.count).sum();
        prop_assert_eq!(counted, recorded, "pending {}", open);
    }
}

#[test]
fn a_slot_that_is_due_at_the_moment_of_an_edit_is_not_lost() {
    let mut bench = Bench::new(every("1m", |_| {}));
    bench.now = bench.now.after(Span::seconds(61));
    let edited = every("2m", |_| {});
    bench.apply(TriggerInput::Put { spec: Arc::new(edited) }).unwrap();
    assert_eq!(bench.lines(), "60 started\n");
    let off = |text: &str| every(text, |s| s.enabled = false);
    bench.one_ends(Succeeded);
    bench.now = bench.now.after(Span::seconds(60));
    bench.apply(TriggerInput::Put { spec: Arc::new(off("2m")) }).unwrap();
    assert_eq!(bench.starts.len(), 1, "switched off is switched off: {}", bench.lines());
    assert_eq!(bench.lines(), "60 started succeeded\n120 skipped_disabled\n");
}

#[test]
fn a_pause_makes_up_for_nothing() {
    let mut bench = Bench::new(every("1h", |_| {}));
    bench.now = hour(3).after(Span::seconds(5));
    bench.pause();
    bench.pass(Span::minutes(30));
    assert!(bench.starts.is_empty(), "{}", bench.lines());
    assert_eq!(accounted(&bench), 3, "{}", bench.lines());
    // One that is due in this very moment was due before.
    let mut bench = Bench::new(every("1h", |_| {}));
    bench.now = hour(1).after(Span::seconds(5));
    bench.pause();
    assert_eq!(bench.lines(), "3600 started\n");
}

#[test]
fn records_of_ranges_span_no_slot_of_another_record() {
    let mut bench = Bench::new(every("1m", |s| s.catch_up.policy = CatchUpPolicy::All));
    // Some wait to be caught up; others are missed behind them, and then somebody pauses it.
    bench.sleep(Span::minutes(30));
    bench.now = bench.now.after(Span::minutes(30));
    bench.pause();
    bench.pass(Span::minutes(5));
    assert_eq!(accounted(&bench), 65, "{}", bench.lines());
    for record in bench.records.values() {
        let last = record.last.unwrap_or(record.at);
        let slots = last.since(record.at).0 / 60_000 + 1;
        assert_eq!(record.count, slots, "{}", bench.lines());
    }
}
