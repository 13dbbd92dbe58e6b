//! What the node did over time, and how production stands.

use axum::extract::State;
use maud::{Markup, html};
use moa_core::ids::Name;
use moa_core::run::RunStatus;
use moa_core::target::Outlook;
use moa_core::time::{Millis, Span};
use moa_engine::series::{AgentPart, Bucket, Range};
use moa_view::target::{Counted, Production, Standing, number, rounded};
use moa_view::{now, text};

use super::chart::{Chart, Row};
use super::{Page, live, page, parts, prose};
use crate::App;
use crate::api::history::{Wanted, total};
use crate::auth::Identity;
use crate::error::Result;
use crate::extract::Query;

/// The charts of a range.
pub async fn show(
    State(app): State<App>,
    who: Identity,
    Query(Wanted { range }): Query<Wanted>,
) -> Result<Markup> {
    let buckets = app.control().series().await.of(range, now());
    let all = total(&buckets);
    let at: Vec<Millis> = buckets.iter().map(|bucket| bucket.at).collect();
    let there = app.control().agents().await;
    let body = html! {
        (tabs("/charts"))
        nav class="chips" aria-label="Time" {
            @for one in Range::ALL {
                a href={ "/charts?range=" (one.as_str()) }
                    aria-current=[(one == range).then_some("true")] { (words(one)) }
            }
        }
        (facts(&all))
        div class="charts" {
            (throughput(&buckets, &at, &all).figure())
            (run_time(&buckets, &at, &all).figure())
            (latency(&buckets, &at, &all).figure())
            (attempts(&buckets, &at, &all).figure())
            (load(&buckets, &at).figure())
            (commits(&buckets, &at, &all).figure())
            (processors(&buckets, &at).figure())
            (memory(&buckets, &at).figure())
        }
        (by_agent(&all, |agent| there.contains_key(agent)))
        p class="dim" {
            "Times are UTC. Durations are told to within 5 %. The charts are kept for a week; "
            a href="/charts/production" { "production" } " is counted for good."
        }
    };
    let shown = Page {
        nav: "/charts",
        title: "Metrics",
        json: Some(format!("/api/v1/metrics/history?range={}", range.as_str())),
        live: live::samples(&app).await,
        body: Some(body),
        ..Page::default()
    };
    Ok(page(&app, &who, shown))
}

fn tabs(here: &str) -> Markup {
    let all = [("/charts", "The node"), ("/charts/production", "Production")];
    html! {
        nav class="tabs" aria-label="Metrics" {
            @for (to, name) in all { a href=(to) aria-current=[(to == here).then_some("page")] { (name) } }
        }
    }
}

fn words(range: Range) -> &'static str {
    match range {
        Range::Hour => "1 hour",
        Range::Day => "24 hours",
        Range::Week => "7 days",
    }
}

fn facts(all: &Bucket) -> Markup {
    let part = all.attempts();
    let runs = |status| all.runs.get(&status).copied().unwrap_or(0);
    let one = |name: &str, value: String, class: &str| {
        html! { div { span class="name" { (name) } span class={ "value " (class) } { (value) } } }
    };
    let failed = runs(RunStatus::Failed);
    html! {
        div class="numbers" {
            (one("runs ended", all.ended().to_string(), ""))
            (one("failed", failed.to_string(), if failed > 0 { "failed" } else { "" }))
            (one("run, median", maybe(all.run_time(0.5)), ""))
            (one("attempts", part.executions.to_string(), ""))
            (one("errors", share(part.errors, part.executions), if part.errors > 0 { "failed" } else { "" }))
            (one("attempt, 95 of 100", maybe(part.latency(0.95)), ""))
        }
    }
}

fn maybe(seconds: Option<f64>) -> String {
    seconds.map_or("–".into(), seconds_words)
}

/// Seconds as people write them.
pub fn seconds_words(seconds: f64) -> String {
    if seconds > 0.0 && seconds < 0.001 {
        return format!("{:.2}ms", seconds * 1000.0);
    }
    text::duration(Span((seconds * 1000.0) as u64))
}

fn share(part: u64, of: u64) -> String {
    if of == 0 { "–".into() } else { prose::percent(part as f64 / of as f64) }
}

fn row(
    label: &'static str,
    class: &'static str,
    buckets: &[Bucket],
    value: impl Fn(&Bucket) -> Option<f64>,
) -> Row {
    Row { label, class, values: buckets.iter().map(value).collect() }
}

/// A number of something that a bucket counts; nothing while nobody looked.
fn seen(bucket: &Bucket, count: u64) -> Option<f64> {
    (bucket.seen_ms > 0).then_some(count as f64)
}

/// Runs that ended, for this page and the overview.
pub fn throughput<'a>(buckets: &[Bucket], at: &'a [Millis], all: &Bucket) -> Chart<'a> {
    let of = |status: RunStatus| {
        move |bucket: &Bucket| seen(bucket, bucket.runs.get(&status).copied().unwrap_or(0))
    };
    Chart {
        title: "Runs that ended",
        beside: format!("{} in all", all.ended()),
        at,
        rows: vec![
            row("succeeded", "succeeded", buckets, of(RunStatus::Succeeded)),
            row("failed", "failed", buckets, of(RunStatus::Failed)),
            row("cancelled", "cancelled", buckets, of(RunStatus::Cancelled)),
        ],
        say: number,
        stacked: true,
    }
}

