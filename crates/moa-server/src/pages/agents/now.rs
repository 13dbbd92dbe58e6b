//! What runs of an agent right now, and how its addresses are.

use maud::{Markup, html};
use moa_core::time::Millis;
use moa_view::fleet::{AgentNow, Endpoint, Health, Instance};

use crate::auth::Identity;
use crate::auth::scope::Resource;
use crate::pages::parts;
use crate::pages::run::step;

/// Attempts that are shown; the page's JSON has all of them.
const SHOWN: usize = 50;

/// Its attempts that run.
pub fn instances(who: &Identity, known: Option<&AgentNow>, now: Millis) -> Markup {
    let all = known.map(|known| known.instances.as_slice()).unwrap_or_default();
    html! {
        section class="card" id="instances" {
            h2 { "Instances" span class="dim" { (all.len()) " at work" } }
            @if all.is_empty() {
                p class="dim" { "Nothing of it runs just now. Each attempt that does is listed here, with its \
                    process." }
            } @else {
                div class="table" {
                    table class="stack" {
                        thead { tr {
                            th { "Step" } th class="num" { "Attempt" } th { "Action" }
                            th class="num" { "Runs for" } th { "Process" } th { "Node" }
                        } }
                        tbody { @for one in all.iter().take(SHOWN) { (row(who, one, now)) } }
                    }
                }
                @if all.len() > SHOWN { p class="dim" { "… and " (all.len() - SHOWN) " more" } }
            }
        }
    }
}

fn row(who: &Identity, one: &Instance, now: Millis) -> Markup {
    let seen = who.sees(Resource::Runs, Some(one.workflow.as_str()));
    let key =
        if seen { format!("{} {} {}", one.run, one.step, one.attempt) } else { String::new() };
    html! {
        tr data-key=(key) data-to=[seen.then(|| step::path(one.run, &one.step))] {
            td {
                @if seen {
                    (parts::run_link(one.run)) " " (one.workflow) " / "
                    a href=(step::path(one.run, &one.step)) { (parts::line(&one.step)) }
                } @else { span class="dim" { "a run that your token doesn't reach" } }
            }
            td class="num spare" { (one.attempt) }
            td class="spare" { code { (parts::line(&one.action)) } }
            td class="num" { (parts::took(Some(one.since), None, now)) }
            td { @match one.pid {
                Some(pid) => { "pid " code { (pid) } },
                None => span class="dim" { "–" },
            } }
            td class="dim spare" title="The node that makes it" { (parts::line(&one.node)) }
        }
    }
}

/// Its addresses, where it has any. One may hold a password, so its host is shown alone.
pub fn endpoints(known: Option<&AgentNow>, now: Millis) -> Markup {
    let all = known.map(|known| known.endpoints.as_slice()).unwrap_or_default();
    html! {
        @if !all.is_empty() {
            section class="card" id="endpoints" {
                h2 { "Endpoints" }
                table class="stack" {
                    thead { tr { th { "Host" } th { "Health" } th class="num" { "Calls now" } } }
                    tbody {
                        @for (i, one) in all.iter().enumerate() {
                            tr data-key={ "endpoint " (i) } {
                                td class="wide over" { code { (parts::line(&moa_view::agent::address(&one.url))) } }
                                td { (health(one, now)) }
                                td class="num spare" { (one.calls) }
                            }
                        }
                    }
                }
                p class="dim" {
                    "The least loaded one that is not out is called. What is known of one is what the calls of \
                     this node showed since it started; one that can't be reached is left out for a while."
                }
            }
        }
    }
}

fn health(one: &Endpoint, now: Millis) -> Markup {
    let (word, sign) = match one.health {
        Health::Untried => ("untried", "○"),
        Health::Ok => ("ok", "✓"),
        Health::Out => ("out", "✗"),
        Health::Failed => ("failed", "✗"),
    };
    html! {
        (parts::status(word, sign))
        @if let Some(until) = one.out_until { " " span class="dim" { "tried again " (parts::time(until, now)) } }
    }
}
