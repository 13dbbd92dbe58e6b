//! Templates: what they render to, and what they refuse.

use moa_core::expr::{Scope, Value};
use moa_core::template::{Rendered, SecretSlot, Template};
use serde_json::{Value as Json, json};

use crate::expr::{Names, scope};

fn render(source: &Json) -> Rendered {
    let template = Template::compile(source, true).unwrap_or_else(|e| panic!("{source}: {e}"));
    template.render(&scope()).unwrap_or_else(|e| panic!("{source}: {e}"))
}

fn value(source: Json) -> Json {
    let rendered = render(&source);
    assert_eq!(rendered.secrets, [], "{source}");
    rendered.value
}

fn slot(pointer: &str, at: usize, name: &str) -> SecretSlot {
    SecretSlot { pointer: pointer.to_owned(), at, name: name.to_owned() }
}

/// Pointers, texts at fault and messages of all mistakes.
fn mistakes(source: Json, allow_secrets: bool) -> Vec<(String, String, String)> {
    let found = Template::check(&source, allow_secrets);
    assert_eq!(Template::compile(&source, allow_secrets).is_err(), !found.is_empty(), "{source}");
    found
        .into_iter()
        .map(|(pointer, error)| {
            let key = pointer.rsplit('/').next().unwrap_or_default();
            let text = source.pointer(&pointer).and_then(Json::as_str).unwrap_or(key);
            let at = text.get(error.span.clone()).expect("a span of the string").to_owned();
            (pointer, at, error.message)
        })
        .collect()
}

#[test]
fn a_whole_string_keeps_the_type() {
    for (source, expected) in [
        ("${{ n }}", json!(3)),
        ("${{n}}", json!(3)),
        ("${{ x }}", json!(1.5)),
        ("${{ 1.0 }}", json!(1.0)),
        ("${{ yes }}", json!(true)),
        ("${{ nothing }}", json!(null)),
        ("${{ s }}", json!("héllo")),
        ("${{ list }}", json!([1, 2, 3])),
        ("${{ m.b }}", json!({"c": [10, {"d": "deep"}]})),
        ("${{ rows.map(r, r.id) }}", json!([1, 2, 3])),
        ("${{ {'a': n, 2: [x]} }}", json!({"a": 3, "2": [1.5]})),
        ("${{ 7u }}", json!(7)),
        ("${{ duration('90m') }}", json!("1h30m")),
        ("${{ timestamp(0) }}", json!("1970-01-01T00:00:00Z")),
        ("${{ b'\\xff' }}", json!("/w==")),
        ("${{ 1.0 / 0.0 }}", json!("Infinity")),
        ("${{ type(n) }}", json!("int")),
        ("${{ m.?zzz }}", json!(null)),
        ("${{ m.?a }}", json!(1)),
    ] {
        assert_eq!(value(json!(source)), expected, "{source}");
    }
}

#[test]
fn in_other_text_results_become_text() {
    for (source, expected) in [
        ("n=${{ n }}", "n=3"),
        ("${{ n }}${{ n }}", "33"),
        (" ${{ n }}", " 3"),
        ("${{ n }}\n", "3\n"),
        ("<${{ s }}>", "<héllo>"),
        ("<${{ nothing }}>", "<>"),
        ("<${{ yes }}>", "<true>"),
        ("<${{ 1.0 }}>", "<1>"),
        ("<${{ 0.25 }}>", "<0.25>"),
        ("<${{ list }}>", "<[1,2,3]>"),
        ("<${{ m.b }}>", "<{\"c\":[10,{\"d\":\"deep\"}]}>"),
        ("<${{ words }}>", "<[\"b\",\"a\",\"c\"]>"),
        ("<${{ duration('90m') }}>", "<1h30m>"),
        ("<${{ timestamp(0) }}>", "<1970-01-01T00:00:00Z>"),
        ("<${{ type(1) }}>", "<int>"),
        ("${SHELL} and {{ jinja }} and $n", "${SHELL} and {{ jinja }} and $n"),
        ("a }} b", "a }} b"),
        ("é${{ n }}é", "é3é"),
    ] {
        assert_eq!(value(json!(source)), json!(expected), "{source}");
    }
}

#[test]
fn the_end_is_found_behind_quotes_and_braces() {
    for (source, expected) in [
        ("${{ '}}' }}", json!("}}")),
        ("${{ \"}}\" + '${{' }}", json!("}}${{")),
        ("${{ '''it's }}''' }}", json!("it's }}")),
        ("${{ r'\\' + '}}' }}", json!("\\}}")),
        ("${{ '\\'}}' }}", json!("'}}")),
        ("${{ {'a': {'b': 1}} }}", json!({"a": {"b": 1}})),
        ("${{ {'a': {'b': {}}}}}", json!({"a": {"b": {}}})),
        ("${{ {}}}", json!({})),
        ("${{ {'a': 1}.a }}!", json!("1!")),
        ("${{ n // }} a comment\n }}", json!(3)),
    ] {
        assert_eq!(value(json!(source)), expected, "{source}");
    }
}

