//! Sentences that moa itself writes, for people: an id in them is a link, an instant is a date.
//!
//! The same sentences go to terminals and into JSON, where ids and instants stand whole. What they
//! quote of users and agents stays text.

use maud::{Markup, html};
use moa_core::ids::RunId;
use moa_view::text;

use super::parts;

/// Characters of a run's id.
const RUN_CHARS: usize = 36;
/// Characters of an instant: `2026-11-23T08:00:00.000Z`.
const INSTANT_CHARS: usize = 24;

/// A sentence on one line.
pub fn line(said: &str) -> Markup {
    html! { bdi { (words(&text::safe_line(said))) } }
}

/// Sentences on lines of their own; a line that is a command is shown as one.
pub fn lines(said: &str) -> Markup {
    html! {
        @for line in text::safe(said).lines().filter(|line| !line.trim().is_empty()) {
            @if line.starts_with("moa ") { code class="do" { bdi { (line) } } }
            @else { div { bdi { (words(line)) } } }
        }
    }
}

/// Words, of which some are more than text.
fn words(line: &str) -> Markup {
    // Of a backtick without another one nothing is code.
    let pairs = line.matches('`').count().is_multiple_of(2);
    let parts = line.split('`').enumerate();
    html! {
        @if pairs {
            @for (i, part) in parts {
                @if i % 2 == 1 { code { (part) } } @else { (linked(part)) }
            }
        } @else { (linked(line)) }
    }
}

fn linked(part: &str) -> Markup {
    html! { @for word in part.split_inclusive(' ') { (one(word)) } }
}

fn one(word: &str) -> Markup {
    let bare = word.trim_end_matches([' ', ',', '.', ';', ':', ')']);
    let rest = &word[bare.len()..];
    let run = (bare.len() == RUN_CHARS).then(|| bare.parse::<RunId>().ok()).flatten();
    html! {
        @if let Some(run) = run { (parts::run_link(run)) (rest) }
        @else if let Some(shown) = instant(bare) {
            time datetime=(bare) title=(bare) { (shown) } (rest)
        } @else { (word) }
    }
}

/// An instant as people write it: `2026-11-23 08:00 UTC`.
fn instant(word: &str) -> Option<String> {
    let is_digit = |i: &usize| word.as_bytes()[*i].is_ascii_digit();
    let marks = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':'), (19, b'.'), (23, b'Z')];
    let fits = word.len() == INSTANT_CHARS
        && (0..INSTANT_CHARS).all(|i| match marks.iter().find(|(at, _)| *at == i) {
            Some((_, mark)) => word.as_bytes()[i] == *mark,
            None => is_digit(&i),
        });
    fits.then(|| format!("{} {} UTC", &word[..10], clock(&word[11..19])))
}

/// The time of a day, without seconds where there are none: `09:00`.
fn clock(time: &str) -> &str {
    time.strip_suffix(":00").unwrap_or(time)
}

/// A local time as its schedule's zone says it, such as `2026-11-23T09:00:00+01:00`, for people.
pub fn local(at: &str) -> Markup {
    html! {
        @match (at.get(..10), at.get(11..19), at.get(19..)) {
            (Some(day), Some(time), Some(zone)) => {
                span class="nowrap" title=(at) {
                    (super::schedules::calendar::weekday(day)) " " (day) " " (clock(time))
                    " " span class="dim" { (zone) }
                }
            },
            _ => (at),
        }
    }
}

/// A share of 1 in percent; all and nothing are whole.
pub fn percent(share: f64) -> String {
    let said = format!("{:.1}", share * 100.0);
    format!("{}%", said.strip_suffix(".0").unwrap_or(&said))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_lead_somewhere_and_instants_are_dates() {
        let run = "01a202f5-3512-8176-8995-bc8e6f69c68f";
        let shown =
            line(&format!("run {run} of 2026-11-21T09:00:00.000Z is going on")).into_string();
        assert!(shown.contains(&format!("href=\"/runs/{run}\"")), "{shown}");
        assert!(shown.contains(">bc8e6f69c68f</a> of "), "{shown}");
        assert!(shown.contains(">2026-11-21 09:00 UTC</time> is going on"), "{shown}");
        let shown = line("paused since 2026-11-22T11:12:31.757Z, by `me`").into_string();
        assert!(shown.contains(">2026-11-22 11:12:31 UTC</time>, by <code>me</code>"), "{shown}");
    }

    #[test]
    fn what_only_looks_like_it_stays_text() {
        let hostile = "<b> 2026-11-21T09:00:00.000é 0123456789abcdef0123456789abcdefghij \u{202e}`";
        let shown = line(hostile).into_string();
        assert!(!shown.contains("<b>") && !shown.contains("<time") && !shown.contains("<a "));
        assert!(!shown.contains('\u{202e}') && shown.contains("09:00:00.000é"), "{shown}");
    }

    #[test]
    fn commands_stand_alone() {
        let shown = lines("It is off.\nmoa webhooks enable x\n").into_string();
        assert!(shown.contains("<div><bdi>It is off.</bdi></div>"), "{shown}");
        assert!(shown.contains("<code class=\"do\"><bdi>moa webhooks enable x</bdi></code>"));
    }

    #[test]
    fn local_times_have_their_day_and_zone() {
        let shown = local("2026-11-23T09:00:00+01:00").into_string();
        assert!(shown.contains("Mon 2026-11-23 09:00 ") && shown.contains("+01:00"), "{shown}");
        assert!(local("2026-11-23T09:00:30Z").into_string().contains("09:00:30"));
        assert_eq!(local("soon").into_string(), "soon");
    }

    #[test]
    fn all_and_nothing_are_whole() {
        assert_eq!([0.0, 1.0, 0.267].map(percent), ["0%", "100%", "26.7%"]);
    }
}
