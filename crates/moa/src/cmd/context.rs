//! `moa context`

use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::{Context, runtime};
use crate::exit::{Exit, Failure, Result};
use crate::remote::{self, Chosen, Contexts, LOCAL, Remote, Stored};
use crate::table::{Cell, Table};
use crate::text;
use crate::ui::Style;

/// Give names to nodes elsewhere, and say which one commands talk to.
#[derive(Debug, clap::Subcommand)]
#[command(long_about = "\
Give names to nodes elsewhere, and say which one commands talk to. They are kept in
~/.config/moa/contexts.yaml, with their tokens, for nobody else to read.

Which node a command talks to is said by, in this order: --url, --context or --project; MOA_URL,
MOA_CONTEXT or MOA_PROJECT; the current context; the folder that it is called in. `local` names that
folder. MOA_TOKEN is for what MOA_URL or --url names; a context has a token of its own.")]
#[command(after_help = "\
Examples:
  moa context add prod https://moa.example.com --token-file prod.token
  moa context use prod
  moa runs list                          # those of prod
  moa runs list --context local          # those of the project in this folder
  moa context show")]
pub enum Command {
    Add(AddArgs),
    List(ListArgs),
    Use(UseArgs),
    Show(ShowArgs),
    Remove(RemoveArgs),
}

/// Add a node, or change it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  moa context add prod https://moa.example.com --token-file prod.token
  ssh prod moa token create me --role operator -q | moa context add prod https://moa.example.com --token-file -
  moa context add lab https://10.0.0.7 --ca-cert lab.pem --token-file lab.token --use")]
pub struct AddArgs {
    /// What it is called
    name: String,
    /// The address of its API, as --url has it
    #[arg(value_name = "URL")]
    address: Option<String>,
    /// Make it the current one
    #[arg(long = "use")]
    current: bool,
}

/// List the nodes; the current one is marked.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  moa context list --json | jq -r '.[] | select(.current).url'")]
pub struct ListArgs {}

/// Make a node the current one.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  moa context use prod
  moa context use local     # the project of the folder, as without contexts")]
pub struct UseArgs {
    /// Its name
    name: String,
}

/// Show which node commands talk to now, why, and as whom.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  moa context show
  MOA_CONTEXT=lab moa context show --json")]
pub struct ShowArgs {}

/// Remove a node, and its token.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  moa context remove lab

The token holds on: `moa token revoke ID` ends it.")]
pub struct RemoveArgs {
    /// Its name
    name: String,
}

/// Does what the command line says.
pub fn run(command: Command, context: &Context) -> Result {
    match command {
        Command::Add(args) => add(&args, context),
        Command::List(ListArgs {}) => list(context),
        Command::Use(args) => make_current(&args.name, context),
        Command::Show(ShowArgs {}) => show(context),
        Command::Remove(args) => remove(&args.name, context),
    }
}

fn add(args: &AddArgs, context: &Context) -> Result {
    let name = Contexts::name(&args.name)?;
    let at = &context.at;
    let Some(url) = args.address.as_ref().or(at.url.as_ref()) else {
        return Err(Failure::usage("say the address of its API")
            .hint("moa context add prod https://moa.example.com --token-file FILE"));
    };
    let token = remote::token_of_flags(at)?;
    let ca_cert = match &at.ca_cert {
        // It is used from other folders too.
        Some(file) => Some(
            std::fs::canonicalize(file)
                .map_err(|e| Failure::io(format!("can't open {}", file.display()), &e))?,
        ),
        None => None,
    };
    let by = format!("the context {name}");
    let made = Remote::new(url, by, token.clone(), ca_cert.as_deref())?;
    if made.is_open() {
        context.ui.warn("the token goes over the network for everybody to read: use https://");
    }
    let token = token.map(|token| (*token.text).clone());
    let none = token.is_none();
    let stored = Stored { url: made.url().to_owned(), token, ca_cert };
    let before = Contexts::change(|contexts| {
        if args.current {
            contexts.current = Some(name.clone());
        }
        Ok(contexts.contexts.insert(name.clone(), stored))
    })?;
    let what = if before.is_some() { "is changed" } else { "is added" };
    let current = if args.current { ", and is the current one" } else { "" };
    context.ui.note(&format!("{name} {what}{current}"));
    if none {
        context.ui.hint("it has no token: give one with --token-file FILE");
    }
    if !args.current {
        context.ui.hint(&format!("`moa context use {name}` makes it the current one"));
    }
    Ok(Exit::Ok)
}

