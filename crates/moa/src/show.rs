//! A run on the terminal: its head, then its tree.

use moa_core::machine::Run;

use crate::text;
use crate::ui::{Style, Ui};
use crate::view::tree::{self, Look};
use crate::view::{now, run_style, summary};

/// The look of a tree on stdout.
pub fn look(ui: &Ui, all: bool) -> Look {
    let columns = ui.size().filter(|_| ui.out_tty()).map_or(usize::MAX, |(columns, _)| columns);
    Look { now: now(), all, color: ui.out_color(), columns }
}

/// Writes a run for people: its head, then its tree.
pub fn print(ui: &Ui, run: &Run, look: Look) {
    let row = &run.row;
    let line = |name: &str, value: &str| {
        let name = ui.paint(Style::Dim, &format!("{name:<9}"));
        ui.line(&format!("{name} {}", text::safe(value)));
    };
    line("run", &row.run.to_string());
    let label = run.graph.plan().version.as_deref().map(|v| format!(" {v}")).unwrap_or_default();
    line("workflow", &format!("{}{label} ({})", row.workflow, row.hash.short()));
    let status = summary::status_words(run, look.now);
    ui.line(&format!(
        "{} {}",
        ui.paint(Style::Dim, "status   "),
        ui.paint(run_style(row.status), &status)
    ));
    let age = text::relative(row.created_at, look.now);
    line("created", &format!("{} ({age}) by {}", row.created_at, row.extra.cause));
    if let Some(parent) = &row.parent {
        line("parent", &parent.run.to_string());
    }
    if let Some(from) = row.extra.forked_from {
        line("from", &from.to_string());
    }
    if row.params.as_object().is_some_and(|p| !p.is_empty()) {
        line("params", &row.params.to_string());
    }
    if let Some(why) = row.extra.cancel.as_deref().filter(|_| !row.status.is_terminal()) {
        line("cancel", why);
    }
    if let Some(error) = &row.error {
        line("error", &error.message);
    }
    if let Some(output) = &row.output {
        line("output", &output.to_string());
    }
    ui.line("");
    for line in tree::lines(run, look) {
        ui.line(&line);
    }
}
