//! Agents: how they are reached, what they do now, and what is used of their limits.

pub mod test;

use std::collections::BTreeMap;

use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};
use moa_core::agent::{AgentKind, AgentSpec};
use moa_core::ids::Name;
use moa_core::limit::{LimitState, Line};
use moa_core::time::Millis;
use moa_engine::series::{AgentPart, Range as SeriesRange};
use moa_view::node::{NodeStatus, PausedAgent};
use moa_view::{now, text};
use serde::Deserialize;

use super::metrics::seconds_words;
use super::parts::{self, Ask, ask};
use super::{Page, live, page};
use crate::App;
use crate::api::agents::{WhyPaused, drained, find};
use crate::api::history::total;
use crate::auth::Identity;
use crate::control::LastTest;
use crate::error::{Problem, Result};
use crate::extract::{Form, Path};

/// Characters of why an agent is paused.
const REASON_CHARS_MAX: usize = 500;
/// Agents of a card that are named.
const SHORT: usize = 8;

/// What is known of the agents.
struct Fleet {
    status: NodeStatus,
    used: BTreeMap<Name, LimitState>,
    now: Millis,
}

impl Fleet {
    async fn of(app: &App) -> Result<Self> {
        let used = app.reader().limits().await?;
        Ok(Self { status: app.control().status().await, used, now: now() })
    }

    fn running(&self, agent: &Name) -> u32 {
        self.status.engine.running.get(agent).copied().unwrap_or(0)
    }

    fn ready(&self, agent: &Name) -> u32 {
        self.status.engine.ready.get(agent).copied().unwrap_or(0)
    }

    fn limits(&self, spec: &AgentSpec) -> Vec<Line> {
        let used = self.used.get(&spec.id).cloned().unwrap_or_default();
        used.report(&spec.limits, self.now)
    }

    /// Attempts at once.
    fn most(&self, spec: &AgentSpec) -> u32 {
        spec.concurrency.unwrap_or(self.status.max_running).min(self.status.max_running)
    }

    /// In one word, with its sign.
    fn health(&self, spec: &AgentSpec) -> (&'static str, &'static str) {
        let limits = self.limits(spec);
        let has = |state: &str| limits.iter().any(|line| line.state == state);
        if self.status.paused.contains_key(&spec.id) {
            ("paused", "‖")
        } else if has("open") {
            ("open", "✗")
        } else if has("half-open") {
            ("half-open", "◷")
        } else if has("full") {
            ("waiting", "◷")
        } else if self.running(&spec.id) > 0 {
            ("running", "●")
        } else {
            ("free", "○")
        }
    }
}

/// How the fleet is, for the overview: those at work and those that are not well first.
pub async fn card(app: &App) -> Result<Markup> {
    let fleet = Fleet::of(app).await?;
    let all = app.control().agents().await;
    let mut shown: Vec<_> = all
        .values()
        .filter(|spec| {
            !matches!(spec.kind, AgentKind::Builtin(_))
                || fleet.running(&spec.id) + fleet.ready(&spec.id) > 0
        })
        .map(|spec| (fleet.health(spec), spec))
        .collect();
    let rank = |word: &str| match word {
        "open" => 0,
        "half-open" => 1,
        "paused" => 2,
        "waiting" => 3,
        "running" => 4,
        _ => 5,
    };
    let all = shown.len();
    shown.retain(|((word, _), spec)| *word != "free" || fleet.ready(&spec.id) > 0);
    let free = all - shown.len();
    shown.sort_by_key(|((word, _), spec)| (rank(word), spec.id.clone()));
    let busy: u32 = fleet.status.engine.running.values().sum();
    let most = fleet.status.max_running;
    Ok(html! {
        section class="card" {
            h2 { "Fleet" a href="/agents" { (busy) " of " (most) " attempts" } }
            (parts::meter(busy.into(), most.into()))
            @if shown.is_empty() { p class="dim" { "No agent is asked anything." } }
            @else {
                table {
                    thead { tr {
                        th { "Agent" } th { "State" } th class="num" { "Running" } th class="num" { "Ready" }
                    } }
                    tbody {
                        @for ((word, sign), spec) in shown.iter().take(SHORT) {
                            tr data-to={ "/agents/" (spec.id) } data-key=(spec.id) {
                                td { a href={ "/agents/" (spec.id) } { (spec.id) } }
                                td { (parts::status(word, sign)) }
                                td class="num" { (fleet.running(&spec.id)) }
                                td class="num" { (fleet.ready(&spec.id)) }
                            }
                        }
                    }
                }
                @if shown.len() > SHORT { p class="dim" { "… and " (shown.len() - SHORT) " more" } }
            }
            @if free > 0 { p class="dim" { (text::plural(free, "agent")) " free" } }
        }
    })
}

