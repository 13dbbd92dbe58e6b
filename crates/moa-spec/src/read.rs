//! From nodes of a tree to typed models, keeping on after every mistake.
//!
//! A model is declared once, with [`record!`](crate::record): the same declaration is the Rust type,
//! the keys that its reader accepts, and (through schemars) the JSON Schema and its descriptions.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Serialize, Serializer};

use crate::codes::{self, Code};
use crate::diagnostic::{Diagnostic, Severity};
use crate::source::{Lines, Source, floor};
use crate::suggest::nearest;
use crate::yaml::{Data, Key, Node, Style};

/// Diagnostics kept of one file; what lies beyond only says that there is more.
const DIAGNOSTICS_MAX: usize = 500;

/// What reading one file needs and finds.
pub(crate) struct Cx<'s> {
    source: &'s Source,
    lines: Lines,
    found: Vec<Diagnostic>,
    /// Takes what comes after [`DIAGNOSTICS_MAX`].
    overflow: Option<Diagnostic>,
    /// The secrets used, and where.
    pub(crate) secrets: Vec<At<String>>,
}

impl<'s> Cx<'s> {
    pub(crate) fn new(source: &'s Source) -> Self {
        Self {
            source,
            lines: Lines::new(&source.text),
            found: Vec::new(),
            overflow: None,
            secrets: Vec::new(),
        }
    }

    pub(crate) fn source(&self) -> &'s Source {
        self.source
    }

    /// The source's text at `span`.
    pub(crate) fn text(&self, span: Range<usize>) -> &'s str {
        let text = &self.source.text;
        let start = floor(text, span.start);
        &text[start..floor(text, span.end).max(start)]
    }

    /// The line of a byte, from 1.
    pub(crate) fn line(&self, byte: usize) -> u32 {
        self.lines.line_of(byte) as u32 + 1
    }

    /// The text of the line that a byte is on.
    pub(crate) fn line_text(&self, byte: usize) -> &'s str {
        &self.source.text[self.lines.range(&self.source.text, self.lines.line_of(byte))]
    }

    /// Records an error.
    pub(crate) fn error(
        &mut self,
        code: Code,
        span: Range<usize>,
        message: String,
    ) -> &mut Diagnostic {
        self.add(code, Severity::Error, span, message)
    }

    /// Records a warning.
    pub(crate) fn warn(
        &mut self,
        code: Code,
        span: Range<usize>,
        message: String,
    ) -> &mut Diagnostic {
        self.add(code, Severity::Warning, span, message)
    }

    fn add(
        &mut self,
        code: Code,
        severity: Severity,
        span: Range<usize>,
        message: String,
    ) -> &mut Diagnostic {
        let (line, column) = self.lines.position(&self.source.text, span.start);
        let path = self.source.path.clone();
        let code = code.0;
        self.push(Diagnostic {
            code,
            severity,
            path,
            line,
            column,
            span,
            message,
            cause: None,
            help: None,
        })
    }

    /// Records a diagnostic made elsewhere.
    pub(crate) fn push(&mut self, diagnostic: Diagnostic) -> &mut Diagnostic {
        if self.found.len() < DIAGNOSTICS_MAX {
            self.found.push(diagnostic);
            let last = self.found.len() - 1;
            return &mut self.found[last];
        }
        self.overflow.insert(diagnostic)
    }

    /// Whether more diagnostics would not be shown.
    pub(crate) fn is_full(&self) -> bool {
        self.found.len() >= DIAGNOSTICS_MAX
    }

    /// The known word that is probably meant; not searched for when nobody would see it, because
    /// the words may be many.
    pub(crate) fn nearest<'a>(
        &self,
        word: &str,
        known: impl IntoIterator<Item = &'a str>,
    ) -> Option<&'a str> {
        if self.is_full() { None } else { nearest(word, known) }
    }

    /// Whether an error was recorded.
    pub(crate) fn failed(&self) -> bool {
        crate::has_errors(&self.found) || self.overflow.is_some()
    }

    /// How many errors were recorded.
    pub(crate) fn errors(&self) -> usize {
        self.found.iter().filter(|d| d.is_error()).count() + usize::from(self.overflow.is_some())
    }

    /// What was found, in order of place.
    pub(crate) fn finish(self) -> Vec<Diagnostic> {
        let mut found = self.found;
        found.sort_by_key(|d| (d.span.start, d.severity));
        found.dedup();
        if let Some(mut last) = self.overflow {
            last.code = codes::TOO_MANY_MISTAKES.0;
            last.severity = Severity::Error;
            last.message = format!("more than {DIAGNOSTICS_MAX} mistakes; the rest isn't shown");
            last.cause = None;
            last.help = Some("mend these first".into());
            found.push(last);
        }
        found
    }

    /// Reports that a node is not what was expected there.
    pub(crate) fn wrong_type(&mut self, node: &Node, expected: &str) -> &mut Diagnostic {
        let message = format!("expected {expected}, found {}", node.describe());
        self.error(codes::WRONG_TYPE, node.span.clone(), message)
    }

    /// The text of a node, or a report that it isn't one.
    pub(crate) fn str<'n>(&mut self, node: &'n Node, expected: &str) -> Option<&'n str> {
        if let Data::Text(text) = &node.data {
            return Some(text);
        }
        let source = self.text(node.span.clone());
        let d = self.wrong_type(node, expected);
        if matches!(node.data, Data::Bool(_) | Data::Number(_)) {
            d.help(format!("write it in quotes: '{source}'"));
        }
        None
    }

    /// The entries of a mapping, or a report that it isn't one.
    pub(crate) fn map<'n>(&mut self, node: &'n Node, what: &str) -> Option<MapReader<'n>> {
        match &node.data {
            Data::Map(entries) => Some(MapReader { node, entries, taken: Vec::new() }),
            _ => {
                self.wrong_type(node, &format!("{what} (a mapping)"));
                None
            }
        }
    }

    /// The place in the source of a byte range of a text node's value. Falls back on the whole node
    /// where lines were folded.
    pub(crate) fn place_in(&self, node: &Node, at: &Range<usize>) -> Range<usize> {
        let Data::Text(value) = &node.data else { return node.span.clone() };
        let source = self.text(node.span.clone());
        let find = |byte| locate(source, node.style, value, byte).map(|b| node.span.start + b);
        match (find(at.start), find(at.end)) {
            (Some(start), Some(end)) if start <= end => start..end.max(start + 1),
            _ => node.span.clone(),
        }
    }
}

