//! Equality and order across types, as CEL has them: numbers compare by value.

use std::cmp::Ordering;

use super::budget::{Budget, Exhausted};
use super::operand::Operand;
use super::value::Value;

/// A number of any of the three types.
#[derive(Debug, Clone, Copy)]
pub(super) enum Number {
    Int(i64),
    Uint(u64),
    Double(f64),
}

/// 2^127: every double below it and above its negative fits an `i128`.
const I128_END: f64 = 170_141_183_460_469_231_731_687_303_715_884_105_728.0;

impl Number {
    /// The integer that it is, exactly.
    pub fn to_integer(self) -> Option<i128> {
        match self {
            Self::Int(n) => Some(i128::from(n)),
            Self::Uint(n) => Some(i128::from(n)),
            Self::Double(n) if n.fract() == 0.0 && n.abs() < I128_END => Some(n as i128),
            Self::Double(_) => None,
        }
    }

    /// `None` when one is NaN. Beside a double an integer is rounded to one, as in CEL.
    pub fn compare(self, other: Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Double(_), _) | (_, Self::Double(_)) => {
                self.to_double().partial_cmp(&other.to_double())
            }
            (a, b) => a.to_integer().partial_cmp(&b.to_integer()),
        }
    }

    /// Without rounding, and with NaN last: an order that sorting can rely on.
    fn compare_exactly(self, other: Self) -> Ordering {
        match (self, other) {
            (Self::Double(a), Self::Double(b)) => {
                a.partial_cmp(&b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
            }
            (Self::Double(a), b) => compare_double(a, b),
            (a, Self::Double(b)) => compare_double(b, a).reverse(),
            (a, b) => a.to_integer().cmp(&b.to_integer()),
        }
    }

    fn to_double(self) -> f64 {
        match self {
            Self::Int(n) => n as f64,
            Self::Uint(n) => n as f64,
            Self::Double(n) => n,
        }
    }
}

/// Exact where a cast of the integer to double would round.
fn compare_double(a: f64, b: Number) -> Ordering {
    let Some(b) = b.to_integer().filter(|_| !a.is_nan() && a < I128_END) else {
        return Ordering::Greater;
    };
    if a <= -I128_END {
        return Ordering::Less;
    }
    let whole = a.trunc();
    let rest = (a - whole).partial_cmp(&0.0).unwrap_or(Ordering::Equal);
    (whole as i128).cmp(&b).then(rest)
}

/// Whether two values are equal. Values of different types differ; they are no error.
pub(super) fn equal(
    a: &Operand<'_>,
    b: &Operand<'_>,
    budget: &mut Budget,
) -> Result<bool, Exhausted> {
    equal_within(a, b, budget, crate::limits::OUTPUT_DEPTH_MAX + 1)
}

fn equal_within(
    a: &Operand<'_>,
    b: &Operand<'_>,
    budget: &mut Budget,
    levels: usize,
) -> Result<bool, Exhausted> {
    budget.steps(1)?;
    if let (Some(a), Some(b)) = (a.as_number(), b.as_number()) {
        return Ok(a.compare(b) == Some(Ordering::Equal));
    }
    match (a, b) {
        (Operand::Null, Operand::Null) => return Ok(true),
        (Operand::Bool(a), Operand::Bool(b)) => return Ok(a == b),
        (Operand::Str(a), Operand::Str(b)) => {
            let (a, b) = (a.as_str(), b.as_str());
            budget.steps(a.len().min(b.len()) as u64 / 256)?;
            return Ok(a == b);
        }
        (Operand::Bytes(a), Operand::Bytes(b)) => {
            budget.steps(a.len().min(b.len()) as u64 / 256)?;
            return Ok(a == b);
        }
        (Operand::Timestamp(a), Operand::Timestamp(b)) => return Ok(a == b),
        (Operand::Duration(a), Operand::Duration(b)) => return Ok(a == b),
        (Operand::Type(a), Operand::Type(b)) => return Ok(a == b),
        (Operand::Optional(None), Operand::Optional(None)) => return Ok(true),
        (Operand::Optional(Some(a)), Operand::Optional(Some(b))) => {
            return equal_within(a, b, budget, levels.checked_sub(1).ok_or(Exhausted::Depth)?);
        }
        _ => {}
    }
    let same_kind = (a.is_list() && b.is_list()) || (a.is_map() && b.is_map());
    if !same_kind || a.len() != b.len() {
        return Ok(false);
    }
    let below = levels.checked_sub(1).ok_or(Exhausted::Depth)?;
    let (Some(items), list) = (a.items(), a.is_list()) else {
        return Ok(false);
    };
    for (index, item) in items.enumerate() {
        let (mine, theirs) = if list {
            (Some(item), b.item(index))
        } else {
            let probe = item.as_probe();
            (probe.and_then(|p| a.get(p)), probe.and_then(|p| b.get(p)))
        };
        match (mine, theirs) {
            (Some(mine), Some(theirs)) if equal_within(&mine, &theirs, budget, below)? => {}
            _ => return Ok(false),
        }
    }
    Ok(true)
}

/// Equality of values outside of an evaluation.
pub(super) fn equal_values(a: &Value, b: &Value) -> bool {
    equal(&Operand::of(a), &Operand::of(b), &mut Budget::unlimited()).unwrap_or(false)
}

/// The order of two values: `Err` when their types have none, `Ok(None)` beside NaN.
pub(super) fn order(a: &Operand<'_>, b: &Operand<'_>) -> Result<Option<Ordering>, ()> {
    if let (Some(a), Some(b)) = (a.as_number(), b.as_number()) {
        return Ok(a.compare(b));
    }
    match (a, b) {
        (Operand::Bool(a), Operand::Bool(b)) => Ok(Some(a.cmp(b))),
        (Operand::Str(a), Operand::Str(b)) => Ok(Some(a.as_str().cmp(b.as_str()))),
        (Operand::Bytes(a), Operand::Bytes(b)) => Ok(Some(a.cmp(b))),
        (Operand::Timestamp(a), Operand::Timestamp(b)) => Ok(Some(a.cmp(b))),
        (Operand::Duration(a), Operand::Duration(b)) => Ok(Some(a.cmp(b))),
        _ => Err(()),
    }
}

/// The order to sort two values in that [`order`] can compare: total, also with NaN.
pub(super) fn sorting_order(a: &Operand<'_>, b: &Operand<'_>) -> Ordering {
    match (a.as_number(), b.as_number()) {
        (Some(a), Some(b)) => a.compare_exactly(b),
        _ => order(a, b).ok().flatten().unwrap_or(Ordering::Equal),
    }
}
