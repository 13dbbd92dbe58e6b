//! `moa config`

use serde_json::json;

use super::Context;
use crate::config;
use crate::exit::{Exit, Result};
use crate::table::{Cell, Table};
use crate::ui::Style;
use crate::{node, project};

/// Show each setting, its value, and where it came from.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  moa config
  moa config default > moa.yaml     # a settings file with all defaults

Defaults < moa.yaml < .env < environment (MOA_LOG_LEVEL for log.level) < flags")]
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
    let layout = context.here()?;
    let loaded = project::load(&layout, None)?;
    let wrong = loaded.problems.only(|path| path == project::SETTINGS_FILE);
    if wrong.has_errors() {
        return Err(wrong.failure(context.ui.err_color()));
    }
    let config = node::read_config(&layout, &loaded.project)?;
    if context.ui.json {
        let rows: Vec<_> = config
            .lines()
            .into_iter()
            .map(|l| json!({"key": l.key, "value": l.value, "origin": l.origin.to_string()}))
            .collect();
        context.ui.json(&rows);
        return Ok(Exit::Ok);
    }
    let mut table = Table::new(&["KEY", "VALUE", "FROM"]);
    for line in config.lines() {
        let value = match &line.value {
            serde_json::Value::String(text) => text.clone(),
            serde_json::Value::Null => "-".into(),
            other => other.to_string(),
        };
        let style = match line.origin {
            config::Origin::Default => Style::Dim,
            _ => Style::Plain,
        };
        let origin = line.origin.to_string();
        table.row(vec![line.key.into(), value.into(), Cell::new(origin).style(style)]);
    }
    table.print(&context.ui, "no settings");
    Ok(Exit::Ok)
}
