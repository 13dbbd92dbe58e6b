//! `moa run --dry-run`: what a run would do, as far as that is known before it starts.

use std::collections::BTreeMap;
use std::sync::Arc;

use moa_core::expr::{Scope, Value};
use moa_core::template::Template;
use moa_core::workflow::{Output, Plan, PlanStep, RunIf, StepKind};
use serde_json::{Map, Value as Json, json};

use super::{Context, runtime};
use crate::control::protocol::StartRun;
use crate::exit::{Exit, Result};
use crate::place::Place;
use crate::project::{self, Loaded};
use crate::reader;
use crate::secrets::SecretStore;
use crate::ui::{Style, Ui};
use crate::view::outline::{self, Line, outline};
use crate::view::{deed, doer};
use crate::{needed, text, wire};

/// Names that are known before a run starts.
struct Known {
    names: BTreeMap<&'static str, Arc<Json>>,
}

impl Scope for Known {
    fn lookup(&self, name: &str) -> Option<Value> {
        self.names.get(name).map(|value| Value::from_json(value.clone()))
    }
}

/// Shows the plan of a run that isn't started.
pub fn run(place: &Place, start: StartRun, context: &Context) -> Result {
    let loaded = runtime()?.block_on(place.load())?;
    let plan = plan(place, &start, &loaded, context)?;
    let params = project::check_params(&plan, start.params, &start.texts)?;
    // Which secrets there are elsewhere, its node alone knows.
    if let Place::Here(layout) = place {
        let secrets = SecretStore::of(layout, &loaded.project)?;
        let agents = wire::agents(&loaded.project);
        let refusal = needed::refusal(&plan, &loaded.project.workflows, &agents, &secrets);
        if let Some(refusal) = refusal {
            context.ui.warn(&refusal.message);
        }
    }
    let vars = plan.vars.iter().map(|(name, value)| (name.clone(), value.clone()));
    let known = Known {
        names: BTreeMap::from([
            ("vars", Arc::new(Json::Object(vars.collect()))),
            ("params", Arc::new(Json::Object(params.clone()))),
        ]),
    };
    if context.ui.json {
        context.ui.json(&json!({
            "workflow": plan.workflow,
            "hash": plan.hash,
            "version": plan.version,
            "params": params,
            "steps": plan.steps.iter().map(|s| document(&plan, s, &known)).collect::<Vec<_>>(),
            "outputs": declared(&plan.outputs),
        }));
        return Ok(Exit::Ok);
    }
    print(&plan, &params, &known, context);
    Ok(Exit::Ok)
}

fn plan(place: &Place, start: &StartRun, loaded: &Loaded, context: &Context) -> Result<Plan> {
    let name = &start.workflow;
    if let Some(version) = &start.version {
        let reader = place.require_reader()?;
        let kept = runtime()?.block_on(reader.version(name, Some(version)))?;
        return reader::plan(&kept);
    }
    let unusable = loaded.settings_broken && !place.is_elsewhere();
    if loaded.broken.contains(name) || unusable {
        return Err(loaded.problems.of_workflow(name).failure(context.ui.err_color()));
    }
    match loaded.project.workflows.get(name) {
        Some(served) => Ok(served.plan.clone()),
        None => Err(project::unknown_workflow(name.as_str(), loaded.project.workflows.keys())),
    }
}

fn print(plan: &Plan, params: &Map<String, Json>, known: &Known, context: &Context) {
    let ui = &context.ui;
    let version = plan.version.as_deref().map(|v| format!(" {v}")).unwrap_or_default();
    ui.line(&format!("{}{version} ({})", plan.workflow, plan.hash.short()));
    if !params.is_empty() {
        ui.line(&format!("params: {}", Json::Object(params.clone())));
    }
    ui.line("");
    let mut number = 0;
    for line in outline(plan) {
        match line {
            Line::Part(title) => ui.line(&format!("{title}:")),
            Line::Step { depth, step } => {
                number += 1;
                print_step(plan, depth, step, number, known, ui);
            }
        }
    }
    if !plan.outputs.is_empty() {
        ui.line("outputs:");
    }
    for output in &plan.outputs {
        ui.line(&text::safe_line(&format!("    {}", in_words(output))));
    }
    ui.note("nothing was run");
}

/// An output: its name, where its value comes from, what it must meet.
fn in_words(Output { name, value, schema }: &Output) -> String {
    let must = schema.as_ref().map(|schema| format!("  must meet {}", schema.json()));
    format!("{name}: {}{}", value.source(), must.unwrap_or_default())
}

