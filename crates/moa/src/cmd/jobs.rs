//! `moa jobs`

use moa_core::time::Span;
use moa_engine::jobs::JobStatus;
use serde_json::Value as Json;

use super::{Context, runtime};
use crate::control::client::Client;
use crate::exit::{Exit, Failure, Result};
use crate::host::{self, Host};
use crate::jobs;
use crate::table::{Cell, Table};
use crate::text;
use crate::ui::Style;
use crate::view::now;

/// Look at what a node does beside its runs.
#[derive(Debug, clap::Subcommand)]
#[command(long_about = "\
Look at what a node does beside its runs: deleting what is old, and other housekeeping. Each job has
a rhythm of its own; `run` does one out of turn.")]
#[command(after_help = "\
Examples:
  moa jobs list
  moa jobs run retention --json")]
pub enum Command {
    /// List the jobs, when they are done next, and how they went
    List(ListArgs),
    /// Do a job now, and show what it did
    Run(RunArgs),
}

/// List the jobs.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  moa jobs list --json | jq '.[] | select(.last.error)'")]
pub struct ListArgs {}

/// Do a job now.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  moa jobs run retention
  moa jobs run files --json

Where no node serves the project, one is started for the time being.
Exit codes: 0 it was done, 1 it failed")]
pub struct RunArgs {
    /// The job
    name: String,
}

/// Does what the command line says.
pub fn run(command: Command, context: &Context) -> Result {
    let place = context.place()?;
    let runtime = runtime()?;
    let exit = runtime.block_on(async {
        match command {
            Command::List(ListArgs {}) => {
                let jobs = match place.connect().await? {
                    Some(mut client) => client.jobs().await?,
                    None => jobs::idle(),
                };
                list(&jobs, context);
                Ok(Exit::Ok)
            }
            Command::Run(RunArgs { name }) => {
                if !jobs::ENTRIES.iter().any(|entry| entry.0 == name) {
                    return Err(jobs::unknown(&name));
                }
                let (host, mut client): (Host, Client) = host::open(&place).await?;
                let done = client.run_job(&name).await;
                host.close(std::time::Duration::ZERO).await;
                show(&done?, context)
            }
        }
    });
    runtime.shutdown_background();
    exit
}

fn list(jobs: &[JobStatus], context: &Context) {
    if context.ui.json {
        context.ui.json(&jobs);
        return;
    }
    let mut table = Table::new(&["JOB", "EVERY", "NEXT", "LAST", "RESULT"]);
    for job in jobs {
        let instant = |at: Option<moa_core::time::Millis>| match at {
            Some(at) => Cell::pair(text::relative(at, now()), at.to_string()),
            None => Cell::new("-"),
        };
        let next = match job.running_since {
            Some(_) => Cell::new("now").style(Style::Cyan),
            None => instant(job.next),
        };
        let every = Span(job.every_ms).to_string();
        let last = instant(job.last.as_ref().map(|last| last.started_at));
        table.row(vec![job.name.as_str().into(), every.into(), next, last, outcome(job)]);
    }
    table.print(&context.ui, "there are no jobs");
}

fn outcome(job: &JobStatus) -> Cell {
    match &job.last {
        None => Cell::new(&job.about).style(Style::Dim),
        Some(last) => match &last.error {
            Some(error) => Cell::new(error).style(Style::Red),
            None => Cell::new(last.result.as_ref().map_or(String::new(), Json::to_string)),
        },
    }
}

fn show(job: &JobStatus, context: &Context) -> Result {
    let Some(last) = &job.last else {
        return Err(Failure::refused(format!("the node stopped before {} was done", job.name)));
    };
    if context.ui.json {
        context.ui.json(job);
    }
    if let Some(error) = &last.error {
        return Err(Failure::new(Exit::Failed, format!("{} failed: {error}", job.name)));
    }
    if !context.ui.json {
        let result = last.result.as_ref().map_or(String::new(), Json::to_string);
        context.ui.line(&format!("{} {result}", job.name));
    }
    Ok(Exit::Ok)
}
