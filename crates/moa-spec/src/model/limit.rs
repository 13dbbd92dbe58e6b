//! Limits on an agent's attempts: rates, quotas, budgets, the breaker.

use std::borrow::Cow;
use std::sync::Arc;

use moa_core::limit::{Rate, Usd};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};

use crate::codes;
use crate::read::{At, Cx, Field};
use crate::scalar::{Duration, Entries};
use crate::yaml::{Data, Node};
use crate::{choice, record};

record! {
    /// So many units in each window of the calendar.
    pub struct QuotaFile as "`quota`" {
        /// Units of a window.
        units: At<u32>,
        /// How long a window is: `hour`, `day`, `week` or `month`; `day` when not given.
        per: Option<At<PerText>>,
        /// The IANA time zone whose calendar counts; UTC when not given.
        timezone: Option<At<String>>,
        /// Units of an attempt, by action, `*` for every other; 1 when not given.
        cost: Option<Entries<At<u32>>>,
    }

    /// What an agent may spend in each window of the calendar.
    pub struct BudgetFile as "`budget`" {
        /// US dollars of a window.
        usd: Option<At<UsdText>>,
        /// Tokens of a window.
        tokens: Option<At<u64>>,
        /// How long a window is: `hour`, `day`, `week` or `month`; `day` when not given.
        per: Option<At<PerText>>,
        /// The IANA time zone whose calendar counts; UTC when not given.
        timezone: Option<At<String>>,
        /// What happens once it is used up: `pause` (tasks wait for the next window; when not given),
        /// `fail` (attempts fail) or `ask` (tasks wait until a person grants more).
        on_exceed: Option<At<OnExceedText>>,
    }

    /// When an agent counts as ill, and for how long it is left alone.
    pub struct BreakerFile as "`circuit_breaker`" {
        /// Failures in a row that open it; 5 when not given.
        failures: Option<At<u32>>,
        /// They count only when no two are further apart; 10m when not given.
        within: Option<At<Duration>>,
        /// How long it stays open the first time; 30s when not given. Doubles while probes fail.
        open_for: Option<At<Duration>>,
        /// How long at most; 10m when not given.
        open_for_max: Option<At<Duration>>,
    }
}

choice! {
    /// How long a quota's window is.
    pub enum PerText as "a window" {
        /// From full hour to full hour.
        Hour = "hour" | "h",
        /// From midnight to midnight.
        Day = "day" | "d",
        /// From Monday to Monday.
        Week = "week" | "w",
        /// From the first to the first.
        Month = "month",
    }

    /// What happens once a budget is used up.
    pub enum OnExceedText as "what happens when a budget is used up" {
        /// Tasks wait for the next window.
        Pause = "pause",
        /// Attempts fail.
        Fail = "fail",
        /// Tasks wait until a person grants more, or the next window begins.
        Ask = "ask",
    }
}

/// Rates: `5/1h`, several separated by commas, or a list.
#[derive(Debug, Clone, PartialEq)]
pub struct Rates(pub Vec<Rate>);

impl Rates {
    fn add(&mut self, node: &Arc<Node>, cx: &mut Cx) {
        let Data::Text(text) = &node.data else {
            cx.wrong_type(node, "a rate (text)").help("write 5/1h: so many in so much time");
            return;
        };
        for part in text.split(',') {
            match part.trim().parse() {
                Ok(rate) => self.0.push(rate),
                Err(message) => {
                    cx.error(codes::WRONG_VALUE, node.span.clone(), message);
                }
            }
        }
    }
}

impl Field for Rates {
    fn read(node: &Arc<Node>, cx: &mut Cx) -> Option<Self> {
        let mut rates = Self(Vec::new());
        match &node.data {
            Data::List(list) => list.iter().for_each(|node| rates.add(node, cx)),
            _ => rates.add(node, cx),
        }
        Some(rates)
    }
}

impl Serialize for Rates {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_seq(self.0.iter().map(Rate::to_string))
    }
}

impl JsonSchema for Rates {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Rates".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"anyOf": [
            {"type": "string", "examples": ["5/1h", "5/1h, 50/1d"]},
            {"type": "array", "items": {"type": "string"}}
        ]})
    }
}

/// An amount of US dollars: `20`, `0.5`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct UsdText(pub Usd);

impl Field for UsdText {
    fn read(node: &Arc<Node>, cx: &mut Cx) -> Option<Self> {
        let parsed = match &node.data {
            Data::Number(number) => number.to_string().parse(),
            Data::Text(text) => text.parse(),
            _ => {
                cx.wrong_type(node, "an amount of US dollars (a number)");
                return None;
            }
        };
        match parsed {
            Ok(usd) => Some(Self(usd)),
            Err(message) => {
                let d = cx.error(codes::WRONG_VALUE, node.span.clone(), message);
                d.help("write an amount of US dollars such as 20 or 0.5");
                None
            }
        }
    }
}

impl Serialize for UsdText {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(s)
    }
}

impl JsonSchema for UsdText {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "UsdText".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"anyOf": [
            {"type": "number", "exclusiveMinimum": 0, "examples": [20, 0.5]},
            {"type": "string"}
        ]})
    }
}

/// A breaker: `true` for the usual one, `false` for none, or a mapping.
#[derive(Debug, Clone, PartialEq)]
pub enum BreakerText {
    /// The usual one, or none.
    Switch(bool),
    /// With its own numbers.
    Map(Box<BreakerFile>),
}

impl Field for BreakerText {
    fn read(node: &Arc<Node>, cx: &mut Cx) -> Option<Self> {
        match node.data {
            Data::Map(_) => Box::read(node, cx).map(Self::Map),
            _ => bool::read(node, cx).map(Self::Switch),
        }
    }
}

impl Serialize for BreakerText {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Switch(on) => s.serialize_bool(*on),
            Self::Map(file) => file.serialize(s),
        }
    }
}

impl JsonSchema for BreakerText {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "BreakerText".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let map = generator.subschema_for::<BreakerFile>();
        json_schema!({"anyOf": [{"type": "boolean"}, map]})
    }
}
