//! Two values as texts, and the lines in which they differ.
//!
//! A value is written as JSON, indented, its keys in order; a text beside a text is shown as it is.
//! Long lines are broken, so that of a very long one only the piece that differs is shown.

use std::borrow::Cow;

use serde_json::Value as Json;
use similar::{ChangeTag, TextDiff};

/// Lines around what differs.
const AROUND: usize = 3;
/// Lines of one value that are compared, from the first one that differs on.
const LINES_MAX: usize = 300;
/// Characters of a line; a longer one goes on in the next.
const LINE_CHARS_MAX: usize = 160;

/// In which of the texts a line stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tag {
    /// In both.
    Both,
    /// In that of the other run.
    Left,
    /// In that of the run.
    Right,
    /// Lines that are the same are left out here.
    Gap,
}

impl Tag {
    /// How it is marked.
    pub fn sign(self) -> &'static str {
        match self {
            Tag::Both => " ",
            Tag::Left => "−",
            Tag::Right => "+",
            Tag::Gap => "⋯",
        }
    }
}

/// A line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Where it stands.
    pub tag: Tag,
    /// What it says.
    pub text: String,
}

/// Lines that differ, with some around them.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Diff {
    /// They.
    pub lines: Vec<Line>,
    /// Whether there is more that isn't told.
    pub cut: bool,
}

/// The lines in which two values differ; `None` = there is no such value.
pub fn of(left: Option<&Json>, right: Option<&Json>) -> Diff {
    let plain =
        |value: Option<&Json>| value.is_none_or(|v| v.as_str().is_some_and(|s| !s.is_empty()));
    let as_text = plain(left) && plain(right);
    let [left, right] =
        [left, right].map(|value| value.map_or(Cow::default(), |v| text(v, as_text)));
    between(&broken(&left), &broken(&right))
}

/// The same as far as there is room for lines, which is then less. Nothing is done where there is none.
pub fn within(left: Option<&Json>, right: Option<&Json>, room: &mut usize) -> Diff {
    if *room == 0 {
        return Diff { lines: Vec::new(), cut: true };
    }
    let mut diff = of(left, right);
    diff.cut |= diff.lines.len() > *room;
    diff.lines.truncate(*room);
    *room -= diff.lines.len();
    diff
}

/// A value as text.
fn text(value: &Json, as_text: bool) -> Cow<'_, str> {
    match value {
        Json::String(text) if as_text => text.as_str().into(),
        other => serde_json::to_string_pretty(&sorted(other)).unwrap_or_default().into(),
    }
}

/// The same with the keys of objects in order.
fn sorted(value: &Json) -> Json {
    let mut value = value.clone();
    value.sort_all_objects();
    value
}

/// The lines of a text, none of them very long.
fn broken(text: &str) -> Vec<&str> {
    let mut lines = Vec::new();
    if text.is_empty() {
        return lines;
    }
    for mut line in text.split('\n') {
        while let Some((at, _)) = line.char_indices().nth(LINE_CHARS_MAX) {
            let (piece, rest) = line.split_at(at);
            lines.push(piece);
            line = rest;
        }
        lines.push(line);
    }
    lines
}

