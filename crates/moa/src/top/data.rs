//! What there is to see, gathered in one document.

use std::collections::BTreeMap;

use moa_core::ids::{Name, RunId};
use moa_core::machine::Run;
use moa_core::run::RunStatus;
use moa_core::step::WaitReason;
use moa_core::time::{Millis, Span};
use moa_core::workflow::notify_workflow;
use moa_ports::views::{RunFilter, RunSummary};
use serde::{Serialize, Serializer};

use crate::control::protocol::NodeStatus;
use crate::exit::Result;
use crate::place::Place;
use crate::reader::Reader;
use crate::triggers::{self, Known, Which};
use crate::view::{natural, now, summary, tree};
use crate::wire;

/// Runs of a list.
const RUNS: usize = 200;
/// Open runs that are looked through for what waits for people.
const LOOKED: usize = 40;
/// Failed runs of the list.
const FAILED: usize = 20;
/// Ended runs that the numbers of the last hour are made of, at the most.
const ENDED: usize = 1000;
/// Slots of the list.
const SLOTS: usize = 40;
/// Slots of one schedule.
const SLOTS_OF_ONE: usize = 3;
/// A trigger that is due for longer than this is late.
const LATE: Span = Span::minutes(1);
/// Parts of the last hour.
pub const MINUTES: usize = 60;
const MINUTE: i64 = 60_000;

/// What there is to see.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Overview {
    /// When it was so.
    #[serde(serialize_with = "instant")]
    pub at: Millis,
    /// Where: a folder, or an address.
    pub place: String,
    /// The node; `None` = none runs.
    pub node: Option<NodeLine>,
    /// Runs by status.
    pub runs: BTreeMap<String, u64>,
    /// Runs that are at work or wait for their turn.
    pub running: Vec<RunLine>,
    /// What waits for a person.
    pub waiting: Vec<WaitLine>,
    /// What is late, wrong, or has failed.
    pub wrong: Vec<WrongLine>,
    /// The next slots of schedules.
    pub next: Vec<NextLine>,
    /// Agents.
    pub agents: Vec<AgentLine>,
    /// Runs that ended in each minute of the last hour, the oldest first.
    pub ended: Vec<u64>,
    /// How many of them failed.
    pub failed: u64,
}

/// A node.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NodeLine {
    /// Its moa.
    pub moa: String,
    /// Since when it runs.
    #[serde(serialize_with = "instant")]
    pub since: Millis,
    /// Attempts running.
    pub running: u32,
    /// Attempts at once.
    pub max_running: u32,
    /// Why it can't write.
    pub degraded: Option<String>,
    /// Whether it is stopping.
    pub stopping: bool,
}

/// A run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RunLine {
    /// The run.
    pub run: RunId,
    /// Its workflow.
    pub workflow: Name,
    /// How it is.
    pub status: RunStatus,
    /// Who or what started it.
    pub cause: String,
    /// Since when it is there.
    #[serde(serialize_with = "instant")]
    pub since: Millis,
}

/// What waits for a person.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WaitLine {
    /// The run.
    pub run: RunId,
    /// Its workflow.
    pub workflow: Name,
    /// The step.
    pub step: String,
    /// What it waits for.
    pub reason: String,
    /// Since when.
    #[serde(serialize_with = "instant")]
    pub since: Millis,
}

/// Something that is late or wrong, or a run that failed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WrongLine {
    /// `alert`, `late`, `failed` or `quarantined`.
    pub kind: &'static str,
    /// What.
    pub what: String,
    /// Why.
    pub why: String,
    /// The run, if it is about one.
    pub run: Option<RunId>,
    /// Since when.
    #[serde(serialize_with = "instant")]
    pub since: Millis,
}

/// A slot to come.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NextLine {
    /// The schedule.
    pub schedule: String,
    /// When.
    #[serde(serialize_with = "instant")]
    pub at: Millis,
}

/// An agent.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AgentLine {
    /// It.
    pub agent: Name,
    /// Attempts running.
    pub running: u32,
    /// Tasks that wait for it.
    pub ready: u32,
    /// Attempts at once.
    pub at_once: Option<u32>,
    /// Whether it takes no new task.
    pub paused: bool,
}

fn instant<S: Serializer>(at: &Millis, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.collect_str(at)
}

/// What changes seldom, and is asked for seldom.
#[derive(Debug, Clone, Default)]
pub struct Slow {
    waiting: Vec<WaitLine>,
    wrong: Vec<WrongLine>,
    next: Vec<NextLine>,
    agents: Vec<(Name, Option<u32>)>,
    ended: Vec<u64>,
    failed: u64,
}

