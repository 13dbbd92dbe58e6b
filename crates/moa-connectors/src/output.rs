//! Outputs: reading what an agent gave back, and the rules that an output keeps.
//!
//! JSON is read strictly: a key that stands twice in an object, nesting over
//! [`AGENT_OUTPUT_DEPTH_MAX`] and more than [`OUTPUT_BYTES_MAX`] are errors, for what is kept would
//! otherwise differ from what the agent meant, or could not be loaded again.

use std::cell::Cell;
use std::fmt;
use std::io;

use moa_core::limits::{AGENT_OUTPUT_DEPTH_MAX, OUTPUT_BYTES_MAX};
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value as Json};

/// A key that `serde_json` gives a meaning of its own when a value is read again.
const RESERVED_KEY: &str = "$serde_json::private::";

/// Why bytes are not an output.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It ends in the middle of a value.
    #[error("the JSON ends in the middle of a value (line {line}, column {column})")]
    Half {
        /// Line, from 1.
        line: usize,
        /// Column in bytes, from 1.
        column: usize,
    },
    /// It is not JSON, or more than one value.
    #[error("it is not one JSON value: {0}")]
    Syntax(String),
    /// It is JSON, but breaks a rule.
    #[error("{0}")]
    Rule(String),
}

/// Reads one JSON value, strictly.
///
/// # Errors
/// Says whether it is half a value, no JSON, or breaks a rule.
pub fn parse(bytes: &[u8]) -> Result<Json, Error> {
    if bytes.len() > OUTPUT_BYTES_MAX {
        return Err(Error::Rule(too_large(bytes.len())));
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let rule = Cell::new(None);
    let read = Strict { depth: 0, rule: &rule }.deserialize(&mut reader);
    read.and_then(|value| reader.end().map(|()| value)).map_err(|e| match rule.take() {
        Some(rule) => Error::Rule(format!("{rule} (line {}, column {})", e.line(), e.column())),
        None if e.is_eof() => Error::Half { line: e.line(), column: e.column() },
        None => Error::Syntax(e.to_string()),
    })
}

/// Checks a value that was made in this process by the same rules; gives its bytes as JSON.
///
/// # Errors
/// Says which rule it breaks, and what to do.
pub fn measure(value: &Json) -> Result<usize, String> {
    check(value, 0)?;
    let mut counter = Counter(0);
    // Invariant: a counter takes everything, and every `Json` can be written.
    let _ = serde_json::to_writer(&mut counter, value);
    if counter.0 > OUTPUT_BYTES_MAX { Err(too_large(counter.0)) } else { Ok(counter.0) }
}

fn check(value: &Json, depth: usize) -> Result<(), String> {
    match value {
        Json::Array(items) => {
            below(depth)?;
            items.iter().try_for_each(|item| check(item, depth + 1))
        }
        Json::Object(map) => {
            below(depth)?;
            map.iter().try_for_each(|(key, item)| {
                free(key)?;
                check(item, depth + 1)
            })
        }
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => Ok(()),
    }
}

/// Whether bytes that are no JSON, because of `error`, were meant to be: they begin as a JSON object or
/// list does. A log may begin with a bracket, too. `bytes` begin with no blank.
pub(crate) fn is_meant(bytes: &[u8], error: &Error) -> bool {
    let second = bytes.iter().skip(1).find(|b| !b.is_ascii_whitespace());
    match (bytes.first(), error) {
        (Some(b'{' | b'['), Error::Half { .. } | Error::Rule(_)) => true,
        (Some(b'{'), Error::Syntax(_)) => matches!(second, Some(b'"' | b'}')),
        _ => false,
    }
}

/// The words for an output over the limit.
pub(crate) fn too_large(bytes: usize) -> String {
    format!(
        "the output has {bytes} bytes, more than the {} MiB allowed; write it to a file and give \
         back its path",
        OUTPUT_BYTES_MAX >> 20
    )
}

fn below(depth: usize) -> Result<(), String> {
    if depth < AGENT_OUTPUT_DEPTH_MAX {
        return Ok(());
    }
    Err(format!(
        "the output is nested more than {AGENT_OUTPUT_DEPTH_MAX} deep; give it back flatter"
    ))
}

fn free(key: &str) -> Result<(), String> {
    if key.starts_with(RESERVED_KEY) {
        return Err(format!("the key {key:?} can't stand in an output; give it another name"));
    }
    Ok(())
}

struct Counter(usize);

impl io::Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads a value and notes in `rule` which rule it breaks.
#[derive(Clone, Copy)]
struct Strict<'a> {
    depth: usize,
    rule: &'a Cell<Option<String>>,
}

