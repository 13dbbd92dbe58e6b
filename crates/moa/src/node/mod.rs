//! A node: an engine on the project's store, kept up to date with the project's files, reachable
//! through the local socket.
//!
//! `moa up` starts one and keeps it; `moa run` starts one for the time of a run where none serves
//! the project. Such a node executes what it is asked to, and leaves every other open run as it is.
//! One thread serves the socket and looks at files, the engine and the store have threads of their
//! own, and attempts run on another runtime: nothing here waits for an agent.

pub mod agents;
mod delete;
mod edit;
mod hooks;
pub mod http;
mod issuers;
pub mod lock;
pub mod log;
mod looks;
pub mod notifier;
pub mod rotate;
pub mod rules;
mod saved;
mod secrets;
pub mod supervisor;
mod threads;
pub mod tokens;
mod trials;
pub mod triggers;
pub mod user;
mod versions;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use moa_core::ids::{Name, NodeId, RunId, VersionHash};
use moa_core::run::{RunRow, RunStatus};
use moa_core::trigger::{TriggerAnswer, TriggerCommand, TriggerId};
use moa_engine::Handle;
use moa_engine::audit::{Audit, Writing};
use moa_engine::handle::{Change, Committed, Ended, ForkRequest, Serves, StartRequest, Started};
use moa_engine::jobs::JobStatus;
use moa_engine::jobs::retention::Retention;
use moa_ports::store::{Store, WorkflowVersion};
use moa_ports::views::Views;
use moa_spec::Settings;
use serde_json::{Map, Value as Json};
use tokio::sync::{Mutex, broadcast, oneshot};
use tokio::task::JoinHandle;

use crate::audit;
use crate::backfills;
use crate::config::Config;
use crate::control::protocol::{NodeInfo, NodeStatus, PROTOCOL, StartRun};
use crate::control::server::Listener;
use crate::exit::{Exit, Failure, Result};
use crate::jobs::alerts::{Alerting, Alerts};
use crate::jobs::health::Health;
use crate::jobs::metrics::{AfterCounting, Counting, Metrics};
use crate::jobs::samples::{Samples, Sampling};
use crate::jobs::traces::{Sending, Traces};
use crate::jobs::webhooks::kept::Gone;
use crate::jobs::webhooks::{Calls, Subscriptions, Webhooks};
use crate::jobs::{Housekeeping, Jobs, files};
use crate::metrics::Days;
use crate::node::lock::Stay;
use crate::node::notifier::{Notifier, Tell};
use crate::node::tokens::Access;
use crate::project::{self, Layout, Served};
use crate::reader::{Reader, plan};
use crate::refresh::Watched;
use crate::secrets::SecretStore;
use crate::secrets::vault::Vault;
use crate::wire::{self, StateFiles, Stores, Worker};
use crate::{needed, view};

/// Time between two looks at the project's files.
const LOOK_EVERY: Duration = Duration::from_secs(2);
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
    pub serve: http::Wanted,
}

/// What a running node answers with.
pub struct Node {
    info: NodeInfo,
    engine: Handle,
    store: Arc<dyn Store>,
    views: Arc<dyn Views>,
    worker: Worker,
    watched: Mutex<Watched>,
    /// Whether triggers are not yet as the files say: the store could not take it.
    triggers_behind: AtomicBool,
    /// The triggers that it serves, for those who find occurrences.
    reactions: triggers::Reactions,
    secrets: SecretStore,
    vault: Vault,
    audit: Audit,
    max_running: u32,
    jobs: Arc<Housekeeping>,
    access: Access,
    /// Agents that take no new tasks.
    paused: agents::Paused,
    /// What is kept of what people tried and saved.
    notes: Notes,
    // Given back last, when no connection needs the store any more: whoever takes it next finds
    // nothing of ours at work.
    _lock: lock::Lock,
}

/// What is kept of what people tried and saved, in small files beneath the project's state.
struct Notes {
    /// Tests of agents.
    trials: Arc<trials::Trials>,
    /// Filters of runs.
    saved: saved::Saved,
}

