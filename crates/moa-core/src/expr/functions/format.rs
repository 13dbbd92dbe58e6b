//! `text.format(list)`: CEL's format strings.

use std::fmt::Write as _;

use super::{Answer, Function, method};
use crate::expr::convert;
use crate::expr::eval::{Context, Fault};
use crate::expr::operand::Operand;
use crate::expr::temporal;

pub(super) const TABLE: &[Function] =
    &[method("format", (2, 2), "a string and a list of what it inserts", format)];

/// Digits behind the point that one may ask for.
const PRECISION_MAX: usize = 100;

fn format<'a>(cx: &mut Context<'a, '_>, args: &[Operand<'a>]) -> Answer<'a> {
    let (Some(pattern), true) = (args[0].as_str(), args[1].is_list()) else {
        return Err(cx.mismatch(args));
    };
    let mut values = args[1].items().into_iter().flatten();
    let mut out = String::new();
    let mut rest = pattern;
    while let Some(at) = rest.find('%') {
        cx.budget.steps(1)?;
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(tail) = rest.strip_prefix('%') {
            out.push('%');
            rest = tail;
            continue;
        }
        let (precision, tail) = precision(rest)?;
        let mut chars = tail.chars();
        let clause = chars.next().unwrap_or(' ');
        rest = chars.as_str();
        let value = values
            .next()
            .ok_or_else(|| Fault::plain("the format has more clauses than the list has values"))?;
        let before = out.len();
        clause_of(cx, clause, precision, &value, &mut out)?;
        cx.allocate((out.len() - before) as u64)?;
    }
    if values.next().is_some() {
        return Err(Fault::plain("the list has more values than the format has clauses"));
    }
    out.push_str(rest);
    cx.allocate(pattern.len() as u64)?;
    cx.string(out)
}

/// `.3` of `.3f`, and what is behind it.
fn precision<'a>(text: &str) -> Result<(usize, &str), Fault<'a>> {
    let Some(tail) = text.strip_prefix('.') else {
        return Ok((6, text));
    };
    let digits = tail.bytes().take_while(u8::is_ascii_digit).count();
    match tail[..digits].parse::<usize>() {
        Ok(n) if n <= PRECISION_MAX => Ok((n, &tail[digits..])),
        _ => Err(Fault::plain(format!("a precision is a number up to {PRECISION_MAX}"))),
    }
}

fn clause_of<'a>(
    cx: &mut Context<'a, '_>,
    clause: char,
    precision: usize,
    value: &Operand<'a>,
    out: &mut String,
) -> Result<(), Fault<'a>> {
    let written = match (clause, value) {
        ('s', value) => return text(cx, value, out),
        ('d' | 'f' | 'e', Operand::Double(n)) if !n.is_finite() => {
            out.push_str(&convert::double_to_string(*n));
            Ok(())
        }
        ('d', Operand::Int(n)) => write!(out, "{n}"),
        ('d', Operand::Uint(n)) => write!(out, "{n}"),
        ('f' | 'e', value) => match double(value) {
            Some(n) if clause == 'f' => write!(out, "{n:.precision$}"),
            Some(n) => scientific(n, precision, out),
            None => return Err(misfit(clause, value)),
        },
        ('b', Operand::Bool(b)) => write!(out, "{}", u8::from(*b)),
        ('b', Operand::Int(n)) => write!(out, "{}{:b}", sign(*n), n.unsigned_abs()),
        ('b', Operand::Uint(n)) => write!(out, "{n:b}"),
        ('o', Operand::Int(n)) => write!(out, "{}{:o}", sign(*n), n.unsigned_abs()),
        ('o', Operand::Uint(n)) => write!(out, "{n:o}"),
        ('x', Operand::Int(n)) => write!(out, "{}{:x}", sign(*n), n.unsigned_abs()),
        ('x', Operand::Uint(n)) => write!(out, "{n:x}"),
        ('X', Operand::Int(n)) => write!(out, "{}{:X}", sign(*n), n.unsigned_abs()),
        ('X', Operand::Uint(n)) => write!(out, "{n:X}"),
        ('x' | 'X', Operand::Str(text)) => {
            hex(cx, text.as_str().as_bytes(), clause == 'X', out)?;
            Ok(())
        }
        ('x' | 'X', Operand::Bytes(bytes)) => {
            hex(cx, bytes, clause == 'X', out)?;
            Ok(())
        }
        ('d' | 'b' | 'o' | 'x' | 'X', value) => return Err(misfit(clause, value)),
        _ => {
            return Err(Fault::hinted(
                format!("`%{clause}` is no clause of a format"),
                "there are %s %d %f %e %b %o %x %X and %%",
            ));
        }
    };
    // Writing to a string cannot fail.
    written.map_err(|_| Fault::plain("the format cannot be written"))
}

