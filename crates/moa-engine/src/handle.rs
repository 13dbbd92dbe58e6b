//! The door to a running engine: a cheap clone that hides the channel to the node's thread.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use moa_core::agent::AgentSpec;
use moa_core::event::{Event, InstIx, Published};
use moa_core::ids::{Name, NodeId, RunId};
use moa_core::limit::{Held, Usage};
use moa_core::run::RunStatus;
use moa_core::schema::Schemas;
use moa_core::time::Millis;
use moa_core::trace::TraceContext;
use moa_core::trigger::{TriggerAnswer, TriggerCommand, TriggerId, TriggerInput, TriggerSpec};
use moa_core::workflow::Priority;
use moa_ports::agent::{Completions, Worker};
use moa_ports::store::Store;
use moa_ports::triggers::Posted;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use tokio::sync::{broadcast, oneshot, watch};

use crate::meter::Meter;
use crate::shell::{self, Msg};

/// Why the engine refused a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Error {
    /// There is no such run.
    #[error("there is no run {run}")]
    UnknownRun {
        /// The run asked for.
        run: RunId,
    },
    /// There is no such workflow, or no such version of it.
    #[error("there is no workflow {workflow}{}", version.as_ref().map(|v| format!("@{v}")).unwrap_or_default())]
    UnknownWorkflow {
        /// The workflow asked for.
        workflow: String,
        /// The version asked for.
        version: Option<String>,
    },
    /// The run's state doesn't allow it.
    #[error("{reason}")]
    Rejected {
        /// Why, for people.
        reason: String,
    },
    /// The store can't take it now; nothing was done.
    #[error("{reason}")]
    Unavailable {
        /// Why, for people.
        reason: String,
    },
    /// The engine is stopping, or has stopped.
    #[error("the engine is stopping")]
    Stopping,
}

/// A request for a new run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StartRequest {
    /// The workflow's id.
    pub workflow: Name,
    /// A version label or the start of a hash; `None` = the newest.
    #[serde(default)]
    pub version: Option<String>,
    /// Params, checked and with defaults filled in by the caller.
    pub params: Json,
    /// The same key starts one run.
    #[serde(default)]
    pub idempotency_key: Option<String>,
    /// Priority, when not the workflow's.
    #[serde(default)]
    pub priority: Option<Priority>,
    /// The span that it is started from, if somebody outside said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<TraceContext>,
    /// Who or what starts it, for people.
    pub cause: String,
}

/// What became of a request for a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "started", rename_all = "snake_case")]
pub enum Started {
    /// It exists now.
    New {
        /// The run.
        run: RunId,
    },
    /// It existed already (same idempotency key).
    Existing {
        /// The run.
        run: RunId,
    },
    /// Its concurrency key is used up, and the workflow says skip.
    Skipped,
}

/// A request for more of an agent's budget, for the window that now is in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GrantRequest {
    /// The agent.
    pub agent: Name,
    /// How much more.
    pub more: Usage,
    /// The same key is the same grant, as long as it is among the newest of the agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

/// A request for a run that takes over a part of an ended one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ForkRequest {
    /// The run that it comes from; it must be terminal.
    pub run: RunId,
    /// Which steps are done again, with all that depends on them.
    pub from: ForkFrom,
    /// Params, when not those of the first run.
    #[serde(default)]
    pub params: Option<Json>,
    /// The same key makes one run.
    #[serde(default)]
    pub idempotency_key: Option<String>,
    /// Who asks, for people.
    pub cause: String,
}

/// Where a repeated run starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ForkFrom {
    /// At the steps that failed or were cancelled (`moa runs retry`).
    Failed,
    /// At this step id (`moa runs rerun --from`); with an iteration, `lint[2]`, only there.
    Step(String),
    /// At the beginning.
    Start,
}

/// A change of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum Change {
    /// A signal.
    Signal {
        /// Its name.
        name: String,
        /// The same key is the same signal.
        #[serde(default)]
        key: Option<String>,
        /// What it carries.
        payload: Json,
    },
    /// An event, for this run alone.
    Event {
        /// Its type.
        #[serde(rename = "type")]
        event: String,
        /// Its data.
        data: Json,
    },
    /// Start no new attempt.
    Pause,
    /// Start attempts again.
    Resume,
    /// End, but let what cleans up run.
    Cancel {
        /// Why.
        reason: String,
    },
    /// End now.
    Terminate {
        /// Why.
        reason: String,
    },
}

/// A committed change, as subscribers get it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Committed {
    /// Event number over all runs.
    pub seq: u64,
    /// The run; [`moa_core::machine::BUS`] = events were published, up to this number.
    pub run: RunId,
    /// The run's version after it; of the bus, the number.
    pub version: u64,
    /// When.
    pub at: Millis,
    /// The run's status after it; the bus has none, and is told as pending.
    pub status: RunStatus,
    /// What happened, in order. Empty when nobody listened yet as it was decided: the store has it.
    pub events: Vec<Event>,
}

