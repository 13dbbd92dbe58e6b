//! Webhooks out: who is called when something happens, and what became of the calls.

use std::borrow::Cow;
use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::StatusCode;
use moa_core::ids::Name;
use moa_ports::views::Views;
use moa_view::agent;
use moa_view::deliveries::{self, Again, Delivery, Standing, Which};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::Mutex;
use utoipa::{IntoParams, ToSchema};

use super::paging::Part;
use super::runs::list::{cursor, limit, name};
use crate::App;
use crate::auth::Identity;
use crate::auth::role::Role;
use crate::error::{Problem, Result};
use crate::extract::{Json, Path, Query};

/// Deliveries of a page, and those made again at once, at most.
const DELIVERIES_MAX: usize = 200;

/// A receiver that is called when something happens.
#[derive(Debug, Serialize, ToSchema)]
pub struct WebhookItem {
    /// Its name.
    pub webhook: String,
    /// Its address; a secret is named, not shown. Viewers and approvers see its host alone.
    pub url: String,
    /// Whether calls are signed.
    pub signed: bool,
    /// Types of events: `run.failed`, `run.*`.
    pub types: Vec<String>,
    /// Only of runs of these workflows; all when there are none.
    pub workflows: Vec<String>,
    /// Whether the settings want it to be called.
    pub active: bool,
    /// Set while it is switched off, because its receiver answered `410`.
    pub gone: Option<Gone>,
    /// The newest delivery.
    pub last: Option<DeliveryItem>,
    /// Deliveries that are tried.
    pub open: u64,
    /// Deliveries that were given up, and not made again.
    pub dead: u64,
    /// Whether the settings don't name it any more. It is listed while it has dead deliveries.
    pub removed: bool,
}

/// A receiver that wants no more calls.
#[derive(Debug, Serialize, ToSchema)]
pub struct Gone {
    /// When it said so.
    pub since: String,
    /// The run whose delivery it refused.
    pub run: String,
}

/// Receivers.
#[derive(Debug, Serialize, ToSchema)]
pub struct WebhookList {
    /// By name.
    webhooks: Vec<WebhookItem>,
    /// `cursor` of the next page; null = this is the last one.
    next: Option<String>,
}

/// Who is called when something happens
///
/// The section `webhooks` of moa.yaml, and webhooks that it doesn't name any more while they have dead
/// deliveries.
#[utoipa::path(
    get, path = "/api/v1/webhooks", tag = "webhooks", params(Part),
    responses((status = 200, description = "By name", body = WebhookList)),
)]
pub async fn list(
    State(app): State<App>,
    who: Identity,
    Query(part): Query<Part>,
) -> Result<Json<WebhookList>> {
    let (webhooks, next) = part.of(items(&app, &who).await?, |item| item.webhook.clone())?;
    Ok(Json(WebhookList { webhooks, next }))
}

/// How deliveries stood at an event: counted once, however many look.
#[derive(Debug, Default)]
pub struct Standings(Mutex<Option<(u64, BTreeMap<String, Standing>)>>);

impl Standings {
    /// How they stand now, by channel.
    async fn of(&self, views: &dyn Views) -> Result<BTreeMap<String, Standing>> {
        let mut known = self.0.lock().await;
        // Read before they are counted: what happens meanwhile has them counted again.
        let now = views.last_event().await?;
        if let Some((_, all)) = known.as_ref().filter(|(at, _)| *at == now) {
            return Ok(all.clone());
        }
        let all = deliveries::standings(views).await?;
        *known = Some((now, all.clone()));
        Ok(all)
    }
}

