//! Whether a page has changed: one small number that its script asks for again and again.
//!
//! Asking is cheaper here than a stream. A browser has six connections to a host; a stream for each
//! tab would use them up, and every page would stand still.

use axum::extract::State;
use moa_core::ids::RunId;
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
    let now = match of.run {
        None => of_all(&app).await?,
        Some(run) => {
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

/// What the page of a run asks for, and what is answered as long as it is at this version.
pub fn of_run(run: RunId, version: u64) -> (String, String) {
    (format!("/live?run={run}&after={version}"), version.to_string())
}

/// What a page about everything asks for, and what is answered now.
pub async fn ask(app: &App) -> Result<Option<(String, String)>> {
    Ok(Some(("/live".into(), of_all(app).await?)))
}
