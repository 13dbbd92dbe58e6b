//! Texts of agents and of hostile places, made fit for what people read.

use crate::terminal::sanitize_for_terminal;

/// The text in one line, with what a terminal or a mail program would obey made visible.
pub(super) fn one_line(text: &str) -> String {
    let shown = sanitize_for_terminal(text.as_bytes());
    shown.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The same in several lines.
pub(super) fn lines(text: &str) -> String {
    sanitize_for_terminal(text.as_bytes())
}

/// At most so many characters of a text, each of which counts as much as `cost` says; says how many
/// are left out.
pub(super) fn shortened(text: &str, most: usize, cost: impl Fn(char) -> usize) -> String {
    let all: usize = text.chars().map(&cost).sum();
    if all <= most {
        return text.to_owned();
    }
    // Enough for the sentence at the end.
    let room = most.saturating_sub(40);
    let (mut used, mut kept) = (0, 0);
    for c in text.chars() {
        used += cost(c);
        if used > room {
            break;
        }
        kept += c.len_utf8();
    }
    let left = text[kept..].chars().count();
    format!("{}... ({left} characters more)", &text[..kept])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_say_how_much_is_left_out() {
        assert_eq!(shortened("grün", 4, |_| 1), "grün");
        let short = shortened(&"ü".repeat(1 << 20), 100, |_| 1);
        assert_eq!(short, format!("{}... (1048516 characters more)", "ü".repeat(60)));
        // Characters that become longer count for what they become.
        let short = shortened(&"<".repeat(100), 100, |_| 4);
        assert_eq!(short, format!("{}... (85 characters more)", "<".repeat(15)));
    }
}
