//! `moa up`

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use moa_core::time::Span;
use moa_server::auth::role::Role;
use tokio::signal::unix::{SignalKind, signal};

use super::{Context, runtime};
use crate::exit::{Exit, Failure, Result};
use crate::memory;
use crate::node::door::Wanted;
use crate::node::{self, Node, Options, Running, Start, lock, supervisor, user};
use crate::place::Place;
use crate::project::{self, Layout};
use crate::text;
use crate::triggers::{self, Which};
use crate::view::now;

/// How long the engine may take to end once nothing is waited for any more.
const LAST_WAIT: Duration = Duration::from_secs(20);
/// Time between two looks at what a stop waits for.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How long nothing is told during a stop while nothing changes.
const TELL_EVERY: Duration = Duration::from_secs(15);

/// How long a node waits for another one that has the project only for a run, or for a backup.
const PASSING_MAX: Duration = Duration::from_secs(60);
/// Time between two tries to start.
const TRY_EVERY: Duration = Duration::from_millis(200);

/// How long after its start a node that has nothing to do has done everything once.
const SETTLED_AFTER: Duration = Duration::from_secs(3);

/// Serve the project until stopped.
#[derive(Debug, clap::Args)]
#[command(long_about = "\
Serve the project until stopped. State is kept in .moa/moa.db; other commands talk to the node
through a local socket, programs and browsers through http://127.0.0.1:3020. Edits of workflows and
agents hold from the next run on; a broken edit is reported, and the last good version stays. A run
of `moa run` or a backup that has the project just now is waited for, a minute at most.

SIGTERM or Ctrl-C stops it: no new attempt starts, running ones get up to --drain to end, the rest
is stopped and done again at the next start. A second one stops at once.")]
#[command(after_help = "\
Examples:
  moa up
  moa up --drain 30s -v
  moa up --listen 127.0.0.1:8080")]
pub struct Args {
    /// How long running attempts get when it is stopped [default: limits.stop_grace, 5m]
    #[arg(long, value_name = "TIME")]
    drain: Option<Span>,
    /// Serve the API and the dashboard here [default: server.listen, 127.0.0.1:3020]
    #[arg(long, value_name = "ADDRESS:PORT", conflicts_with = "no_server")]
    listen: Option<SocketAddr>,
    /// Serve no API and no dashboard
    #[arg(long)]
    no_server: bool,
    /// Serve also as root: agents have every right on this machine then
    #[arg(long)]
    allow_root: bool,
}

/// Serves the project.
pub fn run(args: Args, context: &Context) -> Result {
    let layout = context.here()?;
    check_user(&layout, args.allow_root, context)?;
    let runtime = runtime()?;
    let exit = runtime.block_on(async {
        // Before anything else, so that no signal is lost.
        let mut signals = Signals::new()?;
        let options = || Options {
            layout: layout.clone(),
            transient: false,
            drain: args.drain,
            stderr: Some(context.ui.err_color()),
            verbose: context.ui.verbose,
            serve: match args.no_server {
                true => Wanted::No,
                false => Wanted::AsSet { listen: args.listen },
            },
        };
        let running = start(&options, &mut signals, context).await?;
        announce(&running, &layout, context).await;
        supervisor::ready(&format!("serves {}", running.root.display()));
        tokio::spawn(settle());
        tokio::select! {
            () = signals.next() => {}
            failure = running.failed() => return Err(failure),
        }
        stop(*running, &mut signals, context).await
    });
    runtime.shutdown_background();
    exit
}

/// Waits until the node does what it does from now on, and lets go of what only its start needed.
async fn settle() {
    tokio::time::sleep(SETTLED_AFTER).await;
    memory::give_back_start();
}

