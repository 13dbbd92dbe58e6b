//! `moa runs cancel`, `terminate`, `pause`, `resume`, `signal`

use std::time::Duration;

use moa_core::ids::RunId;
use moa_core::run::RunStatus;
use moa_engine::handle::Change;
use serde_json::{Map, Value as Json, json};

use crate::cmd::{Context, params, runtime};
use crate::control::client::Client;
use crate::exit::{Exit, Failure, Result};
use crate::host::{self, Asks, Host};
use crate::place::Place;

/// A run to pause.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  moa runs pause last
  moa runs pause 5f2c

Attempts that run go on to their end; no new one starts until `moa runs resume`.")]
pub struct PauseArgs {
    /// The run
    run: String,
}

/// A run to resume.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  moa runs resume last
  moa runs resume 5f2c")]
pub struct ResumeArgs {
    /// The run
    run: String,
}

/// A run to stop.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  moa runs cancel last --reason 'wrong params'
  moa runs terminate 5f2c

Cancel stops what runs, then does what cleans up (compensate, finally); terminate does not.")]
pub struct StopArgs {
    /// The run
    run: String,
    /// Why, for people
    #[arg(long, default_value = "asked for on the command line", hide_default_value = true)]
    reason: String,
}

/// A signal.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  moa runs signal last go
  moa runs signal last approve.release --payload '{\"approved\": true, \"comment\": \"fine\"}'
  moa runs signal last approve.release -p approved=false -p comment='not yet'")]
pub struct SignalArgs {
    /// The run
    run: String,
    /// The signal's name; `approve.STEP` decides the approval STEP
    name: String,
    /// What it carries: JSON, or else text
    #[arg(long, value_name = "JSON")]
    payload: Option<String>,
    #[command(flatten)]
    params: params::Args,
    /// The same key is the same signal, however often it is sent
    #[arg(long)]
    key: Option<String>,
}

/// Cancels a run.
pub fn cancel(args: StopArgs, context: &Context) -> Result {
    let change = Change::Cancel { reason: args.reason };
    apply(context, &args.run, change, "is being cancelled")
}

/// Terminates a run.
pub fn terminate(args: StopArgs, context: &Context) -> Result {
    let change = Change::Terminate { reason: args.reason };
    apply(context, &args.run, change, "is terminated")
}

/// Pauses a run.
pub fn pause(args: PauseArgs, context: &Context) -> Result {
    apply(context, &args.run, Change::Pause, "is paused")
}

/// Resumes a run.
pub fn resume(args: ResumeArgs, context: &Context) -> Result {
    apply(context, &args.run, Change::Resume, "is resumed")
}

/// Sends a signal.
pub fn signal(args: SignalArgs, context: &Context) -> Result {
    let (object, texts) = args.params.read()?;
    let payload = match &args.payload {
        Some(_) if !object.is_empty() || !texts.is_empty() => {
            let text = "give the payload either with --payload or with --param";
            return Err(Failure::usage(text));
        }
        Some(text) => params::json_or_text(text, "--payload", "{\"approved\": true}")?,
        None => {
            let mut payload: Map<String, Json> = object;
            payload.extend(texts.into_iter().map(|(name, text)| {
                let value = moa_spec::free_param(&text);
                (name, value)
            }));
            Json::Object(payload)
        }
    };
    let words = format!("has the signal {}", args.name);
    let change = Change::Signal { name: args.name, key: args.key, payload };
    apply(context, &args.run, change, &words)
}

fn apply(context: &Context, run: &str, change: Change, words: &str) -> Result {
    let place = context.place()?;
    let runtime = runtime()?;
    let exit = runtime.block_on(async {
        let id = find_open(&place, run).await?;
        let ask = async |client: &mut Client| {
            client.change(id, change.clone()).await?;
            // What is asked behind it must not have it done twice.
            Ok(client.status().await.map(|status| status.engine.only))
        };
        let (host, only) = host::ask(&place, Asks::Once, ask).await?;
        let done = done(&place, &host, id, only).await;
        // It was there for the change alone.
        host.close(Duration::ZERO).await;
        let Done { status, executed } = done?;
        if context.ui.json {
            context.ui.json(&json!({"run": id, "done": true, "executed": executed}));
        } else if status.is_terminal() {
            context.ui.note(&format!("run {id} is {}", status.as_str()));
        } else {
            context.ui.note(&format!("run {id} {words}"));
            if !executed {
                let text =
                    "that is recorded, but nobody executes the run now: `moa up` goes on with it";
                context.ui.hint(text);
            }
        }
        Ok(Exit::Ok)
    });
    runtime.shutdown_background();
    exit
}

/// The run, if it has not ended. What is known without a node is said without one.
async fn find_open(place: &Place, run: &str) -> Result<RunId> {
    let reader = place.require_reader()?;
    let id = reader.find(run).await?;
    let row = reader.head(id).await?.row;
    if row.status.is_terminal() {
        let text = format!("run {id} has ended ({}), and never changes", row.status.as_str());
        return Err(
            Failure::refused(text).hint("`moa runs retry`, `rerun` or `fork` make a new run of it")
        );
    }
    Ok(id)
}

/// How a run is after a change.
struct Done {
    status: RunStatus,
    /// Whether a node executes it.
    executed: bool,
}

/// `only` = what the node serves, as far as it said so: one that has ended executes nothing.
async fn done(
    place: &Place,
    host: &Host,
    id: RunId,
    only: Result<Option<Vec<RunId>>>,
) -> Result<Done> {
    let reader = host.reader(place)?;
    let status = reader.head(id).await?.row.status;
    let executed = match only {
        Ok(Some(only)) => reader.not_below(&only, [id]).await?.is_empty(),
        Ok(None) => true,
        // A node that was there for this run ends with it, perhaps before it could say so.
        Err(_) => status.is_terminal(),
    };
    Ok(Done { status, executed })
}
