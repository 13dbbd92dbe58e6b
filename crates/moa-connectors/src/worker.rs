//! The worker: takes tasks from the engine, runs their agents in this process, and gives back how
//! the attempts ended.
//!
//! [`LocalWorker::start`] is called from the engine's own thread, maybe 100,000 times a second. An
//! agent that is known never to block is polled there and then, and an attempt that is ready at once
//! costs no task, no timer and no file. Everything else is spawned on the runtime.
//!
//! **Invariant**: every started attempt ends with exactly one completion, whatever its agent does:
//! it may hang (its limit holds), refuse to stop (its future is dropped), or panic.
//!
//! Absent: leases, retries, queues, concurrency limits. The engine has those.

use std::any::Any;
use std::collections::{BTreeMap, HashMap};
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use moa_core::event::InstIx;
use moa_core::ids::{Name, NodeId, RunId};
use moa_core::limit::Usage;
use moa_core::limits::OUTPUT_INLINE_BYTES_MAX;
use moa_core::machine::Outcome;
use moa_core::step::{ErrorKind, StepError};
use moa_core::time::Millis;
use moa_ports::agent::{
    CancellationToken, Completion, Completions, Output, Secrets, Task, TaskError, Worker,
};
use serde_json::{Value as Json, json};
use tokio::runtime::Handle;

use crate::agents::{Entry, SharedAgents};
use crate::artifact::ArtifactStore;
use crate::http::EndpointState;
use crate::log::{LogWriter, Shape};
use crate::notify::SharedChannels;
use crate::output;
use crate::prepare::{Prepared, prepare};
use crate::redact::Redactor;
use crate::registry::{Kind, Registry, grace};

/// How long past its grace an attempt that was asked to stop may take before it is dropped.
const DROPPED_AFTER: Duration = Duration::from_secs(10);

/// What a worker needs.
#[derive(Clone)]
pub struct WorkerOptions {
    /// Where attempts run that are not done at once. Needs I/O and time.
    pub runtime: Handle,
    /// The project's folder.
    pub project_dir: PathBuf,
    /// The folder of the project's state: logs, artifacts and work folders are beneath it.
    pub state_dir: PathBuf,
    /// The agents that there are.
    pub agents: SharedAgents,
    /// Where secrets are looked up.
    pub secrets: Arc<dyn Secrets>,
    /// This start of this process.
    pub node: NodeId,
    /// The identity of the store: processes that it started are known by it.
    pub store_id: String,
    /// The notification channels.
    pub channels: SharedChannels,
    /// Bytes kept of the log of one attempt.
    pub log_bytes_max: u64,
    /// The share of the traces that is sent, from 0 to 1; `None` = there are no traces.
    pub traced: Option<f64>,
}

/// Runs agents in this process.
pub struct LocalWorker {
    shared: Arc<Shared>,
}

pub(crate) struct Shared {
    runtime: Handle,
    agents: SharedAgents,
    registry: Registry,
    completions: Arc<dyn Completions>,
    artifacts: ArtifactStore,
    running: Mutex<HashMap<Key, Arc<Running>>>,
    pub secrets: Arc<dyn Secrets>,
    pub project_dir: Arc<PathBuf>,
    pub state_dir: PathBuf,
    pub log_shape: Shape,
    pub traced: Option<f64>,
    /// What most attempts have, made once.
    pub null: Arc<Json>,
    pub no_texts: Arc<BTreeMap<String, String>>,
    pub no_secrets: Arc<Redactor>,
}

type Key = (RunId, InstIx, u32);
type Work = Pin<Box<dyn Future<Output = Result<Output, TaskError>> + Send>>;

/// An attempt that was not done at once.
struct Running {
    doing: Doing,
    token: CancellationToken,
    asked: AtomicU8,
}

/// What an attempt that runs is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doing {
    /// The run.
    pub run: RunId,
    /// Its workflow.
    pub workflow: Name,
    /// The step, as people name it: `lint[2]`.
    pub step: String,
    /// The attempt, from 1.
    pub attempt: u32,
    /// The agent.
    pub agent: Name,
    /// What is asked of it.
    pub action: String,
    /// When it was given to this worker.
    pub since: Millis,
    /// The number of its program; `None` = it has none, or not yet.
    pub pid: Option<i32>,
}

