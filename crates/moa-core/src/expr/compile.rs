//! Source to code, in one pass: operator precedence with a stack of its own.
//!
//! Recursion happens at brackets and inside `?:` only, and its depth is limited, so the stack of
//! the thread suffices for every source. Chains of operators, of selections and of `? :` loop.
//! Operands and calls are in `primary`, loops in `macros`.

use std::ops::Range;
use std::sync::Arc;

use super::code::{Binary, Code, Handler, Op, UNHANDLED};
use super::error::Error;
use super::lexer::{Kind, Lexer, Token};
use super::value::Value;
use crate::limits::{EXPRESSION_BYTES_MAX, EXPRESSION_DEPTH_MAX};

/// Compiles a whole source.
pub(super) fn compile(source: &str) -> Result<Code, Box<Error>> {
    if source.len() > EXPRESSION_BYTES_MAX {
        let message = format!(
            "the expression has {} bytes; the limit is {EXPRESSION_BYTES_MAX}",
            source.len()
        );
        return Err(Error::new(message, 0..source.len())
            .hint("compute a part of it in an earlier step and use its output"));
    }
    let mut lexer = Lexer::new(source);
    let ahead = lexer.token()?;
    let mut compiler = Compiler {
        lexer,
        ahead,
        last: 0..0,
        code: Code {
            source: source.into(),
            ops: Vec::new(),
            spans: Vec::new(),
            caught: Vec::new(),
            handlers: Vec::new(),
            constants: Vec::new(),
            names: Vec::new(),
            fields: Vec::new(),
            regexes: Vec::new(),
            references: Vec::new(),
            optional: Vec::new(),
        },
        covered_from: Vec::new(),
        height: 0,
        depth: 0,
        variables: Vec::new(),
        loops: 0,
        source,
    };
    compiler.whole()?;
    let Compiler { mut code, .. } = compiler;
    code.ops.shrink_to_fit();
    Ok(code)
}

pub(super) struct Compiler<'s> {
    pub source: &'s str,
    lexer: Lexer<'s>,
    /// The next token.
    ahead: Token,
    /// Where the token taken last is.
    pub last: Range<usize>,
    pub code: Code,
    /// For the last operation of a caught range: the first one of it.
    covered_from: Vec<u16>,
    /// Values on the stack when the code so far has run.
    pub height: u16,
    depth: usize,
    /// Variables of the loops around, outermost first, each with what pushes it.
    pub variables: Vec<(&'s str, Op)>,
    /// Loops around.
    pub loops: u16,
}

/// An operator whose right operand is being read.
struct Pending {
    operator: Operator,
    span: Range<usize>,
    /// The `And` or `Or` to be told where its end is.
    jump: Option<usize>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Operator {
    Or,
    And,
    Binary(Binary),
}

impl Operator {
    fn precedence(self) -> u8 {
        match self {
            Self::Or => 1,
            Self::And => 2,
            Self::Binary(Binary::Add | Binary::Subtract) => 4,
            Self::Binary(Binary::Multiply | Binary::Divide | Binary::Remainder) => 5,
            Self::Binary(_) => 3,
        }
    }
}

/// Tokens.
impl<'s> Compiler<'s> {
    pub fn text(&self, span: &Range<usize>) -> &'s str {
        &self.source[span.clone()]
    }

    /// Whether the token after the next one is this punctuation.
    pub fn second_is(&self, punct: &str) -> bool {
        let token = self.lexer.clone().token();
        matches!(token, Ok(Token { kind: Kind::Punct(p), .. }) if p == punct)
    }

    pub fn peek(&self) -> &Token {
        &self.ahead
    }

    /// Takes the next token.
    pub fn take(&mut self) -> Result<Token, Box<Error>> {
        let next = self.lexer.token()?;
        let token = std::mem::replace(&mut self.ahead, next);
        self.last = token.span.clone();
        Ok(token)
    }

