//! The functions of the language: rows of tables, found by name when compiling.
//!
//! A function takes evaluated arguments, the receiver of a method first, and charges the budget
//! for whatever grows with them. To add one, add a row and its test data.

use regex_lite::{Regex, RegexBuilder};

use super::eval::{Context, Fault};
use super::operand::Operand;

mod conversions;
mod format;
mod lists;
mod maths;
mod strings;
mod times;

pub(super) use lists::sort_by;
pub(super) use strings::is_match;

/// A row: what may be called, and how.
#[derive(Debug)]
pub(super) struct Function {
    /// `size`, or with its space: `math.abs`.
    pub name: &'static str,
    pub form: Form,
    /// Fewest arguments, the receiver of a method among them.
    pub min: u8,
    /// Most arguments, likewise.
    pub max: u8,
    /// What it takes, for errors: "a list, and an int".
    pub takes: &'static str,
    pub run: Run,
}

/// How a function is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// `f(x)`
    Free,
    /// `x.f()`
    Method,
}

pub(super) type Run = for<'a, 'b, 'c> fn(&'c mut Context<'a, 'b>, &'c [Operand<'a>]) -> Answer<'a>;

/// What a function gives back.
pub(super) type Answer<'a> = Result<Operand<'a>, Fault<'a>>;

/// The arguments of a table row: free function.
const fn free(name: &'static str, (min, max): (u8, u8), takes: &'static str, run: Run) -> Function {
    Function { name, form: Form::Free, min, max, takes, run }
}

/// The arguments of a table row: method. The receiver counts.
const fn method(
    name: &'static str,
    (min, max): (u8, u8),
    takes: &'static str,
    run: Run,
) -> Function {
    Function { name, form: Form::Method, min, max, takes, run }
}

fn all() -> impl Iterator<Item = &'static Function> {
    [conversions::TABLE, strings::TABLE, format::TABLE, lists::TABLE, maths::TABLE, times::TABLE]
        .into_iter()
        .flatten()
}

/// The function of this name and form.
pub(super) fn find(name: &str, form: Form) -> Option<&'static Function> {
    all().find(|f| f.form == form && f.name == name)
}

/// The function `space.name`.
pub(super) fn find_in_space(space: &str, name: &str) -> Option<&'static Function> {
    let spaced =
        |f: &&Function| f.name.split_once('.').is_some_and(|(s, n)| s == space && n == name);
    all().find(spaced)
}

/// The names of a space, for suggestions.
pub(super) fn names_in_space(space: &str) -> impl Iterator<Item = &'static str> {
    let spaced = move |f: &'static Function| f.name.split_once('.').filter(|(s, _)| *s == space);
    all().filter_map(spaced).map(|(_, name)| name)
}

/// All names of a form, for suggestions.
pub(super) fn names(form: Form) -> impl Iterator<Item = &'static str> {
    let macros: &[&'static str] = match form {
        Form::Free => &["has"],
        Form::Method => &[
            "all",
            "exists",
            "exists_one",
            "filter",
            "map",
            "optMap",
            "optFlatMap",
            "sortBy",
            "transformList",
            "transformMap",
            "transformMapEntry",
        ],
    };
    all().filter(move |f| f.form == form).map(|f| f.name).chain(macros.iter().copied())
}

/// Bytes that a compiled pattern may take.
const REGEX_BYTES_MAX: usize = 128 << 10;
/// States that fit in there.
const STATES_MAX: u64 = REGEX_BYTES_MAX as u64 / 16;
/// Bytes of a pattern.
const REGEX_LENGTH_MAX: usize = 1024;

/// A pattern compiled, with what matching one byte by it costs in 1/32 steps at worst.
pub(super) fn regex(pattern: &str) -> Result<(Regex, u64), (String, Option<String>)> {
    if pattern.len() > REGEX_LENGTH_MAX {
        return Err((format!("the pattern is longer than {REGEX_LENGTH_MAX} bytes"), None));
    }
    let regex = RegexBuilder::new(pattern).size_limit(REGEX_BYTES_MAX).nest_limit(32).build();
    let regex = regex.map_err(|error| {
        let text = error.to_string();
        let hint = if text.contains("size limit") {
            "repeat fewer times"
        } else if pattern.contains("(?") || pattern.contains("\\p") {
            "look-around, back-references and Unicode classes do not exist here"
        } else {
            "write \\\\ for a backslash, or a raw string: r\"\\d+\""
        };
        (format!("this is not a regular expression: {text}"), Some(hint.to_owned()))
    })?;
    Ok((regex, states(pattern)))
}

/// States that the pattern has at most: its characters, times what they are repeated.
pub(super) fn states(pattern: &str) -> u64 {
    // Of each open group what stands before it; `total` of the innermost, `last` of its last part.
    let mut open: Vec<u64> = Vec::new();
    let (mut total, mut last) = (0u64, 0u64);
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        match c {
            '(' => {
                open.push(total);
                total = 0;
                last = 0;
            }
            ')' => {
                last = total;
                total = total.saturating_add(open.pop().unwrap_or(0));
            }
            '{' => {
                let (counts, rest) = chars.as_str().split_once('}').unwrap_or_default();
                let largest = counts.split(',').filter_map(|n| n.trim().parse::<u64>().ok()).max();
                if let Some(times) = largest {
                    let more = last.saturating_mul(times.saturating_sub(1));
                    last = last.saturating_add(more);
                    total = total.saturating_add(more);
                    chars = rest.chars();
                }
            }
            _ => {
                if c == '\\' {
                    chars.next();
                }
                last = 1;
                total = total.saturating_add(1);
            }
        }
    }
    // The size limit of a compiled pattern bounds its states, too.
    open.iter().fold(total, |sum, before| sum.saturating_add(*before)).clamp(1, STATES_MAX)
}