impl Doing {
    fn of(task: &Task) -> Self {
        let (run, attempt, since) = (task.run, task.attempt, task.leased_at);
        let step = match task.iteration.as_str() {
            "" => task.step.clone(),
            iteration => format!("{}[{iteration}]", task.step),
        };
        let (workflow, agent, action) =
            (task.workflow.clone(), task.agent.clone(), task.action.clone());
        Self { run, workflow, step, attempt, agent, action, since, pid: None }
    }
}

/// Who asked an attempt to stop; the first one counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Nobody = 0,
    Cancel = 1,
    Release = 2,
    Timeout = 3,
}

impl Running {
    fn ask(&self, who: Asked) {
        let nobody = Asked::Nobody as u8;
        let _ = self.asked.compare_exchange(nobody, who as u8, Ordering::SeqCst, Ordering::SeqCst);
        self.token.cancel();
    }

    fn asked(&self) -> Asked {
        match self.asked.load(Ordering::SeqCst) {
            1 => Asked::Cancel,
            2 => Asked::Release,
            3 => Asked::Timeout,
            _ => Asked::Nobody,
        }
    }
}

impl LocalWorker {
    /// A worker that says to `completions` how attempts ended.
    pub fn new(mut options: WorkerOptions, completions: Arc<dyn Completions>) -> Arc<Self> {
        // Agents run elsewhere than this process: what they are told must not depend on where.
        for dir in [&mut options.project_dir, &mut options.state_dir] {
            *dir = std::path::absolute(&*dir).unwrap_or_else(|_| dir.clone());
        }
        let registry = Registry::new(&options);
        Arc::new(Self {
            shared: Arc::new(Shared {
                registry,
                completions,
                artifacts: ArtifactStore::new(&options.state_dir),
                running: Mutex::default(),
                runtime: options.runtime,
                agents: options.agents,
                secrets: options.secrets,
                project_dir: Arc::new(options.project_dir),
                state_dir: options.state_dir,
                log_shape: Shape::new(options.log_bytes_max),
                traced: options.traced,
                null: Arc::new(Json::Null),
                no_texts: Arc::default(),
                no_secrets: Arc::default(),
            }),
        })
    }

    /// What the attempts that run are about, in no order.
    pub fn doing(&self) -> Vec<Doing> {
        let pids = self.shared.registry.processes.pids();
        let running = self.shared.running();
        let of = |(key, running): (&Key, &Arc<Running>)| Doing {
            pid: pids.get(key).copied(),
            ..running.doing.clone()
        };
        running.iter().map(of).collect()
    }

    /// What is known of each of these addresses of agents.
    pub fn endpoints(&self, urls: &[String]) -> Vec<EndpointState> {
        self.shared.registry.service.states(urls)
    }

    /// How many attempts run.
    pub fn running(&self) -> usize {
        self.shared.running().len()
    }
}

impl Worker for LocalWorker {
    fn start(&self, task: Task) {
        let shared = &self.shared;
        let key = (task.run, task.inst, task.attempt);
        let Some(entry) = shared.agents.entry(&task.agent) else {
            let error = StepError::new(ErrorKind::Permanent, shared.unknown_agent(&task));
            return shared.complete(key, Outcome::Failed { error }, Usage::NONE);
        };
        match shared.registry.kind(&entry.spec.kind) {
            None => {
                let why = format!("agent `{}` is of a kind that moa can't reach", task.agent);
                let error = StepError::new(ErrorKind::Permanent, why);
                shared.complete(key, Outcome::Failed { error }, Usage::NONE);
            }
            Some(kind) if kind.inline => start_inline(shared, kind, entry, task, key),
            Some(_) => {
                let running = shared.enter(key, &task, CancellationToken::new());
                let ending = Ending::new(shared, key);
                shared.runtime.spawn(attempt(ending, running, entry, task));
            }
        }
    }

