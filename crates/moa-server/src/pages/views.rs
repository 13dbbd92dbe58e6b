//! Saved views above the list of runs, and the forms that save and forget one.

use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};
use serde::Deserialize;
use url::form_urlencoded;

use super::parts::{self, Ask, ask};
use crate::App;
use crate::api::views::{NAME_CHARS_MAX, ViewFilter, all, save};
use crate::auth::Identity;
use crate::error::Result;
use crate::extract::Form;

/// The page of a filter.
pub fn path(filter: &ViewFilter) -> String {
    format!("/runs{}", query(filter, ""))
}

/// The query of a filter, and of the page behind a run.
pub fn query(filter: &ViewFilter, cursor: &str) -> String {
    let ViewFilter { status, workflow, q, parent } = filter;
    let pairs = [("status", &**status), ("workflow", workflow), ("parent", parent), ("q", q)];
    let pairs = pairs.into_iter().chain([("cursor", cursor)]);
    let given = pairs.filter(|(_, value)| !value.is_empty());
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(given).finish();
    if query.is_empty() { query } else { format!("?{query}") }
}

/// The views, with what can be done about the one that is shown.
///
/// # Errors
/// They can't be read.
pub async fn chips(app: &App, who: &Identity, shown: &ViewFilter) -> Result<Markup> {
    let all = all(app).await?;
    let may = who.may_ask("POST", "/runs/views", None);
    let here = all.iter().find(|view| view.filter == *shown);
    Ok(html! {
        @if !all.is_empty() || may && *shown != ViewFilter::default() {
            nav class="chips" aria-label="Saved views" data-key="views" {
                @for view in &all {
                    a href=(path(&view.filter)) title={ "saved by " (view.by) }
                        aria-current=[(view.filter == *shown).then_some("true")] {
                        (parts::line(&view.view))
                    }
                }
                @if may {
                    @match here {
                        Some(view) => (forget(who, &view.view)),
                        None => @if *shown != ViewFilter::default() { (keep(who, shown)) },
                    }
                }
            }
        }
    })
}

fn keep(who: &Identity, shown: &ViewFilter) -> Markup {
    let ViewFilter { status, workflow, q, parent } = shown;
    let hidden = [("status", status), ("workflow", workflow), ("q", q), ("parent", parent)];
    let fields = html! {
        @for (name, value) in hidden { input type="hidden" name=(name) value=(value); }
        div class="field" {
            label for="view-name" { "Name" }
            input id="view-name" name="view" required maxlength=(NAME_CHARS_MAX) autocomplete="off";
        }
    };
    ask(
        who,
        &Ask {
            label: "Save this view",
            to: "/runs/views",
            called: None,
            about: "Everybody who looks at this list sees it there.",
            danger: false,
            fields,
        },
    )
}

fn forget(who: &Identity, view: &str) -> Markup {
    ask(
        who,
        &Ask {
            label: "Delete this view",
            to: "/runs/views/delete",
            called: None,
            about: "It goes for everybody; the runs stay.",
            danger: true,
            fields: html! { input type="hidden" name="view" value=(view); },
        },
    )
}

/// What the form says.
#[derive(Debug, Deserialize)]
pub struct Fields {
    view: String,
    #[serde(default)]
    status: String,
    #[serde(default)]
    workflow: String,
    #[serde(default)]
    q: String,
    #[serde(default)]
    parent: String,
}

/// Saves a view.
pub async fn put(
    State(app): State<App>,
    who: Identity,
    Form(fields): Form<Fields>,
) -> Result<Response> {
    let Fields { view, status, workflow, q, parent } = fields;
    let filter = ViewFilter { status, workflow, q, parent };
    let to = path(&filter);
    save(&app, &who, &view, filter).await?;
    Ok(Redirect::to(&to).into_response())
}

/// Forgets a view.
pub async fn delete(State(app): State<App>, Form(fields): Form<Fields>) -> Result<Response> {
    app.control().delete_view(fields.view).await?;
    Ok(Redirect::to("/runs").into_response())
}
