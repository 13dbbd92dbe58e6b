//! Webhooks out: who is called when something happens, what became of the calls, and what can be done
//! about those that were given up.

use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};
use moa_core::ids::RunId;
use moa_core::schedule::Zone;
use moa_core::time::Millis;
use moa_view::{now, trigger};
use serde::Deserialize;
use url::form_urlencoded;

use super::parts::{self, Ask, ask};
use super::{Page, live, page};
use crate::App;
use crate::api::runs::list::name;
use crate::api::webhooks::{self as api, DeliveryItem, Filter, WebhookItem};
use crate::auth::Identity;
use crate::error::{Problem, Result};
use crate::extract::{Form, Path, Query};

/// How one is declared.
const EXAMPLE: &str = "webhooks:
  billing:
    url: https://billing.example.com/moa
    secret: ${{ secrets.BILLING }}
    types: [run.succeeded, run.failed]";

/// The list.
pub async fn show(State(app): State<App>, who: Identity) -> Result<Markup> {
    let live = live::ask(&app).await?;
    let (all, now) = (api::items(&app, &who).await?, now());
    let body = html! {
        @if all.is_empty() { (nothing()) } @else {
            div class="table" {
                table class="stack" {
                    thead { tr {
                        th { "Webhook" } th { "State" } th { "Address" } th { "Events" }
                        th { "Newest" } th class="num" { "Waiting" } th class="num" { "Dead" }
                    } }
                    tbody { @for one in &all { (row(one, now)) } }
                }
            }
        }
    };
    let shown = Page {
        nav: "/webhooks",
        title: "Webhooks",
        json: Some("/api/v1/webhooks?limit=500".into()),
        live,
        body: Some(body),
        ..Page::default()
    };
    Ok(page(&app, &who, shown))
}

fn nothing() -> Markup {
    parts::empty(
        "Nobody is called when something happens",
        &html! {
            p { "A webhook in " code { "moa.yaml" } " has a receiver told of events, signed, until it takes them:" }
            pre tabindex="0" { (EXAMPLE) }
            p { "Then " code { "moa webhooks test billing" } " tries it. Calls from outside that start runs are \
                triggers of workflows: " code { "on: {webhook: …}" } "." }
        },
    )
}

fn path(webhook: &str) -> String {
    format!("/webhooks/{webhook}")
}

fn row(one: &WebhookItem, now: Millis) -> Markup {
    html! {
        tr data-to=(path(&one.webhook)) data-key=(one.webhook) {
            td { a href=(path(&one.webhook)) { (one.webhook) } }
            td { (state(one)) }
            td class="over" { (parts::line(&one.url)) }
            td class="over" { (parts::line(&one.types.join(", "))) }
            td class="over" {
                @match &one.last {
                    Some(last) => {
                        (delivery_state(&last.state)) " " (time(&last.created_at, now))
                        @if one.dead > 1 { span class="dead" { ", " (one.dead) " dead in all" } }
                    },
                    None => span class="dim" { "no call yet" },
                }
            }
            td class="num spare" { (one.open) }
            td class={ "num" (if one.dead > 0 { " dead" } else { "" }) " spare" } { (one.dead) }
        }
    }
}

/// Whether it is called.
fn state(one: &WebhookItem) -> Markup {
    match (one.active, &one.gone) {
        _ if one.removed => parts::status("removed", "○"),
        (false, _) => parts::status("off", "○"),
        (true, Some(_)) => parts::status("gone", "✗"),
        (true, None) => parts::status("active", "✓"),
    }
}

fn delivery_state(state: &str) -> Markup {
    match state {
        "delivered" => parts::status("delivered", "✓"),
        "dead" => parts::status("dead", "✗"),
        "stopped" => parts::status("stopped", "⊘"),
        // That word is one of breakers, which are bad when they are open.
        _ => parts::status("waiting", "◷"),
    }
}

fn time(at: &str, now: Millis) -> Markup {
    let at = trigger::instant(at, &Zone::utc()).ok();
    parts::time_or_dash(at, now)
}

