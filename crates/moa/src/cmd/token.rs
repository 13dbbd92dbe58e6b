//! `moa token`

use std::time::Duration;

use moa_core::time::{Millis, Span};
use moa_server::auth::role::Role;
use moa_server::auth::scope::Scope;
use moa_server::auth::tokens::{self, Entry, Kind, New, Tokens};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Context, runtime};
use crate::control::client::Client;
use crate::exit::{Exit, Failure, Result};
use crate::host::{self, Asks};
use crate::node::tokens::failure;
use crate::place::Place;
use crate::project::Layout;
use crate::remote::Remote;
use crate::table::{Cell, Table};
use crate::text;
use crate::ui::Style;
use crate::view::now;

/// Make, list and revoke tokens of the API.
#[derive(Debug, clap::Subcommand)]
#[command(after_help = "\
Examples:
  moa token create ci --role operator --expires 90d
  moa token create nightly --role operator --scope runs:nightly
  moa token list

Roles: a viewer looks; an operator also starts and changes runs, an approver also decides
approvals, neither does what only the other may; an admin does everything. Scopes narrow that to
some resources.")]
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
  moa token create nightly --role operator --scope runs:nightly --scope read
  moa token create shop --role operator --scope 'events:order.*'
  curl -H \"Authorization: Bearer $(moa token create watch --role viewer)\" \\
    http://127.0.0.1:3020/api/v1/runs

A scope is `read` (what a viewer may look at), or a resource: runs, workflows, triggers, events,
agents, webhooks, alerts, metrics, node, secrets, tokens, audit. The first six and secrets take a
name behind a colon, or how names begin and then *: that of the workflow for runs and triggers, the
type for events. The token may do what its role may, to what one of its scopes reaches.

The token is shown this once; only its hash is kept.")]
pub struct CreateArgs {
    /// What people call it
    name: String,
    /// What it allows: viewer, operator, approver, admin
    #[arg(long, default_value = "viewer")]
    role: Role,
    /// Narrow it to this: read, RESOURCE, RESOURCE:NAME [default: everything its role may]
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<Scope>,
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
    let layout = match context.place()? {
        Place::Here(layout) => layout,
        Place::There(remote) => return run_elsewhere(command, &remote, context),
    };
    match command {
        Command::Create(args) => create(args, &layout, context),
        Command::List(ListArgs {}) => list(&Tokens::new(&layout.state()), context),
        Command::Revoke(args) => revoke(&args, &layout, context),
    }
}

/// Asks the node of the project, or one for the time being: what is changed is in the audit log.
fn ask<T>(layout: &Layout, asks: impl AsyncFn(&mut Client) -> Result<T>) -> Result<T> {
    runtime()?.block_on(async {
        let (host, answer) = host::ask(&Place::Here(layout.clone()), Asks::Once, asks).await?;
        host.close(Duration::ZERO).await;
        Ok(answer)
    })
}

/// The same by the API of a node elsewhere.
fn run_elsewhere(command: Command, remote: &Remote, context: &Context) -> Result {
    let runtime = runtime()?;
    let done = runtime.block_on(async {
        match command {
            Command::Create(args) => {
                let name = tokens::name(&args.name).map_err(Failure::usage)?;
                let CreateArgs { role, scopes, expires, .. } = args;
                let (entry, token) = remote.create_token(&name, role, scopes, expires).await?;
                show_new(&entry, &token, context);
            }
            Command::List(ListArgs {}) => show_all(&remote.tokens().await?, context),
            Command::Revoke(args) => {
                // It is shown as it was: nobody knows it afterwards.
                let all = remote.tokens().await?;
                let entry = all.iter().find(|entry| entry.id == args.id);
                let entry =
                    entry.ok_or_else(|| failure(tokens::Error::Unknown(args.id.clone())))?;
                remote.revoke_token(&args.id).await?;
                show_revoked(entry, context);
            }
        }
        Ok(Exit::Ok)
    });
    runtime.shutdown_background();
    done
}

fn create(args: CreateArgs, layout: &Layout, context: &Context) -> Result {
    let expires_at = args.expires.map(|span| now().after(span));
    let CreateArgs { name, role, scopes, .. } = args;
    let new = New { kind: Kind::Token, name, role, scopes, expires_at, of: None, owner: None };
    let (entry, token) = ask(layout, async |client| client.make_token(new.clone()).await)?;
    show_new(&Line::from(&entry), token.value(), context);
    Ok(Exit::Ok)
}

