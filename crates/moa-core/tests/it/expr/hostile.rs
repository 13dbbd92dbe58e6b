//! Input that wants the process: to use up its stack, its time or its memory.

use std::sync::Arc;

use moa_core::expr::{Error, Program, Scope, Value};
use moa_core::limits::{EXPRESSION_BYTES_MAX, EXPRESSION_DEPTH_MAX};
use serde_json::{Value as Json, json};

use super::{Names, eval};

/// Runs on a stack half of the smallest that moa gives a thread.
fn on_a_small_stack<T: Send + 'static>(test: impl FnOnce() -> T + Send + 'static) -> T {
    let thread = std::thread::Builder::new().stack_size(256 << 10).spawn(test);
    thread.expect("a thread starts").join().expect("the stack suffices")
}

fn message(result: Result<Value, Error>) -> String {
    match result {
        Ok(value) => panic!("gives {}", value.type_name()),
        Err(error) => error.message,
    }
}

/// `part` as often as the limit of a source allows, between `head` and `tail`.
fn filled(head: &str, part: &str, tail: &str) -> String {
    let times = (EXPRESSION_BYTES_MAX - head.len() - tail.len()) / part.len();
    format!("{head}{}{tail}", part.repeat(times))
}

#[test]
fn long_chains_evaluate_on_a_small_stack() {
    on_a_small_stack(|| {
        let sum = filled("0", "+1", "");
        assert_eq!(eval(&sum), Ok(Value::Int((sum.len() as i64 - 1) / 2)));
        let product = filled("1", "*1", "");
        assert_eq!(eval(&product), Ok(Value::Int(1)));
        for (head, part, tail, expected) in [
            ("", "!", "true", true),
            ("true", "&&true", "", true),
            ("false", "||false", "", false),
            ("true", "==true", "", true),
            ("0 == ", "- -", "0", true),
            ("", "no?1==2:", "yes", true),
            ("missing", "||missing", "||true", true),
            ("false&&", "no&&", "no", false),
            ("1 in ", "[1]+", "[2]", true),
            ("''==", "''+", "''", true),
            ("m", ".?b", ".hasValue()", false),
            ("{'a':1}", ".map(k,k)", "==[]", false),
        ] {
            let source = filled(head, part, tail);
            // An even number of negations.
            let source = if part == "!" { source.replacen("!!!", "!", 1) } else { source };
            let even = source.matches('!').count() % 2 == 0;
            let result = eval(&source);
            if part == ".map(k,k)" {
                // Keys of a list are no list: a type error, no overflow.
                continue;
            }
            assert_eq!(result, Ok(Value::Bool(expected == even)), "{head}{part}…{tail}");
        }
    });
}

#[test]
fn long_selections_fail_without_recursion() {
    on_a_small_stack(|| {
        assert_eq!(message(eval(&filled("m", ".a", ""))), "an int has no field `a`");
        assert_eq!(message(eval(&filled("list", "[0]", ""))), "an int has no index of an int");
        assert_eq!(message(eval(&filled("m.b", ".c.size()", ""))), "an int has no field `c`");
        assert_eq!(message(eval(&filled("", "-", "s"))), "`-` does not take a string");
        assert_eq!(message(eval(&filled("", "m.", "a"))), "no such key `m`");
    });
}

