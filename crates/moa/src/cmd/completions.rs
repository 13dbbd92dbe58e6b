//! `moa completions`

use clap::CommandFactory;
use clap_complete::Shell;

use super::Context;
use crate::exit::{Exit, Result};

/// Print the completion script of a shell.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  moa completions bash > ~/.local/share/bash-completion/completions/moa
  moa completions zsh > ~/.zfunc/_moa
  moa completions fish > ~/.config/fish/completions/moa.fish")]
pub struct Args {
    /// The shell
    shell: Shell,
}

/// Prints the script.
pub fn run(args: Args, context: &Context) -> Result {
    context.no_json("a script")?;
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut crate::cli::Cli::command(), "moa", &mut script);
    context.ui.raw(&script);
    Ok(Exit::Ok)
}