impl Slow {
    /// Gathers it.
    pub async fn gather(place: &Place) -> Result<Self> {
        let now = now();
        let loaded = place.load().await?;
        let all = wire::agents(&loaded.project).into_values();
        let mut slow = Self {
            agents: all.map(|spec| (spec.id.clone(), spec.concurrency)).collect(),
            ended: vec![0; MINUTES],
            ..Self::default()
        };
        let reader = place.open_reader()?;
        let schedules = triggers::of(&loaded, reader.as_ref(), Which::All).await?;
        slow.next = next(&schedules, now);
        slow.wrong = wrong(place, &schedules, now).await?;
        if let Some(reader) = &reader {
            slow.waiting = waiting(reader).await?;
            slow.look_back(reader, now).await?;
        }
        Ok(slow)
    }

    /// What ended in the last hour, and what failed last.
    async fn look_back(&mut self, reader: &Reader, now: Millis) -> Result<()> {
        let ended: Vec<RunStatus> =
            RunStatus::ALL.into_iter().filter(|status| status.is_terminal()).collect();
        let first = Millis(now.0 - MINUTES as i64 * MINUTE);
        for run in runs(reader, ended, ENDED).await? {
            let Some(at) = run.finished_at.filter(|at| *at > first) else { continue };
            let minute = usize::try_from((at.0 - first.0) / MINUTE).unwrap_or_default();
            self.ended[minute.min(MINUTES - 1)] += 1;
            self.failed += u64::from(run.status == RunStatus::Failed);
        }
        let failed = runs(reader, vec![RunStatus::Failed], FAILED).await?;
        self.wrong.extend(failed.into_iter().map(|run| WrongLine {
            kind: "failed",
            what: run.workflow.to_string(),
            why: tree::first_line(run.error.as_deref().unwrap_or_default()),
            run: Some(run.run),
            since: run.finished_at.unwrap_or(run.created_at),
        }));
        Ok(())
    }
}

async fn runs(reader: &Reader, statuses: Vec<RunStatus>, limit: usize) -> Result<Vec<RunSummary>> {
    let except = Some(notify_workflow());
    let filter = RunFilter { statuses, except, limit, ..RunFilter::default() };
    Ok(reader.views.runs(&filter).await?)
}

fn next(all: &[Known], now: Millis) -> Vec<NextLine> {
    let of = |known: &Known| -> Vec<NextLine> {
        // One that is paused or over has no next one.
        let Some(first) = known.next(now) else { return Vec::new() };
        let line = |at| NextLine { schedule: known.spec.title(), at };
        let more = known.table().map(|table| table.preview(first.at, SLOTS_OF_ONE - 1));
        let more = more.unwrap_or_default().into_iter().map(|slot| slot.at);
        std::iter::once(first.at).chain(more).map(line).collect()
    };
    let mut next: Vec<NextLine> = all.iter().flat_map(of).collect();
    next.sort_by(|a, b| (a.at, &a.schedule).cmp(&(b.at, &b.schedule)));
    next.truncate(SLOTS);
    next
}

async fn wrong(place: &Place, all: &[Known], now: Millis) -> Result<Vec<WrongLine>> {
    let book = place.alerts().await?;
    let alerts = book.open().into_iter().map(|alert| WrongLine {
        kind: "alert",
        what: alert.title.clone(),
        why: alert.key.clone(),
        run: None,
        since: alert.since,
    });
    let active = all.iter().filter(|known| known.word().0 == "active");
    let due = active.filter_map(|known| Some((known, known.row.as_ref()?.due_at?)));
    let late = due.filter(|(_, due)| due.after(LATE) < now).map(|(known, due)| WrongLine {
        kind: "late",
        what: known.spec.title(),
        why: "nobody has looked at it since it was due".into(),
        run: None,
        since: due,
    });
    Ok(alerts.chain(late).collect())
}

async fn waiting(reader: &Reader) -> Result<Vec<WaitLine>> {
    use RunStatus::{Paused, Running, Waiting};
    let mut found = Vec::new();
    for summary in runs(reader, vec![Waiting, Running, Paused], LOOKED).await? {
        let run = reader.run(summary.run).await?;
        if run.row.status == Paused {
            found.push(WaitLine {
                run: summary.run,
                workflow: summary.workflow.clone(),
                step: String::new(),
                reason: "the run is paused".into(),
                since: summary.created_at,
            });
        }
        found.extend(asked(&run));
    }
    Ok(found)
}

/// What only a person ends.
fn asked(run: &Run) -> Vec<WaitLine> {
    use WaitReason::{Approval, Signal, UnknownOutcome};
    let row = |inst| run.step(inst);
    let is_asked = |wait| matches!(wait, Approval | Signal | UnknownOutcome);
    let whys = run.why(false).into_iter();
    let whys = whys.filter(|why| row(why.inst).and_then(|row| row.wait).is_some_and(is_asked));
    whys.map(|why| WaitLine {
        run: run.row.run,
        workflow: run.row.workflow.clone(),
        since: row(why.inst).and_then(|row| row.ready_at).unwrap_or(run.row.created_at),
        step: why.step,
        reason: why.reason,
    })
    .collect()
}

