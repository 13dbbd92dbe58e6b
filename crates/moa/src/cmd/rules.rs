//! `moa rules`

use std::path::{Path, PathBuf};

use moa_core::ids::Name;
use moa_core::limits::RULE_BYTES_MAX;
use moa_core::time::Millis;
use moa_spec::rule_document;
use serde_json::json;

use super::{Context, runtime, triggers as any};
use crate::control::protocol::RuleRequest;
use crate::exit::{Exit, Failure, Result};
use crate::host::{self, Asks};
use crate::node::rules::unknown;
use crate::place::Place;
use crate::table::{Cell, Table};
use crate::text;
use crate::triggers::{self, Known, Which};
use crate::view::now;

/// Make and change rules: triggers that no file says.
#[derive(Debug, clap::Subcommand)]
#[command(long_about = "\
Make, change, switch and delete rules: an event of a type, perhaps a condition, and the workflow whose
run it starts. They are triggers as those of `on:` in a workflow's file, but they are made while moa
runs, and kept in its store. Without a node (`moa up`) all of this works too; a node is needed to start runs.
`moa triggers history rule:NAME`, `why`, `pause` and `resume` do for rules what they do for triggers.")]
#[command(after_help = "\
Examples:
  moa rules create paid --on order.paid --if 'event.data.amount > 5' --run mailer --param n=event.data.amount
  moa rules create --file rules/paid.yaml --replace
  moa rules test paid -p amount=7
  moa rules disable paid
  moa rules list --json | jq '.[] | select(.is_active) | .name'")]
pub enum Command {
    /// Make a rule, or change one with --replace
    Create(CreateArgs),
    /// List the rules
    #[command(after_help = LIST)]
    List,
    /// Show a rule, and how to write it
    #[command(after_help = SHOW)]
    Show(NameArgs),
    /// Switch a rule on
    #[command(after_help = ENABLE)]
    Enable(NameArgs),
    /// Switch a rule off: events are recorded as skipped_disabled
    #[command(after_help = DISABLE)]
    Disable(NameArgs),
    /// Delete a rule; runs that it started go on
    #[command(after_help = DELETE)]
    Delete(NameArgs),
    /// Say what an event would do, and do nothing
    Test(any::TestArgs),
}

const LIST: &str = "\
Examples:
  moa rules list
  moa rules list --json | jq '.[] | {name, trigger_event, is_active, last_triggered}'

A state is active, disabled (by `moa rules disable`), paused, or orphaned: its workflow is gone.";
const SHOW: &str = "\
Examples:
  moa rules show paid
  moa rules show paid --json | jq .definition > paid.yaml";
const ENABLE: &str = "\
Examples:
  moa rules enable paid

What happened while it was off is not made up for.";
const DISABLE: &str = "\
Examples:
  moa rules disable paid";
const DELETE: &str = "\
Examples:
  moa rules delete paid

What became of its occurrences stays in the store until it is old.";

/// Make a rule.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  moa rules create paid --on order.paid --run mailer
  moa rules create paid --on order.paid --if 'event.data.amount > 5' --run mailer \\
      --param n=event.data.amount --param to='\"ops\"'
  moa rules create --file paid.yaml --replace
  moa rules show paid --json | jq .definition | moa rules create --file - --replace

