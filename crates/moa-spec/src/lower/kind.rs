//! What a step does, and which of its keys go together.

use super::Form;
use crate::codes;
use crate::model::Step;
use crate::read::Cx;

/// The keys that tell what a step does, and the form that each means.
const FORMS: [(&str, Form<'static>); 20] = [
    ("agent", Form::Agent),
    ("run", Form::Short("run")),
    ("http", Form::Short("http")),
    ("llm", Form::Short("llm")),
    ("mcp", Form::Short("mcp")),
    ("mail", Form::Short("mail")),
    ("git", Form::Short("git")),
    ("notify", Form::Short("notify")),
    ("then", Form::If),
    ("switch", Form::Switch),
    ("foreach", Form::Foreach),
    ("while", Form::While(false)),
    ("until", Form::While(true)),
    ("workflow", Form::Child),
    ("wait_for", Form::WaitFor),
    ("sleep", Form::Sleep),
    ("wait", Form::Sleep),
    ("emit", Form::Emit),
    ("approve", Form::Approve),
    ("committee", Form::Committee),
];

/// Tells what a step does, and reports keys that don't go with that.
pub(super) fn form(step: &Step, cx: &mut Cx) -> Form<'static> {
    let has = |key| step.place.key(key).is_some();
    let found: Vec<_> = FORMS.iter().filter(|(key, _)| has(key)).collect();
    let form = match found[..] {
        [] if has("parallel") || (has("steps") && !has("max_iterations")) => Form::Group,
        [] => {
            no_kind(step, cx);
            return Form::Broken;
        }
        [(_, form)] => *form,
        [(first, _), (second, _), ..] => {
            let span = step.place.key(second).unwrap_or_default();
            let message = format!("a step does one thing; this one has `{first}` and `{second}`");
            let d = cx.error(codes::MISFIT, span, message);
            d.help("make two steps of it");
            return Form::Broken;
        }
    };
    if let Some(span) = step.place.key("session") {
        let message = "this version of moa does not keep sessions yet".into();
        cx.warn(codes::NOT_YET, span, message).help("each attempt begins anew");
    }
    misfits(step, form, cx);
    required(step, form, cx);
    form
}

fn no_kind(step: &Step, cx: &mut Cx) {
    let has = |key| step.place.key(key).is_some();
    let span = step.place.keys.first().map_or(step.place.span.clone(), |(_, span)| span.clone());
    let message = "this step doesn't say what to do".to_owned();
    let help = if has("action") {
        "`action` needs the `agent` that does it"
    } else if has("condition") || has("else") {
        "add `then:` with the steps to run when the condition is true"
    } else if has("max_iterations") {
        "add `while:` or `until:` with a condition"
    } else {
        "add `agent` and `action`, or one of: run, parallel, condition and then, switch, foreach, \
         while, until, workflow, wait_for, sleep, emit, approve, committee, notify"
    };
    // An unknown key has been reported, and was probably meant to say it.
    if step.place.unknown {
        return;
    }
    cx.error(codes::NO_KIND, span, message).help(help);
}

fn is_task(form: Form) -> bool {
    matches!(form, Form::Agent | Form::Short(_))
}

/// Whether a key means something in a step of that form.
fn fits(key: &str, form: Form) -> bool {
    match key {
        "action" | "agent" => form == Form::Agent,
        "params" => matches!(form, Form::Agent | Form::Child),
        "env" | "queue_timeout" | "once" | "session" | "priority" => is_task(form),
        "parallel" => is_task(form) || form == Form::Group,
        "condition" => form != Form::Switch,
        "else" => form == Form::If,
        "steps" => matches!(form, Form::Foreach | Form::While(_) | Form::Group),
        "max_iterations" => matches!(form, Form::While(_)),
        "on_parent_cancel" => form == Form::Child,
        "retry" => is_task(form) || form == Form::Child,
        "outputs" => !matches!(form, Form::Sleep | Form::Emit),
        "timeout" => is_task(form),
        "compensate" => is_task(form) || matches!(form, Form::Child | Form::Emit),
        _ => true,
    }
}

fn misfits(step: &Step, form: Form, cx: &mut Cx) {
    for (key, span) in &step.place.keys {
        if fits(key, form) {
            continue;
        }
        let what = describe(form);
        let message = format!("`{key}` means nothing in {what}");
        let d = cx.error(codes::MISFIT, span.clone(), message);
        let help = match (*key, form) {
            ("timeout", Form::Child) => "put it at the top of the workflow that is called",
            ("timeout", Form::WaitFor | Form::Approve) => {
                "put it inside, beside what is waited for"
            }
            ("timeout" | "retry", Form::Sleep | Form::Emit) => "take it out",
            ("timeout" | "retry", _) => "put it at the steps inside",
            ("params", Form::Short(_)) => "put them into the mapping of the short form",
            ("condition", Form::Switch) => "put the switch into `then:` of a step of its own",
            ("steps", _) if is_task(form) => "`steps` belongs to a loop or a group of its own",
            ("action", Form::Short(_)) => "put `action` into the mapping of the short form",
            _ => "take it out",
        };
        d.help(help);
    }
    if form == Form::Group && step.parallel.is_some() && step.steps.is_some() {
        let span = step.place.key("steps").unwrap_or_default();
        let message = "a step has either `parallel` or `steps`".into();
        cx.error(codes::MISFIT, span, message).help("make `steps` one of the branches: `- steps:`");
    }
}

/// A step of that form, in words.
pub(super) fn describe(form: Form) -> &'static str {
    match form {
        Form::Agent => "a step with an agent",
        Form::Short(_) => "a step with a short form",
        Form::Group => "a group of steps",
        Form::If => "a step with `then`",
        Form::Switch => "a step with `switch`",
        Form::Foreach => "a step with `foreach`",
        Form::While(false) => "a step with `while`",
        Form::While(true) => "a step with `until`",
        Form::Child => "a step with `workflow`",
        Form::WaitFor => "a step with `wait_for`",
        Form::Sleep => "a step with `sleep`",
        Form::Emit => "a step with `emit`",
        Form::Approve => "a step with `approve`",
        Form::Committee => "a step with `committee`",
        Form::Broken => "a step",
    }
}

/// Reports what a step of that form lacks.
fn required(step: &Step, form: Form, cx: &mut Cx) {
    let at = |key: &str| step.place.key(key).unwrap_or_default();
    let mut lacks = |key: &str, span, help: String| {
        let message = format!("{} needs `{key}`", describe(form));
        cx.error(codes::MISSING_KEY, span, message).help(help);
    };
    let has = |key: &str| step.place.key(key).is_some();
    match form {
        Form::Agent if !has("action") => {
            lacks("action", at("agent"), "add `action:` with what to ask of the agent".into());
        }
        Form::If if !has("condition") => {
            lacks("condition", at("then"), "add `condition:` with an expression".into());
        }
        Form::Foreach if !has("steps") => {
            lacks("steps", at("foreach"), "put what to repeat under `steps:`".into());
        }
        Form::While(until) => {
            let key = if until { "until" } else { "while" };
            if !has("steps") {
                lacks("steps", at(key), "put what to repeat under `steps:`".into());
            }
            if !has("max_iterations") {
                let message = format!("a step with `{key}` needs `max_iterations`");
                let d = cx.error(codes::NO_MAX_ITERATIONS, at(key), message);
                d.cause("without it a condition that never changes would repeat without end");
                d.help("add `max_iterations: 10`, or as many as make sense");
            }
        }
        _ => {}
    }
}
