//! Values of expressions, as they go in and come out.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value as Json;

use super::convert;
use super::table::{Key, Map};
use super::{compare, temporal};
use crate::time::{Millis, Span};

/// A value of the expression language. Cheap to clone.
#[derive(Debug, Clone)]
pub enum Value {
    /// `null`
    Null,
    /// `true`, `false`
    Bool(bool),
    /// A 64-bit integer. Integers of JSON are these, if they fit.
    Int(i64),
    /// An unsigned 64-bit integer: `1u`.
    Uint(u64),
    /// A 64-bit floating-point number.
    Double(f64),
    /// Text.
    String(Arc<str>),
    /// Bytes: `b"…"`.
    Bytes(Arc<[u8]>),
    /// An instant, UTC.
    Timestamp(Timestamp),
    /// A length of time, possibly negative.
    Duration(SignedDuration),
    /// What `type(x)` answers.
    Type(&'static str),
    /// A list.
    List(Arc<[Value]>),
    /// A map.
    Map(Arc<Map>),
    /// A JSON value shared, not copied: converted as far as it is looked into.
    Json(Arc<Json>),
}

impl Value {
    /// Wraps a JSON value without copying it.
    pub fn from_json(json: Arc<Json>) -> Self {
        match &*json {
            Json::Null => Self::Null,
            Json::Bool(b) => Self::Bool(*b),
            Json::Number(n) => convert::number(n),
            _ => Self::Json(json),
        }
    }

    /// The instant as a timestamp.
    pub fn timestamp(at: Millis) -> Self {
        let nearest = if at.0 < 0 { Timestamp::MIN } else { Timestamp::MAX };
        Self::Timestamp(Timestamp::from_millisecond(at.0).unwrap_or(nearest))
    }

    /// The span as a duration.
    pub fn duration(span: Span) -> Self {
        Self::Duration(SignedDuration::from_millis(i64::try_from(span.0).unwrap_or(i64::MAX)))
    }

    /// The JSON form: timestamps as RFC 3339 text, durations as `1h30m` text, bytes as Base64,
    /// infinities and NaN as text.
    pub fn to_json(&self) -> Json {
        match self {
            Self::Null => Json::Null,
            Self::Bool(b) => Json::Bool(*b),
            Self::Int(n) => Json::from(*n),
            Self::Uint(n) => Json::from(*n),
            Self::Double(n) => convert::double_to_json(*n),
            Self::String(s) => Json::from(s.as_ref()),
            Self::Bytes(b) => Json::from(convert::base64(b)),
            Self::Timestamp(t) => Json::from(t.to_string()),
            Self::Duration(d) => Json::from(temporal::short_text(*d)),
            Self::Type(name) => Json::from(*name),
            Self::List(items) => items.iter().map(Self::to_json).collect(),
            Self::Map(map) => map.to_json(),
            Self::Json(json) => (**json).clone(),
        }
    }

    /// [`Value::to_json`], without a copy where the JSON value is not shared with others.
    pub fn into_json(self) -> Json {
        match self {
            Self::Json(json) => Arc::unwrap_or_clone(json),
            other => other.to_json(),
        }
    }

    /// The boolean it is, if it is one.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(b) => Some(*b),
            Self::Json(json) => json.as_bool(),
            _ => None,
        }
    }

    /// The text it is, if it is text.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(s) => Some(s),
            Self::Json(json) => json.as_str(),
            _ => None,
        }
    }

    /// The int it is, if it is one.
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Self::Int(n) => Some(*n),
            Self::Json(json) => json.as_i64(),
            _ => None,
        }
    }

    /// What it is called in the language: `int`, `list`, …
    pub fn type_name(&self) -> &'static str {
        super::operand::Operand::of(self).type_name()
    }
}

impl Map {
    fn to_json(&self) -> Json {
        let own = self.own.iter().map(|(key, value)| (key.to_text(), value.to_json()));
        let mut object: serde_json::Map<String, Json> = own.collect();
        if let Some(Json::Object(base)) = self.base.as_deref() {
            for (key, value) in base {
                if !object.contains_key(key) {
                    object.insert(key.clone(), value.clone());
                }
            }
        }
        Json::Object(object)
    }
}

/// Equality of the language: `1 == 1.0`, and a JSON value equals the list or map of the same.
impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        compare::equal_values(self, other)
    }
}

impl From<bool> for Value {
    fn from(b: bool) -> Self {
        Self::Bool(b)
    }
}
impl From<i64> for Value {
    fn from(n: i64) -> Self {
        Self::Int(n)
    }
}
impl From<f64> for Value {
    fn from(n: f64) -> Self {
        Self::Double(n)
    }
}
impl From<&str> for Value {
    fn from(s: &str) -> Self {
        Self::String(s.into())
    }
}
impl From<String> for Value {
    fn from(s: String) -> Self {
        Self::String(s.into())
    }
}
impl From<Json> for Value {
    fn from(json: Json) -> Self {
        Self::from_json(Arc::new(json))
    }
}
impl FromIterator<Value> for Value {
    fn from_iter<I: IntoIterator<Item = Value>>(items: I) -> Self {
        Self::List(items.into_iter().collect())
    }
}
impl FromIterator<(String, Value)> for Value {
    fn from_iter<I: IntoIterator<Item = (String, Value)>>(entries: I) -> Self {
        let entries = entries.into_iter().map(|(k, v)| (Key::String(k.into()), v));
        Self::Map(Arc::new(Map::new(entries)))
    }
}
