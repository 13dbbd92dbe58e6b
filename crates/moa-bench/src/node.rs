//! B5: the real binary with nothing to do: how soon it is there, and what it costs to leave it on.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::machine;
use crate::options::Options;
use crate::report::Figure;

/// How long it may take to be ready before the bench gives up.
const READY_MAX: Duration = Duration::from_secs(30);

/// Memory, processor time, cold start and size of `moa up` on the blank template, its server
/// included.
pub fn idle(options: &Options) -> Result<Figure> {
    let moa = binary()?;
    let project = options.dir.join("b5");
    remove(&project)?;
    let mut init = Command::new(&moa);
    init.arg("init").arg(&project).args(["--template", "blank", "--quiet"]);
    ensure!(init.stdin(Stdio::null()).status()?.success(), "moa init failed");
    let mut starts = Vec::new();
    for _ in 0..options.size(7, 2) {
        remove(&project.join(".moa"))?;
        let (node, seconds) = Node::start(&moa, &project, true)?;
        starts.push(seconds * 1e3);
        node.stop()?;
    }
    let (node, _) = Node::start(&moa, &project, true)?;
    // What is done once after the start isn't what it costs to leave it on.
    std::thread::sleep(Duration::from_secs(1));
    let pid = node.process.id();
    let (start, before) = (Instant::now(), machine::cpu_time(pid)?);
    std::thread::sleep(Duration::from_secs(options.size(10, 3)));
    let used = machine::cpu_time(pid)?.saturating_sub(before);
    let share = used.as_secs_f64() / start.elapsed().as_secs_f64() * 100.0;
    let memory = machine::resident_bytes(pid)?;
    node.stop()?;
    let (bare, _) = Node::start(&moa, &project, false)?;
    std::thread::sleep(Duration::from_secs(options.size(4, 2)));
    let without = machine::resident_bytes(bare.process.id())?;
    bare.stop()?;
    remove(&project)?;
    let starts = Figure::median(starts, "", "");
    let mut figure = Figure::new(memory / 1e6, "MB", "≤ 25 MB, < 0.1 % CPU, ready ≤ 100 ms");
    figure.note("idle_cpu_percent", share);
    figure.note("cold_start_to_ready_ms", starts.value());
    figure.note("without_server_mb", without / 1e6);
    figure.note("binary_mb", std::fs::metadata(&moa)?.len() as f64 / 1e6);
    Ok(figure)
}

/// The release binary: it is built into the same folder as this program.
pub fn binary() -> Result<PathBuf> {
    let this = std::env::current_exe()?;
    let moa = this.with_file_name("moa");
    ensure!(moa.is_file(), "{} is missing: cargo build --release -p moa", moa.display());
    Ok(moa)
}

/// Removes a folder, if it is there.
pub fn remove(dir: &Path) -> Result<()> {
    match std::fs::remove_dir_all(dir) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(e).with_context(|| format!("removing {}", dir.display()))
        }
        _ => Ok(()),
    }
}

struct Node {
    process: Child,
}

impl Node {
    /// Starts `moa up`; answers once its socket answers, with the seconds until then.
    fn start(moa: &Path, project: &Path, server: bool) -> Result<(Self, f64)> {
        let start = Instant::now();
        let mut command = Command::new(moa);
        command.args(["up", "--listen", "127.0.0.1:0"]).current_dir(project);
        command.env("MOA_ALLOW_ROOT", "true").env("MOA_SERVER_ENABLED", server.to_string());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut node = Self { process: command.spawn().context("moa up")? };
        let socket = project.join(".moa/moa.sock");
        while !greets(&socket) {
            if let Some(status) = node.process.try_wait()? {
                bail!("moa up ended: {status}");
            }
            ensure!(start.elapsed() < READY_MAX, "moa up isn't ready after 30 s");
            std::thread::sleep(Duration::from_micros(300));
        }
        Ok((node, start.elapsed().as_secs_f64()))
    }

    /// Asks it to stop, and waits.
    fn stop(mut self) -> Result<()> {
        let pid = self.process.id().to_string();
        Command::new("kill").args(["-TERM", &pid]).status()?;
        let status = self.process.wait()?;
        ensure!(status.success(), "moa up ended: {status}");
        Ok(())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn greets(socket: &Path) -> bool {
    let Ok(mut stream) = UnixStream::connect(socket) else { return false };
    let asked = stream.write_all(b"{\"op\":\"hello\",\"protocol\":2}\n");
    let mut line = String::new();
    asked.is_ok()
        && BufReader::new(stream).read_line(&mut line).is_ok()
        && line.contains("\"hello\"")
}
