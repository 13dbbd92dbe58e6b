//! Two runs beside each other: what each step did in one and in the other.

use std::collections::BTreeMap;

use axum::extract::State;
use maud::{Markup, html};
use moa_core::machine::Run;
use moa_core::run::StepRow;
use moa_ports::views::RunFilter;
use serde::Deserialize;

use super::{Shown, frame, step, steps};
use crate::App;
use crate::auth::Identity;
use crate::auth::scope::Resource;
use crate::error::Result;
use crate::extract::{Path, Query};
use crate::pages::parts;

/// Steps listed.
const ROWS: usize = 300;
/// Older runs offered.
const OFFERED: usize = 10;

/// With which one.
#[derive(Debug, Default, Deserialize)]
pub struct Other {
    #[serde(default)]
    with: String,
}

/// The comparison.
pub async fn show(
    State(app): State<App>,
    who: Identity,
    Path(run): Path<String>,
    Query(other): Query<Other>,
) -> Result<Markup> {
    let shown = Shown::find(&app, &run, None).await?;
    let filter = RunFilter {
        workflow: Some(shown.run.row.workflow.clone()),
        before: Some(shown.id()),
        limit: OFFERED,
        ..RunFilter::default()
    };
    let older = app.reader().views.runs(&filter).await?;
    let usual = shown.run.row.extra.forked_from.or(older.first().map(|run| run.run));
    let with = match (other.with.trim(), usual) {
        ("", None) => None,
        ("", Some(usual)) => Some(app.reader().run(usual).await?),
        (given, _) => {
            let other = app.reader().run(app.reader().find(given).await?).await?;
            who.must_see(Resource::Runs, other.row.workflow.as_str())?;
            Some(other)
        }
    };
    let body = html! {
        form class="filter" action={ (parts::run_path(shown.id())) "/compare" } {
            label for="with" { "With run" }
            input id="with" name="with" list="older" autocomplete="off"
                value=[with.as_ref().map(|run| run.row.run)] size="38";
            datalist id="older" {
                @for run in &older { option value=(run.run) { (run.status.as_str()) } }
            }
            button class="button" { "Compare" }
        }
        @match &with {
            None => (parts::empty("There is no older run of this workflow", &html! {})),
            Some(with) => (table(&shown, with)),
        }
    };
    Ok(frame(&app, &who, &shown, "/compare", body))
}

fn table(shown: &Shown, with: &Run) -> Markup {
    let ours: Vec<(String, &StepRow)> = named(&shown.run);
    let mut theirs: BTreeMap<String, &StepRow> = named(with).into_iter().collect();
    let rows: Vec<(String, Option<&StepRow>, Option<&StepRow>)> = ours
        .into_iter()
        .map(|(name, row)| {
            let other = theirs.remove(&name);
            (name, Some(row), other)
        })
        .collect();
    let gone = theirs.into_iter().map(|(name, row)| (name, None, Some(row)));
    let rows: Vec<_> = rows.into_iter().chain(gone).collect();
    let same_params = shown.run.row.params == with.row.params;
    let same_version = shown.run.row.hash == with.row.hash;
    html! {
        dl class="facts" {
            div { dt { "Other run" } dd {
                (parts::run_link(with.row.run)) " " (parts::run_status(with.row.status))
            } }
            div { dt { "Params" } dd { @if same_params { "the same" } @else { strong { "differ" } } } }
            div { dt { "Version" } dd {
                @if same_version { "the same" } @else {
                    a href={ "/workflows/" (with.row.workflow) "/versions?from=" (with.row.hash)
                        "&to=" (shown.run.row.hash) } { "differs" }
                }
            } }
        }
        @if !same_params {
            div class="columns" {
                section class="card" { h2 { "Params here" } (parts::value(&shown.run.row.params)) }
                section class="card" { h2 { "Params there" } (parts::value(&with.row.params)) }
            }
        }
        div class="table" {
            table {
                thead { tr {
                    th { "Step" } th { "Here" } th class="num" { "Took" } th { "There" }
                    th class="num" { "Took" } th { "Output" }
                } }
                tbody {
                    @for (name, here, there) in rows.iter().take(ROWS) {
                        tr class=[is_other(*here, *there).then_some("here")] {
                            td { a href=(step::path(shown.id(), name)) { (name) } }
                            (cells(shown, *here)) (cells(shown, *there))
                            td { (output(*here, *there)) }
                        }
                    }
                }
            }
        }
        @if rows.len() > ROWS { p class="dim" { "… and " (rows.len() - ROWS) " more" } }
    }
}

fn named(run: &Run) -> Vec<(String, &StepRow)> {
    steps::ordered(run).into_iter().map(|(_, row)| (run.step_name(row.inst), row)).collect()
}

fn is_other(here: Option<&StepRow>, there: Option<&StepRow>) -> bool {
    here.map(|row| row.status) != there.map(|row| row.status)
}

fn cells(shown: &Shown, row: Option<&StepRow>) -> Markup {
    html! {
        @match row {
            None => { td class="dim" { "not there" } td {} },
            Some(row) => {
                td { (parts::step_status(row.status)) }
                td class="num" { (parts::took(row.started_at, row.finished_at, shown.now)) }
            },
        }
    }
}

fn output(here: Option<&StepRow>, there: Option<&StepRow>) -> Markup {
    let of = |row: Option<&StepRow>| row.and_then(|row| row.output.clone());
    html! {
        @match (of(here), of(there)) {
            (None, None) => {},
            (one, other) if one == other => span class="dim" { "the same" },
            _ => "differs",
        }
    }
}
