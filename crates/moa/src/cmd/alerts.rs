//! `moa alerts`

use moa_core::alert::{Acknowledged, Alert, Book, Severity};
use moa_core::time::Millis;
use serde_json::{Value as Json, json};

use super::{Context, runtime};
use crate::control::client::Client;
use crate::exit::{Exit, Failure, Result};
use crate::host::{self, Host};
use crate::place::Place;
use crate::table::{Cell, Table};
use crate::text;
use crate::ui::Style;
use crate::view::now;

/// Look at what is wrong, and say that somebody looks after it.
#[derive(Debug, clap::Subcommand)]
#[command(long_about = "\
Look at what is wrong, and say that somebody looks after it. A node (`moa up`) looks every 15 seconds;
an alert is over by itself once what it is about is gone. What is looked at, and who is told, stands in
`alerts` of moa.yaml.")]
#[command(after_help = "\
Examples:
  moa alerts list
  moa alerts show disk/state
  moa alerts ack agent_down/writer --note 'on it'
  moa alerts resolve dead/orders")]
pub enum Command {
    /// List the open alerts, the worst first
    List(ListArgs),
    /// Show an alert
    Show(ShowArgs),
    /// Say that somebody has taken notice of an alert
    Ack(AckArgs),
    /// Say that an alert is over
    Resolve(ResolveArgs),
}

/// List alerts.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  moa alerts list --all
  moa alerts list --json | jq -r '.[] | select(.severity == \"critical\").key'")]
pub struct ListArgs {
    /// Also those that are over
    #[arg(long, short)]
    all: bool,
}

/// Show an alert.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  moa alerts show failure_rate/letters --json")]
pub struct ShowArgs {
    /// The alert's key
    alert: String,
}

/// Say that somebody has taken notice of an alert.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  moa alerts ack late/backup/nightly --note 'the machine was off'

It stays open until what it is about is gone. When it becomes worse, it counts as unnoticed again.")]
pub struct AckArgs {
    /// The alert's key
    alert: String,
    /// What to say of it
    #[arg(long)]
    note: Option<String>,
    /// Who has taken notice; default: the user
    #[arg(long)]
    by: Option<String>,
}

/// Say that an alert is over.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  moa alerts resolve dead/orders --note 'written by hand'

What is still wrong is not raised again until it was gone once, or has become worse.")]
pub struct ResolveArgs {
    /// The alert's key
    alert: String,
    /// What to say of it
    #[arg(long)]
    note: Option<String>,
    /// Who says so; default: the user
    #[arg(long)]
    by: Option<String>,
}

/// Does what the command line says.
pub fn run(command: Command, context: &Context) -> Result {
    let place = context.place()?;
    match command {
        Command::List(args) => list(&args, &book(&place)?, context),
        Command::Show(args) => show(&args.alert, &book(&place)?, context),
        Command::Ack(AckArgs { alert, note, by }) => {
            change(false, (alert, by, note), &place, context)
        }
        Command::Resolve(ResolveArgs { alert, note, by }) => {
            change(true, (alert, by, note), &place, context)
        }
    }
}

fn book(place: &Place) -> Result<Book> {
    runtime()?.block_on(place.alerts())
}

fn list(args: &ListArgs, book: &Book, context: &Context) -> Result {
    let past = book.past().filter(|_| args.all);
    let alerts: Vec<&Alert> = book.open().into_iter().chain(past).collect();
    if context.ui.json {
        let rows: Vec<Json> = alerts.iter().map(|alert| document(alert)).collect();
        context.ui.json(&rows);
        return Ok(Exit::Ok);
    }
    let mut table = Table::new(&["ALERT", "SEVERITY", "STATE", "SINCE", "TITLE"]);
    for alert in alerts {
        let (state, style) = state(alert);
        table.row(vec![
            alert.key.as_str().into(),
            Cell::new(alert.severity.as_str()).style(severity(alert.severity)),
            Cell::new(state).style(style),
            Cell::pair(text::relative(alert.since, now()), alert.since.to_string()),
            Cell::new(&alert.title),
        ]);
    }
    table.print(&context.ui, "nothing is wrong that moa knows of");
    Ok(Exit::Ok)
}

