//! The files of a project: workflows, agents, settings.
//!
//! What: YAML text to a tree with spans, to a typed model that keeps on after every mistake, to what
//! the engine executes ([`moa_core::workflow::Plan`], [`moa_core::agent::AgentSpec`]); diagnostics
//! with excerpt, cause and fix; JSON Schemas from the same declarations; `fmt`, graphs, differences.
//! Why a crate of its own: it holds the YAML and JSON Schema libraries, and changes with the language,
//! not with the engine. Absent by intent: files (callers read them), clocks, the store.
//! Start reading at [`parse_workflow`].

mod access;
mod agents;
mod alerts;
mod calendar;
mod calls;
mod check;
mod codes;
mod diagnostic;
mod diff;
mod fmt;
mod graph;
mod hash;
mod json_schema;
mod lower;
mod metrics;
pub mod model;
mod notify;
mod params;
mod read;
mod retention;
mod rule;
mod scalar;
mod schema;
mod secrets;
mod settings;
mod shell_words;
mod source;
mod suggest;
mod tests_section;
mod tracing;
mod webhooks;
mod workflow;
mod yaml;

pub use access::{ClaimRules, JwtAlgorithm, JwtIssuer, JwtKeys, Oidc, RoleText};
pub use agents::{parse_agents, stands_twice};
pub use alerts::{AlertRule, Alerts};
pub use calendar::parse_calendar;
pub use check::{BUILTIN_AGENTS, Project, check_workflow};
pub use codes::error_pages;
pub use diagnostic::{Diagnostic, Severity, has_errors, render};
pub use diff::{FieldChange, PlanChange, diff};
pub use fmt::format;
pub use graph::{graph_dot, graph_mermaid};
pub use json_schema::OutputSchemas;
pub use lower::{Hook, Schedules, Signature, Triggers};
pub use metrics::{Health, Metric, OWN_METRICS, Target, check_metrics};
pub use notify::{Channel, Mail, MailTls, Notify, Secretive, Slack, Webhook};
pub use params::{ParamError, check_against, check_params, free_param, param_from_text};
pub use read::{At, Place};
pub use retention::{ByAge, ByAgeAndCount, ByAgeAndSize, Retention, UpTo};
pub use rule::{Rule, parse_rule, rule_document};
pub use scalar::{
    Duration, Entries, Expr, Filled, Label, Many, NameText, Raw, Short, Size, Tmpl, Use,
};
pub use schema::{SchemaKind, schema};
pub use secrets::{SecretsOf, missing_secrets};
pub use settings::{
    Limits, Log, LogFormat, LogLevel, Logs, Secrets, Server, Settings, Tls, parse_settings,
};
pub use source::Source;
pub use tests_section::{
    Comparison, Expect, MockOutcome, MockResult, StepExpectation, WorkflowTest,
};
pub use tracing::{Otlp, Tracing};
pub use webhooks::{Subscription, channel_of, webhook_of};
pub use workflow::{Workflow, WorkflowSummary, compile, parse_workflow, validate_workflow};
pub use yaml::document;
