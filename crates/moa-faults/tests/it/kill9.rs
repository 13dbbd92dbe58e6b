//! Kills at random moments: of the node, of its agents, of the node while its agents run on.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use moa_faults::history::{Ack, Mark};
use serde_json::json;

use crate::chance::Chance;
use crate::load::Load;
use crate::node::{Client, Node, PATIENCE, pass};
use crate::project::Project;

const KILLS: usize = 200;
const RUNS: usize = 5000;
/// One run in so many has agents, timers and signals.
const MIXED: usize = 10;

#[test]
fn two_hundred_kills_lose_nothing() {
    let project = Project::new();
    let mut chance = Chance::new("two_hundred_kills_lose_nothing");
    let mut load = Load::new(RUNS, MIXED);
    let begin = Instant::now();
    let mut ready = Vec::new();
    for life in 0..KILLS {
        let left = KILLS - life;
        let starts = RUNS / KILLS + 200 / left.max(10);
        ready.extend(one_life(&project, &mut load, &mut chance, starts));
    }
    ready.sort();
    let killed = begin.elapsed();
    let node = Node::start(&project);
    let mut client = node.try_connect().expect("it answers");
    load.finish(&mut client, &mut chance);
    project.wait_until_over(&node);
    node.stop();
    assert!(load.is_done());
    assert_eq!(load.refused, [""; 0]);
    let acks = load.acks.len();
    let runs = project.check(load.acks);
    let cancelled = runs.iter().filter(|r| r.state == "cancelled").count();
    let marks = project.marks();
    let begun = marks.iter().filter(|m| m.mark == "begin").count();
    let cut_short = 2 * begun - marks.len();
    let attempts: usize = runs.iter().flat_map(|r| &r.steps).map(|s| s.attempts.len()).sum();
    println!(
        "{KILLS} kills in {killed:.1?}, {} runs ({cancelled} cancelled), {acks} acknowledgements, \
         {attempts} attempts, {begun} executions by agents ({cut_short} cut short): all invariants \
         hold; {} of {KILLS} starts were ready \
         before the kill, after {:.1?} (median) to {:.1?}",
        runs.len(),
        ready.len(),
        ready[ready.len() / 2],
        ready[ready.len() - 1],
    );
    assert_eq!(runs.len(), RUNS, "every run exists once");
    assert!(cut_short > 0, "no kill hit an agent");
    assert!(runs.iter().all(|r| r.state != "failed"), "no run fails because of a kill");
}

/// Starts a node, feeds it, and kills it at a random moment: while it starts, or while it works.
/// Answers how long it took to be ready, if it lived to see that.
fn one_life(
    project: &Project,
    load: &mut Load,
    chance: &mut Chance,
    starts: usize,
) -> Option<Duration> {
    let begin = Instant::now();
    let mut ready = None;
    let (tell, told) = channel();
    let node = Node::spawn(project);
    // What a kill hits is to depend on how far the node is, not on how fast the machine is.
    let (works, moment) = match chance.below(4) {
        0 => (false, chance.time_below_ms(60)),
        _ => (true, chance.time_below_ms(250)),
    };
    let state = project.dir.join(".moa");
    let gone = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !gone.load(Ordering::SeqCst) {
                match Client::connect(&state) {
                    // The error is the kill: what it hit is asked for in another life.
                    Ok(mut client) => {
                        ready.get_or_insert_with(|| begin.elapsed());
                        let _ = tell.send(());
                        drop(load.feed(&mut client, starts, chance));
                    }
                    Err(_) => pass(Duration::from_millis(2)),
                }
            }
        });
        if works {
            // One that is never ready is killed as well; the next life says so.
            let _ = told.recv_timeout(PATIENCE);
        }
        pass(moment);
        node.kill9();
        gone.store(true, Ordering::SeqCst);
    });
    ready
}

