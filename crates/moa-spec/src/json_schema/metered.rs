//! Values that count how often a validator looks at them, so that a check ends whatever its schema.
//!
//! A schema of a few lines can ask for more work than there are atoms (`oneOf` of two references to
//! a `oneOf` of two references …). The validator knows no limit; but all it does is done to values,
//! and values can be of any type that implements its traits.

use std::borrow::Cow;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use jsonschema::JsonType;
use jsonschema::json::{Array, Json, Node, NodeIdentity, Object, SerdeJson};
use serde_json::{Map, Value};

thread_local! {
    /// Steps that are left of the check that runs on this thread.
    static LEFT: Cell<u64> = const { Cell::new(0) };
}

/// What ends a check that has used up its steps.
struct UsedUp;

/// Makes a check of `value`; `None` when it takes more than `steps`.
pub(super) fn metered<T>(
    value: &Value,
    steps: u64,
    check: impl FnOnce(Metered<'_>) -> T,
) -> Option<T> {
    LEFT.set(steps);
    // Safe to catch: a validator keeps nothing between checks that an early end could leave halfway.
    match catch_unwind(AssertUnwindSafe(|| check(Metered(value)))) {
        Ok(answer) => Some(answer),
        Err(ended) if ended.is::<UsedUp>() => None,
        Err(panic) => resume_unwind(panic),
    }
}

/// Takes from the steps that are left. Ends the check when there are none, past all that the
/// validator still wants to try: no panic, so no message and no backtrace.
fn count(steps: usize) {
    match LEFT.get().checked_sub(1 + steps as u64) {
        Some(left) => LEFT.set(left),
        None => resume_unwind(Box::new(UsedUp)),
    }
}

/// Bytes of a text that count as one step.
const BYTES_PER_STEP: usize = 32;

/// The type of values that count.
pub(super) struct MeteredJson;

/// A value that counts.
#[derive(Clone, Copy)]
pub(super) struct Metered<'a>(&'a Value);

impl Json for MeteredJson {
    type Node<'a> = Metered<'a>;
    type PreparedKey = String;
    type StringBuffer = Value;
    const KEYS_PER_LOOKUP: usize = SerdeJson::KEYS_PER_LOOKUP;

    fn prepare_key(key: &str) -> String {
        key.to_owned()
    }

    fn with_string_node<T>(
        buffer: &mut Value,
        string: &str,
        f: impl FnOnce(Metered<'_>) -> T,
    ) -> T {
        *buffer = Value::String(string.to_owned());
        f(Metered(buffer))
    }
}

impl<'a> Node<'a, MeteredJson> for Metered<'a> {
    type Object = MeteredMap<'a>;
    type Array = MeteredList<'a>;
    type Number = &'a serde_json::Number;

    fn as_object(&self) -> Option<MeteredMap<'a>> {
        count(0);
        self.0.as_object().map(MeteredMap)
    }

    fn as_array(&self) -> Option<MeteredList<'a>> {
        count(0);
        self.0.as_array().map(|items| MeteredList(items))
    }

    fn as_string(&self) -> Option<Cow<'a, str>> {
        let text = self.0.as_str();
        count(text.map_or(0, str::len) / BYTES_PER_STEP);
        text.map(Cow::Borrowed)
    }

    fn as_number(&self) -> Option<&'a serde_json::Number> {
        count(0);
        self.0.as_number()
    }

    fn as_boolean(&self) -> Option<bool> {
        count(0);
        self.0.as_bool()
    }

    fn is_null(&self) -> bool {
        count(0);
        self.0.is_null()
    }

    fn json_type(&self) -> JsonType {
        count(0);
        Node::<SerdeJson>::json_type(&self.0)
    }

    fn string_length(&self) -> Option<u64> {
        count(self.0.as_str().map_or(0, str::len) / BYTES_PER_STEP);
        Node::<SerdeJson>::string_length(&self.0)
    }

    fn equals_value(&self, expected: &Value) -> bool {
        count(0);
        Node::<SerdeJson>::equals_value(&self.0, expected)
    }

    fn to_value(&self) -> Cow<'a, Value> {
        count(0);
        Cow::Borrowed(self.0)
    }

    fn identity(&self) -> Option<NodeIdentity> {
        count(0);
        Node::<SerdeJson>::identity(&self.0)
    }
}

/// A mapping that counts.
#[derive(Clone, Copy)]
pub(super) struct MeteredMap<'a>(&'a Map<String, Value>);

type Members<'a> = std::iter::Map<serde_json::map::Iter<'a>, Member<'a>>;
type Member<'a> = fn((&'a String, &'a Value)) -> (&'a str, Metered<'a>);

impl<'a> Object<'a, MeteredJson> for MeteredMap<'a> {
    type Node = Metered<'a>;
    type MemberName = &'a str;
    type MembersIter = Members<'a>;

    fn len(&self) -> usize {
        count(0);
        self.0.len()
    }

    fn get(&self, key: &String) -> Option<Metered<'a>> {
        count(0);
        self.0.get(key).map(Metered)
    }

    fn members(&self) -> Members<'a> {
        count(self.0.len());
        self.0.iter().map(|(name, value)| (name.as_str(), Metered(value)))
    }
}

/// A list that counts.
#[derive(Clone, Copy)]
pub(super) struct MeteredList<'a>(&'a [Value]);

type Elements<'a> = std::iter::Map<std::slice::Iter<'a, Value>, fn(&'a Value) -> Metered<'a>>;

impl<'a> Array<'a, MeteredJson> for MeteredList<'a> {
    type Node = Metered<'a>;
    type ElementsIter = Elements<'a>;

    fn len(&self) -> usize {
        count(0);
        self.0.len()
    }

    fn elements(&self) -> Elements<'a> {
        count(self.0.len());
        self.0.iter().map(Metered as fn(&'a Value) -> Metered<'a>)
    }

    fn is_unique(&self) -> bool {
        // Each item is looked at in all its depth.
        count(self.0.iter().map(size).sum());
        Array::<SerdeJson>::is_unique(&self.0)
    }
}

/// Values in a value, texts by their length.
fn size(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(size).sum(),
        Value::Object(map) => map.values().map(size).sum(),
        Value::String(text) => text.len() / BYTES_PER_STEP,
        _ => 0,
    }
}
