//! YAML text to a tree with spans.
//!
//! What: YAML 1.2 with the core schema (`on`, `yes` and `no` are text), as far as JSON has a place
//! for it. Why not serde: a workflow's author wants every mistake of a file, each with its place,
//! and serde stops at the first. Aliases share their target, and the nodes that they stand for are
//! counted against a budget before anybody walks them, so that a bomb is a diagnostic.
//! Absent by intent: tags other than the core ones, merge keys, keys that aren't text.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use granit_parser::{ErrorKind, Event, Marker, Options, Parser, ScalarStyle, ScanError, Span};
use moa_core::limits::{FILE_BYTES_MAX, FILE_DEPTH_MAX, FILE_NODES_MAX};
use serde_json::{Number, Value as Json};

use crate::codes;
use crate::diagnostic::Diagnostic;
use crate::read::Cx;
use crate::source::{Source, too_large};

/// One node of the tree.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    /// The bytes of its value in the source.
    pub(crate) span: Range<usize>,
    /// How it was written, if it is a scalar.
    pub(crate) style: Style,
    /// What it is.
    pub(crate) data: Data,
    /// Nodes in it, itself and what aliases stand for included.
    nodes: usize,
    /// Levels beneath it.
    height: usize,
}

/// How a scalar was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// Not a scalar.
    None,
    Plain,
    Single,
    Double,
    Literal,
    Folded,
}

/// What a node is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Data {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Arc<Node>>),
    Map(Vec<(Key, Arc<Node>)>),
}

/// The key of an entry.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Key {
    pub(crate) text: String,
    pub(crate) span: Range<usize>,
}

impl Node {
    fn scalar(span: Range<usize>, style: Style, data: Data) -> Self {
        Self { span, style, data, nodes: 1, height: 0 }
    }

    /// A node that stands for one that could not be read.
    fn hole(span: Range<usize>) -> Self {
        Self::scalar(span, Style::Plain, Data::Null)
    }

    /// What it is, in words: for "found …".
    pub(crate) fn describe(&self) -> String {
        match &self.data {
            Data::Null => "nothing".into(),
            Data::Bool(b) => format!("the boolean {b}"),
            Data::Number(n) => format!("the number {n}"),
            Data::Text(t) if t.chars().count() <= 40 => format!("the text {t:?}"),
            Data::Text(_) => "a text".into(),
            Data::List(_) => "a list".into(),
            Data::Map(_) => "a mapping".into(),
        }
    }

    /// The same as JSON.
    pub(crate) fn to_json(&self) -> Json {
        match &self.data {
            Data::Null => Json::Null,
            Data::Bool(b) => Json::Bool(*b),
            Data::Number(n) => Json::Number(n.clone()),
            Data::Text(t) => Json::String(t.clone()),
            Data::List(items) => items.iter().map(|n| n.to_json()).collect(),
            Data::Map(entries) => {
                entries.iter().map(|(k, v)| (k.text.clone(), v.to_json())).collect()
            }
        }
    }

    /// The entry with that key, if it is a mapping that has one.
    pub(crate) fn get(&self, key: &str) -> Option<&Arc<Node>> {
        match &self.data {
            Data::Map(entries) => entries.iter().find(|(k, _)| k.text == key).map(|(_, v)| v),
            _ => None,
        }
    }
}

/// A file of another kind as JSON, read as strictly as a project's files; `None` = it is empty or has
/// errors.
pub fn document(source: &Source) -> (Option<Json>, Vec<Diagnostic>) {
    if is_blank(&source.text) {
        return (None, Vec::new());
    }
    let mut cx = Cx::new(source);
    let document = parse(&mut cx).map(|root| root.to_json());
    let failed = cx.failed();
    (document.filter(|_| !failed), cx.finish())
}

