//! `moa backup`

use std::path::PathBuf;

use serde_json::json;

use super::up::Signals;
use super::{Context, runtime};
use crate::backup::Holds;
use crate::backup::fetch::fetch;
use crate::backup::make::{Made, Request, make};
use crate::exit::{Exit, Failure, Result};
use crate::place::Place;
use crate::project::Layout;
use crate::remote::Remote;
use crate::text;
use crate::ui::Ui;

/// Copy the store, artifacts and files of the project.
#[derive(Debug, clap::Args)]
#[command(long_about = "\
Copy the state of the project to a folder, or to one file that ends in .tar: the store as it is at one
instant, the artifacts that it refers to, and moa.yaml, agents/ and workflows/. A node that serves the
project goes on meanwhile. The copy is checked, and appears under its name when it is complete.

Of a node elsewhere (--url, a context) it is one .tar file, which the node makes and sends: put into the
folder that is named, by name and time, or under the name that is given, which ends in .tar. It takes an
admin's token without scopes. What comes is checked here, too.

Not in it: secrets (.env), and everything else in the project's folder.")]
#[command(after_help = "\
Examples:
  moa backup backups/                          a new folder in backups, by name and time
  moa backup /mnt/safe/shop.tar --logs
  moa backup backups/ --context prod           a new .tar file in backups, of another machine's project
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
    let ui = &context.ui;
    let holds = Holds {
        artifacts: !args.no_artifacts,
        logs: args.logs,
        work: args.work,
        project: !args.no_project,
    };
    let made = match context.place()? {
        Place::Here(layout) => here(&layout, &args, holds, ui)?,
        Place::There(remote) => there(&remote, &args, holds, ui)?,
    };
    show(&made, ui);
    Ok(Exit::Ok)
}

/// Of a project of this machine.
fn here(layout: &Layout, args: &Args, holds: Holds, ui: &Ui) -> Result<Made> {
    let request = Request::new(layout, holds, &|| true)?;
    let mut tenths = Tenths::default();
    make(&request, &args.to, &mut |done, all| {
        if tenths.are_more(done, all) && ui.err_tty() {
            ui.note(&format!("the store: {done} of {all} pages"));
        }
    })
}

/// Of a node elsewhere.
fn there(remote: &Remote, args: &Args, holds: Holds, ui: &Ui) -> Result<Made> {
    if ui.err_tty() {
        ui.note(&format!("{} makes the backup", remote.url()));
    }
    let mut tenths = Tenths::default();
    let mut told = |done, all: Option<u64>| {
        let Some(all) = all else { return };
        if tenths.are_more(done, all) && ui.err_tty() {
            ui.note(&format!("{} of {}", text::bytes(done), text::bytes(all)));
        }
    };
    let runtime = runtime()?;
    let made = runtime.block_on(async {
        let mut signals = Signals::new()?;
        tokio::select! {
            made = fetch(remote, &args.to, holds, &mut told) => made,
            () = signals.next() => {
                let text = "interrupted before the backup was complete";
                Err(Failure::new(Exit::Interrupted, text).hint("nothing of it was kept"))
            }
        }
    });
    runtime.shutdown_background();
    made
}

/// How far something has come that is told of now and then.
#[derive(Default)]
struct Tenths(u64);

impl Tenths {
    fn are_more(&mut self, done: u64, all: u64) -> bool {
        let now = done.saturating_mul(10).checked_div(all).unwrap_or(10);
        let more = now > self.0;
        self.0 = now.max(self.0);
        more
    }
}

fn show(made: &Made, ui: &Ui) {
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
}
