//! Values that many keys share: texts, numbers, durations, sizes, names, expressions, templates.

use std::borrow::Cow;
use std::ops::Range;
use std::str::FromStr;
use std::sync::Arc;

use moa_core::expr::Program;
use moa_core::ids::Name;
use moa_core::template::Template;
use moa_core::time::Span;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};
use serde_json::Value as Json;

use crate::codes;
use crate::read::{At, Cx, Field};
use crate::yaml::{Data, Node};

impl Field for String {
    fn read(node: &Arc<Node>, cx: &mut Cx) -> Option<Self> {
        cx.str(node, "text").map(Into::into)
    }
}

impl Field for bool {
    fn read(node: &Arc<Node>, cx: &mut Cx) -> Option<Self> {
        match node.data {
            Data::Bool(b) => Some(b),
            _ => {
                let old = matches!(&node.data, Data::Text(t) if is_old_boolean(t));
                let d = cx.wrong_type(node, "true or false");
                if old {
                    d.cause("YAML 1.2 has no other words for them");
                }
                d.help("write true or false, without quotes");
                None
            }
        }
    }
}

fn is_old_boolean(text: &str) -> bool {
    ["yes", "no", "on", "off"].contains(&text.to_lowercase().as_str())
}

macro_rules! whole_number {
    ($($type:ty),*) => {$(
        impl Field for $type {
            fn read(node: &Arc<Node>, cx: &mut Cx) -> Option<Self> {
                let whole = match &node.data {
                    Data::Number(n) => n.as_i64(),
                    _ => None,
                };
                let number = whole.and_then(|n| <$type>::try_from(n).ok());
                match (number, whole) {
                    (None, None) => {
                        cx.wrong_type(node, "a whole number");
                    }
                    (None, Some(n)) => {
                        let (least, most) = (<$type>::MIN, <$type>::MAX);
                        let message = format!("expected {least} to {most}, found {n}");
                        cx.error(codes::WRONG_VALUE, node.span.clone(), message);
                    }
                    _ => {}
                }
                number
            }
        }
    )*};
}
whole_number!(u8, u16, u32, u64, i32);

impl Field for f64 {
    fn read(node: &Arc<Node>, cx: &mut Cx) -> Option<Self> {
        match &node.data {
            Data::Number(n) => n.as_f64(),
            _ => {
                cx.wrong_type(node, "a number");
                None
            }
        }
    }
}

macro_rules! text_schema {
    ($type:ty, $name:literal, $schema:tt) => {
        impl JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }
            fn schema_name() -> Cow<'static, str> {
                $name.into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    };
}

/// Text for people; numbers are taken as they are written (`version: 1.0`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Label(pub String);
text_schema!(Label, "Label", {"type": ["string", "number", "boolean"]});

impl Field for Label {
    fn read(node: &Arc<Node>, cx: &mut Cx) -> Option<Self> {
        match &node.data {
            Data::Text(text) => {
                if text.chars().any(|c| c.is_control() && c != '\n' && c != '\t') {
                    let message = "a text for people can't hold control characters".into();
                    let d = cx.error(codes::WRONG_VALUE, node.span.clone(), message);
                    d.cause("it is shown in terminals, which obey them");
                }
                Some(Self(text.clone()))
            }
            Data::Number(_) | Data::Bool(_) => Some(Self(cx.text(node.span.clone()).into())),
            _ => {
                cx.wrong_type(node, "text");
                None
            }
        }
    }
}

/// A length of time: `250ms`, `30s`, `5m`, `2h`, `1d`, `1h30m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Duration(pub Span);
text_schema!(Duration, "Duration", {
    "type": "string",
    "pattern": "^([0-9]+(ms|s|m|h|d|w))+$",
    "examples": ["30s", "5m", "1h30m"]
});

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(&self.0)
    }
}

/// A length of time as people write it.
pub(crate) fn shown_span<S: Serializer>(span: &Span, s: S) -> Result<S::Ok, S::Error> {
    Duration(*span).serialize(s)
}

impl Field for Duration {
    fn read(node: &Arc<Node>, cx: &mut Cx) -> Option<Self> {
        let text = match &node.data {
            Data::Text(text) => text.as_str(),
            Data::Number(n) => {
                let message = format!("the duration {n} has no unit");
                let d = cx.error(codes::NOT_A_DURATION, node.span.clone(), message);
                d.help(format!("write {n}s for seconds, {n}m for minutes, {n}h for hours"));
                return None;
            }
            _ => {
                cx.wrong_type(node, "a duration such as 30s or 5m");
                return None;
            }
        };
        match Span::from_str(text) {
            Ok(span) => Some(Self(span)),
            Err(_) => {
                let message = format!("{text:?} is not a duration");
                let d = cx.error(codes::NOT_A_DURATION, node.span.clone(), message);
                d.help("write 250ms, 30s, 5m, 2h, 1d or 1h30m");
                None
            }
        }
    }
}

