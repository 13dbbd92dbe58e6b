//! Rules of triggers: their commits, their records, who is told what.

use std::collections::BTreeSet;
use std::sync::Arc;

use moa_core::ids::RunId;
use moa_core::machine::MessageBody;
use moa_core::run::{RunStatus, TriggerRef};
use moa_core::schedule::{Overlap, Revision};
use moa_core::time::Millis;
use moa_core::trigger::{
    Amendment, Occurrence, Origin, Outcome, Record, Source, TriggerId, TriggerInput, TriggerSpec,
    TriggerState, topic_of_ends, topic_of_event, topic_of_starts,
};
use serde_json::json;

use super::bench::EVERYTHING;
use super::build::{self, NOW, batch, change, create, emitted, end, name, row, run, signal};
use super::{Bench, Verdict, rules};
use crate::store::{Batch, Commit, DueAsk, Message, MessageId, Old, PruneAsk, Relay};
use crate::triggers::{
    OccurrenceFilter, Posted, TriggerCommit, TriggerFilter, TriggerOutcome, TriggerRow,
};

rules![
    a_trigger_is_kept_as_it_was_written,
    a_trigger_made_from_an_older_version_is_refused,
    a_commit_of_a_trigger_stands_alone,
    an_occurrence_is_new_only_once,
    a_record_is_amended_as_long_as_it_is_of_that_run,
    records_that_share_a_run_are_amended_with_it,
    occurrences_are_found_the_newest_first,
    triggers_are_listed_by_name,
    triggers_are_due_soonest_first,
    an_event_reaches_the_triggers_that_listen,
    runs_that_start_and_end_reach_the_triggers_that_listen,
    a_post_with_a_key_is_sent_once,
    a_message_to_a_trigger_belongs_to_no_run,
    a_run_keeps_what_started_it,
    old_occurrences_are_deleted,
    a_commit_of_a_trigger_that_nobody_may_ask_for_is_refused_alone,
];

/// A trigger of a workflow, for events of the type that is its name.
pub(super) fn spec(workflow: &str, text: &str) -> TriggerSpec {
    TriggerSpec {
        workflow: name(workflow),
        name: name(text),
        rule: false,
        source: Source::Event { event: text.to_owned(), matches: None },
        enabled: true,
        overlap: Overlap::Allow,
        max_lateness: None,
        pause_after: None,
        collect: None,
        guard: Default::default(),
        priority: None,
        params: Default::default(),
    }
}

/// A commit that changes nothing but the version.
pub(super) fn commit(spec: &TriggerSpec, expected: u64) -> TriggerCommit {
    TriggerCommit {
        id: spec.id(),
        expected,
        spec: (expected == 0).then(|| Arc::new(spec.clone())),
        state: Box::default(),
        due_at: None,
        records: Vec::new(),
        amendments: Vec::new(),
        messages: Vec::new(),
        consumed: Vec::new(),
        listens: None,
    }
}

/// A record with something in every column; `n` is its instant.
pub(super) fn occurrence(key: &str, n: i64) -> Occurrence {
    Occurrence {
        key: key.to_owned(),
        revision: Revision(u64::MAX - 1),
        at: Millis(n),
        offset: Some(-3600),
        last: None,
        count: 1,
        origin: Origin::Backfill(7),
        outcome: Outcome::Started,
        reason: Some("ünïcödé \n".to_owned()),
        run: Some(RunId(n as u128)),
        result: None,
        decided_at: Millis(n + 5),
    }
}

fn recording(commit: TriggerCommit, records: Vec<(Occurrence, bool)>) -> TriggerCommit {
    let records = records.into_iter().map(|(occurrence, new)| Record { occurrence, new });
    TriggerCommit { records: records.collect(), ..commit }
}

pub(super) fn listening(spec: &TriggerSpec, topics: &[String]) -> TriggerCommit {
    TriggerCommit { listens: Some(topics.to_vec()), ..commit(spec, 0) }
}

