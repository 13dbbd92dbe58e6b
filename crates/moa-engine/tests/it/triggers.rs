//! Triggers through the node: each occurrence starts one run, whatever happens in between.

use std::sync::Arc;

use moa_core::ids::RunId;
use moa_core::machine::Outcome as AttemptOutcome;
use moa_core::run::RunStatus;
use moa_core::schedule::{Overlap, Schedule, ScheduleId};
use moa_core::step::ErrorKind;
use moa_core::template::Template;
use moa_core::time::{Millis, Span};
use moa_core::trigger::{
    Dependency, EndStatus, Outcome, ScheduleSource, Source, TriggerAnswer, TriggerCommand,
    TriggerInput, TriggerSpec,
};
use moa_engine::handle::Error;
use moa_engine::virtual_time::World;
use moa_ports::agent::Task;
use moa_ports::suite::block_on;
use moa_ports::triggers::OccurrenceFilter;
use moa_ports::views::{RunFilter, Views};
use serde_json::{Value as Json, json};

use crate::script::{START, answers, fail, name, plan, start, world};

const ONE: &str = "steps: [{id: one, agent: a, action: x}]";

fn spec(workflow: &str, source: Source) -> TriggerSpec {
    TriggerSpec {
        workflow: name(workflow),
        name: name("t"),
        rule: false,
        source,
        enabled: true,
        overlap: Overlap::Allow,
        max_lateness: None,
        pause_after: None,
        collect: None,
        guard: Default::default(),
        priority: None,
        params: Template::default(),
    }
}

/// Starts a run for each event `go`.
pub fn on_event(workflow: &str) -> TriggerSpec {
    spec(workflow, Source::Event { event: "go".into(), matches: None })
}

fn after(workflow: &str, of: &[&str], all: bool) -> TriggerSpec {
    let dependency = |name_of: &&str| Dependency {
        workflow: name(name_of),
        status: EndStatus::Success,
        cycles: Vec::new(),
    };
    spec(workflow, Source::Runs { of: of.iter().map(dependency).collect(), all })
}

fn every(workflow: &str, interval: &str) -> TriggerSpec {
    let id = ScheduleId { workflow: name(workflow), name: name("t") };
    let mut schedule = Schedule::new(id);
    schedule.every = vec![interval.parse().expect("an interval")];
    let source = ScheduleSource { schedule, calendars: Default::default(), after: Vec::new() };
    TriggerSpec { overlap: Overlap::Skip, ..spec(workflow, Source::Schedule(Box::new(source))) }
}

fn params(spec: TriggerSpec, params: Json) -> TriggerSpec {
    let params = Template::compile(&params, false).expect("a template");
    TriggerSpec { params, ..spec }
}

/// Runs of a workflow: status, seconds after the start at which they were created, params.
fn runs(world: &World<'_>, workflow: &str) -> Vec<(RunStatus, u64, Json)> {
    let workflow = Some(name(workflow));
    let filter = RunFilter { workflow, limit: 9999, ..RunFilter::default() };
    let found = block_on(world.store().runs(&filter)).expect("runs are listed");
    let mut runs: Vec<_> = found.iter().map(|run| (run.created_at, run.run)).collect();
    runs.sort_unstable();
    let row = |(_, run): (Millis, RunId)| {
        let row = block_on(world.store().run(run)).expect("it is read").expect("it is there").row;
        (row.status, row.created_at.since(START).0 / 1000, Json::clone(&row.params))
    };
    runs.into_iter().map(row).collect()
}

/// What became of a trigger's occurrences, oldest first: seconds, outcome, result of the run.
fn records(world: &World<'_>, spec: &TriggerSpec) -> Vec<(i64, &'static str, Option<RunStatus>)> {
    let filter = OccurrenceFilter { limit: 9999, ..OccurrenceFilter::default() };
    let found = block_on(world.store().occurrences(spec.id(), &filter)).expect("they are listed");
    let record = |o: moa_core::trigger::Occurrence| {
        ((o.at.0 - START.0) / 1000, o.outcome.as_str(), o.result)
    };
    found.into_iter().rev().map(record).collect()
}

