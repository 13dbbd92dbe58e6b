//! The start and the stop of a node.

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use moa_core::ids::NodeId;
use moa_core::run::RunStatus;
use moa_engine::Handle;
use moa_engine::audit::Writing;
use moa_engine::handle::{Ended, Serves};
use moa_engine::jobs::retention::Retention;
use moa_ports::store::Store;
use moa_ports::views::Views;
use moa_spec::Settings;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

use super::lock::Stay;
use super::notifier::{Notifier, Tell};
use super::tokens::Access;
use super::{
    Node, Notes, agents, door, http, keep_looking, lock, log, read_config, rotate, secrets,
    supervisor, triggers, versions, warning, watch,
};
use crate::audit;
use crate::config::Config;
use crate::control::protocol::{NodeInfo, PROTOCOL};
use crate::control::server::Listener;
use crate::exit::{Exit, Failure, Result};
use crate::jobs::alerts::{Alerting, Alerts};
use crate::jobs::health::Health;
use crate::jobs::metrics::{AfterCounting, Counting, Metrics};
use crate::jobs::samples::{Samples, Sampling};
use crate::jobs::traces::{Sending, Traces};
use crate::jobs::webhooks::{Calls, Webhooks};
use crate::jobs::{Housekeeping, Jobs, files};
use crate::metrics::Days;
use crate::project::{self, Layout};
use crate::refresh::Watched;
use crate::secrets::SecretStore;
use crate::view;
use crate::wire::{self, StateFiles, Stores, Worker};

/// How long a stop waits for questions to the store that are not answered yet.
const CLOSE_WAIT: Duration = Duration::from_secs(10);

/// How a node is started.
pub struct Options {
    /// The project.
    pub layout: Layout,
    /// Whether it ends with the run that it was started for, and executes only what it is asked to.
    pub transient: bool,
    /// How long attempts get at the end, when the command line says so.
    pub drain: Option<moa_core::time::Span>,
    /// Whether its log goes to stderr too, and in colour.
    pub stderr: Option<bool>,
    /// How much more is logged than the settings say: 1 = debug, 2 = all.
    pub verbose: u8,
    /// Whether and where the API is served.
    pub serve: door::Wanted,
}

/// A node that runs, and everything that ends with it.
pub struct Running {
    /// The node.
    pub node: Arc<Node>,
    /// The project's folder.
    pub root: PathBuf,
    /// Where it listens.
    pub socket: PathBuf,
    /// Its settings.
    pub config: Config,
    /// Runs from before that go on.
    pub open_runs: u64,
    /// The API and the dashboard, when they are served.
    pub http: Option<http::Http>,
    /// Why they are not, when they should; or what is odd about them.
    pub odd: Option<String>,
    tasks: Vec<JoinHandle<()>>,
    acts: Writing,
}

/// What came of trying to start a node.
pub enum Start {
    /// It runs.
    Running(Box<Running>),
    /// Another one has the project already.
    Served(lock::Holder),
}

