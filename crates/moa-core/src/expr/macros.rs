//! `has()` and the loops over lists and maps: `all`, `exists`, `map`, `filter`, …

use std::ops::Range;

use super::code::{Loop, Op};
use super::compile::Compiler;
use super::error::Error;
use super::lexer::Kind;

impl<'s> Compiler<'s> {
    /// `has(a.b)`: whether the last selection would succeed.
    pub fn has(&mut self) -> Result<(), Box<Error>> {
        let opener = self.take()?.span;
        let usage = |span| {
            Error::new("has() takes the selection of a field, such as has(a.b)", span)
                .hint("for a computed key write: key in map")
        };
        let inside = self.peek().span.start;
        self.nested(|c| match c.peek().kind {
            Kind::Ident | Kind::Punct("(" | "{" | ".") => c.member(None),
            _ => Err(usage(c.peek().span.clone())),
        })?;
        let last = self.code.ops.len() - 1;
        let field = match self.code.ops[last] {
            Op::Select(field) | Op::SelectOptional(field) => field,
            _ => return Err(usage(inside..self.last.end)),
        };
        if self.code.span(last).end != self.last.end {
            return Err(usage(inside..self.last.end));
        }
        self.close(")", &opener)?;
        self.code.ops[last] = Op::Has(field);
        Ok(())
    }

    /// A loop over the receiver on the stack, if `name` is one.
    pub fn macro_call(&mut self, name: &str, span: Range<usize>) -> Result<bool, Box<Error>> {
        let kind = match name {
            "all" => Loop::All,
            "exists" => Loop::Exists,
            "exists_one" | "existsOne" => Loop::ExistsOne,
            "map" => Loop::Map,
            "filter" => Loop::Filter,
            "sortBy" => Loop::SortBy,
            "transformList" => Loop::TransformList,
            "transformMap" => Loop::TransformMap,
            "transformMapEntry" => Loop::TransformMapEntry,
            "optMap" => Loop::OptMap,
            "optFlatMap" => Loop::OptFlatMap,
            _ => return Ok(false),
        };
        let opener = self.take()?.span;
        let transforms = kind.transforms();
        let usage = if transforms { "k, v, …" } else { "x, … x …" };
        let usage = format!("write list.{name}({usage})");
        let first = self.variable(&span, &usage)?;
        let may = matches!(kind, Loop::All | Loop::Exists | Loop::ExistsOne);
        let two = transforms || (may && self.at_ident().is_some() && self.second_is(","));
        let second = if two { Some(self.variable(&span, &usage)?) } else { None };
        self.looped(kind, (first, second), span, &opener)?;
        Ok(true)
    }

    /// `cel.bind(x, value, expression)`
    pub fn bind(&mut self, span: Range<usize>) -> Result<(), Box<Error>> {
        let opener = self.take()?.span;
        let usage = "write cel.bind(x, value, … x …)";
        let variable = self.variable(&span, usage)?;
        self.nested(Self::expression)?;
        if !self.accept(",")? {
            return Err(self.unexpected("`,` and an expression").hint(usage));
        }
        self.looped(Loop::Bind, (variable, None), span, &opener)
    }

    /// The name of a variable and the comma behind it.
    fn variable(&mut self, span: &Range<usize>, usage: &str) -> Result<&'s str, Box<Error>> {
        let ident = self.at_ident().filter(|i| !matches!(*i, "true" | "false" | "null" | "in"));
        let Some(ident) = ident else {
            let name = self.text(span);
            let message = format!("the arguments of `{name}` begin with a name for each item");
            return Err(Error::new(message, self.peek().span.clone()).hint(usage));
        };
        self.take()?;
        if !self.accept(",")? {
            let name = self.text(span);
            let message = format!("`{name}` takes a name for each item and an expression of it");
            return Err(Error::new(message, span.clone()).hint(usage));
        }
        Ok(ident)
    }

    fn looped(
        &mut self,
        kind: Loop,
        (first, second): (&'s str, Option<&'s str>),
        span: Range<usize>,
        opener: &Range<usize>,
    ) -> Result<(), Box<Error>> {
        self.emit(Op::Loop(kind, second.is_some()), span.clone());
        self.height -= 1;
        let next = self.emit(Op::Next(0), span.clone());
        let outside = self.variables.len();
        self.variables.push((first, Op::Variable(self.loops)));
        self.variables.extend(second.map(|second| (second, Op::Second(self.loops))));
        self.loops += 1;
        let (body, height) = (self.here(), self.height);
        self.nested(Self::expression)?;
        if (kind == Loop::Map || kind.transforms()) && self.accept(",")? {
            self.emit(Op::SkipUnless(next as u16), span.clone());
            self.height -= 1;
            self.nested(Self::expression)?;
        }
        if matches!(kind, Loop::All | Loop::Exists) {
            self.catch(body, height);
        }
        let step = self.emit(Op::Step { next: next as u16, end: 0 }, span);
        self.variables.truncate(outside);
        self.loops -= 1;
        self.close(")", opener)?;
        self.patch(next);
        self.patch(step);
        // The body's value is gone, the loop's is there.
        Ok(())
    }
}

impl Loop {
    /// Whether it is one of `transformList`, `transformMap`, `transformMapEntry`.
    fn transforms(self) -> bool {
        matches!(self, Self::TransformList | Self::TransformMap | Self::TransformMapEntry)
    }
}
