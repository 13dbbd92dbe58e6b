//! Arithmetic: checked, and never across types, as in CEL.

use super::code::Binary;
use super::operand::Operand;

/// Why an operation has no result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// The types have no such operation.
    Types,
    Overflow,
    DivisionByZero,
}

/// The result of arithmetic on two numbers.
pub(super) fn arithmetic<'a>(
    op: Binary,
    a: &Operand<'a>,
    b: &Operand<'a>,
) -> Result<Operand<'a>, Failure> {
    match (a, b) {
        (Operand::Int(a), Operand::Int(b)) => int(op, *a, *b).map(Operand::Int),
        (Operand::Uint(a), Operand::Uint(b)) => uint(op, *a, *b).map(Operand::Uint),
        (Operand::Double(a), Operand::Double(b)) => double(op, *a, *b).map(Operand::Double),
        _ => Err(Failure::Types),
    }
}

fn int(op: Binary, a: i64, b: i64) -> Result<i64, Failure> {
    if b == 0 && matches!(op, Binary::Divide | Binary::Remainder) {
        return Err(Failure::DivisionByZero);
    }
    let result = match op {
        Binary::Add => a.checked_add(b),
        Binary::Subtract => a.checked_sub(b),
        Binary::Multiply => a.checked_mul(b),
        Binary::Divide => a.checked_div(b),
        Binary::Remainder => a.checked_rem(b),
        _ => return Err(Failure::Types),
    };
    result.ok_or(Failure::Overflow)
}

fn uint(op: Binary, a: u64, b: u64) -> Result<u64, Failure> {
    if b == 0 && matches!(op, Binary::Divide | Binary::Remainder) {
        return Err(Failure::DivisionByZero);
    }
    let result = match op {
        Binary::Add => a.checked_add(b),
        Binary::Subtract => a.checked_sub(b),
        Binary::Multiply => a.checked_mul(b),
        Binary::Divide => a.checked_div(b),
        Binary::Remainder => a.checked_rem(b),
        _ => return Err(Failure::Types),
    };
    result.ok_or(Failure::Overflow)
}

fn double(op: Binary, a: f64, b: f64) -> Result<f64, Failure> {
    Ok(match op {
        Binary::Add => a + b,
        Binary::Subtract => a - b,
        Binary::Multiply => a * b,
        Binary::Divide => a / b,
        _ => return Err(Failure::Types),
    })
}