fn misfit<'a>(clause: char, value: &Operand<'a>) -> Fault<'a> {
    Fault::hinted(
        format!("`%{clause}` does not take {}", value.described()),
        "write %s for any value",
    )
}

fn sign(n: i64) -> &'static str {
    if n < 0 { "-" } else { "" }
}

fn double(value: &Operand<'_>) -> Option<f64> {
    match value {
        Operand::Double(n) => Some(*n),
        Operand::Int(n) => Some(*n as f64),
        Operand::Uint(n) => Some(*n as f64),
        _ => None,
    }
}

/// `1.052033e+03`
fn scientific(n: f64, precision: usize, out: &mut String) -> std::fmt::Result {
    let text = format!("{n:.precision$e}");
    let (digits, power) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, power) = match power.strip_prefix('-') {
        Some(power) => ('-', power),
        None => ('+', power),
    };
    write!(out, "{digits}e{sign}{power:0>2}")
}

fn hex<'a>(
    cx: &mut Context<'a, '_>,
    bytes: &[u8],
    upper: bool,
    out: &mut String,
) -> Result<(), Fault<'a>> {
    cx.allocate(2 * bytes.len() as u64)?;
    cx.scan(16 * bytes.len())?;
    for byte in bytes {
        let digits = if upper { format!("{byte:02X}") } else { format!("{byte:02x}") };
        out.push_str(&digits);
    }
    Ok(())
}

/// Any value as text; maps by their keys' text, so that the result does not depend on their order.
fn text<'a>(
    cx: &mut Context<'a, '_>,
    value: &Operand<'a>,
    out: &mut String,
) -> Result<(), Fault<'a>> {
    // Invariant: no value is nested deeper than its size was measured to be.
    let size = value.size(cx)?;
    cx.allocate(size.bytes)?;
    cx.budget.steps(size.bytes / 64)?;
    plain_text(value, out);
    Ok(())
}

fn plain_text(value: &Operand<'_>, out: &mut String) {
    match value {
        Operand::Str(text) => out.push_str(text.as_str()),
        Operand::Bytes(bytes) => out.push_str(&String::from_utf8_lossy(bytes)),
        Operand::Double(n) => out.push_str(&convert::double_to_string(*n)),
        Operand::Timestamp(t) => out.push_str(&t.to_string()),
        Operand::Duration(d) => out.push_str(&temporal::seconds_text(*d)),
        Operand::Type(name) => out.push_str(name),
        Operand::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
        Operand::Int(n) => out.push_str(&n.to_string()),
        Operand::Uint(n) => out.push_str(&n.to_string()),
        Operand::Optional(Some(inner)) => plain_text(inner, out),
        list if list.is_list() => {
            out.push('[');
            for (index, item) in list.items().into_iter().flatten().enumerate() {
                out.push_str(if index == 0 { "" } else { ", " });
                plain_text(&item, out);
            }
            out.push(']');
        }
        map if map.is_map() => {
            let mut entries = Vec::new();
            for key in map.items().into_iter().flatten() {
                let mut entry = String::new();
                plain_text(&key, &mut entry);
                entry.push_str(": ");
                if let Some(value) = key.as_probe().and_then(|probe| map.get(probe)) {
                    plain_text(&value, &mut entry);
                }
                entries.push(entry);
            }
            entries.sort();
            let _ = write!(out, "{{{}}}", entries.join(", "));
        }
        _ => out.push_str("null"),
    }
}
