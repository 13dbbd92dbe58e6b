//! The dashboard: pages rendered here, one file for each, and the table of their routes.
//!
//! A new page is a file with a handler, a line in [`add`], and one in [`NAV`] if people go there from
//! everywhere. Every page shows what a call of the API answers. Scripts and styles are files of
//! [`assets`]: nothing stands in a page, so the policy forbids it.

pub mod assets;
pub mod home;
pub mod sign_in;

use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use maud::{DOCTYPE, Markup, html};

use crate::App;
use crate::auth::role::Access::{Least, Public};
use crate::auth::role::Role::Viewer;
use crate::auth::{CSRF_FIELD, Identity};
use crate::error::Problem;
use crate::routes::Routes;

/// The pages that every page leads to: path and title.
pub const NAV: &[(&str, &str)] = &[("/", "Overview")];

/// The routes of pages, each with who may see it.
#[rustfmt::skip]
pub fn add(routes: Routes) -> Routes {
    routes
        .page(Public, "GET", "/sign-in", get(sign_in::show))
        .page(Public, "POST", "/sign-in", post(sign_in::sign_in))
        .page(Least(Viewer), "POST", "/sign-out", post(sign_in::sign_out))
        .page(Public, "GET", "/assets/{name}", get(assets::get))
        .page(Least(Viewer), "GET", "/", get(home::show))
        .page(Least(Viewer), "GET", "/dashboard", get(home::show))
}

/// A page of the dashboard, as somebody sees it.
pub fn page(app: &App, who: &Identity, path: &str, title: &str, body: &Markup) -> Markup {
    let nav = html! {
        nav aria-label="Pages" {
            @for (to, name) in NAV {
                a href=(to) aria-current=[(*to == path).then_some("page")] { (name) }
            }
        }
        form class="who" method="post" action="/sign-out" {
            span { (who.name) " · " (who.role) }
            (csrf(who))
            button { "Sign out" }
        }
    };
    shell(app.project(), title, who.csrf(), &nav, body)
}

/// What a form needs that changes something.
pub fn csrf(who: &Identity) -> Markup {
    html! {
        @if let Some(csrf) = who.csrf() {
            input type="hidden" name=(CSRF_FIELD) value=(csrf);
        }
    }
}

/// What every page has around it. `csrf` is for scripts.
fn shell(project: &str, title: &str, csrf: Option<&str>, head: &Markup, body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                @if let Some(csrf) = csrf { meta name="csrf" content=(csrf); }
                title { (title) " · " (project) }
                link rel="stylesheet" href="/assets/moa.css";
                link rel="icon" href="/assets/moa.svg" type="image/svg+xml";
            }
            body {
                header { a class="mark" href="/" { "moa" } span class="project" { (project) } (head) }
                main { h1 { (title) } (body) }
            }
        }
    }
}

/// A problem as a page.
pub fn problem(problem: &Problem, request: &str) -> Response {
    let body = html! {
        p { (problem.detail) }
        @if let Some(place) = &problem.place { p { code { (place) } } }
        @if let Some(text) = &problem.text { pre { (text) } }
        @if !problem.hints.is_empty() {
            ul { @for hint in &problem.hints { li { (hint) } } }
        }
        p class="dim" { code { (problem.code.as_str()) } " · request " code { (request) } }
    };
    let page = shell("moa", problem.code.title(), None, &html! {}, &body);
    (problem.code.status(), page).into_response()
}
