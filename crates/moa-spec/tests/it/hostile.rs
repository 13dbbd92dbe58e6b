//! Files that mean harm: bombs, depth, size, noise. None may panic or take long.

use moa_core::limits::{FILE_BYTES_MAX, FILE_DEPTH_MAX, FILE_NODES_MAX, PLAN_STEPS_MAX};
use moa_spec::{Source, format, has_errors, parse_agents, parse_settings, parse_workflow, render};
use proptest::prelude::*;

use crate::support::{codes, diagnose, id, source};

const SEEDS: [&str; 5] = [
    include_str!("../data/seeds/build-project.yaml"),
    include_str!("../data/seeds/continuous-monitoring.yaml"),
    include_str!("../data/seeds/data-pipeline.yaml"),
    include_str!("../data/good/everything.yaml"),
    include_str!("../data/good/agents.yaml"),
];

/// Reads a text in every way there is.
fn devour(text: &str) {
    let source = source(text);
    let (workflow, diagnostics) = parse_workflow(&source, &id());
    assert_eq!(workflow.is_some(), !has_errors(&diagnostics), "{diagnostics:#?}");
    for d in &diagnostics {
        assert!(d.span.start <= text.len() + 1 && d.line >= 1 && d.column >= 1, "{d:?}");
    }
    render(&diagnostics, std::slice::from_ref(&source), true);
    if let Some(workflow) = workflow {
        moa_spec::check_workflow(&workflow, &moa_spec::Project::default());
        let plan = moa_spec::compile(&workflow);
        moa_core::machine::Graph::new(plan.clone()).expect("the run machine takes every plan");
        moa_spec::graph_mermaid(&plan);
        moa_spec::graph_dot(&plan);
    }
    parse_agents(&source, &id());
    parse_settings(&source);
    if let Ok(formatted) = format(&source) {
        let again = format(&self::source(&formatted));
        assert_eq!(again.as_ref(), Ok(&formatted), "of {text}");
    }
}

#[test]
fn billion_laughs_are_a_diagnostic() {
    let mut text = String::from("a: &a [x, x, x, x, x, x, x, x, x]\n");
    for (last, next) in ('a'..='h').zip('b'..='i') {
        let uses = vec![format!("*{last}"); 9].join(", ");
        text.push_str(&format!("{next}: &{next} [{uses}]\n"));
    }
    text.push_str("steps: *i\n");
    assert_eq!(codes(&text), ["MOA0005"]);
    assert!(diagnose(&text)[0].cause.as_ref().is_some_and(|cause| cause.contains("alias")));
    devour(&text);
}

#[test]
fn many_nodes_are_a_diagnostic() {
    let text = format!("steps: [{}]", "1,".repeat(FILE_NODES_MAX));
    assert_eq!(codes(&text), ["MOA0005"]);
    // It has no aliases to be blamed.
    let found = &diagnose(&text)[0];
    assert_eq!((found.cause.as_deref(), found.help.as_deref()), (None, Some("split the file")));
}

#[test]
fn depth_is_a_diagnostic() {
    for (open, close) in [("[", "]"), ("{a: ", "}"), ("- ", "")] {
        let text = format!("{}1{}", open.repeat(100_000), close.repeat(100_000));
        assert_eq!(codes(&text), ["MOA0006"], "{open}");
        devour(&text);
    }
    // By aliases: each level is flat, together they are deep.
    let mut text = String::from("l0: &l0 [x]\n");
    for i in 1..=FILE_DEPTH_MAX {
        text.push_str(&format!("l{i}: &l{i} [*l{}]\n", i - 1));
    }
    assert_eq!(codes(&text), ["MOA0006"]);
    let deep = "  a:\n1".to_owned();
    devour(&deep);
}

#[test]
fn steps_nested_as_deep_as_a_file_may_be_fit_the_stack() {
    let mut text = String::new();
    let mut pad = String::new();
    text.push_str("steps:\n");
    for _ in 0..(FILE_DEPTH_MAX - 4) / 2 {
        text.push_str(&format!("{pad}- condition: \"true\"\n{pad}  then:\n"));
        pad.push_str("  ");
    }
    text.push_str(&format!("{pad}- run: \"true\"\n"));
    assert!(!has_errors(&diagnose(&text)));
    devour(&text);
}

#[test]
fn large_files_are_refused_unread() {
    let text = format!("name: {}\nsteps: []", "x".repeat(FILE_BYTES_MAX));
    assert_eq!(codes(&text), ["MOA0001"]);
    let error = Source::from_bytes("x.yaml", vec![b' '; FILE_BYTES_MAX + 1]).unwrap_err();
    assert_eq!(error.code, "MOA0001");
}

#[test]
fn bytes_that_are_not_text_have_a_place() {
    let error = Source::from_bytes("x.yaml", b"name: a\nb: \xff\n".to_vec()).unwrap_err();
    assert_eq!((error.code, error.line, error.column), ("MOA0002", 2, 4));
}

#[test]
fn thousands_of_mistakes_end_in_one_that_says_so() {
    let text = format!("steps:\n{}", "  - {nonsense: 1}\n".repeat(5000));
    let diagnostics = diagnose(&text);
    assert_eq!(diagnostics.len(), 501);
    assert_eq!(diagnostics[500].code, "MOA0010");
}

