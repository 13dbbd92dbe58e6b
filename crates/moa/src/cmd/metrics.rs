//! `moa metrics`, `moa targets`

use moa_core::target::Outlook;
use moa_core::time::Span;
use moa_view::activity::Activity;
use moa_view::rows::Ask;
use moa_view::target::{Counted, Production};
use serde_json::{Map, Value as Json, json};

use super::{Context, runtime};
use crate::exit::{Exit, Result};
use crate::jobs::health::whole;
use crate::metrics::Counters;
use crate::metrics::targets::{self, Standing};
use crate::place::Place;
use crate::project::{self, Layout};
use crate::table::{Cell, Table};
use crate::text;
use crate::ui::Style;
use crate::view::now;

/// Show what has been counted.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  moa metrics
  moa metrics --json | jq .videos_produced.today
  moa metrics --agent agent8 --range 1h

Counters are named in `metrics` of moa.yaml; tasks_completed and tasks_failed are always there. They
are made from the history, each event counts once. Days are those of the zone
that `timezone` in moa.yaml names, or of UTC.

With --agent: the attempts of an agent that ended among the newest 1000 commits of the history; with
--range, all that ended in that time. The node that serves the project has counted those, about by the
minute up to 1h, by the quarter of an hour up to 1d, else by two hours; where none does, they are read.")]
pub struct MetricsArgs {
    /// What this agent has done lately: attempts, errors, latency
    #[arg(long, value_name = "AGENT")]
    agent: Option<String>,
    /// The attempts that ended within this time, up to 7d
    #[arg(long, value_name = "TIME", requires = "agent")]
    range: Option<Span>,
}

/// Show how the targets look, and what the periods are heading for.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  moa targets
  moa targets --json | jq '.[] | select(.outlook == \"too_little\")'

Targets are in `targets` of moa.yaml: minimum, target and maximum of a counter by day, month and year.
A forecast is what was counted so far, and for the rest of the period what is usual: the mean of the
last seven days.")]
pub struct TargetsArgs {}

fn of_agent(agent: &str, range: Option<Span>, context: &Context) -> Result {
    let place = context.place()?;
    runtime()?.block_on(async {
        let agent = super::agents::find(&place.load().await?, agent, context)?.id.clone();
        let done = match range {
            Some(range) => place.worked(&agent, range).await?,
            None => place.ended(&agent).await?.map(|ended| Activity::of(&ended)),
        };
        let done = done.unwrap_or_else(|| Activity::of(&[]));
        if context.ui.json {
            let mut shown = json!(done);
            shown["agent"] = json!(agent);
            context.ui.json(&shown);
            return Ok(Exit::Ok);
        }
        let time = |ms: f64| text::duration(Span(ms as u64));
        let mut table = Table::new(&["AGENT", "ATTEMPTS", "ERRORS", "ERROR RATE", "MEAN", "MAX"]);
        table.row(vec![
            agent.as_str().into(),
            done.executions.to_string().into(),
            done.errors.to_string().into(),
            done.error_rate.map_or("-".into(), |rate| format!("{:.1} %", rate * 100.0)).into(),
            done.latency_ms.map_or("-".into(), time).into(),
            done.latency_ms_max.map_or("-".into(), |ms| time(ms as f64)).into(),
        ]);
        table.print(&context.ui, "");
        Ok(Exit::Ok)
    })
}

/// Shows the counters.
pub fn metrics(args: MetricsArgs, context: &Context) -> Result {
    if let Some(agent) = &args.agent {
        return of_agent(agent, args.range, context);
    }
    let counters = production(context)?.counters;
    let columns = |c: &Counted| [c.today, c.month, c.year, c.total];
    if context.ui.json {
        let shown = |counter: Counted| {
            let [today, month, year, total] = columns(&counter).map(whole);
            let shown = json!({
                "today": today, "month": month, "year": year, "total": total,
                "since": counter.since,
            });
            (counter.metric, shown)
        };
        context.ui.json(&counters.into_iter().map(shown).collect::<Map<String, Json>>());
        return Ok(Exit::Ok);
    }
    let mut table = Table::new(&["METRIC", "TODAY", "MONTH", "YEAR", "TOTAL"]);
    for counter in &counters {
        let numbers = columns(counter).map(|count| Cell::new(targets::number(count)));
        table.row([Cell::new(&counter.metric)].into_iter().chain(numbers).collect());
    }
    table.print(&context.ui, "nothing has been counted");
    Ok(Exit::Ok)
}

/// Shows the targets.
pub fn targets(_args: TargetsArgs, context: &Context) -> Result {
    let all = production(context)?.targets;
    if context.ui.json {
        context.ui.json(&all);
        return Ok(Exit::Ok);
    }
    let header =
        ["METRIC", "PERIOD", "COUNT", "MINIMUM", "TARGET", "MAXIMUM", "FORECAST", "OUTLOOK"];
    let mut table = Table::new(&header);
    all.iter().for_each(|standing| table.row(row(standing)));
    table.print(&context.ui, "there are no targets; `targets` in moa.yaml names some");
    Ok(Exit::Ok)
}

fn row(standing: &Standing) -> Vec<Cell> {
    let optional = |of: Option<f64>| Cell::new(of.map_or("-".into(), targets::rounded));
    let style = match standing.outlook {
        Outlook::TooLittle | Outlook::TooMuch => Style::Red,
        Outlook::Enough => Style::Yellow,
        Outlook::Good => Style::Green,
        Outlook::Open => Style::Dim,
    };
    vec![
        Cell::new(&standing.metric),
        Cell::new(standing.period.as_str()),
        Cell::new(targets::number(standing.count)),
        optional(standing.bounds.minimum),
        optional(standing.bounds.target),
        optional(standing.bounds.maximum),
        optional(standing.forecast),
        Cell::new(standing.outlook.as_str()).style(style),
    ]
}

/// What has been counted up to now, whether a node has written it down or not.
fn production(context: &Context) -> Result<Production> {
    let place = context.place()?;
    let runtime = runtime()?;
    let done = runtime.block_on(async {
        match &place {
            Place::Here(layout) => count(layout).await,
            Place::There(remote) => remote.ask(Ask::Production).await,
        }
    });
    runtime.shutdown_background();
    done
}

async fn count(layout: &Layout) -> Result<Production> {
    let project = project::load(layout, None)?.project;
    let mut counters = Counters::read(&layout.state())?;
    match crate::wire::open_reader(layout)? {
        Some(reader) => {
            counters.count(&reader.views, &project.settings).await?;
        }
        None => counters.begin(&project.settings.metrics),
    }
    counters.keep_only(&project.settings.metrics);
    Ok(targets::production(&counters, &project.settings, now()))
}