#[test]
fn nesting_is_limited_whatever_it_is_made_of() {
    on_a_small_stack(|| {
        let nested = |open: &str, inner: &str, close: &str, depth: usize| {
            eval(&format!("{}{inner}{}", open.repeat(depth), close.repeat(depth)))
        };
        let limit = EXPRESSION_DEPTH_MAX;
        for (open, inner, close) in [
            ("(", "1", ")"),
            ("[", "1", "]"),
            ("[1,", "1", "]"),
            ("{1:", "1", "}"),
            ("string(", "1", ")"),
            ("size([", "1", "])"),
            ("math.abs(", "1", ")"),
            ("lists.range(1)[", "0", "]"),
            ("lists.range(1).map(x, ", "0", ")"),
            ("yes ? ", "1", " : 2"),
            ("has({'a': ", "1", "}.a)"),
            ("'a'.contains(\"a\" + ", "'a'", ")"),
        ] {
            let per_level = if open.contains("size([") || open.contains("has({") { 2 } else { 1 };
            let deepest = limit / per_level;
            let fine = nested(open, inner, close, deepest);
            let types = fine.as_ref().err().is_some_and(|e| e.message.contains("does not take"));
            assert!(fine.is_ok() || types, "{open}: {fine:?}");
            let deeper = message(nested(open, inner, close, deepest + 1));
            assert_eq!(deeper, format!("the expression is nested more than {limit} deep"));
            let times = EXPRESSION_BYTES_MAX / (open.len() + close.len()) - 2;
            let absurd = message(nested(open, inner, close, times));
            assert_eq!(absurd, format!("the expression is nested more than {limit} deep"));
        }
        for unclosed in ["(", "[", "{", "f(", "[{(", "a?", "a[", "x.map(a,", "-(", "!["] {
            assert!(eval(&filled("", unclosed, "")).is_err(), "{unclosed}");
        }
    });
}

#[test]
fn a_source_has_a_limit() {
    let longest = format!("1{}", " ".repeat(EXPRESSION_BYTES_MAX - 1));
    assert_eq!(eval(&longest), Ok(Value::Int(1)));
    let error = Program::compile(&format!("{longest} ")).expect_err("it is too long");
    assert_eq!(error.message, "the expression has 4097 bytes; the limit is 4096");
    assert_eq!(error.span, 0..EXPRESSION_BYTES_MAX + 1);
}

#[test]
fn loops_end() {
    for source in [
        "lists.range(1000).map(a, lists.range(1000).map(b, a * b))",
        "lists.range(300).all(a, lists.range(300).all(b, lists.range(300).all(c, c >= 0)))",
        "lists.range(2000).exists(a, lists.range(2000).exists(b, missing))",
        "lists.range(2000).all(a, lists.range(2000).all(b, a / 0 == b))",
        "lists.range(9999999999)",
        "lists.range(2000).filter(a, a in lists.range(2000))",
        "lists.range(3000).distinct().size()",
        "lists.range(900000).sort().size()",
        "sets.equivalent(lists.range(3000), lists.range(3000).reverse())",
    ] {
        let found = message(eval(source));
        assert_eq!(found, "the expression takes more than 1000000 steps", "{source}");
    }
}

#[test]
fn a_used_up_budget_is_not_absorbed() {
    for source in [
        "lists.range(9999999) == [] || true",
        "true == (lists.range(9999999) == [] || true)",
        "false && true || [1].exists(x, lists.range(9999999) == [] || x == 1)",
        "[1, 2].all(x, lists.range(9999999) != [])",
    ] {
        assert!(message(eval(source)).contains("steps"), "{source}");
    }
}

/// Twelve doublings of something in one source.
fn doubled(start: &str, times: usize) -> String {
    format!("[{start}]{}[0].size()", ".map(x, x + x)".repeat(times))
}