const ALL: OccurrenceFilter = OccurrenceFilter {
    key: None,
    outcomes: Vec::new(),
    from: None,
    to: None,
    after: None,
    limit: 1000,
};

pub(super) fn applied(bench: &Bench, commit: TriggerCommit) {
    let outcome = bench.trigger(commit.clone());
    assert_eq!(outcome, TriggerOutcome::Applied, "{commit:?}");
}

fn load(bench: &Bench, id: TriggerId) -> Option<TriggerRow> {
    bench.load_triggers(vec![id]).remove(0)
}

/// Messages to triggers, in order.
fn told(bench: &Bench) -> Vec<(TriggerId, TriggerInput)> {
    let messages = bench.due_now().messages.into_iter();
    let to_triggers = messages.filter_map(|(_, message)| match message.body {
        MessageBody::Trigger(input) => Some((TriggerId(message.to.0), *input)),
        _ => None,
    });
    to_triggers.collect()
}

fn a_trigger_is_kept_as_it_was_written(bench: &mut Bench) -> Verdict {
    let nightly = spec("build", "nightly");
    let id = nightly.id();
    assert_eq!(load(bench, id), None);
    let mut state = TriggerState { since: Millis(-7), last_backfill: 3, ..Default::default() };
    state.counts.insert(Outcome::Missed, u64::MAX);
    let (due_at, state) = (Some(Millis(i64::MAX)), Box::new(state));
    applied(bench, TriggerCommit { state: state.clone(), due_at, ..commit(&nightly, 0) });
    let spec = Arc::new(nightly.clone());
    let row = TriggerRow { version: 1, spec, state: *state, due_at };
    assert_eq!(load(bench, id), Some(row.clone()));
    assert_eq!(bench.view_trigger(id), Some(row));
    let mut edited = nightly.clone();
    edited.params = moa_core::template::Template::compile(&json!({"a": "${{ event.x }}"}), false)
        .expect("a template");
    let spec = Some(Arc::new(edited.clone()));
    applied(bench, TriggerCommit { spec, ..commit(&nightly, 1) });
    applied(bench, commit(&nightly, 2));
    bench.reopen();
    let row = load(bench, id).expect("it is there");
    assert_eq!((row.version, row.due_at, &*row.spec), (3, None, &edited));
    assert_eq!(row.state, TriggerState::default());
    assert_eq!(
        bench.load_triggers(vec![TriggerId(1), id, id]),
        [None, Some(row.clone()), Some(row)]
    );
    Verdict::Passed
}

fn a_trigger_made_from_an_older_version_is_refused(bench: &mut Bench) -> Verdict {
    let nightly = spec("build", "nightly");
    applied(bench, commit(&nightly, 0));
    applied(bench, commit(&nightly, 1));
    let before = load(bench, nightly.id());
    for expected in [0, 1, 3] {
        let mut late = recording(commit(&nightly, expected), vec![(occurrence("a", 1), true)]);
        late.spec = Some(Arc::new(nightly.clone()));
        late.messages = vec![signal(run(1), "x")];
        late.listens = Some(vec![topic_of_event("x")]);
        assert_eq!(bench.trigger(late), TriggerOutcome::Conflict);
    }
    assert_eq!(load(bench, nightly.id()), before);
    assert_eq!(bench.occurrences(nightly.id(), &ALL), []);
    assert!(bench.mail().is_empty());
    Verdict::Passed
}

