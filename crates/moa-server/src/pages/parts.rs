//! Pieces that many pages share: statuses, instants, links, questions before something changes.
//!
//! Whatever comes from users, agents and files is text here: maud escapes it, and what turns the
//! reading direction is made visible. Colour never says anything alone: each status has its sign
//! and its word.

use maud::{Markup, html};
use moa_core::ids::RunId;
use moa_core::run::RunStatus;
use moa_core::step::StepStatus;
use moa_core::time::{Millis, Span};
use moa_view::text;
use serde_json::Value as Json;

use crate::auth::{CSRF_FIELD, Identity};

/// Characters of a value shown at once; its document has all of it.
const VALUE_CHARS_MAX: usize = 20_000;

/// Bars that a chart has room for, at the least.
const BARS_MIN: usize = 40;

/// A button that downloads something; nothing for who would be refused.
pub fn download(
    who: &Identity,
    (from, called): (&str, Option<&str>),
    file: &str,
    label: &str,
) -> Markup {
    html! {
        @if who.may_ask("GET", from, called) {
            a class="button" href=(from) download=(file) { (label) }
        }
    }
}

/// A status with its sign.
pub fn status(word: &str, sign: &str) -> Markup {
    html! {
        span class={ "status " (word) } { span class="sign" aria-hidden="true" { (sign) } (word) }
    }
}

/// The status of a run.
pub fn run_status(status: RunStatus) -> Markup {
    self::status(status.as_str(), run_sign(status))
}

/// The status of a step.
pub fn step_status(status: StepStatus) -> Markup {
    self::status(status.as_str(), moa_view::sign(status).0)
}

/// The sign of a run's status.
pub fn run_sign(status: RunStatus) -> &'static str {
    match status {
        RunStatus::Pending => "○",
        RunStatus::Running => "●",
        RunStatus::Waiting => "◷",
        RunStatus::Paused => "‖",
        RunStatus::Succeeded => "✓",
        RunStatus::Failed => "✗",
        RunStatus::Cancelled => "⊘",
    }
}

/// An instant as people say it; the exact one on hover.
pub fn time(at: Millis, now: Millis) -> Markup {
    html! { time datetime=(at) title=(at) data-at=(at.0) { (text::relative(at, now)) } }
}

/// An instant that may be missing.
pub fn time_or_dash(at: Option<Millis>, now: Millis) -> Markup {
    html! {
        @match at { Some(at) => (time(at, now)), None => span class="dim" { "–" } }
    }
}

/// How long something took, or has taken so far; then a script counts on.
pub fn took(start: Option<Millis>, end: Option<Millis>, now: Millis) -> Markup {
    html! {
        @match (start, end) {
            (None, _) => span class="dim" { "–" },
            (Some(start), Some(end)) => (text::duration(end.since(start))),
            (Some(start), None) => span data-since=(start.0) title={ "since " (start) } {
                (text::duration(Span(now.since(start).0 / 1000 * 1000)))
            },
        }
    }
}

/// The path of a run's page.
pub fn run_path(run: RunId) -> String {
    format!("/runs/{run}")
}

/// A link to a run.
pub fn run_link(run: RunId) -> Markup {
    html! { a class="id" href=(run_path(run)) title=(run) { (run.short()) } }
}

/// A text on one line; what would turn its direction is visible.
pub fn line(said: &str) -> Markup {
    html! { bdi { (text::safe_line(said)) } }
}

/// A text of ours on one line, in which what stands between backticks is code.
pub fn said(text: &str) -> Markup {
    let parts: Vec<&str> = text.split('`').collect();
    // A backtick without another one is none that marks something.
    if parts.len().is_multiple_of(2) {
        return line(text);
    }
    html! {
        bdi {
            @for (i, part) in parts.iter().enumerate() {
                @if i % 2 == 1 { code { (text::safe_line(part)) } } @else { (text::safe_line(part)) }
            }
        }
    }
}

/// A value as JSON, cut where it is very long.
pub fn value(value: &Json) -> Markup {
    let pretty = match value {
        Json::String(said) => said.clone(),
        other => serde_json::to_string_pretty(other).unwrap_or_default(),
    };
    let cut = pretty.char_indices().nth(VALUE_CHARS_MAX).map(|(at, _)| at);
    html! {
        pre class="value" tabindex="0" { (text::safe(&pretty[..cut.unwrap_or(pretty.len())])) }
        @if cut.is_some() { p class="dim" { "Cut off here: its JSON has all of it." } }
    }
}

/// What a list says that has nothing.
pub fn empty(title: &str, how: &Markup) -> Markup {
    html! { div class="empty" { p class="empty-title" { (title) } div { (how) } } }
}

