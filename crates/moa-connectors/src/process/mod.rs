//! Agents that are programs: kind `command`, and the built-in `shell`.
//!
//! **The contract.** The program runs in the project's folder (or `cwd` beneath it), in a process
//! group of its own. Standard input is one JSON document: `run`, `workflow`, `step`, `iteration`,
//! `attempt`, `agent`, `action`, `params`, `inputs`, `deadline`, `idempotency_key`; it is a file, so
//! it need not be read. The same is in `MOA_*` variables (see `environment`). What it writes to
//! standard output and standard error is the attempt's log.
//!
//! *Result*: the JSON in the file `$MOA_OUTPUT`, if it wrote one; else its standard output, when all
//! of that is one JSON value; else null. Of a `command`, an output that begins as a JSON object but
//! isn't one whole value, or that is binary, is an error, for it was meant as a result; of a `shell`
//! script it isn't, and the log says so.
//!
//! *Exit code*: 0 is success. 75 and `retry_exit_codes` mean "later"; 2, 64-74, 76-78, 126, 127 and
//! `permanent_exit_codes` mean "never"; all other codes, and death by a signal, are tried again.
//!
//! *End*: at its timeout, or when cancelled, the group gets SIGTERM, and SIGKILL after the agent's
//! grace. When the program has exited, whatever it left behind is killed, daemons in sessions of
//! their own too; what was still writing to the program's pipes gets a moment to finish.
//!
//! Start reading at `attempt`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use moa_core::agent::{AgentKind, CommandSpec, ProcessLimits};
use moa_core::event::InstIx;
use moa_core::ids::{NodeId, RunId};
use moa_core::time::Span;
use moa_ports::agent::{Agent, Output, Task, TaskCtx, TaskError};
use rustix::process::Pid;
use serde_json::Value as Json;

use crate::registry::GRACE_DEFAULT;
use crate::worker::WorkerOptions;

mod attempt;
mod environment;
mod exit;
mod launch;
mod leftovers;
mod pipes;
#[cfg(target_os = "linux")]
mod records;
mod result;
mod stragglers;
#[cfg(target_os = "linux")]
mod table;
mod usage;
mod work;

pub use leftovers::{Leftover, Origin, Which};
pub use usage::left_usage;

#[cfg(not(target_os = "linux"))]
mod records {
    use std::sync::Arc;

    /// Nothing is recorded.
    pub struct Records;
    pub struct Recorded;

    impl Records {
        pub fn new(
            _state_dir: &std::path::Path,
            _node: String,
            _store: String,
            _runtime: tokio::runtime::Handle,
        ) -> Arc<Self> {
            Arc::new(Self)
        }

        pub fn enter(
            self: &Arc<Self>,
            _pid: rustix::process::Pid,
            _identity: &[(&str, String)],
            _agent: &str,
        ) -> Option<Recorded> {
            None
        }
    }
}

/// What all agents that are programs share.
pub(crate) struct Processes {
    inherited: environment::Inherited,
    /// Files of attempts that run: what they give back.
    scratch: PathBuf,
    scratch_made: AtomicBool,
    node: String,
    store_id: String,
    log_bytes_max: u64,
    next: AtomicU64,
    work: Arc<work::WorkFolders>,
    programs: Arc<Programs>,
    records: Arc<records::Records>,
}

impl Processes {
    pub fn new(options: &WorkerOptions) -> Self {
        stragglers::adopt_orphans();
        let (node, store_id) = (options.node.to_string(), options.store_id.clone());
        let runtime = options.runtime.clone();
        let records =
            records::Records::new(&options.state_dir, node.clone(), store_id.clone(), runtime);
        Self {
            inherited: environment::Inherited::new(),
            scratch: scratch(&options.state_dir),
            scratch_made: AtomicBool::new(false),
            node,
            store_id,
            log_bytes_max: options.log_bytes_max,
            next: AtomicU64::new(0),
            work: work::WorkFolders::new(options.state_dir.join("work")),
            programs: Arc::default(),
            records,
        }
    }

    /// The programs of attempts that run: their numbers.
    pub fn pids(&self) -> BTreeMap<Key, i32> {
        self.programs.all().clone()
    }

    /// A name for a file that an attempt gives its result in; no such file exists, its folder does.
    /// It says whose it is: see [`left_usage`].
    fn output_path(&self, task: &Task) -> std::io::Result<PathBuf> {
        if !self.scratch_made.load(Ordering::Relaxed) {
            std::fs::create_dir_all(&self.scratch)?;
            self.scratch_made.store(true, Ordering::Relaxed);
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let Task { run, inst, attempt, .. } = task;
        let name = format!("{}-{number}.{run}.{inst}.{attempt}.json", self.node);
        Ok(self.scratch.join(name))
    }
}

/// An attempt: its run, step and number.
type Key = (RunId, InstIx, u32);

/// The programs of attempts that run.
#[derive(Default)]
struct Programs(Mutex<BTreeMap<Key, i32>>);

/// A program that is known as long as this is there.
struct Known {
    programs: Arc<Programs>,
    key: Key,
}

impl Programs {
    fn all(&self) -> MutexGuard<'_, BTreeMap<Key, i32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(self: &Arc<Self>, task: &Task, pid: Pid) -> Known {
        let key = (task.run, task.inst, task.attempt);
        self.all().insert(key, pid.as_raw_nonzero().get());
        Known { programs: self.clone(), key }
    }
}

