//! `moa schedules`

mod backfill;
pub mod change;
pub mod look;
mod next;
pub mod why;

use super::Context;
use crate::exit::Result;
use crate::triggers::Which;

/// Look at schedules, and act on them.
#[derive(Debug, clap::Subcommand)]
#[command(long_about = "\
Look at schedules, and act on them. A schedule is named WORKFLOW/ID, or by its workflow when that has
one only. `moa up` serves schedules; what only reads works without it.")]
#[command(after_help = "\
Examples:
  moa schedules list
  moa schedules next
  moa schedules next report -n 5
  moa schedules why report 2026-03-29T02:30
  moa schedules pause report --reason 'the printer is out of order'
  moa schedules backfill report 2026-01-01 2026-02-01 --dry-run")]
pub enum Command {
    /// List the schedules: state, next slot, last outcome
    List(look::ListArgs),
    /// Show the next slots before they happen
    Next(next::Args),
    /// Show what became of the slots of a schedule, the newest first
    Slots(look::SlotsArgs),
    /// Say why a schedule starts nothing now, or what an instant is to it
    Why(why::Args),
    /// Start no more runs of a schedule until it is resumed
    Pause(change::PauseArgs),
    /// Start runs of a paused schedule again
    Resume(change::ResumeArgs),
    /// Start a run of a schedule now
    Trigger(change::StartArgs),
    /// Start the slots of a range of the past
    Backfill(backfill::Args),
}

/// Does what the command line says.
pub fn run(command: Command, context: &Context) -> Result {
    let which = Which::Schedules;
    match command {
        Command::List(args) => look::list(args, which, context),
        Command::Next(args) => next::run(args, context),
        Command::Slots(args) => look::slots(args, which, context),
        Command::Why(args) => why::run(args, which, context),
        Command::Pause(args) => change::pause(args, which, context),
        Command::Resume(args) => change::resume(args, which, context),
        Command::Trigger(args) => change::start(args, which, context),
        Command::Backfill(args) => backfill::run(args, context),
    }
}
