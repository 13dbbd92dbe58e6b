//! Whether a page has changed: one small number that its script asks for again and again.
//!
//! Asking is cheaper here than a stream. A browser has six connections to a host; a stream for each
//! tab would use them up, and every page would stand still.

use axum::extract::State;
use moa_core::ids::RunId;
use moa_engine::series::Range;
use moa_view::now;
use serde::{Deserialize, Serialize};

use crate::App;
use crate::error::Result;
use crate::extract::{Json, Query};

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