--if and --param are expressions over `event`, as in a workflow's file. A file holds one rule:
  name: paid
  run: mailer
  on: {event: order.paid, match: event.data.amount > 5, params: {n: \"${{ event.data.amount }}\"}}
`on` takes what an entry of `on` with `event` takes in a workflow's file: batch, guard, overlap and so on.
The same rule again changes nothing and succeeds; another one of the same name needs --replace, which
leaves it switched on or off as it is.
Exit codes: 3 the rule is wrong (each mistake with its place), 5 there is another one of that name")]
pub struct CreateArgs {
    /// Its name
    #[arg(value_parser = name)]
    name: Option<Name>,
    /// The type of the events that it reacts to
    #[arg(long, value_name = "EVENT_TYPE")]
    on: Option<String>,
    /// Only events for which this expression is true
    #[arg(long = "if", value_name = "EXPR")]
    matches: Option<String>,
    /// The workflow whose runs it starts
    #[arg(long, value_name = "WORKFLOW")]
    run: Option<String>,
    /// A param of the runs; may be given several times
    #[arg(long = "param", short = 'p', value_name = "NAME=EXPR", value_parser = param)]
    params: Vec<(String, String)>,
    /// A file that holds the rule ('-' = stdin)
    #[arg(long, value_name = "FILE", conflicts_with_all = ["on", "matches", "run", "params"])]
    file: Option<PathBuf>,
    /// Change the rule if there is one
    #[arg(long)]
    replace: bool,
}

/// Which rule.
#[derive(Debug, clap::Args)]
pub struct NameArgs {
    /// Its name
    #[arg(value_parser = name)]
    name: Name,
}

fn name(text: &str) -> std::result::Result<Name, String> {
    Name::new(text.strip_prefix("rule:").unwrap_or(text)).map_err(|e| e.to_string())
}

fn param(text: &str) -> std::result::Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.into(), value.into())),
        _ => Err("write it as NAME=EXPR".into()),
    }
}

/// Does what the command line says.
pub fn run(command: Command, context: &Context) -> Result {
    match command {
        Command::Create(args) => create(args, context),
        Command::List => list(context),
        Command::Show(args) => show(&args.name, context),
        Command::Enable(NameArgs { name }) => {
            let words = ["is switched on", "is switched on already"];
            ask(RuleRequest::Switch { name, on: true }, words, context)
        }
        Command::Disable(NameArgs { name }) => {
            let words = ["is switched off", "is switched off already"];
            ask(RuleRequest::Switch { name, on: false }, words, context)
        }
        Command::Delete(NameArgs { name }) => {
            let request = RuleRequest::Delete { name, expect: None };
            ask(request, ["is deleted", "is deleted already"], context)
        }
        Command::Test(args) => any::test(args.of_rule(), context),
    }
}

fn create(args: CreateArgs, context: &Context) -> Result {
    let (path, text) = match &args.file {
        Some(file) => (file.display().to_string(), read(file)?),
        None => ("the command line".to_owned(), document(&args)?),
    };
    let (name, replace) = (args.name, args.replace);
    let request = RuleRequest::Put { name, path, text, replace, expect: None };
    ask(request, ["is changed", "is so already"], context)
}

/// The rule that flags say, as a file would.
fn document(args: &CreateArgs) -> Result<String> {
    let missing = |what: &str| {
        Failure::usage(format!("the rule has no {what}"))
            .hint("moa rules create NAME --on EVENT_TYPE --run WORKFLOW, or --file FILE")
    };
    let name = args.name.as_ref().ok_or_else(|| missing("name"))?;
    let event = args.on.as_ref().ok_or_else(|| missing("--on"))?;
    let workflow = args.run.as_ref().ok_or_else(|| missing("--run"))?;
    // JSON is YAML; a line for each, so that mistakes point at what was typed.
    let mut text = format!("name: {}\nrun: {}\non:\n", json!(name), json!(workflow));
    text.push_str(&format!("  event: {}\n", json!(event)));
    if let Some(matches) = &args.matches {
        text.push_str(&format!("  match: {}\n", json!(matches)));
    }
    if !args.params.is_empty() {
        text.push_str("  params:\n");
    }
    for (name, value) in &args.params {
        text.push_str(&format!("    {}: {}\n", json!(name), json!(format!("${{{{ {value} }}}}"))));
    }
    Ok(text)
}

fn read(file: &Path) -> Result<String> {
    use std::io::Read;
    let most = RULE_BYTES_MAX as u64 + 1;
    let mut bytes = Vec::new();
    let done = match file.as_os_str() == "-" {
        true => std::io::stdin().take(most).read_to_end(&mut bytes),
        false => std::fs::File::open(file).and_then(|f| f.take(most).read_to_end(&mut bytes)),
    };
    done.map_err(|e| Failure::io(format!("can't read {}", file.display()), &e))?;
    if bytes.len() > RULE_BYTES_MAX {
        let text = format!("a rule has at most {RULE_BYTES_MAX} bytes, this one has more");
        let mut failure = Failure::new(Exit::Invalid, text);
        failure.place = Some(file.display().to_string());
        return Err(failure.hint("move data out of it: params of its workflow can have defaults"));
    }
    String::from_utf8(bytes).map_err(|_| {
        Failure::new(Exit::Invalid, format!("{} is not UTF-8 text", file.display()))
            .hint("save it as UTF-8")
    })
}

