//! Text: CEL's own functions and its strings extension. Positions count characters.

use regex_lite::Regex;

use super::{Answer, Function, free, method};
use crate::expr::eval::{Context, Fault};
use crate::expr::operand::Operand;

pub(super) const TABLE: &[Function] = &[
    method("contains", (2, 2), "two strings", |cx, args| test(cx, args, |a, b| a.contains(b))),
    method("startsWith", (2, 2), "two strings", |cx, args| test(cx, args, |a, b| a.starts_with(b))),
    method("endsWith", (2, 2), "two strings", |cx, args| test(cx, args, |a, b| a.ends_with(b))),
    method("matches", (2, 2), "a string and a pattern", matches),
    free("matches", (2, 2), "a string and a pattern", matches),
    method("lowerAscii", (1, 1), "a string", |cx, args| {
        mapped(cx, args, |s| s.to_ascii_lowercase())
    }),
    method("upperAscii", (1, 1), "a string", |cx, args| {
        mapped(cx, args, |s| s.to_ascii_uppercase())
    }),
    method("trim", (1, 1), "a string", |cx, args| mapped(cx, args, |s| s.trim().to_owned())),
    method("charAt", (2, 2), "a string and an int", char_at),
    method("indexOf", (2, 3), "two strings, and an int", index_of),
    method("lastIndexOf", (2, 3), "two strings, and an int", last_index_of),
    method("substring", (2, 3), "a string and one or two ints", substring),
    method("replace", (3, 4), "three strings, and an int", replace),
    method("split", (2, 3), "two strings, and an int", split),
    method("join", (1, 2), "a list of strings, and a string", join),
    free("strings.quote", (1, 1), "a string", |cx, args| mapped(cx, args, quote)),
];

fn test<'a>(
    cx: &mut Context<'a, '_>,
    args: &[Operand<'a>],
    test: fn(&str, &str) -> bool,
) -> Answer<'a> {
    let (Some(text), Some(part)) = (args[0].as_str(), args[1].as_str()) else {
        return Err(cx.mismatch(args));
    };
    cx.scan(text.len() + part.len())?;
    Ok(Operand::Bool(test(text, part)))
}

fn mapped<'a>(
    cx: &mut Context<'a, '_>,
    args: &[Operand<'a>],
    change: fn(&str) -> String,
) -> Answer<'a> {
    let Some(text) = args[0].as_str() else {
        return Err(cx.mismatch(args));
    };
    cx.allocate(text.len() as u64)?;
    cx.string(change(text))
}

/// `text` in double quotes, with what is special in it escaped.
fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '\x07' => out.push_str("\\a"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x0b' => out.push_str("\\v"),
            '\\' | '"' => out.extend(['\\', c]),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn matches<'a>(cx: &mut Context<'a, '_>, args: &[Operand<'a>]) -> Answer<'a> {
    let (Some(text), Some(pattern)) = (args[0].as_str(), args[1].as_str()) else {
        return Err(cx.mismatch(args));
    };
    cx.budget.steps(100 + 10 * pattern.len() as u64 + super::states(pattern) / 4)?;
    let regex = super::regex(pattern).map_err(|(message, hint)| {
        let mut fault = Fault::plain(message);
        fault.set_hint(hint.as_deref().unwrap_or("use startsWith, endsWith or contains"));
        fault
    })?;
    is_match(cx, &regex, text)
}

/// Whether the pattern is found in the text.
pub(in crate::expr) fn is_match<'a>(
    cx: &mut Context<'a, '_>,
    (regex, states): &(Regex, u64),
    text: &str,
) -> Answer<'a> {
    cx.budget.steps((text.len() as u64).saturating_mul(*states) / 32)?;
    Ok(Operand::Bool(regex.is_match(text)))
}

/// The byte of a character's position, the end included; `None` outside.
fn byte_of(text: &str, position: i64) -> Option<usize> {
    let position = usize::try_from(position).ok()?;
    if text.is_ascii() {
        return (position <= text.len()).then_some(position);
    }
    text.char_indices().map(|(at, _)| at).chain([text.len()]).nth(position)
}

fn outside<'a>(position: i64, text: &str) -> Fault<'a> {
    let len = text.chars().count();
    Fault::plain(format!(
        "position {position} is outside of the string, which has {len} characters"
    ))
}

fn position(args: &[Operand<'_>], index: usize) -> Option<i64> {
    match args.get(index) {
        Some(Operand::Int(n)) => Some(*n),
        _ => None,
    }
}

fn char_at<'a>(cx: &mut Context<'a, '_>, args: &[Operand<'a>]) -> Answer<'a> {
    let (Some(text), Some(at)) = (args[0].as_str(), position(args, 1)) else {
        return Err(cx.mismatch(args));
    };
    cx.scan(text.len())?;
    let byte = byte_of(text, at).ok_or_else(|| outside(at, text))?;
    let c = text[byte..].chars().next();
    cx.string(c.map(String::from).unwrap_or_default())
}

