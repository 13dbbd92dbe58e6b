//! Why an evaluation failed, kept small until somebody reads it.
//!
//! `&&`, `||`, `all` and `exists` may drop an error, a million times in one evaluation; so text and
//! suggestions are made only of the one that gets out.

use std::fmt::Write as _;

use super::budget::Exhausted;
use super::code::Code;
use super::error::Error;
use super::lexer::ident_length;
use super::operand::Operand;
use super::suggest::nearest;
use super::{Scope, eval};

/// A failure, and the operation that failed.
#[derive(Debug, Clone)]
pub(super) struct Fault<'a> {
    /// Index into `Code::ops`; set by the loop that runs them.
    pub at: Option<usize>,
    pub kind: Kind<'a>,
}

#[derive(Debug, Clone)]
pub(super) enum Kind<'a> {
    /// Never absorbed.
    Exhausted(Exhausted),
    /// There is no such free name: an index into `Code::names`.
    Name(u16),
    /// A map without the key, or something that is no map at all.
    Field(Operand<'a>, Operand<'a>),
    /// A list is shorter.
    Position(i128, usize),
    /// Something else stands where a bool is needed, by this operator.
    NotBool(&'static str, &'static str),
    /// Something else is the result of a condition.
    Condition(&'static str),
    /// An operator that these types do not have.
    Types(&'static str, &'static str, &'static str),
    /// Anything else: message and hint.
    Other(Box<(String, Option<String>)>),
}

impl<'a> Fault<'a> {
    pub fn of(kind: Kind<'a>) -> Self {
        Self { at: None, kind }
    }

    pub fn plain(message: impl Into<String>) -> Self {
        Self::of(Kind::Other(Box::new((message.into(), None))))
    }

    pub fn hinted(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::of(Kind::Other(Box::new((message.into(), Some(hint.into())))))
    }

    /// The whole expression should be a condition, and is not.
    pub fn not_a_condition(value: &Operand<'a>) -> Self {
        Self::of(Kind::Condition(value.described()))
    }

    /// Adds what to do about it.
    pub fn set_hint(&mut self, hint: &str) {
        if let Kind::Other(texts) = &mut self.kind {
            texts.1 = Some(hint.to_owned());
        }
    }

    /// Whether the budget is used up, which nothing may absorb.
    pub fn is_fatal(&self) -> bool {
        matches!(self.kind, Kind::Exhausted(_))
    }

    /// The error for people.
    pub fn into_error(self, code: &Code, scope: &dyn Scope) -> Error {
        let whole = 0..code.source.len();
        let span = self.at.map_or(whole, |at| code.span(at));
        let (message, hint) = match self.kind {
            Kind::Exhausted(what) => (what.message(), Some(what.hint().to_owned())),
            Kind::Name(index) => {
                let name = code.names.get(usize::from(index)).map_or("", |n| n);
                let hint = name_hint(name, &code.source, span.clone(), scope);
                (format!("no such name `{name}`"), hint)
            }
            Kind::Field(of, key) => field_error(&of, &key, &code.source, span.clone()),
            Kind::Position(index, len) => {
                let items = if len == 1 { "item" } else { "items" };
                let message =
                    format!("index {index} is outside of the list, which has {len} {items}");
                let hint = (index < 0).then(|| "the last item is list[size(list) - 1]".to_owned());
                (message, hint)
            }
            Kind::NotBool(operator, found) => (
                format!("`{operator}` needs true or false, not {found}"),
                bool_hint(found).map(str::to_owned),
            ),
            Kind::Condition(found) => (
                format!("a condition gives true or false, not {found}"),
                bool_hint(found).map(str::to_owned),
            ),
            Kind::Types(operator, a, b) => types_error(operator, a, b),
            Kind::Other(texts) => *texts,
        };
        Error::quoting(message, span, hint)
    }
}

impl From<Exhausted> for Fault<'_> {
    fn from(what: Exhausted) -> Self {
        Self::of(Kind::Exhausted(what))
    }
}

/// A name with hyphens reads as a subtraction: the whole of it, with underscores, if that is what
/// stands around `span`.
fn hyphenated(source: &str, span: std::ops::Range<usize>) -> Option<String> {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    let bytes = source.as_bytes();
    let start = bytes[..span.start].iter().rposition(|b| !word(*b)).map_or(0, |at| at + 1);
    let end = span.end + bytes[span.end..].iter().take_while(|b| word(**b)).count();
    let whole = source[start..end].trim_matches('-');
    let is_name = whole.contains('-')
        && whole.split('-').all(|part| !part.is_empty() && ident_length(part) == part.len());
    is_name.then(|| whole.to_owned())
}

