//! The contract of agents that are programs.

use moa_core::agent::{AgentKind, ProcessLimits};
use moa_core::step::ErrorKind;
use serde_json::{Value as Json, json};

use crate::harness::{World, agent, command, command_spec, failed, output, with_secret};

#[test]
fn a_program_is_told_everything() {
    let world = World::new();
    world
        .declare([command("agent", "cat > doc; env > vars; pwd > cwd; ls -l /proc/self/fd > fds")]);
    let mut task = world.task("agent", json!({"Dry-Run": true, "list": [1]}));
    task.iteration = "3.0".to_owned();
    task.attempt = 2;
    task.inputs = std::sync::Arc::new(json!({"before": {"n": 1}}));
    let run = task.run.to_string();
    output(world.run(task.clone()));

    let read = |name: &str| std::fs::read_to_string(world.path(name)).expect("a file");
    let doc: Json = serde_json::from_str(&read("doc")).expect("JSON");
    let deadline = doc["deadline"].as_str().expect("a deadline").to_owned();
    assert!(deadline.ends_with('Z') && deadline.len() == 24, "{deadline}");
    let expected = json!({
        "run": run, "workflow": "flow", "step": "step", "iteration": "3.0", "attempt": 2,
        "agent": "agent", "action": "act", "params": {"Dry-Run": true, "list": [1]},
        "inputs": {"before": {"n": 1}}, "deadline": deadline,
        "idempotency_key": format!("{run}/step"),
    });
    assert_eq!(doc, expected);

    let vars = read("vars");
    let project = world.dir.path().display();
    let node = world.node;
    for line in [
        format!("MOA_RUN_ID={run}"),
        "MOA_WORKFLOW=flow".to_owned(),
        "MOA_STEP=step".to_owned(),
        "MOA_ITERATION=3.0".to_owned(),
        "MOA_ATTEMPT=2".to_owned(),
        "MOA_AGENT=agent".to_owned(),
        "MOA_ACTION=act".to_owned(),
        format!("MOA_IDEMPOTENCY_KEY={run}/step"),
        format!("MOA_DEADLINE={deadline}"),
        format!("MOA_PROJECT={project}"),
        format!("MOA_WORK_DIR={project}/.moa/work/{run}"),
        format!("MOA_NODE={node}"),
        format!("MOA_STORE_ID={}", world.store_id),
        "MOA_PARAM_DRY_RUN=true".to_owned(),
    ] {
        assert!(vars.lines().any(|l| l == line), "{line} is not in\n{vars}");
    }
    // Nothing else of this process's environment, though it has much more.
    assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some());
    let allowed = ["PATH", "HOME", "LANG", "TZ", "TMPDIR", "USER", "SHELL", "PWD", "_", "OLDPWD"];
    for line in vars.lines() {
        let name = line.split('=').next().expect("a name");
        let fine = name.starts_with("MOA_") || name.starts_with("LC_") || name == "SHLVL";
        assert!(fine || allowed.contains(&name), "{line}");
    }
    assert_eq!(
        read("cwd").trim(),
        world.dir.path().canonicalize().expect("a path").to_str().expect("text")
    );
    let fds = read("fds");
    let leaked: Vec<&str> = fds.lines().filter(|line| is_own(line)).collect();
    assert!(leaked.is_empty(), "{leaked:?} of\n{fds}");
    assert_eq!(std::fs::read_dir(world.path(".moa/tmp")).expect("a folder").count(), 0);
}

#[test]
fn the_result_is_the_file_or_else_the_whole_standard_output() {
    let world = World::new();
    let result = |script: &str| output(world.script(script));
    assert_eq!(result("echo '{\"a\": 1}'"), json!({"a": 1}));
    assert_eq!(result("printf '\\n [1, 2]\\n\\n'"), json!([1, 2]));
    assert_eq!(result("echo 42"), json!(42));
    assert_eq!(result("echo some text"), json!(null));
    assert_eq!(result("echo '[info] starting'; echo '[1/5] compiling'"), json!(null));
    assert_eq!(result("echo 3 files copied"), json!(null));
    assert_eq!(result("echo not json; echo '\"file\"' > $MOA_OUTPUT"), json!("file"));
    assert_eq!(result("echo '{\"a\": 1}'; : > $MOA_OUTPUT"), json!({"a": 1}));
    assert_eq!(result("echo null"), json!(null));
    let why = failed(ErrorKind::Output, world.script("echo '{}'; echo '{' > $MOA_OUTPUT"));
    assert!(why.contains("$MOA_OUTPUT can't be taken: the JSON ends in the middle"), "{why}");
}

