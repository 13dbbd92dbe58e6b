//! Which store, which worker and which JSON Schema this moa uses. The only place that names them.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use moa_connectors::{
    Channel, Channels, Doing, EndpointState, Leftover, LocalWorker, Mail, MailTls, Off, Origin,
    Secretive, SharedAgents, SharedChannels, Slack, Webhook, WorkerOptions,
};
use moa_core::agent::{AgentKind, AgentSpec};
use moa_core::ids::{Name, NodeId, RunId};
use moa_core::machine::Outcome;
use moa_core::schema::Schemas;
use moa_core::time::{Millis, Span};
use moa_engine::audit::{Actor, Deed};
use moa_engine::handle::{Options as EngineOptions, Serves};
use moa_engine::{Engine, Handle};
use moa_ports::agent::{Completion, Completions, Task, Worker as _};
use moa_ports::audit::AuditHead;
use moa_ports::sealed::SealedRow;
use moa_ports::store::{Batch, Store};
use moa_ports::views::Views;
use moa_spec::{OutputSchemas, Settings};
use moa_sqlite::{LogLength, SqliteStore};
use moa_view::fleet::{Endpoint, Fleet, Health, Instance};
use tokio::sync::oneshot;

#[cfg(test)]
pub use moa_connectors::append_once;
pub use moa_connectors::is_gone;
pub use moa_connectors::otlp;
pub use moa_connectors::{Kept, LogFile, LogPart, RunFolder, StateFiles};
pub use moa_sqlite::backup::Copied;

use crate::exit::{Exit, Failure, Result};
use crate::files::{Beneath, PRIVATE};
use crate::jobs::webhooks::Subscriptions;
use crate::project::{Layout, Project};
use crate::reader::Reader;
use crate::secrets::SecretStore;

/// Threads that attempts are started and read on.
const WORKER_THREADS_MAX: usize = 4;

/// What checks outputs against their schemas.
pub fn schemas() -> Arc<dyn Schemas> {
    Arc::new(OutputSchemas)
}

/// The two sides of a store.
pub struct Stores {
    /// The side that writes.
    pub store: Arc<dyn Store>,
    /// The side that reads.
    pub views: Arc<dyn Views>,
    /// The identity of the project's state: processes that it started are known by it.
    pub id: String,
}

/// The database of a project.
pub fn database(layout: &Layout) -> PathBuf {
    layout.state().join("moa.db")
}

/// How long the store of a node that has just given its project back may stay open: its threads end
/// with the process.
const STORE_WAIT: Duration = Duration::from_secs(10);

/// Opens the store of a project, for the node that serves it: it has the project's lock.
pub fn open_store(layout: &Layout) -> Result<Stores> {
    let options = moa_sqlite::Options {
        lock_wait: STORE_WAIT,
        watch_log: Some(Arc::new(tell_log_length)),
        ..moa_sqlite::Options::default()
    };
    open_store_with(layout, options)
}

/// The same, without waiting for the disk: a power cut would lose what was written last.
#[cfg(test)]
pub fn open_unsynced_store(layout: &Layout) -> Result<Stores> {
    let options = moa_sqlite::Options { synchronous_full: false, ..Default::default() };
    open_store_with(layout, options)
}

fn open_store_with(layout: &Layout, options: moa_sqlite::Options) -> Result<Stores> {
    let store = SqliteStore::open(&database(layout), options);
    let store = Arc::new(store.map_err(failure)?);
    let id = identity(&layout.state())
        .map_err(|e| crate::node::lock::unusable(&layout.state().join("id"), &e))?;
    Ok(Stores { store: store.clone(), views: store, id })
}

fn tell_log_length(length: LogLength) {
    match length {
        LogLength::Long { bytes } => tracing::warn!(
            store.log_bytes = bytes,
            "something reads .moa/moa.db for long, so its write-ahead log grows; let it finish, or \
             end it (a copy of the database, an open sqlite3?)"
        ),
        LogLength::Cut => tracing::info!("the write-ahead log of .moa/moa.db was cut"),
    }
}

/// The read side of a project's store; `None` when nothing has run in it yet.
pub fn open_reader(layout: &Layout) -> Result<Option<Reader>> {
    Ok(open_views(layout)?.map(Reader::new))
}