fn name_hint(
    name: &str,
    source: &str,
    span: std::ops::Range<usize>,
    scope: &dyn Scope,
) -> Option<String> {
    if let Some(whole) = hyphenated(source, span) {
        let own = whole.replace('-', "_");
        return Some(format!(
            "`{whole}` is a subtraction: names have no hyphens. Did you mean `{own}`?"
        ));
    }
    let literal = match name.to_ascii_lowercase().as_str() {
        "true" | "yes" => Some("true"),
        "false" | "no" => Some("false"),
        "null" | "none" | "nil" | "undefined" => Some("null"),
        _ => None,
    };
    if let Some(literal) = literal {
        return Some(format!("write `{literal}`"));
    }
    let names = scope.names();
    nearest(name, names.iter().map(String::as_str)).map(|near| format!("did you mean `{near}`?"))
}

fn field_error(
    of: &Operand<'_>,
    key: &Operand<'_>,
    source: &str,
    span: std::ops::Range<usize>,
) -> (String, Option<String>) {
    let shown = shown_key(key);
    if !of.is_map() {
        let described = of.described();
        let hint = match of {
            Operand::Null => Some("test before: a != null && a.b …".to_owned()),
            _ if of.is_list() => {
                Some("select from one item: list[0], or list.map(x, …)".to_owned())
            }
            _ => None,
        };
        return (format!("{described} has no field {shown}"), hint);
    }
    let keys: Vec<Operand<'_>> = of.items().into_iter().flatten().take(512).collect();
    let names = || keys.iter().filter_map(Operand::as_str);
    let typed = key.as_str().unwrap_or_default();
    let hint = if let Some(whole) = hyphenated(source, span) {
        Some(format!("`{whole}` is a subtraction: write [\"{whole}\"]"))
    } else if let Some(near) = nearest(typed, names()) {
        Some(format!("did you mean `{near}`?"))
    } else if keys.is_empty() {
        Some("the map is empty".to_owned())
    } else {
        Some(listed(names()))
    };
    (format!("no such key {shown}"), hint)
}

fn shown_key(key: &Operand<'_>) -> String {
    match key {
        Operand::Int(n) => n.to_string(),
        Operand::Uint(n) => n.to_string(),
        Operand::Bool(b) => b.to_string(),
        other => {
            let text: String = other.as_str().unwrap_or_default().chars().take(64).collect();
            format!("`{text}`")
        }
    }
}

fn listed<'n>(names: impl Iterator<Item = &'n str>) -> String {
    let mut out = String::from("there are: ");
    for (i, name) in names.enumerate() {
        let separator = if i == 0 { "" } else { ", " };
        if i == 8 || out.len() > 200 {
            out.push_str(", …");
            break;
        }
        // Writing to a string cannot fail.
        let _ = write!(out, "{separator}{}", name.chars().take(32).collect::<String>());
    }
    out
}

pub(super) fn bool_hint(found: &str) -> Option<&'static str> {
    Some(match found {
        "a string" => "compare it: text != \"\"",
        "an int" | "a uint" | "a double" | "a number" => "compare it: n != 0",
        "null" => "compare it: a != null",
        "a list" | "a map" => "compare its size: size(a) > 0",
        _ => return None,
    })
}

/// An operator that doesn't take these: message and hint.
pub(super) fn types_error(operator: &str, a: &str, b: &str) -> (String, Option<String>) {
    let message = format!("`{operator}` does not take {a} and {b}");
    let has = |x: &str| a == x || b == x;
    let number = |x: &str| matches!(x, "an int" | "a uint" | "a double" | "a number");
    let hint = if operator == "in" {
        Some(match b {
            "a string" => "write text.contains(part)".to_owned(),
            _ => "a list or a map stands to the right of `in`".to_owned(),
        })
    } else if operator == "%" && has("a double") {
        Some("`%` takes ints: write int(…) around a double".to_owned())
    } else if has("an int") && has("a double") {
        Some("write double(…) around the int".to_owned())
    } else if number(a) && number(b) {
        Some("write int(…) or double(…) around one".to_owned())
    } else if operator == "+" && has("a string") && !has("null") {
        Some("write string(…) around the other".to_owned())
    } else if has("a string") && (number(a) || number(b)) {
        Some("write int(…) or double(…) around the string".to_owned())
    } else if has("a string") && (has("a timestamp") || has("a duration")) {
        Some("write timestamp(…) or duration(…) around the string".to_owned())
    } else if has("null") {
        Some("test before: a != null && …".to_owned())
    } else {
        None
    };
    (message, hint)
}

/// The failure of a function on these arguments.
pub(super) fn mismatch<'a>(cx: &eval::Context<'a, '_>, args: &[Operand<'a>]) -> Fault<'a> {
    let Some(function) = cx.function else {
        return Fault::plain("these types do not fit");
    };
    let given: Vec<&str> = args.iter().map(Operand::described).collect();
    let given = if given.is_empty() { "nothing".to_owned() } else { given.join(", ") };
    Fault::hinted(
        format!("`{}` does not take {given}", function.name),
        format!("it takes {}", function.takes),
    )
}
