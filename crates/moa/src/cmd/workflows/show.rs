//! `moa workflows list`, `show` and `graph`

use std::collections::BTreeMap;

use moa_core::ids::{Name, VersionHash};
use moa_core::workflow::{ParamSpec, Plan};
use moa_ports::views::RunFilter;
use moa_spec::Source;
use serde_json::{Value as Json, json};

use crate::cmd::run::split_version;
use crate::cmd::{Context, runtime};
use crate::exit::{Exit, Result};
use crate::project::{self, Loaded};
use crate::reader;
use crate::table::{Cell, Table};
use crate::text;
use crate::ui::Style;
use crate::view::outline::{self, Line, outline};
use crate::view::{deed, is_container, now, run_style};

/// Runs shown of a workflow.
const RUNS_SHOWN: usize = 5;

/// List workflows.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  moa workflows list
  moa workflows list --json | jq -r '.[].workflow'")]
pub struct ListArgs {}

/// Lists workflows.
pub fn list(_args: ListArgs, context: &Context) -> Result {
    let loaded = runtime()?.block_on(context.place()?.load())?;
    let Loaded { project, problems, broken, .. } = &loaded;
    let mut rows: Vec<(&Name, Option<&Plan>)> =
        project.workflows.iter().map(|(name, w)| (name, Some(&w.plan))).collect();
    rows.extend(broken.iter().map(|name| (name, None)));
    rows.sort_by_key(|(name, _)| *name);
    if context.ui.json {
        let rows: Vec<Json> = rows.iter().map(|(name, plan)| list_item(name, *plan)).collect();
        context.ui.json(&rows);
        return Ok(Exit::Ok);
    }
    let mut table = Table::new(&["WORKFLOW", "VERSION", "STEPS", "PARAMS", "TITLE"]);
    for (name, plan) in &rows {
        let Some(plan) = plan else {
            let note = Cell::new("its file has errors").style(Style::Red);
            table.row(vec![name.as_str().into(), "".into(), "".into(), "".into(), note]);
            continue;
        };
        let params: Vec<&str> = plan.params.iter().map(|p| p.name.as_str()).collect();
        let version = plan.version.clone().unwrap_or_else(|| plan.hash.short());
        table.row(vec![
            name.as_str().into(),
            version.into(),
            steps(plan).to_string().into(),
            params.join(", ").into(),
            plan.title.as_str().into(),
        ]);
    }
    table.print(&context.ui, "no workflows; put files into workflows/");
    if problems.has_errors() {
        context.ui.hint("`moa workflows validate` shows the errors");
    }
    Ok(Exit::Ok)
}

fn steps(plan: &Plan) -> usize {
    plan.steps.iter().filter(|step| !is_container(step)).count()
}

fn list_item(name: &Name, plan: Option<&Plan>) -> Json {
    match plan {
        None => json!({
            "workflow": name, "valid": false, "title": null, "description": null, "version": null,
            "hash": null, "steps": null, "params": [],
        }),
        Some(plan) => json!({
            "workflow": name,
            "valid": true,
            "title": plan.title,
            "description": plan.description,
            "version": plan.version,
            "hash": plan.hash,
            "steps": steps(plan),
            "params": plan.params,
        }),
    }
}

/// Show a workflow.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  moa workflows show build-project
  moa workflows show build-project@1.0.0 --source")]
pub struct Args {
    /// The workflow; NAME@VERSION for a version that the store keeps
    workflow: String,
    /// Print the file itself
    #[arg(long)]
    source: bool,
}

/// What the project's file, or the store for an older version, says.
fn find(text: &str, context: &Context) -> Result<(Plan, Source)> {
    let place = context.place()?;
    let (name, version) = split_version(text)?;
    if let Some(version) = version {
        let reader = place.require_reader()?;
        let kept = runtime()?.block_on(reader.version(&name, Some(&version)))?;
        return Ok((reader::plan(&kept)?, Source::new(format!("{text}.yaml"), kept.source)));
    }
    let mut loaded = runtime()?.block_on(place.load())?;
    if let Some(served) = loaded.project.workflows.remove(&name) {
        return Ok((served.plan.clone(), served.source.clone()));
    }
    if loaded.broken.contains(&name) {
        let mine = loaded.problems.of_workflow(&name);
        return Err(mine.failure(context.ui.err_color()));
    }
    Err(project::unknown_workflow(name.as_str(), loaded.project.workflows.keys()))
}

