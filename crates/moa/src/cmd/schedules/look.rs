//! `moa schedules list`, `slots`

use moa_core::schedule::Zone;
use moa_core::time::Millis;
use moa_core::trigger::{Occurrence, Outcome};
use moa_ports::triggers::OccurrenceFilter;
use serde_json::Value as Json;

use crate::cmd::{Context, runtime};
use crate::exit::{Exit, Failure, Result};
use crate::hiding::Hiding;
use crate::project::Loaded;
use crate::table::{Cell, Table};
use crate::text;
use crate::triggers::{self, Known, Which};
use crate::ui::Style;
use crate::view::now;
use crate::view::trigger::occurrence as document;
use crate::view::trigger::{how, instant, missed_lately};

/// List them.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  moa schedules list
  moa schedules list --json | jq '.[] | select(.state == \"paused\") | .name'

A state is active, paused, disabled (by `enabled: false`), finished (by `max_runs`), or new: no node has
served it yet.")]
pub struct ListArgs {}

/// Show what became of occurrences.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  moa schedules slots report
  moa schedules slots report --outcome missed --outcome skipped_late
  moa schedules slots report --from 2026-03-01 --to 2026-04-01 --json

Outcomes: started, waiting, buffered, skipped_overlap, skipped_calendar, skipped_paused, skipped_late,
skipped_disabled, skipped_limit, skipped_finished, missed, deduped, discarded, failed;
of one run for many (`batch`, `debounce`): batched, debounced.
Slots in a row with the same fate may share a line.")]
pub struct SlotsArgs {
    /// Its name
    name: String,
    /// Only with this outcome; may be given several times
    #[arg(long, value_parser = outcome)]
    outcome: Vec<Outcome>,
    /// Not before this instant
    #[arg(long, value_name = "INSTANT")]
    from: Option<String>,
    /// Before this instant
    #[arg(long, value_name = "INSTANT")]
    to: Option<String>,
    /// At most so many
    #[arg(long, short = 'n', default_value_t = 20)]
    limit: usize,
}

fn outcome(text: &str) -> std::result::Result<Outcome, String> {
    let names = Outcome::ALL.iter().map(|o| o.as_str());
    match Outcome::ALL.iter().find(|o| o.as_str() == text) {
        Some(found) => Ok(*found),
        None => Err(match text::nearest(text, names.clone()) {
            Some(near) => format!("did you mean {near}?"),
            None => format!("it is one of {}", names.collect::<Vec<_>>().join(", ")),
        }),
    }
}

/// Lists triggers.
pub fn list(ListArgs {}: ListArgs, which: Which, context: &Context) -> Result {
    let place = context.place()?;
    runtime()?.block_on(async {
        let reader = place.open_reader()?;
        let loaded = place.load().await?;
        let all = triggers::of(&loaded, reader.as_ref(), which).await?;
        warn_of_broken(&loaded, which, context);
        let mut missed = Vec::with_capacity(all.len());
        for known in &all {
            missed.push(match &reader {
                Some(reader) => missed_lately(&*reader.views, known, now()).await?,
                None => 0,
            });
        }
        if context.ui.json {
            let rows = all.iter().zip(&missed).map(|(known, missed)| {
                let mut row = known.json(now());
                row["missed_7d"] = (*missed).into();
                row
            });
            context.ui.json(&rows.collect::<Vec<Json>>());
            return Ok(Exit::Ok);
        }
        let head = if which == Which::All { "TRIGGER" } else { "SCHEDULE" };
        let columns = [head, "STATE", "WHEN", "NEXT", "LAST", "OUTCOME", "MISSED 7D"];
        let mut table = Table::new(&columns);
        all.iter().zip(&missed).for_each(|(known, missed)| table.row(row(known, *missed)));
        table.print(
            &context.ui,
            "no workflow has one; `schedule:` and `on:` of a workflow make them",
        );
        if let Some((known, _)) = all.iter().zip(&missed).find(|(_, missed)| **missed > 0) {
            let name = known.spec.title();
            let hint =
                format!("`moa schedules slots {name} --outcome missed` shows what was missed");
            context.ui.hint(&hint);
        }
        Ok(Exit::Ok)
    })
}

