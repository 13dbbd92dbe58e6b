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
use crate::api::window::Window;
use crate::auth::Identity;
use crate::auth::scope::Resource;
use crate::error::Result;
use crate::extract::Query;
use crate::stream::mark::Mark;

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
    /// Since this instant, or so long ago.
    #[serde(default)]
    since: String,
    /// Up to this instant, or so long ago.
    #[serde(default)]
    until: String,
    /// Before this event number; with the time that the first page was of.
    #[serde(default)]
    before: Option<String>,
}

impl Filter {
    /// What is asked for of a time.
    fn asked(&self, window: Window) -> Asked<'_> {
        Asked {
            types: given(&self.types),
            run: given(&self.run),
            workflow: given(&self.workflow),
            agent: given(&self.agent),
            q: given(&self.q),
            source: given(&self.source),
            key: given(&self.key),
            window,
        }
    }

    /// Of which time it is, and where it goes on.
    fn window(&self) -> Result<(Window, Option<Mark>)> {
        let (since, until) = (Some(self.since.as_str()), Some(self.until.as_str()));
        let (window, place) = Window::read(since, until, self.before.as_deref())?;
        Ok((window, place.map(Mark::read).transpose()?))
    }

    /// The same as a query, with more behind it; nothing when nothing is asked for.
    fn query(&self, more: &[(&str, &str)]) -> String {
        let pairs = [
            ("types", &self.types),
            ("run", &self.run),
            ("workflow", &self.workflow),
            ("agent", &self.agent),
            ("q", &self.q),
            ("source", &self.source),
            ("key", &self.key),
            ("since", &self.since),
            ("until", &self.until),
        ];
        let given = pairs.into_iter().filter_map(|(key, value)| Some((key, given(value)?)));
        let mut query = form_urlencoded::Serializer::new(String::new());
        let query = query.extend_pairs(given).extend_pairs(more).finish();
        if query.is_empty() { query } else { format!("?{query}") }
    }

    /// The stream of what happens behind an event number; `None` = nothing that happens is shown.
    fn stream(&self, newest: &str) -> Option<String> {
        let is_shown = self.before.is_none() && self.until.trim().is_empty();
        let wanted = Self { since: String::new(), ..self.clone() };
        is_shown.then(|| format!("/events/stream{}", wanted.query(&[("after", newest)])))
    }

    /// The page of the same events older than some.
    fn before(&self, before: Option<&str>) -> String {
        let more: Vec<(&str, &str)> = before.iter().map(|at| ("before", *at)).collect();
        self.query(&more)
    }
}

/// What a field of the form says, if it says anything.
fn given(text: &str) -> Option<&str> {
    Some(text.trim()).filter(|text| !text.is_empty())
}

/// The stream.
pub async fn show(
    State(app): State<App>,
    who: Identity,
    Query(filter): Query<Filter>,
) -> Result<Markup> {
    let (window, place) = filter.window()?;
    let wanted = Wanted::read(&app, filter.asked(window)).await?;
    // Before it is looked: what happens meanwhile is heard of.
    let newest = app.reader().views.last_event().await?.to_string();
    let stream = filter.stream(&newest);
    let live = stream.is_some().then(|| ("/live".into(), newest));
    let now = now();
    let mut upto = place.map_or(u64::MAX, |before| before.back().seq);
    let lines = lines(&app, &mut upto, &wanted, now).await?;
    let lines = published::lines(&app, lines, now).await?;
    let older = (upto > 0).then(|| window.cursor(upto.saturating_add(1)));
    let workflows = app.control().workflows().await?;
    let mut workflows: Vec<Name> = workflows.into_iter().map(|file| file.name).collect();
    workflows.retain(|name| who.sees(Resource::Runs, Some(name.as_str())));
    let mut agents: Vec<Name> = app.control().agents().await.into_keys().collect();
    agents.retain(|name| who.sees(Resource::Agents, Some(name.as_str())));
    agents.sort_by_cached_key(|name| natural::key(name.as_str()));
    let wide = who.may_ask("GET", "/events", None);
    let json = filter.before(filter.before.as_deref());
    let more = if json.is_empty() { "?" } else { "&" };
    let shown = Page {
        nav: "/events",
        title: "Events",
        json: Some(format!("/api/v1/events{json}{more}limit={EVENTS}")),
        live,
        stream,
        body: Some(body(&filter, (&workflows, &agents), wide, (&lines, older.as_deref()))),
        ..Page::default()
    };
    Ok(page(&app, &who, shown))
}

/// The newest events that are wanted, until there are enough of them or enough was looked at; leaves
/// in `upto` the event number from which on nothing was, and 0 when there is nothing more.
async fn lines(app: &App, upto: &mut u64, wanted: &Wanted, now: Millis) -> Result<Vec<Line>> {
    let (mut names, mut lines) = (Names::default(), Vec::new());
    let (low, high) = wanted.range(app).await?;
    *upto = high.min(*upto);
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
            if row.seq <= low {
                *upto = 0;
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
    let texts = [
        ("types", "Types", "Types: run.*", &filter.types),
        ("run", "Run", "Run id", &filter.run),
        ("source", "Source", "Source", &filter.source),
        ("key", "Key or id", "Key or id", &filter.key),
        ("since", "Since", "Since: 2h", &filter.since),
        ("until", "Until", "Until: 1h", &filter.until),
    ];
    html! {
        form class="filter many" role="search" action="/events" {
            label class="unseen" for="q" { "Words" }
            input id="q" type="search" name="q" value=(filter.q) autocomplete="off"
                placeholder="Words  ( / )" maxlength=(TEXT_CHARS_MAX);
            @for (name, label, hint, value) in texts {
                label class="unseen" for=(name) { (label) }
                input id=(name) name=(name) value=(value) autocomplete="off" placeholder=(hint);
            }
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
    (lines, older): (&[Markup], Option<&str>),
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
        @if older.is_some() {
            p { a class="button" rel="next" href={ "/events" (filter.before(older)) } {
                "Older events"
            } }
        }
    }
}
