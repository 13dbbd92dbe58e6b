//! Text for terminals: safe, cut to width, times and sizes as people read them.

use std::borrow::Cow;

use moa_core::time::{Millis, Span};
use moa_core::workflow::Priority;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// `text` with every character that a terminal would obey, or that turns the reading direction,
/// made visible. Line breaks and tabs stay.
pub fn safe(text: &str) -> Cow<'_, str> {
    replace(text, |c| matches!(c, '\n' | '\t'))
}

/// Like [`safe`], on one line: line breaks and tabs become visible too.
pub fn safe_line(text: &str) -> Cow<'_, str> {
    replace(text, |_| false)
}

fn replace(text: &str, keep: impl Fn(char) -> bool) -> Cow<'_, str> {
    if text.chars().all(|c| keep(c) || visible(c) == c) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().map(|c| if keep(c) { c } else { visible(c) }).collect())
}

fn visible(c: char) -> char {
    match c {
        // The block "Control Pictures" has one for each of C0, in their order.
        '\0'..='\x1f' => char::from_u32(0x2400 + c as u32).unwrap_or('\u{fffd}'),
        '\x7f' => '\u{2421}',
        '\u{80}'..='\u{9f}'
        | '\u{200e}'
        | '\u{200f}'
        | '\u{202a}'..='\u{202e}'
        | '\u{2028}'
        | '\u{2029}'
        | '\u{2066}'..='\u{2069}' => '\u{fffd}',
        _ => c,
    }
}

/// Columns that `text` takes on a terminal.
pub fn width(text: &str) -> usize {
    UnicodeWidthStr::width(text)
}

/// `text` cut to `columns`, with `…` where something was cut off.
pub fn cut(text: &str, columns: usize) -> Cow<'_, str> {
    if width(text) <= columns {
        return Cow::Borrowed(text);
    }
    let mut used = 0;
    let mut out = String::new();
    for c in text.chars() {
        let w = c.width().unwrap_or(0);
        if used + w + 1 > columns {
            break;
        }
        used += w;
        out.push(c);
    }
    out.push('…');
    Cow::Owned(out)
}

/// A length of time with two significant parts: `340ms`, `4.2s`, `3m12s`, `2h05m`, `3d4h`.
pub fn duration(span: Span) -> String {
    let ms = span.0;
    let (s, m, h) = (ms / 1000, ms / 60_000, ms / 3_600_000);
    match ms {
        0..=999 => format!("{ms}ms"),
        1000..=59_999 => format!("{}.{}s", s, ms % 1000 / 100),
        60_000..=3_599_999 => format!("{m}m{:02}s", s % 60),
        3_600_000..=86_399_999 => format!("{h}h{:02}m", m % 60),
        _ => format!("{}d{}h", h / 24, h % 24),
    }
}

/// An instant seen from `now`: `now`, `12s ago`, `in 5m`.
pub fn relative(at: Millis, now: Millis) -> String {
    let coarse = |span: Span| match span.0 / 1000 {
        s @ 0..=59 => format!("{s}s"),
        s @ 60..=3599 => format!("{}m", s / 60),
        s @ 3600..=86_399 => format!("{}h", s / 3600),
        s => format!("{}d", s / 86_400),
    };
    if at > now {
        return format!("in {}", coarse(at.since(now)));
    }
    match now.since(at) {
        Span(0..=999) => "now".into(),
        span => format!("{} ago", coarse(span)),
    }
}

/// A number of bytes: `512 B`, `1.5 KiB`, `3.0 GiB`.
pub fn bytes(n: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if n < 1024 {
        return format!("{n} B");
    }
    let mut value = n as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// `1 run`, `2 runs`.
pub fn plural(n: usize, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}

/// The candidate most like `word`, if one is like it: for "did you mean".
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Two letters exchanged are two edits.
    let limit = match word.chars().count() {
        0..=3 => 1,
        n => (n / 3).max(2),
    };
    candidates
        .into_iter()
        .map(|c| (distance(word, c), c))
        .filter(|(d, _)| *d <= limit)
        .min()
        .map(|(_, c)| c)
}

/// Edits (insert, delete, replace) between two short words.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(128).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().take(128).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

/// A word as a POSIX shell takes it: quoted where it has to be.
pub fn shell_word(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_@%+=:,./-".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
}

/// A priority as a word.
pub fn priority(priority: Priority) -> &'static str {
    match priority {
        Priority::Critical => "critical",
        Priority::High => "high",
        Priority::Medium => "medium",
        Priority::Low => "low",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_obeys_is_made_visible() {
        assert_eq!(safe("a\x1b[31mred\n\tb"), "a␛[31mred\n\tb");
        assert_eq!(safe_line("a\nb\x7f\u{202e}"), "a␊b␡\u{fffd}");
        assert!(matches!(safe("plain ünïcode"), Cow::Borrowed(_)));
    }

    #[test]
    fn cutting_respects_wide_characters() {
        assert_eq!(cut("日本語です", 7), "日本語…");
        assert_eq!(cut("short", 5), "short");
    }

    #[test]
    fn times_are_short() {
        let shown = |ms| duration(Span(ms));
        assert_eq!(shown(0), "0ms");
        assert_eq!(shown(4_250), "4.2s");
        assert_eq!(shown(192_000), "3m12s");
        assert_eq!(shown(7_500_000), "2h05m");
        assert_eq!(relative(Millis(1000), Millis(13_000)), "12s ago");
        assert_eq!(relative(Millis(300_000), Millis(0)), "in 5m");
    }

    #[test]
    fn words_for_a_shell_are_quoted_where_they_have_to_be() {
        assert_eq!(shell_word("a-b/c.d"), "a-b/c.d");
        assert_eq!(shell_word("my shop"), "'my shop'");
        assert_eq!(shell_word("it's"), "'it'\\''s'");
        assert_eq!(shell_word(""), "''");
    }

    #[test]
    fn the_nearest_word_is_near() {
        assert_eq!(nearest("biuld", ["build", "deploy"]), Some("build"));
        assert_eq!(nearest("xyz", ["build", "deploy"]), None);
    }
}