/// Says which files may have triggers that are not known.
pub fn warn_of_broken(loaded: &Loaded, which: Which, context: &Context) {
    for broken in &loaded.broken {
        let what = which.word();
        context.ui.warn(&format!(
            "the file of {broken} is broken: a {what} that it says is not known, or is as it was; \
             `moa workflows validate {broken}` says more"
        ));
    }
}

fn row(known: &Known, missed: u64) -> Vec<Cell> {
    let at = |at: Option<Millis>| match at {
        Some(at) => Cell::pair(text::relative(at, now()), at.to_string()),
        None => "-".into(),
    };
    let (word, style) = known.word();
    let state = known.state();
    let last = state.last.as_ref();
    vec![
        known.spec.title().into(),
        Cell::new(word).style(style),
        triggers::when(&known.spec).into(),
        at(known.next(now()).map(|slot| slot.at)),
        at(last.map(|last| last.at)),
        last.map_or("-".into(), |last| {
            Cell::new(last.outcome.as_str()).style(triggers::style(last.outcome))
        }),
        match missed {
            0 => "-".into(),
            n => Cell::new(n.to_string()).style(Style::Yellow),
        },
    ]
}

/// Lists what became of occurrences.
pub fn slots(args: SlotsArgs, which: Which, context: &Context) -> Result {
    let place = context.place()?;
    runtime()?.block_on(async {
        let reader = place.open_reader()?;
        let known = triggers::find_past(&place, reader.as_ref(), which, &args.name).await?;
        let utc = Zone::utc();
        let zone = known.spec.schedule().map_or(&utc, |source| &source.schedule.zone);
        let filter = OccurrenceFilter {
            outcomes: args.outcome,
            from: args.from.as_deref().map(|text| instant(text, zone)).transpose()?,
            to: args.to.as_deref().map(|text| instant(text, zone)).transpose()?,
            limit: args.limit,
            ..OccurrenceFilter::default()
        };
        let (Some(reader), Some(_)) = (&reader, &known.row) else {
            let text = format!("no node has served {} yet", known.spec.title());
            return Err(Failure::not_found(text).hint("`moa up` serves it"));
        };
        let mut found = reader.views.occurrences(known.spec.id(), &filter).await?;
        if let Some(trigger) = known.stored()? {
            let fits = |o: &Occurrence| {
                (filter.outcomes.is_empty() || filter.outcomes.contains(&o.outcome))
                    && filter.from.is_none_or(|from| o.at >= from)
                    && filter.to.is_none_or(|to| o.at < to)
            };
            found.extend(trigger.waiting_slots().into_iter().filter(fits));
            found.sort_by_key(|o| std::cmp::Reverse(o.at));
            found.truncate(filter.limit);
        }
        Hiding::of(&place).in_occurrences(&mut found, &context.ui);
        if context.ui.json {
            context.ui.json(&found.iter().map(document).collect::<Vec<_>>());
            return Ok(Exit::Ok);
        }
        let mut table = Table::new(&["AT", "OUTCOME", "COUNT", "RUN", "RESULT", "HOW", "REASON"]);
        found.iter().for_each(|occurrence| table.row(line(occurrence)));
        table.print(&context.ui, "nothing has happened to it yet");
        Ok(Exit::Ok)
    })
}

fn line(o: &Occurrence) -> Vec<Cell> {
    let dash = || Cell::from("-");
    let at = match o.last.filter(|last| *last != o.at) {
        Some(last) => format!("{}..{last}", o.at),
        None => o.at.to_string(),
    };
    vec![
        at.into(),
        Cell::new(o.outcome.as_str()).style(triggers::style(o.outcome)),
        o.count.to_string().into(),
        o.run.map_or_else(dash, |run| run.to_string().into()),
        o.result.map_or_else(dash, |r| Cell::new(r.as_str()).style(crate::view::run_style(r))),
        how(o.origin).into(),
        o.reason.as_deref().map_or_else(dash, |reason| Cell::new(reason).style(Style::Dim)),
    ]
}
