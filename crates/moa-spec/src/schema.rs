//! JSON Schemas (2020-12) of the project's files, from the declarations that the readers use.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Value as Json, json};

use crate::model::WorkflowFile;
use crate::model::agent::{AgentFile, AgentsFile};
use crate::model::rule::RuleFile;
use crate::model::settings::SettingsFile;

/// Which kind of file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SchemaKind {
    /// `workflows/*.yaml`
    Workflow,
    /// `agents/*.yaml`
    Agents,
    /// `moa.yaml`
    Settings,
    /// A rule, as `moa rules` takes it.
    Rule,
}

/// The JSON Schema of a kind of file, for editors.
pub fn schema(kind: SchemaKind) -> Json {
    let generator = SchemaSettings::draft2020_12().into_generator();
    let (title, schema) = match kind {
        SchemaKind::Workflow => ("moa workflow", root::<WorkflowFile>(generator)),
        SchemaKind::Agents => ("moa agents", agents(generator)),
        SchemaKind::Settings => ("moa settings", root::<SettingsFile>(generator)),
        SchemaKind::Rule => ("moa rule", root::<RuleFile>(generator)),
    };
    let mut schema = schema;
    schema["title"] = json!(title);
    schema
}

fn root<T: JsonSchema>(generator: SchemaGenerator) -> Json {
    generator.into_root_schema_for::<T>().to_value()
}

fn agents(mut generator: SchemaGenerator) -> Json {
    let one = generator.subschema_for::<AgentFile>();
    let several = generator.subschema_for::<AgentsFile>();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "description": "One agent, or several under `agents`.",
        "anyOf": [one, several],
        "$defs": generator.take_definitions(true),
    })
}
