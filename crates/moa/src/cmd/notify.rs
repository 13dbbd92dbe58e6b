//! `moa notify`

use moa_core::ids::Name;
use moa_server::api::channels::MESSAGE;
use moa_view::node::ChannelLine;

use super::{Context, agents, runtime};
use crate::channels;
use crate::exit::{Exit, Result};
use crate::place::Place;
use crate::project::{self, Loaded};
use crate::remote::Remote;
use crate::table::{Cell, Table};
use crate::ui::Style;

/// Look at notification channels and try them.
#[derive(Debug, clap::Subcommand)]
#[command(long_about = "\
Look at notification channels and try them. Channels are declared in `notify.channels` of moa.yaml:
a file, Slack, mail or a webhook.")]
#[command(after_help = "\
Examples:
  moa notify list
  moa notify test ops
  moa runs list --workflow moa-notify    what was told outside of the project's own runs")]
pub enum Command {
    /// List the channels
    List(ListArgs),
    /// Send a notification now, and say what came of it
    Test(TestArgs),
}

/// List the channels.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  moa notify list --json | jq -r '.[].channel'")]
pub struct ListArgs {}

/// Send a notification now.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  moa notify test ops
  moa notify test duty --message 'The line works'
  moa notify test duty --context prod

It is sent once, from this process: a failure is shown, and not tried again. Of a node elsewhere (--url,
--context), the node sends it, over the channels that it has; that takes an operator's token.
Exit codes: 0 it was taken, 1 it was not")]
pub struct TestArgs {
    /// The channel
    channel: Name,
    /// What to say
    #[arg(long, default_value = MESSAGE)]
    message: String,
}

/// Does what the command line says.
pub fn run(command: Command, context: &Context) -> Result {
    let layout = match context.place()? {
        Place::Here(layout) => layout,
        Place::There(remote) => return elsewhere(command, &remote, context),
    };
    let loaded = project::load(&layout, None)?;
    if loaded.settings_broken {
        let settings = loaded.problems.only(|path| path == project::SETTINGS_FILE);
        return Err(settings.failure(context.ui.err_color()));
    }
    match command {
        Command::List(ListArgs {}) => {
            list(&channels::lines(&loaded.project.settings.notify.channels), context);
            Ok(Exit::Ok)
        }
        Command::Test(args) => test(&args, &loaded, context),
    }
}

/// The same of the channels that a node elsewhere has; it is the node that sends.
fn elsewhere(command: Command, remote: &Remote, context: &Context) -> Result {
    let runtime = runtime()?;
    match command {
        Command::List(ListArgs {}) => {
            list(&runtime.block_on(remote.channels())?, context);
            Ok(Exit::Ok)
        }
        Command::Test(TestArgs { channel, message }) => {
            let tried = runtime.block_on(remote.test_channel(&channel, &message))?;
            agents::tried(tried, context)
        }
    }
}

fn list(channels: &[ChannelLine], context: &Context) {
    if context.ui.json {
        context.ui.json(&channels);
        return;
    }
    let mut table = Table::new(&["CHANNEL", "KIND", "TO"]);
    for ChannelLine { channel, kind_of, to } in channels {
        let to = Cell::new(to.as_str()).style(Style::Dim);
        table.row(vec![channel.as_str().into(), kind_of.as_str().into(), to]);
    }
    table.print(&context.ui, "there are no channels; `notify.channels` in moa.yaml names them");
}

fn test(args: &TestArgs, loaded: &Loaded, context: &Context) -> Result {
    let channels = &loaded.project.settings.notify.channels;
    if !channels.contains_key(&args.channel) {
        return Err(channels::unknown(&args.channel, channels.keys()));
    }
    let params = channels::params_of_test(&args.channel, &args.message);
    agents::attempt("notify", "send", params, &loaded.project, context)
}