/// Parses the source of `cx` into a tree; `None` when there is none or its syntax is broken.
pub(crate) fn parse(cx: &mut Cx) -> Option<Arc<Node>> {
    let source = cx.source();
    if source.text.len() > FILE_BYTES_MAX {
        let diagnostic = too_large(&source.path, source.text.len(), FILE_BYTES_MAX);
        cx.push(diagnostic);
        return None;
    }
    let options = granit_parser::options! {
        disallow_directives: true,
        emit_unresolved_aliases: true,
        emit_comments: false,
        flow_nesting_limit: FILE_DEPTH_MAX,
        block_nesting_limit: FILE_DEPTH_MAX,
    };
    let root = Builder::new(cx).run(&source.text, options)?;
    if root.data == Data::Null {
        let span = 0..0;
        let d = cx.error(codes::EMPTY, span, "the file is empty".into());
        d.help("`moa init` writes files to start from");
        return None;
    }
    Some(root)
}

/// Whether a text holds nothing but blank lines and comments.
pub(crate) fn is_blank(text: &str) -> bool {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#'))
}

enum Frame {
    List { start: usize, anchor: usize, items: Vec<Arc<Node>>, nodes: usize, height: usize },
    Map(MapFrame),
}

struct MapFrame {
    start: usize,
    anchor: usize,
    entries: Vec<(Key, Arc<Node>)>,
    /// Where each key stands.
    seen: HashMap<String, usize>,
    /// The key that waits for its value; the flag tells whether the entry is kept.
    key: Option<(Key, bool)>,
    nodes: usize,
    height: usize,
}

struct Builder<'a, 'c> {
    cx: &'a mut Cx<'c>,
    frames: Vec<Frame>,
    anchors: HashMap<usize, Arc<Node>>,
    /// Nodes made so far, aliases expanded.
    nodes: usize,
    root: Option<Arc<Node>>,
}

impl<'a, 'c> Builder<'a, 'c> {
    fn new(cx: &'a mut Cx<'c>) -> Self {
        Self { cx, frames: Vec::new(), anchors: HashMap::new(), nodes: 0, root: None }
    }

    fn run(mut self, text: &str, options: Options) -> Option<Arc<Node>> {
        let mut documents = 0;
        for event in Parser::new_from_str_with_options(text, options) {
            match event {
                Ok((Event::DocumentStart(..), span)) => {
                    documents += 1;
                    if documents > 1 {
                        let d = self.cx.error(
                            codes::SEVERAL_DOCUMENTS,
                            range(&span),
                            "a second document starts here".into(),
                        );
                        d.cause("one file holds one document");
                        d.help("take the `---` out, or move what follows to a file of its own");
                        return None;
                    }
                }
                Ok((event, span)) => self.event(event, &span)?,
                Err(e) => {
                    self.syntax(&e, text);
                    return None;
                }
            }
        }
        Some(self.root.unwrap_or_else(|| Arc::new(Node::hole(0..0))))
    }