/// All webhooks, as somebody sees them, by name.
///
/// # Errors
/// The store can't be read.
pub async fn items(app: &App, who: &Identity) -> Result<Vec<WebhookItem>> {
    let mut gone = app.control().gone_webhooks().await?;
    let mut standings = app.standings().of(&*app.reader().views).await?;
    let texts = |value: &Value| -> Vec<String> {
        let all = value.as_array().into_iter().flatten();
        all.filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let item = |(name, channel, one): (Name, Name, Value)| {
        let Standing { last, open, dead } = standings.remove(channel.as_str()).unwrap_or_default();
        let gone = gone.remove(&name);
        WebhookItem {
            gone: gone.map(|(since, run)| Gone { since: since.to_string(), run: run.to_string() }),
            webhook: name.to_string(),
            url: address(who, one["url"].as_str().unwrap_or_default()),
            signed: !one["secret"].is_null(),
            types: texts(&one["types"]),
            workflows: texts(&one["workflows"]),
            active: one["active"] == true,
            last: last.map(DeliveryItem::from),
            open,
            dead,
            removed: false,
        }
    };
    let mut items: Vec<WebhookItem> = app.control().webhooks().into_iter().map(item).collect();
    items.extend(standings.into_iter().filter_map(|(channel, standing)| {
        let webhook = app.control().former_webhook(&channel).filter(|_| standing.dead > 0)?;
        Some(removed(&webhook, standing))
    }));
    items.sort_by(|a, b| a.webhook.cmp(&b.webhook));
    Ok(items)
}

/// A webhook of which no more is known than what became of its calls.
fn removed(webhook: &Name, Standing { last, open, dead }: Standing) -> WebhookItem {
    WebhookItem {
        webhook: webhook.to_string(),
        url: String::new(),
        signed: false,
        types: Vec::new(),
        workflows: Vec::new(),
        active: false,
        gone: None,
        last: last.map(DeliveryItem::from),
        open,
        dead,
        removed: true,
    }
}

/// An address, as far as somebody may see it.
fn address(who: &Identity, url: &str) -> String {
    let is_secret = url.starts_with("${{");
    if is_secret || who.role.includes(Role::Operator) { url.into() } else { agent::address(url) }
}

/// The channel that delivers a webhook.
///
/// # Errors
/// There is no such webhook.
pub fn channel(app: &App, webhook: &str) -> Result<Name> {
    let webhook = name(webhook)?;
    let known = app.control().webhooks().into_iter().find(|(name, ..)| *name == webhook);
    let unknown = || {
        Problem::not_found(format!("there is no webhook {webhook}"))
            .hint("/api/v1/webhooks lists them")
    };
    Ok(known.ok_or_else(unknown)?.1)
}

/// The same, also of a webhook that the settings don't name any more.
///
/// # Errors
/// Nothing was ever delivered to it; the store can't be read.
async fn past_channel(app: &App, webhook: &str) -> Result<Name> {
    let refused = match channel(app, webhook) {
        Ok(channel) => return Ok(channel),
        Err(refused) => refused,
    };
    let webhook = name(webhook)?;
    let standings = app.standings().of(&*app.reader().views).await?;
    let is_its = |channel: &&String| app.control().former_webhook(channel) == Some(webhook.clone());
    let past = standings.keys().find(is_its).and_then(|channel| Name::new(channel).ok());
    past.ok_or(refused)
}

/// Which deliveries.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Filter {
    /// Only those that were given up, and not made again.
    #[serde(default)]
    pub dead: bool,
    /// At most so many, up to 200; 50 when not given.
    #[serde(default)]
    pub limit: Option<usize>,
    /// Go on where a page ended: its `next`.
    #[serde(default)]
    pub cursor: Option<String>,
}

/// A delivery.
#[derive(Debug, Serialize, ToSchema)]
pub struct DeliveryItem {
    /// The run that delivers it.
    pub run: String,
    /// What receivers know it by: `webhook-id`.
    pub id: String,
    /// The type of its event.
    pub r#type: String,
    /// `delivered`; `dead`, when it was given up; `open`, while it is tried; `stopped` by somebody.
    #[schema(value_type = String)]
    pub state: Cow<'static, str>,
    /// Whether it is dead, and was made again since, however that went.
    pub superseded: bool,
    /// When it was first to be delivered.
    pub created_at: String,
    /// When it was over.
    pub finished_at: Option<String>,
    /// How often its receiver was called.
    pub attempts: u32,
    /// The HTTP status that its receiver answered last.
    pub status: Option<u16>,
    /// Why it is dead, or why the last call failed.
    pub error: Option<String>,
}

impl From<Delivery> for DeliveryItem {
    fn from(delivery: Delivery) -> Self {
        let Delivery { run, id, kind, state, created_at, .. } = delivery;
        let Delivery { superseded, finished_at, attempts, status, error, .. } = delivery;
        let r#type = kind;
        Self {
            run,
            id,
            r#type,
            state,
            superseded,
            created_at,
            finished_at,
            attempts,
            status,
            error,
        }
    }
}

/// Deliveries.
#[derive(Debug, Serialize, ToSchema)]
pub struct DeliveryPage {
    /// The newest first.
    pub deliveries: Vec<DeliveryItem>,
    /// `cursor` of the next page, which may be empty; null = this is the last one.
    pub next: Option<String>,
}

/// What became of calls
#[utoipa::path(
    get, path = "/api/v1/webhooks/{webhook}/deliveries", tag = "webhooks",
    params(("webhook" = String, Path, description = "Its name"), Filter),
    responses((status = 200, description = "The newest first", body = DeliveryPage)),
)]
pub async fn deliveries(
    State(app): State<App>,
    Path(webhook): Path<String>,
    Query(asked): Query<Filter>,
) -> Result<Json<DeliveryPage>> {
    Ok(Json(delivered(&app, &webhook, &asked).await?))
}