    pub fn at(&self, punct: &str) -> bool {
        matches!(self.ahead.kind, Kind::Punct(p) if p == punct)
    }

    /// The next token if it is an identifier or keyword.
    pub fn at_ident(&self) -> Option<&'s str> {
        (self.ahead.kind == Kind::Ident).then(|| self.text(&self.ahead.span))
    }

    /// Takes the punctuation if it is next.
    pub fn accept(&mut self, punct: &str) -> Result<bool, Box<Error>> {
        let found = self.at(punct);
        if found {
            self.take()?;
        }
        Ok(found)
    }

    /// Takes the bracket that closes the one at `opener`.
    pub fn close(&mut self, closer: &'static str, opener: &Range<usize>) -> Result<(), Box<Error>> {
        if self.accept(closer)? {
            return Ok(());
        }
        let open = self.text(opener);
        match &self.ahead.kind {
            Kind::End => Err(Error::new(format!("this `{open}` is not closed"), opener.clone())
                .hint(format!("add `{closer}`"))),
            Kind::Punct(other @ (")" | "]" | "}")) => {
                Err(Error::new(format!("this `{open}` is closed by `{other}`"), opener.clone())
                    .hint(format!("close it with `{closer}`")))
            }
            _ => Err(self.unexpected(&format!("an operator or `{closer}`"))),
        }
    }

    /// The error that the next token is not what belongs here.
    pub fn unexpected(&self, expected: &str) -> Box<Error> {
        let span = self.ahead.span.clone();
        if self.ahead.kind == Kind::End {
            let end = self.last.end.max(1);
            let error = Error::new(
                format!("the expression ends where {expected} is expected"),
                self.last.start.min(end - 1)..end,
            );
            return error;
        }
        let found = self.text(&span);
        let error = Error::new(format!("expected {expected}, found `{found}`"), span);
        match self.foreign_word(found) {
            Some(hint) => error.hint(hint),
            None => error,
        }
    }

    /// What another language's word at this place is in this one.
    fn foreign_word(&self, found: &str) -> Option<String> {
        let own = match found {
            "and" | "AND" => "&&",
            "or" | "OR" => "||",
            "not" | "NOT" => "!",
            "is" | "eq" | "equals" => "==",
            "ne" | "isnt" => "!=",
            "lt" => "<",
            "gt" => ">",
            "le" | "lte" => "<=",
            "ge" | "gte" => ">=",
            "mod" => "%",
            "if" | "then" | "else" => "condition ? this : that",
            _ => return self.foreign_symbol(found),
        };
        Some(format!("write `{own}`"))
    }

    fn foreign_symbol(&self, found: &str) -> Option<String> {
        let before = self.text(&self.last);
        let touching = self.last.end == self.ahead.span.start;
        Some(match (before, found) {
            ("not" | "NOT", _) => "write `!` for not".into(),
            ("<", ">") if touching => "write `!=`".into(),
            ("*", "*") if touching => "there is no power operator; multiply".into(),
            ("?", ".") if touching => "write `.?` to select what may be missing".into(),
            ("?", "?") if touching => "write `a.?b.orValue(c)`".into(),
            (".", "*") => "list the fields, or use .map(x, x.field)".into(),
            (_, number) if touching && number.starts_with('.') && number.len() > 1 => {
                format!("write [{}] for an item of a list", &number[1..])
            }
            ("+", "+") | ("-", "-") if touching => "values cannot be changed; write `+ 1`".into(),
            _ => return None,
        })
    }
}