/// The list.
pub async fn show(State(app): State<App>, who: Identity) -> Result<Markup> {
    let live = live::ask(&app).await?;
    let fleet = Fleet::of(&app).await?;
    let all = app.control().agents().await;
    let (built_in, own): (Vec<_>, Vec<_>) =
        all.values().partition(|spec| matches!(spec.kind, AgentKind::Builtin(_)));
    let body = html! {
        @if own.is_empty() {
            (parts::empty("The project declares no agents", &html! {
                p { "A step can " code { "run:" } " a command by itself. An agent is a file under "
                    code { "agents/" } ": a program or a service with actions, limits and retries." }
            }))
        } @else { (table(&fleet, &own)) }
        h2 { "Part of moa" }
        (table(&fleet, &built_in))
    };
    let shown = Page {
        nav: "/agents",
        title: "Agents",
        json: Some("/api/v1/agents".into()),
        live,
        body: Some(body),
        ..Page::default()
    };
    Ok(page(&app, &who, shown))
}

fn table(fleet: &Fleet, all: &[&std::sync::Arc<AgentSpec>]) -> Markup {
    html! {
        div class="table" {
            table class="stack" {
                thead { tr {
                    th { "Agent" } th { "State" } th class="num" { "Running" }
                    th class="num" { "Ready" } th { "Load" } th { "Kind" } th { "Limits" }
                } }
                tbody { @for spec in all { (row(fleet, spec)) } }
            }
        }
    }
}

fn row(fleet: &Fleet, spec: &AgentSpec) -> Markup {
    let path = format!("/agents/{}", spec.id);
    let (word, sign) = fleet.health(spec);
    let running = fleet.running(&spec.id);
    html! {
        tr data-to=(path) data-key=(spec.id) {
            td {
                a href=(path) { (spec.id) }
                @if let Some(name) = &spec.name { div class="dim" { (parts::line(name)) } }
            }
            td { (parts::status(word, sign)) }
            td class="num spare" { (running) " of " (fleet.most(spec)) }
            td class="num spare" { (fleet.ready(&spec.id)) }
            td class="spare" { (parts::meter(running.into(), fleet.most(spec).into())) }
            td class="dim spare" { (kind(spec)) }
            td class="wide over" {
                @for line in fleet.limits(spec) {
                    span class=(line.state) { (line.limit) ": " (line.used) "/" (line.of) " " }
                }
            }
        }
    }
}

fn kind(spec: &AgentSpec) -> &'static str {
    match &spec.kind {
        AgentKind::Command(_) => "command",
        AgentKind::Http(_) => "http",
        AgentKind::Builtin(_) => "built-in",
    }
}

