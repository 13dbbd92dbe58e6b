//! The audit log: who did what, when and from where, and what it changed.

mod change;

use axum::extract::State;
use maud::{Markup, html};
use moa_core::ids::RunId;
use moa_core::time::Millis;
use moa_ports::audit::Phase;
use moa_view::audit::{self, Acts, Listed};
use moa_view::now;

use super::{Page, page, parts};
use crate::App;
use crate::api::audit::Filter;
use crate::api::window::Window;
use crate::auth::Identity;
use crate::error::Result;
use crate::extract::Query;

/// A list of so few acts shows at once what each has changed.
const OPEN_MAX: usize = 3;
/// What people filter by most: a name, an action, an outcome.
const USUAL: &[(&str, &str, &str)] = &[
    ("All", "", ""),
    ("Refused", "", "refused"),
    ("Runs", "run.*", ""),
    ("Triggers", "trigger.*", ""),
    ("Webhooks", "webhook.*", ""),
    ("Secrets", "secret.*", ""),
    ("Sign-ins", "sign_*", ""),
];

/// The log, the newest act first.
pub async fn show(
    State(app): State<App>,
    who: Identity,
    Query(mut asked): Query<Filter>,
) -> Result<Markup> {
    let views = &*app.reader().views;
    let (wanted, window) = asked.read()?;
    let mut found = audit::list(views, &wanted).await?;
    if asked.after.is_some() && found.newer.is_none() {
        // There are no newer ones: the page is filled up from the newest on.
        asked.after = None;
        found = audit::list(views, &audit::Filter { after: None, ..wanted }).await?;
    }
    let json = format!("/api/v1/audit{}", asked.query());
    let shown = Page {
        nav: "/audit",
        title: "Audit",
        json: Some(json),
        body: Some(body(&asked, window, &found, now())),
        ..Page::default()
    };
    Ok(page(&app, &who, shown))
}

/// The same filter without a place in the log.
fn anywhere(asked: &Filter) -> Filter {
    Filter { cursor: None, after: None, ..asked.clone() }
}

fn body(asked: &Filter, window: Window, found: &Acts, now: Millis) -> Markup {
    let is_short = found.acts.len() <= OPEN_MAX;
    let to = |filter: Filter| format!("/audit{}", filter.query());
    let is_filtered = !Filter { limit: None, ..anywhere(asked) }.query().is_empty();
    let at = |seq: u64| Some(window.cursor(seq));
    let older = found.older.map(|seq| to(Filter { cursor: at(seq), ..anywhere(asked) }));
    let newer = found.newer.map(|seq| to(Filter { after: at(seq), ..anywhere(asked) }));
    html! {
        (form(asked, is_filtered))
        (chips(asked))
        @if found.acts.is_empty() { (nothing(is_filtered, found)) }
        @else {
            div class="table" {
                table class="stack" {
                    thead { tr {
                        th { "When" } th { "What" } th { "Who" } th { "To what" } th { "Became" }
                        th class="num" { "Entry" }
                    } }
                    tbody { @for one in &found.acts { (row(one, is_short, now)) } }
                }
            }
        }
        @if older.is_some() || newer.is_some() {
            p class="more" {
                @if let Some(newer) = newer { a class="button" rel="prev" href=(newer) { "Newer" } }
                @if let Some(older) = older {
                    a class="button" rel="next" href=(older) {
                        @if found.acts.is_empty() { "Look through older entries" } @else { "Older" }
                    }
                }
            }
        }
        p class="dim" {
            "Each entry carries the hash of the one before. " code { "moa audit verify" }
            " checks all of them."
        }
    }
}

/// Says why nothing is listed.
fn nothing(is_filtered: bool, found: &Acts) -> Markup {
    if found.older.is_some() {
        let how = html! { "Older entries were not looked at yet." };
        return parts::empty("Nothing found so far", &how);
    }
    if is_filtered || found.newer.is_some() {
        return parts::empty("No such act", &html! { a href="/audit" { "All acts" } });
    }
    parts::empty(
        "Nothing is in the audit log yet",
        &html! {
            "What changes something is written there before it is done."
        },
    )
}

fn form(asked: &Filter, is_filtered: bool) -> Markup {
    let texts = [
        ("who", "Who", "Who", &asked.who),
        ("action", "What", "What: run.*", &asked.action),
        ("object", "To what", "To what", &asked.object),
        ("since", "Since", "Since: 2h", &asked.since),
        ("until", "Until", "Until: 1h", &asked.until),
    ];
    let outcome = asked.outcome.as_deref().unwrap_or_default();
    html! {
        form class="filter many" role="search" action="/audit" {
            @for (name, label, hint, value) in texts {
                label class="unseen" for=(name) { (label) }
                input id=(name) type="search" name=(name) value=[value.as_deref()]
                    placeholder=(hint) autocomplete="off";
            }
            label class="unseen" for="outcome" { "Became" }
            select id="outcome" name="outcome" {
                option value="" { "Any outcome" }
                @for (phase, name) in [
                    (Phase::Done, "Done"), (Phase::Refused, "Refused"), (Phase::Asked, "Not known"),
                ] {
                    option value=(phase.as_str()) selected[phase.as_str() == outcome] { (name) }
                }
            }
            button class="button" { "Filter" }
            @if is_filtered { a class="button quiet" href="/audit" { "Clear" } }
        }
    }
}

fn chips(asked: &Filter) -> Markup {
    let here = anywhere(asked).query();
    html! {
        nav class="chips" aria-label="Usual filters" {
            @for (name, action, outcome) in USUAL {
                @let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
                @let filter = Filter {
                    action: given(action), outcome: given(outcome), ..Filter::default()
                };
                @let query = filter.query();
                a href={ "/audit" (query) } aria-current=[(here == query).then_some("true")] { (name) }
            }
        }
    }
}

fn row(one: &Listed, is_open: bool, now: Millis) -> Markup {
    let Listed { head, asked, ended } = one;
    let change = change::of(one, is_open);
    html! {
        tr data-key=(head.seq) class=[change.is_some().then_some("with-detail")] {
            td class="nowrap" { (parts::time(asked.at, now)) }
            td { code { (parts::line(&asked.action)) } }
            td class="who-cell" {
                (parts::line(&asked.who)) div class="dim" { (parts::line(&asked.from)) }
            }
            td class="over" { (object(one.object())) }
            td class="over" {
                (outcome(one.outcome()))
                @if let Some(error) = ended.as_ref().and_then(|act| act.error.as_ref()) {
                    div class="error cut" { (parts::line(error)) }
                }
            }
            td class="num spare" title=(head.hash) { (head.seq) }
        }
        @if let Some(change) = change {
            tr class="detail" data-key={ (head.seq) " detail" } { td colspan="6" class="over" { (change) } }
        }
    }
}

/// What it was done to, with a link where it is a run.
fn object(object: &str) -> Markup {
    match object.parse::<RunId>() {
        Ok(run) => {
            html! { a class="id" href=(parts::run_path(run)) title=(run) { "run " (run.short()) } }
        }
        Err(_) => html! { span class="cut" { (parts::line(object)) } },
    }
}

fn outcome(phase: Phase) -> Markup {
    match phase {
        Phase::Done => parts::status("done", "✓"),
        Phase::Refused => parts::status("refused", "✗"),
        Phase::Asked => html! {
            span title="It goes on just now, or moa was ended in the middle: it may be done or not" {
                (parts::status("asked", "?"))
            }
        },
    }
}
