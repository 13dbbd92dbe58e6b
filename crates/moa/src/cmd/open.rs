//! `moa open`

use std::path::Path;
use std::process::{Command, Stdio};

use moa_server::auth::role::Role;
use serde_json::json;

use super::{Context, runtime};
use crate::control::client::Client;
use crate::exit::{Exit, Failure, Result};
use crate::place::Place;
use crate::project::Layout;
use crate::remote::{Pages, Remote};

/// Open the dashboard in a browser.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  moa open
  moa open --print                # the link alone, for another machine
  moa open --role viewer --print
  moa open --context prod

The link signs a browser in once, within 15 minutes. Whoever has it may do what the role may. The
browser is given a file that leads to the link, which is removed when it is used. One that can't read
files of hidden folders (a snap's, say) needs --print.

Of a node elsewhere (--url, --context), the browser may do what the token may or less (--role), and for as
long as that holds. The file is kept beside the contexts, until `moa open` is called again later.")]
pub struct Args {
    /// Only print the link
    #[arg(long)]
    print: bool,
    /// What the browser may do: viewer, operator, approver, admin; admin when not given, elsewhere what the
    /// token may
    #[arg(long)]
    role: Option<Role>,
}

/// Opens the dashboard.
pub fn run(args: Args, context: &Context) -> Result {
    let with_page = !args.print && !context.ui.json && has_desktop();
    let (link, opened) = match context.place()? {
        Place::Here(layout) => here(&layout, args.role, with_page)?,
        Place::There(remote) => there(&remote, args.role, with_page)?,
    };
    if context.ui.json {
        context.ui.json(&json!({"url": link}));
    } else if opened {
        context.ui.note("the dashboard opens in a browser");
    } else {
        context.ui.line(&link);
    }
    Ok(Exit::Ok)
}

/// Has the node of this machine make a link; answers it, and whether a browser has been given it.
fn here(layout: &Layout, role: Option<Role>, with_page: bool) -> Result<(String, bool)> {
    let (link, page) = runtime()?.block_on(async {
        match Client::connect(&layout.state()).await? {
            Some(mut client) => client.sign_in_link(role.unwrap_or(Role::Admin), with_page).await,
            None => Err(Failure::refused("no node serves the project").hint("start one: `moa up`")),
        }
    })?;
    Ok((link, page.is_some_and(|page| open(&page))))
}

/// The same of a node elsewhere, where the file that leads to the link is one of this machine.
fn there(remote: &Remote, role: Option<Role>, with_page: bool) -> Result<(String, bool)> {
    let link = runtime()?.block_on(remote.sign_in_link(role))?;
    // Whoever can't be given a file gets the link.
    let page = with_page.then(|| Pages::of_user().and_then(|pages| pages.leading_to(&link)));
    let opened = page.is_some_and(|page| page.is_ok_and(|page| open(&page)));
    Ok((link, opened))
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
