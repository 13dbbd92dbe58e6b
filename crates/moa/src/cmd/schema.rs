//! `moa schema`

use moa_spec::SchemaKind;

use super::Context;
use crate::exit::{Exit, Result};

/// Print the JSON Schema of a kind of file.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  moa schema workflow > workflow.schema.json
  # then, as the first line of a workflow, for completion in editors:
  # yaml-language-server: $schema=../workflow.schema.json")]
pub struct Args {
    /// The kind of file
    kind: Kind,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Kind {
    /// workflows/*.yaml
    Workflow,
    /// agents/*.yaml
    Agents,
    /// moa.yaml
    Settings,
    /// A rule, as `moa rules create --file` takes it
    Rule,
}

/// Prints the schema.
pub fn run(args: Args, context: &Context) -> Result {
    let kind = match args.kind {
        Kind::Workflow => SchemaKind::Workflow,
        Kind::Agents => SchemaKind::Agents,
        Kind::Settings => SchemaKind::Settings,
        Kind::Rule => SchemaKind::Rule,
    };
    context.ui.json(&moa_spec::schema(kind));
    Ok(Exit::Ok)
}
