//! `moa webhooks`

use std::collections::BTreeMap;
use std::time::Duration;

use moa_core::ids::{Name, RunId};
use moa_core::workflow::NOTIFY_WORKFLOW;
use moa_spec::{Subscription, channel_of, webhook_of};
use moa_view::deliveries::{self, Again, Delivery, Which};
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use super::{Context, agents, runtime};
use crate::control::client::Client;
use crate::exit::{Exit, Failure, Result};
use crate::host::{self, Asks};
use crate::jobs::webhooks::kept;
use crate::place::Place;
use crate::project::{self, Layout, Loaded};
use crate::reader::Reader;
use crate::remote::Remote;
use crate::table::{Cell, Table};
use crate::text;
use crate::ui::Style;
use crate::wire;

/// Deliveries that are made again at once.
const AT_ONCE: usize = 1000;

/// Look at webhooks, try them, call again.
#[derive(Debug, clap::Subcommand)]
#[command(long_about = "\
Look at webhooks, try them, call again. Webhooks are declared in `webhooks` of moa.yaml: who is called
when something happens; a node that runs takes changes there over. A delivery is tried again
for about half a day; then it is dead, until somebody has it made again. A receiver that answers 410 is
called no more, until somebody enables it.")]
#[command(after_help = "\
Examples:
  moa webhooks list
  moa webhooks test billing
  moa webhooks dead billing
  moa webhooks redeliver billing
  moa webhooks enable billing")]
pub enum Command {
    /// List the webhooks
    List(ListArgs),
    /// List deliveries that were given up
    Dead(DeadArgs),
    /// Make deliveries again that were given up
    Redeliver(RedeliverArgs),
    /// Call a webhook now, and say what came of it
    Test(TestArgs),
    /// Call a webhook again that was switched off because its receiver is gone
    Enable(EnableArgs),
}

/// List the webhooks.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  moa webhooks list --json | jq -r '.[].webhook'")]
pub struct ListArgs {}

/// List deliveries that were given up.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  moa webhooks dead billing
  moa webhooks dead billing --json | jq -r '.[].run'")]
pub struct DeadArgs {
    /// The webhook
    webhook: Name,
    /// At most so many
    #[arg(long, short = 'n', default_value_t = 50)]
    limit: usize,
}

/// Make deliveries again that were given up.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  moa webhooks redeliver billing          all that are dead
  moa webhooks redeliver billing 0192f3   the one of this run

A receiver knows them by the same webhook-id.")]
pub struct RedeliverArgs {
    /// The webhook
    webhook: Name,
    /// Runs, as `moa webhooks dead` lists them; all that are dead when not given
    runs: Vec<String>,
}

/// Call a webhook now.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  moa webhooks test billing

It is called once, from this process, with an event of the type moa.webhook.test; of a node elsewhere,
by that node, as any other delivery.
Exit codes: 0 it was taken, 1 it was not")]
pub struct TestArgs {
    /// The webhook
    webhook: Name,
}

/// Call a webhook again whose receiver was gone.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  moa webhooks test billing && moa webhooks enable billing

It is told of what happens from now on; `moa webhooks redeliver` makes up for what it refused.")]
pub struct EnableArgs {
    /// The webhook
    webhook: Name,
}

/// A webhook as it is listed.
#[derive(Debug, Serialize, Deserialize)]
pub struct Line {
    webhook: String,
    /// A secret is named, not shown.
    url: String,
    signed: bool,
    types: Vec<String>,
    workflows: Vec<String>,
    active: bool,
    gone: Option<GoneLine>,
    /// An older node tells nothing of the next two.
    #[serde(default)]
    dead: u64,
    /// Whether the settings don't name it any more.
    #[serde(default)]
    removed: bool,
}

/// Since when a receiver is gone.
#[derive(Debug, Serialize, Deserialize)]
struct GoneLine {
    since: String,
    run: String,
}

/// Does what the command line says.
pub fn run(command: Command, context: &Context) -> Result {
    let place = context.place()?;
    let layout = match &place {
        Place::There(remote) => return elsewhere(command, &place, remote, context),
        Place::Here(layout) => layout,
    };
    let loaded = project::load(layout, None)?;
    if loaded.settings_broken {
        let settings = loaded.problems.only(|path| path == project::SETTINGS_FILE);
        return Err(settings.failure(context.ui.err_color()));
    }
    match command {
        Command::List(ListArgs {}) => {
            show(&lines(layout, &loaded)?, context);
            Ok(Exit::Ok)
        }
        Command::Dead(args) => {
            let found = dead(&args, layout, &loaded)?;
            show_dead(&found, context);
            Ok(Exit::Ok)
        }
        Command::Redeliver(args) => redeliver(args, layout, &loaded, context),
        Command::Test(args) => test(args, loaded, context),
        Command::Enable(args) => {
            channel(&args.webhook, &loaded)?;
            enable(&args.webhook, &place, context)
        }
    }
}