impl Running {
    /// Starts a node. Answers once it can be talked to.
    pub async fn start(options: Options) -> Result<Start> {
        let Options { layout, transient, drain, stderr, verbose, serve } = options;
        let state = layout.state();
        let lock = match claim(&state, if transient { Stay::Passing } else { Stay::Lasting })? {
            lock::Taken::Ours(lock) => lock,
            lock::Taken::By(holder) => return Ok(Start::Served(holder)),
        };
        let (loaded, mut config, paused) = load(&layout, stderr.unwrap_or(false))?;
        config.stop_grace_from_flag(drain);
        // Before anything runs: whoever wants it there is told at once.
        let door = door::bind(&layout, &mut config, &serve)?;
        let settings = &config.settings;
        start_log(&layout, settings, verbose, stderr)?;
        let (stores, id) = (wire::open_store(&layout)?, NodeId(wire::random_u64()));
        let mut watched = Watched::new(layout.clone(), loaded);
        let warning = warning(&watched);
        versions::keep(&mut watched, &stores).await?;
        let (secrets, vault) = secrets::open(&layout, settings, &stores).await?;
        let warning = Node::hidden(&secrets, warning).await;
        let (known, mine) = (&watched.project, secrets.clone());
        let worker = Worker::new(&layout, settings, id, &stores, known, mine)?;
        let open_runs = open_runs(&*stores.views).await?;
        let serves = if transient { Serves::Asked } else { Serves::Everything };
        let triggers = (!transient).then(|| triggers::serving(&state));
        let max_running = settings.limits.max_running;
        let left = Default::default();
        let options = moa_engine::handle::Options { node: id, max_running, serves, triggers, left };
        let engine = worker.engine(options, &stores)?;
        agents::begin(&paused, &engine, &worker, &watched);
        secrets::warn(&watched.project, &worker, &secrets);
        let made = jobs(&layout, settings, &stores, (&engine, &worker, &secrets), transient)?;
        let jobs = Housekeeping::begin(made).await;
        let listener = Listener::bind(&state)?;
        let reactions = match transient {
            true => triggers::Reactions::default(),
            false => triggers::begin(&engine, &*stores.views, &watched).await?,
        };
        let socket = listener.path().to_owned();
        let (root, specs) = (layout.root.clone(), reactions.subscribe());
        let folders = watch::keep(root.clone(), state.clone(), engine.clone(), specs);
        let (audit, acts) = audit::start(&layout, stores.store.clone(), secrets.clone());
        let node = Arc::new(Node {
            info: info(id, transient),
            engine,
            store: stores.store,
            views: stores.views,
            worker,
            watched: Mutex::new(watched),
            triggers_behind: AtomicBool::new(false),
            reactions,
            secrets,
            vault,
            audit,
            max_running,
            jobs: jobs.clone(),
            access: Access::new(&state),
            paused,
            notes: Notes::of(&state),
            _lock: lock,
        });
        log_start(id, transient, warning);
        let mut tasks = tasks(&node, listener);
        tasks.extend([tokio::spawn(folders), tokio::spawn(jobs.keep())]);
        let (http, odd) = door.open(&node, &layout, &config)?;
        let running = Self { node, root, socket, config, open_runs, http, odd, tasks, acts };
        Ok(Start::Running(Box::new(running)))
    }

    /// Stops it: no new attempt starts, running ones get `drain`. Answers when all is durable, and the
    /// store is closed.
    pub async fn stop(self, drain: Duration) {
        self.node.engine.stop(drain).await;
        if let Some(http) = self.http {
            http.stop().await;
        }
        for task in &self.tasks {
            task.abort();
        }
        for task in self.tasks {
            // Aborted, or ended already.
            let _ = task.await;
        }
        self.node.jobs.traces.send_last().await;
        self.acts.end().await;
        close(self.node.store.clone()).await;
        tracing::info!(node = %self.node.info.node, "the node has stopped");
    }

    /// Waits until the engine ends by itself; that is a failure.
    pub async fn failed(&self) -> Failure {
        match self.node.engine.ended().await {
            Ended::Failed(error) => error.into(),
            Ended::Stopped => Failure::new(Exit::Unavailable, "the engine has stopped"),
        }
    }
}

/// What goes on beside the runs as long as the node does.
fn tasks(node: &Arc<Node>, listener: Listener) -> Vec<JoinHandle<()>> {
    vec![
        tokio::spawn(listener.serve(node.clone())),
        tokio::spawn(keep_looking(node.clone())),
        tokio::spawn(supervisor::keep_alive(node.clone())),
    ]
}

/// Closes the store, while what still has it waits to be ended with the process: then there is one
/// file that can be copied, and whoever takes the project next finds nobody in it.
async fn close(store: Arc<dyn Store>) {
    let closed = tokio::task::spawn_blocking(move || store.close());
    if tokio::time::timeout(CLOSE_WAIT, closed).await.is_err() {
        tracing::warn!(
            "the store is still being read; its write-ahead log stays for the next start"
        );
    }
}

/// Makes the folder of the project's state, and takes its lock.
fn claim(state: &Path, stay: Stay) -> Result<lock::Taken> {
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(state);
    made.map_err(|e| lock::unusable(state, &e))?;
    lock::take(state, stay)
}

/// The project, its settings with what lies over them, and the agents that are paused.
fn load(layout: &Layout, color: bool) -> Result<(project::Loaded, Config, agents::Paused)> {
    let paused = agents::Paused::read(&layout.state())?;
    let loaded = project::load(layout, None)?;
    if loaded.settings_broken {
        let settings = loaded.problems.only(|path| path == project::SETTINGS_FILE);
        return Err(settings.failure(color));
    }
    let config = read_config(layout, &loaded.project)?;
    Ok((loaded, config, paused))
}

