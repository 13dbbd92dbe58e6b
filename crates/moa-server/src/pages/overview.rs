//! The overview: what runs, what needs somebody, what failed, what comes.

use axum::extract::State;
use maud::{Markup, html};
use moa_core::alert::Alert;
use moa_core::ids::{Name, RunId};
use moa_core::run::{RunStatus, StepRow};
use moa_core::time::{Millis, Span};
use moa_core::workflow::notify_workflow;
use moa_engine::series::{Bucket, Range};
use moa_ports::views::{ASKS_MAX, RunFilter, RunSummary, Totals};
use moa_view::node::NodeStatus;
use moa_view::target::Standing;
use moa_view::trigger::Known;
use moa_view::{now, text};

use super::agents::Glance;
use super::inbox::Asks;
use super::{Page, agents, alerts, inbox, live, metrics, page, parts, schedules};
use crate::App;
use crate::api::history::total;
use crate::api::triggers::known;
use crate::auth::Identity;
use crate::error::Result;

/// Runs of a short list, and the places that the page has for them. These are there with and without
/// runs, so that nothing below moves when one comes or goes.
const PLACES: usize = 6;
/// Places for what waits for a person.
const ASKED_PLACES: usize = 4;
/// Ended runs that the chart shows.
const CHART: usize = 80;

/// Ended runs and time that a pace is made of, at the least.
const PACE_RUNS: usize = 10;
const PACE_SPAN: Span = Span::minutes(1);

/// What the overview shows: gathered once, for the page and for the API.
pub struct Overview {
    /// When.
    pub now: Millis,
    /// How the node is.
    pub status: NodeStatus,
    /// Numbers for the whole store.
    pub totals: Totals,
    /// Runs at work or about to be, the newest first.
    pub running: Vec<RunSummary>,
    /// Runs that failed, the newest first.
    pub failed: Vec<RunSummary>,
    /// Runs that ended, the newest first.
    pub ended: Vec<RunSummary>,
    /// Steps that wait for a person, with their runs and names.
    pub asking: Vec<Asking>,
    /// The worst alerts, and how many more there are.
    pub alerts: (Vec<Alert>, usize),
    /// All triggers: what is late and what comes is read off them.
    pub triggers: Vec<Known>,
    /// How production stands.
    pub targets: Vec<Standing>,
    /// The last hour by the minute.
    pub hour: Vec<Bucket>,
    /// How the fleet is.
    pub fleet: Glance,
}

/// A step that waits for a person.
pub struct Asking {
    /// The run.
    pub run: RunId,
    /// Its workflow.
    pub workflow: Name,
    /// The step.
    pub row: StepRow,
    /// Its name.
    pub step: String,
}

impl Overview {
    /// Gathers it.
    ///
    /// # Errors
    /// The store can't be read.
    pub async fn of(app: &App) -> Result<Self> {
        let now = now();
        let control = app.control();
        let ended = [RunStatus::Succeeded, RunStatus::Failed, RunStatus::Cancelled];
        let (waits, _) = inbox::waits(app, None, ASKED_PLACES).await?;
        Ok(Self {
            now,
            status: control.status().await,
            totals: app.reader().views.totals().await?,
            running: list(app, &[RunStatus::Running, RunStatus::Pending], PLACES).await?,
            failed: list(app, &[RunStatus::Failed], PLACES).await?,
            ended: list(app, &ended, CHART).await?,
            asking: waits.into_iter().flat_map(Asking::all).take(ASKED_PLACES).collect(),
            alerts: alerts::worst(&control.alerts().await?),
            triggers: known(app, None).await?,
            targets: control.production().await?.targets,
            hour: control.series().await.of(Range::Hour, now),
            fleet: agents::glance(app).await?,
        })
    }
}

impl Asking {
    fn all(asks: Asks) -> impl Iterator<Item = Self> {
        let Asks { run, workflow, rows, .. } = asks;
        let of = move |(row, step)| Self { run, workflow: workflow.clone(), row, step };
        rows.into_iter().map(of)
    }
}

/// What goes on, and what happened last.
pub async fn show(State(app): State<App>, who: Identity) -> Result<Markup> {
    let live = live::ask(&app).await?;
    let all = Overview::of(&app).await?;
    let body = html! {
        (warnings(&all.status))
        (numbers(&all.totals))
        @if all.totals.runs.values().sum::<u64>() == 0 { div data-key="welcome" { (welcome()) } }
        div class="halves" data-key="halves" {
            div { (happening(&all)) }
            div { (needed(&all)) }
        }
    };
    let shown = Page {
        nav: "/",
        title: "Overview",
        json: Some("/api/v1/overview".into()),
        live,
        body: Some(body),
        ..Page::default()
    };
    Ok(page(&app, &who, shown))
}