    fn stop(&self, run: RunId, inst: InstIx, attempt: u32, release: bool) {
        let running = self.shared.running().get(&(run, inst, attempt)).cloned();
        if let Some(running) = running {
            running.ask(if release { Asked::Release } else { Asked::Cancel });
        }
    }
}

/// Does as much of an attempt as can be done at once. On the engine's thread, which nothing that an
/// attempt does may end: a panic is the attempt's failure.
fn start_inline(shared: &Arc<Shared>, kind: &Kind, entry: Arc<Entry>, task: Task, key: Key) {
    let _guard = shared.runtime.enter();
    let ready = catch_unwind(AssertUnwindSafe(|| {
        let prepared = prepare(shared, &entry, &task, CancellationToken::new())?;
        let task = Arc::new(task);
        let work = work_of(kind, &prepared, &task);
        Ok((prepared, task, work))
    }));
    let (prepared, task, mut work) = match ready {
        Ok(Ok(ready)) => ready,
        Ok(Err(error)) => return shared.complete(key, Outcome::Failed { error }, Usage::NONE),
        Err(panic) => return shared.complete(key, unprepared(&*panic), Usage::NONE),
    };
    let first = poll_caught(&mut work, &mut Context::from_waker(Waker::noop()));
    if let Poll::Ready(result) = first {
        let judged = Judged { prepared, entry, task, asked: Asked::Nobody, result };
        if let Some(outcome) = judged.outcome_caught() {
            return shared.complete(key, outcome, judged.prepared.log.usage());
        }
        let ending = Ending::new(shared, key);
        shared.runtime.spawn(async move { finish(ending, judged).await });
        return;
    }
    let running = shared.enter(key, &task, prepared.ctx.cancelled.clone());
    let ending = Ending::new(shared, key);
    shared.runtime.spawn(drive(ending, running, entry, task, prepared, work));
}

/// The end of an attempt that panicked before it did anything: it can be tried again.
fn unprepared(panic: &(dyn Any + Send)) -> Outcome {
    Outcome::Failed { error: StepError::new(ErrorKind::Retryable, panicked(panic)) }
}

/// A whole attempt, from its task to its completion.
async fn attempt(mut ending: Ending, running: Arc<Running>, entry: Arc<Entry>, task: Task) {
    let shared = ending.shared.clone();
    let ready = catch_unwind(AssertUnwindSafe(|| {
        prepare(&shared, &entry, &task, running.token.clone()).map(|prepared| {
            let task = Arc::new(task);
            let kind = shared.registry.kind(&entry.spec.kind);
            let work = kind.map(|kind| work_of(kind, &prepared, &task));
            (prepared, task, work)
        })
    }));
    match ready {
        Ok(Ok((prepared, task, Some(work)))) => {
            drive(ending, running, entry, task, prepared, work).await;
        }
        Ok(Ok((_, _, None))) => {}
        Ok(Err(error)) => ending.outcome = Outcome::Failed { error },
        Err(panic) => ending.outcome = unprepared(&*panic),
    }
}

/// The agent's part of an attempt, as a future that owns all it needs.
fn work_of(kind: &Kind, prepared: &Prepared, task: &Arc<Task>) -> Work {
    let (agent, ctx, task) = (kind.agent.clone(), prepared.ctx.clone(), task.clone());
    Box::pin(async move { agent.run(ctx, task).await })
}

/// Runs an attempt's future to its end, or ends it.
async fn drive(
    mut ending: Ending,
    running: Arc<Running>,
    entry: Arc<Entry>,
    task: Arc<Task>,
    prepared: Prepared,
    mut work: Work,
) {
    ending.log = Some(prepared.log.clone());
    let limit = prepared.limit.to_std();
    let first = tokio::select! {
        biased;
        result = poll_fn(|cx| poll_caught(&mut work, cx)) => Some(result),
        () = running.token.cancelled() => None,
        () = tokio::time::sleep(limit) => {
            running.ask(Asked::Timeout);
            None
        }
    };
    let result = match first {
        Some(result) => result,
        None => {
            let patience = grace(&entry.spec).to_std() + DROPPED_AFTER;
            let rest = poll_fn(|cx| poll_caught(&mut work, cx));
            tokio::time::timeout(patience, rest).await.unwrap_or_else(|_| {
                let why = format!("it did not stop within {patience:?} and was given up");
                Err(TaskError::Unknown(why))
            })
        }
    };
    drop(work);
    finish(ending, Judged { prepared, entry, task, asked: running.asked(), result }).await;
}