fn a_commit_of_a_trigger_stands_alone(bench: &mut Bench) -> Verdict {
    let (one, two) = (spec("build", "one"), spec("build", "two"));
    applied(bench, commit(&one, 0));
    bench.applied(Commit { messages: vec![signal(run(9), "x")], ..create(row(run(1))) });
    let message = bench.mail()[0].0;
    let consuming = |commit: TriggerCommit| TriggerCommit { consumed: vec![message], ..commit };
    let triggers = vec![
        commit(&one, 7),
        TriggerCommit { messages: vec![signal(run(1), "y")], ..consuming(commit(&two, 0)) },
    ];
    let outcome = bench.batch(Batch { triggers, ..batch(vec![change(run(1), 5)]) });
    assert_eq!(outcome.triggers, [TriggerOutcome::Conflict, TriggerOutcome::Applied]);
    assert!(outcome.messages);
    assert_eq!(bench.mail().iter().map(|m| m.1).collect::<Vec<_>>(), [run(1)]);
    // A message is applied once.
    assert_eq!(bench.trigger(consuming(commit(&one, 1))), TriggerOutcome::Conflict);
    Verdict::Passed
}

fn an_occurrence_is_new_only_once(bench: &mut Bench) -> Verdict {
    let (one, two) = (spec("build", "one"), spec("build", "two"));
    let (a, b) = (occurrence("a", 1), occurrence("b", 2));
    applied(bench, recording(commit(&one, 0), vec![(a.clone(), true), (b.clone(), true)]));
    // Another trigger's occurrences are its own.
    applied(bench, recording(commit(&two, 0), vec![(a.clone(), true)]));
    let again = vec![(occurrence("c", 3), true), (occurrence("b", 9), true), (a.clone(), true)];
    let refused =
        TriggerCommit { messages: vec![signal(run(1), "x")], ..recording(commit(&one, 1), again) };
    let TriggerOutcome::Duplicate(mut known) = bench.trigger(refused) else {
        panic!("occurrences are recorded a second time")
    };
    known.sort_by(|x, y| x.key.cmp(&y.key));
    assert_eq!(known, [a.clone(), b.clone()]);
    assert_eq!(bench.occurrences(one.id(), &ALL), [b, a.clone()]);
    assert!(bench.mail().is_empty());
    assert_eq!(load(bench, one.id()).map(|row| row.version), Some(1));
    // What need not be new takes the place of what is there.
    let changed = Occurrence { outcome: Outcome::Missed, reason: None, run: None, ..a };
    let records = vec![(changed.clone(), false), (occurrence("d", 0), false)];
    applied(bench, recording(commit(&one, 1), records));
    let key = |key: &str| OccurrenceFilter { key: Some(key.into()), ..ALL };
    assert_eq!(bench.occurrences(one.id(), &key("a")), [changed]);
    assert_eq!(bench.occurrences(one.id(), &key("d")), [occurrence("d", 0)]);
    Verdict::Passed
}

fn a_record_is_amended_as_long_as_it_is_of_that_run(bench: &mut Bench) -> Verdict {
    let one = spec("build", "one");
    let mut a = occurrence("a", 1);
    applied(bench, recording(commit(&one, 0), vec![(a.clone(), true)]));
    let amend = |key: &str, run, outcome, result| {
        let (key, run) = (key.to_owned(), RunId(run));
        let amendments = vec![Amendment { key, run, outcome, result }];
        move |commit: TriggerCommit| TriggerCommit { amendments, ..commit }
    };
    applied(bench, amend("a", 1, None, Some(RunStatus::Failed))(commit(&one, 1)));
    a.result = Some(RunStatus::Failed);
    assert_eq!(bench.occurrences(one.id(), &ALL), [a.clone()]);
    let failed = Some((Outcome::Failed, "gone".to_owned()));
    // Another run's, and one that is not there.
    applied(bench, amend("a", 2, failed.clone(), None)(commit(&one, 2)));
    applied(bench, amend("b", 1, failed.clone(), None)(commit(&one, 3)));
    assert_eq!(bench.occurrences(one.id(), &ALL), [a.clone()]);
    applied(bench, amend("a", 1, failed, None)(commit(&one, 4)));
    // There is no such run.
    (a.outcome, a.reason, a.run) = (Outcome::Failed, Some("gone".to_owned()), None);
    assert_eq!(bench.occurrences(one.id(), &ALL), [a]);
    Verdict::Passed
}

