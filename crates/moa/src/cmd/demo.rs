//! `moa demo`: a new project, real workflows, and a crash in the middle of one of them.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use moa_core::ids::{Name, RunId};
use moa_core::machine::Run;
use moa_core::run::RunStatus;
use moa_core::step::StepStatus;
use moa_engine::handle::Started;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Map;
use tokio::time::Instant;

use super::follow::{Followed, Watching, follow};
use super::{Context, runtime};
use crate::control::client::Client;
use crate::control::protocol::StartRun;
use crate::exit::{Exit, Failure, Result};
use crate::live::{Mode, Screen};
use crate::node;
use crate::place::Place;
use crate::project::Layout;
use crate::reader::Reader;
use crate::template;
use crate::ui::{Style, Ui};
use crate::view::attempts::{Outcome, of_history};
use crate::view::{now, summary};

/// How long a node may take until it can be talked to.
const START_WAIT: Duration = Duration::from_secs(20);
/// How long the killed node stays dead, so that a reader sees it.
const DEAD_FOR: Duration = Duration::from_millis(800);
/// How long a node may take to stop.
const STOP_WAIT: Duration = Duration::from_secs(10);

/// The workflows that are run, in order, with what they do; the marked one is interrupted.
const ACTS: [(&str, &str, bool); 3] = [
    ("data-processing-pipeline", "takes in a CSV file, cleans, checks and analyses it", false),
    ("build-project", "scaffolds a small project, builds, tests, scans and deploys it", true),
    ("project-audit", "lets ten agents look at the result at the same time", false),
];

/// See it work.
#[derive(Debug, clap::Args)]
#[command(long_about = "\
See it work: makes a project in a new folder, starts a node for it, runs real workflows and shows
their steps. In the middle of one the node is killed (kill -9) and started again; the run goes on
where it was. Everything happens in the new folder, which is kept.")]
#[command(after_help = "\
Examples:
  moa demo
  moa demo /tmp/try-moa")]
pub struct Args {
    /// The folder to make [default: moa-demo, or moa-demo-2, …]
    dir: Option<PathBuf>,
}

/// Shows moa at work.
pub fn run(args: Args, context: &Context) -> Result {
    context.require_here()?;
    context.no_json("a demonstration")?;
    let folder = match args.dir {
        Some(folder) => folder,
        None => free_name("moa-demo"),
    };
    let ui = &context.ui;
    template::make(template::find("project-build")?, &folder)?;
    if node::user::judge(true) == node::user::Verdict::Warn {
        ui.warn(node::user::WARNING);
    }
    title(ui, &format!("A new project in {}", folder.display()));
    ui.line("nineteen agents, each a shell script in agents/scripts; workflows in workflows/");
    let root = std::fs::canonicalize(&folder)
        .map_err(|e| Failure::io(format!("can't open {}", folder.display()), &e))?;
    let layout = Layout { root };
    let runtime = runtime()?;
    let exit = runtime.block_on(play(&layout, &folder, context));
    runtime.shutdown_background();
    exit
}

fn free_name(name: &str) -> PathBuf {
    let names = std::iter::once(name.to_owned()).chain((2..).map(|n| format!("{name}-{n}")));
    names.map(PathBuf::from).find(|path| !path.exists()).unwrap_or_else(|| name.into())
}

fn title(ui: &Ui, text: &str) {
    ui.line(&format!("\n{}", ui.paint(Style::Bold, &format!("── {text}"))));
}

