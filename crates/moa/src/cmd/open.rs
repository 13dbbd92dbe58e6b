//! `moa open`

use std::path::Path;
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

The link signs a browser in once, within 15 minutes. Whoever has it may do what the role may. The
browser is given a file that leads to the link, which is removed when it is used. One that can't read
files of hidden folders (a snap's, say) needs --print.")]
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
    let has_desktop = !args.print && !context.ui.json && has_desktop();
    let (link, page) = runtime()?.block_on(async {
        match Client::connect(&layout.state()).await? {
            Some(mut client) => client.sign_in_link(args.role, has_desktop).await,
            None => Err(Failure::refused("no node serves the project").hint("start one: `moa up`")),
        }
    })?;
    if context.ui.json {
        context.ui.json(&json!({"url": link}));
        return Ok(Exit::Ok);
    }
    if page.is_some_and(|page| open(&page)) {
        context.ui.note("the dashboard opens in a browser");
    } else {
        context.ui.line(&link);
    }
    Ok(Exit::Ok)
}

fn has_desktop() -> bool {
    cfg!(target_os = "macos")
        || ["DISPLAY", "WAYLAND_DISPLAY"].iter().any(|name| std::env::var_os(name).is_some())
}

/// Hands the desktop a file that leads to the link: what stands on a command line is no secret.
fn open(page: &Path) -> bool {
    let opener = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
    let mut command = Command::new(opener);
    command.arg(page).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