impl Drop for Known {
    fn drop(&mut self) {
        self.programs.all().remove(&self.key);
    }
}

/// The folder of files in which attempts that run give back their results.
fn scratch(state_dir: &Path) -> PathBuf {
    state_dir.join("tmp")
}

/// Ends every process that nodes of this store other than `node` left behind: SIGTERM, a moment of
/// grace, SIGKILL to whole groups; and removes the files in which they were to give back results. Those
/// that say what they have spent stay for [`left_usage`].
/// Returns when they are gone, with what was found. Blocks for some seconds at most; to be called by the
/// only node of the store, before lost attempts are tried again.
pub fn end_leftovers(state_dir: &Path, store_id: &str, node: NodeId) -> Vec<Leftover> {
    let ended = leftovers::end(state_dir, store_id, node, &|_| true);
    let own = node.to_string();
    for entry in std::fs::read_dir(scratch(state_dir)).into_iter().flatten().flatten() {
        let own = entry.file_name().to_string_lossy().starts_with(&own);
        if !own && !usage::is_usage(&entry.path()) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
    ended
}

/// As [`end_leftovers`], but ends only those processes that are meant, and leaves the others and all
/// files alone.
pub fn end_some_leftovers(
    state_dir: &Path,
    store_id: &str,
    node: NodeId,
    which: Which<'_>,
) -> Vec<Leftover> {
    leftovers::end(state_dir, store_id, node, which)
}

/// Every process that nodes of this store other than `node` left behind. Touches none.
pub fn find_leftovers(state_dir: &Path, store_id: &str, node: NodeId) -> Vec<Leftover> {
    leftovers::find(state_dir, store_id, node)
}

/// What is to be run.
struct Invocation {
    argv: Vec<String>,
    cwd: Option<String>,
    retry_exit_codes: Vec<i32>,
    permanent_exit_codes: Vec<i32>,
    grace: Span,
    limits: ProcessLimits,
    /// Environment beyond that of every program.
    extra: Vec<(&'static str, String)>,
    /// Whether standard output that looks like a broken result is an error.
    strict: bool,
}

/// The kind `command`.
pub(crate) struct Command(Arc<Processes>);

impl Command {
    pub fn new(processes: Arc<Processes>) -> Self {
        Self(processes)
    }
}

#[async_trait]
impl Agent for Command {
    async fn run(&self, ctx: TaskCtx, task: Arc<Task>) -> Result<Output, TaskError> {
        let AgentKind::Command(spec) = &ctx.spec.kind else {
            return Err(TaskError::Permanent(format!("agent `{}` is no command", ctx.spec.id)));
        };
        let CommandSpec { argv, cwd, retry_exit_codes, permanent_exit_codes, grace, limits } =
            spec.clone();
        let invocation = Invocation {
            argv,
            cwd,
            retry_exit_codes,
            permanent_exit_codes,
            grace,
            limits,
            extra: Vec::new(),
            strict: true,
        };
        attempt::run(&self.0, invocation, ctx, task).await
    }
}

/// The built-in agent `shell`: runs `params.script` by `sh -e -c`, in `params.cwd` if given.
pub(crate) struct Shell(Arc<Processes>);

/// Bytes of a script. The system takes no single argument of more than 128 KiB.
const SCRIPT_BYTES_MAX: usize = 120 << 10;

impl Shell {
    pub fn new(processes: Arc<Processes>) -> Self {
        Self(processes)
    }

    fn invocation(ctx: &TaskCtx, task: &Task) -> Result<Invocation, String> {
        let text = |name: &str| match ctx.params.get(name) {
            None | Some(Json::Null) => Ok(None),
            Some(Json::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(format!("`{name}` of a shell step must be a text")),
        };
        let script = match text("script")? {
            Some(script) => Some(script),
            None => text("run")?,
        };
        let script = script.ok_or("a shell step needs a `script`, the text to run")?;
        if script.len() > SCRIPT_BYTES_MAX {
            let most = SCRIPT_BYTES_MAX >> 10;
            return Err(format!(
                "the script has more than {most} KiB; put it in a file and run that"
            ));
        }
        // Everybody on the machine can read a process's arguments; only its user its environment.
        let secret =
            task.params.secrets.iter().any(|slot| {
                slot.pointer.starts_with("/script") || slot.pointer.starts_with("/run")
            });
        let (argument, extra) = match secret {
            true => {
                let eval = "eval \"unset MOA_SCRIPT\n$MOA_SCRIPT\"".to_owned();
                (eval, vec![("MOA_SCRIPT", script)])
            }
            false => (script, Vec::new()),
        };
        Ok(Invocation {
            argv: vec!["sh".to_owned(), "-e".to_owned(), "-c".to_owned(), argument],
            cwd: text("cwd")?,
            retry_exit_codes: Vec::new(),
            permanent_exit_codes: Vec::new(),
            grace: GRACE_DEFAULT,
            limits: ProcessLimits::default(),
            extra,
            strict: false,
        })
    }
}

#[async_trait]
impl Agent for Shell {
    async fn run(&self, ctx: TaskCtx, task: Arc<Task>) -> Result<Output, TaskError> {
        let invocation = Self::invocation(&ctx, &task).map_err(TaskError::Permanent)?;
        attempt::run(&self.0, invocation, ctx, task).await
    }
}
