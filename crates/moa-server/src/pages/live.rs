//! Whether a page has changed: a stream that says that something has, and one small number that tells
//! whether it is the page that is shown.
//!
//! A browser has six connections to a host: a stream for each tab would use them up, and every page
//! would stand still. So one tab listens and tells the others (see `moa.js`), and what is sent is only
//! which runs have changed, at most once a second.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Extension;
use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use moa_core::ids::RunId;
use moa_engine::handle::Committed;
use moa_engine::series::Range;
use moa_view::now;
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::{OwnedSemaphorePermit, watch};

use crate::App;
use crate::auth::Identity;
use crate::error::Result;
use crate::extract::{Json, Query};
use crate::serve::{Listening, stopped};

/// Time between two messages, at the least.
const PACE: Duration = Duration::from_secs(1);
/// Time between two signs of life, and two looks whether who listens still may.
const BEAT: Duration = Duration::from_secs(15);
/// Runs that a message names; of more it says that anything may have changed.
const RUNS_MAX: usize = 50;

/// What a page shows.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subject {
    /// A run; everything when not given.
    #[serde(default)]
    run: Option<String>,
    /// `alerts` or `samples`, which no event tells of.
    #[serde(default)]
    of: Option<String>,
    /// The version of the run that is shown.
    #[serde(default)]
    after: u64,
}

/// What is known of it.
#[derive(Debug, Serialize)]
pub struct Mark {
    /// Differs when something has changed.
    now: String,
}

/// Answers for a page.
pub async fn get(State(app): State<App>, Query(of): Query<Subject>) -> Result<Json<Mark>> {
    let now = match (of.run, of.of.as_deref()) {
        (None, Some("alerts")) => of_alerts(&app).await?,
        (None, Some("samples")) => of_samples(&app).await,
        (None, _) => of_all(&app).await?,
        (Some(run), _) => {
            let id = app.reader().find(&run).await?;
            // The next commit of its history tells; the run itself may be large.
            let newer = app.reader().views.history(id, of.after, 1).await?;
            newer.first().map_or(of.after, |row| row.version).to_string()
        }
    };
    Ok(Json(Mark { now }))
}

/// The mark of everything.
async fn of_all(app: &App) -> Result<String> {
    Ok(app.reader().views.last_event().await?.to_string())
}

/// The mark of the alerts: what is open, and what was said of it.
async fn of_alerts(app: &App) -> Result<String> {
    let book = app.control().alerts().await?;
    let mut hash = blake3::Hasher::new();
    for alert in book.open() {
        let raised = alert.raised_at.map_or(0, |at| at.0);
        let line = format!("{} {} {} {raised}\n", alert.key, alert.state(), alert.text);
        hash.update(line.as_bytes());
    }
    Ok(hash.finalize().to_hex()[..16].to_owned())
}

/// The mark of the charts: when they grew last.
async fn of_samples(app: &App) -> String {
    let hour = app.control().series().await.of(Range::Hour, now());
    let seen = hour.iter().rev().find(|bucket| bucket.seen_ms > 0);
    seen.map_or(String::new(), |bucket| format!("{}-{}", bucket.at.0, bucket.seen_ms))
}

/// What the page of alerts asks for, and what is answered now.
pub async fn alerts(app: &App) -> Result<Option<(String, String)>> {
    Ok(Some(("/live?of=alerts".into(), of_alerts(app).await?)))
}

/// What the page of charts asks for, and what is answered now.
pub async fn samples(app: &App) -> Option<(String, String)> {
    Some(("/live?of=samples".into(), of_samples(app).await))
}

/// What the page of a run asks for, and what is answered as long as it is at this version.
pub fn of_run(run: RunId, version: u64) -> (String, String) {
    (format!("/live?run={run}&after={version}"), version.to_string())
}

/// What a page about everything asks for, and what is answered now.
pub async fn ask(app: &App) -> Result<Option<(String, String)>> {
    Ok(Some(("/live".into(), of_all(app).await?)))
}

/// What has changed since the message before.
#[derive(Debug, Default, Serialize)]
struct Changed {
    runs: BTreeSet<String>,
    /// Whether it may be any run.
    all: bool,
}

impl Changed {
    fn add(&mut self, run: RunId) {
        self.all |= self.runs.len() >= RUNS_MAX;
        if !self.all {
            self.runs.insert(run.to_string());
        }
    }

    /// Takes in what has come without waiting.
    fn drain(&mut self, commits: &mut Receiver<Arc<Committed>>) {
        loop {
            match commits.try_recv() {
                Ok(commit) => self.add(commit.run),
                Err(TryRecvError::Lagged(_)) => self.all = true,
                Err(TryRecvError::Empty | TryRecvError::Closed) => return,
            }
        }
    }
}

/// What a stream is made of.
struct Listener {
    app: App,
    who: Identity,
    commits: Receiver<Arc<Committed>>,
    ending: watch::Receiver<bool>,
    /// When it was looked at last whether who listens still may.
    judged: Instant,
    _place: OwnedSemaphorePermit,
}

impl Listener {
    /// What has changed; `None` = the stream ends.
    async fn next(&mut self) -> Option<Changed> {
        let mut changed = Changed::default();
        loop {
            if self.judged.elapsed() >= BEAT {
                if !self.app.auth().holds(&self.who) {
                    return None;
                }
                self.judged = Instant::now();
            }
            tokio::select! {
                () = stopped(&mut self.ending) => return None,
                commit = self.commits.recv() => {
                    match commit {
                        Ok(commit) => changed.add(commit.run),
                        Err(RecvError::Lagged(_)) => changed.all = true,
                        Err(RecvError::Closed) => return None,
                    }
                    changed.drain(&mut self.commits);
                    return Some(changed);
                }
                () = tokio::time::sleep(BEAT) => {}
            }
        }
    }
}

/// A stream takes up nowhere: who comes back looks at the page as it is.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}

/// Says which runs have changed, as they do.
pub async fn stream(
    State(app): State<App>,
    who: Identity,
    Query(Nothing {}): Query<Nothing>,
) -> Result<Response> {
    let commits = app.control().subscribe();
    let (ending, _place) = (app.ending(), app.stream_place()?);
    let judged = Instant::now();
    let listener = Listener { app, who, commits, ending, judged, _place };
    let changes =
        futures_util::stream::unfold((listener, false), |(mut listener, paced)| async move {
            if paced {
                // What comes meanwhile is in the next message.
                tokio::time::sleep(PACE).await;
            }
            let changed = listener.next().await?;
            let text = serde_json::to_string(&changed).unwrap_or_default();
            Some((Ok::<_, Infallible>(Event::default().data(text)), (listener, true)))
        });
    let events = Sse::new(changes).keep_alive(KeepAlive::new().interval(BEAT));
    Ok((Extension(Listening), events).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_very_many_runs_anything_may_have_changed() {
        let mut changed = Changed::default();
        (0..60).for_each(|n| changed.add(RunId(n)));
        assert!(changed.all && changed.runs.len() == RUNS_MAX);
    }
}