/// The read side of a project's store, or says that nothing has run in it yet.
pub fn require_reader(layout: &Layout) -> Result<Reader> {
    open_reader(layout)?.ok_or_else(|| {
        Failure::not_found("nothing has run in this project yet")
            .hint("`moa run WORKFLOW` runs a workflow; `moa workflows list` names them")
    })
}

/// Opens the read side of a project's store; `None` when there is none yet.
pub fn open_views(layout: &Layout) -> Result<Option<Arc<dyn Views>>> {
    match SqliteStore::open_read_only(&database(layout)) {
        Ok(views) => Ok(Some(Arc::new(views))),
        Err(moa_sqlite::Error::Missing { .. }) => Ok(None),
        Err(error) => Err(failure(error)),
    }
}

/// The newest entry of a project's audit log, as far as it can be read.
pub fn audit_head(layout: &Layout) -> Option<AuditHead> {
    let views = SqliteStore::open_read_only(&database(layout)).ok()?;
    let read = || crate::cmd::runtime().ok()?.block_on(views.audit_head()).ok();
    std::thread::scope(|scope| scope.spawn(read).join()).ok()??
}

/// Adds an act that is done to the audit log of a store that nobody uses.
pub fn add_to_audit(path: &Path, actor: &Actor, deed: &Deed) -> Result<()> {
    let store = SqliteStore::open(path, moa_sqlite::Options::default()).map_err(failure)?;
    let now = crate::view::now();
    let act = actor.done(deed, now);
    let body = moa_engine::audit::body_of(act, &|_| {})?;
    let (reply, answer) = std::sync::mpsc::channel();
    let batch = Batch { now, audit: vec![body], ..Batch::default() };
    // The receiver is there until the answer.
    store.commit(batch, Box::new(move |done| drop(reply.send(done))));
    let gone = |_| Failure::new(Exit::Unavailable, "the store is closed");
    answer.recv().map_err(gone)??;
    Ok(())
}

/// What the encrypted store of a project holds; nothing when no node has made it yet, or none of this
/// moa.
pub fn sealed(layout: &Layout) -> Result<Vec<SealedRow>> {
    let views = match SqliteStore::open_read_only(&database(layout)) {
        Err(moa_sqlite::Error::Missing { .. } | moa_sqlite::Error::Older { .. }) => {
            return Ok(Vec::new());
        }
        opened => opened.map_err(failure)?,
    };
    // On a thread of its own: some who ask wait for other things on theirs.
    let read = || crate::cmd::runtime().map(|runtime| runtime.block_on(views.sealed()));
    let read = std::thread::scope(|scope| scope.spawn(read).join());
    let rows = read.map_err(|_| Failure::new(Exit::Unavailable, "a fault of moa"))??;
    match rows {
        Err(moa_ports::store::Error::Older { .. }) => Ok(Vec::new()),
        rows => Ok(rows?),
    }
}

/// Copies the store of a project to a new file. `live` says that a node may be writing to it; else
/// the caller has the project's lock. `told` gets the pages copied so far and those of all, and may end it.
pub fn copy_store(
    layout: &Layout,
    to: &Path,
    live: bool,
    told: &mut dyn FnMut(u64, u64) -> ControlFlow<()>,
) -> Result<Copied> {
    match moa_sqlite::backup::copy(&database(layout), to, live, told) {
        Err(moa_sqlite::Error::Missing { .. }) => {
            Err(Failure::not_found("nothing has run in this project yet"))
        }
        copied => copied.map_err(failure),
    }
}

/// Checks a store that nobody uses; answers its schema.
pub fn check_store(path: &Path) -> Result<u32> {
    moa_sqlite::backup::check(path).map_err(failure)
}

/// The schema number that this moa writes.
pub const SCHEMA: u32 = moa_sqlite::SCHEMA;

fn failure(error: moa_sqlite::Error) -> Failure {
    if let moa_sqlite::Error::Locked { pid, .. } = error {
        return crate::node::lock::refusal(pid);
    }
    moa_ports::store::Error::from(error).into()
}

