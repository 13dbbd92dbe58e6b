//! Agents: how they are reached, what they do now, and what is used of their limits.

mod budget;
pub mod now;
pub mod test;

use std::collections::BTreeMap;

use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};
use moa_core::agent::{AgentKind, AgentSpec};
use moa_core::ids::Name;
use moa_core::limit::{Held, LimitState, Line};
use moa_core::time::Millis;
use moa_view::fleet::AgentDay;
use moa_view::node::{NodeStatus, PausedAgent};
use moa_view::{natural, now, text};
use serde::Deserialize;
use serde_json::json;

use super::metrics::seconds_words;
use super::parts::{self, Ask, ask};
use super::prose::percent;
use super::{Page, live, page};
use crate::App;
use crate::api::agents::{WhyPaused, drained, find};
use crate::auth::Identity;
use crate::auth::role::Role;
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
    at_work: moa_view::fleet::Fleet,
    used: BTreeMap<Name, LimitState>,
    now: Millis,
}

impl Fleet {
    async fn of(app: &App) -> Result<Self> {
        let used = app.reader().limits().await?;
        let (status, at_work) = (app.control().status().await, app.control().fleet().await);
        Ok(Self { status, at_work, used, now: now() })
    }

    fn day(&self, agent: &Name) -> Option<AgentDay> {
        self.at_work.get(agent)?.day
    }

    fn running(&self, agent: &Name) -> u32 {
        self.status.engine.running.get(agent).copied().unwrap_or(0)
    }

    fn ready(&self, agent: &Name) -> u32 {
        self.status.engine.ready.get(agent).copied().unwrap_or(0)
    }

    fn used(&self, spec: &AgentSpec) -> LimitState {
        self.used.get(&spec.id).cloned().unwrap_or_default()
    }

    fn limits(&self, spec: &AgentSpec) -> Vec<Line> {
        let mut lines = self.used(spec).report(&spec.limits, self.now);
        if let Some(held) = self.held(spec) {
            held.mark(&spec.limits, &mut lines);
        }
        lines
    }

    /// What holds back all of its tasks.
    fn held(&self, spec: &AgentSpec) -> Option<&Held> {
        self.status.held(&spec.id, self.now)
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
        } else if has("full") || self.held(spec).is_some() {
            ("waiting", "◷")
        } else if self.running(&spec.id) > 0 {
            ("running", "●")
        } else {
            ("free", "○")
        }
    }
}

/// An agent of the overview.
pub struct Glanced {
    /// The agent.
    pub agent: Name,
    /// How it is, in one word.
    pub health: &'static str,
    /// The sign of that.
    sign: &'static str,
    /// Its attempts that run.
    pub running: u32,
    /// Its tasks that could.
    pub ready: u32,
    /// What holds all of them back.
    pub held: Option<Held>,
}

/// How the fleet is, for the overview.
pub struct Glance {
    /// Attempts that run.
    pub busy: u32,
    /// Attempts at once.
    pub most: u32,
    /// Those that are not well, then those at work.
    pub agents: Vec<Glanced>,
    /// So many more of them.
    pub more: usize,
    /// Agents that are asked nothing.
    pub free: usize,
    /// The instant.
    now: Millis,
}

/// How the fleet is, for the overview: those that are not well and those at work first.
pub async fn glance(app: &App) -> Result<Glance> {
    let fleet = Fleet::of(app).await?;
    let all = app.control().agents().await;
    let glanced = |spec: &AgentSpec| {
        let (health, sign) = fleet.health(spec);
        let (running, ready) = (fleet.running(&spec.id), fleet.ready(&spec.id));
        let held = fleet.held(spec).cloned();
        Glanced { agent: spec.id.clone(), health, sign, running, ready, held }
    };
    let mut agents: Vec<Glanced> = all
        .values()
        .filter(|spec| {
            !matches!(spec.kind, AgentKind::Builtin(_))
                || fleet.running(&spec.id) + fleet.ready(&spec.id) > 0
        })
        .map(|spec| glanced(spec))
        .collect();
    let rank = |word: &str| match word {
        "open" => 0,
        "half-open" => 1,
        "paused" => 2,
        "waiting" => 3,
        "running" => 4,
        _ => 5,
    };
    let all = agents.len();
    agents.retain(|one| one.health != "free" || one.ready > 0);
    let free = all - agents.len();
    agents.sort_by_cached_key(|one| (rank(one.health), natural::key(one.agent.as_str())));
    let more = agents.len().saturating_sub(SHORT);
    agents.truncate(SHORT);
    let busy = fleet.status.engine.running.values().sum();
    Ok(Glance { busy, most: fleet.status.max_running, agents, more, free, now: fleet.now })
}

