//! Whether an expression can succeed at all, by the types of what it uses.
//!
//! The code is gone through once, from its beginning to its end, with types on the stack in place of
//! values: jumps lead forward only, but for loops, whose bodies are looked at once. An operation is
//! reported when it fails for all values that its operands may have. Where a type isn't known, it may
//! be anything, so nothing is reported that could succeed.
//!
//! Whether an operation is reached is another matter: behind `&&`, `||`, `?` and in loops it may not
//! be, or its error may not count. Then the misfit isn't certain.

use super::Error;
use super::code::{Binary, Code, Loop, Op, UNHANDLED};
use super::fault::{bool_hint, types_error};
use super::functions::Function;
use super::kinds::{Kinds, Type, Types, Wanted};
use super::suggest::nearest;

/// Why an expression fails whenever it gets there.
#[derive(Debug, Clone, PartialEq)]
pub struct Misfit {
    /// What is wrong.
    pub error: Error,
    /// Whether the expression as a whole always fails; else it fails when it gets there, and nothing
    /// makes up for that.
    pub certain: bool,
}

/// The first thing that can't succeed.
pub(super) fn misfit(code: &Code, types: &dyn Types, wanted: Wanted) -> Option<Misfit> {
    let asks_types = code.ops.iter().any(|op| matches!(op, Op::Call(f, _) if f.name == "type"));
    let mut walk = Walk {
        code,
        types,
        stack: Vec::new(),
        loops: Vec::new(),
        joins: Vec::new(),
        unsure_before: 0,
        found: None,
    };
    walk.all();
    let value = walk.stack.pop().unwrap_or(Type::any());
    walk.result(&value, wanted);
    // Who asks for types knows better what is reached.
    walk.found.filter(|found| found.certain || !asks_types)
}

struct Walk<'a> {
    code: &'a Code,
    types: &'a dyn Types,
    stack: Vec<Type>,
    /// The loops around, with what their variables are.
    loops: Vec<Frame>,
    /// Values of branches that go on at an operation behind.
    joins: Vec<(u16, Type)>,
    /// Operations before this one may not be reached.
    unsure_before: u16,
    found: Option<Misfit>,
}

struct Frame {
    kind: Loop,
    of: Type,
    variable: Type,
    second: Type,
}

/// The message and what to do.
type Why = (String, Option<String>);

