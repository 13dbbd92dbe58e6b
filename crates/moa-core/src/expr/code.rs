//! Compiled code: flat operations for a stack machine, with tables of what they name.

use std::ops::Range;
use std::sync::Arc;

use super::Reference;
use super::functions::Function;
use super::value::Value;

/// One compiled expression.
#[derive(Debug)]
pub(super) struct Code {
    pub source: Box<str>,
    pub ops: Vec<Op>,
    /// The bytes of the source of each operation.
    pub spans: Vec<(u16, u16)>,
    /// Where each operation's error goes: an index into `handlers`, or [`UNHANDLED`].
    pub caught: Vec<u16>,
    pub handlers: Vec<Handler>,
    pub constants: Vec<Value>,
    /// Free names. Each is looked up once, when first needed.
    pub names: Vec<Arc<str>>,
    pub fields: Vec<Arc<str>>,
    pub regexes: Vec<(regex_lite::Regex, u64)>,
    pub references: Vec<Reference>,
    /// Positions of entries written `?entry`, by list or map.
    pub optional: Vec<Vec<u16>>,
}

/// The mark of operations whose errors end the evaluation.
pub(super) const UNHANDLED: u16 = u16::MAX;

impl Code {
    /// The bytes of the source that operation `at` came from.
    pub fn span(&self, at: usize) -> Range<usize> {
        let (start, end) = self.spans.get(at).copied().unwrap_or_default();
        usize::from(start)..usize::from(end)
    }
}

/// Where evaluation goes on after an error, which becomes a value there: CEL's `&&`, `||`, `all`
/// and `exists` disregard an error when another operand decides.
#[derive(Debug, Clone, Copy)]
pub(super) struct Handler {
    pub target: u16,
    /// Values on the stack below the operand that failed.
    pub height: u16,
    /// Loops around it.
    pub loops: u16,
}

/// One operation. Jump targets are indices into `Code::ops`.
#[derive(Debug, Clone, Copy)]
pub(super) enum Op {
    Constant(u16),
    /// Pushes a free name.
    Name(u16),
    /// Pushes the variable of the loop with this number, outermost 0.
    Variable(u16),
    /// Its second variable.
    Second(u16),
    Select(u16),
    /// `a.?b`
    SelectOptional(u16),
    Has(u16),
    Index,
    IndexOptional,
    Not,
    Negate,
    Binary(Binary),
    /// Left operand of `&&` is on the stack: jumps when it is false.
    And(u16),
    AndEnd,
    Or(u16),
    OrEnd,
    /// Takes a condition: jumps when it is false.
    Branch(u16),
    Jump(u16),
    /// So many entries; those written `?entry` are in `Code::optional` at the second number.
    List(u16, u16),
    Map(u16, u16),
    Call(&'static Function, u16),
    /// `matches` with a pattern known when compiling.
    Matches(u16),
    /// Takes a list or map and enters a loop over it, with two variables if true.
    Loop(Loop, bool),
    /// Sets the variable to the next item, or jumps behind the loop with its result.
    Next(u16),
    /// Takes the condition of `map(x, condition, e)`: jumps to `Next` when it is false.
    SkipUnless(u16),
    /// Takes the body's value: goes to `Next`, or behind the loop when it has decided.
    Step {
        next: u16,
        end: u16,
    },
}

/// What a loop does with the values of its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Loop {
    All,
    Exists,
    ExistsOne,
    Map,
    Filter,
    SortBy,
    TransformList,
    TransformMap,
    TransformMapEntry,
    /// `cel.bind`: a loop over one value.
    Bind,
    /// Loops over an optional's value.
    OptMap,
    OptFlatMap,
}

/// Operators of two evaluated operands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Binary {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
    Equal,
    Unequal,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    In,
}

impl Binary {
    /// As it is written.
    pub fn symbol(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Subtract => "-",
            Self::Multiply => "*",
            Self::Divide => "/",
            Self::Remainder => "%",
            Self::Equal => "==",
            Self::Unequal => "!=",
            Self::Less => "<",
            Self::LessEqual => "<=",
            Self::Greater => ">",
            Self::GreaterEqual => ">=",
            Self::In => "in",
        }
    }
}
