//! The same change of many runs: first what would be done, then each for itself. What the dashboard
//! does with the runs that are checked is this too.

use std::time::Duration;

use async_trait::async_trait;
use axum::extract::State;
use axum::http::HeaderMap;
use moa_core::ids::{Name, RunId};
use moa_core::run::RunStatus;
use moa_engine::handle::{Change, ForkFrom, ForkRequest};
use moa_ports::views::{RunFilter, RunSummary};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout_at};
use utoipa::{IntoParams, ToSchema};

use super::change::apply;
use super::find;
use super::list::{cursor, name, statuses};
use super::repeat::key_of;
use super::start::idempotency_key;
use crate::App;
use crate::auth::Identity;
use crate::error::{Code, Problem, Result};
use crate::extract::{Json, Query};

/// Runs at once.
pub const RUNS_MAX: usize = 200;
/// How long runs are gone through: the answer tells of each, so it has to come before the request is
/// given up.
const WAIT: Duration = Duration::from_secs(40);

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
    /// All of them.
    pub const ALL: [Act; 5] = [Act::Pause, Act::Resume, Act::Cancel, Act::Terminate, Act::Retry];

    /// Its word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Cancel => "cancel",
            Self::Terminate => "terminate",
            Self::Retry => "retry",
        }
    }

    /// Whether it can be done with a run of this status.
    pub fn fits(self, status: RunStatus) -> bool {
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
    pub status: &'static str,
    /// `would` or `would_not`, of a dry run; `done`, `refused` or `passed_over`; `left`: there was no
    /// time for it, ask again; `unknown`: it takes long, and goes on.
    pub outcome: &'static str,
    /// The run that does it again.
    pub new_run: Option<String>,
    /// Why it was refused or left.
    pub error: Option<String>,
}

impl BulkResult {
    /// Whether it would be done with the run.
    pub fn would(&self) -> bool {
        self.outcome == "would"
    }
}

/// What became of all.
#[derive(Debug, Serialize, ToSchema)]
pub struct BulkAnswer {
    /// Whether nothing was done.
    dry_run: bool,
    /// Runs with which it was done, or would be.
    pub fit: usize,
    /// Each run, the newest first where a filter found them.
    pub results: Vec<BulkResult>,
    /// `filter.cursor` of the next part; null = there are no more.
    next: Option<String>,
}

/// What would be done, with which runs: those that are named, or those that a filter finds.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Preview {
    /// What would be done with each.
    #[param(inline)]
    action: Act,
    /// The runs, with commas.
    #[serde(default)]
    runs: Option<String>,
    /// Only of these statuses, with commas; `open` = all that have not ended.
    #[serde(default)]
    status: Option<String>,
    /// Only of this workflow.
    #[serde(default)]
    workflow: Option<String>,
    /// Only those that this run started.
    #[serde(default)]
    parent: Option<String>,
    /// At most so many runs, up to 200, which it is when not given.
    #[serde(default)]
    limit: Option<usize>,
    /// Go on where a page ended: its `next`.
    #[serde(default)]
    cursor: Option<String>,
}

impl From<Preview> for BulkChange {
    fn from(asked: Preview) -> Self {
        let Preview { action, runs, status, workflow, parent, limit, cursor } = asked;
        let some = [&status, &workflow, &parent, &cursor].iter().any(|given| given.is_some());
        let named = |text: String| {
            let all = text.split(',').map(str::trim).filter(|run| !run.is_empty());
            all.map(str::to_owned).collect()
        };
        let filter = (some || runs.is_none()).then_some(Which { status, workflow, parent, cursor });
        let runs = runs.map(named);
        Self { action, runs, filter, reason: None, dry_run: true, limit }
    }
}