fn index_of<'a>(cx: &mut Context<'a, '_>, args: &[Operand<'a>]) -> Answer<'a> {
    let (Some(text), Some(part)) = (args[0].as_str(), args[1].as_str()) else {
        return Err(cx.mismatch(args));
    };
    let from = if args.len() > 2 { position(args, 2) } else { Some(0) };
    let from = from.ok_or_else(|| cx.mismatch(args))?;
    cx.scan(text.len() + part.len())?;
    let start = byte_of(text, from).ok_or_else(|| outside(from, text))?;
    let found = text[start..].find(part).map(|at| text[..start + at].chars().count());
    Ok(Operand::Int(found.map_or(-1, |n| n as i64)))
}

fn last_index_of<'a>(cx: &mut Context<'a, '_>, args: &[Operand<'a>]) -> Answer<'a> {
    let (Some(text), Some(part)) = (args[0].as_str(), args[1].as_str()) else {
        return Err(cx.mismatch(args));
    };
    cx.scan(text.len() + part.len())?;
    let mut end = text.len();
    if args.len() > 2 {
        let at = position(args, 2).ok_or_else(|| cx.mismatch(args))?;
        let last = byte_of(text, at).ok_or_else(|| outside(at, text))?;
        // The part may begin at that position at the latest.
        end = (last + part.len()).min(text.len());
        while !text.is_char_boundary(end) {
            end -= 1;
        }
    }
    let found = text[..end].rfind(part).map(|at| text[..at].chars().count());
    Ok(Operand::Int(found.map_or(-1, |n| n as i64)))
}

fn substring<'a>(cx: &mut Context<'a, '_>, args: &[Operand<'a>]) -> Answer<'a> {
    let (Some(text), Some(from)) = (args[0].as_str(), position(args, 1)) else {
        return Err(cx.mismatch(args));
    };
    cx.scan(text.len())?;
    let start = byte_of(text, from).ok_or_else(|| outside(from, text))?;
    let end = match args.len() {
        2 => text.len(),
        _ => {
            let to = position(args, 2).ok_or_else(|| cx.mismatch(args))?;
            byte_of(text, to).ok_or_else(|| outside(to, text))?
        }
    };
    match text.get(start..end) {
        Some(part) => cx.string(part),
        None => Err(Fault::plain("the part ends before it starts")),
    }
}

fn replace<'a>(cx: &mut Context<'a, '_>, args: &[Operand<'a>]) -> Answer<'a> {
    let (Some(text), Some(old), Some(new)) = (args[0].as_str(), args[1].as_str(), args[2].as_str())
    else {
        return Err(cx.mismatch(args));
    };
    let limit = match args.get(3) {
        None => usize::MAX,
        // A negative limit is none.
        Some(Operand::Int(n)) => usize::try_from(*n).unwrap_or(usize::MAX),
        Some(_) => return Err(cx.mismatch(args)),
    };
    cx.scan(text.len())?;
    let hits = text.matches(old).take(limit).count() as u64;
    cx.budget.steps(hits / 4)?;
    cx.allocate((text.len() as u64).saturating_add(hits.saturating_mul(new.len() as u64)))?;
    cx.string(text.replacen(old, new, limit))
}

fn split<'a>(cx: &mut Context<'a, '_>, args: &[Operand<'a>]) -> Answer<'a> {
    let (Some(text), Some(separator)) = (args[0].as_str(), args[1].as_str()) else {
        return Err(cx.mismatch(args));
    };
    let limit = match args.get(2) {
        None => usize::MAX,
        Some(Operand::Int(n)) => usize::try_from(*n).unwrap_or(usize::MAX),
        Some(_) => return Err(cx.mismatch(args)),
    };
    cx.scan(text.len())?;
    let mut parts = Vec::new();
    if limit > 0 {
        // Without a separator: into characters, not around them.
        let split: Vec<&str> = if separator.is_empty() {
            cx.allocate(16 * text.len() as u64)?;
            characters(text, limit)
        } else {
            let pieces = text.matches(separator).count() as u64;
            cx.allocate(16 * pieces)?;
            text.splitn(limit, separator).collect()
        };
        for part in split {
            cx.budget.steps(1)?;
            parts.push(cx.string(part)?);
        }
    }
    cx.list(parts)
}

fn characters(text: &str, limit: usize) -> Vec<&str> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if out.len() + 1 == limit {
            out.push(rest);
            break;
        }
        let (first, tail) = rest.split_at(c.len_utf8());
        out.push(first);
        rest = tail;
    }
    out
}

fn join<'a>(cx: &mut Context<'a, '_>, args: &[Operand<'a>]) -> Answer<'a> {
    let separator = match args.get(1) {
        None => "",
        Some(separator) => separator.as_str().ok_or_else(|| cx.mismatch(args))?,
    };
    let items = args[0].items().filter(|_| args[0].is_list());
    let items = items.ok_or_else(|| cx.mismatch(args))?;
    let mut out = String::new();
    for (index, item) in items.enumerate() {
        cx.budget.steps(1)?;
        let Some(text) = item.as_str() else {
            return Err(Fault::hinted(
                format!("`join` takes strings; item {index} is {}", item.described()),
                "write list.map(x, string(x)).join(…)",
            ));
        };
        let separator = if index == 0 { "" } else { separator };
        cx.allocate((separator.len() + text.len()) as u64)?;
        out.push_str(separator);
        out.push_str(text);
    }
    cx.string(out)
}