/// Judges an attempt's result; what takes long is done on a thread for such work.
async fn finish(mut ending: Ending, judged: Judged) {
    judged.prepared.log.finish();
    ending.log = Some(judged.prepared.log.clone());
    if let Some(outcome) = judged.outcome_caught() {
        ending.outcome = outcome;
        return;
    }
    let artifacts = ending.shared.clone();
    let kind = judged.done_kind();
    let stored = tokio::task::spawn_blocking(move || judged.outcome(&artifacts.artifacts)).await;
    ending.outcome = stored.unwrap_or_else(|_| {
        let why = "the output could not be stored";
        Outcome::Failed { error: StepError::new(kind, why) }
    });
}

/// Polls, and makes an error of a panic.
fn poll_caught(work: &mut Work, cx: &mut Context<'_>) -> Poll<Result<Output, TaskError>> {
    catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(cx))).unwrap_or_else(|panic| {
        // Unknown, so that it is tried again unless the action must not be repeated.
        Poll::Ready(Err(TaskError::Unknown(panicked(&*panic))))
    })
}

fn panicked(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("the agent's code panicked: {}", text.unwrap_or("no message"))
}

impl Shared {
    fn running(&self) -> std::sync::MutexGuard<'_, HashMap<Key, Arc<Running>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, key: Key, task: &Task, token: CancellationToken) -> Arc<Running> {
        let (doing, asked) = (Doing::of(task), AtomicU8::new(Asked::Nobody as u8));
        let running = Arc::new(Running { doing, token, asked });
        self.running().insert(key, running.clone());
        running
    }

    fn complete(&self, (run, inst, attempt): Key, outcome: Outcome, usage: Usage) {
        self.completions.complete(Completion { run, inst, attempt, outcome, usage });
    }

    fn unknown_agent(&self, task: &Task) -> String {
        let all = self.agents.all();
        let known: Vec<&str> = all.iter().map(|spec| spec.id.as_str()).take(20).collect();
        format!("there is no agent `{}`; there are: {}", task.agent, known.join(", "))
    }
}

/// Says how an attempt ended, once, even when its task is dropped with the runtime: then it is as if
/// the node had released it.
struct Ending {
    shared: Arc<Shared>,
    key: Key,
    outcome: Outcome,
    /// Knows what the attempt has spent, once it has begun.
    log: Option<Arc<LogWriter>>,
}

impl Ending {
    fn new(shared: &Arc<Shared>, key: Key) -> Self {
        Self { shared: shared.clone(), key, outcome: Outcome::Released, log: None }
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.shared.running().remove(&self.key);
        let outcome = std::mem::replace(&mut self.outcome, Outcome::Released);
        let usage = self.log.take().map_or(Usage::NONE, |log| log.usage());
        self.shared.complete(self.key, outcome, usage);
    }
}

/// An attempt whose agent is done.
struct Judged {
    prepared: Prepared,
    entry: Arc<Entry>,
    task: Arc<Task>,
    asked: Asked,
    result: Result<Output, TaskError>,
}

impl Judged {
    /// The same as `outcome_at_once`; a panic in it is a failure.
    fn outcome_caught(&self) -> Option<Outcome> {
        catch_unwind(AssertUnwindSafe(|| self.outcome_at_once())).unwrap_or_else(|panic| {
            let error = StepError::new(self.done_kind(), panicked(&*panic));
            Some(Outcome::Failed { error })
        })
    }

    /// The outcome, unless the output has to be stored as an artifact.
    fn outcome_at_once(&self) -> Option<Outcome> {
        let output = match &self.result {
            Ok(output) => output.value.as_ref(),
            Err(error) => return Some(self.failed(error)),
        };
        let bytes = match self.check(output.map_or(&Json::Null, |value| value)) {
            Ok(bytes) => bytes,
            Err(why) => return Some(self.error(ErrorKind::Output, &why)),
        };
        if bytes > OUTPUT_INLINE_BYTES_MAX {
            return None;
        }
        Some(Outcome::Succeeded { output: output.map(|value| self.redacted(value)) })
    }

