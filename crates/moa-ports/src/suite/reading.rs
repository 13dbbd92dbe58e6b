//! Rules of the read side and of workflow versions.

use std::collections::BTreeMap;
use std::sync::Arc;

use moa_core::ids::{RunId, VersionHash};
use moa_core::machine::{Place, TimerKey};
use moa_core::run::{ParentRef, RunStatus, StepRow};
use moa_core::step::{ErrorKind, StepError, StepStatus, WaitReason};
use moa_core::time::{Millis, Span};
use moa_core::workflow::notify_workflow;
use serde_json::{Value as Json, json};

use super::build::{
    self, NOW, change, create, end, name, ready, row, row_in, run, step, with_steps,
};
use super::{Bench, Verdict, rules};
use crate::search::Search;
use crate::store::{Commit, Snapshot, WorkflowRef, WorkflowVersion};
use crate::views::{ChannelRow, KeptAsk, Notifies, RunFilter, Totals};

rules![
    runs_are_listed_newest_first_in_pages,
    runs_are_listed_by_what_is_asked,
    a_run_in_a_list_says_what_became_of_it,
    runs_are_found_by_the_ends_of_their_ids,
    runs_are_found_by_what_they_hold,
    history_is_read_behind_a_version,
    events_are_read_behind_a_number,
    the_history_is_read_as_it_is_kept,
    steps_are_placed_with_what_they_stand_in,
    a_run_is_read_in_parts,
    large_steps_of_a_run_are_read_in_smaller_parts,
    runs_are_read_with_their_first_steps,
    steps_that_ask_are_found_alone,
    totals_count_what_is_there,
    notifications_are_found_by_their_channel,
    the_newest_workflow_version_is_the_last_one_kept,
    a_workflow_version_is_found_by_label_or_hash,
    keeping_the_same_version_again_changes_nothing,
    a_version_that_is_kept_again_is_put_behind_no_other,
    sound_data_has_no_faults,
];

fn filter() -> RunFilter {
    RunFilter { limit: 100, ..RunFilter::default() }
}

fn listed(bench: &Bench, filter: &RunFilter) -> Vec<RunId> {
    bench.runs(filter).into_iter().map(|summary| summary.run).collect()
}

fn runs_are_listed_newest_first_in_pages(bench: &mut Bench) -> Verdict {
    for n in [3, 1, 5, 2, 4] {
        bench.create(run(n), Vec::new());
    }
    assert_eq!(listed(bench, &filter()), [5, 4, 3, 2, 1].map(run));
    let page = |before: Option<RunId>| listed(bench, &RunFilter { before, limit: 2, ..filter() });
    assert_eq!(page(None), [5, 4].map(run));
    assert_eq!(page(Some(run(4))), [3, 2].map(run));
    assert_eq!(page(Some(run(2))), [run(1)]);
    assert_eq!(page(Some(run(1))), []);
    let up = RunFilter { oldest_first: true, limit: 2, ..filter() };
    let page = |after: Option<RunId>| listed(bench, &RunFilter { after, ..up.clone() });
    assert_eq!(page(None), [1, 2].map(run));
    assert_eq!(page(Some(run(2))), [3, 4].map(run));
    assert_eq!(page(Some(run(5))), []);
    let between = RunFilter { after: Some(run(1)), before: Some(run(4)), ..up.clone() };
    assert_eq!(listed(bench, &between), [2, 3].map(run));
    assert_eq!(listed(bench, &RunFilter { oldest_first: false, ..between }), [3, 2].map(run));
    let none = RunFilter { after: Some(run(4)), before: Some(run(2)), ..up };
    assert_eq!(listed(bench, &none), []);
    assert_eq!(listed(bench, &RunFilter { limit: 0, ..filter() }), []);
    Verdict::Passed
}

