//! Disks that are full, lie, or are slow.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use moa_faults::history::Ack;
use serde_json::json;
use tempfile::NamedTempFile;

use crate::mount::Mount;
use crate::node::{Node, PATIENCE, pass};
use crate::project::Project;
use crate::skip;

fn ack(run: String) -> Ack {
    Ack { run, idem: None, kind: None }
}

#[test]
fn a_full_disk_refuses_and_recovers() {
    let test = "a_full_disk_refuses_and_recovers";
    if !skip::needs_root(test) || !skip::needs(test, "mount") {
        return;
    }
    let folder = tempfile::tempdir_in(skip::disk()).expect("a temporary folder");
    let dir = folder.path().join("small");
    let Some(mount) = Mount::new(&dir, &["-t", "tmpfs", "-o", "size=24m", "moa-faults"]) else {
        return skip::skip(test, "tmpfs can't be mounted here");
    };
    let project = Project::at(&mount.dir.join("project"));
    let ballast = mount.dir.join("ballast");
    fs::write(&ballast, vec![1; 8 << 20]).expect("the ballast");
    let node = Node::start(&project);
    let mut client = node.try_connect().expect("it answers");
    let params = json!({ "text": "x".repeat(200_000) });
    let mut acks = Vec::new();
    let refusal = loop {
        assert!(acks.len() < 1000, "the disk never gets full");
        let key = format!("k{}", acks.len());
        match client.start("quiet", params.clone(), &key).expect("the node stays") {
            Ok(run) => acks.push(ack(run)),
            Err(refusal) => break refusal,
        }
    };
    assert_eq!(refusal["kind"], "unavailable", "{refusal}");
    let status = client.ask(&json!({"op": "status"})).expect("the node stays");
    assert!(status["engine"]["degraded"].is_string(), "it doesn't say why: {status}");
    // Whoever asks again is told again, or is served; nothing hangs and nothing crashes.
    for i in 0..20 {
        let again = client.start("quiet", params.clone(), &format!("again{i}"));
        acks.extend(again.expect("the node stays").ok().map(ack));
    }
    let doctor = project.moa(&["doctor", "--json"]);
    let doctor = String::from_utf8_lossy(&doctor.stdout);
    assert!(doctor.contains("but its store takes nothing: "), "{doctor}");
    fs::remove_file(&ballast).expect("the ballast can go");
    let start = Instant::now();
    let run = loop {
        match client.start("quiet", json!({}), "after").expect("the node stays") {
            Ok(run) => break run,
            Err(refusal) => assert!(start.elapsed() < PATIENCE, "still {refusal}"),
        }
        pass(Duration::from_millis(20));
    };
    acks.push(ack(run));
    project.wait_until_over(&node);
    let log = fs::read_to_string(project.dir.join(".moa/log/moa.log")).expect("its log");
    assert!(log.contains("the store works again"), "{log}");
    node.stop();
    let runs = project.check(acks);
    assert!(runs.iter().all(|r| r.state == "completed"));
}

/// strace attached to a node, with something done to its system calls; detached when dropped.
struct Tracer {
    process: Child,
    trace: NamedTempFile,
}

impl Tracer {
    fn attach(node: &Node, inject: &str) -> Self {
        let trace = NamedTempFile::new_in(skip::disk()).expect("a file");
        let said = NamedTempFile::new_in(skip::disk()).expect("a file");
        let errors = said.reopen().expect("a file");
        let mut command = Command::new("strace");
        command.args(["-f", "-p", &node.pid().to_string(), "-o"]).arg(trace.path());
        command.args(["-e", "trace=fsync,fdatasync,close", "-e", &format!("inject={inject}")]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors);
        let mut tracer = Self { process: command.spawn().expect("strace"), trace };
        let start = Instant::now();
        // It says when it is attached.
        while !fs::read_to_string(said.path()).unwrap_or_default().contains("attached") {
            assert!(start.elapsed() < PATIENCE, "strace doesn't attach");
            assert!(tracer.process.try_wait().expect("its status").is_none(), "strace ended");
            pass(Duration::from_millis(2));
        }
        tracer
    }

    /// Answers what was traced.
    fn detach(mut self) -> String {
        self.end();
        fs::read_to_string(self.trace.path()).expect("the trace")
    }