/// What runs, what failed, and how it went lately.
fn happening(all: &Overview) -> Markup {
    let Overview { running, failed, ended, now, .. } = all;
    html! {
        section class="card" data-key="running" {
            h2 { "Running now" a href="/runs?status=open" { "all open runs" } }
            (places((PLACES, "places"), "Nothing runs", running.iter().map(|run| short(run, *now))))
        }
        section class="card" data-key="failed" {
            h2 { "Failed lately" a href="/runs?status=failed" { "all failed runs" } }
            (places((PLACES, "places tall"), "Nothing has failed", failed.iter().map(|run| short(run, *now))))
        }
        section class="card" data-key="ended" {
            h2 { "Last runs" span class="dim" { (text::plural(ended.len(), "ended run")) } }
            (chart(ended))
        }
        (hour(&all.hour))
        (agents::card(&all.fleet))
    }
}

/// Who and what is waited for: people, what is wrong, targets, schedules.
fn needed(all: &Overview) -> Markup {
    let Overview { triggers, targets, now, .. } = all;
    html! {
        section class="card first" data-key="asked" {
            h2 { "Waits for somebody" a href="/inbox" { "inbox" } }
            (asking(&all.asking, *now))
        }
        section class="card first" data-key="wrong" {
            h2 { "Wrong or late" a href="/alerts" { "alerts" } }
            @if all.alerts.0.is_empty() && schedules::late(triggers, *now).is_empty() {
                (parts::empty("Nothing is wrong, nothing is late", &html! {}))
            }
            (schedules::lateness(triggers, *now))
            (alerts::short(&all.alerts, *now))
        }
        @if !targets.is_empty() {
            section class="card" data-key="production" {
                h2 { "Production" a href="/charts/production" { "all counters" } }
                (metrics::standings(targets))
            }
        }
        (schedules::card(triggers, *now))
    }
}

/// The last hour in two small drawings.
fn hour(buckets: &[Bucket]) -> Markup {
    let all = total(buckets);
    let at: Vec<Millis> = buckets.iter().map(|bucket| bucket.at).collect();
    let seconds = |part| {
        let latency = all.attempts().latency(part);
        latency.map_or("–".to_owned(), metrics::seconds_words)
    };
    html! {
        section class="card" data-key="hour" {
            h2 { "Last hour" a href="/charts" { "metrics" } }
            div class="sparks" {
                div {
                    p { strong { (all.ended()) } @if all.ended() == 1 { " run" } @else { " runs" } " ended, a minute each bar" }
                    (metrics::throughput(buckets, &at, &all).spark())
                }
                div {
                    p { "attempts: median " strong { (seconds(0.5)) } ", 95 of 100 " strong { (seconds(0.95)) } }
                    (metrics::latency(buckets, &at, &all).spark())
                }
            }
        }
    }
}

async fn list(app: &App, statuses: &[RunStatus], limit: usize) -> Result<Vec<RunSummary>> {
    let except = Some(notify_workflow());
    let filter = RunFilter { statuses: statuses.to_vec(), except, limit, ..RunFilter::default() };
    Ok(app.reader().views.runs(&filter).await?)
}

fn warnings(status: &NodeStatus) -> Markup {
    let quarantined = status.engine.quarantined.iter();
    html! {
        @if let Some(why) = &status.engine.degraded {
            div class="note bad" role="alert" data-key="degraded" { "The store can't be written: " (parts::line(why)) }
        }
        @for (run, why) in quarantined {
            div class="note bad" data-key={ "quarantined " (run) } { "Run " (parts::run_link(*run)) " is left alone: " (parts::line(why)) }
        }
        @if let Some(warning) = &status.warning {
            details class="note wait" data-key="files" {
                summary { "The project's files have mistakes; what was good last is served." }
                pre tabindex="0" { (text::safe(warning)) }
            }
        }
    }
}

fn numbers(totals: &Totals) -> Markup {
    let count = |status: RunStatus| totals.runs.get(status.as_str()).copied().unwrap_or(0);
    let one = |name: &str, value: String, to: &str, class: &str| {
        html! { a href=(to) { span class="name" { (name) } span class={ "value " (class) } { (value) } } }
    };
    let of = |status: RunStatus| {
        let (n, word) = (count(status), status.as_str());
        let class = if n > 0 { word } else { "" };
        one(word, n.to_string(), &format!("/runs?status={word}"), class)
    };
    let asked = totals.asks;
    let asked_words = if asked >= ASKS_MAX { format!("{asked}+") } else { asked.to_string() };
    html! {
        div class="numbers" data-key="numbers" {
            (of(RunStatus::Running)) (of(RunStatus::Pending)) (of(RunStatus::Waiting))
            (one("for a person", asked_words, "/inbox", if asked > 0 { "waiting" } else { "" }))
            (of(RunStatus::Paused)) (of(RunStatus::Failed)) (of(RunStatus::Succeeded))
        }
    }
}

fn welcome() -> Markup {
    parts::empty(
        "No runs yet",
        &html! {
            p { "A " strong { "workflow" } " is a YAML file under " code { "workflows/" }
                "; a " strong { "run" } " is one execution of it." }
            p { a class="button primary" href="/workflows" { "Choose a workflow to start" } }
        },
    )
}

