//! The same change of many runs: first what would be done, then each for itself.

use axum::extract::State;
use moa_core::ids::RunId;
use moa_core::run::RunStatus;
use moa_engine::handle::{Change, ForkFrom, ForkRequest};
use moa_ports::views::RunFilter;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::change::apply;
use super::find;
use super::list::{cursor, name, statuses};
use crate::App;
use crate::auth::Identity;
use crate::error::{Code, Problem, Result};
use crate::extract::Json;

/// Runs at once.
const RUNS_MAX: usize = 200;

/// What can be done with many runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Act {
    /// Start no new attempts.
    Pause,
    /// Start attempts again.
    Resume,
    /// Stop what runs, then clean up.
    Cancel,
    /// End now.
    Terminate,
    /// Do again what failed, in a new run.
    Retry,
}

impl Act {
    /// Whether it can be done with a run of this status.
    fn fits(self, status: RunStatus) -> bool {
        match self {
            Self::Retry => matches!(status, RunStatus::Failed | RunStatus::Cancelled),
            Self::Resume => status == RunStatus::Paused,
            Self::Pause => !status.is_terminal() && status != RunStatus::Paused,
            Self::Cancel | Self::Terminate => !status.is_terminal(),
        }
    }
}

/// Which runs.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Which {
    /// Only of these statuses, with commas; `open` = all that have not ended.
    #[serde(default)]
    status: Option<String>,
    /// Only of this workflow.
    #[serde(default)]
    workflow: Option<String>,
    /// Only those that this run started.
    #[serde(default)]
    parent: Option<String>,
    /// Only those that are older than this run: `next` of an answer.
    #[serde(default)]
    cursor: Option<String>,
}

/// A change of many runs: of those that are named, or of those that a filter finds.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BulkChange {
    /// What is done with each.
    action: Act,
    /// The runs.
    #[serde(default)]
    runs: Option<Vec<String>>,
    /// Or a filter, with at least one key.
    #[serde(default)]
    filter: Option<Which>,
    /// Why, for people: of cancel and terminate.
    #[serde(default)]
    reason: Option<String>,
    /// Whether it is only told what would be done; it is, unless this is false.
    #[serde(default = "yes")]
    dry_run: bool,
    /// At most so many runs, up to 200, which it is when not given.
    #[serde(default)]
    limit: Option<usize>,
}

fn yes() -> bool {
    true
}

/// What became of one run.
#[derive(Debug, Serialize, ToSchema)]
pub struct BulkResult {
    /// The run.
    run: String,
    /// Its status before.
    status: &'static str,
    /// `would` or `would_not`, of a dry run; `done`, `refused` or `passed_over`.
    outcome: &'static str,
    /// The run that does it again.
    new_run: Option<String>,
    /// Why it was refused.
    error: Option<String>,
}

/// What became of all.
#[derive(Debug, Serialize, ToSchema)]
pub struct BulkAnswer {
    /// Whether nothing was done.
    dry_run: bool,
    /// Runs with which it was done, or would be.
    fit: usize,
    /// Each run, the newest first where a filter found them.
    results: Vec<BulkResult>,
    /// `filter.cursor` of the next part; null = there are no more.
    next: Option<String>,
}

