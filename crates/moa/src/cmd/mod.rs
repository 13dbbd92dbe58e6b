//! One file for each command: its arguments, and what it does.

use std::path::PathBuf;

use crate::cli::{Command, Global};
use crate::exit::{Failure, Result};
use crate::project::Layout;
use crate::ui::Ui;

pub mod agents;
pub mod alerts;
pub mod audit;
pub mod backup;
pub mod completions;
pub mod config;
pub mod demo;
pub mod doctor;
mod dry_run;
pub mod events;
pub mod explain;
pub mod export;
pub mod expr;
mod follow;
mod idle;
pub mod init;
pub mod jobs;
pub mod limits;
pub mod metrics;
pub mod notify;
pub mod open;
pub mod params;
pub mod restore;
pub mod rules;
pub mod run;
pub mod runs;
pub mod schedules;
pub mod schema;
pub mod secrets;
pub mod service;
pub mod state;
pub mod test;
pub mod token;
pub mod triggers;
pub mod up;
pub mod workflows;

/// What every command has at hand.
pub struct Context {
    /// Where it writes.
    pub ui: Ui,
    /// The project's folder, if it was named.
    pub project: Option<PathBuf>,
}

impl Context {
    /// Takes the global flags.
    pub fn new(global: Global) -> Self {
        let ui = Ui::new(global.color, global.json, global.quiet, global.verbose);
        Self { ui, project: global.project }
    }

    /// Refuses `--json` where the output is text of another language.
    pub fn no_json(&self, output: &str) -> Result<()> {
        match self.ui.json {
            false => Ok(()),
            true => Err(Failure::usage(format!("this prints {output}, which --json can't be"))
                .hint("leave --json away")),
        }
    }

    /// Finds the project.
    pub fn layout(&self) -> Result<Layout> {
        Layout::find(self.project.as_deref())
    }
}

/// A runtime for one thread: commands wait more than they compute.
pub fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::io("can't start the runtime", &e))
}

/// Does what the command line says.
pub fn dispatch(command: Command, context: &Context) -> Result {
    match command {
        Command::Init(args) => init::run(args, context),
        Command::Demo(args) => demo::run(args, context),
        Command::Up(args) => up::run(args, context),
        Command::Open(args) => open::run(args, context),
        Command::Token(command) => token::run(command, context),
        Command::Run(args) => run::run(args, context),
        Command::Runs(command) => runs::run(command, context),
        Command::Workflows(command) => workflows::run(command, context),
        Command::Agents(command) => agents::run(command, context),
        Command::Schedules(command) => schedules::run(command, context),
        Command::Triggers(command) => triggers::run(command, context),
        Command::Rules(command) => rules::run(command, context),
        Command::Limits(args) => limits::run(args, context),
        Command::Metrics(args) => metrics::metrics(args, context),
        Command::Targets(args) => metrics::targets(args, context),
        Command::Events(command) => events::run(command, context),
        Command::Expr(args) => expr::run(args, context),
        Command::Test(args) => test::run(args, context),
        Command::State(args) => state::run(args, context),
        Command::Jobs(command) => jobs::run(command, context),
        Command::Alerts(command) => alerts::run(command, context),
        Command::Notify(command) => notify::run(command, context),
        Command::Backup(args) => backup::run(args, context),
        Command::Secrets(command) => secrets::run(command, context),
        Command::Audit(command) => audit::run(command, context),
        Command::Service(command) => service::run(command, context),
        Command::Restore(args) => restore::run(args, context),
        Command::Doctor(args) => doctor::run(args, context),
        Command::Export(args) => export::run(args, context),
        Command::Config(args) => config::run(args, context),
        Command::Schema(args) => schema::run(args, context),
        Command::Explain(args) => explain::run(args, context),
        Command::Completions(args) => completions::run(args, context),
    }
}