/// The same at a node elsewhere.
fn elsewhere(command: Command, place: &Place, remote: &Remote, context: &Context) -> Result {
    let runtime = runtime()?;
    match command {
        Command::List(ListArgs {}) => show(&runtime.block_on(remote.webhooks())?, context),
        Command::Dead(args) => {
            let found =
                runtime.block_on(remote.dead_deliveries(&args.webhook, args.limit.max(1)))?;
            show_dead(&found, context);
        }
        Command::Redeliver(args) => {
            let made = runtime.block_on(remote.redeliver(&args.webhook, &args.runs))?;
            show_made(&made, context);
        }
        Command::Test(args) => {
            let id = runtime.block_on(remote.test_webhook(&args.webhook))?;
            match context.ui.json {
                true => context.ui.json(&json!({"id": id})),
                false => {
                    let id = text::safe_line(&id);
                    context.ui.note(&format!("the node calls {} ({id})", args.webhook));
                    let hint = "`moa runs list --workflow moa-notify` shows what comes of it";
                    context.ui.hint(hint);
                }
            }
        }
        Command::Enable(args) => return enable(&args.webhook, place, context),
    }
    Ok(Exit::Ok)
}

fn enable(webhook: &Name, place: &Place, context: &Context) -> Result {
    let runtime = runtime()?;
    let exit = runtime.block_on(async {
        let asks = async |client: &mut Client| client.enable_webhook(webhook.clone()).await;
        let (host, changed) = host::ask(place, Asks::Again, asks).await?;
        host.close(Duration::ZERO).await;
        if context.ui.json {
            context.ui.json(&json!({"webhook": webhook, "changed": changed}));
            return Ok(Exit::Ok);
        }
        context.ui.note(&match changed {
            true => format!("{webhook} is called again, of what happens from now on"),
            false => format!("{webhook} was not switched off"),
        });
        Ok(Exit::Ok)
    });
    runtime.shutdown_background();
    exit
}

/// The webhooks of the settings, which of them are switched off, and those that were removed and have
/// dead calls.
fn lines(layout: &Layout, loaded: &Loaded) -> Result<Vec<Line>> {
    let settings = &loaded.project.settings;
    let mut dead: BTreeMap<Name, u64> = BTreeMap::new();
    if let Some(reader) = wire::open_reader(layout)? {
        let rows = runtime()?.block_on(reader.views.channels())?.into_iter();
        dead.extend(rows.filter_map(|row| Some((webhook_of(&row.channel)?, row.dead))));
    }
    let mut gone = kept::gone(&layout.state(), &settings.webhooks, crate::view::now());
    let line = |(name, one): (&Name, &Subscription)| {
        let url = serde_json::to_value(&one.receiver.url).unwrap_or_default();
        let gone = gone.remove(name);
        Line {
            webhook: name.to_string(),
            url: url.as_str().unwrap_or_default().to_owned(),
            signed: one.receiver.secret.is_some(),
            types: one.types.clone(),
            workflows: one.workflows.iter().map(Name::to_string).collect(),
            active: one.active,
            gone: gone.map(|g| GoneLine { since: g.since.to_string(), run: g.run.to_string() }),
            dead: dead.get(name).copied().unwrap_or(0),
            removed: false,
        }
    };
    let mut lines: Vec<Line> = settings.webhooks.iter().map(line).collect();
    let removed = dead.iter().filter(|(name, n)| **n > 0 && !settings.webhooks.contains_key(*name));
    lines.extend(removed.map(|(name, dead)| Line {
        webhook: name.to_string(),
        url: String::new(),
        signed: false,
        types: Vec::new(),
        workflows: Vec::new(),
        active: false,
        gone: None,
        dead: *dead,
        removed: true,
    }));
    Ok(lines)
}

fn show(lines: &[Line], context: &Context) {
    if context.ui.json {
        context.ui.json(&lines);
        return;
    }
    let mut table = Table::new(&["WEBHOOK", "STATE", "DEAD", "TYPES", "WORKFLOWS", "TO"]);
    for one in lines {
        let (state, style) = match (one.active, &one.gone) {
            _ if one.removed => ("removed", Style::Dim),
            (false, _) => ("off", Style::Dim),
            (true, Some(_)) => ("gone", Style::Red),
            (true, None) => ("active", Style::Green),
        };
        let workflows =
            if one.workflows.is_empty() { "all".into() } else { one.workflows.join(", ") };
        let cell = |text: &str| Cell::new(text::safe_line(text));
        table.row(vec![
            cell(&one.webhook),
            Cell::new(state).style(style),
            Cell::new(one.dead.to_string()).style(if one.dead > 0 {
                Style::Red
            } else {
                Style::Dim
            }),
            cell(&one.types.join(", ")),
            cell(&workflows),
            cell(&one.url).style(Style::Dim),
        ]);
    }
    table.print(&context.ui, "there are no webhooks; `webhooks` in moa.yaml names them");
    for one in lines.iter().filter(|one| one.active) {
        if let Some(gone) = &one.gone {
            let (name, since) = (text::safe_line(&one.webhook), text::safe_line(&gone.since));
            context.ui.hint(&format!(
                "{name} is switched off since {since}, when it answered 410; \
                 `moa webhooks enable {name}` has it called again"
            ));
        }
    }
}

