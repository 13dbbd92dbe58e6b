//! `moa fmt`: canonical key order and indentation, comments kept.
//!
//! What: keys in the order of the language's declarations, two spaces, flow collections on one line
//! or none. Texts, quotes and comments stay as they are written. Why it can be trusted: the result is
//! parsed again, and has to hold the same values and the same comments, and to format to itself; a
//! file where that fails is refused, not changed.

use granit_parser::{Event, Parser};

use crate::codes;
use crate::diagnostic::Diagnostic;
use crate::hash::canonical;
use crate::read::Cx;
use crate::source::Source;
use crate::yaml::{self, Node};

mod attach;
mod emit;
mod order;
mod tree;

/// Formats a workflow, agent or settings file.
///
/// # Errors
/// What keeps the file from being read as YAML, or that it can't be formatted without loss.
pub fn format(source: &Source) -> Result<String, Vec<Diagnostic>> {
    let mut cx = Cx::new(source);
    if yaml::is_blank(&source.text) {
        return Ok(blank(&source.text));
    }
    let root = yaml::parse(&mut cx);
    let (Some(root), false) = (root, cx.failed()) else { return Err(cx.finish()) };
    let formatted = once(&source.text, &root).filter(|out| is_same(&source.text, &root, out));
    let stable = formatted.filter(|out| {
        let again = Source::new("", out.as_str());
        let root = yaml::parse(&mut Cx::new(&again));
        root.and_then(|root| once(out, &root)).as_ref() == Some(out)
    });
    stable.ok_or_else(|| {
        let message = "this file can't be formatted without losing something".into();
        let d = cx.error(codes::CANT_FORMAT, 0..1, message);
        d.cause("a comment or a text stands where its place would change");
        d.help("move comments to lines of their own, above what they are about");
        cx.finish()
    })
}

/// A file of comments alone.
fn blank(text: &str) -> String {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let joined = lines.join("\n");
    let trimmed = joined.trim();
    if trimmed.is_empty() { String::new() } else { format!("{trimmed}\n") }
}

fn once(text: &str, root: &Node) -> Option<String> {
    let mut tree = tree::build(text)?;
    attach::attach(&mut tree, text)?;
    let order = order::KeyOrder::of(root);
    emit::emit(&tree, text, &order)
}

/// Whether both texts hold the same values and the same comments.
fn is_same(text: &str, root: &Node, out: &str) -> bool {
    let again = Source::new("", out);
    let Some(other) = yaml::parse(&mut Cx::new(&again)) else { return false };
    let values = canonical(&root.to_json()) == canonical(&other.to_json());
    values && in_order(root, &other) && comments(text) == comments(out)
}

/// Whether mappings with keys of the author's choice kept their order: it may mean something there.
fn in_order(a: &Node, b: &Node) -> bool {
    order::same_free_order(a, b)
}

/// The texts of all comments, sorted.
fn comments(text: &str) -> Option<Vec<String>> {
    let options = granit_parser::options! { max_buffered_comment_events: usize::MAX };
    let mut comments = Vec::new();
    for event in Parser::new_from_str_with_options(text, options) {
        if let (Event::Comment(text, _), _) = event.ok()? {
            comments.push(text.trim_end().to_owned());
        }
    }
    comments.sort();
    Some(comments)
}