/// The fleet as a card.
pub fn card(Glance { busy, most, agents, more, free, now }: &Glance) -> Markup {
    html! {
        section class="card" data-key="fleet" {
            h2 { "Fleet" a href="/agents" { (busy) " of " (most) " attempts" } }
            (parts::meter((*busy).into(), (*most).into()))
            @if agents.is_empty() { p class="dim" { "No agent is asked anything." } }
            @else {
                table {
                    thead { tr {
                        th { "Agent" } th { "State" } th class="num" { "Running" } th class="num" { "Ready" }
                    } }
                    tbody {
                        @for Glanced { agent, health, sign, running, ready, held } in agents {
                            tr class=[held.as_ref().map(|_| "with-detail")] data-to={ "/agents/" (agent) } data-key=(agent) {
                                td class="breaks" { a href={ "/agents/" (agent) } { (agent) } }
                                td { (parts::status(health, sign)) }
                                td class="num" { (running) }
                                td class="num" { (ready) }
                            }
                            @if let Some(held) = held {
                                tr class="detail" data-key={ (agent) " held" } {
                                    td class="dim" colspan="4" { (held_back(held, *now)) }
                                }
                            }
                        }
                    }
                }
                @if *more > 0 { p class="dim" { "… and " (more) " more" } }
            }
            @if *free > 0 { p class="dim" { (text::plural(*free, "agent")) " free" } }
        }
    }
}

/// The list.
pub async fn show(State(app): State<App>, who: Identity) -> Result<Markup> {
    let live = live::ask(&app).await?;
    let fleet = Fleet::of(&app).await?;
    let all = app.control().agents().await;
    let mut sorted: Vec<_> = all.values().collect();
    sorted.sort_by_cached_key(|spec| natural::key(spec.id.as_str()));
    let (built_in, own): (Vec<_>, Vec<_>) =
        sorted.into_iter().partition(|spec| matches!(spec.kind, AgentKind::Builtin(_)));
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
        json: Some("/api/v1/agents?limit=500".into()),
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
                    th { "Load" } th class="num" { "Ready" }
                    th class="num" title="Attempts that ended in the last 24 hours" { "In 24 h" }
                    th class="num" title="Those of them that failed" { "Errors" }
                    th class="num" title="Half of the attempts of 24 hours took at most so long" { "Median" }
                    th class="num" title="95 of 100 took at most so long" { "95 of 100" }
                    th { "Limits" }
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
            td class="one" {
                div class="one" { a href=(path) { (spec.id) } }
                div class="dim one" {
                    @if let Some(name) = &spec.name { (parts::line(name)) " · " } (kind(spec))
                }
            }
            td { (parts::status(word, sign)) }
            td class="num spare" { (running) " of " (fleet.most(spec)) }
            td class="spare" { (parts::meter(running.into(), fleet.most(spec).into())) }
            td class="num spare" { (fleet.ready(&spec.id)) }
            (day_cells(fleet.day(&spec.id)))
            td class="over" {
                @for line in fleet.limits(spec) {
                    div class="nowrap" {
                        (line.limit) ": " span class=(line.state) { (line.words()) }
                    }
                }
                @if let Some(held) = fleet.held(spec) {
                    div class="dim" { (held_back(held, fleet.now)) }
                }
            }
            td class="over narrow dim" {
                @if let Some(day) = fleet.day(&spec.id) { (day_line(day)) }
            }
        }
    }
}

/// Until when its tasks are held back, and by what.
fn held_back(held: &Held, now: Millis) -> Markup {
    html! { "Held back: " (held.reason.to_string()) ". Goes on " (parts::time(held.until, now)) "." }
}

/// What an agent did in the last day, in four cells.
fn day_cells(day: Option<AgentDay>) -> Markup {
    html! {
        @match day {
            None => { td class="num dim spare" { "0" } @for _ in 0..3 { td class="num dim spare" { "–" } } },
            Some(day) => {
                td class="num spare" { (day.executions) }
                td class="num spare" {
                    span class=[(day.errors > 0).then_some("failed")] title={ (day.errors) " of " (day.executions) } {
                        (percent(day.error_rate))
                    }
                }
                td class="num spare" { (took(day.p50_ms)) }
                td class="num spare" { (took(day.p95_ms)) }
            },
        }
    }
}

/// The same in a line, for small screens.
fn day_line(day: AgentDay) -> Markup {
    html! {
        (text::plural(day.executions as usize, "attempt")) " in 24 h, "
        span class=[(day.errors > 0).then_some("failed")] { (percent(day.error_rate)) " errors" }
        ", median " (took(day.p50_ms))
    }
}

