//! A file's text as it was shown to us, and the lines in it.

use std::ops::Range;

use moa_core::limits::FILE_BYTES_MAX;

use crate::codes;
use crate::diagnostic::{Diagnostic, Severity};

/// One file: where it is, as shown to people, and what it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The path as shown, usually relative to the project.
    pub path: String,
    /// The whole text.
    pub text: String,
}

impl Source {
    /// A source of text that is already at hand.
    pub fn new(path: impl Into<String>, text: impl Into<String>) -> Self {
        Self { path: path.into(), text: text.into() }
    }

    /// Makes a source of a file's bytes.
    ///
    /// # Errors
    /// A diagnostic when the bytes are more than [`FILE_BYTES_MAX`] or not UTF-8.
    pub fn from_bytes(path: impl Into<String>, bytes: Vec<u8>) -> Result<Self, Box<Diagnostic>> {
        let path = path.into();
        if bytes.len() > FILE_BYTES_MAX {
            return Err(Box::new(too_large(&path, bytes.len(), FILE_BYTES_MAX)));
        }
        match String::from_utf8(bytes) {
            Ok(text) => Ok(Self { path, text }),
            Err(e) => {
                let at = e.utf8_error().valid_up_to();
                let before = &e.as_bytes()[..at];
                let line = before.iter().filter(|b| **b == b'\n').count() as u32 + 1;
                let start = before.iter().rposition(|b| *b == b'\n').map_or(0, |p| p + 1);
                let column = String::from_utf8_lossy(&before[start..]).chars().count() as u32 + 1;
                let byte = e.as_bytes()[at];
                Err(Box::new(Diagnostic {
                    code: codes::NOT_UTF8.0,
                    severity: Severity::Error,
                    path,
                    line,
                    column,
                    span: at..at + 1,
                    message: "the file is not UTF-8 text".into(),
                    cause: Some(format!("byte 0x{byte:02x} at offset {at} starts no character")),
                    help: Some("save the file with the encoding UTF-8".into()),
                }))
            }
        }
    }
}

/// The diagnostic for a file above the limit.
pub(crate) fn too_large(path: &str, bytes: usize, most: usize) -> Diagnostic {
    Diagnostic {
        code: codes::TOO_LARGE.0,
        severity: Severity::Error,
        path: path.into(),
        line: 1,
        column: 1,
        span: 0..0,
        message: format!("the file has {bytes} bytes; at most {most} are read"),
        cause: None,
        help: Some("move data out of it, or split it into several files".into()),
    }
}

/// Where the lines of a text begin: byte offsets to line and column.
#[derive(Debug, Clone)]
pub(crate) struct Lines {
    starts: Vec<usize>,
}

impl Lines {
    /// Finds the lines of `text`.
    pub(crate) fn new(text: &str) -> Self {
        let after = text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(i, _)| i + 1);
        Self { starts: std::iter::once(0).chain(after).collect() }
    }

    /// Line of a byte, from 0.
    pub(crate) fn line_of(&self, byte: usize) -> usize {
        self.starts.partition_point(|s| *s <= byte).saturating_sub(1)
    }

    /// Line and column (in characters) of a byte, both from 1.
    pub(crate) fn position(&self, text: &str, byte: usize) -> (u32, u32) {
        let byte = floor(text, byte);
        let line = self.line_of(byte);
        let column = text[self.starts[line]..byte].chars().count();
        (line as u32 + 1, column as u32 + 1)
    }

    /// How many lines there are.
    pub(crate) fn count(&self) -> usize {
        self.starts.len()
    }

    /// The bytes of a line (from 0), without its line break.
    pub(crate) fn range(&self, text: &str, line: usize) -> Range<usize> {
        let start = self.starts[line];
        let end = self.starts.get(line + 1).map_or(text.len(), |next| next - 1);
        let end = if text[start..end].ends_with('\r') { end - 1 } else { end };
        start..end
    }
}

/// The nearest character boundary at or before `byte`, within the text.
pub(crate) fn floor(text: &str, byte: usize) -> usize {
    let mut byte = byte.min(text.len());
    while !text.is_char_boundary(byte) {
        byte -= 1;
    }
    byte
}