/// What a change of many runs would do
///
/// Which runs it would be done with, and which would stay as they are; nothing is changed. Name `runs`,
/// or say by the others which are meant.
#[utoipa::path(
    get, path = "/api/v1/runs/bulk", tag = "runs", params(Preview),
    responses((status = 200, description = "What would become of each run", body = BulkAnswer)),
)]
pub async fn preview(
    State(app): State<App>,
    Query(asked): Query<Preview>,
) -> Result<Json<BulkAnswer>> {
    let asked = BulkChange::from(asked);
    let (runs, next) = chosen(&app, &asked).await?;
    let wanted = Wanted { act: asked.action, reason: None, key: None };
    let next = next.map(|run| run.to_string());
    Ok(Json(BulkAnswer { next, ..wanted.preview(&runs) }))
}

/// Change many runs
///
/// Without `dry_run: false` nothing is done, and the answer says what would be. What can't be done with
/// one run stops none of the others; each change is in the audit log by itself. Of a retry, the same
/// `Idempotency-Key` makes one new run of each, however often it is asked for. The answer comes before
/// the request is given up: runs for which there was no time are `left`.
#[utoipa::path(
    post, path = "/api/v1/runs/bulk", tag = "runs",
    params(("Idempotency-Key" = Option<String>, Header, description = "The same key retries once")),
    request_body = BulkChange,
    responses((status = 200, description = "What became of each run", body = BulkAnswer)),
)]
pub async fn bulk(
    State(app): State<App>,
    who: Identity,
    headers: HeaderMap,
    Json(asked): Json<BulkChange>,
) -> Result<Json<BulkAnswer>> {
    let key = idempotency_key(&headers)?;
    let (runs, next) = chosen(&app, &asked).await?;
    let BulkChange { action, reason, dry_run, .. } = asked;
    let wanted = Wanted { act: action, reason, key };
    if dry_run {
        let next = next.map(|run| run.to_string());
        return Ok(Json(BulkAnswer { next, ..wanted.preview(&runs) }));
    }
    let results = wanted.done(&app, &who, &runs).await?;
    let fit = results.iter().filter(|result| result.outcome == "done").count();
    let by_filter = asked.filter.is_some();
    let first_left = results.iter().position(|result| result.outcome == "left");
    let next = match first_left.filter(|_| by_filter) {
        // The first one is never left.
        Some(left) => left.checked_sub(1).map(|last| runs[last].run),
        None => next,
    };
    let next = next.map(|run| run.to_string());
    Ok(Json(BulkAnswer { dry_run, fit, results, next }))
}

/// What is to be done with each run.
pub struct Wanted {
    /// What.
    pub act: Act,
    /// Why, for people.
    pub reason: Option<String>,
    /// Under this key, a retry makes one new run of each.
    pub key: Option<String>,
}

/// A run that is chosen.
#[derive(Debug, Clone)]
pub struct Chosen {
    /// It.
    pub run: RunId,
    /// Its workflow.
    pub workflow: Name,
    /// Its status.
    pub status: RunStatus,
    /// Who or what started it.
    cause: String,
}

impl Wanted {
    /// What would become of each run.
    pub fn preview(&self, runs: &[Chosen]) -> BulkAnswer {
        let would = |run| result(run, if self.fits(run) { "would" } else { "would_not" });
        let results: Vec<BulkResult> = runs.iter().map(would).collect();
        let fit = results.iter().filter(|result| result.would()).count();
        BulkAnswer { dry_run: true, fit, results, next: None }
    }

    /// Whether it can be done with a run. One that this very wish has made is not repeated by it.
    fn fits(&self, run: &Chosen) -> bool {
        let ours = self.mark().is_some_and(|mark| run.cause.ends_with(&mark));
        self.act.fits(run.status) && !ours
    }

    /// How the causes of runs end that are made under a key.
    fn mark(&self) -> Option<String> {
        let key = self.key.as_ref()?;
        Some(format!(" [bulk {}]", &blake3::hash(key.as_bytes()).to_hex()[..12]))
    }

    /// Does it with one run after the other, as long as there is time.
    ///
    /// # Errors
    /// Nothing at all could be done.
    pub async fn done(
        &self,
        app: &App,
        who: &Identity,
        runs: &[Chosen],
    ) -> Result<Vec<BulkResult>> {
        each(runs, |run| self.fits(run), &Node { wanted: self, app, who }).await
    }