/// Milliseconds, for people.
fn took(ms: Option<f64>) -> String {
    ms.map_or("–".to_owned(), |ms| seconds_words(ms / 1000.0))
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
    let tests = app.control().agent_tests().await;
    let command = command(&app, &who, spec).await;
    let body = html! {
        @if let Some(paused) = fleet.status.paused.get(&spec.id) {
            div class="note wait" {
                @if running > 0 { "It drains: " (text::plural(running as usize, "attempt")) " of it still " (if running == 1 { "runs" } else { "run" }) ". " }
                "Paused by " (parts::line(&paused.by)) " " (parts::time(paused.at, fleet.now))
                @if !paused.reason.is_empty() { ": " (parts::line(&paused.reason)) }
                ". Its tasks wait until it is resumed."
            }
        }
        @if let Some(held) = fleet.held(spec) {
            div class="note wait" {
                @let ready = fleet.ready(&spec.id);
                (text::plural(ready as usize, "task")) " of it " (if ready == 1 { "waits. " } else { "wait. " })
                (held_back(held, fleet.now))
            }
        }
        (budget::note(spec, &fleet.used(spec), fleet.now))
        @if let Some(about) = &spec.description { p class="about" { (parts::said(about)) } }
        div class="cards small" {
            (load(&fleet, spec))
            (limits(&fleet, spec))
            (lately(fleet.day(&spec.id)))
            @if let Some(test) = tests.get(&spec.id) { (tested(test, fleet.now)) }
        }
        (now::instances(&who, fleet.at_work.get(&spec.id), fleet.now))
        (now::endpoints(fleet.at_work.get(&spec.id), fleet.now))
        section class="card" { h2 { "How it is reached" } (reached(spec, &command)) }
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

/// How much it does, of how much it may.
fn load(fleet: &Fleet, spec: &AgentSpec) -> Markup {
    let (running, ready) = (fleet.running(&spec.id), fleet.ready(&spec.id));
    let most = fleet.most(spec);
    html! {
        section class="card" {
            h2 { "Load" span class="dim" { (running) " of " (most) " attempts" } }
            (parts::meter(running.into(), most.into()))
            p { (text::plural(ready as usize, "task")) " in its queue" }
            p class="dim" {
                @if spec.concurrency.is_some_and(|own| own <= fleet.status.max_running) {
                    "Its own limit: " code { "concurrency" } " of its file."
                } @else { "The node's limit, which all agents share: it has none of its own." }
                " What waits goes by priority, then by age."
            }
        }
    }
}

/// What it did in the last day.
fn lately(day: Option<AgentDay>) -> Markup {
    html! {
        section class="card" {
            h2 { "Last 24 hours" a href="/charts?range=24h" { "metrics" } }
            @match day {
                None => p class="dim" { "No attempt of it has ended." },
                Some(day) => {
                    dl class="facts" {
                        div { dt { "Attempts" } dd { (day.executions) } }
                        div { dt { "Errors" } dd class=[(day.errors > 0).then_some("failed")] {
                            (day.errors) ", " (percent(day.error_rate))
                        } }
                        div { dt { "Median" } dd { (took(day.p50_ms)) } }
                        div { dt { "95 of 100" } dd { (took(day.p95_ms)) } }
                        div { dt { "99 of 100" } dd { (took(day.p99_ms)) } }
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
        (budget::button(who, spec))
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
    #[serde(default)]
    usd: String,
    #[serde(default)]
    tokens: String,
    #[serde(default)]
    key: String,
}

/// Pauses, drains or resumes an agent, or grants it more.
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
        "grant" => budget::grant(&app, &spec, &asked).await?,
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
            @if lines.is_empty() { p class="dim" { "No rate, quota, budget or breaker is set." } }
            @for line in &lines {
                p class="limit" {
                    span { (line.limit) ": " (line.words()) }
                    span {
                        span class=(line.state) { (line.state) }
                        @if let Some(until) = line.until { ", until " (parts::time(until, fleet.now)) }
                    }
                }
                (parts::meter(line.used, line.of))
                @if line.unit.is_none() { p class="dim" { (limit_words(&line.limit)) } }
            }
            (budget::words(spec, &fleet.used(spec), fleet.now))
        }
    }
}

/// What a limit means, for who reads its numbers the first time.
fn limit_words(limit: &str) -> &'static str {
    let per = limit.rsplit_once('/').map(|(_, per)| per);
    match (limit, per) {
        ("circuit breaker", _) => {
            "Failures in a row; at the most it opens, and nothing starts for a while. Then one attempt \
             is let through (half-open): if it goes well, the breaker closes."
        }
        (_, Some("hour" | "day" | "week" | "month")) => {
            "Units of its quota in this window of the calendar. What doesn't fit waits for the next."
        }
        (_, Some(_)) => {
            "Starts of attempts in any stretch of that time. What is beyond waits, and fails not."
        }
        _ => "It has asked to be left alone for a while.",
    }
}

/// The words of its command that somebody may see, without secrets that are known.
async fn command(app: &App, who: &Identity, spec: &AgentSpec) -> Vec<String> {
    let AgentKind::Command(command) = &spec.kind else { return Vec::new() };
    let most = if who.role.includes(Role::Operator) { usize::MAX } else { 1 };
    let words: Vec<&String> = command.argv.iter().take(most).collect();
    serde_json::from_value(app.control().redact(json!(words)).await).unwrap_or_default()
}

/// How it is reached. Who may only look sees of a command its program alone: somebody may have written
/// a secret into what stands behind it.
fn reached(spec: &AgentSpec, command: &[String]) -> Markup {
    html! {
        dl class="facts" {
            @match &spec.kind {
                AgentKind::Command(all) => {
                    div { dt { "Program" } dd class="over" { code { (parts::line(&command.join(" "))) }
                        @if command.len() < all.argv.len() {
                            " " span class="dim" { "its arguments are for operators" }
                        }
                    } }
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
                            td class="tight" { code { (parts::line(name)) } }
                            td {
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
