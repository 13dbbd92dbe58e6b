//! The dashboard: pages rendered here, one file for each, and the table of their routes.
//!
//! A new page is a file with a handler, a line in [`add`], and one in [`NAV`] if people go there from
//! everywhere. Every page shows what a call of the API answers, and says which ([`Page::json`]).
//! Scripts and styles are files of [`assets`]: nothing stands in a page, so the policy forbids it.
//! Without scripts everything works but live updates: a page that wants those names what to ask
//! ([`Page::live`]) when the stream of [`live`] says that something has changed; when the answer is
//! another one, the script asks for the page again and changes only what differs.

pub mod agents;
pub mod alerts;
pub mod assets;
pub mod audit;
pub mod bulk;
pub mod chart;
mod decision;
pub mod docs;
pub mod events;
mod filled;
pub mod graph;
pub mod inbox;
pub mod live;
pub mod metrics;
pub mod overview;
pub mod parts;
pub mod prose;
mod published;
pub mod run;
pub mod runs;
pub mod schedules;
pub mod settings;
pub mod sign_in;
pub mod views;
pub mod webhooks;
pub mod workflows;

use axum::extract::DefaultBodyLimit;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use maud::{DOCTYPE, Markup, html};

use crate::App;
use crate::auth::may::role_at;
use crate::auth::role::Access::{Either, Least, Public};
use crate::auth::role::Role::{self, Admin, Approver, Operator, Viewer};
use crate::auth::scope::Area::{ByQuery, Code, Free, Whole};
use crate::auth::scope::Resource::{
    Agents, Alerts, Audit, Metrics, Node, Runs, Tokens, Triggers, Webhooks, Workflows,
};
use crate::auth::scope::Scopes;
use crate::auth::{Identity, oidc};
use crate::error::{self, Problem};
use crate::routes::Routes;

/// The pages that every page leads to: path, title, and the key that goes there after `g`.
pub const NAV: &[(&str, &str, &str)] = &[
    ("/", "Overview", "o"),
    ("/runs", "Runs", "r"),
    ("/workflows", "Workflows", "w"),
    ("/schedules", "Schedules", "s"),
    ("/inbox", "Inbox", "i"),
    ("/agents", "Agents", "a"),
    ("/alerts", "Alerts", "l"),
    ("/events", "Events", "e"),
    ("/webhooks", "Webhooks", "h"),
    ("/charts", "Metrics", "m"),
    ("/audit", "Audit", "u"),
    ("/settings", "Settings", "t"),
];

/// For bodies of strangers: a token and where to go.
const SIGN_IN_BYTES_MAX: usize = 16 << 10;

