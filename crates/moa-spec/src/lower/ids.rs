//! The ids of steps: those given, and those made for steps without.

use std::collections::HashMap;
use std::ops::Range;

use moa_core::ids::StepId;
use moa_core::limits::STEP_ID_LENGTH_MAX;

use super::{Flat, Form, Item};
use crate::codes;
use crate::read::{At, Cx};

/// Names that expressions use for other things, and words that CEL keeps for itself.
pub(crate) const RESERVED: [&str; 33] = [
    "index",
    "params",
    "vars",
    "steps",
    "run",
    "slot",
    "event",
    "env",
    "secrets",
    "output",
    "error",
    "attempt",
    "true",
    "false",
    "null",
    "in",
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

/// Gives every item its id.
pub(super) fn assign(flat: &mut Flat, cx: &mut Cx) {
    let mut taken: HashMap<String, Range<usize>> = HashMap::new();
    let mut open = Vec::new();
    for (ix, item) in flat.items.iter_mut().enumerate() {
        let given = item.step.id.as_ref().and_then(|id| explicit(id, &mut taken, cx));
        match given {
            Some(id) => item.id = id,
            None => open.push(ix),
        }
    }
    let mut next: HashMap<String, u32> = HashMap::new();
    for ix in open {
        let item = &flat.items[ix];
        let (base, numbered) = base(item);
        let counter = next.entry(base.clone()).or_insert(if numbered { 1 } else { 0 });
        let id = loop {
            let text = match *counter {
                0 => base.clone(),
                n => format!("{base}_{n}"),
            };
            *counter = if *counter == 0 { 2 } else { *counter + 1 };
            if !taken.contains_key(&text) {
                break text;
            }
        };
        taken.insert(id.clone(), item.span());
        // Invariant: `base` gives identifiers short enough for a number.
        flat.items[ix].id = StepId::new(&id).expect("made of identifier characters");
    }
}

fn explicit(
    id: &At<String>,
    taken: &mut HashMap<String, Range<usize>>,
    cx: &mut Cx,
) -> Option<StepId> {
    let text = id.value.as_str();
    let step_id = match StepId::new(text) {
        Ok(step_id) => step_id,
        Err(e) => {
            let message = format!("{text:?} can't be the id of a step");
            let d = cx.error(codes::BAD_STEP_ID, id.span.clone(), message);
            d.cause(format!("{e}; expressions use the id as a name"));
            d.help(format!("did you mean `{}`?", identifier(text)));
            return None;
        }
    };
    if RESERVED.contains(&text) {
        let message = format!("`{text}` can't be the id of a step");
        let d = cx.error(codes::BAD_STEP_ID, id.span.clone(), message);
        d.cause("the name means something else in expressions");
        d.help(format!("did you mean `{text}_step`?"));
        return None;
    }
    if let Some(first) = taken.get(text) {
        let line = cx.line(first.start);
        let message = format!("two steps have the id `{text}`");
        let d = cx.error(codes::DUPLICATE_STEP, id.span.clone(), message);
        d.cause(format!("the step on line {line} has it already"));
        d.help("ids are unique in the whole workflow, inside loops and branches too");
        return None;
    }
    taken.insert(text.to_owned(), id.span.clone());
    Some(step_id)
}

/// What the id of a step without one is made of, and whether it always gets a number.
fn base(item: &Item) -> (String, bool) {
    let numbered = match item.form {
        Form::Agent => {
            let action = item.step.action.as_ref().map_or("step", |a| a.value.as_str());
            let base = identifier(action);
            let reserved = RESERVED.contains(&base.as_str());
            return (base, reserved);
        }
        Form::Short("run") => "run",
        Form::Short(key) => return (key.to_owned(), false),
        Form::Group if item.step.steps.is_some() => "group",
        Form::Group => "parallel",
        Form::If => "if",
        Form::Switch => "switch",
        Form::Foreach => "foreach",
        Form::While(false) => "while",
        Form::While(true) => "until",
        Form::Child => "workflow",
        Form::WaitFor => "wait_for",
        Form::Sleep => "sleep",
        Form::Emit => "emit",
        Form::Approve => "approve",
        Form::Committee => "committee",
        Form::Broken => "step",
    };
    (numbered.to_owned(), true)
}

/// The nearest step id to a text.
fn identifier(text: &str) -> String {
    let mut id = String::new();
    for c in text.chars().take(STEP_ID_LENGTH_MAX - 8) {
        match c.to_ascii_lowercase() {
            c if c.is_ascii_lowercase() || c == '_' || c.is_ascii_digit() => id.push(c),
            _ if id.ends_with('_') => {}
            _ => id.push('_'),
        }
    }
    let id = id.trim_end_matches('_');
    let id = if text.starts_with('_') { id } else { id.trim_start_matches('_') };
    match id.chars().next() {
        None => "step".into(),
        Some(c) if c.is_ascii_digit() => format!("_{id}"),
        Some(_) => id.into(),
    }
}
