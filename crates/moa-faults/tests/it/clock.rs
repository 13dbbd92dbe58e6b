//! Somebody sets the wall clock of a machine that works: an hour ahead, half an hour behind, and right again.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use serde_json::Value as Json;

use crate::chance::Chance;
use crate::load::Load;
use crate::node::{Node, PATIENCE, pass};
use crate::project::{Project, binary};
use crate::skip;

const TICK: &str = "\
schedule: {every: 1s, overlap: allow}
steps: [{id: quiet_1, agent: noop, action: a}]
";
const HOUR: SignedDuration = SignedDuration::from_hours(1);

/// A wall clock for one process, which libfaketime shows it. Its other clocks stay as they are.
struct Wall {
    library: PathBuf,
    file: PathBuf,
}

impl Wall {
    fn new(dir: &Path) -> Option<Self> {
        let name = "libfaketimeMT.so.1";
        let folders = fs::read_dir("/usr/lib").ok()?.flatten().map(|entry| entry.path());
        let mut found = folders.map(|folder| folder.join("faketime").join(name));
        let library = found.find(|path| path.is_file())?;
        let wall = Self { library, file: dir.join("wall") };
        wall.set(0);
        Some(wall)
    }

    /// Sets it, by so many seconds ahead of the right time.
    fn set(&self, ahead: i64) {
        let next = self.file.with_extension("next");
        fs::write(&next, format!("{ahead:+}\n")).expect("a file");
        fs::rename(next, &self.file).expect("it takes its place");
    }

    fn command(&self) -> Command {
        let mut command = Command::new(binary());
        command.env("LD_PRELOAD", &self.library).env("FAKETIME_TIMESTAMP_FILE", &self.file);
        command.env("FAKETIME_NO_CACHE", "1").env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        command
    }
}

/// Runs that the schedule has started, by their slots.
fn started(project: &Project) -> Vec<(Timestamp, String)> {
    let slots = project.moa_ok(&["schedules", "slots", "tick", "-n", "1000000", "--json"]);
    let slots: Vec<Json> = serde_json::from_str(&slots).expect("JSON");
    let started = slots.iter().filter(|slot| slot["outcome"] == "started");
    started
        .map(|slot| {
            let text = |key: &str| slot[key].as_str().expect("a text").to_owned();
            (text("at").parse().expect("an instant"), text("run"))
        })
        .collect()
}

/// Waits until so many slots that fit have started a run.
fn wait_for(project: &Project, node: &Node, count: usize, fits: impl Fn(Timestamp) -> bool) {
    let start = Instant::now();
    loop {
        let found = started(project).iter().filter(|(at, _)| fits(*at)).count();
        if found >= count {
            return;
        }
        assert!(start.elapsed() < PATIENCE, "{found} of {count} slots: {}", node.said());
        pass(Duration::from_millis(100));
    }
}

#[test]
fn a_wall_clock_that_is_set_repeats_no_slot_and_hurries_no_timer() {
    let test = "a_wall_clock_that_is_set_repeats_no_slot_and_hurries_no_timer";
    let project = Project::new();
    fs::write(project.dir.join("workflows/tick.yaml"), TICK).expect("a file");
    let Some(wall) = Wall::new(&project.ledger.with_file_name("")) else {
        return skip::skip(test, "libfaketime is missing");
    };
    let mut chance = Chance::new(test);
    let mut load = Load::new(120, 2);
    let begin = Timestamp::now();
    let mut node = Node::spawn_by(wall.command(), &project);
    let mut client = node.wait_ready();
    let mut feed = |load: &mut Load, runs| {
        load.feed(&mut client, runs, &mut chance).expect("the node stays");
    };
    wait_for(&project, &node, 2, |_| true);
    feed(&mut load, 30);
    wall.set(3600);
    wait_for(&project, &node, 2, |at| at > begin + HOUR);
    feed(&mut load, 30);
    // By less than what a schedule may be ahead by: it counts what it was ahead of, not the steps.
    wall.set(-1800);
    wait_for(&project, &node, 2, |at| at < begin);
    feed(&mut load, 30);
    wall.set(0);
    wait_for(&project, &node, 3, |at| begin < at && at < begin + HOUR / 2);
    load.finish(&mut client, &mut chance);
    node.stop();

    let node = Node::start(&project);
    let pause = ["schedules", "pause", "tick"];
    project.moa_ok(&pause);
    project.wait_until_over(&node);
    node.stop();
    assert_eq!(load.refused, [""; 0]);
    let started = started(&project);
    let slots: BTreeSet<Timestamp> = started.iter().map(|(at, _)| *at).collect();
    let runs: BTreeSet<&String> = started.iter().map(|(_, run)| run).collect();
    assert_eq!((slots.len(), runs.len()), (started.len(), started.len()), "each slot once");
    // Timers that fire early, and everything else.
    let all = project.check(load.acks);
    let of_slots = all.iter().filter(|run| runs.contains(&run.run)).count();
    assert_eq!((of_slots, all.len()), (runs.len(), runs.len() + 120), "every run has a cause");
}
