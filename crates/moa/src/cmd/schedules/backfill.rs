//! `moa schedules backfill`

use moa_core::limits::{BACKFILL_AT_ONCE_MAX, SLOTS_LISTED_MAX};
use moa_core::schedule::Timetable;
use moa_core::trigger::{BackfillRequest, TriggerAnswer, TriggerCommand};
use moa_core::workflow::Priority;
use serde_json::json;

use super::change;
use crate::cmd::{Context, runtime};
use crate::exit::{Exit, Failure, Result};
use crate::host::{self, Asks};
use crate::place::Place;
use crate::project;
use crate::reader::Reader;
use crate::table::{Cell, Table};
use crate::text;
use crate::triggers::{self, Known, Which};
use crate::ui::Style;
use crate::view::backfill::{Judged, Preview, Slots};
use crate::view::trigger::instant;
use crate::wire;

/// Which slots that have had a run get another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Reprocess {
    /// None
    None,
    /// Those whose last run did not succeed
    Failed,
    /// All whose last run has ended
    All,
}

/// Start slots of the past.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  moa schedules backfill report 2026-01-01 2026-02-01 --dry-run
  moa schedules backfill report 2026-01-01 2026-02-01 --at-once 4
  moa schedules backfill report 2026-01-01 2026-02-01 --reprocess failed --reverse
  moa schedules backfill report --cancel 2

The range is half-open: FROM is in it, TO is not; local times are those of the schedule's zone. Slots
that have had a run are passed over unless --reprocess says otherwise. The runs have low priority
and a limit of their own, and neither wait for nor hold up what is due now. Where no node serves the
project the backfill is recorded, and begins when `moa up` does.
`moa schedules list --json` shows how far backfills are.

What became of slots is remembered for as long as `retention.occurrences` says (90 days). Older ones may
have had runs: a range with such slots is refused unless --forgotten or --reprocess all starts them;
--dry-run shows which they are.")]
pub struct Args {
    /// The schedule
    schedule: String,
    /// The first instant
    #[arg(required_unless_present = "cancel")]
    from: Option<String>,
    /// The end, not in the range
    #[arg(required_unless_present = "cancel")]
    to: Option<String>,
    /// Only say what would be started
    #[arg(long)]
    dry_run: bool,
    /// From the newest slot to the oldest
    #[arg(long)]
    reverse: bool,
    /// So many runs at once
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=i64::from(BACKFILL_AT_ONCE_MAX)))]
    at_once: u32,
    /// Which slots that have had a run get another one
    #[arg(long, value_enum, default_value_t = Reprocess::None)]
    reprocess: Reprocess,
    /// Also start slots that are older than what the store remembers: they may have had runs
    #[arg(long)]
    forgotten: bool,
    /// Priority of the runs: critical, high, medium, low
    #[arg(long, value_parser = change::priority)]
    priority: Option<Priority>,
    /// The same key is the same backfill, however often it is asked for
    #[arg(long)]
    key: Option<String>,
    /// Start no further slot of this backfill; its runs go on
    #[arg(long, value_name = "NUMBER", conflicts_with_all = ["from", "to", "dry_run"])]
    cancel: Option<u32>,
}

/// Starts or cancels a backfill, or says what it would do.
pub fn run(args: Args, context: &Context) -> Result {
    let place = context.place()?;
    let runtime = runtime()?;
    let exit = runtime.block_on(async {
        let reader = place.open_reader()?;
        let which = Which::Schedules;
        let known = triggers::find(&place, reader.as_ref(), which, &args.schedule).await?;
        let table = known.table()?;
        let command = match (&args.from, &args.to) {
            (Some(from), Some(to)) => {
                let request = request(&args, &table, from, to)?;
                if !known.spec.enabled {
                    let title = known.spec.title();
                    let failure = Failure::refused(format!("{title} is disabled: nothing starts"));
                    let hint = "set `enabled: true` in the workflow's file";
                    return Err(failure.hint(hint));
                }
                if args.dry_run {
                    let preview = preview(&known, &request, reader.as_ref(), &place).await?;
                    return Ok(tell(&preview, context));
                }
                TriggerCommand::Backfill(request)
            }
            _ => TriggerCommand::CancelBackfill { number: args.cancel },
        };
        drop(reader);
        let asks = if args.key.is_some() { Asks::Again } else { Asks::Once };
        let (answer, served) = change::ask(&place, &known, asks, command).await?;
        show(&known, &answer, served, context);
        Ok(Exit::Ok)
    });
    runtime.shutdown_background();
    exit
}