/// What the engine is doing, at this moment.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Attempts running, by agent.
    pub running: BTreeMap<Name, u32>,
    /// Tasks that wait for a slot, by agent.
    pub ready: BTreeMap<Name, u32>,
    /// Agents with such tasks whose limits let none of them start, as it was when one was looked for.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub held: BTreeMap<Name, Held>,
    /// Runs in memory.
    pub runs_cached: usize,
    /// Commits done since the start.
    pub commits: u64,
    /// Batches done since the start.
    pub batches: u64,
    /// Why it can't write just now, if it can't.
    pub degraded: Option<String>,
    /// Whether it is stopping.
    pub stopping: bool,
    /// Runs that moa itself failed on, and how: nothing is done with them until it starts again.
    #[serde(default)]
    pub quarantined: BTreeMap<RunId, String>,
    /// The runs that it serves, with what they started; `None` = all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only: Option<Vec<RunId>>,
}

/// What an engine executes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Serves {
    /// Every open run.
    Everything,
    /// Only runs that it starts, repeats, or is told to serve ([`Handle::serve`]), with what they
    /// start. All else stays in the store as it is; a change of another run is recorded, and what
    /// follows from it waits for an engine that serves that run.
    Asked,
}

/// Settings of an engine.
#[derive(Debug, Clone)]
pub struct Options {
    /// This start of this process.
    pub node: NodeId,
    /// Attempts at once over all agents that cost something.
    pub max_running: u32,
    /// What it executes.
    pub serves: Serves,
    /// Whether it serves triggers: a node that is there for one run only must not.
    pub triggers: Option<ServeTriggers>,
    /// What attempts that earlier nodes left have written down of what they had spent.
    pub left: LeftUsage,
}

/// What attempts have spent whose node is gone: run, step and number of each.
pub type LeftUsage = BTreeMap<(RunId, InstIx, u32), Usage>;

/// How triggers are served.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ServeTriggers {
    /// No slot of the past is started before this instant: the process was started too often lately
    /// (see `moa_core::schedule::Restarts`).
    pub catch_up_from: Option<Millis>,
    /// Whether nothing is served before [`Handle::serve_triggers`]: what is stored may not be what
    /// the definitions say by now.
    pub held: bool,
}

/// Starts engines.
pub struct Engine;

impl Engine {
    /// Starts an engine on a thread of its own. `schemas` compiles the schemas of outputs and params; `worker`
    /// makes the worker, given where ends go.
    ///
    /// # Errors
    /// The store can't be read or written, or the thread can't be started.
    pub fn start(
        options: Options,
        store: Arc<dyn Store>,
        agents: BTreeMap<Name, Arc<AgentSpec>>,
        schemas: Arc<dyn Schemas>,
        worker: impl FnOnce(Arc<dyn Completions>) -> Arc<dyn Worker>,
    ) -> Result<Handle, moa_ports::store::Error> {
        shell::start(options, store, agents, schemas, worker)
    }
}

/// The door to a running engine.
#[derive(Clone)]
pub struct Handle {
    pub(crate) inbox: mpsc::Sender<Msg>,
    pub(crate) events: broadcast::Sender<Arc<Committed>>,
    pub(crate) ended: watch::Receiver<Option<Ended>>,
    pub(crate) set_back: Arc<AtomicU64>,
}

/// How an engine ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// It was asked to.
    Stopped,
    /// The store is damaged or too new.
    Failed(moa_ports::store::Error),
}

impl Handle {
    async fn ask<T>(
        &self,
        make: impl FnOnce(oneshot::Sender<T>) -> Msg,
        stopping: impl FnOnce() -> T,
    ) -> T {
        let (reply, answer) = oneshot::channel();
        if self.inbox.send(make(reply)).is_err() {
            return stopping();
        }
        answer.await.unwrap_or_else(|_| stopping())
    }

    /// How often somebody has set the wall clock back since the engine started.
    pub fn times_set_back(&self) -> u64 {
        self.set_back.load(Ordering::Relaxed)
    }

    /// Starts a run; answers when it is durable.
    pub async fn start_run(&self, request: StartRequest) -> Result<Started, Error> {
        self.ask(|reply| Msg::Start(Box::new(request), reply), || Err(Error::Stopping)).await
    }

    /// Repeats a run in part; answers when the new run is durable.
    pub async fn fork(&self, request: ForkRequest) -> Result<RunId, Error> {
        self.ask(|reply| Msg::Fork(Box::new(request), reply), || Err(Error::Stopping)).await
    }