/// Starts the node. Whoever has the project only for a while is waited for; another node that serves
/// it is not.
async fn start(
    options: &dyn Fn() -> Options,
    signals: &mut Signals,
    context: &Context,
) -> Result<Box<Running>> {
    let until = Instant::now() + PASSING_MAX;
    let mut told = false;
    loop {
        let holder = match Running::start(options()).await? {
            Start::Running(running) => return Ok(running),
            Start::Served(holder) => holder,
        };
        // One that has not yet written down who it is does so in a moment.
        let passing = holder.stay == lock::Stay::Passing || holder.pid.is_none();
        if !passing || Instant::now() >= until {
            return Err(lock::refusal(holder.pid));
        }
        if let (false, Some(pid)) = (told, holder.pid) {
            told = true;
            let most = text::duration(Span::seconds(PASSING_MAX.as_secs()));
            let line = format!("waiting for a run or a backup that has the project (pid {pid})");
            context.ui.note(&format!("{line}, {most} at most"));
        }
        tokio::select! {
            () = signals.next() => {
                return Err(Failure::new(Exit::Interrupted, "stopped before it had started"));
            }
            () = tokio::time::sleep(TRY_EVERY) => {}
        }
    }
}

/// Refuses root, or warns. Before anything is made, so that nothing belongs to root by accident.
fn check_user(layout: &Layout, allowed: bool, context: &Context) -> Result<()> {
    let loaded = project::load(layout, None)?;
    // What is wrong with the settings is told in full later.
    let settings = node::read_config(layout, &loaded.project).map(|config| config.settings);
    let allowed = allowed || settings.is_ok_and(|settings| settings.allow_root);
    match user::judge(allowed) {
        user::Verdict::Fine => {}
        user::Verdict::Warn => context.ui.warn(user::WARNING),
        user::Verdict::Refuse => return Err(user::refusal()),
    }
    Ok(())
}

async fn announce(running: &Running, layout: &Layout, context: &Context) {
    let status = running.node.status().await;
    let ui = &context.ui;
    let names: Vec<&str> = status.workflows.iter().map(|(name, _)| name.as_str()).collect();
    ui.note(&format!("moa {} serves {}", status.info.moa, running.root.display()));
    let workflows = if names.is_empty() { "none yet".into() } else { names.join(", ") };
    ui.note(&format!("  workflows  {workflows}"));
    // What can't be read is told by the commands about it.
    let reader = running.node.reader();
    if let Ok(all) = triggers::known(&Place::Here(layout.clone()), Some(&reader), Which::All).await
        && !all.is_empty()
    {
        let now = now();
        let next = all.iter().filter_map(|one| Some((one.next(now)?.at, one.spec.title()))).min();
        let next = next.map_or(String::new(), |(at, title)| {
            format!("; {title} is due {}", text::relative(at, now))
        });
        ui.note(&format!("  triggers   {}{next}", all.len()));
    }
    ui.note(&format!("  socket     {}", running.socket.display()));
    if let Some(http) = &running.http {
        ui.note(&format!("  dashboard  {}", http.sign_in.base_url()));
        // A link is a secret: a person sees it, a file that a log goes to does not.
        if ui.err_tty() {
            if let Ok(link) = http.sign_in.link(Role::Admin.into(), false) {
                ui.note(&format!("  sign in    {}", link.url));
            }
            ui.note("             (works once, for 15 minutes; `moa open` makes another)");
        }
        let server = &running.config.settings.server;
        let is_plain = server.public_url.is_none() && server.tls.cert.is_none();
        if is_plain && !http.address.ip().is_loopback() {
            ui.warn("the dashboard can be reached from other machines, and nothing encrypts it");
        }
    }
    if let Some(odd) = &running.odd {
        ui.warn(odd);
    }
    ui.note(&format!(
        "  log        {}",
        running.root.join(&running.config.settings.log.file).display()
    ));
    if running.open_runs > 0 {
        let runs = text::plural(usize::try_from(running.open_runs).unwrap_or(usize::MAX), "run");
        ui.note(&format!("  open       {runs} from before, going on"));
    }
    ui.note(&format!("ready (pid {}); Ctrl-C stops it", status.info.pid));
}