fn runs_are_listed_by_what_is_asked(bench: &mut Bench) -> Verdict {
    for (n, status) in (1..).zip(RunStatus::ALL) {
        bench.applied(create(row_in(run(n), status)));
    }
    let mut other = row_in(run(9), RunStatus::Failed);
    other.workflow = name("deploy");
    other.parent = Some(ParentRef { run: run(1), step: 2, depth: 1 });
    bench.applied(create(other));
    let of = |statuses: &[RunStatus]| RunFilter { statuses: statuses.to_vec(), ..filter() };
    use RunStatus::*;
    assert_eq!(listed(bench, &of(&[Failed])), [9, 6].map(run));
    assert_eq!(listed(bench, &of(&[Succeeded])), [run(5)]);
    assert_eq!(listed(bench, &of(&[Running, Succeeded, Cancelled])), [7, 5, 2].map(run));
    assert_eq!(listed(bench, &of(&RunStatus::ALL)).len(), 8);
    let deploy = RunFilter { workflow: Some(name("deploy")), ..filter() };
    assert_eq!(listed(bench, &deploy), [run(9)]);
    assert_eq!(listed(bench, &RunFilter { statuses: vec![Running], ..deploy }), []);
    let others = RunFilter { except: Some(name("deploy")), ..filter() };
    assert_eq!(listed(bench, &others), [7, 6, 5, 4, 3, 2, 1].map(run));
    let children = RunFilter { parent: Some(run(1)), ..filter() };
    assert_eq!(listed(bench, &children), [run(9)]);
    assert_eq!(listed(bench, &RunFilter { parent: Some(run(9)), ..filter() }), []);
    // A list shows what is, not what was.
    bench.applied(end(run(6), 1, Cancelled));
    assert_eq!(listed(bench, &of(&[Failed])), [run(9)]);
    assert_eq!(listed(bench, &of(&[Cancelled])), [7, 6].map(run));
    Verdict::Passed
}

fn a_run_in_a_list_says_what_became_of_it(bench: &mut Bench) -> Verdict {
    let mut row = row_in(run(1), RunStatus::Failed);
    row.parent = Some(ParentRef { run: run(7), step: 2, depth: 1 });
    row.error = Some(StepError::new(ErrorKind::Permanent, "no such file"));
    row.finished_at = Some(NOW.after(Span(7)));
    bench.applied(create(row));
    let found = bench.runs(&filter()).remove(0);
    assert_eq!((found.run, found.status, found.created_at), (run(1), RunStatus::Failed, NOW));
    assert_eq!((found.workflow, found.hash), (name("build"), VersionHash([7; 32])));
    assert_eq!((found.cause.as_str(), found.parent), ("test", Some(run(7))));
    assert_eq!((found.started_at, found.finished_at), (Some(NOW), Some(NOW.after(Span(7)))));
    assert_eq!(found.error.as_deref(), Some("no such file"));
    Verdict::Passed
}

fn runs_are_found_by_the_ends_of_their_ids(bench: &mut Bench) -> Verdict {
    let ids =
        [0xAB00_0000_0000_7000_8000_0000_0000_00CD, 0xAB11_0000_0000_7000_8000_0000_0000_11CD];
    let [a, b] = ids.map(RunId);
    bench.create(a, Vec::new());
    bench.create(b, Vec::new());
    let find = |digits: &str| bench.find_runs(digits);
    assert_eq!(find("ab"), [b, a]);
    assert_eq!(find("AB0"), [a]);
    assert_eq!(find("cd"), [b, a]);
    assert_eq!(find("1cd"), [b]);
    assert_eq!(find("00000000-00cd"), [a]);
    assert_eq!(find(&a.to_string()), [a]);
    assert_eq!(find(&b.short()), [b]);
    for nothing in ["", "-", "ef", "xyz", "7000", "+ab", &format!("{a}0")] {
        assert_eq!(find(nothing), [], "{nothing:?}");
    }
    for n in 1..=12 {
        bench.create(run(n), Vec::new());
    }
    assert_eq!(find("0").len(), 10);
    Verdict::Passed
}

