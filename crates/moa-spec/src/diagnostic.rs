//! What is wrong with a file: where, why, and what to do; and how that is shown.

use std::fmt::Write as _;
use std::ops::Range;

use serde::Serialize;

use crate::source::{Lines, Source, floor};

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The file can't be used.
    Error,
    /// The file can be used, but probably does something else than its author thinks.
    Warning,
}

/// One mistake in a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// Stable code, with a page of its own (`MOA0101`).
    pub code: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// The file, as shown.
    pub path: String,
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
    /// The bytes at fault.
    pub span: Range<usize>,
    /// What is wrong, in one sentence.
    pub message: String,
    /// Why it is wrong.
    pub cause: Option<String>,
    /// What to do about it.
    pub help: Option<String>,
}

impl Diagnostic {
    /// Adds why it is wrong.
    pub fn cause(&mut self, cause: impl Into<String>) -> &mut Self {
        self.cause = Some(cause.into());
        self
    }

    /// Adds what to do about it.
    pub fn help(&mut self, help: impl Into<String>) -> &mut Self {
        self.help = Some(help.into());
        self
    }

    /// Whether it keeps the file from being used.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

/// Whether any of them keeps the file from being used.
pub fn has_errors(diagnostics: &[Diagnostic]) -> bool {
    diagnostics.iter().any(Diagnostic::is_error)
}

/// Columns of source shown of one line; the rest of a longer one is cut off.
const EXCERPT_COLUMNS_MAX: usize = 100;

struct Paint {
    red: &'static str,
    yellow: &'static str,
    blue: &'static str,
    bold: &'static str,
    off: &'static str,
}

const COLOR: Paint = Paint {
    red: "\x1b[1;31m",
    yellow: "\x1b[1;33m",
    blue: "\x1b[1;34m",
    bold: "\x1b[1m",
    off: "\x1b[0m",
};
const PLAIN: Paint = Paint { red: "", yellow: "", blue: "", bold: "", off: "" };

/// Shows diagnostics for people: an excerpt of each place with line numbers and carets, the cause
/// and the fix. `sources` that are missing cost only the excerpt. Ends with a line break.
pub fn render(diagnostics: &[Diagnostic], sources: &[Source], color: bool) -> String {
    let paint = if color { &COLOR } else { &PLAIN };
    let lines: Vec<Lines> = sources.iter().map(|s| Lines::new(&s.text)).collect();
    let mut out = String::new();
    for (i, diagnostic) in diagnostics.iter().enumerate() {
        if i > 0 {
            out.push('\n');
        }
        let source = sources.iter().position(|s| s.path == diagnostic.path);
        let source = source.map(|ix| (&sources[ix].text[..], &lines[ix]));
        render_one(&mut out, diagnostic, source, paint);
    }
    out
}

fn render_one(out: &mut String, d: &Diagnostic, source: Option<(&str, &Lines)>, p: &Paint) {
    let (word, tint) = match d.severity {
        Severity::Error => ("error", p.red),
        Severity::Warning => ("warning", p.yellow),
    };
    let (bold, off, blue) = (p.bold, p.off, p.blue);
    let message = visible(&d.message);
    // Writing to a String can't fail.
    let _ = writeln!(out, "{tint}{word}[{}]{off}{bold}: {message}{off}", d.code);
    let shown = source.filter(|(_, lines)| (d.line as usize) <= lines.count());
    let gutter = shown.map_or(1, |_| d.line.to_string().len());
    let path = visible(&d.path);
    let _ = writeln!(out, "{:gutter$}{blue}-->{off} {path}:{}:{}", "", d.line, d.column);
    if let Some((text, lines)) = shown {
        let (excerpt, carets) = excerpt(text, lines, d);
        let _ = writeln!(out, "{:gutter$} {blue}|{off}", "");
        let _ = writeln!(out, "{blue}{:>gutter$} |{off} {excerpt}", d.line);
        let _ = writeln!(out, "{:gutter$} {blue}|{off} {tint}{carets}{off}", "");
    }
    for (word, text) in [("cause", &d.cause), ("help", &d.help)] {
        let Some(text) = text else { continue };
        for (i, line) in wrapped(&visible(text)).lines().enumerate() {
            let lead = if i == 0 { format!("= {bold}{word}{off}: ") } else { " ".repeat(9) };
            let _ = writeln!(out, "{:gutter$} {lead}{line}", "");
        }
    }
}

/// Long sentences on several lines, broken at spaces.
fn wrapped(text: &str) -> String {
    let mut out = String::new();
    let mut column = 0;
    for (i, word) in text.split(' ').enumerate() {
        let width = word.chars().count();
        if i > 0 && column + 1 + width > EXCERPT_COLUMNS_MAX {
            out.push('\n');
            column = 0;
        } else if i > 0 {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column = word.rfind('\n').map_or(column + width, |at| width.saturating_sub(at));
    }
    out
}

/// The line of the diagnostic and the carets under it, cut to a width that a terminal has.
fn excerpt(text: &str, lines: &Lines, d: &Diagnostic) -> (String, String) {
    let range = lines.range(text, d.line as usize - 1);
    let line = &text[range.clone()];
    let start = floor(text, d.span.start).clamp(range.start, range.end);
    let end = floor(text, d.span.end).clamp(start, range.end);
    let before = text[range.start..start].chars().count();
    let width = text[start..end].chars().count().max(1);
    let skip = (before + 20).saturating_sub(EXCERPT_COLUMNS_MAX);
    let total = line.chars().count();
    let mut shown: String = line.chars().skip(skip).take(EXCERPT_COLUMNS_MAX).collect();
    let mut indent = before - skip;
    if skip > 0 {
        shown.insert_str(0, "… ");
        indent += 2;
    }
    if total > skip + EXCERPT_COLUMNS_MAX {
        shown.push_str(" …");
    }
    let room = EXCERPT_COLUMNS_MAX.saturating_sub(before - skip).max(1);
    let carets = format!("{}{}", " ".repeat(indent), "^".repeat(width.min(room)));
    (one_column(&shown), carets)
}

/// Control characters as one visible character each, so that carets stay in place and a file can't
/// send escape sequences to somebody's terminal.
fn one_column(text: &str) -> String {
    text.chars().map(|c| if c == '\t' { ' ' } else { tame(c) }).collect()
}

fn visible(text: &str) -> String {
    text.chars().map(|c| if c == '\n' { c } else { tame(c) }).collect()
}

fn tame(c: char) -> char {
    match c {
        '\0'..='\x1f' => char::from_u32(0x2400 + c as u32).unwrap_or('?'),
        '\x7f'..='\u{9f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '\u{fffd}',
        _ => c,
    }
}
