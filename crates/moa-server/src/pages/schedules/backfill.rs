//! Starting slots of the past: first what would be started, then the button.

use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};
use moa_core::limits::{BACKFILL_AT_ONCE_MAX, SLOTS_LISTED_MAX};
use moa_core::schedule::Reprocess;
use moa_core::trigger::TriggerCommand;
use moa_view::backfill::Preview;
use moa_view::text;
use moa_view::trigger::Known;
use serde::Deserialize;
use url::form_urlencoded;

use super::{path, words};
use crate::App;
use crate::api::triggers::change::must_start;
use crate::api::triggers::find;
use crate::api::triggers::preview::{Wish, preview};
use crate::auth::Identity;
use crate::auth::tokens::random_hex;
use crate::error::Result;
use crate::extract::{Form, Path, Query};
use crate::pages::{Page, page, parts, prose};

/// A range, and how it is done.
#[derive(Debug, Default, Deserialize)]
pub struct Range {
    #[serde(default)]
    from: String,
    #[serde(default)]
    to: String,
    #[serde(default)]
    reprocess: Reprocess,
    #[serde(default)]
    at_once: Option<u32>,
    #[serde(default)]
    reverse: bool,
    #[serde(default)]
    forgotten: bool,
    #[serde(default)]
    key: Option<String>,
}

impl Range {
    fn is_given(&self) -> bool {
        !self.from.is_empty() && !self.to.is_empty()
    }

    /// What it wishes for.
    fn wish(&self) -> Wish {
        Wish {
            from: self.from.clone(),
            to: self.to.clone(),
            reverse: self.reverse,
            at_once: self.at_once,
            reprocess: self.reprocess,
            forgotten: self.forgotten,
            priority: None,
            key: self.key.clone(),
        }
    }

    /// The query that asks the API what it would do.
    fn query(&self) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("from", &self.from).append_pair("to", &self.to);
        if self.reprocess != Reprocess::None {
            query.append_pair("reprocess", reprocess_word(self.reprocess));
        }
        for (name, given) in [("reverse", self.reverse), ("forgotten", self.forgotten)] {
            if given {
                query.append_pair(name, "true");
            }
        }
        query.append_pair("limit", &SLOTS_LISTED_MAX.to_string()).finish()
    }
}

/// The form, and what it would do.
pub async fn show(
    State(app): State<App>,
    who: Identity,
    Path(name): Path<String>,
    Query(range): Query<Range>,
) -> Result<Markup> {
    let known = find(&app, &name).await?;
    let zone = known.table()?.schedule().zone.clone();
    let preview = match range.is_given() {
        true => {
            let request = range.wish().request(&known, who.cause())?;
            Some(preview(&app, &known, &request).await?)
        }
        false => None,
    };
    let body = html! {
        p class="dim" {
            "Slots of the range are started with low priority, beside what is due now. The range begins "
            "with the first instant and ends before the second; local times are those of "
            (zone.name()) "."
        }
        (form(&known, &range))
        @if let Some(preview) = &preview { (would(&who, &known, preview, &range)) }
    };
    let title = format!("Backfill {}", known.spec.title());
    let above = vec![("/schedules".into(), "Schedules".into()), (path(&known), known.spec.title())];
    let json = format!("/api/v1/triggers/{}", known.spec.title().replace('/', "%2F"));
    let json = match range.is_given() {
        true => format!("{json}/backfill?{}", range.query()),
        false => json,
    };
    let shown = Page {
        nav: "/schedules",
        title: &title,
        above,
        json: Some(json),
        called: super::called(&known),
        body: Some(body),
        ..Page::default()
    };
    Ok(page(&app, &who, shown))
}

