//! From items to the plan.

use std::str::FromStr;

use moa_core::expr::Program;
use moa_core::ids::{Name, VersionHash};
use moa_core::limits::WHILE_ITERATIONS_MAX;
use moa_core::template::Template;
use moa_core::time::Span;
use moa_core::trigger::{OWN_EVENTS, is_own_event};
use moa_core::workflow::{Body, BodyIx, Need, OnTimeout, Plan, PlanStep, RunIf, StepKind};
use serde_json::{Map, Value as Json, json};

use super::header::{self, Header};
use super::{Flat, Form, Item, Opener, Order, committee};
use crate::codes;
use crate::hash::plan_hash;
use crate::model::{Collect, OnParentCancel, OnTimeoutText, Step};
use crate::read::{At, Cx, unknown_key};
use crate::scalar::{Expr, Short, Tmpl, name};
use crate::yaml::Data;

/// Makes the plan. What it can't make is reported, and stands for itself by something harmless.
pub(super) fn build(flat: &Flat, order: &Order, header: Header, id: &Name, cx: &mut Cx) -> Plan {
    let mut steps: Vec<(u32, PlanStep)> = Vec::with_capacity(flat.items.len());
    for (ix, item) in flat.items.iter().enumerate() {
        steps.push((order[ix], step(flat, order, item, cx)));
    }
    steps.sort_by_key(|(ix, _)| *ix);
    let file = flat.file;
    let text = |label: &Option<At<crate::scalar::Label>>| label.as_ref().map(|l| l.value.0.clone());
    let opened =
        |opener| flat.bodies.iter().position(|body| *body == opener).map(|body| body as BodyIx);
    let mut plan = Plan {
        workflow: id.clone(),
        hash: VersionHash([0; 32]),
        title: text(&file.name).unwrap_or_else(|| id.to_string()),
        version: text(&file.version),
        description: text(&file.description),
        params: header.params,
        vars: header.vars,
        priority: header.priority,
        concurrency: header.concurrency,
        fairness: header.fairness,
        timeout: file.timeout.as_ref().map(|t| t.value.0),
        steps: steps.into_iter().map(|(_, step)| step).collect(),
        bodies: bodies(flat, order),
        on_failure: opened(Opener::OnFailure),
        finally: opened(Opener::Finally),
        outputs: header::outputs(file.outputs.as_ref(), cx),
    };
    plan.hash = plan_hash(&plan);
    plan
}

fn bodies(flat: &Flat, order: &Order) -> Vec<Body> {
    let mut bodies: Vec<Body> = flat
        .bodies
        .iter()
        .map(|opener| Body {
            start: u32::MAX,
            count: 0,
            owner: match opener {
                Opener::Loop(item) | Opener::Undo(item) => Some(order[*item]),
                _ => None,
            },
        })
        .collect();
    for (item, ix) in flat.items.iter().zip(order) {
        let body = &mut bodies[item.body];
        body.start = body.start.min(*ix);
        body.count += 1;
    }
    bodies
}

fn step(flat: &Flat, order: &Order, item: &Item, cx: &mut Cx) -> PlanStep {
    let file = item.step;
    let defaults = flat.file.defaults.as_ref();
    let task = matches!(item.form, Form::Agent | Form::Short(_));
    let mut needs: Vec<Need> = item
        .needs
        .iter()
        .map(|need| Need { step: order[need.item], when: need.when.clone() })
        .collect();
    needs.sort_by_key(|need| need.step);
    let inherited = |own: &Option<At<crate::scalar::Duration>>,
                     shared: Option<&At<crate::scalar::Duration>>| {
        own.as_ref().or(shared.filter(|_| task)).map(|d| d.value.0)
    };
    PlanStep {
        id: item.id.clone(),
        body: item.body as BodyIx,
        parent: item.parent.map(|p| order[p]),
        branch: item.branch,
        needs,
        run_if: run_if(file.run_if.as_ref()),
        condition: match item.form {
            Form::If => None,
            _ => file.condition.as_ref().map(|c| c.program.clone()),
        },
        kind: kind(flat, item, cx),
        outputs: header::outputs(file.outputs.as_ref(), cx),
        retry: retry(flat, item, cx),
        timeout: inherited(&file.timeout, defaults.and_then(|d| d.timeout.as_ref())),
        queue_timeout: inherited(
            &file.queue_timeout,
            defaults.and_then(|d| d.queue_timeout.as_ref()),
        ),
        tolerate: file.r#continue.as_ref().is_some_and(|c| c.value) || is_member(flat, item),
        compensate: item.undo.map(|body| body as BodyIx),
        priority: file.priority.as_ref().map(|p| header::priority(p.value)),
        once: file.once.as_ref().is_some_and(|o| o.value),
        line: cx.line(file.place.span.start),
    }
}

