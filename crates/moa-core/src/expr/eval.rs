//! The machine that runs code: a loop, a stack of values, a stack of loops.

use std::cell::OnceCell;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value as Json;

use super::budget::{Budget, Exhausted};
use super::code::{Binary, Code, Op, UNHANDLED};
use super::error::Error;
pub(super) use super::fault::Fault;
use super::fault::Kind;
use super::functions::Function;
use super::loops::Frame;
use super::operand::{Built, Operand, Size, Text, measure_held};
use super::table::{Key, Map, Probe, Table};
use super::value::Value;
use super::{Scope, compare, number, temporal};
use crate::limits::{EXPRESSION_ALLOC_BYTES_MAX, OUTPUT_DEPTH_MAX};

/// Free names already looked up.
pub(super) type Slots = [OnceCell<Option<Value>>];

/// Bytes that one value takes in a list that is being built.
const OPERAND_BYTES: u64 = size_of::<Operand<'_>>() as u64;

/// Runs the code and hands its value to `finish`, which takes it out of the evaluation.
pub(super) fn run<'a, T>(
    code: &'a Code,
    scope: &'a dyn Scope,
    slots: &'a Slots,
    budget: &mut Budget,
    finish: impl FnOnce(Operand<'a>, &mut Context<'a, '_>) -> Result<T, Fault<'a>>,
) -> Result<T, Error> {
    let cx = Context { code, slots, budget, sizes: BTreeMap::new(), function: None };
    let mut machine = Machine { cx, scope, stack: Vec::with_capacity(8), loops: Vec::new() };
    let result = machine.run().and_then(|value| finish(value, &mut machine.cx));
    result.map_err(|fault| fault.into_error(code, scope))
}

/// What functions may use: the budget, and making values within it.
pub(super) struct Context<'a, 'b> {
    code: &'a Code,
    slots: &'a Slots,
    pub budget: &'b mut Budget,
    /// Sizes of values of the scope by address: they stay in place for `'a`.
    sizes: BTreeMap<usize, Size>,
    /// The function being called, for its errors.
    pub function: Option<&'static Function>,
}