/// Shows a workflow.
pub fn run(args: Args, context: &Context) -> Result {
    let (plan, source) = find(&args.workflow, context)?;
    let ui = &context.ui;
    if args.source {
        show_text(&source.text, context);
        return Ok(Exit::Ok);
    }
    if ui.json {
        ui.json(&plan);
        return Ok(Exit::Ok);
    }
    let line = |name: &str, value: &str| {
        let name = ui.paint(Style::Dim, &format!("{name:<12}"));
        ui.line(&format!("{name} {}", text::safe(value)));
    };
    line("workflow", plan.workflow.as_str());
    line("title", &plan.title);
    if let Some(description) = &plan.description {
        line("description", description);
    }
    let label = plan.version.as_deref().map(|v| format!("{v} ")).unwrap_or_default();
    line("version", &format!("{label}({})", plan.hash.short()));
    if let Some(concurrency) = &plan.concurrency {
        let key = concurrency.key.as_ref().map_or("the workflow", |k| k.source());
        line("concurrency", &format!("{} at once by {key}", concurrency.limit));
    }
    for (i, param) in plan.params.iter().enumerate() {
        line(if i == 0 { "params" } else { "" }, &param_words(param));
    }
    ui.line("");
    for part in outline(&plan) {
        match part {
            Line::Part(title) => ui.line(&format!("{title}:")),
            Line::Step { depth, step } => {
                let id = format!("{}{}", "  ".repeat(depth), step.id);
                let does = text::safe_line(&deed(step)).into_owned();
                let needs = ui.paint(Style::Dim, &outline::needs(&plan, step));
                ui.line(&format!("  {id:<24} {does}{needs}"));
            }
        }
    }
    newest_runs(&plan.workflow, context)
}

/// A text as it is, but for what a terminal would obey: it may have come from elsewhere.
fn show_text(text: &str, context: &Context) {
    match context.ui.out_tty() {
        true => context.ui.raw(text::safe(text).as_bytes()),
        false => context.ui.raw(text.as_bytes()),
    }
}

fn param_words(param: &ParamSpec) -> String {
    let kind = match &param.schema["type"] {
        Json::String(kind) => kind.clone(),
        Json::Null => "any".into(),
        other => other.to_string(),
    };
    match (&param.default, param.required) {
        (Some(default), _) => format!("{}: {kind}, default {default}", param.name),
        (None, true) => format!("{}: {kind}, required", param.name),
        (None, false) => format!("{}: {kind}", param.name),
    }
}

fn newest_runs(name: &Name, context: &Context) -> Result {
    let Some(reader) = context.place()?.open_reader()? else { return Ok(Exit::Ok) };
    let filter =
        RunFilter { workflow: Some(name.clone()), limit: RUNS_SHOWN, ..RunFilter::default() };
    let runs = runtime()?.block_on(reader.views.runs(&filter))?;
    if !runs.is_empty() {
        context.ui.line("\nnewest runs");
    }
    for run in runs {
        let status = context.ui.paint(run_style(run.status), run.status.as_str());
        let age = text::relative(run.created_at, now());
        context.ui.line(&format!("  {} {status} {age}", run.run));
    }
    Ok(Exit::Ok)
}

/// Draw a workflow.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  moa workflows graph build-project                        # Mermaid, as GitHub shows it
  moa workflows graph build-project --format dot | dot -Tsvg > build-project.svg")]
pub struct GraphArgs {
    /// The workflow; NAME@VERSION for a version that the store keeps
    workflow: String,
    /// The language of the drawing
    #[arg(long, value_enum, default_value_t = Format::Mermaid)]
    format: Format,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Format {
    /// Mermaid
    Mermaid,
    /// Graphviz
    Dot,
}

/// Draws a workflow.
pub fn graph(args: GraphArgs, context: &Context) -> Result {
    context.no_json("a drawing")?;
    let (plan, _) = find(&args.workflow, context)?;
    let drawing = match args.format {
        Format::Mermaid => moa_spec::graph_mermaid(&plan),
        Format::Dot => moa_spec::graph_dot(&plan),
    };
    show_text(&drawing, context);
    Ok(Exit::Ok)
}

/// The versions that the project's files say now.
pub fn hashes_of_files(context: &Context) -> Result<BTreeMap<Name, VersionHash>> {
    let loaded = runtime()?.block_on(context.place()?.load())?;
    let workflows = loaded.project.workflows.into_iter();
    Ok(workflows.map(|(name, served)| (name, served.plan.hash)).collect())
}

/// The plan of `NAME` or `NAME@VERSION`.
pub fn plan(text: &str, context: &Context) -> Result<Plan> {
    Ok(find(text, context)?.0)
}