async fn play(layout: &Layout, folder: &Path, context: &Context) -> Result {
    let ui = &context.ui;
    let mut node = Server::start(layout)?;
    let pid = node.wait_until_ready(layout).await?;
    title(ui, &format!("A node serves it: moa up, process {pid}"));
    let reader = crate::wire::require_reader(layout)?;
    let mut interrupted = None;
    for (workflow, about, kill) in ACTS {
        title(ui, &format!("moa run {workflow}: {about}"));
        let id = start(layout, workflow).await?;
        let mut act = Act { layout, node: &mut node, kill, killed: None, again: false };
        let mut screen = Screen::new(ui, true);
        let place = Place::Here(layout.clone());
        let watching = Watching { place: &place, reader: &reader, run: id, take_over: false };
        let mut observe = |run: &Run, screen: &mut Screen<'_>| act.observe(run, screen);
        let followed = follow(context, watching, &mut screen, &mut observe).await?;
        let Followed::Ended(run) = followed else {
            node.stop().await;
            if ui.closed() {
                return Ok(Exit::Ok);
            }
            ui.note(&format!("run {id} of {workflow} is left as it is, and nothing of it is lost"));
            ui.hint(&format!("`cd {}`, then `{} up` goes on with it", folder.display(), program()));
            return Ok(Exit::Interrupted);
        };
        if kill {
            interrupted = Some(id);
        }
        if screen.mode() == Mode::Lines {
            ui.line(&summary::headline(&run, now(), ui.out_color()));
        }
        if run.row.status != RunStatus::Succeeded {
            node.stop().await;
            return Err(Failure::new(
                Exit::Failed,
                format!("the run of {workflow} did not succeed"),
            )
            .hint(format!("moa --project {} runs why {id}", folder.display())));
        }
    }
    node.stop().await;
    if let Some(id) = interrupted {
        explain(ui, &reader, id).await?;
    }
    next(ui, folder);
    Ok(Exit::Ok)
}

async fn start(layout: &Layout, workflow: &str) -> Result<RunId> {
    let client = Client::connect(&layout.state()).await?;
    let mut client = client.ok_or_else(|| Failure::refused("the node of the demo is gone"))?;
    let start = StartRun {
        workflow: Name::new(workflow).expect("these are names"),
        version: None,
        params: Map::new(),
        texts: Vec::new(),
        idempotency_key: None,
        priority: None,
        trace: None,
        cause: "demo".into(),
    };
    match client.start(start).await?.0 {
        Started::New { run } | Started::Existing { run } => Ok(run),
        Started::Skipped => Err(Failure::refused(format!("{workflow} was skipped"))),
    }
}

/// One workflow of the demo, and the crash in it.
struct Act<'a> {
    layout: &'a Layout,
    node: &'a mut Server,
    kill: bool,
    killed: Option<Instant>,
    again: bool,
}

impl Act<'_> {
    /// Kills the node once some steps are done and others run, and starts it again later.
    fn observe(&mut self, run: &Run, screen: &mut Screen<'_>) -> Result<()> {
        if !self.kill {
            return Ok(());
        }
        let count = |status| run.steps().filter(|row| row.status == status).count();
        match self.killed {
            None if count(StepStatus::Succeeded) > 0 && count(StepStatus::Running) > 0 => {
                let pid = self.node.kill()?;
                screen
                    .say(&format!("!! kill -9 {pid}: the node is dead in the middle of its work"));
                self.killed = Some(Instant::now());
            }
            Some(at) if !self.again && at.elapsed() > DEAD_FOR => {
                *self.node = Server::start(self.layout)?;
                self.again = true;
                let pid = self.node.pid();
                screen
                    .say(&format!("!! moa up again, process {pid}: the run goes on where it was"));
            }
            _ => {}
        }
        Ok(())
    }
}

/// Says what the crash cost: which attempts were lost and made again, and which were not.
async fn explain(ui: &Ui, reader: &Reader, id: RunId) -> Result<()> {
    let run = reader.run(id).await?;
    let attempts = of_history(&reader.history(id, 0).await?);
    let mut again: Vec<String> = Vec::new();
    let mut once = 0;
    for (inst, made) in &attempts {
        let succeeded = made.iter().filter(|a| a.outcome == Some(Outcome::Succeeded)).count();
        debug_assert!(succeeded <= 1, "a step's result is accepted once");
        match made.len() {
            1 => once += 1,
            n => again.push(format!("{} ({n} attempts)", run.step_name(*inst))),
        }
    }
    title(ui, "What the crash cost");
    ui.line(&format!("{once} steps were done once, before it or after it; none was lost"));
    if !again.is_empty() {
        ui.line(&format!("at work when the node died, and done again: {}", again.join(", ")));
    }
    Ok(())
}

