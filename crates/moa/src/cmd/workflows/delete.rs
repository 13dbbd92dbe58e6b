//! `moa workflows delete`

use std::time::Duration;

use moa_core::ids::Name;
use serde_json::json;

use crate::cmd::{Context, runtime};
use crate::control::client::Client;
use crate::exit::{Exit, Result};
use crate::host::{self, Asks};
use crate::text;

/// Delete the file of a workflow.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  moa workflows delete old-report
  moa workflows delete old-report --keep-open-runs

It is refused while another file or a rule needs the workflow, or a run of it is open. Its triggers
start nothing more; runs and versions stay as long as `retention` says.")]
pub struct Args {
    /// The workflow
    workflow: Name,
    /// Delete it although runs of it are open: they go on with the version that they have
    #[arg(long)]
    keep_open_runs: bool,
}

/// Deletes it.
pub fn run(args: Args, context: &Context) -> Result {
    let Args { workflow, keep_open_runs } = args;
    let place = context.place()?;
    let runtime = runtime()?;
    let open_runs: Result<usize> = runtime.block_on(async {
        let asks = async |client: &mut Client| {
            client.delete_workflow(workflow.clone(), keep_open_runs).await
        };
        let (host, open_runs) = host::ask(&place, Asks::Once, asks).await?;
        host.close(Duration::ZERO).await;
        Ok(open_runs)
    });
    runtime.shutdown_background();
    let open_runs = open_runs?;
    if context.ui.json {
        context.ui.json(&json!({"deleted": workflow, "open_runs": open_runs}));
        return Ok(Exit::Ok);
    }
    context.ui.note(&format!("{workflow} is deleted"));
    if open_runs > 0 {
        let runs = text::plural(open_runs, "run");
        let goes = if open_runs == 1 { "goes" } else { "go" };
        context.ui.note(&format!("{runs} of it {goes} on with the version that is kept"));
    }
    Ok(Exit::Ok)
}