/// Something that changes something, behind a question.
pub struct Ask<'a> {
    /// What the button says.
    pub label: &'a str,
    /// Where its form goes.
    pub to: &'a str,
    /// The workflow of the run or trigger that it is about.
    pub called: Option<&'a str>,
    /// What happens then.
    pub about: &'a str,
    /// Whether it takes something away.
    pub danger: bool,
    /// Fields of the form.
    pub fields: Markup,
}

/// A button that opens its question; it works without scripts. Nothing for who would be refused.
pub fn ask(who: &Identity, ask: &Ask<'_>) -> Markup {
    if !who.may_ask("POST", ask.to, ask.called) {
        return html! {};
    }
    let kind = if ask.danger { "button danger" } else { "button" };
    let inside = html! {
        p { (ask.about) }
        (ask.fields)
        button class={ (kind) " primary" } { (ask.label) }
    };
    html! {
        details class="ask" data-key={ "ask " (ask.to) " " (ask.label) } {
            summary class=(kind) { (ask.label) }
            (form(who, (ask.to, ask.called), None, &inside))
        }
    }
}

/// A form that changes something, with what it needs for that; nothing for who would be refused. `to`:
/// where it goes, and the workflow of the run or trigger that it is about.
pub fn form(
    who: &Identity,
    to: (&str, Option<&str>),
    class: Option<&str>,
    inside: &Markup,
) -> Markup {
    let (to, called) = to;
    html! {
        @if who.may_ask("POST", to, called) {
            form method="post" action=(to) class=[class] {
                @if let Some(csrf) = who.csrf() {
                    input type="hidden" name=(CSRF_FIELD) value=(csrf);
                }
                (inside)
            }
        }
    }
}

/// A button that leads somewhere; nothing for who would be refused there.
pub fn go(who: &Identity, (to, called): (&str, Option<&str>), label: &str) -> Markup {
    html! {
        @if who.may_ask("GET", to, called) { a class="button" href=(to) { (label) } }
    }
}

/// A small chart of bars: heights from 0 to 1, each with its class and what it says on hover.
pub fn bars(label: &str, bars: &[(f64, &str, String)]) -> Markup {
    // A few bars stand at the right, as many do.
    let width = bars.len().max(BARS_MIN) * 6;
    let left = width - bars.len() * 6;
    html! {
        svg class="bars" role="img" aria-label=(label) preserveAspectRatio="none"
            viewBox={ "0 0 " (width) " 40" } {
            @for (i, (height, class, title)) in bars.iter().enumerate() {
                @let tall = if *height > 0.0 { (height.min(1.0) * 38.0).max(2.0) } else { 0.0 };
                rect class=(class) x=(left + i * 6) y=(format!("{:.1}", 40.0 - tall)) width="5"
                    height=(format!("{tall:.1}")) { title { (title) } }
            }
        }
    }
}

/// How much of something is used.
pub fn meter(used: u64, of: u64) -> Markup {
    let share = if of == 0 { 0.0 } else { (used as f64 / of as f64).min(1.0) };
    let class = if used >= of && of > 0 { "full" } else { "part" };
    html! {
        svg class="meter" viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true" {
            rect class="ground" width="100" height="8" rx="2" {}
            rect class=(class) width=(format!("{:.1}", share * 100.0)) height="8" rx="2" {}
        }
    }
}

/// How far something is, from 0 to 1.
pub fn progress(share: f64) -> Markup {
    let class = if share >= 1.0 { "done" } else { "part" };
    html! {
        svg class="meter" viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true" {
            rect class="ground" width="100" height="8" rx="2" {}
            rect class=(class) width=(format!("{:.1}", share.clamp(0.0, 1.0) * 100.0)) height="8" rx="2" {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_between_backticks_is_code() {
        let shown = said("write `<b>` and `b`\u{202e}").into_string();
        assert!(shown.contains("write <code>&lt;b&gt;</code> and <code>b</code>"), "{shown}");
        assert!(!shown.contains('`') && !shown.contains('\u{202e}'), "{shown}");
        assert!(said("a ` alone").into_string().contains("a ` alone"));
    }

    #[test]
    fn hostile_text_stays_text() {
        let hostile = "<script>alert(1)</script>\u{202e}";
        let shown = [line(hostile), value(&Json::from(hostile))].map(|m| m.into_string());
        for shown in shown {
            assert!(!shown.contains("<script"), "{shown}");
            assert!(!shown.contains('\u{202e}'), "{shown}");
        }
    }

    #[test]
    fn long_values_are_cut_between_characters() {
        let long = Json::from("ü".repeat(VALUE_CHARS_MAX + 1));
        assert!(value(&long).into_string().contains("Cut off"));
    }
}