impl<'a> Context<'a, '_> {
    /// Charges work that takes time in proportion to so many bytes.
    pub fn scan(&mut self, bytes: usize) -> Result<(), Fault<'a>> {
        Ok(self.budget.steps(bytes as u64 / 128)?)
    }

    /// Charges memory.
    pub fn allocate(&mut self, bytes: u64) -> Result<(), Fault<'a>> {
        Ok(self.budget.bytes(bytes)?)
    }

    /// A string that the expression made. Charge large ones before making them, too.
    pub fn string(&mut self, text: impl Into<Arc<str>>) -> Result<Operand<'a>, Fault<'a>> {
        let text = text.into();
        self.allocate(text.len() as u64 + 16)?;
        Ok(Operand::Str(Text::Made(text)))
    }

    pub fn bytes(&mut self, bytes: impl Into<Arc<[u8]>>) -> Result<Operand<'a>, Fault<'a>> {
        let bytes = bytes.into();
        self.allocate(bytes.len() as u64 + 16)?;
        Ok(Operand::Bytes(bytes))
    }

    /// A list that the expression made.
    pub fn list(&mut self, items: Vec<Operand<'a>>) -> Result<Operand<'a>, Fault<'a>> {
        self.allocate(OPERAND_BYTES * items.len() as u64 + 16)?;
        let size = self.sum(items.iter(), 0)?;
        Ok(Operand::List(Arc::new(Built { content: items, size })))
    }

    /// A map that the expression made, of entries whose keys must differ.
    pub fn map(&mut self, entries: Vec<(Key, Operand<'a>)>) -> Result<Operand<'a>, Fault<'a>> {
        let keys: usize = entries
            .iter()
            .map(|(key, _)| match key {
                Key::String(s) => s.len(),
                _ => 8,
            })
            .sum();
        self.allocate(2 * OPERAND_BYTES * entries.len() as u64 + keys as u64 + 16)?;
        self.budget.steps(entries.len() as u64)?;
        let size = self.sum(entries.iter().map(|(_, value)| value), keys as u64)?;
        match Table::new(entries) {
            Ok(content) => Ok(Operand::Map(Arc::new(Built { content, size }))),
            Err(at) => Err(Fault::plain(format!("entry {} of the map repeats a key", at + 1))),
        }
    }

    fn sum<'v>(
        &mut self,
        values: impl Iterator<Item = &'v Operand<'a>>,
        keys: u64,
    ) -> Result<Size, Fault<'a>>
    where
        'a: 'v,
    {
        let mut sum = Size { bytes: 16 + keys, depth: 0 };
        for value in values {
            let size = value.size(self)?;
            sum.bytes = sum.bytes.saturating_add(size.bytes);
            sum.depth = sum.depth.max(size.depth + 1);
        }
        if sum.bytes > EXPRESSION_ALLOC_BYTES_MAX {
            return Err(Exhausted::Bytes.into());
        }
        if sum.depth as usize > OUTPUT_DEPTH_MAX {
            return Err(Exhausted::Depth.into());
        }
        Ok(sum)
    }

    /// The size of a list or map of the scope. Measured once each.
    pub fn measure(&mut self, value: &Operand<'a>) -> Result<Size, Fault<'a>> {
        let address = match value {
            Operand::Json(json) => std::ptr::from_ref::<Json>(json).addr(),
            Operand::HeldList(items) => items.as_ptr().addr(),
            Operand::HeldMap(map) => std::ptr::from_ref::<Map>(map).addr(),
            _ => return Ok(Size::default()),
        };
        if let Some(known) = self.sizes.get(&address) {
            return Ok(*known);
        }
        let measured = measure_held(value, OUTPUT_DEPTH_MAX + 2);
        let (size, nodes) = measured.ok_or(Exhausted::Depth)?;
        self.budget.steps(nodes / 16)?;
        self.sizes.insert(address, size);
        Ok(size)
    }

    /// The shared JSON value of the scope that this one is the whole of.
    pub fn shared(&self, json: &Json) -> Option<Arc<Json>> {
        let same = |value: &Value| match value {
            Value::Json(arc) if std::ptr::eq(&**arc, json) => Some(arc.clone()),
            _ => None,
        };
        self.slots.iter().filter_map(|slot| slot.get()?.as_ref()).find_map(|value| match value {
            Value::Map(map) => map.own.iter().find_map(|(_, value)| same(value)),
            value => same(value),
        })
    }

    /// The failure that the function called does not take these arguments.
    pub fn mismatch(&self, args: &[Operand<'a>]) -> Fault<'a> {
        super::fault::mismatch(self, args)
    }
}

pub(super) struct Machine<'a, 'b> {
    pub cx: Context<'a, 'b>,
    scope: &'a dyn Scope,
    pub stack: Vec<Operand<'a>>,
    pub loops: Vec<Frame<'a>>,
}

impl<'a> Machine<'a, '_> {
    fn run(&mut self) -> Result<Operand<'a>, Fault<'a>> {
        let code = self.cx.code;
        let mut at = 0;
        while let Some(op) = code.ops.get(at) {
            match self.step(*op) {
                Ok(None) => at += 1,
                Ok(Some(target)) => at = usize::from(target),
                Err(mut fault) => {
                    fault.at.get_or_insert(at);
                    let caught = code.caught.get(at).copied().unwrap_or(UNHANDLED);
                    let Some(handler) = code.handlers.get(usize::from(caught)) else {
                        return Err(fault);
                    };
                    if fault.is_fatal() {
                        return Err(fault);
                    }
                    self.stack.truncate(usize::from(handler.height));
                    self.loops.truncate(usize::from(handler.loops));
                    self.stack.push(Operand::Fault(Box::new(fault)));
                    at = usize::from(handler.target);
                }
            }
        }
        self.pop()
    }

    // Invariant: the compiler keeps count of the stack, so it is never empty where a value is
    // taken; the error is there because an index out of bounds would take the process down.
    pub fn pop(&mut self) -> Result<Operand<'a>, Fault<'a>> {
        self.stack.pop().ok_or_else(|| Fault::plain("the expression was compiled wrongly"))
    }

    fn pop_many(&mut self, count: u16) -> Result<Vec<Operand<'a>>, Fault<'a>> {
        let base = self.stack.len().checked_sub(usize::from(count));
        let base = base.ok_or_else(|| Fault::plain("the expression was compiled wrongly"))?;
        Ok(self.stack.split_off(base))
    }

    /// Runs one operation; answers where to go on when that is not the next one.
    fn step(&mut self, op: Op) -> Result<Option<u16>, Fault<'a>> {
        self.cx.budget.steps(1)?;
        let value = match op {
            Op::Constant(index) => Operand::of(&self.cx.code.constants[usize::from(index)]),
            Op::Name(index) => self.name(index)?,
            Op::Variable(index) => self.loops[usize::from(index)].variable.clone(),
            Op::Second(index) => self.loops[usize::from(index)].second.clone(),
            Op::Select(field) => {
                let of = self.pop()?;
                self.select(of, field)?
            }
            Op::SelectOptional(field) => {
                let of = self.pop()?;
                let key = self.field(field);
                optional_entry(of, &key)?
            }
            Op::Has(field) => {
                let of = self.pop()?;
                self.has(of, field)?
            }
            Op::Index => {
                let (key, of) = (self.pop()?, self.pop()?);
                self.scan_text(&key)?;
                index(of, key)?
            }
            Op::IndexOptional => {
                let (key, of) = (self.pop()?, self.pop()?);
                self.scan_text(&key)?;
                optional_entry(of, &key)?
            }
            Op::Not => match self.pop()? {
                Operand::Bool(b) => Operand::Bool(!b),
                other => return Err(not_bool("!", &other)),
            },
            Op::Negate => negate(self.pop()?)?,
            Op::Binary(op) => {
                let (b, a) = (self.pop()?, self.pop()?);
                self.binary(op, a, b)?
            }
            Op::And(target) => return Ok(self.left(false, target)),
            Op::Or(target) => return Ok(self.left(true, target)),
            Op::AndEnd => self.right(false, "&&")?,
            Op::OrEnd => self.right(true, "||")?,
            Op::Branch(target) => match self.pop()? {
                Operand::Bool(true) => return Ok(None),
                Operand::Bool(false) => return Ok(Some(target)),
                other => return Err(not_bool("?", &other)),
            },
            Op::Jump(target) => return Ok(Some(target)),
            Op::List(count, flagged) => self.list(count, flagged)?,
            Op::Map(count, flagged) => self.map(count, flagged)?,
            Op::Call(function, count) => self.call(function, count)?,
            Op::Matches(regex) => self.matches(regex)?,
            Op::Loop(kind, two) => {
                let of = self.pop()?;
                self.loops.push(Frame::enter(kind, two, of)?);
                return Ok(None);
            }
            Op::Next(end) => return self.next(end),
            Op::SkipUnless(next) => match self.pop()? {
                Operand::Bool(true) => return Ok(None),
                Operand::Bool(false) => return Ok(Some(next)),
                other => return Err(not_bool("map", &other)),
            },
            Op::Step { next, end } => return self.body_done(next, end),
        };
        self.stack.push(value);
        Ok(None)
    }

    fn name(&mut self, index: u16) -> Result<Operand<'a>, Fault<'a>> {
        let name = &self.cx.code.names[usize::from(index)];
        let slot = self.cx.slots[usize::from(index)].get_or_init(|| self.scope.lookup(name));
        match slot {
            Some(value) => Ok(Operand::of(value)),
            None => match super::primary::TYPES.iter().find(|t| **t == &**name) {
                Some(name) => Ok(Operand::Type(name)),
                None => Err(Fault::of(Kind::Name(index))),
            },
        }
    }

    fn field(&self, field: u16) -> Operand<'a> {
        Operand::Str(Text::Borrowed(&self.cx.code.fields[usize::from(field)]))
    }

    fn select(&self, of: Operand<'a>, field: u16) -> Result<Operand<'a>, Fault<'a>> {
        let name: &'a str = &self.cx.code.fields[usize::from(field)];
        if let Operand::Optional(inner) = &of {
            return match inner {
                Some(inner) => optional_entry(inner.as_ref().clone(), &self.field(field)),
                None => Ok(Operand::Optional(None)),
            };
        }
        match of.get(Probe::String(name)) {
            Some(value) => Ok(value),
            None => Err(Fault::of(Kind::Field(of, self.field(field)))),
        }
    }

    fn has(&self, of: Operand<'a>, field: u16) -> Result<Operand<'a>, Fault<'a>> {
        let name = &self.cx.code.fields[usize::from(field)];
        match &of {
            Operand::Optional(None) => Ok(Operand::Bool(false)),
            Operand::Optional(Some(inner)) => self.has(inner.as_ref().clone(), field),
            _ if of.is_map() => Ok(Operand::Bool(of.get(Probe::String(name)).is_some())),
            _ => Err(Fault::of(Kind::Field(of, self.field(field)))),
        }
    }

    /// Charges looking at the whole of a text, to hash or to compare it.
    fn scan_text(&mut self, value: &Operand<'a>) -> Result<(), Fault<'a>> {
        let bytes = match value {
            Operand::Str(text) => text.as_str().len(),
            Operand::Bytes(bytes) => bytes.len(),
            _ => return Ok(()),
        };
        self.cx.scan(bytes)
    }

    fn binary(
        &mut self,
        op: Binary,
        a: Operand<'a>,
        b: Operand<'a>,
    ) -> Result<Operand<'a>, Fault<'a>> {
        self.scan_text(&a)?;
        let types = || Fault::of(Kind::Types(op.symbol(), a.described(), b.described()));
        let ordered = |accepted: fn(Ordering) -> bool| match compare::order(&a, &b) {
            Ok(order) => Ok(Operand::Bool(order.is_some_and(accepted))),
            Err(()) => Err(types()),
        };
        match op {
            Binary::Equal => Ok(Operand::Bool(compare::equal(&a, &b, self.cx.budget)?)),
            Binary::Unequal => Ok(Operand::Bool(!compare::equal(&a, &b, self.cx.budget)?)),
            Binary::Less => ordered(Ordering::is_lt),
            Binary::LessEqual => ordered(Ordering::is_le),
            Binary::Greater => ordered(Ordering::is_gt),
            Binary::GreaterEqual => ordered(Ordering::is_ge),
            Binary::In => self.is_in(&a, &b)?.map(Operand::Bool).ok_or_else(types),
            _ => match number::arithmetic(op, &a, &b) {
                Ok(result) => Ok(result),
                Err(number::Failure::Overflow) => {
                    Err(Fault::plain(format!("the result does not fit {}", a.described())))
                }
                Err(number::Failure::DivisionByZero) => Err(Fault::plain("division by zero")),
                Err(number::Failure::Types) => {
                    let types = types();
                    self.combine(op, a, b)?.ok_or(types)
                }
            },
        }
    }

    fn is_in(&mut self, a: &Operand<'a>, b: &Operand<'a>) -> Result<Option<bool>, Fault<'a>> {
        if b.is_map() {
            return Ok(Some(a.as_probe().is_some_and(|key| b.get(key).is_some())));
        }
        let Some(items) = b.items() else {
            return Ok(None);
        };
        for item in items {
            if compare::equal(a, &item, self.cx.budget)? {
                return Ok(Some(true));
            }
        }
        Ok(Some(false))
    }

    /// `+` and `-` of what is no number; `None` when the types have none.
    fn combine(
        &mut self,
        op: Binary,
        a: Operand<'a>,
        b: Operand<'a>,
    ) -> Result<Option<Operand<'a>>, Fault<'a>> {
        use Operand::{Bytes, Duration, Str, Timestamp};
        let time = match (op, &a, &b) {
            (Binary::Add, Duration(a), Duration(b)) => temporal::add(*a, *b).map(Duration),
            (Binary::Add, Timestamp(t), Duration(d)) | (Binary::Add, Duration(d), Timestamp(t)) => {
                temporal::shift(*t, *d).map(Timestamp)
            }
            (Binary::Subtract, Duration(a), Duration(b)) => {
                temporal::subtract(*a, *b).map(Duration)
            }
            (Binary::Subtract, Timestamp(t), Duration(d)) => {
                temporal::negate(*d).and_then(|d| temporal::shift(*t, d)).map(Timestamp)
            }
            (Binary::Subtract, Timestamp(a), Timestamp(b)) => {
                temporal::between(*a, *b).map(Duration)
            }
            (Binary::Add, Str(a), Str(b)) => {
                let (a, b) = (a.as_str(), b.as_str());
                self.cx.allocate(a.len() as u64 + b.len() as u64)?;
                return self.cx.string([a, b].concat()).map(Some);
            }
            (Binary::Add, Bytes(a), Bytes(b)) => {
                self.cx.allocate(a.len() as u64 + b.len() as u64)?;
                return self.cx.bytes([&**a, &**b].concat()).map(Some);
            }
            (Binary::Add, a, b) if a.is_list() && b.is_list() => {
                return self.concatenate(a.clone(), b.clone()).map(Some);
            }
            _ => return Ok(None),
        };
        time.map(Some).ok_or_else(|| Fault::plain("the result is out of the range of time"))
    }

    fn concatenate(&mut self, a: Operand<'a>, b: Operand<'a>) -> Result<Operand<'a>, Fault<'a>> {
        let len = a.len().unwrap_or_default() + b.len().unwrap_or_default();
        self.cx.allocate(OPERAND_BYTES * len as u64)?;
        self.cx.budget.steps(len as u64 / 8)?;
        let mut items = a.into_items().unwrap_or_default();
        items.extend(b.items().into_iter().flatten());
        self.cx.list(items)
    }

    /// The left operand of `&&` (decided by false) or `||` (by true). An error waits on the stack.
    fn left(&mut self, decider: bool, target: u16) -> Option<u16> {
        match self.stack.last() {
            Some(Operand::Bool(b)) if *b == decider => Some(target),
            _ => None,
        }
    }

    fn right(&mut self, decider: bool, operator: &'static str) -> Result<Operand<'a>, Fault<'a>> {
        let (b, a) = (self.pop()?, self.pop()?);
        if matches!(b, Operand::Bool(b) if b == decider) {
            return Ok(Operand::Bool(decider));
        }
        for operand in [a, b] {
            match operand {
                Operand::Bool(_) => {}
                Operand::Fault(fault) => return Err(*fault),
                other => return Err(not_bool(operator, &other)),
            }
        }
        Ok(Operand::Bool(!decider))
    }

    /// Which entries of a list or map are written `?entry`.
    fn flagged(&self, index: u16) -> &'a [u16] {
        self.cx.code.optional.get(usize::from(index)).map_or(&[], Vec::as_slice)
    }

    fn list(&mut self, count: u16, flagged: u16) -> Result<Operand<'a>, Fault<'a>> {
        let mut items = self.pop_many(count)?;
        let flagged = self.flagged(flagged);
        if !flagged.is_empty() {
            let all = std::mem::take(&mut items);
            for (index, item) in all.into_iter().enumerate() {
                if flagged.contains(&(index as u16)) {
                    items.extend(given(item)?);
                } else {
                    items.push(item);
                }
            }
        }
        self.cx.list(items)
    }

    fn map(&mut self, count: u16, flagged: u16) -> Result<Operand<'a>, Fault<'a>> {
        let values = self.pop_many(count * 2)?;
        let flagged = self.flagged(flagged);
        let mut entries = Vec::with_capacity(usize::from(count));
        let mut values = values.into_iter();
        let mut index = 0;
        while let (Some(key), Some(value)) = (values.next(), values.next()) {
            let described = key.described();
            let key = key.into_key().ok_or_else(|| {
                Fault::hinted(
                    format!("{described} cannot be the key of a map"),
                    "keys are strings, ints, uints and bools",
                )
            })?;
            if flagged.contains(&index) {
                entries.extend(given(value)?.map(|value| (key, value)));
            } else {
                entries.push((key, value));
            }
            index += 1;
        }
        self.cx.map(entries)
    }

    fn call(&mut self, function: &'static Function, count: u16) -> Result<Operand<'a>, Fault<'a>> {
        let base = self.stack.len().saturating_sub(usize::from(count));
        self.cx.function = Some(function);
        let result = (function.run)(&mut self.cx, &self.stack[base..])?;
        self.stack.truncate(base);
        Ok(result)
    }

    fn matches(&mut self, regex: u16) -> Result<Operand<'a>, Fault<'a>> {
        let of = self.pop()?;
        let regex = &self.cx.code.regexes[usize::from(regex)];
        match of.as_str() {
            Some(text) => super::functions::is_match(&mut self.cx, regex, text),
            None => Err(Fault::hinted(
                format!("`matches` does not take {}", of.described()),
                "it takes a string",
            )),
        }
    }
}

