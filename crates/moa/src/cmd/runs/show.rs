//! `moa runs show` and `moa runs watch`

use moa_core::run::RunStatus;

use crate::cmd::follow::{Followed, Watching, follow, no_observer};
use crate::cmd::{Context, run as start, runtime};
use crate::exit::{Exit, Result};
use crate::live::Screen;
use crate::view::{attempts, summary};

/// Show a run.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  moa runs show last
  moa runs show 5f2c --at 12        # as it was at version 12
  moa runs show last --json | jq '.steps[] | select(.status == \"failed\")'")]
pub struct Args {
    /// The run
    run: String,
    /// As it was at this version (`moa runs history` shows them)
    #[arg(long, value_name = "VERSION")]
    at: Option<u64>,
    /// Show every step of long lists
    #[arg(long, short)]
    all: bool,
}

/// Shows a run.
pub fn run(args: Args, context: &Context) -> Result {
    let place = context.place()?;
    runtime()?.block_on(async {
        let reader = place.require_reader()?;
        let id = reader.find(&args.run).await?;
        let mut look = crate::show::look(&context.ui, args.all);
        let run = match args.at {
            None => reader.run(id).await?,
            Some(version) => {
                let (run, at) = reader.run_at(id, version).await?;
                look.now = at;
                run
            }
        };
        if context.ui.json {
            let mut history = reader.history(id, 0).await?;
            history.retain(|row| args.at.is_none_or(|version| row.version <= version));
            let attempts = attempts::of_history(&history);
            context.ui.json(&summary::document(&run, Some(&attempts)));
            return Ok(Exit::Ok);
        }
        if let Some(version) = args.at {
            context.ui.note(&format!("as it was at version {version}, {}", look.now));
        }
        crate::show::print(&context.ui, &run, look);
        Ok(Exit::Ok)
    })
}

/// Show a run while it goes on.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  moa runs watch last

Exit codes: 0 the run succeeded, 1 it failed or was cancelled, 130 watching was interrupted")]
pub struct WatchArgs {
    /// The run
    run: String,
}

/// Shows a run until it is over.
pub fn watch(args: WatchArgs, context: &Context) -> Result {
    let place = context.place()?;
    runtime()?.block_on(async {
        let reader = place.require_reader()?;
        let id = reader.find(&args.run).await?;
        let mut screen = Screen::new(&context.ui, true);
        let watching = Watching { place: &place, reader: &reader, run: id, take_over: false };
        match follow(context, watching, &mut screen, &mut no_observer).await? {
            Followed::Ended(run) => {
                start::finish(context, &run, screen.mode());
                Ok(match run.row.status {
                    RunStatus::Succeeded => Exit::Ok,
                    _ => Exit::Failed,
                })
            }
            Followed::Left if context.ui.closed() => Ok(Exit::Ok),
            Followed::Left | Followed::Alone => Ok(Exit::Interrupted),
        }
    })
}