#[test]
fn slots_follow_a_wall_clock_that_is_set_and_timers_of_runs_do_not() {
    let minutes = Span::minutes;
    let long = "steps: [{id: rest, sleep: 100m}]";
    let mut world = world(&[("w", ONE), ("long", long)], answers(vec![]));
    let hourly = params(every("w", "1h"), json!({ "at": "${{ slot.local }}" }));
    world.put_trigger(hourly.clone()).expect("put");
    let sleeper = start(&mut world, "long", json!({}));
    world.run(minutes(50));
    assert_eq!(runs(&world, "w"), []);
    // From 08:50 to 09:40: the slot that was jumped over is made up for, and the next one comes in 20
    // minutes.
    world.set_wall(50 * 60_000);
    let started = |at| (at, "started", Some(RunStatus::Succeeded));
    world.run(minutes(15));
    assert_eq!(records(&world, &hourly), [started(3600)]);
    world.run(minutes(10));
    assert_eq!(records(&world, &hourly), [started(3600), started(7200)]);
    let times: Vec<u64> = runs(&world, "w").iter().map(|run| run.1 / 60).collect();
    assert_eq!(times, [50, 70]);
    // Back to the time that it was: what was dealt with isn't again.
    world.set_wall(0);
    world.run(minutes(20));
    let status = |world: &World<'_>| world.run_state(sleeper).expect("it is there").row.status;
    assert_eq!(status(&world), RunStatus::Waiting);
    world.run(minutes(10));
    assert_eq!(status(&world), RunStatus::Succeeded);
    world.run(minutes(74));
    assert_eq!(records(&world, &hourly), [started(3600), started(7200)]);
    world.run(minutes(2));
    assert_eq!(records(&world, &hourly), [started(3600), started(7200), started(10800)]);
}

#[test]
fn a_schedule_starts_a_run_for_each_slot() {
    let mut world = world(&[("w", ONE)], answers(vec![]));
    let hourly = params(every("w", "1h"), json!({ "at": "${{ slot.at }}" }));
    world.put_trigger(hourly.clone()).expect("put");
    world.run(Span::minutes(60 * 3 + 5));
    let times: Vec<_> =
        runs(&world, "w").into_iter().map(|(s, at, p)| (s, at, p["at"].clone())).collect();
    assert_eq!(
        times,
        [
            (RunStatus::Succeeded, 3600, json!("2027-01-15T09:00:00.000Z")),
            (RunStatus::Succeeded, 7200, json!("2027-01-15T10:00:00.000Z")),
            (RunStatus::Succeeded, 10800, json!("2027-01-15T11:00:00.000Z")),
        ]
    );
    let succeeded = Some(RunStatus::Succeeded);
    let started = |at| (at, "started", succeeded);
    assert_eq!(records(&world, &hourly), [started(3600), started(7200), started(10800)]);
}

#[tokio::test]
async fn what_became_of_slots_is_known_as_long_as_their_runs_and_for_a_while() {
    use moa_engine::jobs::Job;
    use moa_engine::jobs::retention::{Limit, Limits, Retention};
    struct Nothing;
    #[async_trait::async_trait]
    impl moa_engine::jobs::retention::Forget for Nothing {
        async fn forget(&self, _: Vec<RunId>) {}
    }
    let mut world = world(&[("w", ONE)], answers(vec![]));
    let hourly = every("w", "1h");
    world.put_trigger(hourly.clone()).expect("put");
    world.run(Span::minutes(60 * 10 + 5));
    let store = Arc::new(world.store().clone());
    let occurrences = Some(Span::minutes(60 * 5));
    let limits =
        |age| Limits { succeeded: Limit { age, count: None }, occurrences, ..Limits::default() };
    let job = |limits| Retention::new(store.clone(), store.clone(), limits, Arc::new(Nothing));
    job(limits(None)).activate(world.now().into()).await.expect("it is done");
    let count = async || {
        let filter = OccurrenceFilter { limit: 9999, ..OccurrenceFilter::default() };
        store.occurrences(hourly.id(), &filter).await.expect("they are listed").len()
    };
    assert_eq!(count().await, 10, "their runs are there");
    let done = job(limits(Some(Span::minutes(60)))).activate(world.now().into()).await;
    assert_eq!(done.expect("it is done")["occurrences"], 5);
    assert_eq!(count().await, 5);
    // Nothing starts again because it was forgotten.
    world.run(Span::minutes(60));
    assert_eq!(count().await, 6);
}

