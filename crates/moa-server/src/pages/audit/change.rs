//! What an act changed: how things were before, what was asked for, and how they were then, field by
//! field.

use maud::{Markup, html};
use moa_view::audit::Listed;
use moa_view::text;
use serde_json::Value as Json;

use crate::pages::parts;

/// Fields shown at most; the document of the act has all of them.
const FIELDS_MAX: usize = 60;
/// Objects within objects that are taken apart; what is deeper is shown as JSON.
const DEPTH_MAX: usize = 4;
/// Characters of a value.
const CHARS_MAX: usize = 2000;
/// Fields that are told before somebody opens the rest, and characters of their values.
const SHORT: usize = 3;
const SHORT_CHARS_MAX: usize = 48;

/// A field of what an act is about.
#[derive(Debug, Clone, Default, PartialEq)]
struct Field {
    name: String,
    /// Before, asked for, after.
    values: [Option<String>; 3],
}

impl Field {
    /// What it was and what it became, where both are known and differ.
    fn changed(&self) -> Option<(&str, &str)> {
        let [before, asked, after] = &self.values;
        let (before, then) = (before.as_ref()?, after.as_ref().or(asked.as_ref())?);
        (before != then).then_some((before, then))
    }
}

/// What an act changed; `None` = it says nothing of that.
pub fn of(one: &Listed, is_open: bool) -> Option<Markup> {
    let after = one.ended.as_ref().and_then(|act| act.after.as_ref());
    let (fields, left_out) = fields([one.asked.before.as_ref(), one.asked.after.as_ref(), after]);
    if fields.is_empty() {
        return None;
    }
    let heads = [(0, "Before"), (1, "Asked for"), (2, "After")];
    let some = |n: usize| fields.iter().any(|field| field.values[n].is_some());
    let heads: Vec<_> = heads.into_iter().filter(|(n, _)| some(*n)).collect();
    Some(html! {
        details class="change" open[is_open] {
            summary { span { (short(&fields)) } }
            table {
                thead { tr { th { "Field" } @for (_, head) in &heads { th { (head) } } } }
                tbody { @for field in &fields { (row(field, &heads)) } }
            }
            @if left_out > 0 {
                p class="dim" { "… and " (text::plural(left_out, "field")) " more; its JSON has all." }
            }
        }
    })
}

fn row(field: &Field, heads: &[(usize, &str)]) -> Markup {
    let changed = field.changed().is_some();
    let newest = if field.values[2].is_some() { 2 } else { 1 };
    html! {
        tr {
            td class="over" { code { (parts::line(&field.name)) } }
            @for (n, head) in heads {
                @let class = match *n {
                    0 if changed => "over was",
                    n if changed && n == newest => "over is",
                    _ => "over",
                };
                td class=(class) data-head=(head) {
                    @match &field.values[*n] {
                        Some(value) => bdi { (text::safe(value)) },
                        None => span class="dim" { "–" },
                    }
                }
            }
        }
    }
}

/// The first fields in a line, what has changed first.
fn short(fields: &[Field]) -> Markup {
    let cut = |value: &str| text::safe_line(&text::cut(value, SHORT_CHARS_MAX)).into_owned();
    let mut first: Vec<&Field> = fields.iter().collect();
    first.sort_by_key(|field| field.changed().is_none());
    let left = fields.len().saturating_sub(SHORT);
    html! {
        @for (n, field) in first.iter().take(SHORT).enumerate() {
            @if n > 0 { " · " }
            code { (parts::line(&field.name)) } " "
            @match field.changed() {
                Some((before, then)) => { del { (cut(before)) } " → " ins { (cut(then)) } },
                None => bdi { (cut(field.values.iter().flatten().next_back().map_or("", |v| v))) },
            }
        }
        @if left > 0 { " · … " (left) " more" }
    }
}

/// The fields of three documents, each once, and how many were left out.
fn fields(documents: [Option<&Json>; 3]) -> (Vec<Field>, usize) {
    let mut fields: Vec<Field> = Vec::new();
    for (n, document) in documents.into_iter().enumerate() {
        let mut leaves = Vec::new();
        document.into_iter().for_each(|document| flatten("", document, 0, &mut leaves));
        for (name, value) in leaves {
            let at = fields.iter().position(|field| field.name == name).unwrap_or_else(|| {
                fields.push(Field { name, ..Field::default() });
                fields.len() - 1
            });
            fields[at].values[n] = Some(value);
        }
    }
    let left_out = fields.len().saturating_sub(FIELDS_MAX);
    fields.truncate(FIELDS_MAX);
    (fields, left_out)
}

/// The leaves of a document, by their paths.
fn flatten(path: &str, value: &Json, depth: usize, leaves: &mut Vec<(String, String)>) {
    match value {
        Json::Object(members) if depth < DEPTH_MAX => {
            for (name, value) in members {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                flatten(&path, value, depth + 1, leaves);
            }
        }
        // What wasn't given says nothing.
        Json::Null => {}
        Json::Array(items) if items.is_empty() => {}
        value => {
            let text = match value {
                Json::String(text) => text.clone(),
                other => other.to_string(),
            };
            let name = if path.is_empty() { "value".to_owned() } else { path.to_owned() };
            leaves.push((name, text::cut(&text, CHARS_MAX).into_owned()));
        }
    }
}

#[cfg(test)]
mod tests {
    use moa_core::time::Millis;
    use moa_ports::audit::{Act, AuditHash, AuditHead, Phase};
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_of_before_and_after_stand_side_by_side_and_nothing_of_them_is_markup() {
        let hostile = "<script>alert(1)</script>\u{202e}";
        let (before, asked) = (json!({"a": {"b": 3}, "same": "x"}), json!({hostile: hostile}));
        let after = json!({"a": {"b": 4}, "same": "x", "none": null, "no": []});
        let (fields, left_out) = fields([Some(&before), Some(&asked), Some(&after)]);
        let names: Vec<_> = fields.iter().map(|field| &*field.name).collect();
        assert_eq!((names, left_out), (vec!["a.b", "same", hostile], 0));
        assert_eq!(fields[0].changed(), Some(("3", "4")));
        assert_eq!(fields[1].changed(), None);
        let act = |before: Option<Json>, after: Option<Json>| Act {
            at: Millis(0),
            who: "w".into(),
            from: "f".into(),
            action: "a".into(),
            object: "o".into(),
            phase: Phase::Done,
            of: None,
            before,
            after,
            error: None,
        };
        let listed = |asked: Act, ended: Act| Listed {
            head: AuditHead { seq: 1, hash: AuditHash([0; 32]) },
            asked,
            ended: Some(ended),
        };
        let one = listed(act(Some(before), Some(asked)), act(None, Some(after)));
        let shown = of(&one, false).expect("a change").into_string();
        assert!(shown.contains("<del>3</del> → <ins>4</ins>"), "{shown}");
        assert!(!shown.contains("<script") && !shown.contains('\u{202e}'), "{shown}");
        assert!(
            of(&listed(act(None, Some(json!({"reason": null}))), act(None, None)), true).is_none()
        );
        let many: serde_json::Map<_, _> = (0..99).map(|n| (n.to_string(), json!(n))).collect();
        let (fields, left_out) = self::fields([None, Some(&many.into()), None]);
        assert_eq!((fields.len(), left_out), (FIELDS_MAX, 99 - FIELDS_MAX));
    }
}
