//! Lists of runs.

use axum::extract::State;
use moa_core::ids::{Name, RunId};
use moa_core::run::RunStatus;
use moa_core::workflow::notify_workflow;
use moa_ports::search::{Found, LOOKS_MAX, Search, TEXT_CHARS_MAX};
use moa_ports::views::{RunFilter, RunSummary};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::App;
use crate::error::{Problem, Result};
use crate::extract::{Json, Query};

/// Runs of a page when nobody says how many.
const LIMIT: usize = 50;
/// Runs of a page at most.
const LIMIT_MAX: usize = 500;

/// Which runs.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Filter {
    /// Only of these statuses, with commas: `failed,cancelled`; `open` = all that have not ended.
    #[serde(default)]
    pub status: Option<String>,
    /// Only of this workflow.
    #[serde(default)]
    pub workflow: Option<String>,
    /// Only those that this run started.
    #[serde(default)]
    pub parent: Option<String>,
    /// Only those with a step that waits for a person: an approval, a signal, an outcome that nobody
    /// knows.
    #[serde(default)]
    pub asks: bool,
    /// Only those that hold these words, each in the workflow, who or what started it, the error or
    /// the params, or as the beginning or end of the id. The newest 5,000 runs that fit the rest are
    /// looked through: `next` goes on behind them, also where nothing was found.
    #[serde(default)]
    pub q: Option<String>,
    /// At most so many, up to 500; 50 when not given.
    #[serde(default)]
    pub limit: Option<usize>,
    /// Go on where a page ended: its `next`.
    #[serde(default)]
    pub cursor: Option<String>,
}

/// A run of a list.
#[derive(Debug, Serialize, ToSchema)]
pub struct RunItem {
    /// Its id.
    pub run: String,
    /// The workflow's id.
    pub workflow: String,
    /// The workflow's version.
    pub hash: String,
    /// `pending`, `running`, `waiting`, `paused`, `succeeded`, `failed` or `cancelled`.
    pub status: &'static str,
    /// Who or what started it.
    pub cause: String,
    /// The run that started it.
    pub parent: Option<String>,
    /// When it was created.
    pub created_at: String,
    /// When its steps could run.
    pub started_at: Option<String>,
    /// When it ended.
    pub finished_at: Option<String>,
    /// How long it ran, in milliseconds.
    pub duration_ms: Option<u64>,
    /// What failed first, or why it was cancelled.
    pub error: Option<String>,
}

impl From<&RunSummary> for RunItem {
    fn from(run: &RunSummary) -> Self {
        let span = run.started_at.zip(run.finished_at).map(|(start, end)| end.since(start).0);
        Self {
            run: run.run.to_string(),
            workflow: run.workflow.to_string(),
            hash: run.hash.to_string(),
            status: run.status.as_str(),
            cause: run.cause.clone(),
            parent: run.parent.map(|run| run.to_string()),
            created_at: run.created_at.to_string(),
            started_at: run.started_at.map(|at| at.to_string()),
            finished_at: run.finished_at.map(|at| at.to_string()),
            duration_ms: span,
            error: run.error.clone(),
        }
    }
}

/// A page of runs.
#[derive(Debug, Serialize, ToSchema)]
pub struct RunPage {
    /// The newest first.
    pub runs: Vec<RunItem>,
    /// `cursor` of the next page; null = this is the last one.
    pub next: Option<String>,
}

/// Runs
#[utoipa::path(
    get, path = "/api/v1/runs", tag = "runs",
    params(Filter),
    responses((status = 200, description = "The newest first", body = RunPage)),
)]
pub async fn list(State(app): State<App>, Query(asked): Query<Filter>) -> Result<Json<RunPage>> {
    let limit = limit(asked.limit, LIMIT, LIMIT_MAX)?;
    let mut filter = RunFilter {
        statuses: asked.status.as_deref().map_or(Ok(Vec::new()), statuses)?,
        workflow: asked.workflow.as_deref().map(name).transpose()?,
        // What tells people something is none of the work, unless it is asked for.
        except: asked.workflow.is_none().then(notify_workflow),
        before: asked.cursor.as_deref().map(cursor).transpose()?,
        asks: asked.asks,
        limit,
        ..RunFilter::default()
    };
    if let Some(parent) = &asked.parent {
        filter.parent = Some(super::find(&app, parent).await?);
    }
    let Found { runs, next } = found(&app, filter, asked.q.as_deref().unwrap_or_default()).await?;
    let next = next.map(|run| run.to_string());
    Ok(Json(RunPage { runs: runs.iter().map(RunItem::from).collect(), next }))
}

/// The runs that fit a filter, and hold a text if there is one; where to go on when there are more.
///
/// # Errors
/// The text is too long; the store can't be read.
pub async fn found(app: &App, mut filter: RunFilter, text: &str) -> Result<Found> {
    let views = &app.reader().views;
    let text = text.trim();
    if !text.is_empty() {
        if text.chars().count() > TEXT_CHARS_MAX {
            return Err(Problem::invalid(format!("`q` has at most {TEXT_CHARS_MAX} characters")));
        }
        let search = Search { filter, text: text.to_owned(), looks: LOOKS_MAX };
        return Ok(views.search(&search).await?);
    }
    let limit = filter.limit;
    filter.limit += 1;
    let mut runs = views.runs(&filter).await?;
    let more = runs.len() > limit;
    runs.truncate(limit);
    let next = runs.last().filter(|_| more).map(|run| run.run);
    Ok(Found { runs, next })
}

/// How many are wanted.
///
/// # Errors
/// None, or too many.
pub fn limit(asked: Option<usize>, usual: usize, max: usize) -> Result<usize> {
    match asked.unwrap_or(usual) {
        limit if (1..=max).contains(&limit) => Ok(limit),
        _ => Err(Problem::invalid(format!("limit is from 1 to {max}"))),
    }
}

/// The name of a workflow.
///
/// # Errors
/// It can't be one.
pub fn name(text: &str) -> Result<Name> {
    Name::new(text).map_err(|e| Problem::invalid(format!("{text:?} is no name: {e}")))
}

/// Where a page goes on.
///
/// # Errors
/// It is none.
pub fn cursor(text: &str) -> Result<RunId> {
    let wrong =
        |_| Problem::invalid(format!("{text:?} is no cursor")).hint("send `next` of a page");
    text.parse::<RunId>().map_err(wrong)
}

/// Statuses with commas between them.
///
/// # Errors
/// One of them is none.
pub fn statuses(text: &str) -> Result<Vec<RunStatus>> {
    let mut statuses = Vec::new();
    for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
        if word == "open" {
            statuses.extend(RunStatus::ALL.into_iter().filter(|status| !status.is_terminal()));
            continue;
        }
        let known = RunStatus::ALL.into_iter().find(|status| status.as_str() == word);
        statuses.push(known.ok_or_else(|| {
            let words: Vec<&str> = RunStatus::ALL.iter().map(|status| status.as_str()).collect();
            Problem::invalid(format!("{word:?} is no status; there are open, {}", words.join(", ")))
        })?);
    }
    Ok(statuses)
}
