//! Equality and order across types, as CEL has them: numbers compare by value.

use std::cmp::Ordering;
use std::sync::Arc;

use super::budget::{Budget, Exhausted};
use super::operand::{Built, Items, Operand, Size};
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
///
/// Lists and maps wait on a stack of this function's own, so that nesting takes none of the
/// thread's.
pub(super) fn equal(
    a: &Operand<'_>,
    b: &Operand<'_>,
    budget: &mut Budget,
) -> Result<bool, Exhausted> {
    let mut open = match same(a, b, budget)? {
        Same::No => return Ok(false),
        Same::Yes => return Ok(true),
        Same::Inside(pairs) => vec![pairs],
    };
    while let Some(pairs) = open.last_mut() {
        let Some((a, b)) = pairs.next() else {
            open.pop();
            continue;
        };
        let (Some(a), Some(b)) = (a, b) else {
            return Ok(false);
        };
        match same(&a, &b, budget)? {
            Same::No => return Ok(false),
            Same::Yes => {}
            Same::Inside(pairs) => open.push(pairs),
        }
        if open.len() > crate::limits::OUTPUT_DEPTH_MAX + 1 {
            return Err(Exhausted::Depth);
        }
    }
    Ok(true)
}

/// What is known of two values without looking into them.
enum Same<'a> {
    Yes,
    No,
    /// They are equal if these are.
    Inside(Pairs<'a>),
}

/// The items of two lists of one length, or the values of two maps by the keys of the first.
struct Pairs<'a> {
    items: Items<'a>,
    a: Operand<'a>,
    b: Operand<'a>,
    index: usize,
}

impl<'a> Pairs<'a> {
    fn of(a: Operand<'a>, b: Operand<'a>) -> Self {
        let items = a.items().unwrap_or(Items::One(None));
        Self { items, a, b, index: 0 }
    }
}

impl<'a> Iterator for Pairs<'a> {
    type Item = (Option<Operand<'a>>, Option<Operand<'a>>);

    fn next(&mut self) -> Option<Self::Item> {
        let item = self.items.next()?;
        self.index += 1;
        if self.a.is_list() {
            return Some((Some(item), self.b.item(self.index - 1)));
        }
        let probe = item.as_probe();
        Some((probe.and_then(|p| self.a.get(p)), probe.and_then(|p| self.b.get(p))))
    }
}

fn same<'a>(a: &Operand<'a>, b: &Operand<'a>, budget: &mut Budget) -> Result<Same<'a>, Exhausted> {
    budget.steps(1)?;
    let equal = match (a, b) {
        (Operand::Null, Operand::Null) => true,
        (Operand::Bool(a), Operand::Bool(b)) => a == b,
        (Operand::Str(a), Operand::Str(b)) => {
            let (a, b) = (a.as_str(), b.as_str());
            budget.steps(a.len().min(b.len()) as u64 / 256)?;
            a == b
        }
        (Operand::Bytes(a), Operand::Bytes(b)) => {
            budget.steps(a.len().min(b.len()) as u64 / 256)?;
            a == b
        }
        (Operand::Timestamp(a), Operand::Timestamp(b)) => a == b,
        (Operand::Duration(a), Operand::Duration(b)) => a == b,
        (Operand::Type(a), Operand::Type(b)) => a == b,
        (Operand::Optional(a), Operand::Optional(b)) => match (a, b) {
            (Some(_), Some(_)) => return Ok(Same::Inside(Pairs::of(optional(a), optional(b)))),
            (a, b) => a.is_none() && b.is_none(),
        },
        _ => match (a.as_number(), b.as_number()) {
            (Some(a), Some(b)) => a.compare(b) == Some(Ordering::Equal),
            _ => return Ok(same_inside(a, b)),
        },
    };
    Ok(if equal { Same::Yes } else { Same::No })
}

fn same_inside<'a>(a: &Operand<'a>, b: &Operand<'a>) -> Same<'a> {
    let same_kind = (a.is_list() && b.is_list()) || (a.is_map() && b.is_map());
    if !same_kind || a.len() != b.len() {
        return Same::No;
    }
    Same::Inside(Pairs::of(a.clone(), b.clone()))
}

/// The value of an optional as a list, to be looked into like one.
fn optional<'a>(inner: &Option<Arc<Operand<'a>>>) -> Operand<'a> {
    let content = inner.iter().map(|inner| inner.as_ref().clone()).collect();
    Operand::List(Arc::new(Built { content, size: Size::default() }))
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
