//! The one path: filters, params, repeats, pauses, overlap, failures.

use std::sync::Arc;

use moa_core::expr::Program;
use moa_core::ids::RunId;
use moa_core::limits::{OPEN_RUNS_MAX, SLOTS_BUFFERED_MAX};
use moa_core::machine::{BUS, Emitted, Input, MessageBody};
use moa_core::run::RunStatus;
use moa_core::schedule::Overlap;
use moa_core::template::Template;
use moa_core::time::Span;
use moa_core::trigger::{
    Guard, OpenRun, Origin, Outcome, Source, TriggerAnswer, TriggerCommand, TriggerInput,
    TriggerSpec,
};
use serde_json::json;

use super::bench::{Bench, START, every, name, on_event, spec};

fn start(key: &str, overlap: Option<Overlap>) -> TriggerCommand {
    let params = Some(Arc::new(json!({ "by_hand": true })));
    TriggerCommand::Start { key: key.into(), by: "ann".into(), params, overlap, priority: None }
}

#[test]
fn each_event_that_matches_starts_a_run_with_its_params() {
    let matches = Some(Program::compile("event.data.tier == 2").unwrap());
    let mut spec = spec(Source::Event { event: "task.done".into(), matches });
    let params = json!({ "id": "${{ event.data.id }}", "of": "${{ trigger.workflow }}" });
    spec.params = Template::compile(&params, false).unwrap();
    let mut bench = Bench::new(spec);
    bench.event(json!({ "tier": 1, "id": "a" }));
    bench.event(json!({ "tier": 2, "id": "b" }));
    bench.event(json!({ "tier": 2, "id": "b" }));
    bench.event(json!({ "id": "no tier" }));
    let runs: Vec<_> = bench.starts.iter().map(|s| s.1).collect();
    assert_eq!(runs.len(), 2);
    assert_ne!(runs[0], runs[1]);
    let first = &bench.starts[0].2;
    assert_eq!(*first.params, json!({ "id": "b", "of": "build" }));
    assert_eq!(first.trigger.vars["event"]["data"]["id"], "b");
    assert_eq!(first.trigger.name, "build/on_1");
    // What can't be judged is a failure with its reason, not silence.
    let failed = bench.records.values().find(|r| r.outcome == Outcome::Failed).unwrap();
    assert!(failed.reason.as_ref().unwrap().contains("tier"), "{failed:?}");
    let counts = &bench.trigger.state.counts;
    assert_eq!(counts[&Outcome::Filtered], 1);
    assert_eq!(counts[&Outcome::Started], 2);
}

#[test]
fn an_event_of_another_type_is_none_of_its() {
    let mut bench = Bench::new(on_event());
    let event = Emitted { event: "task.gone".into(), source: None, data: Arc::default() };
    let input = TriggerInput::Event { event: Arc::new(event), at: START };
    assert!(bench.apply(input).is_err());
    let occurred = TriggerInput::Occurred { key: "x".into(), data: Arc::default() };
    assert!(bench.apply(occurred).is_err());
    assert!(bench.starts.is_empty());
}

#[test]
fn the_same_thing_from_outside_starts_one_run() {
    let source = Source::Outside { by: "file".into(), settings: json!({}) };
    let mut bench = Bench::new(spec(source));
    for key in ["inbox/a.md@1", "inbox/b.md@1", "inbox/a.md@1", "inbox/a.md@2"] {
        let data = Arc::new(json!({ "path": key }));
        bench.apply(TriggerInput::Occurred { key: key.into(), data }).unwrap();
    }
    assert_eq!(bench.starts.len(), 3);
    assert_eq!(bench.trigger.state.counts[&Outcome::Deduped], 1);
    let run = bench.starts[0].1;
    assert_eq!(run, bench.trigger.id.run("inbox/a.md@1", START));
}

