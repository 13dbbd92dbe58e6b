//! `moa workflows fmt`

use std::path::{Path, PathBuf};

use moa_core::limits::FILE_BYTES_MAX;
use moa_spec::Source;
use serde_json::json;

use crate::cmd::Context;
use crate::exit::{Exit, Failure, Result};
use crate::files::{Beneath, plain};
use crate::project::{self, Problems};

/// Rewrite workflow files in the usual form.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  moa workflows fmt                # all workflows, agents and settings of the project
  moa workflows fmt --check        # say which would change, and change nothing
  moa workflows fmt --stdout workflows/deploy.yaml

A link is followed as long as it stays in the project. A file outside is formatted when it is named,
and is no link.

Exit codes: with --check, 1 when a file would change")]
pub struct FmtArgs {
    /// The files [default: all of the project]
    files: Vec<PathBuf>,
    /// Change nothing; say which files would change
    #[arg(long)]
    check: bool,
    /// Write the result to stdout
    #[arg(long, conflicts_with = "check")]
    stdout: bool,
}

/// A file to format.
struct Target {
    /// What it is called in messages.
    shown: String,
    /// The folder beneath which it is opened and replaced.
    folder: PathBuf,
    /// Where it is in that folder.
    path: PathBuf,
}

/// Formats files.
pub fn fmt(args: FmtArgs, context: &Context) -> Result {
    let mut broken = Problems::default();
    let targets = match args.files.is_empty() {
        false => {
            // Files can be formatted where no project is.
            let root = context.here().ok().map(|layout| layout.root);
            let named = args.files.iter().map(|file| named(file, root.as_deref()));
            named.collect::<Result<_>>()?
        }
        true => of_project(context, &mut broken)?,
    };
    let mut changed = Vec::new();
    for target in &targets {
        let beneath = Beneath::new(&target.folder)
            .map_err(|e| Failure::io(format!("can't open {}", target.folder.display()), &e))?;
        let source = target.read(&beneath)?;
        match moa_spec::format(&source) {
            Ok(text) if args.stdout => context.ui.raw(text.as_bytes()),
            Ok(text) if text == source.text => {}
            Ok(text) => {
                if !args.check {
                    target.replace(&beneath, &text)?;
                }
                changed.push(source.path);
            }
            Err(diagnostics) => {
                broken.diagnostics.extend(diagnostics);
                broken.sources.push(source);
            }
        }
    }
    say(&args, &changed, &broken, context);
    Ok(match (broken.has_errors(), args.check && !changed.is_empty()) {
        (true, _) => Exit::Invalid,
        (false, true) => Exit::Failed,
        (false, false) => Exit::Ok,
    })
}

/// All files of the project that can be formatted. Those that can't be read are problems.
fn of_project(context: &Context, broken: &mut Problems) -> Result<Vec<Target>> {
    let layout = context.here()?;
    let loaded = project::load(&layout, None)?;
    let unread = |path: &str| loaded.known.get(path).is_none_or(Option::is_none);
    broken.others = loaded.problems.only(unread).others;
    let here = std::env::current_dir().unwrap_or_default();
    let yaml = |path: &str| !path.starts_with("calendars/");
    let read = loaded.known.iter().filter(|(path, known)| known.is_some() && yaml(path));
    let target = |path: &String| {
        let whole = layout.root.join(path);
        let shown = whole.strip_prefix(&here).unwrap_or(&whole).display().to_string();
        Target { shown, folder: layout.root.clone(), path: path.into() }
    };
    Ok(read.map(|(path, _)| target(path)).collect())
}

/// A file that somebody named. What stands in the project has to stay in it; what stands elsewhere
/// must be what it looks like.
fn named(file: &Path, root: Option<&Path>) -> Result<Target> {
    let shown = file.display().to_string();
    let io = |e| Failure::io(format!("can't open {shown}"), &e);
    let real = std::fs::canonicalize(file).map_err(io)?;
    let whole = plain(&std::path::absolute(file).map_err(io)?);
    let inside = |path: &Path| root.filter(|root| path.starts_with(root)).map(Path::to_path_buf);
    // The project itself may be named through a link.
    let is_in = |folder: &Path| folder.canonicalize().is_ok_and(|real| inside(&real).is_some());
    let by_project = whole.ancestors().skip(1).any(is_in);
    if by_project && inside(&real).is_none() {
        let text = format!("{shown} is a link that leads out of the project");
        return Err(Failure::usage(text).hint(format!("name the file itself: {}", real.display())));
    }
    let is_link = || std::fs::symlink_metadata(file).is_ok_and(|meta| meta.is_symlink());
    if !by_project && is_link() {
        let text = format!("{shown} is a link, and not in the project");
        return Err(Failure::usage(text).hint(format!("name the file itself: {}", real.display())));
    }
    let beside = || real.parent().map(Path::to_path_buf);
    let (Some(folder), Some(_)) = (inside(&real).or_else(beside), real.file_name()) else {
        return Err(Failure::usage(format!("{shown} is not a file")));
    };
    let path = real.strip_prefix(&folder).unwrap_or(&real).to_path_buf();
    Ok(Target { shown, folder, path })
}

impl Target {
    fn read(&self, beneath: &Beneath) -> Result<Source> {
        let shown = &self.shown;
        let content =
            beneath.read(&self.path).map_err(|e| Failure::io(format!("can't read {shown}"), &e))?;
        if content.bytes.len() > FILE_BYTES_MAX {
            let text = format!("{shown} is not a file of at most {FILE_BYTES_MAX} bytes");
            return Err(Failure::usage(text));
        }
        Source::from_bytes(shown.clone(), content.bytes).map_err(|diagnostic| {
            let text = format!("{shown}: {}", diagnostic.message);
            Failure::new(Exit::Invalid, text)
        })
    }

    /// Puts a text in the place of the file's, whole or not at all. A link is written through.
    fn replace(&self, beneath: &Beneath, text: &str) -> Result<()> {
        let write = || {
            let real = std::fs::canonicalize(self.folder.join(&self.path))?;
            let path = real.strip_prefix(&self.folder).map_err(std::io::Error::other)?;
            beneath.replace(path, text.as_bytes())
        };
        write().map_err(|e| Failure::io(format!("can't write {}", self.shown), &e))
    }
}

fn say(args: &FmtArgs, changed: &[String], broken: &Problems, context: &Context) {
    let ui = &context.ui;
    if ui.json {
        let rows: Vec<_> =
            changed.iter().map(|p| json!({"path": p, "changed": !args.check})).collect();
        return ui.json(&rows);
    }
    let word = if args.check { "would change" } else { "changed" };
    for path in changed {
        ui.line(&format!("{word}\t{path}"));
    }
    if broken.has_errors() {
        ui.err_raw(&broken.render(ui.err_color()));
        ui.warn("files with errors are left as they are");
    }
}
