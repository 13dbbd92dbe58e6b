//! One file for each command: its arguments, and what it does.

use std::path::PathBuf;
use std::sync::OnceLock;

use crate::cli::{Command, Global, Where};
use crate::exit::{Failure, Result};
use crate::place::Place;
use crate::project::Layout;
use crate::remote::{self, Chosen, Remote};
use crate::ui::Ui;

pub mod agents;
pub mod alerts;
pub mod audit;
pub mod backup;
pub mod completions;
pub mod config;
pub mod context;
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
pub mod top;
pub mod triggers;
pub mod up;
pub mod webhooks;
pub mod workflows;

/// What every command has at hand.
pub struct Context {
    /// Where it writes.
    pub ui: Ui,
    /// What the flags say of what it works on.
    pub at: Where,
    chosen: OnceLock<Chosen>,
}

impl Context {
    /// Takes the global flags.
    pub fn new(global: Global) -> Self {
        let ui = Ui::new(global.color, global.json, global.quiet, global.verbose);
        Self { ui, at: global.at, chosen: OnceLock::new() }
    }

    /// Refuses `--json` where the output is text of another language.
    pub fn no_json(&self, output: &str) -> Result<()> {
        match self.ui.json {
            false => Ok(()),
            true => Err(Failure::usage(format!("this prints {output}, which --json can't be"))
                .hint("leave --json away")),
        }
    }

    /// What it works on, as flags, environment and contexts say.
    pub fn chosen(&self) -> Result<&Chosen> {
        if let Some(chosen) = self.chosen.get() {
            return Ok(chosen);
        }
        let chosen = remote::choose(&self.at)?;
        if let Chosen::There { remote, .. } = &chosen {
            if remote.is_open() {
                let text = "the token goes over the network for everybody to read: use https://";
                self.ui.warn(text);
            }
            self.ui.detail(&format!("asking {}, chosen by {}", remote.url(), remote.by()));
        }
        Ok(self.chosen.get_or_init(|| chosen))
    }

    /// The project that it works on, wherever that is.
    pub fn place(&self) -> Result<Place> {
        match self.chosen()? {
            Chosen::There { remote, .. } => Ok(Place::There(remote.clone())),
            Chosen::Here => Ok(Place::Here(self.find()?)),
        }
    }

    /// The project's folder, for what a node elsewhere can't be asked for.
    pub fn layout(&self) -> Result<Layout> {
        match self.chosen()? {
            Chosen::There { remote, .. } => Err(not_elsewhere(remote)),
            Chosen::Here => self.find(),
        }
    }

    /// The project's folder, for what is of this machine by its nature: the current context changes
    /// nothing about that, but whoever names a node means that node.
    pub fn here(&self) -> Result<Layout> {
        self.require_here()?;
        self.find()
    }

    /// Refuses what is of this machine when another one is named.
    pub fn require_here(&self) -> Result<()> {
        match self.chosen() {
            Ok(Chosen::There { remote, named: true }) => Err(not_elsewhere(remote)),
            Ok(_) => Ok(()),
            // What is of this machine doesn't need a good file of contexts.
            Err(_) if self.at.url.is_none() && self.at.context.is_none() => Ok(()),
            Err(failure) => Err(failure),
        }
    }

    fn find(&self) -> Result<Layout> {
        let named = std::env::var_os("MOA_PROJECT").filter(|value| !value.is_empty());
        let named = self.at.project.clone().or(named.map(PathBuf::from));
        Layout::find(named.as_deref())
    }
}

fn not_elsewhere(remote: &Remote) -> Failure {
    let text = format!("this works on a folder of its own machine, and not on {}", remote.url());
    Failure::refused(text)
        .hint(format!("the node is chosen by {}; --context local is the folder here", remote.by()))
        .hint("call it on that machine")
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
        Command::Top(args) => top::run(args, context),
        Command::Token(command) => token::run(command, context),
        Command::Context(command) => context::run(command, context),
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
        Command::Webhooks(command) => webhooks::run(command, context),
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
