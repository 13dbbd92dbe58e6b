//! `moa triggers`

use std::sync::Arc;

use moa_core::trigger::{Source, Trial, Trigger, TriggerState};
use serde_json::{Value as Json, json};

use super::schedules::{change, look, why};
use super::{Context, params, runtime};
use crate::exit::{Exit, Failure, Result};
use crate::triggers::{self, Which};
use crate::view::now;
use crate::{project, text};

/// Look at triggers of all kinds, and act on them.
#[derive(Debug, clap::Subcommand)]
#[command(long_about = "\
Look at triggers of all kinds, and act on them: schedules, other workflows' runs, events, files. A trigger
is named WORKFLOW/ID, or by its workflow when that has one only. `moa schedules` does more with those that
have a clock.")]
#[command(after_help = "\
Examples:
  moa triggers list
  moa triggers history mailer/paid
  moa triggers test mailer/paid --data '{\"amount\": 7}'
  moa triggers pause mailer/paid --reason 'the shop is closed'")]
pub enum Command {
    /// List the triggers: state, what they react to, last outcome
    List(look::ListArgs),
    /// Show what became of occurrences, the newest first
    History(look::SlotsArgs),
    /// Say why a trigger starts nothing now
    Why(why::Args),
    /// Say what an event would do, and do nothing
    Test(TestArgs),
    /// Start no more runs of a trigger until it is resumed
    Pause(change::PauseArgs),
    /// Start runs of a paused trigger again
    Resume(change::ResumeArgs),
    /// Start a run of a trigger now
    #[command(after_help = START_EXAMPLES)]
    Start(change::StartArgs),
}

const START_EXAMPLES: &str = "\
Examples:
  moa triggers start mailer/paid
  moa triggers start mailer/paid --param amount=7 --overlap allow
  moa triggers start mailer/paid --key ticket-4711 --json

--param wins over the params that the trigger gives; its event is of the type `manual`.
Exit codes: 0 it started or waits for its turn, 5 it did not start (the reason is said)";

/// Try an event.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  moa triggers test mailer/paid --data '{\"amount\": 7}'
  moa triggers test mailer/paid -p amount=7 --json

Evaluates `match` and `params` as the trigger would, with its state as it is, and starts nothing.
Exit codes: 0 it would start a run, 1 it would not")]
pub struct TestArgs {
    /// Its name
    name: String,
    /// What the event carries: JSON, or else text
    #[arg(long, value_name = "JSON", conflicts_with_all = ["params", "file"])]
    data: Option<String>,
    #[command(flatten)]
    params: params::Args,
}

impl TestArgs {
    /// The same of the rule of that name.
    pub fn of_rule(mut self) -> Self {
        if !self.name.starts_with("rule:") {
            self.name.insert_str(0, "rule:");
        }
        self
    }
}

/// Does what the command line says.
pub fn run(command: Command, context: &Context) -> Result {
    let which = Which::All;
    match command {
        Command::List(args) => look::list(args, which, context),
        Command::History(args) => look::slots(args, which, context),
        Command::Why(args) => why::run(args, which, context),
        Command::Test(args) => test(args, context),
        Command::Pause(args) => change::pause(args, which, context),
        Command::Resume(args) => change::resume(args, which, context),
        Command::Start(args) => change::start(args, which, context),
    }
}

/// Says what an event would do.
pub fn test(args: TestArgs, context: &Context) -> Result {
    let place = context.place()?;
    let data = match &args.data {
        Some(text) => params::json_or_text(text, "--data", "{\"amount\": 7}")?,
        None => {
            let (mut data, texts) = args.params.read()?;
            data.extend(texts.into_iter().map(|(name, text)| {
                let value = moa_spec::free_param(&text);
                (name, value)
            }));
            Json::Object(data)
        }
    };
    runtime()?.block_on(async {
        let reader = place.open_reader()?;
        let known = triggers::find(&place, reader.as_ref(), Which::All, &args.name).await?;
        let kind = match &known.spec.source {
            Source::Event { event, .. } => event.clone(),
            Source::Outside { by, .. } => by.clone(),
            Source::Runs { .. } => "run.ended".into(),
            Source::Schedule(_) => {
                let text = format!("{} reacts to no event", known.spec.title());
                let hint = format!("`moa schedules why {}` explains its slots", known.spec.title());
                return Err(Failure::usage(text).hint(hint));
            }
        };
        let state = known.row.as_ref().map_or_else(TriggerState::default, |r| r.state.clone());
        let trigger = Trigger::restore(known.spec.clone(), state, 0)
            .map_err(|e| Failure::new(Exit::Invalid, e.to_string()))?;
        let mut trial = trigger.trial(&kind, &Arc::new(data), now());
        let loaded = place.load().await?;
        let served = loaded.project.workflows.get(&known.spec.workflow);
        if let (true, Some(Json::Object(params)), Some(served)) =
            (trial.starts, &trial.params, served)
            && let Err(failure) = project::check_params(&served.plan, params.clone(), &[])
        {
            trial = trial.refused(failure.message);
        }
        Ok(tell(&known.spec.title(), &trial, context))
    })
}

fn tell(title: &str, trial: &Trial, context: &Context) -> Exit {
    let ui = &context.ui;
    if ui.json {
        ui.json(&json!({
            "name": title, "starts": trial.starts, "matches": trial.matches,
            "outcome": trial.outcome.map(|o| o.as_str()), "reason": trial.reason,
            "params": trial.params,
        }));
    } else {
        let why = trial.reason.as_deref().map_or(String::new(), |r| format!(": {r}"));
        let verdict = match (trial.starts, trial.outcome) {
            (true, _) => "would start a run".to_owned(),
            (false, Some(outcome)) => format!("would start none ({}){why}", outcome.as_str()),
            (false, None) => format!("would pass it over{why}"),
        };
        ui.line(&text::safe_line(&format!("{title} {verdict}")));
        if let Some(params) = &trial.params {
            ui.line(&text::safe_line(&format!("  params {params}")));
        }
    }
    if trial.starts { Exit::Ok } else { Exit::Failed }
}