/// An agent.
pub async fn one(
    State(app): State<App>,
    who: Identity,
    Path(agent): Path<String>,
) -> Result<Markup> {
    let live = live::ask(&app).await?;
    let fleet = Fleet::of(&app).await?;
    let spec = &find(&app, &agent).await?;
    let running = fleet.running(&spec.id);
    let (word, sign) = fleet.health(spec);
    let buckets = app.control().series().await.of(SeriesRange::Day, fleet.now);
    let day = total(&buckets);
    let tests = app.control().agent_tests().await;
    let body = html! {
        @if let Some(paused) = fleet.status.paused.get(&spec.id) {
            div class="note wait" {
                @if running > 0 { "It drains: " (text::plural(running as usize, "attempt")) " of it still run. " }
                "Paused by " (parts::line(&paused.by)) " " (parts::time(paused.at, fleet.now))
                @if !paused.reason.is_empty() { ": " (parts::line(&paused.reason)) }
                ". Its tasks wait until it is resumed."
            }
        }
        @if let Some(about) = &spec.description { p { (parts::line(about)) } }
        div class="cards" {
            section class="card" {
                h2 { "Load" span class="dim" { (running) " of " (fleet.most(spec)) " attempts" } }
                (parts::meter(running.into(), fleet.most(spec).into()))
                p { (text::plural(fleet.ready(&spec.id) as usize, "task")) " ready" }
            }
            (limits(&fleet, spec))
            (lately(day.agents.get(&spec.id)))
            @if let Some(test) = tests.get(&spec.id) { (tested(test, fleet.now)) }
        }
        section class="card" { h2 { "How it is reached" } (reached(spec)) }
        section class="card" { h2 { "Actions" } (actions(spec)) }
    };
    let shown = Page {
        nav: "/agents",
        title: spec.name.as_deref().unwrap_or(spec.id.as_str()),
        above: vec![("/agents".into(), "Agents".into())],
        beside: Some(html! { (parts::status(word, sign)) code class="dim" { (spec.id) } }),
        actions: Some(buttons(&who, &fleet, spec)),
        json: Some(format!("/api/v1/agents/{}", spec.id)),
        live,
        body: Some(body),
        ..Page::default()
    };
    Ok(page(&app, &who, shown))
}

/// What it did in the last day.
fn lately(part: Option<&AgentPart>) -> Markup {
    html! {
        section class="card" {
            h2 { "Last 24 hours" a href="/charts?range=24h" { "metrics" } }
            @match part {
                None => p class="dim" { "No attempt of it has ended." },
                Some(part) => {
                    @let took = |share| part.latency(share).map_or("–".to_owned(), seconds_words);
                    dl class="facts" {
                        div { dt { "Attempts" } dd { (part.executions) } }
                        div { dt { "Errors" } dd class=[(part.errors > 0).then_some("failed")] {
                            (part.errors) ", "
                            (format!("{:.1}%", part.errors as f64 * 100.0 / part.executions.max(1) as f64))
                        } }
                        div { dt { "Median" } dd { (took(0.5)) } }
                        div { dt { "95 of 100" } dd { (took(0.95)) } }
                        div { dt { "99 of 100" } dd { (took(0.99)) } }
                    }
                },
            }
        }
    }
}

/// What came of its newest test.
fn tested(test: &LastTest, now: Millis) -> Markup {
    let (word, sign) = if test.succeeded { ("succeeded", "✓") } else { ("failed", "✗") };
    html! {
        section class="card" {
            h2 { "Newest test" span class="dim" { (parts::time(test.at, now)) } }
            p {
                (parts::status(word, sign)) " " code { (parts::line(&test.action)) }
                " in " (text::duration(test.took)) ", asked for by " (parts::line(&test.by))
            }
            @if let Some(error) = &test.error { p class="error" { (parts::line(&error.message)) } }
        }
    }
}