fn records_that_share_a_run_are_amended_with_it(bench: &mut Bench) -> Verdict {
    let (one, two) = (spec("build", "one"), spec("build", "two"));
    let of = |key: &str, at, outcome, run| {
        let run = Some(RunId(run));
        (Occurrence { outcome, run, result: None, ..occurrence(key, at) }, true)
    };
    let (batched, debounced) = (Outcome::Batched, Outcome::Debounced);
    let records = vec![
        of("a", 5, Outcome::Started, 1),
        of("b", 4, batched, 1),
        of("c", 3, debounced, 1),
        of("d", 2, Outcome::Deduped, 1),
        of("e", 1, batched, 2),
    ];
    applied(bench, recording(commit(&one, 0), records.clone()));
    applied(bench, recording(commit(&two, 0), records));
    let (key, run) = ("a".to_owned(), RunId(1));
    let result = Some(RunStatus::Succeeded);
    let amendments = vec![Amendment { key, run, outcome: None, result }];
    applied(bench, TriggerCommit { amendments, ..commit(&one, 1) });
    let results = |bench: &Bench, id| {
        bench.occurrences(id, &ALL).into_iter().map(|o| o.result).collect::<Vec<_>>()
    };
    assert_eq!(results(bench, one.id()), [result, result, result, None, None]);
    assert_eq!(results(bench, two.id()), [None; 5], "another trigger's");
    let (key, outcome) = ("a".to_owned(), Some((Outcome::Failed, "gone".to_owned())));
    let amendments = vec![Amendment { key, run, outcome, result: None }];
    applied(bench, TriggerCommit { amendments, ..commit(&one, 2) });
    let outcomes: Vec<_> =
        bench.occurrences(one.id(), &ALL).into_iter().map(|o| (o.outcome, o.run)).collect();
    let failed = (Outcome::Failed, None);
    let others = [(Outcome::Deduped, Some(run)), (batched, Some(RunId(2)))];
    assert_eq!(outcomes, [&[failed; 3][..], &others].concat());
    Verdict::Passed
}

fn occurrences_are_found_the_newest_first(bench: &mut Bench) -> Verdict {
    let one = spec("build", "one");
    let mut range = occurrence("range", 10);
    (range.last, range.count, range.outcome) = (Some(Millis(20)), 11, Outcome::Missed);
    let all = [occurrence("z", 30), occurrence("b", 25), occurrence("a", 25), range];
    let records = all.iter().map(|o| (o.clone(), true)).collect();
    applied(bench, recording(commit(&one, 0), records));
    let found = |filter: OccurrenceFilter| {
        let found = bench.occurrences(one.id(), &filter);
        found.into_iter().map(|o| o.key).collect::<Vec<_>>()
    };
    assert_eq!(found(ALL), ["z", "b", "a", "range"]);
    assert_eq!(found(OccurrenceFilter { limit: 2, ..ALL }), ["z", "b"]);
    let after = Some((Millis(25), "b".to_owned()));
    assert_eq!(found(OccurrenceFilter { after, ..ALL }), ["a", "range"]);
    let (from, to) = (Some(Millis(20)), Some(Millis(30)));
    assert_eq!(found(OccurrenceFilter { from, to, ..ALL }), ["b", "a", "range"]);
    let from = Some(Millis(21));
    assert_eq!(found(OccurrenceFilter { from, to, ..ALL }), ["b", "a"]);
    let outcomes = vec![Outcome::Missed, Outcome::Failed];
    assert_eq!(found(OccurrenceFilter { outcomes, ..ALL }), ["range"]);
    assert_eq!(bench.occurrences(TriggerId(5), &ALL), []);
    Verdict::Passed
}