fn run_time<'a>(buckets: &[Bucket], at: &'a [Millis], all: &Bucket) -> Chart<'a> {
    Chart {
        title: "How long runs took",
        beside: format!("median {}", maybe(all.run_time(0.5))),
        at,
        rows: vec![
            row("median", "c1", buckets, |b| b.run_time(0.5)),
            row("95 of 100", "c2", buckets, |b| b.run_time(0.95)),
            row("99 of 100", "c3", buckets, |b| b.run_time(0.99)),
        ],
        say: seconds_words,
        stacked: false,
    }
}

/// How long attempts took, for this page and the overview.
pub fn latency<'a>(buckets: &[Bucket], at: &'a [Millis], all: &Bucket) -> Chart<'a> {
    Chart {
        title: "How long attempts took",
        beside: format!("median {}", maybe(all.attempts().latency(0.5))),
        at,
        rows: vec![
            row("median", "c1", buckets, |b| b.attempts().latency(0.5)),
            row("95 of 100", "c2", buckets, |b| b.attempts().latency(0.95)),
            row("99 of 100", "c3", buckets, |b| b.attempts().latency(0.99)),
        ],
        say: seconds_words,
        stacked: false,
    }
}

fn attempts<'a>(buckets: &[Bucket], at: &'a [Millis], all: &Bucket) -> Chart<'a> {
    let part = all.attempts();
    Chart {
        title: "Attempts",
        beside: format!("{} errors of {}", part.errors, part.executions),
        at,
        rows: vec![
            row("done", "c1", buckets, |b| {
                let part = b.attempts();
                seen(b, part.executions - part.errors.min(part.executions))
            }),
            row("errors", "failed", buckets, |b| seen(b, b.attempts().errors)),
        ],
        say: number,
        stacked: true,
    }
}

fn load<'a>(buckets: &[Bucket], at: &'a [Millis]) -> Chart<'a> {
    Chart {
        title: "Load",
        beside: "the most at once".into(),
        at,
        rows: vec![
            row("open runs", "c3", buckets, |b| seen(b, b.open)),
            row("attempts running", "c1", buckets, |b| seen(b, b.running)),
            row("tasks ready", "c2", buckets, |b| seen(b, b.ready)),
        ],
        say: number,
        stacked: false,
    }
}

fn commits<'a>(buckets: &[Bucket], at: &'a [Millis], all: &Bucket) -> Chart<'a> {
    Chart {
        title: "Commits of the store",
        beside: format!("median {}", maybe(all.commit_time(0.5))),
        at,
        rows: vec![
            row("median", "c1", buckets, |b| b.commit_time(0.5)),
            row("99 of 100", "c3", buckets, |b| b.commit_time(0.99)),
        ],
        say: seconds_words,
        stacked: false,
    }
}

fn processors<'a>(buckets: &[Bucket], at: &'a [Millis]) -> Chart<'a> {
    Chart {
        title: "Processors of the node",
        beside: "at work on average".into(),
        at,
        rows: vec![row("processors", "c1", buckets, Bucket::processors)],
        say: |value| format!("{value:.2}"),
        stacked: false,
    }
}

fn memory<'a>(buckets: &[Bucket], at: &'a [Millis]) -> Chart<'a> {
    let last = buckets.iter().rev().find(|bucket| bucket.memory > 0.0);
    Chart {
        title: "Memory of the node",
        beside: last.map_or(String::new(), |bucket| bytes(bucket.memory)),
        at,
        rows: vec![row("bytes in memory", "c1", buckets, |b| (b.memory > 0.0).then_some(b.memory))],
        say: bytes,
        stacked: false,
    }
}

fn bytes(value: f64) -> String {
    text::bytes(value as u64)
}

