//! What is known of values before there are any: types, as sets of what a value may be.
//!
//! A type never says less than what can happen: where nothing is known, a value may be anything.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::value::Value;

/// What a value may be.
#[derive(Debug, Clone, PartialEq)]
pub struct Type {
    pub(super) kinds: Kinds,
    /// What the items are, if it is a list; `None` = anything.
    pub(super) items: Option<Arc<Type>>,
    /// What is known of the keys, if it is a map; `None` = nothing.
    pub(super) fields: Option<Arc<Fields>>,
}

/// What is known of the keys of a map.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Fields {
    /// What the values of these keys are, where those are there.
    pub known: BTreeMap<String, Type>,
    /// Whether there are no others.
    pub closed: bool,
}

/// Where expressions' free names come from, before there are values.
pub trait Types {
    /// What the value of a top-level name will be.
    fn lookup(&self, name: &str) -> Type;
}

/// What a value is to be used as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// As it is.
    Anything,
    /// A condition: true or false.
    Condition,
    /// What a loop goes over: a list or a map.
    Items,
}

/// Kinds of values: the bits of a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kinds(u16);

impl Kinds {
    pub const NONE: Self = Self(0);
    pub const NULL: Self = Self(1);
    pub const BOOL: Self = Self(1 << 1);
    pub const INT: Self = Self(1 << 2);
    pub const UINT: Self = Self(1 << 3);
    pub const DOUBLE: Self = Self(1 << 4);
    pub const STRING: Self = Self(1 << 5);
    pub const BYTES: Self = Self(1 << 6);
    pub const TIMESTAMP: Self = Self(1 << 7);
    pub const DURATION: Self = Self(1 << 8);
    pub const TYPE: Self = Self(1 << 9);
    pub const LIST: Self = Self(1 << 10);
    pub const MAP: Self = Self(1 << 11);
    pub const OPTIONAL: Self = Self(1 << 12);
    pub const NUMBER: Self = Self(Self::INT.0 | Self::UINT.0 | Self::DOUBLE.0);
    pub const ANY: Self = Self((1 << 13) - 1);

    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What is in both.
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether a value of this may be of one of those.
    pub const fn may_be(self, those: Self) -> bool {
        !self.and(those).is_empty()
    }

    /// Each kind by itself.
    pub fn each(self) -> impl Iterator<Item = Self> {
        (0..13).map(|bit| Self(1 << bit)).filter(move |one| self.may_be(*one))
    }

    /// What it is called in a sentence: "an int", "a string or null".
    pub fn described(self) -> String {
        if self == Self::NUMBER {
            return "a number".to_owned();
        }
        let names: Vec<&str> = self.each().map(Self::name).collect();
        names.join(" or ")
    }

    fn name(self) -> &'static str {
        match self {
            Self::NULL => "null",
            Self::BOOL => "a bool",
            Self::INT => "an int",
            Self::UINT => "a uint",
            Self::DOUBLE => "a double",
            Self::STRING => "a string",
            Self::BYTES => "bytes",
            Self::TIMESTAMP => "a timestamp",
            Self::DURATION => "a duration",
            Self::TYPE => "a type",
            Self::LIST => "a list",
            Self::MAP => "a map",
            _ => "an optional",
        }
    }
}

impl Type {
    pub(super) const fn of(kinds: Kinds) -> Self {
        Self { kinds, items: None, fields: None }
    }

    /// Anything.
    pub const fn any() -> Self {
        Self::of(Kinds::ANY)
    }

    /// Nothing at all: to be joined with others by [`Type::or`].
    pub const fn never() -> Self {
        Self::of(Kinds::NONE)
    }

    /// null
    pub const fn null() -> Self {
        Self::of(Kinds::NULL)
    }

    /// true or false
    pub const fn bool() -> Self {
        Self::of(Kinds::BOOL)
    }

    /// An integer of the language, which no other number is.
    pub const fn int() -> Self {
        Self::of(Kinds::INT)
    }

