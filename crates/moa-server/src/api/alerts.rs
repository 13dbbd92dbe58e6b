//! What is wrong just now, and what was.

use axum::extract::State;
use moa_core::alert::{Acknowledged, Alert};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::paging::Part;
use crate::App;
use crate::auth::Identity;
use crate::error::{Problem, Result};
use crate::extract::{Json, Path, Query};

/// Characters of a note.
const NOTE_CHARS_MAX: usize = 2000;

/// Something that is or was wrong.
#[derive(Debug, Serialize, ToSchema)]
pub struct AlertItem {
    /// What it is known by: `late/nightly`.
    key: String,
    /// By which rule: `late`.
    rule: &'static str,
    /// `info`, `warning` or `critical`.
    severity: &'static str,
    /// `open`, `acknowledged` or `resolved`.
    state: &'static str,
    /// One line.
    title: String,
    /// What is known.
    text: String,
    /// Since when it is so.
    since: String,
    /// Since when it is an alert.
    raised_at: Option<String>,
    /// When it was over.
    resolved_at: Option<String>,
    /// Who said that it is over; null = it was gone by itself.
    resolved_by: Option<NotedItem>,
    /// How often it was gone and came back.
    returns: u32,
    /// Who has taken notice.
    acknowledged: Option<NotedItem>,
    /// The channels that are told.
    notify: Vec<String>,
}

/// That somebody has said something of an alert.
#[derive(Debug, Serialize, ToSchema)]
pub struct NotedItem {
    /// Who.
    by: String,
    /// When.
    at: String,
    /// What they say of it.
    note: Option<String>,
}

impl From<&Acknowledged> for NotedItem {
    fn from(noted: &Acknowledged) -> Self {
        let Acknowledged { by, at, note } = noted.clone();
        Self { by, at: at.to_string(), note }
    }
}

impl From<&Alert> for AlertItem {
    fn from(alert: &Alert) -> Self {
        Self {
            key: alert.key.clone(),
            rule: alert.rule.as_str(),
            severity: alert.severity.as_str(),
            state: alert.state(),
            title: alert.title.clone(),
            text: alert.text.clone(),
            since: alert.since.to_string(),
            raised_at: alert.raised_at.map(|at| at.to_string()),
            resolved_at: alert.resolved_at.map(|at| at.to_string()),
            resolved_by: alert.resolved_by.as_ref().map(NotedItem::from),
            returns: alert.returns,
            acknowledged: alert.acknowledged.as_ref().map(NotedItem::from),
            notify: alert.channels.iter().map(ToString::to_string).collect(),
        }
    }
}

/// Alerts.
#[derive(Debug, Serialize, ToSchema)]
pub struct AlertList {
    /// The open ones, the worst first; then those that are over, the newest first.
    alerts: Vec<AlertItem>,
    /// `cursor` of the next page; null = this is the last one.
    next: Option<String>,
}

/// Which alerts.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Filter {
    /// Also the newest 200 that are over.
    #[serde(default)]
    all: bool,
    /// At most so many, up to 500; 50 when not given.
    #[serde(default)]
    limit: Option<usize>,
    /// Go on where a page ended: its `next`.
    #[serde(default)]
    cursor: Option<String>,
}

/// What is wrong
#[utoipa::path(
    get, path = "/api/v1/alerts", tag = "alerts", params(Filter),
    responses((status = 200, description = "The alerts", body = AlertList)),
)]
pub async fn list(State(app): State<App>, Query(filter): Query<Filter>) -> Result<Json<AlertList>> {
    let book = app.control().alerts().await?;
    let past = book.past().filter(|_| filter.all);
    let all = book.open().into_iter().chain(past).collect();
    let (alerts, next) = Part::new(filter.limit, filter.cursor).by(all, |alert| place(alert))?;
    Ok(Json(AlertList { alerts: alerts.into_iter().map(AlertItem::from).collect(), next }))
}

/// The place of an alert in a list: the open ones by how bad they are and since when, then those that
/// are over, the newest first.
fn place(alert: &Alert) -> (bool, u8, i64, String) {
    let key = alert.key.clone();
    let worst = u8::MAX - alert.severity as u8;
    match alert.resolved_at {
        None => (false, worst, alert.raised_at.map_or(0, |at| at.0), key),
        Some(at) => (true, 0, at.0.saturating_neg(), key),
    }
}

/// What is said of an alert.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Note {
    /// For people.
    #[serde(default)]
    note: Option<String>,
}

impl Note {
    /// What is said, if anything.
    ///
    /// # Errors
    /// It is too long.
    pub fn read(note: Option<String>) -> Result<Option<String>> {
        let note = note.map(|note| note.trim().to_owned()).filter(|note| !note.is_empty());
        match note {
            Some(long) if long.chars().count() > NOTE_CHARS_MAX => {
                let text = format!("a note has at most {NOTE_CHARS_MAX} characters");
                Err(Problem::invalid(text))
            }
            note => Ok(note),
        }
    }
}

/// Say that somebody has taken notice of an alert
///
/// It stays open until what it is about is gone. When it becomes worse, it counts as unnoticed again.
#[utoipa::path(
    post, path = "/api/v1/alerts/{alert}/ack", tag = "alerts",
    params(("alert" = String, Path, description = "Its key, with `/` as `%2F`")),
    request_body = Option<Note>,
    responses((status = 200, description = "The alert", body = AlertItem)),
)]
pub async fn ack(
    State(app): State<App>,
    who: Identity,
    Path(key): Path<String>,
    note: Option<Json<Note>>,
) -> Result<Json<AlertItem>> {
    let note = Note::read(note.and_then(|Json(note)| note.note))?;
    let alert = app.control().acknowledge(key, who.cause(), note).await?;
    Ok(Json(AlertItem::from(&alert)))
}

/// Say that an alert is over
///
/// What is still wrong is not raised again until it was gone once, or has become worse.
#[utoipa::path(
    post, path = "/api/v1/alerts/{alert}/resolve", tag = "alerts",
    params(("alert" = String, Path, description = "Its key, with `/` as `%2F`")),
    request_body = Option<Note>,
    responses((status = 200, description = "The alert", body = AlertItem)),
)]
pub async fn resolve(
    State(app): State<App>,
    who: Identity,
    Path(key): Path<String>,
    note: Option<Json<Note>>,
) -> Result<Json<AlertItem>> {
    let note = Note::read(note.and_then(|Json(note)| note.note))?;
    let alert = app.control().resolve(key, who.cause(), note).await?;
    Ok(Json(AlertItem::from(&alert)))
}