/// What can be done with an agent, for those who may.
fn buttons(who: &Identity, fleet: &Fleet, spec: &AgentSpec) -> Markup {
    let to = format!("/agents/{}/act", spec.id);
    let act = |act: &str| html! { input type="hidden" name="act" value=(act); };
    let why = |id: &str| {
        html! {
            div class="field" {
                label for=(id) { "Why" }
                input id=(id) name="reason" maxlength="500" autocomplete="off";
            }
        }
    };
    html! {
        (test::button(who, spec))
        @if fleet.status.paused.contains_key(&spec.id) {
            (ask(who, &Ask {
                label: "Resume",
                to: &to,
                called: None,
                about: "It takes tasks again, those that waited first.",
                danger: false,
                fields: act("resume"),
            }))
        } @else {
            (ask(who, &Ask {
                label: "Pause",
                to: &to,
                called: None,
                about: "No new attempt starts, across restarts too, until it is resumed; attempts that \
                    run go on to their end. Its tasks wait.",
                danger: false,
                fields: html! { (act("pause")) (why("why-pause")) },
            }))
            (ask(who, &Ask {
                label: "Drain",
                to: &to,
                called: None,
                about: "Pauses it, and waits up to 20 seconds until nothing of it runs: then it can \
                    be replaced.",
                danger: false,
                fields: html! { (act("drain")) (why("why-drain")) },
            }))
        }
    }
}

/// What somebody wants.
#[derive(Debug, Deserialize)]
pub struct Asked {
    act: String,
    #[serde(default)]
    reason: String,
}

/// Pauses, drains or resumes an agent.
pub async fn act(
    State(app): State<App>,
    who: Identity,
    Path(agent): Path<String>,
    Form(asked): Form<Asked>,
) -> Result<Response> {
    let spec = find(&app, &agent).await?;
    let reason = text::cut(asked.reason.trim(), REASON_CHARS_MAX).into_owned();
    match asked.act.as_str() {
        "pause" => {
            let paused = PausedAgent { at: now(), by: who.cause(), reason };
            app.control().switch_agent(spec.id.clone(), Some(paused)).await?;
        }
        "drain" => _ = drained(&app, &agent, &who, WhyPaused { reason }).await?,
        "resume" => _ = app.control().switch_agent(spec.id.clone(), None).await?,
        other => return Err(Problem::invalid(format!("agents know no {other:?}"))),
    }
    Ok(Redirect::to(&format!("/agents/{}", spec.id)).into_response())
}

fn limits(fleet: &Fleet, spec: &AgentSpec) -> Markup {
    let lines = fleet.limits(spec);
    html! {
        section class="card" {
            h2 { "Limits" }
            @if lines.is_empty() { p class="dim" { "No rate, quota or breaker is set." } }
            @for line in &lines {
                p {
                    (line.limit) ": " (line.used) " of " (line.of) " "
                    span class=(line.state) { (line.state) }
                    @if let Some(until) = line.until { ", until " (parts::time(until, fleet.now)) }
                }
                (parts::meter(line.used, line.of))
            }
        }
    }
}

fn reached(spec: &AgentSpec) -> Markup {
    html! {
        dl class="facts" {
            @match &spec.kind {
                AgentKind::Command(command) => {
                    div { dt { "Program" } dd { code { (parts::line(&command.argv.join(" "))) } } }
                },
                AgentKind::Http(http) => {
                    // An address may hold a password; its host says enough.
                    div { dt { "Endpoints" } dd { (http.urls.len()) } }
                    div { dt { "Method" } dd { (parts::line(&http.method)) } }
                },
                AgentKind::Builtin(name) => { div { dt { "Part of moa" } dd { (name) } } },
            }
            @if let Some(timeout) = spec.timeout {
                div { dt { "Timeout of an attempt" } dd { (timeout) } }
            }
            @if spec.once { div { dt { "Once" } dd { "never repeated blindly" } } }
            @if let Some(tier) = spec.tier { div { dt { "Tier" } dd { (tier) } } }
            @for (key, value) in &spec.labels {
                div { dt { (parts::line(key)) } dd { (parts::line(value)) } }
            }
        }
    }
}

fn actions(spec: &AgentSpec) -> Markup {
    html! {
        @if spec.actions.is_empty() { p class="dim" { "It declares none: any action is passed on." } }
        @else {
            table {
                tbody {
                    @for (name, action) in &spec.actions {
                        tr {
                            td { code { (parts::line(name)) } }
                            td class="wide" {
                                @if let Some(about) = &action.description { (parts::line(about)) }
                            }
                            td class="dim" { @if action.once { "once" } }
                        }
                    }
                }
            }
        }
    }
}
