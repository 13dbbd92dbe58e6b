//! `moa secrets`

use std::io::{IsTerminal, Read, Write};
use std::path::{Path, PathBuf};

use serde_json::json;
use zeroize::Zeroizing;

use super::{Context, runtime};
use crate::control::protocol::{SecretLine, SecretText};
use crate::exit::{Exit, Failure, Result};
use crate::files::plain;
use crate::host;
use crate::needed;
use crate::project;
use crate::secrets::{self, SECRET_BYTES_MAX, SecretStore};
use crate::table::{Cell, Table};
use crate::text;
use crate::ui::Style;
use crate::wire;

/// Set secrets, and see which are there.
#[derive(Debug, clap::Subcommand)]
#[command(long_about = "\
Set secrets, and see which are there. Workflows and agents use a secret by its name, as
${{ secrets.NAME }}; its value is looked up when an attempt starts, in this order: the variable
MOA_SECRET_NAME of the node, the project's .env, systemd's credentials, the folder of secrets.folder
(/run/secrets), .moa/secrets/NAME, the encrypted store. What these commands set is in the encrypted
store, in the project's database. No command shows a value.")]
#[command(after_help = "\
Examples:
  moa secrets list
  moa secrets new-key ~/.config/moa/shop.key
  moa secrets set API_TOKEN               asks for it
  pass show api | moa secrets set API_TOKEN
  moa secrets delete API_TOKEN
  moa secrets rotate-key")]
pub enum Command {
    /// List secrets: where each comes from, and who uses it
    List(ListArgs),
    /// Keep a secret in the encrypted store
    Set(SetArgs),
    /// Delete a secret from the encrypted store
    Delete(DeleteArgs),
    /// Make a key for the encrypted store
    NewKey(NewKeyArgs),
    /// Seal the encrypted store with a new key
    RotateKey(RotateArgs),
}

/// List secrets.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  moa secrets list
  moa secrets list --json | jq '.[] | select(.state != \"set\")'

Listed are those that the project's files use, and those of every place but .env and secrets.folder.
A node that runs is asked: what counts is its environment.")]
pub struct ListArgs {}

/// Keep a secret in the encrypted store.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  moa secrets set API_TOKEN               asks for it, without showing it
  pass show api | moa secrets set API_TOKEN
  moa secrets set TLS_KEY < key.pem

A line break at the end isn't part of it. It is never an argument: others could see it.
Attempts that start from now on get the new value.")]
pub struct SetArgs {
    /// Its name: letters, digits and _
    name: String,
}

/// Delete a secret from the encrypted store.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  moa secrets delete API_TOKEN")]
pub struct DeleteArgs {
    /// Its name
    name: String,
}

/// Make a key for the encrypted store.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  moa secrets new-key ~/.config/moa/shop.key
  moa secrets new-key /etc/moa/shop.key

Then name it: `secrets: {key_file: /etc/moa/shop.key}` in moa.yaml, or MOA_SECRETS_KEY_FILE, or give what
is in it as MOA_SECRETS_KEY, or as systemd's credential moa-secrets-key. Keep a copy in a safe place, and
not beside the backups: without it nothing of the encrypted store can be read.")]
pub struct NewKeyArgs {
    /// The new file, outside of the project
    file: PathBuf,
}

/// Seal the encrypted store with a new key.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  moa secrets rotate-key

The file of secrets.key_file gets a new key; the one of before is kept beside it, in a file whose name
ends in .old- and the key's name. A node elsewhere does so on its own machine. Where the key is in the environment or a credential, start
the node with the new one as MOA_SECRETS_KEY and the one of before as MOA_SECRETS_KEY_OLD (credentials:
moa-secrets-key, moa-secrets-key-old), then do this. Backups of before need the key of before.")]
pub struct RotateArgs {}

/// Does what the command line says.
pub fn run(command: Command, context: &Context) -> Result {
    match command {
        Command::List(ListArgs {}) => list(context),
        Command::Set(args) => set(args, context),
        Command::Delete(args) => delete(args, context),
        Command::NewKey(args) => new_key(&args.file, context),
        Command::RotateKey(RotateArgs {}) => rotate(context),
    }
}

fn list(context: &Context) -> Result {
    let place = context.place()?;
    let runtime = runtime()?;
    let lines = runtime.block_on(async {
        match place.connect().await? {
            Some(mut client) => client.secrets().await.map(Some),
            None => Ok(None),
        }
    })?;
    let lines = match lines {
        Some(lines) => lines,
        None => {
            let layout = context.layout()?;
            let loaded = project::load(&layout, None)?;
            let uses = needed::uses(&loaded.project, &wire::agents(&loaded.project));
            SecretStore::of(&layout, &loaded.project)?.lines(&uses)
        }
    };
    if context.ui.json {
        context.ui.json(&lines);
        return Ok(Exit::Ok);
    }
    let mut table = Table::new(&["NAME", "STATE", "SOURCE", "USED BY"]);
    lines.iter().for_each(|line| table.row(cells(line)));
    table.print(&context.ui, "no secret is used, and the encrypted store is empty");
    for line in &lines {
        if let Some(error) = &line.error {
            context.ui.warn(&format!("{} can't be used: {error}", line.name));
        }
    }
    Ok(Exit::Ok)
}