#[test]
fn memory_is_bounded() {
    let huge = "a".repeat(1 << 20);
    let scope = Names::of(json!({"huge": huge, "many": vec![7; 20_000]}));
    let eval = |source: &str| Program::compile(source).and_then(|p| p.eval(&scope));
    let (doubled_text, doubled_list) = (doubled("'aaaaaaaa'", 60), doubled("[1, 2]", 60));
    let twice = ".map(x, [x, x])".repeat(200);
    let nested_pairs = format!("[1]{twice}");
    let pairs_of_maps = format!("[1]{}", ".map(x, {'a': x, 'b': x})".repeat(120));
    let levels = format!("[1]{}", ".map(x, [x])".repeat(300));
    for source in [
        "lists.range(1000).map(x, huge + huge)",
        "lists.range(1000).map(x, huge)",
        "lists.range(1000).map(x, many)",
        "lists.range(1000).map(x, {'a': many, 'b': many})",
        "lists.range(1000).map(x, huge).join(huge)",
        "huge.replace('a', huge)",
        "huge.replace('', huge)",
        "lists.range(100).map(x, huge.upperAscii())",
        "huge.split('')",
        "lists.range(100).map(x, huge.reverse())",
        "('%s%s%s%s%s%s%s%s' + '%s%s').format(lists.range(10).map(x, huge + huge + huge))",
        "lists.range(300).map(x, '%.100f'.format([1e300]) + huge)",
        "lists.range(100).map(x, '%x'.format([huge]))",
        "lists.range(100).map(x, bytes(huge))",
        "lists.range(100).map(x, base64.encode(bytes(huge)))",
        "lists.range(100).map(x, many + many + many + many)",
        "lists.range(1000).transformMap(i, x, many)",
        "lists.range(1000).map(x, {huge: 1})",
        "lists.range(100).map(x, [many].flatten())",
        "[many, many].map(a, lists.range(200).map(i, a))",
        doubled_text.as_str(),
        doubled_list.as_str(),
        nested_pairs.as_str(),
        pairs_of_maps.as_str(),
    ] {
        let result = eval(source);
        assert!(result.is_err(), "{source:.80}");
        let found = message(result);
        let bounded = found == "the expression takes more than 64 MiB of memory"
            || found == "the expression takes more than 1000000 steps"
            || found == "the value is nested more than 100 deep";
        assert!(bounded, "{source:.80}: {found}");
    }
    assert_eq!(message(eval(&levels)), "the value is nested more than 100 deep");
}

#[test]
fn a_value_that_is_a_huge_tree_does_not_get_out() {
    // 28 levels of two: a few kilobytes that stand for gigabytes.
    let scope = super::scope();
    let source = format!("[1]{}", ".map(x, [x, x])".repeat(28));
    let program = Program::compile(&source).expect("it compiles");
    assert!(message(program.eval(&scope)).contains("64 MiB"));
    // 12 levels are fine, and are what they should be.
    let source = format!("[1]{}", ".map(x, [x, x])".repeat(12));
    let value = Program::compile(&source).and_then(|p| p.eval(&scope)).expect("it is small");
    let leaves = value.to_json().to_string().matches('1').count();
    assert_eq!(leaves, 1 << 12);
}

#[test]
fn long_text_is_charged_where_it_is_looked_at() {
    let huge = "a".repeat(1 << 20);
    let twin = huge.clone() + "b";
    let scope = Names::of(json!({"huge": huge, "twin": twin, "map": {"a": 1}, "huges": [huge]}));
    for body in [
        "huge < twin",
        "huge == huges[0]",
        "huge in map",
        "huge in [twin, huge]",
        "map[huge] == 1 || true",
        "huge.contains('b')",
        "huge.startsWith(huge)",
        "huge.indexOf('b') == 1",
        "huge.size() == 1",
        "huge.substring(5, 6) == 'b'",
        "huge.matches('b')",
        "huge.matches('(a|aa)+$')",
        "huge.matches('(.*)*b')",
    ] {
        let source = format!("lists.range(300000).all(x, {body} || true)");
        let result = Program::compile(&source).and_then(|p| p.eval(&scope));
        assert_eq!(message(result), "the expression takes more than 1000000 steps", "{body}");
    }
}

