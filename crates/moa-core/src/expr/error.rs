//! The one error of expressions, of compiling and of evaluating alike.

use std::ops::Range;

/// A mistake in an expression, or a failure to evaluate it.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// What is wrong, in one sentence without a full stop.
    pub message: String,
    /// The bytes of the source that are at fault.
    pub span: Range<usize>,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Error {
    /// Boxed, since results are on every frame of the compiler, which recurses.
    pub(crate) fn new(message: impl Into<String>, span: Range<usize>) -> Box<Self> {
        Box::new(Self { message: presentable(message.into()), span, hint: None })
    }

    pub(crate) fn hint(mut self: Box<Self>, hint: impl Into<String>) -> Box<Self> {
        self.hint = Some(presentable(hint.into()));
        self
    }

    /// From parts that may quote values of any length and kind.
    pub(crate) fn quoting(message: String, span: Range<usize>, hint: Option<String>) -> Self {
        Self { message: presentable(message), span, hint: hint.map(presentable) }
    }

    /// The same error about a source of which this one's source is a part.
    pub(crate) fn moved_by(mut self, bytes: usize) -> Self {
        self.span.start += bytes;
        self.span.end += bytes;
        self
    }
}

/// Characters of a message or hint.
const TEXT_LENGTH_MAX: usize = 300;

/// One line, of bounded length, without control characters: errors quote their sources.
fn presentable(text: String) -> String {
    let odd = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{feff}')
    };
    if text.len() <= TEXT_LENGTH_MAX && !text.contains(odd) {
        return text;
    }
    let mut out = String::new();
    for (count, c) in text.chars().enumerate() {
        if count == TEXT_LENGTH_MAX {
            out.push('…');
            break;
        }
        if odd(c) {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    out
}