#[test]
fn too_many_steps_are_a_diagnostic() {
    let text = format!("steps:\n{}", "- {run: x}\n".repeat(PLAN_STEPS_MAX + 1));
    assert_eq!(codes(&text), ["MOA0205"]);
}

#[test]
fn keys_by_the_thousand_are_formatted() {
    let keys: String = (0..3000).map(|i| format!("  k{i}: 1 # c{i}\n")).collect();
    let text = format!("steps: [{{run: x}}]\nvars:\n{keys}");
    assert!(format(&source(&text)).unwrap().contains("k2999: 1  # c2999"));
}

#[test]
fn a_chain_of_thousands_of_steps_is_read() {
    let mut text = String::from("steps:\n");
    for i in 0..5000 {
        let last = format!(", condition: s{}.success", i - 1);
        let last = if i > 0 { last.as_str() } else { "" };
        text.push_str(&format!("  - {{id: s{i}, agent: a, action: b{last}}}\n"));
    }
    assert_eq!(codes(&text), [""; 0]);
}

#[test]
fn a_wide_fan_of_dependencies_is_read() {
    let mut text = String::from("mode: graph\nsteps:\n");
    let ids: Vec<String> = (0..300).map(|i| format!("s{i}")).collect();
    for id in &ids {
        text.push_str(&format!("  - {{id: {id}, agent: a, action: b}}\n"));
    }
    for i in 0..200 {
        let needs = ids.join(", ");
        text.push_str(&format!("  - {{id: t{i}, agent: a, action: b, depends_on: [{needs}]}}\n"));
    }
    assert_eq!(codes(&text), [""; 0]);
}

#[test]
fn odd_texts_are_survived() {
    let odd = [
        "",
        " ",
        "\u{feff}",
        "\u{feff}steps: []",
        "---",
        "---\n---",
        "...",
        "#",
        "&a",
        "*a",
        "!",
        "|",
        ">",
        "?",
        "? ",
        ": ",
        "- ",
        "-",
        "[",
        "{",
        "}",
        "]",
        ",",
        "%",
        "@",
        "`",
        "\"",
        "'",
        "\t",
        "\r\n",
        "a: |\n  x\n",
        "a: >-\n\n\n",
        "a: |2\n   x\n",
        "\0",
        "a\0b",
        "steps: *steps",
        "&a [*a]",
        "steps: &s [*s]",
        "a: &a\nb: *a",
        "? a\n: b",
        "{a, b: }",
        "[a: 1, b]",
        "a: !!str 5",
        "!!map {}",
        "a: 'it''s'\n",
        "a: \"\\u263a\\x41\\U0001F600\"",
        "<<: {}",
        "a: &x b\n*x : c\n",
        "steps:\n- - a\n",
        "steps:\n- {run: a}\n- ",
        "\u{85}",
        "\u{2028}a: b",
        "a: b\u{2029}c",
        "🦀: 🦀",
        "steps: [{run: 🦀}]",
    ];
    for text in odd {
        devour(text);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: crate::support::cases(200), failure_persistence: None, ..Default::default() })]

    #[test]
    fn noise_is_survived(text in "[\\PC\n\t]{0,80}") {
        devour(&text);
    }

    #[test]
    fn noise_of_yaml_is_survived(
        parts in prop::collection::vec(prop::sample::select(vec![
            "steps:", "\n", "  ", "- ", "id: ", "a", "agent: x", "action: y", "[", "]", "{", "}", ", ",
            ": ", "&a ", "*a", "!!str ", "|\n", ">-\n", "\"", "'", "# c", "?", "${{ a }}", "depends_on: ",
            "condition: ", "then:\n", "foreach: ", "while: ", "1", "5m", "\t", "---", "...", "null", "~",
        ]), 0..60)
    ) {
        devour(&parts.concat());
    }

    #[test]
    fn bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(source) = Source::from_bytes("x.yaml", bytes) {
            devour(&source.text);
        }
    }

    #[test]
    fn mutated_files_are_survived(
        seed in 0..SEEDS.len(),
        cuts in prop::collection::vec((any::<prop::sample::Index>(), 0usize..12, "[\\PC\n]{0,6}"), 1..6),
    ) {
        let mut text: Vec<char> = SEEDS[seed].chars().collect();
        for (at, remove, insert) in cuts {
            let at = at.index(text.len().max(1));
            let end = (at + remove).min(text.len());
            text.splice(at.min(text.len())..end, insert.chars());
        }
        devour(&text.into_iter().collect::<String>());
    }

    #[test]
    fn moved_lines_are_survived(seed in 0..SEEDS.len(), from in any::<prop::sample::Index>(), to in any::<prop::sample::Index>(), pad in 0usize..6) {
        let mut lines: Vec<String> = SEEDS[seed].lines().map(str::to_owned).collect();
        let line = lines.remove(from.index(lines.len()));
        let at = to.index(lines.len());
        lines.insert(at, format!("{}{}", " ".repeat(pad), line.trim_start()));
        devour(&lines.join("\n"));
    }
}