pub(super) fn not_bool<'a>(operator: &'static str, found: &Operand<'a>) -> Fault<'a> {
    Fault::of(Kind::NotBool(operator, found.described()))
}

fn negate(value: Operand<'_>) -> Result<Operand<'_>, Fault<'_>> {
    let described = value.described();
    let negated = match &value {
        Operand::Int(n) => n.checked_neg().map(Operand::Int),
        Operand::Double(n) => Some(Operand::Double(-n)),
        Operand::Duration(d) => temporal::negate(*d).map(Operand::Duration),
        other => return Err(Fault::plain(format!("`-` does not take {}", other.described()))),
    };
    negated.ok_or_else(|| Fault::plain(format!("the result does not fit {described}")))
}

fn index<'a>(of: Operand<'a>, key: Operand<'a>) -> Result<Operand<'a>, Fault<'a>> {
    if let Operand::Optional(inner) = &of {
        return match inner {
            Some(inner) => optional_entry(inner.as_ref().clone(), &key),
            None => Ok(Operand::Optional(None)),
        };
    }
    if let Some(found) = entry(&of, &key)? {
        return Ok(found);
    }
    match key.as_number().and_then(|n| n.to_integer()) {
        Some(at) if of.is_list() => Err(Fault::of(Kind::Position(at, of.len().unwrap_or(0)))),
        _ => Err(Fault::of(Kind::Field(of, key))),
    }
}