/// Deliveries of a webhook.
///
/// # Errors
/// There is no such webhook; the cursor is none; the store can't be read.
pub async fn delivered(app: &App, webhook: &str, asked: &Filter) -> Result<DeliveryPage> {
    let which = Which {
        channel: past_channel(app, webhook).await?,
        dead: asked.dead,
        before: asked.cursor.as_deref().map(cursor).transpose()?,
        limit: limit(asked.limit, 50, DELIVERIES_MAX)?,
    };
    let (found, next) = deliveries::list(&*app.reader().views, &which).await?;
    let deliveries = found.into_iter().map(DeliveryItem::from).collect();
    Ok(DeliveryPage { deliveries, next: next.map(|run| run.to_string()) })
}

/// A webhook that was switched on.
#[derive(Debug, Serialize, ToSchema)]
pub struct Enabled {
    /// Its name.
    webhook: String,
    /// Whether it was switched off before.
    changed: bool,
}

/// Call a webhook again whose receiver was gone
///
/// It is told of what happens from now on. One that `active: false` keeps from being called is not
/// there for this.
#[utoipa::path(
    post, path = "/api/v1/webhooks/{webhook}/enable", tag = "webhooks",
    params(("webhook" = String, Path, description = "Its name")),
    responses((status = 200, description = "It is called", body = Enabled)),
)]
pub async fn enable(State(app): State<App>, Path(webhook): Path<String>) -> Result<Json<Enabled>> {
    channel(&app, &webhook)?;
    let changed = app.control().enable_webhook(name(&webhook)?).await?;
    Ok(Json(Enabled { webhook, changed }))
}

/// A test that is on its way.
#[derive(Debug, Serialize, ToSchema)]
pub struct TestCall {
    /// What its receiver knows it by; its deliveries say what became of it.
    id: String,
}

/// Try a webhook
///
/// Its receiver is called with an event of the type `moa.webhook.test`, as with any other one.
#[utoipa::path(
    post, path = "/api/v1/webhooks/{webhook}/test", tag = "webhooks",
    params(("webhook" = String, Path, description = "Its name")),
    responses((status = 202, description = "It will be delivered", body = TestCall)),
)]
pub async fn test(
    State(app): State<App>,
    Path(webhook): Path<String>,
) -> Result<(StatusCode, Json<TestCall>)> {
    channel(&app, &webhook)?;
    let id = app.control().test_webhook(name(&webhook)?).await?;
    Ok((StatusCode::ACCEPTED, Json(TestCall { id })))
}

/// Which calls are made again.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Redeliver {
    /// The runs that were to deliver them; the newest 200 dead ones when not given.
    #[serde(default)]
    runs: Option<Vec<String>>,
}

/// A call that is made again.
#[derive(Debug, Serialize, ToSchema)]
pub struct Redelivered {
    /// The run that gave it up.
    run: String,
    /// The run that delivers it now.
    new_run: String,
}

/// Calls that are made again.
#[derive(Debug, Serialize, ToSchema)]
pub struct RedeliveredList {
    /// Each of them; its receiver knows it by the same id.
    redelivered: Vec<Redelivered>,
}

/// Make calls again that were given up
///
/// One that was made again since is answered with the run that did so; when that one is dead too, it is
/// the one to name.
#[utoipa::path(
    post, path = "/api/v1/webhooks/{webhook}/redeliver", tag = "webhooks",
    params(("webhook" = String, Path, description = "Its name")),
    request_body = Option<Redeliver>,
    responses((status = 200, description = "They are on their way", body = RedeliveredList)),
)]
pub async fn redeliver(
    State(app): State<App>,
    who: Identity,
    Path(webhook): Path<String>,
    body: Option<Json<Redeliver>>,
) -> Result<Json<RedeliveredList>> {
    let named = body.and_then(|Json(body)| body.runs);
    let redelivered = made_again(&app, &who, &webhook, named).await?;
    Ok(Json(RedeliveredList { redelivered }))
}

/// Makes calls again: those of these runs, or the newest that are dead.
///
/// # Errors
/// There is no such webhook, or it is called no more, or one of the runs delivers nothing to it; what the
/// node says.
pub async fn made_again(
    app: &App,
    who: &Identity,
    webhook: &str,
    named: Option<Vec<String>>,
) -> Result<Vec<Redelivered>> {
    let channel = past_channel(app, webhook).await?;
    let all = app.control().webhooks();
    let known = all.iter().find(|(_, known, _)| *known == channel);
    let asked = Again {
        webhook: &name(webhook)?,
        channel: &channel,
        active: known.map(|(.., document)| document["active"] == true),
        runs: named.as_deref(),
        most: DELIVERIES_MAX,
    };
    let mut redelivered = Vec::new();
    for (run, made) in deliveries::again(app.reader(), asked).await? {
        let new_run = match made {
            Some(made) => made,
            None => app.control().fork(deliveries::request(run, who.cause())).await?,
        };
        redelivered.push(Redelivered { run: run.to_string(), new_run: new_run.to_string() });
    }
    Ok(redelivered)
}
