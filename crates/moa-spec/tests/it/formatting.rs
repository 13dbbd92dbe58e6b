//! `moa fmt`.

use moa_spec::{compile, format, parse_workflow};
use proptest::prelude::*;

use crate::support::{id, plan, source};

fn formatted(text: &str) -> String {
    format(&source(text)).unwrap_or_else(|e| panic!("{e:#?}\n{text}"))
}

#[test]
fn canonical_files_stay_as_they_are() {
    for text in [
        include_str!("../data/seeds/build-short.yaml"),
        include_str!("../data/seeds/data-pipeline.yaml"),
        include_str!("../data/seeds/continuous-monitoring.yaml"),
        include_str!("../data/good/everything.yaml"),
        include_str!("../data/good/agents.yaml"),
    ] {
        assert_eq!(formatted(text), text);
    }
}

#[test]
fn only_blanks_at_line_ends_change_in_the_first_definition() {
    let text = include_str!("../data/seeds/build-project.yaml");
    let trimmed: Vec<&str> = text.lines().map(str::trim_end).collect();
    assert_eq!(formatted(text), trimmed.join("\n") + "\n");
}

#[test]
fn keys_are_ordered_and_comments_stay_with_what_they_are_about() {
    let text = "\
# The file.

steps:   # the steps
    # about the first
    - action:   build   # what
      # who
      agent: x
      id: a

    - run: |   # a script
            set -e
              # not a comment
            make

      depends_on: [ a,b ]
    # - run: a step that is disabled
    - {run: x}
# about the name
name: Demo
version:    1.0
outputs:
     z: a.z   # kept in this order
     a: a.a
# the end
";
    let expected = "\
# The file.

# about the name
name: Demo
version: 1.0
steps:  # the steps
  # about the first
  - id: a
    # who
    agent: x
    action: build  # what

  - run: |  # a script
      set -e
        # not a comment
      make

    depends_on: [a, b]
  # - run: a step that is disabled
  - {run: x}
outputs:
  z: a.z  # kept in this order
  a: a.a
# the end
";
    assert_eq!(formatted(text), expected);
}

#[test]
fn flow_collections_stand_on_one_line_or_become_blocks() {
    let text = "\
steps:
  - {agent: a, action: b, params: {list: [1,2,   3], empty: {}, none: [ ], quoted: \"a, b\"}}
  - {agent: a,
     action: b}
  - agent: a
    action: b
    params: {first: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa, second: bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb}
    depends_on: [  # why
      one,  # because
      two]
";
    let expected = "\
steps:
  - {agent: a, action: b, params: {list: [1, 2, 3], empty: {}, none: [], quoted: \"a, b\"}}
  - agent: a
    action: b
  - agent: a
    action: b
    params:
      first: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
      second: bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb
    depends_on:
      # why
      - one  # because
      - two
";
    assert_eq!(formatted(text), expected);
}

#[test]
fn texts_keep_their_quotes_and_lines() {
    let text = "\
name: 'it''s'
description: >-
    folded
    text

    with a paragraph
steps:
- run: \"a\\tb\"
- run: plain text
     on two lines
- run: |+
    keeps

- run: \"quoted
    on lines\"
";
    let expected = "\
name: 'it''s'
description: >-
  folded
  text

  with a paragraph
steps:
  - run: \"a\\tb\"
  - run: plain text
      on two lines
  - run: |+
      keeps

  - run: \"quoted
      on lines\"
";
    assert_eq!(formatted(text), expected);
}

#[test]
fn anchors_and_aliases_keep_their_order() {
    let text = "steps:\n- action: b\n  params: &p {x: 1}\n  agent: a\n- agent: a\n  action: b\n  params:  *p\n";
    let expected = "steps:\n  - action: b\n    params: &p {x: 1}\n    agent: a\n  - agent: a\n    action: b\n    params: *p\n";
    assert_eq!(formatted(text), expected);
}

#[test]
fn windows_line_ends_marks_and_documents_go() {
    assert_eq!(
        formatted("\u{feff}---\r\nname: x\r\nsteps:\r\n- run: y\r\n"),
        "name: x\nsteps:\n  - run: y\n"
    );
    assert_eq!(formatted("# only\n\n\n"), "# only\n");
    assert_eq!(formatted(""), "");
}

#[test]
fn what_would_lose_something_is_refused() {
    for text in ["steps: [  # nothing\n]\nname: x\n", "description: |2\n    x\nsteps: []\n"] {
        let codes: Vec<_> = format(&source(text)).unwrap_err().iter().map(|d| d.code).collect();
        assert_eq!(codes, ["MOA0011"], "{text}");
    }
    assert_eq!(format(&source("a: [")).unwrap_err()[0].code, "MOA0003");
}

#[test]
fn the_plan_is_the_same_afterwards() {
    for text in [
        include_str!("../data/good/everything.yaml"),
        include_str!("../data/seeds/build-project.yaml"),
        "steps:\n- action: b\n  agent: a\n  params: {z: 1, a: 2}\n- run: |\n       x\n        y\n",
    ] {
        assert_eq!(plan(text).hash, plan(&formatted(text)).hash);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: crate::support::cases(150), failure_persistence: None, ..Default::default() })]

    /// Comments and blank lines thrown into a file anywhere, and other indentation: the plan stays,
    /// and so does each comment.
    #[test]
    fn comments_are_never_lost(
        places in prop::collection::vec((any::<prop::sample::Index>(), 0usize..12, any::<bool>()), 0..8),
    ) {
        let text = include_str!("../data/good/everything.yaml");
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        for (i, (at, pad, trailing)) in places.iter().enumerate() {
            let at = at.index(lines.len());
            let comment = format!("# note {i}");
            if *trailing && !lines[at].trim().is_empty() {
                lines[at].push_str(&format!("  {comment}"));
            } else {
                lines.insert(at, format!("{}{comment}", " ".repeat(*pad)));
            }
        }
        let text = lines.join("\n");
        let (workflow, _) = parse_workflow(&source(&text), &id());
        let before = compile(&workflow.expect("comments don't matter"));
        if let Ok(out) = format(&source(&text)) {
            for i in 0..places.len() {
                prop_assert!(out.contains(&format!("# note {i}")), "{out}");
            }
            prop_assert_eq!(plan(&out).hash, before.hash);
            prop_assert_eq!(formatted(&out), out);
        } else {
            // Two comments behind one line can't happen here otherwise.
            prop_assert!(places.len() > 1, "refused: {}", text);
        }
    }
}
