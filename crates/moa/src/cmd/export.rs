//! `moa export`

use moa_core::ids::{Name, RunId};
use moa_ports::views::RunFilter;

use super::{Context, runtime};
use crate::exit::{Exit, Result};
use crate::reader::Reader;
use crate::view::{check_format, export};

/// Runs read at once.
const PAGE: usize = 1000;

/// Write every run with its whole history.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  moa export > runs.jsonl
  moa export --check-format > history.jsonl

Each line is a JSON document: a run with its steps, their attempts, and all events. Oldest first.")]
pub struct Args {
    /// In the form that history checkers read
    #[arg(long)]
    check_format: bool,
    /// Only runs of this workflow
    #[arg(long, short)]
    workflow: Option<Name>,
}

/// Writes every run.
pub fn run(args: Args, context: &Context) -> Result {
    let place = context.place()?;
    let Some(reader) = place.open_reader()? else { return Ok(Exit::Ok) };
    runtime()?.block_on(async {
        for id in ids(&reader, args.workflow).await? {
            // Read together with its history: it may go on meanwhile, so cut both at one version.
            let run = reader.run(id).await?;
            let mut history = reader.history(id, 0).await?;
            history.retain(|row| row.version <= run.version);
            let document = match args.check_format {
                true => check_format::run(&run, &history),
                false => export::run(&run, &history),
            };
            context.ui.json_line(&document);
            if context.ui.closed() {
                break;
            }
        }
        Ok(Exit::Ok)
    })
}

async fn ids(reader: &Reader, workflow: Option<Name>) -> Result<Vec<RunId>> {
    let mut filter = RunFilter { workflow, limit: PAGE, ..RunFilter::default() };
    let mut ids: Vec<RunId> = Vec::new();
    loop {
        let page = reader.views.runs(&filter).await?;
        ids.extend(page.iter().map(|run| run.run));
        filter.before = ids.last().copied();
        if page.len() < PAGE {
            ids.reverse();
            return Ok(ids);
        }
    }
}
