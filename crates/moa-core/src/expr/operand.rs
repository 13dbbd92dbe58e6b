//! Values while an expression is evaluated: what comes from outside is borrowed in place.
//!
//! Lists and maps that the expression builds know their size as a tree. Sharing makes a value of a
//! few bytes stand for a tree of gigabytes (`[x, x]` of `[y, y]` of …); the size is what stops it
//! before somebody writes it out.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value as Json;

use super::compare::Number;
use super::convert;
use super::eval::{Context, Fault};
use super::table::{Key, Map, Probe, Table};
use super::value::Value;

/// A value on the stack of an evaluation that borrows from its scope for `'a`.
#[derive(Debug, Clone)]
pub(super) enum Operand<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    Str(Text<'a>),
    Bytes(Arc<[u8]>),
    Timestamp(Timestamp),
    Duration(SignedDuration),
    Type(&'static str),
    /// An array or object of the scope.
    Json(&'a Json),
    /// A `Value::List` of the scope.
    HeldList(&'a [Value]),
    /// A `Value::Map` of the scope.
    HeldMap(&'a Map),
    List(Arc<Built<Vec<Operand<'a>>>>),
    Map(Arc<Built<Table<Operand<'a>>>>),
    Optional(Option<Arc<Operand<'a>>>),
    /// An error on its way to `&&`, `||`, `all` or `exists`. Never inside another value.
    Fault(Box<Fault<'a>>),
}

/// Text borrowed from the scope or the program, or made by the expression.
#[derive(Debug, Clone)]
pub(super) enum Text<'a> {
    Borrowed(&'a str),
    Made(Arc<str>),
}

impl Text<'_> {
    pub fn as_str(&self) -> &str {
        match self {
            Self::Borrowed(s) => s,
            Self::Made(s) => s,
        }
    }
}

/// A list or map with the size of the tree that it stands for.
#[derive(Debug)]
pub(super) struct Built<T> {
    pub content: T,
    pub size: Size,
}

/// How large a value is when written out: about its bytes, and its levels.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Size {
    pub bytes: u64,
    pub depth: u32,
}

/// Bytes that a value costs beside its text.
const NODE_BYTES: u64 = 16;

impl<'a> Operand<'a> {
    /// The value of the scope, seen in place.
    pub fn of(value: &'a Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(b) => Self::Bool(*b),
            Value::Int(n) => Self::Int(*n),
            Value::Uint(n) => Self::Uint(*n),
            Value::Double(n) => Self::Double(*n),
            Value::String(s) => Self::Str(Text::Borrowed(s)),
            Value::Bytes(b) => Self::Bytes(b.clone()),
            Value::Timestamp(t) => Self::Timestamp(*t),
            Value::Duration(d) => Self::Duration(*d),
            Value::Type(name) => Self::Type(name),
            Value::List(items) => Self::HeldList(items),
            Value::Map(map) => Self::HeldMap(map),
            Value::Json(json) => Self::of_json(json),
        }
    }

    /// The JSON value of the scope, seen in place.
    pub fn of_json(json: &'a Json) -> Self {
        match json {
            Json::Null => Self::Null,
            Json::Bool(b) => Self::Bool(*b),
            Json::Number(n) => match convert::number(n) {
                Value::Int(n) => Self::Int(n),
                Value::Uint(n) => Self::Uint(n),
                Value::Double(n) => Self::Double(n),
                _ => Self::Null,
            },
            Json::String(s) => Self::Str(Text::Borrowed(s)),
            Json::Array(_) | Json::Object(_) => Self::Json(json),
        }
    }

    fn of_key(key: &Key) -> Self {
        match key {
            Key::Bool(b) => Self::Bool(*b),
            Key::Int(n) => Self::Int(*n),
            Key::Uint(n) => Self::Uint(*n),
            Key::String(s) => Self::Str(Text::Made(s.clone())),
        }
    }

    /// What it is called in the language.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "null_type",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Uint(_) => "uint",
            Self::Double(_) => "double",
            Self::Str(_) => "string",
            Self::Bytes(_) => "bytes",
            Self::Timestamp(_) => "timestamp",
            Self::Duration(_) => "duration",
            Self::Type(_) => "type",
            Self::Json(Json::Array(_)) | Self::HeldList(_) | Self::List(_) => "list",
            Self::Json(_) | Self::HeldMap(_) | Self::Map(_) => "map",
            Self::Optional(_) => "optional_type",
            Self::Fault(_) => "error",
        }
    }

    /// What it is called in a sentence: "an int".
    pub fn described(&self) -> &'static str {
        match self.type_name() {
            "null_type" => "null",
            "bool" => "a bool",
            "int" => "an int",
            "uint" => "a uint",
            "double" => "a double",
            "string" => "a string",
            "bytes" => "bytes",
            "timestamp" => "a timestamp",
            "duration" => "a duration",
            "type" => "a type",
            "list" => "a list",
            "map" => "a map",
            _ => "an optional",
        }
    }

    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Str(text) => Some(text.as_str()),
            _ => None,
        }
    }

    pub fn as_number(&self) -> Option<Number> {
        match self {
            Self::Int(n) => Some(Number::Int(*n)),
            Self::Uint(n) => Some(Number::Uint(*n)),
            Self::Double(n) => Some(Number::Double(*n)),
            _ => None,
        }
    }

    /// Bytes of its text when written out, where it is text.
    fn text_bytes(&self) -> u64 {
        match self {
            Self::Str(text) => text.as_str().len() as u64,
            Self::Bytes(bytes) => bytes.len().div_ceil(3) as u64 * 4,
            _ => 0,
        }
    }

    /// The key to search a map for; `None` when it is no possible key.
    pub fn as_probe(&self) -> Option<Probe<'_>> {
        match self {
            Self::Bool(b) => Some(Probe::Bool(*b)),
            Self::Str(text) => Some(Probe::String(text.as_str())),
            _ => self.as_number()?.to_integer().map(Probe::Number),
        }
    }

    /// The key to build a map with.
    pub fn into_key(self) -> Option<Key> {
        match self {
            Self::Bool(b) => Some(Key::Bool(b)),
            Self::Int(n) => Some(Key::Int(n)),
            Self::Uint(n) => Some(Key::Uint(n)),
            Self::Str(Text::Borrowed(s)) => Some(Key::String(s.into())),
            Self::Str(Text::Made(s)) => Some(Key::String(s)),
            _ => None,
        }
    }

    pub fn is_list(&self) -> bool {
        matches!(self, Self::List(_) | Self::HeldList(_) | Self::Json(Json::Array(_)))
    }

    pub fn is_map(&self) -> bool {
        matches!(self, Self::Map(_) | Self::HeldMap(_) | Self::Json(Json::Object(_)))
    }

    /// Items of a list or entries of a map.
    pub fn len(&self) -> Option<usize> {
        Some(match self {
            Self::List(list) => list.content.len(),
            Self::HeldList(list) => list.len(),
            Self::Json(Json::Array(items)) => items.len(),
            Self::Map(map) => map.content.len(),
            Self::Json(Json::Object(members)) => members.len(),
            Self::HeldMap(map) => map.len(),
            _ => return None,
        })
    }

    /// The item of a list.
    pub fn item(&self, index: usize) -> Option<Operand<'a>> {
        match self {
            Self::List(list) => list.content.get(index).cloned(),
            Self::HeldList(list) => list.get(index).map(Self::of),
            Self::Json(Json::Array(items)) => items.get(index).map(Self::of_json),
            _ => None,
        }
    }

    /// The value of a map's key.
    pub fn get(&self, key: Probe<'_>) -> Option<Operand<'a>> {
        match (self, key) {
            (Self::Json(Json::Object(members)), Probe::String(name)) => {
                members.get(name).map(Self::of_json)
            }
            (Self::Map(map), _) => map.content.get(key).cloned(),
            (Self::HeldMap(map), _) => match (map.own.get(key), key) {
                (Some(value), _) => Some(Self::of(value)),
                (None, Probe::String(name)) => map.base.as_ref()?.get(name).map(Self::of_json),
                _ => None,
            },
            _ => None,
        }
    }

    /// The items of a list or the keys of a map, in order; `None` of anything else.
    pub fn items(&self) -> Option<Items<'a>> {
        Some(match self {
            Self::List(list) => Items::List(list.clone(), 0),
            Self::HeldList(list) => Items::HeldList(list.iter()),
            Self::Json(Json::Array(items)) => Items::Array(items.iter()),
            Self::Map(map) => Items::Map(map.clone(), 0),
            Self::Json(Json::Object(members)) => Items::Object(members.keys()),
            Self::HeldMap(map) => Items::HeldMap(map, 0, map.base.as_ref().and_then(keys_of)),
            _ => return None,
        })
    }

    /// Takes a list of the expression's own making apart without copying where it is not shared.
    pub fn into_items(self) -> Option<Vec<Operand<'a>>> {
        match self {
            Self::List(list) => Some(match Arc::try_unwrap(list) {
                Ok(own) => own.content,
                Err(shared) => shared.content.clone(),
            }),
            other if other.is_list() => other.items().map(Iterator::collect),
            _ => None,
        }
    }
}