impl Notes {
    fn of(state: &Path) -> Self {
        Self { trials: Arc::new(trials::Trials::read(state)), saved: saved::Saved::new(state) }
    }
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
    /// Why they are not, when they should.
    pub unserved: Option<String>,
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
        let door = http::bind(&layout, &mut config, &serve)?;
        let settings = &config.settings;
        start_log(&layout, settings, verbose, stderr)?;
        let (stores, id) = (wire::open_store(&layout)?, NodeId(wire::random_u64()));
        let mut watched = Watched::new(layout.clone(), loaded);
        let warning = warning(&watched);
        versions::keep(&mut watched, &stores).await?;
        let (secrets, vault) = secrets::open(&layout, settings, &stores).await?;
        let (known, mine) = (&watched.project, secrets.clone());
        let worker = Worker::new(&layout, settings, id, &stores, known, mine)?;
        let open_runs = open_runs(&*stores.views).await?;
        let serves = if transient { Serves::Asked } else { Serves::Everything };
        let triggers = (!transient).then(|| triggers::serving(&state));
        let max_running = settings.limits.max_running;
        let options = moa_engine::handle::Options { node: id, max_running, serves, triggers };
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
        let tasks = vec![
            tokio::spawn(listener.serve(node.clone())),
            tokio::spawn(keep_looking(node.clone())),
            tokio::spawn(folders),
            tokio::spawn(jobs.keep()),
            tokio::spawn(supervisor::keep_alive(node.clone())),
        ];
        let (http, unserved) = door.open(&node, &layout, &config)?;
        let running = Self { node, root, socket, config, open_runs, http, unserved, tasks, acts };
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
    let calls = Webhooks::new(layout, settings, stores.views.clone(), notifier.clone());
    let calls = Arc::new(calls);
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

/// The settings of a project with what lies over them.
pub fn read_config(layout: &Layout, project: &project::Project) -> Result<Config> {
    let env_file = project.settings.secrets.env_file.clone();
    let variables = crate::secrets::read_env_file(&layout.root, env_file.as_ref())?;
    Config::new(project.settings.clone(), &variables)
}

/// Does what may wait for a disk where it holds up nobody who asks for something else.
pub async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_| Failure::new(Exit::Unavailable, "moa failed at its files"))?
}

async fn open_runs(views: &dyn Views) -> Result<u64> {
    let totals = views.totals().await?;
    let open = RunStatus::ALL.iter().filter(|status| !status.is_terminal());
    Ok(open.filter_map(|status| totals.runs.get(status.as_str())).sum())
}

/// Diagnostics of what is broken, for people.
fn warning(watched: &Watched) -> Option<String> {
    let problems = watched.problems.errors();
    problems.has_errors().then(|| problems.render(false).trim_end().to_owned())
}

async fn keep_looking(node: Arc<Node>) {
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    ticks.tick().await;
    let (mut before, mut last) = (0, 0);
    loop {
        ticks.tick().await;
        let times = node.engine.times_set_back();
        if std::mem::replace(&mut before, std::mem::replace(&mut last, times)) != times {
            // Schedules that were dealt with up to a time that is far ahead now are judged anew; in
            // two looks, since the first may come before the last of the other time is written.
            node.triggers_behind.store(true, Ordering::Relaxed);
        }
        if let Err(failure) = node.refresh().await {
            tracing::warn!("can't look at the project's files: {}", failure.message);
        }
    }
}

impl Node {
    /// Which node this is.
    pub fn info(&self) -> NodeInfo {
        self.info.clone()
    }

