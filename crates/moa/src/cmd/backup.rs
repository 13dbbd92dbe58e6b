//! `moa backup`

use std::path::PathBuf;

use serde_json::json;

use super::Context;
use crate::backup::Holds;
use crate::backup::make::{Request, make};
use crate::exit::{Exit, Result};
use crate::project;
use crate::text;

/// Copy the store, artifacts and files of the project.
#[derive(Debug, clap::Args)]
#[command(long_about = "\
Copy the state of the project to a folder, or to one file that ends in .tar: the store as it is at one
instant, the artifacts that it refers to, and moa.yaml, agents/ and workflows/. A node that serves the
project goes on meanwhile. The copy is checked, and appears under its name when it is complete.

Not in it: secrets (.env), and everything else in the project's folder.")]
#[command(after_help = "\
Examples:
  moa backup backups/                          a new folder in backups, by name and time
  moa backup /mnt/safe/shop.tar --logs
  moa restore /mnt/safe/shop.tar --check       see that it is good")]
pub struct Args {
    /// A folder to put it into, or the name of a new folder or .tar file
    to: PathBuf,
    /// Attempt logs too
    #[arg(long)]
    logs: bool,
    /// Work folders of runs too
    #[arg(long)]
    work: bool,
    /// No artifacts: outputs that were too large for the store will be missing
    #[arg(long)]
    no_artifacts: bool,
    /// Nothing but the state: no moa.yaml, agents or workflows
    #[arg(long)]
    no_project: bool,
}

/// Makes a backup.
pub fn run(args: Args, context: &Context) -> Result {
    let layout = context.layout()?;
    let ui = &context.ui;
    let name = project::load(&layout, None)?.project.settings.name;
    let folder = || layout.root.file_name().map(|name| name.to_string_lossy().into_owned());
    let name = name.or_else(folder).unwrap_or_else(|| "project".into());
    let plain = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' };
    let holds = Holds {
        artifacts: !args.no_artifacts,
        logs: args.logs,
        work: args.work,
        project: !args.no_project,
    };
    let request = Request {
        layout: &layout,
        name: name.chars().map(plain).collect(),
        to: &args.to,
        holds,
        now: jiff::Timestamp::now(),
    };
    let mut tenths = 0;
    let made = make(&request, &mut |done, all| {
        let now = (done * 10).checked_div(all).unwrap_or(10);
        if ui.err_tty() && now > tenths {
            tenths = now;
            ui.note(&format!("the store: {done} of {all} pages"));
        }
    })?;
    let manifest = &made.manifest;
    let bytes: u64 = manifest.files.iter().map(|file| file.bytes).sum();
    if ui.json {
        ui.json(&json!({
            "path": made.path,
            "created_at": manifest.created_at,
            "schema": manifest.schema,
            "last_event": manifest.last_event,
            "live": manifest.live,
            "holds": manifest.holds,
            "files": manifest.files.len(),
            "bytes": bytes,
            "missing": manifest.missing,
        }));
    } else {
        ui.line(&made.path.display().to_string());
    }
    let files = text::plural(manifest.files.len(), "file");
    ui.note(&format!("{files}, {}, up to event {}", text::bytes(bytes), manifest.last_event));
    if !manifest.missing.is_empty() {
        let missing = text::plural(manifest.missing.len(), "artifact");
        ui.warn(&format!("{missing} that runs refer to had been deleted by retention"));
    }
    Ok(Exit::Ok)
}
