//! Rules: triggers that no file of the project says, written as one document each.

use moa_core::ids::Name;
use moa_core::limits::RULE_BYTES_MAX;
use moa_core::schedule::Overlap;
use moa_core::trigger::{Collect, Source as What, TriggerSpec};
use serde_json::{Map, Value as Json, json};

use crate::Project;
use crate::check::unknown_workflow;
use crate::codes;
use crate::diagnostic::Diagnostic;
use crate::lower;
use crate::model::rule::RuleFile;
use crate::read::{Cx, Field};
use crate::source::{Source, too_large};
use crate::yaml;

/// A rule that was read and checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// The trigger that it is.
    pub spec: TriggerSpec,
    /// Whether it may start runs, if it says so.
    pub enabled: Option<bool>,
}

/// Reads a rule and reports all its mistakes, ordered by place. `name` is what it was called outside of
/// its document, if it was.
///
/// The rule is given when none of the mistakes is an error.
pub fn parse_rule(
    source: &Source,
    name: Option<&Name>,
    project: &Project,
) -> (Option<Rule>, Vec<Diagnostic>) {
    if source.text.len() > RULE_BYTES_MAX {
        return (None, vec![too_large(&source.path, source.text.len(), RULE_BYTES_MAX)]);
    }
    let mut cx = Cx::new(source);
    let rule = yaml::parse(&mut cx)
        .and_then(|root| RuleFile::read(&root, &mut cx))
        .and_then(|file| rule(&file, name, project, &mut cx));
    let failed = cx.failed();
    (rule.filter(|_| !failed), cx.finish())
}

fn rule(file: &RuleFile, called: Option<&Name>, project: &Project, cx: &mut Cx) -> Option<Rule> {
    let name = name_of(file, called, cx);
    let workflow = &file.run.value.0;
    let params = match project.workflows.get(workflow) {
        Some(workflow) => workflow.params.as_slice(),
        None => {
            unknown_workflow(workflow.as_str(), file.run.span.clone(), project, cx);
            &[]
        }
    };
    if let Some(id) = &file.on.id {
        let d = cx.error(codes::MISFIT, id.span.clone(), "a rule has no `id`".into());
        d.help("its name is its id: take this out");
    }
    let foreign = ["workflow", "file", "mail", "webhook"].iter();
    let mut foreign = foreign.filter_map(|key| Some((key, file.on.place.key(key)?)));
    if let Some((key, span)) = foreign.next() {
        let message = format!("a rule reacts to events, not to `{key}`");
        let d = cx.error(codes::MISFIT, span, message);
        d.help("write `event:`; what else starts runs stands in the workflow's file");
        return None;
    }
    let spec = lower::rule(&file.on, workflow, params, cx)?;
    let enabled = file.on.enabled.as_ref().map(|enabled| enabled.value);
    Some(Rule { spec: TriggerSpec { name: name?, rule: true, ..spec }, enabled })
}

fn name_of(file: &RuleFile, called: Option<&Name>, cx: &mut Cx) -> Option<Name> {
    match (&file.name, called) {
        (Some(given), Some(called)) if given.value.0 != *called => {
            let message = format!("the rule was called `{called}`, not `{}`", given.value.0);
            let d = cx.error(codes::MISFIT, given.span.clone(), message);
            d.help("name it in one place, or the same in both");
            None
        }
        (Some(given), _) => Some(given.value.0.clone()),
        (None, Some(called)) => Some(called.clone()),
        (None, None) => {
            let start = file.place.span.start;
            let message = "the rule has no name".to_owned();
            cx.error(codes::MISSING_KEY, start..start + 1, message).help("add `name:`");
            None
        }
    }
}

/// A rule as its author would write it: [`parse_rule`] makes the same rule of it.
pub fn rule_document(spec: &TriggerSpec) -> Json {
    let mut on = Map::new();
    let mut put = |key: &str, value: Json| on.insert(key.to_owned(), value);
    if let What::Event { event, matches } = &spec.source {
        put("event", json!(event));
        if let Some(matches) = matches {
            put("match", json!(matches.source()));
        }
    }
    if !spec.params.source().is_null() {
        put("params", spec.params.source().clone());
    }
    if !spec.enabled {
        put("enabled", json!(false));
    }
    if spec.overlap != Overlap::Allow {
        put("overlap", json!(spec.overlap));
    }
    if let Some(late) = spec.max_lateness {
        put("max_lateness", json!(late.to_string()));
    }
    if let Some(priority) = spec.priority {
        put("priority", json!(priority));
    }
    if let Some(most) = spec.pause_after {
        put("on_failure", json!({ "pause_after": most }));
    }
    match spec.collect {
        Some(Collect { quiet: Some(quiet), within, .. }) => {
            let (quiet, within) = (quiet.to_string(), within.to_string());
            put("debounce", json!({ "quiet": quiet, "max_wait": within }));
        }
        Some(Collect { quiet: None, within, max }) => {
            put("batch", json!({ "max": max, "within": within.to_string() }));
        }
        None => {}
    }
    if spec.guard != lower::default_guard() {
        let mut guard = Map::new();
        if let Some((starts, within)) = spec.guard.starts {
            guard.insert("starts".into(), json!(starts));
            guard.insert("within".into(), json!(within.to_string()));
        }
        if let Some(most) = spec.guard.no_progress {
            guard.insert("no_progress".into(), json!(most));
        }
        put("guard", if guard.is_empty() { json!("off") } else { Json::Object(guard) });
    }
    json!({ "name": spec.name, "run": spec.workflow, "on": on })
}
