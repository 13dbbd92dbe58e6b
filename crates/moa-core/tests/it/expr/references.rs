//! The free names that an expression uses.

use moa_core::expr::Program;

fn paths(source: &str) -> Vec<String> {
    let program = Program::compile(source).expect(source);
    let references = program.references();
    for reference in &references {
        assert!(source[reference.span.clone()].starts_with(&reference.path[0]), "{source}");
    }
    references.iter().map(|r| r.path.join(".")).collect()
}

#[test]
fn free_names_come_with_what_is_selected_from_them() {
    for (source, expected) in [
        ("1 + 2", vec![]),
        ("a", vec!["a"]),
        ("a.b.c", vec!["a.b.c"]),
        ("a . b", vec!["a.b"]),
        (".a.b", vec!["a.b"]),
        ("a.b && c.d", vec!["a.b", "c.d"]),
        ("a + a", vec!["a", "a"]),
        ("a.b[0].c", vec!["a.b"]),
        ("a[b.c].d", vec!["a", "b.c"]),
        ("steps['x-y'].output", vec!["steps"]),
        ("a.b.size()", vec!["a.b"]),
        ("a.b.contains(c)", vec!["a.b", "c"]),
        ("has(a.b.c)", vec!["a.b.c"]),
        ("a.?b.c", vec!["a.b.c"]),
        ("a.`x-y`.z", vec!["a.x-y.z"]),
        ("a.list.map(x, x.y + b)", vec!["a.list", "b"]),
        ("x.all(x, x > 0)", vec!["x"]),
        ("[1].map(x, [2].map(y, x + y + z))", vec!["z"]),
        ("[1].map(x, x) + [x]", vec!["x"]),
        ("[1].exists(i, v, i == v && w)", vec!["w"]),
        ("[1].map(x, .x.y)", vec!["x.y"]),
        ("cel.bind(x, a.b, x.c)", vec!["a.b"]),
        ("math.abs(n)", vec!["n"]),
        ("math.abs", vec!["math.abs"]),
        ("type(a) == int", vec!["a"]),
        ("list.output", vec!["list.output"]),
        ("{'a': b, c: 1}", vec!["b", "c"]),
        ("a ? b : c", vec!["a", "b", "c"]),
        ("secrets.KEY", vec!["secrets.KEY"]),
        ("'a.b' + \"c\"", vec![]),
        ("optional.of(a).orValue(b)", vec!["a", "b"]),
    ] {
        assert_eq!(paths(source), expected, "{source}");
    }
}

#[test]
fn spans_cover_the_whole_path() {
    let source = "1 + step . output.n * m";
    let program = Program::compile(source).expect("it compiles");
    let texts: Vec<&str> = program.references().iter().map(|r| &source[r.span.clone()]).collect();
    assert_eq!(texts, ["step . output.n", "m"]);
}