#[test]
fn patterns_are_bounded() {
    let scope = Names::of(json!({"a": "a".repeat(30_000), "nested": "((a{30}){30}){30}"}));
    let eval = |source: &str| Program::compile(source).and_then(|p| p.eval(&scope));
    for (source, expected) in [
        ("'a'.matches(nested)", "this is not a regular expression"),
        ("'a'.matches('x{1000}{1000}{1000}')", "this is not a regular expression"),
        ("'a'.matches(a)", "the pattern is longer than 1024 bytes"),
        ("a.matches('(a{50}){50}$')", "the expression takes more than 1000000 steps"),
        (
            "lists.range(90000).exists(i, 'a'.matches('b{500}' + string(i)))",
            "the expression takes more than 1000000 steps",
        ),
    ] {
        let found = message(eval(source));
        assert!(found.starts_with(expected), "{source}: {found}");
    }
    let parens = format!("'a'.matches('{}')", "(".repeat(900));
    assert!(message(eval(&parens)).starts_with("this is not a regular expression"));
    assert_eq!(eval("a.matches('^a+$')"), Ok(true.into()));
    let log = Names::of(json!({"log": "an ordinary line of a log\n".repeat(20_000)}));
    let search = Program::compile(r"log.matches(r'ERROR \d{3}-\d{4}')").expect("it compiles");
    assert_eq!(search.eval(&log), Ok(false.into()), "half a megabyte is searched");
}

#[test]
fn deep_json_of_the_scope_is_walked_on_a_small_stack() {
    let deep = (0..120).fold(json!(1), |inner, _| json!({ "a": [inner] }));
    let too_deep = Names::of(json!({ "deep": deep }));
    let fine = (0..45).fold(json!(1), |inner, _| json!({ "a": [inner] }));
    let fine = Names::of(json!({ "deep": fine, "same": fine.clone() }));
    let scopes = on_a_small_stack(move || {
        let run = |source: &str, scope| Program::compile(source).and_then(|p| p.eval(scope));
        for source in ["[deep]", "deep == deep.a[0]", "{'a': deep}", "'%s'.format([deep])"] {
            let result = run(source, &too_deep);
            let error = result.err().map(|e| e.message);
            let bounded = error.is_none_or(|m| m == "the value is nested more than 100 deep");
            assert!(bounded, "{source}");
        }
        assert!(message(run("[deep]", &too_deep)).contains("100"));
        assert_eq!(run("deep == same", &fine), Ok(true.into()));
        assert_eq!(run("deep == same.a[0]", &fine), Ok(false.into()));
        assert!(run("[deep]", &fine).is_ok());
        assert!(run("[[deep.a, same.a]].flatten(99)", &fine).is_ok());
        (too_deep, fine)
    });
    // Dropping values that are nested this deep is not what this test is about.
    drop(scopes);
}

/// A scope that hands out values which an expression made before.
struct Earlier(Value);

impl Scope for Earlier {
    fn lookup(&self, name: &str) -> Option<Value> {
        (name == "v").then(|| self.0.clone())
    }
}

#[test]
fn values_that_come_in_again_are_measured_again() {
    let mut value = Value::Int(1);
    let mut levels = 0;
    let program = Program::compile("[v, v, v, v, v, v, v, v]").expect("it compiles");
    let error = loop {
        match program.eval(&Earlier(value)) {
            Ok(next) => value = next,
            Err(error) => break error,
        }
        levels += 1;
        assert!(levels < 12, "the size stops it");
    };
    assert!(error.message.contains("64 MiB"), "{error}");
}

#[test]
fn selecting_from_large_json_copies_nothing() {
    // 8 MiB of text beside a flag. A copy for each of the 1000 looks would pass the budget.
    let big = Arc::new(json!({"text": "x".repeat(8 << 20), "flag": true, "list": [1, 2, 3]}));
    let scope = Earlier(Value::from_json(big.clone()));
    let program =
        Program::compile("lists.range(1000).all(i, v.flag && v.list[1] == 2 && has(v.text))");
    assert_eq!(program.and_then(|p| p.eval(&scope)), Ok(true.into()));
    // Given back whole it is the same allocation.
    match Program::compile("true ? v : v.list").and_then(|p| p.eval(&scope)) {
        Ok(Value::Json(json)) => assert!(Arc::ptr_eq(&json, &big)),
        other => panic!("{other:?}"),
    }
    match Program::compile("v.list").and_then(|p| p.eval(&scope)) {
        Ok(value) => assert_eq!(value.into_json(), json!([1, 2, 3])),
        Err(error) => panic!("{error}"),
    }
    let _: &Json = &big;
}