fn retry(flat: &Flat, item: &Item, cx: &mut Cx) -> Option<moa_core::retry::RetryPolicy> {
    let own = item.step.retry.as_deref();
    match item.form {
        Form::Agent | Form::Short(_) => {
            let handling = flat.file.error_handling.as_ref().and_then(|e| e.retry.as_ref());
            let defaults = flat.file.defaults.as_ref().and_then(|d| d.retry.as_ref());
            header::retry_policy(&[handling, defaults, own], cx)
        }
        _ => header::retry_policy(&[own], cx),
    }
}

/// Whether the step votes in a committee: one that fails has not voted, and that is all.
fn is_member(flat: &Flat, item: &Item) -> bool {
    item.parent.is_some_and(|parent| flat.items[parent].form == Form::Committee)
}

fn run_if(expr: Option<&Expr>) -> RunIf {
    let Some(expr) = expr else { return RunIf::Success };
    match expr.program.source() {
        "success" => RunIf::Success,
        "always" => RunIf::Always,
        "failure" => RunIf::Failure,
        _ => RunIf::When(expr.program.clone()),
    }
}

fn kind(flat: &Flat, item: &Item, cx: &mut Cx) -> StepKind {
    let step = item.step;
    let kind = match item.form {
        Form::Agent => agent(flat, step, cx),
        Form::Short(key) => short(flat, step, key, cx),
        Form::Group => Some(StepKind::Group),
        Form::If => step.condition.as_ref().map(|c| StepKind::If {
            cases: vec![c.program.clone()],
            default: step.r#else.as_ref().map(|_| 1),
        }),
        Form::Switch => Some(switch(step, cx)),
        Form::Foreach => foreach(item, cx),
        Form::While(until) => repeat(item, until, cx),
        Form::Child => child(step, cx),
        Form::WaitFor => wait_for(step, cx),
        Form::Sleep => sleep(step, cx),
        Form::Emit => emit(step, cx),
        Form::Approve => approve(flat, step, cx),
        Form::Committee => committee::committee(flat, item, cx),
        Form::Broken => None,
    };
    kind.unwrap_or(StepKind::Group)
}

/// A template of JSON that was checked piece by piece.
fn compiled(json: &Json) -> Template {
    Template::compile(json, true).unwrap_or_default()
}

fn agent(flat: &Flat, step: &Step, cx: &mut Cx) -> Option<StepKind> {
    let action = step.action.as_ref()?;
    if action.value.contains("${{") || action.value.trim().is_empty() {
        let message = "an action is a plain text that is not empty".into();
        cx.error(codes::WRONG_VALUE, action.span.clone(), message);
    }
    if let Some(params) = step.params.as_ref().filter(|p| !p.source().is_object()) {
        only_mapping(params, cx);
    }
    Some(StepKind::Task {
        agent: step.agent.as_ref()?.value.0.clone(),
        action: action.value.clone(),
        params: step.params.as_ref().map(|p| p.template.clone()).unwrap_or_default(),
        env: env(flat, step, cx),
    })
}

