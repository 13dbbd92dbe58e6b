//! What a schema may ask for, told before it is compiled: compiling follows `$ref`, `allOf` and the
//! like at once, which a hostile schema can make deeper than the stack, or more than memory holds.

use std::collections::HashMap;

use moa_core::limits::{SCHEMA_ALTERNATIVES_MAX, SCHEMA_DEPTH_MAX};
use serde_json::{Map, Value as Json};

/// Keywords that apply a schema to the same part of the value.
const IN_PLACE: [&str; 4] = ["not", "if", "then", "else"];
/// Those with a list of schemas.
const IN_PLACE_LISTS: [&str; 3] = ["allOf", "anyOf", "oneOf"];
/// Those with a mapping of schemas.
const IN_PLACE_MAPS: [&str; 2] = ["dependentSchemas", "dependencies"];
/// References that mean something else in each place.
const DYNAMIC: [&str; 2] = ["$dynamicRef", "$recursiveRef"];

/// Whether a schema can be compiled, and checked against, in bounded time and stack.
///
/// # Errors
/// What it asks for too much of.
pub(super) fn check(schema: &Json) -> Result<(), String> {
    let mut anchors = HashMap::new();
    let mut objects = Vec::new();
    let mut open = vec![schema];
    while let Some(value) = open.pop() {
        match value {
            Json::Array(items) => open.extend(items),
            Json::Object(map) => {
                objects.push(map);
                open.extend(map.values());
                // Without dynamic references both are the same.
                for key in ["$anchor", "$dynamicAnchor"] {
                    if let Some(name) = map.get(key).and_then(Json::as_str) {
                        anchors.entry(name).or_insert(value);
                    }
                }
                let inner = !std::ptr::eq(value, schema);
                if inner && map.get("$id").is_some_and(Json::is_string) {
                    return Err("`$id` stands at the top of a schema only".into());
                }
                if let Some(key) =
                    DYNAMIC.iter().find(|k| map.get(**k).is_some_and(Json::is_string))
                {
                    return Err(format!("`{key}` is not known; write `$ref`"));
                }
            }
            _ => {}
        }
    }
    let mut weigher = Weigher { schema, anchors, known: HashMap::new() };
    for map in objects {
        weigher.weigh(map, 0)?;
    }
    Ok(())
}

/// What is known of one schema: how many schemas it applies to the same part of a value, itself
/// counted, and how deep they stand in one another. `None` = it is being found out.
type Known = Option<(u64, usize)>;

struct Weigher<'a> {
    schema: &'a Json,
    anchors: HashMap<&'a str, &'a Json>,
    known: HashMap<*const Map<String, Json>, Known>,
}

impl<'a> Weigher<'a> {
    fn weigh(&mut self, map: &'a Map<String, Json>, above: usize) -> Result<(u64, usize), String> {
        match self.known.get(&std::ptr::from_ref(map)) {
            Some(Some(known)) => return Ok(*known),
            Some(None) => return Err("it refers to itself without going into the value".into()),
            None => {}
        }
        let too_deep =
            || format!("`$ref`, `allOf` and the like are more than {SCHEMA_DEPTH_MAX} deep");
        if above >= SCHEMA_DEPTH_MAX {
            return Err(too_deep());
        }
        self.known.insert(map, None);
        let (mut weight, mut depth) = (1u64, 1);
        for inner in self.in_place(map)? {
            let Json::Object(inner) = inner else { continue };
            let (more, below) = self.weigh(inner, above + 1)?;
            weight = weight.saturating_add(more);
            depth = depth.max(below + 1);
        }
        if depth > SCHEMA_DEPTH_MAX {
            return Err(too_deep());
        }
        if weight > SCHEMA_ALTERNATIVES_MAX {
            let max = SCHEMA_ALTERNATIVES_MAX;
            return Err(format!("it applies more than {max} schemas to one part of a value"));
        }
        self.known.insert(map, Some((weight, depth)));
        Ok((weight, depth))
    }

    /// The schemas that this one applies to the same part of a value.
    fn in_place(&self, map: &'a Map<String, Json>) -> Result<Vec<&'a Json>, String> {
        let mut inner: Vec<&Json> = IN_PLACE.iter().filter_map(|key| map.get(*key)).collect();
        let lists = IN_PLACE_LISTS.iter().filter_map(|key| map.get(*key)?.as_array());
        inner.extend(lists.flatten());
        let maps = IN_PLACE_MAPS.iter().filter_map(|key| map.get(*key)?.as_object());
        inner.extend(maps.flat_map(Map::values));
        if let Some(reference) = map.get("$ref").and_then(Json::as_str) {
            inner.extend(self.target(reference)?);
        }
        Ok(inner)
    }

    /// What a reference refers to, if it is there.
    fn target(&self, reference: &str) -> Result<Option<&'a Json>, String> {
        let Some(fragment) = reference.strip_prefix('#') else {
            return Err("it refers to something outside itself".into());
        };
        let fragment = percent_decoded(fragment);
        match fragment.as_str() {
            "" => Ok(Some(self.schema)),
            pointer if pointer.starts_with('/') => Ok(self.schema.pointer(pointer)),
            anchor => Ok(self.anchors.get(anchor).copied()),
        }
    }
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|h| std::str::from_utf8(h).ok());
        match hex.and_then(|h| u8::from_str_radix(h, 16).ok()).filter(|_| *first == b'%') {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
