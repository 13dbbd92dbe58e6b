//! Checks across files: agents, their actions, other workflows.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;

use moa_core::agent::AgentSpec;
use moa_core::ids::Name;
use moa_core::schedule::{Calendars, DayRule};
use serde_json::Value as Json;

use crate::calls::certain_calls;
use crate::codes::{self, Code};
use crate::diagnostic::Diagnostic;
use crate::json_schema;
use crate::lower::upstream_of;
use crate::model::{Step, WorkflowFile};
use crate::params::check_against;
use crate::read::Cx;
use crate::scalar::{Short, Tmpl};
use crate::suggest::nearest;
use crate::workflow::{Workflow, WorkflowSummary};
use crate::yaml::{Data, Node};

/// What a workflow can refer to outside its file.
#[derive(Debug, Clone, Default)]
pub struct Project {
    /// The agents by id.
    pub agents: BTreeMap<Name, AgentSpec>,
    /// The workflows by id.
    pub workflows: BTreeMap<Name, WorkflowSummary>,
    /// The calendars by name: `calendars/NAME.ics`.
    pub calendars: Calendars,
    /// The channels that `notify` adds lines to; `None` = it isn't known which there are.
    pub channels: Option<BTreeSet<String>>,
}

/// Agents that are part of moa.
pub const BUILTIN_AGENTS: [&str; 5] = ["shell", "http", "notify", "noop", "youtube"];

/// Checks a workflow against the project: agents, actions and workflows that don't exist, params
/// that don't fit the action or the workflow called.
pub fn check_workflow(workflow: &Workflow, project: &Project) -> Vec<Diagnostic> {
    let mut cx = Cx::new(&workflow.source);
    check_file(&workflow.file, &workflow.id, project, &mut cx);
    cx.finish()
}

