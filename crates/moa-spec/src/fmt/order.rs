//! The canonical order of keys, read off the JSON Schema of the file.

use serde_json::{Map, Value as Json};

use crate::schema::{SchemaKind, schema};
use crate::yaml::{Data, Node};

/// The order of keys of one kind of file.
pub(super) struct KeyOrder {
    root: Json,
}

/// The schema that holds at one place of the file.
#[derive(Clone, Copy)]
pub(super) struct Spot<'s>(Option<&'s Json>);

impl KeyOrder {
    /// The order for a file, whose kind its keys tell.
    pub(super) fn of(root: &Node) -> Self {
        let has = |key: &str| root.get(key).is_some();
        let kind = if has("steps") {
            SchemaKind::Workflow
        } else if ["agents", "command", "shell", "http"].iter().any(|key| has(key)) {
            SchemaKind::Agents
        } else {
            SchemaKind::Settings
        };
        Self { root: schema(kind) }
    }

    /// The place of the whole file.
    pub(super) fn start(&self) -> Spot<'_> {
        Spot(Some(&self.root))
    }

    fn resolve<'s>(&'s self, mut schema: &'s Json) -> &'s Json {
        // Invariant: definitions don't refer to each other in a circle of bare references.
        for _ in 0..8 {
            let Some(name) = schema.get("$ref").and_then(Json::as_str) else { break };
            match self.root.pointer(name.trim_start_matches('#')) {
                Some(next) => schema = next,
                None => break,
            }
        }
        schema
    }

    /// The schemas that may hold at a spot: itself, or its alternatives.
    fn alternatives<'s>(&'s self, spot: Spot<'s>) -> Vec<&'s Json> {
        let mut found = Vec::new();
        let mut todo: Vec<&Json> = spot.0.into_iter().collect();
        while let Some(schema) = todo.pop() {
            let schema = self.resolve(schema);
            for key in ["anyOf", "allOf", "oneOf"] {
                todo.extend(schema.get(key).and_then(Json::as_array).into_iter().flatten());
            }
            found.push(schema);
            if found.len() > 64 {
                break;
            }
        }
        found
    }

    /// What is known of the mapping at a spot that has these keys.
    pub(super) fn mapping<'s>(&'s self, spot: Spot<'s>, given: &[&str]) -> Mapping<'s> {
        let all = self.alternatives(spot);
        let maps = all.iter().filter_map(|s| s.get("properties").and_then(Json::as_object));
        let hits = |map: &Map<String, Json>| given.iter().filter(|k| map.contains_key(**k)).count();
        let declared = maps.map(|map| (hits(map), map)).filter(|(hits, _)| *hits > 0);
        Mapping {
            declared: declared.max_by_key(|(hits, _)| *hits).map(|(_, map)| map),
            rest: all.iter().filter_map(|s| s.get("additionalProperties")).find(|s| s.is_object()),
        }
    }

    /// The place of a list's items.
    pub(super) fn item<'s>(&'s self, spot: Spot<'s>) -> Spot<'s> {
        let all = self.alternatives(spot).into_iter();
        Spot(all.filter_map(|s| s.get("items")).find(|s| s.is_object()))
    }
}

/// What is known of one mapping.
pub(super) struct Mapping<'s> {
    /// Its declared keys in order; `None` = keys of the author's choice.
    declared: Option<&'s Map<String, Json>>,
    /// The schema of the values of other keys.
    rest: Option<&'s Json>,
}

impl<'s> Mapping<'s> {
    /// Whether its keys are of the author's choice.
    pub(super) fn is_free(&self) -> bool {
        self.declared.is_none()
    }

    /// The rank of a key among the declared ones.
    pub(super) fn rank(&self, key: &str) -> usize {
        let place = self.declared.and_then(|map| map.keys().position(|k| k == key));
        place.unwrap_or(usize::MAX)
    }

    /// The place of a key's value.
    pub(super) fn entry(&self, key: &str) -> Spot<'s> {
        match self.declared {
            Some(map) => Spot(map.get(key)),
            None => Spot(self.rest),
        }
    }
}

/// Whether mappings whose keys are free have them in the same order in both trees.
pub(super) fn same_free_order(a: &Node, b: &Node) -> bool {
    let order = KeyOrder::of(a);
    same(&order, order.start(), a, b)
}

fn same(order: &KeyOrder, spot: Spot, a: &Node, b: &Node) -> bool {
    match (&a.data, &b.data) {
        (Data::List(a), Data::List(b)) => {
            let inner = order.item(spot);
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(order, inner, a, b))
        }
        (Data::Map(left), Data::Map(right)) => {
            let given: Vec<&str> = left.iter().map(|(k, _)| k.text.as_str()).collect();
            let mapping = order.mapping(spot, &given);
            if left.len() != right.len() {
                return false;
            }
            if mapping.is_free() {
                return left.iter().zip(right).all(|((ka, va), (kb, vb))| {
                    ka.text == kb.text && same(order, mapping.entry(&ka.text), va, vb)
                });
            }
            left.iter().all(|(key, value)| {
                let inner = mapping.entry(&key.text);
                b.get(&key.text).is_some_and(|other| same(order, inner, value, other))
            })
        }
        _ => true,
    }
}
