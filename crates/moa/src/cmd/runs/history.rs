//! `moa runs history` and `moa runs export`

use crate::cmd::{Context, runtime};
use crate::exit::{Exit, Result};
use crate::table::{Cell, Table};
use crate::ui::Style;
use crate::view::events::{Names, told, type_of};
use crate::view::{check_format, export};

/// Show what happened in a run.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  moa runs history last
  moa runs history last --json | jq '.[] | select(.type == \"moa.attempt.failed\")'")]
pub struct Args {
    /// The run
    run: String,
}

/// Shows the history.
pub fn run(args: Args, context: &Context) -> Result {
    let place = context.place()?;
    runtime()?.block_on(async {
        let reader = place.require_reader()?;
        let id = reader.find(&args.run).await?;
        let history = reader.history(id, 0).await?;
        let mut names = Names::default();
        let mut table = Table::new(&["VERSION", "TIME", "TYPE", "STEP", "REMARK"]);
        let mut documents = Vec::new();
        for row in &history {
            let (workflow, steps) = names.of(&reader, row).await?;
            for event in told(row, &workflow, &steps) {
                if context.ui.json {
                    documents.push(event.cloud_event());
                    continue;
                }
                let at = row.at.to_string();
                table.row(vec![
                    row.version.to_string().into(),
                    Cell::pair(at.get(11..23).unwrap_or(&at), &at).style(Style::Dim),
                    type_of(event.event).into(),
                    event.step.unwrap_or_default().into(),
                    event.remark().into(),
                ]);
            }
        }
        if context.ui.json {
            context.ui.json(&documents);
        } else {
            table.print(&context.ui, "nothing has happened");
        }
        Ok(Exit::Ok)
    })
}

/// Write a run with its whole history as JSON.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  moa runs export last > run.json")]
pub struct ExportArgs {
    /// The run
    run: String,
    /// In the form that history checkers read
    #[arg(long)]
    check_format: bool,
}

/// Writes a run.
pub fn export(args: ExportArgs, context: &Context) -> Result {
    let place = context.place()?;
    runtime()?.block_on(async {
        let reader = place.require_reader()?;
        let id = reader.find(&args.run).await?;
        let run = reader.run(id).await?;
        let history = reader.history(id, 0).await?;
        let document = match args.check_format {
            true => check_format::run(&run, &history),
            false => export::run(&run, &history),
        };
        context.ui.json(&document);
        Ok(Exit::Ok)
    })
}