/// The item or value at a key, `None` when there is none; an error when there cannot be any.
fn entry<'a>(of: &Operand<'a>, key: &Operand<'a>) -> Result<Option<Operand<'a>>, Fault<'a>> {
    let wrong = |hint: &str| {
        let message = format!("{} has no index of {}", of.described(), key.described());
        Err(if hint.is_empty() { Fault::plain(message) } else { Fault::hinted(message, hint) })
    };
    if of.is_map() {
        return match key.as_probe() {
            Some(probe) => Ok(of.get(probe)),
            None if key.as_number().is_some() => Ok(None),
            None => wrong("keys are strings, ints, uints and bools"),
        };
    }
    if !of.is_list() {
        return wrong(if of.as_str().is_some() { "write text.charAt(i)" } else { "" });
    }
    match key.as_number().and_then(|n| n.to_integer()) {
        Some(at) => Ok(usize::try_from(at).ok().and_then(|at| of.item(at))),
        None => wrong("items of a list are numbered from 0"),
    }
}

fn optional_entry<'a>(of: Operand<'a>, key: &Operand<'a>) -> Result<Operand<'a>, Fault<'a>> {
    let of = match of {
        Operand::Optional(None) => return Ok(Operand::Optional(None)),
        Operand::Optional(Some(inner)) => Arc::unwrap_or_clone(inner),
        other => other,
    };
    Ok(Operand::Optional(entry(&of, key)?.map(Arc::new)))
}

/// What is in the optional of an entry written `?entry`.
fn given(value: Operand<'_>) -> Result<Option<Operand<'_>>, Fault<'_>> {
    match value {
        Operand::Optional(inner) => Ok(inner.map(Arc::unwrap_or_clone)),
        other => Err(Fault::hinted(
            format!("`?` before an entry needs an optional, not {}", other.described()),
            "write a.?b or optional.of(x)",
        )),
    }
}
