//! Loops over lists and maps, and the bindings that are loops over one value.

use std::sync::Arc;

use super::code::Loop;
use super::eval::{Context, Fault, Machine, not_bool};
use super::operand::{Items, Operand};

/// A loop that is running.
pub(super) struct Frame<'a> {
    kind: Loop,
    /// Whether there are two variables: index and item, or key and value.
    two: bool,
    of: Operand<'a>,
    items: Items<'a>,
    position: i64,
    pub variable: Operand<'a>,
    pub second: Operand<'a>,
    /// Values of the result.
    made: Vec<Operand<'a>>,
    /// Their keys: of the result, or to sort by.
    keys: Vec<Operand<'a>>,
    /// Hits of `exists_one`.
    hits: u64,
    /// First error of `all` and `exists`: counts if nothing decides.
    fault: Option<Box<Fault<'a>>>,
}

impl<'a> Frame<'a> {
    /// A loop over `of`.
    pub fn enter(kind: Loop, two: bool, of: Operand<'a>) -> Result<Self, Fault<'a>> {
        let items = match (kind, &of) {
            (Loop::Bind, _) => Some(Items::One(Some(of.clone()))),
            (Loop::OptMap | Loop::OptFlatMap, Operand::Optional(inner)) => {
                Some(Items::One(inner.as_deref().cloned()))
            }
            (Loop::OptMap | Loop::OptFlatMap, _) => None,
            (Loop::SortBy, _) if !of.is_list() => None,
            _ => of.items(),
        };
        let Some(items) = items else {
            let hint = match kind {
                Loop::OptMap | Loop::OptFlatMap => "an optional stands before the dot: a.?b",
                Loop::SortBy => "a list stands before the dot",
                _ => "a list stands before the dot, or a map, whose keys are looped over",
            };
            let message = format!("{} has no items to loop over", of.described());
            return Err(Fault::hinted(message, hint));
        };
        Ok(Self {
            kind,
            two,
            of,
            items,
            position: -1,
            variable: Operand::Null,
            second: Operand::Null,
            made: Vec::new(),
            keys: Vec::new(),
            hits: 0,
            fault: None,
        })
    }

    /// Sets the variables to the next item; false at the end.
    fn advance(&mut self) -> bool {
        let Some(item) = self.items.next() else {
            return false;
        };
        self.position += 1;
        if !self.two {
            self.variable = item;
            return true;
        }
        let value = item.as_probe().filter(|_| self.of.is_map()).and_then(|key| self.of.get(key));
        match value {
            Some(value) => {
                self.variable = item;
                self.second = value;
            }
            None => {
                self.variable = Operand::Int(self.position);
                self.second = item;
            }
        }
        true
    }

    /// The result when the items are used up.
    fn result(self, cx: &mut Context<'a, '_>) -> Result<Operand<'a>, Fault<'a>> {
        if let Some(fault) = self.fault {
            return Err(*fault);
        }
        match self.kind {
            Loop::All => Ok(Operand::Bool(true)),
            Loop::Exists => Ok(Operand::Bool(false)),
            Loop::ExistsOne => Ok(Operand::Bool(self.hits == 1)),
            Loop::Map | Loop::Filter | Loop::TransformList => cx.list(self.made),
            Loop::SortBy => super::functions::sort_by(cx, self.made, self.keys),
            Loop::TransformMap | Loop::TransformMapEntry => {
                let keys = self.keys.into_iter().filter_map(Operand::into_key);
                cx.map(keys.zip(self.made).collect())
            }
            Loop::Bind | Loop::OptMap | Loop::OptFlatMap => Ok(Operand::Optional(None)),
        }
    }

    /// Takes the body's value; answers the loop's when it is decided.
    fn take(
        &mut self,
        value: Operand<'a>,
        cx: &mut Context<'a, '_>,
    ) -> Result<Option<Operand<'a>>, Fault<'a>> {
        match self.kind {
            Loop::All | Loop::Exists => return Ok(self.decide(value)),
            Loop::ExistsOne => match value {
                Operand::Bool(hit) => self.hits += u64::from(hit),
                other => return Err(not_bool("exists_one", &other)),
            },
            Loop::Filter => match value {
                Operand::Bool(true) => self.made.push(self.variable.clone()),
                Operand::Bool(false) => return Ok(None),
                other => return Err(not_bool("filter", &other)),
            },
            Loop::Map | Loop::TransformList => self.made.push(value),
            Loop::TransformMap => {
                self.keys.push(self.variable.clone());
                self.made.push(value);
            }
            Loop::TransformMapEntry => self.take_entries(&value, cx)?,
            Loop::SortBy => {
                self.made.push(self.variable.clone());
                self.keys.push(value);
            }
            Loop::Bind => return Ok(Some(value)),
            Loop::OptMap => return Ok(Some(Operand::Optional(Some(Arc::new(value))))),
            Loop::OptFlatMap => match value {
                Operand::Optional(_) => return Ok(Some(value)),
                other => {
                    let message =
                        format!("`optFlatMap` needs an optional, not {}", other.described());
                    return Err(Fault::hinted(message, "write optMap(x, …) for other values"));
                }
            },
        }
        cx.allocate(2 * size_of::<Operand<'_>>() as u64)?;
        Ok(None)
    }

    fn decide(&mut self, value: Operand<'a>) -> Option<Operand<'a>> {
        let decider = self.kind == Loop::Exists;
        let fault = match value {
            Operand::Bool(b) if b == decider => return Some(Operand::Bool(decider)),
            Operand::Bool(_) => return None,
            Operand::Fault(fault) => fault,
            other => Box::new(not_bool(if decider { "exists" } else { "all" }, &other)),
        };
        self.fault.get_or_insert(fault);
        None
    }

    fn take_entries(
        &mut self,
        map: &Operand<'a>,
        cx: &mut Context<'a, '_>,
    ) -> Result<(), Fault<'a>> {
        let keys = map.items().filter(|_| map.is_map()).ok_or_else(|| {
            let message = format!("`transformMapEntry` needs a map, not {}", map.described());
            Fault::hinted(message, "write {key: value} as its last argument")
        })?;
        for key in keys {
            cx.budget.steps(1)?;
            cx.allocate(2 * size_of::<Operand<'_>>() as u64)?;
            if let Some(value) = key.as_probe().and_then(|probe| map.get(probe)) {
                self.keys.push(key);
                self.made.push(value);
            }
        }
        Ok(())
    }
}

impl<'a> Machine<'a, '_> {
    fn frame(&mut self) -> Result<&mut Frame<'a>, Fault<'a>> {
        self.loops.last_mut().ok_or_else(|| Fault::plain("the expression was compiled wrongly"))
    }

    /// Goes to the next item, or behind the loop with its result.
    pub fn next(&mut self, end: u16) -> Result<Option<u16>, Fault<'a>> {
        if self.frame()?.advance() {
            return Ok(None);
        }
        if let Some(frame) = self.loops.pop() {
            let value = frame.result(&mut self.cx)?;
            self.stack.push(value);
        }
        Ok(Some(end))
    }

    /// Gives the loop the body's value.
    pub fn body_done(&mut self, next: u16, end: u16) -> Result<Option<u16>, Fault<'a>> {
        let value = self.pop()?;
        let decided = match self.loops.last_mut() {
            Some(frame) => frame.take(value, &mut self.cx)?,
            None => None,
        };
        match decided {
            Some(value) => {
                self.loops.pop();
                self.stack.push(value);
                Ok(Some(end))
            }
            None => Ok(Some(next)),
        }
    }
}
