//! `moa token`

use std::time::Duration;

use moa_core::time::{Millis, Span};
use moa_server::auth::role::Role;
use moa_server::auth::tokens::{Entry, Kind, New, Tokens, is_over};
use serde_json::{Value as Json, json};

use super::{Context, runtime};
use crate::control::client::Client;
use crate::exit::{Exit, Result};
use crate::host::{self, Asks};
use crate::node::tokens::failure;
use crate::project::Layout;
use crate::table::{Cell, Table};
use crate::text;
use crate::ui::Style;
use crate::view::now;

/// Make, list and revoke tokens of the API.
#[derive(Debug, clap::Subcommand)]
#[command(after_help = "\
Examples:
  moa token create ci --role operator --expires 90d
  moa token list

Roles: a viewer looks, an operator also starts and changes runs, an approver also decides
approvals, an admin does everything.")]
pub enum Command {
    Create(CreateArgs),
    List(ListArgs),
    Revoke(RevokeArgs),
}

/// Make a token.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  moa token create ci --role operator --expires 90d
  curl -H \"Authorization: Bearer $(moa token create watch --role viewer)\" \\
    http://127.0.0.1:3020/api/v1/runs

The token is shown this once; only its hash is kept.")]
pub struct CreateArgs {
    /// What people call it
    name: String,
    /// What it allows: viewer, operator, approver, admin
    #[arg(long, default_value = "viewer")]
    role: Role,
    /// How long it holds [default: until it is revoked]
    #[arg(long, value_name = "TIME")]
    expires: Option<Span>,
}

/// List tokens and the sessions of browsers.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  moa token list")]
pub struct ListArgs {}

/// Revoke a token or session.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  moa token revoke tok_3f2a9c01d4e5

Sessions that were opened with it end too. It holds at once, also in a node that runs.")]
pub struct RevokeArgs {
    /// Its id, as `moa token list` shows it
    id: String,
}

/// Does it.
pub fn run(command: Command, context: &Context) -> Result {
    let layout = context.layout()?;
    match command {
        Command::Create(args) => create(args, &layout, context),
        Command::List(ListArgs {}) => list(&Tokens::new(&layout.state()), context),
        Command::Revoke(args) => revoke(&args, &layout, context),
    }
}

/// Asks the node of the project, or one for the time being: what is changed is in the audit log.
fn ask<T>(layout: &Layout, asks: impl AsyncFn(&mut Client) -> Result<T>) -> Result<T> {
    runtime()?.block_on(async {
        let (host, answer) = host::ask(layout, Asks::Once, asks).await?;
        host.close(Duration::ZERO).await;
        Ok(answer)
    })
}

fn create(args: CreateArgs, layout: &Layout, context: &Context) -> Result {
    let expires_at = args.expires.map(|span| now().after(span));
    let CreateArgs { name, role, .. } = args;
    let new = New { kind: Kind::Token, name, role, expires_at, of: None, owner: None };
    let (entry, token) = ask(layout, async |client| client.make_token(new.clone()).await)?;
    let token = token.value();
    if context.ui.json {
        let mut document = document(&entry);
        document["token"] = token.as_str().into();
        context.ui.json(&document);
    } else {
        context.ui.line(token);
        context.ui.note(&format!("{} ({}); it is not shown again", entry.id, entry.role));
    }
    Ok(Exit::Ok)
}

fn list(tokens: &Tokens, context: &Context) -> Result {
    let entries = tokens.list().map_err(failure)?;
    if context.ui.json {
        context.ui.json(&entries.iter().map(document).collect::<Vec<_>>());
        return Ok(Exit::Ok);
    }
    let now = now();
    let mut table = Table::new(&["ID", "KIND", "NAME", "ROLE", "USED", "ENDS"]);
    for entry in entries.iter() {
        let age = |at: Option<Millis>| match at {
            Some(at) => Cell::pair(text::relative(at, now), at.to_string()),
            None => "never".into(),
        };
        let ends = match is_over(entry, now) {
            true => Cell::new("is over").style(Style::Dim),
            false => age(entry.expires_at),
        };
        table.row(vec![
            entry.id.as_str().into(),
            kind(entry.kind).into(),
            entry.name.as_str().into(),
            entry.role.as_str().into(),
            age(entry.last_used_at),
            ends,
        ]);
    }
    table.print(&context.ui, "no tokens; `moa token create` makes one");
    Ok(Exit::Ok)
}

fn revoke(args: &RevokeArgs, layout: &Layout, context: &Context) -> Result {
    let entry = ask(layout, async |client| client.end_token(args.id.clone()).await)?;
    if context.ui.json {
        context.ui.json(&document(&entry));
    } else {
        context.ui.note(&format!("{} ({}) holds no more", entry.id, entry.name));
    }
    Ok(Exit::Ok)
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Token => "token",
        Kind::Session => "session",
    }
}

fn document(entry: &Entry) -> Json {
    let time = |at: Option<Millis>| at.map(|at| at.to_string());
    json!({
        "id": entry.id,
        "kind": kind(entry.kind),
        "name": entry.name,
        "role": entry.role,
        "created_at": entry.created_at.to_string(),
        "expires_at": time(entry.expires_at),
        "last_used_at": time(entry.last_used_at),
    })
}