    /// Every commit from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<Committed>> {
        self.engine.subscribe()
    }

    /// Looks at the project's files; answers diagnostics when something is broken.
    pub async fn refresh(&self) -> Result<Option<String>> {
        let mut watched = self.watched.lock().await;
        self.look(&mut watched).await?;
        Ok(warning(&watched))
    }

    async fn look(&self, watched: &mut Watched) -> Result<()> {
        self.look_at_files(watched)?;
        self.catch_up(watched).await
    }

    fn look_at_files(&self, watched: &mut Watched) -> Result<()> {
        let Some(change) = watched.look()? else { return Ok(()) };
        if let Some(warning) = warning(watched) {
            tracing::warn!("a change of the project's files is not used\n{warning}");
        }
        if change.agents {
            self.worker.set_agents(&watched.project);
            self.set_agents(watched);
            tracing::info!("agents have changed; attempts that start from now on see it");
        }
        if change.webhooks {
            let webhooks = &watched.project.settings.webhooks;
            self.worker.set_webhooks(webhooks);
            self.jobs.calls.set(webhooks);
            tracing::info!("webhooks have changed; what happens from now on is told as they say");
        }
        if change.agents || change.webhooks || !change.workflows.is_empty() {
            secrets::warn(&watched.project, &self.worker, &self.secrets);
        }
        if change.settings {
            tracing::info!(
                "settings have changed; those other than webhooks hold from the next start of the node on"
            );
        }
        self.triggers_behind.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Makes the store what the files say, as far as it isn't yet: it may have taken nothing before.
    async fn catch_up(&self, watched: &mut Watched) -> Result<()> {
        versions::put_unkept(&*self.store, watched).await?;
        if self.triggers_behind.load(Ordering::Relaxed) {
            self.put_triggers(watched).await;
        }
        Ok(())
    }

    /// Makes the triggers what the files say; a node that is there for one run has none.
    async fn put_triggers(&self, watched: &Watched) {
        if self.info.transient {
            return;
        }
        self.reactions.send_replace(triggers::list(&watched.project));
        let done = triggers::put(&self.engine, &*self.views, watched).await;
        self.triggers_behind.store(done.is_err(), Ordering::Relaxed);
        if let Err(failure) = done {
            tracing::warn!("triggers are not as the files say yet: {}", failure.message);
        }
    }

    /// Starts a run; also answers diagnostics when a broken edit was passed over.
    pub async fn start_run(&self, start: StartRun) -> Result<(Started, Option<String>)> {
        let mut watched = self.watched.lock().await;
        self.look(&mut watched).await?;
        let name = &start.workflow;
        let plan = match &start.version {
            Some(version) => plan(&self.kept(name, version).await?)?,
            None => self.served(&watched, name)?.plan.clone(),
        };
        let path = format!("workflows/{name}.");
        let warning = watched.problems.errors().only(|file| file.starts_with(&path));
        let warning = warning.has_errors().then(|| warning.render(false));
        let as_text = start.texts.iter().map(|(name, _)| name);
        let given: Vec<String> = start.params.keys().chain(as_text).cloned().collect();
        let params = project::check_params(&plan, start.params, &start.texts)?;
        let workflows = &watched.project.workflows;
        let agents = self.worker.agents();
        if let Some(refusal) = needed::refusal(&plan, workflows, &agents, &self.secrets) {
            return Err(refusal);
        }
        let used = needed::agents_of(&plan, workflows, &agents);
        drop(watched);
        self.refuse_paused(&used)?;
        self.make_room(used).await?;
        let key = start.idempotency_key.clone();
        let request = StartRequest {
            workflow: start.workflow.clone(),
            version: Some(plan.hash.to_string()),
            params: Json::Object(params.clone()),
            idempotency_key: start.idempotency_key,
            priority: start.priority,
            trace: start.trace,
            cause: start.cause,
        };
        let started = self.engine.start_run(request).await?;
        if let Started::Existing { run } = started {
            if let Some(known) = self.views.run_part(run, 0, 0).await? {
                let asked = Asked { workflow: &start.workflow, hash: plan.hash, params, given };
                same_request(&known.row, &asked, key.as_deref().unwrap_or_default())?;
            }
            self.serve(run).await?;
        }
        Ok((started, warning))
    }

    /// Executes a run that is there already, if this node executes only what it is asked to. What an
    /// earlier node left running of it, and of what it started, is ended first: it counts as lost,
    /// and is done again.
    pub async fn serve(&self, root: RunId) -> Result<()> {
        let run = self.reader().head(root).await?;
        if !self.info.transient || run.row.status.is_terminal() {
            return Ok(());
        }
        if self.engine.status().await.stopping {
            return Err(moa_engine::handle::Error::Stopping.into());
        }
        let mut left = self.worker.left_running().await?;
        if !left.is_empty() {
            let others = self.reader().not_below(&[root], left.iter().copied()).await?;
            left.retain(|run| !others.contains(run));
            self.worker.end_left_running(left).await?;
        }
        self.make_room_for(&run.row).await?;
        self.engine.serve(root);
        Ok(())
    }

    /// Where only some runs are executed, the attempts of others live on; those of agents with a
    /// limit make room for what is to start.
    async fn make_room(&self, agents: BTreeSet<Name>) -> Result<()> {
        match self.info.transient {
            true => self.worker.make_room(agents).await,
            false => Ok(()),
        }
    }

    /// The same, for a run that is there.
    async fn make_room_for(&self, run: &RunRow) -> Result<()> {
        let Some(version) = self.views.workflow(run.hash).await? else { return Ok(()) };
        let (plan, agents) = (plan(&version)?, self.worker.agents());
        let watched = self.watched.lock().await;
        let used = needed::agents_of(&plan, &watched.project.workflows, &agents);
        drop(watched);
        self.make_room(used).await
    }

    fn served<'a>(&self, watched: &'a Watched, name: &Name) -> Result<&'a Arc<Served>> {
        // Whoever edits and runs at once wants to know, not to run what was there before.
        let stale = self.info.transient && watched.broken.contains(name);
        if !stale && let Some(served) = watched.project.workflows.get(name) {
            return Ok(served);
        }
        if watched.broken.contains(name) {
            return Err(watched.problems.of_workflow(name).failure(false));
        }
        Err(project::unknown_workflow(name.as_str(), watched.project.workflows.keys()))
    }

    async fn kept(&self, name: &Name, version: &str) -> Result<WorkflowVersion> {
        self.reader().version(name, Some(version)).await
    }

    /// What the store holds.
    pub fn reader(&self) -> Reader {
        Reader::new(self.views.clone())
    }

    /// Repeats a run in part.
    pub async fn fork(&self, fork: ForkRequest) -> Result<RunId> {
        if let Some(run) = self.views.run_part(fork.run, 0, 0).await? {
            self.make_room_for(&run.row).await?;
        }
        Ok(self.engine.fork(fork).await?)
    }

    /// Changes a run. Where nobody executes it, that is recorded for whoever will; but what an earlier
    /// node left running of a run that is to end is ended now.
    pub async fn change(&self, run: RunId, change: Change) -> Result<()> {
        let ends = matches!(change, Change::Cancel { .. } | Change::Terminate { .. });
        self.engine.change(run, change).await?;
        if self.info.transient && ends {
            let left = self.worker.left_running().await?;
            let ours = self.reader().below(run, left).await?;
            if !ours.is_empty() {
                self.worker.end_left_running(ours).await?;
            }
        }
        Ok(())
    }

    /// Does something with a trigger.
    pub async fn trigger(&self, id: TriggerId, command: TriggerCommand) -> Result<TriggerAnswer> {
        let mut watched = self.watched.lock().await;
        self.look(&mut watched).await?;
        triggers::put_unless_there(&self.engine, &*self.views, &watched, id).await?;
        let age = watched.project.settings.retention.occurrences.age;
        drop(watched);
        if let TriggerCommand::Backfill(request) = &command
            && let Some(row) = self.views.trigger(id).await?
        {
            backfills::check(&*self.views, &row, request, age).await?;
        }
        Ok(self.engine.trigger(id, command).await?)
    }

    /// Publishes an event; answers whether it is new.
    pub async fn publish(&self, event: String, data: Json, key: Option<String>) -> Result<bool> {
        view::events::check_type(&event).map_err(Failure::usage)?;
        if self.info.transient {
            let mut watched = self.watched.lock().await;
            self.look(&mut watched).await?;
            // A trigger that no node has served yet would never hear of it.
            triggers::put_listeners(&self.engine, &*self.views, &watched, &event).await?;
        }
        Ok(self.engine.publish(event, data, key).await?)
    }

    /// Ends the drain of a stop that goes on.
    pub async fn stop_now(&self) {
        self.engine.stop(Duration::ZERO).await;
    }

    /// Whether the engine's thread and the store's writing thread answer.
    pub async fn is_well(&self) -> bool {
        self.engine.status().await;
        let (reply, answer) = oneshot::channel();
        self.store.load(Vec::new(), Box::new(move |loaded| drop(reply.send(loaded))));
        // That it refuses is an answer too.
        answer.await.is_ok()
    }

    /// Where what people do is written down.
    pub fn audit(&self) -> &Audit {
        &self.audit
    }

    /// The read side of its store.
    pub fn views(&self) -> &dyn Views {
        &*self.views
    }

    /// Has a webhook called that says nothing; answers the id of what it is told.
    pub async fn test_webhook(&self, name: &Name) -> Result<String> {
        self.jobs.calls.test(name).await
    }

    /// Who is called when something happens, by name.
    pub fn webhooks(&self) -> Arc<Subscriptions> {
        self.jobs.calls.all()
    }

    /// The webhooks that are switched off because their receivers are gone.
    pub async fn gone_webhooks(&self) -> Result<BTreeMap<Name, Gone>> {
        self.jobs.calls.gone().await
    }

    /// Calls a webhook again whose receiver was gone; answers whether it was.
    pub async fn enable_webhook(&self, name: &Name) -> Result<bool> {
        self.jobs.calls.enable(name).await
    }

    /// What is known of its jobs.
    pub fn jobs(&self) -> Vec<JobStatus> {
        self.jobs.status()
    }

    /// Does a job out of turn; answers when it is done.
    pub async fn run_job(&self, name: &str) -> Result<JobStatus> {
        self.jobs.run_now(name).await
    }

    /// What it is doing.
    pub async fn status(&self) -> NodeStatus {
        let engine = self.engine.status().await;
        let watched = self.watched.lock().await;
        let workflows = watched.project.workflows.iter();
        NodeStatus {
            info: self.info.clone(),
            engine,
            max_running: self.max_running,
            workflows: workflows.map(|(name, w)| (name.clone(), w.plan.hash)).collect(),
            warning: warning(&watched),
            paused: self.paused.all(),
            traces: self.jobs.traces.status(),
        }
    }
}