/// The routes of pages, each with who may see it and what it is about.
#[rustfmt::skip]
pub fn add(routes: Routes) -> Routes {
    routes
        .page(Public, Free, "GET", "/sign-in", get(sign_in::show))
        .page(Public, Free, "POST", "/sign-in", post(sign_in::sign_in).layer(DefaultBodyLimit::max(SIGN_IN_BYTES_MAX)))
        .page(Public, Free, "GET", oidc::START, get(sign_in::oidc::begin))
        .page(Public, Free, "GET", oidc::BACK, get(sign_in::oidc::back))
        .page(Least(Viewer), Free, "POST", "/sign-out", post(sign_in::sign_out))
        .page(Public, Free, "GET", "/assets/{name}", get(assets::get))
        .page(Least(Viewer), Free, "GET", "/live", get(live::get))
        .page(Least(Viewer), Free, "GET", "/live/stream", get(live::stream))
        .page(Least(Viewer), Whole, "GET", "/", get(overview::show))
        .page(Least(Viewer), Whole, "GET", "/dashboard", get(overview::show))
        .page(Least(Viewer), Runs, "GET", "/inbox", get(inbox::show))
        .page(Least(Viewer), Runs, "GET", "/runs", get(runs::show))
        .page(Least(Operator), Runs, "GET", "/runs/bulk", get(bulk::show))
        .page(Least(Operator), Runs, "POST", "/runs/bulk", post(bulk::act))
        .page(Least(Operator), Runs, "POST", "/runs/views", post(views::put))
        .page(Least(Operator), Runs, "POST", "/runs/views/delete", post(views::delete))
        .page(Least(Viewer), Runs, "GET", "/runs/{run}", get(run::show))
        .page(Least(Viewer), Runs, "GET", "/runs/{run}/compare", get(run::compare::show))
        .page(Least(Viewer), Runs, "GET", "/runs/{run}/timeline", get(run::timeline::show))
        .page(Least(Viewer), Runs, "GET", "/runs/{run}/history", get(run::history::show))
        .page(Least(Viewer), Runs, "GET", "/runs/{run}/data", get(run::data::show))
        .page(Least(Viewer), Runs, "GET", "/runs/{run}/steps/{step}", get(run::step::show))
        .page(Least(Operator), Runs, "POST", "/runs/{run}/change", post(run::act::change))
        .page(Least(Operator), Runs, "POST", "/runs/{run}/repeat", post(run::act::again_from))
        .page(Least(Operator), Runs, "GET", "/runs/{run}/fork", get(run::fork::show))
        .page(Least(Operator), Runs, "POST", "/runs/{run}/fork", post(run::fork::start))
        .page(Either(Operator, Approver), Runs, "POST", "/runs/{run}/decide", post(run::act::decide))
        .page(Least(Viewer), Workflows, "GET", "/workflows", get(workflows::show))
        .page(Least(Viewer), Workflows, "GET", "/workflows/{workflow}", get(workflows::one))
        .page(Least(Viewer), Workflows, "GET", "/workflows/{workflow}/source", get(workflows::source::show))
        .page(Least(Viewer), Workflows, "GET", "/workflows/{workflow}/versions", get(workflows::versions::show))
        .page(Least(Operator), Runs, "POST", "/workflows/{workflow}/start", post(workflows::start::start))
        .page(Least(Viewer), Triggers, "GET", "/schedules", get(schedules::show))
        .page(Least(Viewer), Triggers, "GET", "/calendar", get(schedules::calendar::show))
        .page(Least(Viewer), Triggers, "GET", "/schedules/{trigger}", get(schedules::one::show))
        .page(Least(Operator), Triggers, "POST", "/schedules/{trigger}/act", post(schedules::act::act))
        .page(Least(Operator), Triggers, "GET", "/schedules/{trigger}/backfill", get(schedules::backfill::show))
        .page(Least(Operator), Triggers, "POST", "/schedules/{trigger}/backfill", post(schedules::backfill::start))
        .page(Least(Viewer), Agents, "GET", "/agents", get(agents::show))
        .page(Least(Viewer), Agents, "GET", "/agents/{agent}", get(agents::one))
        .page(Least(Operator), Agents, "POST", "/agents/{agent}/act", post(agents::act))
        .page(Least(Admin), Code, "POST", "/agents/{agent}/test", post(agents::test::act))
        .page(Least(Viewer), ByQuery(Runs), "GET", "/events", get(events::show))
        .page(Least(Viewer), ByQuery(Runs), "GET", "/events/stream", get(crate::stream::changes::stream))
        .page(Least(Viewer), Webhooks, "GET", "/webhooks", get(webhooks::show))
        .page(Least(Viewer), Webhooks, "GET", "/webhooks/{webhook}", get(webhooks::one))
        .page(Least(Operator), Webhooks, "POST", "/webhooks/{webhook}/act", post(webhooks::act))
        .page(Least(Viewer), Alerts, "GET", "/alerts", get(alerts::show))
        .page(Least(Operator), Alerts, "POST", "/alerts", post(alerts::act))
        .page(Least(Viewer), Metrics, "GET", "/charts", get(metrics::show))
        .page(Least(Viewer), Metrics, "GET", "/charts/production", get(metrics::production))
        .page(Least(Admin), Audit, "GET", "/audit", get(audit::show))
        .page(Least(Viewer), Free, "GET", "/api/docs", get(docs::show))
        .page(Least(Viewer), Node, "GET", "/settings", get(settings::show))
        .page(Least(Admin), Node, "GET", "/settings/config", get(settings::config))
        .page(Least(Admin), Tokens, "POST", "/settings/tokens", post(settings::make))
        .page(Least(Admin), Tokens, "POST", "/settings/tokens/{token}/revoke", post(settings::revoke))
}

/// A page of the dashboard.
#[derive(Default)]
pub struct Page<'a> {
    /// The path of [`NAV`] that it belongs to.
    pub nav: &'a str,
    /// What it is about.
    pub title: &'a str,
    /// The pages above it: path and title.
    pub above: Vec<(String, String)>,
    /// What stands beside the title: a status.
    pub beside: Option<Markup>,
    /// The workflow of the run or trigger that it is about.
    pub called: Option<&'a str>,
    /// What can be done here.
    pub actions: Option<Markup>,
    /// The call of the API that answers the same.
    pub json: Option<String>,
    /// What to ask whether the page has changed, and what is answered now.
    pub live: Option<(String, String)>,
    /// What to listen to for changes; what happens in all runs when not given.
    pub stream: Option<String>,
    /// All of it.
    pub body: Option<Markup>,
}

