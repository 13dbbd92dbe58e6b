//! One trigger: what it says, what comes, what became of its occurrences, and why.

use axum::extract::State;
use maud::{Markup, html};
use moa_core::time::Millis;
use moa_core::trigger::{Backfill, Occurrence, Outcome};
use moa_ports::triggers::OccurrenceFilter;
use moa_view::now;
use moa_view::trigger::{Known, how, when};
use serde::Deserialize;

use super::{act, path, state_word, words};
use crate::App;
use crate::api::triggers::{find_seen, hidden};
use crate::auth::Identity;
use crate::error::{Problem, Result};
use crate::extract::{Path, Query};
use crate::pages::parts::{self, Ask, ask};
use crate::pages::{Page, live, page, prose};

/// Occurrences listed.
const OCCURRENCES: usize = 60;
/// Slots that come.
const NEXT: usize = 8;

/// Which occurrences.
#[derive(Debug, Default, Deserialize)]
pub struct Wanted {
    /// With this outcome.
    #[serde(default)]
    outcome: String,
}

/// A trigger.
pub async fn show(
    State(app): State<App>,
    who: Identity,
    Path(name): Path<String>,
    Query(wanted): Query<Wanted>,
) -> Result<Markup> {
    let live = live::ask(&app).await?;
    let known = find_seen(&app, &who, &name).await?;
    let now = now();
    let outcomes = outcome(&wanted.outcome)?;
    let filter = OccurrenceFilter { outcomes, limit: OCCURRENCES, ..OccurrenceFilter::default() };
    let occurrences = app.reader().views.occurrences(known.spec.id(), &filter).await?;
    let occurrences = hidden(&app, occurrences).await?;
    let state = known.state();
    let body = html! {
        dl class="facts" {
            div { dt { "When" } dd { code { (parts::line(&when(&known.spec))) } } }
            div { dt { "Starts" } dd {
                a href={ "/workflows/" (known.spec.workflow) } { (known.spec.workflow) }
            } }
            @if state.failures > 0 {
                div { dt { "Failed in a row" } dd class="failed" { (state.failures) } }
            }
            @if !state.open.is_empty() {
                div { dt { "Going on" } dd {
                    @for run in state.open.keys().take(5) { (parts::run_link(*run)) " " }
                } }
            }
        }
        (why(&app, &known, now).await?)
        div class="cards" {
            @if known.spec.schedule().is_some() { (next(&known, now)) }
            (backfills(&who, &known, &state.backfills, now))
        }
        section class="card" {
            h2 { "What became of its occurrences" }
            @if !state.counts.is_empty() { (counts(&known, &wanted.outcome)) }
            (table(&occurrences, now))
        }
    };
    let title = known.spec.title();
    let json = format!("/api/v1/triggers/{}", title.replace('/', "%2F"));
    let json = match wanted.outcome.as_str() {
        "" => json,
        outcome => format!("{json}/slots?outcome={outcome}&limit={OCCURRENCES}"),
    };
    let shown = Page {
        nav: "/schedules",
        title: &title,
        above: vec![("/schedules".into(), "Schedules".into())],
        beside: Some(state_word(known.word().0)),
        actions: Some(act::actions(&who, &known)),
        json: Some(json),
        called: super::called(&known),
        live,
        body: Some(body),
        ..Page::default()
    };
    Ok(page(&app, &who, shown))
}

fn outcome(word: &str) -> Result<Vec<Outcome>> {
    if word.is_empty() {
        return Ok(Vec::new());
    }
    let known = Outcome::ALL.into_iter().find(|outcome| outcome.as_str() == word);
    Ok(vec![known.ok_or_else(|| Problem::invalid(format!("{word:?} is no outcome")))?])
}

async fn why(app: &App, known: &Known, now: Millis) -> Result<Markup> {
    let held_back = app.control().held_back().await;
    let reasons = known.stored()?.map(|trigger| trigger.why(now, held_back)).unwrap_or_default();
    let class = if known.word().0 == "active" { "note" } else { "note wait" };
    Ok(html! {
        @if !reasons.is_empty() {
            section class=(class) aria-label="Why" {
                ul {
                    @for why in &reasons {
                        li {
                            (prose::line(&why.reason))
                            @if let Some(until) = why.until { ", " (parts::time(until, now)) }
                            @if let Some(unblock) = &why.unblock {
                                span class="do dim" { code { (parts::line(unblock)) } }
                            }
                        }
                    }
                }
            }
        }
    })
}