/// A webhook.
pub async fn one(
    State(app): State<App>,
    who: Identity,
    Path(webhook): Path<String>,
    Query(asked): Query<Filter>,
) -> Result<Markup> {
    let live = if asked.cursor.is_none() { live::ask(&app).await? } else { None };
    let listed = api::delivered(&app, &webhook, &asked).await?;
    let all = api::items(&app, &who).await?;
    let found = all.into_iter().find(|item| item.webhook == webhook);
    let past =
        || Problem::not_found(format!("there is no webhook {webhook}, and no dead call of one"));
    let one = found.ok_or_else(past)?;
    let now = now();
    let dead = one.dead;
    let query = query(&asked, asked.cursor.as_deref());
    let older = listed.next.as_deref().map(|next| self::query(&asked, Some(next)));
    let body = html! {
        (is_it_called(&one, now))
        (facts(&one))
        nav class="chips" aria-label="Deliveries" {
            @let chip = |name: &str, dead: bool, count: Option<u64>| html! {
                a href={ (path(&webhook)) (if dead { "?dead=true" } else { "" }) }
                    aria-current=[(asked.dead == dead).then_some("true")] {
                    (name) @if let Some(count) = count { " " span class="num" { (count) } }
                }
            };
            (chip("All deliveries", false, None)) (chip("Dead", true, Some(dead)))
        }
        @if listed.deliveries.is_empty() && older.is_some() {
            p class="dim" { "None among the notifications that were looked at." }
        } @else if listed.deliveries.is_empty() { (no_delivery(&one, &asked)) } @else {
            div class="table" {
                table class="stack" {
                    thead { tr {
                        th { "When" } th { "State" } th { "Event" } th { "Answer" }
                        th class="num" { "Calls" } th { "Delivery" } th {}
                    } }
                    tbody { @for call in &listed.deliveries { (delivery(&who, &one, call, now)) } }
                }
            }
        }
        @if let Some(older) = older {
            p { a class="button" rel="next" href={ (path(&webhook)) (older) } { "Older deliveries" } }
        }
    };
    let shown = Page {
        nav: "/webhooks",
        title: &webhook,
        above: vec![("/webhooks".into(), "Webhooks".into())],
        beside: Some(state(&one)),
        actions: Some(buttons(&who, &one, dead)),
        json: Some(format!("/api/v1/webhooks/{webhook}/deliveries{query}")),
        live,
        body: Some(body),
        ..Page::default()
    };
    Ok(page(&app, &who, shown))
}

/// The query of a list of deliveries.
fn query(asked: &Filter, cursor: Option<&str>) -> String {
    let dead = asked.dead.then(|| "true".to_owned());
    let limit = asked.limit.map(|limit| limit.to_string());
    let pairs = [("dead", dead), ("limit", limit), ("cursor", cursor.map(str::to_owned))];
    let given = pairs.into_iter().filter_map(|(key, value)| Some((key, value?)));
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(given).finish();
    if query.is_empty() { query } else { format!("?{query}") }
}

/// Says so where it isn't called.
fn is_it_called(one: &WebhookItem, now: Millis) -> Markup {
    html! {
        @if one.removed {
            div class="note wait" {
                "The settings don't name it any more. Its dead calls are kept as runs that failed are; put it back \
                into " code { "moa.yaml" } " to have them made again."
            }
        } @else if !one.active {
            div class="note wait" {
                code { "active: false" } " in " code { "moa.yaml" } " keeps it from being called. What happens \
                meanwhile is not made up for."
            }
        } @else if let Some(gone) = &one.gone {
            div class="note bad" {
                "It is switched off: its receiver answered 410 " (time(&gone.since, now))
                " to " (run(&gone.run)) ", so it wants no more calls. What happens meanwhile is not told to it."
            }
        }
    }
}

fn run(run: &str) -> Markup {
    match run.parse::<RunId>() {
        Ok(run) => parts::run_link(run),
        Err(_) => parts::line(run),
    }
}

fn facts(one: &WebhookItem) -> Markup {
    html! {
        @if !one.removed { dl class="facts" {
            div { dt { "Address" } dd { code { (parts::line(&one.url)) } } }
            div { dt { "Signed" } dd { (if one.signed { "yes" } else { "no" }) } }
            div { dt { "Events" } dd { (parts::line(&one.types.join(", "))) } }
            div { dt { "Workflows" } dd {
                @if one.workflows.is_empty() { "all" } @else { (parts::line(&one.workflows.join(", "))) }
            } }
            div { dt { "Waiting" } dd { (one.open) } }
            div { dt { "Dead" } dd { (one.dead) } }
        } }
    }
}