#[test]
fn slots_while_nobody_serves_are_one_window() {
    let mut world = world(&[("w", ONE)], answers(vec![]));
    let hourly = every("w", "1h");
    world.put_trigger(hourly.clone()).expect("put");
    world.run(Span::minutes(61));
    world.skip(Span::minutes(60 * 5));
    world.restart();
    world.run(Span::minutes(50));
    let all = records(&world, &hourly);
    let outcomes: Vec<_> = all.iter().map(|r| r.1).collect();
    assert_eq!(outcomes, ["started", "missed", "missed", "missed", "missed", "started"], "{all:?}");
    assert_eq!(runs(&world, "w").len(), 2);
}

#[test]
fn a_node_that_stops_leaves_slots_and_events_to_the_next_start() {
    for overlap in [Overlap::CancelRunning, Overlap::TerminateRunning, Overlap::Allow] {
        // An attempt of the first slot goes on when the node is asked to stop.
        let says = "steps: [{id: nap, sleep: 30s}, {id: say, emit: {type: go, data: {}}}]";
        let done = || AttemptOutcome::Succeeded { output: None };
        let mock = move |_: &Task, _| Some((Span::seconds(90), done()));
        let mut world = world(&[("w", ONE), ("sayer", says)], Box::new(mock));
        let slots = TriggerSpec { overlap, ..every("w", "1m") };
        let events = TriggerSpec { overlap, name: name("e"), ..on_event("w") };
        world.put_trigger(slots.clone()).expect("put");
        world.put_trigger(events.clone()).expect("put");
        world.run(Span::seconds(61));
        start(&mut world, "sayer", json!({}));
        world.drain();
        world.run(Span::seconds(200));
        let started = |at| (at, "started", Some(RunStatus::Succeeded));
        assert_eq!(runs(&world, "w"), [(RunStatus::Succeeded, 60, json!({}))], "{overlap:?}");
        assert_eq!(records(&world, &slots).len(), 1, "nothing is decided: {overlap:?}");
        world.restart();
        world.run(Span::seconds(5));
        let records = records(&world, &slots);
        assert_eq!(records[0], started(60), "{overlap:?}");
        assert!(records.len() > 1, "the next start makes up for it: {records:?}");
        let of_event = block_on(world.store().occurrences(
            events.id(),
            &OccurrenceFilter { limit: 9, ..OccurrenceFilter::default() },
        ));
        assert_eq!(of_event.expect("they are listed").len(), 1, "{overlap:?}");
    }
}

#[test]
fn a_run_that_is_going_on_lets_slots_pass() {
    let text = "steps: [{id: nap, sleep: 150m}]";
    let mut world = world(&[("w", text)], answers(vec![]));
    let hourly = every("w", "1h");
    world.put_trigger(hourly.clone()).expect("put");
    world.run(Span::minutes(60 * 5 + 1));
    let outcomes: Vec<_> = records(&world, &hourly).into_iter().map(|r| r.1).collect();
    let (started, skipped) = ("started", "skipped_overlap");
    assert_eq!(outcomes, [started, skipped, skipped, started, skipped]);
}

