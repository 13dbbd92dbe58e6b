//! What the tests share.

use moa_core::ids::Name;
use moa_core::schema::Schemas;
use moa_core::workflow::Plan;
use moa_spec::{Diagnostic, OutputSchemas, Source, compile, parse_workflow, render};
use serde_json::Value as Json;

/// A source of text.
pub fn source(text: &str) -> Source {
    Source::new("workflows/test.yaml", text)
}

/// The id that test workflows have.
pub fn id() -> Name {
    Name::new("test").unwrap()
}

/// The diagnostics of a workflow file.
pub fn diagnose(text: &str) -> Vec<Diagnostic> {
    parse_workflow(&source(text), &id()).1
}

/// The plan of a workflow that has no errors.
pub fn plan(text: &str) -> Plan {
    let (workflow, diagnostics) = parse_workflow(&source(text), &id());
    let shown = render(&diagnostics, &[source(text)], false);
    compile(&workflow.unwrap_or_else(|| panic!("{shown}")))
}

/// The ways in which a value breaks a schema, `POINTER MESSAGE; …`; none = `""`.
pub fn breaches(schema: &Json, value: &Json) -> String {
    let found = OutputSchemas.compile(schema).check(value).err().unwrap_or_default();
    let told = found.iter().map(|b| format!("{} {}", b.pointer, b.message).trim().to_owned());
    told.collect::<Vec<_>>().join("; ")
}

/// The codes of the diagnostics of a workflow file.
pub fn codes(text: &str) -> Vec<&'static str> {
    diagnose(text).iter().map(|d| d.code).collect()
}

/// The steps that a step needs, by id.
pub fn needs(plan: &Plan, step: &str) -> Vec<String> {
    let step = plan.step(plan.find(step).unwrap_or_else(|| panic!("no step {step}")));
    step.needs.iter().map(|n| plan.step(n.step).id.to_string()).collect()
}

/// The ids of all steps, in the plan's order.
pub fn ids(plan: &Plan) -> Vec<String> {
    plan.steps.iter().map(|s| s.id.to_string()).collect()
}

/// How many cases a property is tried with: `normal`, times `MOA_TEST_FACTOR` for longer hunts.
pub fn cases(normal: u32) -> u32 {
    let factor = std::env::var("MOA_TEST_FACTOR").ok().and_then(|f| f.parse().ok());
    normal * factor.unwrap_or(1)
}
