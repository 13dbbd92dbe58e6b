//! The job that keeps what the node does over time, for the charts of the dashboard.
//!
//! `.moa/samples.json` holds it, written once a minute, and while it is small when something has ended, and replaced
//! whole. It is there to be looked at alone: where it is lost or damaged, the charts begin anew, and
//! nothing else is different.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use moa_core::ids::Name;
use moa_core::run::RunStatus;
use moa_core::time::{Millis, Span};
use moa_engine::Handle;
use moa_engine::jobs::{Instants, Job};
use moa_engine::meter::Meter;
use moa_engine::series::{AgentPart, Bucket, Gauges, Range, Series};
use moa_ports::views::{Totals, Views};
use moa_server::exposition::Process;
use moa_view::fleet::{AgentDay, AgentNow, Fleet};
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use crate::files::Beneath;
use crate::view;

/// The file, in the folder of the project's state.
const FILE: &str = "samples.json";
/// Bytes up to which it is written whenever something has ended: many agents with very different
/// latencies make megabytes of it, which a disk is to get once a minute.
const OFTEN_BYTES_MAX: usize = 256 << 10;
/// The form of the file. What one of the form before holds is read: its durations are in few classes.
const FORMAT: u32 = 2;
const OLDEST_FORMAT: u32 = 1;

#[derive(Debug, Default, Serialize, Deserialize)]
struct File {
    format: u32,
    series: Series,
}

/// What the node that serves a project does over time.
pub struct Sampling {
    state: PathBuf,
    views: Arc<dyn Views>,
    engine: Handle,
    /// Whether this node stays: one that is there for one run keeps nothing.
    lasting: bool,
    kept: Mutex<Kept>,
}

/// What is known by the last sample.
struct Kept {
    series: Series,
    meter: Meter,
    gauges: Gauges,
    /// When it was taken, by the engine's clock.
    at: Millis,
    /// The minute in which it was written last, and its bytes.
    written: Option<(Millis, usize)>,
}