#[test]
fn a_paused_or_disabled_trigger_records_what_it_passes_over() {
    let mut bench = Bench::new(on_event());
    bench.pause();
    bench.event(json!({}));
    assert_eq!(bench.lines(), "0 skipped_paused: paused by ann: holiday\n");
    // A person who asks for a run gets it.
    let by_hand = bench.command(start("k", None));
    let TriggerAnswer::Decided { outcome: Outcome::Started, run: Some(run), .. } = by_hand else {
        panic!("{by_hand:?}")
    };
    assert_eq!(*bench.starts[0].2.params, json!({ "by_hand": true }));
    bench.command(TriggerCommand::Resume);
    bench.event(json!({}));
    assert_eq!(bench.starts.len(), 2);
    // Off in the definition is off for everybody.
    let mut off = on_event();
    off.enabled = false;
    bench.apply(TriggerInput::Put { spec: Arc::new(off) }).unwrap();
    bench.event(json!({}));
    assert!(bench.apply(TriggerInput::Command(start("k2", None))).is_err());
    assert_eq!(bench.starts.len(), 2);
    assert_eq!(bench.trigger.state.counts[&Outcome::SkippedDisabled], 1);
    // Its runs go on, and are still known as its own.
    bench.ends(run, RunStatus::Succeeded);
}

#[test]
fn the_same_wish_starts_one_run() {
    let mut bench = Bench::new(every("1h", |_| {}));
    let first = bench.command(start("k", None));
    let again = bench.command(start("k", None));
    let TriggerAnswer::Decided { run: Some(run), .. } = first else { panic!("{first:?}") };
    let (outcome, run) = (Outcome::Deduped, Some(run));
    assert_eq!(again, TriggerAnswer::Decided { outcome, run, reason: None });
    assert_eq!(bench.starts.len(), 1);
    // A schedule that skips says why, and can be overruled.
    let skipped = bench.command(start("k2", None));
    assert!(matches!(
        skipped,
        TriggerAnswer::Decided { outcome: Outcome::SkippedOverlap, reason: Some(_), .. }
    ));
    bench.command(start("k3", Some(Overlap::Allow)));
    assert_eq!(bench.starts.len(), 2);
}

/// What three events do while the first one's run goes on, and what follows when runs end.
fn overlap(overlap: Overlap) -> String {
    let mut spec = on_event();
    spec.overlap = overlap;
    let mut bench = Bench::new(spec);
    for n in 0..3 {
        bench.event(json!({ "n": n }));
        bench.pass(Span::seconds(1));
    }
    let mut text = bench.lines();
    let stops = bench.sent.iter().filter_map(|(_, body)| match body {
        MessageBody::Input(Input::Cancel { .. }) => Some("cancel"),
        MessageBody::Input(Input::Terminate { .. }) => Some("terminate"),
        _ => None,
    });
    text.push_str(&format!("{:?}\n", stops.collect::<Vec<_>>()));
    while !bench.trigger.state.open.is_empty() {
        bench.one_ends(RunStatus::Cancelled);
    }
    text.push_str(&bench.lines());
    text
}

#[test]
fn six_ways_to_overlap() {
    let all = [
        Overlap::Skip,
        Overlap::BufferOne,
        Overlap::BufferAll,
        Overlap::CancelRunning,
        Overlap::TerminateRunning,
        Overlap::Allow,
    ];
    let text: String = all.iter().map(|o| format!("{o:?}\n{}\n", overlap(*o))).collect();
    insta::assert_snapshot!(text);
}

#[test]
fn what_waited_for_too_long_is_not_started() {
    let mut spec = on_event();
    (spec.overlap, spec.max_lateness) = (Overlap::BufferAll, Some(Span::seconds(10)));
    let mut bench = Bench::new(spec);
    bench.event(json!({}));
    bench.event(json!({}));
    bench.pass(Span::seconds(11));
    bench.event(json!({}));
    bench.one_ends(RunStatus::Succeeded);
    assert_eq!(
        bench.outcomes(),
        [Outcome::Started, Outcome::SkippedLate, Outcome::Started],
        "{}",
        bench.lines()
    );
}

