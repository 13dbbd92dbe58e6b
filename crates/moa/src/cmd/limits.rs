//! `moa limits`

use moa_core::limit::{LimitState, Line};
use serde_json::{Value as Json, json};

use super::{Context, runtime};
use crate::exit::{Exit, Failure, Result};
use crate::project;
use crate::table::{Cell, Table};
use crate::text;
use crate::ui::Style;
use crate::view::now;
use crate::wire;

/// Show what is used of agents' rate limits, quotas and breakers.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  moa limits
  moa limits uploader --json | jq '.[] | select(.until)'

USED and OF are attempts of a rate, units of a quota, failures in a row of a breaker.
Runs that wait for one say so in `moa runs why`.")]
pub struct Args {
    /// Only of this agent
    agent: Option<String>,
}

/// Shows them.
pub fn run(args: Args, context: &Context) -> Result {
    let layout = context.layout()?;
    let loaded = project::load(&layout, None)?;
    let agents = wire::agents(&loaded.project);
    if let Some(name) = args.agent.as_deref().filter(|n| !agents.keys().any(|a| a.as_str() == *n)) {
        let failure = Failure::not_found(format!("there is no agent {name}"));
        return Err(failure.hint("`moa agents list` lists them"));
    }
    let used = match crate::wire::open_reader(&layout)? {
        Some(reader) => runtime()?.block_on(reader.limits())?,
        None => Default::default(),
    };
    let nothing = LimitState::default();
    let limited = agents.values().filter(|spec| !spec.limits.is_empty());
    let limited = limited.filter(|s| args.agent.as_ref().is_none_or(|n| s.id.as_str() == n));
    let lines = limited.flat_map(|spec| {
        let state = used.get(&spec.id).unwrap_or(&nothing);
        let lines = state.report(&spec.limits, now());
        lines.into_iter().map(|line| (spec.id.clone(), line))
    });
    if context.ui.json {
        let rows: Vec<Json> = lines.map(|(agent, line)| document(agent.as_str(), &line)).collect();
        context.ui.json(&rows);
        return Ok(Exit::Ok);
    }
    let mut table = Table::new(&["AGENT", "LIMIT", "STATE", "USED", "OF", "UNTIL"]);
    lines.for_each(|(agent, line)| table.row(cells(agent.as_str(), &line)));
    table.print(&context.ui, "no agent has a rate_limit, a quota or a circuit_breaker");
    Ok(Exit::Ok)
}

fn document(agent: &str, line: &Line) -> Json {
    let mut row = json!({
        "agent": agent, "limit": line.limit, "state": line.state, "used": line.used, "of": line.of,
    });
    if let Some(until) = line.until {
        row["until"] = until.to_string().into();
    }
    row
}

fn cells(agent: &str, line: &Line) -> Vec<Cell> {
    let style = match line.state {
        "open" | "full" => Style::Red,
        "half-open" => Style::Yellow,
        _ => Style::Green,
    };
    let until = match line.until {
        Some(until) => Cell::pair(text::relative(until, now()), until.to_string()),
        None => "-".into(),
    };
    vec![
        agent.into(),
        line.limit.as_str().into(),
        Cell::new(line.state).style(style),
        line.used.to_string().into(),
        line.of.to_string().into(),
        until,
    ]
}