#[test]
fn agents_that_are_killed_run_again() {
    let project = Project::new();
    let mut chance = Chance::new("agents_that_are_killed_run_again");
    let node = Node::start(&project);
    let mut client = node.try_connect().expect("it answers");
    let mut acks = Vec::new();
    let mut killed = BTreeSet::new();
    while killed.len() < 15 {
        assert!(acks.len() < 500, "agents don't begin: {}", node.said());
        let alive: Vec<u32> = running(&project.marks()).collect();
        if alive.len() < 5 {
            let key = format!("k{}", acks.len());
            let run = client.start("work", json!({}), &key).expect("the node stays");
            acks.push(Ack { run: run.expect("it is started"), idem: None, kind: None });
        }
        let pick = chance.below(alive.len() as u64) as usize;
        match alive.get(pick) {
            Some(&pid) if killed.insert(pid) => kill(pid),
            _ => pass(Duration::from_millis(3)),
        }
    }
    project.wait_until_over(&node);
    node.stop();
    let runs = project.check(acks);
    let other = runs.iter().find(|r| r.state != "completed");
    assert!(other.is_none(), "a killed agent is tried again, but {other:?}");
    let again = runs.iter().flat_map(|r| &r.steps).filter(|s| s.attempts.len() > 1).count();
    assert!(again > 0, "no kill hit anything");
}

#[test]
fn agents_of_a_dead_node_are_ended_before_they_run_again() {
    let project = Project::new();
    let node = Node::start(&project);
    let mut client = node.try_connect().expect("it answers");
    let runs: Vec<String> = (0..8)
        .map(|i| client.start("long", json!({}), &format!("k{i}")).expect("the node stays"))
        .map(|run| run.expect("it is started"))
        .collect();
    wait_for_marks(&project, 8);
    let orphans: Vec<Mark> = project.marks();
    node.kill9();
    assert!(orphans.iter().all(|m| is_alive(m.pid)), "agents outlive a node that is killed");

    let node = Node::start(&project);
    wait_for_marks(&project, 16);
    assert!(!orphans.iter().any(|m| is_alive(m.pid)), "no two copies of a step live");
    let again: Vec<Mark> = project.marks().split_off(8);
    let steps: BTreeSet<(&str, &str)> =
        again.iter().map(|m| (m.run.as_str(), m.key.as_str())).collect();
    assert!(orphans.iter().all(|m| steps.contains(&(m.run.as_str(), m.key.as_str()))));
    assert!(again.iter().all(|m| m.attempt == 2), "the lost attempt is counted");

    let mut client = node.try_connect().expect("it answers");
    for run in &runs {
        let cancel = json!({"change": "terminate", "reason": "the test is over"});
        client.change(run, cancel).expect("the node stays").expect("it is terminated");
    }
    project.wait_until_over(&node);
    node.stop();
    assert!(!again.iter().any(|m| is_alive(m.pid)), "a terminated run leaves no process");
    let acks = runs.into_iter().map(|run| Ack { run, idem: None, kind: None });
    project.check(acks.collect());
}

/// Processes of executions that began and didn't end.
fn running(marks: &[Mark]) -> impl Iterator<Item = u32> {
    let ended: BTreeSet<u32> = marks.iter().filter(|m| m.mark == "end").map(|m| m.pid).collect();
    marks.iter().filter(|m| m.mark == "begin").map(|m| m.pid).filter(move |p| !ended.contains(p))
}

fn wait_for_marks(project: &Project, count: usize) {
    let start = Instant::now();
    while project.marks().len() < count {
        assert!(start.elapsed() < PATIENCE, "{} of {count} marks", project.marks().len());
        pass(Duration::from_millis(5));
    }
}

/// Whether a process is there and is no zombie.
fn is_alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(") ").map(|(_, rest)| rest.starts_with('Z'));
    state == Some(false)
}

fn kill(pid: u32) {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
    // It may have ended by itself a moment ago.
    let _ = rustix::process::kill_process(
        pid.expect("a process has a number"),
        rustix::process::Signal::KILL,
    );
}