    /// Does it with one run; answers the new one, if one is made.
    async fn one(&self, app: &App, who: &Identity, run: RunId) -> Result<Option<RunId>> {
        let why = || {
            let given = self.reason.as_deref().map(str::trim).filter(|reason| !reason.is_empty());
            given.map_or_else(|| format!("asked for by {}", who.cause()), str::to_owned)
        };
        let change = match self.act {
            Act::Pause => Change::Pause,
            Act::Resume => Change::Resume,
            Act::Cancel => Change::Cancel { reason: why() },
            Act::Terminate => Change::Terminate { reason: why() },
            Act::Retry => {
                let from = ForkFrom::Failed;
                let idempotency_key = self.key.as_ref().map(|key| key_of(key, run, &from, None));
                let cause = format!("{}{}", who.cause(), self.mark().unwrap_or_default());
                let request = ForkRequest { run, from, params: None, idempotency_key, cause };
                return Ok(Some(app.control().fork(request).await?));
            }
        };
        apply(app, &run.to_string(), change).await?;
        Ok(None)
    }
}

fn result(run: &Chosen, outcome: &'static str) -> BulkResult {
    let (run, status) = (run.run.to_string(), run.status.as_str());
    BulkResult { run, status, outcome, new_run: None, error: None }
}

/// What changes a run.
#[async_trait]
trait Work: Sync {
    /// Does it with one run; answers the new one, if one is made.
    async fn one(&self, run: RunId) -> Result<Option<RunId>>;
}

/// The node, asked by somebody for what they want.
struct Node<'a> {
    wanted: &'a Wanted,
    app: &'a App,
    who: &'a Identity,
}

#[async_trait]
impl Work for Node<'_> {
    async fn one(&self, run: RunId) -> Result<Option<RunId>> {
        self.wanted.one(self.app, self.who, run).await
    }
}

/// Does some work with each run that it fits, as long as there is time; what became of it is told in
/// any case.
async fn each(
    runs: &[Chosen],
    fits: impl Fn(&Chosen) -> bool,
    work: &dyn Work,
) -> Result<Vec<BulkResult>> {
    let until = Instant::now() + WAIT;
    let mut results: Vec<BulkResult> = Vec::with_capacity(runs.len());
    let mut stopped: Option<String> = None;
    for run in runs {
        if let Some(why) = &stopped {
            results.push(BulkResult { error: Some(why.clone()), ..result(run, "left") });
            continue;
        }
        if !fits(run) {
            results.push(result(run, "passed_over"));
            continue;
        }
        let took_long = || "there was no time for more in this request".to_owned();
        results.push(match timeout_at(until, work.one(run.run)).await {
            Ok(Ok(new)) => {
                BulkResult { new_run: new.map(|run| run.to_string()), ..result(run, "done") }
            }
            Ok(Err(problem)) if matches!(problem.code, Code::Unavailable | Code::Busy) => {
                if results.is_empty() {
                    return Err(problem);
                }
                stopped = Some(problem.detail.clone());
                BulkResult { error: Some(problem.detail), ..result(run, "left") }
            }
            Ok(Err(problem)) => {
                BulkResult { error: Some(problem.detail), ..result(run, "refused") }
            }
            Err(_) => {
                stopped = Some(took_long());
                BulkResult { error: Some(took_long()), ..result(run, "unknown") }
            }
        });
        if Instant::now() >= until {
            stopped.get_or_insert_with(took_long);
        }
    }
    Ok(results)
}

/// The runs that are meant, and where the next part begins.
async fn chosen(app: &App, asked: &BulkChange) -> Result<(Vec<Chosen>, Option<RunId>)> {
    let limit = super::list::limit(asked.limit, RUNS_MAX, RUNS_MAX)?;
    match (&asked.runs, &asked.filter) {
        (Some(texts), None) => Ok((named(app, texts, limit).await?, None)),
        (None, Some(which)) => by_filter(app, which, limit).await,
        _ => Err(Problem::invalid("name `runs`, or a `filter`; one of the two")),
    }
}