/// Code.
impl Compiler<'_> {
    /// Appends an operation. `height` is kept by the caller.
    pub fn emit(&mut self, op: Op, span: Range<usize>) -> usize {
        self.code.ops.push(op);
        self.code.spans.push((span.start as u16, span.end as u16));
        self.code.caught.push(UNHANDLED);
        self.covered_from.push(0);
        self.code.ops.len() - 1
    }

    pub fn here(&self) -> usize {
        self.code.ops.len()
    }

    /// Takes back the last operation.
    pub fn retract(&mut self) {
        self.code.ops.pop();
        self.code.spans.pop();
        self.code.caught.pop();
        self.covered_from.pop();
    }

    /// Sets the jump of an operation to here.
    pub fn patch(&mut self, at: usize) {
        let here = self.here() as u16;
        match &mut self.code.ops[at] {
            Op::And(to)
            | Op::Or(to)
            | Op::Branch(to)
            | Op::Jump(to)
            | Op::Next(to)
            | Op::SkipUnless(to) => *to = here,
            Op::Step { end, .. } => *end = here,
            _ => {}
        }
    }

    pub fn constant(&mut self, value: Value, span: Range<usize>) {
        let index = self.code.constants.len() as u16;
        self.code.constants.push(value);
        self.emit(Op::Constant(index), span);
        self.height += 1;
    }

    pub fn field(&mut self, name: &str) -> u16 {
        if let Some(found) = self.code.fields.iter().position(|f| &**f == name) {
            return found as u16;
        }
        self.code.fields.push(Arc::from(name));
        (self.code.fields.len() - 1) as u16
    }

    /// Errors of the operations from `start` to here become a value at the next operation, upon
    /// a stack of `height` values. Ranges nest: what an inner one caught stays caught by it.
    pub fn catch(&mut self, start: usize, height: u16) {
        let handler = self.code.handlers.len() as u16;
        let loops = self.loops;
        let target = self.here() as u16;
        self.code.handlers.push(Handler { target, height, loops });
        let mut at = self.here();
        while at > start {
            at -= 1;
            if self.code.caught[at] == UNHANDLED {
                self.code.caught[at] = handler;
            } else {
                // An inner range ends here: none of it is uncaught.
                at = usize::from(self.covered_from[at]);
            }
        }
        if let Some(last) = self.here().checked_sub(1).filter(|last| *last >= start) {
            self.covered_from[last] = start as u16;
        }
    }

    /// Runs `inner` one level deeper.
    pub fn nested<T>(
        &mut self,
        inner: impl FnOnce(&mut Self) -> Result<T, Box<Error>>,
    ) -> Result<T, Box<Error>> {
        self.depth += 1;
        if self.depth > EXPRESSION_DEPTH_MAX {
            let message = format!("the expression is nested more than {EXPRESSION_DEPTH_MAX} deep");
            return Err(Error::new(message, self.last.clone())
                .hint("compute a part of it in an earlier step and use its output"));
        }
        let result = inner(self);
        self.depth -= 1;
        result
    }
}

