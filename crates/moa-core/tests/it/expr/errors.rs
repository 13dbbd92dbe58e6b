//! What errors say and where they point.

use std::fmt::Write as _;

use moa_core::expr::{Error, Program, Scope, Value};

use super::{eval, failure, scope};

/// The source with the bytes at fault underlined, the message and the hint.
fn shown(source: &str, error: &Error) -> String {
    let before = source[..error.span.start].chars().count();
    let wide = source[error.span.clone()].chars().count().max(1);
    let mut out = format!("{source}\n{}{} {}\n", " ".repeat(before), "^".repeat(wide), error);
    if let Some(hint) = &error.hint {
        let _ = writeln!(out, "{}{}", " ".repeat(before + wide + 1), hint);
    }
    out
}

fn all_shown(sources: &[&str]) -> String {
    let shown: Vec<String> = sources.iter().map(|s| shown(s, &failure(s).0)).collect();
    shown.join("\n")
}

#[test]
fn spans_are_the_bytes_at_fault() {
    for (source, at) in [
        ("1 + missing", "missing"),
        ("s + missing.x", "missing"),
        ("m.b.zzz.d", "zzz"),
        ("'é' + 1", "+"),
        ("'é' == missing", "missing"),
        ("(1 + [2, 3) == 4", "["),
        ("(1 + 2 == 3", "("),
        ("'abc", "'"),
        ("nofunc(1, 2)", "nofunc"),
        ("list[7]", "[7]"),
        ("m['q']", "['q']"),
        ("yes && (no || 'x')", "||"),
        ("list.all(x, x + 'a' == 1)", "+"),
        ("list.map(x, x / (x - 1))", "/"),
        ("yes ? 1 + 'a' : 2", "+"),
        ("n ? 1 : 2", "?"),
        ("'a'.matches('(')", "'('"),
        ("1 = 2", "="),
        ("1 + + 2", "+"),
        ("5m > 3", "5m"),
        ("\"a\\qb\"", "\\q"),
        ("999999999999999999999", "999999999999999999999"),
        ("has(m.b.zzz.d)", "zzz"),
        ("   ", "   "),
        ("1 2", "2"),
        ("// comment only", "// comment only"),
    ] {
        let (error, found) = failure(source);
        let from = error.span.start;
        assert_eq!(found, at, "{source}: {error:?}");
        // Of several equal texts it is the right one.
        if source == "1 + + 2" {
            assert_eq!(from, 4);
        }
    }
}

/// Compares with the snapshot file, which lists no sources but in what is shown.
macro_rules! assert_shown {
    ($sources:expr) => {
        insta::with_settings!({ omit_expression => true }, {
            insta::assert_snapshot!(all_shown(&$sources));
        });
    };
}

#[test]
fn mistakes_of_syntax() {
    assert_shown!([
        "quality_check.success and security_scan.passed",
        "yes or no",
        "not yes",
        "n = 3",
        "n === 3",
        "n <> 3",
        "yes & no",
        "yes | no",
        "yes &&",
        "&& yes",
        "1 +",
        "(1 + 2",
        "(1 + 2]",
        "[1, 2",
        "{'a': 1",
        "{'a'}",
        "{'a' 1}",
        "1 + 2)",
        "f(1, 2",
        "list[1",
        "size(list",
        "m.",
        "m.'a'",
        "list.0",
        "m..a",
        "yes ? 1",
        "yes ? 1 ; 2",
        "if yes then 1 else 2",
        "for",
        "'abc",
        "\"abc\n\"",
        "\"\"\"abc\"",
        "'\\d'",
        "'\\u12'",
        "'\\ud800'",
        "b'\\u0041'",
        "5m",
        "1k",
        "0x",
        "1e400",
        "9223372036854775808",
        "-9223372036854775809",
        "99999999999999999999u",
        "${{ n }}",
        "“text”",
        "n ** 2",
        "n++",
        "m?.a",
        "(1 + )",
        "[yes ? 1]",
        "m.a ?? 1",
        "größe > 1",
        "n @ 2",
        "m.`a",
        "Thing{a: 1}",
        "in list",
        "",
    ]);
}

#[test]
fn mistakes_of_functions() {
    assert_shown!([
        "len(list)",
        "list.length()",
        "s.lower()",
        "s.startswith('h')",
        "s.starts_with('h')",
        "size()",
        "size(1, 2)",
        "s.contains()",
        "s.substring(1, 2, 3)",
        "math.abs()",
        "math.absolute(1)",
        "math.flor(1.5)",
        "list.summ()",
        "math.max(1, 2)",
        "now()",
        "success()",
        "contains(s, 'l')",
        "n.int()",
        "has(m)",
        "has(m['a'])",
        "has()",
        "has(1)",
        "list.all(x)",
        "list.all(x.y, true)",
        "list.map()",
        "list.map(1, 2)",
        "list.filter(x, x, x)",
        "m.transformMap(k, k)",
        "cel.bind(x, 1)",
        "s.matches('[a')",
        "s.matches('(?=a)')",
        "s.matches('a{9999}{9999}')",
        "list.any(x, x > 1)",
    ]);
}