fn severity(severity: Severity) -> Style {
    match severity {
        Severity::Critical => Style::Red,
        Severity::Warning => Style::Yellow,
        Severity::Info => Style::Cyan,
    }
}

fn state(alert: &Alert) -> (&'static str, Style) {
    let style = match (&alert.resolved_at, &alert.acknowledged) {
        (Some(_), _) => Style::Green,
        (None, Some(_)) => Style::Dim,
        (None, None) => Style::Red,
    };
    (alert.state(), style)
}

fn document(alert: &Alert) -> Json {
    let at = |at: Option<Millis>| at.map(|at| at.to_string());
    let by = |by: &Option<Acknowledged>| {
        by.as_ref().map(|by| json!({"by": by.by, "at": by.at.to_string(), "note": by.note}))
    };
    json!({
        "key": alert.key,
        "rule": alert.rule,
        "severity": alert.severity,
        "state": alert.state(),
        "title": alert.title,
        "text": alert.text,
        "since": alert.since.to_string(),
        "raised_at": at(alert.raised_at),
        "resolved_at": at(alert.resolved_at),
        "resolved_by": by(&alert.resolved_by),
        "returns": alert.returns,
        "acknowledged": by(&alert.acknowledged),
        "notify": alert.channels,
    })
}

fn show(key: &str, book: &Book, context: &Context) -> Result {
    let Some(alert) = book.get(key) else {
        let failure = Failure::not_found(format!("there is no alert {key}"));
        let keys: Vec<&str> = book.open().iter().map(|alert| alert.key.as_str()).collect();
        return Err(match text::nearest(key, keys) {
            Some(near) => failure.hint(format!("did you mean {near}?")),
            None => failure.hint("`moa alerts list --all` lists them"),
        });
    };
    let ui = &context.ui;
    if ui.json {
        ui.json(&document(alert));
        return Ok(Exit::Ok);
    }
    let line = |name: &str, value: &str| {
        let name = ui.paint(Style::Dim, &format!("{name:<14}"));
        ui.line(&format!("{name} {}", text::safe(value)));
    };
    line("alert", &alert.key);
    line("title", &alert.title);
    line("severity", alert.severity.as_str());
    line("state", state(alert).0);
    line("since", &alert.since.to_string());
    let note =
        |by: &Acknowledged| by.note.as_ref().map(|note| format!(": {note}")).unwrap_or_default();
    match (alert.resolved_at, &alert.resolved_by) {
        (Some(at), Some(by)) => line("resolved", &format!("by {} at {at}{}", by.by, note(by))),
        (Some(at), None) => line("resolved", &at.to_string()),
        (None, _) => {}
    }
    if let Some(by) = &alert.acknowledged {
        line("acknowledged", &format!("by {} at {}{}", by.by, by.at, note(by)));
    }
    if alert.returns > 0 {
        line("came back", &alert.returns.to_string());
    }
    ui.line("");
    ui.line(&text::safe(&alert.text));
    Ok(Exit::Ok)
}

/// Notes that somebody has taken notice of an alert, or says that it is over.
fn change(
    over: bool,
    (alert, by, note): (String, Option<String>, Option<String>),
    place: &Place,
    context: &Context,
) -> Result {
    if by.is_some() && place.is_elsewhere() {
        let failure = Failure::usage("a node elsewhere knows by the token who says so");
        return Err(failure.hint("leave --by away"));
    }
    let user = || std::env::var("USER").or_else(|_| std::env::var("LOGNAME"));
    let by = by.or_else(|| user().ok()).filter(|by| !by.is_empty());
    let by = by.unwrap_or_else(|| format!("user {}", rustix::process::geteuid().as_raw()));
    let runtime = runtime()?;
    let done = runtime.block_on(async {
        let (host, mut client): (Host, Client) = host::open(place).await?;
        let done = match over {
            true => client.resolve(alert, by, note).await,
            false => client.acknowledge(alert, by, note).await,
        };
        host.close(std::time::Duration::ZERO).await;
        done
    });
    runtime.shutdown_background();
    let alert = done?;
    if context.ui.json {
        context.ui.json(&document(&alert));
    } else {
        let word = if over { "resolved" } else { "acknowledged" };
        context.ui.note(&format!("{} is {word}", alert.key));
    }
    Ok(Exit::Ok)
}
