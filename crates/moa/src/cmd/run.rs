//! `moa run`

use std::time::Duration;

use moa_core::ids::{Name, RunId};
use moa_core::run::RunStatus;
use moa_core::workflow::Priority;
use moa_engine::handle::Started;

use super::follow::{Followed, Watching, follow, no_observer};
use super::{Context, params, runtime};
use crate::control::client::Client;
use crate::control::protocol::StartRun;
use crate::exit::{Exit, Failure, Result};
use crate::host::{self, Asks, Host};
use crate::live::{Mode, Screen};
use crate::place::Place;
use crate::reader::Reader;
use crate::view::result::WorkflowResult;
use crate::view::{self, summary, tree};

/// How long what still runs gets at the end of a node that was started for one run: runs that others
/// have started on it, and what the run has started and did not wait for.
const DRAIN: Duration = Duration::from_secs(10);

/// Whether a command that starts a run waits for its end, and what it shows.
#[derive(Debug, Clone, Copy, clap::Args)]
#[group(skip)]
pub struct Wait {
    /// Show the steps while they run
    #[arg(long, short)]
    watch: bool,
    /// Don't wait for the end; needs a running node
    #[arg(long, short, conflicts_with = "watch")]
    detach: bool,
}

/// Run a workflow.
#[derive(Debug, clap::Args)]
#[command(long_about = "\
Run a workflow: on the node that serves the project, or, where none does, on one that is started
for the time of the run. Waits for the end unless told otherwise.

A node that is started so executes this run and what it starts, and nothing else: other open runs
stay as they are until `moa up` goes on with them. Where this run has to wait for one of them, or
for a person, that is said.

Ctrl-C ends the command, not the run. On a node that stays, the run goes on; else what is at work
is stopped, and `moa up` does it again and goes on. `moa runs cancel RUN` ends a run.")]
#[command(after_help = "\
Examples:
  moa run build-project --param name=shop --watch
  moa run sales-report --params params.json --json | jq .status
  moa run deploy@1.2.0 --dry-run
  moa run nightly --idempotency-key nightly-2026-11-21 --detach

Exit codes: 0 the run succeeded, 1 it failed, 130 it was interrupted; others as for every command")]
pub struct Args {
    /// The workflow: the name of its file without the ending; NAME@VERSION for an older version
    workflow: String,
    #[command(flatten)]
    params: params::Args,
    #[command(flatten)]
    wait: Wait,
    /// Show what would be done, and do nothing
    #[arg(long, conflicts_with_all = ["watch", "detach"])]
    dry_run: bool,
    /// The same key starts one run, however often it is asked for
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    /// Priority of the run's tasks
    #[arg(long, value_name = "PRIORITY", value_parser = priority)]
    priority: Option<Priority>,
}

fn priority(text: &str) -> std::result::Result<Priority, String> {
    match text.to_ascii_lowercase().as_str() {
        "critical" | "p0" | "0" => Ok(Priority::Critical),
        "high" | "p1" | "1" => Ok(Priority::High),
        "medium" | "p2" | "2" => Ok(Priority::Medium),
        "low" | "p3" | "3" => Ok(Priority::Low),
        _ => Err("use critical, high, medium or low (P0 to P3)".into()),
    }
}

/// A workflow as the command line names it: `NAME` or `NAME@VERSION`.
pub fn split_version(text: &str) -> Result<(Name, Option<String>)> {
    let (name, version) = match text.split_once('@') {
        Some((name, version)) => (name, Some(version.to_owned())),
        None => (text, None),
    };
    let stem = name.strip_prefix("workflows/").unwrap_or(name);
    let stem = stem.strip_suffix(".yaml").or_else(|| stem.strip_suffix(".yml")).unwrap_or(stem);
    let name = Name::new(stem).map_err(|e| {
        Failure::usage(format!("{name:?} can't be a workflow: {e}"))
            .hint("a workflow's name is its file's name without the ending")
    })?;
    Ok((name, version))
}

/// Runs a workflow.
pub fn run(args: Args, context: &Context) -> Result {
    let place = context.place()?;
    let (name, version) = split_version(&args.workflow)?;
    let (object, texts) = args.params.read()?;
    let start = StartRun {
        workflow: name,
        version,
        params: object,
        texts,
        idempotency_key: args.idempotency_key.clone(),
        priority: args.priority,
        trace: None,
        cause: "cli".into(),
    };
    if args.dry_run {
        return super::dry_run::run(&place, start, context);
    }
    let name = start.workflow.clone();
    let keyed = start.idempotency_key.is_some();
    // Where the node may end meanwhile, the run can be asked for again of the next one.
    let spare = format!("moa-run-{:016x}", crate::wire::random_u64());
    let needs_key = std::cell::Cell::new(false);
    with_node(&place, context, args.wait, Asks::Again, async |client| {
        let mut start = start.clone();
        needs_key.set(needs_key.get() || client.is_passing());
        if !keyed && needs_key.get() {
            start.idempotency_key = Some(spare.clone());
        }
        let (outcome, warning) = client.start(start).await?;
        if let Some(warning) = warning {
            context.ui.err_raw(&format!("{warning}\n"));
            context.ui.warn(&format!("the file of {name} is broken; its last good version runs"));
        }
        match outcome {
            Started::New { run } => Ok(run),
            Started::Existing { run } => {
                if keyed {
                    context.ui.note(&format!("run {run} has this idempotency key already"));
                }
                Ok(run)
            }
            Started::Skipped => {
                let text = format!("{name} was not run: its concurrency key is used up");
                Err(Failure::refused(text).hint("its workflow says `on_limit: skip`"))
            }
        }
    })
}

