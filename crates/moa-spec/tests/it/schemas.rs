//! The schemas and the readers agree, because they come from the same declarations.

use std::collections::BTreeSet;

use moa_spec::model::agent::{
    ActionFile, AgentFile, AgentsFile, CommandFile, HttpFile, LimitsFile, ShellFile,
};
use moa_spec::model::alerts::{AlertRuleFile, AlertsFile, QuietFile};
use moa_spec::model::notify::{ChannelFile, MailFile, NotifyFile, SlackFile, WebhookFile};
use moa_spec::model::on::OnFile;
use moa_spec::model::rule::RuleFile;
use moa_spec::model::settings::{
    BoundsFile, ByAgeAndCountFile, ByAgeAndSizeFile, ByAgeFile, HealthFile, LogFile, LogsFile,
    MetricFile, RetentionFile, SecretsFile, SettingsFile, SettingsLimits, TargetFile,
};
use moa_spec::model::{
    ApproveFile, Case, ConcurrencyFile, Defaults, EmitFile, ErrorHandling, FailFile, ForeachFile,
    NeedFile, OutcomeFile, OutputFile, RetryFile, RunFile, Step, TestFile, WaitFor, WorkflowFile,
};
use moa_spec::{SchemaKind, parse_agents, parse_settings, schema};
use serde_json::{Value as Json, json};

use crate::support::{breaches, diagnose, id, source};

/// The properties of a definition of a schema, or of its root.
fn properties(schema: &Json, name: &str) -> BTreeSet<String> {
    let defined = &schema["$defs"][name];
    let defined = if defined.is_null() { schema } else { defined };
    assert_eq!(defined["additionalProperties"], json!(false), "{name}");
    defined["properties"].as_object().unwrap().keys().cloned().collect()
}

macro_rules! agree {
    ($schema:expr, $($type:ty),* $(,)?) => {$(
        let keys: BTreeSet<String> = <$type>::KEYS.iter().map(|k| (*k).to_owned()).collect();
        let name = stringify!($type);
        assert_eq!(properties(&$schema, name), keys, "{name}");
    )*};
}

#[test]
fn accepted_keys_and_properties_are_the_same() {
    let workflow = schema(SchemaKind::Workflow);
    agree!(workflow, WorkflowFile, ApproveFile, Case, ConcurrencyFile, Defaults, EmitFile);
    agree!(workflow, ErrorHandling, FailFile, ForeachFile, NeedFile, OutcomeFile, OutputFile);
    agree!(workflow, RetryFile, RunFile, Step, TestFile, WaitFor);
    let agents = schema(SchemaKind::Agents);
    agree!(agents, ActionFile, AgentFile, AgentsFile, CommandFile, HttpFile, LimitsFile, ShellFile);
    let settings = schema(SchemaKind::Settings);
    agree!(settings, SettingsFile, ChannelFile, LogFile, LogsFile, NotifyFile, SecretsFile);
    agree!(settings, AlertsFile, QuietFile, AlertRuleFile);
    agree!(settings, SlackFile, MailFile, WebhookFile);
    agree!(settings, MetricFile, TargetFile, BoundsFile, HealthFile);
    agree!(settings, SettingsLimits, RetentionFile, ByAgeFile);
    agree!(settings, ByAgeAndCountFile, ByAgeAndSizeFile);
    agree!(schema(SchemaKind::Rule), RuleFile, OnFile);
}

/// Each key of each property is taken by the reader: given nonsense, it says something else than
/// "unknown key".
#[test]
fn readers_know_every_property() {
    for key in properties(&schema(SchemaKind::Workflow), "Step") {
        let found = diagnose(&format!("steps: [{{run: x}}, {{{key}: {{nonsense: [1]}}}}]"));
        let unknown = format!("a step has no key `{key}`");
        assert!(found.iter().all(|d| d.message != unknown), "{key}");
    }
}

#[test]
fn every_property_says_what_it_is() {
    for kind in [SchemaKind::Workflow, SchemaKind::Agents, SchemaKind::Settings, SchemaKind::Rule] {
        let schema = schema(kind);
        let mut places = vec![&schema];
        places.extend(schema["$defs"].as_object().unwrap().values());
        for place in places {
            for (key, property) in place["properties"].as_object().into_iter().flatten() {
                assert!(property["description"].is_string(), "{key}: {property}");
            }
        }
    }
}

fn yaml(text: &str) -> Json {
    // Any file as JSON: a constant takes every value.
    let plan = crate::support::plan(&format!(
        "vars:\n  file:\n{}\nsteps: [{{run: x}}]\n",
        text.lines()
            .map(|l| format!("    {l}"))
            .collect::<Vec<_>>()
            .join("\n")
            .replace("${{", "$ {{")
    ));
    plan.vars["file"].clone()
}

#[test]
fn files_without_mistakes_meet_their_schemas() {
    let workflow = schema(SchemaKind::Workflow);
    for text in [
        include_str!("../data/seeds/build-project.yaml"),
        include_str!("../data/seeds/build-short.yaml"),
        include_str!("../data/seeds/continuous-monitoring.yaml"),
        include_str!("../data/seeds/data-pipeline.yaml"),
        include_str!("../data/good/everything.yaml"),
    ] {
        assert_eq!(breaches(&workflow, &yaml(text)), "");
    }
    let text = include_str!("../data/good/agents.yaml");
    assert_eq!(breaches(&schema(SchemaKind::Agents), &yaml(text)), "");
    assert_eq!(parse_agents(&source(text), &id()).1, []);
    let text = include_str!("../data/good/settings.yaml");
    assert_eq!(breaches(&schema(SchemaKind::Settings), &yaml(text)), "");
    assert_eq!(parse_settings(&source(text)).1, []);
}

#[test]
fn schemas_refuse_what_readers_refuse() {
    let workflow = schema(SchemaKind::Workflow);
    for text in
        ["stps: []", "steps: [{run: x, dependson: [a]}]", "steps: []", "mode: x\nsteps: [{run: x}]"]
    {
        assert!(!breaches(&workflow, &yaml(text)).is_empty(), "{text}");
        assert!(moa_spec::has_errors(&diagnose(text)), "{text}");
    }
}