/// The identity of a project's state in this place: a copy of the folder has another one, so that
/// its node takes nothing of the original's for its own.
fn identity(state: &Path) -> io::Result<String> {
    let id = state_id(state)?;
    Ok(format!("{id}-{:x}", std::fs::metadata(state)?.ino()))
}

/// The number of a project's state: made once, and kept beside the database.
fn state_id(state: &Path) -> io::Result<String> {
    let path = state.join("id");
    match std::fs::read_to_string(&path) {
        Ok(id) if id.trim().len() == 32 => return Ok(id.trim().to_owned()),
        Ok(_) => {}
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(e),
    }
    let id = format!("{:016x}{:016x}", random_u64(), random_u64());
    Beneath::new(state)?.write_as(Path::new("id"), format!("{id}\n").as_bytes(), PRIVATE)?;
    Ok(id)
}

/// A number that nobody can guess.
pub fn random_u64() -> u64 {
    let mut bytes = [0; 8];
    let read = std::fs::File::open("/dev/urandom").and_then(|mut f| f.read_exact(&mut bytes));
    match read {
        Ok(()) => u64::from_ne_bytes(bytes),
        // A machine without it: the instant and the process are unlike any other's.
        Err(_) => {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
            let nanos = now.map_or(0, |d| d.as_nanos() as u64);
            moa_core::ids::mix(nanos ^ (u64::from(std::process::id()) << 32))
        }
    }
}

/// What runs attempts in this process: its agents, and the threads that they are read on.
pub struct Worker {
    agents: SharedAgents,
    channels: SharedChannels,
    /// Of those, the ones that hold until the node ends.
    told: BTreeMap<Name, Channel>,
    options: Mutex<Option<WorkerOptions>>,
    /// For attempts outside of any run: these are in no trace.
    lone: WorkerOptions,
    runtime: Option<tokio::runtime::Runtime>,
    /// What makes the attempts of the engine, once that has started.
    at_work: OnceLock<Arc<LocalWorker>>,
    node: NodeId,
    store_id: String,
    state: PathBuf,
}

impl Worker {
    /// A worker for the agents of a project.
    pub fn new(
        layout: &Layout,
        settings: &Settings,
        node: NodeId,
        stores: &Stores,
        project: &Project,
        secrets: SecretStore,
    ) -> Result<Self> {
        Self::with_id(layout, settings, node, stores.id.clone(), project, secrets)
    }