impl Sampling {
    /// Of a node that starts now.
    pub fn new(state: &Path, views: Arc<dyn Views>, engine: Handle, lasting: bool) -> Arc<Self> {
        let series = if lasting { read(state) } else { Series::default() };
        let gauges = gauges(&Totals::default());
        let meter = Meter::default();
        let kept = Mutex::new(Kept { series, meter, gauges, at: view::now(), written: None });
        Arc::new(Self { state: state.to_owned(), views, engine, lasting, kept })
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What it has done, up to the last sample.
    pub fn series(&self) -> Series {
        self.kept().series.clone()
    }

    /// What each agent did in the day before an instant, up to the last sample.
    pub fn day(&self, now: Millis) -> BTreeMap<Name, AgentPart> {
        self.kept().series.agents(Range::Day, now)
    }

    /// What an agent did in a time that ends now, what was done since the last sample included, and when
    /// that begins. `None` = the time is longer than is kept.
    pub async fn worked(&self, agent: &Name, span: Span) -> Option<(AgentPart, Option<Millis>)> {
        let meter = self.engine.meter().await;
        let (now, kept) = (view::now(), self.kept());
        let (mut all, since) = kept.series.agent(agent, span, now)?;
        let done = meter.since(&kept.meter);
        let Some(done) = done.agents.get(agent).filter(|done| done.executions > 0) else {
            return Some((all, since));
        };
        all.add(&done.into());
        Some((all, since.or(Some(Range::Hour.start(now)))))
    }

    async fn sample(&self, at: Instants) -> Result<Json, String> {
        let meter = self.engine.meter().await;
        let totals = self.views.totals().await.map_err(|e| e.to_string())?;
        let gauges = gauges(&totals);
        let minute = Range::Hour.start(at.wall);
        let due = {
            let mut kept = self.kept();
            let took = Span(at.engine.since(kept.at).0);
            let done = Bucket::between(&meter.since(&kept.meter), &kept.gauges, &gauges, took);
            kept.series.add(at.wall, &done);
            (kept.meter, kept.gauges, kept.at) = (meter, gauges, at.engine);
            let is_news = kept.written.is_none_or(|(at, bytes)| {
                at != minute || (done.has_work() && bytes <= OFTEN_BYTES_MAX)
            });
            is_news.then(|| kept.series.clone())
        };
        if let Some(series) = due {
            let state = self.state.clone();
            let written = tokio::task::spawn_blocking(move || write(&state, series)).await;
            let bytes = written.map_err(|e| e.to_string())?.map_err(|e| format!("samples: {e}"))?;
            self.kept().written = Some((minute, bytes));
        }
        Ok(json!({}))
    }
}

/// The job.
pub struct Samples(pub Arc<Sampling>);

#[async_trait]
impl Job for Samples {
    async fn activate(&self, at: Instants) -> Result<Json, String> {
        if self.0.lasting { self.0.sample(at).await } else { Ok(json!({})) }
    }
}

fn gauges(totals: &Totals) -> Gauges {
    let process = Process::read();
    let open = RunStatus::ALL.into_iter().filter(|status| !status.is_terminal());
    Gauges {
        memory: process.resident,
        cpu_seconds: process.cpu_seconds,
        files: process.files,
        ready: totals.ready,
        running: totals.running,
        open: open.filter_map(|status| totals.runs.get(status.as_str())).sum(),
    }
}

/// What the agents of a project did in the last day, where no node can say it.
pub fn fleet(state: &Path) -> Fleet {
    let day = read(state).agents(Range::Day, view::now());
    let of = |part: &AgentPart| AgentNow { day: AgentDay::of(part), ..AgentNow::default() };
    day.iter().map(|(agent, part)| (agent.clone(), of(part))).collect()
}

fn read(state: &Path) -> Series {
    let path = state.join(FILE);
    let read = std::fs::read(&path).map(|bytes| serde_json::from_slice::<File>(&bytes));
    match read {
        Ok(Ok(file)) if (OLDEST_FORMAT..=FORMAT).contains(&file.format) => return file.series,
        Ok(_) => tracing::warn!("{} can't be read: the charts begin anew", path.display()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => tracing::warn!("{}: {e}: the charts begin anew", path.display()),
    }
    Series::default()
}

/// Writes it; answers its bytes.
fn write(state: &Path, series: Series) -> io::Result<usize> {
    let file = File { format: FORMAT, series };
    let text = serde_json::to_vec(&file)?;
    Beneath::new(state)?.write(Path::new(FILE), &text)?;
    Ok(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_and_what_is_damaged_begins_anew() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        assert_eq!(read(dir.path()), Series::default());
        let mut series = Series::default();
        let gauges = Gauges { ready: 3, ..Gauges::default() };
        let done = Bucket::between(&Meter::default(), &gauges, &gauges, Span(5));
        series.add(Millis(1), &done);
        write(dir.path(), series.clone()).expect("it is written");
        assert_eq!(read(dir.path()), series);
        std::fs::write(dir.path().join(FILE), "{\"format\": 1, \"ser").expect("it is cut");
        assert_eq!(read(dir.path()), Series::default());
    }

    /// As the moa wrote it that counted durations in the classes of exporters.
    #[test]
    fn what_an_older_moa_wrote_is_read() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let writer = r#"{"executions": 2, "errors": 0, "seconds": [0, 0, 2], "took_us": 40000}"#;
        let bucket = format!(
            r#"{{"at": 60000, "seen_ms": 5, "runs": {{"succeeded": 1}}, "run_seconds": [0, 0, 1],
            "agents": {{"writer": {writer}}}, "commit_seconds": [0, 3], "cpu_seconds": 0.5,
            "memory": 1.0, "files": 1.0, "ready": 0, "running": 0, "open": 0}}"#
        );
        let file = format!(r#"{{"format": 1, "series": {{"ranges": {{"1h": [{bucket}]}}}}}}"#);
        std::fs::write(dir.path().join(FILE), file).expect("it is written");
        let series = read(dir.path());
        let told = |series: &Series| {
            let last = series.of(Range::Hour, Millis(60_000)).pop().expect("a minute");
            let attempts = last.attempts().latency(0.5).expect("an attempt");
            let (run, commit) = (last.run_time(0.5), last.commit_time(0.5));
            [attempts, run.expect("a run"), commit.expect("a commit")]
        };
        let [attempt, run, commit] = told(&series);
        assert!(attempt > 0.01 && attempt < 0.025, "{attempt}");
        assert!(run > 0.5 && run < 1.0, "{run}");
        assert!(commit > 0.000_25 && commit < 0.000_5, "{commit}");
        write(dir.path(), series.clone()).expect("it is written");
        assert_eq!(told(&read(dir.path())), [attempt, run, commit]);
    }
}