/// The same for a file that may have errors.
pub(crate) fn check_file(file: &WorkflowFile, id: &Name, project: &Project, cx: &mut Cx) {
    check_calendars(file, project, cx);
    check_upstream(file, id, project, cx);
    check_calls(file, id, project, cx);
    let mut lists: Vec<&[Step]> = vec![&file.steps];
    if let Some(handling) = &file.error_handling {
        lists.extend(handling.on_failure.as_deref());
        lists.extend(handling.finally.as_deref());
    }
    while let Some(steps) = lists.pop() {
        for step in steps {
            check_step(step, project, cx);
            let inner = [&step.then, &step.r#else, &step.parallel, &step.steps];
            lists.extend(inner.into_iter().filter_map(|list| list.as_deref()));
            lists.extend(step.compensate.as_ref().map(|undo| &undo.0[..]));
            for case in step.switch.iter().flat_map(|s| s.iter()) {
                lists.extend(case.then.as_deref());
                lists.extend(case.default.as_deref());
            }
        }
    }
}

/// Reports calendars that schedules use and that aren't there.
fn check_calendars(file: &WorkflowFile, project: &Project, cx: &mut Cx) {
    let forms = file.schedule.iter().flat_map(|forms| &forms.0);
    let long =
        forms.filter_map(|form| if let Short::Long(long) = form { Some(long) } else { None });
    let calendars = long.filter_map(|schedule| schedule.calendar.as_ref());
    for rule in calendars.flat_map(|c| [&c.include, &c.exclude]).flatten().flat_map(|m| &m.0) {
        let DayRule::Named(name) = &rule.value.0 else { continue };
        if project.calendars.contains_key(name) {
            continue;
        }
        let message = format!("there is no calendar `{name}`");
        let d = cx.error(codes::UNKNOWN_CALENDAR, rule.span.clone(), message);
        let words = ["weekdays", "weekends"].into_iter();
        match nearest(name.as_str(), words.chain(project.calendars.keys().map(Name::as_str))) {
            Some(near) => d.help(format!("did you mean `{near}`?")),
            None => d.help(format!("put it into calendars/{name}.ics")),
        };
    }
}

/// Reports workflows that are waited for and that aren't there, or that wait for this one.
fn check_upstream(file: &WorkflowFile, id: &Name, project: &Project, cx: &mut Cx) {
    for other in upstream_of(file) {
        let name = &other.value.0;
        if name != id && !project.workflows.contains_key(name) {
            unknown_workflow(name.as_str(), other.span.clone(), project, cx);
            continue;
        }
        let Some(way) = way(name, id, project, |other| &other.upstream) else { continue };
        let way: Vec<&str> = way.iter().map(Name::as_str).collect();
        let message = format!("the runs of `{id}` would come after themselves");
        let d = cx.error(codes::TRIGGER_CYCLE, other.span.clone(), message);
        d.cause(format!("{id} comes after {}", way.join(", which comes after ")));
        d.help(match name == id {
            true => "to repeat a workflow, write `schedule: {after: 10m}`",
            false => "take one of these out, or start one of them by a schedule alone",
        });
    }
}

/// Reports calls by which every run would start another one without end.
fn check_calls(file: &WorkflowFile, id: &Name, project: &Project, cx: &mut Cx) {
    for called in certain_calls(file) {
        let Ok(name) = Name::new(&called.value) else { continue };
        let Some(way) = way(&name, id, project, |other| &other.calls) else { continue };
        let way: Vec<&str> = way.iter().map(Name::as_str).collect();
        let message = format!("every run of `{id}` would start another one of it, without end");
        let d = cx.error(codes::CALL_CYCLE, called.span.clone(), message);
        d.cause(format!("{id} calls {}, each time", way.join(", which calls ")));
        d.help("put one of these calls behind a `condition`, or into a loop");
    }
}

/// How one workflow leads to another: the names from the first to the last.
fn way(
    from: &Name,
    to: &Name,
    project: &Project,
    next: impl Fn(&WorkflowSummary) -> &BTreeSet<Name>,
) -> Option<Vec<Name>> {
    let mut seen = BTreeSet::from([from.clone()]);
    let mut ways = VecDeque::from([vec![from.clone()]]);
    while let Some(way) = ways.pop_front() {
        let last = way.last()?;
        if last == to {
            return Some(way);
        }
        for name in project.workflows.get(last).into_iter().flat_map(&next) {
            if seen.insert(name.clone()) {
                ways.push_back([way.as_slice(), std::slice::from_ref(name)].concat());
            }
        }
    }
    None
}

pub(crate) fn unknown_workflow(name: &str, span: Range<usize>, project: &Project, cx: &mut Cx) {
    let d = cx.error(codes::UNKNOWN_WORKFLOW, span, format!("there is no workflow `{name}`"));
    match nearest(name, project.workflows.keys().map(Name::as_str)) {
        Some(near) => d.help(format!("did you mean `{near}`?")),
        None => d.help(format!("write it to workflows/{name}.yaml")),
    };
}

fn check_step(step: &Step, project: &Project, cx: &mut Cx) {
    if let Some(agent) = &step.agent {
        match project.agents.get(&agent.value.0) {
            Some(spec) => check_action(step, spec, cx),
            None if BUILTIN_AGENTS.contains(&agent.value.0.as_str()) => {}
            None => unknown_agent(agent.value.0.as_str(), agent.span.clone(), project, cx),
        }
    }
    check_channel(step, project, cx);
    for key in ["llm", "mcp", "mail", "git"] {
        let Some(span) = step.place.key(key) else { continue };
        if !project.agents.keys().any(|name| name.as_str() == key) {
            let message = format!("`{key}:` needs an agent named `{key}`");
            let d = cx.error(codes::UNKNOWN_AGENT, span, message);
            d.cause("this version of moa has none built in");
            d.help(format!("describe one in agents/{key}.yaml"));
        }
    }
    if let Some(called) = &step.workflow {
        check_child(step, &called.value, called.span.clone(), project, cx);
    }
}

/// Reports a notification channel that the settings don't name, where its name is written out.
fn check_channel(step: &Step, project: &Project, cx: &mut Cx) {
    let Some(channels) = &project.channels else { return };
    if project.agents.keys().any(|agent| agent.as_str() == "notify") {
        return;
    }
    let by_agent = step.agent.as_ref().is_some_and(|agent| agent.value.0.as_str() == "notify");
    let given = match by_agent {
        true => step.params.as_ref(),
        false => step.notify.as_ref(),
    };
    let Some(given) = given else { return };
    let node = match &given.node.data {
        Data::Text(_) if !by_agent => &given.node,
        _ => match given.node.get("channel") {
            Some(node) => node,
            None => return,
        },
    };
    let Data::Text(name) = &node.data else { return };
    if name.contains("${{") || channels.contains(name) {
        return;
    }
    let message = format!("there is no channel `{name}`");
    let d = cx.error(codes::UNKNOWN_CHANNEL, node.span.clone(), message);
    match nearest(name, channels.iter().map(String::as_str)) {
        Some(near) => d.help(format!("did you mean `{near}`?")),
        None => d.help(format!(
            "name it in moa.yaml: notify: {{channels: {{{name}: {{file: notifications/{name}.jsonl}}}}}}"
        )),
    };
}

fn unknown_agent(name: &str, span: Range<usize>, project: &Project, cx: &mut Cx) {
    let d = cx.error(codes::UNKNOWN_AGENT, span, format!("there is no agent `{name}`"));
    let known = project.agents.keys().map(Name::as_str).chain(BUILTIN_AGENTS);
    match nearest(name, known) {
        Some(near) => d.help(format!("did you mean `{near}`?")),
        None => d.help(format!("describe it in agents/{name}.yaml")),
    };
}

fn check_action(step: &Step, spec: &AgentSpec, cx: &mut Cx) {
    let Some(action) = &step.action else { return };
    if spec.actions.is_empty() {
        return;
    }
    let Some(declared) = spec.actions.get(&action.value) else {
        let message = format!("the agent `{}` has no action `{}`", spec.id, action.value);
        let d = cx.error(codes::UNKNOWN_ACTION, action.span.clone(), message);
        let names = spec.actions.keys().map(String::as_str);
        match nearest(&action.value, names.clone()) {
            Some(near) => d.help(format!("did you mean `{near}`?")),
            None => {
                let names: Vec<&str> = names.take(20).collect();
                d.help(format!("its actions are: {}", names.join(", ")))
            }
        };
        return;
    };
    let Some(schema) = &declared.params else { return };
    let Ok(validator) = json_schema::compile(schema) else { return };
    let empty = Json::Object(serde_json::Map::new());
    let (given, node) = match &step.params {
        Some(params) => (params.source(), Some(params)),
        None => (&empty, None),
    };
    for violation in json_schema::violations(&validator, given) {
        let at = node.map(|n| resolve(&n.node, &violation.pointer));
        // What a template becomes is known only when it is evaluated.
        if at.is_some_and(|node| has_template(node) && !evaluated_keys_known(node, &violation)) {
            continue;
        }
        let span = at.map_or(action.span.clone(), |node| node.span.clone());
        let message = format!("the params don't fit the action `{}`", action.value);
        let d = cx.error(codes::BAD_ACTION_PARAMS, span, message);
        d.cause(match violation.pointer.as_str() {
            "" => violation.message,
            pointer => format!("{}: {}", &pointer[1..], violation.message),
        });
    }
}

/// Whether the violation is about keys of a mapping that is written out.
fn evaluated_keys_known(node: &Node, violation: &json_schema::Violation) -> bool {
    violation.about_keys && matches!(node.data, Data::Map(_))
}

pub(crate) fn has_template(node: &Node) -> bool {
    match &node.data {
        Data::Text(text) => text.contains("${{"),
        Data::List(items) => items.iter().any(|n| has_template(n)),
        Data::Map(entries) => entries.iter().any(|(_, n)| has_template(n)),
        _ => false,
    }
}

/// The node that a JSON pointer names, as far as it can be followed.
fn resolve<'n>(root: &'n Node, pointer: &str) -> &'n Node {
    let mut node = root;
    for part in pointer.split('/').skip(1) {
        let part = part.replace("~1", "/").replace("~0", "~");
        let next = match &node.data {
            Data::Map(_) => node.get(&part).map(|n| &**n),
            Data::List(items) => part.parse().ok().and_then(|i: usize| items.get(i)).map(|n| &**n),
            _ => None,
        };
        match next {
            Some(next) => node = next,
            None => break,
        }
    }
    node
}