fn no_delivery(one: &WebhookItem, asked: &Filter) -> Markup {
    match (asked.dead, one.active) {
        (true, _) => parts::empty(
            "No delivery was given up",
            &html! {
                "What a receiver does not take is tried for about half a day."
            },
        ),
        (false, false) => parts::empty("No call yet", &html! {}),
        (false, true) => parts::empty(
            "No call yet",
            &html! {
                "It is told of what happens from now on. A test calls it at once."
            },
        ),
    }
}

fn delivery(who: &Identity, of: &WebhookItem, one: &DeliveryItem, now: Millis) -> Markup {
    html! {
        tr data-key=(one.run) {
            td class="nowrap" { (time(&one.created_at, now)) }
            td { (delivery_state(&one.state)) }
            td class="over" {
                (parts::line(&one.r#type))
                @if let Some(error) = &one.error { div class="error cut" { (parts::line(said(error))) } }
            }
            td class="spare" {
                @match one.status {
                    Some(status) => (status),
                    None => span class="dim" { "–" },
                }
            }
            td class="num spare" { (one.attempts) }
            td class="over" { (run(&one.run)) div class="dim id cut" { (parts::line(&one.id)) } }
            td class="over nowrap" {
                @if one.superseded { span class="dim" { "made again" } }
                @else if one.state == "dead" && of.active && !of.removed { (redeliver(who, &of.webhook, &one.run)) }
            }
        }
    }
}

/// What a call failed of, without the name of its channel.
fn said(error: &str) -> &str {
    error.split_once("`: ").map_or(error, |(_, said)| said)
}

/// What can be done with a webhook, for those who may.
fn buttons(who: &Identity, one: &WebhookItem, dead: u64) -> Markup {
    let to = format!("{}/act", path(&one.webhook));
    let button = |act: &str, label, about, danger| {
        let fields = html! { input type="hidden" name="act" value=(act); };
        ask(who, &Ask { label, to: &to, called: None, about, danger, fields })
    };
    html! {
        @if one.active {
            (button("test", "Test", "Its receiver is called with an event of the type \
                moa.webhook.test, as with any other one.", false))
        }
        @if one.active && one.gone.is_some() {
            (button("enable", "Enable", "It is called again, of what happens from now on. What it has \
                refused is dead until it is redelivered.", false))
        }
        @if dead > 0 && one.active && !one.removed {
            (button("redeliver", "Redeliver all", "Every dead delivery, the newest 200 at once, is made \
                again. Its receiver knows each by the same id.", true))
        }
    }
}

fn redeliver(who: &Identity, webhook: &str, run: &str) -> Markup {
    let to = format!("{}/act", path(webhook));
    let fields = html! {
        input type="hidden" name="act" value="redeliver";
        input type="hidden" name="run" value=(run);
    };
    let about = "It is made again. Its receiver knows it by the same id.";
    let asked =
        ask(who, &Ask { label: "Redeliver", to: &to, called: None, about, danger: false, fields });
    html! { span data-key={ "redeliver " (run) } { (asked) } }
}

/// What somebody wants.
#[derive(Debug, Deserialize)]
pub struct Asked {
    act: String,
    #[serde(default)]
    run: Option<String>,
}

/// Tries a webhook, has calls made again, or has it called again.
pub async fn act(
    State(app): State<App>,
    who: Identity,
    Path(webhook): Path<String>,
    Form(asked): Form<Asked>,
) -> Result<Response> {
    api::channel(&app, &webhook)?;
    match asked.act.as_str() {
        "test" => _ = app.control().test_webhook(name(&webhook)?).await?,
        "enable" => _ = app.control().enable_webhook(name(&webhook)?).await?,
        "redeliver" => {
            let named = asked.run.map(|run| vec![run]);
            _ = api::made_again(&app, &who, &webhook, named).await?;
        }
        other => return Err(Problem::invalid(format!("webhooks know no {other:?}"))),
    }
    Ok(Redirect::to(&path(&webhook)).into_response())
}