impl Overview {
    /// Gathers what changes often, and puts what changes seldom beside it.
    pub async fn gather(place: &Place, slow: &Slow) -> Result<Self> {
        use RunStatus::{Pending, Running, Waiting};
        let status = match place.connect().await? {
            Some(mut client) => Some(client.status().await?),
            None => None,
        };
        let mut all = Self {
            at: now(),
            place: place.to_string(),
            waiting: slow.waiting.clone(),
            wrong: slow.wrong.clone(),
            next: slow.next.clone(),
            ended: slow.ended.clone(),
            failed: slow.failed,
            ..Self::default()
        };
        if let Some(reader) = place.open_reader()? {
            let open = runs(&reader, vec![Running, Pending, Waiting], RUNS).await?;
            all.running = open.into_iter().map(RunLine::from).collect();
            all.running.sort_by_key(|run| run.status != Running);
            all.runs = reader.views.totals().await?.runs;
        }
        all.agents = agents(slow, status.as_ref());
        if let Some(status) = status {
            let mut quarantined: Vec<WrongLine> = status
                .engine
                .quarantined
                .iter()
                .map(|(run, why)| WrongLine {
                    kind: "quarantined",
                    what: run.to_string(),
                    why: why.clone(),
                    run: Some(*run),
                    since: status.info.started_at,
                })
                .collect();
            quarantined.append(&mut all.wrong);
            all.wrong = quarantined;
            all.node = Some(NodeLine {
                running: status.engine.running.values().sum(),
                moa: status.info.moa,
                since: status.info.started_at,
                max_running: status.max_running,
                degraded: status.engine.degraded,
                stopping: status.engine.stopping,
            });
        }
        Ok(all)
    }
}

impl RunLine {
    /// What a filter looks at.
    pub fn text(&self) -> String {
        format!("{} {} {} {}", self.status.as_str(), self.workflow, self.run, self.cause)
    }
}

impl WaitLine {
    /// What a filter looks at.
    pub fn text(&self) -> String {
        format!("{} {} {}", self.workflow, self.step, self.reason)
    }
}

impl WrongLine {
    /// What a filter looks at.
    pub fn text(&self) -> String {
        format!("{} {} {}", self.kind, self.what, self.why)
    }
}

impl From<RunSummary> for RunLine {
    fn from(run: RunSummary) -> Self {
        let since = run.started_at.unwrap_or(run.created_at);
        let RunSummary { run, workflow, status, cause, .. } = run;
        Self { run, workflow, status, cause, since }
    }
}

/// Those with something to do or a limit first.
fn agents(slow: &Slow, status: Option<&NodeStatus>) -> Vec<AgentLine> {
    let none = BTreeMap::new();
    let (running, ready) =
        status.map_or((&none, &none), |status| (&status.engine.running, &status.engine.ready));
    let line = |(agent, at_once): &(Name, Option<u32>)| AgentLine {
        running: running.get(agent).copied().unwrap_or(0),
        ready: ready.get(agent).copied().unwrap_or(0),
        paused: status.is_some_and(|s| s.paused.contains_key(agent)),
        agent: agent.clone(),
        at_once: *at_once,
    };
    let mut lines: Vec<AgentLine> = slow.agents.iter().map(line).collect();
    lines.sort_by_cached_key(|line| {
        let busy = std::cmp::Reverse(line.ready + line.running);
        (busy, line.at_once.is_none(), natural::key(line.agent.as_str()))
    });
    lines
}

/// A run in lines: its head, its tree, and why it doesn't go on.
pub fn detail(run: &Run, at: Millis) -> Vec<String> {
    let look = tree::Look { now: at, all: false, color: false, columns: usize::MAX };
    let mut lines = vec![
        format!("{}, {}", summary::headline(run, at, false), summary::progress(run)),
        format!("by {}", run.row.extra.cause),
    ];
    if let Some(error) = &run.row.error {
        lines.push(format!("error: {}", error.message));
    }
    lines.push(String::new());
    lines.extend(tree::lines(run, look));
    let whys = run.why(false);
    if !whys.is_empty() {
        lines.extend([String::new(), "why it doesn't go on:".into()]);
    }
    for why in whys {
        lines.push(format!("  {}: {}", why.step, why.reason));
        lines.extend(why.until.map(|until| format!("    until {until}")));
        lines.extend(why.unblock.map(|unblock| format!("    unblock: {unblock}")));
    }
    lines
}