/// The byte of `source` (a scalar as written) from which byte `at` of its value came.
fn locate(source: &str, style: Style, value: &str, at: usize) -> Option<usize> {
    let mut src = source.char_indices().peekable();
    if matches!(style, Style::Single | Style::Double) {
        src.next()?;
    }
    let block = matches!(style, Style::Literal | Style::Folded);
    // Block scalars begin at their first line that isn't blank, behind its indentation.
    let blank = if block { value.len() - value.trim_start_matches('\n').len() } else { 0 };
    let mut line_start = false;
    for (i, c) in value.char_indices().skip_while(|(i, _)| *i < blank) {
        if line_start && c != '\n' {
            // Skip the indentation that is not part of the value.
            let spaces = |text: &str| text.len() - text.trim_start_matches(' ').len();
            let here = src.peek().map_or(source.len(), |(b, _)| *b);
            for _ in 0..spaces(&source[here..]).saturating_sub(spaces(&value[i..])) {
                src.next()?;
            }
        }
        if i >= at {
            break;
        }
        line_start = block && c == '\n';
        let (_, s) = src.next()?;
        match style {
            Style::Double if s == '\\' => {
                let digits = match src.next()?.1 {
                    'x' => 2,
                    'u' => 4,
                    'U' => 8,
                    '\n' => return None,
                    _ => 0,
                };
                for _ in 0..digits {
                    src.next()?;
                }
            }
            Style::Single if s == '\'' => {
                src.next()?;
            }
            _ if s == c => {}
            // A line break that was folded into a space.
            _ if c == ' ' && matches!(s, '\n' | '\r') => {
                while src.next_if(|(_, s)| matches!(s, ' ' | '\t' | '\n' | '\r')).is_some() {}
            }
            _ => return None,
        }
    }
    src.peek().map_or(Some(source.len()), |(b, _)| Some(*b))
}

/// Something that can be read from a node.
pub(crate) trait Field: Sized {
    /// Reads it; `None` = a mistake was reported.
    fn read(node: &Arc<Node>, cx: &mut Cx) -> Option<Self>;