    fn with_id(
        layout: &Layout,
        settings: &Settings,
        node: NodeId,
        store_id: String,
        project: &Project,
        secrets: SecretStore,
    ) -> Result<Self> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(cores.min(WORKER_THREADS_MAX))
            .thread_name("moa-worker")
            .enable_all()
            .build()
            .map_err(|e| Failure::io("can't start the threads of the worker", &e))?;
        let agents = SharedAgents::new(project.agents.values().cloned());
        let told: BTreeMap<Name, Channel> =
            settings.notify.channels.iter().map(|(name, c)| (name.clone(), channel(c))).collect();
        let channels = SharedChannels::from(with_webhooks(told.clone(), &settings.webhooks));
        let options = WorkerOptions {
            runtime: runtime.handle().clone(),
            project_dir: layout.root.clone(),
            state_dir: layout.state(),
            agents: agents.clone(),
            secrets: Arc::new(secrets),
            node,
            store_id: store_id.clone(),
            channels: channels.clone(),
            log_bytes_max: settings.logs.attempt_max,
            traced: settings.tracing.share(),
        };
        Ok(Self {
            agents,
            channels,
            told,
            lone: WorkerOptions { traced: None, ..options.clone() },
            options: Mutex::new(Some(options)),
            runtime: Some(runtime),
            at_work: OnceLock::new(),
            node,
            store_id,
            state: layout.state(),
        })
    }

    /// Ends what earlier nodes left running, then starts the engine. Once. An engine that executes
    /// only what it is asked to makes no attempt of theirs again, so it leaves them alone; see
    /// [`Self::make_room`].
    pub fn engine(&self, mut options: EngineOptions, stores: &Stores) -> Result<Handle> {
        if options.serves == Serves::Everything {
            told(&moa_connectors::end_leftovers(&self.state, &self.store_id, self.node));
            options.left = moa_connectors::left_usage(&self.state, self.node);
        }
        let agents = self.agents();
        let Some(taken) = self.options.lock().ok().and_then(|mut o| o.take()) else {
            return Err(Failure::new(Exit::Unavailable, "the worker has been started already"));
        };
        let make = |completions| {
            let worker = LocalWorker::new(taken, completions);
            self.at_work.get_or_init(|| worker.clone());
            worker as Arc<_>
        };
        Ok(Engine::start(options, stores.store.clone(), agents, schemas(), make)?)
    }

    /// The runs whose attempts earlier nodes left running.
    pub async fn left_running(&self) -> Result<BTreeSet<RunId>> {
        let (state, store_id, node) = (self.state.clone(), self.store_id.clone(), self.node);
        let find = move || moa_connectors::find_leftovers(&state, &store_id, node);
        let found = tokio::task::spawn_blocking(find).await.map_err(|e| fault(&e))?;
        Ok(found.iter().filter_map(|left| left.of.run.parse().ok()).collect())
    }

    /// Ends what earlier nodes left running of these runs.
    pub async fn end_left_running(&self, runs: BTreeSet<RunId>) -> Result<()> {
        let (state, store_id, node) = (self.state.clone(), self.store_id.clone(), self.node);
        let end = move || {
            let which = |of: &Origin| of.run.parse().is_ok_and(|run| runs.contains(&run));
            moa_connectors::end_some_leftovers(&state, &store_id, node, &which)
        };
        told(&tokio::task::spawn_blocking(end).await.map_err(|e| fault(&e))?);
        Ok(())
    }

    /// Ends what earlier nodes left running of those of these agents that have a limit: with an
    /// attempt that is to start, such a one would have more at work than it may.
    pub async fn make_room(&self, agents: BTreeSet<Name>) -> Result<()> {
        let known = self.agents();
        let is_limited = |name: &Name| known.get(name).is_some_and(|a| a.concurrency.is_some());
        let limited: BTreeSet<Name> = agents.into_iter().filter(is_limited).collect();
        if limited.is_empty() {
            return Ok(());
        }
        let (state, store_id, node) = (self.state.clone(), self.store_id.clone(), self.node);
        let end = move || {
            // Whoever hides its agent may work for any.
            let is_meant =
                |agent: &str| agent.is_empty() || limited.iter().any(|name| name.as_str() == agent);
            let which = |of: &Origin| is_meant(&of.agent);
            moa_connectors::end_some_leftovers(&state, &store_id, node, &which)
        };
        told(&tokio::task::spawn_blocking(end).await.map_err(|e| fault(&e))?);
        Ok(())
    }

    /// The agents that there are, those that are part of moa among them.
    pub fn agents(&self) -> BTreeMap<Name, Arc<AgentSpec>> {
        self.agents.all().into_iter().map(|spec| (spec.id.clone(), spec)).collect()
    }

    /// What answers the agents that there are just then, for whoever outlives nothing of this.
    pub fn agents_now(
        &self,
    ) -> impl Fn() -> BTreeMap<Name, Arc<AgentSpec>> + Send + Sync + 'static {
        let agents = self.agents.clone();
        move || agents.all().into_iter().map(|spec| (spec.id.clone(), spec)).collect()
    }

    /// What runs of each agent, and how the addresses are that they have.
    pub fn at_work(&self) -> Fleet {
        let Some(worker) = self.at_work.get() else { return Fleet::new() };
        let mut fleet = Fleet::new();
        for doing in worker.doing() {
            let Doing { run, workflow, step, attempt, agent, action, since, pid } = doing;
            let node = self.node.to_string();
            let instance = Instance { run, workflow, step, attempt, action, node, since, pid };
            fleet.entry(agent).or_default().instances.push(instance);
        }
        for agent in fleet.values_mut() {
            agent
                .instances
                .sort_by(|a, b| (a.since, a.run, &a.step).cmp(&(b.since, b.run, &b.step)));
        }
        let now = crate::view::now();
        for (id, spec) in self.agents() {
            if let AgentKind::Http(http) = &spec.kind {
                let known = worker.endpoints(&http.urls);
                let of = |(url, known): (&String, EndpointState)| endpoint(url, known, now);
                fleet.entry(id).or_default().endpoints =
                    http.urls.iter().zip(known).map(of).collect();
            }
        }
        fleet
    }

    /// Puts the agents of a project in the place of the known ones.
    pub fn set_agents(&self, project: &Project) {
        self.agents.replace(project.agents.values().cloned());
    }

    /// Puts webhooks in the place of the known ones.
    pub fn set_webhooks(&self, webhooks: &Subscriptions) {
        self.channels.replace(with_webhooks(self.told.clone(), webhooks));
    }

    /// Makes one attempt that is no part of a run, beside all others; it ends by its own limit.
    /// It gets `grace` at most to stop then, whatever its agent declares.
    pub async fn attempt_alone(&self, task: Task, grace: Span) -> Result<Outcome> {
        let (sender, receiver) = oneshot::channel();
        let only = Arc::new(OnlyOne(Mutex::new(Some(sender))));
        let hurried = |mut spec: Arc<AgentSpec>| {
            if let AgentKind::Command(command) = &mut Arc::make_mut(&mut spec).kind {
                command.grace = command.grace.min(grace);
            }
            spec
        };
        let agents = SharedAgents::new(self.agents.get(&task.agent).map(hurried));
        LocalWorker::new(WorkerOptions { agents, ..self.lone.clone() }, only).start(task);
        receiver.await.map_err(|_| Failure::new(Exit::Unavailable, "the worker has ended"))
    }

    /// Runs one attempt, without an engine; a signal to this process ends it.
    pub async fn attempt(&self, task: Task) -> Result<Outcome> {
        let (sender, receiver) = oneshot::channel();
        let only = Arc::new(OnlyOne(Mutex::new(Some(sender))));
        let worker = LocalWorker::new(self.lone.clone(), only);
        let (run, inst, attempt) = (task.run, task.inst, task.attempt);
        worker.start(task);
        let mut signals = crate::cmd::up::Signals::new()?;
        tokio::pin!(receiver);
        loop {
            tokio::select! {
                outcome = &mut receiver => {
                    let gone = |_| Failure::new(Exit::Unavailable, "the worker has ended");
                    return outcome.map_err(gone);
                }
                () = signals.next() => worker.stop(run, inst, attempt, false),
            }
        }
    }
}

