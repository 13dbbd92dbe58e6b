//! Values with `${{ expression }}` in their strings.
//!
//! A string that is exactly one `${{ }}` keeps the type of its result; in any other string results
//! are inserted as text: strings as they are, numbers and bools as `string()` has them, null as
//! nothing, lists and maps as compact JSON. Evaluated once: what comes out is never scanned again.
//! `$${{` stands for a literal `${{`. A secret is never a value: `${{ secrets.NAME }}` becomes a
//! slot that the worker fills. Keys of objects hold no expressions.

use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value as Json;

use crate::expr::{Budget, Error, Program, Reference, Scope, end_of_embedded};

const OPEN: &str = "${{";
const CLOSE: &str = "}}";

/// A JSON value whose strings may hold `${{ }}`, compiled. Cheap to clone. Serialised as its source.
#[derive(Debug, Clone, Default)]
pub struct Template {
    /// `None` is a bare null, the most common template by far.
    compiled: Option<Arc<Compiled>>,
}

#[derive(Debug)]
struct Compiled {
    source: Json,
    /// `None` when the source holds no `${{` at all: it is its own result.
    node: Option<Node>,
}

/// A part of a template.
#[derive(Debug)]
enum Node {
    Constant(Json),
    /// A string that is exactly one expression.
    Whole(Program),
    Text(Vec<Part>),
    Array(Vec<Node>),
    Object(Vec<(String, Node)>),
}

/// A part of a string.
#[derive(Debug)]
enum Part {
    Text(String),
    /// With the byte of the string that it starts at.
    Expression(Program, usize),
    /// With the bytes of the string that name it.
    Secret(String, Range<usize>),
}

/// A rendered template. Secrets are not in it: each slot says where the worker inserts one.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Rendered {
    /// The value, with nothing where secrets belong.
    pub value: Json,
    /// Where secrets belong, by pointer; those of one string from its start to its end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<SecretSlot>,
}

/// The place of one secret in a rendered value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretSlot {
    /// JSON pointer (RFC 6901) of the string that it belongs in.
    pub pointer: String,
    /// Byte of that string, as rendered without secrets, at which it is inserted.
    pub at: usize,
    /// The secret's name.
    pub name: String,
}

impl Rendered {
    /// The value for people: the name of each secret stands where it belongs, as in a workflow.
    pub fn shown(&self) -> Json {
        let mut value = self.value.clone();
        // From the end, so that what is inserted moves no other place.
        for SecretSlot { pointer, at, name } in self.secrets.iter().rev() {
            if let Some(Json::String(text)) = value.pointer_mut(pointer)
                && text.is_char_boundary(*at)
            {
                text.insert_str(*at, &format!("${{{{ secrets.{name} }}}}"));
            }
        }
        value
    }
}

impl Template {
    /// Compiles every `${{ }}` in `source`. `allow_secrets`: whether `${{ secrets.NAME }}` may
    /// stand in it.
    ///
    /// # Errors
    /// The first mistake, with the pointer of its string in the message and a span in that string.
    /// [`Template::check`] has all of them.
    pub fn compile(source: &Json, allow_secrets: bool) -> Result<Self, Error> {
        if source.is_null() {
            return Ok(Self::default());
        }
        let mut builder = Builder { allow_secrets, pointer: String::new(), errors: Vec::new() };
        let node = builder.node(source);
        if let Some((pointer, error)) = builder.errors.into_iter().next() {
            return Err(located(&pointer, error));
        }
        let compiled = Compiled { source: source.clone(), node };
        Ok(Self { compiled: Some(Arc::new(compiled)) })
    }

    /// Every mistake in `source`, each with the JSON pointer of the string that it is in. Spans
    /// are bytes of that string.
    pub fn check(source: &Json, allow_secrets: bool) -> Vec<(String, Error)> {
        let mut builder = Builder { allow_secrets, pointer: String::new(), errors: Vec::new() };
        builder.node(source);
        builder.errors
    }

    /// The value it was compiled from.
    pub fn source(&self) -> &Json {
        self.compiled.as_ref().map_or(&Json::Null, |compiled| &compiled.source)
    }

    /// Whether it renders to its source whatever the scope: there is no `${{` in it.
    pub fn is_constant(&self) -> bool {
        self.compiled.as_ref().is_none_or(|compiled| compiled.node.is_none())
    }

    /// The free names used (`secrets.X` among them), in order. Spans are bytes of the string that
    /// each is in.
    pub fn references(&self) -> Vec<Reference> {
        let mut found = Vec::new();
        if let Some(node) = self.compiled.as_ref().and_then(|compiled| compiled.node.as_ref()) {
            collect(node, &mut found);
        }
        found
    }

