//! The file as a tree of what was written: source ranges, styles, elements.

use std::ops::Range;

use granit_parser::{Event, Parser, ScalarStyle, Span, StructureStyle};

/// What was written at one place.
pub(super) struct Node {
    /// Anchor and tag, as written.
    pub(super) props: String,
    pub(super) kind: Kind,
    /// The bytes of the value.
    pub(super) span: Range<usize>,
    /// Comments behind the last element.
    pub(super) tail: Vec<Lead>,
}

pub(super) enum Kind {
    /// A scalar on one or more lines, in quotes or plain, or an alias.
    Inline,
    /// `|` or `>`.
    Block,
    List {
        flow: bool,
        elements: Vec<usize>,
    },
    Map {
        flow: bool,
        elements: Vec<usize>,
    },
}

/// An item of a list or an entry of a mapping.
pub(super) struct Element {
    /// Comments and blank lines before it.
    pub(super) lead: Vec<Lead>,
    /// The comment behind it, on its line.
    pub(super) trail: Option<String>,
    pub(super) key: Option<usize>,
    pub(super) value: usize,
    /// The collection that it stands in.
    pub(super) owner: usize,
    pub(super) span: Range<usize>,
}

/// A line before an element.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Lead {
    Blank,
    Comment(String),
}

/// A comment, with its `#`.
pub(super) struct Comment {
    pub(super) text: String,
    pub(super) at: usize,
}

pub(super) struct Tree {
    pub(super) nodes: Vec<Node>,
    /// In the order of the file.
    pub(super) elements: Vec<Element>,
    pub(super) comments: Vec<Comment>,
    pub(super) root: usize,
    pub(super) has_anchors: bool,
}

struct Open {
    node: usize,
    /// The key that waits for its value.
    key: Option<usize>,
    /// The element that the key began.
    element: Option<usize>,
}

struct Builder<'t> {
    text: &'t str,
    tree: Tree,
    open: Vec<Open>,
    /// Node that the next anchor event belongs to.
    last: Option<usize>,
}

/// Builds the tree of a text that is known to be well-formed.
pub(super) fn build(text: &str) -> Option<Tree> {
    let options = granit_parser::options! {
        emit_anchor_events: true,
        max_buffered_comment_events: usize::MAX,
    };
    let tree = Tree {
        nodes: Vec::new(),
        elements: Vec::new(),
        comments: Vec::new(),
        root: 0,
        has_anchors: false,
    };
    let mut builder = Builder { text, tree, open: Vec::new(), last: None };
    for event in Parser::new_from_str_with_options(text, options) {
        let (event, span) = event.ok()?;
        builder.event(event, &span)?;
    }
    (!builder.tree.nodes.is_empty()).then_some(builder.tree)
}