/// A number of bytes: `512KiB`, `10MiB`, `2GiB`, or a whole number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size(pub u64);
text_schema!(Size, "Size", {
    "anyOf": [
        {"type": "string", "pattern": "^[0-9]+ ?(B|kB|KB|KiB|MB|MiB|GB|GiB|TB|TiB)$"},
        {"type": "integer", "minimum": 0}
    ],
    "examples": ["512KiB", "10MiB"]
});

const SIZE_UNITS: [(&str, u64); 10] = [
    ("B", 1),
    ("kB", 1000),
    ("KB", 1000),
    ("KiB", 1 << 10),
    ("MB", 1_000_000),
    ("MiB", 1 << 20),
    ("GB", 1_000_000_000),
    ("GiB", 1 << 30),
    ("TB", 1_000_000_000_000),
    ("TiB", 1 << 40),
];

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_u64(self.0)
    }
}

impl FromStr for Size {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not a size; write 512KiB, 10MiB or 2GiB");
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let number: u64 = number.parse().map_err(|_| wrong())?;
        let unit = unit.trim_start_matches(' ');
        let (_, factor) = SIZE_UNITS.iter().find(|(u, _)| *u == unit).ok_or_else(wrong)?;
        number.checked_mul(*factor).map(Self).ok_or_else(wrong)
    }
}

impl Field for Size {
    fn read(node: &Arc<Node>, cx: &mut Cx) -> Option<Self> {
        let size = match &node.data {
            Data::Number(n) => n.as_u64().map(Self).ok_or_else(|| n.to_string()),
            Data::Text(text) => text.parse::<Self>().map_err(|_| text.clone()),
            _ => {
                cx.wrong_type(node, "a size such as 10MiB");
                return None;
            }
        };
        size.map_err(|text| {
            let message = format!("{text:?} is not a size");
            let d = cx.error(codes::NOT_A_SIZE, node.span.clone(), message);
            d.help("write 512KiB, 10MiB or 2GiB");
        })
        .ok()
    }
}

text_schema!(NameText, "Name", {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$"});

/// The name of an agent, a workflow or a channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct NameText(pub Name);

impl Field for NameText {
    fn read(node: &Arc<Node>, cx: &mut Cx) -> Option<Self> {
        let text = cx.str(node, "a name")?;
        name(text, node.span.clone(), cx).map(Self)
    }
}

/// Checks a name and reports what is wrong with it.
pub(crate) fn name(text: &str, span: Range<usize>, cx: &mut Cx) -> Option<Name> {
    Name::new(text)
        .map_err(|e| {
            let d = cx.error(codes::BAD_NAME, span, format!("{text:?} is not a name"));
            d.cause(e.to_string());
            let fixed: String =
                text.chars().map(|c| if legal_in_name(c) { c } else { '-' }).take(64).collect();
            let fixed = fixed.trim_matches('-');
            if text.contains(['/', '\\']) || text.contains("..") {
                d.help("names are never paths: write the file's name without folder and ending");
            } else if !fixed.is_empty() {
                d.help(format!("did you mean `{fixed}`?"));
            }
        })
        .ok()
}

fn legal_in_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '-'
}

/// A name used in an expression, and where.
#[derive(Debug, Clone, PartialEq)]
pub struct Use {
    /// The name and the fields selected from it.
    pub path: Vec<String>,
    /// The bytes in the file.
    pub span: Range<usize>,
}

/// An expression. Equal when the texts are.
#[derive(Debug, Clone)]
pub struct Expr {
    /// The expression, compiled.
    pub program: Program,
    /// The names that it uses.
    pub uses: Vec<Use>,
    /// The bytes of it in the source.
    pub span: Range<usize>,
    /// The text as it stands in the file.
    pub(crate) node: Arc<Node>,
}
text_schema!(Expr, "Expression", {
    "type": ["string", "boolean", "number"],
    "description": "A CEL expression.",
    "maxLength": 4096
});

impl PartialEq for Expr {
    fn eq(&self, other: &Self) -> bool {
        self.program.source() == other.program.source()
    }
}

impl Serialize for Expr {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.program.source())
    }
}