    /// A number of JSON, whole or not: an int, a uint or a double.
    pub const fn number() -> Self {
        Self::of(Kinds::NUMBER)
    }

    /// A text.
    pub const fn string() -> Self {
        Self::of(Kinds::STRING)
    }

    /// A list of such items.
    pub fn list(items: Self) -> Self {
        Self { items: Some(Arc::new(items)), ..Self::of(Kinds::LIST) }
    }

    /// A map whose keys have such values, where they are there; with `closed` it has no others.
    pub fn map(known: BTreeMap<String, Self>, closed: bool) -> Self {
        let fields = Fields { known, closed };
        Self { fields: Some(Arc::new(fields)), ..Self::of(Kinds::MAP) }
    }

    /// With these keys before those that it has, if it is a map: they are always there.
    ///
    /// A value of another type has them alone.
    pub fn over(self, keys: BTreeMap<String, Self>) -> Self {
        let (mut known, closed) = match self.fields.as_deref() {
            Some(fields) => (fields.known.clone(), fields.closed),
            None => (BTreeMap::new(), !self.kinds.may_be(Kinds::MAP)),
        };
        known.extend(keys);
        Self::map(known, closed)
    }

    /// This, or a map that has such keys in place of its own.
    pub fn or_with_keys(self, keys: BTreeMap<String, Self>) -> Self {
        match self.fields.as_deref() {
            Some(fields) => {
                let mut known = keys;
                known.extend(fields.known.clone());
                let fields = Fields { known, closed: fields.closed };
                Self { kinds: self.kinds.or(Kinds::MAP), fields: Some(Arc::new(fields)), ..self }
            }
            None => self.or(Self::map(keys, true)),
        }
    }

    /// What a value is that is there already.
    pub fn of_value(value: &Value) -> Self {
        Self::of(match value.type_name() {
            "null_type" => Kinds::NULL,
            "bool" => Kinds::BOOL,
            "int" => Kinds::INT,
            "uint" => Kinds::UINT,
            "double" => Kinds::DOUBLE,
            "string" => Kinds::STRING,
            "bytes" => Kinds::BYTES,
            "timestamp" => Kinds::TIMESTAMP,
            "duration" => Kinds::DURATION,
            "type" => Kinds::TYPE,
            "list" => Kinds::LIST,
            "map" => Kinds::MAP,
            _ => Kinds::ANY,
        })
    }

    /// Whether no value is of it.
    pub const fn is_never(&self) -> bool {
        self.kinds.is_empty()
    }

    /// What is of this type or of the other one.
    pub fn or(self, other: Self) -> Self {
        let kinds = self.kinds.or(other.kinds);
        let items = joined((&self, self.items.clone()), (&other, other.items.clone()), Kinds::LIST);
        let fields =
            joined((&self, self.fields.clone()), (&other, other.fields.clone()), Kinds::MAP);
        Self { kinds, items, fields }
    }

    /// What is known of the values at a key of a map of this type; anything, if nothing is.
    pub(super) fn field(&self, name: &str) -> Self {
        let known = self.fields.as_ref().and_then(|fields| fields.known.get(name));
        known.cloned().unwrap_or(Self::any())
    }

    /// Whether a map of this type can't have that key.
    pub(super) fn lacks(&self, name: &str) -> bool {
        self.fields.as_ref().is_some_and(|f| f.closed && !f.known.contains_key(name))
    }

    pub(super) fn items(&self) -> Self {
        self.items.as_deref().cloned().unwrap_or(Self::any())
    }
}

/// What is known of the inside of either: only what is known of both, if both can have one.
fn joined<T: PartialEq>(
    (a, inside_a): (&Type, Option<Arc<T>>),
    (b, inside_b): (&Type, Option<Arc<T>>),
    kind: Kinds,
) -> Option<Arc<T>> {
    match (a.kinds.may_be(kind), b.kinds.may_be(kind)) {
        (true, false) => inside_a,
        (false, true) => inside_b,
        _ => inside_a.filter(|a| inside_b.is_some_and(|b| *a == b)),
    }
}
