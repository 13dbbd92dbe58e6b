//! What differs between values, place by place.

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::Value as Json;

/// Changes that are told at most.
pub const CHANGES_MAX: usize = 2000;
/// Bytes of a value as JSON that are told; of a longer one its beginning, as text.
const VALUE_BYTES_MAX: usize = 16 << 10;
/// Bytes of all values as JSON that are told, about.
const BYTES_MAX: usize = 4 << 20;
/// How deep values are looked into; what is deeper is one value.
const DEPTH_MAX: usize = 32;

/// One place at which two runs differ.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Change {
    /// Where: a JSON Pointer (RFC 6901), such as `/params/env` and `/steps/build/output/files/0`.
    pub path: String,
    /// What stands there in the other run; absent = nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left: Option<Json>,
    /// What stands there in the run; absent = nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub right: Option<Json>,
    /// Whether one of them is so long that only the beginning of its JSON is told, as a text.
    pub cut: bool,
}

/// Changes being gathered, no more than there is room for.
#[derive(Default)]
pub struct Gathered {
    changes: Vec<Change>,
    found: usize,
    bytes: usize,
}

impl Gathered {
    /// Compares two values that stand at a place; answers whether they differ.
    pub fn add(&mut self, path: &str, left: Option<&Json>, right: Option<&Json>) -> bool {
        let before = self.found;
        self.look(path, left, right, 0);
        self.found > before
    }

    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        self.found == 0
    }

    /// Changes that there was no room for.
    pub fn left_out(&self) -> usize {
        self.found - self.changes.len()
    }

    /// They.
    pub fn changes(self) -> Vec<Change> {
        self.changes
    }

    fn look(&mut self, path: &str, left: Option<&Json>, right: Option<&Json>, depth: usize) {
        if left == right {
            return;
        }
        match (left, right) {
            (Some(Json::Object(left)), Some(Json::Object(right))) if depth < DEPTH_MAX => {
                let keys: BTreeSet<&String> = left.keys().chain(right.keys()).collect();
                for key in keys {
                    let path = format!("{path}/{}", token(key));
                    self.look(&path, left.get(key), right.get(key), depth + 1);
                }
            }
            (Some(Json::Array(left)), Some(Json::Array(right))) if depth < DEPTH_MAX => {
                for i in 0..left.len().max(right.len()) {
                    self.look(&format!("{path}/{i}"), left.get(i), right.get(i), depth + 1);
                }
            }
            (left, right) => self.push(path, left, right),
        }
    }

    fn push(&mut self, path: &str, left: Option<&Json>, right: Option<&Json>) {
        self.found += 1;
        if self.changes.len() >= CHANGES_MAX || self.bytes >= BYTES_MAX {
            return;
        }
        let mut cut = false;
        let [left, right] = [left, right].map(|value| {
            let (value, bytes, is_cut) = told(value?);
            self.bytes += bytes;
            cut |= is_cut;
            Some(value)
        });
        self.bytes += path.len();
        self.changes.push(Change { path: path.to_owned(), left, right, cut });
    }
}

/// A part of a JSON Pointer.
fn token(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

/// A value as it is told, its bytes, and whether it is cut off.
fn told(value: &Json) -> (Json, usize, bool) {
    let mut text = value.to_string();
    if text.len() <= VALUE_BYTES_MAX {
        return (value.clone(), text.len(), false);
    }
    text.truncate(text.floor_char_boundary(VALUE_BYTES_MAX));
    let bytes = text.len();
    (text.into(), bytes, true)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn changes(left: Json, right: Json) -> Vec<Change> {
        let mut gathered = Gathered::default();
        let differs = gathered.add("/output", Some(&left), Some(&right));
        assert_eq!(differs, left != right);
        gathered.changes()
    }

    fn change(path: &str, left: Option<Json>, right: Option<Json>) -> Change {
        Change { path: path.into(), left, right, cut: false }
    }

    #[test]
    fn each_place_that_differs_is_told_once() {
        let left = json!({"a": 1, "b": {"c": [1, 2], "x/y~": null}, "gone": true});
        let right = json!({"gone2": 0, "b": {"x/y~": "null", "c": [1, 3, 4]}, "a": 1});
        let found = changes(left, right);
        let wanted = [
            change("/output/b/c/1", Some(json!(2)), Some(json!(3))),
            change("/output/b/c/2", None, Some(json!(4))),
            change("/output/b/x~1y~0", Some(json!(null)), Some(json!("null"))),
            change("/output/gone", Some(json!(true)), None),
            change("/output/gone2", None, Some(json!(0))),
        ];
        assert_eq!(found, wanted);
        // The order of keys is no difference.
        assert!(changes(json!({"a": 1, "b": 2}), json!({"b": 2, "a": 1})).is_empty());
    }

    #[test]
    fn long_values_are_cut_and_say_so() {
        let found = changes(json!({"s": "ü".repeat(VALUE_BYTES_MAX)}), json!({"s": "short"}));
        assert!(found[0].cut && found[0].right == Some(json!("short")), "{found:?}");
        let left = found[0].left.as_ref().and_then(Json::as_str).expect("a text");
        assert!(left.len() <= VALUE_BYTES_MAX && left.starts_with("\"ü"), "{}", left.len());
    }

    #[test]
    fn of_very_many_changes_so_many_are_told_and_all_are_counted() {
        let (left, right) = (vec![0; CHANGES_MAX + 5], vec![1; CHANGES_MAX + 5]);
        let mut gathered = Gathered::default();
        assert!(gathered.add("", Some(&json!(left)), Some(&json!(right))));
        assert_eq!(gathered.left_out(), 5);
        assert_eq!(gathered.changes().len(), CHANGES_MAX);
        let long = |c: &str| json!(vec![c.repeat(VALUE_BYTES_MAX - 2); 600]);
        let mut gathered = Gathered::default();
        assert!(gathered.add("", Some(&long("a")), Some(&long("b"))));
        assert!(gathered.left_out() > 0, "values are bounded together too");
    }

    #[test]
    fn what_is_very_deep_is_one_value() {
        let deep = |end: i32| (0..100).fold(json!(end), |inner, _| json!([inner]));
        let found = changes(deep(1), deep(2));
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].path, format!("/output{}", "/0".repeat(DEPTH_MAX)));
    }
}