impl Walk<'_> {
    fn all(&mut self) {
        for (at, op) in self.code.ops.iter().enumerate() {
            self.join(at);
            match self.step(at, *op) {
                Ok(Some(value)) => self.stack.push(value),
                Ok(None) => {}
                Err(why) => {
                    self.report(at, why);
                    // Whatever it is, one misfit is enough.
                    self.stack.push(Type::any());
                }
            }
        }
        self.join(self.code.ops.len());
    }

    fn report(&mut self, at: usize, (message, hint): Why) {
        let caught = self.code.caught.get(at).is_some_and(|handler| *handler != UNHANDLED);
        let certain = !caught && at >= usize::from(self.unsure_before);
        if self.found.as_ref().is_some_and(|found| found.certain || !certain) {
            return;
        }
        let error = Error::quoting(message, self.code.span(at), hint);
        self.found = Some(Misfit { error, certain });
    }

    fn result(&mut self, value: &Type, wanted: Wanted) {
        let needed = match wanted {
            Wanted::Anything => return,
            Wanted::Condition => Kinds::BOOL,
            Wanted::Items => Kinds::LIST.or(Kinds::MAP),
        };
        if value.kinds.may_be(needed) || self.found.as_ref().is_some_and(|found| found.certain) {
            return;
        }
        let found = value.kinds.described();
        let (message, hint) = match wanted {
            Wanted::Items => {
                (format!("a list or a map is needed here, not {found}"), loop_hint(value.kinds))
            }
            _ => (format!("a condition gives true or false, not {found}"), bool_hint(&found)),
        };
        let span = 0..self.code.source.len();
        let error = Error::quoting(message, span, hint.map(str::to_owned));
        self.found = Some(Misfit { error, certain: true });
    }

    /// Adds what other branches leave here.
    fn join(&mut self, at: usize) {
        let here = |to: &u16| usize::from(*to) == at;
        if !self.joins.iter().any(|(to, _)| here(to)) {
            return;
        }
        let mut value = self.pop();
        for (_, other) in self.joins.extract_if(.., |(to, _)| here(to)) {
            value = value.or(other);
        }
        self.stack.push(value);
    }

    fn pop(&mut self) -> Type {
        self.stack.pop().unwrap_or(Type::any())
    }

    fn unsure_until(&mut self, end: u16) {
        self.unsure_before = self.unsure_before.max(end);
    }

    /// What an operation leaves on the stack.
    fn step(&mut self, at: usize, op: Op) -> Result<Option<Type>, Why> {
        let value = match op {
            Op::Constant(index) => Type::of_value(&self.code.constants[usize::from(index)]),
            Op::Name(index) => self.types.lookup(&self.code.names[usize::from(index)]),
            Op::Variable(index) => self.variable(index, |frame| &frame.variable),
            Op::Second(index) => self.variable(index, |frame| &frame.second),
            Op::Select(field) => {
                let of = self.pop();
                self.select(&of, field)?
            }
            Op::SelectOptional(_) => {
                let of = self.pop();
                container(&of, Kinds::MAP.or(Kinds::OPTIONAL), "field")?;
                Type::of(Kinds::OPTIONAL)
            }
            Op::Has(_) => {
                let of = self.pop();
                container(&of, Kinds::MAP.or(Kinds::OPTIONAL), "field")?;
                Type::bool()
            }
            Op::Index | Op::IndexOptional => {
                let (key, of) = (self.pop(), self.pop());
                index(&of, &key, matches!(op, Op::IndexOptional))?
            }
            Op::Not => condition(&self.pop(), "!")?,
            Op::Negate => negate(&self.pop())?,
            Op::Binary(binary) => {
                let (b, a) = (self.pop(), self.pop());
                operation(binary, &a, &b)?
            }
            Op::And(_) | Op::Or(_) => return Ok(None),
            Op::AndEnd => self.both("&&")?,
            Op::OrEnd => self.both("||")?,
            Op::Branch(otherwise) => return Ok(self.branch(at, otherwise)),
            Op::Jump(to) => {
                let value = self.pop();
                self.joins.push((to, value));
                return Ok(None);
            }
            Op::List(count, flagged) => self.list(count, flagged),
            Op::Map(count, _) => {
                let rest = self.stack.len().saturating_sub(2 * usize::from(count));
                self.stack.truncate(rest);
                Type::of(Kinds::MAP)
            }
            Op::Call(function, count) => self.call(function, count)?,
            Op::Matches(_) => {
                let of = self.pop();
                argument("matches", "a string", Kinds::STRING, &of)?;
                Type::bool()
            }
            Op::Loop(kind, two) => return Ok(self.enter(at, kind, two)),
            Op::Next(_) => return Ok(None),
            Op::SkipUnless(_) => {
                if let Err(why) = condition(&self.pop(), "map") {
                    self.report(at, why);
                }
                return Ok(None);
            }
            Op::Step { .. } => self.leave()?,
        };
        Ok(Some(value))
    }

    fn variable(&self, index: u16, which: impl Fn(&Frame) -> &Type) -> Type {
        self.loops.get(usize::from(index)).map_or(Type::any(), |frame| which(frame).clone())
    }

    fn select(&self, of: &Type, field: u16) -> Result<Type, Why> {
        let name = &self.code.fields[usize::from(field)];
        if of.kinds.may_be(Kinds::OPTIONAL) {
            return Ok(Type::any());
        }
        if !of.kinds.may_be(Kinds::MAP) {
            let found = of.kinds.described();
            let hint = (of.kinds == Kinds::LIST)
                .then(|| "select from one item: list[0], or list.map(x, …)".to_owned());
            return Err((format!("{found} has no field `{name}`"), hint));
        }
        // Who asks whether it is there, knows that it may not be.
        let asked = |op: &Op| matches!(op, Op::Has(f) | Op::SelectOptional(f) if *f == field);
        if of.lacks(name) && !self.code.ops.iter().any(asked) {
            return Err(no_key(of, name));
        }
        Ok(of.field(name))
    }

    /// The value of `a && b`. Either decides alone, so a bool on one side may be enough.
    fn both(&mut self, operator: &str) -> Result<Type, Why> {
        let (b, a) = (self.pop(), self.pop());
        if !a.kinds.may_be(Kinds::BOOL) && !b.kinds.may_be(Kinds::BOOL) {
            return condition(&a, operator);
        }
        Ok(Type::bool())
    }

    fn branch(&mut self, at: usize, otherwise: u16) -> Option<Type> {
        let of = self.pop();
        let at_end = usize::from(otherwise).checked_sub(1).and_then(|at| self.code.ops.get(at));
        if let Err(why) = condition(&of, "?") {
            self.report(at, why);
        }
        if let Some(Op::Jump(end)) = at_end {
            self.unsure_until(*end);
        }
        None
    }

    fn list(&mut self, count: u16, flagged: u16) -> Type {
        let rest = self.stack.len().saturating_sub(usize::from(count));
        let entries = self.stack.split_off(rest);
        let optional = self.code.optional.get(usize::from(flagged));
        if entries.is_empty() || optional.is_some_and(|flagged| !flagged.is_empty()) {
            return Type::of(Kinds::LIST);
        }
        Type::list(entries.into_iter().fold(Type::never(), Type::or))
    }

    fn call(&mut self, function: &Function, count: u16) -> Result<Type, Why> {
        let rest = self.stack.len().saturating_sub(usize::from(count));
        let arguments = self.stack.split_off(rest);
        let (Some(first), Some((taken, given))) = (arguments.first(), signature(function.name))
        else {
            return Ok(Type::any());
        };
        argument(function.name, function.takes, taken, first)?;
        Ok(Type::of(given))
    }

    fn enter(&mut self, at: usize, kind: Loop, two: bool) -> Option<Type> {
        let of = self.pop();
        let needed = match kind {
            Loop::Bind => Kinds::ANY,
            Loop::OptMap | Loop::OptFlatMap => Kinds::OPTIONAL,
            Loop::SortBy => Kinds::LIST,
            _ => Kinds::LIST.or(Kinds::MAP),
        };
        if !of.kinds.may_be(needed) {
            let found = of.kinds.described();
            let hint = loop_hint(of.kinds).map(str::to_owned);
            self.report(at, (format!("{found} has no items to loop over"), hint));
        }
        if kind != Loop::Bind
            && let Some(Op::Next(end)) = self.code.ops.get(at + 1)
        {
            self.unsure_until(*end);
        }
        let is_list = of.kinds == Kinds::LIST;
        let (variable, second) = match (kind, two, is_list) {
            (Loop::Bind, ..) => (of.clone(), Type::any()),
            (_, false, true) => (of.items(), Type::any()),
            (_, true, true) => (Type::int(), of.items()),
            _ => (Type::any(), Type::any()),
        };
        self.loops.push(Frame { kind, of, variable, second });
        None
    }

    /// The value of the loop, when its body's is on the stack.
    fn leave(&mut self) -> Result<Type, Why> {
        let body = self.pop();
        let Some(Frame { kind, of, .. }) = self.loops.pop() else { return Ok(Type::any()) };
        Ok(match kind {
            Loop::All => condition(&body, "all")?,
            Loop::Exists => condition(&body, "exists")?,
            Loop::ExistsOne => condition(&body, "exists_one")?,
            Loop::Filter => {
                condition(&body, "filter")?;
                if of.kinds == Kinds::LIST { of } else { Type::of(Kinds::LIST) }
            }
            Loop::SortBy if of.kinds == Kinds::LIST => of,
            Loop::Map | Loop::TransformList => Type::list(body),
            Loop::SortBy => Type::of(Kinds::LIST),
            Loop::TransformMap | Loop::TransformMapEntry => Type::of(Kinds::MAP),
            Loop::Bind => body,
            Loop::OptMap | Loop::OptFlatMap => Type::of(Kinds::OPTIONAL),
        })
    }
}

