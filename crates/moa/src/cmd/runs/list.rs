//! `moa runs list`

use moa_core::ids::Name;
use moa_core::run::RunStatus;
use moa_core::workflow::notify_workflow;
use moa_ports::search::{LOOKS_MAX, Search, TEXT_CHARS_MAX};
use moa_ports::views::{RunFilter, RunSummary};

use crate::cmd::{Context, runtime};
use crate::exit::{Exit, Failure, Result};
use crate::reader::Reader;
use crate::table::{Cell, Table};
use crate::text;
use crate::ui::Style;
use crate::view::tree::first_line;
use crate::view::{now, run_style, summary};

/// Runs read at once.
const PAGE: usize = 500;

/// List runs, newest first.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  moa runs list
  moa runs list --status failed --status cancelled --limit 200
  moa runs list --status open
  moa runs list --workflow nightly --json | jq '.[0].run'
  moa runs list --status failed --search 'no such file'")]
pub struct Args {
    /// Only runs of this status, or `open` for those that have not ended; may be given several times
    #[arg(long, short, value_name = "STATUS", value_parser = status)]
    status: Vec<Statuses>,
    /// Only runs of this workflow
    #[arg(long, short)]
    workflow: Option<Name>,
    /// Also runs that are there to tell people something (workflow moa-notify)
    #[arg(long, short)]
    all: bool,
    /// Only runs that this run started
    #[arg(long, value_name = "RUN")]
    parent: Option<String>,
    /// Only runs that hold these words: in workflow, error, params, or who started it
    #[arg(long, value_name = "WORDS")]
    search: Option<String>,
    /// Only runs older than this one
    #[arg(long, value_name = "RUN")]
    before: Option<String>,
    /// At most so many; 0 = all
    #[arg(long, short = 'n', default_value_t = 50)]
    limit: usize,
}

/// What a word for statuses stands for.
#[derive(Debug, Clone)]
struct Statuses(Vec<RunStatus>);

fn status(text: &str) -> std::result::Result<Statuses, String> {
    let all = RunStatus::ALL.into_iter();
    let fit: Vec<RunStatus> = match text {
        "open" => all.filter(|status| !status.is_terminal()).collect(),
        name => all.filter(|status| status.as_str() == name).collect(),
    };
    if fit.is_empty() {
        let all: Vec<&str> = RunStatus::ALL.iter().map(|s| s.as_str()).collect();
        return Err(format!("use one of {}, or open", all.join(", ")));
    }
    Ok(Statuses(fit))
}

/// Lists runs.
pub fn run(args: Args, context: &Context) -> Result {
    let place = context.place()?;
    let rows = match place.open_reader()? {
        Some(reader) => runtime()?.block_on(read(&args, &reader))?,
        None => Vec::new(),
    };
    if context.ui.json {
        let rows: Vec<_> = rows.iter().map(summary::list_item).collect();
        context.ui.json(&rows);
        return Ok(Exit::Ok);
    }
    let now = now();
    let mut table = Table::new(&["RUN", "WORKFLOW", "STATUS", "CREATED", "TOOK", "BY", "ERROR"]);
    for run in &rows {
        let end = run.finished_at.unwrap_or(now);
        let took = run.started_at.map(|start| end.since(start));
        let shown = took.map(text::duration).unwrap_or_default();
        let exact = took.map(|span| span.0.to_string()).unwrap_or_default();
        let error = run.error.as_deref().map(first_line).unwrap_or_default();
        table.row(vec![
            Cell::pair(short(run, &rows), run.run.to_string()),
            Cell::new(run.workflow.as_str()),
            Cell::new(run.status.as_str()).style(run_style(run.status)),
            Cell::pair(text::relative(run.created_at, now), run.created_at.to_string()),
            Cell::pair(shown, exact),
            Cell::new(&run.cause).style(Style::Dim),
            Cell::new(error).style(Style::Red),
        ]);
    }
    table.print(&context.ui, "no runs");
    if args.limit > 0 && rows.len() == args.limit && context.ui.out_tty() {
        context.ui.hint(&format!("only the newest {} are shown; --limit 0 shows all", rows.len()));
    }
    Ok(Exit::Ok)
}

/// The end of a run's id, or the whole id where that is not unique.
fn short(run: &RunSummary, all: &[RunSummary]) -> String {
    let short = run.run.short();
    match all.iter().filter(|other| other.run.short() == short).count() {
        1 => short,
        _ => run.run.to_string(),
    }
}

async fn read(args: &Args, reader: &Reader) -> Result<Vec<RunSummary>> {
    let mut filter = RunFilter {
        statuses: args.status.iter().flat_map(|asked| asked.0.clone()).collect(),
        workflow: args.workflow.clone(),
        except: (!args.all && args.workflow.is_none()).then(notify_workflow),
        limit: PAGE,
        ..RunFilter::default()
    };
    if args.search.as_ref().is_some_and(|text| text.chars().count() > TEXT_CHARS_MAX) {
        return Err(Failure::usage(format!("--search has at most {TEXT_CHARS_MAX} characters")));
    }
    if let Some(parent) = &args.parent {
        filter.parent = Some(reader.find(parent).await?);
    }
    if let Some(before) = &args.before {
        filter.before = Some(reader.find(before).await?);
    }
    let limit = if args.limit == 0 { usize::MAX } else { args.limit };
    let mut rows: Vec<RunSummary> = Vec::new();
    while rows.len() < limit {
        filter.limit = PAGE.min(limit - rows.len());
        if let Some(text) = &args.search {
            let search = Search { filter, text: text.clone(), looks: LOOKS_MAX };
            let found = reader.views.search(&search).await?;
            rows.extend(found.runs);
            filter = search.filter;
            filter.before = found.next;
            if found.next.is_none() {
                break;
            }
            continue;
        }
        let page = reader.views.runs(&filter).await?;
        let done = page.len() < filter.limit;
        rows.extend(page);
        filter.before = rows.last().map(|run| run.run);
        if done {
            break;
        }
    }
    Ok(rows)
}