async fn stop(running: Running, signals: &mut Signals, context: &Context) -> Result {
    let drain = running.config.settings.limits.stop_grace;
    let mut progress = Progress::new(running.node.clone(), drain, context);
    progress.begin().await;
    let engine = running.node.clone();
    let stopped = running.stop(drain.to_std());
    tokio::pin!(stopped);
    let mut looks = tokio::time::interval(LOOK_EVERY);
    loop {
        tokio::select! {
            () = &mut stopped => {
                progress.end();
                return Ok(Exit::Ok);
            }
            () = signals.next() => break,
            _ = looks.tick() => progress.look().await,
        }
    }
    context.ui.note("stopping at once; what was running is done again at the next start");
    let hurry = async {
        engine.stop_now().await;
        stopped.await;
    };
    match tokio::time::timeout(LAST_WAIT, hurry).await {
        Ok(()) => Ok(Exit::Interrupted),
        Err(_) => Err(Failure::new(Exit::Interrupted, "the engine did not stop in time")
            .hint("nothing is lost: what was running is done again at the next start")),
    }
}

/// Says during a stop what is still waited for, and for how long.
struct Progress<'a> {
    node: Arc<Node>,
    until: Instant,
    drain: Span,
    context: &'a Context,
    /// Attempts that ran at the last look, and when they were told.
    told: (u32, Instant),
}

impl<'a> Progress<'a> {
    fn new(node: Arc<Node>, drain: Span, context: &'a Context) -> Self {
        let now = Instant::now();
        Self { node, until: now + drain.to_std(), drain, context, told: (0, now) }
    }

    async fn begin(&mut self) {
        let busy: u32 = self.node.status().await.engine.running.values().sum();
        self.told.0 = busy;
        supervisor::stopping("stopping", self.drain.to_std() + LAST_WAIT);
        if busy == 0 {
            return self.context.ui.note("stopping");
        }
        let attempts = text::plural(busy as usize, "running attempt");
        let wait = node::drain_words(busy as usize, self.drain);
        tracing::info!(attempts = busy, "stopping; running attempts get up to {}", self.drain);
        let line = format!("stopping: {attempts} {wait}; once more stops at once");
        self.context.ui.note(&line);
    }

    /// Tells when something has changed, and now and then that nothing has.
    async fn look(&mut self) {
        // What still runs then is being given up, and ends one by one.
        if Instant::now() >= self.until {
            return;
        }
        let running = self.node.status().await.engine.running;
        let busy: u32 = running.values().sum();
        let changed = busy != self.told.0;
        if busy == 0 || (!changed && self.told.1.elapsed() < TELL_EVERY) {
            return;
        }
        self.told = (busy, Instant::now());
        let agents: Vec<String> = running
            .iter()
            .filter(|(_, count)| **count > 0)
            .map(
                |(agent, count)| {
                    if *count == 1 { agent.to_string() } else { format!("{agent} ({count})") }
                },
            )
            .collect();
        let attempts = text::plural(busy as usize, "attempt");
        let left = self.until.saturating_duration_since(Instant::now()).as_secs();
        let left = text::duration(Span::seconds(left));
        let line = format!("waiting for {attempts}: {}; up to {left} more", agents.join(", "));
        self.context.ui.note(&line);
    }

    fn end(&self) {
        let released = self.told.0 > 0 && Instant::now() >= self.until;
        if released {
            let attempts = text::plural(self.told.0 as usize, "attempt");
            let line =
                format!("{attempts} stopped at the end of the wait; done again at the next start");
            self.context.ui.note(&line);
        }
        self.context.ui.note("stopped");
    }
}

/// SIGINT, SIGTERM and SIGHUP (the terminal is gone).
pub struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    hangup: tokio::signal::unix::Signal,
}

impl Signals {
    /// Takes them from now on.
    pub fn new() -> Result<Self> {
        let make = |kind| signal(kind).map_err(|e| Failure::io("can't wait for signals", &e));
        Ok(Self {
            interrupt: make(SignalKind::interrupt())?,
            terminate: make(SignalKind::terminate())?,
            hangup: make(SignalKind::hangup())?,
        })
    }

    /// Waits for the next one.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }
}