/// Numbers of each agent; one that is not there any more, or is only for moa itself, has no page.
fn by_agent(all: &Bucket, is_there: impl Fn(&Name) -> bool) -> Markup {
    let mut agents: Vec<(&Name, &AgentPart)> = all.agents.iter().collect();
    agents.sort_by_key(|(name, part)| (std::cmp::Reverse((part.errors, part.executions)), *name));
    html! {
        section class="card" {
            h2 { "By agent" }
            @if agents.is_empty() { p class="dim" { "No attempt has ended in this time." } }
            @else {
                div class="table" {
                    table {
                        thead { tr {
                            th { "Agent" } th class="num" { "Attempts" } th class="num" { "Errors" }
                            th class="num" { "Share" } th class="num" { "Median" }
                            th class="num" { "95 of 100" } th class="num" { "99 of 100" }
                        } }
                        tbody {
                            @for (name, part) in agents {
                                @let to = is_there(name).then(|| format!("/agents/{name}"));
                                tr data-to=[&to] {
                                    td { @match &to { Some(to) => a href=(to) { (name) }, None => (name) } }
                                    td class="num" { (part.executions) }
                                    td class={ "num" (if part.errors > 0 { " failed" } else { "" }) } {
                                        (part.errors)
                                    }
                                    td class="num" { (share(part.errors, part.executions)) }
                                    @for of in [0.5, 0.95, 0.99] {
                                        td class="num" { (maybe(part.latency(of))) }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Counters and targets.
pub async fn production(State(app): State<App>, who: Identity) -> Result<Markup> {
    let live = live::ask(&app).await?;
    let Production { counters, targets } = app.control().production().await?;
    let body = html! {
        (tabs("/charts/production"))
        section class="card" {
            h2 { "Targets" a href="/api/v1/targets" { "targets as JSON" } }
            @if targets.is_empty() {
                (parts::empty("There are no targets", &html! {
                    p { "A target says what is wanted of a counter by day, month or year; in "
                        code { "moa.yaml" } ":" }
                    pre tabindex="0" { "metrics:\n  letters: {workflow: letters}\ntargets:\n  letters: \
                        {day: {minimum: 10, target: 20}}" }
                }))
            } @else { (standings(&targets)) }
        }
        section class="card" {
            h2 { "What has been counted" }
            div class="table" {
                table class="stack" {
                    thead { tr {
                        th { "Counter" } th class="num" { "Today" } th class="num" { "This month" }
                        th class="num" { "This year" } th class="num" { "In all" }
                        th class="num" { "By day, of the last 30" }
                    } }
                    tbody { @for counted in &counters { (counter(counted)) } }
                }
            }
        }
    };
    let shown = Page {
        nav: "/charts",
        title: "Production",
        above: vec![("/charts".into(), "Metrics".into())],
        json: Some("/api/v1/metrics?limit=500".into()),
        live,
        body: Some(body),
        ..Page::default()
    };
    Ok(page(&app, &who, shown))
}

fn counter(counted: &Counted) -> Markup {
    let most = counted.days.iter().map(|(_, count)| *count).fold(0.0, f64::max).max(1.0);
    let bars: Vec<(f64, &str, String)> = counted
        .days
        .iter()
        .map(|(day, count)| (count / most, "c1", format!("{day}: {}", number(*count))))
        .collect();
    html! {
        tr data-key=(counted.metric) {
            td { (counted.metric) }
            @for count in [counted.today, counted.month, counted.year, counted.total] {
                td class="num spare" { (rounded(count)) }
            }
            td class="over narrow dim" {
                "today " (rounded(counted.today)) ", this month " (rounded(counted.month))
                ", this year " (rounded(counted.year)) ", in all " (rounded(counted.total))
            }
            td class="wide over" {
                (parts::bars(&format!("{} by day, the newest at the right", counted.metric), &bars))
            }
        }
    }
}

/// The word of an outlook, with its sign and class.
fn outlook(outlook: Outlook) -> Markup {
    let (class, sign, word) = match outlook {
        Outlook::Open => ("pending", "○", "too early"),
        Outlook::TooLittle => ("failed", "▼", "too little"),
        Outlook::Enough => ("waiting", "◷", "enough"),
        Outlook::Good => ("succeeded", "✓", "good"),
        Outlook::TooMuch => ("failed", "▲", "too much"),
    };
    html! {
        span class={ "status " (class) } { span class="sign" aria-hidden="true" { (sign) } (word) }
    }
}

/// Targets as a table, for this page and the overview.
pub fn standings(targets: &[Standing]) -> Markup {
    html! {
        table class="stack" {
            thead { tr {
                th { "Counter" } th class="num" { "So far" } th class="num" { "Heading for" }
                th { "Outlook" }
            } }
            tbody {
                @for standing in targets {
                    tr data-key={ (standing.metric) " " (standing.period.as_str()) } {
                        td class="wide" {
                            (standing.metric) " " span class="dim" { "this " (standing.period.as_str()) }
                            (progress(standing))
                            div class="dim" { (wanted(standing)) }
                        }
                        td class="num nowrap" { (number(standing.count)) }
                        td class="num spare" { (standing.forecast.map_or("–".into(), rounded)) }
                        td class="over" { (outlook(standing.outlook)) }
                    }
                }
            }
        }
    }
}

fn progress(standing: &Standing) -> Markup {
    let bounds = &standing.bounds;
    let whole = bounds.target.or(bounds.minimum).or(bounds.maximum).unwrap_or(0.0);
    html! { @if whole > 0.0 { (parts::progress(standing.count / whole)) } }
}

fn wanted(standing: &Standing) -> String {
    let bounds = &standing.bounds;
    let words =
        [(bounds.target, "of "), (bounds.minimum, "at least "), (bounds.maximum, "at most ")];
    let said = words.iter().filter_map(|(bound, word)| {
        let bound = (*bound)?;
        Some(format!("{word}{}", rounded(bound)))
    });
    said.collect::<Vec<_>>().join(", ")
}