/// How an address is, as people are told.
fn endpoint(url: &str, known: EndpointState, now: Millis) -> Endpoint {
    let out_until = known.out_for.map(|left| now.after(Span(left.as_millis() as u64)));
    let health = match (known.reached, out_until) {
        (None, _) => Health::Untried,
        (Some(true), _) => Health::Ok,
        (Some(false), Some(_)) => Health::Out,
        (Some(false), None) => Health::Failed,
    };
    Endpoint { url: url.to_owned(), health, calls: known.calls, out_until }
}

/// Writes down that processes of earlier nodes were ended.
fn told(ended: &[Leftover]) {
    if !ended.is_empty() {
        let count = ended.len();
        tracing::info!(count, "ended attempts that an earlier node left running");
    }
}

/// A thread of ours has failed.
fn fault(error: &tokio::task::JoinError) -> Failure {
    Failure::new(Exit::Unavailable, format!("a fault of moa: {error}"))
}

impl Drop for Worker {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Dropped where waiting is not allowed.
            runtime.shutdown_background();
        }
    }
}

/// The channels of webhooks, beside others. What still waits for one that is switched off is given
/// up, so that it can be made again.
fn with_webhooks(others: BTreeMap<Name, Channel>, webhooks: &Subscriptions) -> Channels {
    let called = webhooks.iter().map(|(name, subscription)| {
        let channel = if subscription.active {
            Channel::Webhook(Webhook { events: true, ..webhook(&subscription.receiver) })
        } else {
            let why = "the webhook is switched off: moa.yaml says `active: false`".to_owned();
            Channel::Off(Off { why, may_return: false })
        };
        (moa_spec::channel_of(name), channel)
    });
    Channels { declared: others.into_iter().chain(called).collect() }
}