/// A page of the dashboard, as somebody sees it.
pub fn page(app: &App, who: &Identity, page: Page<'_>) -> Markup {
    let side = html! {
        div class="side" {
            a class="mark" href="/" { "moa" }
            span class="project" title=(app.project()) { (app.project()) }
            nav aria-label="Pages" {
                @for (to, name, key) in NAV.iter().filter(|(to, ..)| who.may_ask("GET", to, None)) {
                    a href=(to) data-go=(key) aria-current=[(*to == page.nav).then_some("page")] {
                        (name)
                    }
                }
            }
            (parts::form(who, ("/sign-out", None), Some("who"), &html! {
                span title={ (who.name) ": " (who.own_role) ", scopes: " (who.scopes) } {
                    (who.name) br;
                    span class="dim" { (who.own_role) @if who.scopes.list().is_some() { ", narrowed" } }
                }
                button class="button quiet" { "Sign out" }
            }))
        }
    };
    let live = page.live.as_ref();
    let main = html! {
        main id="main" tabindex="-1"
            data-live=[live.map(|(ask, _)| ask)] data-now=[live.map(|(_, now)| now)]
            data-stream=[page.stream.as_ref()] {
            @if !page.above.is_empty() {
                nav class="above" aria-label="Above" {
                    @for (to, name) in &page.above { a href=(to) { (parts::line(name)) } " / " }
                }
            }
            header class="title" {
                h1 { (parts::line(page.title)) }
                @if let Some(beside) = &page.beside { (beside) }
                div class="actions" {
                    @if let Some(actions) = &page.actions { (actions) }
                    @if let Some(json) = page.json.as_ref().filter(|to| who.may_ask("GET", to, page.called)) {
                        a class="button quiet json" rel="alternate" type="application/json" href=(json)
                            title="The same as JSON" { "JSON" }
                    }
                }
            }
            @if let Some(body) = &page.body { (body) }
        }
    };
    shell(app.project(), page.title, who.csrf(), &side, &main)
}

/// The page that somebody begins with who asked for none: the first that they may see.
pub fn first_for(who: (Role, &Scopes)) -> &'static str {
    let sees = |to: &str| role_at(who, "GET", to, None).is_some();
    NAV.iter().find(|(to, ..)| sees(to)).map_or("/", |(to, ..)| to)
}

/// What every page has around it. `csrf` is for scripts.
fn shell(project: &str, title: &str, csrf: Option<&str>, side: &Markup, main: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                @if let Some(csrf) = csrf { meta name="csrf" content=(csrf); }
                title { (title) " · " (project) }
                link rel="stylesheet" href="/assets/moa.css";
                link rel="icon" href="/assets/moa.svg" type="image/svg+xml";
                script src="/assets/moa.js" defer {}
            }
            body {
                a class="skip" href="#main" { "Skip to the content" }
                (side)
                (main)
            }
        }
    }
}

/// A page without a frame: for who isn't signed in, and for problems.
fn bare(project: &str, title: &str, body: &Markup) -> Markup {
    let main = html! {
        main id="main" class="bare" tabindex="-1" {
            a class="mark" href="/" { "moa" }
            h1 { (title) }
            (body)
        }
    };
    shell(project, title, None, &html! {}, &main)
}

/// The page of a form that was refused, for a browser: it is shown instead of the bare problem.
#[derive(Clone)]
pub struct Instead(pub String);

/// A problem as a page.
pub fn problem(problem: &Problem, request: &str) -> Response {
    let title = match problem.code {
        error::Code::Unauthenticated => "Sign in",
        other => other.title(),
    };
    let body = html! {
        p class="said" { (parts::said(&problem.detail)) }
        @if let Some(place) = &problem.place { p { code { (place) } } }
        @if let Some(text) = &problem.text { pre tabindex="0" { (text) } }
        @if !problem.hints.is_empty() {
            ul { @for hint in &problem.hints { li { (parts::said(hint)) } } }
        }
        @match problem.code {
            error::Code::Unauthenticated => (sign_in::by_token(None)),
            _ => p { a href="/" { "Overview" } },
        }
        p class="dim" { code { (problem.code.as_str()) } " · request " code { (request) } }
    };
    (problem.code.status(), bare("moa", title, &body)).into_response()
}