    /// What it is when its key is missing; `None` = that is a mistake.
    fn missing() -> Option<Self> {
        None
    }

    /// Whether it is left out when written.
    fn is_absent(&self) -> bool {
        false
    }
}

impl<T: Field> Field for Option<T> {
    fn read(node: &Arc<Node>, cx: &mut Cx) -> Option<Self> {
        match node.data {
            Data::Null => Some(None),
            // A mistake was reported, so the file is refused; go on without the value.
            _ => Some(T::read(node, cx)),
        }
    }
    fn missing() -> Option<Self> {
        Some(None)
    }
    fn is_absent(&self) -> bool {
        self.is_none()
    }
}

impl<T: Field> Field for Box<T> {
    fn read(node: &Arc<Node>, cx: &mut Cx) -> Option<Self> {
        T::read(node, cx).map(Box::new)
    }
}

impl<T: Field> Field for Vec<T> {
    fn read(node: &Arc<Node>, cx: &mut Cx) -> Option<Self> {
        match &node.data {
            Data::List(items) => {
                // Items with mistakes were reported; the others are still checked.
                Some(items.iter().filter_map(|item| T::read(item, cx)).collect())
            }
            _ => {
                let d = cx.wrong_type(node, "a list");
                d.help("begin each item with `- `, or write [a, b]");
                None
            }
        }
    }
}

/// A value and where it stands. Equal when the values are.
#[derive(Debug, Clone)]
pub struct At<T> {
    /// The value.
    pub value: T,
    /// The bytes of it in the source.
    pub span: Range<usize>,
}

impl<T: PartialEq> PartialEq for At<T> {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl<T: Field> Field for At<T> {
    fn read(node: &Arc<Node>, cx: &mut Cx) -> Option<Self> {
        T::read(node, cx).map(|value| Self { value, span: node.span.clone() })
    }
}

impl<T: Serialize> Serialize for At<T> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        self.value.serialize(s)
    }
}

impl<T: JsonSchema> JsonSchema for At<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }
    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }
    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

/// Where a record and each of its keys stand.
#[derive(Debug, Clone, Default)]
pub struct Place {
    /// The bytes of the whole mapping.
    pub span: Range<usize>,
    /// The keys that were given, with their bytes.
    pub keys: Vec<(&'static str, Range<usize>)>,
    /// Whether there were keys that don't exist.
    pub(crate) unknown: bool,
}

impl Place {
    /// Where a key stands, if it was given.
    pub fn key(&self, name: &str) -> Option<Range<usize>> {
        self.keys.iter().find(|(key, _)| *key == name).map(|(_, span)| span.clone())
    }
}

/// Places are not part of what a record says.
impl PartialEq for Place {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// Takes the entries of a mapping by key, and reports what is left over.
pub(crate) struct MapReader<'n> {
    node: &'n Node,
    entries: &'n [(Key, Arc<Node>)],
    taken: Vec<(&'static str, Range<usize>)>,
}

impl MapReader<'_> {
    /// Reads the value of `key`; `None` = a mistake was reported.
    pub(crate) fn take<T: Field>(
        &mut self,
        cx: &mut Cx,
        key: &'static str,
        what: &str,
    ) -> Option<T> {
        let Some((found, node)) = self.entries.iter().find(|(k, _)| k.text == key) else {
            let missing = T::missing();
            if missing.is_none() {
                let message = format!("{what} needs the key `{key}`");
                let start = self.node.span.start;
                let d = cx.error(codes::MISSING_KEY, start..start + 1, message);
                d.help(format!("add `{key}:`"));
            }
            return missing;
        };
        if node.data != Data::Null {
            self.taken.push((key, found.span.clone()));
        } else if T::missing().is_none() {
            let message = format!("`{key}` has no value");
            cx.error(codes::MISSING_KEY, found.span.clone(), message);
            return None;
        }
        T::read(node, cx)
    }