fn loop_hint(kinds: Kinds) -> Option<&'static str> {
    (kinds == Kinds::INT || kinds == Kinds::NUMBER)
        .then_some("lists.range(n) is the list of the numbers from 0")
}

fn no_key(of: &Type, name: &str) -> Why {
    let fields = of.fields.as_ref();
    let names = || fields.iter().flat_map(|fields| fields.known.keys()).map(String::as_str);
    let hint = match nearest(name, names()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => {
            let shown: Vec<&str> = names().take(12).collect();
            format!("there are: {}", shown.join(", "))
        }
    };
    (format!("no such key `{name}`"), Some(hint))
}

/// Whether something can be selected from a value.
fn container(of: &Type, kinds: Kinds, what: &str) -> Result<(), Why> {
    if of.kinds.may_be(kinds) {
        return Ok(());
    }
    Err((format!("{} has no {what}", of.kinds.described()), None))
}

fn index(of: &Type, key: &Type, optional: bool) -> Result<Type, Why> {
    container(of, Kinds::MAP.or(Kinds::LIST).or(Kinds::OPTIONAL), "index")?;
    if of.kinds == Kinds::LIST && !key.kinds.may_be(Kinds::NUMBER) {
        let message = format!("a list has no index of {}", key.kinds.described());
        return Err((message, Some("items of a list are numbered from 0".to_owned())));
    }
    Ok(match optional {
        true => Type::of(Kinds::OPTIONAL),
        false if of.kinds == Kinds::LIST => of.items(),
        false => Type::any(),
    })
}

fn condition(of: &Type, operator: &str) -> Result<Type, Why> {
    if of.kinds.may_be(Kinds::BOOL) {
        return Ok(Type::bool());
    }
    let found = of.kinds.described();
    let hint = bool_hint(&found).map(str::to_owned);
    Err((format!("`{operator}` needs true or false, not {found}"), hint))
}

