//! `moa test`: the tests that workflows bring along, on virtual time, with mocks for agents.

mod expect;
mod play;

use serde_json::{Value as Json, json};

use super::Context;
use crate::exit::{Exit, Failure, Result};
use crate::project;
use crate::text;
use crate::ui::{Style, Ui};
use crate::view::tree;
use play::Played;

/// Run the tests that workflows bring along, on virtual time.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  moa test
  moa test build-project --name retried

Nothing is spent and nothing is sent: agents are mocked, and hours pass in milliseconds.
Exit codes: 0 all passed, 1 some failed, 3 a file has errors")]
pub struct Args {
    /// Only the tests of this workflow
    workflow: Option<String>,
    /// Only tests whose name holds this text
    #[arg(long, value_name = "TEXT")]
    name: Option<String>,
}

/// Runs tests.
pub fn run(args: Args, context: &Context) -> Result {
    let layout = context.here()?;
    let loaded = project::load(&layout, None)?;
    let wanted = args.workflow.as_deref();
    let wanted = wanted.map(super::run::split_version).transpose()?.map(|(name, _)| name);
    let in_the_way = match &wanted {
        None => loaded.problems.has_errors(),
        Some(name) => loaded.settings_broken || loaded.broken.contains(name),
    };
    if in_the_way {
        let problems = match &wanted {
            None => loaded.problems,
            Some(name) => loaded.problems.of_workflow(name),
        };
        return Err(problems.failure(context.ui.err_color()));
    }
    if let Some(name) = &wanted
        && !loaded.project.workflows.contains_key(name)
    {
        return Err(project::unknown_workflow(name.as_str(), loaded.project.workflows.keys()));
    }
    let mut results: Vec<(String, String, Played)> = Vec::new();
    for (name, served) in &loaded.project.workflows {
        if wanted.as_ref().is_some_and(|wanted| wanted != name) {
            continue;
        }
        for test in &served.tests {
            if args.name.as_deref().is_none_or(|text| test.name.contains(text)) {
                let played = play::play(&loaded.project, &served.plan, test);
                results.push((name.to_string(), test.name.clone(), played));
            }
        }
    }
    report(&results, context)
}

fn report(results: &[(String, String, Played)], context: &Context) -> Result {
    let ui = &context.ui;
    let failed = results.iter().filter(|(_, _, played)| !played.failures.is_empty()).count();
    if ui.json {
        let rows: Vec<Json> = results
            .iter()
            .map(|(workflow, name, played)| {
                json!({
                    "workflow": workflow, "test": name, "passed": played.failures.is_empty(),
                    "failures": played.failures, "virtual_ms": played.took.0,
                })
            })
            .collect();
        ui.json(&rows);
    } else {
        let mut last = "";
        for (workflow, name, played) in results {
            if workflow != last {
                ui.line(&ui.paint(Style::Bold, workflow));
                last = workflow;
            }
            line(name, played, ui);
        }
        let passed = results.len() - failed;
        ui.note(&format!("{passed} passed, {failed} failed"));
    }
    if results.is_empty() {
        return Err(Failure::not_found("there are no such tests")
            .hint("write them under `tests:` of a workflow"));
    }
    Ok(if failed == 0 { Exit::Ok } else { Exit::Failed })
}

fn line(name: &str, played: &Played, ui: &Ui) {
    let took = text::duration(played.took);
    if played.failures.is_empty() {
        let took = ui.paint(Style::Dim, &format!("({took} of virtual time)"));
        ui.line(&format!("  {} {name} {took}", ui.paint(Style::Green, "✓")));
        return;
    }
    ui.line(&format!("  {} {name}", ui.paint(Style::Red, "✗")));
    for failure in &played.failures {
        ui.line(&format!("      {}", text::safe_line(failure)));
    }
    if let Some(run) = &played.run {
        let mut look = crate::show::look(ui, false);
        look.now = played.ended_at;
        for line in tree::lines(run, look) {
            ui.line(&format!("      {line}"));
        }
    }
}
