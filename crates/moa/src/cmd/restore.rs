//! `moa restore`

use std::path::PathBuf;

use serde_json::json;

use super::Context;
use crate::backup::restore::{check, into_new, open, replace};
use crate::exit::{Exit, Result};
use crate::text;

/// Put a backup in the place of the project's state.
#[derive(Debug, clap::Args)]
#[command(long_about = "\
Put a backup in the place of the project's state (.moa). Every file of it is checked first. The state
of before is kept, under a name that starts with .moa.before; the project's own files stay as they are.
Refused while a node serves the project.

Whatever happened after the backup was made is not known any more: runs go on where they were then.")]
#[command(after_help = "\
Examples:
  moa restore backups/shop-20251211T220000Z
  moa restore /mnt/safe/shop.tar --into shop2   a new project from it
  moa restore /mnt/safe/shop.tar --check        only see that it is good")]
pub struct Args {
    /// The backup: a folder or a .tar file
    from: PathBuf,
    /// Make a new project in this folder instead
    #[arg(long, value_name = "DIR", conflicts_with = "check")]
    into: Option<PathBuf>,
    /// Check the backup, and change nothing
    #[arg(long)]
    check: bool,
}

/// Restores a backup.
pub fn run(args: Args, context: &Context) -> Result {
    context.require_here()?;
    let ui = &context.ui;
    let layout = match args.check || args.into.is_some() {
        true => None,
        false => Some(context.layout()?),
    };
    let backup = open(&args.from)?;
    check(&backup)?;
    let manifest = &backup.manifest;
    let about = format!("{} of {}", manifest.project, manifest.created_at);
    let stamp = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%S.%3fZ").to_string();
    let restored = match (&layout, &args.into) {
        (Some(layout), _) => Some(replace(&backup, layout, &stamp)?),
        (None, Some(folder)) => Some(into_new(&backup, folder, &stamp)?),
        (None, None) => None,
    };
    let Some(restored) = restored else {
        let files = text::plural(manifest.files.len(), "file");
        if ui.json {
            ui.json(manifest);
        } else {
            ui.line(&format!("{about}: good ({files}, up to event {})", manifest.last_event));
        }
        return Ok(Exit::Ok);
    };
    if ui.json {
        ui.json(&json!({
            "root": restored.root,
            "created_at": manifest.created_at,
            "last_event": manifest.last_event,
            "before": restored.before,
        }));
    } else {
        ui.line(&format!("restored {about} in {}", restored.root.display()));
    }
    if let Some(before) = &restored.before {
        ui.note(&format!("the state of before is in {}", before.display()));
        ui.hint("delete it when all is well; to go back, put it in the place of .moa");
    }
    Ok(Exit::Ok)
}