    /// Reports keys that are none of `known`.
    pub(crate) fn finish(self, cx: &mut Cx, what: &str, known: &[&'static str]) -> Place {
        let mut unknown = false;
        for (key, _) in self.entries {
            if !known.contains(&key.text.as_str()) {
                unknown_key(cx, key, what, known);
                unknown = true;
            }
        }
        Place { span: self.node.span.clone(), keys: self.taken, unknown }
    }
}

/// Reports a key that is none of `known`.
pub(crate) fn unknown_key(cx: &mut Cx, key: &Key, what: &str, known: &[&'static str]) {
    let message = format!("{what} has no key `{}`", key.text);
    let near = cx.nearest(&key.text, known.iter().copied());
    let d = cx.error(codes::UNKNOWN_KEY, key.span.clone(), message);
    match near {
        Some(name) => d.help(format!("did you mean `{name}`?")),
        None => d.help(format!("its keys are: {}", known.join(", "))),
    };
}

/// The key that a field's identifier stands for: `r#in` is `in`.
pub(crate) const fn key_of(identifier: &'static str) -> &'static str {
    let bytes = identifier.as_bytes();
    if bytes.len() > 2 && bytes[0] == b'r' && bytes[1] == b'#' {
        return identifier.split_at(2).1;
    }
    identifier
}

/// Declares a mapping with fixed keys: the type, its reader, its schema.
#[macro_export]
#[doc(hidden)]
macro_rules! record {
    ($(
        $(#[$meta:meta])*
        $vis:vis struct $name:ident as $what:literal {
            $($(#[$field_meta:meta])* $field:ident: $type:ty,)*
        }
    )*) => {$(
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, serde::Serialize, schemars::JsonSchema)]
        #[serde(deny_unknown_fields)]
        $vis struct $name {
            /// Where it stands.
            #[serde(skip)]
            pub place: $crate::read::Place,
            $(
                $(#[$field_meta])*
                #[serde(skip_serializing_if = "crate::read::Field::is_absent")]
                pub $field: $type,
            )*
        }

        impl $name {
            /// Its keys, in canonical order.
            pub const KEYS: &'static [&'static str] =
                &[$($crate::read::key_of(stringify!($field)),)*];
        }

        impl $crate::read::Field for $name {
            fn read(
                node: &std::sync::Arc<$crate::yaml::Node>,
                cx: &mut $crate::read::Cx,
            ) -> Option<Self> {
                let mut map = cx.map(node, $what)?;
                $(let $field = map.take::<$type>(
                    cx,
                    $crate::read::key_of(stringify!($field)),
                    $what,
                );)*
                let place = map.finish(cx, $what, Self::KEYS);
                Some(Self { place, $($field: $field?,)* })
            }
        }
    )*};
}

/// Declares a choice among texts: the type, its reader, its schema. Further texts after `|` are
/// accepted for the same.
#[macro_export]
#[doc(hidden)]
macro_rules! choice {
    ($(
        $(#[$meta:meta])*
        $vis:vis enum $name:ident as $what:literal {
            $($(#[$variant_meta:meta])* $variant:ident = $text:literal $(| $also:literal)*,)*
        }
    )*) => {$(
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
        $vis enum $name {
            $($(#[$variant_meta])* #[serde(rename = $text)] $variant,)*
        }

        impl $name {
            /// The texts that name its values.
            pub const TEXTS: &'static [&'static str] = &[$($text, $($also,)*)*];
            /// The first text of each value.
            const FIRST: &'static [&'static str] = &[$($text,)*];
        }

        impl $crate::read::Field for $name {
            fn read(
                node: &std::sync::Arc<$crate::yaml::Node>,
                cx: &mut $crate::read::Cx,
            ) -> Option<Self> {
                match cx.str(node, $what)? {
                    $($text $(| $also)* => Some(Self::$variant),)*
                    _ => {
                        cx.wrong_choice(node, $what, Self::FIRST);
                        None
                    }
                }
            }
        }

        impl schemars::JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({"type": "string", "enum": Self::TEXTS})
            }
        }
    )*};
}

impl Cx<'_> {
    /// Reports a text that is none of those allowed.
    pub(crate) fn wrong_choice(&mut self, node: &Node, what: &str, texts: &[&'static str]) {
        let found = node.describe();
        let message = format!("{found} is not {what}");
        let d = self.error(codes::WRONG_VALUE, node.span.clone(), message);
        let text = if let Data::Text(text) = &node.data { text.as_str() } else { "" };
        match nearest(text, texts.iter().copied()) {
            Some(name) => d.help(format!("did you mean `{name}`?")),
            None => d.help(format!("write one of: {}", texts.join(", "))),
        };
    }
}