fn triggers_are_listed_by_name(bench: &mut Bench) -> Verdict {
    let names = [("deploy", "a"), ("build", "b"), ("build", "a"), ("build", "B")];
    for (workflow, text) in names {
        applied(bench, commit(&spec(workflow, text), 0));
    }
    let found = |filter: TriggerFilter| {
        let rows = bench.triggers(&filter);
        rows.into_iter().map(|row| row.spec.title()).collect::<Vec<_>>()
    };
    let all = TriggerFilter { limit: 99, ..TriggerFilter::default() };
    assert_eq!(found(all.clone()), ["build/B", "build/a", "build/b", "deploy/a"]);
    let workflow = Some(name("build"));
    assert_eq!(found(TriggerFilter { workflow, limit: 2, ..all.clone() }), ["build/B", "build/a"]);
    let after = Some((name("build"), "a".to_owned()));
    assert_eq!(found(TriggerFilter { after, ..all.clone() }), ["build/b", "deploy/a"]);
    // A rule takes no name from the files' triggers, and may be told of another workflow.
    let rule = TriggerSpec { rule: true, ..spec("build", "a") };
    applied(bench, commit(&rule, 0));
    let after = Some((name("build"), "b".to_owned()));
    assert_eq!(found(TriggerFilter { after, ..all.clone() }), ["rule:a", "deploy/a"]);
    let moved = TriggerSpec { rule: true, ..spec("deploy", "a") };
    assert_eq!(moved.id(), rule.id());
    let told = TriggerCommit { spec: Some(Arc::new(moved.clone())), ..commit(&moved, 1) };
    applied(bench, told);
    let of = |workflow: &str| TriggerFilter { workflow: Some(name(workflow)), ..all.clone() };
    assert_eq!(found(of("deploy")), ["deploy/a", "rule:a"]);
    assert_eq!(found(of("build")), ["build/B", "build/a", "build/b"]);
    Verdict::Passed
}

fn triggers_are_due_soonest_first(bench: &mut Bench) -> Verdict {
    let specs = ["a", "b", "c", "d"].map(|text| spec("build", text));
    for (spec, due) in specs.iter().zip([Some(30), Some(10), None, Some(20)]) {
        applied(bench, TriggerCommit { due_at: due.map(Millis), ..commit(spec, 0) });
    }
    let due = |now, triggers| {
        let ask = DueAsk { now: Millis(now), triggers, ..EVERYTHING };
        let due = bench.due(ask);
        let ids: Vec<_> = due.triggers.iter().map(|t| (t.0, t.1.0)).collect();
        (ids, due.next_timer.map(|at| at.0))
    };
    let [a, b, _, d] = specs.clone().map(|spec| spec.id());
    assert_eq!(due(9, 9), (vec![], Some(10)));
    assert_eq!(due(25, 9), (vec![(b, 10), (d, 20)], Some(30)));
    assert_eq!(due(25, 1), (vec![(b, 10)], Some(20)));
    assert_eq!(due(99, 9), (vec![(b, 10), (d, 20), (a, 30)], None));
    let without = BTreeSet::from([b.address()]);
    let due_without = bench.due(DueAsk { now: Millis(5), without, ..EVERYTHING });
    assert_eq!(due_without.next_timer, Some(Millis(20)));
    assert_eq!(bench.totals().trigger_due, Some(Millis(10)));
    // They are due by the wall clock, and the node is told when that is by its own.
    let by_wall = bench.due(DueAsk { now: Millis(5), wall_ahead: 10, ..EVERYTHING });
    assert_eq!((by_wall.triggers, by_wall.next_timer), (vec![(b, Millis(10))], Some(Millis(10))));
    let behind = bench.due(DueAsk { now: Millis(99), wall_ahead: -90, ..EVERYTHING });
    assert_eq!((behind.triggers, behind.next_timer), (vec![], Some(Millis(100))));
    // Nobody who does not serve them is told of them.
    assert_eq!(due(99, 0), (vec![], None));
    let only = bench.due(DueAsk { only: Some(vec![run(1)]), ..EVERYTHING });
    assert_eq!((only.triggers, only.next_timer), (vec![], None));
    // Timers of runs and triggers are one list for the node.
    let timers = vec![(moa_core::machine::TimerKey::Run, Some(Millis(15)))];
    bench.applied(Commit { timers, ..create(row(run(1))) });
    assert_eq!(due(12, 9), (vec![(b, 10)], Some(15)));
    applied(bench, TriggerCommit { due_at: Some(Millis(40)), ..commit(&specs[1], 1) });
    applied(bench, commit(&specs[3], 1));
    assert_eq!(due(35, 9), (vec![(a, 30)], Some(40)));
    Verdict::Passed
}