fn keys_of(json: &Arc<Json>) -> Option<serde_json::map::Keys<'_>> {
    json.as_object().map(serde_json::Map::keys)
}

/// Walks the items of a list or the keys of a map.
#[derive(Debug)]
pub(super) enum Items<'a> {
    List(Arc<Built<Vec<Operand<'a>>>>, usize),
    HeldList(std::slice::Iter<'a, Value>),
    Array(std::slice::Iter<'a, Json>),
    Map(Arc<Built<Table<Operand<'a>>>>, usize),
    Object(serde_json::map::Keys<'a>),
    HeldMap(&'a Map, usize, Option<serde_json::map::Keys<'a>>),
    One(Option<Operand<'a>>),
}

impl<'a> Iterator for Items<'a> {
    type Item = Operand<'a>;

    fn next(&mut self) -> Option<Operand<'a>> {
        match self {
            Self::List(list, at) => {
                *at += 1;
                list.content.get(*at - 1).cloned()
            }
            Self::HeldList(items) => items.next().map(Operand::of),
            Self::Array(items) => items.next().map(Operand::of_json),
            Self::Map(map, at) => {
                *at += 1;
                map.content.at(*at - 1).map(|(key, _)| Operand::of_key(key))
            }
            Self::Object(keys) => keys.next().map(|k| Operand::Str(Text::Borrowed(k))),
            Self::One(value) => value.take(),
            Self::HeldMap(map, at, base) => {
                *at += 1;
                if let Some((key, _)) = map.own.at(*at - 1) {
                    return Some(Operand::of_key(key));
                }
                let hidden = |name: &&String| map.own.get(Probe::String(name)).is_none();
                base.as_mut()?.find(hidden).map(|k| Operand::Str(Text::Borrowed(k)))
            }
        }
    }
}

/// What comes out of an evaluation.
impl<'a> Operand<'a> {
    /// The size when written out; bounded in depth, so that nothing recurses without end.
    pub fn size(&self, cx: &mut Context<'a, '_>) -> Result<Size, Fault<'a>> {
        match self {
            Self::List(list) => Ok(list.size),
            Self::Map(map) => Ok(map.size),
            Self::Optional(Some(inner)) => inner.size(cx),
            Self::Json(_) | Self::HeldList(_) | Self::HeldMap(_) => cx.measure(self),
            _ => Ok(Size { bytes: NODE_BYTES + self.text_bytes(), depth: 0 }),
        }
    }

    /// The owned value. JSON that the scope shares stays shared where it is given back whole.
    pub fn into_value(self, cx: &mut Context<'a, '_>) -> Result<Value, Fault<'a>> {
        if let Self::Json(json) = self
            && let Some(shared) = cx.shared(json)
        {
            return Ok(Value::Json(shared));
        }
        let size = self.size(cx)?;
        cx.allocate(size.bytes)?;
        Ok(self.owned())
    }

    /// The answer of a condition.
    pub fn into_bool(self) -> Result<bool, Fault<'a>> {
        match self {
            Self::Bool(b) => Ok(b),
            other => Err(Fault::not_a_condition(&other)),
        }
    }

    /// The JSON value.
    pub fn into_json(self, cx: &mut Context<'a, '_>) -> Result<Json, Fault<'a>> {
        let size = self.size(cx)?;
        cx.allocate(size.bytes)?;
        Ok(self.json())
    }

    /// The text that a template inserts: strings as they are, lists and maps as compact JSON.
    pub fn into_text(self, cx: &mut Context<'a, '_>) -> Result<String, Fault<'a>> {
        let size = self.size(cx)?;
        cx.allocate(size.bytes)?;
        Ok(match self {
            Self::Null => String::new(),
            Self::Str(text) => text.as_str().to_owned(),
            Self::Double(n) => convert::double_to_string(n),
            other => match other.json() {
                Json::String(text) => text,
                json => json.to_string(),
            },
        })
    }

    // Invariant: the size was measured and charged before either of these two walks the value.
    fn owned(self) -> Value {
        match self {
            Self::Null | Self::Fault(_) | Self::Optional(None) => Value::Null,
            Self::Bool(b) => Value::Bool(b),
            Self::Int(n) => Value::Int(n),
            Self::Uint(n) => Value::Uint(n),
            Self::Double(n) => Value::Double(n),
            Self::Str(Text::Borrowed(s)) => Value::String(s.into()),
            Self::Str(Text::Made(s)) => Value::String(s),
            Self::Bytes(b) => Value::Bytes(b),
            Self::Timestamp(t) => Value::Timestamp(t),
            Self::Duration(d) => Value::Duration(d),
            Self::Type(name) => Value::Type(name),
            Self::Json(json) => Value::Json(Arc::new(json.clone())),
            Self::HeldList(items) => Value::List(items.into()),
            Self::HeldMap(map) => Value::Map(Arc::new(map.clone())),
            Self::List(list) => list.content.iter().cloned().map(Self::owned).collect(),
            Self::Map(map) => {
                let entries = map.content.iter().map(|(k, v)| (k.clone(), v.clone().owned()));
                Value::Map(Arc::new(Map::new(entries)))
            }
            Self::Optional(Some(inner)) => Arc::unwrap_or_clone(inner).owned(),
        }
    }

    fn json(&self) -> Json {
        match self {
            Self::Json(json) => (*json).clone(),
            Self::Str(text) => Json::from(text.as_str()),
            Self::List(list) => list.content.iter().map(Self::json).collect(),
            Self::Map(map) => map.content.iter().map(|(k, v)| (k.to_text(), v.json())).collect(),
            Self::Optional(Some(inner)) => inner.json(),
            other => other.clone().owned().to_json(),
        }
    }
}

/// Measures a value of the scope, at most `levels` deep; `None` when it is deeper. Answers also how
/// many values it holds. Recursion is on a stack of this function's own.
pub(super) fn measure_held<'a>(value: &Operand<'a>, levels: usize) -> Option<(Size, u64)> {
    let mut bytes = 0u64;
    let mut nodes = 0u64;
    let mut depth = 0;
    let mut open: Vec<(Items<'a>, Operand<'a>)> = Vec::new();
    let mut next = Some(value.clone());
    loop {
        if let Some(value) = next.take() {
            nodes += 1;
            bytes = bytes.saturating_add(NODE_BYTES).saturating_add(value.text_bytes());
            if let Some(items) = value.items() {
                open.push((items, value));
                depth = depth.max(open.len());
            }
            if open.len() > levels {
                return None;
            }
        }
        let Some((items, of)) = open.last_mut() else {
            return Some((Size { bytes, depth: depth as u32 }, nodes));
        };
        next = match items.next() {
            None => {
                open.pop();
                None
            }
            Some(item) if of.is_list() => Some(item),
            Some(key) => {
                bytes = bytes.saturating_add(key.text_bytes().max(8));
                key.as_probe().and_then(|probe| of.get(probe))
            }
        };
    }
}
