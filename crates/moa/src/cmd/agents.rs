//! `moa agents`

mod grant;
mod switch;

use std::sync::Arc;

use moa_core::agent::{AgentKind, AgentSpec};
use moa_core::ids::{Name, RunId};
use moa_core::limit::{Held, LimitState};
use moa_core::machine::Outcome;
use moa_core::step::StepError;
use moa_core::time::Span;
use moa_ports::agent::Task;
use moa_server::api::agents::HeldItem;
use moa_server::api::agents::budget::BudgetItem;
use moa_view::activity::Activity;
use moa_view::fleet::{AgentDay, AgentNow, Endpoint, Instance};
use moa_view::node::PausedAgent;
use serde_json::{Value as Json, json};

use super::{Context, params, runtime};
use crate::exit::{Exit, Failure, Result};
use crate::node::{self, lock};
use crate::place::Place;
use crate::project::{self, Layout, Loaded};
use crate::remote::{Remote, Tried};
use crate::table::{Cell, Table};
use crate::ui::{Style, Ui};
use crate::view::{natural, now};
use crate::{text, trial, wire};

/// Look at agents, try them, pause them.
#[derive(Debug, clap::Subcommand)]
#[command(after_help = "\
Examples:
  moa agents list
  moa agents show agent7
  moa agents test agent7 lint --param file=src/main.sh
  moa agents pause agent7 --reason 'no more tokens today'")]
pub enum Command {
    /// List agents
    List(ListArgs),
    /// Show an agent: how it is reached, what it does, its actions and limits
    #[command(visible_alias = "health")]
    Show(ShowArgs),
    /// Ask an agent for one attempt of an action, outside of any run
    Test(TestArgs),
    /// Let an agent take no new task
    Pause(switch::PauseArgs),
    /// Let an agent take tasks again
    Resume(switch::ResumeArgs),
    /// Let an agent take no new task, and wait until nothing of it runs
    Drain(switch::DrainArgs),
    /// Add to the budget of an agent, until the window of its budget ends
    Grant(grant::Args),
}

/// List agents.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  moa agents list --json | jq -r '.[].agent'")]
pub struct ListArgs {}

/// Show an agent.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  moa agents show agent7
  moa agents show agent7 --json | jq .actions")]
pub struct ShowArgs {
    /// The agent
    agent: String,
}

/// Ask an agent for one attempt of an action.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  moa agents test agent7 code_quality_check
  moa agents test mailer send --param to=me@example.org --timeout 10s
  moa agents test api call --param 'token=${{ secrets.API_TOKEN }}'

What the attempt writes goes to stderr, its output to stdout.
Exit codes: 0 it succeeded, 1 it failed")]
pub struct TestArgs {
    /// The agent
    agent: String,
    /// The action
    action: String,
    #[command(flatten)]
    params: params::Args,
    /// Limit on the attempt
    #[arg(long, value_name = "TIME")]
    timeout: Option<Span>,
}

/// Does what the command line says.
pub fn run(command: Command, context: &Context) -> Result {
    match command {
        Command::List(args) => list(args, context),
        Command::Show(args) => show(args, context),
        Command::Test(args) => test(args, context),
        Command::Pause(args) => switch::pause(args, context),
        Command::Resume(args) => switch::resume(args, context),
        Command::Drain(args) => switch::drain(args, context),
        Command::Grant(args) => grant::run(args, context),
    }
}

/// The agent of a name.
pub fn find(loaded: &Loaded, name: &str, context: &Context) -> Result<Arc<AgentSpec>> {
    let agents = wire::agents(&loaded.project);
    if let Some((_, file)) = loaded.broken_agents.iter().find(|(id, _)| id.as_str() == name) {
        let mine = loaded.problems.only(|path| path == file);
        return Err(mine.failure(context.ui.err_color()));
    }
    if let Some((_, spec)) = agents.iter().find(|(id, _)| id.as_str() == name) {
        return Ok(spec.clone());
    }
    let failure = Failure::not_found(format!("there is no agent {name}"));
    Err(match text::nearest(name, agents.keys().map(Name::as_str)) {
        Some(near) => failure.hint(format!("did you mean {near}?")),
        None => failure.hint("`moa agents list` lists them"),
    })
}

