//! A node: an engine on the project's store, kept up to date with the project's files, reachable
//! through the local socket.
//!
//! `moa up` starts one and keeps it; `moa run` starts one for the time of a run where none serves
//! the project. Such a node executes what it is asked to, and leaves every other open run as it is.
//! One thread serves the socket and looks at files, the engine and the store have threads of their
//! own, and attempts run on another runtime: nothing here waits for an agent.

pub mod agents;
mod backups;
mod came;
mod delete;
pub mod door;
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
mod running;
pub mod saved;
mod secrets;
pub mod supervisor;
mod threads;
pub mod tokens;
pub mod trials;
pub mod triggers;
pub mod user;
mod versions;
mod watch;

pub use running::{Options, Running, Start};

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use moa_core::event::Published;
use moa_core::ids::{Name, RunId, VersionHash};
use moa_core::run::RunRow;
use moa_core::trigger::{TriggerAnswer, TriggerCommand, TriggerId};
use moa_engine::Handle;
use moa_engine::audit::Audit;
use moa_engine::handle::{Change, Committed, ForkRequest, StartRequest, Started};
use moa_engine::jobs::JobStatus;
use moa_ports::store::{Store, WorkflowVersion};
use moa_ports::triggers::Posted;
use moa_ports::views::Views;
use serde_json::{Map, Value as Json};
use tokio::sync::{Mutex, broadcast, oneshot};

use crate::config::Config;
use crate::control::protocol::{NodeInfo, NodeStatus, StartRun};
use crate::exit::{Exit, Failure, Result};
use crate::jobs::Housekeeping;
use crate::jobs::webhooks::Subscriptions;
use crate::jobs::webhooks::kept::Gone;
use crate::node::tokens::Access;
use crate::project::{self, Layout, Served};
use crate::reader::{Reader, plan};
use crate::refresh::Watched;
use crate::secrets::SecretStore;
use crate::secrets::vault::Vault;
use crate::wire::Worker;
use crate::{needed, view};

/// Time between two looks at the project's files.
const LOOK_EVERY: Duration = Duration::from_secs(2);

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

/// What is kept of what people tried and saved, in small files beneath the project's state, and whose turn
/// it is to get a backup.
struct Notes {
    /// Tests of agents.
    trials: Arc<trials::Trials>,
    /// Filters of runs.
    saved: saved::Saved,
    /// Backups for people elsewhere.
    backups: backups::Backups,
}

impl Notes {
    fn of(state: &Path) -> Self {
        let trials = Arc::new(trials::Trials::read(state));
        let (saved, backups) = (saved::Saved::new(state), backups::Backups::begin(state));
        Self { trials, saved, backups }
    }
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
        let warning = warning(&watched);
        drop(watched);
        Ok(Self::hidden(&self.secrets, warning).await)
    }

    async fn look(&self, watched: &mut Watched) -> Result<()> {
        self.look_at_files(watched)?;
        self.catch_up(watched).await
    }

    fn look_at_files(&self, watched: &mut Watched) -> Result<()> {
        let Some(change) = watched.look()? else { return Ok(()) };
        if let Some(warning) = warning(watched) {
            let warning = self.secrets.redactor().text(&warning).into_owned();
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
            None => match self.served(&watched, name) {
                Ok(served) => served.plan.clone(),
                Err(mut failure) => {
                    failure.detail = Self::hidden(&self.secrets, failure.detail).await;
                    return Err(failure);
                }
            },
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
        let warning = Self::hidden(&self.secrets, warning).await;
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
            view::backfill::check(&*self.views, &row, request, age).await?;
        }
        Ok(self.engine.trigger(id, command).await?)
    }

    /// Publishes an event of somebody's; answers its number, and whether it is new.
    pub async fn publish(&self, event: Published) -> Result<Posted> {
        view::events::check_published(&event.event).map_err(Failure::usage)?;
        self.tell(event).await
    }

    /// Publishes an event, also one of moa's own; answers its number, and whether it is new.
    pub async fn tell(&self, event: Published) -> Result<Posted> {
        view::events::check_type(&event.event).map_err(Failure::usage)?;
        if self.info.transient {
            let mut watched = self.watched.lock().await;
            self.look(&mut watched).await?;
            // A trigger that no node has served yet would never hear of it.
            triggers::put_listeners(&self.engine, &*self.views, &watched, &event.event).await?;
        }
        Ok(self.engine.publish(event).await?)
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

    /// The agents that take no new task, and who wants it so.
    pub fn paused(&self) -> BTreeMap<Name, moa_view::node::PausedAgent> {
        self.paused.all()
    }

    /// The version that the file of a workflow makes; `None` = there is no such file, or it was never
    /// good.
    pub async fn version_of(&self, workflow: &Name) -> Option<VersionHash> {
        let watched = self.watched.lock().await;
        watched.project.workflows.get(workflow).map(|served| served.plan.hash)
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
        let workflows = workflows.map(|(name, w)| (name.clone(), w.plan.hash)).collect();
        let warning = warning(&watched);
        drop(watched);
        NodeStatus {
            info: self.info.clone(),
            engine,
            max_running: self.max_running,
            workflows,
            warning: Self::hidden(&self.secrets, warning).await,
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
