//! Alerts: what is wrong, what was, and that somebody looks after it.

use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};
use moa_core::alert::{Alert, Book};
use moa_core::time::Millis;
use moa_view::now;
use serde::Deserialize;

use super::parts::{self, Ask, ask};
use super::{Page, live, page, prose};
use crate::App;
use crate::api::alerts::Note;
use crate::auth::Identity;
use crate::error::{Problem, Result};
use crate::extract::{Form, Query};

/// Alerts that are over, listed.
const PAST: usize = 50;
/// Alerts of a card.
const SHORT: usize = 6;

/// Which alerts.
#[derive(Debug, Default, Deserialize)]
pub struct Filter {
    /// The one that is looked at.
    #[serde(default)]
    alert: Option<String>,
}

/// The list.
pub async fn show(
    State(app): State<App>,
    who: Identity,
    Query(filter): Query<Filter>,
) -> Result<Markup> {
    let live = live::alerts(&app).await?;
    let now = now();
    let book = app.control().alerts().await?;
    let (open, past) = (book.open(), book.past().take(PAST).collect::<Vec<_>>());
    let wanted = filter.alert.as_deref();
    let body = html! {
        @if open.is_empty() {
            (parts::empty("Nothing is wrong that moa knows of", &html! {
                p { "The node looks every 15 seconds: runs that fail, schedules that are late, tasks that \
                    are stuck, agents that are down, targets that will be missed, a disk that is full." }
                p { code { "alerts:" } " in " code { "moa.yaml" } " says what is looked at, and who is told." }
            }))
        }
        @for alert in &open { (card(&who, alert, wanted, now)) }
        @if !past.is_empty() {
            h2 { "Over" }
            div class="table" {
                table class="stack" {
                    thead { tr {
                        th { "Alert" } th { "Severity" } th { "What" } th { "Since" } th { "Over" }
                    } }
                    tbody { @for alert in &past { (past_row(alert, now)) } }
                }
            }
        }
    };
    let shown = Page {
        nav: "/alerts",
        title: "Alerts",
        json: Some("/api/v1/alerts?all=true&limit=500".into()),
        live,
        body: Some(body),
        ..Page::default()
    };
    Ok(page(&app, &who, shown))
}

/// The path of an alert.
pub fn path(alert: &Alert) -> String {
    let encoded: String = alert.key.bytes().map(encoded).collect();
    format!("/alerts?alert={encoded}#{encoded}")
}

fn encoded(byte: u8) -> String {
    match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => char::from(byte).into(),
        _ => format!("%{byte:02X}"),
    }
}

fn severity(alert: &Alert) -> Markup {
    let sign = match alert.severity.as_str() {
        "critical" => "✗",
        "warning" => "▲",
        _ => "●",
    };
    parts::status(alert.severity.as_str(), sign)
}

fn card(who: &Identity, alert: &Alert, wanted: Option<&str>, now: Millis) -> Markup {
    let here = if wanted == Some(alert.key.as_str()) { "card here" } else { "card" };
    html! {
        section class=(here) id=(alert.key) data-key=(alert.key) {
            h2 {
                span { (severity(alert)) " " (parts::line(&alert.title)) }
                (parts::time(alert.raised_at.unwrap_or(alert.since), now))
            }
            (prose::lines(&alert.text))
            p class="dim" {
                code { (parts::line(&alert.key)) }
                @if let Some(to) = about(alert) { " · " a href=(to.0) { (to.1) } }
                @if alert.returns > 0 { " · came back " (alert.returns) "×" }
                @if !alert.channels.is_empty() {
                    " · told: "
                    @for channel in &alert.channels { (channel) " " }
                }
            }
            @if let Some(by) = &alert.acknowledged {
                p {
                    "Acknowledged by " (parts::line(&by.by)) " " (parts::time(by.at, now))
                    @if let Some(note) = &by.note { ": " (parts::line(note)) }
                }
            }
            div class="row-asks" { (asks(who, alert)) }
        }
    }
}

