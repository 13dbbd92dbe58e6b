//! `moa workflows`

mod delete;
mod files;
mod fmt;
mod show;
mod versions;

use super::{Context, run, runs};
use crate::exit::Result;

/// Look at workflows, run, check and format them.
#[derive(Debug, clap::Subcommand)]
#[command(after_help = "\
Examples:
  moa workflows list
  moa workflows validate
  moa workflows fmt --check
  moa workflows graph build-project > build-project.mmd")]
pub enum Command {
    /// List workflows
    List(show::ListArgs),
    /// Show a workflow: params, steps, newest runs
    Show(show::Args),
    /// Run a workflow: the same as `moa run`
    Execute(run::Args),
    /// Show a run of a workflow: the same as `moa runs show`
    Status(runs::show::Args),
    /// Report every mistake in the project's files, or in these
    Validate(files::ValidateArgs),
    /// Rewrite workflow files in the usual form
    Fmt(fmt::FmtArgs),
    /// Draw a workflow
    Graph(show::GraphArgs),
    /// List the versions of a workflow that the store keeps
    Versions(versions::Args),
    /// Show what differs between two versions
    Diff(versions::DiffArgs),
    /// Delete the file of a workflow; what its runs did stays
    Delete(delete::Args),
}

/// Does what the command line says.
pub fn run(command: Command, context: &Context) -> Result {
    match command {
        Command::List(args) => show::list(args, context),
        Command::Show(args) => show::run(args, context),
        Command::Execute(args) => run::run(args, context),
        Command::Status(args) => runs::show::run(args, context),
        Command::Validate(args) => files::validate(args, context),
        Command::Fmt(args) => fmt::fmt(args, context),
        Command::Graph(args) => show::graph(args, context),
        Command::Versions(args) => versions::run(args, context),
        Command::Diff(args) => versions::diff(args, context),
        Command::Delete(args) => delete::run(args, context),
    }
}