fn cells(line: &SecretLine) -> Vec<Cell> {
    let style = match line.state.as_str() {
        "set" => Style::Green,
        _ => Style::Red,
    };
    let source = line.source.as_deref().unwrap_or("-");
    let source = match line.hidden.is_empty() {
        true => source.to_owned(),
        false => format!("{source} (also: {})", line.hidden.join(", ")),
    };
    let used = if line.used_by.is_empty() { "-".to_owned() } else { line.used_by.join(", ") };
    vec![line.name.as_str().into(), Cell::new(&line.state).style(style), source.into(), used.into()]
}

/// The value: from the terminal without echo, or all of stdin.
fn value_of(name: &str) -> Result<Zeroizing<String>> {
    if std::io::stdin().is_terminal() {
        let asked = rpassword::prompt_password(format!("{name}: ")).map(Zeroizing::new);
        return asked.map_err(|e| Failure::io("can't ask for the secret", &e));
    }
    let mut bytes = Zeroizing::new(Vec::new());
    let read = std::io::stdin().take(SECRET_BYTES_MAX as u64 + 2).read_to_end(&mut bytes);
    read.map_err(|e| Failure::io("can't read the secret from stdin", &e))?;
    let text = std::str::from_utf8(&bytes)
        .map_err(|_| Failure::usage("the secret is not UTF-8; encode it, in base64 say"))?;
    let text = text.strip_suffix('\n').unwrap_or(text);
    Ok(Zeroizing::new(text.strip_suffix('\r').unwrap_or(text).to_owned()))
}

fn set(args: SetArgs, context: &Context) -> Result {
    let place = context.place()?;
    let name = args.name;
    if !secrets::is_name(&name) {
        let text = format!("{name:?} can't be the name of a secret");
        return Err(Failure::usage(text).hint("a name is letters, digits and _"));
    }
    let value = value_of(&name)?;
    if value.is_empty() {
        let failure = Failure::usage("the secret is empty");
        return Err(failure.hint(format!("`moa secrets delete {name}` deletes it")));
    }
    let runtime = runtime()?;
    let exit = runtime.block_on(async {
        let (host, mut client) = host::open(&place).await?;
        let done = client.set_secret(name.clone(), SecretText::new(value)).await;
        host.close(std::time::Duration::ZERO).await;
        let (version, hidden_by) = done?;
        if context.ui.json {
            context.ui.json(&json!({"name": name, "version": version, "hidden_by": hidden_by}));
        } else {
            context.ui.note(&format!("{name} is set"));
        }
        if let Some(source) = hidden_by {
            context.ui.warn(&format!("{source} has a {name} too, and that one counts"));
        }
        Ok(Exit::Ok)
    });
    runtime.shutdown_background();
    exit
}

fn delete(args: DeleteArgs, context: &Context) -> Result {
    let place = context.place()?;
    let runtime = runtime()?;
    let exit = runtime.block_on(async {
        let (host, mut client) = host::open(&place).await?;
        let done = client.delete_secret(args.name.clone()).await;
        host.close(std::time::Duration::ZERO).await;
        done?;
        if context.ui.json {
            context.ui.json(&json!({"name": args.name, "deleted": true}));
        } else {
            context.ui.note(&format!("{} is deleted", args.name));
        }
        Ok(Exit::Ok)
    });
    runtime.shutdown_background();
    exit
}

fn new_key(file: &Path, context: &Context) -> Result {
    let key = secrets::create_key(file)?;
    let path = std::path::absolute(file).map_or_else(|_| file.to_owned(), |path| plain(&path));
    if context.ui.json {
        context.ui.json(&json!({"file": path, "key": key.id().to_string()}));
    } else {
        context.ui.note(&format!("the key {} is in {}", key.id(), path.display()));
        let line = format!("name it in moa.yaml: `secrets: {{key_file: {}}}`", path.display());
        context.ui.hint(&line);
        context.ui.hint("keep a copy in a safe place, and not beside the backups");
        if let Ok(layout) = context.layout()
            && path.starts_with(&layout.root)
            && !path.starts_with(layout.state())
        {
            context.ui.warn("it is in the project's folder: keep it out of git and of copies");
        }
    }
    // Whoever waits for it knows that it is there.
    let _ = std::io::stdout().flush();
    Ok(Exit::Ok)
}

fn rotate(context: &Context) -> Result {
    let place = context.place()?;
    let runtime = runtime()?;
    let exit = runtime.block_on(async {
        let (host, mut client) = host::open(&place).await?;
        let done = client.rotate_key().await;
        host.close(std::time::Duration::ZERO).await;
        let rotated = done?;
        if context.ui.json {
            context.ui.json(&rotated);
            return Ok(Exit::Ok);
        }
        let count = text::plural(rotated.secrets, "secret");
        let on = if place.is_elsewhere() { format!(" on {place}") } else { String::new() };
        let at = text::safe_line(&rotated.place);
        let key = text::safe_line(&rotated.key);
        context.ui.note(&format!("{count} sealed with the key {key}, in {at}{on}"));
        if let Some(kept) = &rotated.kept {
            context.ui.note(&format!("the key of before is kept in {}", text::safe_line(kept)));
        }
        let line = "keep a copy of it in a safe place; backups of before need the old one";
        context.ui.hint(line);
        Ok(Exit::Ok)
    });
    runtime.shutdown_background();
    exit
}
