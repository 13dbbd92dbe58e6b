//! Trying an agent by a form, and what came of it.

use axum::extract::State;
use maud::{Markup, html};
use moa_core::agent::AgentSpec;
use moa_view::{now, text};
use serde::Deserialize;
use serde_json::{Map, Value as Json};

use super::tested;
use crate::App;
use crate::api::agents::test::{NewTest, asked};
use crate::auth::Identity;
use crate::error::{Problem, Result};
use crate::extract::{Form, Path};
use crate::pages::parts::{self, Ask, ask};
use crate::pages::{Page, page};

/// The button, with what it asks.
pub fn button(who: &Identity, spec: &AgentSpec) -> Markup {
    let to = format!("/agents/{}/test", spec.id);
    let fields = html! {
        div class="field" {
            label for="test-action" { "Action" }
            @if spec.actions.is_empty() {
                input id="test-action" name="action" required autocomplete="off";
            } @else {
                select id="test-action" name="action" {
                    @for name in spec.actions.keys() { option value=(name) { (parts::line(name)) } }
                }
            }
        }
        div class="field" {
            label for="test-params" { "Params " span class="dim" { "as JSON" } }
            textarea id="test-params" name="params" rows="4" spellcheck="false" { "{}" }
        }
    };
    ask(
        who,
        &Ask {
            label: "Test",
            to: &to,
            called: None,
            about: "One attempt outside of any run, of 30 seconds at most. It is a real one: what the \
            agent does is done.",
            danger: false,
            fields,
        },
    )
}

/// What the form says.
#[derive(Debug, Deserialize)]
pub struct Fields {
    action: String,
    #[serde(default)]
    params: String,
}

/// Tests an agent, and shows what came of it.
pub async fn act(
    State(app): State<App>,
    who: Identity,
    Path(agent): Path<String>,
    Form(fields): Form<Fields>,
) -> Result<Markup> {
    let params: Map<String, Json> = match fields.params.trim() {
        "" => Map::new(),
        given => serde_json::from_str(given)
            .map_err(|e| Problem::invalid(format!("the params are no JSON object: {e}")))?,
    };
    let new = NewTest { action: Some(fields.action), params, timeout: None };
    let done = app.control().test_agent(asked(&app, &who, &agent, new).await?).await?;
    let body = html! {
        div class="cards" { (tested(&done.last, now())) }
        @if let Some(after) = done.again_after {
            p { "It wants to be asked again after " (text::duration(after)) "." }
        }
        @if let Some(output) = &done.output {
            section class="card" { h2 { "Output" } (parts::value(output)) }
        }
        @if !done.log.is_empty() {
            section class="card" {
                h2 { "What it wrote" }
                @if done.log_cut { p class="dim" { "Only the end of it." } }
                pre class="log" tabindex="0" { (text::safe(&done.log)) }
            }
        }
        p { a class="button" href={ "/agents/" (agent) } { "Back to the agent" } }
    };
    let shown = Page {
        nav: "/agents",
        title: "Test",
        above: vec![
            ("/agents".into(), "Agents".into()),
            (format!("/agents/{agent}"), agent.clone()),
        ],
        body: Some(body),
        ..Page::default()
    };
    Ok(page(&app, &who, shown))
}
