//! Numbers: CEL's math extension.

use std::cmp::Ordering;

use super::{Answer, Function, free};
use crate::expr::compare;
use crate::expr::eval::{Context, Fault};
use crate::expr::operand::Operand;

pub(super) const TABLE: &[Function] = &[
    free("math.greatest", (1, 255), "numbers, or a list of them", |cx, args| {
        extreme(cx, args, Ordering::Greater)
    }),
    free("math.least", (1, 255), "numbers, or a list of them", |cx, args| {
        extreme(cx, args, Ordering::Less)
    }),
    free("math.abs", (1, 1), "a number", abs),
    free("math.sign", (1, 1), "a number", sign),
    free("math.ceil", (1, 1), "a double", |cx, args| rounded(cx, args, f64::ceil)),
    free("math.floor", (1, 1), "a double", |cx, args| rounded(cx, args, f64::floor)),
    free("math.round", (1, 1), "a double", |cx, args| rounded(cx, args, f64::round)),
    free("math.trunc", (1, 1), "a double", |cx, args| rounded(cx, args, f64::trunc)),
    free("math.sqrt", (1, 1), "a number", |cx, args| match args[0] {
        Operand::Int(n) => Ok(Operand::Double((n as f64).sqrt())),
        Operand::Uint(n) => Ok(Operand::Double((n as f64).sqrt())),
        Operand::Double(n) => Ok(Operand::Double(n.sqrt())),
        _ => Err(cx.mismatch(args)),
    }),
    free("math.isNaN", (1, 1), "a double", |cx, args| tested(cx, args, f64::is_nan)),
    free("math.isInf", (1, 1), "a double", |cx, args| tested(cx, args, f64::is_infinite)),
    free("math.isFinite", (1, 1), "a double", |cx, args| tested(cx, args, f64::is_finite)),
    free("math.bitAnd", (2, 2), "two ints or two uints", |cx, args| bits(cx, args, |a, b| a & b)),
    free("math.bitOr", (2, 2), "two ints or two uints", |cx, args| bits(cx, args, |a, b| a | b)),
    free("math.bitXor", (2, 2), "two ints or two uints", |cx, args| bits(cx, args, |a, b| a ^ b)),
    free("math.bitNot", (1, 1), "an int or a uint", |cx, args| match args[0] {
        Operand::Int(n) => Ok(Operand::Int(!n)),
        Operand::Uint(n) => Ok(Operand::Uint(!n)),
        _ => Err(cx.mismatch(args)),
    }),
    free("math.bitShiftLeft", (2, 2), "an int or a uint, and an int", |cx, args| {
        shifted(cx, args, |n, by| n.checked_shl(by))
    }),
    free("math.bitShiftRight", (2, 2), "an int or a uint, and an int", |cx, args| {
        shifted(cx, args, |n, by| n.checked_shr(by))
    }),
];

fn extreme<'a>(cx: &mut Context<'a, '_>, args: &[Operand<'a>], wanted: Ordering) -> Answer<'a> {
    let list: Vec<Operand<'a>> = match args {
        [one] if one.is_list() => {
            cx.budget.steps(one.len().unwrap_or_default() as u64 / 4)?;
            one.items().into_iter().flatten().collect()
        }
        _ => args.to_vec(),
    };
    let mut best: Option<Operand<'a>> = None;
    for item in list {
        if item.as_number().is_none() {
            return Err(cx.mismatch(&[item]));
        }
        let better = match &best {
            None => true,
            Some(best) => compare::order(&item, best) == Ok(Some(wanted)),
        };
        if better {
            best = Some(item);
        }
    }
    best.ok_or_else(|| Fault::plain("the list is empty"))
}

fn abs<'a>(cx: &mut Context<'a, '_>, args: &[Operand<'a>]) -> Answer<'a> {
    match args[0] {
        Operand::Int(n) => match n.checked_abs() {
            Some(n) => Ok(Operand::Int(n)),
            None => Err(Fault::plain("the result does not fit an int")),
        },
        Operand::Uint(n) => Ok(Operand::Uint(n)),
        Operand::Double(n) => Ok(Operand::Double(n.abs())),
        _ => Err(cx.mismatch(args)),
    }
}

fn sign<'a>(cx: &mut Context<'a, '_>, args: &[Operand<'a>]) -> Answer<'a> {
    match args[0] {
        Operand::Int(n) => Ok(Operand::Int(n.signum())),
        Operand::Uint(n) => Ok(Operand::Uint(n.min(1))),
        // Of zero it is zero, unlike in Rust; of NaN it is NaN.
        Operand::Double(n) => Ok(Operand::Double(if n == 0.0 { 0.0 } else { n.signum() })),
        _ => Err(cx.mismatch(args)),
    }
}

fn rounded<'a>(
    cx: &mut Context<'a, '_>,
    args: &[Operand<'a>],
    round: fn(f64) -> f64,
) -> Answer<'a> {
    match args[0] {
        Operand::Double(n) => Ok(Operand::Double(round(n))),
        _ => Err(cx.mismatch(args)),
    }
}

fn tested<'a>(cx: &mut Context<'a, '_>, args: &[Operand<'a>], test: fn(f64) -> bool) -> Answer<'a> {
    match args[0] {
        Operand::Double(n) => Ok(Operand::Bool(test(n))),
        _ => Err(cx.mismatch(args)),
    }
}

fn bits<'a>(
    cx: &mut Context<'a, '_>,
    args: &[Operand<'a>],
    combine: fn(u64, u64) -> u64,
) -> Answer<'a> {
    match (&args[0], &args[1]) {
        (Operand::Int(a), Operand::Int(b)) => {
            Ok(Operand::Int(combine(a.cast_unsigned(), b.cast_unsigned()).cast_signed()))
        }
        (Operand::Uint(a), Operand::Uint(b)) => Ok(Operand::Uint(combine(*a, *b))),
        _ => Err(cx.mismatch(args)),
    }
}

/// Shifting is logical, and by 64 and more gives 0, as in CEL.
fn shifted<'a>(
    cx: &mut Context<'a, '_>,
    args: &[Operand<'a>],
    shift: fn(u64, u32) -> Option<u64>,
) -> Answer<'a> {
    let Operand::Int(by) = args[1] else {
        return Err(cx.mismatch(args));
    };
    let by = u32::try_from(by.min(64)).map_err(|_| Fault::plain("the shift is negative"))?;
    match args[0] {
        Operand::Int(n) => {
            Ok(Operand::Int(shift(n.cast_unsigned(), by).unwrap_or(0).cast_signed()))
        }
        Operand::Uint(n) => Ok(Operand::Uint(shift(n, by).unwrap_or(0))),
        _ => Err(cx.mismatch(args)),
    }
}