fn an_event_reaches_the_triggers_that_listen(bench: &mut Bench) -> Verdict {
    let (one, two) = (spec("build", "one"), spec("build", "two"));
    let topics = [topic_of_event("done"), topic_of_event("failed")];
    applied(bench, listening(&one, &topics));
    applied(bench, listening(&two, &topics[..1]));
    let events = vec![emitted("done"), emitted("failed"), emitted("nobody")];
    bench.applied(Commit { messages: events, ..create(row(run(1))) });
    let MessageBody::Emitted(event) = emitted("done").body else { unreachable!() };
    let mut both = [one.id(), two.id()];
    both.sort_unstable();
    let all = told(bench);
    assert_eq!(all.iter().map(|t| t.0).collect::<Vec<_>>(), [both[0], both[1], one.id()]);
    assert_eq!(all[0].1, TriggerInput::Event { event: event.clone(), at: NOW });
    // The bus has its own copy, for the runs that wait.
    assert_eq!(bench.due_now().bus.len(), 3);
    // Who serves no triggers is not given what is for them, in the place of something else.
    bench.applied(Commit { messages: vec![signal(run(1), "x")], ..change(run(1), 1) });
    let ask = DueAsk { triggers: 0, limit: 1, ..EVERYTHING };
    let to: Vec<_> = bench.due(ask).messages.into_iter().map(|m| m.1.to).collect();
    assert_eq!(to, [run(1)]);
    // Events that a trigger sends reach others too; one that listens no more is not told.
    let topics = Some(vec![topic_of_event("other")]);
    applied(bench, TriggerCommit { listens: topics, ..commit(&one, 1) });
    let sending = TriggerCommit { messages: vec![emitted("done")], ..commit(&two, 1) };
    applied(bench, sending);
    assert_eq!(told(bench)[3..].iter().map(|t| t.0).collect::<Vec<_>>(), [two.id()]);
    // A refused commit tells nobody.
    let refused = Commit { messages: vec![emitted("done")], ..change(run(1), 9) };
    bench.one(refused);
    assert_eq!(told(bench).len(), 4);
    Verdict::Passed
}

