//! `moa top`

use super::{Context, runtime};
use crate::exit::{Exit, Result};
use crate::place::Place;
use crate::top::data::{Overview, Slow};
use crate::top::state::State;
use crate::top::{draw, screen};

/// Columns and lines of a frame that no terminal shows.
const FRAME: (usize, usize) = (100, 30);

/// Show what goes on, again and again: an overview on the terminal.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  moa top
  moa top --context prod            # of a node elsewhere
  moa top --once                    # one frame as text
  moa top --json | jq '.waiting'    # what is shown, for programs

Keys: q ends, Tab goes to another part, Enter shows a run, / filters, p stands still, c cancels a run
after a question, ? shows all keys. Where stdout is no terminal, one frame is printed.")]
pub struct Args {
    /// Print one frame, and end
    #[arg(long)]
    once: bool,
}

/// Shows it.
pub fn run(args: Args, context: &Context) -> Result {
    let place = context.place()?;
    let ui = &context.ui;
    let runtime = runtime()?;
    let exit = match args.once || ui.json || !ui.out_tty() {
        true => runtime.block_on(once(&place, context)),
        false => runtime.block_on(screen::show(place, ui.out_color())),
    };
    // A request to a node may be under way.
    runtime.shutdown_background();
    exit
}

async fn once(place: &Place, context: &Context) -> Result {
    let slow = Slow::gather(place).await?;
    let data = Overview::gather(place, &slow).await?;
    if context.ui.json {
        context.ui.json(&data);
        return Ok(Exit::Ok);
    }
    let (columns, rows) = context.ui.size().filter(|_| context.ui.out_tty()).unwrap_or(FRAME);
    let state = State { data: Some(data), ..State::default() };
    let small = |n: usize| u16::try_from(n.min(500)).unwrap_or(u16::MAX);
    let frame = draw::plain(&state, small(columns), small(rows.saturating_sub(1)));
    context.ui.raw(frame.as_bytes());
    Ok(Exit::Ok)
}
