//! `moa state`

use std::path::PathBuf;

use moa_core::run::RunStatus;
use moa_core::workflow::notify_workflow;
use moa_ports::views::{RunFilter, Totals};
use serde_json::{Value as Json, json};

use super::{Context, runtime};
use crate::control::protocol::NodeStatus;
use crate::exit::{Exit, Failure, Result};
use crate::files;
use crate::node;
use crate::place::Place;
use crate::project::{self, Loaded};
use crate::view::{now, summary};
use crate::wire;

/// Open runs that are listed.
const RUNS_LISTED: usize = 1000;

/// Show the state of everything as one JSON document.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  moa state | jq .totals
  moa state | jq '.node.running'
  moa state --write
  moa state --write status/shop.json

A node writes the same each hour to the file that the setting `health.state_file` names.")]
pub struct Args {
    /// Write it to a file, whole or not at all, instead of printing it [default FILE: the one that
    /// the setting `health.state_file` names, else the project's data/tasks/orchestrator_state.json]
    #[arg(long, value_name = "FILE", num_args = 0..=1)]
    write: Option<Option<PathBuf>>,
}

/// Where the state is written to when neither the command line nor the settings say.
const STATE_FILE: &str = "data/tasks/orchestrator_state.json";

/// Shows the state.
pub fn run(args: Args, context: &Context) -> Result {
    let place = context.place()?;
    let runtime = runtime()?;
    let document = runtime.block_on(document(&place));
    runtime.shutdown_background();
    let document = document?;
    let Some(file) = args.write else {
        context.ui.json(&document);
        return Ok(Exit::Ok);
    };
    let Place::Here(layout) = &place else {
        let text = "--write puts it in a file of the project's own machine";
        return Err(Failure::usage(text).hint("print it, and put that in a file: moa state > FILE"));
    };
    let path = match file {
        Some(file) => std::path::absolute(&file)
            .map_err(|e| Failure::io(format!("can't write {}", file.display()), &e))?,
        None => {
            let named = project::load(layout, None)?.project.settings.health.state_file;
            layout.root.join(named.as_deref().unwrap_or(STATE_FILE))
        }
    };
    let text = format!("{document:#}\n");
    files::refuse_own(&layout.root, &path).map_err(|e| {
        Failure::usage(format!("can't write {}: {e}", path.display()))
            .hint("name another file, such as data/state.json")
    })?;
    files::write_named(&layout.root, &path, text.as_bytes(), files::SHARED)
        .map_err(|e| Failure::io(format!("can't write {}", path.display()), &e))?;
    context.ui.note(&format!("wrote {}", path.display()));
    Ok(Exit::Ok)
}

/// The state as a document.
pub async fn document(place: &Place) -> Result<Json> {
    let status = match place.connect().await? {
        Some(mut client) => Some(client.status().await?),
        None => None,
    };
    let loaded = place.load().await?;
    let config = match place {
        Place::Here(layout) => node::read_config(layout, &loaded.project).ok(),
        Place::There(_) => None,
    };
    let settings = config.map_or_else(|| loaded.project.settings.clone(), |c| c.settings);
    let (root, store) = match place {
        Place::Here(layout) => (json!(layout.root), json!(wire::database(layout))),
        // Where it is on its machine is nothing for others.
        Place::There(_) => (Json::Null, Json::Null),
    };
    let (totals, open) = match place.open_reader()? {
        Some(reader) => {
            let filter = RunFilter {
                statuses: RunStatus::ALL.into_iter().filter(|s| !s.is_terminal()).collect(),
                except: Some(notify_workflow()),
                limit: RUNS_LISTED,
                ..RunFilter::default()
            };
            let open = reader.views.runs(&filter).await?;
            (reader.views.totals().await?, open.iter().map(summary::list_item).collect())
        }
        None => (Totals::default(), Vec::new()),
    };
    let (errors, warnings) = loaded.problems.counts();
    Ok(json!({
        "at": now().to_string(),
        "moa": env!("CARGO_PKG_VERSION"),
        "project": {
            "name": settings.name,
            "root": root,
            "errors": errors,
            "warnings": warnings,
        },
        "node": status.as_ref().map(node_document),
        "totals": totals,
        "runs_open": open,
        "workflows": workflows(&loaded),
        "agents": agents(&loaded, status.as_ref()),
        "limits": {
            "max_running": status.as_ref().map_or(settings.limits.max_running, |s| s.max_running),
            "stop_grace": settings.limits.stop_grace.to_string(),
            "attempt_log_bytes": settings.logs.attempt_max,
        },
        "store": {"path": store, "schema": wire::SCHEMA},
    }))
}

fn node_document(status: &NodeStatus) -> Json {
    let info = &status.info;
    json!({
        "pid": info.pid,
        "node": info.node.to_string(),
        "moa": info.moa,
        "started_at": info.started_at.to_string(),
        "uptime_ms": now().since(info.started_at).0,
        "transient": info.transient,
        "only": status.engine.only,
        "running": status.engine.running.values().sum::<u32>(),
        "ready": status.engine.ready.values().sum::<u32>(),
        "max_running": status.max_running,
        "runs_cached": status.engine.runs_cached,
        "commits": status.engine.commits,
        "batches": status.engine.batches,
        "degraded": status.engine.degraded,
        "stopping": status.engine.stopping,
    })
}

fn workflows(loaded: &Loaded) -> Vec<Json> {
    let good = loaded.project.workflows.iter().map(|(name, served)| {
        let plan = &served.plan;
        json!({"workflow": name, "valid": true, "hash": plan.hash, "version": plan.version})
    });
    let broken = loaded.broken.iter().map(|name| json!({"workflow": name, "valid": false}));
    good.chain(broken).collect()
}

fn agents(loaded: &Loaded, status: Option<&NodeStatus>) -> Vec<Json> {
    let count = |of: fn(&NodeStatus) -> &std::collections::BTreeMap<_, u32>, id| {
        status.and_then(|s| of(s).get(id).copied()).unwrap_or(0)
    };
    let agents = loaded.project.agents.values().map(|spec| {
        json!({
            "agent": spec.id,
            "running": count(|s| &s.engine.running, &spec.id),
            "ready": count(|s| &s.engine.ready, &spec.id),
            "concurrency": spec.concurrency,
        })
    });
    agents.collect()
}
