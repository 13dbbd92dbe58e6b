//! `moa runs why`

use crate::cmd::{Context, runtime};
use crate::exit::{Exit, Result};
use crate::text;
use crate::ui::{Style, Ui};
use crate::view::why::{Answer, Limits, Reason, answer};
use crate::view::{now, summary};
use crate::wire;

/// Say for everything that doesn't run why, until when, and what would unblock it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  moa runs why last
  moa runs why last --all --json")]
pub struct Args {
    /// The run
    run: String,
    /// Name every step that has not ended, also where a nearer reason explains it
    #[arg(long, short)]
    all: bool,
}

/// Answers why.
pub fn run(args: Args, context: &Context) -> Result {
    let place = context.place()?;
    runtime()?.block_on(async {
        let reader = place.require_reader()?;
        let id = reader.find(&args.run).await?;
        let run = reader.run(id).await?;
        let pending = reader.views.pending(id).await?;
        let node = match place.connect().await? {
            Some(mut client) => Some(client.status().await?),
            None => None,
        };
        let agents = wire::agents(&place.load().await?.project);
        let limits = Limits { agents, used: reader.limits().await? };
        let alone = match node.as_ref().and_then(|node| node.engine.only.as_ref()) {
            Some(only) => {
                let holders = pending.queued.iter().flat_map(|(_, holders)| holders.iter());
                reader.not_below(only, std::iter::once(id).chain(holders.copied())).await?
            }
            None => Vec::new(),
        };
        let answer = answer(&run, &pending, node.as_ref(), &alone, &limits, args.all);
        if context.ui.json {
            context.ui.json(&answer);
        } else {
            context.ui.line(&summary::headline(&run, now(), context.ui.out_color()));
            print(&answer, &context.ui);
        }
        Ok(Exit::Ok)
    })
}

fn print(answer: &Answer, ui: &Ui) {
    for reason in answer.reasons.iter().chain(&answer.steps) {
        let Reason { step, status, reason, until, unblock } = reason;
        let mut line = String::new();
        if let Some(step) = step {
            let status = status.map_or("", |s| s.as_str());
            line.push_str(&format!("{} {status}: ", ui.paint(Style::Bold, step)));
        }
        line.push_str(&text::safe_line(reason));
        ui.line(&format!("  {line}"));
        if let Some(until) = until {
            ui.line(&format!("    until {until} ({})", text::relative(*until, now())));
        }
        if let Some(unblock) = unblock {
            let word = ui.paint(Style::Cyan, "unblock");
            ui.line(&format!("    {word}: {}", text::safe_line(unblock)));
        }
    }
}
