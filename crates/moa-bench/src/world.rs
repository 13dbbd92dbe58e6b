//! A store, an engine and agents, put together as the product does.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail};
use moa_connectors::{LocalWorker, SharedAgents, SharedChannels, WorkerOptions};
use moa_core::agent::{AgentKind, AgentSpec, CommandSpec, ProcessLimits};
use moa_core::ids::{Name, NodeId, RunId};
use moa_core::limit::AgentLimits;
use moa_core::limits::ATTEMPT_LOG_BYTES_DEFAULT;
use moa_core::schema::NoSchemas;
use moa_core::time::{Millis, Span};
use moa_core::trigger::TriggerSpec;
use moa_core::workflow::Plan;
use moa_engine::handle::{
    Change, Engine, Handle, Options as EngineOptions, Serves, StartRequest, Started,
};
use moa_ports::agent::Secrets;
use moa_ports::store::{Store, WorkflowVersion};
use moa_ports::views::Views;
use moa_sqlite::SqliteStore;
use serde_json::{Value as Json, json};
use tokio::runtime::Runtime;
use tokio::task::{JoinError, JoinSet};

use crate::finish::Finish;
use crate::options::Options;
use crate::plans;

/// Attempts of processes at once.
const MAX_RUNNING: u32 = 16;
/// How long an engine may take to stop.
const DRAIN: Duration = Duration::from_secs(10);

/// A running engine on a store of its own.
pub struct World {
    dir: PathBuf,
    runtime: Runtime,
    handle: Handle,
    store: Arc<SqliteStore>,
    setup: Setup,
}

/// What an engine is started with beside the usual.
#[derive(Clone)]
pub struct Setup {
    /// Attempts at once, of agents that take a slot: processes, and whatever has limits.
    pub max_running: u32,
    /// Whether it serves triggers.
    pub triggers: bool,
    /// Limits of the agent that does nothing.
    pub limits: AgentLimits,
}

impl Default for Setup {
    fn default() -> Self {
        Self { max_running: MAX_RUNNING, triggers: false, limits: AgentLimits::default() }
    }
}

struct NoSecrets;

impl Secrets for NoSecrets {
    fn get(&self, _: &str) -> Option<zeroize::Zeroizing<String>> {
        None
    }
}

impl World {
    /// A new store in the bench folder, with these workflows, and an engine on it.
    pub fn fresh(options: &Options, name: &str, plans: &[Plan]) -> Result<Self> {
        Self::fresh_with(options, name, plans, Setup::default())
    }

    /// The same, and the engine is started with something beside the usual.
    pub fn fresh_with(options: &Options, name: &str, plans: &[Plan], setup: Setup) -> Result<Self> {
        let dir = options.dir.join(name);
        if dir.exists() {
            std::fs::remove_dir_all(&dir).context("the last bench's folder")?;
        }
        std::fs::create_dir_all(&dir)?;
        let world = Self::open(dir, setup)?;
        for plan in plans {
            world.put(plan)?;
        }
        Ok(world)
    }