/// Params are a mapping, or one expression that gives a mapping.
fn only_mapping(params: &Tmpl, cx: &mut Cx) {
    let whole = params.source().as_str().map(str::trim);
    if !whole.is_some_and(|t| t.starts_with("${{") && t.ends_with("}}")) {
        cx.wrong_type(&params.node, "a mapping of params").help("write `params: {name: value}`");
    }
}

/// Environment of a task: the defaults', and its own over it.
fn env(flat: &Flat, step: &Step, cx: &mut Cx) -> Template {
    let shared = flat.file.defaults.as_ref().and_then(|d| d.env.as_ref());
    let mut env = Map::new();
    for (name, value) in [shared, step.env.as_ref()].into_iter().flatten().flat_map(|e| &e.0) {
        if let Some(value) = env_entry(name, value, cx) {
            env.insert(name.value.clone(), value);
        }
    }
    if env.is_empty() { Template::default() } else { compiled(&Json::Object(env)) }
}

/// Checks one variable of an environment; its value as text.
pub(crate) fn env_entry(name: &At<String>, value: &Tmpl, cx: &mut Cx) -> Option<Json> {
    let text = &name.value;
    let legal = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !legal || text.starts_with("MOA_") {
        let message = format!("{text:?} can't be the name of an environment variable");
        let d = cx.error(codes::BAD_NAME, name.span.clone(), message);
        if legal {
            d.cause("names that begin with MOA_ are moa's own");
        } else {
            d.cause("letters, digits and `_` only, and no digit first");
        }
        return None;
    }
    match &value.node.data {
        Data::Text(_) => Some(value.source().clone()),
        Data::Bool(_) | Data::Number(_) => Some(cx.text(value.span()).into()),
        Data::Null => Some("".into()),
        _ => {
            cx.wrong_type(&value.node, "text");
            None
        }
    }
}

/// A step in a short form, as the agent that it stands for.
fn short(flat: &Flat, step: &Step, key: &str, cx: &mut Cx) -> Option<StepKind> {
    let (agent, action, params) = match key {
        "run" => ("shell", "run".to_owned(), script(step, cx)?),
        _ => {
            let value = match key {
                "http" => step.http.as_ref(),
                "llm" => step.llm.as_ref(),
                "mcp" => step.mcp.as_ref(),
                "mail" => step.mail.as_ref(),
                "git" => step.git.as_ref(),
                _ => step.notify.as_ref(),
            }?;
            let (action, params) = mapping(key, value, cx)?;
            (key, action, params)
        }
    };
    Some(StepKind::Task {
        agent: Name::new(agent).ok()?,
        action,
        params: compiled(&Json::Object(params)),
        env: env(flat, step, cx),
    })
}

fn script(step: &Step, cx: &mut Cx) -> Option<Map<String, Json>> {
    let mut params = Map::new();
    let text = match step.run.as_deref()? {
        Short::Short(script) => script,
        Short::Long(file) => &file.script,
    };
    if !text.source().is_string() {
        cx.wrong_type(&text.node, "a script (text)");
    }
    match step.run.as_deref()? {
        Short::Short(script) => {
            params.insert("script".into(), script.source().clone());
        }
        Short::Long(file) => {
            params.insert("script".into(), file.script.source().clone());
            if let Some(cwd) = &file.cwd {
                params.insert("cwd".into(), cwd.source().clone());
            }
        }
    }
    Some(params)
}