fn check_child(step: &Step, called: &str, span: Range<usize>, project: &Project, cx: &mut Cx) {
    let (name, version) = called.split_once('@').map_or((called, None), |(n, v)| (n, Some(v)));
    let found = project.workflows.iter().find(|(id, _)| id.as_str() == name);
    let Some((_, summary)) = found else {
        return unknown_workflow(name, span, project, cx);
    };
    // Other versions may be in the store; only the params of the one in the project are known.
    if version.is_some_and(|v| summary.version.as_deref() != Some(v)) {
        return;
    }
    check_child_params(step.params.as_ref(), summary, name, span, cx);
}

fn check_child_params(
    params: Option<&Tmpl>,
    summary: &WorkflowSummary,
    name: &str,
    span: Range<usize>,
    cx: &mut Cx,
) {
    let empty = serde_json::Map::new();
    let given = match params.map(Tmpl::source) {
        None => &empty,
        Some(Json::Object(map)) => map,
        // One expression gives all of them.
        Some(_) => return,
    };
    let Err(errors) = check_against(&summary.params, given) else { return };
    for error in errors {
        let node = params.and_then(|p| p.node.get(&error.name));
        if node.is_some_and(|node| has_template(node) && declared(summary, &error.name)) {
            continue;
        }
        let code: Code = codes::BAD_CHILD_PARAMS;
        let place = node.map_or(span.clone(), |node| node.span.clone());
        let message = format!("the params don't fit the workflow `{name}`");
        let d = cx.error(code, place, message);
        d.cause(error.message);
        d.help = error.help.filter(|help| !help.contains("--param"));
    }
}

fn declared(summary: &WorkflowSummary, name: &str) -> bool {
    summary.params.iter().any(|spec| spec.name == name)
}
