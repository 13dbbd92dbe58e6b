//! A node under test, and a client of its socket.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};

use crate::project::{Project, binary};

/// How long anything may take before a test gives up on it.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// A running `moa up`. Killed when dropped.
pub struct Node {
    process: Child,
    state: PathBuf,
    /// What it printed.
    log: PathBuf,
}

impl Node {
    /// Starts a node; doesn't wait for it.
    pub fn spawn(project: &Project) -> Self {
        Self::spawn_by(Command::new(binary()), project)
    }

    /// Starts a node through another program, to which `moa up` is given.
    pub fn spawn_by(mut command: Command, project: &Project) -> Self {
        let log = project.ledger.with_file_name("node.log");
        let out = File::options().create(true).append(true).open(&log).expect("the node's log");
        let errors = out.try_clone().expect("the node's log");
        command.arg("up").current_dir(&project.dir).env("MOA_ALLOW_ROOT", "true");
        command.env("MOA_SERVER_ENABLED", "false");
        command.stdin(Stdio::null()).stdout(out).stderr(errors);
        let process = command.spawn().expect("moa can be started");
        Self { process, state: project.dir.join(".moa"), log }
    }

    /// Starts a node and waits until it answers.
    pub fn start(project: &Project) -> Self {
        let mut node = Self::spawn(project);
        node.wait_ready();
        node
    }

    /// Waits until it answers.
    pub fn wait_ready(&mut self) -> Client {
        let client = self.ready_or_dead();
        client.unwrap_or_else(|| panic!("moa up ended\n{}", self.said()))
    }

    /// Waits until it answers; `None` when it has ended.
    pub fn ready_or_dead(&mut self) -> Option<Client> {
        let start = Instant::now();
        loop {
            match self.try_connect() {
                Ok(client) => return Some(client),
                Err(e) if start.elapsed() > PATIENCE => panic!("not ready: {e}\n{}", self.said()),
                Err(_) => pass(Duration::from_millis(1)),
            }
            if self.process.try_wait().expect("its status").is_some() {
                return None;
            }
        }
    }

    /// Connects to it, if it is there already.
    pub fn try_connect(&self) -> io::Result<Client> {
        Client::connect(&self.state)
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// What it printed.
    pub fn said(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let from = text.len().saturating_sub(4000);
        text.get(from..).unwrap_or(&text).to_owned()
    }

    /// Ends it at once, as a crash would.
    pub fn kill9(mut self) {
        let _ = self.process.kill();
        self.process.wait().expect("it can be awaited");
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        self.process.wait().expect("it can be awaited")
    }

    /// Asks it to stop, and waits.
    pub fn stop(mut self) {
        let pid = i32::try_from(self.pid()).ok().and_then(rustix::process::Pid::from_raw);
        let pid = pid.expect("a process has a number");
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("SIGTERM");
        let status = self.wait();
        assert!(status.success(), "moa up ended: {status}\n{}", self.said());
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A connection to a node.
pub struct Client {
    stream: BufReader<UnixStream>,
    /// The node's process.
    pub pid: u32,
}

impl Client {
    /// Connects and greets. `state` is the project's `.moa` folder.
    pub fn connect(state: &Path) -> io::Result<Self> {
        let far = fs::read_to_string(state.join("socket")).unwrap_or_default();
        let path = match far.trim() {
            "" => state.join("moa.sock"),
            path => PathBuf::from(path),
        };
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut client = Self { stream: BufReader::new(stream), pid: 0 };
        let reply = client.ask(&json!({"op": "hello", "protocol": 2}))?;
        match reply["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok()) {
            Some(pid) => Ok(Self { pid, ..client }),
            None => Err(io::Error::other(format!("not greeted but {reply}"))),
        }
    }

    /// Asks, and waits for the reply.
    pub fn ask(&mut self, request: &Json) -> io::Result<Json> {
        self.send(request)?;
        self.receive()
    }

    /// Asks; doesn't wait.
    pub fn send(&mut self, request: &Json) -> io::Result<()> {
        self.stream.get_mut().write_all(format!("{request}\n").as_bytes())
    }

    /// Waits for the next reply.
    pub fn receive(&mut self) -> io::Result<Json> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 || !line.ends_with('\n') {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        serde_json::from_str(&line).map_err(io::Error::other)
    }

    /// Whether a reply is there already; it is left there.
    pub fn has_reply(&mut self) -> bool {
        let stream = self.stream.get_ref();
        stream.set_nonblocking(true).expect("it can be set");
        let there = self.stream.fill_buf().is_ok_and(|bytes| !bytes.is_empty());
        self.stream.get_ref().set_nonblocking(false).expect("it can be set");
        there
    }

    /// Takes all replies that come within this time.
    pub fn receive_within(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while let Some(left) = end.checked_duration_since(Instant::now()).filter(|l| !l.is_zero()) {
            let waiting = self.stream.get_ref().set_read_timeout(Some(left));
            if waiting.is_err() || self.receive().is_err() {
                return;
            }
        }
    }

    /// Starts a run. The outer error means that nobody knows; the inner one, that it was refused.
    pub fn start(
        &mut self,
        workflow: &str,
        params: Json,
        key: &str,
    ) -> io::Result<Result<String, Json>> {
        let request = json!({
            "op": "start", "workflow": workflow, "params": params,
            "idempotency_key": key, "cause": "test",
        });
        let reply = self.ask(&request)?;
        let run = reply["outcome"]["run"].as_str().map(str::to_owned);
        Ok(run.ok_or(reply))
    }

    /// Changes a run; see [`Client::start`] about the errors.
    pub fn change(&mut self, run: &str, change: Json) -> io::Result<Result<(), Json>> {
        let reply = self.ask(&json!({"op": "change", "run": run, "change": change}))?;
        Ok(if reply["reply"] == "changed" { Ok(()) } else { Err(reply) })
    }

    /// Sends the signal `go`.
    pub fn go(&mut self, run: &str) -> io::Result<Result<(), Json>> {
        self.change(run, json!({"change": "signal", "name": "go", "key": "go", "payload": null}))
    }
}

/// Lets time pass. For moments that are chosen by chance and for asking again whether something is
/// there that can't announce itself; never to wait for what could be awaited.
pub fn pass(time: Duration) {
    std::thread::sleep(time);
}