/// Lets `start` start a run on the project's node, or on one of our own, and waits for its end. As in
/// [`host::ask`], `start` may be called again.
pub fn with_node(
    place: &Place,
    context: &Context,
    wait: Wait,
    how: Asks,
    start: impl AsyncFn(&mut Client) -> Result<RunId>,
) -> Result {
    let runtime = runtime()?;
    let exit = runtime.block_on(async {
        if wait.detach {
            let what = "nothing would go on with the run";
            let mut client = host::require_lasting(place, what).await?;
            let id = start(&mut client).await?;
            return detached(context, &place.require_reader()?, id).await;
        }
        let (mut host, id) = host::ask(place, how, start).await?;
        let exit = match to_end(context, place, &mut host, wait, id).await {
            Ok(None) => return Ok(left(context, place, host, id).await),
            Ok(Some(exit)) => Ok(exit),
            Err(failure) => Err(failure),
        };
        host.close(DRAIN).await;
        exit
    });
    runtime.shutdown_background();
    exit
}

/// Ends with a run that is not over, and says who goes on with it.
async fn left(context: &Context, place: &Place, host: Host, id: RunId) -> Exit {
    let own = matches!(host, Host::Own(_));
    let stays = match place.connect().await {
        Ok(Some(client)) => !client.node.transient,
        _ => false,
    };
    host.close(Duration::ZERO).await;
    let ui = &context.ui;
    match (own, stays) {
        (false, true) => {
            ui.note(&format!("run {id} goes on at the project's node"));
            ui.hint(&format!("`moa runs watch {id}` shows it, `moa runs cancel {id}` ends it"));
        }
        _ => {
            let now = if own { "is left as it is" } else { "is not over" };
            ui.note(&format!("run {id} {now}, and nothing of it is lost"));
            ui.hint(&format!("`moa up` goes on with it, `moa runs cancel {id}` ends it"));
        }
    }
    Exit::Interrupted
}

/// Follows a run to its end; `None` = it is not over.
async fn to_end(
    context: &Context,
    place: &Place,
    host: &mut Host,
    wait: Wait,
    id: RunId,
) -> Result<Option<Exit>> {
    if !context.ui.json && wait.watch {
        context.ui.note(&format!("run {id}"));
    }
    let mut screen = Screen::new(&context.ui, wait.watch);
    loop {
        let followed = host.or_failed(follow_once(context, place, host, &mut screen, id)).await?;
        match followed {
            Followed::Ended(run) => {
                finish(context, &run, screen.mode());
                return Ok(Some(match run.row.status {
                    RunStatus::Succeeded => Exit::Ok,
                    _ => Exit::Failed,
                }));
            }
            Followed::Left => return Ok(None),
            Followed::Alone => {
                screen.say("the node that executed the run has ended with its own; going on");
                *host = host::take_over(place, id).await?;
            }
        }
    }
}

async fn follow_once(
    context: &Context,
    place: &Place,
    host: &Host,
    screen: &mut Screen<'_>,
    id: RunId,
) -> Result<Followed> {
    // Closed before a node of our own opens the store: see `Host::reader`.
    let reader = host.reader(place)?;
    let take_over = matches!(host, Host::Other { passing: true });
    let watching = Watching { place, reader: &reader, run: id, take_over };
    follow(context, watching, screen, &mut no_observer).await
}

async fn detached(context: &Context, reader: &Reader, id: RunId) -> Result {
    if context.ui.json {
        context.ui.json(&WorkflowResult::new(&reader.run(id).await?));
    } else {
        context.ui.line(&id.to_string());
        context.ui.hint(&format!("`moa runs watch {id}` shows it"));
    }
    Ok(Exit::Ok)
}

/// Says how a run ended, after it was shown in that mode.
pub fn finish(context: &Context, run: &moa_core::machine::Run, shown: Mode) {
    let ui = &context.ui;
    // What failed as a whole has no step that says why.
    let whole = run.steps().all(|row| row.error.is_none());
    let error = run.row.error.as_ref().filter(|_| whole);
    let error = error.map(|error| crate::text::safe_line(&error.message));
    if ui.json {
        ui.json(&WorkflowResult::new(run));
        // The documented result has no place for it.
        if let Some(error) = error {
            ui.err_raw(&format!("error: {error}\n"));
        }
        return;
    }
    if ui.quiet {
        return;
    }
    if shown == Mode::Silent {
        for line in tree::lines(run, crate::show::look(ui, false)) {
            ui.line(&line);
        }
    }
    // The tree has it in its first line.
    if shown != Mode::Tree {
        ui.line(&summary::headline(run, view::now(), ui.out_color()));
    }
    if let Some(output) = run.row.output.as_deref().and_then(|o| o.as_object()) {
        for (name, value) in output {
            ui.line(&format!("  {name}: {}", crate::text::safe_line(&value.to_string())));
        }
    }
    if let Some(error) = error {
        ui.line(&format!("  error: {error}"));
    }
    if run.row.status == RunStatus::Failed {
        let id = run.row.run;
        ui.hint(&format!(
            "`moa runs why {id}` says why, `moa runs logs {id}` shows what was written"
        ));
    }
}