    /// Opens the store in `dir` and starts an engine on it.
    fn open(dir: PathBuf, setup: Setup) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .context("the runtime")?;
        let store = Arc::new(SqliteStore::open(&dir.join("moa.db"), Default::default())?);
        let agents = agents(&setup.limits);
        let node =
            NodeId(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_nanos() as u64);
        let worker = WorkerOptions {
            runtime: runtime.handle().clone(),
            project_dir: dir.clone(),
            state_dir: dir.clone(),
            agents: SharedAgents::new(agents.values().cloned()),
            secrets: Arc::new(NoSecrets),
            node,
            store_id: "bench".into(),
            channels: SharedChannels::default(),
            log_bytes_max: ATTEMPT_LOG_BYTES_DEFAULT,
            traced: None,
        };
        let handle = Engine::start(
            EngineOptions {
                node,
                max_running: setup.max_running,
                serves: Serves::Everything,
                triggers: setup.triggers.then(Default::default),
                left: Default::default(),
            },
            store.clone() as Arc<dyn Store>,
            agents,
            Arc::new(NoSchemas),
            |completions| LocalWorker::new(worker, completions),
        )?;
        Ok(Self { dir, runtime, handle, store, setup })
    }

    /// Stops the engine, opens the store again and starts another one. Answers it with the seconds
    /// that the opening took.
    pub fn reopen(self) -> Result<(Self, f64)> {
        let setup = self.setup.clone();
        let dir = self.stop();
        let start = Instant::now();
        let world = Self::open(dir, setup)?;
        Ok((world, start.elapsed().as_secs_f64()))
    }

    /// Stops the engine and deletes the store.
    pub fn close(self) -> Result<()> {
        std::fs::remove_dir_all(self.stop()).context("the bench's store")
    }

    /// Stops the engine and closes the store; answers its folder.
    pub fn stop(self) -> PathBuf {
        let Self { dir, runtime, handle, store, setup: _ } = self;
        runtime.block_on(handle.stop(DRAIN));
        drop(handle);
        drop(runtime);
        // The engine's thread gives back its share of the store a moment after it has said so.
        while Arc::strong_count(&store) > 1 {
            std::thread::yield_now();
        }
        dir
    }

    /// The store.
    pub fn store(&self) -> Arc<SqliteStore> {
        self.store.clone()
    }

    /// The store's folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Runs a future to its end.
    pub fn block_on<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        self.runtime.block_on(work)
    }

    /// Follows the ends of runs from now on.
    pub fn finish(&self) -> Finish {
        Finish::new(self.handle.subscribe(), self.store.clone() as Arc<dyn Views>)
    }

    /// Starts a run; answers when it is durable.
    pub async fn start(&self, workflow: &str, params: Option<Json>) -> Result<RunId> {
        start(&self.handle, workflow, params.unwrap_or_else(|| json!({}))).await
    }

    /// Starts so many runs, with so many starts in flight.
    pub async fn start_many(&self, workflow: &str, count: usize, in_flight: usize) -> Result<()> {
        let mut starts = JoinSet::new();
        for _ in 0..count {
            if starts.len() >= in_flight {
                joined(starts.join_next().await)?;
            }
            starts.spawn(started(self.handle.clone(), workflow.to_owned()));
        }
        while !starts.is_empty() {
            joined(starts.join_next().await)?;
        }
        Ok(())
    }

    /// Runs so many runs to their ends, so many open at once.
    pub async fn run_all(&self, workflow: &str, count: usize, open: usize) -> Result<()> {
        let mut finish = self.finish();
        let mut starts = JoinSet::new();
        let mut begun = 0;
        while finish.ended < count {
            while begun < count && begun - finish.ended < open {
                starts.spawn(started(self.handle.clone(), workflow.to_owned()));
                begun += 1;
            }
            // Both are awaited: a start that fails would otherwise be waited for without end.
            tokio::select! {
                start = starts.join_next(), if !starts.is_empty() => finish.started(joined(start)?),
                next = finish.next() => next?,
            }
            while let Some(start) = starts.try_join_next() {
                finish.started(joined(Some(start))?);
            }
        }
        Ok(())
    }

    /// Puts so many triggers, with so many in flight.
    pub async fn put_triggers(
        &self,
        specs: impl Iterator<Item = TriggerSpec>,
        in_flight: usize,
    ) -> Result<()> {
        let mut puts = JoinSet::new();
        for spec in specs {
            if puts.len() >= in_flight {
                puts.join_next().await.context("a put is awaited")???;
            }
            let handle = self.handle.clone();
            puts.spawn(async move { handle.put_trigger(spec).await });
        }
        while let Some(put) = puts.join_next().await {
            put??;
        }
        Ok(())
    }

    /// Sends a signal; answers when it is durable.
    pub async fn signal(&self, run: RunId, name: &str) -> Result<()> {
        let change = Change::Signal { name: name.to_owned(), key: None, payload: Json::Null };
        Ok(self.handle.change(run, change).await?)
    }

    fn put(&self, plan: &Plan) -> Result<()> {
        let version = WorkflowVersion {
            workflow: plan.workflow.clone(),
            hash: plan.hash,
            version: None,
            source: String::new(),
            plan: serde_json::to_string(plan)?,
            created_at: Millis(0),
        };
        let (send, answer) = std::sync::mpsc::channel();
        let reply = Box::new(move |done| drop(send.send(done)));
        self.store.put_workflow(Millis(0), version, reply);
        Ok(answer.recv().context("the store gave no answer")??)
    }
}

async fn started(handle: Handle, workflow: String) -> Result<RunId> {
    start(&handle, &workflow, json!({})).await
}

async fn start(handle: &Handle, workflow: &str, params: Json) -> Result<RunId> {
    let request = StartRequest {
        workflow: plans::name(workflow),
        version: None,
        params,
        idempotency_key: None,
        priority: None,
        trace: None,
        cause: "bench".into(),
    };
    match handle.start_run(request).await? {
        Started::New { run } => Ok(run),
        other => bail!("not started: {other:?}"),
    }
}

fn joined(start: Option<Result<Result<RunId>, JoinError>>) -> Result<RunId> {
    start.context("a start is awaited")?.context("a start panicked")?
}

/// The agents of the benches: one that does nothing, one that starts /bin/true.
fn agents(limits: &AgentLimits) -> BTreeMap<Name, Arc<AgentSpec>> {
    let command = CommandSpec {
        argv: vec!["/bin/true".into()],
        cwd: None,
        retry_exit_codes: Vec::new(),
        permanent_exit_codes: Vec::new(),
        grace: Span::seconds(5),
        limits: ProcessLimits::default(),
    };
    let kinds = [
        (plans::NOOP, AgentKind::Builtin("noop".into())),
        (plans::TRUE, AgentKind::Command(command)),
    ];
    let mut all: BTreeMap<Name, AgentSpec> =
        kinds.into_iter().map(|(id, kind)| (plans::name(id), agent(id, kind))).collect();
    if let Some(noop) = all.get_mut(&plans::name(plans::NOOP)) {
        noop.limits = limits.clone();
    }
    all.into_iter().map(|(id, agent)| (id, Arc::new(agent))).collect()
}

fn agent(id: &str, kind: AgentKind) -> AgentSpec {
    AgentSpec {
        id: plans::name(id),
        name: None,
        description: None,
        tier: None,
        labels: BTreeMap::new(),
        actions: BTreeMap::new(),
        concurrency: None,
        limits: Default::default(),
        retry: None,
        timeout: None,
        once: false,
        env: BTreeMap::new(),
        kind,
    }
}
