//! The command line as a whole. Each command's own arguments stand in its file in [`crate::cmd`].

use std::path::PathBuf;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::cmd;
use crate::ui::ColorChoice;

/// A durable orchestrator of agents: workflows as YAML, every step kept in a local store.
#[derive(Debug, Parser)]
#[command(name = "moa", version, max_term_width = 100, after_help = EXAMPLES)]
#[command(propagate_version = false, disable_help_subcommand = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// Flags of every command.
    #[command(flatten)]
    pub global: Global,
}

impl Cli {
    /// Reads the command line of this process.
    ///
    /// # Errors
    /// It is wrong, or asks for help or the version.
    pub fn read() -> Result<Self, clap::Error> {
        let mut command = flowing(Self::command());
        let mut matches = command.clone().try_get_matches()?;
        Self::from_arg_matches_mut(&mut matches).map_err(|error| error.format(&mut command))
    }
}

/// The same, with texts that are wrapped where the terminal ends, and nowhere else.
fn flowing(mut command: clap::Command) -> clap::Command {
    if let Some(about) = command.get_long_about().map(|text| flow(&text.to_string())) {
        command = command.long_about(about);
    }
    if let Some(after) = command.get_after_help().map(|text| flow(&text.to_string())) {
        command = command.after_help(after);
    }
    command.mut_subcommands(flowing)
}

/// Makes each paragraph one line. Lines that are indented, examples say, stay as they are.
fn flow(text: &str) -> String {
    let mut flowing = String::with_capacity(text.len());
    let mut prose = false;
    for line in text.lines() {
        let is_prose = !line.is_empty() && !line.starts_with(' ');
        if !flowing.is_empty() {
            flowing.push(if prose && is_prose { ' ' } else { '\n' });
        }
        flowing.push_str(line);
        prose = is_prose;
    }
    flowing
}

const EXAMPLES: &str = "\
Examples:
  moa demo                                   see it work
  moa init shop --template project-build     start a project
  moa run build --param name=shop --watch    run a workflow of it
  moa up                                     serve the project until stopped
  moa runs why last                          what a run waits for

Exit codes: 0 ok, 1 a run failed, 2 usage, 3 invalid project files, 4 not found, 5 refused,
6 store unavailable, 7 store damaged, 8 store newer than this moa, 130 interrupted";

/// Flags of every command.
#[derive(Debug, Clone, Default, Args)]
pub struct Global {
    /// What the command works on.
    #[command(flatten)]
    pub at: Where,
    /// Write JSON
    #[arg(long, global = true, help_heading = "Global options")]
    pub json: bool,
    /// Leave out notes and hints
    #[arg(long, short, global = true, help_heading = "Global options")]
    pub quiet: bool,
    /// When to use colours: auto, always, never
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto", value_enum)]
    #[arg(help_heading = "Global options", hide_default_value = true, hide_possible_values = true)]
    pub color: ColorChoice,
    /// Say more; twice for even more
    #[arg(long, short, global = true, action = clap::ArgAction::Count)]
    #[arg(help_heading = "Global options")]
    pub verbose: u8,
}

/// Flags that say what a command works on.
#[derive(Clone, Default, Args)]
#[group(skip)]
pub struct Where {
    /// The project's folder; default: the nearest folder above with a moa.yaml
    #[arg(long, global = true, value_name = "DIR", help_heading = "Global options")]
    pub project: Option<PathBuf>,
    /// A node elsewhere, by the address of its API (MOA_URL)
    #[arg(long, global = true, value_name = "URL", help_heading = "Global options")]
    pub url: Option<String>,
    /// A node elsewhere, by its name in `moa context list` (MOA_CONTEXT)
    #[arg(long, global = true, value_name = "NAME", help_heading = "Global options")]
    pub context: Option<String>,
    /// A file with the token for it; '-' = stdin (MOA_TOKEN holds a token itself)
    #[arg(long, global = true, value_name = "FILE", help_heading = "Global options")]
    pub token_file: Option<PathBuf>,
    /// The token itself. Other users of this machine see it, by `ps`: better --token-file
    #[arg(long, global = true, value_name = "TOKEN", help_heading = "Global options")]
    pub token: Option<String>,
    /// A file with the authority of its certificate, as PEM (MOA_CA_CERT)
    #[arg(long, global = true, value_name = "FILE", help_heading = "Global options")]
    pub ca_cert: Option<PathBuf>,
}

impl std::fmt::Debug for Where {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The token is nobody's business.
        f.debug_struct("Where").field("url", &self.url).field("context", &self.context).finish()
    }
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a new project from a template
    Init(cmd::init::Args),
    #[command(about = "See it work: real workflows, and a crash in the middle")]
    Demo(cmd::demo::Args),
    Up(cmd::up::Args),
    Open(cmd::open::Args),
    Top(cmd::top::Args),
    #[command(subcommand)]
    Token(cmd::token::Command),
    #[command(subcommand)]
    Context(cmd::context::Command),
    Run(cmd::run::Args),
    /// Look at runs and change them
    #[command(subcommand)]
    Runs(cmd::runs::Command),
    /// Look at workflows, run, check and format them
    #[command(subcommand)]
    Workflows(cmd::workflows::Command),
    /// Look at agents and try them
    #[command(subcommand)]
    Agents(cmd::agents::Command),
    #[command(subcommand)]
    Schedules(cmd::schedules::Command),
    #[command(subcommand)]
    Triggers(cmd::triggers::Command),
    #[command(subcommand)]
    Rules(cmd::rules::Command),
    Limits(cmd::limits::Args),
    Metrics(cmd::metrics::MetricsArgs),
    Targets(cmd::metrics::TargetsArgs),
    /// Look at what happened
    #[command(subcommand)]
    Events(cmd::events::Command),
    /// Evaluate an expression
    Expr(cmd::expr::Args),
    /// Run the tests that workflows bring along, on virtual time
    Test(cmd::test::Args),
    /// Show the state of everything as one JSON document
    State(cmd::state::Args),
    /// Look at what a node does beside its runs
    #[command(subcommand)]
    Jobs(cmd::jobs::Command),
    #[command(subcommand)]
    Alerts(cmd::alerts::Command),
    #[command(subcommand)]
    Notify(cmd::notify::Command),
    #[command(subcommand)]
    Webhooks(cmd::webhooks::Command),
    #[command(subcommand)]
    Secrets(cmd::secrets::Command),
    #[command(subcommand)]
    Audit(cmd::audit::Command),
    Backup(cmd::backup::Args),
    /// Let the system keep a node running
    #[command(subcommand)]
    Service(cmd::service::Command),
    Restore(cmd::restore::Args),
    /// Check the project, the store and this machine
    Doctor(cmd::doctor::Args),
    /// Write every run with its whole history
    Export(cmd::export::Args),
    /// Show each setting, its value, and where it came from
    Config(cmd::config::Args),
    /// Print the JSON Schema of a kind of file
    Schema(cmd::schema::Args),
    /// Explain the code of a message, such as MOA0204
    Explain(cmd::explain::Args),
    /// Print the completion script of a shell
    Completions(cmd::completions::Args),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paragraphs_are_lines_and_examples_stay() {
        let text = "Words that\ngo on.\n\nExamples:\n  moa a\n  moa b\n\nMore of\nit: x,\ny";
        let wanted = "Words that go on.\n\nExamples:\n  moa a\n  moa b\n\nMore of it: x, y";
        assert_eq!(flow(text), wanted);
        flowing(Cli::command()).debug_assert();
    }
}