/// Change many runs
///
/// Without `dry_run: false` nothing is done, and the answer says what would be. What can't be done with
/// one run stops none of the others; each change is in the audit log by itself.
#[utoipa::path(
    post, path = "/api/v1/runs/bulk", tag = "runs",
    request_body = BulkChange,
    responses((status = 200, description = "What became of each run", body = BulkAnswer)),
)]
pub async fn bulk(
    State(app): State<App>,
    who: Identity,
    Json(asked): Json<BulkChange>,
) -> Result<Json<BulkAnswer>> {
    let (runs, next) = chosen(&app, &asked).await?;
    let why = asked.reason.clone().unwrap_or_else(|| format!("asked for by {}", who.cause()));
    let mut results = Vec::new();
    for (run, status) in runs {
        let fits = asked.action.fits(status);
        let mut result = BulkResult {
            run: run.to_string(),
            status: status.as_str(),
            outcome: match (asked.dry_run, fits) {
                (true, true) => "would",
                (true, false) => "would_not",
                (false, true) => "done",
                (false, false) => "passed_over",
            },
            new_run: None,
            error: None,
        };
        if fits && !asked.dry_run {
            match one(&app, &who, asked.action, run, &why).await {
                Ok(new) => result.new_run = new.map(|run| run.to_string()),
                Err(problem) if problem.code == Code::Unavailable => return Err(problem),
                Err(problem) => {
                    (result.outcome, result.error) = ("refused", Some(problem.detail));
                }
            }
        }
        results.push(result);
    }
    let fit = results.iter().filter(|r| matches!(r.outcome, "would" | "done")).count();
    let next = next.map(|run| run.to_string());
    Ok(Json(BulkAnswer { dry_run: asked.dry_run, fit, results, next }))
}

type Chosen = (Vec<(RunId, RunStatus)>, Option<RunId>);

/// The runs that are meant, and where the next part begins.
async fn chosen(app: &App, asked: &BulkChange) -> Result<Chosen> {
    let limit = super::list::limit(asked.limit, RUNS_MAX, RUNS_MAX)?;
    match (&asked.runs, &asked.filter) {
        (Some(named), None) => {
            if named.len() > limit {
                return Err(Problem::invalid(format!("at most {limit} runs at once")));
            }
            let mut runs: Vec<(RunId, RunStatus)> = Vec::new();
            for text in named {
                let run = find(app, text).await?;
                if let Some(known) = app.reader().views.run_part(run, 0, 0).await?
                    && runs.iter().all(|(other, _)| *other != run)
                {
                    runs.push((run, known.row.status));
                }
            }
            Ok((runs, None))
        }
        (None, Some(which)) => by_filter(app, which, limit).await,
        _ => Err(Problem::invalid("name `runs`, or a `filter`; one of the two")),
    }
}

async fn by_filter(app: &App, which: &Which, limit: usize) -> Result<Chosen> {
    // An empty text is what an unset variable of a script leaves behind: it means nothing, not all.
    let statuses = which.status.as_deref().map(statuses).transpose()?;
    let names_none = statuses.as_ref().is_some_and(Vec::is_empty);
    if names_none || statuses.is_none() && which.workflow.is_none() && which.parent.is_none() {
        let text = if names_none { "the status is empty" } else { "the filter fits every run" };
        return Err(Problem::invalid(text).hint("say `status: open` at the least"));
    }
    let mut filter = RunFilter {
        statuses: statuses.unwrap_or_default(),
        workflow: which.workflow.as_deref().map(name).transpose()?,
        except: which.workflow.is_none().then(moa_core::workflow::notify_workflow),
        before: which.cursor.as_deref().map(cursor).transpose()?,
        limit: limit + 1,
        ..RunFilter::default()
    };
    if let Some(parent) = &which.parent {
        filter.parent = Some(find(app, parent).await?);
    }
    let mut found = app.reader().views.runs(&filter).await?;
    let more = found.len() > limit;
    found.truncate(limit);
    let next = found.last().filter(|_| more).map(|run| run.run);
    Ok((found.into_iter().map(|run| (run.run, run.status)).collect(), next))
}

/// Does it with one run; answers the new one, if one is made.
async fn one(app: &App, who: &Identity, act: Act, run: RunId, why: &str) -> Result<Option<RunId>> {
    let change = match act {
        Act::Pause => Change::Pause,
        Act::Resume => Change::Resume,
        Act::Cancel => Change::Cancel { reason: why.to_owned() },
        Act::Terminate => Change::Terminate { reason: why.to_owned() },
        Act::Retry => {
            let (from, cause) = (ForkFrom::Failed, who.cause());
            let request = ForkRequest { run, from, params: None, idempotency_key: None, cause };
            return Ok(Some(app.control().fork(request).await?));
        }
    };
    apply(app, &run.to_string(), change).await?;
    Ok(None)
}