fn webhook(webhook: &moa_spec::Webhook) -> Webhook {
    Webhook {
        url: secretive(&webhook.url),
        secret: webhook.secret.as_ref().map(secretive),
        timeout: webhook.timeout,
        events: false,
    }
}

fn channel(channel: &moa_spec::Channel) -> Channel {
    match channel {
        moa_spec::Channel::File(path) => Channel::File(path.into()),
        moa_spec::Channel::Slack(slack) => Channel::Slack(Slack { url: secretive(&slack.url) }),
        moa_spec::Channel::Mail(mail) => {
            let login = mail.login.as_ref();
            Channel::Mail(Box::new(Mail {
                host: mail.host.clone(),
                port: mail.port,
                tls: match mail.tls {
                    moa_spec::MailTls::Starttls => MailTls::Starttls,
                    moa_spec::MailTls::Tls => MailTls::Tls,
                    moa_spec::MailTls::None => MailTls::None,
                },
                login: login.map(|(user, password)| (secretive(user), secretive(password))),
                from: mail.from.clone(),
                to: mail.to.clone(),
            }))
        }
        moa_spec::Channel::Webhook(webhook) => Channel::Webhook(self::webhook(webhook)),
    }
}

fn secretive(value: &moa_spec::Secretive) -> Secretive {
    match value {
        moa_spec::Secretive::Plain(text) => Secretive::Plain(text.clone()),
        moa_spec::Secretive::Secret(name) => Secretive::Secret(name.clone()),
    }
}

/// Takes the end of the only attempt that there is.
struct OnlyOne(Mutex<Option<oneshot::Sender<Outcome>>>);

impl Completions for OnlyOne {
    fn complete(&self, done: Completion) {
        let sender = self.0.lock().ok().and_then(|mut sender| sender.take());
        if let Some(sender) = sender {
            // Whoever asked may have gone.
            let _ = sender.send(done.outcome);
        }
    }
}

/// Every agent that a project can use: its own, and those that are part of moa.
pub fn agents(project: &Project) -> BTreeMap<Name, Arc<AgentSpec>> {
    let builtins = moa_connectors::builtins().map(|spec| (spec.id.clone(), Arc::new(spec)));
    let own = project.agents.iter().map(|(id, spec)| (id.clone(), spec.clone()));
    builtins.chain(own).collect()
}

/// A worker for one attempt, outside of any node.
pub fn lone_worker(layout: &Layout, settings: &Settings, project: &Project) -> Result<Worker> {
    let id = random_u64();
    let secrets = SecretStore::new(&layout.root, settings);
    secrets.set_sealed(sealed(layout)?);
    Worker::with_id(layout, settings, NodeId(id), format!("lone-{id:016x}"), project, secrets)
}

/// The folder of a run's attempt logs.
#[cfg(test)]
pub fn log_folder(layout: &Layout, run: RunId) -> PathBuf {
    moa_connectors::log_dir(&layout.state(), run)
}

/// The attempt logs of a run.
pub fn list_logs(layout: &Layout, run: RunId) -> Result<Vec<LogFile>> {
    let logs = moa_connectors::list_logs(&layout.state(), run);
    logs.map_err(|e| Failure::io(format!("can't read the logs of run {run}"), &e))
}

/// A piece of an attempt's log.
pub fn read_log(log: &Path, from: u64, max: usize) -> Result<LogPart> {
    let part = moa_connectors::read_log(log, from, max);
    part.map_err(|e| Failure::io(format!("can't read {}", log.display()), &e))
}

/// Removes what attempts of a run left in the project's state: for attempts outside of any run.
pub fn forget_attempts(layout: &Layout, run: RunId) {
    let work = layout.state().join("work").join(run.to_string());
    for folder in [moa_connectors::log_dir(&layout.state(), run), work] {
        // Nothing was written, most often.
        let _ = std::fs::remove_dir_all(folder);
    }
}

/// What an agent wrote, safe to show on a terminal.
pub fn terminal_text(bytes: &[u8]) -> String {
    moa_connectors::sanitize_for_terminal(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_of_webhooks_are_known_by_their_names() {
        let name = Name::new("billing").expect("a name");
        assert!(moa_spec::channel_of(&name).as_str().starts_with(moa_connectors::WEBHOOKS));
    }
}
