//! `moa workflows validate` and `fmt`

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use moa_core::limits::FILE_BYTES_MAX;
use moa_spec::Source;
use serde_json::json;

use crate::cmd::Context;
use crate::exit::{Exit, Failure, Result};
use crate::project::{self, Layout, Problems};
use crate::secrets::SecretStore;
use crate::{needed, text};

/// Report every mistake in the project's files.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  moa workflows validate
  moa workflows validate workflows/deploy.yaml
  moa workflows validate --json | jq '.[].code'

Secrets that are used and not there are warnings, and no errors with --strict: they are about this
machine, not about the files.

Exit codes: 0 no errors, 3 errors")]
pub struct ValidateArgs {
    /// Only the mistakes of these files
    files: Vec<PathBuf>,
    /// Warnings are errors too
    #[arg(long)]
    strict: bool,
}

/// Reports mistakes.
pub fn validate(args: ValidateArgs, context: &Context) -> Result {
    let layout = context.layout()?;
    let mut loaded = project::load(&layout, None)?;
    match SecretStore::of(&layout, &loaded.project) {
        Ok(secrets) => {
            let warnings = needed::warnings(&loaded, &secrets);
            loaded.problems.diagnostics.extend(warnings);
        }
        Err(failure) => context.ui.warn(&failure.message),
    }
    let mut problems = loaded.problems;
    if !args.files.is_empty() {
        let wanted: Vec<String> =
            args.files.iter().map(|file| inside(&layout, file)).collect::<Result<_>>()?;
        for (file, path) in args.files.iter().zip(&wanted) {
            let known = loaded.known.contains_key(path);
            if !known && !problems.others.iter().any(|o| o.path == *path) {
                let text = format!("{} is not a file of the project", file.display());
                let hint = "files are moa.yaml, workflows/*.yaml and agents/*.yaml";
                return Err(Failure::not_found(text).hint(hint));
            }
        }
        problems = problems.only(|path| wanted.iter().any(|w| w == path));
    }
    report(&problems, context);
    let (errors, _) = problems.counts();
    let of_files = |code: &str| code != needed::NO_SECRET;
    let warned = problems.diagnostics.iter().any(|d| !d.is_error() && of_files(d.code));
    let bad = errors > 0 || args.strict && warned;
    Ok(if bad { Exit::Invalid } else { Exit::Ok })
}

fn report(problems: &Problems, context: &Context) {
    let ui = &context.ui;
    if ui.json {
        return ui.json(&problems.json());
    }
    ui.raw(problems.render(ui.out_color()).as_bytes());
    let (errors, warnings) = problems.counts();
    match (errors, warnings) {
        (0, 0) => ui.note("no mistakes"),
        (errors, warnings) => {
            let errors = text::plural(errors, "error");
            ui.note(&format!("\n{errors}, {}", text::plural(warnings, "warning")));
        }
    }
}

/// The path of a file relative to the project.
fn inside(layout: &Layout, file: &Path) -> Result<String> {
    let whole = std::fs::canonicalize(file)
        .map_err(|e| Failure::io(format!("can't open {}", file.display()), &e))?;
    let relative = whole.strip_prefix(&layout.root).ok().and_then(Path::to_str);
    relative
        .map(str::to_owned)
        .ok_or_else(|| Failure::not_found(format!("{} is not inside the project", file.display())))
}

/// Rewrite workflow files in the usual form.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  moa workflows fmt                # all workflows, agents and settings of the project
  moa workflows fmt --check        # say which would change, and change nothing
  moa workflows fmt --stdout workflows/deploy.yaml

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

/// Formats files.
pub fn fmt(args: FmtArgs, context: &Context) -> Result {
    let files = match args.files.is_empty() {
        false => args.files.clone(),
        true => {
            let layout = context.layout()?;
            let known = project::load(&layout, None)?.known;
            known.keys().map(|path| layout.root.join(path)).collect()
        }
    };
    let mut changed = Vec::new();
    let mut broken = Problems::default();
    for file in &files {
        let source = read(file)?;
        match moa_spec::format(&source) {
            Ok(text) if args.stdout => context.ui.raw(text.as_bytes()),
            Ok(text) if text == source.text => {}
            Ok(text) => {
                if !args.check {
                    replace(file, &text)?;
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

fn read(file: &Path) -> Result<Source> {
    let shown = file.display();
    let meta =
        std::fs::metadata(file).map_err(|e| Failure::io(format!("can't open {shown}"), &e))?;
    if !meta.is_file() || meta.len() > FILE_BYTES_MAX as u64 {
        let text = format!("{shown} is not a file of at most {FILE_BYTES_MAX} bytes");
        return Err(Failure::usage(text));
    }
    let bytes = std::fs::read(file).map_err(|e| Failure::io(format!("can't read {shown}"), &e))?;
    let here = std::env::current_dir().unwrap_or_default();
    let path = file.strip_prefix(here).unwrap_or(file).display().to_string();
    Source::from_bytes(path, bytes).map_err(|diagnostic| {
        let text = format!("{shown}: {}", diagnostic.message);
        Failure::new(Exit::Invalid, text)
    })
}

/// Puts a text in the place of a file's, whole or not at all.
fn replace(file: &Path, text: &str) -> Result<()> {
    // A link is written through, not replaced.
    let file = std::fs::canonicalize(file)
        .map_err(|e| Failure::io(format!("can't open {}", file.display()), &e))?;
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let temporary = file.with_file_name(format!(".{name}.fmt-{}", std::process::id()));
    let write = || {
        let mode = std::fs::metadata(&file)?.permissions().mode();
        let mut out = std::fs::File::create(&temporary)?;
        out.set_permissions(std::fs::Permissions::from_mode(mode))?;
        out.write_all(text.as_bytes())?;
        out.sync_all()?;
        std::fs::rename(&temporary, &file)
    };
    write().map_err(|e| {
        // It may never have been made.
        let _ = std::fs::remove_file(&temporary);
        Failure::io(format!("can't write {}", file.display()), &e)
    })
}