impl Field for Expr {
    fn read(node: &Arc<Node>, cx: &mut Cx) -> Option<Self> {
        let source = match &node.data {
            Data::Text(text) => text.trim_end().to_owned(),
            Data::Bool(_) | Data::Number(_) => node.to_json().to_string(),
            _ => {
                cx.wrong_type(node, "an expression (text)");
                return None;
            }
        };
        if source.contains("${{") {
            stray_template(node, &source, cx);
            return None;
        }
        match Program::compile(&source) {
            Ok(program) => {
                let uses = program.references().into_iter();
                let uses =
                    uses.map(|r| Use { path: r.path, span: cx.place_in(node, &r.span) }).collect();
                Some(Self { program, uses, span: node.span.clone(), node: node.clone() })
            }
            Err(e) => {
                expression_error(&e, node, cx);
                None
            }
        }
    }
}

fn stray_template(node: &Node, source: &str, cx: &mut Cx) {
    let message = "`${{ }}` in a key that is an expression already".into();
    let d = cx.error(codes::STRAY_TEMPLATE, node.span.clone(), message);
    d.cause("here the whole text is the expression");
    let inner = source.trim().strip_prefix("${{").and_then(|s| s.strip_suffix("}}"));
    match inner.filter(|s| !s.contains("${{")) {
        Some(inner) => d.help(format!("write {:?}", inner.trim())),
        None => d.help("take the `${{` and `}}` out; join texts with `+`"),
    };
}

fn expression_error(e: &moa_core::expr::Error, node: &Node, cx: &mut Cx) {
    let span = cx.place_in(node, &e.span);
    let d = cx.error(codes::EXPRESSION, span, e.message.clone());
    d.help = e.hint.clone();
}

/// Any value, with `${{ expression }}` in its texts.
#[derive(Debug, Clone)]
pub struct Tmpl {
    /// The value, compiled.
    pub template: Template,
    /// The names that its expressions use.
    pub uses: Vec<Use>,
    /// The expressions, each with the byte at which it starts in the text of its node.
    pub(crate) programs: Vec<(Program, usize, Arc<Node>)>,
    /// The value as it stands in the file.
    pub(crate) node: Arc<Node>,
}

impl Tmpl {
    /// The value as JSON, not evaluated.
    pub fn source(&self) -> &Json {
        self.template.source()
    }

    /// The bytes of it in the source.
    pub fn span(&self) -> Range<usize> {
        self.node.span.clone()
    }
}

impl PartialEq for Tmpl {
    fn eq(&self, other: &Self) -> bool {
        self.source() == other.source()
    }
}

impl Serialize for Tmpl {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        self.source().serialize(s)
    }
}

impl JsonSchema for Tmpl {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Template".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"description": "Any value; `${{ expression }}` in its texts is evaluated."})
    }
}

impl Field for Tmpl {
    fn read(node: &Arc<Node>, cx: &mut Cx) -> Option<Self> {
        let mut found = Found::default();
        let mut json = node.to_json();
        if !check_texts(node, &mut found, cx) {
            // The mistakes were reported; without those texts the rest can still be checked.
            blank_broken(&mut json);
        }
        let template = Template::compile(&json, true).unwrap_or_default();
        let Found { uses, programs } = found;
        Some(Self { template, uses, programs, node: node.clone() })
    }
}

/// Empties the texts that don't compile.
fn blank_broken(json: &mut Json) {
    match json {
        Json::String(_) if !Template::check(json, true).is_empty() => *json = "".into(),
        Json::Array(items) => items.iter_mut().for_each(blank_broken),
        Json::Object(map) => map.values_mut().for_each(blank_broken),
        _ => {}
    }
}

/// What the texts of a template hold.
#[derive(Default)]
struct Found {
    uses: Vec<Use>,
    programs: Vec<(Program, usize, Arc<Node>)>,
}

/// Compiles every text beneath `node` by itself, so that mistakes have a place.
fn check_texts(node: &Arc<Node>, found: &mut Found, cx: &mut Cx) -> bool {
    match &node.data {
        Data::Text(text) if text.contains("${{") => {
            let json = Json::String(text.clone());
            let errors = Template::check(&json, true);
            errors.iter().for_each(|(_, e)| expression_error(e, node, cx));
            let template = Template::compile(&json, true).unwrap_or_default();
            for r in template.references() {
                found.uses.push(Use { path: r.path, span: cx.place_in(node, &r.span) });
            }
            let programs = template.programs().into_iter();
            found.programs.extend(programs.map(|(program, at)| (program, at, node.clone())));
            errors.is_empty()
        }
        // Not `all`: every text is checked, also behind one with a mistake.
        Data::List(items) => items.iter().filter(|n| !check_texts(n, found, cx)).count() == 0,
        Data::Map(entries) => {
            entries.iter().filter(|(_, n)| !check_texts(n, found, cx)).count() == 0
        }
        _ => true,
    }
}

