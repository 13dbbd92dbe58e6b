//! Traces of runs: made of the history, when it has happened, and sent to a collector.
//!
//! Nothing is traced while it goes on. A job reads what has happened since, makes spans of it
//! ([`trail`]), sends them, and then notes in `.moa/traces.json` how far it came: so a process that
//! dies sends some spans again, which have the same names, and a collector that is down delays
//! everything and loses nothing that retention doesn't delete. The engine knows nothing of it. Start
//! at `jobs::traces`.

pub mod otlp;
pub mod standard;
pub mod trail;

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use moa_core::event::Event;
use moa_core::ids::RunId;
use moa_core::machine::Run;
use moa_core::trace::{SpanId, TraceContext};
use moa_core::workflow::NOTIFY_WORKFLOW;
use moa_ports::views::{HistoryRow, Views};
use serde::{Deserialize, Serialize};

use crate::exit::{Exit, Failure, Result};
use crate::files::Beneath;
use crate::reader::Reader;
use trail::{Span, Trail};

/// The file, in the folder of the project's state.
pub const FILE: &str = "traces.json";
/// The form of the file.
const FORMAT: u32 = 1;
/// Runs that are remembered; what is known of others is read again from their history.
const RUNS_MAX: usize = 1000;
/// Rows of a history that are read at once.
const ROWS: usize = 1000;

/// How far traces have been sent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    format: u32,
    /// The last event whose spans the collector has.
    pub after: u64,
}

impl Kept {
    /// From an event on.
    pub fn after(after: u64) -> Self {
        Self { format: FORMAT, after }
    }

    fn path(state: &Path) -> PathBuf {
        state.join(FILE)
    }

    /// Reads what is kept; `None` when nothing is yet.
    ///
    /// # Errors
    /// A file that can't be read or isn't one of traces.
    pub fn read(state: &Path) -> Result<Option<Self>> {
        let path = Self::path(state);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(Failure::io(format!("can't read {}", path.display()), &e)),
        };
        let read: serde_json::Result<Self> = serde_json::from_slice(&bytes);
        let kept = read.ok().filter(|kept| kept.format == FORMAT).ok_or_else(|| {
            let text = format!("{} does not say how far this moa sent traces", path.display());
            Failure::new(Exit::Damaged, text)
                .hint("remove it: what happens from then on will be sent")
        })?;
        Ok(Some(kept))
    }

    /// Writes it, whole or not at all; it is on the disk when this returns.
    ///
    /// # Errors
    /// What the disk says.
    pub fn write(&self, state: &Path) -> io::Result<()> {
        Beneath::new(state)?.write(Path::new(FILE), &serde_json::to_vec(self)?)
    }

    /// Forgets it, where nothing is sent.
    ///
    /// # Errors
    /// What the disk says.
    pub fn remove(state: &Path) -> io::Result<()> {
        match fs::remove_file(Self::path(state)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            done => done,
        }
    }
}

/// Makes spans of what has happened.
pub struct Follower {
    reader: Reader,
    /// The share of the traces that is sent.
    share: f64,
    runs: HashMap<RunId, Known>,
    /// The number of the last look at a run.
    looks: u64,
}

/// A run that is being followed.
struct Known {
    looked: u64,
    /// `None` = its trace is not sent.
    of: Option<Box<(Run, Trail)>>,
}

impl Follower {
    /// Of all runs of a store.
    pub fn new(views: Arc<dyn Views>, share: f64) -> Self {
        Self { reader: Reader::new(views), share, runs: HashMap::new(), looks: 0 }
    }

    /// The spans that ended with some commits, in order. Each commit is followed once.
    ///
    /// # Errors
    /// Those of the store. The follower forgets all that it knows then, and reads it again.
    pub async fn follow(&mut self, rows: &[HistoryRow]) -> Result<Vec<Span>> {
        let mut spans = Vec::new();
        for row in rows {
            match self.row(row).await {
                Ok(ended) => spans.extend(ended),
                // What is gone or can't be read holds nothing up.
                Err(failure) if matches!(failure.exit, Exit::NotFound | Exit::Damaged) => {
                    self.runs.insert(row.run, Known { looked: self.looks, of: None });
                }
                Err(failure) => {
                    self.runs.clear();
                    return Err(failure);
                }
            }
        }
        Ok(spans)
    }

    async fn row(&mut self, row: &HistoryRow) -> Result<Vec<Span>> {
        self.looks += 1;
        if !self.runs.contains_key(&row.run) {
            self.make_room();
            let known = self.begin(row).await?;
            self.runs.insert(row.run, known);
        }
        let Some(known) = self.runs.get_mut(&row.run) else { return Ok(Vec::new()) };
        known.looked = self.looks;
        let is_over = row.events.iter().any(is_end);
        let mut spans = Vec::new();
        if let Some(of) = &mut known.of {
            let (run, trail) = &mut **of;
            // Loops make steps as they go on.
            if row.events.iter().filter_map(Event::step).any(|step| run.step(step).is_none()) {
                *run = self.reader.run(row.run).await?;
            }
            spans = trail.follow(run, row);
        }
        if is_over {
            self.runs.remove(&row.run);
        }
        Ok(spans)
    }

    /// What is known of a run before a commit of it.
    async fn begin(&self, row: &HistoryRow) -> Result<Known> {
        let looked = self.looks;
        let views = &self.reader.views;
        let run = self.reader.run(row.run).await?;
        let trace = run.row.trace();
        let is_told = run.row.workflow.as_str() == NOTIFY_WORKFLOW;
        if is_told || !trace.is_sampled(self.share) {
            return Ok(Known { looked, of: None });
        }
        let link = match run.row.extra.forked_from {
            Some(from) => {
                let trace = views.run_part(from, 0, 0).await?.map(|snapshot| snapshot.row.trace());
                let trace = trace.unwrap_or(TraceContext::of(from)).trace;
                Some((trace, SpanId::of_run(from)))
            }
            None => None,
        };
        let mut trail = Trail::new(trace, link);
        while trail.version + 1 < row.version {
            let rows = views.history(row.run, trail.version, ROWS).await?;
            let before = rows.iter().take_while(|before| before.version < row.version);
            let at = trail.version;
            for before in before {
                // These spans were sent.
                trail.follow(&run, before);
            }
            if trail.version == at {
                // The first events are deleted by their age.
                break;
            }
        }
        Ok(Known { looked, of: Some(Box::new((run, trail))) })
    }

    /// Forgets those that nothing happened to for longest.
    fn make_room(&mut self) {
        if self.runs.len() < RUNS_MAX {
            return;
        }
        let mut looks: Vec<u64> = self.runs.values().map(|known| known.looked).collect();
        let (_, middle, _) = looks.select_nth_unstable(RUNS_MAX / 2);
        let middle = *middle;
        self.runs.retain(|_, known| known.looked > middle);
    }
}

fn is_end(event: &Event) -> bool {
    let over = |event: &Event| {
        matches!(
            event,
            Event::RunSucceeded { .. } | Event::RunFailed { .. } | Event::RunCancelled { .. }
        )
    };
    over(event)
}