fn next(ui: &Ui, folder: &Path) {
    title(ui, "What to look at next");
    let moa = program();
    ui.line(&format!("  cd {}", folder.display()));
    for (command, about) in [
        ("runs list", "the runs that you have just seen"),
        ("runs history last", "everything that happened in the newest one"),
        ("runs logs last", "what its agents wrote"),
        ("run incident-drill --watch", "a bad release goes live, and monitoring takes it back"),
        ("workflows graph build-project", "a workflow as a drawing (Mermaid)"),
        ("test", "the tests of the workflows, on virtual time"),
        ("up", "serve the project until stopped"),
    ] {
        let command = format!("{moa} {command}");
        ui.line(&format!("  {command:<38} {}", ui.paint(Style::Dim, about)));
    }
    ui.line(&format!(
        "  {:<38} {}",
        "cat apps/my-project/README.md",
        ui.paint(Style::Dim, "the application that the agents have built")
    ));
}

/// How to call this moa: its name when the shell finds it so, else its path.
fn program() -> String {
    let Ok(own) = std::env::current_exe() else { return "moa".into() };
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|dir| dir.join("moa")).find(|p| p.is_file());
    let same =
        found.and_then(|p| std::fs::canonicalize(p).ok()) == std::fs::canonicalize(&own).ok();
    if same { "moa".into() } else { own.display().to_string() }
}

/// The node of the demo: a process of its own, so that it can really be killed.
struct Server {
    child: Child,
}

impl Server {
    fn start(layout: &Layout) -> Result<Self> {
        let failed = |e: &std::io::Error| Failure::io("can't start a node", e);
        let own = std::env::current_exe().map_err(|e| failed(&e))?;
        let state = layout.state();
        std::fs::create_dir_all(&state).map_err(|e| failed(&e))?;
        let output = File::create(state.join("demo-node.txt")).map_err(|e| failed(&e))?;
        let child = Command::new(own)
            .args(["--color", "never", "--project"])
            .arg(&layout.root)
            // It was asked for by whoever started the demo; who is warned.
            .args(["up", "--drain", "5s", "--allow-root"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(output)
            .spawn()
            .map_err(|e| failed(&e))?;
        Ok(Self { child })
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }

    async fn wait_until_ready(&mut self, layout: &Layout) -> Result<u32> {
        let deadline = Instant::now() + START_WAIT;
        while Instant::now() < deadline {
            if Client::connect(&layout.state()).await?.is_some() {
                return Ok(self.pid());
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                let said = std::fs::read_to_string(layout.state().join("demo-node.txt"));
                let text = format!("the node ended at once ({status})");
                return Err(Failure::new(Exit::Unavailable, text).detail(said.unwrap_or_default()));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Err(Failure::new(Exit::Unavailable, "the node doesn't get ready")
            .hint(format!("see {}", layout.state().join("log/moa.log").display())))
    }

    /// SIGKILL, as a crash would be.
    fn kill(&mut self) -> Result<u32> {
        let pid = self.pid();
        let killed = self.child.kill().and_then(|()| self.child.wait());
        killed.map_err(|e| Failure::io(format!("can't kill {pid}"), &e))?;
        Ok(pid)
    }

    async fn stop(&mut self) {
        if let Some(pid) = i32::try_from(self.pid()).ok().and_then(Pid::from_raw) {
            // It may have ended already.
            let _ = kill_process(pid, Signal::TERM);
        }
        let deadline = Instant::now() + STOP_WAIT;
        while Instant::now() < deadline {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            // Nothing is lost by it; that is what the demo shows.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