    /// Every expression, in order, with the byte of the string that it starts at.
    pub fn programs(&self) -> Vec<(Program, usize)> {
        let mut found = Vec::new();
        let mut open: Vec<&Node> =
            self.compiled.iter().filter_map(|compiled| compiled.node.as_ref()).collect();
        while let Some(node) = open.pop() {
            match node {
                Node::Constant(_) => {}
                Node::Whole(program) => found.push((program.clone(), OPEN.len())),
                Node::Text(parts) => found.extend(parts.iter().filter_map(|part| match part {
                    Part::Expression(program, at) => Some((program.clone(), *at)),
                    Part::Text(_) | Part::Secret(..) => None,
                })),
                Node::Array(nodes) => open.extend(nodes.iter().rev()),
                Node::Object(members) => open.extend(members.iter().rev().map(|(_, node)| node)),
            }
        }
        found
    }

    /// Evaluates every expression, all of them together within the limits of one.
    ///
    /// # Errors
    /// The first failure, with the pointer of its string in the message and a span in that string.
    pub fn render(&self, scope: &dyn Scope) -> Result<Rendered, Error> {
        let Some(node) = self.compiled.as_ref().and_then(|compiled| compiled.node.as_ref()) else {
            return Ok(Rendered { value: self.source().clone(), secrets: Vec::new() });
        };
        let mut renderer =
            Renderer { scope, budget: Budget::new(), pointer: String::new(), secrets: Vec::new() };
        match renderer.node(node) {
            Ok(value) => Ok(Rendered { value, secrets: renderer.secrets }),
            Err(error) => Err(located(&renderer.pointer, error)),
        }
    }
}

fn located(pointer: &str, mut error: Error) -> Error {
    if !pointer.is_empty() {
        error.message = format!("at {pointer}: {}", error.message);
    }
    error
}

/// Appends a token to a pointer; answers how long it was before.
fn descend(pointer: &mut String, token: &str) -> usize {
    let length = pointer.len();
    pointer.push('/');
    for c in token.chars() {
        match c {
            '~' => pointer.push_str("~0"),
            '/' => pointer.push_str("~1"),
            c => pointer.push(c),
        }
    }
    length
}

fn collect(node: &Node, found: &mut Vec<Reference>) {
    // An expression that is a whole string starts behind its `${{`.
    let moved = |program: &Program, by: usize| {
        program.references().into_iter().map(move |mut reference| {
            reference.span.start += by;
            reference.span.end += by;
            reference
        })
    };
    match node {
        Node::Constant(_) => {}
        Node::Whole(program) => found.extend(moved(program, OPEN.len())),
        Node::Text(parts) => {
            for part in parts {
                match part {
                    Part::Text(_) => {}
                    Part::Expression(program, at) => found.extend(moved(program, *at)),
                    Part::Secret(name, span) => found.push(Reference {
                        path: vec!["secrets".to_owned(), name.clone()],
                        span: span.clone(),
                    }),
                }
            }
        }
        Node::Array(nodes) => nodes.iter().for_each(|node| collect(node, found)),
        Node::Object(members) => members.iter().for_each(|(_, node)| collect(node, found)),
    }
}

/// Compiles, and goes on after mistakes.
struct Builder {
    allow_secrets: bool,
    pointer: String,
    errors: Vec<(String, Error)>,
}

impl Builder {
    /// `None` when there is nothing to render in it.
    fn node(&mut self, source: &Json) -> Option<Node> {
        match source {
            Json::String(text) if text.contains(OPEN) => Some(self.string(text)),
            Json::Array(items) => {
                let nodes: Vec<Option<Node>> = items
                    .iter()
                    .enumerate()
                    .map(|(i, item)| self.inside(&i.to_string(), item))
                    .collect();
                nodes.iter().any(Option::is_some).then(|| {
                    let filled = nodes.into_iter().zip(items).map(|(n, item)| or_constant(n, item));
                    Node::Array(filled.collect())
                })
            }
            Json::Object(members) => {
                let nodes: Vec<Option<Node>> = members
                    .iter()
                    .map(|(key, member)| {
                        self.key(key);
                        self.inside(key, member)
                    })
                    .collect();
                nodes.iter().any(Option::is_some).then(|| {
                    let filled = nodes.into_iter().zip(members);
                    let filled = filled.map(|(n, (k, member))| (k.clone(), or_constant(n, member)));
                    Node::Object(filled.collect())
                })
            }
            _ => None,
        }
    }

    fn inside(&mut self, token: &str, source: &Json) -> Option<Node> {
        let length = descend(&mut self.pointer, token);
        let node = self.node(source);
        self.pointer.truncate(length);
        node
    }

    fn error(&mut self, error: impl Into<Box<Error>>) {
        let error: Box<Error> = error.into();
        self.errors.push((self.pointer.clone(), *error));
    }

    fn key(&mut self, key: &str) {
        if let Some(at) = key.find(OPEN) {
            let error = Error::new(format!("the key `{key}` holds an expression"), at..key.len());
            let error = error.hint("expressions stand in values; keys are fixed");
            let length = descend(&mut self.pointer, key);
            self.error(error);
            self.pointer.truncate(length);
        }
    }