fn next(known: &Known, now: Millis) -> Markup {
    let table = known.table().ok();
    let slots = table.as_ref().map(|table| table.preview(now, NEXT)).unwrap_or_default();
    html! {
        section class="card" {
            h2 { "Next slots" }
            @if slots.is_empty() { (parts::empty("The clock alone says none", &html! {})) }
            @else if known.word().0 != "active" {
                p class="waiting" { "It is " (known.word().0) ": none of these starts a run." }
            }
            table {
                tbody {
                    @for slot in &slots {
                        tr data-key=(slot.at.0) {
                            td class="tight" { (parts::time(slot.at, now)) }
                            td { @if let Some(table) = &table { (prose::local(&table.local(*slot))) } }
                        }
                    }
                }
            }
        }
    }
}

fn backfills(who: &Identity, known: &Known, all: &[Backfill], now: Millis) -> Markup {
    html! {
        @if !all.is_empty() {
            section class="card" {
                h2 { "Backfills" }
                table {
                    tbody {
                        @for one in all.iter().rev() {
                            @let goes_on = one.ended_at.is_none() && !one.cancelled;
                            tr data-key={ "backfill " (one.number) } {
                                td class="tight" { (one.number) }
                                td { (prose::line(&format!("{} –", one.from))) " " (prose::line(&one.to.to_string())) }
                                td { (one.started) " of " (one.slots) " started"
                                    @if one.failed > 0 { ", " span class="failed" { (one.failed) " failed" } } }
                                td class="nowrap" {
                                    @if one.cancelled { "cancelled" }
                                    @else if goes_on { span class="running" { "running" } }
                                    @else { (parts::time_or_dash(one.ended_at, now)) }
                                }
                                td { @if goes_on {
                                    (ask(who, &Ask {
                                        label: "Stop",
                                        to: &format!("{}/act", path(known)),
                                        called: super::called(known),
                                        about: "No further slot is started; its runs go on.",
                                        danger: true,
                                        fields: html! {
                                            input type="hidden" name="act" value="cancel_backfill";
                                            input type="hidden" name="number" value=(one.number);
                                        },
                                    }))
                                } }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn counts(known: &Known, chosen: &str) -> Markup {
    let path = path(known);
    html! {
        nav class="chips" aria-label="By outcome" {
            a href=(path) aria-current=[chosen.is_empty().then_some("true")] { "All" }
            @for (outcome, count) in &known.state().counts {
                @let word = outcome.as_str();
                a href={ (path) "?outcome=" (word) }
                    aria-current=[(word == chosen).then_some("true")] {
                    (words(word)) " " span class="num" { (count) }
                }
            }
        }
    }
}

fn table(occurrences: &[Occurrence], now: Millis) -> Markup {
    html! {
        @if occurrences.is_empty() { (parts::empty("None yet: each one is listed here, with what became of it and why", &html! {})) }
        @else {
            div class="table" {
                table class="stack" {
                    thead { tr {
                        th { "When" } th { "Outcome" } th { "Run" } th { "How" } th { "Why" }
                    } }
                    tbody {
                        @for one in occurrences {
                            tr data-key=(one.key) {
                                td class="nowrap" {
                                    (parts::time(one.at, now))
                                    @if one.count > 1 { " and " (one.count - 1) " more" }
                                }
                                td class={ "nowrap " (one.outcome.as_str()) } {
                                    (words(one.outcome.as_str()))
                                }
                                td class="nowrap" {
                                    @if let Some(run) = one.run { (parts::run_link(run)) " " }
                                    @if let Some(result) = one.result { (parts::run_status(result)) }
                                }
                                td class="dim spare" { (words(&how(one.origin))) }
                                td class="wide over" {
                                    @if let Some(reason) = &one.reason {
                                        span class="cut" { (prose::line(reason)) }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}
