//! `moa limits`

use std::collections::BTreeMap;

use moa_core::ids::Name;
use moa_core::limit::{LimitState, Line};
use moa_core::run::RunStatus;
use moa_ports::views::RunFilter;
use serde_json::{Value as Json, json};

use super::{Context, runtime};
use crate::control::protocol::NodeStatus;
use crate::exit::{Exit, Failure, Result};
use crate::place::Place;
use crate::project::Served;
use crate::reader::Reader;
use crate::table::{Cell, Table};
use crate::text;
use crate::ui::Style;

use crate::view::{natural, now};
use crate::wire;

/// Open runs of a workflow that are looked at.
const RUNS_MAX: usize = 1000;

/// Show how limits are used: what runs at once, rates, quotas, budgets, breakers.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  moa limits
  moa limits uploader --json | jq '.[] | select(.until)'

USED and OF are attempts of a rate or of what runs at once, runs of a workflow's concurrency, units of a
quota, dollars or tokens of a budget, failures in a row of a breaker. WAITING is how many wait for it.
Runs that wait for one say so in `moa runs why`.")]
pub struct Args {
    /// Only of this agent
    agent: Option<String>,
}

/// A limit, and whose it is.
struct Row {
    /// What kind of thing it limits: an agent, a workflow, the node.
    what: &'static str,
    name: String,
    line: Line,
    waiting: Option<u64>,
}

/// Shows them.
pub fn run(args: Args, context: &Context) -> Result {
    let place = context.place()?;
    let runtime = runtime()?;
    let rows = runtime.block_on(rows(&place, args.agent.as_deref()));
    runtime.shutdown_background();
    let rows = rows?;
    if context.ui.json {
        context.ui.json(&rows.iter().map(document).collect::<Vec<Json>>());
        return Ok(Exit::Ok);
    }
    let head = ["LIMIT OF", "LIMIT", "STATE", "USED", "OF", "WAITING", "UNTIL"];
    let mut table = Table::new(&head);
    rows.iter().for_each(|row| table.row(cells(row)));
    table.print(&context.ui, "this agent has no limit");
    Ok(Exit::Ok)
}

async fn rows(place: &Place, only: Option<&str>) -> Result<Vec<Row>> {
    let loaded = place.load().await?;
    let agents = wire::agents(&loaded.project);
    if let Some(name) = only.filter(|n| !agents.keys().any(|a| a.as_str() == *n)) {
        let failure = Failure::not_found(format!("there is no agent {name}"));
        return Err(failure.hint("`moa agents list` lists them"));
    }
    let status = match place.connect().await? {
        Some(mut client) => Some(client.status().await?),
        None => None,
    };
    let reader = place.open_reader()?;
    let used = match &reader {
        Some(reader) => reader.limits().await?,
        None => BTreeMap::new(),
    };
    let mut rows = Vec::new();
    if only.is_none() {
        rows.extend(status.as_ref().map(of_node));
        for (name, served) in &loaded.project.workflows {
            of_workflow(name, served, reader.as_ref(), &mut rows).await?;
        }
    }
    let nothing = LimitState::default();
    let mut specs: Vec<_> =
        agents.values().filter(|s| only.is_none_or(|n| s.id.as_str() == n)).collect();
    specs.sort_by_cached_key(|spec| natural::key(spec.id.as_str()));
    for spec in specs {
        let name = || spec.id.to_string();
        if let Some(most) = spec.concurrency {
            let count = |of: &BTreeMap<Name, u32>| of.get(&spec.id).copied().unwrap_or(0).into();
            let engine = status.as_ref().map(|status| &status.engine);
            let running = engine.map_or(0, |engine| count(&engine.running));
            let waiting = engine.map_or(0, |engine| count(&engine.ready));
            let line = at_once("concurrency".into(), running, most);
            rows.push(Row { what: "agent", name: name(), line, waiting: Some(waiting) });
        }
        if !spec.limits.is_empty() {
            let state = used.get(&spec.id).unwrap_or(&nothing);
            let row = |line| Row { what: "agent", name: name(), line, waiting: None };
            let mut lines = state.report(&spec.limits, now());
            if let Some(held) = status.as_ref().and_then(|status| status.held(&spec.id, now())) {
                held.mark(&spec.limits, &mut lines);
            }
            rows.extend(lines.into_iter().map(row));
        }
    }
    Ok(rows)
}