    fn end(&mut self) {
        let pid = i32::try_from(self.process.id()).ok().and_then(rustix::process::Pid::from_raw);
        if let Some(pid) = pid {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::INT);
        }
        let _ = self.process.wait();
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        self.end();
    }
}

#[test]
fn a_failed_fsync_is_never_taken_for_done() {
    let test = "a_failed_fsync_is_never_taken_for_done";
    if !skip::needs(test, "strace") {
        return;
    }
    let project = Project::new();
    let node = Node::start(&project);
    let mut client = node.try_connect().expect("it answers");
    let first = client.start("quiet", json!({}), "before").expect("the node stays");
    let mut acks = vec![ack(first.expect("it is started"))];
    project.wait_until_over(&node);

    let tracer = Tracer::attach(&node, "fsync,fdatasync:error=EIO:when=1");
    let hit = client.start("quiet", json!({}), "hit");
    // Either it is told that nobody knows, or it was done again, durably.
    let acknowledged = hit.as_ref().is_ok_and(Result::is_ok);
    let trace = tracer.detach();
    assert!(trace.contains("(INJECTED)"), "no sync was made at all:\n{trace}");
    assert!(!trusts_a_failed_sync(&trace), "the same file was synced again:\n{trace}");
    acks.extend(hit.ok().and_then(Result::ok).map(ack));
    node.kill9();

    let node = Node::start(&project);
    let mut client = node.try_connect().expect("it answers");
    let again = client.start("quiet", json!({}), "hit").expect("the node stays");
    acks.push(ack(again.expect("it is started")));
    project.wait_until_over(&node);
    node.stop();
    let runs = project.check(acks);
    assert_eq!(runs.len(), 2, "the start was done once (acknowledged at first: {acknowledged})");
}

/// Whether, after a sync that failed, the same open file is synced once more: the kernel forgets
/// what it couldn't write, and says that all is well.
fn trusts_a_failed_sync(trace: &str) -> bool {
    let mut failed: Vec<&str> = Vec::new();
    for line in trace.lines() {
        let Some((call, rest)) = line.split_once('(') else { continue };
        let Some((file, result)) = rest.split_once(')') else { continue };
        if call.ends_with("close") {
            failed.retain(|f| *f != file);
        } else if result.contains("INJECTED") {
            failed.push(file);
        } else if failed.contains(&file) {
            return true;
        }
    }
    false
}

#[test]
fn a_slow_disk_holds_up_writes_and_nothing_else() {
    let test = "a_slow_disk_holds_up_writes_and_nothing_else";
    if !skip::needs(test, "strace") {
        return;
    }
    let project = Project::new();
    let node = Node::start(&project);
    let mut writer = node.try_connect().expect("it answers");
    let mut reader = node.try_connect().expect("it answers");
    let tracer = Tracer::attach(&node, "fsync,fdatasync:delay_enter=3000000");
    let start = |i: usize| {
        json!({"op": "start", "workflow": "quiet", "params": {}, "cause": "test",
               "idempotency_key": format!("k{i}")})
    };
    writer.send(&start(0)).expect("it is sent");
    for _ in 0..5 {
        let status = reader.ask(&json!({"op": "status"})).expect("it answers");
        assert_eq!(status["reply"], "status");
    }
    let listed = project.moa_ok(&["runs", "list", "--json"]);
    // No clock is needed to say that reads don't wait for the write: they are over before it.
    assert!(!writer.has_reply(), "reads waited for a slow write");
    assert_eq!(listed.trim(), "[]", "a run is seen before it is durable");
    let reply = writer.receive().expect("it answers");
    let mut acks = vec![ack(reply["outcome"]["run"].as_str().expect("a run").to_owned())];
    // Many starts share one slow write.
    let begin = Instant::now();
    let clients = (1..=40).map(|i| {
        let mut client = node.try_connect().expect("it answers");
        client.send(&start(i)).expect("it is sent");
        client
    });
    let clients: Vec<_> = clients.collect();
    for mut client in clients {
        let reply = client.receive().expect("it answers");
        acks.push(ack(reply["outcome"]["run"].as_str().expect("a run").to_owned()));
    }
    println!("{test}: 40 starts took {:.1?} with 3 s for each sync", begin.elapsed());
    tracer.detach();
    project.wait_until_over(&node);
    node.stop();
    project.check(acks);
}
