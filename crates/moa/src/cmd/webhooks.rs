//! `moa webhooks`

use moa_core::ids::{Name, RunId};
use moa_core::workflow::NOTIFY_WORKFLOW;
use moa_engine::handle::{ForkFrom, ForkRequest};
use moa_spec::{Secretive, Subscription, channel_of};
use moa_view::deliveries::{self, Which, is_over};
use serde_json::{Value as Json, json};

use super::{Context, agents, runtime};
use crate::exit::{Exit, Failure, Result};
use crate::host::{self, Asks};
use crate::place::Place;
use crate::project::{self, Layout, Loaded};
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
when something happens. A delivery is tried again for about half a day; then it is dead, until somebody
has it made again.")]
#[command(after_help = "\
Examples:
  moa webhooks list
  moa webhooks test billing
  moa webhooks dead billing
  moa webhooks redeliver billing")]
pub enum Command {
    /// List the webhooks
    List(ListArgs),
    /// List deliveries that were given up
    Dead(DeadArgs),
    /// Make deliveries again that were given up
    Redeliver(RedeliverArgs),
    /// Call a webhook now, and say what came of it
    Test(TestArgs),
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

It is called once, from this process, with an event of the type moa.webhook.test.
Exit codes: 0 it was taken, 1 it was not")]
pub struct TestArgs {
    /// The webhook
    webhook: Name,
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
            list(&loaded, context);
            Ok(Exit::Ok)
        }
        Command::Dead(args) => dead(&args, &layout, &loaded, context),
        Command::Redeliver(args) => redeliver(args, &layout, &loaded, context),
        Command::Test(args) => test(args, loaded, context),
    }
}

fn url(one: &Subscription) -> String {
    match &one.receiver.url {
        Secretive::Plain(text) => text.clone(),
        Secretive::Secret(name) => format!("${{{{ secrets.{name} }}}}"),
    }
}

fn list(loaded: &Loaded, context: &Context) {
    let all = &loaded.project.settings.webhooks;
    if context.ui.json {
        let row = |(name, one): (&Name, &Subscription)| {
            json!({
                "webhook": name, "url": url(one), "signed": one.receiver.secret.is_some(),
                "types": one.types, "workflows": one.workflows, "active": one.active,
            })
        };
        context.ui.json(&all.iter().map(row).collect::<Vec<Json>>());
        return;
    }
    let mut table = Table::new(&["WEBHOOK", "STATE", "TYPES", "WORKFLOWS", "TO"]);
    for (name, one) in all {
        let (state, style) = match one.active {
            true => ("active", Style::Green),
            false => ("off", Style::Dim),
        };
        let workflows: Vec<&str> = one.workflows.iter().map(Name::as_str).collect();
        let workflows = if workflows.is_empty() { "all".into() } else { workflows.join(", ") };
        table.row(vec![
            name.as_str().into(),
            Cell::new(state).style(style),
            one.types.join(", ").into(),
            workflows.into(),
            Cell::new(url(one)).style(Style::Dim),
        ]);
    }
    table.print(&context.ui, "there are no webhooks; `webhooks` in moa.yaml names them");
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

fn dead(args: &DeadArgs, layout: &Layout, loaded: &Loaded, context: &Context) -> Result {
    let channel = channel(&args.webhook, loaded)?;
    let which = Which { channel, dead: true, before: None, limit: args.limit.max(1) };
    let found = match wire::open_reader(layout)? {
        Some(reader) => runtime()?.block_on(deliveries::list(&*reader.views, &which))?.0,
        None => Vec::new(),
    };
    if context.ui.json {
        context.ui.json(&found);
        return Ok(Exit::Ok);
    }
    let mut table = Table::new(&["RUN", "EVENT", "ID", "WHEN", "WHY"]);
    for delivery in &found {
        let why = delivery.error.as_deref().unwrap_or_default();
        table.row(vec![
            delivery.run.as_str().into(),
            delivery.kind.as_str().into(),
            delivery.id.as_str().into(),
            delivery.created_at.as_str().into(),
            Cell::new(text::safe_line(why)).style(Style::Red),
        ]);
    }
    table.print(&context.ui, "no delivery was given up");
    Ok(Exit::Ok)
}

fn redeliver(args: RedeliverArgs, layout: &Layout, loaded: &Loaded, context: &Context) -> Result {
    let channel = channel(&args.webhook, loaded)?;
    let runtime = runtime()?;
    let exit = runtime.block_on(async {
        let Some(reader) = wire::open_reader(layout)? else {
            context.ui.note("no delivery was given up");
            return Ok(Exit::Ok);
        };
        let mut runs: Vec<RunId> = Vec::new();
        for text in &args.runs {
            let run = reader.find(text).await?;
            if !is_over(&reader.head(run).await?.row.params, &channel) {
                let text = format!("run {run} delivers nothing to {}", args.webhook);
                return Err(Failure::not_found(text));
            }
            runs.push(run);
        }
        if args.runs.is_empty() {
            let which = Which { channel, dead: true, before: None, limit: AT_ONCE };
            let (dead, _) = deliveries::list(&*reader.views, &which).await?;
            runs.extend(dead.into_iter().filter_map(|d| d.run.parse::<RunId>().ok()));
        }
        drop(reader);
        again(&runs, layout, context).await
    });
    runtime.shutdown_background();
    exit
}

/// Has deliveries made again; asked twice, once.
async fn again(runs: &[RunId], layout: &Layout, context: &Context) -> Result {
    let asks = async |client: &mut crate::control::client::Client| {
        let mut made = Vec::new();
        for run in runs {
            let request = ForkRequest {
                run: *run,
                from: ForkFrom::Failed,
                params: None,
                idempotency_key: Some(format!("redeliver/{run}")),
                cause: "cli".into(),
            };
            let new = client.fork(request).await?;
            made.push(json!({"run": run, "new_run": new}));
        }
        Ok(made)
    };
    let (host, made) = host::ask(&Place::Here(layout.clone()), Asks::Again, asks).await?;
    let lasting = host.is_lasting();
    host.close(std::time::Duration::ZERO).await;
    if context.ui.json {
        context.ui.json(&made);
    } else {
        let what = text::plural(made.len(), "call");
        context.ui.note(&format!("{what} to be made again"));
    }
    if !lasting && !made.is_empty() {
        context.ui.warn(host::RECORDED);
    }
    Ok(Exit::Ok)
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
