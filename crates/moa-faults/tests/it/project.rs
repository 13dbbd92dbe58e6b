//! A project for the fault tests: workflows of every kind of waiting, and agents that keep a ledger.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use moa_faults::check::{Rules, Violation, check};
use moa_faults::history::{Ack, History, Mark, Run, Step, executions, parse_lines, read_lines};
use serde_json::{Value as Json, json};
use tempfile::TempDir;

use crate::node::{Node, PATIENCE};
use crate::{rows, skip};

const SETTINGS: &str = "name: faults\n";

/// Five steps that nothing but the engine and the store take part in.
const QUIET: &str = "\
name: Quiet
steps:
  - {id: quiet_1, agent: noop, action: a}
  - {id: quiet_2, agent: noop, action: b}
  - {id: quiet_3, agent: noop, action: c}
  - {id: quiet_4, agent: noop, action: d}
  - {id: quiet_5, agent: noop, action: e}
";

/// A chain, a fan-out of three, a retry, a timer, a signal.
const MIXED: &str = "\
name: Mixed
defaults:
  retry: {max_attempts: 100, backoff: constant, delay: 20ms}
steps:
  - {id: first, agent: ok, action: first}
  - id: fan
    parallel:
      - {id: left, agent: steady, action: left}
      - {id: middle, agent: flaky, action: middle}
      - {id: right, agent: ok, action: right}
  - {id: pause, sleep: 50ms}
  - {id: ask, wait_for: {signal: go}}
  - {id: last, agent: steady, action: last}
";

/// One step that takes a minute.
const LONG: &str = "\
name: Long
defaults:
  retry: {max_attempts: 100, backoff: constant, delay: 10ms}
steps:
  - {id: sleeper, agent: sleeper, action: sleep}
";

/// A step that takes a while, and another one.
const WORK: &str = "\
name: Work
defaults:
  retry: {max_attempts: 100, backoff: constant, delay: 10ms}
steps:
  - {id: slow, agent: slow, action: slow}
  - {id: after, agent: ok, action: after}
";

/// One step whose output is a large text.
const LARGE: &str = "\
name: Large
steps:
  - {id: large, agent: large, action: large}
";

/// A project in a folder of its own, deleted at the end of the test.
pub struct Project {
    _folder: Option<TempDir>,
    /// The project's folder.
    pub dir: PathBuf,
    /// Where agents write what they do. Not inside the project: a fault there must not touch it.
    pub ledger: PathBuf,
    _ledger: TempDir,
}

impl Project {
    /// A new one on disk.
    pub fn new() -> Self {
        let folder = tempfile::tempdir_in(skip::disk()).expect("a temporary folder");
        let dir = folder.path().join("project");
        Self { _folder: Some(folder), ..Self::at(&dir) }
    }

    /// A new one in this folder, which somebody else deletes.
    pub fn at(dir: &Path) -> Self {
        let beside = tempfile::tempdir_in(skip::disk()).expect("a temporary folder");
        let ledger = beside.path().join("ledger.jsonl");
        fs::write(&ledger, "").expect("the ledger");
        fs::create_dir_all(dir.join("workflows")).expect("the project");
        fs::create_dir_all(dir.join("agents")).expect("the project");
        let write = |path: &str, text: &str| fs::write(dir.join(path), text).expect("a file");
        write("moa.yaml", SETTINGS);
        let workflows =
            [("quiet", QUIET), ("mixed", MIXED), ("long", LONG), ("work", WORK), ("large", LARGE)];
        for (name, text) in workflows {
            write(&format!("workflows/{name}.yaml"), text);
        }
        let agents = [
            ("ok", "ok"),
            ("flaky", "flaky"),
            ("sleeper", "slow, '60000'"),
            ("steady", "slow, '40'"),
            ("slow", "slow, '150'"),
            ("large", "large, '1000000'"),
        ];
        for (name, mode) in agents {
            let program = env!("CARGO_BIN_EXE_moa-faults-agent");
            let text = format!("command: ['{program}', '{}', {mode}]\n", ledger.display());
            write(&format!("agents/{name}.yaml"), &text);
        }
        Self { _folder: None, dir: dir.to_owned(), ledger, _ledger: beside }
    }

    /// The store's file.
    pub fn store(&self) -> PathBuf {
        self.dir.join(".moa/moa.db")
    }

    /// Runs a command of moa in the project to its end.
    pub fn moa(&self, args: &[&str]) -> Output {
        let mut command = Command::new(binary());
        command.args(args).current_dir(&self.dir).stdin(Stdio::null());
        command.output().expect("moa can be started")
    }

    /// The standard output of a command that must succeed.
    pub fn moa_ok(&self, args: &[&str]) -> String {
        let output = self.moa(args);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "moa {args:?}: {}\n{text}{errors}", output.status);
        text
    }

    /// What agents wrote down.
    pub fn marks(&self) -> Vec<Mark> {
        read_lines(&self.ledger).expect("the ledger")
    }

    /// All runs as moa tells them.
    pub fn export(&self) -> Vec<Run> {
        parse_lines(&self.moa_ok(&["export", "--check-format"])).expect("the export")
    }

    /// Waits until no run is open, of those that wait for nothing but moa.
    pub fn wait_until_over(&self, node: &Node) {
        let start = Instant::now();
        let mut client = node.try_connect().expect("the node answers");
        client.send(&json!({"op": "subscribe"})).expect("the node stays");
        loop {
            let statuses = ["pending", "running", "waiting", "paused"];
            let mut list = vec!["runs", "list", "--json", "--limit", "3"];
            list.extend(statuses.iter().flat_map(|status| ["--status", status]));
            let open: Vec<Json> = serde_json::from_str(&self.moa_ok(&list)).expect("JSON");
            if open.is_empty() {
                return;
            }
            let (count, first) = (open.len(), &open[0]);
            assert!(start.elapsed() < PATIENCE, "{count} runs are still open: {first}");
            // Anything that happens is a reason to look again; so is silence.
            client.receive_within(Duration::from_millis(200));
        }
    }

    /// Checks everything that is known; answers the runs.
    pub fn check(&self, acks: Vec<Ack>) -> Vec<Run> {
        let ledger = executions(&self.marks());
        let history = History { acks, ledger, runs: self.export() };
        // Quiet steps have no agent outside of moa that could write anything down.
        let keeps_ledger = |step: &Step| !step.id.starts_with("quiet_");
        let found = check(&history, Rules { keeps_ledger, ..Rules::default() });
        assert!(found.is_empty(), "{} violations:\n{}", found.len(), listed(&found));
        let there = rows::check(&self.store());
        assert_eq!(there, history.runs.len(), "the export leaves something out");
        history.runs
    }
}

fn listed(found: &[Violation]) -> String {
    let lines: Vec<String> = found.iter().take(40).map(ToString::to_string).collect();
    lines.join("\n")
}

/// The binary under test: built beside these tests, or named by `MOA_BIN`.
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("MOA_BIN") {
        return path.into();
    }
    // target/debug/deps/it-HASH
    let this = std::env::current_exe().expect("this program has a path");
    let folder = this.parent().and_then(Path::parent).expect("it is in target/PROFILE/deps");
    let moa = folder.join("moa");
    assert!(moa.is_file(), "{} is missing: run `cargo build -p moa` first", moa.display());
    moa
}