    /// Changes a run; answers when the change is durable. Also one that the engine doesn't execute:
    /// see [`Serves::Asked`].
    pub async fn change(&self, run: RunId, change: Change) -> Result<(), Error> {
        self.ask(|reply| Msg::Change(run, change, reply), || Err(Error::Stopping)).await
    }

    /// Adds to the budget of an agent; answers when that is durable.
    pub async fn grant(&self, request: GrantRequest) -> Result<(), Error> {
        self.ask(|reply| Msg::Grant(request, reply), || Err(Error::Stopping)).await
    }

    /// Executes this run too, with all that it starts, when the engine executes only what it is asked
    /// to. The run is one that no other started. What an earlier node left of its attempts must have
    /// ended: they count as lost.
    pub fn serve(&self, run: RunId) {
        // An engine that has ended serves nothing.
        let _ = self.inbox.send(Msg::Serve(run));
    }

    /// Makes a trigger, or changes what it says; answers when that is durable.
    pub async fn put_trigger(&self, spec: TriggerSpec) -> Result<TriggerAnswer, Error> {
        let id = spec.id();
        self.trigger_input(id, TriggerInput::Put { spec: Arc::new(spec) }).await
    }

    /// Serves triggers from now on, where they have been held since the start. See [`ServeTriggers`].
    pub fn serve_triggers(&self) {
        // An engine that has ended serves nothing.
        let _ = self.inbox.send(Msg::ServeTriggers);
    }

    /// Takes a trigger's definition away; answers when that is durable.
    pub async fn remove_trigger(&self, id: TriggerId) -> Result<TriggerAnswer, Error> {
        self.trigger_input(id, TriggerInput::Remove).await
    }

    /// Says of a rule whether its workflow is gone; answers when that is durable.
    pub async fn orphan_trigger(&self, id: TriggerId, gone: bool) -> Result<TriggerAnswer, Error> {
        self.trigger_input(id, TriggerInput::Orphaned { gone }).await
    }

    /// Judges a trigger as if the instant had come that it asked for: that may be one of a clock that
    /// was wrong.
    pub async fn judge_trigger(&self, id: TriggerId) -> Result<TriggerAnswer, Error> {
        self.trigger_input(id, TriggerInput::Due).await
    }

    /// Does something with a trigger; answers when it is durable.
    pub async fn trigger(
        &self,
        id: TriggerId,
        command: TriggerCommand,
    ) -> Result<TriggerAnswer, Error> {
        self.trigger_input(id, TriggerInput::Command(command)).await
    }

    /// Tells a trigger what was found for it outside the engine. The same key is the same
    /// occurrence, however often it is told.
    pub async fn occurred(
        &self,
        id: TriggerId,
        key: String,
        data: Arc<Json>,
    ) -> Result<TriggerAnswer, Error> {
        self.trigger_input(id, TriggerInput::Occurred { key, data }).await
    }

    async fn trigger_input(
        &self,
        id: TriggerId,
        input: TriggerInput,
    ) -> Result<TriggerAnswer, Error> {
        let make = |reply| Msg::Trigger(id, Box::new(input), reply);
        self.ask(make, || Err(Error::Stopping)).await
    }

    /// Publishes an event to whoever waits for it or listens; answers when it is durable: its number,
    /// and whether it is new. The same key is the same event.
    pub async fn publish(&self, event: Published) -> Result<Posted, Error> {
        let event = Box::new(event);
        self.ask(|reply| Msg::Publish(event, reply), || Err(Error::Stopping)).await
    }

    /// Puts these agents in the place of the known ones, for attempts that start from now on.
    pub fn set_agents(&self, agents: BTreeMap<Name, Arc<AgentSpec>>) {
        // An engine that has ended needs no agents.
        let _ = self.inbox.send(Msg::Agents(agents));
    }

    /// Every committed change from now on. A subscriber that falls behind by 4,096 changes gets
    /// `Lagged` and reads the store instead: the engine never waits for it.
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<Committed>> {
        self.events.subscribe()
    }

    /// What it is doing.
    pub async fn status(&self) -> Status {
        let stopped = || Status { stopping: true, ..Status::default() };
        self.ask(Msg::Status, stopped).await
    }

    /// What it has done since it started, in numbers.
    pub async fn meter(&self) -> Meter {
        self.ask(Msg::Meter, Meter::default).await
    }

    /// Stops: no new attempt starts; running ones get `drain` to end, then they are stopped and
    /// released (they don't count). Answers when all is durable. A second call ends the drain.
    pub async fn stop(&self, drain: Duration) {
        self.ask(|reply| Msg::Stop(drain, reply), || ()).await;
    }

    /// Waits until the engine has ended.
    pub async fn ended(&self) -> Ended {
        let mut ended = self.ended.clone();
        let end = ended.wait_for(Option::is_some).await;
        end.ok().and_then(|e| e.clone()).unwrap_or(Ended::Stopped)
    }
}
