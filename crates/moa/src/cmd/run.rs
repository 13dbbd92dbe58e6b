//! `moa run`

use std::time::Duration;

use moa_core::ids::{Name, RunId};
use moa_core::run::RunStatus;
use moa_core::workflow::Priority;
use moa_engine::handle::Started;

use super::follow::{Followed, OnInterrupt, Watching, follow, no_observer};
use super::{Context, params, runtime};
use crate::control::client::Client;
use crate::control::protocol::StartRun;
use crate::exit::{Exit, Failure, Result};
use crate::host::{self, Host};
use crate::project::Layout;
use crate::reader::Reader;
use crate::view::live::{Mode, Screen};
use crate::view::result::WorkflowResult;
use crate::view::{self, summary, tree};

/// How long attempts of other runs get when a node was started for one run only.
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

A node that is started so also goes on with the project's other open runs. When it ends, it stops
their attempts; those don't count, and the next node makes them again.

Ctrl-C asks the run to cancel; a second one ends it at once.")]
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
    let layout = context.layout()?;
    let (name, version) = split_version(&args.workflow)?;
    let (object, texts) = args.params.read()?;
    let start = StartRun {
        workflow: name,
        version,
        params: object,
        texts,
        idempotency_key: args.idempotency_key.clone(),
        priority: args.priority,
        cause: "cli".into(),
    };
    if args.dry_run {
        return super::dry_run::run(&layout, start, context);
    }
    let name = start.workflow.clone();
    with_node(&layout, context, args.wait, async move |client| {
        let (outcome, warning) = client.start(start).await?;
        if let Some(warning) = warning {
            context.ui.err_raw(&format!("{warning}\n"));
            context.ui.warn(&format!("the file of {name} is broken; its last good version runs"));
        }
        match outcome {
            Started::New { run } => Ok(run),
            Started::Existing { run } => {
                context.ui.note(&format!("run {run} has this idempotency key already"));
                Ok(run)
            }
            Started::Skipped => {
                let text = format!("{name} was not run: its concurrency key is used up");
                Err(Failure::refused(text).hint("its workflow says `on_limit: skip`"))
            }
        }
    })
}

/// Lets `start` start a run on the project's node, or on one of our own, and waits for its end.
pub fn with_node(
    layout: &Layout,
    context: &Context,
    wait: Wait,
    start: impl AsyncFnOnce(&mut Client) -> Result<RunId>,
) -> Result {
    let runtime = runtime()?;
    let exit = runtime.block_on(async {
        let (host, mut client) = match wait.detach {
            true => {
                let client = host::require(layout, "nothing would go on with the run").await?;
                (Host::Other, client)
            }
            false => host::open(layout).await?,
        };
        let work = async {
            let id = start(&mut client).await?;
            to_end(context, layout, host.reader(layout)?, wait, id).await
        };
        let exit = tokio::select! {
            exit = work => exit,
            failure = host.failed() => Err(failure),
        };
        let interrupted = matches!(exit, Ok(Exit::Interrupted));
        host.close(if interrupted { Duration::ZERO } else { DRAIN }).await;
        exit
    });
    runtime.shutdown_background();
    exit
}

async fn to_end(
    context: &Context,
    layout: &Layout,
    reader: Reader,
    wait: Wait,
    id: RunId,
) -> Result {
    if wait.detach {
        return detached(context, &reader, id).await;
    }
    if !context.ui.json && wait.watch {
        context.ui.note(&format!("run {id}"));
    }
    let mut screen = Screen::new(&context.ui, wait.watch);
    let watching = Watching { layout, reader: &reader, run: id };
    let on_interrupt = OnInterrupt::Cancel;
    match follow(context, watching, &mut screen, on_interrupt, &mut no_observer).await? {
        Followed::Ended(run, interrupted) => {
            finish(context, &run, screen.mode());
            Ok(match run.row.status {
                RunStatus::Succeeded => Exit::Ok,
                _ if interrupted => Exit::Interrupted,
                _ => Exit::Failed,
            })
        }
        Followed::Left => {
            context.ui.note(&format!("run {id} is not over; it goes on with `moa up`"));
            Ok(Exit::Interrupted)
        }
    }
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
    if ui.json {
        return ui.json(&WorkflowResult::new(run));
    }
    if ui.quiet {
        return;
    }
    if shown == Mode::Silent {
        for line in tree::lines(run, summary::look(ui, false)) {
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
    // What failed as a whole has no step that says why.
    let whole = run.steps().all(|row| row.error.is_none());
    if let Some(error) = run.row.error.as_ref().filter(|_| whole) {
        ui.line(&format!("  error: {}", crate::text::safe_line(&error.message)));
    }
    if run.row.status == RunStatus::Failed {
        let id = run.row.run;
        ui.hint(&format!(
            "`moa runs why {id}` says why, `moa runs logs {id}` shows what was written"
        ));
    }
}
