//! An agent's budget on its page: how it stands, and the button that grants more.

use maud::{Markup, html};
use moa_core::agent::AgentSpec;
use moa_core::limit::{LimitState, OnExceed, Usage};
use moa_core::time::Millis;

use super::{Ask, Asked, ask, parts};
use crate::App;
use crate::api::agents::budget::give;
use crate::auth::Identity;
use crate::auth::tokens::random_hex;
use crate::error::{Problem, Result};

/// Whether it is used up, and what that means.
pub fn note(spec: &AgentSpec, used: &LimitState, now: Millis) -> Markup {
    let budget = spec.limits.budget.as_ref();
    let stands = used.budget_now(&spec.limits, now);
    let full = stands.as_ref().and_then(|stands| Some((stands.full()?, stands.resets_at)));
    html! {
        @if let (Some(budget), Some((share, resets_at))) = (budget, full) {
            div class="note wait" {
                "Its budget is used up: " (share.unit.amount(share.used)) " of "
                (share.unit.amount(share.of)) " " (share.unit) " are spent. "
                @match budget.on_exceed {
                    OnExceed::Pause => "Its tasks wait ",
                    OnExceed::Fail => "Its attempts fail ",
                    OnExceed::Ask => "Its tasks wait for somebody who grants more, or ",
                }
                "until " (parts::time(resets_at, now)) "."
            }
        }
    }
}

/// What stands beneath the numbers of a budget.
pub fn words(spec: &AgentSpec, used: &LimitState, now: Millis) -> Markup {
    let stands = used.budget_now(&spec.limits, now);
    let granted = |share: &moa_core::limit::Share| {
        let amount = share.unit.amount(share.granted);
        (share.granted > 0).then(|| format!(" {amount} {} of it were granted.", share.unit))
    };
    html! {
        @if let (Some(budget), Some(stands)) = (&spec.limits.budget, stands) {
            p class="dim" {
                "Spent in this window of the calendar, which ends " (parts::time(stands.resets_at, now)) ". "
                @match budget.on_exceed {
                    OnExceed::Pause => "Once it is used up, tasks wait for the next.",
                    OnExceed::Fail => "Once it is used up, attempts fail.",
                    OnExceed::Ask => "Once it is used up, tasks wait until a person grants more, or for the next.",
                }
                @for words in stands.shares.iter().filter_map(granted) { (words) }
            }
        }
    }
}

/// The button that grants more.
pub fn button(who: &Identity, spec: &AgentSpec) -> Markup {
    let Some(budget) = &spec.limits.budget else { return html! {} };
    let to = format!("/agents/{}/act", spec.id);
    ask(
        who,
        &Ask {
            label: "Grant more",
            to: &to,
            called: None,
            about: "Adds to its budget until the window of the calendar ends. Tasks that wait for it \
                    start at once.",
            danger: false,
            fields: html! {
                input type="hidden" name="act" value="grant";
                // Sent twice, it is one grant.
                input type="hidden" name="key" value=(random_hex::<12>());
                @if budget.usd.is_some() {
                    div class="field" {
                        label for="grant-usd" { "US dollars" }
                        input id="grant-usd" name="usd" inputmode="decimal" maxlength="40"
                            placeholder="5.00" autocomplete="off";
                    }
                }
                @if budget.tokens.is_some() {
                    div class="field" {
                        label for="grant-tokens" { "Tokens" }
                        input id="grant-tokens" name="tokens" inputmode="numeric" maxlength="20"
                            placeholder="100000" autocomplete="off";
                    }
                }
            },
        },
    )
}

/// Grants what was typed.
///
/// # Errors
/// It is no amount; see [`give`].
pub async fn grant(app: &App, spec: &AgentSpec, asked: &Asked) -> Result<()> {
    let (usd, tokens) = (asked.usd.trim(), asked.tokens.trim());
    let given = |text: &str| if text.is_empty() { "0".to_owned() } else { text.to_owned() };
    let usd = given(usd).parse().map_err(Problem::invalid)?;
    let wrong = |_| Problem::invalid(format!("{tokens:?} is not a number of tokens"));
    let key = (!asked.key.is_empty()).then(|| format!("form-{}", asked.key));
    give(app, spec, Usage { usd, tokens: given(tokens).parse().map_err(wrong)? }, key).await
}