#[test]
fn so_many_failures_in_a_row_pause_it_and_tell_everybody() {
    let mut spec = on_event();
    spec.pause_after = Some(2);
    let mut bench = Bench::new(spec);
    for status in [RunStatus::Failed, RunStatus::Succeeded, RunStatus::Failed, RunStatus::Cancelled]
    {
        bench.event(json!({}));
        bench.one_ends(status);
        assert_eq!(bench.trigger.state.paused, None);
    }
    bench.event(json!({}));
    let run = bench.starts.last().unwrap().1;
    let reason = "there is no workflow build".to_owned();
    bench.apply(TriggerInput::NotStarted { run, limit: false, reason }).unwrap();
    let paused = bench.trigger.state.paused.clone().unwrap();
    assert_eq!((paused.by.as_str(), paused.reason.as_str()), ("moa", "2 failed runs in a row"));
    let told = bench.sent.iter().filter(|(to, body)| {
        let MessageBody::Emitted(event) = body else { return false };
        *to == BUS && event.event == "trigger.paused" && event.data["trigger"] == "build/on_1"
    });
    assert_eq!(told.count(), 1);
    assert_eq!(bench.notices, ["build/on_1 is paused: 2 failed runs in a row"]);
    // What could not be started says why, and is not counted as started.
    let last = bench.records.values().find(|r| r.outcome == Outcome::Failed).unwrap();
    assert_eq!(last.reason.as_deref(), Some("there is no workflow build"));
    assert_eq!(bench.trigger.state.counts[&Outcome::Started], 4);
    bench.command(TriggerCommand::Resume);
    assert_eq!((bench.trigger.state.failures, &bench.trigger.state.paused), (0, &None));
}

#[test]
fn params_that_can_t_be_made_fail_the_occurrence_and_nothing_else() {
    let mut spec = on_event();
    (spec.overlap, spec.pause_after) = (Overlap::BufferAll, Some(1000));
    let params = json!({ "id": "${{ event.data.id }}" });
    spec.params = Template::compile(&params, false).unwrap();
    let mut bench = Bench::new(spec);
    bench.event(json!({ "id": 1 }));
    for _ in 0..300 {
        bench.event(json!({}));
    }
    bench.event(json!({ "id": 2 }));
    bench.one_ends(RunStatus::Succeeded);
    assert_eq!(bench.starts.len(), 2);
    assert_eq!(bench.trigger.state.counts[&Outcome::Failed], 300);
    assert_eq!(bench.trigger.state.failures, 300);
}

#[test]
fn an_edit_drops_what_waits_and_removal_forgets_no_pause() {
    let mut spec = on_event();
    spec.overlap = Overlap::BufferAll;
    let mut bench = Bench::new(spec.clone());
    bench.event(json!({}));
    bench.event(json!({}));
    bench.pause();
    let unchanged = bench.apply(TriggerInput::Put { spec: Arc::new(spec.clone()) });
    assert_eq!(unchanged, Ok(TriggerAnswer::Unchanged));
    spec.overlap = Overlap::Skip;
    bench.apply(TriggerInput::Put { spec: Arc::new(spec.clone()) }).unwrap();
    assert_eq!(bench.outcomes(), [Outcome::Started, Outcome::Discarded], "{}", bench.lines());
    bench.apply(TriggerInput::Remove).unwrap();
    assert_eq!(bench.apply(TriggerInput::Remove), Ok(TriggerAnswer::Unchanged));
    let event = Emitted { event: "task.done".into(), source: None, data: Arc::default() };
    let input = TriggerInput::Event { event: Arc::new(event), at: START };
    assert!(bench.apply(input).is_err(), "a removed trigger starts nothing");
    bench.one_ends(RunStatus::Succeeded);
    bench.apply(TriggerInput::Put { spec: Arc::new(spec) }).unwrap();
    bench.event(json!({}));
    assert_eq!(bench.starts.len(), 1, "it is still paused");
}

#[test]
fn what_is_not_its_own_changes_nothing() {
    let mut bench = Bench::new(on_event());
    let before = bench.trigger.state.clone();
    let (run, status) = (RunId(7), RunStatus::Failed);
    let ended = TriggerInput::Ended { run, status, at: START, output: None };
    assert!(bench.apply(ended).is_err());
    let reason = String::new();
    assert!(bench.apply(TriggerInput::NotStarted { run, limit: false, reason }).is_err());
    assert_eq!(bench.trigger.state, before);
}

#[test]
fn it_says_why_it_starts_nothing() {
    let mut bench = Bench::new(every("1h", |s| s.overlap = Overlap::BufferOne));
    bench.pass(Span::minutes(121));
    bench.pause();
    let run = bench.starts[0].1.to_string();
    let why = bench.trigger.why(bench.now, None).into_iter().map(|w| w.reason.replace(&run, "RUN"));
    let why: Vec<_> = why.collect();
    insta::assert_debug_snapshot!(why);
}

