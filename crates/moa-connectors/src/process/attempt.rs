//! One attempt of a program, from its start to its end.

use std::path::Path;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use moa_core::time::Span;
use moa_ports::agent::{CancellationToken, Output, Task, TaskCtx, TaskError};
use rustix::process::Signal;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};

use super::launch::{self, Launch, Live};
use super::pipes::Pipes;
use super::result::excess;
use super::stragglers::Stragglers;
use super::usage::UsageFile;
use super::{Invocation, Processes, exit, result};
use crate::document::Document;

/// What still writes to the program's pipes when it has exited (a `tee`, say) may finish for so
/// long.
const LINGER: Duration = Duration::from_millis(100);
/// When everything is killed, the pipes are listened to for so long. Somebody who keeps one open
/// then got it from outside the attempt.
const LISTEN: Duration = Duration::from_millis(500);
/// How often the size of the file for the result is looked at. A program that writes into it without
/// end fills a disk by some 100 MB in this time.
const LOOK: Duration = Duration::from_millis(100);

/// Why a program was ended before it exited by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Ended {
    /// Somebody wanted it to stop.
    Stopped,
    /// Its result is too large; why, in words.
    Excess(String),
}

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
    let output = processes.output_path(&task).map_err(short)?;
    let usage = UsageFile::new(&output, ctx.log.clone(), &task);
    let _at_work = processes.work.enter(task.run).map_err(short)?;
    let mut live = start(processes, &invocation, &ctx, &task, &output)?;
    let _known = processes.programs.enter(&task, live.pid());
    let identity = processes.identity(&task);
    live.keep_record(processes.records.enter(live.pid(), &identity, task.agent.as_str()));
    let mut pipes =
        Pipes::new(live.take_pipes(), ctx.log.clone(), processes.log_bytes_max).map_err(short)?;
    let stragglers = Stragglers::of(live.pid(), identity);
    let early = supervise(&live, &mut pipes, &ctx.cancelled, invocation.grace, &output).await;
    let status = clean_up(live, &mut pipes, stragglers, early.is_some()).await;
    let ended = judge(status, &invocation, &mut pipes, early, &output);
    let _ = std::fs::remove_file(&output);
    drop(usage);
    ended
}

fn start(
    processes: &Processes,
    invocation: &Invocation,
    ctx: &TaskCtx,
    task: &Task,
    output: &Path,
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

/// Listens to a program until it has exited, or ends it when asked to, or when its result in the file
/// `output` grows too large. Says why it was ended, if it was.
///
/// The file's size is looked at while the program runs, because nothing else keeps it from filling
/// the disk. A limit of the system on the size of files would hold for every file that the program
/// writes, and a pipe in the file's place could be neither rewritten nor replaced.
async fn supervise(
    live: &Live,
    pipes: &mut Pipes,
    cancelled: &CancellationToken,
    grace: Span,
    output: &Path,
) -> Option<Ended> {
    let mut ended = None;
    let mut kill_at: Option<Instant> = None;
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = live.exited() => return ended,
            () = cancelled.cancelled(), if ended.is_none() => {
                ended = Some(Ended::Stopped);
                live.signal(Signal::TERM);
                // A stopped process gets no other signal before it goes on.
                live.signal(Signal::CONT);
                kill_at = Some(Instant::now() + grace.to_std());
            }
            () = sleep_until(kill_at.unwrap_or_else(Instant::now)), if kill_at.is_some() => {
                live.signal(Signal::KILL);
                kill_at = None;
            }
            _ = look.tick() => if let Some(why) = excess(output) {
                // No grace: it would fill the disk further, and what it writes can't be taken.
                live.signal(Signal::KILL);
                ended = ended.or(Some(Ended::Excess(why)));
            },
            () = pipes.turn() => {}
        }
    }
}

/// Ends what a program left behind, and hears out what is left to hear.
async fn clean_up(
    mut live: Live,
    pipes: &mut Pipes,
    stragglers: Stragglers,
    early: bool,
) -> std::io::Result<ExitStatus> {
    pipes.read_now();
    if !early && !pipes.closed() {
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
    early: Option<Ended>,
    output: &Path,
) -> Result<Output, TaskError> {
    match early {
        Some(Ended::Stopped) => return Err(TaskError::Unknown("it was stopped".to_owned())),
        Some(Ended::Excess(why)) => return Err(TaskError::CutShort(why)),
        None => {}
    }
    let status = status.map_err(|e| TaskError::Unknown(format!("its end can't be known: {e}")))?;
    exit::judge(status, invocation, &pipes.heard.last_words())?;
    result::read(output, &mut pipes.heard, invocation.strict)
}
