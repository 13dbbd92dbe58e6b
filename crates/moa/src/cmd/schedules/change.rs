//! `moa schedules pause`, `resume`, `trigger`

use std::sync::Arc;
use std::time::Duration;

use moa_core::schedule::Overlap;
use moa_core::trigger::{Outcome, TriggerAnswer, TriggerCommand};
use moa_core::workflow::Priority;
use serde_json::{Value as Json, json};

use crate::cmd::{Context, params, runtime};
use crate::control::client::Client;
use crate::exit::{Exit, Failure, Result};
use crate::host::{self, Asks};
use crate::place::Place;
use crate::reader::Reader;
use crate::triggers::{self, Known, Which};
use crate::{project, wire};

/// Who asks, in the records.
const BY: &str = "cli";

/// Pause one.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  moa schedules pause report
  moa schedules pause report/evening --reason 'until the audit is over'

Runs that go on are not stopped: `moa runs cancel` does that. What is due meanwhile is recorded as
skipped, and not made up for. It stays paused across restarts and edits, until it is resumed.")]
pub struct PauseArgs {
    /// Its name
    name: String,
    /// Why, for people
    #[arg(long, default_value = "", hide_default_value = true)]
    reason: String,
}

/// Resume one.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  moa schedules resume report")]
pub struct ResumeArgs {
    /// Its name
    name: String,
}

/// Start a run.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  moa schedules trigger report
  moa schedules trigger report --param day=2026-03-01 --overlap allow
  moa schedules trigger report --key ticket-4711 --json

The run gets the params that a slot at this moment would give it; --param wins over them. Where no node
serves the project it is recorded, and begins when `moa up` does.
Exit codes: 0 it started or waits for its turn, 5 it did not start (the reason is said)")]
pub struct StartArgs {
    /// Its name
    name: String,
    #[command(flatten)]
    params: params::Args,
    /// What happens while a run is going on, when not what the definition says
    #[arg(long, value_parser = overlap, value_name = "POLICY")]
    overlap: Option<Overlap>,
    /// Priority, when not the definition's: critical, high, medium, low
    #[arg(long, value_parser = priority)]
    priority: Option<Priority>,
    /// The same key is the same start, however often it is asked for
    #[arg(long)]
    key: Option<String>,
}

fn word<T: serde::de::DeserializeOwned>(text: &str, all: &str) -> std::result::Result<T, String> {
    serde_json::from_value(Json::from(text)).map_err(|_| format!("it is one of {all}"))
}

fn overlap(text: &str) -> std::result::Result<Overlap, String> {
    let all = "skip, buffer_one, buffer_all, cancel_running, terminate_running, allow";
    word(text, all)
}

/// A priority as text.
pub fn priority(text: &str) -> std::result::Result<Priority, String> {
    word(text, "critical, high, medium, low")
}

/// Pauses it.
pub fn pause(args: PauseArgs, which: Which, context: &Context) -> Result {
    let command = TriggerCommand::Pause { by: BY.into(), reason: args.reason };
    switch(&args.name, command, "is paused", which, context)
}

/// Resumes it.
pub fn resume(args: ResumeArgs, which: Which, context: &Context) -> Result {
    switch(&args.name, TriggerCommand::Resume, "goes on", which, context)
}

/// A switch works without a node too: it must hold before one starts.
fn switch(
    name: &str,
    command: TriggerCommand,
    words: &str,
    which: Which,
    context: &Context,
) -> Result {
    let place = context.place()?;
    let runtime = runtime()?;
    let exit = runtime.block_on(async {
        let known = triggers::find(&place, place.open_reader()?.as_ref(), which, name).await?;
        let (host, mut client) = host::open(&place).await?;
        let done = client.trigger(known.spec.id(), command).await;
        host.close(std::time::Duration::ZERO).await;
        let changed = done? != TriggerAnswer::Unchanged;
        let title = known.spec.title();
        if context.ui.json {
            context.ui.json(&json!({"name": title, "changed": changed}));
        } else {
            let already = if changed { "" } else { " already" };
            context.ui.note(&format!("{title} {words}{already}"));
        }
        Ok(Exit::Ok)
    });
    runtime.shutdown_background();
    exit
}

