//! The expression language: CEL's syntax and semantics over JSON values, pure and budgeted.
//!
//! A source is compiled in one pass (`lexer`, `compile`, `macros`) to flat code, and the code is
//! run by a loop with a stack of its own (`eval`): neither long nor nested input can use up the
//! stack of the thread, and every step and every byte is counted (`budget`). Values that come from
//! outside are looked at in place (`operand`), so selecting a field of a large JSON value copies
//! nothing. Functions are rows of one table (`functions`).
//! Absent by intent: protobuf messages, clocks, randomness, time zone databases, user functions.
//! What can't succeed is found before there are
//! values, by types (`infer`). Start reading at `Program`, then `compile`.

use std::cell::OnceCell;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

mod budget;
mod code;
mod compare;
mod compile;
mod convert;
mod error;
mod eval;
mod fault;
mod functions;
mod infer;
mod kinds;
mod lexer;
mod loops;
mod macros;
mod number;
mod operand;
mod primary;
pub mod suggest;
mod table;
mod temporal;
mod value;

pub use error::Error;
pub use infer::Misfit;
pub use kinds::{Type, Types, Wanted};
pub use table::{Key, Map};
pub use value::Value;

pub(crate) use budget::Budget;
pub(crate) use lexer::end_of_embedded;

/// Where an expression's free names come from.
pub trait Scope {
    /// The value of a top-level name, or `None` when there is none.
    fn lookup(&self, name: &str) -> Option<Value>;

    /// The names there are, for suggestions in errors. May be left empty.
    fn names(&self) -> Vec<String> {
        Vec::new()
    }
}

/// A free name with the fields selected from it: `scaffold.output.path`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// The name and the fields, outermost first; stops at the first index or call.
    pub path: Vec<String>,
    /// The bytes of the source.
    pub span: Range<usize>,
}

/// A compiled expression. Cheap to clone. Serialised as its source.
#[derive(Clone)]
pub struct Program {
    code: Arc<code::Code>,
}

impl Program {
    /// Parses and checks `source`.
    ///
    /// # Errors
    /// The first mistake: of syntax, an unknown function, a wrong number of arguments, a malformed
    /// regular expression, or a limit of [`crate::limits`] that is passed.
    pub fn compile(source: &str) -> Result<Self, Error> {
        match compile::compile(source) {
            Ok(code) => Ok(Self { code: Arc::new(code) }),
            Err(error) => Err(*error),
        }
    }

    /// The text it was compiled from.
    pub fn source(&self) -> &str {
        &self.code.source
    }

    /// The free names used, in order of appearance. A bare name of a type (`int`) is not one.
    pub fn references(&self) -> Vec<Reference> {
        self.code.references.clone()
    }

    /// Evaluates it within the limits of [`crate::limits`].
    ///
    /// # Errors
    /// Names and keys that do not exist, operands of the wrong type, overflow, a used up budget.
    pub fn eval(&self, scope: &dyn Scope) -> Result<Value, Error> {
        self.run(scope, &mut Budget::new(), |operand, cx| operand.into_value(cx))
    }

    /// Evaluates a condition.
    ///
    /// # Errors
    /// Those of [`Program::eval`], and any value that is not a bool.
    pub fn eval_bool(&self, scope: &dyn Scope) -> Result<bool, Error> {
        self.run(scope, &mut Budget::new(), |operand, _| operand.into_bool())
    }

    /// The first thing in it that can't succeed, whatever the values are; `None` is no promise that it
    /// succeeds.
    pub fn misfit(&self, types: &dyn Types, wanted: Wanted) -> Option<Misfit> {
        infer::misfit(&self.code, types, wanted)
    }

    /// Evaluates it to JSON, with a budget that may be shared with other expressions.
    pub(crate) fn eval_json(
        &self,
        scope: &dyn Scope,
        budget: &mut Budget,
    ) -> Result<serde_json::Value, Error> {
        self.run(scope, budget, |operand, cx| operand.into_json(cx))
    }

    /// Evaluates it to the text that a template inserts.
    pub(crate) fn eval_text(
        &self,
        scope: &dyn Scope,
        budget: &mut Budget,
    ) -> Result<String, Error> {
        self.run(scope, budget, |operand, cx| operand.into_text(cx))
    }

    fn run<T>(
        &self,
        scope: &dyn Scope,
        budget: &mut Budget,
        finish: impl for<'a> FnOnce(
            operand::Operand<'a>,
            &mut eval::Context<'a, '_>,
        ) -> Result<T, eval::Fault<'a>>,
    ) -> Result<T, Error> {
        let slots: Vec<OnceCell<Option<Value>>> = vec![OnceCell::new(); self.code.names.len()];
        eval::run(&self.code, scope, &slots, budget, finish)
    }
}

impl PartialEq for Program {
    fn eq(&self, other: &Self) -> bool {
        self.code.source == other.code.source
    }
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Program").field(&self.source()).finish()
    }
}

impl Serialize for Program {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.source())
    }
}
impl<'de> Deserialize<'de> for Program {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        Self::compile(&text).map_err(serde::de::Error::custom)
    }
}