fn form(known: &Known, range: &Range) -> Markup {
    let choices = [
        (Reprocess::None, "none", "only those that have had no run"),
        (Reprocess::Failed, "failed", "also those whose last run did not succeed"),
        (Reprocess::All, "all", "also those that have had a run"),
    ];
    html! {
        form action={ (path(known)) "/backfill" } class="card" {
            div class="columns" {
                div class="field" {
                    label for="from" { "From" }
                    input id="from" name="from" value=(range.from) required placeholder="2026-01-01";
                }
                div class="field" {
                    label for="to" { "To" }
                    input id="to" name="to" value=(range.to) required placeholder="2026-02-01T12:00";
                }
                div class="field" {
                    label for="reprocess" { "Slots" }
                    select id="reprocess" name="reprocess" {
                        @for (choice, word, about) in choices {
                            option value=(word) selected[choice == range.reprocess] { (about) }
                        }
                    }
                }
                div class="field" {
                    label for="at_once" { "Runs at once" }
                    input id="at_once" name="at_once" type="number" min="1"
                        max=(BACKFILL_AT_ONCE_MAX) value=(range.at_once.unwrap_or(1));
                }
            }
            p { label class="check" {
                input type="checkbox" name="reverse" value="true" checked[range.reverse];
                span { "From the newest slot to the oldest" }
            } }
            p { label class="check" {
                input type="checkbox" name="forgotten" value="true" checked[range.forgotten];
                span { "Also slots that may have had runs which nobody remembers" }
            } }
            p { button class="button" { "Show what would be started" } }
        }
    }
}

/// What it would do.
fn would(who: &Identity, known: &Known, preview: &Preview, range: &Range) -> Markup {
    let (starts, slots) = (preview.starts, &preview.slots);
    html! {
        section class="card" {
            h2 { (starts) " of " (text::plural(slots.len(), "slot")) " would be started" }
            @if let Some(why) = &preview.refused { p class="error" { (parts::line(why)) } }
            @else if starts > 0 {
                @let to = format!("{}/backfill", path(known));
                (parts::form(who, (&to, super::called(known)), None, &html! {
                    input type="hidden" name="key" value=(random_hex::<8>());
                    input type="hidden" name="from" value=(range.from);
                    input type="hidden" name="to" value=(range.to);
                    input type="hidden" name="reprocess" value=(reprocess_word(range.reprocess));
                    input type="hidden" name="at_once" value=(range.at_once.unwrap_or(1));
                    input type="hidden" name="reverse" value=(range.reverse);
                    input type="hidden" name="forgotten" value=(range.forgotten);
                    p { button class="button primary" { "Start " (text::plural(starts, "run")) } }
                }))
            }
            table class="stack" {
                thead { tr { th { "Slot" } th { "Is started" } th { "Its run so far" } } }
                tbody {
                    @for judged in slots.iter().take(SLOTS_LISTED_MAX) {
                        tr {
                            td class="nowrap" { (prose::local(&judged.local)) }
                            td class="named" data-head="Is started" { @if judged.starts { span class="succeeded" { "yes" } }
                                @else { span class="dim" { "no" } } }
                            td class="over" {
                                @if judged.forgotten { span class="dim" { "forgotten" } }
                                @if let Some(outcome) = judged.outcome {
                                    (words(outcome.as_str())) " "
                                    @if let Some(run) = judged.run { (parts::run_link(run)) " " }
                                    @if let Some(result) = judged.result {
                                        (parts::run_status(result))
                                    }
                                }
                            }
                        }
                    }
                }
            }
            @if slots.len() > SLOTS_LISTED_MAX {
                p class="dim" { "… and " (slots.len() - SLOTS_LISTED_MAX) " more" }
            }
        }
    }
}

fn reprocess_word(reprocess: Reprocess) -> &'static str {
    match reprocess {
        Reprocess::None => "none",
        Reprocess::Failed => "failed",
        Reprocess::All => "all",
    }
}

/// Begins it.
pub async fn start(
    State(app): State<App>,
    who: Identity,
    Path(name): Path<String>,
    Form(range): Form<Range>,
) -> Result<Response> {
    let known = find(&app, &name).await?;
    must_start(&who, &known)?;
    let request = range.wish().request(&known, who.cause())?;
    app.control().trigger(known.spec.id(), TriggerCommand::Backfill(request)).await?;
    Ok(Redirect::to(&path(&known)).into_response())
}