/// What may run at once, and how much of it does.
fn at_once(limit: String, used: u64, most: u32) -> Line {
    let of = u64::from(most);
    let state = if used >= of { "full" } else { "free" };
    Line { limit, used, of, unit: None, state, until: None }
}

fn of_node(status: &NodeStatus) -> Row {
    let all = |of: &BTreeMap<Name, u32>| of.values().map(|n| u64::from(*n)).sum();
    let line = at_once("max_running".into(), all(&status.engine.running), status.max_running);
    let name = status.info.node.to_string();
    Row { what: "node", name, line, waiting: Some(all(&status.engine.ready)) }
}

/// The concurrency of a workflow: one line for each key that open runs have.
async fn of_workflow(
    name: &Name,
    served: &Served,
    reader: Option<&Reader>,
    rows: &mut Vec<Row>,
) -> Result<()> {
    let Some(concurrency) = &served.plan.concurrency else { return Ok(()) };
    // Runs that hold a slot and those that wait for one.
    let mut keys: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    if concurrency.key.is_none() {
        keys.insert(name.to_string(), (0, 0));
    }
    if let Some(reader) = reader {
        let filter = RunFilter {
            statuses: RunStatus::ALL.into_iter().filter(|s| !s.is_terminal()).collect(),
            workflow: Some(name.clone()),
            limit: RUNS_MAX,
            ..RunFilter::default()
        };
        for run in reader.views.runs(&filter).await? {
            let key = match concurrency.key {
                None => Some(name.to_string()),
                Some(_) => {
                    let found = reader.views.run_part(run.run, 0, 0).await?;
                    found.and_then(|found| found.row.extra.concurrency_key)
                }
            };
            let Some(key) = key else { continue };
            let (holding, waiting) = keys.entry(key).or_default();
            match run.status {
                RunStatus::Pending => *waiting += 1,
                _ => *holding += 1,
            }
        }
    }
    for (key, (holding, waiting)) in keys {
        let limit = match key == name.as_str() {
            true => "concurrency".to_owned(),
            false => format!("concurrency of {key}"),
        };
        let line = at_once(limit, holding, concurrency.limit);
        rows.push(Row { what: "workflow", name: name.to_string(), line, waiting: Some(waiting) });
    }
    Ok(())
}

fn document(row: &Row) -> Json {
    let Row { what, name, line, waiting } = row;
    let mut document = json!({
        *what: name, "limit": line.limit, "state": line.state, "used": line.used, "of": line.of,
    });
    if let Some(unit) = line.unit {
        document["unit"] = json!(unit);
    }
    if let Some(waiting) = waiting {
        document["waiting"] = (*waiting).into();
    }
    if let Some(until) = line.until {
        document["until"] = until.to_string().into();
    }
    document
}

fn cells(row: &Row) -> Vec<Cell> {
    let Row { what, name, line, waiting } = row;
    let style = match line.state {
        "open" | "full" => Style::Red,
        "half-open" => Style::Yellow,
        _ => Style::Green,
    };
    let until = match line.until {
        Some(until) => Cell::pair(text::relative(until, now()), until.to_string()),
        None => "-".into(),
    };
    let of = match *what {
        "agent" => name.clone(),
        "node" => "the node".to_owned(),
        what => format!("{what} {name}"),
    };
    vec![
        Cell::new(of),
        Cell::new(text::safe_line(&line.limit)),
        Cell::new(line.state).style(style),
        line.amount(line.used).into(),
        line.amount(line.of).into(),
        waiting.map_or("-".into(), |n| n.to_string().into()),
        until,
    ]
}
