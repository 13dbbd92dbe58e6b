//! `moa schedules next`

use moa_core::schedule::{Slot, Timetable};
use moa_core::time::Millis;
use serde_json::Value as Json;

use super::look;
use crate::cmd::{Context, runtime};
use crate::exit::{Exit, Result};
use crate::table::{Cell, Table};
use crate::text;
use crate::triggers::{self, Known, Which};
use crate::ui::Style;
use crate::view::now;
use crate::view::trigger::{instant, slot as slot_document};

/// Show what comes.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  moa schedules next
  moa schedules next report
  moa schedules next report/evening -n 3 --after 2026-03-28 --json

The same code and time zone data as those that start the runs. Slots that depend on the end of a run
(`after:`) can't be foretold. Without a schedule: the next slots of all that are active.")]
pub struct Args {
    /// The schedule; all of them when not given
    schedule: Option<String>,
    /// So many
    #[arg(long, short = 'n', default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=1000))]
    count: u16,
    /// Behind this instant, when not now
    #[arg(long, value_name = "INSTANT")]
    after: Option<String>,
}

/// A slot to come, of one schedule among many.
struct Coming {
    schedule: String,
    slot: Slot,
    local: String,
    starts_at: Millis,
    document: Json,
}

/// Does what the command line says.
pub fn run(args: Args, context: &Context) -> Result {
    let place = context.place()?;
    runtime()?.block_on(async {
        let reader = place.open_reader()?;
        let which = Which::Schedules;
        match &args.schedule {
            Some(name) => {
                let known = triggers::find(&place, reader.as_ref(), which, name).await?;
                one(&known, &args, context)
            }
            None => {
                let loaded = place.load().await?;
                look::warn_of_broken(&loaded, which, context);
                all(&triggers::of(&loaded, reader.as_ref(), which).await?, &args, context)
            }
        }
    })
}

/// The next slots of a schedule.
fn slots(known: &Known, args: &Args) -> Result<(Timetable, Vec<Slot>)> {
    let table = known.table()?;
    let zone = &table.schedule().zone;
    let after = args.after.as_deref().map(|text| instant(text, zone)).transpose()?;
    let slots = table.preview(after.unwrap_or(now()), usize::from(args.count));
    Ok((table, slots))
}

fn coming(known: &Known, args: &Args) -> Result<Vec<Coming>> {
    let (table, slots) = slots(known, args)?;
    let row = |slot: Slot| Coming {
        schedule: known.spec.title(),
        slot,
        local: table.local(slot),
        starts_at: slot.at.after(table.schedule().jitter_of(slot.at)),
        document: slot_document(&table, slot),
    };
    Ok(slots.into_iter().map(row).collect())
}

fn one(known: &Known, args: &Args, context: &Context) -> Result {
    let coming = coming(known, args)?;
    if context.ui.json {
        context.ui.json(&coming.iter().map(|row| &row.document).collect::<Vec<_>>());
        return Ok(Exit::Ok);
    }
    let mut rows = Table::new(&["SLOT", "LOCAL", "IN"]);
    for row in coming {
        rows.row(cells(row).into());
    }
    rows.print(&context.ui, "it has no further slot that can be foretold");
    let (word, _) = known.word();
    if word != "active" {
        let hint = format!("{} is {word}", known.spec.title());
        context.ui.note(&hint);
    }
    Ok(Exit::Ok)
}

fn all(known: &[Known], args: &Args, context: &Context) -> Result {
    let mut rows = Vec::new();
    // What is paused, disabled or finished starts nothing; what no node has served yet will.
    let starts = |known: &&Known| known.spec.enabled && matches!(known.word().0, "active" | "new");
    for known in known.iter().filter(starts) {
        rows.extend(coming(known, args)?);
    }
    rows.sort_by(|a, b| (a.slot.at, &a.schedule).cmp(&(b.slot.at, &b.schedule)));
    rows.truncate(usize::from(args.count));
    if context.ui.json {
        let named = rows.into_iter().map(|mut row| {
            row.document["name"] = row.schedule.into();
            row.document
        });
        context.ui.json(&named.collect::<Vec<Json>>());
        return Ok(Exit::Ok);
    }
    let mut table = Table::new(&["SCHEDULE", "SLOT", "LOCAL", "IN"]);
    for row in rows {
        let name = Cell::from(row.schedule.as_str());
        table.row([name].into_iter().chain(cells(row)).collect());
    }
    table.print(&context.ui, "no active schedule has a slot that can be foretold");
    Ok(Exit::Ok)
}

fn cells(row: Coming) -> [Cell; 3] {
    let relative = text::relative(row.starts_at, now());
    [
        row.slot.at.to_string().into(),
        row.local.into(),
        Cell::pair(relative, row.starts_at.to_string()).style(Style::Dim),
    ]
}