    /// Takes one event in; `None` = give up.
    fn event(&mut self, event: Event<'_>, span: &Span) -> Option<()> {
        let start = range(span).start;
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let node = self.scalar(&text, style, tag.as_deref(), range(span));
                self.place(node, anchor, true)
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.check_tag(tag.as_deref(), "seq", span);
                self.open(Frame::List { start, anchor, items: vec![], nodes: 1, height: 0 }, start)
            }
            Event::MappingStart(_, anchor, tag) => {
                self.check_tag(tag.as_deref(), "map", span);
                let map = MapFrame {
                    start,
                    anchor,
                    entries: Vec::new(),
                    seen: HashMap::new(),
                    key: None,
                    nodes: 1,
                    height: 0,
                };
                self.open(Frame::Map(map), start)
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(range(span).end),
            Event::Alias(id) => self.alias(id, range(span)),
            Event::UnresolvedAlias(name) => {
                let message = format!("no anchor `&{name}` stands before this alias");
                let d = self.cx.error(codes::FOREIGN_YAML, range(span), message);
                d.help(format!("write `&{name}` at the value meant, or quote the text: '*{name}'"));
                self.place(Node::hole(range(span)), 0, true)
            }
            _ => Some(()),
        }
    }

    fn open(&mut self, frame: Frame, start: usize) -> Option<()> {
        if self.frames.len() >= FILE_DEPTH_MAX {
            self.too_deep(start..start + 1);
            return None;
        }
        self.frames.push(frame);
        Some(())
    }

    fn close(&mut self, end: usize) -> Option<()> {
        match self.frames.pop()? {
            Frame::List { start, anchor, items, nodes, height } => {
                let span = self.trimmed(start..end);
                let data = Data::List(items);
                let node = Node { span, style: Style::None, data, nodes, height };
                self.place(node, anchor, false)
            }
            Frame::Map(map) => {
                let span = self.trimmed(map.start..end);
                let MapFrame { anchor, entries, nodes, height, .. } = map;
                let data = Data::Map(entries);
                let node = Node { span, style: Style::None, data, nodes, height };
                self.place(node, anchor, false)
            }
        }
    }

    /// The span without the blank lines and comments that block collections end behind.
    fn trimmed(&self, span: Range<usize>) -> Range<usize> {
        let text = self.cx.text(span.clone());
        span.start..span.start + text.trim_end().len()
    }

    fn alias(&mut self, id: usize, span: Range<usize>) -> Option<()> {
        let Some(target) = self.anchors.get(&id).cloned() else {
            let message = "this alias stands inside the value that it names".into();
            let d = self.cx.error(codes::FOREIGN_YAML, span.clone(), message);
            d.cause("the value would hold itself without end");
            return self.place(Node::hole(span), 0, true);
        };
        if self.frames.len() + target.height > FILE_DEPTH_MAX {
            self.too_deep(span);
            return None;
        }
        self.count(target.nodes, &span)?;
        self.add(target, &span, false)
    }

    /// Counts nodes against the budget.
    fn count(&mut self, nodes: usize, span: &Range<usize>) -> Option<()> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes <= FILE_NODES_MAX {
            return Some(());
        }
        let message = format!("the file has more than {FILE_NODES_MAX} nodes by here");
        let d = self.cx.error(codes::TOO_MANY_NODES, span.clone(), message);
        if self.anchors.is_empty() {
            d.help("split the file");
        } else {
            d.cause("what an alias stands for is counted each time it is used");
            d.help("use fewer aliases, or split the file");
        }
        None
    }

    fn too_deep(&mut self, span: Range<usize>) {
        let message = format!("more than {FILE_DEPTH_MAX} levels of lists and mappings");
        let d = self.cx.error(codes::TOO_DEEP, span, message);
        d.help("move the inner steps to a workflow of their own and call it with `workflow:`");
    }

    /// Puts a new node where it belongs.
    fn place(&mut self, node: Node, anchor: usize, is_scalar: bool) -> Option<()> {
        let span = node.span.clone();
        // Nodes inside a collection were counted one by one.
        self.count(1, &span)?;
        let node = Arc::new(node);
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        self.add(node, &span, is_scalar)
    }

    fn add(&mut self, node: Arc<Node>, span: &Range<usize>, is_scalar: bool) -> Option<()> {
        match self.frames.last_mut() {
            None => self.root = Some(node),
            Some(Frame::List { items, nodes, height, .. }) => {
                *nodes += node.nodes;
                *height = (*height).max(node.height + 1);
                items.push(node);
            }
            Some(Frame::Map(map)) => match map.key.take() {
                Some((key, keep)) => {
                    map.nodes += node.nodes + 1;
                    map.height = map.height.max(node.height + 1);
                    if keep {
                        map.entries.push((key, node));
                    }
                }
                None => self.key(&node, span, is_scalar),
            },
        }
        Some(())
    }

    /// Takes `node` as the next key of the mapping on top.
    fn key(&mut self, node: &Node, span: &Range<usize>, is_scalar: bool) {
        let text = match &node.data {
            Data::Text(text) => Some(text.clone()),
            Data::Bool(_) | Data::Number(_) if is_scalar => Some(self.cx.text(span.clone()).into()),
            _ => None,
        };
        let mut keep = true;
        let text = text.unwrap_or_else(|| {
            let message = format!("a key must be text, not {}", node.describe());
            let d = self.cx.error(codes::FOREIGN_YAML, span.clone(), message);
            if !is_scalar {
                d.cause("`{` and `[` begin a mapping or a list, also in `${{ … }}`");
                d.help("put `${{ … }}` inside quotes: \"${{ … }}\"");
            }
            keep = false;
            String::new()
        });
        if keep && text == "<<" && node.style == Style::Plain {
            let message = "merge keys (`<<`) are not part of YAML 1.2".into();
            let d = self.cx.error(codes::FOREIGN_YAML, span.clone(), message);
            d.help("repeat the keys, or use `defaults:` for what all steps share");
            keep = false;
        }
        let Some(Frame::Map(map)) = self.frames.last_mut() else { return };
        let earlier = if keep { map.seen.insert(text.clone(), span.start) } else { None };
        map.key = Some((Key { text: text.clone(), span: span.clone() }, keep && earlier.is_none()));
        if let Some(first) = earlier {
            map.seen.insert(text.clone(), first);
            let line = self.cx.line(first);
            let message = format!("the key `{text}` stands twice in this mapping");
            let d = self.cx.error(codes::DUPLICATE_KEY, span.clone(), message);
            d.cause(format!("it stands on line {line} already"));
            d.help("keep one of the two");
        }
    }

    fn scalar(
        &mut self,
        text: &str,
        style: ScalarStyle,
        tag: Option<&granit_parser::Tag>,
        span: Range<usize>,
    ) -> Node {
        let style = match style {
            ScalarStyle::Plain => Style::Plain,
            ScalarStyle::SingleQuoted => Style::Single,
            ScalarStyle::DoubleQuoted => Style::Double,
            ScalarStyle::Literal => Style::Literal,
            ScalarStyle::Folded => Style::Folded,
        };
        let data = match tag.map(|t| (t.core_suffix(), t)) {
            None if style == Style::Plain => resolve(text),
            None | Some((Some("str"), _)) => Ok(Data::Text(text.into())),
            Some((Some("int" | "float" | "bool" | "null"), _)) => resolve(text),
            Some((_, tag)) => {
                let message = format!("the tag `{}` has no meaning here", tag.original());
                self.cx.error(codes::FOREIGN_YAML, span.clone(), message).help("take it out");
                Ok(Data::Text(text.into()))
            }
        };
        let data = data.unwrap_or_else(|cause| {
            let message = format!("`{text}` is not a number that JSON has");
            let d = self.cx.error(codes::FOREIGN_YAML, span.clone(), message);
            d.cause(cause).help(format!("write it as text: '{text}'"));
            Data::Null
        });
        Node::scalar(span, style, data)
    }

    fn check_tag(&mut self, tag: Option<&granit_parser::Tag>, core: &str, span: &Span) {
        let Some(tag) = tag.filter(|t| !t.is_yaml_core_schema_tag(core)) else { return };
        let message = format!("the tag `{}` has no meaning here", tag.original());
        let span = span.tag_span().map_or(range(span), |s| range(&s));
        self.cx.error(codes::FOREIGN_YAML, span, message).help("take it out");
    }

    fn syntax(&mut self, e: &ScanError, text: &str) {
        let at = offset(e.marker()).min(text.len());
        let kind = e.kind();
        if matches!(kind, ErrorKind::RecursionLimitExceeded) {
            return self.too_deep(at..at + 1);
        }
        let mut info = e.info();
        if info.is_empty() {
            info = "the YAML is broken".into();
        }
        let line = self.cx.line_text(at).to_owned();
        let d = self.cx.error(codes::SYNTAX, at..at + 1, info);
        let (cause, help) = explain(kind, &line);
        d.cause = cause.map(Into::into);
        d.help = help.map(Into::into);
    }
}