#[test]
fn odd_files_in_the_place_of_the_result_are_refused() {
    let world = World::new();
    let refused = |script: &str| failed(ErrorKind::Output, world.script(script));
    assert!(refused("mkdir $MOA_OUTPUT").contains("no regular file"));
    assert!(refused("mkfifo $MOA_OUTPUT").contains("no regular file"));
    assert!(refused("ln -s /etc/hostname $MOA_OUTPUT").contains("can't be read"));
    assert!(refused("truncate -s 1G $MOA_OUTPUT").contains("16 MiB"));
}

#[test]
fn exit_codes_mean_what_they_should() {
    let world = World::new();
    let why = failed(ErrorKind::Permanent, world.script("echo usage: x >&2; exit 64"));
    assert_eq!(why, "exit code 64: usage: x");
    assert_eq!(failed(ErrorKind::Retryable, world.script("exit 75")), "exit code 75");
    let why = failed(ErrorKind::Permanent, world.script("no-such-program"));
    assert!(why.starts_with("exit code 127: "), "{why}");
    let why = failed(ErrorKind::Retryable, world.script("echo out; echo '{\"ok\":true}'; exit 3"));
    assert_eq!(why, "exit code 3: {\"ok\":true}");

    let mut spec = command_spec(&["sh", "-c", "exit $MOA_PARAM_CODE"]);
    (spec.retry_exit_codes, spec.permanent_exit_codes) = (vec![64], vec![1]);
    world.declare([agent("agent", AgentKind::Command(spec))]);
    let run = |code: i32| world.run(world.task("agent", json!({"code": code})));
    failed(ErrorKind::Retryable, run(64));
    failed(ErrorKind::Permanent, run(1));
}

#[test]
fn programs_that_cannot_be_started_say_why() {
    let world = World::new();
    std::fs::write(world.path("plain"), "hello").expect("a file");
    let why = |argv: &[&str], cwd: Option<&str>| {
        let mut spec = command_spec(argv);
        spec.cwd = cwd.map(str::to_owned);
        world.declare([agent("agent", AgentKind::Command(spec))]);
        failed(ErrorKind::Permanent, world.run(world.task("agent", json!({}))))
    };
    assert!(why(&["no-such-program"], None).starts_with("there is no program \"no-such-program\""));
    assert!(why(&["plain"], None).ends_with("write ./plain"));
    assert!(why(&["./missing/x"], None).contains("there is no program"));
    assert!(why(&["./plain"], None).contains("chmod +x"));
    assert!(why(&[], None).contains("empty"));
    assert!(why(&["true", "a\0b"], None).contains("NUL"));
    assert!(why(&["true", &"x".repeat(200_000)], None).contains("too long"));
    assert!(why(&["true"], Some("../x")).contains("not beneath"));
    assert!(why(&["true"], Some("/etc")).contains("not beneath"));
    assert!(why(&["true"], Some("gone")).contains("doesn't exist"));

    use std::os::unix::fs::PermissionsExt as _;
    let executable = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(world.path("plain"), executable).expect("made executable");
    assert!(why(&["./plain"], None).contains("#!"));

    let mut task = world.task("shell", json!({"script": "true"}));
    task.env = with_secret(json!({"A=B": "x"}), &[]);
    assert!(failed(ErrorKind::Permanent, world.run(task)).contains("can't be the name"));
}