/// Where to look, for rules that are about something with a page.
fn about(alert: &Alert) -> Option<(String, &'static str)> {
    let (rule, about) = alert.key.split_once('/')?;
    let name: String = about.bytes().map(encoded).collect();
    Some(match rule {
        "failure_rate" | "dead" => (format!("/runs?status=failed&workflow={name}"), "its runs"),
        "late" => (format!("/schedules/{name}"), "the schedule"),
        "agent_down" | "breaker" | "quota" | "budget" => (format!("/agents/{name}"), "the agent"),
        "stuck" => (format!("/runs/{}", name.split("%2F").next()?), "the run"),
        "target" => ("/charts/production".into(), "production"),
        "channel" => (format!("/webhooks/{}", name.strip_prefix("webhook-")?), "the webhook"),
        _ => return None,
    })
}

fn asks(who: &Identity, alert: &Alert) -> Markup {
    let one = |label: &str, act: &str, about: &str| {
        let id = format!("note-{act}-{}", alert.key);
        let fields = html! {
            input type="hidden" name="act" value=(act);
            input type="hidden" name="alert" value=(alert.key);
            div class="field" {
                label for=(id) { "Note" }
                input id=(id) name="note" maxlength="2000" autocomplete="off";
            }
        };
        let key = format!("{label} {}", alert.key);
        let to = "/alerts";
        let asked = ask(who, &Ask { label, to, called: None, about, danger: false, fields });
        html! { span data-key=(key) { (asked) } }
    };
    html! {
        @if alert.acknowledged.is_none() {
            (one("Acknowledge", "ack", "Everybody sees that you look after it. It stays open until what \
                it is about is gone."))
        }
        (one("Resolve", "resolve", "It counts as over. What is still wrong is not raised again until it \
            was gone once, or has become worse."))
    }
}

fn past_row(alert: &Alert, now: Millis) -> Markup {
    html! {
        tr {
            td { code { (parts::line(&alert.key)) } }
            td { (severity(alert)) }
            td class="wide over" { (parts::line(&alert.title)) }
            td class="spare" { (parts::time(alert.since, now)) }
            td {
                (parts::time_or_dash(alert.resolved_at, now))
                @if let Some(by) = &alert.resolved_by {
                    div class="dim" { "by " (parts::line(&by.by)) }
                }
            }
        }
    }
}

/// The worst of the open alerts, for the overview; how many more there are.
pub fn worst(book: &Book) -> (Vec<Alert>, usize) {
    let open = book.open();
    let more = open.len().saturating_sub(SHORT);
    (open.into_iter().take(SHORT).cloned().collect(), more)
}

/// Alerts in a card.
pub fn short((alerts, more): &(Vec<Alert>, usize), now: Millis) -> Markup {
    html! {
        @if !alerts.is_empty() {
            table {
                tbody {
                    @for alert in alerts {
                        tr data-to=(path(alert)) data-key=(alert.key) {
                            td class="tight" { (severity(alert)) }
                            td {
                                a href=(path(alert)) { (parts::line(&alert.title)) }
                                @if alert.acknowledged.is_some() { " " span class="dim" { "acknowledged" } }
                            }
                            td class="num nowrap" {
                                (parts::time(alert.raised_at.unwrap_or(alert.since), now))
                            }
                        }
                    }
                }
            }
            @if *more > 0 { p class="dim" { "… and " (more) " more" } }
        }
    }
}

/// What somebody wants.
#[derive(Debug, Deserialize)]
pub struct Asked {
    act: String,
    alert: String,
    #[serde(default)]
    note: Option<String>,
}

/// Does it.
pub async fn act(
    State(app): State<App>,
    who: Identity,
    Form(asked): Form<Asked>,
) -> Result<Response> {
    let note = Note::read(asked.note)?;
    match asked.act.as_str() {
        "ack" => app.control().acknowledge(asked.alert, who.cause(), note).await?,
        "resolve" => app.control().resolve(asked.alert, who.cause(), note).await?,
        other => return Err(Problem::invalid(format!("alerts know no {other:?}"))),
    };
    Ok(Redirect::to("/alerts").into_response())
}
