//! `moa notify`

use std::collections::BTreeMap;

use moa_core::ids::Name;
use moa_spec::Channel;
use serde_json::{Value as Json, json};

use super::{Context, agents};
use crate::exit::{Exit, Failure, Result};
use crate::project::{self, Loaded};
use crate::table::{Cell, Table};
use crate::text;
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

It is sent once, from this process: a failure is shown, and not tried again.
Exit codes: 0 it was taken, 1 it was not")]
pub struct TestArgs {
    /// The channel
    channel: Name,
    /// What to say
    #[arg(long, default_value = "This is a test. Whoever reads it need do nothing.")]
    message: String,
}

/// Does what the command line says.
pub fn run(command: Command, context: &Context) -> Result {
    let layout = context.layout()?;
    let loaded = project::load(&layout, None)?;
    if loaded.settings_broken {
        let settings = loaded.problems.only(|path| path == project::SETTINGS_FILE);
        return Err(settings.failure(context.ui.err_color()));
    }
    match command {
        Command::List(ListArgs {}) => {
            list(&loaded.project.settings.notify.channels, context);
            Ok(Exit::Ok)
        }
        Command::Test(args) => test(args, loaded, context),
    }
}

fn list(channels: &BTreeMap<Name, Channel>, context: &Context) {
    if context.ui.json {
        let rows: Vec<Json> = channels.iter().map(|(name, c)| document(name, c)).collect();
        context.ui.json(&rows);
        return;
    }
    let mut table = Table::new(&["CHANNEL", "KIND", "TO"]);
    for (name, channel) in channels {
        let (kind, to) = kind(channel);
        table.row(vec![name.as_str().into(), kind.into(), Cell::new(to).style(Style::Dim)]);
    }
    table.print(&context.ui, "there are no channels; `notify.channels` in moa.yaml names them");
}

fn document(name: &Name, channel: &Channel) -> Json {
    let (kind, to) = kind(channel);
    json!({ "channel": name, "kind_of": kind, "to": to })
}

/// What kind of channel it is, and where it goes; secrets are named, not shown.
fn kind(channel: &Channel) -> (&'static str, String) {
    let shown = |value: &moa_spec::Secretive| {
        let value = serde_json::to_value(value).unwrap_or_default();
        value.as_str().unwrap_or_default().to_owned()
    };
    match channel {
        Channel::File(path) => ("file", path.clone()),
        Channel::Slack(slack) => ("slack", shown(&slack.url)),
        Channel::Mail(mail) => {
            ("mail", format!("{} by {}:{}", mail.to.join(", "), mail.host, mail.port))
        }
        Channel::Webhook(webhook) => ("webhook", shown(&webhook.url)),
    }
}

fn test(args: TestArgs, loaded: Loaded, context: &Context) -> Result {
    let channels = &loaded.project.settings.notify.channels;
    if !channels.contains_key(&args.channel) {
        return Err(unknown(&args.channel, channels.keys()));
    }
    let params = json!({
        "channel": args.channel, "message": args.message, "title": "A test of moa", "level": "info",
    });
    agents::attempt("notify", "send", params, &loaded.project, context)
}

/// There is no such channel.
fn unknown<'a>(name: &Name, known: impl Iterator<Item = &'a Name>) -> Failure {
    let known: Vec<&str> = known.map(Name::as_str).collect();
    let failure = Failure::not_found(format!("there is no channel {name}"));
    match text::nearest(name.as_str(), known.iter().copied()) {
        Some(near) => failure.hint(format!("did you mean {near}?")),
        None if known.is_empty() => failure.hint("`notify.channels` in moa.yaml names channels"),
        None => failure.hint(format!("there are: {}", known.join(", "))),
    }
}
