//! The node, its jobs, the secrets but for their values, and who may sign in.

use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};
use moa_core::time::{Millis, Span};
use moa_view::node::SecretLine;
use moa_view::{now, text};
use serde::Deserialize;
use serde_json::Value as Json;

use super::parts::{self, Ask, ask};
use super::{Page, page};
use crate::App;
use crate::auth::role::Role;
use crate::auth::scope::Scope;
use crate::auth::tokens::{self, Entry, Kind};
use crate::auth::{Ends, Identity};
use crate::error::{Problem, Result};
use crate::extract::{Form, Path};

/// The settings.
pub async fn show(State(app): State<App>, who: Identity) -> Result<Markup> {
    let now = now();
    let body = html! {
        div class="cards" {
            (node(&app, &who, now).await)
            // Who may see their names, as for the API's list.
            @if who.may_ask("GET", "/api/v1/secrets", None) { (secrets(&app).await?) }
        }
        (jobs(&app, now))
        @if who.may_ask("GET", "/api/v1/tokens", None) { (access(&app, &who, now)?) }
    };
    Ok(frame(&app, &who, body))
}

/// The secrets, as the API lists them.
async fn secrets(app: &App) -> Result<Markup> {
    let lines = app.control().secrets().await?;
    Ok(html! {
        section class="card" {
            h2 { "Secrets" }
            @if lines.is_empty() {
                p class="dim" { "No file of the project uses one, and none is found." }
            } @else {
                div class="table" {
                    table class="stack" {
                        thead { tr { th { "Name" } th { "State" } th { "From" } th { "Used by" } } }
                        tbody { @for line in &lines { (secret(line)) } }
                    }
                }
            }
            p class="dim" { "Their values are shown nowhere." }
        }
    })
}

fn secret(line: &SecretLine) -> Markup {
    let SecretLine { name, state, source, error, hidden, changed_at: _, used_by } = line;
    html! {
        tr data-key=(name) {
            td { code { (parts::line(name)) } }
            td class=(if state == "set" { "" } else { "failed" }) {
                (state) @if let Some(why) = error { ": " (parts::line(why)) }
            }
            td class="over" {
                @match source {
                    Some(source) => { (parts::line(source)) }
                    None => { "–" }
                }
                @if !hidden.is_empty() { span class="dim" { ", also " (parts::line(&hidden.join(", "))) } }
            }
            td class="wide over dim" {
                @if used_by.is_empty() { "–" } @else { (parts::line(&used_by.join(", "))) }
            }
        }
    }
}

fn frame(app: &App, who: &Identity, body: Markup) -> Markup {
    let shown = Page {
        nav: "/settings",
        title: "Settings",
        json: Some("/api/v1/settings".into()),
        body: Some(body),
        ..Page::default()
    };
    page(app, who, shown)
}

/// Each setting, its value, and where it came from.
pub async fn config(State(app): State<App>, who: Identity) -> Markup {
    let settings = app.control().config();
    let given = settings.iter().filter(|setting| setting.origin != "default").count();
    let body = html! {
        p class="dim" {
            "Defaults, then " code { "moa.yaml" } ", " code { ".env" } ", the environment, flags: the \
            last one that says something holds. " (text::plural(given, "setting")) " of "
            (settings.len()) " are given. What the node was started with is shown; of addresses only \
            the host, of secrets nothing."
        }
        div class="table" {
            table class="stack" {
                thead { tr { th { "Setting" } th { "Value" } th { "From" } } }
                tbody {
                    @for setting in &settings {
                        tr data-key=(setting.key) {
                            td { code { (parts::line(&setting.key)) } }
                            td class={ "wide over" (if setting.origin == "default" { " dim" } else { "" }) } {
                                (setting_value(&setting.value))
                            }
                            td class="dim" { (parts::line(&setting.origin)) }
                        }
                    }
                }
            }
        }
    };
    let shown = Page {
        nav: "/settings",
        title: "Configuration",
        above: vec![("/settings".into(), "Settings".into())],
        json: Some("/api/v1/config?limit=500".into()),
        body: Some(body),
        ..Page::default()
    };
    page(&app, &who, shown)
}

fn setting_value(value: &Json) -> Markup {
    match value {
        Json::Null => html! { "–" },
        Json::String(said) => parts::line(said),
        other => parts::line(&other.to_string()),
    }
}

async fn node(app: &App, who: &Identity, now: Millis) -> Markup {
    let status = app.control().status().await;
    let info = &status.info;
    html! {
        section class="card" {
            h2 { "Node" }
            dl class="facts" {
                div { dt { "moa" } dd { (info.moa) } }
                div { dt { "Node" } dd { code { (info.node) } } }
                div { dt { "Process" } dd { (info.pid) } }
                div { dt { "Started" } dd { (parts::time(info.started_at, now)) } }
                div { dt { "Attempts at once" } dd { (status.max_running) } }
                div { dt { "Commits" } dd { (status.engine.commits) } }
                div { dt { "Runs in memory" } dd { (status.engine.runs_cached) } }
            }
            p class="dim" {
                @if who.role == Role::Admin {
                    a href="/settings/config" { "Configuration" } ": each setting, and where it came from. "
                } @else { code { "moa config" } " shows each setting, and where it came from. " }
                a href="/api/docs" { "The API" } ": what programs can ask."
            }
        }
    }
}