/// Starts a run by hand.
pub fn start(args: StartArgs, which: Which, context: &Context) -> Result {
    let place = context.place()?;
    let runtime = runtime()?;
    let exit = runtime.block_on(async {
        let reader = place.open_reader()?;
        let known = triggers::find(&place, reader.as_ref(), which, &args.name).await?;
        let params = given(&args.params, &known, reader.as_ref()).await?;
        drop(reader);
        let keyed = args.key.is_some();
        let asks = if keyed { Asks::Again } else { Asks::Once };
        let command = TriggerCommand::Start {
            key: args.key.unwrap_or_else(|| format!("{:016x}", wire::random_u64())),
            by: BY.into(),
            params,
            overlap: args.overlap,
            priority: args.priority,
        };
        let (answer, served) = ask(&place, &known, asks, command).await?;
        show(&known, &answer, Asked { which, keyed, served }, context)
    });
    runtime.shutdown_background();
    exit
}

/// Asks a node, or does it without one; answers also whether a node is there that acts on it. A store
/// that is open for reading must have been closed before.
pub async fn ask(
    place: &Place,
    known: &Known,
    asks: Asks,
    command: TriggerCommand,
) -> Result<(TriggerAnswer, bool)> {
    let id = known.spec.id();
    let done = async |client: &mut Client| client.trigger(id, command.clone()).await;
    let (host, answer) = host::ask(place, asks, done).await?;
    let served = host.is_lasting();
    host.close(Duration::ZERO).await;
    Ok((answer, served))
}

/// How a start was asked for.
#[derive(Debug, Clone, Copy)]
struct Asked {
    which: Which,
    keyed: bool,
    /// Whether a node is there that acts on it.
    served: bool,
}

/// The params of the command line, as the workflow declares them.
async fn given(
    args: &params::Args,
    known: &Known,
    reader: Option<&Reader>,
) -> Result<Option<Arc<Json>>> {
    let (mut object, texts) = args.read()?;
    let plan = match reader {
        Some(reader) if !texts.is_empty() || !object.is_empty() => {
            let version = reader.version(&known.spec.workflow, None).await?;
            Some(crate::reader::plan(&version)?)
        }
        _ => None,
    };
    for (name, text) in texts {
        let declared = plan.as_ref().and_then(|plan| plan.params.iter().find(|p| p.name == name));
        let value = match declared {
            Some(spec) => moa_spec::param_from_text(spec, &text)
                .map_err(|e| Failure::usage(format!("the params don't fit: {}", e.message)))?,
            None => moa_spec::free_param(&text),
        };
        object.insert(name, value);
    }
    if let Some(mut plan) = plan {
        // What the trigger adds is known when the run is made.
        plan.params.iter_mut().for_each(|p| p.required &= object.contains_key(&p.name));
        project::check_params(&plan, object.clone(), &[])?;
    }
    Ok((!object.is_empty()).then(|| Arc::new(Json::Object(object))))
}

fn show(known: &Known, answer: &TriggerAnswer, asked: Asked, context: &Context) -> Result {
    let title = known.spec.title();
    let TriggerAnswer::Decided { outcome, run, reason } = answer else {
        return Err(Failure::refused(format!("{title} gave no answer")));
    };
    let why = reason.as_deref().map_or(String::new(), |r| format!(": {r}"));
    if context.ui.json {
        context.ui.json(&json!({
            "name": title, "outcome": outcome.as_str(), "run": run, "reason": reason,
            "served": asked.served,
        }));
    }
    match (outcome, run) {
        (Outcome::Started | Outcome::Deduped, Some(run)) => {
            if !context.ui.json {
                context.ui.line(&run.to_string());
                let again = if *outcome == Outcome::Deduped { " (it was before)" } else { "" };
                context.ui.note(&format!("{title} is started{again}; `moa runs show {run}`"));
                if !asked.served {
                    context.ui.hint(host::RECORDED);
                }
            }
            Ok(Exit::Ok)
        }
        (Outcome::Waiting | Outcome::Buffered, _) => {
            if !context.ui.json {
                context.ui.note(&format!("{title} waits for its turn{why}"));
                if !asked.served {
                    context.ui.hint(host::RECORDED);
                }
            }
            Ok(Exit::Ok)
        }
        (other, _) => {
            let text = format!("{title} was not started ({}){why}", other.as_str());
            let failure = Failure::refused(text);
            // The same key is the same answer, whatever else is asked with it.
            let anew = if asked.keyed { ", with another --key" } else { "" };
            Err(match other {
                Outcome::SkippedOverlap => {
                    failure.hint(format!("--overlap allow starts it all the same{anew}"))
                }
                _ => failure.hint(format!("`{} why {title}` says more", asked.which.command())),
            })
        }
    }
}
