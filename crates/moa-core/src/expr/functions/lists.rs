//! Lists and sizes: CEL's own functions and its lists extension.

use std::sync::Arc;

use super::{Answer, Function, free, method};
use crate::expr::code::Binary;
use crate::expr::eval::{Context, Fault};
use crate::expr::operand::Operand;
use crate::expr::{compare, number, temporal};

pub(super) const TABLE: &[Function] = &[
    free("size", (1, 1), "a string, bytes, a list or a map", size),
    method("size", (1, 1), "a string, bytes, a list or a map", size),
    method("distinct", (1, 1), "a list", distinct),
    method("flatten", (1, 2), "a list, and an int", flatten),
    method("slice", (3, 3), "a list and two ints", slice),
    method("reverse", (1, 1), "a list or a string", reverse),
    method("sort", (1, 1), "a list", sort),
    method("sum", (1, 1), "a list of numbers of one type, or of durations", sum),
    method("first", (1, 1), "a list", |cx, args| edge(cx, args, |_| 0)),
    method("last", (1, 1), "a list", |cx, args| edge(cx, args, |len| len - 1)),
    free("lists.range", (1, 1), "an int", range),
    free("sets.contains", (2, 2), "two lists", |cx, args| subset(cx, args, 1, 0)),
    free("sets.equivalent", (2, 2), "two lists", |cx, args| {
        let forth = subset(cx, args, 0, 1)?;
        if matches!(forth, Operand::Bool(true)) { subset(cx, args, 1, 0) } else { Ok(forth) }
    }),
    free("sets.intersects", (2, 2), "two lists", intersects),
];

fn items<'a>(
    cx: &Context<'a, '_>,
    args: &[Operand<'a>],
    at: usize,
) -> Result<Vec<Operand<'a>>, Fault<'a>> {
    match args.get(at) {
        Some(list) if list.is_list() => Ok(list.items().into_iter().flatten().collect()),
        _ => Err(cx.mismatch(args)),
    }
}

/// The items of an argument, charged.
fn copied<'a>(
    cx: &mut Context<'a, '_>,
    args: &[Operand<'a>],
    at: usize,
) -> Result<Vec<Operand<'a>>, Fault<'a>> {
    let len = args.get(at).and_then(Operand::len).unwrap_or_default() as u64;
    cx.allocate(len * size_of::<Operand<'_>>() as u64)?;
    cx.budget.steps(len / 8)?;
    items(cx, args, at)
}

fn size<'a>(cx: &mut Context<'a, '_>, args: &[Operand<'a>]) -> Answer<'a> {
    let size = match &args[0] {
        Operand::Str(text) => {
            cx.scan(text.as_str().len())?;
            Some(text.as_str().chars().count())
        }
        Operand::Bytes(bytes) => Some(bytes.len()),
        other => other.len(),
    };
    size.map(|n| Operand::Int(n as i64)).ok_or_else(|| cx.mismatch(args))
}

fn distinct<'a>(cx: &mut Context<'a, '_>, args: &[Operand<'a>]) -> Answer<'a> {
    let mut kept: Vec<Operand<'a>> = Vec::new();
    for item in copied(cx, args, 0)? {
        let mut known = false;
        for other in &kept {
            if compare::equal(&item, other, cx.budget)? {
                known = true;
                break;
            }
        }
        if !known {
            kept.push(item);
        }
    }
    cx.list(kept)
}

fn flatten<'a>(cx: &mut Context<'a, '_>, args: &[Operand<'a>]) -> Answer<'a> {
    let depth = match args.get(1) {
        None => 1,
        Some(Operand::Int(n)) if *n >= 0 => *n,
        Some(Operand::Int(_)) => return Err(Fault::plain("the depth is negative")),
        Some(_) => return Err(cx.mismatch(args)),
    };
    // A stack of iterators: the lists inside may be nested as deep as values may.
    let mut open = vec![copied(cx, args, 0)?.into_iter()];
    let mut flat = Vec::new();
    while let Some(level) = open.last_mut() {
        let Some(item) = level.next() else {
            open.pop();
            continue;
        };
        cx.budget.steps(1)?;
        cx.allocate(size_of::<Operand<'_>>() as u64)?;
        if item.is_list() && open.len() as i64 <= depth {
            open.push(copied(cx, &[item], 0)?.into_iter());
        } else {
            flat.push(item);
        }
    }
    cx.list(flat)
}

fn slice<'a>(cx: &mut Context<'a, '_>, args: &[Operand<'a>]) -> Answer<'a> {
    let (Operand::Int(from), Operand::Int(to)) = (&args[1], &args[2]) else {
        return Err(cx.mismatch(args));
    };
    let all = copied(cx, args, 0)?;
    let range = usize::try_from(*from).ok().zip(usize::try_from(*to).ok());
    match range.and_then(|(from, to)| all.get(from..to)) {
        Some(part) => cx.list(part.to_vec()),
        None => Err(Fault::plain(format!(
            "{from} to {to} is outside of the list, which has {} items",
            all.len()
        ))),
    }
}