/// Why a syntax error happens and what to do, for those that people make.
fn explain(kind: &ErrorKind, line: &str) -> (Option<&'static str>, Option<&'static str>) {
    use ErrorKind as K;
    if line.contains("${{") && !matches!(kind, K::UnclosedQuotedScalar) {
        let cause = "inside `{ }` and `[ ]` the braces of `${{ … }}` are YAML's own";
        return (Some(cause), Some("put it inside quotes: \"${{ … }}\""));
    }
    match kind {
        K::TabNotAllowed
        | K::TabInBlockIndentation
        | K::TabInIndentation
        | K::TabInPlainScalar
        | K::TabAtBlockScalarStart => {
            (Some("YAML is indented with spaces, never with tabs"), Some("replace the tab"))
        }
        K::MappingValueNotAllowed | K::InvalidMappingValueWhitespace => (
            Some("a `: ` in a text without quotes begins a value"),
            Some("put the text inside quotes, or check the indentation"),
        ),
        K::UnclosedQuotedScalar | K::InvalidQuotedScalarIndent => {
            (Some("a quote that was opened before is not closed"), Some("close the quote"))
        }
        K::UnclosedFlowCollection { .. }
        | K::UnexpectedEofFlowSequence
        | K::UnexpectedEofFlowMapping
        | K::ExpectedFlowSequenceSeparator
        | K::ExpectedFlowMappingSeparator => {
            (Some("a `]`, `}` or `,` is missing"), Some("close what was opened, item by item"))
        }
        K::InvalidIndentation | K::ExpectedBlockMappingKey | K::ExpectedBlockSequenceEntry => (
            Some("the line is indented differently from those that it belongs to"),
            Some("keys of one mapping, and the `-` of one list, begin in the same column"),
        ),
        K::SimpleKeyExpected | K::InvalidSimpleKey => {
            (Some("a key has to be followed by `: `"), Some("write `key: value`"))
        }
        K::DirectiveDisallowed => {
            (Some("lines that begin with `%` are YAML directives"), Some("take the line out"))
        }
        K::UnexpectedCharacter { .. } => (
            Some("a text without quotes can't begin with this character"),
            Some("put the text inside quotes"),
        ),
        K::UnknownQuotedScalarEscape => (
            Some("in double quotes a backslash begins an escape such as \\n"),
            Some("use single quotes, or write \\\\ for a backslash"),
        ),
        _ => (None, None),
    }
}