fn runs_are_found_by_what_they_hold(bench: &mut Bench) -> Verdict {
    let long = "x".repeat(100_000);
    let mut all = Vec::new();
    for n in 1..=600 {
        let mut row =
            row_in(run(n), if n % 2 == 0 { RunStatus::Failed } else { RunStatus::Running });
        row.params = Arc::new(match n {
            40 => json!({"customer": "Ada \"the\" Great"}),
            41 => json!({"long": long, "customer": "ada"}),
            _ => json!({"n": n}),
        });
        if n == 300 {
            row.workflow = name("deploy");
            row.error = Some(StepError::new(ErrorKind::Permanent, "Ada has no key"));
        }
        all.push(create(row));
    }
    bench.all(all);
    let search = |text: &str, filter: RunFilter, looks| {
        let found = bench.search(&Search { filter, text: text.into(), looks });
        let runs: Vec<RunId> = found.runs.iter().map(|run| run.run).collect();
        (runs, found.next)
    };
    let all = || RunFilter { limit: 9, ..RunFilter::default() };
    assert_eq!(search("ada", all(), 5000), ([300, 41, 40].map(run).to_vec(), None));
    assert_eq!(search("\"the\" great", all(), 5000), (vec![run(40)], None));
    assert_eq!(search("ada deploy", all(), 5000), (vec![run(300)], None));
    let failed = RunFilter { statuses: vec![RunStatus::Failed], ..all() };
    assert_eq!(search("ada", failed, 5000), ([300, 40].map(run).to_vec(), None));
    // So many and no more: it goes on behind the last one that was looked at.
    assert_eq!(search("ada", all(), 100), (Vec::new(), Some(run(501))));
    let behind = |n| RunFilter { before: Some(run(n)), ..all() };
    assert_eq!(search("ada", behind(501), 300), (vec![run(300)], Some(run(201))));
    assert_eq!(search("ada", behind(201), 200), ([41, 40].map(run).to_vec(), None));
    let first = RunFilter { limit: 1, ..all() };
    assert_eq!(search("ada", first, 5000), (vec![run(300)], Some(run(300))));
    Verdict::Passed
}

fn history_is_read_behind_a_version(bench: &mut Bench) -> Verdict {
    let (a, b) = (run(1), run(2));
    bench.create(a, Vec::new());
    bench.create(b, Vec::new());
    for version in 1..=4 {
        bench.all(vec![change(a, version), change(b, version)]);
    }
    let versions = |after, limit| -> Vec<u64> {
        let rows = bench.history(a, after, limit);
        assert!(rows.iter().all(|row| row.run == a));
        rows.iter().map(|row| row.version).collect()
    };
    assert_eq!(versions(0, 99), [1, 2, 3, 4, 5]);
    assert_eq!(versions(2, 2), [3, 4]);
    assert_eq!(versions(5, 99), [0; 0]);
    assert_eq!(versions(u64::MAX, 99), [0; 0]);
    assert_eq!(bench.history(run(9), 0, 99), []);
    assert_eq!(bench.history(a, 0, 1)[0].events, [build::created(&row(a))]);
    Verdict::Passed
}

fn events_are_read_behind_a_number(bench: &mut Bench) -> Verdict {
    assert_eq!((bench.last_event(), bench.events(0, 9)), (0, Vec::new()));
    for n in 1..=5 {
        bench.create(run(n), Vec::new());
    }
    let seqs = |after, limit| -> Vec<u64> {
        bench.events(after, limit).iter().map(|row| row.seq).collect()
    };
    assert_eq!(seqs(0, 2), [1, 2]);
    assert_eq!(seqs(2, 99), [3, 4, 5]);
    assert_eq!(seqs(5, 99), [0; 0]);
    assert_eq!(bench.events(3, 1), bench.history(run(4), 0, 1));
    let each = bench.events(0, 1)[0].events.len();
    let within = |events| bench.events_within(0, 99, events).len();
    assert_eq!([within(0), within(1), within(each), within(each + 1)], [1, 1, 1, 2]);
    assert_eq!([within(4 * each), within(usize::MAX)], [4, 5]);
    Verdict::Passed
}