#[test]
fn what_waits_when_a_trigger_is_switched_off_is_skipped() {
    let mut on = on_event();
    on.overlap = Overlap::BufferAll;
    let off = TriggerSpec { enabled: false, ..on.clone() };
    let mut bench = Bench::new(on.clone());
    for n in 0..3 {
        bench.event(json!({ "n": n }));
    }
    bench.apply(TriggerInput::Put { spec: Arc::new(off) }).unwrap();
    bench.one_ends(RunStatus::Succeeded);
    let skipped = Outcome::SkippedDisabled;
    assert_eq!(bench.outcomes(), [Outcome::Started, skipped, skipped], "{}", bench.lines());
    bench.apply(TriggerInput::Put { spec: Arc::new(on) }).unwrap();
    bench.pass(Span::minutes(1));
    assert_eq!(bench.starts.len(), 1, "what was skipped stays so");
}

#[test]
fn what_was_found_while_a_trigger_is_paused_is_told_again_and_starts_then() {
    let source = Source::Outside { by: "file".into(), settings: json!({}) };
    let guard = Guard { starts: Some((2, Span::minutes(60))), no_progress: None };
    let mut bench = Bench::new(TriggerSpec { guard, ..spec(source) });
    // Tells each until one is refused, as whoever finds files does.
    let mut left: Vec<String> = (0..5).rev().map(|n| format!("{n}.md@1")).collect();
    let tell = |bench: &mut Bench, left: &mut Vec<String>| {
        while let Some(key) = left.last().cloned() {
            let found = TriggerInput::Occurred { key, data: Arc::default() };
            let answer = bench.apply(found).unwrap();
            if let TriggerAnswer::Decided { outcome: Outcome::SkippedPaused, .. } = answer {
                break;
            }
            left.pop();
        }
    };
    for starts in [2, 4, 5] {
        tell(&mut bench, &mut left);
        let records = bench.records.len();
        tell(&mut bench, &mut left);
        assert_eq!(bench.starts.len(), starts, "{}", bench.lines());
        assert_eq!(bench.records.len(), records, "to be told again changes nothing");
        bench.command(TriggerCommand::Resume);
    }
    assert_eq!(bench.outcomes(), [Outcome::Started; 5]);
    assert_eq!(bench.trigger.state.counts[&Outcome::Started], 5);
    assert_eq!(bench.trigger.state.counts[&Outcome::SkippedPaused], 0);
}

#[test]
fn a_rule_whose_workflow_is_gone_starts_nothing_until_it_is_back() {
    let rule = TriggerSpec { rule: true, pause_after: Some(1), ..on_event() };
    let mut bench = Bench::new(rule.clone());
    assert_eq!(bench.trigger.spec.title(), "rule:on_1");
    bench.apply(TriggerInput::Orphaned { gone: true }).unwrap();
    let again = bench.apply(TriggerInput::Orphaned { gone: true }).unwrap();
    assert_eq!(again, TriggerAnswer::Unchanged);
    bench.event(json!({}));
    assert_eq!(bench.outcomes(), [Outcome::Failed], "{}", bench.lines());
    assert_eq!(bench.trigger.state.paused, None, "no run has failed");
    assert!(bench.trigger.why(bench.now, None)[0].reason.contains("its workflow build is gone"));
    // A switch is no new workflow; another workflow is.
    let off = TriggerSpec { enabled: false, ..rule.clone() };
    bench.apply(TriggerInput::Put { spec: Arc::new(off) }).unwrap();
    assert!(bench.trigger.state.orphaned);
    bench.apply(TriggerInput::Put { spec: Arc::new(rule.clone()) }).unwrap();
    let moved = TriggerSpec { workflow: name("deploy"), ..rule };
    bench.apply(TriggerInput::Put { spec: Arc::new(moved) }).unwrap();
    bench.event(json!({}));
    assert_eq!(bench.starts.last().map(|s| s.2.workflow.clone()), Some(name("deploy")));
    bench.apply(TriggerInput::Orphaned { gone: true }).unwrap();
    bench.apply(TriggerInput::Orphaned { gone: false }).unwrap();
    bench.event(json!({}));
    assert_eq!(bench.starts.len(), 2);
}

/// Fills a trigger with open runs until only so many more may be.
fn fill(bench: &mut Bench, left: u32) {
    let open =
        |n: u32| OpenRun { key: format!("event-{n}"), at: START, origin: Origin::Live, with: 0 };
    let most = u32::try_from(OPEN_RUNS_MAX).unwrap() - left;
    bench.trigger.state.open =
        (0..most).map(|n| (bench.trigger.id.run(&n.to_string(), START), open(n))).collect();
}