fn request(args: &Args, table: &Timetable, from: &str, to: &str) -> Result<BackfillRequest> {
    let zone = &table.schedule().zone;
    let (from, to) = (instant(from, zone)?, instant(to, zone)?);
    if from >= to {
        return Err(Failure::usage(format!("the range ends at {to}, before it begins"))
            .hint("write FROM, then TO; TO itself is not in the range"));
    }
    Ok(BackfillRequest {
        key: args.key.clone().unwrap_or_else(|| format!("{:016x}", wire::random_u64())),
        from,
        to,
        reverse: args.reverse,
        at_once: args.at_once,
        reprocess: match args.reprocess {
            Reprocess::None => moa_core::schedule::Reprocess::None,
            Reprocess::Failed => moa_core::schedule::Reprocess::Failed,
            Reprocess::All => moa_core::schedule::Reprocess::All,
        },
        priority: args.priority,
        forgotten: args.forgotten,
        by: "cli".into(),
    })
}

fn show(known: &Known, answer: &TriggerAnswer, served: bool, context: &Context) {
    let title = known.spec.title();
    let ui = &context.ui;
    match answer {
        TriggerAnswer::Backfill(backfill) if ui.json => {
            let mut told = triggers::backfill(backfill);
            told["served"] = json!(served);
            ui.json(&told);
        }
        TriggerAnswer::Backfill(backfill) => {
            let slots = text::plural(backfill.slots as usize, "slot");
            let n = backfill.number;
            ui.line(&n.to_string());
            ui.note(&format!("backfill {n} of {title} has begun: {slots}"));
            if !served {
                ui.hint(host::RECORDED);
            }
        }
        _ if ui.json => ui.json(&json!({"name": title, "done": true})),
        _ => ui.note(&format!("{title}: no further slot of the backfill is started")),
    }
}

/// What would be started; a node elsewhere is asked, which alone knows its settings.
async fn preview(
    known: &Known,
    request: &BackfillRequest,
    reader: Option<&Reader>,
    place: &Place,
) -> Result<Preview> {
    let layout = match place {
        Place::Here(layout) => layout,
        Place::There(remote) => return remote.preview_backfill(known.spec.id(), request).await,
    };
    let settings = project::load(layout, None)?.project.settings;
    let views = reader.map(|reader| &*reader.views);
    let age = settings.retention.occurrences.age;
    Slots::of(known, request)?.preview(views, known, request, age).await
}

/// Says what would be started; nothing is changed.
fn tell(preview: &Preview, context: &Context) -> Exit {
    if context.ui.json {
        context.ui.json(&preview.slots);
        return Exit::Ok;
    }
    let Preview { starts, refused, slots, .. } = preview;
    print(slots, context);
    if slots.len() > SLOTS_LISTED_MAX {
        context.ui.note(&format!("… and {} more", slots.len() - SLOTS_LISTED_MAX));
    }
    let all = text::plural(slots.len(), "slot");
    context.ui.note(&format!("{starts} of {all} would be started; nothing was changed"));
    if preview.is_refused_as_forgotten() {
        let forgotten = preview.forgotten;
        context.ui.hint(&format!(
            "{forgotten} may have had runs that the store has forgotten: without --forgotten it is refused"
        ));
    } else if let Some(why) = refused {
        context.ui.hint(&format!("it would be refused: {}", text::safe_line(why)));
    }
    Exit::Ok
}

fn print(slots: &[Judged], context: &Context) {
    let mut rows = Table::new(&["SLOT", "LOCAL", "WOULD", "HAD"]);
    for judged in slots.iter().take(SLOTS_LISTED_MAX) {
        let had = match (judged.outcome, judged.result) {
            _ if judged.forgotten => "forgotten".to_owned(),
            (None, _) => "-".to_owned(),
            (Some(outcome), Some(result)) => format!("{}, {}", outcome.as_str(), result.as_str()),
            (Some(outcome), None) => outcome.as_str().into(),
        };
        let would = if judged.starts { ("start", Style::Green) } else { ("pass", Style::Dim) };
        rows.row(vec![
            judged.slot.as_str().into(),
            judged.local.as_str().into(),
            Cell::new(would.0).style(would.1),
            had.into(),
        ]);
    }
    rows.print(&context.ui, "there is no slot of the past in this range");
}