/// Action and params of a short form: `(key of its plain text, action when none is given)`.
fn mapping(key: &str, value: &Tmpl, cx: &mut Cx) -> Option<(String, Map<String, Json>)> {
    let (text_key, action, needed) = match key {
        "http" => ("url", "request", Some("url")),
        "llm" => ("prompt", "chat", Some("prompt")),
        "mcp" => ("tool", "call", Some("tool")),
        "mail" => ("to", "send", Some("to")),
        "git" => ("action", "run", None),
        _ => ("channel", "send", Some("channel")),
    };
    let mut params = match value.source() {
        Json::String(text) => Map::from_iter([(text_key.to_owned(), Json::String(text.clone()))]),
        Json::Object(map) => map.clone(),
        _ => {
            cx.wrong_type(&value.node, &format!("text or a mapping for `{key}`"));
            return None;
        }
    };
    let action = match params.remove("action") {
        Some(Json::String(action)) if !action.contains("${{") && !action.is_empty() => action,
        Some(_) => {
            let message = format!("the `action` of `{key}` is a plain text");
            cx.error(codes::WRONG_VALUE, value.span(), message);
            return None;
        }
        None => action.to_owned(),
    };
    let known: Option<&[&'static str]> = match key {
        "http" => Some(&["url", "method", "headers", "body"]),
        "notify" => Some(&["channel", "text", "message", "title", "level"]),
        _ => None,
    };
    if let (Some(known), Data::Map(entries)) = (known, &value.node.data) {
        let unknown = entries.iter().map(|(key, _)| key);
        let unknown = unknown.filter(|k| k.text != "action" && !known.contains(&k.text.as_str()));
        unknown.for_each(|found| unknown_key(cx, found, &format!("`{key}`"), known));
    }
    // With an action of its own the params are that action's business.
    if let Some(needed) =
        needed.filter(|n| value.node.get("action").is_none() && !params.contains_key(*n))
    {
        let message = format!("`{key}` needs the key `{needed}`");
        cx.error(codes::MISSING_KEY, value.span(), message).help(format!("add `{needed}:`"));
        return None;
    }
    Some((action, params))
}

fn switch(step: &Step, cx: &mut Cx) -> StepKind {
    let list = step.switch.as_deref().unwrap_or_default();
    let (mut cases, mut default) = (Vec::new(), None);
    for (ix, case) in list.iter().enumerate() {
        let span = case.place.span.clone();
        match (&case.case, &case.then, &case.default) {
            (Some(case), Some(_), None) => cases.push(case.program.clone()),
            (None, None, Some(_)) if ix + 1 == list.len() => default = Some(ix as u16),
            (None, None, Some(_)) => {
                let d = cx.error(codes::MISFIT, span, "`default` stands last in a switch".into());
                d.help("move it to the end");
            }
            _ => {
                let message = "a case has `case` and `then`, or `default` alone".into();
                cx.error(codes::MISFIT, span, message);
            }
        }
    }
    StepKind::If { cases, default }
}

