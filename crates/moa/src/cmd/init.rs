//! `moa init`

use std::path::PathBuf;

use serde_json::json;

use super::Context;
use crate::exit::{Exit, Failure, Result};
use crate::project::{self, Layout};
use crate::table::Table;
use crate::ui::Ui;
use crate::{template, text};

/// Make a new project from a template.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  moa init shop --template project-build
  moa init reports --template data-pipeline
  moa init .
  moa init --list

Templates:
  project-build  nineteen agents scaffold, build, test, scan and deploy a small real application
  data-pipeline  ingests, cleans, validates, analyses and reports on a real CSV file
  continuous-monitoring
                 watches this machine and a service, and takes bad releases back
  video-production
                 a channel that makes, reviews and publishes six teaching videos a day
  blank          one workflow and one agent, to start from")]
pub struct Args {
    /// The folder to make; one that is there must be empty (a .git may be in it)
    #[arg(required_unless_present = "list")]
    name: Option<PathBuf>,
    /// The template
    #[arg(long, short, default_value = "blank")]
    template: String,
    /// List the templates
    #[arg(long, conflicts_with = "name")]
    list: bool,
}

/// Makes a project.
pub fn run(args: Args, context: &Context) -> Result {
    context.require_here()?;
    let ui = &context.ui;
    let Some(folder) = args.name else {
        list(ui);
        return Ok(Exit::Ok);
    };
    let template = template::find(&args.template)?;
    template::make(template, &folder)?;
    let root = std::fs::canonicalize(&folder)
        .map_err(|e| Failure::io(format!("can't open {}", folder.display()), &e))?;
    let loaded = project::load(&Layout { root: root.clone() }, None)?;
    let workflows: Vec<&str> = loaded.project.workflows.keys().map(|name| name.as_str()).collect();
    if ui.json {
        let name = template.name;
        ui.json(&json!({"project": root, "template": name, "workflows": workflows}));
        return Ok(Exit::Ok);
    }
    let shown = if folder == std::path::Path::new(".") { root.display() } else { folder.display() };
    ui.note(&format!("made {shown} from the template {}", template.name));
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap_or_default();
    if let Some(first) = first(&readme, &workflows) {
        ui.note("\nnext:");
        if std::env::current_dir().is_ok_and(|here| here != root) {
            ui.note(&format!("  cd {}", text::shell_word(&folder.to_string_lossy())));
        }
        ui.note(&format!("  {first}"));
    }
    Ok(Exit::Ok)
}

/// The command to begin with: the first one of the README, or else the first workflow's.
fn first(readme: &str, workflows: &[&str]) -> Option<String> {
    let command = |line: &str| {
        let command = line.split('#').next()?.trim();
        let name = command.strip_prefix("moa run ")?.split_whitespace().next()?;
        workflows.contains(&name).then(|| command.to_owned())
    };
    let of_readme = readme.lines().find_map(command);
    of_readme.or_else(|| Some(format!("moa run {} --watch", workflows.first()?)))
}

fn list(ui: &Ui) {
    let all = template::all();
    if ui.json {
        let rows = all.map(|(name, about)| json!({"template": name, "about": about}));
        return ui.json(&rows.collect::<Vec<_>>());
    }
    let mut table = Table::new(&["TEMPLATE", "ABOUT"]);
    all.for_each(|(name, about)| table.row(vec![name.into(), about.into()]));
    table.print(ui, "no templates");
}

#[cfg(test)]
mod tests {
    use super::first;

    #[test]
    fn it_begins_as_the_readme_does() {
        let all = ["analytics", "content-curation"];
        let readme = "It runs `moa run analytics`.\n\n    moa run other\n    moa run \
                      content-curation --watch      # today's topic\n    moa run analytics\n";
        assert_eq!(first(readme, &all).as_deref(), Some("moa run content-curation --watch"));
        assert_eq!(first("", &all).as_deref(), Some("moa run analytics --watch"));
        assert_eq!(first("", &[]), None);
    }
}