#[test]
fn an_escape_stands_for_the_characters() {
    for (source, expected) in [
        ("$${{ n }}", "${{ n }}"),
        ("a $${{ n }} b ${{ n }}", "a ${{ n }} b 3"),
        ("$$${{ n }}", "$${{ n }}"),
        ("${{ n }}$${{", "3${{"),
        ("$${{", "${{"),
        ("$ ${{ n }}", "$ 3"),
    ] {
        assert_eq!(value(json!(source)), json!(expected), "{source}");
    }
}

#[test]
fn results_are_not_scanned_again() {
    let scope = Names::of(json!({"evil": "${{ n }}", "n": 1}));
    for (source, expected) in [("${{ evil }}", "${{ n }}"), ("<${{ evil }}>", "<${{ n }}>")] {
        let template = Template::compile(&json!(source), true).unwrap();
        assert_eq!(template.render(&scope).unwrap().value, json!(expected));
    }
}

#[test]
fn every_string_of_a_value_is_rendered_and_the_order_stays() {
    let source = json!({
        "z": "${{ n }}", "a": ["plain", "${{ s }}", {"deep": "${{ m.a }}-${{ m.a }}"}],
        "k": 5, "b": null, "empty": {},
    });
    let expected = json!({
        "z": 3, "a": ["plain", "héllo", {"deep": "1-1"}], "k": 5, "b": null, "empty": {},
    });
    assert_eq!(value(source).to_string(), expected.to_string());
}

#[test]
fn secrets_become_slots() {
    let rendered = render(&json!({
        "whole": "${{ secrets.TOKEN }}",
        "headers": ["Bearer ${{secrets.TOKEN}}", "é${{ n }}:${{ secrets.A }}${{ secrets.B }}!"],
        "a/b~c": "${{ secrets.C }}",
    }));
    assert_eq!(rendered.value, json!({"whole": "", "headers": ["Bearer ", "é3:!"], "a/b~c": ""}));
    assert_eq!(
        rendered.secrets,
        [
            slot("/whole", 0, "TOKEN"),
            slot("/headers/0", 7, "TOKEN"),
            slot("/headers/1", 4, "A"),
            slot("/headers/1", 4, "B"),
            slot("/a~1b~0c", 0, "C"),
        ]
    );
    let shown = json!({
        "whole": "${{ secrets.TOKEN }}",
        "headers": ["Bearer ${{ secrets.TOKEN }}", "é3:${{ secrets.A }}${{ secrets.B }}!"],
        "a/b~c": "${{ secrets.C }}",
    });
    assert_eq!(rendered.shown(), shown);
    for slot in &rendered.secrets {
        let text = rendered.value.pointer(&slot.pointer).and_then(Json::as_str).unwrap();
        assert!(text.is_char_boundary(slot.at));
    }
    assert_eq!(render(&json!("${{ secrets.X }}")).secrets, [slot("", 0, "X")]);
}

#[test]
fn secrets_are_refused_wherever_they_could_leak() {
    for text in [
        "${{ secrets.A + 'x' }}",
        "${{ secrets }}",
        "${{ secrets['A'] }}",
        "${{ secrets.A.b }}",
        "${{ has(secrets.A) }}",
        "${{ secrets.A == 'guess' }}",
        "${{ size(secrets.A) }}",
        "${{ secrets.A.size() }}",
        "${{ [secrets.A] }}",
        "${{ (secrets.A) }}",
        "${{ .secrets.A }}",
        "${{ secrets.?A }}",
        "${{ [1].map(x, secrets.A) }}",
        "${{ yes ? secrets.A : '' }}",
        "${{ secrets . A }}",
    ] {
        let found = mistakes(json!({ "p": text }), true);
        assert_eq!(found.len(), 1, "{text}");
        assert_eq!(found[0].2, "a secret cannot be part of an expression", "{text}");
        assert!(found[0].1.starts_with("secrets"), "{found:?}");
    }
    let found = mistakes(json!(["x ${{ secrets.A }}"]), false);
    let expected = ("/0".into(), "secrets.A".into(), "secrets cannot be used here".into());
    assert_eq!(found, [expected]);
    // A loop variable of that name is another thing.
    assert_eq!(value(json!("${{ [1].map(secrets, secrets + 1) }}")), json!([2]));
}

#[test]
fn all_mistakes_are_found_at_once_and_located() {
    let found = mistakes(
        json!({
            "a": "${{ n +  }}",
            "b": ["fine ${{ n }}", "x ${{ nofunc(1) }} y ${{ 1 = 2 }}"],
            "c/d": {"~": "${{ n"},
            "e": "${{ }}",
            "f": "plain",
            "${{ n }}": 1,
        }),
        true,
    );
    let found: Vec<(&str, &str, &str)> =
        found.iter().map(|(p, at, m)| (p.as_str(), at.as_str(), m.as_str())).collect();
    assert_eq!(
        found,
        [
            ("/a", "+", "the operand after `+` is missing"),
            ("/b/1", "nofunc", "no such function `nofunc()`"),
            ("/b/1", "=", "unexpected character `=`"),
            ("/c~1d/~0", "${{", "this `${{` is not closed"),
            ("/e", " ", "the expression is empty"),
            ("/${{ n }}", "${{ n }}", "the key `${{ n }}` holds an expression"),
        ]
    );
}

