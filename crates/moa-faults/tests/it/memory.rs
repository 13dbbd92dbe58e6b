//! Outputs that are large, and many: they are bounded in memory, and none is lost.

use moa_faults::history::Ack;
use serde_json::json;

use crate::node::Node;
use crate::project::Project;

const RUNS: usize = 120;
/// Peak of the node's memory. All outputs together are as large as half of it; a node that kept
/// them, and their copies on the way, would be past it.
const PEAK_BYTES_MAX: u64 = 250 << 20;

#[test]
fn large_outputs_are_not_kept_in_memory() {
    let project = Project::new();
    let node = Node::start(&project);
    let mut client = node.try_connect().expect("it answers");
    let start = |i: usize| {
        let run = client.start("large", json!({}), &format!("k{i}")).expect("the node stays");
        Ack { run: run.expect("it is started"), idem: None, kind: None }
    };
    let acks: Vec<Ack> = (0..RUNS).map(start).collect();
    project.wait_until_over(&node);
    let peak = peak_bytes(node.pid());
    node.stop();
    let runs = project.check(acks);
    assert!(runs.iter().all(|r| r.state == "completed"));
    println!("{RUNS} outputs of 1 MB; the node's peak was {} MB", peak >> 20);
    assert!(peak < PEAK_BYTES_MAX, "the node took {} MB", peak >> 20);
}

fn peak_bytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the node is there");
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).expect("VmHWM");
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kib << 10
}
