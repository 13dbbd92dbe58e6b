//! Between types: `int`, `string`, `timestamp`, …, and what is known of any value.

use super::{Answer, Function, free, method};
use crate::expr::eval::{Context, Fault};
use crate::expr::operand::{Operand, Text};
use crate::expr::{convert, temporal};

pub(super) const TABLE: &[Function] = &[
    free("type", (1, 1), "any value", |_, args| Ok(Operand::Type(args[0].type_name()))),
    free("dyn", (1, 1), "any value", |_, args| Ok(args[0].clone())),
    free("bool", (1, 1), "a bool or a string", to_bool),
    free("int", (1, 1), "a number, a string or a timestamp", to_int),
    free("uint", (1, 1), "a number or a string", to_uint),
    free("double", (1, 1), "a number or a string", to_double),
    free("string", (1, 1), "a number, bool, string, bytes, timestamp or duration", to_string),
    free("bytes", (1, 1), "a string or bytes", to_bytes),
    free("timestamp", (1, 1), "RFC 3339 text or seconds of the Unix epoch", to_timestamp),
    free("duration", (1, 1), "text such as \"1h30m\"", to_duration),
    free("base64.encode", (1, 1), "bytes", |cx, args| match &args[0] {
        Operand::Bytes(bytes) => cx.string(convert::base64(bytes)),
        _ => Err(cx.mismatch(args)),
    }),
    free("base64.decode", (1, 1), "a string of Base64", from_base64),
    free("optional.of", (1, 1), "any value", |_, args| {
        Ok(Operand::Optional(Some(args[0].clone().into())))
    }),
    free("optional.none", (0, 0), "nothing", |_, _| Ok(Operand::Optional(None))),
    free("optional.ofNonZeroValue", (1, 1), "any value", |_, args| {
        let zero = is_zero(&args[0]);
        Ok(Operand::Optional((!zero).then(|| args[0].clone().into())))
    }),
    method("hasValue", (1, 1), "an optional: a.?b", |cx, args| match &args[0] {
        Operand::Optional(inner) => Ok(Operand::Bool(inner.is_some())),
        _ => Err(cx.mismatch(args)),
    }),
    method("value", (1, 1), "an optional: a.?b", |cx, args| match &args[0] {
        Operand::Optional(Some(inner)) => Ok(inner.as_ref().clone()),
        Operand::Optional(None) => Err(Fault::hinted(
            "the optional has no value",
            "write .orValue(x) to have one in its place",
        )),
        _ => Err(cx.mismatch(args)),
    }),
    method("orValue", (2, 2), "an optional (a.?b) and a value", |cx, args| match &args[0] {
        Operand::Optional(Some(inner)) => Ok(inner.as_ref().clone()),
        Operand::Optional(None) => Ok(args[1].clone()),
        _ => Err(cx.mismatch(args)),
    }),
    method("or", (2, 2), "an optional (a.?b) and an optional", |cx, args| {
        match (&args[0], &args[1]) {
            (Operand::Optional(Some(_)), Operand::Optional(_)) => Ok(args[0].clone()),
            (Operand::Optional(None), Operand::Optional(_)) => Ok(args[1].clone()),
            _ => Err(cx.mismatch(args)),
        }
    }),
];

fn is_zero(value: &Operand<'_>) -> bool {
    match value {
        Operand::Null => true,
        Operand::Bool(b) => !b,
        Operand::Str(text) => text.as_str().is_empty(),
        Operand::Bytes(bytes) => bytes.is_empty(),
        Operand::Duration(d) => d.is_zero(),
        other => match other.as_number() {
            Some(n) => n.to_integer() == Some(0),
            None => other.len() == Some(0),
        },
    }
}

/// The failure to read text as something else.
fn unreadable<'a>(text: &str, what: &str) -> Fault<'a> {
    let shown: String = text.chars().take(40).collect();
    Fault::plain(format!("`{shown}` is not {what}"))
}

fn to_bool<'a>(cx: &mut Context<'a, '_>, args: &[Operand<'a>]) -> Answer<'a> {
    match &args[0] {
        Operand::Bool(b) => Ok(Operand::Bool(*b)),
        Operand::Str(text) => match text.as_str() {
            "true" | "True" | "TRUE" | "t" | "1" => Ok(Operand::Bool(true)),
            "false" | "False" | "FALSE" | "f" | "0" => Ok(Operand::Bool(false)),
            other => Err(unreadable(other, "a bool")),
        },
        _ => Err(cx.mismatch(args)),
    }
}

fn to_int<'a>(cx: &mut Context<'a, '_>, args: &[Operand<'a>]) -> Answer<'a> {
    let too_large = || Fault::plain("the number does not fit an int");
    match &args[0] {
        Operand::Int(n) => Ok(Operand::Int(*n)),
        Operand::Uint(n) => i64::try_from(*n).map(Operand::Int).map_err(|_| too_large()),
        // Both ends are excluded, as in CEL: near them a double names no one int.
        Operand::Double(n) if n.abs() < 9_223_372_036_854_775_808.0 => Ok(Operand::Int(*n as i64)),
        Operand::Double(_) => Err(too_large()),
        Operand::Str(text) => {
            let parsed = text.as_str().parse().map(Operand::Int);
            parsed.map_err(|_| unreadable(text.as_str(), "an int"))
        }
        Operand::Timestamp(t) => Ok(Operand::Int(t.as_second())),
        _ => Err(cx.mismatch(args)),
    }
}

