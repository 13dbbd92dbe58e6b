//! `moa runs`

mod change;
mod compare;
mod history;
mod list;
mod logs;
mod repeat;
pub mod show;
mod why;

use super::Context;
use crate::exit::Result;

/// Look at runs and change them.
///
/// RUN is an id, a unique start or end of one, or `last`.
#[derive(Debug, clap::Subcommand)]
#[command(after_help = "\
RUN is an id, a unique start or end of one, or `last`.

Examples:
  moa runs list --status failed
  moa runs show last
  moa runs why 5f2c
  moa runs retry last --watch")]
pub enum Command {
    /// List runs, newest first
    List(list::Args),
    /// Show a run: its step tree, attempts, errors
    Show(show::Args),
    /// Show a run while it goes on
    Watch(show::WatchArgs),
    /// Show what differs between a run and another one
    Compare(compare::Args),
    /// Say for everything that doesn't run why, until when, and what would unblock it
    Why(why::Args),
    /// Ask a run to end; what cleans up still runs
    Cancel(change::StopArgs),
    /// End a run now
    Terminate(change::StopArgs),
    /// Start no new attempt of a run
    Pause(change::PauseArgs),
    /// Start attempts of a paused run again
    Resume(change::ResumeArgs),
    /// Send a signal to a run, or decide an approval
    Signal(change::SignalArgs),
    /// Do again what failed, as a new run that takes over the rest
    Retry(repeat::RetryArgs),
    /// Do again a step and all that depends on it, as a new run
    Rerun(repeat::RerunArgs),
    /// Start a run again, with other params
    Fork(repeat::ForkArgs),
    /// Show what happened in a run
    History(history::Args),
    /// Show what the attempts of a run wrote
    Logs(logs::Args),
    /// Write a run with its whole history as JSON
    Export(history::ExportArgs),
}

/// Does what the command line says.
pub fn run(command: Command, context: &Context) -> Result {
    match command {
        Command::List(args) => list::run(args, context),
        Command::Show(args) => show::run(args, context),
        Command::Watch(args) => show::watch(args, context),
        Command::Compare(args) => compare::run(args, context),
        Command::Why(args) => why::run(args, context),
        Command::Cancel(args) => change::cancel(args, context),
        Command::Terminate(args) => change::terminate(args, context),
        Command::Pause(args) => change::pause(args, context),
        Command::Resume(args) => change::resume(args, context),
        Command::Signal(args) => change::signal(args, context),
        Command::Retry(args) => repeat::retry(args, context),
        Command::Rerun(args) => repeat::rerun(args, context),
        Command::Fork(args) => repeat::fork(args, context),
        Command::History(args) => history::run(args, context),
        Command::Logs(args) => logs::run(args, context),
        Command::Export(args) => history::export(args, context),
    }
}
