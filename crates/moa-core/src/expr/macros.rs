//! `has()` and the loops over lists and maps: `all`, `exists`, `map`, `filter`, …

use std::ops::Range;

use super::code::{Loop, Op};
use super::compile::Compiler;
use super::error::Error;
use super::lexer::Kind;

impl<'s> Compiler<'s> {
    /// `has(a.b)`: whether the last selection would succeed.
    pub fn has(&mut self) -> Result<(), Error> {
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
    pub fn macro_call(&mut self, name: &str, span: Range<usize>) -> Result<bool, Error> {
        let kind = match name {
            "all" => Loop::All,
            "exists" => Loop::Exists,
            "exists_one" | "existsOne" => Loop::ExistsOne,
            "map" => Loop::Map,
            "filter" => Loop::Filter,
            "sortBy" => Loop::SortBy,
            _ => return Ok(false),
        };
        let opener = self.take()?.span;
        let usage = format!("write list.{name}(x, … x …)");
        let variable = match self.at_ident() {
            Some(ident) if !matches!(ident, "true" | "false" | "null" | "in") => ident,
            _ => {
                return Err(Error::new(
                    format!("the first argument of `{name}` is a name for each item"),
                    self.peek().span.clone(),
                )
                .hint(usage));
            }
        };
        self.take()?;
        if !self.accept(",")? {
            return Err(Error::new(
                format!("`{name}` takes a name for each item and an expression of it"),
                span,
            )
            .hint(usage));
        }
        self.looped(kind, variable, span, &opener)?;
        Ok(true)
    }

    fn looped(
        &mut self,
        kind: Loop,
        variable: &'s str,
        span: Range<usize>,
        opener: &Range<usize>,
    ) -> Result<(), Error> {
        self.emit(Op::Loop(kind), span.clone());
        self.height -= 1;
        let next = self.emit(Op::Next(0), span.clone());
        self.variables.push(variable);
        let (body, height) = (self.here(), self.height);
        self.nested(Self::expression)?;
        if kind == Loop::Map && self.accept(",")? {
            self.emit(Op::SkipUnless(next as u16), span.clone());
            self.height -= 1;
            self.nested(Self::expression)?;
        }
        if matches!(kind, Loop::All | Loop::Exists) {
            self.catch(body, height);
        }
        let step = self.emit(Op::Step { next: next as u16, end: 0 }, span);
        self.variables.pop();
        self.close(")", opener)?;
        self.patch(next);
        self.patch(step);
        // The body's value is gone, the loop's is there.
        Ok(())
    }
}