#[test]
fn an_event_of_a_run_starts_runs_and_so_does_one_of_somebody() {
    let emits = "steps: [{id: say, emit: {type: go, data: {n: 7}}}]";
    let mut world = world(&[("w", ONE), ("sayer", emits)], answers(vec![]));
    let on =
        params(on_event("w"), json!({ "n": "${{ event.data.n }}", "by": "${{ event.source }}" }));
    world.put_trigger(on.clone()).expect("put");
    let sayer = start(&mut world, "sayer", json!({}));
    world.run(Span::minutes(1));
    assert_eq!(world.publish("go", json!({ "n": 8 }), Some("k")), Ok(true));
    assert_eq!(world.publish("go", json!({ "n": 8 }), Some("k")), Ok(false));
    assert_eq!(world.publish("stay", json!({ "n": 9 }), None), Ok(true));
    world.run(Span::minutes(1));
    let found: Vec<_> = runs(&world, "w").into_iter().map(|run| run.2).collect();
    assert_eq!(found, [json!({ "n": 7, "by": sayer }), json!({ "n": 8, "by": null })]);
    let too_large = "x".repeat(300_000);
    assert!(matches!(world.publish("go", json!(too_large), None), Err(Error::Rejected { .. })));
    assert!(matches!(world.publish("", json!(1), None), Err(Error::Rejected { .. })));
}