fn the_history_is_read_as_it_is_kept(bench: &mut Bench) -> Verdict {
    let all = KeptAsk {
        run: None,
        behind: 0,
        upto: u64::MAX,
        newest_first: false,
        rows: 99,
        bytes: usize::MAX,
    };
    assert_eq!(bench.kept(&all), []);
    for n in 1..=3 {
        bench.create(run(n), Vec::new());
    }
    for version in 1..=3 {
        bench.all(vec![change(run(2), version)]);
    }
    let seqs =
        |ask: KeptAsk| -> Vec<u64> { bench.kept(&ask).into_iter().map(|row| row.seq).collect() };
    assert_eq!(seqs(all), [1, 2, 3, 4, 5, 6]);
    assert_eq!(seqs(KeptAsk { behind: 2, upto: 5, ..all }), [3, 4, 5]);
    assert_eq!(seqs(KeptAsk { behind: 5, upto: 5, ..all }), [0; 0]);
    assert_eq!(seqs(KeptAsk { behind: u64::MAX, ..all }), [0; 0]);
    let back = KeptAsk { newest_first: true, ..all };
    assert_eq!(seqs(KeptAsk { rows: 2, ..back }), [6, 5]);
    assert_eq!(seqs(KeptAsk { upto: 4, rows: 2, ..back }), [4, 3]);
    let of_one = KeptAsk { run: Some(run(2)), ..all };
    assert_eq!(seqs(of_one), [2, 4, 5, 6]);
    assert_eq!(seqs(KeptAsk { behind: 2, rows: 2, ..of_one }), [4, 5]);
    assert_eq!(seqs(KeptAsk { newest_first: true, upto: 5, ..of_one }), [5, 4, 2]);
    assert_eq!(seqs(KeptAsk { run: Some(run(9)), ..all }), [0; 0]);
    let first = bench.kept(&all).remove(0);
    assert_eq!(
        (first.run, first.workflow.clone(), first.version),
        (run(1), Some(name("build")), 1)
    );
    let bytes = first.events.len();
    assert_eq!([seqs(KeptAsk { bytes, ..all }), seqs(KeptAsk { bytes: 0, ..all })], [[1], [1]]);
    assert_eq!(seqs(KeptAsk { bytes: bytes + 1, ..all }), [1, 2]);
    // It is what the events say that are read at once.
    for (kept, row) in bench.kept(&all).iter().zip(bench.events(0, 99)) {
        assert_eq!(
            (kept.seq, kept.run, kept.version, kept.at),
            (row.seq, row.run, row.version, row.at)
        );
        let read: Vec<_> = kept
            .timed()
            .expect("it is whole")
            .iter()
            .map(|event| (event.index, event.at, kept.read(event).expect("it is whole")))
            .collect();
        let timed: Vec<_> = row.timed().map(|(i, at, event)| (i, at, event.clone())).collect();
        assert_eq!(read, timed);
    }
    Verdict::Passed
}

fn steps_are_placed_with_what_they_stand_in(bench: &mut Bench) -> Verdict {
    let inside = |inst, owner, iteration| StepRow {
        plan: inst % 3,
        owner: Some(owner),
        iteration,
        ..step(inst, StepStatus::Succeeded)
    };
    let outer = |inst| step(inst, StepStatus::Succeeded);
    let steps = vec![outer(0), outer(1), inside(4, 1, 2), inside(8, 4, 5), inside(9, 4, 6)];
    bench.create(run(1), steps);
    assert_eq!(bench.places(run(2), &[0]), None);
    let found = bench.places(run(1), &[8, 0, 77]).expect("a run");
    assert_eq!((found.workflow, found.hash), (name("build"), VersionHash([7; 32])));
    let place = |plan, owner, iteration| Place { plan, owner, iteration };
    let expected = [
        (0, place(0, None, 0)),
        (1, place(1, None, 0)),
        (4, place(1, Some(1), 2)),
        (8, place(2, Some(4), 5)),
    ];
    assert_eq!(found.steps, BTreeMap::from(expected));
    assert_eq!(bench.places(run(1), &[]).expect("a run").steps, BTreeMap::new());
    Verdict::Passed
}

fn a_run_is_read_in_parts(bench: &mut Bench) -> Verdict {
    let steps: Vec<StepRow> = (0..5).map(|inst| step(inst, StepStatus::Succeeded)).collect();
    bench.create(run(1), steps);
    bench.all(vec![change(run(1), 1)]);
    let whole = bench.view_run(run(1)).expect("a run");
    assert_eq!((whole.version, whole.steps.len()), (2, 5));
    let part = |from, limit| bench.run_part(run(1), from, limit).expect("a run");
    assert_eq!(part(0, 99), whole);
    assert_eq!(part(1, 2), Snapshot { steps: whole.steps[1..3].to_vec(), ..whole.clone() });
    for nothing in [part(0, 0), part(5, 99), part(u32::MAX, 1)] {
        assert_eq!(nothing, Snapshot { steps: Vec::new(), ..whole.clone() });
    }
    assert_eq!(bench.run_part(run(2), 0, 9), None);
    Verdict::Passed
}