fn negate(of: &Type) -> Result<Type, Why> {
    let kinds = of.kinds.and(Kinds::INT.or(Kinds::DOUBLE).or(Kinds::DURATION));
    if kinds.is_empty() {
        return Err((format!("`-` does not take {}", of.kinds.described()), None));
    }
    Ok(Type::of(kinds))
}

fn operation(op: Binary, a: &Type, b: &Type) -> Result<Type, Why> {
    let mut kinds = Kinds::NONE;
    for one in a.kinds.each() {
        for other in b.kinds.each() {
            kinds = kinds.or(operated(op, one, other).unwrap_or(kinds));
        }
    }
    if kinds.is_empty() {
        return Err(types_error(op.symbol(), &a.kinds.described(), &b.kinds.described()));
    }
    Ok(Type::of(kinds))
}

/// What an operator makes of two kinds; `None` if it doesn't take them.
fn operated(op: Binary, a: Kinds, b: Kinds) -> Option<Kinds> {
    const TIMES: Kinds = Kinds::TIMESTAMP.or(Kinds::DURATION);
    let ordered = Kinds::BOOL.or(Kinds::STRING).or(Kinds::BYTES).or(TIMES);
    let numbers = Kinds::NUMBER.may_be(a) && Kinds::NUMBER.may_be(b);
    let taken = match op {
        Binary::Equal | Binary::Unequal => true,
        Binary::Less | Binary::LessEqual | Binary::Greater | Binary::GreaterEqual => {
            numbers || a == b && ordered.may_be(a)
        }
        Binary::In => Kinds::LIST.or(Kinds::MAP).may_be(b),
        Binary::Remainder => return (a == b && numbers && a != Kinds::DOUBLE).then_some(a),
        Binary::Multiply | Binary::Divide => return (a == b && numbers).then_some(a),
        Binary::Add | Binary::Subtract if numbers => return (a == b).then_some(a),
        Binary::Add if a == b => {
            let joined = Kinds::STRING.or(Kinds::BYTES).or(Kinds::LIST).or(Kinds::DURATION);
            return joined.may_be(a).then_some(a);
        }
        Binary::Add => {
            return (TIMES.may_be(a) && TIMES.may_be(b)).then_some(Kinds::TIMESTAMP);
        }
        Binary::Subtract => {
            return match (a, b) {
                (Kinds::TIMESTAMP, Kinds::DURATION) => Some(Kinds::TIMESTAMP),
                (a, b) if a == b && TIMES.may_be(a) => Some(Kinds::DURATION),
                _ => None,
            };
        }
    };
    taken.then_some(Kinds::BOOL)
}

fn argument(name: &str, takes: &str, taken: Kinds, given: &Type) -> Result<(), Why> {
    if given.kinds.may_be(taken) {
        return Ok(());
    }
    let message = format!("`{name}` does not take {}", given.kinds.described());
    Err((message, Some(format!("it takes {takes}"))))
}

/// What a function takes first, and what it gives. `None` = nothing is known.
fn signature(name: &str) -> Option<(Kinds, Kinds)> {
    const TIMES: Kinds = Kinds::TIMESTAMP.or(Kinds::DURATION);
    const SIZED: Kinds = Kinds::STRING.or(Kinds::BYTES).or(Kinds::LIST).or(Kinds::MAP);
    Some(match name {
        "size" => (SIZED, Kinds::INT),
        "contains" | "startsWith" | "endsWith" | "matches" => (Kinds::STRING, Kinds::BOOL),
        "lowerAscii" | "upperAscii" | "trim" | "charAt" | "substring" | "replace" => {
            (Kinds::STRING, Kinds::STRING)
        }
        "indexOf" | "lastIndexOf" => (Kinds::STRING, Kinds::INT),
        "split" => (Kinds::STRING, Kinds::LIST),
        "join" => (Kinds::LIST, Kinds::STRING),
        "distinct" | "flatten" | "slice" | "sort" => (Kinds::LIST, Kinds::LIST),
        "sum" | "first" | "last" => (Kinds::LIST, Kinds::ANY),
        "getFullYear" | "getMonth" | "getDate" | "getHours" | "getMinutes" | "getSeconds" => {
            (TIMES, Kinds::INT)
        }
        "int" => (Kinds::ANY, Kinds::INT),
        "uint" => (Kinds::ANY, Kinds::UINT),
        "double" => (Kinds::ANY, Kinds::DOUBLE),
        "string" => (Kinds::ANY, Kinds::STRING),
        "bool" => (Kinds::ANY, Kinds::BOOL),
        "bytes" => (Kinds::ANY, Kinds::BYTES),
        "timestamp" => (Kinds::ANY, Kinds::TIMESTAMP),
        "duration" => (Kinds::ANY, Kinds::DURATION),
        "type" => (Kinds::ANY, Kinds::TYPE),
        "hasValue" => (Kinds::ANY, Kinds::BOOL),
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
