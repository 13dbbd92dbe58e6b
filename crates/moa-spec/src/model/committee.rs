//! Values that only `committee` has: how many must vote, and what share must be for it.

use std::borrow::Cow;
use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};

use crate::codes;
use crate::read::{Cx, Field};
use crate::yaml::{Data, Node};

/// How many members must vote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quorum {
    /// So many.
    Count(u32),
    /// More than half of them.
    Majority,
    /// Every one.
    All,
}

impl Quorum {
    /// How many of `members` that is.
    pub fn of(self, members: u32) -> u32 {
        match self {
            Self::Count(count) => count,
            Self::Majority => members / 2 + 1,
            Self::All => members,
        }
    }
}

impl Field for Quorum {
    fn read(node: &Arc<Node>, cx: &mut Cx) -> Option<Self> {
        match &node.data {
            Data::Text(text) if text == "majority" => Some(Self::Majority),
            Data::Text(text) if text == "all" => Some(Self::All),
            Data::Number(_) => u32::read(node, cx).map(Self::Count),
            _ => {
                cx.wrong_type(node, "a number of votes, `majority` or `all`");
                None
            }
        }
    }
}

impl Serialize for Quorum {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Count(count) => s.serialize_u32(*count),
            Self::Majority => s.serialize_str("majority"),
            Self::All => s.serialize_str("all"),
        }
    }
}

impl JsonSchema for Quorum {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Quorum".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"anyOf": [
            {"type": "integer", "minimum": 1},
            {"enum": ["majority", "all"]}
        ]})
    }
}

/// A share, above 0 and to 1: `0.6`, `60%`, `2/3`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Share(pub f64);

impl Share {
    fn parse(text: &str) -> Option<f64> {
        let number = |t: &str| t.trim().parse::<f64>().ok().filter(|n| n.is_finite());
        if let Some(percent) = text.strip_suffix('%') {
            return Some(number(percent)? / 100.0);
        }
        let (part, whole) = text.split_once('/')?;
        let whole = number(whole).filter(|w| *w > 0.0)?;
        Some(number(part)? / whole)
    }
}

impl Field for Share {
    fn read(node: &Arc<Node>, cx: &mut Cx) -> Option<Self> {
        let share = match &node.data {
            Data::Number(n) => n.as_f64(),
            Data::Text(text) => Self::parse(text),
            _ => None,
        };
        match share {
            Some(share) if share > 0.0 && share <= 1.0 => Some(Self(share)),
            Some(_) => {
                let message = "a share is more than 0 and at most 1".into();
                let d = cx.error(codes::WRONG_VALUE, node.span.clone(), message);
                d.help("write 0.6, 60% or 2/3");
                None
            }
            None => {
                cx.wrong_type(node, "a share").help("write 0.6, 60% or 2/3");
                None
            }
        }
    }
}

impl Serialize for Share {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_f64(self.0)
    }
}

impl JsonSchema for Share {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Share".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"anyOf": [
            {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
            {"type": "string", "pattern": "^[0-9.]+%$|^[0-9.]+/[0-9.]+$", "examples": ["60%", "2/3"]}
        ]})
    }
}
