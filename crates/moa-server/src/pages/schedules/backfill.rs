//! Starting slots of the past: first what would be started, then the button.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};
use moa_core::limits::{BACKFILL_AT_ONCE_MAX, BACKFILL_SLOTS_MAX};
use moa_core::schedule::{Reprocess, Slot, Timetable};
use moa_core::time::Millis;
use moa_core::trigger::{BackfillRequest, Occurrence, TriggerCommand, starts_again};
use moa_ports::triggers::OccurrenceFilter;
use moa_view::trigger::{Known, instant};
use moa_view::{now, text};
use serde::Deserialize;
use url::form_urlencoded;

use super::{path, words};
use crate::App;
use crate::api::triggers::change::must_start;
use crate::api::triggers::find;
use crate::auth::Identity;
use crate::auth::tokens::random_hex;
use crate::error::{Problem, Result};
use crate::extract::{Form, Path, Query};
use crate::pages::{Page, page, parts};

/// Slots listed.
const SLOTS: usize = 100;
/// Records read at once.
const ROWS: usize = 1000;

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
    key: Option<String>,
}

/// The form, and what it would do.
pub async fn show(
    State(app): State<App>,
    who: Identity,
    Path(name): Path<String>,
    Query(range): Query<Range>,
) -> Result<Markup> {
    let known = find(&app, &name).await?;
    let table = known.table()?;
    let asked = !range.from.is_empty() && !range.to.is_empty();
    let body = html! {
        p class="dim" {
            "Slots of the range are started with low priority, beside what is due now. The range begins "
            "with the first instant and ends before the second; local times are those of "
            (table.schedule().zone.name()) "."
        }
        (form(&known, &range))
        @if asked { (dry_run(&app, &who, &known, &table, &range).await?) }
    };
    let title = format!("Backfill {}", known.spec.title());
    let above = vec![("/schedules".into(), "Schedules".into()), (path(&known), known.spec.title())];
    let json = format!("/api/v1/triggers/{}", known.spec.title().replace('/', "%2F"));
    let json = match asked {
        // What became of the slots of the range tells which of them would be started.
        true => format!("{json}/slots?{}&limit={ROWS}", range_query(&range)),
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

fn range_query(range: &Range) -> String {
    let pairs = [("from", &range.from), ("to", &range.to)];
    form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
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
            p { label {
                input type="checkbox" name="reverse" value="true" checked[range.reverse];
                " From the newest slot to the oldest"
            } }
            button class="button" { "Show what would be started" }
        }
    }
}

async fn dry_run(
    app: &App,
    who: &Identity,
    known: &Known,
    table: &Timetable,
    range: &Range,
) -> Result<Markup> {
    let (from, to) = limits(table, range)?;
    // What has not been judged yet is the schedule's own.
    let mark = known.state().schedule.map_or(now(), |state| state.mark).min(now());
    let to = to.min(Millis(mark.0 + 1));
    let most = BACKFILL_SLOTS_MAX as u64;
    let counted = table.count_up_to(from..to.max(from), most);
    if counted.on > most || counted.off > most * 100 {
        let text = format!("the range has more than {most} slots, which are the most");
        return Err(Problem::invalid(text).hint("choose a shorter range"));
    }
    let records = records(app, known, from, to).await?;
    let judged: Vec<(Slot, Option<&Occurrence>, bool)> = table
        .slots(from..to)
        .map(|slot| {
            let record = records.get(&slot.at);
            let starts = record.is_none_or(|record| starts_again(record, range.reprocess));
            (slot, record, starts)
        })
        .collect();
    let starts = judged.iter().filter(|(.., starts)| *starts).count();
    Ok(html! {
        section class="card" {
            h2 { (starts) " of " (text::plural(judged.len(), "slot")) " would be started" }
            @if starts > 0 {
                @let to = format!("{}/backfill", path(known));
                (parts::form(who, (&to, super::called(known)), None, &html! {
                    input type="hidden" name="key" value=(random_hex::<8>());
                    input type="hidden" name="from" value=(range.from);
                    input type="hidden" name="to" value=(range.to);
                    input type="hidden" name="reprocess" value=(reprocess_word(range.reprocess));
                    input type="hidden" name="at_once" value=(range.at_once.unwrap_or(1));
                    input type="hidden" name="reverse" value=(range.reverse);
                    p { button class="button primary" { "Start them" } }
                }))
            }
            table {
                thead { tr { th { "Slot" } th { "Would" } th { "Had" } } }
                tbody {
                    @for (slot, record, starts) in judged.iter().take(SLOTS) {
                        tr {
                            td class="mono nowrap" { (table.local(*slot)) }
                            td { @if *starts { span class="succeeded" { "start" } }
                                @else { span class="dim" { "pass" } } }
                            td { @if let Some(record) = record {
                                (words(record.outcome.as_str())) " "
                                @if let Some(run) = record.run { (parts::run_link(run)) " " }
                                @if let Some(result) = record.result { (parts::run_status(result)) }
                            } }
                        }
                    }
                }
            }
            @if judged.len() > SLOTS { p class="dim" { "… and " (judged.len() - SLOTS) " more" } }
        }
    })
}

fn reprocess_word(reprocess: Reprocess) -> &'static str {
    match reprocess {
        Reprocess::None => "none",
        Reprocess::Failed => "failed",
        Reprocess::All => "all",
    }
}

fn limits(table: &Timetable, range: &Range) -> Result<(Millis, Millis)> {
    let zone = &table.schedule().zone;
    let (from, to) = (instant(&range.from, zone)?, instant(&range.to, zone)?);
    match from < to {
        true => Ok((from, to)),
        false => Err(Problem::invalid(format!("the range ends at {to}, before it begins"))),
    }
}

/// Records of single slots of a range.
async fn records(
    app: &App,
    known: &Known,
    from: Millis,
    to: Millis,
) -> Result<BTreeMap<Millis, Occurrence>> {
    let (mut records, mut after) = (BTreeMap::new(), None);
    loop {
        let (from, to) = (Some(from), Some(to));
        let filter =
            OccurrenceFilter { from, to, after, limit: ROWS, ..OccurrenceFilter::default() };
        let page = app.reader().views.occurrences(known.spec.id(), &filter).await?;
        after = page.last().map(|o| (o.at, o.key.clone()));
        let done = page.len() < ROWS;
        let single = page.into_iter().filter(|o| o.key == o.at.to_string());
        records.extend(single.map(|o| (o.at, o)));
        if done {
            return Ok(records);
        }
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
    let (from, to) = limits(&known.table()?, &range)?;
    let at_once = range.at_once.unwrap_or(1);
    if !(1..=BACKFILL_AT_ONCE_MAX).contains(&at_once) {
        let text = format!("runs at once are from 1 to {BACKFILL_AT_ONCE_MAX}");
        return Err(Problem::invalid(text));
    }
    let request = BackfillRequest {
        key: range.key.unwrap_or_else(random_hex::<8>),
        from,
        to,
        reverse: range.reverse,
        at_once,
        reprocess: range.reprocess,
        forgotten: false,
        priority: None,
        by: who.cause(),
    };
    app.control().trigger(known.spec.id(), TriggerCommand::Backfill(request)).await?;
    Ok(Redirect::to(&path(&known)).into_response())
}