/// Any value, taken as it is. Equal when the values are.
#[derive(Debug, Clone)]
pub struct Raw {
    /// The value.
    pub json: Json,
    /// The value as it stands in the file.
    pub(crate) node: Arc<Node>,
}

impl PartialEq for Raw {
    fn eq(&self, other: &Self) -> bool {
        self.json == other.json
    }
}

impl Serialize for Raw {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        self.json.serialize(s)
    }
}

impl JsonSchema for Raw {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Any".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!(true)
    }
}

impl Field for Raw {
    fn read(node: &Arc<Node>, _: &mut Cx) -> Option<Self> {
        Some(Self { json: node.to_json(), node: node.clone() })
    }
}

/// A mapping with keys of the author's choice, in the order of the file.
#[derive(Debug, Clone, PartialEq)]
pub struct Entries<T>(pub Vec<(At<String>, T)>);

impl<T> Entries<T> {
    /// The entry with that key.
    pub fn get(&self, key: &str) -> Option<&T> {
        self.0.iter().find(|(k, _)| k.value == key).map(|(_, v)| v)
    }
}

impl<T: Field> Field for Entries<T> {
    fn read(node: &Arc<Node>, cx: &mut Cx) -> Option<Self> {
        let Data::Map(entries) = &node.data else {
            cx.wrong_type(node, "a mapping");
            return None;
        };
        let read = entries.iter().filter_map(|(key, value)| {
            let key = At { value: key.text.clone(), span: key.span.clone() };
            Some((key, T::read(value, cx)?))
        });
        Some(Self(read.collect()))
    }
}

impl<T: Serialize> Serialize for Entries<T> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_map(self.0.iter().map(|(k, v)| (&k.value, v)))
    }
}

impl<T: JsonSchema> JsonSchema for Entries<T> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        format!("MapOf{}", T::schema_name()).into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "additionalProperties": generator.subschema_for::<T>(),
        })
    }
}

/// One value, or a list of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Many<T>(pub Vec<T>);

impl<T: Field> Field for Many<T> {
    fn read(node: &Arc<Node>, cx: &mut Cx) -> Option<Self> {
        match node.data {
            Data::List(_) => Vec::read(node, cx).map(Self),
            _ => T::read(node, cx).map(|one| Self(vec![one])),
        }
    }
}

impl<T: Serialize> Serialize for Many<T> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(s)
    }
}

impl<T: JsonSchema> JsonSchema for Many<T> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        format!("OneOrMany{}", T::schema_name()).into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let one = generator.subschema_for::<T>();
        json_schema!({"anyOf": [one, {"type": "array", "items": one}]})
    }
}

/// A list that has at least one item.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Filled<T>(pub Vec<T>);

impl<T> std::ops::Deref for Filled<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T: Field> Field for Filled<T> {
    fn read(node: &Arc<Node>, cx: &mut Cx) -> Option<Self> {
        if matches!(&node.data, Data::List(items) if items.is_empty()) {
            let message = "this list is empty".into();
            let d = cx.error(codes::WRONG_VALUE, node.span.clone(), message);
            d.help("add an item, or take the key out");
        }
        Vec::read(node, cx).map(Self)
    }
}

impl<T: JsonSchema> JsonSchema for Filled<T> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        format!("SomeOf{}", T::schema_name()).into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let item = generator.subschema_for::<T>();
        json_schema!({"type": "array", "items": item, "minItems": 1})
    }
}

/// A short form (one scalar), or a mapping.
#[derive(Debug, Clone, PartialEq)]
pub enum Short<S, L> {
    /// The short form.
    Short(S),
    /// The mapping.
    Long(L),
}

impl<S: Field, L: Field> Field for Short<S, L> {
    fn read(node: &Arc<Node>, cx: &mut Cx) -> Option<Self> {
        match node.data {
            Data::Map(_) => L::read(node, cx).map(Self::Long),
            _ => S::read(node, cx).map(Self::Short),
        }
    }
}

impl<S: Serialize, L: Serialize> Serialize for Short<S, L> {
    fn serialize<Z: Serializer>(&self, z: Z) -> Result<Z::Ok, Z::Error> {
        match self {
            Self::Short(short) => short.serialize(z),
            Self::Long(long) => long.serialize(z),
        }
    }
}

impl<S: JsonSchema, L: JsonSchema> JsonSchema for Short<S, L> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        format!("{}Or{}", S::schema_name(), L::schema_name()).into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let (short, long) = (generator.subschema_for::<S>(), generator.subschema_for::<L>());
        json_schema!({"anyOf": [short, long]})
    }
}