fn to_uint<'a>(cx: &mut Context<'a, '_>, args: &[Operand<'a>]) -> Answer<'a> {
    let out_of_range = || Fault::plain("the number does not fit a uint");
    match &args[0] {
        Operand::Uint(n) => Ok(Operand::Uint(*n)),
        Operand::Int(n) => u64::try_from(*n).map(Operand::Uint).map_err(|_| out_of_range()),
        Operand::Double(n) if *n >= 0.0 && *n < 18_446_744_073_709_551_616.0 => {
            Ok(Operand::Uint(*n as u64))
        }
        Operand::Double(_) => Err(out_of_range()),
        Operand::Str(text) => {
            let parsed = text.as_str().parse().map(Operand::Uint);
            parsed.map_err(|_| unreadable(text.as_str(), "a uint"))
        }
        _ => Err(cx.mismatch(args)),
    }
}

fn to_double<'a>(cx: &mut Context<'a, '_>, args: &[Operand<'a>]) -> Answer<'a> {
    match &args[0] {
        Operand::Double(n) => Ok(Operand::Double(*n)),
        Operand::Int(n) => Ok(Operand::Double(*n as f64)),
        Operand::Uint(n) => Ok(Operand::Double(*n as f64)),
        Operand::Str(text) => {
            let parsed = convert::parse_double(text.as_str()).map(Operand::Double);
            parsed.ok_or_else(|| unreadable(text.as_str(), "a double"))
        }
        _ => Err(cx.mismatch(args)),
    }
}

fn to_string<'a>(cx: &mut Context<'a, '_>, args: &[Operand<'a>]) -> Answer<'a> {
    match &args[0] {
        Operand::Str(text) => Ok(Operand::Str(text.clone())),
        Operand::Bool(b) => Ok(Operand::Str(Text::Borrowed(if *b { "true" } else { "false" }))),
        Operand::Int(n) => cx.string(n.to_string()),
        Operand::Uint(n) => cx.string(n.to_string()),
        Operand::Double(n) => cx.string(convert::double_to_string(*n)),
        Operand::Timestamp(t) => cx.string(t.to_string()),
        Operand::Duration(d) => cx.string(temporal::seconds_text(*d)),
        Operand::Type(name) => Ok(Operand::Str(Text::Borrowed(name))),
        Operand::Bytes(bytes) => {
            cx.allocate(bytes.len() as u64)?;
            match std::str::from_utf8(bytes) {
                Ok(text) => cx.string(text),
                Err(_) => Err(Fault::plain("the bytes are not UTF-8")),
            }
        }
        _ => Err(cx.mismatch(args)),
    }
}

fn to_bytes<'a>(cx: &mut Context<'a, '_>, args: &[Operand<'a>]) -> Answer<'a> {
    match &args[0] {
        Operand::Bytes(bytes) => Ok(Operand::Bytes(bytes.clone())),
        Operand::Str(text) => {
            cx.allocate(text.as_str().len() as u64)?;
            cx.bytes(text.as_str().as_bytes())
        }
        _ => Err(cx.mismatch(args)),
    }
}

fn to_timestamp<'a>(cx: &mut Context<'a, '_>, args: &[Operand<'a>]) -> Answer<'a> {
    match &args[0] {
        Operand::Timestamp(t) => Ok(Operand::Timestamp(*t)),
        Operand::Int(n) => temporal::from_second(*n)
            .map(Operand::Timestamp)
            .ok_or_else(|| Fault::plain("the timestamp is out of range")),
        Operand::Str(text) => {
            let parsed = temporal::parse_timestamp(text.as_str()).map(Operand::Timestamp);
            parsed.ok_or_else(|| {
                let mut fault = unreadable(text.as_str(), "a timestamp");
                fault.set_hint("write RFC 3339: 2026-01-31T12:00:00Z");
                fault
            })
        }
        _ => Err(cx.mismatch(args)),
    }
}

fn to_duration<'a>(cx: &mut Context<'a, '_>, args: &[Operand<'a>]) -> Answer<'a> {
    match &args[0] {
        Operand::Duration(d) => Ok(Operand::Duration(*d)),
        Operand::Str(text) => {
            let parsed = temporal::parse_duration(text.as_str()).map(Operand::Duration);
            parsed.ok_or_else(|| {
                let mut fault = unreadable(text.as_str(), "a duration");
                fault.set_hint("write a unit: 250ms, 30s, 5m, 2h, 1d, 1h30m");
                fault
            })
        }
        _ => Err(cx.mismatch(args)),
    }
}

fn from_base64<'a>(cx: &mut Context<'a, '_>, args: &[Operand<'a>]) -> Answer<'a> {
    let Some(text) = args[0].as_str() else {
        return Err(cx.mismatch(args));
    };
    cx.scan(text.len() * 8)?;
    cx.allocate(text.len() as u64)?;
    match convert::from_base64(text) {
        Some(bytes) => cx.bytes(bytes),
        None => Err(unreadable(text, "Base64")),
    }
}
