//! `moa runs retry`, `rerun`, `fork`: a new run that takes over a part of an ended one.

use moa_core::ids::RunId;
use moa_engine::handle::{ForkFrom, ForkRequest};
use serde_json::Value as Json;

use crate::cmd::run::{Wait, with_node};
use crate::cmd::{Context, params, runtime};
use crate::exit::{Exit, Failure, Result};
use crate::host::Asks;
use crate::place::Place;
use crate::project;

/// Do again what failed.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  moa runs retry last --watch

A run that has ended never changes: a new one of the same workflow version takes over all steps that
don't depend on what is done again.")]
pub struct RetryArgs {
    /// The run, failed or cancelled
    run: String,
    #[command(flatten)]
    wait: Wait,
}

/// Do again a step and all that depends on it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  moa runs rerun last --from deploy --watch
  moa runs rerun last --from 'lint[2]'")]
pub struct RerunArgs {
    /// The run; it must have ended
    run: String,
    /// The step; `lint[2]` names one iteration
    #[arg(long, value_name = "STEP")]
    from: String,
    #[command(flatten)]
    wait: Wait,
}

/// Start a run again, with other params.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  moa runs fork last --param env=staging
  moa runs fork last --from deploy --param replicas=3

Without --from, nothing is taken over: all is done again, from the start. What people decided (approvals,
signals) is asked again when the params differ.")]
pub struct ForkArgs {
    /// The run; it must have ended
    run: String,
    /// Take over the steps that don't depend on this one [default: do everything again]
    #[arg(long, value_name = "STEP")]
    from: Option<String>,
    #[command(flatten)]
    params: params::Args,
    #[command(flatten)]
    wait: Wait,
}

/// Retries a run.
pub fn retry(args: RetryArgs, context: &Context) -> Result {
    repeat(context, &args.run, ForkFrom::Failed, None, args.wait)
}

/// Reruns a run from a step.
pub fn rerun(args: RerunArgs, context: &Context) -> Result {
    repeat(context, &args.run, ForkFrom::Step(args.from), None, args.wait)
}

/// Forks a run.
pub fn fork(args: ForkArgs, context: &Context) -> Result {
    let from = args.from.map_or(ForkFrom::Start, ForkFrom::Step);
    repeat(context, &args.run, from, Some(args.params), args.wait)
}

fn repeat(
    context: &Context,
    run: &str,
    from: ForkFrom,
    changes: Option<params::Args>,
    wait: Wait,
) -> Result {
    let place = context.place()?;
    let (id, params) = runtime()?.block_on(prepare(&place, run, changes))?;
    let whole = from == ForkFrom::Start;
    let request = ForkRequest { run: id, from, params, idempotency_key: None, cause: "cli".into() };
    with_node(&place, context, wait, Asks::Once, async |client| {
        let forked = client.fork(request.clone()).await;
        let new = forked.map_err(|failure| unknown_step(failure, id))?;
        context.ui.note(&match whole {
            true => format!("run {new} does {id} again from the start"),
            false => format!("run {new} takes over from {id}"),
        });
        Ok(new)
    })
}

/// A step that the run doesn't have is not found, rather than refused.
fn unknown_step(mut failure: Failure, run: RunId) -> Failure {
    if failure.message.starts_with("the run has no step") {
        failure.exit = Exit::NotFound;
        // The message ends with a hint of its own.
        if let Some((message, _)) = failure.message.split_once("; ") {
            failure.message = message.to_owned();
        }
        return failure.hint(format!("`moa runs show {run}` names the steps"));
    }
    failure
}

/// Finds the run and the params of the new one: those of the old one, with the changes.
async fn prepare(
    place: &Place,
    run: &str,
    changes: Option<params::Args>,
) -> Result<(RunId, Option<Json>)> {
    let reader = place.require_reader()?;
    let id = reader.find(run).await?;
    let run = reader.run(id).await?;
    if !run.row.status.is_terminal() {
        let failure = Failure::refused(format!("run {id} has not ended"));
        return Err(failure.hint(format!("wait for it, or `moa runs cancel {id}`")));
    }
    let Some(changes) = changes else { return Ok((id, None)) };
    let (object, texts) = changes.read()?;
    let mut params = run.row.params.as_object().cloned().unwrap_or_default();
    params.extend(object);
    let params = project::check_params(run.graph.plan(), params, &texts)?;
    Ok((id, Some(Json::Object(params))))
}
