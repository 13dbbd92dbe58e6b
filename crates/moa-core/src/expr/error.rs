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
        Box::new(Self { message: message.into(), span, hint: None })
    }

    pub(crate) fn hint(mut self: Box<Self>, hint: impl Into<String>) -> Box<Self> {
        self.hint = Some(hint.into());
        self
    }

    /// The same error about a source of which this one's source is a part.
    pub(crate) fn moved_by(mut self, bytes: usize) -> Self {
        self.span.start += bytes;
        self.span.end += bytes;
        self
    }
}
