//! What happens in all runs, as it happens.

use axum::extract::State;
use maud::{Markup, html};
use moa_core::ids::Name;
use moa_core::time::Millis;
use moa_ports::search::TEXT_CHARS_MAX;
use moa_view::events::{Names, PUBLISHED, Picked, Told, type_of};
use moa_view::{natural, now};
use serde::Deserialize;
use url::form_urlencoded;

use super::published::{self, Line, OnBus};
use super::run::step;
use super::{Page, page, parts};
use crate::App;
use crate::api::events::{Asked, Parts, Wanted};
use crate::auth::Identity;
use crate::auth::scope::Resource;
use crate::error::Result;
use crate::extract::Query;

/// Commits looked at.
const COMMITS: usize = 400;
/// Events listed.
const EVENTS: usize = 200;
/// Events listed of one commit: it may hold thousands, and its run's page shows them.
const LINES_A_COMMIT: usize = 100;
/// Bytes of events looked at, about.
const BYTES: usize = 4 << 20;
/// What people filter by most.
const USUAL: &[(&str, &str)] = &[
    ("", "All"),
    ("run.*", "Runs"),
    ("step.failed,attempt.failed,run.failed", "Failures"),
    ("signal.*,event.*", "Signals and events"),
    (PUBLISHED, "Published"),
];

/// Which events.
#[derive(Debug, Default, Clone, Deserialize)]
pub struct Filter {
    /// Types with commas.
    #[serde(default)]
    types: String,
    /// Of this run.
    #[serde(default)]
    run: String,
    /// Of runs of this workflow.
    #[serde(default)]
    workflow: String,
    /// Of steps that are actions of this agent.
    #[serde(default)]
    agent: String,
    /// That hold these words.
    #[serde(default)]
    q: String,
    /// That were published, and come from this source.
    #[serde(default)]
    source: String,
    /// That were published with this key, or with this id.
    #[serde(default)]
    key: String,
    /// Before this event number.
    #[serde(default)]
    before: Option<u64>,
}

impl Filter {
    fn asked(&self) -> Asked<'_> {
        let Self { types, run, workflow, agent, q, source, key, .. } = self;
        let [types, run, workflow, agent, q, source, key] =
            [types, run, workflow, agent, q, source, key]
                .map(|text| Some(text.trim()).filter(|t| !t.is_empty()));
        Asked { types, run, workflow, agent, q, source, key, ..Asked::default() }
    }

    /// The same as a query, with more behind it; nothing when nothing is asked for.
    fn query(&self, more: &[(&str, &str)]) -> String {
        let Asked { types, run, workflow, agent, q, source, key, .. } = self.asked();
        let pairs = [
            ("types", types),
            ("run", run),
            ("workflow", workflow),
            ("agent", agent),
            ("q", q),
            ("source", source),
            ("key", key),
        ];
        let given = pairs.into_iter().filter_map(|(key, value)| Some((key, value?)));
        let mut query = form_urlencoded::Serializer::new(String::new());
        let query = query.extend_pairs(given).extend_pairs(more).finish();
        if query.is_empty() { query } else { format!("?{query}") }
    }

    /// The page of the same events older than some.
    fn before(&self, before: Option<u64>) -> String {
        let before = before.map(|before| before.to_string());
        let more: Vec<(&str, &str)> = before.iter().map(|at| ("before", at.as_str())).collect();
        self.query(&more)
    }
}

/// The stream.
pub async fn show(
    State(app): State<App>,
    who: Identity,
    Query(filter): Query<Filter>,
) -> Result<Markup> {
    let wanted = Wanted::read(&app, filter.asked()).await?;
    let mut live = None;
    let mut stream = None;
    if filter.before.is_none() {
        // Before it is looked: what happens meanwhile is heard of.
        let newest = app.reader().views.last_event().await?.to_string();
        live = Some(("/live".into(), newest.clone()));
        stream = Some(format!("/events/stream{}", filter.query(&[("after", &newest)])));
    }
    let now = now();
    let mut upto = filter.before.map_or(u64::MAX, |before| before.saturating_sub(1));
    let lines = lines(&app, &mut upto, &wanted, now).await?;
    let lines = published::lines(&app, lines, now).await?;
    let workflows = app.control().workflows().await?;
    let mut workflows: Vec<Name> = workflows.into_iter().map(|file| file.name).collect();
    workflows.retain(|name| who.sees(Resource::Runs, Some(name.as_str())));
    let mut agents: Vec<Name> = app.control().agents().await.into_keys().collect();
    agents.retain(|name| who.sees(Resource::Agents, Some(name.as_str())));
    agents.sort_by_cached_key(|name| natural::key(name.as_str()));
    let wide = who.may_ask("GET", "/events", None);
    let json = filter.before(filter.before);
    let more = if json.is_empty() { "?" } else { "&" };
    let shown = Page {
        nav: "/events",
        title: "Events",
        json: Some(format!("/api/v1/events{json}{more}limit={EVENTS}")),
        live,
        stream,
        body: Some(body(&filter, (&workflows, &agents), wide, (&lines, upto))),
        ..Page::default()
    };
    Ok(page(&app, &who, shown))
}

