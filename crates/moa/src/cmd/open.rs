//! `moa open`

use std::process::{Command, Stdio};

use moa_server::auth::role::Role;
use serde_json::json;

use super::{Context, runtime};
use crate::control::client::Client;
use crate::exit::{Exit, Failure, Result};

/// Open the dashboard in a browser.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  moa open
  moa open --print                # the link alone, for another machine
  moa open --role viewer --print

The link signs a browser in once, within 15 minutes. Whoever has it may do what the role may.")]
pub struct Args {
    /// Only print the link
    #[arg(long)]
    print: bool,
    /// What the browser may do: viewer, operator, approver, admin
    #[arg(long, default_value = "admin")]
    role: Role,
}

/// Opens the dashboard.
pub fn run(args: Args, context: &Context) -> Result {
    let layout = context.layout()?;
    let link = runtime()?.block_on(async {
        match Client::connect(&layout.state()).await? {
            Some(mut client) => client.sign_in_link(args.role).await,
            None => Err(Failure::refused("no node serves the project").hint("start one: `moa up`")),
        }
    })?;
    if context.ui.json {
        context.ui.json(&json!({"url": link}));
        return Ok(Exit::Ok);
    }
    if args.print || !open(&link) {
        context.ui.line(&link);
    } else {
        context.ui.note("the dashboard opens in a browser");
    }
    Ok(Exit::Ok)
}

/// Hands a link to the desktop, if there is one.
fn open(link: &str) -> bool {
    let has_desktop = cfg!(target_os = "macos")
        || ["DISPLAY", "WAYLAND_DISPLAY"].iter().any(|name| std::env::var_os(name).is_some());
    let opener = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
    let mut command = Command::new(opener);
    command.arg(link).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    has_desktop && command.status().is_ok_and(|status| status.success())
}