#[test]
fn beyond_as_many_open_runs_as_may_be_what_happens_waits() {
    let mut bench = Bench::new(on_event());
    fill(&mut bench, 2);
    for n in 0..5 {
        bench.event(json!({ "n": n }));
    }
    let waiting = [Outcome::Buffered; 3];
    assert_eq!(bench.outcomes()[2..], waiting, "{}", bench.lines());
    assert_eq!(bench.notices.len(), 1, "it is said once: {:?}", bench.notices);
    let why = bench.trigger.why(bench.now, None);
    assert!(why[0].reason.contains("10000 runs of it have not ended"), "{why:?}");
    assert!(why.len() < 20);
    // By hand it waits as well: the row is the same.
    bench.command(start("k", Some(Overlap::Allow)));
    assert_eq!(bench.starts.len(), 2);
    for n in 0..4 {
        let run = bench.starts[n].1;
        bench.ends(run, RunStatus::Succeeded);
        assert_eq!(bench.starts.len(), n + 3, "in turn");
    }
    let keys: Vec<_> = bench.starts.iter().map(|s| s.2.trigger.key.clone()).collect();
    assert_eq!(keys[2..], ["event-3", "event-4", "event-5", "manual-k"]);
    assert_eq!(bench.trigger.state.open.len(), OPEN_RUNS_MAX);
}

#[test]
fn a_slot_beyond_as_many_open_runs_as_may_be_is_skipped() {
    let mut bench = Bench::new(every("1h", |s| s.overlap = Overlap::Allow));
    fill(&mut bench, 0);
    bench.pass(Span::minutes(61));
    assert_eq!(bench.outcomes(), [Outcome::SkippedOverlap], "{}", bench.lines());
    assert_eq!(bench.trigger.state.schedule.as_ref().map(|s| s.runs), Some(0));
    bench.trigger.state.open.pop_first();
    bench.pass(Span::minutes(60));
    assert_eq!(bench.starts.len(), 1);
}

#[test]
fn what_is_found_when_as_many_wait_as_may_is_told_again_later() {
    let source = Source::Outside { by: "file".into(), settings: json!({}) };
    let mut bench = Bench::new(TriggerSpec { overlap: Overlap::BufferAll, ..spec(source) });
    let found = |key: String| TriggerInput::Occurred { key, data: Arc::default() };
    let mut answers = Vec::new();
    for n in 0..SLOTS_BUFFERED_MAX + 3 {
        answers.push(bench.apply(found(n.to_string())).unwrap());
    }
    let later = answers.iter().filter(|answer| **answer == TriggerAnswer::Later).count();
    assert_eq!((later, bench.records.len()), (2, SLOTS_BUFFERED_MAX + 1));
    bench.one_ends(RunStatus::Succeeded);
    let again = bench.apply(found((SLOTS_BUFFERED_MAX + 1).to_string())).unwrap();
    assert!(matches!(again, TriggerAnswer::Decided { outcome: Outcome::Buffered, .. }));
}

#[test]
fn the_same_key_is_answered_as_it_was() {
    let mut bench = Bench::new(TriggerSpec { overlap: Overlap::Skip, ..on_event() });
    let ask = |bench: &mut Bench, key: &str| {
        let command = TriggerCommand::Start {
            key: key.into(),
            by: "ann".into(),
            params: None,
            overlap: None,
            priority: None,
        };
        match bench.command(command) {
            TriggerAnswer::Decided { outcome, run, reason } => (outcome, run.is_some(), reason),
            other => panic!("{other:?}"),
        }
    };
    bench.event(json!({}));
    let (outcome, started, _) = ask(&mut bench, "a");
    assert_eq!((outcome, started), (Outcome::SkippedOverlap, false));
    bench.one_ends(RunStatus::Succeeded);
    // Nothing is going on any more, and nothing waits: it was refused, and stays so.
    let (outcome, started, reason) = ask(&mut bench, "a");
    assert_eq!((outcome, started), (Outcome::SkippedOverlap, false));
    let reason = reason.expect("it says why");
    assert!(reason.contains("with this key") && reason.contains("was going on"), "{reason}");
    let (outcome, started, _) = ask(&mut bench, "b");
    assert_eq!((outcome, started), (Outcome::Started, true));
    let (outcome, started, _) = ask(&mut bench, "b");
    assert_eq!((outcome, started), (Outcome::Deduped, true));
}
