//! Colours and weights of text on a terminal.

/// Colours and weights, or nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// As it is.
    Plain,
    /// Heavier.
    Bold,
    /// Less important.
    Dim,
    /// Failed.
    Red,
    /// Went well.
    Green,
    /// Waits, or wants attention.
    Yellow,
    /// Runs.
    Cyan,
}

impl Style {
    fn codes(self) -> &'static str {
        match self {
            Style::Plain => "",
            Style::Bold => "\x1b[1m",
            Style::Dim => "\x1b[2m",
            Style::Red => "\x1b[31m",
            Style::Green => "\x1b[32m",
            Style::Yellow => "\x1b[33m",
            Style::Cyan => "\x1b[36m",
        }
    }
}

/// `text` in a style, when `color` is wanted.
pub fn paint(color: bool, style: Style, text: &str) -> String {
    if !color || style == Style::Plain || text.is_empty() {
        return text.to_owned();
    }
    format!("{}{text}\x1b[0m", style.codes())
}