fn reverse<'a>(cx: &mut Context<'a, '_>, args: &[Operand<'a>]) -> Answer<'a> {
    if let Some(text) = args[0].as_str() {
        cx.allocate(text.len() as u64)?;
        return cx.string(text.chars().rev().collect::<String>());
    }
    let mut all = copied(cx, args, 0)?;
    all.reverse();
    cx.list(all)
}

fn edge<'a>(cx: &mut Context<'a, '_>, args: &[Operand<'a>], at: fn(usize) -> usize) -> Answer<'a> {
    match args[0].len() {
        Some(0) if args[0].is_list() => Ok(Operand::Optional(None)),
        Some(len) if args[0].is_list() => {
            Ok(Operand::Optional(args[0].item(at(len)).map(Arc::new)))
        }
        _ => Err(cx.mismatch(args)),
    }
}

fn sum<'a>(cx: &mut Context<'a, '_>, args: &[Operand<'a>]) -> Answer<'a> {
    let mut total: Option<Operand<'a>> = None;
    for item in items(cx, args, 0)? {
        cx.budget.steps(1)?;
        total = Some(match (total, &item) {
            (None, Operand::Duration(_)) => item,
            (None, _) if item.as_number().is_some() => item,
            (Some(Operand::Duration(a)), Operand::Duration(b)) => temporal::add(a, *b)
                .map(Operand::Duration)
                .ok_or_else(|| Fault::plain("the sum is out of the range of time"))?,
            (Some(a), b) => match number::arithmetic(Binary::Add, &a, b) {
                Ok(sum) => sum,
                Err(number::Failure::Types) => {
                    let message =
                        format!("`sum` cannot add {} and {}", a.described(), b.described());
                    return Err(Fault::hinted(message, "write list.map(x, double(x)).sum()"));
                }
                Err(_) => {
                    return Err(Fault::plain(format!("the sum does not fit {}", b.described())));
                }
            },
            (None, _) => return Err(cx.mismatch(&[item])),
        });
    }
    Ok(total.unwrap_or(Operand::Int(0)))
}

fn sort<'a>(cx: &mut Context<'a, '_>, args: &[Operand<'a>]) -> Answer<'a> {
    let all = copied(cx, args, 0)?;
    let keys = all.clone();
    sort_by(cx, all, keys)
}

/// The items in the order of their keys, which must be of one kind that has an order.
pub(in crate::expr) fn sort_by<'a>(
    cx: &mut Context<'a, '_>,
    items: Vec<Operand<'a>>,
    keys: Vec<Operand<'a>>,
) -> Answer<'a> {
    let len = keys.len() as u64;
    cx.budget.steps(len * u64::from(len.max(1).ilog2()) / 4)?;
    if let Some(first) = keys.first() {
        let odd = keys.iter().find(|key| compare::order(first, key).is_err());
        if let Some(odd) = odd {
            let message =
                format!("there is no order of {} and {}", first.described(), odd.described());
            return Err(Fault::plain(message));
        }
        cx.scan(keys.iter().filter_map(Operand::as_str).map(str::len).sum())?;
    }
    let mut pairs: Vec<(Operand<'a>, Operand<'a>)> = keys.into_iter().zip(items).collect();
    pairs.sort_by(|(a, _), (b, _)| compare::sorting_order(a, b));
    cx.list(pairs.into_iter().map(|(_, item)| item).collect())
}

fn range<'a>(cx: &mut Context<'a, '_>, args: &[Operand<'a>]) -> Answer<'a> {
    let Operand::Int(n) = args[0] else {
        return Err(cx.mismatch(args));
    };
    let len = u64::try_from(n).unwrap_or(0);
    cx.budget.steps(len)?;
    cx.allocate(len.saturating_mul(size_of::<Operand<'_>>() as u64))?;
    cx.list((0..n).map(Operand::Int).collect())
}

/// Whether every item of argument `a` is among those of argument `b`.
fn subset<'a>(cx: &mut Context<'a, '_>, args: &[Operand<'a>], a: usize, b: usize) -> Answer<'a> {
    let (a, b) = (copied(cx, args, a)?, copied(cx, args, b)?);
    for item in &a {
        if !among(cx, item, &b)? {
            return Ok(Operand::Bool(false));
        }
    }
    Ok(Operand::Bool(true))
}

fn intersects<'a>(cx: &mut Context<'a, '_>, args: &[Operand<'a>]) -> Answer<'a> {
    let (a, b) = (copied(cx, args, 0)?, copied(cx, args, 1)?);
    for item in &a {
        if among(cx, item, &b)? {
            return Ok(Operand::Bool(true));
        }
    }
    Ok(Operand::Bool(false))
}

fn among<'a>(
    cx: &mut Context<'a, '_>,
    item: &Operand<'a>,
    list: &[Operand<'a>],
) -> Result<bool, Fault<'a>> {
    for other in list {
        if compare::equal(item, other, cx.budget)? {
            return Ok(true);
        }
    }
    Ok(false)
}