/// A plain scalar by YAML 1.2's core schema.
fn resolve(text: &str) -> Result<Data, &'static str> {
    Ok(match text {
        "" | "~" | "null" | "Null" | "NULL" => Data::Null,
        "true" | "True" | "TRUE" => Data::Bool(true),
        "false" | "False" | "FALSE" => Data::Bool(false),
        _ => match number(text)? {
            Some(number) => Data::Number(number),
            None => Data::Text(text.into()),
        },
    })
}

fn number(text: &str) -> Result<Option<Number>, &'static str> {
    const LARGE: &str = "it doesn't fit 64 bits";
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let all = |t: &str, radix: u32| !t.is_empty() && t.chars().all(|c| c.is_digit(radix));
    for (prefix, radix) in [("0o", 8), ("0x", 16)] {
        if let Some(rest) = text.strip_prefix(prefix).filter(|t| all(t, radix)) {
            let n = u64::from_str_radix(rest, radix).map_err(|_| LARGE)?;
            return Ok(Some(n.into()));
        }
    }
    if all(digits, 10) {
        let text = text.strip_prefix('+').unwrap_or(text);
        let signed = text.parse::<i64>().map(Number::from);
        return signed
            .or_else(|_| text.parse::<u64>().map(Number::from))
            .map_err(|_| LARGE)
            .map(Some);
    }
    if matches!(digits, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN") {
        return Err("JSON has neither infinity nor NaN");
    }
    if !is_float(digits) {
        return Ok(None);
    }
    let value: f64 = text.parse().map_err(|_| LARGE)?;
    Number::from_f64(value).map(Some).ok_or("it is larger than any 64-bit float")
}

/// `(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`
fn is_float(digits: &str) -> bool {
    let (mantissa, exponent) = match digits.find(['e', 'E']) {
        Some(at) => (&digits[..at], Some(&digits[at + 1..])),
        None => (digits, None),
    };
    let all = |t: &str| t.bytes().all(|b| b.is_ascii_digit());
    let exponent_ok = exponent.is_none_or(|e| {
        let e = e.strip_prefix(['-', '+']).unwrap_or(e);
        !e.is_empty() && all(e)
    });
    let (whole, part) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let some = !whole.is_empty() || (mantissa.starts_with('.') && !part.is_empty());
    some && exponent_ok && all(whole) && all(part)
}

fn range(span: &Span) -> Range<usize> {
    let start = offset(&span.start);
    start..offset(&span.end).max(start)
}

fn offset(marker: &Marker) -> usize {
    // Invariant: sources are strings, and string inputs know the bytes of every marker.
    marker.byte_offset().unwrap_or(0)
}