fn runs_that_start_and_end_reach_the_triggers_that_listen(bench: &mut Bench) -> Verdict {
    let one = spec("other", "one");
    let topics = [topic_of_starts(&name("build")), topic_of_ends(&name("build"))];
    applied(bench, listening(&one, &topics));
    let (a, b) = (run(1), run(2));
    let mut new = row(a);
    new.trigger = Some(Arc::new(TriggerRef {
        trigger: one.id(),
        name: "other/one".into(),
        key: "k".into(),
        slot: Some(Millis(77)),
        vars: Arc::default(),
    }));
    bench.applied(create(new.clone()));
    let mut elsewhere = row(b);
    elsewhere.workflow = name("deploy");
    bench.applied(create(elsewhere));
    let (workflow, at) = (name("build"), NOW);
    let started = TriggerInput::RunStarted { run: a, workflow, slot: Some(Millis(77)), at };
    assert_eq!(told(bench), [(one.id(), started)]);
    bench.applied(change(a, 1));
    let mut ended = end(a, 2, RunStatus::Failed);
    let row = ended.row.as_mut().expect("it ends with its row");
    (row.trigger, row.output) = (new.trigger, Some(Arc::new(json!({"n": 1}))));
    bench.applied(ended);
    let (workflow, at, output) = (name("build"), NOW, Some(Arc::new(json!({"n": 1}))));
    let status = RunStatus::Failed;
    let ended = TriggerInput::RunEnded { run: a, workflow, status, at, output };
    assert_eq!(told(bench)[1..], [(one.id(), ended)]);
    // A long output is not sent along.
    let mut long = end(b, 1, RunStatus::Succeeded);
    let text = "x".repeat(moa_core::limits::ENDED_OUTPUT_BYTES_MAX);
    let row = long.row.as_mut().expect("it ends with its row");
    (row.workflow, row.output) = (name("build"), Some(Arc::new(json!(text))));
    bench.applied(long);
    assert!(matches!(told(bench)[2].1, TriggerInput::RunEnded { output: None, .. }));
    Verdict::Passed
}

fn a_post_with_a_key_is_sent_once(bench: &mut Bench) -> Verdict {
    let one = spec("build", "one");
    applied(bench, listening(&one, &[topic_of_event("done")]));
    let post = |key: Option<&str>| {
        let post = build::post("done");
        key.map_or(post.clone(), |key| post.with_key(key))
    };
    let posted = |seq: u64, new: bool| Posted { seq: Some(seq), new };
    let posts = vec![post(Some("k")), post(None), post(Some("k")), post(None)];
    let outcome = bench.batch(Batch { posts, ..batch(Vec::new()) });
    assert_eq!(
        outcome.posts,
        [posted(1, true), posted(2, true), posted(1, false), posted(3, true)]
    );
    assert!(outcome.messages);
    bench.reopen();
    let again = Batch { posts: vec![post(Some("k"))], ..batch(Vec::new()) };
    assert_eq!(bench.batch(again.clone()).posts, [posted(1, false)]);
    let due = bench.due_now();
    assert_eq!((due.bus.len(), told(bench).len()), (3, 3));
    let keys = PruneAsk { what: Old::Keys, before: Millis(NOW.0 + 1), after: None, limit: 9 };
    assert_eq!(bench.prune(keys).keys, 1);
    assert_eq!(bench.batch(again).posts, [posted(4, true)]);
    Verdict::Passed
}

fn a_message_to_a_trigger_belongs_to_no_run(bench: &mut Bench) -> Verdict {
    let one = spec("build", "one");
    let a = run(1);
    let to_trigger = Message::to_trigger(one.id(), TriggerInput::Due);
    let sent = vec![to_trigger.clone(), signal(a, "x"), emitted("done")];
    bench.applied(Commit { messages: sent, ..create(row(a)) });
    let only = DueAsk { only: Some(vec![a]), ..EVERYTHING };
    let to = |ask: DueAsk| -> Vec<(MessageId, RunId)> {
        bench.due(ask).messages.into_iter().map(|(id, m)| (id, m.to)).collect()
    };
    assert_eq!(to(EVERYTHING).iter().map(|m| m.1).collect::<Vec<_>>(), [one.id().address(), a]);
    assert_eq!(to(only.clone()).iter().map(|m| m.1).collect::<Vec<_>>(), [a]);
    // Nor does one that is sent in the place of another.
    bench.applied(Commit { messages: vec![signal(run(77), "gone")], ..change(a, 1) });
    let consumed = to(EVERYTHING).last().expect("it was sent").0;
    let relays = vec![Relay { consumed, messages: vec![to_trigger] }];
    bench.batch(Batch { relays, ..batch(Vec::new()) });
    assert_eq!((to(EVERYTHING).len(), to(only).len()), (3, 1));
    Verdict::Passed
}