/// The channel of a webhook that there is.
fn channel(webhook: &Name, loaded: &Loaded) -> Result<Name> {
    let all = &loaded.project.settings.webhooks;
    if all.contains_key(webhook) {
        return Ok(channel_of(webhook));
    }
    let failure = Failure::not_found(format!("there is no webhook {webhook}"));
    Err(match text::nearest(webhook.as_str(), all.keys().map(Name::as_str)) {
        Some(near) => failure.hint(format!("did you mean {near}?")),
        None => failure.hint("`moa webhooks list` lists them"),
    })
}

/// The channel of a webhook that there is, or was: one that was removed is found as long as it has calls.
async fn past_channel(webhook: &Name, loaded: &Loaded, reader: &Reader) -> Result<Name> {
    let unknown = match channel(webhook, loaded) {
        Ok(channel) => return Ok(channel),
        Err(unknown) => unknown,
    };
    let channel = channel_of(webhook);
    let rows = reader.views.channels().await?;
    rows.iter().find(|row| row.channel == channel.as_str()).ok_or(unknown)?;
    Ok(channel)
}

fn dead(args: &DeadArgs, layout: &Layout, loaded: &Loaded) -> Result<Vec<Delivery>> {
    let Some(reader) = wire::open_reader(layout)? else {
        return channel(&args.webhook, loaded).map(|_| Vec::new());
    };
    runtime()?.block_on(async {
        let channel = past_channel(&args.webhook, loaded, &reader).await?;
        let which = Which { channel, dead: true, before: None, limit: args.limit.max(1) };
        Ok(deliveries::list(&*reader.views, &which).await?.0)
    })
}

fn show_dead(found: &[Delivery], context: &Context) {
    if context.ui.json {
        context.ui.json(&found);
        return;
    }
    let mut table = Table::new(&["RUN", "EVENT", "ID", "WHEN", "WHY"]);
    for delivery in found {
        let cell = |text: &str| Cell::new(text::safe_line(text));
        table.row(vec![
            cell(&delivery.run),
            cell(&delivery.kind),
            cell(&delivery.id),
            cell(&delivery.created_at),
            cell(delivery.error.as_deref().unwrap_or_default()).style(Style::Red),
        ]);
    }
    table.print(&context.ui, "no delivery was given up");
}

fn redeliver(args: RedeliverArgs, layout: &Layout, loaded: &Loaded, context: &Context) -> Result {
    let runtime = runtime()?;
    let exit = runtime.block_on(async {
        let Some(reader) = wire::open_reader(layout)? else {
            channel(&args.webhook, loaded)?;
            context.ui.note("no delivery was given up");
            return Ok(Exit::Ok);
        };
        let asked = Again {
            webhook: &args.webhook,
            channel: &past_channel(&args.webhook, loaded, &reader).await?,
            active: loaded.project.settings.webhooks.get(&args.webhook).map(|one| one.active),
            runs: (!args.runs.is_empty()).then_some(&args.runs),
            most: AT_ONCE,
        };
        let runs = deliveries::again(&reader, asked).await?;
        drop(reader);
        again(&runs, layout, context).await
    });
    runtime.shutdown_background();
    exit
}

/// Has deliveries made again; asked twice, once.
async fn again(runs: &[(RunId, Option<RunId>)], layout: &Layout, context: &Context) -> Result {
    let asks = async |client: &mut Client| {
        let mut made = Vec::new();
        for (run, done) in runs {
            let new = match done {
                Some(done) => *done,
                None => client.fork(deliveries::request(*run, "cli".into())).await?,
            };
            made.push(json!({"run": run, "new_run": new}));
        }
        Ok(made)
    };
    let (host, made) = host::ask(&Place::Here(layout.clone()), Asks::Again, asks).await?;
    let lasting = host.is_lasting();
    host.close(Duration::ZERO).await;
    show_made(&made, context);
    if !lasting && !made.is_empty() {
        context.ui.warn(host::RECORDED);
    }
    Ok(Exit::Ok)
}

fn show_made(made: &[Json], context: &Context) {
    if context.ui.json {
        context.ui.json(&made);
    } else {
        let what = text::plural(made.len(), "call");
        context.ui.note(&format!("{what} to be made again"));
    }
}

fn test(args: TestArgs, loaded: Loaded, context: &Context) -> Result {
    let channel = channel(&args.webhook, &loaded)?;
    let id = format!("test-{:016x}", wire::random_u64());
    let event = json!({
        "specversion": "1.0", "id": id, "source": "moa", "type": "moa.webhook.test",
        "time": crate::view::now().to_string(), "data": {"webhook": args.webhook},
    });
    let params = json!({"channel": channel, "key": id, "message": "", "about": event});
    agents::attempt(NOTIFY_WORKFLOW, "send", params, &loaded.project, context)
}
