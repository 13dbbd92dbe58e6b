//! One attempt of a program, from its start to its end.

use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use moa_core::time::Span;
use moa_ports::agent::{CancellationToken, Output, Task, TaskCtx, TaskError};
use rustix::process::Signal;
use tokio::time::{Instant, sleep_until, timeout};

use super::launch::{self, Launch, Live};
use super::pipes::Pipes;
use super::stragglers::Stragglers;
use super::{Invocation, Processes, exit, result};
use crate::document::Document;

/// What still writes to the program's pipes when it has exited (a `tee`, say) may finish for so
/// long.
const LINGER: Duration = Duration::from_millis(100);
/// When everything is killed, the pipes are listened to for so long. Somebody who keeps one open
/// then got it from outside the attempt.
const LISTEN: Duration = Duration::from_millis(500);

/// Runs a program.
///
/// # Errors
/// What its end means; `Unknown` when it was stopped.
pub(super) async fn run(
    processes: &Arc<Processes>,
    invocation: Invocation,
    ctx: TaskCtx,
    task: Arc<Task>,
) -> Result<Output, TaskError> {
    if ctx.cancelled.is_cancelled() {
        return Err(TaskError::Cancelled);
    }
    let short = |e: std::io::Error| TaskError::Retryable(format!("can't prepare the attempt: {e}"));
    let output = processes.output_path().map_err(short)?;
    let _at_work = processes.work.enter(task.run).map_err(short)?;
    let mut live = start(processes, &invocation, &ctx, &task, &output)?;
    let identity = processes.identity(&task);
    live.keep_record(processes.records.enter(live.pid(), &identity, task.agent.as_str()));
    let mut pipes =
        Pipes::new(live.take_pipes(), ctx.log.clone(), processes.log_bytes_max).map_err(short)?;
    let stragglers = Stragglers::of(live.pid(), identity);
    let stopped = supervise(&live, &mut pipes, &ctx.cancelled, invocation.grace).await;
    let status = clean_up(live, &mut pipes, stragglers, stopped).await;
    let ended = judge(status, &invocation, &mut pipes, stopped, &output);
    let _ = std::fs::remove_file(&output);
    ended
}

fn start(
    processes: &Processes,
    invocation: &Invocation,
    ctx: &TaskCtx,
    task: &Task,
    output: &std::path::Path,
) -> Result<Live, TaskError> {
    let folder = launch::folder(&ctx.project_dir, invocation.cwd.as_deref());
    let folder = folder.map_err(TaskError::Permanent)?;
    let mut environment = processes.environment(ctx, task, output).map_err(TaskError::Permanent)?;
    for (name, value) in &invocation.extra {
        environment.insert(name.into(), value.into());
    }
    let document = Document::new(ctx, task).to_bytes();
    let stdin = launch::stdin(&document, &processes.scratch)
        .map_err(|e| TaskError::Retryable(format!("can't write its standard input: {e}")))?;
    Launch {
        argv: &invocation.argv,
        project: &ctx.project_dir,
        folder: &folder,
        environment: &environment,
        stdin,
        limits: &invocation.limits,
    }
    .start()
}

/// Listens to a program until it has exited, or ends it when asked to. Says whether it was asked.
async fn supervise(
    live: &Live,
    pipes: &mut Pipes,
    cancelled: &CancellationToken,
    grace: Span,
) -> bool {
    let mut stopped = false;
    let mut kill_at: Option<Instant> = None;
    loop {
        tokio::select! {
            biased;
            () = live.exited() => return stopped,
            () = cancelled.cancelled(), if !stopped => {
                stopped = true;
                live.signal(Signal::TERM);
                // A stopped process gets no other signal before it goes on.
                live.signal(Signal::CONT);
                kill_at = Some(Instant::now() + grace.to_std());
            }
            () = sleep_until(kill_at.unwrap_or_else(Instant::now)), if kill_at.is_some() => {
                live.signal(Signal::KILL);
                kill_at = None;
            }
            () = pipes.turn() => {}
        }
    }
}

/// Ends what a program left behind, and hears out what is left to hear.
async fn clean_up(
    mut live: Live,
    pipes: &mut Pipes,
    stragglers: Stragglers,
    stopped: bool,
) -> std::io::Result<ExitStatus> {
    pipes.read_now();
    if !stopped && !pipes.closed() {
        let _ = timeout(LINGER, pipes.rest()).await;
    }
    // The leader isn't reaped yet, so the group's number can't be anybody else's.
    live.signal(Signal::KILL);
    let status = live.reap();
    stragglers.end().await;
    if !pipes.closed() {
        let _ = timeout(LISTEN, pipes.rest()).await;
    }
    status
}

/// What came of it.
fn judge(
    status: std::io::Result<ExitStatus>,
    invocation: &Invocation,
    pipes: &mut Pipes,
    stopped: bool,
    output: &std::path::Path,
) -> Result<Output, TaskError> {
    if stopped {
        return Err(TaskError::Unknown("it was stopped".to_owned()));
    }
    let status = status.map_err(|e| TaskError::Unknown(format!("its end can't be known: {e}")))?;
    exit::judge(status, invocation, &pipes.heard.last_words())?;
    result::read(output, &mut pipes.heard, invocation.strict)
}