/// Only what stands between the common beginning and the common end is compared: that of long values
/// costs no more than reading them.
fn between(left: &[&str], right: &[&str]) -> Diff {
    let same = |(l, r): &(&&str, &&str)| l == r;
    let start = left.iter().zip(right).take_while(same).count();
    let rest = (&left[start..], &right[start..]);
    let end = rest.0.iter().rev().zip(rest.1.iter().rev()).take_while(same).count();
    let begin = start.saturating_sub(AROUND);
    let part = |all: &[&str]| {
        let upto = (all.len() - end + AROUND).min(all.len());
        (upto.min(start + LINES_MAX), upto > start + LINES_MAX)
    };
    let ((l, l_cut), (r, r_cut)) = (part(left), part(right));
    let (old, new) = (&left[begin..l], &right[begin..r]);
    let diff = TextDiff::from_slices(old, new);
    let mut lines = Vec::new();
    let mut last = 0;
    for group in diff.grouped_ops(AROUND) {
        let first = group.first().map_or(0, |op| op.old_range().start);
        if first > last || lines.is_empty() && begin > 0 {
            lines.push(Line { tag: Tag::Gap, text: String::new() });
        }
        for change in group.iter().flat_map(|op| diff.iter_changes(op)) {
            let tag = match change.tag() {
                ChangeTag::Equal => Tag::Both,
                ChangeTag::Delete => Tag::Left,
                ChangeTag::Insert => Tag::Right,
            };
            lines.push(Line { tag, text: change.value().to_owned() });
        }
        last = group.last().map_or(last, |op| op.old_range().end);
    }
    let cut = l_cut || r_cut;
    if begin + last < left.len() && !cut && !lines.is_empty() {
        lines.push(Line { tag: Tag::Gap, text: String::new() });
    }
    Diff { lines, cut }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shown(left: Option<Json>, right: Option<Json>) -> Vec<String> {
        let diff = of(left.as_ref(), right.as_ref());
        assert!(!diff.cut);
        diff.lines.iter().map(|line| format!("{}{}", line.tag.sign(), line.text)).collect()
    }

    #[test]
    fn json_differs_by_lines_whatever_the_order_of_keys() {
        let left = json!({"size": 7, "name": "a", "list": [1, 2]});
        let right = json!({"name": "b", "list": [1, 2], "size": 7});
        let wanted = [
            " {",
            "   \"list\": [",
            "     1,",
            "     2",
            "   ],",
            "−  \"name\": \"a\",",
            "+  \"name\": \"b\",",
            "   \"size\": 7",
            " }",
        ];
        // Three lines around.
        let found = shown(Some(left.clone()), Some(right));
        assert_eq!(found[0], "⋯");
        assert_eq!(found[1..], wanted[2..]);
        assert!(shown(Some(left.clone()), Some(left)).is_empty());
    }

    #[test]
    fn texts_are_shown_as_they_are_and_told_apart_from_json() {
        let found = shown(Some(json!("one\ntwo\n")), Some(json!("one\n2\n")));
        assert_eq!(found, [" one", "−two", "+2", " "]);
        assert_eq!(shown(Some(json!("1")), Some(json!(1))), ["−\"1\"", "+1"]);
        assert_eq!(shown(None, Some(json!("new"))), ["+new"]);
        assert_eq!(shown(None, Some(json!(""))), ["+\"\""]);
        assert_eq!(shown(Some(json!("a\n")), Some(json!("a"))), [" a", "−"]);
    }

    #[test]
    fn of_a_very_long_line_the_piece_that_differs_is_shown() {
        let long = "x".repeat(1_000_000);
        let other = format!("{}y{}", &long[..500_000], &long[500_001..]);
        let found = shown(Some(json!(long)), Some(json!(other)));
        assert!(found.len() <= 10, "{}", found.len());
        assert!(found.iter().any(|line| line.starts_with('+') && line.contains('y')), "{found:?}");
        assert_eq!((found[0].as_str(), found[found.len() - 1].as_str()), ("⋯", "⋯"));
    }

    #[test]
    fn values_share_room_and_the_last_of_them_say_that_they_are_cut() {
        let (left, right) = (json!("one\ntwo"), json!("1\n2"));
        let mut room = 5;
        let mut told = || {
            let diff = within(Some(&left), Some(&right), &mut room);
            (diff.lines.len(), diff.cut)
        };
        assert_eq!([told(), told(), told()], [(4, false), (1, true), (0, true)]);
    }

    #[test]
    fn what_differs_for_very_long_is_cut_and_says_so() {
        let list = |start: usize| json!((start..start + 5000).collect::<Vec<_>>());
        let diff = of(Some(&list(0)), Some(&list(10_000)));
        assert!(diff.cut && diff.lines.len() <= 2 * (LINES_MAX + AROUND), "{}", diff.lines.len());
        assert!(diff.lines.iter().any(|line| line.tag == Tag::Right));
    }
}