fn large_steps_of_a_run_are_read_in_smaller_parts(bench: &mut Bench) -> Verdict {
    let output = |bytes: usize| Some(Arc::new(Json::String("x".repeat(bytes))));
    let of = |inst, bytes| StepRow { output: output(bytes), ..step(inst, StepStatus::Succeeded) };
    let steps = vec![of(0, 10), of(1, 20_000), of(2, 20_000), of(3, 10), of(4, 10)];
    bench.create(run(1), steps);
    let whole = bench.view_run(run(1)).expect("a run");
    let part = |from, bytes| {
        let part = bench.run_within(run(1), from, bytes).expect("a run");
        assert_eq!((part.version, &part.row), (whole.version, &whole.row));
        part.steps.iter().map(|step| step.inst).collect::<Vec<_>>()
    };
    assert_eq!(part(0, 30_000), [0, 1, 2], "the one that goes beyond is the last");
    assert_eq!(part(3, 30_000), [3, 4]);
    assert_eq!(part(1, 1), [1], "one is always read");
    assert_eq!((part(0, usize::MAX).len(), part(5, 30_000).len()), (5, 0));
    assert_eq!(bench.run_within(run(2), 0, 9), None);
    Verdict::Passed
}

fn runs_are_read_with_their_first_steps(bench: &mut Bench) -> Verdict {
    for n in 1..=3u32 {
        let steps = (0..n - 1).map(|inst| step(inst, StepStatus::Succeeded)).collect();
        bench.create(run(n.into()), steps);
    }
    let ask = |filter: RunFilter| bench.with_first_steps(&filter);
    let all = ask(filter());
    let first = |n, limit| bench.run_part(run(n), 0, limit).expect("a run");
    assert_eq!(all, [first(3, 1), first(2, 1), first(1, 1)]);
    assert_eq!(all.iter().map(|one| one.steps.len()).collect::<Vec<_>>(), [1, 1, 0]);
    assert_eq!(ask(RunFilter { before: Some(run(3)), limit: 1, ..filter() }), all[1..2]);
    assert_eq!(ask(RunFilter { oldest_first: true, limit: 1, ..filter() }), all[2..]);
    Verdict::Passed
}

fn steps_that_ask_are_found_alone(bench: &mut Bench) -> Verdict {
    let waiting = |inst, reason| StepRow { wait: Some(reason), ..step(inst, StepStatus::Waiting) };
    let steps = vec![
        step(0, StepStatus::Running),
        waiting(1, WaitReason::Signal),
        waiting(2, WaitReason::Timer),
        waiting(3, WaitReason::Approval),
        waiting(4, WaitReason::UnknownOutcome),
    ];
    bench.create(run(1), steps.clone());
    bench.create(run(2), vec![waiting(0, WaitReason::Signal)]);
    let asking = |n, limit| -> Vec<u32> {
        bench.asking(run(n), limit).iter().map(|step| step.inst).collect()
    };
    assert_eq!([asking(1, 99), asking(1, 2), asking(2, 99)], [vec![1, 3, 4], vec![1, 3], vec![0]]);
    assert_eq!(bench.asking(run(1), 1), [steps[1].clone()]);
    assert_eq!([asking(1, 0), asking(9, 9)], [[0; 0], [0; 0]]);
    Verdict::Passed
}