/// Asks a node, or does it without one. `words`: that it was done, and that it was so.
fn ask(request: RuleRequest, words: [&str; 2], context: &Context) -> Result {
    let place = context.place()?;
    let runtime = runtime()?;
    let exit = runtime.block_on(async {
        let asks =
            async |client: &mut crate::control::client::Client| client.rule(request.clone()).await;
        // Asked twice, it is so the second time.
        let (host, done) = host::ask(&place, Asks::Again, asks).await?;
        host.close(std::time::Duration::ZERO).await;
        let name = &done.name;
        if context.ui.json {
            let (changed, created) = (done.changed, done.created);
            context.ui.json(&json!({"name": name, "changed": changed, "created": created}));
            return Ok(Exit::Ok);
        }
        let said = match (done.created, done.changed) {
            (true, _) => "is created",
            (false, true) => words[0],
            (false, false) => words[1],
        };
        context.ui.note(&format!("rule {name} {said}"));
        Ok(Exit::Ok)
    });
    runtime.shutdown_background();
    exit
}

async fn rules(place: &Place) -> Result<Vec<Known>> {
    let reader = place.open_reader()?;
    let mut all = triggers::known(place, reader.as_ref(), Which::All).await?;
    all.retain(|known| known.spec.rule);
    Ok(all)
}

fn list(context: &Context) -> Result {
    let place = context.place()?;
    runtime()?.block_on(async {
        let all = rules(&place).await?;
        if context.ui.json {
            context
                .ui
                .json(&all.iter().map(|rule| triggers::rule_json(rule, now())).collect::<Vec<_>>());
            return Ok(Exit::Ok);
        }
        let mut table = Table::new(&["RULE", "STATE", "WHEN", "RUNS", "TRIGGERED", "OUTCOME"]);
        for rule in &all {
            let (word, style) = rule.word();
            let state = rule.state();
            let triggered = match state.last_started {
                Some(at) => Cell::pair(text::relative(at, now()), at.to_string()),
                None => "-".into(),
            };
            let last = state.last.map_or("-".into(), |last| {
                Cell::new(last.outcome.as_str()).style(triggers::style(last.outcome))
            });
            table.row(vec![
                rule.spec.name.to_string().into(),
                Cell::new(word).style(style),
                triggers::when(&rule.spec).into(),
                rule.spec.workflow.to_string().into(),
                triggered,
                last,
            ]);
        }
        table.print(&context.ui, "there is no rule; `moa rules create` makes one");
        Ok(Exit::Ok)
    })
}

fn show(name: &Name, context: &Context) -> Result {
    let place = context.place()?;
    runtime()?.block_on(async {
        let all = rules(&place).await?;
        let names = all.iter().map(|rule| rule.spec.name.as_str());
        let Some(rule) = all.iter().find(|rule| rule.spec.name == *name) else {
            return Err(unknown(name.as_str(), names));
        };
        if context.ui.json {
            context.ui.json(&triggers::rule_json(rule, now()));
            return Ok(Exit::Ok);
        }
        let ui = &context.ui;
        let (word, style) = rule.word();
        let state = rule.state();
        ui.line(&format!("{}  {}", rule.spec.name, ui.paint(style, word)));
        ui.line(&text::safe_line(&format!("  when       {}", triggers::when(&rule.spec))));
        ui.line(&format!("  runs       {}", rule.spec.workflow));
        let at = |at: Option<Millis>| match at {
            Some(at) => format!("{at} ({})", text::relative(at, now())),
            None => "never".into(),
        };
        ui.line(&format!("  triggered  {}", at(state.last_started)));
        for (outcome, n) in &state.counts {
            ui.line(&format!("  {:<10} {n}", outcome.as_str()));
        }
        ui.line(&text::safe_line(&format!("  written    {}", rule_document(&rule.spec))));
        ui.hint(&format!("`moa triggers history rule:{name}` says what became of each event"));
        Ok(Exit::Ok)
    })
}