fn kind(spec: &AgentSpec) -> &'static str {
    match &spec.kind {
        AgentKind::Command(_) => "command",
        AgentKind::Http(_) => "http",
        AgentKind::Builtin(_) => "built-in",
    }
}

fn list(_args: ListArgs, context: &Context) -> Result {
    let place = context.place()?;
    let loaded = runtime()?.block_on(place.load())?;
    let paused = runtime()?.block_on(place.paused())?;
    // What agents did can't always be asked for; that they are there can be said all the same.
    let fleet = runtime()?.block_on(place.fleet()).unwrap_or_default();
    let held = runtime()?.block_on(place.held()).unwrap_or_default();
    let Loaded { project, broken_agents, .. } = &loaded;
    let mut agents = wire::agents(project);
    // One of a file with errors doesn't become the one that is part of moa.
    agents.retain(|id, _| !broken_agents.contains_key(id));
    let is_builtin = |spec: &&Arc<AgentSpec>| matches!(spec.kind, AgentKind::Builtin(_));
    let mut sorted: Vec<_> = agents.values().collect();
    sorted.sort_by_cached_key(|spec| natural::key(spec.id.as_str()));
    let (builtins, own): (Vec<_>, Vec<_>) = sorted.into_iter().partition(is_builtin);
    if context.ui.json {
        let good = |spec: &Arc<AgentSpec>| {
            let mut row = document(spec);
            row["valid"] = true.into();
            row["paused"] = json!(paused.get(&spec.id));
            row["held"] = json!(held.get(&spec.id).map(HeldItem::from));
            row["last_24h"] = json!(fleet.get(&spec.id).and_then(|now| now.day));
            row
        };
        let bad = broken_agents
            .iter()
            .map(|(id, file)| json!({"agent": id, "valid": false, "file": file}));
        let (own, builtins) = (own.into_iter().map(good), builtins.into_iter().map(good));
        let rows: Vec<Json> = own.chain(bad).chain(builtins).collect();
        context.ui.json(&rows);
        return Ok(Exit::Ok);
    }
    let heads =
        ["AGENT", "KIND", "TIER", "AT ONCE", "24H", "ERRORS", "P50", "P95", "NAME", "ACTIONS"];
    let mut table = Table::new(&heads);
    let row = |spec: &Arc<AgentSpec>| {
        let state = match (paused.contains_key(&spec.id), held.contains_key(&spec.id)) {
            (true, _) => Some("paused"),
            (false, true) => Some("held back"),
            (false, false) => None,
        };
        cells(spec, state, fleet.get(&spec.id).and_then(|now| now.day))
    };
    own.into_iter().for_each(|spec| table.row(row(spec)));
    for (id, file) in broken_agents {
        let note = Cell::new(format!("{file} has errors")).style(Style::Red);
        let mut cells = vec![id.as_str().into()];
        cells.extend(["-"; 7].map(Cell::from));
        cells.extend([note, "".into()]);
        table.row(cells);
    }
    builtins.into_iter().for_each(|spec| table.row(row(spec)));
    table.print(&context.ui, "no agents");
    for (agent, held) in &held {
        context.ui.hint(&format!("{agent} is held back until {}: {}", held.until, held.reason));
    }
    if project.agents.is_empty() && broken_agents.is_empty() {
        context.ui.hint("these are part of moa; put files into agents/ for your own");
    }
    if loaded.problems.only(|path| path.starts_with("agents")).has_errors() {
        context.ui.hint("`moa workflows validate` shows the errors");
    }
    Ok(Exit::Ok)
}

/// Milliseconds, for people.
fn took(ms: Option<f64>) -> String {
    ms.map_or_else(|| "-".into(), |ms| text::duration(Span(ms.round() as u64)))
}