fn jobs(app: &App, now: Millis) -> Markup {
    let jobs = app.control().jobs();
    html! {
        section class="card" {
            h2 { "Jobs of the node" }
            @if jobs.is_empty() { p class="dim" { "It has none." } }
            div class="table" {
                table class="stack" {
                    thead { tr {
                        th { "Job" } th { "Every" } th { "Next" } th class="num" { "Done" }
                        th class="num" { "Failed" } th { "What it is for" }
                    } }
                    tbody {
                        @for job in &jobs {
                            tr data-key=(job.name) {
                                td { (job.name) }
                                td { (Span(job.every_ms)) }
                                td class="spare" { (parts::time_or_dash(job.next, now)) }
                                td class="num spare" { (job.done) }
                                td class={ "num spare" (if job.failed > 0 { " failed" } else { "" }) } {
                                    (job.failed)
                                }
                                td class="wide over dim" { (parts::line(&job.about)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn access(app: &App, who: &Identity, now: Millis) -> Result<Markup> {
    let entries = app.auth().tokens.list()?;
    Ok(html! {
        section class="card" {
            h2 { "Tokens and sessions" }
            (parts::form(who, ("/settings/tokens", None), Some("filter"), &html! {
                label class="unseen" for="token-name" { "Name" }
                input id="token-name" name="name" required placeholder="Name" maxlength="64"
                    autocomplete="off";
                label class="unseen" for="token-role" { "Role" }
                select id="token-role" name="role" {
                    @for role in Role::ALL { option value=(role) { (role) } }
                }
                label class="unseen" for="token-scopes" { "Scopes" }
                input id="token-scopes" name="scopes" autocomplete="off"
                    placeholder="Scopes, such as read runs:nightly";
                label class="unseen" for="token-ends" { "Ends after" }
                input id="token-ends" name="expires_in" placeholder="Ends after 90d, or never"
                    autocomplete="off";
                button class="button" { "Make a token" }
            }))
            div class="table" {
                table class="stack" {
                    thead { tr {
                        th { "Name" } th { "Role" } th { "Scopes" } th { "Kind" } th { "Last used" }
                        th { "Ends" } th { "" }
                    } }
                    tbody { @for entry in entries.iter() { (row(who, entry, now)) } }
                }
            }
        }
    })
}

fn row(who: &Identity, entry: &Entry, now: Millis) -> Markup {
    let own = entry.id == who.id;
    html! {
        tr data-key=(entry.id) {
            td { (parts::line(&entry.name)) @if own { " " span class="dim" { "(this one)" } } }
            td { (entry.role) }
            td class="over named" data-head="Scopes" { (scopes(&entry.scopes)) }
            td class="dim spare" { @match entry.kind { Kind::Token => "token", Kind::Session => "session" } }
            td class="over named" data-head="Last used" {
                @match entry.last_used_at {
                    Some(at) => (parts::time(at, now)),
                    None => span class="dim" { "never" },
                }
            }
            td class="spare" {
                @if tokens::is_over(entry, now) { span class="dim" { "over" } }
                @else { (parts::time_or_dash(entry.expires_at, now)) }
            }
            td {
                (ask(who, &Ask {
                    label: "Revoke",
                    to: &format!("/settings/tokens/{}/revoke", entry.id),
                    called: None,
                    about: "It holds no more, and sessions that it opened end with it.",
                    danger: true,
                    fields: html! {},
                }))
            }
        }
    }
}

/// What a token is narrowed to.
fn scopes(scopes: &[Scope]) -> Markup {
    html! {
        @if scopes.is_empty() { span class="dim" { "all" } }
        @for (i, scope) in scopes.iter().enumerate() {
            @if i > 0 { " " }
            code { (parts::line(&scope.to_string())) }
        }
    }
}

/// A token to be made.
#[derive(Debug, Deserialize)]
pub struct NewToken {
    name: String,
    role: Role,
    /// With spaces between them.
    #[serde(default)]
    scopes: String,
    #[serde(default)]
    expires_in: String,
}

/// Makes a token, and shows it this once.
pub async fn make(
    State(app): State<App>,
    who: Identity,
    Form(new): Form<NewToken>,
) -> Result<Markup> {
    let ends = Ends::read(&new.expires_in)?;
    let words = new.scopes.split_whitespace().map(str::parse::<Scope>);
    let given: Vec<Scope> =
        words.collect::<std::result::Result<_, _>>().map_err(Problem::invalid)?;
    let NewToken { name, role, .. } = new;
    let made = app.auth().token_for(&who, (name, role), given, ends)?;
    let (entry, token) = app.control().make_token(made).await?;
    let body = html! {
        section class="card" {
            h2 { span { "The token " (parts::line(&entry.name)) } }
            p { "It is shown this once, and kept nowhere: a click on it marks it whole, to be copied. Whoever has it has the \
                role " strong { (entry.role) } ". Scopes: "
                (scopes(&entry.scopes)) }
            pre class="value once" tabindex="0" { (token.as_str()) }
            p { a class="button" href="/settings" { "Done" } }
        }
    };
    Ok(frame(&app, &who, body))
}

/// Revokes a token or session.
pub async fn revoke(State(app): State<App>, Path(id): Path<String>) -> Result<Response> {
    app.control().end_token(&id, false).await?;
    Ok(Redirect::to("/settings").into_response())
}