fn list(context: &Context) -> Result {
    let contexts = Contexts::read()?;
    let current = contexts.current.as_deref().unwrap_or(LOCAL);
    if context.ui.json {
        let row = |(name, stored): (&String, &Stored)| {
            json!({
                "name": name, "url": stored.url, "current": name == current,
                "token": stored.token.is_some(), "ca_cert": stored.ca_cert,
            })
        };
        context.ui.json(&contexts.contexts.iter().map(row).collect::<Vec<Json>>());
        return Ok(Exit::Ok);
    }
    let mut table = Table::new(&["CURRENT", "NAME", "URL", "TOKEN"]);
    for (name, stored) in &contexts.contexts {
        let mark = if name == current { "*" } else { "" };
        let token = if stored.token.is_some() { "yes" } else { "none" };
        table.row(vec![
            Cell::new(mark).style(Style::Green),
            name.into(),
            Cell::new(&stored.url),
            token.into(),
        ]);
    }
    table.print(&context.ui, "no contexts; `moa context add` makes one");
    Ok(Exit::Ok)
}

fn make_current(name: &str, context: &Context) -> Result {
    let stored = Contexts::change(|contexts| {
        let stored = contexts.contexts.get(name).cloned();
        if name != LOCAL && stored.is_none() {
            return Err(contexts.unknown(name));
        }
        contexts.current = (name != LOCAL).then(|| name.to_owned());
        Ok(stored)
    })?;
    context.ui.note(&match stored {
        Some(stored) => format!("commands talk to {name} ({})", text::safe_line(&stored.url)),
        None => "commands work on the project of the folder that they are called in".to_owned(),
    });
    Ok(Exit::Ok)
}

fn remove(name: &str, context: &Context) -> Result {
    Contexts::change(|contexts| {
        if contexts.contexts.remove(name).is_none() {
            return Err(contexts.unknown(name));
        }
        contexts.current = contexts.current.take().filter(|current| current != name);
        Ok(())
    })?;
    context.ui.note(&format!("{name} is removed"));
    Ok(Exit::Ok)
}

/// Who a node says that we are.
#[derive(Debug, Deserialize)]
pub struct Me {
    /// What people call the token.
    pub name: String,
    /// What it allows.
    pub role: String,
}

fn show(context: &Context) -> Result {
    let ui = &context.ui;
    let chosen = context.chosen()?;
    let Chosen::There { remote, .. } = chosen else {
        let layout = context.layout()?;
        let folder = layout.root.display().to_string();
        if ui.json {
            ui.json(&json!({"project": folder, "url": null, "by": remote::by(chosen)}));
            return Ok(Exit::Ok);
        }
        ui.line(&format!("{}  {}", ui.paint(Style::Dim, "project"), text::safe_line(&folder)));
        ui.line(&format!("{}  {}", ui.paint(Style::Dim, "by     "), remote::by(chosen)));
        return Ok(Exit::Ok);
    };
    let runtime = runtime()?;
    let asked = runtime.block_on(async {
        let me = remote.me().await?;
        let status = remote.status().await?;
        Ok::<_, Failure>((me, status.info.moa))
    });
    if ui.json {
        let mut document = json!({
            "url": remote.url(), "by": remote.by(), "token": remote.token_from(),
        });
        if let Ok((me, moa)) = &asked {
            document["name"] = me.name.as_str().into();
            document["role"] = me.role.as_str().into();
            document["moa"] = moa.as_str().into();
        }
        ui.json(&document);
        return asked.map(|_| Exit::Ok);
    }
    let line = |name: &str, value: &str| {
        let name = ui.paint(Style::Dim, &format!("{name:<7}"));
        ui.line(&format!("{name}  {}", text::safe_line(value)));
    };
    line("url", remote.url());
    line("by", remote.by());
    line("token", remote.token_from().unwrap_or("none"));
    let (me, moa) = asked?;
    line("as", &format!("{} ({})", me.name, me.role));
    line("moa", &moa);
    Ok(Exit::Ok)
}
