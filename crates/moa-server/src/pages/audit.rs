//! The audit log: who did what, when and from where.

use axum::extract::State;
use maud::{Markup, html};
use moa_core::time::Millis;
use moa_ports::audit::{Act, AuditEntry};
use moa_view::now;
use serde::Deserialize;

use super::{Page, page, parts};
use crate::App;
use crate::auth::Identity;
use crate::error::Result;
use crate::extract::Query;

/// Entries of a page.
const ENTRIES: u64 = 100;

/// Which part.
#[derive(Debug, Default, Deserialize)]
pub struct Part {
    /// Before this entry.
    #[serde(default)]
    before: Option<u64>,
}

/// The log, the newest entry first.
pub async fn show(
    State(app): State<App>,
    who: Identity,
    Query(part): Query<Part>,
) -> Result<Markup> {
    let views = &app.reader().views;
    let newest = views.audit_head().await?.map_or(0, |head| head.seq);
    let upto = part.before.map_or(newest, |before| before.saturating_sub(1).min(newest));
    let after = upto.saturating_sub(ENTRIES);
    let mut entries = views.audit(after, (upto - after) as usize).await?;
    // Where the beginning was removed, others come in its place.
    entries.retain(|entry| entry.seq <= upto);
    let now = now();
    let body = html! {
        @if entries.is_empty() {
            (parts::empty("Nothing is in the audit log yet", &html! {
                "What changes something is written there before it is done."
            }))
        } @else {
            p class="dim" {
                "Each entry carries the hash of the one before. " code { "moa audit verify" }
                " checks all of them."
            }
            div class="table" {
                table class="stack" {
                    thead { tr {
                        th { "When" } th { "What" } th { "Who" } th { "To what" } th { "Became" }
                        th class="num" { "Entry" }
                    } }
                    tbody { @for entry in entries.iter().rev() { (row(entry, now)) } }
                }
            }
        }
        @if after > 0 {
            p { a class="button" href={ "/audit?before=" (after + 1) } { "Older entries" } }
        }
    };
    let shown = Page { nav: "/audit", title: "Audit", body: Some(body), ..Page::default() };
    Ok(page(&app, &who, shown))
}

fn row(entry: &AuditEntry, now: Millis) -> Markup {
    let act = serde_json::from_str::<Act>(&entry.body).ok();
    html! {
        tr data-key=(entry.seq) {
            @match act {
                Some(act) => {
                    td class="nowrap" { (parts::time(act.at, now)) }
                    td { code { (parts::line(&act.action)) } }
                    td { (parts::line(&act.who)) div class="dim" { (parts::line(&act.from)) } }
                    td { (parts::line(&act.object)) }
                    td class="wide over" {
                        (act.phase.as_str())
                        @if let Some(error) = &act.error {
                            ": " span class="error cut" { (parts::line(error)) }
                        }
                    }
                },
                None => { td colspan="5" { code { (parts::line(&entry.body)) } } },
            }
            td class="num spare" title=(entry.hash) { (entry.seq) }
        }
    }
}