/// What the node does beside its runs.
fn jobs(
    layout: &Layout,
    settings: &Settings,
    stores: &Stores,
    (engine, worker, secrets): (&Handle, &Worker, &SecretStore),
    transient: bool,
) -> Result<Jobs> {
    let (store, views) = (stores.store.clone(), stores.views.clone());
    // A node that is there for one run delivers for no other.
    let notifier = (!transient).then(|| Notifier::new(engine.clone(), store, views)).transpose()?;
    let notifier = notifier.map(|notifier| Arc::new(notifier) as Arc<dyn Tell>);
    let files = StateFiles::new(&layout.state());
    let counting = Counting::new(layout, settings, stores.views.clone());
    let retention = Retention::new(
        stores.store.clone(),
        stores.views.clone(),
        files::store_limits(&settings.retention),
        Arc::new(files::RunFolders(files.clone())),
    );
    let (views, told) = (stores.views.clone(), notifier.clone());
    let calls = Arc::new(Webhooks::new(layout, settings, views, secrets.clone(), told));
    Ok(Jobs {
        retention: AfterCounting { counting: counting.clone(), retention },
        metrics: Metrics { counting: counting.clone(), notifier: notifier.clone() },
        alerts: Alerts(Alerting::new(
            layout,
            settings,
            stores.views.clone(),
            Box::new(worker.agents_now()),
            (counting.clone(), calls.clone()),
            notifier,
        )),
        webhooks: Calls(calls),
        health: Health {
            layout: layout.clone(),
            settings: settings.health.clone(),
            keep: settings.log.keep,
            views: stores.views.clone(),
            counting,
            days: Days::of(settings),
            started_at: view::now(),
            lasting: !transient,
        },
        samples: Samples(Sampling::new(
            &layout.state(),
            stores.views.clone(),
            engine.clone(),
            !transient,
        )),
        files: files::Files {
            old: files::OldFiles {
                files,
                views: stores.views.clone(),
                limits: settings.retention.clone(),
            },
            engine: engine.clone(),
        },
        traces: Traces(Sending::new(layout, settings, stores.views.clone(), secrets.clone())),
    })
}

fn log_start(node: NodeId, transient: bool, warning: Option<String>) {
    if let Some(warning) = warning {
        tracing::warn!("the project's files have mistakes\n{warning}");
    }
    let what = if transient { "what it is asked to" } else { "the project" };
    tracing::info!(%node, pid = std::process::id(), "the node serves {what}");
}

fn info(node: NodeId, transient: bool) -> NodeInfo {
    NodeInfo {
        protocol: PROTOCOL,
        moa: env!("CARGO_PKG_VERSION").into(),
        pid: std::process::id(),
        node,
        started_at: view::now(),
        transient,
    }
}

/// Starts logging as the settings say. A log that can't be written is only warned of.
fn start_log(
    layout: &Layout,
    settings: &Settings,
    verbose: u8,
    stderr: Option<bool>,
) -> Result<()> {
    let options = log::Options {
        level: level(settings, verbose),
        json: settings.log.format == moa_spec::LogFormat::Json,
        stderr,
        limits: rotate::Limits {
            file_bytes: settings.log.max_size,
            age: settings.log.keep,
            files: settings.log.files as usize,
        },
    };
    let file = layout.root.join(&settings.log.file);
    crate::files::refuse_own(&layout.root, &file).map_err(|e| {
        Failure::new(Exit::Invalid, format!("can't log to {}: {e}", file.display()))
            .hint("name another file by the setting `log.file`, such as logs/moa.log")
    })?;
    if let Some(wrong) = log::start(&file, &options)? {
        tracing::warn!("{wrong}");
    }
    Ok(())
}

fn level(settings: &Settings, verbose: u8) -> String {
    match verbose {
        0 => {}
        1 => return "debug".into(),
        _ => return "trace".into(),
    }
    let value = serde_json::to_value(settings.log.level).unwrap_or_default();
    value.as_str().unwrap_or("info").to_owned()
}

async fn open_runs(views: &dyn Views) -> Result<u64> {
    let totals = views.totals().await?;
    let open = RunStatus::ALL.iter().filter(|status| !status.is_terminal());
    Ok(open.filter_map(|status| totals.runs.get(status.as_str())).sum())
}