#[test]
fn a_run_sees_what_started_it_and_so_does_its_repetition() {
    let text = "
steps:
  - {id: one, agent: a, action: x, params: {n: \"${{ event.data.n }}\"}}
outputs: {n: \"one.n + 1\"}
";
    let table = vec![("one#1", fail(ErrorKind::Permanent, "no"))];
    let mut world = world(&[("w", text)], answers(table));
    world.put_trigger(on_event("w")).expect("put");
    world.publish("go", json!({ "n": 1 }), None).expect("published");
    world.run(Span::minutes(1));
    let filter = RunFilter { limit: 9, ..RunFilter::default() };
    let found = block_on(world.store().runs(&filter)).expect("listed");
    assert_eq!(found[0].status, RunStatus::Failed);
    assert!(found[0].cause.starts_with("trigger w/t, event-"), "{}", found[0].cause);
    let started = world.started.len();
    let request = moa_engine::handle::ForkRequest {
        run: found[0].run,
        from: moa_engine::handle::ForkFrom::Failed,
        params: None,
        idempotency_key: None,
        cause: "test".into(),
    };
    let fork = world.fork(request).expect("forked");
    world.run(Span::minutes(1));
    assert_eq!(world.started.len(), started + 1);
    let state = world.run_state(fork).expect("it is there");
    assert_eq!(state.row.trigger.as_ref().map(|t| t.name.as_str()), Some("w/t"));
}

#[test]
fn a_chain_of_workflows_goes_round_as_each_completes() {
    let plans = [("a", ONE), ("b", ONE), ("both", ONE), ("each", ONE)];
    let mut world = world(&plans, answers(vec![]));
    let both = after("both", &["a", "b"], true);
    let each =
        params(after("each", &["a", "b"], false), json!({ "of": "${{ event.data.workflow }}" }));
    world.put_trigger(both).expect("put");
    world.put_trigger(each).expect("put");
    for workflow in ["a", "a", "b", "b", "a"] {
        start(&mut world, workflow, json!({}));
        world.run(Span::minutes(1));
    }
    assert_eq!(runs(&world, "both").len(), 2, "a+b, then b+a");
    let of: Vec<_> = runs(&world, "each").into_iter().map(|run| run.2["of"].clone()).collect();
    assert_eq!(of, ["a", "a", "b", "b", "a"]);
}

#[test]
fn a_scheduled_workflow_waits_for_the_one_before_it() {
    let slow = "steps: [{id: nap, sleep: 10m}]";
    let mut world = world(&[("curation", slow), ("upload", ONE)], answers(vec![]));
    world.put_trigger(every("curation", "1h")).expect("put");
    let mut upload = every("upload", "1h");
    let Source::Schedule(source) = &mut upload.source else { unreachable!() };
    let curation = every("curation", "1h");
    let cycles = moa_core::trigger::Cycles {
        schedule: curation.schedule().expect("a schedule").schedule.clone(),
        calendars: Default::default(),
    };
    source.after = vec![Dependency {
        workflow: name("curation"),
        status: EndStatus::Success,
        cycles: vec![cycles],
    }];
    world.put_trigger(upload.clone()).expect("put");
    world.run(Span::minutes(150));
    let starts: Vec<_> = runs(&world, "upload").into_iter().map(|run| run.1).collect();
    assert_eq!(starts, [70 * 60, 130 * 60]);
    let outcomes: Vec<_> = records(&world, &upload).into_iter().map(|r| (r.0, r.1)).collect();
    assert_eq!(outcomes, [(3600, "started"), (7200, "started")]);
}

#[test]
fn what_can_t_be_started_is_recorded_with_its_reason() {
    let limited = "concurrency: {limit: 1, on_limit: skip}\nsteps: [{id: nap, sleep: 1h}]";
    let needs = "params: {n: integer}\nsteps: [{id: one, agent: a, action: x}]";
    let mut world = world(&[("limited", limited), ("needs", needs)], answers(vec![]));
    let all = ["limited", "needs", "gone"].map(|workflow| {
        let spec = TriggerSpec { pause_after: Some(1), ..on_event(workflow) };
        world.put_trigger(spec.clone()).expect("put");
        spec
    });
    for _ in 0..2 {
        world.publish("go", json!({}), None).expect("published");
        world.run(Span::minutes(1));
    }
    let of = |spec| records(&world, spec).into_iter().map(|r| r.1).collect::<Vec<_>>();
    // A limit of the workflow is no failure; what can't be started is one, and pauses it.
    assert_eq!(of(&all[0]), ["started", "skipped_limit"]);
    assert_eq!(of(&all[1]), ["failed", "skipped_paused"]);
    assert_eq!(of(&all[2]), ["failed", "skipped_paused"]);
    let filter = OccurrenceFilter { limit: 9, ..OccurrenceFilter::default() };
    let found = block_on(world.store().occurrences(all[2].id(), &filter)).expect("listed");
    let reasons: Vec<_> = found.iter().filter_map(|o| o.reason.clone()).collect();
    assert!(reasons.contains(&"there is no workflow gone".to_owned()), "{reasons:?}");
}

#[test]
fn params_that_the_workflow_does_not_take_start_no_run_and_name_the_param() {
    let typed = "params:\n  n: {type: integer, minimum: 1, default: 4}\n  all: {type: array, items: \
        {type: string}, required: false}\n  free: {required: false}\n\
        steps: [{id: one, agent: a, action: x}]";
    let mut world = world(&[("typed", typed)], answers(vec![]));
    let given = json!({"n": "${{ event.data.n }}", "all": "${{ event.data.all }}"});
    let on = params(on_event("typed"), given);
    world.put_trigger(on.clone()).expect("put");
    for data in [
        json!({"n": "seven", "all": []}),
        json!({"n": 0, "all": ["a", 7]}),
        json!({"n": 7, "all": ["a"]}),
    ] {
        world.publish("go", data, None).expect("published");
        world.run(Span::minutes(1));
    }
    let made: Vec<Json> = runs(&world, "typed").into_iter().map(|run| run.2).collect();
    assert_eq!(made, [json!({"n": 7, "all": ["a"]})]);
    let filter = OccurrenceFilter { limit: 9, ..OccurrenceFilter::default() };
    let found = block_on(world.store().occurrences(on.id(), &filter)).expect("listed");
    let said: Vec<_> = found
        .iter()
        .rev()
        .map(|o| (o.outcome.as_str(), o.run.is_some(), o.reason.as_deref().unwrap_or_default()))
        .collect();
    let one = "the params don't fit: `n`: \"seven\" is not of type integer";
    let two = "the params don't fit: `n`: 0 is less than 1; `all/1`: 7 is not of type string";
    assert_eq!(said, [("failed", false, one), ("failed", false, two), ("started", true, "")]);
}

#[test]
fn why_no_run_was_started_is_cut_however_much_it_quotes() {
    let strict = "params: {o: {type: object, additionalProperties: false}}\n\
        steps: [{id: one, agent: a, action: x}]";
    let mut world = world(&[("strict", strict)], answers(vec![]));
    let on = params(on_event("strict"), json!({"o": "${{ event.data }}"}));
    world.put_trigger(on.clone()).expect("put");
    world.publish("go", json!({"ä".repeat(100_000): 1}), None).expect("published");
    world.run(Span::minutes(1));
    let filter = OccurrenceFilter { limit: 9, ..OccurrenceFilter::default() };
    let found = block_on(world.store().occurrences(on.id(), &filter)).expect("listed");
    let reason = found[0].reason.as_deref().expect("a reason");
    assert!(reason.starts_with("the params don't fit: `o`"), "{reason}");
    assert!(reason.len() <= moa_core::limits::ERROR_BYTES_MAX + 3, "{}", reason.len());
}

#[test]
fn somebody_may_start_pause_and_backfill() {
    let mut world = world(&[("w", ONE)], answers(vec![]));
    let hourly = every("w", "1h");
    let id = hourly.id();
    world.put_trigger(hourly.clone()).expect("put");
    let command =
        |world: &mut World<'_>, command| world.trigger(id, TriggerInput::Command(command));
    let pause = TriggerCommand::Pause { by: "ann".into(), reason: "holiday".into() };
    assert_eq!(command(&mut world, pause.clone()), Ok(TriggerAnswer::Done));
    assert_eq!(command(&mut world, pause), Ok(TriggerAnswer::Unchanged));
    world.run(Span::minutes(181));
    assert_eq!(runs(&world, "w").len(), 0);
    let by_hand = |key: &str| TriggerCommand::Start {
        key: key.into(),
        by: "ann".into(),
        params: Some(Arc::new(json!({ "x": 1 }))),
        overlap: None,
        priority: None,
    };
    let Ok(TriggerAnswer::Decided { outcome: Outcome::Started, run: Some(run), .. }) =
        command(&mut world, by_hand("k"))
    else {
        panic!("it is started")
    };
    world.run(Span::minutes(1));
    assert_eq!(world.run_state(run).expect("it is there").row.status, RunStatus::Succeeded);
    let again = command(&mut world, by_hand("k"));
    let (outcome, run) = (Outcome::Deduped, Some(run));
    assert_eq!(again, Ok(TriggerAnswer::Decided { outcome, run, reason: None }));
    assert_eq!(command(&mut world, TriggerCommand::Resume), Ok(TriggerAnswer::Done));
    let backfill = moa_core::trigger::BackfillRequest {
        key: "b".into(),
        from: START,
        to: world.now(),
        reverse: true,
        at_once: 1,
        reprocess: Default::default(),
        priority: None,
        forgotten: false,
        by: "ann".into(),
    };
    let answer = command(&mut world, TriggerCommand::Backfill(backfill));
    let Ok(TriggerAnswer::Backfill(answer)) = answer else { panic!("{answer:?}") };
    assert_eq!(answer.slots, 4);
    world.run(Span::minutes(1));
    assert_eq!(runs(&world, "w").len(), 5);
    let nobody = moa_core::trigger::TriggerId(5);
    let refused = world.trigger(nobody, TriggerInput::Command(TriggerCommand::Resume));
    assert_eq!(refused, Err(Error::Rejected { reason: "there is no such trigger".into() }));
}

#[test]
fn a_backfill_passes_over_all_slots_that_have_had_a_run() {
    let mut world = world(&[("w", ONE)], answers(vec![]));
    let hourly = every("w", "1h");
    world.put_trigger(hourly.clone()).expect("put");
    world.run(Span::minutes(60 * 5 + 1));
    assert_eq!(runs(&world, "w").len(), 5);
    let backfill = moa_core::trigger::BackfillRequest {
        key: "b".into(),
        from: START.after(Span::minutes(60)),
        to: world.now(),
        reverse: false,
        at_once: 1,
        reprocess: Default::default(),
        priority: None,
        forgotten: false,
        by: "ann".into(),
    };
    let backfill = TriggerInput::Command(TriggerCommand::Backfill(backfill));
    let answer = world.trigger(hourly.id(), backfill);
    let Ok(TriggerAnswer::Backfill(answer)) = answer else { panic!("{answer:?}") };
    assert_eq!((answer.slots, answer.started, answer.passed), (5, 0, 5));
    assert!(!answer.is_going_on());
    world.run(Span::minutes(60));
    assert_eq!(runs(&world, "w").len(), 6, "the schedule goes on");
}

#[test]
fn a_removed_trigger_starts_nothing_and_forgets_no_pause() {
    let mut world = world(&[("w", ONE)], answers(vec![]));
    let hourly = every("w", "1h");
    let id = hourly.id();
    world.put_trigger(hourly.clone()).expect("put");
    let pause = TriggerCommand::Pause { by: "ann".into(), reason: "holiday".into() };
    world.trigger(id, TriggerInput::Command(pause)).expect("paused");
    assert_eq!(world.trigger(id, TriggerInput::Remove), Ok(TriggerAnswer::Done));
    world.run(Span::minutes(120));
    world.restart();
    world.put_trigger(hourly).expect("put");
    world.run(Span::minutes(120));
    assert_eq!(runs(&world, "w").len(), 0);
    world.trigger(id, TriggerInput::Command(TriggerCommand::Resume)).expect("resumed");
    world.run(Span::minutes(120));
    assert_eq!(runs(&world, "w").len(), 2);
}

#[test]
fn a_newer_version_of_the_workflow_is_started_from_then_on() {
    let mut world = world(&[("w", ONE)], answers(vec![]));
    world.put_trigger(every("w", "1h")).expect("put");
    world.run(Span::minutes(61));
    world.put(&plan("w", "steps: [{id: two, agent: a, action: x}]")).expect("a plan is JSON");
    world.run(Span::minutes(60));
    let steps: Vec<_> = world.started.iter().map(|s| s.2.as_str()).collect();
    assert_eq!(steps, ["one", "two"]);
}

#[test]
fn every_event_starts_a_run_of_every_trigger_that_listens() {
    let mut world = world(&[("w", "steps: [{id: x, emit: done}]")], answers(vec![]));
    for n in 0..40 {
        let mut on = on_event("w");
        on.name = name(&format!("t{n}"));
        world.put_trigger(on).expect("put");
    }
    for _ in 0..25 {
        world.publish("go", json!({}), None).expect("published");
    }
    world.run(Span::minutes(1));
    assert_eq!(runs(&world, "w").len(), 1000);
}

#[test]
fn agents_that_fail_pause_a_schedule() {
    let table = vec![(
        "one",
        AttemptOutcome::Failed {
            error: moa_core::step::StepError::new(ErrorKind::Permanent, "no"),
        },
    )];
    let mut world = world(&[("w", ONE), ("told", ONE)], answers(table));
    let mut hourly = every("w", "1h");
    hourly.pause_after = Some(2);
    let Source::Schedule(source) = &mut hourly.source else { unreachable!() };
    source.schedule.pause_after = Some(2);
    world.put_trigger(hourly.clone()).expect("put");
    let mut told = on_event("told");
    told.source = Source::Event { event: "trigger.paused".into(), matches: None };
    world.put_trigger(told).expect("put");
    world.run(Span::minutes(60 * 5 + 1));
    let outcomes: Vec<_> = records(&world, &hourly).into_iter().map(|r| r.1).collect();
    assert_eq!(outcomes[..3], ["started", "started", "skipped_paused"]);
    assert_eq!(runs(&world, "told").len(), 1, "whoever wants to know is told");
}

#[test]
fn events_fill_a_batch_as_everything_else_does() {
    let mut hand = crate::hand::Hand::new(&[]);
    let event = || moa_core::event::Published {
        event: "go".into(),
        ..moa_core::event::Published::default()
    };
    for token in 0..moa_core::limits::BATCH_INPUTS_MAX as u64 {
        assert!(!hand.node.is_full());
        hand.node.publish(token, event());
    }
    assert!(hand.node.is_full());
    hand.settle();
    assert!(!hand.node.is_full());
}
