//! `moa runs logs`

use std::collections::BTreeMap;
use std::time::Duration;

use moa_core::ids::RunId;
use serde_json::json;

use crate::cmd::up::Signals;
use crate::cmd::{Context, runtime};
use crate::exit::{Exit, Failure, Result};
use crate::logs::{self, Log};
use crate::place::{Outage, Place};
use crate::reader::Reader;
use crate::ui::Style;
use crate::wire;

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
    let place = context.place()?;
    runtime()?.block_on(async {
        let reader = place.require_reader()?;
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
            return documents(&args, &place, id, context).await;
        }
        let several = args.step.is_none();
        let mut tail = Tail { shown: BTreeMap::new(), place: &place, run: id, context, several };
        if args.follow {
            return follow(&args, &reader, &mut tail).await;
        }
        let logs = select(&args, &place, id).await?;
        if logs.is_empty() {
            context.ui.note("nothing was written");
        }
        tail.more(&logs).await?;
        tail.finish();
        Ok(Exit::Ok)
    })
}

/// Whether a step's name, `lint[2]`, is meant by `lint[2]` or `lint`.
fn fits(name: &str, wanted: &str) -> bool {
    name == wanted || name.split('[').next() == Some(wanted)
}

async fn select(args: &Args, place: &Place, run: RunId) -> Result<Vec<Log>> {
    let mut logs = logs::list(place, run).await?;
    if let Some(step) = &args.step {
        logs.retain(|log| fits(&log.name, step));
    }
    match (args.attempt, &args.step) {
        (Some(attempt), _) => logs.retain(|log| log.attempt == attempt),
        (None, None) => {}
        (None, Some(_)) => {
            let newest = |log: &Log| {
                let of_step = logs.iter().filter(|other| other.name == log.name);
                of_step.map(|other| other.attempt).max() == Some(log.attempt)
            };
            logs = logs.iter().filter(|log| newest(log)).cloned().collect();
        }
    }
    Ok(logs)
}

async fn documents(args: &Args, place: &Place, run: RunId, context: &Context) -> Result {
    let mut documents = Vec::new();
    for log in select(args, place, run).await? {
        let mut text = Vec::new();
        let (mut from, mut left_out) = (0, 0);
        loop {
            let part = logs::part(place, run, &log, from).await?;
            if part.next == from {
                break;
            }
            from = part.next;
            left_out += part.left_out;
            text.extend(part.bytes);
        }
        documents.push(json!({
            "step": log.name,
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

async fn follow(args: &Args, reader: &Reader, tail: &mut Tail<'_>) -> Result {
    let mut signals = Signals::new()?;
    // Whatever is waited for: a node elsewhere may take a request and not answer it.
    tokio::select! {
        shown = to_end(args, reader, tail) => shown,
        () = signals.next() => Ok(Exit::Interrupted),
    }
}

async fn to_end(args: &Args, reader: &Reader, tail: &mut Tail<'_>) -> Result {
    let ui = &tail.context.ui;
    let mut say = |text: &str| ui.note(text);
    let mut outage = Outage::default();
    loop {
        // Asked before the logs are read: what is written up to the end is shown.
        let ended = match look(args, reader, tail).await {
            Err(failure) if outage.passes(tail.place, &failure, &mut say) => false,
            looked => {
                outage.over(&mut say);
                looked?
            }
        };
        tail.context.ui.flush();
        if ended || tail.context.ui.closed() {
            tail.finish();
            return Ok(Exit::Ok);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Shows what there is by now; answers whether the run is over.
async fn look(args: &Args, reader: &Reader, tail: &mut Tail<'_>) -> Result<bool> {
    let ended = reader.head(tail.run).await?.row.status.is_terminal();
    let logs = select(args, tail.place, tail.run).await?;
    tail.more(&logs).await?;
    Ok(ended)
}

/// Shows logs as they grow.
struct Tail<'a> {
    /// By step and attempt: where to go on, and the line that isn't ended yet.
    shown: BTreeMap<(String, u32), (u64, Vec<u8>)>,
    place: &'a Place,
    run: RunId,
    context: &'a Context,
    /// Whether lines say whose they are.
    several: bool,
}

impl Tail<'_> {
    async fn more(&mut self, logs: &[Log]) -> Result<()> {
        for log in logs {
            let key = (log.name.clone(), log.attempt);
            loop {
                let (mut from, mut rest) = self.shown.get(&key).cloned().unwrap_or_default();
                let part = logs::part(self.place, self.run, log, from).await?;
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
                    self.write(&key, &rest);
                    rest = tail;
                }
                // Whatever goes wrong from here on, this part is not shown again.
                self.shown.insert(key.clone(), (from, rest));
            }
        }
        Ok(())
    }

    fn finish(&mut self) {
        let rests = std::mem::take(&mut self.shown);
        for (key, (_, rest)) in rests {
            if !rest.is_empty() {
                self.write(&key, &rest);
                self.context.ui.line("");
            }
        }
    }

    fn write(&self, (name, attempt): &(String, u32), bytes: &[u8]) {
        let ui = &self.context.ui;
        if !self.several && !ui.out_tty() {
            return ui.raw(bytes);
        }
        let text = wire::terminal_text(bytes);
        if !self.several {
            return ui.raw(text.as_bytes());
        }
        let label = crate::text::safe_line(name).into_owned();
        let label = ui.paint(Style::Dim, &format!("{label}.{attempt} |"));
        for line in text.split_inclusive('\n') {
            ui.raw(format!("{label} {line}").as_bytes());
        }
    }
}
