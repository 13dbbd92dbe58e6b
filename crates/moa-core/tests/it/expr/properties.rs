//! What holds for every source: no panic, an end, the same answer twice, spans inside.

use moa_core::expr::{Error, Program};
use moa_core::template::Template;
use proptest::prelude::*;

use super::{Names, scope};

/// Spans are on character boundaries of the source, and a message is there.
fn check_error(source: &str, error: &Error) {
    assert!(source.get(error.span.clone()).is_some(), "{source:?}: {error:?}");
    assert!(!error.message.is_empty() && !error.message.ends_with('.'), "{error:?}");
    assert!(!error.message.contains(char::is_control), "{error:?}");
    assert!(!error.message.contains("compiled wrongly"), "{source}");
}

fn run(source: &str, scope: &Names) {
    match Program::compile(source) {
        Ok(program) => {
            assert_eq!(program.source(), source);
            for reference in program.references() {
                let text = source.get(reference.span.clone()).expect("a span of the source");
                assert!(text.starts_with(&reference.path[0]), "{source:?}: {reference:?}");
            }
            let (once, twice) = (program.eval(scope), program.eval(scope));
            match (&once, &twice) {
                (Ok(a), Ok(b)) => assert_eq!(a.to_json(), b.to_json(), "{source}"),
                (Err(a), Err(b)) => assert_eq!(a, b, "{source}"),
                _ => panic!("{source} gives {once:?}, then {twice:?}"),
            }
            if let Err(error) = once {
                check_error(source, &error);
            }
        }
        Err(error) => {
            check_error(source, &error);
            assert_eq!(Program::compile(source), Err(error), "{source}");
        }
    }
}

/// Words and signs of the language, right and wrong ones.
const TOKENS: &[&str] = &[
    "n",
    "x",
    "s",
    "list",
    "m",
    "rows",
    "missing",
    "true",
    "false",
    "null",
    "in",
    "has",
    "size",
    "map",
    "filter",
    "all",
    "exists",
    "math",
    "abs",
    "int",
    "double",
    "string",
    "type",
    "optional",
    "of",
    "0",
    "1",
    "2u",
    "1.5",
    "9223372036854775807",
    "'a'",
    "\"b\"",
    "r'c'",
    "b'd'",
    "'''e'''",
    "`k-l`",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    ".",
    ",",
    ":",
    "?",
    "+",
    "-",
    "*",
    "/",
    "%",
    "!",
    "==",
    "!=",
    "<",
    "<=",
    ">",
    ">=",
    "&&",
    "||",
    ".?",
    "[?",
    ".size()",
    ".map(x,",
    ".all(i, v,",
    ".exists(y,",
    "has(m.",
    "cel.bind(z,",
    "math.greatest(",
    "if",
    "and",
    "=",
    "'",
    "\"",
    "$",
    "é",
    "\n",
    "//",
    ".orValue(",
    ".sortBy(q,",
    "lists.range(",
    ".format([",
    "'%s'",
    "}}",
    "${{",
];

fn tokens() -> impl Strategy<Value = String> {
    prop::collection::vec((0..TOKENS.len(), prop::bool::ANY), 0..40).prop_map(|parts| {
        parts.iter().fold(String::new(), |mut source, (token, space)| {
            source.push_str(TOKENS[*token]);
            if *space {
                source.push(' ');
            }
            source
        })
    })
}

/// A valid source with bytes of it deleted, doubled or replaced.
fn mutated() -> impl Strategy<Value = String> {
    let sources = prop::sample::select(vec![
        "quality_check.success && security_scan.passed",
        "rows.filter(r, r.ok && r.cost < 2.0).map(r, {'name': r.name, \"id\": r.id + 1})",
        "has(m.b.c) ? m.b.c[1].d.substring(1, 3) : 'none' + string(n * 2 - 1)",
        "timestamp('2020-01-01T00:00:00Z') + duration('1h30m') > timestamp(0)",
        "list.exists(x, x in [1, 2, 3]) || words.join(',').matches(r'^\\w+$')",
        "m.?zzz[?0].orValue(cel.bind(v, 'é\\u00e9\\x41', v + '''t'''))",
        "'%s %d %.2f'.format([s, n, x]) == b'abc' ? -1u : !true",
    ]);
    let edits = prop::collection::vec((any::<prop::sample::Index>(), 0..4u8, any::<char>()), 1..4);
    (sources, edits).prop_map(|(source, edits)| {
        let mut chars: Vec<char> = source.chars().collect();
        for (at, kind, c) in edits {
            let at = at.index(chars.len());
            match kind {
                0 if chars.len() > 1 => drop(chars.remove(at)),
                1 => chars.insert(at, chars[at]),
                2 => chars[at] = c,
                _ => chars.insert(at, ['(', ')', '\'', '.', '[', '}', '?', '-'][c as usize % 8]),
            }
        }
        chars.into_iter().collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_answered(source in "\\PC{0,60}") {
        run(&source, &scope());
    }

    #[test]
    fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        run(&String::from_utf8_lossy(&bytes), &scope());
    }

    #[test]
    fn any_tokens_are_answered(source in tokens()) {
        run(&source, &scope());
    }

    #[test]
    fn any_near_miss_is_answered(source in mutated()) {
        run(&source, &scope());
    }

    #[test]
    fn any_template_is_answered(parts in prop::collection::vec(tokens(), 0..4), open in "[$]{0,2}\\$?\\{\\{") {
        let text = parts.join(&open) + if parts.len() % 2 == 0 { " }}" } else { "" };
        let source = serde_json::Value::String(text.clone());
        for (pointer, error) in Template::check(&source, true) {
            prop_assert_eq!(&pointer, "");
            check_error(&text, &error);
        }
        match Template::compile(&source, true) {
            Ok(template) => {
                prop_assert!(Template::check(&source, true).is_empty());
                prop_assert_eq!(template.source(), &source);
                let (once, twice) = (template.render(&scope()), template.render(&scope()));
                prop_assert_eq!(&once, &twice);
                if let Err(error) = once {
                    check_error(&text, &error);
                }
            }
            Err(error) => {
                check_error(&text, &error);
                prop_assert!(!Template::check(&source, true).is_empty());
            }
        }
    }

    #[test]
    fn a_program_is_its_source(source in mutated()) {
        if let Ok(program) = Program::compile(&source) {
            let json = serde_json::to_value(&program).expect("a string");
            prop_assert_eq!(&json, &serde_json::Value::String(source.clone()));
            let back: Program = serde_json::from_value(json).expect("it compiles again");
            prop_assert_eq!(back, program);
        }
    }
}

#[test]
fn a_source_that_does_not_compile_is_not_read_from_json() {
    let error = serde_json::from_value::<Program>("1 +".into()).expect_err("it is wrong");
    assert_eq!(error.to_string(), "the operand after `+` is missing");
}