#[test]
fn failures_of_names_and_operators() {
    assert_shown!([
        "missing",
        "quality-check.success",
        "quality_chekc.success",
        "securty_scan.passed == true",
        "m.k-l == 1",
        "True",
        "None",
        "m.c",
        "m.bb",
        "quality_check.output.scor",
        "rows[0].zzz",
        "rows.name",
        "s.length",
        "nothing.a",
        "n.a",
        "{}.a",
        "list[3]",
        "list[-1]",
        "list['a']",
        "list[1.5]",
        "m[1]",
        "m[null]",
        "s[0]",
        "n + x",
        "n * 2.0",
        "n + 1u",
        "s + n",
        "n + s",
        "nothing + 1",
        "n > s",
        "nothing > 1",
        "list > 1",
        "list - list",
        "x % 2.0",
        "[1, x].sum()",
        "words.sum()",
        "1u * 0xFFFFFFFFFFFFFFFFu * 2u",
        "'a' in s",
        "1 in 2",
        "timestamp('2020-01-01T00:00:00Z') > '2020-01-01'",
        "big + 1",
        "-big - 2",
        "big * 2",
        "-(-big - 1)",
        "1 / 0",
        "1 % 0",
        "1u - 2u",
        "-s",
        "-1u",
        "!n",
        "!s",
        "n && yes",
        "s || no",
        "nothing ? 1 : 2",
        "list.all(x, x)",
        "list.filter(x, s)",
        "list.exists_one(x, 1)",
        "n.map(x, x)",
        "s.all(c, true)",
        "m.sortBy(k, k)",
        "[1, 'a'].sort()",
        "{'a': 1, 'a': 2}",
        "{1: 1, 1u: 2}",
        "{nothing: 1}",
        "{[1]: 1}",
    ]);
}

#[test]
fn failures_of_functions() {
    assert_shown!([
        "int('abc')",
        "int('1.5')",
        "int(1e30)",
        "int(double('NaN'))",
        "uint(-1)",
        "bool('maybe')",
        "double('x')",
        "string(list)",
        "string(nothing)",
        "duration('5')",
        "duration('5 minutes')",
        "timestamp('2020-01-01')",
        "timestamp('yesterday')",
        "timestamp('2020-01-01T00:00:00Z').getHours('Europe/Berlin')",
        "timestamp('9999-12-01T00:00:00Z') + duration('1000h')",
        "size(1)",
        "s.contains(1)",
        "s.substring(9)",
        "s.substring(3, 2)",
        "s.charAt(-1)",
        "[1, 2].join(',')",
        "list.slice(2, 9)",
        "lists.range('a')",
        "math.greatest('a', 1)",
        "math.greatest([])",
        "math.ceil(1)",
        "'%d'.format(['a'])",
        "'%d'.format([])",
        "'%d'.format([1, 2])",
        "'%y'.format([1])",
        "'%.999f'.format([1.0])",
        "m.?zzz.value()",
        "[?1]",
        "base64.decode('!')",
        "b'a' + 'a'",
        "string(b'\\xff')",
        "'a'.matches(s + '(')",
    ]);
}

#[test]
fn an_absorbed_error_is_the_first_one() {
    for (source, at) in [
        ("missing || no", "missing"),
        ("no || missing", "missing"),
        ("missing && other", "missing"),
        ("list.all(x, x / 0 == missing)", "/"),
        ("list.exists(x, nope)", "nope"),
        ("no || (yes && missing.a)", "missing"),
    ] {
        let (error, found) = failure(source);
        assert_eq!(found, at, "{source}: {error:?}");
    }
}

#[test]
fn messages_are_one_line_of_bounded_length() {
    for (source, message) in [
        ("n \0", "unexpected character `\\u{0}`"),
        ("n \u{200b}", "unexpected character `\\u{200b}`"),
        ("n '''a\nb'''", "expected an operator, found `'''a\\u{a}b'''`"),
        ("int('a\\u202eb')", "`a\\u{202e}b` is not an int"),
        ("m['\\n']", "no such key `\\u{a}`"),
    ] {
        assert_eq!(failure(source).0.message, message, "{source:?}");
    }
    for source in ["x".repeat(4000), format!("{}()", "x".repeat(4000)), "n 'y".repeat(1000)] {
        let (error, _) = failure(&source);
        assert!(error.message.chars().count() <= 301, "{error}");
    }
}

#[test]
fn suggestions_need_the_scope_to_tell_its_names() {
    struct Silent;
    impl Scope for Silent {
        fn lookup(&self, name: &str) -> Option<Value> {
            (name == "status").then_some(Value::Int(1))
        }
    }
    let error = Program::compile("statsu == 1").unwrap().eval(&Silent).unwrap_err();
    assert_eq!((error.span, error.hint), (0..6, None));
}

#[test]
fn a_condition_must_be_a_bool() {
    let program = |source: &str| Program::compile(source).unwrap();
    assert_eq!(program("n > 2").eval_bool(&scope()), Ok(true));
    let error = program("n + 2").eval_bool(&scope()).unwrap_err();
    assert_eq!(error.to_string(), "a condition gives true or false, not an int");
    assert_eq!(error.span, 0..5);
    assert_eq!(error.hint.as_deref(), Some("compare it: n != 0"));
}

#[test]
fn sources_that_cel_allows_are_not_taken_for_mistakes() {
    for source in ["n-1 == 2", "n - -1 == 4", "m['k-l'] == 'hyphen'", "[1,2,][0]==1", "((n))==3"] {
        assert_eq!(eval(source), Ok(true.into()), "{source}");
    }
}
