//! Programs that misbehave. Whatever they do, the attempt ends, with a readable reason, and nothing
//! of them is left.

use moa_core::agent::AgentKind;
use moa_core::limits::ATTEMPT_LOG_BYTES_DEFAULT;
use moa_core::machine::Outcome;
use moa_core::step::ErrorKind;
use moa_core::time::Span;
use moa_ports::agent::{Task, Worker as _};
use serde_json::json;

use crate::harness::{
    World, agent, command, command_spec, failed, is_alive, output, pid_in, until,
};

/// Starts a script, waits until it says that it is up (by its number in the file `up`), and cancels
/// it; gives its number.
fn cancelled(world: &World, script: &str, grace: Span) -> i32 {
    let mut spec = command_spec(&["sh", "-c", script]);
    spec.grace = grace;
    world.declare([agent("agent", AgentKind::Command(spec))]);
    let task = world.task("agent", json!({"blob": "x".repeat(1 << 20)}));
    world.worker.start(task.clone());
    let pid = pid_in(&world.path("up"));
    world.worker.stop(task.run, task.inst, task.attempt, false);
    assert_eq!(world.next().outcome, Outcome::Cancelled);
    assert!(!is_alive(pid));
    pid
}

#[test]
fn hang_ignores_nothing_but_time() {
    let world = World::new();
    let mut spec = command(
        "agent",
        "echo $$ > up; trap 'echo asked > asked; exit 0' TERM
        while :; do sleep 0.01; done",
    );
    spec.timeout = Some(Span(300));
    world.declare([spec]);
    let why = failed(ErrorKind::Timeout, world.run(world.task("agent", json!({}))));
    assert!(why.contains("timeout of 300ms"), "{why}");
    assert!(!is_alive(pid_in(&world.path("up"))));
    assert!(world.path("asked").exists(), "it was asked to end first");
}

#[test]
fn ignoreterm_is_killed_after_its_grace() {
    let world = World::new();
    cancelled(&world, "trap '' TERM INT; echo $$ > up; while :; do sleep 0.01; done", Span(50));
}

#[test]
fn noread_blocks_nobody() {
    let world = World::new();
    cancelled(&world, "echo $$ > up; exec sleep 1000", Span::seconds(60));
    world.declare([command("agent", "exit 0")]);
    assert_eq!(
        output(world.run(world.task("agent", json!({"blob": "x".repeat(1 << 20)})))),
        json!(null)
    );
}

#[test]
fn closeout_is_not_taken_for_the_end() {
    let world = World::new();
    cancelled(&world, "exec >&- 2>&-; echo $$ > up; exec sleep 1000", Span::seconds(60));
}

#[test]
fn stopped_processes_can_be_ended() {
    let world = World::new();
    cancelled(&world, "echo $$ > up; kill -STOP $$; sleep 1000", Span::seconds(60));
}

#[test]
fn floods_fill_no_disk() {
    let world = World::new();
    for script in ["yes", "tr '\\0' y < /dev/zero", "yes zzzzzzzzzzzz >&2"] {
        world.declare([command("agent", script)]);
        let task = world.task("agent", json!({}));
        world.worker.start(task.clone());
        let state = world.path(".moa");
        let path = moa_connectors::log_path(&state, task.run, "step", "", 1);
        until("the log is full", || {
            let part = moa_connectors::read_log(&path, ATTEMPT_LOG_BYTES_DEFAULT, 1).ok()?;
            (!part.bytes.is_empty()).then_some(())
        });
        world.worker.stop(task.run, task.inst, 1, false);
        assert_eq!(world.next().outcome, Outcome::Cancelled, "{script}");
        let size = std::fs::metadata(&path).expect("a log").len();
        assert!(
            size > ATTEMPT_LOG_BYTES_DEFAULT / 2 && size <= ATTEMPT_LOG_BYTES_DEFAULT,
            "{size}"
        );
    }
}

#[test]
fn a_result_without_end_fills_no_disk() {
    let world = World::new();
    // What moa allows itself to see too late; far less than the programs would write.
    let most = 4 << 30;
    for script in [
        "echo $$ > up; trap '' TERM; yes > $MOA_OUTPUT",
        "echo $$ > up; exec 3> part; yes >&3 & mv part $MOA_OUTPUT; wait",
        "echo $$ > up; truncate -s 17M $MOA_OUTPUT; exec sleep 1000",
    ] {
        let mut spec = command_spec(&["sh", "-c", script]);
        spec.limits.file_bytes = Some(most);
        spec.grace = Span::minutes(60);
        world.declare([agent("agent", AgentKind::Command(spec))]);
        let why = failed(ErrorKind::Output, world.run(world.task("agent", json!({}))));
        assert!(why.contains("more than the 16 MiB allowed to $MOA_OUTPUT"), "{script}: {why}");
        assert!(!is_alive(pid_in(&world.path("up"))), "{script}");
        // It was ended in the middle: what it had done by then must not be done again.
        let once = Task { once: true, ..world.task("agent", json!({})) };
        let why = failed(ErrorKind::UnknownOutcome, world.run(once));
        assert!(why.contains("more than the 16 MiB allowed to $MOA_OUTPUT"), "{script}: {why}");
        let left = std::fs::read_dir(world.path(".moa/tmp")).expect("a folder").count();
        assert_eq!(left, 0, "{script}");
    }
}