    fn string(&mut self, text: &str) -> Node {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut at = 0;
        while let Some(found) = text[at..].find(OPEN) {
            let open = at + found;
            let start = open + OPEN.len();
            if text[at..open].ends_with('$') {
                // `$${{`: one dollar is the escape.
                literal.push_str(&text[at..open - 1]);
                literal.push_str(OPEN);
                at = start;
                continue;
            }
            literal.push_str(&text[at..open]);
            let Some(length) = end_of_embedded(&text[start..]) else {
                self.error(
                    Error::new("this `${{` is not closed", open..start)
                        .hint("close it with `}}`, or write `$${{` for the characters themselves"),
                );
                at = text.len();
                break;
            };
            at = start + length + CLOSE.len();
            let Some(part) = self.expression(text, start..start + length) else {
                continue;
            };
            if let Part::Expression(program, _) = &part
                && open == 0
                && at == text.len()
            {
                return Node::Whole(program.clone());
            }
            if !literal.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut literal)));
            }
            parts.push(part);
        }
        literal.push_str(&text[at..]);
        if !literal.is_empty() {
            parts.push(Part::Text(literal));
        }
        Node::Text(parts)
    }

    /// The expression at `span` of the text; `None` after a mistake.
    fn expression(&mut self, text: &str, span: Range<usize>) -> Option<Part> {
        let source = &text[span.clone()];
        let program = match Program::compile(source) {
            Ok(program) => program,
            Err(error) => {
                self.error(error.moved_by(span.start));
                return None;
            }
        };
        let references = program.references();
        let Some(secret) = references.iter().find(|r| r.path[0] == "secrets") else {
            return Some(Part::Expression(program, span.start));
        };
        let at = span.start + secret.span.start..span.start + secret.span.end;
        if !self.allow_secrets {
            let error = Error::new("secrets cannot be used here", at);
            self.error(error.hint("they may stand in the params and env of agents"));
            return None;
        }
        match secret.path.as_slice() {
            [secrets, name] if source.trim() == format!("{secrets}.{name}") => {
                Some(Part::Secret(name.clone(), at))
            }
            _ => {
                let error = Error::new("a secret cannot be part of an expression", at);
                self.error(error.hint("write ${{ secrets.NAME }} alone, beside other text"));
                None
            }
        }
    }
}

fn or_constant(node: Option<Node>, source: &Json) -> Node {
    node.unwrap_or_else(|| Node::Constant(source.clone()))
}

struct Renderer<'s> {
    scope: &'s dyn Scope,
    budget: Budget,
    /// Where it is; stays where it fails.
    pointer: String,
    secrets: Vec<SecretSlot>,
}

impl Renderer<'_> {
    fn node(&mut self, node: &Node) -> Result<Json, Error> {
        match node {
            Node::Constant(json) => Ok(json.clone()),
            Node::Whole(program) => program
                .eval_json(self.scope, &mut self.budget)
                .map_err(|error| error.moved_by(OPEN.len())),
            Node::Text(parts) => self.text(parts).map(Json::String),
            Node::Array(nodes) => {
                let mut items = Vec::with_capacity(nodes.len());
                for (index, node) in nodes.iter().enumerate() {
                    items.push(self.inside(&index.to_string(), node)?);
                }
                Ok(Json::Array(items))
            }
            Node::Object(nodes) => {
                let mut members = serde_json::Map::with_capacity(nodes.len());
                for (key, node) in nodes {
                    members.insert(key.clone(), self.inside(key, node)?);
                }
                Ok(Json::Object(members))
            }
        }
    }

    fn inside(&mut self, token: &str, node: &Node) -> Result<Json, Error> {
        if let Node::Constant(json) = node {
            return Ok(json.clone());
        }
        let length = descend(&mut self.pointer, token);
        let value = self.node(node)?;
        self.pointer.truncate(length);
        Ok(value)
    }

    fn text(&mut self, parts: &[Part]) -> Result<String, Error> {
        let mut out = String::new();
        for part in parts {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Expression(program, at) => {
                    let text = program.eval_text(self.scope, &mut self.budget);
                    out.push_str(&text.map_err(|error| error.moved_by(*at))?);
                }
                Part::Secret(name, _) => self.secrets.push(SecretSlot {
                    pointer: self.pointer.clone(),
                    at: out.len(),
                    name: name.clone(),
                }),
            }
        }
        Ok(out)
    }
}

impl PartialEq for Template {
    fn eq(&self, other: &Self) -> bool {
        self.source() == other.source()
    }
}
impl Serialize for Template {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        self.source().serialize(s)
    }
}
impl<'de> Deserialize<'de> for Template {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let source = Json::deserialize(d)?;
        Self::compile(&source, true).map_err(serde::de::Error::custom)
    }
}
