//! Maps: keys in the order they were written, found by binary search.

use std::cmp::Ordering;
use std::sync::Arc;

use serde_json::Value as Json;

use super::value::Value;

/// A key of a map. JSON objects have text keys only.
#[derive(Debug, Clone, PartialEq)]
pub enum Key {
    /// `true`, `false`
    Bool(bool),
    /// A 64-bit integer.
    Int(i64),
    /// An unsigned 64-bit integer; equal to the int of the same number.
    Uint(u64),
    /// Text.
    String(Arc<str>),
}

/// A key borrowed for a search, with int and uint made one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Probe<'k> {
    Bool(bool),
    Number(i128),
    String(&'k str),
}

impl Key {
    pub(super) fn probe(&self) -> Probe<'_> {
        match self {
            Self::Bool(b) => Probe::Bool(*b),
            Self::Int(n) => Probe::Number(i128::from(*n)),
            Self::Uint(n) => Probe::Number(i128::from(*n)),
            Self::String(s) => Probe::String(s),
        }
    }

    /// The key as JSON has it: text.
    pub fn to_text(&self) -> String {
        match self {
            Self::Bool(b) => b.to_string(),
            Self::Int(n) => n.to_string(),
            Self::Uint(n) => n.to_string(),
            Self::String(s) => s.as_ref().to_owned(),
        }
    }
}

/// Entries in insertion order with an index sorted by key. Never changed once built.
#[derive(Debug, Clone)]
pub(super) struct Table<V> {
    entries: Vec<(Key, V)>,
    order: Vec<u32>,
}

impl<V> Table<V> {
    /// Of entries whose keys must differ; otherwise the position of the first repeated key.
    pub fn new(entries: Vec<(Key, V)>) -> Result<Self, usize> {
        let mut order: Vec<u32> = (0..entries.len() as u32).collect();
        let key = |i: u32| entries[i as usize].0.probe();
        order.sort_by(|a, b| key(*a).cmp(&key(*b)));
        let repeated = order.windows(2).find(|w| key(w[0]) == key(w[1]));
        if let Some(&[_, second]) = repeated {
            return Err(second as usize);
        }
        Ok(Self { entries, order })
    }

    /// Of entries of which the last counts where a key is repeated.
    pub fn last_wins(mut entries: Vec<(Key, V)>) -> Self {
        let mut order: Vec<u32> = (0..entries.len() as u32).collect();
        let key = |i: u32| entries[i as usize].0.probe();
        order.sort_by(|a, b| key(*a).cmp(&key(*b)));
        let mut dropped: Vec<u32> =
            order.windows(2).filter(|w| key(w[0]) == key(w[1])).map(|w| w[0]).collect();
        dropped.sort_unstable();
        let mut index = 0u32;
        entries.retain(|_| {
            index += 1;
            dropped.binary_search(&(index - 1)).is_err()
        });
        Self::new(entries).unwrap_or(Self { entries: Vec::new(), order: Vec::new() })
    }

    pub fn get(&self, probe: Probe<'_>) -> Option<&V> {
        let compare = |i: &u32| -> Ordering { self.entries[*i as usize].0.probe().cmp(&probe) };
        let found = self.order.binary_search_by(compare).ok()?;
        Some(&self.entries[self.order[found] as usize].1)
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn at(&self, index: usize) -> Option<&(Key, V)> {
        self.entries.get(index)
    }

    pub fn iter(&self) -> std::slice::Iter<'_, (Key, V)> {
        self.entries.iter()
    }
}

/// A map of expression values, with the members of a JSON object behind it where there is one.
#[derive(Debug, Clone)]
pub struct Map {
    pub(super) own: Table<Value>,
    pub(super) base: Option<Arc<Json>>,
}

impl Map {
    /// A map of these entries. The last of entries with the same key counts.
    pub fn new(entries: impl IntoIterator<Item = (Key, Value)>) -> Self {
        Self { own: Table::last_wins(entries.into_iter().collect()), base: None }
    }

    /// Keys, those of the object behind it included.
    pub(super) fn len(&self) -> usize {
        let Some(Json::Object(base)) = self.base.as_deref() else {
            return self.own.len();
        };
        let hidden = self.own.iter().filter(|(key, _)| match key {
            Key::String(name) => base.contains_key(&**name),
            _ => false,
        });
        self.own.len() + base.len() - hidden.count()
    }

    /// A map of named fields over a JSON object: a name that is not among the fields is looked up
    /// in the object, in place. Anything but an object has no members.
    pub fn over(fields: impl IntoIterator<Item = (&'static str, Value)>, base: Arc<Json>) -> Self {
        let fields = fields.into_iter().map(|(name, value)| (Key::String(name.into()), value));
        Self { base: Some(base), ..Self::new(fields) }
    }
}
