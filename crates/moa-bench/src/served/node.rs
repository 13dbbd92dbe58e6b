//! A node of the real binary, with its server.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::WORKFLOWS;
use crate::options::Options;
use crate::{machine, node};

/// A node that serves a project of its own.
pub struct Served {
    moa: PathBuf,
    project: PathBuf,
    process: Child,
    /// Where it listens: `127.0.0.1:41234`.
    pub address: String,
}

impl Served {
    /// Makes a project, and starts a node for it.
    pub fn start(options: &Options, name: &str) -> Result<Self> {
        Self::start_with(options, name, |_| Ok(()))
    }

    /// The same, with something more in the project.
    pub fn start_with(
        options: &Options,
        name: &str,
        more: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<Self> {
        let moa = node::binary()?;
        let project = options.dir.join(name);
        node::remove(&project)?;
        let mut init = Command::new(&moa);
        init.arg("init").arg(&project).args(["-t", "blank", "-q"]).stdin(Stdio::null());
        ensure!(init.status()?.success(), "moa init failed");
        for (name, text) in WORKFLOWS {
            std::fs::write(project.join(format!("workflows/{name}.yaml")), text)?;
        }
        more(&project)?;
        let mut process = command(&moa, &project)
            .args(["up", "--listen", "127.0.0.1:0"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("moa up")?;
        let said = BufReader::new(process.stderr.take().context("it is piped")?);
        let address = address(said)?;
        Ok(Self { moa, project, process, address })
    }

    /// New tokens of a role.
    pub fn tokens(&self, role: &str, count: usize) -> Result<Vec<String>> {
        let one = |i: usize| -> Result<String> {
            let name = format!("{role}-{i}");
            let args = ["token", "create", &name, "--role", role, "-q"];
            let made = command(&self.moa, &self.project).args(args).output()?;
            let said = || String::from_utf8_lossy(&made.stderr).into_owned();
            ensure!(made.status.success(), "moa token create: {}", said());
            Ok(String::from_utf8(made.stdout)?.trim().to_owned())
        };
        (0..count).map(one).collect()
    }

    /// Processor time that it has used.
    pub fn cpu_time(&self) -> Result<Duration> {
        machine::cpu_time(self.process.id())
    }

    /// Its resident memory, in bytes.
    pub fn resident_bytes(&self) -> Result<f64> {
        machine::resident_bytes(self.process.id())
    }

    /// Stops it, and deletes its project.
    pub fn stop(mut self) -> Result<()> {
        let pid = self.process.id().to_string();
        Command::new("kill").args(["-TERM", &pid]).status()?;
        ensure!(self.process.wait()?.success(), "moa up failed");
        node::remove(&self.project)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn command(moa: &Path, project: &Path) -> Command {
    let mut command = Command::new(moa);
    command.current_dir(project).env("MOA_ALLOW_ROOT", "true");
    command
}

/// Reads what a node says until it is ready; the rest is read and dropped.
fn address(mut said: impl BufRead + Send + 'static) -> Result<String> {
    let mut address = None;
    let mut line = String::new();
    while !line.trim_start().starts_with("ready") {
        line.clear();
        ensure!(said.read_line(&mut line)? > 0, "moa up ended before it was ready");
        if let Some(url) = line.trim().strip_prefix("dashboard") {
            address = url.trim().strip_prefix("http://").map(str::to_owned);
        }
    }
    std::thread::spawn(move || std::io::copy(&mut said, &mut std::io::sink()));
    address.context("moa up doesn't say where its dashboard is")
}