fn totals_count_what_is_there(bench: &mut Bench) -> Verdict {
    assert_eq!(bench.totals(), Totals::default());
    for (n, status) in (1..).zip(RunStatus::ALL) {
        bench.applied(create(row_in(run(n), status)));
    }
    let timers = vec![(TimerKey::Run, Some(NOW))];
    let messages = vec![build::signal(run(1), "x"), build::emitted("y")];
    let waits = |inst, wait| StepRow { wait: Some(wait), ..step(inst, StepStatus::Waiting) };
    let running = [step(1, StepStatus::Running), step(2, StepStatus::Running)];
    let waiting = [waits(3, WaitReason::Approval), waits(4, WaitReason::Timer)];
    let since = |at| StepRow { ready_at: Some(Millis(at)), ..ready(0, 1) };
    let later = StepRow { inst: 5, queue_key: Some(0), ..since(9) };
    let steps = [since(7), later].into_iter().chain(running).chain(waiting).collect();
    bench.applied(Commit { timers, messages, ..with_steps(change(run(2), 1), steps) });
    bench.applied(end(run(1), 1, RunStatus::Succeeded));
    let totals = bench.totals();
    let names = ["cancelled", "failed", "paused", "running", "succeeded", "waiting"];
    let counts = names.map(|name| totals.runs.get(name).copied().unwrap_or(0));
    assert_eq!(counts, [1, 1, 1, 1, 2, 1]);
    assert_eq!(totals.runs.len(), 6);
    assert_eq!((totals.ready, totals.running, totals.timers), (2, 2, 1));
    assert_eq!(totals.ready_since, Some(Millis(7)));
    assert_eq!((totals.messages, totals.events, totals.asks), (2, 9, 1));
    let asks = RunFilter { asks: true, ..filter() };
    let asking: Vec<RunId> = bench.runs(&asks).iter().map(|found| found.run).collect();
    assert_eq!(asking, [run(2)]);
    assert_eq!(bench.runs(&RunFilter { before: Some(run(2)), ..asks }), []);
    Verdict::Passed
}

fn newest(workflow: &str, label: Option<&str>) -> WorkflowRef {
    WorkflowRef::Newest(name(workflow), label.map(str::to_owned))
}

fn notifications_are_found_by_their_channel(bench: &mut Bench) -> Verdict {
    let (dead, done, open) = (RunStatus::Failed, RunStatus::Succeeded, RunStatus::Waiting);
    let long = "x".repeat(5000);
    let all = [
        (1, "a", "1", dead),
        (2, "a", "2", dead),
        (3, "b", "1", dead),
        (4, "a", "3", open),
        // Made again: the newest counts.
        (5, "a", "1", done),
        (6, "b", "2", done),
    ];
    for (n, channel, key, status) in all {
        let mut row = row_in(run(n), status);
        row.workflow = notify_workflow();
        row.params = Arc::new(json!({"about": long, "channel": channel, "key": key}));
        bench.applied(create(row));
    }
    // Of another workflow it is none, whatever its params say.
    let mut other = row_in(run(7), dead);
    other.params = Arc::new(json!({"channel": "a", "key": "9"}));
    bench.applied(create(other));
    let standing = |channel: &str, last, open, dead| ChannelRow {
        channel: channel.into(),
        last: run(last),
        open,
        dead,
    };
    assert_eq!(bench.channels(), [standing("a", 5, 1, 1), standing("b", 6, 0, 1)]);
    let found = |key: Option<&str>, filter: RunFilter| {
        let notifies = Some(Notifies { channel: "a".into(), key: key.map(str::to_owned) });
        let listed = bench.runs(&RunFilter { notifies, limit: 9, ..filter });
        listed.iter().map(|summary| summary.run).collect::<Vec<_>>()
    };
    let any = RunFilter::default;
    assert_eq!(found(None, any()), [5, 4, 2, 1].map(run));
    assert_eq!(found(None, RunFilter { statuses: vec![dead], ..any() }), [2, 1].map(run));
    assert_eq!(found(None, RunFilter { before: Some(run(4)), ..any() }), [2, 1].map(run));
    assert_eq!(found(Some("1"), RunFilter { after: Some(run(1)), ..any() }), [run(5)]);
    assert_eq!(found(Some("9"), any()), []);
    Verdict::Passed
}

fn the_newest_workflow_version_is_the_last_one_kept(bench: &mut Bench) -> Verdict {
    let [one, two] = [1, 2].map(|n| build::version("build", n, None));
    let other = build::version("deploy", 3, None);
    assert_eq!(bench.workflow(newest("build", None)), None);
    bench.put_workflow(NOW, one.clone());
    bench.put_workflow(NOW, two.clone());
    bench.put_workflow(NOW, other.clone());
    assert_eq!(bench.workflow(newest("build", None)), Some(two.clone()));
    assert_eq!(bench.workflows(None), [other, two.clone(), one.clone()]);
    // The text of before is back: its version is the newest again.
    bench.put_workflow(NOW.after(Span(9)), one.clone());
    assert_eq!(bench.workflow(newest("build", None)), Some(one.clone()));
    assert_eq!(bench.workflows(Some(&name("build"))), [one, two]);
    assert_eq!(bench.workflows(Some(&name("none"))), []);
    Verdict::Passed
}