#[test]
fn outputs_that_break_the_protocol_fail_with_a_reason() {
    let world = World::new();
    let cases = [
        ("printf '{\"ok\":true,\"result\":{\"a\":'", "ends in the middle of a value"),
        ("echo '{\"n\":1}'; echo '{\"n\":2}'", "trailing characters"),
        ("echo '{\"ok\":false,\"ok\":true}'", "the key \"ok\" stands twice"),
        ("echo '{\"v\":NaN}'", "not one JSON value"),
        ("head -c 2000000 /dev/zero | tr '\\0' '['", "nested more than"),
        ("head -c 65536 /dev/urandom", "it is binary"),
        (
            "printf '{\"b\":\"'; head -c 104857600 /dev/zero | tr '\\0' A; printf '\"}'",
            "more than the 16 MiB allowed",
        ),
        (
            "printf '\"'; head -c 17000000 /dev/zero | tr '\\0' A; printf '\"'",
            "more than the 16 MiB allowed",
        ),
        ("printf '[\"'; head -c 17000000 /dev/zero | tr '\\0' A", "more than the 16 MiB allowed"),
        ("head -c 17000000 /dev/zero | tr '\\0' 7", "more than the 16 MiB allowed"),
    ];
    for (script, reason) in cases {
        let why = failed(ErrorKind::Output, world.script(script));
        assert!(why.contains(reason) && why.contains("$MOA_OUTPUT"), "{script}: {why}");
    }
}

#[test]
fn a_long_log_is_no_result_however_it_begins() {
    let world = World::new();
    for line in ["[info] copied", "3 files copied", "\"quoted\" and more", "true love"] {
        let script = format!("yes '{line}' | head -c 17000000");
        assert_eq!(world.script(&script), Outcome::Succeeded { output: None }, "{line}");
    }
}

#[test]
fn silent0_okfail_and_segv_are_what_they_are() {
    let world = World::new();
    assert_eq!(world.script(":"), Outcome::Succeeded { output: None });
    failed(ErrorKind::Retryable, world.script("echo '{\"ok\":true}'; exit 3"));
    let why = failed(ErrorKind::Retryable, world.script("kill -SEGV $$"));
    assert_eq!(why, "killed by SIGSEGV");
    let why = failed(ErrorKind::Retryable, world.script("kill -KILL $$"));
    assert!(why.starts_with("killed by SIGKILL"), "{why}");
}

#[test]
fn ansi_is_harmless_in_errors() {
    let world = World::new();
    let script = "printf 'x\\033]0;pwn\\007\\033[2K\\rFAKE \\342\\200\\256\\n' >&2; exit 1";
    let why = failed(ErrorKind::Retryable, world.script(script));
    assert_eq!(why, "exit code 1: FAKE \\u{202e}");
    let script = "printf 'x\\033[8mhidden' >&2; exit 1";
    assert_eq!(failed(ErrorKind::Retryable, world.script(script)), "exit code 1: x\\x1b[8mhidden");
}

#[test]
fn daemons_do_not_survive_their_attempt() {
    let world = World::new();
    // In the group, in a session of its own with the pipes, and without; each starts another.
    for (start, redirect) in [("", ""), ("setsid", ""), ("setsid", "< /dev/null > /dev/null 2>&1")]
    {
        let _ = std::fs::remove_file(world.path("one"));
        let _ = std::fs::remove_file(world.path("two"));
        let nested = "trap \"\" TERM HUP; setsid sh -c \"echo \\$\\$ > two; exec sleep 1000\" & \
                      echo $$ > one; sleep 1000";
        let script = format!(
            "{start} sh -c '{nested}' {redirect} &
            until [ -s one ] && [ -s two ]; do sleep 0.01; done; echo '{{\"ok\":true}}'"
        );
        let outcome = world.script(&script);
        assert_eq!(output(outcome), json!({"ok": true}), "{start} {redirect}");
        let (one, two) = (pid_in(&world.path("one")), pid_in(&world.path("two")));
        assert!(!is_alive(one) && !is_alive(two), "{start} {redirect}");
    }
}

#[test]
fn a_daemon_of_another_attempt_is_left_alone() {
    let world = World::new();
    let script = "setsid sh -c 'echo $$ > up; exec sleep 1000' &
        until [ -e go ]; do sleep 0.01; done";
    world.declare([command("long", script), command("short", "true")]);
    world.worker.start(world.task("long", json!({})));
    let daemon = pid_in(&world.path("up"));
    output(world.run(world.task("short", json!({}))));
    assert!(is_alive(daemon));
    std::fs::write(world.path("go"), "").expect("a file");
    output(world.next().outcome);
    assert!(!is_alive(daemon));
}

#[test]
fn a_crowd_is_ended_whole() {
    let world = World::new();
    let script = "crowd() { [ $1 = 0 ] || { crowd $(($1 - 1)) & crowd $(($1 - 1)) & }; \
                  echo $(exec sh -c 'echo $PPID') >> pids; sleep 1000; }
        crowd 5 & until [ \"$(wc -l < pids)\" = 63 ]; do sleep 0.01; done; exit 7";
    failed(ErrorKind::Retryable, world.script(script));
    let pids = std::fs::read_to_string(world.path("pids")).expect("a file");
    let alive: Vec<&str> =
        pids.lines().filter(|pid| is_alive(pid.parse().expect("a number"))).collect();
    assert!(alive.is_empty(), "{alive:?}");
}

#[test]
fn no_zombie_is_left() {
    let world = World::new();
    // An orphan that ends by itself while its attempt runs.
    let script = "( setsid sh -c 'echo $$ > up' & ) ; until [ -s up ]; do sleep 0.01; done";
    output(world.script(script));
    let pid = pid_in(&world.path("up"));
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
}