/// A list with a fixed number of places, in a card. Each row keeps its place as long as it is in the
/// list (see `moa.js`); `empty`: what stands there when it has none.
fn places(
    (count, class): (usize, &str),
    empty: &str,
    rows: impl Iterator<Item = Markup>,
) -> Markup {
    let rows: Vec<Markup> = rows.take(count).collect();
    html! {
        table class=(class) {
            tbody data-places="" {
                @for row in &rows { (row) }
                @for place in rows.len()..count {
                    @let said = if place == 0 { empty } else { "" };
                    tr class="blank" aria-hidden=[said.is_empty().then_some("true")] data-key={ "place " (place) } {
                        td class="dim" colspan="4" { (said) }
                    }
                }
            }
        }
    }
}

/// A run in a card.
fn short(run: &RunSummary, now: Millis) -> Markup {
    let error = run.error.as_ref().filter(|_| run.status == RunStatus::Failed);
    let error = error.map(|error| text::cut(error, 200));
    html! {
        tr data-to=(parts::run_path(run.run)) data-key=(run.run) {
            td class="tight" { (parts::run_link(run.run)) }
            td class="breaks" {
                (run.workflow)
                @if let Some(error) = &error {
                    div class="error cut" title=(text::safe_line(error)) { (parts::line(error)) }
                }
            }
            @if run.status != RunStatus::Failed { td class="tight" { (parts::run_status(run.status)) } }
            td class="num nowrap" {
                @match run.finished_at {
                    Some(at) => (parts::time(at, now)),
                    None => (parts::took(run.started_at, None, now)),
                }
            }
        }
    }
}

fn asking(all: &[Asking], now: Millis) -> Markup {
    let row = |Asking { run, workflow, row, step }: &Asking| {
        let path = super::run::step::path(*run, step);
        html! {
            tr data-to=(path) data-key={ (run) "." (row.inst) } {
                td class="tight" { (parts::run_link(*run)) }
                td class="breaks" { a href=(path) { (workflow) " / " (step) } }
                td class="waiting tight" { (row.wait.map_or("", |wait| wait.as_str())) }
                td class="num nowrap" { (parts::time_or_dash(row.ready_at, now)) }
            }
        }
    };
    places((ASKED_PLACES, "places"), "Nothing waits for a person", all.iter().map(row))
}

/// How runs went that have ended.
pub struct Went {
    /// Of 100, those that succeeded.
    pub succeeded: usize,
    /// Half of them took at most so long.
    pub median: Span,
    /// 95 of 100.
    pub most: Span,
    /// How many end in an hour; `None` = of a few runs, or of a short time, it would say nothing.
    pub an_hour: Option<f64>,
}

impl Went {
    /// Of these; `None` = there are none.
    pub fn of(ended: &[RunSummary]) -> Option<Self> {
        let mut spans: Vec<Span> = ended.iter().map(span).collect();
        spans.sort_unstable();
        let part = |n: usize| spans.get(spans.len() * n / 100).copied();
        let good = ended.iter().filter(|run| run.status == RunStatus::Succeeded).count();
        Some(Self {
            median: part(50)?,
            most: part(95)?,
            succeeded: good * 100 / ended.len(),
            an_hour: pace(ended),
        })
    }
}

fn span(run: &RunSummary) -> Span {
    run.started_at.zip(run.finished_at).map_or(Span(0), |(start, end)| end.since(start))
}

/// The last runs: how long each took, and how it ended.
pub fn chart(ended: &[RunSummary]) -> Markup {
    let most = ended.iter().map(|run| span(run).0).max().unwrap_or(0).max(1) as f64;
    let bars: Vec<(f64, &str, String)> = ended
        .iter()
        .rev()
        .map(|run| {
            let long = text::duration(span(run));
            let title = format!("{} {} in {long}", run.workflow, run.status.as_str());
            // Of very different lengths the short ones are to be seen too.
            ((span(run).0.max(1) as f64 / most).sqrt(), run.status.as_str(), title)
        })
        .collect();
    html! {
        @match Went::of(ended) {
            None => (parts::empty("No run has ended yet", &html! {})),
            Some(went) => {
                (parts::bars("How long the last runs took, the newest at the right", &bars))
                dl class="facts" {
                    div { dt { "Succeeded" } dd { (went.succeeded) "%" } }
                    div { dt { "Median" } dd { (text::duration(went.median)) } }
                    div { dt { "95 of 100" } dd { (text::duration(went.most)) } }
                    div { dt title="Runs that ended in an hour, of the last ones" { "Pace" } dd {
                        (went.an_hour.map_or("–".into(), |pace| format!("{pace:.1} an hour")))
                    } }
                }
            }
        }
    }
}

/// How many runs end in an hour.
fn pace(ended: &[RunSummary]) -> Option<f64> {
    let ends = || ended.iter().filter_map(|run| run.finished_at);
    let (last, first) = ends().max().zip(ends().min())?;
    // Of a few runs, or of a short time, it would say nothing.
    let is_known = ended.len() >= PACE_RUNS && last.since(first) >= PACE_SPAN;
    let hours = last.since(first).0 as f64 / 3_600_000.0;
    is_known.then(|| (ended.len() - 1) as f64 / hours)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_runs_are_no_chart() {
        assert!(chart(&[]).into_string().contains("No run has ended"));
        assert_eq!(pace(&[]), None);
    }
}