fn a_workflow_version_is_found_by_label_or_hash(bench: &mut Bench) -> Verdict {
    let one = build::version("build", 1, Some("v1"));
    let two = build::version("build", 2, Some("v1"));
    let three = build::version("build", 3, Some("v2"));
    for version in [&one, &two, &three] {
        bench.put_workflow(NOW, version.clone());
    }
    assert_eq!(bench.workflow(newest("build", Some("v1"))), Some(two.clone()));
    assert_eq!(bench.workflow(newest("build", Some("v"))), None);
    assert_eq!(bench.workflow(newest("deploy", Some("v1"))), None);
    let hash = one.hash.to_string();
    for label in [&hash[..4], &hash[..12], &hash] {
        assert_eq!(bench.workflow(newest("build", Some(label))), Some(one.clone()));
    }
    assert_eq!(bench.workflow(WorkflowRef::Hash(two.hash)), Some(two.clone()));
    assert_eq!(bench.view_workflow(three.hash), Some(three));
    assert_eq!(bench.workflow(WorkflowRef::Hash(VersionHash([9; 32]))), None);
    assert_eq!(bench.view_workflow(VersionHash([9; 32])), None);
    Verdict::Passed
}

fn keeping_the_same_version_again_changes_nothing(bench: &mut Bench) -> Verdict {
    let one = build::version("build", 1, Some("v1"));
    let late = NOW.after(Span::minutes(5));
    bench.put_workflow(NOW, one.clone());
    bench.put_workflow(NOW, build::version("deploy", 2, None));
    let mut again = one.clone();
    again.source = "reformatted".to_owned();
    again.version = Some("v9".to_owned());
    bench.put_workflow(late, again);
    let order: Vec<_> = bench.workflows(None).into_iter().map(|v| v.workflow).collect();
    assert_eq!(order, ["deploy", "build"].map(name));
    assert_eq!(bench.workflow(newest("build", None)), Some(one));
    Verdict::Passed
}

fn a_version_that_is_kept_again_is_put_behind_no_other(bench: &mut Bench) -> Verdict {
    let (one, two) = (build::version("build", 1, None), build::version("build", 2, None));
    bench.put_workflow(NOW, one.clone());
    bench.put_workflow(NOW, two.clone());
    bench.put_workflow(NOW, build::version("deploy", 3, None));
    let put = |bench: &Bench| bench.versions_put(&name("build"), None, 9);
    let before = put(bench);
    let hashes =
        |all: &[(u64, WorkflowVersion)]| all.iter().map(|(_, v)| v.hash).collect::<Vec<_>>();
    assert_eq!(hashes(&before), [two.hash, one.hash]);
    assert!(before.iter().all(|(_, v)| v.source.is_empty() && v.plan.is_empty()), "{before:?}");
    bench.put_workflow(NOW, one.clone());
    let after = put(bench);
    assert_eq!(hashes(&after), [one.hash, two.hash]);
    assert_eq!(after[1], before[0], "what is not put again keeps its number");
    let part = |before, limit| bench.versions_put(&name("build"), before, limit);
    assert_eq!(
        (part(None, 1), part(Some(after[0].0), 9)),
        (after[..1].to_vec(), after[1..].to_vec())
    );
    assert_eq!((part(Some(after[1].0), 9), part(None, 0)), (Vec::new(), Vec::new()));
    assert!(after[0].0 > before[0].0 && before[0].0 > before[1].0, "{before:?} {after:?}");
    Verdict::Passed
}

fn sound_data_has_no_faults(bench: &mut Bench) -> Verdict {
    for n in 1..=5 {
        bench.create(run(n), vec![step(0, StepStatus::Succeeded), ready(1, 3)]);
        bench.applied(with_steps(change(run(n), 1), vec![step(1, StepStatus::Skipped)]));
    }
    bench.applied(end(run(1), 2, RunStatus::Succeeded));
    assert_eq!(bench.verify(), Vec::<String>::new());
    // What must never be is noticed.
    let open = with_steps(end(run(2), 2, RunStatus::Failed), vec![ready(7, 1)]);
    bench.applied(open);
    assert!(bench.verify().iter().any(|line| line.contains(&run(2).to_string())));
    Verdict::Passed
}