/// The newest events that are wanted, until there are enough of them or enough was looked at; leaves
/// in `upto` the event number from which on nothing was, and 0 when there is nothing more.
async fn lines(app: &App, upto: &mut u64, wanted: &Wanted, now: Millis) -> Result<Vec<Line>> {
    let (mut names, mut lines) = (Names::default(), Vec::new());
    let mut parts = Parts::new(wanted.run(), true, COMMITS, BYTES);
    while lines.len() < EVENTS
        && let Some(rows) = parts.next(app, *upto).await?
    {
        if rows.is_empty() {
            *upto = 0;
        }
        for row in &rows {
            if lines.len() >= EVENTS {
                break;
            }
            *upto = row.seq.saturating_sub(1);
            let mut fit = wanted.may_take(row)?;
            if !wanted.looks() {
                fit.drain(..fit.len().saturating_sub(LINES_A_COMMIT));
            }
            if !fit.is_empty() {
                let picked = Picked::read(app.reader(), &mut names, row, &fit).await?;
                let told = picked.told().rev().filter(|event| wanted.takes(event));
                lines.extend(told.take(LINES_A_COMMIT).map(|event| match OnBus::of(&event) {
                    Some(of_bus) => Line::Published(Box::new(of_bus)),
                    None => Line::OfRun(line(&event, now)),
                }));
            }
        }
        if *upto == 0 {
            break;
        }
    }
    Ok(lines)
}

fn line(event: &Told<'_>, now: Millis) -> Markup {
    html! {
        tr data-key={ (event.seq) "." (event.index) } {
            td class="nowrap" { (parts::time(event.at, now)) }
            td { (type_of(event.event)) }
            td { (event.workflow) " " (parts::run_link(event.run)) }
            td { @if let Some(name) = event.step {
                a href=(step::path(event.run, name)) { (name) }
            } }
            td class="wide over" { span class="cut" { (parts::line(&event.remark())) } }
        }
    }
}

/// A choice among names.
fn choice(key: &str, label: &str, names: &[Name], chosen: &str) -> Markup {
    html! {
        label class="unseen" for=(key) { (label) }
        select id=(key) name=(key) {
            option value="" { "All " (label.to_lowercase()) "s" }
            @for name in names {
                option value=(name) selected[name.as_str() == chosen] { (name) }
            }
            // It may be deleted, and its events be there.
            @if !chosen.is_empty() && !names.iter().any(|name| name.as_str() == chosen) {
                option value=(chosen) selected { (chosen) }
            }
        }
    }
}

fn search(filter: &Filter, (workflows, agents): (&[Name], &[Name])) -> Markup {
    html! {
        form class="filter many" role="search" action="/events" {
            label class="unseen" for="q" { "Words" }
            input id="q" type="search" name="q" value=(filter.q) autocomplete="off"
                placeholder="Words  ( / )" maxlength=(TEXT_CHARS_MAX);
            label class="unseen" for="types" { "Types" }
            input id="types" name="types" value=(filter.types) autocomplete="off"
                placeholder="Types: run.*";
            label class="unseen" for="run" { "Run" }
            input id="run" name="run" value=(filter.run) autocomplete="off"
                placeholder="Run id";
            label class="unseen" for="source" { "Source" }
            input id="source" name="source" value=(filter.source) autocomplete="off"
                placeholder="Source";
            label class="unseen" for="key" { "Key or id" }
            input id="key" name="key" value=(filter.key) autocomplete="off"
                placeholder="Key or id";
            (choice("workflow", "Workflow", workflows, &filter.workflow))
            (choice("agent", "Agent", agents, &filter.agent))
            button class="button" { "Filter" }
        }
    }
}

/// The filters and the list. Who sees the events of one workflow alone is offered no others.
fn body(
    filter: &Filter,
    names: (&[Name], &[Name]),
    wide: bool,
    (lines, after): (&[Markup], u64),
) -> Markup {
    let of = |types: &str| Filter { types: types.to_owned(), before: None, ..filter.clone() };
    html! {
        @if wide { (search(filter, names)) }
        nav class="chips" aria-label="Usual filters" {
            @for (types, name) in USUAL {
                a href={ "/events" (of(types).query(&[])) }
                    aria-current=[(filter.types == *types).then_some("true")] { (name) }
            }
            @if wide && !filter.query(&[]).is_empty() { a href="/events" { "No filter" } }
        }
        @if lines.is_empty() {
            (parts::empty("No such event", &html! { "Among the newest " (COMMITS) " commits." }))
        } @else {
            div class="table" {
                table class="stack" {
                    thead { tr {
                        th { "When" } th { "Event" } th { "Run" } th { "Step or subject" } th { "What" }
                    } }
                    tbody { @for line in lines { (line) } }
                }
            }
        }
        @if after > 0 {
            p { a class="button" rel="next" href={ "/events" (filter.before(Some(after + 1))) } {
                "Older events"
            } }
        }
    }
}
