//! What a command writes: data to stdout, everything else to stderr.
//!
//! Nothing here fails or panics: once the reader of stdout is gone, [`Ui::closed`] says so and
//! later writes do nothing. Absent by intent: `println!` and `eprintln!`, which panic then.

use std::io::{BufWriter, IsTerminal, Stderr, Stdout, Write};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;

use crate::exit::Failure;
use crate::text;
pub use moa_view::paint::{Style, paint};

/// When to use colours.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum ColorChoice {
    /// On a terminal, unless NO_COLOR is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Where a command writes.
pub struct Ui {
    /// Whether listings are JSON.
    pub json: bool,
    /// Whether notes are left out.
    pub quiet: bool,
    /// How often `-v` was given.
    pub verbose: u8,
    out: Mutex<BufWriter<Stdout>>,
    err: Stderr,
    out_tty: bool,
    err_tty: bool,
    out_color: bool,
    err_color: bool,
    closed: AtomicBool,
}

impl Ui {
    /// Looks at the terminal and the environment once.
    pub fn new(color: ColorChoice, json: bool, quiet: bool, verbose: u8) -> Self {
        let set = |name: &str| std::env::var_os(name).is_some_and(|v| !v.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|v| v == "dumb");
        let wanted = |tty: bool| match color {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => tty && !dumb && !set("NO_COLOR"),
        };
        let (out_tty, err_tty) = (std::io::stdout().is_terminal(), std::io::stderr().is_terminal());
        Self {
            json,
            quiet,
            verbose,
            out: Mutex::new(BufWriter::with_capacity(32 << 10, std::io::stdout())),
            err: std::io::stderr(),
            out_tty,
            err_tty,
            out_color: wanted(out_tty),
            err_color: wanted(err_tty),
            closed: AtomicBool::new(false),
        }
    }

    /// Whether stdout is a terminal.
    pub fn out_tty(&self) -> bool {
        self.out_tty
    }

    /// Whether stderr is a terminal.
    pub fn err_tty(&self) -> bool {
        self.err_tty
    }

    /// Whether stdout takes colours.
    pub fn out_color(&self) -> bool {
        self.out_color
    }

    /// Whether stderr takes colours.
    pub fn err_color(&self) -> bool {
        self.err_color
    }

    /// Whether nobody reads stdout any more.
    pub fn closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// `text` for stdout in a style.
    pub fn paint(&self, style: Style, text: &str) -> String {
        paint(self.out_color, style, text)
    }

    /// Columns and lines of the terminal that stdout (else stderr) is, if one is.
    pub fn size(&self) -> Option<(usize, usize)> {
        let size = if self.out_tty {
            rustix::termios::tcgetwinsize(std::io::stdout())
        } else if self.err_tty {
            rustix::termios::tcgetwinsize(&self.err)
        } else {
            return None;
        };
        size.ok().filter(|s| s.ws_col > 0).map(|s| (s.ws_col.into(), s.ws_row.into()))
    }

    /// Writes data as it is.
    pub fn raw(&self, bytes: &[u8]) {
        let mut out = self.out.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if !self.closed() && out.write_all(bytes).is_err() {
            self.closed.store(true, Ordering::Relaxed);
        }
    }

    /// Writes a line of data.
    pub fn line(&self, text: &str) {
        self.raw(format!("{text}\n").as_bytes());
    }

    /// Writes a JSON document.
    pub fn json(&self, value: &impl Serialize) {
        match serde_json::to_string_pretty(value) {
            Ok(text) => self.line(&text),
            Err(e) => self.warn(&format!("can't be written as JSON: {e}")),
        }
    }

    /// Writes a JSON document on one line.
    pub fn json_line(&self, value: &impl Serialize) {
        match serde_json::to_string(value) {
            Ok(text) => self.line(&text),
            Err(e) => self.warn(&format!("can't be written as JSON: {e}")),
        }
    }

    /// Hands what was written so far to the reader.
    pub fn flush(&self) {
        let mut out = self.out.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if !self.closed() && out.flush().is_err() {
            self.closed.store(true, Ordering::Relaxed);
        }
    }

    /// Writes to stderr as it is.
    pub fn err_raw(&self, text: &str) {
        self.flush();
        // Nobody is left to be told.
        let _ = (&self.err).write_all(text.as_bytes());
    }

    /// Says something that isn't data; left out with `--quiet`.
    pub fn note(&self, text: &str) {
        if !self.quiet {
            self.err_raw(&format!("{text}\n"));
        }
    }

    /// Warns.
    pub fn warn(&self, text: &str) {
        let word = paint(self.err_color, Style::Yellow, "warning");
        self.err_raw(&format!("{word}: {}\n", text::safe(text)));
    }

    /// Says something for whoever wants to know more: with `-v`.
    pub fn detail(&self, text: &str) {
        if self.verbose > 0 {
            self.note(&text::safe(text));
        }
    }

    /// Says what may be done next; left out with `--quiet`.
    pub fn hint(&self, text: &str) {
        let word = paint(self.err_color, Style::Cyan, "hint");
        self.note(&format!("{word}: {text}"));
    }

    /// Shows why a command failed, and what to do.
    pub fn failure(&self, failure: &Failure) {
        let mut shown = String::new();
        if let Some(detail) = &failure.detail {
            shown.push_str(detail.trim_end());
            shown.push_str("\n\n");
        }
        let word = paint(self.err_color, Style::Red, "error");
        shown.push_str(&format!("{word}: {}\n", text::safe(&failure.message)));
        if let Some(place) = &failure.place {
            let arrow = paint(self.err_color, Style::Cyan, "-->");
            shown.push_str(&format!(" {arrow} {}\n", text::safe_line(place)));
        }
        for hint in &failure.hints {
            let word = paint(self.err_color, Style::Cyan, "hint");
            shown.push_str(&format!("{word}: {}\n", text::safe(hint)));
        }
        self.err_raw(&shown);
    }
}

/// A JSON array that is written while its items are found: an empty one when there are none.
pub struct JsonArray<'a> {
    ui: &'a Ui,
    empty: bool,
}

impl<'a> JsonArray<'a> {
    /// Begins an array; its end is written when it is dropped.
    pub fn new(ui: &'a Ui) -> Self {
        Self { ui, empty: true }
    }

    /// Writes an item.
    pub fn push(&mut self, value: &impl Serialize) {
        match serde_json::to_string(value) {
            Ok(text) => {
                let before = if self.empty { "[\n" } else { ",\n" };
                self.ui.raw(format!("{before}{text}").as_bytes());
                self.empty = false;
            }
            Err(e) => self.ui.warn(&format!("can't be written as JSON: {e}")),
        }
    }
}

impl Drop for JsonArray<'_> {
    fn drop(&mut self) {
        self.ui.raw(if self.empty { b"[]\n" } else { b"\n]\n" });
    }
}
