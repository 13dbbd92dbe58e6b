//! `moa runs logs`

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use moa_core::ids::RunId;
use serde_json::json;

use crate::cmd::up::Signals;
use crate::cmd::{Context, runtime};
use crate::exit::{Exit, Failure, Result};
use crate::project::Layout;
use crate::reader::Reader;
use crate::ui::Style;
use crate::wire::{self, LogFile};

/// Bytes read at once.
const PIECE: usize = 64 << 10;
/// Time between two looks for more.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Show what the attempts of a run wrote.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  moa runs logs last
  moa runs logs last build_api --attempt 2
  moa runs logs last --follow")]
pub struct Args {
    /// The run
    run: String,
    /// Only of this step; `lint[2]` names one iteration
    step: Option<String>,
    /// Only of this attempt [default: of all; with a step, of the newest]
    #[arg(long, short, value_name = "N")]
    attempt: Option<u32>,
    /// Show more as it is written, until the run is over
    #[arg(long, short)]
    follow: bool,
}

/// Shows logs.
pub fn run(args: Args, context: &Context) -> Result {
    let layout = context.layout()?;
    runtime()?.block_on(async {
        let reader = crate::wire::require_reader(&layout)?;
        let id = reader.find(&args.run).await?;
        let run = reader.run(id).await?;
        if let Some(step) = &args.step {
            let names = (0..run.len() as u32).map(|inst| run.step_name(inst));
            if !names.into_iter().any(|name| fits(&name, step)) {
                return Err(Failure::not_found(format!("the run has no step {step}"))
                    .hint(format!("`moa runs show {id}` names the steps")));
            }
        }
        if context.ui.json {
            return documents(&args, &layout, id, context);
        }
        let mut tail = Tail { shown: BTreeMap::new(), context, several: args.step.is_none() };
        if args.follow {
            return follow(&args, &layout, &reader, id, &mut tail).await;
        }
        let logs = select(&args, &layout, id)?;
        if logs.is_empty() {
            context.ui.note("nothing was written");
        }
        tail.more(&logs)?;
        tail.finish();
        Ok(Exit::Ok)
    })
}

/// Whether a step's name, `lint[2]`, is meant by `lint[2]` or `lint`.
fn fits(name: &str, wanted: &str) -> bool {
    name == wanted || name.split('[').next() == Some(wanted)
}

fn name(log: &LogFile) -> String {
    match log.iteration.as_str() {
        "" => log.step.clone(),
        iteration => format!("{}[{iteration}]", log.step),
    }
}

fn select(args: &Args, layout: &Layout, run: RunId) -> Result<Vec<LogFile>> {
    let mut logs = wire::list_logs(layout, run)?;
    if let Some(step) = &args.step {
        logs.retain(|log| fits(&name(log), step));
    }
    match (args.attempt, &args.step) {
        (Some(attempt), _) => logs.retain(|log| log.attempt == attempt),
        (None, None) => {}
        (None, Some(_)) => {
            let newest = |log: &LogFile| {
                let of_step = logs.iter().filter(|other| name(other) == name(log));
                of_step.map(|other| other.attempt).max() == Some(log.attempt)
            };
            logs = logs.iter().filter(|log| newest(log)).cloned().collect();
        }
    }
    Ok(logs)
}

fn documents(args: &Args, layout: &Layout, run: RunId, context: &Context) -> Result {
    let mut documents = Vec::new();
    for log in select(args, layout, run)? {
        let mut text = Vec::new();
        let (mut from, mut left_out) = (0, 0);
        loop {
            let part = wire::read_log(&log, from, PIECE)?;
            if part.next == from {
                break;
            }
            from = part.next;
            left_out += part.left_out;
            text.extend(part.bytes);
        }
        documents.push(json!({
            "step": name(&log),
            "attempt": log.attempt,
            "path": log.path,
            "bytes": log.bytes,
            "left_out": left_out,
            "text": String::from_utf8_lossy(&text),
        }));
    }
    context.ui.json(&documents);
    Ok(Exit::Ok)
}

async fn follow(
    args: &Args,
    layout: &Layout,
    reader: &Reader,
    run: RunId,
    tail: &mut Tail<'_>,
) -> Result {
    let mut signals = Signals::new()?;
    loop {
        // Asked before the logs are read: what is written up to the end is shown.
        let ended = reader.run(run).await?.row.status.is_terminal();
        tail.more(&select(args, layout, run)?)?;
        tail.context.ui.flush();
        if ended || tail.context.ui.closed() {
            tail.finish();
            return Ok(Exit::Ok);
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            () = signals.next() => return Ok(Exit::Interrupted),
        }
    }
}

/// Shows logs as they grow.
struct Tail<'a> {
    /// By file: where to go on, and the line that isn't ended yet.
    shown: BTreeMap<PathBuf, (u64, Vec<u8>, String)>,
    context: &'a Context,
    /// Whether lines say whose they are.
    several: bool,
}

impl Tail<'_> {
    fn more(&mut self, logs: &[LogFile]) -> Result<()> {
        for log in logs {
            let label = format!("{}.{}", name(log), log.attempt);
            let entry = self.shown.entry(log.path.clone());
            let (mut from, mut rest, label) = entry.or_insert((0, Vec::new(), label)).clone();
            loop {
                let part = wire::read_log(log, from, PIECE)?;
                if part.next == from {
                    break;
                }
                if part.left_out > 0 {
                    let note = format!("[{} bytes left out]\n", part.left_out);
                    rest.extend_from_slice(note.as_bytes());
                }
                from = part.next;
                rest.extend(part.bytes);
                if let Some(end) = rest.iter().rposition(|b| *b == b'\n') {
                    let tail = rest.split_off(end + 1);
                    self.write(&label, &rest);
                    rest = tail;
                }
            }
            self.shown.insert(log.path.clone(), (from, rest, label));
        }
        Ok(())
    }

    fn finish(&mut self) {
        let rests: Vec<_> = self.shown.values().cloned().collect();
        for (_, rest, label) in rests {
            if !rest.is_empty() {
                self.write(&label, &rest);
                self.context.ui.line("");
            }
        }
    }

    fn write(&self, label: &str, bytes: &[u8]) {
        let ui = &self.context.ui;
        if !self.several && !ui.out_tty() {
            return ui.raw(bytes);
        }
        let text = wire::terminal_text(bytes);
        if !self.several {
            return ui.raw(text.as_bytes());
        }
        let label = ui.paint(Style::Dim, &format!("{label} |"));
        for line in text.split_inclusive('\n') {
            ui.raw(format!("{label} {line}").as_bytes());
        }
    }
}