fn declared(outputs: &[Output]) -> Json {
    let one = |Output { name, value, schema }: &Output| {
        let mut doc = json!({ "value": value.source() });
        if let Some(schema) = schema {
            doc["schema"] = schema.json().clone();
        }
        (name.clone(), doc)
    };
    Json::Object(outputs.iter().map(one).collect())
}

fn print_step(plan: &Plan, depth: usize, step: &PlanStep, number: u32, known: &Known, ui: &Ui) {
    let indent = "   ".repeat(depth);
    let head = format!("{indent}{number:>2}. {}  {}", step.id, deed(step));
    let needs = outline::needs(plan, step);
    ui.line(&format!("{}{}", text::safe_line(&head), ui.paint(Style::Dim, &needs)));
    for (name, value) in details(step, known) {
        let line = format!("{indent}      {name}: {value}");
        ui.line(&ui.paint(Style::Dim, &text::safe_line(&line)));
    }
}

/// What there is to say about a step beside what it does.
fn details(step: &PlanStep, known: &Known) -> Vec<(&'static str, String)> {
    let mut details = Vec::new();
    if let Some(condition) = &step.condition {
        details.push(("condition", condition.source().to_owned()));
    }
    match &step.run_if {
        RunIf::Success => {}
        RunIf::Always => details.push(("run_if", "always".into())),
        RunIf::Failure => details.push(("run_if", "failure".into())),
        RunIf::When(program) => details.push(("run_if", program.source().into())),
    }
    if let StepKind::If { cases, .. } = &step.kind
        && cases.len() > 1
    {
        let cases: Vec<&str> = cases.iter().map(|c| c.source()).collect();
        details.push(("cases", cases.join(" | ")));
    }
    if let Some(params) = params(step).map(|template| render(template, known))
        && params.as_object().is_none_or(|p| !p.is_empty())
        && !params.is_null()
    {
        details.push(("params", params.to_string()));
    }
    details.extend(step.outputs.iter().map(|output| ("output", in_words(output))));
    if let Some(retry) = &step.retry {
        details.push(("attempts", format!("at most {}", retry.max_attempts)));
    }
    if let Some(timeout) = step.timeout {
        details.push(("timeout", timeout.to_string()));
    }
    details
}

fn params(step: &PlanStep) -> Option<&Template> {
    match &step.kind {
        StepKind::Task { params, .. } | StepKind::Child { params, .. } => Some(params),
        StepKind::Approve { request, .. } => Some(request),
        StepKind::Sleep { until } => Some(until),
        StepKind::Emit { data, .. } => Some(data),
        _ => None,
    }
}

/// A template with everything filled in that is known: part by part, so that one unknown name
/// doesn't hide the rest.
fn render(template: &Template, known: &Known) -> Json {
    render_value(template.source(), known)
}

fn render_value(value: &Json, known: &Known) -> Json {
    match value {
        Json::Array(items) => items.iter().map(|item| render_value(item, known)).collect(),
        Json::Object(map) => {
            map.iter().map(|(key, value)| (key.clone(), render_value(value, known))).collect()
        }
        Json::String(text) if text.contains("${{") => {
            let whole = Json::String(text.clone());
            let template = Template::compile(&whole, true);
            let rendered = template.ok().and_then(|t| t.render(known).ok());
            // Where a secret belongs, the name of it is shown.
            rendered.filter(|r| r.secrets.is_empty()).map_or(whole, |r| r.value)
        }
        other => other.clone(),
    }
}

fn document(plan: &Plan, step: &PlanStep, known: &Known) -> Json {
    let mut doc = json!({
        "id": step.id,
        "agent": doer(step),
        "does": deed(step),
        "needs": step.needs.iter().map(|n| plan.step(n.step).id.as_str()).collect::<Vec<_>>(),
    });
    if let StepKind::Task { action, .. } = &step.kind {
        doc["action"] = action.as_str().into();
    }
    if let Some(parent) = step.parent {
        doc["inside"] = plan.step(parent).id.as_str().into();
    } else if let Some(owner) = plan.bodies[usize::from(step.body)].owner {
        doc["inside"] = plan.step(owner).id.as_str().into();
    }
    if let Some(condition) = &step.condition {
        doc["condition"] = condition.source().into();
    }
    if !step.outputs.is_empty() {
        doc["outputs"] = declared(&step.outputs);
    }
    if let Some(template) = params(step) {
        doc["params"] = render(template, known);
    }
    doc
}