fn cells(spec: &Arc<AgentSpec>, state: Option<&str>, day: Option<AgentDay>) -> Vec<Cell> {
    let errors = day.map_or(Cell::from("-"), |day| {
        let cell = Cell::new(format!("{:.1}%", day.error_rate * 100.0));
        if day.errors > 0 { cell.style(Style::Red) } else { cell }
    });
    let actions: Vec<&str> = spec.actions.keys().map(String::as_str).collect();
    let actions = if actions.is_empty() { "any".into() } else { actions.join(", ") };
    vec![
        spec.id.as_str().into(),
        kind(spec).into(),
        spec.tier.map_or("-".into(), |tier| tier.to_string()).into(),
        match state {
            Some(state) => Cell::new(state).style(Style::Yellow),
            None => spec.concurrency.map_or("-".into(), |n| n.to_string()).into(),
        },
        day.map_or("-".into(), |day| day.executions.to_string()).into(),
        errors,
        took(day.and_then(|day| day.p50_ms)).into(),
        took(day.and_then(|day| day.p95_ms)).into(),
        spec.name.as_deref().unwrap_or_default().into(),
        Cell::new(actions).style(Style::Dim),
    ]
}

fn document(spec: &AgentSpec) -> Json {
    let mut document = json!({"agent": spec.id, "kind_of": kind(spec)});
    if let (Json::Object(all), Some(document)) =
        (serde_json::to_value(spec).unwrap_or_default(), document.as_object_mut())
    {
        document.extend(all.into_iter().filter(|(key, _)| key != "id"));
    }
    document
}

/// What it did in the last hour; `None` = there is no store yet.
async fn last_hour(place: &Place, spec: &AgentSpec) -> Result<Option<Activity>> {
    place.worked(&spec.id, Span::minutes(60)).await
}

/// What is used of its limits.
async fn used(place: &Place, spec: &AgentSpec) -> Result<LimitState> {
    let Some(reader) = place.open_reader()? else { return Ok(LimitState::default()) };
    Ok(reader.limits().await?.remove(&spec.id).unwrap_or_default())
}

fn show(args: ShowArgs, context: &Context) -> Result {
    let place = context.place()?;
    let loaded = runtime()?.block_on(place.load())?;
    let spec = find(&loaded, &args.agent, context)?;
    let paused = runtime()?.block_on(place.paused())?.remove(&spec.id);
    // An agent can be looked at also where the store can't be read.
    let activity = runtime()?.block_on(last_hour(&place, &spec)).unwrap_or_default();
    let used = runtime()?.block_on(used(&place, &spec)).unwrap_or_default();
    let fleet = runtime()?.block_on(place.fleet()).unwrap_or_default();
    let held = runtime()?.block_on(place.held()).unwrap_or_default().remove(&spec.id);
    let nothing = AgentNow::default();
    let known = fleet.get(&spec.id).unwrap_or(&nothing);
    let ui = &context.ui;
    if ui.json {
        let mut document = whole_document(&spec, known);
        document["paused"] = json!(paused);
        document["held"] = json!(held.as_ref().map(HeldItem::from));
        document["last_hour"] = json!(activity);
        document["budget"] = json!(BudgetItem::new(&spec, &used, now()));
        ui.json(&document);
        return Ok(Exit::Ok);
    }
    let line = |name: &str, value: &str| {
        let name = ui.paint(Style::Dim, &format!("{name:<12}"));
        ui.line(&format!("{name} {}", text::safe(value)));
    };
    line("agent", spec.id.as_str());
    for (name, value) in [("name", &spec.name), ("description", &spec.description)] {
        if let Some(value) = value {
            line(name, value);
        }
    }
    match &spec.kind {
        AgentKind::Command(command) => line("command", &command.argv.join(" ")),
        AgentKind::Http(http) => line("http", &http.urls.join(", ")),
        AgentKind::Builtin(_) => line("kind", "built-in: it is part of moa"),
    }
    state_words(paused.as_ref(), held.as_ref()).iter().for_each(|(name, words)| line(name, words));
    if let Some(Activity { executions: attempts @ 1.., errors, .. }) = activity {
        let attempts = text::plural(attempts as usize, "attempt");
        line("last hour", &format!("{attempts}, {errors} failed"));
    }
    now_words(known).iter().for_each(|(name, words)| line(name, words));
    if let Some(at_once) = spec.concurrency {
        line("at once", &at_once.to_string());
    }
    for limit in used.report(&spec.limits, now()).iter().filter(|limit| limit.unit.is_some()) {
        let (spent, of) = (limit.amount(limit.used), limit.limit.as_str());
        let until = limit.until.map(|at| format!(", used up until {at}")).unwrap_or_default();
        line("budget", &format!("{spent} of {of}{until}"));
    }
    if let Some(timeout) = spec.timeout {
        line("timeout", &timeout.to_string());
    }
    if let Some(retry) = &spec.retry {
        line("attempts", &format!("at most {}", retry.max_attempts));
    }
    if spec.once {
        line("once", "an attempt of unknown outcome is never repeated blindly");
    }
    if !spec.actions.is_empty() {
        ui.line("");
    }
    for (name, action) in &spec.actions {
        let about = action.description.as_deref().unwrap_or_default();
        ui.line(&format!("  {name:<24} {}", text::safe_line(about)));
    }
    Ok(Exit::Ok)
}

