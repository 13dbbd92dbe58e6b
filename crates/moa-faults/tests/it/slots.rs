//! Triggers under kills: every slot, event and end of a run has one outcome, and one run at most.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::{Duration, Instant};

use moa_faults::history::Ack;
use serde_json::Value as Json;

use crate::chance::Chance;
use crate::node::{Node, PATIENCE, pass};
use crate::project::Project;

const KILLS: usize = 12;

/// Due each second; its runs take part of one, or more.
const TICK: &str = "\
schedule: {every: 1s, overlap: allow, params: {at: \"${{ slot.unix }}\"}}
defaults:
  retry: {max_attempts: 100, backoff: constant, delay: 20ms}
steps:
  - {id: tick, agent: flaky, action: tick}
  - {id: quiet_1, agent: noop, action: a}
outputs: {at: params.at}
";
/// One for each end of the other.
const TOCK: &str = "\
on: {workflow: tick, params: {at: \"${{ event.data.output.at }}\"}}
steps: [{id: quiet_1, agent: noop, action: a}]
";
/// One for each event.
const PULSE: &str = "\
on: {event: pulse, params: {n: \"${{ event.data.n }}\"}}
steps: [{id: quiet_1, agent: noop, action: a}]
";

fn json(project: &Project, args: &[&str]) -> Vec<Json> {
    let text = project.moa_ok(&[args, &["--json"]].concat());
    serde_json::from_str(&text).expect("an array")
}

fn history(project: &Project, name: &str) -> Vec<Json> {
    json(project, &["triggers", "history", name, "-n", "1000000"])
}

/// The seconds that the records of slots speak of.
fn seconds(slots: &[Json]) -> BTreeMap<i64, u32> {
    let instant = |text: &Json| -> i64 {
        let text = text.as_str().expect("an instant");
        text.parse::<jiff::Timestamp>().expect("an instant").as_second()
    };
    let mut seconds = BTreeMap::new();
    for slot in slots {
        let first = instant(&slot["at"]);
        let last = if slot["last"].is_null() { first } else { instant(&slot["last"]) };
        assert_eq!(slot["count"].as_i64(), Some(last - first + 1), "{slot}");
        for second in first..=last {
            *seconds.entry(second).or_default() += 1;
        }
    }
    seconds
}

/// The runs that records started; none twice.
fn runs(records: &[Json]) -> BTreeSet<String> {
    let started: Vec<&Json> = records.iter().filter(|r| r["outcome"] == "started").collect();
    let runs: BTreeSet<String> =
        started.iter().map(|r| r["run"].as_str().expect("a run").to_owned()).collect();
    assert_eq!(runs.len(), started.len(), "a run was started by two occurrences");
    runs
}

#[test]
fn every_slot_is_accounted_for_once_across_kills() {
    let project = Project::new();
    for (name, text) in [("tick", TICK), ("tock", TOCK), ("pulse", PULSE)] {
        fs::write(project.dir.join(format!("workflows/{name}.yaml")), text).expect("a file");
    }
    let mut chance = Chance::new("every_slot_is_accounted_for_once_across_kills");
    let mut pulses = BTreeSet::new();
    for _ in 0..KILLS {
        let node = Node::start(&project);
        for _ in 0..chance.below(3) {
            let n = pulses.len().to_string();
            let (data, key) = (format!("n={n}"), format!("k{n}"));
            // Twice, as somebody does who doesn't know whether the first time counted.
            for _ in 0..2 {
                project.moa_ok(&["events", "publish", "pulse", "-p", &data, "--key", &key]);
            }
            pulses.insert(n);
        }
        pass(chance.time_below_ms(1500));
        node.kill9();
        pass(chance.time_below_ms(800));
    }
    let node = Node::start(&project);
    wait_for(|| history(&project, "tick").iter().any(|slot| slot["result"] == "succeeded"));
    project.moa_ok(&["schedules", "pause", "tick"]);
    project.wait_until_over(&node);
    wait_for(|| {
        let ticks = runs(&history(&project, "tick")).len();
        runs(&history(&project, "tock")).len() == ticks
    });
    project.wait_until_over(&node);
    node.stop();

    let slots = history(&project, "tick");
    let seconds = seconds(&slots);
    let (first, last) = (seconds.keys().next().expect("a slot"), seconds.keys().last());
    let missing: Vec<i64> =
        (*first..=*last.expect("a slot")).filter(|s| !seconds.contains_key(s)).collect();
    assert!(missing.is_empty(), "slots without an outcome: {missing:?}\n{slots:#?}");
    let twice: Vec<_> = seconds.iter().filter(|(_, times)| **times > 1).collect();
    assert!(twice.is_empty(), "slots with two outcomes: {twice:?}\n{slots:#?}");

    let mut wanted = runs(&slots);
    wanted.extend(runs(&history(&project, "tock")));
    let answered = runs(&history(&project, "pulse"));
    assert_eq!(answered.len(), pulses.len(), "each event starts one run");
    wanted.extend(answered);
    let acks = wanted.iter().map(|run| Ack { run: run.clone(), idem: None, kind: None });
    let found = project.check(acks.collect());
    let there: BTreeSet<String> = found.iter().map(|run| run.run.clone()).collect();
    assert_eq!(there, wanted, "runs that no occurrence started, or occurrences without their run");
    println!("{KILLS} kills, {} slots, {} runs", seconds.len(), there.len());
}

fn wait_for(mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < PATIENCE, "it does not come");
        pass(Duration::from_millis(100));
    }
}
