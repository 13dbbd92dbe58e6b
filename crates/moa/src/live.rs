//! A run while it goes on: a tree that is drawn again and again on a terminal, lines without one.

use moa_core::event::Event;
use moa_core::machine::Run;
use moa_core::step::WaitReason;
use moa_ports::views::HistoryRow;

use crate::text;
use crate::ui::{Style, Ui, paint};
use crate::view::events::Told;
use crate::view::summary::{headline, progress};
use crate::view::tree::{self, Look};

/// What is shown of a run that goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Nothing.
    Silent,
    /// A line for each thing that happens.
    Lines,
    /// The tree.
    Tree,
}

/// Where a run is shown.
pub struct Screen<'a> {
    ui: &'a Ui,
    mode: Mode,
    /// Whether stdout is for something else.
    to_stderr: bool,
    /// Lines of the last drawing.
    drawn: usize,
    /// The version of the run up to which it was shown.
    pub version: u64,
}

impl<'a> Screen<'a> {
    /// Shows on stdout, or on stderr when stdout is for JSON.
    pub fn new(ui: &'a Ui, watch: bool) -> Self {
        let to_stderr = ui.json;
        let tty = if to_stderr { ui.err_tty() } else { ui.out_tty() };
        let mode = match (watch, tty) {
            (false, _) => Mode::Silent,
            (true, true) => Mode::Tree,
            (true, false) => Mode::Lines,
        };
        Self { ui, mode, to_stderr, drawn: 0, version: 0 }
    }

    /// What it shows.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    fn color(&self) -> bool {
        if self.to_stderr { self.ui.err_color() } else { self.ui.out_color() }
    }

    fn write(&self, text: &str) {
        if self.to_stderr {
            self.ui.err_raw(text);
        } else {
            self.ui.raw(text.as_bytes());
            self.ui.flush();
        }
    }

    /// Shows a run as it is now, and what has happened since the last call.
    pub fn show(&mut self, run: &Run, news: &[HistoryRow]) {
        match self.mode {
            Mode::Silent => {}
            Mode::Lines => {
                let lines: String =
                    news.iter().flat_map(|row| self.news(run, row)).map(|l| l + "\n").collect();
                if !lines.is_empty() {
                    self.write(&lines);
                }
            }
            Mode::Tree => self.draw(run),
        }
    }

    fn draw(&mut self, run: &Run) {
        let now = crate::view::now();
        let (columns, rows) = self.ui.size().unwrap_or((100, 40));
        let look = Look { now, all: false, color: self.color(), columns: columns - 1 };
        let mut lines = vec![format!("{}, {}", headline(run, now, self.color()), progress(run))];
        lines.extend(tree::lines(run, look));
        let room = rows.saturating_sub(2).max(5);
        if lines.len() > room {
            let left = lines.len() - room + 1;
            lines.truncate(room - 1);
            lines.push(paint(self.color(), Style::Dim, &format!("… {left} more lines")));
        }
        let mut out = self.erase();
        for line in &lines {
            out.push_str(line);
            out.push_str("\x1b[K\n");
        }
        self.drawn = lines.len();
        self.write(&out);
    }

    fn erase(&mut self) -> String {
        match std::mem::take(&mut self.drawn) {
            0 => String::new(),
            n => format!("\x1b[{n}A\r\x1b[J"),
        }
    }

    /// Says something beside the run; it stays above the tree.
    pub fn say(&mut self, line: &str) {
        let erase = self.erase();
        if !erase.is_empty() {
            self.write(&erase);
        }
        self.ui.note(line);
    }

    fn news(&self, run: &Run, row: &HistoryRow) -> Vec<String> {
        row.timed()
            .filter_map(|(index, at, event)| {
                let instant = at.to_string();
                let clock = instant.get(11..23).unwrap_or(&instant);
                let step = event.step().map(|inst| run.step_name(inst));
                let told = Told {
                    seq: row.seq,
                    index,
                    run: row.run,
                    version: row.version,
                    workflow: &run.row.workflow,
                    at,
                    step: step.as_deref(),
                    agent: None,
                    event,
                };
                let (sign, word) = word_of(event)?;
                let subject = step.as_deref().unwrap_or(run.row.workflow.as_str());
                let remark = text::safe_line(&told.remark()).into_owned();
                let remark = text::cut(&remark, 100).into_owned();
                let sign = paint(self.color(), sign.1, sign.0);
                let parts = [clock, &sign, subject, word, &remark];
                Some(
                    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" "),
                )
            })
            .collect()
    }
}

/// The sign and the word of what is worth a line.
fn word_of(event: &Event) -> Option<((&'static str, Style), &'static str)> {
    let good = ("✓", Style::Green);
    let bad = ("✗", Style::Red);
    let busy = ("●", Style::Cyan);
    let waits = ("◷", Style::Yellow);
    Some(match event {
        Event::RunCreated(_) => (busy, "created"),
        Event::RunPaused => (waits, "paused"),
        Event::RunResumed => (busy, "resumed"),
        Event::CancelRequested { .. } => (waits, "is being cancelled:"),
        Event::RunSucceeded { .. } => (good, "succeeded"),
        Event::RunFailed { .. } => (bad, "failed:"),
        Event::RunCancelled { .. } => (waits, "cancelled:"),
        Event::StepStarted { .. } => (busy, "started"),
        Event::AttemptFailed { .. } => (bad, "failed:"),
        Event::AttemptReleased { .. } => (waits, "released:"),
        Event::OutcomeChecked { .. } => (waits, "is checked:"),
        Event::StepWaiting { reason: WaitReason::Children, .. } => return None,
        // The remark is a sentence of its own.
        Event::StepWaiting { .. } => (waits, ""),
        Event::StepSucceeded { .. } => (good, "succeeded"),
        Event::StepFailed { .. } => (bad, "failed:"),
        Event::StepSkipped { .. } => (("-", Style::Dim), "skipped:"),
        Event::StepCancelled { .. } => (waits, "cancelled"),
        Event::SignalReceived { .. } => (busy, "got the signal"),
        Event::EventEmitted { .. } => (busy, "emitted"),
        _ => return None,
    })
}
