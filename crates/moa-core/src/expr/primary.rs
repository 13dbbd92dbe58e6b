//! Operands: literals, names, selections, calls, lists and maps.

use std::ops::Range;
use std::sync::Arc;

use super::Reference;
use super::code::Op;
use super::compile::Compiler;
use super::error::Error;
use super::functions::{self, Form, Function};
use super::lexer::Kind;
use super::suggest::nearest;
use super::value::Value;

/// CEL's reserved words. They are no names, but may be fields.
const RESERVED: [&str; 17] = [
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

/// Names of types, which a scope may hide.
pub(super) const TYPES: [&str; 13] = [
    "bool",
    "bytes",
    "double",
    "duration",
    "int",
    "list",
    "map",
    "null_type",
    "optional_type",
    "string",
    "timestamp",
    "type",
    "uint",
];

/// What a primary was, for what may follow it.
enum Primary {
    /// A free name: the index of its reference.
    Free(usize),
    Other,
}

impl<'s> Compiler<'s> {
    /// A primary with its selections, indices and calls. Leaves one value.
    pub fn member(&mut self, minus: Option<Range<usize>>) -> Result<(), Box<Error>> {
        let primary = self.primary(minus)?;
        let mut free = match primary {
            Primary::Free(reference) => Some(reference),
            Primary::Other => None,
        };
        loop {
            if self.at(".") {
                let dot = self.take()?.span;
                free = self.dotted(dot, free)?;
            } else if self.at("[") {
                let opener = self.take()?.span;
                let optional = self.accept("?")?;
                self.nested(Self::expression)?;
                let end = self.peek().span.end;
                self.close("]", &opener)?;
                let op = if optional { Op::IndexOptional } else { Op::Index };
                self.emit(op, opener.start..end);
                self.height -= 1;
                free = None;
            } else if self.at("{") && free.is_some() {
                let span = self.peek().span.clone();
                return Err(Error::new("messages of a named type do not exist here", span)
                    .hint("write a map: {\"key\": value}"));
            } else {
                return Ok(());
            }
        }
    }

    /// What follows a dot: a field, a method or a macro. The reference goes on with a field only.
    fn dotted(
        &mut self,
        dot: Range<usize>,
        free: Option<usize>,
    ) -> Result<Option<usize>, Box<Error>> {
        let optional = self.accept("?")?;
        let quoted = match &self.peek().kind {
            Kind::Quoted(name) => Some(name.clone()),
            _ => None,
        };
        let Some(name) = quoted.as_deref().or(self.at_ident()) else {
            return Err(self.after_dot(&dot));
        };
        let name: Arc<str> = name.into();
        let span = self.take()?.span;
        if self.at("(") && quoted.is_none() && !optional {
            self.method(&name, span, free)?;
            return Ok(None);
        }
        let field = self.field(&name);
        let op = if optional { Op::SelectOptional(field) } else { Op::Select(field) };
        self.emit(op, span.clone());
        if let Some(reference) = free.and_then(|i| self.code.references.get_mut(i)) {
            reference.path.push(name.as_ref().to_owned());
            reference.span.end = span.end;
        }
        Ok(free)
    }

    fn after_dot(&self, dot: &Range<usize>) -> Box<Error> {
        match &self.peek().kind {
            Kind::Str(key) => Error::new("expected a field name, found a string", dot.clone())
                .hint(format!("write [\"{key}\"]")),
            Kind::Int(n) => Error::new("expected a field name, found a number", dot.clone())
                .hint(format!("write [{n}]")),
            _ => self.unexpected("a field name"),
        }
    }

    fn primary(&mut self, minus: Option<Range<usize>>) -> Result<Primary, Box<Error>> {
        let start = minus.as_ref().map_or(self.peek().span.start, |m| m.start);
        let span = start..self.peek().span.end;
        let value = match self.peek().kind.clone() {
            Kind::Int(n) => self.int(n, minus.is_some(), span.clone())?,
            Kind::Double(n) => Value::Double(if minus.is_some() { -n } else { n }),
            Kind::Uint(n) => Value::Uint(n),
            Kind::Str(text) => Value::String(text),
            Kind::Bytes(bytes) => Value::Bytes(bytes),
            Kind::Ident => return self.name(false),
            Kind::Punct(".") => {
                self.take()?;
                if self.at_ident().is_none() {
                    return Err(self.unexpected("a name"));
                }
                return self.name(true);
            }
            Kind::Punct("(") => {
                let opener = self.take()?.span;
                self.nested(Self::expression)?;
                self.close(")", &opener)?;
                return Ok(Primary::Other);
            }
            Kind::Punct("[") => return self.list(),
            Kind::Punct("{") => return self.map(),
            _ => return Err(self.no_operand()),
        };
        self.take()?;
        self.constant(value, span);
        Ok(Primary::Other)
    }

    fn int(&self, n: u64, negative: bool, span: Range<usize>) -> Result<Value, Box<Error>> {
        let signed = if negative { 0i64.checked_sub_unsigned(n) } else { i64::try_from(n).ok() };
        signed.map(Value::Int).ok_or_else(|| {
            Error::new("this number does not fit an int", span)
                .hint("write a `u` behind it for an unsigned int")
        })
    }

    fn no_operand(&self) -> Box<Error> {
        let before = self.text(&self.last);
        let operator =
            !before.is_empty() && !before.starts_with(['(', '[', '{', ',']) && self.last.end > 0;
        if operator && self.peek().kind == Kind::End {
            return Error::new(
                format!("the operand after `{before}` is missing"),
                self.last.clone(),
            );
        }
        let error = self.unexpected("a value");
        match self.peek().kind {
            Kind::Punct(")" | "]" | "}") if operator => {
                error.hint(format!("the operand after `{before}` is missing"))
            }
            _ => error,
        }
    }

    /// A name, a keyword or a call without receiver.
    fn name(&mut self, absolute: bool) -> Result<Primary, Box<Error>> {
        let name = self.at_ident().unwrap_or_default();
        if name == "in" {
            return Err(self.no_operand());
        }
        let span = self.take()?.span;
        if self.at("(") {
            self.global(name, span)?;
            return Ok(Primary::Other);
        }
        let literal = match name {
            "true" => Some(Value::Bool(true)),
            "false" => Some(Value::Bool(false)),
            "null" => Some(Value::Null),
            _ => None,
        };
        if let Some(value) = literal {
            self.constant(value, span);
            return Ok(Primary::Other);
        }
        if RESERVED.contains(&name) {
            return Err(self.reserved(name, span));
        }
        self.height += 1;
        let variable = self.variables.iter().rfind(|(variable, _)| *variable == name);
        if let Some((_, push)) = variable.filter(|_| !absolute) {
            self.emit(*push, span);
            return Ok(Primary::Other);
        }
        let slot = match self.code.names.iter().position(|n| &**n == name) {
            Some(found) => found,
            None => {
                self.code.names.push(name.into());
                self.code.names.len() - 1
            }
        };
        self.emit(Op::Name(slot as u16), span.clone());
        if TYPES.contains(&name) && !self.at(".") && !self.at("[") {
            return Ok(Primary::Other);
        }
        self.code.references.push(Reference { path: vec![name.to_owned()], span });
        Ok(Primary::Free(self.code.references.len() - 1))
    }

    fn reserved(&self, name: &str, span: Range<usize>) -> Box<Error> {
        let error = Error::new(format!("`{name}` is a reserved word"), span);
        match name {
            "if" | "else" => error.hint("write condition ? this : that"),
            "for" | "while" | "loop" => error.hint("write list.map(x, …) or list.filter(x, …)"),
            _ => error
                .hint("a step of this name is reached as steps.NAME, a parameter as params.NAME"),
        }
    }

    /// The arguments of a call, in parentheses. Returns how many.
    pub fn arguments(&mut self) -> Result<u16, Box<Error>> {
        self.entries(")", false).map(|(count, _)| count)
    }

    /// What stands between brackets, up to the closing one: single values or pairs. Returns how
    /// many, and the number of the list of those written `?entry`.
    fn entries(&mut self, closer: &'static str, pairs: bool) -> Result<(u16, u16), Box<Error>> {
        let opener = self.take()?.span;
        let (mut count, mut flagged) = (0u16, Vec::new());
        while !self.at(closer) {
            if closer != ")" && self.accept("?")? {
                flagged.push(count);
            }
            self.nested(Self::expression)?;
            if pairs {
                if !self.accept(":")? {
                    if self.peek().kind == Kind::End {
                        self.close(closer, &opener)?;
                    }
                    return Err(self.unexpected("`:` and a value"));
                }
                self.nested(Self::expression)?;
            }
            count += 1;
            if !self.accept(",")? {
                break;
            }
        }
        self.close(closer, &opener)?;
        if flagged.is_empty() {
            return Ok((count, u16::MAX));
        }
        self.code.optional.push(flagged);
        Ok((count, self.code.optional.len() as u16 - 1))
    }

    fn list(&mut self) -> Result<Primary, Box<Error>> {
        let start = self.peek().span.start;
        let (count, flagged) = self.entries("]", false)?;
        self.emit(Op::List(count, flagged), start..self.last.end);
        self.height -= count;
        self.height += 1;
        Ok(Primary::Other)
    }

    fn map(&mut self) -> Result<Primary, Box<Error>> {
        let start = self.peek().span.start;
        let (count, flagged) = self.entries("}", true)?;
        self.emit(Op::Map(count, flagged), start..self.last.end);
        self.height -= count * 2;
        self.height += 1;
        Ok(Primary::Other)
    }
}

/// Calls.
impl Compiler<'_> {
    fn global(&mut self, name: &str, span: Range<usize>) -> Result<(), Box<Error>> {
        if name == "has" {
            return self.has();
        }
        let Some(function) = functions::find(name, Form::Free) else {
            return Err(unknown(name, name, span, Form::Free));
        };
        let count = self.arguments()?;
        self.call(function, count, span)
    }

    fn method(
        &mut self,
        name: &str,
        span: Range<usize>,
        free: Option<usize>,
    ) -> Result<(), Box<Error>> {
        let bind = name == "bind" && self.is_space("cel", free);
        let function = self.in_space(name, free);
        if bind || function.is_some() {
            // What stands before the dot is no value.
            self.retract();
            self.height -= 1;
            self.code.references.truncate(free.unwrap_or_default());
        }
        if bind {
            return self.bind(span);
        }
        if let Some(function) = function {
            let count = self.arguments()?;
            return self.call(function, count, span);
        }
        if self.macro_call(name, span.clone())? {
            return Ok(());
        }
        let Some(function) = functions::find(name, Form::Method) else {
            let space = free.and_then(|index| self.code.references[index].path.first());
            let space = space.filter(|space| functions::names_in_space(space).next().is_some());
            let written = format!("{}.{name}", space.map_or("", |space| space.as_str()));
            return Err(unknown(name, &written, span, Form::Method));
        };
        self.method_arguments(function, span)
    }

    fn method_arguments(
        &mut self,
        function: &'static Function,
        span: Range<usize>,
    ) -> Result<(), Box<Error>> {
        let before = self.code.constants.len();
        let start = self.here();
        let count = self.arguments()?;
        let literal = self.here() == start + 1 && self.code.constants.len() == before + 1;
        if function.name == "matches" && count == 1 && literal {
            return self.literal_pattern();
        }
        self.call(function, count + 1, span)
    }

    /// `math.abs(x)`: a function whose name has a dot, unless the scope's name is a loop variable.
    fn in_space(&self, name: &str, free: Option<usize>) -> Option<&'static Function> {
        let reference = self.code.references.get(free?)?;
        match reference.path.as_slice() {
            [space] => functions::find_in_space(space, name),
            _ => None,
        }
    }

    fn is_space(&self, space: &str, free: Option<usize>) -> bool {
        let reference = free.and_then(|index| self.code.references.get(index));
        reference.is_some_and(|reference| reference.path == [space])
    }

    fn call(
        &mut self,
        function: &'static Function,
        count: u16,
        span: Range<usize>,
    ) -> Result<(), Box<Error>> {
        let (min, max) = (u16::from(function.min), u16::from(function.max));
        if count < min || count > max {
            // Arguments in parentheses: a method's receiver is not one.
            let receiver = u16::from(function.form == Form::Method);
            let wanted = match (min - receiver, max - receiver) {
                (0, 0) => "no arguments".to_owned(),
                (1, 1) => "1 argument".to_owned(),
                (a, b) if a == b => format!("{a} arguments"),
                (a, b) if b > 100 => format!("at least {a}"),
                (a, b) => format!("{a} to {b} arguments"),
            };
            let name = function.name;
            let given = count.saturating_sub(receiver);
            return Err(Error::new(format!("`{name}` takes {wanted}, not {given}"), span));
        }
        self.emit(Op::Call(function, count), span);
        self.height -= count;
        self.height += 1;
        Ok(())
    }

    /// `x.matches("…")`: the pattern on the stack is compiled here, once.
    fn literal_pattern(&mut self) -> Result<(), Box<Error>> {
        let span = self.code.span(self.here() - 1);
        let Some(Value::String(pattern)) = self.code.constants.last().cloned() else {
            return Err(Error::new("a pattern is a string", span));
        };
        let compiled = functions::regex(&pattern).map_err(|(message, hint)| {
            let error = Error::new(message, span.clone());
            match hint {
                Some(hint) => error.hint(hint),
                None => error,
            }
        })?;
        self.code.constants.pop();
        self.retract();
        self.height -= 1;
        self.code.regexes.push(compiled);
        self.emit(Op::Matches((self.code.regexes.len() - 1) as u16), span);
        Ok(())
    }
}