#[test]
fn limits_hold() {
    let world = World::new();
    let script = "until [ \"$(ulimit -n)\" = 64 ]; do :; done
        until [ \"$(ulimit -f)\" = 8 ]; do :; done
        ulimit -t; ulimit -v; head -c 100000 /dev/zero > big";
    let mut spec = command_spec(&["sh", "-c", script]);
    spec.limits = ProcessLimits {
        memory_bytes: Some(1 << 30),
        cpu_seconds: Some(77),
        files: Some(64),
        file_bytes: Some(4096),
    };
    world.declare([agent("agent", AgentKind::Command(spec))]);
    let task = world.task("agent", json!({}));
    failed(ErrorKind::Retryable, world.run(task.clone()));
    // What came over the other pipe may stand before it.
    assert!(world.log(&task).contains("77\n1048576\n"), "{}", world.log(&task));
    assert_eq!(std::fs::metadata(world.path("big")).expect("a file").len(), 4096);
}

#[test]
fn shell_scripts_run_in_the_project_and_stop_at_the_first_error() {
    let world = World::new();
    std::fs::create_dir(world.path("sub")).expect("a folder");
    let run = |params: Json| world.run(world.task("shell", params));
    let script = json!({"script": "printf '\"%s\"' \"$(basename \"$PWD\")\"", "cwd": "sub"});
    assert_eq!(output(run(script)), json!("sub"));
    assert_eq!(output(run(json!({"run": "echo '{\"half\":'"}))), json!(null));
    failed(ErrorKind::Retryable, run(json!({"script": "false\ntouch reached"})));
    assert!(!world.path("reached").exists());
    failed(ErrorKind::Permanent, run(json!({"script": 1})));
    failed(ErrorKind::Permanent, run(json!({})));
    let long = json!({"script": format!(": {}", "x".repeat(130 << 10))});
    assert!(failed(ErrorKind::Permanent, run(long)).contains("put it in a file"));

    let task = world.task("shell", json!({"script": "echo '{\"a\": 1, \"a\": 2}'"}));
    assert_eq!(output(world.run(task.clone())), json!(null));
    assert!(world.log(&task).contains("[moa: standard output was not taken as a result: the key"));
}

#[test]
fn a_secret_in_a_script_is_not_in_the_arguments() {
    let world = World::new();
    let script = "[  = topsecret-7f3c9e ] && [ -z \"$MOA_SCRIPT\" ]
        tr '\\0' ' ' < /proc/$$/cmdline > cmdline";
    let mut task = world.task("shell", json!(null));
    task.params = with_secret(json!({"script": script}), &[("/script", 2, "TOKEN")]);
    output(world.run(task));
    let arguments = std::fs::read_to_string(world.path("cmdline")).expect("a file");
    assert!(arguments.starts_with("sh -e -c eval"), "{arguments}");
    assert!(!arguments.contains("topsecret"), "{arguments}");
}

#[test]
fn the_work_folder_is_shared_by_a_run_and_kept_when_used() {
    let world = World::new();
    world.declare([command("agent", "cd \"$MOA_WORK_DIR\" && echo x >> file")]);
    let task = world.task("agent", json!({}));
    output(world.run(task.clone()));
    output(world.run(task.clone()));
    let file = world.path(&format!(".moa/work/{}/file", task.run));
    assert_eq!(std::fs::read_to_string(file).expect("a file"), "x\nx\n");
}

/// Whether a line of `ls -l /proc/self/fd` shows a descriptor that this process opened itself, and
/// didn't inherit from who started it.
fn is_own(line: &str) -> bool {
    let Some((left, target)) = line.split_once(" -> ") else { return false };
    let fd: i32 = left.rsplit(' ').next().and_then(|fd| fd.parse().ok()).expect("a number");
    let here = std::fs::read_link(format!("/proc/self/fd/{fd}")).unwrap_or_default();
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).unwrap_or_default();
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
    let flags = flags.and_then(|flags| i64::from_str_radix(flags.trim(), 8).ok());
    let closed_on_exec = flags.is_some_and(|flags| flags & 0o2_000_000 != 0);
    fd > 2 && closed_on_exec && here.to_str() == Some(target)
}