/// An agent with what it does and did.
fn whole_document(spec: &AgentSpec, known: &AgentNow) -> Json {
    let mut document = document(spec);
    document["last_24h"] = json!(known.day);
    document["instances"] = known.instances.iter().map(instance_document).collect();
    document["endpoints"] = known.endpoints.iter().map(endpoint_document).collect();
    document
}

/// Why none of its tasks starts, line by line.
fn state_words(paused: Option<&PausedAgent>, held: Option<&Held>) -> Vec<(&'static str, String)> {
    let words = |paused: &PausedAgent| {
        ("paused", format!("{}, {}", text::relative(paused.at, now()), paused.words()))
    };
    let until = |held: &Held| ("held back", format!("until {}: {}", held.until, held.reason));
    paused.map(words).into_iter().chain(held.map(until)).collect()
}

/// What it does and did, line by line.
fn now_words(known: &AgentNow) -> Vec<(&'static str, String)> {
    let day = known.day.iter().map(|day| ("24 hours", day_words(day)));
    let instances = known.instances.iter().map(|one| ("runs now", instance_words(one)));
    let endpoints = known.endpoints.iter().map(|one| ("endpoint", endpoint_words(one)));
    day.chain(instances).chain(endpoints).collect()
}

fn day_words(day: &AgentDay) -> String {
    let (half, most) = (took(day.p50_ms), took(day.p95_ms));
    let attempts = text::plural(day.executions as usize, "attempt");
    let rate = day.error_rate * 100.0;
    format!("{attempts}, {} failed ({rate:.1}%), half in {half}, 95 of 100 in {most}", day.errors)
}

fn instance_words(one: &Instance) -> String {
    let pid = one.pid.map(|pid| format!(", pid {pid}")).unwrap_or_default();
    let (run, since) = (one.run.short(), text::duration(now().since(one.since)));
    let attempt = one.attempt;
    format!("run {run} {} / {}, attempt {attempt}, for {since}{pid}", one.workflow, one.step)
}

fn instance_document(one: &Instance) -> Json {
    let mut document = json!(one);
    document["since"] = one.since.to_string().into();
    document
}

fn endpoint_words(one: &Endpoint) -> String {
    let until = one.out_until.map(|at| format!(" until {at}")).unwrap_or_default();
    let (health, calls) = (one.health.as_str(), text::plural(one.calls as usize, "call"));
    format!("{}: {health}{until}, {calls} now", moa_view::agent::address(&one.url))
}

fn endpoint_document(one: &Endpoint) -> Json {
    let mut document = json!(one);
    document["out_until"] = one.out_until.map(|at| at.to_string()).into();
    document
}

fn test(args: TestArgs, context: &Context) -> Result {
    if let Place::There(remote) = context.place()? {
        return test_elsewhere(args, &remote, context);
    }
    let layout = context.layout()?;
    let loaded = project::load(&layout, None)?;
    if loaded.settings_broken {
        let settings = loaded.problems.only(|path| path == project::SETTINGS_FILE);
        return Err(settings.failure(context.ui.err_color()));
    }
    let spec = find(&loaded, &args.agent, context)?;
    let project = loaded.project;
    trial::check_action(&spec, &args.action)?;
    let (mut params, texts) = args.params.read()?;
    params.extend(texts.into_iter().map(|(name, text)| (name, moa_spec::free_param(&text))));
    let task = trial::task(spec.id.clone(), args.action, Json::Object(params), args.timeout)?;
    make(task, &project, context)
}

