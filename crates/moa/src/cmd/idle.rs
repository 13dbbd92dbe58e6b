//! Says why a run that is followed does not go on by itself, and what would make it go on: it waits
//! for somebody, or for a run that nobody executes, because the node that is there was started for
//! other runs.
//!
//! A run waits for another one when they share a concurrency key, itself or by a run that it started.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use moa_core::ids::RunId;
use moa_core::machine::Run;
use moa_core::run::RunStatus;
use moa_core::step::{StepStatus, WaitReason};
use moa_ports::views::Pending;
use tokio::time::Instant;

use super::follow::Watching;
use crate::control::protocol::NodeStatus;
use crate::exit::Result;
use crate::live::Screen;
use crate::reader::Reader;
use crate::text;
use crate::view::why;

/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Runs looked at in one look.
const RUNS_MAX: usize = 50;
/// Things said of one run that is followed.
const SAID_MAX: usize = 100;

/// What has been said about a run that is followed.
#[derive(Default)]
pub struct Idle {
    next: Option<Instant>,
    /// The run's version at the last look.
    seen: u64,
    said: BTreeSet<String>,
    /// Whether the run itself was looked at.
    looked: bool,
}

impl Idle {
    /// Looks whether the run, or one that it started, waits for somebody or for another run, and
    /// says so once. `transient`: the node that is there executes only what it is asked to.
    pub async fn look(
        &mut self,
        watching: Watching<'_>,
        run: &Run,
        transient: bool,
        screen: &mut Screen<'_>,
    ) -> Result<()> {
        let now = Instant::now();
        // Once nothing of it runs any more, whoever waits for its end wants to know why.
        let stopped = matches!(run.row.status, RunStatus::Waiting | RunStatus::Paused);
        let news = stopped && run.version != self.seen;
        if !news && self.next.is_some_and(|at| now < at) {
            return Ok(());
        }
        (self.next, self.seen) = (Some(now + LOOK_EVERY), run.version);
        let reader = watching.reader;
        let runs = awake(reader, run).await?;
        for other in &runs {
            for line in waits(other, run.row.run) {
                self.say(screen, &line);
            }
        }
        let mut queued = Vec::new();
        for run in runs.into_iter().filter(|run| run.row.status == RunStatus::Pending) {
            let pending = reader.views.pending(run.row.run).await?;
            if pending.queued.as_ref().is_some_and(|(_, holders)| !holders.is_empty()) {
                queued.push((run, pending));
            }
        }
        for (waiting, pending) in &queued {
            let name = name_of(waiting, run.row.run);
            self.say(screen, &format!("{name}: {}", why::queued(waiting, pending).reason));
        }
        match transient {
            true => self.look_at_others(watching, run, &queued, screen).await,
            false => Ok(()),
        }
    }

    /// Says which of the runs that hold a slot nobody executes, and whether that is so of the run.
    async fn look_at_others(
        &mut self,
        watching: Watching<'_>,
        run: &Run,
        queued: &[(Run, Pending)],
        screen: &mut Screen<'_>,
    ) -> Result<()> {
        if queued.is_empty() && std::mem::replace(&mut self.looked, true) {
            return Ok(());
        }
        // It may be ending just now.
        let Ok(Some(mut client)) = watching.place.connect().await else {
            return Ok(());
        };
        let Ok(node) = client.status().await else { return Ok(()) };
        let Some(only) = &node.engine.only else { return Ok(()) };
        let holders = queued.iter().filter_map(|(_, pending)| pending.queued.as_ref());
        let holders = holders.flat_map(|(_, holders)| holders.iter().copied());
        let asked: BTreeSet<RunId> = std::iter::once(run.row.run).chain(holders).collect();
        for alone in watching.reader.not_below(only, asked).await? {
            self.say(screen, &left_alone(alone, &node));
        }
        Ok(())
    }

    fn say(&mut self, screen: &mut Screen<'_>, line: &str) {
        if self.said.len() < SAID_MAX && self.said.insert(line.to_owned()) {
            screen.say(&text::safe(line));
        }
    }
}

fn left_alone(run: RunId, node: &NodeStatus) -> String {
    let pid = node.info.pid;
    match pid == std::process::id() {
        true => format!(
            "run {run} is open, but nobody executes it: this command executes its own run only.\n\
             hint: end this with Ctrl-C; then `moa up` goes on with both"
        ),
        false => format!(
            "run {run} is open, but nobody executes it: process {pid} executes its own run only.\n\
             hint: once that has ended, `moa up` goes on with all"
        ),
    }
}

/// What a run waits for that doesn't come by itself.
fn waits(run: &Run, own: RunId) -> Vec<String> {
    let (id, name) = (run.row.run, name_of(run, own));
    match run.row.status {
        RunStatus::Paused => {
            return vec![format!("{name} is paused\nhint: `moa runs resume {id}` goes on")];
        }
        RunStatus::Waiting => {}
        _ => return Vec::new(),
    }
    let is_asked = |wait| {
        use WaitReason::{Approval, Event, Signal, UnknownOutcome};
        matches!(wait, Approval | Event | Signal | UnknownOutcome)
    };
    let whys = run.why(false).into_iter().filter(|why| {
        let wait = run.step(why.inst).and_then(|row| row.wait);
        why.status == StepStatus::Waiting && wait.is_some_and(is_asked)
    });
    whys.map(|why| {
        let unblock = why.unblock.map(|unblock| format!("\nhint: {unblock}")).unwrap_or_default();
        format!("{name}, step {}: {}{unblock}", why.step, why.reason)
    })
    .collect()
}

fn name_of(run: &Run, own: RunId) -> String {
    match run.row.run == own {
        true => run.row.workflow.to_string(),
        false => format!("{} (run {})", run.row.workflow, run.row.run),
    }
}

/// A run, and those that it started and waits for.
async fn awake(reader: &Reader, run: &Run) -> Result<Vec<Run>> {
    let mut found = vec![reader.run(run.row.run).await?];
    let mut children: VecDeque<RunId> = waited_for(run).collect();
    while let Some(id) = children.pop_front()
        && found.len() < RUNS_MAX
    {
        // Its start may still be on its way.
        if reader.views.run_part(id, 0, 0).await?.is_none() {
            continue;
        }
        let run = reader.run(id).await?;
        children.extend(waited_for(&run));
        found.push(run);
    }
    Ok(found)
}

/// The runs that a run has started and waits for.
fn waited_for(run: &Run) -> impl Iterator<Item = RunId> {
    let waiting = run.steps().filter(|row| row.wait == Some(WaitReason::Child));
    waiting.map(|row| run.row.run.child(row.inst, row.attempt))
}