impl Builder<'_> {
    fn event(&mut self, event: Event<'_>, span: &Span) -> Option<()> {
        let range = span.byte_range()?;
        match event {
            Event::Scalar(_, style, ..) => {
                let block = matches!(style, ScalarStyle::Literal | ScalarStyle::Folded);
                let kind = if block { Kind::Block } else { Kind::Inline };
                self.node(kind, range, span);
            }
            Event::Alias(_) => self.node(Kind::Inline, range, span),
            Event::Anchor(_, name) => {
                self.tree.has_anchors = true;
                let node = &mut self.tree.nodes[self.last?];
                node.props = format!("&{name} {}", node.props).trim_end().to_owned();
            }
            Event::SequenceStart(style, ..) => {
                let flow = style == StructureStyle::Flow;
                self.start(Kind::List { flow, elements: Vec::new() }, range, span);
            }
            Event::MappingStart(style, ..) => {
                let flow = style == StructureStyle::Flow;
                self.start(Kind::Map { flow, elements: Vec::new() }, range, span);
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let open = self.open.pop()?;
                let node = &mut self.tree.nodes[open.node];
                let flow = matches!(
                    node.kind,
                    Kind::List { flow: true, .. } | Kind::Map { flow: true, .. }
                );
                let last = match &node.kind {
                    Kind::List { elements, .. } | Kind::Map { elements, .. } => elements.last(),
                    _ => None,
                };
                let end = last.map_or(node.span.start, |e| self.tree.elements[*e].span.end);
                node.span.end = if flow { range.end } else { end.max(node.span.start) };
                let (node, end) = (open.node, node.span.end);
                self.ended(node, end);
            }
            Event::Comment(text, _) => {
                let text = format!("#{}", text.trim_end());
                self.tree.comments.push(Comment { text, at: range.start });
            }
            _ => {}
        }
        Some(())
    }

    fn add(&mut self, kind: Kind, range: Range<usize>, span: &Span) -> usize {
        let tag = span.tag_span().and_then(|tag| tag.slice(self.text).map(str::to_owned));
        let props = tag.unwrap_or_default();
        self.tree.nodes.push(Node { props, kind, span: range, tail: Vec::new() });
        let node = self.tree.nodes.len() - 1;
        self.last = Some(node);
        node
    }

    fn node(&mut self, kind: Kind, mut range: Range<usize>, span: &Span) {
        // Block scalars end behind their line breaks, and begin behind their headers.
        if matches!(kind, Kind::Block) && span.indent.is_some() {
            range.start = header_start(self.text, range.start).unwrap_or(range.start);
        }
        let text = &self.text[range.clone()];
        range.end = range.start + text.trim_end_matches(['\n', '\r', ' ', '\t']).len();
        let end = range.end;
        let node = self.add(kind, range, span);
        self.begun(node);
        self.ended(node, end);
    }

    fn start(&mut self, kind: Kind, range: Range<usize>, span: &Span) {
        let node = self.add(kind, range, span);
        self.begun(node);
        self.open.push(Open { node, key: None, element: None });
    }

    /// A node began: it is the root, a key, a value or an item.
    fn begun(&mut self, node: usize) {
        let start = self.tree.nodes[node].span.start;
        let Some(open) = self.open.last_mut() else {
            self.tree.root = node;
            return;
        };
        let owner = open.node;
        let is_map = matches!(self.tree.nodes[owner].kind, Kind::Map { .. });
        match (is_map, open.key) {
            (true, None) => {
                open.key = Some(node);
                return;
            }
            (true, Some(key)) => {
                let start = self.tree.nodes[key].span.start;
                open.element = Some(self.tree.elements.len());
                let span = start..start;
                let key = Some(key);
                let element = Element { lead: vec![], trail: None, key, value: node, owner, span };
                self.tree.elements.push(element);
            }
            (false, _) => {
                open.element = Some(self.tree.elements.len());
                let span = start..start;
                let element =
                    Element { lead: vec![], trail: None, key: None, value: node, owner, span };
                self.tree.elements.push(element);
            }
        }
        let element = self.tree.elements.len() - 1;
        match &mut self.tree.nodes[owner].kind {
            Kind::List { elements, .. } | Kind::Map { elements, .. } => elements.push(element),
            _ => {}
        }
    }

    /// A node ended; closes the element that it is the value of.
    fn ended(&mut self, node: usize, end: usize) {
        let Some(open) = self.open.last_mut() else { return };
        if open.key == Some(node) && open.element.is_none() {
            return;
        }
        if let Some(element) = open.element.take() {
            let key_end = open.key.take().map_or(0, |key| self.tree.nodes[key].span.end);
            self.tree.elements[element].span.end = end.max(key_end);
        }
    }
}

/// The `|` or `>` of the block scalar whose first line that isn't blank holds byte `at`.
fn header_start(text: &str, at: usize) -> Option<usize> {
    let mut end = text[..at].rfind('\n')?;
    loop {
        let start = text[..end].rfind('\n').map_or(0, |n| n + 1);
        let line = &text[start..end];
        if !line.trim().is_empty() {
            let is_header = |at: &usize| {
                let rest = line[at + 1..]
                    .trim_start_matches(['+', '-', '1', '2', '3', '4', '5', '6', '7', '8', '9']);
                let spaced = rest.starts_with([' ', '\t', '\r']) || rest.is_empty();
                let rest = rest.trim();
                spaced && (rest.is_empty() || rest.starts_with('#'))
            };
            let mut marks = line.match_indices(['|', '>']).map(|(at, _)| at);
            return marks.find(is_header).map(|at| start + at);
        }
        end = start.checked_sub(1)?;
    }
}

impl Tree {
    /// The elements of a collection.
    pub(super) fn elements_of(&self, node: usize) -> &[usize] {
        match &self.nodes[node].kind {
            Kind::List { elements, .. } | Kind::Map { elements, .. } => elements,
            _ => &[],
        }
    }

    /// Whether a collection was written with brackets.
    pub(super) fn is_flow(&self, node: usize) -> bool {
        matches!(
            self.nodes[node].kind,
            Kind::List { flow: true, .. } | Kind::Map { flow: true, .. }
        )
    }

    /// Whether comments stand inside a node.
    pub(super) fn has_comments(&self, node: usize) -> bool {
        let inside = |e: &usize| {
            let element = &self.elements[*e];
            let lead = element.lead.iter().any(|l| matches!(l, Lead::Comment(_)));
            lead || element.trail.is_some() || self.has_comments(element.value)
        };
        !self.nodes[node].tail.is_empty() || self.elements_of(node).iter().any(inside)
    }
}