/// Makes one attempt of an agent that is part of moa, outside of any run, and shows what came of it.
pub fn attempt(
    agent: &str,
    action: &str,
    params: Json,
    project: &project::Project,
    context: &Context,
) -> Result {
    let agent = Name::new(agent).map_err(|e| Failure::usage(e.to_string()))?;
    make(trial::task(agent, action.to_owned(), params, None)?, project, context)
}

fn make(task: Task, project: &project::Project, context: &Context) -> Result {
    let layout = context.layout()?;
    let config = node::read_config(&layout, project)?;
    let state = layout.state();
    std::fs::create_dir_all(&state).map_err(|e| lock::unusable(&state, &e))?;
    let run = task.run;
    let (step, attempt) = (task.step.clone(), task.attempt);
    let worker = wire::lone_worker(&layout, &config.settings, project)?;
    let started = now();
    let outcome = runtime()?.block_on(worker.attempt(task));
    let took = now().since(started);
    show_log(&layout, run, &step, attempt, &context.ui);
    drop(worker);
    wire::forget_attempts(&layout, run);
    report(outcome?, took, context)
}

/// Has the node make the attempt, which uses its secrets and what is on its machine.
fn test_elsewhere(args: TestArgs, remote: &Remote, context: &Context) -> Result {
    let TestArgs { agent, action, params, timeout } = args;
    let (mut params, texts) = params.read()?;
    params.extend(texts.into_iter().map(|(name, text)| (name, moa_spec::free_param(&text))));
    tried(runtime()?.block_on(remote.test_agent(&agent, &action, params, timeout))?, context)
}

/// Shows what came of an attempt that a node elsewhere made.
pub fn tried(tried: Tried, context: &Context) -> Result {
    if tried.log_cut {
        context.ui.note("the node shows the end of what the attempt wrote");
    }
    context.ui.err_raw(&wire::terminal_text(tried.log.as_bytes()));
    let (outcome, took) = tried.outcome();
    report(outcome, took, context)
}

fn show_log(layout: &Layout, run: RunId, step: &str, attempt: u32, ui: &Ui) {
    let logs = wire::list_logs(layout, run).unwrap_or_default();
    let Some(log) = logs.iter().find(|l| l.step == step && l.attempt == attempt) else { return };
    let mut from = 0;
    while let Ok(part) = wire::read_log(&log.path, from, 64 << 10) {
        if part.next == from {
            break;
        }
        from = part.next;
        ui.err_raw(&wire::terminal_text(&part.bytes));
    }
}

fn report(outcome: Outcome, took: Span, context: &Context) -> Result {
    let ui = &context.ui;
    let took = text::duration(took);
    let failed = |error: &StepError, later: Option<Span>| {
        if ui.json {
            ui.json(&json!({"status": "failed", "error": error, "again_after": later}));
        }
        let kind = serde_json::to_value(error.kind).unwrap_or_default();
        let kind = kind.as_str().unwrap_or_default().to_owned();
        let later = later.map(|after| format!(", again after {after}")).unwrap_or_default();
        let text = format!("the attempt failed after {took} ({kind}{later}): {}", error.message);
        Err(Failure::new(Exit::Failed, text))
    };
    match outcome {
        Outcome::Succeeded { output } => {
            let output = output.as_deref().cloned().unwrap_or_default();
            if ui.json {
                ui.json(&json!({"status": "succeeded", "output": output}));
            } else {
                ui.json(&output);
            }
            ui.note(&format!("the attempt succeeded in {took}"));
            Ok(Exit::Ok)
        }
        Outcome::Failed { error } => failed(&error, None),
        Outcome::RateLimited { error, after } => failed(&error, Some(after)),
        Outcome::Cancelled | Outcome::Released => Ok(Exit::Interrupted),
    }
}
