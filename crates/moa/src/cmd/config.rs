//! `moa config`

use moa_view::target::Setting;
use serde_json::Value as Json;

use super::{Context, runtime};
use crate::config::{self, Line, Origin};
use crate::exit::{Exit, Result};
use crate::place::Place;
use crate::project::Layout;
use crate::table::{Cell, Table};
use crate::ui::Style;
use crate::{node, project};

/// Show each setting, its value, and where it came from.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  moa config
  moa config default > moa.yaml     # a settings file with all defaults

Defaults < moa.yaml < .env < environment (MOA_LOG_LEVEL for log.level) < flags

Shown is what the files and the environment here say now. A node elsewhere (--url, --context) tells an
admin what it was started with; of addresses only the host.")]
pub struct Args {
    /// `default`: print a settings file with all defaults
    #[arg(value_parser = ["default"])]
    what: Option<String>,
}

/// Shows the settings.
pub fn run(args: Args, context: &Context) -> Result {
    if args.what.is_some() {
        context.no_json("a settings file")?;
        context.ui.raw(config::default_file().as_bytes());
        return Ok(Exit::Ok);
    }
    let settings = match context.place()? {
        Place::Here(layout) => of_files(&layout, context)?,
        Place::There(remote) => runtime()?.block_on(remote.config())?,
    };
    if context.ui.json {
        context.ui.json(&settings);
        return Ok(Exit::Ok);
    }
    let mut table = Table::new(&["KEY", "VALUE", "FROM"]);
    for Setting { key, value, origin } in &settings {
        let value = match value {
            Json::String(text) => text.clone(),
            Json::Null => "-".into(),
            other => other.to_string(),
        };
        let is_default = *origin == Origin::Default.to_string();
        let style = if is_default { Style::Dim } else { Style::Plain };
        table.row(vec![key.into(), value.into(), Cell::new(origin).style(style)]);
    }
    table.print(&context.ui, "no settings");
    Ok(Exit::Ok)
}

/// The settings as a node would read them now.
fn of_files(layout: &Layout, context: &Context) -> Result<Vec<Setting>> {
    let loaded = project::load(layout, None)?;
    let wrong = loaded.problems.only(|path| path == project::SETTINGS_FILE);
    if wrong.has_errors() {
        return Err(wrong.failure(context.ui.err_color()));
    }
    let config = node::read_config(layout, &loaded.project)?;
    let setting = |line: Line| {
        let origin = line.origin.to_string();
        Setting { key: line.key, value: line.value, origin }
    };
    Ok(config.lines().into_iter().map(setting).collect())
}
