//! `moa schedules why`

use moa_core::schedule::Explanation;
use moa_core::time::Millis;
use moa_core::trigger::{Occurrence, Why};
use moa_ports::triggers::OccurrenceFilter;
use serde_json::json;

use crate::cmd::{Context, runtime};
use crate::exit::{Exit, Result};
use crate::hiding::Hiding;
use crate::reader::Reader;
use crate::text;
use crate::triggers::{self, Known, Which};
use crate::ui::Style;
use crate::view::now;
use crate::view::trigger::explanation;
use crate::view::trigger::instant;

/// Say why nothing starts.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  moa schedules why report
  moa schedules why report 2026-03-29T02:30          # local time of the schedule
  moa schedules why report 2026-03-29T01:00:00Z --json

Without an instant: why it starts nothing now, until when, and what would change that.
With one: whether it is a slot of the schedule, by which rule, and what became of it.")]
pub struct Args {
    /// Its name
    name: String,
    /// An instant; local times are those of the schedule's zone
    instant: Option<String>,
}

/// Answers why.
pub fn run(args: Args, which: Which, context: &Context) -> Result {
    let place = context.place()?;
    runtime()?.block_on(async {
        let reader = place.open_reader()?;
        let known = triggers::find(&place, reader.as_ref(), which, &args.name).await?;
        match &args.instant {
            None => now_and_here(&known, place.held_back().await?, context),
            Some(text) => {
                let table = known.table()?;
                let at = instant(text, &table.schedule().zone)?;
                let record = record(&known, reader.as_ref(), at).await?;
                let said = table.explain(at);
                // Of an instant within a range of slots, the range's outcome is none of its own.
                let mut record = record.filter(|record| said.is_slot() || record.at == at);
                Hiding::of(&place).in_occurrences(record.as_mut_slice(), &context.ui);
                then(&known, &said, record.as_ref(), context);
                Ok(Exit::Ok)
            }
        }
    })
}

fn now_and_here(known: &Known, held_back: Option<Millis>, context: &Context) -> Result {
    let reasons = match known.stored()? {
        Some(trigger) => trigger.why(now(), held_back),
        None => vec![Why {
            reason: "no node has served it yet".into(),
            until: None,
            unblock: Some("moa up".into()),
        }],
    };
    if context.ui.json {
        context.ui.json(&json!({"name": known.spec.title(), "reasons": reasons}));
        return Ok(Exit::Ok);
    }
    let ui = &context.ui;
    let (word, style) = known.word();
    ui.line(&format!("{}  {}", known.spec.title(), ui.paint(style, word)));
    for Why { reason, until, unblock } in &reasons {
        ui.line(&format!("  {}", text::safe_line(reason)));
        if let Some(until) = until {
            ui.line(&format!("    until {until} ({})", text::relative(*until, now())));
        }
        if let Some(unblock) = unblock {
            let word = ui.paint(Style::Cyan, "unblock");
            ui.line(&format!("    {word}: {}", text::safe_line(unblock)));
        }
    }
    Ok(Exit::Ok)
}

/// What is recorded of an instant: of itself, or of a range that it is in.
async fn record(known: &Known, reader: Option<&Reader>, at: Millis) -> Result<Option<Occurrence>> {
    let (Some(reader), Some(_)) = (reader, &known.row) else { return Ok(None) };
    let (from, to) = (Some(at), Some(Millis(at.0 + 1)));
    let filter = OccurrenceFilter { from, to, limit: 20, ..OccurrenceFilter::default() };
    let mut found = reader.views.occurrences(known.spec.id(), &filter).await?;
    // A range lies around it; what it is itself comes first.
    found.sort_by_key(|o| (o.at != at, o.last.is_some()));
    Ok(found.into_iter().next())
}

fn then(known: &Known, said: &Explanation, record: Option<&Occurrence>, context: &Context) {
    let ui = &context.ui;
    if ui.json {
        ui.json(&explanation(&known.spec, said, record));
        return;
    }
    said.to_string().lines().for_each(|line| ui.line(&text::safe_line(line)));
    let near = |what: &str, at: Option<Millis>| {
        if let Some(at) = at {
            ui.line(&format!("- the slot {what} is {at}"));
        }
    };
    if !said.is_slot() {
        near("before", said.previous.map(|slot| slot.at));
        near("behind it", said.next.map(|slot| slot.at));
    }
    match record {
        Some(o) => {
            let reason = o.reason.as_deref().map_or(String::new(), |r| format!(": {r}"));
            let run = o.run.map_or(String::new(), |run| format!(", run {run}"));
            let result = o.result.map_or(String::new(), |r| format!(" ({})", r.as_str()));
            let line = format!("outcome: {}{run}{result}{reason}", o.outcome.as_str());
            ui.line(&text::safe_line(&line));
        }
        None if said.is_slot() && said.slot.at > now() => ui.line("outcome: it is yet to come"),
        None if said.is_slot() => {
            let since = known.row.as_ref().map(|row| row.state.since);
            match since.filter(|since| *since > said.slot.at) {
                Some(since) => ui.line(&format!("outcome: none; the schedule is so since {since}")),
                None => ui.line("outcome: none is recorded"),
            }
        }
        None => {}
    }
}
