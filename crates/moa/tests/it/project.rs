//! A temporary project, and the binary called on it.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use serde_json::Value as Json;

/// A project in a temporary folder.
pub struct Project {
    dir: tempfile::TempDir,
    pub root: PathBuf,
}

impl Drop for Project {
    /// Programs outlive a node that was killed, for the next one to find: here there is none.
    fn drop(&mut self) {
        let mine = |pid: &i32| {
            let folder = std::fs::read_link(format!("/proc/{pid}/cwd"));
            folder.is_ok_and(|folder| folder.starts_with(self.dir.path()))
        };
        let all = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        for pid in pids.filter(mine).filter_map(rustix::process::Pid::from_raw) {
            // It may have ended.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
}

/// What a command said.
pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Said {
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout: {}\nstderr: {}", self.out, self.err);
        self
    }

    #[track_caller]
    pub fn json(&self) -> Json {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {}", self.out))
    }

    pub fn json_lines(&self) -> Vec<Json> {
        let lines = self.out.lines();
        lines.map(|l| serde_json::from_str(l).expect("a line of JSON")).collect()
    }
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        Self {
            // A signal is no exit code.
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// The binary, in a clean environment.
pub fn moa() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_moa"));
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    // Tests run as root in many places.
    command.env("MOA_ALLOW_ROOT", "true").stdin(Stdio::null());
    // Nodes of many tests run at once.
    command.env("MOA_SERVER_LISTEN", "127.0.0.1:0");
    command
}

/// Says that a test is left out, and why.
pub fn skip(test: &str, why: &str) {
    eprintln!("left out: {test}: {why} (cargo xtask test says how to get it)");
    if let Some(folder) = std::env::var_os("MOA_TEST_SKIPS") {
        std::fs::write(std::path::Path::new(&folder).join(test), why).expect("a note");
    }
}

/// Calls the binary in `dir`.
pub fn call_in(dir: &Path, args: &[&str]) -> Said {
    moa().current_dir(dir).args(args).output().expect("it can be started").into()
}

/// Starts a node for the project in `dir`, and waits until it is ready.
pub fn up_in(dir: &Path) -> Node {
    let mut command = moa();
    command.current_dir(dir).arg("up");
    Node::start(command)
}

impl Project {
    /// A project without workflows.
    pub fn empty() -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let root = dir.path().join("shop");
        std::fs::create_dir_all(root.join("workflows")).expect("mkdir");
        let root = root.canonicalize().expect("it is there");
        let project = Self { dir, root };
        project.write("moa.yaml", "name: shop\n");
        project
    }

    /// A project with one workflow.
    pub fn with(name: &str, workflow: &str) -> Self {
        let project = Self::empty();
        project.workflow(name, workflow);
        project
    }

    /// A project made from a template.
    pub fn of_template(template: &str) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        call_in(dir.path(), &["init", "shop", "--template", template]).expect(0);
        let root = dir.path().join("shop").canonicalize().expect("it is there");
        Self { dir, root }
    }

    /// Waits until there is such a file.
    pub fn wait_for(&self, path: &str) {
        while !self.root.join(path).exists() {
            std::thread::yield_now();
        }
    }

    /// The folder that the project's folder is in.
    pub fn outside(&self) -> &Path {
        self.dir.path()
    }

    pub fn write(&self, path: &str, text: &str) {
        let path = self.root.join(path);
        std::fs::create_dir_all(path.parent().expect("it is in a folder")).expect("mkdir");
        std::fs::write(path, text).expect("it can be written");
    }

    pub fn workflow(&self, name: &str, text: &str) {
        self.write(&format!("workflows/{name}.yaml"), text);
    }

    pub fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.root.join(path)).expect("it can be read")
    }

    /// Waits for a file that a process writes its number to.
    pub fn pid_in(&self, path: &str) -> i32 {
        loop {
            let text = std::fs::read_to_string(self.root.join(path)).unwrap_or_default();
            match text.strip_suffix('\n').and_then(|text| text.parse().ok()) {
                Some(pid) => return pid,
                None => std::thread::yield_now(),
            }
        }
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = moa();
        command.current_dir(&self.root).args(args);
        command
    }

    pub fn call(&self, args: &[&str]) -> Said {
        self.command(args).output().expect("it can be started").into()
    }

    /// Runs a workflow and answers its result.
    #[track_caller]
    pub fn run(&self, workflow: &str) -> Json {
        self.call(&["run", workflow, "--json"]).expect(0).json()
    }

    /// Starts a node, and waits until it is ready.
    pub fn up(&self) -> Node {
        Node::start(self.command(&["up"]))
    }

    /// Starts a node with flags, and waits until it is ready.
    pub fn up_with(&self, flags: &[&str]) -> Node {
        Node::start(self.command(&[&["up"], flags].concat()))
    }

    /// Follows all events; see [`Events::until`].
    pub fn events(&self) -> Events {
        let mut command = self.command(&["events", "tail", "--follow", "--json", "-n", "1000000"]);
        let mut child = command.stdout(Stdio::piped()).spawn().expect("it can be started");
        let lines = BufReader::new(child.stdout.take().expect("it is piped"));
        Events { child, lines }
    }
}