fn a_run_keeps_what_started_it(bench: &mut Bench) -> Verdict {
    let mut rows = Vec::new();
    for (n, length) in [(1, 0), (2, 10), (3, 50_000)] {
        let mut row = row(run(n));
        row.trigger = Some(Arc::new(TriggerRef {
            trigger: TriggerId(n.into()),
            name: "build/é".into(),
            key: "k".repeat(length.min(99)),
            slot: None,
            vars: Arc::new(json!({"event": {"data": "x".repeat(length)}})),
        }));
        bench.applied(create(row.clone()));
        rows.push(row);
    }
    bench.applied(change(run(2), 1));
    let mut ended = end(run(3), 1, RunStatus::Succeeded);
    ended.row.as_mut().expect("it ends with its row").trigger = rows[2].trigger.clone();
    bench.applied(ended);
    bench.reopen();
    for row in &rows {
        let loaded = bench.load(row.run).expect("it is there");
        assert_eq!(loaded.row.trigger, row.trigger);
        assert_eq!(bench.view_run(row.run).map(|s| s.row.trigger), Some(row.trigger.clone()));
    }
    Verdict::Passed
}

fn old_occurrences_are_deleted(bench: &mut Bench) -> Verdict {
    let one = spec("build", "one");
    bench.applied(create(row(run(1))));
    let with = |key: &str, n, run, outcome| Occurrence { run, outcome, ..occurrence(key, n) };
    let records = vec![
        with("kept for its run", 1, Some(run(1)), Outcome::Started),
        with("old", 2, Some(run(2)), Outcome::Started),
        with("open", 3, None, Outcome::Buffered),
        with("passed over", 4, None, Outcome::Missed),
        with("young", 100, None, Outcome::Missed),
    ];
    let records = records.into_iter().map(|o| (o, true)).collect();
    applied(bench, recording(commit(&one, 0), records));
    let mut ask = PruneAsk { what: Old::Occurrences, before: Millis(50), after: None, limit: 1 };
    let first = bench.prune(ask);
    assert_eq!(first.occurrences, 1);
    ask.after = first.next;
    assert!(ask.after.is_some());
    ask.limit = 9;
    let second = bench.prune(ask);
    assert_eq!((second.occurrences, second.next), (1, None));
    let left = bench.occurrences(one.id(), &ALL);
    let left: Vec<_> = left.iter().map(|o| o.key.as_str()).collect();
    assert_eq!(left, ["young", "open", "kept for its run"]);
    Verdict::Passed
}

fn a_commit_of_a_trigger_that_nobody_may_ask_for_is_refused_alone(bench: &mut Bench) -> Verdict {
    let (one, two) = (spec("build", "one"), spec("build", "two"));
    let silent = |triggers| Batch { triggers, ..batch(Vec::new()) };
    let twice = vec![(occurrence("a", 1), true), (occurrence("a", 1), false)];
    let wrong = [
        silent(vec![commit(&one, 0), commit(&one, 0)]),
        silent(vec![TriggerCommit { spec: None, ..commit(&one, 0) }]),
        silent(vec![TriggerCommit { id: two.id(), ..commit(&one, 0) }]),
        silent(vec![recording(commit(&one, 1), twice)]),
        silent(vec![recording(commit(&one, 1), vec![(occurrence("", 1), true)])]),
    ];
    for batch in wrong {
        let outcomes = bench.batch(batch.clone()).triggers;
        let invalid = |o: &TriggerOutcome| matches!(o, TriggerOutcome::Invalid(_));
        assert_eq!(outcomes.iter().filter(|o| invalid(o)).count(), 1, "{batch:?}");
    }
    // The others of its batch are written.
    assert_eq!(load(bench, one.id()).map(|row| row.version), Some(1));
    assert_eq!(bench.occurrences(one.id(), &ALL), []);
    assert_eq!(load(bench, two.id()), None);
    Verdict::Passed
}