#[test]
fn errors_tell_the_string_that_they_are_in() {
    let source = json!({"a": ["", "é ${{ n + missing }}"]});
    let error = Template::compile(&source, true).unwrap().render(&scope()).unwrap_err();
    assert_eq!(error.message, "at /a/1: no such name `missing`");
    assert_eq!(&"é ${{ n + missing }}"[error.span], "missing");

    let error = Template::compile(&json!({"a": "${{ 1 + }}"}), true).unwrap_err();
    assert_eq!(error.message, "at /a: the operand after `+` is missing");
    assert_eq!(&"${{ 1 + }}"[error.span], "+");

    let error = Template::compile(&json!("${{ m.zzz }}"), true).unwrap();
    let error = error.render(&scope()).unwrap_err();
    assert_eq!(error.message, "no such key `zzz`");
    assert_eq!(&"${{ m.zzz }}"[error.span], "zzz");
}

#[test]
fn references_are_those_of_all_expressions() {
    let source = json!({
        "a": "x ${{ build.output.path }} ${{ secrets.KEY }}",
        "b": ["${{ params.p + vars.v }}", "$${{ no }}", 5],
    });
    let template = Template::compile(&source, true).unwrap();
    let references = template.references();
    let paths: Vec<String> = references.iter().map(|r| r.path.join(".")).collect();
    assert_eq!(paths, ["build.output.path", "secrets.KEY", "params.p", "vars.v"]);
    let texts = ["/a", "/a", "/b/0", "/b/0"];
    for ((reference, pointer), path) in references.iter().zip(texts).zip(&paths) {
        let text = source.pointer(pointer).and_then(Json::as_str).unwrap();
        assert_eq!(&text[reference.span.clone()], path);
    }
}

/// A scope that nobody may ask.
struct Untouchable;

impl Scope for Untouchable {
    fn lookup(&self, name: &str) -> Option<Value> {
        panic!("{name} was looked up")
    }
}

#[test]
fn constants_need_no_scope() {
    for source in [json!(null), json!(5), json!("text $ {{ }}"), json!({"a": ["b", null, 1.5]})] {
        let template = Template::compile(&source, false).unwrap();
        assert!(template.is_constant());
        let rendered = template.render(&Untouchable).unwrap();
        assert_eq!(rendered, Rendered { value: source.clone(), secrets: vec![] });
        assert_eq!(template.references(), []);
        assert_eq!(template.source(), &source);
    }
    assert!(!Template::compile(&json!(["${{ 1 }}"]), false).unwrap().is_constant());
    // Its result is not its source.
    assert!(!Template::compile(&json!("$${{"), false).unwrap().is_constant());
    assert!(Template::default().is_constant());
    assert_eq!(Template::default(), Template::compile(&Json::Null, true).unwrap());
}

#[test]
fn a_template_is_its_source() {
    let source = json!({"a": ["${{ n }}", "$${{", null], "b": "${{ secrets.X }}"});
    let template = Template::compile(&source, true).unwrap();
    assert_eq!(serde_json::to_value(&template).unwrap(), source);
    let back: Template = serde_json::from_value(source.clone()).unwrap();
    assert_eq!(back, template);
    assert_eq!(back.render(&scope()).unwrap(), template.render(&scope()).unwrap());
    let error = serde_json::from_value::<Template>(json!({"a": "${{ 1 + }}"})).unwrap_err();
    assert_eq!(error.to_string(), "at /a: the operand after `+` is missing");
    let other = Template::compile(&json!("${{ n + 1 }}"), true).unwrap();
    assert_ne!(other, template);
}

#[test]
fn the_budget_is_one_for_all_expressions_of_a_template() {
    let expression = "${{ lists.range(50000).all(i, i >= 0) }}";
    let few = Template::compile(&json!([expression, expression]), true).unwrap();
    assert_eq!(few.render(&scope()).unwrap().value, json!([true, true]));
    let many = Template::compile(&json!(vec![expression; 20]), true).unwrap();
    let error = many.render(&scope()).unwrap_err();
    assert!(error.message.ends_with("the expression takes more than 1000000 steps"), "{error}");

    let text = Names::of(json!({"text": "x".repeat(1 << 20)}));
    let many = Template::compile(&json!("${{ text }} ".repeat(70)), true).unwrap();
    let error = many.render(&text).unwrap_err();
    assert_eq!(error.message, "the expression takes more than 64 MiB of memory");
}