/// What a drain means, for people.
pub fn drain_words(attempts: usize, drain: moa_core::time::Span) -> String {
    match (drain.0, attempts) {
        (0, 1) => "is stopped now".into(),
        (0, _) => "are stopped now".into(),
        (_, 1) => format!("gets up to {drain} to end"),
        (_, _) => format!("get up to {drain} to end"),
    }
}

/// What a start asks for.
struct Asked<'a> {
    workflow: &'a Name,
    hash: VersionHash,
    params: Map<String, Json>,
    /// The params that were given; others are defaults of this version.
    given: Vec<String>,
}

/// Refuses a start whose idempotency key another one has had.
fn same_request(known: &RunRow, asked: &Asked<'_>, key: &str) -> Result<()> {
    let had = |name: &String| known.params.get(name) == asked.params.get(name);
    let same_params = match known.hash == asked.hash {
        true => *known.params == Json::Object(asked.params.clone()),
        false => asked.given.iter().all(had),
    };
    let what = match known.workflow == *asked.workflow {
        true if same_params => return Ok(()),
        true => "with other params".to_owned(),
        false => format!("of {}", known.workflow),
    };
    let text = format!("the idempotency key {key:?} belongs to run {} {what}", known.run);
    Err(Failure::refused(text).hint("a key stands for one start: take another key for another run"))
}
