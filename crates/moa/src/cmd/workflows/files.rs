//! `moa workflows validate`

use std::path::{Path, PathBuf};

use moa_core::ids::Name;

use crate::cmd::{Context, runtime};
use crate::exit::{Exit, Failure, Result};
use crate::place::Place;
use crate::project::{self, Layout, Problems};
use crate::remote::Remote;
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
    let layout = match context.place()? {
        Place::Here(layout) => layout,
        Place::There(remote) => return validate_elsewhere(&args, &remote, context),
    };
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

/// Checks the files of a node elsewhere; or files of this machine, as if they were workflows there.
fn validate_elsewhere(args: &ValidateArgs, remote: &Remote, context: &Context) -> Result {
    let loaded = runtime()?.block_on(remote.project())?;
    let mut problems = loaded.problems;
    if !args.files.is_empty() {
        problems = Problems::default();
    }
    for file in &args.files {
        let stem = file.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        let name = Name::new(stem)
            .map_err(|e| Failure::usage(format!("{stem:?} can't be a workflow: {e}")))?;
        let text = std::fs::read_to_string(file)
            .map_err(|e| Failure::io(format!("can't read {}", file.display()), &e))?;
        let found = project::check_text(&loaded.project, &name, text);
        problems.diagnostics.extend(found.diagnostics);
        problems.sources.extend(found.sources);
    }
    report(&problems, context);
    let (errors, warnings) = problems.counts();
    let bad = errors > 0 || args.strict && warnings > 0;
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