fn show_new(entry: &Line, token: &str, context: &Context) {
    if context.ui.json {
        let mut document = json!(entry);
        document["token"] = token.into();
        context.ui.json(&document);
    } else {
        context.ui.line(&text::safe_line(token));
        let id = text::safe_line(&entry.id);
        let scopes = match entry.scopes.is_empty() {
            true => String::new(),
            false => format!(", scopes {}", entry.scopes.join(" ")),
        };
        let scopes = text::safe_line(&scopes);
        context.ui.note(&format!("{id} ({}{scopes}); it is not shown again", entry.role));
    }
}

fn list(tokens: &Tokens, context: &Context) -> Result {
    let entries = tokens.list().map_err(failure)?;
    show_all(&entries.iter().map(Line::from).collect::<Vec<_>>(), context);
    Ok(Exit::Ok)
}

fn show_all(entries: &[Line], context: &Context) {
    if context.ui.json {
        return context.ui.json(&entries);
    }
    let now = now();
    let mut table = Table::new(&["ID", "KIND", "NAME", "ROLE", "SCOPES", "USED", "ENDS"]);
    for entry in entries.iter() {
        let age = |at: &Option<String>| match at {
            Some(text) => match millis(text) {
                Some(at) => Cell::pair(text::relative(at, now), text),
                None => Cell::new(text),
            },
            None => "never".into(),
        };
        let over = entry.expires_at.as_deref().and_then(millis).is_some_and(|at| at <= now);
        let ends = match over {
            true => Cell::new("is over").style(Style::Dim),
            false => age(&entry.expires_at),
        };
        let scopes = match entry.scopes.is_empty() {
            true => Cell::new("all").style(Style::Dim),
            false => entry.scopes.join(" ").into(),
        };
        table.row(vec![
            entry.id.as_str().into(),
            entry.kind.as_str().into(),
            entry.name.as_str().into(),
            entry.role.as_str().into(),
            scopes,
            age(&entry.last_used_at),
            ends,
        ]);
    }
    table.print(&context.ui, "no tokens; `moa token create` makes one");
}

fn millis(text: &str) -> Option<Millis> {
    let at: jiff::Timestamp = text.parse().ok()?;
    Some(Millis(at.as_millisecond()))
}

fn revoke(args: &RevokeArgs, layout: &Layout, context: &Context) -> Result {
    let entry = ask(layout, async |client| client.end_token(args.id.clone()).await)?;
    show_revoked(&Line::from(&entry), context);
    Ok(Exit::Ok)
}

fn show_revoked(entry: &Line, context: &Context) {
    if context.ui.json {
        context.ui.json(entry);
    } else {
        let (id, name) = (text::safe_line(&entry.id), text::safe_line(&entry.name));
        context.ui.note(&format!("{id} ({name}) holds no more"));
    }
}

/// A token or session, as the API tells it too.
#[derive(Debug, Serialize, Deserialize)]
pub struct Line {
    /// Its id.
    pub id: String,
    /// `token` or `session`.
    kind: String,
    /// What people call it.
    name: String,
    /// What it allows.
    role: Role,
    /// To what; empty = to everything. What a newer node says is shown as it is.
    #[serde(default)]
    scopes: Vec<String>,
    /// When it was made.
    created_at: String,
    /// When it ends.
    expires_at: Option<String>,
    /// When it was used last.
    last_used_at: Option<String>,
}

impl Line {
    /// A token that was made this moment.
    pub fn made(
        id: String,
        name: &str,
        (role, scopes): (Role, &[Scope]),
        expires_at: Option<String>,
    ) -> Self {
        Self {
            id,
            kind: "token".into(),
            name: name.to_owned(),
            role,
            scopes: scopes.iter().map(Scope::to_string).collect(),
            created_at: crate::view::now().to_string(),
            expires_at,
            last_used_at: None,
        }
    }
}

impl From<&Entry> for Line {
    fn from(entry: &Entry) -> Self {
        let time = |at: Option<Millis>| at.map(|at| at.to_string());
        let kind = match entry.kind {
            Kind::Token => "token",
            Kind::Session => "session",
        };
        Self {
            id: entry.id.clone(),
            kind: kind.into(),
            name: entry.name.clone(),
            role: entry.role,
            scopes: entry.scopes.iter().map(Scope::to_string).collect(),
            created_at: entry.created_at.to_string(),
            expires_at: time(entry.expires_at),
            last_used_at: time(entry.last_used_at),
        }
    }
}