impl Strict<'_> {
    fn keep<T, E: serde::de::Error>(&self, checked: Result<T, String>) -> Result<T, E> {
        checked.map_err(|why| {
            self.rule.set(Some(why));
            E::custom("a rule is broken")
        })
    }

    fn deeper(self) -> Self {
        Self { depth: self.depth + 1, rule: self.rule }
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Json;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }
    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }
    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }
    fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
        Ok(value.into())
    }
    fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
        Ok(value.into())
    }
    fn visit_f64<E>(self, value: f64) -> Result<Json, E> {
        Ok(value.into())
    }
    fn visit_str<E>(self, value: &str) -> Result<Json, E> {
        Ok(Json::String(value.to_owned()))
    }
    fn visit_string<E>(self, value: String) -> Result<Json, E> {
        Ok(Json::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Json, A::Error> {
        self.keep(below(self.depth))?;
        let mut items = Vec::new();
        while let Some(item) = access.next_element_seed(self.deeper())? {
            items.push(item);
        }
        Ok(Json::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Json, A::Error> {
        self.keep(below(self.depth))?;
        let mut map = Map::new();
        while let Some(key) = access.next_key::<String>()? {
            self.keep(free(&key))?;
            if map.contains_key(&key) {
                let shown: String = key.chars().take(80).collect();
                let why = format!("the key {shown:?} stands twice in one object of the output");
                self.keep(Err(why))?;
            }
            let value = access.next_value_seed(self.deeper())?;
            map.insert(key, value);
        }
        Ok(Json::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn message(text: &str) -> String {
        parse(text.as_bytes()).expect_err("it breaks a rule").to_string()
    }

    #[test]
    fn mistakes_are_told_apart() {
        assert_eq!(message("{\"a\":"), "the JSON ends in the middle of a value (line 1, column 5)");
        assert!(message("{\"ok\":false,\n\"ok\":true}").contains("\"ok\" stands twice"));
        assert!(message("{\"v\":NaN}").contains("not one JSON value"));
        assert!(message("{\"v\":1e999}").contains("number out of range"));
        assert!(message("\"\\ud800\"").contains("hex escape"));
        assert!(message("{\"a\":1}\n{\"a\":2}").contains("trailing characters"));
        assert!(message("{\"$serde_json::private::RawValue\":1}").contains("another name"));
        assert_eq!(parse(b"\xef\xbb\xbf{\"z\":\"a\\u0000b\"}"), Ok(json!({"z": "a\u{0}b"})));
    }

    #[test]
    fn depth_is_limited_without_using_up_the_stack() {
        let nested = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        let deepest = parse(nested(AGENT_OUTPUT_DEPTH_MAX).as_bytes()).expect("as deep as may be");
        assert_eq!(measure(&deepest), Ok(2 * AGENT_OUTPUT_DEPTH_MAX));
        assert!(message(&nested(AGENT_OUTPUT_DEPTH_MAX + 1)).contains("nested more than"));
        assert!(message(&"[".repeat(2_000_000)).contains("nested more than"));
        assert!(measure(&json!([deepest])).is_err());
    }

    #[test]
    fn size_is_limited() {
        let text = json!("x".repeat(OUTPUT_BYTES_MAX));
        assert!(measure(&text).expect_err("too large").contains("16 MiB"));
        assert!(message(&text.to_string()).contains("write it to a file"));
    }

    fn any_json() -> impl Strategy<Value = Json> {
        let leaf = prop_oneof![
            Just(Json::Null),
            any::<bool>().prop_map(Json::from),
            any::<i64>().prop_map(Json::from),
            any::<f64>().prop_map(Json::from),
            any::<String>().prop_map(Json::from),
        ];
        leaf.prop_recursive(6, 64, 8, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..8).prop_map(Json::from),
                proptest::collection::btree_map(any::<String>(), inner, 0..8)
                    .prop_map(|map| map.into_iter().collect()),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(value in any_json()) {
            let text = value.to_string();
            prop_assert_eq!(measure(&value), Ok(text.len()));
            let again: Json = serde_json::from_str(&text).expect("it is JSON");
            prop_assert_eq!(parse(text.as_bytes()), Ok(again));
        }

        /// No bytes make it panic, and it agrees with `serde_json` on what is JSON.
        #[test]
        fn any_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let lax: Result<Json, _> = serde_json::from_slice(&bytes);
            prop_assert!(lax.is_ok() || bytes.starts_with(b"\xef\xbb\xbf") || parse(&bytes).is_err());
        }

        /// The same for what is nearly JSON.
        #[test]
        fn broken_json_is_answered(value in any_json(), at in any::<usize>(), byte in any::<u8>()) {
            let mut bytes = value.to_string().into_bytes();
            let at = at % bytes.len();
            bytes[at] = byte;
            if let Ok(read) = parse(&bytes) {
                prop_assert!(serde_json::from_slice::<Json>(&bytes).is_ok());
                prop_assert!(measure(&read).is_ok());
            }
            let _ = parse(&bytes[..at]);
        }
    }
}