fn foreach(item: &Item, cx: &mut Cx) -> Option<StepKind> {
    let (items, long) = match item.step.foreach.as_deref()? {
        Short::Short(items) => (items, None),
        Short::Long(long) => (&long.r#in, Some(long)),
    };
    let var = long.and_then(|l| l.r#as.as_ref());
    if let Some(var) = var {
        header::check_variable(var, cx);
    }
    let parallel = long.and_then(|l| l.max_parallel.as_ref());
    if let Some(zero) = parallel.filter(|p| p.value == 0) {
        let message = "no iteration could ever start".into();
        cx.error(codes::WRONG_VALUE, zero.span.clone(), message).help("write 1 or more");
    }
    let collect = long.and_then(|l| l.collect.as_ref()).map(|c| c.value);
    Some(StepKind::Foreach {
        items: items.0.program.clone(),
        var: var.map_or_else(|| "item".to_owned(), |v| v.value.clone()),
        max_parallel: parallel.map(|p| p.value),
        collect: collect != Some(Collect::None),
        body: item.opens? as BodyIx,
    })
}

fn repeat(item: &Item, until: bool, cx: &mut Cx) -> Option<StepKind> {
    let condition = if until { &item.step.until } else { &item.step.r#while };
    let most = item.step.max_iterations.as_ref()?;
    if !(1..=WHILE_ITERATIONS_MAX).contains(&most.value) {
        let expected = format!("expected a number from 1 to {WHILE_ITERATIONS_MAX}");
        let message = format!("{expected}, found {}", most.value);
        cx.error(codes::WRONG_VALUE, most.span.clone(), message);
    }
    Some(StepKind::While {
        condition: condition.as_ref()?.program.clone(),
        until,
        max_iterations: most.value,
        body: item.opens? as BodyIx,
    })
}

fn child(step: &Step, cx: &mut Cx) -> Option<StepKind> {
    let called = step.workflow.as_ref()?;
    let (workflow, version) = match called.value.split_once('@') {
        Some((workflow, version)) => (workflow, Some(version.to_owned())),
        None => (called.value.as_str(), None),
    };
    if version.as_deref() == Some("") {
        let message = "the version behind `@` is empty".into();
        cx.error(codes::BAD_NAME, called.span.clone(), message).help("write NAME or NAME@VERSION");
    }
    if let Some(params) = step.params.as_ref().filter(|p| !p.source().is_object()) {
        only_mapping(params, cx);
    }
    let cancel = step.on_parent_cancel.as_ref().map(|c| c.value);
    Some(StepKind::Child {
        workflow: name(workflow, called.span.clone(), cx)?,
        version,
        params: step.params.as_ref().map(|p| p.template.clone()).unwrap_or_default(),
        abandon: cancel == Some(OnParentCancel::Abandon),
    })
}

fn on_timeout(text: Option<&At<OnTimeoutText>>, timeout: bool, cx: &mut Cx) -> OnTimeout {
    let Some(text) = text else { return OnTimeout::Fail };
    if !timeout {
        let message = "`on_timeout` without `timeout`".into();
        let d = cx.error(codes::MISFIT, text.span.clone(), message);
        d.cause("without a timeout it waits as long as it takes").help("add `timeout:`");
    }
    match text.value {
        OnTimeoutText::Fail => OnTimeout::Fail,
        OnTimeoutText::Continue => OnTimeout::Continue,
        OnTimeoutText::Skip => OnTimeout::Skip,
        OnTimeoutText::Escalate => OnTimeout::Escalate,
    }
}

fn wait_for(step: &Step, cx: &mut Cx) -> Option<StepKind> {
    let wait = step.wait_for.as_deref()?;
    let timeout = wait.timeout.as_ref().map(|t| t.value.0);
    let on_timeout = on_timeout(wait.on_timeout.as_ref(), timeout.is_some(), cx);
    let matches: Option<Program> = wait.r#match.as_ref().map(|m| m.program.clone());
    match (&wait.signal, &wait.event) {
        (Some(signal), None) => {
            if !signal.source().is_string() {
                cx.wrong_type(&signal.node, "the name of a signal (text)");
            }
            let name = signal.template.clone();
            Some(StepKind::WaitSignal { name, matches, timeout, on_timeout })
        }
        (None, Some(event)) => {
            event_type(event, cx);
            let event = event.value.clone();
            Some(StepKind::WaitEvent { event, matches, timeout, on_timeout })
        }
        _ => {
            let message = "`wait_for` needs either `signal` or `event`".into();
            let d = cx.error(codes::MISFIT, wait.place.span.clone(), message);
            d.help("a signal is sent to this run; an event is emitted to whoever waits for it");
            None
        }
    }
}

fn event_type(event: &At<String>, cx: &mut Cx) {
    let text = &event.value;
    let legal = |c: char| c.is_ascii_alphanumeric() || "._-:/".contains(c);
    if text.is_empty() || text.len() > 256 || !text.chars().all(legal) {
        let message = format!("{text:?} can't be the type of an event");
        let d = cx.error(codes::BAD_NAME, event.span.clone(), message);
        d.cause("letters, digits and `.`, `_`, `-`, `:`, `/`, at most 256 of them");
        if text.contains("${{") {
            d.help("the type is fixed; put what varies into `data`");
        }
    }
}

fn sleep(step: &Step, cx: &mut Cx) -> Option<StepKind> {
    let until = step.sleep.as_ref().or(step.wait.as_ref())?;
    match until.source() {
        Json::String(text) if text.contains("${{") => {}
        Json::String(text) => {
            let instant = text.parse::<jiff::Timestamp>().is_ok();
            if !instant && Span::from_str(text).is_err() {
                let message = format!("{text:?} is neither a duration nor an instant");
                let d = cx.error(codes::NOT_A_DURATION, until.span(), message);
                d.help("write 30s, 5m, 2h, or an instant such as 2026-12-24T18:00:00Z");
            }
        }
        Json::Number(n) => {
            let message = format!("the duration {n} has no unit");
            let d = cx.error(codes::NOT_A_DURATION, until.span(), message);
            d.help(format!("write {n}s for seconds, {n}m for minutes"));
        }
        _ => {
            cx.wrong_type(&until.node, "a duration or an instant");
        }
    }
    Some(StepKind::Sleep { until: until.template.clone() })
}

fn emit(step: &Step, cx: &mut Cx) -> Option<StepKind> {
    let (event, data) = match step.emit.as_deref()? {
        Short::Short(event) => (event, None),
        Short::Long(long) => (&long.r#type, long.data.as_ref()),
    };
    event_type(event, cx);
    if is_own_event(&event.value) {
        let message = format!("events of the type {:?} are moa's own", event.value);
        let d = cx.error(codes::BAD_NAME, event.span.clone(), message);
        d.help(format!("no step emits types that begin with {}", OWN_EVENTS.join(" or ")));
    }
    Some(StepKind::Emit {
        event: event.value.clone(),
        data: data.map(|d| d.template.clone()).unwrap_or_default(),
    })
}

fn approve(flat: &Flat, step: &Step, cx: &mut Cx) -> Option<StepKind> {
    let file = match step.approve.as_deref()? {
        Short::Short(title) => {
            if !title.source().is_string() {
                cx.wrong_type(&title.node, "a title or a mapping");
            }
            let request = compiled(&json!({"title": title.source()}));
            let on_timeout = OnTimeout::Fail;
            return Some(StepKind::Approve { request, timeout: None, on_timeout });
        }
        Short::Long(file) => file,
    };
    let mut request = Map::new();
    let parts = [
        ("title", &file.title),
        ("description", &file.description),
        ("to", &file.to),
        ("form", &file.form),
    ];
    for (key, part) in parts {
        if let Some(part) = part {
            request.insert(key.into(), part.source().clone());
        }
    }
    if let Some(quorum) = &file.quorum {
        if quorum.value == 0 {
            let message = "a quorum is at least 1".into();
            cx.error(codes::WRONG_VALUE, quorum.span.clone(), message);
        }
        request.insert("quorum".into(), quorum.value.into());
    }
    if let Some(back) = &file.push_back_to {
        known_step(flat, &back.value, back, cx);
        request.insert("push_back_to".into(), back.value.clone().into());
    }
    if let Some(edits) = &file.allow_edit {
        for edit in edits {
            let id = edit.value.split('.').next().unwrap_or_default();
            known_step(flat, id, edit, cx);
        }
        request.insert("allow_edit".into(), edits.iter().map(|e| e.value.clone()).collect());
    }
    let timeout = file.timeout.as_ref().map(|t| t.value.0);
    let on_timeout = on_timeout(file.on_timeout.as_ref(), timeout.is_some(), cx);
    Some(StepKind::Approve { request: compiled(&Json::Object(request)), timeout, on_timeout })
}

fn known_step(flat: &Flat, id: &str, at: &At<String>, cx: &mut Cx) {
    if flat.items.iter().any(|item| item.id.as_str() == id) {
        return;
    }
    let near = cx.nearest(id, flat.items.iter().map(|i| i.id.as_str()));
    let d = cx.error(codes::UNKNOWN_STEP, at.span.clone(), format!("there is no step `{id}`"));
    if let Some(near) = near {
        d.help(format!("did you mean `{near}`?"));
    }
}