/// A node, killed when dropped.
pub struct Node {
    child: Child,
    /// What it said until it was ready.
    pub said: String,
    lines: Receiver<String>,
}

impl Node {
    /// A node of the project in a folder.
    pub fn start_in(root: &Path) -> Self {
        let mut command = moa();
        command.current_dir(root).arg("up");
        Self::start(command)
    }

    pub fn start(command: Command) -> Self {
        Self::start_until(command, "ready")
    }

    /// Starts a command, and waits until it says a line that starts so.
    pub fn start_until(mut command: Command, start: &str) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().expect("it can be started");
        let stderr = BufReader::new(child.stderr.take().expect("it is piped"));
        let (sender, lines) = channel();
        // Read to the end, so that the node never waits for a reader.
        std::thread::spawn(move || {
            stderr.lines().map_while(Result::ok).for_each(|line| drop(sender.send(line)));
        });
        let mut node = Self { child, said: String::new(), lines };
        node.said = node.until(start);
        node
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a line that starts so; answers all up to it.
    pub fn until(&self, start: &str) -> String {
        let mut said = String::new();
        loop {
            let line = self.lines.recv().unwrap_or_else(|_| panic!("the node has ended: {said}"));
            said.push_str(&format!("{line}\n"));
            if line.starts_with(start) {
                return said;
            }
        }
    }

    /// Lets it go on for so long.
    pub fn watch(&self, time: Duration) {
        let end = Instant::now() + time;
        while let Some(left) = end.checked_duration_since(Instant::now()) {
            match self.lines.recv_timeout(left) {
                Ok(_) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => panic!("the node has ended"),
            }
        }
    }

    /// A crash.
    pub fn kill(mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it can be waited for");
    }

    /// SIGTERM; answers the exit code and what it said meanwhile.
    pub fn stop(self) -> (i32, String) {
        signal(self.pid(), rustix::process::Signal::TERM);
        self.ended()
    }

    /// Waits for its end; answers the exit code and what it said meanwhile.
    pub fn ended(mut self) -> (i32, String) {
        let rest: Vec<String> = self.lines.iter().collect();
        let status = self.child.wait().expect("it can be waited for");
        (status.code().unwrap_or(-1), rest.join("\n"))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether a process lives (and isn't a zombie).
pub fn lives(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(')').map(|(_, rest)| rest.trim_start().starts_with(['Z', 'X']));
    state == Some(false)
}

pub fn signal(pid: u32, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(pid.try_into().expect("it is small"));
    rustix::process::kill_process(pid.expect("it is not 0"), signal).expect("it lives");
}

/// The events of a project as they happen.
pub struct Events {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
}

impl Events {
    /// Waits for an event of a type about a step, or about a run.
    pub fn until(&mut self, kind: &str, step: &str) -> Json {
        loop {
            let mut line = String::new();
            let read = self.lines.read_line(&mut line).expect("it can be read");
            assert!(read > 0, "no {kind} of {step:?} came");
            let event: Json = serde_json::from_str(&line).expect("a line of JSON");
            let subject = event["subject"].as_str().unwrap_or_default();
            if event["type"] == format!("moa.{kind}") && subject == step {
                return event;
            }
        }
    }
}

impl Events {
    /// Waits for several events, in whatever order they come.
    pub fn until_all(&mut self, wanted: &[(&str, &str)]) {
        let mut wanted = wanted.to_vec();
        while !wanted.is_empty() {
            let mut line = String::new();
            let read = self.lines.read_line(&mut line).expect("it can be read");
            assert!(read > 0, "{wanted:?} did not come");
            let event: Json = serde_json::from_str(&line).expect("a line of JSON");
            let subject = event["subject"].as_str().unwrap_or_default();
            let is_it = |(kind, step): &(&str, &str)| {
                event["type"] == format!("moa.{kind}") && subject == *step
            };
            if let Some(place) = wanted.iter().position(is_it) {
                wanted.remove(place);
            }
        }
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
