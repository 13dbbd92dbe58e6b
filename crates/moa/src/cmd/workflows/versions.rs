//! `moa workflows versions` and `diff`

use moa_core::workflow::Plan;
use moa_spec::PlanChange;
use serde_json::json;

use super::show;
use crate::cmd::run::split_version;
use crate::cmd::{Context, runtime};
use crate::exit::{Exit, Result};
use crate::reader;
use crate::table::{Cell, Table};
use crate::text;
use crate::ui::Style;
use crate::view::now;

/// List the versions of a workflow that the store keeps.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  moa workflows versions build-project
  moa run build-project@1.0.0      # run an older version

A run keeps the version that it started with.")]
pub struct Args {
    /// The workflow [default: all]
    workflow: Option<String>,
}

/// Lists versions.
pub fn run(args: Args, context: &Context) -> Result {
    let place = context.place()?;
    let name = args.workflow.as_deref().map(split_version).transpose()?.map(|(name, _)| name);
    let versions = match place.open_reader()? {
        Some(reader) => runtime()?.block_on(reader.views.workflows(name.as_ref()))?,
        None => Vec::new(),
    };
    if context.ui.json {
        let rows: Vec<_> = versions
            .iter()
            .map(|v| {
                json!({
                    "workflow": v.workflow, "hash": v.hash, "version": v.version,
                    "created_at": v.created_at.to_string(),
                })
            })
            .collect();
        context.ui.json(&rows);
        return Ok(Exit::Ok);
    }
    let mut table = Table::new(&["WORKFLOW", "HASH", "VERSION", "KEPT", "NOTE"]);
    let files = show::hashes_of_files(context)?;
    for version in &versions {
        let note = if files.get(&version.workflow) == Some(&version.hash) {
            "as the file says now"
        } else {
            ""
        };
        let age = text::relative(version.created_at, now());
        table.row(vec![
            version.workflow.as_str().into(),
            Cell::pair(version.hash.short(), version.hash.to_string()),
            version.version.as_deref().unwrap_or("-").into(),
            Cell::pair(age, version.created_at.to_string()),
            Cell::new(note).style(Style::Dim),
        ]);
    }
    table.print(&context.ui, "no versions; they are kept when a node serves the project");
    Ok(Exit::Ok)
}

/// Show what differs between two versions.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  moa workflows diff build-project                        # the version before, and the file
  moa workflows diff build-project@1.0.0 build-project    # an older version and the file
  moa workflows diff build-project@3f2a build-project@9c01

Exit codes: 0 nothing differs, 1 something does")]
pub struct DiffArgs {
    /// NAME, as the file says, or NAME@VERSION; alone: what it is compared with is the version before it
    a: String,
    /// NAME, as the file says, or NAME@VERSION
    b: Option<String>,
}

/// The version before another one of the same workflow.
fn before(plan: &Plan, context: &Context) -> Result<Plan> {
    let reader = context.place()?.require_reader()?;
    let version = runtime()?.block_on(reader.version_before(plan))?;
    reader::plan(&version)
}

/// Shows differences.
pub fn diff(args: DiffArgs, context: &Context) -> Result {
    let a = show::plan(&args.a, context)?;
    let (a, b) = match &args.b {
        Some(b) => (a, show::plan(b, context)?),
        None => (before(&a, context)?, a),
    };
    let changes = moa_spec::diff(&a, &b);
    let ui = &context.ui;
    if ui.json {
        ui.json(&changes);
    } else {
        for change in &changes {
            match change {
                PlanChange::Workflow { field } => {
                    ui.line(&ui.paint(Style::Yellow, &format!("~ {field}")));
                }
                PlanChange::Added { step, kind } => {
                    ui.line(&ui.paint(Style::Green, &format!("+ {step}: {kind}")));
                }
                PlanChange::Removed { step, kind } => {
                    ui.line(&ui.paint(Style::Red, &format!("- {step}: {kind}")));
                }
                PlanChange::Changed { step, fields } => {
                    ui.line(&ui.paint(Style::Yellow, &format!("~ {step}")));
                    for field in fields {
                        ui.line(&format!("    {}", text::safe_line(&field.to_string())));
                    }
                }
                PlanChange::Reordered => {
                    ui.line(&ui.paint(Style::Yellow, "~ the steps stand in another order"));
                }
            }
        }
        if changes.is_empty() {
            ui.note("nothing differs");
        }
    }
    Ok(if changes.is_empty() { Exit::Ok } else { Exit::Failed })
}