/// The runs that are named.
///
/// # Errors
/// There is no such run; there are too many.
pub async fn named(app: &App, texts: &[String], limit: usize) -> Result<Vec<Chosen>> {
    if texts.len() > limit {
        return Err(Problem::invalid(format!("at most {limit} runs at once")));
    }
    let mut runs: Vec<Chosen> = Vec::new();
    for text in texts {
        let run = find(app, text).await?;
        if let Some(known) = app.reader().views.run_part(run, 0, 0).await?
            && runs.iter().all(|other| other.run != run)
        {
            let row = known.row;
            let (workflow, cause) = (row.workflow, row.extra.cause);
            runs.push(Chosen { run, workflow, status: row.status, cause });
        }
    }
    Ok(runs)
}

async fn by_filter(app: &App, which: &Which, limit: usize) -> Result<(Vec<Chosen>, Option<RunId>)> {
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
    let chosen = |run: RunSummary| {
        let RunSummary { run, workflow, status, cause, .. } = run;
        Chosen { run, workflow, status, cause }
    };
    Ok((found.into_iter().map(chosen).collect(), next))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(count: u128) -> Vec<Chosen> {
        let workflow: Name = "w".parse().expect("a name");
        let run = |n| Chosen {
            run: RunId(n),
            workflow: workflow.clone(),
            status: RunStatus::Failed,
            cause: "api (ci)".into(),
        };
        (1..=count).map(run).collect()
    }

    fn outcomes(results: &[BulkResult]) -> Vec<&'static str> {
        results.iter().map(|result| result.outcome).collect()
    }

    /// A node on which the third run takes an hour, and each other one fifteen seconds.
    struct Slow;

    #[async_trait]
    impl Work for Slow {
        async fn one(&self, run: RunId) -> Result<Option<RunId>> {
            let seconds = if run == RunId(3) { 3600 } else { 15 };
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            Ok(Some(run))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_done_is_told_when_the_time_is_over() {
        let begun = Instant::now();
        let results = each(&runs(5), |_| true, &Slow).await.expect("something was done");
        assert_eq!(outcomes(&results), ["done", "done", "unknown", "left", "left"]);
        assert_eq!(begun.elapsed(), WAIT);
        assert!(results[4].error.as_ref().is_some_and(|why| why.contains("no time")));
    }

    /// A node whose disk is full from this run on.
    struct Full(u128);

    #[async_trait]
    impl Work for Full {
        async fn one(&self, run: RunId) -> Result<Option<RunId>> {
            match run {
                RunId(n) if n >= self.0 => Err(Problem::new(Code::Unavailable, "the disk is full")),
                RunId(2) => Err(Problem::new(Code::Conflict, "it has ended")),
                _ => Ok(None),
            }
        }
    }

    #[tokio::test]
    async fn a_store_that_fails_in_the_middle_takes_no_report_away() {
        let results = each(&runs(5), |run| run.run != RunId(3), &Full(4)).await;
        let results = results.expect("something was done");
        assert_eq!(outcomes(&results), ["done", "refused", "passed_over", "left", "left"]);
        assert_eq!(results[4].error.as_deref(), Some("the disk is full"));
        let nothing = each(&runs(2), |_| true, &Full(1)).await.expect_err("nothing was done");
        assert_eq!(nothing.code, Code::Unavailable);
    }

    #[test]
    fn a_run_that_a_retry_made_is_not_retried_by_it() {
        let wanted = |key: &str| Wanted { act: Act::Retry, reason: None, key: Some(key.into()) };
        let mark = wanted("a").mark().expect("a mark");
        let made = Chosen { cause: format!("api (ci){mark}"), ..runs(1).remove(0) };
        assert!(!wanted("a").fits(&made) && wanted("b").fits(&made));
        assert!(wanted("a").fits(&runs(1)[0]));
    }
}
