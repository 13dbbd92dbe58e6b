//! Expressions that can't succeed, and some that look as if they couldn't.

use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::super::{Program, Scope, Value};
use super::*;

/// Names with values, and as what they are declared.
struct World;

impl World {
    fn entries() -> [(&'static str, Json, Type); 9] {
        let closed = [("k".to_owned(), Type::number())].into_iter().collect();
        [
            ("n", json!(3), Type::number()),
            ("half", json!(0.5), Type::number()),
            ("s", json!("text"), Type::string()),
            ("b", json!(true), Type::bool()),
            ("nothing", json!(null), Type::null().or(Type::string())),
            ("list", json!([1, 2]), Type::list(Type::number())),
            ("words", json!(["a"]), Type::list(Type::string())),
            ("step", json!({"k": 1}), Type::map(closed, true)),
            ("free", json!({"k": 1}), Type::any()),
        ]
    }
}

impl Types for World {
    fn lookup(&self, name: &str) -> Type {
        let found = Self::entries().into_iter().find(|(n, ..)| *n == name);
        found.map_or(Type::any(), |(_, _, declared)| declared)
    }
}

impl Scope for World {
    fn lookup(&self, name: &str) -> Option<Value> {
        let found = Self::entries().into_iter().find(|(n, ..)| *n == name);
        found.map(|(_, value, _)| Value::from(value))
    }
}

fn compiled(source: &str) -> Program {
    Program::compile(source).unwrap_or_else(|e| panic!("{source}: {e}"))
}

/// What is said of a source: with `?` before it when that isn't certain.
fn said(source: &str, wanted: Wanted) -> String {
    match compiled(source).misfit(&World, wanted) {
        None => "fits".to_owned(),
        Some(Misfit { error, certain }) => {
            let place = &source[error.span.clone()];
            let sure = if certain { "" } else { "? " };
            format!("{sure}{} [{place}]", error.message)
        }
    }
}

#[test]
fn what_cannot_succeed_is_found() {
    let expected = [
        ("n + s == 3", "`+` does not take a number and a string [+]"),
        ("1 + 1", "a condition gives true or false, not an int [1 + 1]"),
        ("n", "a condition gives true or false, not a number [n]"),
        ("'a' < 1", "`<` does not take a string and an int [<]"),
        ("step.nothere", "no such key `nothere` [nothere]"),
        ("step.k > 'x'", "`>` does not take a number and a string [>]"),
        ("s.field == 1", "a string has no field `field` [field]"),
        ("!s", "`!` needs true or false, not a string [!]"),
        ("n ? true : false", "`?` needs true or false, not a number [?]"),
        ("n in s", "`in` does not take a number and a string [in]"),
        ("size(n) > 1", "`size` does not take a number [size]"),
        ("n.startsWith('a')", "`startsWith` does not take a number [startsWith]"),
        ("s.all(x, x > 1)", "a string has no items to loop over [all]"),
        ("list['a'] == 1", "a list has no index of a string [['a']]"),
        ("list[0] + s == ''", "`+` does not take a number and a string [+]"),
        ("(b ? 'a' : 'b') > 1", "`>` does not take a string and an int [>]"),
        (
            "words.map(w, w.size())",
            "a condition gives true or false, not a list [words.map(w, w.size())]",
        ),
        ("-s == ''", "`-` does not take a string [-]"),
        ("nothing + 1 == 2", "`+` does not take null or a string and an int [+]"),
        ("cel.bind(x, s, x > 1)", "`>` does not take a string and an int [>]"),
        // What may not be reached, or may not count.
        ("b && n + s == 3", "? `+` does not take a number and a string [+]"),
        ("s > 1 || b", "? `>` does not take a string and an int [>]"),
        ("b ? s > 1 : true", "? `>` does not take a string and an int [>]"),
        ("list.all(x, x > 'a')", "? `>` does not take a number and a string [>]"),
        ("b && step.nothere", "? no such key `nothere` [nothere]"),
        // What is certain goes before what is not.
        ("(b && s > 1) == (s > 2)", "`>` does not take a string and an int [>]"),
    ];
    for (source, why) in expected {
        assert_eq!(said(source, Wanted::Condition), why, "{source}");
    }
    assert_eq!(said("n", Wanted::Items), "a list or a map is needed here, not a number [n]");
}

#[test]
fn what_may_succeed_is_left_alone() {
    let fine = [
        "n + 1 > 3 && half * 2.0 == 1.0",
        "free.anything.at.all + 1 == 'x'",
        "s + 'x' == 'y' && s.size() > 1 && size(list) == 2",
        "n == 'a' || s != 1",
        "step.k > 0 && step['nothere'] == 1",
        "has(step.nothere) && step.nothere > 1",
        "step.?nothere.orValue(1) > 1",
        "type(s) == int ? s + 1 > 2 : true",
        "nothing + 'x' == 'x'",
        "(b ? n : s) == 1 && (b ? n : s) + 1 == 2",
        "list.map(x, x + 1).filter(x, x > 1).exists(x, x == 2)",
        "words.exists(w, w.startsWith('a'))",
        "step.exists(k, step[k] == 1)",
        "timestamp('2026-01-01T00:00:00Z') - duration('1h') < timestamp('2026-01-01T00:00:00Z')",
        "1 && false",
        "[1, 'a'][0] + 1 == 2",
        "{'a': 1}.a == 1",
        "unknown.field == 1",
        "n % 2 == 0",
    ];
    for source in fine {
        assert_eq!(said(source, Wanted::Condition), "fits", "{source}");
    }
    assert_eq!(said("list", Wanted::Items), "fits");
    assert_eq!(said("free", Wanted::Items), "fits");
    assert_eq!(said("1 + 1", Wanted::Anything), "fits");
}

const LEAVES: [&str; 23] = [
    "n",
    "half",
    "s",
    "b",
    "nothing",
    "list",
    "words",
    "step",
    "free",
    "step.k",
    "step.no",
    "free.k",
    "1",
    "2.5",
    "'a'",
    "true",
    "null",
    "[]",
    "[1, 'a']",
    "{'k': 'v'}",
    "free.?no",
    "duration('1h')",
    "timestamp('2026-01-01T00:00:00Z')",
];
const OPERATORS: [&str; 11] = ["+", "-", "*", "/", "%", "==", "<", ">=", "in", "&&", "||"];
/// With `@` for a part.
const UNARY: [&str; 16] = [
    "!(@)",
    "-(@)",
    "size(@)",
    "string(@)",
    "(@).k",
    "(@)[0]",
    "has((@).k)",
    "(@).size()",
    "(@).startsWith('t')",
    "(@).upperAscii()",
    "(@).first()",
    "[@]",
    "{'k': @}",
    "(@).?k",
    "cel.bind(x, @, x)",
    "(@).orValue(1)",
];
/// With `@` for what is looped over, and `#` for a part of the body.
const LOOPS: [&str; 9] = [
    "(@).all(x, #)",
    "(@).exists(x, x == #)",
    "(@).map(x, x + (#))",
    "(@).filter(x, #)",
    "(@).map(x, [x, #])",
    "(@).transformList(i, x, i + (#))",
    "(@).exists_one(x, #)",
    "(@).optMap(x, #)",
    "(@).sortBy(x, #)",
];

fn any_source() -> impl Strategy<Value = String> {
    use proptest::sample::select;
    let leaf = select(&LEAVES[..]).prop_map(str::to_owned);
    leaf.prop_recursive(4, 24, 3, |inner| {
        prop_oneof![
            (inner.clone(), select(&OPERATORS[..]), inner.clone())
                .prop_map(|(a, op, b)| format!("({a}) {op} ({b})")),
            (select(&UNARY[..]), inner.clone()).prop_map(|(form, a)| form.replace('@', &a)),
            (select(&LOOPS[..]), inner.clone(), inner.clone())
                .prop_map(|(form, a, b)| form.replace('@', &a).replace('#', &b)),
            (inner.clone(), inner.clone(), inner)
                .prop_map(|(a, b, c)| format!("({a}) ? ({b}) : ({c})")),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    /// What is said to fail for certain fails. (Nothing else is promised.)
    #[test]
    fn nothing_that_succeeds_is_reported_as_certain(source in any_source()) {
        let Ok(program) = Program::compile(&source) else { return Ok(()) };
        if let Some(Misfit { certain: true, error }) = program.misfit(&World, Wanted::Condition) {
            prop_assert!(program.eval_bool(&World).is_err(), "{source}: {error}");
        }
        if let Some(Misfit { certain: true, error }) = program.misfit(&World, Wanted::Anything) {
            prop_assert!(program.eval(&World).is_err(), "{source}: {error}");
        }
    }
}