/// The error that there is no such function. `written` is the name as it would be called.
fn unknown(name: &str, written: &str, span: Range<usize>, form: Form) -> Box<Error> {
    let error = Error::new(format!("no such function `{written}()`"), span);
    if let Some(hint) = foreign(name) {
        return error.hint(hint);
    }
    if let Some((space, name)) = written.split_once('.').filter(|(space, _)| !space.is_empty()) {
        let near = nearest(name, functions::names_in_space(space));
        return match near {
            Some(near) => error.hint(format!("did you mean `{space}.{near}()`?")),
            None => error,
        };
    }
    let other = if form == Form::Method { Form::Free } else { Form::Method };
    if functions::find(name, other).is_some() {
        return error.hint(match other {
            Form::Method => format!("write x.{name}(…)"),
            Form::Free => format!("write {name}(x)"),
        });
    }
    let dots = if form == Form::Method { "." } else { "" };
    match nearest(name, functions::names(form)) {
        Some(near) => error.hint(format!("did you mean `{dots}{near}()`?")),
        None => error,
    }
}

/// What functions of other languages are called here.
fn foreign(name: &str) -> Option<&'static str> {
    Some(match name {
        "len" | "length" | "count" => "write size(x)",
        "lower" | "toLowerCase" | "lowercase" => "write x.lowerAscii()",
        "upper" | "toUpperCase" | "uppercase" => "write x.upperAscii()",
        "includes" => "write x in list, or text.contains(x)",
        "any" | "some" => "write list.exists(x, …)",
        "every" => "write list.all(x, …)",
        "str" | "toString" => "write string(x)",
        "float" | "number" => "write double(x)",
        "min" => "write math.least(a, b)",
        "max" => "write math.greatest(a, b)",
        "abs" | "ceil" | "floor" | "round" => "write math.abs(x), math.round(x), …",
        "now" | "today" | "date" => {
            "expressions have no clock: use run.started_at or the slot of the schedule"
        }
        "success" | "failure" | "always" => "use `run_if: success | failure | always`",
        "keys" => "write map.map(key, key)",
        "not" => "write !(…)",
        "default" | "get" | "coalesce" => "write a.?b.orValue(c)",
        "and" | "or" => "write a && b, a || b",
        "reduce" | "fold" => "write list.sum(), or do it in a step",
        "random" | "uuid" => "expressions give the same result whenever they are evaluated",
        _ => return None,
    })
}