/// Expressions.
impl Compiler<'_> {
    fn whole(&mut self) -> Result<(), Box<Error>> {
        if self.peek().kind == Kind::End {
            return Err(Error::new("the expression is empty", 0..self.source.len()));
        }
        self.expression()?;
        match &self.peek().kind {
            Kind::End => Ok(()),
            Kind::Punct(p @ (")" | "]" | "}")) => {
                Err(Error::new(format!("this `{p}` closes nothing"), self.peek().span.clone()))
            }
            _ => Err(self.unexpected("an operator")),
        }
    }

    /// `a ? b : c ? d : e`, or what has no `?`. Leaves one value.
    pub fn expression(&mut self) -> Result<(), Box<Error>> {
        let mut ends = Vec::new();
        loop {
            self.operators()?;
            if !self.at("?") {
                break;
            }
            let question = self.take()?.span;
            let branch = self.emit(Op::Branch(0), question.clone());
            self.height -= 1;
            self.nested(Self::expression)?;
            if !self.accept(":")? {
                let error = self.unexpected("`:`");
                let selects = self.source[question.end..].starts_with('.');
                let hint = if selects {
                    "write .?b to select what may be missing"
                } else {
                    "write condition ? this : that"
                };
                return Err(match self.peek().kind {
                    Kind::End => Error::new("this `?` has no `:`", question).hint(hint),
                    _ => error,
                });
            }
            ends.push(self.emit(Op::Jump(0), question));
            self.height -= 1;
            self.patch(branch);
        }
        for end in ends {
            self.patch(end);
        }
        Ok(())
    }

    fn operators(&mut self) -> Result<(), Box<Error>> {
        let mut pending: Vec<Pending> = Vec::new();
        let mut starts: Vec<usize> = vec![self.here()];
        self.unary()?;
        while let Some(operator) = self.operator() {
            while pending.last().is_some_and(|p| p.operator.precedence() >= operator.precedence()) {
                self.reduce(&mut pending, &mut starts);
            }
            let span = self.take()?.span;
            let mut jump = None;
            if let Operator::And | Operator::Or = operator {
                let start = starts.last().copied().unwrap_or_default();
                self.catch(start, self.height - 1);
                let op = if operator == Operator::And { Op::And(0) } else { Op::Or(0) };
                jump = Some(self.emit(op, span.clone()));
            }
            pending.push(Pending { operator, span, jump });
            starts.push(self.here());
            self.unary()?;
        }
        while !pending.is_empty() {
            self.reduce(&mut pending, &mut starts);
        }
        Ok(())
    }

    /// Applies the last operator to its operands, both of which are on the stack.
    fn reduce(&mut self, pending: &mut Vec<Pending>, starts: &mut Vec<usize>) {
        let (Some(last), Some(start)) = (pending.pop(), starts.pop()) else {
            return;
        };
        match last.operator {
            Operator::Binary(binary) => {
                self.emit(Op::Binary(binary), last.span);
            }
            Operator::And | Operator::Or => {
                self.catch(start, self.height - 1);
                let end = if last.operator == Operator::And { Op::AndEnd } else { Op::OrEnd };
                self.emit(end, last.span);
            }
        }
        self.height -= 1;
        if let Some(jump) = last.jump {
            self.patch(jump);
        }
    }

    fn operator(&self) -> Option<Operator> {
        let symbol = match &self.peek().kind {
            Kind::Punct(p) => p,
            Kind::Ident if self.at_ident() == Some("in") => "in",
            _ => return None,
        };
        Some(match symbol {
            "||" => Operator::Or,
            "&&" => Operator::And,
            "+" => Operator::Binary(Binary::Add),
            "-" => Operator::Binary(Binary::Subtract),
            "*" => Operator::Binary(Binary::Multiply),
            "/" => Operator::Binary(Binary::Divide),
            "%" => Operator::Binary(Binary::Remainder),
            "==" => Operator::Binary(Binary::Equal),
            "!=" => Operator::Binary(Binary::Unequal),
            "<" => Operator::Binary(Binary::Less),
            "<=" => Operator::Binary(Binary::LessEqual),
            ">" => Operator::Binary(Binary::Greater),
            ">=" => Operator::Binary(Binary::GreaterEqual),
            "in" => Operator::Binary(Binary::In),
            _ => return None,
        })
    }

    fn unary(&mut self) -> Result<(), Box<Error>> {
        let mut prefixes: Vec<(Op, Range<usize>)> = Vec::new();
        loop {
            if self.at("!") {
                prefixes.push((Op::Not, self.take()?.span));
            } else if self.at("-") {
                let minus = self.take()?.span;
                if matches!(self.peek().kind, Kind::Int(_) | Kind::Double(_)) {
                    // The sign belongs to the literal: -9223372036854775808 is one.
                    self.member(Some(minus))?;
                    break;
                }
                prefixes.push((Op::Negate, minus));
            } else {
                self.member(None)?;
                break;
            }
        }
        for (op, span) in prefixes.into_iter().rev() {
            self.emit(op, span);
        }
        Ok(())
    }
}