    /// The outcome; stores the output as an artifact.
    fn outcome(self, artifacts: &ArtifactStore) -> Outcome {
        let Ok(Output { value: Some(value) }) = &self.result else {
            return self.outcome_at_once().unwrap_or(Outcome::Released);
        };
        let text = self.redacted(value).to_string();
        match artifacts.put(text.as_bytes()) {
            Ok(artifact) => {
                let path = artifact.path.strip_prefix(&**self.prepared.ctx.project_dir);
                let path = path.unwrap_or(&artifact.path).to_string_lossy();
                let reference = json!({
                    "artifact": artifact.hash,
                    "bytes": artifact.bytes,
                    "path": path,
                });
                Outcome::Succeeded { output: Some(Arc::new(reference)) }
            }
            Err(e) => {
                let why = format!("the output has {} bytes and can't be stored: {e}", text.len());
                self.error(self.done_kind(), &why)
            }
        }
    }

    fn is_once(&self) -> bool {
        self.task.once || self.entry.once(&self.task.action)
    }

    /// What kind of failure it is when the action is done, and what came of it is lost: only an
    /// action that may be repeated is made again.
    fn done_kind(&self) -> ErrorKind {
        if self.is_once() { ErrorKind::UnknownOutcome } else { ErrorKind::Retryable }
    }

    fn check(&self, value: &Json) -> Result<usize, String> {
        let bytes = output::measure(value)?;
        self.entry.check_output(&self.task.action, value)?;
        Ok(bytes)
    }

    fn redacted(&self, value: &Arc<Json>) -> Arc<Json> {
        let mut value = value.clone();
        if !self.prepared.redactor.is_empty() {
            self.prepared.redactor.json(Arc::make_mut(&mut value));
        }
        value
    }

    fn error(&self, kind: ErrorKind, why: &str) -> Outcome {
        let error = StepError::new(kind, self.prepared.log.redactor().text(why).into_owned());
        Outcome::Failed { error }
    }

    fn failed(&self, error: &TaskError) -> Outcome {
        let once = self.is_once();
        let message = error.to_string();
        match error {
            TaskError::Permanent(_) => self.error(ErrorKind::Permanent, &message),
            TaskError::CutShort(_) if once && self.asked != Asked::Cancel => {
                self.error(ErrorKind::UnknownOutcome, &message)
            }
            TaskError::Output(_) | TaskError::CutShort(_) => {
                self.error(ErrorKind::Output, &message)
            }
            TaskError::Retryable(_) => self.error(ErrorKind::Retryable, &message),
            TaskError::RateLimited { after, .. } => {
                let message = self.prepared.log.redactor().text(&message).into_owned();
                let error = StepError::new(ErrorKind::Retryable, message);
                Outcome::RateLimited { error, after: *after }
            }
            TaskError::Timeout(_) if once => self.error(ErrorKind::UnknownOutcome, &message),
            TaskError::Timeout(_) => self.error(ErrorKind::Timeout, &message),
            TaskError::Unknown(_) if once && self.asked != Asked::Cancel => {
                self.error(ErrorKind::UnknownOutcome, &self.stopped(&message))
            }
            TaskError::Cancelled | TaskError::Unknown(_) => match self.asked {
                Asked::Cancel => Outcome::Cancelled,
                Asked::Release => Outcome::Released,
                Asked::Timeout => self.error(ErrorKind::Timeout, &self.stopped(&message)),
                Asked::Nobody if *error == TaskError::Cancelled => {
                    self.error(ErrorKind::Cancelled, &message)
                }
                Asked::Nobody => self.error(ErrorKind::Retryable, &message),
            },
        }
    }

    fn stopped(&self, message: &str) -> String {
        match self.asked {
            Asked::Timeout => {
                format!("it took longer than its timeout of {}: {message}", self.prepared.limit)
            }
            Asked::Release => format!("moa was stopped while it ran: {message}"),
            Asked::Nobody | Asked::Cancel => message.to_owned(),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
